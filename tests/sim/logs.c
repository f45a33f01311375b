#include "logs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

#define AGE_LAG_MS 1500   /* so long the broker may take to see that something is too old, */
#define COMMIT_LAG_MS 200 /* and to begin a commit after one that failed */

struct model_log *log_of_topic(struct model *model, const struct name *topic)
{
    for (uint32_t i = 0; i < model->logs_count; i++)
        for (uint32_t p = 0; p < model->logs[i].patterns_count; p++)
            if (name_matches(&model->logs[i].patterns[p], topic)) return &model->logs[i];
    return NULL;
}

struct model_log *log_by_number(struct model *model, uint64_t number)
{
    for (uint32_t i = 0; i < model->logs_count; i++)
        if (model->logs[i].number == number) return &model->logs[i];
    return NULL;
}

bool log_meets(const struct model_log *log, const struct name *pattern)
{
    for (uint32_t p = 0; p < log->patterns_count; p++)
        if (names_meet(&log->patterns[p], pattern)) return true;
    return false;
}

bool log_is_covered(const struct model_log *log, const struct name *pattern)
{
    for (uint32_t p = 0; p < log->patterns_count; p++)
        if (!name_covers(pattern, &log->patterns[p])) return false;
    return true;
}

/* ---- what stands where -------------------------------------------------------------------------------------- */

static void place(struct model_log *log, uint32_t entry, uint64_t position)
{
    while (log->at_cap <= position) {
        uint32_t cap = log->at_cap;
        GROW(log->at, log->at_cap, log->at_cap);
        memset(log->at + cap, 0, (log->at_cap - cap) * sizeof *log->at);
    }
    log->at[position] = entry + 1;
    log->entries[entry].position = position;
}

uint32_t log_at(const struct model_log *log, uint64_t position)
{
    if (position == 0 || position >= log->stored || position >= log->at_cap) return NO_ENTRY;
    return log->at[position] - 1; /* 0 - 1 is NO_ENTRY */
}

uint32_t log_from(const struct model_log *log, uint64_t position)
{
    uint32_t i = log->count;
    while (i > 0 && (log->entries[i - 1].state == ENTRY_GONE || log->entries[i - 1].position >= position)) i--;
    return i;
}

bool log_may_be_gone(const struct model_log *log, const struct log_entry *entry)
{
    return entry->state == ENTRY_STORED && entry->position < log->may_be_gone;
}

static uint32_t len_of(const struct model_log *log, uint32_t entry)
{
    return log->model->messages[log->entries[entry].message].len;
}

/* ---- what comes --------------------------------------------------------------------------------------------- */

bool log_is_full(const struct model_log *log, uint32_t len)
{
    return log->refuses && (log->stored_msgs + log->waiting_msgs + 1 > log->max_msgs ||
                            log->stored_bytes + log->waiting_bytes + len > log->max_bytes);
}

uint32_t log_append(struct model_log *log, uint32_t message, bool sure, uint64_t batch)
{
    const struct world *world = log->model->world;
    GROW(log->entries, log->count, log->cap);
    log->entries[log->count] = (struct log_entry){.message = message,
                                                  .state = ENTRY_WAITS,
                                                  .sure = sure,
                                                  .position = log->next++,
                                                  .came_ms = world->now_ms,
                                                  .aged_ms = (int64_t)world->now_ms,
                                                  .time_ms = world_wall_ms(world),
                                                  .batch = batch};
    log->waiting_msgs++;
    log->waiting_bytes += log->model->messages[message].len;
    return log->count++;
}

/* ---- commits ------------------------------------------------------------------------------------------------ */

static bool is_message(const struct model_log *log, uint32_t entry, mps_view frame)
{
    const struct message *message = &log->model->messages[log->entries[entry].message];
    return message->len == frame.len && memcmp(message->bytes, frame.ptr, frame.len) == 0;
}

/* Wills of one moment may stand in any order: makes the entry the one that came. */
static void choose_of_batch(struct model_log *log, uint32_t entry, mps_view frame)
{
    struct log_entry *first = &log->entries[entry];
    for (uint32_t i = entry; first->batch > 0 && i < log->count && log->entries[i].batch == first->batch; i++) {
        if (!is_message(log, i, frame)) continue;
        uint32_t message = log->entries[i].message;
        log->entries[i].message = first->message;
        first->message = message;
        return;
    }
}

