/* What must happen, worked out independently of the broker: the model follows what each client sent, decides what every
 * subscription is owed and which answers are due, and holds the broker's bytes against it.
 *
 *   model.c       what clients sent (struct action) -> subscriptions' lists, retained values, answers due
 *   stream.c      what the broker sent -> frame by frame against the model
 *   invariants.c  what the broker says about itself at rest -> against both
 *
 * Exactness rests on one order of events: the broker works on a session's input inside session_read() (or, if it must
 * wait for its share, before anybody else's input is delivered: see main.c), so the model does the same just before. */
#ifndef SIM_MODEL_H
#define SIM_MODEL_H

#include "broker.h"
#include "match.h"
#include "wire.h"
#include "world.h"

#define NOT_SEALED UINT64_MAX

/* A MSG frame as a client built it. */
struct message {
    uint8_t *bytes;
    uint32_t len, payload_len;
    struct name topic;
};

enum action_kind {
    ACT_HELLO, ACT_MSG, ACT_PUB, ACT_SUB, ACT_UNSUB, ACT_PING, ACT_STAT, ACT_BYE,
    ACT_REFUSED, /* something valid that is not served: ERR .code for .op, and the connection goes on */
    ACT_IGNORED, /* something that has no effect at all */
    ACT_FATAL,   /* BYE .code */
};

/* One frame that a client wrote, with what it means. Takes effect when byte .due of the connection is delivered. */
struct action {
    enum action_kind kind;
    uint64_t due;
    uint32_t code; /* HELLO, MSG, SUB: 0, or why it must be refused whatever the state is; BYE: what it says */
    uint32_t op, sid, flags;
    uint64_t pid;
    uint32_t message;          /* MSG: index in model.messages */
    struct name name;          /* SUB: pattern; HELLO: id (len 0: none); MSG that is oversized: topic */
    uint64_t max_msgs, max_bytes; /* SUB; 0: not given */
    uint32_t retained;         /* SUB */
    uint32_t rx_max, ka_s;     /* HELLO */
    bool half, will;           /* HELLO */
    uint8_t token_len, token[MPS_TOKEN_MAX];
};

struct snapshot_entry {
    uint32_t topic;            /* index in model.retained */
    uint32_t message;
    bool sent;
    bool changed;              /* since SUB: it comes live instead */
    uint64_t changed_at;       /* bytes that the link had taken then: a frame that began later is wrong. NOT_SEALED */
};
/* The retained values that a SUB asked for. Another SUB before MARK 1 begins anew, and one MARK 1 answers both. */
struct model_snapshot {
    struct model_snapshot *next;
    uint64_t began_at;         /* bytes that the link had taken when SUB came */
    bool superseded;           /* its values come with a newer one */
    struct snapshot_entry *entries;
    uint32_t count;
    uint32_t live_from;        /* messages in the list when SUB came: later ones must wait for MARK 1 */
};

/* One subscription from SUB to UNSUB or the end of its connection. */
struct model_sub {
    struct model_sub *next;    /* in model.subs */
    struct conn *conn;
    uint32_t sid;
    struct name pattern;
    uint64_t max_msgs, max_bytes;
    bool live;                 /* the broker still has it */
    bool matches;              /* new messages match it: live, and its connection isn't ending */
    bool shown;                /* the stream is between its SUBACK and its MARK 4 */

    uint32_t *list;            /* every message that matched, in order */
    uint32_t count, cap;
    uint32_t cursor;           /* of .list: the first that the stream did not account for */
    uint64_t gap, gap_too_large; /* told since the last message: of all reasons, of reason 7 */
    uint64_t gaps;             /* told in all */
    uint64_t got_live, got_retained; /* complete frames in the stream */
    uint64_t gap_retained;           /* retained values that were told as too large */
    uint64_t snapshot_too_large;     /* values of its snapshots, ever, that are over rx_max */
    struct model_snapshot *snapshots; /* not marked as done yet, the newest first */

    /* as of the last check */
    bool listed;
    struct subscription_figures before;
    bool limits_changed;          /* since the last check */
    bool max_bytes_varied;        /* ever: what could not be queued then might be now */
    uint64_t too_large, bytes_matched; /* since then: messages that can't be queued; bytes of all */
};

