/* What a store owes the core, store.h: the same tests for the one in memory and for the one on SQLite. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store_rig.h"

#define ALL UINT64_C(0x1000000000000) /* behind the last position that there can be */
#define MUCH (1u << 20)

static struct rig *open_new(enum rig_kind kind)
{
    struct rig *rig = calloc(1, sizeof *rig);
    assert_non_null(rig);
    rig_begin(rig, kind);
    if (!rig_open(rig)) fail_msg("%s", rig->text);
    return rig;
}

static void reopen(struct rig *rig)
{
    rig_close(rig);
    if (!rig_open(rig)) fail_msg("%s", rig->text);
}

static void end(struct rig *rig)
{
    rig_end(rig);
    free(rig);
}

/* What a read gives, in a line: "64 1+3 1000 ms: bytes", or "nothing"; and " damaged 4-6" behind it. */
static const char *reads(struct rig *rig, uint32_t stream, uint64_t from, uint64_t behind, uint32_t bytes_most)
{
    static char line[400];
    struct store_read *read = rig_read(rig, stream, from, behind, bytes_most);
    assert_int_equal(read->code, STORE_OK);
    const struct store_block *block = &read->block;
    assert_ptr_equal(block->bytes, read->bytes);
    if (read->bytes == NULL) snprintf(line, sizeof line, "nothing");
    else
        snprintf(line, sizeof line, "%u %llu+%u %llu ms: %.*s", block->stream, (unsigned long long)block->first,
                 block->count, (unsigned long long)block->time_ms, (int)block->len, (const char *)block->bytes);
    size_t len = strlen(line);
    if (block->expires_ms != 0)
        len +=
            (size_t)snprintf(line + len, sizeof line - len, " expires %llu ms", (unsigned long long)block->expires_ms);
    if (read->damaged_first != 0 || read->damaged_last != 0)
        snprintf(line + len, sizeof line - len, " damaged %llu-%llu", (unsigned long long)read->damaged_first,
                 (unsigned long long)read->damaged_last);
    rig_free(read);
    return line;
}

/* ---- commits and loading ------------------------------------------------------------------------------------ */

static void is_empty_at_first(enum rig_kind kind)
{
    struct rig *rig = open_new(kind);
    assert_string_equal(rig_load(rig), "");
    reopen(rig);
    assert_string_equal(rig_load(rig), "");
    assert_string_equal(reads(rig, 64, 1, ALL, MUCH), "nothing");
    end(rig);
}

static void keeps_what_was_committed(enum rig_kind kind)
{
    struct rig *rig = open_new(kind);
    assert_int_equal(RIG_COMMIT(rig, append(65, 1, 2, 1000, "ab"), put(2, "orders", "1"), append(64, 7, 3, 2000, "xyz"),
                                put(2, "orders", "2"), put(1, "b", ""), put(1, "", "no key")),
                     STORE_OK);
    assert_int_equal(RIG_COMMIT(rig, append_expiring(append(65, 3, 1, 1001, "c"), 5000), put(200, "a", "x"),
                                removal(1, "b"), removal(9, "never there")),
                     STORE_OK);
    const char *expected = "record 1 =no key\n"
                           "record 2 orders=2\n"
                           "record 200 a=x\n"
                           "block 64 7+3 2000 ms 3 bytes\n"
                           "block 65 1+2 1000 ms 2 bytes\n"
                           "block 65 3+1 1001 ms 1 bytes expires 5000 ms\n";
    assert_string_equal(rig_load(rig), expected);
    reopen(rig);
    assert_string_equal(rig_load(rig), expected);
    assert_string_equal(reads(rig, 64, 7, ALL, MUCH), "64 7+3 2000 ms: xyz");
    end(rig);
}

static void keeps_extremes(enum rig_kind kind)
{
    struct rig *rig = open_new(kind);
    struct store_change first = append(64, 1, 1, 0, "first"), last = append(1087, ALL - 2, 2, INT64_MAX, "last");
    assert_int_equal(rig_commit(rig, (struct store_change[]){first, last}, 2), STORE_OK);
    reopen(rig);
    assert_string_equal(rig_load(rig), "block 64 1+1 0 ms 5 bytes\n"
                                       "block 1087 281474976710654+2 9223372036854775807 ms 4 bytes\n");
    assert_string_equal(reads(rig, 1087, ALL - 1, ALL, MUCH), "1087 281474976710654+2 9223372036854775807 ms: last");
    assert_string_equal(reads(rig, 1086, 1, ALL, MUCH), "nothing");
    end(rig);
}

