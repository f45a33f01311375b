#include "identity.h"
#include "account.h"
#include "away.h"
#include "cluster/records.h"
#include "sure.h"
#include "trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long a proof may take to be checked: others may be before it. */
#define PROVING_MS 30000u
/* Retained values that are looked at in one turn: some milliseconds. */
#define RECHECKED_A_TURN 8192

void wipe(const void *bytes, size_t len)
{
    if (bytes != NULL && len > 0) explicit_bzero((void *)(uintptr_t)bytes, len);
}

/* ---- origins ------------------------------------------------------------------------------------------------- */

struct origin *origin_new(mps_view user, mps_view id)
{
    struct origin *origin = sure_alloc(sizeof *origin);
    origin->refs = 1;
    origin->user_len = (uint8_t)user.len;
    origin->id_len = (uint8_t)id.len;
    if (user.len > 0) memcpy(origin->user, user.ptr, user.len);
    memcpy(origin->id, id.ptr, id.len);
    return origin;
}

struct origin *origin_ref(struct origin *origin)
{
    if (origin != NULL) origin->refs++;
    return origin;
}

void origin_unref(struct origin *origin)
{
    if (origin != NULL && --origin->refs == 0) free(origin);
}

bool origin_may_follow(const struct origin *left, mps_view user)
{
    return left == NULL || left->user_len == 0 || mps_view_equal(origin_user(left), user);
}

struct grant *origin_grant(struct broker *broker, const struct origin *origin)
{
    mps_view nobody = {NULL, 0};
    if (origin == NULL) return grant_new(broker->access, nobody, nobody, 0);
    return grant_new(broker->access, origin_user(origin), origin_id(origin), 0);
}

void origin_put(struct mps_out *out, const struct origin *origin)
{
    mps_put_text(out, origin != NULL && origin->user_len > 0 ? origin_user(origin) : mps_text(""));
    mps_put_text(out, origin != NULL ? origin_id(origin) : mps_text(""));
}

struct origin *origin_read(struct mps_reader *r)
{
    char name[ACCESS_NAME_MAX + 1];
    mps_view user = mps_read_text(r, "user"), id = mps_read_text(r, "id");
    if (r->bad != NULL || id.len == 0 || mps_id_error(id) != NULL || user.len > ACCESS_NAME_MAX) return NULL;
    snprintf(name, sizeof name, "%.*s", (int)user.len, (const char *)user.ptr);
    if (user.len == 0) user = (mps_view){NULL, 0};
    else if (access_name_error(name) != NULL) return NULL;
    return origin_new(user, id);
}

/* ---- who it is ----------------------------------------------------------------------------------------------- */

static const char name_of_none[] = "none";

static struct peer peer_of(const struct session *session)
{
    struct peer peer = {.kind = (enum peer_kind)session->peer_kind, .uid = session->uid, .gid = session->gid};
    if (session->certificate != NULL) peer.certificate = *session->certificate;
    return peer;
}

/* The user that the connection itself shows it to be; "": none. */
static void user_of_peer(const struct session *session, char user[ACCESS_NAME_MAX + 1])
{
    const struct access *access = session->broker->access;
    user[0] = '\0';
    if (access == NULL || access->users_count == 0) return;
    struct peer peer = peer_of(session);
    const struct access_user *found = access_user_of_peer(access, &peer);
    if (found != NULL) strcpy(user, found->name);
}

static bool ask_peer(struct session *session, bool by_certificate)
{
    user_of_peer(session, session->user);
    if (by_certificate && session->certificate == NULL) {
        session_bye(session, MPS_AUTH, "authentication by 'cert' needs a TLS connection with a client's certificate");
    } else if (by_certificate && session->user[0] == '\0') {
        session_bye(session, MPS_AUTH, "the client's certificate is not that of a user");
    } else if (session->user[0] == '\0' && session->needs_identity) {
        session_bye(session, MPS_AUTH, "nobody is served here without authentication, and there was none");
    } else {
        return true;
    }
    return false;
}

static void refuse_unchecked(struct session *session, enum verify_answer answer, mps_view method)
{
    switch (answer) {
    case VERIFY_UNAVAILABLE:
        session_byef(session, MPS_AUTH, "authentication by '%s' is not available", printable(method));
        break;
    case VERIFY_BUSY:
        session_bye(session, MPS_TOO_MANY, "too many passwords are being checked, try again later");
        break;
    case VERIFY_LIMITED: session_bye(session, MPS_AUTH, "there were too many failed attempts, try again later"); break;
    case VERIFY_NO_MEMORY:
        session_bye(session, MPS_INTERNAL, "there is no memory to check a password at the moment, try again later");
        break;
    case VERIFY_DONE:
    case VERIFY_LATER: break;
    }
}

