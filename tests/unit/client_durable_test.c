/* Sessions, positions in streams and acknowledging: the library against a broker that the test plays. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <pubsub/core.h>

#include "client_stage.h"

static struct pubsub_options session_options(struct stage *stage)
{
    struct pubsub_options options = stage_options(stage);
    options.client_id = "dev-7";
    options.session_s = 60;
    return options;
}

static struct pubsub_subscribe_options reader(struct stage *stage, enum pubsub_from from, enum pubsub_ack_mode ack)
{
    struct pubsub_subscribe_options options = stage_callbacks(stage);
    options.from = from;
    options.ack = ack;
    return options;
}

static uint32_t subscribe(struct stage *stage, const struct pubsub_subscribe_options *options)
{
    uint32_t sid = 0;
    assert_int_equal(pubsub_subscribe(stage->client, "t", options, &sid), PUBSUB_OK);
    return sid;
}

/* `count` messages, the first one at this position. */
static void say_stored(struct stage *stage, const struct mps_for *terms, int count)
{
    uint8_t buf[512];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    mps_encode_for(&out, terms);
    for (int i = 0; i < count; i++) mps_encode_msg(&out, &(struct mps_msg){mps_text("t"), {NULL, 0}, mps_text("x")});
    stage_say(stage, &out);
}

static void say_at(struct stage *stage, uint64_t stream, uint64_t seq, int count)
{
    say_stored(stage, &(struct mps_for){1, 0, true, stream, seq, 0, 0}, count);
}

static void say_again_at(struct stage *stage, uint64_t stream, uint64_t seq, uint32_t tries)
{
    say_stored(stage, &(struct mps_for){1, MPS_FOR_REDELIVERED, true, stream, seq, 5, tries}, 1);
}

static void say_gone(struct stage *stage, uint32_t reason, uint64_t stream, uint64_t first, uint64_t last)
{
    uint8_t buf[64];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    struct mps_gap gap = {1, reason != MPS_GAP_DAMAGED, 0, reason, stream, first, last};
    if (gap.has_count) gap.count = last - first + 1;
    mps_encode_gap(&out, &gap);
    stage_say(stage, &out);
}

static void say_granted(struct stage *stage)
{
    uint8_t buf[64];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    mps_encode_suback(&out, &(struct mps_suback){.sid = 1, .code = MPS_OK});
    stage_say(stage, &out);
}

static void say_mark(struct stage *stage, uint32_t kind)
{
    uint8_t buf[64];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    mps_encode_mark(&out, &(struct mps_mark){.sid = 1, .kind = kind});
    stage_say(stage, &out);
}

/* The connection breaks; what the client asks for while there is none is done between. */
static void lose(struct stage *stage)
{
    stage_hang_up(stage);
    stage_wait_for_log(stage, "lost\n");
}

static void connect_again(struct stage *stage, bool resumed)
{
    stage->resumed = resumed;
    stage_accept(stage);
    stage_say_welcome(stage, 10, 1000);
    stage_wait_for_log(stage, "again\n");
}

/* ---- the handshake ------------------------------------------------------------------------------------------ */

static void a_session_is_asked_for(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = session_options(stage);
    options.clean = true;
    stage_open(stage, options, 10);
    uint64_t boot = stage->boot;
    assert_true(stage->session_s == 60 && stage->clean && boot != 0);
    assert_string_equal(stage->id, "dev-7");
    assert_int_equal(pubsub_session_s(stage->client), 60);
    assert_false(pubsub_resumed(stage->client));
    lose(stage);
    connect_again(stage, true); /* this one is not to be forgotten */
    assert_true(stage->session_s == 60 && !stage->clean && stage->boot == boot);
    assert_true(pubsub_resumed(stage->client));
}

static void a_session_is_found_again_by_the_id_that_was_given(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = session_options(stage);
    options.client_id = NULL;
    stage_open(stage, options, 10);
    assert_string_equal(stage->id, "");
    lose(stage);
    connect_again(stage, true);
    assert_string_equal(stage->id, "given");
}

static void no_session_is_asked_for(void **state)
{
    struct stage *stage = *state;
    stage_open(stage, stage_options(stage), 10);
    lose(stage);
    connect_again(stage, false);
    assert_true(stage->session_s == 0 && !stage->clean && stage->boot == 0 && stage->id[0] == '\0');
    assert_int_equal(pubsub_session_s(stage->client), 0);
}

/* An earlier program had a session with this id. What it gets comes at once, and is there for who subscribes first. */
static void what_a_session_has_waits_for_its_subscriber(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = session_options(stage);
    int ends[2];
    char url[16], text[256] = "";
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    snprintf(url, sizeof url, "fd:%d", ends[0]);
    stage->peer = ends[1];
    options.url = url;
    options.retry_first = false;
    stage->resumed = true;
    stage_say_welcome(stage, 10, 1000);
    say_at(stage, 64, 5, 2);
    if (pubsub_open(&stage->client, &options, text, sizeof text) != PUBSUB_OK) fail_msg("%s", text);
    stage_expect_log(stage, "connected\n");
    assert_int_equal(pubsub_poll_timeout_ms(stage->client), 0);
    struct pubsub_subscribe_options each = reader(stage, PUBSUB_FROM_ALL, PUBSUB_ACKS_EACH);
    each.sid = 1;
    subscribe(stage, &each);
    assert_true(pubsub_wait(stage->client, 0) > 0);
    stage_expect_log(stage, "message 1 t 1 at 64:5\nmessage 1 t 1 at 64:6\n");
    say_at(stage, 64, 7, 1);
    stage_wait_for_log(stage, "message 1 t 1 at 64:7\n");
    stage_expect_frames(stage, "HELLO, SUB 1 t ack=each from=all, ");
}

