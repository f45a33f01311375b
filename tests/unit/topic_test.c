/* Rules of topics, patterns and client ids; matching, against a table and against the simplest matcher there is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire.h"

static mps_view view(const char *text, size_t len)
{
    return (mps_view){(const uint8_t *)text, (uint32_t)len};
}

#define V(text) view(text, sizeof text - 1)

static void topics(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "/", "a/b", "a//b/", "$SYS/x", "é/水", "a b", "A", "a/$b", "-"};
    static const char *const bad[] = {"", "+", "#", "a/+", "a/#", "a+b", "a#", "+a"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_null(mps_topic_error(mps_text(good[i])));
        assert_null(mps_pattern_error(mps_text(good[i])));
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_non_null(mps_topic_error(mps_text(bad[i])));
    assert_non_null(mps_topic_error((mps_view){NULL, 0}));
}

static void patterns(void **state)
{
    (void)state;
    static const char *const good[] = {"+", "#", "a/#", "+/#", "+/+", "a/+/b", "/+", "+/", "/#", "$SYS/#"};
    static const char *const bad[] = {"", "a+", "+a", "a/b+", "#/a", "##", "++", "a/#/b", "a#", "#+", "+#", "a/+#"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) assert_null(mps_pattern_error(mps_text(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_non_null(mps_pattern_error(mps_text(bad[i])));
    assert_true(mps_topic_is_wild(V("a/+")));
    assert_true(mps_topic_is_wild(V("#")));
    assert_false(mps_topic_is_wild(V("a/b")));
}

static void lengths(void **state)
{
    (void)state;
    char text[300];
    memset(text, 'a', sizeof text);
    assert_null(mps_topic_error(view(text, 255)));
    assert_non_null(mps_topic_error(view(text, 256)));
    memset(text, '/', sizeof text);
    assert_null(mps_topic_error(view(text, 31)));
    assert_non_null(mps_topic_error(view(text, 32)));
    assert_non_null(mps_pattern_error(view(text, 32)));
}

static void utf8(void **state)
{
    (void)state;
    static const char *const good[] = {"\x7f",         "\xc2\x80",         "\xdf\xbf",
                                       "\xe0\xa0\x80", "\xed\x9f\xbf",     "\xee\x80\x80",
                                       "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {"\x80",
                                      "\xbf",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xc2",
                                      "\xc2z",
                                      "\xe0\x80\x80",
                                      "\xe0\x9f\xbf",
                                      "\xe1\x80",
                                      "\xed\xa0\x80",
                                      "\xed\xbf\xbf",
                                      "\xf0\x80\x80\x80",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf0\x90\x80",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xfe",
                                      "\xff"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) assert_true(mps_utf8_valid(mps_text(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(mps_utf8_valid(mps_text(bad[i])));
        assert_non_null(mps_topic_error(mps_text(bad[i])));
    }
    assert_false(mps_utf8_valid(V("a\0b")));
    assert_true(mps_utf8_valid(V("")));
}

/* Every code point, encoded by hand, is valid exactly when it is a scalar value. */
static void utf8_every_code_point(void **state)
{
    (void)state;
    for (uint32_t c = 0x800; c < 0x120000; c++) {
        uint8_t b[4] = {(uint8_t)(0xe0 | c >> 12), (uint8_t)(0x80 | (c >> 6 & 63)), (uint8_t)(0x80 | (c & 63)), 0};
        uint32_t len = 3;
        if (c >= 0x10000) {
            b[0] = (uint8_t)(0xf0 | c >> 18);
            b[1] = (uint8_t)(0x80 | (c >> 12 & 63));
            b[2] = (uint8_t)(0x80 | (c >> 6 & 63));
            b[3] = (uint8_t)(0x80 | (c & 63));
            len = 4;
        }
        bool scalar = c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
        assert_int_equal(mps_utf8_valid((mps_view){b, len}), scalar);
    }
}

