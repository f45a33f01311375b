/* Traces: what becomes of each copy of a message. */
#include "trace_parts.h"

#include <stdlib.h>

#include "sure.h"

/* ---- copies ------------------------------------------------------------------------------------------------- */

struct copy_key {
    const struct traced *message;
    const struct mailbox *box;
};

static bool is_copy(const struct hash_node *node, const void *key)
{
    const struct trace_copy *copy = container_of(node, struct trace_copy, in_copies);
    const struct copy_key *wanted = key;
    return copy->message == wanted->message && copy->box == wanted->box;
}

static uint64_t copy_hash(const struct traced *message, const struct mailbox *box)
{
    return hash_number(message->place, (uint64_t)(uintptr_t)box);
}

struct trace_copy *trace_copy_find(const struct traced *message, const struct mailbox *box)
{
    struct copy_key key = {message, box};
    const struct tracing *tracing = message->trace->broker->tracing;
    struct hash_node *node = hash_find(&tracing->copies, copy_hash(message, box), is_copy, &key);
    return node != NULL ? container_of(node, struct trace_copy, in_copies) : NULL;
}

struct trace_copy *trace_copy_add(struct traced *message, struct mailbox *box)
{
    struct broker *broker = message->trace->broker;
    if (message->copies_count >= TRACE_COPIES_MAX) return NULL;
    struct trace_copy *copy = sure_zeroed(sizeof *copy);
    copy->message = message;
    copy->box = box;
    copy->since_us = trace_now_us(broker);
    copy->number = ++message->copies_count;
    copy->is_open = true;
    message->open_count++;
    list_append(&message->copies, &copy->in_message);
    hash_add(&broker->tracing->copies, &copy->in_copies, copy_hash(message, box));
    return copy;
}

void trace_copies_free(struct traced *message)
{
    struct hash *copies = &message->trace->broker->tracing->copies;
    for (struct list_node *node; (node = message->copies.first) != NULL;) {
        struct trace_copy *copy = container_of(node, struct trace_copy, in_message);
        list_remove(&message->copies, node);
        hash_remove(copies, &copy->in_copies);
        free(copy);
    }
}

static void move(struct trace_copy *copy, struct mailbox *to)
{
    struct hash *copies = &copy->message->trace->broker->tracing->copies;
    hash_remove(copies, &copy->in_copies);
    copy->box = to;
    copy->since_us = trace_now_us(copy->message->trace->broker);
    hash_add(copies, &copy->in_copies, copy_hash(copy->message, to));
}

void trace_close(struct traced *message, struct trace_copy *copy, enum trace_fate fate, const struct subscription *sub,
                 const char *reason)
{
    static const char *const steps[] = {[TRACE_SENT] = "sent", [TRACE_LOST] = "lost", [TRACE_ENDED] = "ended"};
    if (message->is_done || (copy != NULL && !copy->is_open)) return;
    switch (fate) {
    case TRACE_SENT: message->sent++; break;
    case TRACE_LOST: message->lost++; break;
    case TRACE_ENDED: message->ended++; break;
    }
    if (copy == NULL) return;
    trace_note_step(message, copy, steps[fate], sub, reason, true);
    copy->is_open = false;
    message->open_count--;
}

/* ---- one message in, one by one ----------------------------------------------------------------------------- */

/* The first message that is followed of those in this part; NULL: none is. */
static struct traced *first_in(const struct broker *broker, const struct run *run, struct part part)
{
    struct traced *first = NULL;
    EACH_TRACE(broker->tracing, trace)
    EACH_TRACED(trace, message)
    if (traced_is_in(message, run, part.off, part.len) && (first == NULL || message->place < first->place))
        first = message;
    return first;
}

struct part trace_piece(struct broker *broker, struct run *run, struct part part)
{
    const struct traced *first = first_in(broker, run, part);
    uint32_t at = first != NULL ? (uint32_t)(first->place - run->place) : part.off + part.len, count;
    if (first == NULL) return part;
    if (at == part.off) return (struct part){at, first->len, 1};
    uint32_t end = run_frame_end(run, part.off, at - 1, &count);
    return (struct part){part.off, end - part.off, count};
}

