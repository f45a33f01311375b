#include "sys_maps.h"

#include <string.h>

#include "identity.h"
#include "spill.h"

void sys_put_number(struct mps_out *out, const char *key, uint64_t number)
{
    mps_put_text(out, mps_text(key));
    if (number == UINT64_MAX) mps_put_nil(out);
    else mps_put_uint(out, number);
}

void sys_put_name(struct mps_out *out, const char *key, mps_view text)
{
    mps_put_text(out, mps_text(key));
    if (text.ptr == NULL) mps_put_nil(out);
    else mps_put_text(out, text);
}

void sys_put_flag(struct mps_out *out, const char *key, bool flag)
{
    mps_put_text(out, mps_text(key));
    mps_put_bool(out, flag);
}

/* ---- the broker --------------------------------------------------------------------------------------------- */

static uint64_t timers_count(const struct broker *broker)
{
    const struct heap *heaps[] = {
        &broker->timers,       &broker->holds,           &broker->expiries,          &broker->wills,
        &broker->redeliveries, &broker->cursor_expiries, &broker->retained.expiries, &broker->account_expiries};
    uint64_t count = 0;
    for (size_t i = 0; i < sizeof heaps / sizeof *heaps; i++) count += heaps[i]->count;
    return count;
}

void sys_put_broker(struct mps_out *out, const struct broker *broker)
{
    struct broker_figures f;
    struct host_figures host = {UINT64_MAX, UINT64_MAX, UINT64_MAX};
    broker_figures(broker, &f);
    if (broker->env->measure != NULL) broker->env->measure(broker->env, &host);
    mps_put_map(out, 23);
    sys_put_name(out, "version", mps_text(PUBSUB_VERSION));
    sys_put_number(out, "epoch", broker->epoch);
    sys_put_number(out, "uptime_ms", broker->now_ms - broker->started_ms);
    sys_put_number(out, "connections", f.sessions);
    sys_put_number(out, "subscriptions", f.subscriptions);
    sys_put_number(out, "groups", broker->groups_count);
    sys_put_number(out, "retained", f.retained);
    sys_put_number(out, "retained_bytes", f.retained_bytes);
    sys_put_number(out, "queued_bytes", budget_used(broker));
    sys_put_number(out, "queue_budget_bytes", broker->limits.queue_total_bytes);
    sys_put_number(out, "links_bytes", f.links_bytes);
    sys_put_number(out, "input_bytes", f.input_bytes);
    sys_put_number(out, "input_budget_bytes", broker->limits.input_total_bytes);
    sys_put_number(out, "messages_in", f.messages_in);
    sys_put_number(out, "bytes_in", f.bytes_in);
    sys_put_number(out, "messages_out", f.copies_out);
    sys_put_number(out, "lost", f.copies_lost);
    sys_put_number(out, "protocol_errors", f.protocol_errors);
    sys_put_number(out, "streams", broker->streams_count);
    sys_put_number(out, "timers", timers_count(broker));
    sys_put_number(out, "rss_bytes", host.rss_bytes);
    sys_put_number(out, "data_bytes", host.data_bytes);
    sys_put_number(out, "data_free_bytes", host.data_free_bytes);
}

void sys_put_limits(struct mps_out *out, const struct broker *broker)
{
    static const char *const names[] = {
#define REFUSAL(NAME, key) key,
        BROKER_REFUSALS(REFUSAL)
#undef REFUSAL
    };
    mps_put_map(out, REFUSALS_COUNT);
    for (int i = 0; i < REFUSALS_COUNT; i++) sys_put_number(out, names[i], broker->figures.refused[i]);
}

/* ---- readers and connections -------------------------------------------------------------------------------- */

static void put_counts(struct mps_out *out, const struct mailbox *box)
{
    uint64_t lag_ms = mailbox_lag_ms(box);
    sys_put_name(out, "policy", mps_text(mps_policy_name(box->policy)));
    sys_put_number(out, "matched", box->matched);
    sys_put_number(out, "sent", box->sent);
    sys_put_number(out, "lost", box->lost);
    sys_put_number(out, "queued", mailbox_waiting(box));
    sys_put_number(out, "queued_bytes", box->queue.bytes);
    sys_put_number(out, "lag_ms", lag_ms);
    sys_put_flag(out, "slow", lag_ms >= SLOW_MS);
}

