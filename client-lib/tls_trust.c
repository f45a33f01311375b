/* Whom a session trusts, and in which words it says why it does not. */
#include <arpa/inet.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tls_openssl.h"

#define NAME_MAX_BYTES 64
#define NAMES_MAX_BYTES 160

/* A clause that grows as far as there is room. */
struct clause {
    char *at;
    size_t cap, len;
};

__attribute__((format(printf, 2, 3))) static void add(struct clause *clause, const char *format, ...)
{
    va_list args;
    if (clause->len + 1 >= clause->cap) return;
    va_start(args, format);
    int n = vsnprintf(clause->at + clause->len, clause->cap - clause->len, format, args);
    va_end(args);
    clause->len += n < 0 ? 0 : (size_t)n;
}

/* What others wrote into a certificate: only what a terminal shows as one letter. */
static void copy_plain(char *to, size_t cap, const unsigned char *from, int len)
{
    size_t at = 0;
    for (int i = 0; i < len && at + 1 < cap; i++) to[at++] = from[i] > ' ' - 1 && from[i] < 127 ? (char)from[i] : '?';
    to[at] = '\0';
}

/* ---- names ---------------------------------------------------------------------------------------------------- */

static void common_name(const X509_NAME *name, char *text, size_t cap)
{
    const X509_NAME_ENTRY *entry = NULL;
    int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    if (at < 0) at = X509_NAME_entry_count(name) - 1;
    if (at >= 0) entry = X509_NAME_get_entry(name, at);
    const ASN1_STRING *value = entry != NULL ? X509_NAME_ENTRY_get_data(entry) : NULL;
    if (value != NULL) copy_plain(text, cap, ASN1_STRING_get0_data(value), ASN1_STRING_length(value));
    else snprintf(text, cap, "(nameless)");
}

/* One subject alternative name. False: it is none that a host could have. */
static bool read_name(const GENERAL_NAME *name, char *text, size_t cap)
{
    int type;
    const ASN1_STRING *value = GENERAL_NAME_get0_value(name, &type);
    if (type != GEN_DNS && type != GEN_IPADD) return false;
    const unsigned char *bytes = ASN1_STRING_get0_data(value);
    int len = ASN1_STRING_length(value);
    if (type == GEN_DNS) copy_plain(text, cap, bytes, len);
    else if (len == 4 || len == 16)
        return inet_ntop(len == 4 ? AF_INET : AF_INET6, bytes, text, (socklen_t)cap) != NULL;
    return type == GEN_DNS;
}

/* Whom the certificate is for, as far as there is room. */
static void list_names(X509 *certificate, char *text, size_t cap)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    struct clause list = {.at = text, .cap = cap};
    char name[NAME_MAX_BYTES];
    text[0] = '\0';
    for (int i = 0; names != NULL && i < sk_GENERAL_NAME_num(names); i++) {
        if (!read_name(sk_GENERAL_NAME_value(names, i), name, sizeof name)) continue;
        if (list.len + strlen(name) + sizeof ", and more" >= cap) {
            add(&list, ", and more");
            break;
        }
        add(&list, "%s%s", list.len > 0 ? ", " : "", name);
    }
    if (list.len == 0) add(&list, "no host at all");
    GENERAL_NAMES_free(names);
}

/* ---- words ---------------------------------------------------------------------------------------------------- */

static void add_time(struct clause *clause, const ASN1_TIME *time)
{
    struct tm tm;
    char text[40] = "(unknown)";
    if (time != NULL && ASN1_TIME_to_tm(time, &tm) == 1) strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &tm);
    add(clause, "%s", text);
}

static void add_issuer(struct clause *clause, X509 *certificate)
{
    char name[NAME_MAX_BYTES];
    common_name(X509_get_issuer_name(certificate), name, sizeof name);
    add(clause, "'%s'", name);
}

static void describe(struct mps_tls_session *session, X509 *certificate, int error, int depth)
{
    struct clause why = {.at = session->why, .cap = sizeof session->why};
    char names[NAMES_MAX_BYTES];
    add(&why, "%s", depth == 0 ? "its certificate" : "a certificate over its own");
    switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        add(&why, " expired on ");
        add_time(&why, X509_get0_notAfter(certificate));
        return;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        add(&why, " is not valid before ");
        add_time(&why, X509_get0_notBefore(certificate));
        return;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        list_names(certificate, names, sizeof names);
        add(&why, " is not for '%.*s', but for %s", NAME_MAX_BYTES, session->host, names);
        return;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        add(&why, " is self-signed and not among those that are trusted");
        return;
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        add(&why, " was issued by ");
        add_issuer(&why, certificate);
        add(&why, ", which is not trusted");
        return;
    case X509_V_ERR_CERT_REVOKED:
        add(&why, " was revoked by ");
        add_issuer(&why, certificate);
        return;
    case X509_V_ERR_UNABLE_TO_GET_CRL:
        add(&why, " is in no list that says what is revoked: there is none of its issuer, ");
        add_issuer(&why, certificate);
        return;
    }
    add(&why, " is not accepted: %s", X509_verify_cert_error_string(error));
}

/* Called for each certificate and each thing that is wrong; the first is told. */
static int verify(int fine, X509_STORE_CTX *context)
{
    if (fine) return 1;
    SSL *ssl = X509_STORE_CTX_get_ex_data(context, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct mps_tls_session *session = SSL_get_app_data(ssl);
    X509 *certificate = X509_STORE_CTX_get_current_cert(context);
    session->untrusted = true;
    if (certificate != NULL)
        describe(session, certificate, X509_STORE_CTX_get_error(context), X509_STORE_CTX_get_error_depth(context));
    else snprintf(session->why, sizeof session->why, "its certificate is not accepted");
    return 0;
}

bool mps_tls_trust_only_host(struct mps_tls_session *session)
{
    X509_VERIFY_PARAM *terms = SSL_get0_param(session->ssl);
    struct in6_addr address;
    char *zone = strchr(session->host, '%'); /* of an IPv6 address: what it is called on this machine */
    if (zone != NULL) *zone = '\0';
    bool is_address =
        inet_pton(AF_INET, session->host, &address) == 1 || inet_pton(AF_INET6, session->host, &address) == 1;
    SSL_set_verify(session->ssl, SSL_VERIFY_PEER, verify);
    X509_VERIFY_PARAM_set_hostflags(terms, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    if (is_address) return X509_VERIFY_PARAM_set1_ip_asc(terms, session->host) == 1;
    return X509_VERIFY_PARAM_set1_host(terms, session->host, 0) == 1 &&
           SSL_set_tlsext_host_name(session->ssl, session->host) == 1;
}
