/* What clients do, frame by frame, at the moment when the broker gets it. */
#include <stdio.h>
#include <string.h>

#include "model.h"

#define ERRS_A_SECOND 10  /* of refused MSGs without a pid, by the broker's clock */
#define SHARE_FRAMES 128  /* of those that cost nothing: more are a flood, and nothing else goes with them, */
#define SHARE_ANSWERS 512 /* nor behind so many that are not read: at about 64 KiB the broker works on nothing more */

static void do_hello(struct conn *conn, const struct action *action)
{
    if (action->code != 0) {
        model_die(conn, action->code);
        return;
    }
    struct model *model = conn->model;
    for (int i = 0; i < WORLD_LINKS_MAX && action->name.len > 0; i++) {
        struct conn *other = &model->conns[i];
        bool alive = other != conn && other->link != NULL && other->link->session != NULL;
        if (alive && other->state != CONN_NEW && name_equal(&other->id, &action->name))
            model_die(other, MPS_TAKEN_OVER);
    }
    wills_client_back(model, &action->name);
    conn->state = CONN_READY;
    conn->id = action->name;
    conn->rx_max = action->rx_max;
    conn->half = action->half;
    wills_hello(conn, &action->will);
    uint32_t ka_s = action->ka_s < model->limits.keepalive_max_s ? action->ka_s : model->limits.keepalive_max_s;
    conn->ka_ms = 1000 * ka_s;
    struct want *welcome = want_answer(conn, WANT_WELCOME);
    welcome->ka_asked = action->ka_s;
    welcome->ka_granted = ka_s;
    if (action->will_code != 0) want_err(conn, action->will_code, MPS_OP_HELLO);
    subs_add_inbox(conn);
}

static void do_pub(struct conn *conn, const struct action *action)
{
    uint32_t level = (action->flags & MPS_PUB_LEVEL_MASK) >> MPS_PUB_LEVEL_SHIFT;
    bool wrong =
        (action->pid == 0) != (level == 0) || (action->pid > 0 && conn->next_pid > 0 && action->pid != conn->next_pid);
    if (wrong) {
        model_die(conn, MPS_PID_ORDER);
        return;
    }
    conn->flags = action->flags;
    conn->pid = action->pid;
    if (action->pid > 0) conn->next_pid = action->pid;
}

static void refuse_msg(struct conn *conn, uint32_t code)
{
    if (conn->pid > 0) {
        want_puback(conn, code);
        return;
    }
    uint64_t second = conn->model->world->now_ms / 1000;
    if (second != conn->errs_second) conn->errs_count = 0;
    conn->errs_second = second;
    if (conn->errs_count++ < ERRS_A_SECOND) want_err(conn, code, MPS_OP_MSG);
}

static uint32_t why_refused(struct conn *conn, const struct action *action)
{
    uint32_t level = (conn->flags & MPS_PUB_LEVEL_MASK) >> MPS_PUB_LEVEL_SHIFT;
    if (action->code != 0) return action->code;
    bool to_inbox = strncmp(conn->model->messages[action->message].topic.text, "$inbox/", 7) == 0;
    if (to_inbox && (conn->flags & MPS_PUB_RETAIN)) return MPS_NOT_AUTHORISED;
    const struct name *topic = &conn->model->messages[action->message].topic;
    if (level > (log_of_topic(conn->model, topic) != NULL ? 2 : 1)) return MPS_ACK_LEVEL;
    if ((conn->flags & MPS_PUB_MUST_ROUTE) && routing_matched(conn->model, conn, action->message) == 0)
        return MPS_NOBODY;
    return 0;
}

