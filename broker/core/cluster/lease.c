/* A group that reads shared streams has members at several brokers, and one of these hands out: who holds the lease, a
 * record that it renews. The others stand by, and try to take the lease when it was given back, or was not renewed for
 * long enough. A lease is held from the moment at which it was asked for, and shorter than the others wait from when
 * they heard of that: so no two hand out at a time, as long as their monotonic clocks go equally fast. */
#include <string.h>

#include "shared_cursors.h"
#include "sure.h"

#define RENEW_MS 2000u
#define HELD_MS 7000u        /* from being asked for */
#define FREE_MS 8000u        /* from being heard of, without being renewed */
#define FORGOTTEN_MS 600000u /* likewise: the record goes */
/* The place of a group that isn't durable is of use only so long after somebody served it. */
#define FRESH_MS 20000u
#define CLOCKS_APART_MS 60000u
#define ASK_AGAIN_MS 500u
#define OVER_MS 10000u /* so long is there still a lease and a place that nobody is to go on from but who stands by */

#define LEASE_MAX (ENGINE_NAME_MAX + 64u) /* bytes of a record */

static struct broker *broker_of(const struct shared_cursor *shared)
{
    return shared->records->cluster->broker;
}

static struct group *group_of(const struct shared_cursor *shared)
{
    return container_of(shared->cursor->box, struct group, box);
}

static void look_at(struct shared_cursor *shared, uint64_t when_ms)
{
    timer_set(&shared->records->looks, &shared->look, when_ms);
}

void lease_look_soon(struct shared_cursor *shared)
{
    look_at(shared, broker_of(shared)->now_ms);
}

/* ---- the record --------------------------------------------------------------------------------------------- */

/* Numbers of the record. OVER: the last member there left it, and only who stands by at that time is to go on; if
 * nobody does, the group is no more. */
enum lease_state { LEASE_FREE = 0, LEASE_HELD = 1, LEASE_OVER = 2 };

struct lease {
    mps_view broker;
    uint64_t boot;
    enum lease_state state;
    uint64_t said_ms; /* Unix time, there */
};

static bool read_lease(mps_view value, struct lease *lease)
{
    uint32_t fields;
    struct mps_reader r = record_open(value, &fields);
    lease->broker = mps_read_text(&r, "broker");
    lease->boot = mps_read_uint(&r, MPS_NUMBER_MAX, "boot");
    lease->state = (enum lease_state)mps_read_uint(&r, LEASE_OVER, "state");
    lease->said_ms = mps_read_uint(&r, MPS_NUMBER_MAX, "time");
    return r.bad == NULL;
}

static mps_view write_lease(const struct cluster *cluster, enum lease_state state, uint8_t room[LEASE_MAX])
{
    struct mps_out out = mps_out_open(room, LEASE_MAX);
    struct env *env = cluster->broker->env;
    mps_put_array(&out, 5);
    mps_put_uint(&out, RECORD_OP);
    mps_put_text(&out, mps_text(cluster->name));
    mps_put_uint(&out, cluster->boot);
    mps_put_uint(&out, state);
    mps_put_uint(&out, env->wall_ms(env) & MPS_NUMBER_MAX);
    return mps_out_view(&out);
}

/* NULL: the engine has no room for it. */
static struct own_put *put_lease(struct records *records, mps_view key, enum lease_state state, uint64_t expected)
{
    uint8_t room[LEASE_MAX];
    return own_put_make(records, SHARED_LEASE, key, write_lease(records->cluster, state, room), expected);
}

static bool was_said_lately(const struct broker *broker, const struct lease *lease)
{
    return lease->said_ms + FRESH_MS + CLOCKS_APART_MS >= broker->env->wall_ms(broker->env);
}

/* Whether the place is one to go on from: of a group that isn't durable only if somebody was served there until just
 * now. */
static bool may_go_on(const struct shared_cursor *shared, mps_view key)
{
    const struct records *records = shared->records;
    const struct broker *broker = records->cluster->broker;
    const struct known_record *known = known_find(records, SHARED_LEASE, key);
    struct lease lease;
    if (known == NULL || !read_lease(known_value(known), &lease)) return shared->cursor->terms.durable;
    if (lease.state == LEASE_OVER || shared->cursor->terms.durable) return lease.state != LEASE_OVER;
    return broker->now_ms - known->came_ms <= FRESH_MS && was_said_lately(broker, &lease);
}

