/* The client side of mps/1 without a system under it: bytes in, events out, bytes to send. For devices, for other
 * languages, and what libpubsub itself is built on. No I/O, no allocation, no clock, no globals, no recursion; C99.
 *
 * One struct pubsub_core is one connection at a time. The caller moves the bytes:
 *
 *   pubsub_core_init(), pubsub_core_hello()
 *   forever: write what pubsub_core_output() shows, say pubsub_core_written();
 *            read into pubsub_core_input(), say pubsub_core_received();
 *            call pubsub_core_next() until it says PUBSUB_EVENT_NONE
 *   the connection broke: pubsub_core_restart(), pubsub_core_hello(); subscribe again, publish again what was not
 *            settled
 *
 * With a session (HELLO's session_s and boot) nothing is published twice: wait for WELCOME, whose last_pid says up to
 * where all is settled (what is published again from before that ends the connection, BYE 106), and publish what is
 * behind it. The first acknowledged publish after such a WELCOME gets last_pid + 1.
 *
 * Thread: one at a time per object. Memory: what the caller lends, for as long as the object is used.
 * Functions that write a frame return 0; PUBSUB_EAGAIN when it does not fit into the output buffer at the moment
 * (nothing was written: send what is there, try again); PUBSUB_ETOOBIG when it never will; PUBSUB_EINVAL for what the
 * protocol does not allow; PUBSUB_ECLOSED after BYE in either direction. */
#ifndef PUBSUB_CORE_H
#define PUBSUB_CORE_H

#include <pubsub/core_config.h>
#include <pubsub/pubsub.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PUBSUB_CORE_RX_MIN 256            /* least bytes of the input buffer: every control frame whose texts are short
                                             (one that does not fit ends the connection, 104), the topic and properties
                                             of a message that is to be told in pieces */
#define PUBSUB_CORE_TX_MIN 128            /* least bytes of the output buffer. Each frame has to fit into it: a HELLO
                                             with all names takes up to 232 and with a will more, a SUB with all but
                                             group, filter and positions 200 and its pattern */
#define PUBSUB_CORE_INBOX_MAX 234         /* bytes of an inbox's name: a '/' and 20 digits make a topic of it */
#define PUBSUB_CORE_WILL_MAX 4096         /* bytes that a will can take: HELLO has no room for more */

enum pubsub_event_type {
    PUBSUB_EVENT_NONE = 0,     /* nothing more until further bytes come */
    PUBSUB_EVENT_BLOCKED,      /* a PING can't be answered until some output is written: write, then call again */
    PUBSUB_EVENT_WELCOME,
    PUBSUB_EVENT_MESSAGE,
    PUBSUB_EVENT_GAP,
    PUBSUB_EVENT_PUBACK,
    PUBSUB_EVENT_SUBACK,
    PUBSUB_EVENT_MARK,
    PUBSUB_EVENT_STAT,
    PUBSUB_EVENT_PONG,
    PUBSUB_EVENT_INFO,
    PUBSUB_EVENT_REFUSAL,      /* ERR: the connection goes on */
    PUBSUB_EVENT_TOO_LARGE,    /* a message larger than frame_max was skipped */
    PUBSUB_EVENT_BYE,          /* the broker ends the connection */
    PUBSUB_EVENT_FAILED,       /* the broker broke the protocol: a BYE that says how is in the output; close after it */
};

struct pubsub_welcome {
    const char *client_id;     /* NUL-terminated */
    const char *inbox;         /* prefix of the topics whose messages come under sid 0; NUL-terminated; "": none */
    uint32_t keepalive_s;      /* 0: not said */
    uint64_t max_payload;      /* bytes; 0: not said */
    uint64_t pub_window;       /* most publishes that may wait for their PUBACK; 0: not said */
    uint64_t last_pid;         /* with a session: publishes up to this one are settled; 0: none is known */
    uint64_t epoch;            /* another number than before: the broker has lost its sessions and positions. 0: it can't say yet */
    uint32_t session_s;        /* granted; 0: the session ends with the connection */
    uint32_t best_ack;         /* enum pubsub_ack */
    bool resumed;              /* the session goes on: its subscriptions are there, what is queued comes at once */
};
struct pubsub_suback {
    uint32_t sid, code;        /* code 0: granted */
    const char *text;          /* NUL-terminated */
    bool local;                /* PUBSUB_SCOPE_CLUSTER was asked for and could not be had */
};
struct pubsub_mark_event { uint32_t sid, mark; };               /* mark: enum pubsub_mark; ignore others */
struct pubsub_bytes { const void *ptr; size_t len; };
struct pubsub_too_large { uint32_t sid, payload_len; uint64_t stream, seq; };
struct pubsub_ending { uint32_t code; const char *text; };      /* code: PROTOCOL.md, "Codes"; text NUL-terminated */

