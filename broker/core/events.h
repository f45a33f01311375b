/* What one line of the log says, before it has a form. Values are given as they are, also those of peers: whoever writes
 * them escapes them. */
#ifndef BROKER_EVENTS_H
#define BROKER_EVENTS_H

#include <stddef.h>
#include <stdint.h>

#include "wire.h"

/* The first four are thresholds: each takes in those before it. The audit log is there or not, whatever the threshold. */
enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_AUDIT };

enum log_event {
#define EVENT(id, name, level, lines_a_second) EVENT_##id,
#include "events.def"
#undef EVENT
    EVENTS_COUNT
};

const char *event_name(enum log_event event);
enum log_level event_level(enum log_event event);
uint32_t event_lines_a_second(enum log_event event); /* as many at most; the others are counted */

/* key: lower case letters and '_'; NULL behind the last one. Lent, as the value is. A text or word that is absent (.ptr
 * NULL) is left out with its key. */
struct log_field {
    const char *key;
    enum { FIELD_TEXT, FIELD_WORD, FIELD_NUMBER } kind; /* a word: printable, without blanks, quotes and backslashes */
    mps_view text;
    uint64_t number;
};

struct log_record {
    enum log_event event;
    const struct log_field *fields; /* NULL: none */
    const char *text;               /* one sentence without newline, or NULL */
};

static inline struct log_field log_value(const char *key, mps_view text)
{
    return (struct log_field){.key = key, .kind = FIELD_TEXT, .text = text};
}

static inline struct log_field log_word(const char *key, const char *word)
{
    return (struct log_field){.key = key, .kind = FIELD_WORD, .text = mps_text(word)};
}

static inline struct log_field log_number(const char *key, uint64_t number)
{
    return (struct log_field){.key = key, .kind = FIELD_NUMBER, .number = number};
}

#define LOG_FIELDS(...) ((const struct log_field[]){__VA_ARGS__, {.key = NULL}})

#endif
