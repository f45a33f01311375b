/* The work that is done inside the calls that wait: timers, writing, polling, reading. */
#include "client.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define INTERRUPTED "interrupted by a signal or a wake"
#define READS_MAX 16                /* in a row, so that a fast broker does not keep a call from returning */
#define RX_USUAL_BYTES (256 * 1024) /* larger only for a frame that does not fit */

uint64_t mps_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- writing -------------------------------------------------------------------------------------------------- */

static bool wants_write(const struct pubsub *client)
{
    const void *control;
    if (client->state != LINK_UP && client->state != LINK_GREETING) return false;
    if (client->tx_broken) return false;
    return mps_secure_owes(&client->secure) || pubsub_core_output(&client->core, &control) > 0 ||
           (client->state == LINK_UP && mps_outbox_writable(&client->outbox) > 0);
}

/* What goes out next, in order: the rest of a frame that is half written; control frames; then further messages. */
struct pieces {
    struct iovec iov[3];
    size_t rest, control;
};

static void gather(struct pubsub *client, struct pieces *out)
{
    struct mps_outbox *box = &client->outbox;
    const void *control;
    bool up = client->state == LINK_UP;
    size_t writable = up ? mps_outbox_writable(box) : 0;
    out->rest = up ? box->whole - box->sent : 0;
    out->control = pubsub_core_output(&client->core, &control);
    uint8_t *at = box->buf == NULL ? NULL : box->buf + box->sent;
    out->iov[0] = (struct iovec){at, out->rest};
    out->iov[1] = (struct iovec){(void *)(uintptr_t)control, out->control};
    out->iov[2] = (struct iovec){at == NULL ? NULL : at + out->rest, writable - out->rest};
}

static void account(struct pubsub *client, const struct pieces *pieces, size_t len)
{
    size_t rest = len < pieces->rest ? len : pieces->rest;
    size_t control = len - rest < pieces->control ? len - rest : pieces->control;
    client->tx_count += len;
    if (rest > 0) mps_outbox_written(&client->outbox, rest);
    if (control > 0) pubsub_core_written(&client->core, control);
    if (len > rest + control) mps_outbox_written(&client->outbox, len - rest - control);
}

static void write_failed(struct pubsub *client, int error)
{
    client->tx_broken = true;
    client->tx_error = error;
}

/* What a crash could take from the outbox file must not be sent: its pids would be used again. False: it can't be put
 * there, which costs this connection, until it can. */
static bool file_is_synced(struct pubsub *client)
{
    if (client->state != LINK_UP || !mps_outbox_file_is_open(&client->file)) return true;
    int error = mps_outbox_file_sync(&client->file, &client->outbox);
    if (error != 0) write_failed(client, error);
    return error == 0;
}

void mps_client_write(struct pubsub *client)
{
    bool secure = mps_secure_is_open(&client->secure);
    while (wants_write(client)) {
        struct pieces pieces;
        int error = 0;
        if (!file_is_synced(client)) break;
        gather(client, &pieces);
        size_t total = pieces.iov[0].iov_len + pieces.iov[1].iov_len + pieces.iov[2].iov_len;
        ssize_t n = secure ? mps_secure_write(&client->secure, pieces.iov, 3)
                           : mps_link_write(client->fd, pieces.iov, 3, &error);
        if (n == MPS_LINK_ERROR) {
            write_failed(client, error);
            break;
        }
        if (n == MPS_LINK_AGAIN) break;
        client->last_tx_ms = mps_now_ms();
        account(client, &pieces, (size_t)n);
        if (client->secure.ending) break; /* nothing follows but the end, which is said in its turn */
        if (!secure && (size_t)n < total) break;
    }
    client->write_at = mps_outbox_writable(&client->outbox) + MPS_GATHER_BYTES;
}

bool mps_client_written(const struct pubsub *client)
{
    return mps_outbox_all_written(&client->outbox) && !mps_secure_owes(&client->secure);
}

bool mps_client_drained(const struct pubsub *client)
{
    return mps_client_written(client) && mps_outbox_unacked(&client->outbox) == 0;
}

/* Closes our end of the stream once everything has left. */
static void shut_if_due(struct pubsub *client)
{
    const void *control;
    if (!client->shutting || client->shut || client->state != LINK_UP || client->closing || client->tx_broken) return;
    if (!client->secure.ending && (!mps_client_drained(client) || pubsub_core_output(&client->core, &control) > 0))
        return;
    if (mps_secure_is_open(&client->secure)) {
        int result = mps_secure_end(&client->secure);
        if (result == MPS_LINK_ERROR) write_failed(client, 0);
        if (result != 0) return;
    }
    client->shut = true;
    if (mps_link_shut(client->fd)) return;
    (void)pubsub_core_bye(&client->core, MPS_OK); /* a device has no end of its own */
    mps_client_write(client);
}

