#include <stdlib.h>

#include "latest.h"
#include "mailbox.h"
#include "spill.h"
#include "sure.h"
#include "trace.h"

/* Small messages of many topics cost more to keep than they are long: a queue may take twice its max_bytes and this. */
#define OVERHEAD_BYTES (1024u * 1024)
/* What has expired is looked for at multiples of this, in long queues seldomer. */
#define SWEEP_MS 100u
#define SWEEP_SHORT_ENTRIES 1024u
/* A queue of more messages can't change to or from `latest`: indexing takes a microsecond for each. */
#define INDEX_MAX 4096u

/* ---- what is counted elsewhere ------------------------------------------------------------------------------ */

void mailbox_account_ring(struct mailbox *box, uint64_t was)
{
    box->broker->rings_bytes += mailbox_ring_bytes(box) - was;
}

void mailbox_set_debtor(struct mailbox *box)
{
    box->is_debtor = true;
    list_append(&box->broker->debtors, &box->in_debtors);
}

void mailbox_no_debtor(struct mailbox *box)
{
    if (!box->is_debtor) return;
    box->is_debtor = false;
    sys_pass_debtor(box);
    overview_pass_debtor(box);
    list_remove(&box->broker->debtors, &box->in_debtors);
}

void mailbox_activate(struct mailbox *box)
{
    if (box->session != NULL) subscription_activate(container_of(box, struct subscription, box));
    else group_dirty(container_of(box, struct group, box));
}

/* ---- limits ------------------------------------------------------------------------------------------------- */

/* The most bytes that the queue may hold now: its own limit, and what its connection's other queues leave, of which
 * some are reserved already. */
uint64_t mailbox_bytes_allowed(const struct mailbox *box, uint64_t reserved_bytes)
{
    const struct session *session = box->session;
    if (session == NULL) return box->max_bytes;
    uint64_t others = session->queued_bytes - box->queue.bytes + reserved_bytes;
    uint64_t budget = box->broker->limits.session_queue_bytes;
    uint64_t left = budget > others ? budget - others : 0;
    return left < box->max_bytes ? left : box->max_bytes;
}

uint64_t mailbox_memory_allowed(uint64_t allowed_bytes)
{
    return 2 * allowed_bytes + OVERHEAD_BYTES;
}

uint64_t mailbox_memory(const struct mailbox *box)
{
    uint64_t latest = box->latest ? latest_bytes(box->latest) : 0;
    return box->queue.bytes + (uint64_t)box->queue.entries * QUEUE_ENTRY_BYTES + latest;
}

bool mailbox_never_fits(const struct mailbox *box, uint32_t len)
{
    return len > box->max_bytes || (box->session != NULL && len > box->broker->limits.session_queue_bytes);
}

bool mailbox_fits(const struct mailbox *box, struct part part, uint64_t allowed)
{
    return box->queue.msgs + part.count <= box->max_msgs && box->queue.bytes + part.len <= allowed;
}

bool mailbox_has_room(struct mailbox *box, struct part part, uint64_t reserved_bytes)
{
    uint64_t allowed = mailbox_bytes_allowed(box, reserved_bytes);
    if (!mailbox_fits(box, part, allowed)) mailbox_expire(box);
    uint64_t memory = mailbox_memory(box) + part.len + part.count * QUEUE_ENTRY_BYTES;
    return mailbox_fits(box, part, allowed) && memory <= mailbox_memory_allowed(allowed);
}

bool mailbox_is_away(const struct mailbox *box)
{
    if (box->session != NULL) return box->session->state != SESSION_READY;
    const struct group *group = container_of(box, struct group, box);
    return group->away_count == group->members_count;
}

/* ---- losing ------------------------------------------------------------------------------------------------- */

void mailbox_count_lost(struct mailbox *box, uint64_t count)
{
    box->lost += count;
    if (box->session != NULL) box->session->lost += count;
    box->broker->figures.copies_lost += count;
}

