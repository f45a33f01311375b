/* Runs simulations: each seed is a broker's core in a world of its own with up to a few dozen random clients.
 *
 *   sim [--seed N] [--seeds FROM COUNT] [--seconds S] [--steps N] [--seldom PERCENT] [--trace]
 *
 * Without --seed: 10,000 seeds from 1 on, or 60 s, whichever is over first. --seldom: of the messages, so many go to
 * one of many topics that come seldom, whose routes are not kept. Prints "N passed, N failed"; a failing seed is named
 * with the step and what was wrong, and --seed, with the same --seldom, replays it exactly. Exit status 1 if any
 * failed. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "run.h"

#define SEED_SECONDS 300 /* of real time: a seed that takes longer hangs */
#define FAILURES_SHOWN 20

struct options {
    uint64_t first, count;
    uint64_t seconds;
    uint32_t steps, seldom_percent;
    bool trace;
};

/* For the handlers of a crash, which must say where it happened. */
static volatile uint64_t now_seed;
static volatile uint32_t now_step;

static void on_signal(int number)
{
    char text[96];
    int len = snprintf(text, sizeof text, "\nsim: seed %llu, step %u: crashed or hangs\n", (unsigned long long)now_seed,
                       now_step);
    signal(number, SIG_DFL);
    if (write(STDERR_FILENO, text, (size_t)len) > 0) raise(number);
}

/* What the sanitizers ask for, if the program is built with one: their findings shall come by on_signal() too. */
void __asan_init(void) __attribute__((weak)); /* it has a report of its own for SIGSEGV */
const char *__asan_default_options(void);
const char *__ubsan_default_options(void);
const char *__asan_default_options(void)
{
    return "abort_on_error=1";
}
const char *__ubsan_default_options(void)
{
    return "abort_on_error=1:print_stacktrace=1";
}

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

/* Returns whether all was well. */
static bool run_seed(uint64_t seed, const struct options *options)
{
    static struct run run;
    now_seed = seed;
    alarm(SEED_SECONDS);
    run_open(&run, seed, options->trace);
    run.scene.seldom_percent = options->seldom_percent;
    if (options->trace) scene_print(&run.scene);
    for (now_step = 0; now_step < options->steps && !run.world.failed; now_step = now_step + 1) {
        if (options->trace) fprintf(stderr, "step %u\n", now_step);
        run_step(&run);
    }
    if (!run.world.failed) run_finish(&run);

    if (options->trace) print_figures(&run.model);
    if (!run.world.failed) run_close(&run);
    if (run.world.failed) printf("seed %llu, step %u: %s\n", (unsigned long long)seed, now_step, run.world.failure);
    return !run.world.failed;
}

static bool read_number(const char *text, uint64_t *number)
{
    char *end;
    *number = strtoull(text, &end, 10);
    return *text != '\0' && *end == '\0';
}

static bool read_options(int argc, char **argv, struct options *options)
{
    for (int i = 1; i < argc; i++) {
        uint64_t steps, percent;
        if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc && read_number(argv[i + 1], &options->first)) {
            options->count = 1;
            i += 1;
        } else if (strcmp(argv[i], "--seeds") == 0 && i + 2 < argc && read_number(argv[i + 1], &options->first) &&
                   read_number(argv[i + 2], &options->count)) {
            i += 2;
        } else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc && read_number(argv[i + 1], &options->seconds)) {
            i += 1;
        } else if (strcmp(argv[i], "--steps") == 0 && i + 1 < argc && read_number(argv[i + 1], &steps) &&
                   steps < UINT32_MAX) {
            options->steps = (uint32_t)steps;
            i += 1;
        } else if (strcmp(argv[i], "--seldom") == 0 && i + 1 < argc && read_number(argv[i + 1], &percent) &&
                   percent <= 100) {
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
    struct options options = {.first = 1, .count = 10000, .seconds = 60, .steps = 150};
    if (!read_options(argc, argv, &options)) return 2;
    signal(SIGABRT, on_signal);
    signal(SIGALRM, on_signal);
    if (__asan_init == NULL) signal(SIGSEGV, on_signal);
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    uint64_t passed = 0, failed = 0;
    for (uint64_t i = 0; i < options.count && failed < FAILURES_SHOWN; i++) {
        if (run_seed(options.first + i, &options)) passed++;
        else failed++;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if ((uint64_t)(now.tv_sec - start.tv_sec) >= options.seconds) break;
    }
    printf("%llu passed, %llu failed\n", (unsigned long long)passed, (unsigned long long)failed);
    fflush(stdout);
    if (failed > 0) _exit(1); /* what a failed seed holds was not freed: that is no leak worth a report */
    return 0;
}
