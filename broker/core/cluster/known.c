#include "known.h"

#include <stdlib.h>
#include <string.h>

#include "sure.h"

/* What all that is known may take. */
#define KNOWN_BYTES_MAX (256u * 1024 * 1024)

/* ---- records -------------------------------------------------------------------------------------------------- */

struct wanted {
    enum shared_kind kind;
    mps_view key;
};

static bool is_wanted(const struct hash_node *node, const void *key)
{
    const struct known_record *known = container_of(node, struct known_record, in_known);
    const struct wanted *wanted = key;
    return known->kind == wanted->kind && mps_view_equal(known_key(known), wanted->key);
}

static uint64_t hash_of(const struct records *records, enum shared_kind kind, mps_view key)
{
    return hash_bytes(records->cluster->broker->seed + kind, key.ptr, key.len);
}

struct known_record *known_find(const struct records *records, enum shared_kind kind, mps_view key)
{
    struct wanted wanted = {kind, key};
    struct hash_node *node = hash_find(&records->known, hash_of(records, kind, key), is_wanted, &wanted);
    return node != NULL ? container_of(node, struct known_record, in_known) : NULL;
}

/* ---- clients -------------------------------------------------------------------------------------------------- */

static bool is_clients(const struct hash_node *node, const void *id)
{
    const struct known_client *client = container_of(node, struct known_client, in_clients);
    return mps_view_equal((mps_view){client->id, client->id_len}, *(const mps_view *)id);
}

struct known_client *known_client_find(const struct records *records, mps_view id)
{
    uint64_t hash = hash_bytes(records->cluster->broker->seed, id.ptr, id.len);
    struct hash_node *node = hash_find(&records->known_clients, hash, is_clients, &id);
    return node != NULL ? container_of(node, struct known_client, in_clients) : NULL;
}

static void join_client(struct records *records, struct known_record *known, mps_view id)
{
    if (known->kind != SHARED_PLACE || id.len == 0) return;
    struct known_client *client = known_client_find(records, id);
    if (client == NULL) {
        client = sure_zeroed(sizeof *client + id.len); /* at most one a record */
        client->id_len = (uint8_t)id.len;
        memcpy(client->id, id.ptr, id.len);
        hash_add(&records->known_clients, &client->in_clients,
                 hash_bytes(records->cluster->broker->seed, id.ptr, id.len));
    }
    known->client = client;
    list_append(&client->places, &known->in_client);
}

static void leave_client(struct records *records, struct known_record *known)
{
    struct known_client *client = known->client;
    if (client == NULL) return;
    list_remove(&client->places, &known->in_client);
    if (client->places.first != NULL) return;
    hash_remove(&records->known_clients, &client->in_clients);
    free(client);
}

/* The client's id, with which the key of a subscription begins; that of a group's does with none. */
static mps_view client_of(mps_view key)
{
    const uint8_t *end = memchr(key.ptr, '\0', key.len);
    bool is_id = end != NULL && end - key.ptr <= MPS_ID_MAX;
    return (mps_view){key.ptr, is_id ? (uint32_t)(end - key.ptr) : 0};
}

/* ---- coming and going ----------------------------------------------------------------------------------------- */

static uint64_t cost(uint32_t key_len, uint32_t value_len)
{
    return sizeof(struct known_record) + sizeof(struct known_client) + MPS_ID_MAX + key_len + value_len;
}

void known_free(struct records *records, struct known_record *known)
{
    records->known_bytes -= cost(known->key_len, known->value_len);
    hash_remove(&records->known, &known->in_known);
    leave_client(records, known);
    timer_cancel(&records->expiries, &known->expiry);
    list_remove(&records->known_all, &known->in_all);
    records->figures.places -= known->kind == SHARED_PLACE;
    free(known);
}

struct known_record *known_set(struct records *records, const struct engine_record *record)
{
    struct known_record *before = known_find(records, (enum shared_kind)record->kind, record->key);
    if (before != NULL) known_free(records, before);
    mps_view key = record->key, value = record->value;
    struct known_record *known = NULL;
    if (records->known_bytes + cost(key.len, value.len) <= KNOWN_BYTES_MAX)
        known = sure_if_small(sizeof *known + key.len + value.len);
    if (known == NULL) {
        log_say(
            records->cluster->broker, EVENT_PLACES_EVICTED, NULL,
            "places of durable subscriptions and groups in shared streams take more than %u bytes: not all are known "
            "here",
            KNOWN_BYTES_MAX);
        return NULL;
    }
    *known = (struct known_record){.kind = (uint8_t)record->kind,
                                   .load = records->load,
                                   .revision = record->revision,
                                   .came_ms = records->cluster->broker->now_ms,
                                   .key_len = key.len,
                                   .value_len = value.len};
    memcpy(known->bytes, key.ptr, key.len);
    memcpy(known->bytes + key.len, value.ptr, value.len);
    timer_init(&known->expiry);
    list_append(&records->known_all, &known->in_all);
    hash_add(&records->known, &known->in_known, hash_of(records, (enum shared_kind)known->kind, key));
    join_client(records, known, client_of(key));
    records->known_bytes += cost(key.len, value.len);
    records->figures.places += known->kind == SHARED_PLACE;
    return known;
}

void known_keep_for(struct records *records, struct known_record *known, uint64_t ms)
{
    timer_set(&records->expiries, &known->expiry, records->cluster->broker->now_ms + ms);
}
