#include "records_parts.h"

#include <stdlib.h>
#include <string.h>

#include "claim.h"
#include "sure.h"

/* What the engine has no room for is offered again after this, and no more than so much of it is remembered. */
#define UNTAKEN_MS 1000u
#define UNTAKEN_MAX 100000u

/* ---- puts of this broker ------------------------------------------------------------------------------------ */

struct wanted {
    enum shared_kind kind;
    mps_view key;
};

static bool is_wanted(const struct hash_node *node, const void *key)
{
    const struct own_put *own = container_of(node, struct own_put, in_puts);
    const struct wanted *wanted = key;
    return own->kind == wanted->kind && mps_view_equal(own_key(own), wanted->key);
}

static uint64_t seed_of(const struct records *records)
{
    return records->cluster->broker->seed;
}

static uint64_t key_hash(const struct records *records, enum shared_kind kind, mps_view key)
{
    return hash_bytes(seed_of(records) + kind, key.ptr, key.len);
}

struct own_put *own_put_find(const struct records *records, enum shared_kind kind, mps_view key)
{
    struct wanted wanted = {kind, key};
    if (records->puts.count == 0) return NULL;
    struct hash_node *node = hash_find(&records->puts, key_hash(records, kind, key), is_wanted, &wanted);
    return node != NULL ? container_of(node, struct own_put, in_puts) : NULL;
}

static bool has_mark(const struct hash_node *node, const void *key)
{
    return container_of(node, struct own_put, in_marks)->mark == *(const uint64_t *)key;
}

static struct own_put *find_mark(const struct records *records, uint64_t mark)
{
    struct hash_node *node = hash_find(&records->marks, hash_number(seed_of(records), mark), has_mark, &mark);
    return node != NULL ? container_of(node, struct own_put, in_marks) : NULL;
}

static void leave_list(struct records *records, struct own_put *own)
{
    list_remove(own->is_taken ? &records->taken : &records->untaken, &own->in_list);
    *(own->is_taken ? &records->taken_count : &records->untaken_count) -= 1;
}

static void join_list(struct records *records, struct own_put *own, bool is_taken)
{
    own->is_taken = is_taken;
    list_append(is_taken ? &records->taken : &records->untaken, &own->in_list);
    *(is_taken ? &records->taken_count : &records->untaken_count) += 1;
}

void own_put_drop(struct records *records, struct own_put *own)
{
    leave_list(records, own);
    hash_remove(&records->puts, &own->in_puts);
    hash_remove(&records->marks, &own->in_marks);
    free(own->held);
    free(own);
}

/* Without memory for it: then the copy here stays what was put, until somebody changes that. */
static void hold(struct own_put *own, const struct engine_record *record)
{
    mps_view key = record->key, value = record->value;
    free(own->held);
    own->held = sure_if_small(sizeof *own->held + key.len + value.len);
    if (own->held == NULL) return;
    own->held->record = *record;
    own->held->record.key.ptr = own->held->bytes;
    memcpy(own->held->bytes, key.ptr, key.len);
    if (value.ptr == NULL) return;
    own->held->record.value.ptr = own->held->bytes + key.len;
    memcpy(own->held->bytes + key.len, value.ptr, value.len);
}

enum own_verdict own_put_judge(struct records *records, struct own_put *own, const struct engine_record *record)
{
    bool is_it = record->mark == own->mark || record->revision == own->revision;
    bool is_later = own->is_careful || (own->revision > 0 && record->revision > own->revision);
    if (!is_it && !is_later) {
        hold(own, record);
        return OWN_EARLIER;
    }
    own_put_drop(records, own);
    return is_it ? OWN_IT : OWN_LATER;
}

void own_put_done(struct records *records, struct own_put *own, uint64_t revision)
{
    struct held_record *held = own->held;
    own->revision = revision;
    own->connects = records->connects;
    own->held = NULL;
    if (held != NULL && held->record.revision > revision) records_on_record(records->cluster, &held->record);
    free(held);
}

static struct own_put *own_put_new(struct records *records, enum shared_kind kind, mps_view key)
{
    struct own_put *own = sure_zeroed(sizeof *own + key.len); /* keys are small; see UNTAKEN_MAX for how many */
    own->kind = (uint8_t)kind;
    own->key_len = key.len;
    memcpy(own->key, key.ptr, key.len);
    hash_add(&records->puts, &own->in_puts, key_hash(records, kind, key));
    return own;
}

