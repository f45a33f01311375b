/* pubsub stream rm */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "connect.h"
#include "options.h"
#include "output.h"
#include "print.h"
#include "stream.h"
#include "streams.h"
#include "value.h"

#define REMOVE_TOPIC "$SYS/request/stream/remove"
#define TIMEOUT_MS 60000 /* a large stream takes the broker a while */
#define ASK_MAX 512

struct remove_options {
    struct connection_options connection;
    unsigned long long below; /* 0: all */
    bool yes;
};

struct removal {
    struct link link;
    bool over;
    int exit_code;
};

static bool set_below(void *into, const char *value)
{
    struct remove_options *options = into;
    if (!option_number("--below", value, 1, &options->below)) return false;
    if (options->below <= MPS_NUMBER_MAX) return true;
    complain("--below %s: must be at most %llu", value, (unsigned long long)MPS_NUMBER_MAX);
    return false;
}

static bool set_yes(void *into, const char *value)
{
    (void)value;
    return ((struct remove_options *)into)->yes = true;
}

static const struct option_row rows[] = {
    {0, "below", "POSITION", set_below,
     "only messages before this position; some of them may stay that were\n"
     "stored together with later ones; default: all"},
    {'y', "yes", NULL, set_yes, "do not ask; default: ask on the terminal"},
    {0, NULL, NULL, NULL, NULL},
};

static enum options_result parse(struct remove_options *options, int argc, char **argv, int *arguments)
{
    static const char *const examples[] = {
        "pubsub stream rm orders",
        "pubsub stream rm --below 100000 --yes orders",
        NULL,
    };
    static const int exit_codes[] = {CLI_EXIT_DONE,    CLI_EXIT_ERROR, CLI_EXIT_USAGE,
                                     CLI_EXIT_CONNECT, CLI_EXIT_AUTH,  CLI_EXIT_REFUSED,
                                     CLI_EXIT_LOST,    CLI_EXIT_TIME,  -1};
    const struct option_table what = {"What is removed", rows, options};
    const struct option_table connection = {"Connection", connection_option_rows, &options->connection};
    const struct usage usage = {
        .command = "pubsub stream rm",
        .arguments = "STREAM",
        .summary =
            "Removes what a durable stream holds, for good. The stream itself stays, as the broker's configuration\n"
            "names it, and goes on counting positions; what is not in the configuration any more is gone with its\n"
            "messages. Only the broker's own user and root may do this, over a Unix socket, and users with the right\n"
            "admin. STREAM is its name or number.",
        .tables = {&what, &connection},
        .examples = examples,
        .exit_codes = exit_codes,
    };
    return options_parse(&usage, argc, argv, false, arguments);
}

/* ---- asking the user ---- */

static void put_question(const struct remove_options *options, const struct stream *stream)
{
    char buf[ASK_MAX];
    struct output out;
    output_open_on(&out, STDERR_FILENO, buf, sizeof buf);
    if (options->below) output_format(&out, "Remove what is before position %llu", options->below);
    else output_format(&out, "Remove all %" PRIu64 " messages", stream->messages);
    output_text(&out, " of the stream '");
    output_escaped(&out, stream->name, strlen(stream->name), true);
    output_text(&out, "'? [y/N] ");
    output_flush(&out);
}

/* Returns CLI_EXIT_DONE for yes. */
static int ask_user(const struct remove_options *options, const struct stream *stream)
{
    char answer[16] = "";
    if (options->yes) return CLI_EXIT_DONE;
    if (!isatty(STDIN_FILENO)) {
        complain("nobody to ask: standard input is no terminal; with --yes it is removed without asking");
        return CLI_EXIT_USAGE;
    }
    put_question(options, stream);
    if (!fgets(answer, sizeof answer, stdin)) answer[0] = '\0';
    answer[strcspn(answer, "\n")] = '\0';
    if (strcmp(answer, "y") == 0 || strcmp(answer, "yes") == 0) return CLI_EXIT_DONE;
    complain("nothing was removed");
    return CLI_EXIT_ERROR;
}

/* ---- asking the broker ---- */

static void finish(struct removal *removal, int exit_code)
{
    if (removal->over) return;
    removal->over = true;
    removal->exit_code = exit_code;
}