/* Messages that are not queued become a gap where they would stand. */
void mailbox_lose_here(struct mailbox *box, enum mps_gap_reason reason, uint64_t count)
{
    if (count == 0) return;
    if (box->broker->tracing != NULL) trace_lost_here(box, reason);
    queue_push_gap(&box->queue, reason, count);
    mailbox_count_lost(box, count);
}

/* With `latest` each entry is one message: those that are about to go leave the index. */
static void forget_oldest(struct mailbox *box, uint64_t max_msgs, uint64_t max_bytes)
{
    uint64_t msgs = box->queue.msgs, bytes = box->queue.bytes;
    for (uint32_t i = 0; msgs > max_msgs || bytes > max_bytes; i++) {
        const struct queue_entry *entry = queue_at(&box->queue, i);
        if (entry->run == NULL) continue;
        latest_forget(box->latest, queue_frame(entry), box->queue.first + i);
        msgs--;
        bytes -= entry->len;
    }
}

void mailbox_lose_oldest(struct mailbox *box, uint64_t max_msgs, uint64_t max_bytes, enum mps_gap_reason reason)
{
    if (box->latest != NULL) forget_oldest(box, max_msgs, max_bytes);
    mailbox_count_lost(box, queue_drop_oldest(&box->queue, &box->broker->runs, max_msgs, max_bytes, reason));
}

static void move_place(const struct queue_entry *entry, uint64_t from, uint64_t to, void *arg)
{
    latest_move(arg, queue_frame(entry), from, to);
}

void mailbox_tidy(struct mailbox *box, uint32_t limit)
{
    queue_tidy(&box->queue, limit, box->latest != NULL ? move_place : NULL, box->latest);
}

/* Turns what has expired of the first entries into gaps. Returns how many entries it looked at. *next_ms: when the next
 * of these expires. */
static uint32_t expire_first(struct mailbox *box, uint32_t limit, uint64_t *next_ms)
{
    struct broker *broker = box->broker;
    uint32_t entries = limit < box->queue.entries ? limit : box->queue.entries;
    *next_ms = UINT64_MAX;
    for (uint32_t i = 0; i < entries; i++) {
        const struct queue_entry *entry = queue_at(&box->queue, i);
        if (entry->run == NULL) continue;
        if (entry->run->expires_ms > broker->now_ms) {
            if (entry->run->expires_ms < *next_ms) *next_ms = entry->run->expires_ms;
            continue;
        }
        mailbox_count_lost(box, entry->count);
        if (box->latest != NULL) latest_forget(box->latest, queue_frame(entry), box->queue.first + i);
        queue_lose_at(&box->queue, &broker->runs, i, MPS_GAP_EXPIRED);
    }
    return entries;
}

/* How long a queue is left alone after a sweep: all sweeps together look at no more than 500 entries in a millisecond,
 * 3 % of a processor, however much is queued. */
static uint64_t sweep_pause_ms(const struct broker *broker)
{
    uint64_t pause_ms = broker->rings_bytes / sizeof(struct queue_entry) / 500;
    return pause_ms > SWEEP_MS ? pause_ms : SWEEP_MS;
}

static void expiry_timer(struct mailbox *box)
{
    struct broker *broker = box->broker;
    uint64_t when_ms = box->expires_ms;
    if (when_ms >= UINT64_MAX - SWEEP_MS) {
        timer_cancel(&broker->expiries, &box->expiry);
        return;
    }
    when_ms = (when_ms + SWEEP_MS - 1) / SWEEP_MS * SWEEP_MS;
    uint64_t soonest_ms = box->queue.entries > SWEEP_SHORT_ENTRIES ? box->swept_ms + sweep_pause_ms(broker) : 0;
    timer_set(&broker->expiries, &box->expiry, when_ms > soonest_ms ? when_ms : soonest_ms);
}

