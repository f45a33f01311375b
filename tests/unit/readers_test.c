/* What a client may do with streams and sessions that must not cost the others, memory that grows without end and
 * records that stay; and what readers are told of what is gone. */
#include "broker_stage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The core's own data, to see what it keeps. */
#include "../../broker/core/model.h"

#define EACH                                                                                      \
    (struct mps_sub_options)                                                                      \
    {                                                                                             \
        .given = MPS_SUB_ACK | MPS_SUB_FROM, .ack = MPS_ACK_EACH, .from = {.kind = MPS_FROM_ALL } \
    }
#define DURABLE_GROUP                                                                                 \
    (struct mps_sub_options)                                                                          \
    {                                                                                                 \
        .given = MPS_SUB_ACK | MPS_SUB_DURABLE | MPS_SUB_GROUP, .ack = MPS_ACK_EACH, .durable = true, \
        .group = mps_text("g")                                                                        \
    }

static struct stage *with_stream(void **state)
{
    struct stage *stage = *state;
    stage_start_stored(stage, "d/#");
    stage_hello(stage, 'p', (struct mps_hello){.id = mps_text("p")});
    stage_words(stage, 'p');
    return stage;
}

static void publish(struct stage *stage, uint32_t count, const char *text)
{
    for (uint32_t i = 0; i < count; i++) stage_msg(stage, 'p', "d/a", text);
}

static void ack_one(struct stage *stage, uint64_t seq)
{
    uint8_t room[32];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_ack(&out, &(struct mps_ack){.sid = 1, .stream = 64, .seq = seq, .kind = 1});
    stage_send(stage, 'a', &out);
}

static const struct reading *first_reading(const struct stage *stage)
{
    return container_of(stage->broker->streams[0]->readings.first, struct reading, in_readings);
}

/* One message that nobody can handle stays open; all behind it are done with. */
static void what_is_done_with_behind_an_open_message_takes_no_memory(void **state)
{
    struct stage *stage = with_stream(state);
    stage_hello(stage, 'a', (struct mps_hello){.id = mps_text("a")});
    stage_sub(stage, 'a', 1, "d/#", EACH);
    for (uint64_t seq = 1; seq <= 5000; seq++) {
        publish(stage, 1, "x");
        if (seq != 1) ack_one(stage, seq);
    }
    assert_int_equal(first_reading(stage)->open_count, 1);
    assert_in_range(first_reading(stage)->cap, 1, 512);
    ack_one(stage, 7); /* still known to be done with */
    stage_words(stage, 'a');
    stage_pass(stage, 30000);
    stage_expect(stage, 'a', "for 1 flags 4 at 64-1 | d/a=x");
    ack_one(stage, 1);
    assert_int_equal(first_reading(stage)->count, 0);
    assert_int_equal(stage->broker->pending_count, 0);
}

/* Who reads nothing has nothing fetched. */
static void a_link_that_is_full_keeps_nothing_of_streams(void **state)
{
    struct stage *stage = with_stream(state);
    publish(stage, 20, "x");
    stage_hello(stage, 'a', (struct mps_hello){.id = mps_text("a")});
    stage_words(stage, 'a');
    stage_room(stage, 'a', 1);
    for (uint32_t sid = 1; sid <= 50; sid++) stage_sub(stage, 'a', sid, "d/#", EACH);
    assert_in_range(stage->broker->pending_count, 0, 20);
    stage_room(stage, 'a', STAGE_ROOM);
    assert_int_equal(stage->broker->pending_count, 50 * 20);
}

static void answers_of_level_1_behind_the_disk_count_as_unanswered(void **state)
{
    struct stage *stage = *state;
    stage->limits.pub_window_count = 10;
    with_stream(state);
    memory_store_hold(stage->gate.inner, true, false);
    stage_pub(stage, 'p', 1, 2);
    publish(stage, 1, "x");
    stage_pub(stage, 'p', 2, 1);
    for (int i = 0; i < 9; i++) stage_msg(stage, 'p', "t", "x");
    stage_expect(stage, 'p', "");
    stage_msg(stage, 'p', "t/+", "x"); /* refused, which has to wait, too */
    stage_expect(stage, 'p', "bye 107 | end");
}

