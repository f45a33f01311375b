/* TLS for libpubsub, which has none of its own: a table of functions over whichever TLS library there is. For OpenSSL it
 * is in libpubsub_tls (pubsub/tls_openssl.h); the example tls_mbedtls.c is one for mbedTLS.
 *
 * A table is put into struct pubsub_options. It may serve many clients, from one thread each at the same time, and must
 * outlive them. A session is one connection: open(), handshake() until it is done, then read() and write(), close().
 *
 * No function may block, raise a signal (SIGPIPE!) or ask anybody anything. What cannot be done at once returns:
 *   PUBSUB_TLS_WANT_READ   call again when the descriptor can be read
 *   PUBSUB_TLS_WANT_WRITE  call again when it can be written
 *   PUBSUB_TLS_FAILED      the connection is of no use any more; error() says why. read() is still called after a
 *                          write() that failed, for what the peer may have said last
 * The client reads until it is told WANT: what a session has taken from the descriptor already is not forgotten. */
#ifndef PUBSUB_TLS_H
#define PUBSUB_TLS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PUBSUB_TLS_ALPN "mps/1"

enum pubsub_tls_result {
    PUBSUB_TLS_WANT_READ = -1,
    PUBSUB_TLS_WANT_WRITE = -2,
    PUBSUB_TLS_FAILED = -3,
};

struct pubsub_tls {
    void *context;             /* the table's own: first argument of open() */

    /* Begins a session on a connected, non-blocking stream socket, which stays the client's.
     *   host  as in the URL, an IPv6 address without its brackets: what the broker's certificate must be for, and if it
     *         is a name what SNI says. Borrowed during the call.
     * Offers ALPN PUBSUB_TLS_ALPN. Returns the session; or NULL: text holds one NUL-terminated sentence. */
    void *(*open)(void *context, int fd, const char *host, char *text, size_t text_cap);

    /* 0: done. That is: version 1.2 or later, the certificate is one that is trusted, valid now and for `host`, and the
     * broker has not chosen another protocol than PUBSUB_TLS_ALPN. Otherwise as above. */
    int (*handshake)(void *session);

    /* How many bytes were read, at least 1; 0: the broker said that nothing follows (close_notify). The end of the
     * stream without that is FAILED: somebody may have cut it off. */
    ptrdiff_t (*read)(void *session, void *at, size_t len);

    /* How many bytes were taken, at least 1. After WANT it is called again with the same bytes at the same place. */
    ptrdiff_t (*write)(void *session, const void *bytes, size_t len);

    /* Says that nothing follows (close_notify), after all was written; what comes can still be read. 0: said. */
    int (*end)(void *session);

    /* A clause for a person about what FAILED last, e.g. "its certificate expired on 2026-01-31 12:00:00 UTC". Borrowed
     * until the next call on the session. Without secrets, and without control characters of the peer's. */
    const char *(*error)(void *session);

    void (*close)(void *session); /* frees it. Leaves the descriptor open */
};

#ifdef __cplusplus
}
#endif
#endif
