#include "town.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The core's own data, to see whom it knows. */
#include "../../broker/core/cluster/cluster.h"

#define WALL_MS UINT64_C(1700000000000)
#define ROUNDS_MAX 100000 /* more at one moment: it never comes to rest */
#define DEFER_MS 10000
#define DEFER_BYTES (256u * 1024)

void town_fail(struct town *town, const char *format, ...)
{
    if (town->failed) return; /* what follows a first failure is seldom its own */
    town->failed = true;
    va_list args;
    va_start(args, format);
    vsnprintf(town->failure, sizeof town->failure, format, args);
    va_end(args);
}

void town_tell(const struct town *town, const char *format, ...)
{
    if (!town->trace) return;
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%8llu ", (unsigned long long)town->now_ms);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

/* ---- env ---------------------------------------------------------------------------------------------------- */

static struct node *node_of(struct env *env)
{
    return (struct node *)(void *)((char *)env - offsetof(struct node, env));
}

static uint64_t env_now(struct env *env)
{
    return node_of(env)->town->now_ms;
}

static uint64_t env_wall(struct env *env)
{
    return WALL_MS + node_of(env)->town->now_ms;
}

static void env_random(struct env *env, void *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) ((uint8_t *)bytes)[i] = (uint8_t)(rng_next(&node_of(env)->rng) >> 32);
}

static uint64_t digest(uint64_t sum, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) sum = (sum ^ bytes[i]) * UINT64_C(0x100000001b3);
    return sum;
}

static ssize_t env_send(struct env *env, struct link *link, const struct iovec *pieces, int count)
{
    struct town *town = node_of(env)->town;
    size_t taken = 0;
    if (!link->in_use || link->closed || link->ended) {
        town_fail(town, "a send on a link that is over");
        return -1;
    }
    for (int i = 0; i < count; i++) {
        taken += pieces[i].iov_len;
        town->event++;
        town->digest = digest(town->digest ^ town->now_ms, pieces[i].iov_base, pieces[i].iov_len);
        if (link->owner != NULL) town->on_bytes(link, pieces[i].iov_base, pieces[i].iov_len);
    }
    return (ssize_t)taken;
}

static void env_send_end(struct env *env, struct link *link)
{
    (void)env;
    link->ended = true;
}

static void env_reading(struct env *env, struct link *link, int on)
{
    (void)env;
    link->reading = on != 0;
}

static void let_go(struct link *link)
{
    link->session = NULL;
    link->closed = true;
    if (link->owner != NULL) link->town->on_closed(link);
    link->in_use = false;
    free(link->in);
    link->in = NULL;
}

static void env_close(struct env *env, struct link *link)
{
    (void)env;
    let_go(link);
}

static void env_log(struct env *env, const struct log_record *record)
{
    const struct node *node = node_of(env);
    if (record->text == NULL) return;
    for (const char *p = record->text; *p != '\0'; p++)
        if ((unsigned char)*p < ' ') town_fail(node->town, "a control character in a log line: %s", record->text);
    town_tell(node->town, "%s logs: %s", node->name, record->text);
}

/* ---- brokers ------------------------------------------------------------------------------------------------ */

void node_start(struct node *node)
{
    struct town *town = node->town;
    char text[512];
    node->lives++;
    node->was_frozen = false;
    node->next_ms = 0;
    node->broker = broker_new(&node->env, &town->limits);
    node->engine = memory_engine_open(
        town->bus, &(struct engine_options){.name = node->name, .defer_ms = DEFER_MS, .defer_bytes = DEFER_BYTES});
    static const char *const patterns[] = {STREAM_PATTERN};
    const struct stream_config stream = {
        .name = STREAM_NAME, .patterns = patterns, .patterns_count = 1, .is_shared = true, .replicas = 3};
    if (broker_open_store(node->broker, NULL, &stream, 1, text, sizeof text) != 0)
        town_fail(town, "%s can't open its stream: %s", node->name, text);
    const struct cluster_config config = {
        .name = node->name, .topics = town->topics, .topics_count = town->topics_count};
    if (broker_join(node->broker, node->engine, &config, text, sizeof text) != 0)
        town_fail(town, "%s can't join: %s", node->name, text);
    town_tell(town, "%s starts", node->name);
}

