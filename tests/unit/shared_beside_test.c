/* Streams that all brokers share, beside all else that a broker does: groups, streams of its own, wills, times to live,
 * traces, filters, retained values. */
#include "sea_rig.h"

#include <string.h>

static void a_group_shares_it_among_its_members(void **state)
{
    struct sea *sea = sea_two(state);
    struct mps_sub_options group = sea_acked;
    group.given |= MPS_SUB_GROUP;
    group.group = mps_text("g");
    sea_hello(sea, 1, 's', (struct mps_hello){0});
    sea_subscribe(sea, 1, 'r', "o/#", group);
    sea_subscribe(sea, 1, 's', "o/#", group);
    sea_words(sea, 1, 'r');
    sea_words(sea, 1, 's');
    for (int i = 0; i < 4; i++) sea_publish(sea, 0, 'p', "o/1", "x");
    int at_r = 0, at_s = 0;
    for (const char *p = sea_words(sea, 1, 'r'); (p = strstr(p, "o/1=x")) != NULL; p++) at_r++;
    for (const char *p = sea_words(sea, 1, 's'); (p = strstr(p, "o/1=x")) != NULL; p++) at_s++;
    assert_int_equal(at_r, 2);
    assert_int_equal(at_s, 2);
}

static void a_reader_of_two_streams_of_which_one_is_the_brokers_own(void **state)
{
    struct sea *sea = *state;
    sea_start_stored(sea, 0);
    sea_hello(sea, 0, 'p', (struct mps_hello){0});
    sea_hello(sea, 0, 'r', (struct mps_hello){0});
    stage_pub(sea->at[0], 'p', 1, 2);
    sea_publish(sea, 0, 'p', "own/1", "a");
    sea_publish(sea, 0, 'p', "o/1", "b");
    sea_publish(sea, 0, 'p', "own/1", "c");
    sea_expect(sea, 0, 'p', "ok 1 nobody | ok 2 nobody | ok 3 nobody");
    memory_bus_away(sea->bus, NULL, false, true);
    sea_flow(sea);
    sea_subscribe(sea, 0, 'r', "#", sea_from_all);
    const char *came = sea_words(sea, 0, 'r');
    assert_non_null(strstr(came, "for 1 flags 2 at 64-1 | own/1=a"));
    assert_non_null(strstr(came, "own/1=c"));
    sea_publish(sea, 0, 'p', "own/1", "d"); /* goes on */
    sea_expect(sea, 0, 'p', "ok 4");
    memory_bus_away(sea->bus, NULL, false, false);
    sea_pass(sea, 2000);
    sea_publish(sea, 0, 'p', "o/1", "e");
    assert_non_null(strstr(sea_words(sea, 0, 'r'), "o/1=e"));
}

static void wills_go_there_too(void **state)
{
    struct sea *sea = sea_two(state);
    uint8_t room[64];
    struct mps_out will = mps_out_open(room, sizeof room);
    mps_put_array(&will, 4);
    mps_put_text(&will, mps_text("o/will"));
    mps_put_bin(&will, mps_text("gone"));
    mps_put_uint(&will, 0);
    mps_put_uint(&will, 0);
    sea_hello(sea, 0, 'w', (struct mps_hello){.will = mps_out_view(&will)});
    sea_subscribe(sea, 1, 'r', "o/#", sea_from_all);
    sea_words(sea, 1, 'r');
    stage_cut(sea->at[0], 'w');
    sea_flow(sea);
    sea_expect(sea, 1, 'r', "for 1 at S-1 | o/will=gone");
}

static void a_ttl_goes_on_in_the_stream(void **state)
{
    struct sea *sea = sea_two(state);
    uint8_t room[64], props_room[16];
    struct mps_out out = mps_out_open(room, sizeof room), props = mps_out_open(props_room, sizeof props_room);
    mps_put_map(&props, 1);
    mps_put_uint(&props, MPS_PROP_TTL_MS);
    mps_put_uint(&props, 5000);
    mps_encode_msg(&out, &(struct mps_msg){mps_text("o/1"), mps_out_view(&props), mps_text("x")});
    stage_send(sea->at[0], 'p', &out);
    sea_flow(sea);
    sea_pass(sea, 4000);
    sea_subscribe(sea, 1, 'r', "o/#", sea_from_all);
    sea_expect(sea, 1, 'r', "suback 1 | mark 1 1 | for 1 flags 2 at S-1 | o/1=x | mark 1 2");
    sea_pass(sea, 2000);
    sea_hello(sea, 0, 'r', (struct mps_hello){0});
    sea_subscribe(sea, 0, 'r', "o/#", sea_from_all);
    sea_expect(sea, 0, 'r', "suback 1 | mark 1 1 | gap 1 x1 reason 4 at S-1..1 | mark 1 2");
}

