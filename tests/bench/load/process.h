/* What the system knows about the broker's process. */
#pragma once
#include "base.h"
#include <sys/types.h>

struct process {
    pid_t pid; /* 0: not known, and everything below is so */
    clockid_t clock;
};

void process_find(struct process *process, pid_t pid);
uint64_t process_cpu_ns(const struct process *process); /* of all its threads */

/* A line of its /proc/PID/status, as "VmRSS:" or "VmHWM:", in KiB; -1: not known. */
int64_t process_status_kib(const struct process *process, const char *key);

/* Forgets the most memory that it has had: "VmHWM:" counts from now on. False: the system does not do that. */
bool process_forget_peak(const struct process *process);

/* Lets this process open as many files as the system allows, and fails if these are fewer than count. */
void process_allow_files(uint64_t count);