/* Returns whether it was worked on; else it waits for room in a queue. */
static bool do_msg(struct conn *conn, const struct action *action)
{
    uint32_t code = why_refused(conn, action);
    if (code != 0) {
        refuse_msg(conn, code);
        return true;
    }
    if (routing_must_wait(conn, action->message)) return false;
    const struct message *message = &conn->model->messages[action->message];
    struct model_log *log = log_of_topic(conn->model, &message->topic);
    if (log != NULL && log_is_full(log, message->len)) {
        refuse_msg(conn, MPS_STREAM_FULL);
        return true;
    }
    bool sure = (conn->flags & MPS_PUB_LEVEL_MASK) >> MPS_PUB_LEVEL_SHIFT == 2;
    if (conn->flags & MPS_PUB_RETAIN) model_retain(conn->model, action->message);
    uint32_t entry = log != NULL ? log_append(log, action->message, sure, 0) : NO_ENTRY;
    struct routed routed = routing_push(conn->model, conn, action->message, 0);
    if (conn->pid == 0) return true;
    struct want_puback *puback = want_puback(conn, 0);
    puback->log = sure ? log : NULL;
    puback->entry = entry;
    puback->matched = routed.matched;
    puback->dropped_least = routed.dropped_least;
    puback->dropped_most = routed.dropped_most;
    return true;
}

static void do_ping(struct conn *conn, const struct action *action)
{
    struct want *answer = want_answer(conn, WANT_PONG);
    answer->token_len = action->token_len;
    memcpy(answer->token, action->token, action->token_len);
}

static void do_bye(struct conn *conn, const struct action *action)
{
    if (action->code == MPS_OK) wills_drop(conn);
    model_begin_ending(conn, action->code <= MPS_NOBODY_OR_WILL ? MPS_OK : NO_BYE);
}

static void trace(const struct conn *conn, const struct action *action)
{
    static const char *const names[] = {"HELLO",  "MSG", "PUB", "SUB",     "UNSUB",   "PING", "STAT",
                                        "CREDIT", "ACK", "BYE", "refused", "ignored", "fatal"};
    bool msg = action->kind == ACT_MSG && action->code == 0;
    fprintf(stderr, "  client %u >> %s sid %u %s%s", conn->number, names[action->kind], action->sid,
            msg ? conn->model->messages[action->message].topic.text : action->name.text,
            conn->state > CONN_READY ? " (too late)" : "");
    if (action->kind == ACT_PUB) fprintf(stderr, " pid %llu flags %x", ULL(action->pid), action->flags);
    if (msg) {
        const struct message *message = &conn->model->messages[action->message];
        fprintf(stderr, " #%u, %u bytes, key %x", action->message, message->len, message->key);
        if (message->ttl_ms != QUEUE_NO_TTL) fprintf(stderr, ", ttl %llu", ULL(message->ttl_ms));
    }
    if (action->kind == ACT_SUB) {
        const struct sub_options *o = &action->options;
        fprintf(stderr, " %s then %s, max_msgs %llu max_bytes %llu block_ms %llu retained %u%s%s%s%s%s",
                mps_policy_name(o->policy), mps_policy_name(o->then), ULL(o->max_msgs), ULL(o->max_bytes),
                ULL(o->block_ms), o->retained, o->no_local ? " no_local" : "", o->group[0] ? " group " : "", o->group,
                o->filter != NO_FILTER ? " filter " : "", o->filter != NO_FILTER ? filter_text(o->filter) : "");
        if (o->credit != UINT64_MAX) fprintf(stderr, " credit %llu", ULL(o->credit));
    }
    if (action->kind == ACT_SUB && reader_is_asked(&action->options)) {
        const struct sub_options *o = &action->options;
        fprintf(stderr, " from %s %llu", mps_from_name(o->from.kind), ULL(o->from.number));
        for (uint32_t i = 0; i < o->from.count; i++)
            fprintf(stderr, " %llu:%llu", ULL(o->from_positions[2 * i]), ULL(o->from_positions[2 * i + 1]));
        fprintf(stderr, " ack %s %llu ms, tries %llu, inflight %llu", mps_ack_mode_name(o->ack), ULL(o->ack_ms),
                ULL(o->max_tries), ULL(o->inflight));
    }
    if (action->kind == ACT_ACK)
        fprintf(stderr, " %llu:%llu kind %u delay %llu", ULL(action->stream), ULL(action->seq), action->ack_kind,
                ULL(action->delay_ms));
    if (action->kind == ACT_CREDIT) fprintf(stderr, " %llu%s", ULL(action->credit), action->drain ? " drain" : "");
    if (action->code != 0) fprintf(stderr, " code %u", action->code);
    fputc('\n', stderr);
}

