#include "seeds.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define SEED_SECONDS 300 /* of real time: a seed that takes longer hangs */
#define FAILURES_SHOWN 20

volatile uint32_t seeds_step;

/* For the handlers of a crash, which must say where it happened. */
static const char *program;
static volatile uint64_t now_seed;

static void on_signal(int number)
{
    char text[96];
    int len = snprintf(text, sizeof text, "\n%s: seed %llu, step %u: crashed or hangs\n", program,
                       (unsigned long long)now_seed, seeds_step);
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

static bool run_seed(const struct seeds *seeds, uint64_t seed)
{
    now_seed = seed;
    alarm(SEED_SECONDS);
    return seeds->run(seed, seeds->arg);
}

void seeds_run(const struct seeds *seeds)
{
    program = seeds->program;
    signal(SIGABRT, on_signal);
    signal(SIGALRM, on_signal);
    if (__asan_init == NULL) signal(SIGSEGV, on_signal);
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    uint64_t passed = 0, failed = 0;
    for (uint64_t i = 0; i < seeds->count && failed < FAILURES_SHOWN; i++) {
        if (run_seed(seeds, seeds->first + i)) passed++;
        else failed++;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if ((uint64_t)(now.tv_sec - start.tv_sec) >= seeds->seconds) break;
    }
    printf("%llu passed, %llu failed\n", (unsigned long long)passed, (unsigned long long)failed);
    fflush(stdout);
    if (failed > 0) _exit(1);
}

bool seeds_number(const char *text, uint64_t *number)
{
    char *end;
    *number = text != NULL ? strtoull(text, &end, 10) : 0;
    return text != NULL && *text != '\0' && *end == '\0';
}
