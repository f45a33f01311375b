#include "ledger.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *room_for(void *array, uint32_t count, uint32_t *room, size_t size)
{
    if (count < *room) return array;
    *room = *room == 0 ? 16 : 2 * *room;
    array = realloc(array, *room * size);
    if (array == NULL) abort();
    return array;
}

void ledger_open(struct ledger *ledger, struct town *town, bool calm)
{
    *ledger = (struct ledger){.town = town, .calm = calm, .looked = 1};
}

void ledger_close(struct ledger *ledger)
{
    for (uint32_t i = 0; i < ledger->subs_count; i++) {
        free(ledger->subs[i]->items);
        free(ledger->subs[i]);
    }
    for (uint32_t i = 0; i < ledger->groups_count; i++) free(ledger->groups[i].seen);
    free(ledger->messages);
}

/* ---- what is asked for -------------------------------------------------------------------------------------- */

uint32_t ledger_publish(struct ledger *ledger, uint32_t publisher, uint32_t node, const char *topic, bool retain)
{
    uint32_t before = ledger->messages_count;
    while (before > 0 && ledger->messages[before - 1].publisher != publisher) before--;
    ledger->messages =
        room_for(ledger->messages, ledger->messages_count, &ledger->messages_room, sizeof *ledger->messages);
    struct message *message = &ledger->messages[ledger->messages_count++];
    *message = (struct message){.publisher = publisher,
                                .before = before,
                                .node = node,
                                .retain = retain,
                                .stored = topic[0] == STREAM_PATTERN[0]};
    snprintf(message->topic, sizeof message->topic, "%s", topic);
    return ledger->messages_count - 1;
}

static struct group_log *group_of(struct ledger *ledger, const char *name, const char *pattern)
{
    for (uint32_t i = 0; i < ledger->groups_count; i++) {
        struct group_log *group = &ledger->groups[i];
        if (strcmp(group->name, name) == 0 && strcmp(group->pattern, pattern) == 0) return group;
    }
    if (ledger->groups_count == GROUPS_MAX) return NULL;
    struct group_log *group = &ledger->groups[ledger->groups_count++];
    *group = (struct group_log){0};
    snprintf(group->name, sizeof group->name, "%s", name);
    snprintf(group->pattern, sizeof group->pattern, "%s", pattern);
    return group;
}

struct sub *ledger_subscribe(struct ledger *ledger, uint32_t party, uint32_t node, uint32_t sid, const char *pattern,
                             const char *group, bool reader)
{
    struct group_log *log = group != NULL ? group_of(ledger, group, pattern) : NULL;
    if (ledger->subs_count == SUBS_MAX || (group != NULL && log == NULL)) return NULL;
    struct sub *sub = calloc(1, sizeof *sub);
    if (sub == NULL) abort();
    *sub = (struct sub){.party = party, .node = node, .sid = sid, .group = log, .alive = true, .reader = reader};
    snprintf(sub->pattern, sizeof sub->pattern, "%s", pattern);
    return ledger->subs[ledger->subs_count++] = sub;
}

void ledger_granted(struct ledger *ledger, struct sub *sub, bool for_cluster)
{
    if (sub->local == 0) sub->local = ledger->town->event;
    if (for_cluster) sub->established = ledger->town->event;
    sub->is_wide = for_cluster;
}

uint32_t ledger_topic(mps_view topic)
{
    if (topic.len != 5) abort();
    uint32_t kind = topic.ptr[0] == 's' ? 0 : topic.ptr[0] == 't' ? 1 : 2;
    return kind * 9 + (uint32_t)(topic.ptr[2] - 'a') * 3 + (uint32_t)(topic.ptr[4] - '0');
}

void ledger_accepted(struct ledger *ledger, uint32_t index)
{
    struct town *town = ledger->town;
    struct message *message = &ledger->messages[index];
    message->accepted = town->event;
    message->life = town->nodes[message->node].lives;
    for (uint32_t i = 0; i < town->nodes_count; i++)
        if (node_has_met(&town->nodes[i], &town->nodes[message->node])) message->met |= 1u << i;
}

