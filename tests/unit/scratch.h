/* Where tests put files that need not survive them. */
#ifndef SCRATCH_H
#define SCRATCH_H

/* $TMPDIR, or a file system in memory if there is one with room, where nobody waits for a disk, or /tmp. */
const char *scratch_top(void);

#endif
