/* Reading streams: where to begin, and what to say about what came. */
#include <string.h>

#include "client.h"

/* ---- SUB ---------------------------------------------------------------------------------------------------- */

static void choose_positions(const struct scene *scene, struct sub_options *o)
{
    static const enum mps_from_kind rests[] = {MPS_FROM_NEW, MPS_FROM_ALL, MPS_FROM_LAST, MPS_FROM_LAST_PER_TOPIC};
    struct rng *rng = scene->rng;
    o->from.rest = rests[rng_below(rng, 4)];
    for (uint32_t i = 0; i < scene->model->logs_count; i++) {
        const struct model_log *log = &scene->model->logs[i];
        if (!rng_percent(rng, 70) || log->of_dead) continue;
        o->from_positions[2 * o->from.count] = log->number;
        o->from_positions[2 * o->from.count++ + 1] = rng_below(rng, (uint32_t)log->next + 3);
    }
    if (o->from.count > 0 && !rng_percent(rng, 2)) return;
    o->from_positions[2 * o->from.count] = rng_percent(rng, 95) ? scene->model->logs[0].number : 999;
    o->from_positions[1] = 1;
    o->from.count = 1;
}

static bool has_number(const struct mps_from *from)
{
    enum mps_from_kind kind = from->kind == MPS_FROM_SEQ ? from->rest : from->kind;
    return kind == MPS_FROM_LAST || kind == MPS_FROM_TIME || kind == MPS_FROM_AGO;
}

void scene_reader_options(const struct scene *scene, struct sub_options *o)
{
    static const enum mps_from_kind kinds[] = {MPS_FROM_NEW,  MPS_FROM_ALL,   MPS_FROM_ALL,
                                               MPS_FROM_LAST, MPS_FROM_SEQ,   MPS_FROM_TIME,
                                               MPS_FROM_AGO,  MPS_FROM_ACKED, MPS_FROM_LAST_PER_TOPIC};
    struct rng *rng = scene->rng;
    uint64_t wall_ms = world_wall_ms(scene->model->world);
    o->from = (struct mps_from){.kind = kinds[rng_below(rng, sizeof kinds / sizeof *kinds)]};
    if (o->from.kind == MPS_FROM_SEQ) choose_positions(scene, o);
    o->from.number = rng_skewed(rng, 60) - 1;
    if (o->from.kind == MPS_FROM_TIME) o->from.number = wall_ms - rng_below(rng, 20000);
    if (o->from.kind == MPS_FROM_AGO) o->from.number = rng_below(rng, 20000);
    if (!has_number(&o->from)) o->from.number = 0;
    if (rng_percent(rng, scene->acked_percent)) {
        o->ack = rng_percent(rng, 50) ? MPS_ACK_UPTO : MPS_ACK_EACH;
        if (rng_percent(rng, 70)) o->ack_ms = rng_between(rng, 100, rng_percent(rng, 50) ? 300 : 5000);
        if (rng_percent(rng, 40)) o->max_tries = rng_skewed(rng, 6);
    }
    if (rng_percent(rng, 40)) o->inflight = rng_skewed(rng, 50);
    if (o->ack == MPS_ACK_NONE && o->from.kind == MPS_FROM_NEW) o->from.kind = MPS_FROM_ALL;
}

/* ---- ACK ---------------------------------------------------------------------------------------------------- */

/* Frames that are on their way will not make another subscription of this sid. */
static bool is_settled(const struct conn *conn, uint32_t sid)
{
    for (uint32_t i = conn->actions_next; i < conn->actions_count; i++) {
        const struct action *action = &conn->actions[i];
        if ((action->kind == ACT_SUB || action->kind == ACT_UNSUB) && action->sid == sid) return false;
    }
    return true;
}

/* A message that is not done with, of any of the client's subscriptions. */
static bool choose_pending(const struct client *client, struct action *action)
{
    struct rng *rng = client->scene->rng;
    uint32_t seen = 0;
    for (const struct model_sub *sub = client->conn->model->subs; sub != NULL; sub = sub->next) {
        const struct model_reader *reader = sub->conn == client->conn && sub->live ? sub_reader(sub) : NULL;
        for (uint32_t i = 0; reader != NULL && i < reader->places_count; i++) {
            const struct model_place *place = &reader->places[i];
            if (place->pending_count == 0 || !is_settled(client->conn, sub->sid)) continue;
            if (rng_below(rng, ++seen) > 0) continue;
            const struct model_pending *pending = &place->pending[rng_below(rng, place->pending_count)];
            action->sid = sub->sid;
            action->stream = place->log->number;
            action->seq = place->log->entries[pending->entry].position;
        }
    }
    return seen > 0;
}

static void write_ack(struct client *client, struct action *action)
{
    struct rng *rng = client->scene->rng;
    uint8_t room[64];
    struct mps_out out = mps_out_open(room, sizeof room);
    static const uint32_t kinds[] = {MPS_ACKED_ONE,  MPS_ACKED_ONE,   MPS_ACKED_ONE,   MPS_ACKED_UPTO,
                                     MPS_ACKED_UPTO, MPS_ACKED_AGAIN, MPS_ACKED_AGAIN, MPS_ACKED_NEVER};
    action->kind = ACT_ACK;
    action->ack_kind = kinds[rng_below(rng, sizeof kinds / sizeof *kinds)];
    if (action->ack_kind == MPS_ACKED_AGAIN && rng_percent(rng, 70)) action->delay_ms = rng_skewed(rng, 2000);
    mps_encode_ack(&out, &(struct mps_ack){.sid = action->sid,
                                           .stream = action->stream,
                                           .seq = action->seq,
                                           .kind = action->ack_kind,
                                           .delay_ms = action->delay_ms});
    client_push(client, &out, action);
}

void subscriber_ack(struct client *client)
{
    struct rng *rng = client->scene->rng;
    for (uint32_t count = rng_skewed(rng, 30); count > 0; count--) {
        struct action action = {0};
        if (!choose_pending(client, &action)) break;
        if (rng_percent(rng, 3)) action.seq += 100000; /* what was never sent: ERR */
        if (rng_percent(rng, 2)) action.stream = 12;
        if (rng_percent(rng, 2)) action.sid = MPS_SID_MAX - 1;
        write_ack(client, &action);
        client->asked++;
    }
}
