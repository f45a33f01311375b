/* libuv's side of the seam: sockets, clock and signals for the core (env.h). The only users of libuv.
 *
 * Connections are polled (uv_poll) and read and written here, instead of by libuv's streams: what a stream takes and
 * can't write at once is out of our hands, while what the kernel did not take must stay in our queues, where it can
 * still be dropped, and told. One thread. */
#ifndef NET_NET_H
#define NET_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <uv.h>

#include "address.h"
#include "broker.h"
#include "config.h"
#include "callers.h"
#include "engine.h"
#include "inherited.h"
#include "list.h"
#include "store.h"
#include "tls.h"

/* Connections that came by a listener. They may outlive it: this lives as long as the server. */
struct listener_counts {
    struct listener_counts *next;
    uint64_t connections, accepted, refused; /* that are there; in all; turned away at once, not in .accepted */
};

struct link {
    uv_poll_t poll;
    struct server *server;
    struct session *session; /* NULL once the core has forgotten it */
    struct link *next_broken;
    struct tls *tls;         /* NULL: plain */
    struct guest guest;      /* of its address */
    int fd, events;          /* what is polled for */
    bool paused, read_ended, broken;
    bool needs_identity;     /* where it was accepted */
    const char *place;       /* that listener's; until its session begins */
    struct listener_counts *counts; /* likewise; NULL: it came by none */
    bool is_closed;          /* libuv has let go of it */
    bool blocked;            /* something waits to be written */
    bool is_welcome;         /* it has introduced itself */
};

struct listener {
    uv_poll_t poll;
    struct server *server;
    struct listener *next;
    struct ssl_ctx_st *tls, *tls_fresh; /* what it serves with, and what it will when all are loaded again; NULL: plain */
    int fd;
    bool needs_identity;     /* nobody may come in without a name */
    dev_t device;            /* of the Unix socket that we made, to remove only that; inode 0: none */
    ino_t inode;
    char path[sizeof((struct address *)0)->path];
    char url[URL_MAX];
    char name[SECTION_NAME_MAX + 1]; /* of its section; "": it has none */
    struct listener_counts *counts;
};

/* TLS handshakes that go on. */
struct handshakes {
    struct list all;         /* in the order of their beginning */
    struct list waiting;     /* for a thread */
    size_t count;
    int running, running_most;
    uv_timer_t timer;        /* for the oldest */
};

struct server {
    struct env env;          /* first: the core hands it back */
    uv_loop_t loop;
    uv_check_t turn;
    uv_idle_t again;         /* active while there is more to do at once */
    uv_timer_t wake, accept_again, trim, store_limit;
    uv_signal_t sigint, sigterm;
    uv_async_t stored;       /* the store has something to tell */
    uv_async_t clustered;    /* the other brokers have */
    struct broker *broker;
    struct store *store;     /* NULL: nothing is kept */
    struct engine *engine;   /* to the other brokers; NULL: there are none */
    struct listener *listeners;
    struct listener_counts *counts; /* of all listeners that there ever were */
    struct handshakes handshakes;
    struct list more;        /* TLS connections of which something was read that their sessions do not have yet */
    size_t more_count;
    uv_idle_t read_more;     /* active while there are any */
    struct link *broken;     /* their sessions are told at the end of the turn */
    size_t links_count;
    struct callers callers;
    uint64_t held_most;      /* bytes of messages that the broker held since the last trim */
    int reserve_fd;          /* given up for a moment to refuse a connection when descriptors run out */
    bool serves_descriptors_only, stopping;
    struct inherited inherited; /* listening sockets that nobody serves yet */
    int area_fd;             /* what queues spill; -1: not opened yet */
    char area_directory[4096]; /* where; empty: a temporary directory */
    struct verifier *verifier; /* NULL: nobody can say who they are */
    struct metrics *metrics; /* its figures over HTTP; NULL in builds without that, and at the end */
    bool has_certificate_users;
    bool is_told;            /* to stop, by a signal */
    bool is_hurried;         /* it was told to stop a second time */
    bool store_late;         /* it was stopped, and not waited for any more */
    char ready[4096];        /* URLs, each with a blank before it */
};

