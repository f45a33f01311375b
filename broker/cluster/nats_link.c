#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "nats_parts.h"

#define CONNECT_MS 2000 /* to one server */
#define SERVER_S 4      /* that, and longer than a server that takes part may need in all */
#define PING_MS 1000    /* a server that is gone without a word is found out after PINGS_MOST of these */
#define PINGS_MOST 3
#define WRITE_MS 2000 /* one that takes nothing more is as good as gone */
#define RTT_EVERY_MS 3000
#define RTT_MOST_MS 1000
#define WAIT_LEAST_MS 100 /* before the next try; twice as long each time, and a part of it that is random */
#define WAIT_MOST_MS 2000
#define STEADY_MS 5000 /* a connection that lived so long was a good one */
#define URL_MAX 256
#define URLS_MAX 64

/* ---- options ------------------------------------------------------------------------------------------------ */

static natsStatus set_servers(natsOptions *options, const struct engine_options *given, bool *is_tls)
{
    static const char blanks[] = " \t";
    char urls[URLS_MAX][URL_MAX];
    const char *servers[URLS_MAX];
    int count = 0;
    for (const char *at = given->urls; *at != '\0' && count < URLS_MAX;) {
        size_t whole = strcspn(at, ","), skipped = strspn(at, blanks);
        size_t begin = skipped < whole ? skipped : whole, end = whole;
        while (end > begin && strchr(blanks, at[end - 1]) != NULL) end--;
        if (end > begin) {
            snprintf(urls[count], URL_MAX, "%.*s", (int)(end - begin), at + begin);
            if (strncmp(urls[count], "tls:", 4) == 0) *is_tls = true;
            servers[count] = urls[count];
            count++;
        }
        at += whole + (at[whole] == ',');
    }
    natsStatus status = natsOptions_SetServers(options, servers, count);
    return status == NATS_OK ? natsOptions_SetNoRandomize(options, true) : status; /* the nearest one comes first */
}

static natsStatus set_tls(natsOptions *options, const struct engine_options *given)
{
    natsStatus status = natsOptions_SetSecure(options, true);
    if (status == NATS_OK && given->ca_file != NULL)
        status = natsOptions_LoadCATrustedCertificates(options, given->ca_file);
    if (status == NATS_OK && given->cert_file != NULL)
        status = natsOptions_LoadCertificatesChain(options, given->cert_file, given->key_file);
    return status;
}

static void on_closed(natsConnection *connection, void *arg)
{
    (void)connection;
    struct nats_link *link = arg;
    struct nats_engine *engine = link->engine;
    pthread_mutex_lock(&link->lock);
    link->is_alive = false;
    pthread_cond_broadcast(&link->changed);
    pthread_mutex_unlock(&link->lock);
    nats_let_go(engine);
}

/* What a server did not like of ours, or what came faster than it was taken. What it forbids may come while the link is
 * not up yet, and is still true then. */
static void on_error(natsConnection *connection, natsSubscription *subscription, natsStatus status, void *arg)
{
    (void)subscription;
    struct nats_link *link = arg;
    const char *last = NULL;
    natsConnection_GetLastError(connection, &last);
    if (status == NATS_NOT_PERMITTED)
        nats_warn(link->engine, link->what, "the server forbids this broker something: %s", nats_words(status, last));
    else nats_trouble(link->engine, link, "%s: %s", natsStatus_GetText(status), last != NULL ? last : "");
}

static natsStatus set_behaviour(natsOptions *options, struct nats_link *link)
{
    char name[ENGINE_NAME_MAX + 40];
    snprintf(name, sizeof name, "pubsubd %s %s", link->engine->options.name, link->what);
    natsStatus status = natsOptions_SetName(options, name);
    if (status == NATS_OK) status = natsOptions_SetAllowReconnect(options, false);
    if (status == NATS_OK) status = natsOptions_SetTimeout(options, CONNECT_MS);
    if (status == NATS_OK) status = natsOptions_SetPingInterval(options, PING_MS);
    if (status == NATS_OK) status = natsOptions_SetMaxPingsOut(options, PINGS_MOST);
    if (status == NATS_OK) status = natsOptions_SetWriteDeadline(options, WRITE_MS);
    if (status == NATS_OK) status = natsOptions_SetSendAsap(options, true);
    if (status == NATS_OK) status = natsOptions_SetClosedCB(options, on_closed, link);
    if (status == NATS_OK) status = natsOptions_SetErrorHandler(options, on_error, link);
    if (status == NATS_OK && link->part.configure != NULL) status = link->part.configure(options);
    return status;
}

