#include "bind.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BACKLOG 4096

/* Makes way for a Unix socket: a stale one goes; a file, a link or a socket that somebody serves stays. */
static int clear_path(const char *path, char *text, size_t text_cap)
{
    struct stat st;
    if (lstat(path, &st) != 0) return 0;
    if (!S_ISSOCK(st.st_mode)) {
        snprintf(text, text_cap, "cannot listen on 'unix:%s': there is something that is not a socket", path);
        return -1;
    }
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    strcpy(name.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool refused = fd >= 0 && connect(fd, (struct sockaddr *)&name, sizeof name) != 0 && errno == ECONNREFUSED;
    close(fd);
    if (refused && unlink(path) == 0) return 0;
    snprintf(text, text_cap, "cannot listen on 'unix:%s': %s", path,
             refused ? strerror(errno) : "somebody else serves there");
    return -1;
}

int bind_unix(const char *path, struct stat *made, char *text, size_t text_cap)
{
    if (clear_path(path, text, text_cap) != 0) return -1;
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    strcpy(name.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&name, sizeof name) == 0 && listen(fd, BACKLOG) == 0 &&
        lstat(path, made) == 0)
        return fd;
    snprintf(text, text_cap, "cannot listen on 'unix:%s': %s", path, strerror(errno));
    if (fd >= 0) close(fd);
    return -1;
}

int bind_resolve(const struct address *address, struct addrinfo **info)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    return getaddrinfo(address->host, address->port, &hints, info);
}

int bind_tcp(const struct addrinfo *info)
{
    int on = 1;
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

bool bind_is_loopback(int fd)
{
    struct sockaddr_storage name = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof name;
    return getsockname(fd, (struct sockaddr *)&name, &len) == 0 && address_is_loopback((struct sockaddr *)&name);
}
