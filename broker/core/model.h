/* The broker's whole data model on one page; calls.h says which room each call lives in. Internal to the core. away.h,
 * latest.h, pids.h and spill.h speak of parts of it that few others deal with.
 *
 *   broker --sessions--> session --subs--> subscription --mailbox--> queue --> run --bytes--> slab or own memory
 *      |--topics, routes------------------------------------^
 *      |--groups--> group --mailbox, members--> subscription
 *      \--retained--> value --> run
 *
 * A session that outlives its connection goes over to a struct session without a link, and from there to the one that the
 * client comes back with (away.c).
 *
 * Data flows one way: session_read (input.c) -> messages.c -> publish.c -> router.c -> mailbox.c/queue.c -> group.c ->
 * flush.c. */
#ifndef BROKER_MODEL_H
#define BROKER_MODEL_H

#include "broker.h"
#include "cursor.h"
#include "filter.h"
#include "hash.h"
#include "heap.h"
#include "list.h"
#include "queue.h"
#include "retained.h"
#include "slab.h"
#include "streams.h"
#include "topics.h"
#include "wire.h"

static inline uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* A growing buffer of bytes that go out, or were kept for later. Holds no memory while empty. */
struct buffer {
    uint8_t *bytes;
    uint32_t off, len, cap; /* .off..len is what it holds */
};

/* Takes what matches a pattern, and keeps it under its limits until it can go on: a subscription's, or a group's. */
struct mailbox {
    /* What each message needs comes first, so that it lies in few cache lines. */
    struct session *session;          /* whose budget it uses; NULL: it is a group's */
    struct broker *broker;
    struct queue queue;
    uint64_t max_msgs, max_bytes;     /* of the queue */
    uint64_t matched, sent, lost;     /* messages since SUB: matched = sent + lost + queue.msgs */
    uint64_t expires_ms;              /* no queued message expires before; UINT64_MAX: none does */
    struct spill *spill;              /* what is behind the queue, outside of memory; NULL: nothing is */
    struct latest *latest;            /* index of the queue by key; NULL unless the policy is `latest` */
    uint32_t rx_max;                  /* bytes of the longest frame that its reader takes; 0: any */
    uint8_t policy, then;             /* enum mps_policy */
    bool is_debtor;
    bool gave_up;                     /* somebody waited in vain; until something is sent, nobody waits again */
    bool is_picky;                    /* each message is judged by itself: filter, no_local, guard, or policy `block` */
    bool is_guarded;                  /* its pattern is wider than what its session may receive */

    bool no_local;
    bool is_slow;                     /* as last told under $SYS */
    bool is_elsewhere;                /* of a group: all members that are there are at other brokers */
    bool is_told;                     /* its pattern is counted in what other brokers are told (cluster/interest.c) */
    uint16_t holes;                   /* of cluster.holes, those that stand in it */
    uint32_t block_ms;
    struct cursor *cursor;            /* reads streams; then messages of theirs don't come here. NULL: it doesn't */
    struct filter *filter;            /* NULL: everything */
    struct topic_entry entry;         /* its place in the trie; in none while nothing is to match it */
    struct list waiting;              /* publishers that are held until there is room, in the order of their messages */
    struct list_node in_boxes;        /* of the broker */
    struct list_node in_debtors;      /* of the broker: the queue holds something, or did a while ago */
    struct list_node in_holding;      /* of the broker, while somebody waits */
    struct list_node in_slow;         /* of the broker, while .is_slow */
    struct timer expiry;              /* in broker.expiries */
    uint64_t swept_ms;                /* when all of the queue was last looked through for what has expired */
};

/* What one session may cost the others in one turn, in steps of routing (broker.work): nodes of the trie that are visited,
 * subscriptions that are reached. About 5 ms. */
#define WORK_A_TURN 65536u

/* Credit of a subscription that does not work by credit. */
#define CREDIT_UNLIMITED UINT64_MAX

struct subscription {
    /* What each message needs comes first, and at the front of the mailbox: with 10,000 subscriptions that are served in
     * turn, each cache line is a wait for memory. */
    struct session *session;
    struct subscription *prev_active, *next_active; /* in session.active */
    uint64_t credit;                  /* of messages in all, compared with box.sent */
    struct outlet *outlet;            /* what is about to be sent from streams; NULL: it reads none */
    struct snapshot *snapshot;        /* retained values still to be sent; queued messages wait behind them; or NULL */
    struct group *group;              /* NULL: none. A member's mailbox stands in no trie: the group fills it */
    uint32_t sid;
    bool is_active;
    bool is_starved;                  /* what it has to send waits for credit */
    bool draining;                    /* MARK 3 is due when all is sent that can be */
    bool is_resting;                  /* as a member: it can't be given anything at the moment */
    bool rests_for_link;              /* because its connection is full */
    bool is_handed;                   /* it was given something that is not written yet */
    bool wants_mark;                  /* MARK 2, when it has been sent what there was of its streams */
    bool is_filtered;                 /* itself or its group: counted in session.filters_count */
    struct mailbox box;

