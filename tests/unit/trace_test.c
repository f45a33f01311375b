/* Traces: what is told of messages, each fate that a copy may have, and that nothing else becomes of a message that is
 * followed. The clock of microseconds is the test's clock of milliseconds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "broker_stage.h"
#include "trace.h"
#include "value.h"

#define TOLD "told" /* the topic that 't', who traces, is told at */

static struct mps_hello client(const char *id)
{
    return (struct mps_hello){.id = mps_text(id)};
}

/* What is not zero is asked for. */
static void subscribe(struct stage *stage, char link, uint32_t sid, const char *pattern, struct mps_sub_options options)
{
    uint32_t given = 0;
    if (options.policy != 0) given |= MPS_SUB_POLICY;
    if (options.then != 0) given |= MPS_SUB_THEN;
    if (options.max_msgs > 0) given |= MPS_SUB_MAX_MSGS;
    if (options.block_ms > 0) given |= MPS_SUB_BLOCK_MS;
    if (options.group.ptr != NULL) given |= MPS_SUB_GROUP;
    if (options.filter.ptr != NULL) given |= MPS_SUB_FILTER;
    if (options.ack != 0) given |= MPS_SUB_ACK;
    if (options.no_local) given |= MPS_SUB_NO_LOCAL;
    options.given = given;
    stage_sub(stage, link, sid, pattern, options);
}

/* ---- asking ------------------------------------------------------------------------------------------------- */

static void ask_for(struct stage *stage, char link, const char *reply_to, const struct mps_out *payload)
{
    uint8_t room[1024], props_room[64];
    struct mps_out props = mps_out_open(props_room, sizeof props_room), out = mps_out_open(room, sizeof room);
    mps_put_map(&props, 1);
    mps_put_uint(&props, MPS_PROP_REPLY_TO);
    mps_put_text(&props, mps_text(reply_to));
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text("$SYS/request/trace"),
                                           .props = mps_out_view(&props),
                                           .payload = mps_out_view(payload)});
    stage_send(stage, link, &out);
}

static void ask_with(struct stage *stage, char link, const struct mps_out *payload)
{
    ask_for(stage, link, TOLD, payload);
}

static void ask_at(struct stage *stage, char link, const char *reply_to)
{
    struct mps_out nothing = mps_out_open(NULL, 0);
    ask_for(stage, link, reply_to, &nothing);
}

static void ask(struct stage *stage, char link, const char *pattern, uint64_t messages, uint64_t for_ms)
{
    uint8_t room[512];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_put_map(&out, 3);
    mps_put_text(&out, mps_text("pattern"));
    mps_put_text(&out, mps_text(pattern));
    mps_put_text(&out, mps_text("messages"));
    mps_put_uint(&out, messages);
    mps_put_text(&out, mps_text("for_ms"));
    mps_put_uint(&out, for_ms);
    ask_with(stage, link, &out);
}

static void tracer(struct stage *stage, char link)
{
    char id[] = {link, '\0'};
    stage->peer.is_own = true;
    stage_hello(stage, link, client(id));
    stage->peer.is_own = false;
    subscribe(stage, link, 9, TOLD, (struct mps_sub_options){0});
    stage_words(stage, link);
}

/* ---- what is told ------------------------------------------------------------------------------------------- */

struct told {
    char text[1024 * 1024];
    size_t len;
};

static mps_view field(mps_view map, const char *key)
{
    return mps_document_find(map, key, strlen(key));
}

__attribute__((format(printf, 2, 3))) static void add(struct told *told, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = vsnprintf(told->text + told->len, sizeof told->text - told->len, format, args);
    va_end(args);
    told->len += (size_t)len;
    assert_true(told->len < sizeof told->text);
}

/* Behind a blank, if it is there. */
static void add_field(struct told *told, mps_view map, const char *key)
{
    struct mps_head head;
    mps_view raw = field(map, key);
    if (raw.ptr == NULL || mps_head_read(raw.ptr, raw.len, &head) != 1) return;
    if (head.type == MPS_UINT) add(told, " %llu", (unsigned long long)head.number);
    else if (head.type == MPS_STR) add(told, " %.*s", (int)head.count, (const char *)raw.ptr + head.head_len);
    else if (head.type == MPS_NIL) add(told, " nil");
}

static void add_named(struct told *told, mps_view map, const char *key)
{
    if (field(map, key).ptr == NULL) return;
    add(told, " %s", key);
    add_field(told, map, key);
}

static void add_step(struct told *told, mps_view step)
{
    static const char *const keys[] = {"step", "copy",   "why",    "client", "group",
                                       "sid",  "reason", "stream", "seq",    "broker"};
    add(told, " |");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) add_field(told, step, keys[i]);
    add_named(told, step, "ahead");
    add_named(told, step, "waited_us");
}

static void add_event(struct told *told, mps_view event)
{
    static const char *const keys[] = {"error", "event", "number", "topic", "client", "code", "why"};
    char path[32];
    mps_view step;
    if (told->len > 0) add(told, " |");
    if (field(event, "steps").ptr != NULL) {
        if (told->len > 1) told->len -= 2;
        for (int i = 0; snprintf(path, sizeof path, "steps[%d]", i), (step = field(event, path)).ptr != NULL; i++)
            add_step(told, step);
        return;
    }
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) add_field(told, event, keys[i]);
    if (field(event, "matched").ptr == NULL) return;
    add_named(told, event, "matched");
    add_named(told, event, "sent");
    add_named(told, event, "lost");
    add_named(told, event, "ended");
    add_named(told, event, "not");
    add_named(told, event, "near");
    add_named(told, event, "others");
}

