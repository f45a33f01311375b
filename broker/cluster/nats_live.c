/* Datagrams: to PREFIX.to.NAME for one broker, to PREFIX.all for all of them. Those to be sent go by a ring to a thread
 * of their own, which may wait for a server; those that came, by another one to the loop, which is woken. Where a ring
 * is full, or nobody is connected, they are dropped and counted, and those that were to get them see it by their
 * numbers. */
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nats_parts.h"
#include "ring.h"

#define OUT_SLOTS 8192
#define OUT_BYTES (32u * 1024 * 1024)
#define IN_SLOTS 32768
#define IN_BYTES (64u * 1024 * 1024)
#define OVERHEAD_BYTES 200        /* of a datagram in a ring, about */
#define POLL_BYTES (1024u * 1024) /* taken at once: then the loop's others have their turn */
#define POLL_MOST 1024
#define POLL_MS 10    /* likewise: what is for a thousand subscriptions takes long, however short it is */
#define BATCH_MOST 64 /* sent before it is asked again whether the connection is there */
#define FLUSH_MS 500  /* for the last ones at the end */
#define SUBSCRIBED_MS 1000

struct datagram {
    size_t len;
    char to[ENGINE_NAME_MAX + 1]; /* "": all */
    uint8_t bytes[];
};

struct nats_live {
    struct nats_engine *engine;
    struct nats_link link;
    char subject_prefix[NATS_SUBJECT_MAX], all[NATS_SUBJECT_MAX];
    struct ring out, in;
    bool has_new;          /* the loop's: in .out since the last flush */
    atomic_bool is_asleep; /* the sender */
    sem_t work;            /* for it */
    pthread_mutex_t lock;  /* of the following */
    pthread_cond_t changed;
    bool is_closing, is_over; /* the sender shall end, and has */
    natsSubscription *subscriptions[2];
    unsigned completions_due; /* subscriptions that libnats may still call back for */
    uint64_t slow;            /* datagrams that libnats itself dropped */
    atomic_uint_fast64_t datagrams_out, bytes_out, datagrams_in, bytes_in, dropped_out, dropped_in;
};

/* ---- in: on libnats' only thread for these, so that there is one that pushes ------------------------------------ */

static void on_message(natsConnection *connection, natsSubscription *subscription, natsMsg *message, void *arg)
{
    (void)connection, (void)subscription;
    struct nats_live *live = arg;
    size_t len = (size_t)natsMsg_GetDataLength(message);
    if (ring_push(&live->in, message, len + OVERHEAD_BYTES)) {
        atomic_fetch_add_explicit(&live->datagrams_in, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&live->bytes_in, len, memory_order_relaxed);
    } else {
        natsMsg_Destroy(message);
        atomic_fetch_add_explicit(&live->dropped_in, 1, memory_order_relaxed);
    }
    nats_wake(live->engine);
}

static void on_complete(void *arg)
{
    struct nats_live *live = arg;
    struct nats_engine *engine = live->engine;
    pthread_mutex_lock(&live->lock);
    live->completions_due--;
    pthread_cond_broadcast(&live->changed);
    pthread_mutex_unlock(&live->lock);
    nats_let_go(engine);
}

static bool subscribe(struct nats_live *live, natsConnection *connection, int index, const char *subject)
{
    natsSubscription *subscription;
    natsStatus status = natsConnection_Subscribe(&subscription, connection, subject, on_message, live);
    if (status != NATS_OK) {
        nats_link_failed(&live->link, "it can't subscribe to %s: %s", subject, natsStatus_GetText(status));
        return false;
    }
    nats_hold(live->engine); /* until nothing is called back any more */
    pthread_mutex_lock(&live->lock);
    live->subscriptions[index] = subscription;
    live->completions_due++;
    bool is_told = natsSubscription_SetOnCompleteCB(subscription, on_complete, live) == NATS_OK;
    if (!is_told) live->completions_due--; /* it broke meanwhile, and nobody knows when: the engine stays for ever */
    pthread_mutex_unlock(&live->lock);
    return is_told;
}

/* Whether the server has taken them: it says so of none, and of what it forbids before it answers this. */
static bool is_answered(struct nats_live *live, natsConnection *connection)
{
    const char *last = NULL;
    natsStatus status = natsConnection_FlushTimeout(connection, SUBSCRIBED_MS);
    if (status == NATS_OK) status = natsConnection_GetLastError(connection, &last);
    if (status == NATS_OK) return true;
    nats_link_failed(&live->link, "the server does not let it listen: %s", nats_words(status, last));
    return false;
}

/* On the link's thread, as the next one. Once a server has answered it has the subscriptions. */
static bool on_opened(void *part, natsConnection *connection)
{
    struct nats_live *live = part;
    char own[NATS_SUBJECT_MAX + ENGINE_NAME_MAX];
    int64_t most = natsConnection_GetMaxPayload(connection);
    if (most < ENGINE_DATAGRAM_LEAST) {
        nats_link_failed(&live->link, "the server's max_payload is %lld, and must be %d at least", (long long)most,
                         ENGINE_DATAGRAM_LEAST);
        return false;
    }
    snprintf(own, sizeof own, "%s%s", live->subject_prefix, live->engine->options.name);
    return subscribe(live, connection, 0, own) && subscribe(live, connection, 1, live->all) &&
           is_answered(live, connection);
}

