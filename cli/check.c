/* pubsub check: is the broker well? For monitors. */
#include "check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "options.h"
#include "sizes.h"

struct check_options {
    struct connection_options connection;
    struct check check;
    enum check_form form;
    uint64_t within_ms; /* 0: not said */
};

/* ---- options ---- */

/* Reads one limit of a subject. False: it isn't one. */
typedef bool (*limit_reader)(const char *text, double *limit);

static bool read_percent(const char *text, double *limit)
{
    char *end;
    if (text[0] < '0' || text[0] > '9') return false; /* strtod would take "nan" and " 1" */
    *limit = strtod(text, &end);
    if (*end == '%') end++;
    return *end == '\0' && *limit <= 100;
}

static bool read_time(const char *text, double *limit)
{
    uint64_t ms;
    if (!time_parse(text, &ms)) return false;
    *limit = (double)ms / 1000;
    return true;
}

static bool read_count(const char *text, double *limit)
{
    char *end;
    if (text[0] < '0' || text[0] > '9') return false;
    errno = 0;
    *limit = (double)strtoull(text, &end, 10);
    return *end == '\0' && errno != ERANGE && *limit >= 1;
}

/* "WARNING[,CRITICAL]" */
static bool set_limits(void *into, enum check_subject subject, const char *option, const char *value, limit_reader read,
                       const char *kind)
{
    struct check_item *item = &((struct check_options *)into)->check.items[subject];
    char first[64];
    const char *comma = strchr(value, ',');
    size_t len = comma ? (size_t)(comma - value) : strlen(value);
    if (len < sizeof first) snprintf(first, sizeof first, "%.*s", (int)len, value);
    if (len >= sizeof first || !read(first, &item->warning) || (comma && !read(comma + 1, &item->critical))) {
        complain("%s %s: not %s, nor two of them with a comma between", option, value, kind);
        return false;
    }
    item->has_critical = comma != NULL;
    item->is_asked = true;
    bool is_below = subject == CHECK_DISK;
    if (!comma || (is_below ? item->critical <= item->warning : item->critical >= item->warning)) return true;
    complain("%s %s: the second limit, where it becomes critical, must not be %s than the first", option, value,
             is_below ? "more" : "less");
    return false;
}

static bool set_memory(void *into, const char *value)
{
    return set_limits(into, CHECK_MEMORY, "--memory", value, read_percent, "a percentage from 0 to 100");
}

static bool set_lag(void *into, const char *value)
{
    return set_limits(into, CHECK_LAG, "--lag", value, read_time, "a time such as 500ms, 10s, 5m");
}

static bool set_lost(void *into, const char *value)
{
    return set_limits(into, CHECK_LOST, "--lost", value, read_count, "a number of messages from 1");
}

static bool set_disk(void *into, const char *value)
{
    return set_limits(into, CHECK_DISK, "--disk", value, read_percent, "a percentage from 0 to 100");
}

static bool set_within(void *into, const char *value)
{
    return option_time("--within", value, 1, 3600000, &((struct check_options *)into)->within_ms);
}

static bool set_form(void *into, const char *value)
{
    static const char *const names[] = {"text", "nagios", "prometheus", NULL};
    int form = option_choice("-o", value, names);
    if (form >= 0) ((struct check_options *)into)->form = (enum check_form)form;
    return form >= 0;
}

static const struct option_row limit_rows[] = {
    {0, "memory", "PERCENT[,CRITICAL]", set_memory, "of the memory for queues, or of that for input, so much is taken"},
    {0, "lag", "TIME[,CRITICAL]", set_lag, "the first message of some queue has waited so long"},
    {0, "disk", "PERCENT[,CRITICAL]", set_disk, "of the data directory's disk less than this is free"},
    {0, "lost", "N[,CRITICAL]", set_lost, "so many messages were lost, by all subscriptions together"},
    {0, "within", "TIME", set_within,
     "with --lost: within this time, for which the check waits; default:\n"
     "since the broker's start"},
    {0, NULL, NULL, NULL, NULL},
};