/* What the tracer was told since it was asked last, in words. */
static const char *told_to(struct stage *stage, char link)
{
    static struct told told;
    mps_view frame;
    told.len = 0;
    told.text[0] = '\0';
    for (int op; (op = stage_take(stage, link, &frame)) >= 0;) {
        struct mps_msg msg;
        const char *what;
        if (op != MPS_OP_MSG) continue;
        assert_int_equal(mps_decode_msg(frame, &msg, &what), MPS_OK);
        assert_null(mps_document_check(msg.payload, 0, 0));
        add_event(&told, msg.payload);
    }
    if (strncmp(told.text, " |", 2) == 0) return told.text + 3;
    return told.text + (told.text[0] == ' ');
}
#define expect_told(stage, expected) assert_string_equal(told_to(stage, 't'), expected)

static void assert_told(struct stage *stage, const char *part)
{
    const char *text = told_to(stage, 't');
    if (strstr(text, part) == NULL) fail_msg("'%s' is not in '%s'", part, text);
}

/* A broker with a publisher 'p', a subscriber 'a', and a trace of 't', the topic. */
static void begin(struct stage *stage, const char *topic, struct mps_sub_options options, bool reads)
{
    stage_hello(stage, 'p', client("p"));
    stage_hello(stage, 'a', client("a"));
    subscribe(stage, 'a', 1, topic, options);
    if (!reads) stage_room(stage, 'a', 0);
    tracer(stage, 't');
    ask(stage, 't', topic, 1, 60000);
    expect_told(stage, "armed");
}

/* ---- who gets it, and who doesn't --------------------------------------------------------------------------- */

static void test_who_gets_a_message_and_who_does_not_is_told(void **state)
{
    struct stage *stage = *state;
    stage_start(stage);
    stage_hello(stage, 'p', client("p"));
    stage_hello(stage, 'a', client("a"));
    subscribe(stage, 'a', 1, "site/+", (struct mps_sub_options){0});
    subscribe(stage, 'a', 2, "site/#", (struct mps_sub_options){.filter = mps_text("@topic == \"x\"")});
    subscribe(stage, 'a', 3, "Site/a", (struct mps_sub_options){0});
    subscribe(stage, 'a', 4, "other", (struct mps_sub_options){0});
    subscribe(stage, 'p', 1, "#", (struct mps_sub_options){.no_local = true});
    tracer(stage, 't');
    ask(stage, 't', "site/#", 1, 60000);
    stage_msg(stage, 'p', "site/a", "hello");
    expect_told(stage, "armed | message 1 site/a p | queued 1 a 1 ahead 0 | not no_local p 1 | not filter a 2 |"
                       " not pattern a 3 | sent 1 waited_us 0 |"
                       " done 1 matched 1 sent 1 lost 0 ended 0 not 2 near 1 others 2 | end messages");
    stage_msg(stage, 'p', "site/a", "again"); /* nobody follows it any more */
    expect_told(stage, "");
}

static void test_a_listener_whose_name_is_no_text_is_not_told(void **state)
{
    struct stage *stage = *state;
    stage->peer.listener = "unix:/tmp/\xff";
    stage_start(stage);
    begin(stage, "t", (struct mps_sub_options){0}, true);
    stage_msg(stage, 'p', "t", "x");
    mps_view frame, listener = {NULL, 0};
    while (stage_take(stage, 't', &frame) >= 0) {
        struct mps_msg msg;
        const char *what;
        if (listener.ptr == NULL && mps_decode_msg(frame, &msg, &what) == MPS_OK)
            listener = field(msg.payload, "listener");
    }
    assert_int_equal(listener.len, 1); /* nil */
}

static void test_a_filter_is_told_with_its_text(void **state)
{
    struct stage *stage = *state;
    mps_view frame;
    struct mps_msg msg = {0};
    const char *what;
    stage_start(stage);
    begin(stage, "t", (struct mps_sub_options){.filter = mps_text("temp > 30")}, true);
    stage_msg(stage, 'p', "t", "x");
    while (stage_take(stage, 't', &frame) >= 0) {
        if (mps_decode_msg(frame, &msg, &what) != MPS_OK) continue;
        mps_view filter = field(msg.payload, "steps[0].filter");
        if (filter.ptr == NULL) continue;
        assert_memory_equal(filter.ptr + 1, "temp > 30", 9);
        return;
    }
    fail_msg("no filter was told");
}

static struct access_group *group(struct access *access, const char *name, const char *publish, const char *subscribe)
{
    struct access_group *made = access_add_group(access, name);
    if (publish != NULL) access_add_text(&made->lists[ACCESS_PUBLISH], publish);
    if (subscribe != NULL) access_add_text(&made->lists[ACCESS_SUBSCRIBE], subscribe);
    return made;
}

static struct access *restricted(const char *subscribe)
{
    struct access *access = access_new();
    access->restricts = true;
    struct access_group *all = group(access, "all", "open/#", subscribe);
    access_add_text(&all->lists[ACCESS_PUBLISH], TOLD);
    access_add_text(&all->lists[ACCESS_SUBSCRIBE], TOLD);
    snprintf(access->default_group, sizeof access->default_group, "all");
    return access;
}

static void test_what_a_publisher_may_not_publish_is_told_as_refused(void **state)
{
    struct stage *stage = *state;
    stage->access = restricted("#");
    stage_start(stage);
    begin(stage, "secret", (struct mps_sub_options){0}, true);
    stage_msg(stage, 'p', "secret", "x");
    expect_told(stage, "message 1 secret p 211 | done 1 matched 0 sent 0 lost 0 ended 0 not 0 near 0 others 0 |"
                       " end messages");
}

static void test_who_may_not_receive_a_message_is_told_as_not_allowed(void **state)
{
    struct stage *stage = *state;
    stage->access = restricted("#");
    stage_start(stage);
    stage_hello(stage, 'p', client("p"));
    stage_hello(stage, 'a', client("a"));
    subscribe(stage, 'a', 1, "open/#", (struct mps_sub_options){0});
    tracer(stage, 't');
    broker_set_access(stage->broker, restricted("open/a"));
    stage_settle(stage);
    ask(stage, 't', "open/#", 2, 60000);
    stage_msg(stage, 'p', "open/b", "x");
    expect_told(stage, "armed | message 1 open/b p | not not_allowed a 1 |"
                       " done 1 matched 0 sent 0 lost 0 ended 0 not 1 near 0 others 1");
    stage_room(stage, 'a', 0);
    stage_msg(stage, 'p', "open/a", "x");
    broker_set_access(stage->broker, restricted("other"));
    stage_settle(stage);
    assert_told(stage, "lost 1 not_allowed_any_more waited_us 0 | done 2");
}

