#include "latest.h"
#include "mailbox.h"
#include "spill.h"
#include "trace.h"

static bool reader_is_away(const struct mailbox *box)
{
    return box->session != NULL && box->session->state != SESSION_READY;
}

/* Why something is lost for want of room: by the policy, unless nobody is there to take anything. */
static enum mps_gap_reason reason_of(const struct mailbox *box, enum mps_gap_reason by_policy)
{
    return reader_is_away(box) ? MPS_GAP_OFFLINE : by_policy;
}

static struct part after(struct part part, struct part first)
{
    return (struct part){part.off + first.len, part.len - first.len, part.count - first.count};
}

static void push(struct mailbox *box, struct run *run, struct part part)
{
    if (part.count > 0) queue_push(&box->queue, run, part.off, part.len, part.count);
}

/* The first frames of a part that fit behind what is queued. */
static struct part fitting(const struct mailbox *box, struct run *run, struct part part, uint64_t allowed)
{
    const struct queue *queue = &box->queue;
    uint64_t msgs = queue->msgs < box->max_msgs ? box->max_msgs - queue->msgs : 0;
    uint64_t bytes = queue->bytes < allowed ? allowed - queue->bytes : 0;
    if (part.count <= msgs && part.len <= bytes) return part;
    if (msgs == 0 || bytes < run->shortest) return (struct part){part.off, 0, 0};
    uint32_t count = part.count;
    if (bytes < part.len) { /* the frame with the first byte too many, and those before it */
        run_frame_end(run, part.off, part.off + (uint32_t)bytes, &count);
        count--;
    }
    if (count > msgs) count = (uint32_t)msgs;
    return (struct part){part.off, run_skip(run, part.off, count) - part.off, count};
}

/* What does not fit is lost, each message judged by itself. Returns how many. */
static uint64_t push_or_refuse(struct mailbox *box, struct run *run, struct part part, uint64_t allowed,
                               enum mps_gap_reason reason)
{
    uint64_t refused = 0;
    while (part.count > 0) {
        struct part fit = fitting(box, run, part, allowed);
        if (fit.count == 0) {
            bool none =
                run_stride(run) > 0 || box->queue.msgs >= box->max_msgs || box->queue.bytes + run->shortest > allowed;
            uint32_t one;
            fit = none ? part : (struct part){part.off, run_frame_end(run, part.off, part.off, &one) - part.off, 1};
            mailbox_lose_here(box, reason, fit.count);
            refused += fit.count;
        } else {
            push(box, run, fit);
        }
        part = after(part, fit);
    }
    return refused;
}

static void push_and_make_room(struct mailbox *box, struct run *run, struct part part, uint64_t allowed,
                               enum mps_gap_reason reason)
{
    push(box, run, part);
    if (!mailbox_fits(box, (struct part){0, 0, 0}, allowed)) mailbox_lose_oldest(box, box->max_msgs, allowed, reason);
}

static uint64_t push_or_close(struct mailbox *box, struct run *run, struct part part, uint64_t allowed)
{
    struct part fit = fitting(box, run, part, allowed), rest = after(part, fit);
    if (reader_is_away(box)) return push_or_refuse(box, run, part, allowed, MPS_GAP_OFFLINE);
    push(box, run, fit);
    if (rest.count == 0) return 0;
    session_too_slow(box->session, container_of(box, struct subscription, box), box->queue.msgs >= box->max_msgs);
    mailbox_lose_here(box, MPS_GAP_DROP_NEW, rest.count);
    return rest.count;
}

static uint32_t last_of(struct run *run, struct part part)
{
    if (part.count == 1) return part.off;
    if (part.len == run->len && run->last_off > 0) return run->last_off;
    uint32_t last = part.off, one;
    for (uint32_t end; (end = run_frame_end(run, last, last, &one)) < part.off + part.len;) last = end;
    return last;
}

/* A run for one of another's messages that doesn't keep the memory of all of them, with a reference; *off is the
 * message's place in it. */
static struct run *run_for_one(struct run_pool *runs, struct run *run, uint32_t *off, uint32_t len)
{
    if (run->len < PINNED_MIN || len >= run->len / 2) return run_ref(run);
    struct run *tail = *off == run->last_off ? run_tail(runs, run) : NULL;
    struct run *one = tail ? run_ref(tail) : run_slice(runs, run, *off, len, 1, *off);
    if (one == NULL) return run_ref(run);
    *off = 0;
    return one;
}