/* ---- publishing --------------------------------------------------------------------------------------------- */

static void settled_publishes_are_forgotten(void **state)
{
    struct stage *stage = *state;
    stage_open(stage, session_options(stage), 10);
    stage_publish(stage, "a", PUBSUB_ACK_STORED);
    stage_publish(stage, "b", PUBSUB_ACK_STORED);
    stage_publish(stage, "c", PUBSUB_ACK_NONE);
    stage_publish(stage, "d", PUBSUB_ACK_ROUTED);
    stage_publish(stage, "e", PUBSUB_ACK_STORED);
    stage_expect_frames(stage, "acked a, acked b, c, acked d, acked e, ");
    stage_say_puback(stage, 1, 0);
    stage_wait_for_log(stage, "puback 1..1 0\n");
    lose(stage);

    stage->last_pid = 3; /* two more had been answered, which nobody heard */
    stage->resumed = true;
    stage_accept(stage);
    stage_say_welcome(stage, 10, 1000);
    stage_wait_for_log(stage, "again\npuback 2..3 2\n");
    stage_expect_frames(stage, "acked e, ");
    assert_int_equal(stage->first_pid, 4);
    assert_int_equal(pubsub_unacked(stage->client), 1);
    lose(stage);

    stage->last_pid = 4; /* all of them */
    stage_accept(stage);
    stage_say_welcome(stage, 10, 1000);
    stage_wait_for_log(stage, "again\npuback 4..4 2\n");
    assert_int_equal(pubsub_unacked(stage->client), 0);
    stage_publish(stage, "f", PUBSUB_ACK_STORED);
    stage_expect_frames(stage, "acked f, ");
    assert_int_equal(stage->first_pid, 5);
    stage_say_puback(stage, 5, 0);
    stage_wait_for_log(stage, "puback 5..5 0\n");
}

static void what_a_new_session_does_not_know_is_sent_again(void **state)
{
    struct stage *stage = *state;
    stage_open(stage, session_options(stage), 10);
    for (int i = 0; i < 3; i++) stage_publish(stage, "a", PUBSUB_ACK_STORED);
    stage_expect_frames(stage, "acked a, acked a, acked a, ");
    stage_say_puback(stage, 1, 0);
    stage_wait_for_log(stage, "puback 1..1 0\n");
    lose(stage);
    connect_again(stage, false);
    stage_expect_frames(stage, "acked a, acked a, ");
    assert_int_equal(stage->first_pid, 2);
}

static void a_broker_that_claims_too_much_is_left(void **state)
{
    struct stage *stage = *state;
    stage_open(stage, session_options(stage), 10);
    stage_publish(stage, "a", PUBSUB_ACK_STORED);
    stage_expect_frames(stage, "acked a, ");
    lose(stage);
    stage->last_pid = 2;
    stage->resumed = true;
    stage_accept(stage);
    stage_say_welcome(stage, 10, 1000);
    stage_wait_for_log(stage, "ended\n");
    assert_non_null(strstr(pubsub_error(stage->client), "last_pid"));
    assert_int_equal(pubsub_wait(stage->client, 0), PUBSUB_EPROTO);
}

/* ---- readers ------------------------------------------------------------------------------------------------ */

static void all_options_are_sent(void **state)
{
    struct stage *stage = *state;
    struct pubsub_subscribe_options options = {.policy = PUBSUB_SPILL,
                                               .then = PUBSUB_DROP_NEW,
                                               .from = PUBSUB_FROM_LAST,
                                               .from_number = 5,
                                               .ack = PUBSUB_ACKS_UPTO,
                                               .ack_ms = 100,
                                               .max_tries = 3,
                                               .inflight = 65536,
                                               .durable = true};
    stage_open(stage, session_options(stage), 10);
    subscribe(stage, &options);
    stage_expect_frames(stage, "SUB 1 t policy=spill then=drop_new ack=upto ack_ms=100 max_tries=3 inflight=65536 "
                               "from=last:5 durable=1, ");
    const uint64_t positions[] = {64, 1000, 65, 0};
    subscribe(stage, &(struct pubsub_subscribe_options){
                         .from = PUBSUB_FROM_SEQ, .from_positions = positions, .from_positions_count = 2});
    stage_expect_frames(stage, "SUB 2 t from=seq:64,1000,65,0,new, ");
    static const enum pubsub_from kinds[] = {PUBSUB_FROM_ALL, PUBSUB_FROM_TIME, PUBSUB_FROM_ACKED,
                                             PUBSUB_FROM_LAST_PER_TOPIC};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        subscribe(stage, &(struct pubsub_subscribe_options){.from = kinds[i], .from_number = 7});
    stage_expect_frames(stage, "SUB 3 t from=all, SUB 4 t from=time:7, SUB 5 t from=acked, "
                               "SUB 6 t from=last_per_topic, ");
}

