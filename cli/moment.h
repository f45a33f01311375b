/* Moments as people write them: ISO 8601, always in UTC. */
#ifndef CLI_MOMENT_H
#define CLI_MOMENT_H

#include <stdbool.h>
#include <stdint.h>

#define MOMENT_TEXT_MAX 48 /* bytes of a written moment, with its NUL */

/* "2026-11-27T01:44:55.123Z" or shorter: without the Z, the fraction, the seconds, the time of day; a blank may stand
 * for the T. Unix time in ms, from 1970 on. False if it isn't one; *ms is untouched then. */
bool moment_read(const char *text, uint64_t *ms);

/* The seconds of a moment, without fraction and Z: "2026-11-27T01:44:55". False: no calendar goes so far. */
bool moment_write_second(char text[MOMENT_TEXT_MAX], uint64_t second);

/* "2026-11-27T01:44:55.123Z"; "?" if no calendar goes so far. */
void moment_write(char text[MOMENT_TEXT_MAX], uint64_t ms);

#endif
