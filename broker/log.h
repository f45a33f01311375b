/* The operator's log: lines on stderr. One thread. */
#ifndef BROKER_LOG_H
#define BROKER_LOG_H

#include "env.h"

void log_line(enum log_level level, const char *line); /* line: printable, without newline */

#endif
