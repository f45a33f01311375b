#include <stdlib.h>
#include <string.h>

#include "cluster/cluster.h"
#include "sure.h"

/* Cached routes may cost this much memory together; then some go, and the trie is asked again. */
#define ROUTES_BYTES_MAX (32u * 1024 * 1024)
/* A topic is cached when it comes again, as far as these marks of topics that came once remember: among topics that
 * hardly come twice, caching each would cost an allocation more than asking the trie, and drive out those that
 * do. Each 32nd is cached in any case, so that two topics that share a mark are, too. */
#define CAME_ONCE 16384u
#define CACHED_ANYWAY 32u

/* When more memory than this is taken, all routes are looked through this often, and those that nobody asked for since
 * are forgotten: so a flood of topics leaves nothing behind. */
#define ROUTES_BYTES_KEPT (1024u * 1024)
#define AGE_MS 10000u
#define AGED_A_TURN 2048u

/* Mailboxes of a route that are worth asking for ahead. */
#define PREFETCHED 2
/* A route that is not kept keeps room for as many receivers from one topic to the next. */
#define ONCE_CAP_MAX 1024u

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

static void more_room(struct route *route)
{
    bool few = route->boxes == route->few;
    struct mailbox **boxes = sure_grown(few ? NULL : route->boxes, 2 * route->cap * sizeof boxes[0]);
    if (few) memcpy(boxes, route->few, sizeof route->few);
    route->boxes = boxes;
    route->cap *= 2;
}

static void init_route(struct route *route)
{
    *route = (struct route){.boxes = route->few, .cap = sizeof route->few / sizeof route->few[0]};
}

static void free_boxes(struct route *route)
{
    if (route->boxes != route->few) free(route->boxes);
}

static uint64_t route_bytes(const struct route *route)
{
    return sizeof *route + route->topic_len + route->cap * sizeof route->boxes[0];
}

static void free_route(struct broker *broker, struct route *route)
{
    broker->router.bytes -= route_bytes(route);
    hash_remove(&broker->router.routes, &route->in_routes);
    free_boxes(route);
    free(route);
}

static void forget_all(struct broker *broker)
{
    for (struct hash_node *node; (node = hash_any(&broker->router.routes)) != NULL;)
        free_route(broker, container_of(node, struct route, in_routes));
}

static void empty(struct route *route)
{
    route->count = 0;
    route->is_plain = true;
    route->has_latest = false;
    route->stream = NULL;
    route->readers = 0;
    route->has_groups = false;
    route->is_shared = false;
    route->is_usual = false;
    route->wanted_by = 0;
}

static void add_box(struct route *route, struct mailbox *box)
{
    if (route->count == route->cap) more_room(route);
    route->boxes[route->count++] = box;
    if (box->is_picky) route->is_plain = false;
    if (box->latest != NULL) route->has_latest = true;
    if (box->session == NULL) route->has_groups = true;
}

static void add_match(struct topic_entry *entry, void *arg)
{
    struct route *route = arg;
    struct mailbox *box = container_of(entry, struct mailbox, entry);
    if (route->stream != NULL && box->cursor != NULL) route->readers++;
    else if (!box->is_elsewhere || !route->is_shared) add_box(route, box);
}

static void fill(struct broker *broker, struct route *route, mps_view topic, uint64_t hash)
{
    empty(route);
    if (broker->streams_count > 0) route->stream = stream_of_topic(broker, topic);
    if (broker->cluster != NULL) route->is_shared = cluster_relays(broker->cluster, topic);
    broker->work += topics_match(&broker->topics, topic, hash, add_match, route);
    if (broker->cluster != NULL) route->wanted_by = relay_wanted_by(broker->cluster, topic, hash);
    route->is_usual = route->is_plain && route->stream == NULL && route->wanted_by == 0;
    route->wild_generation = broker->topics.wild_generation;
    broker->work += route->count;
}

static void fill_cached(struct broker *broker, struct route *route)
{
    broker->router.bytes -= route_bytes(route);
    fill(broker, route, (mps_view){route->topic, route->topic_len}, route->in_routes.hash);
    broker->router.bytes += route_bytes(route);
}

static struct route *add(struct broker *broker, mps_view topic, uint64_t hash)
{
    struct route *route = sure_alloc(sizeof *route + topic.len);
    init_route(route);
    route->topic_len = topic.len;
    memcpy(route->topic, topic.ptr, topic.len);
    broker->router.bytes += route_bytes(route);
    hash_add(&broker->router.routes, &route->in_routes, hash);
    fill_cached(broker, route);
    return route;
}

