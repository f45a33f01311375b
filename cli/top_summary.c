#include "top_summary.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "rounded.h"
#include "top_layout.h"

#define FACT_MAX 96

/* Appends a fact if there is room for all of it. */
static void put_fact(struct buffer *line, size_t *left, const char *fact)
{
    size_t len = cell_width(fact, strlen(fact)), between = line->len > 0 ? 3 : 0;
    if (*left < between + len) return;
    buffer_append(line, "   ", between);
    cell_put_all(line, fact, strlen(fact));
    *left -= between + len;
}

static size_t room_of(size_t width)
{
    return width == TOP_WIDTH_ANY ? SIZE_MAX : width;
}

static void rate_text(char text[ROUNDED_TEXT_MAX], const struct top_model *model, const char *name)
{
    size_t column = top_column_named(&top_broker, name);
    struct top_value value = top_value(&top_broker, &model->broker, column);
    if (!value.is_known) snprintf(text, ROUNDED_TEXT_MAX, "-");
    else if (top_broker.columns[column].kind == TOP_BYTE_RATE) rounded_size_rate(text, value.rate);
    else rounded_rate(text, value.rate);
}

static void number_text(char text[ROUNDED_TEXT_MAX], uint64_t number,
                        void (*write)(char text[ROUNDED_TEXT_MAX], uint64_t number))
{
    if (number == REPORT_UNKNOWN) snprintf(text, ROUNDED_TEXT_MAX, "-");
    else write(text, number);
}

static void put_number(struct buffer *line, size_t *left, const char *name, uint64_t number,
                       void (*write)(char text[ROUNDED_TEXT_MAX], uint64_t number))
{
    char text[ROUNDED_TEXT_MAX], fact[FACT_MAX];
    if (number == REPORT_UNKNOWN) return;
    write(text, number);
    snprintf(fact, sizeof fact, "%s %s", name, text);
    put_fact(line, left, fact);
}

void top_summary_traffic(const struct top_model *model, size_t width, struct buffer *line)
{
    char messages[ROUNDED_TEXT_MAX], bytes[ROUNDED_TEXT_MAX], fact[FACT_MAX];
    const struct report_broker *broker = &model->report.broker;
    size_t left = room_of(width);
    rate_text(messages, model, "messages_in_per_s");
    rate_text(bytes, model, "bytes_in_per_s");
    snprintf(fact, sizeof fact, "in %s/s (%s bytes/s)", messages, bytes);
    put_fact(line, &left, fact);
    rate_text(messages, model, "messages_out_per_s");
    snprintf(fact, sizeof fact, "out %s/s", messages);
    put_fact(line, &left, fact);
    rate_text(messages, model, "lost_per_s");
    snprintf(fact, sizeof fact, "lost %s/s", messages);
    put_fact(line, &left, fact);
    put_number(line, &left, "lost in all", broker->lost, rounded_count);
}

void top_summary_memory(const struct top_model *model, size_t width, struct buffer *line)
{
    char queued[ROUNDED_TEXT_MAX], budget[ROUNDED_TEXT_MAX], fact[FACT_MAX];
    const struct report_broker *broker = &model->report.broker;
    size_t left = room_of(width);
    number_text(queued, broker->queued_bytes, rounded_size);
    number_text(budget, broker->queue_budget_bytes, rounded_size);
    snprintf(fact, sizeof fact, "queued %s of %s bytes", queued, budget);
    put_fact(line, &left, fact);
    put_number(line, &left, "memory", broker->rss_bytes, rounded_size);
    put_number(line, &left, "disk free", broker->data_free_bytes, rounded_size);
    put_number(line, &left, "retained", broker->retained, rounded_count);
    put_number(line, &left, "up for", broker->uptime_ms, rounded_lag);
    snprintf(fact, sizeof fact, "pubsubd %.*s", (int)(broker->version.len < 32 ? broker->version.len : 32),
             broker->version.ptr ? (const char *)broker->version.ptr : "?");
    put_fact(line, &left, fact);
}

static size_t count_slow(const struct top_view *view, const struct top_table *table)
{
    size_t slow = 0;
    for (size_t i = 0; i < table->count; i++) slow += top_is_slow(view, &table->rows[i]);
    return slow;
}

void top_summary_view(const struct top_model *model, enum top_view_name view, struct buffer *line)
{
    const struct top_table *table = &model->tables[view];
    size_t slow = count_slow(&top_views[view], table);
    char text[FACT_MAX], of[32] = "", stand_out[32] = "";
    if (table->count < table->total) snprintf(of, sizeof of, " of %" PRIu64, table->total);
    if (slow > 0) snprintf(stand_out, sizeof stand_out, ", %zu slow", slow);
    int len = snprintf(text, sizeof text, "%s %zu%s%s", top_views[view].name, table->count, of, stand_out);
    buffer_append(line, text, (size_t)len);
}
