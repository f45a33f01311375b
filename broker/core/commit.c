#include <stdlib.h>
#include <string.h>

#include "pids.h"

/* Not stored yet: beyond this, publishers to durable topics wait. */
#define WAITING_BYTES_MAX (64u * 1024 * 1024)
#define BLOCK_CAP_FIRST 4096u
/* What nobody waits for joins a commit that is made anyway, or makes one after this. */
#define LAZY_MS 50u
/* After a failed commit the next one is not tried before. */
#define RETRY_MS 100u

/* A change of a record, or a trim. */
struct kept {
    struct kept *next;
    enum store_change_kind what;
    enum record_kind kind;
    struct stream *stream; /* of a trim */
    uint32_t key_len, value_len;
    uint8_t bytes[]; /* key, then value */
};

bool commit_is_full(const struct broker *broker)
{
    return broker->commit.waiting_bytes > WAITING_BYTES_MAX;
}

void commit_due(struct broker *broker)
{
    broker->commit.is_due = true;
}

struct block *commit_new_block(struct stream *stream)
{
    struct batch *batch = &stream->broker->commit.gathering;
    struct block *block = calloc(1, sizeof *block);
    if (block == NULL) abort(); /* small */
    block->stream = stream;
    block->cap = BLOCK_CAP_FIRST;
    block->bytes = malloc(block->cap);
    if (block->bytes == NULL) abort();
    if (batch->last_block != NULL) batch->last_block->next = block;
    else batch->blocks = block;
    batch->last_block = block;
    stream->open = block;
    return block;
}

static void add_kept(struct broker *broker, struct kept *kept)
{
    struct batch *batch = &broker->commit.gathering;
    if (batch->last_kept != NULL) batch->last_kept->next = kept;
    else batch->kept = kept;
    batch->last_kept = kept;
}

static struct kept *new_kept(enum store_change_kind what, enum record_kind kind, mps_view key, mps_view value)
{
    struct kept *kept = calloc(1, sizeof *kept + key.len + value.len);
    if (kept == NULL) abort(); /* bounded by what sessions may have */
    kept->what = what;
    kept->kind = kind;
    kept->key_len = key.len;
    kept->value_len = value.len;
    if (key.len > 0) memcpy(kept->bytes, key.ptr, key.len);
    if (value.len > 0) memcpy(kept->bytes + key.len, value.ptr, value.len);
    return kept;
}

void commit_lazily(struct broker *broker)
{
    if (broker->commit.lazy_ms == UINT64_MAX) broker->commit.lazy_ms = broker->now_ms + LAZY_MS;
}

void keep_put_lazily(struct broker *broker, enum record_kind kind, mps_view key, mps_view value)
{
    if (broker->commit.store == NULL) return;
    add_kept(broker, new_kept(STORE_PUT, kind, key, value));
    commit_lazily(broker);
}

void keep_put(struct broker *broker, enum record_kind kind, mps_view key, mps_view value)
{
    keep_put_lazily(broker, kind, key, value);
    commit_due(broker);
}

void keep_remove(struct broker *broker, enum record_kind kind, mps_view key)
{
    if (broker->commit.store == NULL) return;
    add_kept(broker, new_kept(STORE_REMOVE, kind, key, (mps_view){NULL, 0}));
    commit_due(broker);
}

void commit_trim(struct stream *stream)
{
    struct broker *broker = stream->broker;
    struct kept *kept = new_kept(STORE_TRIM, RECORD_STREAM, (mps_view){NULL, 0}, (mps_view){NULL, 0});
    kept->stream = stream;
    add_kept(broker, kept);
    stream_keep(stream);
}

/* ---- begin -------------------------------------------------------------------------------------------------- */

static uint32_t changes_count(const struct batch *batch)
{
    uint32_t count = 0;
    for (const struct block *b = batch->blocks; b != NULL; b = b->next) count++;
    for (const struct kept *k = batch->kept; k != NULL; k = k->next) count++;
    return count;
}