static void refuse_proof(struct session *session, bool is_token)
{
    session_bye(session, MPS_AUTH, is_token ? "the token is not valid" : "the user or the password is wrong");
}

static void take_name(struct session *session, const struct verdict *verdict)
{
    snprintf(session->user, sizeof session->user, "%s", verdict->user);
    session->proof = verdict->proof;
}

static void begin_proving(struct session *session, mps_view frame)
{
    struct proving *proving = sure_alloc(sizeof *proving + frame.len);
    proving->len = frame.len;
    if (frame.len > 0) memcpy(proving->frame, frame.ptr, frame.len);
    session->proving = proving;
}

static bool ask_env(struct session *session, const struct mps_hello *hello, const struct proof *proof, mps_view frame)
{
    struct env *env = session->broker->env;
    struct verdict verdict = {.is_good = false};
    enum verify_answer answer = VERIFY_UNAVAILABLE;
    if (env->verify != NULL) answer = env->verify(env, session->link, session, proof, &verdict);
    if (answer == VERIFY_LATER) {
        begin_proving(session, frame);
        timer_set(&session->broker->timers, &session->timer, env->now_ms(env) + PROVING_MS);
        return false;
    }
    if (answer != VERIFY_DONE) {
        refuse_unchecked(session, answer, hello->auth);
        return false;
    }
    if (verdict.is_good) take_name(session, &verdict);
    else refuse_proof(session, proof->is_token);
    return verdict.is_good;
}

/* [user, password] */
static bool read_password(mps_view data, struct proof *proof)
{
    struct mps_reader r = mps_reader_open(data);
    uint32_t count = mps_read_array(&r, "data");
    mps_view user = mps_read_text(&r, "user"), password = mps_read_text(&r, "password");
    if (r.bad != NULL || count < 2) return false;
    *proof = (struct proof){.user = user.ptr, .user_len = user.len, .secret = password.ptr, .secret_len = password.len};
    return true;
}

static bool ask_password(struct session *session, const struct mps_hello *hello, mps_view frame)
{
    struct proof proof;
    const struct access *access = session->broker->access;
    bool is_plain = session->peer_kind == PEER_TCP && !session->is_loopback && !session->is_encrypted;
    if (hello->data.ptr == NULL || !read_password(hello->data, &proof)) {
        session_bye(session, MPS_AUTH, "authentication by 'password' needs 'data', an array of user and password");
    } else if (is_plain && (access == NULL || !access->plaintext_passwords)) {
        session_bye(session, MPS_AUTH, "passwords are not taken over a connection that is not encrypted");
    } else {
        return ask_env(session, hello, &proof, frame);
    }
    return false;
}

static bool ask_token(struct session *session, const struct mps_hello *hello, mps_view frame)
{
    struct mps_reader r = mps_reader_open(hello->data);
    mps_view token = hello->data.ptr != NULL ? mps_read_bin(&r, "data") : (mps_view){NULL, 0};
    if (token.ptr == NULL) {
        session_bye(session, MPS_AUTH, "authentication by 'token' needs 'data', the token as a bin");
        return false;
    }
    struct proof proof = {.is_token = true, .secret = token.ptr, .secret_len = token.len};
    return ask_env(session, hello, &proof, frame);
}

bool identity_ask(struct session *session, const struct mps_hello *hello, mps_view frame)
{
    mps_view method = hello->auth.ptr != NULL ? hello->auth : mps_text(name_of_none);
    bool is_known = false;
    if (mps_view_equal(method, mps_text(name_of_none))) is_known = ask_peer(session, false);
    else if (mps_view_equal(method, mps_text("cert"))) is_known = ask_peer(session, true);
    else if (mps_view_equal(method, mps_text("token"))) is_known = ask_token(session, hello, frame);
    else if (mps_view_equal(method, mps_text("password"))) is_known = ask_password(session, hello, frame);
    else refuse_unchecked(session, VERIFY_UNAVAILABLE, method);
    wipe(hello->data.ptr, hello->data.len); /* it lies in memory that is used again */
    return is_known;
}

