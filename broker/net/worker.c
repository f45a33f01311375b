/* libuv's worker threads: what they do costs much and may wait, what the loop does may not. Without this, on a machine
 * with little to spare, a password that is checked for a tenth of a second keeps the loop from its processor for
 * milliseconds. */
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "net.h"

#define NICE_MORE 4 /* four tenths of the loop's share; on a machine that is busy otherwise it still gets done in time */

void worker_gives_way(void)
{
    static _Thread_local bool is_done;
    if (is_done) return;
    is_done = true;
    id_t self = (id_t)syscall(SYS_gettid); /* with Linux, the priority of a thread, not of its process */
    int nice_now = getpriority(PRIO_PROCESS, self);
    setpriority(PRIO_PROCESS, self,
                nice_now + NICE_MORE); /* the kernel cuts it off at 19; refused: it works as before */
}
