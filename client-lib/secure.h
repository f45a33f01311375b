/* TLS on a connection: what stands between the client and the table of functions that the application lends. What is to
 * be written is staged here, because a session wants the same bytes again after it could not write them, while the
 * client may by then have something more urgent. */
#ifndef PUBSUB_SECURE_H
#define PUBSUB_SECURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <pubsub/tls.h>

/* All zero: no TLS. */
struct mps_secure {
    const struct pubsub_tls *tls; /* NULL: there is no session */
    void *session;
    uint8_t *staged;              /* one TLS record, in memory of mps_secret_alloc(): it begins with HELLO */
    size_t begin, end;            /* of staged: given by the client, not taken by the session */
    bool greeted;                 /* the first that was staged is written, and wiped */
    bool ending, ended;           /* close_notify is to be sent; is sent */
    bool unread;                  /* the session may have more that it has read already */
    short read_events;            /* what read() or handshake() waits for: POLLIN or POLLOUT */
    short write_events;           /* what write() or end() waits for */
    const char *error;            /* why it failed; NULL: it did not. Borrowed from the session */
};

/* Begins a session. Returns 0; or PUBSUB_ENOMEM or PUBSUB_ECONNECT with a sentence in text: nothing is to be closed. */
int mps_secure_open(struct mps_secure *secure, const struct pubsub_tls *tls, int fd, const char *host, char *text,
                    size_t text_cap);

static inline bool mps_secure_is_open(const struct mps_secure *secure)
{
    return secure->tls != NULL;
}

/* Returns as mps_link_read(): 0 done, MPS_LINK_AGAIN, MPS_LINK_ERROR (.error says why). */
int mps_secure_handshake(struct mps_secure *secure);
ssize_t mps_secure_read(struct mps_secure *secure, void *at, size_t len); /* 0: the broker has ended it */

/* Takes what it can of the pieces and sends what can be sent. Returns how many bytes were taken, which may be 0 if that
 * is what the pieces hold; or as above. */
ssize_t mps_secure_write(struct mps_secure *secure, const struct iovec *pieces, int count);

/* Says that nothing follows. Returns 0; MPS_LINK_AGAIN: call again when what it waits for is there; MPS_LINK_ERROR. */
int mps_secure_end(struct mps_secure *secure);

/* Something that was taken, or the end, is not sent yet. */
static inline bool mps_secure_owes(const struct mps_secure *secure)
{
    return secure->begin < secure->end || secure->ending;
}

/* What to poll for, of a client that wants to read, or to write. */
short mps_secure_events(const struct mps_secure *secure, bool reads, bool writes);

/* Frees the session. Says the end before, if that can be done at once. */
void mps_secure_close(struct mps_secure *secure);

#endif
