#include "top_page.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "moment.h"
#include "rounded.h"
#include "top_summary.h"

/* From these heights on there is room for it. */
enum { HEIGHT_OF_TABS = 4, HEIGHT_OF_TRAFFIC = 8, HEIGHT_OF_HINTS = 10, HEIGHT_OF_ALL = 13 };
#define HINTS "q quit  ? help  Tab view  s sort  / filter  space pause"
#define NOTE_MAX 512

static struct buffer *new_line(struct top_page *page, enum top_style style)
{
    struct top_line *line = &page->lines[page->count < TOP_HEIGHT_MAX ? page->count++ : TOP_HEIGHT_MAX - 1];
    line->text.len = 0;
    line->style = style;
    return &line->text;
}

static void put_line(struct top_page *page, enum top_style style, const char *text, size_t width)
{
    cell_put(new_line(page, style), text, strlen(text), width, CELL_LEFT);
}

/* A line that was composed without regard to the width. */
static void put_cut(struct top_page *page, enum top_style style, const struct buffer *text, size_t width)
{
    cell_put(new_line(page, style), (const char *)text->data, text->len, width, CELL_LEFT);
}

/* ---- above the table ---- */

static void put_title(struct top_page *page, const struct top_model *model, const char *url, size_t width)
{
    char second[MOMENT_TEXT_MAX], title[NOTE_MAX];
    bool has_time = model->is_filled && moment_write_second(second, model->report.now_ms / 1000);
    const char *clock = has_time && strlen(second) > 11 ? second + 11 : "";
    snprintf(title, sizeof title, "pubsub top  %s", url);
    struct buffer *line = new_line(page, TOP_TITLE);
    size_t clock_width = *clock ? strlen(clock) + 3 : 0;
    if (width < clock_width + 20) clock_width = 0;
    cell_put(line, title, strlen(title), width - clock_width, CELL_LEFT);
    if (clock_width == 0) return;
    buffer_append(line, "  ", 2);
    cell_put(line, clock, strlen(clock), clock_width - 3, CELL_LEFT);
    buffer_append(line, "Z", 1);
}

static bool is_current(const struct top_state *state, int view)
{
    return (int)state->view == view;
}

/* All views, or only the one that is shown if there isn't room for all. */
static void put_tabs(struct top_page *page, const struct top_state *state, const struct top_model *model, size_t width)
{
    struct buffer all = {0}, current = {0};
    for (int i = 0; i < TOP_VIEWS_COUNT; i++) {
        struct buffer name = {0};
        char number[16];
        snprintf(number, sizeof number, "%d ", i + 1);
        buffer_append(&name, is_current(state, i) ? "[" : " ", 1);
        buffer_append(&name, number, strlen(number));
        top_summary_view(model, (enum top_view_name)i, &name);
        buffer_append(&name, is_current(state, i) ? "]" : " ", 1);
        buffer_append(&all, name.data, name.len);
        if (is_current(state, i)) buffer_append(&current, name.data, name.len);
        buffer_free(&name);
    }
    put_cut(page, TOP_PLAIN, all.len <= width ? &all : &current, width);
    buffer_free(&all);
    buffer_free(&current);
}

static void put_head(struct top_page *page, const struct top_state *state, const struct top_model *model,
                     const char *url, size_t height, size_t width)
{
    if (height >= HEIGHT_OF_ALL) put_title(page, model, url, width);
    if (height >= HEIGHT_OF_TRAFFIC) top_summary_traffic(model, width, new_line(page, TOP_PLAIN));
    if (height >= HEIGHT_OF_ALL) top_summary_memory(model, width, new_line(page, TOP_PLAIN));
    if (height >= HEIGHT_OF_ALL) new_line(page, TOP_PLAIN);
    if (height >= HEIGHT_OF_TABS) put_tabs(page, state, model, width);
}

/* ---- below it ---- */

static const char *behind_character(const char *text)
{
    do {
        text++;
    } while (((unsigned char)*text & 0xc0) == 0x80);
    return text;
}

static void put_prompt(struct top_page *page, const struct top_state *state, size_t width)
{
    /* The end of what is typed is what one wants to see. */
    const char *text = state->filter;
    while (*text && cell_width(text, strlen(text)) + 2 > width) text = behind_character(text);
    size_t used = cell_width(text, strlen(text)) + 1;
    struct buffer *line = new_line(page, TOP_PLAIN);
    buffer_append(line, "/", 1);
    cell_put_all(line, text, strlen(text));
    page->has_cursor = true;
    page->cursor_x = used < width ? used : width - 1;
    page->cursor_y = page->count - 1;
}

