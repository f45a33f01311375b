/* At rest, after world_turn(): what the broker says about its subscriptions and itself, against what clients sent and
 * what its own stream showed. */
#include "model.h"

struct round {
    struct model *model;
    uint32_t seen;
};

/* Messages may only be lost to a queue that was full. f is what the broker says now, sub->before what it said last. */
static void check_loss(const struct model_sub *sub, const struct subscription_figures *f)
{
    const struct conn *conn = sub->conn;
    uint64_t lost = f->lost - sub->before.lost, sent = f->sent - sub->before.sent;
    if (f->lost < sub->before.lost || f->sent < sub->before.sent)
        CONN_FAIL(conn, "sid %u: counts went back, lost from %llu to %llu, sent from %llu to %llu", sub->sid,
                  (unsigned long long)sub->before.lost, (unsigned long long)f->lost,
                  (unsigned long long)sub->before.sent, (unsigned long long)f->sent);
    if (lost <= sub->too_large + sub->snapshot_too_large || sub->limits_changed || conn->model->tight_session) return;
    bool msgs_full = f->queued + sent >= sub->max_msgs;
    bool bytes_full = sub->before.queued_bytes + sub->bytes_matched > sub->max_bytes;
    if (!msgs_full && !bytes_full)
        CONN_FAIL(conn,
                  "sid %u: %llu messages were lost, but the queue was not full: %llu sent, %llu queued of %llu, "
                  "at most %llu bytes of %llu",
                  sub->sid, (unsigned long long)lost, (unsigned long long)sent, (unsigned long long)f->queued,
                  (unsigned long long)sub->max_msgs,
                  (unsigned long long)(sub->before.queued_bytes + sub->bytes_matched),
                  (unsigned long long)sub->max_bytes);
}

/* Drop_old keeps the newest: without those that can't be queued at all, the queue is the end of the list. */
static void check_queue(const struct model_sub *sub, const struct subscription_figures *f)
{
    const struct conn *conn = sub->conn;
    uint64_t bytes = 0;
    uint32_t i = sub->count;
    for (uint64_t n = 0; n < f->queued && i > 0;) {
        uint32_t len = conn->model->messages[sub->list[--i]].len;
        if ((conn->rx_max > 0 && len > conn->rx_max) || len > sub->max_bytes) continue;
        bytes += len;
        n++;
    }
    if (!sub->max_bytes_varied && bytes != f->queued_bytes && !conn->model->tight_session)
        CONN_FAIL(conn, "sid %u: %llu messages of %llu bytes are queued, the newest %llu that matched have %llu",
                  sub->sid, (unsigned long long)f->queued, (unsigned long long)f->queued_bytes,
                  (unsigned long long)f->queued, (unsigned long long)bytes);
    if (f->queued > sub->max_msgs || f->queued_bytes > sub->max_bytes)
        CONN_FAIL(conn, "sid %u: the queue holds %llu messages of %llu bytes, its limits are %llu and %llu", sub->sid,
                  (unsigned long long)f->queued, (unsigned long long)f->queued_bytes, (unsigned long long)sub->max_msgs,
                  (unsigned long long)sub->max_bytes);
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
    enum cut at_end = stream_cut_message(sub);
    bool cut = at_end == CUT_MESSAGE || (at_end == CUT_MAYBE && f->sent > sub->got_live + sub->got_retained);
    bool cut_retained = cut && stream_cut_retained(conn);
    uint64_t sent = sub->got_live + sub->got_retained + cut;
    uint64_t matched = sub->count + sub->got_retained + sub->gap_retained + cut_retained;
    if (f->matched == matched + 1 && sub->gap_retained < sub->snapshot_too_large) matched++; /* a GAP that was cut */
    if (f->matched != f->sent + f->lost + f->queued || f->sent != sent || f->matched != matched || f->lost < sub->gaps)
        CONN_FAIL(conn,
                  "sid %u: matched %llu = sent %llu + lost %llu + queued %llu; %llu matched, %llu came, gaps of %llu",
                  f->sid, (unsigned long long)f->matched, (unsigned long long)f->sent, (unsigned long long)f->lost,
                  (unsigned long long)f->queued, (unsigned long long)matched, (unsigned long long)sent,
                  (unsigned long long)sub->gaps);
    check_loss(sub, f);
    check_queue(sub, f);
    if (!conn->link->refused && (f->queued != 0 || f->lost != sub->gaps || sub->snapshots != NULL))
        CONN_FAIL(conn, "sid %u: the link takes more, but %llu messages are queued and %llu of %llu lost are told%s",
                  f->sid, (unsigned long long)f->queued, (unsigned long long)sub->gaps, (unsigned long long)f->lost,
                  sub->snapshots != NULL ? ", and retained values are due" : "");
    sub->before = *f;
    sub->limits_changed = false;
    sub->too_large = sub->bytes_matched = 0;
    sub->listed = true;
    return true;
}

