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

/* ---- patterns beside each other ------------------------------------------------------------------------------- */

/* No topic is empty, so '#' alone and behind an empty first level stands for one level more than elsewhere. Said so,
 * both rules below need no exception. */
static mps_view spelled_out(mps_view pattern)
{
    if (mps_view_equal(pattern, mps_text("#"))) return mps_text("+/#");
    if (mps_view_equal(pattern, mps_text("/#"))) return mps_text("/+/#");
    return pattern;
}

/* A level of a pattern. */
struct level {
    const uint8_t *ptr;
    uint32_t len;
    bool one, rest; /* '+'; '#' */
};

static struct level level_at(mps_view pattern, uint32_t at)
{
    struct level level = {pattern.ptr + at, level_len(pattern, at), false, false};
    level.one = level.len == 1 && level.ptr[0] == '+';
    level.rest = level.len == 1 && level.ptr[0] == '#';
    return level;
}

static bool same_level(const struct level *a, const struct level *b)
{
    return a->len == b->len && memcmp(a->ptr, b->ptr, a->len) == 0;
}

/* Whether only '#', which stands for nothing then, or nothing at all is left of a pattern. */
static bool may_end(mps_view pattern, uint32_t at)
{
    return at > pattern.len || (pattern.len - at == 1 && pattern.ptr[at] == '#');
}

/* Bytes that a topic has at least from this level of a pattern on: of which '+' needs none, and '#' not even its '/'.
 */
static uint32_t least_bytes(mps_view pattern, uint32_t at)
{
    uint32_t bytes = 0;
    while (!may_end(pattern, at)) {
        struct level level = level_at(pattern, at);
        bytes += 1 + (level.one ? 0 : level.len);
        at += level.len + 1;
    }
    return bytes;
}

bool mps_patterns_overlap(mps_view a, mps_view b)
{
    uint32_t at_a = 0, at_b = 0, bytes = 0; /* of the shortest topic that both match so far, a '/' behind each level */
    a = spelled_out(a);
    b = spelled_out(b);
    if ((a.ptr[0] == '$' && b.ptr[0] == '+') || (b.ptr[0] == '$' && a.ptr[0] == '+')) return false;
    while (!may_end(a, at_a) && !may_end(b, at_b)) {
        struct level in_a = level_at(a, at_a), in_b = level_at(b, at_b);
        if (!in_a.one && !in_b.one && !same_level(&in_a, &in_b)) return false;
        bytes += 1 + (!in_a.one ? in_a.len : !in_b.one ? in_b.len : 0);
        at_a += in_a.len + 1;
        at_b += in_b.len + 1;
    }
    if ((at_a > a.len && !may_end(b, at_b)) || (at_b > b.len && !may_end(a, at_a))) return false;
    return bytes + least_bytes(a, at_a) + least_bytes(b, at_b) - 1 <= MPS_TOPIC_MAX;
}

bool mps_pattern_covers(mps_view wide, mps_view narrow)
{
    uint32_t at_wide = 0, at_narrow = 0;
    wide = spelled_out(wide);
    narrow = spelled_out(narrow);
    if (narrow.ptr[0] == '$' && wide.ptr[0] == '+') return false;
    while (at_wide <= wide.len && at_narrow <= narrow.len) {
        struct level in_wide = level_at(wide, at_wide), in_narrow = level_at(narrow, at_narrow);
        if (in_wide.rest) return true;
        if (in_narrow.rest || (!in_wide.one && (in_narrow.one || !same_level(&in_wide, &in_narrow)))) return false;
        at_wide += in_wide.len + 1;
        at_narrow += in_narrow.len + 1;
    }
    return at_narrow > narrow.len && may_end(wide, at_wide);
}

/* ---- client ids ----------------------------------------------------------------------------------------------- */

/* C0 and C1 controls, blanks, and Unicode's formatting characters
 * (zero width and bidirectional: U+200B..200F, U+2028..202E, U+2060..206F, U+FEFF). */
bool mps_hides(const uint8_t *p, uint32_t left)
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
        if (mps_hides(id.ptr + i, id.len - i)) return "it holds a blank, a control or a formatting character";
    }
    return NULL;
}
