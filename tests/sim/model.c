#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERRS_A_SECOND 10 /* of refused MSGs without a pid, by the broker's clock */

void model_grow(void *items, uint32_t *cap, uint32_t count, size_t size)
{
    if (count < *cap) return;
    *cap = *cap ? 2 * *cap : 8;
    void *old, *new;
    memcpy(&old, items, sizeof old);
    new = realloc(old, *cap * size);
    if (new == NULL) abort();
    memcpy(items, &new, sizeof new);
}

/* ---- messages and retained values ---- */

uint32_t model_message(struct model *model, const uint8_t *bytes, uint32_t len, uint32_t payload_len,
                       const struct name *topic)
{
    GROW(model->messages, model->messages_count, model->messages_cap);
    struct message *message = &model->messages[model->messages_count];
    *message = (struct message){malloc(len), len, payload_len, *topic};
    if (message->bytes == NULL) abort();
    memcpy(message->bytes, bytes, len);
    return model->messages_count++;
}

static uint32_t find_retained(struct model *model, const struct name *topic)
{
    uint32_t i = 0;
    while (i < model->retained_count && !name_equal(&model->retained[i].topic, topic)) i++;
    if (i == model->retained_count) {
        GROW(model->retained, model->retained_count, model->retained_cap);
        model->retained[model->retained_count++] = (struct model_retained){.topic = *topic};
    }
    return i;
}

/* The value is another one now: snapshots that did not come to it yet must leave it out. */
static void mark_changed(struct model *model, uint32_t topic)
{
    for (struct model_sub *sub = model->subs; sub != NULL; sub = sub->next) {
        for (struct model_snapshot *s = sub->snapshots; s != NULL; s = s->next) {
            for (uint32_t i = 0; i < s->count; i++) {
                if (s->entries[i].topic != topic || s->entries[i].changed) continue;
                s->entries[i].changed = true;
                s->entries[i].changed_at = NOT_SEALED;
            }
        }
    }
}

void model_seal(struct model *model)
{
    for (struct model_sub *sub = model->subs; sub != NULL; sub = sub->next) {
        if (!sub->live) continue;
        for (struct model_snapshot *s = sub->snapshots; s != NULL; s = s->next) {
            for (uint32_t i = 0; i < s->count; i++)
                if (s->entries[i].changed_at == NOT_SEALED) s->entries[i].changed_at = sub->conn->link->taken;
        }
    }
}

static void retain(struct model *model, uint32_t message_index)
{
    const struct message *message = &model->messages[message_index];
    uint32_t topic = find_retained(model, &message->topic);
    if (message->payload_len == 0 && !model->retained[topic].set) return;
    model->retained[topic].set = message->payload_len > 0;
    model->retained[topic].message = message_index;
    mark_changed(model, topic);
}

static void begin_snapshot(struct model_sub *sub, bool with_values)
{
    struct model *model = sub->conn->model;
    struct model_snapshot *snapshot = calloc(1, sizeof *snapshot);
    if (snapshot == NULL) abort();
    snapshot->live_from = sub->count;
    snapshot->began_at = sub->conn->link->taken;
    uint32_t cap = 0;
    for (uint32_t i = 0; i < model->retained_count && with_values; i++) {
        if (!model->retained[i].set || !name_matches(&sub->pattern, &model->retained[i].topic)) continue;
        GROW(snapshot->entries, snapshot->count, cap);
        snapshot->entries[snapshot->count++] =
            (struct snapshot_entry){.topic = i, .message = model->retained[i].message};
        uint32_t rx_max = sub->conn->rx_max;
        sub->snapshot_too_large += rx_max > 0 && model->messages[model->retained[i].message].len > rx_max;
    }
    for (struct model_snapshot *s = sub->snapshots; s != NULL && with_values; s = s->next) s->superseded = true;
    snapshot->next = sub->snapshots;
    sub->snapshots = snapshot;
}

/* ---- answers ---- */

