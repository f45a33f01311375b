#include "page.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const uint64_t page_delays_us[PAGE_DELAYS - 1] = {5000, 10000, 25000, 50000, 100000, 500000, 1000000};

/* ---- tables ------------------------------------------------------------------------------------------------- */

enum unit { NUMBER, MILLISECONDS };

/* A family of series: a field of type uint64_t in each row of a kind. */
struct column {
    const char *name, *type, *help;
    enum unit unit;
    size_t offset;
};
#define COLUMNS_COUNT(columns) (sizeof(columns) / sizeof *(columns))

struct rows {
    const struct column *columns;
    size_t columns_count;
    const void *first;
    size_t count, size;
    void (*write_labels)(FILE *out, const void *row); /* NULL: it is one row without labels */
};

static void write_label(FILE *out, const char *name, const char *value)
{
    fprintf(out, "%s=\"", name);
    for (; *value != '\0'; value++) {
        if (*value == '\n') fputs("\\n", out);
        else if (*value == '"' || *value == '\\') fprintf(out, "\\%c", *value);
        else fputc(*value, out);
    }
    fputc('"', out);
}

static void write_number(FILE *out, enum unit unit, uint64_t value)
{
    switch (unit) {
    case NUMBER: fprintf(out, " %llu\n", (unsigned long long)value); return;
    case MILLISECONDS:
        fprintf(out, " %llu.%03u\n", (unsigned long long)(value / 1000), (unsigned)(value % 1000));
        return;
    }
}

