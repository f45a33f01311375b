#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/shared.h"
#include "pids.h"
#include "sure.h"

/* Answers that are closed and wait: for a commit, for the engine, or for those before them. In the order of their pids.
 */
struct ack {
    struct ack_pending ok;
    uint32_t code;  /* 0: ok; else the error of each of them */
    char *text;     /* of an error; own memory */
    bool is_silent; /* its connection is gone: only what is settled is noted */
    bool is_alone;  /* it is answered by itself */
    bool is_second; /* it came a second time, and waits for what the first one waits for at the engine */
};

struct ack_queue {
    struct session *session;
    struct list_node in_awaiting; /* of the broker's commit, while there are some */
    struct ack *ring;
    uint32_t cap, head, count; /* cap: a power of two */
    uint64_t unanswered;       /* publishes in it, silent ones not counted */
    uint64_t popped;           /* answers that ever left it: an answer's place is counted from there */
    uint32_t seconds;          /* answers of which .is_second */
};

static struct ack *at(const struct ack_queue *queue, uint32_t i)
{
    return &queue->ring[(queue->head + i) & (queue->cap - 1)];
}

bool acks_are_waiting(const struct session *session)
{
    return session->ack_queue != NULL && session->ack_queue->count > 0;
}

static uint64_t unanswered(const struct ack *ack)
{
    return ack->is_silent ? 0 : ack->ok.count;
}

static struct ack_queue *new_queue(struct session *session)
{
    struct ack_queue *queue = sure_zeroed(sizeof *queue);
    queue->session = session;
    return session->ack_queue = queue;
}

static bool is_of_engine(const struct ack *ack)
{
    return (ack->ok.batch & ACK_TOKEN) != 0;
}

static uint64_t token_of(const struct ack *ack)
{
    return ack->ok.batch & ~ACK_TOKEN;
}

static void push(struct session *session, struct ack ack)
{
    struct ack_queue *queue = session->ack_queue;
    if (queue == NULL) queue = new_queue(session);
    if (queue->count == queue->cap) {
        uint32_t cap = queue->cap > 0 ? 2 * queue->cap : 8;
        struct ack *ring = sure_alloc(cap * sizeof *ring); /* bounded by the publish window */
        for (uint32_t i = 0; i < queue->count; i++) ring[i] = *at(queue, i);
        free(queue->ring);
        queue->ring = ring;
        queue->cap = cap;
        queue->head = 0;
    }
    if (queue->count == 0) list_append(&session->broker->commit.awaiting, &queue->in_awaiting);
    ack.is_second = is_of_engine(&ack) && ack.ok.accepted_before;
    if (is_of_engine(&ack) && !ack.is_second)
        shared_append_waits(session, token_of(&ack), queue->popped + queue->count);
    queue->count++;
    queue->unanswered += unanswered(&ack);
    queue->seconds += ack.is_second;
    *at(queue, queue->count - 1) = ack;
}

static void pop(struct session *session)
{
    struct ack_queue *queue = session->ack_queue;
    struct ack *first = at(queue, 0);
    queue->unanswered -= unanswered(first);
    queue->seconds -= first->is_second;
    if (is_of_engine(first) && !first->is_second) shared_append_forget(session->broker, token_of(first));
    free(first->text);
    queue->head++;
    queue->popped++;
    if (--queue->count == 0) list_remove(&session->broker->commit.awaiting, &queue->in_awaiting);
}

static void answer_refused(struct session *session, const struct ack *ack)
{
    for (uint64_t pid = ack->ok.last_pid - ack->ok.count + 1; pid <= ack->ok.last_pid; pid++)
        reply_puback(session, &(struct mps_puback){.pid = pid, .code = ack->code, .text = mps_text(ack->text)});
}

static bool can_be_told(const struct session *session)
{
    return session->link != NULL && session->state < SESSION_CLOSING; /* BYE was the last word */
}

static void answer_ok(struct session *session, const struct ack_pending *ok)
{
    pids_note_answered(session, ok->last_pid);
    if (!can_be_told(session)) return;
    uint32_t code = ok->matched_least == 0 ? MPS_NOBODY_OR_WILL : MPS_OK;
    if (ok->accepted_before) code = MPS_ACCEPTED_BEFORE;
    reply_puback(session, &(struct mps_puback){.pid = ok->last_pid,
                                               .code = code,
                                               .matched = ok->matched_least & ~MATCHED_FAR,
                                               .dropped = ok->dropped,
                                               .stream = ok->stream ? ok->stream->number : 0,
                                               .seq = ok->seq});
}

static void answer(struct session *session, const struct ack *ack)
{
    if (ack->code == 0 && !ack->is_silent) {
        answer_ok(session, &ack->ok);
        return;
    }
    pids_note_answered(session, ack->ok.last_pid);
    if (!ack->is_silent && can_be_told(session)) answer_refused(session, ack);
}

