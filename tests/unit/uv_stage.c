#include "uv_stage.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct uv_stage on_loop;

static uv_timer_t tick; /* lets uv_run() return */

/* ---- the resolver: instead of the C library's, also for libuv's threads --------------------------------------- */

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool gate_open, blocked;
    int lookups;
    pthread_t loop_thread;
} resolver = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

typedef int lookup_fn(const char *, const char *, const struct addrinfo *, struct addrinfo **);

static int real_lookup(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    void *symbol = dlsym(RTLD_NEXT, "getaddrinfo");
    lookup_fn *real;
    memcpy(&real, &symbol, sizeof real);
    return real(node, service, hints, found);
}

static bool is_late(const char *node)
{
    return strcmp(node, "late.test") == 0 || strcmp(node, "late-too.test") == 0;
}

static void enter(const char *node)
{
    pthread_mutex_lock(&resolver.mutex);
    resolver.lookups++;
    if (pthread_equal(pthread_self(), resolver.loop_thread)) resolver.blocked = true;
    while (strcmp(node, "slow.test") == 0 && !resolver.gate_open) pthread_cond_wait(&resolver.changed, &resolver.mutex);
    pthread_mutex_unlock(&resolver.mutex);
    if (is_late(node)) usleep(60000);
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    if (hints != NULL && hints->ai_flags & AI_NUMERICHOST) return real_lookup(node, service, hints, found);
    enter(node);
    if (strcmp(node, "two.test") == 0) {
        int rc = real_lookup("127.0.0.2", service, hints, found);
        return rc != 0 ? rc : real_lookup("127.0.0.1", service, hints, &(*found)->ai_next);
    }
    if (strcmp(node, "broker.test") != 0 && strcmp(node, "slow.test") != 0 && !is_late(node)) return EAI_NONAME;
    return real_lookup("127.0.0.1", service, hints, found);
}

void uv_stage_gate(bool open)
{
    pthread_mutex_lock(&resolver.mutex);
    resolver.gate_open = open;
    pthread_cond_broadcast(&resolver.changed);
    pthread_mutex_unlock(&resolver.mutex);
}

int uv_stage_lookups(void)
{
    pthread_mutex_lock(&resolver.mutex);
    int count = resolver.lookups;
    pthread_mutex_unlock(&resolver.mutex);
    return count;
}

bool uv_stage_lookups_blocked(void)
{
    pthread_mutex_lock(&resolver.mutex);
    bool blocked = resolver.blocked;
    pthread_mutex_unlock(&resolver.mutex);
    return blocked;
}

/* ---- the loop --------------------------------------------------------------------------------------------------- */

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

/* One turn. The timer comes again: it may run out before the loop waits, and is needed then. */
static int work(struct stage *stage, int timeout_ms)
{
    (void)stage;
    if (timeout_ms > 0) uv_timer_start(&tick, on_tick, (uint64_t)timeout_ms, (uint64_t)timeout_ms);
    uv_run(&on_loop.loop, timeout_ms > 0 ? UV_RUN_ONCE : UV_RUN_NOWAIT);
    uv_timer_stop(&tick);
    return 0;
}

void uv_stage_until(struct stage *stage, bool (*done)(void))
{
    int64_t until = stage_now_ms() + PATIENCE_MS;
    while (!done() && stage_now_ms() < until) work(stage, 20);
    assert_true(done());
}

bool uv_stage_is_closed(void)
{
    return on_loop.bus == NULL;
}

int uv_stage_set_up(void **state)
{
    if (stage_set_up(state) != 0) return -1;
    struct stage *stage = *state;
    memset(&on_loop, 0, sizeof on_loop);
    resolver.lookups = 0;
    resolver.blocked = false;
    resolver.gate_open = true;
    resolver.loop_thread = pthread_self();
    stage->work = work;
    if (uv_loop_init(&on_loop.loop) != 0) return -1;
    return uv_timer_init(&on_loop.loop, &tick);
}

int uv_stage_set_up_tcp(void **state)
{
    if (uv_stage_set_up(state) != 0) return -1;
    struct stage *stage = *state;
    int port = stage_listen_tcp(stage);
    if (port < 0) return -1;
    on_loop.port = port;
    snprintf(stage->url, sizeof stage->url, "tcp://broker.test:%d", on_loop.port);
    return 0;
}

int uv_stage_tear_down(void **state)
{
    struct stage *stage = *state;
    uv_stage_gate(true);
    if (on_loop.bus != NULL) {
        if (!pubsub_uv_is_closing(on_loop.bus)) pubsub_uv_close(on_loop.bus, 0, uv_stage_on_closed);
        uv_stage_until(stage, uv_stage_is_closed);
    }
    uv_close((uv_handle_t *)&tick, NULL);
    uv_run(&on_loop.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&on_loop.loop), 0);
    assert_false(uv_stage_lookups_blocked());
    stage->client = NULL;
    return stage_tear_down(state);
}

void uv_stage_on_closed(struct pubsub_uv *bus)
{
    assert_ptr_equal(bus, on_loop.bus);
    assert_null(pubsub_uv_client(bus));
    on_loop.closed_count++;
    on_loop.bus = NULL;
    free(bus);
}

void uv_stage_init(struct stage *stage, const struct pubsub_options *options)
{
    char text[256] = "";
    struct pubsub_uv *bus = malloc(sizeof *bus);
    assert_non_null(bus);
    memset(bus, 0xa5, sizeof *bus); /* what it is initialised from does not matter */
    bus->data = stage;
    if (pubsub_uv_init(&on_loop.loop, bus, options, text, sizeof text) != PUBSUB_OK) {
        free(bus);
        fail_msg("%s", text);
    }
    assert_ptr_equal(bus->data, stage);
    on_loop.bus = bus;
    stage->client = pubsub_uv_client(bus);
}

void uv_stage_connect(struct stage *stage, const struct pubsub_options *options)
{
    uv_stage_init(stage, options);
    stage_accept(stage);
    stage_say_welcome(stage, 10, 1000);
    stage_wait_for_log(stage, "connected\n");
}
