/* The connection of a command, and its options. */
#ifndef CLI_CONNECT_H
#define CLI_CONNECT_H

#include <poll.h>
#include <pubsub/pubsub.h>

#include "options.h"

struct connection_options {
    const char *context;   /* NULL: $PUBSUB_CONTEXT, or the one in use */
    const char *url;       /* NULL: as the library chooses */
    const char *client_id; /* NULL: the broker gives one */
    const char *user;      /* NULL: none, like all that follow */
    const char *password_file, *token_file;
    const char *ca, *certificate, *certificate_key; /* paths, for TLS */
    bool auth_in_clear;    /* password and token may travel to another machine without TLS */
};
extern const struct option_row connection_option_rows[];

#define LINK_CAUSES_MAX 16
#define LINK_URL_MAX 512 /* with the NUL; of a longer one the begin */
struct link {
    pubsub *client;
    void *owner;    /* the command's own; the user pointer of the client's callbacks is the link */
    char url[LINK_URL_MAX]; /* where it connects to */
    /* Gets what is to be said of the connection, a sentence; NULL: it goes to stderr. */
    void (*tell)(struct link *link, const char *text);
    bool is_lost;   /* and not there again */
    uint64_t said[LINK_CAUSES_MAX]; /* digests of what was said of that: why it was lost, why it does not come again */
    size_t said_count;
};

/* Says why something failed, unless it was said already of the connection. text "": error's own text. */
void link_complain(struct link *link, const char *text, int error);

/* Opens it and installs the handlers of signals. options are the command's own; URL, id, user and on_state (which tells
 * what happens to the connection) are filled in here. Returns CLI_EXIT_DONE, or complains and returns another
 * exit code. */
int link_open(struct link *link, const struct connection_options *connection, struct pubsub_options *options);

/* Waits until something happens on the connection, on one of the other descriptors (at most LINK_EXTRA_MAX, revents are
 * set), or timeout_ms have passed (-1: no limit), and lets the library do its work.
 * Returns CLI_EXIT_DONE to go on, 128 + number after a signal, or complains and returns an exit code when the
 * connection has ended for good. LINK_OVER: it ended as it should, after pubsub_shutdown(). */
#define LINK_EXTRA_MAX 130
#define LINK_OVER (-1)
int link_step(struct link *link, struct pollfd *extra, nfds_t extra_count, int64_t timeout_ms);

/* Lets the library write and read what it can, now. Returns as link_step(). */
int link_process(struct link *link);

/* What became of a call of pubsub_subscribe(): CLI_EXIT_DONE, or complains and returns another exit code. */
int link_subscribed(const struct link *link, const char *pattern, int error);

/* Says good-bye and frees. timeout_ms as in pubsub_close(). NULL client is allowed. */
void link_close(struct link *link, int timeout_ms);

/* Until a moment of now_ns(), for link_step(): never negative, rounded up. */
int64_t ms_until(uint64_t moment_ns);

#endif
