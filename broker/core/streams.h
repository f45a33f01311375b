/* Durable streams in the core: which topics are kept, what gathers for the next commit, and what is at hand in memory.
 *
 *   publish.c -> stream_append() -> the batch that gathers -> store -> committed: chunk -> readers (cursor.c)
 *                                                                   \-> acks.c: PUBACK
 *
 * Positions of a stream: first <= stored <= next. Below first nothing is kept any more, below stored everything is on disk,
 * next is what the next message gets. One thread. */
#ifndef BROKER_STREAMS_H
#define BROKER_STREAMS_H

#include "hash.h"
#include "heap.h"
#include "list.h"
#include "slab.h"
#include "store.h"
#include "wire.h"

struct broker;
struct kept;
struct session;
struct part;

/* Kinds of records in the store. Values are msgpack. */
enum record_kind {
    RECORD_META = 1,      /* "epoch" -> uint; "stream " and a shared stream's name -> its identity */
    RECORD_STREAM = 2,    /* name -> [number, next position] */
    RECORD_SESSION = 3,   /* client id -> [sess_s, rx_max] */
    RECORD_SUBSCRIPTION = 4, /* client id, NUL, sid in decimal -> the SUB frame */
    RECORD_CURSOR = 5,    /* as of the subscription, or NUL, group, NUL, pattern -> see cursor_keep.c */
    RECORD_RETAINED = 6,  /* topic -> the MSG frame */
    RECORD_WILL = 7,      /* client id -> [delay_ms, retain, MSG frame as bin] */
    RECORD_PUBLISHER = 8, /* client id -> [boot, pid, first refused, last refused, .., see pids.c] */
};

/* What retention needs to know of blocks that lie one behind the other: it lets go of them together. */
struct extent {
    uint64_t first, last;      /* positions */
    uint64_t msgs, bytes;
    int64_t newest_ms;         /* when the newest block was stored; monotonic, of an earlier life it may be negative */
    int64_t came_ms;           /* when the first message of the newest block came; likewise */
    uint64_t time_ms;          /* Unix time at that moment */
    uint64_t latest_ms;        /* the latest Unix time of a block: somebody may have set the clock in between */
};

struct hole {
    uint64_t from, to;         /* not .to */
};
#define STREAM_HOLES 16
/* A place that was found damaged. */
struct damage {
    uint64_t first, last;
};
/* A block has the time of its first message. It is closed to messages that come this much later, */
#define STREAM_BLOCK_MS 500u
/* and some blocks are read as one: what came after a time may stand in a block or chunk that is older by up to this. */
#define STREAM_TIME_SLACK_MS (STREAM_BLOCK_MS + STORE_MERGE_MS)
/* Reads of one stream at a time. */
#define STREAM_LOADS 4

struct stream {
    struct broker *broker;
    uint32_t number;
    bool is_configured;        /* else it is only what an earlier configuration left */
    bool is_shared;            /* it is all brokers' (cluster/shared.h): the engine of the cluster keeps it, not the store, and */
                               /* .first, .next, .stored_msgs and .stored_bytes are what was heard of it lately */
    bool is_known;             /* shared: that was heard at all */
    bool is_there, is_away;    /* shared: it answers; it doesn't, and that was logged */
    bool is_split;             /* shared: its copies are doubtful, and that was logged */
    bool is_followed;          /* shared: the engine shows what comes, as somebody here reads it, */
    bool is_followed_from;     /* and was told that this is from .stored on, in the stream that it is now */
    uint32_t replicas, current;/* shared: copies that there are to be, and that are up to date */
    uint64_t identity;         /* shared: another one means that it was made anew; 0: not known */
    char *name;
    mps_view *patterns;        /* own memory */
    uint32_t patterns_count;
    uint64_t max_bytes, max_msgs, max_age_ms; /* UINT64_MAX: no limit */
    bool refuses;              /* when it is full; else the oldest go */

