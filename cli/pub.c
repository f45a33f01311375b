/* pubsub pub */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "body.h"
#include "cli.h"
#include "publisher.h"
#include "source.h"
#include "value.h"

/* A payload that is ready to be sent, and what it stands in. */
struct body {
    struct buffer input, scratch;
    const uint8_t *payload;
    size_t len;
};

static void body_free(struct body *body)
{
    buffer_free(&body->input);
    buffer_free(&body->scratch);
}

static int refuse_too_long(struct publisher *publisher, uint64_t line, uint64_t len)
{
    char why[128];
    snprintf(why, sizeof why, "too large: %" PRIu64 " bytes, the broker's limit for a payload is %" PRIu64, len,
             pubsub_max_payload(publisher->link.client));
    publisher_refuse(publisher, line, CLI_EXIT_REFUSED, why);
    return CLI_EXIT_DONE;
}

/* The next block of the input, as soon as there is one; meanwhile the connection is looked after. */
static int read_more(struct publisher *publisher, struct source *source)
{
    struct pollfd input = {.fd = source->fd, .events = POLLIN};
    int result = link_step(&publisher->link, &input, 1, -1);
    if (result != CLI_EXIT_DONE || input.revents == 0) return result;
    int error = source_read(source);
    if (error) {
        complain("cannot read %s: %s", publisher->options->file ? publisher->options->file : "standard input",
                 strerror(error));
        return CLI_EXIT_ERROR;
    }
    return CLI_EXIT_DONE;
}

/* ---- lines ---- */

static int send_line(struct publisher *publisher, uint8_t *item, size_t len, uint64_t line, struct buffer *scratch)
{
    const struct pub_options *options = publisher->options;
    char why[512];
    uint8_t key[PUBSUB_TOPIC_MAX + 1];
    mps_view topic = mps_text(options->topic);
    if (options->keyed) {
        const uint8_t *tab = memchr(item, '\t', len);
        if (!tab) {
            publisher_refuse(publisher, line, CLI_EXIT_REFUSED, "no tab between topic and message");
            return CLI_EXIT_DONE;
        }
        /* The payload's head will be written over the end of the topic. One that is too long is only reported. */
        size_t topic_len = (size_t)(tab - item);
        topic = (mps_view){item, (uint32_t)topic_len};
        if (topic_len < sizeof key) {
            memcpy(key, item, topic_len);
            topic.ptr = key;
        }
        item += topic_len + 1;
        len -= topic_len + 1;
        if (topic_len >= sizeof key) return publisher_send(publisher, topic, item, len, line);
    }
    const uint8_t *payload;
    size_t payload_len;
    if (!body_encode(&options->form, item, len, scratch, &payload, &payload_len, why, sizeof why)) {
        publisher_refuse(publisher, line, CLI_EXIT_REFUSED, why);
        return CLI_EXIT_DONE;
    }
    return publisher_send(publisher, topic, payload, payload_len, line);
}

static int send_lines(struct publisher *publisher, struct source *source)
{
    const struct pub_options *options = publisher->options;
    struct buffer scratch = {0};
    uint64_t line = 0, len;
    uint8_t *item;
    int result = CLI_EXIT_DONE;
    while (result == CLI_EXIT_DONE && !publisher->stop && (options->count == 0 || line < options->count)) {
        enum source_result got = source_next(source, &item, &len);
        if (got == SOURCE_END) break;
        if (got == SOURCE_MORE) {
            publisher_progress(publisher);
            result = read_more(publisher, source);
        } else if (got == SOURCE_TOO_LONG) {
            result = refuse_too_long(publisher, ++line, len);
        } else {
            result = send_line(publisher, item, (size_t)len, ++line, &scratch);
        }
    }
    buffer_free(&scratch);
    return result;
}

/* ---- one message ---- */

static int send_copies(struct publisher *publisher, const struct body *body)
{
    enum { BETWEEN_LOOKS = 1024 }; /* messages: often enough for signals and answers, too seldom to cost anything */
    const struct pub_options *options = publisher->options;
    uint64_t count = options->count ? options->count : 1;
    int result = CLI_EXIT_DONE;
    for (uint64_t i = 0; i < count && result == CLI_EXIT_DONE && !publisher->stop; i++) {
        result = publisher_send(publisher, mps_text(options->topic), body->payload, body->len, 0);
        if (result == CLI_EXIT_DONE && i % BETWEEN_LOOKS == BETWEEN_LOOKS - 1) {
            publisher_progress(publisher);
            result = link_process(&publisher->link);
        }
    }
    return result;
}

