#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "sure.h"

/* Several mailboxes. */
struct receivers {
    struct mailbox *const *boxes;
    uint32_t count;
};

/* Whether two of them are one connection's, whose queues may have no room for all of this together. */
static bool some_compete(const struct receivers *to, uint32_t len)
{
    struct broker *broker = to->boxes[0]->broker;
    uint64_t most = (uint64_t)len * to->count, budget = broker->limits.session_queue_bytes;
    broker->judged++;
    for (uint32_t i = 0; i < to->count; i++) {
        struct session *session = to->boxes[i]->session;
        if (session == NULL || session->queued_bytes + most <= budget) continue;
        if (session->chosen == broker->judged) return true;
        session->chosen = broker->judged;
        session->chosen_bytes = 0;
    }
    return false;
}

/* What a run taken apart may cost, a few milliseconds: thousands of subscriptions get several messages at a time. */
#define PUSHES_MAX 65536u

/* So that each of a connection's queues gets as much of its budget as the messages' order gives it, and not the first
 * of them everything. */
static uint64_t push_piecewise(const struct receivers *to, struct run *run, struct part part)
{
    uint32_t at_once = (uint32_t)((uint64_t)part.count * to->count / PUSHES_MAX) + 1;
    uint64_t dropped = 0;
    for (uint32_t at = part.off, end, one; at < part.off + part.len; at = end) {
        struct part piece = {at, 0, 0};
        for (end = at; piece.count < at_once && end < part.off + part.len; piece.count++)
            end = run_frame_end(run, end, end, &one);
        piece.len = end - at;
        for (uint32_t i = 0; i < to->count; i++) dropped += mailbox_push(to->boxes[i], run, piece);
    }
    return dropped;
}

static uint64_t push_to(const struct receivers *to, struct run *run, struct part part)
{
    uint64_t dropped = 0;
    if (part.count > 1 && to->count > 1 && some_compete(to, part.len)) return push_piecewise(to, run, part);
    for (uint32_t i = 0; i < to->count; i++) dropped += mailbox_push(to->boxes[i], run, part);
    return dropped;
}

uint64_t fanout_run(const struct route *route, struct run *run)
{
    return push_to(&(struct receivers){route->boxes, route->count}, run, (struct part){0, run->len, run->count});
}

static void make_room(struct router *router, uint32_t count)
{
    if (count <= router->chosen_cap) return;
    router->chosen_cap = count;
    router->chosen = sure_grown(router->chosen, count * sizeof router->chosen[0]);
    router->accepted = sure_grown(router->accepted, count * sizeof router->accepted[0]);
}

static inline enum fanout_verdict judge(struct broker *broker, const struct mailbox *box,
                                        const struct delivery *delivery, mps_view payload)
{
    if (box->no_local && delivery->from != NULL && box->session == delivery->from) return FANOUT_OWN;
    if (box->is_guarded && !grant_receives(box->session->grant, delivery->topic)) return FANOUT_FORBIDDEN;
    if (box->filter == NULL) return FANOUT_TAKES;
    return filter_judge(broker, box->filter, delivery->topic, delivery->props, payload) ? FANOUT_TAKES
                                                                                        : FANOUT_FILTERED;
}

enum fanout_verdict fanout_judge(struct broker *broker, const struct mailbox *box, const struct delivery *delivery,
                                 mps_view payload)
{
    return judge(broker, box, delivery, payload);
}

/* How long the publisher's message may wait for this mailbox: as long as it allows, but not so long that the publisher
 * seems dead. */
static uint64_t wait_end_ms(const struct session *from, const struct mailbox *box)
{
    uint64_t wait_ms = box->block_ms;
    if (from->ka_ms > 0 && wait_ms > from->ka_ms / 2) wait_ms = from->ka_ms / 2;
    return from->held_since_ms + wait_ms;
}

/* What other mailboxes of the same connection are about to take, of which nothing is queued yet. */
static uint64_t reserved_bytes(const struct mailbox *box)
{
    return box->session != NULL && box->session->chosen == box->broker->judged ? box->session->chosen_bytes : 0;
}

static void reserve(struct mailbox *box, uint64_t bytes)
{
    if (box->session == NULL) return;
    box->session->chosen_bytes = reserved_bytes(box) + bytes;
    box->session->chosen = box->broker->judged;
}

