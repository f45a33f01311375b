/* Loaded before a program's libraries (LD_PRELOAD): its Unix clock is set forward or back by what the control page
 * says, see control.h. The monotonic clock goes on as ever. */
#include <stddef.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "control.h"

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    struct control *control = control_page();
    if (result != 0 || control == NULL || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return result;
    int64_t ms = __atomic_load_n(&control->clock_ms, __ATOMIC_SEQ_CST) + now->tv_nsec / 1000000;
    int64_t seconds = ms / 1000 - (ms % 1000 < 0);
    now->tv_sec += seconds;
    now->tv_nsec = (ms - seconds * 1000) * 1000000 + now->tv_nsec % 1000000;
    return 0;
}

/* glibc declares that its argument is never NULL; no caller of ours passes a time zone. */
int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec exact;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &exact) != 0) return -1;
    *now = (struct timeval){.tv_sec = exact.tv_sec, .tv_usec = exact.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *out)
{
    struct timespec exact;
    if (clock_gettime(CLOCK_REALTIME, &exact) != 0) return (time_t)-1;
    if (out != NULL) *out = exact.tv_sec;
    return exact.tv_sec;
}
