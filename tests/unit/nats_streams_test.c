/* Shared streams in a real JetStream (broker/cluster/nats_streams.c, nats_append.c, nats_tail.c, nats_read.c). */
#include "nats_stage.h"

#include <nats/nats.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DEFER_MS 60000
#define JS_NAME "test-stream-orders=20and=20more"
#define SUBJECT "test.stream.orders=20and=20more"

static struct end *open_end(struct nats_stage *stage, int index)
{
    struct end *end = stage_end(stage, index, DEFER_MS);
    stage_open_stream(end, (uint32_t)stage->servers, UINT64_MAX, false);
    return end;
}

static struct end *open_ready(struct nats_stage *stage, int index)
{
    struct end *end = open_end(stage, index);
    stage_wait(stage, end->state.is_there);
    return end;
}

static void check_numbers(const struct shown_list *list, size_t count)
{
    assert_int_equal(list->count, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(list->list[i].position, i + 1);
        assert_int_equal(atoll(list->list[i].payload), i + 1);
    }
}

/* ---- the plain ways ------------------------------------------------------------------------------------------- */

static void test_append_tail_read(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_ready(stage, 0), *b = open_ready(stage, 1);
    assert_int_equal(a->state.next, 1);
    assert_int_equal(a->state.identity, b->state.identity);
    assert_int_equal(a->state.replicas, 1);
    assert_int_equal(a->state.current, 1);
    stage_append_numbers(a, 1, 2000);
    stage_wait(stage, a->settled_count == 2000 && a->tail.count == 2000 && b->tail.count == 2000);
    assert_true(a->is_in_order);
    for (uint64_t token = 1; token <= 2000; token++) {
        assert_int_equal(a->settled[token].code, STORE_OK);
        assert_int_equal(a->settled[token].last, token);
        assert_false(a->settled[token].was_there);
    }
    check_numbers(&a->tail, 2000);
    check_numbers(&b->tail, 2000);
    struct engine_figures figures;
    a->engine->figures(a->engine, &figures);
    assert_true(figures.is_storing);
    assert_int_equal(figures.waiting_appends, 0);
    assert_int_equal(figures.waiting_bytes, 0);

    uint64_t at = 1;
    unsigned reads = 0;
    while (at < 2001) { /* block by block, in less than one read for each message */
        struct store_read *read = stage_read(b, at, 2001, 4000);
        assert_int_equal(read->code, STORE_OK);
        assert_int_equal(read->block.first, at);
        assert_true(read->block.len <= 4000);
        assert_int_equal(read->damaged_first, 0);
        struct shown_list list = stage_messages(&read->block);
        assert_int_equal(atoll(list.list[0].payload), at);
        stage_shown_free(&list);
        at += read->block.count;
        reads++;
    }
    assert_true(reads < 1000);
    struct store_read *read = stage_read(b, 1990, 1995, 100000);
    assert_int_equal(read->block.first, 1990);
    assert_int_equal(read->block.count, 5);
    read = stage_read(b, 2001, 2001, 100000);
    assert_int_equal(read->code, STORE_OK);
    assert_null(read->bytes);
}

static void test_one_append_of_many_frames(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_ready(stage, 0);
    uint8_t bytes[4000];
    uint32_t len = 0;
    char text[STORE_TEXT_MAX];
    for (int i = 1; i <= 100; i++) {
        char payload[16];
        snprintf(payload, sizeof payload, "%d", i);
        len += stage_frame(bytes + len, sizeof bytes - len, i % 2 ? "a" : "b//c", payload);
    }
    a->settled = calloc(2, sizeof *a->settled);
    a->tokens = 1;
    struct engine_append append = {
        .stream = STREAM, .count = 100, .len = len, .bytes = bytes, .is_waited_for = true, .token = 1};
    assert_true(a->engine->append(a->engine, &append, text));
    a->engine->flush(a->engine);
    stage_wait(stage, a->settled_count == 1 && a->tail.count == 100);
    assert_int_equal(a->settled[1].last, 100);
    check_numbers(&a->tail, 100);
}

