/* The words of an expression: names, texts, numbers, and what to say when another one was due. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filter_compiler.h"

#define SHOWN_MAX 24 /* bytes of the text that a message repeats */

/* ---- mistakes ---- */

bool mps_filter_fail(struct filter_reader *r, uint32_t at, const char *format, ...)
{
    if (r->failed) return false;
    r->failed = true;
    r->error->column = at + 1;
    va_list args;
    va_start(args, format);
    vsnprintf(r->error->text, sizeof r->error->text, format, args);
    va_end(args);
    return false;
}

static bool is_digit(char byte)
{
    return byte >= '0' && byte <= '9';
}

/* Names are letters, digits, '_', '-' and all that is not ASCII; no digit or '-' begins one. */
static bool begins_name(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte == '_' || (byte & 0x80) != 0;
}

static bool in_name(char byte)
{
    return begins_name(byte) || is_digit(byte) || byte == '-';
}

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}

static bool is_control(char byte)
{
    return (uint8_t)byte < ' ' || byte == 0x7f;
}

static uint32_t name_len(const struct filter_reader *r)
{
    uint32_t len = 0;
    while (r->at + len < r->len && in_name(r->text[r->at + len])) len++;
    return len;
}

/* Writes what stands at the cursor as a message names it: 'temp', '>=', 30, a text, the end. */
static void describe(const struct filter_reader *r, char *room, size_t size)
{
    const char *at = r->text + r->at;
    char byte = r->at < r->len ? *at : 0;
    uint32_t len = name_len(r);
    bool cut = len > SHOWN_MAX;
    if (cut) {
        len = SHOWN_MAX;
        while ((at[len] & 0xc0) == 0x80) len--; /* whole characters only */
    }
    if (r->at == r->len) snprintf(room, size, "the end");
    else if (byte == '"') snprintf(room, size, "a text");
    else if (byte == '\'') snprintf(room, size, "\"'\"; texts stand in double quotes");
    else if (is_blank(byte)) snprintf(room, size, "a blank");
    else if (is_control(byte)) snprintf(room, size, "a control character");
    else if (len > 0 && !begins_name(byte)) snprintf(room, size, "%.*s%s", (int)len, at, cut ? "..." : "");
    else if (len > 0) snprintf(room, size, "'%.*s%s'", (int)len, at, cut ? "..." : "");
    else snprintf(room, size, "'%.*s'", r->at + 1 < r->len && strchr("=!<>^&|", byte) && at[1] == '=' ? 2 : 1, at);
}

bool mps_filter_expected(struct filter_reader *r, const char *format, ...)
{
    char what[80], found[48];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    describe(r, found, sizeof found);
    return mps_filter_fail(r, r->at, "expected %s, found %s", what, found);
}

/* ---- names and signs ---- */

char mps_filter_peek(struct filter_reader *r)
{
    while (r->at < r->len && is_blank(r->text[r->at])) r->at++;
    return r->at < r->len ? r->text[r->at] : 0;
}

bool mps_filter_take(struct filter_reader *r, char byte)
{
    if (mps_filter_peek(r) != byte || r->at == r->len) return false;
    r->at++;
    return true;
}

bool mps_filter_at_name(const struct filter_reader *r)
{
    return r->at < r->len && begins_name(r->text[r->at]);
}

enum filter_word mps_filter_peek_word(struct filter_reader *r)
{
    static const char *const words[] = {
        [FILTER_WORD_AND] = "and",   [FILTER_WORD_OR] = "or",       [FILTER_WORD_NOT] = "not",
        [FILTER_WORD_IN] = "in",     [FILTER_WORD_HAS] = "has",     [FILTER_WORD_EXISTS] = "exists",
        [FILTER_WORD_TRUE] = "true", [FILTER_WORD_FALSE] = "false", [FILTER_WORD_NIL] = "nil",
    };
    mps_filter_peek(r);
    uint32_t len = name_len(r);
    for (unsigned i = FILTER_WORD_NONE + 1; i < sizeof words / sizeof *words; i++) {
        if (strlen(words[i]) == len && memcmp(words[i], r->text + r->at, len) == 0) return (enum filter_word)i;
    }
    return FILTER_WORD_NONE;
}

void mps_filter_pass_name(struct filter_reader *r)
{
    r->at += name_len(r);
}

/* ---- texts ---- */

/* Four hexadecimal digits at the cursor, and past them. */
static bool read_hex(struct filter_reader *r, uint32_t *code)
{
    *code = 0;
    for (unsigned i = 0; i < 4; i++, r->at++) {
        char byte = r->at < r->len ? r->text[r->at] : 0;
        char lower = (char)(byte | 0x20);
        if (is_digit(byte)) *code = *code << 4 | (uint32_t)(byte - '0');
        else if (lower >= 'a' && lower <= 'f') *code = *code << 4 | (uint32_t)(lower - 'a' + 10);
        else return mps_filter_expected(r, "four hexadecimal digits after \\u");
    }
    return true;
}

static uint32_t put_utf8(uint8_t *to, uint32_t code)
{
    if (code < 0x80) {
        to[0] = (uint8_t)code;
        return 1;
    }
    uint32_t more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    for (uint32_t i = more; i > 0; i--, code >>= 6) to[i] = (uint8_t)(0x80 | (code & 0x3f));
    to[0] = (uint8_t)(0xff00 >> (more + 1) | code); /* as many ones in front as there are bytes */
    return more + 1;
}

