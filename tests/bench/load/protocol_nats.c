/* NATS, the client protocol: lines of text, a payload behind those of PUB and MSG. JetStream, which keeps messages, is
 * spoken to by publishing requests as JSON; it answers to inboxes. Its consumers push, under its own flow control. */
#include "protocol.h"
#include "text.h"

enum { WORDS_MAX = 6 };

/* Inboxes: of a publisher for the acknowledgements of what it stores (behind it stands the topic, which only it has),
 * of any connection for the answers to its other requests, and of a reader for what a consumer sends. */
#define ACKS "ack."
#define ANSWERS "answer."
#define PUSHES "push."

static size_t put_subscription(char *out, const char *inbox, uint32_t number, const char *sid)
{
    size_t at = put_string(out, "SUB ");
    at += put_string(out + at, inbox);
    at += put_decimal(out + at, number);
    return at + put_string(out + at, sid);
}

static size_t nats_hello(uint8_t *out, const struct terms *terms)
{
    char *text = (char *)out;
    size_t at = put_string(text, "CONNECT {\"verbose\":false,\"pedantic\":false,\"tls_required\":false,"
                                 "\"headers\":true,\"name\":\"bench\",\"lang\":\"c\",\"version\":\"1\","
                                 "\"protocol\":1}\r\n");
    if (terms->level == LEVEL_STORED) {
        at += put_subscription(text + at, ANSWERS, terms->number, " 1\r\n");
        at += terms->publishes ? put_subscription(text + at, ACKS KEPT ".", terms->number, " 2\r\n")
                               : put_subscription(text + at, PUSHES, terms->number, " 2\r\n");
    }
    return at + put_string(text + at, "PING\r\n");
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

static size_t nats_publish_head(uint8_t *out, const char *topic, size_t topic_len, size_t payload_len, enum level level)
{
    char *text = (char *)out;
    size_t at = put_string(text, "PUB ");
    memcpy(text + at, topic, topic_len);
    at += topic_len;
    if (level == LEVEL_STORED) {
        at += put_string(text + at, " " ACKS);
        memcpy(text + at, topic, topic_len);
        at += topic_len;
    }
    text[at++] = ' ';
    at += put_decimal(text + at, payload_len);
    return at + put_string(text + at, "\r\n");
}

static size_t put_request(char *out, const char *subject, uint32_t number, const char *body)
{
    size_t at = put_string(out, "PUB ");
    at += put_string(out + at, subject);
    at += put_string(out + at, " " ANSWERS);
    at += put_decimal(out + at, number);
    out[at++] = ' ';
    at += put_decimal(out + at, strlen(body));
    at += put_string(out + at, "\r\n");
    at += put_string(out + at, body);
    return at + put_string(out + at, "\r\n");
}

/* By the first publisher, whose number is 0. */
static size_t nats_keep(uint8_t *out)
{
    return put_request((char *)out, "$JS.API.STREAM.CREATE." KEPT, 0,
                       "{\"name\":\"" KEPT "\",\"subjects\":[\"" KEPT ".>\"],\"storage\":\"file\","
                       "\"retention\":\"limits\",\"discard\":\"old\",\"max_consumers\":-1,\"max_msgs\":-1,"
                       "\"max_bytes\":-1,\"num_replicas\":1}");
}

static size_t nats_read(uint8_t *out, uint32_t number, uint32_t most, const uint8_t *id, size_t id_len)
{
    char body[CONTROL_MAX];
    (void)most, (void)id, (void)id_len;
    size_t at = put_string(body, "{\"stream_name\":\"" KEPT "\",\"config\":{\"deliver_subject\":\"" PUSHES);
    at += put_decimal(body + at, number);
    at += put_string(body + at, "\",\"deliver_policy\":\"all\",\"ack_policy\":\"none\",\"replay_policy\":\"instant\","
                                "\"flow_control\":true,\"idle_heartbeat\":5000000000}}");
    body[at] = '\0';
    return put_request((char *)out, "$JS.API.CONSUMER.CREATE." KEPT, number, body);
}

/* To a PING, or to a consumer that asks whether we are there yet: then the frame names the inbox to answer to. */
static size_t nats_answer(uint8_t *out, const uint8_t *frame, const struct item *ping)
{
    char *text = (char *)out;
    if (ping->topic_len == 0) return put_string(text, "PONG\r\n");
    size_t at = put_string(text, "PUB ");
    memcpy(text + at, frame + ping->topic_at, ping->topic_len);
    at += ping->topic_len;
    return at + put_string(text + at, " 0\r\n\r\n");
}

static bool begins_with(const uint8_t *data, size_t len, const char *word)
{
    size_t word_len = strlen(word);
    return len >= word_len && memcmp(data, word, word_len) == 0;
}

struct words {
    size_t begins[WORDS_MAX], ends[WORDS_MAX], count;
};

static void split(const uint8_t *data, size_t line, struct words *words)
{
    words->count = 0;
    for (size_t at = 0; at < line && words->count < WORDS_MAX; at++) {
        words->begins[words->count] = at;
        while (at < line && data[at] != ' ') at++;
        words->ends[words->count++] = at;
    }
}

/* The line's last word says how much follows it. False: item says why not. */
static bool take_body(const uint8_t *data, size_t len, size_t line, const struct words *words, struct item *item)
{
    uint64_t length = 0;
    size_t at = words->count >= 4 ? words->begins[words->count - 1] : line;
    if (words->count < 4 || !take_decimal(data, line, &at, &length) || at != line)
        return item_bad(item, "a MSG line that can't be read"), false;
    size_t whole = line + 2 + length + 2;
    if (whole > len) return false;
    if (data[whole - 2] != '\r' || data[whole - 1] != '\n') return item_bad(item, "a payload without its end"), false;
    *item = (struct item){.kind = ITEM_MESSAGE, .len = whole, .payload_at = line + 2, .payload_len = length};
    return true;
}

/* The answer to a request, or to a publish that was to be stored: JSON, which holds this word if it failed. */
static void mean_answer(const uint8_t *data, enum item_kind kind, struct item *item)
{
    if (memmem(data + item->payload_at, item->payload_len, "\"error\"", 7)) {
        item_bad(item, "JetStream refused");
    } else {
        item->kind = kind;
        item->number = 1;
    }
}

/* MSG subject sid [reply] length */
static void parse_message(const uint8_t *data, size_t len, size_t line, struct item *item)
{
    struct words words;
    split(data, line, &words);
    if (!take_body(data, len, line, &words, item)) return;
    item->topic_at = words.begins[1];
    item->topic_len = words.ends[1] - words.begins[1];
    if (begins_with(data + item->topic_at, item->topic_len, ACKS)) mean_answer(data, ITEM_ACKED, item);
    else if (begins_with(data + item->topic_at, item->topic_len, ANSWERS)) mean_answer(data, ITEM_CONFIRMED, item);
}

/* HMSG subject sid [reply] header-length length: a consumer's flow control, which has a reply, or its heartbeat, which
 * names one in its header if the consumer waits for it. None of our messages has a header. */
static void parse_status(const uint8_t *data, size_t len, size_t line, struct item *item)
{
    static const char stalled[] = "Nats-Consumer-Stalled: ";
    struct words words;
    split(data, line, &words);
    if (!take_body(data, len, line, &words, item)) return;
    const uint8_t *header = data + item->payload_at, *end = header + item->payload_len;
    if (!begins_with(header, item->payload_len, "NATS/1.0 100")) return item_bad(item, "a status of JetStream's");
    const uint8_t *found = memmem(header, item->payload_len, stalled, sizeof stalled - 1);
    item->kind = ITEM_PING;
    if (words.count == 6) {
        item->topic_at = words.begins[3];
        item->topic_len = words.ends[3] - words.begins[3];
    } else if (found) {
        found += sizeof stalled - 1;
        const uint8_t *stop = memchr(found, '\r', (size_t)(end - found));
        item->topic_at = (size_t)(found - data);
        item->topic_len = stop ? (size_t)(stop - found) : 0;
    }
    if (item->topic_len == 0) item->kind = ITEM_OTHER;
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
    } else if (begins_with(data, line, "HMSG ")) {
        parse_status(data, len, line, item);
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
    .line_before_tls = true,
    .separator = '.',
    .one = "*",
    .any = ">",
    .tail = "\r\n",
    .can_subscribe = true,
    .can_store = true,
    .hello = nats_hello,
    .subscribe = nats_subscribe,
    .barrier = nats_barrier,
    .publish_head = nats_publish_head,
    .answer = nats_answer,
    .keep = nats_keep,
    .read = nats_read,
    .parse = nats_parse,
};
