#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sqlite_parts.h"

#define HEADS                                                                                                          \
    "SELECT place, count, time_ms, expires_ms, len, head_sum, sum FROM block WHERE place >= ? AND place < ? ORDER BY " \
    "place"

/* From this length on a block's bytes are fetched by themselves. With shorter ones, to go from row to row is cheaper.
 */
#define LONG_BYTES (32u * 1024)

/* One request while it is answered, and where it stands. */
struct reading {
    struct reader *reader;
    struct store_read *read;
    uint64_t at, end; /* places: what is below the first is done with, what isn't below the second isn't wanted */
    bool heads_run, bodies_run; /* these statements stand before `at` */
    bool unknown;               /* what was passed over last has no known end */
    uint32_t room;              /* of read->bytes */
};

struct head {
    struct store_block block;
    uint64_t place, bytes_sum;
    bool fits;
};

/* ---- statements --------------------------------------------------------------------------------------------- */

static void bind_range(sqlite3_stmt *statement, uint64_t from, uint64_t end)
{
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)from);
    sqlite3_bind_int64(statement, 2, (sqlite3_int64)end);
}

/* Steps a statement that goes through [at, end). */
static int next_row(sqlite3_stmt *statement, bool *runs, const struct reading *reading)
{
    if (!*runs) bind_range(statement, reading->at, reading->end);
    int result = sqlite3_step(statement);
    *runs = result == SQLITE_ROW;
    if (!*runs) sqlite3_reset(statement);
    return result;
}

/* In a tree that is damaged, a row may turn up anywhere. */
static int check_place(int result, uint64_t place, uint64_t from, uint64_t end)
{
    return result == SQLITE_ROW && (place < from || place >= end) ? SQLITE_CORRUPT : result;
}

/* The place of the one row of a statement that looks in [from, end). */
static int ask(sqlite3_stmt *statement, uint64_t from, uint64_t end, uint64_t *place)
{
    bind_range(statement, from, end);
    int result = sqlite3_step(statement);
    if (result == SQLITE_ROW) *place = (uint64_t)sqlite3_column_int64(statement, 0);
    sqlite3_reset(statement);
    return check_place(result, *place, from, end);
}

static int next_head(struct reading *reading, struct head *head)
{
    sqlite3_stmt *s = reading->reader->heads;
    int result = next_row(s, &reading->heads_run, reading);
    if (result != SQLITE_ROW) return result;
    head->place = (uint64_t)sqlite3_column_int64(s, 0);
    if (check_place(result, head->place, reading->at, reading->end) != SQLITE_ROW) return SQLITE_CORRUPT;
    head->block = (struct store_block){
        .stream = reading->read->stream,
        .first = head->place & POSITION_MAX,
        .count = (uint32_t)sqlite3_column_int64(s, 1),
        .time_ms = (uint64_t)sqlite3_column_int64(s, 2),
        .expires_ms = (uint64_t)sqlite3_column_int64(s, 3),
        .len = (uint32_t)sqlite3_column_int64(s, 4),
    };
    head->fits = block_head_sum(&head->block) == (uint64_t)sqlite3_column_int64(s, 5);
    head->bytes_sum = (uint64_t)sqlite3_column_int64(s, 6);
    return SQLITE_ROW;
}

/* ---- what is passed over ------------------------------------------------------------------------------------ */

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}
static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* From this position on; where it ends will be told by what comes next. */
static void pass_over_from(struct reading *reading, uint64_t first)
{
    struct store_read *read = reading->read;
    if (read->damaged_first == 0) read->damaged_first = later(first, read->from);
    reading->unknown = true;
}

static void pass_over_to(struct reading *reading, uint64_t last)
{
    reading->read->damaged_last = sooner(last, reading->read->end - 1);
    reading->unknown = false;
}

/* SQLite can't read at this place. Looks for the next one where it can: first in steps that get longer, then between
 * the last place where it could not and the first one where it could. What can't be read is a page as a rule, and what
 * belongs to that is without a gap. */
static int leap(struct reading *reading)
{
    uint64_t bad = reading->at, good = reading->end, step = 1, place = 0;
    pass_over_from(reading, bad & POSITION_MAX);
    while (bad + step < reading->end) {
        int result = ask(reading->reader->probe, bad + step, reading->end, &place);
        if (result == SQLITE_ROW || result == SQLITE_DONE) {
            good = bad + step;
            break;
        }
        if (!file_is_corrupt(result)) return result;
        bad += step;
        step += step / 2 + 1;
    }
    while (good - bad > 1) {
        uint64_t middle = bad + (good - bad) / 2;
        int result = ask(reading->reader->probe, middle, reading->end, &place);
        if (result == SQLITE_ROW || result == SQLITE_DONE) good = middle;
        else if (file_is_corrupt(result)) bad = middle;
        else return result;
    }
    reading->at = good;
    return SQLITE_OK;
}

