#include "bench_run.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench_links.h"
#include "bench_publisher.h"
#include "bench_subscriber.h"
#include "cli.h"
#include "progress.h"
#include "signals.h"

#define NS_PER_MS UINT64_C(1000000)
#define QUIET_NS (10000 * NS_PER_MS)      /* after publishing: nothing that came for so long is on the way any more */
#define INTERRUPTED_NS (2000 * NS_PER_MS) /* likewise, after a signal */
#define RETRY_MS 1
#define ID_CAP 128

struct bench {
    const struct bench_options *options;
    struct bench_result *result;
    struct bench_links links;
    struct bench_publisher publisher; /* unused with sub */
    struct bench_subscriber *subscribers;
    size_t subscriber_count;
    uint64_t counted; /* messages so far */
    uint64_t last_ns; /* when the last came; the start before that */
    uint64_t end_ns;  /* when it ended, but for what was on the way */
    int failure;      /* exit code, with BENCH_END_FAILURE */
};

static bool publishes(const struct bench *bench)
{
    return bench->options->kind != BENCH_SUB;
}

/* ---- opening and closing ---- */

/* Each connection needs an id of its own: the broker ends one that another takes over. */
static struct connection_options connection_of(const struct bench *bench, size_t number, char id[ID_CAP])
{
    struct connection_options connection = bench->options->connection;
    if (connection.client_id && number > 0) {
        snprintf(id, ID_CAP, "%s-%zu", connection.client_id, number);
        connection.client_id = id;
    }
    return connection;
}

static int open_subscribers(struct bench *bench)
{
    char id[ID_CAP];
    const uint32_t *run = publishes(bench) ? &bench->publisher.run : NULL;
    int result = CLI_EXIT_DONE;
    while (bench->subscriber_count < bench->options->subscribers && result == CLI_EXIT_DONE) {
        struct bench_subscriber *subscriber = &bench->subscribers[bench->subscriber_count++];
        const struct connection_options connection = connection_of(bench, bench->links.count, id);
        result = bench_subscriber_open(subscriber, bench->options, &connection, run, &bench->result->latency);
        bench_links_add(&bench->links, &subscriber->link);
    }
    return result;
}

static int open_all(struct bench *bench)
{
    const struct bench_options *options = bench->options;
    int result = CLI_EXIT_DONE;
    if (publishes(bench)) {
        result = bench_publisher_open(&bench->publisher, options, &options->connection, &bench->result->latency);
        bench_links_add(&bench->links, &bench->publisher.link);
    }
    if (result != CLI_EXIT_DONE || options->kind == BENCH_PUB) return result;
    bench->subscribers = calloc(options->subscribers, sizeof *bench->subscribers);
    if (bench->subscribers) return open_subscribers(bench);
    complain("out of memory");
    return CLI_EXIT_ERROR;
}

static void close_all(struct bench *bench)
{
    if (publishes(bench)) bench_publisher_close(&bench->publisher);
    for (size_t i = 0; i < bench->subscriber_count; i++) bench_subscriber_close(&bench->subscribers[i]);
    free(bench->subscribers);
    bench_links_close(&bench->links);
}

/* ---- what has come ---- */

static uint64_t count(const struct bench *bench)
{
    if (bench->options->kind == BENCH_PUB) return bench->publisher.acknowledged;
    uint64_t received = 0;
    for (size_t i = 0; i < bench->subscriber_count; i++) received += bench->subscribers[i].tally.received;
    return received;
}

/* Messages that are not on the way any more, to anybody. */
static uint64_t settled(const struct bench *bench)
{
    if (bench->options->kind == BENCH_PUB) return bench->publisher.acknowledged;
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < bench->subscriber_count; i++) {
        const struct bench_tally *tally = &bench->subscribers[i].tally;
        uint64_t there = tally->received + bench_tally_lost(tally);
        if (there < least) least = there;
    }
    return least;
}

static void end(struct bench *bench, enum bench_end why)
{
    if (bench->result->end != BENCH_RUNNING) return;
    bench->result->end = why;
    bench->end_ns = now_ns();
}

static void fail(struct bench *bench, int code)
{
    if (code == CLI_EXIT_DONE || bench->failure != CLI_EXIT_DONE) return;
    bench->failure = code == LINK_OVER ? CLI_EXIT_LOST : code;
    bench->result->end = BENCH_END_FAILURE;
}

