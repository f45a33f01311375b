/* The broker's tables: the trie of patterns, the hash table, the timers, retained values and walks over them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "heap.h"
#include "retained.h"
#include "topics.h"

#define ENTRIES 300

struct pattern {
    struct topic_entry entry;
    char text[200];
    unsigned matched;
};

/* A random topic or pattern of few different levels, so that many of them meet. */
static void make_name(char *out, size_t cap, bool wild)
{
    static const char *const levels[] = {"a", "b", "", "$SYS", "abc", "+", "#"};
    size_t len = 0, count = 1 + (size_t)rand() % 4;
    for (size_t i = 0; i < count; i++) {
        const char *level = levels[(size_t)rand() % (wild ? 7 : 5)];
        len += (size_t)snprintf(out + len, cap - len, "%s%s", i ? "/" : "", level);
        if (level[0] == '#') break;
    }
    if (len == 0) snprintf(out, cap, "a");
}

static void note_match(struct topic_entry *entry, void *arg)
{
    (void)arg;
    ((struct pattern *)(void *)entry)->matched++;
}

static void trie_agrees_with_matching_one_by_one(void **state)
{
    (void)state;
    static struct pattern patterns[ENTRIES];
    struct topics topics;
    char topic[64];
    srand(1);
    topics_init(&topics, 7);
    for (int i = 0; i < ENTRIES; i++) {
        make_name(patterns[i].text, sizeof patterns[i].text, true);
        topics_add(&topics, mps_text(patterns[i].text), &patterns[i].entry);
    }
    for (int round = 0; round < 3000; round++) {
        struct pattern *moved = &patterns[rand() % ENTRIES];
        topics_remove(&topics, &moved->entry);
        make_name(moved->text, sizeof moved->text, true);
        topics_add(&topics, mps_text(moved->text), &moved->entry);
        make_name(topic, sizeof topic, false);
        for (int i = 0; i < ENTRIES; i++) patterns[i].matched = 0;
        topics_match(&topics, mps_text(topic), topics_hash(&topics, mps_text(topic)), note_match, NULL);
        for (int i = 0; i < ENTRIES; i++)
            assert_int_equal(patterns[i].matched, mps_topic_matches(mps_text(patterns[i].text), mps_text(topic)));
    }
    for (int i = 0; i < ENTRIES; i++) topics_remove(&topics, &patterns[i].entry);
    assert_int_equal(topics.children.count, 0); /* no node is left behind */
    topics_free(&topics);
}

static void count_up(struct topic_entry *entry, void *arg)
{
    (void)entry;
    ++*(unsigned *)arg;
}

#define LONE 12

/* A pattern of many levels that shares its beginning with others; or, without wild, a topic that ends like none or like
 * one of them. */
static void make_long_name(char *out, size_t cap, bool wild)
{
    static const char *const levels[] = {"a", "", "b", "+", "+"};
    size_t len = 0, count = 1 + (size_t)rand() % 9;
    for (size_t i = 0; i < count; i++) {
        bool odd = rand() % 3 == 0;
        const char *level = odd ? levels[(size_t)rand() % (wild ? 5 : 3)] : i % 3 == 1 && wild ? "+" : "a";
        len += (size_t)snprintf(out + len, cap - len, "%s%s", i ? "/" : "", level);
    }
    if (wild && rand() % 4 == 0) len += (size_t)snprintf(out + len, cap - len, "%s#", len ? "/" : "");
    if (len == 0) snprintf(out, cap, "a");
}

/* The topics that differ from a pattern as little as can be. */
static void make_topic_of(const char *pattern, char *out, size_t cap)
{
    size_t len = 0;
    for (const char *p = pattern; *p != '\0' && len + 8 < cap; p++) {
        if (*p == '+') len += (size_t)snprintf(out + len, cap - len, "%s", rand() % 4 ? "xy" : "");
        else if (*p == '#') len += (size_t)snprintf(out + len, cap - len, "%s", rand() % 2 ? "b/c" : "");
        else out[len++] = *p;
    }
    if (rand() % 4 == 0 && len > 1) len -= 1 + (size_t)rand() % 2;
    if (rand() % 6 == 0) len += (size_t)snprintf(out + len, cap - len, "/a");
    out[len] = '\0';
    if (len == 0) snprintf(out, cap, "a");
}

static void assert_trie_agrees(const struct topics *topics, struct pattern *patterns, const char *topic)
{
    mps_view name = mps_text(topic);
    for (int i = 0; i < LONE; i++) patterns[i].matched = 0;
    topics_match(topics, name, topics_hash(topics, name), note_match, NULL);
    for (int i = 0; i < LONE; i++) {
        bool in = patterns[i].entry.node != NULL;
        if (patterns[i].matched != (in && mps_topic_matches(mps_text(patterns[i].text), name)))
            fail_msg("'%s' and '%s': matched %u times", patterns[i].text, topic, patterns[i].matched);
    }
}