void mps_client_push(struct pubsub *client)
{
    mps_client_write(client);
    shut_if_due(client);
}

/* ---- reading -------------------------------------------------------------------------------------------------- */

/* Makes room for a frame that does not fit. By doubling, so that memory follows what came, not what was claimed. */
static bool grow_input(struct pubsub *client)
{
    if (client->rx_cap > SIZE_MAX / 2) return false;
    uint8_t *rx = realloc(client->rx, 2 * client->rx_cap);
    if (rx == NULL) return false;
    client->rx = rx;
    client->rx_cap *= 2;
    client->core.rx = rx; /* moved with what is in it */
    pubsub_core_set_input(&client->core, rx, client->rx_cap, client->core.frame_max);
    return true;
}

static void read_ended(struct pubsub *client, int error)
{
    char why[MPS_ERROR_MAX];
    if (client->shut && error == 0 && client->secure.error == NULL) {
        mps_client_end(client, PUBSUB_ECLOSED, "the broker has sent everything and closed the connection");
        return;
    }
    if (error == 0 && client->tx_broken) error = client->tx_error;
    if (client->secure.error != NULL) snprintf(why, sizeof why, "the connection broke: %s", client->secure.error);
    else if (error == 0 || error == EPIPE) snprintf(why, sizeof why, "the broker closed the connection");
    else snprintf(why, sizeof why, "the connection broke: %s", strerror(error));
    bool up = client->state == LINK_UP;
    if (!up && !client->was_up) {
        char text[2 * MPS_ERROR_MAX];
        snprintf(text, sizeof text, "cannot connect to %s: %s%s", client->url_text,
                 client->secure.error != NULL ? client->secure.error : why,
                 client->secure.error != NULL ? "" : " without an answer");
        mps_client_lost(client, PUBSUB_ECONNECT, text);
        return;
    }
    mps_client_lost(client, client->closing ? PUBSUB_ECLOSED : PUBSUB_ELOST, why);
}

static void read_input(struct pubsub *client)
{
    bool secure = mps_secure_is_open(&client->secure);
    for (int i = 0; i < READS_MAX && client->fd >= 0; i++) {
        void *at;
        size_t room = pubsub_core_input(&client->core, &at);
        if (room == 0 && !grow_input(client)) {
            mps_client_lost(client, PUBSUB_ENOMEM, "out of memory");
            return;
        }
        if (room == 0) continue;
        int error = 0;
        ssize_t n = secure ? mps_secure_read(&client->secure, at, room) : mps_link_read(client->fd, at, room, &error);
        if (n == MPS_LINK_AGAIN) break;
        if (n <= 0) {
            read_ended(client, error);
            return;
        }
        client->last_rx_ms = mps_now_ms();
        client->ping_at_ms = 0;
        pubsub_core_received(&client->core, (size_t)n);
        mps_client_events(client);
        if (client->rx_blocked || client->held) break;
        if ((size_t)n < room && secure) continue; /* it was one record: there is more until it says there is not */
        if ((size_t)n < room) break;
        if (client->fd >= 0 && client->rx_cap < RX_USUAL_BYTES) (void)grow_input(client);
    }
    if (client->fd >= 0 && client->tx_broken) read_ended(client, client->tx_error); /* nothing is left to be read */
}

/* ---- timers --------------------------------------------------------------------------------------------------- */

/* When the connection wants something to be done although nothing arrives. */
static uint64_t link_timer(const struct pubsub *client)
{
    switch (client->state) {
    case LINK_DOWN: return client->retry_at_ms;
    case LINK_LOOKING: return client->looked_up ? 0 : client->attempt_until_ms;
    case LINK_CONNECTING:
    case LINK_SECURING:
    case LINK_GREETING: return client->address_until_ms;
    case LINK_UP: break;
    }
    if (client->shut) return MPS_NEVER; /* nothing can be asked any more */
    if (client->ping_at_ms != 0) return client->ping_at_ms + client->keepalive_ms;
    uint64_t idle_since = client->last_rx_ms < client->last_tx_ms ? client->last_rx_ms : client->last_tx_ms;
    return idle_since + client->keepalive_ms / 2;
}

static uint64_t next_timer(const struct pubsub *client)
{
    uint64_t link = link_timer(client), requests = client->requests.wake_at_ms;
    return requests != 0 && requests < link ? requests : link;
}

/* Bytes that the other end has taken. On a slow line much may be on its way, and go ahead of a PING: it is there as
 * long as this grows, although it says nothing. */
static int64_t taken(const struct pubsub *client)
{
    return (int64_t)client->tx_count - (int64_t)mps_link_underway(client->fd);
}