static void test_sent_again_is_stored_once(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_ready(stage, 0), *b = open_ready(stage, 1);
    uint64_t first = stage_append(a, "t", "one", "me", 5), other = stage_append(a, "t", "two", "you", 5);
    stage_wait(stage, stage_settled(a, first) != NULL && stage_settled(a, other) != NULL);
    uint64_t again = stage_append(b, "t", "one", "me", 5), next = stage_append(b, "t", "three", "me", 6);
    uint64_t nobody = stage_append(b, "t", "four", NULL, 0), nobody_again = stage_append(b, "t", "four", NULL, 0);
    stage_wait(stage, b->settled_count == 4 && b->tail.count == 5);
    assert_true(b->settled[again].was_there);
    assert_int_equal(b->settled[again].last, a->settled[first].last);
    assert_false(b->settled[next].was_there);
    assert_int_equal(b->settled[nobody_again].last, b->settled[nobody].last + 1);
}

/* What one broker was told to be stored, another one knows if it asks for it then. */
static void test_asked_how_far_it_is(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_ready(stage, 0), *b = open_ready(stage, 1);
    for (uint64_t mark = 1; mark <= 50; mark++) {
        uint64_t token = stage_append(a, "t", "x", "me", mark);
        stage_wait(stage, stage_settled(a, token) != NULL);
        b->engine->ask_state(b->engine, STREAM, mark);
        stage_wait(stage, b->answered == mark);
        assert_true(b->answer > a->settled[token].last);
    }
    b->engine->ask_state(b->engine, STREAM, 100); /* the next one takes its place, or comes behind it */
    b->engine->ask_state(b->engine, STREAM, 101);
    stage_wait(stage, b->answered == 101);
    b->engine->ask_state(b->engine, STREAM + 1, 102); /* nobody knows that one */
}

static void test_full(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = stage_end(stage, 0, DEFER_MS);
    stage_open_stream(a, 1, 10, true);
    for (int i = 0; i < 12; i++) assert_true(stage_append(a, "t", "x", "me", (uint64_t)i + 1) > 0);
    stage_wait(stage, a->settled_count == 12);
    assert_true(a->is_in_order);
    for (uint64_t token = 1; token <= 12; token++)
        assert_int_equal(a->settled[token].code, token <= 10 ? STORE_OK : STORE_FULL);
    assert_non_null(strstr(a->settled[12].text, "maximum messages exceeded"));
}

/* The oldest ones go: a read from there begins with what is left, and so says the state. */
static void test_retention(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = stage_end(stage, 0, DEFER_MS);
    stage_open_stream(a, 1, 10, false);
    stage_append_numbers(a, 1, 25);
    stage_wait(stage, a->settled_count == 25 && a->state.first == 16 && a->state.next == 26);
    assert_int_equal(a->state.msgs, 10);
    struct store_read *read = stage_read(a, 3, 26, 100000);
    assert_int_equal(read->code, STORE_OK);
    assert_int_equal(read->block.first, 16);
    assert_int_equal(read->block.count, 10);
    assert_int_equal(read->damaged_first, 0);
}

static void test_limits(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_ready(stage, 0);
    char text[STORE_TEXT_MAX] = "";
    size_t len = 1100000;
    char *payload = malloc(len + 1);
    uint8_t *frame = malloc(len + 100);
    memset(payload, 'x', len);
    payload[len] = '\0';
    struct engine_append append = {.stream = STREAM, .count = 1, .bytes = frame, .token = 1, .is_waited_for = true};
    append.len = stage_frame(frame, len + 100, "t", payload);
    assert_false(a->engine->append(a->engine, &append, text));
    assert_non_null(strstr(text, "1100")); /* how long it is */
    assert_non_null(strstr(text, "1047552"));
    payload[1000000] = '\0'; /* that is taken, until so much waits */
    append.len = stage_frame(frame, len + 100, "t", payload);
    append.stream = STREAM + 1;
    assert_false(a->engine->append(a->engine, &append, text));
    assert_non_null(strstr(text, "no shared stream"));
    append.stream = STREAM;
    nats_rig_kill(&stage->rigs[0]);
    stage_wait(stage, !a->state.is_there);
    append.is_waited_for = false;
    unsigned taken = 0;
    while (a->engine->append(a->engine, &append, text)) taken++, append.token++;
    assert_int_equal(taken, 50); /* 48 MiB: three quarters */
    assert_non_null(strstr(text, "the limit is 50331648"));
    append.is_waited_for = true; /* the rest is kept for those who wait for answers */
    while (a->engine->append(a->engine, &append, text)) taken++, append.token++;
    assert_int_equal(taken, 67); /* 64 MiB */
    assert_non_null(strstr(text, "the limit is 67108864"));
    free(frame);
    free(payload);
}

