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

/* cluster NULL: nil, as of names that are "". */
static void put_number(struct mps_out *out, const struct cluster *cluster, const char *key, uint64_t number)
{
    sys_put_number(out, key, cluster != NULL ? number : UINT64_MAX);
}

static void put_flag(struct mps_out *out, const struct cluster *cluster, const char *key, bool flag)
{
    if (cluster != NULL) sys_put_flag(out, key, flag);
    else sys_put_number(out, key, UINT64_MAX);
}

void sys_put_cluster(struct mps_out *out, const struct broker *broker)
{
    const struct cluster *cluster = broker->cluster;
    struct engine_figures engine = {0};
    if (cluster != NULL) cluster->engine->figures(cluster->engine, &engine);
    sys_put_name(out, "name", text_or_nil(cluster != NULL ? cluster->name : ""));
    put_flag(out, cluster, "live", engine.is_live);
    put_flag(out, cluster, "storing", engine.is_storing);
    sys_put_name(out, "server", text_or_nil(engine.server));
    put_number(out, cluster, "rtt_us", engine.rtt_us);
    put_number(out, cluster, "reconnects", engine.reconnects);
    sys_put_name(out, "trouble", text_or_nil(engine.text));
    put_number(out, cluster, "present", cluster != NULL ? present_count(cluster) : 0);
    put_number(out, cluster, "datagrams_in", engine.datagrams_in);
    put_number(out, cluster, "bytes_in", engine.bytes_in);
    put_number(out, cluster, "dropped_in", engine.dropped_in);
    put_number(out, cluster, "datagrams_out", engine.datagrams_out);
    put_number(out, cluster, "bytes_out", engine.bytes_out);
    put_number(out, cluster, "dropped_out", engine.dropped_out);
    put_number(out, cluster, "malformed", cluster != NULL ? cluster->malformed : 0);
    put_number(out, cluster, "waiting_appends", engine.waiting_appends);
    put_number(out, cluster, "waiting_bytes", engine.waiting_bytes);
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
