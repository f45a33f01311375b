/* pubsub context: names for brokers */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "contexts.h"
#include "credentials.h"
#include "output.h"

static const int exit_codes[] = {CLI_EXIT_DONE, CLI_EXIT_ERROR, CLI_EXIT_USAGE, -1};

/* The one argument of a command, a context's name. NULL: complained. */
static const char *one_name(const char *command, char **arguments, int count)
{
    if (count == 1) return arguments[0];
    if (count == 0) complain("no name of a context; see '%s --help'", command);
    else complain("too many arguments: '%s'; see '%s --help'", arguments[1], command);
    return NULL;
}

static int write_and_close(struct contexts *contexts, bool changed)
{
    int result = changed ? contexts_write(contexts) : CLI_EXIT_USAGE;
    contexts_close(contexts);
    return result;
}

/* ---- add ---- */

struct add_options {
    struct connection_options connection;
    bool replace, use;
};

static bool set_replace(void *into, const char *value)
{
    (void)value;
    return ((struct add_options *)into)->replace = true;
}

static bool set_use(void *into, const char *value)
{
    (void)value;
    return ((struct add_options *)into)->use = true;
}

static const struct option_row add_rows[] = {
    {0, "replace", NULL, set_replace, "if there is one of this name already: this one takes its place"},
    {0, "use", NULL, set_use, "and use it from now on, as 'pubsub context use' does"},
    {0, NULL, NULL, NULL, NULL},
};

static bool check_name(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t len = strlen(name);
    if (len > 0 && len <= CONTEXT_NAME_MAX && strspn(name, allowed) == len) return true;
    complain("'%s' is not a context's name: 1 to %d letters, digits, '.', '_', '-'", name, CONTEXT_NAME_MAX);
    return false;
}

/* One or several with commas between. What follows the scheme is seen when it is connected to. */
static bool check_url(const char *url)
{
    static const char *const schemes[] = {"unix:/", "tcp://", "tls://"};
    for (size_t len; *url; url += len + (url[len] == ',')) {
        bool known = false;
        len = strcspn(url, ",");
        for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
            known = known || strncmp(url, schemes[i], strlen(schemes[i])) == 0;
        if (known) continue;
        complain("-s %.*s: not an address as unix:/path, tcp://host:port, tls://host:port", (int)len, url);
        return false;
    }
    return true;
}

static bool check_connection(const struct connection_options *connection)
{
    if (connection->context || connection->client_id)
        return options_wrong("pubsub context add",
                             connection->context ? "a context is not made of another one: --context is not possible"
                                                 : "two commands would be one client: --id is not kept");
    if (!connection->url || !*connection->url)
        return options_wrong("pubsub context add", "where is the broker? -s says so");
    return check_url(connection->url) && credentials_check(connection);
}

static int add(const struct add_options *options, const char *name)
{
    struct contexts *contexts = contexts_open(true);
    if (!contexts) return CLI_EXIT_USAGE;
    bool is_free = options->replace || !contexts_has(contexts, name);
    if (!is_free) complain("there is a context '%s' already; --replace puts this one in its place", name);
    bool is_put = is_free && contexts_put(contexts, name, &options->connection);
    if (is_put && options->use) contexts_use(contexts, name);
    return write_and_close(contexts, is_put);
}

static int run_add(int argc, char **argv, const struct connection_options *connection)
{
    static const char *const examples[] = {
        "pubsub context add here -s tcp://127.0.0.1:7717",
        "pubsub context add plant -s tls://broker.example.com:7718 --ca ca.crt --user ann --password-file "
        "~/ann.password",
        NULL,
    };
    struct add_options options = {.connection = *connection};
    const struct option_table how = {"Options", add_rows, &options};
    const struct option_table where = {"Connection: what the context stands for", connection_option_rows,
                                       &options.connection};
    const struct usage usage = {
        .command = "pubsub context add",
        .arguments = "NAME",
        .summary = "Keeps where a broker is, and who we are there, under a name. Of secrets only the paths of their\n"
                   "files are kept.",
        .tables = {&how, &where},
        .examples = examples,
        .exit_codes = exit_codes,
    };
    int arguments;
    switch (options_parse(&usage, argc, argv, false, &arguments)) {
    case OPTIONS_OK: break;
    case OPTIONS_HELP: return CLI_EXIT_DONE;
    case OPTIONS_WRONG: return CLI_EXIT_USAGE;
    }
    const char *name = one_name("pubsub context add", argv, arguments);
    if (!name || !check_name(name) || !check_connection(&options.connection)) return CLI_EXIT_USAGE;
    return add(&options, name);
}

