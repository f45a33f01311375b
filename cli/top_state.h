/* What the user of `pubsub top` has chosen, and what keys do to it. No terminal. */
#ifndef CLI_TOP_STATE_H
#define CLI_TOP_STATE_H

#include "top_model.h"

#define TOP_FILTER_MAX 64 /* bytes, with the NUL */

/* A key is a character (Unicode), or one of these. */
enum top_key {
    TOP_KEY_UP = 0x110000,
    TOP_KEY_DOWN,
    TOP_KEY_LEFT,
    TOP_KEY_RIGHT,
    TOP_KEY_PAGE_UP,
    TOP_KEY_PAGE_DOWN,
    TOP_KEY_HOME,
    TOP_KEY_END,
    TOP_KEY_BACK_TAB,
    TOP_KEY_BACKSPACE,
};

struct top_state {
    enum top_view_name view;
    struct top_order orders[TOP_VIEWS_COUNT];
    char filter[TOP_FILTER_MAX]; /* of all views */
    char before[TOP_FILTER_MAX]; /* the filter, before it was edited */
    bool is_editing;             /* the filter is being typed */
    bool is_paused, shows_help, ends;
    size_t first;                /* the row that is at the top of the screen */
    size_t rows, page;           /* how many pass the filter, and how many the screen has room for; whoever draws says so */
};

void top_state_open(struct top_state *state);

/* Returns whether the key meant something. */
bool top_state_key(struct top_state *state, uint32_t key);

/* So that no room is left below the last row while there are some above the first. Whoever draws calls it, having set .rows
 * and .page. */
void top_state_clamp(struct top_state *state);

/* One a line, for the help: the keys, a tab, what they do; ended by NULL. */
extern const char *const top_keys_help[];

#endif