/* One thing that happened. Everything it points to is borrowed until the next call that takes the core. Text from the
 * broker is cut to PUBSUB_CORE_TEXT_MAX, its control characters replaced by '?'. */
struct pubsub_event {
    enum pubsub_event_type type;
    union {
        struct pubsub_welcome welcome;
        struct pubsub_message message;
        struct pubsub_gap gap;
        struct pubsub_puback puback;
        struct pubsub_suback suback;
        struct pubsub_mark_event mark;
        struct pubsub_stat stat;
        struct pubsub_refusal refusal;
        struct pubsub_bytes pong;          /* its token */
        struct pubsub_bytes info;          /* a raw msgpack map */
        struct pubsub_too_large too_large;
        struct pubsub_ending ending;       /* BYE, FAILED */
    } as;
};

/* What publishing needs to remember: the terms that the broker applies to the next message. */
struct pubsub_terms {
    uint64_t next_pid;         /* of the next acknowledged message: 1, 2, 3, ... */
    uint8_t flags;             /* PROTOCOL.md, PUB */
    bool skips;                /* next_pid is not what this connection's broker expects: say it in a PUB of its own */
};

/* Private but for its size: 128 bytes where a pointer takes 4. */
struct pubsub_core {
    uint8_t *rx, *tx;
    size_t rx_cap, tx_cap;                  /* bytes */
    uint32_t frame_max;
    uint32_t piece_max;                     /* longest payload that comes in pieces; 0: none does */
    /* Of this connection, all that follows. */
    size_t rx_begin, rx_end, tx_end;        /* bytes; of rx begin..end are not consumed yet */
    uint32_t piece_at;                      /* how much of the payload was told */
    uint32_t broker_payload_max;            /* of what we may publish, bytes */
    uint32_t session_s;                     /* as HELLO asked */
    uint32_t sid, tries;                    /* the sticky FOR, also what follows */
    uint64_t stream, seq, time_ms;
    uint64_t settled_pid;
    struct pubsub_terms terms;
    /* How far a frame was looked at that is not complete. Positions count from rx_begin. */
    uint32_t scan_pos;                      /* of the next value's head, which may not have come yet */
    uint32_t payload_len;                   /* of a message; between frames: where the last topic is in rx */
    uint16_t payload_at;                    /* 0: not known yet */
    uint16_t values;                        /* begun so far; 0: between frames */
    uint16_t head_bytes;                    /* all but the payload */
    uint8_t op, depth;
    uint8_t elements;                       /* of the frame's array, begun so far; between frames: the last topic's
                                               length, 0: not known */
    uint8_t owed[4];                        /* values that each open container still lacks */
    uint8_t state, flags, for_flags;
};

/* Begins with empty buffers of the caller: rx_cap >= PUBSUB_CORE_RX_MIN bytes, tx_cap >= PUBSUB_CORE_TX_MIN.
 * frame_max is the largest frame that is accepted, bytes: rx_cap until pubsub_core_set_input() says otherwise. */
void pubsub_core_init(struct pubsub_core *core, void *rx, size_t rx_cap, void *tx, size_t tx_cap);

/* A new connection: forgets input, output and terms of the old one. The next acknowledged publish gets first_pid, which
 * is that of the first one that was not settled; publish those again, in order, before others. */
void pubsub_core_restart(struct pubsub_core *core, uint64_t first_pid);

/* Changes the input buffer (what is in the old one is moved) and frame_max, bytes, which may exceed rx_cap: then
 * pubsub_core_input() returns 0 when a larger buffer is needed. rx may be the buffer that is in use, grown in place or
 * by realloc(). rx_cap must hold what has been received but not consumed. */
void pubsub_core_set_input(struct pubsub_core *core, void *rx, size_t rx_cap, size_t frame_max);

#if PUBSUB_CORE_PIECES
/* From now on a message whose frame is larger than frame_max, which must not exceed rx_cap then, is not passed over but
 * comes in pieces if its payload has at most payload_max bytes (0: none does): as one MESSAGE event for each piece, from
 * its .offset on, until .offset + .payload_len is .total. Every piece names topic, properties and position; these have to
 * fit into the input buffer, and stay in it meanwhile, so a piece is what is left there at most. A connection that ends
 * between them leaves a message incomplete. HELLO's rx_max, if it is said, must allow for the whole frame. */
void pubsub_core_take_pieces(struct pubsub_core *core, uint32_t payload_max);
#endif

/* Where to read to: sets *at, returns how many bytes fit there. 0 only while a frame is larger than the buffer, or
 * events wait for pubsub_core_next(). */