static void refuse_refresh(struct session *session, const char *text)
{
    reply_err(session, MPS_AUTH_REFRESH, MPS_OP_AUTH, (mps_view){NULL, 0}, "%s", text);
}

static void take_refresh(struct session *session, const struct verdict *verdict)
{
    mps_view user = session->origin != NULL ? origin_user(session->origin) : (mps_view){NULL, 0};
    if (!verdict->is_good) refuse_refresh(session, "the token is not valid; what held before goes on to hold");
    else if (!mps_view_equal(user, mps_text(verdict->user)))
        refuse_refresh(session, "the token is another user's; what held before goes on to hold");
    else session->proof = verdict->proof;
}

void identity_ask_again(struct session *session, mps_view token)
{
    struct env *env = session->broker->env;
    struct verdict verdict = {.is_good = false};
    struct proof proof = {.is_token = true, .secret = token.ptr, .secret_len = token.len};
    enum verify_answer answer = VERIFY_UNAVAILABLE;
    if (session->proving != NULL) {
        refuse_refresh(session, "the token before is still being checked");
        return;
    }
    if (env->verify != NULL) answer = env->verify(env, session->link, session, &proof, &verdict);
    wipe(token.ptr, token.len);
    switch (answer) {
    case VERIFY_DONE: take_refresh(session, &verdict); break;
    case VERIFY_LATER: begin_proving(session, (mps_view){NULL, 0}); break;
    case VERIFY_UNAVAILABLE: refuse_refresh(session, "authentication by token is not available"); break;
    case VERIFY_BUSY:
    case VERIFY_NO_MEMORY:
    case VERIFY_LIMITED: refuse_refresh(session, "there were too many failed attempts, try again later"); break;
    }
}

static void free_proving(struct session *session)
{
    struct proving *proving = session->proving;
    session->proving = NULL;
    wipe(proving->frame, proving->len);
    free(proving);
}

void identity_forget_proof(struct session *session)
{
    struct env *env = session->broker->env;
    if (session->proving == NULL) return;
    free_proving(session);
    if (env->verify_forget != NULL) env->verify_forget(env, session);
}

/* What came behind the HELLO is worked on, be it the last that comes. So is a HELLO alone that asks for more than an
 * end. */
bool session_is_useless(const struct session *session)
{
    struct mps_hello hello;
    const char *what;
    if (session->state != SESSION_NEW || session->proving == NULL || session->stalled != NULL ||
        buffer_len(&session->kept) > 0)
        return false;
    mps_decode_hello((mps_view){session->proving->frame, session->proving->len}, &hello, &what);
    return !hello.half;
}

static void go_on_with_hello(struct session *session, const struct verdict *verdict)
{
    struct mps_hello hello;
    const char *what;
    mps_view frame = {session->proving->frame, session->proving->len};
    mps_decode_hello(frame, &hello, &what); /* accepted when it came */
    if (verdict->is_good) {
        struct proving *proving = session->proving;
        session->proving = NULL;
        take_name(session, verdict);
        hello_welcome(session, &hello);
        wipe(proving->frame, proving->len);
        free(proving);
        input_go_on(session);
        return;
    }
    bool is_token = mps_view_equal(hello.auth, mps_text("token"));
    free_proving(session);
    if (verdict->is_unchecked) refuse_unchecked(session, VERIFY_NO_MEMORY, hello.auth);
    else refuse_proof(session, is_token);
}

void session_verified(struct session *session, const struct verdict *verdict)
{
    struct verdict now = *verdict;
    struct access *access = session->broker->access;
    if (session->proving == NULL) return;
    if (access == NULL || !access_has_proof(access, now.proof)) now.is_good = false; /* taken back meanwhile */
    if (session->proving->len > 0) {
        go_on_with_hello(session, &now);
        return;
    }
    free_proving(session);
    take_refresh(session, &now);
}

/* ---- what it may --------------------------------------------------------------------------------------------- */

static void set_grant(struct session *session)
{
    const struct origin *origin = session->origin;
    unsigned extra = session->is_operator ? ACCESS_ADMIN | ACCESS_SYS : 0;
    grant_unref(session->grant);
    session->grant = grant_new(session->broker->access, origin_user(origin), origin_id(origin), extra);
}

void identity_set(struct session *session, mps_view user, mps_view id)
{
    origin_unref(session->origin);
    session->origin = origin_new(user, id);
    set_grant(session);
}

