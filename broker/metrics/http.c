#include "http.h"

#include <microhttpd.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hash.h"
#include "list.h"
#include "sure.h"

#define HEAD_BYTES 8192
/* Until the first answer has been written, */
#define FIRST_MS 10000u
/* and from one to the next: Prometheus keeps its connection between two scrapes. */
#define NEXT_MS 60000u

struct client {
    struct http *http;
    struct list_node in_clients;
    struct MHD_Connection *connection;
    int fd;               /* libmicrohttpd's; here it is only shut down */
    uint64_t deadline_ms; /* by the loop's clock */
    bool waits;           /* for a page: it is suspended */
};

struct http {
    uv_loop_t *loop;
    struct MHD_Daemon *daemon;
    uv_poll_t poll; /* of the daemon's epoll descriptor */
    uv_idle_t again;
    int handles_open;    /* of the two */
    struct list clients; /* who was served longest ago comes first */
    size_t clients_count;
    http_page_fn page;
    void (*freed)(void *arg);
    void *arg;
};

/* ---- answering ---------------------------------------------------------------------------------------------- */

static enum MHD_Result send_page(struct MHD_Connection *connection, const struct http_page *page, bool tells_methods)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(page->len, (void *)page->bytes, MHD_RESPMEM_MUST_COPY);
    if (response == NULL) return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, page->type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (tells_methods) MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result result = MHD_queue_response(connection, page->status, response);
    MHD_destroy_response(response);
    return result;
}

static struct client *client_of(struct MHD_Connection *connection)
{
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

/* Called when the head of a request is there, and again for what follows it and after it was suspended. */
static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *path, const char *method,
                                  const char *version, const char *body, size_t *body_len, void **seen)
{
    static const char refusal[] = "only GET and HEAD are answered here\n";
    struct http *http = arg;
    struct client *client = client_of(connection);
    struct http_page page = {MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", refusal, sizeof refusal - 1};
    (void)version, (void)body;
    bool may = strcmp(method, MHD_HTTP_METHOD_GET) == 0 || strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;
    if (!may) return send_page(connection, &page, true);
    if (*seen == NULL || *body_len > 0) {
        *seen = client; /* whoever is answered before the end of the request is cut off then */
        *body_len = 0;
        return MHD_YES;
    }
    if (http->page(http->arg, path, &page)) return send_page(connection, &page, false);
    client->waits = true;
    MHD_suspend_connection(connection);
    return MHD_YES;
}

static void move_to_end(struct client *client)
{
    list_remove(&client->http->clients, &client->in_clients);
    list_append(&client->http->clients, &client->in_clients);
}

static void on_answered(void *arg, struct MHD_Connection *connection, void **seen, enum MHD_RequestTerminationCode how)
{
    struct client *client = client_of(connection);
    struct http *http = arg;
    (void)seen, (void)how;
    client->deadline_ms = uv_now(http->loop) + NEXT_MS;
    move_to_end(client);
}

static void on_connection(void *arg, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
    struct http *http = arg;
    struct client *client = *context;
    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        list_remove(&http->clients, &client->in_clients);
        http->clients_count--;
        free(client);
        return;
    }
    client = sure_zeroed(sizeof *client);
    client->http = http;
    client->connection = connection;
    client->fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    client->deadline_ms = uv_now(http->loop) + FIRST_MS;
    list_append(&http->clients, &client->in_clients);
    http->clients_count++;
    *context = client;
}

/* ---- the loop ----------------------------------------------------------------------------------------------- */

static void on_again(uv_idle_t *idle);

static void run(struct http *http)
{
    MHD_UNSIGNED_LONG_LONG wait_ms;
    size_t before = http->clients_count;
    MHD_run(http->daemon);
    if (http->clients_count < before) http->freed(http->arg);
    bool has_more = MHD_get_timeout(http->daemon, &wait_ms) == MHD_YES && wait_ms == 0;
    if (has_more) uv_idle_start(&http->again, on_again);
    else uv_idle_stop(&http->again);
}

static void on_again(uv_idle_t *idle)
{
    run(idle->data);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    (void)status, (void)events;
    run(poll->data);
}

/* libmicrohttpd finds the end of its stream, and closes it. */
static void end(struct client *client)
{
    shutdown(client->fd, SHUT_RDWR);
}

/* Whoever was served longest ago goes. One that waits for a page can't, and is about to be served. */
static void make_room(struct http *http)
{
    struct list_node *node = http->clients.first;
    while (node != NULL && container_of(node, struct client, in_clients)->waits) node = node->next;
    if (node == NULL) return;
    end(container_of(node, struct client, in_clients));
    run(http);
}

void http_take(struct http *http, int fd)
{
    struct sockaddr_storage name = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof name;
    if (http->clients_count >= HTTP_CLIENTS_MOST) make_room(http);
    if (http->clients_count >= HTTP_CLIENTS_MOST || getpeername(fd, (struct sockaddr *)&name, &len) != 0) {
        close(fd);
        return;
    }
    MHD_add_connection(http->daemon, fd, (struct sockaddr *)&name, len); /* if it can't, it closes it */
    run(http);
}

void http_wake(struct http *http)
{
    for (struct list_node *node = http->clients.first; node != NULL; node = node->next) {
        struct client *client = container_of(node, struct client, in_clients);
        if (!client->waits) continue;
        client->waits = false;
        MHD_resume_connection(client->connection);
    }
    run(http);
}

void http_tick(struct http *http)
{
    uint64_t now_ms = uv_now(http->loop);
    for (struct list_node *node = http->clients.first; node != NULL; node = node->next) {
        struct client *client = container_of(node, struct client, in_clients);
        if (client->deadline_ms <= now_ms) end(client);
    }
}

static void on_closed(uv_handle_t *handle)
{
    struct http *http = handle->data;
    if (--http->handles_open == 0) free(http);
}

struct http *http_new(uv_loop_t *loop, http_page_fn page, void (*freed)(void *arg), void *arg)
{
    struct http *http = sure_zeroed(sizeof *http);
    http->loop = loop;
    http->page = page;
    http->freed = freed;
    http->arg = arg;
    http->daemon =
        MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request,
                         http, MHD_OPTION_CONNECTION_LIMIT, 2u * HTTP_CLIENTS_MOST, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                         (size_t)HEAD_BYTES, MHD_OPTION_CONNECTION_TIMEOUT, 0u, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,
                         MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_NOTIFY_COMPLETED, on_answered, http,
                         MHD_OPTION_NOTIFY_CONNECTION, on_connection, http, MHD_OPTION_END);
    if (http->daemon == NULL) {
        free(http);
        return NULL;
    }
    int fd = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    if (uv_poll_init(loop, &http->poll, fd) != 0) {
        MHD_stop_daemon(http->daemon);
        free(http);
        return NULL;
    }
    uv_idle_init(loop, &http->again);
    http->poll.data = http->again.data = http;
    http->handles_open = 2;
    uv_poll_start(&http->poll, UV_READABLE, on_poll);
    return http;
}

void http_free(struct http *http)
{
    if (http == NULL) return;
    for (struct list_node *node = http->clients.first; node != NULL; node = node->next) {
        struct client *client = container_of(node, struct client, in_clients);
        if (client->waits) MHD_resume_connection(client->connection);
    }
    uv_close((uv_handle_t *)&http->poll, on_closed); /* before its descriptor is */
    uv_close((uv_handle_t *)&http->again, on_closed);
    MHD_stop_daemon(http->daemon);
}
