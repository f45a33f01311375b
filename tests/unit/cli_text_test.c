/* The small readers and writers of the command line: sizes, times, formats, bodies, lines, escapes, names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "body.h"
#include "format.h"
#include "nearest.h"
#include "options.h"
#include "output.h"
#include "sizes.h"
#include "source.h"
#include "utf8.h"

static void sizes_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes; /* 0: not a size */
    } cases[] = {
        {"1", 1},
        {"64k", 65536},
        {"64K", 65536},
        {"64kb", 65536},
        {"1m", 1048576},
        {"1.5m", 1572864},
        {"2g", 2147483648},
        {"512b", 512},
        {"9223372036854775807", INT64_MAX},
        {"0", 0},
        {"", 0},
        {"k", 0},
        {"-1", 0},
        {"1x", 0},
        {"1 k", 0},
        {"1.k", 0},
        {".5k", 0},
        {"18446744073709551616", 0},
        {"99999999999g", 0},
        {"0x10", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t bytes = 0;
        assert_int_equal(size_parse(cases[i].text, &bytes), cases[i].bytes > 0);
        assert_int_equal(bytes, cases[i].bytes);
    }
}

static void times_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms; /* -1: not a time */
    } cases[] = {
        {"500ms", 500},    {"10s", 10000}, {"1.5s", 1500},    {"0.001s", 1}, {"5m", 300000}, {"24h", 86400000},
        {"7d", 604800000}, {"2", 2000},    {"0s", 0},         {"", -1},      {"s", -1},      {"10x", -1},
        {"-1s", -1},       {"1s2", -1},    {"99999999d", -1}, {"1.", -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t ms = UINT64_MAX;
        assert_int_equal(time_parse(cases[i].text, &ms), cases[i].ms >= 0);
        assert_int_equal((int64_t)ms, cases[i].ms);
    }
}

static void formats_are_taken_apart(void **state)
{
    (void)state;
    struct format format;
    char why[128];
    assert_true(format_parse(&format, "%t: %{a.b}%%", why, sizeof why));
    assert_int_equal(format.count, 5);
    assert_int_equal(format.items[0].what, FORMAT_TOPIC);
    assert_int_equal(format.items[1].what, FORMAT_LITERAL);
    assert_memory_equal(format.items[1].text, ": ", format.items[1].len);
    assert_int_equal(format.items[2].what, FORMAT_FIELD);
    assert_int_equal(format.items[2].len, 3);
    assert_memory_equal(format.items[2].text, "a.b", 3);
    assert_memory_equal(format.items[3].text, "%", 1);
    assert_memory_equal(format.items[4].text, "\n", 1);
    format_free(&format);

    assert_true(format_parse(&format, "%p%n", why, sizeof why)); /* its own newline: none is added */
    assert_int_equal(format.count, 2);
    format_free(&format);

    static const char *const bad[] = {"%", "%x", "%{", "%{a", "%{}", "a%"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(format_parse(&format, bad[i], why, sizeof why));
}

/* Encodes text as the form says, at the very end of an allocation so that a sanitizer sees what goes beyond it. */
static bool encode(struct body_form form, const char *text, size_t len, struct buffer *encoded)
{
    char why[256];
    struct buffer scratch = {0};
    const uint8_t *payload;
    size_t payload_len;
    uint8_t *bytes = malloc(BODY_HEADROOM + len);
    assert_non_null(bytes);
    memcpy(bytes + BODY_HEADROOM, text, len);
    bool ok = body_encode(&form, bytes + BODY_HEADROOM, len, &scratch, &payload, &payload_len, why, sizeof why);
    encoded->len = 0;
    if (ok) buffer_append(encoded, payload, payload_len);
    free(bytes);
    buffer_free(&scratch);
    return ok;
}

static void assert_encoded(struct body_form form, const char *text, size_t len, const char *expected,
                           size_t expected_len)
{
    struct buffer encoded = {0};
    assert_true(encode(form, text, len, &encoded));
    assert_int_equal(encoded.len, expected_len);
    if (expected_len) assert_memory_equal(encoded.data, expected, expected_len);
    buffer_free(&encoded);
}

static void texts_get_the_shortest_head(void **state)
{
    (void)state;
    static const struct {
        size_t len;
        const char *str, *bin;
        size_t str_len, bin_len;
    } heads[] = {
        {0, "\xa0", "\xc4\x00", 1, 2},
        {1, "\xa1", "\xc4\x01", 1, 2},
        {31, "\xbf", "\xc4\x1f", 1, 2},
        {32, "\xd9\x20", "\xc4\x20", 2, 2},
        {255, "\xd9\xff", "\xc4\xff", 2, 2},
        {256, "\xda\x01\x00", "\xc5\x01\x00", 3, 3},
        {65535, "\xda\xff\xff", "\xc5\xff\xff", 3, 3},
        {65536, "\xdb\x00\x01\x00\x00", "\xc6\x00\x01\x00\x00", 5, 5},
    };
    char *digits = malloc(2 * 65536);
    assert_non_null(digits);
    memset(digits, 'a', 2 * 65536);
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        struct buffer encoded = {0};
        assert_true(encode((struct body_form){.kind = BODY_TEXT}, digits, heads[i].len, &encoded));
        assert_int_equal(encoded.len, heads[i].str_len + heads[i].len);
        assert_memory_equal(encoded.data, heads[i].str, heads[i].str_len);
        assert_true(encode((struct body_form){.kind = BODY_TEXT, .hex = true}, digits, 2 * heads[i].len, &encoded));
        assert_int_equal(encoded.len, heads[i].bin_len + heads[i].len);
        assert_memory_equal(encoded.data, heads[i].bin, heads[i].bin_len);
        if (heads[i].len) assert_int_equal(encoded.data[encoded.len - 1], 0xaa);
        buffer_free(&encoded);
    }
    free(digits);
}

