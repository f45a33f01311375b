/* What keeps the model of `pubsub top` up to date: asks the broker for a report each interval, over one connection, which
 * comes again by itself. */
#ifndef CLI_TOP_FEED_H
#define CLI_TOP_FEED_H

#include "report.h"
#include "top_options.h"

#define TOP_TROUBLE_MAX 256

/* What can be listed on the screen of each view; of what there is more, the greatest by the column of the order are. */
#define TOP_LIST_MAX 500

struct top_feed {
    struct link link;      /* its owner is the feed */
    struct top_model model;
    const struct top_options *options;
    const struct top_state *state; /* by what rows are sorted decides which the broker lists */
    struct report_query query;
    struct report next;    /* where the answer goes */
    bool is_asked;         /* query is under way */
    uint64_t answers;      /* how often one was over, with a report or without */
    bool was_lost;
    uint64_t due_ns;       /* when to ask next */
    unsigned sections;     /* of enum report_section */
    uint32_t limit;
    char trouble[TOP_TROUBLE_MAX]; /* what went wrong last, "": nothing */
    int exit_code;         /* what the last report that didn't come means; CLI_EXIT_DONE: it came */
};

/* Connects. reconnects: also when the connection is lost later. options and state are borrowed. Returns CLI_EXIT_DONE, or
 * complains and returns another exit code; to be closed in any case. */
int top_feed_open(struct top_feed *feed, const struct top_options *options, const struct top_state *state,
                  bool reconnects);

/* Asks when it is time to, waits, at longest until something happened or that moment, and takes what came. asks: whether to
 * ask at all. *is_news is set when there is a new report or a new trouble. extra as for link_step(), which says what is
 * returned. */
int top_feed_step(struct top_feed *feed, bool asks, struct pollfd *extra, nfds_t extra_count, bool *is_news);

/* Ask as soon as possible. */
void top_feed_hurry(struct top_feed *feed);
void top_feed_close(struct top_feed *feed);

#endif
