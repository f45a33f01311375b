/* What the two halves of writing share: flush.c plans and notes what is queued, flush_stored.c what comes from streams, and
 * retained values. Internal to these. */
#ifndef BROKER_FLUSH_H
#define BROKER_FLUSH_H

#include <sys/uio.h>

#include "model.h"

#define IOVECS_MAX 256
#define PIECES_MAX 1024
/* An isolated piece shorter than this is copied: an iovec of its own costs the kernel more than the copy. */
#define COPY_MAX 512u
#define SCRATCH_BYTES (64u * 1024)
/* What one session may write in one turn before others have theirs. */
#define TURN_BYTES (1024u * 1024)

enum piece_kind {
    PIECE_CUT,
    PIECE_CONTROL,
    PIECE_GAP,
    PIECE_MARK,
    PIECE_DRAINED,
    PIECE_MSGS,
    PIECE_RETAINED,
    PIECE_RETAINED_GAP,
    PIECE_STORED,
    PIECE_STORED_GAP,
    PIECE_CAUGHT_UP,
};

/* One thing that is written, and what has to be noted once the link has taken it. */
struct piece {
    enum piece_kind kind;
    uint32_t len;
    const uint8_t *bytes;
    struct subscription *sub;
    union {
        struct retained_value *value; /* RETAINED, RETAINED_GAP */
        uint32_t count;               /* STORED: messages */
    };
    uint32_t for_at;            /* in the scratch memory: a FOR that goes before */
    uint8_t for_len, for_flags; /* 0: none does */
};

/* What one write would send. Nothing is taken out of a queue until the link has said how much it took. */
struct flush_plan {
    struct iovec iovecs[IOVECS_MAX];
    struct piece pieces[PIECES_MAX];
    int iovecs_count, pieces_count;
    uint32_t scratch_used;
    struct for_terms held; /* the terms that the peer will hold then */
    size_t bytes;
    int looks;                 /* at retained values */
    struct subscription *last; /* the last one that the plan came to, or NULL */
    bool unfinished;           /* snapshots have looked at enough values for one write */
    uint8_t scratch[SCRATCH_BYTES];
};

/* What one subscription may still be sent, and what of its queue has been planned. */
struct progress {
    uint64_t credit;
    uint32_t entries;
};

static inline bool plan_has_room(const struct flush_plan *plan)
{
    /* Four of each: a GAP or a FOR and a message are added without asking in between. */
    return plan->iovecs_count + 4 <= IOVECS_MAX && plan->pieces_count + 4 <= PIECES_MAX &&
           plan->scratch_used + 4 * COPY_MAX <= SCRATCH_BYTES && plan->bytes < TURN_BYTES;
}

/* A piece that may be copied to the scratch memory. */
struct piece *plan_piece(struct flush_plan *plan, enum piece_kind kind, const uint8_t *bytes, uint32_t len);
/* Room for a small frame, and the piece that it is once it is written there. */
static inline struct mps_out plan_scratch(struct flush_plan *plan)
{
    return mps_out_open(plan->scratch + plan->scratch_used, MPS_SMALL_FRAME_MAX);
}
struct piece *plan_frame(struct flush_plan *plan, enum piece_kind kind, struct subscription *sub, struct mps_out *out);
uint8_t plan_for(struct flush_plan *plan, const struct mps_for *terms); /* returns its length */
/* Messages of a subscription that have no position, behind a FOR if the peer holds other terms. */
struct piece *plan_msgs(struct flush_plan *plan, enum piece_kind kind, struct subscription *sub, uint8_t flags,
                        const uint8_t *bytes, uint32_t len);
struct piece *plan_gap(struct flush_plan *plan, enum piece_kind kind, struct subscription *sub, uint32_t reason,
                       uint64_t count);
void plan_mark(struct flush_plan *plan, struct subscription *sub, enum piece_kind piece, enum mps_mark_kind kind);
/* Plans queue entries up to position `end`. Returns whether it got there: without credit or room it stops. */
bool plan_queue(struct flush_plan *plan, struct subscription *sub, uint32_t end, struct progress *progress);
/* The link took a run's bytes up to off, in the middle of a frame: the len bytes that are left of it go before all else. */
void keep_cut(struct session *session, struct run *run, uint32_t off, uint32_t len);

/* flush_stored.c */
/* What goes before the queue's last part: what was queued before a snapshot, that, and the outlet. Returns whether all of
 * it is planned. */
bool plan_before(struct flush_plan *plan, struct subscription *sub, struct progress *progress);
/* Pieces, of which the link took all or the first `taken` bytes. */
void note_stored_for(struct session *session, const struct subscription *sub);
void note_stored(struct session *session, const struct piece *piece, uint32_t taken);
void note_stored_gap(struct session *session, struct subscription *sub);
void note_caught_up(struct session *session, struct subscription *sub);
/* A retained value counts when it goes out, as sent or, if it was too large for its reader, as lost. */
void note_retained(struct session *session, const struct piece *piece);

#endif
