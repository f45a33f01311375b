#include "inherited.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIRST_INHERITED 3 /* sd_listen_fds(3) */

union name {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un un;
    struct sockaddr_storage room;
};

int inherited_find(struct inherited *inherited, char *text, size_t text_cap)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    inherited->count = 0;
    if (pid == NULL || count == NULL || strtol(pid, NULL, 10) != (long)getpid()) return 0;
    char *end;
    long n = strtol(count, &end, 10);
    if (end == count || *end != '\0' || n < 0 || n > LISTEN_MAX) {
        snprintf(text, text_cap, "cannot take the inherited sockets: $LISTEN_FDS is '%.20s', not a number from 0 to %d",
                 count, LISTEN_MAX);
        return -1;
    }
    for (int i = 0; i < (int)n; i++) inherited->fds[inherited->count++] = FIRST_INHERITED + i;
    return 0;
}

static int take(struct inherited *inherited, size_t at)
{
    int fd = inherited->fds[at];
    inherited->count--;
    memmove(&inherited->fds[at], &inherited->fds[at + 1], (inherited->count - at) * sizeof *inherited->fds);
    return fd;
}

/* Where a listening socket is bound. */
static bool name_of(int fd, union name *name)
{
    int listening = 0;
    socklen_t flag_len = sizeof listening, len = sizeof *name;
    memset(name, 0, sizeof *name);
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &flag_len) == 0 && listening &&
           getsockname(fd, &name->any, &len) == 0;
}

/* In network order; 0: it has none. */
static in_port_t port_of(const struct sockaddr *name)
{
    if (name->sa_family == AF_INET) return ((const struct sockaddr_in *)(const void *)name)->sin_port;
    if (name->sa_family == AF_INET6) return ((const struct sockaddr_in6 *)(const void *)name)->sin6_port;
    return 0;
}

static bool is_same(const union name *bound, const struct sockaddr *name)
{
    if (bound->any.sa_family != name->sa_family) return false;
    switch (name->sa_family) {
    case AF_UNIX: return strcmp(bound->un.sun_path, ((const struct sockaddr_un *)(const void *)name)->sun_path) == 0;
    case AF_INET:
        return port_of(&bound->any) == port_of(name) &&
               bound->v4.sin_addr.s_addr == ((const struct sockaddr_in *)(const void *)name)->sin_addr.s_addr;
    case AF_INET6:
        return port_of(&bound->any) == port_of(name) &&
               memcmp(&bound->v6.sin6_addr, &((const struct sockaddr_in6 *)(const void *)name)->sin6_addr,
                      sizeof bound->v6.sin6_addr) == 0;
    default: return false;
    }
}

int inherited_take(struct inherited *inherited, const struct sockaddr *name)
{
    union name bound;
    for (size_t i = 0; i < inherited->count; i++)
        if (name_of(inherited->fds[i], &bound) && is_same(&bound, name)) return take(inherited, i);
    return -1;
}

int inherited_take_any(struct inherited *inherited)
{
    return inherited->count > 0 ? take(inherited, 0) : -1;
}

bool inherited_is_in_the_way(const struct inherited *inherited, const struct sockaddr *name, char url[URL_MAX])
{
    union name bound;
    for (size_t i = 0; i < inherited->count; i++) {
        if (!name_of(inherited->fds[i], &bound)) continue;
        if (port_of(name) == 0 || port_of(&bound.any) != port_of(name)) continue;
        address_of_socket(inherited->fds[i], url);
        return true;
    }
    return false;
}
