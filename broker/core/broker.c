#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "account.h"
#include "audit.h"
#include "away.h"
#include "cluster/cluster.h"
#include "cluster/records.h"
#include "identity.h"
#include "spill.h"
#include "sure.h"
#include "trace.h"

#define MIB (1024u * 1024)
/* Entries of queues that are looked at in one turn for what has expired: about 2 ms. */
#define SWEEPS_A_TURN 32768u
/* What the messages of all sessions may cost one turn together. Those that wait have WORK_A_TURN of it in any case. */
#define ALL_WORK_A_TURN (4 * WORK_A_TURN)
/* Beyond this, what is read in one turn is flushed early. */
#define READ_A_TURN (8 * MIB)

void broker_defaults(struct broker_limits *limits)
{
    *limits = (struct broker_limits){
        .max_payload = MPS_PAYLOAD_MAX,
        .max_sessions_count = 65536,
        .max_away_count = 65536,
        .max_subs_count = 100000,
        .max_filters_count = 256,
        .pattern_bytes = 64 * MIB,
        .inflight_cap_count = 65536,
        .queue_msgs_count = 100000,
        .queue_bytes = 16 * MIB,
        .queue_msgs_cap_count = 10000000,
        .queue_bytes_cap = 64 * MIB,
        .session_queue_bytes = 64 * MIB,
        .max_retained_count = 1000000,
        .retained_bytes = 256 * MIB,
        .queue_total_bytes = 1024ull * MIB,
        .input_total_bytes = 128 * MIB,
        .input_ms = 10000,
        .pub_window_count = 65536,
        .handshake_ms = MPS_HELLO_MS,
        .closing_ms = 5000,
        .keepalive_max_s = 86400,
        .sys_ms = 10000,
        .session_max_s = 30 * 86400,
        .spill_bytes = 1024ull * MIB,
        .audit = true,
        .publish_delay_ms = 5000,
    };
}

void broker_set_limits(struct broker *broker, const struct broker_limits *limits)
{
    broker->limits = *limits;
    accounts_limits_changed(broker);
    sys_interval_changed(broker);
}

const struct broker_limits *broker_limits_of(const struct broker *broker)
{
    return &broker->limits;
}

struct broker *broker_new(struct env *env, const struct broker_limits *limits)
{
    struct broker *broker = sure_zeroed(sizeof *broker);
    broker->env = env;
    sure_refill();
    if (limits != NULL) broker->limits = *limits;
    else broker_defaults(&broker->limits);
    env->random(env, &broker->seed, sizeof broker->seed);
    env->random(env, &broker->epoch, sizeof broker->epoch);
    broker->epoch &= MPS_NUMBER_MAX;
    broker->runs.slabs = &broker->slabs;
    topics_init(&broker->topics, broker->seed);
    retained_init(&broker->retained, &broker->runs, broker->seed);
    broker->plan = flush_plan_new();
    broker->now_ms = broker->started_ms = env->now_ms(env);
    broker->sys = sys_new(broker);
    broker->turn_work_end = ALL_WORK_A_TURN;
    broker->store_box = broker->rate_box = (struct mailbox){.broker = broker, .expires_ms = UINT64_MAX};
    timer_init(&broker->store_box.expiry);
    timer_init(&broker->rate_box.expiry);
    broker->commit.gathering.number = broker->commit.unsettled = 1;
    broker->commit.lazy_ms = UINT64_MAX;
    broker->ack_level = 1;
    return broker;
}

void broker_free(struct broker *broker)
{
    cluster_free(broker);
    traces_free(broker);
    sessions_free(broker);
    assert(broker->sessions == NULL && broker->dead == NULL && broker->intake.bytes == 0);
    will_free_all(broker);
    snapshot_end(&broker->recheck);
    commit_free(broker);
    cursor_records_free(broker);
    free(broker->area.free);
    heap_free(&broker->redeliveries);
    chunks_free(broker);
    streams_free(broker);
    retained_free(&broker->retained);
    run_pool_free(&broker->runs);
    slab_pool_free(&broker->slabs);
    assert(broker->runs.alive == 0 && broker->slabs.alive == 0 && broker->runs.own_bytes == 0);
    router_free(broker);
    topics_free(&broker->topics);
    hash_free(&broker->ids);
    accounts_free(broker);
    hash_free(&broker->inboxes);
    hash_free(&broker->groups);
    hash_free(&broker->filters);
    hash_free(&broker->named_wills);
    heap_free(&broker->timers);
    heap_free(&broker->holds);
    heap_free(&broker->expiries);
    heap_free(&broker->wills);
    sys_free(broker);
    report_free_all(broker);
    access_unref(broker->access);
    free(broker->plan);
    free(broker);
}

