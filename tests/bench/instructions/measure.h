/* What is counted: callgrind is told to switch counting at entry and exit of measured() and of each uncounted_*().
 * The latter must be called from inside the former alone. */
#ifndef INSTRUCTIONS_MEASURE_H
#define INSTRUCTIONS_MEASURE_H

#include <stdbool.h>

#define SEPARATE __attribute__((noinline))

extern bool measuring; /* run by measured() */

SEPARATE void measured(void (*run)(void *arg), void *arg);

/* Ends the program with a sentence on stderr. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
