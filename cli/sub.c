/* pubsub sub */
#include <string.h>

#include "cli.h"
#include "receiver.h"
#include "sizes.h"
#include "start.h"
#include "wire.h"

#define QUEUE_BYTES (UINT64_C(64) * 1024 * 1024)

#define BLOCK_MAX_MS UINT32_MAX
#define DURABLE_S \
    2592000            /* 30 days: as long as a broker keeps a session that nobody uses, if its operator is not asked */
#define FORGET_MS 5000 /* for good-byes */
#define GROUP_S 300    /* a group whose members are all cut off at once goes on where it was */

struct sub_options {
    struct connection_options connection;
    struct receiver_terms terms;
    struct start_options start;
    struct ack_options acks;
    bool all_topics;
};

static struct receiver_terms *terms_of(void *into)
{
    return &((struct sub_options *)into)->terms;
}

static bool set_count(void *into, const char *value)
{
    unsigned long long count;
    if (!option_number("-n", value, 1, &count)) return false;
    terms_of(into)->count = count;
    return true;
}

static bool set_for(void *into, const char *value)
{
    uint64_t ms;
    if (!option_time("--for", value, 0, 0, &ms)) return false;
    terms_of(into)->end_ns = start_ns() + ms * 1000000;
    return true;
}

static bool set_idle(void *into, const char *value)
{
    return option_time("--idle", value, 1, 0, &terms_of(into)->idle_ms);
}

static bool set_policy(void *into, const char *value)
{
    static const char *const names[] = {"drop_old", "drop_new", "latest", "close", "block", "spill", NULL};
    int choice = option_choice("--policy", value, names);
    if (choice >= 0) terms_of(into)->policy = (enum pubsub_policy)(PUBSUB_DROP_OLD + choice);
    return choice >= 0;
}

static bool set_block(void *into, const char *value)
{
    uint64_t ms;
    if (!option_time("--block", value, 1, BLOCK_MAX_MS, &ms)) return false;
    terms_of(into)->block_ms = (uint32_t)ms;
    return true;
}

static bool set_then(void *into, const char *value)
{
    static const char *const names[] = {"drop_old", "drop_new", "close", NULL};
    static const enum pubsub_policy policies[] = {PUBSUB_DROP_OLD, PUBSUB_DROP_NEW, PUBSUB_CLOSE};
    int choice = option_choice("--then", value, names);
    if (choice >= 0) terms_of(into)->then = policies[choice];
    return choice >= 0;
}

static bool set_where(void *into, const char *value)
{
    terms_of(into)->filter = value;
    return true;
}

static bool set_group(void *into, const char *value)
{
    terms_of(into)->group = value;
    return true;
}

static bool set_scope(void *into, const char *value)
{
    static const char *const names[] = {"local", "cluster", NULL};
    int choice = option_choice("--scope", value, names);
    if (choice >= 0) terms_of(into)->scope = (enum pubsub_scope)(PUBSUB_SCOPE_LOCAL + choice);
    return choice >= 0;
}

static bool set_exec(void *into, const char *value)
{
    terms_of(into)->command = value;
    return true;
}

static bool set_jobs(void *into, const char *value)
{
    return option_jobs(value, &terms_of(into)->jobs);
}

static bool set_gaps(void *into, const char *value)
{
    static const char *const names[] = {"lost", "all", NULL};
    int choice = option_choice("--gaps", value, names);
    if (choice >= 0) terms_of(into)->all_gaps = choice == 1;
    return choice >= 0;
}

static bool set_max_msgs(void *into, const char *value)
{
    unsigned long long count;
    if (!option_number("--max-msgs", value, 1, &count)) return false;
    terms_of(into)->max_msgs = count;
    return true;
}

static bool set_max_bytes(void *into, const char *value)
{
    if (size_parse(value, &terms_of(into)->max_bytes)) return true;
    complain("--max-bytes %s: not a size of at least 1 such as 64k, 16m, 1g", value);
    return false;
}

