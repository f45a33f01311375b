/* What the store alone costs: CPU time and real time for each message of 64 bytes, in commits of 1, 100 and 1,000
 * messages with a record each, and what it takes to read them again. bench_store DIRECTORY [SECONDS]     a directory on
 * the disk that is to be measured; what is written there is removed */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "sqlite_store.h"

#define FRAME_BYTES 97 /* of a MSG with 64 bytes of payload, a topic of 20 and a time */
#define READ_BYTES (256u * 1024)
#define BARE_BYTES (16u * 1024 * 1024) /* of the bare file, over and over */

struct bench {
    struct store *store;
    int wake_fd;
    bool committed, failed;
    struct store_read *read;
};

struct costs {
    double real_s, cpu_s;
};

static void wake(void *arg)
{
    const uint64_t one = 1;
    if (write(*(int *)arg, &one, sizeof one) < 0) abort();
}

static void committed(void *arg, const struct store_batch *batch, enum store_code code, const char *text)
{
    struct bench *bench = arg;
    (void)batch;
    if (code != STORE_OK) fprintf(stderr, "%s\n", text);
    bench->committed = true;
    bench->failed = bench->failed || code != STORE_OK;
}

static void read_done(void *arg, struct store_read *read)
{
    ((struct bench *)arg)->read = read;
}

static void wait_for(const struct bench *bench)
{
    uint64_t count;
    if (read(bench->wake_fd, &count, sizeof count) < 0) abort();
    bench->store->poll(bench->store);
}

static struct costs now(void)
{
    struct timespec real;
    struct rusage usage;
    clock_gettime(CLOCK_MONOTONIC, &real);
    getrusage(RUSAGE_SELF, &usage);
    return (struct costs){
        .real_s = (double)real.tv_sec + 1e-9 * (double)real.tv_nsec,
        .cpu_s = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                 1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec),
    };
}

static struct costs since(struct costs begin)
{
    struct costs end = now();
    return (struct costs){end.real_s - begin.real_s, end.cpu_s - begin.cpu_s};
}

static void report(const char *what, struct costs costs, uint64_t messages)
{
    printf("%-28s %9" PRIu64 " messages  %10.0f /s  %7.3f us of CPU each\n", what, messages,
           (double)messages / costs.real_s, 1e6 * costs.cpu_s / (double)messages);
}

/* Commits for this long; returns the messages. */
static uint64_t write_stream(struct bench *bench, uint32_t stream, uint32_t count, double seconds)
{
    static uint64_t number;
    uint8_t *bytes = malloc((size_t)count * FRAME_BYTES);
    if (bytes == NULL) abort();
    memset(bytes, 0x5a, (size_t)count * FRAME_BYTES);
    uint64_t next[2] = {stream, 1};
    struct costs begin = now();
    while (!bench->failed && since(begin).real_s < seconds) {
        struct store_change changes[] = {
            {.what = STORE_APPEND,
             .block = {.stream = stream,
                       .first = next[1],
                       .count = count,
                       .time_ms = 1700000000000 + next[1] / 1000,
                       .bytes = bytes,
                       .len = count * FRAME_BYTES}},
            {.what = STORE_PUT, .kind = 2, .key = mps_text("orders"), .value = {(const uint8_t *)next, sizeof next}},
        };
        const struct store_batch batch = {.number = ++number, .changes = changes, .count = 2};
        next[1] += count;
        bench->committed = false;
        bench->store->commit(bench->store, &batch);
        while (!bench->committed) wait_for(bench);
    }
    char what[40];
    snprintf(what, sizeof what, "commits of %" PRIu32, count);
    report(what, since(begin), next[1] - 1);
    free(bytes);
    return next[1] - 1;
}

static void read_stream(struct bench *bench, uint32_t stream, uint32_t count, uint64_t messages)
{
    struct costs begin = now();
    uint64_t next = 1;
    while (!bench->failed && next <= messages) {
        struct store_read *read = calloc(1, sizeof *read);
        if (read == NULL) abort();
        *read = (struct store_read){.stream = stream, .from = next, .end = messages + 1, .bytes_most = READ_BYTES};
        bench->read = NULL;
        bench->store->read(bench->store, read);
        while (bench->read == NULL) wait_for(bench);
        bench->failed = read->code != STORE_OK || read->bytes == NULL || read->block.first != next;
        next += read->block.count;
        free(read->bytes);
        free(read);
    }
    char what[40];
    snprintf(what, sizeof what, "reads, stored in %" PRIu32, count);
    report(what, since(begin), messages);
}

static bool write_bare(const char *path, uint32_t count, double seconds)
{
    static uint8_t bytes[BARE_BYTES];
    size_t len = (size_t)count * FRAME_BYTES;
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    memset(bytes, 0x5a, sizeof bytes);
    bool good = fd >= 0 && pwrite(fd, bytes, sizeof bytes, 0) == sizeof bytes && fdatasync(fd) == 0;
    uint64_t messages = 0;
    size_t at = 0;
    struct costs begin = now();
    for (; good && since(begin).real_s < seconds; messages += count, at += len) {
        if (at + len > sizeof bytes) at = 0;
        good = pwrite(fd, bytes, len, (off_t)at) == (ssize_t)len && fdatasync(fd) == 0;
    }
    char what[40];
    snprintf(what, sizeof what, "bare file, syncs of %" PRIu32, count);
    if (good) report(what, since(begin), messages);
    else perror(path);
    if (fd >= 0) close(fd);
    unlink(path);
    return good;
}

static void remove_files(const char *directory)
{
    static const char *const names[] = {"streams.db", "streams.db-wal", "streams.db-shm", "lock"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[4200];
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        unlink(path);
    }
    rmdir(directory);
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: bench_store DIRECTORY [SECONDS]\n");
        return 2;
    }
    double seconds = argc == 3 ? atof(argv[2]) : 3;
    char directory[4096], text[STORE_TEXT_MAX];
    snprintf(directory, sizeof directory, "%s/bench-store-%ld", argv[1], (long)getpid());
    struct bench bench = {.wake_fd = eventfd(0, EFD_CLOEXEC)};
    const struct sqlite_store_options options = {.directory = directory, .wake = wake, .arg = &bench.wake_fd};
    bench.store = sqlite_store_open(&options, text, sizeof text);
    if (bench.store == NULL) {
        fprintf(stderr, "bench_store: %s\n", text);
        return 1;
    }
    bench.store->events = (struct store_events){.committed = committed, .read_done = read_done, .arg = &bench};
    char bare[4200];
    snprintf(bare, sizeof bare, "%s/bare", directory);
    static const uint32_t counts[] = {1, 100, 1000};
    for (uint32_t i = 0; i < 3 && !bench.failed; i++) {
        uint64_t messages = write_stream(&bench, STORE_STREAM_FIRST + i, counts[i], seconds);
        if (!bench.failed) read_stream(&bench, STORE_STREAM_FIRST + i, counts[i], messages);
        bench.failed = bench.failed || !write_bare(bare, counts[i], seconds);
    }
    bench.store->close(bench.store);
    remove_files(directory);
    close(bench.wake_fd);
    return bench.failed;
}
