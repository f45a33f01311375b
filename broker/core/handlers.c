#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

#define SOFTWARE "pubsubd/" PUBSUB_VERSION

/* Whether the frame was well-formed; if not, says BYE. what: where the decoder that gave `code` put its complaint. */
static bool decoded(struct session *session, enum mps_op op, enum mps_code code, const char **what)
{
    if (code == MPS_OK) return true;
    session_byef(session, code, "malformed %s: %s", mps_op_name(op), *what);
    return false;
}

/* ---- HELLO ------------------------------------------------------------------------------------------------- */

static bool has_id(const struct hash_node *node, const void *key)
{
    return mps_view_equal(container_of(node, struct session, in_ids)->id, *(const mps_view *)key);
}

static void take_id(struct session *session, mps_view id)
{
    struct broker *broker = session->broker;
    uint64_t hash = hash_bytes(broker->seed, id.ptr, id.len);
    struct hash_node *node = hash_find(&broker->ids, hash, has_id, &id);
    if (node != NULL)
        session_byef(container_of(node, struct session, in_ids), MPS_TAKEN_OVER,
                     "another connection took over the client id '%s'", printable(id));
    uint8_t *own = malloc(id.len);
    if (own == NULL) abort(); /* at most MPS_ID_MAX bytes */
    memcpy(own, id.ptr, id.len);
    session->id = (mps_view){own, id.len};
    hash_add(&broker->ids, &session->in_ids, hash);
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
    take_id(session, (mps_view){name, sizeof name});
}

