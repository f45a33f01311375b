/* pubsub stream export */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "archive.h"
#include "connect.h"
#include "options.h"
#include "output.h"
#include "print.h"
#include "progress.h"
#include "stream.h"
#include "streams.h"

struct export_options {
    struct connection_options connection;
    const char *name;
    const char *file; /* NULL: standard output */
};

struct exporter {
    struct link link;
    struct stream stream;
    struct output out;
    struct archive_writer writer;
    bool over;
    bool whole; /* up to the last line */
    int exit_code;
};

/* ---- where it goes ---- */

/* A file gets its name when it is whole: one that was there before stays until then. */
struct target {
    const char *file;
    char *temporary; /* NULL: written in place, a device or a pipe */
    int fd;
};

static int open_target(struct target *target, const char *file)
{
    struct stat there;
    *target = (struct target){.file = file, .fd = STDOUT_FILENO};
    if (!file) return CLI_EXIT_DONE;
    if (stat(file, &there) == 0 && !S_ISREG(there.st_mode)) {
        target->fd = open(file, O_WRONLY | O_CLOEXEC);
    } else {
        size_t len = strlen(file);
        target->temporary = malloc(len + sizeof ".XXXXXX");
        if (!target->temporary) {
            complain("out of memory");
            return CLI_EXIT_ERROR;
        }
        memcpy(target->temporary, file, len);
        memcpy(target->temporary + len, ".XXXXXX", sizeof ".XXXXXX");
        target->fd = mkostemp(target->temporary, O_CLOEXEC);
    }
    if (target->fd >= 0) return CLI_EXIT_DONE;
    complain("cannot write %s: %s", file, strerror(errno));
    free(target->temporary);
    return CLI_EXIT_ERROR;
}

/* mkostemp() lets nobody else read, which a umask may. */
static bool keep(const struct target *target)
{
    mode_t mask = umask(0);
    umask(mask);
    return fchmod(target->fd, 0666 & ~mask) == 0 && fsync(target->fd) == 0 &&
           rename(target->temporary, target->file) == 0;
}

/* whole: it is to be kept. Returns the exit code. */
static int close_target(struct target *target, bool whole)
{
    int result = CLI_EXIT_DONE;
    if (target->temporary && whole && !keep(target)) {
        complain("cannot write %s: %s", target->file, strerror(errno));
        whole = false;
        result = CLI_EXIT_ERROR;
    }
    if (target->temporary && !whole) unlink(target->temporary);
    if (target->file) close(target->fd);
    free(target->temporary);
    return result;
}

/* ---- what comes ---- */

static void finish(struct exporter *exporter, int exit_code)
{
    if (exporter->over) return;
    exporter->over = true;
    exporter->exit_code = exit_code;
}

static void on_message(pubsub *client, const struct pubsub_message *message, void *user)
{
    (void)client;
    struct exporter *exporter = ((struct link *)user)->owner;
    if (exporter->over || message->stream != exporter->stream.number) return;
    archive_message(&exporter->writer, message);
    if (exporter->out.error) finish(exporter, CLI_EXIT_ERROR);
}

/* Losses of other streams, and of what is published meanwhile on topics of none, are not its own. */
static void on_gap(pubsub *client, const struct pubsub_gap *gap, void *user)
{
    (void)client;
    struct exporter *exporter = ((struct link *)user)->owner;
    if (exporter->over || gap->stream != exporter->stream.number) return;
    archive_gap(&exporter->writer, gap);
    printer_gap_line(exporter->stream.name, gap);
}

static void on_mark(pubsub *client, uint32_t sid, enum pubsub_mark mark, void *user)
{
    (void)client;
    (void)sid;
    struct exporter *exporter = ((struct link *)user)->owner;
    if (mark != PUBSUB_MARK_CAUGHT_UP || exporter->over) return;
    archive_end(&exporter->writer);
    exporter->whole = true;
    finish(exporter, CLI_EXIT_DONE);
}

static void on_refusal(pubsub *client, const struct pubsub_refusal *refusal, void *user)
{
    (void)client;
    struct exporter *exporter = ((struct link *)user)->owner;
    if (exporter->over) return;
    complain("%s", refusal->text);
    finish(exporter, exit_code_of_refusal(refusal->code));
}

/* ---- asking for it ---- */

/* A pattern for all of its messages, also those of topics that it was given in former times: the rest of what matches
 * is thrown away. What begins with '$' is not in '#'. */
static mps_view pattern_for(const struct stream *stream)
{
    size_t at = 0;
    mps_view first = stream_pattern(stream, &at);
    bool several = stream_pattern(stream, &at).ptr != NULL;
    return first.ptr && first.len > 0 && first.ptr[0] == '$' && !several ? first : mps_text("#");
}

static int subscribe(struct exporter *exporter)
{
    const struct stream *stream = &exporter->stream;
    const uint64_t from[2] = {stream->number, stream->first > 0 ? stream->first : 1};
    const struct pubsub_subscribe_options options = {
        .max_msgs = 1, /* of other topics: they are not wanted */
        .retained = 2,
        .from = PUBSUB_FROM_SEQ,
        .from_positions = from,
        .from_positions_count = 1,
        .on_message = on_message,
        .on_gap = on_gap,
        .on_mark = on_mark,
        .user = &exporter->link,
    };
    char pattern[PUBSUB_TOPIC_MAX + 1];
    mps_view view = pattern_for(stream);
    snprintf(pattern, sizeof pattern, "%.*s", (int)view.len, (const char *)view.ptr);
    return link_subscribed(&exporter->link, pattern, pubsub_subscribe(exporter->link.client, pattern, &options, NULL));
}

