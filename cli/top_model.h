/* What `pubsub top` knows: the newest report, and how its counters have grown since the one before. No I/O; running out of
 * memory ends the program. */
#ifndef CLI_TOP_MODEL_H
#define CLI_TOP_MODEL_H

#include "top_view.h"

/* An entry of a report, which is borrowed. */
struct top_row {
    const uint8_t *entry;
    double rates[TOP_COLUMNS_MAX]; /* of the columns that are one, a second; negative: not known */
};

struct top_table {
    struct top_row *rows;
    size_t count;
    uint64_t total; /* how many there are in the broker */
};

/* All zero is an empty one. */
struct top_model {
    bool is_filled;       /* there is a report */
    bool forgets;         /* the next report begins anew */
    struct report report;
    uint64_t elapsed_ms;  /* between the report before and this one, as the broker counts; 0: nothing is known of before */
    struct top_table tables[TOP_VIEWS_COUNT];
    struct top_row broker;
};

/* Takes over a report, which is empty then. Rates are those since the report before, if the broker did not start anew. An
 * entry that is new grew from nothing; if the report before told not all entries, its rates are not known. */
void top_model_take(struct top_model *model, struct report *next);

/* What comes next has nothing to do with the report that is there: after the connection was lost, or a pause. */
void top_model_forget(struct top_model *model);
void top_model_free(struct top_model *model);

/* One cell. */
struct top_value {
    bool is_known;
    mps_view text;   /* TOP_TEXT */
    uint64_t number; /* TOP_COUNT, TOP_BYTES, TOP_TIME */
    double rate;     /* the other kinds */
};
struct top_value top_value(const struct top_view *view, const struct top_row *row, size_t column);
bool top_is_slow(const struct top_view *view, const struct top_row *row);

struct top_order {
    size_t column;
    bool turned; /* texts from the last, numbers from the least */
};

/* The rows in this order (what is not known comes last), and of them those with a text that contains the filter ("": all),
 * whatever the case of ASCII letters. Returns their number; to be freed: *rows, NULL if there is none. */
size_t top_select(const struct top_view *view, const struct top_table *table, const struct top_order *order,
                  const char *filter, const struct top_row ***rows);

#endif
