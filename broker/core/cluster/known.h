/* What is known of the records of places and of leases: each as it was told last, and which of them are a client's. Memory
 * of its own, up to a bound for all together. Thread: the core's. Internal to cluster/. */
#ifndef CLUSTER_KNOWN_H
#define CLUSTER_KNOWN_H

#include "records_parts.h"

/* A record of somebody's place, or of a lease, as it was told last. */
struct known_record {
    struct hash_node in_known;   /* by kind and key */
    struct list_node in_all;     /* of records */
    struct known_client *client; /* whose it is; NULL: a group's */
    struct list_node in_client;  /* of that */
    struct timer expiry;         /* in records.expiries: nobody has renewed it for too long */
    uint64_t revision;
    uint64_t came_ms;            /* when that was told; monotonic */
    uint8_t kind, load;
    bool is_ours;                /* this broker put it, in this life */
    bool is_named_ours;          /* or in an earlier one */
    uint32_t key_len, value_len;
    uint8_t bytes[];             /* key, then value, which was scanned */
};

/* A client of which places are known. */
struct known_client {
    struct hash_node in_clients; /* records.known_clients */
    struct list places;          /* struct known_record, at least one */
    uint8_t id_len;
    uint8_t id[];
};

struct known_record *known_find(const struct records *records, enum shared_kind kind, mps_view key); /* NULL: none */
struct known_client *known_client_find(const struct records *records, mps_view id);                  /* likewise */
/* What the record says now. Returns it; NULL: there is too much. */
struct known_record *known_set(struct records *records, const struct engine_record *record);
void known_free(struct records *records, struct known_record *known);
/* It is looked at again then (places.c), unless it is told again before. */
void known_keep_for(struct records *records, struct known_record *known, uint64_t ms);
static inline mps_view known_key(const struct known_record *known)
{
    return (mps_view){known->bytes, known->key_len};
}
static inline mps_view known_value(const struct known_record *known)
{
    return (mps_view){known->bytes + known->key_len, known->value_len};
}

#endif
