/* Messages, topics, and the topics' retained values. */
#include <stdlib.h>
#include <string.h>

#include "model.h"

#define KEYS_OF_TOPICS 0x10000 /* below are the keys that messages bring themselves */

uint32_t model_topic(struct model *model, const struct name *name)
{
    uint32_t i = 0;
    while (i < model->topics_count && !name_equal(&model->topics[i].name, name)) i++;
    if (i == model->topics_count) {
        GROW(model->topics, model->topics_count, model->topics_cap);
        model->topics[model->topics_count++] = (struct model_topic){.name = *name};
    }
    return i;
}

uint32_t model_message(struct model *model, const uint8_t *bytes, uint32_t len, const struct message *about)
{
    GROW(model->messages, model->messages_count, model->messages_cap);
    struct message *message = &model->messages[model->messages_count];
    *message = *about;
    message->bytes = malloc(len);
    message->len = len;
    if (message->bytes == NULL) abort();
    memcpy(message->bytes, bytes, len);
    if (message->key == 0) message->key = KEYS_OF_TOPICS + model_topic(model, &message->topic);
    return model->messages_count++;
}

/* The value is another one now: snapshots that did not come to it yet must leave it out. */
static void mark_changed(struct model *model, uint32_t topic)
{
    for (struct model_sub *sub = model->subs; sub != NULL; sub = sub->next) {
        for (struct model_snapshot *s = sub->snapshots; s != NULL; s = s->next) {
            for (uint32_t i = 0; i < s->count; i++)
                if (s->entries[i].topic == topic) s->entries[i].changed = true;
        }
    }
}

void model_retain(struct model *model, uint32_t message_index)
{
    const struct message *message = &model->messages[message_index];
    uint32_t index = model_topic(model, &message->topic);
    struct model_topic *topic = &model->topics[index];
    if (message->payload_len == 0 && !topic->set) return;
    topic->set = message->payload_len > 0;
    topic->message = message_index;
    bool dies = topic->set && message->ttl_ms != QUEUE_NO_TTL;
    topic->dies_ms = dies ? model->world->now_ms + (message->ttl_ms > 0 ? message->ttl_ms : 1) : NOT_DUE;
    uint64_t wall_ms = world_wall_ms(model->world) - model->world->now_ms;
    topic->last = (struct kept_value){
        .set = topic->set, .message = message_index, .dies_ms = dies ? wall_ms + topic->dies_ms : NOT_DUE};
    mark_changed(model, index);
}

/* ---- on the platter ---- */

static bool is_durable(struct model *model, const struct model_topic *topic)
{
    return log_of_topic(model, &topic->name) != NULL;
}

void values_commit(struct model *model)
{
    for (uint32_t i = 0; i < model->topics_count; i++) model->topics[i].running = model->topics[i].last;
}

void values_committed(struct model *model)
{
    for (uint32_t i = 0; i < model->topics_count; i++) model->topics[i].kept = model->topics[i].running;
}

void values_crash(struct model *model)
{
    uint64_t now_ms = model->world->now_ms, wall_ms = world_wall_ms(model->world);
    for (uint32_t i = 0; i < model->topics_count; i++) {
        struct model_topic *topic = &model->topics[i];
        const struct kept_value *kept = &topic->kept;
        topic->set = kept->set && kept->dies_ms > wall_ms && is_durable(model, topic);
        topic->message = kept->message;
        topic->dies_ms = kept->dies_ms == NOT_DUE ? NOT_DUE : now_ms + (kept->dies_ms - wall_ms);
        topic->last = topic->running = *kept;
    }
}

void model_expire_retained(struct model *model)
{
    for (uint32_t i = 0; i < model->topics_count; i++)
        if (model->topics[i].set && model->topics[i].dies_ms <= model->world->now_ms) model->topics[i].set = false;
}
