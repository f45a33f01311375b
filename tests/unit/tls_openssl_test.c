/* libpubsub_tls on a server of the test's own, which does what well-behaved ones do not. Certificates and failures that
 * a server of Python's can have are in tests/process/client_tls_test.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pubsub/tls_openssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct place {
    char ca[64]; /* file of the server's certificate, which is what the client trusts */
    SSL_CTX *context;
    SSL *server;
    int ours, theirs; /* the client's end and the server's */
    struct pubsub_tls *tls;
    void *session;
};

static const char *chosen; /* what the server says to ALPN, with its length in front, whatever was offered */

static int choose(SSL *ssl, const unsigned char **out, unsigned char *len, const unsigned char *in, unsigned in_len,
                  void *user)
{
    (void)ssl, (void)in, (void)in_len, (void)user;
    *out = (const unsigned char *)chosen + 1;
    *len = (unsigned char)chosen[0];
    return SSL_TLSEXT_ERR_OK;
}

/* A certificate for localhost that signs itself. */
static X509 *certificate_of(EVP_PKEY *key)
{
    X509 *certificate = X509_new();
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8, (const unsigned char *)"server",
                               -1, -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
    X509_set_pubkey(certificate, key);
    X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:localhost,IP:fe80::1");
    X509_add_ext(certificate, names, -1);
    X509_EXTENSION_free(names);
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    return certificate;
}

static int set_up(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    char text[256];
    int ends[2];
    strcpy(place->ca, "/tmp/tls_openssl_test.XXXXXX");
    FILE *file = fdopen(mkstemp(place->ca), "w");
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = certificate_of(key);
    PEM_write_X509(file, certificate);
    fclose(file);
    place->context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate(place->context, certificate);
    SSL_CTX_use_PrivateKey(place->context, key);
    SSL_CTX_set_alpn_select_cb(place->context, choose, NULL);
    X509_free(certificate);
    EVP_PKEY_free(key);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) return -1;
    place->ours = ends[0];
    place->theirs = ends[1];
    place->server = SSL_new(place->context);
    SSL_set_fd(place->server, place->theirs);
    SSL_set_accept_state(place->server);
    const struct pubsub_tls_files files = {.ca = place->ca};
    if (pubsub_tls_openssl(&place->tls, &files, text, sizeof text) != PUBSUB_OK) return -1;
    *state = place;
    return 0;
}

static int tear_down(void **state)
{
    struct place *place = *state;
    if (place->session != NULL) place->tls->close(place->session);
    pubsub_tls_openssl_free(place->tls);
    SSL_free(place->server);
    SSL_CTX_free(place->context);
    close(place->ours);
    close(place->theirs);
    unlink(place->ca);
    free(place);
    return 0;
}

/* What the client's handshake ends with, for this host. */
static int shake_hands(struct place *place, const char *host)
{
    char text[256];
    int rc;
    place->session = place->tls->open(place->tls->context, place->ours, host, text, sizeof text);
    assert_non_null(place->session);
    for (int i = 0; (rc = place->tls->handshake(place->session)) == PUBSUB_TLS_WANT_READ; i++) {
        assert_true(i < 10);
        (void)SSL_do_handshake(place->server);
    }
    (void)SSL_do_handshake(place->server);
    return rc;
}

static void the_protocol_has_to_be_ours(void **state)
{
    struct place *place = *state;
    chosen = "\x02h2";
    assert_int_equal(shake_hands(place, "localhost"), PUBSUB_TLS_FAILED);
    assert_non_null(strstr(place->tls->error(place->session), "chosen another protocol than mps/1 (ALPN)"));
}

static void bytes_both_ways(void **state)
{
    struct place *place = *state;
    static char large[300000];
    char at[16];
    chosen = "\x05mps/1";
    assert_int_equal(shake_hands(place, "localhost"), 0);
    assert_string_equal(SSL_get_servername(place->server, TLSEXT_NAMETYPE_host_name), "localhost");
    assert_int_equal(place->tls->read(place->session, at, sizeof at), PUBSUB_TLS_WANT_READ);
    assert_int_equal(place->tls->write(place->session, "to you", 6), 6);
    assert_int_equal(SSL_read(place->server, at, sizeof at), 6);
    assert_int_equal(SSL_write(place->server, "to me", 5), 5);
    assert_int_equal(place->tls->read(place->session, at, sizeof at), 5);
    while (place->tls->write(place->session, large, 16384) == 16384) continue;
    assert_int_equal(place->tls->write(place->session, large, 16384), PUBSUB_TLS_WANT_WRITE);
    while (SSL_read(place->server, large, sizeof large) > 0) continue;
    assert_int_equal(place->tls->write(place->session, large, 16384), 16384);
}

static void the_end_is_told_or_it_is_none(void **state)
{
    struct place *place = *state;
    char at[16];
    chosen = "\x05mps/1";
    assert_int_equal(shake_hands(place, "localhost"), 0);
    assert_int_equal(place->tls->end(place->session), 0);
    assert_int_equal(SSL_read(place->server, at, sizeof at), 0);
    assert_int_equal(SSL_get_error(place->server, 0), SSL_ERROR_ZERO_RETURN);
    assert_int_equal(SSL_write(place->server, "late", 4), 4); /* what comes after our end is heard */
    assert_int_equal(place->tls->read(place->session, at, sizeof at), 4);
    shutdown(place->theirs, SHUT_RDWR);
    assert_int_equal(place->tls->read(place->session, at, sizeof at), PUBSUB_TLS_FAILED);
    assert_string_equal(place->tls->error(place->session), "it was cut off, without the end that TLS has");
}

static void a_told_end_is_one(void **state)
{
    struct place *place = *state;
    char at[16];
    chosen = "\x05mps/1";
    assert_int_equal(shake_hands(place, "localhost"), 0);
    SSL_shutdown(place->server);
    assert_int_equal(place->tls->read(place->session, at, sizeof at), 0);
    shutdown(place->theirs, SHUT_RDWR);
    assert_int_equal(place->tls->write(place->session, "x", 1), PUBSUB_TLS_FAILED); /* and no SIGPIPE */
}

/* The zone of an address is not part of it; an address is no name for SNI. */
static void addresses_are_compared_as_such(void **state)
{
    struct place *place = *state;
    chosen = "\x05mps/1";
    assert_int_equal(shake_hands(place, "fe80::1%lo"), 0);
    assert_null(SSL_get_servername(place->server, TLSEXT_NAMETYPE_host_name));
}

static void another_address_is_refused(void **state)
{
    struct place *place = *state;
    chosen = "\x05mps/1";
    assert_int_equal(shake_hands(place, "fe80::2"), PUBSUB_TLS_FAILED);
    assert_string_equal(place->tls->error(place->session),
                        "its certificate is not for 'fe80::2', but for localhost, fe80::1");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_protocol_has_to_be_ours),    TEST(bytes_both_ways),
        TEST(the_end_is_told_or_it_is_none),  TEST(a_told_end_is_one),
        TEST(addresses_are_compared_as_such), TEST(another_address_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
