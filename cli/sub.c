/* pubsub sub */
#include <string.h>

#include "cli.h"
#include "receiver.h"
#include "sizes.h"

#define QUEUE_BYTES (UINT64_C(64) * 1024 * 1024)

struct sub_options {
    struct connection_options connection;
    struct receiver_terms terms;
    bool all_topics;
};

static bool set_count(void *into, const char *value)
{
    unsigned long long count;
    if (!option_number("-n", value, 1, &count)) return false;
    ((struct sub_options *)into)->terms.count = count;
    return true;
}

static bool take_time(const char *option, const char *value, uint64_t *ms)
{
    if (time_parse(value, ms)) return true;
    complain("%s %s: not a time such as 500ms, 10s, 5m, 24h, 7d", option, value);
    return false;
}

static bool set_for(void *into, const char *value)
{
    uint64_t ms;
    if (!take_time("--for", value, &ms)) return false;
    ((struct sub_options *)into)->terms.end_ns = start_ns() + ms * 1000000;
    return true;
}

static bool set_idle(void *into, const char *value)
{
    uint64_t ms;
    if (!take_time("--idle", value, &ms)) return false;
    if (ms == 0) {
        complain("--idle %s: must be more than 0", value);
        return false;
    }
    ((struct sub_options *)into)->terms.idle_ms = ms;
    return true;
}

static bool set_max_msgs(void *into, const char *value)
{
    unsigned long long count;
    if (!option_number("--max-msgs", value, 1, &count)) return false;
    ((struct sub_options *)into)->terms.max_msgs = count;
    return true;
}

static bool set_max_bytes(void *into, const char *value)
{
    if (size_parse(value, &((struct sub_options *)into)->terms.max_bytes)) return true;
    complain("--max-bytes %s: not a size of at least 1 such as 64k, 16m, 1g", value);
    return false;
}

static bool set_retained(void *into, const char *value)
{
    struct receiver_terms *terms = &((struct sub_options *)into)->terms;
    if (strcmp(value, "no") == 0) {
        terms->live = true;
        terms->retained = false;
    } else if (strcmp(value, "only") == 0) {
        terms->live = false;
        terms->retained = true;
    } else {
        complain("--retained %s: not one of no, only", value);
        return false;
    }
    return true;
}

static bool set_no_reconnect(void *into, const char *value)
{
    (void)value;
    return ((struct sub_options *)into)->terms.no_reconnect = true;
}

static bool set_fail_on_gap(void *into, const char *value)
{
    (void)value;
    return ((struct sub_options *)into)->terms.fail_on_gap = true;
}

static bool set_all_topics(void *into, const char *value)
{
    (void)value;
    return ((struct sub_options *)into)->all_topics = true;
}

static const struct option_row what_rows[] = {
    {'a', "all-topics", NULL, set_all_topics, "all topics, as the pattern '#'"},
    {0, "retained", "WHICH", set_retained,
     "no: none of the topics' last values; only: these, then end;\n"
     "default: these, then what is published"},
    {0, "max-msgs", "N", set_max_msgs,
     "messages that wait at the broker when we are slow; default as many\n"
     "as it allows"},
    {0, "max-bytes", "SIZE", set_max_bytes, "likewise in bytes, e.g. 16m; default 64m"},
    {0, NULL, NULL, NULL, NULL},
};

static const struct option_row end_rows[] = {
    {'n', NULL, "N", set_count, "end after N messages; default: go on"},
    {0, "for", "TIME", set_for, "end after TIME in all, e.g. 10s; default: go on"},
    {0, "idle", "TIME", set_idle, "end after TIME without a message; default: go on"},
    {0, "fail-on-gap", NULL, set_fail_on_gap, "end when messages were lost; default: say so and go on"},
    {0, "no-reconnect", NULL, set_no_reconnect, "end when the connection is lost; default: connect again"},
    {0, NULL, NULL, NULL, NULL},
};

static enum options_result parse(struct sub_options *options, int argc, char **argv, int *arguments)
{
    static const char *const examples[] = {
        "pubsub sub 'site/+/temp'",
        "pubsub sub -n 1 --for 5s -F '%T %{temp}' site/a/state",
        "pubsub sub -o json -a | jq .payload",
        NULL,
    };
    static const int exit_codes[] = {CLI_EXIT_DONE,    CLI_EXIT_ERROR, CLI_EXIT_USAGE, CLI_EXIT_CONNECT, CLI_EXIT_AUTH,
                                     CLI_EXIT_REFUSED, CLI_EXIT_LOST,  CLI_EXIT_GAP,   CLI_EXIT_TIME,    -1};
    const struct option_table what = {"What is received", what_rows, options};
    const struct option_table print = {"How it is printed", print_option_rows, &options->terms.print};
    const struct option_table end = {"When it ends", end_rows, options};
    const struct option_table connection = {"Connection", connection_option_rows, &options->connection};
    const struct usage usage = {
        .command = "pubsub sub",
        .arguments = "PATTERN...",
        .summary =
            "Subscribes and prints what is published. In a PATTERN '+' stands for one level of the topic and '#'\n"
            "at the end for all the rest; quote them from the shell.",
        .tables = {&what, &print, &end, &connection},
        .notes = "Messages that were lost are told on stderr, with -o json as a line {\"gap\":...}.",
        .examples = examples,
        .exit_codes = exit_codes,
    };
    enum options_result result = options_parse(&usage, argc, argv, false, arguments);
    if (result == OPTIONS_HELP) options_help(&usage);
    return result;
}

static int sub_with(struct sub_options *options, char **patterns, int count)
{
    static char all[] = "#";
    static char *const all_topics[] = {all};
    if (options->all_topics && count > 0) {
        complain("both -a and the pattern '%s' are given", patterns[0]);
        return CLI_EXIT_USAGE;
    }
    if (!options->all_topics && count == 0) {
        complain("no pattern; if you typed #, the shell removed it: quote it or use -a");
        return CLI_EXIT_USAGE;
    }
    options->terms.patterns = options->all_topics ? all_topics : patterns;
    options->terms.pattern_count = options->all_topics ? 1 : count;
    uint64_t received;
    return receive(&options->connection, &options->terms, &received);
}

static int run(int argc, char **argv, const struct connection_options *connection)
{
    struct sub_options options = {
        .connection = *connection,
        .terms = {.live = true, .retained = true, .max_msgs = UINT64_MAX, .max_bytes = QUEUE_BYTES},
    };
    int arguments;
    switch (parse(&options, argc, argv, &arguments)) {
    case OPTIONS_OK: return sub_with(&options, argv, arguments);
    case OPTIONS_HELP: return CLI_EXIT_DONE;
    case OPTIONS_WRONG: break;
    }
    return CLI_EXIT_USAGE;
}

const struct command sub_command = {"sub", "subscribe and print what is published", run};
