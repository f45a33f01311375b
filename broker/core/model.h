/* The broker's whole data model on one page, and which room each call lives in. Internal to the core.
 *
 *   broker --sessions--> session --subs--> subscription --queue--> run --bytes--> slab or memory of its own
 *      \--topics, routes-----------------------^
 *      \--retained--> value --> run
 *
 * Data flows one way: session_read (session.c) -> handlers.c -> router.c -> subscription.c/queue.c -> flush.c. */
#ifndef BROKER_MODEL_H
#define BROKER_MODEL_H

#include "broker.h"
#include "hash.h"
#include "heap.h"
#include "queue.h"
#include "retained.h"
#include "slab.h"
#include "topics.h"
#include "wire.h"

/* A growing buffer of bytes that go out, or were kept for later. Holds no memory while empty. */
struct buffer {
    uint8_t *bytes;
    uint32_t off, len, cap; /* .off..len is what it holds */
};

struct subscription {
    struct topic_entry entry;         /* its place in the trie; in none once its session is ending */
    struct hash_node in_subs;         /* of its session, by sid */
    struct session *session;
    struct subscription *prev_active, *next_active; /* in session.active */
    struct queue queue;
    struct snapshot snapshot;         /* retained values still to be sent; queued messages wait behind them */
    uint64_t snapshot_matched;        /* .matched when the snapshot began: what is queued from before goes before it */
    uint64_t max_msgs, max_bytes;     /* of the queue */
    uint64_t matched, sent, lost;     /* messages since SUB: matched = sent + lost + queue.msgs */
    uint32_t sid;
    bool is_active;
    uint8_t pattern_len;
    uint8_t pattern[];
};

enum session_state {
    SESSION_NEW,     /* nothing but a HELLO is accepted */
    SESSION_READY,
    SESSION_ENDING,  /* writes what is queued, then says BYE; what comes in is thrown away */
    SESSION_CLOSING, /* BYE is written or on its way; waits for the peer's end */
    SESSION_DEAD,    /* the link is gone; freed at the end of the turn */
};

/* Session.bye_code when an ending session goes without a word. */
#define SESSION_NO_BYE UINT32_MAX

/* Acknowledged publishes that wait to be answered together. */
struct ack_pending {
    uint64_t count, last_pid;
    uint64_t matched_least, dropped;
};

struct session {
    struct broker *broker;
    struct link *link;
    struct session *prev, *next;      /* broker.sessions */
    struct session *next_dirty, *next_held, *next_dead;
    enum session_state state;
    struct timer timer;               /* handshake, keepalive or closing, by state */
    struct hash_node in_ids;
    mps_view id;                      /* own memory; ptr NULL until WELCOME */

    /* coming in */
    struct slab *large;               /* a frame that gets a buffer of its own */
    struct buffer kept;               /* the beginning of a frame, or frames that wait for their share */
    struct mps_scan scan;             /* of the frame that begins .kept or .large */
    uint64_t last_read_ms;
    struct mps_pub terms;             /* of the MSGs that follow: flags; .pid the next one's if acknowledged */
    uint64_t next_pid;                /* of the next acknowledged MSG; 0: any (nothing was acknowledged yet) */
    struct ack_pending acks;
    uint64_t errs_second;             /* when the count of unacknowledged errors began, in s */
    uint32_t errs_count;              /* answered in that second */
    uint32_t errs_unsaid;             /* not answered, as too many */

    /* going out */
    struct buffer control;            /* frames that go before any message */
    struct run *cut;                  /* a MSG frame that the link took part of: goes before everything; or NULL */
    uint32_t cut_off, cut_len;
    struct subscription *active, *active_last; /* have something to send */
    uint32_t for_sid, for_flags;      /* the terms that the peer holds; sid UINT32_MAX: none yet */
    uint32_t bye_code;                /* ENDING: what to say at the end, or SESSION_NO_BYE: just close */
    char *bye_text;                   /* own memory or NULL */

    struct hash subs;                 /* by sid */
    uint64_t queued_bytes;            /* of all its queues */
    uint32_t rx_max;                  /* bytes of a MSG frame that it takes; 0: any */
    uint32_t ka_ms;                   /* keepalive; 0: none */
    bool half;                        /* goes on delivering after the peer's end of stream */
    bool read_ended;                  /* the peer's stream has ended */
    bool end_sent;                    /* ours too */
    bool paused;                      /* reading is off */
    bool blocked;                     /* the link is full: wait for session_writable() */
    bool is_dirty, is_held;           /* in the broker's list of that name */
};

/* Who gets what is published to a topic. */
struct route {
    struct hash_node in_routes;
    uint64_t wild_generation;         /* of the trie when it was made; differs: make it again */
    uint32_t count, cap;
    struct subscription **subs;
    uint32_t topic_len;
    uint8_t topic[];
};

struct router {
    struct hash routes;
    uint64_t bytes;                   /* memory of the cached routes; bounded */
};

struct flush_plan;