static bool lacks_room(const struct delivery *delivery, struct mailbox *box, uint32_t len)
{
    struct part with = {0, delivery->stretch.len + len, delivery->stretch.count + 1};
    if (box->policy != MPS_POLICY_BLOCK || delivery->from == NULL || box->gave_up || mailbox_is_away(box)) return false;
    if (box->rx_max > 0 && len > box->rx_max) return false;
    return !mailbox_never_fits(box, len) && !mailbox_has_room(box, with, reserved_bytes(box));
}

/* The mailbox lacks room. Whether the publisher has to wait for it; else the queue gives up. */
static bool must_wait(struct session *from, struct mailbox *box, uint32_t len)
{
    if (from->held_since_ms == UINT64_MAX) from->held_since_ms = box->broker->now_ms;
    uint64_t end_ms = wait_end_ms(from, box);
    if (box->broker->now_ms < end_ms) {
        hold_begin(from, box, len, reserved_bytes(box), end_ms);
        return true;
    }
    box->gave_up = true;
    hold_wake_all(box); /* nobody waits for it any more */
    return false;
}

enum fanout_result fanout_choose(struct delivery *delivery, mps_view frame)
{
    const struct route *route = delivery->route;
    if (route->count == 0) return FANOUT_CHOSEN;
    struct broker *broker = route->boxes[0]->broker;
    struct router *router = &broker->router;
    make_room(router, route->count);
    router->chosen_count = 0;
    struct mps_msg msg;
    const char *what;
    mps_decode_msg(frame, &msg, &what); /* accepted when it came: only the payload is asked for */
    broker->judged++;
    for (uint32_t i = 0; i < route->count; i++) {
        struct mailbox *box = route->boxes[i];
        if (judge(broker, box, delivery, msg.payload) != FANOUT_TAKES) continue;
        if (lacks_room(delivery, box, frame.len)) {
            if (delivery->stretch.count > 0) return FANOUT_FULL;
            if (must_wait(delivery->from, box, frame.len)) return FANOUT_HELD;
        }
        reserve(box, delivery->stretch.len + frame.len);
        router->chosen[router->chosen_count++] = box;
    }
    if (delivery->from != NULL) delivery->from->held_since_ms = UINT64_MAX;
    return FANOUT_CHOSEN;
}

static struct router *router_of(const struct delivery *delivery)
{
    return delivery->route->count > 0 ? &delivery->route->boxes[0]->broker->router : NULL;
}

bool fanout_continues(const struct delivery *delivery)
{
    const struct router *router = router_of(delivery);
    if (router == NULL || delivery->stretch.count == 0) return true;
    return router->chosen_count == router->accepted_count &&
           memcmp(router->chosen, router->accepted, router->chosen_count * sizeof router->chosen[0]) == 0;
}

void fanout_add(struct delivery *delivery, mps_view frame)
{
    struct router *router = router_of(delivery);
    uint32_t off = (uint32_t)(frame.ptr - delivery->run->bytes);
    if (delivery->stretch.count == 0) {
        delivery->stretch.off = off;
        if (router != NULL) {
            struct mailbox **spare = router->accepted;
            router->accepted = router->chosen;
            router->accepted_count = router->chosen_count;
            router->chosen = spare;
        }
    }
    delivery->stretch.len += frame.len;
    delivery->stretch.count++;
    delivery->last_off = off;
}

/* What not everybody takes becomes a run of its own: one message that a filter lets pass must not keep the memory of
 * the thousand that it does not. */
uint64_t fanout_push(struct delivery *delivery)
{
    struct part part = delivery->stretch;
    struct router *router = router_of(delivery);
    delivery->stretch = (struct part){0};
    if (router == NULL || router->accepted_count == 0) return 0;
    struct run_pool *runs = &delivery->route->boxes[0]->broker->runs;
    bool whole = part.count == delivery->run->count;
    struct run *run = whole ? run_ref(delivery->run)
                            : run_slice(runs, delivery->run, part.off, part.len, part.count, delivery->last_off);
    const struct receivers to = {router->accepted, router->accepted_count};
    uint64_t dropped = push_to(&to, run, (struct part){0, part.len, part.count});
    run_unref(runs, run);
    return dropped;
}
