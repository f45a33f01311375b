/* Sizes, counts, times and rates about as large as they are, for people. */
#ifndef CLI_ROUNDED_H
#define CLI_ROUNDED_H

#include <stdint.h>

#define ROUNDED_TEXT_MAX 32 /* bytes, with the NUL */

void rounded_size(char text[ROUNDED_TEXT_MAX], uint64_t bytes); /* "1023", "1.5m", "12g" */
void rounded_age(char text[ROUNDED_TEXT_MAX], uint64_t ms);     /* in the unit that fits: "90s", "47m", "5h", "3d" */
void rounded_lag(char text[ROUNDED_TEXT_MAX], uint64_t ms);     /* "35ms", "1.5s", then as an age */
void rounded_count(char text[ROUNDED_TEXT_MAX], uint64_t count); /* "99999", "123k", "1.23m"; units of 1000 */

/* Of something a second: "0", "0.03", "7.5", "340", "1.23m"; of bytes, as a size. */
void rounded_rate(char text[ROUNDED_TEXT_MAX], double per_s);
void rounded_size_rate(char text[ROUNDED_TEXT_MAX], double per_s);

#endif
