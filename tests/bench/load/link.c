/* Connecting, greeting, and waiting for one answer. */
#include "run.h"
#include "socket.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>

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
        ssize_t sent = link_write(link, bytes, len);
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

/* Of what a broker says in plain text before TLS; it says nothing more until that has begun. True: it is complete. */
static bool plain_line(struct run *run, struct link *link)
{
    ssize_t got = read(link->fd, run->buffer, READ_BYTES);
    if (got > 0) return run->buffer[got - 1] == '\n';
    if (got == 0 || (errno != EAGAIN && errno != EINTR))
        fail(EXIT_MEASUREMENT, "%s ended the connection before TLS began", run->options->url);
    return false;
}

static void start_tls(struct run *run, struct link *link, SSL_SESSION *resumes)
{
    if (!tls_is_wanted(run->options->url)) return;
    link->tls = tls_open(link->fd, run->protocol->alpn, resumes);
    link->opening = run->protocol->line_before_tls ? OPENING_LINE : OPENING_TLS;
}

void link_start(struct run *run, struct link *link, const struct terms *terms, SSL_SESSION *resumes)
{
    const struct options *options = run->options;
    link->fd = socket_connect(options->to && !terms->publishes ? options->to : options->url);
    link->number = terms->number;
    link->terms = *terms;
    link->ready = 0;
    link->opening = OPENING_HELLO;
    start_tls(run, link, resumes);
}

short link_go_on(struct run *run, struct link *link)
{
    uint8_t hello[CONTROL_MAX];
    short wants;
    switch (link->opening) {
    case OPENING_LINE:
        if (!plain_line(run, link)) return POLLIN;
        link->opening = OPENING_TLS;
        /* fall through */
    case OPENING_TLS:
        wants = tls_handshake(link->tls);
        if (wants != 0) return wants;
        link->opening = OPENING_HELLO;
        /* fall through */
    case OPENING_HELLO:
        link_send(run, link, hello, run->protocol->hello(hello, &link->terms));
        link->opening = OPENING_ANSWER;
        /* fall through */
    case OPENING_ANSWER:
        while (link->ready == 0) {
            if (!link_receive(run, link, READ_BYTES)) return POLLIN;
        }
        link->opening = OPEN;
        /* fall through */
    case OPEN: break;
    }
    return 0;
}

void link_open(struct run *run, struct link *link, const struct terms *terms)
{
    short wants;
    link_start(run, link, terms, NULL);
    while ((wants = link_go_on(run, link)) != 0) wait_for(run, link, wants);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = link};
    if (epoll_ctl(run->epoll, EPOLL_CTL_ADD, link->fd, &event) < 0)
        fail(EXIT_MEASUREMENT, "epoll_ctl: %s", strerror(errno));
}

void link_close(struct link *link)
{
    if (link->tls) tls_close(link->tls);
    link->tls = NULL;
    if (link->fd >= 0) close(link->fd);
    link->fd = -1;
    free(link->rest);
    link->rest = NULL;
    link->rest_len = link->rest_size = 0;
}
