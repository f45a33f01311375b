/* One pass over a document: is it one, and where are the fields that a filter asks for? */
#include "filter_program.h"

/* A container that is open. The outermost one is not in the bytes: it owes the document. */
struct level {
    uint32_t owed;        /* values that it lacks; in a map an even number stands before a key */
    uint32_t index;       /* of an array's next element */
    uint16_t first_child; /* fields that are looked for in it */
    uint16_t child_count;
    uint16_t missing; /* of these: 0 and nobody looks any more */
    bool map;
    uint64_t hints; /* of the fields that are keys */
};

struct scan {
    const struct filter_field *fields;
    const uint8_t **found;
    uint32_t values; /* of the document, as far as their containers have announced them */
    struct level *level;
    struct level levels[MPS_DOCUMENT_DEPTH_MAX + 1];
};

/* Opens a container as the field that it is. False if that is more than a document may hold. */
static bool open_container(struct scan *scan, bool map, uint32_t count, uint16_t field)
{
    if (scan->level == scan->levels + MPS_DOCUMENT_DEPTH_MAX || count > MPS_DOCUMENT_VALUES_MAX) return false;
    struct level *level = ++scan->level;
    level->owed = map ? count * 2 : count;
    level->index = 0;
    level->missing = 0;
    level->map = map;
    scan->values += level->owed;
    if (field != FILTER_NONE) {
        level->hints = scan->fields[field].key_hints;
        level->first_child = scan->fields[field].first_child;
        level->child_count = level->missing = scan->fields[field].child_count;
    }
    return scan->values <= MPS_DOCUMENT_VALUES_MAX;
}

/* Passes over a value that is a container or has a long length; NULL if it is not whole. */
static const uint8_t *pass_large(struct scan *scan, const uint8_t *p, const uint8_t *end, uint16_t field)
{
    struct mps_head head;
    if (p != end && (*p & 0xe0) == 0x80) return open_container(scan, *p < 0x90, *p & 15, field) ? p + 1 : NULL;
    if (mps_head_read(p, (size_t)(end - p), &head) != 1) return NULL;
    p += head.head_len;
    if (head.type == MPS_ARRAY || head.type == MPS_MAP)
        return open_container(scan, head.type == MPS_MAP, head.count, field) ? p : NULL;
    return head.count <= (size_t)(end - p) ? p + head.count : NULL;
}

/* The field that the key at p is, among those that are looked for; FILTER_NONE if none. */
static uint16_t find_text(const struct scan *scan, const uint8_t *key, uint32_t len)
{
    const struct level *level = scan->level;
    for (uint16_t i = level->first_child, last = (uint16_t)(i + level->child_count); i < last; i++) {
        const struct filter_field *field = &scan->fields[i];
        if (field->key_len == len && field->key != NULL && filter_same_bytes(field->key, key, len)) return i;
    }
    return FILTER_NONE;
}

static uint16_t find_index(const struct scan *scan, uint64_t index)
{
    const struct level *level = scan->level;
    for (uint16_t i = level->first_child, last = (uint16_t)(i + level->child_count); i < last; i++) {
        if (scan->fields[i].key == NULL && scan->fields[i].index == index) return i;
    }
    return FILTER_NONE;
}

static uint16_t find_key(const struct scan *scan, const uint8_t *p, const uint8_t *end)
{
    struct mps_head head;
    if (mps_head_read(p, (size_t)(end - p), &head) != 1) return FILTER_NONE;
    if (head.type == MPS_UINT) return find_index(scan, head.number);
    if (head.type != MPS_STR || head.count > (size_t)(end - p) - head.head_len) return FILTER_NONE;
    return find_text(scan, p + head.head_len, head.count);
}

/* How long a value that begins with this byte is, if the byte tells, for the common kinds; else 0. These are told apart
 * by branches: where the next value begins is then guessed by the processor, which does not wait for the bytes. */
static inline uint32_t small_len(uint32_t byte)
{
    if (byte < 0x80) return 1;                    /* fixint */
    if (byte - 0xa0 < 32) return 1 + (byte & 31); /* fixstr */
    if (byte == 0xcb || byte == 0xcf) return 9;
    if (byte == 0xcd || byte == 0xd1) return 3;
    if (byte == 0xcc || byte == 0xd0) return 2;
    if (byte == 0xca || byte == 0xce || byte == 0xd2) return 5;
    if (byte == 0xd3) return 9;
    return byte >= 0xe0 || byte == 0xc0 || byte == 0xc2 || byte == 0xc3; /* negative, nil, bool */
}

