/* A TLS connection before its session: nothing of it has reached the core. Each step, which may cost a signature (RSA
 * of 2048 bits: 1 ms), is done by libuv's worker threads, a few at a time, so that the loop goes on delivering. The
 * time is limits.handshake_ms from the accept to the HELLO, of which the core is told. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hash.h"
#include "net.h"
#include "wire.h"

#define TLS_FIRST_BYTE 0x16 /* a handshake record */
/* Of libuv's four threads one is always there for others, and of the processors one for the loop. */
#define RUNNING_MOST 3

struct handshake {
    uv_work_t work;
    struct link *link;
    struct list_node in_all, in_waiting;
    uint64_t accepted_ms;
    bool is_first;   /* nothing has come yet */
    bool is_waiting; /* in the list of those that a thread shall work on */
    bool is_running; /* a thread works on it: the connection is the thread's */
    bool is_over;    /* the connection is closed, and freed when the thread is done */
    enum tls_step step;
    char text[200];
};

static void on_poll(uv_poll_t *poll, int status, int events);
static void on_deadline(uv_timer_t *timer);

static void set_timer(struct server *server)
{
    struct list_node *first = server->handshakes.all.first;
    if (first == NULL) {
        uv_timer_stop(&server->handshakes.timer);
        return;
    }
    /* All have the same time, so that the first is due first. */
    uint64_t due_ms =
        container_of(first, struct handshake, in_all)->accepted_ms + broker_limits_of(server->broker)->handshake_ms;
    uint64_t now_ms = uv_now(&server->loop);
    uv_timer_start(&server->handshakes.timer, on_deadline, due_ms > now_ms ? due_ms - now_ms : 0, 0);
}

static void leave_lists(struct handshake *handshake)
{
    struct handshakes *all = &handshake->link->server->handshakes;
    if (handshake->is_waiting) list_remove(&all->waiting, &handshake->in_waiting);
    handshake->is_waiting = false;
    list_remove(&all->all, &handshake->in_all);
    all->count--;
}

void handshake_free(struct link *link)
{
    free(link->tls->handshake);
    link->tls->handshake = NULL;
}

bool handshake_is_running(const struct link *link)
{
    return link->tls != NULL && link->tls->handshake != NULL && link->tls->handshake->is_running;
}

/* Closes the connection. */
static void end(struct handshake *handshake)
{
    struct server *server = handshake->link->server;
    leave_lists(handshake);
    handshake->is_over = true;
    conn_close(handshake->link);
    set_timer(server);
}

void handshake_abandon(struct link *link)
{
    end(link->tls->handshake);
}

__attribute__((format(printf, 2, 3))) static void end_saying(struct handshake *handshake, const char *format, ...)
{
    char why[400], line[600];
    struct peer peer;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    peer_of_socket(&peer, handshake->link->fd);
    peer.listener = handshake->link->place;
    snprintf(line, sizeof line, "closing a connection from %s before it is one: %s",
             peer.kind == PEER_TCP ? peer.address : "a peer that has gone", why);
    broker_note_peer(handshake->link->server->broker, &peer, line);
    broker_audit_refusal(handshake->link->server->broker, &peer, 0, why);
    end(handshake);
}

static void on_deadline(uv_timer_t *timer)
{
    struct server *server = timer->data;
    uint64_t allowed_ms = broker_limits_of(server->broker)->handshake_ms, now_ms = uv_now(&server->loop);
    for (struct list_node *node; (node = server->handshakes.all.first) != NULL;) {
        struct handshake *handshake = container_of(node, struct handshake, in_all);
        if (handshake->accepted_ms + allowed_ms > now_ms) break;
        server_turn_soon(server);
        end_saying(handshake, "the TLS handshake was not complete within %llu ms", (unsigned long long)allowed_ms);
    }
    set_timer(server);
}

static void wait_for_peer(struct handshake *handshake)
{
    int events = UV_READABLE | (tls_has_unsent(handshake->link->tls) ? UV_WRITABLE : 0);
    uv_poll_start(&handshake->link->poll, events, on_poll);
}

static void work(uv_work_t *request)
{
    struct handshake *handshake = request->data;
    worker_gives_way();
    handshake->step = tls_handshake(handshake->link->tls, handshake->text, sizeof handshake->text);
}

static void take_step(struct handshake *handshake)
{
    struct link *link = handshake->link;
    struct server *server = link->server;
    int flushed = tls_flush(link->tls); /* of a failure the reason, too */
    if (handshake->step == TLS_FAILED) {
        end_saying(handshake, "the TLS handshake failed: %s", handshake->text);
    } else if (flushed < 0) {
        end_saying(handshake, "the TLS handshake failed: the peer closed the connection");
    } else if (handshake->step == TLS_DONE) {
        uint64_t accepted_ms = handshake->accepted_ms;
        leave_lists(handshake);
        handshake_free(link);
        set_timer(server);
        conn_serve(link, accepted_ms);
    } else {
        wait_for_peer(handshake);
    }
}

