#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "sqlite_parts.h"

/* Frames of the log after which it is brought into the database: 16 MiB; fewer on a small disk. */
#define CHECKPOINT_FRAMES 4096
#define FRAME_BYTES (24 + DATABASE_PAGE)
#define RESERVED_FRAMES 64 /* for what makes room */
/* Room that isn't used is given back when it is more than this, and more than a quarter of the file; and then until it
 * is less than half of that. The rest is for what comes next. */
#define SPARE_PAGES 4096
#define SHRINK_PAGES 256 /* at a time: 1 MiB */

/* ---- changes ------------------------------------------------------------------------------------------------ */

/* A view that is empty is an empty value, no NULL. */
static int bind_view(sqlite3_stmt *statement, int index, mps_view view)
{
    return sqlite3_bind_blob64(statement, index, view.len > 0 ? (const void *)view.ptr : "", view.len, SQLITE_STATIC);
}

static int bind_number(sqlite3_stmt *statement, int index, uint64_t number)
{
    return sqlite3_bind_int64(statement, index, (sqlite3_int64)number);
}

static int run(sqlite3_stmt *statement)
{
    int result = sqlite3_step(statement);
    sqlite3_reset(statement);
    return result == SQLITE_DONE || result == SQLITE_ROW ? SQLITE_OK : result;
}

static int append(struct writer *writer, const struct store_block *block)
{
    sqlite3_stmt *s = writer->append;
    const uint64_t numbers[] = {block_place(block->stream, block->first),
                                block->count,
                                block->time_ms,
                                block->expires_ms,
                                block->len,
                                block_head_sum(block),
                                block_bytes_sum(block)};
    int result = SQLITE_OK;
    for (int i = 0; i < 7 && result == SQLITE_OK; i++) result = bind_number(s, i + 1, numbers[i]);
    if (result == SQLITE_OK) result = bind_view(s, 8, (mps_view){block->bytes, block->len});
    return result == SQLITE_OK ? run(s) : result;
}

/* All blocks that begin below go, except the last of them if it ends above, or if there is no telling where it ends. */
static int trim(struct writer *writer, uint32_t stream, uint64_t below)
{
    uint64_t least = block_place(stream, 0), behind = block_place(stream, below);
    sqlite3_stmt *last = writer->last_below;
    bind_number(last, 1, least);
    bind_number(last, 2, behind);
    int result = sqlite3_step(last);
    if (result == SQLITE_ROW) {
        uint64_t place = (uint64_t)sqlite3_column_int64(last, 0), count = (uint64_t)sqlite3_column_int64(last, 1);
        if (count > behind - place) behind = place;
    }
    sqlite3_reset(last);
    if (result != SQLITE_ROW) return result == SQLITE_DONE ? SQLITE_OK : result;
    writer->trimmed = true;
    bind_number(writer->trim, 1, least);
    bind_number(writer->trim, 2, behind);
    return run(writer->trim);
}

static int put(struct writer *writer, const struct store_change *change)
{
    sqlite3_stmt *s = writer->put;
    int result = bind_number(s, 1, change->kind);
    if (result == SQLITE_OK) result = bind_view(s, 2, change->key);
    if (result == SQLITE_OK) result = bind_view(s, 3, change->value);
    if (result == SQLITE_OK) result = bind_number(s, 4, record_sum(change->kind, change->key, change->value));
    return result == SQLITE_OK ? run(s) : result;
}

static int remove_record(struct writer *writer, const struct store_change *change)
{
    int result = bind_number(writer->remove, 1, change->kind);
    if (result == SQLITE_OK) result = bind_view(writer->remove, 2, change->key);
    return result == SQLITE_OK ? run(writer->remove) : result;
}

static int apply(struct writer *writer, const struct store_change *change)
{
    switch (change->what) {
    case STORE_APPEND: return append(writer, &change->block);
    case STORE_TRIM: return trim(writer, change->block.stream, change->block.first);
    case STORE_PUT: return put(writer, change);
    case STORE_REMOVE: return remove_record(writer, change);
    }
    return SQLITE_MISUSE;
}

/* ---- a commit ----------------------------------------------------------------------------------------------- */

static int64_t get_number(sqlite3_stmt *statement)
{
    int64_t number = sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
    sqlite3_reset(statement);
    return number;
}