    uint64_t first, stored, next; /* shared: below .stored it can be read here: all, while nobody follows it; below .next
                                  there was something at least */
    uint64_t stored_msgs, stored_bytes;   /* on disk */
    uint64_t waiting_msgs, waiting_bytes; /* not yet */
    uint64_t damaged;          /* messages that were found damaged, each counted once */
    struct damage *damages;    /* where; NULL: nowhere */
    uint32_t damages_count;
    uint64_t unstored;         /* dead letters and wills for which it had no room */
    uint64_t trim_below;       /* blocks below this position are to go with the next commit; 0: none */
    struct extent *extents;    /* oldest first */
    uint32_t extents_count, extents_cap;

    struct block *open;        /* the block of the batch that gathers to which messages are added; NULL: none */
    struct chunk **chunks;     /* what is in memory, by position */
    uint32_t chunks_count, chunks_cap;
    struct hole holes[STREAM_HOLES]; /* positions of which it was found lately that nothing is there */
    unsigned next_hole;
    uint64_t loads[STREAM_LOADS]; /* reads that are under way: from where; 0: none */
    uint64_t load_retry_ms;    /* after a read that failed: not before */
    struct list tail, loading; /* what of cursors waits for new messages, and for a read */
    struct list readings;      /* of cursors that read it */
    struct list asking, to_ask;/* shared: those of them that want to know how far it is: asked already, or with the next question */
    uint64_t ask_mark, asked_ms;/* shared: of the last question; .ask_mark 0: it is answered */
};

/* Messages on their way to the disk. */
struct block {
    struct stream *stream;
    struct block *next;        /* in its batch */
    uint64_t first;
    uint32_t count;
    uint32_t unsure_count;     /* of them, whose publisher does not wait for them to be stored */
    uint32_t len, cap, longest, shortest;
    uint64_t time_ms, expires_ms;
    int64_t came_ms;           /* .time_ms by the monotonic clock */
    uint8_t *bytes;
};

struct batch {
    uint64_t number;
    struct block *blocks, *last_block;
    struct list kept;          /* changes of records, one of each; and trims */
    struct hash kept_index;    /* of the records, by kind and key */
    struct store_batch asked;  /* while it is committed */
};

/* The batch that gathers while the one before it becomes durable. */
struct commit {
    struct store *store;       /* NULL: nothing is kept */
    struct batch gathering, running;
    uint64_t unsettled;        /* the first batch of which it isn't known whether it is stored */
    bool is_running;
    bool is_due;               /* what gathers should be committed as soon as can be */
    bool is_failing;           /* the last commit failed */
    uint64_t lazy_ms;          /* monotonic; what gathers is due then at the latest; UINT64_MAX: nothing does */
    uint64_t retry_ms;         /* after a failure: not before */
    uint8_t *spare;            /* memory for the next block, reserved for a large message; NULL: none is */
    uint32_t spare_cap;
    uint64_t waiting_bytes;    /* of messages in both batches, */
    uint64_t kept_bytes;       /* and of records */
    struct list awaiting;      /* answers of sessions that wait for a commit */
    struct list keeping;       /* cursors that changed; */
    struct heap keepings;      /* those whose records are large, and wait for their time */
    struct list publishing;    /* what sessions remember of their publishing and is to be recorded */
};

/* Blocks in memory, those used longest ago go first. */
struct chunk {
    struct stream *stream;
    struct run *run;           /* the frames; keeps its own memory */
    uint64_t first;
    uint32_t count;
    uint64_t time_ms, expires_ms;
    struct list_node in_used;  /* of the broker */
};

struct chunks {
    struct list used;          /* longest ago comes first */
    uint64_t bytes;            /* with what it costs to keep them */
};

