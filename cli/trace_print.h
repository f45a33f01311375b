/* What a broker tells of a trace (PROTOCOL.md, "Traces"), printed for people: a line for each message, and below it one for
 * each thing that became of it, with the time since it came. */
#ifndef CLI_TRACE_PRINT_H
#define CLI_TRACE_PRINT_H

#include "output.h"
#include "value.h"

#define TRACE_MESSAGES_MAX 16 /* of one trace, as the broker's limit */

/* Who has a copy of a message, as it was told when it was queued. */
struct trace_holder {
    char *who;     /* "client/sid" or "group NAME"; own memory */
    char *member;  /* "client/sid" of the group's member who was given it; own memory, or NULL */
    char *pattern; /* own memory */
};

struct trace_message {
    char *topic; /* own memory; NULL: not told of yet */
    struct trace_holder *holders;
    size_t count, cap;
};

struct trace_printer {
    struct output *out; /* lent */
    bool numbers;       /* messages are told apart by number */
    uint64_t last;      /* the message that was printed last; 0: none */
    struct trace_message messages[TRACE_MESSAGES_MAX];
};

/* event has been accepted by mps_document_check(). What it doesn't know it passes over. */
void trace_print(struct trace_printer *printer, mps_view event);
void trace_printer_free(struct trace_printer *printer);

/* Fields of a checked map; otherwise 0, or the absent view. */
uint64_t trace_number(mps_view map, const char *key);
mps_view trace_text(mps_view map, const char *key);

#endif
