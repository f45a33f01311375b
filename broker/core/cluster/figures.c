#include "figures.h"

#include "overview.h"
#include "sys_maps.h"

static uint64_t ago(const struct neighbour *neighbour, uint64_t ms)
{
    uint64_t now_ms = neighbour->cluster->broker->now_ms;
    return now_ms > ms ? now_ms - ms : 0;
}

static mps_view text_or_nil(const char *text)
{
    mps_view view = mps_text(text);
    return view.len > 0 && mps_utf8_valid(view) ? view : (mps_view){NULL, 0};
}

static uint32_t present_count(const struct cluster *cluster)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < cluster->neighbours_count; i++) count += cluster->neighbours[i]->is_present;
    return count;
}

static void put_alone(struct mps_out *out)
{
    static const char *const keys[CLUSTER_FIELDS] = {
        "name",      "live",        "storing",      "server",          "rtt_us",       "reconnects",
        "trouble",   "present",     "datagrams_in", "bytes_in",        "dropped_in",   "datagrams_out",
        "bytes_out", "dropped_out", "malformed",    "waiting_appends", "waiting_bytes"};
    for (unsigned i = 0; i < CLUSTER_FIELDS; i++) sys_put_number(out, keys[i], UINT64_MAX);
}

void sys_put_cluster(struct mps_out *out, const struct broker *broker)
{
    struct cluster *cluster = broker->cluster;
    struct engine_figures engine = {0};
    if (cluster == NULL) {
        put_alone(out);
        return;
    }
    cluster->engine->figures(cluster->engine, &engine);
    sys_put_name(out, "name", mps_text(cluster->name));
    sys_put_flag(out, "live", engine.is_live);
    sys_put_flag(out, "storing", engine.is_storing);
    sys_put_name(out, "server", text_or_nil(engine.server));
    sys_put_number(out, "rtt_us", engine.rtt_us);
    sys_put_number(out, "reconnects", engine.reconnects);
    sys_put_name(out, "trouble", text_or_nil(engine.text));
    sys_put_number(out, "present", present_count(cluster));
    sys_put_number(out, "datagrams_in", engine.datagrams_in);
    sys_put_number(out, "bytes_in", engine.bytes_in);
    sys_put_number(out, "dropped_in", engine.dropped_in);
    sys_put_number(out, "datagrams_out", engine.datagrams_out);
    sys_put_number(out, "bytes_out", engine.bytes_out);
    sys_put_number(out, "dropped_out", engine.dropped_out);
    sys_put_number(out, "malformed", cluster->malformed);
    sys_put_number(out, "waiting_appends", engine.waiting_appends);
    sys_put_number(out, "waiting_bytes", engine.waiting_bytes);
}

void sys_put_neighbour(struct mps_out *out, const struct neighbour *neighbour)
{
    mps_put_map(out, NEIGHBOUR_FIELDS);
    sys_put_name(out, "name", mps_text(neighbour->name));
    sys_put_name(out, "software", text_or_nil(neighbour->software));
    sys_put_flag(out, "present", neighbour->is_present);
    sys_put_number(out, "since_ms", ago(neighbour, neighbour->is_present ? neighbour->came_ms : neighbour->left_ms));
    sys_put_number(out, "heard_ms", ago(neighbour, neighbour->heard_ms));
    sys_put_number(out, "patterns", neighbour->far_count);
    sys_put_number(out, "messages_in", neighbour->messages_in);
    sys_put_number(out, "messages_out", neighbour->messages_out);
    sys_put_number(out, "holes", neighbour->holes);
    sys_put_number(out, "lost", neighbour->lost);
    sys_put_number(out, "dropped_out", neighbour->dropped_out);
}

void cluster_overview(const struct broker *broker, struct overview *overview)
{
    struct cluster *cluster = broker->cluster;
    struct engine_figures engine = {0};
    if (cluster == NULL) return;
    cluster->engine->figures(cluster->engine, &engine);
    overview->cluster[0] = (struct overview_cluster){
        .live = engine.is_live,
        .storing = engine.is_storing,
        .rtt_us = engine.rtt_us,
        .reconnects = engine.reconnects,
        .present = present_count(cluster),
        .bytes_in = engine.bytes_in,
        .bytes_out = engine.bytes_out,
        .dropped_in = engine.dropped_in,
        .dropped_out = engine.dropped_out,
        .waiting_appends = engine.waiting_appends,
        .waiting_bytes = engine.waiting_bytes,
    };
    overview->cluster_count = 1;
    for (uint32_t i = 0; i < cluster->neighbours_count; i++) {
        const struct neighbour *from = cluster->neighbours[i];
        overview->neighbour[overview->neighbours_count++] = (struct overview_neighbour){
            .name = from->name,
            .present = from->is_present,
            .messages_in = from->messages_in,
            .messages_out = from->messages_out,
            .holes = from->holes,
            .lost = from->lost,
        };
    }
}
