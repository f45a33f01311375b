#include "bench_publisher.h"

#include <stdlib.h>
#include <string.h>

#include "bench_payload.h"
#include "cli.h"

#define BATCH_MESSAGES 64
#define TURN_BYTES (64 * 1024) /* between two looks at what has come; as much as the library writes at once */
#define CLOSE_MS 0             /* what is owed to us has been waited for */

/* With this publish id so many messages are acknowledged. sent_ns 0: its latency is not measured. */
struct stamp {
    uint64_t pid, messages, sent_ns;
};

/* ---- what comes ---- */

static struct bench_publisher *publisher_of(void *user)
{
    return ((struct link *)user)->owner;
}

static void fail(struct bench_publisher *publisher, uint32_t code, const char *text)
{
    if (publisher->failure != CLI_EXIT_DONE) return; /* the next ones are refused for the same reason */
    complain("%s", text);
    publisher->failure = exit_code_of_refusal(code);
}

static void settle(struct bench_publisher *publisher, uint64_t pid)
{
    const struct stamp *stamps = (const struct stamp *)(const void *)publisher->stamps.data;
    size_t count = publisher->stamps.len / sizeof *stamps, at = publisher->first_stamp;
    if (at == count || stamps[at].pid > pid) return;
    uint64_t now = now_ns();
    for (; at < count && stamps[at].pid <= pid; at++) {
        if (stamps[at].messages == publisher->acknowledged) continue; /* the last word, with nothing new */
        publisher->acknowledged = stamps[at].messages;
        publisher->acked_ns = now;
        if (stamps[at].sent_ns > 0) bench_histogram_add(publisher->latency, now - stamps[at].sent_ns);
    }
    publisher->first_stamp = at;
    if (at == count) publisher->stamps.len = publisher->first_stamp = 0;
}

static void on_puback(pubsub *client, const struct pubsub_puback *ack, void *user)
{
    (void)client;
    enum { ACCEPTED_BEFORE = 2, REFUSED = 200 }; /* PROTOCOL.md, codes */
    struct bench_publisher *publisher = publisher_of(user);
    if (ack->code >= REFUSED) {
        fail(publisher, ack->code, ack->text);
        return;
    }
    if (ack->code != ACCEPTED_BEFORE && ack->matched < publisher->matched) publisher->matched = ack->matched;
    settle(publisher, ack->last_pid);
}

static void on_refusal(pubsub *client, const struct pubsub_refusal *refusal, void *user)
{
    (void)client;
    fail(publisher_of(user), refusal->code, refusal->text);
}

/* ---- opening ---- */

/* How many messages may be on the way: at least two, so that one travels while the other is worked on. */
static uint64_t window_of(const struct bench_options *options)
{
    if (options->kind == BENCH_LATENCY) return 1;
    uint64_t messages = options->window / options->size;
    return messages < 2 ? 2 : messages;
}

static uint64_t batch_of(const struct bench_options *options, uint64_t window)
{
    uint64_t batch = TURN_BYTES / options->size;
    if (batch > BATCH_MESSAGES) batch = BATCH_MESSAGES;
    if (batch > window / 2) batch = window / 2;
    return batch > 0 ? batch : 1;
}

int bench_publisher_open(struct bench_publisher *publisher, const struct bench_options *options,
                         const struct connection_options *connection, struct bench_histogram *latency)
{
    *publisher = (struct bench_publisher){
        .link = {.owner = publisher},
        .options = options,
        .latency = latency,
        .terms = {.ack = (enum pubsub_ack)options->ack},
        .host = bench_host(),
        .run = bench_new_run(),
        .matched = UINT64_MAX,
        .window = window_of(options),
    };
    publisher->batch = batch_of(options, publisher->window);
    publisher->payload = malloc(options->size);
    if (!publisher->payload) {
        complain("out of memory: no room for a payload of %llu bytes", (unsigned long long)options->size);
        return CLI_EXIT_ERROR;
    }
    bench_payload_fill(publisher->payload, options->size);
    struct pubsub_options client = {
        .no_reconnect = true, /* what is measured is one connection */
        .outbox_policy = PUBSUB_OUTBOX_REFUSE,
        .on_puback = on_puback,
        .on_refusal = on_refusal,
    };
    return link_open(&publisher->link, connection, &client);
}

