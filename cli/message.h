/* The one message that a user gives: as an argument, in a file or on standard input. */
#ifndef CLI_MESSAGE_H
#define CLI_MESSAGE_H

#include "body.h"
#include "connect.h"
#include "source.h"

/* All zero is an empty one. */
struct message {
    struct source source;
    struct buffer scratch;
    const uint8_t *payload; /* in one of the two */
    size_t len;
};

void message_free(struct message *message);

/* The arguments behind the topic, and whether it is clear where the message comes from. Sets *text to MSG, or to NULL
 * if it comes from file or standard input. lines: it is not one message. False: complained; command is for that. */
bool message_arguments(const char *command, char **rest, int rest_count, const char *file, bool lines,
                       const char **text);

/* Where messages are read from: a file, or with NULL standard input. -1: complained. To be closed by
 * message_input_close(). */
int message_input_open(const char *file);
void message_input_close(const char *file, int fd);

/* Reads the next block of an input, as soon as there is one; meanwhile the connection is looked after. file: its name,
 * or NULL. Returns as link_step(). */
int message_input_more(struct link *link, struct source *source, const char *file);

/* From the command line. To be done before anything is connected to: what is wrong with it is wrong usage.
 * Returns an exit code; complained unless it is CLI_EXIT_DONE. */
int message_from_argument(struct message *message, const struct body_form *form, const char *text);

/* The whole of an input. Returns as message_from_argument(), or as link_step(). */
int message_from_input(struct message *message, const struct body_form *form, struct link *link, int fd,
                       const char *file);

/* "too large: ...", for a payload of len bytes. */
void message_too_large(const pubsub *client, uint64_t len, char *why, size_t cap);

#endif
