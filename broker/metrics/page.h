/* What is known of a broker as a page for Prometheus: its text format, version 0.0.4. One thread. */
#ifndef METRICS_PAGE_H
#define METRICS_PAGE_H

#include "overview.h"

#define PAGE_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define PAGE_UNKNOWN UINT64_MAX /* a number that isn't known: it has no place on the page */

struct page_process {
    uint64_t cpu_ms, started_ms; /* Unix time */
    uint64_t descriptors, descriptors_most;
};

/* How late the loop came to what was due: the last of them is for whatever is later than the others. */
#define PAGE_DELAYS 8
extern const uint64_t page_delays_us[PAGE_DELAYS - 1];
struct page_delays {
    uint64_t count[PAGE_DELAYS]; /* up to page_delays_us[i], and more than the one before */
    uint64_t total_us;
};

struct page_source {
    const struct overview *overview;
    const struct broker_limits *limits;
    const struct listener_figures *listeners;
    size_t listeners_count;
    const struct host_figures *host;
    const struct page_process *process;
    const struct page_delays *delays;
};

/* Returns the page, for free(), with a NUL behind its *len bytes. NULL: there is no memory for it. */
char *page_write(const struct page_source *source, size_t *len);

#endif
