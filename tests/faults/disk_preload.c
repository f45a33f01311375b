/* Loaded before a program's libraries (LD_PRELOAD): stands between it and the files of one directory,
 * $FAULTS_DIRECTORY.
 *
 * It lets calls fail as the control page says, see control.h. And it writes down what happens to these files, into the
 * file that $FAULTS_LOG names, see disk_log.h: so that afterwards what the disk would hold can be made, had the power
 * failed at any moment, see image.c. Not written down are the lock and the shared memory of the log's index, which
 * mean nothing to the next process, and files without a name. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "control.h"
#include "disk_log.h"

#define PATH_CAP 512

/* One thing happens at a time, but for syncs: so the log's order is the one in which things happened, and a process
 * that kills itself does so between two of them. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

/* ---- which files -------------------------------------------------------------------------------------------- */

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);
    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

/* The name in our directory, "" for the directory itself, or NULL. */
static const char *name_of(const char *path)
{
    const char *directory = getenv("FAULTS_DIRECTORY");
    if (directory == NULL) return NULL;
    size_t len = strlen(directory);
    if (strncmp(path, directory, len) != 0 || (path[len] != '/' && path[len] != '\0')) return NULL;
    const char *name = path[len] == '/' ? path + len + 1 : path + len;
    if (ends_with(name, "-shm") || ends_with(name, " (deleted)") || strcmp(name, "lock") == 0) return NULL;
    return name;
}

static const char *name_of_fd(int fd, char *path)
{
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, PATH_CAP - 1);
    if (len < 0) return NULL;
    path[len] = '\0';
    return name_of(path);
}

/* ---- the log ------------------------------------------------------------------------------------------------ */

