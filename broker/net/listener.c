#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "access/verifier.h"
#include "bind.h"
#include "log.h"
#include "net.h"
#include "sure.h"

/* Connections accepted in one turn before those that are there have theirs. */
#define ACCEPTS_A_TURN 64
#define ACCEPT_AGAIN_MS 100

/* Descriptors have run out: gives up the reserve for a moment, to accept one and tell it so. Without that the listener
 * would stay readable and the loop would spin. */
static bool refuse_one(struct server *server, const struct listener *listener)
{
    if (server->reserve_fd < 0) return false;
    close(server->reserve_fd);
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        size_t len;
        const uint8_t *bye = broker_full_frame("there is no file descriptor left for one more connection", &len);
        broker_note_refusal(server->broker, REFUSED_DESCRIPTORS);
        listener->counts->refused++;
        if (write(fd, bye, len) < 0) { /* closing says the rest */
        }
        close(fd);
    }
    server->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return fd >= 0;
}

static void on_accept_again(uv_timer_t *timer)
{
    listener_resume(timer->data);
    server_turn_soon(timer->data);
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
    struct listener *listener = poll->data;
    struct server *server = listener->server;
    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            if (listener->tls != NULL) conn_open_tls(server, fd, listener);
            else conn_open(server, fd, listener->needs_identity, listener_place(listener), listener->counts);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            if (refuse_one(server, listener)) continue;
            uv_poll_stop(&listener->poll); /* not even that: wait until something comes free */
            uv_timer_start(&server->accept_again, on_accept_again, ACCEPT_AGAIN_MS, 0);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}

void listener_resume(struct server *server)
{
    if (server->reserve_fd < 0) server->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    for (struct listener *listener = server->listeners; listener != NULL; listener = listener->next) {
        if (!uv_is_active((uv_handle_t *)&listener->poll) && !uv_is_closing((uv_handle_t *)&listener->poll))
            uv_poll_start(&listener->poll, UV_READABLE, on_connection);
    }
}

/* Begins to accept on a socket that is bound and listening, with `tls` if that isn't NULL. Takes both. NULL: libuv
 * doesn't want it, *error says why, and nothing was taken. */
static struct listener *start(struct server *server, int fd, struct ssl_ctx_st *tls, int *error)
{
    struct listener *listener = calloc(1, sizeof *listener);
    if (listener == NULL) abort(); /* at the start, once a listener */
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    listener->server = server;
    listener->fd = fd;
    address_of_socket(fd, listener->url);
    if (tls != NULL) memcpy(listener->url, "tls", 3); /* instead of tcp */
    *error = uv_poll_init(&server->loop, &listener->poll, fd);
    if (*error != 0) {
        free(listener);
        return NULL;
    }
    listener->tls = tls;
    listener->counts = sure_zeroed(sizeof *listener->counts);
    listener->counts->next = server->counts;
    server->counts = listener->counts;
    listener->poll.data = listener;
    uv_poll_start(&listener->poll, UV_READABLE, on_connection);
    listener->next = server->listeners;
    server->listeners = listener;
    server->serves_descriptors_only = false;
    server_add_ready(server, listener->url);
    return listener;
}

/* The socket's file stays whose it is. Takes fd. */
static int start_given_unix(struct server *server, int fd, const struct address *address, char *text, size_t text_cap)
{
    int error;
    if (start(server, fd, NULL, &error) != NULL) return 0;
    snprintf(text, text_cap, "cannot serve the inherited 'unix:%s': %s", address->path, uv_strerror(error));
    close(fd);
    return -1;
}

