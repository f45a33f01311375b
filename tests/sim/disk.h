/* The disk below a simulated broker: broker/store/memory.c, in front of which stands a seam of our own. There commits and
 * reads take their time by the world's clock, fail when the dice say so, and are shown to an observer; and the power can go
 * at any moment. What is on the platter outlives the broker. */
#ifndef SIM_DISK_H
#define SIM_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "memory_store.h"
#include "rng.h"

#define DISK_IDLE UINT64_MAX

struct disk {
    struct store seam;              /* what the core gets */
    struct memory_disk *platter;
    struct store *store;            /* NULL: the power is gone */
    struct rng rng;
    uint32_t delay_ms;              /* what a commit or a read takes, at most; 0: it is done in the turn in which it began */
    uint32_t fail_percent;          /* of commits, */
    uint32_t fail_reads_percent;    /* and of reads */
    const struct store_batch *batch; /* being committed; NULL: none */
    uint64_t commit_ms, read_ms;    /* when the commit is done, and a read; DISK_IDLE: there is none */
    uint64_t retry_ms;              /* after a read that failed: the core need not have tried again before */
    struct store_read *lost;        /* reads that began when the power was gone */
    /* What an observer is told; NULL: nobody looks. Before the core hears of it. */
    void (*on_commit)(void *observer, const struct store_batch *batch); /* it begins */
    void (*on_committed)(void *observer, const struct store_batch *batch, enum store_code code);
    void (*on_load)(void *observer, const struct store_block *block); /* it is there when the core begins */
    void *observer;
};

void disk_open(struct disk *disk, uint64_t seed); /* settings and observers stay */
void disk_close(struct disk *disk);      /* all that is on it is gone; the core must be, too */
/* Another life of the broker begins: the store for it. */
struct store *disk_start(struct disk *disk);
/* The power goes. keep: the commit that is under way is on the platter as a whole, or else the last one that failed. */
void disk_crash(struct disk *disk, bool keep);
void disk_stop(struct disk *disk);       /* the broker is gone; what it left to the store is done first */
/* What is done by now. Returns whether the core has to be told: then broker_poll_store(). */
bool disk_work(struct disk *disk, uint64_t now_ms);
/* When there is something to be done; DISK_IDLE: nothing is. */
uint64_t disk_next_ms(const struct disk *disk);
bool disk_is_reading(const struct disk *disk);

#endif