/* Pages that files in the directory may take, as far as they count here. */
static int64_t room_pages(const struct writer *writer)
{
    struct statvfs disk;
    struct stat log;
    if (statvfs(writer->path, &disk) != 0) return INT_MAX;
    uint64_t room = (uint64_t)disk.f_bavail * disk.f_frsize;
    if (stat(writer->log, &log) == 0) room += (uint64_t)log.st_size;
    return room / FRAME_BYTES < INT_MAX ? (int64_t)(room / FRAME_BYTES) : INT_MAX;
}

/* The log begins, perhaps anew. All that comes into it is to fit into the database later, which has some pages to
 * spare, and has to grow for the others: else the log could fill a small disk, and there would be no way out any more.
 * What trims, and so makes room, may take more: there is always something left for that. */
static void note_beginning(struct writer *writer)
{
    int64_t room = room_pages(writer), most = (room + get_number(writer->spare)) / 2;
    if (most > room) most = room;
    most = most > RESERVED_FRAMES ? most - RESERVED_FRAMES : 0;
    writer->frames_most = (int)most;
    writer->checkpoint_at = writer->frames_most < CHECKPOINT_FRAMES ? writer->frames_most : CHECKPOINT_FRAMES;
}

static void undo(struct writer *writer)
{
    if (!sqlite3_get_autocommit(writer->db)) run(writer->rollback);
    writer->suspect = true;
}

/* After a commit that failed, the log is not written on: everything that was committed before, and was synced then, is
 * brought into the database, that is synced, and the log begins anew, from nothing. This is tried at once, and before
 * each further commit until it succeeds.
 *
 * Why. When fdatasync fails, Linux reports it once, and takes what it could not write for written: another fdatasync
 * says yes, though the bytes may never reach the disk, and in the end are not even in memory any more. The frames of
 * the transaction that failed are of no interest, but the first of them shares a block of the disk with the last frame
 * of the one before, which was acknowledged, and after a failed write that block may hold anything. So what was
 * acknowledged is taken out of the log while it is in memory still. In the database these pages are written again, each
 * in full, and that counts only when the database's own sync succeeds: if it doesn't, SQLite counts none of them as
 * brought over, and writes all of them at the next attempt. Besides, no remains of a failed transaction can be mistaken
 * for a part of the log later: see sqlite_wal.c. */
static int make_sure(struct writer *writer)
{
    if (!writer->suspect) return SQLITE_OK;
    int result = sqlite3_wal_checkpoint_v2(writer->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    if (result != SQLITE_OK) return result;
    writer->suspect = false;
    writer->wal_frames = 0;
    note_beginning(writer);
    return SQLITE_OK;
}

/* Frames that it makes, and some more: for each change a few pages of the trees. */
static int64_t frames_of(const struct store_batch *batch)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < batch->count; i++)
        bytes += (uint64_t)batch->changes[i].block.len + batch->changes[i].key.len + batch->changes[i].value.len;
    return (int64_t)(bytes / DATABASE_PAGE) + 3 * (int64_t)batch->count + 8;
}

static bool trims(const struct store_batch *batch)
{
    for (uint32_t i = 0; i < batch->count; i++)
        if (batch->changes[i].what == STORE_TRIM) return true;
    return false;
}

/* Whether the log has room for this, if need be after what it has was brought into the database. */
static int make_room(struct writer *writer, const struct store_batch *batch)
{
    int64_t frames = frames_of(batch);
    if (writer->wal_frames + frames <= writer->frames_most) return SQLITE_OK;
    writer->suspect = true;
    int result = make_sure(writer);
    if (result != SQLITE_OK) return result;
    return frames <= writer->frames_most + (trims(batch) ? RESERVED_FRAMES : 0) ? SQLITE_OK : SQLITE_FULL;
}

enum store_code writer_commit(struct writer *writer, const struct store_batch *batch, char *text)
{
    int result = make_sure(writer);
    if (result == SQLITE_OK) result = make_room(writer, batch);
    if (result == SQLITE_OK) result = run(writer->begin);
    for (uint32_t i = 0; i < batch->count && result == SQLITE_OK; i++) result = apply(writer, &batch->changes[i]);
    if (result == SQLITE_OK) result = run(writer->commit);
    if (result == SQLITE_OK) return STORE_OK;
    enum store_code code = file_code(writer->db, result);
    file_sentence(text, writer->db, result, "can't write", writer->path);
    undo(writer);
    make_sure(writer);
    return code;
}

