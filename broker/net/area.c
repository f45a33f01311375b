/* The temporary area of the broker's queues: a file without a name, which is gone with the process whatever happens to
 * it. It is written and read on the loop's thread: what was written lately is in the page cache, so that this is a copy
 * as a rule, and the publishers of a queue that is in use to its limit may wait. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "net.h"

#define FD_NONE (-1)

static int open_nameless(const char *directory)
{
    return open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

/* For file systems that know no nameless files. */
static int open_and_unlink(const char *directory)
{
    char path[4096];
    if (snprintf(path, sizeof path, "%s/pubsub-area-XXXXXX", directory) >= (int)sizeof path) return FD_NONE;
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0) unlink(path);
    return fd;
}

static int open_area(const char *directory)
{
    int fd = open_nameless(directory);
    return fd >= 0 ? fd : open_and_unlink(directory);
}

/* The first use opens it. */
static bool is_open(struct server *server)
{
    const char *temporary = getenv("TMPDIR");
    if (server->area_fd == FD_NONE && server->area_directory[0] != '\0')
        server->area_fd = open_area(server->area_directory);
    if (server->area_fd == FD_NONE) server->area_fd = open_area(temporary != NULL ? temporary : "/var/tmp");
    return server->area_fd != FD_NONE;
}

static int area_write(struct env *env, uint64_t at, const void *bytes, size_t len)
{
    struct server *server = (struct server *)(void *)env;
    if (!is_open(server)) return -1;
    return pwrite(server->area_fd, bytes, len, (off_t)at) == (ssize_t)len ? 0 : -1;
}

static int area_read(struct env *env, uint64_t at, void *bytes, size_t len)
{
    struct server *server = (struct server *)(void *)env;
    if (!is_open(server)) return -1;
    return pread(server->area_fd, bytes, len, (off_t)at) == (ssize_t)len ? 0 : -1;
}

void area_fill_env(struct server *server)
{
    server->area_fd = FD_NONE;
    server->env.area_write = area_write;
    server->env.area_read = area_read;
}

void area_set_directory(struct server *server, const char *path)
{
    snprintf(server->area_directory, sizeof server->area_directory, "%s", path);
}

void area_close(struct server *server)
{
    if (server->area_fd != FD_NONE) close(server->area_fd);
    server->area_fd = FD_NONE;
}
