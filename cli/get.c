/* pubsub get */
#include "cli.h"
#include "receiver.h"

struct get_options {
    struct connection_options connection;
    struct receiver_terms terms;
};

static enum options_result parse(struct get_options *options, int argc, char **argv, int *arguments)
{
    static const char *const examples[] = {
        "pubsub get site/a/state",
        "pubsub get -o json 'site/+/state'",
        NULL,
    };
    static const int exit_codes[] = {CLI_EXIT_DONE, CLI_EXIT_ERROR,   CLI_EXIT_USAGE, CLI_EXIT_CONNECT,
                                     CLI_EXIT_AUTH, CLI_EXIT_REFUSED, CLI_EXIT_LOST,  -1};
    const struct option_table print = {"How it is printed", print_option_rows, &options->terms.print};
    const struct option_table connection = {"Connection", connection_option_rows, &options->connection};
    const struct usage usage = {
        .command = "pubsub get",
        .arguments = "TOPIC...",
        .summary =
            "Prints the topics' retained values, the last that a publisher asked to be kept, and ends. A TOPIC may\n"
            "be a pattern. A topic without a value prints nothing; if there is no value at all, that is an error.",
        .tables = {&print, &connection},
        .examples = examples,
        .exit_codes = exit_codes,
    };
    return options_parse(&usage, argc, argv, false, arguments);
}

static int get_with(struct get_options *options, char **topics, int count)
{
    if (count == 0) {
        complain("no topic; see 'pubsub get --help'");
        return CLI_EXIT_USAGE;
    }
    options->terms.patterns = topics;
    options->terms.pattern_count = count;
    uint64_t received;
    int result = receive(&options->connection, &options->terms, &received);
    if (result != CLI_EXIT_DONE || received > 0) return result;
    complain("no retained value of '%s'%s", topics[0], count > 1 ? " or the others" : "");
    return CLI_EXIT_ERROR;
}

static int run(int argc, char **argv, const struct connection_options *connection)
{
    struct get_options options = {
        .connection = *connection,
        /* After a reconnect the values would come once more, among those that are printed already. */
        .terms = {.retained = true, .no_reconnect = true, .max_msgs = UINT64_MAX},
    };
    int arguments;
    switch (parse(&options, argc, argv, &arguments)) {
    case OPTIONS_OK: return get_with(&options, argv, arguments);
    case OPTIONS_HELP: return CLI_EXIT_DONE;
    case OPTIONS_WRONG: break;
    }
    return CLI_EXIT_USAGE;
}

const struct command get_command = {"get", "print the retained values of topics", run};