static void a_retained_value_that_expires_is_no_record(void **state)
{
    struct stage *stage = with_stream(state);
    uint8_t room[64], props_room[16];
    struct mps_out out = mps_out_open(room, sizeof room), props = mps_out_open(props_room, sizeof props_room);
    mps_put_map(&props, 1);
    mps_put_uint(&props, MPS_PROP_TTL_MS);
    mps_put_uint(&props, 100);
    mps_encode_pub(&out, &(struct mps_pub){0, MPS_PUB_RETAIN});
    mps_encode_msg(&out, &(struct mps_msg){mps_text("d/a"), mps_out_view(&props), mps_text("x")});
    stage_send(stage, 'p', &out);
    stage_pass(stage, 60);
    assert_int_equal(memory_disk_records(stage->disk, RECORD_RETAINED), 1);
    stage_pass(stage, 200);
    assert_int_equal(memory_disk_records(stage->disk, RECORD_RETAINED), 0);
}

/* Of a topic that is not durable any more, the value of then must not come back. */
static void a_retained_value_of_a_stream_that_was_is_no_record_when_it_changes(void **state)
{
    struct stage *stage = with_stream(state);
    uint8_t room[64];
    for (int life = 0; life < 2; life++) {
        struct mps_out out = mps_out_open(room, sizeof room);
        mps_encode_pub(&out, &(struct mps_pub){0, MPS_PUB_RETAIN});
        mps_encode_msg(&out,
                       &(struct mps_msg){.topic = mps_text("d/a"), .payload = mps_text(life == 0 ? "old" : "new")});
        stage_send(stage, 'p', &out);
        stage_pass(stage, 60);
        assert_int_equal(memory_disk_records(stage->disk, RECORD_RETAINED), life == 0);
        stage_stop(stage);
        stage_start_stored(stage, "e/#");
        stage_hello(stage, 'p', (struct mps_hello){.id = mps_text("p")});
    }
    stage_sub(stage, 'p', 1, "d/a", (struct mps_sub_options){0});
    assert_null(strstr(stage_words(stage, 'p'), "old"));
}

/* Each change of a record waits once, however often the disk fails. */
static void changes_of_one_record_wait_as_one(void **state)
{
    struct stage *stage = with_stream(state);
    stage_hello(stage, 'a', (struct mps_hello){.id = mps_text("a"), .sess_s = 60});
    stage_pass(stage, 100);
    memory_store_fail_commits(stage->gate.inner, STORE_FULL, 1000);
    for (int i = 0; i < 200; i++) {
        stage_sub(stage, 'a', 1, "t", (struct mps_sub_options){0});
        stage_unsub(stage, 'a', 1);
        if (i % 50 == 0) stage_pass(stage, 100);
    }
    assert_in_range(stage->broker->commit.kept_bytes, 1, 1000);
    stage_cut(stage, 'a');
    stage_hello(stage, 'a', (struct mps_hello){.id = mps_text("a")});
    memory_store_fail_commits(stage->gate.inner, STORE_FULL, 0);
    stage_pass(stage, 200);
    assert_int_equal(memory_disk_records(stage->disk, RECORD_SESSION), 0);
    assert_int_equal(memory_disk_records(stage->disk, RECORD_SUBSCRIPTION), 0);
    assert_int_equal(stage->broker->commit.kept_bytes, 0);
}

static void a_publishers_record_goes_although_the_disk_fails(void **state)
{
    struct stage *stage = with_stream(state);
    stage_hello(stage, 'a', (struct mps_hello){.id = mps_text("a"), .sess_s = 60, .boot = 5});
    stage_pub(stage, 'a', 1, 2);
    stage_msg(stage, 'a', "d/a", "x");
    stage_pass(stage, 100);
    assert_int_equal(memory_disk_records(stage->disk, RECORD_PUBLISHER), 1);
    memory_store_fail_commits(stage->gate.inner, STORE_FAILED, 1);
    stage_cut(stage, 'a');
    stage_hello(stage, 'a', (struct mps_hello){.id = mps_text("a")});
    stage_pass(stage, 500);
    assert_int_equal(memory_disk_records(stage->disk, RECORD_PUBLISHER), 0);
}