/* ---- having it ---------------------------------------------------------------------------------------------- */

/* Members that are connected are served; the others wait for nobody. */
static bool is_wanted(const struct shared_cursor *shared)
{
    const struct group *group = group_of(shared);
    return group->members_count > group->away_count;
}

static void lose(struct shared_cursor *shared)
{
    shared->is_held = false;
    shared->cursor->served_until_ms = 0;
    shared->records->figures.leases--;
    shared_cursor_stop(shared);
}

static void win(struct shared_cursor *shared)
{
    shared->is_held = true;
    shared->records->figures.leases++;
    shared_cursor_take_place(shared, shared->may_go_on);
    shared->stood_by = false;
    shared_cursor_say_soon(shared);
    cursor_dirty(shared->cursor);
}

/* Others need not wait for it to run out. */
static void give_back(struct shared_cursor *shared, enum lease_state state)
{
    uint8_t room[STORE_KEY_MAX];
    mps_view key = shared_cursor_key(shared, room);
    const struct known_record *known = known_find(shared->records, SHARED_LEASE, key);
    if (!shared->is_held) return;
    shared->asked_ms = 0;
    shared_cursor_say(shared);
    if (known != NULL && known->is_ours) put_lease(shared->records, key, state, known->revision);
    lose(shared);
}

static void ask(struct shared_cursor *shared, mps_view key, uint64_t revision)
{
    if (!shared->is_held) shared->may_go_on = shared->stood_by || may_go_on(shared, key);
    shared->asked_ms = broker_of(shared)->now_ms;
    if (put_lease(shared->records, key, LEASE_HELD, revision) == NULL) shared->asked_ms = 0;
}

/* When it is free for us; 0: it is. */
static uint64_t free_ms(const struct shared_cursor *shared, const struct known_record *known)
{
    struct lease lease;
    if (known == NULL || !read_lease(known_value(known), &lease) || lease.state != LEASE_HELD) return 0;
    if (known->is_named_ours) return 0; /* of this life, or of one that is over */
    uint64_t when_ms = known->came_ms + FREE_MS;
    return when_ms <= broker_of(shared)->now_ms ? 0 : when_ms;
}

void lease_look(struct shared_cursor *shared)
{
    struct records *records = shared->records;
    uint64_t now_ms = broker_of(shared)->now_ms;
    uint8_t room[STORE_KEY_MAX];
    mps_view key = shared_cursor_key(shared, room);
    const struct known_record *known = known_find(records, SHARED_LEASE, key);
    if (shared->is_held && now_ms >= shared->cursor->served_until_ms) lose(shared);
    if (!is_wanted(shared)) {
        give_back(shared, LEASE_FREE);
        return; /* until a member comes */
    }
    uint64_t when_ms = shared->is_held ? shared->cursor->served_until_ms : UINT64_MAX;
    if (shared->asked_ms == 0 && records->is_loaded) {
        uint64_t due_ms = shared->is_held ? shared->renewed_ms + RENEW_MS : free_ms(shared, known);
        if (due_ms <= now_ms) ask(shared, key, known != NULL ? known->revision : 0);
        when_ms = due_ms > now_ms ? due_ms : shared->asked_ms == 0 ? now_ms + ASK_AGAIN_MS : when_ms;
    }
    if (when_ms != UINT64_MAX) look_at(shared, when_ms);
}

bool lease_is_over(const struct known_record *known)
{
    struct lease lease;
    return read_lease(known_value(known), &lease) && lease.state == LEASE_OVER;
}

/* ---- coming and going --------------------------------------------------------------------------------------- */

void lease_give_back(struct shared_cursor *shared)
{
    give_back(shared, LEASE_FREE);
}

void lease_leave(struct shared_cursor *shared)
{
    give_back(shared, shared->cursor->terms.durable ? LEASE_FREE : LEASE_OVER);
}

void lease_forget(struct shared_cursor *shared)
{
    give_back(shared, LEASE_OVER);
}

