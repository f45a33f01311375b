/* Rows of a view as lines of text, in columns that fit a width. A column is as wide as what stands in it, within bounds; those
 * of the least importance are left out where there is no room, and what a view is about takes what is left. */
#ifndef CLI_TOP_LAYOUT_H
#define CLI_TOP_LAYOUT_H

#include "cell.h"
#include "top_model.h"

#define TOP_WIDTH_ANY 0 /* no limit: nothing is left out or cut */

struct top_layout {
    const struct top_view *view;
    struct top_order order;
    size_t columns[TOP_COLUMNS_MAX]; /* of the view, from left to right */
    size_t widths[TOP_COLUMNS_MAX];
    size_t count;
};

/* For these rows, in at most `width` places of a terminal. */
void top_layout_make(struct top_layout *layout, const struct top_view *view, const struct top_order *order,
                     const struct top_row *const *rows, size_t rows_count, size_t width);

/* Append a line, without its end: the titles, with an arrow at the one of the order (down: from the greatest, or from the
 * first text), or a row, with '!' before one that is slow. Nothing in it can drive a terminal. */
void top_layout_titles(const struct top_layout *layout, struct buffer *line);
void top_layout_row(const struct top_layout *layout, const struct top_row *row, struct buffer *line);

#endif
