/* pubsub req */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "message.h"
#include "message_options.h"
#include "print.h"
#include "publisher.h"
#include "signals.h"
#include "sizes.h"

#define TIMEOUT_MS 5000
#define CLOSE_MS 0 /* nothing is owed to us any more */

struct req_options {
    struct connection_options connection;
    struct message_options body;
    struct print_options print;
    char *topic;
    const char *text; /* NULL: standard input, or file */
    const char *file;
    uint64_t timeout_ms;
    unsigned long long replies; /* how many are wanted; 0: not said */
    bool all;
};

struct request {
    struct link link;
    const struct req_options *options;
    struct printer printer;
    uint64_t received, errors; /* answers, and those of them that say that something went wrong */
    bool refused;              /* complained already, exit_code says what it comes to */
    bool over;
    int exit_code;
};

static bool set_file(void *into, const char *value)
{
    ((struct req_options *)into)->file = value;
    return true;
}

static bool set_timeout(void *into, const char *value)
{
    return option_time("--timeout", value, 1, UINT32_MAX, &((struct req_options *)into)->timeout_ms);
}

static bool set_replies(void *into, const char *value)
{
    struct req_options *options = into;
    if (!option_number("--replies", value, 1, &options->replies)) return false;
    if (options->replies < UINT32_MAX) return true;
    complain("--replies %s: must be less than %u; --all waits for all", value, UINT32_MAX);
    return false;
}

static bool set_all(void *into, const char *value)
{
    (void)value;
    return ((struct req_options *)into)->all = true;
}

static const struct option_row input_rows[] = {
    {0, "file", "FILE", set_file, "take the message from FILE"},
    {0, NULL, NULL, NULL, NULL},
};

static const struct option_row answer_rows[] = {
    {0, "timeout", "TIME", set_timeout, "how long to wait for answers; default 5s"},
    {0, "replies", "N", set_replies, "wait for N answers, of several who serve the topic; default 1"},
    {0, "all", NULL, set_all, "wait for all answers that come within the timeout; default: for one"},
    {0, NULL, NULL, NULL, NULL},
};

static enum options_result parse(struct req_options *options, int argc, char **argv, int *arguments)
{
    static const char *const examples[] = {
        "pubsub req time/now ''",
        "pubsub req -j --timeout 2s sum '[1, 2, 3]'",
        "pubsub req --all -o json who/is/there ping",
        NULL,
    };
    static const int exit_codes[] = {CLI_EXIT_DONE,    CLI_EXIT_ERROR,  CLI_EXIT_USAGE, CLI_EXIT_CONNECT, CLI_EXIT_AUTH,
                                     CLI_EXIT_REFUSED, CLI_EXIT_NOBODY, CLI_EXIT_LOST,  CLI_EXIT_TIME,    -1};
    const struct option_table body = {"What is asked", form_option_rows, &options->body};
    const struct option_table input = {NULL, input_rows, options};
    const struct option_table properties = {NULL, property_option_rows, &options->body};
    const struct option_table answers = {"Answers", answer_rows, options};
    const struct option_table print = {NULL, print_option_rows, &options->print};
    const struct option_table connection = {"Connection", connection_option_rows, &options->connection};
    const struct usage usage = {
        .command = "pubsub req",
        .arguments = "TOPIC [MSG]",
        .summary =
            "Asks whoever serves TOPIC ('pubsub reply') and prints the answer. MSG is text, sent exactly as typed;\n"
            "without MSG, or if it is '-', all of standard input is the message.",
        .tables = {&body, &input, &properties, &answers, &print, &connection},
        .notes =
            "An answer with a header 'error' says that something went wrong: that text goes to stderr, and the exit\n"
            "code is 1.",
        .examples = examples,
        .exit_codes = exit_codes,
    };
    return options_parse(&usage, argc, argv, false, arguments);
}

/* ---- answers ---- */

static void finish(struct request *request, int exit_code)
{
    if (request->over) return;
    request->over = true;
    request->exit_code = exit_code;
}

static void take_answer(struct request *request, const struct pubsub_message *reply)
{
    size_t len = 0;
    const char *error = pubsub_message_header(reply, "error", &len);
    request->received++;
    if (error) {
        request->errors++;
        complain("the answer is an error: %.*s", (int)len, error);
    }
    bool nothing_else = error && reply->payload_len == 0 && request->printer.form != PRINT_JSON;
    if (!nothing_else) printer_message(&request->printer, reply);
}

static int explain_timeout(const struct request *request)
{
    const struct req_options *options = request->options;
    if (options->all && request->received > 0) return CLI_EXIT_DONE;
    char time[QUANTITY_TEXT_MAX];
    time_write(time, options->timeout_ms);
    if (request->received > 0) {
        complain("%" PRIu64 " of %llu answers within %s", request->received, options->replies, time);
    } else {
        complain("no answer within %s", time);
    }
    return CLI_EXIT_TIME;
}

