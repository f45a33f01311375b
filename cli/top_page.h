/* What stands on the screen of `pubsub top`, as lines of safe text. No terminal. */
#ifndef CLI_TOP_PAGE_H
#define CLI_TOP_PAGE_H

#include "top_layout.h"
#include "top_state.h"

#define TOP_HEIGHT_MAX 500 /* lines; of a higher terminal the rest is empty */

enum top_style { TOP_PLAIN, TOP_TITLE, TOP_HEADS, TOP_SLOW, TOP_ALERT };

struct top_line {
    struct buffer text; /* UTF-8, at most as wide as the page */
    enum top_style style;
};

/* All zero is an empty one; made again and again, and freed in the end. */
struct top_page {
    struct top_line lines[TOP_HEIGHT_MAX];
    size_t count;
    bool has_cursor;       /* something is being typed */
    size_t cursor_x, cursor_y;
};

/* Makes the page for a screen of that size. trouble: what is wrong, "" for nothing. url: where the broker is. */
void top_page_make(struct top_page *page, struct top_state *state, const struct top_model *model, const char *trouble,
                   const char *url, size_t height, size_t width);
void top_page_free(struct top_page *page);

#endif
