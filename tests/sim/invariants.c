/* At rest, after world_turn(): what the broker says about its subscriptions and itself, against what clients sent and
 * what its own stream showed. */
#include "model.h"

#define SWEEP_LAG_MS 100

struct round {
    struct model *model;
    uint32_t seen;
};

/* Something of streams may be on its way from the disk. */
static bool disk_is_busy(const struct model *model)
{
    const struct disk *disk = &model->world->disk;
    return disk_is_reading(disk) || model->world->now_ms < disk->retry_ms;
}

/* The link takes more: whatever could go out must have gone. */
static void check_all_out(struct model_sub *sub)
{
    const struct conn *conn = sub->conn;
    struct queue_model *queue = &sub->own;
    if (conn->link->refused) return;
    bool credit = sub_has_credit(sub);
    if (!sub->member && credit && (queue->first < queue->end || losses_sum(&queue->behind) > 0))
        CONN_FAIL(conn, "sid %u: the link takes more, but %llu messages are queued and %llu losses behind are not told",
                  sub->sid, ULL(queue_model_msgs(queue)), ULL(losses_sum(&queue->behind)));
    if (sub->snapshots != NULL && credit)
        CONN_FAIL(conn, "sid %u: the link takes more, but MARK 1 does not come", sub->sid);
    const struct model_reader *reader = sub_reader(sub);
    bool reads = reader != NULL && (disk_is_busy(conn->model) || !reader_has_room(reader, sub));
    bool left = sub->member && sub->group == NULL; /* its connection ends */
    if (sub->drain_due && !reads && !left)
        CONN_FAIL(conn, "sid %u: the link takes more, but MARK 3 does not come", sub->sid);
}

static bool check_subscription(const struct subscription_figures *f, void *arg)
{
    struct round *round = arg;
    if (f->link == NULL || f->link->owner == NULL) return true; /* not one of ours */
    struct conn *conn = f->link->owner;
    struct model_sub *sub = model_find_sub(conn, f->sid);
    if (sub == NULL) {
        CONN_FAIL(conn, "the broker has a subscription %u that should be gone", f->sid);
        return false;
    }
    round->seen++;
    sub->listed = true;
    struct sub_counts due = sub_counts(sub);
    if (!sub_counts_are(&due, f->matched, f->sent, f->lost, f->queued, f->queued_bytes))
        CONN_FAIL(
            conn,
            "sid %u: matched %llu = sent %llu + lost %llu + queued %llu (%llu bytes); due are %llu = %llu + %llu + "
            "%llu (%llu bytes), of the lost %llu have expired just now",
            f->sid, ULL(f->matched), ULL(f->sent), ULL(f->lost), ULL(f->queued), ULL(f->queued_bytes), ULL(due.matched),
            ULL(due.sent), ULL(due.lost), ULL(due.queued), ULL(due.queued_bytes), ULL(due.lag_msgs));
    check_all_out(sub);
    return true;
}

/* A connection that ends has its subscriptions until everything is written. */
static void check_gone(struct model_sub *sub)
{
    struct conn *conn = sub->conn;
    bool silent = conn->state == CONN_READY && conn->was_drawn_out && conn->ka_ms > 0;
    if (silent) model_die(conn, MPS_KEEPALIVE); /* its BYE waits for room in the link */
    else if (conn->state != CONN_ENDING) CONN_FAIL(conn, "sid %u: the broker has lost this subscription", sub->sid);
    else if (conn->all_due) deliveries_check_all_told(conn, "the end of its subscriptions");
}

/* What a group holds goes out as long as there is a member that takes it. */
static void check_groups(struct model *model)
{
    for (const struct model_sub *sub = model->subs; sub != NULL; sub = sub->next) {
        if (sub->group == NULL || !sub_is_ready(sub)) continue;
        const struct queue_model *queue = &sub->group->queue;
        if (queue->first < queue->end)
            CONN_FAIL(sub->conn, "sid %u is ready, but group '%s' holds %llu messages", sub->sid, sub->group->name,
                      ULL(queue_model_msgs(queue)));
        if (queue->first == queue->end && losses_sum(&queue->behind) > 0)
            CONN_FAIL(sub->conn, "sid %u is ready, but group '%s' has %llu losses that are not told", sub->sid,
                      sub->group->name, ULL(losses_sum(&queue->behind)));
    }
}

static void check_subscriptions(struct model *model)
{
    struct round round = {model, 0};
    for (struct model_sub *sub = model->subs; sub != NULL; sub = sub->next) sub->listed = false;
    broker_each_subscription(model->world->broker, check_subscription, &round);
    for (struct model_sub *sub = model->subs; sub != NULL; sub = sub->next) {
        if (sub->live && sub->sid == 0 && sub->conn->link->session != NULL) check_all_out(sub);
        if (!sub->live || sub->listed || sub->sid == 0) continue; /* the inbox is not in the broker's list */
        check_gone(sub);
        subs_end(sub->conn);
    }
}