static void begin_family(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void write_column(FILE *out, const struct rows *rows, const struct column *column)
{
    bool has_begun = false;
    for (size_t i = 0; i < rows->count; i++) {
        const char *row = (const char *)rows->first + i * rows->size;
        uint64_t value;
        memcpy(&value, row + column->offset, sizeof value);
        if (value == PAGE_UNKNOWN) continue;
        if (!has_begun) begin_family(out, column->name, column->type, column->help);
        has_begun = true;
        fputs(column->name, out);
        if (rows->write_labels != NULL) {
            fputc('{', out);
            rows->write_labels(out, row);
            fputc('}', out);
        }
        write_number(out, column->unit, value);
    }
}

static void write_rows(FILE *out, const struct rows *rows)
{
    for (size_t i = 0; i < rows->columns_count; i++) write_column(out, rows, &rows->columns[i]);
}

/* ---- the broker --------------------------------------------------------------------------------------------- */

#define TOTAL(field) NUMBER, offsetof(struct overview, field)

static const struct column totals[] = {
    {"pubsub_uptime_seconds", "gauge", "Time since the broker was started.", MILLISECONDS,
     offsetof(struct overview, uptime_ms)},
    {"pubsub_connections", "gauge", "Connections of clients.", TOTAL(figures.sessions)},
    {"pubsub_sessions_away", "gauge", "Sessions whose clients are away.", TOTAL(figures.sessions_away)},
    {"pubsub_subscriptions", "gauge", "Subscriptions, also of clients that are away.", TOTAL(figures.subscriptions)},
    {"pubsub_groups", "gauge", "Groups of subscriptions that share messages.", TOTAL(groups)},
    {"pubsub_retained_messages", "gauge", "Topics with a retained message.", TOTAL(figures.retained)},
    {"pubsub_retained_bytes", "gauge", "Memory of retained messages.", TOTAL(figures.retained_bytes)},
    {"pubsub_queued_messages", "gauge", "Messages in all queues; one in many of them counts in each.", TOTAL(queued)},
    {"pubsub_queued_bytes", "gauge", "Memory of queued messages, each counted once, and of what links hold.",
     TOTAL(queued_bytes)},
    {"pubsub_links_bytes", "gauge", "Bytes that are encrypted and not sent yet.", TOTAL(figures.links_bytes)},
    {"pubsub_input_bytes", "gauge", "Memory of what publishers have sent and that waits.", TOTAL(figures.input_bytes)},
    {"pubsub_received_messages_total", "counter", "Messages taken from publishers.", TOTAL(figures.messages_in)},
    {"pubsub_received_bytes_total", "counter", "Bytes of the messages taken from publishers.", TOTAL(figures.bytes_in)},
    {"pubsub_delivered_messages_total", "counter", "Messages written to subscribers, one for each subscription.",
     TOTAL(figures.copies_out)},
    {"pubsub_lost_messages_total", "counter",
     "Messages that matched a subscription and were not delivered to it; it is told of each.",
     TOTAL(figures.copies_lost)},
    {"pubsub_protocol_errors_total", "counter", "Connections closed because of what the client sent.",
     TOTAL(figures.protocol_errors)},
    {"pubsub_slow_subscriptions", "gauge", "Subscriptions whose first message has waited for a second or longer.",
     TOTAL(slow_subscriptions)},
    {"pubsub_slow_groups", "gauge", "Groups whose first message has waited for a second or longer.",
     TOTAL(slow_groups)},
    {"pubsub_lag_seconds", "gauge", "Longest time that the first message of a queue has waited.", MILLISECONDS,
     offsetof(struct overview, lag_ms)},
    {"pubsub_store_failing", "gauge",
     "1 if the last commit did not reach the disk, and was tried in the last 5 seconds, else 0.", TOTAL(store_failing)},
};

/* What may be taken of it, beside the columns above. */
struct budgets {
    uint64_t connections, queue_bytes, input_bytes, retained, retained_bytes;
};

static const struct column budget_columns[] = {
    {"pubsub_connections_allowed", "gauge", "The limit max_connections.", NUMBER,
     offsetof(struct budgets, connections)},
    {"pubsub_queue_budget_bytes", "gauge", "The limit queue_total_bytes, of pubsub_queued_bytes.", NUMBER,
     offsetof(struct budgets, queue_bytes)},
    {"pubsub_input_budget_bytes", "gauge", "The limit input_total_bytes, of pubsub_input_bytes.", NUMBER,
     offsetof(struct budgets, input_bytes)},
    {"pubsub_retained_messages_allowed", "gauge", "The limit max_retained.", NUMBER,
     offsetof(struct budgets, retained)},
    {"pubsub_retained_budget_bytes", "gauge", "The limit retained_bytes, of pubsub_retained_bytes.", NUMBER,
     offsetof(struct budgets, retained_bytes)},
};

static void write_broker(FILE *out, const struct overview *overview, const struct broker_limits *limits)
{
    struct budgets budgets = {
        .connections = limits->max_sessions_count,
        .queue_bytes = limits->queue_total_bytes,
        .input_bytes = limits->input_total_bytes,
        .retained = limits->max_retained_count,
        .retained_bytes = limits->retained_bytes,
    };
    begin_family(out, "pubsub_build_info", "gauge", "The broker's version.");
    fputs("pubsub_build_info{version=\"" PUBSUB_VERSION "\"} 1\n", out);
    write_rows(out, &(struct rows){totals, COLUMNS_COUNT(totals), overview, 1, sizeof *overview, NULL});
    write_rows(out, &(struct rows){budget_columns, COLUMNS_COUNT(budget_columns), &budgets, 1, sizeof budgets, NULL});
}

/* ---- limits ------------------------------------------------------------------------------------------------- */

struct refusals {
    uint64_t count;
    const char *limit;
};

static void label_refusals(FILE *out, const void *row)
{
    write_label(out, "limit", ((const struct refusals *)row)->limit);
}

static const struct column refusal_columns[] = {
    {"pubsub_refusals_total", "counter",
     "What a limit has refused, by its name in the configuration; 'descriptors' is the system's limit of open files.",
     NUMBER, offsetof(struct refusals, count)},
};

static void write_refusals(FILE *out, const struct broker_figures *figures)
{
    struct refusals refusals[REFUSALS_COUNT] = {
#define REFUSAL(NAME, key) {figures->refused[REFUSED_##NAME], key},
        BROKER_REFUSALS(REFUSAL)
#undef REFUSAL
    };
    write_rows(out, &(struct rows){refusal_columns, 1, refusals, REFUSALS_COUNT, sizeof *refusals, label_refusals});
}

/* ---- listeners ---------------------------------------------------------------------------------------------- */

static void label_listener(FILE *out, const void *row)
{
    const struct listener_figures *listener = row;
    write_label(out, "listener", listener->name[0] != '\0' ? listener->name : listener->url);
    fputc(',', out);
    write_label(out, "url", listener->url);
}

#define LISTENER(field) NUMBER, offsetof(struct listener_figures, field)
static const struct column listener_columns[] = {
    {"pubsub_listener_connections", "gauge", "Connections that came here.", LISTENER(connections)},
    {"pubsub_listener_accepted_total", "counter", "Connections that were accepted here.", LISTENER(accepted)},
    {"pubsub_listener_refused_total", "counter", "Connections that came here and were refused by a limit.",
     LISTENER(refused)},
};

/* ---- streams ------------------------------------------------------------------------------------------------ */

static void label_stream(FILE *out, const void *row)
{
    write_label(out, "stream", ((const struct overview_stream *)row)->name);
}

#define STREAM(field) NUMBER, offsetof(struct overview_stream, field)
#define STREAM_MS(field) MILLISECONDS, offsetof(struct overview_stream, field)
static const struct column stream_columns[] = {
    {"pubsub_stream_messages", "gauge", "Messages that the stream holds on disk.", STREAM(messages)},
    {"pubsub_stream_bytes", "gauge", "Bytes of the messages that the stream holds on disk.", STREAM(bytes)},
    {"pubsub_stream_waiting_bytes", "gauge", "Bytes of messages that are on their way to the disk.",
     STREAM(waiting_bytes)},
    {"pubsub_stream_stored_messages_total", "counter",
     "Messages that were ever stored in the stream, also before a restart.", STREAM(stored)},
    {"pubsub_stream_messages_allowed", "gauge", "The stream's limit max_messages, if it has one.",
     STREAM(max_messages)},
    {"pubsub_stream_budget_bytes", "gauge", "The stream's limit max_bytes, if it has one.", STREAM(max_bytes)},
    {"pubsub_stream_age_allowed_seconds", "gauge", "The stream's limit max_age, if it has one.", STREAM_MS(max_age_ms)},
    {"pubsub_stream_oldest_timestamp_seconds", "gauge", "Unix time at which the oldest message came.",
     STREAM_MS(oldest_ms)},
    {"pubsub_stream_readers", "gauge", "Subscriptions and groups that read the stream, up to 1000.", STREAM(readers)},
    {"pubsub_stream_behind_messages", "gauge",
     "Messages that are stored and that the reader furthest behind is not done with; of the first 1000 readers.",
     STREAM(behind)},
    {"pubsub_stream_damaged_messages_total", "counter", "Messages that were found damaged since the start.",
     STREAM(damaged)},
    {"pubsub_stream_unstored_messages_total", "counter",
     "Dead letters and wills for which the stream had no room, since the start.", STREAM(unstored)},
};

/* ---- the cluster -------------------------------------------------------------------------------------------- */

static void label_neighbour(FILE *out, const void *row)
{
    write_label(out, "broker", ((const struct overview_neighbour *)row)->name);
}

#define CLUSTER(field) NUMBER, offsetof(struct overview_cluster, field)
#define NEIGHBOUR(field) NUMBER, offsetof(struct overview_neighbour, field)
static const struct column cluster_columns[] = {
    {"pubsub_cluster_connected", "gauge", "1 if the connection for messages to other brokers is up, else 0.",
     CLUSTER(live)},
    {"pubsub_cluster_streams_connected", "gauge",
     "1 if the connection for streams and records that brokers share is up, else 0.", CLUSTER(storing)},
    {"pubsub_cluster_brokers", "gauge", "Other brokers that are there.", CLUSTER(present)},
    {"pubsub_cluster_reconnects_total", "counter", "Connections to the cluster that were made again.",
     CLUSTER(reconnects)},
    {"pubsub_cluster_received_bytes_total", "counter", "Bytes that came from other brokers.", CLUSTER(bytes_in)},
    {"pubsub_cluster_sent_bytes_total", "counter", "Bytes that went to other brokers.", CLUSTER(bytes_out)},
    {"pubsub_cluster_dropped_received_datagrams_total", "counter",
     "Datagrams of other brokers for which there was no room; who subscribes is told.", CLUSTER(dropped_in)},
    {"pubsub_cluster_dropped_sent_datagrams_total", "counter",
     "Datagrams to other brokers for which there was no room or no connection; who subscribes there is told.",
     CLUSTER(dropped_out)},
    {"pubsub_cluster_deferred_answers", "gauge", "Appends to shared streams that are not settled yet.",
     CLUSTER(waiting_appends)},
    {"pubsub_cluster_deferred_bytes", "gauge", "Bytes of the messages in them.", CLUSTER(waiting_bytes)},
};
static const struct column neighbour_columns[] = {
    {"pubsub_cluster_broker_present", "gauge", "1 if the other broker is there, else 0.", NEIGHBOUR(present)},
    {"pubsub_cluster_received_messages_total", "counter", "Messages that came from that broker.",
     NEIGHBOUR(messages_in)},
    {"pubsub_cluster_sent_messages_total", "counter", "Messages that went to that broker.", NEIGHBOUR(messages_out)},
    {"pubsub_cluster_holes_total", "counter",
     "Times that something of that broker was missing; each subscription concerned was told.", NEIGHBOUR(holes)},
    {"pubsub_cluster_lost_messages_total", "counter", "Messages in these holes, at least.", NEIGHBOUR(lost)},
};

/* ---- groups and slow subscriptions -------------------------------------------------------------------------- */

static void label_group(FILE *out, const void *row)
{
    const struct overview_queue *group = row;
    write_label(out, "group", group->group);
    fputc(',', out);
    write_label(out, "pattern", group->pattern);
}

static void label_slow(FILE *out, const void *row)
{
    const struct overview_queue *slow = row;
    write_label(out, "client", slow->client);
    fprintf(out, ",sid=\"%u\",", slow->sid);
    write_label(out, "pattern", slow->pattern);
}

#define QUEUE(field) NUMBER, offsetof(struct overview_queue, field)
#define QUEUE_MS(field) MILLISECONDS, offsetof(struct overview_queue, field)
static const struct column group_columns[] = {
    {"pubsub_group_members", "gauge", "Members of the group; here and below, of the 100 groups that are oldest.",
     QUEUE(members)},
    {"pubsub_group_queued_messages", "gauge", "Messages in the group's queue.", QUEUE(queued)},
    {"pubsub_group_queued_bytes", "gauge", "Bytes in the group's queue.", QUEUE(queued_bytes)},
    {"pubsub_group_lag_seconds", "gauge", "Time that the first message of the group's queue has waited.",
     QUEUE_MS(lag_ms)},
    {"pubsub_group_matched_messages_total", "counter", "Messages that matched.", QUEUE(matched)},
    {"pubsub_group_delivered_messages_total", "counter", "Messages that went to a member.", QUEUE(sent)},
    {"pubsub_group_lost_messages_total", "counter", "Messages that the group lost.", QUEUE(lost)},
};
static const struct column slow_columns[] = {
    {"pubsub_slow_subscription_lag_seconds", "gauge",
     "Time that the first message of the queue has waited; here and below, of the 20 slowest subscriptions, if it is a "
     "second or longer.",
     QUEUE_MS(lag_ms)},
    {"pubsub_slow_subscription_queued_messages", "gauge", "Messages in its queue.", QUEUE(queued)},
    {"pubsub_slow_subscription_queued_bytes", "gauge", "Bytes in its queue.", QUEUE(queued_bytes)},
    {"pubsub_slow_subscription_delivered_messages_total", "counter", "Messages that were written to it.", QUEUE(sent)},
    {"pubsub_slow_subscription_lost_messages_total", "counter", "Messages that it lost.", QUEUE(lost)},
};

/* ---- the process -------------------------------------------------------------------------------------------- */

/* The names that Prometheus has for every process. */
static const struct column process_columns[] = {
    {"process_cpu_seconds_total", "counter", "Processor time, in user and system mode.", MILLISECONDS,
     offsetof(struct page_process, cpu_ms)},
    {"process_start_time_seconds", "gauge", "Unix time of the start.", MILLISECONDS,
     offsetof(struct page_process, started_ms)},
    {"process_open_fds", "gauge", "Open file descriptors; missing if counting them would take long.", NUMBER,
     offsetof(struct page_process, descriptors)},
    {"process_max_fds", "gauge", "File descriptors that may be open.", NUMBER,
     offsetof(struct page_process, descriptors_most)},
};

static const struct column host_columns[] = {
    {"process_resident_memory_bytes", "gauge", "Resident memory.", NUMBER, offsetof(struct host_figures, rss_bytes)},
    {"pubsub_data_filesystem_bytes", "gauge", "Size of the file system of the data directory, if there is one.", NUMBER,
     offsetof(struct host_figures, data_bytes)},
    {"pubsub_data_filesystem_free_bytes", "gauge", "What of it is free for the broker.", NUMBER,
     offsetof(struct host_figures, data_free_bytes)},
};

static void write_delays(FILE *out, const struct page_delays *delays)
{
    static const char name[] = "pubsub_loop_delay_seconds";
    uint64_t count = 0;
    begin_family(
        out, name, "histogram",
        "How late the broker's loop came to what was due, looked at once a second: so long whatever comes waits.");
    for (size_t i = 0; i < PAGE_DELAYS; i++) {
        count += delays->count[i];
        fprintf(out, "%s_bucket{le=\"", name);
        if (i < PAGE_DELAYS - 1) fprintf(out, "%g", (double)page_delays_us[i] / 1e6);
        else fputs("+Inf", out);
        fprintf(out, "\"} %llu\n", (unsigned long long)count);
    }
    fprintf(out, "%s_sum %llu.%06llu\n", name, (unsigned long long)(delays->total_us / 1000000),
            (unsigned long long)(delays->total_us % 1000000));
    fprintf(out, "%s_count %llu\n", name, (unsigned long long)count);
}

/* ---- all of it ---------------------------------------------------------------------------------------------- */

static void write_all(FILE *out, const struct page_source *source)
{
    const struct overview *overview = source->overview;
    const struct rows tables[] = {
        {listener_columns, COLUMNS_COUNT(listener_columns), source->listeners, source->listeners_count,
         sizeof *source->listeners, label_listener},
        {stream_columns, COLUMNS_COUNT(stream_columns), overview->stream, overview->streams_count,
         sizeof *overview->stream, label_stream},
        {cluster_columns, COLUMNS_COUNT(cluster_columns), overview->cluster, overview->cluster_count,
         sizeof *overview->cluster, NULL},
        {neighbour_columns, COLUMNS_COUNT(neighbour_columns), overview->neighbour, overview->neighbours_count,
         sizeof *overview->neighbour, label_neighbour},
        {group_columns, COLUMNS_COUNT(group_columns), overview->group, overview->groups_count, sizeof *overview->group,
         label_group},
        {slow_columns, COLUMNS_COUNT(slow_columns), overview->slow, overview->slow_count, sizeof *overview->slow,
         label_slow},
        {host_columns, COLUMNS_COUNT(host_columns), source->host, 1, sizeof *source->host, NULL},
        {process_columns, COLUMNS_COUNT(process_columns), source->process, 1, sizeof *source->process, NULL},
    };
    write_broker(out, overview, source->limits);
    write_refusals(out, &overview->figures);
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) write_rows(out, &tables[i]);
    write_delays(out, source->delays);
}

char *page_write(const struct page_source *source, size_t *len)
{
    char *bytes = NULL;
    FILE *out = open_memstream(&bytes, len);
    if (out == NULL) return NULL;
    write_all(out, source);
    bool failed = ferror(out);
    if (fclose(out) == 0 && !failed) return bytes;
    free(bytes);
    return NULL;
}
