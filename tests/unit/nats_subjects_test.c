/* Names for NATS, there and back (broker/cluster/nats_subjects.c), and what JetStream answers (nats_json.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nats_json.h"
#include "nats_subjects.h"

typedef size_t there_fn(char *to, size_t cap, mps_view bytes);
typedef bool back_fn(mps_view subject, uint8_t *to, size_t cap, uint32_t *len);

static void check(there_fn *there, back_fn *back, const char *ours, const char *theirs)
{
    char subject[200];
    uint8_t again[200];
    uint32_t len = 0;
    assert_int_equal(there(subject, sizeof subject, mps_text(ours)), strlen(theirs));
    assert_string_equal(subject, theirs);
    assert_true(back(mps_text(subject), again, sizeof again, &len));
    assert_int_equal(len, strlen(ours));
    assert_memory_equal(again, ours, len);
}

static void test_examples(void **state)
{
    (void)state;
    check(subject_of_topic, topic_of_subject, "home/temp-1/A_b", "home.temp-1.A_b");
    check(subject_of_topic, topic_of_subject, "home/k\xc3\xbc", "home.k=C3=BC");
    check(subject_of_topic, topic_of_subject, "a.b/*/>/c d", "a=2Eb.=2A.=3E.c=20d");
    check(subject_of_topic, topic_of_subject, "/", "=.=");
    check(subject_of_topic, topic_of_subject, "", "=");
    check(subject_of_topic, topic_of_subject, "a//b/", "a.=.b.=");
    check(subject_of_topic, topic_of_subject, "=", "=3D");
    check(subject_of_topic, topic_of_subject, "$SYS/x", "=24SYS.x");
    check(subject_of_token, token_of_subject, "a/b", "a=2Fb");
    check(subject_of_token, token_of_subject, "", "=");
    check(subject_of_key, key_of_subject, "a/b.c", "a/b=2Ec");
    check(subject_of_key, key_of_subject, "/", "/");
}

static void test_not_ours(void **state)
{
    (void)state;
    static const char *const subjects[] = {"",     ".",   "a.",   ".a",   "a..b", "a=",  "a=4", "=4",
                                           "a=2f", "=41", "=2F",  "a b",  "a.*",  "a.>", "==",  "=.=41",
                                           "a=.b", "=a",  "\xc3", "a=GG", "=.",   "=2",  "a/b", "$SYS"};
    for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++) {
        uint8_t topic[100];
        uint32_t len;
        if (topic_of_subject(mps_text(subjects[i]), topic, sizeof topic, &len)) fail_msg("%s was taken", subjects[i]);
    }
}

static void test_too_long(void **state)
{
    (void)state;
    char subject[8];
    uint8_t topic[2];
    uint32_t len;
    assert_int_equal(subject_of_topic(subject, 8, mps_text("abcdefg")), 7);
    assert_int_equal(subject_of_topic(subject, 7, mps_text("abcdefg")), 0);
    assert_int_equal(subject_of_topic(subject, 8, mps_text("aa...")), 0);
    assert_int_equal(subject_of_topic(subject, 0, mps_text("a")), 0);
    assert_true(topic_of_subject(mps_text("a=20"), topic, 2, &len));
    assert_false(topic_of_subject(mps_text("a=20b"), topic, 2, &len));
    assert_int_equal(subject_of_key(subject, 8, mps_text("")), 0);
}

