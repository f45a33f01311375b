/* libpubsub: a client of the pubsub broker for POSIX systems. Wire protocol: mps/1 (PROTOCOL.md).
 *
 * One `pubsub` is one logical connection: it connects, and when the connection breaks it connects again by itself,
 * subscribes again and resends what was not acknowledged. It has no thread of its own: it works inside the calls
 * below, so some call has to be made for anything to happen, and every callback runs inside one of them.
 *
 * Nothing lost and nothing twice, with a broker that keeps the topics in a durable stream:
 *   publishing  PUBSUB_ACK_STORED and session_s: what is resent after a reconnect is stored once, as long as the object
 *               lives; with outbox_file, as long as the file does. Without session_s it may be stored twice.
 *   receiving   `from`, `ack`, `durable` or the policy spill make a subscription a reader: it gets the messages of
 *               durable topics from the stream, with their positions. A reader without `ack` goes on after a reconnect
 *               behind what on_message was given. With `ack`, what was not acknowledged comes again, also after a crash
 *               of the program if it is durable; so it may come twice, and then says so.
 *
 * Thread: all calls on one `pubsub` must come from one thread at a time, but for pubsub_wake(); different objects are
 * independent.
 * Errors: 0, or a negative PUBSUB_E* code; pubsub_error() has a sentence about the last one. Signals: SIGPIPE is never
 * raised. Descriptors are close-on-exec. From a callback any call is allowed but pubsub_wait, pubsub_process,
 * pubsub_flush and pubsub_close (PUBSUB_EINVAL).
 * Serial lines (fd:N, on_dial) are character devices. A terminal is put into raw mode and stays so; its speed is the
 * caller's business. The line must not lose a byte (flow control): that would end the connection. */
#ifndef PUBSUB_PUBSUB_H
#define PUBSUB_PUBSUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PUBSUB_TOPIC_MAX 255              /* bytes of a topic or pattern */
#define PUBSUB_DEFAULT_TCP "tcp://127.0.0.1:7717" /* with TLS a broker is usually at port 7718 */

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

/* What pubsub_publish() does when the outbox is full. */
enum pubsub_outbox_policy {
    PUBSUB_OUTBOX_WAIT = 0,    /* waits, doing I/O, until there is room (callbacks may run); in a callback: REFUSE */
    PUBSUB_OUTBOX_REFUSE = 1,  /* returns PUBSUB_EAGAIN at once, nothing is queued */
    PUBSUB_OUTBOX_DROP_OLD = 2,/* the oldest messages that are not sent make room, and on_dropped says so. Between
                                  connections that is all that waits; on one, what has not been written to it, and up to a
                                  sixteenth of the outbox is made free at once. If that is not enough: REFUSE */
};

/* When what is published is on the disk, with an outbox file. Always before it is sent. */
enum pubsub_sync {
    PUBSUB_SYNC_EACH = 0,      /* when pubsub_publish() returns: it survives a power failure */
    PUBSUB_SYNC_BATCH = 1,     /* when it is sent, together with others: it survives the end of the program, not a power
                                  failure between connections */
};

/* What the broker does when a subscription's queue is full. PROTOCOL.md, "What a full queue does". */
enum pubsub_policy {
    PUBSUB_POLICY_DEFAULT = 0, /* the broker's: drop_old */
    PUBSUB_DROP_OLD,           /* the oldest messages make room */
    PUBSUB_DROP_NEW,           /* new messages are refused */
    PUBSUB_LATEST,             /* only the newest message of each key (or topic) is kept */
    PUBSUB_CLOSE,              /* the broker closes the connection */
    PUBSUB_BLOCK,              /* publishers wait, at most block_ms */
    PUBSUB_SPILL,              /* it goes on from the durable stream, or from a bounded area on disk, then as `then` */
};

/* Where a subscription begins. All but NEW need a pattern that a durable stream can match (else it is refused, 215),
 * and concern the messages of durable topics only; those of others come from now on. For a subscription that the
 * session has already it means nothing, but for SEQ without `ack`. PROTOCOL.md, "Replay". */
