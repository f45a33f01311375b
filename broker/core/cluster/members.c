#include "members.h"

#include <stdlib.h>
#include <string.h>

#include "far.h"
#include "lanes.h"
#include "mailbox.h"
#include "scope.h"
#include "sure.h"

/* Signs of life that are due at once are not closer than this to the one before. */
#define HERE_LEAST_MS 50u
/* A turn that comes so much later than it should means that this process did not run: the others are not to blame. */
#define FROZEN_MS 2000u

/* So often are all mailboxes told of holes. */
#define HOLES_MS 100u
/* A life of a broker is so long at least: each new one costs a look at all that is known of the one before. */
#define LIFE_LEAST_MS 1000u
/* So often the log says that another one has this broker's name: it is heard every second. */
#define NAME_SAID_MS 60000u

static const char software[] = "pubsubd/" PUBSUB_VERSION;

struct neighbour *cluster_find(const struct cluster *cluster, mps_view name)
{
    for (uint32_t i = 0; i < cluster->neighbours_count; i++)
        if (mps_view_equal(mps_text(cluster->neighbours[i]->name), name)) return cluster->neighbours[i];
    return NULL;
}

/* ---- holes -------------------------------------------------------------------------------------------------- */

/* Nobody knows whose the messages would have been: all mailboxes are told whose patterns other brokers know. A group's
 * also when its members have just gone: what was on its way to them may be missing. */
static bool is_concerned(const struct cluster *cluster, const struct mailbox *box)
{
    if (box->is_told || box->session != NULL) return box->is_told;
    uint64_t untold_ms = container_of(box, struct group, box)->untold_ms;
    return untold_ms > 0 && cluster->broker->now_ms < untold_ms + NEIGHBOUR_AWAY_MS;
}

static void tell_box(const struct cluster *cluster, struct mailbox *box)
{
    if (box->holes == cluster->holes || !is_concerned(cluster, box)) return;
    box->holes = cluster->holes;
    mailbox_lose_unknown(box, MPS_GAP_BETWEEN);
}

void neighbours_tell_holes(struct cluster *cluster, struct mailbox *const *boxes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) tell_box(cluster, boxes[i]);
}

static void tell_all(struct cluster *cluster)
{
    struct broker *broker = cluster->broker;
    for (struct list_node *node = broker->boxes.first; node != NULL; node = node->next) {
        struct mailbox *box = container_of(node, struct mailbox, in_boxes);
        tell_box(cluster, box);
        box->holes = 0;
        broker->work++;
    }
    cluster->holes = 0;
    cluster->holes_ms = broker->now_ms;
}

/* Who gets the next message from another broker is told before that; the others soon, and not for each hole again: on a
 * link that loses each second datagram, thousands in a turn, that would be all that this broker does. */
static void tell_hole(struct cluster *cluster)
{
    if (++cluster->holes == UINT16_MAX) tell_all(cluster);
}

/* Returns when to do so again. */
static uint64_t holes_turn(struct cluster *cluster)
{
    if (cluster->holes == 0) return UINT64_MAX;
    uint64_t due_ms = cluster->holes_ms > 0 ? cluster->holes_ms + HOLES_MS : 0;
    if (cluster->broker->now_ms < due_ms) return due_ms;
    tell_all(cluster);
    return UINT64_MAX;
}

void neighbour_note_hole(struct neighbour *from, uint64_t messages)
{
    struct cluster *cluster = from->cluster;
    from->holes++;
    from->lost += messages;
    log_say(cluster->broker, EVENT_CLUSTER_HOLE,
            LOG_FIELDS(log_word("from", from->name), log_number("messages", messages)),
            "messages from broker '%s' are missing, at least %llu: subscriptions are told", from->name,
            (unsigned long long)messages);
    tell_hole(cluster);
}

/* ---- coming and going --------------------------------------------------------------------------------------- */

static bool is_past(const struct neighbour *neighbour, uint64_t boot)
{
    for (size_t i = 0; i < sizeof neighbour->past_boots / sizeof neighbour->past_boots[0]; i++)
        if (neighbour->past_boots[i] == boot) return true;
    return false;
}

/* Of its present life something was heard lately. */
static bool is_seen(const struct neighbour *neighbour)
{
    return neighbour->cluster->broker->now_ms < neighbour->seen_ms + NEIGHBOUR_AWAY_MS;
}