/* ---- what others do to it ------------------------------------------------------------------------------------- */

static natsConnection *outsider(struct nats_stage *stage, jsCtx **js)
{
    natsConnection *connection = NULL;
    assert_int_equal(natsConnection_ConnectTo(&connection, stage->rigs[0].url), NATS_OK);
    assert_int_equal(natsConnection_JetStream(js, connection, NULL), NATS_OK);
    return connection;
}

static void outsider_leaves(natsConnection *connection, jsCtx *js)
{
    jsCtx_Destroy(js);
    natsConnection_Destroy(connection);
}

/* What isn't exactly one message is passed over, by tails and by reads. */
static void test_what_is_no_message(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_ready(stage, 0);
    jsCtx *js;
    natsConnection *connection = outsider(stage, &js);
    uint8_t two[100], wild[100];
    uint32_t len = stage_frame(two, sizeof two, "t", "x"), wild_len;
    len += stage_frame(two + len, sizeof two - len, "t", "y");
    wild_len = stage_frame(wild, sizeof wild, "a/+", "z");
    const struct {
        const void *bytes;
        uint32_t len;
    } bad[] = {{"", 0},
               {"hello", 5},
               {"\x94\x03", 2},
               {two, len},
               {two, len / 2 - 1},
               {wild, wild_len},
               {"\x91\x05", 2},
               {"\xdd\xff\xff\xff\xff\x03", 6}};
    stage_append_numbers(a, 1, 1);
    stage_wait(stage, a->settled_count == 1);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(js_Publish(NULL, js, SUBJECT ".evil", bad[i].bytes, (int)bad[i].len, NULL, NULL), NATS_OK);
    stage_append_numbers(a, 10, 3);
    stage_wait(stage, a->tail.count == 4 && a->state.next == 13);
    assert_int_equal(a->tail.list[1].position, 10);
    struct store_read *read = stage_read(a, 1, 13, 100000);
    assert_int_equal(read->block.first, 1);
    assert_int_equal(read->block.count, 1);
    read = stage_read(a, 2, 13, 100000);
    assert_int_equal(read->damaged_first, 2);
    assert_int_equal(read->damaged_last, 9);
    assert_int_equal(read->block.first, 10);
    assert_int_equal(read->block.count, 3);
    read = stage_read(a, 3, 7, 100000); /* nothing but what is damaged */
    assert_int_equal(read->code, STORE_OK);
    assert_null(read->bytes);
    assert_int_equal(read->damaged_first, 3);
    assert_int_equal(read->damaged_last, 6);
    struct engine_figures figures;
    a->engine->figures(a->engine, &figures);
    assert_non_null(strstr(figures.text, "is no message"));
    outsider_leaves(connection, js);
}

static void test_holes(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_ready(stage, 0);
    jsCtx *js;
    natsConnection *connection = outsider(stage, &js);
    stage_append_numbers(a, 1, 10);
    stage_wait(stage, a->settled_count == 10 && a->tail.count == 10);
    for (uint64_t position = 2; position <= 10; position += 2)
        assert_int_equal(js_DeleteMsg(js, JS_NAME, position, NULL, NULL), NATS_OK);
    for (uint64_t position = 1; position < 10; position += 2) {
        struct store_read *read = stage_read(a, position == 1 ? 1 : position - 1, 11, 100000);
        assert_int_equal(read->code, STORE_OK);
        assert_int_equal(read->block.first, position);
        assert_int_equal(read->block.count, 1);
        assert_int_equal(read->damaged_first, 0);
    }
    struct store_read *read = stage_read(a, 10, 11, 100000);
    assert_int_equal(read->code, STORE_OK);
    assert_null(read->bytes);
    outsider_leaves(connection, js);
}

/* A replay that stops and goes on, while other reads go on at other places, and a message that is longer than what is
 * asked for. */
