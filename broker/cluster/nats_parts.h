/* What the parts of the engine over NATS share (engine.h says what an engine does):
 *
 *   nats_engine.c   the table of calls, what was configured, waking
 *   nats_link.c     a connection that is kept up for ever, by a thread of its own
 *   nats_identity.c who this broker is to the servers
 *   nats_live.c     datagrams, on a link of their own
 *   nats_streams.c  streams and records, on another link, so that a flood of datagrams can't delay acknowledgements
 *
 * Threads: what engine.h has is called on the loop's thread, and so is all that is named so here. Links and parts have threads of
 * their own, and libnats calls back on its own ones: those touch neither the core nor its events, they leave something behind
 * and call nats_wake(). All of these threads have all signals blocked, but NATS_INTERRUPT, which does nothing.
 *
 * An engine is freed when nobody holds it any more: close() waits a second for its threads, and one that is still in a call
 * of the system then (a name server that does not answer) frees what is left when it comes back. */
#ifndef CLUSTER_NATS_PARTS_H
#define CLUSTER_NATS_PARTS_H

#include <nats/nats.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "engine.h"

/* Small allocations end the process when there is no memory. */
static inline void *sure(void *memory)
{
    if (memory == NULL) abort();
    return memory;
}

#define NATS_CLOSE_MS 1000         /* what close() may take in all */
#define NATS_WARNED 8              /* sentences that are not told again */
#define NATS_INTERRUPT SIGURG      /* ends calls of the system that take too long, on the thread of a link */
#define NATS_SUBJECT_MAX 256       /* bytes of a subject, its NUL counted */

struct nats_live;
struct nats_storing;

struct nats_engine {
    struct engine base;            /* first: the core hands it back */
    struct engine_options options; /* copies, until the engine is freed; .wake not after close() */
    struct nats_live *live;
    struct nats_storing *storing;
    bool was_live, was_storing;    /* as the core was told, */
    bool was_told_why_not_live, was_told_why_not_storing; /* and whether it was ever told a reason */
    atomic_uint holders;
    atomic_bool is_woken;          /* and did not poll yet */
    pthread_mutex_t lock;          /* of the following */
    bool is_closed;                /* nobody is woken any more */
    char trouble[STORE_TEXT_MAX];  /* the last one; "": none */
    const void *troubled;          /* who has it */
    char warning[STORE_TEXT_MAX];  /* that the core is to be told; "": none */
    char warned[NATS_WARNED][STORE_TEXT_MAX]; /* those it was, since a connection came up; the last ones */
    uint32_t warned_count;
};

/* ---- nats_engine.c: any thread ---- */

/* There is something to poll for. Cheap: the program is woken once for each poll. */
void nats_wake(struct nats_engine *engine);
/* Keeps a sentence for the operator. who: whatever says so, until it says that it is over. */
__attribute__((format(printf, 3, 4))) void nats_trouble(struct nats_engine *engine, const void *who, const char *format, ...);
/* One that the core is told, too, for the log. */
__attribute__((format(printf, 3, 4))) void nats_warn(struct nats_engine *engine, const void *who, const char *format, ...);
void nats_trouble_over(struct nats_engine *engine, const void *who);
void nats_warn_again(struct nats_engine *engine); /* what it was told before is news once more */
void nats_hold(struct nats_engine *engine);
void nats_let_go(struct nats_engine *engine);
/* Starts a thread that holds the engine, until run() returns, and gets no signals. It is detached. False: it can't be. */
bool nats_start_thread(struct nats_engine *engine, void (*run)(void *arg), void *arg);
uint64_t nats_now_ms(void);        /* monotonic */
/* A condition whose waits have ends of that clock. */
void nats_condition_init(pthread_cond_t *condition);
/* False: the time has come. */
bool nats_wait_until(pthread_cond_t *condition, pthread_mutex_t *lock, uint64_t when_ms);

/* ---- nats_link.c: a connection that is kept up ----
 * libnats does not connect again by itself here: each natsConnection lives until it breaks (also when a server refuses it, where
 * libnats would give up for ever), then there is another one, to any of the servers that were configured. */

struct nats_link_part {
    /* What it wants beside what all connections have, or NULL. */
    natsStatus (*configure)(natsOptions *options);
    /* On the link's thread: this connection is fresh. Subscribes; false: it is of no use, and another one is tried. */
    bool (*opened)(void *part, natsConnection *connection);
    /* On the link's thread: it is closed, so that nothing is read for it any more, and nobody uses it. What is of it goes: subscriptions,
     * jsCtx. Not before: libnats before 3.6 uses a subscription that is destroyed while a message for it is read. */
    void (*closing)(void *part);
    void *part;
};

