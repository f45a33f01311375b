/* Several brokers' cores that meet on a bus in memory, in one thread: the test is their clock and their clients
 * (broker_stage.h), and breaks the bus as it likes (memory_engine.h). Failures end the test (cmocka). */
#ifndef CLUSTER_RIG_H
#define CLUSTER_RIG_H

#include "broker_stage.h"
#include "memory_engine.h"

#define RIG_BROKERS 4
#define RIG_HOLE "gap 1 x? reason 14" /* what who has the sid 1 is told where something is missing */

struct neighbour;

struct rig {
    struct memory_bus *bus;
    struct stage *at[RIG_BROKERS];        /* of each broker; its .broker is NULL until it starts */
    struct engine *engines[RIG_BROKERS];
    const char *topics[4];                /* [cluster] topics of those that start; topics[0] NULL: # */
    bool is_frozen[RIG_BROKERS];
    uint64_t now_ms;
};

int rig_set_up(void **state);
int rig_tear_down(void **state);

const char *rig_name(int number);         /* "one", "two", ... */
void rig_start(struct rig *rig, int number);
void rig_start_all(struct rig *rig, int count); /* and lets them meet */
/* Two brokers, with a publisher `p` at the first, and a subscriber `s` at the second. */
struct rig *rig_two(void **state);
void rig_leave(struct rig *rig, int number);    /* it says good-bye, and stops */
void rig_crash(struct rig *rig, int number);    /* it is gone, with all its connections */
/* Stops its process, or lets it go on. */
void rig_freeze(struct rig *rig, int number, bool is_frozen);
void rig_run(struct rig *rig);                  /* until there is nothing to do at this moment */
void rig_pass(struct rig *rig, uint64_t ms);    /* time passes for all that are not frozen */
/* What the broker `here` knows of the broker `there`. */
struct neighbour *rig_neighbour(struct rig *rig, int here, int there);
/* A client `link` at this broker, welcome. */
void rig_client(struct rig *rig, int number, char link);
/* Subscribes it, lets the others know, and forgets what it was answered. */
void rig_sub(struct rig *rig, int number, char link, uint32_t sid, const char *pattern);
/* What it publishes has come to everybody. */
void rig_msg(struct rig *rig, int number, char link, const char *topic, const char *text);
#define rig_expect(rig, number, link, expected) stage_expect((rig)->at[number], link, expected)

#endif