const uint8_t *broker_full_frame(const char *text, size_t *len)
{
    static uint8_t room[400];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_bye(&out,
                   &(struct mps_bye){.code = sure_is_short() ? MPS_INTERNAL : MPS_TOO_MANY, .text = mps_text(text)});
    *len = out.len;
    return room;
}

const char *broker_full_text(const struct broker *broker)
{
    static char text[100];
    if (broker->stopping) return mps_code_text(MPS_SHUTTING_DOWN);
    if (sure_is_short()) return "there is no memory for another client";
    snprintf(text, sizeof text, "the limit of %u connections (max_connections) is reached",
             broker->limits.max_sessions_count);
    return text;
}

void broker_note_refusal(struct broker *broker, enum refusal refusal)
{
    broker->figures.refused[refusal]++;
}

static void run_timers(struct broker *broker)
{
    uint64_t now_ms = broker->now_ms;
    struct timer *timer;
    while ((timer = timer_take_due(&broker->timers, now_ms)) != NULL)
        session_timer_due(container_of(timer, struct session, timer), now_ms);
    uint64_t work_end = broker->work + SWEEPS_A_TURN;
    while (broker->work < work_end && (timer = timer_take_due(&broker->expiries, now_ms)) != NULL)
        mailbox_expire(container_of(timer, struct mailbox, expiry));
    while ((timer = timer_take_due(&broker->holds, now_ms)) != NULL)
        hold_due(container_of(timer, struct session, hold_timer));
    for (struct retained_value *value; (value = retained_due(&broker->retained, now_ms)) != NULL;) {
        if (broker->cluster != NULL) shared_retained_expired(broker->cluster, value);
        retained_forget(broker, (mps_view){value->topic, value->len});
    }
    will_publish_due(broker);
    if (broker->account_expiries.count > 0) account_forget_due(broker);
}

static uint64_t next_timer_ms(const struct broker *broker)
{
    uint64_t next = least(timer_next_ms(&broker->timers), timer_next_ms(&broker->expiries));
    next = least(next, timer_next_ms(&broker->holds));
    next = least(next, timer_next_ms(&broker->wills));
    next = least(next, timer_next_ms(&broker->retained.expiries));
    next = least(next, timer_next_ms(&broker->cursor_expiries));
    if (broker->account_expiries.count > 0) next = least(next, timer_next_ms(&broker->account_expiries));
    return next <= broker->now_ms ? 0 : next;
}

/* Those that are held again by what happens here wait for the next turn. */
static void resume_held(struct broker *broker)
{
    struct session *session = broker->held;
    broker->held = broker->held_last = NULL;
    if (broker->turn_work_end < broker->work + WORK_A_TURN) broker->turn_work_end = broker->work + WORK_A_TURN;
    while (session != NULL) {
        struct session *next = session->next_held;
        session->is_held = false;
        input_resume(session);
        session = next;
    }
}

static void flush_dirty(struct broker *broker)
{
    struct session *session = broker->dirty;
    broker->dirty = broker->dirty_last = NULL;
    while (session != NULL) {
        struct session *next = session->next_dirty;
        session->is_dirty = false;
        flush_session(session);
        session = next;
    }
}

/* A dead session that a list still holds waits until that list has been gone through. */
static void free_dead(struct broker *broker)
{
    struct session *session = broker->dead;
    broker->dead = NULL;
    for (struct session *next; session != NULL; session = next) {
        next = session->next_dead;
        if (session->is_held || session->is_dirty || session->slow_text != NULL) {
            session->next_dead = broker->dead;
            broker->dead = session;
            continue;
        }
        session_unlink(session);
        broker->sessions_count--;
        if (session->peer_name != NULL) { /* both came with session_set_peer() */
            free(session->peer_name);
            free(session->listener);
        }
        free(session);
    }
}

static uint64_t store_turn(struct broker *broker)
{
    uint64_t age_ms = stream_age_turn(broker), retry_ms = chunk_retry_turn(broker);
    return least(least(age_ms, retry_ms), commit_turn(broker));
}

/* What mostly isn't there: it costs a turn one comparison. */
__attribute__((cold, noinline)) static uint64_t asides_turn(struct broker *broker)
{
    uint64_t next_ms = UINT64_MAX;
    if (broker->reports.first != NULL || broker->tally != NULL) next_ms = report_turn(broker);
    if (broker->tracing != NULL) next_ms = least(next_ms, trace_turn(broker));
    if (broker->cluster != NULL) next_ms = least(next_ms, cluster_turn(broker));
    broker->has_asides =
        broker->reports.first != NULL || broker->tally != NULL || broker->tracing != NULL || broker->cluster != NULL;
    return next_ms;
}