enum pubsub_from {
    PUBSUB_FROM_NEW = 0,       /* with what is published from now on */
    PUBSUB_FROM_ALL,           /* with the oldest that is kept */
    PUBSUB_FROM_LAST,          /* with the last from_number messages that match */
    PUBSUB_FROM_SEQ,           /* at from_positions; in streams that are not named there, as NEW */
    PUBSUB_FROM_TIME,          /* with what arrived at or after from_number, Unix time in ms */
    PUBSUB_FROM_AGO,           /* with what arrived in the last from_number ms */
    PUBSUB_FROM_ACKED,         /* behind what was acknowledged on this durable subscription; if it is new, as ALL */
    PUBSUB_FROM_LAST_PER_TOPIC,/* with the newest of each topic */
};

/* How a subscription acknowledges what comes from durable streams. */
enum pubsub_ack_mode {
    PUBSUB_ACKS_NONE = 0,      /* not at all */
    PUBSUB_ACKS_UPTO,          /* all up to a position at once */
    PUBSUB_ACKS_EACH,          /* each by itself */
};

/* What an acknowledgement says. */
enum pubsub_ack_kind {
    PUBSUB_ACKED_UPTO = 0,     /* done, and so are all earlier ones of the stream */
    PUBSUB_ACKED_ONE = 1,      /* done */
    PUBSUB_ACKED_AGAIN = 2,    /* not done: again, after a delay */
    PUBSUB_ACKED_NEVER = 3,    /* can't be done: never again. The broker publishes it under $dead/ */
};

/* Which brokers know of a subscription when on_granted is called, where several are joined to a cluster. */
enum pubsub_scope {
    PUBSUB_SCOPE_LOCAL = 0,    /* this one; the others soon after */
    PUBSUB_SCOPE_CLUSTER,      /* all: what is published at any of them from then on is received. It takes a round trip to
                                  each, and up to 10 s where one does not answer */
};

enum pubsub_state {
    PUBSUB_CONNECTED = 1,      /* the first connection is up */
    PUBSUB_LOST,               /* the connection broke; trying again unless reconnecting is off */
    PUBSUB_CONNECTED_AGAIN,
    PUBSUB_ENDED,              /* it won't come back: reconnecting is off, taken over, or the broker said so for good */
};

typedef struct pubsub pubsub;
struct pubsub_tls;  /* pubsub/tls.h */
struct pubsub_loop; /* pubsub/loop.h */

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
    bool replayed;             /* history: the broker had accepted it before the subscription began */
    bool redelivered;          /* it was sent before and not acknowledged */
    uint64_t stream, seq;      /* position in a durable stream: 1, 2, 3, ...; stream 0: none */
    uint64_t time_ms;          /* Unix time of its arrival at the broker; 0: not said */
    uint32_t tries;            /* how often it was sent, this time counted; 0: not said */
    uint32_t offset, total;    /* bytes: payload is a piece of a payload of `total` from `offset` on. Only pubsub/core.h
                                  tells of pieces; else 0 and payload_len */
};

/* Exactly `count` messages that matched were lost here, between the message before and the message after. */
struct pubsub_gap {
    uint32_t sid;
    bool exact;                /* false: the count is not known (the broker restarted; or the subscription takes only a
                                  part of a stream of which these positions are gone) */
    uint64_t count;            /* 0 if not exact */
    uint32_t reason;           /* PROTOCOL.md, GAP */
    const char *reason_name;   /* static: "drop_old", ... */
    uint64_t stream;           /* 0: not of a durable stream */
    uint64_t first, last;      /* the positions that are gone, first..last; 0..0: the stream is another one now, and is
                                  read from its beginning */
};

/* A message that the broker publishes when a connection of this client ends otherwise than by pubsub_close(); also after
 * pubsub_shutdown(), which leaves no way to say goodbye. All borrowed. */
struct pubsub_will {
    const char *topic;         /* NULL: no will */
    const void *payload;
    size_t payload_len;        /* bytes; with the rest of HELLO at most 4 KiB */
    const void *props;         /* a raw msgpack map of properties, without arrays; NULL: none */
    size_t props_len;
    bool retain;
    uint64_t delay_ms;         /* it is dropped if the client is back before */
};

