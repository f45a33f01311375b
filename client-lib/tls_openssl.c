/* TLS for libpubsub by OpenSSL: the table of functions. */
#include "tls_openssl.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* ---- the socket ----------------------------------------------------------------------------------------------- */

/* A BIO of its own, because that of OpenSSL writes so that SIGPIPE may come. */
struct openssl {
    struct pubsub_tls table; /* first: what the application holds */
    SSL_CTX *context;
    BIO_METHOD *method;
};

static int socket_failed(BIO *bio, struct mps_tls_session *session, int retry_flag)
{
    if (errno == EAGAIN || errno == EWOULDBLOCK) BIO_set_flags(bio, retry_flag | BIO_FLAGS_SHOULD_RETRY);
    else session->io_error = errno;
    return -1;
}

static int socket_write(BIO *bio, const char *bytes, int len)
{
    struct mps_tls_session *session = BIO_get_data(bio);
    ssize_t n;
    BIO_clear_retry_flags(bio);
    do n = send(session->fd, bytes, (size_t)len, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n >= 0 ? (int)n : socket_failed(bio, session, BIO_FLAGS_WRITE);
}

static int socket_read(BIO *bio, char *at, int len)
{
    struct mps_tls_session *session = BIO_get_data(bio);
    ssize_t n;
    BIO_clear_retry_flags(bio);
    do n = recv(session->fd, at, (size_t)len, 0);
    while (n < 0 && errno == EINTR);
    if (n == 0 && len > 0) BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    return n >= 0 ? (int)n : socket_failed(bio, session, BIO_FLAGS_READ);
}

static long socket_control(BIO *bio, int command, long number, void *pointer)
{
    (void)number, (void)pointer;
    if (command == BIO_CTRL_EOF) return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
    return command == BIO_CTRL_FLUSH; /* nothing is held back */
}

static int socket_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

static BIO_METHOD *make_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "pubsub");
    if (method == NULL) return NULL;
    BIO_meth_set_write(method, socket_write);
    BIO_meth_set_read(method, socket_read);
    BIO_meth_set_ctrl(method, socket_control);
    BIO_meth_set_create(method, socket_create);
    return method;
}

/* ---- what went wrong ------------------------------------------------------------------------------------------ */

const char *mps_tls_reason(const char *otherwise)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    ERR_clear_error();
    return reason != NULL ? reason : otherwise;
}

static void say(struct mps_tls_session *session, const char *why)
{
    snprintf(session->why, sizeof session->why, "%s", why);
}

/* The alerts of a broker, and what one sees of a peer that speaks something else. NULL: no words of our own. */
static const char *words_for(int reason, bool greeting)
{
    switch (reason) {
    case SSL_R_UNEXPECTED_EOF_WHILE_READING:
        return greeting ? "the peer closed the connection during the TLS handshake"
                        : "it was cut off, without the end that TLS has";
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_BAD_RECORD_TYPE: return "the peer does not speak TLS there";
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_WRONG_SSL_VERSION:
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION: return "the broker speaks neither TLS 1.2 nor 1.3";
    case SSL_R_BAD_EXTENSION:
        return "the peer's answer is not allowed: it may have chosen another protocol than " PUBSUB_TLS_ALPN " (ALPN)";
    case SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL: return "the peer does not serve " PUBSUB_TLS_ALPN " (ALPN)";
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED: return "the broker asks for a certificate of the client's";
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA: return "the broker does not trust who issued the client's certificate";
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED: return "the broker says that the client's certificate has expired";
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED: return "the broker says that the client's certificate is revoked";
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED: return "the broker does not accept the client's certificate";
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
        return "the broker ended the TLS handshake: no cipher in common, or it asks for a certificate of the client's";
    }
    return NULL;
}

static int failed(struct mps_tls_session *session, int error, bool greeting)
{
    if (session->untrusted) return PUBSUB_TLS_FAILED; /* said by who found it */
    if (error == SSL_ERROR_SSL) {
        const char *words = words_for(ERR_GET_REASON(ERR_peek_error()), greeting);
        say(session, words != NULL ? words : mps_tls_reason("TLS failed"));
    } else if (session->io_error != 0 && session->io_error != EPIPE) {
        say(session, strerror(session->io_error));
    } else {
        say(session, words_for(SSL_R_UNEXPECTED_EOF_WHILE_READING, greeting));
    }
    ERR_clear_error();
    return PUBSUB_TLS_FAILED;
}

/* What a call that did not succeed returns. */
static int judge(struct mps_tls_session *session, int returned, bool greeting)
{
    int error = SSL_get_error(session->ssl, returned);
    if (error == SSL_ERROR_WANT_READ) return PUBSUB_TLS_WANT_READ;
    if (error == SSL_ERROR_WANT_WRITE) return PUBSUB_TLS_WANT_WRITE;
    return failed(session, error, greeting);
}

/* ---- sessions ------------------------------------------------------------------------------------------------- */

static void session_close(void *given)
{
    struct mps_tls_session *session = given;
    SSL_free(session->ssl);
    free(session->host);
    free(session);
}