static void on_worked(uv_work_t *request, int status);

/* As many as may run at a time. */
static void run_waiting(struct server *server)
{
    struct handshakes *all = &server->handshakes;
    while (all->running < all->running_most && all->waiting.first != NULL) {
        struct handshake *handshake = container_of(all->waiting.first, struct handshake, in_waiting);
        list_remove(&all->waiting, &handshake->in_waiting);
        handshake->is_waiting = false;
        handshake->is_running = true;
        handshake->work.data = handshake;
        all->running++;
        if (uv_queue_work(&server->loop, &handshake->work, work, on_worked) != 0) abort(); /* it only takes note */
    }
}

static void on_worked(uv_work_t *request, int status)
{
    struct handshake *handshake = request->data;
    struct server *server = handshake->link->server;
    (void)status;
    handshake->is_running = false;
    server->handshakes.running--;
    if (handshake->is_over) conn_forget_closed(handshake->link);
    else take_step(handshake);
    run_waiting(server);
}

/* Whoever doesn't speak TLS is told so, in plain: what it said is read before, else closing would be a reset, and take
 * the words from it. */
static void refuse_plain(struct handshake *handshake)
{
    uint8_t said[4096], bye[400];
    char text[200];
    ssize_t len = read(handshake->link->fd, said, sizeof said);
    if (len <= 0) {
        end(handshake);
        return;
    }
    const char *looks = said[0] >= 0x94 && said[0] <= 0x9f ? "mps/1 without TLS" : broker_guess(said, (size_t)len);
    if (looks != NULL) {
        snprintf(text, sizeof text, "this listener serves mps/1 over TLS (tls://), the first bytes look like %s",
                 looks);
    } else {
        snprintf(text, sizeof text, "this listener serves mps/1 over TLS (tls://), the first byte is %02x", said[0]);
    }
    struct mps_out out = mps_out_open(bye, sizeof bye);
    mps_encode_bye(&out, &(struct mps_bye){.code = MPS_MALFORMED, .text = mps_text(text)});
    if (write(handshake->link->fd, out.buf, out.len) < 0) { /* closing says the rest */
    }
    end_saying(handshake, "%s", text);
}

static void on_readable(struct handshake *handshake)
{
    struct link *link = handshake->link;
    struct handshakes *all = &link->server->handshakes;
    uint8_t first = TLS_FIRST_BYTE;
    if (handshake->is_first) {
        ssize_t len = recv(link->fd, &first, 1, MSG_PEEK);
        if (len < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return;
        if (len <= 0) { /* somebody looked whether there is somebody */
            end(handshake);
            return;
        }
        handshake->is_first = false;
    }
    if (first != TLS_FIRST_BYTE) {
        refuse_plain(handshake);
        return;
    }
    uv_poll_stop(&link->poll);
    handshake->is_waiting = true;
    list_append(&all->waiting, &handshake->in_waiting);
    run_waiting(link->server);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct link *link = poll->data;
    struct handshake *handshake = link->tls->handshake;
    if (status < 0 || ((events & UV_WRITABLE) && tls_flush(link->tls) < 0)) {
        end(handshake);
        return;
    }
    if (events & UV_READABLE) on_readable(handshake);
    else wait_for_peer(handshake);
}

bool handshake_begin(struct link *link)
{
    struct handshakes *all = &link->server->handshakes;
    struct handshake *handshake = calloc(1, sizeof *handshake);
    if (handshake == NULL) return false;
    handshake->link = link;
    handshake->is_first = true;
    handshake->accepted_ms = uv_now(&link->server->loop);
    link->tls->handshake = handshake;
    list_append(&all->all, &handshake->in_all);
    if (all->count++ == 0) set_timer(link->server);
    wait_for_peer(handshake);
    return true;
}

void handshakes_init(struct server *server)
{
    unsigned processors = uv_available_parallelism();
    struct handshakes *all = &server->handshakes;
    all->running_most = processors < 2 ? 1 : processors > RUNNING_MOST ? RUNNING_MOST : (int)processors - 1;
    uv_timer_init(&server->loop, &all->timer);
    all->timer.data = server;
}

void handshakes_stop(struct server *server)
{
    for (struct list_node *node; (node = server->handshakes.all.first) != NULL;)
        end(container_of(node, struct handshake, in_all));
}
