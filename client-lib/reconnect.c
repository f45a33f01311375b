/* Connecting, losing a connection, trying again, ending. The only place where .state changes. */
#include "client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define SOFTWARE "libpubsub " PUBSUB_VERSION
#define BUSY_MS 10 /* until a Unix socket whose queue of connections is full is tried again */

static void close_fd(struct pubsub *client)
{
    const struct pubsub_loop *loop = client->options.loop;
    if (client->fd < 0) return;
    if (loop != NULL && loop->forget_fd != NULL) loop->forget_fd(loop->context, client, client->fd);
    close(client->fd);
    client->fd = -1;
}

static void close_link(struct pubsub *client)
{
    const struct pubsub_loop *loop = client->options.loop;
    bool looking = client->state == LINK_LOOKING && !client->looked_up;
    mps_secure_close(&client->secure);
    close_fd(client);
    client->state = LINK_DOWN;
    if (looking && loop->cancel_lookup != NULL) loop->cancel_lookup(loop->context, client);
    client->rx_blocked = client->tx_broken = false;
    client->ping_at_ms = 0;
    client->address[0] = client->tried[0] = '\0';
    mps_addresses_free(&client->addresses);
}

uint64_t mps_random(void)
{
    uint64_t random = 0;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) != sizeof random) random = mps_now_ms() * 2654435761u;
    return random;
}

/* Full jitter: anything from 0 to the bound, so that clients that lost the same broker do not come back together. */
static uint64_t back_off_ms(unsigned failures, uint64_t min_ms, uint64_t max_ms)
{
    uint64_t bound = min_ms;
    for (unsigned i = 1; i < failures && bound < max_ms; i++) bound *= 2;
    if (bound > max_ms) bound = max_ms;
    return mps_random() % (bound + 1);
}

static void try_later(struct pubsub *client)
{
    client->failures++;
    client->attempt_until_ms = 0;
    client->retry_at_ms = mps_now_ms() + back_off_ms(client->failures, client->options.reconnect_min_ms,
                                                     client->options.reconnect_max_ms);
}

static bool may_reconnect(const struct pubsub *client)
{
    if (client->shut || client->closing) return false;
    if (client->url.kind == MPS_URL_FD && client->options.on_dial == NULL) return false;
    return client->was_up ? !client->options.no_reconnect : client->options.retry_first;
}

void mps_client_end(struct pubsub *client, int error, const char *why)
{
    if (client->ended != 0) return;
    bool was_up = client->state == LINK_UP;
    char text[MPS_ERROR_MAX]; /* why may point into the core, or into what a callback changes */
    snprintf(text, sizeof text, "%s", why);
    close_link(client);
    client->ended = error;
    mps_client_error(client, error, "%s", text);
    if (client->opening) return;
    if (was_up && error != PUBSUB_ECLOSED) mps_client_state(client, PUBSUB_LOST, text);
    mps_client_requests_end(client, error == PUBSUB_ECLOSED ? PUBSUB_ECLOSED : PUBSUB_ELOST, text);
    mps_client_subs_lost(client);
    mps_client_state(client, PUBSUB_ENDED, text);
}

/* An attempt failed, for the reason in text: turns to the next broker of the round. False: there is none, text says
 * what became of all, and *useless that another round would not help. */
static bool turn_to_next(struct pubsub *client, int error, char text[MPS_ERROR_MAX], bool refused, bool *useless)
{
    bool more = mps_targets_failed(&client->targets, text, refused);
    if (!more) *useless = mps_targets_end_round(&client->targets, text, MPS_ERROR_MAX);
    if (client->shut || client->closing || client->ended != 0) return false;
    if (more) close_link(client);
    mps_client_aim(client);
    if (!more) return false;
    client->attempt_until_ms = 0;
    client->retry_at_ms = mps_now_ms();
    mps_client_error(client, error, "%s", text);
    return true;
}

/* The broker that was connected refuses for good: the next one's turn begins. False: there is no other one. */
static bool pass_over(struct pubsub *client, char text[MPS_ERROR_MAX])
{
    bool more = mps_targets_failed(&client->targets, text, true);
    if (!more) (void)mps_targets_end_round(&client->targets, text, MPS_ERROR_MAX);
    mps_client_aim(client);
    return more;
}

