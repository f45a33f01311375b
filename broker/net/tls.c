#include "tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECORD_BYTES SSL3_RT_MAX_PLAIN_LENGTH
/* What a record is longer than what it holds, at most, in 1.2 and 1.3. */
#define RECORD_EXTRA 64
/* Records that are encrypted before the kernel is asked to take them: with one system call for each it would cost half
 * as much as to encrypt it. Only where it took all of the last ones: what it doesn't take waits in our memory. */
#define RECORDS_MOST 4
/* A record where memory is to be spared. */
#define SMALL_BYTES 4096
/* Answers to what the peer may ask for in the middle of the stream (new keys: 27 bytes each), while it reads none. */
#define ANSWERS_MOST 2048
/* In a handshake the certificates and all around them. */
#define OUT_MOST (RECORDS_MOST * (RECORD_BYTES + RECORD_EXTRA) + 16384)
#define READ_A_TURN (64u * 1024)
/* The longest certificate chain of a client and all around it, with what it says at once behind it. */
#define HANDSHAKE_BYTES (96u * 1024)

/* ---- OpenSSL's way to the socket --------------------------------------------------------------------------- */

static bool reserve(struct tls *tls, size_t len)
{
    if (tls->out_at == tls->out_len) tls->out_at = tls->out_len = 0;
    if (tls->out_len + len <= tls->out_cap) return true;
    uint8_t *out = realloc(tls->out, tls->out_len + len);
    if (out == NULL) return false;
    tls->out = out;
    tls->out_cap = tls->out_len + len;
    return true;
}

static int bio_write(BIO *bio, const char *bytes, int len)
{
    struct tls *tls = BIO_get_data(bio);
    bool answers = !tls->encrypts && tls->handshake == NULL;
    if (answers && tls->answered + len > ANSWERS_MOST) return -1;
    if (len <= 0 || tls->out_len - tls->out_at + (size_t)len > OUT_MOST || !reserve(tls, (size_t)len)) return -1;
    memcpy(tls->out + tls->out_len, bytes, (size_t)len);
    tls->out_len += (size_t)len;
    if (answers) tls->answered = (uint16_t)(tls->answered + len);
    return len;
}

static int bio_read(BIO *bio, char *bytes, int cap)
{
    struct tls *tls = BIO_get_data(bio);
    ssize_t len = -1;
    BIO_clear_retry_flags(bio);
    if (tls->handshake != NULL && (uint32_t)cap > tls->handshake_left) cap = (int)tls->handshake_left;
    if (cap <= 0) return -1;
    errno = EAGAIN;
    if (!tls->drained) {
        do len = read(tls->fd, bytes, (size_t)cap);
        while (len < 0 && errno == EINTR);
        /* Polling tells when there is more: to ask in vain would be a system call for each message. */
        tls->drained = len != cap;
        if (tls->handshake != NULL && len > 0) tls->handshake_left -= (uint32_t)len;
    }
    if (len < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) BIO_set_retry_read(bio);
    return (int)len;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

static const BIO_METHOD *bio_method(void)
{
    static BIO_METHOD *method; /* one for the process, made once */
    if (method == NULL) {
        method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "connection");
        if (method == NULL) abort();
        BIO_meth_set_write(method, bio_write);
        BIO_meth_set_read(method, bio_read);
        BIO_meth_set_ctrl(method, bio_control);
    }
    return method;
}

/* ---- a connection ------------------------------------------------------------------------------------------ */

struct tls *tls_new(SSL_CTX *context, struct link *link, int fd)
{
    struct tls *tls = calloc(1, sizeof *tls);
    if (tls == NULL) return NULL;
    tls->link = link;
    tls->fd = fd;
    tls->records = 1;
    tls->handshake_left = HANDSHAKE_BYTES;
    tls->ssl = SSL_new(context);
    BIO *bio = BIO_new(bio_method());
    if (tls->ssl == NULL || bio == NULL) {
        BIO_free(bio);
        tls_free(tls);
        return NULL;
    }
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio);
    SSL_set_accept_state(tls->ssl);
    return tls;
}

void tls_free(struct tls *tls)
{
    if (tls == NULL) return;
    SSL_free(tls->ssl);
    free(tls->out);
    free(tls);
}

static void describe_failure(const struct tls *tls, int error, char *text, size_t text_cap)
{
    unsigned long code = ERR_peek_error();
    const char *reason = ERR_reason_error_string(code);
    if (tls->handshake_left == 0) snprintf(text, text_cap, "it has more than %u bytes", HANDSHAKE_BYTES);
    else if (ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED)
        snprintf(text, text_cap, "the client's certificate is not accepted: %s",
                 X509_verify_cert_error_string(SSL_get_verify_result(tls->ssl)));
    else if (code != 0) snprintf(text, text_cap, "%s", reason ? reason : "an unknown error");
    else if (error == SSL_ERROR_SYSCALL && errno != 0 && errno != EAGAIN)
        snprintf(text, text_cap, "%s", strerror(errno));
    else snprintf(text, text_cap, "the peer closed the connection");
}