static void bodies_take_their_form(void **state)
{
    (void)state;
    struct buffer encoded = {0};
    assert_encoded((struct body_form){.kind = BODY_TEXT}, "1.10", 4,
                   "\xa4"
                   "1.10",
                   5);
    assert_encoded((struct body_form){.kind = BODY_JSON}, "{\"t\":21}", 8, "\x81\xa1t\x15", 4);
    assert_encoded((struct body_form){.kind = BODY_RAW}, "a\0b", 3, "a\0b", 3);
    assert_encoded((struct body_form){.kind = BODY_RAW, .hex = true}, "00 fF\n", 6, "\x00\xff", 2);
    assert_encoded((struct body_form){.kind = BODY_RAW}, "", 0, "", 0);
    assert_encoded((struct body_form){.kind = BODY_MSGPACK, .hex = true}, "81a17415", 8, "\x81\xa1t\x15", 4);
    assert_encoded((struct body_form){.kind = BODY_MSGPACK}, "\x01", 1, "\x01", 1);
    assert_false(encode((struct body_form){.kind = BODY_MSGPACK}, "\x01\x02", 2, &encoded));
    assert_false(encode((struct body_form){.kind = BODY_MSGPACK}, "", 0, &encoded));
    assert_false(encode((struct body_form){.kind = BODY_JSON}, "hello", 5, &encoded));
    assert_false(encode((struct body_form){.kind = BODY_TEXT, .hex = true}, "abc", 3, &encoded));
    assert_false(encode((struct body_form){.kind = BODY_TEXT, .hex = true}, "0g", 2, &encoded));
    assert_false(encode((struct body_form){.kind = BODY_TEXT, .hex = true}, "0x12", 4, &encoded));
    buffer_free(&encoded);

    assert_true(body_looks_like_json(" {\"a\": 1}"));
    assert_true(body_looks_like_json("[1]"));
    assert_false(body_looks_like_json("{a}"));
    assert_false(body_looks_like_json("12"));
    assert_false(body_looks_like_json("hello"));
}

