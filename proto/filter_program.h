/* A compiled filter as its compiler, its scan and its judge see it: private to filter_*.c.
 * It is one piece of memory; its parts lie behind the header and are pointed at, so it must stay where it is. */
#ifndef MPS_FILTER_PROGRAM_H
#define MPS_FILTER_PROGRAM_H

#include <string.h>

#include "filter.h"
#include "value.h"

/* A longer path leads nowhere in a document that is at most so deep. */
#define FILTER_STEPS_MAX MPS_DOCUMENT_DEPTH_MAX
#define FILTER_HEAD_LEN_MAX 9  /* bytes of a value's head */
#define FILTER_NONE UINT16_MAX
/* Fields of a text of that many bytes: a step takes two, but for the first. The roots and the content type come on
 * top. */
#define FILTER_FIELDS_MAX(text_len) (FILTER_ROOT_COUNT + 1 + ((text_len) + 1) / 2)

enum filter_op {
    FILTER_EQ,
    FILTER_NE,
    FILTER_LT,
    FILTER_LE,
    FILTER_GT,
    FILTER_GE,
    FILTER_BEGINS,  /* left begins with right */
    FILTER_IN,      /* left equals one of .count literals from right on */
    FILTER_HAS,     /* the container left holds the element or the key right */
    FILTER_EXISTS,  /* left is there */
    FILTER_NOT_NIL, /* left is there and not nil */
    FILTER_NOT,     /* turns the result so far */
    FILTER_AND,     /* goes on at .target if the result so far is false */
    FILTER_OR,      /* goes on at .target if it is true */
};

enum filter_source { FILTER_LITERAL, FILTER_FIELD, FILTER_HEADER, FILTER_TOPIC, FILTER_LEVEL };

struct filter_operand {
    uint8_t source; /* enum filter_source */
    uint16_t index; /* of the literal, of the field in document or props, of the topic's level */
};

/* The result so far is one bool: comparisons set it, NOT turns it, AND and OR jump by it. */
struct filter_instr {
    uint8_t op; /* enum filter_op */
    struct filter_operand left, right;
    uint16_t count, target;
};

/* A value, of the filter or in place. */
struct filter_value {
    struct mps_head head;
    const uint8_t *body; /* str, bin: its bytes */
};

/* What is looked for in document and props is one tree: each field is a step of a path, and paths that begin alike
 * share their first steps. The children of a field lie side by side. No two of them match the same key. */
struct filter_field {
    uint64_t key_hints;  /* of its children that are keys: bits of filter_key_hint() */
    const uint8_t *key;  /* NULL: index is meant */
    uint64_t index;      /* of an array's element, or an integer key of a map */
    uint16_t key_len;
    uint16_t first_child, child_count;
};

enum { FILTER_DOCUMENT, FILTER_PROPS, FILTER_ROOT_COUNT }; /* the first fields: what paths begin in */

struct mps_filter {
    _Alignas(uint64_t) const struct filter_instr *instrs; /* what lies behind the header is aligned so, too */
    const struct filter_value *literals;
    const struct filter_field *fields;
    uint16_t instr_count, field_count;
    uint16_t content_type;         /* the field of that header, wanted with uses_document */
    bool uses_document, uses_props;
};

/* A number below 64 that tells most keys from each other. */
static inline unsigned filter_key_hint(const uint8_t *key, uint32_t len)
{
    return (len * 5 + (len == 0 ? 0xa0u : key[len - 1])) & 63;
}

/* memcmp() == 0 without a call for the short pieces that keys and texts mostly are: each half covers what the other
 * lacks. */
static inline bool filter_same_bytes(const uint8_t *a, const uint8_t *b, uint32_t len)
{
    if (len > 16) return memcmp(a, b, len) == 0;
    if (len >= 8) return memcmp(a, b, 8) == 0 && memcmp(a + len - 8, b + len - 8, 8) == 0;
    if (len >= 4) return memcmp(a, b, 4) == 0 && memcmp(a + len - 4, b + len - 4, 4) == 0;
    return len == 0 || (a[0] == b[0] && a[len / 2] == b[len / 2] && a[len - 1] == b[len - 1]);
}

/* Passes over bytes once, and notes in found[] (all NULL before, one for each field) where the values of the root's
 * fields begin. The first of several equal keys counts. Returns false if it is not one well-formed document within the
 * limits of value.h; found[] then is worth nothing. Time: values times children of the field that they are under. */
bool mps_filter_scan(const struct mps_filter *filter, uint16_t root, mps_view bytes, const uint8_t **found);

/* What follows a value of a document that was scanned: nothing is checked again. */
const uint8_t *mps_filter_value_end(const uint8_t *p);

#endif
