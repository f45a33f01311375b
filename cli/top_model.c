#include "top_model.h"

#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define UNKNOWN_RATE (-1.0)

static void *room_for(size_t count, size_t size)
{
    void *room = calloc(count, size);
    if (room) return room;
    complain("out of memory");
    exit(CLI_EXIT_ERROR);
}

static mps_view text_at(const uint8_t *entry, size_t offset)
{
    mps_view text;
    memcpy(&text, entry + offset, sizeof text);
    return text;
}

static uint64_t number_at(const uint8_t *entry, size_t offset)
{
    uint64_t number;
    memcpy(&number, entry + offset, sizeof number);
    return number;
}

/* ---- order ---- */

static int compare_texts(mps_view a, mps_view b)
{
    uint32_t shorter = a.len < b.len ? a.len : b.len;
    int order = shorter > 0 ? memcmp(a.ptr, b.ptr, shorter) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare_identity(const struct top_view *view, const uint8_t *a, const uint8_t *b)
{
    for (size_t i = 0; i < view->columns_count; i++) {
        const struct top_column *column = &view->columns[i];
        if (!column->identity) continue;
        uint64_t one = 0, other = 0;
        int order = 0;
        if (column->kind == TOP_TEXT) {
            order = compare_texts(text_at(a, column->offset), text_at(b, column->offset));
        } else {
            one = number_at(a, column->offset);
            other = number_at(b, column->offset);
            order = (one > other) - (one < other);
        }
        if (order) return order;
    }
    return 0;
}

/* Numbers from the greatest, texts from the first, what is not known last in any case. */
static int compare_values(const struct top_view *view, const struct top_row *a, const struct top_row *b, size_t column,
                          bool turned)
{
    struct top_value one = top_value(view, a, column), other = top_value(view, b, column);
    if (!one.is_known || !other.is_known) return other.is_known - one.is_known;
    int order = 0;
    switch (view->columns[column].kind) {
    case TOP_TEXT: order = compare_texts(one.text, other.text); break;
    case TOP_COUNT:
    case TOP_BYTES:
    case TOP_TIME: order = (one.number < other.number) - (one.number > other.number); break;
    case TOP_RATE:
    case TOP_BYTE_RATE: order = (one.rate < other.rate) - (one.rate > other.rate); break;
    }
    return turned ? -order : order;
}

struct sorting {
    const struct top_view *view;
    const struct top_order *order;
};

/* What agrees in the column of the order is told apart by the others, from the left, so that it stays where it is. */
static int compare_rows(const void *a, const void *b, void *context)
{
    const struct sorting *sorting = context;
    const struct top_row *one = *(const struct top_row *const *)a, *other = *(const struct top_row *const *)b;
    int order = compare_values(sorting->view, one, other, sorting->order->column, sorting->order->turned);
    for (size_t i = 0; i < sorting->view->columns_count && !order; i++)
        order = compare_values(sorting->view, one, other, i, false);
    return order;
}

/* ---- rates ---- */

static int compare_entries(const void *a, const void *b, void *view)
{
    return compare_identity(view, *(const uint8_t *const *)a, *(const uint8_t *const *)b);
}

/* The entries of the report before, so that one can be found. */
struct earlier {
    const struct top_view *view;
    const uint8_t **sorted;
    size_t count;
    bool is_complete;    /* what isn't there was not there */
    uint64_t elapsed_ms; /* 0: nothing is known */
};

static const uint8_t *find_earlier(const struct earlier *earlier, const uint8_t *entry)
{
    size_t low = 0, high = earlier->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_identity(earlier->view, earlier->sorted[middle], entry);
        if (order == 0) return earlier->sorted[middle];
        if (order < 0) low = middle + 1;
        else high = middle;
    }
    return NULL;
}

/* A counter that is less than it was began anew meanwhile. */
static double rate_of(const struct earlier *earlier, const struct top_column *column, const uint8_t *before,
                      const uint8_t *now)
{
    uint64_t count = number_at(now, column->offset);
    uint64_t base = before ? number_at(before, column->offset) : 0;
    if (count == REPORT_UNKNOWN || base == REPORT_UNKNOWN) return UNKNOWN_RATE;
    if (base > count) base = 0;
    return (double)(count - base) * 1000 / (double)earlier->elapsed_ms;
}

static void fill_row(struct top_row *row, const struct earlier *earlier, const uint8_t *entry)
{
    const struct top_view *view = earlier->view;
    bool is_known = earlier->elapsed_ms > 0;
    const uint8_t *before = is_known ? find_earlier(earlier, entry) : NULL;
    bool is_new = view->age_offset > 0 && number_at(entry, view->age_offset) < earlier->elapsed_ms;
    if (is_new) before = NULL;
    if (!before && !is_new && !earlier->is_complete) is_known = false;
    row->entry = entry;
    for (size_t i = 0; i < view->columns_count; i++) {
        const struct top_column *column = &view->columns[i];
        row->rates[i] = is_known && top_is_rate(column->kind) ? rate_of(earlier, column, before, entry) : UNKNOWN_RATE;
    }
}

/* Topics are counted only while somebody asks: if that began since the report before, all that is counted came since.
 */
static void note_counting(struct earlier *earlier, const struct report *next)
{
    if (earlier->view->section != REPORT_TOPICS || next->topics_since_ms >= earlier->elapsed_ms) return;
    earlier->elapsed_ms = next->topics_since_ms;
    earlier->count = 0;
    earlier->is_complete = true;
}

