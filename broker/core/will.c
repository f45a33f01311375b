#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "away.h"
#include "identity.h"
#include "sure.h"

/* Delayed wills outlive their connections: more than this of them are not kept waiting. */
#define DELAYED_BYTES_MAX (16u * 1024 * 1024)

/* 0, or the code for why this can't be published. */
static uint32_t judge(const struct broker *broker, const struct mps_will *will, char *text, size_t text_cap)
{
    const char *wrong = mps_topic_error(will->topic);
    if (wrong != NULL) {
        snprintf(text, text_cap, "bad topic '%s' of the will: %s", printable(will->topic), wrong);
        return MPS_BAD_TOPIC;
    }
    if (will->topic.ptr[0] == '$') {
        snprintf(text, text_cap, "may not leave a will to '%s': topics whose first level begins with '$' are reserved",
                 printable(will->topic));
        return MPS_NOT_AUTHORISED;
    }
    if (will->payload.len > broker->limits.max_payload) {
        snprintf(text, text_cap, "the will's payload of %u bytes is over the limit of %u bytes", will->payload.len,
                 broker->limits.max_payload);
        return MPS_TOO_LARGE;
    }
    if (will->props.ptr != NULL && mps_props_check(will->props, &wrong) != MPS_OK) {
        snprintf(text, text_cap, "bad properties of the will: %s", wrong);
        return MPS_BAD_PROPS;
    }
    return 0;
}

/* Why this may not be published there; NULL: it may. grant NULL: everything may. */
static const char *denied_error(struct grant *grant, mps_view topic, bool retain)
{
    if (grant == NULL) return NULL;
    if (!grant_publishes(grant, topic)) return "it is not granted";
    return retain && !grant_has(grant, ACCESS_RETAIN) ? "to retain a value needs the right 'retain'" : NULL;
}

static mps_view id_of(const struct will *will)
{
    return (mps_view){will->id, will->id_len};
}

/* Its record's: ID, or ID/USER. Another user may have the id while it waits, and a will of its own. */
static mps_view key_of(const struct will *will, uint8_t room[MPS_ID_MAX + 1 + ACCESS_NAME_MAX])
{
    mps_view user = will->origin != NULL ? origin_user(will->origin) : (mps_view){NULL, 0};
    memcpy(room, will->id, will->id_len);
    if (user.len == 0) return (mps_view){room, will->id_len};
    room[will->id_len] = '/';
    memcpy(room + will->id_len + 1, user.ptr, user.len);
    return (mps_view){room, will->id_len + 1 + user.len};
}

/* One that is delayed outlives the broker, too. */
static void keep(struct broker *broker, struct will *will)
{
    uint8_t room[MPS_HELLO_FRAME_MAX + 96 + sizeof(struct origin)], key[MPS_ID_MAX + 1 + ACCESS_NAME_MAX];
    struct mps_out out = mps_out_open(room, sizeof room);
    if (broker->commit.store == NULL) return;
    mps_put_array(&out, 5);
    mps_put_uint(&out, will->delay_ms);
    mps_put_uint(&out, will->retain);
    mps_put_bin(&out, (mps_view){will->frame, will->len});
    origin_put(&out, will->origin);
    keep_put_lazily(broker, RECORD_WILL, key_of(will, key), mps_out_view(&out));
    will->is_kept = true;
}

/* Takes over the reference to the origin. */
static struct will *will_new(mps_view id, struct origin *origin, uint64_t delay_ms, bool retain, mps_view frame)
{
    struct will *will = sure_zeroed(sizeof *will + frame.len);
    timer_init(&will->due);
    will->origin = origin;
    will->len = frame.len;
    memcpy(will->frame, frame.ptr, frame.len);
    will->delay_ms = delay_ms;
    will->retain = retain;
    will->id_len = (uint8_t)id.len;
    memcpy(will->id, id.ptr, id.len);
    return will;
}

uint32_t will_set(struct session *session, const struct mps_will *in, char *text, size_t text_cap)
{
    struct broker *broker = session->broker;
    uint32_t code = judge(broker, in, text, text_cap);
    if (code != 0) return code;
    const char *denied = denied_error(session->grant, in->topic, in->flags & MPS_PUB_RETAIN);
    if (denied != NULL) {
        snprintf(text, text_cap, "may not leave a will to '%s': %s", printable(in->topic), denied);
        return MPS_NOT_AUTHORISED;
    }
    uint8_t room[MPS_HELLO_FRAME_MAX + 64]; /* it came inside a HELLO */
    struct mps_out frame = mps_out_open(room, sizeof room);
    mps_encode_msg(&frame, &(struct mps_msg){.topic = in->topic, .props = in->props, .payload = in->payload});
    struct will *will = will_new(session->id, origin_ref(session->origin), in->delay_ms, in->flags & MPS_PUB_RETAIN,
                                 mps_out_view(&frame));
    session->will = will;
    if (will->delay_ms > 0) keep(broker, will);
    return 0;
}

static void will_free(struct broker *broker, struct will *will)
{
    timer_cancel(&broker->wills, &will->due);
    if (will->is_named) {
        hash_remove(&broker->named_wills, &will->in_wills);
        broker->wills_bytes -= sizeof *will + will->len;
    }
    origin_unref(will->origin);
    free(will);
}

