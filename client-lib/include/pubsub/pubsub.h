/* libpubsub: a client of the pubsub broker for POSIX systems. Wire protocol: mps/1 (PROTOCOL.md).
 *
 * One `pubsub` is one logical connection: it connects, and when the connection breaks it connects again by itself,
 * subscribes again and resends what was not acknowledged. It has no thread of its own: it works inside the calls
 * below, so some call has to be made for anything to happen, and every callback runs inside one of them.
 *
 * Thread: all calls on one `pubsub` must come from one thread at a time; different objects are independent.
 * Errors: 0, or a negative PUBSUB_E* code; pubsub_error() has a sentence about the last one. Signals: SIGPIPE is never
 * raised. Descriptors are close-on-exec. From a callback any call is allowed but pubsub_wait, pubsub_process,
 * pubsub_flush and pubsub_close (PUBSUB_EINVAL). */
#ifndef PUBSUB_PUBSUB_H
#define PUBSUB_PUBSUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PUBSUB_TOPIC_MAX 255              /* bytes of a topic or pattern */
#define PUBSUB_DEFAULT_TCP "tcp://127.0.0.1:7717"

enum pubsub_error {
    PUBSUB_OK = 0,
#define ERROR(NAME, number, text) PUBSUB_##NAME = (number),
#include <pubsub/errors.def>
#undef ERROR
};

/* How far a publish must have come before it is acknowledged. PROTOCOL.md, "Publishing with acknowledgement". */
enum pubsub_ack {
    PUBSUB_ACK_NONE = 0,       /* never acknowledged; lost if the connection breaks */
    PUBSUB_ACK_ROUTED = 1,     /* in the queue of every subscription that matched */
    PUBSUB_ACK_STORED = 2,     /* in the durable stream, on disk */
    PUBSUB_ACK_REPLICATED = 3,
};

/* What pubsub_publish() does when the outbox is full. The outbox never drops anything by itself. */
enum pubsub_outbox_policy {
    PUBSUB_OUTBOX_WAIT = 0,    /* waits, doing I/O, until there is room (callbacks may run); in a callback: REFUSE */
    PUBSUB_OUTBOX_REFUSE = 1,  /* returns PUBSUB_EAGAIN at once, nothing is queued */
};

enum pubsub_state {
    PUBSUB_CONNECTED = 1,      /* the first connection is up */
    PUBSUB_LOST,               /* the connection broke; trying again unless reconnecting is off */
    PUBSUB_CONNECTED_AGAIN,
    PUBSUB_ENDED,              /* it won't come back: reconnecting is off, taken over, or the broker said so for good */
};

typedef struct pubsub pubsub;

/* Everything that the broker says of one message. All pointers are borrowed until the callback returns. */
struct pubsub_message {
    uint32_t sid;              /* of the subscription */
    const char *topic;         /* UTF-8, topic_len bytes, not NUL-terminated */
    size_t topic_len;
    const void *payload;       /* by default one msgpack document; never NULL */
    size_t payload_len;        /* bytes */
    const void *props;         /* the raw msgpack map of properties, well-formed; NULL if none */
    size_t props_len;
    bool retained;             /* a topic's last value, sent because of the subscription */
    bool replayed;
    bool redelivered;
    uint64_t stream, seq;      /* position in a durable stream; stream 0: none */
    uint64_t time_ms;          /* Unix time at the broker; 0: not said */
};

/* Exactly `count` messages that matched were lost here, between the message before and the message after. */
struct pubsub_gap {
    uint32_t sid;
    bool exact;                /* false: the count is not known (the broker restarted) */
    uint64_t count;
    uint32_t reason;           /* PROTOCOL.md, GAP */
    const char *reason_name;   /* static: "drop_old", ... */
};

/* Settles the publish ids first..last, which have one common result. */
struct pubsub_puback {
    uint64_t first_pid, last_pid;
    uint32_t code;             /* 0 ok, 1 ok but nobody matched, 2 accepted before; 200..: refused (first = last) */
    uint64_t matched;          /* the fewest subscriptions that any of them matched */
    uint64_t dropped;          /* copies that full queues refused, of all of them together */
    const char *text;          /* one sentence if refused, else ""; NUL-terminated, borrowed */
};

/* A refusal that answers no publish id: of an unacknowledged message, a subscription, an option. */
struct pubsub_refusal {
    uint32_t code;             /* 200.. */
    uint32_t op;               /* what was refused (PROTOCOL.md, operations); 0: not said */
    uint32_t sid;              /* of the subscription concerned, or 0 */
    const char *text;          /* one sentence, NUL-terminated, borrowed */
};

