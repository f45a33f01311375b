/* The engines that other tests rely on: what they carry, keep, lose and tell, as engine.h says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory_engine.h"

#define STREAM (UINT32_C(1) << 30)

/* What an engine told, as words. */
struct end {
    struct engine *engine;
    uint64_t identity; /* of the stream */
    char words[4096];
};

struct room {
    struct memory_bus *bus;
    struct end a, b, c;
    uint64_t now_ms, token;
};

static void say(struct end *end, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct end *end, const char *format, ...)
{
    size_t len = strlen(end->words);
    va_list args;
    if (len > 0) len += (size_t)snprintf(end->words + len, sizeof end->words - len, " | ");
    va_start(args, format);
    vsnprintf(end->words + len, sizeof end->words - len, format, args);
    va_end(args);
}

static void received(void *arg, const uint8_t *bytes, size_t len)
{
    say(arg, "%.*s", (int)len, (const char *)bytes);
}

static void connected(void *arg, bool is_live, bool is_storing, const char *why_not_live, const char *why_not_storing)
{
    say(arg, "connected %d %d", is_live, is_storing);
    assert_true((why_not_live[0] == '\0') == is_live);
    assert_true((why_not_storing[0] == '\0') == is_storing);
}

static void settled(void *arg, uint64_t token, enum store_code code, uint64_t last, bool was_there, const char *text)
{
    static const char *const names[] = {"ok", "full", "failed"};
    say(arg, "settled %" PRIu64 " %s %" PRIu64 "%s", token, names[code], last, was_there ? " again" : "");
    assert_true((text[0] == '\0') == (code == STORE_OK));
}

static void stream_state(void *arg, const struct engine_stream_state *state)
{
    struct end *end = arg;
    assert_int_equal(state->number, STREAM);
    if (!state->is_there) {
        say(end, "state away");
        return;
    }
    say(end, "state %" PRIu64 ": %" PRIu64 "..%" PRIu64, state->identity, state->first, state->next);
    end->identity = state->identity;
    end->engine->follow(end->engine, STREAM, state->identity, state->next);
}

static void say_block(struct end *end, const char *word, const struct store_block *block)
{
    char text[256] = "";
    const uint8_t *p = block->bytes;
    for (uint32_t i = 0; i < block->count; i++) {
        mps_view frame = {p, mps_msg_frame_len(p)};
        struct mps_msg msg;
        const char *what;
        assert_int_equal(mps_decode_msg(frame, &msg, &what), MPS_OK);
        snprintf(text + strlen(text), sizeof text - strlen(text), " %.*s", (int)msg.payload.len,
                 (const char *)msg.payload.ptr);
        p += frame.len;
    }
    assert_true(p == block->bytes + block->len);
    say(end, "%s %" PRIu64 ":%s", word, block->first, text);
}

static void tail(void *arg, const struct store_block *block)
{
    say_block(arg, "tail", block);
}

static void read_done(void *arg, struct store_read *read)
{
    if (read->code != STORE_OK) say(arg, "no read");
    else if (read->bytes == NULL) say(arg, "nothing");
    else say_block(arg, "read", &read->block);
    free(read->bytes);
    free(read);
}

static void record(void *arg, const struct engine_record *record)
{
    say(arg, "%.*s=%.*s @%" PRIu64 " mark %" PRIu64, (int)record->key.len, (const char *)record->key.ptr,
        (int)record->value.len, record->value.ptr != NULL ? (const char *)record->value.ptr : "", record->revision,
        record->mark);
    if (record->value.ptr == NULL) say(arg, "gone");
}

static void records_begin(void *arg)
{
    say(arg, "begin");
}

static void records_loaded(void *arg, uint64_t revision)
{
    (void)revision;
    say(arg, "loaded");
}

static void put_done(void *arg, uint64_t mark, bool is_done, uint64_t revision)
{
    say(arg, "%s %" PRIu64 " @%" PRIu64, is_done ? "put" : "not put", mark, revision);
}

static void come(struct room *room, struct end *end, const char *name)
{
    end->engine =
        memory_engine_open(room->bus, &(struct engine_options){.name = name, .defer_ms = 10000, .defer_bytes = 1000});
    end->engine->events = (struct engine_events){.received = received,
                                                 .connected = connected,
                                                 .settled = settled,
                                                 .stream_state = stream_state,
                                                 .tail = tail,
                                                 .read_done = read_done,
                                                 .record = record,
                                                 .records_begin = records_begin,
                                                 .records_loaded = records_loaded,
                                                 .put_done = put_done,
                                                 .arg = end};
}