static int open_unix(struct server *server, const struct address *address, char *text, size_t text_cap)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    struct stat made;
    strcpy(name.sun_path, address->path);
    int given = inherited_take(&server->inherited, (struct sockaddr *)&name);
    if (given >= 0) return start_given_unix(server, given, address, text, text_cap);
    int error, fd = bind_unix(address->path, &made, text, text_cap);
    if (fd < 0) return -1;
    struct listener *listener = start(server, fd, NULL, &error);
    if (listener == NULL) {
        snprintf(text, text_cap, "cannot listen on 'unix:%s': %s", address->path, uv_strerror(error));
        close(fd);
        return -1;
    }
    strcpy(listener->path, address->path);
    listener->device = made.st_dev;
    listener->inode = made.st_ino;
    return 0;
}

/* Whether who comes there may have no name. local: only this machine reaches it. */
static bool allows_anonymous(const struct listener_config *config, bool local)
{
    return config->says_anonymous ? config->allow_anonymous : local;
}

static const char nobody[] =
    "nobody could come in: there are no tokens, passwords or users with certificates; make some, see [access], or say "
    "allow_anonymous = yes in its [listener NAME]";

/* Who may come in at a bound socket: sets *needs_identity. NULL, or why it must not be served so. */
static const char *judge_anonymous(const struct server *server, const struct listener_config *config, int fd,
                                   bool *needs_identity)
{
    int family = 0;
    socklen_t len = sizeof family;
    bool is_unix = getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len) == 0 && family == AF_UNIX;
    bool local = is_unix || bind_is_loopback(fd), allows = allows_anonymous(config, local);
    *needs_identity = !allows;
    if (is_unix) return NULL; /* users may be known by their uids */
    if (!allows && !verifier_is_configured(server)) return nobody;
    if (!allows || local) return NULL;
    char inherited[30], url[sizeof config->address.host + sizeof config->address.port + 10];
    snprintf(inherited, sizeof inherited, "fd:%d", config->address.fd);
    snprintf(url, sizeof url, "%s://%s:%s", config->address.is_tls ? "tls" : "tcp", config->address.host,
             config->address.port);
    const char *place = config->address.kind == ADDRESS_FD ? inherited : url;
    log_line(EVENT_LISTENER_ANONYMOUS,
             LOG_FIELDS(log_value("listener", mps_text(config->name[0] != '\0' ? config->name : place))),
             "whoever reaches %s may come in without a name: allow_anonymous = yes", place);
    return NULL;
}

static int fail_tcp(const struct address *address, const char *why, char *text, size_t text_cap)
{
    snprintf(text, text_cap, "cannot listen on '%s://%s:%s': %s", address->is_tls ? "tls" : "tcp", address->host,
             address->port, why);
    return -1;
}

int listener_check(const struct listener_config *config, bool somebody_has_a_name, char *text, size_t text_cap)
{
    struct addrinfo *info;
    if (config->address.kind != ADDRESS_TCP) return 0;
    int error = bind_resolve(&config->address, &info);
    if (error != 0) return fail_tcp(&config->address, gai_strerror(error), text, text_cap);
    bool allows = allows_anonymous(config, address_is_loopback(info->ai_addr));
    freeaddrinfo(info);
    return allows || somebody_has_a_name ? 0 : fail_tcp(&config->address, nobody, text, text_cap);
}

/* What uses the address may be what came with us. */
static const char *explain_in_use(const struct server *server, const struct addrinfo *info, char *text, size_t text_cap)
{
    char url[URL_MAX];
    if (!inherited_is_in_the_way(&server->inherited, info->ai_addr, url)) return strerror(EADDRINUSE);
    snprintf(text, text_cap, "%s was handed over by the service manager, and is another address of the same port", url);
    return text;
}

