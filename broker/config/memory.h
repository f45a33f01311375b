/* How much memory there is for this process. */
#ifndef BROKER_MEMORY_H
#define BROKER_MEMORY_H

#include <stdint.h>

/* In bytes, the least of: the machine's memory, and the limits of the process's cgroups (version 1 and 2) and of those
 * above them. What can't be read sets no limit; at least 1.
 *   root  "", or for tests a directory that stands for /: its proc/self/cgroup and sys/fs/cgroup are read. */
uint64_t memory_available_bytes(const char *root);

#endif