static void keeps_long_values(enum rig_kind kind)
{
    struct rig *rig = open_new(kind);
    static char bytes[5000000];
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    for (size_t i = 0; i + 1 < sizeof bytes; i++) bytes[i] = letters[(i * i / 7 + i) % (sizeof letters - 1)];
    assert_int_equal(
        RIG_COMMIT(rig, append(64, 1, 1000, 0, bytes), append(64, 1001, 1, 0, "z"), put(6, "topic", bytes)), STORE_OK);
    reopen(rig);
    struct store_read *read = rig_read(rig, 64, 500, ALL, 100);
    assert_int_equal(read->block.len, sizeof bytes - 1);
    assert_memory_equal(read->bytes, bytes, sizeof bytes - 1);
    rig_free(read);
    assert_non_null(strstr(rig_load(rig), "record 6 topic="));
    end(rig);
}

static void replaces_and_removes_records(enum rig_kind kind)
{
    struct rig *rig = open_new(kind);
    char key[16], value[16];
    for (int i = 0; i < 60; i++) {
        snprintf(key, sizeof key, "key %03d", i % 20);
        snprintf(value, sizeof value, "value %d", i);
        assert_int_equal(RIG_COMMIT(rig, put(5, key, value)), STORE_OK);
        if (i % 20 >= 2) assert_int_equal(RIG_COMMIT(rig, removal(5, key)), STORE_OK);
    }
    reopen(rig);
    assert_string_equal(rig_load(rig), "record 5 key 000=value 40\nrecord 5 key 001=value 41\n");
    end(rig);
}

static void trims_whole_blocks(enum rig_kind kind)
{
    struct rig *rig = open_new(kind);
    assert_int_equal(RIG_COMMIT(rig, append(63 + 1, 1, 9, 0, "below"), append(65, 1, 3, 0, "abc"),
                                append(65, 4, 3, 0, "def"), append(65, 7, 1, 0, "g"), append(66, 1, 9, 0, "above")),
                     STORE_OK);
    assert_int_equal(RIG_COMMIT(rig, trim(65, 3)), STORE_OK);
    assert_string_equal(reads(rig, 65, 1, ALL, 3), "65 1+3 0 ms: abc");
    assert_int_equal(RIG_COMMIT(rig, trim(65, 6)), STORE_OK);
    assert_string_equal(reads(rig, 65, 1, ALL, MUCH), "65 4+4 0 ms: defg");
    assert_int_equal(RIG_COMMIT(rig, trim(65, 7)), STORE_OK);
    assert_string_equal(reads(rig, 65, 1, ALL, MUCH), "65 7+1 0 ms: g");
    assert_int_equal(RIG_COMMIT(rig, trim(65, ALL - 1), append(65, 100, 1, 0, "h")), STORE_OK);
    reopen(rig);
    assert_string_equal(rig_load(rig),
                        "block 64 1+9 0 ms 5 bytes\nblock 65 100+1 0 ms 1 bytes\nblock 66 1+9 0 ms 5 bytes\n");
    end(rig);
}

/* ---- reading ------------------------------------------------------------------------------------------------ */

static void reads_the_block_that_holds_a_position(enum rig_kind kind)
{
    struct rig *rig = open_new(kind);
    assert_int_equal(
        RIG_COMMIT(rig, append(64, 1, 3, 0, "abc"), append(64, 4, 3, 5000, "def"), append(64, 20, 2, 5000, "tu")),
        STORE_OK);
    for (uint64_t from = 1; from <= 3; from++) assert_string_equal(reads(rig, 64, from, ALL, MUCH), "64 1+3 0 ms: abc");
    for (uint64_t from = 4; from <= 6; from++)
        assert_string_equal(reads(rig, 64, from, ALL, MUCH), "64 4+3 5000 ms: def");
    for (uint64_t from = 7; from <= 21; from++)
        assert_string_equal(reads(rig, 64, from, ALL, MUCH), "64 20+2 5000 ms: tu");
    assert_string_equal(reads(rig, 64, 22, ALL, MUCH), "nothing");
    assert_string_equal(reads(rig, 64, 7, 20, MUCH), "nothing");
    assert_string_equal(reads(rig, 64, 7, 21, MUCH), "64 20+2 5000 ms: tu");
    assert_string_equal(reads(rig, 64, 5, 5, MUCH), "nothing");
    assert_string_equal(reads(rig, 63 + 2, 1, ALL, MUCH), "nothing");
    end(rig);
}

