/* What a program did to the files of a directory, as disk_preload.c writes it down and image.c reads it: entries, each with
 * its name and data behind it, and bytes up to a multiple of 8. Names are those in the directory; "" is the directory
 * itself. */
#ifndef FAULTS_DISK_LOG_H
#define FAULTS_DISK_LOG_H

#include <stdint.h>

enum disk_log_op {
    DISK_LOG_CREATE = 1,
    DISK_LOG_WRITE,       /* data at .at */
    DISK_LOG_TRUNCATE,    /* to .at bytes */
    DISK_LOG_SYNC_BEGIN,  /* by the thread .at */
    DISK_LOG_SYNC_END,    /* of that thread's */
    DISK_LOG_SYNC_FAILED, /* likewise */
    DISK_LOG_RENAME,      /* to the name that is the data */
    DISK_LOG_UNLINK,
};

struct disk_log_entry {
    uint32_t op; /* enum disk_log_op */
    uint32_t name_len, data_len;
    uint32_t unused;
    uint64_t time_ns; /* CLOCK_MONOTONIC; when it had happened, but for SYNC_BEGIN */
    uint64_t at;
};

static inline uint32_t disk_log_padding(const struct disk_log_entry *entry)
{
    return (8 - (entry->name_len + entry->data_len) % 8) % 8;
}

#endif
