#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/shared.h"
#include "sure.h"

/* One read fetches about so much. */
#define READ_BYTES (256u * 1024)
/* Memory of all chunks, those in use besides. With more, a replay goes through memory that is new, or in no cache,
 * where it could use the same again and again: a third of its CPU time. */
#define CHUNKS_BYTES_MAX (8u * 1024 * 1024)
#define CHUNKS_A_STREAM 1024u
#define READ_RETRY_MS 1000u

static uint64_t cost(const struct chunk *chunk)
{
    return sizeof *chunk + sizeof(struct run) + chunk->run->len;
}

/* The first chunk of the stream that begins behind this position. */
static uint32_t place_behind(const struct stream *stream, uint64_t position)
{
    uint32_t low = 0, high = stream->chunks_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (stream->chunks[middle]->first <= position) low = middle + 1;
        else high = middle;
    }
    return low;
}

static struct chunk *find(const struct stream *stream, uint64_t position)
{
    uint32_t place = place_behind(stream, position);
    struct chunk *chunk = place > 0 ? stream->chunks[place - 1] : NULL;
    return chunk != NULL && position < chunk->first + chunk->count ? chunk : NULL;
}

static void free_at(struct stream *stream, uint32_t place)
{
    struct broker *broker = stream->broker;
    struct chunk *chunk = stream->chunks[place];
    broker->chunks.bytes -= cost(chunk);
    list_remove(&broker->chunks.used, &chunk->in_used);
    memmove(stream->chunks + place, stream->chunks + place + 1,
            (--stream->chunks_count - place) * sizeof stream->chunks[0]);
    run_unref(&broker->runs, chunk->run);
    free(chunk);
}

static void make_room(struct broker *broker)
{
    while (broker->chunks.bytes > CHUNKS_BYTES_MAX) {
        struct chunk *chunk = container_of(broker->chunks.used.first, struct chunk, in_used);
        free_at(chunk->stream, place_behind(chunk->stream, chunk->first) - 1);
    }
}

/* Takes the bytes. What is there already is not there twice. */
static void add(struct stream *stream, const struct store_block *block, uint8_t *take_bytes)
{
    struct broker *broker = stream->broker;
    uint32_t place = place_behind(stream, block->first);
    if (find(stream, block->first) != NULL || block->first + block->count <= stream->first) {
        free(take_bytes);
        return;
    }
    while (place < stream->chunks_count && stream->chunks[place]->first < block->first + block->count)
        free_at(stream, place);
    struct chunk *chunk = sure_zeroed(sizeof *chunk);
    *chunk = (struct chunk){.stream = stream,
                            .run = run_of_stored(&broker->runs, take_bytes, block->len, block->count),
                            .first = block->first,
                            .count = block->count,
                            .time_ms = block->time_ms,
                            .expires_ms = block->expires_ms};
    if (stream->chunks_count == CHUNKS_A_STREAM) free_at(stream, place > 0 ? 0 : stream->chunks_count - 1);
    place = place_behind(stream, block->first);
    if (stream->chunks_count == stream->chunks_cap) {
        stream->chunks_cap = stream->chunks_cap > 0 ? 2 * stream->chunks_cap : 16;
        stream->chunks =
            sure_grown(stream->chunks, stream->chunks_cap * sizeof stream->chunks[0]); /* at most CHUNKS_A_STREAM */
    }
    memmove(stream->chunks + place + 1, stream->chunks + place,
            (stream->chunks_count++ - place) * sizeof stream->chunks[0]);
    stream->chunks[place] = chunk;
    broker->chunks.bytes += cost(chunk);
    list_append(&broker->chunks.used, &chunk->in_used);
    make_room(broker);
}

void chunk_of_bytes(struct stream *stream, const struct store_block *block, uint8_t *take_bytes)
{
    add(stream, block, take_bytes);
}

void chunk_of_block(struct block *block)
{
    struct store_block stored = {.first = block->first,
                                 .count = block->count,
                                 .time_ms = block->time_ms,
                                 .expires_ms = block->expires_ms,
                                 .len = block->len};
    uint8_t *bytes = realloc(block->bytes, block->len);
    add(block->stream, &stored, bytes != NULL ? bytes : block->bytes);
}

void chunks_forget(struct stream *stream)
{
    while (stream->chunks_count > 0) free_at(stream, 0);
    memset(stream->holes, 0, sizeof stream->holes);
    memset(stream->loads, 0, sizeof stream->loads);
}

void chunks_forget_below(struct stream *stream, uint64_t below)
{
    while (stream->chunks_count > 0 && stream->chunks[0]->first + stream->chunks[0]->count <= below) free_at(stream, 0);
}

/* ---- reading ------------------------------------------------------------------------------------------------ */

void chunk_note_hole(struct stream *stream, uint64_t from, uint64_t to)
{
    stream->holes[stream->next_hole++ % STREAM_HOLES] = (struct hole){from, to};
}

