/* What must happen, worked out independently of the broker: the model follows what each client sent, decides what every
 * subscription is owed and which answers are due, and holds the broker's bytes against it.
 *
 *   model.c       connections and their ends, what time does to them
 *   values.c      messages, topics, retained values
 *   logs.c        streams: what is accepted, stored, removed, lost
 *   readers.c     subscriptions that read streams: where they begin, what they must have got at rest
 *   places.c      what they get -> against the logs; burials.c: what they acknowledge, and what is given up
 *   actions.c     what clients sent (struct action), and publishers that are held
 *   routing.c     who gets a message; wills.c: what clients leave behind
 *   subs.c        subscriptions, groups, snapshots
 *   queue_model.c one queue
 *   budget.c      the broker's total
 *   stream.c      what the broker sent, cut into frames; deliveries.c and answers.c hold them against the model
 *   invariants.c  what the broker says about itself at rest -> against both
 *
 * Exactness rests on one order of events: the broker works on a session's input inside session_read(), so the model
 * does the same just before. What a turn of the loop does is done just before broker_turn(), in its order: what time
 * has made due, publishers that were held, queues of policy close that have overflowed. What a link takes is seen at
 * once, and a frame of which it took a part is gone from its queue: the model reads what was offered behind it. */
#ifndef SIM_MODEL_H
#define SIM_MODEL_H

#include "broker.h"
#include "filters.h"
#include "logs.h"
#include "match.h"
#include "queue_model.h"
#include "readers.h"
#include "wire.h"
#include "world.h"

#define GROUP_NAME_MAX 7
#define INBOX_MAX 32 /* bytes: "$inbox/" and 24 digits */
#define NOT_DUE UINT64_MAX

/* A MSG frame as a client (or the broker, for a will) built it. */
struct message {
    uint8_t *bytes;
    uint32_t len, payload_len;
    struct name topic;
    uint32_t key;              /* what `latest` goes by */
    uint64_t ttl_ms;           /* QUEUE_NO_TTL: none */
    uint64_t batch;            /* of a will that was published, see struct queue_item; 0: it is none */
    struct document document;
};

enum action_kind {
    ACT_HELLO, ACT_MSG, ACT_PUB, ACT_SUB, ACT_UNSUB, ACT_PING, ACT_STAT, ACT_CREDIT, ACT_ACK, ACT_BYE,
    ACT_REFUSED, /* something valid that is not served: ERR .code for .op, and the connection goes on */
    ACT_IGNORED, /* something that has no effect at all */
    ACT_FATAL,   /* BYE .code */
};

/* What SUB asks for. */
struct sub_options {
    uint64_t max_msgs, max_bytes, block_ms; /* 0: not given */
    uint64_t ack_ms, max_tries, inflight;   /* likewise */
    enum mps_ack_mode ack;
    struct mps_from from;      /* .positions: see from_positions */
    uint64_t from_positions[2 * LOGS_MAX];
    uint64_t credit;           /* UINT64_MAX: not given */
    enum mps_policy policy, then;
    int filter;
    uint32_t retained;
    bool no_local, durable;
    char group[GROUP_NAME_MAX + 1]; /* empty: none */
};

struct will {
    bool given, retain;
    uint32_t message;
    uint64_t delay_ms;
};

/* One frame that a client wrote, with what it means. Takes effect when byte .due of the connection is delivered. */
struct action {
    enum action_kind kind;
    bool done;                 /* ahead of messages that are held */
    uint64_t due;
    uint32_t code; /* HELLO, MSG, SUB: 0, or why it must be refused whatever the state is; BYE: what it says */
    uint32_t op, sid, flags;
    uint64_t pid;
    uint32_t message;          /* MSG: index in model.messages */
    struct name name;          /* SUB: pattern; HELLO: id (len 0: none); MSG that is oversized: topic */
    struct sub_options options; /* SUB */
    uint64_t credit;           /* CREDIT */
    bool drain;
    uint64_t stream, seq, delay_ms; /* ACK */
    uint32_t ack_kind;
    uint32_t rx_max, ka_s;     /* HELLO */
    bool half;
    struct will will;
    uint32_t will_code;        /* why it is refused; 0: it is not */
    uint8_t token_len, token[MPS_TOKEN_MAX];
};

