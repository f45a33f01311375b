/* A connection's first two bytes are P or S and a channel. What comes from a P goes to all S of its channel: one read,
 * one write for each of them. There is no queue: a subscriber that does not read holds everybody, as it should here. */
#include "relay.h"
#include "run.h"
#include "socket.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 64, GREETING_BYTES = 2 };

struct peer {
    int fd;
    uint8_t greeting[GREETING_BYTES];
    size_t greeted;
    struct peer *next; /* subscribers of a channel */
};

static struct peer *channels[RELAY_CHANNELS];
static struct peer listener;
static uint8_t buffer[READ_BYTES];
static int epoll;
static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

static bool write_all(int fd, const uint8_t *bytes, size_t len)
{
    while (len > 0 && !stop) {
        ssize_t sent = send(fd, bytes, len, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR) return false;
        if (sent <= 0) continue;
        bytes += sent;
        len -= (size_t)sent;
    }
    return true;
}

static void watch(struct peer *peer)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = peer};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, peer->fd, &event) < 0) fail(EXIT_MEASUREMENT, "epoll_ctl: %s", strerror(errno));
}

static void take_connection(void)
{
    int fd = accept4(listener.fd, NULL, NULL, SOCK_CLOEXEC); /* blocking: for its writes */
    if (fd < 0) return;
    struct peer *peer = allocate(1, sizeof *peer);
    peer->fd = fd;
    socket_without_delay(fd);
    watch(peer);
}

static void drop(struct peer *peer)
{
    for (struct peer **at = &channels[peer->greeting[1]]; *at; at = &(*at)->next) {
        if (*at != peer) continue;
        *at = peer->next;
        break;
    }
    close(peer->fd);
    free(peer);
}

static void greet(struct peer *peer)
{
    ssize_t got = recv(peer->fd, peer->greeting + peer->greeted, GREETING_BYTES - peer->greeted, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    peer->greeted += got > 0 ? (size_t)got : 0;
    bool known = peer->greeting[0] == 'P' || peer->greeting[0] == 'S';
    if (got <= 0 || !known) {
        drop(peer);
    } else if (peer->greeted == GREETING_BYTES) {
        struct peer **channel = &channels[peer->greeting[1]];
        if (peer->greeting[0] == 'S') {
            peer->next = *channel;
            *channel = peer;
        }
        write_all(peer->fd, (const uint8_t *)"K", 1);
    }
}

static void copy(struct peer *peer)
{
    ssize_t got = recv(peer->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        drop(peer);
        return;
    }
    if (peer->greeting[0] == 'S') return; /* has nothing to say; its end is noticed when it is read */
    for (struct peer *to = channels[peer->greeting[1]]; to; to = to->next) write_all(to->fd, buffer, (size_t)got);
}

int relay(const char *url)
{
    char bound[512];
    listener.fd = socket_listen(url, bound, sizeof bound);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    process_allow_files(0);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    watch(&listener);
    printf("ready %s\n", bound);
    fflush(stdout);
    while (!stop) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            struct peer *peer = events[i].data.ptr;
            if (peer == &listener) take_connection();
            else if (peer->greeted < GREETING_BYTES) greet(peer);
            else copy(peer);
        }
    }
    if (strncmp(bound, "unix:", 5) == 0) unlink(bound + 5);
    return 0;
}