/* All of the queue, without counting elsewhere. */
void mailbox_sweep(struct mailbox *box)
{
    struct broker *broker = box->broker;
    if (box->expires_ms > broker->now_ms) return;
    if (box->queue.entries > SWEEP_SHORT_ENTRIES && broker->now_ms < box->swept_ms + sweep_pause_ms(broker)) {
        expiry_timer(box); /* later */
        return;
    }
    broker->work += expire_first(box, UINT32_MAX, &box->expires_ms);
    mailbox_tidy(box, UINT32_MAX);
    box->swept_ms = broker->now_ms;
    expiry_timer(box);
}

void mailbox_expire(struct mailbox *box)
{
    struct totals was = mailbox_totals(box);
    uint64_t lost = box->lost;
    mailbox_sweep(box);
    mailbox_account(box, was);
    if (box->lost > lost) mailbox_activate(box);
}

void mailbox_prepare(struct mailbox *box, uint32_t entries)
{
    bool expires = box->expires_ms <= box->broker->now_ms;
    if (!expires && !box->queue.untidy) return;
    struct totals was = mailbox_totals(box);
    uint64_t next_ms;
    if (expires) expire_first(box, entries, &next_ms);
    mailbox_tidy(box, entries);
    mailbox_account(box, was);
}

void mailbox_cut_down(struct mailbox *box, uint64_t memory_bytes)
{
    uint64_t over = queue_msgs_over(&box->queue, memory_bytes);
    if (over == 0) return;
    struct totals was = mailbox_totals(box);
    mailbox_lose_oldest(box, box->queue.msgs - over, UINT64_MAX, MPS_GAP_MEMORY);
    mailbox_account(box, was);
    mailbox_activate(box);
}

void mailbox_note_expiry(struct mailbox *box, const struct run *run)
{
    if (run->expires_ms >= box->expires_ms) return;
    box->expires_ms = run->expires_ms;
    expiry_timer(box);
}

/* ---- taking out, handing over ------------------------------------------------------------------------------- */

void mailbox_pop(struct mailbox *box, uint32_t len, uint64_t count)
{
    struct totals was = mailbox_totals(box);
    if (box->latest != NULL) latest_forget(box->latest, queue_frame(queue_at(&box->queue, 0)), box->queue.first);
    queue_pop(&box->queue, &box->broker->runs, len, count);
    if (box->spill != NULL) spill_refill(box);
    mailbox_account(box, was);
}

void mailbox_pop_gap(struct mailbox *box)
{
    struct totals was = mailbox_totals(box);
    queue_pop_gap(&box->queue);
    if (box->spill != NULL) spill_refill(box);
    mailbox_account(box, was);
}

void mailbox_append(struct mailbox *box, struct run *run, struct part part)
{
    struct totals was = mailbox_totals(box);
    box->matched += part.count;
    if (part.count > 0) queue_push(&box->queue, run, part.off, part.len, part.count);
    mailbox_account(box, was);
    mailbox_note_expiry(box, run);
    mailbox_activate(box);
}

void mailbox_append_gap(struct mailbox *box, enum mps_gap_reason reason, uint64_t count)
{
    struct totals was = mailbox_totals(box);
    box->matched += count;
    box->lost += count; /* the broker's figures have it from where it was lost */
    queue_push_gap(&box->queue, reason, count);
    mailbox_account(box, was);
    mailbox_activate(box);
}

void mailbox_lose_unknown(struct mailbox *box, enum mps_gap_reason reason)
{
    struct totals was = mailbox_totals(box);
    if (box->spill != NULL) box->matched++; /* what is outside of memory can't note a loss of nothing */
    if (box->spill != NULL) spill_lose(box, reason, 1);
    else queue_push_gap(&box->queue, reason, 0);
    mailbox_account(box, was);
    mailbox_activate(box);
}

void mailbox_clear(struct mailbox *box)
{
    struct totals was = mailbox_totals(box);
    queue_clear(&box->queue, &box->broker->runs);
    spill_free(box);
    mailbox_account(box, was);
}

