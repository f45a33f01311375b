/* Running many seeds, as every simulator does: one after the other, until all are done, the time is over, or too many have
 * failed. A seed that crashes or hangs is named before the program ends by that. Thread: one. */
#ifndef SEEDS_H
#define SEEDS_H

#include <stdbool.h>
#include <stdint.h>

struct seeds {
    const char *program;
    uint64_t first, count;
    uint64_t seconds;       /* of real time: no further seed begins after it */
    /* Returns whether all was well; else it has said what was wrong. */
    bool (*run)(uint64_t seed, void *arg);
    void *arg;
};

/* Where the seed is: set by what runs it, and named if it crashes. */
extern volatile uint32_t seeds_step;

/* Prints "N passed, N failed". If any failed it ends the program at once, with status 1: what such a seed holds was not freed,
 * and is no leak worth a report. */
void seeds_run(const struct seeds *seeds);
/* Of an option. text NULL: there is none. Returns whether it is one. */
bool seeds_number(const char *text, uint64_t *number);

#endif
