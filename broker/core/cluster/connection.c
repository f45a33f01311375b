#include "connection.h"

#include "between.h"

#define LITTLE_BYTES 64u /* of a frame, beside payload and topic: without properties, which can be longer */

/* "nats://h1:4222", or nothing: it has gone again already. */
static const char *server_of(struct cluster *cluster, struct engine_figures *figures)
{
    cluster->engine->figures(cluster->engine, figures);
    return figures->server;
}

/* Those who set limits should know before somebody's message is lost by them. Once, as long as they stay. */
static void tell_limit(struct cluster *cluster)
{
    const uint64_t most = cluster->engine->datagram_max, payload = cluster->broker->limits.max_payload;
    if (most == cluster->told_most) return;
    cluster->told_most = most;
    if (most >= payload + MPS_TOPIC_MAX + BETWEEN_LANE_MAX + LITTLE_BYTES) return;
    log_say(cluster->broker, EVENT_CLUSTER_SMALL,
            LOG_FIELDS(log_number("bytes", most), log_number("max_payload", payload)),
            "the cluster's servers take %llu bytes at a time (their max_payload), but clients may publish %llu and a "
            "topic: "
            "messages for which that is not enough don't get to other brokers",
            (unsigned long long)most, (unsigned long long)payload);
}

static void tell_live(struct cluster *cluster, const char *text)
{
    struct engine_figures figures;
    if (cluster->is_live)
        log_say(cluster->broker, EVENT_CLUSTER_CONNECTED,
                LOG_FIELDS(log_word("part", "messages"), log_value("server", mps_text(server_of(cluster, &figures)))),
                "connected to the cluster as '%s', through %s", cluster->name, figures.server);
    else
        log_say(cluster->broker, EVENT_CLUSTER_AWAY,
                LOG_FIELDS(log_word("part", "messages"), log_value("text", mps_text(text))),
                "the cluster is away, and this broker alone meanwhile: %s", text);
}

static void tell_storing(struct cluster *cluster, const char *text)
{
    if (cluster->is_storing)
        log_say(cluster->broker, EVENT_CLUSTER_CONNECTED, LOG_FIELDS(log_word("part", "store")),
                "connected to what the cluster stores");
    else
        log_say(cluster->broker, EVENT_CLUSTER_AWAY,
                LOG_FIELDS(log_word("part", "store"), log_value("text", mps_text(text))),
                "what the cluster stores is away: %s", text);
}

/* Whether it is to be told. What has not been there yet is not away before there is something to say of that. */
static bool is_news(enum told *told, bool is_there, const char *text)
{
    enum told now = is_there ? TOLD_THERE : TOLD_AWAY;
    if (*told == now || (*told == TOLD_NOTHING && !is_there && text[0] == '\0')) return false;
    *told = now;
    return true;
}

void connection_tell(struct cluster *cluster, const char *why_not_live, const char *why_not_storing)
{
    if (is_news(&cluster->told_live, cluster->is_live, why_not_live)) tell_live(cluster, why_not_live);
    if (cluster->is_live) tell_limit(cluster);
    if (is_news(&cluster->told_storing, cluster->is_storing, why_not_storing)) tell_storing(cluster, why_not_storing);
}

void connection_trouble(struct cluster *cluster, const char *text)
{
    log_say(cluster->broker, EVENT_CLUSTER_TROUBLE, LOG_FIELDS(log_value("text", mps_text(text))),
            "something does not work in the cluster: %s", text);
}
