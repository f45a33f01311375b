/* What `pubsub top` makes of reports and keys, without a broker and a terminal: rates, order, columns, pages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cell.h"
#include "top_page.h"

/* ---- reports ---- */

static void *list_of(const void *entries, size_t count, size_t size)
{
    void *list = calloc(count ? count : 1, size);
    assert_non_null(list);
    if (count) memcpy(list, entries, count * size);
    return list;
}

/* A report of a broker that is up for so long, with these topics; nothing else was asked for. */
static struct report report_of(uint64_t uptime_ms, const struct report_topic *topics, size_t count, uint64_t total)
{
    struct report report = {.broker = {.uptime_ms = uptime_ms}};
    report.topics = list_of(topics, count, sizeof *topics);
    report.topics_count = count;
    report.topics_total = total;
    report.topics_since_ms = uptime_ms;
    report.topics_uncounted_messages = 0;
    report.subscriptions_total = report.groups_total = report.connections_total = report.streams_total = REPORT_UNKNOWN;
    return report;
}

static void take_topics(struct top_model *model, uint64_t uptime_ms, const struct report_topic *topics, size_t count,
                        uint64_t total)
{
    struct report report = report_of(uptime_ms, topics, count, total);
    top_model_take(model, &report);
    assert_null(report.topics);
}

/* The rate of a topic in the model, its first column or the second. */
static double rate(const struct top_model *model, const char *topic, size_t column)
{
    const struct top_table *table = &model->tables[TOP_TOPICS];
    for (size_t i = 0; i < table->count; i++) {
        const struct report_topic *entry = (const struct report_topic *)(const void *)table->rows[i].entry;
        if (mps_view_equal(entry->topic, mps_text(topic)))
            return top_value(&top_views[TOP_TOPICS], &table->rows[i], column).is_known ? table->rows[i].rates[column]
                                                                                       : -1;
    }
    fail_msg("no topic %s", topic);
    return 0;
}

static void assert_rate(const struct top_model *model, const char *topic, double messages, double bytes)
{
    assert_float_equal(rate(model, topic, 0), messages, 1e-6);
    assert_float_equal(rate(model, topic, 1), bytes, 1e-6);
}

#define TOPIC(name, count, size)              \
    {                                         \
        mps_text_const(name), (count), (size) \
    }
#define mps_text_const(text)                      \
    {                                             \
        (const uint8_t *)(text), sizeof(text) - 1 \
    }

static void rates_are_differences(void **state)
{
    (void)state;
    struct top_model model = {0};
    const struct report_topic first[] = {TOPIC("b", 100, 1000), TOPIC("a", 5, 50)};
    const struct report_topic second[] = {TOPIC("a", 25, 250), TOPIC("b", 100, 1000), TOPIC("new", 8, 80)};
    take_topics(&model, 10000, first, 2, 2);
    assert_int_equal(model.elapsed_ms, 0);
    assert_rate(&model, "a", -1, -1); /* nothing is known yet */
    take_topics(&model, 12000, second, 3, 3);
    assert_int_equal(model.elapsed_ms, 2000);
    assert_rate(&model, "a", 10, 100);
    assert_rate(&model, "b", 0, 0);
    assert_rate(&model, "new", 4, 40);
    top_model_free(&model);
}

static void what_was_not_told_before_has_no_rate(void **state)
{
    (void)state;
    struct top_model model = {0};
    const struct report_topic first[] = {TOPIC("a", 5, 50)};
    const struct report_topic second[] = {TOPIC("a", 6, 60), TOPIC("b", 1000, 9000)};
    take_topics(&model, 10000, first, 1, 7); /* b may have been among the other six */
    take_topics(&model, 11000, second, 2, 7);
    assert_rate(&model, "a", 1, 10);
    assert_rate(&model, "b", -1, -1);
    top_model_free(&model);
}