/* ---- what the engine tells ---------------------------------------------------------------------------------- */

/* It was asked for, and is ours, or was by the time that it takes to be told so. */
static void granted(struct shared_cursor *shared)
{
    uint64_t held_until_ms = shared->asked_ms + HELD_MS;
    shared->renewed_ms = shared->asked_ms;
    shared->asked_ms = 0;
    if (held_until_ms <= broker_of(shared)->now_ms) return;
    shared->cursor->served_until_ms = held_until_ms;
    if (!shared->is_held) win(shared);
}

/* It isn't over for members of a durable group that are away. */
static bool is_missed(const struct shared_cursor *shared)
{
    return shared != NULL && shared->cursor->terms.durable && group_of(shared)->members_count > 0;
}

/* What the record says, whether it was told or is known from the answer. */
static void take(struct records *records, const struct engine_record *record, bool is_answer)
{
    struct shared_cursor *shared = shared_cursor_of_key(records->cluster->broker, record->key);
    struct known_record *known = known_set(records, record);
    struct lease lease;
    if (known == NULL || !read_lease(known_value(known), &lease)) return;
    known->is_named_ours = mps_view_equal(lease.broker, mps_text(records->cluster->name));
    known->is_ours = known->is_named_ours && lease.boot == records->cluster->boot;
    known_keep_for(records, known, lease.state == LEASE_OVER ? OVER_MS : FORGOTTEN_MS);
    if (shared != NULL && !known->is_ours && lease.state != LEASE_FREE)
        shared->stood_by |= was_said_lately(records->cluster->broker, &lease);
    if (is_answer && lease.state == LEASE_HELD && shared != NULL && shared->asked_ms > 0) granted(shared);
    if (shared != NULL && shared->is_held && !known->is_ours) lose(shared);
    bool is_in_use = shared != NULL && (shared->is_held || shared->asked_ms > 0 || is_wanted(shared));
    if (known->is_ours && lease.state == LEASE_HELD && !is_in_use) /* meanwhile nobody wants it any more */
        put_lease(records, record->key, LEASE_FREE, record->revision);
    if (lease.state == LEASE_OVER && !is_in_use && is_missed(shared))
        put_lease(records, record->key, LEASE_FREE, record->revision);
    if (shared != NULL) lease_look_soon(shared);
}

void leases_on_done(struct records *records, struct own_put *own, bool is_done, uint64_t revision)
{
    uint8_t key_room[STORE_KEY_MAX], room[LEASE_MAX];
    struct engine_record record = {.kind = SHARED_LEASE, .key = {key_room, own->key_len}, .revision = revision};
    memcpy(key_room, own->key, own->key_len);
    own_put_drop(records, own);
    struct shared_cursor *shared = shared_cursor_of_key(records->cluster->broker, record.key);
    bool is_asked = shared != NULL && shared->asked_ms > 0;
    if (is_done && is_asked) {
        record.value = write_lease(records->cluster, LEASE_HELD, room);
        take(records, &record, true);
    } else if (is_asked) { /* somebody else was faster, which was told, or will be */
        shared->asked_ms = 0;
        look_at(shared, broker_of(shared)->now_ms + ASK_AGAIN_MS);
    }
}

void leases_on_record(struct records *records, const struct engine_record *record)
{
    struct own_put *own = own_put_find(records, SHARED_LEASE, record->key);
    struct shared_cursor *shared = shared_cursor_of_key(records->cluster->broker, record->key);
    bool is_answer = own != NULL && own->mark == record->mark;
    struct lease lease;
    if (record->value.ptr != NULL &&
        !(record_is_frame(record->value, LEASE_MAX) && read_lease(record->value, &lease))) {
        record_is_bad(records, record, "it is no lease");
        return;
    }
    if (is_answer) own_put_drop(records, own);
    if (record->value.ptr != NULL) {
        take(records, record, is_answer);
        return;
    }
    struct known_record *known = known_find(records, SHARED_LEASE, record->key);
    if (known != NULL) known_free(records, known);
    if (shared == NULL) return;
    if (shared->is_held) lose(shared);
    lease_look_soon(shared);
}
