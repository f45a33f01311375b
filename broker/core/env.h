/* The seam between the broker's core and the world. The core knows no clock, no random numbers and no sockets but
 * through this table; libuv (broker/net) answers it in the program, a virtual world (tests/sim) in the tests.
 * All calls come from the one thread that runs the core. Nothing here may call back into the core. */
#ifndef BROKER_ENV_H
#define BROKER_ENV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "events.h"

struct link; /* one connection, as the environment knows it */

struct session;

/* What a client brings to prove who it is. Lent for the call. */
struct proof {
    bool is_token;      /* else a user's password */
    const void *user;   /* any bytes */
    size_t user_len;
    const void *secret; /* the token, or the password: any bytes */
    size_t secret_len;
};

#define VERIFY_NAME_MAX 32 /* bytes of a user's name */

struct verdict {
    bool is_good;
    bool is_unchecked;  /* it could not be checked, for want of memory: nobody knows whether it is good */
    char user[VERIFY_NAME_MAX + 1]; /* whose it is: 1 to 32 letters, digits, '_', '-', '.' */
    uint64_t proof;                 /* names what was shown, so that it can be taken back (struct access); not 0 */
};

enum verify_answer {
    VERIFY_DONE,        /* *verdict says */
    VERIFY_LATER,       /* session_verified() will be called, not from inside this call */
    VERIFY_BUSY,        /* too many are being checked */
    VERIFY_NO_MEMORY,   /* there is none to check it with at the moment */
    VERIFY_LIMITED,     /* the peer, or this user, has failed too often lately */
    VERIFY_UNAVAILABLE, /* nobody has one of this kind */
};

/* UINT64_MAX: not known. */
struct host_figures {
    uint64_t rss_bytes;                   /* memory of the process that is resident */
    uint64_t data_bytes, data_free_bytes; /* the file system of the data directory: its size, and what is free of it */
};

/* A listener, and its connections: those that are there, and how many it has ever accepted, and turned away. */
struct listener_figures {
    const char *name, *url; /* lent for the call; name "": it has none */
    uint64_t connections, accepted, refused;
};

struct env {
    /* Monotonic milliseconds; constant within one turn of the loop. */
    uint64_t (*now_ms)(struct env *env);
    /* The same in microseconds, not constant within a turn, for measuring. NULL: now_ms() has to do. */
    uint64_t (*now_us)(struct env *env);
    /* Unix time in milliseconds. */
    uint64_t (*wall_ms)(struct env *env);
    /* Fills len bytes with unpredictable ones. */
    void (*random)(struct env *env, void *bytes, size_t len);
    /* Writes pieces without waiting. Returns how many bytes were taken, which may be fewer, also 0. When it took fewer,
     * session_writable() is called once more can be taken. -1: the connection is broken; session_closed() will follow
     * (not from inside this call). */
    ssize_t (*send)(struct env *env, struct link *link, const struct iovec *pieces, int count);
    /* No bytes will follow: shuts down the sending direction. */
    void (*send_end)(struct env *env, struct link *link);
    /* Stops (and resumes) calling session_read_buffer(): back-pressure. */
    void (*reading)(struct env *env, struct link *link, int on);
    /* Closes at once. The core has forgotten the link when this is called: nothing follows. */
    void (*close)(struct env *env, struct link *link);
    /* The peer of this link has introduced itself: it is welcome. NULL: who isn't makes no difference. */
    void (*welcomed)(struct env *env, struct link *link);
    /* One line for the operator. */
    void (*log)(struct env *env, const struct log_record *record);
    /* Whether lines of this level are wanted: what nobody wants is not made. NULL: all are. */
    bool (*logs)(struct env *env, enum log_level level);
    /* A temporary area for what queues put outside of memory, which nobody else sees and which is empty at the start. Offsets
     * and lengths in bytes. 0, or -1: no room, or it is broken. NULL: there is no such area. */
    int (*area_write)(struct env *env, uint64_t at, const void *bytes, size_t len);
    int (*area_read)(struct env *env, uint64_t at, void *bytes, size_t len);
    /* Whether a proof is good. One at a time for each session. NULL: VERIFY_UNAVAILABLE. */
    enum verify_answer (*verify)(struct env *env, struct link *link, struct session *session, const struct proof *proof,
                                 struct verdict *verdict);
    /* The session is not interested any more in what was to come later. NULL is allowed. */
    void (*verify_forget)(struct env *env, struct session *session);
    /* What the machine says. NULL: nothing is known. */
    void (*measure)(struct env *env, struct host_figures *figures);
    /* Calls fn for each listener. NULL: there are none. */
    void (*each_listener)(struct env *env, void (*fn)(const struct listener_figures *figures, void *arg), void *arg);
};

#endif
