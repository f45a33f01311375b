#include "pub_options.h"

#include <msgpack.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "value.h"

static bool set_json(void *into, const char *value)
{
    (void)value;
    return ((struct pub_options *)into)->json = true;
}

static bool set_hex(void *into, const char *value)
{
    (void)value;
    return ((struct pub_options *)into)->hex = true;
}

static bool set_msgpack(void *into, const char *value)
{
    (void)value;
    return ((struct pub_options *)into)->msgpack = true;
}

static bool set_raw(void *into, const char *value)
{
    (void)value;
    return ((struct pub_options *)into)->raw = true;
}

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

static bool set_header(void *into, const char *value)
{
    struct pub_options *options = into;
    const char *equals = strchr(value, '=');
    if (!equals || equals == value) {
        complain("-H %s: not of the form key=value", value);
        return false;
    }
    if (!mps_utf8_valid(mps_text(value))) {
        complain("-H %s: not UTF-8", value);
        return false;
    }
    const char *const *pairs = (const char *const *)(const void *)options->headers.data;
    size_t key_len = (size_t)(equals - value);
    for (size_t i = 0; i < options->headers.len / sizeof *pairs; i += 2) {
        if (strncmp(pairs[i], value, key_len + 1) == 0) {
            complain("-H %s: the key '%.*s' is there already", value, (int)key_len, value);
            return false;
        }
    }
    const char *pair[2] = {value, equals + 1};
    buffer_append(&options->headers, pair, sizeof pair);
    return true;
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
    for (int i = 0; levels[i]; i++) {
        if (strcmp(value, levels[i]) == 0) {
            ((struct pub_options *)into)->ack = (enum pubsub_ack)i;
            return true;
        }
    }
    complain("--ack %s: not one of none, routed, stored, replicated", value);
    return false;
}

static bool set_no_reconnect(void *into, const char *value)
{
    (void)value;
    return ((struct pub_options *)into)->no_reconnect = true;
}

static const struct option_row body_rows[] = {
    {'j', "json", NULL, set_json, "the message is JSON, any value; it is sent as the same in msgpack"},
    {0, "msgpack", NULL, set_msgpack, "the message is a msgpack document already"},
    {0, "bin", NULL, set_raw, "the message is bytes that are no document (content type 0)"},
    {0, "hex", NULL, set_hex,
     "the message is written in hexadecimal; sent as a msgpack bin, or as\n"
     "--msgpack or --bin says"},
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
    {'H', NULL, "KEY=VALUE", set_header, "a header; may be given several times"},
    {'n', NULL, "COUNT", set_count,
     "messages in all: a single one is repeated, lines end there; default 1,\n"
     "with -l all"},
    {0, "rate", "N", set_rate, "at most N messages a second; default as fast as it goes"},
    {0, "ack", "LEVEL", set_ack,
     "none, routed, stored or replicated: how far a message must have come\n"
     "to count as sent; default routed"},
    {0, "require", "N", set_require, "fail if fewer than N subscriptions matched a message; default 0"},
    {0, "no-reconnect", NULL, set_no_reconnect, "end when the connection is lost; default: connect again and resend"},
    {0, NULL, NULL, NULL, NULL},
};

static enum options_result parse(struct pub_options *options, int argc, char **argv, int *arguments)
{
    static const char *const examples[] = {
        "pubsub pub site/a/temp 21.5",
        "pubsub pub -j site/a/state '{\"temp\": 21.5, \"ok\": true}'",
        "dmesg | pubsub pub -l logs/kernel",
        NULL,
    };
    static const int exit_codes[] = {CLI_EXIT_DONE,    CLI_EXIT_ERROR, CLI_EXIT_USAGE,
                                     CLI_EXIT_CONNECT, CLI_EXIT_AUTH,  CLI_EXIT_REFUSED,
                                     CLI_EXIT_NOBODY,  CLI_EXIT_LOST,  -1};
    const struct option_table body = {"What is sent", body_rows, options};
    const struct option_table sending = {"How it is sent", sending_rows, options};
    const struct option_table connection = {"Connection", connection_option_rows, &options->connection};
    const struct usage usage = {
        .command = "pubsub pub",
        .arguments = "TOPIC [MSG]",
        .summary = "Publishes a message. MSG is text, sent exactly as typed; without MSG, or if it is '-', all of\n"
                   "standard input is the message.",
        .tables = {&body, &sending, &connection},
        .examples = examples,
        .exit_codes = exit_codes,
    };
    enum options_result result = options_parse(&usage, argc, argv, false, arguments);
    if (result == OPTIONS_HELP) options_help(&usage);
    return result;
}

static bool wrong(const char *why)
{
    complain("%s; see 'pubsub pub --help'", why);
    return false;
}

/* Options that are right each by itself, together. */
static bool combine(struct pub_options *options)
{
    if (options->json + options->msgpack + options->raw > 1)
        return wrong("only one of --json, --msgpack and --bin is possible");
    if (options->json && options->hex) return wrong("--json and --hex exclude each other");
    if (options->lines && options->msgpack && !options->hex) {
        return wrong("msgpack documents don't end at lines: --msgpack and --lines go together only with --hex");
    }
    if (options->file && options->message) return wrong("both MSG and --file are given");
    if (options->lines && options->message)
        return wrong("both MSG and --lines are given: lines come from standard input or --file");
    if (options->require && options->ack == PUBSUB_ACK_NONE) {
        return wrong("--require needs an acknowledgement: --ack none is not possible with it");
    }
    options->form.hex = options->hex;
    options->form.kind = options->json      ? BODY_JSON
                         : options->msgpack ? BODY_MSGPACK
                         : options->raw     ? BODY_RAW
                                            : BODY_TEXT;
    return true;
}

static bool take_arguments(struct pub_options *options, int count, char **arguments)
{
    int next = 0;
    if (!options->keyed) {
        if (count == 0) return wrong("no topic");
        options->topic = arguments[next++];
    }
    if (next < count) {
        options->message = arguments[next++];
        if (options->keyed) return wrong("-k takes topics and messages from the lines, not from the command line");
    }
    if (next < count) {
        complain("too many arguments: '%s'; a message with blanks must be quoted", arguments[next]);
        return false;
    }
    bool dash = options->message && strcmp(options->message, "-") == 0;
    if (dash) options->message = NULL;
    if (!dash && !options->message && !options->file && !options->lines && isatty(STDIN_FILENO)) {
        return wrong("no message: give MSG or --file, or pipe it in");
    }
    return true;
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
    buffer_free(&options->headers);
}

static void pack_text(msgpack_packer *packer, const char *text, size_t len)
{
    msgpack_pack_str(packer, len);
    msgpack_pack_str_body(packer, text, len);
}

void pub_options_props(const struct pub_options *options, struct buffer *props)
{
    const char *const *pairs = (const char *const *)(const void *)options->headers.data;
    size_t count = options->headers.len / sizeof *pairs / 2;
    bool raw = options->form.kind == BODY_RAW;
    if (count == 0 && !raw) return;
    msgpack_packer packer;
    msgpack_packer_init(&packer, props, buffer_write);
    msgpack_pack_map(&packer, count + raw);
    if (raw) {
        msgpack_pack_uint8(&packer, MPS_PROP_CONTENT_TYPE);
        msgpack_pack_uint8(&packer, 0);
    }
    for (size_t i = 0; i < count; i++) {
        const char *key = pairs[2 * i], *value = pairs[2 * i + 1];
        pack_text(&packer, key, (size_t)(value - 1 - key));
        pack_text(&packer, value, strlen(value));
    }
}
