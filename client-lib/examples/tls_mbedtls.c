/* tls_mbedtls URL CA-FILE TOPIC: prints what arrives on TOPIC, and publishes there each line of its input, over TLS by
 * mbedTLS 2.28. A table of functions for a TLS library other than OpenSSL: take it along to where there is no OpenSSL.
 * Ends with its input. */
#include <pubsub/pubsub.h>
#include <pubsub/tls.h>

#include <arpa/inet.h>
#include <errno.h>
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What all sessions share. */
struct mbed {
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context random;
    mbedtls_x509_crt trusted;
    mbedtls_ssl_config config;
};

struct session {
    mbedtls_ssl_context ssl;
    int fd;
    unsigned char address[16]; /* of the host, if it is one and no name */
    size_t address_len;        /* 0: it is a name, which mbedTLS checks */
    char why[256];
};

/* ---- the socket: without SIGPIPE ----------------------------------------------------------------------------- */

static int socket_result(ssize_t n, int again)
{
    if (n >= 0) return (int)n;
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return again;
    return errno == EPIPE || errno == ECONNRESET ? MBEDTLS_ERR_NET_CONN_RESET : MBEDTLS_ERR_NET_RECV_FAILED;
}

static int socket_send(void *given, const unsigned char *bytes, size_t len)
{
    const struct session *session = given;
    return socket_result(send(session->fd, bytes, len, MSG_NOSIGNAL), MBEDTLS_ERR_SSL_WANT_WRITE);
}

static int socket_receive(void *given, unsigned char *at, size_t len)
{
    const struct session *session = given;
    return socket_result(recv(session->fd, at, len, 0), MBEDTLS_ERR_SSL_WANT_READ);
}

/* ---- words --------------------------------------------------------------------------------------------------- */

/* Why the certificate is not accepted. */
static const char *words_for_flags(uint32_t flags)
{
    if (flags & MBEDTLS_X509_BADCERT_EXPIRED) return "its certificate has expired";
    if (flags & MBEDTLS_X509_BADCERT_FUTURE) return "its certificate is not valid yet";
    if (flags & MBEDTLS_X509_BADCERT_REVOKED) return "its certificate was revoked";
    if (flags & MBEDTLS_X509_BADCERT_CN_MISMATCH) return "its certificate is for another name";
    if (flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED) return "its certificate is not trusted";
    return "its certificate is not accepted";
}

static const char *words_for(int error, uint32_t flags)
{
    switch (error) {
    case 0:
    case MBEDTLS_ERR_SSL_CONN_EOF:
    case MBEDTLS_ERR_NET_CONN_RESET: return "it was cut off, without the end that TLS has";
    case MBEDTLS_ERR_X509_CERT_VERIFY_FAILED: return words_for_flags(flags);
    case MBEDTLS_ERR_SSL_INVALID_RECORD: return "the peer does not speak TLS there";
    case MBEDTLS_ERR_SSL_BAD_HS_PROTOCOL_VERSION: return "the broker does not speak TLS 1.2";
    }
    return NULL;
}

/* What a call that moved nothing means for the client. */
static int judge(struct session *session, int result)
{
    if (result == MBEDTLS_ERR_SSL_WANT_READ) return PUBSUB_TLS_WANT_READ;
    if (result == MBEDTLS_ERR_SSL_WANT_WRITE) return PUBSUB_TLS_WANT_WRITE;
    const char *words = words_for(result, mbedtls_ssl_get_verify_result(&session->ssl));
    if (words != NULL) snprintf(session->why, sizeof session->why, "%s", words);
    else mbedtls_strerror(result, session->why, sizeof session->why);
    return PUBSUB_TLS_FAILED;
}

/* ---- the table ----------------------------------------------------------------------------------------------- */

static void session_close(void *given)
{
    struct session *session = given;
    mbedtls_ssl_free(&session->ssl);
    free(session);
}

