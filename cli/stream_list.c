/* pubsub stream ls, pubsub stream info */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "connect.h"
#include "json_out.h"
#include "moment.h"
#include "options.h"
#include "output.h"
#include "rounded.h"
#include "sizes.h"
#include "stream.h"
#include "streams.h"

#define CELL_MAX 128

struct list_options {
    struct connection_options connection;
    bool json;
};

static bool set_json(void *into, const char *value)
{
    (void)value;
    return ((struct list_options *)into)->json = true;
}

static const struct option_row rows[] = {
    {0, "json", NULL, set_json, "what the broker says, one object a line; default: for people"},
    {0, NULL, NULL, NULL, NULL},
};

static const int exit_codes[] = {CLI_EXIT_DONE, CLI_EXIT_ERROR, CLI_EXIT_USAGE, CLI_EXIT_CONNECT,
                                 CLI_EXIT_AUTH, CLI_EXIT_LOST,  CLI_EXIT_TIME,  -1};

/* ---- cells ---- */

static void put_size(char text[CELL_MAX], uint64_t bytes)
{
    rounded_size(text, bytes);
}

static void put_limit(char text[CELL_MAX], uint64_t limit, void (*put)(char text[CELL_MAX], uint64_t amount))
{
    if (limit) put(text, limit);
    else snprintf(text, CELL_MAX, "-");
}

static void put_count(char text[CELL_MAX], uint64_t count)
{
    snprintf(text, CELL_MAX, "%" PRIu64, count);
}

static void put_time(char text[CELL_MAX], uint64_t ms)
{
    char time[QUANTITY_TEXT_MAX];
    time_write(time, ms);
    snprintf(text, CELL_MAX, "%s", time);
}

static uint64_t age_ms(uint64_t unix_ms)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    return now_ms > unix_ms ? now_ms - unix_ms : 0;
}

static void put_oldest(char text[CELL_MAX], const struct stream *stream)
{
    if (stream->oldest_ms && stream->messages) rounded_age(text, age_ms(stream->oldest_ms));
    else snprintf(text, CELL_MAX, "-");
}

/* ---- ls ---- */

enum { COLUMNS = 9 };
static const char *const titles[COLUMNS] = {"NUMBER", "MESSAGES", "SIZE",    "OF",    "FIRST",
                                            "NEXT",   "OLDEST",   "READERS", "STREAM"};

static void fill_row(char cells[COLUMNS][CELL_MAX], const struct stream *stream)
{
    put_count(cells[0], stream->number);
    put_count(cells[1], stream->messages);
    put_size(cells[2], stream->bytes);
    put_limit(cells[3], stream->max_bytes, put_size);
    put_count(cells[4], stream->first);
    put_count(cells[5], stream->next);
    put_oldest(cells[6], stream);
    put_count(cells[7], stream->readers);
    snprintf(cells[8], CELL_MAX, "%s%s%s%s%s", stream->name, stream->away ? " (AWAY)" : "",
             stream->damaged ? " (damaged)" : "", stream->unstored ? " (unstored)" : "",
             stream->configured ? "" : " (not configured any more)");
}

/* Numbers stand to the right; the name, the last, is as long as it is, and someone else's text. */
static void print_row(struct output *out, char cells[COLUMNS][CELL_MAX], const int widths[COLUMNS])
{
    for (int i = 0; i < COLUMNS - 1; i++) output_format(out, "%*s  ", widths[i], cells[i]);
    output_escaped(out, cells[COLUMNS - 1], strlen(cells[COLUMNS - 1]), true);
    output_char(out, '\n');
}

static void print_table(struct output *out, const struct streams *streams)
{
    char cells[COLUMNS][CELL_MAX];
    int widths[COLUMNS];
    for (int i = 0; i < COLUMNS; i++) widths[i] = (int)strlen(titles[i]);
    for (size_t s = 0; s < streams->count; s++) {
        fill_row(cells, &streams->list[s]);
        for (int i = 0; i < COLUMNS; i++) {
            if (widths[i] < (int)strlen(cells[i])) widths[i] = (int)strlen(cells[i]);
        }
    }
    for (int i = 0; i < COLUMNS; i++) snprintf(cells[i], CELL_MAX, "%s", titles[i]);
    print_row(out, cells, widths);
    for (size_t s = 0; s < streams->count; s++) {
        fill_row(cells, &streams->list[s]);
        print_row(out, cells, widths);
    }
}

static void print_document(struct output *out, const struct stream *stream)
{
    json_out_document(out, (mps_view){stream->document.data, (uint32_t)stream->document.len});
    output_char(out, '\n');
}

/* ---- info ---- */

static void print_line(struct output *out, const char *title, const char *text)
{
    output_format(out, "%-12s", title);
    output_escaped(out, text, strlen(text), true);
    output_char(out, '\n');
}

static void print_patterns(struct output *out, const struct stream *stream)
{
    mps_view pattern;
    for (size_t at = 0; (pattern = stream_pattern(stream, &at)).ptr;) {
        output_format(out, "%-12s", at == 1 ? "patterns" : "");
        output_escaped(out, (const char *)pattern.ptr, pattern.len, true);
        output_char(out, '\n');
    }
}

static void print_limits(struct output *out, const struct stream *stream)
{
    char bytes[CELL_MAX], messages[CELL_MAX], age[CELL_MAX], text[4 * CELL_MAX];
    put_limit(bytes, stream->max_bytes, put_size);
    put_limit(messages, stream->max_msgs, put_count);
    put_limit(age, stream->max_age_ms, put_time);
    snprintf(text, sizeof text, "size %s, messages %s, age %s", bytes, messages, age);
    print_line(out, "limits", text);
    print_line(out, "when full", stream->refuses ? "new messages are refused" : "the oldest messages go");
}

