#include "identity.h"

#include <stdlib.h>
#include <string.h>

#include "sure.h"

static bool has_topic(const struct hash_node *node, const void *key)
{
    const struct retained_value *value = container_of(node, struct retained_value, in_topics);
    const mps_view *topic = key;
    return value->len == topic->len && memcmp(value->topic, topic->ptr, value->len) == 0;
}

struct retained_value *retained_find(const struct retained *retained, mps_view topic)
{
    uint64_t hash = hash_bytes(retained->seed, topic.ptr, topic.len);
    struct hash_node *node = hash_find(&retained->topics, hash, has_topic, &topic);
    return node ? container_of(node, struct retained_value, in_topics) : NULL;
}

static uint64_t cost(uint32_t topic_len, uint64_t frame_len)
{
    return sizeof(struct retained_value) + sizeof(struct run) + topic_len + frame_len;
}

static void park(struct snapshot *snapshot, struct retained_value *at)
{
    snapshot->at = at;
    snapshot->prev = NULL;
    snapshot->next = at ? at->parked : NULL;
    if (at == NULL) return;
    if (at->parked != NULL) at->parked->prev = snapshot;
    at->parked = snapshot;
}

static void unpark(struct snapshot *snapshot)
{
    if (snapshot->at == NULL) return;
    if (snapshot->prev != NULL) snapshot->prev->next = snapshot->next;
    else snapshot->at->parked = snapshot->next;
    if (snapshot->next != NULL) snapshot->next->prev = snapshot->prev;
    snapshot->at = NULL;
}

/* Takes the value out of the order. Walks that stand at it go on with the one behind. */
static void leave_order(struct retained *retained, struct retained_value *value)
{
    while (value->parked != NULL) {
        struct snapshot *snapshot = value->parked;
        unpark(snapshot);
        park(snapshot, value->next);
    }
    if (value->prev != NULL) value->prev->next = value->next;
    else retained->oldest = value->next;
    if (value->next != NULL) value->next->prev = value->prev;
    else retained->newest = value->prev;
}

static void join_order(struct retained *retained, struct retained_value *value)
{
    value->version = ++retained->version;
    value->next = NULL;
    value->prev = retained->newest;
    if (retained->newest != NULL) retained->newest->next = value;
    else retained->oldest = value;
    retained->newest = value;
}

void retained_init(struct retained *retained, struct run_pool *runs, uint64_t seed)
{
    *retained = (struct retained){.seed = seed, .runs = runs};
}

static void free_value(struct retained *retained, struct retained_value *value)
{
    leave_order(retained, value);
    hash_remove(&retained->topics, &value->in_topics);
    timer_cancel(&retained->expiries, &value->expiry);
    retained->bytes -= cost(value->len, value->run->len);
    retained->frame_bytes -= value->run->len;
    run_unref(retained->runs, value->run);
    origin_unref(value->origin);
    free(value);
}

void retained_free(struct retained *retained)
{
    while (retained->oldest != NULL) free_value(retained, retained->oldest);
    hash_free(&retained->topics);
    heap_free(&retained->expiries);
}

static uint64_t bytes_with(const struct retained *retained, const struct retained_value *before, mps_view topic,
                           uint32_t frame_len)
{
    return retained->bytes - (before ? cost(topic.len, before->run->len) : 0) + cost(topic.len, frame_len);
}

bool retained_fits(const struct retained *retained, mps_view topic, uint32_t frame_len, uint64_t bytes_max)
{
    return bytes_with(retained, retained_find(retained, topic), topic, frame_len) <= bytes_max;
}

struct retained_value *retained_set(struct retained *retained, mps_view topic, mps_view frame, uint64_t expires_ms,
                                    uint64_t bytes_max)
{
    struct retained_value *value = retained_find(retained, topic);
    struct run *run = NULL;
    uint64_t bytes = bytes_with(retained, value, topic, frame.len);
    if (bytes > bytes_max) return NULL;
    if ((run = run_copy(retained->runs, frame.ptr, frame.len)) == NULL) return NULL;
    if (value != NULL) {
        leave_order(retained, value);
        retained->frame_bytes -= value->run->len;
        run_unref(retained->runs, value->run);
    } else {
        value = sure_alloc(sizeof *value + topic.len);
        *value = (struct retained_value){.len = (uint8_t)topic.len};
        timer_init(&value->expiry);
        memcpy(value->topic, topic.ptr, topic.len);
        hash_add(&retained->topics, &value->in_topics, hash_bytes(retained->seed, topic.ptr, topic.len));
    }
    value->run = run;
    join_order(retained, value);
    if (expires_ms == UINT64_MAX) timer_cancel(&retained->expiries, &value->expiry);
    else timer_set(&retained->expiries, &value->expiry, expires_ms);
    retained->frame_bytes += frame.len;
    retained->bytes = bytes;
    return value;
}

bool retained_has(const struct retained *retained, mps_view topic)
{
    return retained_find(retained, topic) != NULL;
}

bool retained_clear(struct retained *retained, mps_view topic)
{
    struct retained_value *value = retained_find(retained, topic);
    bool is_kept = value != NULL && value->is_kept;
    if (value != NULL) free_value(retained, value);
    return is_kept;
}

struct retained_value *retained_due(struct retained *retained, uint64_t now_ms)
{
    if (timer_next_ms(&retained->expiries) > now_ms || retained->expiries.count == 0) return NULL;
    return container_of(retained->expiries.timers[0], struct retained_value, expiry);
}

void snapshot_begin(struct snapshot *snapshot, struct retained *retained, mps_view pattern)
{
    snapshot_end(snapshot);
    snapshot->until = snapshot->since = retained->version;
    park(snapshot, mps_topic_is_wild(pattern) ? retained->oldest : retained_find(retained, pattern));
}

void snapshot_extend(struct snapshot *snapshot, struct retained *retained, mps_view pattern, uint64_t revision)
{
    uint64_t since = snapshot->since;
    snapshot_begin(snapshot, retained, pattern);
    snapshot->since = since;
    snapshot->revision = revision;
}

bool snapshot_has(const struct snapshot *snapshot, const struct retained_value *value)
{
    return value->version <= snapshot->since || (value->is_told && value->revision <= snapshot->revision);
}

struct retained_value *snapshot_value(const struct snapshot *snapshot)
{
    return snapshot->at != NULL && snapshot->at->version <= snapshot->until ? snapshot->at : NULL;
}

void snapshot_pass(struct snapshot *snapshot, struct retained_value *value, bool only)
{
    unpark(snapshot);
    park(snapshot, only ? NULL : value->next);
}

void snapshot_skip(struct snapshot *snapshot)
{
    unpark(snapshot);
}

void snapshot_end(struct snapshot *snapshot)
{
    unpark(snapshot);
}