/* Nothing was received for half of the keepalive, or after a PING for all of it. */
static void silence(struct pubsub *client, uint64_t now)
{
    char why[MPS_ERROR_MAX];
    bool asked = client->ping_at_ms != 0;
    int64_t before = client->taken_count;
    client->taken_count = taken(client);
    if (asked && client->taken_count <= before) {
        snprintf(why, sizeof why, "nothing was received for %llu ms", (unsigned long long)(now - client->last_rx_ms));
        mps_client_lost(client, PUBSUB_ELOST, why);
        return;
    }
    client->ping_at_ms = now; /* also if it does not fit: then nothing moves, which is what this is about */
    if (asked) return;
    (void)pubsub_core_ping(&client->core, NULL, 0);
    mps_client_write(client);
}

static void timer_due(struct pubsub *client, uint64_t now)
{
    char why[MPS_ERROR_MAX];
    switch (client->state) {
    case LINK_DOWN: mps_client_connect(client); break;
    case LINK_LOOKING: mps_client_looking(client); break;
    case LINK_CONNECTING: mps_client_connecting(client, 0); break;
    case LINK_SECURING:
    case LINK_GREETING:
        snprintf(why, sizeof why, "cannot connect to %s: no answer%s within %u ms", client->url_text,
                 client->state == LINK_SECURING ? " to the TLS handshake" : "", (unsigned)client->options.connect_ms);
        mps_client_lost(client, PUBSUB_ECONNECT, why);
        break;
    case LINK_UP: silence(client, now); break;
    }
}

int mps_remaining_ms(uint64_t until, uint64_t now)
{
    if (until == MPS_NEVER) return -1;
    if (until <= now) return 0;
    return until - now > INT_MAX ? INT_MAX : (int)(until - now);
}

/* ---- steps ---------------------------------------------------------------------------------------------------- */

short pubsub_poll_events(const pubsub *client)
{
    if (client->fd < 0) return 0;
    if (client->state == LINK_CONNECTING) return POLLOUT;
    if (client->state == LINK_SECURING) return mps_secure_events(&client->secure, true, false);
    if (mps_secure_is_open(&client->secure))
        return mps_secure_events(&client->secure, !client->rx_blocked, wants_write(client));
    int events = (client->rx_blocked ? 0 : POLLIN) | (wants_write(client) ? POLLOUT : 0);
    return (short)events;
}

int pubsub_fd(const pubsub *client)
{
    return client->fd;
}

/* There may be input that the descriptor does not show. */
static bool has_unread(const struct pubsub *client)
{
    return client->secure.unread && !client->rx_blocked;
}

/* The connection may be ended now, as pubsub_disconnect() wants it. */
static bool leaving_is_due(const struct pubsub *client)
{
    const void *control;
    if (!client->leaving || client->bye_said) return false;
    if (client->state != LINK_UP) return true;
    return mps_client_written(client) && pubsub_core_output(&client->core, &control) == 0;
}

int pubsub_poll_timeout_ms(const pubsub *client)
{
    return client->ended != 0 || client->held || has_unread(client) || leaving_is_due(client)
               ? 0
               : mps_remaining_ms(next_timer(client), mps_now_ms());
}

/* The connection is up, or nearly: writes and reads as far as it is ready. TLS may have to do either for the other. */
static void move_bytes(struct pubsub *client, short revents)
{
    bool secure = mps_secure_is_open(&client->secure);
    if (revents & (secure ? ~0 : POLLOUT)) mps_client_write(client);
    if (client->rx_blocked) mps_client_events(client);
    if (client->rx_blocked && client->tx_broken) read_ended(client, client->tx_error);
    bool readable = secure ? revents != 0 || has_unread(client) : (revents & ~POLLOUT) != 0;
    if (!client->rx_blocked && client->fd >= 0 && (client->tx_broken || readable)) read_input(client);
    mps_client_push(client); /* what the callbacks queued */
}

static void leave(struct pubsub *client)
{
    mps_client_requests_end(client, PUBSUB_ECLOSED, "the client was closed");
    if (client->ended != 0 || !leaving_is_due(client)) return;
    client->bye_said = true;
    if (client->state != LINK_UP || (client->shut && client->options.half)) {
        mps_client_end(client, PUBSUB_ECLOSED, "closed");
        return;
    }
    if (client->shut) return;                     /* the broker ends it */
    (void)pubsub_core_bye(&client->core, MPS_OK); /* there is room: nothing else waits there */
    mps_client_write(client);
}

