/* The broker's core as its environment sees it: connections come and go, bytes come in, time passes, and at the end of
 * each turn of the loop what has gathered is flushed. One thread. See env.h for the other direction.
 *
 *   env                             core
 *   session_new(link)           ->  a session in state NEW, with its handshake clock running
 *   session_read_buffer()       ->  where to read to; then session_read(n), session_read_end()
 *   session_writable()          ->  the link takes bytes again
 *   session_closed()            ->  the link is gone
 *   broker_turn()               ->  timers, replies, deliveries; once per turn, after all of the above  */
#ifndef BROKER_BROKER_H
#define BROKER_BROKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "access.h"
#include "env.h"
#include "peer.h"
#include "refusals.h"

struct broker;
struct engine;
struct session;
struct store;

/* Limits that the operator sets. Bytes unless the name says otherwise. broker_defaults() fills them. */
struct broker_limits {
    uint32_t max_payload;          /* of one message */
    uint32_t max_sessions_count;   /* connections */
    uint32_t max_away_count;       /* sessions of clients that are away */
    uint32_t max_subs_count;       /* of one connection */
    uint32_t max_filters_count;    /* subscriptions of one connection that have a filter */
    uint64_t pattern_bytes;        /* what the patterns of one connection take in the trie */
    uint32_t inflight_cap_count;   /* unacknowledged messages: the most that a reader of streams may ask for */
    uint64_t queue_msgs_count;     /* a subscription's queue, when it does not say */
    uint64_t queue_bytes;
    uint64_t queue_msgs_cap_count; /* the most that it may ask for */
    uint64_t queue_bytes_cap;
    uint64_t session_queue_bytes;  /* all queues of one connection */
    uint64_t queue_total_bytes;    /* all queues together; a message in many of them counts once. And what links hold */
    uint64_t input_total_bytes;    /* all input that waits together, beyond 16 KiB of each connection; at least max_payload */
    uint32_t input_ms;             /* how long a large frame has while others wait for its memory, up to twice as long */
    uint32_t max_retained_count;   /* retained values */
    uint64_t retained_bytes;       /* all retained values, with what it costs to keep them */
    uint32_t connections_per_user; /* 0: no limit */
    uint64_t publish_rate;         /* messages a second of one user, or of one connection without one; 0: no limit */
    uint64_t publish_rate_bytes;   /* likewise, of whole frames */
    uint32_t publish_delay_ms;     /* so long who publishes more is slowed down; then refused what is too much */
    uint32_t pub_window_count;     /* publishes of one connection that wait for their answer */
    uint32_t handshake_ms;
    uint32_t closing_ms;           /* how long a closing connection may take to read what is left */
    uint32_t keepalive_max_s;      /* asked for longer: this is granted */
    uint32_t sys_ms;               /* between two reports under $SYS; 0: none */
    uint32_t session_max_s;        /* how long a session may outlive its connection; 0: not at all */
    bool audit;                    /* write the audit log */
    uint64_t spill_bytes;          /* on disk, of transient topics with the policy spill; 0: none */
};

struct broker *broker_new(struct env *env, const struct broker_limits *limits); /* limits NULL: defaults */
void broker_free(struct broker *broker); /* every connection must be gone */
void broker_defaults(struct broker_limits *limits);
/* From now on these hold, also for who is connected. Nothing that is over one of them now is ended for it. */
void broker_set_limits(struct broker *broker, const struct broker_limits *limits);
const struct broker_limits *broker_limits_of(const struct broker *broker);

/* From now on this says who may do what: also to who is connected, who is away, and what they left. Consumes the reference.
 * NULL: nothing is restricted. At the start before broker_open_store(). */
void broker_set_access(struct broker *broker, struct access *take_access);

/* Messages of these topics are kept. Texts are copied. */
struct stream_config {
    const char *name;              /* 1..64 bytes */
    const char *const *patterns;
    size_t patterns_count;
    uint64_t max_bytes;            /* of all messages together; 0: no limit */
    uint64_t max_msgs;             /* 0: no limit */
    uint64_t max_age_ms;           /* 0: no limit */
    bool refuses;                  /* when it is full; else the oldest messages go */
    bool is_shared;                /* the engine of the cluster keeps it (broker_join()), for all brokers, */
    uint32_t replicas;             /* in so many copies: 1, 3 or 5 */
};
/* The number of a shared stream, which follows from its name, so that it is the same at every broker. */
uint32_t stream_shared_number(const char *name);
/* Before the first session: loads what the store holds, and keeps what belongs to these streams from now on. The store is
 * the caller's, and must stay until broker_free(); NULL: all of the streams are shared. Returns 0, or -1 and a sentence in
 * text. */
int broker_open_store(struct broker *broker, struct store *store, const struct stream_config *streams, size_t count,
                      char *text, size_t text_cap);
/* The store has something to say; broker_turn() is due afterwards. */
void broker_poll_store(struct broker *broker);
bool broker_store_idle(const struct broker *broker); /* nothing waits to be stored */
/* The last commit failed, and not more than 5 s ago: with nothing new to be stored nobody knows whether the next one would. */
bool broker_store_is_failing(const struct broker *broker);

/* How this broker is one of several. Texts are copied. */
struct cluster_config {
    const char *name;              /* 1..64 letters, digits, '-', '_'; no other of them has it */
    const char *const *topics;     /* patterns: only what is published to these goes to the others */
    size_t topics_count;
};
/* Before the first session, after broker_open_store(). The engine (engine.h) is the caller's, and must stay until
 * broker_leave(). Returns 0, or -1 and a sentence in text. */