    struct hash_node in_subs;         /* of its session, by sid */
    uint64_t credit_then;             /* while its connection ends: credit once the client is back; 0: as it is */
    struct scope_wait *awaits;        /* its SUBACK waits for other brokers (cluster/scope.c); NULL: it doesn't */
    uint64_t kept_hash;               /* of the SUB frame that is its record; 0: it has none */
    struct member *member;            /* of .group, or NULL */
    uint32_t pattern_bytes;           /* what the trie grew by when it came */
    uint8_t pattern_len;
    uint8_t pattern[];
};

/* What a subscription needs besides as a member of a group. */
struct member {
    struct subscription *sub;
    struct list_node in_members;      /* of the group: .members, .saturated or .resting */
    struct list_node in_resting;      /* of its session, while .rests_for_link */
    struct list_node in_handed;       /* of its session, while .is_handed */
    struct list_node in_returning;    /* of the group */
    uint64_t served;                  /* which of the group's messages it got last */
    bool is_saturated;                /* it is in .saturated */
};

/* Members share what matches: one of them gets each message. */
struct group {
    struct mailbox box;
    struct hash_node in_groups;       /* of the broker, by name and pattern */
    struct list_node in_age;          /* of the broker */
    struct list members;              /* who can perhaps be given something; longest ago comes first */
    struct list saturated;            /* likewise, but of streams nothing before it has acknowledged something */
    struct list resting;              /* who can't: the link is full, or there is no credit */
    struct list returning;            /* who was given something that the link did not take */
    uint32_t members_count;
    uint32_t away_count;              /* of them, whose session has no connection */
    uint64_t served;                  /* messages given to members */
    struct list_node in_dirty;        /* of the broker, while .is_dirty: it has something, perhaps somebody for it */
    struct list_node in_returning;    /* of the broker, while .returning isn't empty */
    uint64_t untold_ms;               /* when .box.is_told ended last; 0: never */
    struct list_node in_far;          /* of the cluster, while .is_far: it may have to be handed over */
    bool is_dirty, is_far;
    bool is_draining;                 /* a member wants to know when nothing is left, */
    bool is_marking;                  /* or when all was sent that was there when it came */
    uint8_t name_len, pattern_len;
    uint8_t text[];                   /* name, then pattern */
};

/* A compiled content filter, shared by all that say the same. */
struct filter {
    struct hash_node in_filters;
    uint32_t refs, text_len;
    uint64_t judged;                  /* broker.judged of the last message it judged */
    bool verdict;
    struct mps_filter *program;
    uint8_t text[];
};

/* What is published when a client goes without saying good-bye. */
struct will {
    struct hash_node in_wills;        /* by client id, while delayed */
    struct timer due;                 /* in broker.wills */
    uint64_t delay_ms;
    bool retain, is_named;            /* is_named: in broker.named_wills */
    bool is_kept;                     /* it is a record, too */
    struct origin *origin;            /* whose it is; NULL: nobody knows */
    uint8_t id_len;
    uint8_t id[MPS_ID_MAX];
    uint32_t len;
    uint8_t frame[];                  /* the MSG */
};

/* Random bytes in the name of an inbox. */
#define INBOX_ID_BYTES 12u

enum session_state {
    SESSION_NEW,     /* nothing but a HELLO is accepted */
    SESSION_READY,
    SESSION_ENDING,  /* writes what is queued, then says BYE; what comes in is thrown away */
    SESSION_CLOSING, /* BYE is written or on its way; waits for the peer's end */
    SESSION_AWAY,    /* never had a link: keeps what a client left, until it is back or has been away for too long */
    SESSION_DEAD,    /* the link is gone; freed at the end of the turn */
};

/* Session.bye_code when an ending session goes without a word. */
#define SESSION_NO_BYE UINT32_MAX

/* Acknowledged publishes that wait to be answered together. */
#define MATCHED_FAR (UINT64_C(1) << 63) /* nobody here, but another broker wants them */
struct ack_pending {
    uint64_t count, last_pid;
    uint64_t matched_least, dropped;
    uint64_t batch;                   /* they are settled when this one is stored; 0: they are. Or ACK_TOKEN and a token */
    const struct stream *stream;      /* where the last one is kept, and its position; NULL: it isn't, or that isn't told */
    uint64_t seq;
    bool accepted_before;             /* they came a second time */
};

