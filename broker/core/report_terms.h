/* What a request for a report asks for. Internal to the core. */
#ifndef BROKER_REPORT_TERMS_H
#define BROKER_REPORT_TERMS_H

#include "model.h"

enum report_section {
    REPORT_BROKER,
    REPORT_LIMITS,
    REPORT_LISTENERS,
    REPORT_TOPICS,
    REPORT_SUBSCRIPTIONS,
    REPORT_GROUPS,
    REPORT_CONNECTIONS,
    REPORT_STREAMS,
    REPORT_CLUSTER,
    REPORT_SECTIONS
};
extern const char *const report_section_names[REPORT_SECTIONS];

#define REPORT_LIMIT_DEFAULT 100u
#define REPORT_LIMIT_MAX 10000u

/* The key of an entry by which a list is ordered: of a struct mailbox (subscriptions and groups), session, tally_topic, or
 * stream. */
typedef uint64_t (*report_key_fn)(const void *thing);

struct report_terms {
    unsigned sections; /* a bit each */
    uint32_t limit;    /* entries of each list */
    report_key_fn keys[REPORT_SECTIONS]; /* NULL: it is not ordered */
};

/* Reads a request's payload, which is any bytes; none at all ask for everything. False: text says what is wrong with it. */
bool report_terms_read(struct report_terms *terms, mps_view payload, char *text, size_t text_cap);

#endif
