#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_access.h"
#include "broker.h"
#include "memory_store.h"
#include "stage.h"
#include "vector_file.h"

/* Longer than a session may wait for its client. */
#define SESSIONS_END_MS (UINT64_C(31) * 86400 * 1000)

struct link {
    struct bench *bench;
    struct session *session;
    int conn;
    uint64_t room; /* bytes that it still takes */
    bool blocked;  /* took less than was offered */
    bool reading;
    bool peer_ended; /* our stream is over */
    bool end_told;
    bool gone;        /* the core has forgotten it */
    uint8_t *waiting; /* sent by us, not read by the core yet */
    size_t waiting_len;
};

struct bench {
    struct stage stage; /* first: a stage is a bench */
    struct env env;
    uint8_t *area; /* what queues spill */
    size_t area_len;
    struct broker_limits limits;
    struct broker *broker;
    struct stage_stream streams[STAGE_STREAMS_MAX];
    size_t streams_count;
    struct memory_disk *disk; /* NULL: the broker keeps nothing */
    struct store *store;
    bool is_full; /* the store has no room */
    bool fails;   /* behind the group that it holds */
    struct bench_access access;
    uint64_t now_ms;
    uint64_t random;
    struct link links[STAGE_CONNS_COUNT];
};

static struct bench *bench_of(struct env *env)
{
    return (struct bench *)((char *)env - offsetof(struct bench, env));
}

static uint64_t env_now(struct env *env)
{
    return bench_of(env)->now_ms;
}

static uint64_t env_wall(struct env *env)
{
    return UINT64_C(1700000000000) + bench_of(env)->now_ms;
}

static void env_random(struct env *env, void *bytes, size_t len)
{
    struct bench *bench = bench_of(env);
    for (size_t i = 0; i < len; i++) {
        bench->random = bench->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        ((uint8_t *)bytes)[i] = (uint8_t)(bench->random >> 56);
    }
}

static ssize_t env_send(struct env *env, struct link *link, const struct iovec *pieces, int count)
{
    (void)env;
    size_t taken = 0;
    for (int i = 0; i < count; i++) {
        size_t len = pieces[i].iov_len < link->room ? pieces[i].iov_len : (size_t)link->room;
        inbox_add(&link->bench->stage.inbox[link->conn], pieces[i].iov_base, len);
        if (link->room != ROOM_UNLIMITED) link->room -= len;
        taken += len;
        if (len < pieces[i].iov_len) {
            link->blocked = true;
            break;
        }
    }
    return (ssize_t)taken;
}

static void env_send_end(struct env *env, struct link *link)
{
    (void)env;
    link->bench->stage.inbox[link->conn].ended = true;
}

static void env_reading(struct env *env, struct link *link, int on)
{
    (void)env;
    link->reading = on != 0;
}

static void env_close(struct env *env, struct link *link)
{
    (void)env;
    link->gone = true;
    link->session = NULL;
    link->bench->stage.inbox[link->conn].ended = true;
}

static int env_area_write(struct env *env, uint64_t at, const void *bytes, size_t len)
{
    struct bench *bench = bench_of(env);
    if (at + len > bench->area_len) {
        bench->area = realloc(bench->area, at + len);
        if (bench->area == NULL) abort();
        bench->area_len = at + len;
    }
    memcpy(bench->area + at, bytes, len);
    return 0;
}

static int env_area_read(struct env *env, uint64_t at, void *bytes, size_t len)
{
    memcpy(bytes, bench_of(env)->area + at, len);
    return 0;
}

static void env_log(struct env *env, const struct log_record *record)
{
    (void)env;
    (void)record;
}

/* Gives the core what waits on a link, as far as it reads. */
static void feed(struct link *link)
{
    while (link->session != NULL && link->reading && link->waiting_len > 0) {
        uint8_t *buf;
        size_t cap;
        session_read_buffer(link->session, &buf, &cap);
        size_t len = link->waiting_len < cap ? link->waiting_len : cap;
        memcpy(buf, link->waiting, len);
        memmove(link->waiting, link->waiting + len, link->waiting_len - len);
        link->waiting_len -= len;
        session_read(link->session, len);
    }
    if (link->session != NULL && link->reading && link->peer_ended && !link->end_told && link->waiting_len == 0) {
        link->end_told = true;
        session_read_end(link->session);
    }
}

static bool has_input(const struct link *link)
{
    return link->session != NULL && link->reading && (link->waiting_len > 0 || (link->peer_ended && !link->end_told));
}

