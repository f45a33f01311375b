/* The operator's log: where its lines go, which of them, and how many. On stderr or in a file. One per process; one thread. */
#ifndef BROKER_LOG_H
#define BROKER_LOG_H

#include "config.h"
#include "events.h"

/* A line, unless its level is not wanted, or too many of its event were written in this second: those are counted, and a line
 * says how many before the next one. Before log_open() lines go to stderr, as text. A line that can't be written without
 * waiting, or not at all, is lost, counted, and told when there is room again. */
void log_write(const struct log_record *record);
bool log_wants(enum log_level level); /* lines of this level are wanted */
/* The same, with a sentence made of its parts. fields: NULL, or LOG_FIELDS(). */
void log_line(enum log_event event, const struct log_field *fields, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* For whoever has started it, besides the log: on stderr also when the log goes elsewhere. text: "ready" and the URLs; why it
 * does not start, as one sentence. */
void log_ready(const char *text);
void log_start_failed(const char *text);

/* From now on it is written as this says. Returns 0, or -1 and one sentence in text. */
int log_open(const struct log_config *config, char *text, size_t text_cap);
/* Whether log_open() would find something wrong; nothing is opened. */
int log_check(const struct log_config *config, char *text, size_t text_cap);
/* How many lines were left out, if that was not said yet. */
void log_close(void);

/* For a reload: the file is opened again, so that one that was renamed is let go of. After log_prepare(), which returns as
 * log_open(), one of both follows. */
int log_prepare(const struct log_config *config, char *text, size_t text_cap);
void log_apply(void);
void log_discard(void);
/* Nothing else is to change: the same file again. If that fails, the one that is open stays. */
void log_reopen(void);

#endif