/* The character of \uXXXX or of a pair of them. The cursor is behind the u. */
static bool read_unicode(struct filter_reader *r, uint8_t *room, uint32_t *len)
{
    uint32_t begin = r->at - 2, code, low = 0;
    if (!read_hex(r, &code)) return false;
    if (code >= 0xd800 && code < 0xdc00 && r->len - r->at >= 2 && memcmp(r->text + r->at, "\\u", 2) == 0) {
        r->at += 2;
        if (!read_hex(r, &low)) return false;
        if (low >= 0xdc00 && low < 0xe000) code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    if (code >= 0xd800 && code < 0xe000) return mps_filter_fail(r, begin, "half a pair of surrogates is no character");
    *len += put_utf8(room + *len, code);
    return true;
}

static bool read_escape(struct filter_reader *r, uint8_t *room, uint32_t *len)
{
    char byte = ++r->at < r->len ? r->text[r->at] : 0;
    r->at++;
    switch (byte) {
    case '"':
    case '\\': room[(*len)++] = (uint8_t)byte; return true;
    case 'n': room[(*len)++] = '\n'; return true;
    case 't': room[(*len)++] = '\t'; return true;
    case 'u': return read_unicode(r, room, len);
    default: return mps_filter_fail(r, r->at - 2, "expected \\\", \\\\, \\n, \\t or \\uXXXX");
    }
}

bool mps_filter_read_text(struct filter_reader *r, uint8_t *room, uint32_t *len)
{
    uint32_t begin = r->at++;
    *len = 0;
    while (r->at < r->len && r->text[r->at] != '"') {
        if (r->text[r->at] != '\\') room[(*len)++] = (uint8_t)r->text[r->at++];
        else if (!read_escape(r, room, len)) return false;
    }
    if (r->at == r->len) return mps_filter_fail(r, begin, "expected a '\"' at the end of this text, found the end");
    r->at++;
    return true;
}

/* ---- numbers ---- */

/* Past the digits at the cursor; there must be one. They are appended to *digits. */
static bool read_digits(struct filter_reader *r, char *digits, size_t *len)
{
    if (r->at == r->len || !is_digit(r->text[r->at])) return mps_filter_expected(r, "a digit");
    while (r->at < r->len && is_digit(r->text[r->at])) digits[(*len)++] = r->text[r->at++];
    return true;
}

/* The value of digits, if it is at most max. */
static bool fits(const char *digits, size_t len, uint64_t max, uint64_t *number)
{
    *number = 0;
    for (size_t i = 0; i < len; i++) {
        uint64_t digit = (uint64_t)(digits[i] - '0');
        if (*number > (max - digit) / 10) return false;
        *number = *number * 10 + digit;
    }
    return true;
}

/* The exponent behind an e, cut to what changes anything. */
static bool read_exponent(struct filter_reader *r, long *exponent)
{
    char digits[MPS_FILTER_TEXT_MAX];
    size_t len = 0;
    uint64_t number;
    r->at++;
    bool negative = r->at < r->len && r->text[r->at] == '-';
    if (negative || (r->at < r->len && r->text[r->at] == '+')) r->at++;
    if (!read_digits(r, digits, &len)) return false;
    if (!fits(digits, len, 9999, &number)) number = 9999; /* more than all digits of the text can make up for */
    *exponent += negative ? -(long)number : (long)number;
    return true;
}

/* The number of sign, digits and exponent, with the point taken out: so strtod() has no locale to ask. */
static double real_of(bool negative, const char *digits, size_t len, long exponent)
{
    char text[MPS_FILTER_TEXT_MAX + 32];
    snprintf(text, sizeof text, "%s%.*se%ld", negative ? "-" : "", (int)len, digits, exponent);
    return strtod(text, NULL);
}

bool mps_filter_read_number(struct filter_reader *r, struct mps_head *head)
{
    char digits[MPS_FILTER_TEXT_MAX];
    size_t len = 0;
    long exponent = 0;
    uint32_t begin = r->at;
    bool negative = r->text[r->at] == '-', whole = true;
    if (negative) r->at++;
    if (!read_digits(r, digits, &len)) return false;
    if (r->at < r->len && r->text[r->at] == '.') {
        size_t before = len;
        whole = false;
        r->at++;
        if (!read_digits(r, digits, &len)) return false;
        exponent = -(long)(len - before);
    }
    if (r->at < r->len && (r->text[r->at] | 0x20) == 'e') {
        whole = false;
        if (!read_exponent(r, &exponent)) return false;
    }
    if (r->at < r->len && (in_name(r->text[r->at]) || r->text[r->at] == '.'))
        return mps_filter_expected(r, "the end of the number");

    uint64_t number;
    *head = (struct mps_head){.type = MPS_UINT};
    if (whole && fits(digits, len, negative ? UINT64_C(1) << 63 : UINT64_MAX, &number)) {
        if (negative && number > 0) head->type = MPS_INT;
        head->number = negative ? 0 - number : number;
        return true;
    }
    head->type = MPS_FLOAT;
    head->real = real_of(negative, digits, len, exponent);
    return !isinf(head->real) || mps_filter_fail(r, begin, "expected a number of at most 1.7976931348623157e308");
}

bool mps_filter_read_index(struct filter_reader *r, uint64_t *index)
{
    char digits[MPS_FILTER_TEXT_MAX];
    size_t len = 0;
    uint32_t begin = ++r->at;
    if (r->at == r->len || !is_digit(r->text[r->at])) return mps_filter_expected(r, "a number from 0 after '['");
    read_digits(r, digits, &len);
    if (!fits(digits, len, UINT64_MAX, index)) return mps_filter_fail(r, begin, "expected a number below 2^64");
    if (r->at == r->len || r->text[r->at] != ']') return mps_filter_expected(r, "']' after the number");
    r->at++;
    return true;
}
