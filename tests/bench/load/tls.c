#include "tls.h"
#include <errno.h>
#include <openssl/err.h>
#include <poll.h>
#include <signal.h>

enum { READ_AHEAD_BYTES = 128 << 10 }; /* of one read(), as without TLS a large part of what is there */
#define CIPHER "TLS_AES_128_GCM_SHA256"
#define GROUP "X25519"
#define ADDRESS "127.0.0.1"

static SSL_CTX *context;

static _Noreturn void fail_tls(const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    fail(EXIT_MEASUREMENT, "TLS: %s: %s", what, reason ? reason : strerror(errno));
}

bool tls_is_wanted(const char *url)
{
    return strncmp(url, "tls://", 6) == 0;
}

void tls_prepare(const char *ca)
{
    context = SSL_CTX_new(TLS_client_method());
    if (!context || SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(context, CIPHER) != 1 || SSL_CTX_set1_groups_list(context, GROUP) != 1)
        fail_tls("it can't be set up");
    if (SSL_CTX_load_verify_locations(context, ca, NULL) != 1)
        fail(EXIT_USAGE, "--ca is '%s', which is no file with a certificate that can be read", ca);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_default_read_buffer_len(context, READ_AHEAD_BYTES);
    signal(SIGPIPE, SIG_IGN);
}

static void set_alpn(SSL *tls, const char *alpn)
{
    uint8_t list[UINT8_MAX + 1];
    size_t len = strlen(alpn);
    if (len > UINT8_MAX) fail(EXIT_USAGE, "the name '%s' is too long for ALPN", alpn);
    list[0] = (uint8_t)len;
    memcpy(list + 1, alpn, len);
    if (SSL_set_alpn_protos(tls, list, (unsigned)len + 1) != 0) fail_tls("ALPN");
}

SSL *tls_open(int fd, const char *alpn, SSL_SESSION *resumes)
{
    SSL *tls = SSL_new(context);
    if (!tls || SSL_set_fd(tls, fd) != 1) fail_tls("a connection can't be made");
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls), ADDRESS) != 1) fail_tls("a connection can't be made");
    if (alpn) set_alpn(tls, alpn);
    if (resumes && SSL_set_session(tls, resumes) != 1) fail_tls("a session can't be resumed");
    SSL_set_connect_state(tls);
    return tls;
}

short tls_handshake(SSL *tls)
{
    ERR_clear_error();
    errno = 0;
    int rc = SSL_do_handshake(tls);
    if (rc == 1) return 0;
    switch (SSL_get_error(tls, rc)) {
    case SSL_ERROR_WANT_READ: return POLLIN;
    case SSL_ERROR_WANT_WRITE: return POLLOUT;
    default: fail_tls("the handshake failed");
    }
}

bool tls_was_resumed(SSL *tls)
{
    return SSL_session_reused(tls) == 1;
}

/* What read() and send() would return for an operation that moved nothing. */
static ssize_t outcome(SSL *tls, int rc)
{
    switch (SSL_get_error(tls, rc)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: errno = EAGAIN; return -1;
    case SSL_ERROR_ZERO_RETURN: return 0;
    case SSL_ERROR_SYSCALL:
        if (errno != 0) return -1;
        break;
    default: break;
    }
    errno = EPROTO;
    return -1;
}

ssize_t tls_read(SSL *tls, uint8_t *to, size_t limit)
{
    size_t got = 0;
    while (got < limit) {
        size_t part = 0;
        ERR_clear_error();
        errno = 0;
        int rc = SSL_read_ex(tls, to + got, limit - got, &part);
        if (rc != 1) return got > 0 ? (ssize_t)got : outcome(tls, rc);
        got += part;
    }
    return (ssize_t)got;
}

ssize_t tls_write(SSL *tls, const uint8_t *from, size_t len)
{
    size_t sent = 0;
    while (sent < len) {
        size_t part = 0;
        ERR_clear_error();
        errno = 0;
        int rc = SSL_write_ex(tls, from + sent, len - sent, &part);
        if (rc != 1) return sent > 0 ? (ssize_t)sent : outcome(tls, rc);
        sent += part;
    }
    return (ssize_t)sent;
}

bool tls_holds(SSL *tls)
{
    return SSL_has_pending(tls) == 1;
}

SSL_SESSION *tls_session(SSL *tls)
{
    SSL_SESSION *session = SSL_get1_session(tls);
    if (session && SSL_SESSION_is_resumable(session) == 1) return session;
    SSL_SESSION_free(session);
    return NULL;
}

void tls_forget(SSL_SESSION *session)
{
    SSL_SESSION_free(session);
}

void tls_close(SSL *tls)
{
    SSL_shutdown(tls);
    SSL_free(tls);
}