struct nats_link {
    struct nats_engine *engine;
    const char *what;              /* "live", "storing": behind the broker's name, for who looks at the server */
    struct nats_link_part part;
    pthread_mutex_t lock;          /* of the following */
    pthread_cond_t changed;
    natsConnection *connection;    /* NULL: there is none */
    unsigned users;
    bool is_alive;                 /* a connection is being made or there, and libnats did not say yet that it is closed */
    bool is_closing, is_over;      /* it shall end, and has */
    char server[128];              /* "": none */
    char why[STORE_TEXT_MAX];      /* there is none; "": there is one, or nothing has failed */
    atomic_bool is_up;
    atomic_uint_fast64_t connects; /* how often it came up */
    atomic_uint_fast64_t rtt_us;   /* UINT64_MAX: not known */
    atomic_int_fast64_t max_payload;
};

/* All but use and release: the loop's thread. *link is all zero. False: text says why, and it is to be closed all the same. */
bool nats_link_open(struct nats_link *link, struct nats_engine *engine, const char *what, const struct nats_link_part *part,
                    char text[STORE_TEXT_MAX]);
/* The connection, which stays until it is released; NULL: there is none. Any thread; not to be held while one waits. */
natsConnection *nats_link_use(struct nats_link *link);
void nats_link_release(struct nats_link *link);
/* What libnats says went wrong, without the line of its own source. last: its words, or NULL. */
const char *nats_words(natsStatus status, const char *last);
void nats_link_server(struct nats_link *link, char *server, size_t cap);
/* Why there is no connection: a trouble, too. Any thread. */
__attribute__((format(printf, 2, 3))) void nats_link_failed(struct nats_link *link, const char *format, ...);
void nats_link_why(struct nats_link *link, char text[STORE_TEXT_MAX]); /* "": there is one, or nothing is known */
/* Ends it; waits until that time at the most. The link stays valid as long as the engine is held. */
void nats_link_close(struct nats_link *link, uint64_t until_ms);
/* Behind nats_link_close(), when the engine is freed. */
void nats_link_free(struct nats_link *link);

/* ---- nats_identity.c: any thread ---- */

/* Whether what is configured can be used: the file of credentials. False: text says why not. */
bool nats_identity_check(const struct engine_options *options, char text[STORE_TEXT_MAX]);
natsStatus nats_identity_set(natsOptions *options, const struct engine_options *given);
/* For who is refused: what this broker said that it is, with nothing secret. */
void nats_identity_words(const struct engine_options *options, char *text, size_t cap);

/* ---- nats_live.c: the loop's thread ---- */

/* Sets engine->live in any case, which is to be closed then. False: text says why. */
bool nats_live_open(struct nats_engine *engine, char text[STORE_TEXT_MAX]);
bool nats_live_is_up(const struct nats_live *live);
void nats_live_why_not(struct nats_live *live, char text[STORE_TEXT_MAX]);
size_t nats_live_datagram_max(const struct nats_live *live); /* of the last connection; it is up, or was */
bool nats_live_send(struct nats_live *live, const char *to, const uint8_t *bytes, size_t len);
void nats_live_flush(struct nats_live *live);
void nats_live_poll(struct nats_live *live);
void nats_live_figures(struct nats_live *live, struct engine_figures *figures);
void nats_live_close(struct nats_live *live, uint64_t until_ms);
void nats_live_free(struct nats_live *live); /* when the engine is: any thread, the last one */

/* ---- nats_streams.c and what belongs to it: the loop's thread ---- */

/* Sets engine->storing in any case, which is to be closed then. False: text says why. */
bool nats_storing_open(struct nats_engine *engine, char text[STORE_TEXT_MAX]);
bool nats_storing_is_up(const struct nats_storing *storing);
void nats_storing_why_not(struct nats_storing *storing, char text[STORE_TEXT_MAX]);
void nats_storing_open_stream(struct nats_storing *storing, const struct engine_stream *stream);
void nats_storing_follow(struct nats_storing *storing, uint32_t stream, uint64_t identity, uint64_t from);
void nats_storing_ask_state(struct nats_storing *storing, uint32_t stream, uint64_t mark);
bool nats_storing_append(struct nats_storing *storing, const struct engine_append *append, char text[STORE_TEXT_MAX]);
void nats_storing_flush(struct nats_storing *storing);
void nats_storing_read(struct nats_storing *storing, struct store_read *read);
bool nats_storing_put(struct nats_storing *storing, const struct engine_put *put);
/* is_up: what the core was told by .connected() a moment ago, or before. */
void nats_storing_poll(struct nats_storing *storing, bool is_up);
/* .is_storing, .waiting_appends, .waiting_bytes, and what is to be added to .reconnects. */
void nats_storing_figures(struct nats_storing *storing, struct engine_figures *figures);
void nats_storing_close(struct nats_storing *storing, uint64_t until_ms);
void nats_storing_free(struct nats_storing *storing); /* when the engine is: any thread, the last one */

#endif
