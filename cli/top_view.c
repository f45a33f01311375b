#include "top_view.h"

#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

#define PLACE(type, member, order) .offset = offsetof(struct type, member), .rank = (order)
/* A number of the report, by which the broker can order a list, or not, and the growth of a counter there. */
#define NUMBER(type, heading, what, member, order)                                                        \
    {                                                                                                     \
        .title = (heading), .name = #member, .field = #member, .kind = (what), PLACE(type, member, order) \
    }
#define OTHER(type, heading, what, member, order)                                       \
    {                                                                                   \
        .title = (heading), .name = #member, .kind = (what), PLACE(type, member, order) \
    }
#define GROWTH(type, heading, what, member, order)                                                                 \
    {                                                                                                              \
        .title = (heading), .name = #member "_per_s", .field = #member, .kind = (what), PLACE(type, member, order) \
    }
#define TEXT(type, heading, member, order)                                                \
    {                                                                                     \
        .title = (heading), .name = #member, .kind = TOP_TEXT, PLACE(type, member, order) \
    }
/* What tells one entry from another. */
#define TEXT_ID(type, heading, member, order)                                                               \
    {                                                                                                       \
        .title = (heading), .name = #member, .kind = TOP_TEXT, .identity = true, PLACE(type, member, order) \
    }
#define NUMBER_ID(type, heading, member, order)                                                              \
    {                                                                                                        \
        .title = (heading), .name = #member, .kind = TOP_COUNT, .identity = true, PLACE(type, member, order) \
    }

static const struct top_column topic_columns[] = {
    GROWTH(report_topic, "MSG/S", TOP_RATE, messages, 1),
    GROWTH(report_topic, "BYTES/S", TOP_BYTE_RATE, bytes, 2),
    NUMBER(report_topic, "MESSAGES", TOP_COUNT, messages, 3),
    NUMBER(report_topic, "BYTES", TOP_BYTES, bytes, 4),
    TEXT_ID(report_topic, "TOPIC", topic, 0),
};

static const struct top_column subscription_columns[] = {
    NUMBER(report_reader, "LAG", TOP_TIME, lag_ms, 1),
    NUMBER(report_reader, "QUEUED", TOP_COUNT, queued, 2),
    NUMBER(report_reader, "SIZE", TOP_BYTES, queued_bytes, 6),
    GROWTH(report_reader, "LOST/S", TOP_RATE, lost, 5),
    NUMBER(report_reader, "LOST", TOP_COUNT, lost, 3),
    GROWTH(report_reader, "SENT/S", TOP_RATE, sent, 4),
    NUMBER(report_reader, NULL, TOP_COUNT, sent, 0),
    NUMBER(report_reader, NULL, TOP_COUNT, matched, 0),
    TEXT(report_reader, "POLICY", policy, 8),
    TEXT(report_reader, "USER", user, 10),
    TEXT(report_reader, "GROUP", group, 9),
    TEXT_ID(report_reader, "CLIENT", client, 4),
    NUMBER_ID(report_reader, "SID", sid, 7),
    TEXT(report_reader, "PATTERN", pattern, 0),
};

static const struct top_column connection_columns[] = {
    GROWTH(report_connection, "IN/S", TOP_RATE, messages_in, 1),
    GROWTH(report_connection, "IN-B/S", TOP_BYTE_RATE, bytes_in, 3),
    GROWTH(report_connection, "OUT/S", TOP_RATE, messages_out, 2),
    GROWTH(report_connection, "OUT-B/S", TOP_BYTE_RATE, bytes_out, 3),
    NUMBER(report_connection, NULL, TOP_COUNT, messages_in, 0),
    NUMBER(report_connection, NULL, TOP_BYTES, bytes_in, 0),
    NUMBER(report_connection, NULL, TOP_COUNT, messages_out, 0),
    NUMBER(report_connection, NULL, TOP_BYTES, bytes_out, 0),
    NUMBER(report_connection, "QUEUED", TOP_BYTES, queued_bytes, 4),
    NUMBER(report_connection, "LOST", TOP_COUNT, lost, 5),
    NUMBER(report_connection, "SUBS", TOP_COUNT, subscriptions, 7),
    NUMBER(report_connection, "FOR", TOP_TIME, connected_ms, 8),
    TEXT(report_connection, "USER", user, 6),
    TEXT(report_connection, "LISTENER", listener, 10),
    TEXT(report_connection, "PEER", peer, 9),
    TEXT_ID(report_connection, "CLIENT", client, 0),
};

static const struct top_column group_columns[] = {
    NUMBER(report_reader, "LAG", TOP_TIME, lag_ms, 1),
    NUMBER(report_reader, "QUEUED", TOP_COUNT, queued, 2),
    NUMBER(report_reader, "SIZE", TOP_BYTES, queued_bytes, 6),
    GROWTH(report_reader, "LOST/S", TOP_RATE, lost, 7),
    NUMBER(report_reader, "LOST", TOP_COUNT, lost, 5),
    GROWTH(report_reader, "SENT/S", TOP_RATE, sent, 4),
    NUMBER(report_reader, NULL, TOP_COUNT, sent, 0),
    NUMBER(report_reader, NULL, TOP_COUNT, matched, 0),
    OTHER(report_reader, "MEMBERS", TOP_COUNT, members, 3),
    TEXT(report_reader, "POLICY", policy, 8),
    TEXT_ID(report_reader, "PATTERN", pattern, 9),
    TEXT_ID(report_reader, "GROUP", group, 0),
};

