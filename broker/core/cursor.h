/* Cursors: where a subscription, or a group, stands in the streams that it reads. What it is to get is not queued: it is
 * fetched from the stream as its connection takes it, so a reader that is far behind costs no memory, and history goes
 * over into what is live without a seam.
 *
 *   stream -> chunk -> reading.c -> outlet (of a subscription, or of a member of the group) -> flush.c
 *                                      \-> pending.c, if it is to be acknowledged: again, never again
 *
 * One thread. */
#ifndef BROKER_CURSOR_H
#define BROKER_CURSOR_H

#include "hash.h"
#include "heap.h"
#include "list.h"
#include "streams.h"
#include "wire.h"

struct session;
struct shared_cursor;
struct subscription;
struct group;
struct reading;

enum pending_state {
    PENDING_QUEUED,  /* in an outlet */
    PENDING_SENT,    /* written; due again at .due_ms */
    PENDING_DELAYED, /* wanted later: at .due_ms */
    PENDING_DUE,     /* to be delivered again */
    PENDING_DEAD,    /* never to be delivered again: on its way to $dead */
    PENDING_ACKED,   /* done; those before it aren't */
};

/* A message that was delivered and isn't done with. */
struct pending {
    uint64_t seq;
    uint64_t due_ms;
    uint32_t tries;            /* deliveries so far */
    enum pending_state state;
    bool is_rejected;          /* DEAD: by the subscriber, not for having been tried too often */
    struct subscription *sub;  /* who has it: QUEUED, SENT */
};

/* Positions that are to be delivered, where not all are: found by looking through the stream first. */
struct survey;

/* A cursor's place in one stream. */
struct reading {
    struct cursor *cursor;
    struct stream *stream;
    uint64_t next;             /* position to look at next */
    uint64_t sent;             /* positions below were written, or passed over; without acknowledgements */
    uint64_t live;             /* messages below had been accepted when it began: they are a replay */
    uint64_t mark_at;          /* MARK 2 is due, to who wants it, when everything below was delivered */
    bool has_just_begun;       /* of a shared stream: what is asked settles .live, too, */
    bool is_ahead;             /* and whether there is a place .next, which a client has named */
    struct list *asks_in;      /* of the stream, a shared one: .mark_at isn't known before it is heard; NULL: it is known */
    struct list_node in_asking;
    uint64_t since_ms;         /* what came before this Unix time is passed over; 0: nothing is, */
    uint64_t since_end;        /* nor from this position on */
    uint64_t since_high;       /* of a shared stream: at this position something stands that came since; what lies before .next
                                  did not. 0: it isn't being looked for */
    bool begins_later;         /* its stream, a shared one, or how far that is, isn't known yet: then it begins there, */
    enum mps_from_kind later_kind;
    uint64_t later_number;     /* of SEQ the position */
    bool takes_all;            /* every message of the stream matches, whatever it holds */
    struct survey *survey;     /* NULL: everything from .next on */
    struct pending *pending;   /* by position; .first .. .first + .count */
    uint32_t first, count, cap;
    uint32_t open_count;       /* those among them that are not done with */
    uint32_t due_count;        /* DUE and DEAD among them, */
    uint64_t due_from;         /* none of which has a position below this */
    struct list *waits_in;     /* of the stream; NULL: it doesn't wait */
    struct list_node in_waiting;
    struct list_node in_readings; /* of the stream */
};

/* What cursors ask for besides their pattern. */
struct cursor_terms {
    enum mps_ack_mode ack;
    uint64_t ack_ms, max_tries, inflight; /* max_tries UINT64_MAX: for ever */
    bool durable;
};

