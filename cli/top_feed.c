#include "top_feed.h"

#include <stdio.h>
#include <string.h>

#include "cli.h"

/* All that is wrong on the screen stands in one line of it: the complaints about the connection go there. */
static void note_trouble(struct top_feed *feed, const char *text)
{
    snprintf(feed->trouble, sizeof feed->trouble, "%s", text);
}

int top_feed_open(struct top_feed *feed, const struct top_options *options, const struct top_state *state,
                  bool reconnects)
{
    *feed = (struct top_feed){.link = {.owner = feed}, .options = options, .state = state, .due_ns = now_ns()};
    struct pubsub_options client = {.no_reconnect = !reconnects};
    return link_open(&feed->link, &options->connection, &client);
}

static const char *field_of(const struct top_feed *feed, enum top_view_name view)
{
    return top_views[view].columns[feed->state->orders[view].column].field;
}

static void ask(struct top_feed *feed)
{
    const struct report_terms terms = {
        .sections = feed->sections,
        .limit = feed->limit,
        .topics_by = field_of(feed, TOP_TOPICS),
        .subscriptions_by = field_of(feed, TOP_SUBSCRIPTIONS),
        .groups_by = field_of(feed, TOP_GROUPS),
        .connections_by = field_of(feed, TOP_CONNECTIONS),
        .streams_by = field_of(feed, TOP_STREAMS),
    };
    uint64_t interval_ns = feed->options->interval_ms * UINT64_C(1000000), now = now_ns();
    feed->due_ns += interval_ns;
    if (feed->due_ns < now) feed->due_ns = now + interval_ns; /* it was slow, or asleep */
    report_ask(&feed->query, &feed->link, &terms, &feed->next);
    feed->is_asked = true;
}

static void take_answer(struct top_feed *feed)
{
    feed->is_asked = false;
    feed->answers++;
    feed->exit_code = feed->query.exit_code;
    if (feed->exit_code == CLI_EXIT_DONE) {
        top_model_take(&feed->model, &feed->next);
        note_trouble(feed, "");
    } else if (!feed->link.is_lost) { /* else that is told */
        note_trouble(feed, feed->query.why);
    }
}

/* Whether the connection came or went. */
static bool note_connection(struct top_feed *feed)
{
    if (feed->link.is_lost == feed->was_lost) return false;
    feed->was_lost = feed->link.is_lost;
    if (feed->was_lost) return true;
    note_trouble(feed, "");
    top_model_forget(&feed->model); /* it may be another broker */
    top_feed_hurry(feed);
    return true;
}

int top_feed_step(struct top_feed *feed, bool asks, struct pollfd *extra, nfds_t extra_count, bool *is_news)
{
    char before[TOP_TROUBLE_MAX];
    memcpy(before, feed->trouble, sizeof before);
    if (asks && !feed->is_asked && !feed->link.is_lost && now_ns() >= feed->due_ns) ask(feed);
    bool waits_for_time = asks && !feed->is_asked && !feed->link.is_lost;
    int64_t wait_ms = feed->is_asked && feed->query.is_over ? 0 : waits_for_time ? ms_until(feed->due_ns) : -1;
    int result = link_step(&feed->link, extra, extra_count, wait_ms);
    *is_news = note_connection(feed);
    if (feed->is_asked && feed->query.is_over) {
        take_answer(feed);
        *is_news = true;
    }
    if (strcmp(before, feed->trouble) != 0) *is_news = true;
    return result;
}

void top_feed_hurry(struct top_feed *feed)
{
    feed->due_ns = now_ns();
}

void top_feed_close(struct top_feed *feed)
{
    if (feed->is_asked) report_forget(&feed->query);
    link_close(&feed->link, 0);
    report_free(&feed->next);
    top_model_free(&feed->model);
}
