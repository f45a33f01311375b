/* The libuv adapter: what pubsub.h offers to a loop of one's own, done for libuv. */
#include <pubsub/uv.h>

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define UNWATCHED_MS 50 /* how often a descriptor is looked after that libuv does not poll */

enum poll_state { POLL_NONE, POLL_OPEN, POLL_CLOSING };

/* A question to the resolver. It may outlive the handle: one that is being worked on cannot be cancelled. */
struct pubsub_uv_lookup {
    uv_getaddrinfo_t request;
    struct pubsub_uv *handle; /* NULL: it is closed */
    struct pubsub_uv_lookup *next;
    bool wanted;       /* the client waits for the answer */
    char *host, *port; /* behind this, in the same piece of memory */
};

/* ---- closing -------------------------------------------------------------------------------------------------- */

static void part_closed(struct pubsub_uv *handle)
{
    if (--handle->own.parts_count > 0) return;
    if (handle->own.on_closed != NULL) handle->own.on_closed(handle);
}

static void on_part_closed(uv_handle_t *part)
{
    part_closed(part->data);
}

static void on_poll_closed(uv_handle_t *poll)
{
    struct pubsub_uv *handle = poll->data;
    handle->own.poll_state = POLL_NONE;
    part_closed(handle);
}

static void give_up_lookups(struct pubsub_uv *handle)
{
    struct pubsub_uv_lookup *lookup = handle->own.lookups;
    handle->own.lookups = NULL;
    for (; lookup != NULL; lookup = lookup->next) {
        lookup->handle = NULL;
        (void)uv_cancel((uv_req_t *)&lookup->request); /* either way it is called back, later */
    }
}

static void finish(struct pubsub_uv *handle)
{
    handle->own.finishing = true;
    pubsub_close(handle->own.client, 0); /* which closes .poll by forget_fd() */
    handle->own.client = NULL;
    give_up_lookups(handle);
    uv_close((uv_handle_t *)&handle->own.timer, on_part_closed);
    uv_close((uv_handle_t *)&handle->own.prepare, on_part_closed);
}

/* ---- working -------------------------------------------------------------------------------------------------- */

/* Lets the client do what is to be done now. False: there is nothing to go on with. */
static bool run(struct pubsub_uv *handle)
{
    int rc = pubsub_process(handle->own.client);
    if (rc >= 0 || rc == PUBSUB_EINTR) return true;
    handle->own.ended = true;
    uv_prepare_stop(&handle->own.prepare);
    uv_timer_stop(&handle->own.timer);
    if (handle->own.closing) finish(handle);
    return false;
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct pubsub_uv *handle = poll->data;
    (void)events;                          /* the client sees for itself */
    if (status < 0) handle->own.armed = 0; /* libuv polls no longer; what is wrong, the client finds out by reading */
    (void)run(handle);
}

static void on_timer(uv_timer_t *timer)
{
    struct pubsub_uv *handle = timer->data;
    if (handle->own.ended) finish(handle); /* nothing starts it but closing */
    else if (run(handle) && handle->own.closing && uv_now(handle->own.loop) >= handle->own.linger_until) finish(handle);
}

