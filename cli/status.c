/* pubsub status: how the broker is, on a page. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "json_out.h"
#include "options.h"
#include "output.h"
#include "report.h"
#include "rounded.h"

#define OVER_MS 1000
#define TITLE_WIDTH 14
#define SLOWEST 5  /* subscriptions and groups that are shown */
#define STREAMS 20 /* that are shown */

struct status_options {
    struct connection_options connection;
    bool json;
    uint64_t over_ms;
};

static bool set_json(void *into, const char *value)
{
    (void)value;
    return ((struct status_options *)into)->json = true;
}

static bool set_over(void *into, const char *value)
{
    return option_time("--over", value, 0, 3600000, &((struct status_options *)into)->over_ms);
}

static const struct option_row rows[] = {
    {0, "json", NULL, set_json,
     "what the broker reports, as one JSON object, with 100 entries of each\n"
     "list; default: a page for people"},
    {0, "over", "TIME", set_over, "measure over this time what comes in and goes out a second; 0: not; default 1s"},
    {0, NULL, NULL, NULL, NULL},
};

static enum options_result parse(struct status_options *options, int argc, char **argv, int *arguments)
{
    static const char *const examples[] = {
        "pubsub status",
        "pubsub status --json | jq '.connections.list[].client'",
        NULL,
    };
    static const int exit_codes[] = {CLI_EXIT_DONE,    CLI_EXIT_ERROR, CLI_EXIT_USAGE,
                                     CLI_EXIT_CONNECT, CLI_EXIT_AUTH,  CLI_EXIT_REFUSED,
                                     CLI_EXIT_LOST,    CLI_EXIT_TIME,  -1};
    const struct option_table output = {"How it is printed", rows, options};
    const struct option_table connection = {"Connection", connection_option_rows, &options->connection};
    const struct usage usage = {
        .command = "pubsub status",
        .arguments = "",
        .summary =
            "Says how the broker is: what it serves, how much comes in and goes out, memory and disk, streams, the\n"
            "slowest subscriptions, and what was refused because of a limit.",
        .tables = {&output, &connection},
        .notes = "With users and groups on the broker, who asks needs the right 'sys'.",
        .examples = examples,
        .exit_codes = exit_codes,
    };
    return options_parse(&usage, argc, argv, false, arguments);
}

/* ---- lines ---- */

struct page {
    struct output out;
    const struct report *report;
    const struct report_broker *before; /* over_ms ago; NULL: nothing was measured */
    double over_s;
};

static void put_title(struct page *page, const char *title)
{
    output_format(&page->out, "%-*s", TITLE_WIDTH, title);
}

static void put_name(struct page *page, mps_view name)
{
    if (name.ptr) output_name(&page->out, (const char *)name.ptr, name.len);
    else output_text(&page->out, "-");
}

static double share(uint64_t part, uint64_t whole)
{
    return whole > 0 ? 100.0 * (double)part / (double)whole : 0;
}

/* "12m of 1.0g (1 %)" */
static void put_budget(struct page *page, const char *before, uint64_t part, uint64_t whole)
{
    char text[ROUNDED_TEXT_MAX], of[ROUNDED_TEXT_MAX];
    rounded_size(text, part);
    rounded_size(of, whole);
    output_format(&page->out, "%s%s of %s (%.0f %%)", before, text, of, share(part, whole));
}

static void put_broker(struct page *page)
{
    const struct report_broker *broker = &page->report->broker;
    char up[ROUNDED_TEXT_MAX];
    put_title(page, "broker");
    output_text(&page->out, "pubsubd ");
    put_name(page, broker->version);
    rounded_age(up, broker->uptime_ms);
    output_format(&page->out, ", up for %s\n", up);
}

static void put_memory(struct page *page)
{
    const struct report_broker *broker = &page->report->broker;
    char text[ROUNDED_TEXT_MAX];
    put_title(page, "memory");
    if (broker->rss_bytes != REPORT_UNKNOWN) {
        rounded_size(text, broker->rss_bytes);
        output_format(&page->out, "%s resident; ", text);
    }
    put_budget(page, "queues ", broker->queued_bytes, broker->queue_budget_bytes);
    put_budget(page, ", input ", broker->input_bytes, broker->input_budget_bytes);
    rounded_size(text, broker->retained_bytes);
    output_format(&page->out, ", %" PRIu64 " retained value%s of %s\n", broker->retained,
                  broker->retained == 1 ? "" : "s", text);
    if (broker->data_bytes == REPORT_UNKNOWN || broker->data_free_bytes == REPORT_UNKNOWN) return;
    put_title(page, "disk");
    put_budget(page, "", broker->data_free_bytes, broker->data_bytes);
    output_text(&page->out, " free\n");
}

