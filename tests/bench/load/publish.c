/* The publishing side: batches of messages, each a head made beforehand, a stamp, and the fixed pattern. */
#include "mix.h"
#include "run.h"
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

struct head {
    uint32_t len;
    uint8_t bytes[KEPT_HEAD_MAX];
};

static void make_heads(struct run *run)
{
    const struct plan *plan = run->plan;
    struct plan one_by_one = *plan; /* topic n is that of message n */
    one_by_one.step = 1;
    run->heads = allocate(plan->topics, sizeof *run->heads);
    for (uint32_t t = 0; t < plan->topics; t++) {
        char topic[TOPIC_MAX];
        uint8_t head[HEAD_MAX];
        size_t topic_len = plan_topic(&one_by_one, 0, t, topic);
        size_t len = run->protocol->publish_head(head, topic, topic_len, plan->payload_bytes, plan->acked);
        if (len > KEPT_HEAD_MAX)
            fail(EXIT_MEASUREMENT, "a head of %zu bytes is longer than any was thought to be", len);
        run->heads[t].len = (uint32_t)len;
        memcpy(run->heads[t].bytes, head, len);
    }
}

void publish_prepare(struct run *run)
{
    size_t payload = plan_payload_max(run->plan), frame = HEAD_MAX + payload + HEAD_MAX;
    run->pattern = allocate(payload, 1);
    for (size_t i = 0; i < payload; i++) run->pattern[i] = (uint8_t)scatter(run->options->seed + i);
    if (run->plan->kind == PLAN_ROTATION && run->plan->topics <= HEADS_MAX) make_heads(run);
    for (uint32_t p = 0; p < run->plan->publishers; p++) run->publishers[p].batch = allocate(BATCH_BYTES + frame, 1);
}

static size_t put_head(const struct run *run, uint32_t publisher, uint64_t number, size_t payload, uint8_t *out)
{
    if (run->heads) {
        const struct head *head = &run->heads[plan_key(run->plan, publisher, number)];
        memcpy(out, head->bytes, head->len);
        return head->len;
    }
    char topic[TOPIC_MAX];
    size_t topic_len = plan_topic(run->plan, publisher, number, topic);
    return run->protocol->publish_head(out, topic, topic_len, payload, run->plan->acked);
}

static void put_id(uint8_t *out, uint64_t number)
{
    uint32_t id = (uint32_t)(number % UINT16_MAX) + 1;
    out[0] = (uint8_t)(id >> 8);
    out[1] = (uint8_t)id;
}

/* Writes one publish at out unless it would go beyond room (0: it may). Returns its length, 0 if it did not fit. */
static size_t put_message(const struct run *run, uint32_t publisher, uint64_t number, uint64_t now, size_t room,
                          uint8_t *out)
{
    const struct protocol *protocol = run->protocol;
    size_t payload = plan_payload_bytes(run->plan, publisher, number), tail = strlen(protocol->tail);
    size_t at = put_head(run, publisher, number, payload, out);
    if (room > 0 && at + payload + tail > room) return 0;
    if (run->plan->acked && protocol->id_len > 0) put_id(out + at - protocol->id_len, number);
    store_u64(out + at, (uint64_t)publisher << NUMBER_BITS | number);
    store_u64(out + at + 8, now);
    memcpy(out + at + STAMP_BYTES, run->pattern, payload - STAMP_BYTES);
    memcpy(out + at + payload, protocol->tail, tail);
    return at + payload + tail;
}

static void count_receivers(struct run *run, uint32_t publisher, uint64_t number)
{
    const struct plan *plan = run->plan;
    if (plan->kind != PLAN_MIXED) {
        if (plan_has_owners(plan)) run->subscribers[plan_key(plan, publisher, number) % plan->subscribers].expected++;
        return;
    }
    uint32_t payload = plan_payload_bytes(plan, publisher, number);
    for (uint64_t left = plan->mix->receivers[plan_key(plan, publisher, number)]; left > 0; left &= left - 1) {
        struct subscriber *subscriber = &run->subscribers[__builtin_ctzll(left)];
        subscriber->expected++;
        subscriber->expected_bytes += payload;
    }
}

static void want_to_write(struct run *run, struct link *link, bool want)
{
    struct epoll_event event = {.events = EPOLLIN | (want ? (uint32_t)EPOLLOUT : 0U), .data.ptr = link};
    epoll_ctl(run->epoll, EPOLL_CTL_MOD, link->fd, &event);
}

void publish_rest(struct run *run, struct publisher *publisher)
{
    size_t left = publisher->batch_len - publisher->batch_at;
    ssize_t sent = send(publisher->link.fd, publisher->batch + publisher->batch_at, left, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        fail(EXIT_MEASUREMENT, "publishing to %s: %s", run->options->url, strerror(errno));
    }
    publisher->batch_at += sent > 0 ? (size_t)sent : 0;
    bool waits = publisher->batch_at < publisher->batch_len;
    if (waits != publisher->waits) want_to_write(run, &publisher->link, waits);
    publisher->waits = waits;
    if (!waits) publisher->batch_at = publisher->batch_len = 0;
}

void publish_batch(struct run *run, struct publisher *publisher, uint64_t count)
{
    uint32_t index = publisher->link.number;
    uint64_t now = now_ns(), made = 0;
    bool individual = run->plan->kind == PLAN_MIXED || plan_has_owners(run->plan);
    for (; made < count; made++) {
        size_t at = publisher->batch_len, room = made > 0 ? BATCH_BYTES - at : 0;
        if (made > 0 && at >= BATCH_BYTES) break;
        size_t len = put_message(run, index, publisher->sent, now, room, publisher->batch + at);
        if (len == 0) break;
        if (individual) count_receivers(run, index, publisher->sent);
        publisher->batch_len += len;
        publisher->sent++;
    }
    run->published += made;
    publish_rest(run, publisher);
}
