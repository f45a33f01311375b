#include <string.h>

#include "group_far.h"

static void add_far(struct topic_entry *entry, void *arg)
{
    *(uint64_t *)arg |= container_of(entry, struct far, entry)->at;
}

uint64_t relay_wanted_by(struct cluster *cluster, mps_view topic, uint64_t hash)
{
    uint64_t wanted_by = 0, by_groups = 0;
    if (!cluster_relays(cluster, topic)) return 0;
    struct broker *broker = cluster->broker;
    broker->work += topics_match(&cluster->far, topic, hash, add_far, &wanted_by);
    broker->work += topics_match(&cluster->far_groups, topic, hash, add_far, &by_groups);
    return by_groups != 0 ? wanted_by | WANTED_BY_GROUPS : wanted_by;
}

uint64_t relay_inbox(const struct cluster *cluster, mps_view topic)
{
    uint8_t id[INBOX_ID_BYTES];
    uint64_t wanted_by = 0;
    if (!inbox_read_id(topic, id)) return 0;
    for (uint32_t i = 0; i < cluster->neighbours_count; i++)
        if (memcmp(cluster->neighbours[i]->tag, id, CLUSTER_TAG_BYTES) == 0) wanted_by |= UINT64_C(1) << i;
    return wanted_by;
}

bool relay_is_wanted(const struct broker *broker, const struct route *route)
{
    if (route->wanted_by == 0) return false;
    return (route->wanted_by & (broker->cluster->listening | WANTED_BY_GROUPS)) != 0;
}

static mps_view first_topic(const struct run *run, uint32_t off)
{
    struct mps_msg msg;
    const char *what;
    uint32_t len = mps_msg_frame_len(run->bytes + off);
    mps_decode_msg((mps_view){run->bytes + off, len}, &msg, &what); /* accepted when it came */
    return msg.topic;
}

void relay_run(struct broker *broker, const struct route *route, struct run *run, struct part part)
{
    struct cluster *cluster = broker->cluster;
    if (part.count == 0) return;
    if (route->wanted_by & WANTED_BY_GROUPS) {
        group_far_relay(cluster, route->wanted_by & ~WANTED_BY_GROUPS, first_topic(run, part.off), run, part);
        return;
    }
    for (uint64_t left = route->wanted_by & cluster->listening; left != 0; left &= left - 1)
        lane_put_msgs(cluster->neighbours[__builtin_ctzll(left)], NULL, run, part);
}
