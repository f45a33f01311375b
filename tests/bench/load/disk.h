/* The disk by itself: a file that has all its blocks from the beginning, so that nothing but data is written. */
#pragma once
#include "base.h"

enum { DISK_BLOCK = 4096, DISK_FILE_BYTES = 64 << 20 };

struct disk_file {
    int fd;
    uint64_t at;
};

/* Makes the file, over one that is there. What fails ends the program. */
void disk_open(struct disk_file *file, const char *path);

/* Writes this behind what was written before, from the beginning again at the end, and returns when it is on the disk
 * (fdatasync). len is a multiple of DISK_BLOCK, at most DISK_FILE_BYTES. */
void disk_store(struct disk_file *file, const uint8_t *bytes, size_t len);