size_t pubsub_core_input(struct pubsub_core *core, void **at);
void pubsub_core_received(struct pubsub_core *core, size_t len);

/* The next event. Answers PINGs by itself. After BYE or FAILED: NONE. */
enum pubsub_event_type pubsub_core_next(struct pubsub_core *core, struct pubsub_event *event);

/* What is to be sent: sets *at, returns how many bytes. Then say how many of them were. */
size_t pubsub_core_output(const struct pubsub_core *core, const void **at);
void pubsub_core_written(struct pubsub_core *core, size_t len);

/* All zero is valid. Strings are NUL-terminated; NULL: left out. */
struct pubsub_core_hello {
    const char *client_id;
    const char *software;      /* name and version, for the operator */
    uint32_t keepalive_s;      /* 0: not said */
    uint32_t session_s;        /* how long the session is to outlive the connection; 0: not at all */
    bool clean;                /* begin with an empty session */
    uint64_t boot;             /* goes with session_s: a random number that stays the same as long as publish ids go on
                                  counting, and changes when they begin again at 1; 0: not said */
    uint32_t rx_max;           /* largest MSG frame that may be sent to us, bytes: larger ones are told as a gap. 0: not
                                  said; without pieces, one of four times frame_max then ends the connection (104) */
    bool half;                 /* keep delivering after our end of the stream is shut down */
    struct pubsub_bytes will;  /* what pubsub_core_will() wrote; len 0: none */
    const char *auth;          /* kind of proof, as pubsub_core_proof() said it */
    struct pubsub_bytes proof; /* what pubsub_core_proof() wrote; len 0: none. The output buffer is wiped behind it */
};
/* Writes HELLO, the first frame of a connection. hello is borrowed during the call. */
int pubsub_core_hello(struct pubsub_core *core, const struct pubsub_core_hello *hello);

#if PUBSUB_CORE_WILL
/* Writes a will as HELLO carries it to out, at most PUBSUB_CORE_WILL_MAX bytes, and sets *len. Its topic must not be
 * NULL, and its properties hold no arrays. Returns 0, EINVAL, or ETOOBIG when cap is not enough. */
int pubsub_core_will(const struct pubsub_will *will, void *out, size_t cap, size_t *len);
#endif

#if PUBSUB_CORE_PROOF
/* Writes a proof as HELLO carries it to out, and sets *len and *auth (static; NULL: no proof). Proof's .in_clear means
 * nothing here. Returns 0; EINVAL more than one kind, or a user without password, or either is not UTF-8; ETOOBIG when
 * cap is not enough. */
int pubsub_core_proof(const struct pubsub_proof *proof, const char **auth, void *out, size_t cap, size_t *len);
#endif

#if PUBSUB_CORE_SUBSCRIBE
/* sid: 1..2^31-1, the caller's choice. The same sid and pattern again changes the options: all but the group, and the
 * credit only grows. options: as of pubsub_subscribe(), without its callbacks and .sid; NULL: defaults. */
int pubsub_core_subscribe(struct pubsub_core *core, uint32_t sid, const char *pattern,
                          const struct pubsub_subscribe_options *options);
int pubsub_core_unsubscribe(struct pubsub_core *core, uint32_t sid);
#endif
#if PUBSUB_CORE_STAT
int pubsub_core_ask_stat(struct pubsub_core *core, uint32_t sid);
#endif

#if PUBSUB_CORE_CREDIT
/* max_msgs, 0..2^53-1: what may have been sent on sid since its first SUB on this connection. It only grows; without
 * credit in SUB it means nothing. drain: MARK 3 follows what is queued now. */
int pubsub_core_credit(struct pubsub_core *core, uint32_t sid, uint64_t max_msgs, bool drain);
#endif

#if PUBSUB_CORE_STREAMS
/* Settles messages that have a position, on a subscription with `ack`. delay_ms: of AGAIN, at most 2^53-1; else 0.
 * Without a session a position can be settled only on the connection that brought it. */
int pubsub_core_ack(struct pubsub_core *core, uint32_t sid, uint64_t stream, uint64_t seq, enum pubsub_ack_kind kind,
                    uint64_t delay_ms);
#endif

/* Parameters as of pubsub_publish(). *pid: see there. A PUB frame is written only when the terms change. */
int pubsub_core_publish(struct pubsub_core *core, const char *topic, const void *payload, size_t len,
                        const struct pubsub_publish_options *options, uint64_t *pid);

int pubsub_core_ping(struct pubsub_core *core, const void *token, size_t len); /* len: 0..64 bytes */
int pubsub_core_bye(struct pubsub_core *core, uint32_t code); /* 0, or 1: publish my will. The last frame of a connection */

#ifdef __cplusplus
}
#endif
#endif