/* When sub received its first message, or the publisher began; 0: not yet. */
static uint64_t begin_ns(const struct bench *bench)
{
    return publishes(bench) ? bench->publisher.start_ns : bench->subscribers[0].tally.first_ns;
}

static void show_progress(const struct bench *bench)
{
    const struct bench_options *options = bench->options;
    uint64_t begun = begin_ns(bench), each = options->kind == BENCH_FAN ? options->subscribers : 1;
    if (options->for_ms && begun) progress_until(begun + options->for_ms * NS_PER_MS);
    progress_show(bench->counted, options->count * each);
}

/* What the connections have said, and a result of link_process(). */
static void observe(struct bench *bench, int processed)
{
    if (processed > CLI_EXIT_SIGNAL) end(bench, BENCH_END_SIGNAL);
    else fail(bench, processed);
    fail(bench, bench->publisher.failure);
    for (size_t i = 0; i < bench->subscriber_count; i++) fail(bench, bench->subscribers[i].failure);
    uint64_t counted = count(bench);
    if (counted > bench->counted) bench->last_ns = now_ns();
    bench->counted = counted;
    show_progress(bench);
}

/* ---- measuring ---- */

/* Until all subscriptions are in force. */
static int wait_until_granted(struct bench *bench)
{
    for (size_t i = 0; i < bench->subscriber_count;) {
        if (bench->subscribers[i].granted) {
            i++;
            continue;
        }
        int result = bench_links_step(&bench->links, -1);
        for (size_t s = 0; s < bench->subscriber_count && result == CLI_EXIT_DONE; s++) {
            result = bench->subscribers[s].failure;
        }
        if (result != CLI_EXIT_DONE) return result == LINK_OVER ? CLI_EXIT_LOST : result;
    }
    return CLI_EXIT_DONE;
}

/* Until a time is over, and then *why it ends. */
static int64_t time_left(const struct bench *bench, enum bench_end *why)
{
    const struct bench_options *options = bench->options;
    int64_t left = -1;
    *why = BENCH_END_TIME;
    if (options->for_ms && begin_ns(bench)) left = ms_until(begin_ns(bench) + options->for_ms * NS_PER_MS);
    if (options->idle_ms) {
        int64_t idle = ms_until(bench->last_ns + options->idle_ms * NS_PER_MS);
        if (left < 0 || idle < left) {
            left = idle;
            *why = BENCH_END_IDLE;
        }
    }
    return left;
}

static void end_if_due(struct bench *bench)
{
    const struct bench_options *options = bench->options;
    enum bench_end why;
    uint64_t done = publishes(bench) ? bench->publisher.published : bench->counted;
    if (options->count && done >= options->count) end(bench, BENCH_END_COUNT);
    if (!publishes(bench) && bench_tally_ended(&bench->subscribers[0].tally)) end(bench, BENCH_END_PUBLISHERS);
    if (time_left(bench, &why) == 0) end(bench, why);
}

/* Publishes what may be, and lets it be written. Returns how long to wait for more, as bench_publisher_work(): not at
 * all if the writing, or what came meanwhile, has made room. */
static int64_t publish(struct bench *bench)
{
    struct bench_publisher *publisher = &bench->publisher;
    uint64_t settled_before = settled(bench);
    int64_t wait = bench_publisher_work(publisher, settled_before);
    size_t waiting = pubsub_outbox_bytes(publisher->link.client);
    observe(bench, link_process(&publisher->link));
    bool room = publisher->full && pubsub_outbox_bytes(publisher->link.client) < waiting;
    return room || settled(bench) > settled_before ? 0 : wait;
}

/* One turn: publishes, waits, takes what has come. */
static void turn(struct bench *bench)
{
    enum bench_end why;
    int64_t wait = -1;
    if (publishes(bench)) {
        wait = publish(bench);
        end_if_due(bench);
        if (bench->result->end != BENCH_RUNNING) return;
    }
    int64_t left = time_left(bench, &why);
    if (wait < 0 || (left >= 0 && left < wait)) wait = left;
    observe(bench, bench_links_step(&bench->links, wait));
    end_if_due(bench);
}