static void test_must_route_and_nobody_there_is_a_refusal(void **state)
{
    struct stage *stage = *state;
    uint8_t room[32];
    struct mps_out out = mps_out_open(room, sizeof room);
    stage_start(stage);
    stage_hello(stage, 'p', client("p"));
    tracer(stage, 't');
    ask(stage, 't', "t", 1, 60000);
    mps_encode_pub(&out, &(struct mps_pub){1, MPS_PUB_MUST_ROUTE | 1u << MPS_PUB_LEVEL_SHIFT});
    stage_send(stage, 'p', &out);
    stage_msg(stage, 'p', "t", "x");
    expect_told(stage, "armed | message 1 t p 217 | done 1 matched 0 sent 0 lost 0 ended 0 not 0 near 0 others 1 |"
                       " end messages");
}

/* ---- fates -------------------------------------------------------------------------------------------------- */

static void test_how_long_it_waited_is_told(void **state)
{
    struct stage *stage = *state;
    stage_start(stage);
    begin(stage, "t", (struct mps_sub_options){0}, false);
    stage_msg(stage, 'p', "t", "x");
    expect_told(stage, "message 1 t p | queued 1 a 1 ahead 0");
    stage_pass(stage, 1500);
    stage_room(stage, 'a', STAGE_ROOM);
    expect_told(stage, "sent 1 waited_us 1500000 | done 1 matched 1 sent 1 lost 0 ended 0 not 0 near 0 others 1 |"
                       " end messages");
}

static void test_what_is_behind_others_is_told_as_such(void **state)
{
    struct stage *stage = *state;
    stage_start(stage);
    stage_hello(stage, 'p', client("p"));
    stage_hello(stage, 'a', client("a"));
    subscribe(stage, 'a', 1, "x/#", (struct mps_sub_options){0});
    stage_room(stage, 'a', 0);
    for (int i = 0; i < 3; i++) stage_msg(stage, 'p', "x/before", "x");
    tracer(stage, 't');
    ask(stage, 't', "x/t", 1, 60000);
    stage_msg(stage, 'p', "x/t", "x");
    assert_told(stage, "queued 1 a 1 ahead 3");
    stage_room(stage, 'a', STAGE_ROOM);
}

static void lose(struct stage *stage, struct mps_sub_options options, const char *expected)
{
    options.max_msgs = 2;
    stage_start(stage);
    begin(stage, "t", options, false);
    stage_msg(stage, 'p', "t", "1");
    stage_pass(stage, 10);
    for (int i = 0; i < 3; i++) stage_msg(stage, 'p', "t", "more");
    assert_told(stage, expected);
}

static void test_the_oldest_that_went_is_lost(void **state)
{
    lose(*state, (struct mps_sub_options){.policy = MPS_POLICY_DROP_OLD}, "lost 1 drop_old waited_us 10000 | done");
}

static void test_what_was_superseded_is_lost(void **state)
{
    lose(*state, (struct mps_sub_options){.policy = MPS_POLICY_LATEST}, "lost 1 superseded waited_us 10000 | done");
}

static void test_what_is_thrown_away_with_a_slow_connection_is_told(void **state)
{
    lose(*state, (struct mps_sub_options){.policy = MPS_POLICY_CLOSE}, "ended 1 closed waited_us 10000 | done");
}

/* The queue is full when it comes. */
static void refuse(struct stage *stage, struct mps_sub_options options, const char *expected)
{
    options.max_msgs = 2;
    stage_start(stage);
    stage_hello(stage, 'p', client("p"));
    stage_hello(stage, 'a', client("a"));
    subscribe(stage, 'a', 1, "t", options);
    stage_room(stage, 'a', 0);
    for (int i = 0; i < 2; i++) stage_msg(stage, 'p', "t", "before");
    tracer(stage, 't');
    ask(stage, 't', "t", 1, 60000);
    stage_msg(stage, 'p', "t", "1");
    stage_pass(stage, 2000);
    assert_told(stage, expected);
}

static void test_what_a_full_queue_refuses_is_lost_at_once(void **state)
{
    refuse(*state, (struct mps_sub_options){.policy = MPS_POLICY_DROP_NEW},
           "queued 1 a 1 ahead 2 | lost 1 drop_new waited_us 0 | done 1 matched 1 sent 0 lost 1");
}

static void test_what_had_waited_for_too_long_is_lost(void **state)
{
    struct mps_sub_options options = {.policy = MPS_POLICY_BLOCK, .then = MPS_POLICY_DROP_NEW, .block_ms = 100};
    refuse(*state, options, "lost 1 blocked_too_long waited_us 0 | done");
}

static void test_what_expires_in_a_queue_is_lost(void **state)
{
    struct stage *stage = *state;
    uint8_t room[64], props_room[16];
    struct mps_out props = mps_out_open(props_room, sizeof props_room), out = mps_out_open(room, sizeof room);
    stage_start(stage);
    begin(stage, "t", (struct mps_sub_options){0}, false);
    mps_put_map(&props, 1);
    mps_put_uint(&props, MPS_PROP_TTL_MS);
    mps_put_uint(&props, 200);
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text("t"), .props = mps_out_view(&props)});
    stage_send(stage, 'p', &out);
    stage_pass(stage, 500);
    assert_told(stage, "lost 1 expired waited_us 200000 | done 1 matched 1 sent 0 lost 1");
}