static void what_began_anew_has_no_negative_rate(void **state)
{
    (void)state;
    struct top_model model = {0};
    const struct report_topic many[] = {TOPIC("a", 500, 5000)}, few[] = {TOPIC("a", 30, 300)};
    take_topics(&model, 10000, many, 1, 1);
    take_topics(&model, 11000, few, 1, 1);
    assert_rate(&model, "a", 30, 300); /* the counter began anew */
    take_topics(&model, 900, many, 1, 1);
    assert_rate(&model, "a", -1, -1); /* the broker did */
    top_model_forget(&model);
    take_topics(&model, 1900, many, 1, 1);
    assert_rate(&model, "a", -1, -1);
    take_topics(&model, 2900, many, 1, 1);
    assert_rate(&model, "a", 0, 0);
    top_model_free(&model);
}

/* Nobody asked for 40 s, so that counting had ended and began anew 4 s ago. */
static void counting_that_began_since_counts_from_then(void **state)
{
    (void)state;
    struct top_model model = {0};
    const struct report_topic before[] = {TOPIC("a", 5, 50)}, after[] = {TOPIC("a", 20, 200)};
    take_topics(&model, 10000, before, 1, 1);
    struct report report = report_of(50000, after, 1, 1);
    report.topics_since_ms = 4000;
    top_model_take(&model, &report);
    assert_rate(&model, "a", 5, 50);
    report = report_of(51000, after, 1, 1);
    report.topics_since_ms = 0; /* just now */
    top_model_take(&model, &report);
    assert_rate(&model, "a", -1, -1);
    top_model_free(&model);
}

static struct report connections_of(uint64_t uptime_ms, uint64_t connected_ms, uint64_t messages_in, uint64_t total)
{
    const struct report_connection entry = {.client = mps_text("c"),
                                            .peer = mps_text("unix,uid:0"),
                                            .connected_ms = connected_ms,
                                            .messages_in = messages_in,
                                            .bytes_in = REPORT_UNKNOWN};
    struct report report = report_of(uptime_ms, NULL, 0, 0);
    report.connections = list_of(&entry, 1, sizeof entry);
    report.connections_count = 1;
    report.connections_total = total;
    return report;
}

/* A client of the same name that is there for less long than the last report is old is another connection. */
static void connections_that_are_new_count_from_nothing(void **state)
{
    (void)state;
    struct top_model model = {0};
    const struct top_row *row;
    struct report report = connections_of(10000, 5000, 10, 3);
    top_model_take(&model, &report);
    report = connections_of(12000, 7000, 50, 3);
    top_model_take(&model, &report);
    row = &model.tables[TOP_CONNECTIONS].rows[0];
    assert_float_equal(top_value(&top_views[TOP_CONNECTIONS], row, 0).rate, 20, 1e-6);
    assert_false(top_value(&top_views[TOP_CONNECTIONS], row, 1).is_known); /* the broker does not tell bytes */
    report = connections_of(14000, 500, 60, 3);
    top_model_take(&model, &report);
    row = &model.tables[TOP_CONNECTIONS].rows[0];
    assert_float_equal(top_value(&top_views[TOP_CONNECTIONS], row, 0).rate, 30, 1e-6);
    top_model_free(&model);
}

/* ---- order and filter ---- */

static struct report_reader reader(const char *client, uint64_t sid, uint64_t lag_ms, uint64_t queued, bool slow)
{
    return (struct report_reader){.client = mps_text(client),
                                  .pattern = mps_text("Site/#"),
                                  .policy = mps_text("drop_old"),
                                  .sid = sid,
                                  .lag_ms = lag_ms,
                                  .queued = queued,
                                  .slow = slow};
}

static void take_readers(struct top_model *model, const struct report_reader *readers, size_t count)
{
    struct report report = report_of(1000, NULL, 0, 0);
    report.subscriptions = list_of(readers, count, sizeof *readers);
    report.subscriptions_count = report.subscriptions_total = count;
    top_model_take(model, &report);
}

/* The order, as "client/sid client/sid". */
static void assert_selection(const struct top_model *model, const char *column, bool turned, const char *filter,
                             const char *wanted)
{
    const struct top_view *view = &top_views[TOP_SUBSCRIPTIONS];
    const struct top_order order = {top_column_named(view, column), turned};
    const struct top_row **rows;
    char text[512] = "";
    size_t count = top_select(view, &model->tables[TOP_SUBSCRIPTIONS], &order, filter, &rows), len = 0;
    for (size_t i = 0; i < count; i++) {
        const struct report_reader *entry = (const struct report_reader *)(const void *)rows[i]->entry;
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%.*s/%d", i ? " " : "", (int)entry->client.len,
                                (const char *)entry->client.ptr, (int)entry->sid);
    }
    assert_string_equal(text, wanted);
    free(rows);
}

