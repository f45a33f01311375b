/* The entries of a report's list: of all that are shown to it, in any order, those with the greatest keys, so many and so
 * large as may be. An entry is a copy: what it speaks of may go meanwhile. One thread. Internal to the core. */
#ifndef BROKER_REPORT_LIST_H
#define BROKER_REPORT_LIST_H

#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

struct report_entry;

/* .entries_max and .bytes_max are set by the caller, the rest is zero. */
struct report_list {
    uint32_t entries_max;
    uint64_t bytes_max;             /* of all entries together */
    uint64_t total;                 /* how many were shown */
    uint64_t bytes;
    struct report_entry **entries;  /* a heap, the least key first */
    uint32_t count, cap;
    bool is_full;                   /* something had to go already */
};

/* One more was shown. Whether it belongs into the list by its key: then report_list_add() follows. */
bool report_list_see(struct report_list *list, uint64_t key);
/* Takes a copy of an encoded entry. */
void report_list_add(struct report_list *list, uint64_t key, mps_view entry);
/* Writes an array of the entries, the greatest key first, of equal ones who was shown first; the list is only good for being
 * freed then. */
void report_list_put(struct report_list *list, struct mps_out *out);
void report_list_free(struct report_list *list);

#endif
