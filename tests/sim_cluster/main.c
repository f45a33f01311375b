/* Runs simulations of several brokers: each seed is a life of them and of their clients.
 *
 *   sim_cluster [--seed N] [--seeds COUNT] [--from N] [--seconds S] [--steps N] [--twice] [--trace]
 *
 * Without --seed: 400 seeds from 1 on, or 60 s, whichever is over first. --twice: each seed is run once more, and must
 * do the same. Prints "N passed, N failed"; a failing seed is named with the step and what was wrong, and --seed, with
 * the same --steps, replays it exactly. Exit status 1 if any failed. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "run.h"

#define SEED_SECONDS 120 /* of real time: a seed that takes longer hangs */
#define FAILURES_SHOWN 20

struct options {
    uint64_t first, count, seconds;
    uint64_t steps;
    bool twice, trace;
};

/* For the handlers of a crash, which must say where it happened. */
static volatile uint64_t now_seed, now_step;

static void on_signal(int number)
{
    char text[96];
    int len = snprintf(text, sizeof text, "\nsim_cluster: seed %llu, step %llu: crashed or hangs\n",
                       (unsigned long long)now_seed, (unsigned long long)now_step);
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
static bool run_seed(uint64_t seed, const struct options *options, uint64_t *digest)
{
    static struct run run;
    now_seed = seed;
    alarm(SEED_SECONDS);
    run_open(&run, seed, options->trace);
    for (now_step = 0; now_step < options->steps && !run.town.failed; now_step = now_step + 1) run_step(&run);
    if (!run.town.failed) run_finish(&run);
    if (options->trace) print_figures(&run.ledger);
    if (!run.town.failed) run_close(&run);
    *digest = run_digest(&run);
    if (run.town.failed)
        printf("seed %llu, step %llu: %s\n", (unsigned long long)seed, (unsigned long long)now_step, run.town.failure);
    return !run.town.failed;
}

static bool run_seeds(uint64_t seed, const struct options *options)
{
    uint64_t digest, again;
    if (!run_seed(seed, options, &digest)) return false;
    if (!options->twice) return true;
    if (!run_seed(seed, options, &again)) return false;
    if (digest != again) printf("seed %llu does not do the same again\n", (unsigned long long)seed);
    return digest == again;
}

static bool read_number(const char *text, uint64_t *number)
{
    char *end;
    *number = text != NULL ? strtoull(text, &end, 10) : 0;
    return text != NULL && *text != '\0' && *end == '\0';
}

static bool read_options(int argc, char **argv, struct options *options)
{
    for (int i = 1; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : NULL;
        bool takes_number = true;
        if (strcmp(argv[i], "--seed") == 0 && read_number(next, &options->first)) options->count = 1;
        else if (strcmp(argv[i], "--seeds") == 0 && read_number(next, &options->count)) takes_number = true;
        else if (strcmp(argv[i], "--from") == 0 && read_number(next, &options->first)) takes_number = true;
        else if (strcmp(argv[i], "--seconds") == 0 && read_number(next, &options->seconds)) takes_number = true;
        else if (strcmp(argv[i], "--steps") == 0 && read_number(next, &options->steps)) takes_number = true;
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
    struct options options = {.first = 1, .count = 400, .seconds = 60, .steps = 60};
    if (!read_options(argc, argv, &options)) return 2;
    signal(SIGABRT, on_signal);
    signal(SIGALRM, on_signal);
    if (__asan_init == NULL) signal(SIGSEGV, on_signal);
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    uint64_t passed = 0, failed = 0;
    for (uint64_t i = 0; i < options.count && failed < FAILURES_SHOWN; i++) {
        if (run_seeds(options.first + i, &options)) passed++;
        else failed++;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if ((uint64_t)(now.tv_sec - start.tv_sec) >= options.seconds) break;
    }
    printf("%llu passed, %llu failed\n", (unsigned long long)passed, (unsigned long long)failed);
    fflush(stdout);
    if (failed > 0) _exit(1); /* what a failed seed holds was not freed: that is no leak worth a report */
    return 0;
}