void trace_push_begins(struct mailbox *box, const struct run *run, struct part piece)
{
    struct tracing *tracing = box->broker->tracing;
    tracing->pushed = NULL;
    EACH_TRACE(tracing, trace)
    EACH_TRACED(trace, message)
    {
        if (piece.count != 1 || !traced_is_in(message, run, piece.off, piece.len)) continue;
        struct trace_copy *copy = trace_copy_add(message, box);
        message->matched++;
        if (copy != NULL) trace_note_copy(message, copy, box, false);
        tracing->pushed = message;
        tracing->pushed_to = box;
        tracing->pushed_lost = 0;
    }
}

void trace_lost_here(struct mailbox *box, enum mps_gap_reason reason)
{
    struct tracing *tracing = box->broker->tracing;
    if (tracing->pushed != NULL && tracing->pushed_to == box && tracing->pushed_lost == 0)
        tracing->pushed_lost = reason;
}

void trace_push_ends(struct broker *broker)
{
    struct tracing *tracing = broker->tracing;
    const struct traced *pushed = tracing->pushed;
    tracing->pushed = NULL;
    if (pushed == NULL || tracing->pushed_lost == 0) return;
    EACH_TRACE(tracing, trace)
    EACH_TRACED(trace, message)
    if (message->place == pushed->place) /* several traces may follow it */
        trace_close(message, trace_copy_find(message, tracing->pushed_to), TRACE_LOST, NULL,
                    mps_gap_reason_name(tracing->pushed_lost));
}

/* ---- in queues ---------------------------------------------------------------------------------------------- */

#define EACH_IN(broker, run, off, len, message) \
    EACH_TRACE((broker)->tracing, trace)        \
    EACH_TRACED(trace, message) if (traced_is_in(message, run, off, len))

void trace_lost(struct queue *queue, const struct run *run, uint32_t off, uint32_t len, enum mps_gap_reason reason)
{
    struct mailbox *box = container_of(queue, struct mailbox, queue);
    if (box->broker->tracing == NULL) return;
    EACH_IN(box->broker, run, off, len, message)
    trace_close(message, trace_copy_find(message, box), TRACE_LOST, NULL, mps_gap_reason_name(reason));
}

void trace_sent(struct subscription *sub, const struct run *run, uint32_t off, uint32_t len)
{
    EACH_IN(sub->session->broker, run, off, len, message)
    trace_close(message, trace_copy_find(message, &sub->box), TRACE_SENT, NULL, NULL);
}

/* A group gives its member something, and may take it back. */
static void note_move(struct trace_copy *copy, struct mailbox *from, struct mailbox *to)
{
    bool is_given = from->session == NULL;
    const struct mailbox *member = is_given ? to : from;
    const struct subscription *sub = member->session != NULL ? container_of(member, struct subscription, box) : NULL;
    trace_note_step(copy->message, copy, is_given ? "given" : "returned", sub, NULL, true);
    move(copy, to);
}

void trace_moved(struct mailbox *from, struct mailbox *to, const struct run *run, uint32_t off, uint32_t len)
{
    EACH_IN(from->broker, run, off, len, message)
    {
        struct trace_copy *copy = trace_copy_find(message, from);
        if (copy != NULL && copy->is_open) note_move(copy, from, to);
    }
}

void trace_moved_all(struct mailbox *from, struct mailbox *to)
{
    EACH_TRACE(from->broker->tracing, trace)
    EACH_TRACED(trace, message)
    {
        struct trace_copy *copy = trace_copy_find(message, from);
        if (copy != NULL && copy->is_open) note_move(copy, from, to);
    }
}

