/* What the broker's core does for messages that are kept: until each is acknowledged, and when they are read again. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "scenario.h"
#include "traffic.h"
#include "world.h"

#define PAYLOAD_BYTES 64
#define WARM_UP_COUNT 2000

struct scene {
    struct world *world;
    struct link *link;
    struct traffic traffic;
};

/* ---- storing ----------------------------------------------------------------------------------------------------- */

static struct link *join_publisher(struct world *world)
{
    uint8_t frame[MPS_SMALL_FRAME_MAX];
    struct mps_out out = mps_out_open(frame, sizeof frame);
    struct link *link = world_join(world);
    mps_encode_pub(&out, &(struct mps_pub){.pid = 1, .flags = 2 << MPS_PUB_LEVEL_SHIFT});
    world_turn(world, link, frame, out.len);
    return link;
}

/* So many messages come in one read, and are one commit. */
static void fill(struct traffic *traffic, uint64_t messages, uint64_t batch)
{
    static const uint8_t payload[PAYLOAD_BYTES];
    for (uint64_t i = 0; i < messages; i++) {
        traffic_message(traffic, "t/x", (mps_view){NULL, 0}, payload, sizeof payload);
        if ((i + 1) % batch == 0) traffic_cut(traffic);
    }
    traffic_cut(traffic);
}

static void send_traffic(void *arg)
{
    struct scene *scene = arg;
    traffic_send(&scene->traffic, scene->world, scene->link);
}

static void expect_acked(const struct link *publisher, uint64_t messages)
{
    if (publisher->acked_pid != messages)
        fail("%" PRIu64 " of %" PRIu64 " messages were answered", publisher->acked_pid, messages);
}

/* A world in which so many messages are stored. */
static void store(struct scene *scene, uint64_t messages, uint64_t batch)
{
    struct traffic traffic = {0};
    scene->world = world_new();
    world_keep(scene->world, "#");
    scene->link = join_publisher(scene->world);
    fill(&traffic, messages, batch);
    traffic_send(&traffic, scene->world, scene->link);
    traffic_free(&traffic);
    expect_acked(scene->link, messages);
}

static uint64_t play_store(uint64_t messages, const void *arg)
{
    const uint64_t *batch = arg;
    struct scene scene = {0};
    store(&scene, WARM_UP_COUNT, *batch);
    fill(&scene.traffic, messages, *batch);
    measured(send_traffic, &scene);
    expect_acked(scene.link, WARM_UP_COUNT + messages);
    world_free(scene.world);
    traffic_free(&scene.traffic);
    return messages;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static uint64_t play_replay(uint64_t messages, const void *arg)
{
    const struct mps_sub_options *options = arg;
    struct scene scene = {0};
    store(&scene, messages, 100);
    scene.link = world_join(scene.world);
    struct mps_out out = traffic_open(&scene.traffic, MPS_HEAD_MAX);
    mps_encode_sub(&out, &(struct mps_sub){.sid = 1, .pattern = mps_text("#"), .options = *options});
    traffic_add(&scene.traffic, &out);
    traffic_cut(&scene.traffic);
    measured(send_traffic, &scene);
    if (scene.link->frames[MPS_OP_MSG] != messages)
        fail("%" PRIu64 " of %" PRIu64 " messages were read", scene.link->frames[MPS_OP_MSG], messages);
    world_free(scene.world);
    traffic_free(&scene.traffic);
    return messages;
}

/* ---- the scenarios ----------------------------------------------------------------------------------------------- */

static const uint64_t one = 1, hundred = 100;
static const struct mps_sub_options all = {.given = MPS_SUB_FROM, .from = {.kind = MPS_FROM_ALL}};
static const struct mps_sub_options all_filtered = {.given = MPS_SUB_FROM | MPS_SUB_FILTER,
                                                    .from = {.kind = MPS_FROM_ALL},
                                                    .filter = {(const uint8_t *)"@topic == \"t/x\"", 15}};

const struct scenario stored_scenarios[] = {
    {"stored_batch", 50000, play_store, &hundred, "stored"},
    {"stored_single", 10000, play_store, &one, "stored"},
    {"replay", 100000, play_replay, &all, "delivered"},
    {"replay_filtered", 50000, play_replay, &all_filtered, "delivered"},
    {NULL, 0, NULL, NULL, NULL},
};
