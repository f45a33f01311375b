/* Messages, gaps and retained values in the broker's stream, against the queues that hold them in the model. */
#include <stdlib.h>
#include <string.h>

#include "model.h"

static bool same_bytes(const struct message *message, mps_view frame)
{
    return message->len == frame.len && memcmp(message->bytes, frame.ptr, frame.len) == 0;
}

/* ---- live messages ---- */

/* Says what the frame is that came instead of the one that was due. */
static void tell_wrong(struct conn *conn, const struct model_sub *sub, mps_view frame)
{
    const struct model *model = conn->model;
    uint32_t came = model->messages_count;
    while (came > 0 && !same_bytes(&model->messages[came - 1], frame)) came--;
    if (sub->own.first == sub->own.end) {
        CONN_FAIL(conn, "sid %u: message #%d came, but nothing is queued: it did not match, is lost, or came before",
                  sub->sid, (int)came - 1);
        return;
    }
    CONN_FAIL(conn, "sid %u: message #%u is the next in the queue, #%d came", sub->sid,
              sub->own.items[sub->own.first].message, (int)came - 1);
}

/* Another order of wills of one moment may have left another one of them: makes the first item that one. */
static void choose_of_lost(const struct conn *conn, struct model_sub *sub, mps_view frame)
{
    struct queue_item *first = &sub->own.items[sub->own.first];
    for (uint32_t i = 0; i < conn->model->messages_count; i++) {
        const struct message *message = &conn->model->messages[i];
        if (message->batch != first->batch || !same_bytes(message, frame) ||
            !name_matches(&sub->pattern, &message->topic) ||
            !filter_accepts(sub->filter, &message->document, &message->topic))
            continue;
        sub->own.bytes = sub->own.bytes - first->len + message->len;
        first->message = i;
        first->len = message->len;
        first->key = message->key;
        first->ttl_ms = message->ttl_ms;
        return;
    }
}

/* Several wills of one moment may come in any order: makes the first of them the one that came. */
static void choose_of_batch(const struct conn *conn, struct model_sub *sub, mps_view frame)
{
    struct queue_model *queue = &sub->own;
    struct queue_item *first = &queue->items[queue->first];
    if (queue->first == queue->end || first->batch == 0) return;
    for (uint32_t i = queue->first; i < queue->end && queue->items[i].batch == first->batch; i++) {
        if (!same_bytes(&conn->model->messages[queue->items[i].message], frame)) continue;
        struct queue_item other = queue->items[i];
        other.before = first->before;
        first->before = queue->items[i].before;
        queue->items[i] = *first;
        *first = other;
        return;
    }
    if (queue->lost > 0) choose_of_lost(conn, sub, frame);
}

/* In another order, a will stands on the other side of what was lost of those of its moment: of this reason so many
 * stand before it. */
static void move_losses(struct queue_model *queue, unsigned reason, uint64_t count)
{
    struct queue_item *first = &queue->items[queue->first];
    if (queue->first == queue->end || first->batch == 0) return;
    struct losses *next = queue->first + 1 < queue->end ? &first[1].before : &queue->behind;
    uint64_t all = first->before.count[reason] + next->count[reason];
    if (all < count) return;
    first->before.count[reason] = count;
    next->count[reason] = all - count;
}

static void own_msg(struct conn *conn, struct model_sub *sub, mps_view frame)
{
    struct queue_model *queue = &sub->own;
    choose_of_batch(conn, sub, frame);
    struct queue_item *item = &queue->items[queue->first];
    if (queue->first == queue->end || !same_bytes(&conn->model->messages[item->message], frame)) {
        tell_wrong(conn, sub, frame);
        return;
    }
    for (unsigned reason = 0; reason < QUEUE_REASONS; reason++) {
        move_losses(queue, reason, 0);
        if (item->before.count[reason] > 0)
            CONN_FAIL(conn, "sid %u: message #%u came before the GAP of %llu, reason %u", sub->sid, item->message,
                      ULL(item->before.count[reason]), reason);
    }
    if (queue_model_expired(item, conn->model->world->now_ms))
        CONN_FAIL(conn, "sid %u: message #%u came after its time", sub->sid, item->message);
    if (sub->snapshots != NULL && item->number >= sub->snapshots->live_from)
        CONN_FAIL(conn, "sid %u: a live message overtook the retained values", sub->sid);
    queue_model_sent(queue, queue->first);
}

