/* How received messages are printed: the options, and the printing. */
#ifndef CLI_PRINT_H
#define CLI_PRINT_H

#include <pubsub/pubsub.h>

#include "format.h"
#include "moment.h"
#include "options.h"
#include "output.h"

enum print_form {
    PRINT_AUTO, /* LINE if more than one topic can come, else PAYLOAD */
    PRINT_LINE,
    PRINT_PAYLOAD,
    PRINT_JSON,
    PRINT_RAW,
    PRINT_MSGPACK,
    PRINT_TOPIC,
    PRINT_NONE,
    PRINT_FORMAT,
    PRINT_BODY, /* for a program, not a line: text as it is, other documents as JSON, bytes as they are */
};

struct print_options {
    enum print_form form;
    const char *format; /* of PRINT_FORMAT */
};
extern const struct option_row print_option_rows[];

struct printer {
    struct output out;
    enum print_form form;
    struct format format;
    uint64_t second; /* the time of `date`: for not doing the same calendar work for each message */
    char date[MOMENT_TEXT_MAX];
    bool error_said;
};

/* patterns: what is subscribed to. False: complained, the format is wrong. */
bool printer_open(struct printer *printer, const struct print_options *options, char *const *patterns,
                  int pattern_count);
/* Into memory, which is lent; PRINT_AUTO is PRINT_BODY then. */
bool printer_open_memory(struct printer *printer, const struct print_options *options, struct buffer *memory);
void printer_close(struct printer *printer);

void printer_message(struct printer *printer, const struct pubsub_message *message);

/* In JSON a line of the output, else one on stderr, in its place between the messages. */
void printer_gap(struct printer *printer, const char *pattern, const struct pubsub_gap *gap);

void printer_gap_line(const char *pattern, const struct pubsub_gap *gap); /* that line on stderr */

/* Writes what was printed. Returns CLI_EXIT_DONE to go on; PRINTER_CLOSED if nobody reads it any more; or complains
 * and returns CLI_EXIT_ERROR. */
#define PRINTER_CLOSED (-1)
int printer_flush(struct printer *printer);

#endif
