#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "hash.h"
#include "net.h"
#include "sure.h"
#include "wire.h"

/* What the kernel holds unsent of a TCP connection: the rest stays in our queues, where it can still be dropped. */
#define NOTSENT_BYTES (64 * 1024)
/* TLS's close_notify, in 1.2 and 1.3. */
#define GOODBYE_BYTES 64

static void on_poll(uv_poll_t *poll, int status, int events);

static void poll_for(struct link *link, int events)
{
    if (link->events == events || link->broken) return;
    link->events = events;
    if (events == 0) uv_poll_stop(&link->poll);
    else uv_poll_start(&link->poll, events, on_poll);
}

/* What to poll for besides being writable. A connection of which nothing more is to be read is polled all the same, for
 * its end: hang-ups are always reported. One that is paused isn't, so that nothing of it is passed over; but if it has
 * not introduced itself yet, it may only have come to take a place. */
static int reading_events(const struct link *link)
{
    if (link->paused) return link->is_welcome ? 0 : UV_DISCONNECT;
    return link->read_ended ? UV_PRIORITIZED : UV_READABLE;
}

/* What waits to be written in memory of the link's own counts among the broker's queues. */
static void count_out(struct link *link)
{
    struct tls *tls = link->tls;
    if (tls->out_cap == tls->counted) return;
    broker_links_hold(link->server->broker, (int64_t)tls->out_cap - (int64_t)tls->counted);
    tls->counted = tls->out_cap;
}

/* tls_flush() of a link that has a session, or had one. */
static int flush_tls(struct link *link)
{
    int flushed = tls_flush(link->tls);
    count_out(link);
    return flushed;
}

/* What was read of it, and decrypted, waits for the next turn: polling will not tell. */
static void read_more_soon(struct link *link)
{
    struct tls *tls = link->tls;
    struct server *server = link->server;
    if (tls->is_in_more || !tls->has_more || link->paused || link->read_ended || link->broken) return;
    tls->is_in_more = true;
    server->more_count++;
    list_append(&server->more, &tls->in_more);
    uv_idle_start(&server->read_more, conn_read_more);
}

static void forget_more(struct link *link)
{
    if (link->tls == NULL || !link->tls->is_in_more) return;
    list_remove(&link->server->more, &link->tls->in_more);
    link->server->more_count--;
    link->tls->is_in_more = false;
}

void conn_forget_closed(struct link *link)
{
    struct server *server = link->server;
    if (!link->is_closed || handshake_is_running(link)) return;
    if (link->tls != NULL) {
        handshake_free(link);
        broker_links_hold(server->broker, -(int64_t)link->tls->counted);
        tls_free(link->tls);
    }
    close(link->fd);
    callers_leave(&server->callers, &link->guest);
    if (link->counts != NULL) link->counts->connections--;
    free(link);
    server->links_count--;
    server_trim_soon(server);
    listener_resume(server);
    if (server->links_count == 0 && server->serves_descriptors_only) server_stop(server);
}

static void on_closed(uv_handle_t *handle)
{
    struct link *link = handle->data;
    link->is_closed = true;
    conn_forget_closed(link);
}