static bool waits(const struct session *session, uint64_t batch)
{
    if (batch == 0) return false;
    if (batch & ACK_TOKEN) return shared_append_is_waiting(session->broker, batch & ~ACK_TOKEN);
    return batch >= session->broker->commit.unsettled;
}

void acks_close(struct session *session)
{
    struct ack_pending *acks = &session->acks;
    if (acks_are_waiting(session) || waits(session, acks->batch))
        push(session, (struct ack){.ok = *acks, .is_alone = session->terms.flags & MPS_PUB_EACH});
    else answer_ok(session, acks);
    acks->count = 0; /* the rest is set with the next one */
}

void acks_count(struct session *session, const struct ack_pending *more)
{
    struct ack_pending *acks = &session->acks;
    bool alone = session->terms.flags & MPS_PUB_EACH;
    if (alone || acks->batch != more->batch || acks->accepted_before != more->accepted_before) acks_flush(session);
    if (acks->count == 0) {
        *acks = *more;
    } else {
        acks->count += more->count;
        acks->last_pid = more->last_pid;
        if (more->matched_least < acks->matched_least) acks->matched_least = more->matched_least;
        acks->dropped += more->dropped;
        acks->stream = more->stream;
        acks->seq = more->seq;
    }
    bool may_fail_meanwhile = session->blocked && more->batch > 0; /* before the link takes bytes again */
    if (alone || may_fail_meanwhile) acks_flush(session);
    else session_dirty(session); /* answered together when the turn is flushed */
}

void acks_error(struct session *session, uint64_t pid, uint32_t code, const char *text)
{
    acks_flush(session); /* an ok for those before */
    pids_note_refused(session, pid, pid);
    struct ack ack = {.ok = {.count = 1, .last_pid = pid}, .code = code, .text = sure_text(text)};
    if (acks_are_waiting(session)) {
        push(session, ack);
        return;
    }
    answer(session, &ack);
    free(ack.text);
}

uint64_t acks_unanswered(const struct session *session)
{
    return session->acks.count + (session->ack_queue != NULL ? session->ack_queue->unanswered : 0);
}

/* Those that were to be stored, and weren't. */
static void fail(struct session *session, struct ack *ack, uint32_t code, const char *text)
{
    if (ack->code != 0) return;
    ack->code = code;
    ack->text = sure_text(text);
    pids_note_refused(session, ack->ok.last_pid - ack->ok.count + 1, ack->ok.last_pid);
}

/* Whether one PUBACK can say both: of what came one behind the other, and waited for answers of the engine. */
static bool can_join(const struct ack *ack, const struct ack *next)
{
    return is_of_engine(ack) && is_of_engine(next) && ack->code == 0 && next->code == 0 && !ack->is_alone &&
           !next->is_alone && !ack->is_silent && !next->is_silent &&
           ack->ok.accepted_before == next->ok.accepted_before &&
           (ack->ok.matched_least == MATCHED_FAR) == (next->ok.matched_least == MATCHED_FAR);
}

static void join(struct ack_queue *queue, struct ack *ack, struct ack *next)
{
    next->ok.count += ack->ok.count;
    next->ok.dropped += ack->ok.dropped;
    if (ack->ok.matched_least < next->ok.matched_least) next->ok.matched_least = ack->ok.matched_least;
    queue->unanswered += ack->ok.count; /* of the one that leaves, which discounts it */
}

static bool first_is_settled(const struct session *session)
{
    return acks_are_waiting(session) && !waits(session, at(session->ack_queue, 0)->ok.batch);
}

static void answer_settled(struct session *session)
{
    struct ack_queue *queue = session->ack_queue;
    while (first_is_settled(session)) {
        struct ack *first = at(queue, 0), *next = queue->count > 1 ? at(queue, 1) : NULL;
        if (next != NULL && can_join(first, next) && !waits(session, next->ok.batch)) join(queue, first, next);
        else answer(session, first);
        pop(session);
    }
}

/* What came a second time may wait for a batch behind others that wait for a later one. */
static void settle(struct session *session, uint64_t batch, uint32_t code, const char *text)
{
    for (uint32_t i = 0; code != 0 && i < session->ack_queue->count; i++)
        if (at(session->ack_queue, i)->ok.batch == batch) fail(session, at(session->ack_queue, i), code, text);
    answer_settled(session);
}

/* It is not answered yet: several are at once. */
void acks_settle_shared(struct session *session, uint64_t place, const struct shared_outcome *outcome)
{
    struct ack_queue *queue = session->ack_queue;
    struct ack *ack = at(queue, (uint32_t)(place - queue->popped));
    char why[STORE_TEXT_MAX + 60];
    if (outcome->code == STORE_OK) {
        ack->ok.seq = outcome->last;
        ack->ok.accepted_before = outcome->was_there;
        return;
    }
    bool is_full = outcome->code == STORE_FULL;
    const char *what = !is_full             ? "the message is not acknowledged"
                       : ack->ok.count == 1 ? "the message could not be stored"
                                            : "not all that came together could be stored";
    snprintf(why, sizeof why, "%s: %s", what, outcome->text);
    for (uint32_t i = 0; queue->seconds > 0 && i < queue->count; i++)
        if (at(queue, i)->is_second && token_of(at(queue, i)) == outcome->token)
            fail(session, at(queue, i), is_full ? MPS_STREAM_FULL : MPS_ACK_LEVEL, why);
    fail(session, ack, is_full ? MPS_STREAM_FULL : MPS_ACK_LEVEL, why);
}

