#include "bytes.h"

#include <stdlib.h>
#include <string.h>

#define BYTES_MAX (64u << 20) /* of one line: a slip of the pen must not fill the memory */

static bool add(struct bytes *b, const void *more, size_t len)
{
    if (b->len + len > BYTES_MAX) return false;
    if (b->len + len > b->cap) {
        b->cap = 2 * (b->len + len) + 64;
        b->at = realloc(b->at, b->cap);
        if (b->at == NULL) abort();
    }
    if (len > 0) memcpy(b->at + b->len, more, len);
    b->len += len;
    return true;
}

/* Repeats what was added since `from`, so that it stands there `times` times. */
static bool repeat(struct bytes *b, size_t from, unsigned long times)
{
    size_t len = b->len - from;
    if (times == 0) {
        b->len = from;
        return true;
    }
    if (len > 0 && times > BYTES_MAX / len) return false;
    for (unsigned long i = 1; i < times; i++) {
        uint8_t *copy = malloc(len + 1);
        if (copy == NULL) abort();
        memcpy(copy, b->at + from, len);
        bool added = add(b, copy, len);
        free(copy);
        if (!added) return false;
    }
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

static const char *parse_name(const char *p, struct bytes *b, const struct bindings *bindings)
{
    size_t len = bindings_name_len(p);
    if (len == 0) return NULL;
    if (bindings == NULL) return p + len;
    mps_view text = bindings_find(bindings, p, len);
    return text.ptr != NULL && add(b, text.ptr, text.len) ? p + len : NULL;
}

/* One piece: two hex digits, "text" or $name. Returns what follows it, NULL if it is none of these. */
static const char *parse_piece(const char *p, struct bytes *b, const struct bindings *bindings)
{
    if (*p == '$') return parse_name(p + 1, b, bindings);
    if (*p == '"') {
        const char *end = strchr(p + 1, '"');
        return end && add(b, p + 1, (size_t)(end - p - 1)) ? end + 1 : NULL;
    }
    int high = hex_digit(p[0]), low = high < 0 ? -1 : hex_digit(p[1]);
    if (low < 0) return NULL;
    uint8_t byte = (uint8_t)(high << 4 | low);
    return add(b, &byte, 1) ? p + 2 : NULL;
}

static const char *parse_repeat(const char *p, struct bytes *b, size_t from)
{
    if (*p != '*') return p;
    char *end;
    unsigned long times = strtoul(p + 1, &end, 10);
    return end != p + 1 && repeat(b, from, times) ? end : NULL;
}

/* Puts a str's head before what was added since `from`. */
static bool make_str(struct bytes *b, size_t from)
{
    uint32_t len = (uint32_t)(b->len - from), cap = len + 5;
    uint8_t *str = malloc(cap);
    if (str == NULL) abort();
    struct mps_out out = mps_out_open(str, cap);
    mps_put_text(&out, (mps_view){b->at + from, len});
    b->len = from;
    bool added = add(b, str, out.len);
    free(str);
    return added;
}

bool bytes_parse(struct bytes *b, const char *source, const struct bindings *bindings)
{
    const char *p = source;
    size_t group = SIZE_MAX; /* where the open group begins */
    bool is_str = false;
    while (p != NULL && *p != '\0') {
        bool opens_str = strncmp(p, "str(", 4) == 0;
        if (*p == ' ') {
            p++;
        } else if ((*p == '(' || opens_str) && group == SIZE_MAX) {
            group = b->len;
            is_str = opens_str;
            p += opens_str ? 4 : 1;
        } else if (*p == ')' && group != SIZE_MAX) {
            bool made = !is_str || make_str(b, group);
            p = made ? parse_repeat(p + 1, b, group) : NULL;
            group = SIZE_MAX;
        } else {
            size_t from = b->len;
            p = parse_piece(p, b, bindings);
            if (p != NULL) p = parse_repeat(p, b, from);
        }
    }
    return p != NULL && group == SIZE_MAX;
}

bool bytes_has_names(const char *source)
{
    bool quoted = false;
    for (const char *p = source; *p != '\0'; p++) {
        if (*p == '"') quoted = !quoted;
        if (*p == '$' && !quoted) return true;
    }
    return false;
}
