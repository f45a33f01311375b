#include "image.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512u
#define FILES_MAX 16

uint64_t dice_next(struct dice *dice)
{
    uint64_t x = dice->state += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

uint64_t dice_below(struct dice *dice, uint64_t end)
{
    return dice_next(dice) % end;
}

static void *grown(void *array, size_t size)
{
    void *larger = realloc(array, size > 0 ? size : 1);
    if (larger == NULL) abort();
    return larger;
}

/* ---- the log ------------------------------------------------------------------------------------------------ */

static size_t entry_len(const struct disk_log_entry *entry)
{
    return sizeof *entry + entry->name_len + entry->data_len + disk_log_padding(entry);
}

bool disk_log_open(struct disk_log *log, const char *path)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) < 0 || info.st_size == 0) {
        fprintf(stderr, "can't read %s: %s\n", path, errno != 0 ? strerror(errno) : "it is empty");
        return false;
    }
    size_t len = (size_t)info.st_size, room = 0;
    *log = (struct disk_log){.bytes = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0)};
    if (log->bytes == MAP_FAILED) abort();
    close(fd);
    for (size_t at = 0; at < len;) {
        const struct disk_log_entry *entry = (const void *)(log->bytes + at);
        if (len - at < sizeof *entry || len - at < entry_len(entry)) abort();
        if (log->count == room) log->at = grown(log->at, (room = 2 * room + 1024) * sizeof *log->at);
        log->at[log->count++] = at;
        at += entry_len(entry);
    }
    return true;
}

const struct disk_log_entry *disk_log_entry(const struct disk_log *log, size_t i)
{
    return (const void *)(log->bytes + log->at[i]);
}

static const uint8_t *name_bytes(const struct disk_log_entry *entry)
{
    return (const uint8_t *)(entry + 1);
}

static const uint8_t *data_of(const struct disk_log_entry *entry)
{
    return name_bytes(entry) + entry->name_len;
}

static bool is_of_log(const struct disk_log_entry *entry)
{
    static const char end[] = "-wal";
    return entry->name_len >= 4 && memcmp(name_bytes(entry) + entry->name_len - 4, end, 4) == 0;
}

bool disk_log_is_rare(const struct disk_log_entry *entry)
{
    switch ((enum disk_log_op)entry->op) {
    case DISK_LOG_WRITE: return !is_of_log(entry) || entry->at == 0;
    case DISK_LOG_SYNC_BEGIN:
    case DISK_LOG_SYNC_END: return !is_of_log(entry);
    case DISK_LOG_SYNC_FAILED:
    case DISK_LOG_CREATE:
    case DISK_LOG_TRUNCATE:
    case DISK_LOG_RENAME:
    case DISK_LOG_UNLINK: return true;
    }
    return false;
}

/* ---- files -------------------------------------------------------------------------------------------------- */

enum change_state { PENDING, SAFE, LOST };

struct change {
    bool truncates;
    enum change_state state;
    uint64_t at, len;    /* truncates: at is the new length */
    const uint8_t *data; /* the log's */
};

struct content {
    uint8_t *bytes;
    uint64_t len, room;
};

struct file {
    struct content safe;
    struct change *changes; /* that are not in it, in their order */
    size_t count, room;
    size_t folded; /* changes that are in it by now */
};

static void set_len(struct content *content, uint64_t len)
{
    if (len > content->room) content->bytes = grown(content->bytes, content->room = len + len / 2);
    if (len > content->len) memset(content->bytes + content->len, 0, len - content->len);
    content->len = len;
}

static void put_bytes(struct content *content, uint64_t at, const uint8_t *data, uint64_t len)
{
    if (at + len > content->len) set_len(content, at + len);
    memcpy(content->bytes + at, data, len);
}

static void put_change(struct content *content, const struct change *change)
{
    if (change->truncates) set_len(content, change->at);
    else put_bytes(content, change->at, change->data, change->len);
}

static void add_change(struct file *file, struct change change)
{
    if (file->count == file->room)
        file->changes = grown(file->changes, (file->room = 2 * file->room + 16) * sizeof *file->changes);
    file->changes[file->count++] = change;
}

/* end: of all changes there ever were, those before it. */
static void settle(struct file *file, size_t end, enum change_state state)
{
    for (size_t i = 0; i + file->folded < end; i++)
        if (file->changes[i].state == PENDING) file->changes[i].state = state;
    size_t count = 0;
    while (count < file->count && file->changes[count].state == SAFE) put_change(&file->safe, &file->changes[count++]);
    file->folded += count;
    file->count -= count;
    memmove(file->changes, file->changes + count, file->count * sizeof *file->changes);
}

static void read_file(struct file *file, const char *path)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) < 0) abort();
    set_len(&file->safe, (uint64_t)info.st_size);
    if (read(fd, file->safe.bytes, file->safe.len) != info.st_size) abort();
    close(fd);
}

/* ---- names -------------------------------------------------------------------------------------------------- */

#define NAME_CAP 80

struct entry {
    char name[NAME_CAP];
    struct file *file;
};

struct names {
    struct entry entries[FILES_MAX];
    size_t count;
};

