#include "complete_broker.h"

#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "complete.h"
#include "report.h"

#define PATIENCE_MS 500
#define VALUES_MAX 1000 /* retained ones that are looked at, and subscriptions and streams */

struct question {
    struct link link;
    char (*words)[PUBSUB_TOPIC_MAX + 1]; /* those that have been found */
    size_t count;
    bool values_are_over;
    uint64_t values;
};

/* ---- what was found ---- */

static void keep(struct question *question, const char *word, size_t len)
{
    const char *typed = complete_typed();
    if (len > PUBSUB_TOPIC_MAX || strncmp(word, typed, strlen(typed) < len ? strlen(typed) : len) != 0) return;
    if (question->count == (size_t)2 * VALUES_MAX) return;
    memcpy(question->words[question->count], word, len);
    question->words[question->count++][len] = '\0';
}

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void offer_found(struct question *question)
{
    if (question->count > 1) qsort(question->words, question->count, sizeof *question->words, compare);
    for (size_t i = 0; i < question->count; i++) {
        const char *word = question->words[i];
        if (i == 0 || strcmp(word, question->words[i - 1]) != 0) complete_offer(word, strlen(word), NULL);
    }
}

/* ---- asking ---- */

static void on_value(pubsub *client, const struct pubsub_message *message, void *user)
{
    (void)client;
    struct question *question = ((struct link *)user)->owner;
    if (!message->retained) return;
    keep(question, message->topic, message->topic_len);
    if (++question->values == VALUES_MAX) question->values_are_over = true;
}

static void on_mark(pubsub *client, uint32_t sid, enum pubsub_mark mark, void *user)
{
    (void)client, (void)sid;
    struct question *question = ((struct link *)user)->owner;
    if (mark == PUBSUB_MARK_RETAINED_DONE) question->values_are_over = true;
}

static void on_refusal(pubsub *client, const struct pubsub_refusal *refusal, void *user)
{
    (void)client, (void)refusal;
    ((struct question *)((struct link *)user)->owner)->values_are_over = true;
}

/* The values of the topics that begin with the whole levels that are typed. */
static void ask_for_values(struct question *question)
{
    char pattern[PUBSUB_TOPIC_MAX + 3];
    const char *typed = complete_typed(), *slash = strrchr(typed, '/');
    size_t len = slash ? (size_t)(slash - typed) + 1 : 0;
    question->values_are_over = true;
    if (len > PUBSUB_TOPIC_MAX || strcspn(typed, "+#") < len) return;
    memcpy(pattern, typed, len);
    strcpy(pattern + len, "#");
    const struct pubsub_subscribe_options options = {
        .by_credit = true, .credit = VALUES_MAX, .on_message = on_value, .on_mark = on_mark, .user = &question->link};
    question->values_are_over = pubsub_subscribe(question->link.client, pattern, &options, NULL) != PUBSUB_OK;
}

static void wait_for_both(struct question *question, const struct report_query *query)
{
    uint64_t end_ns = start_ns() + UINT64_C(1000000) * PATIENCE_MS;
    while (!question->values_are_over || !query->is_over) {
        int64_t left = ms_until(end_ns);
        if (left == 0 || link_step(&question->link, NULL, 0, left) != CLI_EXIT_DONE) return;
    }
}

/* Asks for a section of the broker's report, and for retained values. report: to be freed. False: nothing was found. */
static bool ask(struct question *question, const struct connection_options *connection, enum report_section section,
                struct report *report)
{
    struct connection_options nameless = *connection; /* a name may be in use */
    struct pubsub_options client = {.no_reconnect = true, .connect_ms = PATIENCE_MS, .on_refusal = on_refusal};
    const struct report_terms terms = {.sections = section, .limit = VALUES_MAX};
    struct report_query query = {0};
    nameless.client_id = NULL;
    question->link.owner = question;
    question->words = calloc((size_t)2 * VALUES_MAX, sizeof *question->words);
    if (!question->words || link_open(&question->link, &nameless, &client) != CLI_EXIT_DONE) return false;
    question->values_are_over = true;
    if (section == REPORT_SUBSCRIPTIONS) ask_for_values(question);
    report_ask(&query, &question->link, &terms, report);
    wait_for_both(question, &query);
    report_forget(&query);
    return true;
}

static void end(struct question *question, struct report *report)
{
    offer_found(question);
    link_close(&question->link, 0);
    report_free(report);
    free(question->words);
}

void complete_topics(const struct connection_options *connection, bool wild)
{
    struct question question = {0};
    struct report report = {0};
    if (ask(&question, connection, REPORT_SUBSCRIPTIONS, &report)) {
        mps_view ours = mps_text(pubsub_client_id(question.link.client));
        for (size_t i = 0; i < report.subscriptions_count; i++) {
            const struct report_reader *reader = &report.subscriptions[i];
            if (!reader->pattern.ptr || mps_view_equal(reader->client, ours)) continue;
            if (wild || !mps_topic_is_wild(reader->pattern))
                keep(&question, (const char *)reader->pattern.ptr, reader->pattern.len);
        }
    }
    end(&question, &report);
}

void complete_streams(const struct connection_options *connection)
{
    struct question question = {0};
    struct report report = {0};
    if (ask(&question, connection, REPORT_STREAMS, &report)) {
        for (size_t i = 0; i < report.streams_count; i++) {
            mps_view name = report.streams[i].name;
            if (name.ptr) keep(&question, (const char *)name.ptr, name.len);
        }
    }
    end(&question, &report);
}