/* What is newer of its key stands in the queue already: then this one is superseded. */
static void put_back(struct mailbox *box, const struct queue_entry *entry)
{
    uint64_t number;
    if (entry->run == NULL) {
        queue_push_front_gap(&box->queue, (enum mps_gap_reason)entry->off, entry->count);
    } else if (box->latest != NULL && latest_find(box->latest, &box->queue, queue_frame(entry), &number)) {
        if (entry->run->is_traced) trace_lost(&box->queue, entry->run, entry->off, entry->len, MPS_GAP_SUPERSEDED);
        queue_push_front_gap(&box->queue, MPS_GAP_SUPERSEDED, 1);
        mailbox_count_lost(box, 1);
    } else {
        queue_push_front(&box->queue, entry->run, entry->off, entry->len, (uint32_t)entry->count);
        if (box->latest != NULL) latest_add(box->latest, queue_frame(entry), box->queue.first);
        mailbox_note_expiry(box, entry->run);
    }
}

/* What comes back, with its place in the order of arrival. A gap has that of the message behind it. */
struct returned {
    struct queue_entry entry;
    uint64_t place;
    uint32_t nth;
};

static int by_place(const void *a, const void *b)
{
    const struct returned *x = a, *y = b;
    if (x->place != y->place) return x->place < y->place ? -1 : 1;
    return x->nth < y->nth ? -1 : 1;
}

/* Writes what `from` holds to the end of the list, and empties it. The references stay with the list. */
static uint32_t give_all(struct mailbox *from, struct mailbox *to, struct returned *list, uint32_t count)
{
    struct totals was = mailbox_totals(from);
    uint64_t place = UINT64_MAX;
    for (uint32_t i = from->queue.entries; i > 0; i--) {
        struct queue_entry entry = *queue_at(&from->queue, i - 1);
        from->matched -= entry.count;
        if (entry.run != NULL) place = entry.run->place + entry.off;
        else from->lost -= entry.count;
        if (entry.run != NULL) run_ref(entry.run);
        if (entry.run != NULL && entry.run->is_traced && from->broker->tracing != NULL)
            trace_moved(from, to, entry.run, entry.off, entry.len);
        list[count + i - 1] = (struct returned){entry, place, count + i - 1};
    }
    count += from->queue.entries;
    queue_clear(&from->queue, &from->broker->runs);
    mailbox_account(from, was);
    return count;
}

void mailbox_take_back(struct mailbox *box, struct mailbox **from, uint32_t from_count)
{
    struct run_pool *runs = &box->broker->runs;
    struct totals was = mailbox_totals(box);
    uint32_t count = 0, room = 0;
    for (uint32_t i = 0; i < from_count; i++) room += from[i]->queue.entries;
    if (room == 0) return;
    struct returned *list = sure_alloc(room * sizeof *list); /* bounded by what members are given for a turn */
    for (uint32_t i = 0; i < from_count; i++) count = give_all(from[i], box, list, count);
    if (from_count > 1) qsort(list, count, sizeof *list, by_place);
    while (count > 0) {
        const struct queue_entry *entry = &list[--count].entry;
        if (entry->run != NULL) box->sent -= entry->count;
        put_back(box, entry);
        if (entry->run != NULL) run_unref(runs, entry->run);
    }
    free(list);
    mailbox_account(box, was);
}

/* Why a frame that was queued can't be sent any more; 0: it can. */
static enum mps_gap_reason refusal(const struct mailbox *box, mps_view frame)
{
    struct mps_msg msg;
    const char *what;
    if (box->rx_max > 0 && frame.len > box->rx_max) return MPS_GAP_TOO_LARGE;
    if (!box->is_guarded) return 0;
    mps_decode_msg(frame, &msg, &what); /* accepted when it came */
    return grant_receives(box->session->grant, msg.topic) ? 0 : MPS_GAP_FORBIDDEN;
}