void acks_answer_all(struct broker *broker)
{
    for (struct list_node *node = broker->commit.awaiting.first, *next; node != NULL; node = next) {
        next = node->next;
        struct session *session = container_of(node, struct ack_queue, in_awaiting)->session;
        if (!first_is_settled(session)) continue;
        answer_settled(session);
        session_dirty(session); /* one that ends may have waited for this */
    }
}

bool acks_next_shared(const struct session *session, uint32_t *i, uint64_t *first, uint64_t *last)
{
    while (acks_are_waiting(session) && *i < session->ack_queue->count) {
        const struct ack *ack = at(session->ack_queue, (*i)++);
        if (!is_of_engine(ack) || ack->is_second || !waits(session, ack->ok.batch)) continue;
        *first = ack->ok.last_pid - ack->ok.count + 1;
        *last = ack->ok.last_pid;
        return true;
    }
    return false;
}

void acks_settle(struct broker *broker, uint64_t batch, enum store_code code, const char *text)
{
    char why[STORE_TEXT_MAX + 40];
    broker->commit.unsettled = batch + 1;
    snprintf(why, sizeof why, "the message could not be stored: %s", code == STORE_OK ? "" : text);
    uint32_t answer_code = code == STORE_OK ? 0 : code == STORE_FULL ? MPS_STREAM_FULL : MPS_INTERNAL;
    for (struct list_node *node = broker->commit.awaiting.first, *next; node != NULL; node = next) {
        next = node->next;
        struct session *session = container_of(node, struct ack_queue, in_awaiting)->session;
        settle(session, batch, answer_code, why);
        session_dirty(session); /* one that ends may have waited for this */
    }
}

static void renumber(struct ack_pending *ok, const struct stream *stream, uint64_t batch, uint64_t by)
{
    if (ok->count > 0 && ok->stream == stream && ok->batch >= batch) ok->seq -= by;
}

/* Only who has something to be answered: those are few where there are many sessions. What is not closed yet is
 * answered when the turn is flushed. */
void acks_renumber(struct broker *broker, const struct stream *stream, uint64_t batch, uint64_t by)
{
    for (struct session *session = broker->dirty; session != NULL; session = session->next_dirty)
        renumber(&session->acks, stream, batch, by);
    for (struct list_node *node = broker->commit.awaiting.first; node != NULL; node = node->next) {
        struct ack_queue *queue = container_of(node, struct ack_queue, in_awaiting);
        for (uint32_t i = 0; i < queue->count; i++) renumber(&at(queue, i)->ok, stream, batch, by);
    }
}

/* Refusals and answers to what came a second time say nothing that isn't known without them. */
static bool says_something(const struct ack *ack)
{
    return ack->code == 0 && !ack->ok.accepted_before;
}

void acks_adopt(struct session *session, struct session *from)
{
    acks_flush(from);
    while (acks_are_waiting(from)) {
        struct ack ack = *at(from->ack_queue, 0);
        pop(from);
        ack.is_silent = true;
        if (says_something(&ack)) push(session, ack);
    }
}

uint64_t acks_lowest_pid(const struct session *session)
{
    uint64_t lowest = UINT64_MAX;
    for (uint32_t i = 0; acks_are_waiting(session) && i < session->ack_queue->count; i++) {
        const struct ack_pending *ok = &at(session->ack_queue, i)->ok;
        if (ok->last_pid - ok->count + 1 < lowest) lowest = ok->last_pid - ok->count + 1;
    }
    return lowest;
}

uint64_t acks_batch_of(const struct session *session, uint64_t pid, uint32_t *count)
{
    uint64_t end = pid + *count;
    for (uint32_t i = acks_are_waiting(session) ? session->ack_queue->count : 0; i > 0; i--) {
        const struct ack *ack = at(session->ack_queue, i - 1);
        uint64_t first_pid = ack->ok.last_pid - ack->ok.count + 1;
        session->broker->work += i % 64 == 0;
        if (!says_something(ack)) continue;
        if (first_pid > pid && first_pid < end) end = first_pid;
        if (first_pid > pid || ack->ok.last_pid < pid) continue;
        if (ack->ok.last_pid + 1 < end) end = ack->ok.last_pid + 1;
        *count = (uint32_t)(end - pid);
        return ack->ok.batch;
    }
    *count = (uint32_t)(end - pid);
    return 0;
}

void acks_free(struct session *session)
{
    while (acks_are_waiting(session)) pop(session);
    if (session->ack_queue != NULL) free(session->ack_queue->ring);
    free(session->ack_queue);
    session->ack_queue = NULL;
    session->acks = (struct ack_pending){0};
}
