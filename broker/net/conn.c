#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "net.h"
#include "sure.h"

/* What the kernel holds unsent of a TCP connection: the rest stays in our queues, where it can still be dropped. */
#define NOTSENT_BYTES (64 * 1024)

static void on_poll(uv_poll_t *poll, int status, int events);

static void poll_for(struct link *link, int events)
{
    if (link->events == events || link->broken) return;
    link->events = events;
    if (events == 0) uv_poll_stop(&link->poll);
    else uv_poll_start(&link->poll, events, on_poll);
}

/* What to poll for besides being writable. A connection of which nothing more is to be read is polled all the same, for
 * its end: hang-ups are always reported. One that is paused isn't, so that nothing of it is passed over. */
static int reading_events(const struct link *link)
{
    return link->paused ? 0 : link->read_ended ? UV_PRIORITIZED : UV_READABLE;
}

static void on_closed(uv_handle_t *handle)
{
    struct link *link = handle->data;
    struct server *server = link->server;
    close(link->fd);
    free(link);
    server->links_count--;
    server_trim_soon(server);
    listener_resume(server);
    if (server->links_count == 0 && server->serves_descriptors_only) server_stop(server);
}

/* The connection can't be used any more: its session is told at the end of the turn, never inside a call of its own. */
static void break_link(struct link *link)
{
    if (link->broken) return;
    poll_for(link, 0);
    link->broken = true;
    link->next_broken = link->server->broken;
    link->server->broken = link;
}

void conn_forget_broken(struct server *server)
{
    while (server->broken != NULL) {
        struct link *link = server->broken;
        server->broken = link->next_broken;
        if (link->session != NULL) session_closed(link->session);
        link->session = NULL;
        if (!uv_is_closing((uv_handle_t *)&link->poll)) uv_close((uv_handle_t *)&link->poll, on_closed);
    }
}

/* One read a turn, so that a fast peer doesn't keep the others waiting. Returns whether there may be more. */
static bool read_once(struct link *link)
{
    uint8_t *buf;
    size_t cap;
    session_read_buffer(link->session, &buf, &cap);
    if (cap == 0) {
        break_link(link);
        return false;
    }
    ssize_t len;
    do len = read(link->fd, buf, cap);
    while (len < 0 && errno == EINTR);
    if (len > 0) {
        session_read(link->session, (size_t)len);
        return true;
    }
    if (len == 0) {
        link->read_ended = true;
        poll_for(link, (link->events & UV_WRITABLE) | reading_events(link));
        session_read_end(link->session);
    } else if (errno != EAGAIN && errno != EWOULDBLOCK) {
        break_link(link);
    }
    return false;
}

/* Polling for it ends only when it turns out that nothing waits any more: a reader that is a little slow is full again
 * and again, and each change costs three system calls (1 MiB through the broker: 20). */
static void on_writable(struct link *link)
{
    if (!link->blocked) {
        poll_for(link, link->events & ~UV_WRITABLE);
        return;
    }
    link->blocked = false;
    session_writable(link->session);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct link *link = poll->data;
    if (status < 0) {
        /* An error is pending, and libuv has stopped polling. What came before the error is still read, but not of a
         * peer that is paused and polled: it doesn't read what it is sent, and now never will. */
        link->events = 0;
        if (link->read_ended || link->paused || !read_once(link) || (link->paused && link->blocked)) break_link(link);
        else poll_for(link, reading_events(link));
        return;
    }
    if (events & UV_PRIORITIZED) {
        break_link(link);
        return;
    }
    if (events & UV_WRITABLE) on_writable(link);
    struct server *server = link->server;
    if ((events & UV_READABLE) && link->session != NULL) read_once(link);
    if (broker_wants_turn(server->broker)) server_turn(server); /* link may be gone afterwards */
}

static ssize_t env_send(struct env *env, struct link *link, const struct iovec *pieces, int count)
{
    (void)env;
    if (link->broken) return -1;
    size_t wanted = 0;
    for (int i = 0; i < count; i++) wanted += pieces[i].iov_len;
    ssize_t taken;
    do taken = writev(link->fd, pieces, count);
    while (taken < 0 && errno == EINTR);
    if (taken < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
        break_link(link);
        return -1;
    }
    if (taken < 0) taken = 0;
    if ((size_t)taken < wanted) {
        link->blocked = true;
        poll_for(link, link->events | UV_WRITABLE);
    }
    return taken;
}

static void env_send_end(struct env *env, struct link *link)
{
    (void)env;
    shutdown(link->fd, SHUT_WR); /* of something that isn't a socket, closing will do */
}

static void env_reading(struct env *env, struct link *link, int on)
{
    (void)env;
    link->paused = !on;
    poll_for(link, (link->events & UV_WRITABLE) | reading_events(link));
}

static void env_close(struct env *env, struct link *link)
{
    (void)env;
    link->session = NULL;
    if (link->broken) return; /* on its way already */
    poll_for(link, 0);
    link->broken = true;
    uv_close((uv_handle_t *)&link->poll, on_closed);
}

void conn_fill_env(struct env *env)
{
    env->send = env_send;
    env->send_end = env_send_end;
    env->reading = env_reading;
    env->close = env_close;
}

static void set_options(int fd)
{
    int on = 1, notsent = NOTSENT_BYTES;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    /* These fail on what isn't TCP, which needs none of them. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &notsent, sizeof notsent);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

int conn_open(struct server *server, int fd, const struct listener *listener)
{
    set_options(fd);
    struct link *link = sure_zeroed(sizeof *link);
    if (uv_poll_init(&server->loop, &link->poll, fd) == 0) {
        link->server = server;
        link->fd = fd;
        link->needs_identity = listener != NULL && listener->needs_identity;
        link->poll.data = link;
        server->links_count++;
        link->session = session_new(server->broker, link);
        if (link->session != NULL) {
            struct peer peer;
            peer_of_socket(&peer, fd);
            peer.needs_identity = link->needs_identity;
            session_set_peer(link->session, &peer);
            poll_for(link, UV_READABLE);
            return 0;
        }
    } else {
        free(link);
        link = NULL;
    }
    size_t len;
    const uint8_t *bye = broker_full_frame(&len);
    if (write(fd, bye, len) < 0) { /* it is told if it can be told; what matters is that it is closed */
    }
    if (link != NULL) env_close(&server->env, link);
    else close(fd);
    return -1;
}
