#include "pattern.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *blanks(const char *p)
{
    return p + strspn(p, " \t");
}

/* ---- past one pattern: returns what follows it, NULL if it isn't one -------------------------------------------- */

static const char *skip_text(const char *p)
{
    for (p++; *p != '"'; p++) {
        if (*p == '\\') p++;
        if (*p == '\0') return NULL;
    }
    return p + 1;
}

static const char *skip_scalar(const char *p)
{
    static const char *const words[] = {"_", "nil", "true", "false"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strncmp(p, words[i], strlen(words[i])) == 0) return p + strlen(words[i]);
    }
    if (*p == '"') return skip_text(p);
    if (*p == '~') return p[1] == '"' ? skip_text(p + 1) : NULL;
    if (*p == '$') {
        size_t len = bindings_name_len(p + 1);
        return len > 0 ? p + 1 + len : NULL;
    }
    if (strncmp(p, "h'", 2) == 0) {
        p += 2 + strspn(p + 2, "0123456789abcdef ");
        return *p == '\'' ? p + 1 : NULL;
    }
    const char *digits = p + (*p == '-');
    size_t len = strspn(digits, "0123456789");
    return len > 0 ? digits + len : NULL;
}

static const char *skip_pattern(const char *p, int depth);

static const char *skip_container(const char *p, char close, int depth)
{
    p = blanks(p + 1);
    if (*p == close) return p + 1;
    for (;;) {
        p = blanks(p);
        if (*p == '*') {
            p = blanks(p + 1);
            return *p == close ? p + 1 : NULL;
        }
        p = skip_pattern(p, depth);
        if (p != NULL && close == '}') {
            p = blanks(p);
            p = *p == ':' ? skip_pattern(p + 1, depth) : NULL;
        }
        if (p == NULL) return NULL;
        p = blanks(p);
        if (*p == close) return p + 1;
        if (*p++ != ',') return NULL;
    }
}

static const char *skip_pattern(const char *p, int depth)
{
    p = blanks(p);
    if (depth == 0) return NULL;
    if (*p == '[') return skip_container(p, ']', depth - 1);
    if (*p == '{') return skip_container(p, '}', depth - 1);
    if (*p == '<') {
        p = skip_pattern(p + 1, depth - 1);
        if (p != NULL) p = blanks(p);
        return p != NULL && *p == '>' ? p + 1 : NULL;
    }
    return skip_scalar(p);
}

bool pattern_valid(const char *pattern)
{
    const char *end = skip_pattern(pattern, 16);
    return end != NULL && *blanks(end) == '\0';
}

/* ---- matching ---------------------------------------------------------------------------------------------------- */

static bool match(const char *p, mps_view bytes, struct bindings *bindings);

/* A pattern's "text" against a str's body; \" \\ and \n are the only escapes. */
static bool match_text(const char *p, mps_view body)
{
    uint32_t i = 0;
    for (p++; *p != '"'; p++, i++) {
        char c = *p;
        if (c == '\\') {
            c = *++p;
            if (c == 'n') c = '\n';
        }
        if (i >= body.len || body.ptr[i] != (uint8_t)c) return false;
    }
    return i == body.len;
}

/* Whether the text stands anywhere in the body. */
static bool match_part(const char *p, mps_view body)
{
    for (uint32_t len = 0; len <= body.len; len++) {
        for (uint32_t from = 0; from + len <= body.len; from++)
            if (match_text(p, (mps_view){body.ptr + from, len})) return true;
    }
    return false;
}

static bool match_hex(const char *p, mps_view body)
{
    uint32_t i = 0;
    for (p = blanks(p + 2); *p != '\''; p = blanks(p + 2), i++) {
        char pair[3] = {p[0], p[1], '\0'};
        if (i >= body.len || strtoul(pair, NULL, 16) != body.ptr[i]) return false;
    }
    return i == body.len;
}

/* A name that has no text yet takes this one. */
static bool match_text_name(const char *p, mps_view body, struct bindings *bindings)
{
    size_t len = bindings_name_len(p + 1);
    if (bindings == NULL) return false;
    mps_view known = bindings_find(bindings, p + 1, len);
    return known.ptr != NULL ? mps_view_equal(known, body) : bindings_add(bindings, p + 1, len, body);
}

