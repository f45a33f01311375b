/* The parts of `pubsub bench` that count: the histogram against sorted samples, payloads, and the tally of losses. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bench_tally.h"

/* ---- histogram ---- */

static uint64_t random_state = 1;

/* xorshift64*: the same numbers in each run. */
static uint64_t next_random(void)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * UINT64_C(2685821657736338717);
}

static double random_share(void)
{
    return (double)(next_random() >> 11) / (double)(UINT64_C(1) << 53);
}

/* Spread evenly over the orders of magnitude, as latencies are, from 1 ns to `most`. */
static uint64_t random_ns(double most)
{
    return (uint64_t)exp(random_share() * log(most));
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The model: the least sample that at least this share of the sorted ones does not exceed. */
static uint64_t exact(const uint64_t *sorted, size_t count, double share)
{
    size_t rank = (size_t)ceil(share * (double)count);
    return sorted[rank > 0 ? rank - 1 : 0];
}

static void check_percentiles(const struct bench_histogram *histogram, uint64_t *samples, size_t count)
{
    static const double shares[] = {0, 0.001, 0.1, 0.25, 0.5, 0.9, 0.99, 0.999, 0.9999, 1};
    qsort(samples, count, sizeof *samples, by_size);
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        double want = (double)exact(samples, count, shares[i]), got = (double)bench_histogram_at(histogram, shares[i]);
        if (fabs(got - want) > want / 100) {
            fail_msg("%zu samples: at %g it is %.0f, the histogram says %.0f", count, shares[i], want, got);
        }
    }
    assert_int_equal(histogram->max_ns, samples[count - 1]);
    assert_int_equal(histogram->samples, count);
}

static void percentiles_are_within_a_hundredth(void **state)
{
    (void)state;
    static const size_t counts[] = {1, 2, 3, 10, 999, 1000, 1001, 100000};
    static const double most[] = {2, 300, 1e5, 1e9, 1e12};
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        for (size_t m = 0; m < sizeof most / sizeof *most; m++) {
            struct bench_histogram *histogram = calloc(1, sizeof *histogram);
            uint64_t *samples = calloc(counts[c], sizeof *samples);
            assert_non_null(histogram);
            assert_non_null(samples);
            for (size_t i = 0; i < counts[c]; i++) {
                samples[i] = random_ns(most[m]);
                bench_histogram_add(histogram, samples[i]);
            }
            check_percentiles(histogram, samples, counts[c]);
            free(samples);
            free(histogram);
        }
    }
}

/* Each power of two and its neighbours: where buckets begin. */
static void edges_of_buckets_are_within_a_hundredth(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 40; bit++) {
        for (int beside = -1; beside <= 1; beside++) {
            struct bench_histogram histogram = {0};
            uint64_t ns = (UINT64_C(1) << bit) + (uint64_t)beside;
            bench_histogram_add(&histogram, ns);
            bench_histogram_add(&histogram, BENCH_HISTOGRAM_MAX_NS); /* so that the middle isn't cut to the greatest */
            double got = (double)bench_histogram_at(&histogram, 0.5);
            assert_true(fabs(got - (double)ns) <= (double)ns / 100);
        }
    }
}

static void what_is_too_long_counts_as_the_longest(void **state)
{
    (void)state;
    struct bench_histogram histogram = {0};
    assert_int_equal(bench_histogram_at(&histogram, 0.5), 0);
    bench_histogram_add(&histogram, UINT64_MAX);
    assert_int_equal(histogram.max_ns, UINT64_MAX);
    assert_true(bench_histogram_at(&histogram, 0.5) > BENCH_HISTOGRAM_MAX_NS / 100 * 99);
}

static void times_are_written_with_three_digits(void **state)
{
    (void)state;
    static const struct {
        uint64_t ns;
        const char *text;
    } cases[] = {
        {0, "0 ns"},         {999, "999 ns"},       {1000, "1.00 us"},     {9994, "9.99 us"},
        {9996, "10.0 us"},   {21340, "21.3 us"},    {99960, "100 us"},     {999400, "999 us"},
        {999600, "1.00 ms"}, {12000000, "12.0 ms"}, {999600000, "1.00 s"}, {120000000000, "120 s"},
    };
    char text[BENCH_TIME_TEXT_MAX];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bench_time_text(text, cases[i].ns);
        assert_string_equal(text, cases[i].text);
    }
}

