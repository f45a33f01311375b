#include "cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "connection.h"
#include "far.h"
#include "group_far.h"
#include "lanes.h"
#include "members.h"
#include "records.h"
#include "scope.h"
#include "shared.h"
#include "sure.h"

/* ---- what the engine tells ---------------------------------------------------------------------------------- */

static void on_received(void *arg, const uint8_t *bytes, size_t len)
{
    inbound_take(arg, bytes, len);
}

static void on_connected(void *arg, bool is_live, bool is_storing, const char *why_not_live,
                         const char *why_not_storing)
{
    struct cluster *cluster = arg;
    bool was_live = cluster->is_live, was_storing = cluster->is_storing;
    cluster->is_live = is_live;
    cluster->is_storing = is_storing;
    connection_tell(cluster, why_not_live, why_not_storing);
    if (is_live && !was_live) cluster->here_ms = 0; /* at once */
    if (is_storing != was_storing) records_on_connected(cluster, why_not_storing); /* each stream tells of itself */
}

static void on_trouble(void *arg, const char *text)
{
    connection_trouble(arg, text);
}

static void on_settled(void *arg, uint64_t token, enum store_code code, uint64_t last, bool was_there, const char *text)
{
    shared_on_settled(arg, token, code, last, was_there, text);
}

static void on_stream_state(void *arg, const struct engine_stream_state *state)
{
    shared_on_stream_state(arg, state);
}

static void on_tail(void *arg, const struct store_block *block)
{
    shared_on_tail(arg, block);
}

static void on_read_done(void *arg, struct store_read *read)
{
    shared_on_read_done(arg, read);
}

static void on_record(void *arg, const struct engine_record *record)
{
    records_on_record(arg, record);
}

static void on_records_begin(void *arg)
{
    records_on_begin(arg);
}

static void on_records_loaded(void *arg, uint64_t revision)
{
    records_on_loaded(arg, revision);
}

static void on_put_done(void *arg, uint64_t mark, bool is_done, uint64_t revision)
{
    records_on_put_done(arg, mark, is_done, revision);
}

/* ---- life --------------------------------------------------------------------------------------------------- */

static void copy_topics(struct cluster *cluster, const struct cluster_config *config)
{
    cluster->topics = sure_zeroed((config->topics_count + 1) * sizeof cluster->topics[0]);
    for (size_t i = 0; i < config->topics_count; i++) cluster->topics[i] = mps_text(sure_text(config->topics[i]));
    cluster->topics_count = (uint32_t)config->topics_count;
}

bool cluster_is_name(mps_view name)
{
    for (uint32_t i = 0; i < name.len; i++) {
        uint8_t c = name.ptr[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!is_letter && c != '-' && c != '_') return false;
    }
    return name.len > 0 && name.len <= ENGINE_NAME_MAX;
}

static const char *config_error(const struct cluster_config *config)
{
    if (!cluster_is_name(mps_text(config->name))) return "a broker's name has 1 to 64 letters, digits, '-' and '_'";
    for (size_t i = 0; i < config->topics_count; i++)
        if (mps_pattern_error(mps_text(config->topics[i])) != NULL) return "one of the cluster's topics is no pattern";
    return NULL;
}

static struct cluster *cluster_new(struct broker *broker, struct engine *engine, const struct cluster_config *config)
{
    struct cluster *cluster = sure_zeroed(sizeof *cluster);
    cluster->broker = broker;
    cluster->engine = engine;
    snprintf(cluster->name, sizeof cluster->name, "%s", config->name);
    while (cluster->boot == 0) {
        broker->env->random(broker->env, &cluster->boot, sizeof cluster->boot);
        cluster->boot &= MPS_NUMBER_MAX;
    }
    broker->env->random(broker->env, cluster->tag, sizeof cluster->tag);
    copy_topics(cluster, config);
    topics_init(&cluster->far, broker->seed); /* the same as of broker.topics: one hash does for both */
    topics_init(&cluster->far_groups, broker->seed);
    cluster->turn_ms = broker->now_ms;
    engine->events = (struct engine_events){.received = on_received,
                                            .connected = on_connected,
                                            .trouble = on_trouble,
                                            .settled = on_settled,
                                            .stream_state = on_stream_state,
                                            .tail = on_tail,
                                            .read_done = on_read_done,
                                            .record = on_record,
                                            .records_begin = on_records_begin,
                                            .records_loaded = on_records_loaded,
                                            .put_done = on_put_done,
                                            .arg = cluster};
    return cluster;
}

