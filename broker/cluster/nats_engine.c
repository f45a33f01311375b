#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "nats_parts.h"

#pragma GCC visibility push(default)
engine_open_fn pubsubd_engine_open; /* the module's only name */
#pragma GCC visibility pop

/* ---- the library -------------------------------------------------------------------------------------------- */

/* Threads that are begun meanwhile get no signals: those are the loop's. */
static void hold_signals(bool hold, sigset_t *before)
{
    sigset_t all;
    sigfillset(&all);
    if (hold) pthread_sigmask(SIG_SETMASK, &all, before);
    else pthread_sigmask(SIG_SETMASK, before, NULL);
}

static void on_interrupt(int number)
{
    (void)number;
}

/* Once, and it is never closed: closing it waits for what is left, and what is left then (a thread in a call of the
 * system) would go on in a library that is taken down. */
static bool library_open(void)
{
    static bool is_open;
    const struct sigaction interrupt = {.sa_handler = on_interrupt}; /* calls of the system fail, and don't go on */
    sigset_t before;
    if (is_open) return true;
    sigaction(NATS_INTERRUPT, &interrupt, NULL);
    hold_signals(true, &before);
    is_open = nats_Open(-1) == NATS_OK;
    hold_signals(false, &before);
    return is_open;
}

/* ---- threads and time --------------------------------------------------------------------------------------- */

uint64_t nats_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void nats_condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

bool nats_wait_until(pthread_cond_t *condition, pthread_mutex_t *lock, uint64_t when_ms)
{
    struct timespec when = {.tv_sec = (time_t)(when_ms / 1000), .tv_nsec = (long)(when_ms % 1000) * 1000000};
    return pthread_cond_timedwait(condition, lock, &when) != ETIMEDOUT;
}

struct start {
    struct nats_engine *engine;
    void (*run)(void *arg);
    void *arg;
};

static void *on_thread(void *arg)
{
    struct start start = *(struct start *)arg;
    free(arg);
    start.run(start.arg);
    nats_let_go(start.engine);
    return NULL;
}

bool nats_start_thread(struct nats_engine *engine, void (*run)(void *arg), void *arg)
{
    sigset_t before;
    pthread_t thread;
    struct start *start = malloc(sizeof *start);
    if (start == NULL) return false;
    *start = (struct start){.engine = engine, .run = run, .arg = arg};
    nats_hold(engine);
    hold_signals(true, &before);
    int error = pthread_create(&thread, NULL, on_thread, start);
    hold_signals(false, &before);
    if (error == 0) return pthread_detach(thread), true;
    free(start);
    nats_let_go(engine);
    return false;
}

/* ---- what all parts need ------------------------------------------------------------------------------------ */

void nats_wake(struct nats_engine *engine)
{
    if (atomic_exchange(&engine->is_woken, true)) return;
    pthread_mutex_lock(&engine->lock);
    if (!engine->is_closed) engine->options.wake(engine->options.arg);
    pthread_mutex_unlock(&engine->lock);
}

static bool was_warned(const struct nats_engine *engine)
{
    for (uint32_t i = 0; i < NATS_WARNED; i++)
        if (strcmp(engine->warned[i], engine->trouble) == 0) return true;
    return false;
}

static void set_trouble(struct nats_engine *engine, const void *who, bool warns, const char *format, va_list arguments)
{
    pthread_mutex_lock(&engine->lock);
    vsnprintf(engine->trouble, sizeof engine->trouble, format, arguments);
    engine->troubled = who;
    if (warns && !was_warned(engine)) memcpy(engine->warning, engine->trouble, sizeof engine->warning);
    pthread_mutex_unlock(&engine->lock);
    nats_wake(engine);
}

void nats_trouble(struct nats_engine *engine, const void *who, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    set_trouble(engine, who, false, format, arguments);
    va_end(arguments);
}

void nats_warn(struct nats_engine *engine, const void *who, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    set_trouble(engine, who, true, format, arguments);
    va_end(arguments);
}

void nats_warn_again(struct nats_engine *engine)
{
    pthread_mutex_lock(&engine->lock);
    memset(engine->warned, 0, sizeof engine->warned);
    pthread_mutex_unlock(&engine->lock);
}