int broker_join(struct broker *broker, struct engine *engine, const struct cluster_config *config, char *text, size_t text_cap);
/* The engine has something to say; broker_turn() is due afterwards. */
void broker_poll_cluster(struct broker *broker);
/* The broker is one alone from now on: the others are told. The engine is not called any more. */
void broker_leave(struct broker *broker);

/* A connection was accepted. Returns NULL if there are too many, or no memory: then write broker_full_frame() and close. */
struct session *session_new(struct broker *broker, struct link *link);
/* Who is at the other end, before its first byte; without this call nothing is known of it. What is_own may do what only the
 * operator may. Copied. */
void session_set_peer(struct session *session, const struct peer *peer);
/* The answer to env.verify() that came later. Of a session that does not wait for one: nothing happens. */
void session_verified(struct session *session, const struct verdict *verdict);
/* It was accepted then, and not just now: its handshake clock counts from there. Monotonic milliseconds. */
void session_accepted_at(struct session *session, uint64_t accepted_ms);
/* A complete BYE frame for a connection that can't be served (static memory). text: one sentence. */
const uint8_t *broker_full_frame(const char *text, size_t *len);
/* Why session_new() returned NULL, as a sentence (static memory). */
const char *broker_full_text(const struct broker *broker);
/* A limit refused something: counts it. */
void broker_note_refusal(struct broker *broker, enum refusal refusal);
/* A connection was refused before it became a session: for the audit log. code: of its BYE, or 0. */
void broker_audit_refusal(struct broker *broker, const struct peer *peer, uint32_t code, const char *text);
/* The configuration was loaded again, or it was refused and nothing has changed: for the audit log, if it is written now or was
 * until then. text: one sentence. */
void broker_audit_reload(struct broker *broker, bool audited_before, bool is_applied, const char *text);
/* Closes a connection that was not welcomed yet, at once: it is told why (BYE 115) if its link takes that. */
void session_turn_away(struct session *session, const char *text);
/* What a connection's first bytes, at least one, look like when they aren't ours. NULL: nothing that is known. */
const char *broker_guess(const uint8_t *p, size_t len);
/* What links have taken and could not write yet, in memory of their own, has changed by so many bytes. It counts in
 * queue_total_bytes, up to a half of that. */
void broker_links_hold(struct broker *broker, int64_t bytes);
/* They hold so much that each should take only little more. */
bool broker_links_are_full(const struct broker *broker);
/* One line for the operator about a peer that has no session. */
void broker_note_peer(struct broker *broker, const struct peer *peer, const char *text);

/* Where the next bytes of this session go, valid until session_read(). No room: there is no memory to read to, and the
 * connection is to be broken. */
void session_read_buffer(struct session *session, uint8_t **buf, size_t *cap);
void session_read(struct session *session, size_t len);
void session_read_end(struct session *session); /* end of the peer's stream */
void session_writable(struct session *session);
/* Reading is off, the peer's stream has ended, and nothing is left to be read of it. True: so the connection is of no use to
 * anybody any more, and to be broken. */
bool session_is_useless(const struct session *session);
void session_closed(struct session *session);   /* the link is gone; the session is freed at the end of the turn */

/* Does what is due: input that waits for its share, timers, flushing. Returns when to call again at the latest:
 * 0 = there is more to do right now, UINT64_MAX = nothing is planned, else monotonic milliseconds. */
uint64_t broker_turn(struct broker *broker);
/* Whether so much was read since the last turn that the next one should not wait for the other connections: what is read
 * takes memory until it is flushed. */
bool broker_wants_turn(const struct broker *broker);

/* Graceful stop: tells every client (BYE 113) after flushing what it holds. Done when broker_sessions() is 0. */
void broker_stop(struct broker *broker);
void broker_drop_all(struct broker *broker); /* closes all connections, whatever they have not read */
size_t broker_sessions(const struct broker *broker); /* connections */

/* For tests and operators: what the broker holds. */
struct broker_figures {
    uint64_t sessions, subscriptions, retained, retained_bytes;
    uint64_t sessions_away;        /* wait for their clients */
    uint64_t input_bytes;          /* input that waits, beyond 16 KiB of each connection */
    uint64_t links_bytes;          /* what links took and could not write yet */
    uint64_t runs, run_bytes;      /* alive, and the memory of their own that they hold */
    uint64_t slabs;
    uint64_t messages_in, bytes_in;       /* MSG frames taken from publishers */
    uint64_t copies_out, copies_lost;     /* per matching subscription */
    uint64_t protocol_errors;             /* connections closed with 100..199 by their own fault */
    uint64_t refused[REFUSALS_COUNT];     /* by each limit */
};
void broker_figures(const struct broker *broker, struct broker_figures *out);
/* Memory of messages that are queued, of what is being read, and of what is remembered of topics, in bytes. O(1). */
uint64_t broker_held_bytes(const struct broker *broker);

/* For tests: each subscription in turn, while fn returns true. matched = sent + lost + queued. */
struct subscription_figures {
    struct link *link;             /* NULL: its client is away */
    uint32_t sid;
    uint64_t matched, sent, lost, queued, queued_bytes;
};
void broker_each_subscription(const struct broker *broker, bool (*fn)(const struct subscription_figures *f, void *arg),
                              void *arg);

#endif
