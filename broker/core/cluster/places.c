#include <stdlib.h>
#include <string.h>

#include "claim.h"
#include "identity.h"
#include "known.h"
#include "place_record.h"

/* ---- of a client ---------------------------------------------------------------------------------------------- */

bool shared_cursors_allow(const struct cluster *cluster, mps_view id, mps_view user)
{
    const struct known_client *client = known_client_find(cluster->records, id);
    struct place place;
    for (struct list_node *node = client != NULL ? client->places.first : NULL; node != NULL; node = node->next) {
        const struct known_record *known = container_of(node, struct known_record, in_client);
        if (!place_read(known_value(known), &place) || place.user.len == 0) continue;
        return mps_view_equal(place.user, user);
    }
    return true;
}

void shared_cursors_forget_client(struct cluster *cluster, mps_view client)
{
    struct records *records = cluster->records;
    uint8_t room[STORE_KEY_MAX];
    for (struct known_client *known; (known = known_client_find(records, client)) != NULL;) {
        mps_view key = known_key(container_of(known->places.first, struct known_record, in_client));
        memcpy(room, key.ptr, key.len);
        place_forget(records, (mps_view){room, key.len});
    }
}

/* ---- what the engine tells ---------------------------------------------------------------------------------- */

/* As identities are compared: ptr NULL for nobody. */
static mps_view user_said(const struct place *place)
{
    return place->user.len > 0 ? place->user : (mps_view){NULL, 0};
}

/* Others say where it stands, although it is served here. A subscription's client may be there by now, or was, before
 * the records were known here. */
static void contest(struct shared_cursor *shared, const struct place *place)
{
    if (shared->is_unsure) {
        shared->is_new = true;
        shared_cursor_serve(shared);
    } else if (shared_cursor_is_group(shared) || place->claim <= shared->claim) {
        shared_cursor_say_soon(shared);
    } else if (origin_may_follow(shared->cursor->box->session->origin, user_said(place))) {
        claim_end(shared->cursor->box->session, place->broker, true);
    } /* else two users came with the same id at two brokers at once: each keeps what is its own there */
}

static void take_place(struct records *records, const struct engine_record *record, const struct place *place)
{
    struct cluster *cluster = records->cluster;
    struct broker *broker = cluster->broker;
    struct known_record *known = known_set(records, record);
    struct shared_cursor *shared = shared_cursor_of_key(broker, record->key);
    if (known == NULL) return;
    known->is_named_ours = mps_view_equal(place->broker, mps_text(cluster->name));
    known->is_ours = known->is_named_ours && place->boot == cluster->boot;
    uint64_t life_ms = place->lifetime_s * 1000 + PLACE_GRACE_MS, wall_ms = broker->env->wall_ms(broker->env);
    uint64_t age_ms = wall_ms > place->said_ms ? wall_ms - place->said_ms : 0;
    known_keep_for(records, known, age_ms < life_ms ? life_ms - age_ms : 0);
    claim_note(records, place->claim);
    if (shared == NULL) return;
    if (shared->is_coming) shared_cursor_come(shared);
    else if (shared->is_ours && !known->is_ours) contest(shared, place);
}

void places_on_record(struct records *records, const struct engine_record *record)
{
    struct own_put *own = own_put_find(records, SHARED_PLACE, record->key);
    struct place place;
    if (record->value.ptr != NULL &&
        !(record_is_frame(record->value, PLACE_BYTES_MAX) && place_read(record->value, &place))) {
        record_is_bad(records, record, "it is no place in a stream");
        return;
    }
    if (own != NULL && own_put_judge(records, own, record) == OWN_EARLIER) return; /* it was forgotten here since */
    if (record->value.ptr != NULL) {
        take_place(records, record, &place);
        return;
    }
    struct known_record *known = known_find(records, SHARED_PLACE, record->key);
    if (known != NULL) known_free(records, known);
}

static void drop_untold(struct records *records)
{
    for (struct list_node *node = records->known_all.first, *next; node != NULL; node = next) {
        struct known_record *known = container_of(node, struct known_record, in_all);
        next = node->next;
        if (known->load != records->load) known_free(records, known);
    }
}