/* ---- use ---- */

static bool set_none(void *into, const char *value)
{
    (void)value;
    return *(bool *)into = true;
}

static const struct option_row use_rows[] = {
    {0, "none", NULL, set_none, "none is in use from now on"},
    {0, NULL, NULL, NULL, NULL},
};

static int use(const char *name)
{
    struct context context;
    struct contexts *contexts = contexts_open(true);
    if (!contexts) return CLI_EXIT_USAGE;
    bool found = !name || contexts_find(contexts, name, &context);
    if (found) contexts_use(contexts, name);
    return write_and_close(contexts, found);
}

static int run_use(int argc, char **argv, const struct connection_options *connection)
{
    static const char *const examples[] = {"pubsub context use plant", "pubsub context use --none", NULL};
    bool none = false;
    const struct option_table table = {"Options", use_rows, &none};
    const struct usage usage = {
        .command = "pubsub context use",
        .arguments = "CONTEXT",
        .summary = "From now on commands connect as this context says, when nothing else says where the broker is: no\n"
                   "option, not $PUBSUB_CONTEXT and not $PUBSUB_URL.",
        .tables = {&table},
        .examples = examples,
        .exit_codes = exit_codes,
    };
    int arguments;
    (void)connection;
    switch (options_parse(&usage, argc, argv, false, &arguments)) {
    case OPTIONS_OK: break;
    case OPTIONS_HELP: return CLI_EXIT_DONE;
    case OPTIONS_WRONG: return CLI_EXIT_USAGE;
    }
    if (none && arguments == 0) return use(NULL);
    if (none) return options_wrong(usage.command, "both --none and a context are given"), CLI_EXIT_USAGE;
    const char *name = one_name(usage.command, argv, arguments);
    return name ? use(name) : CLI_EXIT_USAGE;
}

/* ---- ls ---- */

static void print_context(struct output *out, const struct context *context, int width)
{
    const struct connection_options *connection = &context->connection;
    const char *url = connection->url ? connection->url : "", *who = connection->user;
    if (!who && connection->token_file) who = "(token)";
    if (!who && connection->certificate) who = "(certificate)";
    output_format(out, "%c ", context->in_use ? '*' : ' ');
    output_name(out, context->name, strlen(context->name));
    output_format(out, "%*s", width - (int)strlen(context->name) + 2, "");
    output_name(out, url, strlen(url));
    if (who) output_text(out, "  ");
    if (who) output_name(out, who, strlen(who));
    output_char(out, '\n');
}

static int list(void)
{
    char lines[8192];
    struct output out;
    int width = 0;
    struct contexts *contexts = contexts_open(false);
    if (!contexts) return CLI_EXIT_USAGE;
    for (size_t i = 0; i < contexts_count(contexts); i++) {
        int len = (int)strnlen(contexts_get(contexts, i).name, CONTEXT_NAME_MAX);
        if (len > width) width = len;
    }
    output_open_on(&out, STDOUT_FILENO, lines, sizeof lines);
    for (size_t i = 0; i < contexts_count(contexts); i++) {
        struct context context = contexts_get(contexts, i);
        print_context(&out, &context, width);
    }
    bool written = output_flush(&out);
    if (!written) complain("cannot write to standard output: %s", strerror(out.error));
    contexts_close(contexts);
    return written ? CLI_EXIT_DONE : CLI_EXIT_ERROR;
}

