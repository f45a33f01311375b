#include "world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REST_MAX (128 * 1024) /* bytes: longer than any frame */
#define WILLS_MS 60000
#define TURNS_MAX 100000 /* more without any input: the core never comes to rest */

static struct world *world_of(struct env *env)
{
    return (struct world *)(void *)((char *)env - offsetof(struct world, env));
}

void world_fail(struct world *world, const char *format, ...)
{
    if (world->failed) return; /* what follows a first failure is seldom its own */
    world->failed = true;
    va_list args;
    va_start(args, format);
    vsnprintf(world->failure, sizeof world->failure, format, args);
    va_end(args);
}

static uint64_t env_now(struct env *env)
{
    return world_of(env)->now_ms;
}

uint64_t world_wall_ms(const struct world *world)
{
    return (uint64_t)((int64_t)(UINT64_C(1700000000000) + world->now_ms) + world->wall_jump_ms);
}

static uint64_t env_wall(struct env *env)
{
    return world_wall_ms(world_of(env));
}

static void env_random(struct env *env, void *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) ((uint8_t *)bytes)[i] = (uint8_t)(rng_next(&world_of(env)->rng) >> 32);
}

/* Whether the core may still use this link for sending. */
static bool may_send(struct link *link, const char *call)
{
    struct world *world = link->world;
    if (link->closed || !link->in_use) world_fail(world, "%s on a link that is closed", call);
    else if (link->session == NULL) world_fail(world, "%s on a link that is gone", call);
    else if (link->ended) world_fail(world, "%s after send_end", call);
    else return true;
    return false;
}

static size_t appetite(struct link *link, size_t offered)
{
    size_t most = offered < link->room ? offered : link->room;
    if (link->choosy && most > 0 && rng_percent(&link->world->rng, 30))
        most = rng_below(&link->world->rng, (uint32_t)most);
    return most;
}

/* What was offered and not taken, as much of it as any frame may be long. */
static void show_rest(struct link *link, const struct iovec *pieces, int count, size_t taken)
{
    static uint8_t rest[REST_MAX];
    size_t len = 0;
    if (link->world->on_rest == NULL || link->owner == NULL) return;
    for (int i = 0; i < count && len < sizeof rest; i++) {
        size_t skip = taken < pieces[i].iov_len ? taken : pieces[i].iov_len;
        size_t part = pieces[i].iov_len - skip;
        if (part > sizeof rest - len) part = sizeof rest - len;
        taken -= skip;
        memcpy(rest + len, (const uint8_t *)pieces[i].iov_base + skip, part);
        len += part;
    }
    link->world->on_rest(link, rest, len);
}

static ssize_t env_send(struct env *env, struct link *link, const struct iovec *pieces, int count)
{
    struct world *world = world_of(env);
    if (!may_send(link, "send")) return -1;
    if (link->broken) return -1;
    size_t offered = 0, taken = 0;
    for (int i = 0; i < count; i++) offered += pieces[i].iov_len;
    size_t most = appetite(link, offered);
    for (int i = 0; i < count && taken < most; i++) {
        size_t len = pieces[i].iov_len < most - taken ? pieces[i].iov_len : most - taken;
        link->taken += len;
        taken += len;
        if (world->on_bytes != NULL && link->owner != NULL) world->on_bytes(link, pieces[i].iov_base, len);
    }
    link->room -= taken;
    if (taken < offered) {
        link->refused = true;
        show_rest(link, pieces, count, taken);
    }
    return (ssize_t)taken;
}

static void env_send_end(struct env *env, struct link *link)
{
    (void)env;
    if (may_send(link, "send_end")) link->ended = true;
}

static void env_reading(struct env *env, struct link *link, int on)
{
    if (link->closed || !link->in_use) world_fail(world_of(env), "reading(%d) on a link that is closed", on);
    link->reading = on != 0;
}

static void env_close(struct env *env, struct link *link)
{
    if (link->closed || link->session == NULL) world_fail(world_of(env), "close on a link that is gone");
    link->closed = true;
    link->session = NULL;
}

