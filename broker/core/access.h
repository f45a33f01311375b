/* Who may do what, as the operator has decided: users, the groups that they are in, and what each group may. Made once, then
 * only read, and shared: sessions that came in under it keep it alive.
 *
 * Patterns are those of the wire, in which %u is the user, %i the client id and %% a '%'. A pattern with %u means nothing to
 * somebody without a name. What is denied in one of somebody's groups is denied, whatever another one allows.
 *
 * One thread. Texts are copied. Small allocations, which end the program when they fail. */
#ifndef BROKER_ACCESS_H
#define BROKER_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "peer.h"
#include "wire.h"

#define ACCESS_NAME_MAX 32       /* bytes of a user's or a group's name */
#define ACCESS_GROUPS_MAX 64     /* groups in all, and groups of one user */
#define ACCESS_USERS_MAX 4096
#define ACCESS_PATTERNS_MAX 1024 /* of one list of a group */

/* What a group may besides publishing and subscribing. */
enum access_right {
    ACCESS_RETAIN = 1,   /* publish retained values, and clear them */
    ACCESS_BLOCK = 2,    /* subscribe with the policy `block`, which holds publishers */
    ACCESS_DURABLE = 4,  /* `durable` subscriptions, and the policy `spill`: both take room on the disk */
    ACCESS_GROUPS = 8,   /* be a member of a group */
    ACCESS_SYS = 16,     /* subscribe below $SYS, ask for reports and traces */
    ACCESS_ADMIN = 32,   /* ask the broker for what it does to streams */
};
#define ACCESS_RIGHTS_COUNT 6
extern const char *const access_right_names[ACCESS_RIGHTS_COUNT + 1]; /* in the order of the bits; then NULL */

enum access_list { ACCESS_PUBLISH, ACCESS_SUBSCRIBE, ACCESS_DENY_PUBLISH, ACCESS_DENY_SUBSCRIBE };
#define ACCESS_LISTS_COUNT 4

struct access_texts {
    char **at;
    size_t count, cap;
};

struct access_group {
    char name[ACCESS_NAME_MAX + 1];
    struct access_texts lists[ACCESS_LISTS_COUNT];
    unsigned rights;             /* of enum access_right */
};

struct access_numbers {
    uint32_t *at;
    size_t count, cap;
};

struct access_user {
    char name[ACCESS_NAME_MAX + 1];
    struct access_texts groups;
    struct access_texts certificates; /* uri:.., dns:.., cn:.., sha256:HEX: whoever shows one of these is this user */
    struct access_numbers uids, gids; /* and who comes over a Unix socket as one of these */
};

struct access {
    uint32_t refs;
    bool restricts;              /* there is a user or a group: what is not granted is refused */
    bool plaintext_passwords;    /* passwords are taken over TCP without TLS, too */
    char default_group[ACCESS_NAME_MAX + 1]; /* of who has no name; "": none */
    char user_group[ACCESS_NAME_MAX + 1];    /* of users that are not in .users; "": none */
    struct access_group **groups;
    size_t groups_count;
    struct access_user **users;
    size_t users_count;
    uint64_t *proofs;            /* what somebody may rest on who proved a name: tokens, passwords */
    size_t proofs_count, proofs_cap;
    bool proofs_sorted;
};

struct access *access_new(void); /* nothing is restricted */
struct access *access_ref(struct access *access);
void access_unref(struct access *access); /* NULL is allowed */
struct access *access_copy(const struct access *access);
bool access_has_certificates(const struct access *access); /* some user is known by one */

/* NULL: there are too many. name: mps_text, valid by access_name_error(). */
struct access_group *access_add_group(struct access *access, const char *name);
struct access_user *access_add_user(struct access *access, const char *name);
struct access_group *access_find_group(const struct access *access, const char *name); /* NULL: there is none */
struct access_user *access_find_user(const struct access *access, const char *name);
void access_add_text(struct access_texts *texts, const char *text);
void access_add_number(struct access_numbers *numbers, uint32_t number);
void access_add_proof(struct access *access, uint64_t proof);
bool access_has_proof(struct access *access, uint64_t proof);

/* Why this can't be a pattern of a group, a name, a certificate's rule. NULL: it can. Static text. */
const char *access_pattern_error(const char *pattern);
const char *access_name_error(const char *name);
const char *access_certificate_error(const char *rule);

/* The user that this peer is without having proved anything: by its certificate, else by its Unix credentials; of several users
 * the first. NULL: none. */
const struct access_user *access_user_of_peer(const struct access *access, const struct peer *peer);

/* ---- what one session may ------------------------------------------------------------------------------------ */

struct grant; /* of one user with one client id, under one struct access */

/* NULL: nothing is restricted. user absent: who has no name. extra: rights besides those of the groups. The caller's. */
struct grant *grant_new(struct access *access, mps_view user, mps_view id, unsigned extra);
struct grant *grant_ref(struct grant *grant); /* NULL is allowed */
void grant_unref(struct grant *grant);        /* NULL is allowed */

/* The topics are valid. The topic that was asked for last is remembered. */
bool grant_publishes(struct grant *grant, mps_view topic);
bool grant_receives(const struct grant *grant, mps_view topic);
bool grant_has(const struct grant *grant, enum access_right right);
/* Whether each topic that a valid pattern matches may be received: it is covered by one pattern that is allowed, and meets none
 * that is denied. */
bool grant_subscribes(const struct grant *grant, mps_view pattern);
/* What would be allowed of a pattern that is not, as the end of a sentence: "'a/b/#' would be allowed". Returns text. */
const char *grant_hint(const struct grant *grant, mps_view pattern, char *text, size_t text_cap);

#endif
