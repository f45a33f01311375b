#include "top_layout.h"

#include <stdio.h>
#include <string.h>

#include "rounded.h"

#define MARK_WIDTH 2      /* before each row: whether it is slow */
#define BETWEEN 2         /* blanks */
#define NUMBER_WIDTH 6    /* the least, so that columns stay where they are while numbers change */
#define TEXT_WIDTH_MAX 24 /* of a text that isn't what the view is about */
#define SUBJECT_WIDTH 12  /* what the view is about is given at least so much, by leaving out others */
#define DOWN "\xe2\x86\x93"
#define UP "\xe2\x86\x91"

/* What stands in a cell: borrowed from the row, or written to `amount`. */
static mps_view cell_text(const struct top_view *view, const struct top_row *row, size_t column,
                          char amount[ROUNDED_TEXT_MAX])
{
    struct top_value value = top_value(view, row, column);
    if (!value.is_known) return mps_text("-");
    switch (view->columns[column].kind) {
    case TOP_TEXT: return value.text;
    case TOP_COUNT: rounded_count(amount, value.number); break;
    case TOP_BYTES: rounded_size(amount, value.number); break;
    case TOP_TIME: rounded_lag(amount, value.number); break;
    case TOP_RATE: rounded_rate(amount, value.rate); break;
    case TOP_BYTE_RATE: rounded_size_rate(amount, value.rate); break;
    }
    return mps_text(amount);
}

static bool is_subject(const struct top_column *column)
{
    return column->title && column->rank == 0;
}

/* ---- widths ---- */

static size_t widest(const struct top_view *view, size_t column, const struct top_row *const *rows, size_t rows_count)
{
    size_t width = 0;
    for (size_t i = 0; i < rows_count; i++) {
        char amount[ROUNDED_TEXT_MAX];
        mps_view text = cell_text(view, rows[i], column, amount);
        size_t own = cell_width((const char *)text.ptr, text.len);
        if (own > width) width = own;
    }
    return width;
}

static size_t wanted_width(const struct top_layout *layout, size_t column, const struct top_row *const *rows,
                           size_t rows_count, bool bounded)
{
    const struct top_column *what = &layout->view->columns[column];
    size_t width = widest(layout->view, column, rows, rows_count), title = strlen(what->title) + 1;
    if (what->kind != TOP_TEXT && width < NUMBER_WIDTH) width = NUMBER_WIDTH;
    if (what->kind == TOP_TEXT && bounded && !is_subject(what) && width > TEXT_WIDTH_MAX) width = TEXT_WIDTH_MAX;
    return width > title ? width : title;
}

/* The least width of the whole: what the view is about can be cut. */
static size_t least_width(const struct top_layout *layout)
{
    size_t sum = MARK_WIDTH;
    for (size_t i = 0; i < layout->count; i++) {
        size_t width = layout->widths[i];
        if (is_subject(&layout->view->columns[layout->columns[i]]) && width > SUBJECT_WIDTH) width = SUBJECT_WIDTH;
        sum += width + (i > 0 ? BETWEEN : 0);
    }
    return sum;
}

/* The column of the order stays as long as any but what the view is about. */
static size_t least_important(const struct top_layout *layout)
{
    size_t found = layout->count;
    for (size_t i = 0; i < layout->count; i++) {
        const struct top_column *column = &layout->view->columns[layout->columns[i]];
        if (column->rank == 0 || layout->columns[i] == layout->order.column) continue;
        if (found == layout->count || column->rank >= layout->view->columns[layout->columns[found]].rank) found = i;
    }
    return found;
}

static void leave_out(struct top_layout *layout, size_t at)
{
    size_t behind = --layout->count - at;
    memmove(&layout->columns[at], &layout->columns[at + 1], behind * sizeof *layout->columns);
    memmove(&layout->widths[at], &layout->widths[at + 1], behind * sizeof *layout->widths);
}

/* What there is room for beyond the least, or not even for that. */
static void fit_subject(struct top_layout *layout, size_t width)
{
    size_t others = MARK_WIDTH, subject = layout->count;
    for (size_t i = 0; i < layout->count; i++) {
        if (is_subject(&layout->view->columns[layout->columns[i]])) subject = i;
        else others += layout->widths[i];
        if (i > 0) others += BETWEEN;
    }
    if (subject == layout->count) return;
    size_t left = width > others ? width - others : 1;
    if (layout->widths[subject] > left) layout->widths[subject] = left;
}

void top_layout_make(struct top_layout *layout, const struct top_view *view, const struct top_order *order,
                     const struct top_row *const *rows, size_t rows_count, size_t width)
{
    *layout = (struct top_layout){.view = view, .order = *order};
    for (size_t i = 0; i < view->columns_count; i++) {
        if (!view->columns[i].title) continue;
        layout->columns[layout->count] = i;
        layout->widths[layout->count++] = wanted_width(layout, i, rows, rows_count, width != TOP_WIDTH_ANY);
    }
    if (width == TOP_WIDTH_ANY) return;
    size_t victim;
    while (least_width(layout) > width && (victim = least_important(layout)) < layout->count) leave_out(layout, victim);
    fit_subject(layout, width);
}

/* ---- lines ---- */

static void put_cell(const struct top_layout *layout, size_t at, mps_view text, struct buffer *line)
{
    const struct top_column *column = &layout->view->columns[layout->columns[at]];
    enum cell_side side = column->kind == TOP_TEXT ? CELL_LEFT : CELL_RIGHT;
    if (at > 0) buffer_append(line, "  ", BETWEEN);
    if (at + 1 == layout->count && cell_width((const char *)text.ptr, text.len) <= layout->widths[at])
        cell_put_all(line, (const char *)text.ptr, text.len); /* no blanks at the end */
    else cell_put(line, (const char *)text.ptr, text.len, layout->widths[at], side);
}

void top_layout_titles(const struct top_layout *layout, struct buffer *line)
{
    buffer_append(line, "  ", MARK_WIDTH);
    for (size_t i = 0; i < layout->count; i++) {
        char title[64];
        bool ordered = layout->columns[i] == layout->order.column;
        bool is_text = layout->view->columns[layout->columns[i]].kind == TOP_TEXT;
        const char *arrow = !ordered ? "" : layout->order.turned ? UP : DOWN;
        const char *text = layout->view->columns[layout->columns[i]].title;
        snprintf(title, sizeof title, "%s%s%s", is_text ? "" : arrow, text, is_text ? arrow : "");
        put_cell(layout, i, mps_text(title), line);
    }
}

void top_layout_row(const struct top_layout *layout, const struct top_row *row, struct buffer *line)
{
    buffer_append(line, top_is_slow(layout->view, row) ? "! " : "  ", MARK_WIDTH);
    for (size_t i = 0; i < layout->count; i++) {
        char amount[ROUNDED_TEXT_MAX];
        put_cell(layout, i, cell_text(layout->view, row, layout->columns[i], amount), line);
    }
}