/* It will never be published, or is now: its record goes, too. */
static void will_end(struct broker *broker, struct will *will)
{
    uint8_t key[MPS_ID_MAX + 1 + ACCESS_NAME_MAX];
    if (will->is_kept) keep_remove(broker, RECORD_WILL, key_of(will, key));
    will_free(broker, will);
}

void will_drop(struct session *session)
{
    if (session->will != NULL) will_end(session->broker, session->will);
    session->will = NULL;
}

static uint64_t id_hash(const struct broker *broker, mps_view id)
{
    return hash_bytes(broker->seed, id.ptr, id.len);
}

static mps_view topic_of(const struct will *will)
{
    struct mps_msg msg;
    const char *what;
    mps_decode_msg((mps_view){will->frame, will->len}, &msg, &what); /* written, or looked at, by us */
    return msg.topic;
}

/* Whether it may be published now, too; else that is logged. */
static bool may_publish(struct broker *broker, const struct will *will)
{
    struct grant *grant = origin_grant(broker, will->origin);
    const char *denied = denied_error(grant, topic_of(will), will->retain);
    grant_unref(grant);
    if (denied == NULL) return true;
    log_say(broker, EVENT_WILL_DENIED, LOG_FIELDS(log_value("client", id_of(will)), log_value("topic", topic_of(will))),
            "the will of client '%s' to '%s' is not published: %s", printable(id_of(will)), printable(topic_of(will)),
            denied);
    return false;
}

static void publish(struct broker *broker, struct will *will)
{
    bool may = may_publish(broker, will), retain = will->retain;
    struct run *run = may ? run_copy(&broker->runs, will->frame, will->len) : NULL;
    struct origin *origin = origin_ref(will->origin);
    will_end(broker, will);
    if (may) publish_own(broker, run, retain, origin);
    origin_unref(origin);
}

/* There are too many delayed ones: the first of them is due now. */
static void publish_first(struct broker *broker)
{
    struct timer *timer = timer_take_due(&broker->wills, UINT64_MAX - 1);
    if (timer != NULL) timer_set(&broker->wills, timer, broker->now_ms);
}

static void wait(struct broker *broker, struct will *will)
{
    if (will->delay_ms > 0) {
        hash_add(&broker->named_wills, &will->in_wills, id_hash(broker, id_of(will)));
        will->is_named = true;
        broker->wills_bytes += sizeof *will + will->len;
    }
    timer_set(&broker->wills, &will->due, broker->now_ms + will->delay_ms);
    if (broker->wills_bytes > DELAYED_BYTES_MAX) publish_first(broker);
}

void will_release(struct session *session)
{
    struct broker *broker = session->broker;
    struct will *will = session->will;
    if (will == NULL) return;
    session->will = NULL;
    if (will->delay_ms > 0 && broker->stopping) will_free(broker, will); /* nobody will be there; its record waits */
    else wait(broker, will);
}

struct client {
    mps_view id, user;
};

static bool is_of(const struct hash_node *node, const void *key)
{
    const struct client *client = key;
    const struct will *will = container_of(node, struct will, in_wills);
    return mps_view_equal(id_of(will), client->id) && origin_may_follow(will->origin, client->user);
}

void will_forget_id(struct broker *broker, mps_view id, mps_view user)
{
    struct hash_node *node;
    struct client client = {id, user};
    while ((node = hash_find(&broker->named_wills, id_hash(broker, id), is_of, &client)) != NULL)
        will_end(broker, container_of(node, struct will, in_wills));
}

static bool is_msg(mps_view frame)
{
    struct mps_scan scan = {0};
    struct mps_limits limits = {MPS_HEAD_MAX, MPS_VALUES_MAX, MPS_PAYLOAD_MAX};
    struct mps_msg msg;
    const char *what;
    return mps_scan(&scan, frame.ptr, frame.len, &limits) == MPS_SCAN_FRAME && scan.pos == frame.len &&
           scan.op == MPS_OP_MSG && mps_decode_msg(frame, &msg, &what) == MPS_OK && mps_topic_error(msg.topic) == NULL;
}

bool will_load(struct broker *broker, mps_view key, mps_view value)
{
    struct mps_reader r = mps_reader_open(value);
    uint32_t fields = mps_read_array(&r, "will");
    uint64_t delay_ms = mps_read_uint(&r, MPS_NUMBER_MAX, "delay");
    bool retain = mps_read_uint(&r, 1, "retain");
    mps_view frame = mps_read_bin(&r, "frame");
    const uint8_t *slash = memchr(key.ptr, '/', key.len);
    if (slash != NULL) key.len = (uint32_t)(slash - key.ptr);
    if (r.bad != NULL || delay_ms == 0 || mps_id_error(key) != NULL || !is_msg(frame)) return false;
    struct will *will = will_new(key, fields >= 5 ? origin_read(&r) : NULL, delay_ms, retain, frame);
    will->is_kept = true;
    wait(broker, will);
    return true;
}

void will_publish_due(struct broker *broker)
{
    uint64_t work_end = broker->work + WORK_A_TURN;
    while (broker->work < work_end) {
        struct timer *timer = timer_take_due(&broker->wills, broker->now_ms);
        if (timer == NULL) return;
        publish(broker, container_of(timer, struct will, due));
    }
}

void will_free_all(struct broker *broker)
{
    for (struct timer *timer; (timer = timer_take_due(&broker->wills, UINT64_MAX)) != NULL;)
        will_free(broker, container_of(timer, struct will, due));
}
