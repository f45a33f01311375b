#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/figures.h"
#include "sure.h"
#include "sys_maps.h"

/* How often it is looked who became slow, and how soon a new subscriber to $SYS gets the whole state. */
#define LOOK_MS 1000u
/* Steps of one turn: everybody's state is told by and by. */
#define SYS_WORK_A_TURN (WORK_A_TURN / 4)

struct sys {
    uint64_t next_ms; /* when the next round of everything begins; UINT64_MAX: never */
    uint64_t last_ms; /* when the last one began */
    uint64_t look_ms; /* when to look next who is slow */
    /* Walks that go on over several turns; NULL: none is under way. */
    struct list_node *round;  /* of everything: in broker.boxes */
    struct session *session;  /* likewise, in broker.sessions */
    struct list_node *slow;   /* of those that were slow: in broker.slow_boxes */
    struct list_node *debtor; /* of those that may be: in broker.debtors */
};

static uint64_t next_round_ms(const struct broker *broker)
{
    uint32_t every_ms = broker->limits.sys_ms;
    return every_ms > 0 ? broker->now_ms + every_ms : UINT64_MAX;
}

struct sys *sys_new(struct broker *broker)
{
    struct sys *sys = sure_zeroed(sizeof *sys);
    sys->next_ms = next_round_ms(broker);
    sys->look_ms = broker->now_ms + LOOK_MS;
    return sys;
}

void sys_interval_changed(struct broker *broker)
{
    broker->sys->next_ms = next_round_ms(broker);
}

void sys_free(struct broker *broker)
{
    free(broker->sys);
}

static bool is_wanted(const struct broker *broker)
{
    return broker->limits.sys_ms > 0 && topics_has_first_level(&broker->topics, mps_text("$SYS"));
}

void sys_wanted(struct broker *broker, mps_view pattern)
{
    struct sys *sys = broker->sys;
    if (broker->limits.sys_ms == 0 || pattern.len < 4 || memcmp(pattern.ptr, "$SYS", 4) != 0) return;
    uint64_t soon_ms = sys->last_ms + LOOK_MS > broker->now_ms ? sys->last_ms + LOOK_MS : broker->now_ms;
    if (soon_ms < sys->next_ms) sys->next_ms = soon_ms;
}

void sys_pass_debtor(struct mailbox *box)
{
    struct sys *sys = box->broker->sys;
    if (sys->debtor == &box->in_debtors) sys->debtor = box->in_debtors.next;
}

static void set_slow(struct mailbox *box, bool is_slow)
{
    struct broker *broker = box->broker;
    if (box->is_slow == is_slow) return;
    box->is_slow = is_slow;
    if (is_slow) {
        list_append(&broker->slow_boxes, &box->in_slow);
    } else {
        if (broker->sys->slow == &box->in_slow) broker->sys->slow = box->in_slow.next;
        list_remove(&broker->slow_boxes, &box->in_slow);
    }
}

void sys_mailbox_gone(struct mailbox *box)
{
    struct sys *sys = box->broker->sys;
    if (sys->round == &box->in_boxes) sys->round = box->in_boxes.next;
    set_slow(box, false);
}

void sys_session_gone(struct session *session)
{
    struct sys *sys = session->broker->sys;
    if (sys->session == session) sys->session = session->next;
}

/* ---- the messages ------------------------------------------------------------------------------------------- */

void sys_publish(struct broker *broker, const char *topic, const struct mps_out *map)
{
    uint32_t cap = MPS_TOPIC_MAX + 64 + map->len;
    uint8_t *room = sure_alloc(cap);
    struct mps_out frame = mps_out_open(room, cap);
    struct mps_msg msg = {.topic = mps_text(topic), .payload = mps_out_view(map)};
    if (!map->full && mps_encode_msg(&frame, &msg)) /* always: names and patterns are bounded */
        publish_own(broker, run_copy(&broker->runs, frame.buf, frame.len), false, NULL);
    free(room);
}

static void publish_broker(struct broker *broker)
{
    uint8_t room[SYS_MAP_MAX];
    struct mps_out map = mps_out_open(room, sizeof room);
    sys_put_broker(&map, broker);
    sys_publish(broker, "$SYS/broker", &map);
    map = mps_out_open(room, sizeof room);
    sys_put_limits(&map, broker);
    sys_publish(broker, "$SYS/limits", &map);
}

static void publish_cluster(struct broker *broker)
{
    uint8_t room[SYS_MAP_MAX];
    char topic[MPS_TOPIC_MAX + 1];
    const struct cluster *cluster = broker->cluster;
    struct mps_out map = mps_out_open(room, sizeof room);
    mps_put_map(&map, CLUSTER_FIELDS);
    sys_put_cluster(&map, broker);
    sys_publish(broker, "$SYS/cluster", &map);
    for (uint32_t i = 0; i < cluster->neighbours_count; i++) {
        map = mps_out_open(room, sizeof room);
        sys_put_neighbour(&map, cluster->neighbours[i]);
        snprintf(topic, sizeof topic, "$SYS/cluster/%s", cluster->neighbours[i]->name);
        sys_publish(broker, topic, &map);
    }
}