/* loop.c */
struct server *server_new(const struct broker_limits *limits, const struct address_caps *caps);
/* Takes the store, and what it holds comes back to life. Before anything is served, at most once. Returns 0, or -1 and one
 * sentence in text; the store is the server's in any case. */
int server_keep(struct server *server, struct store *store, const struct stream_config *streams, size_t count, char *text,
                size_t text_cap);
void server_wake(void *arg); /* of this server the store has something to tell. Any thread, until the store is closed */
/* Takes the engine, and the broker is one of several from now on. After server_keep(), at most once. Returns as that. */
int server_join(struct server *server, struct engine *engine, const struct cluster_config *config, char *text,
                size_t text_cap);
void server_wake_of_cluster(void *arg); /* as server_wake(), for the engine */
void server_leave(struct server *server); /* the others are told, and the engine is closed, if there is one */
void server_catch_signals(struct server *server); /* from now on SIGINT and SIGTERM let it stop well */
int server_run(struct server *server); /* until it is told to stop; returns the exit code */
void server_close_store(struct server *server); /* for one that gives up; what has not been committed is lost */
void server_free(struct server *server);
void server_stop(struct server *server);
void server_turn(struct server *server); /* flushes what gathered, and does what is due */
/* A turn follows. For the callbacks of timers: what comes by descriptors has one in the same iteration. */
void server_turn_soon(struct server *server);
void server_trim_soon(struct server *server); /* what was freed goes back to the system */
/* Whether the descriptor that is kept in reserve may be used for something else meanwhile. */
void server_lend_reserve(struct server *server, bool lend);
void server_add_ready(struct server *server, const char *url);

/* What it is called, in the configuration or else by its URL. */
static inline const char *listener_place(const struct listener *listener)
{
    return listener->name[0] != '\0' ? listener->name : listener->url;
}

/* listener.c: 0, or -1 and one sentence in text */
int listener_open(struct server *server, const struct listener_config *config, char *text, size_t text_cap);
/* Whether it may be served as it is configured, and its name is known; nothing is opened. somebody_has_a_name: there are tokens,
 * passwords or users with certificates. */
int listener_check(const struct listener_config *config, bool somebody_has_a_name, char *text, size_t text_cap);
void listener_close_all(struct server *server);
void listener_resume(struct server *server); /* descriptors may have come free */

/* conn.c */
/* Takes fd. needs_identity: nobody may come in there without a name. place: where it was accepted, for the audit log; lent for
 * the call. counts: of its listener, or NULL. -1: it can't be served, fd is closed. */
int conn_open(struct server *server, int fd, bool needs_identity, const char *place, struct listener_counts *counts);
int conn_open_tls(struct server *server, int fd, const struct listener *listener);
void conn_serve(struct link *link, uint64_t accepted_ms); /* its session begins */
void conn_close(struct link *link);         /* of one without a session */
void conn_forget_closed(struct link *link); /* frees it, unless something still uses it */
void conn_forget_broken(struct server *server);
void conn_fill_env(struct env *env);
void conn_read_more(uv_idle_t *idle);

/* handshake.c */
void handshakes_init(struct server *server);
void handshakes_stop(struct server *server);
bool handshake_begin(struct link *link); /* ends in conn_serve() or conn_close(). False: there is no memory */
void handshake_abandon(struct link *link); /* closes the connection, of which a handshake goes on */
bool handshake_is_running(const struct link *link);
void handshake_free(struct link *link);

/* tls_context.c: the files of the TLS listeners, loaded again */
/* Returns 0, or -1 and one sentence in text: nothing has changed then. */
int tls_prepare(struct server *server, const struct config *config, char *text, size_t text_cap);
void tls_apply(struct server *server);   /* connections that come from now on get what was prepared */
void tls_discard(struct server *server); /* it is not to be used after all */

/* peer.c */
void peer_of_socket(struct peer *peer, int fd); /* what the kernel knows of a connected socket's other end */

/* host.c */
void host_fill_env(struct env *env);

/* worker.c */
void worker_gives_way(void); /* called on a thread of libuv's: the loop goes before it from now on */

/* area.c */
void area_fill_env(struct server *server);
void area_set_directory(struct server *server, const char *path); /* before the first use */
void area_close(struct server *server);

#endif