void trace_spilled(struct mailbox *box, const struct run *run, struct part part)
{
    EACH_IN(box->broker, run, part.off, part.len, message)
    {
        const struct trace_copy *copy = trace_copy_find(message, box);
        if (copy != NULL && copy->is_open) trace_note_step(message, copy, "spilled", NULL, NULL, false);
    }
}

void trace_fetched(struct mailbox *box, const struct run *run)
{
    EACH_IN(box->broker, run, 0, run->len, message)
    {
        const struct trace_copy *copy = trace_copy_find(message, box);
        if (copy != NULL && copy->is_open) trace_note_step(message, copy, "fetched", NULL, NULL, false);
    }
}

/* Why what a mailbox holds goes with it. */
static const char *end_of(const struct mailbox *box)
{
    if (box->session == NULL) return "no_members";
    switch (box->session->state) {
    case SESSION_AWAY: return "session_over";
    case SESSION_NEW:
    case SESSION_READY:
    case SESSION_ENDING:
    case SESSION_CLOSING:
    case SESSION_DEAD: break;
    }
    return "closed";
}

static void end_all(struct mailbox *box, const char *why)
{
    EACH_TRACE(box->broker->tracing, trace)
    EACH_TRACED(trace, message)
    {
        struct trace_copy *copy = trace_copy_find(message, box);
        if (copy == NULL) continue;
        trace_close(message, copy, TRACE_ENDED, NULL, why);
        move(copy, NULL); /* its address will be another's */
    }
}

void trace_unsubscribed(struct mailbox *box)
{
    end_all(box, "unsubscribed");
}

void trace_mailbox_gone(struct mailbox *box)
{
    trace_others_box_gone(box);
    end_all(box, end_of(box));
}

/* ---- from streams ------------------------------------------------------------------------------------------- */

static struct trace_copy *copy_of_reader(const struct traced *message, const struct subscription *sub)
{
    return trace_copy_find(message, sub->group != NULL ? &sub->group->box : &sub->box);
}

void trace_read(struct subscription *sub, const struct stream *stream, uint64_t first, uint64_t count)
{
    EACH_TRACE(sub->session->broker->tracing, trace)
    EACH_TRACED(trace, message)
    {
        if (message->stream != stream || message->seq - first >= count) continue;
        struct trace_copy *copy = copy_of_reader(message, sub);
        if (copy != NULL) trace_close(message, copy, TRACE_SENT, sub->group != NULL ? sub : NULL, NULL);
    }
}

void trace_read_lost(struct subscription *sub, const struct stream *stream, uint64_t first, uint64_t last,
                     enum mps_gap_reason reason)
{
    EACH_TRACE(sub->session->broker->tracing, trace)
    EACH_TRACED(trace, message)
    {
        if (message->stream != stream || message->seq < first || message->seq > last) continue;
        struct trace_copy *copy = copy_of_reader(message, sub);
        if (copy != NULL) trace_close(message, copy, TRACE_LOST, NULL, mps_gap_reason_name(reason));
    }
}

/* Its position is another one's now, or nobody's. */
static void not_stored(struct traced *message)
{
    message->waits_for_store = false;
    trace_note_stored(message, false);
    message->seq = UINT64_MAX;
    for (struct list_node *node = message->copies.first; node != NULL; node = node->next) {
        struct trace_copy *copy = container_of(node, struct trace_copy, in_message);
        if (copy->reads) trace_close(message, copy, TRACE_ENDED, NULL, "unstored");
    }
}

void trace_unshared(struct broker *broker, uint64_t token)
{
    EACH_TRACE(broker->tracing, trace)
    EACH_TRACED(trace, message) if (message->token == token && message->waits_for_store) not_stored(message);
}

void trace_renumber(const struct stream *stream, uint64_t from, uint64_t count, uint64_t left)
{
    EACH_TRACE(stream->broker->tracing, trace)
    EACH_TRACED(trace, message)
    {
        if (message->stream != stream || message->seq < from || !message->waits_for_store) continue;
        if (message->seq >= from + count) message->seq -= count - left;
        else not_stored(message);
    }
}