int mps_client_step(struct pubsub *client, int timeout_ms)
{
    if (client->leaving) {
        leave(client);
        if (client->ended != 0) return PUBSUB_OK;
    }
    client->woken = false;
    if (client->held && !client->opening) { /* whoever asks for it may have subscribed by now */
        client->held = false;
        mps_client_events(client);
    }
    if (client->state != LINK_UP && client->options.session_s == 0) mps_client_subs_lost(client);
    if (client->state == LINK_DOWN) {
        if (mps_now_ms() >= client->retry_at_ms) mps_client_connect(client);
        if (client->ended != 0) return PUBSUB_OK;
    }
    int timer_ms = pubsub_poll_timeout_ms(client);
    if (client->callbacks > 0 && !client->closing) timeout_ms = 0;
    int wait_ms = timer_ms >= 0 && (timeout_ms < 0 || timer_ms < timeout_ms) ? timer_ms : timeout_ms;
    struct pollfd pfds[2] = {{.fd = client->fd, .events = pubsub_poll_events(client)},
                             {.fd = client->wake_fd, .events = POLLIN}};
    int ready = poll(pfds, client->wake_fd < 0 ? 1 : 2, client->tx_broken ? 0 : wait_ms);
    if (ready < 0) return errno == EINTR ? PUBSUB_EINTR : PUBSUB_OK;
    client->woken = pfds[1].revents != 0 && mps_wake_take(client->wake_fd);
    short revents = pfds[0].revents;
    if (client->state == LINK_CONNECTING) {
        if (revents != 0) mps_client_connecting(client, revents);
    } else if (client->state == LINK_SECURING) {
        if (revents != 0) mps_client_securing(client);
    } else if (client->fd >= 0) {
        move_bytes(client, revents);
    }
    uint64_t now = mps_now_ms();
    if (client->ended == 0 && link_timer(client) <= now) timer_due(client, now);
    mps_client_requests_expire(client, now);
    return client->woken ? PUBSUB_EINTR : PUBSUB_OK;
}

static uint64_t deadline(int timeout_ms)
{
    return timeout_ms < 0 ? MPS_NEVER : mps_now_ms() + (uint64_t)timeout_ms;
}

int mps_client_until(struct pubsub *client, bool (*done)(const struct pubsub *client), int timeout_ms)
{
    uint64_t until = deadline(timeout_ms);
    for (;;) {
        mps_client_push(client);
        if (done(client)) return PUBSUB_OK;
        if (client->ended != 0) return client->ended;
        client->callbacks = 0;
        int rc = mps_client_step(client, mps_remaining_ms(until, mps_now_ms()));
        if (rc != PUBSUB_OK) return rc;
        if (mps_now_ms() >= until && !done(client)) return PUBSUB_ETIMEDOUT;
    }
}

int pubsub_wait(pubsub *client, int timeout_ms)
{
    if (client->in_callback) return mps_client_error(client, PUBSUB_EINVAL, "called from a callback");
    uint64_t until = deadline(timeout_ms);
    client->callbacks = 0;
    for (;;) {
        if (client->ended != 0) return client->ended;
        mps_client_push(client);
        int rc = mps_client_step(client, mps_remaining_ms(until, mps_now_ms()));
        if (client->ended != 0) return client->ended;
        if (client->callbacks > 0) return client->callbacks;
        if (client->woken) return 0;
        if (rc != PUBSUB_OK) return mps_client_error(client, rc, "interrupted by a signal");
        if (timeout_ms >= 0 && mps_now_ms() >= until) return 0;
    }
}

int pubsub_process(pubsub *client)
{
    return pubsub_wait(client, 0);
}

int pubsub_wake(pubsub *client)
{
    if (client->wake_fd < 0) return PUBSUB_EINVAL; /* no text: that is not for other threads to write */
    mps_wake(client->wake_fd);
    return PUBSUB_OK;
}

int pubsub_wake_fd(const pubsub *client)
{
    return client->wake_fd;
}

int pubsub_flush(pubsub *client, int timeout_ms)
{
    if (client->in_callback) return mps_client_error(client, PUBSUB_EINVAL, "called from a callback");
    int rc = mps_client_until(client, mps_client_drained, timeout_ms);
    if (rc == PUBSUB_EINTR) mps_client_error(client, rc, INTERRUPTED);
    if (rc == PUBSUB_ETIMEDOUT)
        mps_client_error(client, rc, "%zu bytes and %llu acknowledgements were outstanding after %d ms",
                         mps_outbox_bytes(&client->outbox), (unsigned long long)mps_outbox_unacked(&client->outbox),
                         timeout_ms);
    return rc;
}

static bool is_shut(const struct pubsub *client)
{
    return client->shut;
}

int pubsub_shutdown(pubsub *client, int timeout_ms)
{
    client->shutting = true;
    if (client->in_callback) return PUBSUB_OK; /* done by the call that is running, as soon as all has left */
    int rc = mps_client_until(client, is_shut, timeout_ms);
    if (rc == PUBSUB_EINTR) mps_client_error(client, rc, INTERRUPTED);
    if (rc == PUBSUB_ETIMEDOUT) mps_client_error(client, rc, "not everything was written within %d ms", timeout_ms);
    return rc;
}
