#include "sea_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEP_MS 250u

const struct mps_sub_options sea_from_all = {.given = MPS_SUB_FROM, .from = {.kind = MPS_FROM_ALL}};
const struct mps_sub_options sea_acked = {
    .given = MPS_SUB_FROM | MPS_SUB_ACK, .ack = MPS_ACK_EACH, .from = {.kind = MPS_FROM_ALL}};

/* ---- the world ---------------------------------------------------------------------------------------------- */

const char *sea_name(int which)
{
    static const char *const names[SEA_BROKERS] = {"one", "two", "three"};
    return names[which];
}

static bool is_up(const struct sea *sea, int which)
{
    return sea->engines[which] != NULL;
}

void sea_flow(struct sea *sea)
{
    for (bool more = true; more;) {
        memory_bus_time(sea->bus, sea->at[0]->now_ms, sea->at[0]->wall_ms);
        for (int i = 0; i < SEA_BROKERS; i++)
            if (is_up(sea, i)) stage_settle(sea->at[i]);
        more = memory_bus_run(sea->bus) > 0;
        for (int i = 0; i < SEA_BROKERS; i++) {
            if (!is_up(sea, i) || !memory_engine_ready(sea->engines[i])) continue;
            broker_poll_cluster(sea->at[i]->broker);
            more = true;
        }
    }
}

void sea_pass(struct sea *sea, uint64_t ms)
{
    for (uint64_t left = ms, step; left > 0; left -= step) {
        step = left < STEP_MS ? left : STEP_MS;
        for (int i = 0; i < SEA_BROKERS; i++) {
            if (is_up(sea, i)) {
                stage_pass(sea->at[i], step);
                continue;
            }
            sea->at[i]->now_ms += step;
            sea->at[i]->wall_ms += step;
        }
        sea_flow(sea);
    }
}

void sea_start(struct sea *sea, int which)
{
    char text[STORE_TEXT_MAX];
    struct stage *stage = sea->at[which];
    bool has_store = sea->has_store[which];
    stage_start(stage);
    if (has_store) stage_open_gate(stage);
    assert_int_equal(broker_open_store(stage->broker, has_store ? &stage->gate.store : NULL, sea->streams,
                                       has_store ? 2 : 1, text, sizeof text),
                     0);
    sea->engines[which] = memory_engine_open(
        sea->bus,
        &(struct engine_options){.name = sea_name(which), .defer_ms = SEA_DEFER_MS, .defer_bytes = SEA_DEFER_BYTES});
    assert_int_equal(
        broker_join(stage->broker, sea->engines[which],
                    &(struct cluster_config){.name = sea_name(which), .topics = &sea->topics, .topics_count = 1}, text,
                    sizeof text),
        0);
    sea_flow(sea);
}

void sea_start_stored(struct sea *sea, int which)
{
    sea->has_store[which] = true;
    sea_start(sea, which);
}

void sea_stop(struct sea *sea, int which)
{
    struct engine *engine = sea->engines[which];
    struct stage *stage = sea->at[which];
    broker_stop(stage->broker);
    stage_settle(stage);
    for (int i = 0; i < STAGE_LINKS; i++)
        if (stage->links[i].session != NULL) stage_cut(stage, (char)('a' + i));
    broker_leave(stage->broker);
    engine->close(engine);
    sea->engines[which] = NULL;
    stage_stop(stage);
    sea_flow(sea);
}

void sea_crash(struct sea *sea, int which)
{
    struct engine *engine = sea->engines[which];
    memory_engine_die(engine, false);
    if (sea->has_store[which]) stage_crash(sea->at[which], true);
    else stage_stop(sea->at[which]);
    engine->close(engine);
    sea->engines[which] = NULL;
    sea_flow(sea);
}

int sea_set_up(void **state)
{
    struct sea *sea = calloc(1, sizeof *sea);
    if (sea == NULL) return -1;
    sea->bus = memory_bus_new(1);
    sea->topics = "#";
    sea->patterns[0] = "o/#";
    sea->patterns[1] = "own/#";
    sea->streams[0] = (struct stream_config){
        .name = "orders", .patterns = &sea->patterns[0], .patterns_count = 1, .is_shared = true, .replicas = 3};
    sea->streams[1] = (struct stream_config){.name = "own", .patterns = &sea->patterns[1], .patterns_count = 1};
    for (int i = 0; i < SEA_BROKERS; i++) {
        void *stage;
        if (stage_set_up(&stage) != 0) return -1;
        sea->at[i] = stage;
        sea->at[i]->random += 1000u * (uint64_t)i;
    }
    *state = sea;
    return 0;
}

int sea_tear_down(void **state)
{
    struct sea *sea = *state;
    for (int i = 0; i < SEA_BROKERS; i++) {
        if (is_up(sea, i)) sea_stop(sea, i);
    }
    for (int i = 0; i < SEA_BROKERS; i++) {
        void *stage = sea->at[i];
        stage_tear_down(&stage);
    }
    memory_bus_free(sea->bus);
    free(sea);
    return 0;
}