/* Has the descriptor polled for what the client waits for. */
static void watch(struct pubsub_uv *handle)
{
    int fd = pubsub_fd(handle->own.client);
    short wanted = pubsub_poll_events(handle->own.client);
    int events = (wanted & POLLIN ? UV_READABLE : 0) | (wanted & POLLOUT ? UV_WRITABLE : 0);
    handle->own.unwatched = false;
    if (fd < 0 || handle->own.poll_state == POLL_CLOSING) return; /* the latter is over before the loop waits again */
    if (handle->own.poll_state == POLL_NONE) {
        handle->own.unwatched = uv_poll_init(handle->own.loop, &handle->own.poll, fd) != 0;
        if (handle->own.unwatched) return;
        handle->own.poll.data = handle;
        handle->own.poll_state = POLL_OPEN;
        handle->own.armed = 0;
        handle->own.parts_count++;
        uv_unref((uv_handle_t *)&handle->own.poll);
    }
    if (events == handle->own.armed) return;
    handle->own.armed = events;
    handle->own.unwatched = uv_poll_start(&handle->own.poll, events, on_ready) != 0;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The timer may run out too early, which costs a turn; so it is not set anew each time that its end moves away. */
static void set_timer(struct pubsub_uv *handle)
{
    uint64_t now = uv_now(handle->own.loop), due = UINT64_MAX;
    int timeout_ms = pubsub_poll_timeout_ms(handle->own.client);
    if (timeout_ms >= 0) due = now + (uint64_t)timeout_ms;
    if (handle->own.unwatched) due = earlier(due, now + UNWATCHED_MS);
    if (handle->own.closing) due = earlier(due, handle->own.linger_until);
    if (due == UINT64_MAX) return;
    if (uv_is_active((uv_handle_t *)&handle->own.timer) && due >= handle->own.timer_due) return;
    handle->own.timer_due = due;
    uv_timer_start(&handle->own.timer, on_timer, due > now ? due - now : 0, 0);
}

/* Before the loop waits. What can't be written is waited for by .poll, so the rest was queued in this turn. */
static void on_prepare(uv_prepare_t *prepare)
{
    struct pubsub_uv *handle = prepare->data;
    bool queued = (pubsub_poll_events(handle->own.client) & POLLOUT) != 0;
    if (queued && (handle->own.armed & UV_WRITABLE) == 0 && !run(handle)) return;
    watch(handle);
    set_timer(handle);
}

/* ---- what the client asks of its loop ------------------------------------------------------------------------- */

static void forget_fd(void *context, pubsub *client, int fd)
{
    struct pubsub_uv *handle = context;
    (void)client, (void)fd;
    handle->own.armed = 0;
    if (handle->own.poll_state != POLL_OPEN) return;
    handle->own.poll_state = POLL_CLOSING;
    uv_close((uv_handle_t *)&handle->own.poll, on_poll_closed);
}

static void take_out(struct pubsub_uv *handle, const struct pubsub_uv_lookup *lookup)
{
    struct pubsub_uv_lookup **at = &handle->own.lookups;
    while (*at != lookup) at = &(*at)->next;
    *at = lookup->next;
}

static void on_looked_up(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    struct pubsub_uv_lookup *lookup = request->data;
    struct pubsub_uv *handle = lookup->handle;
    bool wanted = handle != NULL && lookup->wanted;
    if (handle != NULL) take_out(handle, lookup);
    if (wanted) pubsub_looked_up(handle->own.client, found, status != 0 ? uv_strerror(status) : NULL);
    uv_freeaddrinfo(found);
    free(lookup);
    if (wanted) (void)run(handle);
}

static struct pubsub_uv_lookup *make_lookup(struct pubsub_uv *handle, const char *host, const char *port)
{
    size_t host_size = strlen(host) + 1, port_size = strlen(port) + 1;
    struct pubsub_uv_lookup *lookup = calloc(1, sizeof *lookup + host_size + port_size);
    if (lookup == NULL) return NULL;
    lookup->request.data = lookup;
    lookup->handle = handle;
    lookup->wanted = true;
    lookup->host = memcpy((char *)(lookup + 1), host, host_size);
    lookup->port = memcpy(lookup->host + host_size, port, port_size);
    return lookup;
}

static struct pubsub_uv_lookup *find_lookup(const struct pubsub_uv *handle, const char *host, const char *port)
{
    struct pubsub_uv_lookup *lookup = handle->own.lookups;
    while (lookup != NULL && (strcmp(lookup->host, host) != 0 || strcmp(lookup->port, port) != 0))
        lookup = lookup->next;
    return lookup;
}

/* One that took too long is not asked a second time, but its answer is taken, if the client asks for it at that time:
 * what is slow gets there in the end, and of one name a resolver that hangs holds one thread of libuv's, not all. */
static void look_up(void *context, pubsub *client, const char *host, const char *port)
{
    struct pubsub_uv *handle = context;
    struct pubsub_uv_lookup *lookup = find_lookup(handle, host, port);
    if (lookup != NULL) {
        lookup->wanted = true;
        return;
    }
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC, .ai_flags = AI_NUMERICSERV};
    lookup = make_lookup(handle, host, port);
    int rc = lookup == NULL ? UV_ENOMEM
                            : uv_getaddrinfo(handle->own.loop, &lookup->request, on_looked_up, host, port, &hints);
    if (rc == 0) {
        lookup->next = handle->own.lookups;
        handle->own.lookups = lookup;
        return;
    }
    free(lookup);
    pubsub_looked_up(client, NULL, uv_strerror(rc));
}

