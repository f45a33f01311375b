#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sqlite_parts.h"

#define APPLICATION_ID 0x70756273 /* "pubs" */
#define FORMAT_VERSION 1

/* ---- what is in it ------------------------------------------------------------------------------------------
 * Written for the person who looks inside with sqlite3, as well as for SQLite: the comments are kept in the file. */

static const char block_sql[] = "CREATE TABLE block ( -- consecutive messages of one stream, as they came\n"
                                "  place INTEGER PRIMARY KEY, -- (stream number - 64) << 48 | position of the first\n"
                                "  count INTEGER NOT NULL, -- messages\n"
                                "  time_ms INTEGER NOT NULL, -- Unix time when the first one came\n"
                                "  expires_ms INTEGER NOT NULL, -- Unix time when the first of them expires; 0: never\n"
                                "  len INTEGER NOT NULL, -- bytes\n"
                                "  head_sum INTEGER NOT NULL, -- XXH3 (64 bits) of all that is left of it\n"
                                "  sum INTEGER NOT NULL, -- XXH3 of the bytes, seeded with the place\n"
                                "  bytes BLOB NOT NULL -- MSG frames, one behind the other\n"
                                ")";

static const char record_sql[] =
    "CREATE TABLE record ( -- all that isn't a message\n"
    "  kind INTEGER NOT NULL, -- 1: of the store, 2: stream, 3: session, 4: subscription,\n"
    "  -- 5: cursor, 6: retained value, 7: will, 8: publisher\n"
    "  key BLOB NOT NULL,\n"
    "  value BLOB NOT NULL, -- MessagePack, but for frames that are kept as they came\n"
    "  sum INTEGER NOT NULL, -- XXH3 of the value, seeded with that of the key, seeded with the kind\n"
    "  PRIMARY KEY (kind, key)\n"
    ") WITHOUT ROWID";

/* ---- sentences ---------------------------------------------------------------------------------------------- */

bool file_is_corrupt(int result)
{
    return (result & 0xff) == SQLITE_CORRUPT || (result & 0xff) == SQLITE_NOTADB;
}

enum store_code file_code(sqlite3 *db, int result)
{
    if ((result & 0xff) == SQLITE_FULL) return STORE_FULL;
    if ((result & 0xff) != SQLITE_IOERR) return STORE_FAILED;
    int error = sqlite3_system_errno(db);
    return error == ENOSPC || error == EDQUOT ? STORE_FULL : STORE_FAILED;
}

void file_sentence(char *text, sqlite3 *db, int result, const char *about, const char *path)
{
    if (file_is_corrupt(result)) {
        snprintf(text, STORE_TEXT_MAX, "%s %s: it is damaged: " SALVAGE_HINT, about, path);
        return;
    }
    if (file_code(db, result) == STORE_FULL) {
        snprintf(text, STORE_TEXT_MAX, "%s %s: no room on the disk", about, path);
        return;
    }
    int error = db == NULL || (result & 0xff) != SQLITE_IOERR ? 0 : sqlite3_system_errno(db);
    snprintf(text, STORE_TEXT_MAX, "%s %s: %s%s%s", about, path, sqlite3_errstr(result & 0xff), error != 0 ? ": " : "",
             error != 0 ? strerror(error) : "");
}

int file_prepare(sqlite3 *db, const char *path, const char *sql, sqlite3_stmt **statement, char *text)
{
    int result = sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);
    if (result == SQLITE_OK) return 0;
    file_sentence(text, db, result, "can't use", path);
    return -1;
}

static enum file_state state_of(sqlite3 *db, int result, const char *path, char *text)
{
    file_sentence(text, db, result, "can't use", path);
    return file_is_corrupt(result) ? FILE_DAMAGED : FILE_REFUSED;
}

/* ---- opening ------------------------------------------------------------------------------------------------
 * Nothing of the file is trusted: no code that its schema may name is run, sizes of cells are checked when a page comes
 * in, and it isn't mapped, so that a file that gets shorter or a disk that fails is an error code and no signal.
 * Debian's SQLite overwrites what is deleted with zeros, which would write every message twice.
 * The log keeps its length when it begins anew, since a file that grows makes every sync dearer; only a longer one, as
 * after a commit of many megabytes, is cut back. */