static void test_what_its_reader_does_not_take_is_lost(void **state)
{
    struct stage *stage = *state;
    char text[200];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    stage_start(stage);
    stage_hello(stage, 'p', client("p"));
    stage_hello(stage, 'a', (struct mps_hello){.id = mps_text("a"), .rx_max = 100});
    subscribe(stage, 'a', 1, "t", (struct mps_sub_options){0});
    tracer(stage, 't');
    ask(stage, 't', "t", 1, 60000);
    stage_msg(stage, 'p', "t", text);
    assert_told(stage, "lost 1 too_large waited_us 0 | done");
}

static void test_what_is_queued_for_a_subscription_that_ends_is_told(void **state)
{
    struct stage *stage = *state;
    stage_start(stage);
    begin(stage, "t", (struct mps_sub_options){0}, false);
    stage_msg(stage, 'p', "t", "x");
    stage_unsub(stage, 'a', 1);
    assert_told(stage, "ended 1 unsubscribed waited_us 0 | done 1 matched 1 sent 0 lost 0 ended 1");
}

static void test_what_is_queued_for_a_connection_that_breaks_is_told(void **state)
{
    struct stage *stage = *state;
    stage_start(stage);
    begin(stage, "t", (struct mps_sub_options){0}, false);
    stage_msg(stage, 'p', "t", "x");
    stage_cut(stage, 'a');
    assert_told(stage, "ended 1 closed waited_us 0 | done");
}

static void test_a_client_that_is_away_is_told_of_and_may_come_back(void **state)
{
    struct stage *stage = *state;
    struct mps_hello hello = {.id = mps_text("a"), .sess_s = 60};
    stage_start(stage);
    stage_hello(stage, 'p', client("p"));
    stage_hello(stage, 'a', hello);
    subscribe(stage, 'a', 1, "t", (struct mps_sub_options){0});
    stage_cut(stage, 'a');
    tracer(stage, 't');
    ask(stage, 't', "t", 1, 60000);
    stage_msg(stage, 'p', "t", "x");
    expect_told(stage, "armed | message 1 t p | queued 1 a 1 ahead 0");
    stage_pass(stage, 2000);
    stage_hello(stage, 'a', hello);
    assert_told(stage, "sent 1 waited_us 2000000 | done");
}

static void test_the_oldest_of_a_client_that_is_away_is_lost(void **state)
{
    struct stage *stage = *state;
    stage_start(stage);
    stage_hello(stage, 'p', client("p"));
    stage_hello(stage, 'a', (struct mps_hello){.id = mps_text("a"), .sess_s = 5});
    subscribe(stage, 'a', 1, "t", (struct mps_sub_options){.max_msgs = 1});
    stage_cut(stage, 'a');
    tracer(stage, 't');
    ask(stage, 't', "t", 2, 60000);
    stage_msg(stage, 'p', "t", "1");
    stage_msg(stage, 'p', "t", "2");
    assert_told(stage, "lost 1 offline_limit waited_us 0 | done 1");
    stage_pass(stage, 6000);
    assert_told(stage, "ended 1 session_over waited_us 5000000 | done 2");
}

/* ---- groups ------------------------------------------------------------------------------------------------- */

static void join(struct stage *stage, char link)
{
    char id[] = {link, '\0'};
    stage_hello(stage, link, client(id));
    subscribe(stage, link, 1, "t", (struct mps_sub_options){.group = mps_text("g")});
}

static void test_which_member_of_a_group_gets_it_is_told(void **state)
{
    struct stage *stage = *state;
    stage_start(stage);
    stage_hello(stage, 'p', client("p"));
    join(stage, 'a');
    join(stage, 'b');
    tracer(stage, 't');
    ask(stage, 't', "t", 1, 60000);
    stage_msg(stage, 'p', "t", "x");
    expect_told(stage, "armed | message 1 t p | queued 1 g ahead 0 | given 1 a 1 waited_us 0 | sent 1 waited_us 0 |"
                       " done 1 matched 1 sent 1 lost 0 ended 0 not 0 near 0 others 1 | end messages");
}

static void test_what_a_member_could_not_be_written_goes_to_another_one(void **state)
{
    struct stage *stage = *state;
    stage_start(stage);
    stage_hello(stage, 'p', client("p"));
    join(stage, 'a');
    tracer(stage, 't');
    ask(stage, 't', "t", 1, 60000);
    stage_room(stage, 'a', 0);
    stage_msg(stage, 'p', "t", "x");
    expect_told(stage, "armed | message 1 t p | queued 1 g ahead 0 | given 1 a 1 waited_us 0 |"
                       " returned 1 a 1 waited_us 0");
    join(stage, 'b');
    assert_told(stage, "given 1 b 1 waited_us 0 | sent 1 waited_us 0 | done");
}

static void test_what_a_group_has_when_its_last_member_goes_is_told(void **state)
{
    struct stage *stage = *state;
    stage_start(stage);
    stage_hello(stage, 'p', client("p"));
    join(stage, 'a');
    tracer(stage, 't');
    ask(stage, 't', "t", 1, 60000);
    stage_room(stage, 'a', 0);
    stage_msg(stage, 'p', "t", "x");
    stage_cut(stage, 'a');
    assert_told(stage, "ended 1 no_members waited_us 0 | done 1 matched 1 sent 0 lost 0 ended 1");
}

static void test_what_the_last_member_takes_along_is_followed(void **state)
{
    struct stage *stage = *state;
    stage_start(stage);
    stage_hello(stage, 'p', client("p"));
    join(stage, 'a');
    tracer(stage, 't');
    ask(stage, 't', "t", 1, 60000);
    stage_room(stage, 'a', 0);
    stage_msg(stage, 'p', "t", "x");
    stage_bye(stage, 'a', 0);
    stage_room(stage, 'a', STAGE_ROOM);
    assert_told(stage, "sent 1 waited_us 0 | done 1 matched 1 sent 1");
}

/* ---- disks -------------------------------------------------------------------------------------------------- */

