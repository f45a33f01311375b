/* Traces where there are several brokers: they tell to which other ones a message went, and from which one it came. */
#include <stdio.h>
#include <string.h>

#include "cluster_rig.h"
#include "value.h"

#define TOLD "told" /* the topic that 't', who traces, is told at */

static mps_view field(mps_view map, const char *key)
{
    return mps_document_find(map, key, strlen(key));
}

/* Puts the text behind a blank; '-': it is not there, or nil. */
static void add_text(char *words, size_t cap, mps_view map, const char *key)
{
    struct mps_head head;
    mps_view raw = field(map, key);
    size_t used = strlen(words);
    bool is_text = raw.ptr != NULL && mps_head_read(raw.ptr, raw.len, &head) == 1 && head.type == MPS_STR;
    if (is_text) snprintf(words + used, cap - used, " %.*s", (int)head.count, (const char *)raw.ptr + head.head_len);
    else snprintf(words + used, cap - used, " -");
}

static void add_event(char *words, size_t cap, mps_view event)
{
    char path[32];
    mps_view step;
    add_text(words, cap, event, "event");
    if (field(event, "topic").ptr != NULL) {
        add_text(words, cap, event, "client");
        add_text(words, cap, event, "broker");
    }
    for (int i = 0; snprintf(path, sizeof path, "steps[%d]", i), (step = field(event, path)).ptr != NULL; i++) {
        add_text(words, cap, step, "step");
        if (field(step, "broker").ptr != NULL) add_text(words, cap, step, "broker");
    }
    strncat(words, ";", cap - strlen(words) - 1);
}

/* What 't' was told at this broker since it was asked last. */
static const char *told_at(struct rig *rig, int number)
{
    static char words[2000];
    mps_view frame;
    words[0] = '\0';
    for (int op; (op = stage_take(rig->at[number], 't', &frame)) >= 0;) {
        struct mps_msg msg;
        const char *what;
        if (op != MPS_OP_MSG) continue;
        assert_int_equal(mps_decode_msg(frame, &msg, &what), MPS_OK);
        add_event(words, sizeof words, msg.payload);
    }
    return words[0] == ' ' ? words + 1 : words;
}
#define expect_told(rig, number, expected) assert_string_equal(told_at(rig, number), expected)

static void trace(struct rig *rig, int number, const char *pattern)
{
    struct stage *stage = rig->at[number];
    uint8_t room[512], props_room[64], payload_room[128];
    struct mps_out props = mps_out_open(props_room, sizeof props_room), out = mps_out_open(room, sizeof room);
    struct mps_out payload = mps_out_open(payload_room, sizeof payload_room);
    stage->peer.is_own = true;
    rig_client(rig, number, 't');
    stage->peer.is_own = false;
    rig_sub(rig, number, 't', 9, TOLD);
    mps_put_map(&props, 1);
    mps_put_uint(&props, MPS_PROP_REPLY_TO);
    mps_put_text(&props, mps_text(TOLD));
    mps_put_map(&payload, 1);
    mps_put_text(&payload, mps_text("pattern"));
    mps_put_text(&payload, mps_text(pattern));
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text("$SYS/request/trace"),
                                           .props = mps_out_view(&props),
                                           .payload = mps_out_view(&payload)});
    stage_send(stage, 't', &out);
    rig_run(rig);
    expect_told(rig, number, "armed;");
}

/* Three, with a publisher `p` at the first one. */
static struct rig *three(void **state)
{
    struct rig *rig = *state;
    rig_start_all(rig, 3);
    rig_client(rig, 0, 'p');
    rig_client(rig, 1, 's');
    rig_client(rig, 2, 's');
    return rig;
}

static void test_tells_where_it_goes(void **state)
{
    struct rig *rig = three(state);
    rig_sub(rig, 1, 's', 1, "a/#");
    trace(rig, 0, "a/b");
    rig_msg(rig, 0, 'p', "a/b", "x");
    expect_told(rig, 0, "message p -; steps relayed two; done; end;");
    rig_expect(rig, 1, 's', "for 1 | a/b=x");
}

static void test_to_each_of_them_once(void **state)
{
    struct rig *rig = three(state);
    rig_sub(rig, 1, 's', 1, "a/#");
    rig_sub(rig, 1, 's', 2, "a/b");
    rig_sub(rig, 2, 's', 1, "a/b");
    rig_client(rig, 0, 's');
    rig_sub(rig, 0, 's', 1, "a/b");
    trace(rig, 0, "a/b");
    rig_msg(rig, 0, 'p', "a/b", "x");
    expect_told(rig, 0, "message p -; steps queued; steps relayed two relayed three sent; done; end;");
}

static void test_tells_nothing_where_nobody_wants_it(void **state)
{
    struct rig *rig = three(state);
    rig_sub(rig, 1, 's', 1, "b/#");
    trace(rig, 0, "a/b");
    rig_msg(rig, 0, 'p', "b/b", "x");
    rig_msg(rig, 0, 'p', "a/b", "x");
    expect_told(rig, 0, "message p -; done; end;");
}

static void test_tells_where_it_comes_from(void **state)
{
    struct rig *rig = three(state);
    rig_sub(rig, 1, 's', 1, "a/b");
    trace(rig, 1, "a/b");
    rig_msg(rig, 0, 'p', "a/b", "x");
    expect_told(rig, 1, "message - one; steps queued; steps sent; done; end;");
}

static void test_a_group_elsewhere(void **state)
{
    struct rig *rig = three(state);
    struct mps_sub_options of_group = {.given = MPS_SUB_GROUP, .group = mps_text("g")};
    stage_sub(rig->at[2], 's', 1, "a/b", of_group);
    rig_run(rig);
    stage_words(rig->at[2], 's');
    trace(rig, 0, "a/b");
    rig_msg(rig, 0, 'p', "a/b", "x");
    expect_told(rig, 0, "message p -; steps relayed three; done; end;");
    rig_expect(rig, 2, 's', "for 1 | a/b=x");
}

static void test_what_can_not_be_sent(void **state)
{
    static uint8_t room[8192], payload[5000];
    struct mps_out out = mps_out_open(room, sizeof room);
    struct rig *rig = three(state);
    rig_sub(rig, 1, 's', 1, "a/b");
    memory_bus_datagram_max(rig->bus, "one", 4096);
    rig_pass(rig, 1000); /* it polls */
    trace(rig, 0, "a/b");
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text("a/b"), .payload = {payload, sizeof payload}});
    stage_send(rig->at[0], 'p', &out);
    rig_run(rig);
    expect_told(rig, 0, "message p -; steps unrelayed two; done; end;");
}

/* For some seconds it isn't known yet that the others are not heard. */
static void test_while_the_cluster_is_away(void **state)
{
    struct rig *rig = three(state);
    rig_sub(rig, 1, 's', 1, "a/b");
    memory_bus_away(rig->bus, "one", true, true);
    trace(rig, 0, "a/b");
    rig_msg(rig, 0, 'p', "a/b", "x");
    expect_told(rig, 0, "message p -; steps unrelayed two; done; end;");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_set_up, rig_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_tells_where_it_goes),
        TEST(test_to_each_of_them_once),
        TEST(test_tells_nothing_where_nobody_wants_it),
        TEST(test_tells_where_it_comes_from),
        TEST(test_a_group_elsewhere),
        TEST(test_what_can_not_be_sent),
        TEST(test_while_the_cluster_is_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