/* What a group's place was to be before the disk failed is nobody's any more. */
static void a_groups_place_is_not_behind_what_is_stored(void **state)
{
    struct stage *stage = with_stream(state);
    publish(stage, 1, "first");
    memory_store_hold(stage->gate.inner, true, false);
    stage_pub(stage, 'p', 1, 2);
    publish(stage, 3, "wait"); /* the first of them will be refused */
    stage_hello(stage, 'a', (struct mps_hello){.id = mps_text("a")});
    stage_sub(stage, 'a', 1, "d/#", DURABLE_GROUP);
    stage_cut(stage, 'a');
    memory_store_fail_commits(stage->gate.inner, STORE_FAILED, 1);
    memory_store_hold(stage->gate.inner, false, false);
    memory_store_finish_commit(stage->gate.inner);
    stage_pass(stage, 200);
    publish(stage, 3, "next");
    stage_pass(stage, 200);
    stage_hello(stage, 'a', (struct mps_hello){.id = mps_text("a")});
    stage_words(stage, 'a');
    stage_sub(stage, 'a', 1, "d/#", DURABLE_GROUP);
    stage_expect(stage, 'a',
                 "suback 1 | mark 1 1 | for 1 at 64-2 | d/a=wait | d/a=wait | d/a=next | d/a=next | d/a=next");
}

/* What is looked for before anything is sent may be gone when that is done. */
static void what_retention_removed_meanwhile_is_not_damaged(void **state)
{
    struct stage *stage = with_stream(state);
    struct stream *stream = stage->broker->streams[0];
    struct mps_sub_options last = {.given = MPS_SUB_FROM, .from = {.kind = MPS_FROM_LAST, .number = 3}};
    publish(stage, 5, "x");
    chunks_forget_below(stream, UINT64_MAX);
    memory_store_hold(stage->gate.inner, false, true);
    stage_hello(stage, 'a', (struct mps_hello){.id = mps_text("a")});
    stage_words(stage, 'a');
    stage_sub(stage, 'a', 1, "d/b", last);
    stream->max_msgs = 1;
    publish(stage, 5, "x");
    memory_store_hold(stage->gate.inner, false, false);
    while (memory_store_finish_read(stage->gate.inner, 0)) continue;
    stage_pass(stage, 100);
    assert_int_equal(stream->first, 10);
    stage_expect(stage, 'a', "suback 1 | mark 1 1 | gap 1 x? reason 5 at 64-6..9 | mark 1 2");
}

/* ---- what could not be stored, or not be read ---------------------------------------------------------------- */

/* The stream keeps what could not be handled, too. */
static void keep_dead_letters(struct stream *stream)
{
    char *pattern = strdup("$dead/#");
    stream->patterns = realloc(stream->patterns, 2 * sizeof stream->patterns[0]);
    assert_non_null(pattern);
    assert_non_null(stream->patterns);
    stream->patterns[stream->patterns_count++] = mps_text(pattern);
}

static void refuse_more(struct stream *stream)
{
    stream->refuses = true;
    stream->max_msgs = 1;
}

static void a_dead_letter_that_finds_no_room_is_said(void **state)
{
    struct stage *stage = with_stream(state);
    struct stream *stream = stage->broker->streams[0];
    uint8_t room[32];
    keep_dead_letters(stream);
    stage_hello(stage, 'a', (struct mps_hello){.id = mps_text("a")});
    stage_sub(stage, 'a', 1, "d/#", EACH);
    publish(stage, 2, "x");
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_ack(&out, &(struct mps_ack){.sid = 1, .stream = 64, .seq = 1, .kind = 3});
    stage_send(stage, 'a', &out);
    stage_pass(stage, 100);
    assert_int_equal(stream->stored, 4); /* there was room */
    assert_int_equal(stream->unstored, 0);
    refuse_more(stream);
    out = mps_out_open(room, sizeof room);
    mps_encode_ack(&out, &(struct mps_ack){.sid = 1, .stream = 64, .seq = 2, .kind = 3});
    stage_send(stage, 'a', &out);
    stage_pass(stage, 100);
    assert_int_equal(stream->stored, 4);
    assert_int_equal(stream->unstored, 1);
    assert_string_equal(stage->logged, "a dead letter or will to '$dead/d/a' is not stored: stream 'kept' is full");
}

