#include "store_rig.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "scratch.h"
#include "sums.h"

/* ---- life --------------------------------------------------------------------------------------------------- */

static void wake(void *arg)
{
    const uint64_t one = 1;
    if (write(((struct rig *)arg)->wake_fd, &one, sizeof one) < 0) abort();
}

static void note(void *arg, const char *text)
{
    struct rig *rig = arg;
    size_t len = strlen(rig->notes);
    snprintf(rig->notes + len, sizeof rig->notes - len, "%s\n", text);
}

static void committed(void *arg, const struct store_batch *batch, enum store_code code, const char *text)
{
    struct rig *rig = arg;
    assert_int_equal(batch->number, rig->number);
    assert_int_equal(code == STORE_OK, text[0] == '\0');
    rig->committed = true;
    rig->code = code;
    snprintf(rig->text, sizeof rig->text, "%s", text);
}

static void read_done(void *arg, struct store_read *read)
{
    struct rig *rig = arg;
    rig->reads_done++;
    if (rig->read != NULL) rig_free(rig->read);
    rig->read = read;
}

void rig_begin(struct rig *rig, enum rig_kind kind)
{
    *rig = (struct rig){.kind = kind, .wake_fd = -1};
    if (kind == RIG_MEMORY) {
        rig->disk = memory_disk_new();
        return;
    }
    snprintf(rig->directory, sizeof rig->directory, "%s/pubsub-store-XXXXXX", scratch_top());
    assert_non_null(mkdtemp(rig->directory));
    rig->wake_fd = eventfd(0, EFD_CLOEXEC);
    assert_true(rig->wake_fd >= 0);
}

static void remove_directory(const char *directory)
{
    DIR *all = opendir(directory);
    if (all == NULL) return;
    for (struct dirent *entry; (entry = readdir(all)) != NULL;) {
        char path[400];
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) remove(path);
    }
    closedir(all);
    rmdir(directory);
}

void rig_end(struct rig *rig)
{
    rig_close(rig);
    if (rig->kind == RIG_MEMORY) {
        memory_disk_free(rig->disk);
        return;
    }
    close(rig->wake_fd);
    remove_directory(rig->directory);
}

bool rig_open(struct rig *rig)
{
    const struct sqlite_store_options options = {
        .directory = rig->directory, .salvage = rig->salvage, .wake = wake, .note = note, .arg = rig};
    rig->notes[0] = '\0';
    rig->number = 0;
    rig->store = rig->kind == RIG_MEMORY ? memory_store_open(rig->disk)
                                         : sqlite_store_open(&options, rig->text, sizeof rig->text);
    if (rig->store == NULL) return false;
    rig->store->events = (struct store_events){.committed = committed, .read_done = read_done, .arg = rig};
    return true;
}

void rig_close(struct rig *rig)
{
    if (rig->store != NULL) rig->store->close(rig->store);
    rig->store = NULL;
    if (rig->read != NULL) rig_free(rig->read);
    rig->read = NULL;
}

void rig_wait(struct rig *rig)
{
    uint64_t count;
    ssize_t len = -1;
    if (rig->kind == RIG_SQLITE) {
        do len = read(rig->wake_fd, &count, sizeof count);
        while (len < 0 && errno == EINTR); /* libFuzzer has a timer */
        assert_int_equal(len, sizeof count);
    } else assert_true(memory_store_ready(rig->store));
    rig->store->poll(rig->store);
}

/* ---- loading ------------------------------------------------------------------------------------------------ */