const char *nats_words(natsStatus status, const char *last)
{
    if (last == NULL || last[0] == '\0') return natsStatus_GetText(status);
    const char *behind = last[0] == '(' ? strstr(last, "): ") : NULL;
    if (behind != NULL) last = behind + 3;
    return last;
}

/* The files are read each time: they may hold something else by now. */
static natsOptions *make_options(struct nats_link *link, char text[STORE_TEXT_MAX])
{
    const struct engine_options *given = &link->engine->options;
    bool is_tls = given->ca_file != NULL || given->cert_file != NULL;
    natsOptions *options = NULL;
    natsStatus status = natsOptions_Create(&options);
    if (status == NATS_OK) status = set_servers(options, given, &is_tls);
    if (status == NATS_OK) status = nats_identity_set(options, given);
    if (status == NATS_OK && is_tls) status = set_tls(options, given);
    if (status == NATS_OK) status = set_behaviour(options, link);
    if (status == NATS_OK) return options;
    snprintf(text, STORE_TEXT_MAX, "%.200s", nats_words(status, nats_GetLastError(NULL)));
    natsOptions_Destroy(options);
    return NULL;
}

/* ---- a connection's life: on the link's thread ---------------------------------------------------------------- */

static bool is_closing(struct nats_link *link)
{
    pthread_mutex_lock(&link->lock);
    bool closing = link->is_closing;
    pthread_mutex_unlock(&link->lock);
    return closing;
}

/* From before it is made, until on_closed(), it holds the engine. */
static void begin_life(struct nats_link *link)
{
    nats_hold(link->engine);
    pthread_mutex_lock(&link->lock);
    link->is_alive = true;
    pthread_mutex_unlock(&link->lock);
}

static void end_life(struct nats_link *link)
{
    pthread_mutex_lock(&link->lock);
    link->is_alive = false;
    pthread_mutex_unlock(&link->lock);
    nats_let_go(link->engine);
}

static void set_interrupts(bool allowed)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, NATS_INTERRUPT);
    pthread_sigmask(allowed ? SIG_UNBLOCK : SIG_BLOCK, &set, NULL);
}

/* libnats waits for a server's part of a TLS handshake without an end: one that has gone, or is frozen, would keep the
 * link from ever trying another one. A signal lets that wait fail, when all of them could have been tried. Without a
 * timer there is none. */
static natsStatus connect_in_time(struct nats_link *link, natsConnection **connection, natsOptions *options)
{
    time_t servers = 1;
    for (const char *p = link->engine->options.urls; *p != '\0'; p++) servers += *p == ',';
    const time_t wait_s = (servers + 1) * SERVER_S;
    const struct itimerspec every = {.it_interval.tv_sec = wait_s, .it_value.tv_sec = wait_s};
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = NATS_INTERRUPT};
    timer_t timer;
    event._sigev_un._tid = gettid();
    bool has_timer = timer_create(CLOCK_MONOTONIC, &event, &timer) == 0;
    if (has_timer) timer_settime(timer, 0, &every, NULL);
    set_interrupts(true);
    natsStatus status = natsConnection_Connect(connection, options);
    set_interrupts(false);
    if (has_timer) timer_delete(timer);
    return status;
}

static void note_failure(struct nats_link *link, natsStatus status)
{
    const struct engine_options *given = &link->engine->options;
    char who[STORE_TEXT_MAX] = "";
    if (status == NATS_CONNECTION_AUTH_FAILED) nats_identity_words(given, who, sizeof who);
    nats_link_failed(link, "no connection to %.150s: %.100s%s%.130s", given->urls,
                     nats_words(status, nats_GetLastError(NULL)), who[0] != '\0' ? ": " : "", who);
}