/* What the outbox dropped (PUBSUB_OUTBOX_DROP_OLD): a gap in what this client publishes. */
struct pubsub_dropped {
    uint64_t count;            /* messages */
    uint64_t first_pid, last_pid; /* the acknowledged ones among them: all of these but requests, and but those that were
                                  told before; 0: none. on_puback is not told of them, or only together with others that
                                  a session settled before (code 2). One that had been sent on an earlier connection may
                                  be published all the same */
};

/* Settles the publish ids first..last, which have one common result. */
struct pubsub_puback {
    uint64_t first_pid, last_pid;
    uint32_t code;             /* 0 ok, 1 ok but nobody matched, 2 settled before; 100: not known to be stored, 200..:
                                  refused (first = last). 2 is for what a session settled on an earlier connection,
                                  whose answer got lost: stored, or refused, which is not known any more */
    uint64_t matched;          /* the fewest subscriptions that any of them matched */
    uint64_t dropped;          /* copies that full queues refused, of all of them together */
    const char *text;          /* one sentence if the code is 100 or more, else ""; NUL-terminated, borrowed */
    uint64_t stream, seq;      /* where the last one is stored; stream 0: not said (level below STORED, or code 2) */
};

/* A refusal that answers no publish id: of an unacknowledged message, a subscription, an option. */
struct pubsub_refusal {
    uint32_t code;             /* 200.. */
    uint32_t op;               /* what was refused (PROTOCOL.md, operations); 0: not said */
    uint32_t sid;              /* of the subscription concerned, or 0 */
    const char *text;          /* one sentence, NUL-terminated, borrowed */
};

/* How a client proves to the broker who it is: by one of the three, or not at all. Token and password are copied into
 * memory that is wiped when the client is closed and, where the system allows it, is neither swapped nor dumped; the
 * caller's own he wipes himself. They never stand in a text of the library. */
struct pubsub_proof {
    const void *token;         /* token_len bytes; NULL: none. With all else in HELLO at most 4 KiB */
    size_t token_len;
    const char *user;          /* UTF-8; NULL: none */
    const char *password;      /* UTF-8, of user */
    bool certificate;          /* the client's certificate for TLS must be that of a user. Without: it may be */
    bool in_clear;             /* token and password may travel to another machine without TLS. Without: EINVAL */
};

enum pubsub_mark {
    PUBSUB_MARK_RETAINED_DONE = 1,
    PUBSUB_MARK_CAUGHT_UP = 2, /* all history has come, that is, what the broker had accepted before it subscribed; what
                                  follows is live. Also if there was none. Only with `from`; it may come again after a
                                  reconnect */
    PUBSUB_MARK_DRAINED = 3,
    PUBSUB_MARK_ENDED = 4,
};

/* A subscription's counts at the broker: matched = sent + lost + queued. */
struct pubsub_stat { uint32_t sid; uint64_t matched, sent, lost, queued, queued_bytes; };

