/* pubsub reply */
#include "cli.h"
#include "exec.h"
#include "replier.h"

struct reply_options {
    struct connection_options connection;
    struct replier_terms terms;
    bool echo;
};

static struct replier_terms *terms_of(void *into)
{
    return &((struct reply_options *)into)->terms;
}

static bool set_exec(void *into, const char *value)
{
    terms_of(into)->command = value;
    return true;
}

static bool set_echo(void *into, const char *value)
{
    (void)value;
    return ((struct reply_options *)into)->echo = true;
}

static bool set_jobs(void *into, const char *value)
{
    return option_jobs(value, &terms_of(into)->jobs);
}

static bool set_group(void *into, const char *value)
{
    terms_of(into)->group = value;
    return true;
}

static bool set_count(void *into, const char *value)
{
    return option_number("-n", value, 1, &terms_of(into)->count);
}

static bool set_no_reconnect(void *into, const char *value)
{
    (void)value;
    return terms_of(into)->no_reconnect = true;
}

static const struct option_row how_rows[] = {
    {0, "exec", "CMD", set_exec,
     "run CMD for each request, in a shell, with the request on its standard\n"
     "input (text, or other values as JSON), the topic in $PUBSUB_TOPIC and\n"
     "headers in $PUBSUB_HEADER_name; what it prints is the answer. If it\n"
     "fails, the answer is empty, with a header 'error'"},
    {0, "echo", NULL, set_echo, "answer with the request itself"},
    {0, "jobs", "N", set_jobs, "with --exec: so many at a time, 1 to 64; default 1"},
    {0, "group", "NAME", set_group,
     "share the requests with all that serve TOPIC with the same NAME; default:\n"
     "all answer all"},
    {'n', NULL, "N", set_count, "end after N answers; default: go on"},
    {0, "no-reconnect", NULL, set_no_reconnect, "end when the connection is lost; default: connect again"},
    {0, NULL, NULL, NULL, NULL},
};

static enum options_result parse(struct reply_options *options, int argc, char **argv, int *arguments)
{
    static const char *const examples[] = {
        "pubsub reply time/now --exec date",
        "pubsub reply -j --group sums sum --exec 'jq add'",
        NULL,
    };
    static const int exit_codes[] = {CLI_EXIT_DONE, CLI_EXIT_ERROR,   CLI_EXIT_USAGE, CLI_EXIT_CONNECT,
                                     CLI_EXIT_AUTH, CLI_EXIT_REFUSED, CLI_EXIT_LOST,  -1};
    const struct option_table how = {"How requests are answered", how_rows, options};
    const struct option_table form = {"What an answer is: by default text, without the newline at its end",
                                      form_option_rows, &options->terms.body};
    const struct option_table properties = {NULL, property_option_rows, &options->terms.body};
    const struct option_table connection = {"Connection", connection_option_rows, &options->connection};
    const struct usage usage = {
        .command = "pubsub reply",
        .arguments = "TOPIC",
        .summary = "Answers what 'pubsub req', or any client that names a topic for answers, asks on TOPIC.",
        .tables = {&how, &form, &properties, &connection},
        .notes =
            "A command that fails is told on stderr, and the exit code is 1 in the end. A signal ends commands, too.",
        .examples = examples,
        .exit_codes = exit_codes,
    };
    return options_parse(&usage, argc, argv, false, arguments);
}

static bool wrong(const char *why)
{
    return options_wrong("pubsub reply", why);
}

/* The arguments, and options that are right each by itself, together. */
static bool combine(struct reply_options *options, char **arguments, int count)
{
    struct replier_terms *terms = &options->terms;
    if (count == 0) return wrong("no topic");
    if (count > 1) {
        complain("too many arguments: '%s'; a command with blanks must be quoted", arguments[1]);
        return false;
    }
    terms->topic = arguments[0];
    if (!terms->command && !options->echo) return wrong("no answer: give --exec or --echo");
    if (terms->command && options->echo) return wrong("--exec and --echo exclude each other");
    if (!message_options_combine(&terms->body)) return false;
    const struct message_options *body = &terms->body;
    if (options->echo && (body->json || body->msgpack || body->raw || body->hex))
        return wrong("an echo has the form of the request: --json, --msgpack, --bin and --hex go with --exec");
    if (terms->jobs > 0 && !terms->command) return wrong("--jobs goes with --exec");
    if (terms->jobs == 0) terms->jobs = 1;
    return true;
}

static int run(int argc, char **argv, const struct connection_options *connection)
{
    struct reply_options options = {.connection = *connection};
    int arguments, result = CLI_EXIT_USAGE;
    switch (parse(&options, argc, argv, &arguments)) {
    case OPTIONS_OK:
        if (combine(&options, argv, arguments)) result = replier_run(&options.connection, &options.terms);
        break;
    case OPTIONS_HELP: result = CLI_EXIT_DONE; break;
    case OPTIONS_WRONG: break;
    }
    message_options_free(&options.terms.body);
    return result;
}

const struct command reply_command = {"reply", "answer what others ask", run};