static void bad_options_are_refused(void **state)
{
    struct stage *stage = *state;
    static uint64_t many[130], twice[] = {64, 1, 65, 1, 64, 2}, large[] = {64, UINT64_C(1) << 53};
    for (uint64_t i = 0; i < 65; i++) many[2 * i] = 64 + i;
    const struct {
        struct pubsub_subscribe_options options;
        const char *why;
    } cases[] = {
        {{.from = (enum pubsub_from)8}, "option from is"},
        {{.from = PUBSUB_FROM_LAST, .from_number = UINT64_C(1) << 53}, "from_number"},
        {{.from = PUBSUB_FROM_SEQ}, "1..64 streams"},
        {{.from = PUBSUB_FROM_SEQ, .from_positions = many}, "1..64 streams"},
        {{.from = PUBSUB_FROM_SEQ, .from_positions = many, .from_positions_count = 65}, "1..64 streams"},
        {{.from = PUBSUB_FROM_SEQ, .from_positions = twice, .from_positions_count = 3}, "twice"},
        {{.from = PUBSUB_FROM_SEQ, .from_positions = large, .from_positions_count = 1}, "9007199254740991"},
        {{.ack = (enum pubsub_ack_mode)3}, "option ack is"},
        {{.ack_ms = 1}, "ack_ms is given without ack"},
        {{.max_tries = 1}, "max_tries is given without ack"},
        {{.inflight = 1}, "inflight is given without ack"},
        {{.ack = PUBSUB_ACKS_EACH, .inflight = 65537}, "65536"},
        {{.ack = PUBSUB_ACKS_EACH, .no_local = true}, "no_local does not go with"},
        {{.from = PUBSUB_FROM_ALL, .no_local = true}, "no_local does not go with"},
        {{.policy = PUBSUB_SPILL, .then = PUBSUB_SPILL}, "then"},
        {{.durable = true}, "session_s and client_id"},
        {{.sid = UINT32_C(1) << 31}, "2147483647"},
        {{.sid = 1}, "in use"},
    };
    stage_open(stage, stage_options(stage), 10);
    subscribe(stage, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(pubsub_subscribe(stage->client, "t", &cases[i].options, NULL), PUBSUB_EINVAL);
        if (strstr(pubsub_error(stage->client), cases[i].why) == NULL)
            fail_msg("case %zu: '%s'", i, pubsub_error(stage->client));
    }
    stage_expect_frames(stage, "SUB 1 t, ");
}

static void numbers_may_be_chosen(void **state)
{
    struct stage *stage = *state;
    stage_open(stage, stage_options(stage), 10);
    assert_int_equal(subscribe(stage, &(struct pubsub_subscribe_options){.sid = 2}), 2);
    assert_int_equal(subscribe(stage, NULL), 1);
    assert_int_equal(subscribe(stage, NULL), 3);
    assert_int_equal(subscribe(stage, &(struct pubsub_subscribe_options){.sid = 0x7fffffff}), 0x7fffffff);
    assert_int_equal(subscribe(stage, NULL), 4);
    lose(stage);
    connect_again(stage, false);
    stage_expect_frames(stage, "SUB 1 t, SUB 2 t, SUB 3 t, SUB 4 t, SUB 2147483647 t, ");
}

static void a_reader_goes_on_behind_what_it_was_given(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_subscribe_options all = reader(stage, PUBSUB_FROM_ALL, PUBSUB_ACKS_NONE);
    stage_open(stage, stage_options(stage), 10);
    subscribe(stage, &all);
    stage_expect_frames(stage, "SUB 1 t from=all, ");
    lose(stage);
    connect_again(stage, false); /* nothing has come yet: it begins as before */
    stage_expect_frames(stage, "SUB 1 t from=all, ");
    say_stored(stage, &(struct mps_for){1, MPS_FOR_REPLAY, true, 64, 1, 0, 0}, 2);
    say_at(stage, 65, 7, 1);
    stage_wait_for_log(stage,
                       "message 1 t 1 at 64:1 replayed\nmessage 1 t 1 at 64:2 replayed\nmessage 1 t 1 at 65:7\n");
    lose(stage);
    connect_again(stage, false); /* it has not heard of other streams, which may be there all the same */
    stage_expect_frames(stage, "SUB 1 t from=seq:64,3,65,8,all, ");
    say_gone(stage, MPS_GAP_RETENTION, 64, 3, 9);
    say_gone(stage, MPS_GAP_DAMAGED, 65, 8, 8);
    stage_wait_for_log(stage, "gap 1 7 retention at 64:3..9\ngap 1 0 damaged inexact at 65:8..8\n");
    lose(stage);
    connect_again(stage, false);
    stage_expect_frames(stage, "SUB 1 t from=seq:64,10,65,9,all, ");
    lose(stage);
    stage->epoch = 0; /* one that doesn't know yet what it has */
    connect_again(stage, false);
    stage_expect_frames(stage, "SUB 1 t from=seq:64,10,65,9,all, ");
    lose(stage);
    stage->epoch = 1; /* it has what it had */
    connect_again(stage, false);
    stage_expect_frames(stage, "SUB 1 t from=seq:64,10,65,9,all, ");
    lose(stage);
    stage->epoch = 2; /* a broker that has begun anew: what it has now is new */
    connect_again(stage, false);
    stage_expect_frames(stage, "SUB 1 t from=all, ");
}

static void a_reader_begins_at_the_same_place_again(void **state)
{
    struct stage *stage = *state;
    const uint64_t positions[] = {64, 5};
    struct pubsub_subscribe_options options = stage_callbacks(stage);
    options.from = PUBSUB_FROM_SEQ;
    options.from_positions = positions;
    options.from_positions_count = 1;
    stage_open(stage, stage_options(stage), 10);
    subscribe(stage, &options);
    stage_expect_frames(stage, "SUB 1 t from=seq:64,5,new, ");
    lose(stage);
    connect_again(stage, false);
    stage_expect_frames(stage, "SUB 1 t from=seq:64,5,new, ");
    say_at(stage, 64, 5, 1);
    stage_wait_for_log(stage, "message 1 t 1 at 64:5\n");
    lose(stage);
    connect_again(stage, false);
    stage_expect_frames(stage, "SUB 1 t from=seq:64,6,new, ");
    lose(stage);
    stage->epoch = 2;
    connect_again(stage, false);
    stage_expect_frames(stage, "SUB 1 t from=all, ");
}

