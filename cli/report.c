#include "report.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "value.h"

#define REPORT_TOPIC "$SYS/request/report"
#define DOCUMENT_VALUES_MAX UINT32_MAX /* a report is as long as was asked for */

/* ---- reading ---- */

enum kind { NUMBER, TEXT, FLAG };
struct field {
    const char *key; /* NULL ends them */
    enum kind kind;
    size_t offset; /* of the member: a uint64_t, an mps_view or a bool */
};

#define FIELD(type, what, member)                                             \
    {                                                                         \
        .key = #member, .kind = what, .offset = offsetof(struct type, member) \
    }
#define END         \
    {               \
        .key = NULL \
    }

static const struct field broker_fields[] = {
    FIELD(report_broker, TEXT, version),
    FIELD(report_broker, NUMBER, uptime_ms),
    FIELD(report_broker, NUMBER, connections),
    FIELD(report_broker, NUMBER, subscriptions),
    FIELD(report_broker, NUMBER, groups),
    FIELD(report_broker, NUMBER, streams),
    FIELD(report_broker, NUMBER, retained),
    FIELD(report_broker, NUMBER, retained_bytes),
    FIELD(report_broker, NUMBER, queued_bytes),
    FIELD(report_broker, NUMBER, queue_budget_bytes),
    FIELD(report_broker, NUMBER, links_bytes),
    FIELD(report_broker, NUMBER, input_bytes),
    FIELD(report_broker, NUMBER, input_budget_bytes),
    FIELD(report_broker, NUMBER, messages_in),
    FIELD(report_broker, NUMBER, bytes_in),
    FIELD(report_broker, NUMBER, messages_out),
    FIELD(report_broker, NUMBER, lost),
    FIELD(report_broker, NUMBER, protocol_errors),
    FIELD(report_broker, NUMBER, rss_bytes),
    FIELD(report_broker, NUMBER, data_bytes),
    FIELD(report_broker, NUMBER, data_free_bytes),
    END,
};

static const struct field listener_fields[] = {
    FIELD(report_listener, TEXT, name),          FIELD(report_listener, TEXT, url),
    FIELD(report_listener, NUMBER, connections), FIELD(report_listener, NUMBER, accepted),
    FIELD(report_listener, NUMBER, refused),     END,
};

static const struct field topic_fields[] = {
    FIELD(report_topic, TEXT, topic),
    FIELD(report_topic, NUMBER, messages),
    FIELD(report_topic, NUMBER, bytes),
    END,
};

static const struct field reader_fields[] = {
    FIELD(report_reader, TEXT, client),
    FIELD(report_reader, TEXT, user),
    FIELD(report_reader, TEXT, pattern),
    FIELD(report_reader, TEXT, group),
    FIELD(report_reader, TEXT, policy),
    FIELD(report_reader, NUMBER, sid),
    FIELD(report_reader, NUMBER, members),
    FIELD(report_reader, NUMBER, matched),
    FIELD(report_reader, NUMBER, sent),
    FIELD(report_reader, NUMBER, lost),
    FIELD(report_reader, NUMBER, queued),
    FIELD(report_reader, NUMBER, queued_bytes),
    FIELD(report_reader, NUMBER, lag_ms),
    FIELD(report_reader, FLAG, slow),
    END,
};

static const struct field connection_fields[] = {
    FIELD(report_connection, TEXT, client),
    FIELD(report_connection, TEXT, user),
    FIELD(report_connection, TEXT, peer),
    FIELD(report_connection, TEXT, listener),
    FIELD(report_connection, NUMBER, connected_ms),
    FIELD(report_connection, NUMBER, subscriptions),
    FIELD(report_connection, NUMBER, messages_in),
    FIELD(report_connection, NUMBER, bytes_in),
    FIELD(report_connection, NUMBER, messages_out),
    FIELD(report_connection, NUMBER, bytes_out),
    FIELD(report_connection, NUMBER, lost),
    FIELD(report_connection, NUMBER, queued_bytes),
    END,
};

