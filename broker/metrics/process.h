/* What the system knows of this process. */
#ifndef METRICS_PROCESS_H
#define METRICS_PROCESS_H

#include "page.h"

/* Fills all but .started_ms; what can't be known is PAGE_UNKNOWN. connections: of clients; counting thousands of descriptors
 * would take milliseconds, which only kernels from 6.2 on do not need. */
void process_look(struct page_process *process, size_t connections);

#endif