static const char *hear(struct room *room, struct end *end)
{
    static char words[4096];
    memory_bus_run(room->bus);
    if (memory_engine_ready(end->engine)) end->engine->poll(end->engine);
    memcpy(words, end->words, sizeof words);
    end->words[0] = '\0';
    return words;
}
#define expect(room, end, words) assert_string_equal(hear(room, end), words)

static void hear_all(struct room *room)
{
    hear(room, &room->a);
    hear(room, &room->b);
    hear(room, &room->c);
}

static void pass(struct room *room, uint64_t ms)
{
    room->now_ms += ms;
    memory_bus_time(room->bus, room->now_ms, UINT64_C(1700000000000) + room->now_ms);
}

static int set_up(void **state)
{
    struct room *room = calloc(1, sizeof *room);
    room->bus = memory_bus_new(1);
    come(room, &room->a, "a");
    come(room, &room->b, "b");
    come(room, &room->c, "c");
    hear_all(room);
    *state = room;
    return 0;
}

static void leave(struct end *end)
{
    if (end->engine != NULL) end->engine->close(end->engine);
    end->engine = NULL;
}

static int tear_down(void **state)
{
    struct room *room = *state;
    leave(&room->a);
    leave(&room->b);
    leave(&room->c);
    memory_bus_free(room->bus);
    free(room);
    return 0;
}

static bool send(struct end *end, const char *to, const char *text)
{
    bool sent = end->engine->send(end->engine, to, (const uint8_t *)text, strlen(text));
    end->engine->flush(end->engine);
    return sent;
}

/* ---- datagrams ---------------------------------------------------------------------------------------------- */

static void test_datagrams_come_to_whom_they_are_for(void **state)
{
    struct room *room = *state;
    assert_true(room->a.engine->send(room->a.engine, "b", (const uint8_t *)"early", 5));
    expect(room, &room->b, ""); /* nothing goes before flush() */
    send(&room->a, NULL, "all");
    send(&room->c, "b", "one");
    expect(room, &room->a, "");
    expect(room, &room->b, "early | all | one");
    expect(room, &room->c, "all");
}

static void test_datagrams_are_lost_and_doubled(void **state)
{
    struct room *room = *state;
    memory_bus_lose(room->bus, "a", "b", 1);
    send(&room->a, NULL, "1");
    send(&room->a, NULL, "2");
    expect(room, &room->b, "2");
    expect(room, &room->c, "1 | 2");
    memory_bus_faults(room->bus)->twice = 1000;
    send(&room->a, "b", "3");
    memory_bus_faults(room->bus)->twice = 0;
    send(&room->a, "b", "4");
    const char *words = hear(room, &room->b);
    assert_true(strcmp(words, "3 | 3 | 4") == 0 || strcmp(words, "3 | 4 | 3") == 0);
    memory_bus_faults(room->bus)->lost = 1000;
    send(&room->a, "b", "5");
    expect(room, &room->b, "");
}

static void test_datagrams_take_their_time(void **state)
{
    struct room *room = *state;
    memory_bus_faults(room->bus)->delay_ms = 5;
    send(&room->a, "b", "1");
    assert_int_equal(memory_bus_next(room->bus), 5);
    expect(room, &room->b, "");
    assert_int_equal(memory_bus_datagrams(room->bus, "a", "b"), 1);
    pass(room, 5);
    expect(room, &room->b, "1");
    assert_true(memory_bus_next(room->bus) == UINT64_MAX);
}

static void test_sides_do_not_meet(void **state)
{
    struct room *room = *state;
    memory_bus_side(room->bus, "c", 1);
    send(&room->a, NULL, "1");
    send(&room->c, NULL, "2");
    expect(room, &room->a, "");
    expect(room, &room->b, "1");
    expect(room, &room->c, "connected 1 0");
    memory_bus_side(room->bus, "c", 0);
    send(&room->c, "a", "3");
    expect(room, &room->a, "3");
    expect(room, &room->c, "connected 1 1 | loaded");
}