static const struct field stream_fields[] = {
    FIELD(report_stream, TEXT, name),         FIELD(report_stream, NUMBER, stream),
    FIELD(report_stream, NUMBER, first),      FIELD(report_stream, NUMBER, next),
    FIELD(report_stream, NUMBER, messages),   FIELD(report_stream, NUMBER, bytes),
    FIELD(report_stream, NUMBER, max_bytes),  FIELD(report_stream, NUMBER, max_msgs),
    FIELD(report_stream, NUMBER, max_age_ms), FIELD(report_stream, NUMBER, readers),
    FIELD(report_stream, NUMBER, oldest_ms),  FIELD(report_stream, NUMBER, damaged),
    FIELD(report_stream, NUMBER, unstored),   FIELD(report_stream, NUMBER, replicas),
    FIELD(report_stream, FLAG, there),        END,
};

static const struct field cluster_fields[] = {
    FIELD(report_cluster, TEXT, name),
    FIELD(report_cluster, TEXT, server),
    FIELD(report_cluster, TEXT, trouble),
    FIELD(report_cluster, FLAG, live),
    FIELD(report_cluster, FLAG, storing),
    FIELD(report_cluster, NUMBER, rtt_us),
    FIELD(report_cluster, NUMBER, reconnects),
    FIELD(report_cluster, NUMBER, present),
    FIELD(report_cluster, NUMBER, dropped_in),
    FIELD(report_cluster, NUMBER, dropped_out),
    FIELD(report_cluster, NUMBER, waiting_appends),
    FIELD(report_cluster, NUMBER, waiting_bytes),
    END,
};

static const struct field neighbour_fields[] = {
    FIELD(report_neighbour, TEXT, name),
    FIELD(report_neighbour, TEXT, software),
    FIELD(report_neighbour, FLAG, present),
    FIELD(report_neighbour, NUMBER, since_ms),
    FIELD(report_neighbour, NUMBER, heard_ms),
    FIELD(report_neighbour, NUMBER, patterns),
    FIELD(report_neighbour, NUMBER, messages_in),
    FIELD(report_neighbour, NUMBER, messages_out),
    FIELD(report_neighbour, NUMBER, holes),
    FIELD(report_neighbour, NUMBER, lost),
    END,
};

static void *room_for(size_t count, size_t size)
{
    void *room = calloc(count, size);
    if (room) return room;
    complain("out of memory");
    exit(CLI_EXIT_ERROR);
}

static mps_view text_of(mps_view raw)
{
    struct mps_reader r = mps_reader_open(raw);
    mps_view text = mps_read_text(&r, "text");
    return r.bad ? (mps_view){NULL, 0} : text;
}

static uint64_t number_of(mps_view raw)
{
    struct mps_head head;
    bool is_number = mps_head_read(raw.ptr, raw.len, &head) == 1 && head.type == MPS_UINT;
    return is_number ? head.number : REPORT_UNKNOWN;
}

static bool flag_of(mps_view raw)
{
    struct mps_head head;
    return mps_head_read(raw.ptr, raw.len, &head) == 1 && head.type == MPS_BOOL && head.boolean;
}

static void set_unknown(const struct field *fields, uint8_t *into)
{
    for (; fields->key; fields++)
        if (fields->kind == NUMBER) *(uint64_t *)(void *)(into + fields->offset) = REPORT_UNKNOWN;
}

static void set_field(const struct field *fields, uint8_t *into, mps_view key, mps_view raw)
{
    for (; fields->key; fields++) {
        if (!mps_view_equal(key, mps_text(fields->key))) continue;
        void *member = into + fields->offset;
        switch (fields->kind) {
        case NUMBER: *(uint64_t *)member = number_of(raw); break;
        case TEXT: *(mps_view *)member = text_of(raw); break;
        case FLAG: *(bool *)member = flag_of(raw); break;
        }
        return;
    }
}

/* A map of a checked document; anything else leaves everything unknown. */
static void read_map(const struct field *fields, void *into, mps_view map)
{
    struct mps_reader r = mps_reader_open(map);
    set_unknown(fields, into);
    uint32_t pairs = mps_read_map(&r, "map");
    for (uint32_t i = 0; i < pairs && !r.bad; i++) {
        mps_view key = mps_read_any(&r, "key"), value = mps_read_any(&r, "value");
        if (!r.bad) set_field(fields, into, text_of(key), value);
    }
}

static mps_view find(mps_view document, const char *path)
{
    return mps_document_find(document, path, strlen(path));
}

