/* pubsub trace */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "connect.h"
#include "json_out.h"
#include "output.h"
#include "trace_print.h"

#define TRACE_TOPIC "$SYS/request/trace"
#define TRACE_MS_MAX 60000 /* the broker's limit */
#define SLACK_MS 5000      /* the end of the trace is told by then, or never */

struct trace_options {
    struct connection_options connection;
    const char *pattern;
    unsigned long long messages;
    uint64_t for_ms;
    bool json;
};

struct tracer {
    struct link link;
    const struct trace_options *options;
    struct output out;
    struct trace_printer printer;
    bool refused; /* complained already, exit_code says what it comes to */
    bool over;
    int exit_code;
};

static bool set_messages(void *into, const char *value)
{
    struct trace_options *options = into;
    if (!option_number("-n", value, 1, &options->messages)) return false;
    if (options->messages <= TRACE_MESSAGES_MAX) return true;
    complain("-n %s: must be at most %d", value, TRACE_MESSAGES_MAX);
    return false;
}

static bool set_for(void *into, const char *value)
{
    return option_time("--for", value, 1, TRACE_MS_MAX, &((struct trace_options *)into)->for_ms);
}

static bool set_json(void *into, const char *value)
{
    (void)value;
    return ((struct trace_options *)into)->json = true;
}

static const struct option_row rows[] = {
    {'n', "count", "N", set_messages, "end when N messages were followed, at most 16; default 1"},
    {0, "for", "TIME", set_for, "end after TIME at the latest, at most 1m; default 1m"},
    {0, "json", NULL, set_json, "what the broker tells, one object a line; default: for people"},
    {0, NULL, NULL, NULL, NULL},
};

static enum options_result parse(struct trace_options *options, int argc, char **argv, int *arguments)
{
    static const char *const examples[] = {
        "pubsub trace site/a/temp",
        "pubsub trace -n 5 --for 10s --json 'orders/#'",
        NULL,
    };
    static const int exit_codes[] = {CLI_EXIT_DONE,    CLI_EXIT_ERROR, CLI_EXIT_USAGE,
                                     CLI_EXIT_CONNECT, CLI_EXIT_AUTH,  CLI_EXIT_REFUSED,
                                     CLI_EXIT_LOST,    CLI_EXIT_TIME,  -1};
    const struct option_table what = {"What is followed", rows, options};
    const struct option_table connection = {"Connection", connection_option_rows, &options->connection};
    const struct usage usage = {
        .command = "pubsub trace",
        .arguments = "TOPIC|PATTERN",
        .summary =
            "Follows the next message of a topic through the broker: who published it, in whose queues it waited\n"
            "and how long, to whom it was written, to which other brokers it was sent, where it was lost and why;\n"
            "and who did not get it, and why not.",
        .tables = {&what, &connection},
        .notes =
            "Written means that the connection to the client took it. It needs the right 'sys', or the broker's own\n"
            "user over a Unix socket. Messages are followed that come after 'tracing' was said.",
        .examples = examples,
        .exit_codes = exit_codes,
    };
    return options_parse(&usage, argc, argv, false, arguments);
}

/* ---- what the broker tells ---- */

static void finish(struct tracer *tracer, int exit_code)
{
    if (tracer->over) return;
    tracer->over = true;
    tracer->exit_code = exit_code;
}

static bool is(mps_view text, const char *word)
{
    return text.ptr && mps_view_equal(text, mps_text(word));
}

static void take_event(struct tracer *tracer, mps_view event)
{
    mps_view kind = trace_text(event, "event"), error = trace_text(event, "error");
    if (error.ptr) {
        complain("%.*s", (int)error.len, (const char *)error.ptr);
        finish(tracer, CLI_EXIT_REFUSED);
        return;
    }
    if (is(kind, "armed")) complain("tracing '%s'", tracer->options->pattern);
    if (tracer->options->json) {
        json_out_document(&tracer->out, event);
        output_char(&tracer->out, '\n');
    } else {
        trace_print(&tracer->printer, event);
    }
    if (!is(kind, "end")) return;
    if (is(trace_text(event, "why"), "not_allowed")) {
        complain("the right to trace was taken");
        finish(tracer, CLI_EXIT_REFUSED);
    } else {
        finish(tracer, is(trace_text(event, "why"), "messages") ? CLI_EXIT_DONE : CLI_EXIT_TIME);
    }
}