/* Memory of input that waits, of all connections together (intake.c). */
struct intake {
    uint64_t bytes;                   /* of them all, beyond what is each one's own */
    struct list waiting;              /* sessions whose frame has no room, in the order in which they asked */
    struct list granted;              /* sessions of which a large frame came in part; who has its memory the longest first */
};
enum intake_state {
    INTAKE_NONE,
    INTAKE_WAITS,                     /* in .waiting: not read from */
    INTAKE_GRANTED,                   /* in .granted */
};

/* What a FOR said, or would say. */
#define FOR_HAS_POSITION (1u << 31)   /* one of the flags here: what follows them was said, too */
struct for_terms {
    uint32_t sid, flags;
    uint32_t stream, tries;
    uint64_t seq, time_ms;            /* of the next message */
};

struct session {
    /* What each write needs comes first: with 10,000 connections each cache line is a wait for memory. */
    struct broker *broker;
    struct link *link;
    struct session *next_dirty;
    struct subscription *active, *active_last; /* have something to send */
    enum session_state state;
    bool blocked;                     /* the link is full: wait for session_writable() */
    bool is_dirty, is_held;           /* in the broker's list of that name */
    struct for_terms held;            /* the terms that the peer holds; sid UINT32_MAX: none yet */
    struct run *cut;                  /* a MSG frame that the link took part of: goes before everything; or NULL */
    struct buffer control;            /* frames that go before any message */
    uint64_t queued_bytes;            /* of all its queues */
    uint64_t messages_out, bytes_out; /* written to the link: MSG frames that were begun, all bytes */
    char *slow_text;                  /* a queue of policy `close` was full: to be closed with this text */
    struct list resting;              /* members of groups that can't be given anything */
    struct list parked;               /* cursors that wait for the link */
    struct list handed;               /* members of groups that were given something */
    uint64_t handed_bytes;            /* in this turn */
    struct ack_pending acks;
    struct pids *pids;                /* what is remembered of its publishing; NULL: nothing is */
    uint32_t cut_off, cut_len;
    bool read_ended;                  /* the peer's stream has ended */
    bool end_sent;                    /* ours too */
    bool ahead_over;                  /* coming in: a frame came that nothing may overtake */
    bool has_inbox;                   /* in broker.inboxes */
    bool is_waking;                   /* in broker.waking */
    bool is_operator;                 /* may remove what streams keep */
    bool half;                        /* goes on delivering after the peer's end of stream */
    bool paused;                      /* reading is off */
    bool is_metered;                  /* each message is counted in .account */

    struct session *next_held, *next_dead;
    struct session *prev, *next;      /* broker.sessions */
    struct timer timer;               /* handshake, keepalive or closing, by state */
    struct hash_node in_ids;
    mps_view id;                      /* own memory; ptr NULL until WELCOME */
    struct ack_queue *ack_queue;      /* answers that wait for a commit; NULL: there never were any */
    bool has_own_id;                  /* the client brought its id */
    uint32_t sess_s;                  /* it outlives its connection by so much; 0: it doesn't */
    uint64_t claim;                   /* when its client came, among all brokers (cluster/claim.c); 0: it has told none */
    uint64_t kept_hash;               /* of its record; 0: it has none */
    struct list_node in_away;         /* of the broker, while AWAY */