static void give_up(struct pubsub *client, int error, const char *why, bool refused)
{
    bool was_up = client->state == LINK_UP, useless = false;
    char text[MPS_ERROR_MAX]; /* why may point into the core */
    snprintf(text, sizeof text, "%s", why);
    if (!was_up && turn_to_next(client, error, text, refused, &useless)) return;
    if (was_up && refused) useless = !pass_over(client, text);
    if (useless || !may_reconnect(client)) {
        mps_client_end(client, error, text);
        return;
    }
    close_link(client);
    /* Requests end with their connection: whether they were served is not known, so they are not sent again. */
    mps_outbox_lost(&client->outbox, mps_client_is_request, client);
    if (was_up && mps_now_ms() - client->up_since_ms >= client->options.reconnect_max_ms) client->failures = 0;
    try_later(client);
    mps_client_error(client, error, "%s", text);
    if (was_up) mps_client_state(client, PUBSUB_LOST, text);
    mps_client_requests_end(client, PUBSUB_ELOST, text);
}

void mps_client_lost(struct pubsub *client, int error, const char *why)
{
    give_up(client, error, why, false);
}

void mps_client_refused(struct pubsub *client, int error, const char *why)
{
    give_up(client, error, why, true);
}

/* What each way of saying BYE means for a client. */
void mps_client_bye(struct pubsub *client, uint32_t code, const char *text)
{
    char why[MPS_ERROR_MAX];
    snprintf(why, sizeof why, "the broker closed the connection: %s", text);
    switch (code) {
    case MPS_OK:
    case MPS_NOBODY_OR_WILL: /* here: bye, as an answer to ours or by itself */
        if (client->closing || client->shut) mps_client_end(client, PUBSUB_ECLOSED, why);
        else mps_client_lost(client, client->was_up ? PUBSUB_ELOST : PUBSUB_EREFUSED, why);
        return;
    case MPS_TAKEN_OVER: mps_client_end(client, PUBSUB_ETAKEN, why); return;
    case MPS_AUTH: mps_client_refused(client, PUBSUB_EAUTH, why); return;
    case MPS_SHUTTING_DOWN: /* it may be restarted: that is no failure of the connection that it had let in */
        if (client->state == LINK_UP) client->failures = 0;
        break;
    case MPS_MALFORMED:
    case MPS_VERSION:
    case MPS_UNKNOWN_OP:
    case MPS_LIMIT:
    case MPS_STATE:
    case MPS_PID_ORDER:
    case MPS_PUB_WINDOW:
    case MPS_BAD_CLIENT_ID: /* it would say the same again */ mps_client_refused(client, PUBSUB_EREFUSED, why); return;
    }
    mps_client_lost(client, client->was_up ? PUBSUB_ELOST : PUBSUB_EREFUSED, why);
}

/* ---- an attempt --------------------------------------------------------------------------------------------- */

/* A session is found again by the id that the broker made up, if the application gave none. */
static const char *own_id(const struct pubsub *client)
{
    if (client->options.client_id != NULL) return client->options.client_id;
    return client->options.session_s > 0 && client->was_up ? client->client_id : NULL;
}

int mps_client_hello(struct pubsub *client)
{
    const struct pubsub_options *options = &client->options;
    const struct mps_secret *secret = client->secret;
    return pubsub_core_hello(&client->core,
                             &(struct pubsub_core_hello){.client_id = own_id(client),
                                                         .software = SOFTWARE,
                                                         .session_s = options->session_s,
                                                         .clean = options->clean && !client->was_up,
                                                         .boot = options->session_s > 0 ? client->boot : 0,
                                                         .keepalive_s = options->keepalive_s,
                                                         .rx_max = options->rx_max,
                                                         .half = options->half,
                                                         .will = {client->will, client->will_len},
                                                         .auth = client->auth,
                                                         .proof = {secret != NULL ? secret->proof : NULL,
                                                                   secret != NULL ? secret->proof_len : 0}});
}

static void greet(struct pubsub *client)
{
    pubsub_core_restart(&client->core, client->outbox.settled_pid + 1);
    int rc = mps_client_hello(client);
    if (rc != PUBSUB_OK) { /* judged when it was opened */
        mps_client_end(client, rc, "HELLO cannot be written");
        return;
    }
    client->state = LINK_GREETING;
    client->last_rx_ms = client->last_tx_ms = mps_now_ms();
    mps_client_write(client);
}

static void attempt_failed(struct pubsub *client, int error)
{
    char why[MPS_ERROR_MAX];
    snprintf(why, sizeof why, "cannot connect to %s: %s", client->url_text,
             client->tried[0] != '\0' ? client->tried : strerror(error));
    mps_client_lost(client, PUBSUB_ECONNECT, why);
}