/* Asks the broker for something, whose answer goes to 'told'. */
static void request(struct sea *sea, char link, const char *topic, const struct mps_out *payload)
{
    uint8_t room[256], props_room[32];
    struct mps_out out = mps_out_open(room, sizeof room), props = mps_out_open(props_room, sizeof props_room);
    mps_put_map(&props, 1);
    mps_put_uint(&props, MPS_PROP_REPLY_TO);
    mps_put_text(&props, mps_text("told"));
    mps_encode_msg(&out, &(struct mps_msg){mps_text(topic), mps_out_view(&props), mps_out_view(payload)});
    stage_send(sea->at[0], link, &out);
}

/* An operator, who is told. */
static void begin_to_ask(struct sea *sea, char link)
{
    sea->at[0]->peer.is_own = true;
    sea_hello(sea, 0, link, (struct mps_hello){0});
    sea->at[0]->peer.is_own = false;
    sea_subscribe(sea, 0, link, "told", (struct mps_sub_options){0});
    sea_words(sea, 0, link);
}

/* Whether a text stands in what came. It takes all of it. */
static bool was_told(struct sea *sea, char link, const char *text, size_t len)
{
    mps_view frame;
    bool is_there = false;
    while (stage_take(sea->at[0], link, &frame) >= 0)
        if (memmem(frame.ptr, frame.len, text, len) != NULL) is_there = true;
    return is_there;
}

static void a_trace_knows_the_position_once_it_is_stored(void **state)
{
    struct sea *sea = sea_two(state);
    uint8_t room[64];
    struct mps_out payload = mps_out_open(room, sizeof room);
    sea_subscribe(sea, 0, 'p', "o/#", sea_from_all);
    begin_to_ask(sea, 't');
    mps_put_map(&payload, 1);
    mps_put_text(&payload, mps_text("pattern"));
    mps_put_text(&payload, mps_text("o/#"));
    for (int i = 0; i < 3; i++) sea_publish(sea, 1, 'r', "o/1", "x"); /* the same bytes */
    request(sea, 't', "$SYS/request/trace", &payload);
    memory_bus_faults(sea->bus)->tail_ms = 500;
    sea_publish(sea, 0, 'p', "o/1", "x");
    static const char unknown[] = "\xa3seq\xc0", stored[] = "\xa6stored", known[] = "\xa3seq\x04";
    assert_true(was_told(sea, 't', unknown, sizeof unknown - 1));
    sea_pass(sea, 500);
    mps_view frame;
    bool is_stored = false, is_known = false, is_sent = false;
    while (stage_take(sea->at[0], 't', &frame) >= 0) {
        is_stored |= memmem(frame.ptr, frame.len, stored, sizeof stored - 1) != NULL;
        is_known |= memmem(frame.ptr, frame.len, known, sizeof known - 1) != NULL;
        is_sent |= memmem(frame.ptr, frame.len, "sent", 4) != NULL;
    }
    assert_true(is_stored && is_known && is_sent);
    memory_bus_away(sea->bus, NULL, false, true);
    sea_flow(sea);
    request(sea, 't', "$SYS/request/trace", &payload);
    stage_pub(sea->at[0], 'p', 1, 2);
    sea_publish(sea, 0, 'p', "o/1", "y");
    sea_pass(sea, SEA_DEFER_MS + 1000);
    assert_true(was_told(sea, 't', "unstored", 8));
}

static void operators_see_it_and_cant_remove_what_all_share(void **state)
{
    struct sea *sea = sea_two(state);
    uint8_t room[64];
    struct mps_out payload = mps_out_open(room, sizeof room), nothing = mps_out_open(room, 0);
    begin_to_ask(sea, 'o');
    sea_publish(sea, 1, 'r', "o/1", "x");
    sea_pass(sea, 2000);
    request(sea, 'o', "$SYS/request/report", &nothing);
    static const char figures[] = "\xa8replicas\x03\xa7"
                                  "current\x03\xa5there\xc3",
                      next[] = "\xa4next\x02\xa8messages\x01";
    stage_settle(sea->at[0]);
    mps_view frame;
    bool has_figures = false, has_next = false;
    while (stage_take(sea->at[0], 'o', &frame) >= 0) {
        has_figures |= memmem(frame.ptr, frame.len, figures, sizeof figures - 1) != NULL;
        has_next |= memmem(frame.ptr, frame.len, next, sizeof next - 1) != NULL;
    }
    assert_true(has_figures && has_next);
    mps_put_map(&payload, 1);
    mps_put_text(&payload, mps_text("stream"));
    mps_put_text(&payload, mps_text("orders"));
    request(sea, 'o', "$SYS/request/stream/remove", &payload);
    static const char refused[] = "is kept by NATS JetStream for all brokers";
    assert_true(was_told(sea, 'o', refused, sizeof refused - 1));
    assert_int_equal(memory_bus_first(sea->bus, sea_number()), 1);
}

