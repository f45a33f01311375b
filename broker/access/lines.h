/* Files of credentials: lines NAME:WHAT, blank ones and comments, for nobody but their owner. Read as a whole, written as a
 * whole: a new file takes the place of the old one when it is on the disk. One thread. */
#ifndef BROKER_ACCESS_LINES_H
#define BROKER_ACCESS_LINES_H

#include <stdbool.h>
#include <stddef.h>

#define LINE_MAX_BYTES 250
#define LINES_MAX 200000

struct lines {
    char **at;
    size_t count, cap;
};

/* Refuses what is no regular file of this process's user, or is somebody else's to read. missing_is_empty: one that is not there
 * has no lines. Returns 0, or -1 and one sentence in text that names the file, and the line. */
int lines_read(struct lines *lines, const char *path, bool missing_is_empty, char *text, size_t text_cap);
/* Waits until no other process that called this changes files of this directory; holds until the process ends. Returns as
 * lines_read(). */
int lines_lock(const char *path, char *text, size_t text_cap);
/* Mode 0600. Returns as lines_read(); the old file is untouched then. */
int lines_write(const struct lines *lines, const char *path, char *text, size_t text_cap);
void lines_add(struct lines *lines, const char *line);
void lines_remove(struct lines *lines, size_t i);
void lines_free(struct lines *lines); /* what they held is overwritten */

/* Takes a line apart: name gets what stands before the ':', rest what stands behind. Returns NULL, or why it is none; a line that
 * says nothing (blank, a comment) is no error, and name is "" then. */
const char *line_read(const char *line, char *name, size_t name_cap, const char **rest);

#endif
