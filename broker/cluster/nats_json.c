#include "nats_json.h"

#include <string.h>

static uint32_t skip_blanks(mps_view text, uint32_t at)
{
    while (at < text.len &&
           (text.ptr[at] == ' ' || text.ptr[at] == '\t' || text.ptr[at] == '\n' || text.ptr[at] == '\r'))
        at++;
    return at;
}

/* Behind the string that begins here; 0: it has no end. */
static uint32_t string_end(mps_view text, uint32_t at)
{
    for (at++; at < text.len; at++) {
        if (text.ptr[at] == '\\') at++;
        else if (text.ptr[at] == '"') return at + 1;
    }
    return 0;
}

/* Behind the value that begins here; 0: it has no end. Of containers only the brackets are counted. */
static uint32_t value_end(mps_view text, uint32_t at)
{
    uint32_t open = 0;
    while (at < text.len) {
        uint8_t c = text.ptr[at];
        if (c == '"') {
            at = string_end(text, at);
            if (at == 0 || open == 0) return at;
            continue;
        }
        if (c == '{' || c == '[') open++;
        else if (c == '}' || c == ']') {
            if (open == 0) return at;
            if (--open == 0) return at + 1;
        } else if (open == 0 && (c == ',' || c == ' ' || c == '\n' || c == '\r' || c == '\t')) {
            return at;
        }
        at++;
    }
    return open == 0 ? at : 0;
}

static mps_view part(mps_view text, uint32_t from, uint32_t to)
{
    return (mps_view){text.ptr + from, to - from};
}

/* The value of a name in an object. */
static mps_view member(mps_view object, const char *name, size_t name_len)
{
    const mps_view none = {NULL, 0};
    uint32_t at = skip_blanks(object, 0);
    if (at >= object.len || object.ptr[at] != '{') return none;
    for (at++;; at++) {
        at = skip_blanks(object, at);
        if (at >= object.len || object.ptr[at] != '"') return none;
        uint32_t key_end = string_end(object, at);
        if (key_end == 0) return none;
        bool is_it = key_end - at - 2 == name_len && memcmp(object.ptr + at + 1, name, name_len) == 0;
        at = skip_blanks(object, key_end);
        if (at >= object.len || object.ptr[at] != ':') return none;
        at = skip_blanks(object, at + 1);
        uint32_t end = value_end(object, at);
        if (end <= at) return none;
        if (is_it) return part(object, at, end);
        at = skip_blanks(object, end);
        if (at >= object.len || object.ptr[at] != ',') return none;
    }
}

mps_view json_find(mps_view document, const char *path)
{
    while (document.ptr != NULL) {
        size_t len = strcspn(path, ".");
        document = member(document, path, len);
        if (path[len] == '\0') break;
        path += len + 1;
    }
    return document;
}

uint64_t json_uint(mps_view document, const char *path, uint64_t otherwise)
{
    mps_view text = json_find(document, path);
    uint64_t number = 0;
    if (text.len == 0) return otherwise;
    for (uint32_t i = 0; i < text.len; i++) {
        uint8_t c = text.ptr[i];
        if (c < '0' || c > '9' || number > (UINT64_MAX - 9) / 10) return otherwise;
        number = number * 10 + (uint64_t)(c - '0');
    }
    return number;
}

bool json_is_true(mps_view document, const char *path)
{
    mps_view text = json_find(document, path);
    return text.len == 4 && memcmp(text.ptr, "true", 4) == 0;
}

/* What is between the quotes; the absent view: it is no string. */
static mps_view unquoted(mps_view text)
{
    if (text.len < 2 || text.ptr[0] != '"') return (mps_view){NULL, 0};
    return part(text, 1, text.len - 1);
}

/* What stands behind a backslash; *at is there, and then at its last byte. 0: nothing that is shown. */
static uint32_t escaped(mps_view text, uint32_t *at)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    uint32_t c = text.ptr[*at], code = 0;
    if (c != 'u') return c == '"' || c == '\\' || c == '/' ? c : 0;
    for (int i = 0; i < 4 && *at + 1 < text.len; i++) {
        const char *digit = memchr(digits, text.ptr[*at + 1], sizeof digits - 1);
        if (digit == NULL) return 0;
        code = code << 4 | (uint32_t)(digit - digits) % 16;
        ++*at;
    }
    return code;
}

void json_text(mps_view document, const char *path, char *to, size_t cap)
{
    mps_view text = unquoted(json_find(document, path));
    size_t len = 0;
    for (uint32_t i = 0; i < text.len && len + 1 < cap; i++) {
        uint32_t c = text.ptr[i];
        if (c == '\\' && i + 1 < text.len) {
            i++;
            c = escaped(text, &i);
        }
        to[len++] = c >= ' ' && c < 0x7f ? (char)c : '?';
    }
    to[len] = '\0';
}

bool json_text_is(mps_view document, const char *path, const char *wanted)
{
    mps_view text = unquoted(json_find(document, path));
    return text.ptr != NULL && text.len == strlen(wanted) && memcmp(text.ptr, wanted, text.len) == 0;
}

bool json_next(mps_view array, uint32_t *at, mps_view *element)
{
    uint32_t begin = skip_blanks(array, *at);
    if (begin >= array.len || array.ptr[begin] != (*at == 0 ? '[' : ',')) return false;
    begin = skip_blanks(array, begin + 1);
    uint32_t end = value_end(array, begin);
    if (end <= begin) return false;
    *element = part(array, begin, end);
    *at = end;
    return true;
}

/* ---- times -------------------------------------------------------------------------------------------------- */

/* Days from 1970 to this date of our calendar. */
static uint64_t days_to(uint64_t year, uint64_t month, uint64_t day)
{
    uint64_t y = month <= 2 ? year - 1 : year, from_march = (month + 9) % 12;
    return y * 365 + y / 4 - y / 100 + y / 400 + (from_march * 153 + 2) / 5 + day - 1 - 719468;
}

static bool digits(mps_view text, uint32_t at, uint32_t count, uint64_t *number)
{
    *number = 0;
    if (at + count > text.len) return false;
    for (uint32_t i = at; i < at + count; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') return false;
        *number = *number * 10 + (uint64_t)(text.ptr[i] - '0');
    }
    return true;
}

uint64_t json_time(mps_view document, const char *path)
{
    mps_view text = unquoted(json_find(document, path));
    uint64_t year, month, day, hour, minute, second;
    if (text.len < 20 || !digits(text, 0, 4, &year) || !digits(text, 5, 2, &month) || !digits(text, 8, 2, &day) ||
        !digits(text, 11, 2, &hour) || !digits(text, 14, 2, &minute) || !digits(text, 17, 2, &second))
        return 0;
    if (year < 1970 || year > 2500 || month < 1 || month > 12 || day < 1) return 0;
    uint64_t ns = 0, unit = 100000000;
    if (text.ptr[19] == '.')
        for (uint32_t i = 20; i < text.len && text.ptr[i] >= '0' && text.ptr[i] <= '9'; i++, unit /= 10)
            ns += unit * (uint64_t)(text.ptr[i] - '0');
    return (((days_to(year, month, day) * 24 + hour) * 60 + minute) * 60 + second) * 1000000000 + ns;
}
