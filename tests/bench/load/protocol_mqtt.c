/* MQTT 3.1.1. Subscribers ask for QoS 0; a publisher sends QoS 1 where acknowledgement is asked for. */
#include "protocol.h"
#include "text.h"
#include <unistd.h>

enum { CONNACK = 2, PUBLISH, PUBACK, SUBACK = 9, PINGRESP = 13 };
enum { CLEAN_SESSION = 2, PACKET_ID_LEN = 2, LENGTH_BYTES_MAX = 4, SUBACK_REFUSED = 0x80 };

static size_t put_u16(uint8_t *out, size_t number)
{
    out[0] = (uint8_t)(number >> 8);
    out[1] = (uint8_t)number;
    return 2;
}

static size_t put_text(uint8_t *out, const char *text, size_t len)
{
    put_u16(out, len);
    memcpy(out + 2, text, len);
    return len + 2;
}

static size_t put_length(uint8_t *out, size_t length)
{
    size_t at = 0;
    do {
        out[at++] = (uint8_t)((length & 127) | (length > 127 ? 128 : 0));
        length >>= 7;
    } while (length > 0);
    return at;
}

static size_t mqtt_hello(uint8_t *out, const struct terms *terms)
{
    char id[48];
    size_t id_len = put_string(id, "bench");
    id_len += put_decimal(id + id_len, (uint64_t)getpid());
    id[id_len++] = 'n';
    id_len += put_decimal(id + id_len, terms->number);
    size_t at = 0;
    out[at++] = 0x10;
    at += put_length(out + at, 10 + 2 + id_len);
    at += put_text(out + at, "MQTT", 4);
    out[at++] = 4;
    out[at++] = CLEAN_SESSION;
    at += put_u16(out + at, 0); /* no keepalive */
    return at + put_text(out + at, id, id_len);
}

static size_t mqtt_subscribe(uint8_t *out, uint32_t number, const char *pattern, bool wildcard)
{
    (void)wildcard;
    size_t len = strlen(pattern), at = 0;
    out[at++] = 0x82;
    at += put_length(out + at, 2 + 2 + len + 1);
    at += put_u16(out + at, number % 65535 + 1);
    at += put_text(out + at, pattern, len);
    out[at++] = 0;
    return at;
}

static size_t mqtt_publish_head(uint8_t *out, const char *topic, size_t topic_len, size_t payload_len, enum level level)
{
    bool acked = level != LEVEL_NONE;
    size_t at = 0, id_len = acked ? PACKET_ID_LEN : 0;
    out[at++] = (uint8_t)(PUBLISH << 4 | (acked ? 1 << 1 : 0));
    at += put_length(out + at, 2 + topic_len + id_len + payload_len);
    at += put_text(out + at, topic, topic_len);
    if (acked) at += put_u16(out + at, 0); /* the id is put in for each message */
    return at;
}

/* The body's length and where it begins. 1: done, 0: more is needed, -1: too long. */
static int take_length(const uint8_t *data, size_t len, size_t *at, size_t *length)
{
    *length = 0;
    for (unsigned i = 0; i < LENGTH_BYTES_MAX; i++) {
        if (1 + i >= len) return 0;
        *length |= (size_t)(data[1 + i] & 127) << (7 * i);
        *at = 2 + i;
        if (data[1 + i] < 128) return 1;
    }
    return -1;
}

static void parse_publish(const uint8_t *data, size_t at, struct item *item)
{
    if ((data[0] & 6) != 0) return item_bad(item, "a delivery that is not QoS 0");
    size_t topic_len = at + 2 <= item->len ? (size_t)(data[at] << 8 | data[at + 1]) : item->len;
    size_t payload_at = at + 2 + topic_len;
    if (payload_at > item->len) return item_bad(item, "a topic longer than its packet");
    item->kind = ITEM_MESSAGE;
    item->topic_at = at + 2;
    item->topic_len = topic_len;
    item->payload_at = payload_at;
    item->payload_len = item->len - payload_at;
}

static void mqtt_parse(const uint8_t *data, size_t len, struct item *item)
{
    *item = (struct item){.kind = ITEM_MORE};
    size_t at = 0, body = 0;
    int rc = take_length(data, len, &at, &body);
    if (rc < 0) return item_bad(item, "a packet length of more than four bytes");
    if (rc == 0 || at + body > len) return;
    item->len = at + body;
    switch (data[0] >> 4) {
    case CONNACK:
        if (body != 2 || data[at + 1] != 0) return item_bad(item, "the connection was refused");
        item->kind = ITEM_READY;
        return;
    case SUBACK:
        if (body != 3 || data[at + 2] == SUBACK_REFUSED) return item_bad(item, "a subscription was refused");
        item->kind = ITEM_CONFIRMED;
        return;
    case PUBLISH: parse_publish(data, at, item); return;
    case PUBACK:
        item->kind = ITEM_ACKED;
        item->number = 1;
        return;
    case PINGRESP: item->kind = ITEM_OTHER; return;
    default: item_bad(item, "an unknown packet");
    }
}

const struct protocol protocol_mqtt = {
    .name = "mqtt",
    .separator = '/',
    .one = "+",
    .any = "#",
    .tail = "",
    .can_ack = true,
    .can_subscribe = true,
    .id_len = PACKET_ID_LEN,
    .hello = mqtt_hello,
    .subscribe = mqtt_subscribe,
    .publish_head = mqtt_publish_head,
    .parse = mqtt_parse,
};
