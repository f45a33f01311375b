#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit.h"
#include "away.h"
#include "cluster/scope.h"
#include "pids.h"
#include "spill.h"
#include "sure.h"
#include "trace.h"

bool frame_decoded(struct session *session, enum mps_op op, enum mps_code code, const char **what)
{
    if (code == MPS_OK) return true;
    session_byef(session, code, "malformed %s: %s", mps_op_name(op), *what);
    return false;
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
        struct mailbox *box = &sub->box;
        if (sub->awaits != NULL) scope_answer(sub);
        mark.sent = box->sent;
        mark.lost = box->lost + mailbox_waiting(box);
        session->broker->figures.copies_lost += mailbox_waiting(box);
        log_subscription(session, EVENT_UNSUBSCRIBE, subscription_pattern(sub));
        if (sub->group != NULL && sub->group->members_count == 1) group_forget_place(sub->group);
        if (session->broker->tracing != NULL) trace_unsubscribed(box);
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
