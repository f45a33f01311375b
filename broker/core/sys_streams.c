#include <stdio.h>
#include <stdlib.h>

#include "model.h"
#include "sure.h"

static void put_number(struct mps_out *out, const char *key, uint64_t number)
{
    mps_put_text(out, mps_text(key));
    mps_put_uint(out, number);
}

static void put_limit(struct mps_out *out, const char *key, uint64_t limit)
{
    mps_put_text(out, mps_text(key));
    if (limit == UINT64_MAX) mps_put_nil(out);
    else mps_put_uint(out, limit);
}

static void put_name(struct mps_out *out, const char *key, const char *text)
{
    mps_put_text(out, mps_text(key));
    mps_put_text(out, mps_text(text));
}

static void put_flag(struct mps_out *out, const char *key, bool flag)
{
    mps_put_text(out, mps_text(key));
    mps_put_bool(out, flag);
}

static uint32_t readers_count(const struct stream *stream)
{
    uint32_t count = 0;
    for (const struct list_node *node = stream->readings.first; node != NULL; node = node->next) count++;
    return count;
}

static void write_map(struct mps_out *map, const struct stream *stream)
{
    mps_put_map(map, 16);
    put_number(map, "stream", stream->number);
    put_name(map, "name", stream->name);
    put_number(map, "first", stream->first);
    put_number(map, "next", stream->stored);
    put_number(map, "messages", stream->stored_msgs);
    put_number(map, "bytes", stream->stored_bytes);
    put_limit(map, "max_bytes", stream->max_bytes);
    put_limit(map, "max_msgs", stream->max_msgs);
    put_limit(map, "max_age_ms", stream->max_age_ms);
    put_name(map, "full", stream->refuses ? "refuse" : "drop_old");
    put_number(map, "readers", readers_count(stream));
    put_limit(map, "oldest_ms", stream_oldest_ms(stream));
    put_number(map, "damaged", stream->damaged);
    put_number(map, "unstored", stream->unstored);
    put_flag(map, "configured", stream->is_configured);
    mps_put_text(map, mps_text("patterns"));
    mps_put_array(map, stream->patterns_count);
    for (uint32_t i = 0; i < stream->patterns_count; i++) mps_put_text(map, stream->patterns[i]);
}

static void publish_stream(struct broker *broker, const struct stream *stream)
{
    char topic[MPS_TOPIC_MAX + 1];
    uint32_t cap = 1024 + stream->patterns_count * (MPS_TOPIC_MAX + 8);
    uint8_t *room = sure_alloc(cap);
    struct mps_out map = mps_out_open(room, cap);
    write_map(&map, stream);
    snprintf(topic, sizeof topic, "$SYS/stream/%s", stream->name);
    sys_publish(broker, topic, &map);
    free(room);
}

void sys_publish_streams(struct broker *broker)
{
    for (uint32_t i = 0; i < broker->streams_count; i++) publish_stream(broker, broker->streams[i]);
}
