#include "tally.h"

#include <stdlib.h>
#include <string.h>

#include "sure.h"

struct tally *tally_new(struct broker *broker)
{
    struct tally *tally = sure_zeroed(sizeof *tally);
    tally->seed = broker->seed;
    tally->began_ms = broker->now_ms;
    return tally;
}

void tally_free(struct tally *tally)
{
    if (tally == NULL) return;
    for (struct hash_node *node; (node = hash_any(&tally->topics)) != NULL;) {
        hash_remove(&tally->topics, node);
        free(container_of(node, struct tally_topic, in_topics));
    }
    hash_free(&tally->topics);
    free(tally);
}

static bool has_name(const struct hash_node *node, const void *key)
{
    return mps_view_equal(tally_topic_name(container_of(node, struct tally_topic, in_topics)), *(const mps_view *)key);
}

/* Who knows the name of an inbox may answer there; and what was refused as no topic at all may be any bytes. */
static bool may_be_named(mps_view name)
{
    return mps_topic_error(name) == NULL && !inbox_is(name);
}

/* NULL: it gets no place, or there is no room for one more. */
static struct tally_topic *find(struct tally *tally, mps_view name)
{
    if (tally->last != NULL && mps_view_equal(tally_topic_name(tally->last), name)) return tally->last;
    if (!may_be_named(name)) return NULL;
    uint64_t hash = hash_bytes(tally->seed, name.ptr, name.len);
    struct hash_node *node = hash_find(&tally->topics, hash, has_name, &name);
    if (node != NULL) return container_of(node, struct tally_topic, in_topics);
    if (tally->topics.count >= TALLY_TOPICS_MAX) return NULL;
    struct tally_topic *topic = sure_alloc(sizeof *topic + name.len);
    *topic = (struct tally_topic){.len = name.len};
    memcpy(topic->topic, name.ptr, name.len);
    hash_add(&tally->topics, &topic->in_topics, hash);
    return topic;
}

void tally_count(struct tally *tally, struct run *run, uint32_t count)
{
    for (uint32_t i = 0, at = 0, end, one; i < count; i++, at = end) {
        struct mps_msg msg;
        const char *what;
        end = run_frame_end(run, at, at, &one);
        mps_decode_msg((mps_view){run->bytes + at, end - at}, &msg, &what); /* accepted when it came */
        struct tally_topic *topic = tally->last = find(tally, msg.topic);
        ++*(topic != NULL ? &topic->messages : &tally->uncounted_messages);
        *(topic != NULL ? &topic->bytes : &tally->uncounted_bytes) += end - at;
    }
}
