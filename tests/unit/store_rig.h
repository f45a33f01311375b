/* A store that a test plays with, in memory or on SQLite: the same calls, each of which waits for its end. */
#ifndef STORE_RIG_H
#define STORE_RIG_H

#include "memory_store.h"
#include "sqlite_store.h"

enum rig_kind { RIG_MEMORY, RIG_SQLITE };

struct rig {
    enum rig_kind kind;
    struct store *store; /* NULL while it is closed */
    char directory[128]; /* of its own, for SQLite */
    struct memory_disk *disk;
    bool salvage;                 /* the next rig_open() does */
    char text[STORE_TEXT_MAX];    /* why rig_open() or rig_load() or the last commit failed */
    char notes[8 * STORE_TEXT_MAX]; /* of the last rig_open(), a line each */
    char loaded[64 * 1024];
    uint64_t number;
    int wake_fd;
    bool committed;
    enum store_code code;
    uint32_t reads_done;
    struct store_read *read;
};

void rig_begin(struct rig *rig, enum rig_kind kind); /* new, empty and closed */
void rig_end(struct rig *rig);                       /* closes it and removes everything */
bool rig_open(struct rig *rig);
void rig_close(struct rig *rig);
void rig_wait(struct rig *rig); /* until poll() has something, and calls it */

/* A line for each thing that load() tells: "record 2 key=value", "block 64 1+3 1000 ms 6 bytes" (and "expires 5 ms", if it
 * does), "damaged: sentence"; NULL and .text if it fails. */
const char *rig_load(struct rig *rig);

enum store_code rig_commit(struct rig *rig, struct store_change *changes, uint32_t count);
#define RIG_COMMIT(rig, ...)                                                                                           \
    rig_commit(rig, (struct store_change[]){__VA_ARGS__},                                                              \
               sizeof((struct store_change[]){__VA_ARGS__}) / sizeof(struct store_change))

/* The caller's, for rig_free(). */
struct store_read *rig_read(struct rig *rig, uint32_t stream, uint64_t from, uint64_t end, uint32_t bytes_most);
void rig_free(struct store_read *read);

/* What rig_load() gives, and then all messages of these streams, a line for each block: "64 1+3 bytes". The caller's to free. */
char *rig_everything(struct rig *rig, uint32_t first_stream, uint32_t streams);

/* Changes; bytes are those of the text. */
struct store_change append(uint32_t stream, uint64_t first, uint32_t count, uint64_t time_ms, const char *text);
struct store_change append_expiring(struct store_change change, uint64_t expires_ms);
struct store_change trim(uint32_t stream, uint64_t below);
struct store_change put(uint32_t kind, const char *key, const char *value);
struct store_change removal(uint32_t kind, const char *key);

/* ---- damage, while the store is closed ---- */
void rig_damage(struct rig *rig, uint32_t stream, uint64_t first, bool head); /* of the block that begins there */
void rig_damage_record(struct rig *rig, uint32_t kind, const char *key);

/* ---- only for SQLite ---- */
void rig_path(const struct rig *rig, const char *name, char path[128]); /* of a file in the directory */
bool rig_exists(const struct rig *rig, const char *name);
void rig_sql(const struct rig *rig, const char *sql); /* run on the database */
/* A closed rig whose directory has the same database and log as this open one: what a broker that is killed leaves. */
void rig_killed(struct rig *copy, const struct rig *rig);
long rig_size(const struct rig *rig, const char *name);
void rig_flip(const struct rig *rig, const char *name, long at, uint8_t bits);
void rig_write(const struct rig *rig, const char *name, const void *bytes, size_t len); /* instead of what is there */

#endif
