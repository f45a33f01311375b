/* From what the user gives to the payload of a message. */
#ifndef CLI_BODY_H
#define CLI_BODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"

enum body_kind {
    BODY_TEXT,    /* a msgpack string */
    BODY_JSON,    /* JSON, becomes the same in msgpack */
    BODY_MSGPACK, /* is a msgpack document already */
    BODY_RAW,     /* bytes that are no document, content type 0 */
};

struct body_form {
    enum body_kind kind;
    bool hex; /* hexadecimal digits stand for the bytes; as BODY_TEXT these become a msgpack bin */
};

/* Room that body_encode() needs in front of the bytes, for it writes a head there. */
#define BODY_HEADROOM 5

/* Turns len bytes, in front of which BODY_HEADROOM bytes may be overwritten, into a payload of *payload_len bytes at
 * *payload: in place, or in scratch. Texts and raw bytes are not copied.
 * False: error holds a clause for a person. */
bool body_encode(const struct body_form *form, uint8_t *bytes, size_t len, struct buffer *scratch,
                 const uint8_t **payload, size_t *payload_len, char *error, size_t error_cap);

/* How many bytes of input can make a payload of at most payload_max: what is longer need not be read. */
size_t body_input_max(const struct body_form *form, uint64_t payload_max);

/* Whether a text was perhaps meant as JSON: an object or array. */
bool body_looks_like_json(const char *text);

#endif
