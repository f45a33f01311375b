#include "world.h"

#include "memory_store.h"
#include <stdlib.h>
#include <string.h>

#define LINKS_MAX 32768
#define TURNS_MAX 1000000

/* Stands before the real one, so that it can be called uncounted. */
struct front {
    struct store store;
    struct store *real;
};

struct world {
    struct env env;
    struct broker *broker;
    struct memory_disk *disk; /* NULL: nothing is kept */
    struct front front;
    uint64_t random;
    struct link *links[LINKS_MAX];
    size_t links_count;
};

/* ---- the environment of the core ------------------------------------------------------------------------------- */

static uint64_t env_now(struct env *env)
{
    (void)env;
    return 1000000;
}

static uint64_t env_wall(struct env *env)
{
    (void)env;
    return UINT64_C(1700000000000);
}

static void env_random(struct env *env, void *bytes, size_t len)
{
    struct world *world = (struct world *)(void *)env;
    for (size_t i = 0; i < len; i++) {
        world->random = world->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        ((uint8_t *)bytes)[i] = (uint8_t)(world->random >> 56);
    }
}

static void note_frame(struct link *link, mps_view frame, unsigned op)
{
    struct mps_gap gap;
    struct mps_puback puback;
    const char *what;
    link->frames[op]++;
    if (op == MPS_OP_PUBACK && mps_decode_puback(frame, &puback, &what) == MPS_OK) link->acked_pid = puback.pid;
    if (op == MPS_OP_GAP && mps_decode_gap(frame, &gap, &what) == MPS_OK) link->lost += gap.count;
    if (op == MPS_OP_ERR) fail("the broker refused something: %.*s", (int)frame.len, (const char *)frame.ptr);
}

/* Tells frames apart, and keeps the beginning of one that isn't complete. */
static void look(struct link *link, const uint8_t *bytes, size_t len)
{
    static const struct mps_limits limits = {MPS_HEAD_MAX, MPS_VALUES_MAX, MPS_PAYLOAD_MAX};
    if (link->kept_len + len > link->kept_cap) {
        link->kept_cap = 2 * (link->kept_len + len);
        link->kept = realloc(link->kept, link->kept_cap);
        if (link->kept == NULL) fail("no memory");
    }
    memcpy(link->kept + link->kept_len, bytes, len);
    link->kept_len += len;
    size_t at = 0;
    enum mps_scan_result result;
    while ((result = mps_scan(&link->scan, link->kept + at, link->kept_len - at, &limits)) == MPS_SCAN_FRAME) {
        note_frame(link, (mps_view){link->kept + at, link->scan.pos}, link->scan.op);
        at += link->scan.pos;
        link->scan = (struct mps_scan){0};
    }
    if (result != MPS_SCAN_MORE) fail("the broker sent what is no frame: %s", link->scan.error);
    memmove(link->kept, link->kept + at, link->kept_len - at);
    link->kept_len -= at;
}

static ssize_t take(struct link *link, const struct iovec *pieces, int count)
{
    if (link->takes_nothing) return 0;
    size_t taken = 0;
    for (int i = 0; i < count; i++) {
        if (link->looks) look(link, pieces[i].iov_base, pieces[i].iov_len);
        taken += pieces[i].iov_len;
    }
    link->bytes += taken;
    return (ssize_t)taken;
}

SEPARATE ssize_t uncounted_take(struct link *link, const struct iovec *pieces, int count);
SEPARATE ssize_t uncounted_take(struct link *link, const struct iovec *pieces, int count)
{
    return take(link, pieces, count);
}

static ssize_t env_send(struct env *env, struct link *link, const struct iovec *pieces, int count)
{
    (void)env;
    return measuring ? uncounted_take(link, pieces, count) : take(link, pieces, count);
}

static void env_send_end(struct env *env, struct link *link)
{
    (void)env;
    (void)link;
}

static void env_reading(struct env *env, struct link *link, int on)
{
    (void)env;
    link->reading = on != 0;
}

static void env_close(struct env *env, struct link *link)
{
    (void)env;
    link->session = NULL;
}

static void env_log(struct env *env, const struct log_record *record)
{
    (void)env;
    if (event_level(record->event) == LOG_ERROR) fail("the broker logs: %s", record->text);
}

static bool env_logs(struct env *env, enum log_level level)
{
    (void)env;
    return level < LOG_DEBUG;
}

/* ---- the world ----------------------------------------------------------------------------------------------------
 */

struct world *world_new(void)
{
    struct broker_limits limits;
    broker_defaults(&limits);
    limits.sys_ms = 0; /* reports would come into the counts */
    struct world *world = calloc(1, sizeof *world);
    if (world == NULL) fail("no memory");
    world->env = (struct env){.now_ms = env_now,
                              .wall_ms = env_wall,
                              .random = env_random,
                              .send = env_send,
                              .send_end = env_send_end,
                              .reading = env_reading,
                              .close = env_close,
                              .log = env_log,
                              .logs = env_logs};
    world->random = 1;
    world->broker = broker_new(&world->env, &limits);
    return world;
}

/* ---- what is kept ------------------------------------------------------------------------------------------------ */

static struct store *real_of(struct store *store)
{
    return ((struct front *)(void *)store)->real;
}

static int front_load(struct store *store, const struct store_visitor *visitor, char text[STORE_TEXT_MAX])
{
    return real_of(store)->load(real_of(store), visitor, text);
}