/* Where a reader begins that was given something, for the streams it knows and for the others. */
static void every_beginning_goes_on(void **state)
{
    struct stage *stage = *state;
    static const struct {
        enum pubsub_from from;
        const char *expected;
    } cases[] = {{PUBSUB_FROM_LAST, "SUB 1 t from=seq:64,2,last:9, "},
                 {PUBSUB_FROM_TIME, "SUB 1 t from=seq:64,2,time:9, "},
                 {PUBSUB_FROM_ACKED, "SUB 1 t from=seq:64,2,acked, "},
                 {PUBSUB_FROM_NEW, "SUB 1 t from=seq:64,2,new, "}};
    stage_open(stage, stage_options(stage), 10);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pubsub_subscribe_options options = reader(stage, cases[i].from, PUBSUB_ACKS_NONE);
        options.sid = 1;
        options.from_number = 9;
        subscribe(stage, &options);
        say_at(stage, 64, 1, 1);
        stage_wait_for_log(stage, "message 1 t 1 at 64:1\n");
        lose(stage);
        connect_again(stage, false);
        stage_expect_frames(stage, cases[i].expected);
        assert_int_equal(pubsub_unsubscribe(stage->client, 1), PUBSUB_OK);
        stage_expect_frames(stage, "UNSUB, ");
        say_mark(stage, MPS_MARK_ENDED);
        stage_wait_for_log(stage, "mark 1 4\n");
    }
}

static void the_newest_of_each_topic_is_wanted_until_it_has_come(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_subscribe_options options = reader(stage, PUBSUB_FROM_LAST_PER_TOPIC, PUBSUB_ACKS_NONE);
    stage_open(stage, stage_options(stage), 10);
    subscribe(stage, &options);
    say_at(stage, 64, 3, 1);
    stage_wait_for_log(stage, "message 1 t 1 at 64:3\n");
    lose(stage);
    connect_again(stage, false);
    stage_expect_frames(stage, "SUB 1 t from=last_per_topic, ");
    say_mark(stage, MPS_MARK_CAUGHT_UP);
    stage_wait_for_log(stage, "mark 1 2\n");
    lose(stage);
    connect_again(stage, false);
    stage_expect_frames(stage, "SUB 1 t from=seq:64,4,last_per_topic, ");
}

static void a_member_leaves_the_place_to_its_group(void **state)
{
    struct stage *stage = *state;
    struct pubsub_subscribe_options options = reader(stage, PUBSUB_FROM_AGO, PUBSUB_ACKS_EACH);
    options.from_number = 1000;
    options.group = "g";
    stage_open(stage, stage_options(stage), 10);
    uint32_t sid = subscribe(stage, &options);
    say_at(stage, 64, 1, 2);
    stage_wait_for_log(stage, "message 1 t 1 at 64:1\nmessage 1 t 1 at 64:2\n");
    lose(stage);
    connect_again(stage, false); /* its options are still those of the others */
    stage_expect_frames(stage, "SUB 1 t ack=each group=g from=ago:1000, ");
    assert_int_equal(pubsub_ack_one(stage->client, sid, 64, 1), PUBSUB_OK); /* others have got it by now */
    say_again_at(stage, 64, 2, 2);
    stage_wait_for_log(stage, "message 1 t 1 at 64:2 try 2\n");
    assert_int_equal(pubsub_ack_one(stage->client, sid, 64, 2), PUBSUB_OK);
    stage_expect_frames(stage, "ACK 1 64:2 1, ");
    say_at(stage, 64, 3, 1);
    stage_wait_for_log(stage, "message 1 t 1 at 64:3\n");
    lose(stage);
    connect_again(stage, true); /* one that only rested may still say what it has done */
    assert_int_equal(pubsub_ack_one(stage->client, sid, 64, 3), PUBSUB_OK);
    stage_expect_frames(stage, "SUB 1 t ack=each group=g from=ago:1000, ACK 1 64:3 1, ");
}

/* The session has gone on from where it stood, beyond what this connection's end swallowed. Asked to go on elsewhere,
 * it sends all that again; until it has heard of that, nothing of it is to be seen. */
static void a_reader_in_a_session_goes_back(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_subscribe_options all = reader(stage, PUBSUB_FROM_ALL, PUBSUB_ACKS_NONE);
    stage_open(stage, session_options(stage), 10);
    subscribe(stage, &all);
    say_granted(stage);
    say_at(stage, 64, 1, 1);
    stage_wait_for_log(stage, "granted 1\nmessage 1 t 1 at 64:1\n");
    lose(stage);
    connect_again(stage, true);
    stage_expect_frames(stage, "SUB 1 t from=seq:64,2,all, ");
    say_at(stage, 64, 5, 1);
    say_gone(stage, MPS_GAP_EXPIRED, 64, 6, 6);
    say_stored(stage, &(struct mps_for){.sid = 1}, 1); /* from the queue of what is not durable: that is new */
    say_granted(stage);
    say_at(stage, 64, 2, 1);
    stage_wait_for_log(stage, "message 1 t 1\ngranted 1\nmessage 1 t 1 at 64:2\n");
}

