/* The inside of a client, shared by the files that make it up:
 *   client.c     opening, closing, subscribing: the calls of pubsub.h that change something
 *   publish.c    publishing
 *   keep.c       the outbox file; what a full outbox drops
 *   ask.c        requests and their answers
 *   acks.c       acknowledging what was received
 *   run.c        the calls that wait; reading, writing, timers
 *   dial.c       which broker is next; descriptors that are connected already
 *   reconnect.c  connecting, losing a connection, ending
 *   events.c     what the broker says, turned into callbacks */
#ifndef PUBSUB_CLIENT_H
#define PUBSUB_CLIENT_H

#include <limits.h>
#include <pubsub/core.h>
#include <pubsub/loop.h>

#include "link.h"
#include "outbox.h"
#include "outbox_file.h"
#include "pending.h"
#include "secret.h"
#include "secure.h"
#include "subs.h"
#include "targets.h"
#include "wake.h"

#define MPS_ERROR_MAX 1024            /* bytes of a sentence */
#define MPS_GATHER_BYTES (64 * 1024)  /* publishes are written when this much has come together */
#define MPS_NEVER UINT64_MAX          /* a time that does not come */

/* Where the connection stands. Changed only in reconnect.c. */
enum link_state {
    LINK_DOWN,        /* none; the next attempt is at retry_at_ms, unless the client has ended */
    LINK_LOOKING,     /* the loop was asked for the addresses */
    LINK_CONNECTING,  /* the descriptor is not connected yet */
    LINK_SECURING,    /* TLS is being negotiated */
    LINK_GREETING,    /* HELLO is sent, WELCOME is not there */
    LINK_UP,
};

/* What proves who the client is. In memory of mps_secret_alloc(). */
struct mps_secret {
    uint8_t proof[MPS_HELLO_FRAME_MAX]; /* as HELLO carries it */
    size_t proof_len;
    uint8_t tx[MPS_HELLO_FRAME_MAX];    /* instead of the client's: HELLO is written there */
};

struct pubsub {
    struct pubsub_options options;    /* strings are copies; zeroes replaced by the defaults */
    struct mps_targets targets;       /* the brokers */
    char url_text[MPS_URL_MAX];       /* of the one that is tried or connected */
    struct mps_url url;               /* likewise */

    enum link_state state;
    int fd;                           /* -1: none */
    int wake_fd;                      /* -1: the option `wakes` is not set */
    bool woken;                       /* the step that was done last found that pubsub_wake() had been called */
    struct mps_secure secure;         /* TLS over fd; all zero: none */
    struct mps_addresses addresses;
    bool looked_up;                   /* LINK_LOOKING: the answer is there */
    char lookup_error[128];           /* why there are no addresses; "": there are */
    char address[64];                 /* the one that is tried, in figures; "": there is only one */
    char tried[320];                  /* what became of those before */
    uint64_t attempt_until_ms;        /* when this attempt, all addresses together, has failed */
    uint64_t address_until_ms;        /* when this address has */
    uint64_t retry_at_ms;
    uint64_t up_since_ms;
    unsigned failures;                /* in a row */
    bool was_up;
    int ended;                        /* 0, or the error of a connection that ended for good */

    uint64_t boot;                    /* of the publish ids of this object */
    uint64_t epoch;                   /* that a broker said last; 0: none did yet */
    uint32_t session_s;               /* granted */
    bool resumed;                     /* this connection goes on with an earlier session */
    bool held;                        /* pubsub_open() returns before what the session has is handled */

    struct pubsub_core core;
    uint8_t *rx;
    size_t rx_cap;
    uint8_t tx[MPS_HELLO_FRAME_MAX];  /* HELLO, PING, PONG, BYE: they go ahead of messages. If there is no secret */
    struct mps_secret *secret;        /* NULL: there is no proof that is one */
    const char *auth;                 /* kind of proof; NULL: none */
    uint8_t *will;                    /* as HELLO carries it; NULL: none */
    size_t will_len;
    bool rx_blocked;                  /* input waits until a PONG fits into tx */
    bool tx_broken;                   /* writing failed; what the broker said before is still read */
    int tx_error;                     /* errno of that */
    struct mps_outbox outbox;
    struct mps_outbox_file file;      /* where its acknowledged messages are kept */
    struct pubsub_dropped dropped;    /* by the call that publishes; on_dropped is not told yet */
    bool telling;                     /* on_dropped runs */
    size_t write_at;                  /* pubsub_publish() tries to write when this many bytes are writable */
    struct mps_subs subs;
    struct mps_pendings requests;
    uint64_t connections_count;       /* that came up until now */

    uint64_t keepalive_ms;            /* as agreed */
    uint64_t last_rx_ms, last_tx_ms;
    uint64_t ping_at_ms;              /* since when, after a PING, nothing was received or taken; 0: there was none */
    uint64_t tx_count;                /* bytes that were written to this connection and others */
    int64_t taken_count;              /* of them, what the other end had taken at ping_at_ms */

    bool opening;                     /* in pubsub_open(): failure is its result, no callback */
    bool closing;                     /* in pubsub_close(): only what publishing earned is still called back */
    bool leaving, bye_said;           /* it ends with a BYE when all is written; that is said */
    bool in_callback;
    bool shutting, shut;              /* pubsub_shutdown() was called; our end of the stream is closed */
    int callbacks;                    /* that ran in this call */

    uint64_t max_payload;             /* of what may be published, bytes */
    char client_id[MPS_ID_MAX + 1];
    char inbox[PUBSUB_CORE_INBOX_MAX + 1]; /* of this connection; "": none */
    char error[MPS_ERROR_MAX];
};

