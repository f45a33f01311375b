/* Places: where the cursors of durable subscriptions and of groups stand in shared streams, as records. [40, broker,
 * boot, claim, time, lifetime, user, pattern, [stream, identity, ..], cursor]: who says so, in which of its lives;
 * which time the client has come to another broker (claim.c), of groups 0; when, as Unix time in ms; for how many s
 * nobody need ask for it; whose it is; the pattern; the streams' identities, without which positions mean nothing; and
 * the cursor as in the store (cursor_keep.c), of shared streams only. */
#include "shared_cursors.h"

#include <stdlib.h>
#include <string.h>

#include "away.h"
#include "claim.h"
#include "identity.h"
#include "sure.h"

/* A change is said after this, with those that follow it; of a long record at most so much in a ms, but once a second.
 */
#define SAY_MS 50u
#define SAY_BYTES_A_MS 1024u
#define SAY_REST_MS 1000u
/* A record goes when nobody has said it again for its lifetime and this. Who serves says it four times in that. */
#define GRACE_MS 600000u
/* Who comes waits so long for a last word from where he was: of a broker that may not be there any more; and of one
 * that has said that there is one, or until what there is is known at all. */
#define LAST_WORD_MS 2000u
#define SURE_WORD_MS 5000u
#define WORDS_COUNTED_MAX 256u /* each that waits counts them */
/* What all that is known may take. */
#define KNOWN_BYTES_MAX (256u * 1024 * 1024)
#define PLACE_BYTES_MAX (1024u * 1024) /* of one */
/* A place may be ahead of what is known of its stream here by so many messages: they will come. */
#define AHEAD_MAX 1000000u

static struct broker *broker_of(const struct records *records)
{
    return records->cluster->broker;
}

/* ---- what is known ------------------------------------------------------------------------------------------ */

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
    return hash_bytes(broker_of(records)->seed + kind, key.ptr, key.len);
}

struct known_record *known_find(const struct records *records, enum shared_kind kind, mps_view key)
{
    struct wanted wanted = {kind, key};
    struct hash_node *node = hash_find(&records->known, hash_of(records, kind, key), is_wanted, &wanted);
    return node != NULL ? container_of(node, struct known_record, in_known) : NULL;
}

static bool is_clients(const struct hash_node *node, const void *id)
{
    const struct known_client *client = container_of(node, struct known_client, in_clients);
    return mps_view_equal((mps_view){client->id, client->id_len}, *(const mps_view *)id);
}

static struct known_client *client_find(const struct records *records, mps_view id)
{
    uint64_t hash = hash_bytes(broker_of(records)->seed, id.ptr, id.len);
    struct hash_node *node = hash_find(&records->known_clients, hash, is_clients, &id);
    return node != NULL ? container_of(node, struct known_client, in_clients) : NULL;
}

static void join_client(struct records *records, struct known_record *known, mps_view id)
{
    if (known->kind != SHARED_PLACE || id.len == 0) return;
    struct known_client *client = client_find(records, id);
    if (client == NULL) {
        client = sure_zeroed(sizeof *client + id.len); /* at most one a record */
        client->id_len = (uint8_t)id.len;
        memcpy(client->id, id.ptr, id.len);
        hash_add(&records->known_clients, &client->in_clients, hash_bytes(broker_of(records)->seed, id.ptr, id.len));
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

/* The client's id, with which the key of a subscription begins; that of a group's does with none. */
static mps_view client_of(mps_view key)
{
    const uint8_t *end = memchr(key.ptr, '\0', key.len);
    bool is_id = end != NULL && end - key.ptr <= MPS_ID_MAX;
    return (mps_view){key.ptr, is_id ? (uint32_t)(end - key.ptr) : 0};
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
            broker_of(records), EVENT_PLACES_EVICTED, NULL,
            "places of durable subscriptions and groups in shared streams take more than %u bytes: not all are known "
            "here",
            KNOWN_BYTES_MAX);
        return NULL;
    }
    *known = (struct known_record){.kind = (uint8_t)record->kind,
                                   .load = records->load,
                                   .revision = record->revision,
                                   .came_ms = broker_of(records)->now_ms,
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
    timer_set(&records->expiries, &known->expiry, broker_of(records)->now_ms + ms);
}

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
    const struct shared_cursor *shared = shared_cursor_of_key(broker_of(records), known_key(known));
    bool is_used = shared != NULL && (kind == SHARED_LEASE ? shared->is_held : shared->is_ours);
    known_keep_for(records, known, GRACE_MS);
    if (is_used || own_put_find(records, kind, known_key(known)) != NULL) return;
    struct known_record *place = known_find(records, SHARED_PLACE, known_key(known));
    if (kind == SHARED_LEASE && lease_is_over(known) && place != NULL) remove_known(engine, place);
    remove_known(engine, known);
}

