/* What is written for people on a terminal: rounded numbers, and texts in columns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cell.h"
#include "rounded.h"
#include "utf8.h"

/* ---- numbers ---- */

static void numbers_are_short(void **state)
{
    (void)state;
    char text[ROUNDED_TEXT_MAX];
    static const struct {
        uint64_t count;
        const char *as_count, *as_bytes, *as_time;
    } cases[] = {
        {0, "0", "0", "0ms"},
        {999, "999", "999", "999ms"},
        {1023, "1023", "1023", "1.0s"},
        {1024, "1024", "1k", "1.0s"},
        {1536, "1536", "1.5k", "1.5s"},
        {10239, "10239", "10k", "10s"},
        {99999, "99999", "98k", "99s"},
        {100000, "100k", "98k", "100s"},
        {123456, "123k", "121k", "2m"},
        {999499, "999k", "976k", "16m"},
        {999500, "1.00m", "976k", "16m"},
        {1048575, "1.05m", "1m", "17m"},
        {12345678, "12.3m", "12m", "3h"},
        {172800000, "173m", "165m", "2d"},
        {UINT64_C(123456789012345), "123t", "112t", "1428898d"},
        {UINT64_MAX, "18.4e", "16e", "213503982334d"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rounded_count(text, cases[i].count);
        assert_string_equal(text, cases[i].as_count);
        rounded_size(text, cases[i].count);
        assert_string_equal(text, cases[i].as_bytes);
        rounded_lag(text, cases[i].count);
        assert_string_equal(text, cases[i].as_time);
    }
}

static void rates_are_short(void **state)
{
    (void)state;
    char text[ROUNDED_TEXT_MAX];
    static const struct {
        double rate;
        const char *as_rate, *as_bytes;
    } cases[] = {
        {0, "0", "0"},
        {0.001, "<0.01", "0"},
        {0.0333, "0.03", "0"},
        {0.5, "0.5", "1"},
        {9.94, "9.9", "10"},
        {9.96, "10", "10"},
        {340.4, "340", "340"},
        {99999.4, "99999", "98k"},
        {99999.6, "100k", "98k"},
        {1234567, "1.23m", "1.2m"},
        {1e30, "1000000000000e", "16e"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rounded_rate(text, cases[i].rate);
        assert_string_equal(text, cases[i].as_rate);
        rounded_size_rate(text, cases[i].rate);
        assert_string_equal(text, cases[i].as_bytes);
    }
}

/* ---- cells ---- */

static void check_cell(const char *text, size_t len, size_t width, enum cell_side side, const char *wanted)
{
    struct buffer line = {0};
    cell_put(&line, text, len, width, side);
    buffer_append(&line, "", 1);
    assert_string_equal((const char *)line.data, wanted);
    assert_int_equal(cell_width(wanted, strlen(wanted)), width);
    buffer_free(&line);
}

static void cells_have_their_width(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t width;
        enum cell_side side;
        const char *wanted;
    } cases[] = {
        {"abc", 5, CELL_LEFT, "abc  "},
        {"abc", 5, CELL_RIGHT, "  abc"},
        {"abc", 3, CELL_LEFT, "abc"},
        {"abcd", 3, CELL_LEFT, "ab…"},
        {"abcd", 1, CELL_RIGHT, "…"},
        {"", 2, CELL_LEFT, "  "},
        {"größe", 5, CELL_LEFT, "größe"},
        {"größen", 5, CELL_LEFT, "größ…"},
        {"温度計", 6, CELL_LEFT, "温度計"}, /* two places each */
        {"温度計", 7, CELL_RIGHT, " 温度計"},
        {"温度計", 5, CELL_LEFT, "温度…"},
        {"温度計", 4, CELL_LEFT, "温… "},
        {"e\xcc\x81t\xc3\xa9", 3, CELL_LEFT, "e\xcc\x81t\xc3\xa9"}, /* a mark over the first letter */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_cell(cases[i].text, strlen(cases[i].text), cases[i].width, cases[i].side, cases[i].wanted);
}

/* No byte below 32 or of DEL, and no character of C1 or without a place of its own may get through. */
static void nothing_drives_the_terminal(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t len;
        const char *wanted;
    } cases[] = {
        {"a\x1b[2Jb", 6, "a\\x1b[2Jb"},
        {"a\nb\tc\rd\0e", 9, "a\\nb\\tc\\rd\\0e"},
        {"\x7f", 1, "\\x7f"},
        {"\xc2\x9b"
         "31m",
         5, "\\u009b31m"},                      /* CSI as one character */
        {"a\xff\xc3", 3, "a\\xff\\xc3"},        /* no UTF-8 */
        {"a\xe2\x80\xaetxt", 7, "a\\u202etxt"}, /* right to left from here on */
        {"a\xe2\x80\x8b"
         "b",
         5, "a\\u200bb"},                       /* no width */
        {"\xf3\xa0\x81\x81", 4, "\\U000e0041"}, /* a tag */
        {"\xcc\x81x", 3, "\\u0301x"},           /* a mark over nothing */
        {"e\xcc\x81\xcc\x81\xcc\x81", 7, "e\xcc\x81\xcc\x81\\u0301"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check_cell(cases[i].text, cases[i].len, cell_width(cases[i].text, cases[i].len), CELL_LEFT, cases[i].wanted);
    }
}

static void characters_are_written_as_they_are_read(void **state)
{
    (void)state;
    static const uint32_t codes[] = {1, 0x7f, 0x80, 0x7ff, 0x800, 0xd7ff, 0xe000, 0xffff, 0x10000, 0x10ffff};
    char text[UTF8_MAX];
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        uint32_t code = 0;
        size_t size = utf8_write(text, codes[i]);
        assert_int_equal(utf8_read(text, size, &code), size);
        assert_int_equal(code, codes[i]);
    }
    assert_int_equal(utf8_write(text, 0xd800), 0);
    assert_int_equal(utf8_write(text, 0x110000), 0);
}

int main(void)
{
    cell_use_utf8();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_short),
        cmocka_unit_test(rates_are_short),
        cmocka_unit_test(cells_have_their_width),
        cmocka_unit_test(nothing_drives_the_terminal),
        cmocka_unit_test(characters_are_written_as_they_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
