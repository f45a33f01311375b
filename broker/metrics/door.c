#include "door.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/bind.h"
#include "sure.h"

/* Connections accepted in one turn before the broker goes on. */
#define ACCEPTS_A_TURN 4

struct door {
    uv_poll_t poll;
    int fd;
    int spare_fd; /* given up to accept one more when descriptors run out: that is when somebody will look */
    bool is_remote;
    void (*take)(void *arg, int fd);
    void *arg;
    struct stat made; /* of .path */
    char path[sizeof((struct address *)0)->path];
    char url[URL_MAX];
};

static const char remote[] = "other machines reach it; if they may, say allow_remote = yes in [metrics]";

static int fail(const struct metrics_config *config, const char *why, char *text, size_t text_cap)
{
    snprintf(text, text_cap, "cannot serve metrics at '%s': %s", config->url, why);
    return -1;
}

/* ---- accepting ---------------------------------------------------------------------------------------------- */

static int open_spare(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static bool is_short(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static int accept_one(struct door *door)
{
    int fd = accept4(door->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0 || !is_short(errno) || door->spare_fd < 0) return fd;
    close(door->spare_fd);
    door->spare_fd = -1;
    return accept4(door->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
    struct door *door = poll->data;
    (void)status, (void)events;
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        int fd = accept_one(door);
        if (fd >= 0) door->take(door->arg, fd);
        else if (is_short(errno)) uv_poll_stop(&door->poll); /* until door_go_on(), or the loop would spin */
        if (fd < 0) return;
    }
}

void door_accept(struct door *door, void (*take)(void *arg, int fd), void *arg)
{
    door->take = take;
    door->arg = arg;
    uv_poll_start(&door->poll, UV_READABLE, on_connection);
}

void door_go_on(struct door *door)
{
    if (door->spare_fd < 0) door->spare_fd = open_spare();
    if (!uv_is_active((uv_handle_t *)&door->poll)) uv_poll_start(&door->poll, UV_READABLE, on_connection);
}

/* ---- opening ------------------------------------------------------------------------------------------------ */

static int listen_unix(struct door *door, const struct address *address, mode_t operators_umask, char *text,
                       size_t text_cap)
{
    mode_t own = umask(operators_umask);
    int fd = bind_unix(address->path, &door->made, text, text_cap);
    umask(own);
    if (fd >= 0) strcpy(door->path, address->path);
    return fd;
}

static int listen_tcp(struct door *door, const struct metrics_config *config, const struct address *address, char *text,
                      size_t text_cap)
{
    struct addrinfo *info;
    int error = bind_resolve(address, &info);
    if (error != 0) return fail(config, gai_strerror(error), text, text_cap);
    int fd = bind_tcp(info);
    error = errno;
    freeaddrinfo(info);
    if (fd < 0) return fail(config, strerror(error), text, text_cap);
    door->is_remote = !bind_is_loopback(fd);
    if (!door->is_remote || config->allow_remote) return fd;
    close(fd);
    return fail(config, remote, text, text_cap);
}

struct door *door_open(uv_loop_t *loop, const struct metrics_config *config, mode_t operators_umask, char *text,
                       size_t text_cap)
{
    struct address address;
    struct door *door = sure_zeroed(sizeof *door);
    address_parse_http(&address, config->url); /* as the configuration has checked */
    door->fd = address.kind == ADDRESS_UNIX ? listen_unix(door, &address, operators_umask, text, text_cap)
                                            : listen_tcp(door, config, &address, text, text_cap);
    if (door->fd < 0 || uv_poll_init(loop, &door->poll, door->fd) != 0) {
        if (door->fd >= 0) fail(config, "it can't be polled", text, text_cap);
        if (door->fd >= 0) close(door->fd);
        free(door);
        return NULL;
    }
    door->poll.data = door;
    door->spare_fd = open_spare();
    address_of_socket(door->fd, door->url);
    if (strncmp(door->url, "tcp:", 4) != 0) return door;
    memmove(door->url + 5, door->url + 4, strlen(door->url + 4) + 1);
    memcpy(door->url, "http:", 5);
    return door;
}

int door_check(const struct metrics_config *config, char *text, size_t text_cap)
{
    struct address address;
    struct addrinfo *info;
    if (config->url[0] == '\0' || !address_parse_http(&address, config->url) || address.kind != ADDRESS_TCP) return 0;
    int error = bind_resolve(&address, &info);
    if (error != 0) return fail(config, gai_strerror(error), text, text_cap);
    bool may = config->allow_remote || address_is_loopback(info->ai_addr);
    freeaddrinfo(info);
    return may ? 0 : fail(config, remote, text, text_cap);
}

bool door_is_remote(const struct door *door)
{
    return door->is_remote;
}

const char *door_url(const struct door *door)
{
    return door->url;
}

const char *door_path(const struct door *door)
{
    return door->path;
}

static void on_closed(uv_handle_t *handle)
{
    struct door *door = handle->data;
    close(door->fd);
    if (door->spare_fd >= 0) close(door->spare_fd);
    free(door);
}

void door_close(struct door *door)
{
    struct stat st;
    if (door == NULL) return;
    if (door->path[0] != '\0' && lstat(door->path, &st) == 0 && st.st_dev == door->made.st_dev &&
        st.st_ino == door->made.st_ino)
        unlink(door->path);
    uv_close((uv_handle_t *)&door->poll, on_closed);
}
