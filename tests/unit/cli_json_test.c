/* JSON to msgpack and back, as `pub -j` and `sub -o json` do it. */
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

#include "json_in.h"
#include "json_out.h"

/* What a document is as JSON; to be freed. */
static char *json_of(mps_view document)
{
    assert_null(mps_document_check(document, 0, UINT32_MAX));
    int fd = memfd_create("json", MFD_CLOEXEC);
    assert_true(fd >= 0);
    struct output out;
    output_open(&out, fd);
    json_out_document(&out, document);
    assert_true(output_flush(&out));
    output_close(&out);
    off_t len = lseek(fd, 0, SEEK_CUR);
    char *text = calloc(1, (size_t)len + 1);
    assert_non_null(text);
    assert_int_equal(pread(fd, text, (size_t)len, 0), len);
    close(fd);
    return text;
}

static void assert_json(const void *document, size_t len, const char *expected)
{
    char *text = json_of((mps_view){document, (uint32_t)len});
    assert_string_equal(text, expected);
    free(text);
}

static void assert_msgpack(const char *json, const void *expected, size_t len)
{
    struct buffer out = {0};
    char why[256] = "";
    if (!json_in(json, strlen(json), &out, why, sizeof why)) fail_msg("%s: %s", json, why);
    assert_int_equal(out.len, len);
    assert_memory_equal(out.data, expected, len);
    buffer_free(&out);
}

#define ASSERT_JSON(document, expected) assert_json(document, sizeof(document) - 1, expected)
#define ASSERT_MSGPACK(json, expected) assert_msgpack(json, expected, sizeof(expected) - 1)

static void assert_same_again(const char *json)
{
    struct buffer out = {0};
    char why[256] = "";
    if (!json_in(json, strlen(json), &out, why, sizeof why)) fail_msg("%s: %s", json, why);
    assert_json(out.data, out.len, json);
    buffer_free(&out);
}

static void values_come_back_as_they_were(void **state)
{
    (void)state;
    static const char *const values[] = {
        "null",
        "true",
        "false",
        "0",
        "-1",
        "127",
        "128",
        "65536",
        "4294967296",
        "-32",
        "-33",
        "-2147483649",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "18446744073709551615",
        "0.1",
        "1.5",
        "-2.5e-300",
        "1.7976931348623157e+308",
        "5e-324",
        "1.0",
        "1.2345678901234568e+17",
        "\"\"",
        "\"text\"",
        "\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001f\\u007f\"",
        "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"",
        "[]",
        "{}",
        "[[],{},[1,[2,[3]]]]",
        "{\"z\":1,\"a\":{\"b\":[true,null]},\"\":\"\"}",
        "[1,18446744073709551615,2.5,\"18446744073709551614\",{\"a\":-1,\"b\":10000000000000000000}]",
    };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) assert_same_again(values[i]);
}

static void encoding_is_the_shortest(void **state)
{
    (void)state;
    ASSERT_MSGPACK("{\"t\":21}", "\x81\xa1t\x15");
    ASSERT_MSGPACK(" [ 1 , -1 ] ", "\x92\x01\xff");
    ASSERT_MSGPACK("18446744073709551615", "\xcf\xff\xff\xff\xff\xff\xff\xff\xff");
    ASSERT_MSGPACK("9223372036854775808", "\xcf\x80\x00\x00\x00\x00\x00\x00\x00");
    ASSERT_MSGPACK("1.5", "\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00");
    ASSERT_MSGPACK("\"a\\u0000b\"", "\xa3"
                                    "a\0b");
}