static void test_a_frozen_one_gets_it_later(void **state)
{
    struct room *room = *state;
    memory_bus_freeze(room->bus, "b", true);
    send(&room->a, "b", "1");
    memory_bus_run(room->bus);
    assert_false(memory_engine_ready(room->b.engine));
    memory_bus_freeze(room->bus, "b", false);
    expect(room, &room->b, "1");
}

static void test_rings_are_bounded(void **state)
{
    struct room *room = *state;
    static uint8_t large[5000];
    struct engine_figures figures;
    memory_bus_rings(room->bus, "a", 1, 1);
    assert_true(room->a.engine->send(room->a.engine, "b", (const uint8_t *)"1", 1));
    assert_false(room->a.engine->send(room->a.engine, "b", (const uint8_t *)"2", 1));
    assert_true(send(&room->b, "a", "3"));
    assert_true(send(&room->b, "a", "4"));
    expect(room, &room->a, "3");
    room->a.engine->figures(room->a.engine, &figures);
    assert_int_equal(figures.dropped_out, 1);
    assert_int_equal(figures.dropped_in, 1);

    memory_bus_datagram_max(room->bus, "c", ENGINE_DATAGRAM_LEAST);
    send(&room->b, "c", "5");
    expect(room, &room->c, "5");
    assert_int_equal(room->c.engine->datagram_max, ENGINE_DATAGRAM_LEAST);
    assert_false(room->c.engine->send(room->c.engine, "b", large, sizeof large));
}

static void test_one_that_died_and_came_back(void **state)
{
    struct room *room = *state;
    assert_true(room->b.engine->send(room->b.engine, "a", (const uint8_t *)"never", 5));
    send(&room->a, "b", "on its way");
    memory_engine_crash(room->b.engine, true);
    send(&room->a, "b", "to nobody");
    memory_bus_run(room->bus);
    come(room, &room->b, "b");
    send(&room->a, "b", "again");
    expect(room, &room->a, "");
    expect(room, &room->b, "connected 1 1 | begin | again | loaded");
}

/* ---- streams ------------------------------------------------------------------------------------------------ */

static void open_stream(struct room *room, uint64_t max_msgs, bool refuses)
{
    struct engine_stream stream = {.number = STREAM,
                                   .name = "kept",
                                   .replicas = 3,
                                   .max_bytes = UINT64_MAX,
                                   .max_msgs = max_msgs,
                                   .max_age_ms = 60000,
                                   .refuses = refuses};
    room->a.engine->open_stream(room->a.engine, &stream);
    room->b.engine->open_stream(room->b.engine, &stream);
    expect(room, &room->a, "state 1: 1..1");
    expect(room, &room->b, "state 1: 1..1");
}

/* Letters, each a message of its own, from "me" with the pids from first_pid on; 0: nobody sends them again. */
static bool append(struct room *room, struct end *end, const char *letters, uint64_t first_pid, bool is_waited_for)
{
    uint8_t buf[1024];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    for (const char *p = letters; *p != '\0'; p++)
        mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text("t"), .payload = {(const uint8_t *)p, 1}});
    char text[STORE_TEXT_MAX];
    bool taken = end->engine->append(end->engine,
                                     &(struct engine_append){.stream = STREAM,
                                                             .count = (uint32_t)strlen(letters),
                                                             .len = out.len,
                                                             .bytes = buf,
                                                             .id = first_pid > 0 ? mps_text("me") : (mps_view){0},
                                                             .boot = 7,
                                                             .first_pid = first_pid,
                                                             .is_waited_for = is_waited_for,
                                                             .token = ++room->token},
                                     text);
    end->engine->flush(end->engine);
    return taken;
}

static void ask(struct end *end, uint64_t from, uint64_t below)
{
    struct store_read *read = calloc(1, sizeof *read);
    *read = (struct store_read){.stream = STREAM, .from = from, .end = below, .bytes_most = 1000};
    end->engine->read(end->engine, read);
}

static void test_what_is_appended_comes_everywhere(void **state)
{
    struct room *room = *state;
    open_stream(room, UINT64_MAX, false);
    append(room, &room->a, "xy", 1, true);
    append(room, &room->b, "z", 1, true);  /* me again, with the first one's pid */
    append(room, &room->b, "yz", 2, true); /* one of them is new */
    append(room, &room->b, "n", 0, false);
    append(room, &room->b, "n", 0, false);
    expect(room, &room->a, "settled 1 ok 2 | tail 1: x y z n n");
    expect(room, &room->b,
           "settled 2 ok 1 again | settled 3 ok 3 | settled 4 ok 4 | settled 5 ok 5 | tail 1: x y z n n");
    ask(&room->a, 2, 4);
    ask(&room->a, 6, 9);
    expect(room, &room->a, "read 2: y z | nothing");
    memory_bus_delete_message(room->bus, STREAM, 3);
    ask(&room->a, 2, 6);
    ask(&room->a, 3, 6);
    expect(room, &room->a, "read 2: y | read 4: n n");
}