static bool attach(const struct openssl *openssl, struct mps_tls_session *session)
{
    BIO *bio = BIO_new(openssl->method);
    if (bio == NULL) return false;
    BIO_set_data(bio, session);
    SSL_set_bio(session->ssl, bio, bio);
    SSL_set_app_data(session->ssl, session);
    SSL_set_connect_state(session->ssl);
    return mps_tls_trust_only_host(session);
}

static void *session_open(void *context, int fd, const char *host, char *text, size_t text_cap)
{
    const struct openssl *openssl = context;
    struct mps_tls_session *session = calloc(1, sizeof *session);
    if (session != NULL) {
        session->fd = fd;
        session->ssl = SSL_new(openssl->context);
        session->host = strdup(host);
        if (session->ssl != NULL && session->host != NULL && attach(openssl, session)) return session;
        session_close(session);
    }
    snprintf(text, text_cap, "TLS cannot begin: %s", mps_tls_reason("out of memory"));
    return NULL;
}

/* A broker that chooses no protocol may be one behind something that ends TLS for it. OpenSSL before 3.0.15 lets a peer
 * choose what was not offered. */
static int check_alpn(struct mps_tls_session *session)
{
    const unsigned char *name;
    unsigned len;
    SSL_get0_alpn_selected(session->ssl, &name, &len);
    if (len == 0 || (len == strlen(PUBSUB_TLS_ALPN) && memcmp(name, PUBSUB_TLS_ALPN, len) == 0)) return 0;
    say(session, "the peer has chosen another protocol than " PUBSUB_TLS_ALPN " (ALPN)");
    return PUBSUB_TLS_FAILED;
}

static int session_handshake(void *given)
{
    struct mps_tls_session *session = given;
    ERR_clear_error();
    int rc = SSL_do_handshake(session->ssl);
    return rc == 1 ? check_alpn(session) : judge(session, rc, true);
}

static int at_most_int(size_t len)
{
    return len < 1u << 30 ? (int)len : 1 << 30;
}

static ptrdiff_t session_read(void *given, void *at, size_t len)
{
    struct mps_tls_session *session = given;
    ERR_clear_error();
    int rc = SSL_read(session->ssl, at, at_most_int(len));
    if (rc > 0) return rc;
    return SSL_get_error(session->ssl, rc) == SSL_ERROR_ZERO_RETURN ? 0 : judge(session, rc, false);
}

static ptrdiff_t session_write(void *given, const void *bytes, size_t len)
{
    struct mps_tls_session *session = given;
    ERR_clear_error();
    int rc = SSL_write(session->ssl, bytes, at_most_int(len));
    return rc > 0 ? rc : judge(session, rc, false);
}

static int session_end(void *given)
{
    struct mps_tls_session *session = given;
    ERR_clear_error();
    int rc = SSL_shutdown(session->ssl); /* 0: the broker has not said it yet; what it still sends is read */
    return rc >= 0 ? 0 : judge(session, rc, false);
}

static const char *session_error(void *given)
{
    const struct mps_tls_session *session = given;
    return session->why;
}

/* ---- tables --------------------------------------------------------------------------------------------------- */

static bool set_terms(SSL_CTX *context)
{
    static const unsigned char alpn[] = "\x05" PUBSUB_TLS_ALPN;
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_read_ahead(context, 1); /* one call of the system for many records */
    return SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_alpn_protos(context, alpn, sizeof alpn - 1) == 0;
}

int pubsub_tls_openssl(struct pubsub_tls **tls, const struct pubsub_tls_files *files, char *text, size_t text_cap)
{
    static const struct pubsub_tls_files none;
    struct openssl *openssl = calloc(1, sizeof *openssl);
    int rc = PUBSUB_ENOMEM;
    ERR_clear_error();
    if (openssl != NULL) {
        openssl->context = SSL_CTX_new(TLS_client_method());
        openssl->method = make_method();
    }
    if (openssl != NULL && openssl->context != NULL && openssl->method != NULL && set_terms(openssl->context))
        rc = mps_tls_load(openssl->context, files != NULL ? files : &none, text, text_cap);
    else snprintf(text, text_cap, "TLS cannot be set up: %s", mps_tls_reason("out of memory"));
    if (rc != PUBSUB_OK) {
        if (openssl != NULL) pubsub_tls_openssl_free(&openssl->table);
        return rc;
    }
    openssl->table = (struct pubsub_tls){.context = openssl,
                                         .open = session_open,
                                         .handshake = session_handshake,
                                         .read = session_read,
                                         .write = session_write,
                                         .end = session_end,
                                         .error = session_error,
                                         .close = session_close};
    *tls = &openssl->table;
    return PUBSUB_OK;
}

void pubsub_tls_openssl_free(struct pubsub_tls *tls)
{
    if (tls == NULL) return;
    struct openssl *openssl = (struct openssl *)(void *)tls; /* its first member */
    SSL_CTX_free(openssl->context);
    BIO_meth_free(openssl->method);
    free(openssl);
}
