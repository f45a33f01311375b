/* Publishing with results: keeps the rate, waits for room, and knows which line of the input a refusal is about. */
#ifndef CLI_PUBLISHER_H
#define CLI_PUBLISHER_H

#include "buffer.h"
#include "connect.h"
#include "pub_options.h"
#include "wire.h"

struct publisher {
    struct link link;
    const struct pub_options *options;
    struct pubsub_publish_options terms;
    uint64_t sent;          /* messages that the library has taken */
    uint64_t refused;       /* of them, by the broker */
    uint64_t next_ns;       /* with a rate: when the next may go */
    uint64_t least_matched; /* of all that were answered */
    struct buffer places;   /* of struct place: which line has which publish id */
    size_t first_place;     /* the earlier ones are settled */
    int failure;            /* exit code because of what was refused; CLI_EXIT_DONE if nothing was */
    bool stop;              /* a refusal that the rest would get, too */
};

/* Connects. Returns CLI_EXIT_DONE, or complains and returns another code; publisher_close() in any case. */
int publisher_open(struct publisher *publisher, const struct pub_options *options);
void publisher_close(struct publisher *publisher);

/* Publishes one message. line: its number in the input, 0 if it isn't a line. What is wrong with this one message is
 * reported and noted in .failure. Returns CLI_EXIT_DONE to go on, or the code to end with. */
int publisher_send(struct publisher *publisher, const char *topic, const uint8_t *payload, size_t len, uint64_t line);

/* Reports that a message can't be sent, and notes it in .failure. */
void publisher_refuse(struct publisher *publisher, uint64_t line, int failure, const char *why);

/* Why the library refused a message with this PUBSUB_E* error, as a sentence. */
void explain_publish(const pubsub *client, int error, mps_view topic, size_t len, char *why, size_t cap);

/* Shows on a terminal how far a long work is. To be called often; publisher_send() does it while it waits. */
void publisher_progress(const struct publisher *publisher);

/* Waits until all that was published is settled. result: why sending ended, CLI_EXIT_DONE if all was sent.
 * Returns the code to end with. */
int publisher_finish(struct publisher *publisher, int result);

#endif