/* ---- blocks ------------------------------------------------------------------------------------------------- */

static bool begun(const struct reading *reading)
{
    return reading->read->block.count > 0;
}

/* Whether a block may be read as one with those before it. */
static bool joins(const struct store_read *read, const struct head *head)
{
    const struct store_block *all = &read->block, *next = &head->block;
    return head->fits && next->first == all->first + all->count && next->time_ms >= all->time_ms &&
           next->time_ms - all->time_ms < STORE_MERGE_MS && next->count <= UINT32_MAX - all->count &&
           (uint64_t)all->len + next->len <= read->bytes_most;
}

static int make_room(struct reading *reading, uint32_t len)
{
    struct store_read *read = reading->read;
    uint64_t need = (uint64_t)read->block.len + len;
    if (need <= reading->room) return SQLITE_OK;
    uint64_t room = later(need, sooner(2 * (uint64_t)reading->room, read->bytes_most));
    uint8_t *larger = realloc(read->bytes, room);
    if (larger == NULL) return SQLITE_NOMEM;
    read->bytes = larger;
    reading->room = (uint32_t)room;
    return SQLITE_OK;
}

/* The bytes of a block to where they will stay. SQLITE_CORRUPT: they can't be read. */
static int read_short(struct reading *reading, const struct head *head, uint8_t *to)
{
    sqlite3_stmt *s = reading->reader->bodies;
    int result = next_row(s, &reading->bodies_run, reading);
    if (result == SQLITE_DONE) return SQLITE_CORRUPT;
    if (result != SQLITE_ROW) return result;
    if ((uint64_t)sqlite3_column_int64(s, 0) != head->place || sqlite3_column_type(s, 1) != SQLITE_BLOB)
        return SQLITE_CORRUPT;
    const void *bytes = sqlite3_column_blob(s, 1);
    if (sqlite3_column_bytes(s, 1) != (int)head->block.len) return SQLITE_CORRUPT;
    if (bytes == NULL) return SQLITE_NOMEM;
    memcpy(to, bytes, head->block.len);
    return SQLITE_OK;
}

static void forget_bodies(struct reading *reading)
{
    reading->bodies_run = false;
    sqlite3_reset(reading->reader->bodies);
}

/* Without the copy that SQLite makes of a value for a statement. */
static int read_long(struct reading *reading, const struct head *head, uint8_t *to)
{
    sqlite3_blob *blob = NULL;
    forget_bodies(reading); /* it would stand before this row */
    int result = sqlite3_blob_open(reading->reader->db, "main", "block", "bytes", (sqlite3_int64)head->place, 0, &blob);
    if (result == SQLITE_OK && sqlite3_blob_bytes(blob) != (int)head->block.len) result = SQLITE_CORRUPT;
    if (result == SQLITE_OK) result = sqlite3_blob_read(blob, to, (int)head->block.len, 0);
    sqlite3_blob_close(blob);
    return result == SQLITE_ERROR ? SQLITE_CORRUPT : result; /* there is no such row, or its value has no bytes */
}

/* SQLITE_CORRUPT: the bytes can't be read, or don't fit their checksum. */
static int add_bytes(struct reading *reading, const struct head *head)
{
    struct store_block block = head->block;
    if (block.len == 0) return SQLITE_CORRUPT;
    int result = make_room(reading, block.len);
    if (result != SQLITE_OK) return result;
    uint8_t *to = reading->read->bytes + reading->read->block.len;
    block.bytes = to;
    result = block.len < LONG_BYTES ? read_short(reading, head, to) : read_long(reading, head, to);
    return result == SQLITE_OK && block_bytes_sum(&block) != head->bytes_sum ? SQLITE_CORRUPT : result;
}

static void add_block(struct store_read *read, const struct store_block *block)
{
    struct store_block *all = &read->block;
    if (all->count == 0) {
        *all = *block;
    } else {
        all->count += block->count;
        all->len += block->len;
        if (all->expires_ms == 0 || (block->expires_ms != 0 && block->expires_ms < all->expires_ms))
            all->expires_ms = block->expires_ms;
    }
}

/* Takes one block. SQLITE_DONE: there is no more to take. */
static int take(struct reading *reading, const struct head *head)
{
    struct store_read *read = reading->read;
    const struct store_block *block = &head->block;
    if (begun(reading) && !joins(read, head)) return SQLITE_DONE;
    if (head->fits && block->first + block->count <= read->from) { /* the one before `from`, which does not hold it */
        reading->at = head->place + 1;
        forget_bodies(reading);
        return SQLITE_OK;
    }
    if (head->fits && reading->unknown) pass_over_to(reading, block->first - 1);
    int result = head->fits ? add_bytes(reading, head) : SQLITE_CORRUPT;
    if (result != SQLITE_OK && begun(reading)) return SQLITE_DONE; /* the next request begins with it */
    if (result == SQLITE_OK) {
        add_block(read, block);
    } else if (file_is_corrupt(result)) {
        pass_over_from(reading, block->first);
        if (head->fits) pass_over_to(reading, block->first + block->count - 1);
        forget_bodies(reading);
    } else {
        return result;
    }
    reading->at = head->place + 1;
    return SQLITE_OK;
}

