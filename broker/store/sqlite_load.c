#include <inttypes.h>
#include <stdio.h>

#include "sqlite_parts.h"

#define SENTENCES_MAX 100 /* about damaged things; more are only counted */

struct loading {
    const struct store_visitor *visitor;
    uint64_t damaged;    /* sentences, said or not */
    uint32_t bad_stream; /* heads that don't fit, one behind the other: of this stream; 0: none */
    uint64_t bad_first;  /* and from this position on */
};

static void say(struct loading *loading, const char *text)
{
    if (loading->damaged++ < SENTENCES_MAX) loading->visitor->damaged(loading->visitor->arg, text);
}

static mps_view column_view(sqlite3_stmt *statement, int column)
{
    const uint8_t *bytes = sqlite3_column_blob(statement, column);
    return (mps_view){bytes != NULL ? bytes : (const uint8_t *)"", (uint32_t)sqlite3_column_bytes(statement, column)};
}

static void see_record(struct loading *loading, sqlite3_stmt *row)
{
    uint32_t kind = (uint32_t)sqlite3_column_int64(row, 0);
    mps_view key = column_view(row, 1), value = column_view(row, 2);
    if (record_sum(kind, key, value) == (uint64_t)sqlite3_column_int64(row, 3)) {
        loading->visitor->record(loading->visitor->arg, kind, key, value);
        return;
    }
    char text[STORE_TEXT_MAX];
    snprintf(text, sizeof text, "a record of kind %" PRIu32 " does not fit its checksum, and is passed over", kind);
    say(loading, text);
}

/* Bad heads have an end only where a good one begins. */
static void end_bad(struct loading *loading, const struct store_block *next)
{
    if (loading->bad_stream == 0) return;
    char text[STORE_TEXT_MAX], last[40] = "on";
    if (next != NULL && next->stream == loading->bad_stream)
        snprintf(last, sizeof last, "to %" PRIu64, next->first - 1);
    snprintf(text, sizeof text,
             "stream %" PRIu32 ": the messages from position %" PRIu64
             " %s do not fit their checksum, and are passed over",
             loading->bad_stream, loading->bad_first, last);
    loading->bad_stream = 0;
    say(loading, text);
}

static void see_block(struct loading *loading, sqlite3_stmt *row, uint64_t place)
{
    struct store_block block = {
        .stream = (uint32_t)(place >> PLACE_BITS) + STORE_STREAM_FIRST,
        .first = place & POSITION_MAX,
        .count = (uint32_t)sqlite3_column_int64(row, 1),
        .time_ms = (uint64_t)sqlite3_column_int64(row, 2),
        .expires_ms = (uint64_t)sqlite3_column_int64(row, 3),
        .len = (uint32_t)sqlite3_column_int64(row, 4),
    };
    bool fits = block_head_sum(&block) == (uint64_t)sqlite3_column_int64(row, 5);
    if (fits || loading->bad_stream != block.stream) end_bad(loading, fits ? &block : NULL);
    if (fits) {
        loading->visitor->block(loading->visitor->arg, &block);
    } else if (loading->bad_stream == 0) {
        loading->bad_stream = block.stream;
        loading->bad_first = block.first;
    }
}

static int load_records(struct loading *loading, sqlite3_stmt *statement)
{
    int result;
    while ((result = sqlite3_step(statement)) == SQLITE_ROW) see_record(loading, statement);
    return result;
}

static int load_blocks(struct loading *loading, sqlite3_stmt *statement)
{
    int result;
    sqlite3_int64 last = INT64_MIN;
    while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
        sqlite3_int64 place = sqlite3_column_int64(statement, 0);
        /* A tree that leads to the same page twice, or to one elsewhere, is damaged, though SQLite may not see it. */
        if (place <= last && last != INT64_MIN) return SQLITE_CORRUPT;
        last = place;
        if (place >> PLACE_BITS >= 0 && place >> PLACE_BITS < STORE_STREAMS_MAX)
            see_block(loading, statement, (uint64_t)place);
        else say(loading, "a block in a place of no stream does not fit its checksum, and is passed over");
    }
    end_bad(loading, NULL);
    return result;
}

static int load_rows(struct loading *loading, sqlite3 *db, const char *sql,
                     int (*rows)(struct loading *, sqlite3_stmt *))
{
    sqlite3_stmt *statement = NULL;
    int result = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
    if (result == SQLITE_OK) result = rows(loading, statement);
    sqlite3_finalize(statement);
    return result == SQLITE_DONE ? SQLITE_OK : result;
}

int load_all(sqlite3 *db, const char *path, const struct store_visitor *visitor, char *text)
{
    struct loading loading = {.visitor = visitor};
    int result = load_rows(&loading, db, "SELECT kind, key, value, sum FROM record ORDER BY kind, key", load_records);
    if (result == SQLITE_OK)
        result =
            load_rows(&loading, db, "SELECT place, count, time_ms, expires_ms, len, head_sum FROM block ORDER BY place",
                      load_blocks);
    if (result != SQLITE_OK) {
        file_sentence(text, db, result, "can't read", path);
        return -1;
    }
    if (loading.damaged > SENTENCES_MAX) {
        char more[STORE_TEXT_MAX];
        snprintf(more, sizeof more, "and %" PRIu64 " more places are damaged", loading.damaged - SENTENCES_MAX);
        visitor->damaged(visitor->arg, more);
    }
    return 0;
}
