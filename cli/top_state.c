#include "top_state.h"

#include <string.h>

#include "utf8.h"

enum {
    ESCAPE = 27,
    ENTER = '\r',
    NEWLINE = '\n',
    TAB = '\t',
    DELETE = 127,
    CONTROL_H = 8,
    CONTROL_U = 21,
    CONTROL_W = 23
};

const char *const top_keys_help[] = {
    "q\tquit",
    "Tab, 1-5\tnext view, this view",
    "s, S\tsort by the next column, the one before",
    "left, right\tthe same",
    "r\tsort the other way round",
    "/\tshow only rows with this text",
    "Esc\tshow all rows again",
    "space\tpause, go on",
    "up, down\tscroll",
    "PgUp, PgDn\tscroll by a page",
    "Home, End\tthe first, the last rows",
    "?, h\tthis help",
    NULL,
};

void top_state_open(struct top_state *state)
{
    *state = (struct top_state){0};
    for (int i = 0; i < TOP_VIEWS_COUNT; i++) state->orders[i].column = top_views[i].sort;
}

void top_state_clamp(struct top_state *state)
{
    size_t last = state->rows > state->page ? state->rows - state->page : 0;
    if (state->first > last) state->first = last;
}

/* ---- the filter ---- */

static void remove_character(struct top_state *state)
{
    size_t len = strlen(state->filter);
    while (len > 0 && ((unsigned char)state->filter[len - 1] & 0xc0) == 0x80) len--;
    state->filter[len > 0 ? len - 1 : 0] = '\0';
}

/* What is no character to be seen, or finds no room, is not taken. */
static bool add_character(struct top_state *state, uint32_t code)
{
    char text[UTF8_MAX];
    size_t len = strlen(state->filter), size = utf8_write(text, code);
    if (code < 32 || (code >= 127 && code < 160) || size == 0 || len + size >= TOP_FILTER_MAX) return false;
    memcpy(state->filter + len, text, size);
    state->filter[len + size] = '\0';
    return true;
}

static bool edit_filter(struct top_state *state, uint32_t key)
{
    switch (key) {
    case ENTER:
    case NEWLINE: state->is_editing = false; return true;
    case ESCAPE:
        memcpy(state->filter, state->before, sizeof state->filter);
        state->is_editing = false;
        break;
    case TOP_KEY_BACKSPACE:
    case DELETE:
    case CONTROL_H: remove_character(state); break;
    case CONTROL_U:
    case CONTROL_W: state->filter[0] = '\0'; break;
    default:
        if (!add_character(state, key)) return false;
    }
    state->first = 0;
    return true;
}

/* ---- everything else ---- */

static void show_view(struct top_state *state, int view)
{
    state->view = (enum top_view_name)((view + TOP_VIEWS_COUNT) % TOP_VIEWS_COUNT);
    state->first = 0;
}

/* The next column that is shown, or the one before. */
static void sort_by(struct top_state *state, bool next)
{
    const struct top_view *view = &top_views[state->view];
    struct top_order *order = &state->orders[state->view];
    do {
        order->column = (order->column + (next ? 1 : view->columns_count - 1)) % view->columns_count;
    } while (!view->columns[order->column].title);
    order->turned = false;
    state->first = 0;
}

static void scroll_up(struct top_state *state, size_t rows)
{
    state->first -= rows < state->first ? rows : state->first;
}

static void scroll_down(struct top_state *state, size_t rows)
{
    state->first += rows;
    top_state_clamp(state);
}

static bool scroll(struct top_state *state, uint32_t key)
{
    size_t page = state->page > 1 ? state->page - 1 : 1;
    switch (key) {
    case TOP_KEY_UP: scroll_up(state, 1); return true;
    case TOP_KEY_DOWN: scroll_down(state, 1); return true;
    case TOP_KEY_PAGE_UP: scroll_up(state, page); return true;
    case TOP_KEY_PAGE_DOWN: scroll_down(state, page); return true;
    case TOP_KEY_HOME: state->first = 0; return true;
    case TOP_KEY_END: scroll_down(state, state->rows); return true;
    default: return false;
    }
}

static void begin_editing(struct top_state *state)
{
    memcpy(state->before, state->filter, sizeof state->before);
    state->is_editing = true;
}

static bool choose(struct top_state *state, uint32_t key)
{
    switch (key) {
    case TAB: show_view(state, (int)state->view + 1); return true;
    case TOP_KEY_BACK_TAB: show_view(state, (int)state->view - 1); return true;
    case 's':
    case TOP_KEY_RIGHT: sort_by(state, true); return true;
    case 'S':
    case TOP_KEY_LEFT: sort_by(state, false); return true;
    case 'r': state->orders[state->view].turned = !state->orders[state->view].turned; return true;
    case '/': begin_editing(state); return true;
    case ESCAPE: state->filter[0] = '\0'; return true;
    case ' ': state->is_paused = !state->is_paused; return true;
    default:
        if (key < '1' || key >= '1' + TOP_VIEWS_COUNT) return scroll(state, key);
        show_view(state, (int)(key - '1'));
        return true;
    }
}

bool top_state_key(struct top_state *state, uint32_t key)
{
    if (state->is_editing) return edit_filter(state, key);
    if (key == 'q' || key == 'Q') return state->ends = true;
    if (state->shows_help) { /* any key ends it */
        state->shows_help = false;
        return true;
    }
    if (key == '?' || key == 'h') return state->shows_help = true;
    return choose(state, key);
}