/* NULL: none could be made. */
static natsConnection *try_to_connect(struct nats_link *link)
{
    char text[STORE_TEXT_MAX];
    natsConnection *connection = NULL;
    natsOptions *options = make_options(link, text);
    if (options == NULL) {
        nats_link_failed(link, "%s", text);
        return NULL;
    }
    nats_trouble_over(link->engine, link->what);
    nats_warn_again(link->engine);
    begin_life(link);
    natsStatus status = connect_in_time(link, &connection, options);
    if (status != NATS_OK) {
        note_failure(link, status);
        end_life(link);
    }
    natsOptions_Destroy(options);
    return status == NATS_OK ? connection : NULL;
}

/* Of a URL, what may be shown. */
static void note_server(struct nats_link *link, natsConnection *connection)
{
    char url[URL_MAX] = "";
    natsConnection_GetConnectedUrl(connection, url, sizeof url);
    char *host = strstr(url, "://"), *secret = strchr(url, '@');
    host = host != NULL ? host + 3 : url;
    if (secret != NULL) memmove(host, secret + 1, strlen(secret + 1) + 1);
    snprintf(link->server, sizeof link->server, "%.127s", url);
}

static void measure(struct nats_link *link, natsConnection *connection)
{
    int64_t begun = nats_NowInNanoSeconds();
    if (natsConnection_FlushTimeout(connection, RTT_MOST_MS) == NATS_OK) {
        atomic_store(&link->rtt_us, (uint64_t)(nats_NowInNanoSeconds() - begun) / 1000);
        nats_trouble_over(link->engine, &link->rtt_us);
    } else if (!natsConnection_IsClosed(connection)) {
        nats_trouble(link->engine, &link->rtt_us, "%.127s does not answer within a second", link->server);
    }
}

static void note_break(struct nats_link *link, natsConnection *connection)
{
    const char *last = NULL;
    natsConnection_GetLastError(connection, &last);
    bool is_said = last != NULL && last[0] != '\0';
    nats_link_failed(link, "the connection to %.127s broke%s%.100s", link->server, is_said ? ": " : "",
                     is_said ? last : "");
}

/* It serves until it breaks, or is not wanted any more. */
static void serve(struct nats_link *link, natsConnection *connection)
{
    pthread_mutex_lock(&link->lock);
    note_server(link, connection);
    link->connection = connection;
    link->why[0] = '\0';
    atomic_store(&link->max_payload, natsConnection_GetMaxPayload(connection));
    nats_trouble_over(link->engine, link);
    atomic_store(&link->is_up, true);
    atomic_fetch_add(&link->connects, 1);
    nats_wake(link->engine);
    while (!link->is_closing && link->is_alive) {
        pthread_mutex_unlock(&link->lock);
        measure(link, connection);
        uint64_t again_ms = nats_now_ms() + RTT_EVERY_MS;
        pthread_mutex_lock(&link->lock);
        while (!link->is_closing && link->is_alive && nats_wait_until(&link->changed, &link->lock, again_ms))
            ;
    }
    link->connection = NULL;
    if (!link->is_closing) {
        pthread_mutex_unlock(&link->lock);
        note_break(link, connection);
        pthread_mutex_lock(&link->lock);
    }
    link->server[0] = '\0';
    atomic_store(&link->is_up, false);
    atomic_store(&link->rtt_us, UINT64_MAX);
    while (link->users > 0) pthread_cond_wait(&link->changed, &link->lock);
    pthread_mutex_unlock(&link->lock);
    nats_wake(link->engine);
}

static void wait_before_next(struct nats_link *link, unsigned failures)
{
    uint32_t random = 0;
    if (getrandom(&random, sizeof random, 0) != sizeof random) random = 0;
    uint64_t wait_ms = failures > 5 ? WAIT_MOST_MS : (uint64_t)WAIT_LEAST_MS << failures;
    if (wait_ms > WAIT_MOST_MS) wait_ms = WAIT_MOST_MS;
    uint64_t until_ms = nats_now_ms() + wait_ms / 2 + random % (wait_ms / 2 + 1);
    pthread_mutex_lock(&link->lock);
    while (!link->is_closing && nats_wait_until(&link->changed, &link->lock, until_ms))
        ;
    pthread_mutex_unlock(&link->lock);
}

