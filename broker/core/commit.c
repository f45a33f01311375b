#include <stdlib.h>
#include <string.h>

#include "pids.h"
#include "sure.h"
#include "trace.h"

/* Not stored yet: beyond this, publishers to durable topics wait. Records besides. */
#define WAITING_BYTES_MAX (64u * 1024 * 1024)
#define KEPT_BYTES_MAX (64u * 1024 * 1024)
#define BLOCK_CAP_FIRST 4096u
/* What nobody waits for joins a commit that is made anyway, or makes one after this. */
#define LAZY_MS 50u
/* After a failed commit the next one is not tried before. */
#define RETRY_MS 100u
#define FAILING_MS 5000u /* so long is a failure worth to be told */

/* A change of a record, or a trim. */
struct kept {
    struct list_node in_kept;  /* of its batch */
    struct hash_node in_index; /* of its batch, unless it is a trim */
    enum store_change_kind what;
    enum record_kind kind;
    struct stream *stream; /* of a trim */
    uint32_t key_len, value_len;
    uint8_t bytes[]; /* key, then value */
};

bool commit_has_many(const struct broker *broker)
{
    return broker->commit.kept_bytes > KEPT_BYTES_MAX;
}

bool commit_is_full(const struct broker *broker)
{
    return broker->commit.waiting_bytes > WAITING_BYTES_MAX || commit_has_many(broker);
}

void commit_due(struct broker *broker)
{
    broker->commit.is_due = true;
}

struct block *commit_new_block(struct stream *stream)
{
    struct batch *batch = &stream->broker->commit.gathering;
    struct block *block = sure_zeroed(sizeof *block);
    block->stream = stream;
    struct commit *commit = &stream->broker->commit;
    block->cap = commit->spare != NULL ? commit->spare_cap : BLOCK_CAP_FIRST;
    block->bytes = commit->spare != NULL ? commit->spare : sure_alloc(block->cap);
    commit->spare = NULL;
    if (batch->last_block != NULL) batch->last_block->next = block;
    else batch->blocks = block;
    batch->last_block = block;
    stream->open = block;
    return block;
}

/* ---- records ------------------------------------------------------------------------------------------------ */

static bool is_same_record(const struct hash_node *node, const void *key)
{
    const struct kept *kept = container_of(node, struct kept, in_index), *wanted = key;
    return kept->kind == wanted->kind && kept->key_len == wanted->key_len &&
           memcmp(kept->bytes, wanted->bytes, kept->key_len) == 0;
}

static struct kept *find_kept(const struct batch *batch, const struct kept *kept)
{
    struct hash_node *node = hash_find(&batch->kept_index, kept->in_index.hash, is_same_record, kept);
    return node != NULL ? container_of(node, struct kept, in_index) : NULL;
}

static uint64_t cost(const struct kept *kept)
{
    return sizeof *kept + kept->key_len + kept->value_len;
}

static void free_kept(struct broker *broker, struct batch *batch, struct kept *kept)
{
    if (kept->what != STORE_TRIM) hash_remove(&batch->kept_index, &kept->in_index);
    list_remove(&batch->kept, &kept->in_kept);
    broker->commit.kept_bytes -= cost(kept);
    free(kept);
}

static void free_all_kept(struct broker *broker, struct batch *batch)
{
    while (batch->kept.first != NULL) free_kept(broker, batch, container_of(batch->kept.first, struct kept, in_kept));
}

/* It goes behind `before`; NULL: to the front. */
static void insert_kept(struct batch *batch, struct list_node *before, struct kept *kept)
{
    list_insert(&batch->kept, before, &kept->in_kept);
    if (kept->what != STORE_TRIM) hash_add(&batch->kept_index, &kept->in_index, kept->in_index.hash);
}

/* What the record was to be before does not matter any more: the batch is all or nothing. */
static void add_kept(struct broker *broker, struct kept *kept)
{
    struct batch *batch = &broker->commit.gathering;
    kept->in_index.hash = hash_bytes(broker->seed + kept->kind, kept->bytes, kept->key_len);
    struct kept *before = kept->what != STORE_TRIM ? find_kept(batch, kept) : NULL;
    if (before != NULL) free_kept(broker, batch, before);
    insert_kept(batch, batch->kept.last, kept);
    broker->commit.kept_bytes += cost(kept);
}

static struct kept *begin_kept(struct kept *kept, enum store_change_kind what, enum record_kind kind, mps_view key,
                               mps_view value)
{
    *kept = (struct kept){0};
    kept->what = what;
    kept->kind = kind;
    kept->key_len = key.len;
    kept->value_len = value.len;
    if (key.len > 0) memcpy(kept->bytes, key.ptr, key.len);
    if (value.len > 0) memcpy(kept->bytes + key.len, value.ptr, value.len);
    return kept;
}

static struct kept *new_kept(enum store_change_kind what, enum record_kind kind, mps_view key, mps_view value)
{
    struct kept *kept = sure_alloc(sizeof *kept + key.len + value.len); /* bounded by what sessions may have */
    return begin_kept(kept, what, kind, key, value);
}

