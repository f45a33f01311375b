/* A connected stream socket, or a serial line: opening one without blocking, reading, writing. All descriptors are non-blocking and
 * close-on-exec; SIGPIPE is never raised. Errors are errno values, positive. */
#ifndef PUBSUB_LINK_H
#define PUBSUB_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "url.h"

struct addrinfo;

/* The addresses of a broker, and which one is tried next. */
struct mps_addresses {
    struct addrinfo *list, *next; /* MPS_URL_TCP; in one piece of memory */
    unsigned left;                /* not tried yet */
};

/* Finds where url points to. Unless the host has to be an address in figures, asks the resolver, which may block.
 * Returns NULL or a clause for a person. */
const char *mps_addresses_find(struct mps_addresses *addresses, const struct mps_url *url, bool figures_only);
/* Copies what somebody else found, as far as it is of use. Returns NULL or a clause for a person. */
const char *mps_addresses_take(struct mps_addresses *addresses, const struct addrinfo *found);
void mps_addresses_free(struct mps_addresses *addresses);
bool mps_addresses_leave(const struct mps_addresses *addresses); /* any of them is beyond this machine */

/* Starts to connect to the next address. Returns 0 and the descriptor, which is connected when it becomes writable and
 * mps_link_connected() says 0; or why not. */
int mps_link_open(const struct mps_url *url, struct mps_addresses *addresses, int *fd);
int mps_link_connected(int fd);

/* The address that mps_link_open() is going to try, in figures, at most cap bytes with its NUL; "": there are no others,
 * or it is no network's. */
void mps_addresses_name_next(const struct mps_addresses *addresses, char *text, size_t cap);

/* Prepares a descriptor that is connected already: a stream socket, or a character device. A terminal is put into raw
 * mode, in which it passes every byte as it is; its speed stays. Returns 0, or why it can't be used (ENOTSOCK, EBADF, ...). */
int mps_link_adopt(int fd);
/* Says that nothing follows. False: it isn't a socket, and this can't be said. */
bool mps_link_shut(int fd);
bool mps_link_leaves(int fd); /* the other end may be beyond this machine */

/* What a call moved: bytes >= 0; MPS_LINK_AGAIN nothing now; MPS_LINK_ERROR, *error says what. A read of 0 bytes is the
 * end of the stream. */
enum { MPS_LINK_AGAIN = -1, MPS_LINK_ERROR = -2 };
ssize_t mps_link_read(int fd, void *at, size_t len, int *error);
ssize_t mps_link_write(int fd, struct iovec *pieces, int count, int *error);

/* Bytes that were written and that the other end has not taken yet, as far as the system knows; 0: none, or it can't say. */
size_t mps_link_underway(int fd);

#endif