void mailbox_requeue(struct mailbox *box, struct run *run, struct part part)
{
    if (!box->is_guarded && (box->rx_max == 0 || run->longest <= box->rx_max)) {
        queue_push(&box->queue, run, part.off, part.len, part.count);
        return;
    }
    for (uint32_t at = part.off, end, one; at < part.off + part.len; at = end) {
        end = run_frame_end(run, at, at, &one);
        enum mps_gap_reason reason = refusal(box, (mps_view){run->bytes + at, end - at});
        if (reason != 0 && run->is_traced) trace_lost(&box->queue, run, at, end - at, reason);
        if (reason == 0) queue_push(&box->queue, run, at, end - at, 1);
        else mailbox_lose_here(box, reason, 1);
    }
}

/* All of the queue anew. */
static void requeue_all(struct mailbox *box)
{
    struct queue old = box->queue;
    box->queue = (struct queue){0};
    for (uint32_t i = 0; i < old.entries; i++) {
        struct queue_entry *entry = queue_at(&old, i);
        if (i == old.before) queue_mark(&box->queue);
        if (entry->run == NULL) queue_push_gap(&box->queue, (enum mps_gap_reason)entry->off, entry->count);
        if (entry->run == NULL) continue;
        mailbox_requeue(box, entry->run, (struct part){entry->off, entry->len, (uint32_t)entry->count});
    }
    if (old.before >= old.entries) queue_mark(&box->queue);
    queue_clear(&old, &box->broker->runs);
}

/* Each entry is one message, and stays where the index says that it is. */
static void lose_refused(struct mailbox *box)
{
    for (uint32_t i = 0; i < box->queue.entries; i++) {
        const struct queue_entry *entry = queue_at(&box->queue, i);
        enum mps_gap_reason reason = entry->run != NULL ? refusal(box, queue_frame(entry)) : 0;
        if (reason == 0) continue;
        latest_forget(box->latest, queue_frame(entry), box->queue.first + i);
        mailbox_count_lost(box, 1);
        queue_lose_at(&box->queue, &box->broker->runs, i, reason);
    }
}

/* What its reader takes no more is lost. */
static void judge_queue(struct mailbox *box)
{
    if (box->queue.entries == 0) return;
    struct totals was = mailbox_totals(box);
    if (box->latest != NULL) lose_refused(box);
    else requeue_all(box);
    box->broker->work += box->queue.entries;
    mailbox_account(box, was);
    mailbox_activate(box);
}

void mailbox_set_rx_max(struct mailbox *box, uint32_t rx_max)
{
    bool is_less = rx_max > 0 && (box->rx_max == 0 || rx_max < box->rx_max);
    box->rx_max = rx_max;
    if (is_less) judge_queue(box);
}

static void note_picky(struct mailbox *box)
{
    box->is_picky = box->filter != NULL || box->no_local || box->is_guarded || box->policy == MPS_POLICY_BLOCK;
}

void mailbox_set_guarded(struct mailbox *box, bool guarded)
{
    box->is_guarded = guarded;
    note_picky(box);
    if (guarded) judge_queue(box);
}

/* ---- life --------------------------------------------------------------------------------------------------- */

void mailbox_init(struct mailbox *box, struct broker *broker, struct session *session, uint32_t rx_max)
{
    *box = (struct mailbox){.broker = broker, .session = session, .rx_max = rx_max, .expires_ms = UINT64_MAX};
    timer_init(&box->expiry);
    list_append(&broker->boxes, &box->in_boxes);
}

void mailbox_free(struct mailbox *box)
{
    struct broker *broker = box->broker;
    struct totals was = mailbox_totals(box);
    if (broker->tracing != NULL) trace_mailbox_gone(box);
    hold_wake_all(box);
    timer_cancel(&broker->expiries, &box->expiry);
    queue_clear(&box->queue, &broker->runs);
    spill_free(box);
    if (box->latest != NULL) latest_free(box->latest);
    box->latest = NULL;
    mailbox_account(box, was);
    mailbox_no_debtor(box);
    sys_mailbox_gone(box);
    report_mailbox_gone(box);
    list_remove(&broker->boxes, &box->in_boxes);
    filter_unref(broker, box->filter);
}