static void bars_hold_all_samples(void **state)
{
    (void)state;
    struct bench_histogram histogram = {0};
    struct buffer memory = {0};
    struct output out;
    output_open_memory(&out, &memory);
    bench_histogram_draw(&histogram, &out);
    output_flush(&out);
    assert_int_equal(memory.len, 0);
    for (int i = 0; i < 3; i++) bench_histogram_add(&histogram, 15000);
    bench_histogram_add(&histogram, 70000);
    bench_histogram_draw(&histogram, &out);
    output_flush(&out);
    buffer_append(&memory, "", 1);
    assert_string_equal((const char *)memory.data,
                        "  < 20.0 us  75.00 % ##################################################\n"
                        "  < 50.0 us   0.00 %\n"
                        "  <  100 us  25.00 % #################\n");
    output_close(&out);
    buffer_free(&memory);
}

/* ---- payloads ---- */

static void payloads_are_read_as_they_were_written(void **state)
{
    (void)state;
    static const size_t sizes[] = {BENCH_PAYLOAD_MIN, 33, 64, 255, 256, 257, 300, 4096, 4097, 65535, 65541, 100000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t len = sizes[i];
        uint8_t *payload = malloc(len);
        assert_non_null(payload);
        const struct bench_head sent = {.end = i % 2 == 1,
                                        .host = 0xfedc,
                                        .run = 0x89abcdef,
                                        .number = UINT64_C(1) << 60,
                                        .sent_ns = 12345678901234};
        struct bench_head got;
        bench_payload_fill(payload, len);
        bench_payload_head(payload, &sent);
        assert_true(bench_payload_read(payload, len, &got));
        assert_int_equal(got.end, sent.end);
        assert_int_equal(got.host, sent.host);
        assert_int_equal(got.run, sent.run);
        assert_int_equal(got.number, sent.number);
        assert_int_equal(got.sent_ns, sent.sent_ns);
        assert_false(bench_payload_read(payload, len - 1, &got));
        payload[len - 1] ^= 1;
        assert_false(bench_payload_read(payload, len, &got));
        free(payload);
    }
}

static void what_is_not_ours_is_not_read(void **state)
{
    (void)state;
    struct bench_head head = {0};
    uint8_t payload[BENCH_PAYLOAD_MIN];
    bench_payload_fill(payload, sizeof payload);
    bench_payload_head(payload, &head);
    for (size_t i = 0; i < 7; i++) { /* the head of the bin, and the two letters */
        payload[i] ^= 0x40;
        assert_false(bench_payload_read(payload, sizeof payload, &head));
        payload[i] ^= 0x40;
    }
    assert_true(bench_payload_read(payload, sizeof payload, &head));
    assert_false(bench_payload_read(payload, 0, &head));
}

/* ---- the tally ---- */

enum { RUN = 7, OTHER_RUN = 8, HOST = 1 };

static struct bench_histogram latency;

static void receive(struct bench_tally *tally, uint32_t run, uint64_t number, bool end)
{
    uint8_t payload[BENCH_PAYLOAD_MIN];
    bench_payload_fill(payload, sizeof payload);
    bench_payload_head(payload,
                       &(struct bench_head){.end = end, .host = HOST, .run = run, .number = number, .sent_ns = 1});
    bench_tally_message(tally, payload, sizeof payload, HOST, &latency);
}