static void rows_are_ordered_and_filtered(void **state)
{
    (void)state;
    struct top_model model = {0};
    const struct report_reader readers[] = {
        reader("ann", 2, 0, 5, false),
        reader("Bob", 1, 2000, 7, true),
        reader("ann", 1, 0, 5, false),
        reader("eve", 1, 0, 9, false),
        reader("dan", 1, REPORT_UNKNOWN, 1, false),
    };
    take_readers(&model, readers, 5);
    assert_selection(&model, "lag_ms", false, "", "Bob/1 eve/1 ann/2 ann/1 dan/1");
    assert_selection(&model, "lag_ms", true, "", "eve/1 ann/2 ann/1 Bob/1 dan/1");
    assert_selection(&model, "client", false, "", "Bob/1 ann/2 ann/1 dan/1 eve/1");
    assert_selection(&model, "client", true, "", "eve/1 dan/1 ann/2 ann/1 Bob/1");
    assert_selection(&model, "lag_ms", false, "bO", "Bob/1");
    assert_selection(&model, "queued", false, "AN", "ann/2 ann/1 dan/1");
    assert_selection(&model, "lag_ms", false, "site/", "Bob/1 eve/1 ann/2 ann/1 dan/1");
    assert_selection(&model, "lag_ms", false, "nobody", "");
    top_model_free(&model);
    take_readers(&model, readers, 0);
    assert_selection(&model, "lag_ms", false, "", "");
    top_model_free(&model);
}

static void all_columns_have_a_place(void **state)
{
    (void)state;
    for (int v = 0; v < TOP_VIEWS_COUNT; v++) {
        const struct top_view *view = &top_views[v];
        size_t subjects = 0, identities = 0;
        assert_in_range(view->columns_count, 1, TOP_COLUMNS_MAX);
        for (size_t i = 0; i < view->columns_count; i++) {
            const struct top_column *column = &view->columns[i];
            assert_int_equal(top_column_named(view, column->name), i); /* no name stands twice */
            subjects += column->title && column->rank == 0;
            identities += column->identity;
        }
        assert_int_equal(subjects, 1);
        assert_true(identities >= 1);
        assert_non_null(view->columns[view->sort].title);
    }
    assert_in_range(top_broker.columns_count, 1, TOP_COLUMNS_MAX);
}

/* ---- pages ---- */

#define WIDTHS_MAX 200

/* What must hold of any page: nothing is wider than the screen or below it, and nothing drives the terminal. */
static void check_page(const struct top_page *page, size_t height, size_t width)
{
    assert_true(page->count <= height);
    for (size_t i = 0; i < page->count; i++) {
        const char *text = (const char *)page->lines[i].text.data;
        size_t len = page->lines[i].text.len;
        assert_true(cell_width(text, len) <= width);
        for (size_t at = 0; at < len; at++) assert_true((unsigned char)text[at] >= 32 && text[at] != 127);
    }
    if (!page->has_cursor) return;
    assert_true(page->cursor_x < width);
    assert_true(page->cursor_y < height);
}

/* Whether a line of the page begins so, after blanks. */
static const struct top_line *line_with(const struct top_page *page, const char *text)
{
    for (size_t i = 0; i < page->count; i++) {
        const struct buffer *line = &page->lines[i].text;
        if (line->len > 0 && memmem(line->data, line->len, text, strlen(text))) return &page->lines[i];
    }
    return NULL;
}

static void fill_model(struct top_model *model)
{
    const struct report_topic topics[] = {TOPIC("plain", 5, 50), TOPIC("evil\x1b[31m\n\xe2\x80\xae", 7, 70),
                                          TOPIC("\xe6\xb8\xa9\xe5\xba\xa6/\xff", 9, 90)};
    struct report report = report_of(1000, topics, 3, 4000);
    const struct report_reader readers[] = {reader("slow\x1b]0;", 1, 2500, 5, true), reader("quick", 2, 0, 0, false)};
    report.subscriptions = list_of(readers, 2, sizeof *readers);
    report.subscriptions_count = report.subscriptions_total = 2;
    top_model_take(model, &report);
}