static int receive_all(struct exporter *exporter)
{
    while (!exporter->over) {
        int result = link_step(&exporter->link, NULL, 0, -1);
        if (result != CLI_EXIT_DONE) finish(exporter, result == LINK_OVER ? CLI_EXIT_LOST : result);
        progress_show(exporter->writer.messages, exporter->stream.messages);
    }
    progress_end();
    if (!output_flush(&exporter->out)) {
        /* Who has stopped reading knows that; and an interrupted write was ended by a signal. */
        bool quiet = exporter->out.error == EPIPE || exporter->out.error == EINTR;
        if (!quiet) complain("cannot write the export: %s", strerror(exporter->out.error));
        exporter->whole = false;
        return exporter->exit_code == CLI_EXIT_DONE ? CLI_EXIT_ERROR : exporter->exit_code;
    }
    return exporter->exit_code;
}

static uint64_t unix_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Whether all came that was there. What was removed meanwhile is told as lost. */
static int check_complete(const struct exporter *exporter)
{
    uint64_t there = exporter->stream.messages, came = exporter->writer.messages + exporter->writer.lost;
    if (came >= there) return CLI_EXIT_DONE;
    complain("%" PRIu64 " messages are not in the export: one pattern for all topics of the stream is not possible",
             there - came);
    return CLI_EXIT_ERROR;
}

static int export_stream(struct exporter *exporter, const struct connection_options *connection, int fd)
{
    struct pubsub_options client = {.on_refusal = on_refusal};
    output_open(&exporter->out, fd);
    archive_begin(&exporter->writer, &exporter->out, &exporter->stream, unix_ms());
    int result = link_open(&exporter->link, connection, &client);
    if (result == CLI_EXIT_DONE) result = subscribe(exporter);
    if (result == CLI_EXIT_DONE) result = receive_all(exporter);
    link_close(&exporter->link, 0);
    if (result == CLI_EXIT_DONE) result = check_complete(exporter);
    archive_writer_free(&exporter->writer);
    output_close(&exporter->out);
    return result;
}

/* ---- the command ---- */

static int export_named(const struct export_options *options)
{
    struct streams streams = {0};
    struct exporter exporter = {.link = {.owner = &exporter}};
    struct target target;
    int result = streams_read(&streams, &options->connection);
    if (result == CLI_EXIT_DONE) {
        const struct stream *stream = stream_named(&streams, options->name);
        result = stream ? open_target(&target, options->file) : CLI_EXIT_ERROR;
        if (result == CLI_EXIT_DONE) {
            exporter.stream = *stream;
            result = export_stream(&exporter, &options->connection, target.fd);
            int closed = close_target(&target, exporter.whole);
            if (result == CLI_EXIT_DONE) result = closed;
        }
    }
    streams_free(&streams);
    return result;
}

static enum options_result parse(struct export_options *options, int argc, char **argv, int *arguments)
{
    static const char *const examples[] = {
        "pubsub stream export orders orders.export",
        "pubsub stream export orders | zstd > orders.export.zst",
        NULL,
    };
    static const int exit_codes[] = {CLI_EXIT_DONE,    CLI_EXIT_ERROR, CLI_EXIT_USAGE,
                                     CLI_EXIT_CONNECT, CLI_EXIT_AUTH,  CLI_EXIT_REFUSED,
                                     CLI_EXIT_LOST,    CLI_EXIT_TIME,  -1};
    const struct option_table connection = {"Connection", connection_option_rows, &options->connection};
    const struct usage usage = {
        .command = "pubsub stream export",
        .arguments = "STREAM [FILE]",
        .summary =
            "Writes all messages of a durable stream to FILE, or to standard output, for 'pubsub stream import'.\n"
            "FILE is there when it is whole; one of that name is replaced then. STREAM may be its number, too.",
        .tables = {&connection},
        .notes = "The form: a first line {\"pubsub-export\":1,\"stream\":NAME,..}; then blocks, each of them a line\n"
                 "{\"messages\":N,\"bytes\":B,\"first\":POSITION,\"last\":POSITION,..,\"sum\":CHECKSUM} and B bytes,\n"
                 "the messages as frames of the protocol mps/1; lines {\"lost\":{..}} where messages are missing; and\n"
                 "a last line {\"end\":{\"messages\":N,\"lost\":M}}. The checksum is XXH3 of 64 bits, with the first\n"
                 "position as its seed.",
        .examples = examples,
        .exit_codes = exit_codes,
    };
    return options_parse(&usage, argc, argv, false, arguments);
}

static int run(int argc, char **argv, const struct connection_options *connection)
{
    struct export_options options = {.connection = *connection};
    int arguments;
    switch (parse(&options, argc, argv, &arguments)) {
    case OPTIONS_OK: break;
    case OPTIONS_HELP: return CLI_EXIT_DONE;
    case OPTIONS_WRONG: return CLI_EXIT_USAGE;
    }
    options.name = stream_argument("pubsub stream export", argv, arguments == 2 ? 1 : arguments);
    if (!options.name) return CLI_EXIT_USAGE;
    if (arguments == 2 && strcmp(argv[1], "-") != 0) options.file = argv[1];
    if (!options.file && isatty(STDOUT_FILENO)) {
        complain("an export is not for a terminal: give a FILE, or send it through a pipe");
        return CLI_EXIT_USAGE;
    }
    return export_named(&options);
}

const struct command stream_export_command = {"export", "write a stream's messages to a file", run};