/* All zero is a valid set of options, here and in what follows: everything by default. Strings are copied. */
struct pubsub_options {
    const char *url;           /* unix:/path | tcp://host:port | tls://host:port (needs .tls; nothing is ever sent there
                                  in clear, whatever fails) | fd:N (a connected stream socket or a serial line, which
                                  then belongs to the client: closed with it, or when opening fails after HELLO; no
                                  reconnect). NULL: $PUBSUB_URL, else the default Unix socket if it is there, else
                                  PUBSUB_DEFAULT_TCP.
                                  Up to 8 with commas between (none within one, and no fd:N) are tried in turn, each
                                  at all its addresses, beginning with the one that was connected last. The first that
                                  says WELCOME has won; if none does, there is a pause, as below, before they are tried
                                  again, and pubsub_error() says what became of each */
    const char *client_id;     /* NULL: the broker gives one */
    uint32_t session_s;        /* how long the broker keeps the session after the connection ended, however it ended:
                                  subscriptions with what is queued and unacknowledged, and which publishes it took;
                                  0: not at all. It may grant less: pubsub_session_s(). A session is found again by its
                                  client_id; subscribe in the same order, or with the same .sid, before the first call
                                  that waits: what comes for a subscription that is not there then is thrown away */
    bool clean;                /* forget an older session of this client_id when the client is opened */
    uint32_t keepalive_s;      /* 0: 60. A ping is sent when idle for half of it; when nothing comes for all of it after
                                  that, and of what was written the other end takes nothing, the connection is lost */
    uint32_t connect_ms;       /* longest wait for one connection and its WELCOME; 0: 5000. Of several URLs, for each */
    uint32_t reconnect_min_ms; /* bound of the first pause before it is tried again, which is anything from 0 to that
                                  bound, at random (full jitter); the bound doubles on each failure; 0: 100 */
    uint32_t reconnect_max_ms; /* largest bound; after a connection that lasted so long, or until its broker was
                                  stopped, it begins anew with the first; 0: 10000 */
    bool no_reconnect;
    bool retry_first;          /* also keep trying when the first connection fails */
    bool half;                 /* keep delivering after pubsub_shutdown() */
    uint32_t rx_max;           /* largest frame that is accepted, bytes; 0: whatever the broker allows */
    size_t outbox_bytes;       /* what may wait: not yet written, or written and not yet acknowledged; 0: 8 MiB */
    enum pubsub_outbox_policy outbox_policy;
    struct pubsub_will will;   /* copied */
    struct pubsub_proof proof; /* who the client is; copied */
    const struct pubsub_tls *tls; /* what speaks TLS; borrowed as long as the client lives. NULL: tls:// is EINVAL */

    /* text: why, for a person */
    void (*on_state)(pubsub *client, enum pubsub_state state, const char *text, void *user);
    void (*on_puback)(pubsub *client, const struct pubsub_puback *ack, void *user);
    void (*on_refusal)(pubsub *client, const struct pubsub_refusal *refusal, void *user);
    /* Answers to requests were lost, one cannot say of which: sid is 0. */
    void (*on_gap)(pubsub *client, const struct pubsub_gap *gap, void *user);
    void *user;
    const struct pubsub_loop *loop; /* what looks up names without blocking; borrowed as long as the client lives. NULL:
                                       the client does so itself */

    bool wakes;                /* pubsub_wake() is going to be called: takes one more descriptor */

    /* Connects instead of `url`, which must be NULL: called whenever a connection is wanted, the first time by
     * pubsub_open() (before that returned; client is only a name for it then). Must not wait for long. Returns a
     * descriptor as of fd:N, which then belongs to the client; or a negative errno: there is none now. It is called again
     * as one would reconnect. NULL: url says where. */
    int (*on_dial)(pubsub *client, void *user);

    /* Runs inside the call that publishes, once the new message is queued. What is published in it is refused when the
     * outbox is full. */
    void (*on_dropped)(pubsub *client, const struct pubsub_dropped *dropped, void *user);

    /* Where acknowledged publishes are kept until they are settled, so that they survive this program; NULL: nowhere.
     * Needs session_s and client_id, and does not go with clean. If it is there already, its publishes go ahead of all
     * others, under their old pids, which are counted on: pubsub_unacked() says how many, on_puback is told of them, and
     * what the broker has stored already it does not store again, as long as the session holds. Requests and
     * unacknowledged messages are not kept. It is a file of its own, for one client at a time. */
    const char *outbox_file;
    size_t outbox_file_bytes;  /* what it may take, at least 4096; half of it for what is not settled, each with 24 bytes
                                  on top. Now and then it is written anew beside, as outbox_file.new, and renamed;
                                  0: 4 * outbox_bytes */
    enum pubsub_sync outbox_sync;
};

