/* What one subscription has received of measuring messages: how many, which are missing, what the broker told of that,
 * and what was wrong. Publishers are told apart by their runs. */
#ifndef CLI_BENCH_TALLY_H
#define CLI_BENCH_TALLY_H

#include "bench_histogram.h"
#include "bench_payload.h"
#include "buffer.h"

/* All zero is an empty one. */
struct bench_tally {
    struct buffer runs; /* of struct bench_run, defined in bench_tally.c */
    size_t last_run;    /* the one of the last message, mostly that of the next one too */
    size_t open_runs;   /* those whose end has not come */
    uint64_t received, bytes;
    uint64_t missing; /* that the numbers leave out */
    uint64_t told;    /* that the broker said it had dropped */
    uint64_t wrong;   /* other content than was sent, a number that was there before, or none of our messages */
    uint64_t foreign; /* of these: none of our messages, or not recognizable any more */
    uint64_t last_sent_ns;
    uint64_t first_ns; /* when the first one was received */
};

void bench_tally_free(struct bench_tally *tally);

/* Says that a run will be received from its message 0 on; without, from the first one that comes. */
void bench_tally_expect(struct bench_tally *tally, uint32_t run);

/* Takes a message, and its latency if its clock is that of host: one for each moment of sending, as messages that are
 * sent together have the same. */
void bench_tally_message(struct bench_tally *tally, const void *payload, size_t len, uint16_t host,
                         struct bench_histogram *latency);

/* There are so many messages of a run: those that have not come are missing. */
void bench_tally_end(struct bench_tally *tally, uint32_t run, uint64_t number);

/* What was lost, as the numbers or the broker say, whichever is more: before the first message only it knows. */
uint64_t bench_tally_lost(const struct bench_tally *tally);

bool bench_tally_ended(const struct bench_tally *tally); /* of all runs that are known, at least one, the end came */

#endif
