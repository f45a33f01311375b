#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "account.h"
#include "audit.h"
#include "away.h"
#include "cluster/scope.h"
#include "identity.h"
#include "pids.h"
#include "sure.h"
#include "trace.h"

/* Text of a frame that BYE carries. */
#define BYE_TEXT_MAX 400
/* A session that has said its BYE after waiting in vain gets this much longer. */
#define LAST_MS 1000

static uint64_t now_ms(const struct session *session)
{
    struct env *env = session->broker->env;
    return env->now_ms(env);
}

struct session *session_alloc(struct broker *broker, enum session_state state)
{
    struct session *session = sure_zeroed(sizeof *session);
    session->broker = broker;
    session->state = state;
    session->held.sid = UINT32_MAX;
    session->next = broker->sessions;
    if (broker->sessions != NULL) broker->sessions->prev = session;
    broker->sessions = session;
    timer_init(&session->timer);
    timer_init(&session->hold_timer);
    session->held_since_ms = session->over_since_ms = UINT64_MAX;
    return session;
}

void session_unlink(struct session *session)
{
    sys_session_gone(session);
    report_session_gone(session);
    if (session->prev != NULL) session->prev->next = session->next;
    else session->broker->sessions = session->next;
    if (session->next != NULL) session->next->prev = session->prev;
}

struct session *session_new(struct broker *broker, struct link *link)
{
    if (broker->stopping || sure_is_short()) return NULL;
    if (broker->sessions_count >= broker->limits.max_sessions_count) {
        broker_note_refusal(broker, REFUSED_CONNECTIONS);
        return NULL;
    }
    struct session *session = session_alloc(broker, SESSION_NEW);
    session->link = link;
    broker->sessions_count++;
    session->last_read_ms = session->began_ms = now_ms(session);
    timer_set(&broker->timers, &session->timer, session->last_read_ms + broker->limits.handshake_ms);
    return session;
}

void session_accepted_at(struct session *session, uint64_t accepted_ms)
{
    timer_set(&session->broker->timers, &session->timer, accepted_ms + session->broker->limits.handshake_ms);
}

void session_set_peer(struct session *session, const struct peer *peer)
{
    session->is_operator = peer->is_own;
    session->uid = peer->uid;
    session->gid = peer->gid;
    session->peer_kind = (uint8_t)peer->kind;
    session->is_loopback = peer->is_loopback;
    session->is_encrypted = peer->is_encrypted;
    session->needs_identity = peer->needs_identity;
    char name[AUDIT_PEER_MAX];
    audit_peer_name(peer, name);
    session->peer_name = sure_text(name);
    if (peer->listener != NULL) session->listener = sure_text(peer->listener);
    if (!peer->certificate.is_given) return;
    session->certificate = sure_alloc(sizeof *session->certificate);
    *session->certificate = peer->certificate;
}

void session_set_state(struct session *session, enum session_state state)
{
    struct env *env = session->broker->env;
    assert(state > session->state);
    if (session->state == SESSION_READY && state != SESSION_CLOSING) audit(session, EVENT_DISCONNECT, 0, NULL);
    session->state = state;
    if (state == SESSION_READY && env->welcomed != NULL) env->welcomed(env, session->link);
}

void session_dirty(struct session *session)
{
    if (session->is_dirty || session->blocked || session->state == SESSION_DEAD) return;
    struct broker *broker = session->broker;
    session->is_dirty = true;
    session->next_dirty = NULL;
    if (broker->dirty_last != NULL) broker->dirty_last->next_dirty = session;
    else broker->dirty = session;
    broker->dirty_last = session;
}

void session_hold(struct session *session)
{
    if (session->is_held) return;
    struct broker *broker = session->broker;
    session->is_held = true;
    session->next_held = NULL;
    if (broker->held_last != NULL) broker->held_last->next_held = session;
    else broker->held = session;
    broker->held_last = session;
}

void session_forget_subs(struct session *session)
{
    session->active = session->active_last = NULL; /* all at once, instead of looking for each in the list */
    for (struct hash_node *node; (node = hash_any(&session->subs)) != NULL;) {
        struct subscription *sub = container_of(node, struct subscription, in_subs);
        sub->is_active = false;
        subscription_free(sub);
    }
    session->inbox = NULL;
}

void session_too_slow(struct session *session, const struct subscription *sub, bool msgs)
{
    if (session->slow_text != NULL || session->state != SESSION_READY) return;
    char text[BYE_TEXT_MAX];
    snprintf(text, sizeof text, "subscription %u to '%s' is too slow: its queue reached the limit of %llu %s", sub->sid,
             printable(subscription_pattern(sub)), (unsigned long long)(msgs ? sub->box.max_msgs : sub->box.max_bytes),
             msgs ? "messages (max_msgs)" : "bytes (max_bytes)");
    session->slow_text = sure_text(text);
    session->next_slow = session->broker->slow;
    session->broker->slow = session;
}