/* ---- what a place says --------------------------------------------------------------------------------------- */

struct place {
    mps_view broker, user, pattern; /* user.len 0: nobody's */
    bool is_left;
    uint64_t boot, claim, said_ms, lifetime_s;
    mps_view identities; /* an array of streams' numbers and identities, its head not counted */
    uint32_t identities_count;
    mps_view cursor;
};

static bool read_place(mps_view value, struct place *place)
{
    uint32_t fields;
    struct mps_reader r = record_open(value, &fields);
    place->broker = mps_read_text(&r, "broker");
    place->boot = mps_read_uint(&r, MPS_NUMBER_MAX, "boot");
    place->claim = mps_read_uint(&r, CLAIM_MAX, "claim");
    place->said_ms = mps_read_uint(&r, MPS_NUMBER_MAX, "time");
    place->lifetime_s = mps_read_uint(&r, UINT32_MAX, "lifetime");
    place->user = mps_read_text(&r, "user");
    place->pattern = mps_read_text(&r, "pattern");
    place->is_left = mps_read_bool(&r, "left");
    place->identities_count = mps_read_array(&r, "identities");
    place->identities.ptr = r.p;
    for (uint32_t i = 0; i < place->identities_count && r.bad == NULL; i++) mps_read_uint(&r, UINT64_MAX, "identity");
    place->identities.len = (uint32_t)(r.p - place->identities.ptr);
    place->cursor = mps_read_any(&r, "cursor");
    return r.bad == NULL;
}

/* As identities are compared: ptr NULL for nobody. */
static mps_view place_user(const struct place *place)
{
    return place->user.len > 0 ? place->user : (mps_view){NULL, 0};
}

/* Of the stream as it was when that was said; 0: it isn't said. */
static uint64_t identity_said(const struct place *place, uint64_t stream)
{
    struct mps_reader r = mps_reader_open(place->identities);
    for (uint32_t i = 0; i + 1 < place->identities_count; i += 2) {
        uint64_t number = mps_read_uint(&r, UINT64_MAX, "stream"), identity = mps_read_uint(&r, UINT64_MAX, "identity");
        if (r.bad == NULL && number == stream) return identity;
    }
    return 0;
}

/* ---- saying it ----------------------------------------------------------------------------------------------- */

bool shared_cursor_is_group(const struct shared_cursor *shared)
{
    return shared->cursor->box->session == NULL;
}

mps_view shared_cursor_key(const struct shared_cursor *shared, uint8_t room[STORE_KEY_MAX])
{
    return cursor_key(shared->cursor, room);
}

struct shared_cursor *shared_cursor_of_key(const struct broker *broker, mps_view key)
{
    struct cursor *cursor = cursor_of_key(broker, key);
    return cursor != NULL ? cursor->shared : NULL;
}

static uint64_t lifetime_s(const struct shared_cursor *shared)
{
    if (!shared_cursor_is_group(shared)) return shared->cursor->box->session->sess_s;
    return shared->cursor->terms.durable ? shared->cursor->broker->limits.session_max_s : 0;
}

static mps_view user_of(const struct shared_cursor *shared)
{
    const struct session *session = shared->cursor->box->session;
    mps_view user = session != NULL ? origin_user(session->origin) : (mps_view){NULL, 0};
    return user.ptr != NULL ? user : mps_text("");
}