static uint64_t rate(const struct page *page, uint64_t before, uint64_t now)
{
    return (uint64_t)((double)(now - before) / page->over_s + 0.5);
}

static void put_traffic(struct page *page)
{
    const struct report_broker *now = &page->report->broker, *before = page->before;
    char text[ROUNDED_TEXT_MAX];
    rounded_size(text, now->bytes_in);
    put_title(page, "messages");
    output_format(&page->out, "%" PRIu64 " in (%s), %" PRIu64 " out, %" PRIu64 " lost\n", now->messages_in, text,
                  now->messages_out, now->lost);
    if (!before) return;
    rounded_size(text, rate(page, before->bytes_in, now->bytes_in));
    put_title(page, "a second");
    output_format(&page->out, "%" PRIu64 " in (%s), %" PRIu64 " out, %" PRIu64 " lost\n",
                  rate(page, before->messages_in, now->messages_in), text,
                  rate(page, before->messages_out, now->messages_out), rate(page, before->lost, now->lost));
}

static void put_counts(struct page *page)
{
    const struct report_broker *broker = &page->report->broker;
    put_title(page, "connections");
    output_format(&page->out, "%" PRIu64 "\n", broker->connections);
    put_title(page, "subscriptions");
    output_format(&page->out, "%" PRIu64, broker->subscriptions);
    if (broker->groups > 0)
        output_format(&page->out, ", and %" PRIu64 " group%s", broker->groups, broker->groups == 1 ? "" : "s");
    output_char(&page->out, '\n');
}

/* Only of a broker that has others. */
static void put_cluster(struct page *page)
{
    const struct report_cluster *cluster = &page->report->broker_cluster;
    if (!cluster->name.ptr) return;
    put_title(page, "cluster");
    put_name(page, cluster->name);
    output_text(&page->out, cluster->live ? ", connected" : ", NOT CONNECTED: only local clients are served");
    if (cluster->live && cluster->server.ptr) {
        output_text(&page->out, " to ");
        put_name(page, cluster->server);
    }
    if (cluster->live && cluster->rtt_us != REPORT_UNKNOWN)
        output_format(&page->out, " (round trip %.1f ms)", (double)cluster->rtt_us / 1000);
    if (!cluster->storing) output_text(&page->out, "; its streams are away");
    output_char(&page->out, '\n');
    if (cluster->trouble.ptr) {
        put_title(page, "");
        put_name(page, cluster->trouble);
        output_char(&page->out, '\n');
    }
    if (cluster->waiting_appends > 0 && cluster->waiting_appends != REPORT_UNKNOWN) {
        char size[ROUNDED_TEXT_MAX];
        rounded_size(size, cluster->waiting_bytes);
        put_title(page, "");
        output_format(&page->out, "%" PRIu64 " answer%s deferred until shared streams have stored %s\n",
                      cluster->waiting_appends, cluster->waiting_appends == 1 ? "" : "s", size);
    }
}

static void put_refusals(struct page *page)
{
    const struct report *report = page->report;
    const char *title = "refused by", *between = "";
    for (size_t i = 0; i < report->limits_count; i++) {
        const struct report_limit *limit = &report->limits[i];
        if (limit->refused == 0 || limit->refused == REPORT_UNKNOWN) continue;
        if (!*between) put_title(page, title);
        output_text(&page->out, between);
        put_name(page, limit->name);
        output_format(&page->out, " %" PRIu64, limit->refused);
        between = ", ";
    }
    if (*between) output_char(&page->out, '\n');
    if (report->broker.protocol_errors == 0) return;
    put_title(page, "closed");
    output_format(&page->out, "%" PRIu64 " connections for errors of their own\n", report->broker.protocol_errors);
}

/* ---- tables ---- */

