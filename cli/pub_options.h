/* What `pubsub pub` was asked to do. */
#ifndef CLI_PUB_OPTIONS_H
#define CLI_PUB_OPTIONS_H

#include <pubsub/pubsub.h>

#include "connect.h"
#include "message_options.h"

struct pub_options {
    struct connection_options connection;
    const char *topic;   /* NULL if keyed */
    const char *message; /* NULL: standard input, or file */
    const char *file;
    struct message_options body;
    const char *item;           /* what a message of the input is called; NULL: a line */
    bool lines, keyed, nul;     /* lines is set if one of the others is */
    unsigned long long count;   /* messages in all; 0: not said */
    unsigned long long rate;    /* messages a second; 0: as fast as it goes */
    unsigned long long require; /* subscriptions that must match each; 0: none need to */
    enum pubsub_ack ack;
    bool retain, no_reconnect;
};

/* Fills *options. Returns OPTIONS_HELP after printing the help, OPTIONS_WRONG after complaining. */
enum options_result pub_options_read(struct pub_options *options, int argc, char **argv);
void pub_options_free(struct pub_options *options);

#endif