static void reads_neighbours_as_one(enum rig_kind kind)
{
    struct rig *rig = open_new(kind);
    assert_int_equal(RIG_COMMIT(rig, append(64, 1, 2, 10000, "ab"),
                                append_expiring(append(64, 3, 2, 10499, "cd"), 90000),
                                append_expiring(append(64, 5, 1, 10250, "e"), 80000), append(64, 6, 1, 10500, "f"),
                                append(64, 7, 1, 9000, "g"), append(64, 9, 1, 9000, "i"), append(65, 1, 1, 9000, "j")),
                     STORE_OK);
    assert_string_equal(reads(rig, 64, 1, ALL, MUCH),
                        "64 1+5 10000 ms: abcde expires 80000 ms"); /* f came half a second later */
    assert_string_equal(reads(rig, 64, 3, ALL, MUCH), "64 3+2 10499 ms: cd expires 90000 ms"); /* e came before */
    assert_string_equal(reads(rig, 64, 5, ALL, MUCH), "64 5+2 10250 ms: ef expires 80000 ms");
    assert_string_equal(reads(rig, 64, 7, ALL, MUCH), "64 7+1 9000 ms: g"); /* a hole behind it */
    assert_string_equal(reads(rig, 64, 9, ALL, MUCH), "64 9+1 9000 ms: i"); /* another stream behind it */
    assert_string_equal(reads(rig, 64, 1, ALL, 4), "64 1+4 10000 ms: abcd expires 90000 ms");
    assert_string_equal(reads(rig, 64, 1, ALL, 3), "64 1+2 10000 ms: ab");
    assert_string_equal(reads(rig, 64, 1, ALL, 0), "64 1+2 10000 ms: ab");
    assert_string_equal(reads(rig, 64, 1, 5, MUCH), "64 1+4 10000 ms: abcd expires 90000 ms");
    assert_string_equal(reads(rig, 64, 1, 4, MUCH), "64 1+4 10000 ms: abcd expires 90000 ms"); /* blocks are whole */
    assert_string_equal(reads(rig, 64, 1, 3, MUCH), "64 1+2 10000 ms: ab");
    end(rig);
}

static void reads_all_in_turn(enum rig_kind kind)
{
    struct rig *rig = open_new(kind);
    char text[40];
    uint64_t next = 1;
    for (uint32_t i = 0; i < 150; i++) {
        uint32_t count = i % 7 + 1;
        snprintf(text, sizeof text, "%llu,", (unsigned long long)next);
        assert_int_equal(RIG_COMMIT(rig, append(64, next, count, i * 10, text), append(70, next, count, i, "other")),
                         STORE_OK);
        next += count;
    }
    for (uint32_t most = 1; most < 100000; most *= 10) {
        uint64_t at = 1;
        while (at < next) {
            struct store_read *read = rig_read(rig, 64, at, next, most);
            assert_int_equal(read->code, STORE_OK);
            assert_int_equal(read->block.first, at);
            assert_true(read->block.len <= most || read->block.count <= 7);
            assert_int_equal(strtoull((char *)read->bytes, NULL, 10), at);
            at += read->block.count;
            rig_free(read);
        }
        assert_int_equal(at, next);
    }
    end(rig);
}

/* Whoever has read two blocks in turn may have the third one read before it is asked for. */
static void reads_elsewhere_after_reading_in_turn(enum rig_kind kind)
{
    struct rig *rig = open_new(kind);
    for (uint64_t seq = 1; seq <= 6; seq++) {
        char mine[2] = {(char)('a' + seq), '\0'}, other[2] = {(char)('A' + seq), '\0'};
        assert_int_equal(RIG_COMMIT(rig, append(64, seq, 1, 10, mine), append(70, seq, 1, 10, other)), STORE_OK);
    }
    const struct {
        uint32_t stream;
        uint64_t from, end;
        uint32_t most;
        const char *answer;
    } then[] = {
        {70, 3, ALL, 1, "70 3+1 10 ms: D"},   {64, 4, ALL, 1, "64 4+1 10 ms: e"},
        {64, 1, ALL, 1, "64 1+1 10 ms: b"},   {64, 3, ALL, MUCH, "64 3+4 10 ms: defg"},
        {64, 3, 5, MUCH, "64 3+2 10 ms: de"}, {64, 3, 3, 1, "nothing"},
        {64, 3, ALL, 1, "64 3+1 10 ms: d"},
    };
    for (size_t i = 0; i < sizeof then / sizeof then[0]; i++) {
        assert_string_equal(reads(rig, 64, 1, ALL, 1), "64 1+1 10 ms: b");
        assert_string_equal(reads(rig, 64, 2, ALL, 1), "64 2+1 10 ms: c");
        assert_string_equal(reads(rig, then[i].stream, then[i].from, then[i].end, then[i].most), then[i].answer);
    }
    end(rig);
}

