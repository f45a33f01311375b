#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sqlite_parts.h"

static char *join(const char *a, const char *b)
{
    size_t len = strlen(a), more = strlen(b);
    char *all = malloc(len + more + 1);
    if (all == NULL) abort();
    memcpy(all, a, len);
    memcpy(all + len, b, more + 1);
    return all;
}

static bool is_directory(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static int sync_directory(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -1;
    int result = fsync(fd);
    close(fd);
    return result;
}

/* Makes the directory whose name ends at `end`, if it isn't there, so that it is there after a power failure as well.
 */
static int make_one(char *path, char *end)
{
    char kept = *end;
    *end = '\0';
    int result = 0;
    if (mkdir(path, 0700) == 0) {
        char *slash = strrchr(path, '/');
        char *parent = slash == NULL ? strdup(".") : strndup(path, slash == path ? 1 : (size_t)(slash - path));
        if (parent == NULL) abort();
        result = sync_directory(parent);
        free(parent);
    } else if (!is_directory(path)) {
        if (errno == EEXIST) errno = ENOTDIR;
        result = -1;
    }
    *end = kept;
    return result;
}

static int make_directory(const char *path, char *text)
{
    char *copy = join(path, "");
    int result = 0;
    for (char *end = copy + strspn(copy, "/"); result == 0 && *end != '\0'; end += strspn(end, "/")) {
        end += strcspn(end, "/");
        result = make_one(copy, end);
    }
    if (result < 0)
        snprintf(text, STORE_TEXT_MAX, "can't make the data directory %s: %s: make it, or name another one", path,
                 strerror(errno));
    free(copy);
    return result;
}

static void say_locked(int fd, const char *path, char *text)
{
    char owner[24] = "";
    ssize_t len = pread(fd, owner, sizeof owner - 1, 0);
    owner[len > 0 ? strspn(owner, "0123456789") : 0] = '\0';
    snprintf(text, STORE_TEXT_MAX,
             "the data directory %s is in use by another broker%s%s: stop that one, or name another one", path,
             owner[0] != '\0' ? ", process " : "", owner);
}

static int lock(struct directory *directory, char *text)
{
    char *name = join(directory->path, "/lock");
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int error = errno;
    free(name);
    if (fd < 0) {
        snprintf(
            text, STORE_TEXT_MAX,
            "can't write %s/lock: %s: let the data directory and its files be the broker's user's, or name another one",
            directory->path, strerror(error));
        return -1;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK) say_locked(fd, directory->path, text);
        else snprintf(text, STORE_TEXT_MAX, "can't lock the data directory %s: %s", directory->path, strerror(errno));
        close(fd);
        return -1;
    }
    /* The number is for the sentence above only: that it can't be written, on a full disk, does no harm. */
    if (ftruncate(fd, 0) == 0) dprintf(fd, "%ld\n", (long)getpid());
    directory->lock_fd = fd;
    return 0;
}

int directory_open(struct directory *directory, const char *path, char *text)
{
    *directory = (struct directory){.lock_fd = -1};
    if (path[0] == '\0') {
        snprintf(text, STORE_TEXT_MAX, "the data directory has no name");
        return -1;
    }
    /* A name that could be taken for an option or for a URI, such as file:x, is neither with this before it. */
    directory->path = join(path[0] == '/' ? "" : "./", path);
    if (strlen(directory->path) > PATH_MAX - 64) {
        snprintf(text, STORE_TEXT_MAX, "the data directory's name has %zu bytes, and may have %d", strlen(path),
                 PATH_MAX - 64);
        return -1;
    }
    directory->database = join(directory->path, "/streams.db");
    if (make_directory(directory->path, text) < 0) return -1;
    return lock(directory, text);
}

void directory_close(struct directory *directory)
{
    if (directory->lock_fd >= 0) close(directory->lock_fd);
    free(directory->path);
    free(directory->database);
    *directory = (struct directory){.lock_fd = -1};
}

char *directory_file(const struct directory *directory, const char *suffix)
{
    return join(directory->database, suffix);
}

void directory_remove(const struct directory *directory, const char *suffix)
{
    static const char *const beside[] = {"", "-wal", "-shm", "-journal"};
    char *name = directory_file(directory, suffix);
    for (size_t i = 0; i < sizeof beside / sizeof beside[0]; i++) {
        char *file = join(name, beside[i]);
        unlink(file);
        free(file);
    }
    free(name);
}

int directory_rename(const struct directory *directory, const char *from, const char *to, char *text)
{
    if (rename(from, to) == 0 && sync_directory(directory->path) == 0) return 0;
    snprintf(text, STORE_TEXT_MAX, "can't rename %s to %s: %s", from, to, strerror(errno));
    return -1;
}