bool ledger_goes_far(const struct ledger *ledger, const char *topic)
{
    const struct town *town = ledger->town;
    for (size_t i = 0; i < town->topics_count; i++)
        if (mps_topic_matches(mps_text(town->topics[i]), mps_text(topic))) return true;
    return false;
}

static bool matches(const struct sub *sub, const struct message *message)
{
    return mps_topic_matches(mps_text(sub->pattern), mps_text(message->topic));
}

/* It is to come, or a GAP is to stand in its place. */
static bool is_for(const struct ledger *ledger, const struct sub *sub, const struct message *message)
{
    bool is_far = message->node != sub->node;
    uint64_t since = is_far ? sub->established : sub->local;
    if (since == 0 || message->accepted <= since || message->refused || !matches(sub, message)) return false;
    if (message->stored && (sub->reader || message->resent)) return false;
    if (message->stored && !message->sure && !ledger->calm) return false; /* it may be refused yet */
    if (!is_far) return true;
    const struct node *nodes = ledger->town->nodes;
    if (!node_has_heard(&nodes[sub->node], &nodes[message->node], message->life)) return false;
    return (message->met & 1u << sub->node) && ledger_goes_far(ledger, message->topic);
}

/* ---- what comes --------------------------------------------------------------------------------------------- */

static void add_item(struct ledger *ledger, struct sub *sub, uint32_t message)
{
    sub->items = room_for(sub->items, sub->items_count, &sub->items_room, sizeof *sub->items);
    sub->items[sub->items_count++] = (struct item){ledger->town->event, message};
}

/* Where a GAP for this may stand: behind the last message of its publisher; if none of it came, behind the last one of
 * its broker that came before the publisher was there. An index of items. */
static uint32_t hole_of(const struct ledger *ledger, const struct sub *sub, const struct message *missing)
{
    if (sub->last[missing->publisher] > 0) return sub->last[missing->publisher];
    uint64_t came = ledger->connected[missing->publisher];
    for (uint32_t i = sub->items_count; i > 0; i--) {
        const struct item *item = &sub->items[i - 1];
        if (item->message == 0 || item->event >= came) continue;
        if (ledger->messages[item->message - 1].node == missing->node) return i;
    }
    return 0;
}

static void judge_missing(struct ledger *ledger, struct sub *sub, uint32_t index)
{
    const struct message *missing = &ledger->messages[index];
    for (uint32_t i = hole_of(ledger, sub, missing); i < sub->items_count; i++)
        if (sub->items[i].message == 0) return;
    if (ledger->town->nodes[missing->node].was_frozen && !ledger->is_at_rest) {
        sub->owed = index + 1;
        return;
    }
    town_fail(ledger->town,
              "message %u of publisher %u at b%u to %s is missing without a GAP at client %u, sid %u (%s) at b%u",
              index, missing->publisher, missing->node, missing->topic, sub->party, sub->sid, sub->pattern, sub->node);
}

/* Those of the publisher between the last one that came and this. */
static void judge_before(struct ledger *ledger, struct sub *sub, uint32_t index)
{
    uint32_t at = sub->last[ledger->messages[index].publisher];
    uint32_t last = at > 0 ? sub->items[at - 1].message : 0; /* index + 1 */
    for (uint32_t i = ledger->messages[index].before; i > last; i = ledger->messages[i - 1].before)
        if (is_for(ledger, sub, &ledger->messages[i - 1])) judge_missing(ledger, sub, i - 1);
}

static void got_by_member(struct ledger *ledger, struct sub *sub, uint32_t index)
{
    struct group_log *group = sub->group;
    if (index >= group->room) {
        uint32_t room = ledger->messages_room;
        group->seen = realloc(group->seen, room);
        if (group->seen == NULL) abort();
        memset(group->seen + group->room, 0, room - group->room);
        group->room = room;
    }
    if (group->seen[index]++ > 0)
        town_fail(ledger->town, "message %u came to group %s (%s) twice, the second time to client %u", index,
                  group->name, group->pattern, sub->party);
}