static void print_positions(struct output *out, const struct stream *stream)
{
    char text[CELL_MAX];
    if (stream->messages > 0) {
        snprintf(text, sizeof text, "%" PRIu64 " to %" PRIu64, stream->first, stream->next - 1);
    } else {
        snprintf(text, sizeof text, "none; the next is %" PRIu64, stream->next);
    }
    print_line(out, "positions", text);
}

static void print_stream(struct output *out, const struct stream *stream)
{
    char text[CELL_MAX], age[CELL_MAX], moment[MOMENT_TEXT_MAX];
    print_line(out, "stream", stream->name);
    put_count(text, stream->number);
    print_line(out, "number", text);
    if (stream->away)
        print_line(out, "away",
                   "the cluster does not answer for it; its messages are what was heard before, if anything");
    print_patterns(out, stream);
    put_count(text, stream->messages);
    print_line(out, "messages", text);
    print_positions(out, stream);
    put_size(text, stream->bytes);
    print_line(out, "size", text);
    if (stream->oldest_ms && stream->messages) {
        moment_write(moment, stream->oldest_ms);
        put_oldest(age, stream);
        snprintf(text, sizeof text, "%s (%.20s ago)", moment, age);
        print_line(out, "oldest", text);
    }
    print_limits(out, stream);
    put_count(text, stream->readers);
    print_line(out, "readers", text);
    put_count(text, stream->damaged);
    print_line(out, "damaged", text);
    snprintf(text, sizeof text, "%" PRIu64 " dead letters and wills, for want of room", stream->unstored);
    if (stream->unstored) print_line(out, "unstored", text);
    if (!stream->configured) print_line(out, "", "the broker's configuration does not name it any more");
}

/* ---- the commands ---- */

static int list_all(const struct list_options *options)
{
    struct streams streams = {0};
    struct output out;
    int result = streams_read(&streams, &options->connection);
    if (result == CLI_EXIT_DONE) {
        output_open(&out, STDOUT_FILENO);
        for (size_t i = 0; options->json && i < streams.count; i++) print_document(&out, &streams.list[i]);
        if (!options->json) print_table(&out, &streams);
        result = output_end(&out);
    }
    streams_free(&streams);
    return result;
}

static int describe(const struct list_options *options, const char *name)
{
    struct streams streams = {0};
    struct output out;
    int result = streams_read(&streams, &options->connection);
    if (result == CLI_EXIT_DONE) {
        const struct stream *stream = stream_named(&streams, name);
        result = CLI_EXIT_ERROR;
        if (stream) {
            output_open(&out, STDOUT_FILENO);
            if (options->json) print_document(&out, stream);
            else print_stream(&out, stream);
            result = output_end(&out);
        }
    }
    streams_free(&streams);
    return result;
}

static enum options_result parse(struct list_options *options, const struct usage *like, int argc, char **argv,
                                 int *arguments)
{
    const struct option_table output = {"How it is printed", rows, options};
    const struct option_table connection = {"Connection", connection_option_rows, &options->connection};
    struct usage usage = *like;
    usage.tables[0] = &output;
    usage.tables[1] = &connection;
    usage.exit_codes = exit_codes;
    return options_parse(&usage, argc, argv, false, arguments);
}

static int run_ls(int argc, char **argv, const struct connection_options *connection)
{
    static const char *const examples[] = {
        "pubsub stream ls",
        "pubsub stream ls --json | jq .name",
        NULL,
    };
    static const struct usage usage = {
        .command = "pubsub stream ls",
        .arguments = "",
        .summary =
            "Lists the broker's durable streams: how many messages each holds, how large they are and may become\n"
            "together (OF), the first position that is there and the next to be given, how old the oldest message\n"
            "is, and how many subscriptions read it. Behind a name stands what 'pubsub stream info' says more about.",
        .examples = examples,
    };
    struct list_options options = {.connection = *connection};
    int arguments;
    switch (parse(&options, &usage, argc, argv, &arguments)) {
    case OPTIONS_OK: break;
    case OPTIONS_HELP: return CLI_EXIT_DONE;
    case OPTIONS_WRONG: return CLI_EXIT_USAGE;
    }
    if (arguments == 0) return list_all(&options);
    complain("too many arguments: '%s'; 'pubsub stream info' is about one stream", argv[0]);
    return CLI_EXIT_USAGE;
}

static int run_info(int argc, char **argv, const struct connection_options *connection)
{
    static const char *const examples[] = {
        "pubsub stream info orders",
        "pubsub stream info --json orders | jq .bytes",
        NULL,
    };
    static const struct usage usage = {
        .command = "pubsub stream info",
        .arguments = "STREAM",
        .summary = "Says everything about one durable stream. STREAM is its name or number.",
        .examples = examples,
    };
    struct list_options options = {.connection = *connection};
    int arguments;
    switch (parse(&options, &usage, argc, argv, &arguments)) {
    case OPTIONS_OK: break;
    case OPTIONS_HELP: return CLI_EXIT_DONE;
    case OPTIONS_WRONG: return CLI_EXIT_USAGE;
    }
    const char *name = stream_argument("pubsub stream info", argv, arguments);
    return name ? describe(&options, name) : CLI_EXIT_USAGE;
}

const struct command stream_ls_command = {"ls", "list the streams", run_ls};
const struct command stream_info_command = {"info", "say everything about one of them", run_info};