struct own_put *own_put_make(struct records *records, enum shared_kind kind, mps_view key, mps_view value,
                             uint64_t expected)
{
    struct engine *engine = records->cluster->engine;
    struct own_put *own = own_put_find(records, kind, key);
    if (own != NULL) {
        leave_list(records, own);
        hash_remove(&records->marks, &own->in_marks);
    } else {
        own = own_put_new(records, kind, key);
    }
    bool is_again = own->mark > 0 && !own->is_taken;
    own->mark = ++records->last_mark;
    if (!is_again) own->since = own->mark;
    own->revision = 0;
    free(own->held);
    own->held = NULL;
    own->is_careful = expected != ENGINE_PUT_ANYHOW;
    hash_add(&records->marks, &own->in_marks, hash_number(seed_of(records), own->mark));
    struct engine_put put = {.kind = kind, .key = key, .value = value, .expected = expected, .mark = own->mark};
    bool is_taken = engine->put(engine, &put);
    bool is_hopeless = !is_taken && records->cluster->is_storing && records->taken_count == 0;
    join_list(records, own, is_taken);
    if (is_taken) return own;
    if (records->untaken_count == 1) records->untaken_ms = records->cluster->broker->now_ms + UNTAKEN_MS;
    if (!is_hopeless && records->untaken_count <= UNTAKEN_MAX) return own;
    own_put_drop(records, own);
    return NULL;
}

static void put_again(struct records *records, struct own_put *own)
{
    uint8_t room[STORE_KEY_MAX];
    switch ((enum shared_kind)own->kind) {
    case SHARED_RETAINED: retained_put_again(records, own); return;
    case SHARED_PLACE:
        memcpy(room, own->key, own->key_len);
        place_forget(records, (mps_view){room, own->key_len});
        return;
    case SHARED_LEASE: leases_on_done(records, own, false, 0); return; /* it is asked for again */
    }
}

/* Those for which there was no room before. */
static uint64_t offer_again(struct records *records)
{
    uint64_t now_ms = records->cluster->broker->now_ms;
    if (records->untaken_count == 0) return UINT64_MAX;
    if (now_ms < records->untaken_ms) return records->untaken_ms;
    uint64_t last_mark = records->last_mark;
    while (records->untaken_count > 0) {
        struct own_put *own = container_of(records->untaken.first, struct own_put, in_list);
        if (own->mark > last_mark) break; /* this one was refused again just now */
        put_again(records, own);
    }
    records->untaken_ms = now_ms + UNTAKEN_MS;
    return records->untaken_count > 0 ? records->untaken_ms : UINT64_MAX;
}

/* ---- what records look like ---------------------------------------------------------------------------------- */

bool record_is_frame(mps_view value, uint32_t len_max)
{
    struct mps_scan scan = {0};
    struct mps_limits limits = {len_max, RECORD_VALUES_MAX, 0};
    return value.len <= len_max && mps_scan(&scan, value.ptr, value.len, &limits) == MPS_SCAN_FRAME &&
           scan.pos == value.len && scan.op == RECORD_OP;
}

struct mps_reader record_open(mps_view value, uint32_t *fields)
{
    struct mps_reader r = mps_reader_open(value);
    *fields = mps_read_array(&r, "record");
    mps_read_uint(&r, MPS_OP_MAX, "operation");
    return r;
}

void record_is_bad(struct records *records, const struct engine_record *record, const char *why)
{
    records->figures.bad++;
    log_say(records->cluster->broker, EVENT_RECORD_BAD, LOG_FIELDS(log_number("kind", record->kind)),
            "a record of kind %u that brokers share, of %u bytes, is ignored: %s", record->kind, record->value.len,
            why);
}

/* ---- what the engine tells ---------------------------------------------------------------------------------- */

void records_on_connected(struct cluster *cluster, const char *text)
{
    (void)text;
    struct records *records = cluster->records;
    if (cluster->is_storing) records->connects++;
    else records->is_loaded = false;
}

void records_on_begin(struct cluster *cluster)
{
    struct records *records = cluster->records;
    if (records->put_revision > records->put_before) records->put_before = records->put_revision;
    records->put_revision = records->told_revision = 0;
    records->is_full = true;
    records->load++;
    snapshot_end(&records->sweep);
}

static void note_put(struct records *records, uint64_t revision)
{
    if (revision > records->put_revision) records->put_revision = revision;
}

void records_on_record(struct cluster *cluster, const struct engine_record *record)
{
    struct records *records = cluster->records;
    if (record->revision > records->told_revision) records->told_revision = record->revision;
    if (record->mark != 0) note_put(records, record->revision);
    if (record->key.len == 0 || record->key.len > STORE_KEY_MAX) {
        record_is_bad(records, record, "its key is too long, or empty");
        return;
    }
    switch ((enum shared_kind)record->kind) {
    case SHARED_RETAINED: retained_on_record(records, record); return;
    case SHARED_PLACE: places_on_record(records, record); return;
    case SHARED_LEASE: leases_on_record(records, record); return;
    }
    record_is_bad(records, record, "there is no such kind");
}

