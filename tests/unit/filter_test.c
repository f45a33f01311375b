/* Content filters: what each operator says of a known message, what is refused and where, and the limits. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "filter.h"
#include "value.h"

#define VIEW(text) ((mps_view){(const uint8_t *)(text), sizeof(text) - 1})
#define TOPIC "site/a//temp"

/* Compiles or fails the test; the caller frees. The memory is as small as was promised, for a sanitizer to watch. */
static struct mps_filter *compile(const char *text, size_t len)
{
    struct mps_filter_error error = {0};
    mps_view view = {(const uint8_t *)text, (uint32_t)len};
    struct mps_filter *filter = mps_filter_compile(malloc(mps_filter_size(view)), view, &error);
    if (filter == NULL) fail_msg("%.*s: column %u: %s", (int)len, text, error.column, error.text);
    return filter;
}

static bool matches(const char *text, mps_view props, mps_view payload)
{
    struct mps_filter *filter = compile(text, strlen(text));
    bool result = mps_filter_matches(filter, mps_text(TOPIC), props, payload);
    assert_int_equal(result, mps_filter_matches(filter, mps_text(TOPIC), props, payload));
    free(filter);
    return result;
}

/* ---- the message ---- */

static uint8_t document_room[1024], props_room[256];
static mps_view document, props;

static void put_key(struct mps_out *out, const char *key)
{
    mps_put_text(out, mps_text(key));
}

static void put_uint(struct mps_out *out, const char *key, uint64_t number)
{
    put_key(out, key);
    mps_put_uint(out, number);
}

static void put_int(struct mps_out *out, const char *key, int64_t number)
{
    put_key(out, key);
    mps_put_int(out, number);
}

static void put_double(struct mps_out *out, const char *key, double real)
{
    uint64_t bits;
    uint8_t bytes[9] = {0xcb};
    memcpy(&bits, &real, sizeof bits);
    for (int i = 0; i < 8; i++) bytes[1 + i] = (uint8_t)(bits >> (56 - 8 * i));
    put_key(out, key);
    mps_put_raw(out, (mps_view){bytes, sizeof bytes});
}

static void put_text(struct mps_out *out, const char *key, const char *text)
{
    put_key(out, key);
    mps_put_text(out, mps_text(text));
}

static void put_bool(struct mps_out *out, const char *key, bool value)
{
    put_key(out, key);
    mps_put_bool(out, value);
}

/* Already encoded. */
static void put_raw(struct mps_out *out, const char *key, mps_view bytes)
{
    put_key(out, key);
    mps_put_raw(out, bytes);
}

static void make_document(void)
{
    struct mps_out out = mps_out_open(document_room, sizeof document_room);
    mps_put_map(&out, 25);
    put_uint(&out, "n", 7);
    put_int(&out, "neg", -5);
    put_uint(&out, "big", (UINT64_C(1) << 53) + 1);
    put_double(&out, "rounded", 0x1p53);
    put_uint(&out, "most", UINT64_MAX);
    put_int(&out, "least", INT64_MIN);
    put_double(&out, "temp", 31.5);
    put_double(&out, "one", 1.0);
    put_raw(&out, "narrow", VIEW("\xca\x3f\x00\x00\x00")); /* 0.5 in 32 bits */
    put_double(&out, "nan", (double)NAN);
    put_double(&out, "inf", (double)INFINITY);
    put_text(&out, "site", "berlin");
    put_text(&out, "empty", "");
    put_text(&out, "quoted", "a\"b\\c\n\t\xc3\xa9\xf0\x9f\x98\x80");
    put_bool(&out, "on", true);
    put_bool(&out, "off", false);
    put_raw(&out, "none", VIEW("\xc0"));
    put_raw(&out, "blob", VIEW("\xc4\x02xy"));
    put_raw(&out, "blob2", VIEW("\xc5\x00\x02xy"));
    put_raw(&out, "tags", VIEW("\x95\xa3red\x03\x91\x63\xc0\xd4\x01\x02")); /* ["red", 3, [99], nil, an ext] */
    put_raw(&out, "a",
            VIEW("\x83\xa1"
                 "b\x93\x01\x02\x81\xa1"
                 "c\xa4"
                 "deep\x05\xa4"
                 "five\xa2"
                 "11\x0b")); /* {"b": [1, 2, {"c": "deep"}], 5: "five", "11": 11} */
    put_uint(&out, "odd key", 1);
    put_uint(&out, "and", 2);
    put_uint(&out, "na\xc3\xafve-key_2", 3);
    mps_put_uint(&out, 5);
    mps_put_text(&out, mps_text("top"));
    assert_false(out.full);
    document = mps_out_view(&out);
    assert_null(mps_document_check(document, 0, 0));
}