/* Nothing is called back for it any more, and the next one is told from it. */
static void wait_for_its_end(struct nats_link *link)
{
    pthread_mutex_lock(&link->lock);
    while (link->is_alive) pthread_cond_wait(&link->changed, &link->lock);
    pthread_mutex_unlock(&link->lock);
}

static void run(void *arg)
{
    struct nats_link *link = arg;
    unsigned failures = 0;
    while (!is_closing(link)) {
        natsConnection *connection = try_to_connect(link);
        uint64_t begun_ms = nats_now_ms();
        if (connection != NULL) {
            if (link->part.opened(link->part.part, connection)) serve(link, connection);
            natsConnection_Close(connection);
            wait_for_its_end(link);
            link->part.closing(link->part.part);
            natsConnection_Destroy(connection);
        }
        if (nats_now_ms() - begun_ms >= STEADY_MS) failures = 0;
        wait_before_next(link, failures++);
    }
    pthread_mutex_lock(&link->lock);
    link->is_over = true;
    pthread_cond_broadcast(&link->changed);
    pthread_mutex_unlock(&link->lock);
    nats_ReleaseThreadMemory();
}

/* ---- for the parts ------------------------------------------------------------------------------------------ */

bool nats_link_open(struct nats_link *link, struct nats_engine *engine, const char *what,
                    const struct nats_link_part *part, char text[STORE_TEXT_MAX])
{
    link->engine = engine;
    link->what = what;
    link->part = *part;
    atomic_store(&link->rtt_us, UINT64_MAX);
    pthread_mutex_init(&link->lock, NULL);
    nats_condition_init(&link->changed);
    link->is_over = true;
    if (!nats_identity_check(&engine->options, text)) return false;
    natsOptions *options = make_options(link, text); /* what can't be used is told at once */
    if (options == NULL) return false;
    natsOptions_Destroy(options);
    link->is_over = false;
    if (nats_start_thread(engine, run, link)) return true;
    link->is_over = true;
    snprintf(text, STORE_TEXT_MAX, "a thread for the cluster can't be started");
    return false;
}

natsConnection *nats_link_use(struct nats_link *link)
{
    pthread_mutex_lock(&link->lock);
    natsConnection *connection = link->connection;
    if (connection != NULL) link->users++;
    pthread_mutex_unlock(&link->lock);
    return connection;
}

void nats_link_release(struct nats_link *link)
{
    pthread_mutex_lock(&link->lock);
    if (--link->users == 0 && link->connection == NULL) pthread_cond_broadcast(&link->changed);
    pthread_mutex_unlock(&link->lock);
}

void nats_link_failed(struct nats_link *link, const char *format, ...)
{
    char why[STORE_TEXT_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    pthread_mutex_lock(&link->lock);
    memcpy(link->why, why, sizeof why);
    pthread_mutex_unlock(&link->lock);
    nats_trouble(link->engine, link, "%s", why);
}

void nats_link_why(struct nats_link *link, char text[STORE_TEXT_MAX])
{
    pthread_mutex_lock(&link->lock);
    memcpy(text, link->why, STORE_TEXT_MAX);
    pthread_mutex_unlock(&link->lock);
}

void nats_link_server(struct nats_link *link, char *server, size_t cap)
{
    pthread_mutex_lock(&link->lock);
    snprintf(server, cap, "%s", link->server);
    pthread_mutex_unlock(&link->lock);
}

void nats_link_close(struct nats_link *link, uint64_t until_ms)
{
    pthread_mutex_lock(&link->lock);
    link->is_closing = true;
    pthread_cond_broadcast(&link->changed);
    while (!link->is_over && nats_wait_until(&link->changed, &link->lock, until_ms))
        ;
    pthread_mutex_unlock(&link->lock);
}

void nats_link_free(struct nats_link *link)
{
    pthread_cond_destroy(&link->changed);
    pthread_mutex_destroy(&link->lock);
}