static const struct top_column stream_columns[] = {
    {.title = "MSG/S",
     .name = "messages_per_s",
     .kind = TOP_RATE,
     .offset = offsetof(struct report_stream, next),
     .rank = 1},
    NUMBER(report_stream, "MESSAGES", TOP_COUNT, messages, 2),
    NUMBER(report_stream, "SIZE", TOP_BYTES, bytes, 3),
    OTHER(report_stream, "OF", TOP_BYTES, max_bytes, 4),
    OTHER(report_stream, "FIRST", TOP_COUNT, first, 7),
    OTHER(report_stream, "NEXT", TOP_COUNT, next, 8),
    OTHER(report_stream, "READERS", TOP_COUNT, readers, 5),
    OTHER(report_stream, "DAMAGED", TOP_COUNT, damaged, 6),
    TEXT_ID(report_stream, "STREAM", name, 0),
};

static const struct top_column broker_columns[] = {
    GROWTH(report_broker, NULL, TOP_RATE, messages_in, 0),
    GROWTH(report_broker, NULL, TOP_BYTE_RATE, bytes_in, 0),
    GROWTH(report_broker, NULL, TOP_RATE, messages_out, 0),
    GROWTH(report_broker, NULL, TOP_RATE, lost, 0),
    TEXT(report_broker, NULL, version, 0),
    OTHER(report_broker, NULL, TOP_TIME, uptime_ms, 0),
    OTHER(report_broker, NULL, TOP_COUNT, connections, 0),
    OTHER(report_broker, NULL, TOP_COUNT, subscriptions, 0),
    OTHER(report_broker, NULL, TOP_BYTES, queued_bytes, 0),
    OTHER(report_broker, NULL, TOP_BYTES, queue_budget_bytes, 0),
    OTHER(report_broker, NULL, TOP_COUNT, messages_in, 0),
    OTHER(report_broker, NULL, TOP_BYTES, bytes_in, 0),
    OTHER(report_broker, NULL, TOP_COUNT, messages_out, 0),
    OTHER(report_broker, NULL, TOP_COUNT, lost, 0),
    OTHER(report_broker, NULL, TOP_BYTES, rss_bytes, 0),
};

const struct top_view top_views[TOP_VIEWS_COUNT] = {
    [TOP_TOPICS] = {.name = "topics",
                    .section = REPORT_TOPICS,
                    .entry_size = sizeof(struct report_topic),
                    .columns = topic_columns,
                    .columns_count = COUNT_OF(topic_columns)},
    [TOP_SUBSCRIPTIONS] = {.name = "subscriptions",
                           .section = REPORT_SUBSCRIPTIONS,
                           .entry_size = sizeof(struct report_reader),
                           .columns = subscription_columns,
                           .columns_count = COUNT_OF(subscription_columns),
                           .slow_offset = offsetof(struct report_reader, slow)},
    [TOP_CONNECTIONS] = {.name = "connections",
                         .section = REPORT_CONNECTIONS,
                         .entry_size = sizeof(struct report_connection),
                         .columns = connection_columns,
                         .columns_count = COUNT_OF(connection_columns),
                         .age_offset = offsetof(struct report_connection, connected_ms)},
    [TOP_GROUPS] = {.name = "groups",
                    .section = REPORT_GROUPS,
                    .entry_size = sizeof(struct report_reader),
                    .columns = group_columns,
                    .columns_count = COUNT_OF(group_columns),
                    .slow_offset = offsetof(struct report_reader, slow)},
    [TOP_STREAMS] = {.name = "streams",
                     .section = REPORT_STREAMS,
                     .entry_size = sizeof(struct report_stream),
                     .columns = stream_columns,
                     .columns_count = COUNT_OF(stream_columns)},
};
const struct top_view top_broker = {.name = "broker",
                                    .section = REPORT_BROKER,
                                    .entry_size = sizeof(struct report_broker),
                                    .columns = broker_columns,
                                    .columns_count = COUNT_OF(broker_columns)};

static struct top_entries entries(const void *first, size_t count, uint64_t total)
{
    return (struct top_entries){first, count, total == REPORT_UNKNOWN ? count : total};
}

struct top_entries top_entries(const struct top_view *view, const struct report *report)
{
    switch (view->section) {
    case REPORT_TOPICS: return entries(report->topics, report->topics_count, report->topics_total);
    case REPORT_SUBSCRIPTIONS:
        return entries(report->subscriptions, report->subscriptions_count, report->subscriptions_total);
    case REPORT_CONNECTIONS: return entries(report->connections, report->connections_count, report->connections_total);
    case REPORT_GROUPS: return entries(report->groups, report->groups_count, report->groups_total);
    case REPORT_STREAMS: return entries(report->streams, report->streams_count, report->streams_total);
    case REPORT_BROKER: return entries(&report->broker, 1, 1);
    case REPORT_LIMITS:
    case REPORT_CLUSTER:
    case REPORT_LISTENERS: break;
    }
    return entries(NULL, 0, 0);
}

bool top_is_rate(enum top_kind kind)
{
    return kind == TOP_RATE || kind == TOP_BYTE_RATE;
}

size_t top_column_named(const struct top_view *view, const char *name)
{
    size_t i = 0;
    while (i < view->columns_count && strcmp(view->columns[i].name, name) != 0) i++;
    return i;
}
