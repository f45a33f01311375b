/* Retained values of the cluster's topics. Each broker has a copy of them all, where they are as if somebody had
 * published them here; the record that brokers share says which is the last one. What is set or cleared here holds here
 * at once; what others say of the same topic from then on doesn't, until the own record comes back: that is its place
 * in the order of all. So all brokers end with the same. */
#include <stdlib.h>
#include <string.h>

#include "identity.h"
#include "records_parts.h"
#include "sure.h"

/* Clocks may differ by so much: an expired value stays among the records for this long. So the next broker that starts,
 * whose clock is late, does not have it for others whose clocks aren't. */
#define DOOMED_MS 60000u
#define DOOMED_MAX 100000u /* beyond, the first ones go at once */
/* Values that are looked at in one turn, after all were told. */
#define SWEPT_A_TURN 4096

static const mps_view nothing = {NULL, 0};

static struct broker *broker_of(const struct records *records)
{
    return records->cluster->broker;
}

static mps_view topic_of(const struct retained_value *value)
{
    return (mps_view){value->topic, value->len};
}

static mps_view frame_of(const struct retained_value *value)
{
    return (mps_view){value->run->bytes, value->run->len};
}

/* ---- what happens here --------------------------------------------------------------------------------------- */

/* Others have an old one, or none. */
static void say_unshared(struct records *records, mps_view topic)
{
    records->figures.unshared++;
    log_say(
        broker_of(records), EVENT_RETAINED_UNSHARED, LOG_FIELDS(log_value("topic", topic)),
        "other brokers do not learn of the retained value of '%s': it is longer than the cluster's records may be, or "
        "too many wait",
        printable(topic));
}

/* Others have none of what is too long for a record, so that they don't have one that isn't true any more. */
static void put_nothing(struct records *records, mps_view topic)
{
    say_unshared(records, topic);
    own_put_make(records, SHARED_RETAINED, topic, nothing, ENGINE_PUT_ANYHOW);
}

static void put_value(struct records *records, struct retained_value *value, uint64_t expected)
{
    mps_view frame = frame_of(value);
    uint32_t cap = retained_put_most(frame) + 16;
    uint8_t *room = sure_if_small(cap);
    struct own_put *own = NULL;
    if (room != NULL) {
        struct mps_out out = mps_out_open(room, cap);
        mps_put_array(&out, 5);
        mps_put_uint(&out, RECORD_OP);
        retained_put(&out, broker_of(records), frame, value->expiry.when_ms, value->origin);
        own = own_put_make(records, SHARED_RETAINED, topic_of(value), mps_out_view(&out), expected);
        free(room);
    }
    value->revision = 0;
    if (own != NULL) return;
    if (expected == ENGINE_PUT_ANYHOW) put_nothing(records, topic_of(value));
    else say_unshared(records, topic_of(value));
}

void shared_retained_set(struct cluster *cluster, struct retained_value *value)
{
    if (cluster_relays(cluster, topic_of(value))) put_value(cluster->records, value, ENGINE_PUT_ANYHOW);
}

/* Also what isn't there: it may be on its way. */
void shared_retained_cleared(struct cluster *cluster, mps_view topic)
{
    struct records *records = cluster->records;
    if (!cluster_relays(cluster, topic)) return;
    if (own_put_make(records, SHARED_RETAINED, topic, nothing, ENGINE_PUT_ANYHOW) == NULL) say_unshared(records, topic);
}

void retained_put_again(struct records *records, struct own_put *own)
{
    struct broker *broker = broker_of(records);
    uint8_t room[STORE_KEY_MAX];
    mps_view topic = {room, own->key_len};
    memcpy(room, own->key, own->key_len); /* it may be gone afterwards */
    struct retained_value *value = retained_find(&broker->retained, topic);
    if (value != NULL) put_value(records, value, own->is_careful ? 0 : ENGINE_PUT_ANYHOW);
    else if (own_put_make(records, SHARED_RETAINED, topic, nothing, ENGINE_PUT_ANYHOW) == NULL)
        say_unshared(records, topic);
}

/* ---- what is to go by and by --------------------------------------------------------------------------------- */

/* Only if it is still the same. What the engine doesn't take, others remove, or who starts next. */
static void remove_revision(struct records *records, mps_view topic, uint64_t revision)
{
    struct engine *engine = records->cluster->engine;
    if (own_put_find(records, SHARED_RETAINED, topic) != NULL) return; /* it isn't the same any more */
    engine->put(engine, &(struct engine_put){.kind = SHARED_RETAINED, .key = topic, .expected = revision});
}