static void what_json_lacks_is_wrapped(void **state)
{
    (void)state;
    ASSERT_JSON("\xc4\x03\x00\xff\x10", "{\"$bin\":\"AP8Q\"}");
    ASSERT_JSON("\xc4\x00", "{\"$bin\":\"\"}");
    ASSERT_JSON("\xc4\x01M", "{\"$bin\":\"TQ==\"}");
    ASSERT_JSON("\xc4\x02Ma", "{\"$bin\":\"TWE=\"}");
    ASSERT_JSON("\xd4\xff\x01", "{\"$ext\":[-1,\"AQ==\"]}");
    ASSERT_JSON("\xa2\xff"
                "a",
                "{\"$str\":\"/2E=\"}");
    ASSERT_JSON("\xa3\xed\xa0\x80", "{\"$str\":\"7aCA\"}"); /* a surrogate */
    ASSERT_JSON("\xa2\xc2\x9b", "\"\\u009b\"");             /* a control character to some terminals */
    ASSERT_JSON("\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", "null");
    ASSERT_JSON("\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00", "1e999");
    ASSERT_JSON("\xcb\xff\xf0\x00\x00\x00\x00\x00\x00", "-1e999");
    ASSERT_JSON("\xca\x3f\xc0\x00\x00", "1.5");
    ASSERT_JSON("\x92\xcd\x00\x07\xd1\xff\xff", "[7,-1]");
}

static void keys_become_strings(void **state)
{
    (void)state;
    ASSERT_JSON("\x83\x01\x02\xff\x03\xc0\x04", "{\"1\":2,\"-1\":3,\"null\":4}");
    ASSERT_JSON("\x82\xc3\xc2\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00\x01", "{\"true\":false,\"1.5\":1}");
    ASSERT_JSON("\x83\xc4\x01M\x01\xa1\xff\x02\xd4\x05M\x03", "{\"$bin:TQ==\":1,\"$str:/w==\":2,\"$ext:5:TQ==\":3}");
    ASSERT_JSON("\x82\x91\x01\x02\xa1"
                "a\x03",
                "{\"$msgpack:kQE=\":2,\"a\":3}");
    ASSERT_JSON("\x81\x81\x81\x01\x02\x03\x04", "{\"$msgpack:gYEBAgM=\":4}");
    ASSERT_JSON("\x92\x81\x80\x01\x02", "[{\"$msgpack:gA==\":1},2]");
}

static void assert_refused(const char *json, size_t len, const char *part)
{
    struct buffer out = {0};
    char why[256] = "";
    buffer_append(&out, "kept", 4);
    if (json_in(json, len, &out, why, sizeof why)) fail_msg("%s (%zu bytes) is accepted", json, len);
    if (!strstr(why, part)) fail_msg("%s: %s", json, why);
    assert_int_equal(out.len, 4);
    buffer_free(&out);
}

static void what_cannot_be_kept_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *json, *why;
    } cases[] = {
        {"", "line 1"},
        {"{", "line 1"},
        {"nul", "line 1"},
        {"1 2", "line 1"},
        {"{\"a\":1,\"a\":2}", "duplicate"},
        {"18446744073709551616", "integer"},
        {"-9223372036854775809", "integer"},
        {"1e400", "overflow"},
        {"[18446744073709551615, 99999999999999999999]", "integer"},
        {"\"\xff\"", "decode"},
        {"01", "line 1"},
        {"+1", "line 1"},
        {"1.10.1", "line 1"},
        {"2 hello", "line 1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_refused(cases[i].json, strlen(cases[i].json), cases[i].why);
    assert_refused("1\0", 2, "NUL");
    assert_refused("1\0}", 3, "NUL");

    char nested[2 * (MPS_DOCUMENT_DEPTH_MAX + 1) + 1];
    memset(nested, '[', MPS_DOCUMENT_DEPTH_MAX + 1);
    memset(nested + MPS_DOCUMENT_DEPTH_MAX + 1, ']', MPS_DOCUMENT_DEPTH_MAX + 1);
    nested[sizeof nested - 1] = '\0';
    assert_refused(nested, sizeof nested - 1, "deeper");
    nested[sizeof nested - 2] = '\0';
    assert_same_again(nested + 1);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_come_back_as_they_were),  cmocka_unit_test(encoding_is_the_shortest),
        cmocka_unit_test(what_json_lacks_is_wrapped),     cmocka_unit_test(keys_become_strings),
        cmocka_unit_test(what_cannot_be_kept_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
