/* pubsub: the command line of the broker. Finds the command and runs it. */
#include <fcntl.h>
#include <pubsub/pubsub.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "commands.h"
#include "complete.h"
#include "connect.h"
#include "credentials.h"
#include "options.h"

static const struct command help_command;

/* In the order of the help. */
/* clang-format off */
static const struct command *const commands[] = {
    &pub_command,
    &sub_command,
    &req_command,
    &reply_command,
    &get_command,
    &stream_command,
    &status_command,
    &top_command,
    &check_command,
    &trace_command,
    &bench_command,
    &context_command,
    &help_command,
    NULL,
};
/* clang-format on */

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
    {'V', "version", NULL, set_version, "print the version and end"},
    {0, NULL, NULL, NULL, NULL},
};

static enum options_result parse(struct global_options *options, int argc, char **argv, int *arguments)
{
    static const char *const examples[] = {"pubsub sub 'greet/#'", "pubsub pub greet/world hello", NULL};
    static const int exit_codes[] = {
#define EXIT(number, NAME, text) (number),
        EXIT_CODES(EXIT)
#undef EXIT
            - 1,
    };
    const struct option_table general = {"Options", global_rows, options};
    const struct option_table connection = {"Connection, before or after the command", connection_option_rows,
                                            &options->connection};
    const struct usage usage = {
        .command = "pubsub",
        .arguments = "COMMAND ...",
        .summary = "Publishes messages to a broker and receives them.",
        .commands = commands,
        .tables = {&general, &connection},
        .notes = "Environment\n"
                 "  PUBSUB_URL            where the broker is, if neither -s nor a context says so\n"
                 "  PUBSUB_CONTEXT        the context, if neither --context nor -s is given\n"
                 "  PUBSUB_PASSWORD       the password of --user, if there is no --password-file\n"
                 "  PUBSUB_TOKEN          a token, if there is neither --token-file nor --user\n"
                 "  NO_COLOR              if it is not empty, no colours",
        .examples = examples,
        .exit_codes = exit_codes,
    };
    return options_parse(&usage, argc, argv, true, arguments);
}

/* ---- pubsub help ---- */

static enum options_result parse_help(int argc, char **argv, int *words)
{
    static const char *const examples[] = {"pubsub help pub", "pubsub help stream ls", NULL};
    static const int exit_codes[] = {CLI_EXIT_DONE, CLI_EXIT_USAGE, -1};
    const struct usage usage = {
        .command = "pubsub help",
        .arguments = "[COMMAND...]",
        .summary = "Prints what a command does, its options and examples, as the command itself with --help.",
        .commands = completing() ? commands : NULL, /* then the words are a command's, as they stand */
        .examples = examples,
        .exit_codes = exit_codes,
    };
    return options_parse(&usage, argc, argv, completing(), words);
}

static int help(int argc, char **argv, const struct connection_options *connection)
{
    static char of_all[] = "--help";
    char *word = of_all;
    struct global_options none = {0};
    int words;
    switch (parse_help(argc, argv, &words)) {
    case OPTIONS_OK: break;
    case OPTIONS_HELP: return CLI_EXIT_DONE;
    case OPTIONS_WRONG: return CLI_EXIT_USAGE;
    }
    if (completing()) return commands_run("pubsub", commands, words, argv, connection);
    if (words > 0) return commands_help("pubsub", commands, words, argv, connection);
    (void)parse(&none, 1, &word, &words);
    return CLI_EXIT_DONE;
}

static const struct command help_command = {"help", "say what a command does, as COMMAND --help", help};

/* ---- pubsub ---- */

/* Printed output that didn't get where it should is an error, too. */
static int end_output(int result)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return result;
    complain("cannot write to standard output");
    return result == CLI_EXIT_DONE ? CLI_EXIT_ERROR : result;
}

static int run(int argc, char **argv)
{
    struct global_options options = {0};
    int arguments = 0;
    switch (parse(&options, argc, argv, &arguments)) {
    case OPTIONS_OK: break;
    case OPTIONS_HELP: return CLI_EXIT_DONE;
    case OPTIONS_WRONG: return CLI_EXIT_USAGE;
    }
    if (options.version) {
        printf("pubsub %s\n", pubsub_version());
        return CLI_EXIT_DONE;
    }
    if (arguments > 0) return commands_run("pubsub", commands, arguments, argv, &options.connection);
    complain("no command; see 'pubsub --help'");
    return CLI_EXIT_USAGE;
}

/* Whoever starts us may have closed some of them. The connection would take their numbers, and the broker get what is
 * printed. What takes them here can't be written to either, as it should be. */
static void occupy_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDONLY) < 0) abort();
}

int main(int argc, char **argv)
{
    start_ns();
    occupy_standard_descriptors();
    if (!credentials_take_environment()) return CLI_EXIT_USAGE;
    int from = argc > 0 ? 1 : 0;
    if (argc > 2 && strcmp(argv[1], COMPLETE_COMMAND) == 0) {
        complete_begin();
        from++;
    }
    int result = run(argc - from, argv + from);
    credentials_free();
    return end_output(result);
}
