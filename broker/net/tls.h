/* TLS under accepted connections, by OpenSSL. 1.2 and 1.3 only, with ciphers that keep what was recorded secret; no
 * renegotiation, no compression, ALPN mps/1.
 *
 * What OpenSSL has encrypted has to be sent, whatever becomes of the message in our queues meanwhile. So it writes into
 * `out` and never waits: what the kernel doesn't take stays there, at most OUT_MOST bytes, and nothing more is encrypted
 * until it is gone; of answers to what the peer asks for in the middle of the stream ANSWERS_MOST. The loop's thread, but
 * for tls_handshake(). */
#ifndef NET_TLS_H
#define NET_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "config.h"
#include "list.h"
#include "peer.h"

struct ssl_ctx_st;
struct ssl_st;
struct x509_st;
struct handshake;
struct link;

/* ---- what a listener serves with (tls_context.c) ----------------------------------------------------------- */

/* Reads the files of [listener NAME]. A certificate that isn't valid now is said in a warning, and no error. Returns what
 * tls_context_free() frees; NULL and one sentence in text. */
struct ssl_ctx_st *tls_context_load(const struct listener_config *config, char *text, size_t text_cap);
void tls_context_free(struct ssl_ctx_st *context); /* connections keep what they have; NULL: nothing */

/* Whether the files of a listener can be loaded. Returns 0, or -1 and one sentence in text. */
int tls_check(const struct listener_config *config, char *text, size_t text_cap);

/* ---- a connection (tls.c) ---------------------------------------------------------------------------------- */

struct tls {
    struct ssl_st *ssl;
    struct link *link;
    struct handshake *handshake; /* NULL: it is over */
    struct list_node in_more;    /* of the server's list */
    uint32_t handshake_left;     /* bytes that the handshake may still read */
    int fd;
    uint8_t *out;                /* encrypted, and not taken by the kernel yet: out_at to out_len */
    size_t out_at, out_len, out_cap;
    size_t counted;              /* of out_cap: what the broker was told of (conn.c) */
    uint16_t answered;           /* bytes in `out` that are answers to the peer */
    uint8_t records;             /* that are encrypted before the kernel is asked to take them */
    bool owes;                   /* the last byte was said not to be taken, and is encrypted all the same */
    bool drained;                /* the kernel had no more to read */
    bool has_more;               /* was read and waits in here, or what came after it was an end or an error */
    bool is_in_more;
    bool encrypts;               /* tls_send() is at work: what is written is no answer */
    bool failed, ends;           /* no more can be said; nothing will be said after what is in `out` */
};

/* NULL: there is no memory. */
struct tls *tls_new(struct ssl_ctx_st *context, struct link *link, int fd);
void tls_free(struct tls *tls);

enum tls_step { TLS_DONE, TLS_WAITS, TLS_FAILED };

/* One step with what has come. Any thread, while no other uses tls. On failure one sentence in text. */
enum tls_step tls_handshake(struct tls *tls, char *text, size_t text_cap);

/* As read(2): what was decrypted; 0: the peer ended its stream as it should; -1 with errno, EAGAIN or another, also when
 * its stream was cut off. */
ssize_t tls_read(struct tls *tls, void *bytes, size_t cap);

/* As writev(2), except that what is taken is 0 instead of EAGAIN, and that the last byte counts as taken only when the
 * kernel has all: the caller repeats it. sparing: little is encrypted at a time, so that little has to wait in `out`.
 * -1: broken. */
ssize_t tls_send(struct tls *tls, const struct iovec *pieces, int count, bool sparing);

static inline bool tls_has_unsent(const struct tls *tls)
{
    return tls->out_len > tls->out_at;
}

/* 1: the kernel has everything; 0: something is left; -1: broken. */
int tls_flush(struct tls *tls);

/* Nothing follows: says so, and shuts down the sending direction as soon as that is sent. */
void tls_end(struct tls *tls);

/* ---- its peer (tls_peer.c) --------------------------------------------------------------------------------- */

void tls_peer(const struct tls *tls, struct peer *peer); /* that it is encrypted, and the verified certificate */
void tls_note_certificate(struct peer_certificate *noted, struct x509_st *certificate);

#endif
