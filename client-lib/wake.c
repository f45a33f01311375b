#include "wake.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

int mps_wake_open(int *fd)
{
    *fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return *fd >= 0 ? 0 : errno;
}

void mps_wake(int fd)
{
    const uint64_t one = 1;
    int error = errno;
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR) continue; /* EAGAIN: it is full of wakes that wait */
    errno = error;
}

bool mps_wake_take(int fd)
{
    uint64_t count;
    ssize_t n;
    do n = read(fd, &count, sizeof count);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof count;
}