static void pages_fit_every_screen(void **state)
{
    (void)state;
    static struct top_page page;
    struct top_model model = {0};
    struct top_state user;
    fill_model(&model);
    top_state_open(&user);
    for (int view = 0; view < TOP_VIEWS_COUNT; view++) {
        for (int mode = 0; mode < 5; mode++) {
            user.view = (enum top_view_name)view;
            user.shows_help = mode == 1;
            user.is_editing = mode == 2;
            user.is_paused = mode == 3;
            snprintf(user.filter, sizeof user.filter, "%s",
                     mode == 2 ? "\xe6\xb8\xa9\xe5\xba\xa6\xe8\xa8\x88 of all" : "");
            for (size_t height = 0; height < 30; height++) {
                for (size_t width = 0; width < WIDTHS_MAX; width += width < 90 ? 1 : 23) {
                    top_page_make(&page, &user, &model, mode == 4 ? "lost connection: \x1b[31m" : "", "unix:/\n/s",
                                  height, width);
                    check_page(&page, height, width);
                }
            }
        }
    }
    top_page_free(&page);
    top_model_free(&model);
}

static void small_pages_show_what_matters(void **state)
{
    (void)state;
    static struct top_page page;
    struct top_model model = {0};
    struct top_state user;
    fill_model(&model);
    top_state_open(&user);
    top_page_make(&page, &user, &model, "", "", 5, 20);
    assert_non_null(line_with(&page, "[1 topics 3 of 4000]"));
    assert_non_null(line_with(&page, "MSG/S"));
    assert_non_null(line_with(&page, "plain"));
    user.view = TOP_SUBSCRIPTIONS;
    top_page_make(&page, &user, &model, "", "", 24, 80);
    assert_int_equal(line_with(&page, "slow\\x1b]0;")->style, TOP_SLOW);
    assert_int_equal(line_with(&page, "quick")->style, TOP_PLAIN);
    assert_non_null(line_with(&page, "! ")); /* without colours, too */
    assert_non_null(line_with(&page, "2.5s"));
    top_page_make(&page, &user, &model, "lost connection", "", 5, 20);
    assert_int_equal(page.lines[4].style, TOP_ALERT);
    assert_non_null(line_with(&page, "lost connection"));
    top_page_free(&page);
    top_model_free(&model);
}

static void columns_are_left_out_by_rank(void **state)
{
    (void)state;
    struct top_layout layout;
    const struct top_view *view = &top_views[TOP_SUBSCRIPTIONS];
    struct top_order order = {top_column_named(view, "user"), false};
    size_t all = 0, last = 0;
    for (size_t i = 0; i < view->columns_count; i++) all += view->columns[i].title != NULL;
    top_layout_make(&layout, view, &order, NULL, 0, TOP_WIDTH_ANY);
    assert_int_equal(layout.count, all);
    for (size_t width = 1; width < WIDTHS_MAX; width++) {
        top_layout_make(&layout, view, &order, NULL, 0, width);
        assert_true(layout.count >= last); /* more room, no fewer columns */
        assert_true(layout.count >= 2);    /* what it is sorted by, and what it is about */
        last = layout.count;
        bool ordered = false;
        for (size_t i = 0; i < layout.count; i++) ordered = ordered || layout.columns[i] == order.column;
        assert_true(ordered);
    }
    assert_int_equal(last, all);
}

/* ---- keys ---- */

static void type(struct top_state *user, const char *keys)
{
    for (; *keys; keys++) top_state_key(user, (unsigned char)*keys);
}

