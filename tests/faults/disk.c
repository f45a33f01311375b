#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BLOCK 4096u
#define FILES_MAX 8

enum block_state { CLEAN, WRITTEN, LOST };

/* What is on the disk of one file. */
struct image {
    char name[64]; /* empty: none */
    uint8_t *bytes;
    uint64_t len;
    uint8_t *states; /* of its blocks, and of those that it will have: enum block_state */
    uint64_t blocks;
};

static struct {
    pthread_mutex_t mutex;
    char directory[128];
    struct image images[FILES_MAX];
    enum disk_fault fault;
    uint32_t calls, from, count; /* calls so far; the ones that fail */
    bool failed;
} disk = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* ---- images ------------------------------------------------------------------------------------------------- */

static void resize(struct image *image, uint64_t len)
{
    image->bytes = realloc(image->bytes, len + 1);
    if (image->bytes == NULL) abort();
    if (len > image->len) memset(image->bytes + image->len, 0, len - image->len);
    image->len = len;
}

/* A file that was not written so far is on the disk as it is: one that got this name after it was synced, for example.
 */
static void load(struct image *image)
{
    char path[256];
    struct stat info;
    snprintf(path, sizeof path, "%s/%s", disk.directory, image->name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    if (fstat(fd, &info) < 0) abort();
    resize(image, (uint64_t)info.st_size);
    if (pread(fd, image->bytes, image->len, 0) != (ssize_t)image->len) abort();
    close(fd);
}

static struct image *image_named(const char *name)
{
    struct image *unused = NULL;
    for (size_t i = 0; i < FILES_MAX; i++) {
        if (strcmp(disk.images[i].name, name) == 0) return &disk.images[i];
        if (disk.images[i].name[0] == '\0') unused = &disk.images[i];
    }
    if (unused == NULL) abort();
    snprintf(unused->name, sizeof unused->name, "%s", name);
    load(unused);
    return unused;
}

static void forget(struct image *image)
{
    free(image->bytes);
    free(image->states);
    *image = (struct image){0};
}

/* Of the file that this descriptor is of, or NULL if it isn't in our directory. */
static struct image *image_of(int fd)
{
    char link[40], path[256];
    if (disk.directory[0] == '\0') return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    if (len < 0) return NULL;
    path[len] = '\0';
    size_t directory_len = strlen(disk.directory);
    if (strncmp(path, disk.directory, directory_len) != 0 || path[directory_len] != '/') return NULL;
    return image_named(path + directory_len + 1);
}

static void set_blocks(struct image *image, uint64_t from, uint64_t end, enum block_state state)
{
    uint64_t need = (end + BLOCK - 1) / BLOCK;
    if (need > image->blocks) {
        image->states = realloc(image->states, need);
        if (image->states == NULL) abort();
        memset(image->states + image->blocks, CLEAN, need - image->blocks);
        image->blocks = need;
    }
    for (uint64_t i = from / BLOCK; i < need; i++) image->states[i] = (uint8_t)state;
}

/* What was written is on the disk now, as it is in the file. */
static void bring(struct image *image, int fd)
{
    struct stat info;
    if (fstat(fd, &info) < 0) abort();
    resize(image, (uint64_t)info.st_size);
    for (uint64_t i = 0; i < image->blocks; i++) {
        if (image->states[i] != WRITTEN) continue;
        image->states[i] = CLEAN;
        if (i * BLOCK >= image->len) continue;
        uint64_t len = image->len - i * BLOCK < BLOCK ? image->len - i * BLOCK : BLOCK;
        /* SQLite opens its files for reading and writing, so this descriptor may be read. */
        if (syscall(SYS_pread64, fd, image->bytes + i * BLOCK, len, (off_t)(i * BLOCK)) != (long)len) abort();
    }
}

static void lose(struct image *image)
{
    for (uint64_t i = 0; i < image->blocks; i++)
        if (image->states[i] == WRITTEN) image->states[i] = LOST;
}

/* ---- the test's side ---------------------------------------------------------------------------------------- */

void disk_watch(const char *directory)
{
    pthread_mutex_lock(&disk.mutex);
    for (size_t i = 0; i < FILES_MAX; i++) forget(&disk.images[i]);
    snprintf(disk.directory, sizeof disk.directory, "%s", directory == NULL ? "" : directory);
    disk.count = 0;
    pthread_mutex_unlock(&disk.mutex);
}

void disk_fail(enum disk_fault fault, uint32_t k, uint32_t count)
{
    pthread_mutex_lock(&disk.mutex);
    disk.fault = fault;
    disk.calls = 0;
    disk.from = k;
    disk.count = count;
    disk.failed = false;
    pthread_mutex_unlock(&disk.mutex);
}

bool disk_failed(void)
{
    pthread_mutex_lock(&disk.mutex);
    bool failed = disk.failed;
    pthread_mutex_unlock(&disk.mutex);
    return failed;
}

static void write_image(const struct image *image, const char *directory, bool torn)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", directory, image->name);
    FILE *file = fopen(path, "wb");
    if (file == NULL) abort();
    for (uint64_t at = 0; at < image->len; at += BLOCK) {
        static const uint8_t nonsense[BLOCK] = {0xde, 0xad};
        uint64_t len = image->len - at < BLOCK ? image->len - at : BLOCK;
        bool lost = torn && at / BLOCK < image->blocks && image->states[at / BLOCK] == LOST;
        if (fwrite(lost ? nonsense : image->bytes + at, 1, len, file) != len) abort();
    }
    if (fclose(file) != 0) abort();
}