/* Returns false if it is a message that must wait. */
static bool perform(struct conn *conn, const struct action *action)
{
    if (conn->model->trace && !conn->held) trace(conn, action);
    if (conn->state == CONN_ENDING || conn->state == CONN_DEAD) return true; /* what it says now comes too late */
    conn->model->frames_in++;
    switch (action->kind) {
    case ACT_HELLO: do_hello(conn, action); break;
    case ACT_MSG: return do_msg(conn, action);
    case ACT_PUB: do_pub(conn, action); break;
    case ACT_SUB: subs_do_sub(conn, action); break;
    case ACT_UNSUB: subs_do_unsub(conn, action); break;
    case ACT_PING: do_ping(conn, action); break;
    case ACT_STAT: subs_do_stat(conn, action); break;
    case ACT_CREDIT: subs_do_credit(conn, action); break;
    case ACT_ACK: readers_ack(conn, action); break;
    case ACT_BYE: do_bye(conn, action); break;
    case ACT_REFUSED: want_err(conn, action->code, action->op); break;
    case ACT_IGNORED: break;
    case ACT_FATAL: model_die(conn, action->code); break;
    }
    return true;
}

/* ---- held publishers ---- */

static uint32_t others_held(const struct conn *conn)
{
    uint32_t held = 0;
    for (int i = 0; i < WORLD_LINKS_MAX; i++) held += &conn->model->conns[i] != conn && conn->model->conns[i].held;
    return held;
}

static bool goes_ahead(const struct action *action)
{
    return action->kind == ACT_PING || action->kind == ACT_CREDIT || action->kind == ACT_ACK ||
           (action->kind == ACT_REFUSED && (action->op == MPS_OP_ACK || action->op == MPS_OP_CREDIT));
}

/* Frames behind a message that waits: some are worked on at once, up to the first that has to wait its turn. */
static void look_ahead(struct conn *conn)
{
    for (uint32_t i = conn->actions_next; i < conn->actions_count; i++) {
        struct action *action = &conn->actions[i];
        if (action->due > conn->link->delivered) return;
        bool message = action->kind == ACT_MSG && action->code != MPS_TOO_LARGE; /* that is told before it is whole */
        if (action->done || message || action->kind == ACT_PUB) continue;
        if (!goes_ahead(action)) return;
        action->done = true;
        bool held = conn->held;
        conn->held = false;
        perform(conn, action);
        conn->held = held && conn->state == CONN_READY;
    }
}

static void hold(struct conn *conn)
{
    if (!conn->held) {
        conn->held = true;
        conn->held_ms = conn->model->world->now_ms;
        conn->model->holds_out++;
        if (conn->model->trace) fprintf(stderr, "  client %u is held\n", conn->number);
    }
    conn->held_order = ++conn->model->holds;
    look_ahead(conn);
}

static void end_of_stream(struct conn *conn)
{
    conn->end_held = false;
    if (conn->state == CONN_NEW) model_die(conn, NO_BYE);
    if (conn->state == CONN_READY && !conn->half) model_begin_ending(conn, NO_BYE);
}

static void work_on(struct conn *conn)
{
    while (conn->actions_next < conn->actions_count) {
        struct action *action = &conn->actions[conn->actions_next];
        if (action->due > conn->link->delivered) break;
        if (!action->done && !perform(conn, action)) {
            hold(conn);
            return;
        }
        conn->held = false;
        conn->actions_next++;
    }
    if (conn->end_held) end_of_stream(conn);
}