/* Few patterns, so that nearly each is alone with its tail: they come, several times each, split tails of others, and
 * go in every order. */
static void tails_of_lone_patterns_split_and_go(void **state)
{
    (void)state;
    static struct pattern patterns[LONE];
    struct topics topics;
    char topic[200];
    srand(5);
    for (int round = 0; round < 4000; round++) {
        int in = 0;
        topics_init(&topics, (uint64_t)round);
        for (int step = 0; step < 40 || in > 0; step++) {
            struct pattern *one = &patterns[rand() % LONE], *other = &patterns[rand() % LONE];
            if (one->entry.node != NULL) {
                topics_remove(&topics, &one->entry);
                in--;
            } else if (step < 40) {
                if (other->text[0] != '\0' && rand() % 3 == 0) memcpy(one->text, other->text, sizeof one->text);
                else make_long_name(one->text, sizeof one->text, true);
                topics_add(&topics, mps_text(one->text), &one->entry);
                in++;
            }
            if (rand() % 3 == 0) make_long_name(topic, sizeof topic, false);
            else make_topic_of(other->text, topic, sizeof topic);
            if (other->text[0] != '\0') assert_trie_agrees(&topics, patterns, topic);
        }
        assert_int_equal(topics.children.count, 0);
        assert_int_equal(topics.root->users, 0);
        assert_int_equal(topics.whole->users, 0);
        topics_free(&topics);
    }
}

/* However many they are: else one SUB could keep everybody waiting. */
static void entries_stay_where_they_are_when_a_tail_is_split(void **state)
{
    (void)state;
    struct topic_entry same[3], others[4];
    struct topics topics;
    static const char pattern[] = "+/b/c/d/+/f";
    static const char *const splits[] = {"+/b/c/d/+/g", "+/b/+", "+/x", "+"};
    topics_init(&topics, 7);
    for (int i = 0; i < 3; i++) topics_add(&topics, mps_text(pattern), &same[i]);
    struct topic_node *node = same[0].node;
    for (int i = 0; i < 4; i++) {
        topics_add(&topics, mps_text(splits[i]), &others[i]);
        for (int k = 0; k < 3; k++) assert_ptr_equal(same[k].node, node);
        unsigned count = 0;
        mps_view topic = mps_text("a/b/c/d/e/f");
        topics_match(&topics, topic, topics_hash(&topics, topic), count_up, &count);
        assert_int_equal(count, 3);
    }
    for (int i = 0; i < 3; i++) topics_remove(&topics, &same[i]);
    for (int i = 0; i < 4; i++) topics_remove(&topics, &others[i]);
    assert_int_equal(topics.children.count, 0);
    topics_free(&topics);
}

static void only_wildcards_change_the_generation(void **state)
{
    (void)state;
    struct topics topics;
    struct topic_entry exact, wild;
    topics_init(&topics, 7);
    topics_add(&topics, mps_text("a/b"), &exact);
    assert_int_equal(topics.wild_generation, 0);
    topics_add(&topics, mps_text("a/+/c"), &wild);
    assert_int_equal(topics.wild_generation, 1);
    topics_remove(&topics, &exact);
    assert_int_equal(topics.wild_generation, 1);
    topics_remove(&topics, &wild);
    assert_int_equal(topics.wild_generation, 2);
    topics_free(&topics);
}

/* The worst that a pattern can do to a topic: every level both ways, in a trie where everything exists. */
static void match_visits_each_node_once(void **state)
{
    (void)state;
    static struct topic_entry entries[1 << 10];
    struct topics topics;
    unsigned count = 0;
    topics_init(&topics, 7);
    for (unsigned bits = 0; bits < 1 << 10; bits++) {
        char pattern[32] = "";
        for (unsigned level = 0; level < 10; level++) strcat(pattern, bits >> level & 1 ? "/+" : "/a");
        topics_add(&topics, mps_text(pattern + 1), &entries[bits]);
    }
    mps_view topic = mps_text("a/a/a/a/a/a/a/a/a/a");
    topics_match(&topics, topic, topics_hash(&topics, topic), count_up, &count);
    assert_int_equal(count, 1 << 10);
    for (unsigned bits = 0; bits < 1 << 10; bits++) topics_remove(&topics, &entries[bits]);
    topics_free(&topics);
}

struct number {
    struct hash_node node;
    uint64_t value;
};