/* The connection can't be used any more: its session is told at the end of the turn, never inside a call of its own. */
static void break_link(struct link *link)
{
    if (link->broken) return;
    poll_for(link, 0);
    forget_more(link);
    callers_welcome(&link->guest); /* it is none that could be turned away instead of another */
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

/* Under TLS reading may have made something to say: what the peer did wrong, or a new key. */
static ssize_t read_tls(struct link *link, void *buf, size_t cap)
{
    ssize_t len = tls_read(link->tls, buf, cap);
    int error = errno;
    if (flush_tls(link) == 0) poll_for(link, link->events | UV_WRITABLE);
    errno = error;
    return len;
}

static ssize_t read_some(struct link *link, void *buf, size_t cap)
{
    if (link->tls != NULL) return read_tls(link, buf, cap);
    ssize_t len;
    do len = read(link->fd, buf, cap);
    while (len < 0 && errno == EINTR);
    return len;
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
    ssize_t len = read_some(link, buf, cap);
    if (len > 0) {
        session_read(link->session, (size_t)len);
        if (link->tls != NULL) read_more_soon(link);
        return true;
    }
    if (len == 0) {
        link->read_ended = true;
        forget_more(link);
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
    int flushed = link->tls != NULL ? flush_tls(link) : 1;
    if (flushed < 0) break_link(link);
    if (flushed <= 0) return;
    if (!link->blocked) {
        poll_for(link, link->events & ~UV_WRITABLE);
        return;
    }
    link->blocked = false;
    session_writable(link->session);
}

/* Bytes that came and were not read: under TLS, more of them than its own good-bye has. */
static bool has_unread(const struct link *link)
{
    int unread = 0;
    return ioctl(link->fd, FIONREAD, &unread) == 0 && unread > (link->tls != NULL ? GOODBYE_BYTES : 0);
}

/* The peer's stream has ended while the connection is paused. */
static void on_disconnected(struct link *link)
{
    bool has_more = has_unread(link) || (link->tls != NULL && link->tls->has_more);
    if (link->session == NULL || (!has_more && session_is_useless(link->session))) break_link(link);
    else poll_for(link, link->events & UV_WRITABLE); /* its reading goes on one day, and finds the end */
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
    if (events & UV_DISCONNECT) {
        on_disconnected(link);
        return;
    }
    if (events & UV_WRITABLE) on_writable(link);
    struct server *server = link->server;
    if ((events & UV_READABLE) && link->session != NULL && !link->broken) read_once(link);
    if (broker_wants_turn(server->broker)) server_turn(server); /* link may be gone afterwards */
}

void conn_read_more(uv_idle_t *idle)
{
    struct server *server = idle->data;
    /* Not as soon as the list is empty: the loop would wait for events before the turn that flushes what was read. */
    if (server->more.first == NULL) uv_idle_stop(idle);
    /* Those that come again are for the next turn. */
    for (size_t left = server->more_count; left > 0 && server->more.first != NULL; left--) {
        struct link *link = container_of(server->more.first, struct tls, in_more)->link;
        forget_more(link);
        read_once(link);
        if (broker_wants_turn(server->broker)) server_turn(server);
    }
}

/* As env_send() without its consequences. */
static ssize_t write_some(struct link *link, const struct iovec *pieces, int count)
{
    ssize_t taken;
    if (link->tls != NULL) {
        taken = tls_send(link->tls, pieces, count, broker_links_are_full(link->server->broker));
        count_out(link);
        return taken;
    }
    do taken = writev(link->fd, pieces, count);
    while (taken < 0 && errno == EINTR);
    return taken < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? 0 : taken;
}

static ssize_t env_send(struct env *env, struct link *link, const struct iovec *pieces, int count)
{
    (void)env;
    if (link->broken) return -1;
    size_t wanted = 0;
    for (int i = 0; i < count; i++) wanted += pieces[i].iov_len;
    ssize_t taken = write_some(link, pieces, count);
    if (taken < 0) {
        break_link(link);
        return -1;
    }
    if ((size_t)taken < wanted) {
        link->blocked = true;
        poll_for(link, link->events | UV_WRITABLE);
    }
    return taken;
}

static void env_send_end(struct env *env, struct link *link)
{
    (void)env;
    if (link->tls == NULL) {
        shutdown(link->fd, SHUT_WR); /* of something that isn't a socket, closing will do */
        return;
    }
    tls_end(link->tls);
    count_out(link);
    if (tls_has_unsent(link->tls)) poll_for(link, link->events | UV_WRITABLE);
}

static void env_reading(struct env *env, struct link *link, int on)
{
    (void)env;
    link->paused = !on;
    if (link->paused) forget_more(link);
    poll_for(link, (link->events & UV_WRITABLE) | reading_events(link));
    if (link->tls != NULL) read_more_soon(link);
}

void conn_close(struct link *link)
{
    link->session = NULL;
    if (link->broken) return; /* on its way already */
    poll_for(link, 0);
    forget_more(link);
    callers_welcome(&link->guest);
    link->broken = true;
    uv_close((uv_handle_t *)&link->poll, on_closed);
}

static void env_close(struct env *env, struct link *link)
{
    (void)env;
    if (link->tls != NULL && !link->broken) tls_end(link->tls);
    conn_close(link);
}

static void env_welcomed(struct env *env, struct link *link)
{
    (void)env;
    link->is_welcome = true;
    callers_welcome(&link->guest);
}

void conn_fill_env(struct env *env)
{
    env->welcomed = env_welcomed;
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

/* NULL: it can't be polled. */
static struct link *link_new(struct server *server, int fd, bool needs_identity, const char *place,
                             struct listener_counts *counts)
{
    set_options(fd);
    struct link *link = sure_zeroed(sizeof *link);
    if (uv_poll_init(&server->loop, &link->poll, fd) != 0) {
        free(link);
        return NULL;
    }
    link->server = server;
    link->fd = fd;
    link->needs_identity = needs_identity;
    link->place = place;
    link->counts = counts;
    if (counts != NULL) counts->connections++;
    link->poll.data = link;
    server->links_count++;
    return link;
}

static void turn_away(struct link *link, const char *text)
{
    if (link->session != NULL) session_turn_away(link->session, text);
    else handshake_abandon(link);
}

/* Counts it among those of its address. One that came earlier and is silent may have to go instead. False: it can't
 * stay, and text says why. */
static bool enter(struct link *link, const struct peer *peer, char *text, size_t text_cap)
{
    struct server *server = link->server;
    struct guest *oldest;
    switch (callers_enter(&server->callers, &link->guest, peer, &oldest, text, text_cap)) {
    case CALLERS_OK: return true;
    case CALLERS_FULL:
        broker_note_refusal(server->broker, peer->is_loopback ? REFUSED_LOOPBACK : REFUSED_ADDRESS);
        return false;
    case CALLERS_CROWD:
        broker_note_refusal(server->broker, REFUSED_UNWELCOMED);
        turn_away(container_of(oldest, struct link, guest), text);
        return true;
    }
    return false;
}

static bool begin_session(struct link *link, struct peer *peer)
{
    link->session = session_new(link->server->broker, link);
    if (link->session == NULL) return false;
    peer->needs_identity = link->needs_identity;
    peer->listener = link->place;
    if (link->tls != NULL) tls_peer(link->tls, peer);
    session_set_peer(link->session, peer);
    poll_for(link, UV_READABLE);
    return true;
}

int conn_open(struct server *server, int fd, bool needs_identity, const char *place, struct listener_counts *counts)
{
    char text[200] = "the connection can't be polled";
    const char *why = text;
    struct peer peer;
    peer_of_socket(&peer, fd);
    peer.listener = place;
    struct link *link = link_new(server, fd, needs_identity, place, counts);
    if (link != NULL && enter(link, &peer, text, sizeof text)) {
        if (begin_session(link, &peer)) {
            if (counts != NULL) counts->accepted++;
            return 0;
        }
        why = broker_full_text(server->broker);
    }
    size_t len;
    const uint8_t *bye = broker_full_frame(why, &len);
    broker_audit_refusal(server->broker, &peer, MPS_TOO_MANY, why);
    if (counts != NULL) counts->refused++;
    if (write(fd, bye, len) < 0) { /* closing says the rest */
    }
    if (link != NULL) conn_close(link);
    else close(fd);
    return -1;
}

static void refuse_tls(struct server *server, const struct peer *peer, const char *why)
{
    char line[300];
    broker_audit_refusal(server->broker, peer, MPS_TOO_MANY, why);
    snprintf(line, sizeof line, "refusing a TLS connection: %s", why);
    broker_note_peer(server->broker, peer, line);
}

int conn_open_tls(struct server *server, int fd, const struct listener *listener)
{
    char text[200];
    struct peer peer;
    peer_of_socket(&peer, fd);
    peer.listener = listener_place(listener);
    /* As many handshakes as connections are left: who comes too many doesn't get as far as to be told. */
    size_t count = broker_sessions(server->broker) + server->handshakes.count;
    bool is_full = count >= broker_limits_of(server->broker)->max_sessions_count;
    struct link *link =
        is_full ? NULL : link_new(server, fd, listener->needs_identity, peer.listener, listener->counts);
    if (link == NULL) {
        if (is_full) broker_note_refusal(server->broker, REFUSED_CONNECTIONS);
        listener->counts->refused++;
        refuse_tls(server, &peer, is_full ? "there are too many connections" : "it can't be polled");
        close(fd);
        return -1;
    }
    if (!enter(link, &peer, text, sizeof text)) {
        listener->counts->refused++;
        refuse_tls(server, &peer, text);
        conn_close(link);
        return -1;
    }
    link->tls = tls_new(listener->tls, link, fd);
    if (link->tls != NULL && handshake_begin(link)) {
        listener->counts->accepted++;
        return 0;
    }
    listener->counts->refused++;
    conn_close(link);
    return -1;
}

void conn_serve(struct link *link, uint64_t accepted_ms)
{
    struct peer peer;
    peer_of_socket(&peer, link->fd);
    if (begin_session(link, &peer)) {
        session_accepted_at(link->session, accepted_ms);
        count_out(link);
        read_more_soon(link);
        return;
    }
    size_t len;
    const uint8_t *bye = broker_full_frame(broker_full_text(link->server->broker), &len);
    struct iovec piece = {(void *)bye, len};
    tls_send(link->tls, &piece, 1, true); /* if it can be told */
    tls_end(link->tls);
    conn_close(link);
}
