/* What is taken note of in a client's certificate. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "tls.h"

/* A certificate with this subject's CN (NULL: none), and alternative names in their order. */
struct name {
    int kind; /* GEN_URI, GEN_DNS */
    const char *bytes;
    int len; /* -1: up to its NUL */
};

static void add_names(X509 *certificate, const struct name *names, size_t count)
{
    GENERAL_NAMES *all = GENERAL_NAMES_new();
    for (size_t i = 0; i < count; i++) {
        GENERAL_NAME *name = GENERAL_NAME_new();
        ASN1_IA5STRING *text = ASN1_IA5STRING_new();
        assert_int_equal(ASN1_STRING_set(text, names[i].bytes, names[i].len), 1);
        GENERAL_NAME_set0_value(name, names[i].kind, text);
        sk_GENERAL_NAME_push(all, name);
    }
    assert_int_equal(X509_add1_ext_i2d(certificate, NID_subject_alt_name, all, 0, 0), 1);
    GENERAL_NAMES_free(all);
}

static struct peer_certificate noted(const char *cn, int cn_len, const struct name *names, size_t count)
{
    struct peer_certificate result;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    if (cn != NULL)
        X509_NAME_add_entry_by_NID(X509_get_subject_name(certificate), NID_commonName, V_ASN1_UTF8STRING,
                                   (const unsigned char *)cn, cn_len, -1, 0);
    if (count > 0) add_names(certificate, names, count);
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 60);
    X509_set_pubkey(certificate, key);
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    memset(&result, 'x', sizeof result);
    tls_note_certificate(&result, certificate);
    unsigned char digest[32];
    char digits[65];
    assert_int_equal(X509_digest(certificate, EVP_sha256(), digest, NULL), 1);
    for (int i = 0; i < 32; i++) sprintf(digits + 2 * i, "%02x", digest[i]);
    assert_string_equal(result.fingerprint, digits);
    assert_true(result.is_given);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return result;
}

static void assert_noted(const struct peer_certificate *certificate, const char *uri, const char *dns, const char *cn)
{
    assert_string_equal(certificate->san_uri, uri);
    assert_string_equal(certificate->san_dns, dns);
    assert_string_equal(certificate->cn, cn);
}

static void the_first_of_each(void **state)
{
    (void)state;
    const struct name names[] = {{GEN_DNS, "one.example", -1},
                                 {GEN_URI, "spiffe://one", -1},
                                 {GEN_DNS, "two.example", -1},
                                 {GEN_URI, "spiffe://two", -1}};
    struct peer_certificate certificate = noted("J\xc3\xb6rg", -1, names, 4);
    assert_noted(&certificate, "spiffe://one", "one.example", "J\xc3\xb6rg");
    certificate = noted(NULL, 0, names, 1);
    assert_noted(&certificate, "", "one.example", "");
    certificate = noted(NULL, 0, NULL, 0);
    assert_noted(&certificate, "", "", "");
}

/* Absent, and the next one doesn't come in its place. */
static void names_that_are_none(void **state)
{
    (void)state;
    char longest[PEER_NAME_MAX], longer[PEER_NAME_MAX + 1];
    memset(longest, 'a', sizeof longest);
    memset(longer, 'a', sizeof longer);
    longest[PEER_NAME_MAX - 1] = longer[PEER_NAME_MAX] = '\0';
    const struct {
        const char *bytes;
        int len;
        const char *noted;
    } cases[] = {
        {"a.example\0.evil.example", 23, ""},
        {"new\nline", -1, ""},
        {"del\x7f", -1, ""},
        {"\xff", -1, ""},
        {"", 0, ""},
        {"c1\xc2\x9b", -1, ""},
        {longest, -1, longest},
        {longer, -1, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct name names[] = {{GEN_DNS, cases[i].bytes, cases[i].len}, {GEN_DNS, "next.example", -1}};
        struct peer_certificate certificate = noted(NULL, 0, names, 2);
        assert_noted(&certificate, "", cases[i].noted, "");
    }
    struct peer_certificate certificate = noted("a\nb", -1, NULL, 0);
    assert_noted(&certificate, "", "", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_of_each),
        cmocka_unit_test(names_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