static void a_will_that_finds_no_room_is_said(void **state)
{
    struct stage *stage = with_stream(state);
    uint8_t room[64];
    struct mps_out will = mps_out_open(room, sizeof room);
    mps_put_array(&will, 4);
    mps_put_text(&will, mps_text("d/will"));
    mps_put_bin(&will, mps_text("x"));
    mps_put_uint(&will, 0);
    mps_put_uint(&will, 0);
    mps_view frame;
    publish(stage, 1, "x");
    refuse_more(stage->broker->streams[0]);
    stage_hello(stage, 'a', (struct mps_hello){.id = mps_text("a"), .will = mps_out_view(&will)});
    stage_cut(stage, 'a');
    assert_string_equal(stage->logged, "a dead letter or will to 'd/will' is not stored: stream 'kept' is full");
    stage_words(stage, 'p');
    stage_sub(stage, 'p', 1, "$SYS/stream/+", (struct mps_sub_options){0});
    stage_pass(stage, 1000);
    while (stage_take(stage, 'p', &frame) != MPS_OP_MSG) continue;
    assert_non_null(memmem(frame.ptr, frame.len, "\xa8unstored\x01", 10));
}

/* However often it is read. */
static void what_is_damaged_counts_once(void **state)
{
    struct stage *stage = with_stream(state);
    struct stream *stream = stage->broker->streams[0];
    publish(stage, 3, "x");
    assert_true(memory_disk_damage(stage->disk, 64, 2, false));
    stage_hello(stage, 'a', (struct mps_hello){.id = mps_text("a")});
    for (uint32_t sid = 1; sid <= 3; sid++) {
        char expected[120];
        snprintf(expected, sizeof expected,
                 "suback %u | mark %u 1 | for %u flags 2 at 64-1 | d/a=x | gap %u x1 reason 12 at 64-2..2 | "
                 "for %u flags 2 at 64-3 | d/a=x",
                 sid, sid, sid, sid, sid);
        chunks_forget_below(stream, UINT64_MAX);
        memset(stream->holes, 0, sizeof stream->holes);
        stage_words(stage, 'a');
        stage_sub(stage, 'a', sid, "d/#", EACH);
        assert_int_equal(strncmp(stage_words(stage, 'a'), expected, strlen(expected)), 0);
        assert_int_equal(stream->damaged, 1);
    }
}

/* Against a plain table. */
static void damage_counts_each_position_once(void **state)
{
    (void)state;
    struct stream stream = {.first = 1};
    static uint8_t known[4000];
    uint64_t count = 0;
    srand(1);
    for (int i = 0; i < 20000; i++) {
        uint64_t first = 1 + (uint64_t)rand() % 3900, last = first + (uint64_t)(rand() % (i % 100 == 0 ? 90 : 3));
        uint64_t fresh = 0;
        if (i == 10000) stream.first = 2000;
        if (last < stream.first) continue;
        if (first < stream.first) first = stream.first;
        for (uint64_t at = first; at <= last; at++) fresh += !known[at];
        memset(known + first, 1, last - first + 1);
        assert_int_equal(damage_note(&stream, first, last), fresh);
        count += fresh;
        assert_int_equal(stream.damaged, count);
        for (uint32_t at = 1; at < stream.damages_count; at++)
            assert_true(stream.damages[at - 1].last + 1 < stream.damages[at].first);
    }
    for (uint64_t at = 5000; at < 15000; at += 2) damage_note(&stream, at, at); /* bounded */
    assert_in_range(stream.damages_count, 1, 1024);
    free(stream.damages);
}

/* ---- groups ------------------------------------------------------------------------------------------------- */

#define MEMBERS 1000u

static struct mps_sub_options member_of(const char *group, uint64_t inflight)
{
    return (struct mps_sub_options){.given = MPS_SUB_ACK | MPS_SUB_FROM | MPS_SUB_GROUP | MPS_SUB_INFLIGHT,
                                    .ack = MPS_ACK_EACH,
                                    .from = {.kind = MPS_FROM_ALL},
                                    .group = mps_text(group),
                                    .inflight = inflight};
}