/* Where to begin: the last block that begins at or before .from may hold it. */
static int find_begin(struct reading *reading)
{
    uint64_t from = block_place(reading->read->stream, reading->read->from), place = 0;
    reading->at = from;
    int result = ask(reading->reader->holder, block_place(reading->read->stream, 0), from + 1, &place);
    if (result == SQLITE_ROW) reading->at = place;
    else if (file_is_corrupt(result)) pass_over_from(reading, reading->read->from);
    else if (result != SQLITE_DONE) return result;
    return SQLITE_OK;
}

static int gather(struct reading *reading)
{
    int result = find_begin(reading);
    while (result == SQLITE_OK && reading->at < reading->end) {
        struct head head;
        result = next_head(reading, &head);
        if (result == SQLITE_ROW) {
            result = take(reading, &head);
        } else if (result != SQLITE_DONE) {
            if (begun(reading)) return SQLITE_OK; /* what is wrong is told to the next request */
            if (!file_is_corrupt(result)) return result;
            reading->heads_run = false;
            sqlite3_reset(reading->reader->heads);
            forget_bodies(reading);
            result = leap(reading);
        }
    }
    if (result == SQLITE_DONE) result = SQLITE_OK;
    if (result == SQLITE_OK && reading->unknown) pass_over_to(reading, reading->read->end - 1);
    return result;
}

/* ---- a request ---------------------------------------------------------------------------------------------- */

static void fail(struct reading *reading, int result)
{
    struct store_read *read = reading->read;
    read->code = STORE_FAILED;
    read->damaged_first = read->damaged_last = 0;
    file_sentence(read->text, reading->reader->db, result, "can't read", reading->reader->path);
}

static void finish(struct store_read *read, uint32_t room)
{
    if (read->block.count == 0) {
        free(read->bytes);
        read->bytes = NULL;
        return;
    }
    /* It is kept for a while: not with much more room than it needs. */
    if (room - read->block.len > read->block.len / 8) {
        uint8_t *exact = realloc(read->bytes, read->block.len);
        if (exact != NULL) read->bytes = exact;
    }
    read->block.bytes = read->bytes;
}

void reader_read(struct reader *reader, struct store_read *read)
{
    assert(read->stream >= STORE_STREAM_FIRST && read->stream - STORE_STREAM_FIRST < STORE_STREAMS_MAX);
    assert(read->from >= 1 && read->end <= POSITION_MAX + 1);
    struct reading reading = {.reader = reader, .read = read, .end = block_place(read->stream, 0) + read->end};
    store_read_begin(read);

    sqlite3_step(reader->begin); /* takes effect with the first of the others, which tells if it can't */
    sqlite3_reset(reader->begin);
    int result = read->from < read->end ? gather(&reading) : SQLITE_OK;
    if (result != SQLITE_OK) fail(&reading, result);
    finish(read, reading.room);
    sqlite3_reset(reader->heads);
    sqlite3_reset(reader->bodies);
    if (!sqlite3_get_autocommit(reader->db)) sqlite3_step(reader->end);
    sqlite3_reset(reader->end);
}

/* ---- life --------------------------------------------------------------------------------------------------- */

int reader_open(struct reader *reader, sqlite3 *db, const char *path, char *text)
{
    *reader = (struct reader){.db = db, .path = path};
    const struct {
        sqlite3_stmt **statement;
        const char *sql;
    } all[] = {
        {&reader->begin, "BEGIN"},
        {&reader->end, "COMMIT"},
        {&reader->holder, "SELECT place FROM block WHERE place >= ? AND place < ? ORDER BY place DESC LIMIT 1"},
        {&reader->heads, HEADS},
        {&reader->bodies, "SELECT place, bytes FROM block WHERE place >= ? AND place < ? ORDER BY place"},
        {&reader->probe, HEADS " LIMIT 1"}, /* the same columns, so that it fails where the other does */
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (file_prepare(db, path, all[i].sql, all[i].statement, text) < 0) return -1;
    if (sqlite3_exec(db, "PRAGMA query_only = ON", NULL, NULL, NULL) == SQLITE_OK) return 0;
    snprintf(text, STORE_TEXT_MAX, "can't use %s: not enough memory", path);
    return -1;
}

void reader_close(struct reader *reader)
{
    sqlite3_stmt *all[] = {reader->begin, reader->end, reader->holder, reader->heads, reader->bodies, reader->probe};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) sqlite3_finalize(all[i]);
    int result = sqlite3_close(reader->db);
    assert(result == SQLITE_OK);
    (void)result;
    *reader = (struct reader){0};
}