void session_close_slow(struct broker *broker)
{
    while (broker->slow != NULL) {
        struct session *session = broker->slow;
        broker->slow = session->next_slow;
        session_bye(session, MPS_SLOW_CONSUMER, session->slow_text);
        free(session->slow_text);
        session->slow_text = NULL;
    }
}

/* Neither the client's name nor its inbox leads here any more. */
static void leave_ids(struct session *session)
{
    inbox_close(session);
    if (session->broker->tracing != NULL) trace_session_gone(session);
    if (session->id.ptr == NULL) return;
    hash_remove(&session->broker->ids, &session->in_ids);
    free((uint8_t *)session->id.ptr);
    session->id = (mps_view){NULL, 0};
}

/* The link is gone or going: nothing can be sent or received any more. */
static void die(struct session *session)
{
    if (session->state == SESSION_DEAD) return;
    struct broker *broker = session->broker;
    session_set_state(session, SESSION_DEAD);
    input_forget(session);
    session_leave(session);
    session_forget_subs(session);
    group_session_gone(session);
    acks_free(session);
    pids_free(session);
    leave_ids(session);
    will_release(session);
    account_close(session);
    identity_free(session);
    timer_cancel(&broker->timers, &session->timer);
    buffer_free(&session->control);
    if (session->cut != NULL) run_unref(&broker->runs, session->cut);
    session->cut = NULL;
    free(session->bye_text);
    session->bye_text = NULL;
    session->link = NULL;
    session->next_dead = broker->dead;
    broker->dead = session;
}

void session_closed(struct session *session)
{
    die(session);
}

void session_drop_link(struct session *session)
{
    struct env *env = session->broker->env;
    struct link *link = session->link;
    die(session);
    if (link != NULL) env->close(env, link);
}

void session_turn_away(struct session *session, const char *text)
{
    struct env *env = session->broker->env;
    struct iovec bye;
    bye.iov_base = (void *)(uintptr_t)broker_full_frame(text, &bye.iov_len);
    audit(session, EVENT_REFUSE, MPS_TOO_MANY, text);
    /* Nothing was sent before, so that the link takes it as a rule. */
    if (session->state == SESSION_NEW) env->send(env, session->link, &bye, 1);
    session_drop_link(session);
}

void session_writable(struct session *session)
{
    if (session->state == SESSION_DEAD) return;
    session->blocked = false;
    cursors_unpark(session);
    session_dirty(session);
    group_session_ready(session);
    if (session->paused) session_hold(session); /* it reads our answers again */
}

/* From here on what comes in is thrown away. */
static void stop_listening(struct session *session)
{
    input_forget(session);
    if (session->paused && !session->read_ended) session->broker->env->reading(session->broker->env, session->link, 1);
    session->paused = false;
}

static void set_closing_timer(struct session *session, uint32_t wait_ms)
{
    timer_set(&session->broker->timers, &session->timer, now_ms(session) + wait_ms);
}

static void write_bye(struct session *session, uint32_t code, const char *text)
{
    uint8_t room[BYE_TEXT_MAX + 64];
    uint8_t info[32];
    struct mps_out out = mps_out_open(room, sizeof room), map = mps_out_open(info, sizeof info);
    struct mps_bye bye = {.code = code, .text = mps_text(text)};
    if (code == MPS_VERSION) {
        mps_put_map(&map, 2);
        mps_put_text(&map, mps_text("vmin"));
        mps_put_uint(&map, MPS_PROTOCOL_VERSION);
        mps_put_text(&map, mps_text("vmax"));
        mps_put_uint(&map, MPS_PROTOCOL_VERSION);
        bye.info = mps_out_view(&map);
    }
    mps_encode_bye(&out, &bye);
    reply_frame(session, &out);
}

static void say_bye(struct session *session, uint32_t code, const char *text, uint32_t wait_ms)
{
    acks_flush(session); /* what was taken before is answered before */
    stop_listening(session);
    identity_forget_proof(session);
    account_close(session);
    session_leave(session);
    session_forget_subs(session);
    group_session_gone(session);
    acks_free(session); /* nothing follows BYE */
    leave_ids(session);
    will_release(session);
    write_bye(session, code, text);
    session_set_state(session, SESSION_CLOSING);
    set_closing_timer(session, wait_ms);
}

static bool is_peers_fault(uint32_t code)
{
    return code >= MPS_MALFORMED && code <= MPS_AUTH && code != MPS_SHUTTING_DOWN;
}

