/* Inside the store on SQLite. One file for each part:
 *   sqlite_directory.c  the directory: made, locked, names of the files in it
 *   sqlite_file.c       the database: made, opened, recognised as ours; sentences about what SQLite reports
 *   sqlite_wal.c        whether the write-ahead log of a broker that was killed is whole
 *   sqlite_write.c      commits            (the writing thread's)
 *   sqlite_read.c       blocks of messages (the reading thread's)
 *   sqlite_load.c       everything small, at the start
 *   sqlite_pages.c      rows out of the pages of a file that SQLite can't read
 *   sqlite_salvage.c    a new file from them
 *   sqlite_store.c      the table of calls, and the two threads
 * Functions that can fail return 0 or -1 with a sentence in text (STORE_TEXT_MAX bytes), unless they say otherwise. */
#ifndef STORE_SQLITE_PARTS_H
#define STORE_SQLITE_PARTS_H

#include <sqlite3.h>
#include <sys/types.h>

#include "sqlite_store.h"
#include "sums.h"

#define DATABASE_PAGE 4096u /* bytes; what a commit of one small message writes is a few of them */
#define SALVAGE_HINT "start pubsubd once with --salvage to keep what can still be read"

/* ---- sqlite_directory.c ----------------------------------------------------------------------------------- */

struct directory {
    char *path;
    char *database; /* path/streams.db */
    int lock_fd;
};

int directory_open(struct directory *directory, const char *path, char *text);
void directory_close(struct directory *directory); /* unlocks; also one that directory_open() failed on */

/* The database's path with this behind it, in memory of the caller's own. */
char *directory_file(const struct directory *directory, const char *suffix);
/* Removes the database of this name, which nobody has open, with what SQLite puts beside it. */
void directory_remove(const struct directory *directory, const char *suffix);
/* Gives a file of the directory another name, durably. */
int directory_rename(const struct directory *directory, const char *from, const char *to, char *text);

/* ---- sqlite_file.c ---------------------------------------------------------------------------------------- */

enum file_state {
    FILE_FINE,
    FILE_DAMAGED, /* or foreign, or of another format: salvage may help */
    FILE_REFUSED, /* can't be opened, whatever is in it */
};

/* A new, empty database under this name, which may exist half made. */
int file_create(const char *path, char *text);
/* One more connection, set up as all of ours; *db is NULL if there is none. */
enum file_state file_connect(const char *path, sqlite3 **db, char *text);
/* Whether this is a database that pubsubd made. */
enum file_state file_recognise(sqlite3 *db, const char *path, char *text);
/* Reads every page, which takes long. */
enum file_state file_examine(sqlite3 *db, const char *path, char *text);

/* What SQLite said, as a sentence that begins with what we were about, such as "can't write". */
void file_sentence(char *text, sqlite3 *db, int result, const char *about, const char *path);
enum store_code file_code(sqlite3 *db, int result); /* of one that isn't SQLITE_OK */
bool file_is_corrupt(int result);

/* -1 with a sentence if it can't be prepared; *statement stays NULL. */
int file_prepare(sqlite3 *db, const char *path, const char *sql, sqlite3_stmt **statement, char *text);

/* ---- sqlite_wal.c ----------------------------------------------------------------------------------------- */

struct wal_place {
    uint32_t page, frame; /* from 1 */
};

struct wal {
    int fd;              /* -1: there is none */
    bool damaged;        /* something is missing of what was synced before the broker ended */
    uint32_t pages;      /* of the database after the last transaction in it; 0: none is in it */
    struct wal_place *places; /* of its pages, in order; of one page the last place holds */
    uint32_t places_count;
};

/* Reads the log beside a database that nobody has open. A log that ends in a transaction which was never synced is whole. */
int wal_open(struct wal *wal, const char *path, char *text);
void wal_close(struct wal *wal);
/* If the log has this page: 1, and it is in bytes (DATABASE_PAGE of them). 0: it hasn't. -1: it can't be read. */
int wal_page(const struct wal *wal, uint32_t page, uint8_t *bytes);