/* mbedTLS 2.28 compares names only: that the certificate has this address is for us to see. */
static bool has_address(const mbedtls_x509_crt *certificate, const struct session *session)
{
    enum { IP_ADDRESS = 7 }; /* RFC 5280, GeneralName */
    for (const mbedtls_x509_sequence *name = &certificate->subject_alt_names; name != NULL; name = name->next) {
        if ((name->buf.tag & MBEDTLS_ASN1_TAG_VALUE_MASK) != IP_ADDRESS || name->buf.len != session->address_len)
            continue;
        if (memcmp(name->buf.p, session->address, name->buf.len) == 0) return true;
    }
    return false;
}

static int check_address(void *given, mbedtls_x509_crt *certificate, int depth, uint32_t *flags)
{
    const struct session *session = given;
    if (depth == 0 && !has_address(certificate, session)) *flags |= MBEDTLS_X509_BADCERT_CN_MISMATCH;
    return 0;
}

static int begin(struct session *session, const struct mbed *mbed, const char *host)
{
    int rc = mbedtls_ssl_setup(&session->ssl, &mbed->config);
    if (rc != 0) return rc;
    mbedtls_ssl_set_bio(&session->ssl, session, socket_send, socket_receive, NULL);
    if (inet_pton(AF_INET, host, session->address) == 1) session->address_len = 4;
    else if (inet_pton(AF_INET6, host, session->address) == 1) session->address_len = 16;
    if (session->address_len == 0) return mbedtls_ssl_set_hostname(&session->ssl, host);
    mbedtls_ssl_set_verify(&session->ssl, check_address, session);
    return 0;
}

static void *session_open(void *context, int fd, const char *host, char *text, size_t text_cap)
{
    struct session *session = calloc(1, sizeof *session);
    if (session == NULL) {
        snprintf(text, text_cap, "out of memory");
        return NULL;
    }
    session->fd = fd;
    mbedtls_ssl_init(&session->ssl);
    int rc = begin(session, context, host);
    if (rc == 0) return session;
    mbedtls_strerror(rc, text, text_cap);
    session_close(session);
    return NULL;
}

static int session_handshake(void *given)
{
    struct session *session = given;
    int rc = mbedtls_ssl_handshake(&session->ssl);
    if (rc == MBEDTLS_ERR_SSL_CONN_EOF || rc == MBEDTLS_ERR_NET_CONN_RESET) {
        snprintf(session->why, sizeof session->why, "the peer closed the connection during the TLS handshake");
        return PUBSUB_TLS_FAILED;
    }
    return rc == 0 ? 0 : judge(session, rc); /* a protocol (ALPN) that was not offered mbedTLS refuses by itself */
}

static ptrdiff_t session_read(void *given, void *at, size_t len)
{
    struct session *session = given;
    int rc = mbedtls_ssl_read(&session->ssl, at, len);
    if (rc > 0) return rc;
    return rc == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY ? 0 : judge(session, rc); /* 0 there: cut off */
}

static ptrdiff_t session_write(void *given, const void *bytes, size_t len)
{
    struct session *session = given;
    int rc = mbedtls_ssl_write(&session->ssl, bytes, len);
    return rc > 0 ? rc : judge(session, rc);
}

static int session_end(void *given)
{
    struct session *session = given;
    int rc = mbedtls_ssl_close_notify(&session->ssl);
    return rc == 0 ? 0 : judge(session, rc);
}

static const char *session_error(void *given)
{
    const struct session *session = given;
    return session->why;
}

/* ---- setting it up ------------------------------------------------------------------------------------------- */

/* Returns 0 or an error of mbedTLS. */
static int mbed_open(struct mbed *mbed, const char *ca_file)
{
    static const char *alpn[] = {PUBSUB_TLS_ALPN, NULL};
    mbedtls_entropy_init(&mbed->entropy);
    mbedtls_ctr_drbg_init(&mbed->random);
    mbedtls_x509_crt_init(&mbed->trusted);
    mbedtls_ssl_config_init(&mbed->config);
    int rc = mbedtls_ctr_drbg_seed(&mbed->random, mbedtls_entropy_func, &mbed->entropy, NULL, 0);
    if (rc == 0) rc = mbedtls_x509_crt_parse_file(&mbed->trusted, ca_file);
    if (rc == 0)
        rc = mbedtls_ssl_config_defaults(&mbed->config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM,
                                         MBEDTLS_SSL_PRESET_DEFAULT);
    if (rc == 0) rc = mbedtls_ssl_conf_alpn_protocols(&mbed->config, alpn);
    mbedtls_ssl_conf_min_version(&mbed->config, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3); /* 1.2 */
    mbedtls_ssl_conf_authmode(&mbed->config, MBEDTLS_SSL_VERIFY_REQUIRED);
    mbedtls_ssl_conf_ca_chain(&mbed->config, &mbed->trusted, NULL);
    mbedtls_ssl_conf_rng(&mbed->config, mbedtls_ctr_drbg_random, &mbed->random);
    return rc;
}