void places_on_loaded(struct records *records, bool is_all)
{
    if (is_all) drop_untold(records);
    for (struct list_node *node = records->cursors.first; node != NULL; node = node->next) {
        struct shared_cursor *shared = container_of(node, struct shared_cursor, in_cursors);
        uint8_t room[STORE_KEY_MAX];
        shared->is_unsure = false;
        if (shared->is_coming) shared_cursor_come(shared);
        if (shared_cursor_is_group(shared)) lease_look_soon(shared);
        if (known_find(records, SHARED_PLACE, shared_cursor_key(shared, room)) == NULL) shared_cursor_say_soon(shared);
    }
}

/* ---- what nobody says again ----------------------------------------------------------------------------------- */

/* If it is still the same. */
static void remove_known(struct engine *engine, const struct known_record *known)
{
    engine->put(engine,
                &(struct engine_put){.kind = known->kind, .key = known_key(known), .expected = known->revision});
}

/* Nobody has said it again. It is no more when that is told; else it is tried once more. */
static void expire(struct records *records, struct known_record *known)
{
    struct engine *engine = records->cluster->engine;
    enum shared_kind kind = (enum shared_kind)known->kind;
    const struct shared_cursor *shared = shared_cursor_of_key(records->cluster->broker, known_key(known));
    bool is_used = shared != NULL && (kind == SHARED_LEASE ? shared->is_held : shared->is_ours);
    known_keep_for(records, known, PLACE_GRACE_MS);
    if (is_used || own_put_find(records, kind, known_key(known)) != NULL) return;
    struct known_record *place = known_find(records, SHARED_PLACE, known_key(known));
    if (kind == SHARED_LEASE && lease_is_over(known) && place != NULL) remove_known(engine, place);
    remove_known(engine, known);
}

/* ---- life --------------------------------------------------------------------------------------------------- */

void places_join(struct records *records)
{
    struct broker *broker = records->cluster->broker;
    for (uint32_t i = 0; i < broker->streams_count; i++)
        for (struct list_node *node = broker->streams[i]->readings.first; node != NULL; node = node->next) {
            struct cursor *cursor = container_of(node, struct reading, in_readings)->cursor;
            shared_cursor_begin(cursor);
            if (cursor->shared != NULL) cursor->shared->is_restored = true;
        }
}

void places_say_all(struct records *records)
{
    for (struct list_node *node = records->cursors.first; node != NULL; node = node->next) {
        struct shared_cursor *shared = container_of(node, struct shared_cursor, in_cursors);
        if (shared->is_ours) shared_cursor_say(shared);
        if (shared_cursor_is_group(shared)) lease_give_back(shared);
    }
}

uint64_t places_turn(struct records *records)
{
    uint64_t now_ms = records->cluster->broker->now_ms;
    struct timer *timer;
    while ((timer = timer_take_due(&records->sayings, now_ms)) != NULL)
        shared_cursor_say(container_of(timer, struct shared_cursor, say));
    while ((timer = timer_take_due(&records->expiries, now_ms)) != NULL)
        expire(records, container_of(timer, struct known_record, expiry));
    while ((timer = timer_take_due(&records->looks, now_ms)) != NULL) {
        struct shared_cursor *shared = container_of(timer, struct shared_cursor, look);
        if (shared_cursor_is_group(shared)) lease_look(shared);
        else shared_cursor_serve(shared);
    }
    return least(timer_next_ms(&records->looks),
                 least(timer_next_ms(&records->sayings), timer_next_ms(&records->expiries)));
}

void places_leave(struct records *records)
{
    while (records->cursors.first != NULL)
        shared_cursor_free(container_of(records->cursors.first, struct shared_cursor, in_cursors)->cursor);
    while (records->known_all.first != NULL)
        known_free(records, container_of(records->known_all.first, struct known_record, in_all));
    hash_free(&records->known);
    hash_free(&records->known_clients);
    heap_free(&records->expiries);
    heap_free(&records->sayings);
    heap_free(&records->looks);
}
