#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "batch.h"
#include "memory_parts.h"

struct reads {
    struct store_read *first, *last;
    uint32_t count;
};

struct memory_store {
    struct store store;
    struct memory_disk *disk;
    bool hold_commits, hold_reads;
    enum store_code fail_code; /* of the next fail_commits */
    uint32_t fail_commits, fail_reads;

    const struct store_batch *batch; /* begun, not told yet */
    bool finished;                   /* and its outcome is this */
    enum store_code code;
    uint64_t last_number;          /* of the last batch; 0: none yet */
    struct store_batch *uncertain; /* our copy of the one that failed last, while a crash may bring it back */
    struct reads held, done;
};

static struct memory_store *of(struct store *store)
{
    return (struct memory_store *)(void *)store;
}
static const struct memory_store *of_const(const struct store *store)
{
    return (const struct memory_store *)(const void *)store;
}

/* ---- commits ------------------------------------------------------------------------------------------------ */

static void forget_uncertain(struct memory_store *memory)
{
    struct store_batch *batch = memory->uncertain;
    if (batch == NULL) return;
    for (uint32_t i = 0; i < batch->count; i++) {
        free((uint8_t *)batch->changes[i].block.bytes);
        free((uint8_t *)batch->changes[i].key.ptr);
        free((uint8_t *)batch->changes[i].value.ptr);
    }
    free(batch->changes);
    free(batch);
    memory->uncertain = NULL;
}

static struct store_batch *copy_batch(const struct store_batch *batch)
{
    struct store_batch *copy = malloc(sizeof *copy);
    struct store_change *changes = calloc(batch->count + 1u, sizeof *changes);
    if (copy == NULL || changes == NULL) abort();
    *copy = (struct store_batch){.number = batch->number, .changes = changes, .count = batch->count};
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct store_change *from = &batch->changes[i];
        changes[i] = *from;
        changes[i].block.bytes = NULL;
        if (from->what == STORE_APPEND)
            changes[i].block.bytes = copy_of((mps_view){from->block.bytes, from->block.len}).ptr;
        bool record = from->what == STORE_PUT || from->what == STORE_REMOVE;
        changes[i].key = record ? copy_of(from->key) : (mps_view){0};
        changes[i].value = from->what == STORE_PUT ? copy_of(from->value) : (mps_view){0};
    }
    return copy;
}

static void finish_commit(struct memory_store *memory)
{
    forget_uncertain(memory);
    memory->finished = true;
    memory->code = STORE_OK;
    if (memory->fail_commits > 0) {
        memory->fail_commits--;
        memory->code = memory->fail_code;
        if (memory->code == STORE_FAILED) memory->uncertain = copy_batch(memory->batch);
        return;
    }
    disk_apply(memory->disk, memory->batch);
}

static void commit(struct store *store, const struct store_batch *batch)
{
    struct memory_store *memory = of(store);
    assert(memory->batch == NULL);
    assert(memory->last_number == 0 || batch->number == memory->last_number + 1);
    batch_assert(batch);
    memory->batch = batch;
    memory->last_number = batch->number;
    memory->finished = false;
    if (!memory->hold_commits) finish_commit(memory);
}

/* ---- reads -------------------------------------------------------------------------------------------------- */

static void add(struct reads *list, struct store_read *read)
{
    read->next = NULL;
    if (list->last != NULL) list->last->next = read;
    else list->first = read;
    list->last = read;
    list->count++;
}

static struct store_read *take(struct reads *list, uint32_t index)
{
    struct store_read *before = NULL, *read = list->first;
    for (; index > 0; index--) {
        before = read;
        read = read->next;
    }
    if (before != NULL) before->next = read->next;
    else list->first = read->next;
    if (list->last == read) list->last = before;
    list->count--;
    read->next = NULL;
    return read;
}

static void free_reads(struct reads *list)
{
    while (list->count > 0) {
        struct store_read *read = take(list, 0);
        free(read->bytes);
        free(read);
    }
}