int broker_join(struct broker *broker, struct engine *engine, const struct cluster_config *config, char *text,
                size_t cap)
{
    const char *wrong = config_error(config);
    if (wrong != NULL) {
        snprintf(text, cap, "%s", wrong);
        return -1;
    }
    struct cluster *cluster = broker->cluster = cluster_new(broker, engine, config);
    broker->has_asides = true;
    interest_begin(cluster);
    group_far_join(cluster);
    scope_join(cluster);
    if (shared_join(cluster, text, cap) == 0 && records_join(cluster, text, cap) == 0) return 0;
    cluster_free(broker);
    return -1;
}

void broker_poll_cluster(struct broker *broker)
{
    if (broker->cluster == NULL) return;
    broker->now_ms = broker->env->now_ms(broker->env);
    broker->cluster->engine->poll(broker->cluster->engine);
    shared_polled(broker->cluster);
}

void broker_leave(struct broker *broker)
{
    struct cluster *cluster = broker->cluster;
    if (cluster == NULL) return;
    cluster_turn(broker);
    records_bye(cluster);
    neighbours_leave(cluster);
    cluster->engine->flush(cluster->engine);
    cluster_free(broker);
}

void cluster_free(struct broker *broker)
{
    struct cluster *cluster = broker->cluster;
    if (cluster == NULL) return;
    neighbours_free(cluster);
    records_leave(cluster);
    shared_leave(cluster);
    scope_leave(cluster);
    group_far_leave(cluster);
    interest_free(cluster);
    cluster->engine->events = (struct engine_events){0};
    topics_free(&cluster->far);
    topics_free(&cluster->far_groups);
    hash_free(&cluster->far_patterns);
    for (uint32_t i = 0; i < cluster->topics_count; i++) free((uint8_t *)cluster->topics[i].ptr);
    free(cluster->topics);
    free(cluster);
    broker->cluster = NULL;
    broker->topics.wild_generation++; /* routes are made anew */
}

uint64_t cluster_turn(struct broker *broker)
{
    struct cluster *cluster = broker->cluster;
    interest_flush(cluster);
    uint64_t next_ms = neighbours_turn(cluster);
    next_ms = least(next_ms, least(shared_turn(cluster), records_turn(cluster)));
    next_ms = least(next_ms, least(group_far_turn(cluster), scope_turn(cluster)));
    interest_flush(cluster); /* what has changed since */
    for (uint32_t i = 0; i < cluster->neighbours_count; i++) lane_flush(cluster->neighbours[i]);
    cluster->engine->flush(cluster->engine);
    return next_ms;
}

/* ---- which topics ------------------------------------------------------------------------------------------- */

uint64_t cluster_published(const struct cluster *cluster)
{
    return cluster->broker->figures.messages_in + cluster->own_published;
}

bool cluster_relays(const struct cluster *cluster, mps_view topic)
{
    if (topic.ptr[0] == '$') return false;
    for (uint32_t i = 0; i < cluster->topics_count; i++)
        if (mps_topic_matches(cluster->topics[i], topic)) return true;
    return false;
}

bool cluster_overlaps(const struct cluster *cluster, mps_view pattern)
{
    if (pattern.ptr[0] == '$') return false;
    for (uint32_t i = 0; i < cluster->topics_count; i++)
        if (mps_patterns_overlap(cluster->topics[i], pattern)) return true;
    return false;
}

bool cluster_covers(const struct cluster *cluster, mps_view pattern)
{
    if (pattern.ptr[0] == '$') return false;
    for (uint32_t i = 0; i < cluster->topics_count; i++)
        if (mps_pattern_covers(cluster->topics[i], pattern)) return true;
    return false;
}
