/* What the files of libpubsub_tls share:
 *   tls_openssl.c   sessions: moving bytes
 *   tls_trust.c     whom a session trusts, and why it does not
 *   tls_files.c     certificates and keys from files */
#ifndef PUBSUB_TLS_OPENSSL_INSIDE_H
#define PUBSUB_TLS_OPENSSL_INSIDE_H

#include <openssl/ssl.h>
#include <pubsub/tls_openssl.h>

#define MPS_TLS_WHY_MAX 256 /* bytes of a clause, its NUL counted */

struct mps_tls_session {
    SSL *ssl;
    char *host;                    /* what the broker's certificate must be for */
    int fd;
    int io_error;                  /* errno of the socket; 0: none */
    bool untrusted;                /* why is about the certificate */
    char why[MPS_TLS_WHY_MAX];
};

/* Loads what the files name. Returns PUBSUB_OK, or PUBSUB_EINVAL with a sentence in text. */
int mps_tls_load(SSL_CTX *context, const struct pubsub_tls_files *files, char *text, size_t text_cap);

/* Lets the session accept only a broker that proves to be session->host. False: out of memory. */
bool mps_tls_trust_only_host(struct mps_tls_session *session);

/* The reason of OpenSSL's last error, or `otherwise`. Static. Empties the queue of errors. */
const char *mps_tls_reason(const char *otherwise);

#endif