/* A subject that NATS takes for publishing: tokens, none of them empty, of plain characters. */
static void check_subject(const char *subject, bool is_key)
{
    assert_true(subject[0] != '.' && subject[strlen(subject) - 1] != '.' && strstr(subject, "..") == NULL);
    for (const char *p = subject; *p != '\0'; p++) {
        bool is_plain = (*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z');
        assert_true(is_plain || strchr(is_key ? "-_=/" : "-_=.", *p) != NULL);
    }
}

/* Whatever the bytes are: there and back gives the same; no two give the same, as back is a function. And whatever is
 * taken on the way back is what it would have been there. */
static void test_any_bytes(void **state)
{
    (void)state;
    static const struct {
        there_fn *there;
        back_fn *back;
        bool is_key;
    } all[] = {{subject_of_topic, topic_of_subject, false},
               {subject_of_token, token_of_subject, false},
               {subject_of_key, key_of_subject, true}};
    static const char likely[] = "/./=a4F2\xc3*> $";
    srand(1);
    for (int i = 0; i < 300000; i++) {
        uint8_t bytes[24], again[24];
        char subject[100], random[25];
        uint32_t len = (uint32_t)(rand() % 24), again_len = 0;
        for (uint32_t k = 0; k < len; k++)
            bytes[k] = rand() % 3 > 0 ? (uint8_t)likely[rand() % (int)sizeof likely] : (uint8_t)(rand() >> 4);
        if (all[i % 3].is_key && len == 0) continue;
        assert_true(all[i % 3].there(subject, sizeof subject, (mps_view){bytes, len}) > 0);
        check_subject(subject, all[i % 3].is_key);
        assert_true(all[i % 3].back(mps_text(subject), again, sizeof again, &again_len));
        assert_int_equal(again_len, len);
        assert_memory_equal(again, bytes, len);

        for (uint32_t k = 0; k < len; k++) random[k] = ".=4FAa2E"[rand() % 8];
        random[len] = '\0';
        if (!all[i % 3].back(mps_text(random), again, sizeof again, &again_len)) continue;
        assert_int_equal(all[i % 3].there(subject, sizeof subject, (mps_view){again, again_len}), strlen(random));
        assert_string_equal(subject, random);
    }
}

/* ---- JSON --------------------------------------------------------------------------------------------------- */

static const char info[] =
    "{\"type\":\"a \\\"quoted\\\" , } text\",\"config\":{\"max_msgs\":-1,\"n\": 5 , \"deep\":{\"x\":[1,{\"y\":2}]}},"
    "\"created\":\"2026-11-27T20:26:12.333420755Z\",\"state\":{\"last_seq\":18446744073709551615},"
    "\"cluster\":{\"replicas\":[{\"name\":\"a]\",\"current\":true},{\"current\":false}, {\"current\":true}]}}";

static void test_json(void **state)
{
    (void)state;
    char text[40];
    mps_view document = mps_text(info), replica;
    assert_int_equal(json_uint(document, "config.n", 9), 5);
    assert_int_equal(json_uint(document, "config.max_msgs", 9), 9);
    assert_int_equal(json_uint(document, "config.absent", 9), 9);
    assert_int_equal(json_uint(document, "state.last_seq", 9), 9); /* it is too large to be true */
    assert_int_equal(json_uint(document, "type.n", 9), 9);
    json_text(document, "type", text, sizeof text);
    assert_string_equal(text, "a \"quoted\" , } text");
    json_text(document, "type", text, 4);
    assert_string_equal(text, "a \"");
    json_text(document, "config", text, sizeof text);
    assert_string_equal(text, "");
    json_text(mps_text("{\"why\":\"replicas \\u003e 1, \\u00e9\\u001b\\n\\u00\"}"), "why", text, sizeof text);
    assert_string_equal(text, "replicas > 1, ????");
    assert_true(json_find(document, "config.deep.x").ptr != NULL);
    int count = 0, current = 0;
    for (uint32_t at = 0; json_next(json_find(document, "cluster.replicas"), &at, &replica); count++)
        current += json_is_true(replica, "current");
    assert_int_equal(count, 3);
    assert_int_equal(current, 2);
    assert_true(json_text_is(document, "created", "2026-11-27T20:26:12.333420755Z"));
    assert_false(json_text_is(document, "created", "2026"));
}

static uint64_t time_of(const char *text)
{
    char document[100] = "{\"t\":\"";
    strcat(document, text);
    strcat(document, "\"}");
    return json_time(mps_text(document), "t");
}

static void test_json_time(void **state)
{
    (void)state;
    assert_int_equal(time_of("1970-01-01T00:00:00Z"), 0);
    assert_int_equal(time_of("1970-01-02T00:00:01.5Z"), 86401500000000);
    assert_int_equal(time_of("2026-11-27T20:26:12.333420755Z"), 1795811172333420755);
    assert_int_equal(time_of("2024-02-29T23:59:59.000000001Z"), 1709251199000000001);
    assert_int_equal(time_of("0001-01-01T00:00:00Z"), 0);
    assert_int_equal(time_of("yesterday"), 0);
}

/* Whatever is cut off or changed, only what is there is read. */
static void test_json_of_others(void **state)
{
    (void)state;
    srand(2);
    for (int i = 0; i < 200000; i++) {
        size_t len = (size_t)rand() % sizeof info;
        uint8_t *bytes = malloc(len + 1); /* of exactly that length, but that malloc(0) may be NULL */
        memcpy(bytes, info, len);
        for (int k = rand() % 4; k > 0 && len > 0; k--)
            bytes[(size_t)rand() % len] = (uint8_t) "{}[]\",:\\0"[rand() % 9];
        bytes = realloc(bytes, len > 0 ? len : 1);
        mps_view document = {bytes, (uint32_t)len}, replica;
        char text[40];
        json_uint(document, "state.last_seq", 0);
        json_text(document, "cluster.replicas", text, sizeof text);
        json_time(document, "created");
        mps_view array = json_find(document, "cluster.replicas");
        for (uint32_t at = 0; array.ptr != NULL && json_next(array, &at, &replica);) assert_true(at <= array.len);
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_examples),       cmocka_unit_test(test_not_ours), cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_any_bytes),      cmocka_unit_test(test_json),     cmocka_unit_test(test_json_time),
        cmocka_unit_test(test_json_of_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