static bool set_retained(void *into, const char *value)
{
    static const char *const names[] = {"no", "only", NULL};
    int choice = option_choice("--retained", value, names);
    if (choice < 0) return false;
    terms_of(into)->live = choice == 0;
    terms_of(into)->retained = choice == 1;
    return true;
}

static bool set_no_reconnect(void *into, const char *value)
{
    (void)value;
    return terms_of(into)->no_reconnect = true;
}

static bool set_fail_on_gap(void *into, const char *value)
{
    (void)value;
    return terms_of(into)->fail_on_gap = true;
}

static bool set_all_topics(void *into, const char *value)
{
    (void)value;
    return ((struct sub_options *)into)->all_topics = true;
}

static const struct option_row what_rows[] = {
    {'a', "all-topics", NULL, set_all_topics, "all topics, as the pattern '#'"},
    {0, "where", "EXPR", set_where,
     "only messages for which EXPR holds, e.g. 'temp > 30 and site == \"a\"':\n"
     "== != < <= > >= in has ^= exists() and or not () over fields of the\n"
     "document (a.b[2]), @topic, @level[1] and @props.\"header\"; default: all"},
    {0, "group", "NAME", set_group,
     "share the messages with all subscribers of the same NAME and PATTERN:\n"
     "each goes to one of them; default: all get all"},
    {0, "retained", "WHICH", set_retained,
     "no: none of the topics' last values; only: these, then end;\n"
     "default: these, then what is published"},
    {0, "scope", "SCOPE", set_scope,
     "local: it begins when this broker knows of it; cluster: when all brokers\n"
     "of its cluster do, which is told if it can't be had; default local"},
    {0, NULL, NULL, NULL, NULL},
};

static const struct option_row queue_rows[] = {
    {0, "policy", "POLICY", set_policy,
     "drop_old  the oldest waiting messages make room\n"
     "drop_new  no further ones are taken\n"
     "latest    only the newest of each topic (or key) waits at all\n"
     "close     the broker ends the connection; it is made again\n"
     "block     publishers are held until there is room\n"
     "spill     they wait on the broker's disk; those of durable topics are\n"
     "          read from their stream\n"
     "default drop_old"},
    {0, "max-msgs", "N", set_max_msgs, "so many messages wait at most; default as many as the broker allows"},
    {0, "max-bytes", "SIZE", set_max_bytes, "likewise in bytes, e.g. 16m; default 64m"},
    {0, "block", "TIME", set_block, "with --policy block: how long publishers are held at most; default 1s"},
    {0, "then", "POLICY", set_then,
     "with --policy block: what follows after that, and with --policy spill\n"
     "when that has no room, drop_old, drop_new or close; default drop_new"},
    {0, "gaps", "WHICH", set_gaps,
     "lost: say how many messages were lost; all: also how many gave way to\n"
     "a newer one with --policy latest; default lost"},
    {0, NULL, NULL, NULL, NULL},
};

