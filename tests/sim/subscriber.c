/* Subscribing, with options of every kind. */
#include "client.h"

#include <string.h>

static uint32_t random_sid(struct client *client)
{
    uint32_t sid = rng_between(client->scene->rng, 1, client->scene->sids_count);
    return rng_percent(client->scene->rng, 2) ? MPS_SID_MAX : sid;
}

/* Of UNSUB, STAT and CREDIT: the inbox, too. */
static uint32_t any_sid(struct client *client)
{
    return rng_percent(client->scene->rng, 6) ? 0 : random_sid(client);
}

/* Something that SUB can't have. */
static uint32_t spoil_sub(struct rng *rng, struct mps_sub *sub, uint32_t *column)
{
    struct mps_sub_options *o = &sub->options;
    o->given &= ~(uint32_t)(MPS_SUB_GROUP | MPS_SUB_NO_LOCAL);
    switch (rng_below(rng, 14)) {
    case 0: sub->sid = 0; return MPS_BAD_OPTION;
    case 1: sub->sid = MPS_SID_MAX + 1; return MPS_BAD_OPTION;
    case 2: sub->pattern = mps_text("a/#/b"); return MPS_BAD_TOPIC;
    case 3: sub->pattern = mps_text(""); return MPS_BAD_TOPIC;
    case 4: sub->pattern = mps_text("$inbox/someone/else"); return MPS_NOT_AUTHORISED;
    case 5:
        o->given |= MPS_SUB_DURABLE;
        o->durable = true;
        return MPS_BAD_OPTION;
    case 6:
        o->given |= MPS_SUB_THEN;
        o->then = MPS_POLICY_LATEST;
        return MPS_BAD_OPTION;
    case 7:
        o->given |= MPS_SUB_THEN;
        o->then = MPS_POLICY_BLOCK;
        return MPS_BAD_OPTION;
    case 8:
        o->given |= MPS_SUB_GROUP;
        o->group = mps_text("a/b");
        return MPS_BAD_OPTION;
    case 9:
        o->given |= MPS_SUB_GROUP;
        o->group = mps_text("");
        return MPS_BAD_OPTION;
    case 10:
        o->given |= MPS_SUB_GROUP | MPS_SUB_NO_LOCAL;
        o->group = mps_text("g");
        o->no_local = true;
        return MPS_BAD_OPTION;
    case 11:
        o->given |= MPS_SUB_GROUP | MPS_SUB_POLICY;
        o->group = mps_text("g");
        o->policy = MPS_POLICY_CLOSE;
        return MPS_BAD_OPTION;
    case 12:
        o->given |= MPS_SUB_FILTER;
        o->filter = mps_text(filter_bad(rng, column));
        return MPS_BAD_FILTER;
    default:
        sub->pattern = mps_text("$kept/nowhere");
        o->given = (o->given & ~(uint32_t)MPS_SUB_DURABLE) | MPS_SUB_FROM;
        o->from = (struct mps_from){.kind = MPS_FROM_ALL};
        return MPS_NO_HISTORY;
    }
}

static void put_reading(struct rng *rng, const struct sub_options *from, struct mps_sub_options *o)
{
    o->from = from->from;
    o->from.positions = from->from_positions;
    o->ack = from->ack;
    o->ack_ms = from->ack_ms;
    o->max_tries = from->max_tries;
    o->inflight = from->inflight;
    o->durable = from->durable;
    if (from->from.kind != MPS_FROM_NEW || rng_percent(rng, 10)) o->given |= MPS_SUB_FROM;
    if (from->ack != MPS_ACK_NONE) o->given |= MPS_SUB_ACK;
    if (from->ack_ms > 0) o->given |= MPS_SUB_ACK_MS;
    if (from->max_tries > 0) o->given |= MPS_SUB_MAX_TRIES;
    if (from->inflight > 0) o->given |= MPS_SUB_INFLIGHT;
    if (from->durable) o->given |= MPS_SUB_DURABLE;
}