struct sea *sea_brokers(void **state, int count)
{
    struct sea *sea = *state;
    for (int i = 0; i < count; i++) sea_start(sea, i);
    sea_pass(sea, 2000);
    return sea;
}

struct sea *sea_two(void **state)
{
    struct sea *sea = *state;
    sea_start(sea, 0);
    sea_start(sea, 1);
    sea_hello(sea, 0, 'p', (struct mps_hello){0});
    sea_hello(sea, 1, 'r', (struct mps_hello){0});
    return sea;
}

void sea_away(struct sea *sea, int which, bool is_away)
{
    memory_bus_away(sea->bus, sea_name(which), is_away, is_away);
    sea_flow(sea);
}

struct records_figures sea_figures(const struct sea *sea, int which)
{
    struct records_figures figures;
    records_figures(sea->at[which]->broker->cluster, &figures);
    return figures;
}

uint32_t sea_number(void)
{
    return stream_shared_number("orders");
}

struct stream *sea_stream(const struct sea *sea, int which)
{
    return stream_by_number(sea->at[which]->broker, sea_number());
}

/* ---- clients ------------------------------------------------------------------------------------------------ */

const char *sea_words(struct sea *sea, int which, char link)
{
    char digits[16];
    size_t len = (size_t)snprintf(digits, sizeof digits, "%u", sea_number()), used = 0;
    const char *p = stage_words(sea->at[which], link);
    while (*p != '\0') {
        bool is_number = strncmp(p, digits, len) == 0;
        sea->words[used++] = is_number ? 'S' : *p;
        p += is_number ? len : 1;
    }
    sea->words[used] = '\0';
    return sea->words;
}

const char *sea_came(struct sea *sea, int which, char link)
{
    static char text[4096];
    size_t len = 0;
    text[0] = '\0';
    sea_words(sea, which, link);
    for (char *rest = sea->words, *word; (word = strtok(rest, "|")) != NULL; rest = NULL) {
        const char *payload = strchr(word, '=');
        if (payload == NULL) continue;
        for (payload++; *payload != '\0' && *payload != ' ' && len + 2 < sizeof text; payload++) text[len++] = *payload;
        text[len++] = ' ';
    }
    text[len > 0 ? len - 1 : 0] = '\0';
    return text;
}

void sea_hello(struct sea *sea, int which, char link, struct mps_hello with)
{
    char id[2] = {link, '\0'};
    if (with.id.ptr == NULL) with.id = mps_text(id);
    stage_hello(sea->at[which], link, with);
    sea_flow(sea);
    sea_words(sea, which, link);
}

struct mps_hello sea_client(const char *id)
{
    return (struct mps_hello){.id = mps_text(id), .sess_s = SEA_SESSION_S};
}

void sea_subscribe(struct sea *sea, int which, char link, const char *pattern, struct mps_sub_options options)
{
    stage_sub(sea->at[which], link, 1, pattern, options);
    sea_flow(sea);
}

struct mps_sub_options sea_durable(enum mps_ack_mode ack)
{
    return (struct mps_sub_options){.given = MPS_SUB_FROM | MPS_SUB_DURABLE | MPS_SUB_ACK | MPS_SUB_RETAINED,
                                    .from = {.kind = MPS_FROM_ALL},
                                    .retained = 2,
                                    .durable = true,
                                    .ack = ack};
}

struct mps_sub_options sea_member(bool is_durable, enum mps_ack_mode ack)
{
    struct mps_sub_options options = sea_durable(ack);
    options.durable = is_durable;
    if (!is_durable) options.given &= ~(uint32_t)MPS_SUB_DURABLE;
    options.given |= MPS_SUB_GROUP;
    options.group = mps_text("g");
    return options;
}

void sea_publish(struct sea *sea, int which, char link, const char *topic, const char *text)
{
    stage_msg(sea->at[which], link, topic, text);
    sea_flow(sea);
}

void sea_write_stream(struct sea *sea, int which, int from, int to)
{
    char text[16];
    if (sea->at[which]->links['p' - 'a'].session == NULL)
        sea_hello(sea, which, 'p', (struct mps_hello){.id = mps_text(sea_name(which))});
    for (int i = from; i <= to; i++) {
        snprintf(text, sizeof text, "%d", i);
        sea_publish(sea, which, 'p', "o/1", text);
    }
    sea_pass(sea, 100);
}

void sea_ack(struct sea *sea, int which, char link, uint64_t seq)
{
    uint8_t room[64];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_ack(&out, &(struct mps_ack){.sid = 1, .stream = sea_number(), .seq = seq, .kind = 1});
    stage_send(sea->at[which], link, &out);
    sea_flow(sea);
}
