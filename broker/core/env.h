/* The seam between the broker's core and the world. The core knows no clock, no random numbers and no sockets but
 * through this table; libuv (broker/net) answers it in the program, a virtual world (tests/sim) in the tests.
 * All calls come from the one thread that runs the core. Nothing here may call back into the core. */
#ifndef BROKER_ENV_H
#define BROKER_ENV_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct link; /* one connection, as the environment knows it */

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

struct env {
    /* Monotonic milliseconds; constant within one turn of the loop. */
    uint64_t (*now_ms)(struct env *env);
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
    /* One line for the operator, without newline. What came from a peer is escaped already. */
    void (*log)(struct env *env, enum log_level level, const char *line);
    /* A temporary area for what queues put outside of memory, which nobody else sees and which is empty at the start. Offsets
     * and lengths in bytes. 0, or -1: no room, or it is broken. NULL: there is no such area. */
    int (*area_write)(struct env *env, uint64_t at, const void *bytes, size_t len);
    int (*area_read)(struct env *env, uint64_t at, void *bytes, size_t len);
};

#endif