struct pubsub_subscribe_options {
    uint32_t sid;              /* its number, up to 2^31-1, which no subscription has had yet; 0: the next one */
    uint64_t max_msgs;         /* of the queue at the broker; 0: its default; UINT64_MAX: all the operator allows */
    uint64_t max_bytes;        /* likewise */
    int retained;              /* 0 send retained values, 1 only if the subscription is new there, 2 do not */
    enum pubsub_policy policy; /* what a full queue does */
    enum pubsub_policy then;   /* BLOCK: what follows when block_ms are over; SPILL: when its area is full: DROP_OLD,
                                  DROP_NEW (default) or CLOSE */
    uint32_t block_ms;         /* BLOCK: longest wait; 0: the broker's default, 1000 */
    const char *group;         /* one member of the group gets each message; 1..64 bytes, as a client id; NULL: none.
                                  CLOSE and no_local do not go with it */
    const char *filter;        /* an expression over the message, 1..1024 bytes, PROTOCOL.md "Filters"; NULL: none */
    bool no_local;             /* nothing that this connection published itself; not with from, ack or durable */
    enum pubsub_from from;     /* where it begins */
    uint64_t from_number;      /* LAST, TIME, AGO: see there; at most 2^53-1 */
    const uint64_t *from_positions; /* SEQ: stream, first position, stream, first position, ...; copied */
    size_t from_positions_count; /* SEQ: how many streams, 1..64, none of them twice */
    enum pubsub_ack_mode ack;  /* messages with a position are to be acknowledged: pubsub_ack_one() and the like */
    uint32_t ack_ms;           /* it comes again when not acknowledged for so long; 0: the broker's default, 30000 */
    uint32_t max_tries;        /* given up after it was sent so often, then it is under $dead/; 0: never */
    uint32_t inflight;         /* most that may be unacknowledged, up to 65536; 0: the broker's default, 1000 */
    bool durable;              /* its position is kept on disk with the session: needs session_s and client_id. It
                                  ends with pubsub_unsubscribe() */
    bool by_credit;            /* the broker may send only `credit` messages until pubsub_credit() allows more */
    uint64_t credit;           /* 0: none before pubsub_credit(). Retained values count too */
    enum pubsub_scope scope;   /* when on_granted is called; pubsub_granted_scope() says whether it could be had */
    void (*on_message)(pubsub *client, const struct pubsub_message *message, void *user);
    void (*on_gap)(pubsub *client, const struct pubsub_gap *gap, void *user);
    void (*on_mark)(pubsub *client, uint32_t sid, enum pubsub_mark mark, void *user);
    void (*on_granted)(pubsub *client, uint32_t sid, void *user); /* the broker accepted; again after each reconnect */
    void (*on_stat)(pubsub *client, const struct pubsub_stat *stat, void *user);
    void *user;
};

/* A header of the application: name and value are UTF-8, no name stands twice. */
struct pubsub_header { const char *name, *value; };

struct pubsub_publish_options {
    enum pubsub_ack ack;
    bool retain;               /* keep as the topic's last value; an empty payload clears it */
    bool must_route;           /* nobody subscribed is an error (217) */
    /* Properties, copied: at most 125, about 7,800 bytes. Either raw or as what follows, not both. */
    const void *props;         /* a raw msgpack map; NULL: made of the following */
    size_t props_len;
    bool raw;                  /* the payload is not a msgpack document but bytes (content type 0) */
    bool has_ttl;
    uint64_t ttl_ms;           /* what has waited at the broker this long is not delivered any more */
    const char *key;           /* conflation key of `latest`; NULL: the topic */
    const char *reply_to;      /* the topic for answers; NULL: none */
    const void *correlation;   /* bytes that the answer brings back; NULL: none */
    size_t correlation_len;    /* at most 64 */
    const struct pubsub_header *headers;
    size_t headers_count;
};

/* A request: a message that names a topic for its answers. */
struct pubsub_request_options {
    /* .ack, .must_route, .reply_to and .correlation are set by the call, .props must be NULL */
    struct pubsub_publish_options publish;
    uint32_t timeout_ms;       /* for all answers together; 0: 5000 */
    uint32_t replies_max;      /* done after this many; 0: 1; UINT32_MAX: as many as come in time */
    /* An answer, or the end of the request: reply is NULL then and status is 0 (replies_max came), PUBSUB_ETIMEDOUT,
     * PUBSUB_ENOBODY (nobody serves the topic), PUBSUB_EAUTH (one may not ask there), PUBSUB_EREFUSED, PUBSUB_ELOST,
     * PUBSUB_ECLOSED; pubsub_error() then says more. Called with NULL exactly once for each request that was accepted
     * and not cancelled, also by pubsub_close(). */
    void (*on_reply)(pubsub *client, uint64_t request, const struct pubsub_message *reply, int status, void *user);
    void *user;
};