static void ids(void **state)
{
    (void)state;
    static const char *const good[] = {"dev-7", "é", "a.b:c_d", "a$", "\U0001f6b0"};
    static const char *const bad[] = {"",       "$a",      "a/b",     "a+b",       "a#b",     "a b",     "a\tb",
                                      "a\n",    "\x1b[1m", "a\x7f",   "a\xc2\x85", "a\u00a0", "a\u00ad", "\u200b",
                                      "\u200f", "\u2028",  "a\u202e", "\u2060",    "\u2066",  "\ufeff",  "\xff"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) assert_null(mps_id_error(mps_text(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_non_null(mps_id_error(mps_text(bad[i])));
    char text[65];
    memset(text, 'x', sizeof text);
    assert_null(mps_id_error(view(text, 64)));
    assert_non_null(mps_id_error(view(text, 65)));
    assert_non_null(mps_id_error((mps_view){NULL, 0}));
    assert_non_null(mps_id_error(V("a\0b")));
}

static void matches(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *topic;
        bool matches;
    } table[] = {
        {"a", "a", true},
        {"a", "b", false},
        {"a", "a/", false},
        {"a", "/a", false},
        {"a", "A", false},
        {"a/b", "a/b", true},
        {"+", "a", true},
        {"+", "/", false},
        {"+", "a/b", false},
        {"+/+", "/", true},
        {"+/+", "a/b", true},
        {"+/+", "a", false},
        {"a/+", "a", false},
        {"a/+", "a/", true},
        {"a/+", "a/b", true},
        {"a/+", "a/b/c", false},
        {"+/b", "/b", true},
        {"#", "a", true},
        {"#", "/", true},
        {"#", "a/b/c", true},
        {"a/#", "a", true},
        {"a/#", "a/", true},
        {"a/#", "a/b/c", true},
        {"a/#", "ab", false},
        {"a/#", "b", false},
        {"a/+/#", "a", false},
        {"a/+/#", "a/b", true},
        {"a/+/#", "a/b/c/d", true},
        {"/#", "/", true},
        {"/#", "a", false},
        {"/#", "/a/b", true},
        {"+/#", "a", true},
        {"/+", "/a", true},
        {"/+", "//", false},
        {"#", "$SYS", false},
        {"#", "$SYS/x", false},
        {"+/x", "$SYS/x", false},
        {"+", "$", false},
        {"$SYS/#", "$SYS", true},
        {"$SYS/#", "$SYS/x", true},
        {"$SYS/+", "$SYS/x", true},
        {"$SYS/x", "$SYS/x", true},
        {"a/#", "a/$x", true},
        {"a/+", "a/$x", true},
        {"site/+/temp", "site/a/temp", true},
        {"site/+/temp", "site//temp", true},
        {"site/+/temp", "site/temp", false},
        {"é/+", "é/水", true},
        {"e\u0301", "é", false},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        bool got = mps_topic_matches(mps_text(table[i].pattern), mps_text(table[i].topic));
        if (got != table[i].matches) fail_msg("'%s' and '%s': %d", table[i].pattern, table[i].topic, got);
    }
}

/* The definition, word for word: splits off one level at a time. */
static bool naive_levels(const char *pattern, const char *topic)
{
    if (strcmp(pattern, "#") == 0) return true;
    size_t p = strcspn(pattern, "/"), t = strcspn(topic, "/");
    bool plus = p == 1 && pattern[0] == '+';
    if (!plus && (p != t || strncmp(pattern, topic, p) != 0)) return false;
    if (topic[t] == '\0') return pattern[p] == '\0' || strcmp(pattern + p, "/#") == 0;
    return pattern[p] == '/' && naive_levels(pattern + p + 1, topic + t + 1);
}

static bool naive(const char *pattern, const char *topic)
{
    return !(topic[0] == '$' && (pattern[0] == '+' || pattern[0] == '#')) && naive_levels(pattern, topic);
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 16;
}

/* Few letters and few levels, so that much matches. */
static void random_name(char *out, uint32_t *seed, bool wild)
{
    static const char *const words[] = {"a", "b", "", "$", "ab", "+", "+", "#"};
    unsigned levels = 1 + next_random(seed) % 5;
    out[0] = '\0';
    for (unsigned i = 0; i < levels; i++) {
        const char *word = words[next_random(seed) % (wild ? 8 : 5)];
        if (i > 0) strcat(out, "/");
        strcat(out, word);
        if (word[0] == '#') return;
    }
}

static void matches_like_the_definition(void **state)
{
    (void)state;
    uint32_t seed = 20240611, checked = 0, matched = 0;
    for (int i = 0; i < 300000; i++) {
        char pattern[64], topic[64];
        random_name(pattern, &seed, true);
        random_name(topic, &seed, false);
        if (mps_pattern_error(mps_text(pattern)) || mps_topic_error(mps_text(topic))) continue;
        bool wanted = naive(pattern, topic);
        if (mps_topic_matches(mps_text(pattern), mps_text(topic)) != wanted) fail_msg("'%s' and '%s'", pattern, topic);
        checked++;
        matched += wanted;
    }
    assert_true(checked > 100000 && matched > 10000 && checked - matched > 10000);
}

/* All names of up to `levels` levels out of these words. */
struct names {
    char text[512][16];
    size_t count;
};

static void every_name(struct names *names, const char *const *words, size_t words_count, unsigned levels,
                       const char *(*error)(mps_view name))
{
    names->count = 0;
    for (unsigned depth = 1, combinations = (unsigned)words_count; depth <= levels; depth++) {
        for (unsigned n = 0; n < combinations; n++) {
            char text[16] = "";
            for (unsigned level = 0, rest = n; level < depth; level++, rest /= (unsigned)words_count) {
                if (level > 0) strcat(text, "/");
                strcat(text, words[rest % words_count]);
            }
            if (error(mps_text(text)) == NULL) strcpy(names->text[names->count++], text);
        }
        combinations *= (unsigned)words_count;
    }
}

static struct names topic_names, pattern_names;

/* What the two patterns have to say of each other, by trying all topics. */
static void compare(const char *a, const char *b, unsigned counts[2])
{
    bool overlap = false, covers = true;
    for (size_t i = 0; i < topic_names.count; i++) {
        bool in_a = naive(a, topic_names.text[i]), in_b = naive(b, topic_names.text[i]);
        overlap |= in_a && in_b;
        covers &= in_a || !in_b;
    }
    counts[0] += overlap;
    counts[1] += covers;
    if (mps_patterns_overlap(mps_text(a), mps_text(b)) != overlap) fail_msg("'%s' and '%s': %d", a, b, overlap);
    if (mps_pattern_covers(mps_text(a), mps_text(b)) != covers) fail_msg("'%s' covers '%s': %d", a, b, covers);
}

static void patterns_beside_each_other(void **state)
{
    (void)state;
    static const char *const in_topics[] = {"", "a", "b", "$"}, *const in_patterns[] = {"", "a", "$", "+", "#"};
    unsigned counts[2] = {0, 0};
    every_name(&topic_names, in_topics, 4, 4, mps_topic_error);
    every_name(&pattern_names, in_patterns, 5, 3, mps_pattern_error);
    for (size_t i = 0; i < pattern_names.count; i++)
        for (size_t j = 0; j < pattern_names.count; j++) compare(pattern_names.text[i], pattern_names.text[j], counts);
    assert_true(topic_names.count == 339 && pattern_names.count == 104);
    assert_true(counts[0] > 1000 && counts[1] > 500);
}

/* A topic that both would match must not be longer than a topic may be. */
static void patterns_that_are_long(void **state)
{
    (void)state;
    char long_a[256], long_b[256];
    for (uint32_t len = 100; len <= 140; len++) {
        memset(long_a, 'a', sizeof long_a);
        memcpy(long_a + len, "/+", 2);
        memset(long_b, 'b', sizeof long_b);
        memcpy(long_b, "+/", 2);
        mps_view a = view(long_a, len + 2), b = view(long_b, 2 + 140);
        assert_int_equal(mps_patterns_overlap(a, b), len + 1 + 140 <= 255);
        assert_int_equal(mps_patterns_overlap(b, a), len + 1 + 140 <= 255);
        long_a[len + 1] = '#';
        assert_int_equal(mps_patterns_overlap(a, b), len + 1 + 140 <= 255);
    }
    memset(long_a, '/', sizeof long_a);
    assert_true(mps_pattern_covers(V("#"), view(long_a, 31)) && mps_patterns_overlap(V("+/#"), view(long_a, 31)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(topics),
        cmocka_unit_test(patterns),
        cmocka_unit_test(lengths),
        cmocka_unit_test(utf8),
        cmocka_unit_test(utf8_every_code_point),
        cmocka_unit_test(ids),
        cmocka_unit_test(matches),
        cmocka_unit_test(matches_like_the_definition),
        cmocka_unit_test(patterns_beside_each_other),
        cmocka_unit_test(patterns_that_are_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