static void put_identities(struct mps_out *out, const struct cursor *cursor)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < cursor->readings_count; i++) count += cursor->readings[i].stream->is_shared;
    mps_put_array(out, 2 * count);
    for (uint32_t i = 0; i < cursor->readings_count; i++) {
        const struct stream *stream = cursor->readings[i].stream;
        if (!stream->is_shared) continue;
        mps_put_uint(out, stream->number);
        mps_put_uint(out, stream->identity);
    }
}

/* The record; memory of its own. */
static mps_view write_place(const struct shared_cursor *shared)
{
    const struct cluster *cluster = shared->records->cluster;
    const struct cursor *cursor = shared->cursor;
    struct env *env = cluster->broker->env;
    mps_view stands = cursor_write(cursor, true, RECORD_VALUES_MAX / 2);
    uint32_t cap = stands.len + 1024 + cursor->readings_count * 18; /* names, user and pattern have at most 351 bytes */
    uint8_t *room = sure_alloc(cap);
    struct mps_out out = mps_out_open(room, cap);
    mps_put_array(&out, 11);
    mps_put_uint(&out, RECORD_OP);
    mps_put_text(&out, mps_text(cluster->name));
    mps_put_uint(&out, cluster->boot);
    mps_put_uint(&out, shared->claim);
    mps_put_uint(&out, env->wall_ms(env) & MPS_NUMBER_MAX);
    mps_put_uint(&out, lifetime_s(shared));
    mps_put_text(&out, user_of(shared));
    mps_put_text(&out, cursor_pattern(cursor));
    mps_put_bool(&out, shared->is_left);
    put_identities(&out, cursor);
    mps_put_raw(&out, stands);
    free((uint8_t *)stands.ptr);
    return mps_out_view(&out);
}

static void say_at(struct shared_cursor *shared, uint64_t when_ms)
{
    timer_set(&shared->records->sayings, &shared->say, when_ms);
}

void shared_cursor_say(struct shared_cursor *shared)
{
    struct records *records = shared->records;
    struct engine *engine = records->cluster->engine;
    uint64_t now_ms = broker_of(records)->now_ms;
    uint8_t room[STORE_KEY_MAX];
    if (!cursor_has_begun(shared->cursor)) return; /* when it does, that is said */
    mps_view key = shared_cursor_key(shared, room);
    struct own_put *removal = own_put_find(records, SHARED_PLACE, key);
    if (removal != NULL) own_put_drop(records, removal);
    mps_view value = write_place(shared);
    struct engine_put put = {.kind = SHARED_PLACE, .key = key, .value = value, .expected = ENGINE_PUT_ANYHOW};
    bool is_taken = engine->put(engine, &put);
    shared->rest_ms = now_ms + least(value.len / SAY_BYTES_A_MS, SAY_REST_MS);
    free((uint8_t *)value.ptr);
    say_at(shared, is_taken ? now_ms + (lifetime_s(shared) * 1000 + GRACE_MS) / 4 : now_ms + SAY_REST_MS);
}

void shared_cursor_say_soon(struct shared_cursor *shared)
{
    uint64_t when_ms = broker_of(shared->records)->now_ms + SAY_MS;
    if (when_ms < shared->rest_ms) when_ms = shared->rest_ms;
    if (shared->is_ours && when_ms < shared->say.when_ms) say_at(shared, when_ms);
}

void shared_cursor_moved(struct cursor *cursor)
{
    shared_cursor_say_soon(cursor->shared);
}

/* ---- going on from it ---------------------------------------------------------------------------------------- */

/* Of what was made anew since, everything is new; what is behind its end is not there. */
static void fit_stream(struct reading *reading, const struct place *place)
{
    const struct stream *stream = reading->stream;
    uint64_t said = identity_said(place, stream->number);
    if (!stream->is_shared || !stream->is_known) return;
    if (said != 0 && said != stream->identity) {
        cursor_restart(reading->cursor, reading);
    } else if (reading->next > stream->next + AHEAD_MAX) {
        pending_cut(reading, stream->next);
        reading->next = reading->sent = stream->next;
    }
}

/* Whether none of the streams is the one that it was. */
static bool is_of_others(const struct cursor *cursor, const struct place *place)
{
    uint32_t others = 0, same = 0;
    for (uint32_t i = 0; i < cursor->readings_count; i++) {
        const struct stream *stream = cursor->readings[i].stream;
        uint64_t said = identity_said(place, stream->number);
        if (!stream->is_shared || said == 0) continue;
        if (stream->is_known && said != stream->identity) others++;
        else same++;
    }
    return others > 0 && same == 0;
}

