#include "top_print.h"

#include <inttypes.h>
#include <stdlib.h>

#include "json_out.h"
#include "top_layout.h"
#include "top_summary.h"

static void put_line(struct output *out, struct buffer *line)
{
    output_put(out, line->data, line->len);
    output_char(out, '\n');
    line->len = 0;
}

static size_t select_rows(const struct top_options *options, const struct top_model *model, enum top_view_name view,
                          const struct top_row ***rows)
{
    const struct top_state *state = &options->state;
    size_t count = top_select(&top_views[view], &model->tables[view], &state->orders[view], state->filter, rows);
    return count < options->rows ? count : (size_t)options->rows;
}

/* ---- text ---- */

static void print_table(struct output *out, const struct top_options *options, const struct top_model *model,
                        enum top_view_name view, size_t width)
{
    const struct top_row **rows;
    struct top_layout layout;
    struct buffer line = {0};
    size_t count = select_rows(options, model, view, &rows);
    top_summary_view(model, view, &line);
    put_line(out, &line);
    if (count > 0) {
        top_layout_make(&layout, &top_views[view], &options->state.orders[view], rows, count, width);
        top_layout_titles(&layout, &line);
        put_line(out, &line);
    }
    for (size_t i = 0; i < count; i++) {
        top_layout_row(&layout, rows[i], &line);
        put_line(out, &line);
    }
    buffer_free(&line);
    free(rows);
}

void top_print_text(struct output *out, const struct top_options *options, const struct top_model *model, size_t width)
{
    struct buffer line = {0};
    top_summary_traffic(model, width, &line);
    put_line(out, &line);
    top_summary_memory(model, width, &line);
    put_line(out, &line);
    buffer_free(&line);
    for (int view = 0; view < TOP_VIEWS_COUNT; view++) {
        if (!top_options_show(options, (enum top_view_name)view)) continue;
        output_char(out, '\n');
        print_table(out, options, model, (enum top_view_name)view, width);
    }
}

/* ---- JSON ---- */

static void put_name(struct output *out, const char *name, bool is_first)
{
    output_format(out, "%s\"%s\":", is_first ? "" : ",", name);
}

static void put_value(struct output *out, enum top_kind kind, const struct top_value *value)
{
    if (!value->is_known) output_text(out, "null");
    else if (kind == TOP_TEXT) json_out_text(out, value->text);
    else if (top_is_rate(kind)) output_format(out, "%.2f", value->rate);
    else output_format(out, "%" PRIu64, value->number);
}

static void put_object(struct output *out, const struct top_view *view, const struct top_row *row)
{
    output_char(out, '{');
    for (size_t i = 0; i < view->columns_count; i++) {
        struct top_value value = top_value(view, row, i);
        put_name(out, view->columns[i].name, i == 0);
        put_value(out, view->columns[i].kind, &value);
    }
    if (view->slow_offset > 0) output_text(out, top_is_slow(view, row) ? ",\"slow\":true" : ",\"slow\":false");
    output_char(out, '}');
}

static void put_table(struct output *out, const struct top_options *options, const struct top_model *model,
                      enum top_view_name view)
{
    const struct top_row **rows;
    size_t count = select_rows(options, model, view, &rows);
    put_name(out, top_views[view].name, false);
    output_format(out, "{\"total\":%" PRIu64 ",\"list\":[", model->tables[view].total);
    for (size_t i = 0; i < count; i++) {
        if (i > 0) output_char(out, ',');
        put_object(out, &top_views[view], rows[i]);
    }
    output_text(out, "]}");
    free(rows);
}

void top_print_json(struct output *out, const struct top_options *options, const struct top_model *model)
{
    output_format(out, "{\"now_ms\":%" PRIu64 ",\"elapsed_ms\":", model->report.now_ms);
    if (model->elapsed_ms > 0) output_format(out, "%" PRIu64, model->elapsed_ms);
    else output_text(out, "null");
    put_name(out, "broker", false);
    put_object(out, &top_broker, &model->broker);
    for (int view = 0; view < TOP_VIEWS_COUNT; view++)
        if (top_options_show(options, (enum top_view_name)view))
            put_table(out, options, model, (enum top_view_name)view);
    output_text(out, "}\n");
}
