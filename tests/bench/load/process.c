#include "process.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

enum { OWN_FILES = 16 }; /* that are open besides: standard ones, epoll */

void process_find(struct process *process, pid_t pid)
{
    process->pid = pid;
    if (pid == 0) return;
    if (clock_getcpuclockid(pid, &process->clock) != 0 || process_status_kib(process, "VmRSS:") < 0) {
        fail(EXIT_MEASUREMENT, "there is no process %d to measure", (int)pid);
    }
}

uint64_t process_cpu_ns(const struct process *process)
{
    return process->pid == 0 ? 0 : clock_ns(process->clock);
}

int64_t process_status_kib(const struct process *process, const char *key)
{
    char path[64], line[256];
    int64_t kib = -1;
    if (process->pid == 0) return kib;
    snprintf(path, sizeof path, "/proc/%d/status", (int)process->pid);
    FILE *file = fopen(path, "r");
    if (!file) return kib;
    while (kib < 0 && fgets(line, sizeof line, file)) {
        if (strncmp(line, key, strlen(key)) == 0) kib = strtoll(line + strlen(key), NULL, 10);
    }
    fclose(file);
    return kib;
}

bool process_forget_peak(const struct process *process)
{
    char path[64];
    if (process->pid == 0) return false;
    snprintf(path, sizeof path, "/proc/%d/clear_refs", (int)process->pid);
    FILE *file = fopen(path, "w");
    if (!file) return false;
    bool written = fputs("5", file) >= 0;
    return fclose(file) == 0 && written;
}

void process_allow_files(uint64_t count)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max != RLIM_INFINITY && count + OWN_FILES > limit.rlim_max) {
        fail(EXIT_MEASUREMENT, "%llu connections are more than the %llu files that this process may open",
             (unsigned long long)count, (unsigned long long)limit.rlim_max);
    }
}