static struct want *want(struct conn *conn, enum want_kind kind)
{
    GROW(conn->wants, conn->wants_count, conn->wants_cap);
    conn->wants[conn->wants_count] = (struct want){.kind = kind};
    return &conn->wants[conn->wants_count++];
}

static void want_err(struct conn *conn, uint32_t code, uint32_t op)
{
    struct want *err = want(conn, WANT_ERR);
    err->code = code;
    err->op = op;
}

static struct want_puback *want_puback(struct conn *conn, uint32_t code)
{
    GROW(conn->pubacks, conn->pubacks_count, conn->pubacks_cap);
    struct want_puback *puback = &conn->pubacks[conn->pubacks_count++];
    *puback =
        (struct want_puback){.pid = conn->pid++, .code = code, .alone = code != 0 || (conn->flags & MPS_PUB_EACH)};
    conn->next_pid = conn->pid;
    return puback;
}

/* ---- the life of subscriptions and connections ---- */

struct model_sub *model_find_sub(const struct conn *conn, uint32_t sid)
{
    for (struct model_sub *sub = conn->model->subs; sub != NULL; sub = sub->next)
        if (sub->conn == conn && sub->live && sub->sid == sid) return sub;
    return NULL;
}

static void end_sub(struct model_sub *sub)
{
    sub->live = sub->matches = false;
    sub->conn->model->live_subs--;
}

void model_end_subs(struct conn *conn)
{
    for (struct model_sub *sub = conn->model->subs; sub != NULL; sub = sub->next)
        if (sub->conn == conn && sub->live) end_sub(sub);
}

static void die(struct conn *conn, uint32_t bye_code)
{
    if (conn->state == CONN_DEAD) return;
    if (conn->state == CONN_ENDING) conn->bye_or = conn->bye_due; /* it may be on its way */
    conn->state = CONN_DEAD;
    conn->bye_due = bye_code;
    conn->ending_ms = conn->model->world->now_ms;
    conn->all_due = false;
    model_end_subs(conn);
}

static void begin_ending(struct conn *conn, uint32_t bye_code)
{
    conn->state = CONN_ENDING;
    conn->bye_due = bye_code;
    conn->all_due = true;
    conn->ending_ms = conn->model->world->now_ms;
    for (struct model_sub *sub = conn->model->subs; sub != NULL; sub = sub->next)
        if (sub->conn == conn) sub->matches = false; /* what is queued is all that is still due */
}

void model_cut(struct conn *conn)
{
    conn->wants_next = conn->wants_count; /* nobody will read the answers */
    conn->pubacks_next = conn->pubacks_count;
    die(conn, NO_BYE);
}

void model_stop(struct model *model)
{
    for (int i = 0; i < WORLD_LINKS_MAX; i++) {
        struct conn *conn = &model->conns[i];
        if (conn->link == NULL || conn->link->session == NULL || conn->state >= CONN_ENDING) continue;
        if (conn->state == CONN_READY) want(conn, WANT_INFO);
        begin_ending(conn, MPS_SHUTTING_DOWN);
    }
}

void model_time(struct model *model)
{
    uint64_t now_ms = model->world->now_ms;
    for (int i = 0; i < WORLD_LINKS_MAX; i++) {
        struct conn *conn = &model->conns[i];
        if (conn->link == NULL || conn->link->session == NULL) continue;
        if (conn->state == CONN_NEW && now_ms - conn->opened_ms >= model->limits.handshake_ms)
            die(conn, MPS_HANDSHAKE_TIMEOUT);
        if (conn->state == CONN_READY && conn->ka_ms > 0 && !conn->read_ended &&
            now_ms - conn->last_read_ms >= conn->ka_ms + conn->ka_ms / 2)
            die(conn, MPS_KEEPALIVE);
        if (conn->state == CONN_ENDING && now_ms - conn->ending_ms >= model->limits.closing_ms) {
            conn->all_due = false;
            model_end_subs(conn);
        }
    }
}