static int make_message(void **state)
{
    (void)state;
    make_document();
    struct mps_out out = mps_out_open(props_room, sizeof props_room);
    mps_put_map(&out, 4);
    put_text(&out, "unit", "C");
    put_raw(&out, "sizes", VIEW("\x92\x04\x05"));
    put_bool(&out, "odd header", true);
    mps_put_uint(&out, MPS_PROP_TTL_MS);
    mps_put_uint(&out, 60000);
    const char *what;
    props = mps_out_view(&out);
    assert_int_equal(mps_props_check(props, &what), MPS_OK);
    return 0;
}

struct verdict {
    const char *text;
    bool matches;
};

static void check_all(const struct verdict *verdicts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (matches(verdicts[i].text, props, document) != verdicts[i].matches)
            fail_msg("%s should be %s", verdicts[i].text, verdicts[i].matches ? "true" : "false");
    }
}
#define CHECK(...) \
    check_all((struct verdict[]){__VA_ARGS__}, sizeof((struct verdict[]){__VA_ARGS__}) / sizeof(struct verdict))

/* ---- operators ---- */

static void compares_numbers(void **state)
{
    (void)state;
    CHECK({"n == 7", 1}, {"n == 8", 0}, {"n != 8", 1}, {"n != 7", 0}, {"n < 8", 1}, {"n < 7", 0}, {"n <= 7", 1},
          {"n <= 6", 0}, {"n > 6", 1}, {"n > 7", 0}, {"n >= 7", 1}, {"n >= 8", 0}, {"7 == n", 1}, {"8 > n", 1},
          {"6 > n", 0}, {"n==7", 1}, {"n>6.99", 1}, {"n == 7.0", 1}, {"n == 70e-1", 1}, {"n == 0.7E+1", 1},
          {"neg == -5", 1}, {"neg < 0", 1}, {"neg < -4.5", 1}, {"neg > -5.5", 1}, {"neg >= -5.0", 1}, {"neg < n", 1},
          {"temp > 31", 1}, {"temp < 32", 1}, {"temp == 31.5", 1}, {"temp > n", 1}, {"temp != n", 1}, {"one == 1", 1},
          {"narrow == 0.5", 1}, {"narrow < 1", 1}, {"narrow > 0", 1}, {"neg > inf", 0}, {"inf > most", 1},
          {"inf == inf", 1}, {"least < -1e300", 0}, {"least > -1e300", 1}, {"n == 007", 1}, {"neg == -0", 0});
}