/* A connection that ends has its subscriptions until everything is written. */
static void check_gone(struct model_sub *sub)
{
    struct conn *conn = sub->conn;
    uint64_t told = sub->cursor + sub->gap;
    enum cut at_end = stream_cut_retained(conn) ? CUT_NONE : stream_cut_message(sub);
    bool all = at_end == CUT_MESSAGE ? told + 1 == sub->count
                                     : told == sub->count || (at_end == CUT_MAYBE && told + 1 == sub->count);
    if (conn->state != CONN_ENDING) CONN_FAIL(conn, "sid %u: the broker has lost this subscription", sub->sid);
    else if (conn->all_due && !all)
        CONN_FAIL(conn, "sid %u: the connection was ended when %llu of %u messages were told of", sub->sid,
                  (unsigned long long)told, sub->count);
}

static void check_subscriptions(struct model *model)
{
    struct round round = {model, 0};
    for (struct model_sub *sub = model->subs; sub != NULL; sub = sub->next) sub->listed = false;
    broker_each_subscription(model->world->broker, check_subscription, &round);
    for (struct model_sub *sub = model->subs; sub != NULL; sub = sub->next) {
        if (!sub->live || sub->listed) continue;
        check_gone(sub);
        model_end_subs(sub->conn);
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
    if (conn->pubacks_next < conn->pubacks_count)
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
        if (conn->all_due) stream_check_all_told(conn, "the end of the connection");
        if (conn->bye_due != NO_BYE && !conn->bye_seen && conn->all_due)
            CONN_FAIL(conn, "the connection ended without BYE %u", conn->bye_due);
        conn->all_due = false;
    }
    if (link->session == NULL) return;
    if (!link->refused && !link->ended) CONN_FAIL(conn, "everything is written, but the stream does not end%s", "");
    /* Up to closing_ms for what is queued, as long again for the peer's end, and a second for a last BYE. */
    if (model->world->now_ms - conn->ending_ms > 2 * (uint64_t)model->limits.closing_ms + 1000)
        CONN_FAIL(conn, "the connection has been ending for %llu ms",
                  (unsigned long long)(model->world->now_ms - conn->ending_ms));
}

static void check_figures(struct model *model)
{
    struct broker_figures figures;
    broker_figures(model->world->broker, &figures);
    uint64_t retained = 0, sessions = 0;
    for (uint32_t i = 0; i < model->retained_count; i++) retained += model->retained[i].set;
    for (int i = 0; i < WORLD_LINKS_MAX; i++)
        sessions += model->world->links[i].in_use && model->world->links[i].session != NULL;
    if (figures.retained != retained || figures.sessions != sessions || figures.subscriptions != model->live_subs)
        world_fail(model->world,
                   "the broker has %llu retained values, %llu sessions, %llu subscriptions; due are %llu, %llu, %u",
                   (unsigned long long)figures.retained, (unsigned long long)figures.sessions,
                   (unsigned long long)figures.subscriptions, (unsigned long long)retained,
                   (unsigned long long)sessions, model->live_subs);
    for (const struct model_sub *sub = model->subs; sub != NULL; sub = sub->next) {
        if (!sub->live || figures.run_bytes >= sub->before.queued_bytes) continue;
        CONN_FAIL(sub->conn, "sid %u: %llu bytes are queued, the runs have only %llu bytes of their own", sub->sid,
                  (unsigned long long)sub->before.queued_bytes, (unsigned long long)figures.run_bytes);
    }
}

void invariants_check(struct model *model)
{
    check_subscriptions(model);
    for (int i = 0; i < WORLD_LINKS_MAX; i++) {
        struct conn *conn = &model->conns[i];
        if (conn->link == NULL || conn->refused) continue;
        if (conn->link->session == NULL && !conn->link->closed) continue; /* it was cut */
        check_answers(conn);
        check_ending(conn);
    }
    check_figures(model);
}