void ledger_got(struct ledger *ledger, struct sub *sub, uint32_t index, mps_view topic)
{
    if (index >= ledger->messages_count) {
        town_fail(ledger->town, "client %u got message %u, which nobody published", sub->party, index);
        return;
    }
    const struct message *message = &ledger->messages[index];
    bool is_far = message->node != sub->node;
    if (!mps_view_equal(topic, mps_text(message->topic)) || !matches(sub, message))
        town_fail(ledger->town, "client %u, sid %u (%s) got message %u, which was published to %s", sub->party,
                  sub->sid, sub->pattern, index, message->topic);
    if (is_far && !message->resent && !ledger_goes_far(ledger, message->topic))
        town_fail(ledger->town, "message %u to %s went to b%u although it is none of the cluster's", index,
                  message->topic, sub->node);
    if (message->accepted == 0)
        town_fail(ledger->town, "message %u came to client %u before its broker had read it", index, sub->party);
    ledger->copies++;
    ledger->far_copies += is_far;
    if (message->resent) return;
    if (sub->group != NULL) {
        got_by_member(ledger, sub, index);
        return;
    }
    uint32_t at = sub->last[message->publisher];
    if (at > 0 && sub->items[at - 1].message >= index + 1)
        town_fail(ledger->town, "client %u, sid %u (%s) at b%u got message %u behind message %u of the same publisher",
                  sub->party, sub->sid, sub->pattern, sub->node, index, sub->items[at - 1].message - 1);
    judge_before(ledger, sub, index);
    add_item(ledger, sub, index + 1);
    sub->last[message->publisher] = sub->items_count;
}

/* ---- the stream --------------------------------------------------------------------------------------------- */

uint32_t ledger_index(mps_view payload)
{
    uint32_t index = 0;
    for (uint32_t i = 0; i < payload.len && payload.ptr[i] >= '0' && payload.ptr[i] <= '9'; i++)
        index = index * 10 + (uint32_t)(payload.ptr[i] - '0');
    return index;
}

/* What has come to the stream: everything once. */
static void look_at_stream(struct ledger *ledger)
{
    const struct town *town = ledger->town;
    uint64_t next = memory_bus_next_position(town->bus, town->stream);
    for (; ledger->looked < next; ledger->looked++) {
        mps_view frame;
        struct mps_msg msg;
        const char *what;
        if (!memory_bus_message(town->bus, town->stream, ledger->looked, &frame)) continue;
        if (mps_decode_msg(frame, &msg, &what) != MPS_OK || ledger_index(msg.payload) >= ledger->messages_count) {
            town_fail(ledger->town, "position %llu of the stream is nobody's", (unsigned long long)ledger->looked);
            return;
        }
        struct message *message = &ledger->messages[ledger_index(msg.payload)];
        if (message->position > 0)
            town_fail(ledger->town, "message %u is in the stream twice, at %llu and %llu", ledger_index(msg.payload),
                      (unsigned long long)message->position, (unsigned long long)ledger->looked);
        message->position = ledger->looked;
    }
}

void ledger_acked(struct ledger *ledger, uint32_t index, uint64_t position)
{
    const struct message *message = &ledger->messages[index];
    look_at_stream(ledger);
    ledger->acked++;
    if (message->position == 0)
        town_fail(ledger->town, "message %u was acknowledged at level 3 and is not in the stream", index);
    else if (position > 0 && position != message->position)
        town_fail(ledger->town, "message %u was acknowledged as position %llu and is %llu", index,
                  (unsigned long long)position, (unsigned long long)message->position);
}

/* Positions below this that a reader should have got and did not. */
static void judge_place(struct ledger *ledger, struct sub *sub, uint64_t below)
{
    const struct town *town = ledger->town;
    for (; sub->place + 1 < below; sub->place++) {
        mps_view frame;
        struct mps_msg msg;
        const char *what;
        if (!memory_bus_message(town->bus, town->stream, sub->place + 1, &frame)) continue;
        if (mps_decode_msg(frame, &msg, &what) != MPS_OK || !mps_topic_matches(mps_text(sub->pattern), msg.topic))
            continue;
        town_fail(ledger->town, "position %llu of the stream (message %u) never came to client %u, sid %u (%s) at b%u",
                  (unsigned long long)sub->place + 1, ledger_index(msg.payload), sub->party, sub->sid, sub->pattern,
                  sub->node);
        return;
    }
}

