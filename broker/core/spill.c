/* What queues of policy `spill` put outside of memory: records of frames one behind the other, in pages of an area that
 * the environment has, each page belonging to one queue. First in, first out. */
#include "spill.h"
#include "mailbox.h"
#include "sure.h"
#include "trace.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_BYTES (64u * 1024)
/* A record holds about so much: what is fetched at a time. */
#define RECORD_BYTES (128u * 1024)

/* What stands before the frames of a record. Only this broker reads it again. */
struct record {
    uint32_t len, count, longest, shortest; /* len 0: a gap of .count messages */
    uint32_t arrived_ms, reason;
    uint64_t expires_ms, place;
    uint64_t is_traced; /* as run.is_traced */
};

struct spill {
    uint32_t *pages;            /* a ring, oldest first */
    uint32_t cap, head, count;  /* cap: a power of two */
    uint32_t read_at, write_at; /* in the first and in the last page */
    uint64_t msgs, bytes;       /* in records */
    uint64_t gaps;              /* messages of the gaps in records */
    uint64_t lost;              /* behind them all */
    enum mps_gap_reason lost_reason;
};

uint64_t mailbox_spilled(const struct mailbox *box)
{
    return box->spill != NULL ? box->spill->msgs : 0;
}

/* ---- pages -------------------------------------------------------------------------------------------------- */

static uint32_t *page_at(const struct spill *spill, uint32_t i)
{
    return &spill->pages[(spill->head + i) & (spill->cap - 1)];
}

static uint64_t pages_left(const struct broker *broker)
{
    uint64_t all = broker->env->area_write != NULL ? broker->limits.spill_bytes / PAGE_BYTES : 0;
    return all - broker->area.used;
}

static void add_page(struct broker *broker, struct spill *spill)
{
    struct area *area = &broker->area;
    if (spill->count == spill->cap) {
        uint32_t cap = spill->cap > 0 ? 2 * spill->cap : 4, *pages = sure_alloc(cap * sizeof *pages);
        for (uint32_t i = 0; i < spill->count; i++) pages[i] = *page_at(spill, i);
        free(spill->pages);
        spill->pages = pages;
        spill->cap = cap;
        spill->head = 0;
    }
    *page_at(spill, spill->count++) = area->free_count > 0 ? area->free[--area->free_count] : area->fresh++;
    area->used++;
}

static void free_page(struct broker *broker, uint32_t page)
{
    struct area *area = &broker->area;
    if (area->free_count == area->free_cap) {
        area->free_cap = area->free_cap > 0 ? 2 * area->free_cap : 64;
        area->free = sure_grown(area->free, area->free_cap * sizeof area->free[0]); /* 4 bytes for 64 KiB of the area */
    }
    area->free[area->free_count++] = page;
    area->used--;
}

static void drop_first_page(struct broker *broker, struct spill *spill)
{
    free_page(broker, *page_at(spill, 0));
    spill->head++;
    spill->count--;
}

static bool write_bytes(struct broker *broker, struct spill *spill, const uint8_t *bytes, uint32_t len)
{
    struct env *env = broker->env;
    while (len > 0) {
        if (spill->count == 0 || spill->write_at == PAGE_BYTES) {
            add_page(broker, spill);
            spill->write_at = 0;
        }
        uint32_t some = len < PAGE_BYTES - spill->write_at ? len : PAGE_BYTES - spill->write_at;
        uint64_t at = (uint64_t)*page_at(spill, spill->count - 1) * PAGE_BYTES + spill->write_at;
        if (env->area_write(env, at, bytes, some) != 0) return false;
        spill->write_at += some;
        bytes += some;
        len -= some;
    }
    return true;
}

static bool read_bytes(struct broker *broker, struct spill *spill, uint8_t *bytes, uint32_t len)
{
    struct env *env = broker->env;
    while (len > 0) {
        if (spill->read_at == PAGE_BYTES) {
            drop_first_page(broker, spill);
            spill->read_at = 0;
        }
        uint32_t some = len < PAGE_BYTES - spill->read_at ? len : PAGE_BYTES - spill->read_at;
        uint64_t at = (uint64_t)*page_at(spill, 0) * PAGE_BYTES + spill->read_at;
        if (env->area_read(env, at, bytes, some) != 0) return false;
        spill->read_at += some;
        bytes += some;
        len -= some;
    }
    return true;
}

/* ---- records ------------------------------------------------------------------------------------------------ */

/* All of it, or nothing. */
static bool write_record(struct broker *broker, struct spill *spill, const struct record *record, const uint8_t *bytes)
{
    uint64_t needed = sizeof *record + record->len, have = spill->count > 0 ? PAGE_BYTES - spill->write_at : 0;
    if (needed > have && (needed - have + PAGE_BYTES - 1) / PAGE_BYTES > pages_left(broker)) return false;
    uint32_t count = spill->count, write_at = spill->write_at;
    if (write_bytes(broker, spill, (const uint8_t *)record, sizeof *record) &&
        write_bytes(broker, spill, bytes, record->len)) {
        if (record->len > 0) spill->msgs += record->count;
        spill->bytes += record->len;
        return true;
    }
    while (spill->count > count) free_page(broker, *page_at(spill, --spill->count));
    spill->write_at = write_at;
    return false;
}

static bool has_records(const struct spill *spill)
{
    return spill->count > 1 || (spill->count == 1 && spill->read_at < spill->write_at);
}