/* ---- sqlite_write.c --------------------------------------------------------------------------------------- */

struct writer {
    sqlite3 *db;
    const char *path; /* the directory's */
    char *log;        /* of the write-ahead log */
    sqlite3_stmt *begin, *commit, *rollback, *append, *last_below, *trim, *put, *remove, *spare, *pages;
    int wal_frames;    /* in the log, by the last commit */
    int frames_most;   /* as many as it may have, since there must be room for them in the database, too */
    int checkpoint_at; /* the next one is due when there are so many */
    bool suspect;      /* the last commit failed: see writer_commit() */
    bool trimmed;      /* there may be room to give back */
    bool shrinking;    /* some is being given back */
};

int writer_open(struct writer *writer, sqlite3 *db, const char *path, char *text); /* db is the writer's from now on */
void writer_close(struct writer *writer);
enum store_code writer_commit(struct writer *writer, const struct store_batch *batch, char *text);
/* Keeps the log short; between commits. */
void writer_checkpoint(struct writer *writer);
/* Gives a bounded piece of unused room back to the file system; while there is nothing better to do. False: there is no
 * more to give. */
bool writer_shrink(struct writer *writer);

/* ---- sqlite_read.c ---------------------------------------------------------------------------------------- */

struct reader {
    sqlite3 *db;
    const char *path;
    sqlite3_stmt *begin, *end, *holder, *heads, *bodies, *probe;
};

int reader_open(struct reader *reader, sqlite3 *db, const char *path, char *text); /* db is the reader's from now on */
void reader_close(struct reader *reader);
void reader_read(struct reader *reader, struct store_read *read);

/* ---- sqlite_ahead.c --------------------------------------------------------------------------------------- */

/* Somebody who reads block after block will ask for the next one: it is read while this one is sent. Without that the disk's
 * thread and the loop wait for each other at each block (replay to one reader: a fifth of the time). What was stored never
 * changes, so what was read ahead stays true. The reading thread's. */
struct ahead {
    struct store_read ready; /* .bytes NULL: nothing is */
    uint32_t stream;         /* of the last answer, */
    uint64_t next;           /* and the position behind it */
    uint64_t end;            /* what may be read ahead; 0: nothing */
    uint32_t bytes_most;
};

/* reader_read(), or what is ready. */
void ahead_read(struct ahead *ahead, struct reader *reader, struct store_read *read);
void ahead_prepare(struct ahead *ahead, struct reader *reader); /* while nobody waits for anything else */
void ahead_close(struct ahead *ahead);

/* ---- sqlite_load.c ---------------------------------------------------------------------------------------- */

int load_all(sqlite3 *db, const char *path, const struct store_visitor *visitor, char *text);

/* ---- sqlite_pages.c --------------------------------------------------------------------------------------- */

struct page_rows {
    /* Only what fits its checksums. Views die with the call. False: no more, please. */
    bool (*block)(void *arg, const struct store_block *block);
    bool (*record)(void *arg, uint32_t kind, mps_view key, mps_view value);
    void (*progress)(void *arg, uint32_t page, uint32_t pages); /* now and then */
    void *arg;
};

/* Goes through the pages of a database and its log, in no order of rows. A row of a page of which it isn't known whether
 * it is in use comes after all that are. */
int pages_walk(int fd, const struct wal *wal, const struct page_rows *rows, char *text);

/* ---- sqlite_salvage.c ------------------------------------------------------------------------------------- */

/* Puts a new database, with what can be read of the old one, in its place. */
int salvage(const struct directory *directory, const struct sqlite_store_options *options, char *text);
/* Ends one that was interrupted when its result was complete, and forgets one that wasn't. */
int salvage_finish(const struct directory *directory, char *text);

#endif