struct snapshot_entry {
    uint32_t topic;            /* index in model.topics */
    uint32_t message;
    uint64_t dies_ms;          /* NOT_DUE: never */
    bool sent;
    bool changed;              /* since SUB: it comes live instead */
    bool filtered;             /* the filter of that time or a later one rejects it: it need not come */
};
/* The retained values that a SUB asked for. Another SUB before MARK 1 begins anew, and one MARK 1 answers both. */
struct model_snapshot {
    struct model_snapshot *next;
    uint64_t began_at;         /* bytes that the link had taken when SUB came */
    bool superseded;           /* its values come with a newer one */
    struct snapshot_entry *entries;
    uint32_t count;
    uint32_t too_large_told;   /* GAPs of values that are too large for the reader; which ones they were is not said */
    uint32_t too_large_most;   /* and so many more may come */
    uint64_t live_from;        /* messages that had matched when SUB came: later ones must wait for MARK 1 */
};

/* The members with one name and pattern, while there are any. */
struct model_group {
    struct model_group *next;  /* in model.groups */
    char name[GROUP_NAME_MAX + 1];
    struct name pattern;
    struct queue_model queue;
    struct model_reader *reader; /* of streams, for all of them; NULL: none */
    int filter;
    uint32_t members;
    uint64_t stamp;            /* of the last message that was routed to it */
    uint64_t fresh;            /* number of the first message that came since the last turn */
    uint32_t rx_max;           /* of all members' connections; 0: any */
};

/* One subscription from SUB to UNSUB or the end of its connection. */
struct model_sub {
    struct model_sub *next;    /* in model.subs */
    struct conn *conn;
    uint32_t sid;
    struct name pattern;
    int filter;
    bool no_local;
    bool live;                 /* the broker still has it */
    bool matches;              /* new messages match it: live, and its connection isn't ending */
    bool shown;                /* the stream is between its SUBACK and its MARK 4 */
    struct queue_model own;
    struct model_reader *reader; /* of streams; NULL: it is none, or its group's is it */
    struct model_group *group; /* NULL: it has its .own queue */
    uint64_t credit;           /* messages that may be sent in all */
    uint64_t sent_live, sent_retained; /* begun in the stream */
    uint64_t gaps_live, gaps_retained; /* told in the stream: messages */
    uint64_t sent_read, gaps_read;     /* the same of what came from streams */
    struct model_snapshot *snapshots;  /* not marked as done yet, the newest first */
    uint64_t drains_most;      /* MARK 3 that may still come */
    bool drain_due;            /* and one must */
    uint64_t drain_number;     /* messages that had matched when it was asked for */

    /* a group's member */
    bool member;               /* or was one, until its connection began to end */
    struct losses told;        /* since its last message: they stand before the next, wherever that is in the queue */
    uint64_t turn_number;      /* least number that it may get in this turn */

    bool caught_up_due;        /* MARK 2 is due when all that the reader's places say was sent */
    bool listed;               /* in the broker's own list, when it was last asked for */
};

/* What STAT and MARK 4 say of a subscription. */
struct sub_counts {
    uint64_t matched, sent, lost, queued, queued_bytes;
    uint64_t lag_msgs, lag_bytes; /* lost because expired, which the broker may not have seen yet */
};

#define SUB_CODES_MAX 10
enum want_kind { WANT_WELCOME, WANT_SUBACK, WANT_ENDED, WANT_PONG, WANT_STAT, WANT_ERR, WANT_INFO };
/* An answer that must come, in this order. */
struct want {
    enum want_kind kind;
    uint32_t code, sid, op;
    uint32_t codes[SUB_CODES_MAX], codes_count; /* SUBACK: all reasons that hold; the first is .code */
    struct model_sub *sub;     /* NULL: unknown sid, or none */
    struct sub_counts counts;  /* ENDED, STAT */
    bool loose;                /* STAT: the connection is about to be closed, and its queues may refuse all */
    uint64_t max_msgs, max_bytes; /* SUBACK: granted other than asked; 0: as asked */
    uint64_t ka_asked, ka_granted; /* WELCOME */
    uint32_t column;           /* SUBACK 220: where the filter is wrong */
    uint8_t token_len, token[MPS_TOKEN_MAX];
};
struct want_puback {
    uint64_t pid, matched, dropped_least, dropped_most;
    uint32_t code;             /* 0, or the error */
    bool alone;
    const struct model_log *log; /* where it is to be stored before; NULL: it isn't */
    uint32_t entry;
};

/* Something in the stream that a client reacts to once it has read that far. */
enum note_kind { NOTE_PUBACK, NOTE_ANSWER, NOTE_BYE };
struct note {
    uint64_t at;               /* bytes of the stream up to its end */
    enum note_kind kind;
    uint64_t number;           /* PUBACK: pid; BYE: code */
};