/* Acknowledges what came. *next: the position of the next message, if no FOR says another one. */
static uint32_t ack_all(struct stage *stage, uint64_t *next)
{
    uint64_t came[4];
    uint32_t count = 0;
    mps_view frame;
    const char *what;
    for (int op; (op = stage_take(stage, 'a', &frame)) >= 0;) {
        struct mps_for terms;
        if (op == MPS_OP_FOR) assert_int_equal(mps_decode_for(frame, &terms, &what), MPS_OK);
        if (op == MPS_OP_FOR) *next = terms.seq;
        if (op == MPS_OP_MSG) came[count++] = (*next)++;
        assert_in_range(count, 0, 3);
    }
    for (uint32_t i = 0; i < count; i++) ack_one(stage, came[i]);
    return count;
}

/* All but one have as much as they may have. */
static void members_that_acknowledge_nothing_cost_the_others_nothing(void **state)
{
    struct stage *stage = with_stream(state);
    stage_hello(stage, 'a', (struct mps_hello){.id = mps_text("a")});
    stage_hello(stage, 'b', (struct mps_hello){.id = mps_text("b")});
    for (uint32_t sid = 1; sid < MEMBERS; sid++) stage_sub(stage, 'b', sid, "d/#", member_of("g", 1));
    stage_sub(stage, 'a', 1, "d/#", member_of("g", 1));
    publish(stage, MEMBERS, "x");
    uint64_t work = stage->broker->work, next = 0;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(ack_all(stage, &next), 1);
        publish(stage, 1, "y");
    }
    assert_in_range(stage->broker->work - work, 1000, 1000 * 100);
}

/* What needs no acknowledgement still goes to all of them by turns. */
static void members_that_acknowledge_nothing_get_what_is_in_no_stream(void **state)
{
    struct stage *stage = with_stream(state);
    stage_hello(stage, 'a', (struct mps_hello){.id = mps_text("a")});
    for (uint32_t sid = 1; sid <= 3; sid++) stage_sub(stage, 'a', sid, "+/a", member_of("g", 1));
    publish(stage, 4, "x"); /* one waits */
    stage_words(stage, 'a');
    for (int i = 0; i < 4; i++) stage_msg(stage, 'p', "t/a", "y");
    stage_expect(stage, 'a', "for 1 | t/a=y | for 2 | t/a=y | for 3 | t/a=y | for 1 | t/a=y");
    ack_one(stage, 1);
    stage_expect(stage, 'a', "for 1 at 64-4 | d/a=x");
}

/* The only member asks for more. */
static void a_member_may_have_more_than_it_had(void **state)
{
    struct stage *stage = with_stream(state);
    stage_hello(stage, 'a', (struct mps_hello){.id = mps_text("a")});
    stage_sub(stage, 'a', 1, "d/#", member_of("g", 1));
    publish(stage, 4, "x");
    stage_words(stage, 'a');
    stage_sub(stage, 'a', 1, "d/#", member_of("g", 3));
    stage_expect(stage, 'a', "suback 1 | mark 1 1 | d/a=x | d/a=x");
}

/* ---- large records ------------------------------------------------------------------------------------------ */

#define HOLES 8000u

static uint64_t cursor_bytes; /* of records of places, written by now */
static void (*commit_to)(struct store *store, const struct store_batch *batch);

static void counting_commit(struct store *store, const struct store_batch *batch)
{
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct store_change *change = &batch->changes[i];
        if (change->what == STORE_PUT && change->kind == RECORD_CURSOR) cursor_bytes += change->value.len;
    }
    commit_to(store, batch);
}

static void subscribe_durably(struct stage *stage)
{
    stage_hello(stage, 'a', (struct mps_hello){.id = mps_text("a"), .sess_s = 3600});
    stage_sub(stage, 'a', 1, "d/#",
              (struct mps_sub_options){.given = MPS_SUB_ACK | MPS_SUB_FROM | MPS_SUB_DURABLE | MPS_SUB_INFLIGHT,
                                       .ack = MPS_ACK_EACH,
                                       .from = {.kind = MPS_FROM_ALL},
                                       .durable = true,
                                       .inflight = 3 * HOLES});
}

/* Every second message of many is acknowledged. */
static struct stage *with_holes(void **state)
{
    struct stage *stage = with_stream(state);
    subscribe_durably(stage);
    publish(stage, 2 * HOLES, "x");
    for (uint64_t seq = 1; seq <= 2 * HOLES; seq += 2) ack_one(stage, seq);
    stage_pass(stage, 2000);
    mps_view frame;
    while (stage_take(stage, 'a', &frame) >= 0) continue;
    commit_to = stage->gate.store.commit;
    stage->gate.store.commit = counting_commit;
    cursor_bytes = 0;
    return stage;
}