/* stream.c */
struct stream *stream_of_topic(const struct broker *broker, mps_view topic);  /* NULL: it is not kept */
struct stream *stream_by_number(const struct broker *broker, uint64_t number);
/* Whether one of the stream's topics can match; and whether all of them do. */
bool stream_overlaps(const struct stream *stream, mps_view pattern);
bool stream_is_covered(const struct stream *stream, mps_view pattern);
bool stream_matches_any(const struct broker *broker, mps_view pattern); /* some stream overlaps */
/* Whether so much more is not too much; also of NULL, and of a stream of which the oldest go. */
bool stream_takes(const struct stream *stream, uint64_t msgs, uint64_t bytes);
/* What was accepted by now and is stored, or still may be, lies below this position; UINT64_MAX: that isn't known yet. */
uint64_t stream_accepted(const struct stream *stream);
/* Sees to it that stream_append() finds memory for a run of so many bytes, whose longest frame is this long. False: there is
 * none, and nothing is to be appended. */
bool stream_reserve(struct stream *stream, uint32_t len, uint32_t longest);
/* Adds frames of a run. sure: their publisher waits until they are stored. Returns the position of the last one. */
uint64_t stream_append(struct stream *stream, struct run *run, struct part part, bool sure);
/* The block is on disk. newest_ms: since when, came_ms: when its first message came; both by the monotonic clock. */
void stream_note_block(struct stream *stream, const struct store_block *block, int64_t newest_ms, int64_t came_ms);
void stream_retain(struct stream *stream);               /* what is over the limits or too old is to go */
void stream_trim(struct stream *stream, uint64_t below); /* whatever ends below this position is to go */
uint64_t stream_age_turn(struct broker *broker);         /* lets go of what is too old; returns when to call again */
/* How long ago a message came, at least, by the monotonic clock: setting the other one makes nothing expire. */
uint64_t stream_age_ms(const struct stream *stream, uint64_t seq);
/* Where a reader begins. Messages below .since_end of an older time than .since_ms are passed over, until the first that
 * isn't. */
struct stream_place {
    uint64_t position, since_ms, since_end;
};
/* At the first message that came at this Unix time or later, */
struct stream_place stream_at_time(const struct stream *stream, uint64_t time_ms);
/* or so long ago or less, whatever the Unix clock was set to since. */
struct stream_place stream_at_age(const struct stream *stream, uint64_t age_ms);
/* Unix time at which the first message that is there came, by what the clock says now; UINT64_MAX: there is none. */
uint64_t stream_oldest_ms(const struct stream *stream);
struct stream *stream_new(struct broker *broker, uint32_t number, mps_view name);
void stream_delete(struct stream *stream);               /* nobody has ever read it */
#define STREAM_SHARED_FIRST (UINT32_C(1) << 30)          /* of the numbers of shared ones */
void streams_free(struct broker *broker);

/* commit.c */
bool commit_is_full(const struct broker *broker);        /* publishers should wait, */
bool commit_has_many(const struct broker *broker);       /* and who asks for more records */
void chunk_retry_later(struct stream *stream);            /* what waits for a read looks again in a moment */
uint64_t chunk_retry_turn(struct broker *broker);        /* reads that failed are tried again; when to call again */
uint64_t commit_turn(struct broker *broker);             /* begins what is due; returns when to call again */
void commit_due(struct broker *broker);                  /* something waits for what gathers */
void commit_lazily(struct broker *broker);               /* something would like to be in it, by and by */
struct block *commit_new_block(struct stream *stream); /* becomes the stream's open one */
void commit_trim(struct stream *stream);                 /* what is below .trim_below goes with the next commit */
void commit_done(void *broker, const struct store_batch *asked, enum store_code code, const char *text);
void commit_free(struct broker *broker);
/* A record is this from the next commit on. Lazily: it waits for a commit that something else needs, 50 ms at most.
 * Nothing happens without a store. */
void keep_put(struct broker *broker, enum record_kind kind, mps_view key, mps_view value);
/* keep_put() in two steps, of a record that may be large: NULL, there is no memory for it. What isn't put is given to free(). */
struct kept *keep_prepare(enum record_kind kind, mps_view key, mps_view value);
void keep_prepared(struct broker *broker, struct kept *take_kept);
void keep_put_lazily(struct broker *broker, enum record_kind kind, mps_view key, mps_view value);
void keep_remove(struct broker *broker, enum record_kind kind, mps_view key);