/* What the options are on the wire. Defaults are left out, or said. */
static void put_options(struct rng *rng, const struct sub_options *from, struct mps_sub_options *o)
{
    bool said = rng_percent(rng, 20);
    *o = (struct mps_sub_options){.policy = from->policy,
                                  .then = from->then,
                                  .max_msgs = from->max_msgs,
                                  .max_bytes = from->max_bytes,
                                  .block_ms = from->block_ms,
                                  .credit = from->credit,
                                  .retained = from->retained,
                                  .no_local = from->no_local};
    if (from->policy != MPS_POLICY_DROP_OLD || said) o->given |= MPS_SUB_POLICY;
    if (from->then != MPS_POLICY_DROP_NEW || said) o->given |= MPS_SUB_THEN;
    if (from->max_msgs > 0) o->given |= MPS_SUB_MAX_MSGS;
    if (from->max_bytes > 0) o->given |= MPS_SUB_MAX_BYTES;
    if (from->block_ms > 0) o->given |= MPS_SUB_BLOCK_MS;
    if (from->credit != UINT64_MAX) o->given |= MPS_SUB_CREDIT;
    if (from->retained != 0 || said) o->given |= MPS_SUB_RETAINED;
    if (from->no_local || said) o->given |= MPS_SUB_NO_LOCAL;
    if (from->group[0] != '\0') {
        o->given |= MPS_SUB_GROUP;
        o->group = mps_text(from->group);
    }
    if (from->filter != NO_FILTER) {
        o->given |= MPS_SUB_FILTER;
        o->filter = mps_text(filter_text(from->filter));
    }
    put_reading(rng, from, o);
}

/* scene.apart: whether no other subscription of the client matches any topic of this one. Notes that from now on this
 * one does. */
static bool is_apart(struct client *client, const struct action *action)
{
    const struct scene *scene = client->scene;
    for (uint32_t i = 0; i < scene->topics_count; i++) {
        uint32_t sid = client->topic_sids[i];
        if (sid != 0 && sid != action->sid && name_matches(&action->name, &scene->topics[i])) return false;
    }
    for (uint32_t i = 0; i < scene->topics_count; i++)
        if (name_matches(&action->name, &scene->topics[i])) client->topic_sids[i] = action->sid;
    return true;
}

static uint32_t choose_group(struct client *client, uint32_t sid)
{
    const struct scene *scene = client->scene;
    const struct model_sub *there = model_find_sub(client->conn, sid);
    for (uint32_t i = 0; i < scene->groups_count && there != NULL && there->group != NULL; i++)
        if (client->group_sids[i] == sid) return i;
    return rng_below(scene->rng, scene->groups_count);
}

/* A client is a member of a group once at most. */
static void choose_member(struct client *client, struct action *action)
{
    const struct scene *scene = client->scene;
    uint32_t i = choose_group(client, action->sid);
    const struct scene_group *group = &scene->groups[i];
    uint32_t retained = action->options.retained;
    uint64_t credit = action->options.credit;
    if (client->group_sids[i] != 0 && client->group_sids[i] != action->sid) return;
    client->group_sids[i] = action->sid;
    action->name = group->pattern;
    if (rng_percent(scene->rng, 92)) action->options = group->options;
    if (action->options.policy == MPS_POLICY_CLOSE) action->options.policy = MPS_POLICY_DROP_OLD;
    if (action->options.then == MPS_POLICY_CLOSE) action->options.then = MPS_POLICY_DROP_OLD;
    action->options.no_local = false;
    action->options.retained = retained;
    action->options.credit = credit;
    strcpy(action->options.group, group->name);
}

/* Where only one queue may hold publishers, the first is it. */
static void choose_blocker(struct client *client, struct action *action)
{
    struct scene *scene = client->scene;
    if (!scene->one_blocks || action->options.policy != MPS_POLICY_BLOCK) return;
    if (action->options.group[0] == '\0' && (scene->blocker == NULL || scene->blocker->link == NULL)) {
        scene->blocker = client->conn;
        scene->blocker_sid = action->sid;
    }
    if (scene->blocker != client->conn || scene->blocker_sid != action->sid || action->options.group[0] != '\0')
        action->options.policy = MPS_POLICY_DROP_NEW;
}

/* Who reads streams once, does so for ever, and acknowledges as at first. */
static void choose_reading(const struct client *client, const struct model_sub *there, struct sub_options *o)
{
    const struct scene *scene = client->scene;
    const struct model_reader *reader = there != NULL ? sub_reader(there) : NULL;
    bool reads = there != NULL ? reader != NULL : rng_percent(scene->rng, scene->read_percent);
    if (scene->model->logs_count == 0) return;
    if (rng_percent(scene->rng, 3)) reads = !reads;
    if (!reads) return;
    scene_reader_options(scene, o);
    if (rng_percent(scene->rng, 97)) o->no_local = false;
    if (reader != NULL && rng_percent(scene->rng, 95)) o->ack = reader->ack;
    if (reader != NULL && o->ack == MPS_ACK_NONE && o->from.kind == MPS_FROM_NEW) o->from.kind = MPS_FROM_ALL;
}

