#include "socket.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { HOST_MAX = 64, BACKLOG = 4096 };

union address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
};

static socklen_t unix_address(const char *path, union address *address)
{
    if (strlen(path) >= sizeof address->un.sun_path)
        fail(EXIT_USAGE, "the path of unix:%s is too long for a socket", path);
    address->un.sun_family = AF_UNIX;
    memcpy(address->un.sun_path, path, strlen(path) + 1);
    return sizeof address->un;
}

static socklen_t tcp_address(const char *url, const char *place, union address *address)
{
    char host[HOST_MAX];
    const char *colon = strrchr(place, ':');
    char *end;
    bool bracketed = place[0] == '[' && colon && colon > place && colon[-1] == ']';
    const char *begin = place + bracketed, *stop = colon ? colon - bracketed : place;
    unsigned long port = colon ? strtoul(colon + 1, &end, 10) : UINT16_MAX + 1UL;
    if (!colon || colon[1] == '\0' || *end != '\0' || port > UINT16_MAX || stop - begin >= HOST_MAX) {
        fail(EXIT_USAGE, "the url '%s' has no port from 0 to 65535 at its end", url);
    }
    memcpy(host, begin, (size_t)(stop - begin));
    host[stop - begin] = '\0';
    if (inet_pton(AF_INET, host, &address->in.sin_addr) == 1) {
        address->in.sin_family = AF_INET;
        address->in.sin_port = htons((uint16_t)port);
        return sizeof address->in;
    }
    if (inet_pton(AF_INET6, host, &address->in6.sin6_addr) != 1) {
        fail(EXIT_USAGE, "the url '%s' needs an address such as 127.0.0.1, not a name", url);
    }
    address->in6.sin6_family = AF_INET6;
    address->in6.sin6_port = htons((uint16_t)port);
    return sizeof address->in6;
}

static socklen_t read_url(const char *url, union address *address)
{
    memset(address, 0, sizeof *address);
    if (strncmp(url, "unix:", 5) == 0) return unix_address(url + 5, address);
    if (strncmp(url, "tcp://", 6) == 0 || strncmp(url, "tls://", 6) == 0) return tcp_address(url, url + 6, address);
    fail(EXIT_USAGE, "the url '%s' begins with none of tcp://, tls:// and unix:", url);
}

void socket_without_delay(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

int socket_connect(const char *url)
{
    union address address;
    socklen_t len = read_url(url, &address);
    int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, &address.any, len) < 0)
        fail(EXIT_MEASUREMENT, "no connection to %s: %s", url, strerror(errno));
    socket_without_delay(fd);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    return fd;
}

static void write_url(const char *url, int fd, char *out, size_t out_size)
{
    union address address;
    socklen_t len = sizeof address;
    const char *colon = strrchr(url, ':');
    getsockname(fd, &address.any, &len);
    if (address.any.sa_family == AF_UNIX) {
        snprintf(out, out_size, "%s", url);
    } else { /* the port stands at the same place in both kinds of address */
        snprintf(out, out_size, "%.*s:%u", (int)(colon - url), url, ntohs(address.in.sin_port));
    }
}

int socket_listen(const char *url, char *out, size_t out_size)
{
    union address address;
    socklen_t len = read_url(url, &address);
    int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, &address.any, len) < 0 || listen(fd, BACKLOG) < 0) {
        fail(EXIT_MEASUREMENT, "can't listen on %s: %s", url, strerror(errno));
    }
    write_url(url, fd, out, out_size);
    return fd;
}
