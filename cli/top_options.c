#include "top_options.h"

#include <stdio.h>
#include <string.h>

#include "cli.h"

#define COMMAND "pubsub top"
#define INTERVAL_MS 1000
#define INTERVAL_LEAST_MS 100
#define INTERVAL_MOST_MS 3600000
#define ROWS 20
#define ROWS_MAX 10000 /* a report has no more */

static bool set_interval(void *into, const char *value)
{
    struct top_options *options = into;
    return option_time("--interval", value, INTERVAL_LEAST_MS, INTERVAL_MOST_MS, &options->interval_ms);
}

static bool set_view(void *into, const char *value)
{
    struct top_options *options = into;
    const char *names[TOP_VIEWS_COUNT + 1] = {NULL};
    for (int i = 0; i < TOP_VIEWS_COUNT; i++) names[i] = top_views[i].name;
    int view = option_choice("--view", value, names);
    if (view < 0) return false;
    options->view = value;
    options->state.view = (enum top_view_name)view;
    return true;
}

static bool set_sort(void *into, const char *value)
{
    ((struct top_options *)into)->sort = value;
    return true;
}

static bool set_filter(void *into, const char *value)
{
    struct top_options *options = into;
    if (strlen(value) < TOP_FILTER_MAX) {
        snprintf(options->state.filter, TOP_FILTER_MAX, "%s", value);
        return true;
    }
    complain("--filter: at most %d bytes", TOP_FILTER_MAX - 1);
    return false;
}

static bool set_rows(void *into, const char *value)
{
    struct top_options *options = into;
    if (!option_number("--rows", value, 1, &options->rows)) return false;
    if (options->rows <= ROWS_MAX) return true;
    complain("--rows %s: must be at most %d", value, ROWS_MAX);
    return false;
}

static bool set_once(void *into, const char *value)
{
    (void)value;
    return ((struct top_options *)into)->once = true;
}

static bool set_json(void *into, const char *value)
{
    (void)value;
    return ((struct top_options *)into)->json = true;
}

static const struct option_row show_rows[] = {
    {0, "interval", "TIME", set_interval, "how often the broker is asked; default 1s"},
    {0, "view", "VIEW", set_view,
     "topics, subscriptions, connections, groups or streams: what is shown\n"
     "first; with --once or --json: only this; default: topics, or all"},
    {0, "sort", "COLUMN", set_sort,
     "by what rows are sorted: a name as in --json, such as lag_ms or\n"
     "bytes_per_s, in the views that have it"},
    {0, "filter", "TEXT", set_filter, "only rows in which this text stands"},
    {0, NULL, NULL, NULL, NULL},
};

static const struct option_row print_rows[] = {
    {0, "once", NULL, set_once, "print all once as text, an interval from now"},
    {0, "json", NULL, set_json, "print it as an object a line: each interval, or with --once one"},
    {0, "rows", "N", set_rows, "print at most N rows of each view; default 20"},
    {0, NULL, NULL, NULL, NULL},
};

static const char notes[] =
    "Keys: q quit, ? help, Tab or 1 to 5 another view, s or left and right another column to\n"
    "sort by, r the other way round, / a filter, space pause, arrows and pages scroll.\n"
    "\n"
    "A subscription or group stands out, with '!' before it, when its first message has waited\n"
    "for 1 s or longer (LAG). Rates are differences of two reports. Topics are counted only\n"
    "while somebody looks. Colour only without NO_COLOR in the environment.\n"
    "\n"
    "Who may see this: whoever may subscribe below $SYS.";

static enum options_result parse(struct top_options *options, int argc, char **argv, int *arguments)
{
    static const char *const examples[] = {
        "pubsub top --view subscriptions",
        "pubsub top --once --json | jq '.subscriptions.list[] | select(.slow)'",
        NULL,
    };
    static const int exit_codes[] = {CLI_EXIT_DONE,    CLI_EXIT_ERROR, CLI_EXIT_USAGE,
                                     CLI_EXIT_CONNECT, CLI_EXIT_AUTH,  CLI_EXIT_REFUSED,
                                     CLI_EXIT_LOST,    CLI_EXIT_TIME,  -1};
    const struct option_table show = {"What is shown", show_rows, options};
    const struct option_table print = {"Without a full screen", print_rows, options};
    const struct option_table connection = {"Connection", connection_option_rows, &options->connection};
    const struct usage usage = {
        .command = COMMAND,
        .arguments = "",
        .summary =
            "Shows what the broker does, refreshed once a second on the full screen: topics by messages and bytes\n"
            "a second, subscriptions by how far they are behind and what they lost, connections by traffic, and\n"
            "groups and durable streams.",
        .tables = {&show, &print, &connection},
        .notes = notes,
        .examples = examples,
        .exit_codes = exit_codes,
    };
    return options_parse(&usage, argc, argv, false, arguments);
}

/* Sorts by that column the views that have it; of one view that was asked for it has to. */
static bool apply_sort(struct top_options *options)
{
    bool found = false;
    if (!options->sort) return true;
    for (int i = 0; i < TOP_VIEWS_COUNT; i++) {
        size_t column = top_column_named(&top_views[i], options->sort);
        if (column == top_views[i].columns_count) continue;
        options->state.orders[i].column = column;
        found = found || !options->view || options->state.view == (enum top_view_name)i;
    }
    if (found) return true;
    if (options->view) complain("--sort %s: %s have no such column; --json shows them", options->sort, options->view);
    else complain("--sort %s: no view has such a column; --json shows them", options->sort);
    return false;
}

enum options_result top_options_read(struct top_options *options, int argc, char **argv)
{
    int arguments = 0;
    options->interval_ms = INTERVAL_MS;
    options->rows = ROWS;
    top_state_open(&options->state);
    enum options_result result = parse(options, argc, argv, &arguments);
    if (result != OPTIONS_OK) return result;
    if (arguments > 0) {
        complain("too many arguments: '%s'; see '" COMMAND " --help'", argv[0]);
        return OPTIONS_WRONG;
    }
    return apply_sort(options) ? OPTIONS_OK : OPTIONS_WRONG;
}

bool top_options_show(const struct top_options *options, enum top_view_name view)
{
    return !options->view || options->state.view == view;
}