/* What the list has not room for. */
static void put_rest(struct page *page, size_t shown, uint64_t total)
{
    if (total != REPORT_UNKNOWN && total > shown)
        output_format(&page->out, "... and %" PRIu64 " more\n", total - shown);
}

static void put_listeners(struct page *page)
{
    const struct report *report = page->report;
    if (report->listeners_count == 0) return;
    output_format(&page->out, "\n%11s  %8s  %7s  %s\n", "CONNECTIONS", "ACCEPTED", "REFUSED", "LISTENER");
    for (size_t i = 0; i < report->listeners_count; i++) {
        const struct report_listener *listener = &report->listeners[i];
        output_format(&page->out, "%11" PRIu64 "  %8" PRIu64 "  %7" PRIu64 "  ", listener->connections,
                      listener->accepted, listener->refused);
        put_name(page, listener->url);
        if (listener->name.ptr) {
            output_text(&page->out, " (");
            put_name(page, listener->name);
            output_char(&page->out, ')');
        }
        output_char(&page->out, '\n');
    }
    put_rest(page, report->listeners_count, report->listeners_total);
}

static void put_neighbours(struct page *page)
{
    const struct report *report = page->report;
    if (report->cluster_count == 0) return;
    output_format(&page->out, "\n%7s  %8s  %8s  %6s  %8s  %s\n", "HEARD", "IN", "OUT", "HOLES", "PATTERNS",
                  "OTHER BROKERS");
    for (size_t i = 0; i < report->cluster_count; i++) {
        const struct report_neighbour *other = &report->cluster[i];
        char heard[ROUNDED_TEXT_MAX];
        rounded_lag(heard, other->heard_ms);
        output_format(&page->out, "%7s  %8" PRIu64 "  %8" PRIu64 "  %6" PRIu64 "  %8" PRIu64 "  ", heard,
                      other->messages_in, other->messages_out, other->holes, other->patterns);
        put_name(page, other->name);
        if (!other->present) output_text(&page->out, " (AWAY)");
        output_char(&page->out, '\n');
    }
    put_rest(page, report->cluster_count, report->cluster_total);
}

static void put_streams(struct page *page)
{
    const struct report *report = page->report;
    size_t shown = report->streams_count < STREAMS ? report->streams_count : STREAMS;
    if (shown == 0) return;
    output_format(&page->out, "\n%8s  %6s  %6s  %7s  %s\n", "MESSAGES", "SIZE", "OF", "READERS", "STREAM");
    for (size_t i = 0; i < shown; i++) {
        const struct report_stream *stream = &report->streams[i];
        char size[ROUNDED_TEXT_MAX], of[ROUNDED_TEXT_MAX] = "-";
        rounded_size(size, stream->bytes);
        if (stream->max_bytes != REPORT_UNKNOWN) rounded_size(of, stream->max_bytes);
        output_format(&page->out, "%8" PRIu64 "  %6s  %6s  %7" PRIu64 "  ", stream->messages, size, of,
                      stream->readers);
        put_name(page, stream->name);
        if (stream->replicas != REPORT_UNKNOWN && !stream->there) output_text(&page->out, " (AWAY)");
        if (stream->damaged > 0 && stream->damaged != REPORT_UNKNOWN) output_text(&page->out, " (damaged)");
        output_char(&page->out, '\n');
    }
    put_rest(page, shown, report->streams_total);
}

static void put_reader(struct page *page, const struct report_reader *reader)
{
    char lag[ROUNDED_TEXT_MAX], size[ROUNDED_TEXT_MAX];
    rounded_lag(lag, reader->lag_ms);
    rounded_size(size, reader->queued_bytes);
    output_format(&page->out, "%6s  %8" PRIu64 "  %6s  %8" PRIu64 "  ", lag, reader->queued, size, reader->lost);
    put_name(page, reader->pattern);
    output_text(&page->out, reader->client.ptr ? "  client " : "  group ");
    put_name(page, reader->client.ptr ? reader->client : reader->group);
    output_char(&page->out, '\n');
}