/* Why a held publisher is tried again, in the order in which they go on. */
enum wake_round {
    WAKE_ROOM = 1,    /* at the end of the last turn there was room for its message */
    WAKE_ROOM_NOW,    /* it was made since */
    WAKE_TIME,        /* it has waited for long enough */
};

enum conn_state {
    CONN_NEW, CONN_READY,
    CONN_ENDING, /* said BYE or ended its stream: gets what is queued */
    CONN_DEAD,   /* BYE was due or the link is gone: nothing matches any more */
};

struct conn {
    struct model *model;
    struct link *link;
    enum conn_state state;
    bool refused;              /* the broker took no session */
    uint32_t number;

    /* what it sent */
    struct action *actions;
    uint32_t actions_count, actions_cap, actions_next;
    struct name id;
    uint32_t rx_max, ka_ms;
    bool half, read_ended;
    bool held;                 /* the next action is a message that waits for room in a queue */
    bool end_held;             /* and the end of the stream waits behind */
    uint64_t held_ms, held_order; /* since when this message; in which order the broker tries them again */
    uint32_t wake_round;       /* why it is to be tried again, enum wake_round; 0: it is not */
    bool drawn_out, was_drawn_out; /* the broker did not read from it for a while, since its last byte or ever: when its
                                      keepalive is over is open */
    bool too_slow;             /* a queue of policy close has overflowed */
    uint64_t opened_ms, last_read_ms, ending_ms;
    uint32_t flags;            /* of PUB */
    uint64_t pid;              /* of the next acknowledged MSG; 0: unacknowledged */
    uint64_t next_pid;         /* that PUB must name; 0: any */
    uint64_t errs_second;
    uint32_t errs_count;
    struct will will;

    /* what it got */
    uint8_t *partial;          /* the beginning of a frame */
    uint32_t partial_len, partial_cap;
    uint8_t *ahead;            /* a frame of which the link took a part only: it was worked on already, whole */
    uint32_t ahead_len;        /* 0: none */
    uint64_t frame_at;         /* bytes of the stream before it */
    uint32_t frame_len;        /* of the last complete one */
    char inbox[INBOX_MAX + 1]; /* what WELCOME said; empty until then */
    uint32_t for_sid, for_flags, for_tries;
    uint64_t for_stream, for_seq, for_time_ms; /* stream 0: no position; else .for_seq is that of the next message */
    bool have_for, for_is_fresh; /* fresh: no message came behind it yet */
    struct want *wants;
    uint32_t wants_count, wants_cap, wants_next;
    struct want_puback *pubacks;
    uint32_t pubacks_count, pubacks_cap, pubacks_next;
    uint32_t bye_due, bye_or;  /* code of the BYE that must come, or may come instead; NO_BYE */
    bool bye_seen;
    uint32_t bye_code;
    bool all_due;              /* CONN_ENDING and in time: everything must be accounted for before the end */
    struct note *notes;
    uint32_t notes_count, notes_cap, notes_next;
};
#define NO_BYE UINT32_MAX

struct model_topic {
    struct name name;
    bool set;                  /* has a retained value */
    uint32_t message;
    uint64_t dies_ms;          /* UINT64_MAX: never */
    struct kept_value {
        bool set;
        uint32_t message;
        uint64_t dies_ms;      /* Unix time */
    } last, running, kept;     /* of a durable topic: set last, in the commit under way, and on the platter */
};

/* A will that is due later. */
struct pending_will {
    struct will will;
    struct name id;
    uint64_t due_ms;
};

/* A delayed one of a client, as it should be on the platter by and by. */
struct kept_will {
    struct name key;
    struct will now, running, kept; /* ... is in the commit under way, and is there */
};