/* All frames of a run have the same topic and props, so the same key: only the last one is kept. */
void mailbox_push_latest(struct mailbox *box, struct run *run, struct part part, uint64_t allowed)
{
    struct queue *queue = &box->queue;
    struct run_pool *runs = &box->broker->runs;
    uint32_t last = last_of(run, part);
    mps_view frame = {run->bytes + last, part.off + part.len - last};
    uint64_t number;
    bool supersedes = latest_find(box->latest, queue, frame, &number);
    if (supersedes) {
        queue_lose_at(queue, runs, (uint32_t)(number - queue->first), MPS_GAP_SUPERSEDED);
        mailbox_count_lost(box, 1);
    }
    mailbox_lose_here(box, MPS_GAP_SUPERSEDED, part.count - 1);
    struct run *one = run_for_one(runs, run, &last, frame.len);
    queue_push(queue, one, last, frame.len, 1);
    run_unref(runs, one);
    uint64_t last_number = queue->first + queue->entries - 1;
    if (supersedes) latest_move(box->latest, frame, number, last_number);
    else latest_add(box->latest, frame, last_number);
    if (!mailbox_fits(box, (struct part){0, 0, 0}, allowed))
        mailbox_lose_oldest(box, box->max_msgs, allowed, reason_of(box, MPS_GAP_DROP_OLD));
    if (queue->entries > 2 * queue->msgs + 8) mailbox_tidy(box, UINT32_MAX);
}

/* The last message stands for all, unless a longer one before it would push out others first. */
static void push_latest_of(struct mailbox *box, struct run *run, struct part part, uint64_t allowed)
{
    if (part.count == 1 || run_stride(run) > 0 || box->queue.bytes + run->longest <= allowed) {
        mailbox_push_latest(box, run, part, allowed);
        return;
    }
    for (uint32_t at = part.off, end, one; at < part.off + part.len; at = end) {
        end = run_frame_end(run, at, at, &one);
        mailbox_push_latest(box, run, (struct part){at, end - at, 1}, allowed);
    }
}

/* Publishers have waited for as long as they may, or can't. */
static uint64_t push_at_last(struct mailbox *box, struct run *run, struct part part, uint64_t allowed)
{
    if (mailbox_fits(box, part, allowed)) {
        push(box, run, part);
        return 0;
    }
    if (reader_is_away(box)) return push_or_refuse(box, run, part, allowed, MPS_GAP_OFFLINE);
    if (box->then == MPS_POLICY_CLOSE) return push_or_close(box, run, part, allowed);
    if (box->then == MPS_POLICY_DROP_NEW) return push_or_refuse(box, run, part, allowed, MPS_GAP_BLOCKED);
    push_and_make_room(box, run, part, allowed, MPS_GAP_BLOCKED);
    return 0;
}

/* The oldest make room, in the queue and with it behind it. */
static struct part spill_and_make_room(struct mailbox *box, struct run *run, struct part part, uint64_t allowed)
{
    while (part.count > 0 && box->spill != NULL) {
        mailbox_lose_oldest(box, 0, 0, reason_of(box, MPS_GAP_DROP_OLD));
        spill_refill(box);
        if (box->spill != NULL) part = spill_put(box, run, part);
    }
    if (part.count > 0) push_and_make_room(box, run, part, allowed, reason_of(box, MPS_GAP_DROP_OLD));
    return (struct part){0};
}

/* What the queue has no room for goes behind it, outside of memory; what that has no room for, to the other policy. */
static uint64_t push_or_spill(struct mailbox *box, struct run *run, struct part part, uint64_t allowed)
{
    if (box->spill == NULL) {
        struct part fit = fitting(box, run, part, allowed);
        push(box, run, fit);
        part = after(part, fit);
    }
    if (part.count > 0) part = spill_put(box, run, part);
    if (part.count > 0 && box->then == MPS_POLICY_DROP_OLD) part = spill_and_make_room(box, run, part, allowed);
    if (part.count > 0) spill_lose(box, reason_of(box, MPS_GAP_DROP_NEW), part.count);
    if (part.count > 0 && box->then == MPS_POLICY_CLOSE && box->session != NULL)
        session_too_slow(box->session, container_of(box, struct subscription, box), false);
    if (box->spill != NULL) spill_refill(box);
    return part.count;
}

/* Frames each of which would fit into the empty queue. */
static uint64_t push_part(struct mailbox *box, struct run *run, struct part part, uint64_t allowed)
{
    if (box->latest != NULL || !mailbox_fits(box, part, allowed))
        mailbox_sweep(box); /* before something else is done to it */
    switch ((enum mps_policy)box->policy) {
    case MPS_POLICY_DROP_OLD: push_and_make_room(box, run, part, allowed, reason_of(box, MPS_GAP_DROP_OLD)); break;
    case MPS_POLICY_DROP_NEW: return push_or_refuse(box, run, part, allowed, reason_of(box, MPS_GAP_DROP_NEW));
    case MPS_POLICY_LATEST: push_latest_of(box, run, part, allowed); break;
    case MPS_POLICY_CLOSE: return push_or_close(box, run, part, allowed);
    case MPS_POLICY_BLOCK: return push_at_last(box, run, part, allowed);
    case MPS_POLICY_SPILL: return push_or_spill(box, run, part, allowed);
    }
    return 0;
}