static void holes_are_missing(void **state)
{
    (void)state;
    struct bench_tally tally = {0};
    bench_tally_expect(&tally, RUN);
    receive(&tally, RUN, 2, false); /* 0 and 1 did not come */
    receive(&tally, RUN, 3, false);
    receive(&tally, RUN, 7, false); /* 4, 5, 6 */
    assert_int_equal(tally.missing, 5);
    assert_false(bench_tally_ended(&tally));
    receive(&tally, RUN, 10, true); /* 8, 9 */
    assert_int_equal(tally.missing, 7);
    assert_true(bench_tally_ended(&tally));
    bench_tally_end(&tally, RUN, 20); /* it has ended already */
    assert_int_equal(tally.missing, 7);
    assert_int_equal(tally.received, 3);
    assert_int_equal(tally.bytes, 3 * BENCH_PAYLOAD_MIN);
    assert_int_equal(tally.wrong, 0);
    tally.told = 6;
    assert_int_equal(bench_tally_lost(&tally), 7);
    tally.told = 9;
    assert_int_equal(bench_tally_lost(&tally), 9);
    bench_tally_free(&tally);
}

static void a_run_that_is_not_expected_begins_with_what_comes(void **state)
{
    (void)state;
    struct bench_tally tally = {0};
    assert_false(bench_tally_ended(&tally));
    receive(&tally, RUN, 100, false);
    receive(&tally, OTHER_RUN, 5, false);
    receive(&tally, RUN, 101, false);
    receive(&tally, OTHER_RUN, 7, false);
    assert_int_equal(tally.missing, 1);
    receive(&tally, RUN, 102, true);
    assert_false(bench_tally_ended(&tally));
    receive(&tally, OTHER_RUN, 8, true);
    assert_true(bench_tally_ended(&tally));
    assert_int_equal(tally.received, 4);
    assert_int_equal(tally.missing, 1);
    bench_tally_free(&tally);
}

static void order_and_content_are_judged(void **state)
{
    (void)state;
    struct bench_tally tally = {0};
    receive(&tally, RUN, 5, false);
    receive(&tally, RUN, 5, false); /* twice */
    receive(&tally, RUN, 4, false); /* late */
    bench_tally_message(&tally, "\xa5hello", 6, HOST, &latency);
    assert_int_equal(tally.wrong, 3);
    assert_int_equal(tally.received, 1);
    assert_int_equal(tally.missing, 0);
    bench_tally_free(&tally);
}

/* Only clocks of one host can be compared, and messages that were sent together count once. */
static void latencies_are_taken_where_they_mean_something(void **state)
{
    (void)state;
    struct bench_tally tally = {0};
    struct bench_histogram histogram = {0};
    uint8_t payload[BENCH_PAYLOAD_MIN];
    bench_payload_fill(payload, sizeof payload);
    for (uint64_t number = 0; number < 10; number++) {
        bench_payload_head(payload,
                           &(struct bench_head){.host = HOST, .run = RUN, .number = number, .sent_ns = 1 + number / 5});
        bench_tally_message(&tally, payload, sizeof payload, HOST, &histogram);
    }
    assert_int_equal(histogram.samples, 2);
    bench_payload_head(payload, &(struct bench_head){.host = HOST + 1, .run = RUN, .number = 10, .sent_ns = 9});
    bench_tally_message(&tally, payload, sizeof payload, HOST, &histogram);
    bench_payload_head(payload, &(struct bench_head){.host = HOST, .run = RUN, .number = 11, .sent_ns = UINT64_MAX});
    bench_tally_message(&tally, payload, sizeof payload, HOST, &histogram);
    assert_int_equal(histogram.samples, 2);
    assert_int_equal(tally.received, 12);
    bench_tally_free(&tally);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(percentiles_are_within_a_hundredth),
        cmocka_unit_test(edges_of_buckets_are_within_a_hundredth),
        cmocka_unit_test(what_is_too_long_counts_as_the_longest),
        cmocka_unit_test(times_are_written_with_three_digits),
        cmocka_unit_test(bars_hold_all_samples),
        cmocka_unit_test(payloads_are_read_as_they_were_written),
        cmocka_unit_test(what_is_not_ours_is_not_read),
        cmocka_unit_test(holes_are_missing),
        cmocka_unit_test(a_run_that_is_not_expected_begins_with_what_comes),
        cmocka_unit_test(order_and_content_are_judged),
        cmocka_unit_test(latencies_are_taken_where_they_mean_something),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