struct model {
    struct world *world;
    struct broker_limits limits;
    struct conn conns[WORLD_LINKS_MAX];
    struct message *messages;
    uint32_t messages_count, messages_cap;
    struct model_topic *topics;
    uint32_t topics_count, topics_cap;
    struct model_sub *subs;    /* all that ever were */
    struct model_group *groups;
    struct pending_will *wills;
    uint32_t wills_count, wills_cap;
    struct kept_will *kept_wills;
    uint32_t kept_wills_count, kept_wills_cap;
    struct model_log logs[LOGS_MAX];
    uint32_t logs_count;
    uint64_t failed_ms;        /* when a commit failed last */
    bool uncertain;            /* the last one did, and perhaps it is on the platter all the same */
    uint64_t started_ms;       /* when this broker began its life */
    struct model_burial *burials; /* what may come under $dead */
    uint32_t burials_count, burials_cap;
    uint32_t live_subs;
    bool stopping;
    uint64_t batches;          /* of wills that were published at one moment */
    uint64_t stamp;            /* of the last message that was routed */
    uint64_t holds;            /* how often a held publisher was tried and held on */
    uint32_t holds_most;       /* nobody else publishes while so many are held: in which order they go on is open */
    bool trace;                /* tell everything on stderr */
    bool tight_total;          /* the broker's whole budget is so small that it matters */
    /* how much was exercised */
    uint64_t frames_in, frames_out, retained_out, drains_out, wills_out, holds_out, groups_out, byes_slow;
    uint64_t gaps_out, lost_out[QUEUE_REASONS], snapshots_out;
    uint64_t stored_out, redelivered_out, acks_in, dead_out, caught_up_out, readers_out, commits_out, fails_out, crashes;
};

/* ---- model.c ---- */
void model_open(struct model *model, struct world *world, const struct broker_limits *limits);
void model_close(struct model *model);
/* Room for one more item behind `count` of `size` bytes each. */
void model_grow(void *items, uint32_t *cap, uint32_t count, size_t size);
#define GROW(items, count, cap) model_grow(&(items), &(cap), (count), sizeof *(items))
struct conn *model_connect(struct model *model, uint32_t number, size_t room_max);
void model_forget(struct conn *conn); /* its link is closed or cut, and everybody is through with it */
void model_time(struct model *model); /* the clock moved: whose time is up */
uint64_t model_next_ms(struct model *model); /* when the next thing is due by itself; NOT_DUE: nothing is */
void model_cut(struct conn *conn);    /* before the link is cut */
void model_stop(struct model *model); /* before broker_stop() */
void model_crash(struct model *model, bool keep); /* before world_crash(), and model_restarted() when it is back */
void model_restarted(struct model *model);
void model_die(struct conn *conn, uint32_t bye_code); /* BYE with this code is due, or none (NO_BYE) */
void model_begin_ending(struct conn *conn, uint32_t bye_code); /* as soon as everything that is queued is written */

/* ---- values.c ---- */
/* Messages: index in model.messages. key 0: the topic is its key; ttl_ms QUEUE_NO_TTL: none. */
uint32_t model_message(struct model *model, const uint8_t *bytes, uint32_t len, const struct message *about);
uint32_t model_topic(struct model *model, const struct name *name); /* index in model.topics */
void model_retain(struct model *model, uint32_t message);
void model_expire_retained(struct model *model);
/* Values of durable topics are kept: a commit begins, one was stored, or the power goes. */
void values_commit(struct model *model);
void values_committed(struct model *model);
void values_crash(struct model *model);

/* ---- actions.c ---- */
void model_act(struct conn *conn, const struct action *action); /* the client pushed this frame; .due is set here */
/* The broker is about to get what link.delivered and .end_delivered say. */
void actions_deliver(struct link *link);
/* Held publishers go on if they can, in the order in which their messages came to be held. */
void actions_resume(struct model *model);
void actions_wake(struct model *model); /* a turn is over: who finds room now goes on in the next one */
/* What is done at once is at most this much work for the broker, counted in queues that are reached. */
#define SHARE_WORK 16384
/* What a message may cost the broker, at most, in its own steps: each queue that it reaches, each filter that is asked. */
uint64_t model_work(const struct model *model, uint64_t payload_len, uint64_t filters);
uint64_t model_filters(const struct model *model); /* of subscriptions that have one */
/* How many bytes may be delivered at once so that the broker surely works on all of them at once. */
size_t actions_share(const struct conn *conn, size_t most);

/* ---- answers that are due (answers.c) ---- */
struct want *want_answer(struct conn *conn, enum want_kind kind);
void want_err(struct conn *conn, uint32_t code, uint32_t op);
struct want_puback *want_puback(struct conn *conn, uint32_t code);
/* Whether the next PUBACK may come. */
bool puback_is_due(const struct conn *conn);
void pubacks_end(struct conn *conn); /* what could not be answered by now never will be */
void pubacks_committed(struct model *model, enum store_code code); /* a commit is over */