/* What comes again, after the broker did. */
static uint32_t count_again(struct stage *stage)
{
    uint32_t count = 0;
    mps_view frame;
    stage_start_stored(stage, "d/#");
    subscribe_durably(stage);
    for (int op; (op = stage_take(stage, 'a', &frame)) >= 0;) count += op == MPS_OP_MSG;
    return count;
}

static void a_large_record_is_not_written_with_every_commit(void **state)
{
    struct stage *stage = with_holes(state);
    for (uint32_t i = 1; i <= 1000; i++) {
        ack_one(stage, 2 * i);
        publish(stage, 1, "y");
        stage_pass(stage, 1);
    }
    assert_in_range(cursor_bytes, HOLES, 2u * 1024 * 1024);
    stage_pass(stage, 1100); /* all of it is written by now */
    stage_crash(stage, false);
    assert_int_equal(count_again(stage), HOLES);
}

static void a_large_record_is_written_when_the_broker_stops(void **state)
{
    struct stage *stage = with_holes(state);
    for (uint32_t i = 1; i <= 100; i++) ack_one(stage, 2 * i);
    stage_stop(stage);
    assert_in_range(cursor_bytes, HOLES, 1024 * 1024);
    assert_int_equal(count_again(stage), HOLES - 100);
}

/* ---- MARK 2 ------------------------------------------------------------------------------------------------- */

#define ALL                                                    \
    (struct mps_sub_options)                                   \
    {                                                          \
        .given = MPS_SUB_FROM, .from = {.kind = MPS_FROM_ALL } \
    }

static struct stage *with_held_commits(void **state)
{
    struct stage *stage = with_stream(state);
    stage_hello(stage, 'a', (struct mps_hello){.id = mps_text("a")});
    stage_pass(stage, 100);
    stage_words(stage, 'a');
    memory_store_hold(stage->gate.inner, true, false);
    return stage;
}

static void finish_commit(struct stage *stage)
{
    assert_true(memory_store_finish_commit(stage->gate.inner));
    stage_settle(stage);
}

static void fail_commit(struct stage *stage)
{
    memory_store_fail_commits(stage->gate.inner, STORE_FULL, 1);
    finish_commit(stage);
    stage_pass(stage, 200); /* the next one begins */
}

/* What a publisher had published before somebody subscribed is part of the history, stored or not. */
static void who_is_caught_up_has_what_was_accepted_before(void **state)
{
    struct stage *stage = with_held_commits(state);
    publish(stage, 1, "running");
    publish(stage, 1, "gathers");
    stage_sub(stage, 'a', 1, "d/#", ALL);
    publish(stage, 1, "later");
    stage_expect(stage, 'a', "suback 1 | mark 1 1");
    finish_commit(stage);
    stage_expect(stage, 'a', "for 1 flags 2 at 64-1 | d/a=running");
    stage_ping(stage, 'a');
    stage_expect(stage, 'a', "pong");
    publish(stage, 1, "much later");
    finish_commit(stage);
    stage_expect(stage, 'a', "d/a=gathers | for 1 at 64-3 | d/a=later | mark 1 2");
    memory_store_hold(stage->gate.inner, false, false);
    finish_commit(stage);
    stage_expect(stage, 'a', "d/a=much later");
}

/* All that was asked for is there; another SUB asks anew. */
static void the_mark_of_a_later_sub_waits_for_more(void **state)
{
    struct stage *stage = with_held_commits(state);
    stage_sub(stage, 'a', 1, "d/#", ALL);
    stage_expect(stage, 'a', "suback 1 | mark 1 1 | mark 1 2");
    publish(stage, 1, "x");
    stage_sub(stage, 'a', 1, "d/#", ALL);
    stage_expect(stage, 'a', "suback 1 | mark 1 1");
    memory_store_hold(stage->gate.inner, false, false);
    finish_commit(stage);
    stage_expect(stage, 'a', "for 1 at 64-1 | d/a=x | mark 1 2");
}

