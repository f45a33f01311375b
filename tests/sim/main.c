/* Runs simulations: each seed is a broker's core in a world of its own with up to a few dozen random clients.
 *
 *   sim [--seed N] [--seeds FROM COUNT] [--seconds S] [--steps N] [--seldom PERCENT] [--trace]
 *
 * Without --seed: 10,000 seeds from 1 on, or 60 s, whichever is over first. --seldom: of the messages, so many go to
 * one of many topics that come seldom, whose routes are not kept. Prints "N passed, N failed"; a failing seed is named
 * with the step and what was wrong, and --seed, with the same --seldom, replays it exactly. Exit status 1 if any
 * failed. */
#include <stdio.h>
#include <string.h>

#include "run.h"
#include "seeds.h"

struct options {
    uint32_t steps, seldom_percent;
    bool trace;
};

/* How much was exercised. */
static void print_figures(const struct model *model)
{
    fprintf(stderr, "%llu frames in, %llu messages out, %llu of them by groups, %llu retained, %llu gaps, lost",
            ULL(model->frames_in), ULL(model->frames_out), ULL(model->groups_out), ULL(model->retained_out),
            ULL(model->gaps_out));
    for (int reason = 1; reason < QUEUE_REASONS; reason++)
        fprintf(stderr, " %d: %llu", reason, ULL(model->lost_out[reason]));
    fprintf(stderr,
            ", %llu commits, %llu failed, %llu crashes, %llu readers, %llu stored messages out, %llu again, %llu acks, "
            "%llu dead, %llu caught up",
            ULL(model->commits_out), ULL(model->fails_out), ULL(model->crashes), ULL(model->readers_out),
            ULL(model->stored_out), ULL(model->redelivered_out), ULL(model->acks_in), ULL(model->dead_out),
            ULL(model->caught_up_out));
    fprintf(stderr, ", %llu snapshots, %llu drains, %llu wills, %llu held, %llu too slow\n", ULL(model->snapshots_out),
            ULL(model->drains_out), ULL(model->wills_out), ULL(model->holds_out), ULL(model->byes_slow));
}

static bool run_seed(uint64_t seed, void *arg)
{
    static struct run run;
    const struct options *options = arg;
    run_open(&run, seed, options->trace);
    run.scene.seldom_percent = options->seldom_percent;
    if (options->trace) scene_print(&run.scene);
    for (seeds_step = 0; seeds_step < options->steps && !run.world.failed; seeds_step = seeds_step + 1) {
        if (options->trace) fprintf(stderr, "step %u\n", seeds_step);
        run_step(&run);
    }
    if (!run.world.failed) run_finish(&run);

    if (options->trace) print_figures(&run.model);
    if (!run.world.failed) run_close(&run);
    if (run.world.failed) printf("seed %llu, step %u: %s\n", ULL(seed), seeds_step, run.world.failure);
    return !run.world.failed;
}

static bool read_options(char **argv, struct seeds *seeds, struct options *options)
{
    for (int i = 1; argv[i] != NULL; i++) {
        uint64_t steps, percent;
        if (strcmp(argv[i], "--seed") == 0 && seeds_number(argv[i + 1], &seeds->first)) {
            seeds->count = 1;
            i += 1;
        } else if (strcmp(argv[i], "--seeds") == 0 && seeds_number(argv[i + 1], &seeds->first) &&
                   seeds_number(argv[i + 2], &seeds->count)) {
            i += 2;
        } else if (strcmp(argv[i], "--seconds") == 0 && seeds_number(argv[i + 1], &seeds->seconds)) {
            i += 1;
        } else if (strcmp(argv[i], "--steps") == 0 && seeds_number(argv[i + 1], &steps) && steps < UINT32_MAX) {
            options->steps = (uint32_t)steps;
            i += 1;
        } else if (strcmp(argv[i], "--seldom") == 0 && seeds_number(argv[i + 1], &percent) && percent <= 100) {
            options->seldom_percent = (uint32_t)percent;
            i += 1;
        } else if (strcmp(argv[i], "--trace") == 0) {
            options->trace = true;
        } else {
            fprintf(
                stderr,
                "sim: do not understand '%s'\n"
                "usage: sim [--seed N] [--seeds FROM COUNT] [--seconds S] [--steps N] [--seldom PERCENT] [--trace]\n",
                argv[i]);
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    struct options options = {.steps = 150};
    struct seeds seeds = {
        .program = "sim", .first = 1, .count = 10000, .seconds = 60, .run = run_seed, .arg = &options};
    if (argc < 1 || !read_options(argv, &seeds, &options)) return 2;
    seeds_run(&seeds);
    return 0;
}
