#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "log.h"
#include "net.h"
#include "tls.h"

/* Forward secret and authenticated. AES is in the processor of whoever has a choice; who prefers ChaCha20 gets it. */
#define CIPHERS_OF_1_3 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define CIPHERS_OF_1_2                                           \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:" \
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:" \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
/* None that is slow: the client chooses what our processor has to do. */
#define GROUPS "X25519:P-256:P-384"
#define OPTIONS \
    (SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION)
#define SECURITY_LEVEL 2 /* keys of at least 112 bits: RSA from 2048 on */
/* The most that a client's certificates may take, and how many may lie between one and the authority that is trusted.
 */
#define CLIENT_CHAIN_BYTES (32 * 1024)
#define CLIENT_CHAIN_DEPTH 8
#define READ_BUFFER_BYTES (32 * 1024)

static const unsigned char alpn[] = {5, 'm', 'p', 's', '/', '1'};

/* What a sentence is about. */
struct loading {
    const struct listener_config *config;
    SSL_CTX *context;
    char *text;
    size_t text_cap;
};

__attribute__((format(printf, 2, 3))) static bool fail(const struct loading *loading, const char *format, ...)
{
    int len = snprintf(loading->text, loading->text_cap, "[listener %s]: ", loading->config->name);
    if (len < 0 || (size_t)len >= loading->text_cap) return false;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(loading->text + len, loading->text_cap - (size_t)len, format, arguments);
    va_end(arguments);
    return false;
}

static const char *first_reason(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    return reason != NULL ? reason : "for an unknown reason";
}

/* The client's list holds each name behind its length. */
static int choose_protocol(SSL *ssl, const unsigned char **chosen, unsigned char *chosen_len,
                           const unsigned char *offered, unsigned offered_len, void *arg)
{
    (void)ssl, (void)arg;
    for (unsigned at = 0; at < offered_len; at += offered[at] + 1u) {
        if (offered_len - at < sizeof alpn || memcmp(offered + at, alpn, sizeof alpn) != 0) continue;
        *chosen = offered + at + 1;
        *chosen_len = offered[at];
        return SSL_TLSEXT_ERR_OK;
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* OpenSSL says little about files that it can't open. */
static bool is_readable(const struct loading *loading, const char *what, const char *path)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) return fail(loading, "%s '%s' cannot be opened: %s", what, path, strerror(errno));
    fclose(file);
    return true;
}

static void warn(const struct loading *loading, const char *problem, const ASN1_TIME *when)
{
    char date[40] = "";
    BIO *memory = BIO_new(BIO_s_mem());
    if (memory != NULL && ASN1_TIME_print(memory, when) == 1) BIO_read(memory, date, sizeof date - 1);
    BIO_free(memory);
    const char *listener = loading->config->name, *path = loading->config->tls.certificate;
    log_line(EVENT_CERTIFICATE_DATES,
             LOG_FIELDS(log_value("listener", mps_text(listener)), log_value("file", mps_text(path))),
             "[listener %s]: certificate '%s' %s %s: clients will refuse it", listener, path, problem, date);
}

static bool load_certificate(const struct loading *loading)
{
    const char *path = loading->config->tls.certificate;
    if (!is_readable(loading, "certificate", path)) return false;
    if (SSL_CTX_use_certificate_chain_file(loading->context, path) != 1)
        return fail(loading, "certificate '%s' cannot be used: %s", path, first_reason());
    const X509 *certificate = SSL_CTX_get0_certificate(loading->context);
    const ASN1_TIME *begin = X509_get0_notBefore(certificate), *end = X509_get0_notAfter(certificate);
    if (X509_cmp_current_time(begin) > 0) warn(loading, "is not valid before", begin);
    if (X509_cmp_current_time(end) < 0) warn(loading, "expired on", end);
    return true;
}

/* In place of a question on the terminal. */
static int no_passphrase(char *room, int room_cap, int is_writing, void *asked)
{
    (void)room, (void)room_cap, (void)is_writing;
    *(bool *)asked = true;
    return -1;
}

/* The group may read it: certificates' keys are often given to programs that way. */
static bool is_private(const struct loading *loading, FILE *file)
{
    struct stat st;
    const char *path = loading->config->tls.key;
    if (fstat(fileno(file), &st) != 0) return fail(loading, "key '%s' cannot be read: %s", path, strerror(errno));
    if ((st.st_mode & 037) == 0) return true;
    return fail(loading,
                "key '%s' is not private: its mode is %04o, and 0640 is the most that it may be; chmod 600 '%s'", path,
                (unsigned)st.st_mode & 07777, path);
}

static bool use_key(const struct loading *loading, FILE *file)
{
    const char *path = loading->config->tls.key;
    bool asked = false;
    if (!is_private(loading, file)) return false;
    EVP_PKEY *key = PEM_read_PrivateKey(file, NULL, no_passphrase, &asked);
    if (asked) return fail(loading, "key '%s' is encrypted with a passphrase, which a broker can't be asked for", path);
    if (key == NULL) return fail(loading, "key '%s' holds no private key in PEM form", path);
    bool is_used =
        SSL_CTX_use_PrivateKey(loading->context, key) == 1 && SSL_CTX_check_private_key(loading->context) == 1;
    EVP_PKEY_free(key);
    if (is_used) return true;
    return fail(loading, "key '%s' does not belong to the certificate '%s': %s", path, loading->config->tls.certificate,
                first_reason());
}

