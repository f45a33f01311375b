/* The write-ahead log of a broker that was killed, read by ourselves (https://www.sqlite.org/fileformat2.html, "The
 * Write-Ahead Log").
 *
 * SQLite takes a log to end where a frame does not fit its checksum. After a power failure that is right: what does not
 * fit is the transaction that was never synced, and nobody was told that it is stored. But when a frame is damaged
 * later, on the disk, the same rule forgets all that came behind it, acknowledged or not, without a word. The two can
 * be told apart: no transaction is begun before the last one has been synced (and after one that failed, the log begins
 * anew, see sqlite_write.c), so behind a transaction that was never synced, there is nothing. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sqlite_parts.h"

#define WAL_HEADER 32u
#define FRAME_HEADER 24u
#define FRAME (FRAME_HEADER + DATABASE_PAGE)
#define WAL_MAGIC 0x377f0682u /* its last bit says that checksums are of words whose high byte comes first */
#define WAL_VERSION 3007000u

static uint32_t number_at(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint32_t low_first(const uint8_t *p)
{
    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

/* Two sums of 32 bits that go on from frame to frame. */
struct sums {
    uint32_t a, b;
};

static struct sums add_bytes(struct sums sums, bool high_first, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i += 8) {
        sums.a += (high_first ? number_at(bytes + i) : low_first(bytes + i)) + sums.b;
        sums.b += (high_first ? number_at(bytes + i + 4) : low_first(bytes + i + 4)) + sums.a;
    }
    return sums;
}

static struct sums sums_at(const uint8_t *p)
{
    return (struct sums){number_at(p), number_at(p + 4)};
}
static bool same_sums(struct sums a, struct sums b)
{
    return a.a == b.a && a.b == b.b;
}

/* The scan of a log from its beginning to its end. */
struct scan {
    uint8_t salt[8]; /* of this life of the log: frames of an earlier one have another */
    bool high_first;
    struct sums sums;     /* of all up to here, as long as it is unbroken */
    bool broken;          /* a frame did not fit */
    bool commit_behind;   /* a transaction ended in or behind the first frame that did not fit */
    uint32_t whole;       /* the last frame of the last transaction before that */
    uint32_t last_commit; /* the last frame that ends a transaction, however broken */
};

static bool begin_scan(struct scan *scan, const uint8_t *header)
{
    uint32_t magic = number_at(header);
    scan->high_first = (magic & 1) != 0;
    memcpy(scan->salt, header + 16, 8);
    scan->sums = add_bytes((struct sums){0, 0}, scan->high_first, header, 24);
    return (magic & ~1u) == WAL_MAGIC && number_at(header + 4) == WAL_VERSION &&
           number_at(header + 8) == DATABASE_PAGE && same_sums(scan->sums, sums_at(header + 24));
}

static void scan_frame(struct scan *scan, struct wal *wal, uint32_t index, const uint8_t *frame)
{
    bool ours = memcmp(frame + 8, scan->salt, 8) == 0;
    bool commits = number_at(frame + 4) != 0;
    if (!scan->broken) {
        struct sums sums = add_bytes(scan->sums, scan->high_first, frame, 8);
        scan->sums = add_bytes(sums, scan->high_first, frame + FRAME_HEADER, DATABASE_PAGE);
        scan->broken = !ours || number_at(frame) == 0 || !same_sums(scan->sums, sums_at(frame + 16));
    }
    if (!ours) return;
    if (scan->commit_behind) wal->damaged = true;
    if (scan->broken) scan->commit_behind = scan->commit_behind || commits;
    else if (commits) scan->whole = index;
    if (commits) scan->last_commit = index;
}

static int read_at(int fd, uint8_t *bytes, size_t len, off_t at)
{
    ssize_t result = pread(fd, bytes, len, at);
    if (result == (ssize_t)len) return 0;
    if (result >= 0) errno = EIO;
    return -1;
}

static off_t frame_at(uint32_t index)
{
    return (off_t)WAL_HEADER + (off_t)(index - 1) * FRAME;
}

static int scan_all(struct scan *scan, struct wal *wal, uint32_t frames)
{
    uint8_t header[WAL_HEADER], frame[FRAME];
    if (read_at(wal->fd, header, sizeof header, 0) < 0) return -1;
    bool known = begin_scan(scan, header);
    for (uint32_t i = 1; i <= frames; i++) {
        if (read_at(wal->fd, frame, sizeof frame, frame_at(i)) < 0) return -1;
        if (i == 1 && !known) {
            /* The header was synced before the first frame was written, so it must have been good. */
            wal->damaged = scan->broken = true;
            memcpy(scan->salt, frame + 8, 8);
        }
        scan_frame(scan, wal, i, frame);
    }
    return 0;
}

static int compare_places(const void *a, const void *b)
{
    const struct wal_place *x = a, *y = b;
    if (x->page != y->page) return x->page < y->page ? -1 : 1;
    return x->frame < y->frame ? -1 : x->frame > y->frame;
}

/* Remembers where each page is. Of a damaged log, all frames count: what is wrong in them is found in their rows. A
 * page number may be damaged, too, so it is no measure of anything. */
static int map_pages(const struct scan *scan, struct wal *wal)
{
    uint32_t last = wal->damaged ? scan->last_commit : scan->whole;
    if (last == 0) return 0;
    wal->places = malloc(last * sizeof *wal->places);
    if (wal->places == NULL) return -1;
    for (uint32_t i = 1; i <= last; i++) {
        uint8_t header[FRAME_HEADER];
        if (read_at(wal->fd, header, sizeof header, frame_at(i)) < 0) return -1;
        uint32_t page = number_at(header);
        if (memcmp(header + 8, scan->salt, 8) != 0 || page == 0) continue;
        wal->places[wal->places_count++] = (struct wal_place){page, i};
        if (number_at(header + 4) != 0) wal->pages = number_at(header + 4);
    }
    qsort(wal->places, wal->places_count, sizeof *wal->places, compare_places);
    return 0;
}

int wal_open(struct wal *wal, const char *path, char *text)
{
    *wal = (struct wal){.fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)};
    if (wal->fd < 0 && errno == ENOENT) return 0;
    struct stat info;
    struct scan scan = {0};
    if (wal->fd >= 0 && fstat(wal->fd, &info) == 0) {
        off_t frames = info.st_size < (off_t)WAL_HEADER ? 0 : (info.st_size - (off_t)WAL_HEADER) / (off_t)FRAME;
        if (frames == 0) return 0;
        if (scan_all(&scan, wal, (uint32_t)frames) == 0 && map_pages(&scan, wal) == 0) return 0;
    }
    snprintf(text, STORE_TEXT_MAX, "can't read %s: %s", path, strerror(errno));
    wal_close(wal);
    return -1;
}

void wal_close(struct wal *wal)
{
    if (wal->fd >= 0) close(wal->fd);
    free(wal->places);
    *wal = (struct wal){.fd = -1};
}

/* The frame that has this page last; 0: none has it. */
static uint32_t frame_of(const struct wal *wal, uint32_t page)
{
    uint32_t low = 0, high = wal->places_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (wal->places[middle].page <= page) low = middle + 1;
        else high = middle;
    }
    return low > 0 && wal->places[low - 1].page == page ? wal->places[low - 1].frame : 0;
}

int wal_page(const struct wal *wal, uint32_t page, uint8_t *bytes)
{
    uint32_t frame = frame_of(wal, page);
    if (frame == 0) return 0;
    return read_at(wal->fd, bytes, DATABASE_PAGE, frame_at(frame) + (off_t)FRAME_HEADER) < 0 ? -1 : 1;
}
