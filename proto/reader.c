#include <string.h>

#include "wire.h"

struct mps_reader mps_reader_open(mps_view bytes)
{
    return (struct mps_reader){bytes.ptr, bytes.ptr != NULL ? bytes.ptr + bytes.len : NULL, NULL};
}

bool mps_reader_more(const struct mps_reader *r)
{
    return r->bad == NULL && r->p < r->end;
}

static void fail(struct mps_reader *r, const char *what)
{
    if (r->bad == NULL) r->bad = what;
}

/* Takes the next head and, for str, bin and ext, the body too. */
static bool take(struct mps_reader *r, struct mps_head *head, mps_view *body, const char *what)
{
    if (r->bad != NULL) return false;
    size_t left = (size_t)(r->end - r->p);
    if (mps_head_read(r->p, left, head) != 1) {
        fail(r, what);
        return false;
    }
    uint32_t body_len = head->type == MPS_STR || head->type == MPS_BIN || head->type == MPS_EXT ? head->count : 0;
    if (left - head->head_len < body_len) {
        fail(r, what);
        return false;
    }
    *body = (mps_view){r->p + head->head_len, body_len};
    r->p += head->head_len + body_len;
    return true;
}

/* Takes the next value if it is of this type; zeroes *head otherwise. */
static mps_view take_type(struct mps_reader *r, enum mps_type type, struct mps_head *head, const char *what)
{
    mps_view body = {NULL, 0};
    if (take(r, head, &body, what) && head->type == type) return body;
    fail(r, what);
    *head = (struct mps_head){0};
    return (mps_view){NULL, 0};
}

uint32_t mps_read_array(struct mps_reader *r, const char *what)
{
    struct mps_head head;
    take_type(r, MPS_ARRAY, &head, what);
    return head.count;
}

uint32_t mps_read_map(struct mps_reader *r, const char *what)
{
    struct mps_head head;
    take_type(r, MPS_MAP, &head, what);
    return head.count;
}

uint64_t mps_read_uint(struct mps_reader *r, uint64_t max, const char *what)
{
    struct mps_head head;
    take_type(r, MPS_UINT, &head, what);
    if (head.number <= max) return head.number;
    fail(r, what);
    return 0;
}

bool mps_read_bool(struct mps_reader *r, const char *what)
{
    struct mps_head head;
    take_type(r, MPS_BOOL, &head, what);
    return head.boolean;
}

mps_view mps_read_text(struct mps_reader *r, const char *what)
{
    struct mps_head head;
    mps_view text = take_type(r, MPS_STR, &head, what);
    if (r->bad == NULL && mps_utf8_valid(text)) return text;
    fail(r, what);
    return (mps_view){NULL, 0};
}

mps_view mps_read_bin(struct mps_reader *r, const char *what)
{
    struct mps_head head;
    return take_type(r, MPS_BIN, &head, what);
}

bool mps_read_nil(struct mps_reader *r)
{
    if (!mps_reader_more(r) || *r->p != 0xc0) return false;
    r->p++;
    return true;
}

mps_view mps_read_any(struct mps_reader *r, const char *what)
{
    const uint8_t *start = r->p;
    uint64_t owed = 1;
    while (owed > 0) {
        struct mps_head head;
        mps_view body;
        if (!take(r, &head, &body, what)) return (mps_view){NULL, 0};
        owed--;
        if (head.type == MPS_ARRAY) owed += head.count;
        if (head.type == MPS_MAP) owed += 2 * (uint64_t)head.count;
    }
    return (mps_view){start, (uint32_t)(r->p - start)};
}

/* Bytes of the well-formed UTF-8 character at p, or 0: not one, or NUL. Table 3-7 of the Unicode standard. */
static unsigned utf8_length(const uint8_t *p, size_t left)
{
    unsigned first = p[0];
    if (first < 0x80) return first != 0;
    unsigned len = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    if (len == 0 || left < len) return 0;
    unsigned low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    unsigned high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high) return 0;
    for (unsigned i = 2; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
    }
    return len;
}

/* Whether 8 bytes are ASCII without NUL: no high bit is set, nor would be if each byte were one less. */
static bool is_ascii(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return ((word | (word - UINT64_C(0x0101010101010101))) & UINT64_C(0x8080808080808080)) == 0;
}

bool mps_utf8_valid(mps_view text)
{
    for (uint32_t i = 0; i < text.len;) {
        if (text.len - i >= 8 && is_ascii(text.ptr + i)) {
            i += 8;
            continue;
        }
        unsigned len = utf8_length(text.ptr + i, text.len - i);
        if (len == 0) return false;
        i += len;
    }
    return true;
}

/* Whether two raw keys mean the same value: equal bodies of one type, whatever the width of their heads. */
static bool same_key(mps_view a, mps_view b)
{
    struct mps_head head_a, head_b;
    mps_view body_a, body_b;
    struct mps_reader ra = mps_reader_open(a), rb = mps_reader_open(b);
    if (!take(&ra, &head_a, &body_a, "key") || !take(&rb, &head_b, &body_b, "key") || head_a.type != head_b.type)
        return false;
    switch (head_a.type) {
    case MPS_NIL: return true;
    case MPS_BOOL: return head_a.boolean == head_b.boolean;
    case MPS_UINT:
    case MPS_INT: return head_a.number == head_b.number;
    case MPS_STR:
    case MPS_BIN: return mps_view_equal(body_a, body_b);
    case MPS_EXT: return head_a.ext_type == head_b.ext_type && mps_view_equal(body_a, body_b);
    case MPS_FLOAT:
    case MPS_ARRAY:
    case MPS_MAP: return mps_view_equal(a, b);
    }
    return false;
}

/* Quadratic, on purpose: a frame's head holds at most MPS_VALUES_MAX values, so at most 8,001 comparisons. */
bool mps_map_has_duplicates(mps_view map)
{
    struct mps_reader r = mps_reader_open(map);
    uint32_t pairs = mps_read_map(&r, "map");
    const uint8_t *first = r.p;
    for (uint32_t i = 0; i < pairs && r.bad == NULL; i++) {
        const uint8_t *here = r.p;
        mps_view key = mps_read_any(&r, "key");
        mps_read_any(&r, "value");
        struct mps_reader before = {first, here, NULL};
        while (mps_reader_more(&before)) {
            mps_view other = mps_read_any(&before, "key");
            mps_read_any(&before, "value");
            if (same_key(key, other)) return true;
        }
    }
    return r.bad != NULL;
}
