#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "net.h"

/* An IPv4 address that came through an IPv6 socket is an IPv4 address. */
static void note_ipv6(struct peer *peer, const struct in6_addr *address)
{
    struct in_addr four;
    if (!IN6_IS_ADDR_V4MAPPED(address)) {
        inet_ntop(AF_INET6, address, peer->address, sizeof peer->address);
        return;
    }
    memcpy(&four, address->s6_addr + 12, sizeof four);
    inet_ntop(AF_INET, &four, peer->address, sizeof peer->address);
}

static void note_unix(struct peer *peer, int fd)
{
    struct ucred process;
    socklen_t len = sizeof process;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &process, &len) != 0 || len != sizeof process) return;
    peer->kind = PEER_UNIX;
    peer->uid = process.uid;
    peer->gid = process.gid;
    peer->is_own = process.uid == geteuid() || process.uid == 0;
}

void peer_of_socket(struct peer *peer, int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un local;
    } name = {0};
    socklen_t len = sizeof name;
    *peer = (struct peer){.kind = PEER_NONE};
    if (getpeername(fd, &name.any, &len) != 0) return;
    if (name.any.sa_family == AF_UNIX) note_unix(peer, fd);
    if (name.any.sa_family != AF_INET && name.any.sa_family != AF_INET6) return;
    peer->kind = PEER_TCP;
    peer->is_loopback = address_is_loopback(&name.any);
    if (name.any.sa_family == AF_INET6) {
        note_ipv6(peer, &name.v6.sin6_addr);
        return;
    }
    inet_ntop(AF_INET, &name.v4.sin_addr, peer->address, sizeof peer->address);
}