static void choose_options(struct client *client, struct action *action)
{
    const struct scene *scene = client->scene;
    struct rng *rng = scene->rng;
    struct sub_options *o = &action->options;
    struct model_sub *there = model_find_sub(client->conn, action->sid);
    scene_queue_options(scene, o);
    o->credit = rng_percent(rng, scene->credit_percent) ? rng_skewed(rng, 40) - 1 : UINT64_MAX;
    o->no_local = rng_percent(rng, scene->no_local_percent);
    if (rng_percent(rng, 50)) o->retained = rng_below(rng, 3);
    if (rng_percent(rng, 3)) o->max_msgs = scene->model->limits.queue_msgs_cap_count + rng_below(rng, 2);
    choose_reading(client, there, o);
    bool member = there != NULL ? there->group != NULL : rng_percent(rng, scene->group_percent);
    if (rng_percent(rng, 3)) member = !member;
    if (member && scene->groups_count > 0) choose_member(client, action);
}

void subscriber_sub(struct client *client)
{
    struct scene *scene = client->scene;
    struct rng *rng = scene->rng;
    uint8_t room[1024];
    struct mps_out out = mps_out_open(room, sizeof room);
    struct action action = {.kind = ACT_SUB, .sid = random_sid(client)};
    action.name = scene->patterns[rng_below(rng, scene->patterns_count)];
    struct model_sub *there = model_find_sub(client->conn, action.sid);
    if (there != NULL && rng_percent(rng, 100 - scene->upsert_percent)) return;
    choose_options(client, &action);
    if (there != NULL && rng_percent(rng, 90)) action.name = there->pattern;
    /* With a backlog, of which too large one a GAP speaks, live or retained, can't be told apart: no upserts then. */
    if (client->rx_max > 0 && action.options.retained != 2 && action.options.group[0] == '\0')
        action.sid = 100000 + (uint32_t)client->asked;
    choose_blocker(client, &action);
    if (scene->apart && !is_apart(client, &action)) return;
    struct mps_sub sub = {.sid = action.sid, .pattern = {(const uint8_t *)action.name.text, action.name.len}};
    put_options(rng, &action.options, &sub.options);
    if (rng_percent(rng, 4)) action.code = spoil_sub(rng, &sub, &action.flags);
    action.sid = sub.sid;
    mps_encode_sub(&out, &sub);
    client_push(client, &out, &action);
    client->asked++;
}

void subscriber_unsub(struct client *client)
{
    uint8_t room[32];
    struct mps_out out = mps_out_open(room, sizeof room);
    struct action action = {.kind = ACT_UNSUB, .sid = any_sid(client)};
    mps_encode_unsub(&out, &(struct mps_unsub){action.sid});
    client_push(client, &out, &action);
    client->asked++;
}

void subscriber_credit(struct client *client)
{
    struct rng *rng = client->scene->rng;
    uint8_t room[32];
    struct mps_out out = mps_out_open(room, sizeof room);
    struct action action = {.kind = ACT_CREDIT, .sid = any_sid(client), .drain = rng_percent(rng, 30)};
    const struct model_sub *there = model_find_sub(client->conn, action.sid);
    action.credit = rng_below(rng, 30);
    if (there != NULL && there->credit != UINT64_MAX && rng_percent(rng, 80))
        action.credit = there->credit + rng_skewed(rng, 40);
    mps_encode_credit(&out, &(struct mps_credit){.sid = action.sid, .max_msgs = action.credit, .drain = action.drain});
    client_push(client, &out, &action);
}

void subscriber_stat(struct client *client)
{
    uint8_t room[32];
    struct mps_out out = mps_out_open(room, sizeof room);
    struct action action = {.kind = ACT_STAT, .sid = any_sid(client)};
    mps_put_array(&out, 2);
    mps_put_uint(&out, MPS_OP_STAT);
    mps_put_uint(&out, action.sid);
    client_push(client, &out, &action);
    client->asked++;
}