static const char settings[] = "PRAGMA mmap_size = 0; PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY;"
                               "PRAGMA cache_size = -8192; PRAGMA synchronous = FULL; PRAGMA secure_delete = OFF;"
                               "PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = 67108864;";

static int configure(sqlite3 *db)
{
    static const struct {
        int option, on;
    } options[] = {
        {SQLITE_DBCONFIG_DEFENSIVE, 1},
        {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
        {SQLITE_DBCONFIG_ENABLE_TRIGGER, 0},
        {SQLITE_DBCONFIG_ENABLE_VIEW, 0},
    };
    int result = sqlite3_extended_result_codes(db, 1);
    for (size_t i = 0; i < sizeof options / sizeof options[0] && result == SQLITE_OK; i++)
        result = sqlite3_db_config(db, options[i].option, options[i].on, NULL);
    /* Nobody but us should have it open; somebody who looks inside doesn't take long. */
    if (result == SQLITE_OK) result = sqlite3_busy_timeout(db, 2000);
    if (result == SQLITE_OK) result = sqlite3_exec(db, settings, NULL, NULL, NULL);
    return result;
}

static int open_connection(const char *path, sqlite3 **db)
{
    /* Each connection is used by one thread at a time. */
    int result =
        sqlite3_open_v2(path, db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE, NULL);
    return result == SQLITE_OK ? configure(*db) : result;
}

/* A link, a pipe, or another user's file is not ours, whatever it contains. */
static enum file_state look_at(const char *path, char *text)
{
    struct stat info;
    if (lstat(path, &info) < 0) {
        snprintf(text, STORE_TEXT_MAX, "can't use %s: %s", path, strerror(errno));
        return FILE_REFUSED;
    }
    const char *wrong = NULL;
    if (!S_ISREG(info.st_mode)) wrong = "it is no regular file: move it away";
    else if (info.st_uid != geteuid()) wrong = "it belongs to another user: run as that one, or give it to this one";
    if (wrong != NULL) {
        snprintf(text, STORE_TEXT_MAX, "can't use %s: %s", path, wrong);
        return FILE_REFUSED;
    }
    if (info.st_size > 0) return FILE_FINE;
    snprintf(text, STORE_TEXT_MAX, "can't use %s: it is empty, as no store ever is: move it away to begin a new one",
             path);
    return FILE_DAMAGED;
}

enum file_state file_connect(const char *path, sqlite3 **db, char *text)
{
    *db = NULL;
    enum file_state state = look_at(path, text);
    if (state != FILE_FINE) return state;
    int result = open_connection(path, db);
    if (result == SQLITE_OK && sqlite3_db_readonly(*db, "main") == 1) result = SQLITE_READONLY;
    if (result == SQLITE_OK) return FILE_FINE;
    if (result == SQLITE_NOTADB) {
        snprintf(text, STORE_TEXT_MAX,
                 "can't use %s: it is no database, or its beginning is damaged: move it away, or " SALVAGE_HINT, path);
        state = FILE_DAMAGED;
    } else if ((result & 0xff) == SQLITE_READONLY) {
        snprintf(text, STORE_TEXT_MAX, "can't use %s: it may only be read: let the broker's user write it", path);
        state = FILE_REFUSED;
    } else {
        state = state_of(*db, result, path, text);
    }
    sqlite3_close(*db);
    *db = NULL;
    return state;
}

/* ---- recognising -------------------------------------------------------------------------------------------- */

static int get_number(sqlite3 *db, const char *sql, int *number)
{
    sqlite3_stmt *statement = NULL;
    int result = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
    if (result == SQLITE_OK) result = sqlite3_step(statement);
    if (result == SQLITE_ROW) {
        *number = sqlite3_column_int(statement, 0);
        result = SQLITE_OK;
    }
    sqlite3_finalize(statement);
    return result;
}

/* The tables must be exactly those that we made: with a column of another name or type, what is read would be nonsense.
 */
static int compare_schema(sqlite3 *db, bool *same)
{
    static const char *const expected[] = {block_sql, record_sql};
    sqlite3_stmt *statement = NULL;
    int result = sqlite3_prepare_v2(db, "SELECT sql FROM sqlite_schema ORDER BY rowid", -1, &statement, NULL);
    size_t count = 0;
    *same = true;
    while (result == SQLITE_OK || result == SQLITE_ROW) {
        result = sqlite3_step(statement);
        if (result != SQLITE_ROW) break;
        const char *sql = (const char *)sqlite3_column_text(statement, 0);
        if (count == 2 || sql == NULL || strcmp(sql, expected[count]) != 0) *same = false;
        if (count < 2) count++;
    }
    sqlite3_finalize(statement);
    *same = *same && count == 2;
    return result == SQLITE_DONE ? SQLITE_OK : result;
}

enum file_state file_recognise(sqlite3 *db, const char *path, char *text)
{
    int id = 0, version = 0;
    bool same = false;
    int result = get_number(db, "PRAGMA application_id", &id);
    if (result == SQLITE_OK) result = get_number(db, "PRAGMA user_version", &version);
    if (result != SQLITE_OK) return state_of(db, result, path, text);
    if (id != APPLICATION_ID) {
        snprintf(text, STORE_TEXT_MAX,
                 "can't use %s: it is another program's database (application id %d, not %d), or damaged: move it "
                 "away, or " SALVAGE_HINT,
                 path, id, APPLICATION_ID);
        return FILE_DAMAGED;
    }
    if (version != FORMAT_VERSION) {
        snprintf(text, STORE_TEXT_MAX,
                 "can't use %s: its format is %d, and this pubsubd knows %d only: use the pubsubd that wrote it, or "
                 "another directory",
                 path, version, FORMAT_VERSION);
        return FILE_DAMAGED;
    }
    result = compare_schema(db, &same);
    if (result != SQLITE_OK) return state_of(db, result, path, text);
    if (same) return FILE_FINE;
    snprintf(text, STORE_TEXT_MAX, "can't use %s: its tables are not those that pubsubd makes: " SALVAGE_HINT, path);
    return FILE_DAMAGED;
}

enum file_state file_examine(sqlite3 *db, const char *path, char *text)
{
    sqlite3_stmt *statement = NULL;
    int result = sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &statement, NULL);
    if (result == SQLITE_OK) result = sqlite3_step(statement);
    bool whole = false;
    if (result == SQLITE_ROW) {
        const char *said = (const char *)sqlite3_column_text(statement, 0);
        whole = said != NULL && strcmp(said, "ok") == 0;
        result = whole ? SQLITE_OK : SQLITE_CORRUPT;
    }
    sqlite3_finalize(statement);
    return whole ? FILE_FINE : state_of(db, result, path, text);
}