static void env_log(struct env *env, const struct log_record *record)
{
    const char *line = record->text != NULL ? record->text : "";
    for (const char *p = line; *p != '\0'; p++) {
        if ((unsigned char)*p < ' ') world_fail(world_of(env), "a control character in a log line: %s", line);
    }
}

void world_open(struct world *world, uint64_t seed, const struct broker_limits *limits)
{
    *world = (struct world){.env = {.now_ms = env_now,
                                    .wall_ms = env_wall,
                                    .random = env_random,
                                    .send = env_send,
                                    .send_end = env_send_end,
                                    .reading = env_reading,
                                    .close = env_close,
                                    .log = env_log}};
    world->rng.state = seed;
    world->now_ms = 1000 + rng_below(&world->rng, 100000);
    if (limits != NULL) world->limits = *limits;
    else broker_defaults(&world->limits);
    world->broker = broker_new(&world->env, &world->limits);
}

/* ---- the disk ---- */

static void start_keeping(struct world *world)
{
    char text[512];
    if (broker_open_store(world->broker, disk_start(&world->disk), world->streams, world->streams_count, text,
                          sizeof text) != 0)
        world_fail(world, "the store can't be opened: %s", text);
}

void world_keep(struct world *world, const struct stream_config *streams, size_t count, uint64_t seed)
{
    world->streams = streams;
    world->streams_count = count;
    disk_open(&world->disk, seed);
    start_keeping(world);
}

/* Ends the broker, of which nobody hears any more. */
static void end_broker(struct world *world)
{
    for (int turns = 0; turns < 3; turns++) broker_turn(world->broker);
    if (broker_sessions(world->broker) > 0)
        world_fail(world, "%zu sessions are left although all links are gone", broker_sessions(world->broker));
    else broker_free(world->broker);
    world->broker = NULL;
}

void world_crash(struct world *world, bool keep)
{
    disk_crash(&world->disk, keep);
    for (int i = 0; i < WORLD_LINKS_MAX; i++)
        if (world->links[i].in_use) world_cut(&world->links[i]);
    end_broker(world);
    if (world->failed) return;
    world->broker = broker_new(&world->env, &world->limits);
    start_keeping(world);
}

/* All that waits is stored in the end. */
static void settle_disk(struct world *world)
{
    world->disk.fail_percent = world->disk.fail_reads_percent = 0;
    for (int i = 0; i < 100 && !broker_store_idle(world->broker); i++) {
        world->now_ms += 1000;
        world_turn(world);
    }
    if (!broker_store_idle(world->broker)) world_fail(world, "something is never stored%s", "");
}

void world_close(struct world *world)
{
    for (int i = 0; i < WORLD_LINKS_MAX; i++) {
        struct link *link = &world->links[i];
        if (!link->in_use) continue;
        if (link->session != NULL) world_cut(link);
        world_release(link);
    }
    world_turn(world);
    world->now_ms += WILLS_MS; /* wills that are delayed are published before */
    world_turn(world);
    struct broker_figures left;
    broker_figures(world->broker, &left);
    bool keeps = world->disk.platter != NULL;
    if (keeps) settle_disk(world);
    if (left.sessions != 0 || broker_sessions(world->broker) != 0)
        world_fail(world, "%llu sessions are left at the end", (unsigned long long)left.sessions);
    else if (left.subscriptions != 0)
        world_fail(world, "%llu subscriptions are left at the end", (unsigned long long)left.subscriptions);
    else if (left.runs != left.retained && !keeps) /* what was read from streams stays for a while */
        world_fail(world, "%llu runs are left at the end, for %llu retained values", (unsigned long long)left.runs,
                   (unsigned long long)left.retained);
    if (left.sessions == 0) broker_free(world->broker);
    world->broker = NULL;
    disk_close(&world->disk);
}