/* {"removed": count} or {"error": text} */
static void take_answer(struct removal *removal, mps_view document)
{
    struct mps_head head;
    mps_view raw = {NULL, 0};
    if (!mps_document_check(document, 0, 0)) raw = mps_document_find(document, "removed", strlen("removed"));
    if (raw.ptr && mps_head_read(raw.ptr, raw.len, &head) == 1 && head.type == MPS_UINT) {
        printf("removed %" PRIu64 " message%s\n", head.number, head.number == 1 ? "" : "s");
        finish(removal, CLI_EXIT_DONE);
        return;
    }
    raw = (mps_view){NULL, 0};
    if (!mps_document_check(document, 0, 0)) raw = mps_document_find(document, "error", strlen("error"));
    if (raw.ptr && mps_head_read(raw.ptr, raw.len, &head) == 1 && head.type == MPS_STR) {
        complain("%.*s", (int)head.count, (const char *)raw.ptr + head.head_len);
        finish(removal, CLI_EXIT_REFUSED);
    } else {
        complain("the broker's answer makes no sense");
        finish(removal, CLI_EXIT_ERROR);
    }
}

static void on_reply(pubsub *client, uint64_t request, const struct pubsub_message *reply, int status, void *user)
{
    (void)request;
    struct removal *removal = ((struct link *)user)->owner;
    if (removal->over) return;
    if (reply) {
        take_answer(removal, (mps_view){reply->payload, (uint32_t)reply->payload_len});
    } else if (status == PUBSUB_ENOBODY) {
        complain("the broker serves no such requests");
        finish(removal, CLI_EXIT_REFUSED);
    } else if (status != PUBSUB_OK) {
        link_complain(&removal->link, pubsub_error(client), status);
        finish(removal, exit_code_of_error(status));
    }
}

static int send_request(struct removal *removal, const struct remove_options *options, const char *name)
{
    const struct pubsub_request_options terms = {
        .timeout_ms = TIMEOUT_MS, .on_reply = on_reply, .user = &removal->link};
    uint8_t buf[1024];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    mps_put_map(&out, options->below ? 2 : 1);
    mps_put_text(&out, mps_text("stream"));
    mps_put_text(&out, mps_text(name));
    if (options->below) {
        mps_put_text(&out, mps_text("below"));
        mps_put_uint(&out, options->below);
    }
    int error = pubsub_request(removal->link.client, REMOVE_TOPIC, buf, out.len, &terms, NULL);
    if (error == PUBSUB_OK) return CLI_EXIT_DONE;
    complain("%s", pubsub_error(removal->link.client));
    return exit_code_of_error(error);
}

static int remove_messages(const struct remove_options *options, const char *name)
{
    struct removal removal = {.link = {.owner = &removal}};
    struct pubsub_options client = {.no_reconnect = true};
    int result = link_open(&removal.link, &options->connection, &client);
    if (result == CLI_EXIT_DONE) result = send_request(&removal, options, name);
    while (result == CLI_EXIT_DONE && !removal.over) {
        result = link_step(&removal.link, NULL, 0, -1);
        if (result == LINK_OVER) result = CLI_EXIT_LOST;
    }
    bool answered = removal.over;
    removal.over = true; /* closing ends the request, too */
    link_close(&removal.link, 0);
    return answered ? removal.exit_code : result;
}

/* ---- the command ---- */

static int remove_named(const struct remove_options *options, const char *name)
{
    struct streams streams = {0};
    int result = streams_read(&streams, &options->connection);
    if (result == CLI_EXIT_DONE) {
        const struct stream *stream = stream_named(&streams, name);
        result = stream ? ask_user(options, stream) : CLI_EXIT_ERROR;
        if (result == CLI_EXIT_DONE) result = remove_messages(options, stream->name);
    }
    streams_free(&streams);
    return result;
}

static int run(int argc, char **argv, const struct connection_options *connection)
{
    struct remove_options options = {.connection = *connection};
    int arguments;
    switch (parse(&options, argc, argv, &arguments)) {
    case OPTIONS_OK: break;
    case OPTIONS_HELP: return CLI_EXIT_DONE;
    case OPTIONS_WRONG: return CLI_EXIT_USAGE;
    }
    const char *name = stream_argument("pubsub stream rm", argv, arguments);
    return name ? remove_named(&options, name) : CLI_EXIT_USAGE;
}

const struct command stream_rm_command = {"rm", "remove messages of a stream", run};
