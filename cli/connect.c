#include "connect.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "contexts.h"
#include "credentials.h"
#include "signals.h"
#include "wire.h"

static bool set_url(void *into, const char *value)
{
    ((struct connection_options *)into)->url = value;
    return true;
}

static bool set_context(void *into, const char *value)
{
    ((struct connection_options *)into)->context = value;
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
     "tls://host:port (usually 7718); several with commas between are\n"
     "tried in turn; default $PUBSUB_URL, else the\n"
     "default Unix socket if it is there, else " PUBSUB_DEFAULT_TCP},
    {'c', "context", "CONTEXT", set_context,
     "connect as this context says, where no option says otherwise (see\n"
     "'pubsub context'); default, if there is no -s: $PUBSUB_CONTEXT, else,\n"
     "without $PUBSUB_URL, the context in use"},
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

/* FNV-1a. */
static uint64_t digest(const char *text)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (; *text; text++) hash = (hash ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
    return hash;
}

static bool is_said(const struct link *link, const char *text)
{
    uint64_t wanted = digest(text);
    for (size_t i = 0; i < link->said_count; i++)
        if (link->said[i] == wanted) return true;
    return false;
}

/* Of more causes than there is room for the rest is not said. */
static bool note_said(struct link *link, const char *text)
{
    if (is_said(link, text) || link->said_count == LINK_CAUSES_MAX) return false;
    link->said[link->said_count++] = digest(text);
    return true;
}

static void __attribute__((format(printf, 2, 3))) say(struct link *link, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (link->tell) link->tell(link, text);
    else complain("%s", text);
}

void link_complain(struct link *link, const char *text, int error)
{
    if (!*text) text = pubsub_strerror(error);
    if (!link->is_lost || !is_said(link, text)) say(link, "%s", text);
}

/* The library tries again by itself, and only notes why that failed. Other errors don't begin so. */
static void say_failed_attempt(struct link *link)
{
    static const char connecting[] = "cannot connect to ";
    const char *text = pubsub_error(link->client);
    bool at_connecting = strncmp(text, connecting, sizeof connecting - 1) == 0;
    if (!at_connecting && strncmp(text, "the broker closed ", 18) != 0 &&
        strncmp(text, "the connection broke", 20) != 0)
        return;
    if (!note_said(link, text)) return;
    const char *why = at_connecting ? strstr(text, ": ") : NULL; /* behind the URL, which is known */
    say(link, "cannot connect again: %s; trying on", why ? why + 2 : text);
}

static void say_state(pubsub *client, enum pubsub_state state, const char *text, void *user)
{
    (void)client;
    struct link *link = user;
    switch (state) {
    case PUBSUB_CONNECTED: break;
    case PUBSUB_LOST:
        link->is_lost = true;
        note_said(link, text ? text : "");
        say(link, text && *text ? "lost connection: %s" : "lost connection%s", text ? text : "");
        break;
    case PUBSUB_CONNECTED_AGAIN:
        link->is_lost = false;
        link->said_count = 0;
        say(link, "connected again");
        break;
    case PUBSUB_ENDED: break; /* the call that finds it returns an error, which is told by whoever made it */
    }
}

static void note_url(struct link *link, const char *url)
{
    if (url) snprintf(link->url, sizeof link->url, "%s", url);
    else if (pubsub_default_url(link->url, sizeof link->url)) link->url[0] = '\0'; /* too long for anybody to read */
}

int link_open(struct link *link, const struct connection_options *connection, struct pubsub_options *options)
{
    char text[1024] = "";
    struct connection_options effective = *connection;
    int result = contexts_apply(&effective);
    options->url = effective.url;
    options->client_id = effective.client_id;
    if (result == CLI_EXIT_DONE) result = credentials_fill(&effective, options);
    if (result != CLI_EXIT_DONE) return result;
    note_url(link, options->url);
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
    if (result >= 0 || result == PUBSUB_EINTR) {
        if (link->is_lost) say_failed_attempt(link);
        return CLI_EXIT_DONE;
    }
    if (result == PUBSUB_ECLOSED) return LINK_OVER;
    link_complain(link, pubsub_error(link->client), result);
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
        say(link, "cannot wait for input: %s", strerror(errno));
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