/* Sets pubsub_error() and returns code. */
int mps_client_error(struct pubsub *client, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
uint64_t mps_now_ms(void); /* monotonic */

/* Around each callback: counts it, and lets the calls that do I/O know that they are inside one. */
static inline void mps_client_enter(struct pubsub *client)
{
    client->in_callback = true;
    if (client->callbacks < INT_MAX) client->callbacks++;
}

static inline void mps_client_leave(struct pubsub *client)
{
    client->in_callback = false;
}

/* ---- run.c ---- */

/* One step: waits for at most timeout_ms (-1: no limit), reads, writes, does what the timers say. Returns 0; or
 * PUBSUB_EINTR when a signal came, or pubsub_wake() was called (.woken), in which case all else is done. Push before: the step itself does so only after it waited, because what is written may be what the
 * caller wants to wait for. */
int mps_client_step(struct pubsub *client, int timeout_ms);
/* Steps until done() is true: 0; or the time is over: PUBSUB_ETIMEDOUT; or it has ended: why; or PUBSUB_EINTR. */
int mps_client_until(struct pubsub *client, bool (*done)(const struct pubsub *client), int timeout_ms);
/* Writes what may be written without waiting; push also closes our end of the stream if that is due. No callbacks. */
void mps_client_write(struct pubsub *client);
void mps_client_push(struct pubsub *client);
int mps_remaining_ms(uint64_t until, uint64_t now); /* for poll(); -1: until MPS_NEVER */
bool mps_client_written(const struct pubsub *client); /* all that was published has left */
bool mps_client_drained(const struct pubsub *client); /* and is acknowledged */

/* ---- publish.c ---- */

bool mps_client_may_ask(const struct pubsub *client);
int mps_client_refuse_ended(struct pubsub *client); /* why mps_client_may_ask() is false */
/* Judges a message and makes room for it, waiting if need be (callbacks run). *message borrows from the arguments; its
 * .properties.correlation is set before. Returns as pubsub_publish(). */
int mps_client_make_room(struct pubsub *client, struct mps_publish *message, const char *topic, const void *payload,
                         size_t len, const struct pubsub_publish_options *options);
/* Queues it and sets *pid. Returns 0 or PUBSUB_EFILE. */
int mps_client_queue(struct pubsub *client, const struct mps_publish *message, bool is_request, uint64_t *pid);
/* Opens the outbox file. Returns 0 or what pubsub_open() returns. */
int mps_client_open_file(struct pubsub *client, const char *path);
bool mps_client_is_request(uint64_t pid, const void *client); /* what has this pid is a request, or was */
/* Drops old messages, so that there is room for `need` bytes. Returns 0 or PUBSUB_EAGAIN. */
int mps_client_drop(struct pubsub *client, size_t need);
/* Tells of what was dropped, after the call has done all else. */
void mps_client_tell_dropped(struct pubsub *client);

/* ---- ask.c ---- */

void mps_client_answer(struct pubsub *client, const struct pubsub_message *message); /* what came to the inbox */
/* Ends the request that was refused. True if nothing but requests is settled by this: on_puback is not told. */
bool mps_client_requests_puback(struct pubsub *client, const struct pubsub_puback *ack);
void mps_client_requests_expire(struct pubsub *client, uint64_t now);
void mps_client_requests_end(struct pubsub *client, int status, const char *why); /* all of them */

/* ---- acks.c ---- */

/* Tells the broker. Returns 0 or PUBSUB_ENOMEM. */
int mps_client_send_ack(struct pubsub *client, const struct mps_ack *ack);

/* ---- dial.c ---- */

/* Takes the option url. Returns 0 or what pubsub_open() returns. */
int mps_client_take_url(struct pubsub *client, const char *urls);
void mps_client_aim(struct pubsub *client); /* at the broker whose turn it is */
/* The address that was tried is of no use. */
void mps_client_note_address(struct pubsub *client, int error);
/* Has the descriptor of fd:N, or asks the application for one, and prepares it. Returns 0 or an errno. */
int mps_client_dial(struct pubsub *client, int *fd);

/* ---- reconnect.c ---- */

uint64_t mps_random(void); /* not for secrets */
int mps_client_hello(struct pubsub *client); /* puts HELLO into the core's output. Returns as pubsub_core_hello() */
void mps_client_connect(struct pubsub *client);                      /* begins an attempt */
void mps_client_looking(struct pubsub *client);                      /* the answer is there, or its time is over */
void mps_client_connecting(struct pubsub *client, short revents);    /* the descriptor is ready, or revents is 0 */
void mps_client_securing(struct pubsub *client);                     /* the descriptor is ready for TLS */
void mps_client_welcomed(struct pubsub *client, const struct pubsub_welcome *welcome);
/* The connection, or the attempt, is over; error: what it means if it can't be had again. */
void mps_client_lost(struct pubsub *client, int error, const char *why);
/* The broker that is tried, or connected, refuses for good: another one may not. */
void mps_client_refused(struct pubsub *client, int error, const char *why);
/* For good. */
void mps_client_end(struct pubsub *client, int error, const char *why);
void mps_client_bye(struct pubsub *client, uint32_t code, const char *text);

/* ---- events.c ---- */

/* Turns everything that was received into callbacks. */
void mps_client_events(struct pubsub *client);
void mps_client_state(struct pubsub *client, enum pubsub_state state, const char *text); /* calls back */
void mps_client_subs_lost(struct pubsub *client); /* no MARK will come for those that were being ended */
/* The publishes from first_pid to last_pid are settled, as the session says; how is not known any more. */
void mps_client_settled_before(struct pubsub *client, uint64_t first_pid, uint64_t last_pid);

#endif