static void mbed_close(struct mbed *mbed)
{
    mbedtls_ssl_config_free(&mbed->config);
    mbedtls_x509_crt_free(&mbed->trusted);
    mbedtls_ctr_drbg_free(&mbed->random);
    mbedtls_entropy_free(&mbed->entropy);
}

/* ---- a program that uses it ---------------------------------------------------------------------------------- */

static void on_message(pubsub *client, const struct pubsub_message *message, void *user)
{
    (void)client, (void)user;
    printf("%.*s\n", (int)message->payload_len, (const char *)message->payload);
    fflush(stdout);
}

static void on_granted(pubsub *client, uint32_t sid, void *user)
{
    (void)client, (void)sid, (void)user;
    printf("(subscribed)\n");
    fflush(stdout);
}

/* Publishes what was typed. Returns false at the end of the input. */
static bool publish_input(pubsub *client, const char *topic)
{
    static char text[65536];
    ssize_t len = read(STDIN_FILENO, text, sizeof text);
    if (len <= 0) return false;
    if (text[len - 1] == '\n') len--;
    const struct pubsub_publish_options options = {.raw = true};
    return pubsub_publish(client, topic, text, (size_t)len, &options, NULL) == PUBSUB_OK;
}

static int chat(pubsub *client, const char *topic)
{
    const struct pubsub_subscribe_options options = {.on_message = on_message, .on_granted = on_granted};
    bool typing = true;
    int rc = pubsub_subscribe(client, topic, &options, NULL);
    while (rc >= 0) {
        struct pollfd fds[2] = {
            {.fd = typing ? STDIN_FILENO : -1, .events = POLLIN},
            {.fd = pubsub_fd(client), .events = pubsub_poll_events(client)},
        };
        poll(fds, 2, pubsub_poll_timeout_ms(client));
        rc = pubsub_process(client);
        if (rc < 0 || !typing || fds[0].revents == 0 || publish_input(client, topic)) continue;
        typing = false;
        rc = pubsub_shutdown(client, 10000); /* what is on its way to us still comes */
    }
    if (rc == PUBSUB_ECLOSED) return 0;
    fprintf(stderr, "tls_mbedtls: %s\n", pubsub_error(client));
    return 1;
}

int main(int argc, char **argv)
{
    static struct mbed mbed;
    static const struct pubsub_tls table = {.context = &mbed,
                                            .open = session_open,
                                            .handshake = session_handshake,
                                            .read = session_read,
                                            .write = session_write,
                                            .end = session_end,
                                            .error = session_error,
                                            .close = session_close};
    char error[384];
    pubsub *client;
    if (argc != 4) {
        fprintf(stderr, "usage: tls_mbedtls URL CA-FILE TOPIC\n");
        return 2;
    }
    int code = mbed_open(&mbed, argv[2]);
    if (code != 0) {
        mbedtls_strerror(code, error, sizeof error);
        fprintf(stderr, "tls_mbedtls: %s: %s\n", argv[2], error);
        mbed_close(&mbed);
        return 2;
    }
    const struct pubsub_options options = {.url = argv[1], .tls = &table};
    if (pubsub_open(&client, &options, error, sizeof error) != PUBSUB_OK) {
        fprintf(stderr, "tls_mbedtls: %s\n", error);
        mbed_close(&mbed);
        return 3;
    }
    code = chat(client, argv[3]);
    pubsub_close(client, 1000);
    mbed_close(&mbed);
    return code;
}