/* Opens a client and connects. Waits until the broker's WELCOME is there (with retry_first: returns at once and
 * connects in the background).
 *   options  borrowed during the call; NULL: all defaults.
 * Returns 0 and sets *client; or PUBSUB_EINVAL bad URL or option; ECONNECT nobody listens, no answer in connect_ms, or
 * no TLS with a broker that can be trusted (text says why not); EREFUSED the broker said BYE; EAUTH it does not believe
 * who the client says it is; EPROTO the peer isn't a broker; EINTR a signal came; EFILE the outbox file is damaged, not
 * this client's, in use or can't be opened, and is left as it is; ENOMEM. on_state (CONNECTED) runs
 * before it returns. Looking up a host's name may block longer than connect_ms. On failure *client is untouched and, if
 * text_cap > 0, text holds one NUL-terminated sentence. */
int pubsub_open(pubsub **client, const struct pubsub_options *options, char *text, size_t text_cap);

/* Says BYE, waits at most timeout_ms until the broker has taken all that was written and says BYE too, frees
 * everything. Does not wait for acknowledgements: pubsub_flush() does. Of the callbacks only on_puback and on_refusal
 * still run: what arrives for subscriptions is thrown away. NULL is allowed. */
void pubsub_close(pubsub *client, int timeout_ms);

/* The same for a loop of one's own, without waiting: begins to close. pubsub_process() goes on with it and returns ECLOSED
 * when it is done, which is at once if there is no connection; then, or when that takes too long, pubsub_close(client, 0)
 * frees. Allowed in callbacks: what has not been called back yet is only on_puback, on_refusal and on_reply (ECLOSED). */
void pubsub_disconnect(pubsub *client);

/* Queues one message for the broker. Small messages are collected and written together: in pubsub_wait(),
 * pubsub_process() or pubsub_flush(), and here when 64 KiB have come together.
 *   topic    NUL-terminated UTF-8, 1..PUBSUB_TOPIC_MAX bytes, no wildcard; copied before return.
 *   payload  len bytes, 0..the broker's limit (1 MiB by default); copied before return. NULL only if len is 0.
 *   options  NULL: not acknowledged, not retained.
 *   pid      if not NULL: set to the publish id that on_puback will name, 1, 2, 3, ... (0 without ack). Ids go on
 *            counting over reconnects.
 * Returns 0, or: PUBSUB_EINVAL bad topic or props; ETOOBIG over the broker's limit; EAGAIN outbox full; EINTR a signal
 * or pubsub_wake() came while it waited for room, nothing is queued; ECLOSED after pubsub_shutdown(); ELOST, ETAKEN, EREFUSED, EAUTH,
 * EPROTO the connection has ended for good; EFILE the outbox file can't be written, nothing is queued; ENOMEM. */
int pubsub_publish(pubsub *client, const char *topic, const void *payload, size_t len,
                   const struct pubsub_publish_options *options, uint64_t *pid);

/* Subscribes to a topic or pattern ('+' one level, '#' last, the rest). Callbacks run inside later calls.
 *   sid  set to the subscription's number.
 * The broker's answer arrives as on_granted, or as on_refusal of the client: the subscription is then gone. One that was
 * granted with LAST_PER_TOPIC may be refused (214) that there are so many topics: then more messages come than the last of
 * each, and none is missing. What is asked for takes effect in the order of the calls, publishes included. Returns 0, EINVAL, ENOMEM; ECLOSED after
 * pubsub_shutdown(); or why the connection has ended for good. */
int pubsub_subscribe(pubsub *client, const char *pattern, const struct pubsub_subscribe_options *options,
                     uint32_t *sid);