static void test_a_stream_forgets_the_oldest_or_refuses(void **state)
{
    struct room *room = *state;
    open_stream(room, 2, true);
    append(room, &room->a, "xyz", 1, true);
    expect(room, &room->a, "settled 1 full 0 | tail 1: x y");
    pass(room, 60000);
    expect(room, &room->a, "state 1: 3..3");
    append(room, &room->a, "xyz", 1, true);
    expect(room, &room->a, "settled 2 ok 3 | tail 3: z");
}

static void test_what_waits_for_the_streams(void **state)
{
    struct room *room = *state;
    open_stream(room, UINT64_MAX, false);
    memory_bus_away(room->bus, NULL, false, true);
    append(room, &room->a, "x", 0, false);
    append(room, &room->a, "y", 1, true);
    ask(&room->a, 1, 2);
    expect(room, &room->a, "connected 1 0 | state away | no read");
    memory_bus_faults(room->bus)->late = 1000;
    pass(room, 10000);
    expect(room, &room->a, "settled 2 failed 0");
    memory_bus_away(room->bus, NULL, false, false);
    expect(room, &room->a, "connected 1 1 | state 1: 1..1 | settled 1 ok 2 | tail 1: y x | loaded");
    while (append(room, &room->a, "0123456789", 0, true)) continue;
    struct engine_figures figures;
    room->a.engine->figures(room->a.engine, &figures);
    assert_in_range(figures.waiting_bytes, 900, 1000);
}

static void test_an_answer_that_is_lost(void **state)
{
    struct room *room = *state;
    open_stream(room, UINT64_MAX, false);
    memory_bus_faults(room->bus)->unheard = 1000;
    append(room, &room->a, "x", 1, true);
    expect(room, &room->a, "tail 1: x");
    memory_bus_faults(room->bus)->unheard = 0;
    pass(room, 1000);
    expect(room, &room->a, "state 1: 1..2 | settled 1 ok 1 again");
}

static void test_a_stream_that_is_deleted(void **state)
{
    struct room *room = *state;
    open_stream(room, UINT64_MAX, false);
    append(room, &room->a, "xy", 1, true);
    hear_all(room);
    memory_bus_delete_stream(room->bus, STREAM);
    append(room, &room->a, "z", 3, true);
    expect(room, &room->b, "state away");
    memory_bus_remake_stream(room->bus, STREAM);
    expect(room, &room->b, "state 2: 1..1 | tail 1: z");
    assert_int_equal(memory_bus_next_position(room->bus, STREAM), 2);
}

static void test_a_stream_that_nobody_follows(void **state)
{
    struct room *room = *state;
    open_stream(room, UINT64_MAX, false);
    hear_all(room);
    room->b.engine->follow(room->b.engine, STREAM, room->b.identity, 0);
    append(room, &room->a, "xyz", 1, true);
    expect(room, &room->a, "settled 1 ok 3 | tail 1: x y z");
    expect(room, &room->b, "");
    room->b.engine->follow(room->b.engine, STREAM, room->b.identity, 2);
    expect(room, &room->b, "tail 2: y z");
    room->b.engine->follow(room->b.engine, STREAM, room->b.identity, 3); /* that was said */
    expect(room, &room->b, "");
    room->b.engine->follow(room->b.engine, STREAM, room->b.identity, 1);
    expect(room, &room->b, "tail 1: x y z");
    room->b.engine->follow(room->b.engine, STREAM, room->b.identity + 1, 1); /* of a stream that isn't there */
    append(room, &room->a, "n", 4, true);
    expect(room, &room->b, "tail 4: n");
}

/* ---- records ------------------------------------------------------------------------------------------------ */

static void put(struct end *end, const char *key, const char *value, uint64_t expected, uint64_t mark)
{
    struct engine_put put = {
        .kind = 1, .key = mps_text(key), .value = mps_text(value), .expected = expected, .mark = mark};
    assert_true(end->engine->put(end->engine, &put));
}