static void an_end_is_told_again_to_a_session(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_subscribe_options options = stage_callbacks(stage);
    stage_open(stage, session_options(stage), 10);
    uint32_t sid = subscribe(stage, &options);
    assert_int_equal(pubsub_unsubscribe(stage->client, sid), PUBSUB_OK);
    stage_expect_frames(stage, "SUB 1 t, UNSUB, ");
    lose(stage);
    connect_again(stage, true);
    stage_expect_frames(stage, "UNSUB, ");
    say_mark(stage, MPS_MARK_ENDED);
    stage_wait_for_log(stage, "mark 1 4\n");
}

/* With a session, and a credit of 5. */
static uint32_t subscribe_by_credit(struct stage *stage)
{
    struct pubsub_subscribe_options options = stage_callbacks(stage);
    options.by_credit = true;
    options.credit = 5;
    stage_open(stage, session_options(stage), 10);
    uint32_t sid = subscribe(stage, &options);
    stage_expect_frames(stage, "SUB 1 t credit=5, ");
    return sid;
}

/* Of what the broker has counted on earlier connections, not all has arrived. */
static void credit_goes_on_with_a_session(void **state)
{
    struct stage *stage = *state;
    uint8_t buf[64];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    uint32_t sid = subscribe_by_credit(stage);
    say_stored(stage, &(struct mps_for){.sid = 1}, 2);
    stage_wait_for_log(stage, "message 1 t 1\nmessage 1 t 1\n");
    lose(stage);
    connect_again(stage, true);
    stage_expect_frames(stage, "SUB 1 t credit=0, STAT, ");
    mps_encode_stat(&out, &(struct mps_stat){1, true, 4, 4, 0, 0, 0}); /* 2 more were sent and are lost */
    stage_say(stage, &out);
    stage_expect_frames(stage, "CREDIT 1 7, ");
    stage_expect_log(stage, ""); /* the program has not asked */
    assert_int_equal(pubsub_credit(stage->client, sid, 6, false), PUBSUB_OK);
    assert_int_equal(pubsub_ask_stat(stage->client, sid), PUBSUB_OK);
    stage_expect_frames(stage, "CREDIT 1 8, STAT, ");
    mps_encode_stat(&out, &(struct mps_stat){1, true, 4, 4, 0, 0, 0});
    stage_say(stage, &out);
    stage_wait_for_log(stage, "stat 1 4\n");
    lose(stage);
    connect_again(stage, false);
    stage_expect_frames(stage, "SUB 1 t credit=4, ");
}

/* A broker that was restarted counts from 0: what was received before must not be allowed once more. */
static void credit_goes_on_when_the_broker_counts_anew(void **state)
{
    struct stage *stage = *state;
    uint8_t buf[64];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    uint32_t sid = subscribe_by_credit(stage);
    say_stored(stage, &(struct mps_for){.sid = 1}, 3);
    stage_wait_for_log(stage, "message 1 t 1\nmessage 1 t 1\nmessage 1 t 1\n");
    lose(stage);
    connect_again(stage, true);
    stage_expect_frames(stage, "SUB 1 t credit=0, STAT, ");
    assert_int_equal(pubsub_credit(stage->client, sid, 6, true), PUBSUB_OK); /* which has to wait */
    stage_expect_frames(stage, "");
    mps_encode_stat(&out, &(struct mps_stat){1, true, 0, 0, 0, 0, 0});
    stage_say(stage, &out);
    stage_expect_frames(stage, "CREDIT 1 3 drain, ");
    assert_int_equal(pubsub_credit(stage->client, sid, 7, false), PUBSUB_OK);
    stage_expect_frames(stage, "CREDIT 1 4, ");
}

/* ---- acknowledging ------------------------------------------------------------------------------------------ */

/* A subscription that acknowledges, and has been given 64:1..count. */
static uint32_t given(struct stage *stage, enum pubsub_ack_mode ack, int count)
{
    const struct pubsub_subscribe_options options = reader(stage, PUBSUB_FROM_ALL, ack);
    uint32_t sid = subscribe(stage, &options);
    say_at(stage, 64, 1, count);
    char expected[1024] = "";
    for (int i = 1; i <= count; i++) {
        size_t at = strlen(expected);
        snprintf(expected + at, sizeof expected - at, "message 1 t 1 at 64:%d\n", i);
    }
    stage_wait_for_log(stage, expected);
    return sid;
}