static void compares_64_bits_exactly(void **state)
{
    (void)state;
    CHECK({"big == 9007199254740993", 1}, {"big == 9007199254740992", 0}, {"big > 9007199254740992", 1},
          {"big == 9007199254740992.0", 0}, {"big > 9007199254740992.0", 1}, {"big == rounded", 0},
          {"big > rounded", 1}, {"rounded < big", 1}, {"rounded == 9007199254740992", 1},
          {"rounded == 9007199254740993", 0}, {"rounded < 9007199254740993", 1}, {"rounded == 9007199254740993.0", 1},
          {"most == 18446744073709551615", 1}, {"most == 18446744073709551614", 0}, {"most > 18446744073709551614", 1},
          {"most == 18446744073709551616", 0}, {"most < 18446744073709551616", 1}, {"most < 18446744073709551615.0", 1},
          {"least == -9223372036854775808", 1}, {"least == -9223372036854775807", 0},
          {"least < -9223372036854775807", 1}, {"least == -9223372036854775808.0", 1},
          {"least > -9223372036854775809", 0}, {"least == -9223372036854775809", 1} /* a float */, {"least < most", 1},
          {"most > least", 1}, {"neg < most", 1}, {"most == -1", 0});
}

static void nan_equals_nothing(void **state)
{
    (void)state;
    CHECK({"nan == nan", 0}, {"nan != nan", 1}, {"nan == 1", 0}, {"nan != 1", 1}, {"nan < 1", 0}, {"nan >= 1", 0},
          {"1 < nan", 0}, {"not (nan < 1)", 1}, {"nan in [1, 2]", 0}, {"neg != nan", 1}, {"temp > nan", 0});
}

static void compares_texts(void **state)
{
    (void)state;
    CHECK({"site == \"berlin\"", 1}, {"site == \"Berlin\"", 0}, {"site != \"bonn\"", 1}, {"site < \"bonn\"", 1},
          {"site > \"berli\"", 1}, {"site < \"berlin \"", 1}, {"site >= \"berlin\"", 1}, {"\"a\" < site", 1},
          {"site < \"\xc3\xa9\"", 1}, {"empty == \"\"", 1}, {"empty < site", 1}, {"site > empty", 1},
          {"quoted == \"a\\\"b\\\\c\\n\\t\\u00e9\\ud83d\\uDE00\"", 1}, {"quoted ^= \"a\\u0022\"", 1},
          {"site ^= \"ber\"", 1}, {"site ^= \"berlin\"", 1}, {"site ^= \"berlin!\"", 0}, {"site ^= \"\"", 1},
          {"site ^= \"er\"", 0}, {"\"berlin/7\" ^= site", 1}, {"site ^= empty", 1}, {"n ^= \"7\"", 0},
          {"site ^= n", 0});
}

static void compares_other_kinds(void **state)
{
    (void)state;
    CHECK({"on == true", 1}, {"on == false", 0}, {"on != false", 1}, {"off == false", 1}, {"on == off", 0},
          {"on != off", 1}, {"on <= on", 0}, {"on < off", 0}, {"none == nil", 1}, {"n == nil", 0}, {"n != nil", 1},
          {"none != nil", 0}, {"nil == none", 1}, {"nil != n", 1}, {"gone == nil", 0}, {"gone != nil", 0},
          {"none >= none", 0}, {"none == none", 1}, {"blob == blob2", 1}, {"blob != blob2", 0}, {"blob <= blob2", 0},
          {"blob == site", 0}, {"blob == \"xy\"", 0}, {"a == a", 0}, {"tags == tags", 0}, {"tags != nil", 1});
}

static void missing_and_mistyped_fields_are_false(void **state)
{
    (void)state;
    CHECK({"gone == 3", 0}, {"gone != 3", 0}, {"not (gone > 3)", 1}, {"not gone != 3", 1}, {"site == 3", 0},
          {"site != 3", 0}, {"n != \"7\"", 0}, {"not n == \"7\"", 1}, {"on == 1", 0}, {"none == 0", 0},
          {"none != 0", 0}, {"a > 1", 0}, {"n.x == 7", 0}, {"n[0] == 7", 0}, {"tags.red == 1", 0}, {"tags[5] == 1", 0},
          {"gone == gone", 0});
}

