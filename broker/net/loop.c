#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "access/verifier.h"
#include "log.h"
#include "net.h"

#define TRIM_MS 1000
#define TRIM_BYTES (4u * 1024 * 1024)
/* How long the store may take for the last commit. With the time that closing connections have, all is over in 10 s. */
#define STORE_MS 4000
#define HURRIED_STORE_MS 1000

static struct server *server_of(struct env *env)
{
    return (struct server *)(void *)env;
}

static uint64_t env_now_ms(struct env *env)
{
    return uv_now(&server_of(env)->loop);
}

static uint64_t env_now_us(struct env *env)
{
    (void)env;
    return uv_hrtime() / 1000;
}

static uint64_t env_wall_ms(struct env *env)
{
    (void)env;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void env_random(struct env *env, void *bytes, size_t len)
{
    (void)env;
    if (uv_random(NULL, NULL, bytes, len, 0, NULL) != 0) abort(); /* secrets can't be made from nothing */
}

static void env_log(struct env *env, const struct log_record *record)
{
    (void)env;
    log_write(record);
}

static bool env_logs(struct env *env, enum log_level level)
{
    (void)env;
    return log_wants(level);
}

static void on_again(uv_idle_t *idle)
{
    (void)idle; /* that it is active keeps the loop from waiting */
}

void server_turn_soon(struct server *server)
{
    uv_idle_start(&server->again, on_again);
}

/* Between this and the turn stands the wait for events, which would have no end now that the timer has run. */
static void on_wake(uv_timer_t *timer)
{
    server_turn_soon(timer->data); /* with what is due */
}

static void on_stored(uv_async_t *stored)
{
    struct server *server = stored->data;
    broker_poll_store(server->broker); /* on_turn() follows in the same iteration */
}

void server_wake(void *arg)
{
    struct server *server = arg;
    uv_async_send(&server->stored);
}

static void on_clustered(uv_async_t *clustered)
{
    struct server *server = clustered->data;
    broker_poll_cluster(server->broker); /* on_turn() follows, as above */
}

void server_wake_of_cluster(void *arg)
{
    struct server *server = arg;
    uv_async_send(&server->clustered);
}

static void on_store_late(uv_timer_t *timer)
{
    struct server *server = timer->data;
    server->store_late = true;
    log_line(EVENT_STORE_LATE, NULL, "the disk does not take the last messages in time: they may be lost");
    uv_stop(&server->loop);
}

/* The last connection has gone: what was taken from them is stored. */
static void end_if_stored(struct server *server)
{
    if (broker_store_idle(server->broker)) uv_stop(&server->loop);
    else if (!uv_is_active((uv_handle_t *)&server->store_limit))
        uv_timer_start(&server->store_limit, on_store_late, server->is_hurried ? HURRIED_STORE_MS : STORE_MS, 0);
}

/* Queues that were long have become short: the allocator shall give back what they held. */
static void note_memory(struct server *server)
{
    uint64_t held = broker_held_bytes(server->broker);
    if (held > server->held_most) server->held_most = held;
    if (server->held_most - held < TRIM_BYTES) return;
    server->held_most = held;
    server_trim_soon(server);
}

void server_turn(struct server *server)
{
    uint64_t next_ms = broker_turn(server->broker);
    note_memory(server);
    if (server->broken != NULL) next_ms = 0; /* what their sessions leave behind is for the next turn */
    conn_forget_broken(server);
    if (next_ms == 0) server_turn_soon(server);
    else uv_idle_stop(&server->again);
    uint64_t now_ms = uv_now(&server->loop);
    if (next_ms == UINT64_MAX) uv_timer_stop(&server->wake);
    else uv_timer_start(&server->wake, on_wake, next_ms > now_ms ? next_ms - now_ms : 0, 0);
    if (server->stopping && broker_sessions(server->broker) == 0) end_if_stored(server);
}

/* Once in each iteration of the loop, after all reading: everything that gathered goes out together. */
static void on_turn(uv_check_t *check)
{
    server_turn(check->data);
}

/* Nobody is waited for any more, but for what was taken and is not stored yet. */
static void hurry(struct server *server)
{
    if (server->is_hurried) return;
    server->is_hurried = true;
    log_line(EVENT_STOP_HURRIED, NULL, "told to stop a second time: connections are closed at once");
    broker_drop_all(server->broker);
    if (uv_is_active((uv_handle_t *)&server->store_limit))
        uv_timer_start(&server->store_limit, on_store_late, HURRIED_STORE_MS, 0);
    uv_idle_start(&server->again, on_again);
}

static void on_signal(uv_signal_t *handle, int signum)
{
    struct server *server = handle->data;
    if (server->is_told) hurry(server);
    else
        log_line(EVENT_STOP, LOG_FIELDS(log_word("signal", signum == SIGINT ? "SIGINT" : "SIGTERM")),
                 "told to stop: clients are told, and get what is in their queues");
    server->is_told = true;
    server_stop(server);
}

static void on_trim(uv_timer_t *timer)
{
    (void)timer;
    malloc_trim(0); /* small pieces stay in the allocator's bins otherwise, however many there are */
}

void server_trim_soon(struct server *server)
{
    if (!uv_is_active((uv_handle_t *)&server->trim) && !server->stopping)
        uv_timer_start(&server->trim, on_trim, TRIM_MS, 0);
}

void server_stop(struct server *server)
{
    if (server->stopping) return;
    server->stopping = true;
    listener_close_all(server);
    handshakes_stop(server);
    broker_stop(server->broker);
    server_turn_soon(server); /* also when nobody is connected */
}

void server_lend_reserve(struct server *server, bool lend)
{
    if (lend && server->reserve_fd >= 0) close(server->reserve_fd);
    if (lend) server->reserve_fd = -1;
    else if (server->reserve_fd < 0) server->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

struct server *server_new(const struct broker_limits *limits, const struct address_caps *caps)
{
    struct server *server = calloc(1, sizeof *server);
    if (server == NULL || uv_loop_init(&server->loop) != 0) abort();
    server->env = (struct env){.now_ms = env_now_ms,
                               .now_us = env_now_us,
                               .wall_ms = env_wall_ms,
                               .random = env_random,
                               .log = env_log,
                               .logs = env_logs};
    conn_fill_env(&server->env);
    area_fill_env(server);
    host_fill_env(&server->env);
    server->callers.caps = *caps;
    env_random(&server->env, &server->callers.seed, sizeof server->callers.seed);
    server->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    server->serves_descriptors_only = true;
    server->broker = broker_new(&server->env, limits);
    uv_check_init(&server->loop, &server->turn);
    uv_idle_init(&server->loop, &server->again);
    uv_idle_init(&server->loop, &server->read_more);
    handshakes_init(server);
    uv_timer_init(&server->loop, &server->wake);
    uv_timer_init(&server->loop, &server->accept_again);
    uv_timer_init(&server->loop, &server->trim);
    uv_signal_init(&server->loop, &server->sigint);
    uv_signal_init(&server->loop, &server->sigterm);
    uv_timer_init(&server->loop, &server->store_limit);
    uv_async_init(&server->loop, &server->stored, on_stored);
    uv_async_init(&server->loop, &server->clustered, on_clustered);
    server->turn.data = server->wake.data = server->accept_again.data = server->sigint.data = server->sigterm.data =
        server;
    server->store_limit.data = server->stored.data = server->clustered.data = server->read_more.data = server;
    uv_check_start(&server->turn, on_turn);
    return server;
}

int server_keep(struct server *server, struct store *store, const struct stream_config *streams, size_t count,
                char *text, size_t text_cap)
{
    server->store = store;
    return broker_open_store(server->broker, store, streams, count, text, text_cap);
}

int server_join(struct server *server, struct engine *engine, const struct cluster_config *config, char *text,
                size_t text_cap)
{
    server->engine = engine;
    return broker_join(server->broker, engine, config, text, text_cap);
}

void server_leave(struct server *server)
{
    broker_leave(server->broker);
    if (server->engine != NULL) server->engine->close(server->engine);
    server->engine = NULL;
}

void server_catch_signals(struct server *server)
{
    uv_signal_start(&server->sigint, on_signal, SIGINT);
    uv_signal_start(&server->sigterm, on_signal, SIGTERM);
}

void server_add_ready(struct server *server, const char *url)
{
    size_t len = strlen(server->ready);
    snprintf(server->ready + len, sizeof server->ready - len, " %s", url);
}

int server_run(struct server *server)
{
    uv_run(&server->loop, UV_RUN_DEFAULT);
    return server->store_late ? 1 : 0;
}

/* The store's threads may still use `stored`. */
static void close_handle(uv_handle_t *handle, void *arg)
{
    struct server *server = arg;
    if (handle == (uv_handle_t *)&server->stored) uv_unref(handle);
    else if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

static void on_ignored(uv_signal_t *handle, int signum)
{
    (void)handle, (void)signum;
}

/* A signal that comes from now on must not end the process before all is closed. libuv gives one back to the system as
 * soon as no loop listens to it: so one does that never runs, as long as the process lives. */
static void ignore_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    static uv_loop_t loop;
    static uv_signal_t handles[sizeof numbers / sizeof *numbers];
    if (uv_loop_init(&loop) != 0) return;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        uv_signal_init(&loop, &handles[i]);
        uv_signal_start(&handles[i], on_ignored, numbers[i]);
    }
}

void server_close_store(struct server *server)
{
    if (server->store != NULL) server->store->close(server->store);
    server->store = NULL;
}

void server_free(struct server *server)
{
    ignore_signals();
    listener_close_all(server);
    server_leave(server); /* nobody wakes it any more */
    /* Connections are closing already, with callbacks of their own. */
    uv_walk(&server->loop, close_handle, server);
    uv_run(&server->loop, UV_RUN_DEFAULT);
    broker_free(server->broker);
    server_close_store(server);
    uv_close((uv_handle_t *)&server->stored, NULL);
    uv_run(&server->loop, UV_RUN_DEFAULT);
    uv_loop_close(&server->loop);
    verifier_free(server);
    if (server->reserve_fd >= 0) close(server->reserve_fd);
    area_close(server);
    callers_free(&server->callers);
    for (struct listener_counts *counts = server->counts, *next; counts != NULL; counts = next) {
        next = counts->next;
        free(counts);
    }
    free(server);
}
