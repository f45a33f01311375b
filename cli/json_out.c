#include "json_out.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utf8.h"

static void put_wrapped(struct output *out, const char *before, mps_view bytes, const char *after)
{
    output_text(out, before);
    output_base64(out, bytes.ptr, bytes.len);
    output_text(out, after);
}

static bool is_utf8(mps_view text)
{
    const char *p = (const char *)text.ptr;
    for (size_t at = 0; at < text.len;) {
        uint32_t code;
        size_t size = utf8_read(p + at, text.len - at, &code);
        if (size == 0) return false;
        at += size;
    }
    return true;
}

static void put_json_escape(struct output *out, uint32_t code)
{
    switch (code) {
    case '"': output_text(out, "\\\""); break;
    case '\\': output_text(out, "\\\\"); break;
    case '\b': output_text(out, "\\b"); break;
    case '\f': output_text(out, "\\f"); break;
    case '\n': output_text(out, "\\n"); break;
    case '\r': output_text(out, "\\r"); break;
    case '\t': output_text(out, "\\t"); break;
    default: output_format(out, "\\u%04x", (unsigned)code); break;
    }
}

/* Control characters are escaped up to U+009F: a terminal may obey those, too. */
static void put_string(struct output *out, mps_view text)
{
    const char *p = (const char *)text.ptr;
    size_t clean = 0, at = 0;
    output_char(out, '"');
    while (at < text.len) {
        uint32_t code = 0;
        size_t size = utf8_read(p + at, text.len - at, &code);
        if (code < 32 || code == '"' || code == '\\' || (code >= 0x7f && code < 0xa0)) {
            output_put(out, p + clean, at - clean);
            put_json_escape(out, code);
            clean = at + size;
        }
        at += size;
    }
    output_put(out, p + clean, at - clean);
    output_char(out, '"');
}

void json_out_bytes(struct output *out, mps_view bytes)
{
    put_wrapped(out, "{\"$bin\":\"", bytes, "\"}");
}

void json_out_text(struct output *out, mps_view text)
{
    if (is_utf8(text)) {
        put_string(out, text);
    } else {
        put_wrapped(out, "{\"$str\":\"", text, "\"}");
    }
}

/* The fewest digits that read back as the same number, and to be seen as no integer. 15 always do for what had 15 or
 * less
 * (%g leaves out zeros at the end), but for the smallest of numbers, which have fewer digits in truth. */
static void put_float(struct output *out, double real)
{
    if (isnan(real)) {
        output_text(out, "null");
    } else if (isinf(real)) {
        output_text(out, real > 0 ? "1e999" : "-1e999");
    } else {
        char text[40];
        for (int digits = fabs(real) < DBL_MIN ? 1 : 15; digits <= 17; digits++) {
            snprintf(text, sizeof text, "%.*g", digits, real);
            if (strtod(text, NULL) == real) break;
        }
        output_text(out, text);
        if (!strpbrk(text, ".e")) output_text(out, ".0");
    }
}

/* nil, booleans and numbers, which are written alike as values and, within quotes, as keys. */
static void put_plain(struct output *out, const struct mps_head *head)
{
    switch (head->type) {
    case MPS_NIL: output_text(out, "null"); break;
    case MPS_BOOL: output_text(out, head->boolean ? "true" : "false"); break;
    case MPS_UINT: output_format(out, "%" PRIu64, head->number); break;
    case MPS_INT: output_format(out, "%" PRId64, (int64_t)head->number); break;
    case MPS_FLOAT: put_float(out, head->real); break;
    case MPS_STR:
    case MPS_BIN:
    case MPS_EXT:
    case MPS_ARRAY:
    case MPS_MAP: break;
    }
}

static void put_value(struct output *out, const struct mps_walk *walk)
{
    if (walk->head.type == MPS_STR) {
        json_out_text(out, walk->body);
    } else if (walk->head.type == MPS_BIN) {
        json_out_bytes(out, walk->body);
    } else if (walk->head.type == MPS_EXT) {
        output_format(out, "{\"$ext\":[%d,\"", walk->head.ext_type);
        put_wrapped(out, "", walk->body, "\"]}");
    } else {
        put_plain(out, &walk->head);
    }
}

static void put_key(struct output *out, const struct mps_walk *walk)
{
    if (walk->head.type == MPS_STR && is_utf8(walk->body)) {
        put_string(out, walk->body);
    } else if (walk->head.type == MPS_STR) {
        put_wrapped(out, "\"$str:", walk->body, "\"");
    } else if (walk->head.type == MPS_BIN) {
        put_wrapped(out, "\"$bin:", walk->body, "\"");
    } else if (walk->head.type == MPS_EXT) {
        output_format(out, "\"$ext:%d:", walk->head.ext_type);
        put_wrapped(out, "", walk->body, "\"");
    } else {
        output_char(out, '"');
        put_plain(out, &walk->head);
        output_char(out, '"');
    }
}

/* A key that is itself an array or map: its bytes. Written out, a key in a key in a key would double its quotes'
 * escapes at each level. begin is where its head begins. */
static void put_container_key(struct output *out, struct mps_walk *walk, const uint8_t *begin)
{
    uint32_t depth = walk->depth - 1;
    while (walk->depth > depth && mps_walk_next(walk) != MPS_WALK_END) {
    }
    put_wrapped(out, "\"$msgpack:", (mps_view){begin, (uint32_t)(walk->p - begin)}, "\"");
}

void json_out_document(struct output *out, mps_view checked)
{
    struct mps_walk walk;
    mps_walk_open(&walk, checked);
    bool after_key = false;
    for (;;) {
        const uint8_t *begin = walk.p;
        enum mps_walk_event event = mps_walk_next(&walk);
        if (event == MPS_WALK_END) return;
        if (event == MPS_WALK_CLOSE) {
            output_char(out, walk.head.type == MPS_MAP ? '}' : ']');
            after_key = false;
            continue;
        }
        if (after_key) {
            output_char(out, ':');
        } else if (!walk.first) {
            output_char(out, ',');
        }
        after_key = walk.is_key;
        if (event == MPS_WALK_VALUE) {
            if (walk.is_key) {
                put_key(out, &walk);
            } else {
                put_value(out, &walk);
            }
        } else if (walk.is_key) {
            put_container_key(out, &walk, begin);
        } else {
            output_char(out, walk.head.type == MPS_MAP ? '{' : '[');
        }
    }
}