/* Writes text into a pipe in pieces and joins the items with '|', those that are too long as '!' and their length. */
static void assert_items(const char *text, size_t len, size_t piece, int delimiter, size_t item_max,
                         const char *expected)
{
    int ends[2];
    char joined[256] = "";
    size_t used = 0, at = 0;
    struct source source;
    assert_int_equal(pipe(ends), 0);
    source_open(&source, ends[0], delimiter, item_max);
    for (;;) {
        uint8_t *item;
        uint64_t item_len;
        enum source_result got = source_next(&source, &item, &item_len);
        if (got == SOURCE_END) break;
        if (got == SOURCE_MORE) {
            size_t n = len - at < piece ? len - at : piece;
            if (n > 0) {
                assert_int_equal(write(ends[1], text + at, n), n);
            } else if (ends[1] >= 0) {
                close(ends[1]);
                ends[1] = -1;
            }
            at += n;
            assert_int_equal(source_read(&source), 0);
        } else if (got == SOURCE_TOO_LONG) {
            joined[used++] = '!';
            joined[used++] = (char)('0' + item_len);
        } else {
            for (unsigned i = 1; i <= BODY_HEADROOM; i++) item[-(int)i] = '#'; /* as an encoder may */
            memcpy(joined + used, item, item_len);
            used += item_len;
            joined[used++] = '|';
        }
    }
    assert_int_equal(used, strlen(expected));
    assert_memory_equal(joined, expected, used);
    source_close(&source);
    close(ends[0]);
}

static void input_is_cut_into_messages(void **state)
{
    (void)state;
    for (size_t piece = 1; piece < 20; piece++) {
        assert_items("ab\nc\n\nde", 8, piece, '\n', 10, "ab|c||de|");
        assert_items("ab\nc\n", 5, piece, '\n', 10, "ab|c|");
        assert_items("", 0, piece, '\n', 10, "");
        assert_items("\n", 1, piece, '\n', 10, "|");
        assert_items("a\nb\0c\0", 6, piece, '\0', 10, "a\nb|c|");
        assert_items("abc\n12345\nde\n", 13, piece, '\n', 3, "abc|!5de|");
        assert_items("12345", 5, piece, '\n', 3, "!5");
        assert_items("12345678\n\n", 10, piece, '\n', 3, "!8|");
        assert_items("a\nb\n", 4, piece, SOURCE_WHOLE, 10, "a\nb\n|");
        assert_items("", 0, piece, SOURCE_WHOLE, 10, "|");
        assert_items("123456", 6, piece, SOURCE_WHOLE, 5, "!6");
    }
}

static void long_items_grow_and_are_dropped(void **state)
{
    (void)state;
    enum { ITEM = 3000000 };
    int fd = memfd_create("long", MFD_CLOEXEC);
    char *bytes = malloc(ITEM);
    assert_true(fd >= 0 && bytes);
    memset(bytes, 'x', ITEM);
    assert_int_equal(write(fd, bytes, ITEM), ITEM);
    assert_int_equal(write(fd, "\nshort\n", 7), 7);
    for (int fits = 0; fits < 2; fits++) {
        struct source source;
        uint8_t *item;
        uint64_t len;
        enum source_result got;
        lseek(fd, 0, SEEK_SET);
        source_open(&source, fd, '\n', fits ? ITEM : ITEM - 1);
        while ((got = source_next(&source, &item, &len)) == SOURCE_MORE) assert_int_equal(source_read(&source), 0);
        assert_int_equal(got, fits ? SOURCE_ITEM : SOURCE_TOO_LONG);
        assert_int_equal(len, ITEM);
        if (fits) assert_memory_equal(item, bytes, ITEM);
        while ((got = source_next(&source, &item, &len)) == SOURCE_MORE) assert_int_equal(source_read(&source), 0);
        assert_int_equal(got, SOURCE_ITEM);
        assert_int_equal(len, 5);
        assert_memory_equal(item, "short", 5);
        source_close(&source);
    }
    free(bytes);
    close(fd);
}

