/* The environment of a command that handles a message: ours, and
 *   PUBSUB_TOPIC        the topic
 *   PUBSUB_STREAM       the number of its durable stream, PUBSUB_SEQ its position there, and PUBSUB_TRIES the how manieth
 *                       time it is sent; none of them if it comes from no stream
 *   PUBSUB_HEADER_name  each header; in its name what is no letter, digit or '_' is '_'. A text up to its first NUL,
 *                       any other value as JSON. */
#ifndef CLI_ENVIRONMENT_H
#define CLI_ENVIRONMENT_H

#include <pubsub/pubsub.h>

#include "buffer.h"

/* All zero is an empty one. */
struct environment {
    struct buffer text;    /* "NAME=value", one after the other, each with its NUL */
    struct buffer strings; /* of char *: to each of them, then NULL */
};

void environment_fill(struct environment *environment, const struct pubsub_message *message);
char **environment_strings(const struct environment *environment); /* for exec: borrowed */
void environment_free(struct environment *environment);

#endif