static void test_what_is_spilled_is_found_again(void **state)
{
    struct stage *stage = *state;
    stage_start(stage);
    stage_hello(stage, 'p', client("p"));
    stage_hello(stage, 'a', client("a"));
    subscribe(stage, 'a', 1, "t", (struct mps_sub_options){.policy = MPS_POLICY_SPILL, .max_msgs = 2});
    stage_room(stage, 'a', 0);
    for (int i = 0; i < 3; i++) stage_msg(stage, 'p', "t", "before");
    tracer(stage, 't');
    ask(stage, 't', "t", 1, 60000);
    stage_msg(stage, 'p', "t", "x");
    expect_told(stage, "armed | message 1 t p | queued 1 a 1 ahead 3 | spilled 1");
    stage_pass(stage, 50);
    stage_room(stage, 'a', STAGE_ROOM);
    expect_told(stage, "fetched 1 | sent 1 waited_us 50000 |"
                       " done 1 matched 1 sent 1 lost 0 ended 0 not 0 near 0 others 1 | end messages");
}

static void test_a_reader_is_followed_by_position(void **state)
{
    struct stage *stage = *state;
    stage_start_stored(stage, "d/#");
    stage_hello(stage, 'p', client("p"));
    stage_hello(stage, 'a', client("a"));
    subscribe(stage, 'a', 1, "d/#", (struct mps_sub_options){.ack = MPS_ACK_EACH});
    tracer(stage, 't');
    ask(stage, 't', "d/#", 1, 60000);
    stage_msg(stage, 'p', "d/1", "x");
    expect_told(stage, "armed | message 1 d/1 p | reads 1 a 1 | stored kept 1 | sent 1 waited_us 0 |"
                       " done 1 matched 1 sent 1 lost 0 ended 0 not 0 near 0 others 1 | end messages");
}

static void test_a_message_on_its_way_to_the_disk_is_not_done(void **state)
{
    struct stage *stage = *state;
    stage_start_stored(stage, "d/#");
    stage_hello(stage, 'p', client("p"));
    tracer(stage, 't');
    ask(stage, 't', "d/#", 1, 60000);
    memory_store_hold(stage->gate.inner, true, false);
    stage_msg(stage, 'p', "d/1", "x");
    expect_told(stage, "armed | message 1 d/1 p");
    memory_store_hold(stage->gate.inner, false, false);
    memory_store_finish_commit(stage->gate.inner);
    stage_settle(stage);
    assert_told(stage, "stored kept 1 | done 1 matched 0");
}

static void test_what_can_not_be_stored_is_told(void **state)
{
    struct stage *stage = *state;
    stage_start_stored(stage, "d/#");
    stage_hello(stage, 'p', client("p"));
    stage_hello(stage, 'a', client("a"));
    stage_sub(stage, 'a', 1, "d/#", (struct mps_sub_options){.given = MPS_SUB_ACK, .ack = MPS_ACK_EACH});
    tracer(stage, 't');
    ask(stage, 't', "d/#", 1, 60000);
    memory_store_fail_commits(stage->gate.inner, STORE_FULL, 1);
    stage_pub(stage, 'p', 1, 2);
    stage_msg(stage, 'p', "d/1", "x");
    expect_told(stage, "armed | message 1 d/1 p | reads 1 a 1 | unstored kept 1 | ended 1 unstored waited_us 0 |"
                       " done 1 matched 1 sent 0 lost 0 ended 1 not 0 near 0 others 1 | end messages");
    stage_msg(stage, 'p', "d/2", "y"); /* has its position */
    stage_settle(stage);
    expect_told(stage, "");
}

static void test_positions_go_down_when_those_before_are_not_stored(void **state)
{
    struct stage *stage = *state;
    stage_start_stored(stage, "d/#");
    stage_hello(stage, 'p', client("p"));
    stage_hello(stage, 'a', client("a"));
    stage_sub(stage, 'a', 1, "d/#", (struct mps_sub_options){.given = MPS_SUB_ACK, .ack = MPS_ACK_EACH});
    tracer(stage, 't');
    ask(stage, 't', "d/2", 1, 60000);
    memory_store_fail_commits(stage->gate.inner, STORE_FULL, 1);
    memory_store_hold(stage->gate.inner, true, false);
    stage_pub(stage, 'p', 1, 2);
    stage_msg(stage, 'p', "d/1", "x");
    stage_msg(stage, 'p', "d/2", "y"); /* in the next group */
    memory_store_hold(stage->gate.inner, false, false);
    memory_store_finish_commit(stage->gate.inner);
    stage_settle(stage);
    stage_pass(stage, 5000);
    assert_told(stage, "stored kept 1 | sent 1");
}

/* ---- many --------------------------------------------------------------------------------------------------- */

/* Written as one piece, so that they are one run; a and b in turn have the same subscribers. */
static void write_many(struct stage *stage, int count)
{
    uint8_t room[16 * 1024];
    struct mps_out out = mps_out_open(room, sizeof room);
    for (int i = 0; i < count; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text(i % 2 ? "x/b" : "x/a"), .payload = mps_text(text)});
    }
    stage_send(stage, 'p', &out);
}

static void test_messages_in_the_middle_of_a_run_are_followed(void **state)
{
    struct stage *stage = *state;
    stage_start(stage);
    stage_hello(stage, 'p', client("p"));
    stage_hello(stage, 'a', client("a"));
    subscribe(stage, 'a', 1, "x/#", (struct mps_sub_options){.max_msgs = 4});
    stage_room(stage, 'a', 0);
    tracer(stage, 't');
    ask(stage, 't', "x/b", 2, 60000);
    write_many(stage, 7); /* 3 to 6 stay */
    expect_told(stage, "armed | message 1 x/b p | queued 1 a 1 ahead 1 | lost 1 drop_old waited_us 0 |"
                       " done 1 matched 1 sent 0 lost 1 ended 0 not 0 near 0 others 1 |"
                       " message 2 x/b p | queued 1 a 1 ahead 3");
    stage_room(stage, 'a', STAGE_ROOM);
    assert_told(stage, "sent 1 waited_us 0 | done 2 matched 1 sent 1");
    stage_words(stage, 'a');
}

