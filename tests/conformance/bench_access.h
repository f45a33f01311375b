/* The access configuration of a bench's broker, as vectors say it, and who vouches for what clients show. */
#ifndef CONFORMANCE_BENCH_ACCESS_H
#define CONFORMANCE_BENCH_ACCESS_H

#include "broker.h"

#define BENCH_SECRETS_MAX 16

struct bench_secret {
    bool is_token;
    char user[ACCESS_NAME_MAX + 1], text[64];
};

struct bench_secrets {
    struct bench_secret at[BENCH_SECRETS_MAX];
    int count;
};

struct bench_access {
    struct access *next;         /* being said; NULL: nothing is */
    struct bench_secrets said, held;
    struct session *asking;      /* about a password; NULL: nobody is */
    struct verdict verdict;      /* what it will be told */
};

/* "group NAME publish=a,b ..", "user NAME groups=a uid=5", "default NAME", "token TEXT USER", "password USER TEXT", and "holds": all
 * since the last one. False: it isn't understood. */
bool bench_access_say(struct bench_access *access, struct broker *broker, const char *words);
enum verify_answer bench_access_verify(struct bench_access *access, struct session *session, const struct proof *proof,
                                       struct verdict *verdict);
void bench_access_forget(struct bench_access *access, struct session *session);
/* Answers what was asked a turn ago. Returns whether there was something. */
bool bench_access_turn(struct bench_access *access);
void bench_access_free(struct bench_access *access);

#endif
