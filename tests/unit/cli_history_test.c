/* The command line and durable streams: where to begin, acknowledging, what a broker says of its streams. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "acks.h"
#include "environment.h"
#include "moment.h"
#include "options.h"
#include "print.h"
#include "start.h"
#include "streams.h"

static void moments_are_read_and_written(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms; /* -1: not a moment */
    } cases[] = {
        {"1970-01-01", 0},
        {"1970-01-01T00:00:00.001Z", 1},
        {"2026-11-27T01:44:55.123Z", 1795743895123},
        {"2026-11-27T01:44:55.1239", 1795743895123},
        {"2026-11-27 01:44:55", 1795743895000},
        {"2026-11-27T01:44Z", 1795743840000},
        {"2026-11-27", 1795737600000},
        {"2024-02-29", 1709164800000},
        {"2023-02-29", -1},
        {"2026-02-31", -1},
        {"2026-13-01", -1},
        {"2026-00-01", -1},
        {"2026-11-27T24:00", -1},
        {"2026-11-27T01:60", -1},
        {"2026-11-27T01:44:60", -1},
        {"2026-11-27T01", -1},
        {"2026-11-27T01:44:55.", -1},
        {"2026-11-27T01:44:55+01:00", -1},
        {"2026-11-27x", -1},
        {"26-11-27", -1},
        {"1969-12-31", -1},
        {"2026-1-7", -1},
        {"", -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t ms = UINT64_MAX;
        assert_int_equal(moment_read(cases[i].text, &ms), cases[i].ms >= 0);
        assert_int_equal((int64_t)ms, cases[i].ms);
    }
    char text[MOMENT_TEXT_MAX];
    moment_write(text, 1795743895123);
    assert_string_equal(text, "2026-11-27T01:44:55.123Z");
    moment_write(text, UINT64_MAX); /* no calendar, or a year of many digits: in any case a text */
    assert_non_null(memchr(text, '\0', sizeof text));
}

static void positions_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text, *stream; /* stream "": not said; NULL: not a position */
        uint64_t seq;
    } cases[] = {
        {"1", "", 1},
        {"9007199254740991", "", 9007199254740991},
        {"9007199254740992", NULL, 0},
        {"orders:17", "orders", 17},
        {"a:b:17", "a:b", 17},
        {"64:1", "64", 1},
        {"0", NULL, 0},
        {"orders:0", NULL, 0},
        {"orders:", NULL, 0},
        {":5", NULL, 0},
        {"orders", NULL, 0},
        {"-1", NULL, 0},
        {" 1", NULL, 0},
        {"1x", NULL, 0},
        {"", NULL, 0},
        {"99999999999999999999", NULL, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct start_position position = {0};
        assert_int_equal(start_position_read(cases[i].text, &position), cases[i].stream != NULL);
        assert_int_equal(position.seq, cases[i].seq);
        if (!cases[i].stream) continue;
        assert_int_equal(position.stream_len, strlen(cases[i].stream));
        if (position.stream) assert_memory_equal(position.stream, cases[i].stream, position.stream_len);
    }
}

/* Parses words as `pubsub sub` would, only these options. */
static bool parse_start(struct start_options *start, const char *words, int *arguments, char *first, size_t cap)
{
    char copy[256], *argv[16], *rest = copy;
    int argc = 0;
    snprintf(copy, sizeof copy, "%s", words);
    for (char *word; (word = strsep(&rest, " "));) argv[argc++] = word;
    static const int codes[] = {-1};
    static const char *const examples[] = {NULL};
    const struct option_table table = {"Start", start_option_rows, start};
    const struct usage usage = {.command = "test",
                                .arguments = "",
                                .summary = "",
                                .tables = {&table},
                                .examples = examples,
                                .exit_codes = codes};
    bool ok = options_parse(&usage, argc, argv, false, arguments) == OPTIONS_OK;
    snprintf(first, cap, "%s", ok && *arguments > 0 ? argv[0] : "");
    return ok;
}

