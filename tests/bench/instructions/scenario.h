/* One thing whose cost is counted. */
#ifndef INSTRUCTIONS_SCENARIO_H
#define INSTRUCTIONS_SCENARIO_H

#include <stddef.h>
#include <stdint.h>

struct scenario {
    const char *name;
    uint64_t messages; /* how many, when nobody says */
    /* Prepares, measures and verifies messages of them. Returns how many units were done. */
    uint64_t (*play)(uint64_t messages, const void *arg);
    const void *arg;
    const char *unit;
};

extern const struct scenario broker_scenarios[], session_scenarios[], client_scenarios[],
    stored_scenarios[];

/* Those of this program, ended by NULL; each is ended by a .name NULL. */
extern const struct scenario *const scenario_tables[];

#endif