void session_bye(struct session *session, uint32_t code, const char *text)
{
    if (session->state >= SESSION_CLOSING) return;
    if (is_peers_fault(code) || code == MPS_HANDSHAKE_TIMEOUT || code == MPS_BAD_CLIENT_ID) {
        session->broker->figures.protocol_errors++;
        if (!session->broker->limits.audit)
            log_say(session->broker, EVENT_PEER_CLOSED,
                    LOG_FIELDS(log_value("client", session->id), log_number("code", code)),
                    "closing client '%s': %u, %s", session->id.ptr ? printable(session->id) : "", code, text);
    }
    if (code == MPS_TAKEN_OVER) audit(session, EVENT_TAKEOVER, code, text);
    else if (code != MPS_SHUTTING_DOWN)
        audit(session, session->state == SESSION_NEW ? EVENT_REFUSE : EVENT_CLOSE, code, text);
    say_bye(session, code, text, session->broker->limits.closing_ms);
}

void session_byef(struct session *session, uint32_t code, const char *format, ...)
{
    char text[BYE_TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    session_bye(session, code, text);
}

/* Only what is queued is still due. */
static void detach_all(struct session *session)
{
    for (struct hash_node *node = hash_first(&session->subs); node != NULL; node = hash_next(&session->subs, node))
        subscription_detach(container_of(node, struct subscription, in_subs));
}

void session_end_gently(struct session *session, uint32_t code, const char *text)
{
    if (session->state >= SESSION_ENDING) return;
    session->bye_code = code;
    session->bye_text = text ? sure_text(text) : NULL;
    if (session->awaiting_count > 0) scope_answer_all(session);
    stop_listening(session);
    inbox_close(session);
    if (session->broker->tracing != NULL) trace_session_gone(session);
    session_set_state(session, SESSION_ENDING);
    if (session->sess_s > 0) session_leave_soon(session);
    else detach_all(session);
    set_closing_timer(session, session->broker->limits.closing_ms);
    session_dirty(session);
}

void session_finish_ending(struct session *session)
{
    uint32_t code = session->bye_code;
    if (code == SESSION_NO_BYE) {
        session_drop_link(session);
        return;
    }
    char *text = session->bye_text;
    session->bye_text = NULL;
    say_bye(session, code, text, session->broker->limits.closing_ms);
    free(text);
}

static void listen(struct session *session, bool on)
{
    if (session->paused == on) session->broker->env->reading(session->broker->env, session->link, on);
    session->paused = !on;
}

void session_read_end(struct session *session)
{
    if (session->state == SESSION_DEAD) return;
    session->read_ended = true;
    switch (session->state) {
    case SESSION_NEW: session_drop_link(session); break;
    case SESSION_READY:
        if (session->stalled != NULL) { /* everything received is processed first: input_resume() comes back here */
            listen(session, false);     /* not even to whether the peer is gone altogether */
            break;
        }
        input_forget(session);
        listen(session, true);
        if (session->half) timer_cancel(&session->broker->timers, &session->timer);
        else session_end_gently(session, SESSION_NO_BYE, NULL);
        break;
    case SESSION_ENDING: break;
    case SESSION_CLOSING:
        if (session->end_sent) session_drop_link(session);
        break;
    case SESSION_AWAY:
    case SESSION_DEAD: break;
    }
}

void session_keepalive(struct session *session)
{
    struct heap *timers = &session->broker->timers;
    if (session->ka_ms == 0 || session->read_ended) timer_cancel(timers, &session->timer);
    else timer_set(timers, &session->timer, session->last_read_ms + session->ka_ms + session->ka_ms / 2);
}

static void ready_timer_due(struct session *session, uint64_t now)
{
    /* Reading only notes the time, so the timer comes too early as a rule and is set again. */
    if (now - session->last_read_ms < session->ka_ms + session->ka_ms / 2 || session->paused) {
        if (session->paused) session->last_read_ms = now; /* it's us who don't read */
        session_keepalive(session);
        return;
    }
    session_byef(session, MPS_KEEPALIVE, "nothing was received for %u ms, one and a half times the keepalive of %u s",
                 session->ka_ms + session->ka_ms / 2, session->ka_ms / 1000);
}

void session_timer_due(struct session *session, uint64_t now)
{
    switch (session->state) {
    case SESSION_NEW:
        broker_note_refusal(session->broker, REFUSED_HANDSHAKE);
        if (session->proving != NULL) session_bye(session, MPS_HANDSHAKE_TIMEOUT, "the proof was not checked in time");
        else
            session_byef(session, MPS_HANDSHAKE_TIMEOUT, "no complete HELLO came within %u ms",
                         session->broker->limits.handshake_ms);
        break;
    case SESSION_READY: ready_timer_due(session, now); break;
    case SESSION_ENDING:
        if (session->bye_code == SESSION_NO_BYE) session_drop_link(session);
        else say_bye(session, session->bye_code, session->bye_text, LAST_MS);
        break;
    case SESSION_CLOSING: session_drop_link(session); break;
    case SESSION_AWAY: session_away_due(session); break;
    case SESSION_DEAD: break;
    }
}
