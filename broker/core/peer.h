/* Who is at the other end of a connection, as far as the connection itself tells: before anything that it says. */
#ifndef BROKER_PEER_H
#define BROKER_PEER_H

#include <stdbool.h>
#include <stdint.h>

enum peer_kind {
    PEER_NONE,        /* a descriptor of another kind, or a test's: nothing is known */
    PEER_UNIX,        /* .uid and .gid are true */
    PEER_TCP,         /* .address is true, and .is_loopback */
};

#define PEER_ADDRESS_MAX 48   /* bytes of a numeric address without its port, NUL counted */
#define PEER_NAME_MAX 256     /* bytes of a name in a certificate, NUL counted; longer ones count as absent */

/* What a TLS client's certificate says, after it was verified. Texts are UTF-8 without control characters, else absent. */
struct peer_certificate {
    bool is_given;
    char san_uri[PEER_NAME_MAX], san_dns[PEER_NAME_MAX], cn[PEER_NAME_MAX]; /* the first of each; "": absent */
    char fingerprint[65]; /* SHA-256 of the certificate, in lower case hexadecimal digits */
};

struct peer {
    enum peer_kind kind;
    uint32_t uid, gid;
    bool is_loopback;
    bool is_own;      /* PEER_UNIX: a process of the broker's own user or root's */
    bool is_encrypted; /* TLS */
    bool needs_identity; /* nobody may come in here without saying who it is */
    char address[PEER_ADDRESS_MAX];
    const char *listener; /* where it came in: the name of the section, or the URL; lent. NULL: not known */
    struct peer_certificate certificate;
};

#endif
