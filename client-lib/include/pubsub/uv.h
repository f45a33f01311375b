/* A client of libpubsub on a libuv loop: library pubsub_uv (pkg-config pubsub-uv, CMake pubsub::uv).
 *
 * A `struct pubsub_uv` is a handle like those of libuv: its memory is the application's, it is initialised on a loop and
 * closed asynchronously. It drives a client that the application uses with the calls of pubsub.h: publishing, subscribing,
 * requests; what they queue leaves at the end of the same turn of the loop. Nothing blocks: names are looked up by
 * uv_getaddrinfo(), and a full outbox refuses or drops. Only an outbox file takes the time that the disk takes.
 *
 *     struct pubsub_uv bus;
 *     pubsub_uv_init(uv_default_loop(), &bus, &options, text, sizeof text);
 *     pubsub_subscribe(pubsub_uv_client(&bus), "news/#", &subscription, NULL);
 *     uv_run(uv_default_loop(), UV_RUN_DEFAULT);
 *
 * Thread: all calls, those on the client too, on the thread that runs the loop; every callback runs there, from inside
 * uv_run() (or pubsub_shutdown()). Other threads wake the loop by a uv_async_t of the application's: pubsub_wake() is
 * refused (EINVAL).
 * On the client of a handle these must not be called: pubsub_close, pubsub_wait, pubsub_process, pubsub_flush; and
 * pubsub_shutdown only with a timeout of 0.
 * What is published in a uv_prepare_t's callback may leave a turn later: whenever the loop wakes next. */
#ifndef PUBSUB_UV_H
#define PUBSUB_UV_H

#include <pubsub/loop.h>
#include <pubsub/pubsub.h>
#include <uv.h>

#ifdef __cplusplus
extern "C" {
#endif

struct pubsub_uv;
struct pubsub_uv_lookup;

/* The handle's memory may be freed or used again from here on. */
typedef void (*pubsub_uv_close_cb)(struct pubsub_uv *handle);

struct pubsub_uv {
    void *data;                /* the application's, never touched */
    struct {                   /* the adapter's */
        uv_loop_t *loop;
        pubsub *client;        /* NULL when it is freed */
        struct pubsub_loop hooks;
        uv_prepare_t prepare;  /* before the loop waits: writes what was queued, sets the others */
        uv_timer_t timer;
        uv_poll_t poll;
        int poll_state;
        int armed;             /* what poll waits for */
        bool unwatched;        /* libuv refuses to poll the descriptor: the timer looks after it */
        uint64_t timer_due;    /* on uv_now()'s clock */
        struct pubsub_uv_lookup *lookups; /* that have not returned: at most one of each name */
        unsigned parts_count;  /* handles of libuv that are not closed yet */
        bool ended;            /* the connection, for good */
        bool closing, finishing;
        uint64_t linger_until; /* on uv_now()'s clock */
        pubsub_uv_close_cb on_closed;
    } own;
};

/* Opens a client on the loop, which connects in the background and comes back by itself as pubsub.h says.
 *   loop     must outlive the handle.
 *   handle   any memory, which must stay where it is until the close callback; only .data survives the call.
 *   options  as of pubsub_open(), NULL: all defaults. retry_first is implied, wakes is not heeded, loop is set, and the
 *            outbox_policy WAIT means REFUSE.
 * Returns 0, or as pubsub_open() why not: text then holds one NUL-terminated sentence, if text_cap > 0, and the memory
 * is free again, there is nothing to close. Whatever happens later is told by on_state. A client that has ENDED keeps
 * the loop from ending no more, but its handle still has to be closed. */
int pubsub_uv_init(uv_loop_t *loop, struct pubsub_uv *handle, const struct pubsub_options *options, char *text,
                   size_t text_cap);

/* The client, for the calls of pubsub.h. NULL in the close callback and after. */
pubsub *pubsub_uv_client(const struct pubsub_uv *handle);

/* Closes the handle: says BYE, frees the client, then calls on_closed, once, from inside uv_run(). Allowed at any moment
 * after pubsub_uv_init(), in callbacks of the client too. From its return on nothing can be published, and no callback
 * runs any more but on_puback, on_refusal and on_reply (with ECLOSED), as of pubsub_close().
 *   linger_ms  how long it may take until what was published is written and the broker has said BYE too, so that
 *              nothing of it is lost by closing. Acknowledgements are not waited for. 0: what can be written at once.
 *   on_closed  may be NULL.
 * A lookup that cannot be interrupted does not delay on_closed; the loop does not end before it. Closing again only
 * shortens the time; the first on_closed is the one that is called. */
void pubsub_uv_close(struct pubsub_uv *handle, uint32_t linger_ms, pubsub_uv_close_cb on_closed);
bool pubsub_uv_is_closing(const struct pubsub_uv *handle); /* closing, or closed */

/* As uv_unref() and uv_ref(): whether the handle keeps its loop from ending. It does until told otherwise; one that is
 * closing always does. */
void pubsub_uv_unref(struct pubsub_uv *handle);
void pubsub_uv_ref(struct pubsub_uv *handle);

#ifdef __cplusplus
}
#endif
#endif