static uint64_t find_number(mps_view document, const char *path)
{
    mps_view raw = find(document, path);
    return raw.ptr ? number_of(raw) : REPORT_UNKNOWN;
}

/* {"total": n, "list": [...]}; the absent view: it was not asked for. Returns the list, its length in *count. */
static void *read_list(const struct field *fields, size_t size, mps_view section, size_t *count, uint64_t *total)
{
    *total = section.ptr ? find_number(section, "total") : REPORT_UNKNOWN;
    mps_view list = section.ptr ? find(section, "list") : section;
    if (!list.ptr) return NULL;
    struct mps_reader r = mps_reader_open(list);
    uint32_t entries = mps_read_array(&r, "list");
    if (r.bad || entries == 0) return NULL;
    uint8_t *room = room_for(entries, size);
    for (uint32_t i = 0; i < entries; i++) read_map(fields, room + i * size, mps_read_any(&r, "entry"));
    *count = entries;
    return room;
}

static void read_limits(struct report *report, mps_view map)
{
    struct mps_reader r = mps_reader_open(map);
    uint32_t pairs = map.ptr ? mps_read_map(&r, "limits") : 0;
    if (r.bad || pairs == 0) return;
    report->limits = room_for(pairs, sizeof *report->limits);
    for (uint32_t i = 0; i < pairs; i++) {
        mps_view name = text_of(mps_read_any(&r, "name"));
        uint64_t refused = number_of(mps_read_any(&r, "count"));
        if (name.ptr) report->limits[report->limits_count++] = (struct report_limit){name, refused};
    }
}

static void read_topics(struct report *report, mps_view topics)
{
    report->topics_since_ms = topics.ptr ? find_number(topics, "since_ms") : REPORT_UNKNOWN;
    report->topics_uncounted_messages = topics.ptr ? find_number(topics, "uncounted_messages") : REPORT_UNKNOWN;
    report->topics_uncounted_bytes = topics.ptr ? find_number(topics, "uncounted_bytes") : REPORT_UNKNOWN;
}

