/* The forms of a line of the log: what is said, by whomever, stays one line, and each value ends where it ends. No I/O, no
 * allocation; any thread. */
#ifndef BROKER_LOG_FORM_H
#define BROKER_LOG_FORM_H

#include "config.h"
#include "events.h"

/* Bytes with the newline: with a few before them not more than a pipe takes as a whole or not at all (PIPE_BUF). */
#define LOG_LINE_MAX 4080

struct log_line {
    char bytes[LOG_LINE_MAX];
    size_t len;
};

/* Writes a line with its newline. What has no room is cut, values first, with "..." behind.
 *   level, name  of the event; those of record->event are not looked at.
 *   wall_ms      Unix time in milliseconds; 0: the line has no time.
 * In text, of which people read the sentence, fields are only written if there is none, and in the audit log. */
void log_form(struct log_line *line, enum log_form form, enum log_level level, const char *name, uint64_t wall_ms,
              const struct log_record *record);

#endif