static void looks_into_lists_and_containers(void **state)
{
    (void)state;
    CHECK({"n in [7]", 1}, {"n in [1, 7.0, \"x\"]", 1}, {"n in [1,2]", 0}, {"site in [\"bonn\", \"berlin\"]", 1},
          {"gone in [1, nil]", 0}, {"none in [1, nil]", 1}, {"on in [true]", 1}, {"a in [1]", 0}, {"not n in [1]", 1},
          {"tags has \"red\"", 1}, {"tags has 3", 1}, {"tags has 3.0", 1}, {"tags has nil", 1}, {"tags has 99", 0},
          {"tags has \"blue\"", 0}, {"a has \"b\"", 1}, {"a has 5", 1}, {"a has \"c\"", 0}, {"a has 11", 0},
          {"a has \"11\"", 1}, {"a has \"five\"", 0}, {"a.b has n", 0}, {"a.b[2] has \"c\"", 1}, {"site has \"b\"", 0},
          {"gone has 1", 0}, {"a has gone", 0}, {". has \"site\"", 1}, {". has site", 0}, {"tags has a", 0},
          {"a.b has a.b[1]", 1}, {"@props.sizes has 5", 1}, {"@props.sizes has n", 0}, {"@topic has \"site\"", 0});
}

static void finds_paths(void **state)
{
    (void)state;
    CHECK({"exists(n)", 1}, {"exists( none )", 1}, {"exists(gone)", 0}, {"not exists(gone)", 1}, {"exists(a.b)", 1},
          {"a.b[1] == 2", 1}, {"a.b[2].c == \"deep\"", 1}, {"exists(a.b[3])", 0}, {"exists(a.c)", 0},
          {"a[5] == \"five\"", 1}, {"exists(a[11])", 0}, {"a.\"11\" == 11", 1}, {"[5] == \"top\"", 1},
          {".[5] == \"top\"", 1}, {".n == 7", 1}, {".\"odd key\" == 1", 1}, {"a.\"b\"[0] == 1", 1},
          {".\"and\" == 2", 1}, {"na\xc3\xafve-key_2 == 3", 1}, {"exists(.)", 1},
          {"exists(a.b[18446744073709551615])", 0}, {"exists(tags[2][0]) and tags[2][0] == 99", 1},
          {"a.b[0] == 1 and a.b[1] == 2 and a.b[2].c ^= \"de\"", 1});
    assert_true(matches(". > 20", (mps_view){0}, VIEW("\x15")));
    assert_true(matches("[1] == 2", (mps_view){0}, VIEW("\x92\x01\x02")));
    assert_true(matches("exists(.\"\")", (mps_view){0}, VIEW("\x81\xa0\x01")));
}

static void first_of_equal_keys_counts(void **state)
{
    (void)state;
    mps_view twice = VIEW("\x83\xa1"
                          "a\x01\xd9\x01"
                          "a\x02\xa1"
                          "b\x03");
    assert_true(matches("a == 1", (mps_view){0}, twice));
    assert_true(matches("a == 1 and not exists(z)", (mps_view){0}, twice)); /* the search goes on behind the first */
    assert_false(matches("a == 2", (mps_view){0}, twice));
    mps_view inner = VIEW("\x82\xa1"
                          "a\x80\xa1"
                          "a\x81\xa1"
                          "b\x01");
    assert_false(matches("exists(a.b)", (mps_view){0}, inner));
    mps_view numbers = VIEW("\x83\x05\xa1x\xcd\x00\x05\xa1y\xff\x01");
    assert_true(matches("[5] == \"x\"", (mps_view){0}, numbers));
    mps_view containers_as_keys = VIEW("\x83\x91\x01\x02\x81\xa1z\x01\x90\xa1"
                                       "a\x09");
    assert_true(
        matches("a == 9 and not exists(z) and . has \"a\" and not . has \"z\"", (mps_view){0}, containers_as_keys));
}

