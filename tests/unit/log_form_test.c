/* The forms of a line of the log, whatever stands in its values. What the JSON means is judged by whoever reads it, in
 * the tests of the program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "log_form.h"

#define WHEN_MS UINT64_C(1795797599123)
#define TIME "2026-11-27T16:39:59.123Z"

static const char *form(enum log_form how, enum log_level level, uint64_t wall_ms, const struct log_record *record)
{
    static struct log_line line;
    static char text[sizeof line.bytes + 1];
    log_form(&line, how, level, "refuse", wall_ms, record);
    assert_in_range(line.len, 1, sizeof line.bytes);
    memcpy(text, line.bytes, line.len);
    text[line.len] = '\0';
    assert_ptr_equal(strchr(text, '\n'), text + line.len - 1);
    text[line.len - 1] = '\0';
    return text;
}

static mps_view view(const char *bytes, size_t len)
{
    return (mps_view){(const uint8_t *)bytes, (uint32_t)len};
}

static void each_form(void **state)
{
    (void)state;
    const struct log_record record = {.fields = LOG_FIELDS(log_value("client", mps_text("c 1")),
                                                           log_value("user", (mps_view){NULL, 0}),
                                                           log_word("peer", "::1,tls"), log_number("code", 211)),
                                      .text = "may not do \"this\""};
    assert_string_equal(form(LOG_FORM_LOGFMT, LOG_WARN, WHEN_MS, &record),
                        "time=" TIME " level=warning event=refuse client=\"c 1\" peer=::1,tls code=211 "
                        "text=\"may not do \\\"this\\\"\"");
    assert_string_equal(form(LOG_FORM_JSON, LOG_WARN, WHEN_MS, &record),
                        "{\"time\":\"" TIME "\",\"level\":\"warning\",\"event\":\"refuse\",\"client\":\"c 1\","
                        "\"peer\":\"::1,tls\",\"code\":211,\"text\":\"may not do \\\"this\\\"\"}");
    assert_string_equal(form(LOG_FORM_TEXT, LOG_WARN, 0, &record), "pubsubd: warning: may not do \"this\"");
    assert_string_equal(form(LOG_FORM_TEXT, LOG_ERROR, WHEN_MS, &record), TIME " pubsubd: error: may not do \"this\"");
    assert_string_equal(form(LOG_FORM_TEXT, LOG_AUDIT, 0, &record),
                        "pubsubd: audit: event=refuse client=\"c 1\" peer=::1,tls code=211 "
                        "text=\"may not do \\\"this\\\"\"");
}

static void a_line_without_sentence_or_fields(void **state)
{
    (void)state;
    const struct log_record fields = {.fields = LOG_FIELDS(log_value("pattern", mps_text("a/#")))}, nothing = {0};
    assert_string_equal(form(LOG_FORM_TEXT, LOG_DEBUG, 0, &fields), "pubsubd: debug: event=refuse pattern=\"a/#\"");
    assert_string_equal(form(LOG_FORM_TEXT, LOG_INFO, 0, &nothing), "pubsubd: info: event=refuse");
    assert_string_equal(form(LOG_FORM_LOGFMT, LOG_INFO, 0, &nothing), "level=info event=refuse");
    assert_string_equal(form(LOG_FORM_JSON, LOG_INFO, 0, &nothing), "{\"level\":\"info\",\"event\":\"refuse\"}");
}

static void what_can_not_stand_as_it_is(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *text, *logfmt, *json;
    } cases[] = {
        {"a\nb", "a\\x0ab", "a\\x0ab", "a\\u000ab"},
        {"a\\\"", "a\\\"", "a\\\\\\\"", "a\\\\\\\""},
        {"\x1b[2J\x7f", "\\x1b[2J\\x7f", "\\x1b[2J\\x7f", "\\u001b[2J\\u007f"},
        {"m\xc3\xbcller \xf0\x9f\x90\xa6", "m\xc3\xbcller \xf0\x9f\x90\xa6", "m\xc3\xbcller \xf0\x9f\x90\xa6",
         "m\xc3\xbcller \xf0\x9f\x90\xa6"},
        {"\xe2\x80\xaetxt", "\\xe2\\x80\\xaetxt", "\\xe2\\x80\\xaetxt", "\\u202etxt"}, /* reads backwards */
        {"\xc2\x9b"
         "2J",
         "\\xc2\\x9b2J", "\\xc2\\x9b2J", "\\u009b2J"}, /* a control of one byte */
        {"\xff\xc3\xbc\xc3", "\\xff\\xc3\\xbc\\xc3", "\\xff\\xc3\\xbc\\xc3", "\\\\xff\\\\xc3\\\\xbc\\\\xc3"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char expected[200];
        const struct log_record sentence = {.text = cases[i].bytes};
        const struct log_record value = {.fields = LOG_FIELDS(log_value("k", mps_text(cases[i].bytes)))};
        snprintf(expected, sizeof expected, "pubsubd: info: %s", cases[i].text);
        assert_string_equal(form(LOG_FORM_TEXT, LOG_INFO, 0, &sentence), expected);
        snprintf(expected, sizeof expected, "level=info event=refuse k=\"%s\"", cases[i].logfmt);
        assert_string_equal(form(LOG_FORM_LOGFMT, LOG_INFO, 0, &value), expected);
        snprintf(expected, sizeof expected, "{\"level\":\"info\",\"event\":\"refuse\",\"k\":\"%s\"}", cases[i].json);
        assert_string_equal(form(LOG_FORM_JSON, LOG_INFO, 0, &value), expected);
    }
}