enum want_kind { WANT_WELCOME, WANT_SUBACK, WANT_ENDED, WANT_PONG, WANT_STAT, WANT_ERR, WANT_INFO };
/* An answer that must come, in this order. */
struct want {
    enum want_kind kind;
    uint32_t code, sid, op;
    struct model_sub *sub;     /* NULL: unknown sid, or none */
    uint64_t matched;          /* ENDED, STAT: live messages up to then */
    uint64_t max_msgs, max_bytes; /* SUBACK: granted other than asked; 0: as asked */
    uint8_t token_len, token[MPS_TOKEN_MAX];
};
struct want_puback {
    uint64_t pid, matched, dropped_least, dropped_most;
    uint32_t code;             /* 0, or the error */
    bool alone;
};

/* Something in the stream that a client reacts to once it has read that far. */
enum note_kind { NOTE_PUBACK, NOTE_ANSWER, NOTE_BYE };
struct note {
    uint64_t at;               /* bytes of the stream up to its end */
    enum note_kind kind;
    uint64_t number;           /* PUBACK: pid; BYE: code */
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
    uint64_t opened_ms, last_read_ms, ending_ms;
    uint32_t flags;            /* of PUB */
    uint64_t pid;              /* of the next acknowledged MSG; 0: unacknowledged */
    uint64_t next_pid;         /* that PUB must name; 0: any */
    uint64_t errs_second;
    uint32_t errs_count;

    /* what it got */
    uint8_t *partial;          /* the beginning of a frame */
    uint32_t partial_len, partial_cap;
    uint64_t frame_at;         /* bytes of the stream before it */
    uint32_t frame_len;        /* of the last complete one */
    struct mps_scan scan;
    uint64_t for_at;           /* where the last FOR began */
    uint32_t for_sid, for_flags;
    bool have_for;
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

struct model_retained {
    struct name topic;
    uint32_t message;
    bool set;
};

struct model {
    struct world *world;
    struct broker_limits limits;
    struct conn conns[WORLD_LINKS_MAX];
    struct message *messages;
    uint32_t messages_count, messages_cap;
    struct model_retained *retained;
    uint32_t retained_count, retained_cap;
    struct model_sub *subs;    /* all that ever were */
    uint32_t live_subs;
    bool trace;                /* tell everything on stderr */
    bool tight_session;        /* session_queue_bytes is so small that it matters */
    uint64_t frames_in, frames_out, gaps_out, lost_out, snapshots_out; /* how much was exercised */
};

void model_open(struct model *model, struct world *world, const struct broker_limits *limits);
void model_close(struct model *model);
/* Room for one more item behind `count` of `size` bytes each. */
void model_grow(void *items, uint32_t *cap, uint32_t count, size_t size);
#define GROW(items, count, cap) model_grow(&(items), &(cap), (count), sizeof *(items))

struct conn *model_connect(struct model *model, uint32_t number, size_t room_max);
void model_forget(struct conn *conn); /* its link is closed or cut, and everybody is through with it */
uint32_t model_message(struct model *model, const uint8_t *bytes, uint32_t len, uint32_t payload_len,
                       const struct name *topic);
void model_act(struct conn *conn, const struct action *action); /* the client pushed this frame; .due is set here */
void model_time(struct model *model); /* the clock moved: whose time is up */
void model_cut(struct conn *conn);    /* before the link is cut */
void model_stop(struct model *model); /* before broker_stop() */
void model_seal(struct model *model); /* all input that was delivered is worked on */
void model_end_subs(struct conn *conn); /* the broker has forgotten them */
struct model_sub *model_find_sub(const struct conn *conn, uint32_t sid);

/* stream.c */
void stream_bytes(struct link *link, const uint8_t *bytes, size_t len);
/* Whether the stream stops in the middle of a message for this subscription; MAYBE: the operation is not to be seen
 * yet. */
enum cut { CUT_NONE, CUT_MESSAGE, CUT_MAYBE };
enum cut stream_cut_message(const struct model_sub *sub);
bool stream_cut_retained(const struct conn *conn); /* that message is a retained value */
void stream_check_all_told(struct conn *conn, const char *when); /* every message is sent or in a GAP */

/* invariants.c: at rest, after world_turn() */
void invariants_check(struct model *model);

#define CONN_FAIL(conn, format, ...)                                                                                  \
    world_fail((conn)->model->world, "client %u: " format, (conn)->number, __VA_ARGS__)

#endif
