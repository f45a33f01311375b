#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "own_broker.h"
#include "stage.h"

#define WAIT_MS 60000 /* a live broker answers within this, or it does not answer */

struct live {
    struct stage stage; /* first: a stage is a live one */
    const char *url;
    struct own_broker *own; /* NULL: somebody else runs it */
    int fds[STAGE_CONNS_COUNT];
    bool sent_all[STAGE_CONNS_COUNT]; /* our stream is over */
};

static int connect_unix(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) return -1;
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
    if (fd >= 0) close(fd);
    return -1;
}

static int connect_tcp(const char *host_port)
{
    char host[256];
    const char *colon = strrchr(host_port, ':');
    if (colon == NULL || (size_t)(colon - host_port) >= sizeof host) return -1;
    memcpy(host, host_port, (size_t)(colon - host_port));
    host[colon - host_port] = '\0';
    struct addrinfo *found, hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    if (getaddrinfo(host, colon + 1, &hints, &found) != 0) return -1;
    int fd = socket(found->ai_family, found->ai_socktype | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen) != 0) {
        close(fd);
        fd = -1;
    }
    int at_once = 1; /* what is sent in pieces is to arrive in pieces */
    if (fd >= 0) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof at_once);
    freeaddrinfo(found);
    return fd;
}

static bool live_connect(struct stage *stage, int conn)
{
    struct live *live = (struct live *)stage;
    if (strncmp(live->url, "unix:", 5) == 0) live->fds[conn] = connect_unix(live->url + 5);
    else live->fds[conn] = connect_tcp(live->url + strlen("tcp://"));
    return live->fds[conn] >= 0;
}

/* Takes in what comes within timeout_ms. Returns false if nothing did. */
static bool take_in(struct live *live, int conn, int timeout_ms)
{
    struct inbox *inbox = &live->stage.inbox[conn];
    struct pollfd fd = {.fd = live->fds[conn], .events = POLLIN};
    if (inbox->ended || poll(&fd, 1, timeout_ms) != 1) return false;
    uint8_t buf[16384];
    ssize_t len = recv(fd.fd, buf, sizeof buf, MSG_DONTWAIT);
    if (len > 0) inbox_add(inbox, buf, (size_t)len);
    else inbox->ended = len == 0 || errno != EAGAIN; /* a reset is an end too */
    return true;
}

/* Reads while it writes: neither side may wait for the other for ever. */
static void live_send(struct stage *stage, int conn, const uint8_t *bytes, size_t len)
{
    struct live *live = (struct live *)stage;
    while (len > 0) {
        struct pollfd fd = {.fd = live->fds[conn], .events = POLLIN | POLLOUT};
        if (stage->inbox[conn].ended) fd.events = POLLOUT;
        if (poll(&fd, 1, WAIT_MS) != 1) return;
        if (fd.revents & POLLIN) take_in(live, conn, 0);
        if (!(fd.revents & (POLLOUT | POLLERR | POLLHUP))) continue;
        ssize_t sent = send(fd.fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN) return; /* it closed: what it said before is judged by the next steps */
        if (sent < 0) continue;
        bytes += sent;
        len -= (size_t)sent;
    }
}

static bool live_wait(struct stage *stage, int conn)
{
    return take_in((struct live *)stage, conn, WAIT_MS);
}

static void live_poll(struct stage *stage, int conn)
{
    while (take_in((struct live *)stage, conn, 0)) {
    }
}

static void live_end(struct stage *stage, int conn)
{
    struct live *live = (struct live *)stage;
    shutdown(live->fds[conn], SHUT_WR);
    live->sent_all[conn] = true;
}

static bool live_restart(struct stage *stage)
{
    struct live *live = (struct live *)stage;
    char error[256];
    bool good = own_broker_restart(live->own, error, sizeof error);
    for (int i = 0; i < STAGE_CONNS_COUNT; i++) {
        if (live->fds[i] < 0) continue;
        close(live->fds[i]);
        live->fds[i] = -1;
        stage->inbox[i].ended = true;
    }
    return good;
}

/* Says BYE on all, as one may be held until another one goes, and waits for the ends, so that the next case meets a
 * broker that has forgotten this one. */
static bool live_close(struct stage *stage, char *error, size_t cap)
{
    static const uint8_t bye[] = {0x92, 0x15, 0x00};
    struct live *live = (struct live *)stage;
    bool clean = true;
    for (int i = 0; i < STAGE_CONNS_COUNT; i++) {
        if (live->fds[i] >= 0 && !live->sent_all[i] && !stage->inbox[i].ended) live_send(stage, i, bye, sizeof bye);
    }
    for (int i = 0; i < STAGE_CONNS_COUNT; i++) {
        while (live->fds[i] >= 0 && !stage->inbox[i].ended && clean) {
            if (live_wait(stage, i)) continue;
            snprintf(error, cap, "the broker didn't close connection %c at the end of the case", 'A' + i);
            clean = false;
        }
        if (live->fds[i] >= 0) close(live->fds[i]);
        free(stage->inbox[i].at);
    }
    char at_end[256];
    if (live->own != NULL) clean &= own_broker_stop(live->own, clean ? error : at_end, clean ? cap : sizeof at_end);
    free(live);
    return clean;
}

struct stage *live_open(const char *url)
{
    struct live *live = calloc(1, sizeof *live);
    if (live == NULL) abort();
    live->stage = (struct stage){.connect = live_connect,
                                 .send = live_send,
                                 .wait = live_wait,
                                 .poll = live_poll,
                                 .end = live_end,
                                 .close = live_close};
    live->url = url;
    for (int i = 0; i < STAGE_CONNS_COUNT; i++) live->fds[i] = -1;
    return &live->stage;
}

struct stage *live_start(const char *program, char *const *streams, size_t streams_count, char *error, size_t cap)
{
    struct own_broker *own = own_broker_start(program, streams, streams_count, error, cap);
    if (own == NULL) return NULL;
    struct stage *stage = live_open(own_broker_url(own));
    ((struct live *)stage)->own = own;
    stage->restart = live_restart;
    return stage;
}