static void starts_are_parsed(void **state)
{
    (void)state;
    static const struct {
        const char *words;
        bool ok;
        enum pubsub_from from;
        uint64_t number;
        const char *first; /* argument */
    } cases[] = {
        {"--all a", true, PUBSUB_FROM_ALL, 0, "a"},
        {"--last a", true, PUBSUB_FROM_LAST, 1, "a"},
        {"--last 5 a", true, PUBSUB_FROM_LAST, 5, "a"},
        {"--last=5 a", true, PUBSUB_FROM_LAST, 5, "a"},
        {"--last=1 5", true, PUBSUB_FROM_LAST, 1, "5"},
        {"a --last", true, PUBSUB_FROM_LAST, 1, "a"},
        {"--last -- 5", true, PUBSUB_FROM_LAST, 1, "5"},
        {"--last 5x", true, PUBSUB_FROM_LAST, 1, "5x"},
        {"--since 10m a", true, PUBSUB_FROM_AGO, 600000, "a"},
        {"--since 2026-11-27 a", true, PUBSUB_FROM_TIME, 1795737600000, "a"},
        {"--last-per-topic a", true, PUBSUB_FROM_LAST_PER_TOPIC, 0, "a"},
        {"--from-seq 5 --from-seq b:7 a", true, PUBSUB_FROM_SEQ, 0, "a"},
        {"--until-live a", true, PUBSUB_FROM_NEW, 0, "a"},
        {"--last=0 a", false, 0, 0, ""},
        {"--last=x a", false, 0, 0, ""},
        {"--last=9007199254740992 a", false, 0, 0, ""},
        {"--since yesterday a", false, 0, 0, ""},
        {"--from-seq x a", false, 0, 0, ""},
        {"--all --last a", false, 0, 0, ""},
        {"--all --all a", false, 0, 0, ""},
        {"--since 1h --since 2h a", false, 0, 0, ""},
        {"--from-seq 1 --all a", false, 0, 0, ""},
        {"--all=5 a", false, 0, 0, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct start_options start = {0};
        char first[32];
        int arguments = 0;
        assert_int_equal(parse_start(&start, cases[i].words, &arguments, first, sizeof first), cases[i].ok);
        if (cases[i].ok) {
            assert_int_equal(start.from, cases[i].from);
            assert_int_equal(start.number, cases[i].number);
            assert_string_equal(first, cases[i].first);
        }
        start_options_free(&start);
    }
}

static void failed_messages_wait_longer_each_time(void **state)
{
    (void)state;
    const struct ack_options by_default = {.ack = true}, few = {.ack = true, .tries_max = 3, .retry_ms = 10};
    uint64_t ms;
    static const uint64_t waits_ms[] = {1000,  1000,  2000,   4000,   8000,   16000,
                                        32000, 64000, 128000, 256000, 300000, 300000};
    for (uint32_t tries = 0; tries < sizeof waits_ms / sizeof *waits_ms; tries++) {
        assert_true(ack_try_again(&by_default, tries, &ms));
        assert_int_equal(ms, waits_ms[tries]);
    }
    assert_true(ack_try_again(&by_default, UINT32_MAX, &ms));
    assert_int_equal(ms, 300000);
    assert_true(ack_try_again(&few, 2, &ms));
    assert_int_equal(ms, 20);
    assert_false(ack_try_again(&few, 3, &ms));
    assert_int_equal(ms, 0);
    assert_false(ack_try_again(&few, 4, &ms));
}

static void what_is_written_is_noted_once_for_each_stream(void **state)
{
    (void)state;
    struct acks acks = {0};
    static const struct ack_place written[] = {{1, 64, 5}, {1, 64, 6}, {2, 64, 6}, {1, 65, 1}, {1, 64, 2}, {1, 0, 0}};
    for (size_t i = 0; i < sizeof written / sizeof *written; i++) {
        const struct pubsub_message message = {
            .sid = written[i].sid, .stream = written[i].stream, .seq = written[i].seq};
        acks_note(&acks, &message);
    }
    static const struct ack_place expected[] = {{1, 64, 6}, {2, 64, 6}, {1, 65, 1}};
    assert_int_equal(acks.places.len, sizeof expected);
    const struct ack_place *places = (const struct ack_place *)(const void *)acks.places.data;
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        assert_int_equal(places[i].sid, expected[i].sid);
        assert_int_equal(places[i].stream, expected[i].stream);
        assert_int_equal(places[i].seq, expected[i].seq);
    }
    acks_free(&acks);
}