/* Subscriptions by credit: the broker may have sent max_msgs messages on it in total since pubsub_subscribe(); at most
 * 2^53-1. The total only grows, and goes on counting over reconnects: what was received counts, what was lost with a
 * connection does not. With drain, what is queued at the broker now is sent as far as the credit goes, and then on_mark
 * says DRAINED (once for all drains that were asked before); a subscription without credit can be drained too, max_msgs
 * then means nothing. Returns 0, EINVAL (unknown sid, too much, not by_credit and no drain), ENOMEM; ECLOSED after
 * pubsub_shutdown(); or why the connection has ended for good. */
int pubsub_credit(pubsub *client, uint32_t sid, uint64_t max_msgs, bool drain);

/* Acknowledges a message with a position, on a subscription with `ack`: in its callback or later.
 *   upto    done, and so are all earlier ones of the stream
 *   one     done
 *   nack    not done: to be sent again after delay_ms, 0..2^53-1
 *   reject  cannot be done: not to be sent again; it goes to $dead/<topic>
 * Allowed between connections, too. What is not unacknowledged (any more) is left alone, and so is what will be sent
 * again because the session was lost. What was acknowledged is not given to on_message again although the broker may
 * not have heard of it, as long as the session holds. Returns 0; EINVAL (unknown sid, no `ack`); ENOMEM; ECLOSED after
 * pubsub_shutdown(); or why the connection has ended for good. */
int pubsub_ack_upto(pubsub *client, uint32_t sid, uint64_t stream, uint64_t seq);
int pubsub_ack_one(pubsub *client, uint32_t sid, uint64_t stream, uint64_t seq);
int pubsub_nack(pubsub *client, uint32_t sid, uint64_t stream, uint64_t seq, uint64_t delay_ms);
int pubsub_reject(pubsub *client, uint32_t sid, uint64_t stream, uint64_t seq);

/* Asks: publishes with a topic for the answers that only this client hears, and calls on_reply for each of them.
 * Parameters as of pubsub_publish(); options and its on_reply must not be NULL. request: if not NULL, set to a number
 * that names it.
 * A request belongs to one connection: when that breaks, it ends with ELOST, served or not, and is never sent again.
 * Between connections the call waits for the next one, up to timeout_ms; without PUBSUB_OUTBOX_WAIT, and in a
 * callback, it returns EAGAIN at once. It takes a publish id, but on_puback is told of it only together with others.
 * Returns as pubsub_publish(), or ETIMEDOUT: no connection in time; EREFUSED: the broker has no inboxes. */
int pubsub_request(pubsub *client, const char *topic, const void *payload, size_t len,
                   const struct pubsub_request_options *options, uint64_t *request);
int pubsub_cancel_request(pubsub *client, uint64_t request); /* no callback follows. EINVAL: there is none */

/* Answers a message that asks for it; from inside its callback or later with a copy of what it points to. options may
 * be NULL; its reply_to stays, its correlation is set by the call, its props must be NULL. With must_route and an ack,
 * on_puback is told (217) when nobody is there any more to hear the answer. Returns as pubsub_publish(); EINVAL also:
 * the message names no topic for answers. */
int pubsub_reply(pubsub *client, const struct pubsub_message *request, const void *payload, size_t len,
                 const struct pubsub_publish_options *options);

/* Reads properties of a message that a callback got, or of a copy. Pointers borrow from it; len is never NULL.
 * The topic for answers, not NUL-terminated, or NULL: */
const char *pubsub_message_reply_to(const struct pubsub_message *message, size_t *len);
/* One raw msgpack value, or NULL: */
const void *pubsub_message_correlation(const struct pubsub_message *message, size_t *len);
/* A header's text, not NUL-terminated; NULL: there is none, or it is no text. */
const char *pubsub_message_header(const struct pubsub_message *message, const char *name, size_t *len);
bool pubsub_message_is_raw(const struct pubsub_message *message); /* content type says: not a msgpack document */

/* Ends a subscription, a durable one with its position. No callback of it but on_mark (ENDED) comes after the return.
 * Returns 0, EINVAL (unknown sid), ENOMEM. */