static void test_reads_beside_each_other(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_ready(stage, 0);
    stage_append_numbers(a, 1, 500);
    stage_wait(stage, a->settled_count == 500);
    uint64_t at[12];
    for (uint64_t i = 0; i < 12; i++) at[i] = 1 + 20 * i;
    for (unsigned turn = 0; turn < 5; turn++) { /* more than there are consumers */
        for (unsigned i = 0; i < 12; i++) {
            struct store_read *read = stage_read(a, at[i], 501, 100);
            assert_int_equal(read->code, STORE_OK);
            assert_int_equal(read->block.first, at[i]);
            at[i] += read->block.count;
        }
    }
    char *payload = malloc(30000);
    memset(payload, 'x', 29999);
    payload[29999] = '\0';
    stage_append_numbers(a, 1001, 1);
    for (int i = 0; i < 10; i++) assert_true(stage_append(a, "long", payload, "me", 2001 + (uint64_t)i) > 0);
    stage_wait(stage, a->settled_count == 511);
    for (uint64_t position = 502; position <= 511; position++) {
        struct store_read *read = stage_read(a, position, 512, 10);
        assert_int_equal(read->code, STORE_OK);
        assert_int_equal(read->block.first, position);
        assert_int_equal(read->block.count, 1);
    }
    free(payload);
}

static void test_stream_deleted_under_us(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_ready(stage, 0), *b = open_ready(stage, 1);
    jsCtx *js;
    natsConnection *connection = outsider(stage, &js);
    stage_append_numbers(a, 1, 50);
    stage_wait(stage, a->settled_count == 50 && a->tail.count == 50 && b->tail.count == 50);
    uint64_t identity = a->state.identity;
    assert_int_equal(js_DeleteStream(js, JS_NAME, NULL, NULL), NATS_OK);
    stage_append_numbers(a, 51, 10); /* wait until it is there again */
    stage_wait(stage, a->identities == 2 && b->identities == 2 && a->settled_count == 60);
    assert_true(a->state.identity != identity);
    assert_int_equal(b->state.identity, a->state.identity);
    assert_int_equal(a->settled[60].code, STORE_OK);
    assert_int_equal(a->settled[60].last, 10);
    stage_append_numbers(b, 100, 1);
    stage_wait(stage, a->tail.list[a->tail.count - 1].position == 11);
    stage_wait(stage, b->tail.list[b->tail.count - 1].position == 11);
    struct store_read *read = stage_read(a, 1, 12, 100000);
    struct shown_list list = stage_messages(&read->block);
    assert_string_equal(list.list[0].payload, "51");
    stage_shown_free(&list);
    outsider_leaves(connection, js);
}

/* Somebody else's consumers, and a configuration that is not ours. */
static void check_positions_of_others(const struct end *end, size_t from, uint64_t position)
{
    for (size_t i = from; i < end->tail.count; i++) {
        assert_int_equal(end->tail.list[i].position, position + (i - from));
        assert_string_equal(end->tail.list[i].payload, "other");
    }
}

static void copy_directory(const char *from, const char *to)
{
    char command[1100];
    snprintf(command, sizeof command, "rm -rf '%s' && cp -a '%s' '%s'", to, from, to);
    assert_int_equal(system(command), 0);
}

/* The server has lost its end, and has others there by now: what was shown of it is no more. */
static void test_rewritten_under_us(void **state)
{
    struct nats_stage *stage = *state;
    struct nats_rig *rig = &stage->rigs[0];
    char copy[sizeof rig->directory + 8];
    snprintf(copy, sizeof copy, "%s-copy", rig->directory);
    struct end *a = open_ready(stage, 0);
    stage_append_numbers(a, 1, 10);
    stage_wait(stage, a->settled_count == 10 && a->tail.count == 10);
    nats_rig_end(rig); /* what is killed may not have written all yet */
    copy_directory(rig->directory, copy);
    stage_start_server(stage, 0);
    stage_append_numbers(a, 11, 10);
    stage_wait(stage, a->settled_count == 20 && a->tail.count == 20); /* else the rest would be sent once more */
    nats_rig_kill(rig);
    copy_directory(copy, rig->directory);
    copy_directory("/dev/null", copy);
    assert_int_equal(remove(copy), 0);
    stage_start_server(stage, 0);
    struct end *b = open_ready(stage, 1);
    for (uint64_t i = 1; i <= 15; i++) assert_true(stage_append(b, "a/b", "other", "you", i) > 0);
    stage_wait(stage, a->tail.count == 35);
    check_positions_of_others(a, 20, 11);
    assert_int_equal(a->identities, 1);
}

