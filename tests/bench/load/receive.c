/* The receiving side, where most of the generator's time goes: one read, then each frame in place. All protocols share
 * the short cut for a frame that begins like the one before. */
#include "run.h"
#include <errno.h>
#include <stdlib.h>

static inline uint64_t *lane_of(struct run *run, struct subscriber *subscriber, uint32_t publisher, uint64_t number)
{
    if (run->shared) return judge_random_lane(run, subscriber, publisher, number);
    return &subscriber->next[run->period == 1 ? publisher : publisher * run->period + number % run->period];
}

/* A message whose payload is at least a stamp. Its order is judged always, its content as often as run says. */
static inline void take(struct run *run, struct subscriber *subscriber, const uint8_t *payload, size_t len,
                        uint64_t now)
{
    uint64_t word = load_u64(payload), number = word & NUMBER_MASK;
    uint32_t publisher = (uint32_t)(word >> NUMBER_BITS);
    if (publisher >= run->publisher_count) {
        run->wrong++;
        return;
    }
    uint64_t *next = lane_of(run, subscriber, publisher, number);
    if (next && *next == number && run->stride > 0) {
        *next += run->stride;
        subscriber->received++;
    } else {
        judge_out_of_line(run, subscriber, publisher, number, next);
    }
    if ((subscriber->received & run->latency_mask) == 0 && run->sampling && !subscriber->apart) {
        uint64_t sent_ns = load_u64(payload + 8);
        histogram_add(&run->latency, now > sent_ns ? now - sent_ns : 0);
    }
    if (((subscriber->received - 1) & run->content_mask) == 0 && !judge_content(run, payload, len)) run->wrong++;
}

static void keep_head(struct link *link, const uint8_t *frame, const struct item *item)
{
    link->head_len = 0;
    if (item->payload_at > KEPT_HEAD_MAX) return;
    link->head_len = (uint32_t)item->payload_at;
    link->frame_len = (uint32_t)item->len;
    link->payload_len = (uint32_t)item->payload_len;
    memcpy(link->head, frame, item->payload_at);
}

static void take_new_head(struct run *run, struct link *link, const uint8_t *frame, const struct item *item,
                          uint64_t now)
{
    if (!link->subscriber) fail(EXIT_MEASUREMENT, "the broker sent a message to a connection that only publishes");
    if (!judge_head(run, frame, item)) {
        run->wrong++;
        return;
    }
    keep_head(link, frame, item);
    take(run, link->subscriber, frame + item->payload_at, item->payload_len, now);
}

/* The publishes of a connection are acknowledged up to this one. How long that took is only of interest where it is
 * what is waited for. */
static void take_acked(struct run *run, struct link *link, uint64_t acked, uint64_t now)
{
    struct publisher *publisher = link->publisher;
    if (!publisher) fail(EXIT_MEASUREMENT, "the broker acknowledged something to a connection that publishes nothing");
    if (publisher->sent_ns && acked > publisher->sent)
        fail(EXIT_MEASUREMENT, "the broker acknowledged a message that was not sent");
    if (publisher->sent_ns && run->sampling) {
        for (uint64_t n = link->acked; n < acked; n++)
            histogram_add(&run->latency, now - publisher->sent_ns[n % run->in_flight]);
    }
    link->acked = acked;
}

static _Noreturn void complain(const struct run *run, const struct item *item, const uint8_t *frame, size_t len)
{
    char shown[64];
    size_t count = item->len > 0 && item->len < len ? item->len : len;
    if (count > sizeof shown - 1) count = sizeof shown - 1;
    for (size_t i = 0; i < count; i++) shown[i] = frame[i] >= ' ' && frame[i] < 0x7f ? (char)frame[i] : '.';
    shown[count] = '\0';
    fail(EXIT_MEASUREMENT, "from %s came %s: '%s'", run->options->url, item->why, shown);
}

