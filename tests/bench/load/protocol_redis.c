/* Redis publish/subscribe over RESP2. Each PUBLISH is answered with a number, which is also its acknowledgement. */
#include "protocol.h"
#include "text.h"

enum { PARTS_MAX = 4 };

static size_t put_bulk(char *out, const char *text, size_t len)
{
    size_t at = 0;
    out[at++] = '$';
    at += put_decimal(out + at, len);
    at += put_string(out + at, "\r\n");
    memcpy(out + at, text, len);
    at += len;
    return at + put_string(out + at, "\r\n");
}

static size_t redis_hello(uint8_t *out, const struct terms *terms)
{
    (void)terms;
    return put_string((char *)out, "*1\r\n$4\r\nPING\r\n");
}

static size_t redis_subscribe(uint8_t *out, uint32_t number, const char *pattern, bool wildcard)
{
    (void)number;
    size_t at = put_string((char *)out, wildcard ? "*2\r\n$10\r\nPSUBSCRIBE\r\n" : "*2\r\n$9\r\nSUBSCRIBE\r\n");
    return at + put_bulk((char *)out + at, pattern, strlen(pattern));
}

static size_t redis_publish_head(uint8_t *out, const char *topic, size_t topic_len, size_t payload_len, bool acked)
{
    (void)acked;
    char *text = (char *)out;
    size_t at = put_string(text, "*3\r\n$7\r\nPUBLISH\r\n");
    at += put_bulk(text + at, topic, topic_len);
    text[at++] = '$';
    at += put_decimal(text + at, payload_len);
    return at + put_string(text + at, "\r\n");
}

/* Takes a type byte, a number and the line's end. 1: done, 0: more is needed, -1: something else. */
static int take_head(const uint8_t *data, size_t len, size_t *at, char type, uint64_t *number)
{
    if (*at >= len) return 0;
    if (data[*at] != type) return -1;
    (*at)++;
    bool digits = take_decimal(data, len, at, number);
    if (*at + 2 > len) return *at >= len || data[*at] == '\r' ? 0 : -1;
    if (!digits || data[*at] != '\r' || data[*at + 1] != '\n') return -1;
    *at += 2;
    return 1;
}

struct part {
    size_t at, len;
};

static int take_bulk(const uint8_t *data, size_t len, size_t *at, struct part *part)
{
    uint64_t size;
    int rc = take_head(data, len, at, '$', &size);
    if (rc <= 0) return rc;
    *part = (struct part){.at = *at, .len = size};
    if (size + 2 > len - *at) return 0;
    *at += size + 2;
    return data[*at - 2] == '\r' && data[*at - 1] == '\n' ? 1 : -1;
}

static bool is_word(const uint8_t *data, const struct part *part, const char *word)
{
    return part->len == strlen(word) && memcmp(data + part->at, word, part->len) == 0;
}

/* [message, topic, payload], [pmessage, pattern, topic, payload], [(p)subscribe, pattern, :count]. */
static int parse_push(const uint8_t *data, size_t len, size_t at, uint64_t count, struct item *item)
{
    struct part parts[PARTS_MAX];
    uint64_t subscriptions;
    int rc = take_bulk(data, len, &at, &parts[0]);
    if (rc <= 0) return rc;
    bool confirms = is_word(data, &parts[0], "subscribe") || is_word(data, &parts[0], "psubscribe");
    if (!confirms && !is_word(data, &parts[0], count == 3 ? "message" : "pmessage")) return -1;
    for (size_t i = 1; i < count - (confirms ? 1 : 0); i++) {
        rc = take_bulk(data, len, &at, &parts[i]);
        if (rc <= 0) return rc;
    }
    if (confirms) {
        rc = take_head(data, len, &at, ':', &subscriptions);
        if (rc > 0) *item = (struct item){.kind = ITEM_CONFIRMED, .len = at};
        return rc;
    }
    const struct part *topic = &parts[count - 2], *payload = &parts[count - 1];
    *item = (struct item){.kind = ITEM_MESSAGE,
                          .len = at,
                          .topic_at = topic->at,
                          .topic_len = topic->len,
                          .payload_at = payload->at,
                          .payload_len = payload->len};
    return 1;
}

static void parse_line(const uint8_t *data, size_t len, struct item *item)
{
    const uint8_t *end = memchr(data, '\n', len);
    if (!end) return;
    item->len = (size_t)(end - data) + 1;
    if (data[0] == '-') return item_bad(item, "the broker answered with an error");
    item->kind = item->len == 7 && memcmp(data, "+PONG\r\n", 7) == 0 ? ITEM_READY : ITEM_OTHER;
}

static void redis_parse(const uint8_t *data, size_t len, struct item *item)
{
    *item = (struct item){.kind = ITEM_MORE};
    size_t at = 0;
    uint64_t number;
    int rc = -1;
    if (data[0] == '+' || data[0] == '-') return parse_line(data, len, item);
    if (data[0] == ':') {
        rc = take_head(data, len, &at, ':', &number);
        if (rc > 0) *item = (struct item){.kind = ITEM_ACKED, .len = at, .number = 1};
    } else if (data[0] == '*') {
        rc = take_head(data, len, &at, '*', &number);
        if (rc > 0) rc = number == 3 || number == 4 ? parse_push(data, len, at, number, item) : -1;
    }
    if (rc < 0) item_bad(item, "an unknown answer");
}

const struct protocol protocol_redis = {
    .name = "redis",
    .separator = '/',
    .one = "*",
    .any = "*",
    .tail = "\r\n",
    .can_ack = true,
    .can_subscribe = true,
    .hello = redis_hello,
    .subscribe = redis_subscribe,
    .publish_head = redis_publish_head,
    .parse = redis_parse,
};