SEPARATE void uncounted_commit(struct store *store, const struct store_batch *batch);
SEPARATE void uncounted_commit(struct store *store, const struct store_batch *batch)
{
    store->commit(store, batch);
}

static void front_commit(struct store *store, const struct store_batch *batch)
{
    if (measuring) uncounted_commit(real_of(store), batch);
    else real_of(store)->commit(real_of(store), batch);
}

SEPARATE void uncounted_read(struct store *store, struct store_read *read);
SEPARATE void uncounted_read(struct store *store, struct store_read *read)
{
    store->read(store, read);
}

static void front_read(struct store *store, struct store_read *read)
{
    if (measuring) uncounted_read(real_of(store), read);
    else real_of(store)->read(real_of(store), read);
}

static void front_poll(struct store *store)
{
    struct store *real = real_of(store);
    real->events = store->events;
    real->poll(real);
}

void world_keep(struct world *world, const char *pattern)
{
    char text[STORE_TEXT_MAX];
    const struct stream_config stream = {.name = "kept", .patterns = &pattern, .patterns_count = 1};
    world->disk = memory_disk_new();
    world->front = (struct front){
        .store = {.load = front_load, .commit = front_commit, .read = front_read, .poll = front_poll},
        .real = memory_store_open(world->disk),
    };
    if (broker_open_store(world->broker, &world->front.store, &stream, 1, text, sizeof text) != 0) fail("%s", text);
}

/* ---- turns ------------------------------------------------------------------------------------------------------- */

/* The store has something to tell as soon as it was asked. */
static bool poll_store(struct world *world)
{
    if (world->disk == NULL || !memory_store_ready(world->front.real)) return false;
    broker_poll_store(world->broker);
    return true;
}

static void settle(struct world *world)
{
    for (int turns = 0; broker_turn(world->broker) == 0 || poll_store(world); turns++) {
        if (turns == TURNS_MAX) fail("the broker's core never comes to rest");
    }
}

void world_free(struct world *world)
{
    for (size_t i = 0; i < world->links_count; i++) world_drop(world->links[i]);
    settle(world);
    broker_free(world->broker);
    if (world->disk != NULL) {
        world->front.real->close(world->front.real);
        memory_disk_free(world->disk);
    }
    for (size_t i = 0; i < world->links_count; i++) {
        free(world->links[i]->kept);
        free(world->links[i]);
    }
    free(world);
}

struct broker *world_broker(struct world *world)
{
    return world->broker;
}

static struct link *add_link(struct world *world)
{
    struct link *link = calloc(1, sizeof *link);
    if (link == NULL || world->links_count == LINKS_MAX) fail("no room for another link");
    link->looks = link->reading = true;
    return world->links[world->links_count++] = link;
}

SEPARATE struct link *uncounted_add_link(struct world *world);
SEPARATE struct link *uncounted_add_link(struct world *world)
{
    return add_link(world);
}

struct link *world_connect(struct world *world)
{
    struct link *link = measuring ? uncounted_add_link(world) : add_link(world);
    link->session = session_new(world->broker, link);
    if (link->session == NULL) fail("the broker takes no more connections");
    return link;
}

void world_greet(struct world *world, struct link *link)
{
    uint8_t hello[64];
    struct mps_out out = mps_out_open(hello, sizeof hello);
    mps_encode_hello(&out, &(struct mps_hello){.magic = mps_text("mps"), .version = 1});
    world_turn(world, link, hello, out.len);
    if (link->frames[MPS_OP_WELCOME] != 1) fail("the broker did not say WELCOME");
}

struct link *world_join(struct world *world)
{
    struct link *link = world_connect(world);
    world_greet(world, link);
    return link;
}

void world_drop(struct link *link)
{
    if (link->session != NULL) session_closed(link->session);
    link->session = NULL;
}

void world_end(struct link *link)
{
    if (link->session != NULL) session_read_end(link->session);
}

void world_subscribe(struct world *world, struct link *link, uint32_t sid, const char *pattern,
                     const struct mps_sub_options *options)
{
    uint8_t frame[2048];
    struct mps_out out = mps_out_open(frame, sizeof frame);
    struct mps_sub sub = {.sid = sid, .pattern = mps_text(pattern)};
    if (options != NULL) sub.options = *options;
    uint64_t answers = link->frames[MPS_OP_MARK];
    if (!mps_encode_sub(&out, &sub)) fail("a SUB of more than %zu bytes", sizeof frame);
    world_turn(world, link, frame, out.len);
    if (link->frames[MPS_OP_MARK] != answers + 1) fail("the broker refused the subscription to %s", pattern);
}

SEPARATE void uncounted_copy(uint8_t *to, const uint8_t *from, size_t len);
SEPARATE void uncounted_copy(uint8_t *to, const uint8_t *from, size_t len)
{
    memcpy(to, from, len);
}

void world_turn(struct world *world, struct link *link, const uint8_t *bytes, size_t len)
{
    while (len > 0 && link->session != NULL) {
        if (link->reading) {
            uint8_t *buf;
            size_t cap;
            session_read_buffer(link->session, &buf, &cap);
            size_t piece = len < cap ? len : cap;
            if (measuring) uncounted_copy(buf, bytes, piece);
            else memcpy(buf, bytes, piece);
            session_read(link->session, piece);
            bytes += piece;
            len -= piece;
        } else {
            broker_turn(world->broker);
        }
    }
    settle(world);
}
