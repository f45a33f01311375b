/* Loaded before the C library (LD_PRELOAD): every call that moves bytes over a socket or a terminal moves 1 to 64 of
 * them, and now and then none, because a signal came or nothing can be moved at the moment. CHOP_SEED: the order of
 * chances. CHOP_REPORT: a file to which it appends, at the end of the process, how many calls it cut and how many it
 * failed. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define PIECE_MAX 64

static uint64_t state;
static unsigned long cut_count, failed_count;

static unsigned chance(unsigned sides)
{
    if (state == 0) {
        const char *seed = getenv("CHOP_SEED");
        state = (seed != NULL ? strtoull(seed, NULL, 10) : 0) * 2654435761u + 88172645463325252u;
    }
    state ^= state << 13; /* xorshift64 */
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)(state >> 33) % sides;
}

__attribute__((destructor)) static void report(void)
{
    const char *path = getenv("CHOP_REPORT");
    FILE *file = path != NULL ? fopen(path, "a") : NULL;
    if (file == NULL) return;
    fprintf(file, "%lu %lu\n", cut_count, failed_count);
    fclose(file);
}

static bool is_chopped(int fd)
{
    struct stat st;
    return fd > 2 && fstat(fd, &st) == 0 && (S_ISSOCK(st.st_mode) || S_ISCHR(st.st_mode));
}

/* Whether this call fails, with errno set. */
static bool fails(int fd)
{
    unsigned dice = chance(8);
    if (dice == 0) errno = EINTR;
    else if (dice == 1 && (fcntl(fd, F_GETFL) & O_NONBLOCK)) errno = EAGAIN;
    else return false;
    failed_count++;
    return true;
}

static size_t piece(size_t len)
{
    size_t max = 1 + chance(PIECE_MAX);
    if (len <= max) return len;
    cut_count++;
    return max;
}

/* The first bytes of what the pieces are, as one. */
static struct iovec first(const struct iovec *pieces, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (pieces[i].iov_len > 0) return (struct iovec){pieces[i].iov_base, piece(pieces[i].iov_len)};
    return (struct iovec){NULL, 0};
}

#define REAL(name)                             \
    static __typeof__(&name) real;             \
    if (real == NULL) {                        \
        void *found = dlsym(RTLD_NEXT, #name); \
        memcpy(&real, &found, sizeof real);    \
    }

ssize_t read(int fd, void *at, size_t len)
{
    REAL(read)
    if (!is_chopped(fd)) return real(fd, at, len);
    return fails(fd) ? -1 : real(fd, at, piece(len));
}

ssize_t write(int fd, const void *at, size_t len)
{
    REAL(write)
    if (!is_chopped(fd)) return real(fd, at, len);
    return fails(fd) ? -1 : real(fd, at, piece(len));
}

ssize_t recv(int fd, void *at, size_t len, int flags)
{
    REAL(recv)
    if (!is_chopped(fd)) return real(fd, at, len, flags);
    return fails(fd) ? -1 : real(fd, at, piece(len), flags);
}

ssize_t send(int fd, const void *at, size_t len, int flags)
{
    REAL(send)
    if (!is_chopped(fd)) return real(fd, at, len, flags);
    return fails(fd) ? -1 : real(fd, at, piece(len), flags);
}

ssize_t readv(int fd, const struct iovec *pieces, int count)
{
    REAL(readv)
    if (!is_chopped(fd)) return real(fd, pieces, count);
    struct iovec one = first(pieces, (size_t)count);
    return fails(fd) ? -1 : real(fd, &one, 1);
}

ssize_t writev(int fd, const struct iovec *pieces, int count)
{
    REAL(writev)
    if (!is_chopped(fd)) return real(fd, pieces, count);
    struct iovec one = first(pieces, (size_t)count);
    return fails(fd) ? -1 : real(fd, &one, 1);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    REAL(recvmsg)
    if (!is_chopped(fd)) return real(fd, message, flags);
    struct msghdr chopped = *message;
    struct iovec one = first(message->msg_iov, message->msg_iovlen);
    chopped.msg_iov = &one;
    chopped.msg_iovlen = 1;
    if (fails(fd)) return -1;
    ssize_t n = real(fd, &chopped, flags);
    chopped.msg_iov = message->msg_iov;
    chopped.msg_iovlen = message->msg_iovlen;
    *message = chopped;
    return n;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    REAL(sendmsg)
    if (!is_chopped(fd)) return real(fd, message, flags);
    struct msghdr chopped = *message;
    struct iovec one = first(message->msg_iov, message->msg_iovlen);
    chopped.msg_iov = &one;
    chopped.msg_iovlen = 1;
    return fails(fd) ? -1 : real(fd, &chopped, flags);
}

/* A file, too, may take less than it is given. */
ssize_t pwrite(int fd, const void *at, size_t len, off_t offset)
{
    REAL(pwrite)
    if (chance(8) == 0) {
        errno = EINTR;
        return -1;
    }
    return real(fd, at, piece(len), offset);
}