/* What is refused takes no position: those behind it go down, and what the reader waits for with them. */
static void who_waits_for_the_mark_goes_down_with_positions_that_are_given_back(void **state)
{
    struct stage *stage = with_held_commits(state);
    stage_pub(stage, 'p', 1, 2);
    publish(stage, 1, "refused");
    publish(stage, 3, "kept"); /* with another commit */
    stage_sub(stage, 'a', 1, "d/#", ALL);
    publish(stage, 1, "later");
    stage_expect(stage, 'a', "suback 1 | mark 1 1");
    memory_store_fail_commits(stage->gate.inner, STORE_FULL, 1);
    memory_store_finish_commit(stage->gate.inner);
    stage_pass(stage, 200);
    stage_expect(stage, 'a', "");
    memory_store_hold(stage->gate.inner, false, false);
    finish_commit(stage);
    stage_expect(stage, 'a',
                 "for 1 flags 2 at 64-1 | d/a=kept | d/a=kept | d/a=kept | for 1 at 64-4 | d/a=later | mark 1 2");
}

/* Nobody waits for what will never be stored, be it in the commit under way or in the next one. */
static void who_waits_for_the_mark_does_not_wait_for_what_is_lost(void **state)
{
    struct stage *stage = with_held_commits(state);
    publish(stage, 2, "lost");
    publish(stage, 1, "lost, too");
    stage_sub(stage, 'a', 1, "d/#", ALL);
    stage_expect(stage, 'a', "suback 1 | mark 1 1");
    fail_commit(stage);
    stage_expect(stage, 'a', "");
    fail_commit(stage);
    stage_expect(stage, 'a', "mark 1 2");
    stage_sub(stage, 'a', 1, "d/#", ALL); /* holes behind all that is stored, and nothing that waits */
    stage_expect(stage, 'a', "suback 1 | mark 1 1 | mark 1 2");
    memory_store_hold(stage->gate.inner, false, false);
    publish(stage, 1, "stored");
    stage_expect(stage, 'a', "gap 1 x3 reason 12 at 64-1..3 | for 1 at 64-4 | d/a=stored");
}

static void a_groups_member_is_caught_up_when_what_was_accepted_is_handed_out(void **state)
{
    struct stage *stage = with_held_commits(state);
    struct mps_sub_options options = {
        .given = MPS_SUB_FROM | MPS_SUB_GROUP, .from = {.kind = MPS_FROM_ALL}, .group = mps_text("g")};
    publish(stage, 1, "lost");
    publish(stage, 1, "x");
    stage_sub(stage, 'a', 1, "d/#", options);
    fail_commit(stage);
    stage_expect(stage, 'a', "suback 1 | mark 1 1");
    memory_store_hold(stage->gate.inner, false, false);
    finish_commit(stage);
    stage_expect(stage, 'a', "gap 1 x1 reason 12 at 64-1..1 | for 1 flags 2 at 64-2 | d/a=x | mark 1 2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_done_with_behind_an_open_message_takes_no_memory, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(a_link_that_is_full_keeps_nothing_of_streams, stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(answers_of_level_1_behind_the_disk_count_as_unanswered, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(a_retained_value_that_expires_is_no_record, stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(a_retained_value_of_a_stream_that_was_is_no_record_when_it_changes,
                                        stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(changes_of_one_record_wait_as_one, stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(a_publishers_record_goes_although_the_disk_fails, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(a_groups_place_is_not_behind_what_is_stored, stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(what_retention_removed_meanwhile_is_not_damaged, stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(a_dead_letter_that_finds_no_room_is_said, stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(a_will_that_finds_no_room_is_said, stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(what_is_damaged_counts_once, stage_set_up, stage_tear_down),
        cmocka_unit_test(damage_counts_each_position_once),
        cmocka_unit_test_setup_teardown(members_that_acknowledge_nothing_cost_the_others_nothing, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(members_that_acknowledge_nothing_get_what_is_in_no_stream, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(a_member_may_have_more_than_it_had, stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(a_large_record_is_not_written_with_every_commit, stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(a_large_record_is_written_when_the_broker_stops, stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(who_is_caught_up_has_what_was_accepted_before, stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(the_mark_of_a_later_sub_waits_for_more, stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(who_waits_for_the_mark_goes_down_with_positions_that_are_given_back,
                                        stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(who_waits_for_the_mark_does_not_wait_for_what_is_lost, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(a_groups_member_is_caught_up_when_what_was_accepted_is_handed_out, stage_set_up,
                                        stage_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