/* Passes over the value or key at p; NULL if it is not whole. */
static inline const uint8_t *pass(struct scan *scan, const uint8_t *p, const uint8_t *end, uint16_t field)
{
    uint32_t len = p != end ? small_len(*p) : 0;
    if (len == 0) return pass_large(scan, p, end, field);
    return len <= (size_t)(end - p) ? p + len : NULL;
}

/* Notes that the field is here, unless it was before. Returns it, or FILTER_NONE. */
static inline uint16_t claim(struct scan *scan, uint16_t field, const uint8_t *p)
{
    if (field == FILTER_NONE || scan->found[field] != NULL) return FILTER_NONE;
    scan->found[field] = p;
    scan->level->missing--;
    return field;
}

/* Passes over the small values at p that nobody looks for. */
static const uint8_t *pass_small(struct level *level, const uint8_t *p, const uint8_t *end)
{
    uint32_t owed = level->owed;
    for (uint32_t len; owed > 0 && p != end; owed--) {
        len = small_len(*p);
        if (len == 0 || len > (size_t)(end - p)) break;
        p += len;
    }
    level->owed = owed;
    return p;
}

/* Passes over the small pairs at p whose keys are short texts, and notes those that are looked for. */
static const uint8_t *pass_small_pairs(struct scan *scan, const uint8_t *p, const uint8_t *end)
{
    struct level *level = scan->level;
    uint32_t owed = level->owed;
    uint64_t hints = level->hints;
    size_t at = 0, size = (size_t)(end - p);
    for (; owed > 0 && at < size; owed -= 2) {
        uint32_t key_len = p[at] - 0xa0u;
        size_t value = at + 1 + key_len;
        if (key_len >= 32 || value >= size) break;
        uint32_t len = small_len(p[value]);
        if (len == 0 || value + len > size) break;
        if (hints >> filter_key_hint(p + at + 1, key_len) & 1) {
            claim(scan, find_text(scan, p + at + 1, key_len), p + value);
            if (level->missing == 0) hints = 0;
        }
        at = value + len;
    }
    level->owed = owed;
    return p + at;
}

const uint8_t *mps_filter_value_end(const uint8_t *p)
{
    for (uint64_t owed = 1; owed > 0; owed--) {
        struct mps_head head;
        uint32_t len = small_len(*p);
        if (len == 0) {
            mps_head_read(p, FILTER_HEAD_LEN_MAX, &head);
            len = head.head_len;
            if (head.type == MPS_ARRAY) owed += head.count;
            else if (head.type == MPS_MAP) owed += 2 * head.count;
            else len += head.count; /* the body; nothing else has a count */
        }
        p += len;
    }
    return p;
}

bool mps_filter_scan(const struct mps_filter *filter, uint16_t root, mps_view bytes, const uint8_t **found)
{
    if (bytes.len == 0) return false;
    const uint8_t *p = bytes.ptr, *end = p + bytes.len;
    struct scan scan;
    scan.fields = filter->fields;
    scan.found = found;
    scan.values = 1;
    scan.level = scan.levels;
    scan.levels[0].owed = 0;
    found[root] = p;
    p = pass(&scan, p, end, root);
    while (p != NULL) {
        struct level *level = scan.level;
        if (level->owed == 0) {
            if (level == scan.levels) return p == end;
            scan.level--;
            continue;
        }
        uint16_t field = FILTER_NONE;
        if (level->missing == 0) {
            p = pass_small(level, p, end);
            if (level->owed == 0) continue;
        } else if (!level->map) {
            field = find_index(&scan, level->index++);
        } else if (level->owed % 2 == 0) {
            p = pass_small_pairs(&scan, p, end);
            if (level->owed == 0 || level->missing == 0) continue;
            field = find_key(&scan, p, end);
            level->owed--;
            p = pass(&scan, p, end, FILTER_NONE);
            if (p == NULL || scan.level != level) continue; /* the key is a container */
        }
        level->owed--;
        p = pass(&scan, p, end, claim(&scan, field, p));
    }
    return false;
}
