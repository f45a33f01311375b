#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "tls.h"
#include "wire.h"

/* A name that holds what names don't is none: whoever signs it may know how to read it, rules about names don't. */
static bool note_text(char noted[PEER_NAME_MAX], const unsigned char *bytes, int len)
{
    mps_view text = {bytes, len > 0 ? (uint32_t)len : 0};
    if (text.len == 0 || text.len >= PEER_NAME_MAX || !mps_utf8_valid(text)) return false;
    for (uint32_t i = 0; i < text.len; i++) {
        bool is_c1 = bytes[i] == 0xc2 && i + 1 < text.len && bytes[i + 1] < 0xa0; /* U+0080 to U+009F */
        if (bytes[i] < ' ' || bytes[i] == 0x7f || is_c1) return false;
    }
    memcpy(noted, bytes, text.len);
    noted[text.len] = '\0';
    return true;
}

/* The first of this kind, if it is a good one: a bad first one does not let the second one in. */
static void note_alternative(char noted[PEER_NAME_MAX], const GENERAL_NAMES *names, int kind)
{
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        int found;
        const ASN1_STRING *text = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &found);
        if (found != kind) continue;
        note_text(noted, ASN1_STRING_get0_data(text), ASN1_STRING_length(text));
        return;
    }
}

static void note_common_name(char noted[PEER_NAME_MAX], X509 *certificate)
{
    X509_NAME *subject = X509_get_subject_name(certificate);
    int index = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    unsigned char *utf8 = NULL;
    if (index < 0) return;
    int len = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, index)));
    if (len >= 0) note_text(noted, utf8, len);
    OPENSSL_free(utf8);
}

void tls_note_certificate(struct peer_certificate *noted, X509 *certificate)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    *noted = (struct peer_certificate){.is_given = true};
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    if (names != NULL) {
        note_alternative(noted->san_uri, names, GEN_URI);
        note_alternative(noted->san_dns, names, GEN_DNS);
        GENERAL_NAMES_free(names);
    }
    note_common_name(noted->cn, certificate);
    if (X509_digest(certificate, EVP_sha256(), digest, &len) != 1) len = 0;
    for (unsigned i = 0; i < len && i < 32; i++) snprintf(noted->fingerprint + 2 * i, 3, "%02x", digest[i]);
}

void tls_peer(const struct tls *tls, struct peer *peer)
{
    peer->is_encrypted = true;
    X509 *certificate = SSL_get0_peer_certificate(tls->ssl);
    if (certificate != NULL && SSL_get_verify_result(tls->ssl) == X509_V_OK)
        tls_note_certificate(&peer->certificate, certificate);
}
