/* What is on a disk when the power fails, made from the log of what was done to its files (disk_log.h).
 *
 * What was written before a sync began that ended well is there. Of the rest, anything may be there: nothing, all,
 * some of the writes and not those before them, some of the 512 bytes long pieces of a write and not the others.
 * Names (that a file was made, renamed, removed) take effect in their order; those before a sync of the directory are
 * there. A sync that failed brings nothing to the disk, and what it was to bring no later one brings either, as on
 * Linux, which takes it for written: such a piece may be there, or not, or be nonsense, until it is written anew. */
#ifndef FAULTS_IMAGE_H
#define FAULTS_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "disk_log.h"

/* Random numbers that are the same for the same seed. */
struct dice {
    uint64_t state;
};
uint64_t dice_next(struct dice *dice);
uint64_t dice_below(struct dice *dice, uint64_t end); /* 0 .. end - 1 */

/* ---- the log ---- */
struct disk_log {
    const uint8_t *bytes; /* mapped until the end of the process */
    size_t *at;           /* of each entry */
    size_t count;
};

bool disk_log_open(struct disk_log *log, const char *path); /* false: with a message */
const struct disk_log_entry *disk_log_entry(const struct disk_log *log, size_t i);
/* Whether the name or a whole file is concerned, or the database and not its log. */
bool disk_log_is_rare(const struct disk_log_entry *entry);

/* ---- the disk ---- */
struct disk;

/* base: a directory with the files that are there at the beginning; NULL: none are. */
struct disk *disk_new(const char *base);
void disk_do(struct disk *disk, const struct disk_log_entry *entry);
/* Makes the files in this directory, which is there and empty. */
void disk_fail_power(const struct disk *disk, struct dice *dice, const char *directory);
void disk_free(struct disk *disk);

#endif
