#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "away.h"
#include "pids.h"
#include "spill.h"
#include "sure.h"

#define SOFTWARE "pubsubd/" PUBSUB_VERSION

bool frame_decoded(struct session *session, enum mps_op op, enum mps_code code, const char **what)
{
    if (code == MPS_OK) return true;
    session_byef(session, code, "malformed %s: %s", mps_op_name(op), *what);
    return false;
}

/* ---- HELLO ------------------------------------------------------------------------------------------------- */

/* Whoever has this id: its session goes on here, or ends. Returns whether it goes on. */
static bool take_id(struct session *session, mps_view id, bool clean)
{
    struct session *other = session_find(session->broker, id);
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
static void make_id(struct session *session)
{
    static const char digits[] = "0123456789abcdef";
    struct env *env = session->broker->env;
    uint8_t random[8], name[4 + 2 * sizeof random] = {'a', 'n', 'o', '-'};
    env->random(env, random, sizeof random);
    for (size_t i = 0; i < sizeof random; i++) {
        name[4 + 2 * i] = (uint8_t)digits[random[i] >> 4];
        name[5 + 2 * i] = (uint8_t)digits[random[i] & 15];
    }
    take_id(session, (mps_view){name, sizeof name}, true);
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
                                                   .ack = broker->streams_count > 0 ? 2 : 1,
                                                   .sw = mps_text(SOFTWARE)});
    reply_frame(session, &out);
}