static void cut_links(struct node *node)
{
    for (int i = 0; i < LINKS_MAX; i++)
        if (node->town->links[i].in_use && node->town->links[i].node == node) town_cut(&node->town->links[i]);
}

static void free_broker(struct node *node)
{
    for (int turns = 0; turns < 3; turns++) broker_turn(node->broker);
    if (broker_sessions(node->broker) > 0)
        town_fail(node->town, "%zu sessions are left at %s although all links are gone", broker_sessions(node->broker),
                  node->name);
    else broker_free(node->broker);
    node->broker = NULL;
}

void node_stop(struct node *node)
{
    town_tell(node->town, "%s stops", node->name);
    broker_stop(node->broker);
    town_settle(node->town);
    cut_links(node);
    broker_turn(node->broker);
    broker_leave(node->broker);
    node->engine->close(node->engine);
    node->engine = NULL;
    free_broker(node);
}

void node_crash(struct node *node, bool kept)
{
    town_tell(node->town, "%s crashes", node->name);
    memory_engine_die(node->engine, kept);
    cut_links(node);
    free_broker(node);
    node->engine->close(node->engine);
    node->engine = NULL;
    node_freeze(node, false);
}

void node_freeze(struct node *node, bool frozen)
{
    if (node->frozen == frozen) return;
    town_tell(node->town, "%s is %s", node->name, frozen ? "frozen" : "thawed");
    node->frozen = frozen;
    node->was_frozen |= frozen;
    memory_bus_freeze(node->town->bus, node->name, frozen);
}

bool node_has_met(const struct node *node, const struct node *other)
{
    return node->broker != NULL && cluster_find(node->broker->cluster, mps_text(other->name)) != NULL;
}

static uint64_t life_bit(uint64_t life)
{
    return UINT64_C(1) << (life < 63 ? life : 63);
}

static void note_heard(struct node *node)
{
    struct town *town = node->town;
    for (uint32_t i = 0; i < town->nodes_count; i++) {
        const struct node *other = &town->nodes[i];
        if (other->broker == NULL || other == node) continue;
        const struct neighbour *neighbour = cluster_find(node->broker->cluster, mps_text(other->name));
        if (neighbour != NULL && neighbour->boot == other->broker->cluster->boot)
            node->heard[i] |= life_bit(other->lives);
    }
}

bool node_has_heard(const struct node *node, const struct node *other, uint64_t life)
{
    return (node->heard[other->number] & life_bit(life)) != 0;
}

/* ---- links -------------------------------------------------------------------------------------------------- */

struct link *town_connect(struct node *node, void *owner)
{
    struct link *link = NULL;
    for (int i = 0; i < LINKS_MAX && link == NULL; i++)
        if (!node->town->links[i].in_use) link = &node->town->links[i];
    if (link == NULL) return NULL;
    *link = (struct link){.town = node->town, .node = node, .owner = owner, .in_use = true, .reading = true};
    link->session = session_new(node->broker, link);
    if (link->session == NULL) link->in_use = false;
    return link->in_use ? link : NULL;
}

void town_push(struct link *link, const void *bytes, size_t len)
{
    if (link->in_len + len > link->in_cap) {
        if (link->in_off > 0) memmove(link->in, link->in + link->in_off, link->in_len - link->in_off);
        link->in_len -= link->in_off;
        link->in_off = 0;
        if (link->in_len + len > link->in_cap) link->in_cap = 2 * (link->in_len + len);
        link->in = realloc(link->in, link->in_cap);
        if (link->in == NULL) abort();
    }
    memcpy(link->in + link->in_len, bytes, len);
    link->in_len += len;
}

void town_cut(struct link *link)
{
    if (link->session != NULL) session_closed(link->session);
    let_go(link);
}

static bool can_feed(const struct link *link)
{
    return link->in_use && link->session != NULL && link->reading && link->in_len > link->in_off;
}

