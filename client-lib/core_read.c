/* msgpack as the core reads it: values, fields of frames, and the rules of texts, topics and properties. */
#include "core_state.h"

/* ---- values --------------------------------------------------------------------------------------------------- */

/* Of the first bytes c0..df: the type, and how many bytes of the head follow. */
static const uint8_t wide[32] = {
#define WIDE(type, bytes) (ITEM_##type << 4 | (bytes))
    WIDE(NIL, 0),   WIDE(NIL, 15),  WIDE(BOOL, 0), WIDE(BOOL, 0),  WIDE(BIN, 1),   WIDE(BIN, 2),  WIDE(BIN, 4),
    WIDE(EXT, 2),   WIDE(EXT, 3),   WIDE(EXT, 5),  WIDE(FLOAT, 4), WIDE(FLOAT, 8), WIDE(UINT, 1), WIDE(UINT, 2),
    WIDE(UINT, 4),  WIDE(UINT, 8),  WIDE(INT, 1),  WIDE(INT, 2),   WIDE(INT, 4),   WIDE(INT, 8),  WIDE(EXT, 1),
    WIDE(EXT, 1),   WIDE(EXT, 1),   WIDE(EXT, 1),  WIDE(EXT, 1),   WIDE(STR, 1),   WIDE(STR, 2),  WIDE(STR, 4),
    WIDE(ARRAY, 2), WIDE(ARRAY, 4), WIDE(MAP, 2),  WIDE(MAP, 4),
};

CORE_LOCAL int mps_core_item(const uint8_t *p, size_t left, struct item *item)
{
    unsigned first = p[0], bytes = 0, type = ITEM_UINT;
    uint64_t number = first;
    if (first >= 0xe0) type = ITEM_INT, number |= ~UINT64_C(0xff);
    else if (first >= 0xc0) {
        type = wide[first - 0xc0] >> 4;
        bytes = wide[first - 0xc0] & 15;
        if (first == 0xc1) return -1;
        if (left <= bytes) return 0;
        number = first == 0xc3;
        if (type == ITEM_INT && p[1] > 0x7f) number = UINT64_MAX;
        else if (type == ITEM_INT) type = ITEM_UINT;
        for (unsigned i = 1; i <= bytes; i++) number = number << 8 | p[i];
    } else if (first >= 0xa0) type = ITEM_STR, number &= 31;
    else if (first >= 0x80) type = first < 0x90 ? ITEM_MAP : ITEM_ARRAY, number &= 15;
    item->type = (uint8_t)type;
    item->head = (uint8_t)(1 + bytes);
    item->len = type < ITEM_STR || type == ITEM_FLOAT ? 0 : (uint32_t)number;
    if (type == ITEM_EXT) {
        item->len = first < 0xd0 ? (uint32_t)(number >> 8) : UINT32_C(1) << (first - 0xd4);
        number &= 0xff;
    }
    item->number = number;
    return 1;
}

CORE_LOCAL int mps_core_take(struct reader *in, struct item *item)
{
    if (in->p == NULL) return -1;
    size_t left = (size_t)(in->end - in->p);
    if (left > 0 && mps_core_item(in->p, left, item) > 0) {
        left -= item->head;
        in->p += item->head;
        if (!mps_core_has_body(item)) return item->type;
        if (left >= item->len) {
            in->p += item->len;
            return item->type;
        }
    }
    in->p = NULL;
    return -1;
}

CORE_LOCAL struct view mps_core_take_any(struct reader *in)
{
    const uint8_t *start = in->p;
    uint32_t owed = 1;
    while (owed > 0) {
        struct item item;
        int type = mps_core_take(in, &item);
        /* Each value takes a byte: with more of them owed than there are bytes, one will be missing. */
        if (type < 0 || (!mps_core_has_body(&item) && item.len > (uint32_t)(in->end - in->p)))
            return in->p = NULL, (struct view){NULL, 0};
        owed--;
        if (type >= ITEM_ARRAY) owed += type == ITEM_MAP ? 2 * item.len : item.len;
    }
    return (struct view){start, (uint32_t)(in->p - start)};
}

