/* What a connection and a subscription cost the broker's core. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "scenario.h"
#include "traffic.h"
#include "world.h"

#define WARM_UP_COUNT 100
#define STANDING_SUBS_COUNT 1000 /* of the connection that comes and goes with others */

struct scene {
    struct world *world;
    uint64_t count;
    struct link *link; /* that subscribes */
    struct traffic traffic;
};

/* ---- connections ------------------------------------------------------------------------------------------------- */

static void say_bye(struct world *world, struct link *link)
{
    uint8_t frame[MPS_SMALL_FRAME_MAX];
    struct mps_out out = mps_out_open(frame, sizeof frame);
    mps_encode_bye(&out, &(struct mps_bye){.code = 0});
    world_turn(world, link, frame, out.len);
}

static void connect_and_leave(void *arg)
{
    struct scene *scene = arg;
    for (uint64_t i = 0; i < scene->count; i++) {
        struct link *link = world_connect(scene->world);
        world_greet(scene->world, link);
        say_bye(scene->world, link);
        world_end(link);
        world_turn(scene->world, link, NULL, 0);
        if (link->session != NULL || link->frames[MPS_OP_BYE] != 1) fail("a connection was not closed");
    }
}

static uint64_t play_connect(uint64_t messages, const void *arg)
{
    (void)arg;
    struct scene scene = {.world = world_new(), .count = WARM_UP_COUNT};
    connect_and_leave(&scene);
    scene.count = messages;
    measured(connect_and_leave, &scene);
    if (broker_sessions(world_broker(scene.world)) != 0) fail("the broker still has sessions");
    world_free(scene.world);
    return messages;
}

/* ---- subscriptions ----------------------------------------------------------------------------------------------- */

/* Each request comes by itself. */
static void add_subscription(struct traffic *traffic, uint64_t number)
{
    char pattern[64];
    uint32_t sid = STANDING_SUBS_COUNT + 1;
    snprintf(pattern, sizeof pattern, "site/%" PRIu64 "/temp", number);
    struct mps_out out = traffic_open(traffic, MPS_HEAD_MAX);
    mps_encode_sub(&out, &(struct mps_sub){.sid = sid, .pattern = mps_text(pattern)});
    traffic_add(traffic, &out);
    traffic_cut(traffic);
    out = traffic_open(traffic, MPS_SMALL_FRAME_MAX);
    mps_encode_unsub(&out, &(struct mps_unsub){sid});
    traffic_add(traffic, &out);
    traffic_cut(traffic);
}

static void subscribe_and_unsubscribe(void *arg)
{
    struct scene *scene = arg;
    traffic_send(&scene->traffic, scene->world, scene->link);
}

static uint64_t play_subscribe(uint64_t messages, const void *arg)
{
    (void)arg;
    struct scene scene = {.world = world_new()};
    scene.link = world_join(scene.world);
    for (uint32_t sid = 1; sid <= STANDING_SUBS_COUNT; sid++) {
        char pattern[32];
        snprintf(pattern, sizeof pattern, "standing/%" PRIu32, sid);
        world_subscribe(scene.world, scene.link, sid, pattern, NULL);
    }
    for (uint64_t i = 0; i < messages; i++) add_subscription(&scene.traffic, i);
    measured(subscribe_and_unsubscribe, &scene);
    if (scene.link->frames[MPS_OP_SUBACK] != STANDING_SUBS_COUNT + messages ||
        scene.link->frames[MPS_OP_MARK] != STANDING_SUBS_COUNT + 2 * messages)
        fail("not every subscription was answered");
    world_free(scene.world);
    traffic_free(&scene.traffic);
    return messages;
}

const struct scenario session_scenarios[] = {
    {"connect_handshake", 3000, play_connect, NULL, "connected"},
    {"subscribe_unsubscribe", 10000, play_subscribe, NULL, "subscribed"},
    {NULL, 0, NULL, NULL, NULL},
};
