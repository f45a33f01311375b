#include "run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIGHT_TOTAL_BYTES 1000000 /* the broker's budget below this matters */
#define PIECE_MAX 65536           /* bytes of one read */
#define FINISH_ROUNDS 200         /* of reads, until everything is said and done */
#define HALF_ROUNDS 30            /* for what is still written when all have left */
#define SMALL_PIECE 2000          /* one of several reads in a turn: surely worked on at once */

static void choose_limits(struct rng *rng, struct broker_limits *limits)
{
    broker_defaults(limits);
    limits->session_max_s = 0; /* the model's sessions end with their connections; tests/unit has the others */
    if (rng_percent(rng, 50)) limits->max_payload = rng_between(rng, 16, rng_percent(rng, 70) ? 500 : 60000);
    /* Input has to be read in small pieces; but no message needs to wait for memory. */
    if (limits->max_payload <= 500 && rng_percent(rng, 40)) limits->input_total_bytes = rng_between(rng, 1000, 400000);
    if (rng_percent(rng, 15)) limits->max_sessions_count = limits->max_away_count = rng_between(rng, 1, 12);
    if (rng_percent(rng, 15)) limits->max_subs_count = rng_between(rng, 1, 6);
    if (rng_percent(rng, 30)) limits->queue_msgs_count = rng_between(rng, 1, 200);
    if (rng_percent(rng, 20)) limits->queue_bytes = rng_between(rng, 100, 20000);
    if (rng_percent(rng, 15)) limits->queue_msgs_cap_count = limits->queue_msgs_count + rng_below(rng, 20);
    if (rng_percent(rng, 10)) limits->session_queue_bytes = rng_between(rng, 100, 5000);
    else if (rng_percent(rng, 12)) limits->queue_total_bytes = rng_between(rng, 2000, 60000);
    if (rng_percent(rng, 30)) limits->pub_window_count = rng_between(rng, 1, 50);
    if (rng_percent(rng, 20)) limits->keepalive_max_s = rng_between(rng, 1, 10);
    if (limits->queue_msgs_cap_count < limits->queue_msgs_count)
        limits->queue_msgs_cap_count = limits->queue_msgs_count;
}

void run_open(struct run *run, uint64_t seed, bool trace)
{
    *run = (struct run){.rng = {seed}};
    struct broker_limits limits;
    choose_limits(&run->rng, &limits);
    world_open(&run->world, rng_next(&run->rng), &limits);
    model_open(&run->model, &run->world, &limits);
    run->model.trace = trace;
    run->model.tight_total = limits.queue_total_bytes < TIGHT_TOTAL_BYTES;
    scene_open(&run->scene, &run->model, &run->rng);
    run->clients_max = rng_skewed(&run->rng, CLIENTS_MAX);
    run->piece_max = rng_percent(&run->rng, 10) ? 1 : rng_skewed(&run->rng, PIECE_MAX);
    run->room_max = rng_percent(&run->rng, 20) ? rng_between(&run->rng, 1, 200) : rng_between(&run->rng, 200, 65536);
    run->cut_percent = rng_percent(&run->rng, 50) ? rng_below(&run->rng, 4) : 0;
    run->hurry_percent = rng_below(&run->rng, 4);
}

/* A link that was too narrow for what comes now. */
static void widen(struct link *link)
{
    if (link->room_max >= PIECE_MAX) return;
    link->room += PIECE_MAX;
    link->room_max += PIECE_MAX;
}

/* The broker has input of this session that it did not work on yet, and not because its publisher is held. */
static bool waits(const struct link *link)
{
    const struct conn *conn = link->owner;
    return link->in_use && link->session != NULL && !link->reading && conn != NULL && !conn->held;
}

/* Lets sessions whose input waits get through with it: their clients read everything, and nobody else says anything. */
static void settle(struct run *run)
{
    world_turn(&run->world);
    for (int rounds = 0; run->exclusive && !run->world.failed; rounds++) {
        run->exclusive = false;
        for (int i = 0; i < WORLD_LINKS_MAX; i++) {
            struct link *link = &run->world.links[i];
            if (!waits(link)) continue;
            run->exclusive = true;
            widen(link);
            world_drain(link, SIZE_MAX);
        }
        world_turn(&run->world);
        if (rounds > 10000) world_fail(&run->world, "a session that reads everything is never read from again");
    }
    invariants_check(&run->model);
}

/* ---- one client's doings ---- */

static void check_refusal(struct conn *conn)
{
    size_t len;
    const uint8_t *frame = broker_full_frame(broker_full_text(conn->link->world->broker), &len);
    stream_bytes(conn->link, frame, len);
    if (!conn->bye_seen || conn->bye_code != MPS_TOO_MANY)
        CONN_FAIL(conn, "broker_full_frame() is no BYE %d", MPS_TOO_MANY);
}

static void connect_client(struct run *run, struct client *client)
{
    if (run->model.limits.max_sessions_count < CLIENTS_MAX) settle(run); /* those that are gone count until then */
    size_t room = rng_percent(&run->rng, 60) ? run->room_max : rng_skewed(&run->rng, run->room_max);
    struct conn *conn = model_connect(&run->model, ++run->numbers, room);
    if (conn == NULL) return;
    if (run->model.trace) fprintf(stderr, "  client %u connects, its pipe holds %zu bytes\n", conn->number, room);
    if (conn->refused) {
        check_refusal(conn);
        model_forget(conn);
        return;
    }
    conn->link->choosy = rng_percent(&run->rng, 30);
    client_open(client, &run->scene, conn);
}