/* Whether this HELLO may come in; if not, says why. */
static bool admits(struct session *session, const struct mps_hello *hello)
{
    if (!mps_view_equal(hello->magic, mps_text("mps"))) {
        session_byef(session, MPS_MALFORMED, "malformed HELLO: the protocol is '%s', not 'mps'",
                     printable(hello->magic));
    } else if (hello->version < MPS_PROTOCOL_VERSION || hello->vmin > MPS_PROTOCOL_VERSION) {
        session_byef(session, MPS_VERSION, "version %u is spoken here", MPS_PROTOCOL_VERSION);
    } else if (hello->auth.ptr != NULL && !mps_view_equal(hello->auth, mps_text("none"))) {
        session_byef(session, MPS_AUTH, "authentication by '%s' is not available, only 'none' is",
                     printable(hello->auth));
    } else if (hello->id.ptr != NULL && mps_id_error(hello->id) != NULL) {
        session_byef(session, MPS_BAD_CLIENT_ID, "bad client id '%s': %s", printable(hello->id),
                     mps_id_error(hello->id));
    } else {
        return true;
    }
    return false;
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

void handle_HELLO(struct session *session, mps_view frame)
{
    struct mps_hello hello;
    const char *what;
    if (session->state != SESSION_NEW) {
        session_bye(session, MPS_STATE, "HELLO came a second time");
        return;
    }
    if (!frame_decoded(session, MPS_OP_HELLO, mps_decode_hello(frame, &hello, &what), &what) ||
        !admits(session, &hello))
        return;
    struct mps_will will;
    if (hello.will.ptr != NULL &&
        !frame_decoded(session, MPS_OP_HELLO, mps_decode_will(hello.will, &will, &what), &what))
        return;
    if (sure_is_short()) {
        session_bye(session, MPS_INTERNAL, "there is no memory for another client");
        return;
    }
    const struct broker_limits *limits = &session->broker->limits;
    session->ka_ms = least(hello.ka_s, limits->keepalive_max_s) * 1000;
    session->sess_s = least(hello.sess_s, limits->session_max_s);
    session->rx_max = hello.rx_max;
    session->half = hello.half;
    session_set_state(session, SESSION_READY);
    bool resumed = false;
    if (hello.id.ptr != NULL) resumed = take_id(session, hello.id, hello.clean);
    else make_id(session);
    session->has_own_id = hello.id.ptr != NULL;
    uint64_t last_pid = pids_begin(session, hello.boot);
    session_keep(session);
    will_forget_id(session->broker, session->id);
    inbox_open(session);
    session_keepalive(session);
    reply_welcome(session, &hello, resumed, last_pid);
    if (hello.will.ptr == NULL) return;
    char text[400];
    uint32_t code = will_set(session, &will, text, sizeof text);
    if (code != 0) reply_err(session, code, MPS_OP_HELLO, (mps_view){NULL, 0}, "%s", text);
}

void handle_AUTH(struct session *session, mps_view frame)
{
    struct mps_auth auth;
    const char *what;
    if (!frame_decoded(session, MPS_OP_AUTH, mps_decode_auth(frame, &auth, &what), &what)) return;
    reply_err(session, MPS_AUTH_REFRESH, MPS_OP_AUTH, (mps_view){NULL, 0}, "authentication is not available");
}

void handle_BYE(struct session *session, mps_view frame)
{
    struct mps_bye bye;
    const char *what;
    if (!frame_decoded(session, MPS_OP_BYE, mps_decode_bye(frame, &bye, &what), &what)) return;
    if (bye.code == MPS_OK) will_drop(session);
    if (bye.code == MPS_OK && !session->has_own_id) session_give_up(session); /* nobody will ask for it by name */
    session_end_gently(session, bye.code <= MPS_NOBODY_OR_WILL ? MPS_OK : SESSION_NO_BYE, NULL);
}

void handle_PING(struct session *session, mps_view frame)
{
    struct mps_token ping;
    const char *what;
    if (!frame_decoded(session, MPS_OP_PING, mps_decode_token(frame, &ping, &what), &what)) return;
    acks_flush(session); /* PONG says that everything before is processed */
    uint8_t room[MPS_SMALL_FRAME_MAX];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_pong(&out, &ping);
    reply_frame(session, &out);
}

void handle_PONG(struct session *session, mps_view frame)
{
    struct mps_token pong;
    const char *what;
    /* That something came is all it says. */
    frame_decoded(session, MPS_OP_PONG, mps_decode_token(frame, &pong, &what), &what);
}

/* ---- publishing -------------------------------------------------------------------------------------------- */

void handle_PUB(struct session *session, mps_view frame)
{
    struct mps_pub pub;
    const char *what;
    if (!frame_decoded(session, MPS_OP_PUB, mps_decode_pub(frame, &pub, &what), &what)) return;
    bool acknowledged = (pub.flags & MPS_PUB_LEVEL_MASK) != 0;
    if (acknowledged != (pub.pid > 0)) {
        session_byef(session, MPS_PID_ORDER,
                     acknowledged ? "PUB asks for an acknowledgement without a pid"
                                  : "PUB has a pid without asking for an acknowledgement");
        return;
    }
    if (acknowledged && session->next_pid > 0 && pub.pid != session->next_pid) {
        session_byef(session, MPS_PID_ORDER, "PUB has pid %llu, the next one is %llu", (unsigned long long)pub.pid,
                     (unsigned long long)session->next_pid);
        return;
    }
    if (acknowledged && session->next_pid == 0 && !pids_go_on(session, pub.pid)) return;
    session->terms = pub;
    if (acknowledged) session->next_pid = pub.pid;
}

/* A run of messages goes from input.c to publish.c without coming by here; the table wants every operation handled. */
void handle_MSG(struct session *session, mps_view frame)
{
    (void)frame;
    session_bye(session, MPS_INTERNAL, "a message was dispatched as a control frame");
}

/* ---- subscriptions ----------------------------------------------------------------------------------------- */

static mps_view sid_ref(uint32_t sid, uint8_t room[8])
{
    struct mps_out out = mps_out_open(room, 8);
    mps_put_uint(&out, sid);
    return mps_out_view(&out);
}

static const char no_subscription[] = "there is no subscription with this id";

static void reply_unavailable(struct session *session, enum mps_op op, uint32_t sid, const char *text)
{
    uint8_t room[8];
    reply_err(session, MPS_BAD_OPTION, op, sid_ref(sid, room), "%s", text);
}

void handle_UNSUB(struct session *session, mps_view frame)
{
    struct mps_unsub unsub;
    const char *what;
    if (!frame_decoded(session, MPS_OP_UNSUB, mps_decode_unsub(frame, &unsub, &what), &what)) return;
    struct mps_mark mark = {.sid = unsub.sid, .kind = MPS_MARK_ENDED, .has_counts = true};
    if (unsub.sid == 0) {
        reply_unavailable(session, MPS_OP_UNSUB, unsub.sid, "subscription 0, the inbox, can't be ended");
        return;
    }
    struct subscription *sub = subscription_find(session, unsub.sid);
    if (sub != NULL) {
        const struct mailbox *box = &sub->box;
        mark.sent = box->sent;
        mark.lost = box->lost + mailbox_waiting(box);
        session->broker->figures.copies_lost += mailbox_waiting(box);
        if (sub->group != NULL && sub->group->members_count == 1) group_forget_place(sub->group);
        subscription_end(sub);
    }
    if (session->held.sid == unsub.sid) session->held.sid = UINT32_MAX; /* if the sid comes again, it is said again */
    uint8_t room[MPS_SMALL_FRAME_MAX];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_mark(&out, &mark);
    reply_frame(session, &out);
}

void handle_STAT(struct session *session, mps_view frame)
{
    struct mps_stat asked;
    const char *what;
    if (!frame_decoded(session, MPS_OP_STAT, mps_decode_stat(frame, &asked, &what), &what)) return;
    struct subscription *sub = subscription_find(session, asked.sid);
    if (sub == NULL && asked.sid > 0) {
        reply_unavailable(session, MPS_OP_STAT, asked.sid, no_subscription);
        return;
    }
    static const struct mailbox unused_inbox;
    const struct mailbox *box = sub ? &sub->box : &unused_inbox;
    uint8_t room[MPS_SMALL_FRAME_MAX];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_stat(&out, &(struct mps_stat){.sid = asked.sid,
                                             .has_counts = true,
                                             .matched = box->matched,
                                             .sent = box->sent,
                                             .lost = box->lost,
                                             .queued = mailbox_waiting(box),
                                             .queued_bytes = box->queue.bytes});
    reply_frame(session, &out);
}

void handle_ACK(struct session *session, mps_view frame)
{
    struct mps_ack ack;
    const char *what;
    if (!frame_decoded(session, MPS_OP_ACK, mps_decode_ack(frame, &ack, &what), &what)) return;
    struct subscription *sub = subscription_find(session, ack.sid);
    struct cursor *cursor = sub != NULL ? subscription_cursor(sub) : NULL;
    struct reading *reading = cursor != NULL ? cursor_reading(cursor, ack.stream) : NULL;
    const char *wrong = no_subscription;
    if (reading != NULL) wrong = pending_ack(reading, &ack, sub);
    else if (sub != NULL) wrong = "the subscription reads no stream of this number";
    if (wrong != NULL) reply_unavailable(session, MPS_OP_ACK, ack.sid, wrong);
}

void handle_CREDIT(struct session *session, mps_view frame)
{
    struct mps_credit credit;
    const char *what;
    if (!frame_decoded(session, MPS_OP_CREDIT, mps_decode_credit(frame, &credit, &what), &what)) return;
    struct subscription *sub = subscription_find(session, credit.sid);
    if (sub == NULL || credit.sid == 0)
        reply_unavailable(session, MPS_OP_CREDIT, credit.sid, credit.sid ? no_subscription : "the inbox has no credit");
    else subscription_add_credit(sub, credit.max_msgs, credit.drain);
}