    /* coming in */
    struct slab *large;               /* a frame that gets a buffer of its own; while it waits for that: its beginning */
    struct slab *stalled;             /* input that waits: for its share of the next turn, or for a mailbox's room */
    uint32_t intake_bytes;            /* what both count in broker.intake */
    uint32_t stalled_at;              /* it is from here to .used */
    uint32_t ahead_at;                /* up to here it was looked through for control frames, which were executed */
    uint32_t held_len;                /* bytes of the message that is held */
    uint32_t filters_count;           /* of .subs */
    uint32_t awaiting_count;          /* likewise, those whose SUBACK waits for other brokers */
    uint64_t pattern_bytes;           /* of .subs */
    struct mailbox *waits_for;        /* room for the first message of .stalled; NULL: it is not held */
    struct list_node in_waiting;      /* of the mailbox */
    uint64_t held_reserved_bytes;     /* what other queues of the mailbox's connection take of it, too */
    uint64_t held_since_ms;           /* UINT64_MAX: the next message was not held yet */
    struct timer hold_timer;          /* in broker.holds */
    struct buffer kept;               /* the beginning of a frame */
    struct mps_scan scan;             /* of the frame that begins .kept or .large */
    struct list_node in_intake;       /* of the broker's lists, by .intake_state */
    enum intake_state intake_state;
    uint64_t intake_ms;               /* since when it is in that list */
    uint64_t last_read_ms;
    uint64_t messages_in, bytes_in;   /* MSGs that were taken, and all bytes that came */
    uint64_t lost;                    /* messages that its subscriptions lost */
    uint64_t began_ms;                /* when the connection was accepted */
    struct account *account;          /* of its user, or NULL (account.h) */
    uint64_t over_since_ms;           /* it publishes more than it may; UINT64_MAX: it doesn't */
    struct grant *grant;              /* what it may; NULL: everything */
    struct mps_pub terms;             /* of the MSGs that follow: flags; .pid the next one's if acknowledged */
    uint64_t next_pid;                /* of the next acknowledged MSG; 0: any (nothing was acknowledged yet) */
    uint64_t errs_second;             /* when the count of unacknowledged errors began, in s */
    uint32_t errs_count;              /* answered in that second */
    uint32_t errs_unsaid;             /* not answered, as too many */

    /* going out */
    uint32_t hand_out_bytes;          /* so much may members of groups be handed in a turn */
    uint32_t bye_code;                /* ENDING: what to say at the end, or SESSION_NO_BYE: just close */
    char *bye_text;                   /* own memory or NULL */

    struct will *will;                /* NULL: none */

    /* who it is (identity.h) */
    struct origin *origin;            /* NULL until that is known */
    struct proving *proving;          /* a proof that is being checked, or NULL */
    uint64_t proof;                   /* what its name rests on; 0: on the connection itself, or it has none */
    struct peer_certificate *certificate; /* NULL: none was shown */
    char *peer_name, *listener;       /* where it comes from (audit.h); own memory or NULL */
    uint32_t uid, gid;
    uint8_t peer_kind;                /* enum peer_kind */
    bool is_loopback, is_encrypted, needs_identity;
    bool is_void;                     /* scratch of broker_set_access() */
    char user[ACCESS_NAME_MAX + 1];   /* while HELLO is worked on */
    struct subscription *inbox;       /* sid 0; NULL until somebody writes to it */
    struct hash_node in_inboxes;
    uint8_t inbox_id[INBOX_ID_BYTES];

    struct hash subs;                 /* by sid; the inbox too */
    struct list_node in_waking;       /* of the broker, while .is_waking: who rests here can go on */
    struct session *next_slow;
    uint64_t chosen, chosen_bytes;    /* scratch of fanout.c: for message broker.judged, so much is about to be queued */
    uint32_t rx_max;                  /* bytes of a MSG frame that it takes; 0: any */
    uint32_t ka_ms;                   /* keepalive; 0: none */
};

/* Who gets what is published to a topic. */
struct route {
    struct hash_node in_routes;
    uint64_t wild_generation;         /* of the trie when it was made; differs: make it again */
    uint32_t count, cap;
    struct mailbox **boxes;           /* .few, or memory of their own when these are too few */
    struct mailbox *few[2];
    bool is_used;                     /* since somebody last looked who isn't */
    bool is_plain;                    /* nobody looks at single messages: whole runs go to all of them */
    bool is_usual;                    /* .is_plain, kept nowhere, and no other broker wants it */
    bool has_latest;                  /* somebody looks at keys: a run must have one */
    bool has_groups;                  /* some of the mailboxes are groups' */
    struct stream *stream;            /* where its messages are kept; NULL: nowhere */
    uint32_t readers;                 /* subscriptions that match and read that stream, which .boxes lacks */
    bool is_shared;                   /* with other brokers */
    uint64_t wanted_by;               /* bits of other brokers that want its messages, too (cluster/cluster.h) */
    uint32_t topic_len;
    uint8_t topic[];
};

/* A run waits with its route while the one before it is judged and the next message's route is looked up. */
#define ONCE_ROUTES 3

struct router {
    struct hash routes;
    uint64_t bytes;                   /* memory of the cached routes; bounded */
    uint32_t hand;                    /* whom to forget next */
    uint64_t age_ms;                  /* when to look next which are not used; 0: that is not planned */
    uint32_t age_left;                /* so many are still to be looked at */
    struct route *once[ONCE_ROUTES];  /* for topics that are not worth caching, in turn */
    unsigned once_next;
    uint32_t *came;                   /* marks of topics that came lately; NULL until one has */
    uint32_t passed;                  /* topics that came and were not cached */
    struct mailbox **chosen, **accepted; /* those of a route that take the message at hand, and those before it */
    uint32_t chosen_count, accepted_count, chosen_cap;
};