static void cut_client(struct run *run, struct client *client)
{
    if (run->model.trace) fprintf(stderr, "  client %u is cut\n", client->conn->number);
    if (rng_percent(&run->rng, 50)) world_break(client->conn->link);
    model_cut(client->conn);
    world_cut(client->conn->link);
}

static void deliver(struct run *run, struct client *client, size_t most)
{
    struct link *link = client->conn->link;
    size_t len = world_deliver(link, actions_share(client->conn, most));
    bool end = world_deliver_end(link);
    if (run->model.trace && (len > 0 || end))
        fprintf(stderr, "  client %u: %zu bytes delivered%s\n", client->conn->number, len, end ? ", and the end" : "");
    if (waits(link)) run->exclusive = true;
}

/* Reads, and does what a client does about the end of its connection. */
static void read_client(struct run *run, struct client *client)
{
    struct conn *conn = client->conn;
    client_read(client);
    bool all_read = conn->link->room == conn->link->room_max;
    bool broker_ended = conn->link->closed || (conn->link->ended && all_read);
    if (!conn->link->closed && (broker_ended || client->bye_read) && !client->lingers) {
        if (rng_percent(&run->rng, 50)) world_push_end(conn->link);
        else cut_client(run, client);
    }
    if (conn->link->session != NULL) return;
    if (run->model.trace) fprintf(stderr, "  client %u is over\n", conn->number);
    model_forget(conn);
    *client = (struct client){0};
}

static void client_step(struct run *run, bool alone)
{
    struct rng *rng = &run->rng;
    struct client *client = &run->clients[rng_below(rng, run->clients_max)];
    if (client->conn == NULL) {
        connect_client(run, client);
        return;
    }
    if (rng_below(rng, 1000) < run->cut_percent * 4) cut_client(run, client);
    client_act(client);
    size_t most = rng_percent(rng, 20) ? PIECE_MAX : rng_skewed(rng, run->piece_max);
    if (!alone && most > SMALL_PIECE) most = SMALL_PIECE;
    if (rng_percent(rng, 85)) deliver(run, client, most);
    if (client->conn->link->session == NULL || rng_percent(rng, 60)) read_client(run, client);
}

/* ---- the world ---- */

/* Time passes, with a turn whenever the broker asked for one. */
static void advance(struct run *run, uint64_t ms)
{
    struct world *world = &run->world;
    uint64_t until_ms = world->now_ms + ms;
    if (run->model.trace && ms > 0) fprintf(stderr, "  %llu ms pass\n", (unsigned long long)ms);
    while (world->now_ms < until_ms && !world->failed) {
        uint64_t next_ms = world_next_ms(world) > world->now_ms ? world_next_ms(world) : world->now_ms + 1;
        world->now_ms = next_ms < until_ms ? next_ms : until_ms;
        settle(run);
    }
}

void run_step(struct run *run)
{
    struct rng *rng = &run->rng;
    if (rng_percent(rng, 30))
        advance(run, rng_percent(rng, run->hurry_percent * 3) ? rng_below(rng, 8000) : rng_below(rng, 25));
    uint32_t count = rng_percent(rng, 60) ? 1 : rng_between(rng, 2, 6);
    for (uint32_t i = 0; i < count && !run->exclusive && !run->world.failed; i++) client_step(run, count == 1);
    scene_happen(&run->scene);
    if (run->world.failed) return;
    settle(run);
}

void run_finish(struct run *run)
{
    uint32_t how = rng_below(&run->rng, 3);
    if (how == 1) {
        model_stop(&run->model);
        broker_stop(run->world.broker);
        settle(run);
    }
    for (uint32_t i = 0; i < run->clients_max; i++) {
        struct client *client = &run->clients[i];
        if (client->conn == NULL) continue;
        client->lingers = false;
        client->appetite = 100;
        widen(client->conn->link);
        if (how == 0 && !client->over) client_leave(client);
        if (how == 0) world_push_end(client->conn->link);
        if (how == 2 && wills_are_many(&run->model)) settle(run);
        if (how == 2 && !client->conn->link->closed) cut_client(run, client);
    }
    for (int rounds = 0; rounds < FINISH_ROUNDS && broker_sessions(run->world.broker) > 0 && !run->world.failed;
         rounds++) {
        for (uint32_t i = 0; i < run->clients_max; i++) {
            struct client *client = &run->clients[i];
            if (client->conn == NULL) continue;
            deliver(run, client, PIECE_MAX);
            settle(run);
            if (client->conn->half && rounds == HALF_ROUNDS) cut_client(run, client); /* it listens until it closes */
            read_client(run, client);
        }
        if (rounds > HALF_ROUNDS) advance(run, 1000);
    }
    if (broker_sessions(run->world.broker) > 0)
        world_fail(&run->world, "%zu sessions are left after everybody has gone", broker_sessions(run->world.broker));
}

void run_close(struct run *run)
{
    model_close(&run->model);
    world_close(&run->world);
}