static bool store_is_ready(const struct bench *bench)
{
    return bench->store != NULL && memory_store_ready(bench->store);
}

/* One turn of the loop. Returns when the core wants to be called again, 0 if there is more to do now. */
static uint64_t turn(struct bench *bench)
{
    if (store_is_ready(bench)) broker_poll_store(bench->broker);
    bool answered = bench_access_turn(&bench->access);
    for (int i = 0; i < STAGE_CONNS_COUNT; i++) {
        struct link *link = &bench->links[i];
        if (link->session != NULL && link->blocked && link->room > 0) {
            link->blocked = false;
            session_writable(link->session);
        }
        feed(link);
    }
    uint64_t next_ms = broker_turn(bench->broker);
    for (int i = 0; i < STAGE_CONNS_COUNT; i++) {
        if (has_input(&bench->links[i])) return 0; /* it reads again */
    }
    return store_is_ready(bench) || answered || bench->access.asking != NULL ? 0 : next_ms;
}

/* Turns until there is nothing to do at this moment. Returns when the core wants to be called again. */
static uint64_t settle(struct bench *bench)
{
    for (int turns = 0; turns < 100000; turns++) {
        uint64_t next_ms = turn(bench);
        if (next_ms > bench->now_ms) return next_ms;
    }
    fprintf(stderr, "the broker's core never comes to rest\n");
    abort();
}

static bool bench_connect(struct stage *stage, int conn)
{
    struct bench *bench = (struct bench *)stage;
    struct link *link = &bench->links[conn];
    *link = (struct link){.bench = bench, .conn = conn, .room = ROOM_UNLIMITED, .reading = true};
    link->session = session_new(bench->broker, link);
    if (link->session == NULL) {
        size_t len;
        const uint8_t *frame = broker_full_frame(broker_full_text(bench->broker), &len);
        inbox_add(&stage->inbox[conn], frame, len);
        stage->inbox[conn].ended = true;
    }
    settle(bench);
    return true;
}

static bool bench_set_peer(struct stage *stage, int conn, const char *who)
{
    struct bench *bench = (struct bench *)stage;
    struct peer peer = {.kind = PEER_UNIX, .uid = 1000};
    peer.is_own = strcmp(who, "operator") == 0;
    peer.needs_identity = strcmp(who, "nameless") == 0;
    if (!peer.is_own && !peer.needs_identity && sscanf(who, "uid %u", &peer.uid) != 1) return false;
    if (bench->links[conn].session != NULL) session_set_peer(bench->links[conn].session, &peer);
    return true;
}

static bool bench_access(struct stage *stage, const char *words)
{
    struct bench *bench = (struct bench *)stage;
    bool good = bench_access_say(&bench->access, bench->broker, words);
    settle(bench);
    return good;
}

static enum verify_answer env_verify(struct env *env, struct link *link, struct session *session,
                                     const struct proof *proof, struct verdict *verdict)
{
    (void)link;
    return bench_access_verify(&bench_of(env)->access, session, proof, verdict);
}

static void env_verify_forget(struct env *env, struct session *session)
{
    bench_access_forget(&bench_of(env)->access, session);
}

static void bench_send(struct stage *stage, int conn, const uint8_t *bytes, size_t len)
{
    struct bench *bench = (struct bench *)stage;
    struct link *link = &bench->links[conn];
    if (link->session == NULL) return; /* as bytes to a closed socket: nobody reads them */
    link->waiting = realloc(link->waiting, link->waiting_len + len + 1);
    if (link->waiting == NULL) abort();
    memcpy(link->waiting + link->waiting_len, bytes, len);
    link->waiting_len += len;
    settle(bench);
}

static bool bench_wait(struct stage *stage, int conn)
{
    (void)stage;
    (void)conn;
    return false; /* whatever comes has come at the end of settle() */
}

static void bench_poll(struct stage *stage, int conn)
{
    (void)stage;
    (void)conn;
}

static void bench_end(struct stage *stage, int conn)
{
    struct bench *bench = (struct bench *)stage;
    bench->links[conn].peer_ended = true;
    settle(bench);
}

static void bench_drop(struct stage *stage, int conn)
{
    struct bench *bench = (struct bench *)stage;
    struct link *link = &bench->links[conn];
    if (link->session != NULL) session_closed(link->session);
    link->session = NULL;
    link->gone = true;
    stage->inbox[conn].ended = true;
    settle(bench);
}

