/* The page that a test and the libraries that it loads into a program (LD_PRELOAD) have in common: the file that
 * $FAULTS_CONTROL names, mapped by both. faults.py knows its layout. The library does nothing unless it is there. */
#ifndef FAULTS_CONTROL_H
#define FAULTS_CONTROL_H

#include <stdint.h>

enum control_fault {
    CONTROL_NONE,
    CONTROL_FULL,        /* writes: as much as there is room for, that is, half of it, then no space left on device */
    CONTROL_WRITE_FAILS, /* writes: input/output error */
    CONTROL_SYNC_FAILS,  /* syncs: input/output error. What was written since the last one may be lost, see image.c */
    CONTROL_NO_MEMORY,   /* allocations */
    CONTROL_NO_LARGE_MEMORY, /* allocations of more than CONTROL_LARGE_BYTES */
    CONTROL_DIE,         /* writes, syncs and all others of the kind: the process kills itself before it */
};

struct control {
    uint64_t fault;    /* enum control_fault; set last. The library counts calls that it concerns while it is set */
    uint64_t first;    /* the first call that fails; 1 is the next one */
    uint64_t count;    /* calls that fail from there on */
    uint64_t calls;    /* so far */
    uint64_t failed;   /* so far */
    int64_t clock_ms;  /* is added to the Unix clock */
    char whose[64];    /* what failed last: the program or library that the allocation was for */
};

#define CONTROL_BYTES 4096
#define CONTROL_LARGE_BYTES 65536

/* NULL: there is none. */
struct control *control_page(void);
/* Counts a call that this fault would concern. Nonzero: it is to fail. */
int control_fails(enum control_fault fault);

#endif
