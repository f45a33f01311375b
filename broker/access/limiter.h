/* How often somebody has failed lately: a bucket for each address and for each user, that fills with failures and runs empty by
 * and by. Bounded: when there are too many, those that are nearly empty make room. One thread. */
#ifndef BROKER_ACCESS_LIMITER_H
#define BROKER_ACCESS_LIMITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "peer.h"

#define LIMITER_BUCKETS 4096 /* a power of two */
#define LIMITER_WAYS 8       /* places of one key */
#define ADDRESS_FAILURES 10  /* at once; then one more every */
#define USER_FAILURES 20
#define FORGET_MS 2000u

struct bucket {
    uint64_t key;            /* 0: none */
    uint64_t empty_ms;       /* when it will have run empty */
};

struct limiter {
    uint64_t seed;           /* random */
    struct bucket buckets[LIMITER_BUCKETS];
};

/* Who is counted as one: a Unix socket's peer is its user, and an IPv6 peer its network of 64 bits, as anybody has all of one. */
void limiter_who(const struct peer *peer, char who[PEER_ADDRESS_MAX]);
/* Whether an attempt may be made. A user's failures count only against addresses that have failed, too: else anybody could keep
 * somebody out. user may be NULL. */
bool limiter_allows(const struct limiter *limiter, const char *address, const void *user, size_t user_len,
                    uint64_t now_ms);
void limiter_note_failure(struct limiter *limiter, const char *address, const void *user, size_t user_len,
                          uint64_t now_ms);

#endif