static void go_to(struct shared_cursor *shared, const struct place *place)
{
    struct cursor *cursor = shared->cursor;
    if (shared->is_restored && is_of_others(cursor, place)) return; /* as it was told when the stream was known */
    cursor_take_all_back(cursor);
    for (uint32_t i = 0; i < cursor->readings_count; i++) reading_stop_waiting(&cursor->readings[i]);
    cursor_restore(cursor, place->cursor);
    for (uint32_t i = 0; i < cursor->readings_count; i++) fit_stream(&cursor->readings[i], place);
    cursor_changed(cursor);
    cursor_dirty(cursor);
}

/* The client's, for the same pattern; of who came without a name, anybody's. */
static bool is_same_owner(const struct shared_cursor *shared, const struct place *place)
{
    if (!mps_view_equal(place->pattern, cursor_pattern(shared->cursor))) return false;
    return shared_cursor_is_group(shared) || place->user.len == 0 || mps_view_equal(place->user, user_of(shared));
}

/* What is known of where it stands; false: nothing. */
static bool find_place(const struct shared_cursor *shared, const struct known_record **known, struct place *place)
{
    uint8_t room[STORE_KEY_MAX];
    mps_view key = shared_cursor_key(shared, room);
    *known = known_find(shared->records, SHARED_PLACE, key);
    return *known != NULL && own_put_find(shared->records, SHARED_PLACE, key) == NULL &&
           read_place(known_value(*known), place) && is_same_owner(shared, place);
}

void shared_cursor_take_place(struct shared_cursor *shared, bool may_go_on)
{
    struct records *records = shared->records;
    const struct known_record *known;
    struct place place;
    bool is_there = find_place(shared, &known, &place);
    bool is_newer = is_there && (shared->is_new || !known->is_ours); /* than what the cursor has */
    if (is_newer && may_go_on) go_to(shared, &place);
    shared->is_unsure = !is_there && !records->is_loaded;
    if (!shared_cursor_is_group(shared)) {
        struct session *session = shared->cursor->box->session;
        if (is_there && session->claim <= place.claim) session->claim = claim_next(records);
        shared->claim = session->claim;
    }
    shared->is_ours = true;
    shared->is_new = shared->is_restored = shared->is_left = false;
}

void shared_cursor_serve(struct shared_cursor *shared)
{
    timer_cancel(&shared->records->looks, &shared->look);
    shared->is_coming = false;
    shared->cursor->served_until_ms = UINT64_MAX;
    shared_cursor_take_place(shared, true);
    shared_cursor_say(shared);
    cursor_dirty(shared->cursor);
}

/* All of the client's places that were to be said for the last time where it was with that claim, have been; as far as
 * those that came last show that. */
static bool have_words_come(const struct records *records, const struct heard_claim *heard)
{
    const struct known_client *client = client_find(records, (mps_view){heard->id, heard->id_len});
    const struct list_node *node = client != NULL ? client->places.last : NULL;
    uint32_t count = 0;
    struct place place;
    for (uint32_t i = 0; node != NULL && i < WORDS_COUNTED_MAX && count < heard->words; i++, node = node->prev) {
        const struct known_record *known = container_of(node, struct known_record, in_client);
        if (read_place(known_value(known), &place)) count += place.claim >= heard->claim && place.is_left;
    }
    return count >= heard->words;
}

/* How long to wait, since it began to, for the last word of the broker where it was. That is one that may still answer
 * that it has had the client, the one that has claimed it before, or the one that the record names. Before the records
 * are known, anyone. */
