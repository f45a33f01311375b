/* mps/1, our own protocol, and `raw`: its MSG frames through a relay that copies bytes (relay.c) or into a sink that
 * stores them (sink.c). Source: PROTOCOL.md.
 * Written without the broker's codec, so that a mistake there can't hide here. */
#include "protocol.h"

enum {
    OP_HELLO = 1,
    OP_MSG,
    OP_PUB,
    OP_FOR,
    OP_GAP = 7,
    OP_PUBACK,
    OP_SUB,
    OP_SUBACK,
    OP_PING = 13,
    OP_PONG,
    OP_WELCOME = 19,
    OP_ERR,
    OP_BYE
};
enum {
    LEVEL_SHIFT = 1,
    LEVEL_REPLICATED = 3,
    FIELDS_MAX = 8,
    REFUSED = 200,
    RELAY_READY = 'K',
    SINK_STORED = 'A',
    SINK_STORED_LEN = 9
};

static size_t put_text(uint8_t *out, const char *text, size_t len)
{
    size_t at = 0;
    if (len < 32) {
        out[at++] = (uint8_t)(0xa0 | len);
    } else {
        out[at++] = 0xd9;
        out[at++] = (uint8_t)len;
    }
    memcpy(out + at, text, len);
    return at + len;
}

static size_t put_big_endian(uint8_t *out, uint64_t number, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) out[i] = (uint8_t)(number >> (8 * (bytes - 1 - i)));
    return bytes;
}

static size_t put_number(uint8_t *out, uint32_t number)
{
    if (number < 128) return out[0] = (uint8_t)number, 1;
    size_t bytes = number < 0x100 ? 1 : number < 0x10000 ? 2 : 4;
    out[0] = (uint8_t)(bytes == 1 ? 0xcc : bytes == 2 ? 0xcd : 0xce);
    return 1 + put_big_endian(out + 1, number, bytes);
}

static size_t put_bin_head(uint8_t *out, size_t len)
{
    size_t bytes = len < 0x100 ? 1 : len < 0x10000 ? 2 : 4;
    out[0] = (uint8_t)(bytes == 1 ? 0xc4 : bytes == 2 ? 0xc5 : 0xc6);
    return 1 + put_big_endian(out + 1, len, bytes);
}

static size_t hello_with_level(uint8_t *out, const struct terms *terms, unsigned level)
{
    static const uint8_t hello[] = {0x94, OP_HELLO, 0xa3, 'm', 'p', 's', 1, 0x80};
    const uint8_t acked[] = {0x93, OP_PUB, 1, (uint8_t)(level << LEVEL_SHIFT)};
    memcpy(out, hello, sizeof hello);
    if (!terms->publishes || terms->level == LEVEL_NONE) return sizeof hello;
    memcpy(out + sizeof hello, acked, sizeof acked);
    return sizeof hello + sizeof acked;
}

static size_t mps_hello(uint8_t *out, const struct terms *terms)
{
    return hello_with_level(out, terms, terms->level);
}

/* At one of several brokers: stored means on most of them. */
static size_t cluster_hello(uint8_t *out, const struct terms *terms)
{
    return hello_with_level(out, terms, terms->level == LEVEL_STORED ? LEVEL_REPLICATED : terms->level);
}

static size_t mps_subscribe(uint8_t *out, uint32_t number, const char *pattern, bool wildcard)
{
    (void)wildcard;
    size_t at = 0;
    out[at++] = 0x94;
    out[at++] = OP_SUB;
    at += put_number(out + at, number);
    at += put_text(out + at, pattern, strlen(pattern));
    out[at++] = 0x80;
    return at;
}

/* Answered when all of them know it. */
static size_t cluster_subscribe(uint8_t *out, uint32_t number, const char *pattern, bool wildcard)
{
    static const uint8_t everywhere[] = {0x81, 0xa5, 's', 'c', 'o', 'p', 'e', 0xa7, 'c', 'l', 'u', 's', 't', 'e', 'r'};
    size_t at = mps_subscribe(out, number, pattern, wildcard) - 1; /* without its empty map */
    memcpy(out + at, everywhere, sizeof everywhere);
    return at + sizeof everywhere;
}

static size_t mps_publish_head(uint8_t *out, const char *topic, size_t topic_len, size_t payload_len, enum level level)
{
    (void)level; /* said once for all, behind HELLO */
    out[0] = 0x94;
    out[1] = OP_MSG;
    size_t at = 2 + put_text(out + 2, topic, topic_len);
    out[at++] = 0xc0;
    return at + put_bin_head(out + at, payload_len);
}