static struct store_change change_of_block(const struct block *block)
{
    return (struct store_change){.what = STORE_APPEND,
                                 .block = {.stream = block->stream->number,
                                           .count = block->count,
                                           .first = block->first,
                                           .time_ms = block->time_ms,
                                           .expires_ms = block->expires_ms,
                                           .bytes = block->bytes,
                                           .len = block->len}};
}

static struct store_change change_of_kept(const struct kept *kept)
{
    if (kept->what == STORE_TRIM)
        return (struct store_change){.what = STORE_TRIM,
                                     .block = {.stream = kept->stream->number, .first = kept->stream->trim_below}};
    return (struct store_change){.what = kept->what,
                                 .kind = kept->kind,
                                 .key = {kept->bytes, kept->key_len},
                                 .value = {kept->bytes + kept->key_len, kept->value_len}};
}

/* What the store is asked for. Blocks come before records: what a record says of a stream is true then. */
static void write_batch(struct batch *batch)
{
    uint32_t count = changes_count(batch), n = 0;
    struct store_change *changes = malloc((count > 0 ? count : 1) * sizeof *changes);
    if (changes == NULL) abort(); /* small beside what it speaks of */
    for (const struct block *b = batch->blocks; b != NULL; b = b->next) changes[n++] = change_of_block(b);
    for (const struct kept *k = batch->kept; k != NULL; k = k->next) changes[n++] = change_of_kept(k);
    batch->asked = (struct store_batch){.number = batch->number, .changes = changes, .count = count};
}

static void begin(struct broker *broker)
{
    struct commit *commit = &broker->commit;
    pids_keep_all(broker);
    for (struct list_node *node; (node = commit->keeping.first) != NULL;)
        cursor_keep(container_of(node, struct cursor, in_keeping));
    for (struct block *b = commit->gathering.blocks; b != NULL; b = b->next) b->stream->open = NULL;
    commit->running = commit->gathering;
    commit->gathering = (struct batch){.number = commit->running.number + 1};
    commit->is_running = true;
    commit->is_due = false;
    commit->lazy_ms = UINT64_MAX;
    write_batch(&commit->running);
    commit->store->commit(commit->store, &commit->running.asked);
}

uint64_t commit_turn(struct broker *broker)
{
    struct commit *commit = &broker->commit;
    if (commit->store == NULL || commit->is_running) return UINT64_MAX; /* its end leads to a turn */
    bool is_due = commit->is_due || broker->now_ms >= commit->lazy_ms;
    if (!is_due) return commit->lazy_ms;
    if (broker->now_ms < commit->retry_ms) return commit->retry_ms;
    begin(broker);
    return UINT64_MAX;
}

bool broker_store_idle(const struct broker *broker)
{
    const struct commit *commit = &broker->commit;
    return commit->store == NULL || (!commit->is_running && !commit->is_due && commit->lazy_ms == UINT64_MAX);
}

/* ---- end ---------------------------------------------------------------------------------------------------- */

static void account_gone(struct block *block)
{
    struct stream *stream = block->stream;
    stream->waiting_msgs -= block->count;
    stream->waiting_bytes -= block->len;
    stream->broker->commit.waiting_bytes -= block->len;
}

static void free_kept(struct batch *batch)
{
    for (struct kept *kept = batch->kept, *next; kept != NULL; kept = next) {
        next = kept->next;
        free(kept);
    }
    batch->kept = batch->last_kept = NULL;
}

static void take_stored(struct broker *broker, struct batch *batch)
{
    for (struct block *block = batch->blocks, *next; block != NULL; block = next) {
        next = block->next;
        struct stream *stream = block->stream;
        account_gone(block);
        struct store_block stored = change_of_block(block).block;
        stream_note_block(stream, &stored, (int64_t)broker->now_ms);
        chunk_of_block(block);
        free(block);
        if (!stream->refuses) stream_retain(stream);
        cursors_wake_tail(stream);
    }
    free_kept(batch);
}