static void finish_read(struct memory_store *memory, struct store_read *read)
{
    if (memory->fail_reads > 0) {
        memory->fail_reads--;
        read->code = STORE_FAILED;
        snprintf(read->text, sizeof read->text, "the store can't be read: the test says so");
    } else {
        disk_read(memory->disk, read);
    }
    add(&memory->done, read);
}

static void begin_read(struct store *store, struct store_read *read)
{
    struct memory_store *memory = of(store);
    store_read_begin(read);
    if (memory->hold_reads) add(&memory->held, read);
    else finish_read(memory, read);
}

/* ---- the rest of the table ---------------------------------------------------------------------------------- */

static int load(struct store *store, const struct store_visitor *visitor, char text[STORE_TEXT_MAX])
{
    text[0] = '\0';
    disk_load(of(store)->disk, visitor);
    return 0;
}

static const char *sentence(enum store_code code)
{
    switch (code) {
    case STORE_OK: return "";
    case STORE_FULL: return "the disk is full: the test says so";
    case STORE_FAILED: return "the disk failed: the test says so";
    }
    return "";
}

static void poll_store(struct store *store)
{
    struct memory_store *memory = of(store);
    /* Only what is done by now: what the events begin is told by the next poll(). */
    struct reads done = memory->done;
    memory->done = (struct reads){0};
    if (memory->batch != NULL && memory->finished) {
        const struct store_batch *batch = memory->batch;
        memory->batch = NULL;
        store->events.committed(store->events.arg, batch, memory->code, sentence(memory->code));
    }
    while (done.count > 0) store->events.read_done(store->events.arg, take(&done, 0));
}

static void dispose(struct memory_store *memory)
{
    forget_uncertain(memory);
    free_reads(&memory->held);
    free_reads(&memory->done);
    memory->disk->open = false;
    free(memory);
}

static void close_store(struct store *store)
{
    struct memory_store *memory = of(store);
    if (memory->batch != NULL && !memory->finished) finish_commit(memory);
    dispose(memory);
}

struct store *memory_store_open(struct memory_disk *disk)
{
    assert(!disk->open);
    struct memory_store *memory = calloc(1, sizeof *memory);
    if (memory == NULL) abort();
    memory->store.load = load;
    memory->store.commit = commit;
    memory->store.read = begin_read;
    memory->store.poll = poll_store;
    memory->store.close = close_store;
    memory->disk = disk;
    disk->open = true;
    return &memory->store;
}

/* ---- the test's side ---------------------------------------------------------------------------------------- */

void memory_store_hold(struct store *store, bool commits, bool reads)
{
    of(store)->hold_commits = commits;
    of(store)->hold_reads = reads;
}

bool memory_store_committing(const struct store *store)
{
    return of_const(store)->batch != NULL && !of_const(store)->finished;
}

bool memory_store_finish_commit(struct store *store)
{
    if (!memory_store_committing(store)) return false;
    finish_commit(of(store));
    return true;
}

uint32_t memory_store_reading(const struct store *store)
{
    return of_const(store)->held.count;
}

bool memory_store_finish_read(struct store *store, uint32_t index)
{
    struct memory_store *memory = of(store);
    if (index >= memory->held.count) return false;
    finish_read(memory, take(&memory->held, index));
    return true;
}

bool memory_store_ready(const struct store *store)
{
    const struct memory_store *memory = of_const(store);
    return memory->done.count > 0 || (memory->batch != NULL && memory->finished);
}

void memory_store_fail_commits(struct store *store, enum store_code code, uint32_t count)
{
    assert(code != STORE_OK);
    of(store)->fail_code = code;
    of(store)->fail_commits = count;
}

void memory_store_fail_reads(struct store *store, uint32_t count)
{
    of(store)->fail_reads = count;
}

void memory_store_crash(struct store *store, bool keep)
{
    struct memory_store *memory = of(store);
    if (keep && memory_store_committing(store)) disk_apply(memory->disk, memory->batch);
    else if (keep && memory->uncertain != NULL) disk_apply(memory->disk, memory->uncertain);
    dispose(memory);
}