/* Those of which something waits, the longest first. */
static void put_slowest(struct page *page)
{
    const struct report *report = page->report;
    size_t sub = 0, group = 0;
    for (int shown = 0; shown < SLOWEST; shown++) {
        const struct report_reader *a = sub < report->subscriptions_count ? &report->subscriptions[sub] : NULL;
        const struct report_reader *b = group < report->groups_count ? &report->groups[group] : NULL;
        if (a && a->lag_ms == 0) a = NULL;
        if (b && b->lag_ms == 0) b = NULL;
        if (!a && !b) return;
        if (shown == 0)
            output_format(&page->out, "\n%6s  %8s  %6s  %8s  %s\n", "LAG", "QUEUED", "SIZE", "LOST",
                          "SLOWEST SUBSCRIPTIONS");
        bool is_sub = a && (!b || a->lag_ms >= b->lag_ms);
        put_reader(page, is_sub ? a : b);
        if (is_sub) sub++;
        else group++;
    }
}

/* ---- the command ---- */

static int print_page(const struct report *report, const struct report_broker *before, double over_s)
{
    struct page page = {.report = report, .before = before, .over_s = over_s};
    output_open(&page.out, STDOUT_FILENO);
    put_broker(&page);
    put_counts(&page);
    put_traffic(&page);
    put_memory(&page);
    put_cluster(&page);
    put_refusals(&page);
    put_listeners(&page);
    put_neighbours(&page);
    put_streams(&page);
    put_slowest(&page);
    return output_end(&page.out);
}

static int print_json(const struct report *report)
{
    struct output out;
    output_open(&out, STDOUT_FILENO);
    json_out_document(&out, (mps_view){report->document.data, (uint32_t)report->document.len});
    output_char(&out, '\n');
    return output_end(&out);
}

static int wait_over(struct link *link, uint64_t over_ms)
{
    uint64_t end_ns = now_ns() + over_ms * 1000000;
    int64_t left;
    while ((left = ms_until(end_ns)) > 0) {
        int result = link_step(link, NULL, 0, left);
        if (result != CLI_EXIT_DONE) return result == LINK_OVER ? CLI_EXIT_LOST : result;
    }
    return CLI_EXIT_DONE;
}

/* All but topics: to count these costs the broker something, and they are not known before. */
#define SECTIONS                                                                                                    \
    (REPORT_BROKER | REPORT_LIMITS | REPORT_LISTENERS | REPORT_SUBSCRIPTIONS | REPORT_GROUPS | REPORT_CONNECTIONS | \
     REPORT_STREAMS | REPORT_CLUSTER)

/* The counters first, if something is to be measured, and everything over_ms later. */
static int show(const struct status_options *options, struct link *link)
{
    const struct report_terms counters = {.sections = REPORT_BROKER}, all = {.sections = SECTIONS};
    bool measures = !options->json && options->over_ms > 0;
    struct report before = {0}, report = {0};
    int result = CLI_EXIT_DONE;
    if (measures) result = report_wait(&before, link, &counters);
    if (measures && result == CLI_EXIT_DONE) result = wait_over(link, options->over_ms);
    if (result == CLI_EXIT_DONE) result = report_wait(&report, link, &all);
    uint64_t over_ms = measures ? report.broker.uptime_ms - before.broker.uptime_ms : 0;
    if (result == CLI_EXIT_DONE && options->json) result = print_json(&report);
    else if (result == CLI_EXIT_DONE)
        result = print_page(&report, over_ms > 0 ? &before.broker : NULL, (double)over_ms / 1000);
    report_free(&before);
    report_free(&report);
    return result;
}

static int run(int argc, char **argv, const struct connection_options *connection)
{
    struct status_options options = {.connection = *connection, .over_ms = OVER_MS};
    struct link link = {.owner = NULL};
    struct pubsub_options client = {.no_reconnect = true};
    int arguments;
    switch (parse(&options, argc, argv, &arguments)) {
    case OPTIONS_OK: break;
    case OPTIONS_HELP: return CLI_EXIT_DONE;
    case OPTIONS_WRONG: return CLI_EXIT_USAGE;
    }
    if (arguments > 0) {
        complain("too many arguments: '%s'", argv[0]);
        return CLI_EXIT_USAGE;
    }
    int result = link_open(&link, &options.connection, &client);
    if (result == CLI_EXIT_DONE) result = show(&options, &link);
    link_close(&link, 0);
    return result;
}

const struct command status_command = {"status", "how the broker is", run};