static void assert_escaped(bool terminal, bool escape_tab, const char *text, size_t len, const char *expected)
{
    char shown[256] = "", buf[8]; /* a small one, so that it is flushed in the middle of things */
    int fd = memfd_create("shown", MFD_CLOEXEC);
    struct output out;
    output_open_on(&out, fd, buf, sizeof buf);
    out.terminal = terminal;
    output_escaped(&out, text, len, escape_tab);
    assert_true(output_flush(&out));
    ssize_t n = pread(fd, shown, sizeof shown - 1, 0);
    close(fd);
    assert_int_equal(n, strlen(expected));
    assert_string_equal(shown, expected);
}

static void escapes_keep_a_message_in_its_line(void **state)
{
    (void)state;
    static const char text[] = "a\tb\\c\r\n\0\x1b[1m\xc2\x9b\x7f\xff\xc3\xa9\xf0\x9f\x98\x80";
    assert_escaped(false, false, text, sizeof text - 1,
                   "a\tb\\c\r\\n\\0\x1b[1m\xc2\x9b\x7f\xff\xc3\xa9\xf0\x9f\x98\x80");
    assert_escaped(false, true, "a\tb\n", 4, "a\\tb\\n");
    assert_escaped(true, false, text, sizeof text - 1,
                   "a\tb\\c\\r\\n\\0\\x1b[1m\\u009b\\x7f\\xff\xc3\xa9\xf0\x9f\x98\x80");
    assert_escaped(true, true, "\t", 1, "\\t");
    assert_escaped(false, false, "", 0, "");
}

static void utf8_is_told_from_other_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t len, size;
        uint32_t code;
    } cases[] = {
        {"a", 1, 1, 'a'},
        {"\xc2\x80", 2, 2, 0x80},
        {"\xdf\xbf", 2, 2, 0x7ff},
        {"\xe0\xa0\x80", 3, 3, 0x800},
        {"\xef\xbf\xbf", 3, 3, 0xffff},
        {"\xf0\x90\x80\x80", 4, 4, 0x10000},
        {"\xf4\x8f\xbf\xbf", 4, 4, 0x10ffff},
        {"\x80", 1, 0, 0},
        {"\xc1\xbf", 2, 0, 0},
        {"\xc2", 1, 0, 0},
        {"\xc2"
         "a",
         2, 0, 0},
        {"\xe0\x9f\xbf", 3, 0, 0},
        {"\xed\xa0\x80", 3, 0, 0},
        {"\xf0\x8f\xbf\xbf", 4, 0, 0},
        {"\xf4\x90\x80\x80", 4, 0, 0},
        {"\xff", 1, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t code = 0;
        assert_int_equal(utf8_read(cases[i].text, cases[i].len, &code), cases[i].size);
        if (cases[i].size) assert_int_equal(code, cases[i].code);
    }
}

static void nearest_names_are_near(void **state)
{
    (void)state;
    static const char *const names[] = {"pub", "sub", "get", "retain", NULL};
    assert_string_equal(nearest_name("pubb", names), "pub");
    assert_string_equal(nearest_name("sbu", names), "sub");
    assert_string_equal(nearest_name("gte", names), "get");
    assert_string_equal(nearest_name("retian", names), "retain");
    assert_null(nearest_name("publish-everything", names));
    assert_null(nearest_name("xyz", names));
    assert_null(nearest_name("a-name-that-is-longer-than-any-name-of-ours-could-be", names));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_read),
        cmocka_unit_test(times_are_read),
        cmocka_unit_test(formats_are_taken_apart),
        cmocka_unit_test(texts_get_the_shortest_head),
        cmocka_unit_test(bodies_take_their_form),
        cmocka_unit_test(input_is_cut_into_messages),
        cmocka_unit_test(long_items_grow_and_are_dropped),
        cmocka_unit_test(escapes_keep_a_message_in_its_line),
        cmocka_unit_test(utf8_is_told_from_other_bytes),
        cmocka_unit_test(nearest_names_are_near),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
