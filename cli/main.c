/* pubsub: the command line of the broker. Finds the command and runs it. */
#include <pubsub/pubsub.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "connect.h"
#include "credentials.h"
#include "nearest.h"
#include "options.h"

enum { COMMAND_COUNT = 11 };
static const struct command *const commands[COMMAND_COUNT] = {
    &pub_command,    &sub_command, &req_command,   &reply_command, &get_command,  &stream_command,
    &status_command, &top_command, &check_command, &trace_command, &bench_command};

struct global_options {
    struct connection_options connection;
    bool version;
};

static bool set_version(void *into, const char *value)
{
    (void)value;
    return ((struct global_options *)into)->version = true;
}

static const struct option_row global_rows[] = {
    {0, "version", NULL, set_version, "print the version and end"},
    {0, NULL, NULL, NULL, NULL},
};

static const struct command *find_command(const char *name)
{
    for (int i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i]->name, name) == 0) return commands[i];
    }
    return NULL;
}

static int unknown_command(const char *name)
{
    const char *names[COMMAND_COUNT + 1] = {NULL};
    for (int i = 0; i < COMMAND_COUNT; i++) names[i] = commands[i]->name;
    const char *nearest = nearest_name(name, names);
    if (nearest) {
        complain("unknown command '%s'; did you mean '%s'?", name, nearest);
    } else {
        complain("unknown command '%s'; see 'pubsub --help'", name);
    }
    return CLI_EXIT_USAGE;
}

/* The commands for the help, one a line. */
static void list_commands(char *text, size_t cap)
{
    size_t len = 0;
    for (int i = 0; i < COMMAND_COUNT && len < cap; i++) {
        len += (size_t)snprintf(text + len, cap - len, "\n  %-8s%s", commands[i]->name, commands[i]->summary);
    }
}

/* Printed output that didn't get where it should is an error, too. */
static int end_output(int result)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return result;
    complain("cannot write to standard output");
    return result == CLI_EXIT_DONE ? CLI_EXIT_ERROR : result;
}

int main(int argc, char **argv)
{
    static const char *const examples[] = {"pubsub sub 'greet/#'", "pubsub pub greet/world hello", NULL};
    static const int exit_codes[] = {
#define EXIT(number, NAME, text) (number),
        EXIT_CODES(EXIT)
#undef EXIT
            - 1,
    };
    start_ns();
    if (!credentials_take_environment()) return CLI_EXIT_USAGE;
    char summary[1024] = "Publishes messages to a broker and receives them. Commands, each with --help of its own:\n";
    list_commands(summary + strlen(summary), sizeof summary - strlen(summary));
    struct global_options options = {0};
    const struct option_table general = {"Options", global_rows, &options};
    const struct option_table connection = {"Connection, before or after the command", connection_option_rows,
                                            &options.connection};
    const struct usage usage = {
        .command = "pubsub",
        .arguments = "COMMAND ...",
        .summary = summary,
        .tables = {&general, &connection},
        .examples = examples,
        .exit_codes = exit_codes,
    };
    int arguments = 0;
    switch (options_parse(&usage, argc > 0 ? argc - 1 : 0, argv + 1, true, &arguments)) {
    case OPTIONS_OK: break;
    case OPTIONS_HELP: return end_output(CLI_EXIT_DONE);
    case OPTIONS_WRONG: return CLI_EXIT_USAGE;
    }
    if (options.version) {
        printf("pubsub %s\n", pubsub_version());
        return end_output(CLI_EXIT_DONE);
    }
    if (arguments == 0) {
        complain("no command; see 'pubsub --help'");
        return CLI_EXIT_USAGE;
    }
    char **rest = argv + 1;
    const struct command *command = find_command(rest[0]);
    if (!command) return unknown_command(rest[0]);
    int result = command->run(arguments - 1, rest + 1, &options.connection);
    credentials_free();
    return end_output(result);
}
