/* What an event loop lends to the client of libpubsub that it drives, so that nothing blocks it and it never polls a
 * descriptor that is closed already. The libuv adapter (pubsub/uv.h) is one; a program may fill in its own.
 *
 * A table is put into struct pubsub_options and must outlive the client; several clients may have the same. Its
 * functions are called on the client's thread, from inside any call on the client, and must not call the client
 * themselves, but for pubsub_looked_up(). All zero: the client does without. */
#ifndef PUBSUB_LOOP_H
#define PUBSUB_LOOP_H

#include <pubsub/pubsub.h>

#ifdef __cplusplus
extern "C" {
#endif

struct addrinfo; /* <netdb.h> */

struct pubsub_loop {
    void *context;             /* the loop's own: first argument of each function */

    /* Begins to look up a host's name; the answer is given by pubsub_looked_up(), now or later. NULL: the client asks
     * getaddrinfo(), which blocks. For an address in figures nobody is asked.
     *   host  UTF-8, without brackets; borrowed during the call.
     *   port  decimal; borrowed during the call.
     * Without the option retry_first, pubsub_open() waits for the answer at most connect_ms, so it would have to be
     * given at once. */
    void (*lookup)(void *context, pubsub *client, const char *host, const char *port);

    /* The answer to the last lookup is not wanted any more: it took longer than connect_ms, or the client is closed.
     * NULL only if lookup is NULL or always answers at once. */
    void (*cancel_lookup)(void *context, pubsub *client);

    /* The descriptor, which pubsub_fd() gave or may have given, is about to be closed: a loop that keeps descriptors
     * registered (epoll, libuv) forgets it now, since the next connection may well have the same number. May be NULL. */
    void (*forget_fd)(void *context, pubsub *client, int fd);
};

/* Answers a lookup. Calls nothing back: the next pubsub_process() goes on with it, so it is due at once
 * (pubsub_poll_timeout_ms() is 0). Connecting has connect_ms from then on, whatever the lookup took.
 *   addresses  copied; those that are neither IPv4 nor IPv6 are left out. NULL: there are none, why says why.
 *   why        a clause for a person ("name or service not known"); copied, up to 127 bytes; may be NULL otherwise.
 * Ignored if no answer is awaited. */
void pubsub_looked_up(pubsub *client, const struct addrinfo *addresses, const char *why);

#ifdef __cplusplus
}
#endif
#endif
