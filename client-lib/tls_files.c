/* Certificates and keys from files. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509err.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tls_openssl.h"

/* Keys are not asked for on a terminal. */
static int no_passphrase(char *at, int cap, int writing, void *user)
{
    (void)at, (void)cap, (void)writing, (void)user;
    return 0;
}

/* What is wrong with a file as a file; NULL: nothing. */
static const char *unreadable(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return strerror(errno);
    close(fd);
    return NULL;
}

static int refuse(const char *what, const char *path, const char *why, char *text, size_t text_cap)
{
    snprintf(text, text_cap, "cannot use %s of '%s': %s", what, path, why);
    ERR_clear_error();
    return PUBSUB_EINVAL;
}

/* OpenSSL's words for a file in which there is nothing to be found say little. */
static const char *load_reason(const char *nothing)
{
    int first = ERR_GET_REASON(ERR_peek_error());
    bool empty = first == 0 || first == PEM_R_NO_START_LINE || first == X509_R_NO_CERTIFICATE_OR_CRL_FOUND;
    const char *reason = mps_tls_reason(nothing);
    return empty ? nothing : reason;
}

/* Lists of revoked certificates are there to be looked at. */
static void use_revocation_lists(X509_STORE *store)
{
    const STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(store);
    for (int i = 0; i < sk_X509_OBJECT_num(objects); i++) {
        if (X509_OBJECT_get_type(sk_X509_OBJECT_value(objects, i)) != X509_LU_CRL) continue;
        X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK);
        return;
    }
}

static int load_trusted(SSL_CTX *context, const char *path, char *text, size_t text_cap)
{
    static const char what[] = "the trusted certificates";
    struct stat st;
    if (path == NULL) {
        if (SSL_CTX_set_default_verify_paths(context) == 1) return PUBSUB_OK;
        return refuse(what, "the system", mps_tls_reason("there is no store"), text, text_cap);
    }
    const char *why = stat(path, &st) != 0 ? strerror(errno) : unreadable(path);
    if (why != NULL) return refuse(what, path, why, text, text_cap);
    bool loaded = S_ISDIR(st.st_mode) ? SSL_CTX_load_verify_dir(context, path) == 1
                                      : SSL_CTX_load_verify_file(context, path) == 1;
    if (!loaded) return refuse(what, path, load_reason("there is none in PEM form"), text, text_cap);
    use_revocation_lists(SSL_CTX_get_cert_store(context));
    return PUBSUB_OK;
}

static int load_own(SSL_CTX *context, const struct pubsub_tls_files *files, char *text, size_t text_cap)
{
    const char *key = files->key != NULL ? files->key : files->certificate;
    const char *why = unreadable(files->certificate);
    if (why == NULL && SSL_CTX_use_certificate_chain_file(context, files->certificate) != 1)
        why = load_reason("there is none in PEM form");
    if (why != NULL) return refuse("the certificate", files->certificate, why, text, text_cap);
    why = unreadable(key);
    if (why == NULL && SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
        why = load_reason("there is none in PEM form, or it is encrypted");
    if (why == NULL && SSL_CTX_check_private_key(context) != 1)
        why = mps_tls_reason("it is that of another certificate");
    if (why != NULL) return refuse("the key", key, why, text, text_cap);
    return PUBSUB_OK;
}

int mps_tls_load(SSL_CTX *context, const struct pubsub_tls_files *files, char *text, size_t text_cap)
{
    SSL_CTX_set_default_passwd_cb(context, no_passphrase);
    int rc = load_trusted(context, files->ca, text, text_cap);
    if (rc != PUBSUB_OK || (files->certificate == NULL && files->key == NULL)) return rc;
    if (files->certificate != NULL) return load_own(context, files, text, text_cap);
    return refuse("the key", files->key, "its certificate is not given", text, text_cap);
}