static void acknowledgements_are_sent(void **state)
{
    struct stage *stage = *state;
    stage_open(stage, stage_options(stage), 10);
    uint32_t sid = given(stage, PUBSUB_ACKS_EACH, 9), plain = subscribe(stage, NULL);
    pubsub *client = stage->client;
    stage_expect_frames(stage, "SUB 1 t ack=each from=all, SUB 2 t, ");
    assert_int_equal(pubsub_ack_one(client, sid, 64, 2), PUBSUB_OK);
    assert_int_equal(pubsub_ack_upto(client, sid, 64, 3), PUBSUB_OK);
    assert_int_equal(pubsub_nack(client, sid, 64, 4, 250), PUBSUB_OK);
    assert_int_equal(pubsub_nack(client, sid, 64, 4, 0), PUBSUB_OK);
    assert_int_equal(pubsub_reject(client, sid, 64, 5), PUBSUB_OK);
    stage_expect_frames(stage, "ACK 1 64:2 1, ACK 1 64:3 0, ACK 1 64:4 2 in 250 ms, ACK 1 64:4 2, ACK 1 64:5 3, ");
    /* What is settled, or was never given, is left alone. */
    assert_int_equal(pubsub_ack_one(client, sid, 64, 2), PUBSUB_OK);
    assert_int_equal(pubsub_ack_upto(client, sid, 64, 3), PUBSUB_OK);
    assert_int_equal(pubsub_nack(client, sid, 64, 5, 0), PUBSUB_OK);
    assert_int_equal(pubsub_ack_one(client, sid, 64, 10), PUBSUB_OK);
    assert_int_equal(pubsub_ack_one(client, sid, 65, 1), PUBSUB_OK);
    assert_int_equal(pubsub_ack_upto(client, sid, 64, 100), PUBSUB_OK);
    stage_expect_frames(stage, "ACK 1 64:9 0, "); /* of the last that was given */
    assert_int_equal(pubsub_ack_one(client, 77, 64, 6), PUBSUB_EINVAL);
    assert_int_equal(pubsub_ack_one(client, plain, 64, 6), PUBSUB_EINVAL);
    assert_non_null(strstr(pubsub_error(client), "does not acknowledge"));
    assert_int_equal(pubsub_nack(client, sid, 64, 6, UINT64_C(1) << 53), PUBSUB_EINVAL);
    assert_int_equal(pubsub_unsubscribe(client, sid), PUBSUB_OK);
    assert_int_equal(pubsub_ack_one(client, sid, 64, 6), PUBSUB_EINVAL);
}

/* Without a session it is asked for again from the first that is not acknowledged, and what was is not given again. */
static void what_is_not_acknowledged_comes_again(void **state)
{
    struct stage *stage = *state;
    stage_open(stage, stage_options(stage), 10);
    uint32_t sid = given(stage, PUBSUB_ACKS_EACH, 6);
    pubsub *client = stage->client;
    pubsub_ack_one(client, sid, 64, 1);
    pubsub_ack_one(client, sid, 64, 3);
    pubsub_reject(client, sid, 64, 4);
    stage_expect_frames(stage, "SUB 1 t ack=each from=all, ACK 1 64:1 1, ACK 1 64:3 1, ACK 1 64:4 3, ");
    lose(stage);
    assert_int_equal(pubsub_ack_one(client, sid, 64, 5), PUBSUB_OK);
    connect_again(stage, false);
    stage_expect_frames(stage, "SUB 1 t ack=each from=seq:64,2,all, ");
    assert_int_equal(pubsub_ack_one(client, sid, 64, 6), PUBSUB_OK); /* it will come again, and is done */
    say_at(stage, 64, 2, 6);
    stage_wait_for_log(stage, "message 1 t 1 at 64:2\nmessage 1 t 1 at 64:7\n");
    stage_expect_frames(stage, "ACK 1 64:3 1, ACK 1 64:4 3, ACK 1 64:5 1, ACK 1 64:6 1, ");
    pubsub_ack_upto(client, sid, 64, 7);
    stage_expect_frames(stage, "ACK 1 64:7 0, ");
    lose(stage);
    connect_again(stage, false);
    stage_expect_frames(stage, "SUB 1 t ack=each from=seq:64,8,all, ");
}

/* With one, the broker sends what it does not know to be acknowledged. */
static void what_was_acknowledged_is_not_given_again(void **state)
{
    struct stage *stage = *state;
    stage_open(stage, session_options(stage), 10);
    uint32_t sid = given(stage, PUBSUB_ACKS_EACH, 4);
    stage_expect_frames(stage, "SUB 1 t ack=each from=all, ");
    lose(stage);
    assert_int_equal(pubsub_ack_one(stage->client, sid, 64, 2), PUBSUB_OK);
    assert_int_equal(pubsub_reject(stage->client, sid, 64, 3), PUBSUB_OK);
    assert_int_equal(pubsub_nack(stage->client, sid, 64, 4, 0), PUBSUB_OK);
    connect_again(stage, true);
    stage_expect_frames(stage, "SUB 1 t ack=each from=seq:64,1,all, ");
    for (uint64_t seq = 1; seq <= 4; seq++) say_again_at(stage, 64, seq, 2);
    stage_wait_for_log(stage, "message 1 t 1 at 64:1 try 2\nmessage 1 t 1 at 64:4 try 2\n");
    stage_expect_frames(stage, "ACK 1 64:2 1, ACK 1 64:3 3, ");
    /* An earlier program's, behind which this one has begun, are no less new to it. */
    say_at(stage, 65, 100, 1);
    say_again_at(stage, 65, 50, 3);
    stage_wait_for_log(stage, "message 1 t 1 at 65:100\nmessage 1 t 1 at 65:50 try 3\n");
}

/* The broker's stream was deleted and made anew: its first messages are none of those that were settled. */
static void a_stream_that_is_another_one_is_new_to_the_program(void **state)
{
    struct stage *stage = *state;
    stage_open(stage, session_options(stage), 10);
    uint32_t sid = given(stage, PUBSUB_ACKS_EACH, 4);
    stage_expect_frames(stage, "SUB 1 t ack=each from=all, ");
    assert_int_equal(pubsub_ack_one(stage->client, sid, 64, 1), PUBSUB_OK);
    stage_expect_frames(stage, "ACK 1 64:1 1, ");
    uint8_t buf[64];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    mps_encode_gap(&out, &(struct mps_gap){.sid = sid, .reason = MPS_GAP_RESTARTED, .stream = 64});
    stage_say(stage, &out);
    stage_wait_for_log(stage, "gap 1 0 broker_restarted inexact at 64:0..0\n");
    say_at(stage, 64, 1, 1);
    stage_wait_for_log(stage, "message 1 t 1 at 64:1\n");
    assert_int_equal(pubsub_ack_one(stage->client, sid, 64, 1), PUBSUB_OK);
    stage_expect_frames(stage, "ACK 1 64:1 1, ");
    lose(stage);
    connect_again(stage, false);
    stage_expect_frames(stage, "SUB 1 t ack=each from=seq:64,2,all, ");
}