/* A number is known by its digits. */
static bool match_name(const char *p, const struct mps_head *head, mps_view body, struct bindings *bindings)
{
    char digits[24];
    if (head->type == MPS_STR) return match_text_name(p, body, bindings);
    if (head->type != MPS_UINT) return false;
    int len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)head->number);
    return match_text_name(p, (mps_view){(const uint8_t *)digits, (uint32_t)len}, bindings);
}

static bool match_scalar(const char *p, const struct mps_head *head, mps_view body, struct bindings *bindings)
{
    if (*p == '~') return head->type == MPS_STR && match_part(p + 1, body);
    if (*p == '$') return match_name(p, head, body, bindings);
    if (*p == '"') return head->type == MPS_STR && match_text(p, body);
    if (*p == 'h') return head->type == MPS_BIN && match_hex(p, body);
    if (*p == 'n') return head->type == MPS_NIL;
    if (*p == 't' || *p == 'f') return head->type == MPS_BOOL && head->boolean == (*p == 't');
    if (*p == '-') return head->type == MPS_INT && (int64_t)head->number == strtoll(p, NULL, 10);
    return head->type == MPS_UINT && head->number == strtoull(p, NULL, 10);
}

static bool match_array(const char *p, struct mps_reader r, uint32_t count, struct bindings *bindings)
{
    for (p = blanks(p + 1); *p != ']';) {
        if (*p == '*') return true;
        if (count-- == 0 || !match(p, mps_read_any(&r, "element"), bindings)) return false;
        p = blanks(skip_pattern(p, 16));
        if (*p == ',') p = blanks(p + 1);
    }
    return count == 0;
}

static mps_view find_key(const char *key, struct mps_reader r, uint32_t pairs, struct bindings *bindings)
{
    while (pairs-- > 0) {
        mps_view found = mps_read_any(&r, "key"), value = mps_read_any(&r, "value");
        if (match(key, found, bindings)) return value;
    }
    return (mps_view){NULL, 0};
}

static bool match_map(const char *p, struct mps_reader r, uint32_t pairs, struct bindings *bindings)
{
    uint32_t wanted = 0;
    for (p = blanks(p + 1); *p != '}'; wanted++) {
        if (*p == '*') return true;
        mps_view value = find_key(p, r, pairs, bindings);
        p = blanks(skip_pattern(p, 16)) + 1;
        if (value.ptr == NULL || !match(blanks(p), value, bindings)) return false;
        p = blanks(skip_pattern(p, 16));
        if (*p == ',') p = blanks(p + 1);
    }
    return wanted == pairs;
}

/* One value and nothing behind it. */
static bool match_whole(const char *p, mps_view bytes, struct bindings *bindings)
{
    struct mps_reader r = mps_reader_open(bytes);
    mps_view value = mps_read_any(&r, "value");
    return r.bad == NULL && value.len == bytes.len && match(p, bytes, bindings);
}

static bool match(const char *p, mps_view bytes, struct bindings *bindings)
{
    struct mps_head head;
    if (bytes.ptr == NULL || mps_head_read(bytes.ptr, bytes.len, &head) != 1) return false;
    p = blanks(p);
    if (*p == '_') return true;
    mps_view body = {bytes.ptr + head.head_len, bytes.len - head.head_len};
    if (*p == '[') return head.type == MPS_ARRAY && match_array(p, mps_reader_open(body), head.count, bindings);
    if (*p == '{') return head.type == MPS_MAP && match_map(p, mps_reader_open(body), head.count, bindings);
    if (*p == '<') return head.type == MPS_BIN && match_whole(p + 1, body, bindings);
    return match_scalar(p, &head, body, bindings);
}

bool pattern_matches(const char *pattern, mps_view bytes, struct bindings *bindings)
{
    size_t known = bindings != NULL ? bindings->count : 0;
    bool hit = match_whole(pattern, bytes, bindings);
    if (!hit && bindings != NULL) bindings_cut(bindings, known);
    return hit;
}
