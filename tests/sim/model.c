/* Connections, from their beginning to their end. */
#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* ---- ends ---- */

static void note_end(struct conn *conn, uint32_t bye_code)
{
    conn->bye_due = bye_code;
    conn->ending_ms = conn->model->world->now_ms;
    conn->held = conn->end_held = false;
}

void model_die(struct conn *conn, uint32_t bye_code)
{
    if (conn->state == CONN_DEAD) return;
    if (conn->state == CONN_ENDING) conn->bye_or = conn->bye_due; /* it may be on its way */
    conn->state = CONN_DEAD;
    pubacks_end(conn);
    note_end(conn, bye_code);
    conn->all_due = false;
    subs_end(conn);
    wills_due(conn);
}

void model_begin_ending(struct conn *conn, uint32_t bye_code)
{
    conn->state = CONN_ENDING;
    note_end(conn, bye_code);
    conn->all_due = true;
    subs_detach(conn); /* what is queued is all that is still due */
}

/* Everything is written to a connection that is ending: with the BYE or the end that follow, its will is due. */
static void end_written(struct model *model)
{
    for (int i = 0; i < WORLD_LINKS_MAX; i++) {
        struct conn *conn = &model->conns[i];
        bool written = conn->link != NULL && !conn->link->refused && !conn->link->broken &&
                       conn->pubacks_next == conn->pubacks_count;
        if (written && conn->state == CONN_ENDING) wills_due(conn);
    }
}

void model_cut(struct conn *conn)
{
    conn->wants_next = conn->wants_count; /* nobody will read the answers */
    conn->pubacks_next = conn->pubacks_count;
    model_die(conn, NO_BYE);
}

/* The one that came last before this one. */
static struct conn *next_newest(struct model *model, const struct conn *than)
{
    struct conn *newest = NULL;
    for (int i = 0; i < WORLD_LINKS_MAX; i++) {
        struct conn *conn = &model->conns[i];
        if (conn->link == NULL || conn->link->session == NULL || (than != NULL && conn->number >= than->number))
            continue;
        if (newest == NULL || conn->number > newest->number) newest = conn;
    }
    return newest;
}

void model_stop(struct model *model)
{
    model->stopping = true;
    for (struct conn *conn = NULL; (conn = next_newest(model, conn)) != NULL;) {
        if (conn->state >= CONN_ENDING) continue;
        if (conn->state == CONN_READY) want_answer(conn, WANT_INFO);
        model_begin_ending(conn, MPS_SHUTTING_DOWN);
    }
}

/* ---- time ---- */

void model_time(struct model *model)
{
    uint64_t now_ms = model->world->now_ms;
    for (int i = 0; i < WORLD_LINKS_MAX; i++) {
        struct conn *conn = &model->conns[i];
        if (conn->link == NULL || conn->link->session == NULL) continue;
        if (conn->state == CONN_NEW && now_ms - conn->opened_ms >= model->limits.handshake_ms)
            model_die(conn, MPS_HANDSHAKE_TIMEOUT);
        if (!conn->link->reading) conn->drawn_out = conn->was_drawn_out = true;
        if (conn->state == CONN_READY && conn->ka_ms > 0 && !conn->read_ended && !conn->drawn_out &&
            now_ms - conn->last_read_ms >= conn->ka_ms + conn->ka_ms / 2)
            model_die(conn, MPS_KEEPALIVE);
        if (conn->state == CONN_ENDING && now_ms - conn->ending_ms >= model->limits.closing_ms) {
            conn->all_due = false;
            subs_end(conn);
            wills_due(conn);
        }
    }
    model_expire_retained(model);
    logs_age(model);
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Not of keepalives: while the broker does not read from a publisher that it holds, their time is drawn out. */
static uint64_t conn_next_ms(struct conn *conn)
{
    if (conn->state == CONN_NEW) return conn->opened_ms + conn->model->limits.handshake_ms;
    if (conn->state != CONN_READY || !conn->held) return NOT_DUE;
    return routing_deadline_ms(conn, conn->actions[conn->actions_next].message);
}

uint64_t model_next_ms(struct model *model)
{
    uint64_t next_ms = NOT_DUE;
    for (int i = 0; i < WORLD_LINKS_MAX; i++) {
        struct conn *conn = &model->conns[i];
        if (conn->link != NULL && conn->link->session != NULL) next_ms = least(next_ms, conn_next_ms(conn));
    }
    for (uint32_t i = 0; i < model->wills_count; i++) next_ms = least(next_ms, model->wills[i].due_ms);
    for (uint32_t i = 0; i < model->topics_count; i++)
        if (model->topics[i].set) next_ms = least(next_ms, model->topics[i].dies_ms);
    return next_ms;
}

/* What broker_turn() does before it sends anything. */
static void before_turn(struct world *world)
{
    struct model *model = world->observer;
    model_time(model);
    wills_publish(model);
    subs_sweep(model);
    actions_resume(model);
    subs_close_overflowed(model);
}

static void after_turn(struct world *world)
{
    struct model *model = world->observer;
    subs_turned(model);
    budget_turned(model);
    end_written(model);
    actions_wake(model);
}

/* ---- the power goes ---- */

void model_crash(struct model *model, bool keep)
{
    if (model->trace) fprintf(stderr, "  the power goes, what was being committed is %s\n", keep ? "kept" : "lost");
    model->crashes++;
    for (int i = 0; i < WORLD_LINKS_MAX; i++)
        if (model->conns[i].link != NULL && model->conns[i].link->session != NULL) model_cut(&model->conns[i]);
    logs_crash(model, keep);
}

void model_restarted(struct model *model)
{
    model->started_ms = model->world->now_ms;
    logs_loaded(model);
}

/* ---- open and close ---- */

void model_open(struct model *model, struct world *world, const struct broker_limits *limits)
{
    *model = (struct model){.world = world, .limits = *limits};
    world->observer = model;
    world->on_bytes = stream_bytes;
    world->on_rest = stream_rest;
    world->on_deliver = actions_deliver;
    world->on_turn = before_turn;
    world->on_turned = after_turn;
    world->disk.observer = model;
    world->disk.on_commit = logs_commit;
    world->disk.on_committed = logs_committed;
    world->disk.on_load = logs_load;
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

void model_forget(struct conn *conn)
{
    model_cut(conn);
    subs_free(conn);
    if (conn->link != NULL) world_release(conn->link);
    free(conn->actions);
    free(conn->partial);
    free(conn->ahead);
    free(conn->wants);
    free(conn->pubacks);
    free(conn->notes);
    *conn = (struct conn){0};
}

void model_close(struct model *model)
{
    struct world *world = model->world;
    world->on_bytes = NULL;
    world->on_rest = NULL;
    world->on_deliver = NULL;
    world->on_turn = world->on_turned = NULL;
    world->disk.on_commit = NULL;
    world->disk.on_committed = NULL;
    world->disk.on_load = NULL;
    for (int i = 0; i < WORLD_LINKS_MAX; i++)
        if (model->conns[i].link != NULL) model_forget(&model->conns[i]);
    for (uint32_t i = 0; i < model->messages_count; i++) free(model->messages[i].bytes);
    free(model->messages);
    free(model->topics);
    free(model->wills);
    free(model->kept_wills);
    free(model->burials);
    logs_free(model);
    while (model->groups != NULL) {
        struct model_group *next = model->groups->next;
        reader_free(model->groups->reader);
        queue_model_free(&model->groups->queue);
        free(model->groups);
        model->groups = next;
    }
}