static void cumulative_acknowledgements_are_repeated_as_such(void **state)
{
    struct stage *stage = *state;
    stage_open(stage, session_options(stage), 10);
    uint32_t sid = given(stage, PUBSUB_ACKS_UPTO, 3);
    lose(stage);
    pubsub_ack_upto(stage->client, sid, 64, 2);
    connect_again(stage, true);
    stage_expect_frames(stage, "SUB 1 t ack=upto from=seq:64,3,all, ");
    for (uint64_t seq = 1; seq <= 3; seq++) say_again_at(stage, 64, seq, 2);
    stage_wait_for_log(stage, "message 1 t 1 at 64:3 try 2\n");
    stage_expect_frames(stage, "ACK 1 64:1 0, ACK 1 64:2 0, ");
}

static void what_was_given_up_is_not_waited_for(void **state)
{
    struct stage *stage = *state;
    stage_open(stage, stage_options(stage), 10);
    uint32_t sid = given(stage, PUBSUB_ACKS_EACH, 3);
    say_gone(stage, MPS_GAP_GAVE_UP, 64, 1, 1);
    stage_wait_for_log(stage, "gap 1 1 max_tries at 64:1..1\n");
    assert_int_equal(pubsub_ack_one(stage->client, sid, 64, 1), PUBSUB_OK);
    assert_int_equal(pubsub_ack_one(stage->client, sid, 64, 2), PUBSUB_OK);
    stage_expect_frames(stage, "SUB 1 t ack=each from=all, ACK 1 64:2 1, ");
    lose(stage);
    connect_again(stage, false);
    stage_expect_frames(stage, "SUB 1 t ack=each from=seq:64,3,all, ");
}

/* A message that is not given to the program leaves its credit alone. */
static void credit_is_given_back(void **state)
{
    struct stage *stage = *state;
    struct pubsub_subscribe_options options = reader(stage, PUBSUB_FROM_ALL, PUBSUB_ACKS_EACH);
    options.by_credit = true;
    options.credit = 2;
    stage_open(stage, stage_options(stage), 10);
    uint32_t sid = subscribe(stage, &options);
    say_at(stage, 64, 1, 1);
    stage_wait_for_log(stage, "message 1 t 1 at 64:1\n");
    pubsub_ack_one(stage->client, sid, 64, 1);
    stage_expect_frames(stage, "SUB 1 t ack=each credit=2 from=all, ACK 1 64:1 1, ");
    say_again_at(stage, 64, 1, 2); /* the two have crossed */
    stage_expect_frames(stage, "ACK 1 64:1 1, CREDIT 1 3, ");
    stage_expect_log(stage, "");
}

/* ---- the core ----------------------------------------------------------------------------------------------- */

struct device {
    struct pubsub_core core;
    uint8_t rx[512], tx[512];
};

static void greet_device(struct device *device, const struct mps_welcome *welcome, struct pubsub_event *event)
{
    uint8_t buf[256];
    void *at;
    struct mps_out out = mps_out_open(buf, sizeof buf);
    const struct pubsub_core_hello hello = {.client_id = "dev-7", .session_s = 60, .boot = 7};
    assert_int_equal(pubsub_core_hello(&device->core, &hello), PUBSUB_OK);
    pubsub_core_written(&device->core, pubsub_core_output(&device->core, &(const void *){NULL}));
    assert_true(mps_encode_welcome(&out, welcome));
    assert_true(pubsub_core_input(&device->core, &at) >= out.len);
    memcpy(at, buf, out.len);
    pubsub_core_received(&device->core, out.len);
    assert_int_equal(pubsub_core_next(&device->core, event), PUBSUB_EVENT_WELCOME);
}

static void core_goes_on_behind_what_is_settled(void **state)
{
    (void)state;
    struct device device;
    struct pubsub_event event;
    uint64_t pid;
    const struct pubsub_publish_options stored = {.ack = PUBSUB_ACK_STORED};
    struct mps_welcome welcome = {.version = 1, .id = mps_text("dev-7"), .epoch = 5, .resumed = true, .last_pid = 8};
    pubsub_core_init(&device.core, device.rx, sizeof device.rx, device.tx, sizeof device.tx);
    greet_device(&device, &welcome, &event);
    assert_true(event.as.welcome.last_pid == 8 && event.as.welcome.resumed && event.as.welcome.epoch == 5);
    assert_int_equal(event.as.welcome.session_s, 60);
    assert_int_equal(pubsub_core_publish(&device.core, "t", "x", 1, &stored, &pid), PUBSUB_OK);
    assert_int_equal(pid, 9);

    pubsub_core_restart(&device.core, 9); /* the broker has not got that one */
    welcome.has_sess = true;
    welcome.sess_s = 30;
    greet_device(&device, &welcome, &event);
    assert_int_equal(event.as.welcome.session_s, 30);
    assert_int_equal(pubsub_core_publish(&device.core, "t", "x", 1, &stored, &pid), PUBSUB_OK);
    assert_int_equal(pid, 9);
}