static void add_line(struct rig *rig, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add_line(struct rig *rig, const char *format, ...)
{
    size_t len = strlen(rig->loaded);
    va_list args;
    va_start(args, format);
    vsnprintf(rig->loaded + len, sizeof rig->loaded - len, format, args);
    va_end(args);
}

static void see_record(void *arg, uint32_t kind, mps_view key, mps_view value)
{
    add_line(arg, "record %" PRIu32 " %.*s=%.*s\n", kind, (int)key.len, (const char *)key.ptr,
             value.len > 20 ? 20 : (int)value.len, (const char *)value.ptr);
}

static void see_block(void *arg, const struct store_block *block)
{
    assert_null(block->bytes);
    add_line(arg, "block %" PRIu32 " %" PRIu64 "+%" PRIu32 " %" PRIu64 " ms %" PRIu32 " bytes", block->stream,
             block->first, block->count, block->time_ms, block->len);
    if (block->expires_ms != 0) add_line(arg, " expires %" PRIu64 " ms", block->expires_ms);
    add_line(arg, "\n");
}

static void see_damage(void *arg, const char *text)
{
    add_line(arg, "damaged: %s\n", text);
}

const char *rig_load(struct rig *rig)
{
    const struct store_visitor visitor = {.record = see_record, .block = see_block, .damaged = see_damage, .arg = rig};
    rig->loaded[0] = '\0';
    return rig->store->load(rig->store, &visitor, rig->text) == 0 ? rig->loaded : NULL;
}

/* ---- changes ------------------------------------------------------------------------------------------------ */

enum store_code rig_commit(struct rig *rig, struct store_change *changes, uint32_t count)
{
    const struct store_batch batch = {.number = ++rig->number, .changes = changes, .count = count};
    rig->committed = false;
    rig->store->commit(rig->store, &batch);
    while (!rig->committed) rig_wait(rig);
    return rig->code;
}

struct store_change append(uint32_t stream, uint64_t first, uint32_t count, uint64_t time_ms, const char *text)
{
    return (struct store_change){.what = STORE_APPEND,
                                 .block = {.stream = stream,
                                           .first = first,
                                           .count = count,
                                           .time_ms = time_ms,
                                           .bytes = (const uint8_t *)text,
                                           .len = (uint32_t)strlen(text)}};
}

struct store_change append_expiring(struct store_change change, uint64_t expires_ms)
{
    change.block.expires_ms = expires_ms;
    return change;
}

struct store_change trim(uint32_t stream, uint64_t below)
{
    return (struct store_change){.what = STORE_TRIM, .block = {.stream = stream, .first = below}};
}

struct store_change put(uint32_t kind, const char *key, const char *value)
{
    return (struct store_change){.what = STORE_PUT,
                                 .kind = kind,
                                 .key = {(const uint8_t *)key, (uint32_t)strlen(key)},
                                 .value = {(const uint8_t *)value, (uint32_t)strlen(value)}};
}

struct store_change removal(uint32_t kind, const char *key)
{
    struct store_change change = put(kind, key, "");
    change.what = STORE_REMOVE;
    return change;
}

struct store_read *rig_read(struct rig *rig, uint32_t stream, uint64_t from, uint64_t end, uint32_t bytes_most)
{
    struct store_read *read = calloc(1, sizeof *read);
    if (read == NULL) abort();
    *read = (struct store_read){.stream = stream, .from = from, .end = end, .bytes_most = bytes_most};
    rig->store->read(rig->store, read);
    while (rig->read == NULL) rig_wait(rig);
    assert_ptr_equal(rig->read, read);
    rig->read = NULL;
    return read;
}

void rig_free(struct store_read *read)
{
    free(read->bytes);
    free(read);
}

char *rig_everything(struct rig *rig, uint32_t first_stream, uint32_t streams)
{
    char *all = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&all, &len);
    assert_non_null(out);
    const char *loaded = rig_load(rig);
    if (loaded == NULL) fail_msg("%s", rig->text);
    fputs(loaded, out);
    for (uint32_t stream = first_stream; stream < first_stream + streams; stream++) {
        for (uint64_t next = 1; next != 0;) {
            struct store_read *read = rig_read(rig, stream, next, POSITION_MAX + 1, 0);
            assert_int_equal(read->code, STORE_OK);
            const struct store_block *block = &read->block;
            if (read->damaged_first != 0)
                fprintf(out, "damaged %" PRIu64 "-%" PRIu64 "\n", read->damaged_first, read->damaged_last);
            if (block->count > 0)
                fprintf(out, "%" PRIu32 " %" PRIu64 "+%" PRIu32 " %.*s\n", stream, block->first, block->count,
                        (int)block->len, (const char *)block->bytes);
            next = block->count > 0 ? block->first + block->count : 0;
            rig_free(read);
        }
    }
    fclose(out);
    return all;
}