/* ---- between commits ---------------------------------------------------------------------------------------- */

static int note_frames(void *arg, sqlite3 *db, const char *name, int frames)
{
    struct writer *writer = arg;
    (void)db;
    (void)name;
    if (frames < writer->wal_frames) note_beginning(writer);
    writer->wal_frames = frames;
    return SQLITE_OK;
}

void writer_checkpoint(struct writer *writer)
{
    if (writer->suspect || writer->wal_frames < writer->checkpoint_at) return;
    /* The log begins anew with the first commit that finds all of it in the database and nobody reading in it. That a
     * read is just under way at this moment may happen; when it has happened too often, or the disk is small, it is
     * waited for. */
    bool long_log = writer->wal_frames >= 4 * CHECKPOINT_FRAMES || writer->frames_most < CHECKPOINT_FRAMES;
    int mode = long_log ? SQLITE_CHECKPOINT_RESTART : SQLITE_CHECKPOINT_PASSIVE;
    sqlite3_wal_checkpoint_v2(writer->db, NULL, mode, NULL, NULL);
    /* If that failed, all is still in the log, and the next commits will tell if the disk does not do its work. */
    writer->checkpoint_at = writer->wal_frames + CHECKPOINT_FRAMES / 4;
}

bool writer_shrink(struct writer *writer)
{
    if (writer->suspect || (!writer->trimmed && !writer->shrinking)) return false;
    writer->trimmed = false;
    int64_t spare = get_number(writer->spare), pages = get_number(writer->pages);
    int64_t most = pages / 4 > SPARE_PAGES ? pages / 4 : SPARE_PAGES;
    writer->shrinking = spare > (writer->shrinking ? most / 2 : most);
    if (!writer->shrinking) return false;
    char sql[60];
    snprintf(sql, sizeof sql, "PRAGMA incremental_vacuum(%d)", SHRINK_PAGES);
    if (sqlite3_exec(writer->db, sql, NULL, NULL, NULL) == SQLITE_OK) return true;
    undo(writer);
    writer->shrinking = false;
    return false;
}

/* ---- life --------------------------------------------------------------------------------------------------- */

int writer_open(struct writer *writer, sqlite3 *db, const char *path, char *text)
{
    *writer = (struct writer){.db = db, .path = path};
    if (asprintf(&writer->log, "%s-wal", path) < 0) abort();
    const struct {
        sqlite3_stmt **statement;
        const char *sql;
    } all[] = {
        {&writer->begin, "BEGIN IMMEDIATE"},
        {&writer->commit, "COMMIT"},
        {&writer->rollback, "ROLLBACK"},
        {&writer->append, "INSERT INTO block (place, count, time_ms, expires_ms, len, head_sum, sum, bytes)"
                          " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"},
        {&writer->last_below,
         "SELECT place, count FROM block WHERE place >= ? AND place < ? ORDER BY place DESC LIMIT 1"},
        {&writer->trim, "DELETE FROM block WHERE place >= ? AND place < ?"},
        {&writer->put, "REPLACE INTO record (kind, key, value, sum) VALUES (?, ?, ?, ?)"},
        {&writer->remove, "DELETE FROM record WHERE kind = ? AND key = ?"},
        {&writer->spare, "PRAGMA freelist_count"},
        {&writer->pages, "PRAGMA page_count"},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (file_prepare(db, path, all[i].sql, all[i].statement, text) < 0) return -1;
    sqlite3_wal_hook(db, note_frames, writer);
    /* What a broker that was killed has left goes into the database, and the log begins anew: so its remains and ours
     * are never in one log. If that fails, as on a full disk, what is stored can be read all the same. */
    writer->suspect = true;
    note_beginning(writer);
    make_sure(writer);
    return 0;
}

void writer_close(struct writer *writer)
{
    sqlite3_stmt *all[] = {writer->begin, writer->commit, writer->rollback, writer->append, writer->last_below,
                           writer->trim,  writer->put,    writer->remove,   writer->spare,  writer->pages};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) sqlite3_finalize(all[i]);
    int result = sqlite3_close(writer->db); /* the last one: brings the log into the database, and removes it */
    assert(result == SQLITE_OK);
    (void)result;
    free(writer->log);
    *writer = (struct writer){0};
}
