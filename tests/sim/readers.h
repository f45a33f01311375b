/* Subscriptions that read streams: where they stand, what they are owed, and what they have not acknowledged. */
#ifndef SIM_READERS_H
#define SIM_READERS_H

#include "logs.h"
#include "wire.h"

struct conn;
struct model_sub;
struct action;
struct sub_options;

#define NEED_NOT (UINT64_MAX / 2)

/* A message that was sent and is to be acknowledged. */
struct model_pending {
    uint32_t entry, tries;
    uint64_t tries_most;      /* so often it was to be sent, when it was sent */
    uint64_t due_ms;          /* it may be sent again from then on */
    uint64_t must_ms;         /* and must be; NEED_NOT: it is open whether it is done with */
    struct model_sub *sub;    /* who has it; NULL: nobody, any more */
    bool is_dead;             /* when it was refused, it had been sent often enough */
};

/* Where a reader stands in one stream. */
struct model_place {
    struct model_log *log;
    uint32_t next;            /* everything before this entry is handled, or need not be */
    uint32_t from;            /* and nothing before this one may come */
    uint8_t *marks;           /* of entries: PLACE_* */
    uint32_t marks_cap;
    uint32_t chosen_until;    /* of the entries before, those that are CHOSEN must come, and those ALLOWED may */
    uint32_t there_until;     /* those before were stored, or holes, when it began */
    uint32_t vague_until;     /* the filter was changed: those before may be judged by an earlier one */
    uint32_t mark_until;      /* to be handled before MARK 2, if they become stored */
    uint32_t drain_until;     /* to be handled before MARK 3 */
    uint32_t live_from;       /* entries before had been accepted when it began */
    uint64_t first;           /* nothing below this position is told as missing */
    uint64_t first_owed;      /* and what may have been removed before began below this one */
    bool begins_since;        /* with what came at a time or later: */
    uint32_t since;           /* what stands before this entry need not come, */
    uint64_t since_ms;        /* nor what came before this Unix time, which was not over when it began */
    bool is_told;             /* something came, or was told as missing */
    bool looks_first;         /* for the last n, or the last of each topic: so nobody knows what is missing */
    bool asks_by_position;    /* what was removed before is told, too */
    struct model_pending *pending;
    uint32_t pending_count, pending_cap;
};

struct model_reader {
    struct model *model;
    struct name pattern;
    enum mps_from_kind from;
    uint64_t from_number;
    enum mps_ack_mode ack;
    uint64_t ack_ms, max_tries, inflight; /* as granted; max_tries UINT64_MAX: no limit */
    uint64_t tries_most, inflight_most; /* since it began: what is on its way is sent, even if less is granted now */
    bool is_shared;           /* a group's */
    struct model_place places[LOGS_MAX];
    uint32_t places_count;
};

/* A message on its way to $dead. */
struct model_burial {
    const struct model_log *log;
    uint32_t entry, tries;
    bool is_rejected;
    bool reason_is_open;      /* it was rejected when it had been given up, perhaps */
};

/* ---- readers.c: life ---- */
bool reader_is_asked(const struct sub_options *o); /* whether these are the options of one */
/* Whether there are the streams that it names, or any. */
bool reader_can_begin(struct model *model, const struct name *pattern, const struct sub_options *o);
/* Whether a group that reads so, or not (NULL), is not the one that is asked for. */
bool reader_differs(const struct model_reader *reader, const struct sub_options *o);
struct model_reader *reader_new(struct model *model, const struct name *pattern, const struct sub_options *o);
void reader_free(struct model_reader *reader);  /* NULL is allowed */
void reader_set(struct model_reader *reader, const struct sub_options *o);
/* Another SUB for it. */
void reader_change(struct model_reader *reader, const struct sub_options *o, bool filter_changed);
/* A SUB with a `from` other than "new" is to be answered by MARK 2. */
void readers_ask_for_mark(struct model_sub *sub, const struct sub_options *o);
void reader_release(struct model_reader *reader, struct model_sub *sub); /* who has left */
struct model_reader *sub_reader(const struct model_sub *sub); /* its own or its group's; NULL: it is none */
/* Whether messages of this topic reach it by a stream. */
bool reader_reads(const struct model_reader *reader, const struct model_log *log);
bool reader_wants_snapshot_of(const struct model_reader *reader, const struct name *topic);
void readers_drain(struct model_sub *sub);
/* Whether it may have one more that is unacknowledged. */
bool reader_has_room(const struct model_reader *reader, const struct model_sub *sub);
void readers_check(struct model *model);        /* at rest */

/* ---- places.c: what comes ---- */
enum { PLACE_HANDLED = 1, PLACE_CHOSEN = 2, PLACE_ALLOWED = 4, PLACE_LATE = 8 };
uint8_t *place_mark(struct model_place *place, uint32_t entry);
struct model_place *reader_place(struct model_reader *reader, uint64_t stream); /* NULL: it does not read that */
void places_msg(struct conn *conn, struct model_sub *sub, mps_view frame);
void places_gap(struct conn *conn, struct model_sub *sub, const struct mps_gap *gap);
void places_caught_up(struct conn *conn, uint32_t sid);
void places_drained(struct conn *conn, struct model_sub *sub);
/* Goes on over what need not come; the first entry that has to, or NO_ENTRY. What isn't stored is owed by nobody. */
uint32_t place_owed(const struct model_reader *reader, struct model_place *place, int filter, uint32_t until);
void place_move(struct model_place *place, uint64_t position); /* it stands there from now on */
/* What the subscription has not acknowledged. surely: without what may be given up just now, or be nobody's. */
uint32_t place_inflight(const struct model_place *place, const struct model_sub *sub, bool surely);

/* ---- burials.c: what is acknowledged, and what is given up ---- */
void readers_ack(struct conn *conn, const struct action *action);
struct model_pending *pending_of(struct model_place *place, uint32_t entry); /* NULL: there is none */
void pending_forget(struct model_place *place, struct model_pending *pending);
void bury(struct model *model, const struct model_log *log, const struct model_pending *pending, bool is_rejected);
void dead_came(struct model_log *log, mps_view frame); /* it is committed to $dead/# */

#endif