static void test_a_publisher_that_waits_is_told_once(void **state)
{
    struct stage *stage = *state;
    struct mps_sub_options options = {.policy = MPS_POLICY_BLOCK, .max_msgs = 1, .block_ms = 5000};
    stage_start(stage);
    stage_hello(stage, 'p', client("p"));
    stage_hello(stage, 'a', client("a"));
    subscribe(stage, 'a', 1, "t", options);
    stage_room(stage, 'a', 0);
    stage_msg(stage, 'p', "t", "before");
    tracer(stage, 't');
    ask(stage, 't', "t", 1, 60000);
    stage_msg(stage, 'p', "t", "x");
    expect_told(stage, "armed");
    stage_pass(stage, 700);
    stage_room(stage, 'a', STAGE_ROOM);
    assert_told(stage, "message 1 t p | queued 1 a 1 ahead 0 | sent 1 waited_us 0 | done");
}

static void test_wills_are_followed(void **state)
{
    struct stage *stage = *state;
    uint8_t room[64];
    struct mps_out out = mps_out_open(room, sizeof room);
    stage_start(stage);
    mps_put_array(&out, 4);
    mps_put_text(&out, mps_text("gone"));
    mps_put_bin(&out, mps_text("x"));
    mps_put_uint(&out, 0);
    mps_put_uint(&out, 0);
    stage_hello(stage, 'w', (struct mps_hello){.id = mps_text("w"), .will = mps_out_view(&out)});
    stage_hello(stage, 'a', client("a"));
    subscribe(stage, 'a', 1, "gone", (struct mps_sub_options){0});
    tracer(stage, 't');
    ask(stage, 't', "gone", 1, 60000);
    stage_cut(stage, 'w');
    assert_told(stage, "message 1 gone w | queued 1 a 1 ahead 0 | sent 1 waited_us 0 | done");
}

/* ---- the same happens --------------------------------------------------------------------------------------- */

struct digest {
    char text[64 * 1024];
    size_t len;
};

#define READERS "abcdefghi"

static void come(struct stage *stage, char link)
{
    static const enum mps_policy policies[] = {MPS_POLICY_DROP_OLD, MPS_POLICY_DROP_NEW, MPS_POLICY_LATEST,
                                               MPS_POLICY_BLOCK,    MPS_POLICY_SPILL,    MPS_POLICY_DROP_OLD,
                                               MPS_POLICY_DROP_OLD, MPS_POLICY_DROP_OLD, MPS_POLICY_CLOSE};
    char id[] = {link, '\0'};
    struct mps_sub_options options = {.policy = policies[link - 'a'], .max_msgs = 5};
    if (link == 'f' || link == 'g') options.group = mps_text("g");
    if (link == 'h') options = (struct mps_sub_options){.ack = MPS_ACK_EACH, .filter = mps_text("@topic ^= \"x\"")};
    stage_hello(stage, link, (struct mps_hello){.id = mps_text(id), .sess_s = link % 2 ? 60 : 0});
    subscribe(stage, link, 1, "x/#", options);
}

/* Readers of several policies that stall and go on, end, and come back; messages of two topics, of which a stream keeps
 * one, in runs of any length. */
static void play(struct stage *stage, bool traces, struct digest *digest)
{
    uint32_t random = 12345;
    digest->len = 0;
    stage_start_stored(stage, "x/a");
    stage_hello(stage, 'p', client("p"));
    for (const char *link = READERS; *link != '\0'; link++) come(stage, *link);
    tracer(stage, 't');
    stage_pub(stage, 'p', 1, 1);
    for (int round = 0; round < 150; round++) {
        random = random * 1103515245u + 12345u;
        char link = READERS[(random >> 16) % (sizeof READERS - 1)];
        if (traces && round % 3 == 0) ask(stage, 't', round % 2 ? "x/b" : "x/#", 1 + random % 3, 10000);
        if (stage->links[link - 'a'].session == NULL) come(stage, link);
        else if (random % 7 == 0) stage_cut(stage, link);
        else if (random % 7 == 1) stage_unsub(stage, link, 1);
        else stage_room(stage, link, random >> 30 == 0 ? STAGE_ROOM : (random >> 8) % 40);
        write_many(stage, 1 + (int)((random >> 20) % 12));
        stage_pass(stage, 100);
    }
    for (const char *link = READERS; *link != '\0'; link++) stage_room(stage, *link, STAGE_ROOM);
    stage_pass(stage, 10000);
    for (const char *link = "p" READERS; *link != '\0'; link++) {
        const char *words = stage_words(stage, *link);
        int len = snprintf(digest->text + digest->len, sizeof digest->text - digest->len, "%c: %s\n", *link, words);
        digest->len += (size_t)len;
        assert_true(digest->len < sizeof digest->text);
    }
    const char *told = told_to(stage, 't');
    assert_true(!traces ||
                (strstr(told, "done 1") != NULL && strstr(told, "ended") != NULL && strstr(told, "lost") != NULL));
    stage_stop(stage);
    memory_disk_free(stage->disk);
    stage->disk = NULL;
}

static void test_nothing_else_becomes_of_messages_that_are_followed(void **state)
{
    static struct digest plain, traced;
    play(*state, false, &plain);
    play(*state, true, &traced);
    assert_string_equal(plain.text, traced.text);
    assert_non_null(strstr(plain.text, "gap 1")); /* some were lost */
}

/* ---- bounds ------------------------------------------------------------------------------------------------- */

static void test_a_trace_ends_when_its_time_is_over(void **state)
{
    struct stage *stage = *state;
    stage_start(stage);
    begin(stage, "t", (struct mps_sub_options){0}, false);
    stage_msg(stage, 'p', "t", "x");
    expect_told(stage, "message 1 t p | queued 1 a 1 ahead 0");
    stage_pass(stage, 59999);
    expect_told(stage, "");
    stage_pass(stage, 1);
    expect_told(stage, "waits 1 waited_us 60000000 | done 1 matched 1 sent 0 lost 0 ended 0 not 0 near 0 others 1 |"
                       " end time");
    stage_room(stage, 'a', STAGE_ROOM);
    expect_told(stage, "");
}