static void test_changed_configuration(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_ready(stage, 0);
    stage_append_numbers(a, 1, 30);
    stage_wait(stage, a->settled_count == 30);
    struct end *b = stage_end(stage, 1, DEFER_MS);
    stage_open_stream(b, 1, 20, false);
    stage_wait(stage, b->state.is_there && b->state.first == 11 && a->state.first == 11);
    assert_int_equal(b->state.identity, a->state.identity);
}

static void test_replicas_that_cannot_be(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = stage_end(stage, 0, 300);
    stage_open_stream(a, 3, UINT64_MAX, false);
    stage_wait(stage, strstr(a->state_text, "replicas") != NULL);
    assert_false(a->state.is_there);
    uint64_t token = stage_append(a, "t", "x", "me", 1);
    stage_wait(stage, stage_settled(a, token) != NULL);
    assert_int_equal(a->settled[token].code, STORE_FAILED);
    assert_non_null(strstr(a->settled[token].text, "may have been stored"));
    struct store_read *read = stage_read(a, 1, 2, 1000);
    assert_int_equal(read->code, STORE_FAILED);
    assert_non_null(strstr(read->text, "is away"));
}

/* ---- servers that go ------------------------------------------------------------------------------------------ */

/* Killed with messages under way, and started again: each is stored once, in order. */
static void test_server_killed(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_ready(stage, 0), *b = open_ready(stage, 1);
    stage_append_numbers(a, 1, 3000);
    stage_wait(stage, a->settled_count >= 500);
    nats_rig_kill(&stage->rigs[0]);
    stage_wait(stage, !a->is_storing && !a->state.is_there);
    struct store_read *read = stage_read(a, 1, 100, 1000);
    assert_int_equal(read->code, STORE_FAILED);
    assert_true(read->text[0] != '\0');
    stage_append_numbers(a, 3001, 1000);
    stage_start_server(stage, 0);
    stage_wait(stage, a->settled_count == 4000 && b->tail.count >= 4000 && a->tail.count >= 4000);
    assert_true(a->is_in_order);
    assert_int_equal(a->ok_count, 4000);
    assert_int_equal(a->identities, 1);
    for (uint64_t token = 1; token <= 4000; token++) assert_int_equal(a->settled[token].last, token);
    check_numbers(&a->tail, 4000);
    check_numbers(&b->tail, 4000);
    read = stage_read(a, 1, 4001, 100000);
    assert_int_equal(read->code, STORE_OK);
    assert_int_equal(read->block.first, 1);
}

static void test_given_up_while_away(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = stage_end(stage, 0, 500);
    stage_open_stream(a, 1, UINT64_MAX, false);
    stage_wait(stage, a->state.is_there);
    nats_rig_kill(&stage->rigs[0]);
    stage_wait(stage, !a->is_storing);
    uint8_t frame[100];
    char text[STORE_TEXT_MAX];
    a->settled = calloc(4, sizeof *a->settled);
    a->tokens = 3;
    struct engine_append append = {.stream = STREAM, .count = 1, .bytes = frame};
    for (append.token = 1; append.token <= 3; append.token++) {
        char payload[2] = {(char)('0' + append.token), '\0'};
        append.len = stage_frame(frame, sizeof frame, "t", payload);
        append.is_waited_for = append.token != 1;
        assert_true(a->engine->append(a->engine, &append, text));
    }
    a->engine->flush(a->engine);
    stage_wait(stage, a->settled_count == 2);
    assert_false(a->settled[1].is_there); /* nobody waits for it: it is kept */
    assert_int_equal(a->settled[2].code, STORE_FAILED);
    assert_int_equal(a->settled[3].code, STORE_FAILED);
    stage_start_server(stage, 0);
    stage_wait(stage, a->settled_count == 3);
    assert_int_equal(a->settled[1].code, STORE_OK);
    stage_wait(stage, a->tail.count == 1);
    assert_string_equal(a->tail.list[0].payload, "1");
}