/* What was put and is done, and was not told since, is not there any more: somebody has removed it. */
static void drop_gone(struct records *records)
{
    for (struct list_node *node = records->taken.first, *next; node != NULL; node = next) {
        struct own_put *own = container_of(node, struct own_put, in_list);
        next = node->next;
        if (own->revision > 0 && own->connects != records->connects) own_put_drop(records, own);
    }
}

/* Revisions of before the load are none of these records if they are higher than all of them: others took their place.
 */
static void note_loaded(struct records *records, uint64_t revision)
{
    if (records->put_before <= revision) note_put(records, records->put_before);
    records->put_before = 0;
    if (revision > records->told_revision) records->told_revision = revision;
}

void records_on_loaded(struct cluster *cluster, uint64_t revision)
{
    struct records *records = cluster->records;
    records->is_loaded = true;
    note_loaded(records, revision);
    drop_gone(records);
    if (records->is_full) retained_on_loaded(records);
    places_on_loaded(records, records->is_full);
    records->is_full = false;
}

void records_on_put_done(struct cluster *cluster, uint64_t mark, bool is_done, uint64_t revision)
{
    struct records *records = cluster->records;
    struct own_put *own = find_mark(records, mark);
    if (is_done) note_put(records, revision);
    if (own == NULL) return; /* a later one of its key took its place, or its record came first */
    switch ((enum shared_kind)own->kind) {
    case SHARED_RETAINED: retained_on_done(records, own, is_done, revision); return;
    case SHARED_PLACE: own_put_done(records, own, revision); return;
    case SHARED_LEASE: leases_on_done(records, own, is_done, revision); return;
    }
}

/* ---- how far retained values are shared ---------------------------------------------------------------------- */

uint64_t records_last_mark(const struct cluster *cluster)
{
    return cluster->records->last_mark;
}

/* While the engine takes no more it is not looked which ones wait. */
bool records_are_put(const struct cluster *cluster, uint64_t mark)
{
    const struct records *records = cluster->records;
    if (records->untaken_count > 0) return false;
    for (struct list_node *node = records->taken.first; node != NULL; node = node->next) {
        const struct own_put *own = container_of(node, struct own_put, in_list);
        if (own->kind == SHARED_RETAINED && own->revision == 0 && own->since <= mark) return false;
    }
    return true;
}

uint64_t records_put_revision(const struct cluster *cluster)
{
    const struct records *records = cluster->records;
    return records->put_before > records->put_revision ? records->put_before : records->put_revision;
}

static bool holds_one(const struct list *puts, uint64_t revision)
{
    for (struct list_node *node = puts->first; node != NULL; node = node->next) {
        const struct own_put *own = container_of(node, struct own_put, in_list);
        if (own->kind == SHARED_RETAINED && own->held != NULL && own->held->record.revision <= revision) return true;
    }
    return false;
}

bool records_are_told(const struct cluster *cluster, uint64_t revision)
{
    const struct records *records = cluster->records;
    if (records->told_revision < revision) return false;
    return !holds_one(&records->taken, revision) && !holds_one(&records->untaken, revision);
}

bool records_on_claim(struct cluster *cluster, struct neighbour *from, mps_view frame)
{
    return claim_take(cluster->records, from, frame);
}

bool records_on_claimed(struct cluster *cluster, struct neighbour *from, mps_view frame)
{
    return claim_take_answer(cluster->records, from, frame);
}

/* ---- life --------------------------------------------------------------------------------------------------- */

int records_join(struct cluster *cluster, char *text, size_t cap)
{
    (void)text;
    (void)cap;
    cluster->records = sure_zeroed(sizeof *cluster->records);
    cluster->records->cluster = cluster;
    places_join(cluster->records);
    return 0;
}

void records_bye(struct cluster *cluster)
{
    places_say_all(cluster->records);
}

void records_leave(struct cluster *cluster)
{
    struct records *records = cluster->records;
    if (records == NULL) return;
    places_leave(records);
    retained_records_free(records);
    claims_free(records);
    while (records->taken.first != NULL)
        own_put_drop(records, container_of(records->taken.first, struct own_put, in_list));
    while (records->untaken.first != NULL)
        own_put_drop(records, container_of(records->untaken.first, struct own_put, in_list));
    hash_free(&records->puts);
    hash_free(&records->marks);
    free(records);
    cluster->records = NULL;
}

uint64_t records_turn(struct cluster *cluster)
{
    struct records *records = cluster->records;
    uint64_t next_ms = least(offer_again(records), retained_records_turn(records));
    return least(least(next_ms, claims_turn(records)), places_turn(records));
}

void records_figures(const struct cluster *cluster, struct records_figures *figures)
{
    const struct records *records = cluster->records;
    *figures = records->figures;
    figures->waiting = records->taken_count + records->untaken_count;
}
