#include "secure.h"

#include <poll.h>
#include <pubsub/pubsub.h>
#include <stdio.h>
#include <string.h>

#include "link.h"
#include "secret.h"

#define STAGED_BYTES 16384 /* the most that a TLS record holds */

int mps_secure_open(struct mps_secure *secure, const struct pubsub_tls *tls, int fd, const char *host, char *text,
                    size_t text_cap)
{
    *secure = (struct mps_secure){.read_events = POLLIN, .write_events = POLLOUT};
    secure->staged = mps_secret_alloc(STAGED_BYTES);
    if (secure->staged == NULL) {
        snprintf(text, text_cap, "out of memory");
        return PUBSUB_ENOMEM;
    }
    secure->session = tls->open(tls->context, fd, host, text, text_cap);
    if (secure->session == NULL) {
        mps_secret_free(secure->staged, STAGED_BYTES);
        *secure = (struct mps_secure){0};
        return PUBSUB_ECONNECT;
    }
    secure->tls = tls;
    return PUBSUB_OK;
}

/* What a call of the table said. */
static int judge(struct mps_secure *secure, ptrdiff_t result, short *events)
{
    switch (result) {
    case PUBSUB_TLS_WANT_READ: *events = POLLIN; return MPS_LINK_AGAIN;
    case PUBSUB_TLS_WANT_WRITE: *events = POLLOUT; return MPS_LINK_AGAIN;
    }
    secure->error = secure->tls->error(secure->session);
    return MPS_LINK_ERROR;
}

int mps_secure_handshake(struct mps_secure *secure)
{
    int result = secure->tls->handshake(secure->session);
    if (result != 0) return judge(secure, result, &secure->read_events);
    secure->read_events = POLLIN;
    secure->unread = true;
    return 0;
}

ssize_t mps_secure_read(struct mps_secure *secure, void *at, size_t len)
{
    ptrdiff_t n = secure->tls->read(secure->session, at, len);
    secure->unread = n > 0;
    if (n < 0) return judge(secure, n, &secure->read_events);
    secure->read_events = POLLIN;
    return n;
}

static size_t stage(struct mps_secure *secure, const struct iovec *pieces, int count)
{
    secure->begin = secure->end = 0;
    for (int i = 0; i < count && secure->end < STAGED_BYTES; i++) {
        size_t room = STAGED_BYTES - secure->end, len = pieces[i].iov_len < room ? pieces[i].iov_len : room;
        if (len > 0) memcpy(secure->staged + secure->end, pieces[i].iov_base, len);
        secure->end += len;
    }
    return secure->end;
}

/* Sends what is staged. Returns 0 when all of it is sent. */
static int send_staged(struct mps_secure *secure)
{
    while (secure->begin < secure->end) {
        size_t len = secure->end - secure->begin;
        ptrdiff_t n = secure->tls->write(secure->session, secure->staged + secure->begin, len);
        if (n < 0) return judge(secure, n, &secure->write_events);
        secure->begin += (size_t)n;
    }
    secure->write_events = POLLOUT;
    if (secure->greeted || secure->end == 0) return 0;
    explicit_bzero(secure->staged, secure->end);
    secure->greeted = true;
    return 0;
}

ssize_t mps_secure_write(struct mps_secure *secure, const struct iovec *pieces, int count)
{
    int result = send_staged(secure);
    if (result != 0) return result;
    size_t taken = stage(secure, pieces, count);
    return taken > 0 && send_staged(secure) == MPS_LINK_ERROR ? MPS_LINK_ERROR : (ssize_t)taken;
}

int mps_secure_end(struct mps_secure *secure)
{
    if (secure->ended) return 0;
    secure->ending = true;
    int result = secure->tls->end(secure->session);
    if (result != 0) return judge(secure, result, &secure->write_events);
    secure->ending = false;
    secure->ended = true;
    return 0;
}

short mps_secure_events(const struct mps_secure *secure, bool reads, bool writes)
{
    return (short)((reads ? secure->read_events : 0) | (writes ? secure->write_events : 0));
}

void mps_secure_close(struct mps_secure *secure)
{
    if (secure->tls == NULL) return;
    if (secure->greeted && secure->error == NULL && secure->begin == secure->end) (void)mps_secure_end(secure);
    secure->tls->close(secure->session);
    mps_secret_free(secure->staged, STAGED_BYTES);
    *secure = (struct mps_secure){0};
}
