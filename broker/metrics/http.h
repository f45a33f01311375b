/* HTTP for a few clients, by libmicrohttpd, on the loop's own thread: it has no thread and no listening socket, is given
 * accepted sockets, and its epoll descriptor is polled like any other. Only GET and HEAD, and no bodies.
 *
 * Bounded: HTTP_CLIENTS_MOST connections, of which the one that was served longest ago makes way for a new one; 10 s for
 * the first request and its answer, 60 s between the ends of two; 8 KiB of head. One thread. */
#ifndef METRICS_HTTP_H
#define METRICS_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#define HTTP_CLIENTS_MOST 16

struct http;

struct http_page {
    unsigned status;
    const char *type;  /* of its content */
    const char *bytes; /* lent until the call returns */
    size_t len;
};

/* What is at this path. False: that isn't known yet, and will be asked again after http_wake(). Must not call anything here. */
typedef bool (*http_page_fn)(void *arg, const char *path, struct http_page *page);

/* freed: a connection has gone, its descriptor may be used for something else. NULL: libmicrohttpd has no memory or no
 * descriptor. */
struct http *http_new(uv_loop_t *loop, http_page_fn page, void (*freed)(void *arg), void *arg);
void http_take(struct http *http, int fd); /* an accepted socket: it is answered there, and closed */
void http_wake(struct http *http);         /* whoever waits for a page is answered now */
void http_tick(struct http *http);         /* once a second or so: ends what takes too long */
void http_free(struct http *http);         /* all connections are closed at once; NULL is allowed */

#endif
