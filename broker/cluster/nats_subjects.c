#include "nats_subjects.h"

#include <string.h>

enum form { TOPIC, TOKEN, KEY };

static bool is_plain(uint8_t c, enum form form)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' ||
           (c == '/' && form == KEY);
}

/* ---- to NATS ------------------------------------------------------------------------------------------------ */

struct writing {
    char *to;
    size_t cap, len;
    bool full;
};

static void put(struct writing *writing, char c)
{
    if (writing->len + 1 < writing->cap) writing->to[writing->len++] = c;
    else writing->full = true;
}

static void put_escaped(struct writing *writing, uint8_t c)
{
    static const char digits[] = "0123456789ABCDEF";
    put(writing, '=');
    put(writing, digits[c >> 4]);
    put(writing, digits[c & 15]);
}

/* An empty level, or an empty token, is a lone '='. */
static size_t write_all(char *to, size_t cap, mps_view bytes, enum form form)
{
    struct writing writing = {.to = to, .cap = cap};
    bool is_empty = form != KEY;
    for (uint32_t i = 0; i < bytes.len; i++) {
        uint8_t c = bytes.ptr[i];
        if (c == '/' && form == TOPIC) {
            if (is_empty) put(&writing, '=');
            put(&writing, '.');
            is_empty = true;
            continue;
        }
        is_empty = false;
        if (is_plain(c, form)) put(&writing, (char)c);
        else put_escaped(&writing, c);
    }
    if (is_empty) put(&writing, '=');
    if (cap > 0) to[writing.full ? 0 : writing.len] = '\0';
    return writing.full ? 0 : writing.len;
}

size_t subject_of_topic(char *to, size_t cap, mps_view topic)
{
    return write_all(to, cap, topic, TOPIC);
}

size_t subject_of_token(char *to, size_t cap, mps_view token)
{
    return write_all(to, cap, token, TOKEN);
}

size_t subject_of_key(char *to, size_t cap, mps_view key)
{
    return write_all(to, cap, key, KEY);
}

/* ---- and back ----------------------------------------------------------------------------------------------- */

static int digit(uint8_t c)
{
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* One escaped byte. -1: it is none, or would not have been escaped. */
static int escaped(const uint8_t *p, const uint8_t *end, enum form form)
{
    if (end - p < 3) return -1;
    int high = digit(p[1]), low = digit(p[2]);
    if (high < 0 || low < 0) return -1;
    int c = high * 16 + low;
    return is_plain((uint8_t)c, form) || (c == '/' && form == TOPIC) ? -1 : c;
}

static bool read_all(mps_view subject, uint8_t *to, size_t cap, uint32_t *len, enum form form)
{
    const uint8_t *p = subject.ptr, *end = p + subject.len;
    uint32_t written = 0;
    bool at_begin = true; /* of a level */
    if (subject.len == 0) return false;
    while (p < end) {
        int c = *p;
        bool ends = p + 1 == end || p[1] == '.';
        if (c == '=' && at_begin && ends && form != KEY) {
            p++;
            at_begin = false;
            continue;
        }
        if (c == '.') {
            if (form != TOPIC || at_begin || p + 1 == end) return false;
            c = '/';
            p++;
            at_begin = true;
        } else if (c == '=') {
            c = escaped(p, end, form);
            if (c < 0) return false;
            p += 3;
            at_begin = false;
        } else {
            if (!is_plain((uint8_t)c, form)) return false;
            p++;
            at_begin = false;
        }
        if (written == cap) return false;
        to[written++] = (uint8_t)c;
    }
    *len = written;
    return true;
}

bool topic_of_subject(mps_view subject, uint8_t *to, size_t cap, uint32_t *len)
{
    return read_all(subject, to, cap, len, TOPIC);
}

bool token_of_subject(mps_view subject, uint8_t *to, size_t cap, uint32_t *len)
{
    return read_all(subject, to, cap, len, TOKEN);
}

bool key_of_subject(mps_view subject, uint8_t *to, size_t cap, uint32_t *len)
{
    return read_all(subject, to, cap, len, KEY);
}
