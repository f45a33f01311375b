#include "nearest.h"

#include <stddef.h>
#include <string.h>

/* The edits (a letter put in, left out, changed, or two swapped) that lead from a to b. Both at most NEAREST_NAME_MAX.
 */
static unsigned edits_between(const char *a, const char *b)
{
    size_t a_len = strlen(a), b_len = strlen(b);
    unsigned d[NEAREST_NAME_MAX + 1][NEAREST_NAME_MAX + 1];
    for (size_t i = 0; i <= a_len; i++) d[i][0] = (unsigned)i;
    for (size_t j = 0; j <= b_len; j++) d[0][j] = (unsigned)j;
    for (size_t i = 1; i <= a_len; i++) {
        for (size_t j = 1; j <= b_len; j++) {
            unsigned best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            if (d[i - 1][j] + 1 < best) best = d[i - 1][j] + 1;
            if (d[i][j - 1] + 1 < best) best = d[i][j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < best) {
                best = d[i - 2][j - 2] + 1;
            }
            d[i][j] = best;
        }
    }
    return d[a_len][b_len];
}

const char *nearest_name(const char *typed, const char *const *names)
{
    const char *nearest = NULL;
    unsigned least = 3; /* three edits or more is another word */
    if (strlen(typed) > NEAREST_NAME_MAX) return NULL;
    for (; *names; names++) {
        unsigned edits = edits_between(typed, *names);
        /* As many edits as letters is another word, too. */
        if (edits < least && edits < strlen(*names)) {
            least = edits;
            nearest = *names;
        }
    }
    return nearest;
}