static size_t mps_read(uint8_t *out, uint32_t number, uint32_t most, const uint8_t *id, size_t id_len)
{
    static const uint8_t from_all[] = {0x81, 0xa4, 'f', 'r', 'o', 'm', 0xa3, 'a', 'l', 'l'};
    (void)number, (void)most, (void)id, (void)id_len;
    size_t at = mps_subscribe(out, 1, KEPT "/#", true) - 1; /* without its empty map */
    memcpy(out + at, from_all, sizeof from_all);
    return at + sizeof from_all;
}

static size_t mps_answer(uint8_t *out, const uint8_t *frame, const struct item *ping)
{
    memcpy(out, frame, ping->len); /* a token of at most 64 bytes */
    out[1] = OP_PONG;
    return ping->len;
}

/* One value: its head's and its body's length, and how many values it holds. False: its head is not all there. */
struct value {
    size_t head, body;
    uint64_t number; /* if it is one */
    uint32_t holds;
};

static uint64_t big_endian(const uint8_t *data, size_t bytes)
{
    uint64_t number = 0;
    for (size_t i = 0; i < bytes; i++) number = number << 8 | data[i];
    return number;
}

/* How many bytes of length or value follow the type byte, for c0..df; the bodies of fixext are in `body`. */
static const uint8_t extra_bytes[32] = {
    [0x04] = 1, [0x05] = 2, [0x06] = 4, [0x0a] = 4, [0x0b] = 8, [0x0c] = 1, [0x0d] = 2,
    [0x0e] = 4, [0x0f] = 8, [0x10] = 1, [0x11] = 2, [0x12] = 4, [0x13] = 8, [0x19] = 1,
    [0x1a] = 2, [0x1b] = 4, [0x1c] = 2, [0x1d] = 4, [0x1e] = 2, [0x1f] = 4,
};

static void long_value(const uint8_t *data, struct value *value)
{
    unsigned type = data[0];
    value->head = 1U + extra_bytes[type & 31];
    uint64_t extra = big_endian(data + 1, value->head - 1);
    if ((type >= 0xc4 && type <= 0xc6) || (type >= 0xd9 && type <= 0xdb)) value->body = extra;
    if (type >= 0xcc && type <= 0xd3) value->number = extra;
    if (type == 0xdc || type == 0xdd) value->holds = (uint32_t)extra;
    if (type == 0xde || type == 0xdf) value->holds = (uint32_t)extra * 2;
}

static bool read_value(const uint8_t *data, size_t len, struct value *value)
{
    if (len == 0) return false;
    unsigned type = data[0];
    *value = (struct value){.head = 1};
    if (type < 0x80) {
        value->number = type;
    } else if (type < 0x90) {
        value->holds = (type & 15) * 2;
    } else if (type < 0xa0) {
        value->holds = type & 15;
    } else if (type < 0xc0) {
        value->body = type & 31;
    } else if (type < 0xe0) {
        if (len < 1U + extra_bytes[type & 31]) return false;
        long_value(data, value);
    }
    return true;
}

/* Exts never stand in a frame's fields, and nothing deeper than a map of options is looked at. */
static bool is_ext(uint8_t type)
{
    return (type >= 0xc7 && type <= 0xc9) || (type >= 0xd4 && type <= 0xd8) || type == 0xc1;
}

static bool is_bin(uint8_t type)
{
    return type >= 0xc4 && type <= 0xc6;
}

struct field {
    size_t at; /* its body */
    struct value value;
};

/* Finds a frame's end and its first fields. Returns their count, 0: more is needed, or it is bad. */
static unsigned read_fields(const uint8_t *data, size_t len, struct item *item, struct field *fields)
{
    unsigned own = data[0] & 15, found = 0;
    size_t at = 1, owed = own, inner = 0; /* inner: values still owed within the present field */
    while (owed + inner > 0) {
        struct value value;
        if (at < len && is_ext(data[at])) return item_bad(item, "an ext in a frame's head"), 0;
        if (!read_value(data + at, len - at, &value)) return 0;
        if (inner > 0) {
            inner--;
        } else {
            owed--;
            if (found < FIELDS_MAX) fields[found++] = (struct field){.at = at + value.head, .value = value};
        }
        inner += value.holds;
        if (value.body > len || at + value.head + value.body > len) return 0;
        at += value.head + value.body;
    }
    item->len = at;
    return found;
}