static void answers_many_reads_at_once(enum rig_kind kind)
{
    struct rig *rig = open_new(kind);
    assert_int_equal(RIG_COMMIT(rig, append(64, 1, 1, 0, "a"), append(64, 2, 1, 2000, "b")), STORE_OK);
    for (uint32_t i = 0; i < 100; i++) {
        struct store_read *read = calloc(1, sizeof *read);
        *read = (struct store_read){.stream = 64, .from = i % 2 + 1, .end = ALL, .bytes_most = MUCH};
        rig->store->read(rig->store, read);
        assert_int_equal(rig->reads_done, 0); /* only poll() tells */
    }
    while (rig->reads_done < 100) rig_wait(rig);
    assert_int_equal(rig->reads_done, 100);
    end(rig);
}

static void ends_with_work_left(enum rig_kind kind)
{
    struct rig *rig = open_new(kind);
    struct store_change change = append(64, 1, 1, 0, "a");
    const struct store_batch batch = {.number = 1, .changes = &change, .count = 1};
    rig->store->commit(rig->store, &batch);
    for (int i = 0; i < 20; i++) {
        struct store_read *read = calloc(1, sizeof *read);
        *read = (struct store_read){.stream = 64, .from = 1, .end = ALL, .bytes_most = MUCH};
        rig->store->read(rig->store, read);
    }
    rig_close(rig);
    assert_false(rig->committed);
    assert_int_equal(rig->reads_done, 0);
    assert_true(rig_open(rig));
    assert_string_equal(rig_load(rig), "block 64 1+1 0 ms 1 bytes\n"); /* a commit that had begun is ended */
    end(rig);
}

/* ---- damage ------------------------------------------------------------------------------------------------- */

static struct rig *damaged_store(enum rig_kind kind)
{
    struct rig *rig = open_new(kind);
    assert_int_equal(RIG_COMMIT(rig, append(64, 1, 2, 0, "ab"), append(64, 3, 2, 0, "cd"), append(64, 5, 2, 0, "ef"),
                                append(64, 7, 2, 0, "gh"), append(64, 9, 2, 0, "ij"), put(3, "good", "x"),
                                put(3, "bad", "x")),
                     STORE_OK);
    rig_close(rig);
    return rig;
}

static void passes_over_damaged_bytes(enum rig_kind kind)
{
    struct rig *rig = damaged_store(kind);
    rig_damage(rig, 64, 3, false);
    rig_damage(rig, 64, 5, false);
    assert_true(rig_open(rig));
    assert_string_equal(reads(rig, 64, 1, ALL, MUCH), "64 1+2 0 ms: ab");
    assert_string_equal(reads(rig, 64, 3, ALL, MUCH), "64 7+4 0 ms: ghij damaged 3-6");
    assert_string_equal(reads(rig, 64, 4, ALL, MUCH), "64 7+4 0 ms: ghij damaged 4-6");
    assert_string_equal(reads(rig, 64, 3, 7, MUCH), "nothing damaged 3-6");
    assert_string_equal(reads(rig, 64, 3, 6, MUCH), "nothing damaged 3-5");
    assert_string_equal(reads(rig, 64, 7, ALL, MUCH), "64 7+4 0 ms: ghij");
    end(rig);
}