static const struct option_row output_rows[] = {
    {'o', NULL, "FORM", set_form,
     "text: a line for people; nagios: a line with performance data;\n"
     "prometheus: metrics for a file that node_exporter reads; default text"},
    {0, NULL, NULL, NULL, NULL},
};

static enum options_result parse(struct check_options *options, int argc, char **argv, int *arguments)
{
    static const char *const examples[] = {
        "pubsub check",
        "pubsub check --lag 5s,30s --lost 1 --within 10s",
        "pubsub check -o nagios -s tls://broker.example:7718 --token-file /etc/monitor/token",
        NULL,
    };
    static const int exit_codes[] = {-1};
    const struct option_table limits = {"Too much, a warning; and critical, if a second limit is reached", limit_rows,
                                        options};
    const struct option_table output = {"How it is printed", output_rows, options};
    const struct option_table connection = {"Connection", connection_option_rows, &options->connection};
    const struct usage usage = {
        .command = "pubsub check",
        .arguments = "",
        .summary =
            "Says in one line whether the broker is well, for monitors: by its exit code, too. Without a limit\n"
            "these are checked: --memory 80,95 --lag 10s,60s --disk 10,5 (if it keeps something on a disk); with\n"
            "one, only what is given.",
        .tables = {&limits, &output, &connection},
        .notes = "With users and groups on the broker, who checks needs the right 'sys'.",
        .examples = examples,
        .exit_codes = exit_codes,
        .own_exit_codes = "    0  all is well\n"
                          "    1  warning\n"
                          "    2  critical\n"
                          "    3  unknown: wrong usage, cannot connect, not authorised, no answer\n",
    };
    return options_parse(&usage, argc, argv, false, arguments);
}

/* What is checked if nothing was said. The disk only if there is one. */
static void set_defaults(struct check *check)
{
    bool is_asked = false;
    for (int i = 0; i < CHECK_SUBJECTS; i++) is_asked |= check->items[i].is_asked;
    if (is_asked) return;
    check->items[CHECK_MEMORY] =
        (struct check_item){.is_asked = true, .has_critical = true, .warning = 80, .critical = 95};
    check->items[CHECK_LAG] =
        (struct check_item){.is_asked = true, .has_critical = true, .warning = 10, .critical = 60};
    check->items[CHECK_DISK] = (struct check_item){.has_critical = true, .warning = 10, .critical = 5};
}

static bool combine(struct check_options *options, char **arguments, int count)
{
    if (count > 0) {
        complain("too many arguments: '%s'", arguments[0]);
        return false;
    }
    if (options->within_ms > 0 && !options->check.items[CHECK_LOST].is_asked) {
        complain("--within says in which time messages are lost: it goes with --lost N");
        return false;
    }
    options->check.within_s = (double)options->within_ms / 1000;
    return true;
}

/* ---- judging ---- */

static double percent(uint64_t part, uint64_t whole)
{
    return whole > 0 ? 100.0 * (double)part / (double)whole : 0;
}

static void set_value(struct check_item *item, double value)
{
    item->is_known = true;
    item->value = value;
}

static const struct report_reader *slower(const struct report_reader *a, const struct report_reader *b)
{
    if (!b || b->lag_ms == REPORT_UNKNOWN || b->lag_ms == 0) return a;
    return a && a->lag_ms >= b->lag_ms ? a : b;
}