static void test_a_tracer_that_goes_away_ends_its_traces(void **state)
{
    struct stage *stage = *state;
    stage_start(stage);
    begin(stage, "t", (struct mps_sub_options){0}, false);
    ask(stage, 't', "t", 2, 60000);
    stage_msg(stage, 'p', "t", "x");
    stage_cut(stage, 't');
    stage_msg(stage, 'p', "t", "y");
    tracer(stage, 't');
    for (int i = 0; i < TRACES_MAX; i++) ask(stage, 't', "u", 1, 1000); /* there is room for as many as ever */
    assert_told(stage, "armed | armed | armed | armed");
}

static void test_only_few_traces_are_there_at_a_time(void **state)
{
    struct stage *stage = *state;
    stage_start(stage);
    tracer(stage, 't');
    for (int i = 0; i < TRACES_MAX; i++) ask(stage, 't', "t", 1, 1000);
    told_to(stage, 't');
    ask(stage, 't', "t", 1, 1000);
    expect_told(stage, " 4 traces are under way, the limit is 4" + 1);
    stage_pass(stage, 1000);
    told_to(stage, 't');
    ask(stage, 't', "t", 1, 1000);
    expect_told(stage, "armed");
}

static void test_several_traces_follow_one_message(void **state)
{
    struct stage *stage = *state;
    stage_start(stage);
    stage_hello(stage, 'p', client("p"));
    stage_hello(stage, 'a', client("a"));
    subscribe(stage, 'a', 1, "t", (struct mps_sub_options){.policy = MPS_POLICY_DROP_NEW, .max_msgs = 1});
    stage_room(stage, 'a', 0);
    stage_msg(stage, 'p', "t", "before");
    tracer(stage, 't');
    ask(stage, 't', "t", 1, 60000);
    ask(stage, 't', "#", 1, 60000);
    told_to(stage, 't');
    stage_msg(stage, 'p', "t", "x");
    const char *text = told_to(stage, 't');
    const char *first = strstr(text, "lost 1 drop_new"),
               *second = first != NULL ? strstr(first + 1, "lost 1 drop_new") : NULL;
    assert_non_null(second);
}

static void test_more_subscriptions_than_are_told_are_counted(void **state)
{
    struct stage *stage = *state;
    enum { MANY = TRACE_COPIES_MAX + 50 };
    stage_start(stage);
    stage_hello(stage, 'p', client("p"));
    stage_hello(stage, 'a', client("a"));
    for (uint32_t sid = 1; sid <= MANY; sid++) subscribe(stage, 'a', sid, "t", (struct mps_sub_options){0});
    tracer(stage, 't');
    ask(stage, 't', "t", 1, 60000);
    stage_msg(stage, 'p', "t", "x");
    assert_told(stage, "done 1 matched 1050 sent 1050 lost 0 ended 0 not 0 near 0 others 1");
    stage_words(stage, 'a');
}

#define MANY 9000u

static uint32_t count_messages_told(struct stage *stage, char link)
{
    mps_view frame;
    uint32_t count = 0;
    for (int op; (op = stage_take(stage, link, &frame)) >= 0;) {
        struct mps_msg msg;
        const char *what;
        if (op != MPS_OP_MSG) continue;
        assert_int_equal(mps_decode_msg(frame, &msg, &what), MPS_OK);
        count += field(msg.payload, "payload_bytes").ptr != NULL; /* only that event has it */
    }
    return count;
}

/* They would keep all others waiting. */
static void test_few_messages_with_very_many_copies_are_followed_in_one_turn(void **state)
{
    struct stage *stage = *state;
    static uint8_t room[MANY * 16];
    struct mps_out out = mps_out_open(room, sizeof room);
    stage_start(stage);
    stage_hello(stage, 'p', client("p"));
    stage_hello(stage, 'a', client("a"));
    for (uint32_t sid = 1; sid <= MANY; sid++) mps_encode_sub(&out, &(struct mps_sub){sid, mps_text("x/#"), {0}});
    stage_send(stage, 'a', &out);
    tracer(stage, 't');
    ask(stage, 't', "x/#", 16, 60000);
    stage_room(stage, 'a', 0);
    write_many(stage, 16);
    assert_int_equal(count_messages_told(stage, 't'), 12);
    write_many(stage, 16);
    assert_int_equal(count_messages_told(stage, 't'), 4);
}

static void test_what_can_not_be_traced_is_refused(void **state)
{
    struct stage *stage = *state;
    struct mps_out nothing = mps_out_open(NULL, 0);
    stage_start(stage);
    tracer(stage, 't');
    ask(stage, 't', "a/#/b", 1, 1000);
    assert_told(stage, "bad pattern 'a/#/b'");
    ask(stage, 't', "$inbox/+/1", 1, 1000);
    expect_told(stage, "what goes to inboxes is not traced");
    ask(stage, 't', "t", 17, 1000);
    expect_told(stage, "a trace follows 1 to 16 messages, not 17");
    ask(stage, 't', "t", 0, 1000);
    expect_told(stage, "a trace follows 1 to 16 messages, not 0");
    ask(stage, 't', "t", 1, 60001);
    expect_told(stage, "a trace takes 1 to 60000 ms, not 60001");
    ask_with(stage, 't', &nothing);
    assert_told(stage, "the request is not a map");
}

static void test_who_lacks_the_right_sys_may_not_trace(void **state)
{
    struct stage *stage = *state;
    stage->access = restricted("#");
    stage_start(stage);
    stage_hello(stage, 'a', client("a"));
    stage_words(stage, 'a');
    ask(stage, 'a', "t", 1, 1000);
    stage_expect(stage, 'a', "err 211");
}

static struct access *with_sys(void)
{
    struct access *access = restricted("#");
    struct access_group *all = access->groups[0];
    all->rights |= ACCESS_SYS;
    return access;
}