void disk_power_failure(const char *directory, bool torn)
{
    pthread_mutex_lock(&disk.mutex);
    /* The log's index is made anew from the log, and the lock is held by a process, not by what is in its file. */
    write_image(image_named("streams.db"), directory, torn);
    write_image(image_named("streams.db-wal"), directory, torn);
    pthread_mutex_unlock(&disk.mutex);
}

/* ---- between the process and its files ---------------------------------------------------------------------- */

/* Counts a call; true: it is to fail. */
static bool fails(bool is_sync)
{
    if (disk.count == 0 || is_sync != (disk.fault == DISK_SYNC_FAILS)) return false;
    disk.calls++;
    if (disk.calls < disk.from || disk.calls - disk.from >= disk.count) return false;
    disk.failed = true;
    errno = disk.fault == DISK_FULL ? ENOSPC : EIO;
    return true;
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at);
ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at)
{
    pthread_mutex_lock(&disk.mutex);
    struct image *image = image_of(fd);
    ssize_t result = -1;
    if (image == NULL || !fails(false)) {
        result = syscall(SYS_pwrite64, fd, bytes, len, at);
        if (image != NULL && result > 0) set_blocks(image, (uint64_t)at, (uint64_t)at + (uint64_t)result, WRITTEN);
    }
    pthread_mutex_unlock(&disk.mutex);
    return result;
}

int fdatasync(int fd)
{
    pthread_mutex_lock(&disk.mutex);
    struct image *image = image_of(fd);
    bool fail = image != NULL && fails(true);
    int result = fail ? -1 : (int)syscall(SYS_fdatasync, fd);
    if (fail) lose(image);
    else if (image != NULL) bring(image, fd);
    if (fail) errno = EIO;
    pthread_mutex_unlock(&disk.mutex);
    return result;
}

int ftruncate64(int fd, off64_t len)
{
    pthread_mutex_lock(&disk.mutex);
    struct image *image = image_of(fd);
    int result = (int)syscall(SYS_ftruncate, fd, len);
    /* Takes effect on the disk when it likes; here, at once. What was lost is lost no more where there is nothing now.
     */
    if (image != NULL && result == 0 && (uint64_t)len < image->len) {
        resize(image, (uint64_t)len);
        for (uint64_t i = ((uint64_t)len + BLOCK - 1) / BLOCK; i < image->blocks; i++) image->states[i] = CLEAN;
    }
    pthread_mutex_unlock(&disk.mutex);
    return result;
}
