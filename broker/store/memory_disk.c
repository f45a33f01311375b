#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory_parts.h"

static void *room_for(void *array, uint32_t count, uint32_t *room, size_t size)
{
    if (count < *room) return array;
    *room = *room == 0 ? 8 : 2 * *room;
    array = realloc(array, *room * size);
    if (array == NULL) abort();
    return array;
}

mps_view copy_of(mps_view bytes)
{
    uint8_t *copy = malloc(bytes.len + 1u);
    if (copy == NULL) abort();
    if (bytes.len > 0) memcpy(copy, bytes.ptr, bytes.len);
    return (mps_view){copy, bytes.len};
}

static struct kept_stream *stream_of(struct memory_disk *disk, uint32_t stream)
{
    assert(stream >= STORE_STREAM_FIRST && stream - STORE_STREAM_FIRST < STORE_STREAMS_MAX);
    return &disk->streams[stream - STORE_STREAM_FIRST];
}

static uint64_t end_of(const struct store_block *block)
{
    return block->first + block->count;
}

/* ---- blocks ------------------------------------------------------------------------------------------------- */

/* Index of the first block that ends behind this position: it holds it, or there is none that does. */
static uint32_t block_at(const struct kept_stream *kept, uint64_t position)
{
    uint32_t low = 0, high = kept->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (end_of(&kept->blocks[middle].block) > position) high = middle;
        else low = middle + 1;
    }
    return low;
}

static void append(struct kept_stream *kept, const struct store_block *block)
{
    assert(kept->count == 0 || end_of(&kept->blocks[kept->count - 1].block) <= block->first);
    kept->blocks = room_for(kept->blocks, kept->count, &kept->room, sizeof *kept->blocks);
    struct kept_block *added = &kept->blocks[kept->count++];
    *added = (struct kept_block){.block = *block};
    added->block.bytes = copy_of((mps_view){block->bytes, block->len}).ptr;
}

static void trim(struct kept_stream *kept, uint64_t below)
{
    uint32_t gone = 0;
    while (gone < kept->count && end_of(&kept->blocks[gone].block) <= below) {
        free((uint8_t *)kept->blocks[gone].block.bytes);
        gone++;
    }
    if (gone == 0) return;
    kept->count -= gone;
    memmove(kept->blocks, kept->blocks + gone, kept->count * sizeof *kept->blocks);
}

/* ---- records ------------------------------------------------------------------------------------------------ */

static int compare(const struct kept_record *record, uint32_t kind, mps_view key)
{
    if (record->kind != kind) return record->kind < kind ? -1 : 1;
    uint32_t common = record->key.len < key.len ? record->key.len : key.len;
    int order = common == 0 ? 0 : memcmp(record->key.ptr, key.ptr, common);
    if (order != 0) return order;
    return record->key.len < key.len ? -1 : record->key.len > key.len;
}

/* Where the record is, or belongs. */
static uint32_t record_at(const struct memory_disk *disk, uint32_t kind, mps_view key, bool *found)
{
    uint32_t low = 0, high = disk->records_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (compare(&disk->records[middle], kind, key) < 0) low = middle + 1;
        else high = middle;
    }
    *found = low < disk->records_count && compare(&disk->records[low], kind, key) == 0;
    return low;
}

static void put(struct memory_disk *disk, uint32_t kind, mps_view key, mps_view value)
{
    bool found;
    uint32_t at = record_at(disk, kind, key, &found);
    if (found) {
        free((uint8_t *)disk->records[at].value.ptr);
    } else {
        disk->records = room_for(disk->records, disk->records_count, &disk->records_room, sizeof *disk->records);
        struct kept_record *record = &disk->records[at];
        memmove(record + 1, record, (disk->records_count - at) * sizeof *record);
        disk->records_count++;
        *record = (struct kept_record){.kind = kind, .key = copy_of(key)};
    }
    disk->records[at].value = copy_of(value);
    disk->records[at].damaged = false;
}

static void remove_record(struct memory_disk *disk, uint32_t kind, mps_view key)
{
    bool found;
    uint32_t at = record_at(disk, kind, key, &found);
    if (!found) return;
    struct kept_record *record = &disk->records[at];
    free((uint8_t *)record->key.ptr);
    free((uint8_t *)record->value.ptr);
    disk->records_count--;
    memmove(record, record + 1, (disk->records_count - at) * sizeof *record);
}

void disk_apply(struct memory_disk *disk, const struct store_batch *batch)
{
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct store_change *change = &batch->changes[i];
        switch (change->what) {
        case STORE_APPEND: append(stream_of(disk, change->block.stream), &change->block); break;
        case STORE_TRIM: trim(stream_of(disk, change->block.stream), change->block.first); break;
        case STORE_PUT: put(disk, change->kind, change->key, change->value); break;
        case STORE_REMOVE: remove_record(disk, change->kind, change->key); break;
        }
    }
}

/* ---- reading ------------------------------------------------------------------------------------------------ */

static void pass_over(struct store_read *read, const struct store_block *block)
{
    if (read->damaged_first == 0) read->damaged_first = block->first < read->from ? read->from : block->first;
    read->damaged_last = end_of(block) <= read->end ? end_of(block) - 1 : read->end - 1;
}

