/* HELLO: who comes in, under which name, and what it is granted. */
#include <stdio.h>
#include <string.h>

#include "account.h"
#include "audit.h"
#include "away.h"
#include "cluster/records.h"
#include "identity.h"
#include "pids.h"
#include "sure.h"

#define SOFTWARE "pubsubd/" PUBSUB_VERSION
#define MADE_UP_LEN 20u /* bytes of an id that a client did not bring */

/* other: whoever has this id, or NULL. Its session goes on here, or ends. Returns whether it goes on. */
static bool take_id(struct session *session, struct session *other, mps_view id, bool clean)
{
    bool resumes = other != NULL && other->sess_s > 0 && session->sess_s > 0 && !clean;
    bool is_connected = other != NULL && other->state != SESSION_AWAY;
    if (resumes) session_resume(session, other);
    else if (other != NULL) session_end(other);
    if (is_connected)
        session_byef(other, MPS_TAKEN_OVER, "another connection took over the client id '%s'", printable(id));
    if (!resumes) session_set_id(session, id);
    return resumes;
}

/* A name for a client that brings none: random, so that nobody else has it. */
static mps_view make_id(struct broker *broker, uint8_t name[MADE_UP_LEN])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t random[8];
    broker->env->random(broker->env, random, sizeof random);
    memcpy(name, "ano-", 4);
    for (size_t i = 0; i < sizeof random; i++) {
        name[4 + 2 * i] = (uint8_t)digits[random[i] >> 4];
        name[5 + 2 * i] = (uint8_t)digits[random[i] & 15];
    }
    return (mps_view){name, MADE_UP_LEN};
}

static void reply_welcome(struct session *session, const struct mps_hello *hello, bool resumed, uint64_t last_pid)
{
    const struct broker *broker = session->broker;
    uint8_t room[512], inbox[64];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_welcome(&out, &(struct mps_welcome){.version = MPS_PROTOCOL_VERSION,
                                                   .id = session->id,
                                                   .inbox = inbox_prefix(session, inbox),
                                                   .epoch = broker->epoch,
                                                   .ka_s = session->ka_ms / 1000,
                                                   .resumed = resumed,
                                                   .last_pid = last_pid,
                                                   .sess_s = session->sess_s,
                                                   .has_sess = session->sess_s != hello->sess_s,
                                                   .max_payload = broker->limits.max_payload,
                                                   .max_topic = MPS_TOPIC_MAX,
                                                   .max_subs = broker->limits.max_subs_count,
                                                   .pub_window = broker->limits.pub_window_count,
                                                   .ack = broker->ack_level,
                                                   .sw = mps_text(SOFTWARE)});
    reply_frame(session, &out);
}

/* Whether this HELLO may come in, whoever it is; if not, says why. */
static bool admits(struct session *session, const struct mps_hello *hello)
{
    if (!mps_view_equal(hello->magic, mps_text("mps"))) {
        session_byef(session, MPS_MALFORMED, "malformed HELLO: the protocol is '%s', not 'mps'",
                     printable(hello->magic));
    } else if (hello->version < MPS_PROTOCOL_VERSION || hello->vmin > MPS_PROTOCOL_VERSION) {
        session_byef(session, MPS_VERSION, "version %u is spoken here", MPS_PROTOCOL_VERSION);
    } else if (hello->id.ptr != NULL && mps_id_error(hello->id) != NULL) {
        session_byef(session, MPS_BAD_CLIENT_ID, "bad client id '%s': %s", printable(hello->id),
                     mps_id_error(hello->id));
    } else {
        return true;
    }
    return false;
}

/* An id that a user has, or had and left a session with, is that user's; at whichever broker, if it has places in
 * shared streams. */
static bool may_have_id(struct session *session, const struct session *other, mps_view id, mps_view user)
{
    const struct cluster *cluster = session->broker->cluster;
    bool is_others = other != NULL && !origin_may_follow(other->origin, user);
    if (!is_others && (cluster == NULL || shared_cursors_allow(cluster, id, user))) return true;
    session_byef(session, MPS_BAD_CLIENT_ID, "the client id '%s' is another user's", printable(id));
    return false;
}

static void set_will(struct session *session, mps_view raw)
{
    struct mps_will will;
    const char *what;
    char text[400];
    if (raw.ptr == NULL) return;
    mps_decode_will(raw, &will, &what); /* accepted when it came */
    uint32_t code = will_set(session, &will, text, sizeof text);
    if (code != 0) reply_err(session, code, MPS_OP_HELLO, (mps_view){NULL, 0}, "%s", text);
}

void hello_welcome(struct session *session, const struct mps_hello *hello)
{
    const struct broker_limits *limits = &session->broker->limits;
    uint8_t made_up[MADE_UP_LEN];
    bool is_named = session->user[0] != '\0';
    mps_view user = is_named ? mps_text(session->user) : (mps_view){NULL, 0};
    mps_view id = hello->id.ptr != NULL ? hello->id : make_id(session->broker, made_up);
    struct session *other = session_find(session->broker, id);
    if (!may_have_id(session, other, id, user) || !account_admits(session, user)) return;
    session->ka_ms = (uint32_t)least(hello->ka_s, limits->keepalive_max_s) * 1000;
    session->sess_s = (uint32_t)least(hello->sess_s, limits->session_max_s);
    session->rx_max = hello->rx_max;
    session->half = hello->half;
    session->has_own_id = hello->id.ptr != NULL;
    session_set_state(session, SESSION_READY);
    identity_set(session, user, id);
    account_open(session);
    bool resumed = take_id(session, other, id, hello->clean || hello->id.ptr == NULL);
    uint64_t last_pid = pids_begin(session, hello->boot);
    session_keep(session);
    if (session->broker->cluster != NULL) claim_say(session, hello->clean);
    will_forget_id(session->broker, session->id, user);
    inbox_open(session);
    session_keepalive(session);
    audit(session, EVENT_CONNECT, 0, NULL);
    reply_welcome(session, hello, resumed, last_pid);
    set_will(session, hello->will);
}

void handle_HELLO(struct session *session, mps_view frame)
{
    struct mps_hello hello;
    struct mps_will will;
    const char *what;
    if (session->state != SESSION_NEW) {
        session_bye(session, MPS_STATE, "HELLO came a second time");
        return;
    }
    if (!frame_decoded(session, MPS_OP_HELLO, mps_decode_hello(frame, &hello, &what), &what) ||
        !admits(session, &hello))
        return;
    if (hello.will.ptr != NULL &&
        !frame_decoded(session, MPS_OP_HELLO, mps_decode_will(hello.will, &will, &what), &what))
        return;
    if (sure_is_short()) {
        session_bye(session, MPS_INTERNAL, "there is no memory for another client");
        return;
    }
    if (identity_ask(session, &hello, frame)) hello_welcome(session, &hello);
}

void handle_AUTH(struct session *session, mps_view frame)
{
    struct mps_auth auth;
    const char *what;
    if (!frame_decoded(session, MPS_OP_AUTH, mps_decode_auth(frame, &auth, &what), &what)) return;
    identity_ask_again(session, auth.token);
}