static bool load_key(const struct loading *loading)
{
    FILE *file = fopen(loading->config->tls.key, "re");
    if (file == NULL) return fail(loading, "key '%s' cannot be opened: %s", loading->config->tls.key, strerror(errno));
    setvbuf(file, NULL, _IONBF, 0); /* it shall not stay in freed memory */
    bool is_used = use_key(loading, file);
    fclose(file);
    return is_used;
}

static bool load_client_ca(const struct loading *loading)
{
    const struct tls_config *tls = &loading->config->tls;
    if (tls->client_certificate == CLIENT_CERTIFICATE_OFF) return true;
    if (!is_readable(loading, "client_ca", tls->client_ca)) return false;
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(tls->client_ca);
    if (names == NULL || SSL_CTX_load_verify_file(loading->context, tls->client_ca) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return fail(loading, "client_ca '%s' cannot be used: %s", tls->client_ca, first_reason());
    }
    SSL_CTX_set_client_CA_list(loading->context, names);
    SSL_CTX_set_verify(
        loading->context,
        SSL_VERIFY_PEER |
            (tls->client_certificate == CLIENT_CERTIFICATE_REQUIRED ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
        NULL);
    SSL_CTX_set_verify_depth(loading->context, CLIENT_CHAIN_DEPTH);
    SSL_CTX_set_max_cert_list(loading->context, CLIENT_CHAIN_BYTES);
    /* A session that is taken up again would not have its certificate looked at again. */
    SSL_CTX_set_options(loading->context, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(loading->context, 0);
    return true;
}

static bool set_terms(const struct loading *loading)
{
    SSL_CTX *context = loading->context;
    SSL_CTX_set_options(context, OPTIONS);
    SSL_CTX_set_security_level(context, SECURITY_LEVEL);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF); /* tickets need no memory here */
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_default_read_buffer_len(context, READ_BUFFER_BYTES);
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
    if (SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 &&
        SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 &&
        SSL_CTX_set_cipher_list(context, CIPHERS_OF_1_2) == 1 &&
        SSL_CTX_set_ciphersuites(context, CIPHERS_OF_1_3) == 1 && SSL_CTX_set1_groups_list(context, GROUPS) == 1)
        return true;
    return fail(loading, "OpenSSL does not serve what TLS needs here: %s", first_reason());
}

SSL_CTX *tls_context_load(const struct listener_config *config, char *text, size_t text_cap)
{
    ERR_clear_error();
    struct loading loading = {config, SSL_CTX_new(TLS_server_method()), text, text_cap};
    if (loading.context == NULL) {
        fail(&loading, "OpenSSL can't be used: %s", first_reason());
    } else if (set_terms(&loading) && load_certificate(&loading) && load_key(&loading) && load_client_ca(&loading)) {
        return loading.context;
    }
    SSL_CTX_free(loading.context);
    ERR_clear_error();
    return NULL;
}

void tls_context_free(SSL_CTX *context)
{
    SSL_CTX_free(context);
}

int tls_check(const struct listener_config *config, char *text, size_t text_cap)
{
    SSL_CTX *context = tls_context_load(config, text, text_cap);
    SSL_CTX_free(context);
    return context != NULL ? 0 : -1;
}

/* ---- loading again ----------------------------------------------------------------------------------------- */

static const struct listener_config *find_config(const struct config *config, const char *name)
{
    for (int i = 0; i < config->listeners_count; i++) {
        const struct listener_config *listener = &config->listeners[i];
        if (listener->address.is_tls && strcmp(listener->name, name) == 0) return listener;
    }
    return NULL;
}

int tls_prepare(struct server *server, const struct config *config, char *text, size_t text_cap)
{
    for (struct listener *listener = server->listeners; listener != NULL; listener = listener->next) {
        if (listener->tls == NULL) continue;
        const struct listener_config *fresh = find_config(config, listener->name);
        if (fresh == NULL) continue; /* it goes on until the restart that this needs */
        listener->tls_fresh = tls_context_load(fresh, text, text_cap);
        if (listener->tls_fresh != NULL) continue;
        tls_discard(server);
        return -1;
    }
    return 0;
}

void tls_apply(struct server *server)
{
    for (struct listener *listener = server->listeners; listener != NULL; listener = listener->next) {
        if (listener->tls_fresh == NULL) continue;
        tls_context_free(listener->tls);
        listener->tls = listener->tls_fresh;
        listener->tls_fresh = NULL;
    }
}

void tls_discard(struct server *server)
{
    for (struct listener *listener = server->listeners; listener != NULL; listener = listener->next) {
        tls_context_free(listener->tls_fresh);
        listener->tls_fresh = NULL;
    }
}
