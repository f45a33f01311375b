/* A new database from what fits its checksums in one that SQLite can't use, or says is damaged. The old one is only
 * read.
 *
 * The new one has three names in its life: streams.db.new while it is written, streams.db.salvaged when all of it is on
 * the disk, streams.db when the old one has been put aside. So there is no moment at which a power failure leaves less
 * than the old one: a .new is forgotten at the next start, a .salvaged takes its place. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sqlite_parts.h"

#define COMMIT_BYTES (16u * 1024 * 1024)
#define HOLES_TOLD 20

struct salvage {
    const struct sqlite_store_options *options;
    sqlite3 *db; /* the new one */
    const char *path;
    sqlite3_stmt *add_block, *add_record;
    uint64_t uncommitted; /* bytes */
    uint64_t messages, bytes, records;
    int result; /* of SQLite, of what could not be written */
};

static void note(const struct salvage *salvage, const char *text)
{
    if (salvage->options->note != NULL) salvage->options->note(salvage->options->arg, text);
}

/* ---- writing ------------------------------------------------------------------------------------------------ */

static int commit_some(struct salvage *salvage)
{
    salvage->uncommitted = 0;
    int result = sqlite3_exec(salvage->db, "COMMIT", NULL, NULL, NULL);
    if (result == SQLITE_OK)
        result = sqlite3_wal_checkpoint_v2(salvage->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    if (result == SQLITE_OK) result = sqlite3_exec(salvage->db, "BEGIN", NULL, NULL, NULL);
    return result;
}

/* Runs one that adds a row, and says whether it did: the row may be there from an earlier page. */
static bool add(struct salvage *salvage, sqlite3_stmt *statement, uint64_t len)
{
    int result = sqlite3_step(statement);
    bool added = result == SQLITE_DONE && sqlite3_changes(salvage->db) > 0;
    sqlite3_reset(statement);
    salvage->result = result == SQLITE_DONE ? SQLITE_OK : result;
    salvage->uncommitted += len + 100;
    if (salvage->result == SQLITE_OK && salvage->uncommitted > COMMIT_BYTES) salvage->result = commit_some(salvage);
    return added;
}

static bool add_block(void *arg, const struct store_block *block)
{
    struct salvage *salvage = arg;
    sqlite3_stmt *s = salvage->add_block;
    const uint64_t numbers[] = {block_place(block->stream, block->first),
                                block->count,
                                block->time_ms,
                                block->expires_ms,
                                block->len,
                                block_head_sum(block),
                                block_bytes_sum(block)};
    for (int i = 0; i < 7; i++) sqlite3_bind_int64(s, i + 1, (sqlite3_int64)numbers[i]);
    sqlite3_bind_blob64(s, 8, block->bytes, block->len, SQLITE_STATIC);
    if (add(salvage, s, block->len)) {
        salvage->messages += block->count;
        salvage->bytes += block->len;
    }
    return salvage->result == SQLITE_OK;
}

static bool add_record(void *arg, uint32_t kind, mps_view key, mps_view value)
{
    struct salvage *salvage = arg;
    sqlite3_stmt *s = salvage->add_record;
    sqlite3_bind_int64(s, 1, kind);
    sqlite3_bind_blob64(s, 2, key.ptr, key.len, SQLITE_STATIC);
    sqlite3_bind_blob64(s, 3, value.ptr, value.len, SQLITE_STATIC);
    sqlite3_bind_int64(s, 4, (sqlite3_int64)record_sum(kind, key, value));
    if (add(salvage, s, key.len + (uint64_t)value.len)) salvage->records++;
    return salvage->result == SQLITE_OK;
}

static void tell_progress(void *arg, uint32_t page, uint32_t pages)
{
    const struct salvage *salvage = arg;
    char text[STORE_TEXT_MAX];
    if (page % (64 * 4096) != 0) return; /* each GiB */
    snprintf(text, sizeof text, "salvage: %" PRIu64 " %% read, %" PRIu64 " messages found so far",
             (uint64_t)page * 100 / pages, salvage->messages);
    note(salvage, text);
}

/* ---- what is missing ---------------------------------------------------------------------------------------- */

struct holes {
    uint64_t count, messages;
    uint64_t next; /* place that the next block of an unbroken stream has */
};

static void see_place(const struct salvage *salvage, struct holes *holes, uint64_t place, uint64_t count)
{
    bool same_stream = holes->next != 0 && place >> PLACE_BITS == (holes->next - 1) >> PLACE_BITS;
    if (same_stream && place > holes->next) {
        holes->messages += place - holes->next;
        if (holes->count++ < HOLES_TOLD) {
            char text[STORE_TEXT_MAX];
            snprintf(text, sizeof text,
                     "salvage: stream %" PRIu64 ": the messages from position %" PRIu64 " to %" PRIu64 " are lost",
                     (place >> PLACE_BITS) + STORE_STREAM_FIRST, holes->next & POSITION_MAX,
                     (place & POSITION_MAX) - 1);
            note(salvage, text);
        }
    }
    holes->next = place + count;
}

/* Positions of a stream have no gaps, so what is missing between those that were found was lost. */
static int tell_losses(const struct salvage *salvage)
{
    struct holes holes = {0};
    sqlite3_stmt *statement = NULL;
    int result = sqlite3_prepare_v2(salvage->db, "SELECT place, count FROM block ORDER BY place", -1, &statement, NULL);
    while (result == SQLITE_OK && (result = sqlite3_step(statement)) == SQLITE_ROW) {
        see_place(salvage, &holes, (uint64_t)sqlite3_column_int64(statement, 0),
                  (uint64_t)sqlite3_column_int64(statement, 1));
        result = SQLITE_OK;
    }
    sqlite3_finalize(statement);
    char text[STORE_TEXT_MAX];
    snprintf(text, sizeof text,
             "salvage: recovered %" PRIu64 " messages (%" PRIu64 " bytes) and %" PRIu64 " records; lost are %" PRIu64
             " messages in %" PRIu64 " places between them, and what may have been behind the last ones",
             salvage->messages, salvage->bytes, salvage->records, holes.messages, holes.count);
    note(salvage, text);
    return result == SQLITE_DONE ? SQLITE_OK : result;
}

/* ---- the new file ------------------------------------------------------------------------------------------- */

static int fill(struct salvage *salvage, int old, const struct wal *wal, char *text)
{
    const struct page_rows rows = {.block = add_block, .record = add_record, .progress = tell_progress, .arg = salvage};
    int result = sqlite3_exec(salvage->db, "BEGIN", NULL, NULL, NULL);
    if (result == SQLITE_OK && pages_walk(old, wal, &rows, text) < 0) return -1;
    if (result == SQLITE_OK) result = salvage->result;
    if (result == SQLITE_OK) result = commit_some(salvage);
    if (result == SQLITE_OK) result = sqlite3_exec(salvage->db, "COMMIT", NULL, NULL, NULL);
    if (result == SQLITE_OK) result = tell_losses(salvage);
    if (result == SQLITE_OK)
        result = sqlite3_wal_checkpoint_v2(salvage->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    if (result == SQLITE_OK) return 0;
    file_sentence(text, salvage->db, result, "can't write", salvage->path);
    return -1;
}

static int fill_new(const struct directory *directory, const struct sqlite_store_options *options, const char *path,
                    int old, const struct wal *wal, char *text)
{
    struct salvage salvage = {.options = options, .path = path};
    if (file_create(path, text) < 0 || file_connect(path, &salvage.db, text) != FILE_FINE) return -1;
    char begun[STORE_TEXT_MAX];
    snprintf(begun, sizeof begun, "salvage: reading %s, which is damaged", directory->database);
    note(&salvage, begun);
    int result = file_prepare(salvage.db, path,
                              "INSERT OR IGNORE INTO block (place, count, time_ms, expires_ms, len, head_sum,"
                              " sum, bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                              &salvage.add_block, text);
    if (result == 0)
        result =
            file_prepare(salvage.db, path, "INSERT OR IGNORE INTO record (kind, key, value, sum) VALUES (?, ?, ?, ?)",
                         &salvage.add_record, text);
    if (result == 0) result = fill(&salvage, old, wal, text);
    sqlite3_finalize(salvage.add_block);
    sqlite3_finalize(salvage.add_record);
    sqlite3_close(salvage.db);
    return result;
}

/* ---- names -------------------------------------------------------------------------------------------------- */

/* Puts one of the old files aside, if it is there. */
static int put_aside(const struct directory *directory, const char *suffix, const char *aside, char *text)
{
    char *from = directory_file(directory, suffix), *to = directory_file(directory, aside);
    int result = access(from, F_OK) == 0 ? directory_rename(directory, from, to, text) : 0;
    free(from);
    free(to);
    return result;
}

/* The first number under which no database stands aside. A log alone may: of an attempt that was interrupted. */
static int free_number(const struct directory *directory)
{
    for (int number = 1;; number++) {
        char suffix[40];
        snprintf(suffix, sizeof suffix, ".damaged-%d", number);
        char *name = directory_file(directory, suffix);
        bool taken = access(name, F_OK) == 0;
        free(name);
        if (!taken) return number;
    }
}

int salvage_finish(const struct directory *directory, char *text)
{
    directory_remove(directory, ".new");
    char *salvaged = directory_file(directory, ".salvaged"), *memory = directory_file(directory, "-shm");
    char aside[40], aside_log[40];
    int result = 0, number = free_number(directory);
    if (access(salvaged, F_OK) == 0) {
        snprintf(aside, sizeof aside, ".damaged-%d", number);
        snprintf(aside_log, sizeof aside_log, ".damaged-%d-wal", number);
        unlink(memory);
        result = put_aside(directory, "-wal", aside_log, text);
        if (result == 0) result = put_aside(directory, "", aside, text);
        if (result == 0) result = directory_rename(directory, salvaged, directory->database, text);
    }
    free(salvaged);
    free(memory);
    return result;
}

int salvage(const struct directory *directory, const struct sqlite_store_options *options, char *text)
{
    char *log = directory_file(directory, "-wal"), *new = directory_file(directory, ".new");
    char *salvaged = directory_file(directory, ".salvaged");
    struct wal wal = {.fd = -1};
    int result = -1, old = open(directory->database, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (old < 0) {
        snprintf(text, STORE_TEXT_MAX, "can't read %s: %s", directory->database, strerror(errno));
    } else if (wal_open(&wal, log, text) == 0) {
        result = fill_new(directory, options, new, old, &wal, text);
        wal_close(&wal);
    }
    if (old >= 0) close(old);
    if (result == 0) result = directory_rename(directory, new, salvaged, text);
    else directory_remove(directory, ".new");
    if (result == 0) result = salvage_finish(directory, text);
    free(log);
    free(new);
    free(salvaged);
    return result;
}