static bool same_losses(const struct losses *a, const struct losses *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

/* Whether what was told stands before the message; or behind the last one, too, if the message has come back since. */
static bool was_told(struct queue_model *queue, const struct queue_item *item, const struct losses *told)
{
    struct losses both = item->before;
    if (same_losses(&both, told)) return true;
    for (int reason = 0; reason < QUEUE_REASONS; reason++) both.count[reason] += queue->behind.count[reason];
    if (!same_losses(&both, told)) return false;
    queue->behind = (struct losses){{0}};
    return true;
}

/* A member may get any message of its group's queue; what it was told of losses before must stand there. Within a turn
 * they come in order. */
static void shared_msg(struct conn *conn, struct model_sub *sub, mps_view frame)
{
    struct queue_model *queue = &sub->group->queue;
    bool there = false;
    for (uint32_t i = queue->first; i < queue->end; i++) {
        uint64_t number = queue->items[i].number;
        if (!same_bytes(&conn->model->messages[queue->items[i].message], frame)) continue;
        there = true;
        const struct queue_item *item = &queue->items[i];
        if (number < sub->turn_number || !was_told(queue, item, &sub->told)) continue;
        if (queue_model_expired(item, conn->model->world->now_ms))
            CONN_FAIL(conn, "sid %u: message #%u of group '%s' came after its time", sub->sid, item->message,
                      sub->group->name);
        /* What members gave back comes first, as it came back; what is new in the order in which it came. */
        if (number >= sub->group->fresh) sub->turn_number = number + 1;
        sub->told = (struct losses){{0}};
        queue_model_sent(queue, i);
        conn->model->groups_out++;
        return;
    }
    CONN_FAIL(conn, "sid %u: a message came that group '%s' %s", sub->sid, sub->group->name,
              there ? "holds, but in another order or with other losses before it" : "does not hold");
}

/* ---- retained values ---- */

/* Whether something that was queued before the value's SUB is still there. */
static bool is_behind_queued(const struct model_sub *sub, const struct model_snapshot *snapshot)
{
    const struct queue_model *queue = &sub->own;
    return queue->first < queue->end && queue->items[queue->first].number < snapshot->live_from;
}

/* A retained value is due once, in any of the snapshots that go on, unless it was changed. */
static void retained_msg(struct conn *conn, struct model_sub *sub, const struct mps_msg *msg, mps_view frame)
{
    bool again = false;
    const struct model_snapshot *oldest = sub->snapshots;
    while (oldest != NULL && oldest->next != NULL) oldest = oldest->next;
    for (struct model_snapshot *s = sub->snapshots; s != NULL; s = s->next) {
        for (uint32_t i = 0; i < s->count; i++) {
            struct snapshot_entry *entry = &s->entries[i];
            if (!same_bytes(&conn->model->messages[entry->message], frame)) continue;
            again |= entry->sent;
            if (entry->sent) continue;
            const char *topic = conn->model->topics[entry->topic].name.text;
            if (entry->changed)
                CONN_FAIL(conn, "sid %u: the retained value of '%s' came after it was replaced", sub->sid, topic);
            if (!filter_accepts(sub->filter, &conn->model->messages[entry->message].document,
                                &conn->model->topics[entry->topic].name))
                CONN_FAIL(conn, "sid %u: the retained value of '%s' came through the filter", sub->sid, topic);
            if (entry->dies_ms <= conn->model->world->now_ms)
                CONN_FAIL(conn, "sid %u: the retained value of '%s' came after its time", sub->sid, topic);
            if (is_behind_queued(sub, oldest))
                CONN_FAIL(conn,
                          "sid %u: the retained value of '%s' came before messages that were queued when it was "
                          "asked for",
                          sub->sid, topic);
            entry->sent = true;
            conn->model->retained_out++;
            return;
        }
    }
    CONN_FAIL(conn, "sid %u: a value of '%.*s' came as retained that %s", sub->sid, (int)msg->topic.len,
              (const char *)msg->topic.ptr, again ? "came before" : "was not there at the time of SUB");
}

/* ---- frames ---- */

void deliveries_msg(struct conn *conn, mps_view frame)
{
    struct mps_msg msg;
    const char *what;
    if (!stream_decoded(conn, mps_decode_msg(frame, &msg, &what), &what)) return;
    struct model_sub *sub = conn->have_for ? stream_sub(conn, conn->for_sid) : NULL;
    if (sub == NULL || !sub->live) {
        CONN_FAIL(conn, "a message came for sid %u, which is not subscribed", conn->have_for ? conn->for_sid : 0);
        return;
    }
    conn->model->frames_out++;
    bool stored = conn->for_stream > 0;
    if (!stored && (conn->for_flags & ~(uint32_t)MPS_FOR_RETAINED))
        CONN_FAIL(conn, "FOR with flags %u", conn->for_flags);
    if (!sub_has_credit(sub))
        CONN_FAIL(conn, "sid %u: a message came when %llu were sent, credit is %llu", sub->sid, ULL(sub_sent(sub)),
                  ULL(sub->credit));
    if (conn->rx_max > 0 && frame.len > conn->rx_max)
        CONN_FAIL(conn, "sid %u: a frame of %u bytes came, rx_max is %u", sub->sid, frame.len, conn->rx_max);
    bool retained = !stored && (conn->for_flags & MPS_FOR_RETAINED);
    if (stored) places_msg(conn, sub, frame);
    else if (retained) retained_msg(conn, sub, &msg, frame);
    else if (sub->group != NULL) shared_msg(conn, sub, frame);
    else own_msg(conn, sub, frame);
    sub->sent_retained += retained;
    sub->sent_read += stored;
    sub->sent_live += !retained && !stored;
}

void deliveries_for(struct conn *conn, mps_view frame)
{
    struct mps_for terms;
    const char *what;
    if (!stream_decoded(conn, mps_decode_for(frame, &terms, &what), &what)) return;
    if (stream_sub(conn, terms.sid) == NULL) CONN_FAIL(conn, "FOR %u, which is not subscribed", terms.sid);
    conn->have_for = true;
    conn->for_sid = terms.sid;
    conn->for_flags = terms.flags;
    conn->for_stream = terms.has_position ? terms.stream : 0;
    conn->for_seq = terms.seq;
    conn->for_time_ms = terms.time_ms;
    conn->for_tries = terms.tries;
    conn->for_is_fresh = true;
}

/* It has not come, and nothing has kept it from coming. */
static bool is_due(const struct model *model, const struct snapshot_entry *entry)
{
    return !entry->sent && !entry->changed && entry->dies_ms > model->world->now_ms;
}

static bool is_too_large(const struct conn *conn, const struct snapshot_entry *entry)
{
    return conn->rx_max > 0 && conn->model->messages[entry->message].len > conn->rx_max;
}

/* Takes a GAP for one of a snapshot's values that are due and too large. A value that a GAP was for may have changed
 * since, so only how many such GAPs there are is known: never more than there were values that they might be for. */
static bool snapshot_gap(const struct conn *conn, const struct model_sub *sub)
{
    for (struct model_snapshot *s = sub->snapshots; s != NULL; s = s->next) {
        uint32_t due = 0;
        for (uint32_t i = 0; i < s->count; i++) {
            const struct snapshot_entry *entry = &s->entries[i];
            due += is_due(conn->model, entry) && is_too_large(conn, entry) &&
                   filter_accepts(sub->filter, &conn->model->messages[entry->message].document,
                                  &conn->model->topics[entry->topic].name);
        }
        if (s->too_large_most > due) s->too_large_most = due;
        if (s->too_large_most == 0) continue;
        s->too_large_most--;
        s->too_large_told++;
        return true;
    }
    return false;
}

static bool own_gap(struct conn *conn, struct model_sub *sub, const struct mps_gap *gap)
{
    uint64_t *lost = &queue_model_front(&sub->own)->count[gap->reason];
    if (*lost != gap->count) move_losses(&sub->own, gap->reason, gap->count);
    /* Where retained values stand between the losses there may be a GAP on either side. */
    bool right = *lost == gap->count || (sub->snapshots != NULL && *lost > gap->count);
    if (!right) {
        CONN_FAIL(conn, "sid %u: GAP of %llu for reason %u, lost at this place are %llu", sub->sid, ULL(gap->count),
                  gap->reason, ULL(*lost));
        return false;
    }
    *lost -= gap->count;
    return true;
}

void deliveries_gap(struct conn *conn, mps_view frame)
{
    struct mps_gap gap;
    const char *what;
    if (!stream_decoded(conn, mps_decode_gap(frame, &gap, &what), &what)) return;
    struct model_sub *sub = stream_sub(conn, gap.sid);
    if (sub == NULL || !sub->live) {
        CONN_FAIL(conn, "GAP for sid %u, which is not subscribed", gap.sid);
        return;
    }
    if ((!gap.has_count && gap.stream == 0) || (gap.has_count && gap.count == 0) || gap.reason >= QUEUE_REASONS) {
        CONN_FAIL(conn, "sid %u: GAP with count %llu and reason %u", gap.sid, ULL(gap.count), gap.reason);
        return;
    }
    if (!sub_has_credit(sub))
        CONN_FAIL(conn, "sid %u: GAP came when %llu were sent, credit is %llu", sub->sid, ULL(sub_sent(sub)),
                  ULL(sub->credit));
    conn->model->gaps_out++;
    conn->model->lost_out[gap.reason] += gap.has_count ? gap.count : 1;
    if (gap.stream > 0) {
        sub->gaps_read += gap.has_count ? gap.count : 0;
        places_gap(conn, sub, &gap);
        return;
    }
    if (gap.reason == MPS_GAP_TOO_LARGE && gap.count == 1 && snapshot_gap(conn, sub)) {
        sub->gaps_retained++;
        return;
    }
    sub->gaps_live += gap.count;
    if (sub->group != NULL) sub->told.count[gap.reason] += gap.count;
    else own_gap(conn, sub, &gap);
}

/* ---- groups at the end of a turn ---- */

/* Whether exactly what was told stands at this place, perhaps beside what was not told yet; if so, it is told. */
static bool take_told(struct losses *place, const struct losses *told)
{
    for (int reason = 0; reason < QUEUE_REASONS; reason++)
        if (told->count[reason] != 0 && told->count[reason] != place->count[reason]) return false;
    for (int reason = 0; reason < QUEUE_REASONS; reason++) place->count[reason] -= told->count[reason];
    return true;
}

/* A member was told of losses and then got no message: either nothing stands behind them, or its link was full and the
 * message went back. */
void deliveries_settle_group(struct model_sub *sub)
{
    struct queue_model *queue = &sub->group->queue;
    if (losses_sum(&sub->told) == 0) return;
    bool found = false;
    for (uint32_t i = queue->first; i < queue->end && !found; i++)
        found = take_told(&queue->items[i].before, &sub->told);
    if (!found && !take_told(&queue->behind, &sub->told))
        CONN_FAIL(sub->conn, "sid %u: was told of %llu losses that group '%s' did not have", sub->sid,
                  ULL(losses_sum(&sub->told)), sub->group->name);
    sub->told = (struct losses){{0}};
}

/* ---- marks ---- */

static void free_snapshot(struct model_snapshot *snapshot)
{
    free(snapshot->entries);
    free(snapshot);
}

void deliveries_free_snapshots(struct model_sub *sub)
{
    while (sub->snapshots != NULL) {
        struct model_snapshot *next = sub->snapshots->next;
        free_snapshot(sub->snapshots);
        sub->snapshots = next;
    }
}

static void end_snapshot(struct conn *conn, struct model_sub *sub, struct model_snapshot *done, bool complete)
{
    uint32_t too_large = 0;
    for (uint32_t i = 0; i < done->count && complete; i++) {
        const struct snapshot_entry *entry = &done->entries[i];
        if (!is_due(conn->model, entry) || entry->filtered) continue;
        if (is_too_large(conn, entry) && ++too_large <= done->too_large_told) continue;
        CONN_FAIL(conn, "sid %u: MARK 1 came before the retained value of '%s'", sub->sid,
                  conn->model->topics[entry->topic].name.text);
    }
    free_snapshot(done);
}

/* Answers every SUB from before this frame began: the newest of them, and those that it superseded. */
void deliveries_retained_done(struct conn *conn, uint32_t sid)
{
    struct model_sub *sub = stream_sub(conn, sid);
    struct model_snapshot **from = sub != NULL ? &sub->snapshots : NULL, *done;
    while (from != NULL && *from != NULL && (*from)->began_at > conn->frame_at) from = &(*from)->next;
    if (from == NULL || *from == NULL) {
        CONN_FAIL(conn, "sid %u: MARK 1 without a SUB that asked for retained values", sid);
        return;
    }
    conn->model->snapshots_out++;
    done = *from;
    *from = NULL;
    for (bool first = true; done != NULL; first = false) {
        struct model_snapshot *next = done->next;
        end_snapshot(conn, sub, done, first || !done->superseded);
        done = next;
    }
}

void deliveries_drained(struct conn *conn, uint32_t sid)
{
    struct model_sub *sub = stream_sub(conn, sid);
    if (sub == NULL || sub->drains_most == 0) {
        CONN_FAIL(conn, "sid %u: MARK 3 without a CREDIT that asked for it", sid);
        return;
    }
    const struct queue_model *queue = &sub->own;
    bool one_asked = sub->drains_most == 1; /* else it may answer an earlier one */
    if (sub->group == NULL && one_asked && sub_has_credit(sub) && queue->first < queue->end &&
        queue->items[queue->first].number < sub->drain_number)
        CONN_FAIL(conn, "sid %u: MARK 3 came before message #%u, which was queued", sid,
                  queue->items[queue->first].message);
    if (one_asked && sub_has_credit(sub)) places_drained(conn, sub);
    conn->model->drains_out++;
    sub->drains_most--;
    sub->drain_due = false;
}

void deliveries_check_all_told(struct conn *conn, const char *when)
{
    for (struct model_sub *sub = conn->model->subs; sub != NULL; sub = sub->next) {
        if (sub->conn != conn || !sub->shown || !sub->live || !sub_has_credit(sub)) continue;
        struct queue_model *queue = sub_queue(sub);
        uint64_t lost = losses_sum(queue_model_front(queue));
        if (sub->group != NULL && sub->group->members > 1) continue;
        if (queue->first < queue->end || lost > 0)
            CONN_FAIL(conn, "sid %u: %llu messages were not sent and %llu losses not told at %s", sub->sid,
                      ULL(queue_model_msgs(queue)), ULL(lost), when);
        if (sub->snapshots != NULL) CONN_FAIL(conn, "sid %u: MARK 1 did not come before %s", sub->sid, when);
    }
}