/* The name gets this file, whatever it had before; and another one, if it isn't empty, goes. */
struct naming {
    char name[NAME_CAP], gone[NAME_CAP];
    struct file *file;
};

static struct file *file_named(const struct names *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->entries[i].name, name) == 0) return names->entries[i].file;
    return NULL;
}

static void remove_name(struct names *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++) {
        if (strcmp(names->entries[i].name, name) != 0) continue;
        names->entries[i] = names->entries[--names->count];
        return;
    }
}

static void set_name(struct names *names, const char *name, struct file *file)
{
    remove_name(names, name);
    if (names->count == FILES_MAX) abort();
    struct entry *entry = &names->entries[names->count++];
    snprintf(entry->name, NAME_CAP, "%s", name);
    entry->file = file;
}

static void do_naming(struct names *names, const struct naming *naming)
{
    if (naming->file != NULL) set_name(names, naming->name, naming->file);
    if (naming->gone[0] != '\0') remove_name(names, naming->gone);
}

/* ---- the disk ----------------------------------------------------------------------------------------------- */

#define NAMINGS_MAX 64
#define SYNCS_MAX 8

/* A sync that has begun: what there was by then. */
struct sync {
    uint64_t thread;   /* 0: none */
    struct file *file; /* NULL: of the directory */
    size_t end;        /* of changes, or of namings */
};

struct disk {
    struct names now, safe;
    struct naming namings[NAMINGS_MAX]; /* that are not in safe */
    size_t namings_count, namings_folded;
    struct sync syncs[SYNCS_MAX]; /* the process may have died in some */
    size_t syncs_begun;
    struct file **files; /* all there ever were */
    size_t files_count;
};

static struct file *new_file(struct disk *disk)
{
    struct file *file = calloc(1, sizeof *file);
    disk->files = grown(disk->files, (disk->files_count + 1) * sizeof(struct file *));
    if (file == NULL) abort();
    return disk->files[disk->files_count++] = file;
}

struct disk *disk_new(const char *base)
{
    struct disk *disk = calloc(1, sizeof *disk);
    if (disk == NULL) abort();
    DIR *directory = base == NULL ? NULL : opendir(base);
    for (struct dirent *found; directory != NULL && (found = readdir(directory)) != NULL;) {
        char path[512];
        size_t len = strlen(found->d_name);
        if (found->d_type != DT_REG || strcmp(found->d_name, "lock") == 0) continue;
        if (len > 4 && strcmp(found->d_name + len - 4, "-shm") == 0) continue;
        snprintf(path, sizeof path, "%s/%s", base, found->d_name);
        struct file *file = new_file(disk);
        read_file(file, path);
        set_name(&disk->now, found->d_name, file);
    }
    if (directory != NULL) closedir(directory);
    disk->safe = disk->now;
    return disk;
}

void disk_free(struct disk *disk)
{
    for (size_t i = 0; i < disk->files_count; i++) {
        free(disk->files[i]->safe.bytes);
        free(disk->files[i]->changes);
        free(disk->files[i]);
    }
    free(disk->files);
    free(disk);
}

/* file NULL: no name is given. gone NULL: none goes. */
static void name_later(struct disk *disk, const char *name, struct file *file, const char *gone)
{
    if (disk->namings_count == NAMINGS_MAX) abort();
    struct naming *naming = &disk->namings[disk->namings_count++];
    *naming = (struct naming){.file = file};
    snprintf(naming->name, NAME_CAP, "%s", name);
    snprintf(naming->gone, NAME_CAP, "%s", gone != NULL ? gone : "");
    do_naming(&disk->now, naming);
}

static void settle_names(struct disk *disk, size_t end)
{
    size_t count = 0;
    while (disk->namings_folded + count < end) {
        do_naming(&disk->safe, &disk->namings[count++]);
    }
    disk->namings_folded += count;
    disk->namings_count -= count;
    memmove(disk->namings, disk->namings + count, disk->namings_count * sizeof disk->namings[0]);
}

static void end_sync(struct disk *disk, uint64_t thread, enum change_state becomes)
{
    for (size_t i = 0; i < SYNCS_MAX; i++) {
        struct sync *sync = &disk->syncs[i];
        if (sync->thread != thread) continue;
        if (sync->file != NULL) settle(sync->file, sync->end, becomes);
        else if (becomes == SAFE) settle_names(disk, sync->end);
        sync->thread = 0;
    }
}

static void begin_sync(struct disk *disk, uint64_t thread, struct file *file)
{
    size_t end = file != NULL ? file->folded + file->count : disk->namings_folded + disk->namings_count;
    end_sync(disk, thread, PENDING); /* of a process that died in it */
    disk->syncs[disk->syncs_begun++ % SYNCS_MAX] = (struct sync){.thread = thread, .file = file, .end = end};
}