void identity_share(struct session *to, const struct session *from)
{
    identity_free(to);
    to->origin = origin_ref(from->origin);
    to->grant = grant_ref(from->grant);
    to->is_operator = from->is_operator;
}

void identity_free(struct session *session)
{
    identity_forget_proof(session);
    grant_unref(session->grant);
    origin_unref(session->origin);
    free(session->certificate);
    session->grant = NULL;
    session->origin = NULL;
    session->certificate = NULL;
}

void identity_judge(struct subscription *sub)
{
    const struct grant *grant = sub->session->grant;
    bool guarded = grant != NULL && sub->sid > 0 && !grant_subscribes(grant, subscription_pattern(sub));
    if (!guarded && !sub->box.is_guarded) return;
    if (sub->group != NULL) {
        sub->box.is_guarded = guarded;
        group_member_judged(sub);
        return;
    }
    mailbox_set_guarded(&sub->box, guarded);
    cursor_take_back(sub);
    if (sub->box.cursor != NULL) {
        cursor_filter_changed(sub->box.cursor);
        cursor_dirty(sub->box.cursor);
    }
    router_pattern_changed(sub->session->broker, subscription_pattern(sub)); /* a route may be plain no more */
}

void identity_judge_all(struct session *session)
{
    for (struct hash_node *node = hash_first(&session->subs); node != NULL; node = hash_next(&session->subs, node))
        identity_judge(container_of(node, struct subscription, in_subs));
}

/* ---- when it changes ----------------------------------------------------------------------------------------- */

/* Whether what let it in holds no more. Who is somebody else now by the connection itself becomes that one. */
static bool is_void(struct session *session)
{
    char user[ACCESS_NAME_MAX + 1];
    struct access *access = session->broker->access;
    if (session->proof != 0) return access == NULL || !access_has_proof(access, session->proof);
    user_of_peer(session, user);
    mps_view now = user[0] != '\0' ? mps_text(user) : (mps_view){NULL, 0};
    if (mps_view_equal(now, origin_user(session->origin))) return false;
    if (now.ptr == NULL && session->needs_identity) return true;
    struct origin *origin = origin_new(now, origin_id(session->origin));
    origin_unref(session->origin);
    session->origin = origin;
    account_close(session); /* it counts as another one now */
    account_open(session);
    session_keep(session);
    return false;
}

static void resolve(struct session *session)
{
    session->is_void = session->state == SESSION_READY && is_void(session);
    set_grant(session);
    identity_judge_all(session);
}

void broker_set_access(struct broker *broker, struct access *take_access)
{
    struct access *old = broker->access;
    broker->access = take_access;
    access_unref(old);
    for (struct session *session = broker->sessions; session != NULL; session = session->next)
        if (session->origin != NULL && session->state != SESSION_DEAD) resolve(session);
    /* A session stays in its place after BYE; the next one may be away, and end as what this one leaves is one too
     * many. */
    for (struct session *session = broker->sessions; session != NULL; session = session->next) {
        if (session->is_void)
            session_bye(session, MPS_AUTH, "what this connection was let in by is not valid any more");
        session->is_void = false;
    }
    if (broker->tracing != NULL) trace_access_changed(broker);
    identity_begin_recheck(broker);
}

void identity_begin_recheck(struct broker *broker)
{
    if (broker->access == NULL || !broker->access->restricts) snapshot_end(&broker->recheck);
    else snapshot_begin(&broker->recheck, &broker->retained, mps_text("#"));
}

bool identity_recheck(struct broker *broker)
{
    struct origin *last = NULL; /* values of one publisher mostly stand together */
    struct grant *grant = origin_grant(broker, NULL);
    for (int i = 0; i < RECHECKED_A_TURN; i++) {
        struct retained_value *value = snapshot_value(&broker->recheck);
        if (value == NULL) break;
        snapshot_pass(&broker->recheck, value, false);
        if (value->origin != last) {
            grant_unref(grant);
            grant = origin_grant(broker, value->origin);
            origin_unref(last);
            last = origin_ref(value->origin);
        }
        mps_view topic = {value->topic, value->len};
        if (grant == NULL || (grant_has(grant, ACCESS_RETAIN) && grant_publishes(grant, topic))) continue;
        if (broker->cluster != NULL) shared_retained_denied(broker->cluster, value);
        retained_forget(broker, topic);
    }
    grant_unref(grant);
    origin_unref(last);
    return snapshot_value(&broker->recheck) != NULL;
}