static void mean(const uint8_t *data, const struct field *fields, unsigned count, struct item *item)
{
    uint64_t second = count > 2 ? fields[2].value.number : 0;
    switch (fields[0].value.number) {
    case OP_WELCOME:
    case OP_PONG: item->kind = ITEM_READY; return;
    case OP_SUBACK:
        if (second >= REFUSED) return item_bad(item, "a subscription was refused");
        item->kind = ITEM_CONFIRMED;
        return;
    case OP_PUBACK:
        if (second >= REFUSED) return item_bad(item, "a message was refused");
        item->kind = ITEM_ACKED_ALL;
        item->number = fields[1].value.number;
        return;
    case OP_GAP:
        item->kind = ITEM_LOSS;
        item->number = second;
        return;
    case OP_PING: item->kind = ITEM_PING; return;
    case OP_MSG:
        if (count < 4 || !is_bin(data[fields[3].at - fields[3].value.head]))
            return item_bad(item, "a MSG without payload");
        item->kind = ITEM_MESSAGE;
        item->topic_at = fields[1].at;
        item->topic_len = fields[1].value.body;
        item->payload_at = fields[3].at;
        item->payload_len = fields[3].value.body;
        return;
    case OP_ERR: return item_bad(item, "the broker said ERR");
    case OP_BYE: return item_bad(item, "the broker said BYE");
    default: item->kind = ITEM_OTHER; return;
    }
}

/* A MSG as our publishers write it: a short topic, no props, a bin. False: it is not one, or not all there. */
static bool parse_plain_message(const uint8_t *data, size_t len, struct item *item)
{
    if (len < 4 || data[0] != 0x94 || data[1] != OP_MSG || (data[2] & 0xe0) != 0xa0) return false;
    size_t topic_len = data[2] & 31, at = 3 + topic_len;
    if (len < at + 2 || data[at] != 0xc0 || !is_bin(data[at + 1])) return false;
    size_t length_bytes = (size_t)1 << (data[at + 1] - 0xc4), payload_at = at + 2 + length_bytes;
    if (len < payload_at) return false;
    size_t payload_len = big_endian(data + at + 2, length_bytes);
    if (payload_len > len - payload_at) return false;
    *item = (struct item){.kind = ITEM_MESSAGE,
                          .len = payload_at + payload_len,
                          .topic_at = 3,
                          .topic_len = topic_len,
                          .payload_at = payload_at,
                          .payload_len = payload_len};
    return true;
}

static void mps_parse(const uint8_t *data, size_t len, struct item *item)
{
    if (parse_plain_message(data, len, item)) return;
    *item = (struct item){.kind = ITEM_MORE};
    if (data[0] < 0x91 || data[0] > 0x9f) return item_bad(item, "a frame that does not begin with an array");
    struct field fields[FIELDS_MAX];
    unsigned count = read_fields(data, len, item, fields);
    if (count > 0) mean(data, fields, count, item);
}

const struct protocol protocol_mps = {
    .name = "mps",
    .alpn = "mps/1",
    .separator = '/',
    .one = "+",
    .any = "#",
    .tail = "",
    .can_ack = true,
    .can_subscribe = true,
    .can_store = true,
    .tells_loss = true,
    .hello = mps_hello,
    .subscribe = mps_subscribe,
    .publish_head = mps_publish_head,
    .read = mps_read,
    .answer = mps_answer,
    .parse = mps_parse,
};

const struct protocol protocol_mps_cluster = {
    .name = "mps-cluster",
    .alpn = "mps/1",
    .separator = '/',
    .one = "+",
    .any = "#",
    .tail = "",
    .can_ack = true,
    .can_subscribe = true,
    .can_store = true,
    .tells_loss = true,
    .hello = cluster_hello,
    .subscribe = cluster_subscribe,
    .publish_head = mps_publish_head,
    .read = mps_read,
    .answer = mps_answer,
    .parse = mps_parse,
};

/* To the relay which side it is on, to the sink how long its frames are. */
static size_t raw_hello(uint8_t *out, const struct terms *terms)
{
    if (terms->level == LEVEL_STORED) return out[0] = 'W', 1 + put_big_endian(out + 1, terms->frame_bytes, 4);
    out[0] = terms->publishes ? 'P' : 'S';
    out[1] = (uint8_t)terms->channel;
    return 2;
}

static void raw_parse(const uint8_t *data, size_t len, struct item *item)
{
    if (data[0] == RELAY_READY) {
        *item = (struct item){.kind = ITEM_READY, .len = 1};
    } else if (data[0] == SINK_STORED) {
        *item = (struct item){.kind = ITEM_MORE};
        if (len < SINK_STORED_LEN) return;
        *item = (struct item){.kind = ITEM_ACKED_ALL, .len = SINK_STORED_LEN, .number = big_endian(data + 1, 8)};
    } else {
        mps_parse(data, len, item);
    }
}

const struct protocol protocol_raw = {
    .name = "raw",
    .separator = '/',
    .one = "+",
    .any = "#",
    .tail = "",
    .can_store = true,
    .hello = raw_hello,
    .publish_head = mps_publish_head,
    .parse = raw_parse,
};