static void on_reply(pubsub *client, uint64_t request, const struct pubsub_message *reply, int status, void *user)
{
    (void)request;
    struct tracer *tracer = ((struct link *)user)->owner;
    if (tracer->over) return;
    if (reply) {
        mps_view event = {reply->payload, (uint32_t)reply->payload_len};
        if (!mps_document_check(event, 0, 0)) take_event(tracer, event);
    } else if (tracer->refused) {
        finish(tracer, tracer->exit_code);
    } else if (status == PUBSUB_ENOBODY) {
        complain("the broker serves no such requests");
        finish(tracer, CLI_EXIT_REFUSED);
    } else if (status == PUBSUB_ETIMEDOUT) {
        complain("the broker does not answer any more");
        finish(tracer, CLI_EXIT_TIME);
    } else {
        link_complain(&tracer->link, pubsub_error(client), status);
        finish(tracer, exit_code_of_error(status));
    }
}

static void on_refusal(pubsub *client, const struct pubsub_refusal *refusal, void *user)
{
    (void)client;
    struct tracer *tracer = ((struct link *)user)->owner;
    if (tracer->over) return;
    complain("%s", refusal->text);
    tracer->refused = true;
    tracer->exit_code = exit_code_of_refusal(refusal->code);
}

/* ---- the command ---- */

static int send_request(struct tracer *tracer)
{
    const struct trace_options *options = tracer->options;
    const struct pubsub_request_options terms = {.timeout_ms = (uint32_t)options->for_ms + SLACK_MS,
                                                 .replies_max = UINT32_MAX,
                                                 .on_reply = on_reply,
                                                 .user = &tracer->link};
    const char *bad = mps_pattern_error(mps_text(options->pattern));
    if (bad) { /* what is too long has no room in the request, and what is not UTF-8 no place in it */
        complain("bad pattern '%s': %s", options->pattern, bad);
        return CLI_EXIT_REFUSED;
    }
    uint8_t buf[1024];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    mps_put_map(&out, 3);
    mps_put_text(&out, mps_text("pattern"));
    mps_put_text(&out, mps_text(options->pattern));
    mps_put_text(&out, mps_text("messages"));
    mps_put_uint(&out, options->messages);
    mps_put_text(&out, mps_text("for_ms"));
    mps_put_uint(&out, options->for_ms);
    int error = pubsub_request(tracer->link.client, TRACE_TOPIC, buf, out.len, &terms, NULL);
    if (error == PUBSUB_OK) return CLI_EXIT_DONE;
    complain("%s", pubsub_error(tracer->link.client));
    return exit_code_of_error(error);
}

static int follow(struct tracer *tracer)
{
    int result = send_request(tracer);
    while (result == CLI_EXIT_DONE && !tracer->over) {
        result = link_step(&tracer->link, NULL, 0, -1);
        if (!output_flush(&tracer->out)) {
            if (tracer->out.error != EPIPE)
                complain("cannot write to standard output: %s", strerror(tracer->out.error));
            finish(tracer, tracer->out.error == EPIPE ? CLI_EXIT_DONE : CLI_EXIT_ERROR);
        }
        if (result == LINK_OVER) result = CLI_EXIT_LOST;
    }
    return tracer->over ? tracer->exit_code : result;
}

static int trace_with(const struct trace_options *options)
{
    struct tracer tracer = {.link = {.owner = &tracer},
                            .options = options,
                            .printer = {.out = &tracer.out, .numbers = options->messages > 1}};
    struct pubsub_options client = {.no_reconnect = true, .on_refusal = on_refusal};
    output_open(&tracer.out, STDOUT_FILENO);
    int result = link_open(&tracer.link, &options->connection, &client);
    if (result == CLI_EXIT_DONE) result = follow(&tracer);
    tracer.over = true; /* closing ends the request, too */
    link_close(&tracer.link, 0);
    trace_printer_free(&tracer.printer);
    output_close(&tracer.out);
    return result;
}

static bool combine(struct trace_options *options, char **arguments, int count)
{
    if (count == 0) return options_wrong("pubsub trace", "no topic; if you typed #, the shell removed it: quote it");
    if (count > 1) return options_wrong("pubsub trace", "one topic or pattern, not several");
    options->pattern = arguments[0];
    return true;
}

static int run(int argc, char **argv, const struct connection_options *connection)
{
    struct trace_options options = {.connection = *connection, .messages = 1, .for_ms = TRACE_MS_MAX};
    int arguments;
    switch (parse(&options, argc, argv, &arguments)) {
    case OPTIONS_OK: return combine(&options, argv, arguments) ? trace_with(&options) : CLI_EXIT_USAGE;
    case OPTIONS_HELP: return CLI_EXIT_DONE;
    case OPTIONS_WRONG: break;
    }
    return CLI_EXIT_USAGE;
}

const struct command trace_command = {"trace", "follow a message through the broker", run};
