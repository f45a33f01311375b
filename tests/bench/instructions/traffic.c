#include "traffic.h"

#include <stdlib.h>

static void *grow(void *memory, size_t *cap, size_t need, size_t each)
{
    if (need <= *cap) return memory;
    *cap = 2 * need;
    void *grown = realloc(memory, *cap * each);
    if (grown == NULL) fail("no memory for %zu bytes", *cap * each);
    return grown;
}

void traffic_free(struct traffic *traffic)
{
    free(traffic->bytes);
    free(traffic->ends);
    *traffic = (struct traffic){0};
}

struct mps_out traffic_open(struct traffic *traffic, size_t need)
{
    traffic->bytes = grow(traffic->bytes, &traffic->cap, traffic->len + need, 1);
    return mps_out_open(traffic->bytes + traffic->len, need);
}

void traffic_add(struct traffic *traffic, const struct mps_out *frame)
{
    if (frame->full) fail("a frame is larger than the %u bytes for it", frame->cap);
    traffic->len += frame->len;
}

void traffic_message(struct traffic *traffic, const char *topic, mps_view props, const void *payload, size_t len)
{
    struct mps_msg msg = {.topic = mps_text(topic), .props = props, .payload = {payload, (uint32_t)len}};
    struct mps_out out = traffic_open(traffic, MPS_HEAD_MAX + len);
    mps_encode_msg(&out, &msg);
    traffic_add(traffic, &out);
}

static size_t last_end(const struct traffic *traffic)
{
    return traffic->ends_count > 0 ? traffic->ends[traffic->ends_count - 1] : 0;
}

static void cut_at(struct traffic *traffic, size_t end)
{
    traffic->ends = grow(traffic->ends, &traffic->ends_cap, traffic->ends_count + 1, sizeof *traffic->ends);
    traffic->ends[traffic->ends_count++] = end;
}

void traffic_cut(struct traffic *traffic)
{
    if (traffic->len > last_end(traffic)) cut_at(traffic, traffic->len);
}

void traffic_cut_batches(struct traffic *traffic)
{
    while (traffic->len - last_end(traffic) > BATCH_BYTES) cut_at(traffic, last_end(traffic) + BATCH_BYTES);
    traffic_cut(traffic);
}

void traffic_send(const struct traffic *traffic, struct world *world, struct link *link)
{
    size_t begin = 0;
    for (size_t i = 0; i < traffic->ends_count; i++) {
        world_turn(world, link, traffic->bytes + begin, traffic->ends[i] - begin);
        begin = traffic->ends[i];
    }
}