static bool is_number(const struct hash_node *node, const void *key)
{
    return container_of(node, struct number, node)->value == *(const uint64_t *)key;
}

static void hash_finds_what_is_in_and_nothing_else(void **state)
{
    (void)state;
    static struct number numbers[5000];
    struct hash table = {0};
    for (uint64_t i = 0; i < 5000; i++) {
        numbers[i].value = i;
        hash_add(&table, &numbers[i].node, hash_bytes(3, &i, sizeof i));
    }
    for (uint64_t i = 0; i < 5000; i += 2) hash_remove(&table, &numbers[i].node);
    unsigned walked = 0;
    for (struct hash_node *n = hash_first(&table); n != NULL; n = hash_next(&table, n)) walked++;
    assert_int_equal(walked, 2500);
    for (uint64_t i = 0; i < 5000; i++) {
        struct hash_node *found = hash_find(&table, hash_bytes(3, &i, sizeof i), is_number, &i);
        assert_ptr_equal(found, i % 2 ? &numbers[i].node : NULL);
    }
    unsigned taken = 0;
    for (struct hash_node *n; (n = hash_any(&table)) != NULL; taken++) hash_remove(&table, n);
    assert_int_equal(taken, 2500);
    assert_null(table.slots); /* empty, it holds no memory */
}

/* The reference values of SipHash-1-3 can't be compared, as our key is one word; that every bit counts can. */
/* Entries that want the same few places, also the last and the first ones, so that what goes moves others, around the
 * end, too. */
static void hash_keeps_crowded_entries(void **state)
{
    (void)state;
    enum { COUNT = 300 };
    static struct number numbers[COUNT];
    static bool in[COUNT];
    struct hash table = {0};
    uint32_t hand = 0, count = 0;
    srand(2);
    for (int step = 0; step < 200000; step++) {
        uint64_t i = (uint64_t)rand() % (step / 2000 % 2 ? COUNT : 12);
        if (!in[i]) {
            numbers[i].value = i;
            hash_add(&table, &numbers[i].node, UINT64_MAX - i % 7 + (uint64_t)rand() % 5);
            in[i] = true;
            count++;
        } else {
            struct hash_node *gone = rand() % 8 == 0   ? hash_any(&table)
                                     : rand() % 8 == 0 ? hash_at_hand(&table, &hand)
                                                       : &numbers[i].node;
            in[container_of(gone, struct number, node)->value] = false;
            hash_remove(&table, gone);
            count--;
        }
        assert_int_equal(table.count, count);
        for (uint64_t n = 0; n < COUNT; n += 1 + (uint64_t)rand() % 20) {
            struct hash_node *found = hash_find(&table, numbers[n].node.hash, is_number, &n);
            assert_ptr_equal(found, in[n] ? &numbers[n].node : NULL);
        }
        unsigned walked = 0;
        if (step % 50 == 0) {
            for (struct hash_node *n = hash_first(&table); n != NULL; n = hash_next(&table, n)) walked++;
            assert_int_equal(walked, count);
        }
    }
    while (table.count > 0) hash_remove(&table, hash_any(&table));
    assert_null(table.slots);
}