void nats_trouble_over(struct nats_engine *engine, const void *who)
{
    pthread_mutex_lock(&engine->lock);
    if (engine->troubled == who) {
        if (strcmp(engine->warning, engine->trouble) == 0) engine->warning[0] = '\0';
        engine->trouble[0] = '\0';
    }
    pthread_mutex_unlock(&engine->lock);
}

static void get_trouble(struct nats_engine *engine, char text[STORE_TEXT_MAX])
{
    pthread_mutex_lock(&engine->lock);
    memcpy(text, engine->trouble, STORE_TEXT_MAX);
    pthread_mutex_unlock(&engine->lock);
}

/* Once for each. */
static void take_warning(struct nats_engine *engine, char text[STORE_TEXT_MAX])
{
    pthread_mutex_lock(&engine->lock);
    memcpy(text, engine->warning, STORE_TEXT_MAX);
    engine->warning[0] = '\0';
    if (text[0] != '\0') memcpy(engine->warned[engine->warned_count++ % NATS_WARNED], text, STORE_TEXT_MAX);
    pthread_mutex_unlock(&engine->lock);
}

void nats_hold(struct nats_engine *engine)
{
    atomic_fetch_add(&engine->holders, 1);
}

static atomic_uint engines_left; /* not freed yet */

/* ---- the engine --------------------------------------------------------------------------------------------- */

static struct nats_engine *engine_of(struct engine *engine)
{
    return (struct nats_engine *)(void *)engine;
}

static bool engine_send(struct engine *engine, const char *to, const uint8_t *bytes, size_t len)
{
    return nats_live_send(engine_of(engine)->live, to, bytes, len);
}

static void engine_flush(struct engine *engine)
{
    nats_live_flush(engine_of(engine)->live);
    nats_storing_flush(engine_of(engine)->storing);
}

static void engine_open_stream(struct engine *engine, const struct engine_stream *stream)
{
    nats_storing_open_stream(engine_of(engine)->storing, stream);
}

static void engine_follow(struct engine *engine, uint32_t stream, uint64_t identity, uint64_t from)
{
    nats_storing_follow(engine_of(engine)->storing, stream, identity, from);
}

static void engine_ask_state(struct engine *engine, uint32_t stream, uint64_t mark)
{
    nats_storing_ask_state(engine_of(engine)->storing, stream, mark);
}

static bool engine_append(struct engine *engine, const struct engine_append *append, char text[STORE_TEXT_MAX])
{
    return nats_storing_append(engine_of(engine)->storing, append, text);
}

static void engine_read(struct engine *engine, struct store_read *read)
{
    nats_storing_read(engine_of(engine)->storing, read);
}

static bool engine_put(struct engine *engine, const struct engine_put *put)
{
    return nats_storing_put(engine_of(engine)->storing, put);
}

static bool is_first(bool *was_told, const char *why)
{
    bool is_news = !*was_told && why[0] != '\0';
    *was_told = *was_told || is_news;
    return is_news;
}

static void tell_connections(struct nats_engine *engine, bool is_live, bool is_storing)
{
    const struct engine_events *events = &engine->base.events;
    char not_live[STORE_TEXT_MAX], not_storing[STORE_TEXT_MAX];
    nats_live_why_not(engine->live, not_live);
    nats_storing_why_not(engine->storing, not_storing);
    bool is_news = is_live != engine->was_live || is_storing != engine->was_storing;
    is_news |= is_first(&engine->was_told_why_not_live, not_live);
    is_news |= is_first(&engine->was_told_why_not_storing, not_storing);
    engine->was_live = is_live;
    engine->was_storing = is_storing;
    if (is_news && events->connected != NULL)
        events->connected(events->arg, is_live, is_storing, not_live, not_storing);
}

/* While one is away, that is what operators are told. */
static void tell_warning(struct nats_engine *engine, bool is_live, bool is_storing)
{
    const struct engine_events *events = &engine->base.events;
    char text[STORE_TEXT_MAX];
    if (!is_live || !is_storing || events->trouble == NULL) return;
    take_warning(engine, text);
    if (text[0] != '\0') events->trouble(events->arg, text);
}

