/* Redis over RESP2: publish/subscribe, and streams. Each PUBLISH is answered with a number and each XADD with an id,
 * which are also acknowledgements. A stream's entry has one field: the topic, with the payload as its value. */
#include "protocol.h"
#include "text.h"

enum { PARTS_MAX = 4, ENTRY_PARTS = 3 };

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

#define KEPT_BULK "$4\r\n" KEPT "\r\n"

static size_t redis_publish_head(uint8_t *out, const char *topic, size_t topic_len, size_t payload_len,
                                 enum level level)
{
    char *text = (char *)out;
    size_t at = put_string(text, level == LEVEL_STORED ? "*5\r\n$4\r\nXADD\r\n" KEPT_BULK "$1\r\n*\r\n"
                                                       : "*3\r\n$7\r\nPUBLISH\r\n");
    at += put_bulk(text + at, topic, topic_len);
    text[at++] = '$';
    at += put_decimal(text + at, payload_len);
    return at + put_string(text + at, "\r\n");
}

/* XRANGE from behind an id, which is said by a parenthesis. */
static size_t redis_read(uint8_t *out, uint32_t number, uint32_t most, const uint8_t *id, size_t id_len)
{
    char *text = (char *)out, from[CONTROL_MAX / 2] = "-", count[20];
    (void)number;
    if (id_len > 0) {
        from[0] = '(';
        memcpy(from + 1, id, id_len);
    }
    size_t at = put_string(text, "*6\r\n$6\r\nXRANGE\r\n" KEPT_BULK);
    at += put_bulk(text + at, from, id_len + 1);
    at += put_string(text + at, "$1\r\n+\r\n$5\r\nCOUNT\r\n");
    return at + put_bulk(text + at, count, put_decimal(count, most));
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

/* What XRANGE answers with: *COUNT, and that many entries [id, [topic, payload]]. */
static int parse_entry(const uint8_t *data, size_t len, size_t at, struct item *item)
{
    struct part parts[ENTRY_PARTS];
    uint64_t count;
    int rc = take_bulk(data, len, &at, &parts[0]);
    if (rc <= 0) return rc;
    rc = take_head(data, len, &at, '*', &count);
    if (rc <= 0) return rc;
    if (count != 2) return -1;
    for (size_t i = 1; i < ENTRY_PARTS; i++) {
        rc = take_bulk(data, len, &at, &parts[i]);
        if (rc <= 0) return rc;
    }
    *item = (struct item){.kind = ITEM_MESSAGE,
                          .len = at,
                          .topic_at = parts[1].at,
                          .topic_len = parts[1].len,
                          .payload_at = parts[2].at,
                          .payload_len = parts[2].len,
                          .id_at = parts[0].at,
                          .id_len = parts[0].len};
    return 1;
}

/* Publish/subscribe speaks in arrays of three or four strings, a stream in an array of two that begins with one, or in
 * an array of arrays. */
static int parse_array(const uint8_t *data, size_t len, struct item *item)
{
    size_t at = 0;
    uint64_t count;
    int rc = take_head(data, len, &at, '*', &count);
    if (rc <= 0) return rc;
    if (count > 0 && at == len) return 0;
    if (count == 0 || data[at] == '*') {
        *item = (struct item){.kind = ITEM_BLOCK, .len = at, .number = count};
        return 1;
    }
    if (count == 2) return parse_entry(data, len, at, item);
    return count == 3 || count == 4 ? parse_push(data, len, at, count, item) : -1;
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
    struct part id;
    int rc = -1;
    if (data[0] == '+' || data[0] == '-') return parse_line(data, len, item);
    if (data[0] == ':') {
        rc = take_head(data, len, &at, ':', &number);
        if (rc > 0) *item = (struct item){.kind = ITEM_ACKED, .len = at, .number = 1};
    } else if (data[0] == '$') {
        rc = take_bulk(data, len, &at, &id);
        if (rc > 0) *item = (struct item){.kind = ITEM_ACKED, .len = at, .number = 1};
    } else if (data[0] == '*') {
        rc = parse_array(data, len, item);
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
    .can_store = true,
    .hello = redis_hello,
    .subscribe = redis_subscribe,
    .publish_head = redis_publish_head,
    .read = redis_read,
    .parse = redis_parse,
};