static bool came_before(struct router *router, uint64_t hash)
{
    if (router->came == NULL) router->came = sure_zeroed(CAME_ONCE * sizeof router->came[0]); /* once, 64 KiB */
    uint32_t *mark = &router->came[hash % CAME_ONCE], wanted = (uint32_t)(hash >> 32);
    bool came = *mark == wanted || ++router->passed % CACHED_ANYWAY == 0;
    *mark = wanted;
    return came;
}

static const struct route *route_once(struct broker *broker, mps_view topic, uint64_t hash)
{
    struct router *router = &broker->router;
    struct route **once = &router->once[router->once_next++ % ONCE_ROUTES], *route = *once;
    if (route == NULL) {
        route = *once = sure_alloc(sizeof *route);
        init_route(route);
    }
    if (!inbox_is(topic)) {
        fill(broker, route, topic, hash);
        return route;
    }
    empty(route);
    struct mailbox *box = inbox_find(broker, topic);
    if (box != NULL) add_box(route, box);
    else if (broker->cluster != NULL) route->wanted_by = relay_inbox(broker->cluster, topic);
    return route;
}

const struct route *router_route(struct broker *broker, mps_view topic)
{
    if (topic.len == 0 || topic.ptr[0] == '$') return NULL;
    uint64_t hash = topics_hash(&broker->topics, topic);
    struct route *route = find(broker, topic, hash);
    if (route != NULL) {
        route->is_used = true;
        if (route->wild_generation != broker->topics.wild_generation) fill_cached(broker, route);
        return route;
    }
    if (mps_topic_error(topic) != NULL) return NULL;
    return came_before(&broker->router, hash) ? add(broker, topic, hash) : route_once(broker, topic, hash);
}

const struct route *router_route_once(struct broker *broker, mps_view topic)
{
    return route_once(broker, topic, topics_hash(&broker->topics, topic));
}

/* The next message's look-up goes on meanwhile. Groups, which have no subscription, are few. */
void router_prefetch(const struct route *route)
{
    for (uint32_t i = 0; i < route->count && i < PREFETCHED; i++)
        subscription_prefetch(container_of(route->boxes[i], struct subscription, box));
}

void router_trim(struct broker *broker)
{
    struct router *router = &broker->router;
    for (int i = 0; i < ONCE_ROUTES; i++) {
        struct route *once = router->once[i];
        if (once == NULL || once->cap <= ONCE_CAP_MAX) continue;
        free_boxes(once);
        init_route(once);
    }
    while (router->bytes > ROUTES_BYTES_MAX)
        free_route(broker, container_of(hash_at_hand(&router->routes, &router->hand), struct route, in_routes));
}

uint64_t router_age(struct broker *broker)
{
    struct router *router = &broker->router;
    if (router->bytes <= ROUTES_BYTES_KEPT) {
        router->age_ms = router->age_left = 0;
        return UINT64_MAX;
    }
    if (router->age_left == 0) {
        if (router->age_ms == 0) router->age_ms = broker->now_ms + AGE_MS;
        if (broker->now_ms < router->age_ms) return router->age_ms;
        router->age_ms = broker->now_ms + AGE_MS;
        router->age_left = router->routes.count;
    }
    for (uint32_t i = 0; i < AGED_A_TURN && router->age_left > 0 && router->routes.count > 0; i++) {
        struct route *route = container_of(hash_at_hand(&router->routes, &router->hand), struct route, in_routes);
        router->age_left--;
        if (route->is_used) route->is_used = false;
        else free_route(broker, route);
    }
    return router->age_left > 0 ? 0 : router->age_ms;
}

void router_pattern_changed(struct broker *broker, mps_view pattern)
{
    if (mps_topic_is_wild(pattern)) {
        broker->topics.wild_generation++;
        return;
    }
    struct route *route = find(broker, pattern, topics_hash(&broker->topics, pattern));
    if (route != NULL) free_route(broker, route);
}

void router_free(struct broker *broker)
{
    forget_all(broker);
    hash_free(&broker->router.routes);
    free(broker->router.came);
    for (int i = 0; i < ONCE_ROUTES; i++) {
        if (broker->router.once[i] != NULL) free_boxes(broker->router.once[i]);
        free(broker->router.once[i]);
    }
    free(broker->router.accepted);
    free(broker->router.chosen);
}