/* What was lost behind the last record stands before the next one. */
static bool write_loss(struct broker *broker, struct spill *spill)
{
    struct record gap = {.count = (uint32_t)(spill->lost < UINT32_MAX ? spill->lost : UINT32_MAX),
                         .reason = spill->lost_reason};
    if (spill->lost == 0) return true;
    if (!write_record(broker, spill, &gap, NULL)) return false;
    spill->lost -= gap.count;
    spill->gaps += gap.count;
    return spill->lost == 0;
}

static struct part first_of(struct run *run, struct part part)
{
    uint32_t count = part.count;
    if (part.len <= RECORD_BYTES) return part;
    run_frame_end(run, part.off, part.off + RECORD_BYTES - 1, &count);
    if (count >= part.count) return part;
    return (struct part){part.off, run_skip(run, part.off, count) - part.off, count};
}

void spill_free(struct mailbox *box)
{
    struct spill *spill = box->spill;
    if (spill == NULL) return;
    while (spill->count > 0) drop_first_page(box->broker, spill);
    free(spill->pages);
    free(spill);
    box->spill = NULL;
}

struct part spill_put(struct mailbox *box, struct run *run, struct part part)
{
    struct broker *broker = box->broker;
    if (box->spill == NULL) box->spill = sure_zeroed(sizeof *box->spill);
    while (part.count > 0 && write_loss(broker, box->spill)) {
        struct part some = first_of(run, part);
        struct record record = {.len = some.len,
                                .count = some.count,
                                .longest = run->longest,
                                .shortest = run->shortest,
                                .arrived_ms = run->arrived_ms,
                                .expires_ms = run->expires_ms,
                                .place = run->place + some.off,
                                .is_traced = run->is_traced};
        if (!write_record(broker, box->spill, &record, run->bytes + some.off)) break;
        if (run->is_traced && broker->tracing != NULL) trace_spilled(box, run, some);
        part = (struct part){part.off + some.len, part.len - some.len, part.count - some.count};
    }
    if (!has_records(box->spill) && box->spill->lost == 0) spill_free(box);
    return part;
}

void spill_lose(struct mailbox *box, enum mps_gap_reason reason, uint64_t count)
{
    struct spill *spill = box->spill;
    if (spill == NULL) mailbox_lose_here(box, reason, count);
    if (spill == NULL || count == 0) return;
    if (box->broker->tracing != NULL) trace_lost_here(box, reason);
    spill->lost += count;
    spill->lost_reason = reason;
    mailbox_count_lost(box, count);
}

/* ---- back into the queue ------------------------------------------------------------------------------------ */

void spill_move(struct mailbox *from, struct mailbox *to)
{
    struct spill *spill = from->spill;
    if (spill == NULL) return;
    to->spill = spill;
    from->spill = NULL;
    to->matched += spill->msgs + spill->gaps + spill->lost;
    to->lost += spill->gaps + spill->lost;
}

/* It can't be read again: what it held is lost, and that is told. */
static void give_up(struct mailbox *box)
{
    struct spill *spill = box->spill;
    mailbox_lose_here(box, MPS_GAP_DAMAGED, spill->msgs);
    if (spill->lost + spill->gaps > 0)
        queue_push_gap(&box->queue, MPS_GAP_DROP_NEW, spill->lost + spill->gaps); /* counted when they were lost */
    log_say(box->broker, EVENT_SPILL_FAILED, LOG_FIELDS(log_number("lost", spill->msgs)),
            "the area for what queues spill can't be read: %llu messages are lost", (unsigned long long)spill->msgs);
    spill_free(box);
}

static bool fetch(struct mailbox *box)
{
    struct broker *broker = box->broker;
    struct spill *spill = box->spill;
    struct record record;
    if (!read_bytes(broker, spill, (uint8_t *)&record, sizeof record)) return false;
    if (record.len == 0) {
        queue_push_gap(&box->queue, (enum mps_gap_reason)record.reason, record.count);
        spill->gaps -= record.count;
        return true;
    }
    uint8_t *bytes = malloc(record.len);
    if (bytes == NULL || !read_bytes(broker, spill, bytes, record.len)) {
        free(bytes);
        return false;
    }
    struct run *run = run_of_bytes(&broker->runs, bytes, record.len, record.count);
    run->longest = record.longest;
    run->shortest = record.shortest;
    run->arrived_ms = record.arrived_ms;
    run->expires_ms = record.expires_ms;
    run->place = record.place;
    run->is_traced = record.is_traced & 1u;
    if (run->is_traced && broker->tracing != NULL) trace_fetched(box, run);
    spill->msgs -= record.count;
    spill->bytes -= record.len;
    mailbox_requeue(box, run, (struct part){0, record.len, record.count});
    mailbox_note_expiry(box, run);
    run_unref(&broker->runs, run);
    return true;
}

void spill_refill(struct mailbox *box)
{
    struct spill *spill = box->spill;
    while (has_records(spill) && box->queue.msgs <= box->max_msgs / 2 && box->queue.bytes <= box->max_bytes / 2) {
        if (fetch(box)) continue;
        give_up(box);
        return;
    }
    if (has_records(spill)) return;
    if (spill->lost > 0) queue_push_gap(&box->queue, spill->lost_reason, spill->lost);
    spill_free(box);
}