/* ---- what a broker says of a stream ---- */

static mps_view encode_stream(struct mps_out *out, bool whole)
{
    static const char *const patterns[] = {"orders/#", "invoices/+/paid"};
    mps_put_map(out, whole ? 9 : 3);
    mps_put_text(out, mps_text("name"));
    mps_put_text(out, mps_text("orders"));
    mps_put_text(out, mps_text("stream"));
    mps_put_uint(out, 65);
    mps_put_text(out, mps_text("patterns"));
    mps_put_array(out, 2);
    for (size_t i = 0; i < 2; i++) mps_put_text(out, mps_text(patterns[i]));
    if (!whole) return mps_out_view(out);
    static const char *const numbers[] = {"first", "next", "messages", "max_age_ms"};
    for (size_t i = 0; i < 4; i++) {
        mps_put_text(out, mps_text(numbers[i]));
        mps_put_uint(out, 1000 + i);
    }
    mps_put_text(out, mps_text("full"));
    mps_put_text(out, mps_text("refuse"));
    mps_put_text(out, mps_text("configured"));
    mps_put_bool(out, false);
    return mps_out_view(out);
}

static void streams_are_decoded(void **state)
{
    (void)state;
    uint8_t buf[512];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    struct stream stream;
    assert_true(stream_decode(&stream, encode_stream(&out, true)));
    assert_string_equal(stream.name, "orders");
    assert_int_equal(stream.number, 65);
    assert_int_equal(stream.first, 1000);
    assert_int_equal(stream.next, 1001);
    assert_int_equal(stream.messages, 1002);
    assert_int_equal(stream.max_age_ms, 1003);
    assert_int_equal(stream.max_bytes, 0);
    assert_true(stream.refuses);
    assert_false(stream.configured);
    size_t at = 0;
    assert_true(mps_view_equal(stream_pattern(&stream, &at), mps_text("orders/#")));
    assert_true(mps_view_equal(stream_pattern(&stream, &at), mps_text("invoices/+/paid")));
    assert_null(stream_pattern(&stream, &at).ptr);
    assert_true(stream_meets(&stream, mps_text("#")));
    assert_true(stream_meets(&stream, mps_text("invoices/7/+")));
    assert_false(stream_meets(&stream, mps_text("invoices/7")));
    stream_free(&stream);

    out = mps_out_open(buf, sizeof buf);
    assert_true(stream_decode(&stream, encode_stream(&out, false))); /* what is left out is 0, and it is configured */
    assert_true(stream.configured);
    assert_int_equal(stream.messages, 0);
    stream_free(&stream);
    for (uint32_t len = 0; len < out.len; len++) assert_false(stream_decode(&stream, (mps_view){buf, len}));
}

static void streams_are_found(void **state)
{
    (void)state;
    static char one[] = "one", number[] = "64";
    struct stream list[] = {{.name = one, .number = 64}, {.name = number, .number = 65}};
    const struct streams streams = {list, 2};
    assert_ptr_equal(streams_find(&streams, "one", 3), &list[0]);
    assert_ptr_equal(streams_find(&streams, "65", 2), &list[1]);
    assert_ptr_equal(streams_find(&streams, "64", 2), &list[1]); /* a name comes before a number */
    assert_null(streams_find(&streams, "on", 2));
    assert_null(streams_find(&streams, "66", 2));
}

/* ---- what is printed ---- */

/* What a call writes to a descriptor; the caller frees it. */
static char *written_to(int fd, void (*call)(const struct pubsub_gap *gap), const struct pubsub_gap *gap)
{
    int file = memfd_create("written", 0), saved = dup(fd);
    assert_true(file >= 0 && saved >= 0);
    assert_true(dup2(file, fd) == fd);
    call(gap);
    assert_true(dup2(saved, fd) == fd);
    char *text = calloc(1, 1024);
    assert_non_null(text);
    assert_true(pread(file, text, 1023, 0) >= 0);
    close(saved);
    close(file);
    return text;
}

static void print_line_about(const struct pubsub_gap *gap)
{
    printer_gap_line("a/#", gap);
}

