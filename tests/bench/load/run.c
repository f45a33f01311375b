/* A run's life: what it is made of, its connections and subscriptions. The loop is in loop.c. */
#include "run.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    SUBSCRIBE_CHUNK = 1024, /* subscribes that may be unconfirmed: their answers fit into a socket */
    WINDOW_LEAST = 2,
    SILENCE_S = 2,
    SILENCE_STORED_S = 30, /* a disk may hang for seconds */
    WINDOW_SHARE = 4,      /* a batch is begun when there is room for all of it, or for this part of the window */
};

static uint64_t greatest_common_divisor(uint64_t a, uint64_t b)
{
    while (b > 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static void set_lanes(struct run *run)
{
    const struct plan *plan = run->plan;
    run->period = run->stride = 1;
    if (plan->kind == PLAN_RANDOM) run->shared = allocate((size_t)plan->publishers * plan->topics, sizeof *run->shared);
    if (plan->kind != PLAN_ROTATION) {
        run->stride = 0;
    } else if (plan->paired) {
        run->stride = plan->step % plan->topics == 0 ? 1 : plan->topics;
    } else if (!plan->everything) {
        run->period = run->stride = plan->topics / greatest_common_divisor(plan->step, plan->topics);
    }
}

static void set_window(struct run *run)
{
    char topic[TOPIC_MAX];
    uint8_t head[HEAD_MAX];
    uint32_t payload = plan_payload_mean(run->plan);
    size_t topic_len = plan_topic(run->plan, 0, 0, topic);
    size_t frame =
        run->protocol->publish_head(head, topic, topic_len, payload, run->plan->level) + payload + run->tail_len;
    run->publish_bytes = frame;
    run->window = run->options->window_bytes / frame;
    if (run->window < WINDOW_LEAST) run->window = WINDOW_LEAST;
    run->batch_least = BATCH_BYTES / frame;
    if (run->batch_least > run->window / WINDOW_SHARE) run->batch_least = run->window / WINDOW_SHARE;
    if (run->batch_least < 1) run->batch_least = 1;
    run->in_flight = run->options->in_flight;
    run->content_mask = CONTENT_EVERY - 1;
    run->latency_mask = run->options->rate > 0 ? 0 : LATENCY_EVERY - 1;
    run->silence_ns = SILENCE_S * (uint64_t)NS_PER_S;
    if (run->plan->level != LEVEL_STORED) return;
    run->silence_ns = SILENCE_STORED_S * (uint64_t)NS_PER_S;
    run->batch_least = run->options->batch < run->in_flight ? run->options->batch : run->in_flight;
    run->block_most = BATCH_BYTES / payload > 0 ? BATCH_BYTES / payload : 1;
}

static struct terms terms_of(const struct run *run, uint32_t number, bool publishes)
{
    return (struct terms){.publishes = publishes,
                          .level = run->plan->level,
                          .number = number,
                          .channel = run->plan->paired ? number : 0,
                          .frame_bytes = (uint32_t)run->publish_bytes};
}

void run_open(struct run *run, const struct options *options, const struct plan *plan)
{
    memset(run, 0, sizeof *run);
    run->options = options;
    run->protocol = plan->protocol;
    run->plan = plan;
    run->tail_len = strlen(run->protocol->tail);
    process_allow_files((uint64_t)plan->publishers + plan->subscribers);
    process_find(&run->broker, options->pid);
    run->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (run->epoll < 0) fail(EXIT_MEASUREMENT, "epoll_create1: %s", strerror(errno));
    run->publishers = allocate(plan->publishers, sizeof *run->publishers);
    run->subscribers = allocate(plan->subscribers, sizeof *run->subscribers);
    run->rest_max = plan_payload_max(plan) + HEAD_MAX + BATCH_BYTES;
    run->buffer = allocate(run->rest_max + READ_BYTES, 1);
    set_lanes(run);
    set_window(run);
    publish_prepare(run);
    for (uint32_t p = 0; p < plan->publishers; p++) {
        struct terms terms = terms_of(run, p, true);
        run->publishers[p].link.publisher = &run->publishers[p];
        link_open(run, &run->publishers[p].link, &terms);
        run->publisher_count++;
    }
}

void run_connect_subscribers(struct run *run, uint32_t count)
{
    bool reads = run->plan->level == LEVEL_STORED; /* from the beginning, whenever it comes */
    for (; count > 0; count--) {
        struct subscriber *subscriber = &run->subscribers[run->subscriber_count];
        struct terms terms = terms_of(run, run->subscriber_count, false);
        if (run->protocol->can_subscribe) terms.number += run->plan->publishers; /* distinct names, for who has them */
        subscriber->link.subscriber = subscriber;
        link_open(run, &subscriber->link, &terms);
        judge_prepare(run, subscriber, run->subscriber_count);
        subscriber->joined_at = reads ? 0 : run->published;
        run->subscriber_count++;
    }
}

static void await_confirmed(struct run *run, struct link *link, uint32_t count)
{
    uint8_t barrier[CONTROL_MAX];
    if (run->protocol->barrier) {
        link_send(run, link, barrier, run->protocol->barrier(barrier));
        link_await(run, link, &link->ready, link->ready + 1);
    } else {
        link_await(run, link, &link->confirmed, count);
    }
}

static void subscribe(struct run *run, uint32_t subscriber)
{
    static uint8_t chunk[SUBSCRIBE_CHUNK * (TOPIC_MAX + 64)];
    struct link *link = &run->subscribers[subscriber].link;
    uint32_t count = plan_subscriptions(run->plan, subscriber);
    for (uint32_t i = 0; i < count;) {
        size_t len = 0;
        for (uint32_t in_chunk = 0; in_chunk < SUBSCRIBE_CHUNK && i < count; in_chunk++, i++) {
            char pattern[TOPIC_MAX];
            bool wildcard = plan_pattern(run->plan, subscriber, i, pattern);
            len += run->protocol->subscribe(chunk + len, i + 1, pattern, wildcard);
        }
        link_send(run, link, chunk, len);
        await_confirmed(run, link, i);
    }
}

void run_subscribe(struct run *run, uint32_t first)
{
    if (!run->protocol->can_subscribe) return; /* the relay's greeting was all */
    for (uint32_t s = first; s < run->subscriber_count; s++) subscribe(run, s);
}

uint64_t run_expected(const struct run *run, const struct subscriber *subscriber)
{
    bool individual = run->plan->kind == PLAN_MIXED || plan_has_owners(run->plan);
    return individual ? subscriber->expected : run->published - subscriber->joined_at;
}

uint64_t run_lost(const struct run *run)
{
    uint64_t lost = 0;
    for (uint32_t s = 0; s < run->subscriber_count; s++) {
        const struct subscriber *subscriber = &run->subscribers[s];
        if (!subscriber->apart) lost += run_expected(run, subscriber) - subscriber->received;
    }
    return lost;
}

uint64_t run_acked(const struct run *run)
{
    uint64_t acked = 0;
    for (uint32_t p = 0; p < run->publisher_count; p++) acked += run->publishers[p].link.acked;
    return acked;
}

void run_sample(const struct run *run, struct sample *sample)
{
    *sample = (struct sample){.at_ns = now_ns(),
                              .broker_cpu_ns = process_cpu_ns(&run->broker),
                              .own_cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID),
                              .published = run->published,
                              .received = run->received,
                              .acked = run_acked(run)};
}

void run_close(struct run *run)
{
    for (uint32_t p = 0; p < run->publisher_count; p++) {
        link_close(&run->publishers[p].link);
        free(run->publishers[p].batch);
        free(run->publishers[p].sent_ns);
    }
    for (uint32_t s = 0; s < run->subscriber_count; s++) {
        link_close(&run->subscribers[s].link);
        free(run->subscribers[s].next);
    }
    close(run->epoll);
    free(run->publishers);
    free(run->subscribers);
    free(run->shared);
    free(run->pattern);
    free(run->frames);
    free(run->frame_bytes);
    free(run->buffer);
}