static void core_acknowledges(void **state)
{
    (void)state;
    struct device device;
    struct pubsub_event event;
    pubsub_core_init(&device.core, device.rx, sizeof device.rx, device.tx, sizeof device.tx);
    assert_int_equal(pubsub_core_ack(&device.core, 1, 64, 1, PUBSUB_ACKED_ONE, 0), PUBSUB_ECLOSED);
    greet_device(&device, &(struct mps_welcome){.version = 1, .id = mps_text("dev-7")}, &event);
    const struct {
        uint32_t sid;
        uint64_t stream, seq;
        int kind;
        uint64_t delay_ms;
    } bad[] = {{0, 64, 1, 1, 0},
               {UINT32_C(1) << 31, 64, 1, 1, 0},
               {1, UINT64_C(1) << 53, 1, 1, 0},
               {1, 64, UINT64_C(1) << 53, 1, 0},
               {1, 64, 1, 4, 0},
               {1, 64, 1, 1, 5},
               {1, 64, 1, 2, UINT64_C(1) << 53}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(pubsub_core_ack(&device.core, bad[i].sid, bad[i].stream, bad[i].seq,
                                         (enum pubsub_ack_kind)bad[i].kind, bad[i].delay_ms),
                         PUBSUB_EINVAL);
    assert_int_equal(pubsub_core_ack(&device.core, 1, 64, 1, PUBSUB_ACKED_UPTO, 0), PUBSUB_OK);
    assert_int_equal(pubsub_core_ack(&device.core, 1, 64, 200, PUBSUB_ACKED_AGAIN, 300), PUBSUB_OK);
    static const uint8_t expected[] = {0x94, 0x05, 0x01, 0x40, 0x01, 0x96, 0x05, 0x01,
                                       0x40, 0xcc, 0xc8, 0x02, 0xcd, 0x01, 0x2c};
    const void *at;
    assert_int_equal(pubsub_core_output(&device.core, &at), sizeof expected);
    assert_memory_equal(at, expected, sizeof expected);
}

/* The longest of what core.h gives sizes for. */
static void core_fits_into_512_bytes(void **state)
{
    (void)state;
    struct device device;
    char pattern[PUBSUB_TOPIC_MAX + 1], id[65], software[65];
    memset(pattern, 'p', sizeof pattern - 1);
    pattern[sizeof pattern - 1] = '\0';
    memset(id, 'i', 64);
    id[64] = '\0';
    memcpy(software, id, sizeof id);
    const struct pubsub_core_hello hello = {.client_id = id,
                                            .software = software,
                                            .keepalive_s = UINT32_MAX,
                                            .session_s = UINT32_MAX,
                                            .clean = true,
                                            .boot = UINT64_MAX,
                                            .rx_max = UINT32_MAX,
                                            .half = true};
    const struct pubsub_subscribe_options options = {.max_msgs = UINT64_MAX,
                                                     .max_bytes = UINT64_MAX,
                                                     .retained = 2,
                                                     .policy = PUBSUB_DROP_OLD,
                                                     .then = PUBSUB_DROP_OLD,
                                                     .block_ms = UINT32_MAX,
                                                     .from = PUBSUB_FROM_TIME,
                                                     .from_number = MPS_NUMBER_MAX,
                                                     .ack = PUBSUB_ACKS_EACH,
                                                     .ack_ms = UINT32_MAX,
                                                     .max_tries = UINT32_MAX,
                                                     .inflight = 65536,
                                                     .durable = true,
                                                     .by_credit = true,
                                                     .credit = MPS_NUMBER_MAX};
    pubsub_core_init(&device.core, device.rx, sizeof device.rx, device.tx, sizeof device.tx);
    assert_int_equal(pubsub_core_hello(&device.core, &hello), PUBSUB_OK);
    pubsub_core_written(&device.core, pubsub_core_output(&device.core, &(const void *){NULL}));
    assert_int_equal(pubsub_core_subscribe(&device.core, MPS_SID_MAX, pattern, &options), PUBSUB_OK);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, stage_set_up, stage_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_session_is_asked_for),
        TEST(a_session_is_found_again_by_the_id_that_was_given),
        TEST(no_session_is_asked_for),
        TEST(what_a_session_has_waits_for_its_subscriber),
        TEST(settled_publishes_are_forgotten),
        TEST(what_a_new_session_does_not_know_is_sent_again),
        TEST(a_broker_that_claims_too_much_is_left),
        TEST(all_options_are_sent),
        TEST(bad_options_are_refused),
        TEST(numbers_may_be_chosen),
        TEST(a_reader_goes_on_behind_what_it_was_given),
        TEST(a_reader_begins_at_the_same_place_again),
        TEST(every_beginning_goes_on),
        TEST(the_newest_of_each_topic_is_wanted_until_it_has_come),
        TEST(a_member_leaves_the_place_to_its_group),
        TEST(a_reader_in_a_session_goes_back),
        TEST(an_end_is_told_again_to_a_session),
        TEST(credit_goes_on_with_a_session),
        TEST(credit_goes_on_when_the_broker_counts_anew),
        TEST(acknowledgements_are_sent),
        TEST(what_is_not_acknowledged_comes_again),
        TEST(what_was_acknowledged_is_not_given_again),
        TEST(a_stream_that_is_another_one_is_new_to_the_program),
        TEST(cumulative_acknowledgements_are_repeated_as_such),
        TEST(what_was_given_up_is_not_waited_for),
        TEST(credit_is_given_back),
        cmocka_unit_test(core_goes_on_behind_what_is_settled),
        cmocka_unit_test(core_acknowledges),
        cmocka_unit_test(core_fits_into_512_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