void bench_publisher_close(struct bench_publisher *publisher)
{
    link_close(&publisher->link, CLOSE_MS);
    buffer_free(&publisher->stamps);
    free(publisher->payload);
    publisher->payload = NULL;
}

/* ---- publishing ---- */

/* Publishes one message; false: not now, or .failure says why never. */
static bool publish(struct bench_publisher *publisher, const struct bench_head *head, bool acked)
{
    char scratch[BENCH_TOPIC_CAP];
    const char *topic = bench_topic(publisher->options, head->number, scratch);
    uint64_t pid;
    size_t len = head->end ? BENCH_PAYLOAD_MIN : publisher->options->size;
    if (head->end) bench_payload_fill(publisher->payload, len); /* nothing follows it */
    bench_payload_head(publisher->payload, head);
    struct pubsub_publish_options terms = publisher->terms;
    if (acked && terms.ack == PUBSUB_ACK_NONE) terms.ack = PUBSUB_ACK_ROUTED;
    int error = pubsub_publish(publisher->link.client, topic, publisher->payload, len, &terms, &pid);
    publisher->full = error == PUBSUB_EAGAIN;
    if (publisher->full) return false;
    if (error != PUBSUB_OK) {
        link_complain(&publisher->link, pubsub_error(publisher->link.client), error);
        publisher->failure = exit_code_of_error(error);
        return false;
    }
    if (!acked) return true;
    const struct stamp stamp = {
        .pid = pid, .messages = head->end ? head->number : head->number + 1, .sent_ns = head->sent_ns};
    buffer_append(&publisher->stamps, &stamp, sizeof stamp);
    return true;
}

/* How many messages may have been published by now, by rate and count. */
static uint64_t due(const struct bench_publisher *publisher, uint64_t now)
{
    const struct bench_options *options = publisher->options;
    uint64_t most = options->count ? options->count : UINT64_MAX;
    if (options->rate == 0) return most;
    double elapsed_s = (double)(now - publisher->start_ns) / 1e9;
    uint64_t by_rate = 1 + (uint64_t)(elapsed_s * (double)options->rate);
    return by_rate < most ? by_rate : most;
}

/* Until the rate allows the next message; -1 if it does, or if all are published. */
static int64_t wait_for_rate(const struct bench_publisher *publisher)
{
    const struct bench_options *options = publisher->options;
    if (options->rate == 0 || (options->count && publisher->published == options->count)) return -1;
    double due_s = (double)publisher->published / (double)options->rate;
    return ms_until(publisher->start_ns + (uint64_t)(due_s * 1e9));
}

/* Only the last message of a batch need be acknowledged for all of it to be counted. */
static bool publish_batch(struct bench_publisher *publisher, uint64_t count, uint64_t now)
{
    struct bench_head head = {.host = publisher->host, .run = publisher->run, .sent_ns = now};
    bool counted = publisher->options->kind == BENCH_PUB;
    for (uint64_t i = 0; i < count; i++) {
        head.number = publisher->published;
        if (!publish(publisher, &head, counted && i == count - 1)) return false;
        publisher->published++;
    }
    return true;
}

int64_t bench_publisher_work(struct bench_publisher *publisher, uint64_t settled)
{
    uint64_t turn = TURN_BYTES / publisher->options->size + publisher->batch, end = publisher->published + turn;
    if (publisher->start_ns == 0) publisher->start_ns = now_ns();
    while (publisher->failure == CLI_EXIT_DONE) {
        uint64_t now = now_ns(), most = due(publisher, now);
        if (most > settled + publisher->window) most = settled + publisher->window;
        if (publisher->published >= most)
            return publisher->published < due(publisher, now) ? -1 : wait_for_rate(publisher);
        if (publisher->published >= end) return 0;
        uint64_t count = most - publisher->published;
        if (!publish_batch(publisher, count < publisher->batch ? count : publisher->batch, now)) return -1;
    }
    return -1;
}

void bench_publisher_end(struct bench_publisher *publisher)
{
    if (publisher->end_sent || publisher->failure != CLI_EXIT_DONE) return;
    const struct bench_head head = {
        .end = true, .host = publisher->host, .run = publisher->run, .number = publisher->published};
    publisher->end_sent = publish(publisher, &head, true);
}