static void reply_welcome(struct session *session, const struct mps_hello *hello)
{
    const struct broker *broker = session->broker;
    uint8_t room[512];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_welcome(&out, &(struct mps_welcome){.version = MPS_PROTOCOL_VERSION,
                                                   .id = session->id,
                                                   .epoch = broker->epoch,
                                                   .ka_s = session->ka_ms / 1000,
                                                   .has_sess = hello->sess_s > 0,
                                                   .max_payload = broker->limits.max_payload,
                                                   .max_topic = MPS_TOPIC_MAX,
                                                   .max_subs = broker->limits.max_subs_count,
                                                   .pub_window = broker->limits.pub_window_count,
                                                   .ack = 1,
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

void handle_HELLO(struct session *session, mps_view frame)
{
    struct mps_hello hello;
    const char *what;
    if (session->state != SESSION_NEW) {
        session_bye(session, MPS_STATE, "HELLO came a second time");
        return;
    }
    if (!decoded(session, MPS_OP_HELLO, mps_decode_hello(frame, &hello, &what), &what) || !admits(session, &hello))
        return;
    const struct broker_limits *limits = &session->broker->limits;
    uint32_t ka_s = hello.ka_s < limits->keepalive_max_s ? hello.ka_s : limits->keepalive_max_s;
    session->ka_ms = ka_s * 1000;
    session->rx_max = hello.rx_max;
    session->half = hello.half;
    session_set_state(session, SESSION_READY);
    if (hello.id.ptr != NULL) take_id(session, hello.id);
    else make_id(session);
    session_keepalive(session);
    reply_welcome(session, &hello);
    if (hello.will.ptr != NULL)
        reply_err(session, MPS_BAD_OPTION, MPS_OP_HELLO, (mps_view){NULL, 0}, "option 'will' is not available");
}

void handle_AUTH(struct session *session, mps_view frame)
{
    struct mps_auth auth;
    const char *what;
    if (!decoded(session, MPS_OP_AUTH, mps_decode_auth(frame, &auth, &what), &what)) return;
    reply_err(session, MPS_AUTH_REFRESH, MPS_OP_AUTH, (mps_view){NULL, 0}, "authentication is not available");
}

void handle_BYE(struct session *session, mps_view frame)
{
    struct mps_bye bye;
    const char *what;
    if (!decoded(session, MPS_OP_BYE, mps_decode_bye(frame, &bye, &what), &what)) return;
    session_end_gently(session, bye.code <= MPS_NOBODY_OR_WILL ? MPS_OK : SESSION_NO_BYE, NULL);
}

void handle_PING(struct session *session, mps_view frame)
{
    struct mps_token ping;
    const char *what;
    if (!decoded(session, MPS_OP_PING, mps_decode_token(frame, &ping, &what), &what)) return;
    reply_acks(session); /* PONG says that everything before is processed */
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
    decoded(session, MPS_OP_PONG, mps_decode_token(frame, &pong, &what), &what);
}

/* ---- publishing -------------------------------------------------------------------------------------------- */

void handle_PUB(struct session *session, mps_view frame)
{
    struct mps_pub pub;
    const char *what;
    if (!decoded(session, MPS_OP_PUB, mps_decode_pub(frame, &pub, &what), &what)) return;
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
    session->terms = pub;
    if (acknowledged) session->next_pid = pub.pid;
}

/* A run of messages goes from input.c to publish.c without coming by here; the table wants every operation handled. */
void handle_MSG(struct session *session, mps_view frame)
{
    (void)frame;
    session_bye(session, MPS_INTERNAL, "a message was dispatched as a control frame");
}

/* ---- subscribing ------------------------------------------------------------------------------------------- */

static mps_view sid_ref(uint32_t sid, uint8_t room[8])
{
    struct mps_out out = mps_out_open(room, 8);
    mps_put_uint(&out, sid);
    return mps_out_view(&out);
}

static void reply_unavailable(struct session *session, enum mps_op op, uint32_t sid, const char *text)
{
    uint8_t room[8];
    reply_err(session, MPS_BAD_OPTION, op, sid_ref(sid, room), "%s", text);
}

static void reply_suback(struct session *session, const struct mps_suback *suback)
{
    uint8_t room[512];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_suback(&out, suback);
    reply_frame(session, &out);
}

static void refuse_sub(struct session *session, uint32_t sid, uint32_t code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void refuse_sub(struct session *session, uint32_t sid, uint32_t code, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    reply_suback(session, &(struct mps_suback){.sid = sid, .code = code, .text = mps_text(text)});
}

/* The first option that asks for something that isn't there, and the code for it; NULL: none. */
static const char *unavailable_option(const struct mps_sub_options *o, uint32_t *code)
{
    mps_view from_new = mps_text("\xa3new");
    *code = MPS_BAD_OPTION;
    if ((o->given & MPS_SUB_POLICY) && o->policy != MPS_POLICY_DROP_OLD) return "policy";
    if ((o->given & MPS_SUB_ACK) && o->ack != MPS_ACK_NONE) return "ack";
    if (o->given & MPS_SUB_BLOCK_MS) return "block_ms";
    if (o->given & MPS_SUB_THEN) return "then";
    if (o->given & MPS_SUB_ACK_MS) return "ack_ms";
    if (o->given & MPS_SUB_MAX_TRIES) return "max_tries";
    if (o->given & MPS_SUB_INFLIGHT) return "inflight";
    if (o->given & MPS_SUB_CREDIT) return "credit";
    if (o->given & MPS_SUB_GROUP) return "group";
    if (o->no_local) return "no_local";
    if (o->durable) return "durable";
    *code = MPS_BAD_FILTER;
    if (o->given & MPS_SUB_FILTER) return "filter";
    *code = MPS_NO_HISTORY;
    if ((o->given & MPS_SUB_FROM) && !mps_view_equal(o->from, from_new)) return "from";
    return NULL;
}

/* Whether nobody but its owner may subscribe to this. */
static bool is_inbox(mps_view pattern)
{
    static const char inbox[] = "$inbox";
    size_t len = sizeof inbox - 1;
    return pattern.len >= len && memcmp(pattern.ptr, inbox, len) == 0 &&
           (pattern.len == len || pattern.ptr[len] == '/');
}

/* Whether the SUB can be granted; if not, answers why. */
static bool grants(struct session *session, const struct mps_sub *in, enum mps_code code, const char *what,
                   const struct subscription *sub)
{
    uint32_t unavailable_code;
    const char *unavailable = unavailable_option(&in->options, &unavailable_code);
    const char *wrong = mps_pattern_error(in->pattern);
    uint32_t max_subs = session->broker->limits.max_subs_count;
    if (in->sid == 0 || in->sid > MPS_SID_MAX)
        refuse_sub(session, in->sid, MPS_BAD_OPTION, "subscription id %u is not from 1 to %u", in->sid, MPS_SID_MAX);
    else if (wrong != NULL)
        refuse_sub(session, in->sid, MPS_BAD_TOPIC, "bad pattern '%s': %s", printable(in->pattern), wrong);
    else if (code != MPS_OK) refuse_sub(session, in->sid, code, "option '%s' has a value that is not allowed", what);
    else if (is_inbox(in->pattern))
        refuse_sub(session, in->sid, MPS_NOT_AUTHORISED, "may not subscribe to '%s': inboxes belong to their clients",
                   printable(in->pattern));
    else if (unavailable != NULL)
        refuse_sub(session, in->sid, unavailable_code, "option '%s' asks for something that is not available",
                   unavailable);
    else if (sub != NULL && !mps_view_equal(subscription_pattern(sub), in->pattern))
        refuse_sub(session, in->sid, MPS_SID_IN_USE, "subscription id %u is in use with the pattern '%s'", in->sid,
                   printable(subscription_pattern(sub)));
    else if (sub == NULL && session->subs.count >= max_subs)
        refuse_sub(session, in->sid, MPS_TOO_MANY_SUBS, "the limit of %u subscriptions of a connection is reached",
                   max_subs);
    else return true;
    return false;
}

/* Sets the queue's limits; notes in *granted what isn't as asked. */
static void grant_limits(struct subscription *sub, const struct mps_sub_options *asked, struct mps_sub_options *granted)
{
    const struct broker_limits *limits = &sub->session->broker->limits;
    uint64_t msgs = asked->given & MPS_SUB_MAX_MSGS ? asked->max_msgs : limits->queue_msgs_count;
    uint64_t bytes = asked->given & MPS_SUB_MAX_BYTES ? asked->max_bytes : limits->queue_bytes;
    *granted = (struct mps_sub_options){.max_msgs = limits->queue_msgs_cap_count, .max_bytes = limits->queue_bytes_cap};
    if (msgs > granted->max_msgs) granted->given |= MPS_SUB_MAX_MSGS;
    else granted->max_msgs = msgs;
    if (bytes > granted->max_bytes) granted->given |= MPS_SUB_MAX_BYTES;
    else granted->max_bytes = bytes;
    subscription_set_limits(sub, granted->max_msgs, granted->max_bytes);
}

void handle_SUB(struct session *session, mps_view frame)
{
    struct mps_sub in;
    const char *what;
    enum mps_code code = mps_decode_sub(frame, &in, &what);
    if (code != MPS_BAD_OPTION && !decoded(session, MPS_OP_SUB, code, &what)) return;
    struct subscription *sub = subscription_find(session, in.sid);
    if (!grants(session, &in, code, what, sub)) return;
    bool is_new = sub == NULL;
    if (is_new) sub = subscription_new(session, in.sid, in.pattern);
    struct mps_suback suback = {.sid = in.sid};
    grant_limits(sub, &in.options, &suback.granted);
    reply_suback(session, &suback);
    bool wants_values = in.options.retained == 0 || (in.options.retained == 1 && is_new);
    if (wants_values) {
        subscription_begin_snapshot(sub);
    } else if (in.options.retained == 1 && !sub->snapshot.active) { /* one that is under way answers this SUB, too */
        subscription_begin_snapshot(sub);
        snapshot_skip(&sub->snapshot); /* only the MARK */
    }
}

void handle_UNSUB(struct session *session, mps_view frame)
{
    struct mps_unsub unsub;
    const char *what;
    if (!decoded(session, MPS_OP_UNSUB, mps_decode_unsub(frame, &unsub, &what), &what)) return;
    struct mps_mark mark = {.sid = unsub.sid, .kind = MPS_MARK_ENDED, .has_counts = true};
    struct subscription *sub = subscription_find(session, unsub.sid);
    if (sub != NULL) {
        mark.sent = sub->sent;
        mark.lost = sub->lost + sub->queue.msgs;
        session->broker->figures.copies_lost += sub->queue.msgs;
        subscription_free(sub);
    }
    if (session->for_sid == unsub.sid) session->for_sid = UINT32_MAX; /* if the sid comes again, it is said again */
    uint8_t room[MPS_SMALL_FRAME_MAX];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_mark(&out, &mark);
    reply_frame(session, &out);
}

void handle_STAT(struct session *session, mps_view frame)
{
    struct mps_stat asked;
    const char *what;
    if (!decoded(session, MPS_OP_STAT, mps_decode_stat(frame, &asked, &what), &what)) return;
    const struct subscription *sub = subscription_find(session, asked.sid);
    if (sub == NULL) {
        reply_unavailable(session, MPS_OP_STAT, asked.sid, "there is no subscription with this id");
        return;
    }
    uint8_t room[MPS_SMALL_FRAME_MAX];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_stat(&out, &(struct mps_stat){.sid = sub->sid,
                                             .has_counts = true,
                                             .matched = sub->matched,
                                             .sent = sub->sent,
                                             .lost = sub->lost,
                                             .queued = sub->queue.msgs,
                                             .queued_bytes = sub->queue.bytes});
    reply_frame(session, &out);
}

void handle_ACK(struct session *session, mps_view frame)
{
    struct mps_ack ack;
    const char *what;
    if (!decoded(session, MPS_OP_ACK, mps_decode_ack(frame, &ack, &what), &what)) return;
    reply_unavailable(session, MPS_OP_ACK, ack.sid, "no subscription of this connection is acknowledged");
}

void handle_CREDIT(struct session *session, mps_view frame)
{
    struct mps_credit credit;
    const char *what;
    if (!decoded(session, MPS_OP_CREDIT, mps_decode_credit(frame, &credit, &what), &what)) return;
    reply_unavailable(session, MPS_OP_CREDIT, credit.sid, "no subscription of this connection works by credit");
}
