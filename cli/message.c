#include "message.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

#define WHY_MAX 512 /* bytes of a clause that says what is wrong with a body */

void message_free(struct message *message)
{
    source_close(&message->source);
    buffer_free(&message->scratch);
}

bool message_arguments(const char *command, char **rest, int rest_count, const char *file, bool lines,
                       const char **text)
{
    bool dash = rest_count > 0 && strcmp(rest[0], "-") == 0;
    *text = rest_count > 0 && !dash ? rest[0] : NULL;
    if (rest_count > 1) {
        complain("too many arguments: '%s'; a message with blanks must be quoted", rest[1]);
    } else if (file && *text) {
        complain("both MSG and --file are given; see '%s --help'", command);
    } else if (rest_count == 0 && !file && !lines && isatty(STDIN_FILENO)) {
        complain("no message: give MSG or --file, or pipe it in; see '%s --help'", command);
    } else {
        return true;
    }
    return false;
}

int message_input_open(const char *file)
{
    if (!file) return STDIN_FILENO;
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) complain("cannot open %s: %s", file, strerror(errno));
    return fd;
}

void message_input_close(const char *file, int fd)
{
    if (file) close(fd);
}

static const char *name_of(const char *file)
{
    return file ? file : "standard input";
}

int message_input_more(struct link *link, struct source *source, const char *file)
{
    struct pollfd input = {.fd = source->fd, .events = POLLIN};
    int result = link_step(link, &input, 1, -1);
    if (result != CLI_EXIT_DONE || input.revents == 0) return result;
    int error = source_read(source);
    if (error) {
        complain("cannot read %s: %s", name_of(file), strerror(error));
        return CLI_EXIT_ERROR;
    }
    return CLI_EXIT_DONE;
}

void message_too_large(const pubsub *client, uint64_t len, char *why, size_t cap)
{
    snprintf(why, cap, "too large: %" PRIu64 " bytes, the broker's limit for a payload is %" PRIu64, len,
             pubsub_max_payload(client));
}

int message_from_argument(struct message *message, const struct body_form *form, const char *text)
{
    static const uint8_t headroom[BODY_HEADROOM];
    char why[WHY_MAX];
    struct buffer *bytes = &message->source.buffer;
    size_t len = strlen(text);
    buffer_append(bytes, headroom, sizeof headroom);
    buffer_append(bytes, text, len);
    if (!body_encode(form, bytes->data + BODY_HEADROOM, len, &message->scratch, &message->payload, &message->len, why,
                     sizeof why)) {
        complain("MSG is %s", why);
        return CLI_EXIT_USAGE;
    }
    if (form->kind == BODY_TEXT && !form->hex && isatty(STDERR_FILENO) && body_looks_like_json(text)) {
        complain("MSG looks like JSON and is sent as text; with -j it is sent as a document");
    }
    return CLI_EXIT_DONE;
}

int message_from_input(struct message *message, const struct body_form *form, struct link *link, int fd,
                       const char *file)
{
    char why[WHY_MAX];
    uint64_t len;
    uint8_t *item;
    enum source_result got;
    source_open(&message->source, fd, SOURCE_WHOLE, body_input_max(form, pubsub_max_payload(link->client)));
    while ((got = source_next(&message->source, &item, &len)) == SOURCE_MORE) {
        int result = message_input_more(link, &message->source, file);
        if (result != CLI_EXIT_DONE) return result;
    }
    if (got == SOURCE_TOO_LONG) {
        message_too_large(link->client, len, why, sizeof why);
        complain("%s", why);
        return CLI_EXIT_REFUSED;
    }
    if (body_encode(form, item, (size_t)len, &message->scratch, &message->payload, &message->len, why, sizeof why)) {
        return CLI_EXIT_DONE;
    }
    complain("%s is %s", name_of(file), why);
    return CLI_EXIT_ERROR;
}
