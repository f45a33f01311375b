/* The page for Prometheus: how numbers and names are written, and what has no place on it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "page.h"

static struct overview overview;
static struct broker_limits limits;
static struct page_delays delays;
static struct page_process process;
static struct host_figures host;

static int set_up(void **state)
{
    (void)state;
    memset(&overview, 0, sizeof overview);
    broker_defaults(&limits);
    delays = (struct page_delays){0};
    process = (struct page_process){PAGE_UNKNOWN, PAGE_UNKNOWN, PAGE_UNKNOWN, PAGE_UNKNOWN};
    host = (struct host_figures){PAGE_UNKNOWN, PAGE_UNKNOWN, PAGE_UNKNOWN};
    return 0;
}

/* To be freed. */
static char *page_of(const struct listener_figures *listeners, size_t count)
{
    struct page_source source = {&overview, &limits, listeners, count, &host, &process, &delays};
    size_t len;
    char *page = page_write(&source, &len);
    assert_non_null(page);
    assert_int_equal(strlen(page), len);
    return page;
}

static void expect(const char *line)
{
    char *page = page_of(NULL, 0);
    if (strstr(page, line) == NULL) fail_msg("'%s' is not on the page:\n%s", line, page);
    free(page);
}

static void expect_not(const char *text)
{
    char *page = page_of(NULL, 0);
    if (strstr(page, text) != NULL) fail_msg("'%s' is on the page:\n%s", text, page);
    free(page);
}

static void test_times_are_in_seconds(void **state)
{
    (void)state;
    overview.uptime_ms = 1002;
    expect("\npubsub_uptime_seconds 1.002\n");
    overview.uptime_ms = UINT64_C(1795797567889);
    expect("\npubsub_uptime_seconds 1795797567.889\n");
}

static void test_numbers_keep_all_digits(void **state)
{
    (void)state;
    overview.figures.bytes_in = UINT64_MAX - 1;
    expect("\npubsub_received_bytes_total 18446744073709551614\n");
}

static void test_names_are_escaped(void **state)
{
    (void)state;
    overview.groups_count = 1;
    strcpy(overview.group[0].group, "a\"b\\c\nd");
    strcpy(overview.group[0].pattern, "\xc3\xa4/#");
    expect("\npubsub_group_members{group=\"a\\\"b\\\\c\\nd\",pattern=\"\xc3\xa4/#\"} 0\n");
}

static void test_what_is_not_known_is_not_there(void **state)
{
    (void)state;
    expect_not("process_open_fds");
    process.descriptors = 7;
    expect("# TYPE process_open_fds gauge\nprocess_open_fds 7\n");
    expect_not("pubsub_stream_");
    overview.streams_count = 2;
    overview.stream[0] = (struct overview_stream){.name = "a", .max_bytes = UINT64_MAX};
    overview.stream[1] = (struct overview_stream){.name = "b", .max_bytes = 5};
    expect("# TYPE pubsub_stream_budget_bytes gauge\npubsub_stream_budget_bytes{stream=\"b\"} 5\n#");
}

static void test_a_listener_without_a_name_has_its_url(void **state)
{
    (void)state;
    struct listener_figures listeners[] = {{"", "unix:/s", 1, 2, 3}, {"local", "tcp://[::1]:1", 4, 5, 6}};
    char *page = page_of(listeners, 2);
    assert_non_null(strstr(page, "pubsub_listener_connections{listener=\"unix:/s\",url=\"unix:/s\"} 1\n"));
    assert_non_null(strstr(page, "pubsub_listener_refused_total{listener=\"local\",url=\"tcp://[::1]:1\"} 6\n"));
    free(page);
}

static void test_delays_add_up(void **state)
{
    (void)state;
    delays.count[0] = 5;
    delays.count[2] = 1;
    delays.count[PAGE_DELAYS - 1] = 2;
    delays.total_us = 3000007;
    expect("_bucket{le=\"0.005\"} 5\n");
    expect("_bucket{le=\"0.01\"} 5\n");
    expect("_bucket{le=\"0.025\"} 6\n");
    expect("_bucket{le=\"1\"} 6\n");
    expect("_bucket{le=\"+Inf\"} 8\n");
    expect("_sum 3.000007\n");
    expect("_count 8\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_times_are_in_seconds, set_up),
        cmocka_unit_test_setup(test_numbers_keep_all_digits, set_up),
        cmocka_unit_test_setup(test_names_are_escaped, set_up),
        cmocka_unit_test_setup(test_what_is_not_known_is_not_there, set_up),
        cmocka_unit_test_setup(test_a_listener_without_a_name_has_its_url, set_up),
        cmocka_unit_test_setup(test_delays_add_up, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