/* ---- damage ------------------------------------------------------------------------------------------------- */

void rig_path(const struct rig *rig, const char *name, char path[128])
{
    if (snprintf(path, 128, "%s/%s", rig->directory, name) >= 128) abort();
}

bool rig_exists(const struct rig *rig, const char *name)
{
    char path[128];
    rig_path(rig, name, path);
    return access(path, F_OK) == 0;
}

void rig_sql(const struct rig *rig, const char *sql)
{
    char path[128], *error = NULL;
    sqlite3 *db;
    rig_path(rig, "streams.db", path);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_exec(db, sql, NULL, NULL, &error);
    if (error != NULL) fail_msg("%s: %s", sql, error);
    sqlite3_close(db);
}

void rig_damage(struct rig *rig, uint32_t stream, uint64_t first, bool head)
{
    if (rig->kind == RIG_MEMORY) {
        assert_true(memory_disk_damage(rig->disk, stream, first, head));
        return;
    }
    char sql[200];
    const char *what = head ? "count = count + 1" : "bytes = CAST(zeroblob(1) || substr(bytes, 2) AS BLOB)";
    snprintf(sql, sizeof sql, "UPDATE block SET %s WHERE place = %" PRIu64, what, block_place(stream, first));
    rig_sql(rig, sql);
}

void rig_damage_record(struct rig *rig, uint32_t kind, const char *key)
{
    if (rig->kind == RIG_MEMORY) {
        assert_true(
            memory_disk_damage_record(rig->disk, kind, (mps_view){(const uint8_t *)key, (uint32_t)strlen(key)}));
        return;
    }
    char sql[200];
    snprintf(sql, sizeof sql, "UPDATE record SET value = x'00' WHERE kind = %" PRIu32 " AND key = CAST('%s' AS BLOB)",
             kind, key);
    rig_sql(rig, sql);
}

/* ---- files -------------------------------------------------------------------------------------------------- */

static void copy_file(const struct rig *to, const struct rig *from, const char *name)
{
    char source[128], target[128], bytes[4096];
    rig_path(from, name, source);
    rig_path(to, name, target);
    FILE *in = fopen(source, "rb"), *out = fopen(target, "wb");
    assert_non_null(in);
    assert_non_null(out);
    for (size_t len; (len = fread(bytes, 1, sizeof bytes, in)) > 0;) assert_int_equal(fwrite(bytes, 1, len, out), len);
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

void rig_killed(struct rig *copy, const struct rig *rig)
{
    rig_begin(copy, RIG_SQLITE);
    copy_file(copy, rig, "streams.db");
    copy_file(copy, rig, "streams.db-wal");
}

long rig_size(const struct rig *rig, const char *name)
{
    char path[128];
    struct stat info;
    rig_path(rig, name, path);
    return stat(path, &info) == 0 ? (long)info.st_size : -1;
}

void rig_flip(const struct rig *rig, const char *name, long at, uint8_t bits)
{
    char path[128];
    rig_path(rig, name, path);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    int byte = fgetc(file);
    assert_true(byte != EOF);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    fputc(byte ^ bits, file);
    assert_int_equal(fclose(file), 0);
}

void rig_write(const struct rig *rig, const char *name, const void *bytes, size_t len)
{
    char path[128];
    rig_path(rig, name, path);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}
