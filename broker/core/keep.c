#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "away.h"
#include "identity.h"

bool session_is_kept(const struct session *session)
{
    return session->broker->commit.store != NULL && session->sess_s > 0;
}

/* Names what a record holds; never 0. */
static uint64_t hash_of(const struct broker *broker, mps_view value)
{
    return hash_bytes(broker->seed, value.ptr, value.len) | 1;
}

/* ---- sessions ----------------------------------------------------------------------------------------------- */

void session_keep(struct session *session)
{
    uint8_t room[32 + ACCESS_NAME_MAX];
    struct mps_out out = mps_out_open(room, sizeof room);
    if (!session_is_kept(session)) return;
    bool is_named = session->origin->user_len > 0;
    mps_put_array(&out, 2 + is_named);
    mps_put_uint(&out, session->sess_s);
    mps_put_uint(&out, session->rx_max);
    if (is_named) mps_put_text(&out, origin_user(session->origin));
    uint64_t hash = hash_of(session->broker, mps_out_view(&out));
    if (hash == session->kept_hash) return;
    session->kept_hash = hash;
    keep_put_lazily(session->broker, RECORD_SESSION, session->id, mps_out_view(&out));
}

void session_unkeep(struct session *session)
{
    if (session->kept_hash == 0) return;
    session->kept_hash = 0;
    keep_remove(session->broker, RECORD_SESSION, session->id);
    keep_remove(session->broker, RECORD_PUBLISHER, session->id);
}

bool session_load(struct broker *broker, mps_view key, mps_view value)
{
    struct mps_reader r = mps_reader_open(value);
    uint32_t fields = mps_read_array(&r, "session");
    uint32_t sess_s = (uint32_t)mps_read_uint(&r, UINT32_MAX, "sess");
    uint32_t rx_max = (uint32_t)mps_read_uint(&r, UINT32_MAX, "rx_max");
    mps_view user = fields > 2 ? mps_read_text(&r, "user") : (mps_view){NULL, 0};
    if (r.bad != NULL || user.len > ACCESS_NAME_MAX || sess_s == 0 || mps_id_error(key) != NULL ||
        session_find(broker, key) != NULL)
        return false;
    if (sess_s > broker->limits.session_max_s) sess_s = broker->limits.session_max_s;
    struct session *session = session_new_away(broker, key, user, sess_s, rx_max);
    if (session != NULL) session->kept_hash = hash_of(broker, value);
    return true;
}

/* ---- subscriptions ------------------------------------------------------------------------------------------ */

mps_view subscription_key(mps_view id, uint32_t sid, uint8_t room[STORE_KEY_MAX])
{
    memcpy(room, id.ptr, id.len);
    room[id.len] = '\0';
    int len = snprintf((char *)room + id.len + 1, STORE_KEY_MAX - id.len - 1, "%u", sid);
    return (mps_view){room, id.len + 1 + (uint32_t)len};
}

static mps_view key_of(const struct subscription *sub, uint8_t room[STORE_KEY_MAX])
{
    return subscription_key(sub->session->id, sub->sid, room);
}

/* The session that the key names; the part of the key that names the subscription goes to *rest. */
static struct session *session_of_key(const struct broker *broker, mps_view key, mps_view *rest)
{
    const uint8_t *end = memchr(key.ptr, '\0', key.len);
    if (end == NULL) return NULL;
    uint32_t id_len = (uint32_t)(end - key.ptr);
    *rest = (mps_view){end + 1, key.len - id_len - 1};
    return session_find(broker, (mps_view){key.ptr, id_len});
}

struct subscription *subscription_of_key(const struct broker *broker, mps_view key)
{
    mps_view digits;
    uint64_t sid = 0;
    const struct session *session = session_of_key(broker, key, &digits);
    if (session == NULL || digits.len > 10) return NULL;
    for (uint32_t i = 0; i < digits.len; i++) {
        if (digits.ptr[i] < '0' || digits.ptr[i] > '9') return NULL;
        sid = 10 * sid + (digits.ptr[i] - '0');
    }
    return sid > 0 && sid <= MPS_SID_MAX ? subscription_find(session, (uint32_t)sid) : NULL;
}

void subscription_keep(struct subscription *sub, mps_view frame)
{
    struct broker *broker = sub->session->broker;
    uint8_t room[STORE_KEY_MAX];
    if (!session_is_kept(sub->session)) return;
    uint64_t hash = hash_of(broker, frame);
    if (hash == sub->kept_hash) return;
    sub->kept_hash = hash;
    keep_put_lazily(broker, RECORD_SUBSCRIPTION, key_of(sub, room), frame);
}

void subscription_unkeep(struct subscription *sub)
{
    uint8_t room[STORE_KEY_MAX];
    if (sub->kept_hash == 0) return;
    sub->kept_hash = 0;
    keep_remove(sub->session->broker, RECORD_SUBSCRIPTION, key_of(sub, room));
}

/* Whether all that can match the pattern is in a stream. */
static bool is_all_kept(const struct broker *broker, mps_view pattern)
{
    for (uint32_t i = 0; i < broker->streams_count; i++)
        for (uint32_t p = 0; p < broker->streams[i]->patterns_count; p++)
            if (mps_pattern_covers(broker->streams[i]->patterns[p], pattern)) return true;
    return false;
}

/* Nobody knows what was queued when the broker before this one ended. What comes from streams only is not lost. */
static void tell_restart(struct subscription *sub)
{
    struct mailbox *box = sub->group != NULL ? &sub->group->box : &sub->box;
    if (sub->group != NULL && sub->group->members_count > 1) return; /* the first one came by here */
    if (box->cursor != NULL && is_all_kept(box->broker, subscription_pattern(sub))) return;
    mailbox_append_gap(box, MPS_GAP_RESTARTED, 0);
}

static bool is_frame(mps_view frame)
{
    struct mps_scan scan = {0};
    struct mps_limits limits = {MPS_HEAD_MAX, MPS_VALUES_MAX, 0};
    return mps_scan(&scan, frame.ptr, frame.len, &limits) == MPS_SCAN_FRAME && scan.pos == frame.len &&
           scan.op == MPS_OP_SUB;
}

bool subscription_load(struct broker *broker, mps_view key, mps_view value)
{
    mps_view rest;
    struct session *session = session_of_key(broker, key, &rest);
    if (session == NULL || !is_frame(value)) return false;
    struct subscription *sub = subscription_restore(session, value);
    if (sub == NULL) { /* of what it asked for, something is not configured any more */
        log_say(broker, EVENT_SUBSCRIPTION_ENDED, LOG_FIELDS(log_value("client", session->id)),
                "a subscription of client '%s' can't be granted any more, and ends", printable(session->id));
        keep_remove(broker, RECORD_SUBSCRIPTION, key);
        return true;
    }
    sub->kept_hash = hash_of(broker, value);
    identity_judge(sub);
    tell_restart(sub);
    return true;
}

void sessions_loaded(struct broker *broker)
{
    cursors_loaded(broker);
    if (broker->away_count == 0) return;
    log_say(broker, EVENT_SESSIONS_WAIT, LOG_FIELDS(log_number("count", broker->away_count)),
            "%u sessions wait for their clients", broker->away_count);
}
