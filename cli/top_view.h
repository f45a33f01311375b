/* What `pubsub top` shows: views, each a table of a report's entries, and their columns. Constant data. */
#ifndef CLI_TOP_VIEW_H
#define CLI_TOP_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "report.h"

#define TOP_COLUMNS_MAX 16

enum top_kind {
    TOP_TEXT,
    TOP_COUNT,     /* a number as it is */
    TOP_BYTES,
    TOP_TIME,      /* ms */
    TOP_RATE,      /* how much a counter grows a second */
    TOP_BYTE_RATE,
};

struct top_column {
    const char *title; /* over it; NULL: not in the table, only among the JSON */
    const char *name;  /* in JSON, and to sort by */
    const char *field; /* in the report, if its greatest values can be asked for; else NULL */
    enum top_kind kind;
    size_t offset;     /* of the member in the entry: mps_view or uint64_t */
    uint8_t rank;      /* the greatest is left out first where there is no room; 0: what the view is about, never */
    bool identity;     /* entries that agree in these are the same at different times */
};

enum top_view_name { TOP_TOPICS, TOP_SUBSCRIPTIONS, TOP_CONNECTIONS, TOP_GROUPS, TOP_STREAMS, TOP_VIEWS_COUNT };

struct top_view {
    const char *name;
    enum report_section section;
    size_t entry_size;
    const struct top_column *columns;
    size_t columns_count;
    size_t sort;          /* the column by which it is sorted at first */
    size_t slow_offset;   /* of the bool that says that an entry stands out; 0: there is none */
    size_t age_offset;    /* of the uint64_t that says for how many ms there has been an entry; 0: there is none */
};
extern const struct top_view top_views[TOP_VIEWS_COUNT];
extern const struct top_view top_broker; /* its only entry is struct report_broker */

struct top_entries {
    const uint8_t *first; /* each of the view's entry_size */
    size_t count;
    uint64_t total; /* how many there are in the broker */
};
struct top_entries top_entries(const struct top_view *view, const struct report *report);

bool top_is_rate(enum top_kind kind);

/* The column of that name; view->columns_count: there is none. */
size_t top_column_named(const struct top_view *view, const char *name);

#endif