static void feed(struct link *link)
{
    uint8_t *buf;
    size_t cap;
    session_read_buffer(link->session, &buf, &cap);
    if (cap == 0) {
        town_cut(link);
        return;
    }
    size_t len = link->in_len - link->in_off < cap ? link->in_len - link->in_off : cap;
    memcpy(buf, link->in + link->in_off, len);
    link->in_off += len;
    link->town->event++;
    if (link->owner != NULL) link->town->on_read(link, len);
    session_read(link->session, len);
}

/* ---- time --------------------------------------------------------------------------------------------------- */

static bool is_due(const struct node *node)
{
    if (node->broker == NULL || node->frozen) return false;
    if (node->next_ms <= node->town->now_ms || memory_engine_ready(node->engine)) return true;
    for (int i = 0; i < LINKS_MAX; i++)
        if (node->town->links[i].node == node && can_feed(&node->town->links[i])) return true;
    return false;
}

static void turn(struct node *node)
{
    struct town *town = node->town;
    uint32_t first = rng_below(&town->rng, LINKS_MAX);
    for (uint32_t i = 0; i < LINKS_MAX; i++) {
        struct link *link = &town->links[(first + i) % LINKS_MAX];
        if (link->node == node && can_feed(link)) feed(link);
    }
    if (memory_engine_ready(node->engine)) broker_poll_cluster(node->broker);
    note_heard(node);
    node->next_ms = broker_turn(node->broker);
}

/* Some of what the bus has to do, and a turn of some of the brokers. False: nothing is to be done. */
static bool go_on(struct town *town)
{
    bool more = false;
    for (uint32_t steps = rng_skewed(&town->rng, 64); steps > 0 && memory_bus_step(town->bus); steps--) more = true;
    for (uint32_t i = 0; i < town->nodes_count; i++) {
        if (!is_due(&town->nodes[i])) continue;
        more = true;
        if (rng_percent(&town->rng, 60)) turn(&town->nodes[i]);
    }
    return more;
}

void town_settle(struct town *town)
{
    uint32_t rounds = 0;
    while (!town->failed && go_on(town))
        if (++rounds > ROUNDS_MAX) town_fail(town, "the brokers never come to rest%s", "");
}

static uint64_t next_ms(const struct town *town)
{
    uint64_t next = memory_bus_next(town->bus);
    for (uint32_t i = 0; i < town->nodes_count; i++) {
        const struct node *node = &town->nodes[i];
        if (node->broker != NULL && !node->frozen && node->next_ms < next) next = node->next_ms;
    }
    return next;
}

void town_pass(struct town *town, uint64_t ms)
{
    uint64_t until_ms = town->now_ms + ms;
    for (town_settle(town); town->now_ms < until_ms && !town->failed; town_settle(town)) {
        uint64_t next = next_ms(town);
        if (next <= town->now_ms) next = town->now_ms + 1;
        town->now_ms = next < until_ms ? next : until_ms;
        memory_bus_time(town->bus, town->now_ms, WALL_MS + town->now_ms);
    }
}

void town_open(struct town *town, uint64_t seed, uint32_t nodes_count)
{
    *town = (struct town){.rng = {seed}, .nodes_count = nodes_count};
    town->now_ms = 1000 + rng_below(&town->rng, 100000);
    town->bus = memory_bus_new(rng_next(&town->rng));
    memory_bus_shuffle(town->bus);
    memory_bus_time(town->bus, town->now_ms, WALL_MS + town->now_ms);
    broker_defaults(&town->limits);
    town->stream = stream_shared_number(STREAM_NAME);
    for (uint32_t i = 0; i < nodes_count; i++) {
        struct node *node = &town->nodes[i];
        *node = (struct node){.env = {.now_ms = env_now,
                                      .wall_ms = env_wall,
                                      .random = env_random,
                                      .send = env_send,
                                      .send_end = env_send_end,
                                      .reading = env_reading,
                                      .close = env_close,
                                      .log = env_log},
                              .town = town,
                              .number = i,
                              .rng = {rng_next(&town->rng)}};
        snprintf(node->name, sizeof node->name, "b%u", i);
    }
}

void town_close(struct town *town)
{
    for (uint32_t i = 0; i < town->nodes_count && !town->failed; i++)
        if (town->nodes[i].broker != NULL) node_stop(&town->nodes[i]);
    if (!town->failed) memory_bus_free(town->bus);
}