/* MSG from the command line. It is looked at before anything is connected to: what is wrong with it is wrong usage. */
static int encode_argument(const struct pub_options *options, struct body *body)
{
    static const uint8_t headroom[BODY_HEADROOM];
    char why[512];
    size_t len = strlen(options->message);
    buffer_append(&body->input, headroom, sizeof headroom);
    buffer_append(&body->input, options->message, len);
    if (!body_encode(&options->form, body->input.data + BODY_HEADROOM, len, &body->scratch, &body->payload, &body->len,
                     why, sizeof why)) {
        complain("MSG is %s", why);
        return CLI_EXIT_USAGE;
    }
    if (options->form.kind == BODY_TEXT && !options->hex && isatty(STDERR_FILENO) &&
        body_looks_like_json(options->message)) {
        complain("MSG looks like JSON and is sent as text; with -j it is sent as a document");
    }
    return CLI_EXIT_DONE;
}

/* The whole input as one message. */
static int send_input(struct publisher *publisher, struct source *source)
{
    struct body body = {0};
    char why[512];
    uint64_t len;
    uint8_t *item;
    enum source_result got;
    while ((got = source_next(source, &item, &len)) == SOURCE_MORE) {
        int result = read_more(publisher, source);
        if (result != CLI_EXIT_DONE) return result;
    }
    if (got == SOURCE_TOO_LONG) return refuse_too_long(publisher, 0, len);
    if (!body_encode(&publisher->options->form, item, (size_t)len, &body.scratch, &body.payload, &body.len, why,
                     sizeof why)) {
        complain("%s is %s", publisher->options->file ? publisher->options->file : "standard input", why);
        return CLI_EXIT_ERROR;
    }
    int result = send_copies(publisher, &body);
    body_free(&body);
    return result;
}

static int send_from(struct publisher *publisher, int fd)
{
    const struct pub_options *options = publisher->options;
    struct source source;
    int delimiter = !options->lines ? SOURCE_WHOLE : options->nul ? '\0' : '\n';
    size_t max = body_input_max(&options->form, pubsub_max_payload(publisher->link.client));
    if (options->keyed) max += PUBSUB_TOPIC_MAX + 1;
    source_open(&source, fd, delimiter, max);
    int result = options->lines ? send_lines(publisher, &source) : send_input(publisher, &source);
    source_close(&source);
    return result;
}

/* ---- the command ---- */

static int connect_and_send(const struct pub_options *options, const struct body *body, int fd)
{
    struct publisher publisher;
    int result = publisher_open(&publisher, options);
    if (result == CLI_EXIT_DONE) {
        result = options->message ? send_copies(&publisher, body) : send_from(&publisher, fd);
        result = publisher_finish(&publisher, result);
    }
    publisher_close(&publisher);
    return result;
}

static int pub_with(const struct pub_options *options)
{
    struct body body = {0};
    int fd = STDIN_FILENO, result = CLI_EXIT_DONE;
    if (options->file) {
        fd = open(options->file, O_RDONLY | O_CLOEXEC);
        if (fd < 0) {
            complain("cannot open %s: %s", options->file, strerror(errno));
            return CLI_EXIT_ERROR;
        }
    }
    if (options->message) result = encode_argument(options, &body);
    if (result == CLI_EXIT_DONE) result = connect_and_send(options, &body, fd);
    body_free(&body);
    if (options->file) close(fd);
    return result;
}

static int run(int argc, char **argv, const struct connection_options *connection)
{
    struct pub_options options = {.connection = *connection, .ack = PUBSUB_ACK_ROUTED};
    int result = CLI_EXIT_DONE;
    switch (pub_options_read(&options, argc, argv)) {
    case OPTIONS_OK: result = pub_with(&options); break;
    case OPTIONS_HELP: break;
    case OPTIONS_WRONG: result = CLI_EXIT_USAGE; break;
    }
    pub_options_free(&options);
    return result;
}

const struct command pub_command = {"pub", "publish a message, or one per line of the input", run};
