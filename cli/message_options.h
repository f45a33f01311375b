/* What a message is, as `pub`, `req` and `reply` let the user say it: the form of its body, and its properties. */
#ifndef CLI_MESSAGE_OPTIONS_H
#define CLI_MESSAGE_OPTIONS_H

#include <pubsub/pubsub.h>

#include "body.h"
#include "options.h"

struct message_options {
    bool json, msgpack, raw, hex;
    struct body_form form; /* what these four come to */
    struct buffer headers; /* of struct pubsub_header; the names are allocated, the values are in argv */
    bool has_ttl;
    uint64_t ttl_ms;
    const char *key; /* of conflation; NULL: the topic */
};
extern const struct option_row form_option_rows[];     /* -j --msgpack --bin --hex */
extern const struct option_row property_option_rows[]; /* -H --ttl --key */

/* Takes the options of the form together. False: complained. */
bool message_options_combine(struct message_options *options);
void message_options_free(struct message_options *options);

/* Sets the fields of terms that the options are about. They borrow from the options. */
void message_options_apply(const struct message_options *options, struct pubsub_publish_options *terms);

#endif