static void cancel_lookup(void *context, pubsub *client)
{
    struct pubsub_uv *handle = context;
    (void)client;
    for (struct pubsub_uv_lookup *lookup = handle->own.lookups; lookup != NULL; lookup = lookup->next)
        lookup->wanted = false;
}

/* ---- what the application calls ------------------------------------------------------------------------------- */

int pubsub_uv_init(uv_loop_t *loop, struct pubsub_uv *handle, const struct pubsub_options *options, char *text,
                   size_t text_cap)
{
    struct pubsub_options own = {0};
    if (options != NULL) own = *options;
    memset(&handle->own, 0, sizeof handle->own);
    handle->own.loop = loop;
    handle->own.hooks = (struct pubsub_loop){handle, look_up, cancel_lookup, forget_fd};
    own.loop = &handle->own.hooks;
    own.retry_first = true;
    if (own.outbox_policy == PUBSUB_OUTBOX_WAIT) own.outbox_policy = PUBSUB_OUTBOX_REFUSE;
    own.wakes = false; /* that the application does with the loop's own means */
    int rc = pubsub_open(&handle->own.client, &own, text, text_cap);
    if (rc != PUBSUB_OK) {
        give_up_lookups(handle);
        return rc;
    }
    uv_prepare_init(loop, &handle->own.prepare);
    uv_timer_init(loop, &handle->own.timer);
    handle->own.prepare.data = handle->own.timer.data = handle;
    handle->own.parts_count = 2;
    uv_unref((uv_handle_t *)&handle->own.timer); /* .prepare stands for all of them */
    uv_prepare_start(&handle->own.prepare, on_prepare);
    return PUBSUB_OK;
}

pubsub *pubsub_uv_client(const struct pubsub_uv *handle)
{
    return handle->own.client;
}

void pubsub_uv_close(struct pubsub_uv *handle, uint32_t linger_ms, pubsub_uv_close_cb on_closed)
{
    if (handle->own.finishing) return;
    uv_update_time(handle->own.loop);
    uint64_t now = uv_now(handle->own.loop), until = now + linger_ms;
    if (!handle->own.closing) {
        handle->own.closing = true;
        handle->own.on_closed = on_closed;
        handle->own.linger_until = until;
        pubsub_disconnect(handle->own.client);
        uv_ref((uv_handle_t *)&handle->own.timer);
    }
    handle->own.linger_until = earlier(handle->own.linger_until, until);
    handle->own.timer_due = now;
    uv_timer_start(&handle->own.timer, on_timer, 0, 0);
}

bool pubsub_uv_is_closing(const struct pubsub_uv *handle)
{
    return handle->own.closing;
}

void pubsub_uv_unref(struct pubsub_uv *handle)
{
    uv_unref((uv_handle_t *)&handle->own.prepare);
}

void pubsub_uv_ref(struct pubsub_uv *handle)
{
    uv_ref((uv_handle_t *)&handle->own.prepare);
}