static void hash_depends_on_every_bit_and_the_seed(void **state)
{
    (void)state;
    uint8_t bytes[40] = {0};
    uint64_t plain = hash_bytes(1, bytes, sizeof bytes);
    assert_int_not_equal(plain, hash_bytes(2, bytes, sizeof bytes));
    assert_int_not_equal(plain, hash_bytes(1, bytes, sizeof bytes - 1));
    for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_not_equal(plain, hash_bytes(1, bytes, sizeof bytes));
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void timers_come_in_order(void **state)
{
    (void)state;
    static struct timer timers[500];
    struct heap heap = {0};
    srand(2);
    for (int i = 0; i < 500; i++) {
        timer_init(&timers[i]);
        timer_set(&heap, &timers[i], (uint64_t)rand() % 1000);
    }
    for (int i = 0; i < 500; i += 3) timer_set(&heap, &timers[i], (uint64_t)rand() % 1000); /* moved */
    for (int i = 1; i < 500; i += 3) timer_cancel(&heap, &timers[i]);
    timer_cancel(&heap, &timers[1]); /* a second time does nothing */
    uint64_t last = 0;
    unsigned taken = 0;
    assert_null(timer_take_due(&heap, timer_next_ms(&heap) - 1));
    for (struct timer *timer; (timer = timer_take_due(&heap, timer_next_ms(&heap))) != NULL; taken++) {
        assert_int_not_equal((timer - timers) % 3, 1);
        assert_int_equal(timer->when_ms, UINT64_MAX); /* taken out, it can be set again */
        assert_true(heap.count == 0 || timer_next_ms(&heap) >= last);
        last = heap.count ? timer_next_ms(&heap) : last;
    }
    assert_int_equal(taken, 500 - 167);
    assert_int_equal(timer_next_ms(&heap), UINT64_MAX);
    heap_free(&heap);
}

struct store {
    struct slab_pool slabs;
    struct run_pool runs;
    struct retained retained;
};

static int open_store(void **state)
{
    struct store *s = calloc(1, sizeof *s);
    s->runs.slabs = &s->slabs;
    retained_init(&s->retained, &s->runs, 9);
    *state = s;
    return 0;
}

static int close_store(void **state)
{
    struct store *s = *state;
    retained_free(&s->retained);
    run_pool_free(&s->runs);
    assert_int_equal(s->runs.alive, 0);
    assert_int_equal(s->retained.bytes, 0);
    free(s);
    return 0;
}

static bool set(struct store *s, const char *topic, const char *value)
{
    return retained_set(&s->retained, mps_text(topic), mps_text(value), UINT64_MAX, 100000);
}

/* The values that a walk comes by, as "value value ". */
static const char *walked(struct snapshot *snapshot)
{
    static char text[200];
    text[0] = '\0';
    for (struct retained_value *value; (value = snapshot_value(snapshot)) != NULL;
         snapshot_pass(snapshot, value, false)) {
        strncat(text, (const char *)value->run->bytes, value->run->len);
        strcat(text, " ");
    }
    return text;
}

static void snapshot_shows_the_values_of_its_beginning(void **state)
{
    struct store *s = *state;
    struct snapshot snapshot = {0};
    set(s, "a", "1");
    set(s, "b", "2");
    set(s, "c", "3");
    snapshot_begin(&snapshot, &s->retained, mps_text("#"));
    set(s, "a", "4"); /* comes live, not in the snapshot */
    set(s, "d", "5");
    retained_clear(&s->retained, mps_text("b"));
    assert_string_equal(walked(&snapshot), "3 ");
    snapshot_end(&snapshot);
    snapshot_begin(&snapshot, &s->retained, mps_text("#"));
    assert_string_equal(walked(&snapshot), "3 4 5 ");
    snapshot_end(&snapshot);
}

static void snapshot_survives_that_its_place_goes(void **state)
{
    struct store *s = *state;
    struct snapshot first = {0}, second = {0};
    set(s, "a", "1");
    set(s, "b", "2");
    set(s, "c", "3");
    snapshot_begin(&first, &s->retained, mps_text("#"));
    snapshot_begin(&second, &s->retained, mps_text("#"));
    snapshot_pass(&first, snapshot_value(&first), false);
    snapshot_pass(&second, snapshot_value(&second), false);
    retained_clear(&s->retained, mps_text("b")); /* both stood there */
    assert_string_equal(walked(&first), "3 ");
    snapshot_end(&second);
    retained_clear(&s->retained, mps_text("c"));
    assert_string_equal(walked(&first), "");
    snapshot_end(&first);
}

static void retained_memory_is_bounded(void **state)
{
    struct store *s = *state;
    uint64_t room = 0;
    assert_true(set(s, "a", "1"));
    room = s->retained.bytes;
    assert_false(retained_set(&s->retained, mps_text("b"), mps_text("2"), UINT64_MAX, room));
    assert_true(
        retained_set(&s->retained, mps_text("a"), mps_text("3"), UINT64_MAX, room)); /* in the old one's place */
    assert_false(retained_set(&s->retained, mps_text("a"), mps_text("33"), UINT64_MAX, room));
    retained_clear(&s->retained, mps_text("a"));
    retained_clear(&s->retained, mps_text("a"));
    assert_int_equal(s->retained.bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trie_agrees_with_matching_one_by_one),
        cmocka_unit_test(tails_of_lone_patterns_split_and_go),
        cmocka_unit_test(entries_stay_where_they_are_when_a_tail_is_split),
        cmocka_unit_test(only_wildcards_change_the_generation),
        cmocka_unit_test(match_visits_each_node_once),
        cmocka_unit_test(hash_finds_what_is_in_and_nothing_else),
        cmocka_unit_test(hash_keeps_crowded_entries),
        cmocka_unit_test(hash_depends_on_every_bit_and_the_seed),
        cmocka_unit_test(timers_come_in_order),
        cmocka_unit_test_setup_teardown(snapshot_shows_the_values_of_its_beginning, open_store, close_store),
        cmocka_unit_test_setup_teardown(snapshot_survives_that_its_place_goes, open_store, close_store),
        cmocka_unit_test_setup_teardown(retained_memory_is_bounded, open_store, close_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