void ledger_got_stored(struct ledger *ledger, struct sub *sub, uint32_t index, uint64_t position)
{
    look_at_stream(ledger);
    ledger->stored_copies++;
    if (!sub->reader || index >= ledger->messages_count || ledger->messages[index].position != position)
        town_fail(ledger->town, "client %u, sid %u (%s) got message %u as position %llu of the stream, where it is not",
                  sub->party, sub->sid, sub->pattern, index, (unsigned long long)position);
    else if (position <= sub->place)
        town_fail(ledger->town, "client %u, sid %u (%s) got position %llu of the stream behind %llu", sub->party,
                  sub->sid, sub->pattern, (unsigned long long)position, (unsigned long long)sub->place);
    judge_place(ledger, sub, position);
    sub->place = position;
}

void ledger_gap(struct ledger *ledger, struct sub *sub, const struct mps_gap *gap)
{
    ledger->gaps++;
    sub->gaps++;
    if (gap->reason != MPS_GAP_BETWEEN && gap->reason != MPS_GAP_RESTARTED)
        town_fail(ledger->town, "client %u, sid %u (%s) got a GAP for reason %u", sub->party, sub->sid, sub->pattern,
                  gap->reason);
    if (gap->has_count) town_fail(ledger->town, "a GAP for reason %u has a count, which nobody can know", gap->reason);
    if (ledger->calm)
        town_fail(ledger->town, "client %u, sid %u (%s) at b%u got a GAP although nothing was lost", sub->party,
                  sub->sid, sub->pattern, sub->node);
    add_item(ledger, sub, 0);
    sub->owed = 0;
}

/* ---- at rest ------------------------------------------------------------------------------------------------ */

void ledger_all_hear(struct ledger *ledger)
{
    for (uint32_t i = 0; i < ledger->subs_count; i++) {
        struct sub *sub = ledger->subs[i];
        if (sub->alive && sub->local > 0 && sub->established == 0) sub->established = ledger->town->event;
    }
}

static void judge_sub(struct ledger *ledger, struct sub *sub)
{
    if (sub->owed > 0)
        town_fail(ledger->town, "message %u is missing at client %u, sid %u (%s), and no GAP has followed",
                  sub->owed - 1, sub->party, sub->sid, sub->pattern);
    for (uint32_t i = 0; i < ledger->messages_count; i++) {
        const struct message *message = &ledger->messages[i];
        uint32_t at = sub->last[message->publisher];
        if (!message->sure || (at > 0 && sub->items[at - 1].message > i)) continue;
        if (is_for(ledger, sub, message)) judge_missing(ledger, sub, i);
    }
}

/* Of each message a member has got it, if nothing was ever lost and one was there all the time. */
static void judge_group(struct ledger *ledger, const struct group_log *group)
{
    for (uint32_t i = 0; i < ledger->messages_count; i++) {
        const struct message *message = &ledger->messages[i];
        if (!message->sure || (i < group->room && group->seen[i] > 0)) continue;
        for (uint32_t k = 0; k < ledger->subs_count; k++) {
            const struct sub *sub = ledger->subs[k];
            if (sub->group != group || !sub->alive || !is_for(ledger, sub, message)) continue;
            town_fail(ledger->town,
                      "message %u at b%u to %s came to no member of group %s (%s), although client %u was there", i,
                      message->node, message->topic, group->name, group->pattern, sub->party);
            return;
        }
    }
}

void ledger_judge_rest(struct ledger *ledger)
{
    uint64_t end = memory_bus_next_position(ledger->town->bus, ledger->town->stream);
    look_at_stream(ledger);
    ledger->is_at_rest = true;
    for (uint32_t i = 0; i < ledger->subs_count; i++) {
        struct sub *sub = ledger->subs[i];
        if (!sub->alive || sub->group != NULL) continue;
        judge_sub(ledger, sub);
        if (sub->reader && sub->local > 0) judge_place(ledger, sub, end);
    }
    for (uint32_t i = 0; i < ledger->groups_count && ledger->calm; i++) judge_group(ledger, &ledger->groups[i]);
}