/* Rows of a commit, against what was accepted. */
static void check_block(struct model_log *log, const struct store_block *block)
{
    struct world *world = log->model->world;
    uint64_t position = block->first;
    uint32_t at = 0, count = 0;
    if (log->waits_from < log->count && block->time_ms != log->entries[log->waits_from].time_ms)
        world_fail(world, "stream %s: the block at %llu is of %llu ms, its first message came at %llu", log->name,
                   ULL(block->first), ULL(block->time_ms), ULL(log->entries[log->waits_from].time_ms));
    for (; at < block->len && !world->failed; count++, position++) {
        mps_view frame = {block->bytes + at, mps_msg_frame_len(block->bytes + at)};
        uint32_t entry = log->waits_from;
        at += frame.len;
        if (log->of_dead) dead_came(log, frame);
        if (entry < log->count) choose_of_batch(log, entry, frame);
        if (entry == log->count || !is_message(log, entry, frame))
            world_fail(world, "stream %s: what is committed at %llu is not the message that was accepted then",
                       log->name, ULL(position));
        else if (log->entries[entry].position != position)
            world_fail(world, "stream %s: message #%u is committed at %llu, due is %llu", log->name,
                       log->entries[entry].message, ULL(position), ULL(log->entries[entry].position));
        else log->entries[log->waits_from++].state = ENTRY_RUNS;
    }
    if (count != block->count)
        world_fail(world, "stream %s: a block of %u messages says that it has %u", log->name, count, block->count);
}

static void check_trim(struct model_log *log, const struct store_block *trim)
{
    if (trim->first > log->may_be_gone)
        world_fail(log->model->world, "stream %s: all below %llu is removed, what may go are those below %llu",
                   log->name, ULL(trim->first), ULL(log->may_be_gone));
}

/* The broker has input that it did not work on yet, after a flood. */
static bool some_input_waits(const struct model *model)
{
    for (int i = 0; i < WORLD_LINKS_MAX; i++) {
        const struct conn *conn = &model->conns[i];
        if (conn->link != NULL && conn->link->session != NULL && !conn->link->reading && !conn->held) return true;
    }
    return false;
}

void logs_commit(void *observer, const struct store_batch *batch)
{
    struct model *model = observer;
    for (uint32_t i = 0; i < model->logs_count; i++) model->logs[i].runs_from = model->logs[i].waits_from;
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct store_change *change = &batch->changes[i];
        if (change->what != STORE_APPEND && change->what != STORE_TRIM) continue;
        struct model_log *log = log_by_number(model, change->block.stream);
        if (log == NULL) world_fail(model->world, "a commit for stream %u, which there is not", change->block.stream);
        else if (change->what == STORE_APPEND) check_block(log, &change->block);
        else check_trim(log, &change->block);
    }
    for (uint32_t i = 0; i < model->logs_count; i++) {
        const struct model_log *log = &model->logs[i];
        if (model->trace && log->runs_from < log->waits_from)
            fprintf(stderr, "  commit %llu: %s from %llu on, %u messages\n", ULL(batch->number), log->name,
                    ULL(log->entries[log->runs_from].position), log->waits_from - log->runs_from);
        if (log->waits_from < log->count && !some_input_waits(model))
            world_fail(model->world, "stream %s: %u messages that were accepted are not in the commit that begins",
                       log->name, log->count - log->waits_from);
    }
    values_commit(model);
    wills_commit(model);
}

/* ---- what is stored ----------------------------------------------------------------------------------------- */

static void forget_oldest(struct model_log *log)
{
    const struct log_block *block = &log->blocks[log->blocks_first++];
    log->stored_msgs -= block->count;
    log->stored_bytes -= block->bytes;
    log->gone = block->first + block->count;
    if (log->blocks_first < log->blocks_end) log->gone = log->blocks[log->blocks_first].first; /* holes go with it */
}

/* Whole rows go, the oldest first; the newest stays. */
static void retain(struct model_log *log)
{
    while (log->blocks_end - log->blocks_first > 1 &&
           (log->stored_msgs > log->max_msgs || log->stored_bytes > log->max_bytes))
        forget_oldest(log);
    if (log->may_be_gone < log->gone) log->may_be_gone = log->gone;
}

