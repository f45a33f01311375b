/* The FORMAT of -F, taken apart once. */
#ifndef CLI_FORMAT_H
#define CLI_FORMAT_H

#include <stdbool.h>
#include <stddef.h>

enum format_what {
    FORMAT_LITERAL, /* text as it is; %n and %% become such */
    FORMAT_TOPIC,   /* %t */
    FORMAT_PAYLOAD, /* %p */
    FORMAT_JSON,    /* %j */
    FORMAT_RAW,     /* %r */
    FORMAT_TIME,    /* %T */
    FORMAT_SEQ,     /* %q */
    FORMAT_FIELD,   /* %{a.b}: text is the path */
    FORMAT_HEADER,  /* %h{name}: text is the name */
};

struct format_item {
    enum format_what what;
    const char *text; /* borrowed from the format, or static */
    size_t len;
};

struct format {
    struct format_item *items;
    size_t count;
};

/* Takes text apart; a newline is put at the end unless %n stands there. text must outlive the format.
 * False: error holds a clause for a person, and there is nothing to free. */
bool format_parse(struct format *format, const char *text, char *error, size_t error_cap);
void format_free(struct format *format);

#endif