static void passes_over_damaged_heads(enum rig_kind kind)
{
    struct rig *rig = damaged_store(kind);
    rig_damage(rig, 64, 5, true);
    rig_damage_record(rig, 3, "bad");
    assert_true(rig_open(rig));
    const char *loaded = rig_load(rig);
    assert_non_null(strstr(loaded, "damaged: a record of kind 3 "));
    assert_non_null(strstr(loaded, "record 3 good=x\n"));
    assert_non_null(strstr(loaded, "damaged: stream 64: the messages from position 5 to 6 "));
    assert_null(strstr(loaded, "block 64 5+"));
    assert_non_null(strstr(loaded, "block 64 7+2 0 ms 2 bytes\n"));
    assert_string_equal(reads(rig, 64, 1, ALL, MUCH), "64 1+4 0 ms: abcd");
    assert_string_equal(reads(rig, 64, 5, ALL, MUCH), "64 7+4 0 ms: ghij damaged 5-6");
    assert_string_equal(reads(rig, 64, 6, ALL, MUCH), "64 7+4 0 ms: ghij damaged 6-6");
    assert_int_equal(RIG_COMMIT(rig, put(3, "bad", "again"), trim(64, 9)), STORE_OK);
    assert_string_equal(rig_load(rig), "record 3 bad=again\nrecord 3 good=x\nblock 64 9+2 0 ms 2 bytes\n");
    end(rig);
}

static void damage_at_the_end_has_an_end(enum rig_kind kind)
{
    struct rig *rig = damaged_store(kind);
    rig_damage(rig, 64, 9, true);
    assert_true(rig_open(rig));
    assert_non_null(strstr(rig_load(rig), "damaged: stream 64: the messages from position 9 "));
    assert_string_equal(reads(rig, 64, 9, 11, MUCH), "nothing damaged 9-10");
    assert_string_equal(reads(rig, 64, 7, 11, MUCH), "64 7+2 0 ms: gh");
    end(rig);
}

/* ---- only in memory: what the test decides ------------------------------------------------------------------ */

static void memory_waits_when_it_is_held(void **state)
{
    (void)state;
    struct rig *rig = open_new(RIG_MEMORY);
    struct store *store = rig->store;
    memory_store_hold(store, true, true);
    struct store_change change = append(64, 1, 1, 0, "a");
    struct store_batch batch = {.number = rig->number = 1, .changes = &change, .count = 1};
    store->commit(store, &batch);
    assert_true(memory_store_committing(store));
    assert_false(memory_store_ready(store));
    store->poll(store);
    assert_false(rig->committed);
    struct store_read *reads_made[2];
    for (int i = 0; i < 2; i++) {
        reads_made[i] = calloc(1, sizeof **reads_made);
        *reads_made[i] = (struct store_read){.stream = 64, .from = 1, .end = ALL, .bytes_most = MUCH};
        store->read(store, reads_made[i]);
    }
    assert_true(memory_store_finish_read(store, 1)); /* before the commit: there is nothing */
    assert_true(memory_store_finish_commit(store));
    assert_false(memory_store_finish_commit(store));
    assert_true(memory_store_ready(store));
    store->poll(store);
    assert_true(rig->committed);
    assert_ptr_equal(rig->read, reads_made[1]);
    assert_null(rig->read->bytes);
    assert_int_equal(memory_store_reading(store), 1);
    assert_true(memory_store_finish_read(store, 0));
    assert_false(memory_store_finish_read(store, 0));
    store->poll(store);
    assert_ptr_equal(rig->read, reads_made[0]);
    assert_memory_equal(rig->read->bytes, "a", 1);
    end(rig);
}

static void memory_fails_when_it_is_told(void **state)
{
    (void)state;
    struct rig *rig = open_new(RIG_MEMORY);
    memory_store_fail_commits(rig->store, STORE_FULL, 1);
    assert_int_equal(RIG_COMMIT(rig, append(64, 1, 1, 0, "a")), STORE_FULL);
    assert_int_equal(RIG_COMMIT(rig, append(64, 1, 1, 0, "b")), STORE_OK);
    memory_store_fail_reads(rig->store, 1);
    struct store_read *read = rig_read(rig, 64, 1, ALL, MUCH);
    assert_int_equal(read->code, STORE_FAILED);
    assert_null(read->bytes);
    assert_true(read->text[0] != '\0');
    rig_free(read);
    assert_string_equal(reads(rig, 64, 1, ALL, MUCH), "64 1+1 0 ms: b");
    end(rig);
}

