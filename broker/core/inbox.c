#include <string.h>

#include "cluster/cluster.h"

static const char prefix[] = "$inbox";
#define PREFIX_LEN (sizeof prefix - 1)
#define ID_DIGITS (2 * INBOX_ID_BYTES)

bool inbox_is(mps_view topic)
{
    return topic.len >= PREFIX_LEN && memcmp(topic.ptr, prefix, PREFIX_LEN) == 0 &&
           (topic.len == PREFIX_LEN || topic.ptr[PREFIX_LEN] == '/');
}

bool inbox_is_inside(mps_view topic)
{
    return topic.len > PREFIX_LEN && inbox_is(topic);
}

mps_view inbox_prefix(const struct session *session, uint8_t room[64])
{
    static const char digits[] = "0123456789abcdef";
    memcpy(room, prefix, PREFIX_LEN);
    uint8_t *p = room + PREFIX_LEN;
    *p++ = '/';
    for (size_t i = 0; i < INBOX_ID_BYTES; i++) {
        *p++ = (uint8_t)digits[session->inbox_id[i] >> 4];
        *p++ = (uint8_t)digits[session->inbox_id[i] & 15];
    }
    return (mps_view){room, (uint32_t)(p - room)};
}

static uint64_t id_hash(const struct broker *broker, const uint8_t *id)
{
    return hash_bytes(broker->seed, id, INBOX_ID_BYTES);
}

static bool has_id(const struct hash_node *node, const void *key)
{
    return memcmp(container_of(node, struct session, in_inboxes)->inbox_id, key, INBOX_ID_BYTES) == 0;
}

void inbox_open(struct session *session)
{
    struct broker *broker = session->broker;
    broker->env->random(broker->env, session->inbox_id, INBOX_ID_BYTES);
    if (broker->cluster != NULL) memcpy(session->inbox_id, broker->cluster->tag, CLUSTER_TAG_BYTES);
    hash_add(&broker->inboxes, &session->in_inboxes, id_hash(broker, session->inbox_id));
    session->has_inbox = true;
}

void inbox_close(struct session *session)
{
    if (!session->has_inbox) return;
    hash_remove(&session->broker->inboxes, &session->in_inboxes);
    session->has_inbox = false;
}

bool inbox_read_id(mps_view topic, uint8_t id[INBOX_ID_BYTES])
{
    if (topic.len < PREFIX_LEN + 1 + ID_DIGITS) return false;
    if (topic.len > PREFIX_LEN + 1 + ID_DIGITS && topic.ptr[PREFIX_LEN + 1 + ID_DIGITS] != '/') return false;
    const uint8_t *p = topic.ptr + PREFIX_LEN + 1;
    memset(id, 0, INBOX_ID_BYTES);
    for (size_t i = 0; i < ID_DIGITS; i++) {
        bool letter = p[i] >= 'a' && p[i] <= 'f';
        if (!letter && (p[i] < '0' || p[i] > '9')) return false;
        id[i / 2] = (uint8_t)(id[i / 2] << 4 | (letter ? p[i] - 'a' + 10 : p[i] - '0'));
    }
    return true;
}

/* Most connections never ask for anything: subscription 0 is made when the first answer comes. */
struct mailbox *inbox_find(struct broker *broker, mps_view topic)
{
    uint8_t id[INBOX_ID_BYTES], room[64];
    if (!inbox_read_id(topic, id)) return NULL;
    struct hash_node *node = hash_find(&broker->inboxes, id_hash(broker, id), has_id, id);
    if (node == NULL) return NULL;
    struct session *session = container_of(node, struct session, in_inboxes);
    if (session->inbox == NULL) {
        session->inbox = subscription_new(session, 0, inbox_prefix(session, room));
        mailbox_set_terms(&session->inbox->box, &(struct terms){.max_msgs = broker->limits.queue_msgs_count,
                                                                .max_bytes = broker->limits.queue_bytes});
    }
    return &session->inbox->box;
}
