/* pubsub pub */
#include <string.h>

#include "cli.h"
#include "message.h"
#include "publisher.h"

static int refuse_too_long(struct publisher *publisher, uint64_t line, uint64_t len)
{
    char why[128];
    message_too_large(publisher->link.client, len, why, sizeof why);
    publisher_refuse(publisher, line, CLI_EXIT_REFUSED, why);
    return CLI_EXIT_DONE;
}

/* ---- lines ---- */

/* Copies the topic that a line begins with, up to its tab; *topic_len bytes. False: reported what is wrong with it. */
static bool take_key(struct publisher *publisher, const uint8_t *item, size_t len, uint64_t line,
                     char key[PUBSUB_TOPIC_MAX + 1], size_t *topic_len)
{
    char why[1024];
    const uint8_t *tab = memchr(item, '\t', len);
    if (!tab) {
        publisher_refuse(publisher, line, CLI_EXIT_REFUSED, "no tab between topic and message");
        return false;
    }
    *topic_len = (size_t)(tab - item);
    if (*topic_len > PUBSUB_TOPIC_MAX || memchr(item, '\0', *topic_len)) {
        const mps_view topic = {item, (uint32_t)*topic_len};
        explain_publish(publisher->link.client, PUBSUB_EINVAL, topic, 0, why, sizeof why);
        publisher_refuse(publisher, line, CLI_EXIT_REFUSED, why);
        return false;
    }
    memcpy(key, item, *topic_len);
    key[*topic_len] = '\0';
    return true;
}

static int send_line(struct publisher *publisher, uint8_t *item, size_t len, uint64_t line, struct buffer *scratch)
{
    const struct pub_options *options = publisher->options;
    char why[512], key[PUBSUB_TOPIC_MAX + 1];
    const char *topic = options->topic;
    if (options->keyed) { /* copied, for the payload's head will be written over its end */
        size_t topic_len;
        if (!take_key(publisher, item, len, line, key, &topic_len)) return CLI_EXIT_DONE;
        topic = key;
        item += topic_len + 1;
        len -= topic_len + 1;
    }
    const uint8_t *payload;
    size_t payload_len;
    if (!body_encode(&options->body.form, item, len, scratch, &payload, &payload_len, why, sizeof why)) {
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
            result = message_input_more(&publisher->link, source, options->file);
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

static int send_copies(struct publisher *publisher, const struct message *message)
{
    enum { BETWEEN_LOOKS = 1024 }; /* messages: often enough for signals and answers, too seldom to cost anything */
    const struct pub_options *options = publisher->options;
    uint64_t count = options->count ? options->count : 1;
    int result = CLI_EXIT_DONE;
    for (uint64_t i = 0; i < count && result == CLI_EXIT_DONE && !publisher->stop; i++) {
        result = publisher_send(publisher, options->topic, message->payload, message->len, 0);
        if (result == CLI_EXIT_DONE && i % BETWEEN_LOOKS == BETWEEN_LOOKS - 1) {
            publisher_progress(publisher);
            result = link_process(&publisher->link);
        }
    }
    return result;
}

/* The whole input as one message. */
static int send_input(struct publisher *publisher, int fd)
{
    const struct pub_options *options = publisher->options;
    struct message message = {0};
    int result = message_from_input(&message, &options->body.form, &publisher->link, fd, options->file);
    if (result == CLI_EXIT_DONE) result = send_copies(publisher, &message);
    message_free(&message);
    return result;
}

static int send_all_lines(struct publisher *publisher, int fd)
{
    const struct pub_options *options = publisher->options;
    struct source source;
    size_t max = body_input_max(&options->body.form, pubsub_max_payload(publisher->link.client));
    if (options->keyed) max += PUBSUB_TOPIC_MAX + 1;
    source_open(&source, fd, options->nul ? '\0' : '\n', max);
    int result = send_lines(publisher, &source);
    source_close(&source);
    return result;
}

/* ---- the command ---- */

/* message: the one from the command line, if there is one there. */
static int connect_and_send(const struct pub_options *options, const struct message *message, int fd)
{
    struct publisher publisher;
    int result = publisher_open(&publisher, options);
    if (result == CLI_EXIT_DONE) {
        result = options->message ? send_copies(&publisher, message)
                 : options->lines ? send_all_lines(&publisher, fd)
                                  : send_input(&publisher, fd);
        result = publisher_finish(&publisher, result);
    }
    publisher_close(&publisher);
    return result;
}

static int pub_with(const struct pub_options *options)
{
    struct message message = {0};
    int result = CLI_EXIT_DONE, fd = message_input_open(options->file);
    if (fd < 0) return CLI_EXIT_ERROR;
    if (options->message) result = message_from_argument(&message, &options->body.form, options->message);
    if (result == CLI_EXIT_DONE) result = connect_and_send(options, &message, fd);
    message_free(&message);
    message_input_close(options->file, fd);
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
