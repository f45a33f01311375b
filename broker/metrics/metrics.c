#include "metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "door.h"
#include "http.h"
#include "log.h"
#include "net/net.h"
#include "overview.h"
#include "page.h"
#include "process.h"
#include "sure.h"

#define TICK_MS 1000u
/* A page is given to all who ask so soon after it was written: whoever asks without a pause learns nothing new. */
#define PAGE_MS 200u
#define PLAIN "text/plain; charset=utf-8"

enum reload { RELOAD_KEEP, RELOAD_OPEN, RELOAD_CLOSE };

struct metrics {
    struct server *server;
    struct http *http; /* NULL while nothing is served */
    struct door *door, *fresh_door;
    struct metrics_config config, fresh;
    enum reload reload; /* what is to be applied */
    mode_t operators_umask;
    int handles_open; /* of the two here */
    uv_timer_t tick;
    uint64_t tick_ns; /* when it is due */
    uv_idle_t gather; /* active while the overview is being filled */
    bool is_gathering;
    struct overview *overview; /* NULL until something is served */
    struct page_delays delays;
    uint64_t started_ms; /* Unix time of the broker's start */
    char *page;          /* the last one; NULL: there was no memory for it, or none was asked for */
    size_t page_len;
    uint64_t page_ms; /* when it was written; monotonic. 0: never */
};

/* ---- the page ----------------------------------------------------------------------------------------------- */

struct listeners {
    struct listener_figures figures[2 * LISTEN_MAX];
    size_t count;
};

static void note_listener(const struct listener_figures *figures, void *arg)
{
    struct listeners *listeners = arg;
    if (listeners->count < sizeof listeners->figures / sizeof *figures)
        listeners->figures[listeners->count++] = *figures;
}

static void write_page(struct metrics *metrics)
{
    struct server *server = metrics->server;
    struct env *env = &server->env;
    struct listeners listeners = {.count = 0};
    struct host_figures host = {UINT64_MAX, UINT64_MAX, UINT64_MAX};
    struct page_process process;
    env->each_listener(env, note_listener, &listeners);
    server_lend_reserve(server, true); /* they open files */
    env->measure(env, &host);
    process_look(&process, server->links_count);
    server_lend_reserve(server, false);
    process.started_ms = metrics->started_ms;
    struct page_source source = {.overview = metrics->overview,
                                 .limits = broker_limits_of(server->broker),
                                 .listeners = listeners.figures,
                                 .listeners_count = listeners.count,
                                 .host = &host,
                                 .process = &process,
                                 .delays = &metrics->delays};
    free(metrics->page);
    metrics->page = page_write(&source, &metrics->page_len);
    metrics->page_ms = uv_now(&server->loop);
}

static void stop_gathering(struct metrics *metrics)
{
    metrics->is_gathering = false;
    uv_idle_stop(&metrics->gather);
    broker_overview_stop(metrics->server->broker);
}

/* Returns whether the page is written. */
static bool gather_some(struct metrics *metrics)
{
    if (!broker_overview_step(metrics->server->broker)) return false;
    stop_gathering(metrics);
    write_page(metrics);
    return true;
}

static void on_gather(uv_idle_t *idle)
{
    struct metrics *metrics = idle->data;
    if (gather_some(metrics)) http_wake(metrics->http);
}

static bool has_page(const struct metrics *metrics)
{
    return metrics->page_ms > 0 && uv_now(&metrics->server->loop) - metrics->page_ms < PAGE_MS;
}

/* A million queues take many turns to look through: then whoever asks is answered later. */
static bool need_page(struct metrics *metrics)
{
    if (has_page(metrics)) return true;
    if (metrics->is_gathering) return false;
    broker_overview_begin(metrics->server->broker, metrics->overview);
    if (gather_some(metrics)) return true;
    metrics->is_gathering = true;
    uv_idle_start(&metrics->gather, on_gather);
    return false;
}

/* ---- answers ------------------------------------------------------------------------------------------------ */

static void say(struct http_page *page, unsigned status, const char *text)
{
    *page = (struct http_page){status, PLAIN, text, strlen(text)};
}

static bool answer_metrics(struct metrics *metrics, struct http_page *page)
{
    if (!need_page(metrics)) return false;
    if (metrics->page == NULL) say(page, 503, "there is no memory for this page\n");
    else *page = (struct http_page){200, PAGE_TYPE, metrics->page, metrics->page_len};
    return true;
}

/* Why nobody should be sent here now. NULL: they may come. */
static const char *why_not_ready(const struct server *server)
{
    if (server->stopping) return "the broker is stopping\n";
    if (server->listeners == NULL && !server->serves_descriptors_only) return "the broker serves no address\n";
    if (broker_store_is_failing(server->broker))
        return "the last commit did not reach the disk: messages of streams are not stored\n";
    return NULL;
}

static bool answer(void *arg, const char *path, struct http_page *page)
{
    struct metrics *metrics = arg;
    if (strcmp(path, "/metrics") == 0) return answer_metrics(metrics, page);
    if (strcmp(path, "/healthz") == 0) {
        say(page, 200, "alive\n");
    } else if (strcmp(path, "/readyz") == 0) {
        const char *why = why_not_ready(metrics->server);
        say(page, why != NULL ? 503 : 200, why != NULL ? why : "ready\n");
    } else {
        say(page, 404, "there are /metrics, /healthz and /readyz\n");
    }
    return true;
}

/* ---- the tick ----------------------------------------------------------------------------------------------- */