static void reads_topic_and_props(void **state)
{
    (void)state;
    CHECK({"@topic == \"site/a//temp\"", 1}, {"@topic ^= \"site/\"", 1}, {"@level[0] == \"site\"", 1},
          {"@level[1] == \"a\"", 1}, {"@level[2] == \"\"", 1}, {"@level[3] == \"temp\"", 1}, {"exists(@level[4])", 0},
          {"exists(@level[99999999])", 0}, {"exists(@level[65536])", 0}, {"@level[3] != @level[0]", 1},
          {"@props.unit == \"C\"", 1}, {"@props.\"unit\" == \"C\"", 1}, {"@props.\"odd header\" == true", 1},
          {"@props.sizes[1] == 5", 1}, {"@props[4] == 60000", 1}, {"exists(@props[6])", 0}, {"exists(@props.\"4\")", 0},
          {"@props.unit != site", 1}, {"exists(unit)", 0}, {"exists(@props.n)", 0}, {"@level[0] in [\"site\"]", 1});
    assert_false(matches("exists(@props.unit)", (mps_view){0}, document));
}

static void binds_not_then_and_then_or(void **state)
{
    (void)state;
    CHECK({"n == 7 or n == 8 and n == 9", 1}, {"(n == 7 or n == 8) and n == 9", 0}, {"n == 9 and n == 8 or n == 7", 1},
          {"not n == 8 and n == 9", 0}, {"not (n == 8 and n == 9)", 1}, {"not n == 7 or n == 7", 1},
          {"not not n == 7", 1}, {"not n == 8 or n == 9", 1}, {"n == 8 or not n == 9 and n == 7", 1}, {"((n == 7))", 1},
          {"not ((n == 7))", 0}, {"n == 1 or n == 2 or n == 7", 1}, {"n == 7 and n > 1 and n > 2", 1},
          {"n == 7 and n > 1 and n > 7", 0}, {"(n == 1 or n == 7) and (n == 7 or n == 2)", 1},
          {"not (n == 1 or n == 7) or n == 2", 0}, {"n == 1 and (n == 2 or n == 7) or n == 7 and not (n == 3)", 1},
          {"\t n\n==\r7 ", 1}, {"not(n==8)and(n==7)", 1});
}

/* ---- payloads ---- */

static void only_documents_match(void **state)
{
    (void)state;
    static const struct {
        mps_view payload;
        bool is_document;
    } payloads[] = {
        {VIEW("\x81\xa1"
              "a\x01"),
         true},
        {VIEW("\x01"), true},
        {VIEW(""), false},
        {VIEW("\x81\xa1"
              "a\x01\x00"),
         false},
        {VIEW("\x81\xa1"
              "a"),
         false},
        {VIEW("\x81\xa1"), false},
        {VIEW("\x81"), false},
        {VIEW("\xc1"), false},
        {VIEW("\x81\xa1"
              "a\xc1"),
         false},
        {VIEW("\x82\xa1"
              "a\x01\xa1"
              "b\xcd\x01"),
         false},
        {VIEW("\xdf\xff\xff\xff\xff"), false},
        {VIEW("\xdd\x00\x00\x27\x10"), false},
        {VIEW("\xdb\xff\xff\xff\xff"), false},
        {VIEW("\xd9"), false},
        {VIEW("\x81\xa1"
              "a\xd9\x05"
              "abc"),
         false},
        {VIEW("\x81\xd9\x01"
              "a\x01"),
         true},
        {VIEW("\xc7\x01\x05x"), true},
        {VIEW("\x81\xbf"
              "a"),
         false},
        {VIEW("\x92\xc0\xc2"), true},
        {VIEW("\xd8\x01"), false},
    };
    for (size_t i = 0; i < sizeof payloads / sizeof *payloads; i++) {
        assert_int_equal(mps_document_check(payloads[i].payload, 0, 0) == NULL, payloads[i].is_document);
        /* Whatever else it says, naming a field of the payload is enough. */
        assert_int_equal(matches("not exists(b)", (mps_view){0}, payloads[i].payload), payloads[i].is_document);
        assert_int_equal(matches("@level[1] == \"a\" or a == 1", (mps_view){0}, payloads[i].payload),
                         payloads[i].is_document);
        assert_true(matches("@level[1] == \"a\"", (mps_view){0}, payloads[i].payload));
    }
}