struct cursor {
    struct broker *broker;
    struct mailbox *box;       /* whose it is: a subscription's, or a group's */
    struct cursor_terms terms;
    enum mps_from_kind from_kind; /* as it was asked for, */
    uint64_t from_number;
    struct reading *readings;
    uint32_t readings_count, turn;
    uint64_t open_count;       /* messages that are not done with */
    bool passes_retained;      /* retained values of streams are not sent: they are in the history */
    bool is_fresh;             /* its position is that of its creation, while the store is loaded */
    bool is_dirty, is_keeping;
    struct list_node in_dirty;   /* while .is_dirty: there may be something to deliver, */
    bool is_parked;              /* which is looked for when the link takes bytes again: it is in its session's list */
    struct list_node in_keeping; /* of the commit, while .is_keeping: its record is to be written */
    uint64_t keep_ms;            /* a large record is not written again before, */
    struct timer keep;           /* in commit.keepings: then */
    struct timer due;          /* in broker.redeliveries */
    struct shared_cursor *shared; /* what it has besides as one that other brokers can go on with (cluster/shared_cursors.h); or NULL */
    uint64_t served_until_ms;  /* what it reads of shared streams is delivered here before this time only, unless others do */
    struct outlet *returned;   /* gaps that were to be told to somebody who went away; NULL: none */
};

/* What is about to be written for a subscription from streams. */
enum outlet_kind { OUTLET_MSGS, OUTLET_GAP, OUTLET_CAUGHT_UP };
struct outlet_entry {
    enum outlet_kind kind;
    uint8_t flags;             /* of FOR */
    enum mps_gap_reason reason;
    bool count_known;          /* of a gap */
    bool is_again;             /* it was pending: sent before, or given up instead */
    uint32_t tries;
    struct run *run;           /* MSGS */
    uint32_t off, len;
    uint64_t count;            /* messages, or lost ones */
    uint64_t seq, last;        /* the first position; that of the last one of a gap */
    uint64_t time_ms;
    struct reading *reading;   /* NULL: of CAUGHT_UP */
};
struct outlet {
    struct outlet_entry *ring;
    uint32_t cap, head, count; /* cap: a power of two */
    uint64_t msgs, bytes;
    int64_t expires_ms;        /* none of it expires before, by the monotonic clock; INT64_MAX: none does */
    uint64_t unacked;          /* messages that the subscription has and has not acknowledged */
};

/* outlet.c */
struct outlet *outlet_new(void);
static inline struct outlet_entry *outlet_at(const struct outlet *outlet, uint32_t i)
{
    return &outlet->ring[(outlet->head + i) & (outlet->cap - 1)];
}
/* Takes a reference of its own to the run. Goes on the last entry if it is its continuation. */
void outlet_push(struct outlet *outlet, const struct outlet_entry *entry);
/* Takes count messages of len bytes, or a gap or mark, off the first entry. */
void outlet_pop(struct outlet *outlet, struct run_pool *runs, uint32_t len, uint64_t count);
void outlet_drop_mark(struct outlet *outlet); /* it isn't due any more */
void outlet_free(struct outlet *outlet, struct run_pool *runs);

/* cursor.c */
/* A cursor of this mailbox, which has its filter by now, at the place that `from` names. */
struct cursor *cursor_new(struct mailbox *box, mps_view pattern, const struct cursor_terms *terms,
                          const struct mps_from *from);
void cursor_free(struct cursor *cursor);
void cursor_dirty(struct cursor *cursor);               /* there may be something to deliver */
uint64_t cursor_inflight(const struct cursor *cursor);  /* how many a subscription may have and not acknowledge */
void cursors_unpark(struct session *session);           /* it takes bytes again */
void cursors_shed(struct broker *broker);               /* what waits in outlets is too much: it can be read again */
bool cursor_is_waiting(const struct cursor *cursor);    /* all that is stored was delivered, as far as it may be */
void cursors_wake(struct list *waiting);
void cursors_wake_tail(struct stream *stream);          /* something was stored */
/* Gives a member of the group that it belongs to one message, and gaps before it. False: there is none at the moment. */
bool cursor_serve(struct cursor *cursor, struct subscription *sub);
void cursor_filter_changed(struct cursor *cursor);      /* that of its mailbox */
void cursor_sent(struct subscription *sub);             /* some of its outlet was written */
uint64_t cursors_turn(struct broker *broker);           /* fills outlets; returns when to call again */
/* Of so many positions from this one on, which could not be stored, only so few are left, as holes: by the others all
 * behind went down. */