/* ---- what clients do ---- */

static void do_hello(struct conn *conn, const struct action *action)
{
    if (action->code != 0) {
        die(conn, action->code);
        return;
    }
    struct model *model = conn->model;
    for (int i = 0; i < WORLD_LINKS_MAX && action->name.len > 0; i++) {
        struct conn *other = &model->conns[i];
        bool alive = other != conn && other->link != NULL && other->link->session != NULL;
        if (alive && other->state != CONN_NEW && name_equal(&other->id, &action->name)) die(other, MPS_TAKEN_OVER);
    }
    conn->state = CONN_READY;
    conn->id = action->name;
    conn->rx_max = action->rx_max;
    conn->half = action->half;
    uint32_t ka_s = action->ka_s < model->limits.keepalive_max_s ? action->ka_s : model->limits.keepalive_max_s;
    conn->ka_ms = 1000 * ka_s;
    struct want *welcome = want(conn, WANT_WELCOME);
    welcome->matched = action->ka_s;
    welcome->max_msgs = ka_s;
    if (action->will) want_err(conn, MPS_BAD_OPTION, MPS_OP_HELLO);
}

static void do_pub(struct conn *conn, const struct action *action)
{
    uint32_t level = (action->flags & MPS_PUB_LEVEL_MASK) >> MPS_PUB_LEVEL_SHIFT;
    bool wrong =
        (action->pid == 0) != (level == 0) || (action->pid > 0 && conn->next_pid > 0 && action->pid != conn->next_pid);
    if (wrong) {
        die(conn, MPS_PID_ORDER);
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

static void append(struct model_sub *sub, uint32_t message_index, struct want_puback *answer)
{
    uint32_t len = sub->conn->model->messages[message_index].len;
    GROW(sub->list, sub->count, sub->cap);
    sub->list[sub->count++] = message_index;
    sub->bytes_matched += len;
    bool over_rx = sub->conn->rx_max > 0 && len > sub->conn->rx_max;
    if (over_rx || len > sub->max_bytes) sub->too_large++;
    answer->matched++;
    if (over_rx) return;
    answer->dropped_least += len > sub->max_bytes;
    answer->dropped_most += len > sub->max_bytes || sub->conn->model->tight_session;
}

static void do_msg(struct conn *conn, const struct action *action)
{
    struct model *model = conn->model;
    uint32_t level = (conn->flags & MPS_PUB_LEVEL_MASK) >> MPS_PUB_LEVEL_SHIFT;
    if (action->code != 0 || level > 1) {
        refuse_msg(conn, action->code != 0 ? action->code : MPS_ACK_LEVEL);
        return;
    }
    const struct name topic = model->messages[action->message].topic;
    struct want_puback answer = {0};
    if (conn->flags & MPS_PUB_MUST_ROUTE) {
        bool somebody = false;
        for (struct model_sub *sub = model->subs; sub != NULL && !somebody; sub = sub->next)
            somebody = sub->matches && name_matches(&sub->pattern, &topic);
        if (!somebody) {
            refuse_msg(conn, MPS_NOBODY);
            return;
        }
    }
    for (struct model_sub *sub = model->subs; sub != NULL; sub = sub->next)
        if (sub->matches && name_matches(&sub->pattern, &topic)) append(sub, action->message, &answer);
    if (conn->flags & MPS_PUB_RETAIN) retain(model, action->message);
    if (conn->pid == 0) return;
    struct want_puback *puback = want_puback(conn, 0);
    puback->matched = answer.matched;
    puback->dropped_least = answer.dropped_least;
    puback->dropped_most = answer.dropped_most;
}

static uint64_t grant(uint64_t asked, uint64_t by_default, uint64_t cap)
{
    uint64_t wanted = asked > 0 ? asked : by_default;
    return wanted < cap ? wanted : cap;
}

static uint32_t count_subs(const struct conn *conn)
{
    uint32_t count = 0;
    for (const struct model_sub *sub = conn->model->subs; sub != NULL; sub = sub->next)
        count += sub->conn == conn && sub->live;
    return count;
}

static void do_sub(struct conn *conn, const struct action *action)
{
    struct model *model = conn->model;
    struct model_sub *sub = model_find_sub(conn, action->sid);
    struct want *answer = want(conn, WANT_SUBACK);
    answer->sid = action->sid;
    answer->code = action->code;
    if (answer->code == 0 && sub != NULL && !name_equal(&sub->pattern, &action->name)) answer->code = MPS_SID_IN_USE;
    if (answer->code == 0 && sub == NULL && count_subs(conn) >= model->limits.max_subs_count)
        answer->code = MPS_TOO_MANY_SUBS;
    if (answer->code != 0) return;
    bool is_new = sub == NULL;
    if (is_new) {
        sub = calloc(1, sizeof *sub);
        if (sub == NULL) abort();
        *sub = (struct model_sub){.conn = conn,
                                  .sid = action->sid,
                                  .pattern = action->name,
                                  .live = true,
                                  .matches = true,
                                  .next = model->subs};
        model->subs = sub;
        model->live_subs++;
    }
    answer->sub = sub;
    sub->max_msgs = grant(action->max_msgs, model->limits.queue_msgs_count, model->limits.queue_msgs_cap_count);
    uint64_t max_bytes_before = sub->max_bytes;
    sub->max_bytes = grant(action->max_bytes, model->limits.queue_bytes, model->limits.queue_bytes_cap);
    if (action->max_msgs > sub->max_msgs) answer->max_msgs = sub->max_msgs;
    if (action->max_bytes > sub->max_bytes) answer->max_bytes = sub->max_bytes;
    sub->limits_changed = true;
    sub->max_bytes_varied |= max_bytes_before > 0 && max_bytes_before != sub->max_bytes;
    if (action->retained < 2) begin_snapshot(sub, action->retained == 0 || is_new);
}

static void do_unsub(struct conn *conn, const struct action *action)
{
    struct want *answer = want(conn, WANT_ENDED);
    answer->sid = action->sid;
    answer->sub = model_find_sub(conn, action->sid);
    if (answer->sub == NULL) return;
    answer->matched = answer->sub->count;
    end_sub(answer->sub);
}

static void do_stat(struct conn *conn, const struct action *action)
{
    struct model_sub *sub = model_find_sub(conn, action->sid);
    if (sub == NULL) {
        want_err(conn, MPS_BAD_OPTION, MPS_OP_STAT);
        return;
    }
    struct want *answer = want(conn, WANT_STAT);
    answer->sid = action->sid;
    answer->sub = sub;
    answer->matched = sub->count;
}

static void do_ping(struct conn *conn, const struct action *action)
{
    struct want *answer = want(conn, WANT_PONG);
    answer->token_len = action->token_len;
    memcpy(answer->token, action->token, action->token_len);
}

static void perform(struct conn *conn, const struct action *action)
{
    static const char *const names[] = {"HELLO", "MSG", "PUB",     "SUB",     "UNSUB", "PING",
                                        "STAT",  "BYE", "refused", "ignored", "fatal"};
    if (conn->model->trace)
        fprintf(stderr, "  client %u >> %s sid %u %s retained %u%s\n", conn->number, names[action->kind], action->sid,
                action->kind == ACT_MSG && action->code == 0 ? conn->model->messages[action->message].topic.text
                                                             : action->name.text,
                action->retained, conn->state > CONN_READY ? " (too late)" : "");
    if (conn->state == CONN_ENDING || conn->state == CONN_DEAD) return; /* what it says now comes too late */
    conn->model->frames_in++;
    switch (action->kind) {
    case ACT_HELLO: do_hello(conn, action); break;
    case ACT_MSG: do_msg(conn, action); break;
    case ACT_PUB: do_pub(conn, action); break;
    case ACT_SUB: do_sub(conn, action); break;
    case ACT_UNSUB: do_unsub(conn, action); break;
    case ACT_PING: do_ping(conn, action); break;
    case ACT_STAT: do_stat(conn, action); break;
    case ACT_BYE: begin_ending(conn, action->code <= MPS_NOBODY_OR_WILL ? MPS_OK : NO_BYE); break;
    case ACT_REFUSED: want_err(conn, action->code, action->op); break;
    case ACT_IGNORED: break;
    case ACT_FATAL: die(conn, action->code); break;
    }
}

static void on_deliver(struct link *link)
{
    struct conn *conn = link->owner;
    if (link->end_delivered) {
        conn->read_ended = true;
        if (conn->state == CONN_NEW) die(conn, NO_BYE);
        if (conn->state == CONN_READY && !conn->half) begin_ending(conn, NO_BYE);
        return;
    }
    conn->last_read_ms = conn->model->world->now_ms;
    while (conn->actions_next < conn->actions_count && conn->actions[conn->actions_next].due <= link->delivered)
        perform(conn, &conn->actions[conn->actions_next++]);
}

void model_act(struct conn *conn, const struct action *action)
{
    GROW(conn->actions, conn->actions_count, conn->actions_cap);
    conn->actions[conn->actions_count++] = *action;
}

/* ---- open and close ---- */

void model_open(struct model *model, struct world *world, const struct broker_limits *limits)
{
    *model = (struct model){.world = world, .limits = *limits};
    world->on_bytes = stream_bytes;
    world->on_deliver = on_deliver;
}

struct conn *model_connect(struct model *model, uint32_t number, size_t room_max)
{
    int i = 0;
    while (i < WORLD_LINKS_MAX && model->conns[i].link != NULL) i++;
    if (i == WORLD_LINKS_MAX) return NULL;
    struct conn *conn = &model->conns[i];
    uint64_t now_ms = model->world->now_ms;
    *conn = (struct conn){.model = model,
                          .number = number,
                          .bye_due = NO_BYE,
                          .bye_or = NO_BYE,
                          .opened_ms = now_ms,
                          .last_read_ms = now_ms};
    uint32_t alive = 0;
    for (i = 0; i < WORLD_LINKS_MAX; i++)
        alive += model->conns[i].link != NULL && model->conns[i].link->session != NULL;
    conn->link = world_connect(model->world, room_max, conn);
    if (conn->link == NULL) return NULL;
    conn->refused = conn->link->session == NULL;
    if (conn->refused != (alive >= model->limits.max_sessions_count))
        CONN_FAIL(conn, "a session was %s while %u are there, the limit is %u", conn->refused ? "refused" : "accepted",
                  alive, model->limits.max_sessions_count);
    if (conn->refused) conn->state = CONN_DEAD;
    return conn;
}

static void free_sub(struct model_sub *sub)
{
    while (sub->snapshots != NULL) {
        struct model_snapshot *next = sub->snapshots->next;
        free(sub->snapshots->entries);
        free(sub->snapshots);
        sub->snapshots = next;
    }
    free(sub->list);
    free(sub);
}

void model_forget(struct conn *conn)
{
    model_cut(conn);
    for (struct model_sub **p = &conn->model->subs; *p != NULL;) {
        struct model_sub *sub = *p;
        if (sub->conn != conn) {
            p = &sub->next;
            continue;
        }
        *p = sub->next;
        free_sub(sub);
    }
    if (conn->link != NULL) world_release(conn->link);
    free(conn->actions);
    free(conn->partial);
    free(conn->wants);
    free(conn->pubacks);
    free(conn->notes);
    *conn = (struct conn){0};
}

void model_close(struct model *model)
{
    for (int i = 0; i < WORLD_LINKS_MAX; i++)
        if (model->conns[i].link != NULL) model_forget(&model->conns[i]);
    for (uint32_t i = 0; i < model->messages_count; i++) free(model->messages[i].bytes);
    free(model->messages);
    free(model->retained);
}
