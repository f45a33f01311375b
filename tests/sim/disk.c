#include "disk.h"

#include <stddef.h>
#include <stdlib.h>

#define RETRY_MS 1100  /* after a read that failed */
#define FAIL_COMMITS 4 /* in a row, at most */

static struct disk *disk_of(struct store *seam)
{
    return (struct disk *)(void *)((char *)seam - offsetof(struct disk, seam));
}

static uint64_t takes_ms(struct disk *disk)
{
    return disk->delay_ms > 0 ? rng_below(&disk->rng, disk->delay_ms + 1) : 0;
}

/* ---- what the core asks for --------------------------------------------------------------------------------- */

struct loading {
    struct disk *disk;
    const struct store_visitor *visitor;
};

static void load_record(void *arg, uint32_t kind, mps_view key, mps_view value)
{
    const struct loading *loading = arg;
    loading->visitor->record(loading->visitor->arg, kind, key, value);
}

static void load_block(void *arg, const struct store_block *block)
{
    const struct loading *loading = arg;
    if (loading->disk->on_load != NULL) loading->disk->on_load(loading->disk->observer, block);
    loading->visitor->block(loading->visitor->arg, block);
}

static void load_damaged(void *arg, const char *text)
{
    const struct loading *loading = arg;
    loading->visitor->damaged(loading->visitor->arg, text);
}

static int load(struct store *seam, const struct store_visitor *visitor, char text[STORE_TEXT_MAX])
{
    struct loading loading = {disk_of(seam), visitor};
    struct store_visitor own = {.record = load_record, .block = load_block, .damaged = load_damaged, .arg = &loading};
    return loading.disk->store->load(loading.disk->store, &own, text);
}

static void commit(struct store *seam, const struct store_batch *batch)
{
    struct disk *disk = disk_of(seam);
    disk->batch = batch;
    if (disk->store == NULL) return; /* nobody will ever hear of it */
    if (disk->on_commit != NULL) disk->on_commit(disk->observer, batch);
    disk->commit_ms = 0;
    disk->store->commit(disk->store, batch);
}

static void read_blocks(struct store *seam, struct store_read *read)
{
    struct disk *disk = disk_of(seam);
    if (disk->store == NULL) {
        read->next = disk->lost;
        disk->lost = read;
        return;
    }
    if (disk->read_ms == DISK_IDLE) disk->read_ms = 0;
    disk->store->read(disk->store, read);
}

static void poll_store(struct store *seam)
{
    struct disk *disk = disk_of(seam);
    if (disk->store != NULL) disk->store->poll(disk->store);
}

static void close_store(struct store *seam)
{
    disk_stop(disk_of(seam));
}

/* ---- what the store tells ----------------------------------------------------------------------------------- */

static void committed(void *arg, const struct store_batch *batch, enum store_code code, const char *text)
{
    struct disk *disk = arg;
    disk->batch = NULL;
    if (disk->on_committed != NULL) disk->on_committed(disk->observer, batch, code);
    disk->seam.events.committed(disk->seam.events.arg, batch, code, text);
}

static void read_done(void *arg, struct store_read *read)
{
    struct disk *disk = arg;
    disk->seam.events.read_done(disk->seam.events.arg, read);
}

/* ---- time --------------------------------------------------------------------------------------------------- */

static void finish_commit(struct disk *disk)
{
    enum store_code code = rng_percent(&disk->rng, 50) ? STORE_FULL : STORE_FAILED;
    if (rng_percent(&disk->rng, disk->fail_percent))
        memory_store_fail_commits(disk->store, code, rng_between(&disk->rng, 1, FAIL_COMMITS));
    memory_store_finish_commit(disk->store);
    disk->commit_ms = DISK_IDLE;
}

static void finish_read(struct disk *disk, uint64_t now_ms)
{
    uint32_t count = memory_store_reading(disk->store);
    if (rng_percent(&disk->rng, disk->fail_reads_percent)) {
        memory_store_fail_reads(disk->store, 1);
        disk->retry_ms = now_ms + RETRY_MS;
    }
    memory_store_finish_read(disk->store, rng_below(&disk->rng, count));
    disk->read_ms = count > 1 ? now_ms + takes_ms(disk) : DISK_IDLE;
}

bool disk_work(struct disk *disk, uint64_t now_ms)
{
    if (disk->store == NULL) return false;
    if (disk->commit_ms == 0) disk->commit_ms = now_ms + takes_ms(disk); /* it has just begun */
    if (disk->read_ms == 0) disk->read_ms = now_ms + takes_ms(disk);
    if (disk->commit_ms <= now_ms) finish_commit(disk);
    if (disk->read_ms <= now_ms) finish_read(disk, now_ms);
    return memory_store_ready(disk->store);
}

uint64_t disk_next_ms(const struct disk *disk)
{
    if (disk->store == NULL) return DISK_IDLE;
    return disk->commit_ms < disk->read_ms ? disk->commit_ms : disk->read_ms;
}

bool disk_is_reading(const struct disk *disk)
{
    return disk->store != NULL && disk->read_ms != DISK_IDLE;
}

/* ---- life --------------------------------------------------------------------------------------------------- */

void disk_open(struct disk *disk, uint64_t seed)
{
    disk->platter = memory_disk_new();
    disk->rng.state = seed;
    disk->commit_ms = disk->read_ms = DISK_IDLE;
}

struct store *disk_start(struct disk *disk)
{
    disk->seam =
        (struct store){.load = load, .commit = commit, .read = read_blocks, .poll = poll_store, .close = close_store};
    disk->store = memory_store_open(disk->platter);
    disk->store->events = (struct store_events){.committed = committed, .read_done = read_done, .arg = disk};
    memory_store_hold(disk->store, true, true);
    disk->batch = NULL;
    disk->commit_ms = disk->read_ms = DISK_IDLE;
    disk->retry_ms = 0;
    return &disk->seam;
}

void disk_crash(struct disk *disk, bool keep)
{
    memory_store_crash(disk->store, keep);
    disk->store = NULL;
    disk->commit_ms = disk->read_ms = DISK_IDLE;
}

void disk_stop(struct disk *disk)
{
    if (disk->store != NULL) disk->store->close(disk->store);
    disk->store = NULL;
    disk->commit_ms = disk->read_ms = DISK_IDLE;
}

void disk_close(struct disk *disk)
{
    for (struct store_read *read = disk->lost, *next; read != NULL; read = next) {
        next = read->next;
        free(read);
    }
    disk->lost = NULL;
    if (disk->platter == NULL) return;
    disk_stop(disk);
    memory_disk_free(disk->platter);
    disk->platter = NULL;
}