enum tls_step tls_handshake(struct tls *tls, char *text, size_t text_cap)
{
    ERR_clear_error();
    errno = 0;
    tls->drained = false;
    int result = SSL_do_handshake(tls->ssl);
    if (result == 1) {
        tls->has_more = SSL_has_pending(tls->ssl) == 1;
        return TLS_DONE;
    }
    int error = SSL_get_error(tls->ssl, result);
    if (error == SSL_ERROR_WANT_READ) return TLS_WAITS;
    tls->failed = true;
    describe_failure(tls, error, text, text_cap);
    return TLS_FAILED;
}

ssize_t tls_read(struct tls *tls, void *bytes, size_t cap)
{
    size_t got = 0, most = cap < READ_A_TURN ? cap : READ_A_TURN;
    tls->drained = tls->has_more = false;
    while (got < most) {
        size_t len;
        ERR_clear_error();
        if (SSL_read_ex(tls->ssl, (uint8_t *)bytes + got, most - got, &len) == 1) {
            got += len;
            continue;
        }
        int error = SSL_get_error(tls->ssl, 0);
        if (error == SSL_ERROR_WANT_READ) break;
        if (error != SSL_ERROR_ZERO_RETURN) tls->failed = true;
        if (got == 0 && error != SSL_ERROR_ZERO_RETURN) errno = EPROTO;
        if (got == 0) return error == SSL_ERROR_ZERO_RETURN ? 0 : -1;
        tls->has_more = true; /* it comes again */
        return (ssize_t)got;
    }
    if (got == most) tls->has_more = SSL_has_pending(tls->ssl) == 1;
    if (got > 0) return (ssize_t)got;
    errno = EAGAIN;
    return -1;
}

int tls_flush(struct tls *tls)
{
    while (tls_has_unsent(tls)) {
        ssize_t sent = write(tls->fd, tls->out + tls->out_at, tls->out_len - tls->out_at);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK) return -1;
        if (sent <= 0) return 0;
        tls->out_at += (size_t)sent;
    }
    free(tls->out);
    tls->out = NULL;
    tls->out_at = tls->out_len = tls->out_cap = tls->answered = 0;
    if (tls->ends) shutdown(tls->fd, SHUT_WR);
    return 1;
}

/* ---- sending ----------------------------------------------------------------------------------------------- */

/* What is still to be encrypted of the pieces. */
struct rest {
    const struct iovec *piece, *end;
    size_t at;   /* in *piece */
    size_t left; /* bytes altogether */
};

static void advance(struct rest *rest, size_t len)
{
    rest->left -= len;
    rest->at += len;
    while (rest->piece < rest->end && rest->at >= rest->piece->iov_len) {
        rest->at -= rest->piece->iov_len;
        rest->piece++;
    }
}

/* The next record's bytes, at most `most`: where they lie, if they lie together, else gathered in room. */
static const uint8_t *next_record(struct rest *rest, size_t most, uint8_t room[RECORD_BYTES], size_t *len)
{
    *len = rest->left < most ? rest->left : most;
    const uint8_t *bytes = (const uint8_t *)rest->piece->iov_base + rest->at;
    if (rest->piece->iov_len - rest->at >= *len) {
        advance(rest, *len);
        return bytes;
    }
    for (size_t filled = 0; filled < *len;) {
        size_t part = rest->piece->iov_len - rest->at;
        if (part > *len - filled) part = *len - filled;
        memcpy(room + filled, (const uint8_t *)rest->piece->iov_base + rest->at, part);
        filled += part;
        advance(rest, part);
    }
    return room;
}

static bool encrypt(struct tls *tls, struct rest *rest, int records, size_t record_bytes)
{
    uint8_t room[RECORD_BYTES];
    size_t most = (size_t)records * record_bytes, all = rest->left < most ? rest->left : most;
    if (!reserve(tls, all + (all / record_bytes + 1) * RECORD_EXTRA)) return false;
    tls->encrypts = true;
    for (int i = 0; i < records && rest->left > 0 && !tls->failed; i++) {
        size_t len, taken;
        const uint8_t *bytes = next_record(rest, record_bytes, room, &len);
        ERR_clear_error();
        tls->failed = SSL_write_ex(tls->ssl, bytes, len, &taken) != 1 || taken != len;
    }
    tls->encrypts = false;
    return !tls->failed;
}

ssize_t tls_send(struct tls *tls, const struct iovec *pieces, int count, bool sparing)
{
    struct rest rest = {.piece = pieces, .end = pieces + count};
    for (int i = 0; i < count; i++) rest.left += pieces[i].iov_len;
    size_t wanted = rest.left;
    int flushed = tls_flush(tls);
    if (flushed <= 0) return flushed;
    advance(&rest, tls->owes ? 1 : 0);
    tls->owes = false;
    while (rest.left > 0 && flushed > 0) {
        if (!encrypt(tls, &rest, sparing ? 1 : tls->records, sparing ? SMALL_BYTES : RECORD_BYTES)) return -1;
        flushed = tls_flush(tls);
        if (flushed <= 0) tls->records = 1;
        else if (tls->records < RECORDS_MOST) tls->records = (uint8_t)(2 * tls->records);
    }
    if (flushed < 0) return -1;
    tls->owes = flushed == 0 && rest.left == 0;
    return (ssize_t)(wanted - rest.left - (tls->owes ? 1 : 0));
}

void tls_end(struct tls *tls)
{
    if (tls->ends) return;
    ERR_clear_error();
    if (!tls->failed && SSL_is_init_finished(tls->ssl)) SSL_shutdown(tls->ssl);
    tls->ends = true;
    tls_flush(tls);
}
