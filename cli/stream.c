/* pubsub stream: finds the command and runs it. */
#include "stream.h"

#include <string.h>

#include "commands.h"
#include "connect.h"
#include "nearest.h"
#include "options.h"
#include "streams.h"

static const struct command *const commands[] = {&stream_ls_command,     &stream_info_command,   &stream_rm_command,
                                                 &stream_export_command, &stream_import_command, NULL};

const char *stream_argument(const char *command, char **arguments, int count)
{
    if (count == 1) return arguments[0];
    if (count == 0) complain("no name of a stream; see '%s --help'", command);
    else complain("too many arguments: '%s'", arguments[1]);
    return NULL;
}

const struct stream *stream_named(const struct streams *streams, const char *name)
{
    const struct stream *stream = streams_find(streams, name, strlen(name));
    if (stream) return stream;
    const char *names[64] = {NULL};
    for (size_t i = 0; i < streams->count && i < sizeof names / sizeof *names - 1; i++)
        names[i] = streams->list[i].name;
    const char *nearest = nearest_name(name, names);
    if (nearest) complain("there is no stream '%s'; did you mean '%s'?", name, nearest);
    else complain("there is no stream '%s'; see 'pubsub stream ls'", name);
    return NULL;
}

static enum options_result parse(struct connection_options *connection, int argc, char **argv, int *arguments)
{
    static const char *const examples[] = {
        "pubsub stream ls",
        "pubsub stream export orders orders.export",
        NULL,
    };
    static const int exit_codes[] = {CLI_EXIT_DONE,    CLI_EXIT_ERROR, CLI_EXIT_USAGE,
                                     CLI_EXIT_CONNECT, CLI_EXIT_AUTH,  CLI_EXIT_REFUSED,
                                     CLI_EXIT_LOST,    CLI_EXIT_TIME,  -1};
    const struct option_table table = {"Connection, before or after the command", connection_option_rows, connection};
    const struct usage usage = {
        .command = "pubsub stream",
        .arguments = "COMMAND ...",
        .summary =
            "Durable streams: what the broker keeps of the topics that its operator has chosen. 'pubsub sub' reads\n"
            "from them.",
        .commands = commands,
        .tables = {&table},
        .examples = examples,
        .exit_codes = exit_codes,
    };
    return options_parse(&usage, argc, argv, true, arguments);
}

static int run(int argc, char **argv, const struct connection_options *connection)
{
    struct connection_options options = *connection;
    int arguments;
    switch (parse(&options, argc, argv, &arguments)) {
    case OPTIONS_OK: break;
    case OPTIONS_HELP: return CLI_EXIT_DONE;
    case OPTIONS_WRONG: return CLI_EXIT_USAGE;
    }
    if (arguments == 0) {
        complain("no command; see 'pubsub stream --help'");
        return CLI_EXIT_USAGE;
    }
    return commands_run("pubsub stream", commands, arguments, argv, &options);
}

const struct command stream_command = {"stream", "durable streams: ls, info, rm, export, import", run};
