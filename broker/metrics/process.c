#include "process.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define CONNECTIONS_COUNTED_MOST 4096

static uint64_t to_ms(const struct timeval *time)
{
    return (uint64_t)time->tv_sec * 1000 + (uint64_t)time->tv_usec / 1000;
}

static uint64_t count_descriptors(size_t connections)
{
    static const char path[] = "/proc/self/fd";
    struct stat st;
    if (stat(path, &st) == 0 && st.st_size > 0) return (uint64_t)st.st_size;
    DIR *directory = connections <= CONNECTIONS_COUNTED_MOST ? opendir(path) : NULL;
    if (directory == NULL) return PAGE_UNKNOWN;
    uint64_t count = 0;
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) count += entry->d_name[0] != '.';
    closedir(directory);
    return count - 1; /* without the directory's own */
}

void process_look(struct page_process *process, size_t connections)
{
    struct rusage usage;
    struct rlimit limit;
    *process = (struct page_process){
        .cpu_ms = PAGE_UNKNOWN, .descriptors = count_descriptors(connections), .descriptors_most = PAGE_UNKNOWN};
    if (getrusage(RUSAGE_SELF, &usage) == 0) process->cpu_ms = to_ms(&usage.ru_utime) + to_ms(&usage.ru_stime);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        process->descriptors_most = limit.rlim_cur;
}
