#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "batch.h"
#include "sqlite_parts.h"

struct reads {
    struct store_read *first, *last;
};

struct sqlite_store {
    struct store store;
    struct directory directory;
    void (*wake)(void *arg);
    void *wake_arg;
    struct writer writer; /* the writing thread's */
    struct reader reader; /* the reading thread's; load()'s before there is anything to read */
    struct ahead ahead;   /* as well */
    pthread_t write_thread, read_thread;
    uint64_t last_number; /* of the batches */

    pthread_mutex_t mutex; /* over all that follows */
    pthread_cond_t write_wanted, read_wanted;
    bool closing;
    bool woken;                      /* since the last poll() */
    const struct store_batch *batch; /* begun; NULL when it is done */
    const struct store_batch *done;  /* not told yet */
    enum store_code code;            /* of it */
    char text[STORE_TEXT_MAX];
    struct reads waiting, read; /* to be read; read, but not told yet */
};

static struct sqlite_store *of(struct store *store)
{
    return (struct sqlite_store *)(void *)store;
}

static void add(struct reads *list, struct store_read *read)
{
    read->next = NULL;
    if (list->last != NULL) list->last->next = read;
    else list->first = read;
    list->last = read;
}

static struct store_read *take(struct reads *list)
{
    struct store_read *read = list->first;
    list->first = read->next;
    if (list->first == NULL) list->last = NULL;
    read->next = NULL;
    return read;
}

/* ---- the threads -------------------------------------------------------------------------------------------- */

/* With the mutex held, which it lets go. */
static void tell(struct sqlite_store *sqlite)
{
    bool wake = !sqlite->woken;
    sqlite->woken = true;
    pthread_mutex_unlock(&sqlite->mutex);
    if (wake) sqlite->wake(sqlite->wake_arg);
}

static void write_batch(struct sqlite_store *sqlite, const struct store_batch *batch)
{
    char text[STORE_TEXT_MAX] = "";
    enum store_code code = writer_commit(&sqlite->writer, batch, text);
    pthread_mutex_lock(&sqlite->mutex);
    sqlite->batch = NULL;
    sqlite->done = batch;
    sqlite->code = code;
    memcpy(sqlite->text, text, sizeof text);
    tell(sqlite);
    writer_checkpoint(&sqlite->writer);
}

static void *write_all(void *arg)
{
    struct sqlite_store *sqlite = arg;
    bool spare = true; /* there may be room to give back while nothing is to be written */
    pthread_mutex_lock(&sqlite->mutex);
    while (!sqlite->closing || sqlite->batch != NULL) {
        const struct store_batch *batch = sqlite->batch;
        if (batch == NULL && !spare) {
            pthread_cond_wait(&sqlite->write_wanted, &sqlite->mutex);
            continue;
        }
        pthread_mutex_unlock(&sqlite->mutex);
        if (batch != NULL) {
            write_batch(sqlite, batch);
            spare = true;
        } else {
            spare = writer_shrink(&sqlite->writer);
            writer_checkpoint(&sqlite->writer);
        }
        pthread_mutex_lock(&sqlite->mutex);
    }
    pthread_mutex_unlock(&sqlite->mutex);
    return NULL;
}

static void *read_all(void *arg)
{
    struct sqlite_store *sqlite = arg;
    pthread_mutex_lock(&sqlite->mutex);
    while (!sqlite->closing) {
        if (sqlite->waiting.first == NULL) {
            pthread_cond_wait(&sqlite->read_wanted, &sqlite->mutex);
            continue;
        }
        struct store_read *read = take(&sqlite->waiting);
        pthread_mutex_unlock(&sqlite->mutex);
        ahead_read(&sqlite->ahead, &sqlite->reader, read);
        pthread_mutex_lock(&sqlite->mutex);
        bool is_wanted = sqlite->waiting.first != NULL;
        add(&sqlite->read, read);
        tell(sqlite);
        if (!is_wanted) ahead_prepare(&sqlite->ahead, &sqlite->reader);
        pthread_mutex_lock(&sqlite->mutex);
    }
    pthread_mutex_unlock(&sqlite->mutex);
    return NULL;
}

/* ---- the table ---------------------------------------------------------------------------------------------- */

static int load(struct store *store, const struct store_visitor *visitor, char text[STORE_TEXT_MAX])
{
    /* The reading thread sleeps until the first request, so its connection is free. */
    return load_all(of(store)->reader.db, of(store)->reader.path, visitor, text);
}

