/* Answering requests, for `reply`. */
#ifndef CLI_REPLIER_H
#define CLI_REPLIER_H

#include "connect.h"
#include "message_options.h"

struct replier_terms {
    struct message_options body; /* of the answers */
    const char *topic;
    const char *command;      /* gets each request on its standard input, its output is the answer; NULL: echo */
    const char *group;        /* NULL: none */
    unsigned jobs;            /* how many commands at a time; 1..EXEC_JOBS_MAX */
    unsigned long long count; /* ends after so many answers; 0: no limit */
    bool no_reconnect;
};

/* Connects, answers and ends as the terms say. Returns the exit code. */
int replier_run(const struct connection_options *connection, const struct replier_terms *terms);

#endif