static mps_view user_of(const struct session *session)
{
    return session->origin != NULL ? origin_user(session->origin) : (mps_view){NULL, 0};
}

void sys_put_subscription(struct mps_out *out, const struct subscription *sub, bool with_user)
{
    const struct session *session = sub->session;
    mps_put_map(out, 11u + (sub->group != NULL) + with_user);
    sys_put_name(out, "client", session->id);
    if (with_user) sys_put_name(out, "user", user_of(session));
    sys_put_number(out, "sid", sub->sid);
    sys_put_name(out, "pattern", subscription_pattern(sub));
    if (sub->group != NULL) sys_put_name(out, "group", group_name(sub->group));
    put_counts(out, &sub->box);
}

void sys_put_group(struct mps_out *out, const struct group *group)
{
    mps_put_map(out, 11);
    sys_put_name(out, "group", group_name(group));
    sys_put_name(out, "pattern", group_pattern(group));
    sys_put_number(out, "members", group->members_count);
    put_counts(out, &group->box);
}

void sys_put_connection(struct mps_out *out, const struct session *session)
{
    mps_view listener = session->listener != NULL ? mps_text(session->listener) : (mps_view){NULL, 0};
    mps_put_map(out, 12);
    sys_put_name(out, "client", session->id);
    sys_put_name(out, "user", user_of(session));
    sys_put_name(out, "peer", mps_text(session->peer_name != NULL ? session->peer_name : "unknown"));
    sys_put_name(out, "listener", mps_utf8_valid(listener) ? listener : (mps_view){NULL, 0});
    sys_put_number(out, "connected_ms", session->broker->now_ms - session->began_ms);
    sys_put_number(out, "subscriptions", session->subs.count - (session->inbox != NULL));
    sys_put_number(out, "messages_in", session->messages_in);
    sys_put_number(out, "bytes_in", session->bytes_in);
    sys_put_number(out, "messages_out", session->messages_out);
    sys_put_number(out, "bytes_out", session->bytes_out);
    sys_put_number(out, "lost", session->lost);
    sys_put_number(out, "queued_bytes", session->queued_bytes);
}

/* ---- streams ------------------------------------------------------------------------------------------------ */

uint32_t sys_stream_map_max(const struct stream *stream)
{
    return SYS_MAP_MAX + stream->patterns_count * (MPS_TOPIC_MAX + 8u);
}

static uint32_t readers_count(const struct stream *stream)
{
    uint32_t count = 0;
    for (const struct list_node *node = stream->readings.first; node != NULL; node = node->next) count++;
    return count;
}

void sys_put_stream(struct mps_out *out, const struct stream *stream)
{
    mps_put_map(out, 16 + (stream->is_shared ? 3 : 0));
    sys_put_number(out, "stream", stream->number);
    sys_put_name(out, "name", mps_text(stream->name));
    sys_put_number(out, "first", stream->first);
    sys_put_number(out, "next", stream->is_shared ? stream->next : stream->stored);
    sys_put_number(out, "messages", stream->stored_msgs);
    sys_put_number(out, "bytes", stream->stored_bytes);
    sys_put_number(out, "max_bytes", stream->max_bytes);
    sys_put_number(out, "max_msgs", stream->max_msgs);
    sys_put_number(out, "max_age_ms", stream->max_age_ms);
    sys_put_name(out, "full", mps_text(stream->refuses ? "refuse" : "drop_old"));
    sys_put_number(out, "readers", readers_count(stream));
    sys_put_number(out, "oldest_ms", stream_oldest_ms(stream));
    sys_put_number(out, "damaged", stream->damaged);
    sys_put_number(out, "unstored", stream->unstored);
    sys_put_flag(out, "configured", stream->is_configured);
    if (stream->is_shared) {
        sys_put_number(out, "replicas", stream->replicas);
        sys_put_number(out, "current", stream->current);
        sys_put_flag(out, "there", stream->is_there);
    }
    mps_put_text(out, mps_text("patterns"));
    mps_put_array(out, stream->patterns_count);
    for (uint32_t i = 0; i < stream->patterns_count; i++) mps_put_text(out, stream->patterns[i]);
}