static void on_closing(void *part)
{
    struct nats_live *live = part;
    pthread_mutex_lock(&live->lock);
    for (int i = 0; i < 2; i++) {
        natsSubscription *subscription = live->subscriptions[i];
        int64_t dropped = 0;
        if (subscription == NULL) continue;
        if (natsSubscription_GetDropped(subscription, &dropped) == NATS_OK) live->slow += (uint64_t)dropped;
        live->subscriptions[i] = NULL;
        pthread_mutex_unlock(&live->lock);
        natsSubscription_Destroy(subscription);
        pthread_mutex_lock(&live->lock);
    }
    while (live->completions_due > 0) pthread_cond_wait(&live->changed, &live->lock);
    pthread_mutex_unlock(&live->lock);
}

/* One thread of libnats delivers what comes for both subscriptions, in the order in which it comes. */
static natsStatus configure(natsOptions *options)
{
    natsStatus status = natsOptions_UseGlobalMessageDelivery(options, true);
    return status == NATS_OK ? natsOptions_SetNoEcho(options, true) : status;
}

/* ---- out: the sender's thread ------------------------------------------------------------------------------- */

static void publish(struct nats_live *live, natsConnection *connection, const struct datagram *datagram)
{
    char subject[NATS_SUBJECT_MAX + ENGINE_NAME_MAX];
    natsStatus status = NATS_CONNECTION_CLOSED;
    if (datagram->to[0] != '\0') snprintf(subject, sizeof subject, "%s%s", live->subject_prefix, datagram->to);
    else snprintf(subject, sizeof subject, "%s", live->all);
    if (connection != NULL) status = natsConnection_Publish(connection, subject, datagram->bytes, (int)datagram->len);
    if (status == NATS_OK) {
        atomic_fetch_add_explicit(&live->datagrams_out, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&live->bytes_out, datagram->len, memory_order_relaxed);
    } else {
        atomic_fetch_add_explicit(&live->dropped_out, 1, memory_order_relaxed);
    }
}

/* False: there was nothing. */
static bool send_some(struct nats_live *live)
{
    struct datagram *datagram = ring_pop(&live->out);
    if (datagram == NULL) return false;
    natsConnection *connection = nats_link_use(&live->link);
    for (int i = 0; datagram != NULL; i++) {
        publish(live, connection, datagram);
        free(datagram);
        datagram = i < BATCH_MOST ? ring_pop(&live->out) : NULL;
    }
    if (connection != NULL) nats_link_release(&live->link);
    return true;
}

/* Whoever pushed before it slept sees that it sleeps, or it sees what was pushed. */
static void sleep_until_work(struct nats_live *live)
{
    atomic_exchange(&live->is_asleep, true);
    if (ring_is_empty(&live->out)) {
        while (sem_wait(&live->work) != 0)
            ;
    } else if (!atomic_exchange(&live->is_asleep, false)) {
        while (sem_wait(&live->work) != 0) /* it was woken meanwhile */
            ;
    }
}

static bool is_closing(struct nats_live *live)
{
    pthread_mutex_lock(&live->lock);
    bool closing = live->is_closing;
    pthread_mutex_unlock(&live->lock);
    return closing;
}

/* What was sent is on its way to the others once the server has answered. */
static void flush_last(struct nats_live *live)
{
    natsConnection *connection = nats_link_use(&live->link);
    if (connection == NULL) return;
    natsConnection_FlushTimeout(connection, FLUSH_MS);
    nats_link_release(&live->link);
}

static void run_sender(void *arg)
{
    struct nats_live *live = arg;
    for (bool closing = false; !closing;) {
        closing = is_closing(live); /* before the ring is emptied: nothing comes behind it */
        while (send_some(live))
            ;
        if (!closing) sleep_until_work(live);
    }
    flush_last(live);
    pthread_mutex_lock(&live->lock);
    live->is_over = true;
    pthread_cond_broadcast(&live->changed);
    pthread_mutex_unlock(&live->lock);
    nats_ReleaseThreadMemory();
}

static void wake_sender(struct nats_live *live)
{
    if (atomic_exchange(&live->is_asleep, false)) sem_post(&live->work);
}

/* ---- the loop's thread -------------------------------------------------------------------------------------- */

bool nats_live_open(struct nats_engine *engine, char text[STORE_TEXT_MAX])
{
    struct nats_live *live = aligned_alloc(_Alignof(struct nats_live), sizeof *live);
    if (live == NULL) abort();
    memset(live, 0, sizeof *live);
    engine->live = live;
    live->engine = engine;
    live->is_over = true;
    snprintf(live->subject_prefix, sizeof live->subject_prefix, "%s.to.", engine->options.prefix);
    snprintf(live->all, sizeof live->all, "%s.all", engine->options.prefix);
    ring_init(&live->out, OUT_SLOTS, OUT_BYTES);
    ring_init(&live->in, IN_SLOTS, IN_BYTES);
    sem_init(&live->work, 0, 0);
    pthread_mutex_init(&live->lock, NULL);
    nats_condition_init(&live->changed);
    struct nats_link_part part = {configure, on_opened, on_closing, live};
    if (!nats_link_open(&live->link, engine, "live", &part, text)) return false;
    live->is_over = false;
    if (nats_start_thread(engine, run_sender, live)) return true;
    live->is_over = true;
    snprintf(text, STORE_TEXT_MAX, "a thread for the cluster can't be started");
    return false;
}