static void print_json_about(const struct pubsub_gap *gap)
{
    struct printer printer;
    static char pattern[] = "a/#", *const patterns[] = {pattern};
    assert_true(printer_open(&printer, &(struct print_options){.form = PRINT_JSON}, patterns, 1));
    printer_gap(&printer, "a/#", gap);
    printer_flush(&printer);
    printer_close(&printer);
}

static void gaps_are_told(void **state)
{
    (void)state;
    static const struct {
        struct pubsub_gap gap;
        const char *line, *json;
    } cases[] = {
        {{.exact = true, .count = 5, .reason_name = "retention", .stream = 64, .first = 5, .last = 9},
         "pubsub: lost messages 5 to 9 of stream 64 (retention)\n",
         "{\"gap\":{\"count\":5,\"reason\":\"retention\",\"stream\":64,\"first\":5,\"last\":9}}\n"},
        {{.exact = true, .count = 1, .reason_name = "max_tries", .stream = 64, .first = 5, .last = 5},
         "pubsub: lost message 5 of stream 64 (max_tries)\n",
         "{\"gap\":{\"count\":1,\"reason\":\"max_tries\",\"stream\":64,\"first\":5,\"last\":5}}\n"},
        {{.reason_name = "damaged", .stream = 70, .first = 1, .last = 9007199254740991},
         "pubsub: lost what matches 'a/#' of messages 1 to 9007199254740991 of stream 70 (damaged)\n",
         "{\"gap\":{\"count\":null,\"reason\":\"damaged\",\"stream\":70,\"first\":1,\"last\":9007199254740991}}\n"},
        {{.exact = true, .count = 2, .reason_name = "drop_old"},
         "pubsub: lost 2 messages of 'a/#' (drop_old)\n",
         "{\"gap\":{\"count\":2,\"reason\":\"drop_old\"}}\n"},
        {{.reason_name = "broker_restarted"},
         "pubsub: lost an unknown number of messages of 'a/#' (broker_restarted)\n",
         "{\"gap\":{\"count\":null,\"reason\":\"broker_restarted\"}}\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *line = written_to(STDERR_FILENO, print_line_about, &cases[i].gap);
        char *json = written_to(STDOUT_FILENO, print_json_about, &cases[i].gap);
        assert_string_equal(line, cases[i].line);
        assert_string_equal(json, cases[i].json);
        free(line);
        free(json);
    }
}

static const char *variable(const struct environment *environment, const char *name)
{
    for (char **string = environment_strings(environment); *string; string++) {
        if (strncmp(*string, name, strlen(name)) == 0 && (*string)[strlen(name)] == '=')
            return *string + strlen(name) + 1;
    }
    return NULL;
}

static void commands_know_positions(void **state)
{
    (void)state;
    struct environment environment = {0};
    struct pubsub_message message = {.topic = "a", .topic_len = 1, .payload = "", .stream = 64, .seq = 17};
    setenv("PUBSUB_TRIES", "of another message", 1);
    environment_fill(&environment, &message);
    assert_string_equal(variable(&environment, "PUBSUB_TOPIC"), "a");
    assert_string_equal(variable(&environment, "PUBSUB_STREAM"), "64");
    assert_string_equal(variable(&environment, "PUBSUB_SEQ"), "17");
    assert_string_equal(variable(&environment, "PUBSUB_TRIES"), "1");
    message.tries = 3;
    environment_fill(&environment, &message);
    assert_string_equal(variable(&environment, "PUBSUB_TRIES"), "3");
    message.stream = 0;
    environment_fill(&environment, &message);
    assert_null(variable(&environment, "PUBSUB_STREAM"));
    assert_null(variable(&environment, "PUBSUB_TRIES"));
    environment_free(&environment);
    unsetenv("PUBSUB_TRIES");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moments_are_read_and_written),
        cmocka_unit_test(positions_are_read),
        cmocka_unit_test(starts_are_parsed),
        cmocka_unit_test(failed_messages_wait_longer_each_time),
        cmocka_unit_test(what_is_written_is_noted_once_for_each_stream),
        cmocka_unit_test(streams_are_decoded),
        cmocka_unit_test(streams_are_found),
        cmocka_unit_test(gaps_are_told),
        cmocka_unit_test(commands_know_positions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