struct kept *keep_prepare(enum record_kind kind, mps_view key, mps_view value)
{
    struct kept *kept = sure_if_small(sizeof *kept + key.len + value.len);
    return kept != NULL ? begin_kept(kept, STORE_PUT, kind, key, value) : NULL;
}

void keep_prepared(struct broker *broker, struct kept *take_kept)
{
    add_kept(broker, take_kept);
    commit_due(broker);
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
    for (const struct list_node *node = batch->kept.first; node != NULL; node = node->next) count++;
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
    struct store_change *changes =
        sure_alloc((count > 0 ? count : 1) * sizeof *changes); /* small beside what it speaks of */
    for (const struct block *b = batch->blocks; b != NULL; b = b->next) changes[n++] = change_of_block(b);
    for (const struct list_node *node = batch->kept.first; node != NULL; node = node->next)
        changes[n++] = change_of_kept(container_of(node, struct kept, in_kept));
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
    cursors_keep_due(broker);
    bool is_due = commit->is_due || broker->now_ms >= commit->lazy_ms;
    if (!is_due) return least(commit->lazy_ms, timer_next_ms(&commit->keepings));
    if (broker->now_ms < commit->retry_ms) return commit->retry_ms;
    begin(broker);
    return UINT64_MAX;
}

bool broker_store_idle(const struct broker *broker)
{
    const struct commit *commit = &broker->commit;
    return commit->store == NULL ||
           (!commit->is_running && !commit->is_due && commit->lazy_ms == UINT64_MAX && commit->keepings.count == 0);
}

bool broker_store_is_failing(const struct broker *broker)
{
    const struct commit *commit = &broker->commit;
    return commit->is_failing && broker->env->now_ms(broker->env) < commit->retry_ms + FAILING_MS;
}

/* ---- end ---------------------------------------------------------------------------------------------------- */

static void account_gone(struct block *block)
{
    struct stream *stream = block->stream;
    stream->waiting_msgs -= block->count;
    stream->waiting_bytes -= block->len;
    stream->broker->commit.waiting_bytes -= block->len;
}

static void take_stored(struct broker *broker, struct batch *batch)
{
    for (struct block *block = batch->blocks, *next; block != NULL; block = next) {
        next = block->next;
        struct stream *stream = block->stream;
        account_gone(block);
        struct store_block stored = change_of_block(block).block;
        stream_note_block(stream, &stored, (int64_t)broker->now_ms, block->came_ms);
        chunk_of_block(block);
        free(block);
        if (!stream->refuses) stream_retain(stream);
        cursors_wake_tail(stream);
    }
    free_all_kept(broker, batch);
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
    if (count == 0) return;
    stream->next -= by;
    for (struct block *b = broker->commit.gathering.blocks; b != NULL; b = b->next)
        if (b->stream == stream) b->first -= by;
    acks_renumber(broker, stream, broker->commit.gathering.number, by);
    cursors_renumber(stream, first, count, lost);
    if (broker->tracing != NULL) trace_renumber(stream, first, count, lost);
}

/* It is to be something else by now. What publishers were refused is not noted as theirs. */
static bool is_superseded(const struct batch *gathering, const struct kept *kept)
{
    if (kept->what == STORE_TRIM) return false;
    return (kept->kind == RECORD_PUBLISHER && kept->what == STORE_PUT) || find_kept(gathering, kept) != NULL;
}

/* Records are tried again, before those that came since. */
static void try_kept_again(struct broker *broker, struct batch *failed)
{
    struct commit *commit = &broker->commit;
    while (failed->kept.last != NULL) {
        struct kept *kept = container_of(failed->kept.last, struct kept, in_kept);
        if (is_superseded(&commit->gathering, kept)) {
            free_kept(broker, failed, kept);
            continue;
        }
        if (kept->what != STORE_TRIM) hash_remove(&failed->kept_index, &kept->in_index);
        list_remove(&failed->kept, &kept->in_kept);
        insert_kept(&commit->gathering, NULL, kept);
        commit->is_due = true;
    }
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
    try_kept_again(broker, batch);
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
        log_say(broker, code == STORE_OK ? EVENT_STORE_RECOVERED : EVENT_STORE_FAILED, NULL,
                code == STORE_OK ? "storing goes on" : "messages can't be stored: %s", text);
    }
    acks_settle(broker, batch.number, code, text);
    hold_wake_all(&broker->store_box);
}

static void free_batch(struct broker *broker, struct batch *batch)
{
    for (struct block *block = batch->blocks, *next; block != NULL; block = next) {
        next = block->next;
        free(block->bytes);
        free(block);
    }
    free_all_kept(broker, batch);
    free(batch->asked.changes);
}

void commit_free(struct broker *broker)
{
    free_batch(broker, &broker->commit.gathering);
    free_batch(broker, &broker->commit.running);
    heap_free(&broker->commit.keepings);
    free(broker->commit.spare);
}