static int run_ls(int argc, char **argv, const struct connection_options *connection)
{
    static const char *const examples[] = {"pubsub context ls", "pubsub context ls | grep '^\\*'", NULL};
    const struct usage usage = {
        .command = "pubsub context ls",
        .arguments = "",
        .summary = "Lists the contexts: a '*' at the one in use, the name, where the broker is, and who we are there.",
        .examples = examples,
        .exit_codes = exit_codes,
    };
    int arguments;
    (void)connection;
    switch (options_parse(&usage, argc, argv, false, &arguments)) {
    case OPTIONS_OK: break;
    case OPTIONS_HELP: return CLI_EXIT_DONE;
    case OPTIONS_WRONG: return CLI_EXIT_USAGE;
    }
    if (arguments == 0) return list();
    complain("too many arguments: '%s'; see 'pubsub context ls --help'", argv[0]);
    return CLI_EXIT_USAGE;
}

/* ---- rm ---- */

static int removed(const char *name)
{
    struct context context;
    struct contexts *contexts = contexts_open(true);
    if (!contexts) return CLI_EXIT_USAGE;
    bool found = contexts_find(contexts, name, &context);
    if (found) contexts_remove(contexts, name);
    return write_and_close(contexts, found);
}

static int run_rm(int argc, char **argv, const struct connection_options *connection)
{
    static const char *const examples[] = {"pubsub context rm plant",
                                           "pubsub context use --none && pubsub context rm here", NULL};
    const struct usage usage = {
        .command = "pubsub context rm",
        .arguments = "CONTEXT",
        .summary = "Forgets a context. If it is in use, none is from then on. Files that it names stay.",
        .examples = examples,
        .exit_codes = exit_codes,
    };
    int arguments;
    (void)connection;
    switch (options_parse(&usage, argc, argv, false, &arguments)) {
    case OPTIONS_OK: break;
    case OPTIONS_HELP: return CLI_EXIT_DONE;
    case OPTIONS_WRONG: return CLI_EXIT_USAGE;
    }
    const char *name = one_name(usage.command, argv, arguments);
    return name ? removed(name) : CLI_EXIT_USAGE;
}

/* ---- pubsub context ---- */

static const struct command add_command = {"add", "keep where a broker is under a name", run_add};
static const struct command use_command = {"use", "connect there by default", run_use};
static const struct command ls_command = {"ls", "list the contexts", run_ls};
static const struct command rm_command = {"rm", "forget one of them", run_rm};
static const struct command *const commands[] = {&add_command, &use_command, &ls_command, &rm_command, NULL};

static int run(int argc, char **argv, const struct connection_options *connection)
{
    static const char *const examples[] = {
        "pubsub context add plant -s tls://broker.example.com:7718 --token-file ~/plant.token",
        "pubsub --context plant sub 'site/#'",
        NULL,
    };
    struct connection_options options = *connection;
    const struct option_table table = {"Connection, before or after the command", connection_option_rows, &options};
    const struct usage usage = {
        .command = "pubsub context",
        .arguments = "COMMAND ...",
        .summary =
            "Contexts: names for brokers, with all that would have to be said of the connection each time. What\n"
            "counts is what an option says, else the context of --context; without -s the context of\n"
            "$PUBSUB_CONTEXT, or $PUBSUB_URL, or the context in use.",
        .commands = commands,
        .tables = {&table},
        .notes = "They are kept in $XDG_CONFIG_HOME/pubsub/contexts.json, without that variable in\n"
                 "~/.config/pubsub/contexts.json, which only the user may write.",
        .examples = examples,
        .exit_codes = exit_codes,
    };
    int arguments;
    switch (options_parse(&usage, argc, argv, true, &arguments)) {
    case OPTIONS_OK: break;
    case OPTIONS_HELP: return CLI_EXIT_DONE;
    case OPTIONS_WRONG: return CLI_EXIT_USAGE;
    }
    if (arguments > 0) return commands_run("pubsub context", commands, arguments, argv, &options);
    complain("no command; see 'pubsub context --help'");
    return CLI_EXIT_USAGE;
}

const struct command context_command = {"context", "names for brokers: add, use, ls, rm", run};