bool nats_live_is_up(const struct nats_live *live)
{
    return atomic_load_explicit(&live->link.is_up, memory_order_relaxed);
}

void nats_live_why_not(struct nats_live *live, char text[STORE_TEXT_MAX])
{
    nats_link_why(&live->link, text);
}

size_t nats_live_datagram_max(const struct nats_live *live)
{
    return (size_t)atomic_load(&live->link.max_payload);
}

/* Names come from other brokers: none may be more than one level of a subject. */
static bool is_name(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    size_t len = strspn(name, allowed);
    return len > 0 && len <= ENGINE_NAME_MAX && name[len] == '\0';
}

static bool push(struct nats_live *live, const char *to, const uint8_t *bytes, size_t len)
{
    struct datagram *datagram = malloc(sizeof *datagram + len);
    if (datagram == NULL) return false;
    datagram->len = len;
    snprintf(datagram->to, sizeof datagram->to, "%s", to != NULL ? to : "");
    memcpy(datagram->bytes, bytes, len);
    if (ring_push(&live->out, datagram, len + OVERHEAD_BYTES)) return true;
    free(datagram);
    return false;
}

bool nats_live_send(struct nats_live *live, const char *to, const uint8_t *bytes, size_t len)
{
    if (nats_live_is_up(live) && len <= live->engine->base.datagram_max && (to == NULL || is_name(to)) &&
        push(live, to, bytes, len))
        return live->has_new = true;
    atomic_fetch_add_explicit(&live->dropped_out, 1, memory_order_relaxed);
    return false;
}

void nats_live_flush(struct nats_live *live)
{
    if (live->has_new) wake_sender(live);
    live->has_new = false;
}

void nats_live_poll(struct nats_live *live)
{
    struct engine *base = &live->engine->base;
    uint64_t until_ms = nats_now_ms() + POLL_MS;
    size_t bytes = 0;
    for (int count = 0; count < POLL_MOST && bytes < POLL_BYTES && (count == 0 || nats_now_ms() < until_ms); count++) {
        natsMsg *message = ring_pop(&live->in);
        if (message == NULL) return;
        size_t len = (size_t)natsMsg_GetDataLength(message);
        base->events.received(base->events.arg, (const uint8_t *)natsMsg_GetData(message), len);
        natsMsg_Destroy(message);
        bytes += len;
    }
    nats_wake(live->engine); /* there may be more */
}

/* What libnats dropped itself before it was ours. */
static uint64_t slow_drops(struct nats_live *live)
{
    uint64_t sum = live->slow;
    for (int i = 0; i < 2; i++) {
        int64_t dropped = 0;
        if (live->subscriptions[i] != NULL && natsSubscription_GetDropped(live->subscriptions[i], &dropped) == NATS_OK)
            sum += (uint64_t)dropped;
    }
    return sum;
}

void nats_live_figures(struct nats_live *live, struct engine_figures *figures)
{
    uint64_t connects = atomic_load(&live->link.connects);
    figures->is_live = nats_live_is_up(live);
    figures->rtt_us = atomic_load(&live->link.rtt_us);
    figures->reconnects += connects > 0 ? connects - 1 : 0;
    figures->datagrams_out = atomic_load(&live->datagrams_out);
    figures->bytes_out = atomic_load(&live->bytes_out);
    figures->datagrams_in = atomic_load(&live->datagrams_in);
    figures->bytes_in = atomic_load(&live->bytes_in);
    figures->dropped_out = atomic_load(&live->dropped_out);
    pthread_mutex_lock(&live->lock);
    figures->dropped_in = atomic_load(&live->dropped_in) + slow_drops(live);
    pthread_mutex_unlock(&live->lock);
    nats_link_server(&live->link, figures->server, sizeof figures->server);
}

void nats_live_close(struct nats_live *live, uint64_t until_ms)
{
    pthread_mutex_lock(&live->lock);
    live->is_closing = true;
    sem_post(&live->work);
    while (!live->is_over && nats_wait_until(&live->changed, &live->lock, until_ms))
        ;
    pthread_mutex_unlock(&live->lock);
    nats_link_close(&live->link, until_ms);
}

void nats_live_free(struct nats_live *live)
{
    struct datagram *datagram;
    natsMsg *message;
    while ((datagram = ring_pop(&live->out)) != NULL) free(datagram);
    while ((message = ring_pop(&live->in)) != NULL) natsMsg_Destroy(message);
    ring_free(&live->out);
    ring_free(&live->in);
    nats_link_free(&live->link);
    pthread_cond_destroy(&live->changed);
    pthread_mutex_destroy(&live->lock);
    sem_destroy(&live->work);
    free(live);
}