static const struct option_row exec_rows[] = {
    {0, "exec", "CMD", set_exec,
     "run CMD for each message, in a shell, instead of printing it: text, or\n"
     "other values as JSON, or what -o or -F says, on its standard input, the\n"
     "topic in $PUBSUB_TOPIC, headers in $PUBSUB_HEADER_name, the position in\n"
     "$PUBSUB_STREAM and $PUBSUB_SEQ, how often it was sent in $PUBSUB_TRIES.\n"
     "The broker sends the next message when CMD has ended. If it fails, that\n"
     "is said, and the exit code is 1 in the end; default: print messages"},
    {0, "jobs", "N", set_jobs, "with --exec: so many at a time, 1 to 64; default 1"},
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
        "pubsub sub --where 'temp > 30' 'site/+/state'",
        "pubsub sub jobs --group w --exec ./work",
        "pubsub sub --since 1h --until-live -o json 'orders/#'",
        "pubsub sub --durable billing --all --exec ./bill --max-tries 5 'orders/#'",
        NULL,
    };
    static const int exit_codes[] = {CLI_EXIT_DONE,    CLI_EXIT_ERROR, CLI_EXIT_USAGE, CLI_EXIT_CONNECT, CLI_EXIT_AUTH,
                                     CLI_EXIT_REFUSED, CLI_EXIT_LOST,  CLI_EXIT_GAP,   CLI_EXIT_TIME,    -1};
    const struct option_table what = {"What is received", what_rows, options};
    const struct option_table start = {"Where it begins, with topics that the broker keeps in durable streams;\n"
                                       "default: with what is published from now on",
                                       start_option_rows, &options->start};
    const struct option_table print = {"How it is printed", print_option_rows, &options->terms.print};
    const struct option_table queue = {"When messages come faster than they are read, they wait at the broker",
                                       queue_rows, options};
    const struct option_table exec = {"Working on messages", exec_rows, options};
    const struct option_table acks = {"Acknowledging what comes from durable streams", ack_option_rows, &options->acks};
    const struct option_table end = {"When it ends", end_rows, options};
    const struct option_table connection = {"Connection", connection_option_rows, &options->connection};
    const struct usage usage = {
        .command = "pubsub sub",
        .arguments = "PATTERN...",
        .summary =
            "Subscribes and prints what is published. In a PATTERN '+' stands for one level of the topic and '#'\n"
            "at the end for all the rest; quote them from the shell.",
        .tables = {&what, &start, &queue, &print, &exec, &acks, &end, &connection},
        .notes = "Messages that were lost are told on stderr, with -o json as a line {\"gap\":...}.\n"
                 "'pubsub stream ls' shows which topics the broker keeps.\n"
                 "Commands that run when it ends by itself are waited for; a signal ends them, too.",
        .examples = examples,
        .exit_codes = exit_codes,
    };
    return options_parse(&usage, argc, argv, false, arguments);
}

static bool wrong(const char *why)
{
    return options_wrong("pubsub sub", why);
}

/* Options that are right each by itself, together. */
static bool combine_queue(const struct receiver_terms *terms)
{
    if (terms->block_ms > 0 && terms->policy != PUBSUB_BLOCK) return wrong("--block goes with --policy block");
    if (terms->then != PUBSUB_POLICY_DEFAULT && terms->policy != PUBSUB_BLOCK && terms->policy != PUBSUB_SPILL)
        return wrong("--then goes with --policy block or spill");
    if (terms->jobs > 0 && !terms->command) return wrong("--jobs goes with --exec");
    if (terms->group && !terms->live)
        return wrong("members of a group get no last values: --retained only is not possible");
    if (terms->group && terms->count > 0 && terms->pattern_count > 1)
        return wrong(
            "with --group and -n only one pattern is possible: messages beyond -n would be missed by the others");
    return true;
}

static bool combine_history(const struct sub_options *options)
{
    const struct receiver_terms *terms = &options->terms;
    const struct start_options *start = &options->start;
    const struct ack_options *acks = &options->acks;
    if (!terms->live && (start->option || acks->ack))
        return wrong("--retained only asks for last values: no history and no acknowledging goes with it");
    if (start->until_live && !start->option && !acks->durable)
        return wrong("--until-live needs a place to begin, as --all or --since, or --durable");
    if (start->from == PUBSUB_FROM_SEQ && terms->pattern_count > 1)
        return wrong("with --from-seq only one pattern is possible");
    if (acks->durable && options->connection.client_id)
        return wrong("--durable says who this client is: --id is not possible with it");
    if (acks->option && !acks->ack) {
        complain("%s goes with --ack or --durable; see 'pubsub sub --help'", acks->option);
        return false;
    }
    if (acks->retry_ms > 0 && !terms->command) return wrong("--retry goes with --exec");
    return true;
}