/* Tries the addresses that are left, each with its share of the time. */
static void try_next(struct pubsub *client, int error)
{
    mps_client_note_address(client, error);
    while (client->addresses.left > 0) {
        uint64_t now = mps_now_ms(), left = client->attempt_until_ms > now ? client->attempt_until_ms - now : 0;
        client->address_until_ms = now + left / client->addresses.left;
        mps_addresses_name_next(&client->addresses, client->address, sizeof client->address);
        error = mps_link_open(&client->url, &client->addresses, &client->fd);
        if (error == 0) {
            client->state = LINK_CONNECTING;
            return;
        }
        mps_client_note_address(client, error);
        if (error == EAGAIN && client->url.kind == MPS_URL_UNIX && left > 0) { /* many connect at this moment */
            close_link(client);
            client->retry_at_ms = now + BUSY_MS;
            return;
        }
    }
    attempt_failed(client, error);
}

/* Whether HELLO must not go this way: token and password are not for everybody who can listen on it. */
static bool would_be_overheard(const struct pubsub *client)
{
    if (client->secret == NULL || client->secret->proof_len == 0 || client->options.proof.in_clear) return false;
    if (client->url.tls) return false;
    switch (client->url.kind) {
    case MPS_URL_UNIX: return false;
    case MPS_URL_FD: return mps_link_leaves(client->url.fd);
    case MPS_URL_TCP: return mps_addresses_leave(&client->addresses);
    }
    return true;
}

static void refuse_to_be_overheard(struct pubsub *client)
{
    char why[MPS_URL_MAX + 128];
    snprintf(why, sizeof why, "cannot connect to %s: a %s would travel to another machine without encryption",
             client->url_text, client->auth);
    mps_client_refused(client, PUBSUB_EINVAL, why);
}

/* A descriptor is connected already: only HELLO is to be said. */
static void connect_adopted(struct pubsub *client)
{
    int fd;
    int error = mps_client_dial(client, &fd);
    if (error != 0) {
        attempt_failed(client, error);
        return;
    }
    client->url.fd = fd;
    if (would_be_overheard(client)) {
        if (client->options.on_dial != NULL) close(fd);
        refuse_to_be_overheard(client);
        return;
    }
    client->fd = fd;
    client->address_until_ms = client->attempt_until_ms;
    greet(client);
}

/* Tries the addresses that were found; or why is why there are none. */
static void found(struct pubsub *client, const char *why)
{
    if (why == NULL && would_be_overheard(client)) {
        refuse_to_be_overheard(client);
        return;
    }
    if (why == NULL) {
        try_next(client, ECONNREFUSED);
        return;
    }
    char text[MPS_ERROR_MAX];
    snprintf(text, sizeof text, "cannot connect to %s: %s", client->url_text, why);
    mps_client_lost(client, PUBSUB_ECONNECT, text);
}

void pubsub_looked_up(pubsub *client, const struct addrinfo *addresses, const char *why)
{
    if (client->state != LINK_LOOKING || client->looked_up) return;
    client->looked_up = true;
    if (addresses != NULL) why = mps_addresses_take(&client->addresses, addresses);
    else if (why == NULL) why = "it has no address";
    snprintf(client->lookup_error, sizeof client->lookup_error, "%s", why != NULL ? why : "");
}

void mps_client_looking(struct pubsub *client)
{
    char why[64];
    if (client->looked_up) { /* what is slow at names need not be slow at connecting */
        client->attempt_until_ms = mps_now_ms() + client->options.connect_ms;
        found(client, client->lookup_error[0] != '\0' ? client->lookup_error : NULL);
        return;
    }
    snprintf(why, sizeof why, "its name was not resolved within %u ms", (unsigned)client->options.connect_ms);
    found(client, why);
}

static void look_up(struct pubsub *client)
{
    const struct pubsub_loop *loop = client->options.loop;
    bool loop_asks = loop != NULL && loop->lookup != NULL;
    const char *why = mps_addresses_find(&client->addresses, &client->url, loop_asks);
    if (why == NULL || !loop_asks) {
        found(client, why);
        return;
    }
    client->state = LINK_LOOKING;
    client->looked_up = false;
    loop->lookup(loop->context, client, client->url.host, client->url.port);
}

void mps_client_connect(struct pubsub *client)
{
    uint64_t now = mps_now_ms();
    if (client->attempt_until_ms <= now) client->attempt_until_ms = now + client->options.connect_ms;
    client->retry_at_ms = MPS_NEVER;
    if (client->url.kind == MPS_URL_FD) {
        connect_adopted(client);
        return;
    }
    look_up(client);
}