static void begin_life(struct neighbour *neighbour, uint64_t boot, mps_view tag)
{
    memmove(neighbour->past_boots + 1, neighbour->past_boots,
            sizeof neighbour->past_boots - sizeof neighbour->past_boots[0]);
    neighbour->past_boots[0] = neighbour->boot;
    neighbour->boot = boot;
    neighbour->begun_ms = neighbour->cluster->broker->now_ms;
    memcpy(neighbour->tag, tag.ptr, CLUSTER_TAG_BYTES);
    neighbour->seq = neighbour->messages = neighbour->seq_before = 0;
    neighbour->told_all_ms = neighbour->asked_ms = 0;
    neighbour->is_asked = neighbour->is_anew = neighbour->is_missed = neighbour->has_left = false;
    neighbour->sure_of = 0;
    lane_begin(neighbour);
    neighbour->cluster->here_ms = 0; /* it is to hear of us at once */
}

/* The place of one that has been away longest, of which nothing is left then; NULL: all are present. */
static struct neighbour *forget_one(struct cluster *cluster)
{
    struct neighbour *longest = NULL;
    for (uint32_t i = 0; i < cluster->neighbours_count; i++) {
        struct neighbour *neighbour = cluster->neighbours[i];
        if (neighbour->is_present) continue;
        if (longest == NULL || neighbour->left_ms < longest->left_ms) longest = neighbour;
    }
    if (longest == NULL) return NULL;
    uint32_t number = longest->number;
    far_forget(longest);
    scope_neighbour_gone(cluster, longest);
    lane_free(longest);
    *longest = (struct neighbour){.cluster = cluster, .number = number};
    return longest;
}

static struct neighbour *neighbour_add(struct cluster *cluster)
{
    if (cluster->neighbours_count == NEIGHBOURS_MAX) return forget_one(cluster);
    struct neighbour *neighbour = sure_zeroed(sizeof *neighbour);
    neighbour->cluster = cluster;
    neighbour->number = cluster->neighbours_count;
    cluster->neighbours[cluster->neighbours_count++] = neighbour;
    return neighbour;
}

static struct neighbour *meet(struct cluster *cluster, mps_view name, uint64_t boot, mps_view tag)
{
    struct neighbour *neighbour = neighbour_add(cluster);
    if (neighbour == NULL) {
        log_say(cluster->broker, EVENT_CLUSTER_CROWD, LOG_FIELDS(log_value("name", name)),
                "broker '%s' is not taken notice of: this one knows %u others, the limit", printable(name),
                NEIGHBOURS_MAX);
        return NULL;
    }
    memcpy(neighbour->name, name.ptr, name.len);
    neighbour->name[name.len] = '\0';
    neighbour->left_ms = cluster->broker->now_ms;
    begin_life(neighbour, boot, tag);
    return neighbour;
}

static void say_same_name(struct cluster *cluster, mps_view name)
{
    uint64_t now_ms = cluster->broker->now_ms;
    if (now_ms < cluster->name_due_ms) return;
    cluster->name_due_ms = now_ms + NAME_SAID_MS;
    log_say(cluster->broker, EVENT_CLUSTER_NAME, LOG_FIELDS(log_value("name", name)),
            "another broker has this one's name '%s': what it sends is not taken, each needs a name of its own",
            printable(name));
}

static bool is_own_name(struct cluster *cluster, mps_view name, uint64_t boot)
{
    if (!mps_view_equal(mps_text(cluster->name), name)) return false;
    if (boot != cluster->boot) say_same_name(cluster, name);
    return true;
}

struct neighbour *neighbour_hear(struct cluster *cluster, mps_view name, uint64_t boot, mps_view tag)
{
    if (is_own_name(cluster, name, boot)) return NULL;
    struct neighbour *neighbour = cluster_find(cluster, name);
    if (neighbour == NULL) neighbour = meet(cluster, name, boot, tag);
    if (neighbour == NULL) return NULL;
    if (neighbour->boot != boot) {
        if (is_past(neighbour, boot) && is_seen(neighbour)) return NULL;                /* it comes late */
        if (cluster->broker->now_ms < neighbour->begun_ms + LIFE_LEAST_MS) return NULL; /* it will be heard again */
        if (neighbour->is_present) neighbour_gone(neighbour, false);
        else if (!neighbour->has_left) tell_hole(cluster); /* of what it took until it died, for who has come since */
        begin_life(neighbour, boot, tag);
    }
    neighbour->seen_ms = cluster->broker->now_ms;
    return neighbour;
}

void neighbour_heard_lane(struct neighbour *from)
{
    struct broker *broker = from->cluster->broker;
    from->heard_ms = broker->now_ms;
    from->datagrams_in++;
    if (from->is_present) return;
    from->is_present = true;
    from->is_missed = false;
    from->came_ms = broker->now_ms;
    log_say(broker, EVENT_CLUSTER_CAME, LOG_FIELDS(log_word("name", from->name)), "broker '%s' is there", from->name);
}

