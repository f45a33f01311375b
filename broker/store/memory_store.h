/* A store in memory, for tests: what it keeps outlives the store in a "disk" that the test holds, and everything that a
 * real disk may do to it happens when the test says so. No threads, no clock, no chance of its own: the same calls give
 * the same results. */
#ifndef STORE_MEMORY_STORE_H
#define STORE_MEMORY_STORE_H

#include "store.h"

struct memory_disk; /* what is durable */

struct memory_disk *memory_disk_new(void);
void memory_disk_free(struct memory_disk *disk); /* no store may be open on it */

/* One at a time for a disk. */
struct store *memory_store_open(struct memory_disk *disk);

/* ---- when things are done ---------------------------------------------------------------------------------
 * Without a hold, a commit takes effect and a read is made as soon as they begin; poll() then tells. A held one waits
 * for the test. What is read is what the disk holds when the read is made. */
void memory_store_hold(struct store *store, bool commits, bool reads); /* from the next commit() or read() on */
bool memory_store_finish_commit(struct store *store);                  /* the held one; false: there is none */
bool memory_store_finish_read(struct store *store, uint32_t index);    /* of the held ones, oldest first; false: no such */
bool memory_store_committing(const struct store *store);               /* a commit is held */
uint32_t memory_store_reading(const struct store *store);              /* reads that are held */
bool memory_store_ready(const struct store *store);                    /* poll() has something to tell */

/* ---- faults ----------------------------------------------------------------------------------------------- */

/* The next `count` commits take no effect and end with this code (STORE_FULL or STORE_FAILED). A failed one is not
 * always undone: until another succeeds, a crash may bring it back, as that of a disk that wrote but could not sync. */
void memory_store_fail_commits(struct store *store, enum store_code code, uint32_t count);
void memory_store_fail_reads(struct store *store, uint32_t count); /* the next reads end with STORE_FAILED */

/* The power goes: frees the store, without events; batches are the caller's again, requests of reads are freed as by
 * close(). keep: the commit that is held, or else the one that failed last (see above), is on the disk as a whole;
 * otherwise nothing of it is. */
void memory_store_crash(struct store *store, bool keep);

/* Bytes of the block that holds this position change, so that it no longer fits its checksum: read() passes it over.
 * head: what load() reads of it is damaged, so that load() passes it over, too. False: there is no such block. */
bool memory_disk_damage(struct memory_disk *disk, uint32_t stream, uint64_t position, bool head);
/* The same for a record, which load() passes over. */
bool memory_disk_damage_record(struct memory_disk *disk, uint32_t kind, mps_view key);

/* ---- for what a test wants to know ------------------------------------------------------------------------- */
uint64_t memory_disk_bytes(const struct memory_disk *disk, uint32_t stream); /* of the stream's blocks */
uint32_t memory_disk_blocks(const struct memory_disk *disk, uint32_t stream);
uint32_t memory_disk_records(const struct memory_disk *disk, uint32_t kind); /* 0: of all kinds */

#endif