static void bench_room(struct stage *stage, int conn, uint64_t bytes)
{
    struct bench *bench = (struct bench *)stage;
    bench->links[conn].room = bytes;
    settle(bench);
}

static void bench_pass(struct stage *stage, uint64_t ms)
{
    struct bench *bench = (struct bench *)stage;
    uint64_t until_ms = bench->now_ms + ms;
    for (uint64_t next_ms = settle(bench); next_ms <= until_ms; next_ms = settle(bench)) bench->now_ms = next_ms;
    bench->now_ms = until_ms;
    settle(bench);
}

static void drop_all(struct bench *bench)
{
    for (int i = 0; i < STAGE_CONNS_COUNT; i++) {
        if (bench->stage.open[i] && !bench->links[i].gone) bench_drop(&bench->stage, i);
    }
    settle(bench);
}

/* ---- the broker's store ------------------------------------------------------------------------------------- */

/* A broker on what the disk holds. */
static bool begin_broker(struct bench *bench, char *error, size_t cap)
{
    bench->broker = broker_new(&bench->env, &bench->limits);
    if (bench->streams_count == 0) return true;
    struct stream_config configs[STAGE_STREAMS_MAX];
    for (size_t i = 0; i < bench->streams_count; i++) {
        const struct stage_stream *stream = &bench->streams[i];
        configs[i] = (struct stream_config){.name = stream->name,
                                            .patterns = stream->patterns,
                                            .patterns_count = stream->patterns_count,
                                            .max_bytes = stream->max_bytes,
                                            .max_msgs = stream->max_msgs,
                                            .max_age_ms = stream->max_age_ms,
                                            .refuses = stream->refuses};
    }
    bench->store = memory_store_open(bench->disk);
    return broker_open_store(bench->broker, bench->store, configs, bench->streams_count, error, cap) == 0;
}

static void let_store_go_on(struct bench *bench)
{
    memory_store_hold(bench->store, false, false);
    if (bench->is_full) memory_store_fail_commits(bench->store, STORE_FULL, 0);
    bench->is_full = false;
    while (memory_store_finish_commit(bench->store)) {
        if (bench->fails) memory_store_fail_commits(bench->store, STORE_FAILED, 1);
        bench->fails = false;
        settle(bench);
    }
}

static bool bench_store(struct stage *stage, const struct stage_store *happens)
{
    struct bench *bench = (struct bench *)stage;
    if (bench->store == NULL) return false;
    bool can = true;
    switch (happens->event) {
    case STORE_HOLDS: memory_store_hold(bench->store, true, false); break;
    case STORE_GOES_ON: let_store_go_on(bench); break;
    case STORE_IS_FULL:
        memory_store_fail_commits(bench->store, STORE_FULL, UINT32_MAX);
        bench->is_full = true;
        break;
    case STORE_FAILS:
        bench->fails = memory_store_committing(bench->store);
        if (!bench->fails) memory_store_fail_commits(bench->store, STORE_FAILED, 1);
        break;
    case STORE_DAMAGES: can = memory_disk_damage(bench->disk, happens->stream, happens->position, false); break;
    }
    settle(bench);
    return can;
}

/* It dies at this moment: what it would still store when its connections go never reaches the disk. */
static bool bench_restart(struct stage *stage)
{
    struct bench *bench = (struct bench *)stage;
    char error[256];
    if (bench->store != NULL) memory_store_hold(bench->store, true, true);
    drop_all(bench);
    broker_free(bench->broker);
    if (bench->store != NULL) memory_store_crash(bench->store, false);
    return begin_broker(bench, error, sizeof error);
}

static bool bench_close(struct stage *stage, char *error, size_t cap)
{
    struct bench *bench = (struct bench *)stage;
    if (bench->store != NULL) let_store_go_on(bench); /* a broker that stops waits for it */
    drop_all(bench);
    bench_pass(stage, 1000ull * bench->limits.session_max_s + 1000); /* no session lives longer */
    struct broker_figures left;
    broker_figures(bench->broker, &left);
    if (left.sessions_away > 0) bench_pass(stage, SESSIONS_END_MS); /* they end by themselves */
    broker_figures(bench->broker, &left);
    bool clean = broker_sessions(bench->broker) == 0 && left.subscriptions == 0;
    if (!clean)
        snprintf(error, cap, "left in the broker: %zu sessions, %llu subscriptions", broker_sessions(bench->broker),
                 (unsigned long long)left.subscriptions);
    else broker_free(bench->broker);
    if (clean && bench->disk != NULL) {
        bench->store->close(bench->store);
        memory_disk_free(bench->disk);
    }
    for (int i = 0; i < STAGE_CONNS_COUNT; i++) {
        free(bench->links[i].waiting);
        free(stage->inbox[i].at);
    }
    bench_access_free(&bench->access);
    free(bench->area);
    free(bench);
    return clean;
}