/* ---- fields ---------------------------------------------------------------------------------------------------- */

/* Of a letter: how many bits a number may have, and how many bytes it takes. */
static const char of_letter[] = "s\x1f\4"
                                "n\x35\x8"
                                "u\x20\4"
                                "h\x10\4"
                                "o\7\4"
                                "k\2\4"
                                "f\x20\1"
                                "q\1\1"
                                "l\x40\x8"
                                "z\0\x8";
enum { BOOL_IS_A_BYTE = 1 / (sizeof(bool) == 1) };

CORE_LOCAL bool mps_core_take_field(struct reader *in, char letter, void *to)
{
    struct item item;
    int type = mps_core_take(in, &item);
    if (type < 0) return false;
    struct view view = {in->p - item.len, item.len};
    if (letter == 'b') {
        *(struct pubsub_bytes *)to = (struct pubsub_bytes){view.ptr, view.len};
        return type == ITEM_BIN && item.len <= MPS_TOKEN_MAX;
    }
    if (letter == 't' || letter == 'v') {
        if (type != ITEM_STR || !mps_core_utf8(view)) return false;
        if (letter == 't') *(const char **)to = mps_core_text_in_place(view);
        return true;
    }
    const char *row = of_letter;
    while (*row != letter) row += 3;
    if (type != (letter == 'q' ? ITEM_BOOL : ITEM_UINT) || (row[1] < 64 && item.number >> row[1] != 0)) return false;
    if (row[2] == 1) *(uint8_t *)to = (uint8_t)item.number;
    else if (row[2] == 4) *(uint32_t *)to = (uint32_t)item.number;
    else *(uint64_t *)to = item.number;
    return true;
}

CORE_LOCAL bool mps_core_take_fields(struct view frame, const struct field *fields, void *to, unsigned *given)
{
    struct reader in = {frame.ptr, frame.ptr + frame.len};
    struct item item;
    *given = 0;
    mps_core_take(&in, &item);
    uint32_t left = item.len - 1;
    mps_core_take(&in, &item); /* the operation */
    for (unsigned bit = 1; fields->letter < 0x80; fields++, bit <<= 1) {
        char letter = (char)(fields->letter | 0x20);
        bool optional = fields->letter != letter;
        if (left == 0 && optional) continue;
        if (left == 0) return false;
        left--;
        if (optional && *in.p == 0xc0) {
            in.p++;
            continue;
        }
        *given |= bit;
        void *at = (uint8_t *)to + fields->at;
        if (letter == 'm' || letter == 'a') {
            struct view any = mps_core_take_any(&in);
            if (letter == 'm' && !mps_core_is_map(any)) return false;
            *(struct pubsub_bytes *)at = (struct pubsub_bytes){any.ptr, any.len};
        } else if (!mps_core_take_field(&in, letter, at)) {
            return false;
        }
    }
    return true;
}

CORE_LOCAL const char *mps_core_text_in_place(struct view text)
{
    char *begin = (char *)(uintptr_t)text.ptr - 1, *to = begin;
    const uint8_t *p = text.ptr, *end = p + text.len;
    for (; p < end && to - begin < PUBSUB_CORE_TEXT_MAX - 1; p++) {
        uint8_t byte = *p;
        if (byte == 0xc2 && p[1] < 0xa0) byte = 0, p++;
        *to++ = byte < 0x20 || byte == 0x7f ? '?' : (char)byte;
    }
    if (p < end) /* not within a character */
        for (; (*p & 0xc0) == 0x80; p--) to--;
    *to = '\0';
    return begin;
}

/* ---- texts ----------------------------------------------------------------------------------------------------- */

/* Bytes of the well-formed UTF-8 character at p, or 0: not one, or NUL. Table 3-7 of the Unicode standard. */
static unsigned utf8_length(const uint8_t *p, uint32_t left)
{
    unsigned first = p[0];
    if (first < 0x80) return first != 0;
    unsigned len = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    if (len == 0 || left < len) return 0;
    unsigned low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    unsigned high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high) return 0;
    for (unsigned i = 2; i < len; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    return len;
}