static void note_stored(struct model_log *log, const struct store_block *block)
{
    struct world *world = log->model->world;
    for (uint64_t position = block->first; position < block->first + block->count; position++) {
        struct log_entry *entry = &log->entries[log->runs_from];
        entry->state = ENTRY_STORED;
        entry->stored_ms = world->now_ms;
        place(log, log->runs_from++, position);
        log->waiting_msgs--;
        log->waiting_bytes -= log->model->messages[entry->message].len;
    }
    log->stored = block->first + block->count;
    GROW(log->blocks, log->blocks_end, log->blocks_cap);
    log->blocks[log->blocks_end++] = (struct log_block){.first = block->first,
                                                        .count = block->count,
                                                        .bytes = block->len,
                                                        .time_ms = block->time_ms,
                                                        .newest_ms = (int64_t)world->now_ms};
    log->stored_msgs += block->count;
    log->stored_bytes += block->len;
    if (!log->refuses) retain(log);
}

/* Those whose publishers wait are refused, and take no positions; the others keep some, in the place of all. */
static void note_failed(struct model_log *log)
{
    if (log->runs_from == log->waits_from) return;
    uint64_t position = log->entries[log->runs_from].position;
    log->failed_from = log->runs_from;
    log->failed_to = log->waits_from;
    for (uint32_t i = log->runs_from; i < log->count; i++) {
        struct log_entry *entry = &log->entries[i];
        bool failed = i < log->waits_from;
        entry->was_position = entry->position;
        log->waiting_msgs -= failed;
        log->waiting_bytes -= failed ? len_of(log, i) : 0;
        if (failed) entry->state = entry->sure ? ENTRY_GONE : ENTRY_LOST;
        if (entry->state != ENTRY_GONE) entry->position = position++;
        if (entry->state == ENTRY_LOST) place(log, i, entry->position);
    }
    log->runs_from = log->waits_from;
    log->next = position;
}

void logs_committed(void *observer, const struct store_batch *batch, enum store_code code)
{
    struct model *model = observer;
    if (model->world->failed) return; /* what is being committed is not what is known here */
    model->commits_out += code == STORE_OK;
    model->fails_out += code != STORE_OK;
    if (model->trace) fprintf(stderr, "  commit %llu ends with %d\n", ULL(batch->number), (int)code);
    for (uint32_t i = 0; i < model->logs_count; i++) {
        struct model_log *log = &model->logs[i];
        log->failed_from = log->failed_to = 0;
        if (code != STORE_OK) note_failed(log);
        if (code == STORE_FULL) log->failed_to = log->failed_from; /* nothing of it is on the platter */
    }
    for (uint32_t i = 0; i < batch->count && code == STORE_OK; i++)
        if (batch->changes[i].what == STORE_APPEND)
            note_stored(log_by_number(model, batch->changes[i].block.stream), &batch->changes[i].block);
    if (code != STORE_OK) model->failed_ms = model->world->now_ms;
    model->uncertain = code == STORE_FAILED;
    if (code == STORE_OK) values_committed(model);
    if (code == STORE_OK) wills_committed(model);
    pubacks_committed(model, code);
}

/* ---- time --------------------------------------------------------------------------------------------------- */

void logs_age(struct model *model)
{
    int64_t now_ms = (int64_t)model->world->now_ms;
    for (uint32_t i = 0; i < model->logs_count; i++) {
        struct model_log *log = &model->logs[i];
        if (log->max_age_ms == UINT64_MAX) continue;
        int64_t limit_ms = now_ms - (int64_t)log->max_age_ms;
        for (uint32_t b = log->blocks_first; b < log->blocks_end && log->blocks[b].newest_ms < limit_ms; b++) {
            uint64_t end =
                b + 1 < log->blocks_end ? log->blocks[b + 1].first : log->blocks[b].first + log->blocks[b].count;
            if (log->may_be_gone < end) log->may_be_gone = end;
        }
        while (log->blocks_first < log->blocks_end && log->blocks[log->blocks_first].newest_ms < limit_ms - AGE_LAG_MS)
            forget_oldest(log);
    }
}

void logs_check(struct model *model)
{
    const struct world *world = model->world;
    bool resting = world->disk.batch == NULL && world->now_ms > model->failed_ms + COMMIT_LAG_MS;
    for (uint32_t i = 0; i < model->logs_count && resting; i++) {
        const struct model_log *log = &model->logs[i];
        if (log->waits_from < log->count)
            world_fail(model->world, "stream %s: %u messages wait, and nothing is committed", log->name,
                       log->count - log->waits_from);
        uint32_t blocks = memory_disk_blocks(world->disk.platter, log->number);
        if (broker_store_idle(world->broker) && blocks > log->blocks_end - log->blocks_first)
            world_fail(model->world, "stream %s: the platter holds %u blocks, over the limits is all but %u", log->name,
                       blocks, log->blocks_end - log->blocks_first);
    }
}

/* ---- the power goes ----------------------------------------------------------------------------------------- */

