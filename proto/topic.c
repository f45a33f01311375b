#include <string.h>

#include "wire.h"

/* The rules that topics and patterns share. NULL: fine. */
static const char *name_error(mps_view name, bool wildcards)
{
    if (name.ptr == NULL || name.len == 0) return "it is empty";
    if (name.len > MPS_TOPIC_MAX) return "it is longer than 255 bytes";
    if (!mps_utf8_valid(name)) return "it is not UTF-8 without NUL";
    unsigned levels = 1;
    for (uint32_t i = 0; i < name.len; i++) {
        uint8_t byte = name.ptr[i];
        if (byte == '/') levels++;
        if (byte != '+' && byte != '#') continue;
        if (!wildcards) return "it holds a wildcard, '+' or '#'";
        bool whole = (i == 0 || name.ptr[i - 1] == '/') && (i + 1 == name.len || name.ptr[i + 1] == '/');
        if (!whole) return "a wildcard, '+' or '#', must be a whole level";
        if (byte == '#' && i + 1 != name.len) return "'#' must be the last level";
    }
    return levels > MPS_TOPIC_LEVELS_MAX ? "it has more than 32 levels" : NULL;
}

#define EACH_BYTE(byte) (UINT64_C(0x0101010101010101) * (byte))

/* The high bit of each byte that is 0; bits above the lowest of these may be wrong, so only whether there is one
 * counts. */
static uint64_t zero_bytes(uint64_t word)
{
    return (word - EACH_BYTE(1)) & ~word & EACH_BYTE(0x80);
}

/* Whether 8 bytes of a name need a second look: not ASCII, NUL, or a wildcard. */
static bool is_odd(uint64_t word)
{
    return ((word & EACH_BYTE(0x80)) | zero_bytes(word) | zero_bytes(word ^ EACH_BYTE('+')) |
            zero_bytes(word ^ EACH_BYTE('#'))) != 0;
}

/* Whether a name is seen to be a good topic at once, 8 bytes at a time: plain ASCII, and so short that it can't have
 * too many levels. A random topic is judged each time it comes: 40 instructions instead of 160. */
static bool is_plain_topic(mps_view name)
{
    if (name.len < 8 || name.len >= MPS_TOPIC_LEVELS_MAX) return false;
    uint64_t word;
    for (uint32_t at = 0; at + 8 < name.len; at += 8) {
        memcpy(&word, name.ptr + at, 8);
        if (is_odd(word)) return false;
    }
    memcpy(&word, name.ptr + name.len - 8, 8);
    return !is_odd(word);
}

const char *mps_topic_error(mps_view name)
{
    return is_plain_topic(name) ? NULL : name_error(name, false);
}

const char *mps_pattern_error(mps_view pattern)
{
    return name_error(pattern, true);
}

bool mps_topic_is_wild(mps_view pattern)
{
    return memchr(pattern.ptr, '+', pattern.len) != NULL || memchr(pattern.ptr, '#', pattern.len) != NULL;
}

/* Length of the level that starts at `at`. */
static uint32_t level_len(mps_view name, uint32_t at)
{
    const uint8_t *slash = memchr(name.ptr + at, '/', name.len - at);
    return slash ? (uint32_t)(slash - (name.ptr + at)) : name.len - at;
}

bool mps_topic_matches(mps_view pattern, mps_view topic)
{
    if (topic.ptr[0] == '$' && (pattern.ptr[0] == '+' || pattern.ptr[0] == '#')) return false;
    return mps_levels_match(pattern, topic);
}

bool mps_levels_match(mps_view pattern, mps_view topic)
{
    uint32_t p = 0, t = 0;
    for (;;) {
        uint32_t p_len = level_len(pattern, p), t_len = level_len(topic, t);
        if (p_len == 1 && pattern.ptr[p] == '#') return true;
        bool any = p_len == 1 && pattern.ptr[p] == '+';
        if (!any && (p_len != t_len || memcmp(pattern.ptr + p, topic.ptr + t, t_len) != 0)) return false;
        p += p_len + 1;
        t += t_len + 1;
        bool p_over = p > pattern.len, t_over = t > topic.len;
        if (t_over) return p_over || (pattern.len - p == 1 && pattern.ptr[p] == '#'); /* '#' matches its parent */
        if (p_over) return false;
    }
}

/* Characters that steer a terminal or hide in a name: C0 and C1 controls, blanks, and Unicode's formatting characters
 * (zero width and bidirectional: U+200B..200F, U+2028..202E, U+2060..206F, U+FEFF). */
static bool hides(const uint8_t *p, uint32_t left)
{
    if (p[0] <= ' ' || p[0] == 0x7f) return true;
    if (left >= 2 && p[0] == 0xc2) return p[1] <= 0xa0 || p[1] == 0xad;
    if (left < 3) return false;
    if (p[0] == 0xe2 && p[1] == 0x80) return (p[2] >= 0x8b && p[2] <= 0x8f) || (p[2] >= 0xa8 && p[2] <= 0xae);
    if (p[0] == 0xe2 && p[1] == 0x81) return p[2] >= 0xa0 && p[2] <= 0xaf;
    return p[0] == 0xef && p[1] == 0xbb && p[2] == 0xbf;
}

const char *mps_id_error(mps_view id)
{
    if (id.ptr == NULL || id.len == 0) return "it is empty";
    if (id.len > MPS_ID_MAX) return "it is longer than 64 bytes";
    if (!mps_utf8_valid(id)) return "it is not UTF-8 without NUL";
    if (id.ptr[0] == '$') return "it begins with '$'";
    for (uint32_t i = 0; i < id.len; i++) {
        if (memchr("/+#", id.ptr[i], 3)) return "it holds '/', '+' or '#'";
        if (hides(id.ptr + i, id.len - i)) return "it holds a blank, a control or a formatting character";
    }
    return NULL;
}
