/* A line on stderr that says how far a long work is, with a bar where its end is known, if stderr is a terminal. It comes
 * after a second, and a few times a second then. One at a time. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdint.h>

struct output;

void progress_from(uint64_t begin_ns); /* when the work began; without it, when the program did */
void progress_until(uint64_t end_ns);  /* it ends at this time at the latest, of now_ns(); 0: nobody knows */
void progress_show(uint64_t messages,
                   uint64_t total);      /* total 0: not known. Cheap enough to be called for each block */
void progress_clear(struct output *err); /* wipes the line away, if there is one */
void progress_end(void);

#endif