/* ---- making ------------------------------------------------------------------------------------------------- */

static int make_tables(sqlite3 *db)
{
    /* Pages that retention frees can be given back piece by piece only if it was said before the first table. */
    int result =
        sqlite3_exec(db, "PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; BEGIN",
                     NULL, NULL, NULL);
    if (result == SQLITE_OK) result = sqlite3_exec(db, block_sql, NULL, NULL, NULL);
    if (result == SQLITE_OK) result = sqlite3_exec(db, record_sql, NULL, NULL, NULL);
    char numbers[100];
    snprintf(numbers, sizeof numbers, "PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT", APPLICATION_ID,
             FORMAT_VERSION);
    return result == SQLITE_OK ? sqlite3_exec(db, numbers, NULL, NULL, NULL) : result;
}

int file_create(const char *path, char *text)
{
    /* The file is here before SQLite opens it for its mode: those that SQLite makes beside it get the same one. */
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        snprintf(text, STORE_TEXT_MAX, "can't make %s: %s", path, strerror(errno));
        return -1;
    }
    sqlite3 *db = NULL;
    int result = open_connection(path, &db);
    if (result == SQLITE_OK) result = make_tables(db);
    if (result != SQLITE_OK) file_sentence(text, db, result, "can't make", path);
    int closed = sqlite3_close(db);
    if (result == SQLITE_OK && (result = closed) != SQLITE_OK) file_sentence(text, NULL, result, "can't make", path);
    /* Closing wrote everything into the file, and has no way to say that it couldn't: a log that is left tells. */
    char *log;
    if (asprintf(&log, "%s-wal", path) < 0) abort();
    if (result == SQLITE_OK && (access(log, F_OK) == 0 || fsync(fd) < 0)) {
        snprintf(text, STORE_TEXT_MAX, "can't make %s: it could not be written", path);
        result = SQLITE_IOERR;
    }
    free(log);
    close(fd);
    return result == SQLITE_OK ? 0 : -1;
}