struct cluster;
struct origin;
struct proving;
struct tracing;
struct flush_plan;

/* Memory of the environment's that isn't memory of the process, in pages. */
struct area {
    uint32_t *free;                   /* pages that were used before */
    uint32_t free_count, free_cap;
    uint32_t fresh;                   /* the first page that never was */
    uint64_t used;                    /* pages */
};

struct broker {
    struct env *env;
    struct broker_limits limits;
    struct access *access;            /* who may do what; NULL: everybody everything */
    struct snapshot recheck;          /* of retained values, by what their publishers may now */
    uint64_t seed;                    /* of the hash tables; random, secret */
    uint64_t epoch;                   /* of this run of the broker */
    struct slab_pool slabs;
    struct run_pool runs;
    struct intake intake;
    uint64_t links_bytes;             /* what links took and could not write yet (broker_links_hold) */
    struct topics topics;
    struct router router;
    struct retained retained;
    struct session *sessions;
    uint32_t sessions_count;          /* with a link, or one that has just gone */
    struct list away;                 /* sessions that wait for their clients; longest ago comes first */
    uint32_t away_count;
    uint64_t subscriptions_count;
    struct hash ids;                  /* sessions by client id */
    struct hash inboxes;              /* sessions by inbox_id */
    struct hash groups, filters, named_wills;
    uint32_t groups_count;
    struct list groups_by_age;        /* who came first stands first */
    struct list dirty_groups, returning_groups;
    struct list waking;               /* sessions */
    struct list boxes, debtors, holding, slow_boxes;
    uint64_t rings_bytes;             /* memory that queues hold besides the runs in them */
    uint64_t judged;                  /* messages that were put to filters: names the one at hand */
    uint64_t now_ms;                  /* monotonic; constant within a turn */
    uint64_t started_ms;
    uint64_t turn_bytes;              /* read since the last turn */
    uint64_t turn_work_end;           /* beyond this .work, messages wait for the next turn */
    struct heap timers, holds, expiries, wills;
    uint64_t wills_bytes;             /* of the delayed ones */
    struct sys *sys;
    struct list reports;                /* that are being made; report.c */
    uint32_t reports_count;
    struct tally *tally;                /* counts what comes in by its topic; NULL: nobody wants to know */
    uint64_t tally_ends_ms;             /* when nobody has asked for so long that it is given up */
    struct overview *overview;        /* that is being filled; NULL: none is */
    struct list_node *overview_at;    /* in .debtors: whom to look at next, */
    uint64_t overview_left;           /* and at how many at most */
    struct session *dirty, *dirty_last; /* have something to write and a link that takes it */
    struct session *held, *held_last;   /* have input that waits for its share */
    struct session *dead;
    struct session *slow;               /* to be closed at the end of the turn */
    struct flush_plan *plan;          /* room for one write */
    bool stopping;
    struct tracing *tracing;          /* messages that somebody follows (trace.h); NULL: nobody does */
    uint64_t work;                    /* steps of routing so far; what a session may cost a turn is counted so */
    struct stream **streams;          /* in the order in which they are asked for a topic */
    uint32_t streams_count;
    uint32_t ack_level;               /* the best that any topic gives */
    struct commit commit;
    struct chunks chunks;
    struct list dirty_cursors;        /* may have something to deliver */
    struct heap redeliveries;         /* of cursors */
    uint64_t pending_count;           /* messages that readers have and that are not done with */
    uint64_t surveys_bytes;
    struct hash cursor_records;       /* of cursors that nobody has at the moment, by key */
    struct heap cursor_expiries;
    uint64_t cursor_records_bytes;
    struct area area;                 /* of queues of policy `spill` */
    struct hash accounts;             /* by the user's name */
    struct heap account_expiries;     /* of users without a connection, who have published too much lately to be forgotten */
    struct mailbox rate_box;          /* takes nothing: publishers wait for it who publish more than they may */
    struct mailbox store_box;         /* takes nothing: publishers wait for it while too much is not stored yet */
    uint64_t age_look_ms;             /* when to look next for what is too old in streams */
    bool keeps;                       /* there is a store, or a stream: perhaps cursors, too */
    bool has_asides;                  /* reports, a tally, traces or other brokers: a turn has them to do, too */
    struct cluster *cluster;          /* the other brokers (cluster/cluster.h); NULL: there are none */
    struct broker_figures figures;    /* the counters; the rest is filled when asked */
};

#include "calls.h"

#endif