/* A message that even the empty queue could not hold. It doesn't drive out all others only to be lost itself. */
static void refuse_too_large(struct mailbox *box)
{
    switch ((enum mps_policy)box->policy) {
    case MPS_POLICY_DROP_OLD:
    case MPS_POLICY_LATEST: mailbox_lose_here(box, reason_of(box, MPS_GAP_DROP_OLD), 1); break;
    case MPS_POLICY_CLOSE:
        session_too_slow(box->session, container_of(box, struct subscription, box), false);
        mailbox_lose_here(box, reason_of(box, MPS_GAP_DROP_NEW), 1);
        break;
    case MPS_POLICY_SPILL: spill_lose(box, reason_of(box, MPS_GAP_DROP_NEW), 1); break;
    case MPS_POLICY_DROP_NEW:
    case MPS_POLICY_BLOCK: mailbox_lose_here(box, reason_of(box, MPS_GAP_DROP_NEW), 1); break;
    }
}

/* Frames some of which are too large for the reader or for the whole queue: these are lost where they stand. */
static uint64_t push_each(struct mailbox *box, struct run *run, struct part part, uint32_t rx_max, uint64_t allowed)
{
    struct part good = {part.off, 0, 0};
    uint64_t refused = 0;
    for (uint32_t at = part.off, end, one; at < part.off + part.len; at = end) {
        end = run_frame_end(run, at, at, &one);
        uint32_t len = end - at;
        if (len <= rx_max && len <= allowed) {
            good.len += len;
            good.count++;
            continue;
        }
        if (good.count > 0) refused += push_part(box, run, good, allowed);
        if (len > rx_max) {
            spill_lose(box, MPS_GAP_TOO_LARGE, 1);
        } else {
            refuse_too_large(box);
            refused++;
        }
        good = (struct part){end, 0, 0};
    }
    if (good.count > 0) refused += push_part(box, run, good, allowed);
    return refused;
}

/* Whether no limit and no policy has a say: what nearly every message meets, in a quarter of the steps. */
static bool fits_as_it_is(const struct mailbox *box, const struct run *run, struct part part, uint64_t allowed)
{
    uint64_t memory = mailbox_memory(box) + part.len + QUEUE_ENTRY_BYTES;
    return box->latest == NULL && box->spill == NULL && mailbox_fits(box, part, allowed) &&
           memory <= mailbox_memory_allowed(allowed) && (box->rx_max == 0 || run->longest <= box->rx_max) &&
           (box->session == NULL || box->session->slow_text == NULL);
}

static uint64_t push_by_policy(struct mailbox *box, struct run *run, struct part part, uint64_t allowed)
{
    uint32_t rx_max = box->rx_max > 0 ? box->rx_max : UINT32_MAX;
    uint64_t refused;
    if (box->session != NULL && box->session->slow_text != NULL) { /* it is about to be closed */
        mailbox_lose_here(box, MPS_GAP_DROP_NEW, part.count);
        refused = part.count;
    } else if (run->longest <= rx_max && run->longest <= allowed) {
        refused = push_part(box, run, part, allowed);
    } else {
        refused = push_each(box, run, part, rx_max, allowed);
    }
    uint64_t over = queue_msgs_over(&box->queue, mailbox_memory_allowed(allowed));
    if (over > 0) mailbox_lose_oldest(box, box->queue.msgs - over, UINT64_MAX, MPS_GAP_MEMORY);
    return refused;
}

static uint64_t push_all(struct mailbox *box, struct run *run, struct part part)
{
    uint64_t allowed = mailbox_bytes_allowed(box, 0), refused = 0;
    struct totals was = mailbox_totals(box);
    box->matched += part.count;
    if (fits_as_it_is(box, run, part, allowed)) push(box, run, part);
    else refused = push_by_policy(box, run, part, allowed);
    mailbox_account(box, was);
    mailbox_note_expiry(box, run);
    mailbox_activate(box);
    return refused;
}

/* A message that is followed is pushed by itself, so that it is known what becomes of it. As each is judged by itself,
 * that is the same. */
TRACE_COLD static uint64_t push_traced(struct mailbox *box, struct run *run, struct part part)
{
    struct broker *broker = box->broker;
    uint64_t refused = 0;
    while (part.count > 0) {
        struct part piece = trace_piece(broker, run, part);
        trace_push_begins(box, run, piece);
        refused += push_all(box, run, piece);
        trace_push_ends(broker);
        part = after(part, piece);
    }
    return refused;
}

uint64_t mailbox_push(struct mailbox *box, struct run *run, struct part part)
{
    if (run->is_traced && box->broker->tracing != NULL) return push_traced(box, run, part);
    return push_all(box, run, part);
}