const char *mailbox_change_error(const struct mailbox *box, enum mps_policy policy)
{
    if (box->spill != NULL && policy != MPS_POLICY_SPILL)
        return "the policy can't be changed from 'spill' while messages are outside of memory";
    if ((box->policy == MPS_POLICY_LATEST) != (policy == MPS_POLICY_LATEST) && box->queue.msgs > INDEX_MAX)
        return "the policy can't be changed to or from 'latest' while more than 4096 messages are queued";
    return NULL;
}

/* Message by message, as they may be of several keys, and each with a run of its own, as each is an entry. */
static void push_latest_each(struct mailbox *box, const struct queue_entry *entry)
{
    struct run_pool *runs = &box->broker->runs;
    for (uint32_t at = entry->off, end, one; at < entry->off + entry->len; at = end) {
        end = run_frame_end(entry->run, at, at, &one);
        struct run *run = run_copy_part(runs, entry->run, at, end - at, 1);
        if (run == NULL) {
            if (entry->run->is_traced) trace_lost(&box->queue, entry->run, at, end - at, MPS_GAP_MEMORY);
            mailbox_lose_here(box, MPS_GAP_MEMORY, 1);
            continue;
        }
        mailbox_push_latest(box, run, (struct part){0, end - at, 1}, UINT64_MAX);
        run_unref(runs, run);
    }
}

/* Pushes everything once more, as if it came now, under the new policy; max_bytes is seen to afterwards. */
static void index_by_key(struct mailbox *box)
{
    struct queue old = box->queue;
    box->queue = (struct queue){0};
    for (uint32_t i = 0; i < old.entries; i++) {
        struct queue_entry *entry = queue_at(&old, i);
        if (i == old.before) queue_mark(&box->queue);
        if (entry->run == NULL) queue_push_gap(&box->queue, (enum mps_gap_reason)entry->off, entry->count);
        else push_latest_each(box, entry);
    }
    if (old.before >= old.entries) queue_mark(&box->queue);
    queue_clear(&old, &box->broker->runs);
}

static void set_policy(struct mailbox *box, enum mps_policy policy)
{
    if (policy == (enum mps_policy)box->policy) return;
    bool was_latest = box->latest != NULL;
    box->policy = (uint8_t)policy;
    if (box->latest != NULL) latest_free(box->latest);
    box->latest = policy == MPS_POLICY_LATEST ? latest_new(box->broker->seed) : NULL;
    if (box->latest != NULL) index_by_key(box);
    if (was_latest || box->latest != NULL) box->broker->work += 64 * box->queue.entries;
}

void mailbox_set_terms(struct mailbox *box, const struct terms *terms)
{
    struct totals was = mailbox_totals(box);
    uint64_t lost = box->lost;
    mailbox_sweep(box);
    box->max_msgs = terms->max_msgs;
    box->max_bytes = terms->max_bytes;
    box->block_ms = terms->block_ms;
    box->then = (uint8_t)terms->then;
    box->no_local = terms->no_local;
    filter_unref(box->broker, box->filter);
    box->filter = terms->filter;
    set_policy(box, terms->policy);
    note_picky(box);
    mailbox_lose_oldest(box, box->max_msgs, box->max_bytes, MPS_GAP_DROP_OLD);
    mailbox_account(box, was);
    if (box->lost > lost) mailbox_activate(box);
    box->gave_up = false;
    hold_wake_all(box);
}

struct terms mailbox_terms(const struct mailbox *box)
{
    return (struct terms){.max_msgs = box->max_msgs,
                          .max_bytes = box->max_bytes,
                          .block_ms = box->block_ms,
                          .policy = (enum mps_policy)box->policy,
                          .then = (enum mps_policy)box->then,
                          .no_local = box->no_local,
                          .filter = box->filter};
}

uint64_t mailbox_lag_ms(const struct mailbox *box)
{
    for (uint32_t i = 0; i < box->queue.entries; i++) {
        const struct queue_entry *entry = queue_at(&box->queue, i);
        if (entry->run != NULL) return (uint32_t)box->broker->now_ms - entry->run->arrived_ms;
    }
    return 0;
}