static void count_delay(struct page_delays *delays, uint64_t delay_us)
{
    size_t i = 0;
    while (i < PAGE_DELAYS - 1 && delay_us > page_delays_us[i]) i++;
    delays->count[i]++;
    delays->total_us += delay_us;
}

static void await_tick(struct metrics *metrics);

static void on_tick(uv_timer_t *timer)
{
    struct metrics *metrics = timer->data;
    uint64_t now_ns = uv_hrtime();
    count_delay(&metrics->delays, now_ns > metrics->tick_ns ? (now_ns - metrics->tick_ns) / 1000 : 0);
    http_tick(metrics->http);
    door_go_on(metrics->door);
    await_tick(metrics);
}

static void await_tick(struct metrics *metrics)
{
    uv_update_time(&metrics->server->loop);
    metrics->tick_ns = uv_hrtime() + TICK_MS * UINT64_C(1000000);
    uv_timer_start(&metrics->tick, on_tick, TICK_MS, 0);
}

/* ---- opening and closing ------------------------------------------------------------------------------------ */

static void take(void *arg, int fd)
{
    struct metrics *metrics = arg;
    http_take(metrics->http, fd);
}

/* Before a client of the broker takes the descriptor, which then would stay taken. */
static void on_freed(void *arg)
{
    struct metrics *metrics = arg;
    door_go_on(metrics->door);
}

static void make(struct server *server, mode_t operators_umask)
{
    struct metrics *metrics = sure_zeroed(sizeof *metrics);
    metrics->server = server;
    metrics->operators_umask = operators_umask;
    metrics->started_ms = server->env.wall_ms(&server->env);
    uv_timer_init(&server->loop, &metrics->tick);
    uv_idle_init(&server->loop, &metrics->gather);
    metrics->handles_open = 2;
    metrics->tick.data = metrics->gather.data = metrics;
    server->metrics = metrics;
}

static void stop_serving(struct metrics *metrics)
{
    if (metrics->is_gathering) stop_gathering(metrics);
    uv_timer_stop(&metrics->tick);
    http_free(metrics->http);
    door_close(metrics->door);
    metrics->http = NULL;
    metrics->door = NULL;
    free(metrics->page);
    free(metrics->overview);
    metrics->page = NULL;
    metrics->overview = NULL;
    metrics->page_ms = 0;
}

int metrics_prepare(struct server *server, const struct config *fresh, char *text, size_t text_cap)
{
    struct metrics *metrics = server->metrics;
    const struct metrics_config *config = &fresh->metrics;
    metrics->fresh = *config;
    metrics->reload = RELOAD_KEEP;
    if (strcmp(config->url, metrics->config.url) == 0) {
        if (metrics->door == NULL || config->allow_remote || !door_is_remote(metrics->door)) return 0;
        return door_check(config, text, text_cap);
    }
    if (config->url[0] == '\0') {
        metrics->reload = RELOAD_CLOSE;
        return 0;
    }
    metrics->fresh_door = door_open(&server->loop, config, metrics->operators_umask, text, text_cap);
    if (metrics->fresh_door == NULL) return -1;
    if (metrics->http == NULL) metrics->http = http_new(&server->loop, answer, on_freed, metrics);
    if (metrics->http != NULL) {
        metrics->reload = RELOAD_OPEN;
        return 0;
    }
    snprintf(text, text_cap, "cannot serve metrics at '%s': there is no memory, or no file descriptor, for it",
             config->url);
    metrics_discard(server);
    return -1;
}

void metrics_discard(struct server *server)
{
    struct metrics *metrics = server->metrics;
    door_close(metrics->fresh_door);
    metrics->fresh_door = NULL;
    if (metrics->door != NULL) return;
    http_free(metrics->http);
    metrics->http = NULL;
}

void metrics_apply(struct server *server)
{
    struct metrics *metrics = server->metrics;
    metrics->config = metrics->fresh;
    switch (metrics->reload) {
    case RELOAD_KEEP: return;
    case RELOAD_CLOSE: stop_serving(metrics); return;
    case RELOAD_OPEN: break;
    }
    door_close(metrics->door);
    metrics->door = metrics->fresh_door;
    metrics->fresh_door = NULL;
    if (metrics->overview == NULL) metrics->overview = sure_zeroed(sizeof *metrics->overview);
    door_accept(metrics->door, take, metrics);
    await_tick(metrics);
    log_line(EVENT_METRICS, LOG_FIELDS(log_value("url", mps_text(door_url(metrics->door)))), "metrics are served at %s",
             door_url(metrics->door));
}

int metrics_open(struct server *server, const struct config *config, mode_t operators_umask, char *text,
                 size_t text_cap)
{
    make(server, operators_umask);
    if (metrics_prepare(server, config, text, text_cap) != 0) return -1;
    metrics_apply(server);
    return 0;
}

const char *metrics_path(const struct server *server)
{
    return server->metrics->door != NULL ? door_path(server->metrics->door) : "";
}

int metrics_check(const struct config *config, char *text, size_t text_cap)
{
    return door_check(&config->metrics, text, text_cap);
}

static void on_closed(uv_handle_t *handle)
{
    struct metrics *metrics = handle->data;
    if (--metrics->handles_open == 0) free(metrics);
}

void metrics_close(struct server *server)
{
    struct metrics *metrics = server->metrics;
    if (metrics == NULL) return;
    stop_serving(metrics);
    uv_close((uv_handle_t *)&metrics->tick, on_closed);
    uv_close((uv_handle_t *)&metrics->gather, on_closed);
    server->metrics = NULL;
}