CORE_LOCAL bool mps_core_utf8(struct view text)
{
    while (text.len > 0) {
        unsigned len = utf8_length(text.ptr, text.len);
        if (len == 0) return false;
        text.ptr += len;
        text.len -= len;
    }
    return true;
}

CORE_LOCAL struct view mps_core_text(const char *text, uint32_t max)
{
    struct view view = {(const uint8_t *)text, max + 1};
    size_t len = text != NULL ? strlen(text) : 0;
    if (len <= max) view.len = (uint32_t)len;
    return view;
}

#if PUBSUB_CORE_FAST
#define EACH_BYTE(byte) (UINT64_C(0x0101010101010101) * (byte))

static uint64_t zero_bytes(uint64_t word)
{
    return (word - EACH_BYTE(1)) & ~word & EACH_BYTE(0x80);
}

/* Whether a topic is seen to be good 8 bytes at a time: ASCII without NUL or wildcard, too short for too many levels.
 */
static bool is_plain_topic(struct view name)
{
    if (name.len < 8 || name.len >= MPS_TOPIC_LEVELS_MAX) return false;
    for (uint32_t at = 0;; at = at + 16 <= name.len ? at + 8 : name.len - 8) {
        uint64_t word;
        memcpy(&word, name.ptr + at, 8);
        if ((word & EACH_BYTE(0x80)) | zero_bytes(word) | zero_bytes(word ^ EACH_BYTE('+')) |
            zero_bytes(word ^ EACH_BYTE('#')))
            return false;
        if (at + 8 == name.len) return true;
    }
}
#endif

CORE_LOCAL bool mps_core_is_name(struct view name, bool wild)
{
#if PUBSUB_CORE_FAST
    if (is_plain_topic(name)) return true;
#endif
    unsigned levels = 1;
    if (name.len == 0 || name.len > MPS_TOPIC_MAX || !mps_core_utf8(name)) return false;
    for (uint32_t i = 0; i < name.len; i++) {
        uint8_t byte = name.ptr[i];
        if (byte == '/') levels++;
        if (byte != '+' && byte != '#') continue;
        bool last = i + 1 == name.len;
        if (!wild || (i > 0 && name.ptr[i - 1] != '/') || (!last && (byte == '#' || name.ptr[i + 1] != '/')))
            return false;
    }
    return levels <= MPS_TOPIC_LEVELS_MAX;
}

CORE_LOCAL bool mps_core_is_topic(const char *name, bool wild)
{
    return mps_core_is_name(mps_core_text(name, MPS_TOPIC_MAX), wild);
}

/* Characters that steer a terminal or hide in a name: C0 and C1 controls, blanks, and Unicode's formatting characters
 * (zero width and bidirectional: U+200B..200F, U+2028..202E, U+2060..206F, U+FEFF), within well-formed UTF-8. */
static bool hides(const uint8_t *p)
{
    if (p[0] <= ' ' || p[0] == 0x7f) return true;
    if (p[0] == 0xc2) return p[1] <= 0xa0 || p[1] == 0xad;
    if (p[0] == 0xe2 && p[1] == 0x80) return (p[2] >= 0x8b && p[2] <= 0x8f) || (p[2] >= 0xa8 && p[2] <= 0xae);
    if (p[0] == 0xe2 && p[1] == 0x81) return p[2] >= 0xa0 && p[2] <= 0xaf;
    return p[0] == 0xef && p[1] == 0xbb && p[2] == 0xbf;
}

CORE_LOCAL bool mps_core_is_id(struct view id)
{
    if (id.len == 0 || id.len > MPS_ID_MAX || id.ptr[0] == '$' || !mps_core_utf8(id)) return false;
    for (uint32_t i = 0; i < id.len; i++) {
        uint8_t byte = id.ptr[i];
        if (byte == '/' || byte == '+' || byte == '#' || hides(id.ptr + i)) return false;
    }
    return true;
}

