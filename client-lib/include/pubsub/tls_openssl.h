/* libpubsub_tls: TLS for clients of libpubsub by OpenSSL 3. Link with it and with OpenSSL: find_package(pubsub COMPONENTS
 * tls) and pubsub::tls, or pkg-config pubsub-tls.
 *
 *   struct pubsub_tls *tls;
 *   struct pubsub_tls_files files = {.ca = "ca.pem"};
 *   if (pubsub_tls_openssl(&tls, &files, text, sizeof text) == PUBSUB_OK) {
 *       struct pubsub_options options = {.url = "tls://broker.example:7718", .tls = tls};
 *       ...
 *       pubsub_tls_openssl_free(tls);
 *   }
 *
 * A broker is believed when its certificate is signed by one that is trusted, valid now, for the host of the URL (by a
 * subject alternative name, DNS or IP; the common name does not count), and not revoked as far as lists are there. There
 * is no way to turn that off. TLS 1.2 and 1.3, with the ciphers and the security level that the system's OpenSSL has. */
#ifndef PUBSUB_TLS_OPENSSL_H
#define PUBSUB_TLS_OPENSSL_H

#include <pubsub/pubsub.h>
#include <pubsub/tls.h>

#ifdef __cplusplus
extern "C" {
#endif

/* All PEM; read once, when the table is made. All NULL: the system's store, no certificate of our own. */
struct pubsub_tls_files {
    const char *ca;          /* whom to trust instead of the system's store: a file, in which there may be revocation lists
                                too (then the broker's certificate must be covered by one), or a directory with names by
                                hash, as `openssl rehash` makes it. NULL: the system's; OpenSSL's environment variables
                                SSL_CERT_FILE and SSL_CERT_DIR say where else that is */
    const char *certificate; /* ours, followed by those that lead to its issuer */
    const char *key;         /* of our certificate, not encrypted. NULL: in the same file */
};

/* Makes a table. It can serve any number of clients in any threads.
 *   files  borrowed during the call; NULL: as if all were NULL.
 * Returns 0 and sets *tls; or PUBSUB_EINVAL (a file cannot be used) or PUBSUB_ENOMEM: *tls is untouched and, if text_cap
 * > 0, text holds one NUL-terminated sentence. */
int pubsub_tls_openssl(struct pubsub_tls **tls, const struct pubsub_tls_files *files, char *text, size_t text_cap);

/* Frees it, when the last of its clients is closed. NULL is allowed. */
void pubsub_tls_openssl_free(struct pubsub_tls *tls);

#ifdef __cplusplus
}
#endif
#endif