void cursors_renumber(struct stream *stream, uint64_t from, uint64_t count, uint64_t left);
/* How far a shared stream is was heard: its mark is due behind that. */
void cursor_heard(struct reading *reading);
/* A shared stream is known now: who waited for that begins. */
void cursors_begin_late(struct stream *stream);
/* It is another one than before, where positions mean something else: all begin again with its first message, and are told. */
void cursors_restart(struct stream *stream);
void cursor_restart(struct cursor *cursor, struct reading *reading); /* likewise this one */
/* From this position on it holds other messages than before, or none yet: who is behind goes back to there, and is told. */
void cursors_go_back(struct stream *stream, uint64_t to);
struct reading *cursor_reading(const struct cursor *cursor, uint64_t stream);
mps_view cursor_pattern(const struct cursor *cursor);
/* The subscription is to be told when it has been given all that there is now. */
void cursor_want_mark(struct cursor *cursor, struct subscription *sub);
void cursor_mark(struct cursor *cursor, struct subscription *sub); /* tells it, if it wants that and has */
/* What was queued for the subscription, but not written, is to be delivered anew. */
void cursor_take_back(struct subscription *sub);
void cursor_take_all_back(struct cursor *cursor); /* likewise of all whom it serves */
/* The subscription is served no more: what it has and didn't acknowledge is due for others, or for it when it is back. */
void cursor_release(struct subscription *sub);
/* Positions from what a client says that it has: they hold for streams that it names. Not with acknowledgements. */
void cursor_move(struct cursor *cursor, const struct mps_from *from);

/* reading.c */
bool reading_stands_by(const struct reading *reading); /* another broker delivers what it reads */
enum reading_result { READING_NOTHING, READING_SOME, READING_PAUSE, READING_WAITS };
/* Queues the next of what this place in a stream has: up to about bytes_most and msgs_most. PAUSE: it did its share of the
 * turn. */
enum reading_result reading_take(struct reading *reading, struct subscription *sub, uint32_t bytes_most,
                                 uint64_t msgs_most);
void reading_wait(struct reading *reading, struct list *where);
void reading_stop_waiting(struct reading *reading);
bool reading_is_caught_up(const struct reading *reading);
void reading_sent(struct reading *reading, uint64_t next); /* all below this position was written */
/* When the message at this position of the chunk expires, by the monotonic clock; INT64_MAX: never. */
int64_t reading_expiry_ms(const struct chunk *chunk, uint64_t seq, mps_view props);
uint8_t reading_replay_flag(const struct reading *reading, uint64_t seq); /* of FOR: it was there when it began */
/* Whether what it delivers is noted as pending: it is acknowledged, or several share it. */
bool reading_has_pending(const struct reading *reading);
enum mps_gap_reason reading_hole_reason(const struct stream *stream, uint64_t position); /* nothing is there: why */

/* redelivery.c: queues one message that is due again, or buries one that never is. WAITS: it is being read. */
enum reading_result redelivery_take(struct reading *reading, struct subscription *sub);

/* survey.c */
/* What all surveys may remember of topics together. Beyond, they are not told apart any more: from there on everything is
 * delivered. */
#define SURVEYS_BYTES_MAX (256u * 1024 * 1024)
struct survey_request {
    enum mps_from_kind kind;   /* LAST or LAST_PER_TOPIC */
    uint64_t number;           /* LAST: how many */
    uint64_t end;              /* of what lies before this position; what lies behind is all of interest */
};
/* Looks from `first` on. The same request leads to the same later on, as far as that is there still: also from any
 * position on that was chosen. */