/* ---- routing.c ---- */
struct routed {
    uint64_t matched, dropped_least, dropped_most;
};
/* How many get the message, readers of its stream included; from NULL: it is a will. */
uint64_t routing_matched(struct model *model, const struct conn *from, uint32_t message);
/* Whether a queue that makes publishers wait is full for this message. */
bool routing_is_full(struct conn *from, uint32_t message);
/* Whether one of those has made this publisher wait for long enough. */
bool routing_time_is_up(struct conn *from, uint32_t message);
uint64_t routing_deadline_ms(struct conn *from, uint32_t message); /* NOT_DUE: none makes it wait */
/* Whether the publisher has to wait for one now; if it has waited for long enough, the queue gives up instead. */
bool routing_must_wait(struct conn *from, uint32_t message);
/* batch: see struct queue_item. */
struct routed routing_push(struct model *model, const struct conn *from, uint32_t message, uint64_t batch);

/* ---- wills.c ---- */
void wills_hello(struct conn *conn, const struct will *will);
void wills_drop(struct conn *conn);        /* it says good-bye */
void wills_due(struct conn *conn);         /* the connection ended, and its will is due */
void wills_client_back(struct model *model, const struct name *id);
void wills_publish(struct model *model);   /* those whose time has come */
bool wills_are_many(const struct model *model); /* so many are due that the broker may not publish all in one turn */
/* Delayed ones are kept: a commit begins, one was stored, the power goes, the broker is there again. */
void wills_commit(struct model *model);
void wills_committed(struct model *model);
void wills_crash(struct model *model);
void wills_restarted(struct model *model);

/* ---- subs.c ---- */
struct model_sub *model_find_sub(const struct conn *conn, uint32_t sid);
struct queue_model *sub_queue(struct model_sub *sub);
uint64_t sub_allowed(const struct model_sub *sub); /* bytes that its queue may hold now */
struct sub_counts sub_counts(struct model_sub *sub);
/* Whether counts that the broker gives are these. */
bool sub_counts_are(const struct sub_counts *due, uint64_t matched, uint64_t sent, uint64_t lost, uint64_t queued,
                    uint64_t queued_bytes);
uint32_t sub_rx_max(const struct model_sub *sub); /* QUEUE_ANY_LENGTH: any */
void subs_add_inbox(struct conn *conn);
void subs_do_sub(struct conn *conn, const struct action *action);
void subs_do_unsub(struct conn *conn, const struct action *action);
void subs_do_credit(struct conn *conn, const struct action *action);
void subs_do_stat(struct conn *conn, const struct action *action);
void subs_end(struct conn *conn);    /* the broker has forgotten them all */
void subs_detach(struct conn *conn); /* nothing new matches them */
void subs_sweep(struct model *model); /* what has expired becomes losses, everywhere */
void subs_close_overflowed(struct model *model);
void subs_turned(struct model *model); /* a turn of the loop is over */
void subs_free(struct conn *conn);
uint64_t sub_sent(const struct model_sub *sub); /* messages */
bool sub_has_credit(const struct model_sub *sub);
bool sub_is_ready(const struct model_sub *sub); /* its link takes bytes, and credit is left */

/* ---- budget.c ---- */
void budget_turned(struct model *model); /* a turn of the loop is over */

/* ---- stream.c ---- */
void stream_bytes(struct link *link, const uint8_t *bytes, size_t len);
/* The link took a part of what was offered; these bytes come next. */
void stream_rest(struct link *link, const uint8_t *bytes, size_t len);
bool stream_decoded(struct conn *conn, enum mps_code code, const char *const *what);
void stream_note(struct conn *conn, enum note_kind kind, uint64_t number);
struct model_sub *stream_sub(const struct conn *conn, uint32_t sid); /* whose sid it is in the stream, here */

/* ---- deliveries.c ---- */
void deliveries_msg(struct conn *conn, mps_view frame);
void deliveries_for(struct conn *conn, mps_view frame);
void deliveries_gap(struct conn *conn, mps_view frame);
void deliveries_retained_done(struct conn *conn, uint32_t sid);
void deliveries_drained(struct conn *conn, uint32_t sid);
void deliveries_settle_group(struct model_sub *sub); /* at the end of a turn */
void deliveries_check_all_told(struct conn *conn, const char *when); /* every message is sent or in a GAP */
void deliveries_free_snapshots(struct model_sub *sub);

/* ---- answers.c ---- */
void answers_frame(struct conn *conn, unsigned op, mps_view frame); /* of any other operation */

/* ---- invariants.c: at rest, after world_turn() ---- */
void invariants_check(struct model *model);

#define CONN_FAIL(conn, format, ...)                                                                                  \
    world_fail((conn)->model->world, "client %u: " format, (conn)->number, __VA_ARGS__)
#define ULL(number) ((unsigned long long)(number))

#endif