void disk_do(struct disk *disk, const struct disk_log_entry *entry)
{
    char name[NAME_CAP] = "", other[NAME_CAP] = "";
    if (entry->name_len >= NAME_CAP) abort();
    memcpy(name, name_bytes(entry), entry->name_len);
    struct file *file = file_named(&disk->now, name);
    enum disk_log_op op = (enum disk_log_op)entry->op;
    bool is_directory =
        name[0] == '\0' && (op == DISK_LOG_SYNC_BEGIN || op == DISK_LOG_SYNC_END || op == DISK_LOG_SYNC_FAILED);
    if (file == NULL && op != DISK_LOG_CREATE && !is_directory) {
        fprintf(stderr, "the log speaks of a file that isn't there: '%s'\n", name);
        abort();
    }
    switch (op) {
    case DISK_LOG_CREATE: name_later(disk, name, new_file(disk), NULL); break;
    case DISK_LOG_WRITE:
        add_change(file, (struct change){.at = entry->at, .len = entry->data_len, .data = data_of(entry)});
        break;
    case DISK_LOG_TRUNCATE: add_change(file, (struct change){.truncates = true, .at = entry->at}); break;
    case DISK_LOG_SYNC_BEGIN: begin_sync(disk, entry->at, file); break;
    case DISK_LOG_SYNC_END: end_sync(disk, entry->at, SAFE); break;
    case DISK_LOG_SYNC_FAILED: end_sync(disk, entry->at, LOST); break;
    case DISK_LOG_RENAME:
        if (entry->data_len >= NAME_CAP) abort();
        memcpy(other, data_of(entry), entry->data_len);
        name_later(disk, other, file, name);
        break;
    case DISK_LOG_UNLINK: name_later(disk, name, NULL, name); break;
    }
}

/* ---- the power fails ---------------------------------------------------------------------------------------- */

enum how { NOTHING, EVERYTHING, SOME_WRITES, SOME_SECTORS, FIRST_WRITES, HOWS };

/* What of the changes that are not safe is there. */
struct fate {
    enum how how;
    uint64_t percent; /* SOME */
    uint64_t first;   /* FIRST_WRITES: so many of all that is not safe; of the next one some sectors */
};

/* A piece of at most a sector that a failed sync was to bring. */
static void put_lost(struct content *content, struct dice *dice, uint64_t at, const uint8_t *data, uint64_t len)
{
    uint8_t nonsense[SECTOR];
    switch (dice_below(dice, 3)) {
    case 0: break;
    case 1: put_bytes(content, at, data, len); break;
    default:
        for (size_t i = 0; i < sizeof nonsense; i++) nonsense[i] = (uint8_t)dice_next(dice);
        put_bytes(content, at, nonsense, len);
    }
}

static void put_sectors(struct content *content, struct dice *dice, const struct change *change, uint64_t percent)
{
    for (uint64_t at = change->at, end = change->at + change->len, next; at < end; at = next) {
        next = (at / SECTOR + 1) * SECTOR < end ? (at / SECTOR + 1) * SECTOR : end;
        const uint8_t *data = change->data + (at - change->at);
        if (change->state == LOST) put_lost(content, dice, at, data, next - at);
        else if (dice_below(dice, 100) < percent) put_bytes(content, at, data, next - at);
    }
}

static void put_by_chance(struct content *content, struct dice *dice, const struct change *change, uint64_t percent,
                          bool whole)
{
    if (!whole && !change->truncates) put_sectors(content, dice, change, percent);
    else if (dice_below(dice, 100) < percent) put_change(content, change);
}

static void put_fated(struct content *content, struct dice *dice, const struct change *change, const struct fate *fate,
                      uint64_t index)
{
    if (change->state == SAFE) {
        put_change(content, change);
        return;
    }
    if (change->state == LOST) {
        put_by_chance(content, dice, change, 50, false);
        return;
    }
    switch (fate->how) {
    case NOTHING:
    case HOWS: break;
    case EVERYTHING: put_change(content, change); break;
    case SOME_WRITES: put_by_chance(content, dice, change, fate->percent, true); break;
    case SOME_SECTORS: put_by_chance(content, dice, change, fate->percent, false); break;
    case FIRST_WRITES:
        if (index < fate->first) put_change(content, change);
        if (index == fate->first) put_by_chance(content, dice, change, 50, false);
        break;
    }
}

static void write_file(const struct content *content, const char *directory, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, content->bytes, content->len) != (ssize_t)content->len) {
        fprintf(stderr, "can't write %s: %s\n", path, strerror(errno));
        exit(2);
    }
    close(fd);
}

void disk_fail_power(const struct disk *disk, struct dice *dice, const char *directory)
{
    struct names names = disk->safe;
    uint64_t namings = dice_below(dice, disk->namings_count + 1);
    for (uint64_t i = 0; i < namings; i++) do_naming(&names, &disk->namings[i]);
    for (size_t i = 0; i < names.count; i++) {
        const struct file *file = names.entries[i].file;
        struct fate fate = {.how = (enum how)dice_below(dice, HOWS),
                            .percent = 5 + dice_below(dice, 91),
                            .first = dice_below(dice, file->count + 1)};
        struct content content = {0};
        put_bytes(&content, 0, file->safe.bytes, file->safe.len);
        for (size_t k = 0; k < file->count; k++) put_fated(&content, dice, &file->changes[k], &fate, k);
        write_file(&content, directory, names.entries[i].name);
        free(content.bytes);
    }
}
