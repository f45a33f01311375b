/* A connection's first five bytes are W and how long its frames are. All that has come when the disk is ready again is
 * one write and one fdatasync; then each connection is told how many of its frames are stored. One thread. */
#include "sink.h"
#include "disk.h"
#include "process.h"
#include "socket.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    EVENTS = 64,
    GREETING_BYTES = 5,
    READY_ANSWER = 'K',
    STORED_ANSWER = 'A',
    STORED_LEN = 9,
    BUFFER_BYTES = 1 << 20
};

struct source {
    int fd;
    uint8_t greeting[GREETING_BYTES];
    size_t greeted;
    uint64_t bytes; /* that came */
    uint32_t frame_bytes;
};

static struct source listener;
static struct disk_file file;
static uint8_t buffer[BUFFER_BYTES];
static size_t filled;
static int epoll;
static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

static void watch(struct source *source)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, source->fd, &event) < 0)
        fail(EXIT_MEASUREMENT, "epoll_ctl: %s", strerror(errno));
}

static void take_connection(void)
{
    int fd = accept4(listener.fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) return;
    struct source *source = allocate(1, sizeof *source);
    source->fd = fd;
    socket_without_delay(fd);
    watch(source);
}

static void drop(struct source *source)
{
    close(source->fd);
    free(source);
}

/* An answer is a few bytes to a peer that reads all the time: it fits into the socket. */
static void answer(const struct source *source, const uint8_t *bytes, size_t len)
{
    if (send(source->fd, bytes, len, MSG_NOSIGNAL) < 0 && errno != EPIPE && errno != ECONNRESET)
        fail(EXIT_MEASUREMENT, "send: %s", strerror(errno));
}

/* Reads into `to`. Returns how much came; 0 also when the source is gone then. */
static size_t receive(struct source *source, uint8_t *to, size_t room)
{
    ssize_t got = recv(source->fd, to, room, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (got <= 0) drop(source);
    return got > 0 ? (size_t)got : 0;
}

static void greet(struct source *source)
{
    size_t got = receive(source, source->greeting + source->greeted, GREETING_BYTES - source->greeted);
    if (got == 0) return;
    source->greeted += got;
    if (source->greeted < GREETING_BYTES) return;
    for (size_t i = 1; i < GREETING_BYTES; i++) source->frame_bytes = source->frame_bytes << 8 | source->greeting[i];
    if (source->greeting[0] != 'W' || source->frame_bytes == 0) drop(source);
    else answer(source, (const uint8_t[]){READY_ANSWER}, 1);
}

static void tell_stored(const struct source *source)
{
    uint8_t stored[STORED_LEN] = {STORED_ANSWER};
    uint64_t frames = source->bytes / source->frame_bytes;
    for (size_t i = 1; i < sizeof stored; i++) stored[i] = (uint8_t)(frames >> (8 * (sizeof stored - 1 - i)));
    answer(source, stored, sizeof stored);
}

static void turn(void)
{
    struct epoll_event events[EVENTS];
    struct source *fresh[EVENTS];
    int count = epoll_wait(epoll, events, EVENTS, -1), fresh_count = 0;
    for (int i = 0; i < count; i++) {
        struct source *source = events[i].data.ptr;
        if (source == &listener) {
            take_connection();
        } else if (source->greeted < GREETING_BYTES) {
            greet(source);
        } else if (filled < sizeof buffer) {
            size_t got = receive(source, buffer + filled, sizeof buffer - filled);
            if (got == 0) continue;
            filled += got;
            source->bytes += got;
            fresh[fresh_count++] = source;
        }
    }
    if (filled == 0) return;
    disk_store(&file, buffer, (filled + DISK_BLOCK - 1) / DISK_BLOCK * DISK_BLOCK);
    filled = 0;
    for (int i = 0; i < fresh_count; i++) tell_stored(fresh[i]);
}

int sink(const char *url, const char *path)
{
    char bound[512];
    listener.fd = socket_listen(url, bound, sizeof bound);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    process_allow_files(0);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    disk_open(&file, path);
    watch(&listener);
    printf("ready %s\n", bound);
    fflush(stdout);
    while (!stop) turn();
    unlink(path);
    if (strncmp(bound, "unix:", 5) == 0) unlink(bound + 5);
    return 0;
}