uint64_t broker_turn(struct broker *broker)
{
    bool keeps = broker->keeps;
    uint64_t kept_ms = UINT64_MAX;
    broker->now_ms = broker->env->now_ms(broker->env);
    broker->turn_bytes = 0;
    run_timers(broker);
    resume_held(broker);
    bool rechecks = broker->recheck.at != NULL && identity_recheck(broker);
    uint64_t sys_ms = sys_turn(broker);
    if (broker->has_asides) sys_ms = least(sys_ms, asides_turn(broker));
    session_close_slow(broker);
    if (keeps) kept_ms = cursors_turn(broker);
    group_dispatch_all(broker);
    flush_dirty(broker);
    group_collect_all(broker);
    if (keeps) kept_ms = least(kept_ms, store_turn(broker));
    budget_keep(broker);
    cursors_shed(broker);
    hold_wake_due(broker);
    uint64_t intake_ms = broker->intake.waiting.first != NULL ? intake_turn(broker) : UINT64_MAX;
    run_settle_all(&broker->runs);
    free_dead(broker);
    sure_refill();
    uint64_t age_ms = router_age(broker);
    broker->turn_work_end = broker->work + ALL_WORK_A_TURN;
    if (rechecks || broker->dirty != NULL || broker->held != NULL || broker->dirty_groups.first != NULL ||
        broker->waking.first != NULL || broker->dirty_cursors.first != NULL ||
        (broker->tracing != NULL && trace_is_waiting(broker)))
        return 0;
    return least(least(sys_ms, kept_ms), least(least(age_ms, intake_ms), next_timer_ms(broker)));
}

void broker_note_peer(struct broker *broker, const struct peer *peer, const char *text)
{
    char name[AUDIT_PEER_MAX];
    audit_peer_name(peer, name);
    log_say(broker, EVENT_PEER_CLOSED,
            LOG_FIELDS(log_word("peer", name), log_value("listener", mps_text(peer->listener))), "%s", text);
}

bool broker_wants_turn(const struct broker *broker)
{
    return broker->turn_bytes > READ_A_TURN;
}

void broker_stop(struct broker *broker)
{
    broker->stopping = true;
    uint8_t map_room[32], room[64];
    struct mps_out map = mps_out_open(map_room, sizeof map_room), info = mps_out_open(room, sizeof room);
    mps_put_map(&map, 1);
    mps_put_text(&map, mps_text("lame_duck"));
    mps_put_bool(&map, true);
    mps_encode_info(&info, &(struct mps_info){mps_out_view(&map)});
    for (struct session *session = broker->sessions; session != NULL; session = session->next) {
        if (session->state == SESSION_READY) reply_frame(session, &info);
        session_end_gently(session, MPS_SHUTTING_DOWN, mps_code_text(MPS_SHUTTING_DOWN));
    }
}

void broker_drop_all(struct broker *broker)
{
    for (struct session *session = broker->sessions; session != NULL; session = session->next)
        if (session->link != NULL) session_drop_link(session); /* else it is away, and stays so */
}

size_t broker_sessions(const struct broker *broker)
{
    return broker->sessions_count;
}

void broker_figures(const struct broker *broker, struct broker_figures *out)
{
    *out = broker->figures;
    out->sessions = broker->sessions_count;
    out->sessions_away = broker->away_count;
    out->subscriptions = broker->subscriptions_count;
    out->retained = broker->retained.topics.count;
    out->retained_bytes = broker->retained.bytes;
    out->input_bytes = broker->intake.bytes;
    out->links_bytes = broker->links_bytes;
    out->runs = broker->runs.alive;
    out->run_bytes = broker->runs.own_bytes;
    out->slabs = broker->slabs.alive;
}

uint64_t broker_held_bytes(const struct broker *broker)
{
    return broker->runs.own_bytes + broker->slabs.bytes + broker->router.bytes;
}

void broker_each_subscription(const struct broker *broker, bool (*fn)(const struct subscription_figures *f, void *arg),
                              void *arg)
{
    for (const struct session *session = broker->sessions; session != NULL; session = session->next) {
        for (struct hash_node *n = hash_first(&session->subs); n != NULL; n = hash_next(&session->subs, n)) {
            const struct subscription *sub = container_of(n, struct subscription, in_subs);
            const struct mailbox *box = &sub->box;
            if (sub->sid == 0) continue; /* the inbox */
            struct subscription_figures figures = {.link = session->link,
                                                   .sid = sub->sid,
                                                   .matched = box->matched,
                                                   .sent = box->sent,
                                                   .lost = box->lost,
                                                   .queued = mailbox_waiting(box),
                                                   .queued_bytes = box->queue.bytes};
            if (!fn(&figures, arg)) return;
        }
    }
}
