#include "pub_options.h"

#include "cli.h"
#include "message.h"

static bool set_file(void *into, const char *value)
{
    ((struct pub_options *)into)->file = value;
    return true;
}

static bool set_lines(void *into, const char *value)
{
    (void)value;
    return ((struct pub_options *)into)->lines = true;
}

static bool set_nul(void *into, const char *value)
{
    ((struct pub_options *)into)->nul = true;
    return set_lines(into, value);
}

static bool set_keyed(void *into, const char *value)
{
    ((struct pub_options *)into)->keyed = true;
    return set_lines(into, value);
}

static bool set_retain(void *into, const char *value)
{
    (void)value;
    return ((struct pub_options *)into)->retain = true;
}

static bool set_count(void *into, const char *value)
{
    return option_number("-n", value, 1, &((struct pub_options *)into)->count);
}

static bool set_rate(void *into, const char *value)
{
    return option_number("--rate", value, 1, &((struct pub_options *)into)->rate);
}

static bool set_require(void *into, const char *value)
{
    return option_number("--require", value, 1, &((struct pub_options *)into)->require);
}

static bool set_ack(void *into, const char *value)
{
    static const char *const levels[] = {"none", "routed", "stored", "replicated", NULL};
    int level = option_choice("--ack", value, levels);
    if (level >= 0) ((struct pub_options *)into)->ack = (enum pubsub_ack)level;
    return level >= 0;
}

static bool set_no_reconnect(void *into, const char *value)
{
    (void)value;
    return ((struct pub_options *)into)->no_reconnect = true;
}

static const struct option_row input_rows[] = {
    {0, "file", "FILE", set_file, "take the message, or with -l the messages, from FILE"},
    {'l', "lines", NULL, set_lines, "a message per line, sent as soon as it is there"},
    {'0', NULL, NULL, set_nul, "likewise, but they end with a NUL"},
    {'k', "keyed", NULL, set_keyed,
     "each line is TOPIC, tab, message; one that can't be sent is reported\n"
     "with its number and the others go on"},
    {0, NULL, NULL, NULL, NULL},
};

static const struct option_row sending_rows[] = {
    {'r', "retain", NULL, set_retain, "keep as the topic's last value (an empty one with --bin clears it)"},
    {'n', NULL, "COUNT", set_count,
     "messages in all: a single one is repeated, lines end there; default 1,\n"
     "with -l all"},
    {0, "rate", "N", set_rate, "at most N messages a second; default as fast as it goes"},
    {0, "ack", "LEVEL", set_ack,
     "how far a message must have come to count as sent:\n"
     "none        it has left\n"
     "routed      it waits for every subscription that matched\n"
     "stored      it is on the broker's disk, where its topic belongs to a\n"
     "            durable stream; what is sent again after the connection\n"
     "            was lost is stored once, if it is back within five minutes or\n"
     "            the broker was restarted\n"
     "replicated  a majority of the cluster's servers that keep its stream has it\n"
     "default routed"},
    {0, "require", "N", set_require, "fail if fewer than N subscriptions matched a message; default 0"},
    {0, "no-reconnect", NULL, set_no_reconnect, "end when the connection is lost; default: connect again and resend"},
    {0, NULL, NULL, NULL, NULL},
};

static enum options_result parse(struct pub_options *options, int argc, char **argv, int *arguments)
{
    static const char *const examples[] = {
        "pubsub pub site/a/temp 21.5",
        "pubsub pub -j site/a/state '{\"temp\": 21.5, \"ok\": true}'",
        "pubsub pub --ttl 5s -H unit=C site/a/temp 21.5",
        "dmesg | pubsub pub -l logs/kernel",
        "pubsub pub --ack stored orders/17 'two pizzas'",
        NULL,
    };
    static const int exit_codes[] = {CLI_EXIT_DONE,    CLI_EXIT_ERROR, CLI_EXIT_USAGE,
                                     CLI_EXIT_CONNECT, CLI_EXIT_AUTH,  CLI_EXIT_REFUSED,
                                     CLI_EXIT_NOBODY,  CLI_EXIT_LOST,  -1};
    const struct option_table body = {"What is sent", form_option_rows, &options->body};
    const struct option_table input = {NULL, input_rows, options};
    const struct option_table properties = {"How it is sent", property_option_rows, &options->body};
    const struct option_table sending = {NULL, sending_rows, options};
    const struct option_table connection = {"Connection", connection_option_rows, &options->connection};
    const struct usage usage = {
        .command = "pubsub pub",
        .arguments = "TOPIC [MSG]",
        .summary = "Publishes a message. MSG is text, sent exactly as typed; without MSG, or if it is '-', all of\n"
                   "standard input is the message.",
        .tables = {&body, &input, &properties, &sending, &connection},
        .examples = examples,
        .exit_codes = exit_codes,
    };
    return options_parse(&usage, argc, argv, false, arguments);
}

static bool wrong(const char *why)
{
    return options_wrong("pubsub pub", why);
}

/* Options that are right each by itself, together. */
static bool combine(struct pub_options *options)
{
    if (!message_options_combine(&options->body)) return false;
    if (options->lines && options->body.msgpack && !options->body.hex) {
        return wrong("msgpack documents don't end at lines: --msgpack and --lines go together only with --hex");
    }
    if (options->lines && options->message)
        return wrong("both MSG and --lines are given: lines come from standard input or --file");
    if (options->require && options->ack == PUBSUB_ACK_NONE) {
        return wrong("--require needs an acknowledgement: --ack none is not possible with it");
    }
    return true;
}

static bool take_arguments(struct pub_options *options, int count, char **arguments)
{
    int topics = options->keyed ? 0 : 1;
    if (count < topics) return wrong("no topic");
    if (topics > 0) options->topic = arguments[0];
    if (options->keyed && count > 0)
        return wrong("-k takes topics and messages from the lines, not from the command line");
    return message_arguments("pubsub pub", arguments + topics, count - topics, options->file, options->lines,
                             &options->message);
}

enum options_result pub_options_read(struct pub_options *options, int argc, char **argv)
{
    int arguments;
    enum options_result result = parse(options, argc, argv, &arguments);
    if (result != OPTIONS_OK) return result;
    return take_arguments(options, arguments, argv) && combine(options) ? OPTIONS_OK : OPTIONS_WRONG;
}

void pub_options_free(struct pub_options *options)
{
    message_options_free(&options->body);
}
