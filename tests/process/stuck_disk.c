/* Loaded before a program's libraries (LD_PRELOAD): its disk takes nothing as long as the file that $STUCK_DISK names
 * is there. */
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOOK_US 5000

static int wait_or(long number, int fd)
{
    const char *stuck = getenv("STUCK_DISK");
    while (stuck != NULL && access(stuck, F_OK) == 0) usleep(LOOK_US);
    return (int)syscall(number, fd);
}

int fsync(int fd)
{
    return wait_or(SYS_fsync, fd);
}

int fdatasync(int fildes)
{
    return wait_or(SYS_fdatasync, fildes);
}