enum pubsub_mark {
    PUBSUB_MARK_RETAINED_DONE = 1,
    PUBSUB_MARK_CAUGHT_UP = 2,
    PUBSUB_MARK_DRAINED = 3,
    PUBSUB_MARK_ENDED = 4,
};

/* A subscription's counts at the broker: matched = sent + lost + queued. */
struct pubsub_stat { uint32_t sid; uint64_t matched, sent, lost, queued, queued_bytes; };

/* All zero is a valid set of options: everything by default. Strings are copied. */
struct pubsub_options {
    const char *url;           /* unix:/path | tcp://host:port | fd:N (a connected stream socket, which then belongs to
                                  the client: closed with it, or when opening fails after HELLO; no reconnect).
                                  NULL: $PUBSUB_URL, else the default Unix socket if it is there, else
                                  PUBSUB_DEFAULT_TCP */
    const char *client_id;     /* NULL: the broker gives one */
    uint32_t keepalive_s;      /* 0: 60. A ping is sent when idle for half of it */
    uint32_t connect_ms;       /* longest wait for one connection and its WELCOME; 0: 5000 */
    uint32_t reconnect_min_ms; /* first back-off, doubled on each failure with full jitter; 0: 100 */
    uint32_t reconnect_max_ms; /* 0: 10000 */
    bool no_reconnect;
    bool retry_first;          /* also keep trying when the first connection fails */
    bool half;                 /* keep delivering after pubsub_shutdown() */
    uint32_t rx_max;           /* largest frame that is accepted, bytes; 0: whatever the broker allows */
    size_t outbox_bytes;       /* what may wait: not yet written, or written and not yet acknowledged; 0: 8 MiB */
    enum pubsub_outbox_policy outbox_policy;

    /* text: why, for a person */
    void (*on_state)(pubsub *client, enum pubsub_state state, const char *text, void *user);
    void (*on_puback)(pubsub *client, const struct pubsub_puback *ack, void *user);
    void (*on_refusal)(pubsub *client, const struct pubsub_refusal *refusal, void *user);
    void *user;
};

struct pubsub_subscribe_options {
    uint64_t max_msgs;         /* of the queue at the broker; 0: its default; UINT64_MAX: all the operator allows */
    uint64_t max_bytes;        /* likewise */
    int retained;              /* 0 send retained values, 1 only if the subscription is new there, 2 do not */
    void (*on_message)(pubsub *client, const struct pubsub_message *message, void *user);
    void (*on_gap)(pubsub *client, const struct pubsub_gap *gap, void *user);
    void (*on_mark)(pubsub *client, uint32_t sid, enum pubsub_mark mark, void *user);
    void (*on_granted)(pubsub *client, uint32_t sid, void *user); /* the broker accepted; again after each reconnect */
    void (*on_stat)(pubsub *client, const struct pubsub_stat *stat, void *user);
    void *user;
};

struct pubsub_publish_options {
    enum pubsub_ack ack;
    bool retain;               /* keep as the topic's last value; an empty payload clears it */
    bool must_route;           /* nobody subscribed is an error (217) */
    const void *props;         /* a raw msgpack map of properties, copied; NULL: none */
    size_t props_len;
};

/* Opens a client and connects. Waits until the broker's WELCOME is there (with retry_first: returns at once and
 * connects in the background).
 *   options  borrowed during the call; NULL: all defaults.
 * Returns 0 and sets *client; or PUBSUB_EINVAL bad URL or option; ECONNECT nobody listens or no answer in connect_ms;
 * EREFUSED, EAUTH the broker said BYE; EPROTO the peer isn't a broker; EINTR a signal came; ENOMEM. on_state
 * (CONNECTED) runs before it returns. Looking up a host's name may block longer than connect_ms. On failure *client is
 * untouched and, if text_cap > 0, text holds one NUL-terminated sentence. */
int pubsub_open(pubsub **client, const struct pubsub_options *options, char *text, size_t text_cap);

/* Says BYE, waits at most timeout_ms until the broker has taken all that was written and says BYE too, frees
 * everything. Does not wait for acknowledgements: pubsub_flush() does. Of the callbacks only on_puback and on_refusal
 * still run: what arrives for subscriptions is thrown away. NULL is allowed. */
void pubsub_close(pubsub *client, int timeout_ms);

