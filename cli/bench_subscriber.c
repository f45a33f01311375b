#include "bench_subscriber.h"

#include <stdio.h>

#include "cli.h"

#define QUEUE_BYTES (UINT64_C(64) * 1024 * 1024) /* as of `pubsub sub` */
#define NO_RETAINED 2                            /* earlier values are no part of a measurement */
#define CLOSE_MS 0

static struct bench_subscriber *subscriber_of(void *user)
{
    return ((struct link *)user)->owner;
}

static void on_message(pubsub *client, const struct pubsub_message *message, void *user)
{
    (void)client;
    struct bench_subscriber *subscriber = subscriber_of(user);
    const struct bench_options *options = subscriber->options;
    struct bench_tally *tally = &subscriber->tally;
    /* The library hands over all that has arrived at once; what is beyond COUNT was not asked for. */
    if (options->kind == BENCH_SUB && options->count && tally->received == options->count) return;
    bench_tally_message(tally, message->payload, message->payload_len, subscriber->host, subscriber->latency);
}

static void on_gap(pubsub *client, const struct pubsub_gap *gap, void *user)
{
    (void)client;
    subscriber_of(user)->tally.told += gap->count;
}

static void on_granted(pubsub *client, uint32_t sid, void *user)
{
    (void)client;
    (void)sid;
    subscriber_of(user)->granted = true;
}

static void on_refusal(pubsub *client, const struct pubsub_refusal *refusal, void *user)
{
    (void)client;
    struct bench_subscriber *subscriber = subscriber_of(user);
    complain("%s", refusal->text);
    subscriber->failure = exit_code_of_refusal(refusal->code);
}

int bench_subscriber_open(struct bench_subscriber *subscriber, const struct bench_options *options,
                          const struct connection_options *connection, const uint32_t *run,
                          struct bench_histogram *latency)
{
    *subscriber = (struct bench_subscriber){
        .link = {.owner = subscriber}, .options = options, .latency = latency, .host = bench_host()};
    if (run) bench_tally_expect(&subscriber->tally, *run);
    struct pubsub_options client = {.no_reconnect = true, .on_refusal = on_refusal};
    int result = link_open(&subscriber->link, connection, &client);
    if (result != CLI_EXIT_DONE) return result;

    /* A publisher elsewhere may use topics below ours; that pattern matches ours, too. */
    char pattern[BENCH_TOPIC_CAP + sizeof "/#"];
    bool below = options->kind == BENCH_SUB || options->topics > 1;
    snprintf(pattern, sizeof pattern, "%s%s", options->topic_text, below ? "/#" : "");
    const struct pubsub_subscribe_options terms = {
        .max_msgs = UINT64_MAX,
        .max_bytes = QUEUE_BYTES,
        .retained = NO_RETAINED,
        .on_message = on_message,
        .on_gap = on_gap,
        .on_granted = on_granted,
        .user = &subscriber->link,
    };
    int error = pubsub_subscribe(subscriber->link.client, pattern, &terms, NULL);
    return link_subscribed(&subscriber->link, pattern, error);
}

void bench_subscriber_close(struct bench_subscriber *subscriber)
{
    link_close(&subscriber->link, CLOSE_MS);
    bench_tally_free(&subscriber->tally);
}