static void test_opened_before_the_server(void **state)
{
    struct nats_stage *stage = *state;
    nats_rig_kill(&stage->rigs[0]);
    struct end *a = open_end(stage, 0);
    stage_append_numbers(a, 1, 10);
    for (int i = 0; i < 5; i++) stage_poll(stage);
    assert_int_equal(a->settled_count, 0);
    stage_start_server(stage, 0);
    stage_wait(stage, a->settled_count == 10 && a->state.next == 11);
    assert_int_equal(a->ok_count, 10);
}

/* A loop that doesn't poll: the library waits, nothing is lost, and other things go on meanwhile. */
static void test_slow_loop(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_ready(stage, 0), *b = open_ready(stage, 1);
    b->counts_only = true;
    a->counts_only = true;
    char payload[1001];
    memset(payload, 'x', 1000);
    payload[1000] = '\0';
    for (uint64_t i = 1; i <= 30000; i++) assert_true(stage_append(a, "t", payload, "me", i) > 0);
    uint64_t begun_ms = stage_ms();
    while (a->settled_count < 30000 && stage_ms() - begun_ms < 60000) { /* b is not polled */
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec++;
        sem_timedwait(&stage->woken, &until);
        a->engine->poll(a->engine);
    }
    assert_int_equal(a->ok_count, 30000);
    stage_wait(stage, b->tail_count == 30000);
    assert_true(b->tail_bytes > 30000000);
}

static void test_closed_with_messages_under_way(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_ready(stage, 0), *b = open_ready(stage, 1);
    stage_append_numbers(a, 1, 100);
    stage_end_close(a);
    stage_wait(stage, b->tail.count == 100);
    check_numbers(&b->tail, 100);
}

/* ---- three servers -------------------------------------------------------------------------------------------- */

static int leader_of(struct nats_stage *stage, int any)
{
    natsConnection *connection = NULL;
    jsCtx *js = NULL;
    jsStreamInfo *info = NULL;
    int leader = -1;
    if (natsConnection_ConnectTo(&connection, stage->rigs[any].url) == NATS_OK &&
        natsConnection_JetStream(&js, connection, NULL) == NATS_OK &&
        js_GetStreamInfo(&info, js, JS_NAME, NULL, NULL) == NATS_OK && info->Cluster != NULL &&
        info->Cluster->Leader != NULL)
        leader = info->Cluster->Leader[1] - '0';
    jsStreamInfo_Destroy(info);
    jsCtx_Destroy(js);
    natsConnection_Destroy(connection);
    return leader;
}

/* Three brokers, each on any of three servers; the stream's leader is killed while messages are under way, again and
 * again. All are stored where was said, and every tail shows the same. That each is stored only once, and behind the
 * one before it, can't be asked for: a server that has just become the leader may not know yet what the one before it
 * has stored last (PR 6486 of nats-server, in 2.11). */