struct survey *survey_new(struct broker *broker, const struct survey_request *request, uint64_t first);
void survey_free(struct survey *survey);
const struct survey_request *survey_asked(const struct survey *survey);
bool survey_is_done(const struct survey *survey);
bool survey_is_cut(const struct survey *survey);       /* too many topics: not all that was chosen is a topic's last */
bool survey_is_over(const struct survey *survey, uint64_t position); /* it says nothing of what lies from there on */
bool survey_looks(const struct survey *survey);        /* at what stands at survey_at(); else, if it isn't done, */
void survey_step(struct survey *survey);               /* it needs another one of these */
uint64_t survey_at(const struct survey *survey);
void survey_pass(struct survey *survey, uint64_t to);   /* nothing is of use before this position */
void survey_see(struct survey *survey, uint64_t seq, mps_view topic); /* a message that matches */
/* The first position that was chosen at or behind this one; what lies behind the survey's end is all of interest. */
uint64_t survey_next(const struct survey *survey, uint64_t position);

/* pending.c */
struct pending *pending_find(const struct reading *reading, uint64_t seq);
void pending_add(struct reading *reading, uint64_t seq, struct subscription *sub);
void pending_sent(struct reading *reading, uint64_t seq, uint64_t count);      /* written just now */
void pending_unsent(struct reading *reading, uint64_t seq);     /* was queued, but not written */
void pending_done(struct reading *reading, struct pending *pending);
/* An ACK of the subscription. Returns NULL, or why it can't be. */
const char *pending_ack(struct reading *reading, const struct mps_ack *ack, struct subscription *sub);
struct pending *pending_first_due(struct reading *reading); /* DUE or DEAD; NULL: none is */
void pending_queued(struct reading *reading, struct pending *pending, struct subscription *sub); /* once more */
void pending_release(struct reading *reading, struct subscription *sub); /* what it has is due again */
void pending_load(struct reading *reading, uint64_t seq);       /* a record says that it isn't done with */
void pending_cut(struct reading *reading, uint64_t from);       /* forgets what is at or behind this position */
uint64_t pending_floor(const struct reading *reading);          /* everything below is done with */
void redeliveries_turn(struct broker *broker, uint64_t work_end); /* what is due, until broker.work comes to work_end */

/* cursor_keep.c */
void cursor_changed(struct cursor *cursor);              /* its record will be written, if it is kept */
/* The same of what may be told or delivered once more if the broker dies: large records are not written each time. */
void cursor_advanced(struct cursor *cursor);
void cursors_keep_due(struct broker *broker);            /* their time has come */
void cursor_stop_keeping(struct cursor *cursor);         /* it goes, or its record does */
void cursor_keep(struct cursor *cursor);                 /* a commit begins: it is written */
void cursor_forget(struct cursor *cursor);               /* its record goes */
mps_view cursor_key(const struct cursor *cursor, uint8_t room[STORE_KEY_MAX]); /* of its record. A view of room */
struct cursor *cursor_of_key(const struct broker *broker, mps_view key); /* NULL: there is none */
bool cursor_has_begun(const struct cursor *cursor);      /* in all of its streams */
/* Its record; memory of its own. only_shared: of shared streams. With more values of msgpack than so many, it says less, and more
 * is delivered again. */
mps_view cursor_write(const struct cursor *cursor, bool only_shared, uint32_t values_max);
/* It stands where this record says, in the streams that the record names. False: it means nothing. */
bool cursor_restore(struct cursor *cursor, mps_view value);
/* A cursor whose owner nobody is at the moment. */
struct cursor_record {
    struct hash_node in_records;    /* of the broker, by key */
    struct timer expiry;            /* in broker.cursor_expiries */
    uint32_t key_len, value_len;
    uint8_t bytes[];                /* key, then value */
};
void cursor_retire(struct cursor *cursor);               /* the last member of its group has gone; NULL is allowed */
void cursor_resume(struct cursor *cursor);               /* a new one goes on where a retired one stood */
void cursors_loaded(struct broker *broker);              /* all records and streams are there */
void cursor_records_expire(struct broker *broker);
void cursor_records_free(struct broker *broker);

#endif