/* What the stream's positions go down by: all of the failed batch but those whose publishers don't know that they are
 * not stored. These keep positions of their own, which nothing stands at: so readers are told of them. */
static void give_back_positions(struct broker *broker, struct stream *stream, struct batch *failed)
{
    uint64_t first = 0, count = 0, lost = 0;
    for (struct block *b = failed->blocks; b != NULL; b = b->next) {
        if (b->stream != stream) continue;
        if (count == 0) first = b->first;
        count += b->count;
        lost += b->unsure_count;
    }
    uint64_t by = count - lost;
    if (by == 0) return;
    stream->next -= by;
    for (struct block *b = broker->commit.gathering.blocks; b != NULL; b = b->next)
        if (b->stream == stream) b->first -= by;
    acks_renumber(broker, stream, broker->commit.gathering.number, by);
    cursors_renumber(stream, first, count, lost);
}

static bool is_superseded(const struct batch *batch, const struct kept *kept)
{
    if (kept->what == STORE_TRIM || kept->kind == RECORD_PUBLISHER) return kept->what != STORE_TRIM;
    for (const struct kept *k = batch->kept; k != NULL; k = k->next)
        if (k->kind == kept->kind && k->key_len == kept->key_len && k->what != STORE_TRIM &&
            memcmp(k->bytes, kept->bytes, k->key_len) == 0)
            return true;
    return false;
}

/* Records are tried again, before those that came since; what publishers were refused is not noted as theirs. */
static void try_kept_again(struct commit *commit, struct batch *failed)
{
    struct kept *first = NULL, *last = NULL;
    for (struct kept *kept = failed->kept, *next; kept != NULL; kept = next) {
        next = kept->next;
        kept->next = NULL;
        if (is_superseded(&commit->gathering, kept)) {
            free(kept);
            continue;
        }
        if (last != NULL) last->next = kept;
        else first = kept;
        last = kept;
    }
    failed->kept = failed->last_kept = NULL;
    if (first == NULL) return;
    last->next = commit->gathering.kept;
    commit->gathering.kept = first;
    if (commit->gathering.last_kept == NULL) commit->gathering.last_kept = last;
    commit->is_due = true;
}

static void take_failed(struct broker *broker, struct batch *batch)
{
    for (uint32_t i = 0; i < broker->streams_count; i++) give_back_positions(broker, broker->streams[i], batch);
    for (struct block *block = batch->blocks, *next; block != NULL; block = next) {
        next = block->next;
        account_gone(block);
        free(block->bytes);
        free(block);
    }
    try_kept_again(&broker->commit, batch);
    broker->commit.retry_ms = broker->now_ms + RETRY_MS;
}

void commit_done(void *arg, const struct store_batch *asked, enum store_code code, const char *text)
{
    struct broker *broker = arg;
    struct commit *commit = &broker->commit;
    struct batch batch = commit->running;
    (void)asked;
    free(batch.asked.changes);
    commit->running = (struct batch){0};
    commit->is_running = false;
    if (code == STORE_OK) take_stored(broker, &batch);
    else take_failed(broker, &batch);
    if ((code != STORE_OK) != commit->is_failing) {
        commit->is_failing = code != STORE_OK;
        log_peer(broker, code == STORE_OK ? LOG_INFO : LOG_ERROR,
                 code == STORE_OK ? "storing goes on" : "messages can't be stored: %s", text);
    }
    acks_settle(broker, batch.number, code, text);
    hold_wake_all(&broker->store_box);
}

static void free_batch(struct batch *batch)
{
    for (struct block *block = batch->blocks, *next; block != NULL; block = next) {
        next = block->next;
        free(block->bytes);
        free(block);
    }
    free_kept(batch);
    free(batch->asked.changes);
}

void commit_free(struct broker *broker)
{
    free_batch(&broker->commit.gathering);
    free_batch(&broker->commit.running);
}
