/* The connections of a measurement, polled together. */
#ifndef CLI_BENCH_LINKS_H
#define CLI_BENCH_LINKS_H

#include "connect.h"

struct bench_links {
    struct link **list;
    struct pollfd *fds; /* one for each, behind that of the signals */
    size_t count, cap;
    uint64_t all_ns; /* when all are to be looked at, whether or not something came: for the library's timers */
};

/* Room for cap connections, also of descriptors as far as the system lets us. Out of memory ends the program. */
void bench_links_open(struct bench_links *links, size_t cap);
void bench_links_close(struct bench_links *links); /* frees; the connections are not ours */

void bench_links_add(struct bench_links *links, struct link *link);

/* Waits at most timeout_ms (-1: no limit) until something comes on one of them, and lets the library work on it.
 * Returns as link_step(); once a signal was caught it does not wake any more. */
int bench_links_step(struct bench_links *links, int64_t timeout_ms);

#endif