/* ---- maps ------------------------------------------------------------------------------------------------------ */

/* Whether two keys mean the same, whatever the width of their heads. */
static bool same_key(struct view a, struct view b)
{
    struct item in_a, in_b;
    mps_core_item(a.ptr, a.len, &in_a);
    mps_core_item(b.ptr, b.len, &in_b);
    if (in_a.type != in_b.type) return false;
    if (in_a.type < ITEM_FLOAT) {
        if (in_a.number != in_b.number) return false;
        a.ptr += in_a.head, a.len -= in_a.head;
        b.ptr += in_b.head, b.len -= in_b.head;
    }
    return a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0;
}

/* Quadratic, on purpose: a frame's head holds at most 256 values. */
CORE_LOCAL bool mps_core_is_map(struct view map)
{
    struct reader in = {map.ptr, map.ptr + map.len};
    uint32_t pairs;
    {
        struct item item; /* in a block of its own, whose stack is free behind it */
        if (mps_core_take(&in, &item) != ITEM_MAP) return false;
        pairs = item.len;
    }
    struct reader before = in;
    for (; pairs > 0; pairs--) {
        struct view key = mps_core_take_any(&in);
        mps_core_take_any(&in);
        if (in.p == NULL) return false;
        for (struct reader other = before; other.p < key.ptr; mps_core_take_any(&other))
            if (same_key(mps_core_take_any(&other), key)) return false;
    }
    return in.p == in.end;
}

#if PUBSUB_CORE_SUBSCRIBE || PUBSUB_CORE_PROPERTIES || PUBSUB_CORE_WILL
static int type_of(struct view value)
{
    struct item item;
    mps_core_item(value.ptr, value.len, &item);
    return item.type;
}

/* Of a property with a key of the protocol's, by its letter; x: no array. The content type (3) is 0 or a text. */
static bool is_property(uint64_t key, struct view value)
{
    static const char of_key[] = "vxznbxxn";
    struct reader in = {value.ptr, value.ptr + value.len};
    union {
        uint64_t number;
        struct pubsub_bytes bytes;
    } taken;
    if (key - 1 >= sizeof of_key - 1) return true;
    char letter = of_key[key - 1];
    int type = type_of(value);
    if (letter == 'x') return type != ITEM_ARRAY;
    if (letter == 'z' && type == ITEM_STR) letter = 'v';
    return mps_core_take_field(&in, letter, &taken) && (letter != 'b' || taken.bytes.len == 25);
}

/* Values in a map of properties: array, operation, topic and payload are four more in a message's frame. */
#define PROPERTIES_MAX (MPS_VALUES_MAX - 4)

CORE_LOCAL bool mps_core_are_properties(struct view map, bool arrays)
{
    struct reader in = {map.ptr, map.ptr + map.len};
    struct item item;
    if (!mps_core_is_map(map)) return false;
    mps_core_take(&in, &item);
    uint32_t values = 1 + 2 * item.len;
    for (uint32_t pairs = item.len; pairs > 0; pairs--) {
        int type = mps_core_take(&in, &item); /* no key is an array or a map */
        if (type == ITEM_STR ? !mps_core_utf8((struct view){in.p - item.len, item.len}) : type != ITEM_UINT)
            return false;
        uint64_t key = item.number;
        struct view value = mps_core_take_any(&in);
        if (type == ITEM_UINT && !is_property(key, value)) return false;
        struct reader inside = {value.ptr, in.p};
        uint32_t scalars = 1;
        if (arrays && type_of(value) == ITEM_ARRAY) mps_core_take(&inside, &item), values += scalars = item.len;
        for (; scalars > 0; scalars--) {
            type = mps_core_take(&inside, &item);
            if (type == ITEM_EXT || type >= ITEM_ARRAY) return false;
        }
    }
    return values <= PROPERTIES_MAX;
}
#endif
