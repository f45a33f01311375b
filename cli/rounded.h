/* Sizes, counts and times about as large as they are, for people. */
#ifndef CLI_ROUNDED_H
#define CLI_ROUNDED_H

#include <stdint.h>

#define ROUNDED_TEXT_MAX 32 /* bytes, with the NUL */

void rounded_size(char text[ROUNDED_TEXT_MAX], uint64_t bytes); /* "1023", "1.5m", "12g" */
void rounded_age(char text[ROUNDED_TEXT_MAX], uint64_t ms);     /* in the unit that fits: "90s", "47m", "5h", "3d" */
void rounded_lag(char text[ROUNDED_TEXT_MAX], uint64_t ms);     /* "35ms", "1.5s", then as an age */

#endif
