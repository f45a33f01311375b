/* Judges messages for the differential test. Standard input holds records of four strings: filter, topic, props and
 * payload, each behind its length in four bytes, big-endian; a length of 2^32 - 1 is an absent string. For each record
 * a line: 1 or 0, or the column and the text of what is wrong with the filter. */
#include <stdio.h>
#include <stdlib.h>

#include "filter.h"

#define ABSENT UINT32_MAX

/* The next string, in memory of its own as long as it is, so that a sanitizer sees what goes beyond. False at the end.
 */
static bool read_string(mps_view *string)
{
    uint8_t head[4];
    if (fread(head, 1, sizeof head, stdin) != sizeof head) return false;
    uint32_t len = (uint32_t)head[0] << 24 | (uint32_t)head[1] << 16 | (uint32_t)head[2] << 8 | head[3];
    *string = (mps_view){0};
    if (len == ABSENT) return true;
    uint8_t *bytes = malloc(len > 0 ? len : 1);
    if (bytes == NULL || fread(bytes, 1, len, stdin) != len) abort();
    *string = (mps_view){bytes, len};
    return true;
}

static void judge(mps_view text, mps_view topic, mps_view props, mps_view payload)
{
    struct mps_filter_error error = {0};
    void *memory = malloc(mps_filter_size(text));
    if (memory == NULL) abort();
    const struct mps_filter *filter = mps_filter_compile(memory, text, &error);
    if (filter == NULL) printf("%u %s\n", error.column, error.text);
    else printf("%d\n", mps_filter_matches(filter, topic, props, payload));
    free(memory);
}

int main(void)
{
    enum { FILTER, TOPIC, PROPS, PAYLOAD, FIELDS };
    mps_view record[FIELDS];
    for (;;) {
        for (int i = 0; i < FIELDS; i++) {
            if (!read_string(&record[i])) return i == 0 && fflush(stdout) == 0 ? 0 : 1;
        }
        judge(record[FILTER], record[TOPIC], record[PROPS], record[PAYLOAD]);
        for (int i = 0; i < FIELDS; i++) free((void *)(uintptr_t)record[i].ptr);
    }
}
