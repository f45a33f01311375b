#include "body.h"

#include <stdio.h>
#include <string.h>

#include "json_in.h"
#include "value.h"

static void put_big_endian(uint8_t *p, uint32_t number, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) p[i] = (uint8_t)(number >> (8 * (bytes - 1 - i)));
}

/* Writes the head of a str or bin of len bytes right in front of its body. Returns where the head begins. */
static uint8_t *put_head_before(uint8_t *body, uint32_t len, bool bin)
{
    unsigned bytes = len < 256 ? 1 : len < 65536 ? 2 : 4;
    if (!bin && len < 32) {
        *--body = (uint8_t)(0xa0 | len);
        return body;
    }
    body -= bytes;
    put_big_endian(body, len, bytes);
    *--body = (uint8_t)((bin ? 0xc4 : 0xd9) + (bytes == 4 ? 2 : bytes - 1));
    return body;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place; blanks between the bytes are left out. */
static bool hex_decode(uint8_t *bytes, size_t *len, char *error, size_t error_cap)
{
    size_t used = 0;
    for (size_t i = 0; i < *len;) {
        if (bytes[i] == ' ' || (bytes[i] >= '\t' && bytes[i] <= '\r')) {
            i++;
            continue;
        }
        int high = hex_digit(bytes[i]), low = i + 1 < *len ? hex_digit(bytes[i + 1]) : -1;
        if (high < 0 || low < 0) {
            snprintf(error, error_cap, "not hexadecimal: at character %zu there are no two digits", i + 1);
            return false;
        }
        bytes[used++] = (uint8_t)(high << 4 | low);
        i += 2;
    }
    *len = used;
    return true;
}

static bool encode_json(const uint8_t *bytes, size_t len, struct buffer *scratch, char *error, size_t error_cap)
{
    char why[256];
    scratch->len = 0;
    if (json_in((const char *)bytes, len, scratch, why, sizeof why)) return true;
    snprintf(error, error_cap, "not JSON: %s", why);
    return false;
}

bool body_encode(const struct body_form *form, uint8_t *bytes, size_t len, struct buffer *scratch,
                 const uint8_t **payload, size_t *payload_len, char *error, size_t error_cap)
{
    if (form->hex && !hex_decode(bytes, &len, error, error_cap)) return false;
    if (len > UINT32_MAX) {
        snprintf(error, error_cap, "too large: %zu bytes, the limit is %u", len, UINT32_MAX);
        return false;
    }
    const uint8_t *begin = bytes;
    const char *why;
    switch (form->kind) {
    case BODY_TEXT: begin = put_head_before(bytes, (uint32_t)len, form->hex); break;
    case BODY_RAW: break;
    case BODY_MSGPACK:
        why = mps_document_check((mps_view){bytes, (uint32_t)len}, 0, UINT32_MAX);
        if (why) {
            snprintf(error, error_cap, "not one msgpack document: %s", why);
            return false;
        }
        break;
    case BODY_JSON:
        if (!encode_json(bytes, len, scratch, error, error_cap)) return false;
        *payload = scratch->data;
        *payload_len = scratch->len;
        return true;
    }
    *payload = begin;
    *payload_len = (size_t)(bytes - begin) + len;
    return true;
}

size_t body_input_max(const struct body_form *form, uint64_t payload_max)
{
    /* The most that JSON can shrink is blanks between values, which has no bound; 16 is generous to pretty-printed
     * text. */
    uint64_t factor = form->kind == BODY_JSON ? 16 : form->hex ? 4 : 1;
    if (payload_max > UINT32_MAX) payload_max = UINT32_MAX;
    return (size_t)(payload_max * factor);
}

bool body_looks_like_json(const char *text)
{
    char why[256];
    struct buffer scratch = {0};
    text += strspn(text, " \t\r\n");
    bool like = (*text == '{' || *text == '[') && json_in(text, strlen(text), &scratch, why, sizeof why);
    buffer_free(&scratch);
    return like;
}
