#include "shared_cursors.h"

#include <stdlib.h>

#include "away.h"
#include "claim.h"
#include "known.h"
#include "place_record.h"
#include "sure.h"

/* A change is said after this, with those that follow it; of a long record at most so much in a ms, but once a second.
 */
#define SAY_MS 50u
#define SAY_BYTES_A_MS 1024u
#define SAY_REST_MS 1000u
/* Who comes waits so long for a last word from where he was: of a broker that may not be there any more; and of one
 * that has said that there is one, or until what there is is known at all. */
#define LAST_WORD_MS 2000u
#define SURE_WORD_MS 5000u
#define WORDS_COUNTED_MAX 256u /* each that waits counts them */
/* A place may be ahead of what is known of its stream here by so many messages: they will come. */
#define AHEAD_MAX 1000000u

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

static void say_at(struct shared_cursor *shared, uint64_t when_ms)
{
    timer_set(&shared->records->sayings, &shared->say, when_ms);
}

void shared_cursor_say(struct shared_cursor *shared)
{
    struct records *records = shared->records;
    struct engine *engine = records->cluster->engine;
    uint64_t now_ms = records->cluster->broker->now_ms;
    uint8_t room[STORE_KEY_MAX];
    if (!cursor_has_begun(shared->cursor)) return; /* when it does, that is said */
    mps_view key = shared_cursor_key(shared, room);
    struct own_put *removal = own_put_find(records, SHARED_PLACE, key);
    if (removal != NULL) own_put_drop(records, removal);
    mps_view value = place_write(shared);
    struct engine_put put = {.kind = SHARED_PLACE, .key = key, .value = value, .expected = ENGINE_PUT_ANYHOW};
    bool is_taken = engine->put(engine, &put);
    shared->rest_ms = now_ms + least(value.len / SAY_BYTES_A_MS, SAY_REST_MS);
    free((uint8_t *)value.ptr);
    say_at(shared, is_taken ? now_ms + (place_lifetime_s(shared) * 1000 + PLACE_GRACE_MS) / 4 : now_ms + SAY_REST_MS);
}

void shared_cursor_say_soon(struct shared_cursor *shared)
{
    uint64_t when_ms = shared->records->cluster->broker->now_ms + SAY_MS;
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
    uint64_t said = place_identity(place, stream->number);
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
        uint64_t said = place_identity(place, stream->number);
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
    return shared_cursor_is_group(shared) || place->user.len == 0 || mps_view_equal(place->user, place_user(shared));
}

/* What is known of where it stands; false: nothing. */
static bool find_place(const struct shared_cursor *shared, const struct known_record **known, struct place *place)
{
    uint8_t room[STORE_KEY_MAX];
    mps_view key = shared_cursor_key(shared, room);
    *known = known_find(shared->records, SHARED_PLACE, key);
    return *known != NULL && own_put_find(shared->records, SHARED_PLACE, key) == NULL &&
           place_read(known_value(*known), place) && is_same_owner(shared, place);
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
    const struct known_client *client = known_client_find(records, (mps_view){heard->id, heard->id_len});
    const struct list_node *node = client != NULL ? client->places.last : NULL;
    uint32_t count = 0;
    struct place place;
    for (uint32_t i = 0; node != NULL && i < WORDS_COUNTED_MAX && count < heard->words; i++, node = node->prev) {
        const struct known_record *known = container_of(node, struct known_record, in_client);
        if (place_read(known_value(known), &place)) count += place.claim >= heard->claim && place.is_left;
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
void shared_cursor_come(struct shared_cursor *shared)
{
    uint64_t now_ms = shared->records->cluster->broker->now_ms;
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
        if (cursor != NULL && cursor->shared != NULL && cursor->shared->is_coming) shared_cursor_come(cursor->shared);
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
        shared_cursor_come(shared);
    }
}

void shared_cursor_back(struct cursor *cursor)
{
    struct shared_cursor *shared = cursor->shared;
    if (!shared_cursor_is_group(shared)) shared_cursor_come(shared);
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