/* chunk.c */
/* The chunk that holds this position, which is stored; it counts as used now. NULL: it is being read, and those in
 * .loading are woken when that is done; or nothing is there: *hole_end says up to where (else it is 0). Valid until the
 * next call of any of these. */
struct chunk *chunk_at(struct stream *stream, uint64_t position, uint64_t *hole_end);
void chunk_prefetch(struct stream *stream, uint64_t position); /* it will be asked for soon */
void chunk_of_block(struct block *block);                /* takes its bytes */
void chunk_of_bytes(struct stream *stream, const struct store_block *block, uint8_t *take_bytes); /* of malloc() */
void chunk_note_hole(struct stream *stream, uint64_t from, uint64_t to); /* nothing is there, not .to */
void chunks_forget(struct stream *stream);               /* and holes, and what is being read */
void chunks_forget_below(struct stream *stream, uint64_t below);
void chunk_read_done(void *broker, struct store_read *read);
void chunks_free(struct broker *broker);

/* damage.c */
/* Positions that were read and are damaged, not below the stream's first one: counts and remembers those that were not
 * known to be. Returns how many. Memory: 16 KiB at most; with more places, some are counted again. */
uint64_t damage_note(struct stream *stream, uint64_t first, uint64_t last);
bool damage_is_known(const struct stream *stream, uint64_t position);

/* acks.c: PUBACKs in the order of their pids, however long a commit takes, or the engine of the cluster */
#define ACK_TOKEN (UINT64_C(1) << 63) /* in ack_pending.batch: the rest is a token of the engine's */
struct ack_pending;
void acks_count(struct session *session, const struct ack_pending *more); /* these are settled, once .batch is */
void acks_error(struct session *session, uint64_t pid, uint32_t code, const char *text);
void acks_close(struct session *session);                /* what has gathered, and answers it if it can be */
bool acks_are_waiting(const struct session *session);
uint64_t acks_unanswered(const struct session *session); /* publishes of this connection */
uint64_t acks_lowest_pid(const struct session *session); /* that waits; UINT64_MAX: none does */
/* The batch that a publish of an earlier connection waits for; 0: it is settled. *count goes down to that of pids from this
 * one on which wait for the same. */
uint64_t acks_batch_of(const struct session *session, uint64_t pid, uint32_t *count);
void acks_settle(struct broker *broker, uint64_t batch, enum store_code code, const char *text);
/* What a publish was told of by the engine: it waits at this place of the session's queue. */
struct shared_outcome {
    uint64_t token;
    enum store_code code;
    uint64_t last;             /* position of its last message */
    bool was_there;            /* it had been stored before */
    const char *text;          /* of a failure: a sentence */
};
void acks_settle_shared(struct session *session, uint64_t place, const struct shared_outcome *outcome);
void acks_answer_all(struct broker *broker); /* whatever is settled by now, several with one PUBACK where that may be */
/* pids that wait for the engine, one stretch after the other: *at is 0 at first. False: there are no more. */
bool acks_next_shared(const struct session *session, uint32_t *at, uint64_t *first, uint64_t *last);
/* Positions of a stream that were given out in this batch or later went down by so many. */
void acks_renumber(struct broker *broker, const struct stream *stream, uint64_t batch, uint64_t by);
/* What waits of the other one's connection, which is gone: it is not answered any more, only noted. */
void acks_adopt(struct session *session, struct session *from);
void acks_free(struct session *session);

/* open.c: what the store holds at the start */
void stream_keep(struct stream *stream);                 /* its record */
void stream_keep_identity(struct stream *stream);        /* likewise of one that is shared */
void epoch_renew(struct broker *broker);                 /* whoever comes back is to know that positions mean something else */

#endif
