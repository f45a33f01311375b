/* Runs simulations of several brokers: each seed is a life of them and of their clients.
 *
 *   sim_cluster [--seed N] [--seeds COUNT] [--from N] [--seconds S] [--steps N] [--twice] [--trace]
 *
 * Without --seed: 400 seeds from 1 on, or 60 s, whichever is over first. --twice: each seed is run once more, and must
 * do the same. Prints "N passed, N failed"; a failing seed is named with the step and what was wrong, and --seed, with
 * the same --steps, replays it exactly. Exit status 1 if any failed. */
#include <stdio.h>
#include <string.h>

#include "../sim/seeds.h"
#include "run.h"

struct options {
    uint64_t steps;
    bool twice, trace;
};

#define ULL(number) ((unsigned long long)(number))

/* How much was exercised. */
static void print_figures(const struct ledger *ledger)
{
    fprintf(stderr,
            "%u messages, %llu copies, %llu of them from other brokers, %llu from the stream, %llu acknowledged by it, "
            "%llu gaps\n",
            ledger->messages_count, ULL(ledger->copies), ULL(ledger->far_copies), ULL(ledger->stored_copies),
            ULL(ledger->acked), ULL(ledger->gaps));
}

/* Returns whether all was well. */
static bool run_once(uint64_t seed, const struct options *options, uint64_t *digest)
{
    static struct run run;
    run_open(&run, seed, options->trace);
    for (seeds_step = 0; seeds_step < options->steps && !run.town.failed; seeds_step = seeds_step + 1) run_step(&run);
    if (!run.town.failed) run_finish(&run);
    if (options->trace) print_figures(&run.ledger);
    if (!run.town.failed) run_close(&run);
    *digest = run_digest(&run);
    if (run.town.failed) printf("seed %llu, step %u: %s\n", ULL(seed), seeds_step, run.town.failure);
    return !run.town.failed;
}

static bool run_seed(uint64_t seed, void *arg)
{
    const struct options *options = arg;
    uint64_t digest, again;
    if (!run_once(seed, options, &digest)) return false;
    if (!options->twice) return true;
    if (!run_once(seed, options, &again)) return false;
    if (digest != again) printf("seed %llu does not do the same again\n", ULL(seed));
    return digest == again;
}

static bool read_options(char **argv, struct seeds *seeds, struct options *options)
{
    for (int i = 1; argv[i] != NULL; i++) {
        const char *next = argv[i + 1];
        bool takes_number = true;
        if (strcmp(argv[i], "--seed") == 0 && seeds_number(next, &seeds->first)) seeds->count = 1;
        else if (strcmp(argv[i], "--seeds") == 0 && seeds_number(next, &seeds->count)) takes_number = true;
        else if (strcmp(argv[i], "--from") == 0 && seeds_number(next, &seeds->first)) takes_number = true;
        else if (strcmp(argv[i], "--seconds") == 0 && seeds_number(next, &seeds->seconds)) takes_number = true;
        else if (strcmp(argv[i], "--steps") == 0 && seeds_number(next, &options->steps)) takes_number = true;
        else if (strcmp(argv[i], "--twice") == 0) takes_number = !(options->twice = true);
        else if (strcmp(argv[i], "--trace") == 0) takes_number = !(options->trace = true);
        else {
            fprintf(stderr,
                    "sim_cluster: do not understand '%s'\n"
                    "usage: sim_cluster [--seed N] [--seeds COUNT] [--from N] [--seconds S] [--steps N] [--twice] "
                    "[--trace]\n",
                    argv[i]);
            return false;
        }
        i += takes_number;
    }
    return true;
}

int main(int argc, char **argv)
{
    struct options options = {.steps = 60};
    struct seeds seeds = {
        .program = "sim_cluster", .first = 1, .count = 400, .seconds = 60, .run = run_seed, .arg = &options};
    if (argc < 1 || !read_options(argv, &seeds, &options)) return 2;
    seeds_run(&seeds);
    return 0;
}
