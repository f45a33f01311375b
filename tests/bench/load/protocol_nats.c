/* NATS, the client protocol: lines of text, a payload behind those of PUB and MSG. */
#include "protocol.h"
#include "text.h"

enum { WORDS_MAX = 5 };

static size_t nats_hello(uint8_t *out, const struct terms *terms)
{
    (void)terms;
    return put_string((char *)out,
                      "CONNECT {\"verbose\":false,\"pedantic\":false,\"tls_required\":false,\"name\":\"bench\","
                      "\"lang\":\"c\",\"version\":\"1\",\"protocol\":1}\r\nPING\r\n");
}

static size_t nats_subscribe(uint8_t *out, uint32_t number, const char *pattern, bool wildcard)
{
    (void)wildcard;
    char *text = (char *)out;
    size_t at = put_string(text, "SUB ");
    at += put_string(text + at, pattern);
    text[at++] = ' ';
    at += put_decimal(text + at, number);
    return at + put_string(text + at, "\r\n");
}

static size_t nats_barrier(uint8_t *out)
{
    return put_string((char *)out, "PING\r\n");
}

static size_t nats_publish_head(uint8_t *out, const char *topic, size_t topic_len, size_t payload_len, bool acked)
{
    (void)acked;
    char *text = (char *)out;
    size_t at = put_string(text, "PUB ");
    memcpy(text + at, topic, topic_len);
    at += topic_len;
    text[at++] = ' ';
    at += put_decimal(text + at, payload_len);
    return at + put_string(text + at, "\r\n");
}

static size_t nats_answer(uint8_t *out, const uint8_t *frame, const struct item *ping)
{
    (void)frame, (void)ping;
    return put_string((char *)out, "PONG\r\n");
}

/* MSG subject sid [reply] length: the last word says how much payload follows the line. */
static void parse_message(const uint8_t *data, size_t len, size_t line, struct item *item)
{
    size_t begins[WORDS_MAX], ends[WORDS_MAX], words = 0;
    for (size_t at = 0; at < line && words < WORDS_MAX; at++) {
        begins[words] = at;
        while (at < line && data[at] != ' ') at++;
        ends[words++] = at;
    }
    uint64_t payload = 0;
    size_t at = words >= 4 ? begins[words - 1] : line;
    if (words < 4 || !take_decimal(data, line, &at, &payload) || at != line)
        return item_bad(item, "a MSG line that can't be read");
    size_t whole = line + 2 + payload + 2;
    if (whole > len) return;
    if (data[whole - 2] != '\r' || data[whole - 1] != '\n') return item_bad(item, "a payload without its end");
    *item = (struct item){.kind = ITEM_MESSAGE,
                          .len = whole,
                          .topic_at = begins[1],
                          .topic_len = ends[1] - begins[1],
                          .payload_at = line + 2,
                          .payload_len = payload};
}

static bool begins_with(const uint8_t *data, size_t len, const char *word)
{
    size_t word_len = strlen(word);
    return len >= word_len && memcmp(data, word, word_len) == 0;
}

static void nats_parse(const uint8_t *data, size_t len, struct item *item)
{
    *item = (struct item){.kind = ITEM_MORE};
    const uint8_t *end = memchr(data, '\n', len);
    if (!end) return;
    size_t line = (size_t)(end - data);
    item->len = line + 1;
    if (line == 0 || data[line - 1] != '\r') return item_bad(item, "a line without its end");
    line--;
    if (begins_with(data, line, "MSG ")) {
        parse_message(data, len, line, item);
    } else if (begins_with(data, line, "PONG")) {
        item->kind = ITEM_READY;
    } else if (begins_with(data, line, "PING")) {
        item->kind = ITEM_PING;
    } else if (begins_with(data, line, "INFO ") || begins_with(data, line, "+OK")) {
        item->kind = ITEM_OTHER;
    } else {
        item_bad(item, begins_with(data, line, "-ERR") ? "the broker said -ERR" : "an unknown line");
    }
}

const struct protocol protocol_nats = {
    .name = "nats",
    .separator = '.',
    .one = "*",
    .any = ">",
    .tail = "\r\n",
    .can_subscribe = true,
    .hello = nats_hello,
    .subscribe = nats_subscribe,
    .barrier = nats_barrier,
    .publish_head = nats_publish_head,
    .answer = nats_answer,
    .parse = nats_parse,
};