static uint64_t hole_end(const struct stream *stream, uint64_t position)
{
    for (int i = 0; i < STREAM_HOLES; i++)
        if (stream->holes[i].from <= position && position < stream->holes[i].to) return stream->holes[i].to;
    return 0;
}

static void load(struct stream *stream, uint64_t position)
{
    struct broker *broker = stream->broker;
    int place = -1;
    if (position >= stream->stored) return; /* a place that somebody else wrote down: it comes later, or never */
    for (int i = 0; i < STREAM_LOADS; i++) {
        if (stream->loads[i] == position) return;
        if (stream->loads[i] == 0) place = i;
    }
    if (place < 0) return; /* who waits is woken when any of these is done, and asks again */
    if (stream->is_shared) {
        if (shared_read(stream, position, READ_BYTES)) stream->loads[place] = position;
        return;
    }
    struct store_read *read = sure_zeroed(sizeof *read);
    *read = (struct store_read){
        .stream = stream->number, .from = position, .end = stream->stored, .bytes_most = READ_BYTES, .user = stream};
    stream->loads[place] = position;
    broker->commit.store->read(broker->commit.store, read);
}

struct chunk *chunk_at(struct stream *stream, uint64_t position, uint64_t *end)
{
    struct chunk *chunk = find(stream, position);
    *end = chunk == NULL ? hole_end(stream, position) : 0;
    if (chunk != NULL) {
        list_remove(&stream->broker->chunks.used, &chunk->in_used);
        list_append(&stream->broker->chunks.used, &chunk->in_used);
    } else if (*end == 0) {
        load(stream, position);
    }
    return chunk;
}

void chunk_prefetch(struct stream *stream, uint64_t position)
{
    if (position < stream->stored && find(stream, position) == NULL && hole_end(stream, position) == 0)
        load(stream, position);
}

static void log_damage(struct stream *stream, const struct store_read *read)
{
    char name[128];
    snprintf(name, sizeof name, "%s", printable(mps_text(stream->name)));
    if (stream->is_shared && read->code != STORE_OK && !stream->is_there) return; /* that was said */
    if (read->code != STORE_OK) {
        log_say(stream->broker, EVENT_STREAM_UNREADABLE,
                LOG_FIELDS(log_value("stream", mps_text(stream->name)), log_number("from", read->from)),
                "stream '%s' can't be read from position %llu on, trying again: %s", name,
                (unsigned long long)read->from, read->text);
    } else if (read->damaged_first > 0 && damage_note(stream, read->damaged_first, read->damaged_last) > 0) {
        log_say(stream->broker, EVENT_STREAM_DAMAGED,
                LOG_FIELDS(log_value("stream", mps_text(stream->name)), log_number("first", read->damaged_first),
                           log_number("last", read->damaged_last)),
                "stream '%s' is damaged: positions %llu to %llu don't fit their checksum", name,
                (unsigned long long)read->damaged_first, (unsigned long long)read->damaged_last);
    }
}

void chunk_retry_later(struct stream *stream)
{
    stream->load_retry_ms = stream->broker->now_ms + READ_RETRY_MS;
}

void chunk_read_done(void *arg, struct store_read *read)
{
    struct stream *stream = read->user;
    (void)arg;
    for (int i = 0; i < STREAM_LOADS; i++)
        if (stream->loads[i] == read->from) stream->loads[i] = 0;
    log_damage(stream, read);
    if (read->code != STORE_OK) {
        chunk_retry_later(stream);
    } else if (read->bytes == NULL) {
        chunk_note_hole(stream, read->from, read->end);
    } else {
        if (read->block.first > read->from) chunk_note_hole(stream, read->from, read->block.first);
        if (!stream->is_shared) {
            add(stream, &read->block, read->bytes);
        } else {
            shared_take_block(stream, &read->block, read->bytes);
            free(read->bytes);
        }
    }
    if (read->code == STORE_OK) cursors_wake(&stream->loading);
    free(read);
}

uint64_t chunk_retry_turn(struct broker *broker)
{
    uint64_t next_ms = UINT64_MAX;
    for (uint32_t i = 0; i < broker->streams_count; i++) {
        struct stream *stream = broker->streams[i];
        if (stream->load_retry_ms == 0) continue;
        if (stream->load_retry_ms <= broker->now_ms) {
            stream->load_retry_ms = 0;
            cursors_wake(&stream->loading);
        } else if (stream->load_retry_ms < next_ms) {
            next_ms = stream->load_retry_ms;
        }
    }
    return next_ms;
}

void chunks_free(struct broker *broker)
{
    for (uint32_t i = 0; i < broker->streams_count; i++)
        while (broker->streams[i]->chunks_count > 0) free_at(broker->streams[i], 0);
}
