#include "link.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

static bool is_internet(const struct addrinfo *a)
{
    return (a->ai_family == AF_INET && a->ai_addrlen == sizeof(struct sockaddr_in)) ||
           (a->ai_family == AF_INET6 && a->ai_addrlen == sizeof(struct sockaddr_in6));
}

const char *mps_addresses_take(struct mps_addresses *addresses, const struct addrinfo *found)
{
    struct entry {
        struct addrinfo info;
        struct sockaddr_storage address;
    };
    unsigned count = 0, filled = 0;
    *addresses = (struct mps_addresses){0};
    for (const struct addrinfo *a = found; a != NULL; a = a->ai_next) count += is_internet(a);
    if (count == 0) return "it has no address";
    struct entry *entries = calloc(count, sizeof *entries);
    if (entries == NULL) return "out of memory";
    for (const struct addrinfo *a = found; a != NULL; a = a->ai_next) {
        if (!is_internet(a)) continue;
        struct entry *entry = &entries[filled++];
        memcpy(&entry->address, a->ai_addr, a->ai_addrlen);
        entry->info = (struct addrinfo){.ai_family = a->ai_family,
                                        .ai_protocol = a->ai_protocol,
                                        .ai_addrlen = a->ai_addrlen,
                                        .ai_addr = (struct sockaddr *)&entry->address,
                                        .ai_next = filled < count ? &entries[filled].info : NULL};
    }
    *addresses = (struct mps_addresses){&entries->info, &entries->info, count};
    return NULL;
}

const char *mps_addresses_find(struct mps_addresses *addresses, const struct mps_url *url, bool figures_only)
{
    *addresses = (struct mps_addresses){.left = 1};
    if (url->kind != MPS_URL_TCP) return NULL;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_family = AF_UNSPEC,
                                   .ai_flags = AI_NUMERICSERV | (figures_only ? AI_NUMERICHOST : 0)};
    struct addrinfo *found;
    int rc = getaddrinfo(url->host, url->port, &hints, &found);
    if (rc != 0) return rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc);
    const char *why = mps_addresses_take(addresses, found);
    freeaddrinfo(found);
    return why;
}

void mps_addresses_free(struct mps_addresses *addresses)
{
    free(addresses->list);
    *addresses = (struct mps_addresses){0};
}

static bool is_here(const struct sockaddr *address)
{
    if (address->sa_family == AF_UNIX) return true;
    if (address->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    if (address->sa_family != AF_INET6) return false;
    const struct in6_addr *ip = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(ip) || (IN6_IS_ADDR_V4MAPPED(ip) && ip->s6_addr[12] == IN_LOOPBACKNET);
}

bool mps_addresses_leave(const struct mps_addresses *addresses)
{
    for (const struct addrinfo *a = addresses->list; a != NULL; a = a->ai_next)
        if (!is_here(a->ai_addr)) return true;
    return false;
}

bool mps_link_leaves(int fd)
{
    struct sockaddr_storage peer = {0};
    socklen_t len = sizeof peer;
    return getpeername(fd, (struct sockaddr *)&peer, &len) != 0 || !is_here((const struct sockaddr *)&peer);
}

static int start(int family, int protocol, const struct sockaddr *address, socklen_t len, int *fd)
{
    int s = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
    if (s < 0) return errno;
    int on = 1;
    if (family != AF_UNIX) {
        (void)setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* what is worth waiting for is collected here */
        (void)setsockopt(s, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on); /* for when the protocol's does not apply */
    }
    if (connect(s, address, len) != 0 && errno != EINPROGRESS && errno != EINTR) {
        int error = errno;
        close(s);
        return error;
    }
    *fd = s;
    return 0;
}

int mps_link_open(const struct mps_url *url, struct mps_addresses *addresses, int *fd)
{
    addresses->left--;
    if (url->kind == MPS_URL_UNIX) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        memcpy(address.sun_path, url->path, strlen(url->path) + 1);
        return start(AF_UNIX, 0, (const struct sockaddr *)&address, sizeof address, fd);
    }
    const struct addrinfo *a = addresses->next;
    addresses->next = a->ai_next;
    return start(a->ai_family, a->ai_protocol, a->ai_addr, a->ai_addrlen, fd);
}

int mps_link_connected(int fd)
{
    int error = 0;
    socklen_t len = sizeof error;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 ? errno : error;
}

static int make_raw(int fd)
{
    struct termios line;
    if (tcgetattr(fd, &line) != 0) return errno;
    cfmakeraw(&line);
    line.c_cc[VMIN] = 1;
    line.c_cc[VTIME] = 0;
    return tcsetattr(fd, TCSANOW, &line) == 0 ? 0 : errno;
}

static int judge_adopted(int fd)
{
    int type = 0;
    socklen_t len = sizeof type;
    struct stat st;
    if (fstat(fd, &st) != 0) return errno;
    if (S_ISCHR(st.st_mode)) return isatty(fd) ? make_raw(fd) : 0;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) != 0) return errno;
    return type == SOCK_STREAM ? 0 : EPROTOTYPE;
}

int mps_link_adopt(int fd)
{
    int error = judge_adopted(fd);
    if (error != 0) return error;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) return errno;
    return 0;
}

bool mps_link_shut(int fd)
{
    return shutdown(fd, SHUT_WR) == 0 || errno != ENOTSOCK;
}

/* What is no socket is rare enough to be found out each time. */
ssize_t mps_link_read(int fd, void *at, size_t len, int *error)
{
    for (;;) {
        ssize_t n = recv(fd, at, len, 0);
        if (n < 0 && errno == ENOTSOCK) n = read(fd, at, len);
        if (n >= 0) return n;
        if (errno == EINTR) continue;
        if (errno == EAGAIN || errno == EWOULDBLOCK) return MPS_LINK_AGAIN;
        *error = errno;
        return MPS_LINK_ERROR;
    }
}

ssize_t mps_link_write(int fd, struct iovec *pieces, int count, int *error)
{
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = (size_t)count};
    for (;;) {
        ssize_t n = sendmsg(fd, &message, MSG_NOSIGNAL);
        if (n < 0 && errno == ENOTSOCK) n = writev(fd, pieces, count); /* such a device raises no SIGPIPE */
        if (n >= 0) return n;
        if (errno == EINTR) continue;
        if (errno == EAGAIN || errno == EWOULDBLOCK) return MPS_LINK_AGAIN;
        *error = errno;
        return MPS_LINK_ERROR;
    }
}

void mps_addresses_name_next(const struct mps_addresses *addresses, char *text, size_t cap)
{
    const struct addrinfo *a = addresses->next;
    text[0] = '\0';
    if (a == NULL || addresses->list->ai_next == NULL) return;
    if (getnameinfo(a->ai_addr, a->ai_addrlen, text, (socklen_t)cap, NULL, 0, NI_NUMERICHOST) != 0) text[0] = '\0';
}

size_t mps_link_underway(int fd)
{
    int bytes = 0;
    return ioctl(fd, TIOCOUTQ, &bytes) == 0 && bytes > 0 ? (size_t)bytes : 0;
}