static void keys_choose(void **state)
{
    (void)state;
    struct top_state user;
    top_state_open(&user);
    type(&user, "\t");
    assert_int_equal(user.view, TOP_SUBSCRIPTIONS);
    type(&user, "\t\t\t\t");
    assert_int_equal(user.view, TOP_TOPICS);
    top_state_key(&user, TOP_KEY_BACK_TAB);
    assert_int_equal(user.view, TOP_STREAMS);
    type(&user, "3");
    assert_int_equal(user.view, TOP_CONNECTIONS);
    assert_false(top_state_key(&user, '9'));
    assert_false(top_state_key(&user, 0));
    for (int i = 0; i < 20; i++) { /* past what is not shown, and round */
        type(&user, "s");
        assert_non_null(top_views[TOP_CONNECTIONS].columns[user.orders[TOP_CONNECTIONS].column].title);
    }
    type(&user, "r");
    assert_true(user.orders[TOP_CONNECTIONS].turned);
    size_t column = user.orders[TOP_CONNECTIONS].column;
    type(&user, "sS");
    assert_int_equal(user.orders[TOP_CONNECTIONS].column, column);
    assert_false(user.orders[TOP_CONNECTIONS].turned);
    assert_int_equal(user.orders[TOP_TOPICS].column, top_views[TOP_TOPICS].sort);
    type(&user, " ");
    assert_true(user.is_paused);
    type(&user, " ?");
    assert_false(user.is_paused);
    assert_true(user.shows_help);
    type(&user, "2");
    assert_false(user.shows_help);
    assert_int_equal(user.view, TOP_CONNECTIONS); /* the key only closed the help */
    type(&user, "q");
    assert_true(user.ends);
}

static void a_filter_is_typed(void **state)
{
    (void)state;
    struct top_state user;
    top_state_open(&user);
    type(&user, "/qr");
    top_state_key(&user, 0xe9);
    assert_string_equal(user.filter, "qr\xc3\xa9");
    assert_false(user.ends);
    top_state_key(&user, TOP_KEY_BACKSPACE); /* a whole character */
    assert_string_equal(user.filter, "qr");
    assert_false(top_state_key(&user, 1));
    assert_false(top_state_key(&user, 0x9b));
    assert_false(top_state_key(&user, TOP_KEY_UP));
    type(&user, "\r");
    assert_false(user.is_editing);
    type(&user, "/x\x1b"); /* as it was */
    assert_string_equal(user.filter, "qr");
    assert_false(user.is_editing);
    type(&user, "/\x15");
    assert_string_equal(user.filter, "");
    for (int i = 0; i < 2 * TOP_FILTER_MAX; i++) top_state_key(&user, 0x6e29);
    assert_int_equal(strlen(user.filter), (TOP_FILTER_MAX - 1) / 3 * 3);
    for (int i = 0; i < 2 * TOP_FILTER_MAX; i++) top_state_key(&user, TOP_KEY_BACKSPACE);
    assert_string_equal(user.filter, "");
    type(&user, "x\r\x1b");
    assert_string_equal(user.filter, ""); /* shows all again */
}

static void scrolling_stays_within(void **state)
{
    (void)state;
    struct top_state user;
    top_state_open(&user);
    user.rows = 100;
    user.page = 10;
    top_state_key(&user, TOP_KEY_UP);
    assert_int_equal(user.first, 0);
    top_state_key(&user, TOP_KEY_PAGE_DOWN);
    assert_int_equal(user.first, 9);
    top_state_key(&user, TOP_KEY_END);
    top_state_key(&user, TOP_KEY_DOWN);
    assert_int_equal(user.first, 90);
    user.rows = 20; /* fewer pass the filter now */
    top_state_clamp(&user);
    assert_int_equal(user.first, 10);
    top_state_key(&user, TOP_KEY_HOME);
    assert_int_equal(user.first, 0);
    user.rows = 5;
    top_state_key(&user, TOP_KEY_PAGE_DOWN);
    assert_int_equal(user.first, 0);
}

int main(void)
{
    cell_use_utf8();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_are_differences),
        cmocka_unit_test(what_was_not_told_before_has_no_rate),
        cmocka_unit_test(what_began_anew_has_no_negative_rate),
        cmocka_unit_test(counting_that_began_since_counts_from_then),
        cmocka_unit_test(connections_that_are_new_count_from_nothing),
        cmocka_unit_test(rows_are_ordered_and_filtered),
        cmocka_unit_test(all_columns_have_a_place),
        cmocka_unit_test(pages_fit_every_screen),
        cmocka_unit_test(small_pages_show_what_matters),
        cmocka_unit_test(columns_are_left_out_by_rank),
        cmocka_unit_test(keys_choose),
        cmocka_unit_test(a_filter_is_typed),
        cmocka_unit_test(scrolling_stays_within),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
