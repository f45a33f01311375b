/* Slabs: the shared memory that sockets are read into, and runs: what is read from it and kept.
 *
 * A message's bytes are immutable from the moment they are parsed. All counts are plain integers: one thread. */
#ifndef BROKER_SLAB_H
#define BROKER_SLAB_H

#include <stdbool.h>
#include <stdint.h>

/* 64 KiB a slab instead of 256 costs 1.5 times the CPU per message: more reads, more runs, more writes. */
#define SLAB_BYTES (256u * 1024)

struct slab {
    uint32_t refs;
    uint32_t cap;  /* bytes */
    uint32_t used; /* bytes from the start that hold something; reading goes on behind them */
    struct slab *next_spare;
    uint8_t bytes[];
};

/* The slab that is being filled, and a few spare ones so that a busy moment doesn't cost page faults. */
struct slab_pool {
    struct slab *shared; /* NULL until the first read */
    struct slab *spare;
    uint32_t spare_count;
    uint64_t alive;      /* slabs of any size that exist */
    uint64_t bytes;      /* of them all */
};

/* A slab of its own for one large frame. NULL if there is no memory: the caller refuses the frame. */
struct slab *slab_new(struct slab_pool *pool, uint32_t cap);
/* The shared slab, with room for at least `room` bytes (at most SLAB_BYTES / 2) behind .used. Borrowed. NULL: no memory. */
struct slab *slab_for_reading(struct slab_pool *pool, uint32_t room);
void slab_unref(struct slab_pool *pool, struct slab *slab);
void slab_pool_free(struct slab_pool *pool);

/* Of a run as long as this, a part that is less than half is not left to keep all of it in memory. */
#define PINNED_MIN 4096u

/* What only some runs need. */
struct run_more {
    uint32_t *marks;    /* where each 64th frame begins, once somebody has to find places in a long run; or NULL */
    struct run *tail;   /* the last frame as a run of its own, once somebody wants only that; or NULL */
};

/* Consecutive MSG frames with one route: what a queue refers to. Shared by every queue that holds some of it. Among topics
 * that alternate each message has one, thousands in a turn: it is kept within 96 bytes of the allocator's. */
struct run {
    uint32_t refs;
    uint32_t count;     /* frames */
    uint32_t len;       /* bytes of them all */
    uint32_t longest, shortest; /* bytes of such frames */
    uint32_t last_off;  /* where the last one begins; 0: not noted, if there are several */
    const uint8_t *bytes;
    struct slab *slab;  /* what .bytes lies in; NULL if they have an allocation of their own */
    struct run *next;   /* in run_pool.unsettled or .spare */
    uint64_t place;     /* in the order of arrival: that of a message is .place + its offset in the run */
    uint64_t expires_ms; /* not to be sent from then on; UINT64_MAX: always good */
    uint32_t arrived_ms; /* monotonic, modulo 2^32 */
    uint32_t own_bytes; /* memory that is there for this run alone; 0 until it is settled */
    uint32_t cuts : 30; /* scratch of budget.c: references by frames that a link took part of */
    uint32_t is_traced : 1; /* perhaps it holds a message that somebody follows (trace.h) */
    uint32_t is_stored : 1; /* it holds what can be read again: counted in run_pool.stored_bytes */
    struct run_more *more; /* or NULL */
};

/* Bytes of each frame, if all are equally long; else 0. */
static inline uint32_t run_stride(const struct run *run)
{
    return run->longest == run->shortest ? run->longest : 0;
}

struct run_pool {
    struct slab_pool *slabs;
    struct run *unsettled; /* made in this turn; each holds one reference */
    struct run *spare;
    uint32_t spare_count;
    uint64_t alive;
    uint64_t made;         /* ever */
    uint64_t own_bytes;    /* memory of their own that runs hold */
    uint64_t stored_bytes; /* of them, of those that hold what is stored */
    uint64_t stored_count; /* such runs */
};

/* A run over frames in a slab. The pool itself keeps a reference until run_settle_all(). */
struct run *run_new(struct run_pool *pool, struct slab *slab, const uint8_t *bytes);
/* A run with a copy of this one frame; the caller owns the one reference. NULL: there is no memory for it, which happens only
 * if it is longer than SURE_BYTES_MAX. */
struct run *run_copy(struct run_pool *pool, const uint8_t *frame, uint32_t len);
/* A run over count frames in memory from malloc() that it takes over; the caller sets the rest, and owns the one
 * reference. */
struct run *run_of_bytes(struct run_pool *pool, uint8_t *take_bytes, uint32_t len, uint32_t count);
/* A run over count frames that are stored, in memory from malloc() that it takes over; the caller owns the one reference. */
struct run *run_of_stored(struct run_pool *pool, uint8_t *take_bytes, uint32_t len, uint32_t count);
/* A run with a copy of count frames of another one; the caller owns the one reference. NULL as with run_copy(). */
struct run *run_copy_part(struct run_pool *pool, const struct run *run, uint32_t off, uint32_t len, uint32_t count);
/* Some of the frames of a run of this turn as a run of their own, so that they don't keep the memory of the others; the caller
 * owns the one reference. last_off: where the last of them begins, in the run. */
struct run *run_slice(struct run_pool *pool, struct run *run, uint32_t off, uint32_t len, uint32_t count,
                      uint32_t last_off);
/* The last frame likewise, the same for all who ask; borrowed from the run. NULL if the run is settled. */
struct run *run_tail(struct run_pool *pool, struct run *run);
/* Bytes that would get memory of their own if run_settle_all() were called now. Walks all that are unsettled. */
uint64_t run_unsettled_bytes(const struct run_pool *pool);
static inline struct run *run_ref(struct run *run)
{
    run->refs++;
    return run;
}
void run_unref(struct run_pool *pool, struct run *run);
/* Whether only one holder besides the pool is left. */
static inline bool run_has_one_holder(const struct run *run)
{
    return run->refs == (run->own_bytes > 0 ? 1u : 2u);
}
/* End of the turn: whatever is still queued gets memory of its own, once for all its readers, and the slabs go. So
 * that 89 bytes don't pin 256 KiB and a thousand stalled readers share one copy. */
void run_settle_all(struct run_pool *pool);
void run_pool_free(struct run_pool *pool);

/* Finds the end of the frame in which the byte at `at` lies, counting from the frame that begins at `from` (offsets in
 * the run). Sets *count to the frames from `from` up to that end. Looks at 64 frames at most, however long the run is. */
uint32_t run_frame_end(struct run *run, uint32_t from, uint32_t at, uint32_t *count);
/* Where the frame begins that is `count` frames behind the one at `from`; likewise. */
uint32_t run_skip(struct run *run, uint32_t from, uint32_t count);

#endif