static void take_item(struct run *run, struct link *link, const uint8_t *frame, size_t len, const struct item *item,
                      uint64_t now)
{
    uint8_t answer[CONTROL_MAX];
    switch (item->kind) {
    case ITEM_MESSAGE:
        take_new_head(run, link, frame, item, now);
        if (item->id_len > 0) read_took(run, link, frame + item->id_at, item->id_len);
        return;
    case ITEM_READY: link->ready++; return;
    case ITEM_CONFIRMED: link->confirmed++; return;
    case ITEM_ACKED: take_acked(run, link, link->acked + item->number, now); return;
    case ITEM_ACKED_ALL: take_acked(run, link, item->number, now); return;
    case ITEM_BLOCK: read_block(run, link, item->number); return;
    case ITEM_LOSS: link->told += item->number; return;
    case ITEM_PING: link_send(run, link, answer, run->protocol->answer(answer, frame, item)); return;
    case ITEM_BAD:
        if (!link->may_close) complain(run, item, frame, len);
        return;
    case ITEM_MORE:
    case ITEM_OTHER: return;
    }
}

/* memcmp for a few bytes, where a call would cost more than the comparison. */
static inline bool equal(const uint8_t *a, const uint8_t *b, size_t len)
{
    if (len < 8) return memcmp(a, b, len) == 0;
    for (size_t i = 0; i + 8 < len; i += 8) {
        if (load_u64(a + i) != load_u64(b + i)) return false;
    }
    return load_u64(a + len - 8) == load_u64(b + len - 8);
}

static inline bool same_head(const struct run *run, const struct link *link, const uint8_t *frame, size_t len)
{
    if (link->head_len == 0 || len < link->frame_len || !equal(frame, link->head, link->head_len)) return false;
    size_t tail_len = run->tail_len;
    return tail_len == 0 || memcmp(frame + link->frame_len - tail_len, run->protocol->tail, tail_len) == 0;
}

/* Returns how many of the bytes were whole frames. */
static size_t consume(struct run *run, struct link *link, const uint8_t *data, size_t len, uint64_t now)
{
    size_t at = 0;
    while (at < len) {
        const uint8_t *frame = data + at;
        if (same_head(run, link, frame, len - at)) {
            take(run, link->subscriber, frame + link->head_len, link->payload_len, now);
            at += link->frame_len;
            continue;
        }
        struct item item;
        run->protocol->parse(frame, len - at, &item);
        if (item.kind == ITEM_MORE) break;
        take_item(run, link, frame, len - at, &item, now);
        if (item.len == 0) return len; /* what can't be read on a connection that may end so */
        at += item.len;
    }
    return at;
}

static void keep_rest(struct run *run, struct link *link, const uint8_t *data, size_t len)
{
    if (len > run->rest_max)
        fail(EXIT_MEASUREMENT, "from %s came a frame of more than %zu bytes", run->options->url, run->rest_max);
    if (len > link->rest_size) {
        free(link->rest);
        link->rest_size = (uint32_t)len;
        link->rest = allocate(len, 1);
    }
    if (len > 0) memcpy(link->rest, data, len);
    link->rest_len = (uint32_t)len;
}

static bool ended(struct link *link, ssize_t got)
{
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (!link->may_close) {
        fail(EXIT_MEASUREMENT, "the broker closed the connection of %s %u: %s",
             link->publisher ? "publisher" : "subscriber", link->number, got == 0 ? "end of stream" : strerror(errno));
    }
    link_close(link);
    return false;
}

bool link_receive(struct run *run, struct link *link, size_t limit)
{
    size_t before = link->rest_len;
    ssize_t got = link_read(link, run->buffer + before, limit);
    if (got <= 0) return ended(link, got);
    if (before > 0) memcpy(run->buffer, link->rest, before);
    uint64_t now = now_ns(), received = link->subscriber ? link->subscriber->received : 0;
    size_t len = before + (size_t)got, used = consume(run, link, run->buffer, len, now);
    keep_rest(run, link, run->buffer + used, len - used);
    link->bytes += (uint64_t)got;
    run->heard_ns = now;
    if (link->subscriber && !link->subscriber->apart) run->received += link->subscriber->received - received;
    return true;
}