static void look_at(struct check *check, const struct report *report, uint64_t lost_before)
{
    const struct report_broker *broker = &report->broker;
    check->queue_percent = percent(broker->queued_bytes, broker->queue_budget_bytes);
    check->input_percent = percent(broker->input_bytes, broker->input_budget_bytes);
    bool is_queue = check->queue_percent >= check->input_percent;
    set_value(&check->items[CHECK_MEMORY], is_queue ? check->queue_percent : check->input_percent);
    if (report->subscriptions_count > 0) check->slowest = slower(NULL, &report->subscriptions[0]);
    if (report->groups_count > 0) check->slowest = slower(check->slowest, &report->groups[0]);
    set_value(&check->items[CHECK_LAG], check->slowest ? (double)check->slowest->lag_ms / 1000 : 0);
    set_value(&check->items[CHECK_LOST], (double)(broker->lost - lost_before));
    if (broker->data_bytes == REPORT_UNKNOWN || broker->data_free_bytes == REPORT_UNKNOWN) return;
    struct check_item *disk = &check->items[CHECK_DISK];
    set_value(disk, percent(broker->data_free_bytes, broker->data_bytes));
    disk->is_asked |= disk->has_critical; /* by default */
}

static void judge(struct check *check)
{
    for (int i = 0; i < CHECK_SUBJECTS; i++) {
        struct check_item *item = &check->items[i];
        bool is_below = i == CHECK_DISK;
        if (!item->is_asked) continue;
        if (is_below ? item->value < item->warning : item->value >= item->warning) item->status = CHECK_WARNING;
        if (item->has_critical && (is_below ? item->value < item->critical : item->value >= item->critical))
            item->status = CHECK_CRITICAL;
        if (!item->is_known) item->status = CHECK_UNKNOWN;
        if (!item->is_known) check->why = "the broker has no data directory: it keeps nothing on a disk";
        if (item->status > check->status) check->status = item->status;
    }
}

/* ---- asking ---- */

static int wait_within(struct link *link, uint64_t within_ms)
{
    uint64_t end_ns = now_ns() + within_ms * 1000000;
    int64_t left;
    while ((left = ms_until(end_ns)) > 0) {
        int result = link_step(link, NULL, 0, left);
        if (result != CLI_EXIT_DONE) return result == LINK_OVER ? CLI_EXIT_LOST : result;
    }
    return CLI_EXIT_DONE;
}

static int ask(const struct check_options *options, struct link *link, struct report *report, uint64_t *lost_before)
{
    struct report_terms terms = {.sections = REPORT_BROKER, .limit = 1};
    *lost_before = 0;
    if (options->within_ms > 0) {
        int result = report_wait(report, link, &terms);
        if (result == CLI_EXIT_DONE) result = wait_within(link, options->within_ms);
        if (result != CLI_EXIT_DONE) return result;
        *lost_before = report->broker.lost;
    }
    if (options->check.items[CHECK_LAG].is_asked) terms.sections |= REPORT_SUBSCRIPTIONS | REPORT_GROUPS;
    return report_wait(report, link, &terms);
}

static int check_with(struct check_options *options)
{
    struct check *check = &options->check;
    struct link link = {.owner = NULL};
    struct pubsub_options client = {.no_reconnect = true};
    struct report report = {0};
    uint64_t lost_before;
    set_defaults(check);
    int result = link_open(&link, &options->connection, &client);
    if (result == CLI_EXIT_DONE) result = ask(options, &link, &report, &lost_before);
    link_close(&link, 0);
    if (result >= CLI_EXIT_SIGNAL) {
        report_free(&report);
        return result;
    }
    if (result == CLI_EXIT_DONE) {
        look_at(check, &report, lost_before);
        judge(check);
        if (check->status == CHECK_UNKNOWN) complain("%s", check->why);
    } else {
        check->status = CHECK_UNKNOWN;
        check->why = last_complaint();
    }
    bool is_said = check_print(check, options->form);
    report_free(&report);
    return is_said ? (int)check->status : CHECK_UNKNOWN;
}

static int run(int argc, char **argv, const struct connection_options *connection)
{
    struct check_options options = {.connection = *connection};
    int arguments;
    switch (parse(&options, argc, argv, &arguments)) {
    case OPTIONS_OK: return combine(&options, argv, arguments) ? check_with(&options) : CHECK_UNKNOWN;
    case OPTIONS_HELP: return CLI_EXIT_DONE;
    case OPTIONS_WRONG: break;
    }
    return CHECK_UNKNOWN;
}

const struct command check_command = {"check", "is the broker well? For monitors", run};