static bool combine_forget(const struct sub_options *options, int patterns)
{
    const struct ack_options *acks = &options->acks;
    if (!acks->durable) return wrong("--forget needs --durable NAME");
    if (patterns > 0 || options->all_topics || options->start.option || acks->option || options->terms.command)
        return wrong("--forget receives nothing: only --durable and where the broker is go with it");
    return true;
}

/* ---- running ---- */

/* With a session that ends at once it is seen whether there was one; without one, nothing is left of it. */
static int forget(struct sub_options *options)
{
    const char *name = options->acks.durable;
    options->connection.client_id = name;
    for (uint32_t session_s = 1;; session_s = 0) {
        struct link link = {0};
        struct pubsub_options client = {.no_reconnect = true, .session_s = session_s};
        int result = link_open(&link, &options->connection, &client);
        bool found = result == CLI_EXIT_DONE && pubsub_resumed(link.client);
        link_close(&link, FORGET_MS);
        if (result != CLI_EXIT_DONE || session_s == 0) return result;
        if (found) continue;
        complain("the broker keeps nothing under the name '%s'", name);
        return CLI_EXIT_ERROR;
    }
}

static int receive_history(struct sub_options *options)
{
    struct receiver_terms *terms = &options->terms;
    const struct start_options *start = &options->start;
    struct buffer positions = {0};
    uint64_t received;
    int result = CLI_EXIT_DONE;
    terms->from = start->from;
    terms->from_number = start->number;
    terms->until_live = start->until_live;
    if (start->until_live && !start->option) terms->from = PUBSUB_FROM_ACKED;
    if (options->acks.ack) terms->acks = &options->acks;
    if (options->acks.durable) options->connection.client_id = options->acks.durable;
    terms->session_s = options->acks.durable ? DURABLE_S : options->acks.ack && terms->group ? GROUP_S : 0;
    if (start->from == PUBSUB_FROM_SEQ)
        result = start_find_positions(start, &options->connection, terms->patterns[0], &positions);
    terms->from_positions = (const uint64_t *)(const void *)positions.data;
    terms->from_positions_count = positions.len / (2 * sizeof *terms->from_positions);
    if (result == CLI_EXIT_DONE) result = receive(&options->connection, terms, &received);
    buffer_free(&positions);
    return result;
}

static int sub_with(struct sub_options *options, char **patterns, int count)
{
    static char all[] = "#";
    static char *const all_topics[] = {all};
    struct receiver_terms *terms = &options->terms;
    if (options->acks.forget) return combine_forget(options, count) ? forget(options) : CLI_EXIT_USAGE;
    if (options->all_topics && count > 0) {
        complain("both -a and the pattern '%s' are given", patterns[0]);
        return CLI_EXIT_USAGE;
    }
    if (!options->all_topics && count == 0) {
        complain("no pattern; if you typed #, the shell removed it: quote it or use -a");
        return CLI_EXIT_USAGE;
    }
    terms->patterns = options->all_topics ? all_topics : patterns;
    terms->pattern_count = options->all_topics ? 1 : count;
    if (!combine_queue(terms) || !combine_history(options)) return CLI_EXIT_USAGE;
    if (terms->jobs == 0) terms->jobs = 1;
    return receive_history(options);
}

static int run(int argc, char **argv, const struct connection_options *connection)
{
    struct sub_options options = {
        .connection = *connection,
        .terms = {.live = true, .retained = true, .max_msgs = UINT64_MAX, .max_bytes = QUEUE_BYTES},
    };
    int arguments, result = CLI_EXIT_USAGE;
    switch (parse(&options, argc, argv, &arguments)) {
    case OPTIONS_OK: result = sub_with(&options, argv, arguments); break;
    case OPTIONS_HELP: result = CLI_EXIT_DONE; break;
    case OPTIONS_WRONG: break;
    }
    start_options_free(&options.start);
    return result;
}

const struct command sub_command = {"sub", "subscribe and print what is published, or what was kept of it", run};
