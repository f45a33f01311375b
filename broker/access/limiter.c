#include "limiter.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "hash.h"

static uint64_t key_of(const struct limiter *limiter, const void *name, size_t len, uint64_t kind)
{
    return hash_bytes(limiter->seed + kind, name, len) | 1;
}

static uint32_t place_of(uint64_t key)
{
    return (uint32_t)(key >> 32) & (LIMITER_BUCKETS - 1) & ~(uint32_t)(LIMITER_WAYS - 1);
}

/* How many failures it still holds. */
static uint64_t level(const struct limiter *limiter, uint64_t key, uint64_t now_ms)
{
    const struct bucket *ways = &limiter->buckets[place_of(key)];
    for (int i = 0; i < LIMITER_WAYS; i++)
        if (ways[i].key == key && ways[i].empty_ms > now_ms)
            return (ways[i].empty_ms - now_ms + FORGET_MS - 1) / FORGET_MS;
    return 0;
}

static void add(struct limiter *limiter, uint64_t key, uint64_t most, uint64_t now_ms)
{
    struct bucket *ways = &limiter->buckets[place_of(key)], *bucket = ways;
    for (int i = 0; i < LIMITER_WAYS && bucket->key != key; i++)
        if (ways[i].key == key || ways[i].empty_ms < bucket->empty_ms) bucket = &ways[i];
    if (bucket->key != key) *bucket = (struct bucket){.key = key};
    if (bucket->empty_ms < now_ms) bucket->empty_ms = now_ms;
    if (bucket->empty_ms < now_ms + most * FORGET_MS) bucket->empty_ms += FORGET_MS;
}

void limiter_who(const struct peer *peer, char who[PEER_ADDRESS_MAX])
{
    struct in6_addr network;
    if (peer->kind == PEER_UNIX) {
        snprintf(who, PEER_ADDRESS_MAX, "uid:%u", peer->uid);
    } else if (inet_pton(AF_INET6, peer->address, &network) == 1) {
        memset(network.s6_addr + 8, 0, 8);
        inet_ntop(AF_INET6, &network, who, PEER_ADDRESS_MAX);
    } else {
        snprintf(who, PEER_ADDRESS_MAX, "%s", peer->address);
    }
}

bool limiter_allows(const struct limiter *limiter, const char *address, const void *user, size_t user_len,
                    uint64_t now_ms)
{
    uint64_t failed = level(limiter, key_of(limiter, address, strlen(address), 0), now_ms);
    if (failed >= ADDRESS_FAILURES) return false;
    if (failed == 0 || user == NULL) return true;
    return level(limiter, key_of(limiter, user, user_len, 1), now_ms) < USER_FAILURES;
}

void limiter_note_failure(struct limiter *limiter, const char *address, const void *user, size_t user_len,
                          uint64_t now_ms)
{
    add(limiter, key_of(limiter, address, strlen(address), 0), ADDRESS_FAILURES, now_ms);
    if (user != NULL) add(limiter, key_of(limiter, user, user_len, 1), USER_FAILURES, now_ms);
}