static void open_earlier(struct earlier *earlier, const struct top_view *view, const struct report *before,
                         const struct report *next, uint64_t elapsed_ms)
{
    struct top_entries entries = top_entries(view, before);
    *earlier = (struct earlier){.view = view, .elapsed_ms = elapsed_ms, .is_complete = entries.count >= entries.total};
    if (elapsed_ms > 0 && entries.count > 0) {
        earlier->sorted = room_for(entries.count, sizeof *earlier->sorted);
        for (; earlier->count < entries.count; earlier->count++)
            earlier->sorted[earlier->count] = entries.first + earlier->count * view->entry_size;
        qsort_r(earlier->sorted, earlier->count, sizeof *earlier->sorted, compare_entries, (void *)view);
    }
    note_counting(earlier, next);
}

static void fill_table(struct top_table *table, const struct top_view *view, const struct report *before,
                       const struct report *now, uint64_t elapsed_ms)
{
    struct top_entries entries = top_entries(view, now);
    struct earlier earlier;
    open_earlier(&earlier, view, before, now, elapsed_ms);
    free(table->rows);
    *table = (struct top_table){.total = entries.total, .count = entries.count};
    if (entries.count > 0) table->rows = room_for(entries.count, sizeof *table->rows);
    for (size_t i = 0; i < entries.count; i++)
        fill_row(&table->rows[i], &earlier, entries.first + i * view->entry_size);
    free(earlier.sorted);
}

/* By the broker's own clock, which nobody sets; less than before: it started anew. */
static uint64_t elapsed_of(const struct top_model *model, const struct report *next)
{
    uint64_t then = model->report.broker.uptime_ms, now = next->broker.uptime_ms;
    bool goes_on = model->is_filled && !model->forgets && then != REPORT_UNKNOWN && now != REPORT_UNKNOWN;
    return goes_on && now > then ? now - then : 0;
}

void top_model_take(struct top_model *model, struct report *next)
{
    struct report before = model->report;
    struct earlier earlier;
    model->elapsed_ms = elapsed_of(model, next);
    model->report = *next;
    *next = (struct report){0};
    for (int i = 0; i < TOP_VIEWS_COUNT; i++)
        fill_table(&model->tables[i], &top_views[i], &before, &model->report, model->elapsed_ms);
    open_earlier(&earlier, &top_broker, &before, &model->report, model->elapsed_ms);
    fill_row(&model->broker, &earlier, (const uint8_t *)&model->report.broker);
    free(earlier.sorted);
    report_free(&before);
    model->is_filled = true;
    model->forgets = false;
}

void top_model_forget(struct top_model *model)
{
    model->forgets = true;
}

void top_model_free(struct top_model *model)
{
    for (int i = 0; i < TOP_VIEWS_COUNT; i++) free(model->tables[i].rows);
    report_free(&model->report);
    *model = (struct top_model){0};
}

/* ---- cells ---- */

struct top_value top_value(const struct top_view *view, const struct top_row *row, size_t column)
{
    const struct top_column *what = &view->columns[column];
    struct top_value value = {0};
    if (what->kind == TOP_TEXT) {
        value.text = text_at(row->entry, what->offset);
        value.is_known = value.text.ptr != NULL;
    } else if (top_is_rate(what->kind)) {
        value.rate = row->rates[column];
        value.is_known = value.rate >= 0;
    } else {
        value.number = number_at(row->entry, what->offset);
        value.is_known = value.number != REPORT_UNKNOWN;
    }
    return value;
}

bool top_is_slow(const struct top_view *view, const struct top_row *row)
{
    bool slow = false;
    if (view->slow_offset > 0) memcpy(&slow, row->entry + view->slow_offset, sizeof slow);
    return slow;
}

/* ---- selecting ---- */

static bool equal_letters(uint8_t a, uint8_t b)
{
    if (a >= 'A' && a <= 'Z') a = (uint8_t)(a - 'A' + 'a');
    if (b >= 'A' && b <= 'Z') b = (uint8_t)(b - 'A' + 'a');
    return a == b;
}

static bool contains(mps_view text, const char *part)
{
    size_t len = strlen(part);
    for (size_t at = 0; at + len <= text.len; at++) {
        size_t same = 0;
        while (same < len && equal_letters(text.ptr[at + same], (uint8_t)part[same])) same++;
        if (same == len) return true;
    }
    return false;
}

static bool passes(const struct top_view *view, const struct top_row *row, const char *filter)
{
    if (!*filter) return true;
    for (size_t i = 0; i < view->columns_count; i++) {
        struct top_value value = top_value(view, row, i);
        if (value.text.ptr && contains(value.text, filter)) return true;
    }
    return false;
}

size_t top_select(const struct top_view *view, const struct top_table *table, const struct top_order *order,
                  const char *filter, const struct top_row ***rows)
{
    struct sorting sorting = {view, order};
    size_t count = 0;
    *rows = NULL;
    if (table->count == 0) return 0;
    *rows = room_for(table->count, sizeof **rows);
    for (size_t i = 0; i < table->count; i++)
        if (passes(view, &table->rows[i], filter)) (*rows)[count++] = &table->rows[i];
    qsort_r(*rows, count, sizeof **rows, compare_rows, &sorting);
    return count;
}