static void publish_streams(struct broker *broker)
{
    char topic[MPS_TOPIC_MAX + 1];
    for (uint32_t i = 0; i < broker->streams_count; i++) {
        const struct stream *stream = broker->streams[i];
        uint32_t cap = sys_stream_map_max(stream);
        uint8_t *room = sure_alloc(cap);
        struct mps_out map = mps_out_open(room, cap);
        sys_put_stream(&map, stream);
        snprintf(topic, sizeof topic, "$SYS/stream/%s", stream->name);
        sys_publish(broker, topic, &map);
        free(room);
    }
}

static void publish_subscription(struct broker *broker, const struct subscription *sub)
{
    uint8_t room[SYS_MAP_MAX];
    char topic[MPS_TOPIC_MAX + 1];
    mps_view id = sub->session->id;
    if (sub->sid == 0 || id.ptr == NULL) return; /* an inbox; one whose connection is ending */
    struct mps_out map = mps_out_open(room, sizeof room);
    sys_put_subscription(&map, sub, false);
    snprintf(topic, sizeof topic, "$SYS/subscription/%.*s/%u", (int)id.len, (const char *)id.ptr, sub->sid);
    sys_publish(broker, topic, &map);
}

static void publish_group(struct broker *broker, const struct group *group)
{
    uint8_t room[SYS_MAP_MAX];
    char topic[MPS_TOPIC_MAX + 1];
    mps_view name = group_name(group);
    struct mps_out map = mps_out_open(room, sizeof room);
    sys_put_group(&map, group);
    snprintf(topic, sizeof topic, "$SYS/group/%.*s", (int)name.len, (const char *)name.ptr);
    sys_publish(broker, topic, &map);
}

static void publish_connection(const struct session *session)
{
    uint8_t room[SYS_MAP_MAX];
    char topic[MPS_TOPIC_MAX + 1];
    mps_view id = session->id;
    if (id.ptr == NULL || session->link == NULL) return; /* it is not welcome yet, or ending; it is away */
    struct mps_out map = mps_out_open(room, sizeof room);
    sys_put_connection(&map, session);
    snprintf(topic, sizeof topic, "$SYS/connection/%.*s", (int)id.len, (const char *)id.ptr);
    sys_publish(session->broker, topic, &map);
}

static void publish_box(struct mailbox *box)
{
    if (box->session == NULL) publish_group(box->broker, container_of(box, struct group, box));
    else publish_subscription(box->broker, container_of(box, struct subscription, box));
}

/* ---- when --------------------------------------------------------------------------------------------------- */

/* Tells of those who became slow or ceased to be, some in each turn. */
static void look_who_is_slow(struct broker *broker, uint64_t work_end)
{
    struct sys *sys = broker->sys;
    while (sys->slow != NULL && broker->work++ < work_end) {
        struct mailbox *box = container_of(sys->slow, struct mailbox, in_slow);
        sys->slow = box->in_slow.next;
        if (mailbox_lag_ms(box) >= SLOW_MS) continue;
        set_slow(box, false);
        publish_box(box);
    }
    while (sys->debtor != NULL && broker->work++ < work_end) {
        struct mailbox *box = container_of(sys->debtor, struct mailbox, in_debtors);
        sys->debtor = box->in_debtors.next;
        if (box->queue.entries == 0) mailbox_no_debtor(box);
        if (box->is_slow || mailbox_lag_ms(box) < SLOW_MS) continue;
        set_slow(box, true);
        publish_box(box);
    }
}

static void tell_everything(struct broker *broker, uint64_t work_end)
{
    struct sys *sys = broker->sys;
    while (sys->round != NULL && broker->work++ < work_end) {
        struct mailbox *box = container_of(sys->round, struct mailbox, in_boxes);
        sys->round = box->in_boxes.next;
        publish_box(box);
    }
    while (sys->session != NULL && broker->work++ < work_end) {
        const struct session *session = sys->session;
        sys->session = session->next;
        publish_connection(session);
    }
}

static void begin_what_is_due(struct broker *broker)
{
    struct sys *sys = broker->sys;
    if (broker->now_ms >= sys->look_ms && sys->slow == NULL && sys->debtor == NULL) {
        sys->look_ms = broker->now_ms + LOOK_MS;
        sys->slow = broker->slow_boxes.first;
        sys->debtor = broker->debtors.first;
    }
    if (broker->now_ms >= sys->next_ms && sys->round == NULL && sys->session == NULL) {
        sys->last_ms = broker->now_ms;
        sys->next_ms = broker->now_ms + broker->limits.sys_ms;
        publish_broker(broker);
        if (broker->cluster != NULL) publish_cluster(broker);
        publish_streams(broker);
        sys->round = broker->boxes.first;
        sys->session = broker->sessions;
    }
}

uint64_t sys_turn(struct broker *broker)
{
    struct sys *sys = broker->sys;
    if (!is_wanted(broker)) {
        sys->round = sys->slow = sys->debtor = NULL;
        sys->session = NULL;
        return UINT64_MAX;
    }
    begin_what_is_due(broker);
    uint64_t work_end = broker->work + SYS_WORK_A_TURN;
    look_who_is_slow(broker, work_end);
    tell_everything(broker, work_end);
    if (sys->round != NULL || sys->session != NULL || sys->slow != NULL || sys->debtor != NULL) return 0;
    return sys->look_ms < sys->next_ms ? sys->look_ms : sys->next_ms;
}