/* What there is to say in the last line; false: nothing but perhaps which keys there are. */
static bool make_note(char note[NOTE_MAX], enum top_style *style, const struct top_state *state,
                      const struct top_model *model, const char *trouble)
{
    const struct report *report = &model->report;
    *style = TOP_PLAIN;
    if (*trouble) {
        *style = TOP_ALERT;
        snprintf(note, NOTE_MAX, "%s", trouble);
    } else if (state->is_paused) {
        *style = TOP_ALERT;
        snprintf(note, NOTE_MAX, "paused; space goes on");
    } else if (*state->filter) {
        snprintf(note, NOTE_MAX, "only with '%s'; Esc shows all", state->filter);
    } else if (state->view == TOP_TOPICS && model->is_filled && report->topics_uncounted_messages > 0 &&
               report->topics_uncounted_messages != REPORT_UNKNOWN) {
        char count[ROUNDED_TEXT_MAX];
        rounded_count(count, report->topics_uncounted_messages);
        snprintf(note, NOTE_MAX, "%s messages of more topics than are counted", count);
    } else {
        return false;
    }
    return true;
}

static bool has_foot(const struct top_state *state, const struct top_model *model, const char *trouble, size_t height)
{
    char note[NOTE_MAX];
    enum top_style style;
    if (height < 3) return false;
    return state->is_editing || make_note(note, &style, state, model, trouble) || height >= HEIGHT_OF_HINTS;
}

static void put_foot(struct top_page *page, const struct top_state *state, const struct top_model *model,
                     const char *trouble, size_t width)
{
    char note[NOTE_MAX];
    enum top_style style;
    if (state->is_editing) put_prompt(page, state, width);
    else if (make_note(note, &style, state, model, trouble)) put_line(page, style, note, width);
    else put_line(page, TOP_PLAIN, HINTS, width);
}

/* ---- the table ---- */

static void put_nothing(struct top_page *page, const struct top_state *state, const struct top_model *model,
                        size_t width)
{
    const char *text = "  there are none";
    if (!model->is_filled) text = "  waiting for the broker's report";
    else if (model->tables[state->view].count > 0) text = "  none passes the filter";
    else if (state->view == TOP_TOPICS) text = "  no messages since this was opened";
    put_line(page, TOP_PLAIN, text, width);
}

static void put_rows(struct top_page *page, struct top_state *state, const struct top_model *model, size_t height,
                     size_t width)
{
    const struct top_view *view = &top_views[state->view];
    const struct top_order *order = &state->orders[state->view];
    const struct top_row **rows;
    struct top_layout layout;
    struct buffer heads = {0};
    state->rows = top_select(view, &model->tables[state->view], order, state->filter, &rows);
    state->page = height > 1 ? height - 1 : 0;
    top_state_clamp(state);
    top_layout_make(&layout, view, order, rows, state->rows, width);
    top_layout_titles(&layout, &heads);
    put_cut(page, TOP_HEADS, &heads, width);
    buffer_free(&heads);
    for (size_t i = state->first; i < state->rows && i - state->first < state->page; i++) {
        struct buffer row = {0};
        top_layout_row(&layout, rows[i], &row);
        put_cut(page, top_is_slow(view, rows[i]) ? TOP_SLOW : TOP_PLAIN, &row, width);
        buffer_free(&row);
    }
    if (state->rows == 0 && state->page > 0) put_nothing(page, state, model, width);
    free(rows);
}

static void put_help(struct top_page *page, size_t height, size_t width)
{
    put_line(page, TOP_HEADS, "Keys; any of them goes back", width);
    for (const char *const *help = top_keys_help; *help && page->count < height; help++) {
        char text[NOTE_MAX];
        int keys = (int)strcspn(*help, "\t");
        snprintf(text, sizeof text, "%-12.*s  %s", keys, *help, *help + keys + 1);
        put_line(page, TOP_PLAIN, text, width);
    }
    if (page->count + 2 <= height) {
        new_line(page, TOP_PLAIN);
        put_line(page, TOP_SLOW, "! a first message that has waited for 1 s or longer", width);
    }
}

void top_page_make(struct top_page *page, struct top_state *state, const struct top_model *model, const char *trouble,
                   const char *url, size_t height, size_t width)
{
    if (height > TOP_HEIGHT_MAX) height = TOP_HEIGHT_MAX;
    page->count = 0;
    page->has_cursor = false;
    if (height == 0 || width == 0) return;
    if (state->shows_help) {
        put_help(page, height, width);
        return;
    }
    bool foot = has_foot(state, model, trouble, height);
    put_head(page, state, model, url, height, width);
    put_rows(page, state, model, height - page->count - foot, width);
    if (!foot) return;
    while (page->count + 1 < height) new_line(page, TOP_PLAIN);
    put_foot(page, state, model, trouble, width);
}

void top_page_free(struct top_page *page)
{
    for (size_t i = 0; i < TOP_HEIGHT_MAX; i++) buffer_free(&page->lines[i].text);
    page->count = 0;
}