static void execute(struct records *records, struct doomed *doomed)
{
    list_remove(&records->doomed, &doomed->in_doomed);
    records->doomed_count--;
    remove_revision(records, (mps_view){doomed->topic, doomed->topic_len}, doomed->revision);
    free(doomed);
}

static struct doomed *first_doomed(const struct records *records)
{
    return records->doomed.first != NULL ? container_of(records->doomed.first, struct doomed, in_doomed) : NULL;
}

static void doom(struct records *records, mps_view topic, uint64_t revision)
{
    struct doomed *doomed = sure_zeroed(sizeof *doomed + topic.len); /* small */
    doomed->due_ms = broker_of(records)->now_ms + DOOMED_MS;
    doomed->revision = revision;
    doomed->topic_len = (uint8_t)topic.len;
    memcpy(doomed->topic, topic.ptr, topic.len);
    list_append(&records->doomed, &doomed->in_doomed);
    if (++records->doomed_count > DOOMED_MAX) execute(records, first_doomed(records));
}

void shared_retained_expired(struct cluster *cluster, struct retained_value *value)
{
    struct records *records = cluster->records;
    if (value->revision > 0) doom(records, topic_of(value), value->revision);
}

/* All brokers are to have the same rules of access: so they need not have the value either. */
void shared_retained_denied(struct cluster *cluster, struct retained_value *value)
{
    struct records *records = cluster->records;
    if (value->revision > 0) remove_revision(records, topic_of(value), value->revision);
    else shared_retained_cleared(cluster, topic_of(value));
}

/* ---- what others say ----------------------------------------------------------------------------------------- */

struct told_value {
    uint64_t expires_ms; /* Unix time; 0: never */
    mps_view frame;
    struct origin *origin; /* the caller's */
};

/* Whether this is a message that could be retained under this topic. */
static bool is_value(const struct broker *broker, mps_view topic, mps_view frame)
{
    struct mps_scan scan = {0};
    struct mps_limits limits = {MPS_HEAD_MAX, MPS_VALUES_MAX, broker->limits.max_payload};
    struct mps_msg msg;
    const char *what;
    return mps_scan(&scan, frame.ptr, frame.len, &limits) == MPS_SCAN_FRAME && scan.pos == frame.len &&
           scan.op == MPS_OP_MSG && mps_decode_msg(frame, &msg, &what) == MPS_OK && mps_view_equal(msg.topic, topic) &&
           msg.payload.len > 0 && (msg.props.ptr == NULL || mps_props_check(msg.props, &what) == MPS_OK);
}

/* NULL, or why it means nothing. */
static const char *read_told(const struct broker *broker, const struct engine_record *record, struct told_value *told)
{
    uint32_t fields, len_max = broker->limits.max_payload + MPS_HEAD_MAX;
    if (!record_is_frame(record->value, len_max)) return "it is no record, or longer than messages may be here";
    struct mps_reader r = record_open(record->value, &fields);
    told->expires_ms = mps_read_uint(&r, MPS_NUMBER_MAX, "expiry");
    told->frame = mps_read_bin(&r, "frame");
    if (r.bad != NULL || !is_value(broker, record->key, told->frame))
        return "it is no retained value, or longer than messages may be here";
    told->origin = fields >= 5 ? origin_read(&r) : NULL;
    return NULL;
}

/* The old value isn't true any more, so there is none. */
static void say_unkept(struct records *records, mps_view topic, const char *text)
{
    records->figures.unkept++;
    log_say(broker_of(records), EVENT_RETAINED_UNKEPT, LOG_FIELDS(log_value("topic", topic)),
            "a retained value of '%s', which another broker has, is not kept here: %s", printable(topic), text);
}

static void keep_told(struct records *records, const struct engine_record *record, const struct told_value *told)
{
    struct broker *broker = broker_of(records);
    uint64_t wall_ms = broker->env->wall_ms(broker->env);
    char text[RETAINED_TEXT_MAX];
    if (told->expires_ms > 0 && told->expires_ms <= wall_ms) {
        retained_forget(broker, record->key);
        doom(records, record->key, record->revision);
        return;
    }
    uint64_t due_ms = told->expires_ms > 0 ? broker->now_ms + (told->expires_ms - wall_ms) : UINT64_MAX;
    struct retained_value *value = retained_take(broker, router_route_once(broker, record->key), record->key,
                                                 told->frame, due_ms, told->origin, record->revision, text);
    if (value != NULL) {
        value->load = records->load;
        return;
    }
    retained_forget(broker, record->key);
    say_unkept(records, record->key, text);
}