/* All that was published has come, or was told to be lost. */
static bool all_there(const struct bench *bench)
{
    if (!bench->publisher.end_sent) return false;
    if (bench->options->kind == BENCH_PUB) return bench->publisher.acknowledged == bench->publisher.published;
    for (size_t i = 0; i < bench->subscriber_count; i++) {
        if (!bench_tally_ended(&bench->subscribers[i].tally)) return false;
    }
    return true;
}

/* Waits for what is on the way. */
static void drain(struct bench *bench)
{
    uint64_t begun_ns = now_ns();
    while (bench->result->end != BENCH_END_FAILURE && !all_there(bench)) {
        uint64_t since = bench->last_ns > begun_ns ? bench->last_ns : begun_ns;
        int64_t left = ms_until(since + (signal_caught() ? INTERRUPTED_NS : QUIET_NS));
        if (left == 0) break;
        bench_publisher_end(&bench->publisher);
        observe(bench, link_process(&bench->publisher.link));
        if (bench->result->end == BENCH_END_FAILURE || all_there(bench)) break;
        /* Without room for the last word it is tried again soon: the library makes room also when nothing comes. */
        observe(bench, bench_links_step(&bench->links, bench->publisher.end_sent ? left : RETRY_MS));
    }
}

/* ---- the result ---- */

static void sum_up(struct bench *bench)
{
    struct bench_result *result = bench->result;
    const struct bench_publisher *publisher = &bench->publisher;
    result->begin_ns = begin_ns(bench);
    result->last_ns = bench->options->kind == BENCH_PUB ? publisher->acked_ns : bench->last_ns;
    /* Who stops it, or the clock, does so at any time between two messages; else the last message was the end. */
    bool stopped = result->end == BENCH_END_TIME || result->end == BENCH_END_SIGNAL;
    if (stopped && bench->end_ns > result->last_ns) result->last_ns = bench->end_ns;
    result->messages = bench->counted;
    result->matched = publisher->matched;
    if (bench->options->kind == BENCH_PUB) {
        result->bytes = publisher->acknowledged * bench->options->size;
        result->lost = publisher->published - publisher->acknowledged;
    }
    for (size_t i = 0; i < bench->subscriber_count; i++) {
        struct bench_tally *tally = &bench->subscribers[i].tally;
        if (publishes(bench)) bench_tally_end(tally, publisher->run, publisher->published);
        result->bytes += tally->bytes;
        result->lost += bench_tally_lost(tally);
        result->told += tally->told;
        result->wrong += tally->wrong;
    }
}

/* Complains about what should not have happened. */
static int verdict(const struct bench *bench)
{
    const struct bench_options *options = bench->options;
    const struct bench_result *result = bench->result;
    bool short_of =
        options->count && (publishes(bench) ? bench->publisher.published : result->messages) < options->count;
    if (bench->failure != CLI_EXIT_DONE) return bench->failure;
    if (signal_caught()) return CLI_EXIT_SIGNAL + signal_caught();
    if (result->wrong > 0) {
        complain("%" PRIu64 " message%s came otherwise than sent, or not from 'pubsub bench'", result->wrong,
                 result->wrong == 1 ? "" : "s");
        return CLI_EXIT_ERROR;
    }
    if (result->lost > result->told) {
        complain("%" PRIu64 " message%s missing without a word of the broker", result->lost - result->told,
                 result->lost - result->told == 1 ? " is" : "s are");
        return CLI_EXIT_ERROR;
    }
    bool in_time = result->end != BENCH_END_TIME && result->end != BENCH_END_IDLE;
    if (!in_time && (short_of || result->messages == 0)) return CLI_EXIT_TIME;
    return CLI_EXIT_DONE;
}

static int measure(struct bench *bench)
{
    int result = wait_until_granted(bench);
    if (result != CLI_EXIT_DONE) return result;
    if (!publishes(bench)) complain("waiting for 'pubsub bench pub --topic %s'", bench->options->topic_text);
    bench->last_ns = now_ns();
    progress_from(bench->last_ns);
    while (bench->result->end == BENCH_RUNNING) turn(bench);
    if (publishes(bench)) drain(bench);
    progress_end();
    sum_up(bench);
    return verdict(bench);
}

int bench_run(const struct bench_options *options, struct bench_result *result)
{
    struct bench bench = {.options = options, .result = result};
    bench_links_open(&bench.links, (size_t)options->subscribers + 1);
    int code = open_all(&bench);
    if (code == CLI_EXIT_DONE) code = measure(&bench);
    close_all(&bench);
    return code;
}