static bool follows(const struct store_block *block, const struct kept_block *next)
{
    return !next->damaged && next->block.first == end_of(block) && next->block.time_ms >= block->time_ms &&
           next->block.time_ms - block->time_ms < STORE_MERGE_MS;
}

static uint64_t sooner(uint64_t a_ms, uint64_t b_ms) /* 0: never */
{
    if (a_ms == 0 || b_ms == 0) return a_ms + b_ms;
    return a_ms < b_ms ? a_ms : b_ms;
}

void disk_read(const struct memory_disk *disk, struct store_read *read)
{
    const struct kept_stream *kept = stream_of((struct memory_disk *)disk, read->stream);
    uint32_t at = block_at(kept, read->from);
    read->code = STORE_OK;
    if (read->from >= read->end) return;
    for (; at < kept->count && kept->blocks[at].block.first < read->end; at++) {
        if (!kept->blocks[at].damaged) break;
        pass_over(read, &kept->blocks[at].block);
    }
    if (at == kept->count || kept->blocks[at].block.first >= read->end) return;

    struct store_block *all = &read->block;
    *all = kept->blocks[at].block;
    uint32_t most = all->len > read->bytes_most ? all->len : read->bytes_most;
    uint32_t behind = at + 1;
    for (; behind < kept->count && follows(all, &kept->blocks[behind]); behind++) {
        const struct store_block *next = &kept->blocks[behind].block;
        if (next->first >= read->end || next->len > most - all->len) break;
        all->count += next->count;
        all->len += next->len;
        all->expires_ms = sooner(all->expires_ms, next->expires_ms);
    }
    read->bytes = malloc(all->len);
    if (read->bytes == NULL) abort();
    uint32_t len = 0;
    for (uint32_t i = at; i < behind; i++) {
        memcpy(read->bytes + len, kept->blocks[i].block.bytes, kept->blocks[i].block.len);
        len += kept->blocks[i].block.len;
    }
    all->bytes = read->bytes;
}

static void load_block(const struct kept_block *kept, const struct store_visitor *visitor)
{
    struct store_block block = kept->block;
    block.bytes = NULL;
    if (!kept->head_damaged) {
        visitor->block(visitor->arg, &block);
        return;
    }
    char text[STORE_TEXT_MAX];
    snprintf(text, sizeof text, "stream %" PRIu32 ": the messages from position %" PRIu64 " to %" PRIu64 " are damaged",
             block.stream, block.first, end_of(&block) - 1);
    visitor->damaged(visitor->arg, text);
}

void disk_load(const struct memory_disk *disk, const struct store_visitor *visitor)
{
    for (uint32_t i = 0; i < disk->records_count; i++) {
        const struct kept_record *record = &disk->records[i];
        if (!record->damaged) {
            visitor->record(visitor->arg, record->kind, record->key, record->value);
            continue;
        }
        char text[STORE_TEXT_MAX];
        snprintf(text, sizeof text, "a record of kind %" PRIu32 " is damaged", record->kind);
        visitor->damaged(visitor->arg, text);
    }
    for (uint32_t s = 0; s < STORE_STREAMS_MAX; s++)
        for (uint32_t i = 0; i < disk->streams[s].count; i++) load_block(&disk->streams[s].blocks[i], visitor);
}

/* ---- the test's side ---------------------------------------------------------------------------------------- */

struct memory_disk *memory_disk_new(void)
{
    struct memory_disk *disk = calloc(1, sizeof *disk);
    if (disk == NULL) abort();
    return disk;
}

void memory_disk_free(struct memory_disk *disk)
{
    assert(!disk->open);
    for (uint32_t s = 0; s < STORE_STREAMS_MAX; s++) {
        trim(&disk->streams[s], UINT64_MAX);
        free(disk->streams[s].blocks);
    }
    for (uint32_t i = 0; i < disk->records_count; i++) {
        free((uint8_t *)disk->records[i].key.ptr);
        free((uint8_t *)disk->records[i].value.ptr);
    }
    free(disk->records);
    free(disk);
}

bool memory_disk_damage(struct memory_disk *disk, uint32_t stream, uint64_t position, bool head)
{
    struct kept_stream *kept = stream_of(disk, stream);
    uint32_t at = block_at(kept, position);
    if (at == kept->count || kept->blocks[at].block.first > position) return false;
    kept->blocks[at].damaged = true;
    kept->blocks[at].head_damaged |= head;
    return true;
}

bool memory_disk_damage_record(struct memory_disk *disk, uint32_t kind, mps_view key)
{
    bool found;
    uint32_t at = record_at(disk, kind, key, &found);
    if (found) disk->records[at].damaged = true;
    return found;
}

uint64_t memory_disk_bytes(const struct memory_disk *disk, uint32_t stream)
{
    const struct kept_stream *kept = stream_of((struct memory_disk *)disk, stream);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < kept->count; i++) bytes += kept->blocks[i].block.len;
    return bytes;
}

uint32_t memory_disk_blocks(const struct memory_disk *disk, uint32_t stream)
{
    return stream_of((struct memory_disk *)disk, stream)->count;
}

uint32_t memory_disk_records(const struct memory_disk *disk, uint32_t kind)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < disk->records_count; i++) count += kind == 0 || disk->records[i].kind == kind;
    return count;
}