/* Not a minute longer. */
static void test_who_loses_the_right_sys_is_told_no_more(void **state)
{
    struct stage *stage = *state;
    stage->access = with_sys();
    stage_start(stage);
    stage_hello(stage, 'p', client("p"));
    stage_hello(stage, 't', client("t"));
    subscribe(stage, 't', 9, TOLD, (struct mps_sub_options){0});
    stage_words(stage, 't');
    ask(stage, 't', "open/#", 2, 60000);
    broker_set_access(stage->broker, with_sys());
    stage_msg(stage, 'p', "open/a", "x");
    assert_told(stage, "armed | message 1 open/a p");
    broker_set_access(stage->broker, restricted("#"));
    stage_settle(stage);
    expect_told(stage, "end not_allowed");
    stage_msg(stage, 'p', "open/a", "x");
    expect_told(stage, "");
}

/* What is there is the broker's word. */
static void test_answers_go_to_no_reserved_topic(void **state)
{
    struct stage *stage = *state;
    stage_start(stage);
    stage_hello(stage, 'a', client("a"));
    subscribe(stage, 'a', 1, "$SYS/broker", (struct mps_sub_options){0});
    stage_words(stage, 'a');
    ask_at(stage, 'a', "$SYS/broker");
    stage_expect(stage, 'a', "err 211");
}

/* What is told is published, too: where, the trace's own pattern may match. */
static void test_a_trace_does_not_follow_what_it_tells(void **state)
{
    struct stage *stage = *state;
    stage_start(stage);
    tracer(stage, 't');
    stage_hello(stage, 'p', client("p"));
    ask(stage, 't', "#", 1, 60000);
    expect_told(stage, "armed");
    stage_msg(stage, 'p', "t", "x");
    assert_told(stage, "message 1 t p | done 1 matched 0");
}

/* ---- near patterns ------------------------------------------------------------------------------------------ */

static void test_patterns_that_were_meant_are_near(void **state)
{
    (void)state;
    static const struct {
        const char *pattern;
        bool near;
    } of[] = {
        {"Site/a/temp", true},  {"site/a/tmep", true},   {"site/a/tem", true},    {"site/a/temps", true},
        {"site/+/Temp", true},  {"site/a", true},        {"site/+", true},        {"site/a/temp/", true},
        {"/site/a/temp", true}, {"site/a/temp/+", true}, {"site/A/#", true},      {"sote/#", true},
        {"site/b/temp", false}, {"site/a/door", false},  {"other/a/temp", false}, {"site", false},
        {"a/temp", false},      {"Site/a/Temp", false},  {"$site/a/temp", false}, {"site/a/temp/x/y", false},
    };
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        if (trace_is_near(mps_text(of[i].pattern), mps_text("site/a/temp")) != of[i].near)
            fail_msg("'%s' is %snear", of[i].pattern, of[i].near ? "not " : "");
    }
    assert_false(trace_is_near(mps_text("unit-1"), mps_text("unit-2"))); /* two things */
    assert_true(trace_is_near(mps_text("unot-1"), mps_text("unit-1")));
}

#define test(function) cmocka_unit_test_setup_teardown(function, stage_set_up, stage_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(test_who_gets_a_message_and_who_does_not_is_told),
        test(test_a_listener_whose_name_is_no_text_is_not_told),
        test(test_a_filter_is_told_with_its_text),
        test(test_what_a_publisher_may_not_publish_is_told_as_refused),
        test(test_who_may_not_receive_a_message_is_told_as_not_allowed),
        test(test_must_route_and_nobody_there_is_a_refusal),
        test(test_how_long_it_waited_is_told),
        test(test_what_is_behind_others_is_told_as_such),
        test(test_the_oldest_that_went_is_lost),
        test(test_what_was_superseded_is_lost),
        test(test_what_is_thrown_away_with_a_slow_connection_is_told),
        test(test_what_a_full_queue_refuses_is_lost_at_once),
        test(test_what_had_waited_for_too_long_is_lost),
        test(test_what_expires_in_a_queue_is_lost),
        test(test_what_its_reader_does_not_take_is_lost),
        test(test_what_is_queued_for_a_subscription_that_ends_is_told),
        test(test_what_is_queued_for_a_connection_that_breaks_is_told),
        test(test_a_client_that_is_away_is_told_of_and_may_come_back),
        test(test_the_oldest_of_a_client_that_is_away_is_lost),
        test(test_which_member_of_a_group_gets_it_is_told),
        test(test_what_a_member_could_not_be_written_goes_to_another_one),
        test(test_what_a_group_has_when_its_last_member_goes_is_told),
        test(test_what_the_last_member_takes_along_is_followed),
        test(test_what_is_spilled_is_found_again),
        test(test_a_reader_is_followed_by_position),
        test(test_a_message_on_its_way_to_the_disk_is_not_done),
        test(test_what_can_not_be_stored_is_told),
        test(test_positions_go_down_when_those_before_are_not_stored),
        test(test_messages_in_the_middle_of_a_run_are_followed),
        test(test_a_publisher_that_waits_is_told_once),
        test(test_wills_are_followed),
        test(test_nothing_else_becomes_of_messages_that_are_followed),
        test(test_a_trace_ends_when_its_time_is_over),
        test(test_a_tracer_that_goes_away_ends_its_traces),
        test(test_only_few_traces_are_there_at_a_time),
        test(test_several_traces_follow_one_message),
        test(test_more_subscriptions_than_are_told_are_counted),
        test(test_few_messages_with_very_many_copies_are_followed_in_one_turn),
        test(test_what_can_not_be_traced_is_refused),
        test(test_who_loses_the_right_sys_is_told_no_more),
        test(test_answers_go_to_no_reserved_topic),
        test(test_who_lacks_the_right_sys_may_not_trace),
        test(test_a_trace_does_not_follow_what_it_tells),
        cmocka_unit_test(test_patterns_that_were_meant_are_near),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