static void take_others(struct records *records, const struct engine_record *record)
{
    struct broker *broker = broker_of(records);
    struct retained_value *value = retained_find(&broker->retained, record->key);
    struct told_value told;
    if (record->value.ptr == NULL) {
        retained_forget(broker, record->key);
        return;
    }
    const char *wrong = read_told(broker, record, &told);
    if (wrong != NULL) {
        retained_forget(broker, record->key);
        record_is_bad(records, record, wrong);
        return;
    }
    if (value != NULL && value->revision == record->revision && mps_view_equal(frame_of(value), told.frame))
        value->load = records->load; /* told once more */
    else keep_told(records, record, &told);
    origin_unref(told.origin);
}

/* In the store, too, it is one that others know: should they remove it while this broker is away, it is not put again.
 */
static void note_revision(struct records *records, struct retained_value *value, uint64_t revision)
{
    struct broker *broker = broker_of(records);
    value->revision = revision;
    value->load = records->load;
    if (!value->is_kept) return;
    struct kept *kept =
        retained_record(broker, topic_of(value), frame_of(value), value->expiry.when_ms, value->origin, revision);
    if (kept != NULL) keep_prepared(broker, kept);
}

/* What was put here last has its place in the order now. */
static void settle(struct records *records, const struct engine_record *record)
{
    struct retained_value *value = retained_find(&broker_of(records)->retained, record->key);
    if (record->value.ptr == NULL) return;
    if (value == NULL) doom(records, record->key, record->revision); /* it has expired since */
    else note_revision(records, value, record->revision);
}

void retained_on_record(struct records *records, const struct engine_record *record)
{
    if (mps_topic_error(record->key) != NULL) {
        record_is_bad(records, record, "its key is no topic");
        return;
    }
    if (!cluster_relays(records->cluster, record->key)) return; /* others may have other topics */
    struct own_put *own = own_put_find(records, SHARED_RETAINED, record->key);
    if (own == NULL) {
        take_others(records, record);
        return;
    }
    switch (own_put_judge(records, own, record)) {
    case OWN_EARLIER: return;
    case OWN_IT: settle(records, record); return;
    case OWN_LATER: take_others(records, record); return;
    }
}

void retained_on_done(struct records *records, struct own_put *own, bool is_done, uint64_t revision)
{
    struct retained_value *value = retained_find(&broker_of(records)->retained, own_key(own));
    if (!is_done) { /* a careful one: there is another, which was told, or will be */
        own_put_drop(records, own);
        return;
    }
    if (value != NULL) value->revision = revision;
    own_put_done(records, own, revision);
}

/* ---- after all was told --------------------------------------------------------------------------------------- */

void retained_on_loaded(struct records *records)
{
    snapshot_begin(&records->sweep, &broker_of(records)->retained, mps_text("#"));
}

/* One that was not told is gone, or it never was a record: it is of a time when this broker was alone. */
static void sweep_value(struct records *records, struct retained_value *value)
{
    mps_view topic = topic_of(value);
    if (!cluster_relays(records->cluster, topic) || own_put_find(records, SHARED_RETAINED, topic) != NULL) return;
    if (value->revision == 0) put_value(records, value, 0);
    else if (value->load != records->load) retained_forget(broker_of(records), topic);
}

/* Returns whether there is more to do at once. */
static bool sweep(struct records *records)
{
    for (int i = 0; i < SWEPT_A_TURN && records->untaken_count == 0; i++) {
        struct retained_value *value = snapshot_value(&records->sweep);
        if (value == NULL) {
            snapshot_end(&records->sweep);
            return false;
        }
        snapshot_pass(&records->sweep, value, false);
        sweep_value(records, value);
    }
    return records->untaken_count == 0;
}

uint64_t retained_records_turn(struct records *records)
{
    struct doomed *doomed;
    uint64_t now_ms = broker_of(records)->now_ms;
    while ((doomed = first_doomed(records)) != NULL && doomed->due_ms <= now_ms) execute(records, doomed);
    if (records->sweep.at != NULL && sweep(records)) return 0;
    return doomed != NULL ? doomed->due_ms : UINT64_MAX;
}

void retained_records_free(struct records *records)
{
    snapshot_end(&records->sweep);
    while (records->doomed.first != NULL) {
        struct doomed *doomed = first_doomed(records);
        list_remove(&records->doomed, &doomed->in_doomed);
        free(doomed);
    }
}