/* Queues one message for the broker. Small messages are collected and written together: in pubsub_wait(),
 * pubsub_process() or pubsub_flush(), and here when 64 KiB have come together.
 *   topic    NUL-terminated UTF-8, 1..PUBSUB_TOPIC_MAX bytes, no wildcard; copied before return.
 *   payload  len bytes, 0..the broker's limit (1 MiB by default); copied before return. NULL only if len is 0.
 *   options  NULL: not acknowledged, not retained.
 *   pid      if not NULL: set to the publish id that on_puback will name, 1, 2, 3, ... (0 without ack). Ids go on
 *            counting over reconnects.
 * Returns 0, or: PUBSUB_EINVAL bad topic or props; ETOOBIG over the broker's limit; EAGAIN outbox full; EINTR a signal
 * came while it waited for room, nothing is queued; ECLOSED after pubsub_shutdown(); ELOST, ETAKEN, EREFUSED, EAUTH,
 * EPROTO the connection has ended for good; ENOMEM. */
int pubsub_publish(pubsub *client, const char *topic, const void *payload, size_t len,
                   const struct pubsub_publish_options *options, uint64_t *pid);

/* Subscribes to a topic or pattern ('+' one level, '#' last, the rest). Callbacks run inside later calls.
 *   sid  set to the subscription's number.
 * The broker's answer arrives as on_granted, or as on_refusal of the client: the subscription is then gone. What is
 * asked for takes effect in the order of the calls, publishes included. Returns 0, EINVAL, ENOMEM; ECLOSED after
 * pubsub_shutdown(); or why the connection has ended for good. */
int pubsub_subscribe(pubsub *client, const char *pattern, const struct pubsub_subscribe_options *options,
                     uint32_t *sid);

/* Ends a subscription. No callback of it but on_mark (ENDED) comes after the return. Returns 0, EINVAL (unknown sid),
 * ENOMEM. */
int pubsub_unsubscribe(pubsub *client, uint32_t sid);

/* Asks for a subscription's counts: on_stat. Returns as pubsub_subscribe(). */
int pubsub_ask_stat(pubsub *client, uint32_t sid);

/* Writes what is queued, then waits for and handles what arrives, until at least one callback ran or timeout_ms
 * (-1: no limit, 0: only what is there now) passed. Everything that has arrived is handled before it returns.
 * Returns how many callbacks ran, 0 when the time ran out; or ELOST, ETAKEN, EREFUSED, EAUTH, EPROTO when the
 * connection has ended for good, ECLOSED after pubsub_shutdown() once the broker is done too, EINTR when a signal
 * came. */
int pubsub_wait(pubsub *client, int timeout_ms);

/* Waits until all that was published has left and, where asked for, been acknowledged. Callbacks run.
 * Returns 0, ETIMEDOUT, or as pubsub_wait(). timeout_ms -1: no limit. */
int pubsub_flush(pubsub *client, int timeout_ms);

/* Ends the sending side, after everything queued is written: nothing can be published any more; what the broker still
 * has for us is delivered (all that is queued there; with `half` also what comes later, until the broker ends).
 * From a callback it returns 0 at once, and the end comes when all is written and acknowledged. Returns 0, or as
 * pubsub_flush(). */
int pubsub_shutdown(pubsub *client, int timeout_ms);

/* For a loop of one's own: poll pubsub_fd() for pubsub_poll_events() (POLLIN, POLLOUT) for at most
 * pubsub_poll_timeout_ms() (-1: no limit), then call pubsub_process(), also when the time ran out. Ask all three
 * again before each poll: the descriptor changes on a reconnect and is -1 between connections. */
int pubsub_fd(const pubsub *client);
short pubsub_poll_events(const pubsub *client);
int pubsub_poll_timeout_ms(const pubsub *client);
int pubsub_process(pubsub *client); /* as pubsub_wait(client, 0) */

/* Bytes that wait in the outbox, and publishes not yet acknowledged. */
size_t pubsub_outbox_bytes(const pubsub *client);
uint64_t pubsub_unacked(const pubsub *client);

/* Limits and name that the broker gave in WELCOME. Borrowed until the next call on the client. */
const char *pubsub_client_id(const pubsub *client);
uint64_t pubsub_max_payload(const pubsub *client);

/* A sentence about the last error of this client; "" if there was none. Borrowed until the next call on the client. */
const char *pubsub_error(const pubsub *client);
const char *pubsub_strerror(int error); /* static */
const char *pubsub_version(void);       /* "0.1.0" */

/* The URL that is used when none is given, see struct pubsub_options. Returns 0 or ETOOBIG. */
int pubsub_default_url(char *url, size_t cap);

#ifdef __cplusplus
}
#endif
#endif