/* Entries of a commit that is on the platter after all. */
static void bring_back(struct model_log *log, uint32_t from, uint32_t to, bool as_they_were)
{
    for (uint32_t i = from; i < to; i++) {
        struct log_entry *entry = &log->entries[i];
        entry->state = ENTRY_STORED;
        entry->stored_ms = log->model->world->now_ms;
        place(log, i, as_they_were ? entry->was_position : entry->position);
    }
}

void logs_crash(struct model *model, bool keep)
{
    bool runs = model->world->disk.batch != NULL;
    for (uint32_t i = 0; i < model->logs_count; i++) {
        struct model_log *log = &model->logs[i];
        uint32_t from = runs ? log->runs_from : log->failed_from, to = runs ? log->waits_from : log->failed_to;
        bool is_kept = keep && from < to;
        for (uint32_t e = log->count; e > 0 && log->entries[e - 1].state != ENTRY_STORED; e--) {
            struct log_entry *entry = &log->entries[e - 1];
            if (is_kept && e <= from) break;                              /* holes before it stay holes */
            if (entry->state == ENTRY_LOST) log->at[entry->position] = 0; /* nobody was told of it */
            entry->state = ENTRY_GONE;
        }
        if (is_kept) bring_back(log, from, to, !runs);
        log->failed_from = log->failed_to = 0;
        log->runs_from = log->waits_from = log->count;
        log->waiting_msgs = log->waiting_bytes = log->stored_msgs = log->stored_bytes = 0;
        log->blocks_first = log->blocks_end = 0;
    }
    if (keep && (runs || model->uncertain)) {
        values_committed(model);
        wills_committed(model);
    }
    values_crash(model);
    wills_crash(model);
}

/* What the broker finds when it begins again. How old it is goes by the wall's clock then. */
void logs_load(void *observer, const struct store_block *block)
{
    struct model *model = observer;
    struct model_log *log = log_by_number(model, block->stream);
    uint64_t wall_ms = world_wall_ms(model->world);
    uint64_t age_ms = wall_ms > block->time_ms ? wall_ms - block->time_ms : 0;
    if (log == NULL) return;
    GROW(log->blocks, log->blocks_end, log->blocks_cap);
    log->blocks[log->blocks_end++] = (struct log_block){.first = block->first,
                                                        .count = block->count,
                                                        .bytes = block->len,
                                                        .time_ms = block->time_ms,
                                                        .newest_ms = (int64_t)model->world->now_ms - (int64_t)age_ms};
    log->stored_msgs += block->count;
    log->stored_bytes += block->len;
}

static bool is_on_platter(const struct model_log *log, uint64_t position)
{
    for (uint32_t b = log->blocks_first; b < log->blocks_end; b++)
        if (position >= log->blocks[b].first && position < log->blocks[b].first + log->blocks[b].count) return true;
    return false;
}

/* Everything that was stored, and wasn't removed, is there. */
static void check_loaded(struct model_log *log)
{
    uint64_t first = log->blocks_first < log->blocks_end ? log->blocks[log->blocks_first].first : UINT64_MAX;
    const struct world *world = log->model->world;
    uint64_t wall_ms = world_wall_ms(world);
    for (uint32_t i = 0; i < log->count; i++) {
        struct log_entry *entry = &log->entries[i];
        if (entry->state != ENTRY_STORED) continue;
        entry->aged_ms = (int64_t)world->now_ms - (int64_t)(wall_ms > entry->time_ms ? wall_ms - entry->time_ms : 0);
        log->stored = entry->position + 1;
        if (entry->position >= first ? is_on_platter(log, entry->position) : log_may_be_gone(log, entry)) continue;
        world_fail(log->model->world, "stream %s: message #%u, stored at %llu, is not on the platter after a crash",
                   log->name, entry->message, ULL(entry->position));
    }
    log->next = log->stored;
    log->gone = first != UINT64_MAX ? first : log->stored;
    if (log->gone > log->may_be_gone) log->may_be_gone = log->gone;
    retain(log); /* the last commit may not have done it */
}

void logs_loaded(struct model *model)
{
    for (uint32_t i = 0; i < model->logs_count; i++) check_loaded(&model->logs[i]);
    model->failed_ms = 0;
    model->uncertain = false;
    wills_restarted(model);
}

void logs_free(struct model *model)
{
    for (uint32_t i = 0; i < model->logs_count; i++) {
        free(model->logs[i].entries);
        free(model->logs[i].blocks);
        free(model->logs[i].at);
    }
}
