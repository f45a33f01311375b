#include "log_form.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define VALUE_MAX 400u /* bytes of a value, as it came */
/* What stands behind a value that takes all the room: other keys, numbers, and the end. */
#define TAIL_BYTES 512u
#define CHARACTER_BYTES 12u /* of the longest form of one: two \uXXXX */

/* How a value is escaped. */
enum escapes { ESCAPES_NONE, ESCAPES_LOGFMT, ESCAPES_JSON };

static const char *level_name(enum log_level level)
{
    switch (level) {
    case LOG_ERROR: return "error";
    case LOG_WARN: return "warning";
    case LOG_INFO: return "info";
    case LOG_DEBUG: return "debug";
    case LOG_AUDIT: return "audit";
    }
    return "";
}

static void put_bytes(struct log_line *line, const char *bytes, size_t len)
{
    size_t room = sizeof line->bytes - 1 - line->len; /* without the newline */
    if (len > room) len = room;
    memcpy(line->bytes + line->len, bytes, len);
    line->len += len;
}

static void put(struct log_line *line, const char *text)
{
    put_bytes(line, text, strlen(text));
}

/* Bytes of the character that begins with this byte of valid UTF-8. */
static uint32_t character_bytes(uint8_t first)
{
    return first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

static uint32_t code_point(const uint8_t *p, uint32_t len)
{
    static const uint8_t masks[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t code = p[0] & masks[len];
    for (uint32_t i = 1; i < len; i++) code = code << 6 | (p[i] & 0x3fu);
    return code;
}

static void put_json_escape(struct log_line *line, uint32_t code)
{
    char text[16];
    if (code > 0xffff) {
        code -= 0x10000;
        snprintf(text, sizeof text, "\\u%04x\\u%04x", 0xd800 + (code >> 10), 0xdc00 + (code & 0x3ff));
    } else {
        snprintf(text, sizeof text, "\\u%04x", code);
    }
    put(line, text);
}

/* A character that can't stand as it is. */
static void put_escape(struct log_line *line, enum escapes escapes, const uint8_t *p, uint32_t len, bool is_valid)
{
    char text[8];
    if (escapes == ESCAPES_JSON && is_valid) {
        put_json_escape(line, code_point(p, len));
        return;
    }
    for (uint32_t i = 0; i < len; i++) {
        snprintf(text, sizeof text, escapes == ESCAPES_JSON ? "\\\\x%02x" : "\\x%02x", p[i]);
        put(line, text);
    }
}

/* Whatever stands in it: nothing in it ends the line or the quotes, steers a terminal, hides or reorders. */
static void put_escaped(struct log_line *line, enum escapes escapes, mps_view text, uint32_t bytes_max)
{
    bool is_valid = mps_utf8_valid(text);
    for (uint32_t at = 0, len; at < text.len; at += len) {
        const uint8_t *p = text.ptr + at;
        if (at >= bytes_max || line->len + TAIL_BYTES + CHARACTER_BYTES > sizeof line->bytes) {
            put(line, "...");
            return;
        }
        len = is_valid ? character_bytes(*p) : 1;
        bool hides = *p != ' ' && (mps_hides(p, text.len - at) || (*p >= 0x80 && !is_valid));
        if (hides) {
            put_escape(line, escapes, p, len, is_valid || *p < 0x80);
        } else {
            if (escapes != ESCAPES_NONE && (*p == '"' || *p == '\\')) put(line, "\\");
            put_bytes(line, (const char *)p, len);
        }
    }
}

static void put_quoted(struct log_line *line, enum escapes escapes, mps_view text, uint32_t bytes_max)
{
    put(line, "\"");
    put_escaped(line, escapes, text, bytes_max);
    put(line, "\"");
}

static void put_value(struct log_line *line, enum escapes escapes, const struct log_field *field)
{
    char digits[24];
    if (field->kind == FIELD_NUMBER) {
        snprintf(digits, sizeof digits, "%" PRIu64, field->number);
        put(line, digits);
    } else if (field->kind == FIELD_WORD && escapes == ESCAPES_LOGFMT) {
        put_escaped(line, escapes, field->text, VALUE_MAX);
    } else {
        put_quoted(line, escapes, field->text, VALUE_MAX);
    }
}

static void put_field(struct log_line *line, enum escapes escapes, const struct log_field *field)
{
    if (field->kind != FIELD_NUMBER && field->text.ptr == NULL) return;
    put(line, escapes == ESCAPES_JSON ? ",\"" : " ");
    put(line, field->key);
    put(line, escapes == ESCAPES_JSON ? "\":" : "=");
    put_value(line, escapes, field);
}

static void put_fields(struct log_line *line, enum escapes escapes, const struct log_record *record)
{
    for (const struct log_field *field = record->fields; field != NULL && field->key != NULL; field++)
        put_field(line, escapes, field);
    if (record->text == NULL) return;
    put(line, escapes == ESCAPES_JSON ? ",\"text\":" : " text=");
    put_quoted(line, escapes, mps_text(record->text), LOG_LINE_MAX);
}

/* ISO 8601, UTC. */
static void put_time(struct log_line *line, uint64_t wall_ms, const char *before, const char *behind)
{
    char date[32], text[40];
    struct tm when;
    time_t seconds = (time_t)(wall_ms / 1000);
    if (wall_ms == 0 || gmtime_r(&seconds, &when) == NULL) return;
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &when);
    snprintf(text, sizeof text, "%s.%03uZ", date, (unsigned)(wall_ms % 1000));
    put(line, before);
    put(line, text);
    put(line, behind);
}

static void put_names(struct log_line *line, const char *before, const char *level, const char *between,
                      const char *event, const char *behind)
{
    put(line, before);
    put(line, level);
    put(line, between);
    put(line, event);
    put(line, behind);
}

static void form_text(struct log_line *line, enum log_level level, const char *name, uint64_t wall_ms,
                      const struct log_record *record)
{
    put_time(line, wall_ms, "", " ");
    put(line, "pubsubd: ");
    put(line, level_name(level));
    put(line, ": ");
    if (level != LOG_AUDIT && record->text != NULL) {
        put_escaped(line, ESCAPES_NONE, mps_text(record->text), LOG_LINE_MAX);
        return;
    }
    put(line, "event=");
    put(line, name);
    put_fields(line, ESCAPES_LOGFMT, record);
}

void log_form(struct log_line *line, enum log_form form, enum log_level level, const char *name, uint64_t wall_ms,
              const struct log_record *record)
{
    line->len = 0;
    switch (form) {
    case LOG_FORM_TEXT: form_text(line, level, name, wall_ms, record); break;
    case LOG_FORM_LOGFMT:
        put_time(line, wall_ms, "time=", " ");
        put_names(line, "level=", level_name(level), " event=", name, "");
        put_fields(line, ESCAPES_LOGFMT, record);
        break;
    case LOG_FORM_JSON:
        put(line, "{");
        put_time(line, wall_ms, "\"time\":\"", "\",");
        put_names(line, "\"level\":\"", level_name(level), "\",\"event\":\"", name, "\"");
        put_fields(line, ESCAPES_JSON, record);
        put(line, "}");
        break;
    }
    line->bytes[line->len++] = '\n';
}
