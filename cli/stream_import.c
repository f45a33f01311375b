/* pubsub stream import */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive.h"
#include "connect.h"
#include "message.h"
#include "options.h"
#include "progress.h"
#include "publisher.h"
#include "stream.h"

#define STANDARD_INPUT "standard input"
#define PROGRESS_MS 250

struct import_options {
    struct connection_options connection;
    const char *file; /* NULL: standard input */
};

static const char *name_of(const struct import_options *options)
{
    return options->file ? options->file : STANDARD_INPUT;
}

/* What is read from, while the connection is looked after. */
struct input {
    struct publisher *publisher;
    int fd;
};

static int wait_for_input(void *user)
{
    const struct input *input = user;
    struct pollfd readable = {.fd = input->fd, .events = POLLIN};
    int result = CLI_EXIT_DONE;
    while (result == CLI_EXIT_DONE && readable.revents == 0) {
        publisher_progress(input->publisher);
        result = link_step(&input->publisher->link, &readable, 1, PROGRESS_MS);
    }
    return result == LINK_OVER ? CLI_EXIT_LOST : result;
}

/* Reads the whole file once: what is broken is found before anything of it is stored. Sets *messages. */
static int check_file(const struct import_options *options, int fd, uint64_t *messages)
{
    struct archive_reader reader;
    enum archive_result result;
    archive_open(&reader, fd, NULL, NULL);
    do {
        result = archive_read_block(&reader);
    } while (result == ARCHIVE_BLOCK);
    *messages = reader.messages;
    if (result == ARCHIVE_BROKEN) complain("%s is broken %s", name_of(options), reader.error);
    archive_close(&reader);
    if (result == ARCHIVE_BROKEN) return CLI_EXIT_ERROR;
    if (lseek(fd, 0, SEEK_SET) == 0) return CLI_EXIT_DONE;
    complain("cannot read %s: %s", name_of(options), strerror(errno));
    return CLI_EXIT_ERROR;
}

static int publish_frame(struct publisher *publisher, const struct archive_frame *frame)
{
    char topic[PUBSUB_TOPIC_MAX + 1];
    snprintf(topic, sizeof topic, "%.*s", (int)frame->topic.len, (const char *)frame->topic.ptr);
    publisher->terms.props = frame->props.ptr;
    publisher->terms.props_len = frame->props.len;
    return publisher_send(publisher, topic, frame->payload.ptr, frame->payload.len, publisher->sent + 1);
}

static int publish_block(struct publisher *publisher, struct archive_reader *reader)
{
    struct archive_frame frame;
    int result = CLI_EXIT_DONE;
    while (result == CLI_EXIT_DONE && !publisher->stop && archive_next(reader, &frame)) {
        result = publish_frame(publisher, &frame);
        if (publisher->failure != CLI_EXIT_DONE) publisher->stop = true;
    }
    return result;
}

static int publish_all(struct publisher *publisher, const struct import_options *options, int fd)
{
    struct archive_reader reader;
    enum archive_result read;
    struct input input = {publisher, fd};
    int result = CLI_EXIT_DONE;
    archive_open(&reader, fd, wait_for_input, &input);
    while ((read = archive_read_block(&reader)) == ARCHIVE_BLOCK) {
        result = publish_block(publisher, &reader);
        if (result != CLI_EXIT_DONE || publisher->stop) break;
    }
    if (read == ARCHIVE_BROKEN) {
        complain("%s is broken %s", name_of(options), reader.error);
        if (publisher->failure == CLI_EXIT_DONE) publisher->failure = CLI_EXIT_ERROR;
    }
    if (read == ARCHIVE_STOPPED) result = reader.stopped;
    archive_close(&reader);
    return result;
}

static int import(const struct import_options *options, int fd, uint64_t messages)
{
    const struct pub_options terms = {
        .connection = options->connection,
        .item = "message",
        .lines = true,
        .count = messages,
        .ack = PUBSUB_ACK_STORED,
    };
    struct publisher publisher;
    int result = publisher_open(&publisher, &terms);
    if (result == CLI_EXIT_DONE) {
        result = publish_all(&publisher, options, fd);
        result = publisher_finish(&publisher, result);
        uint64_t open = pubsub_unacked(publisher.link.client);
        uint64_t stored = publisher.sent - open - publisher.refused;
        printf("stored %" PRIu64 " message%s\n", stored, stored == 1 ? "" : "s");
    }
    publisher_close(&publisher);
    return result;
}

static int import_file(const struct import_options *options)
{
    struct stat there;
    uint64_t messages = 0;
    int fd = message_input_open(options->file), result = CLI_EXIT_DONE;
    if (fd < 0) return CLI_EXIT_ERROR;
    if (fstat(fd, &there) == 0 && S_ISREG(there.st_mode)) result = check_file(options, fd, &messages);
    if (result == CLI_EXIT_DONE) result = import(options, fd, messages);
    message_input_close(options->file, fd);
    return result;
}

static enum options_result parse(struct import_options *options, int argc, char **argv, int *arguments)
{
    static const char *const examples[] = {
        "pubsub stream import orders.export",
        "zstdcat orders.export.zst | pubsub stream import -",
        NULL,
    };
    static const int exit_codes[] = {CLI_EXIT_DONE, CLI_EXIT_ERROR,   CLI_EXIT_USAGE, CLI_EXIT_CONNECT,
                                     CLI_EXIT_AUTH, CLI_EXIT_REFUSED, CLI_EXIT_LOST,  -1};
    const struct option_table connection = {"Connection", connection_option_rows, &options->connection};
    const struct usage usage = {
        .command = "pubsub stream import",
        .arguments = "FILE",
        .summary = "Publishes the messages that 'pubsub stream export' has written to FILE ('-': standard input), each "
                   "to its\n"
                   "topic and in their order, and waits until all are stored. They are new messages: they get new "
                   "positions and\n"
                   "times, a time to live begins anew, and who is subscribed receives them.",
        .tables = {&connection},
        .notes =
            "A FILE that is broken or cut off is refused with the place before anything of it is published; from a\n"
            "pipe, what stands before that place is stored. At the first message that the broker refuses it ends. How\n"
            "many messages were stored is printed in any case.",
        .examples = examples,
        .exit_codes = exit_codes,
    };
    return options_parse(&usage, argc, argv, false, arguments);
}

static int run(int argc, char **argv, const struct connection_options *connection)
{
    struct import_options options = {.connection = *connection};
    int arguments;
    switch (parse(&options, argc, argv, &arguments)) {
    case OPTIONS_OK: break;
    case OPTIONS_HELP: return CLI_EXIT_DONE;
    case OPTIONS_WRONG: return CLI_EXIT_USAGE;
    }
    if (arguments != 1) {
        if (arguments == 0) complain("no file; '-' is standard input; see 'pubsub stream import --help'");
        else complain("too many arguments: '%s'", argv[1]);
        return CLI_EXIT_USAGE;
    }
    if (strcmp(argv[0], "-") != 0) options.file = argv[0];
    return import_file(&options);
}

const struct command stream_import_command = {"import", "publish what export has written", run};