static void a_nul_ends_nothing(void **state)
{
    (void)state;
    const struct log_record record = {.fields = LOG_FIELDS(log_value("k", view("a\0b", 3)))};
    assert_string_equal(form(LOG_FORM_LOGFMT, LOG_INFO, 0, &record), "level=info event=refuse k=\"a\\x00b\"");
}

/* Every byte and every pair of bytes in each form: one line of what a terminal shows, and as many quotes as there must
 * be. */
static void no_byte_ends_a_line_or_a_value(void **state)
{
    (void)state;
    for (unsigned pair = 0; pair < 0x10000; pair++) {
        const char bytes[2] = {(char)(pair >> 8), (char)(pair & 0xff)};
        const struct log_record record = {.fields = LOG_FIELDS(log_value("k", view(bytes, 2)))};
        for (unsigned how = 0; how < 3; how++) {
            unsigned quotes = 0;
            for (const char *p = form((enum log_form)how, LOG_AUDIT, 0, &record); *p != '\0'; p++) {
                assert_false(iscntrl((unsigned char)*p));
                if (*p == '\\') p++;
                else quotes += *p == '"';
            }
            assert_int_equal(quotes, how == LOG_FORM_JSON ? 12 : 2);
        }
    }
}

/* What is cut is in the values: keys and the end are there. */
static void a_line_that_is_too_long(void **state)
{
    (void)state;
    static char sentence[20000];
    static const char *const fill[] = {"a", "\x01", "\"", "\xff", "\xf0\x9f\x90\xa6", "\xf3\xa0\x80\x81"};
    for (size_t i = 0; i < sizeof fill / sizeof *fill; i++) {
        sentence[0] = '\0';
        size_t len = strlen(fill[i]);
        for (size_t at = 0; at + len < sizeof sentence; at += len) memcpy(sentence + at, fill[i], len + 1);
        mps_view value = mps_text(sentence);
        const struct log_record record = {.fields = LOG_FIELDS(log_value("a", value), log_value("b", value),
                                                               log_value("c", value), log_value("d", value),
                                                               log_number("code", UINT64_MAX)),
                                          .text = sentence};
        const char *json = form(LOG_FORM_JSON, LOG_INFO, WHEN_MS, &record);
        assert_non_null(strstr(json, ",\"code\":18446744073709551615,\"text\":\""));
        assert_string_equal(json + strlen(json) - 5, "...\"}");
        const char *logfmt = form(LOG_FORM_LOGFMT, LOG_INFO, WHEN_MS, &record);
        assert_non_null(strstr(logfmt, "...\" code=18446744073709551615 text=\""));
        assert_string_equal(logfmt + strlen(logfmt) - 4, "...\"");
        const char *text = form(LOG_FORM_TEXT, LOG_INFO, WHEN_MS, &record);
        assert_string_equal(text + strlen(text) - 3, "...");
    }
    assert_true(LOG_LINE_MAX < PIPE_BUF);
}

/* Names and keys are found by programs: their alphabet is as documented, and no name means two things. */
static void names_of_events(void **state)
{
    (void)state;
    for (unsigned a = 0; a < EVENTS_COUNT; a++) {
        const char *name = event_name((enum log_event)a);
        assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz_"), strlen(name));
        assert_in_range(event_lines_a_second((enum log_event)a), 1, 100);
        assert_string_not_equal(name, "left_out");
        for (unsigned b = 0; b < a; b++) assert_string_not_equal(name, event_name((enum log_event)b));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_form),
        cmocka_unit_test(a_line_without_sentence_or_fields),
        cmocka_unit_test(what_can_not_stand_as_it_is),
        cmocka_unit_test(a_nul_ends_nothing),
        cmocka_unit_test(no_byte_ends_a_line_or_a_value),
        cmocka_unit_test(a_line_that_is_too_long),
        cmocka_unit_test(names_of_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
