#include "connect.h"

#include <errno.h>
#include <string.h>

#include "cli.h"
#include "credentials.h"
#include "signals.h"
#include "wire.h"

static bool set_url(void *into, const char *value)
{
    ((struct connection_options *)into)->url = value;
    return true;
}

static bool set_id(void *into, const char *value)
{
    ((struct connection_options *)into)->client_id = value;
    return true;
}

static bool set_user(void *into, const char *value)
{
    ((struct connection_options *)into)->user = value;
    return true;
}

static bool set_password_file(void *into, const char *value)
{
    ((struct connection_options *)into)->password_file = value;
    return true;
}

static bool set_token_file(void *into, const char *value)
{
    ((struct connection_options *)into)->token_file = value;
    return true;
}

static bool set_ca(void *into, const char *value)
{
    ((struct connection_options *)into)->ca = value;
    return true;
}

static bool set_certificate(void *into, const char *value)
{
    ((struct connection_options *)into)->certificate = value;
    return true;
}

static bool set_certificate_key(void *into, const char *value)
{
    ((struct connection_options *)into)->certificate_key = value;
    return true;
}

static bool set_auth_in_clear(void *into, const char *value)
{
    (void)value;
    return ((struct connection_options *)into)->auth_in_clear = true;
}

const struct option_row connection_option_rows[] = {
    {'s', NULL, "URL", set_url,
     "the broker: unix:/path, tcp://host:port or, with TLS,\n"
     "tls://host:port (usually 7718); default $PUBSUB_URL, else the\n"
     "default Unix socket if it is there, else " PUBSUB_DEFAULT_TCP},
    {0, "id", "ID", set_id, "name of this client; default: the broker gives one"},
    {0, "user", "NAME", set_user, "who this is, with the password of --password-file or $PUBSUB_PASSWORD"},
    {0, "password-file", "FILE", set_password_file, "a file with the user's password, which nobody else may read"},
    {0, "token-file", "FILE", set_token_file,
     "a file with a token that says who this is, which nobody else may\n"
     "read; default $PUBSUB_TOKEN, if there is no --user"},
    {0, "ca", "FILE", set_ca,
     "with TLS: the certificates to trust, in a file (which may hold\n"
     "revocation lists too) or a directory; default: the system's"},
    {0, "cert", "FILE", set_certificate, "with TLS: our certificate, if the broker asks for one"},
    {0, "cert-key", "FILE", set_certificate_key, "its key, which nobody else may read; default: in the same file"},
    {0, "auth-in-clear", NULL, set_auth_in_clear, "let password or token go to another machine without TLS"},
    {0, NULL, NULL, NULL, NULL},
};

static void say_state(pubsub *client, enum pubsub_state state, const char *text, void *user)
{
    (void)client;
    struct link *link = user;
    switch (state) {
    case PUBSUB_CONNECTED: break;
    case PUBSUB_LOST:
        link->lost_said = true;
        complain(text && *text ? "lost connection: %s" : "lost connection%s", text ? text : "");
        break;
    case PUBSUB_CONNECTED_AGAIN:
        link->lost_said = false;
        complain("connected again");
        break;
    case PUBSUB_ENDED: break; /* the call that finds it returns an error, which is told by whoever made it */
    }
}

int link_open(struct link *link, const struct connection_options *connection, struct pubsub_options *options)
{
    char text[512] = "";
    options->url = connection->url;
    options->client_id = connection->client_id;
    int result = credentials_fill(connection, options);
    if (result != CLI_EXIT_DONE) return result;
    options->on_state = say_state;
    options->user = link;
    int error = pubsub_open(&link->client, options, text, sizeof text);
    if (error) {
        complain("%s", *text ? text : pubsub_strerror(error));
        /* What is wrong with the arguments is a matter of usage; whoever answers but isn't a broker is no broker found.
         */
        if (error == PUBSUB_EINVAL) return CLI_EXIT_USAGE;
        return error == PUBSUB_EPROTO ? CLI_EXIT_CONNECT : exit_code_of_error(error);
    }
    signals_install();
    return CLI_EXIT_DONE;
}

int link_process(struct link *link)
{
    int result = pubsub_process(link->client);
    if (signal_caught()) return CLI_EXIT_SIGNAL + signal_caught();
    if (result >= 0 || result == PUBSUB_EINTR) return CLI_EXIT_DONE;
    if (result == PUBSUB_ECLOSED) return LINK_OVER;
    const char *text = pubsub_error(link->client);
    if (!link->lost_said) complain("%s", *text ? text : pubsub_strerror(result));
    return exit_code_of_error(result);
}

int link_step(struct link *link, struct pollfd *extra, nfds_t extra_count, int64_t timeout_ms)
{
    struct pollfd fds[2 + LINK_EXTRA_MAX] = {
        {.fd = signal_wake_fd(), .events = POLLIN},
        {.fd = pubsub_fd(link->client), .events = pubsub_poll_events(link->client)},
    };
    for (nfds_t i = 0; i < extra_count; i++) {
        extra[i].revents = 0;
        fds[2 + i] = extra[i];
    }
    int64_t wait_ms = pubsub_poll_timeout_ms(link->client);
    if (wait_ms < 0 || (timeout_ms >= 0 && timeout_ms < wait_ms)) wait_ms = timeout_ms;
    if (wait_ms > INT32_MAX) wait_ms = INT32_MAX;
    if (poll(fds, 2 + extra_count, (int)wait_ms) < 0 && errno != EINTR) {
        complain("cannot wait for input: %s", strerror(errno));
        return CLI_EXIT_ERROR;
    }
    for (nfds_t i = 0; i < extra_count; i++) extra[i].revents = fds[2 + i].revents;
    return link_process(link);
}

int link_subscribed(const struct link *link, const char *pattern, int error)
{
    if (error == PUBSUB_OK) return CLI_EXIT_DONE;
    const char *bad = mps_pattern_error(mps_text(pattern));
    if (error == PUBSUB_EINVAL && bad) {
        complain("bad pattern '%s': %s", pattern, bad);
        return CLI_EXIT_REFUSED;
    }
    const char *text = pubsub_error(link->client);
    complain("%s", *text ? text : pubsub_strerror(error));
    /* What the library finds wrong the broker would refuse. */
    return error == PUBSUB_EINVAL ? CLI_EXIT_REFUSED : exit_code_of_error(error);
}

void link_close(struct link *link, int timeout_ms)
{
    pubsub_close(link->client, timeout_ms);
    link->client = NULL;
}

int64_t ms_until(uint64_t moment_ns)
{
    uint64_t now = now_ns();
    return now >= moment_ns ? 0 : (int64_t)((moment_ns - now + 999999) / 1000000);
}