static void wake(struct model *model, enum wake_round why)
{
    for (int i = 0; i < WORLD_LINKS_MAX; i++) {
        struct conn *conn = &model->conns[i];
        if (conn->link == NULL || !conn->held || conn->wake_round > 0) continue;
        uint32_t message = conn->actions[conn->actions_next].message;
        if (why == WAKE_TIME ? routing_time_is_up(conn, message) : !routing_is_full(conn, message))
            conn->wake_round = why;
    }
}

static struct conn *first_in_line(struct model *model, enum wake_round why)
{
    struct conn *first = NULL;
    for (int i = 0; i < WORLD_LINKS_MAX; i++) {
        struct conn *conn = &model->conns[i];
        if (conn->link == NULL || !conn->held || conn->wake_round != (uint32_t)why) continue;
        bool before = first == NULL || conn->held_ms < first->held_ms ||
                      (conn->held_ms == first->held_ms && conn->held_order < first->held_order);
        if (before) first = conn;
    }
    return first;
}

void actions_wake(struct model *model)
{
    wake(model, WAKE_ROOM);
}

void actions_resume(struct model *model)
{
    wake(model, WAKE_ROOM_NOW);
    wake(model, WAKE_TIME);
    for (enum wake_round why = WAKE_ROOM; why <= WAKE_TIME; why++) {
        for (struct conn *conn; (conn = first_in_line(model, why)) != NULL;) {
            conn->wake_round = 0;
            work_on(conn);
        }
    }
}

void actions_deliver(struct link *link)
{
    struct conn *conn = link->owner;
    if (link->end_delivered) {
        conn->read_ended = true;
        conn->end_held = true;
        if (!conn->held) end_of_stream(conn);
        return;
    }
    conn->last_read_ms = conn->model->world->now_ms;
    conn->drawn_out = false;
    if (conn->held) look_ahead(conn);
    else work_on(conn);
}

void model_act(struct conn *conn, const struct action *action)
{
    GROW(conn->actions, conn->actions_count, conn->actions_cap);
    conn->actions[conn->actions_count++] = *action;
}

static size_t least_of(size_t a, uint64_t b)
{
    return a < b ? a : (size_t)b;
}

uint64_t model_work(const struct model *model, uint64_t payload_len, uint64_t filters)
{
    return model->live_subs + 8 + filters * (1 + payload_len / 16);
}

static uint64_t work_of(const struct model *model, const struct action *action, uint64_t filters)
{
    if (action->kind != ACT_MSG) return 0;
    return model_work(model, action->code == 0 ? model->messages[action->message].payload_len : 0, filters);
}

uint64_t model_filters(const struct model *model)
{
    uint64_t filters = 0;
    for (const struct model_sub *sub = model->subs; sub != NULL; sub = sub->next)
        filters += sub->live && sub->filter != NO_FILTER;
    return filters;
}

/* What is delivered and held is worked on at once, too, when its time comes: so that counts. A message that must not
 * come yet is delivered but for its last byte. */
size_t actions_share(const struct conn *conn, size_t most)
{
    uint64_t work = 0, filters = model_filters(conn->model), delivered = conn->link->delivered, end = delivered + most;
    uint32_t cheap = 0;
    bool unread = conn->wants_count - conn->wants_next > SHARE_ANSWERS;
    bool quiet = others_held(conn) >= conn->model->holds_most;
    for (uint32_t i = conn->actions_next; i < conn->actions_count && conn->actions[i].due <= end; i++) {
        const struct action *action = &conn->actions[i];
        bool first = work == 0, is_cheap = action->kind == ACT_PING || action->kind == ACT_IGNORED;
        work += work_of(conn->model, action, filters);
        if (action->due <= delivered) continue;
        cheap += is_cheap;
        bool too_much = (work > SHARE_WORK && !first) || quiet;
        if (action->kind == ACT_MSG && too_much) return least_of(most, action->due - 1 - delivered);
        if (!is_cheap && (cheap > SHARE_FRAMES || unread))
            return least_of(most, action->due - 1 - delivered); /* a flood */
    }
    return most;
}