void neighbour_gone(struct neighbour *gone, bool is_clean)
{
    struct cluster *cluster = gone->cluster;
    struct broker *broker = cluster->broker;
    gone->is_present = false;
    if (!is_clean) { /* perhaps nothing was heard because what was taken last was not its own */
        gone->seq_before = gone->seq > gone->seq_before ? gone->seq : gone->seq_before;
        gone->seq = gone->lower_ms = 0;
    }
    gone->has_left = is_clean;
    gone->is_missed = !is_clean;
    gone->left_ms = broker->now_ms;
    far_forget(gone); /* what is published from now on it will see as a hole when it is back */
    gone->lane.told = 0;
    if (is_clean) {
        log_say(broker, EVENT_CLUSTER_LEFT, LOG_FIELDS(log_word("name", gone->name)), "broker '%s' has left",
                gone->name);
    } else {
        gone->holes++;
        log_say(broker, EVENT_CLUSTER_GONE, LOG_FIELDS(log_word("name", gone->name)),
                "broker '%s' is not heard of any more: subscriptions are told that messages may be missing",
                gone->name);
        tell_hole(cluster);
    }
    scope_neighbour_gone(cluster, gone);
}

/* ---- signs of life ------------------------------------------------------------------------------------------ */

static void say_here(struct cluster *cluster)
{
    uint8_t room[256];
    struct mps_out out = mps_out_open(room, sizeof room);
    between_encode_here(&out, &(struct between_here){.name = mps_text(cluster->name),
                                                     .tag = {cluster->tag, CLUSTER_TAG_BYTES},
                                                     .boot = cluster->boot,
                                                     .software = mps_text(software)});
    cluster->engine->send(cluster->engine, NULL, out.buf, out.len);
    cluster->said_ms = cluster->broker->now_ms;
    cluster->here_ms = cluster->said_ms + HERE_MS;
}

/* When nothing ran here for a while, nothing could be heard. */
static void forgive(struct cluster *cluster)
{
    uint64_t now_ms = cluster->broker->now_ms, late_ms = now_ms - cluster->turn_ms;
    cluster->turn_ms = now_ms;
    if (late_ms < FROZEN_MS) return;
    for (uint32_t i = 0; i < cluster->neighbours_count; i++) {
        cluster->neighbours[i]->heard_ms = least(now_ms, cluster->neighbours[i]->heard_ms + late_ms);
        cluster->neighbours[i]->seen_ms = least(now_ms, cluster->neighbours[i]->seen_ms + late_ms);
    }
}

/* It said that it is there, and is not heard of any more before its lane ever was: what it took may be missing. */
static bool has_vanished(const struct neighbour *neighbour)
{
    return !neighbour->is_present && !neighbour->has_left && !neighbour->is_missed && !is_seen(neighbour);
}

uint64_t neighbours_turn(struct cluster *cluster)
{
    uint64_t now_ms = cluster->broker->now_ms;
    forgive(cluster);
    uint64_t soonest_ms = cluster->said_ms > 0 ? cluster->said_ms + HERE_LEAST_MS : 0;
    if (cluster->here_ms < soonest_ms) cluster->here_ms = soonest_ms;
    if (now_ms >= cluster->here_ms) say_here(cluster);
    uint64_t next_ms = cluster->here_ms;
    for (uint32_t i = 0; i < cluster->neighbours_count; i++) {
        struct neighbour *neighbour = cluster->neighbours[i];
        if (neighbour->is_present && now_ms >= neighbour->heard_ms + NEIGHBOUR_AWAY_MS)
            neighbour_gone(neighbour, false);
        if (has_vanished(neighbour)) {
            neighbour->is_missed = true;
            tell_hole(cluster);
        }
        if (neighbour->is_present) next_ms = least(next_ms, neighbour->heard_ms + NEIGHBOUR_AWAY_MS);
        if (!is_seen(neighbour)) continue;
        if (now_ms >= neighbour->lane.sent_ms + HERE_MS) lane_beat(neighbour);
        next_ms = least(next_ms, neighbour->lane.sent_ms + HERE_MS);
    }
    return least(next_ms, holes_turn(cluster));
}

void neighbours_leave(struct cluster *cluster)
{
    uint8_t room[16];
    struct mps_out out = mps_out_open(room, sizeof room);
    if (cluster->holes > 0) tell_all(cluster);
    between_encode_bare(&out, BETWEEN_LEAVE);
    for (uint32_t i = 0; i < cluster->neighbours_count; i++) {
        if (!cluster->neighbours[i]->is_present) continue;
        lane_put_frame(cluster->neighbours[i], &out);
        lane_flush(cluster->neighbours[i]);
    }
}

void neighbours_free(struct cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->neighbours_count; i++) {
        far_forget(cluster->neighbours[i]);
        lane_free(cluster->neighbours[i]);
    }
    for (uint32_t i = 0; i < cluster->neighbours_count; i++) free(cluster->neighbours[i]);
    cluster->neighbours_count = 0;
}
