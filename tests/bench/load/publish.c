/* The publishing side: batches of messages, each a head made beforehand, a stamp, and the fixed pattern. */
#include "mix.h"
#include "run.h"
#include <errno.h>
#include <sys/epoll.h>

enum { FRAMES_BYTES = 4 << 20 };

/* A topic's publish, whole but for stamp and id. */
struct frame {
    size_t len, payload_at;
    uint8_t *bytes;
};

static size_t make_head(const struct run *run, uint32_t publisher, uint64_t number, size_t payload, uint8_t *out)
{
    char topic[TOPIC_MAX];
    size_t topic_len = plan_topic(run->plan, publisher, number, topic);
    return run->protocol->publish_head(out, topic, topic_len, payload, run->plan->level);
}

static size_t put_body(const struct run *run, size_t payload, uint8_t *out)
{
    memcpy(out + STAMP_BYTES, run->pattern, payload - STAMP_BYTES);
    memcpy(out + payload, run->protocol->tail, run->tail_len);
    return payload + run->tail_len;
}

/* Topics that many messages go to have their frames made beforehand, unless these would take much memory. */
static void make_frames(struct run *run)
{
    const struct plan *plan = run->plan;
    size_t slot = HEAD_MAX + plan->payload_bytes + run->tail_len;
    if (plan->kind != PLAN_ROTATION || plan->topics * slot > FRAMES_BYTES) return;
    run->frames = allocate(plan->topics, sizeof *run->frames);
    run->frame_bytes = allocate(plan->topics, slot);
    for (uint32_t p = 0; p < plan->publishers; p++) {
        for (uint32_t n = 0; n < plan->topics; n++) {
            uint32_t key = plan_key(plan, p, n);
            struct frame *frame = &run->frames[key];
            frame->bytes = run->frame_bytes + key * slot;
            frame->payload_at = make_head(run, p, n, plan->payload_bytes, frame->bytes);
            frame->len = frame->payload_at + put_body(run, plan->payload_bytes, frame->bytes + frame->payload_at);
        }
    }
}

void publish_prepare(struct run *run)
{
    size_t payload = plan_payload_max(run->plan), frame = HEAD_MAX + payload + HEAD_MAX;
    run->pattern = allocate(payload, 1);
    for (size_t i = 0; i < payload; i++) run->pattern[i] = (uint8_t)scatter(run->options->seed + i);
    make_frames(run);
    for (uint32_t p = 0; p < run->plan->publishers; p++) {
        run->publishers[p].batch = allocate(BATCH_BYTES + frame, 1);
        if (run->plan->level == LEVEL_STORED)
            run->publishers[p].sent_ns = allocate(run->in_flight, sizeof *run->publishers[p].sent_ns);
    }
}

static void put_id(uint8_t *out, uint64_t number)
{
    uint32_t id = (uint32_t)(number % UINT16_MAX) + 1;
    out[0] = (uint8_t)(id >> 8);
    out[1] = (uint8_t)id;
}

static void put_stamp(const struct run *run, uint32_t publisher, uint64_t number, uint64_t now, uint8_t *payload)
{
    size_t id_len = run->protocol->id_len;
    if (run->plan->level != LEVEL_NONE && id_len > 0) put_id(payload - id_len, number);
    store_u64(payload, (uint64_t)publisher << NUMBER_BITS | number);
    store_u64(payload + 8, now);
}

/* Writes one publish at out unless it is longer than room. Returns its length, 0 if it did not fit. */
static size_t put_message(const struct run *run, uint32_t publisher, uint64_t number, uint64_t now, size_t room,
                          uint8_t *out)
{
    if (run->frames) {
        const struct frame *frame = &run->frames[plan_key(run->plan, publisher, number)];
        if (frame->len > room) return 0;
        memcpy(out, frame->bytes, frame->len);
        put_stamp(run, publisher, number, now, out + frame->payload_at);
        return frame->len;
    }
    size_t payload = plan_payload_bytes(run->plan, publisher, number);
    size_t at = make_head(run, publisher, number, payload, out);
    if (at + payload + run->tail_len > room) return 0;
    put_stamp(run, publisher, number, now, out + at);
    return at + put_body(run, payload, out + at);
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
    ssize_t sent = link_write(&publisher->link, publisher->batch + publisher->batch_at, left);
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
        size_t at = publisher->batch_len, room = made == 0 ? SIZE_MAX : at < BATCH_BYTES ? BATCH_BYTES - at : 0;
        size_t len = put_message(run, index, publisher->sent, now, room, publisher->batch + at);
        if (len == 0) break;
        if (individual) count_receivers(run, index, publisher->sent);
        if (publisher->sent_ns) publisher->sent_ns[publisher->sent % run->in_flight] = now;
        publisher->batch_len += len;
        publisher->sent++;
    }
    run->published += made;
    publish_rest(run, publisher);
}