static uint64_t wait_ms(const struct shared_cursor *shared)
{
    const struct records *records = shared->records;
    const struct session *session = shared->cursor->box->session;
    const struct heard_claim *heard = claim_heard(records, session->id);
    const struct known_record *known;
    struct place place;
    bool is_there = find_place(shared, &known, &place);
    if (!records->is_loaded) return SURE_WORD_MS;
    if (claim_is_asked(records, session->id)) return LAST_WORD_MS;
    if (heard != NULL && heard->claim < session->claim) {
        bool is_since = is_there && place.claim >= heard->claim;
        bool is_word_due = heard->is_told && !(is_since && place.is_left);
        if (is_word_due && !have_words_come(records, heard)) return SURE_WORD_MS;
        if (!heard->is_told && !is_since) return heard->from->is_present ? LAST_WORD_MS : 0;
    }
    if (!is_there || known->is_named_ours || place.is_left) return 0;
    const struct neighbour *there = cluster_find(records->cluster, place.broker);
    return there != NULL && there->is_present ? LAST_WORD_MS : 0;
}

/* Its client is here. */
static void come(struct shared_cursor *shared)
{
    uint64_t now_ms = broker_of(shared->records)->now_ms;
    if (!shared->is_coming) shared->come_ms = now_ms;
    uint64_t until_ms = shared->come_ms + wait_ms(shared);
    if (until_ms <= now_ms) {
        shared_cursor_serve(shared);
        return;
    }
    shared->is_coming = true;
    shared->is_left = false;
    shared->cursor->served_until_ms = 0;
    timer_set(&shared->records->looks, &shared->look, until_ms);
}

void shared_cursors_answered(struct session *session)
{
    for (struct hash_node *node = hash_first(&session->subs); node != NULL; node = hash_next(&session->subs, node)) {
        struct cursor *cursor = container_of(node, struct subscription, in_subs)->box.cursor;
        if (cursor != NULL && cursor->shared != NULL && cursor->shared->is_coming) come(cursor->shared);
    }
}

void shared_cursor_left(struct cursor *cursor)
{
    struct shared_cursor *shared = cursor->shared;
    if (shared->is_coming) {
        timer_cancel(&shared->records->looks, &shared->look);
        shared->is_coming = false;
    }
    if (!shared->is_ours || shared->is_left || shared_cursor_is_group(shared)) return;
    shared->is_left = true;
    shared_cursor_say(shared);
}

static void let_go(struct subscription *sub, void *arg)
{
    (void)arg;
    cursor_release(sub);
}

void shared_cursor_stop(struct shared_cursor *shared)
{
    shared->is_ours = false;
    timer_cancel(&shared->records->sayings, &shared->say);
    if (shared_cursor_is_group(shared)) group_each(container_of(shared->cursor->box, struct group, box), let_go, NULL);
}

/* ---- coming and going --------------------------------------------------------------------------------------- */

static bool reads_shared(const struct cursor *cursor)
{
    for (uint32_t i = 0; i < cursor->readings_count; i++)
        if (cursor->readings[i].stream->is_shared) return true;
    return false;
}

void shared_cursor_begin(struct cursor *cursor)
{
    struct records *records = cursor->broker->cluster->records;
    bool is_group = cursor->box->session == NULL;
    if (cursor->shared != NULL || !reads_shared(cursor) || (!is_group && !cursor->terms.durable)) return;
    struct shared_cursor *shared = cursor->shared = sure_zeroed(sizeof *shared); /* small, as subscriptions are */
    *shared = (struct shared_cursor){.records = records, .cursor = cursor, .is_new = true};
    timer_init(&shared->say);
    timer_init(&shared->look);
    list_append(&records->cursors, &shared->in_cursors);
    if (is_group) {
        cursor->served_until_ms = 0;
        lease_look_soon(shared);
    } else if (cursor->box->session->state != SESSION_AWAY) { /* else the client may be elsewhere */
        come(shared);
    }
}

void shared_cursor_back(struct cursor *cursor)
{
    struct shared_cursor *shared = cursor->shared;
    if (!shared_cursor_is_group(shared)) come(shared);
}

void place_forget(struct records *records, mps_view key)
{
    struct known_record *known = known_find(records, SHARED_PLACE, key);
    if (known != NULL) known_free(records, known);
    own_put_make(records, SHARED_PLACE, key, (mps_view){NULL, 0}, ENGINE_PUT_ANYHOW);
}

