/* What the command line asks for. */
#pragma once
#include "protocol.h"
#include <sys/types.h>

struct options {
    const struct protocol *protocol;
    const struct mode *mode;
    const char *url;
    const char *to; /* where subscribers connect; NULL: there, too */
    const char *ca; /* of tls:// */
    pid_t pid; /* the broker's; 0: not said, and nothing of its CPU and memory is known */
    uint32_t publishers, subscribers, topics, wildcards, subscriptions, payload_bytes;
    uint32_t in_flight, batch; /* messages of a publisher: unacknowledged at most, written at once at least */
    uint64_t messages;         /* to be stored, then read */
    const char *sink;          /* the file of the sink that we are to be */
    double seconds, warmup_s;
    uint64_t window_bytes, seed, rate; /* rate: messages a second of all publishers, 0: as fast as the window allows */
    bool interleave, relay, resume;
};

/* Reads the command line; what is wrong with it ends the program with code 2 and one sentence. */
void options_read(int argc, char **argv, struct options *options);