struct link *world_connect(struct world *world, size_t room_max, void *owner)
{
    struct link *link = NULL;
    for (int i = 0; i < WORLD_LINKS_MAX && link == NULL; i++) {
        if (!world->links[i].in_use) link = &world->links[i];
    }
    if (link == NULL) return NULL;
    *link = (struct link){
        .world = world, .owner = owner, .in_use = true, .reading = true, .room = room_max, .room_max = room_max};
    link->session = session_new(world->broker, link);
    if (link->session == NULL) link->closed = true;
    return link;
}

void world_push(struct link *link, const void *bytes, size_t len)
{
    if (link->closed || len == 0) return; /* closed: as a write to a socket that the peer has closed */
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
    link->pushed += len;
}

void world_push_end(struct link *link)
{
    link->end_pushed = true;
}

size_t world_deliverable(const struct link *link)
{
    return link->session != NULL && link->reading ? link->in_len - link->in_off : 0;
}

static void tell_delivery(struct link *link)
{
    if (link->world->on_deliver != NULL && link->owner != NULL) link->world->on_deliver(link);
}

size_t world_deliver(struct link *link, size_t most)
{
    size_t len = world_deliverable(link);
    if (len > most) len = most;
    if (len == 0) return 0;
    uint8_t *buf = NULL;
    size_t cap = 0;
    session_read_buffer(link->session, &buf, &cap);
    if (buf == NULL || cap == 0) {
        world_fail(link->world, "session_read_buffer() offers no room");
        return 0;
    }
    if (len > cap) len = cap;
    memcpy(buf, link->in + link->in_off, len);
    link->in_off += len;
    link->delivered += len;
    tell_delivery(link);
    session_read(link->session, len);
    return len;
}

bool world_deliver_end(struct link *link)
{
    if (!link->end_pushed || link->end_delivered || link->session == NULL || link->in_off < link->in_len ||
        !link->reading)
        return false;
    link->end_delivered = true;
    tell_delivery(link);
    session_read_end(link->session);
    return true;
}

void world_drain(struct link *link, size_t most)
{
    size_t waiting = link->room_max - link->room;
    link->room += waiting < most ? waiting : most;
}

void world_break(struct link *link)
{
    if (link->session == NULL) return;
    link->broken = true;
    if (link->refused) {
        link->refused = false;
        session_writable(link->session); /* as poll() reports a broken socket: it seems ready for everything */
    }
    world_turn(link->world);
}

void world_cut(struct link *link)
{
    struct session *session = link->session;
    link->session = NULL;
    if (session != NULL) session_closed(session); /* else the core has closed it by itself */
}

void world_release(struct link *link)
{
    free(link->in);
    *link = (struct link){0};
}

static void tell_writable(struct world *world)
{
    for (int i = 0; i < WORLD_LINKS_MAX; i++) {
        struct link *link = &world->links[i];
        if (!link->in_use || link->session == NULL || !link->refused || link->room == 0) continue;
        link->refused = false;
        session_writable(link->session);
    }
}

static bool owes_writable(const struct world *world)
{
    for (int i = 0; i < WORLD_LINKS_MAX; i++) {
        const struct link *link = &world->links[i];
        if (link->in_use && link->session != NULL && link->refused && link->room > 0) return true;
    }
    return false;
}

uint64_t world_next_ms(const struct world *world)
{
    uint64_t disk_ms = disk_next_ms(&world->disk);
    return disk_ms < world->next_ms ? disk_ms : world->next_ms;
}

void world_turn(struct world *world)
{
    for (int turns = 0; turns < TURNS_MAX; turns++) {
        tell_writable(world);
        if (disk_work(&world->disk, world->now_ms)) broker_poll_store(world->broker);
        if (world->on_turn != NULL) world->on_turn(world);
        world->next_ms = broker_turn(world->broker);
        if (world->on_turned != NULL) world->on_turned(world);
        if (world_next_ms(world) > world->now_ms && !owes_writable(world)) return;
    }
    world_fail(world, "the core never comes to rest: it wants to be called again at once, forever");
}
