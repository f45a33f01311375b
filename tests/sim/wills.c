/* What clients leave behind when they go. Delayed ones are kept on the disk, from HELLO on. */
#include <stdio.h>
#include <string.h>

#include "model.h"

/* Who a client is, also if it brought no id. */
static struct name key_of(const struct conn *conn)
{
    struct name key = conn->id;
    if (key.len == 0) key.len = (uint32_t)sprintf(key.text, "#%u", conn->number);
    return key;
}

/* ---- on the platter ---- */

static struct kept_will *kept_will(struct model *model, const struct name *key)
{
    uint32_t i = 0;
    while (i < model->kept_wills_count && !name_equal(&model->kept_wills[i].key, key)) i++;
    if (i == model->kept_wills_count) {
        GROW(model->kept_wills, model->kept_wills_count, model->kept_wills_cap);
        model->kept_wills[model->kept_wills_count++] = (struct kept_will){.key = *key};
    }
    return &model->kept_wills[i];
}

static void forget_kept(struct model *model, const struct name *key)
{
    kept_will(model, key)->now.given = false;
}

void wills_commit(struct model *model)
{
    for (uint32_t i = 0; i < model->kept_wills_count; i++) model->kept_wills[i].running = model->kept_wills[i].now;
}

void wills_committed(struct model *model)
{
    for (uint32_t i = 0; i < model->kept_wills_count; i++) model->kept_wills[i].kept = model->kept_wills[i].running;
}

void wills_crash(struct model *model)
{
    model->wills_count = 0;
    for (uint32_t i = 0; i < model->kept_wills_count; i++) {
        struct kept_will *kept = &model->kept_wills[i];
        kept->now = kept->running = kept->kept;
    }
}

void wills_restarted(struct model *model)
{
    for (uint32_t i = 0; i < model->kept_wills_count; i++) {
        const struct kept_will *kept = &model->kept_wills[i];
        if (!kept->now.given) continue;
        GROW(model->wills, model->wills_count, model->wills_cap);
        model->wills[model->wills_count++] =
            (struct pending_will){kept->now, kept->key, model->world->now_ms + kept->now.delay_ms};
    }
}

/* ---- life ---- */

void wills_hello(struct conn *conn, const struct will *will)
{
    struct name key = key_of(conn);
    conn->will = *will;
    if (will->given && will->delay_ms > 0 && conn->model->logs_count > 0) kept_will(conn->model, &key)->now = *will;
}

void wills_drop(struct conn *conn)
{
    struct name key = key_of(conn);
    conn->will.given = false;
    forget_kept(conn->model, &key);
}

static void publish_will(struct model *model, const struct will *will)
{
    const struct message *message = &model->messages[will->message];
    struct model_log *log = log_of_topic(model, &message->topic);
    model->wills_out++;
    if (model->trace) fprintf(stderr, "  will #%u\n", will->message);
    if (will->retain) model_retain(model, will->message);
    if (log != NULL && !log_is_full(log, message->len)) log_append(log, will->message, false, model->batches);
    model->messages[will->message].batch = model->batches;
    routing_push(model, NULL, will->message, model->batches);
}

void wills_due(struct conn *conn)
{
    struct model *model = conn->model;
    if (!conn->will.given) return;
    conn->will.given = false;
    if (model->stopping && conn->will.delay_ms > 0) return; /* nobody will be there then */
    GROW(model->wills, model->wills_count, model->wills_cap);
    model->wills[model->wills_count++] =
        (struct pending_will){conn->will, key_of(conn), model->world->now_ms + conn->will.delay_ms};
}

static void forget_will(struct model *model, uint32_t i)
{
    memmove(model->wills + i, model->wills + i + 1, (--model->wills_count - i) * sizeof *model->wills);
}

void wills_client_back(struct model *model, const struct name *id)
{
    for (uint32_t i = 0; i < model->wills_count && id->len > 0;) {
        bool waits = model->wills[i].will.delay_ms > 0 && model->wills[i].due_ms > model->world->now_ms;
        if (waits && name_equal(&model->wills[i].id, id)) forget_will(model, i);
        else i++;
    }
    if (id->len > 0) forget_kept(model, id);
}

bool wills_are_many(const struct model *model)
{
    uint64_t work = 0, filters = model_filters(model);
    for (uint32_t i = 0; i < model->wills_count; i++)
        if (model->wills[i].due_ms <= model->world->now_ms)
            work += model_work(model, model->messages[model->wills[i].will.message].payload_len, filters);
    return work > SHARE_WORK;
}

void wills_publish(struct model *model)
{
    model->batches++;
    for (uint32_t i = 0; i < model->wills_count;) {
        if (model->wills[i].due_ms > model->world->now_ms) {
            i++;
            continue;
        }
        struct pending_will due = model->wills[i];
        forget_will(model, i);
        if (due.will.delay_ms > 0) forget_kept(model, &due.id);
        publish_will(model, &due.will);
    }
}