static void cuts_of_a_document_do_not_match(void **state)
{
    (void)state;
    struct mps_filter *filter = compile("not exists(gone) or n == 7", 26);
    for (uint32_t len = 0; len <= document.len; len++) {
        uint8_t *copy = malloc(len + 1); /* as long as what may be read: a sanitizer sees what goes beyond */
        assert_non_null(copy);
        memcpy(copy, document.ptr, len);
        copy = realloc(copy, len > 0 ? len : 1);
        assert_non_null(copy);
        assert_int_equal(mps_filter_matches(filter, mps_text("t"), (mps_view){0}, (mps_view){copy, len}),
                         len == document.len);
        free(copy);
    }
    free(filter);
}

static void documents_are_bounded(void **state)
{
    (void)state;
    uint8_t bytes[40000];
    memset(bytes, 0x91, sizeof bytes); /* arrays of one in each other */
    bytes[31] = 0x90;
    assert_true(matches("not exists(a)", (mps_view){0}, (mps_view){bytes, 32}));
    assert_true(matches("exists([0][0])", (mps_view){0}, (mps_view){bytes, 32}));
    bytes[31] = 0x91;
    bytes[32] = 0x90;
    assert_false(matches("not exists(a)", (mps_view){0}, (mps_view){bytes, 33}));
    bytes[32] = 0x01;
    assert_true(matches("not exists(a)", (mps_view){0}, (mps_view){bytes, 33}));

    for (uint32_t values = 9999; values <= 10001; values++) { /* the array counts, too */
        memcpy(bytes, (uint8_t[]){0xdc, (uint8_t)((values - 1) >> 8), (uint8_t)(values - 1)}, 3);
        memset(bytes + 3, 0xc0, values - 1);
        assert_int_equal(matches("not exists(a)", (mps_view){0}, (mps_view){bytes, values + 2}), values <= 10000);
        assert_int_equal(matches("exists([9998])", (mps_view){0}, (mps_view){bytes, values + 2}), values == 10000);
    }
}

static void content_types_are_no_documents(void **state)
{
    (void)state;
    mps_view raw = VIEW("\x81\x03\x00"), media = VIEW("\x82\xa1k\xa1v\x03\xaa"
                                                      "image/jpeg");
    assert_false(matches("n == 7", raw, document));
    assert_false(matches("not n == 8", media, document));
    assert_false(matches("@props.k == \"v\" or n == 7", media, document));
    assert_true(matches("@props.k == \"v\"", media, document));
    assert_true(matches("@props[3] ^= \"image/\"", media, document));
    assert_true(matches("@props[3] == 0", raw, VIEW("\xc1")));
}

/* ---- mistakes ---- */

static void refuse(const char *text, uint32_t column, const char *message)
{
    struct mps_filter_error error = {0};
    void *memory = malloc(mps_filter_size(mps_text(text)));
    if (mps_filter_compile(memory, mps_text(text), &error) != NULL) fail_msg("%s should be refused", text);
    free(memory);
    if (error.column != column || strcmp(error.text, message) != 0)
        fail_msg("%s: column %u: %s; expected column %u: %s", text, error.column, error.text, column, message);
}

