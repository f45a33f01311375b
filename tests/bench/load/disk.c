#include "disk.h"
#include "modes.h"
#include "report.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static void write_at(const struct disk_file *file, const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        ssize_t wrote = pwrite(file->fd, bytes, len, (off_t)(file->at % DISK_FILE_BYTES));
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) fail(EXIT_MEASUREMENT, "the file can't be written: %s", strerror(errno));
        bytes += wrote;
        len -= (size_t)wrote;
    }
}

void disk_open(struct disk_file *file, const char *path)
{
    static const uint8_t block[DISK_BLOCK * 16];
    *file = (struct disk_file){.fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)};
    if (file->fd < 0) fail(EXIT_MEASUREMENT, "%s can't be opened: %s", path, strerror(errno));
    for (; file->at < DISK_FILE_BYTES; file->at += sizeof block) write_at(file, block, sizeof block);
    if (fsync(file->fd) < 0) fail(EXIT_MEASUREMENT, "fsync: %s", strerror(errno));
    file->at = 0;
}

void disk_store(struct disk_file *file, const uint8_t *bytes, size_t len)
{
    if (file->at + len > DISK_FILE_BYTES) file->at = 0;
    write_at(file, bytes, len);
    file->at += len;
    if (fdatasync(file->fd) < 0) fail(EXIT_MEASUREMENT, "fdatasync: %s", strerror(errno));
}

static uint64_t store_for(struct disk_file *file, double seconds, struct histogram *latency)
{
    static uint8_t block[DISK_BLOCK];
    uint64_t now = now_ns(), end = now + seconds_ns(seconds), count = 0;
    for (; now < end; count++) {
        uint64_t begin = now;
        memset(block, (int)count, sizeof block);
        disk_store(file, block, sizeof block);
        now = now_ns();
        histogram_add(latency, now - begin);
    }
    return count;
}

/* One block after the other: what a publisher can have at most that waits until each message is on the disk. */
int mode_disk(const struct options *options)
{
    static struct histogram latency;
    struct disk_file file;
    if (strncmp(options->url, "file:", 5) != 0)
        fail(EXIT_USAGE, "the url '%s' does not begin with file:", options->url);
    const char *path = options->url + 5;
    disk_open(&file, path);
    store_for(&file, options->warmup_s, &latency);
    histogram_clear(&latency);
    uint64_t begin = now_ns(), count = store_for(&file, options->seconds, &latency);
    double seconds = (double)(now_ns() - begin) / NS_PER_S;
    close(file.fd);
    unlink(path);
    report_begin(options);
    report_number("seconds", seconds);
    report_count("acked", count);
    report_number("acked_per_s", (double)count / seconds);
    report_latency(&latency);
    report_end();
    return 0;
}