static void commit(struct store *store, const struct store_batch *batch)
{
    struct sqlite_store *sqlite = of(store);
    batch_assert(batch);
    assert(sqlite->last_number == 0 || batch->number == sqlite->last_number + 1);
    sqlite->last_number = batch->number;
    pthread_mutex_lock(&sqlite->mutex);
    assert(sqlite->batch == NULL && sqlite->done == NULL);
    sqlite->batch = batch;
    pthread_mutex_unlock(&sqlite->mutex);
    pthread_cond_signal(&sqlite->write_wanted);
}

static void begin_read(struct store *store, struct store_read *read)
{
    struct sqlite_store *sqlite = of(store);
    read->bytes = NULL;
    pthread_mutex_lock(&sqlite->mutex);
    add(&sqlite->waiting, read);
    pthread_mutex_unlock(&sqlite->mutex);
    pthread_cond_signal(&sqlite->read_wanted);
}

static void poll_store(struct store *store)
{
    struct sqlite_store *sqlite = of(store);
    char text[STORE_TEXT_MAX] = "";
    pthread_mutex_lock(&sqlite->mutex);
    const struct store_batch *done = sqlite->done;
    enum store_code code = sqlite->code;
    if (done != NULL) memcpy(text, sqlite->text, sizeof text);
    struct reads read = sqlite->read;
    sqlite->done = NULL;
    sqlite->read = (struct reads){0};
    sqlite->woken = false;
    pthread_mutex_unlock(&sqlite->mutex);

    if (done != NULL) store->events.committed(store->events.arg, done, code, text);
    while (read.first != NULL) store->events.read_done(store->events.arg, take(&read));
}

static void free_reads(struct reads *list)
{
    while (list->first != NULL) {
        struct store_read *read = take(list);
        free(read->bytes);
        free(read);
    }
}

static void dispose(struct sqlite_store *sqlite)
{
    ahead_close(&sqlite->ahead);
    reader_close(&sqlite->reader);
    writer_close(&sqlite->writer);
    pthread_mutex_destroy(&sqlite->mutex);
    pthread_cond_destroy(&sqlite->write_wanted);
    pthread_cond_destroy(&sqlite->read_wanted);
    free_reads(&sqlite->waiting);
    free_reads(&sqlite->read);
    directory_close(&sqlite->directory);
    free(sqlite);
}

static void end_thread(struct sqlite_store *sqlite, pthread_t thread, pthread_cond_t *wanted)
{
    pthread_mutex_lock(&sqlite->mutex);
    sqlite->closing = true;
    pthread_mutex_unlock(&sqlite->mutex);
    pthread_cond_signal(wanted);
    pthread_join(thread, NULL);
}

static void close_store(struct store *store)
{
    struct sqlite_store *sqlite = of(store);
    end_thread(sqlite, sqlite->read_thread, &sqlite->read_wanted);
    end_thread(sqlite, sqlite->write_thread, &sqlite->write_wanted);
    dispose(sqlite);
}

/* ---- opening ------------------------------------------------------------------------------------------------ */

/* A new database gets its name when it is complete: one that is empty or half made is none of ours. */
static int make_new(const struct directory *directory, char *text)
{
    char *name = directory_file(directory, ".new");
    int result = file_create(name, text);
    if (result == 0) result = directory_rename(directory, name, directory->database, text);
    if (result < 0) directory_remove(directory, ".new");
    free(name);
    return result;
}

static int make_if_missing(const struct directory *directory, char *text)
{
    if (access(directory->database, F_OK) == 0 || errno != ENOENT) return 0; /* what is wrong with it is found later */
    char *log = directory_file(directory, "-wal");
    bool logged = access(log, F_OK) == 0;
    free(log);
    if (!logged) return make_new(directory, text);
    snprintf(text, STORE_TEXT_MAX,
             "%s is missing, but its streams.db-wal is there: put it back, or move that away as well",
             directory->database);
    return -1;
}

static enum file_state check_log(const struct directory *directory, char *text)
{
    struct wal wal;
    char *log = directory_file(directory, "-wal");
    enum file_state state = wal_open(&wal, log, text) < 0 ? FILE_REFUSED : FILE_FINE;
    if (state == FILE_FINE && wal.damaged) {
        snprintf(text, STORE_TEXT_MAX, "can't use %s: it is damaged: " SALVAGE_HINT, log);
        state = FILE_DAMAGED;
    }
    wal_close(&wal);
    free(log);
    return state;
}