/* A route on which messages are looked at one by one. */
static void it_goes_on_beside_a_filter(void **state)
{
    struct sea *sea = sea_two(state);
    sea_hello(sea, 0, 'f', (struct mps_hello){0});
    sea_subscribe(sea, 0, 'f', "o/#",
                  (struct mps_sub_options){.given = MPS_SUB_FILTER, .filter = mps_text("temp > 30")});
    sea_expect(sea, 0, 'f', "suback 1 | mark 1 1");
    stage_pub(sea->at[0], 'p', 1, 2);
    for (int i = 0; i < 4; i++) stage_write_msg(sea->at[0], 'p', i < 2 ? "o/1" : "o/2", "x");
    sea_flow(sea);
    sea_expect(sea, 0, 'p', "ok 4 nobody");
    assert_int_equal(memory_bus_next_position(sea->bus, sea_number()), 5);
    memory_bus_away(sea->bus, NULL, false, true);
    sea_flow(sea);
    char text[1000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (int i = 0; i < 5; i++) sea_publish(sea, 0, 'p', "o/1", text);
    sea_expect(sea, 0, 'p', "");
    sea_pass(sea, SEA_DEFER_MS + 1000);
    sea_expect(sea, 0, 'p', "refused 5 216 | refused 6 216 | refused 7 216 | refused 8 216 | refused 9 216");
}

static void publish_retained(struct sea *sea, const char *text)
{
    uint8_t room[2048];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_pub(&out, &(struct mps_pub){0, MPS_PUB_RETAIN});
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text("o/1"), .payload = mps_text(text)});
    stage_send(sea->at[0], 'p', &out);
    sea_flow(sea);
}

/* What is refused is not retained, either; and what could not be retained is not stored. */
static void a_value_is_retained_with_its_message_or_not_at_all(void **state)
{
    struct sea *sea = *state;
    sea->at[0]->limits.max_retained_count = 1;
    sea_two(state);
    char text[1000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (int picky = 0; picky < 2; picky++) {
        sea_hello(sea, 0, 's', (struct mps_hello){0});
        if (picky)
            sea_subscribe(sea, 0, 's', "o/#", (struct mps_sub_options){.given = MPS_SUB_NO_LOCAL, .no_local = true});
        publish_retained(sea, "first");
        memory_bus_away(sea->bus, NULL, false, true);
        sea_flow(sea);
        for (int i = 0; i < 5; i++) publish_retained(sea, text);
        assert_non_null(strstr(sea_words(sea, 0, 'p'), "err 216"));
        uint64_t next = memory_bus_next_position(sea->bus, sea_number());
        memory_bus_away(sea->bus, NULL, false, false);
        sea_pass(sea, 3000);
        assert_int_equal(memory_bus_next_position(sea->bus, sea_number()), next + 4);
        stage_cut(sea->at[0], 's');
    }
    uint8_t room[64];
    uint64_t next = memory_bus_next_position(sea->bus, sea_number());
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text("o/2"), .payload = mps_text("one too many")});
    stage_send(sea->at[0], 'p', &out);
    sea_flow(sea);
    sea_expect(sea, 0, 'p', "err 214");
    assert_int_equal(memory_bus_next_position(sea->bus, sea_number()), next);
}

static void what_is_not_settled_when_the_broker_leaves_is_refused(void **state)
{
    struct sea *sea = sea_two(state);
    memory_bus_away(sea->bus, NULL, false, true);
    sea_flow(sea);
    stage_pub(sea->at[0], 'p', 1, 3);
    sea_publish(sea, 0, 'p', "o/1", "x");
    broker_leave(sea->at[0]->broker);
    stage_settle(sea->at[0]);
    stage_msg(sea->at[0], 'p', "o/1", "x");
    sea_expect(sea, 0, 'p', "refused 1 216 | refused 2 216");
}

static void two_names_with_one_number_are_an_error(void **state)
{
    struct sea *sea = *state;
    char text[STORE_TEXT_MAX];
    sea->streams[0].name = "stream-15512";
    sea->streams[1] = sea->streams[0];
    sea->streams[1].name = "stream-33955";
    assert_int_equal(stream_shared_number("stream-15512"), stream_shared_number("stream-33955"));
    stage_start(sea->at[0]);
    assert_int_equal(broker_open_store(sea->at[0]->broker, NULL, sea->streams, 2, text, sizeof text), -1);
    assert_string_equal(text, "the shared streams 'stream-15512' and 'stream-33955' would both have the number "
                              "1813018361: rename one of them");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, sea_set_up, sea_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_group_shares_it_among_its_members),
        TEST(a_reader_of_two_streams_of_which_one_is_the_brokers_own),
        TEST(wills_go_there_too),
        TEST(a_ttl_goes_on_in_the_stream),
        TEST(a_trace_knows_the_position_once_it_is_stored),
        TEST(operators_see_it_and_cant_remove_what_all_share),
        TEST(it_goes_on_beside_a_filter),
        TEST(a_value_is_retained_with_its_message_or_not_at_all),
        TEST(what_is_not_settled_when_the_broker_leaves_is_refused),
        TEST(two_names_with_one_number_are_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
