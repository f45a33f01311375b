#include "json_in.h"

#include <errno.h>
#include <jansson.h>
#include <msgpack.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "value.h"

/* jansson's integers end at 2^63-1. Larger ones that fit in 64 bits are replaced by "0 " of the same length before
 * parsing, and remembered here by their place among all the numbers of the text; jansson keeps the order of members, so
 * the walk over the result meets the numbers in that order and puts them back. */
struct large_number {
    size_t place;
    uint64_t number;
};

struct conversion {
    msgpack_packer packer;
    struct buffer large; /* of struct large_number */
    size_t next_large;   /* the first that was not met yet */
    size_t numbers;      /* met so far */
};

static void pack_integer(struct conversion *c, const json_t *value)
{
    const struct large_number *large = (const struct large_number *)(const void *)c->large.data;
    size_t place = c->numbers++;
    if (c->next_large < c->large.len / sizeof *large && large[c->next_large].place == place) {
        msgpack_pack_uint64(&c->packer, large[c->next_large++].number);
    } else {
        msgpack_pack_int64(&c->packer, json_integer_value(value));
    }
}

static void pack_text(struct conversion *c, const char *text, size_t len)
{
    msgpack_pack_str(&c->packer, len);
    msgpack_pack_str_body(&c->packer, text, len);
}

/* False: nested deeper than the limit, which also bounds this recursion. */
static bool pack(struct conversion *c, json_t *value, unsigned depth)
{
    if ((json_is_array(value) || json_is_object(value)) && depth == MPS_DOCUMENT_DEPTH_MAX) return false;
    switch (json_typeof(value)) {
    case JSON_NULL: msgpack_pack_nil(&c->packer); break;
    case JSON_TRUE: msgpack_pack_true(&c->packer); break;
    case JSON_FALSE: msgpack_pack_false(&c->packer); break;
    case JSON_INTEGER: pack_integer(c, value); break;
    case JSON_REAL:
        c->numbers++;
        msgpack_pack_double(&c->packer, json_real_value(value));
        break;
    case JSON_STRING: pack_text(c, json_string_value(value), json_string_length(value)); break;
    case JSON_ARRAY: {
        msgpack_pack_array(&c->packer, json_array_size(value));
        size_t i;
        json_t *element;
        json_array_foreach(value, i, element)
        {
            if (!pack(c, element, depth + 1)) return false;
        }
        break;
    }
    case JSON_OBJECT: {
        msgpack_pack_map(&c->packer, json_object_size(value));
        const char *key;
        json_t *member;
        json_object_foreach(value, key, member)
        {
            pack_text(c, key, strlen(key));
            if (!pack(c, member, depth + 1)) return false;
        }
        break;
    }
    }
    return true;
}

/* The number token at p, and whether it is an integer. */
static size_t number_len(const char *p, const char *end, bool *integer)
{
    const char *begin = p;
    *integer = true;
    for (; p < end && strchr("+-.0123456789eE", *p) && *p; p++) {
        if (*p == '.' || *p == 'e' || *p == 'E') *integer = false;
    }
    return (size_t)(p - begin);
}

static bool large_value(const char *token, size_t len, uint64_t *number)
{
    char digits[24];
    if (len < 19 || len >= sizeof digits || token[0] < '1' || token[0] > '9') return false;
    memcpy(digits, token, len);
    digits[len] = '\0';
    char *end;
    errno = 0;
    unsigned long long n = strtoull(digits, &end, 10);
    if (errno == ERANGE || *end != '\0' || n <= INT64_MAX) return false;
    *number = n;
    return true;
}

/* Replaces the large integers in text and notes them. True if there were any. */
static bool set_large_aside(struct conversion *c, char *text, size_t len)
{
    char *p = text, *end = text + len;
    bool in_string = false;
    for (size_t numbers = 0; p < end; p++) {
        if (in_string) {
            if (*p == '\\') {
                p++;
            } else if (*p == '"') {
                in_string = false;
            }
        } else if (*p == '"') {
            in_string = true;
        } else if (*p == '-' || (*p >= '0' && *p <= '9')) {
            bool integer;
            size_t token = number_len(p, end, &integer);
            struct large_number large = {.place = numbers++};
            if (integer && large_value(p, token, &large.number)) {
                buffer_append(&c->large, &large, sizeof large);
                memset(p, ' ', token);
                *p = '0';
            }
            p += token - 1;
        }
    }
    return c->large.len > 0;
}

static json_t *parse(struct conversion *c, const char *text, size_t len, json_error_t *error)
{
    const size_t flags = JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES;
    json_t *root = json_loadb(text, len, flags, error);
    if (root || json_error_code(error) != json_error_numeric_overflow) return root;
    char *copy = malloc(len);
    if (!copy) return NULL;
    memcpy(copy, text, len);
    if (set_large_aside(c, copy, len)) root = json_loadb(copy, len, flags, error);
    free(copy);
    return root;
}

bool json_in(const char *text, size_t len, struct buffer *out, char *error, size_t error_cap)
{
    if (memchr(text, '\0', len)) { /* which jansson would take for the end */
        snprintf(error, error_cap, "it holds a NUL byte");
        return false;
    }
    struct conversion c = {0};
    json_error_t why = {.column = -1};
    json_t *root = parse(&c, text, len, &why);
    size_t before = out->len;
    bool ok = false;
    msgpack_packer_init(&c.packer, out, buffer_write);
    if (!root) {
        snprintf(error, error_cap, "%s (line %d, column %d)", why.text, why.line, why.column);
    } else if (!pack(&c, root, 0)) {
        snprintf(error, error_cap, "it is nested deeper than %d levels", MPS_DOCUMENT_DEPTH_MAX);
        out->len = before;
    } else {
        ok = true;
    }
    json_decref(root);
    buffer_free(&c.large);
    return ok;
}