/* tls: taken if it returns 0. */
static int open_tcp(struct server *server, const struct listener_config *config, struct ssl_ctx_st *tls, char *text,
                    size_t text_cap)
{
    bool needs_identity = false;
    struct addrinfo *info;
    char in_the_way[URL_MAX + 100];
    const char *why;
    int error = bind_resolve(&config->address, &info);
    if (error == 0) {
        int fd = inherited_take(&server->inherited, info->ai_addr);
        if (fd < 0) fd = bind_tcp(info);
        why = strerror(errno);
        if (fd < 0 && errno == EADDRINUSE) why = explain_in_use(server, info, in_the_way, sizeof in_the_way);
        freeaddrinfo(info);
        const char *refusal = fd >= 0 ? judge_anonymous(server, config, fd, &needs_identity) : NULL;
        struct listener *listener = fd >= 0 && refusal == NULL ? start(server, fd, tls, &error) : NULL;
        if (listener != NULL) {
            listener->needs_identity = needs_identity;
            strcpy(listener->name, config->name);
            return 0;
        }
        if (fd >= 0) {
            why = refusal != NULL ? refusal : uv_strerror(error);
            close(fd);
        }
    } else {
        why = gai_strerror(error);
    }
    return fail_tcp(&config->address, why, text, text_cap);
}

static int open_tls(struct server *server, const struct listener_config *config, char *text, size_t text_cap)
{
    struct ssl_ctx_st *tls = tls_context_load(config, text, text_cap);
    if (tls == NULL) return -1;
    if (open_tcp(server, config, tls, text, text_cap) == 0) return 0;
    tls_context_free(tls);
    return -1;
}

/* config: of an ADDRESS_FD. */
static int adopt(struct server *server, const struct listener_config *config, char *text, size_t text_cap)
{
    int listening = 0, fd = config->address.fd;
    socklen_t len = sizeof listening;
    char url[URL_MAX];
    if (fcntl(fd, F_GETFD) < 0) {
        snprintf(text, text_cap, "cannot serve 'fd:%d': %s", fd, strerror(errno));
        return -1;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening) {
        int error;
        bool needs_identity;
        const char *refusal = judge_anonymous(server, config, fd, &needs_identity);
        struct listener *listener = refusal == NULL ? start(server, fd, NULL, &error) : NULL;
        if (listener != NULL) {
            listener->needs_identity = needs_identity;
            strcpy(listener->name, config->name);
            return 0;
        }
        snprintf(text, text_cap, "cannot serve 'fd:%d': %s", fd, refusal != NULL ? refusal : uv_strerror(error));
        return -1;
    }
    snprintf(url, sizeof url, "fd:%d", fd);
    const char *place = config->name[0] != '\0' ? config->name : url;
    if (conn_open(server, fd, config->says_anonymous && !config->allow_anonymous, place, NULL) != 0) {
        snprintf(text, text_cap, "cannot serve '%s': it is not a connected socket", url);
        return -1;
    }
    server_add_ready(server, url);
    return 0;
}

int listener_open(struct server *server, const struct listener_config *config, char *text, size_t text_cap)
{
    const struct address *address = &config->address;
    switch (address->kind) {
    case ADDRESS_UNIX:
        if (open_unix(server, address, text, text_cap) != 0) return -1;
        server->listeners->needs_identity = config->says_anonymous && !config->allow_anonymous;
        strcpy(server->listeners->name, config->name);
        return 0;
    case ADDRESS_TCP:
        return address->is_tls ? open_tls(server, config, text, text_cap)
                               : open_tcp(server, config, NULL, text, text_cap);
    case ADDRESS_FD: return adopt(server, config, text, text_cap);
    }
    return -1;
}

static void on_closed(uv_handle_t *handle)
{
    struct listener *listener = handle->data;
    close(listener->fd);
    tls_context_free(listener->tls);
    free(listener);
}

void listener_close_all(struct server *server)
{
    while (server->listeners != NULL) {
        struct listener *listener = server->listeners;
        struct stat st;
        server->listeners = listener->next;
        if (listener->inode != 0 && lstat(listener->path, &st) == 0 && st.st_dev == listener->device &&
            st.st_ino == listener->inode)
            unlink(listener->path);
        uv_poll_stop(&listener->poll);
        uv_close((uv_handle_t *)&listener->poll, on_closed);
    }
}
