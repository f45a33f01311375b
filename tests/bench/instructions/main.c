/* Runs one scenario, so that callgrind can count what it executes:
 *
 *   bench_instructions SCENARIO [--messages N]
 *   bench_instructions --list        names of all scenarios
 *   bench_instructions --built       how: the build's type, and the compiler
 *
 * Prints "SCENARIO COUNT UNIT": what the instructions are to be divided by. Exit status 1 if not everything came out
 * that had to, 2 for wrong arguments. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scenario.h"

#define MESSAGES_MAX 100000000

static int list(void)
{
    for (const struct scenario *const *table = scenario_tables; *table != NULL; table++) {
        for (const struct scenario *s = *table; s->name != NULL; s++) puts(s->name);
    }
    return 0;
}

/* Minor versions of a compiler are taken to generate the same code. */
static int say_built(void)
{
    puts(BENCH_BUILD);
#ifdef __clang__
    printf("clang %d\n", __clang_major__);
#else
    printf("gcc %d\n", __GNUC__);
#endif
    return 0;
}

static const struct scenario *find(const char *name)
{
    for (const struct scenario *const *table = scenario_tables; *table != NULL; table++) {
        for (const struct scenario *s = *table; s->name != NULL; s++) {
            if (strcmp(s->name, name) == 0) return s;
        }
    }
    return NULL;
}

static uint64_t read_messages(const char *text)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || text[0] < '0' || text[0] > '9' || number < 1 || number > MESSAGES_MAX) {
        fprintf(stderr, "bench_instructions: --messages is a number from 1 to %d, not '%s'\n", MESSAGES_MAX, text);
        exit(2);
    }
    return number;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--list") == 0) return list();
    if (argc == 2 && strcmp(argv[1], "--built") == 0) return say_built();
    if (argc != 2 && !(argc == 4 && strcmp(argv[2], "--messages") == 0)) {
        fputs("usage: bench_instructions SCENARIO [--messages N] | --list | --built\n", stderr);
        return 2;
    }
    const struct scenario *scenario = find(argv[1]);
    if (scenario == NULL) {
        fprintf(stderr, "bench_instructions: there is no scenario '%s', see --list\n", argv[1]);
        return 2;
    }
    uint64_t messages = argc == 4 ? read_messages(argv[3]) : scenario->messages;
    uint64_t units = scenario->play(messages, scenario->arg);
    printf("%s %" PRIu64 " %s\n", scenario->name, units, scenario->unit);
    return 0;
}