void shared_cursor_forget(struct cursor *cursor)
{
    struct shared_cursor *shared = cursor->shared;
    uint8_t room[STORE_KEY_MAX];
    if (shared_cursor_is_group(shared)) {
        lease_forget(shared);
    } else if (shared->is_ours) {
        place_forget(shared->records, shared_cursor_key(shared, room));
        shared_cursor_stop(shared);
    }
}

void shared_cursor_retire(struct cursor *cursor)
{
    lease_leave(cursor->shared);
}

void shared_cursor_free(struct cursor *cursor)
{
    struct shared_cursor *shared = cursor->shared;
    struct records *records = shared->records;
    if (shared->is_held) records->figures.leases--;
    list_remove(&records->cursors, &shared->in_cursors);
    timer_cancel(&records->sayings, &shared->say);
    timer_cancel(&records->looks, &shared->look);
    cursor->shared = NULL;
    cursor->served_until_ms = UINT64_MAX;
    free(shared);
}

void shared_cursor_look(struct cursor *cursor)
{
    lease_look_soon(cursor->shared);
}

bool shared_cursors_allow(const struct cluster *cluster, mps_view id, mps_view user)
{
    const struct known_client *client = client_find(cluster->records, id);
    struct place place;
    for (struct list_node *node = client != NULL ? client->places.first : NULL; node != NULL; node = node->next) {
        const struct known_record *known = container_of(node, struct known_record, in_client);
        if (!read_place(known_value(known), &place) || place.user.len == 0) continue;
        return mps_view_equal(place.user, user);
    }
    return true;
}

void shared_cursors_forget_client(struct cluster *cluster, mps_view client)
{
    struct records *records = cluster->records;
    uint8_t room[STORE_KEY_MAX];
    for (struct known_client *known; (known = client_find(records, client)) != NULL;) {
        mps_view key = known_key(container_of(known->places.first, struct known_record, in_client));
        memcpy(room, key.ptr, key.len);
        place_forget(records, (mps_view){room, key.len});
    }
}

/* ---- what the engine tells ---------------------------------------------------------------------------------- */

/* Others say where it stands, although it is served here. A subscription's client may be there by now, or was, before
 * the records were known here. */
static void contest(struct shared_cursor *shared, const struct place *place)
{
    if (shared->is_unsure) {
        shared->is_new = true;
        shared_cursor_serve(shared);
    } else if (shared_cursor_is_group(shared) || place->claim <= shared->claim) {
        shared_cursor_say_soon(shared);
    } else if (origin_may_follow(shared->cursor->box->session->origin, place_user(place))) {
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
    uint64_t life_ms = place->lifetime_s * 1000 + GRACE_MS, wall_ms = broker->env->wall_ms(broker->env);
    uint64_t age_ms = wall_ms > place->said_ms ? wall_ms - place->said_ms : 0;
    known_keep_for(records, known, age_ms < life_ms ? life_ms - age_ms : 0);
    claim_note(records, place->claim);
    if (shared == NULL) return;
    if (shared->is_coming) come(shared);
    else if (shared->is_ours && !known->is_ours) contest(shared, place);
}

void places_on_record(struct records *records, const struct engine_record *record)
{
    struct own_put *own = own_put_find(records, SHARED_PLACE, record->key);
    struct place place;
    if (record->value.ptr != NULL &&
        !(record_is_frame(record->value, PLACE_BYTES_MAX) && read_place(record->value, &place))) {
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

/* is_all: what was not told is no more. */
void places_on_loaded(struct records *records, bool is_all)
{
    if (is_all) drop_untold(records);
    for (struct list_node *node = records->cursors.first; node != NULL; node = node->next) {
        struct shared_cursor *shared = container_of(node, struct shared_cursor, in_cursors);
        uint8_t room[STORE_KEY_MAX];
        shared->is_unsure = false;
        if (shared->is_coming) come(shared);
        if (shared_cursor_is_group(shared)) lease_look_soon(shared);
        if (known_find(records, SHARED_PLACE, shared_cursor_key(shared, room)) == NULL) shared_cursor_say_soon(shared);
    }
}

/* ---- life --------------------------------------------------------------------------------------------------- */

void places_join(struct records *records)
{
    struct broker *broker = broker_of(records);
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
    uint64_t now_ms = broker_of(records)->now_ms;
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