/* Whatever is due was sent, unless the link is full. */
static void check_answers(const struct conn *conn)
{
    const struct link *link = conn->link;
    if (link->refused || conn->state == CONN_NEW) return;
    if (link->closed && conn->model->world->now_ms - conn->ending_ms >= conn->model->limits.closing_ms)
        return; /* its time was up */
    if (conn->partial_len > 0) CONN_FAIL(conn, "%u bytes of a frame were sent and not the rest", conn->partial_len);
    if (conn->wants_next < conn->wants_count)
        CONN_FAIL(conn, "%u answers are due and do not come, the first of kind %d for sid %u",
                  conn->wants_count - conn->wants_next, (int)conn->wants[conn->wants_next].kind,
                  conn->wants[conn->wants_next].sid);
    if (puback_is_due(conn))
        CONN_FAIL(conn, "%u PUBACKs are due and do not come, the first of pid %llu",
                  conn->pubacks_count - conn->pubacks_next, (unsigned long long)conn->pubacks[conn->pubacks_next].pid);
}

/* A connection that is over: BYE, the end of the stream, and a close in good time. */
static void check_ending(struct conn *conn)
{
    const struct link *link = conn->link;
    const struct model *model = conn->model;
    if (conn->state != CONN_ENDING && conn->state != CONN_DEAD) return;
    if (link->closed || link->ended) {
        if (conn->all_due) deliveries_check_all_told(conn, "the end of the connection");
        if (conn->bye_due != NO_BYE && !conn->bye_seen && conn->all_due)
            CONN_FAIL(conn, "the connection ended without BYE %u", conn->bye_due);
        conn->all_due = false;
    }
    if (link->session == NULL) return;
    bool waits = conn->pubacks_next < conn->pubacks_count && !puback_is_due(conn);
    if (!link->refused && !link->ended && !waits)
        CONN_FAIL(conn, "everything is written, but the stream does not end%s", "");
    /* Up to closing_ms for what is queued, as long again for the peer's end, and a second for a last BYE. */
    if (model->world->now_ms - conn->ending_ms > 2 * (uint64_t)model->limits.closing_ms + 1000)
        CONN_FAIL(conn, "the connection has been ending for %llu ms",
                  (unsigned long long)(model->world->now_ms - conn->ending_ms));
}

static void check_figures(struct model *model)
{
    struct broker_figures figures;
    broker_figures(model->world->broker, &figures);
    uint64_t retained = 0, lag = 0, sessions = 0, now_ms = model->world->now_ms;
    for (uint32_t i = 0; i < model->topics_count; i++) {
        const struct model_topic *topic = &model->topics[i];
        retained += topic->set;
        lag += !topic->set && topic->dies_ms <= now_ms && now_ms - topic->dies_ms <= SWEEP_LAG_MS;
    }
    for (int i = 0; i < WORLD_LINKS_MAX; i++)
        sessions += model->world->links[i].in_use && model->world->links[i].session != NULL;
    if (figures.retained < retained || figures.retained > retained + lag || figures.sessions != sessions ||
        figures.subscriptions != model->live_subs)
        world_fail(model->world,
                   "the broker has %llu retained values, %llu sessions, %llu subscriptions; due are %llu, %llu, %u",
                   ULL(figures.retained), ULL(figures.sessions), ULL(figures.subscriptions), ULL(retained),
                   ULL(sessions), model->live_subs);
    for (struct model_sub *sub = model->subs; sub != NULL; sub = sub->next) {
        uint64_t bytes = sub->live ? sub_queue(sub)->bytes : 0;
        if (figures.run_bytes < bytes)
            CONN_FAIL(sub->conn, "sid %u: %llu bytes are queued, the runs have only %llu bytes of their own", sub->sid,
                      ULL(bytes), ULL(figures.run_bytes));
    }
}

/* The broker asks to be called again in time for all that is due by itself. */
static void check_timer(struct model *model)
{
    uint64_t due_ms = model_next_ms(model), now_ms = model->world->now_ms;
    if (due_ms > now_ms && model->world->next_ms > due_ms)
        world_fail(model->world, "something is due in %llu ms, the broker wants to be called only %llu ms later",
                   ULL(due_ms - now_ms), ULL(model->world->next_ms - due_ms));
}

void invariants_check(struct model *model)
{
    subs_sweep(model);
    check_subscriptions(model);
    check_groups(model);
    logs_check(model);
    readers_check(model);
    for (int i = 0; i < WORLD_LINKS_MAX; i++) {
        struct conn *conn = &model->conns[i];
        if (conn->link == NULL || conn->refused) continue;
        if (conn->link->session == NULL && !conn->link->closed) continue; /* it was cut */
        check_answers(conn);
        check_ending(conn);
    }
    check_figures(model);
    check_timer(model);
}