static uint64_t now_ns(void)
{
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void note(enum disk_log_op op, const char *name, uint64_t at, const void *data, size_t len)
{
    static int log_fd = -1;
    static char padding[8];
    const char *path = getenv("FAULTS_LOG");
    if (path == NULL) return;
    if (log_fd < 0) log_fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    struct disk_log_entry entry = {
        .op = op, .name_len = (uint32_t)strlen(name), .data_len = (uint32_t)len, .time_ns = now_ns(), .at = at};
    struct iovec pieces[] = {{&entry, sizeof entry},
                             {(void *)(uintptr_t)name, entry.name_len},
                             {(void *)(uintptr_t)data, len},
                             {padding, 0}};
    pieces[3].iov_len = disk_log_padding(&entry);
    ssize_t want = (ssize_t)(sizeof entry + entry.name_len + len + pieces[3].iov_len);
    if (log_fd < 0 || syscall(SYS_writev, log_fd, pieces, 4) != want) abort(); /* the test would be worth nothing */
}

/* The beginning of a call that changes something of ours. */
static void enter(void)
{
    pthread_mutex_lock(&mutex);
    if (control_fails(CONTROL_DIE)) {
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
}

static void leave(void)
{
    int error = errno;
    pthread_mutex_unlock(&mutex);
    errno = error;
}

/* ---- writing ------------------------------------------------------------------------------------------------ */

/* How much of it is written: all, or less, or nothing, with errno. */
static ssize_t room_for(size_t len)
{
    if (control_fails(CONTROL_WRITE_FAILS)) {
        errno = EIO;
        return -1;
    }
    if (!control_fails(CONTROL_FULL)) return (ssize_t)len;
    if (len > 512 && control_page()->failed % 2 == 1) return (ssize_t)(len / 2);
    errno = ENOSPC;
    return -1;
}

static ssize_t write_at(int fd, const void *bytes, size_t len, off_t at)
{
    char path[PATH_CAP];
    const char *name = name_of_fd(fd, path);
    if (name == NULL) return syscall(SYS_pwrite64, fd, bytes, len, at);
    enter();
    ssize_t result = room_for(len);
    if (result >= 0) result = syscall(SYS_pwrite64, fd, bytes, (size_t)result, at);
    if (result > 0) note(DISK_LOG_WRITE, name, (uint64_t)at, bytes, (size_t)result);
    leave();
    return result;
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at)
{
    return write_at(fd, bytes, len, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at);
ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at)
{
    return write_at(fd, bytes, len, at);
}

/* Nothing of what we look after is written at a descriptor's own place. */
ssize_t write(int fd, const void *bytes, size_t len)
{
    char path[PATH_CAP];
    if (name_of_fd(fd, path) != NULL) abort();
    return syscall(SYS_write, fd, bytes, len);
}

static int truncate_to(int fd, off_t len)
{
    char path[PATH_CAP];
    const char *name = name_of_fd(fd, path);
    if (name == NULL) return (int)syscall(SYS_ftruncate, fd, len);
    enter();
    int result = (int)syscall(SYS_ftruncate, fd, len);
    if (result == 0) note(DISK_LOG_TRUNCATE, name, (uint64_t)len, NULL, 0);
    leave();
    return result;
}

int ftruncate(int fd, off_t len)
{
    return truncate_to(fd, len);
}

int ftruncate64(int fd, off64_t len);
int ftruncate64(int fd, off64_t len)
{
    return truncate_to(fd, len);
}

/* ---- syncing ------------------------------------------------------------------------------------------------ */

static int sync_by(long call, int fd)
{
    char path[PATH_CAP];
    const char *name = name_of_fd(fd, path);
    if (name == NULL) return (int)syscall(call, fd);
    uint64_t thread = (uint64_t)syscall(SYS_gettid);
    enter();
    note(DISK_LOG_SYNC_BEGIN, name, thread, NULL, 0);
    bool fails = control_fails(CONTROL_SYNC_FAILS);
    leave();
    int result = fails ? -1 : (int)syscall(call, fd);
    pthread_mutex_lock(&mutex);
    note(result == 0 ? DISK_LOG_SYNC_END : DISK_LOG_SYNC_FAILED, name, thread, NULL, 0);
    if (fails) errno = EIO;
    leave();
    return result;
}

int fsync(int fd)
{
    return sync_by(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return sync_by(SYS_fdatasync, fd);
}

/* ---- names -------------------------------------------------------------------------------------------------- */

static int open_at(const char *path, int flags, mode_t mode)
{
    const char *name = name_of(path);
    if (name == NULL || (flags & (O_CREAT | O_TRUNC)) == 0)
        return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    enter();
    bool is_new = syscall(SYS_faccessat, AT_FDCWD, path, F_OK) != 0;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    if (fd >= 0 && is_new) note(DISK_LOG_CREATE, name, 0, NULL, 0);
    else if (fd >= 0 && (flags & O_TRUNC) != 0) note(DISK_LOG_TRUNCATE, name, 0, NULL, 0);
    leave();
    return fd;
}

static mode_t mode_of(int flags, va_list more)
{
    return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(more, mode_t) : 0;
}

int open(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    mode_t mode = mode_of(flags, more);
    va_end(more);
    return open_at(path, flags, mode);
}

int open64(const char *path, int flags, ...);
int open64(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    mode_t mode = mode_of(flags, more);
    va_end(more);
    return open_at(path, flags, mode);
}

int rename(const char *from, const char *to)
{
    const char *name = name_of(from), *new_name = name_of(to);
    if (name == NULL || new_name == NULL) return (int)syscall(SYS_rename, from, to);
    enter();
    int result = (int)syscall(SYS_rename, from, to);
    if (result == 0) note(DISK_LOG_RENAME, name, 0, new_name, strlen(new_name));
    leave();
    return result;
}

int unlink(const char *path)
{
    const char *name = name_of(path);
    if (name == NULL) return (int)syscall(SYS_unlink, path);
    enter();
    int result = (int)syscall(SYS_unlink, path);
    if (result == 0) note(DISK_LOG_UNLINK, name, 0, NULL, 0);
    leave();
    return result;
}