static void test_leader_killed(void **state)
{
    struct nats_stage *stage = *state;
    enum { EACH = 3000 };
    for (int i = 0; i < 3; i++) open_end(stage, i);
    for (int i = 0; i < 3; i++) stage_wait(stage, stage->ends[i].state.is_there);
    assert_int_equal(stage->ends[0].state.replicas, 3);
    uint64_t identity = stage->ends[0].state.identity;
    for (int round = 0; round < 2; round++) {
        char id[8];
        for (uint64_t n = 0; n < EACH; n++) {
            for (int i = 0; i < 3; i++) {
                char payload[32];
                snprintf(payload, sizeof payload, "%d %llu", i, (unsigned long long)(n + (uint64_t)round * EACH));
                snprintf(id, sizeof id, "p%d", i);
                assert_true(stage_append(&stage->ends[i], "t", payload, id, n + 1 + (uint64_t)round * EACH) > 0);
            }
        }
        stage_wait(stage, stage->ends[0].settled_count > (uint64_t)round * EACH + EACH / 10);
        int leader = leader_of(stage, 0);
        assert_true(leader >= 0);
        nats_rig_kill(&stage->rigs[leader]);
        for (int i = 0; i < 3; i++) stage_wait(stage, stage->ends[i].settled_count == (uint64_t)(round + 1) * EACH);
        stage_start_server(stage, leader);
    }
    enum { ALL = 2 * EACH };
    static int owner[6 * ALL + 1];
    memset(owner, 0, sizeof owner);
    for (int i = 0; i < 3; i++) {
        const struct end *end = &stage->ends[i];
        if (end->ok_count != ALL)
            fail_msg("%llu of them were stored (%s; %s)", (unsigned long long)end->ok_count, end->settled[ALL].text,
                     stage_trouble(stage));
        assert_true(end->is_in_order);
        for (uint64_t token = 1; token <= ALL; token++) {
            assert_true(end->settled[token].last >= 1 && end->settled[token].last <= 6 * ALL);
            assert_int_equal(owner[end->settled[token].last], 0); /* no two have the same position */
            owner[end->settled[token].last] = 1 + i * ALL + (int)token;
        }
    }
    for (int i = 0; i < 3; i++) stage_wait(stage, stage->ends[i].tail.count >= 3 * ALL);
    for (int i = 0; i < 3; i++) {
        const struct end *end = &stage->ends[i];
        assert_false(end->tail_overlaps);
        assert_int_equal(end->identities, 1);
        assert_int_equal(end->state.identity, identity);
        long long found[3] = {0, 0, 0};
        for (size_t k = 0; k < end->tail.count; k++) {
            int publisher = end->tail.list[k].payload[0] - '0';
            long long number = atoll(end->tail.list[k].payload + 2);
            if (owner[end->tail.list[k].position] == 0) continue; /* stored twice */
            assert_int_equal(owner[end->tail.list[k].position], 1 + publisher * ALL + number + 1);
            found[publisher]++;
        }
        for (int k = 0; k < 3; k++) assert_int_equal(found[k], ALL);
    }
}

/* Two of three are gone: nothing is acknowledged, what waits is given up, and what comes later is stored when they are
 * back. */
static void test_no_majority(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = stage_end(stage, 0, 1500);
    stage_open_stream(a, 3, UINT64_MAX, false);
    stage_wait(stage, a->state.is_there && a->state.current == 3);
    stage_append_numbers(a, 1, 10);
    stage_wait(stage, a->settled_count == 10);
    nats_rig_kill(&stage->rigs[1]);
    nats_rig_kill(&stage->rigs[2]);
    stage_append_numbers(a, 11, 10);
    stage_wait(stage, a->settled_count == 20);
    assert_int_equal(a->ok_count, 10);
    assert_int_equal(a->settled[20].code, STORE_FAILED);
    stage_start_server(stage, 1);
    stage_start_server(stage, 2);
    uint64_t token = 0;
    do { /* as a client would */
        token = stage_append(a, "t", "last", "me", 1000);
        stage_wait(stage, stage_settled(a, token) != NULL);
    } while (a->settled[token].code != STORE_OK);
    stage_wait(stage, a->tail.count >= 11 && strcmp(a->tail.list[a->tail.count - 1].payload, "last") == 0);
    assert_int_equal(a->tail.list[a->tail.count - 1].position, a->settled[token].last);
}

#define each(test) cmocka_unit_test_setup_teardown(test, stage_open, stage_close)
#define three(test) cmocka_unit_test_setup_teardown(test, stage_open_cluster, stage_close)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        each(test_append_tail_read),
        each(test_one_append_of_many_frames),
        each(test_sent_again_is_stored_once),
        each(test_asked_how_far_it_is),
        each(test_full),
        each(test_retention),
        each(test_limits),
        each(test_what_is_no_message),
        each(test_holes),
        each(test_reads_beside_each_other),
        each(test_stream_deleted_under_us),
        each(test_rewritten_under_us),
        each(test_changed_configuration),
        each(test_replicas_that_cannot_be),
        each(test_server_killed),
        each(test_given_up_while_away),
        each(test_opened_before_the_server),
        each(test_slow_loop),
        each(test_closed_with_messages_under_way),
        three(test_leader_killed),
        three(test_no_majority),
    };
    signal(SIGPIPE, SIG_IGN);
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