static void memory_crashes(void **state)
{
    (void)state;
    struct rig *rig = open_new(RIG_MEMORY);
    assert_int_equal(RIG_COMMIT(rig, append(64, 1, 1, 0, "a")), STORE_OK);
    for (int keep = 0; keep <= 1; keep++) {
        /* One that is under way: all of it, or nothing. */
        memory_store_hold(rig->store, true, true);
        struct store_change changes[] = {append(64, 2, 1, 0, "b"), put(1, "k", "v")};
        struct store_batch batch = {.number = ++rig->number, .changes = changes, .count = 2};
        rig->store->commit(rig->store, &batch);
        struct store_read *read = calloc(1, sizeof *read);
        *read = (struct store_read){.stream = 64, .from = 1, .end = ALL, .bytes_most = MUCH};
        rig->store->read(rig->store, read);
        memory_store_crash(rig->store, keep == 1);
        assert_true(rig_open(rig));
        assert_string_equal(rig_load(rig),
                            keep == 0 ? "block 64 1+1 0 ms 1 bytes\n"
                                      : "record 1 k=v\nblock 64 1+1 0 ms 1 bytes\nblock 64 2+1 0 ms 1 bytes\n");
    }
    /* One that failed may come back, but not once another has succeeded. */
    memory_store_fail_commits(rig->store, STORE_FAILED, 1);
    assert_int_equal(RIG_COMMIT(rig, append(64, 3, 1, 0, "c")), STORE_FAILED);
    assert_string_equal(reads(rig, 64, 3, ALL, MUCH), "nothing");
    memory_store_crash(rig->store, true);
    assert_true(rig_open(rig));
    assert_string_equal(reads(rig, 64, 3, ALL, MUCH), "64 3+1 0 ms: c");
    memory_store_fail_commits(rig->store, STORE_FAILED, 1);
    assert_int_equal(RIG_COMMIT(rig, put(1, "lost", "1"), removal(1, "k"), append(64, 4, 1, 0, "d")), STORE_FAILED);
    assert_int_equal(RIG_COMMIT(rig, append(64, 4, 1, 0, "e")), STORE_OK);
    memory_store_crash(rig->store, true);
    assert_true(rig_open(rig));
    assert_string_equal(reads(rig, 64, 4, ALL, MUCH), "64 4+1 0 ms: e");
    assert_int_equal(memory_disk_blocks(rig->disk, 64), 4);
    assert_int_equal(memory_disk_bytes(rig->disk, 64), 4);
    assert_int_equal(memory_disk_records(rig->disk, 0), 1);
    assert_int_equal(memory_disk_records(rig->disk, 2), 0);
    end(rig);
}

/* ---- all ---------------------------------------------------------------------------------------------------- */

#define FOR_BOTH(name)                         \
    static void name##_in_memory(void **state) \
    {                                          \
        (void)state;                           \
        name(RIG_MEMORY);                      \
    }                                          \
    static void name##_on_sqlite(void **state) \
    {                                          \
        (void)state;                           \
        name(RIG_SQLITE);                      \
    }
#define BOTH(name) cmocka_unit_test(name##_in_memory), cmocka_unit_test(name##_on_sqlite)

FOR_BOTH(is_empty_at_first)
FOR_BOTH(keeps_what_was_committed)
FOR_BOTH(keeps_extremes)
FOR_BOTH(keeps_long_values)
FOR_BOTH(replaces_and_removes_records)
FOR_BOTH(trims_whole_blocks)
FOR_BOTH(reads_the_block_that_holds_a_position)
FOR_BOTH(reads_neighbours_as_one)
FOR_BOTH(reads_all_in_turn)
FOR_BOTH(reads_elsewhere_after_reading_in_turn)
FOR_BOTH(answers_many_reads_at_once)
FOR_BOTH(ends_with_work_left)
FOR_BOTH(passes_over_damaged_bytes)
FOR_BOTH(passes_over_damaged_heads)
FOR_BOTH(damage_at_the_end_has_an_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(is_empty_at_first),
        BOTH(keeps_what_was_committed),
        BOTH(keeps_extremes),
        BOTH(keeps_long_values),
        BOTH(replaces_and_removes_records),
        BOTH(trims_whole_blocks),
        BOTH(reads_the_block_that_holds_a_position),
        BOTH(reads_neighbours_as_one),
        BOTH(reads_all_in_turn),
        BOTH(reads_elsewhere_after_reading_in_turn),
        BOTH(answers_many_reads_at_once),
        BOTH(ends_with_work_left),
        BOTH(passes_over_damaged_bytes),
        BOTH(passes_over_damaged_heads),
        BOTH(damage_at_the_end_has_an_end),
        cmocka_unit_test(memory_waits_when_it_is_held),
        cmocka_unit_test(memory_fails_when_it_is_told),
        cmocka_unit_test(memory_crashes),
    };
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