int pubsub_unsubscribe(pubsub *client, uint32_t sid);

/* Asks for a subscription's counts: on_stat. Returns as pubsub_subscribe(). */
int pubsub_ask_stat(pubsub *client, uint32_t sid);

/* Writes what is queued, then waits for and handles what arrives, until at least one callback ran or timeout_ms
 * (-1: no limit, 0: only what is there now) passed. Everything that has arrived is handled before it returns.
 * Returns how many callbacks ran, 0 when the time ran out or pubsub_wake() was called; or ELOST, ETAKEN, EREFUSED,
 * EAUTH, EPROTO when the connection has ended for good, ECLOSED after pubsub_shutdown() once the broker is done too,
 * EINTR when a signal came. */
int pubsub_wait(pubsub *client, int timeout_ms);

/* Makes the call that waits return, or the next one that would wait: pubsub_wait() and pubsub_process() with what they
 * return anyway; pubsub_flush(), pubsub_shutdown(), and pubsub_publish() or pubsub_request() that wait for room or a
 * connection, with EINTR. Calls before that return are as good as one. What was written to memory before the call can be
 * seen after the return.
 * The only function that any thread and any signal handler may call, from the return of pubsub_open() until the call of
 * pubsub_close(). errno stays. Returns 0; EINVAL without the option `wakes`. */
int pubsub_wake(pubsub *client);

/* Waits until all that was published has left and, where asked for, been acknowledged. Callbacks run.
 * Returns 0, ETIMEDOUT, EINTR (a signal, pubsub_wake()), or as pubsub_wait(). timeout_ms -1: no limit. */
int pubsub_flush(pubsub *client, int timeout_ms);

/* Ends the sending side, after everything queued is written: nothing can be published any more; what the broker still
 * has for us is delivered (all that is queued there; with `half` also what comes later, until the broker ends; so only
 * with `half` answers to requests).
 * From a callback it returns 0 at once, and the end comes when all is written and acknowledged. On a serial line, which
 * has no end of its own, BYE is said instead: then what the broker still has is not delivered. Returns 0, or as
 * pubsub_flush(). */
int pubsub_shutdown(pubsub *client, int timeout_ms);

/* For a loop of one's own: poll pubsub_fd() for pubsub_poll_events() (POLLIN, POLLOUT) for at most
 * pubsub_poll_timeout_ms() (-1: no limit), then call pubsub_process(), also when the time ran out. Ask all three
 * again before each poll: the descriptor changes on a reconnect and is -1 between connections. What keeps descriptors
 * registered has to be told of a new one even if its number is the old one's: forget_fd of pubsub/loop.h.
 * For pubsub_wake(), poll pubsub_wake_fd() for POLLIN as well: it stays the same, and is -1 without the option `wakes`. */
int pubsub_fd(const pubsub *client);
int pubsub_wake_fd(const pubsub *client);
short pubsub_poll_events(const pubsub *client);
int pubsub_poll_timeout_ms(const pubsub *client);
int pubsub_process(pubsub *client); /* as pubsub_wait(client, 0) */

/* Bytes that wait in the outbox, and publishes not yet acknowledged. */
size_t pubsub_outbox_bytes(const pubsub *client);
uint64_t pubsub_unacked(const pubsub *client);

/* How far the subscription reached when on_granted was called last: CLUSTER if that was asked for and all brokers knew of
 * it; LOCAL else, as where the broker is alone or another one did not answer in time, and before the first call. */
enum pubsub_scope pubsub_granted_scope(const pubsub *client, uint32_t sid);

/* What the broker said in WELCOME. Texts are borrowed until the next call on the client. */
const char *pubsub_client_id(const pubsub *client);
uint64_t pubsub_max_payload(const pubsub *client);
uint32_t pubsub_session_s(const pubsub *client); /* how long the session outlives the connection; 0: not at all */
bool pubsub_resumed(const pubsub *client);       /* the connection goes on with an earlier session */
const char *pubsub_inbox(const pubsub *client); /* prefix of the topics that only this connection hears, as long as it
                                                   lasts; "": none */

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