static void engine_poll(struct engine *base)
{
    struct nats_engine *engine = engine_of(base);
    atomic_exchange(&engine->is_woken, false); /* before all looking: what comes now wakes again, the rest is seen */
    bool is_live = nats_live_is_up(engine->live), is_storing = nats_storing_is_up(engine->storing);
    if (is_live) base->datagram_max = nats_live_datagram_max(engine->live);
    tell_connections(engine, is_live, is_storing);
    tell_warning(engine, is_live, is_storing);
    nats_live_poll(engine->live);
    nats_storing_poll(engine->storing, is_storing);
}

static void engine_figures(struct engine *base, struct engine_figures *figures)
{
    struct nats_engine *engine = engine_of(base);
    *figures = (struct engine_figures){0};
    nats_live_figures(engine->live, figures);
    nats_storing_figures(engine->storing, figures);
    get_trouble(engine, figures->text);
}

static char *copy(const char *text)
{
    if (text == NULL) return NULL;
    char *same = strdup(text);
    if (same == NULL) abort();
    return same;
}

static void copy_options(struct engine_options *to, const struct engine_options *from)
{
    *to = *from;
    to->name = copy(from->name);
    to->prefix = copy(from->prefix);
    to->urls = copy(from->urls);
    to->user = copy(from->user);
    to->password = copy(from->password);
    to->token = copy(from->token);
    to->credentials_file = copy(from->credentials_file);
    to->ca_file = copy(from->ca_file);
    to->cert_file = copy(from->cert_file);
    to->key_file = copy(from->key_file);
}

static void wipe(const char *secret)
{
    if (secret != NULL) explicit_bzero((char *)secret, strlen(secret));
}

static void free_options(struct engine_options *options)
{
    wipe(options->password);
    wipe(options->token);
    const char *const texts[] = {
        options->name,  options->prefix,           options->urls,    options->user,      options->password,
        options->token, options->credentials_file, options->ca_file, options->cert_file, options->key_file};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) free((char *)texts[i]);
}

void nats_let_go(struct nats_engine *engine)
{
    if (atomic_fetch_sub(&engine->holders, 1) != 1) return;
    if (engine->live != NULL) nats_live_free(engine->live);
    if (engine->storing != NULL) nats_storing_free(engine->storing);
    free_options(&engine->options);
    pthread_mutex_destroy(&engine->lock);
    free(engine);
    atomic_fetch_sub(&engines_left, 1);
}

/* At the end of the process. A thread that is still in a call of the system must not find OpenSSL and libnats taken
 * down when it comes back: nothing is, and the process just ends. */
static void end_at_once(int code, void *arg)
{
    (void)arg;
    if (atomic_load(&engines_left) == 0) return;
    fflush(NULL);
    _exit(code);
}

static void engine_close(struct engine *base)
{
    struct nats_engine *engine = engine_of(base);
    uint64_t until_ms = nats_now_ms() + NATS_CLOSE_MS;
    pthread_mutex_lock(&engine->lock);
    engine->is_closed = true;
    pthread_mutex_unlock(&engine->lock);
    if (engine->live != NULL) nats_live_close(engine->live, until_ms);
    if (engine->storing != NULL) nats_storing_close(engine->storing, until_ms);
    nats_let_go(engine);
    if (atomic_load(&engines_left) > 0)
        on_exit(end_at_once, NULL); /* the last to be registered is the first to be called */
}

struct engine *pubsubd_engine_open(const struct engine_options *options, char text[STORE_TEXT_MAX])
{
    if (!library_open()) {
        snprintf(text, STORE_TEXT_MAX, "libnats can't be started");
        return NULL;
    }
    struct nats_engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL) abort();
    engine->base = (struct engine){.datagram_max = ENGINE_DATAGRAM_LEAST,
                                   .send = engine_send,
                                   .flush = engine_flush,
                                   .open_stream = engine_open_stream,
                                   .follow = engine_follow,
                                   .ask_state = engine_ask_state,
                                   .append = engine_append,
                                   .read = engine_read,
                                   .put = engine_put,
                                   .poll = engine_poll,
                                   .figures = engine_figures,
                                   .close = engine_close};
    copy_options(&engine->options, options);
    atomic_store(&engine->holders, 1);
    atomic_fetch_add(&engines_left, 1);
    pthread_mutex_init(&engine->lock, NULL);
    if (nats_live_open(engine, text) && nats_storing_open(engine, text)) return &engine->base;
    engine_close(&engine->base);
    return NULL;
}
