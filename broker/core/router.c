#include <stdlib.h>
#include <string.h>

#include "model.h"

/* Cached routes may cost this much memory together; then all of them go and the trie is asked again. */
#define ROUTES_BYTES_MAX (32u * 1024 * 1024)

static bool has_topic(const struct hash_node *node, const void *key)
{
    const struct route *route = container_of(node, struct route, in_routes);
    const mps_view *topic = key;
    return route->topic_len == topic->len && memcmp(route->topic, topic->ptr, topic->len) == 0;
}

static struct route *find(struct broker *broker, mps_view topic, uint64_t hash)
{
    struct hash_node *node = hash_find(&broker->router.routes, hash, has_topic, &topic);
    return node ? container_of(node, struct route, in_routes) : NULL;
}

static uint64_t route_bytes(const struct route *route)
{
    return sizeof *route + route->topic_len + route->cap * sizeof route->subs[0];
}

static void free_route(struct broker *broker, struct route *route)
{
    broker->router.bytes -= route_bytes(route);
    hash_remove(&broker->router.routes, &route->in_routes);
    free(route->subs);
    free(route);
}

static void forget_all(struct broker *broker)
{
    for (struct hash_node *node; (node = hash_any(&broker->router.routes)) != NULL;)
        free_route(broker, container_of(node, struct route, in_routes));
}

static void add_match(struct topic_entry *entry, void *arg)
{
    struct route *route = arg;
    if (route->count == route->cap) {
        route->cap = route->cap ? 2 * route->cap : 4;
        route->subs = realloc(route->subs, route->cap * sizeof route->subs[0]);
        if (route->subs == NULL) abort(); /* one pointer a subscription */
    }
    route->subs[route->count++] = container_of(entry, struct subscription, entry);
}

static void fill(struct broker *broker, struct route *route)
{
    broker->router.bytes -= route_bytes(route);
    route->count = 0;
    broker->work += topics_match(&broker->topics, (mps_view){route->topic, route->topic_len}, add_match, route);
    route->wild_generation = broker->topics.wild_generation;
    broker->work += route->count;
    broker->router.bytes += route_bytes(route);
}

static struct route *add(struct broker *broker, mps_view topic, uint64_t hash)
{
    if (broker->router.bytes > ROUTES_BYTES_MAX) forget_all(broker);
    struct route *route = malloc(sizeof *route + topic.len);
    if (route == NULL) abort(); /* small */
    *route = (struct route){.topic_len = topic.len};
    memcpy(route->topic, topic.ptr, topic.len);
    broker->router.bytes += route_bytes(route);
    hash_add(&broker->router.routes, &route->in_routes, hash);
    fill(broker, route);
    return route;
}

/* A cached route costs a hash of the topic and one comparison, 31 to 200 ns by cache misses; the trie two or three
 * look-ups a level. A topic that is cached has been judged: only a new one is. */
const struct route *router_route(struct broker *broker, mps_view topic, const char **error)
{
    *error = NULL;
    uint64_t hash = hash_bytes(broker->seed, topic.ptr, topic.len);
    struct route *route = find(broker, topic, hash);
    if (route == NULL) {
        *error = mps_topic_error(topic);
        return *error == NULL ? add(broker, topic, hash) : NULL;
    }
    if (route->wild_generation != broker->topics.wild_generation) fill(broker, route);
    return route;
}

uint64_t router_fan_out(const struct route *route, struct run *run)
{
    uint64_t dropped = 0;
    for (uint32_t i = 0; i < route->count; i++) dropped += subscription_push(route->subs[i], run);
    return dropped;
}

void router_pattern_changed(struct broker *broker, mps_view pattern)
{
    if (mps_topic_is_wild(pattern)) return; /* the trie's generation says so */
    struct route *route = find(broker, pattern, hash_bytes(broker->seed, pattern.ptr, pattern.len));
    if (route != NULL) free_route(broker, route);
}

void router_free(struct broker *broker)
{
    forget_all(broker);
    hash_free(&broker->router.routes);
}
