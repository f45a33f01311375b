/* A disk that fails when a test says so. It stands between the process and its files: the test's program has functions of
 * the names of pwrite64, fdatasync and so on, which are found before those of the C library, by SQLite, too.
 *
 * It also keeps what each file in its directory would have after the power failed: the bytes as they were at the file's last
 * sync that succeeded. Bytes that were written before a sync that failed are lost, as on Linux, which takes them for written
 * then: only when they are written once more, another sync brings them to the disk. */
#ifndef FAULTS_DISK_H
#define FAULTS_DISK_H

#include <stdbool.h>
#include <stdint.h>

enum disk_fault {
    DISK_FULL,        /* writes: no space left on device */
    DISK_WRITE_FAILS, /* writes: input/output error */
    DISK_SYNC_FAILS,  /* syncs: input/output error */
    DISK_FAULTS
};

/* Watches the files of this directory (and of no other) from now on; forgets what was before. NULL: none. */
void disk_watch(const char *directory);

/* The calls that are concerned by this fault are counted from now on; from the k-th on (1: the next), so many fail. 0: none. */
void disk_fail(enum disk_fault fault, uint32_t k, uint32_t count);
bool disk_failed(void); /* one has, since disk_fail() */

/* Makes files in this directory, which is there, as they are after a power failure. torn: the blocks of 4096 bytes that a
 * sync that failed was to bring to the disk, and that no later one did, hold something else. */
void disk_power_failure(const char *directory, bool torn);

#endif