static void secure_failed(struct pubsub *client, int error, const char *why)
{
    char text[MPS_URL_MAX + MPS_ERROR_MAX];
    snprintf(text, sizeof text, "cannot connect to %s: %s", client->url_text, why);
    mps_client_lost(client, error, text);
}

void mps_client_securing(struct pubsub *client)
{
    switch (mps_secure_handshake(&client->secure)) {
    case 0: greet(client); break;
    case MPS_LINK_AGAIN: break;
    case MPS_LINK_ERROR: secure_failed(client, PUBSUB_ECONNECT, client->secure.error); break;
    }
}

/* Who does not get through this step is not asked at another address: it is a broker, and something is wrong there. */
static void secure(struct pubsub *client)
{
    char why[MPS_ERROR_MAX] = "";
    int rc = mps_secure_open(&client->secure, client->options.tls, client->fd, client->url.host, why, sizeof why);
    if (rc != PUBSUB_OK) {
        secure_failed(client, rc, why);
        return;
    }
    client->state = LINK_SECURING;
    mps_client_securing(client);
}

void mps_client_connecting(struct pubsub *client, short revents)
{
    int error = revents == 0 ? ETIMEDOUT : mps_link_connected(client->fd);
    if (error == 0) {
        client->address_until_ms = client->attempt_until_ms;
        if (client->url.tls) secure(client);
        else greet(client);
        return;
    }
    close_fd(client);
    try_next(client, error);
}

/* What the session's counters and the broker's memory say of what was done on earlier connections. False: nonsense. */
static bool take_up(struct pubsub *client, const struct pubsub_welcome *welcome)
{
    bool same_history = client->epoch == 0 || welcome->epoch == 0 || client->epoch == welcome->epoch;
    if (welcome->epoch != 0) client->epoch = welcome->epoch; /* else the broker doesn't know yet */
    client->resumed = welcome->resumed;
    client->session_s = welcome->session_s;
    client->held = client->opening && welcome->resumed;
    mps_subs_connected(&client->subs, welcome->resumed, same_history);
    if (!mps_outbox_forget(&client->outbox, welcome->last_pid)) return false;
    client->core.settled_pid = client->outbox.settled_pid;
    return true;
}

/* Everything that is owed to the new connection goes ahead of what waits. Returns 0 or PUBSUB_ENOMEM. */
static int ask_again(struct pubsub *client, uint64_t window)
{
    uint8_t *frames;
    size_t len;
    int rc = mps_subs_encode(&client->subs, mps_now_ms(), &frames, &len);
    if (rc == PUBSUB_OK) rc = mps_outbox_connected(&client->outbox, window, frames, len);
    free(frames);
    return rc;
}

void mps_client_welcomed(struct pubsub *client, const struct pubsub_welcome *welcome)
{
    uint64_t settled_before = client->outbox.settled_pid;
    if (!take_up(client, welcome)) {
        mps_client_end(client, PUBSUB_EPROTO, "the broker broke the protocol: WELCOME: last_pid was never published");
        return;
    }
    if (ask_again(client, welcome->pub_window > 0 ? welcome->pub_window : UINT64_MAX) != PUBSUB_OK) {
        mps_client_lost(client, PUBSUB_ENOMEM, "out of memory");
        return;
    }
    mps_addresses_free(&client->addresses);
    mps_targets_connected(&client->targets);
    client->state = LINK_UP;
    client->attempt_until_ms = 0;
    client->up_since_ms = mps_now_ms();
    client->max_payload = client->core.broker_payload_max;
    if (client->options.rx_max == 0)
        pubsub_core_set_input(&client->core, client->rx, client->rx_cap, (size_t)client->max_payload + MPS_HEAD_MAX);
    uint64_t keepalive_s = welcome->keepalive_s > 0 ? welcome->keepalive_s : client->options.keepalive_s;
    client->keepalive_ms = 1000 * keepalive_s;
    client->write_at = MPS_GATHER_BYTES;
    client->connections_count++;
    snprintf(client->client_id, sizeof client->client_id, "%s", welcome->client_id);
    snprintf(client->inbox, sizeof client->inbox, "%s", welcome->inbox);
    bool again = client->was_up;
    client->was_up = true;
    uint64_t settled = client->outbox.settled_pid;
    mps_client_state(client, again ? PUBSUB_CONNECTED_AGAIN : PUBSUB_CONNECTED, client->url_text);
    if (settled > settled_before) mps_client_settled_before(client, settled_before + 1, settled);
}