static void mistakes_name_column_and_what_was_due(void **state)
{
    (void)state;
    refuse("", 1, "expected a condition, found the end");
    refuse("  ", 3, "expected a condition, found the end");
    refuse("temp >", 7, "expected a value after '>', found the end");
    refuse("(temp > )", 9, "expected a value after '>', found ')'");
    refuse("temp > and", 8, "expected a value after '>', found 'and'");
    refuse("active", 7, "expected a comparison, found the end");
    refuse("not active and n == 1", 12, "expected a comparison, found 'and'");
    refuse("true", 5, "expected a comparison, found the end");
    refuse("n = 1", 3, "expected a comparison, found '='");
    refuse("n === 1", 5, "expected a value after '==', found '='");
    refuse("n == 1 && n == 2", 8, "expected 'and', 'or' or the end, found '&'");
    refuse("n == 1 AND n == 2", 8, "expected 'and', 'or' or the end, found 'AND'");
    refuse("n == 1)", 7, "expected 'and', 'or' or the end, found ')'");
    refuse("1 < n < 3", 7, "expected 'and', 'or' or the end, found '<'");
    refuse("(n == 1", 8, "expected 'and', 'or' or ')' for the '(' in column 1, found the end");
    refuse("(n == 1 n", 9, "expected 'and', 'or' or ')' for the '(' in column 1, found 'n'");
    refuse("n == 1 or", 10, "expected a condition, found the end");
    refuse("or n == 1", 1, "expected a condition, found 'or'");
    refuse("n == 'x'", 6, "expected a value after '==', found \"'\"; texts stand in double quotes");
    refuse("n == \"x", 6, "expected a '\"' at the end of this text, found the end");
    refuse("n == \"\\q\"", 7, "expected \\\", \\\\, \\n, \\t or \\uXXXX");
    refuse("n == \"\\u12g4\"", 11, "expected four hexadecimal digits after \\u, found 'g4'");
    refuse("n == \"\\ud800x\"", 7, "half a pair of surrogates is no character");
    refuse("n in 3", 6, "expected '[' after 'in', found 3");
    refuse("n in []", 7, "expected a number, a text, true, false or nil in the list, found ']'");
    refuse("n in [1 2]", 9, "expected ',' or ']' in the list, found 2");
    refuse("n in [m]", 7, "expected a number, a text, true, false or nil in the list, found 'm'");
    refuse("3 in [3]", 1, "expected a path before 'in', found a number");
    refuse("\"x\" has 3", 1, "expected a path before 'has', found a text");
    refuse("n < true", 5, "expected a number, a text or a path after '<', found a bool");
    refuse("nil >= n", 1, "expected a number, a text or a path before '>=', found nil");
    refuse("n ^= 3", 6, "expected a text or a path after '^=', found a number");
    refuse("1 == 1", 6, "expected a path after '==', for there is a literal before it");
    refuse("exists n", 8, "expected '(' after 'exists', found 'n'");
    refuse("exists(3)", 8, "expected a path, found 3");
    refuse("exists(n", 9, "expected ')' after the path, found the end");
    refuse("a. == 1", 3, "expected a key (an odd one in double quotes), found a blank");
    refuse("a.2 == 1", 3, "expected a key (an odd one in double quotes), found 2");
    refuse("a.not == 1", 3, "expected a key (a reserved word in double quotes), found 'not'");
    refuse("a[x] == 1", 3, "expected a number from 0 after '[', found 'x'");
    refuse("a[-1] == 1", 3, "expected a number from 0 after '[', found -1");
    refuse("a[1 == 1", 4, "expected ']' after the number, found a blank");
    refuse("a[18446744073709551616] == 1", 3, "expected a number below 2^64");
    refuse("@level == 1", 7, "expected '[' after '@level', found a blank");
    refuse("@props == 1", 7, "expected '.' or '[' after '@props', found a blank");
    refuse("@payload == 1", 1, "expected @topic, @level[n] or @props.name");
    refuse("n == 3x", 7, "expected the end of the number, found 'x'");
    refuse("n == 1.2.3", 9, "expected the end of the number, found '.'");
    refuse("n == 1.", 8, "expected a digit, found the end");
    refuse("n == 1e+", 9, "expected a digit, found the end");
    refuse("n == - 1", 7, "expected a digit, found a blank");
    refuse("n == -1e309", 6, "expected a number of at most 1.7976931348623157e308");
    refuse("n == \x01", 6, "expected a value after '==', found a control character");
    refuse("n == 1 \xff", 8, "it is not UTF-8 without NUL");
    refuse("n == 1 abcdefghijklmnopqrstuvwxyz", 8,
           "expected 'and', 'or' or the end, found 'abcdefghijklmnopqrstuvwx...'");
}

