/* Connecting, greeting, and waiting for one answer. */
#include "run.h"
#include "socket.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ANSWER_MS = 60000 }; /* a broker that says nothing for so long does not answer */

static void wait_for(struct run *run, struct link *link, short events)
{
    struct pollfd poll_fd = {.fd = link->fd, .events = events};
    int rc = poll(&poll_fd, 1, ANSWER_MS);
    if (rc == 0) fail(EXIT_MEASUREMENT, "%s did not answer within %d s", run->options->url, ANSWER_MS / 1000);
    if (rc < 0 && errno != EINTR) fail(EXIT_MEASUREMENT, "poll: %s", strerror(errno));
}

void link_send(struct run *run, struct link *link, const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        ssize_t sent = send(link->fd, bytes, len, MSG_NOSIGNAL);
        if (sent >= 0) {
            bytes += sent;
            len -= (size_t)sent;
        } else if (errno == EAGAIN) {
            wait_for(run, link, POLLOUT);
        } else if (errno != EINTR) {
            fail(EXIT_MEASUREMENT, "sending to %s: %s", run->options->url, strerror(errno));
        }
    }
}

void link_await(struct run *run, struct link *link, const uint64_t *counter, uint64_t value)
{
    while (*counter < value) {
        if (!link_receive(run, link, READ_BYTES)) wait_for(run, link, POLLIN);
    }
}

void link_open(struct run *run, struct link *link, const struct terms *terms)
{
    uint8_t hello[CONTROL_MAX];
    link->fd = socket_connect(run->options->url);
    link->number = terms->number;
    link_send(run, link, hello, run->protocol->hello(hello, terms));
    link_await(run, link, &link->ready, 1);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = link};
    if (epoll_ctl(run->epoll, EPOLL_CTL_ADD, link->fd, &event) < 0)
        fail(EXIT_MEASUREMENT, "epoll_ctl: %s", strerror(errno));
}

void link_close(struct link *link)
{
    if (link->fd >= 0) close(link->fd);
    link->fd = -1;
    free(link->rest);
    link->rest = NULL;
    link->rest_len = link->rest_size = 0;
}