static void on_reply(pubsub *client, uint64_t id, const struct pubsub_message *reply, int status, void *user)
{
    (void)id;
    struct request *request = ((struct link *)user)->owner;
    if (request->over) return;
    if (reply) {
        take_answer(request, reply);
    } else if (status == PUBSUB_OK) {
        finish(request, CLI_EXIT_DONE);
    } else if (status == PUBSUB_ETIMEDOUT) {
        finish(request, explain_timeout(request));
    } else if (status == PUBSUB_ENOBODY) {
        complain("nobody serves '%s'", request->options->topic);
        finish(request, CLI_EXIT_NOBODY);
    } else if (request->refused) {
        finish(request, request->exit_code);
    } else {
        link_complain(&request->link, pubsub_error(client), status);
        finish(request, exit_code_of_error(status));
    }
}

static void on_refusal(pubsub *client, const struct pubsub_refusal *refusal, void *user)
{
    (void)client;
    struct request *request = ((struct link *)user)->owner;
    if (request->over) return;
    complain("%s", refusal->text);
    request->refused = true;
    request->exit_code = exit_code_of_refusal(refusal->code);
}

/* ---- the command ---- */

static int send_request(struct request *request, const struct message *message)
{
    const struct req_options *options = request->options;
    struct pubsub_request_options terms = {
        .timeout_ms = (uint32_t)options->timeout_ms,
        .replies_max = options->all ? UINT32_MAX : (uint32_t)options->replies,
        .on_reply = on_reply,
        .user = &request->link,
    };
    message_options_apply(&options->body, &terms.publish);
    int error = pubsub_request(request->link.client, options->topic, message->payload, message->len, &terms, NULL);
    if (error == PUBSUB_OK) return CLI_EXIT_DONE;
    char why[1024];
    explain_publish(request->link.client, error, mps_text(options->topic), message->len, why, sizeof why);
    complain("%s", why);
    return error == PUBSUB_EINVAL ? CLI_EXIT_REFUSED : exit_code_of_error(error);
}

static int wait_for_answers(struct request *request)
{
    while (!request->over) {
        int result = link_step(&request->link, NULL, 0, -1);
        int written = printer_flush(&request->printer);
        if (result != CLI_EXIT_DONE) finish(request, result == LINK_OVER ? CLI_EXIT_LOST : result);
        else if (written != CLI_EXIT_DONE) finish(request, written == PRINTER_CLOSED ? CLI_EXIT_DONE : written);
    }
    return request->exit_code == CLI_EXIT_DONE && request->errors > 0 ? CLI_EXIT_ERROR : request->exit_code;
}

static int ask(struct request *request, struct message *message)
{
    const struct req_options *options = request->options;
    int fd = -1, result = CLI_EXIT_DONE;
    if (!options->text) {
        fd = message_input_open(options->file);
        if (fd < 0) return CLI_EXIT_ERROR;
        result = message_from_input(message, &options->body.form, &request->link, fd, options->file);
        message_input_close(options->file, fd);
    }
    if (result == CLI_EXIT_DONE) result = send_request(request, message);
    if (result == CLI_EXIT_DONE) result = wait_for_answers(request);
    return result == LINK_OVER ? CLI_EXIT_LOST : result;
}

static int req_with(struct req_options *options)
{
    struct request request = {.link = {.owner = &request}, .options = options};
    struct pubsub_options client = {.no_reconnect = true, .on_refusal = on_refusal};
    struct message message = {0};
    if (!printer_open(&request.printer, &options->print, &options->topic, 1)) return CLI_EXIT_USAGE;
    int result = CLI_EXIT_DONE;
    if (options->text) result = message_from_argument(&message, &options->body.form, options->text);
    if (result == CLI_EXIT_DONE) result = link_open(&request.link, &options->connection, &client);
    if (result == CLI_EXIT_DONE) result = ask(&request, &message);
    request.over = true; /* closing ends the request, too */
    link_close(&request.link, CLOSE_MS);
    message_free(&message);
    printer_close(&request.printer);
    return result;
}

static bool combine(struct req_options *options, char **arguments, int count)
{
    if (count == 0) {
        complain("no topic; see 'pubsub req --help'");
        return false;
    }
    options->topic = arguments[0];
    if (options->all && options->replies > 0) {
        complain("--all and --replies exclude each other");
        return false;
    }
    if (options->replies == 0) options->replies = 1;
    return message_arguments("pubsub req", arguments + 1, count - 1, options->file, false, &options->text) &&
           message_options_combine(&options->body);
}

static int run(int argc, char **argv, const struct connection_options *connection)
{
    struct req_options options = {.connection = *connection, .timeout_ms = TIMEOUT_MS};
    int arguments, result = CLI_EXIT_USAGE;
    switch (parse(&options, argc, argv, &arguments)) {
    case OPTIONS_OK:
        if (combine(&options, argv, arguments)) result = req_with(&options);
        break;
    case OPTIONS_HELP: result = CLI_EXIT_DONE; break;
    case OPTIONS_WRONG: break;
    }
    message_options_free(&options.body);
    return result;
}

const struct command req_command = {"req", "ask, and print the answers", run};
