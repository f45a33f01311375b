/* Memory for what is small beside what it speaks of: entries, names, rings of pointers, frames of a few KiB. Nobody can be
 * refused it, so what there is at the end is a reserve: when malloc() fails, the reserve is given up and it is asked once
 * more. If that fails, too, the process says so in one line on stderr and aborts. What is as large as peers want it to be is
 * asked of malloc() itself, and its failure refused to the peer.
 *
 * The reserve is the process's, not a broker's: any thread may take memory. */
#ifndef BROKER_SURE_H
#define BROKER_SURE_H

#include <stdbool.h>
#include <stddef.h>

/* Up to here a copy of bytes is small. */
#define SURE_BYTES_MAX (64u * 1024)

void *sure_alloc(size_t bytes);
void *sure_zeroed(size_t bytes);
void *sure_grown(void *take_old, size_t bytes); /* as realloc() */
char *sure_text(const char *text);              /* a copy */
/* These may fail: the first for what is not small, the second when even the reserve is too little. */
void *sure_if_small(size_t bytes);
void *sure_or_null(size_t bytes);

/* Begins the reserve, and again when it was given up and there is memory once more: to be called every turn. */
void sure_refill(void);
/* It was given up: nothing is to be begun that needs more. */
bool sure_is_short(void);

#endif