static void test_records_come_everywhere(void **state)
{
    struct room *room = *state;
    put(&room->a, "k", "v", ENGINE_PUT_ANYHOW, 11);
    expect(room, &room->a, "put 11 @1 | k=v @1 mark 11");
    expect(room, &room->b, "k=v @1 mark 0");
    put(&room->b, "k", "w", 5, 12);
    put(&room->b, "l", "w", 0, 13);
    expect(room, &room->b, "not put 12 @1 | put 13 @2 | l=w @2 mark 13");
    put(&room->b, "l", NULL, 2, 14);
    expect(room, &room->b, "put 14 @3 | l= @3 mark 14 | gone");
    assert_int_equal(memory_bus_record(room->bus, 1, mps_text("l"), NULL), 0);
}

static void test_records_are_told_again(void **state)
{
    struct room *room = *state;
    put(&room->a, "k", "v", ENGINE_PUT_ANYHOW, 0);
    put(&room->a, "l", "v", ENGINE_PUT_ANYHOW, 0);
    hear_all(room);
    memory_bus_away(room->bus, "b", false, true);
    put(&room->b, "k", "w", ENGINE_PUT_ANYHOW, 1);
    put(&room->b, "k", "x", ENGINE_PUT_ANYHOW, 2); /* in its place */
    put(&room->a, "l", NULL, ENGINE_PUT_ANYHOW, 0);
    expect(room, &room->b, "connected 1 0");
    memory_bus_away(room->bus, "b", false, false);
    expect(room, &room->b, "connected 1 1 | put 2 @4 | l= @3 mark 0 | gone | loaded | k=x @4 mark 2");
    leave(&room->c);
    come(room, &room->c, "c");
    expect(room, &room->c, "connected 1 1 | begin | k=x @4 mark 0 | loaded");
    memory_bus_lose_records(room->bus);
    put(&room->b, "n", "y", ENGINE_PUT_ANYHOW, 3);
    expect(room, &room->b, "put 3 @1 | begin | n=y @1 mark 3 | loaded");
    expect(room, &room->c, "begin | n=y @1 mark 0 | loaded");
}

/* ---- chance ------------------------------------------------------------------------------------------------- */

/* What b hears when chance has its way with the same calls. */
static void play(uint64_t seed, char words[4096])
{
    struct room *room = calloc(1, sizeof *room);
    room->bus = memory_bus_new(seed);
    memory_bus_shuffle(room->bus);
    *memory_bus_faults(room->bus) =
        (struct memory_faults){.lost = 200, .twice = 200, .delay_ms = 1, .delay_more_ms = 5};
    come(room, &room->a, "a");
    come(room, &room->b, "b");
    for (int i = 0; i < 100; i++) {
        char text[] = {(char)('!' + i % 90), '\0'};
        send(&room->a, "b", text);
        pass(room, 1);
        put(&room->a, "k", text, ENGINE_PUT_ANYHOW, 0);
    }
    pass(room, 10);
    memcpy(words, hear(room, &room->b), 4096);
    leave(&room->a);
    leave(&room->b);
    memory_bus_free(room->bus);
    free(room);
}

static void test_the_same_seed_does_the_same(void **state)
{
    static char once[4096], again[4096], other[4096];
    (void)state;
    play(1, once);
    play(1, again);
    play(2, other);
    assert_string_equal(once, again);
    assert_string_not_equal(once, other);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_datagrams_come_to_whom_they_are_for),
        TEST(test_datagrams_are_lost_and_doubled),
        TEST(test_datagrams_take_their_time),
        TEST(test_sides_do_not_meet),
        TEST(test_a_frozen_one_gets_it_later),
        TEST(test_rings_are_bounded),
        TEST(test_one_that_died_and_came_back),
        TEST(test_what_is_appended_comes_everywhere),
        TEST(test_a_stream_forgets_the_oldest_or_refuses),
        TEST(test_what_waits_for_the_streams),
        TEST(test_an_answer_that_is_lost),
        TEST(test_a_stream_that_is_deleted),
        TEST(test_a_stream_that_nobody_follows),
        TEST(test_records_come_everywhere),
        TEST(test_records_are_told_again),
        cmocka_unit_test(test_the_same_seed_does_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