#define READ_LIST(report, document, name, fields)                                                                   \
    ((report)->name = read_list((fields), sizeof *(report)->name, find((document), #name), &(report)->name##_count, \
                                &(report)->name##_total))

bool report_decode(struct report *report, mps_view answer)
{
    if (mps_document_check(answer, 0, DOCUMENT_VALUES_MAX) || find_number(answer, "now_ms") == REPORT_UNKNOWN)
        return false;
    buffer_append(&report->document, answer.ptr, answer.len);
    mps_view document = {report->document.data, (uint32_t)report->document.len};
    report->now_ms = find_number(document, "now_ms");
    read_map(broker_fields, &report->broker, find(document, "broker"));
    read_limits(report, find(document, "limits"));
    read_topics(report, find(document, "topics"));
    READ_LIST(report, document, listeners, listener_fields);
    READ_LIST(report, document, topics, topic_fields);
    READ_LIST(report, document, subscriptions, reader_fields);
    READ_LIST(report, document, groups, reader_fields);
    READ_LIST(report, document, connections, connection_fields);
    READ_LIST(report, document, streams, stream_fields);
    READ_LIST(report, document, cluster, neighbour_fields);
    read_map(cluster_fields, &report->broker_cluster, find(document, "cluster"));
    return true;
}

void report_free(struct report *report)
{
    free(report->limits);
    free(report->listeners);
    free(report->topics);
    free(report->subscriptions);
    free(report->groups);
    free(report->connections);
    free(report->streams);
    free(report->cluster);
    buffer_free(&report->document);
    *report = (struct report){0};
}

/* ---- asking ---- */

static const char *const section_names[REPORT_SECTIONS_COUNT] = {
    "broker", "limits", "listeners", "topics", "subscriptions", "groups", "connections", "streams", "cluster"};

static void finish(struct report_query *query, int exit_code, const char *why)
{
    query->is_over = true;
    query->exit_code = exit_code;
    snprintf(query->why, sizeof query->why, "%s", why);
}

static void put_order(struct mps_out *out, const struct report_terms *terms)
{
    const struct {
        const char *section, *key;
    } orders[] = {{"topics", terms->topics_by},
                  {"subscriptions", terms->subscriptions_by},
                  {"groups", terms->groups_by},
                  {"connections", terms->connections_by},
                  {"streams", terms->streams_by}};
    enum { ORDERS = sizeof orders / sizeof *orders };
    uint32_t count = 0;
    for (int i = 0; i < ORDERS; i++) count += orders[i].key != NULL;
    mps_put_text(out, mps_text("order"));
    mps_put_map(out, count);
    for (int i = 0; i < ORDERS; i++) {
        if (!orders[i].key) continue;
        mps_put_text(out, mps_text(orders[i].section));
        mps_put_text(out, mps_text(orders[i].key));
    }
}

static void put_question(struct mps_out *out, const struct report_terms *terms)
{
    uint32_t count = 0;
    for (unsigned i = 0; i < REPORT_SECTIONS_COUNT; i++) count += terms->sections >> i & 1;
    mps_put_map(out, 1u + (count > 0) + (terms->limit > 0));
    if (count > 0) {
        mps_put_text(out, mps_text("sections"));
        mps_put_array(out, count);
        for (unsigned i = 0; i < REPORT_SECTIONS_COUNT; i++)
            if (terms->sections >> i & 1) mps_put_text(out, mps_text(section_names[i]));
    }
    if (terms->limit > 0) {
        mps_put_text(out, mps_text("limit"));
        mps_put_uint(out, terms->limit);
    }
    put_order(out, terms);
}

/* A report, or {"error": text}. */
static void take_answer(struct report_query *query, mps_view document)
{
    report_free(query->into);
    if (report_decode(query->into, document)) {
        finish(query, CLI_EXIT_DONE, "");
        return;
    }
    mps_view error = {NULL, 0};
    if (!mps_document_check(document, 0, 0)) error = text_of(find(document, "error"));
    char text[sizeof query->why];
    snprintf(text, sizeof text, "%.*s", (int)error.len, error.ptr ? (const char *)error.ptr : "");
    if (error.ptr) finish(query, CLI_EXIT_REFUSED, text);
    else finish(query, CLI_EXIT_ERROR, "the broker's answer makes no sense");
}

static void on_reply(pubsub *client, uint64_t request, const struct pubsub_message *reply, int status, void *user)
{
    (void)request;
    struct report_query *query = user;
    if (query->is_over) return;
    if (reply) {
        take_answer(query, (mps_view){reply->payload, (uint32_t)reply->payload_len});
    } else if (status == PUBSUB_ETIMEDOUT) {
        char why[80];
        snprintf(why, sizeof why, "the broker did not report within %d s", REPORT_TIMEOUT_MS / 1000);
        finish(query, CLI_EXIT_TIME, why);
    } else {
        const char *text = pubsub_error(client);
        finish(query, exit_code_of_error(status), *text ? text : pubsub_strerror(status));
    }
}

void report_ask(struct report_query *query, struct link *link, const struct report_terms *terms, struct report *into)
{
    *query = (struct report_query){.link = link, .into = into};
    if (link->is_lost) { /* the library would wait for the next connection */
        finish(query, CLI_EXIT_LOST, pubsub_strerror(PUBSUB_ELOST));
        return;
    }
    const struct pubsub_request_options options = {
        .timeout_ms = REPORT_TIMEOUT_MS, .on_reply = on_reply, .user = query};
    uint8_t room[1024];
    struct mps_out out = mps_out_open(room, sizeof room);
    put_question(&out, terms);
    int error = pubsub_request(link->client, REPORT_TOPIC, room, out.len, &options, &query->request);
    if (error == PUBSUB_OK) return;
    const char *text = pubsub_error(link->client);
    finish(query, exit_code_of_error(error), *text ? text : pubsub_strerror(error));
}

void report_forget(struct report_query *query)
{
    if (query->link && query->link->client && !query->is_over)
        pubsub_cancel_request(query->link->client, query->request);
    query->is_over = true;
}

int report_wait(struct report *report, struct link *link, const struct report_terms *terms)
{
    struct report_query query;
    report_ask(&query, link, terms, report);
    while (!query.is_over) {
        int result = link_step(link, NULL, 0, -1);
        if (result == CLI_EXIT_DONE || query.is_over) continue;
        report_forget(&query);
        return result == LINK_OVER ? CLI_EXIT_LOST : result;
    }
    if (query.exit_code != CLI_EXIT_DONE) link_complain(link, query.why, PUBSUB_EREFUSED);
    return query.exit_code;
}