static void ignore_record(void *arg, uint32_t kind, mps_view key, mps_view value)
{
    (void)arg, (void)kind, (void)key, (void)value;
}

static void ignore_block(void *arg, const struct store_block *block)
{
    (void)arg, (void)block;
}

static void ignore_text(void *arg, const char *text)
{
    (void)arg, (void)text;
}

/* Reads every page, as SQLite sees them and as load() will. */
static enum file_state examine_all(sqlite3 *db, const char *path, char *text)
{
    static const struct store_visitor nobody = {.record = ignore_record, .block = ignore_block, .damaged = ignore_text};
    enum file_state state = file_examine(db, path, text);
    return state == FILE_FINE && load_all(db, path, &nobody, text) < 0 ? FILE_DAMAGED : state;
}

/* The writing connection. Only if it is fine, *db isn't NULL. */
static enum file_state open_database(const struct directory *directory, bool examine, sqlite3 **db, char *text)
{
    *db = NULL;
    enum file_state state = check_log(directory, text);
    if (state == FILE_FINE) state = file_connect(directory->database, db, text);
    if (state == FILE_FINE) state = file_recognise(*db, directory->database, text);
    if (state == FILE_FINE && examine) state = examine_all(*db, directory->database, text);
    if (state == FILE_FINE) return state;
    sqlite3_close(*db);
    *db = NULL;
    return state;
}

static int open_file(const struct directory *directory, const struct sqlite_store_options *options, sqlite3 **db,
                     char *text)
{
    if (salvage_finish(directory, text) < 0 || make_if_missing(directory, text) < 0) return -1;
    enum file_state state = open_database(directory, options->salvage, db, text);
    if (state == FILE_DAMAGED && options->salvage) {
        if (salvage(directory, options, text) < 0) return -1;
        state = open_database(directory, false, db, text);
    } else if (state == FILE_FINE && options->salvage && options->note != NULL) {
        options->note(options->arg, "salvage: the store is whole, so nothing was done");
    }
    return state == FILE_FINE ? 0 : -1;
}

static int open_connections(struct sqlite_store *sqlite, const struct sqlite_store_options *options, char *text)
{
    sqlite3 *db = NULL;
    const char *path = sqlite->directory.database;
    if (open_file(&sqlite->directory, options, &db, text) < 0 || writer_open(&sqlite->writer, db, path, text) < 0)
        return -1;
    if (file_connect(path, &db, text) != FILE_FINE) return -1;
    return reader_open(&sqlite->reader, db, path, text);
}

static int start_threads(struct sqlite_store *sqlite, char *text)
{
    /* Signals are for the thread that waits for them. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = pthread_create(&sqlite->write_thread, NULL, write_all, sqlite);
    if (result == 0) {
        result = pthread_create(&sqlite->read_thread, NULL, read_all, sqlite);
        if (result != 0) end_thread(sqlite, sqlite->write_thread, &sqlite->write_wanted);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (result == 0) return 0;
    snprintf(text, STORE_TEXT_MAX, "can't start the store's threads: %s", strerror(result));
    return -1;
}

struct store *sqlite_store_open(const struct sqlite_store_options *options, char *text, size_t text_cap)
{
    char sentence[STORE_TEXT_MAX] = "";
    struct sqlite_store *sqlite = calloc(1, sizeof *sqlite);
    if (sqlite == NULL) abort();
    sqlite->store =
        (struct store){.load = load, .commit = commit, .read = begin_read, .poll = poll_store, .close = close_store};
    sqlite->wake = options->wake;
    sqlite->wake_arg = options->arg;
    pthread_mutex_init(&sqlite->mutex, NULL);
    pthread_cond_init(&sqlite->write_wanted, NULL);
    pthread_cond_init(&sqlite->read_wanted, NULL);
    if (directory_open(&sqlite->directory, options->directory, sentence) == 0 &&
        open_connections(sqlite, options, sentence) == 0 && start_threads(sqlite, sentence) == 0)
        return &sqlite->store;
    dispose(sqlite);
    snprintf(text, text_cap, "%s", sentence);
    return NULL;
}