struct broker {
    struct env *env;
    struct broker_limits limits;
    uint64_t seed;                    /* of the hash tables; random, secret */
    uint64_t epoch;                   /* of this run of the broker */
    struct slab_pool slabs;
    struct run_pool runs;
    struct topics topics;
    struct router router;
    struct retained retained;
    struct session *sessions;
    uint32_t sessions_count;
    uint64_t subscriptions_count;
    struct hash ids;                  /* sessions by client id */
    struct heap timers;
    struct session *dirty, *dirty_last; /* have something to write and a link that takes it */
    struct session *held, *held_last;   /* have input that waits for its share */
    struct session *dead;
    struct flush_plan *plan;          /* room for one write */
    bool stopping;
    uint64_t work;                    /* steps of routing so far; what a session may cost a turn is counted so */
    uint64_t log_second;              /* at most a few lines a second about peers */
    uint32_t log_count, log_unsaid;
    struct broker_figures figures;    /* the counters; the rest is filled when asked */
};

/* buffer.c */
void buffer_append(struct buffer *buffer, const void *bytes, size_t len);
void buffer_take(struct buffer *buffer, uint32_t len); /* forgets the first len bytes */
void buffer_free(struct buffer *buffer);
static inline uint32_t buffer_len(const struct buffer *buffer)
{
    return buffer->len - buffer->off;
}

/* session.c: life and lists */
void session_dirty(struct session *session);
void session_hold(struct session *session);        /* go on with .kept in the next turn */
void session_forget_subs(struct session *session); /* ends all subscriptions, without a word */
void session_set_state(struct session *session, enum session_state state);
void session_timer_due(struct session *session, uint64_t now_ms);
void session_drop_link(struct session *session);   /* closes the link at once; the session is dead */
/* Says BYE after everything that is queued. text may be NULL. Later calls change nothing. */
void session_end_gently(struct session *session, uint32_t code, const char *text);
void session_finish_ending(struct session *session); /* everything queued is written: BYE, or close */
/* Says BYE at once; queued messages are gone. text: one sentence. Later calls change nothing. */
void session_bye(struct session *session, uint32_t code, const char *text) __attribute__((nonnull));
void session_byef(struct session *session, uint32_t code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void session_keepalive(struct session *session);   /* sets its timer anew */

/* input.c: bytes to frames */
void input_resume(struct session *session);        /* works on .kept; called from broker_turn() */

/* handlers.c: one for each operation that a broker may receive */
#define TO_BROKER(NAME) void handle_##NAME(struct session *session, mps_view frame);
#define BOTH(NAME) void handle_##NAME(struct session *session, mps_view frame);
#define TO_CLIENT(NAME)
#define OP(number, NAME, way, fields) way(NAME)
#include "ops.def"
#undef OP
#undef TO_BROKER
#undef BOTH
#undef TO_CLIENT

/* replies.c: what is said to a peer besides messages */
void reply_frame(struct session *session, const struct mps_out *out);
void reply_err(struct session *session, uint32_t code, enum mps_op op, mps_view ref, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* An unacknowledged MSG failed: at most 10 a second, the rest counted. */
void reply_msg_err(struct session *session, uint32_t code, mps_view topic, const char *text);
void reply_puback_error(struct session *session, uint64_t pid, uint32_t code, const char *text);
void reply_acks(struct session *session);          /* answers what gathered in .acks */
/* Peers' bytes as printable text for messages and logs: at most 80 characters. Static memory, two calls' worth. */
const char *printable(mps_view text);
void log_peer(struct broker *broker, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* publish.c: messages coming in */
struct publish {
    struct run *run;           /* one topic, the same props in every frame */
    mps_view topic, props;     /* of its first frame; props absent if nil */
    mps_view last_frame;
    uint32_t last_payload_len;
};
/* Judges a run of MSGs under the session's terms, routes it, answers it. */
void publish_run(struct session *session, const struct publish *publish);
/* A MSG that can't be published: answers it, pid or not. */
void publish_refuse(struct session *session, mps_view topic, uint32_t code, const char *text);

/* router.c */
/* Who gets what is published to a topic, until a subscription changes; NULL and *error if the topic is no good. */
const struct route *router_route(struct broker *broker, mps_view topic, const char **error);
/* Queues the run for all of them. Returns how many copies queues refused. */
uint64_t router_fan_out(const struct route *route, struct run *run);
void router_pattern_changed(struct broker *broker, mps_view pattern); /* a subscription to it came or goes */
void router_free(struct broker *broker);

/* subscription.c */
struct subscription *subscription_find(const struct session *session, uint32_t sid);
struct subscription *subscription_new(struct session *session, uint32_t sid, mps_view pattern);
void subscription_detach(struct subscription *sub);     /* nothing matches it any more; what is queued stays */
void subscription_free(struct subscription *sub);
static inline mps_view subscription_pattern(const struct subscription *sub)
{
    return (mps_view){sub->pattern, sub->pattern_len};
}
void subscription_begin_snapshot(struct subscription *sub); /* of the retained values that match it */
/* Queues a whole run. Returns how many of its messages the queue refused. */
uint64_t subscription_push(struct subscription *sub, struct run *run);
void subscription_set_limits(struct subscription *sub, uint64_t max_msgs, uint64_t max_bytes);
void subscription_activate(struct subscription *sub);   /* it has something to send */
void subscription_deactivate(struct subscription *sub);

/* flush.c */
struct flush_plan *flush_plan_new(void);
void flush_session(struct session *session);       /* writes as much as the link takes and the turn allows */

#endif