/* Reads "name=number ..." into the limits that the broker has. */
static bool read_limits(struct broker_limits *limits, const char *text)
{
    const struct {
        const char *name;
        void *field;
        size_t size;
    } known[] = {
#define LIMIT(field) {#field, &limits->field, sizeof limits->field}
        LIMIT(max_payload),        LIMIT(max_sessions_count),  LIMIT(max_subs_count),
        LIMIT(queue_msgs_count),   LIMIT(queue_bytes),         LIMIT(queue_msgs_cap_count),
        LIMIT(queue_bytes_cap),    LIMIT(session_queue_bytes), LIMIT(retained_bytes),
        LIMIT(pub_window_count),   LIMIT(handshake_ms),        LIMIT(closing_ms),
        LIMIT(keepalive_max_s),    LIMIT(queue_total_bytes),   LIMIT(sys_ms),
        LIMIT(session_max_s),      LIMIT(spill_bytes),         LIMIT(max_away_count),
        LIMIT(max_filters_count),  LIMIT(pattern_bytes),       LIMIT(max_retained_count),
        LIMIT(inflight_cap_count), LIMIT(publish_rate),        LIMIT(publish_rate_bytes),
        LIMIT(publish_delay_ms),
#undef LIMIT
    };
    while (*text != '\0') {
        char name[32];
        unsigned long long number;
        int len = 0;
        if (sscanf(text, " %31[a-z_]=%llu%n", name, &number, &len) != 2) return false;
        size_t i = 0;
        while (i < sizeof known / sizeof *known && strcmp(name, known[i].name) != 0) i++;
        if (i == sizeof known / sizeof *known) return false;
        if (known[i].size == sizeof(uint32_t)) *(uint32_t *)known[i].field = (uint32_t)number;
        else *(uint64_t *)known[i].field = number;
        text += len;
    }
    return true;
}

static bool read_streams(struct bench *bench, char *const *streams, size_t count)
{
    if (count > STAGE_STREAMS_MAX) return false;
    for (bench->streams_count = 0; bench->streams_count < count; bench->streams_count++) {
        size_t i = bench->streams_count;
        if (!stage_stream_parse(streams[i], &bench->streams[i])) return false;
    }
    return true;
}

struct stage *bench_open(const char *text, char *const *streams, size_t streams_count, char *error, size_t cap)
{
    struct broker_limits limits;
    broker_defaults(&limits);
    if (text != NULL && !read_limits(&limits, text)) {
        snprintf(error, cap, "unknown limits: %s", text);
        return NULL;
    }
    struct bench *bench = calloc(1, sizeof *bench);
    if (bench == NULL) abort();
    bench->stage = (struct stage){.connect = bench_connect,
                                  .set_peer = bench_set_peer,
                                  .send = bench_send,
                                  .wait = bench_wait,
                                  .poll = bench_poll,
                                  .end = bench_end,
                                  .drop = bench_drop,
                                  .room = bench_room,
                                  .pass = bench_pass,
                                  .access = bench_access,
                                  .store = bench_store,
                                  .restart = bench_restart,
                                  .close = bench_close};
    bench->env = (struct env){.now_ms = env_now,
                              .wall_ms = env_wall,
                              .random = env_random,
                              .send = env_send,
                              .send_end = env_send_end,
                              .reading = env_reading,
                              .close = env_close,
                              .log = env_log,
                              .area_write = env_area_write,
                              .area_read = env_area_read,
                              .verify = env_verify,
                              .verify_forget = env_verify_forget};
    bench->now_ms = 1000000;
    bench->random = 1;
    bench->limits = limits;
    if (!read_streams(bench, streams, streams_count)) {
        snprintf(error, cap, "more streams than there can be");
        free(bench);
        return NULL;
    }
    if (streams_count > 0) bench->disk = memory_disk_new();
    if (begin_broker(bench, error, cap)) return &bench->stage;
    bench_close(&bench->stage, error, 0);
    return NULL;
}