/* Repeats piece count times behind start. */
static char *repeat(const char *start, const char *piece, unsigned count, const char *end)
{
    char *text = calloc(1, strlen(start) + strlen(piece) * count + strlen(end) + 1);
    assert_non_null(text);
    strcpy(text, start);
    for (unsigned i = 0; i < count; i++) strcat(text, piece);
    return strcat(text, end);
}

static void check_limit(const char *start, const char *piece, unsigned count, const char *end, uint32_t column,
                        const char *message)
{
    char *well = repeat(start, piece, count, end), *over = repeat(start, piece, count + 1, end);
    free(compile(well, strlen(well)));
    refuse(over, column, message);
    free(well);
    free(over);
}

static void expressions_are_bounded(void **state)
{
    (void)state;
    static const char nodes[] = "it has more than 64 operators, paths and literals";
    check_limit("not n == 1", " and n == 1", 15, "", 177, nodes); /* 4 + 15 x 4 */
    check_limit("n in [1", ",1", 61, "]", 131, nodes);            /* n, in, 62 literals */
    check_limit("", "not ", 61, "n==1", 252, nodes);
    check_limit("", "(", 64, "n==1))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))", 65,
                "it has more than 64 parentheses in each other");
    check_limit("exists(a", ".a", 31, ")", 8, "this path has more than 32 steps");
    check_limit("exists(a", "[0]", 31, ")", 8, "this path has more than 32 steps");
    check_limit("a == \"", "x", 1017, "\"", 1025, "it is longer than 1024 bytes");
    check_limit("a == 1", " ", 1018, "", 1025, "it is longer than 1024 bytes");
    check_limit("a == ", "9", 308, "", 6, "expected a number of at most 1.7976931348623157e308");
}

/* The largest programs that fit into a text: the memory that was promised is enough for each. */
static void size_is_enough(void **state)
{
    (void)state;
    char *texts[] = {
        repeat("a<b", " or a<b", 15, ""),
        repeat("a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.u.v.w.x.y.z.A.B.C.D.E.F<1",
               " or G.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.u.v.w.x.y.z.A.B.C.D.E.F<1", 12, ""),
        repeat("a in[1", ",1", 61, "]"),
        repeat("a==\"", "\\u1234", 160, "\""),
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct mps_filter *filter = compile(texts[i], strlen(texts[i]));
        mps_filter_matches(filter, mps_text(TOPIC), props, document);
        free(filter);
        free(texts[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compares_numbers),
        cmocka_unit_test(compares_64_bits_exactly),
        cmocka_unit_test(nan_equals_nothing),
        cmocka_unit_test(compares_texts),
        cmocka_unit_test(compares_other_kinds),
        cmocka_unit_test(missing_and_mistyped_fields_are_false),
        cmocka_unit_test(looks_into_lists_and_containers),
        cmocka_unit_test(finds_paths),
        cmocka_unit_test(first_of_equal_keys_counts),
        cmocka_unit_test(reads_topic_and_props),
        cmocka_unit_test(binds_not_then_and_then_or),
        cmocka_unit_test(only_documents_match),
        cmocka_unit_test(cuts_of_a_document_do_not_match),
        cmocka_unit_test(documents_are_bounded),
        cmocka_unit_test(content_types_are_no_documents),
        cmocka_unit_test(mistakes_name_column_and_what_was_due),
        cmocka_unit_test(expressions_are_bounded),
        cmocka_unit_test(size_is_enough),
    };
    return cmocka_run_group_tests(tests, make_message, NULL);
}
