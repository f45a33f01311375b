/* Encoders and decoders, with msgpack-c as the judge that nobody here wrote: what we encode is what it packs, and what
 * it packs we decode to the same values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "judge.h"

static uint8_t buffer[70000];

/* What was encoded is what the judge packed; and with one byte less room nothing is written. */
#define SAME(encoder, value)                                       \
    do {                                                           \
        mps_view frame_ = judge_frame();                           \
        struct mps_out out_ = mps_out_open(buffer, sizeof buffer); \
        assert_true(encoder(&out_, value));                        \
        assert_int_equal(out_.len, frame_.len);                    \
        assert_memory_equal(buffer, frame_.ptr, frame_.len);       \
        out_ = mps_out_open(buffer, frame_.len - 1);               \
        assert_false(encoder(&out_, value));                       \
        assert_int_equal(out_.len, 0);                             \
    } while (0)

#define DECODED(decoder, out)                                          \
    do {                                                               \
        const char *what_ = NULL;                                      \
        assert_int_equal(decoder(judge_frame(), out, &what_), MPS_OK); \
    } while (0)

static void text_is(mps_view got, const char *wanted)
{
    assert_true(mps_view_equal(got, mps_text(wanted)));
}

/* ---- one frame each --------------------------------------------------------------------------------------------- */

static void hello(void **state)
{
    (void)state;
    static const uint8_t data[] = {0x92, 0xa1, 'u', 0xa1, 'p'};
    struct mps_hello got, in = {.magic = mps_text("mps"),
                                .version = 1,
                                .id = mps_text("dev-7"),
                                .auth = mps_text("password"),
                                .data = {data, sizeof data},
                                .ka_s = 60,
                                .sess_s = 3600,
                                .clean = true,
                                .rx_max = 4096,
                                .boot = UINT64_MAX,
                                .half = true,
                                .vmin = 1,
                                .sw = mps_text("test")};
    judge_begin(3, MPS_OP_HELLO);
    judge_text("mps");
    judge_uint(1);
    msgpack_pack_map(&judge, 11);
    judge_key_text("id", "dev-7");
    judge_key_text("auth", "password");
    judge_text("data");
    msgpack_pack_array(&judge, 2);
    judge_text("u");
    judge_text("p");
    judge_key_uint("ka", 60);
    judge_key_uint("sess", 3600);
    judge_key_true("clean");
    judge_key_uint("rx_max", 4096);
    judge_key_uint("boot", UINT64_MAX);
    judge_key_true("half");
    judge_key_uint("vmin", 1);
    judge_key_text("sw", "test");
    SAME(mps_encode_hello, &in);
    DECODED(mps_decode_hello, &got);
    text_is(got.magic, "mps");
    text_is(got.id, "dev-7");
    text_is(got.auth, "password");
    text_is(got.sw, "test");
    assert_true(mps_view_equal(got.data, in.data));
    assert_null(got.will.ptr);
    assert_true(got.version == 1 && got.ka_s == 60 && got.sess_s == 3600 && got.rx_max == 4096 && got.vmin == 1);
    assert_true(got.boot == UINT64_MAX && got.clean && got.half);
}

static void message_of(size_t topic_len, size_t payload_len, bool with_props)
{
    char topic[256], *payload = malloc(payload_len + 1);
    assert_non_null(payload);
    memset(topic, 't', topic_len);
    topic[topic_len] = '\0';
    memset(payload, 0xc1, payload_len);
    judge_begin(3, MPS_OP_MSG);
    judge_text(topic);
    static const uint8_t props[] = {0x82, 0x04, 0xcd, 0x03, 0xe8, 0xa1, 'h', 0xc3};
    if (with_props) {
        msgpack_pack_map(&judge, 2);
        judge_uint(4);
        judge_uint(1000);
        judge_text("h");
        msgpack_pack_true(&judge);
    } else {
        msgpack_pack_nil(&judge);
    }
    judge_bin(payload, payload_len);
    struct mps_msg got, in = {.topic = mps_text(topic), .payload = {(uint8_t *)payload, (uint32_t)payload_len}};
    if (with_props) in.props = (mps_view){props, sizeof props};
    SAME(mps_encode_msg, &in);
    DECODED(mps_decode_msg, &got);
    text_is(got.topic, topic);
    assert_true(mps_view_equal(got.payload, in.payload));
    assert_true(mps_view_equal(got.props, in.props));
    assert_int_equal(got.props.ptr != NULL, with_props);
    struct mps_out head = mps_out_open(buffer, sizeof buffer);
    assert_true(mps_encode_msg_head(&head, in.topic, in.props, in.payload.len));
    assert_memory_equal(buffer, judge_bytes.data, head.len);
    assert_int_equal(head.len + payload_len, judge_bytes.size);
    assert_int_equal(mps_msg_frame_len((const uint8_t *)judge_bytes.data), judge_bytes.size);
    free(payload);
}

static void message(void **state)
{
    (void)state;
    static const size_t topics[] = {1, 31, 32, 255}, payloads[] = {0, 1, 255, 256, 65535, 65536};
    for (size_t t = 0; t < 4; t++) {
        for (size_t p = 0; p < 6; p++) {
            message_of(topics[t], payloads[p], false);
            message_of(topics[t], payloads[p], true);
        }
    }
}

static void pub_and_pubacks(void **state)
{
    (void)state;
    for (size_t i = 0; i < JUDGE_EDGES; i++) {
        struct mps_pub pub, pub_in = {.pid = judge_edges[i], .flags = 18};
        judge_begin(2, MPS_OP_PUB);
        judge_uint(judge_edges[i]);
        judge_uint(18);
        SAME(mps_encode_pub, &pub_in);
        DECODED(mps_decode_pub, &pub);
        assert_true(pub.pid == judge_edges[i] && pub.flags == 18);

        struct mps_puback ack,
            ack_in = {.pid = judge_edges[i], .code = 0, .matched = judge_edges[i], .dropped = judge_edges[i]};
        judge_begin(4, MPS_OP_PUBACK);
        judge_uint(judge_edges[i]);
        judge_uint(0);
        judge_uint(judge_edges[i]);
        judge_uint(judge_edges[i]);
        SAME(mps_encode_puback, &ack_in);
        DECODED(mps_decode_puback, &ack);
        assert_true(ack.pid == judge_edges[i] && ack.matched == judge_edges[i] && ack.dropped == judge_edges[i] &&
                    ack.text.ptr == NULL);
    }
    struct mps_puback ack, ack_in = {.pid = 7, .code = 210, .text = mps_text("bad topic")};
    judge_begin(7, MPS_OP_PUBACK);
    judge_uint(7);
    judge_uint(210);
    judge_uint(0);
    judge_uint(0);
    msgpack_pack_nil(&judge);
    msgpack_pack_nil(&judge);
    judge_text("bad topic");
    SAME(mps_encode_puback, &ack_in);
    DECODED(mps_decode_puback, &ack);
    text_is(ack.text, "bad topic");
}

static void terms_of_a_receiver(void **state)
{
    (void)state;
    struct mps_for got, in = {.sid = 7};
    judge_begin(1, MPS_OP_FOR);
    judge_uint(7);
    SAME(mps_encode_for, &in);
    DECODED(mps_decode_for, &got);
    assert_true(got.sid == 7 && got.flags == 0 && !got.has_position);

    in = (struct mps_for){.sid = MPS_SID_MAX,
                          .flags = 4,
                          .has_position = true,
                          .stream = 64,
                          .seq = MPS_NUMBER_MAX,
                          .time_ms = 1700000000000,
                          .tries = 3};
    judge_begin(6, MPS_OP_FOR);
    judge_uint(MPS_SID_MAX);
    judge_uint(4);
    judge_uint(64);
    judge_uint(MPS_NUMBER_MAX);
    judge_uint(1700000000000);
    judge_uint(3);
    SAME(mps_encode_for, &in);
    DECODED(mps_decode_for, &got);
    assert_true(got.has_position && got.stream == 64 && got.seq == MPS_NUMBER_MAX && got.time_ms == 1700000000000);
    assert_true(got.sid == MPS_SID_MAX && got.flags == 4 && got.tries == 3);
}

static void small_frames(void **state)
{
    (void)state;
    struct mps_ack ack, ack_in = {.sid = 1, .stream = 64, .seq = 1000, .kind = 2, .delay_ms = 500};
    judge_begin(5, MPS_OP_ACK);
    judge_uint(1);
    judge_uint(64);
    judge_uint(1000);
    judge_uint(2);
    judge_uint(500);
    SAME(mps_encode_ack, &ack_in);
    DECODED(mps_decode_ack, &ack);
    assert_true(ack.sid == 1 && ack.stream == 64 && ack.seq == 1000 && ack.kind == 2 && ack.delay_ms == 500);

    struct mps_credit credit, credit_in = {.sid = 2, .max_msgs = 128, .drain = true};
    judge_begin(3, MPS_OP_CREDIT);
    judge_uint(2);
    judge_uint(128);
    msgpack_pack_true(&judge);
    SAME(mps_encode_credit, &credit_in);
    DECODED(mps_decode_credit, &credit);
    assert_true(credit.sid == 2 && credit.max_msgs == 128 && credit.drain);

    struct mps_gap gap, gap_in = {.sid = 1, .reason = MPS_GAP_RESTARTED};
    judge_begin(3, MPS_OP_GAP);
    judge_uint(1);
    msgpack_pack_nil(&judge);
    judge_uint(9);
    SAME(mps_encode_gap, &gap_in);
    DECODED(mps_decode_gap, &gap);
    assert_true(gap.sid == 1 && !gap.has_count && gap.reason == 9 && gap.stream == 0);

    gap_in =
        (struct mps_gap){.sid = 1, .has_count = true, .count = 318, .reason = 5, .stream = 64, .first = 1, .last = 318};
    judge_begin(6, MPS_OP_GAP);
    judge_uint(1);
    judge_uint(318);
    judge_uint(5);
    judge_uint(64);
    judge_uint(1);
    judge_uint(318);
    SAME(mps_encode_gap, &gap_in);
    DECODED(mps_decode_gap, &gap);
    assert_true(gap.has_count && gap.count == 318 && gap.stream == 64 && gap.first == 1 && gap.last == 318);

    struct mps_unsub unsub, unsub_in = {.sid = 9};
    judge_begin(1, MPS_OP_UNSUB);
    judge_uint(9);
    SAME(mps_encode_unsub, &unsub_in);
    DECODED(mps_decode_unsub, &unsub);
    assert_int_equal(unsub.sid, 9);

    struct mps_mark mark, mark_in = {.sid = 9, .kind = MPS_MARK_ENDED, .has_counts = true, .sent = 5, .lost = 6};
    judge_begin(3, MPS_OP_MARK);
    judge_uint(9);
    judge_uint(4);
    msgpack_pack_map(&judge, 2);
    judge_key_uint("sent", 5);
    judge_key_uint("lost", 6);
    SAME(mps_encode_mark, &mark_in);
    DECODED(mps_decode_mark, &mark);
    assert_true(mark.sid == 9 && mark.kind == 4 && mark.has_counts && mark.sent == 5 && mark.lost == 6);
}

static void tokens_and_counts(void **state)
{
    (void)state;
    char bytes[64];
    memset(bytes, 0xff, sizeof bytes);
    struct mps_token token, in = {.token = {(uint8_t *)bytes, sizeof bytes}};
    judge_begin(1, MPS_OP_PING);
    judge_bin(bytes, sizeof bytes);
    SAME(mps_encode_ping, &in);
    DECODED(mps_decode_token, &token);
    assert_true(mps_view_equal(token.token, in.token));
    judge_begin(1, MPS_OP_PONG);
    judge_bin(bytes, sizeof bytes);
    SAME(mps_encode_pong, &in);

    struct mps_auth auth, auth_in = {.token = mps_text("secret")};
    judge_begin(1, MPS_OP_AUTH);
    judge_bin("secret", 6);
    SAME(mps_encode_auth, &auth_in);
    DECODED(mps_decode_auth, &auth);
    text_is(auth.token, "secret");

    struct mps_stat stat, stat_in = {.sid = 1};
    judge_begin(1, MPS_OP_STAT);
    judge_uint(1);
    SAME(mps_encode_stat, &stat_in);
    DECODED(mps_decode_stat, &stat);
    assert_true(stat.sid == 1 && !stat.has_counts);
    stat_in = (struct mps_stat){
        .sid = 1, .has_counts = true, .matched = 10, .sent = 5, .lost = 3, .queued = 2, .queued_bytes = 200};
    judge_begin(6, MPS_OP_STAT);
    static const uint64_t counts[] = {1, 10, 5, 3, 2, 200};
    for (size_t i = 0; i < 6; i++) judge_uint(counts[i]);
    SAME(mps_encode_stat, &stat_in);
    DECODED(mps_decode_stat, &stat);
    assert_true(stat.has_counts && stat.matched == 10 && stat.sent == 5 && stat.lost == 3 && stat.queued == 2 &&
                stat.queued_bytes == 200);
}

/* What a SUB with only this `from` is, and what it is read as. The judge has packed the value. */
static void from_is(struct mps_from from, struct mps_from *got)
{
    static struct mps_sub sub; /* what was read borrows from the judge's bytes */
    struct mps_sub in = {.sid = 1, .pattern = mps_text("t"), .options = {.given = MPS_SUB_FROM, .from = from}};
    SAME(mps_encode_sub, &in);
    DECODED(mps_decode_sub, &sub);
    assert_true(sub.options.given == MPS_SUB_FROM && sub.options.from.kind == from.kind);
    *got = sub.options.from;
    in.options.from = *got; /* as it was read, it is written again */
    SAME(mps_encode_sub, &in);
}

static void begin_from(void)
{
    judge_begin(3, MPS_OP_SUB);
    judge_uint(1);
    judge_text("t");
    msgpack_pack_map(&judge, 1);
    judge_text("from");
}

static void from_a_kind(void **state)
{
    (void)state;
    static const enum mps_from_kind names[] = {MPS_FROM_NEW, MPS_FROM_ALL, MPS_FROM_ACKED, MPS_FROM_LAST_PER_TOPIC};
    static const enum mps_from_kind numbers[] = {MPS_FROM_LAST, MPS_FROM_TIME, MPS_FROM_AGO};
    struct mps_from got;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        begin_from();
        judge_text(mps_from_name(names[i]));
        from_is((struct mps_from){.kind = names[i]}, &got);
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        begin_from();
        msgpack_pack_array(&judge, 2);
        judge_text(mps_from_name(numbers[i]));
        judge_uint(MPS_NUMBER_MAX);
        from_is((struct mps_from){.kind = numbers[i], .number = MPS_NUMBER_MAX}, &got);
        assert_true(got.number == MPS_NUMBER_MAX);
    }
}

static void from_positions(void **state)
{
    (void)state;
    static const enum mps_from_kind rests[] = {MPS_FROM_NEW, MPS_FROM_ALL, MPS_FROM_AGO};
    static const uint32_t counts[] = {1, 2, 7, 8, MPS_FROM_POSITIONS_MAX};
    uint64_t positions[2 * MPS_FROM_POSITIONS_MAX], stream, seq;
    struct mps_from got;
    for (size_t i = 0; i < MPS_FROM_POSITIONS_MAX; i++) {
        positions[2 * i] = 64 + i;
        positions[2 * i + 1] = i % 2 == 0 ? i : MPS_NUMBER_MAX - i;
    }
    for (size_t i = 0; i < 3 * sizeof counts / sizeof *counts; i++) {
        uint32_t count = counts[i / 3];
        enum mps_from_kind rest = rests[i % 3];
        bool named = rest == MPS_FROM_ALL, numbered = rest == MPS_FROM_AGO;
        begin_from();
        msgpack_pack_array(&judge, 1 + 2 * (size_t)count + named + numbered);
        judge_text("seq");
        for (uint32_t j = 0; j < 2 * count; j++) judge_uint(positions[j]);
        if (numbered) msgpack_pack_array(&judge, 2);
        if (named || numbered) judge_text(mps_from_name(rest));
        if (numbered) judge_uint(5);
        from_is((struct mps_from){MPS_FROM_SEQ, rest, numbered ? 5 : 0, count, {NULL, 0}, positions}, &got);
        assert_true(got.count == count && got.rest == rest && got.number == (numbered ? 5 : 0));
        for (uint32_t j = 0; j < count; j++) {
            assert_true(mps_from_next(&got.pairs, &stream, &seq));
            assert_true(stream == positions[2 * j] && seq == positions[2 * j + 1]);
        }
        assert_false(mps_from_next(&got.pairs, &stream, &seq));
    }
}

static void from_bad_shapes(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        uint32_t len;
    } bad[] = {
        {"\xc0", 1},
        {"\x05", 1},
        {"\xc3", 1},
        {"\xc4\x03new", 5},
        {"\x80", 1},
        {"\x90", 1},
        {"\xa0", 1},
        {"\xa3neW", 4},
        {"\xa4last", 5},
        {"\xa4time", 5},
        {"\xa3seq", 4},
        {"\x91\xa3new", 5},
        {"\x92\xa3new\x05", 6},
        {"\x91\xa4last", 6},
        {"\x92\xa4last\xff", 7},
        {"\x92\xa4last\xc0", 7},
        {"\x92\xa4last\xa1x", 8},
        {"\x93\xa4last\x05\x05", 8},
        {"\x92\xa4last\xcf\x00\x20\x00\x00\x00\x00\x00\x00", 15},
        {"\x92\x05\x05", 3},
        {"\x91\xa3seq", 5},
        {"\x92\xa3seq\x40", 6},
        {"\x92\xa3seq\xa3"
         "all",
         9},
        {"\x93\xa3seq\x40\xff", 7},
        {"\x93\xa3seq\xa1x\x01", 8},
        {"\x94\xa3seq\x40\x01\x41", 8},
        {"\x94\xa3seq\x40\x01\xa4last", 12},
        {"\x94\xa3seq\x40\x01\xa3seq", 11},
        {"\x94\xa3seq\x40\x01\x93\xa3seq\x41\x01", 14},
        {"\x94\xa3seq\x40\x01\xc0", 8},
        {"\x95\xa3seq\x40\x01\xcc\x40\x02", 10},
    };
    struct mps_from got;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(mps_decode_from((mps_view){(const uint8_t *)bad[i].bytes, bad[i].len}, &got), MPS_BAD_OPTION);

    uint8_t buf[512];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    mps_put_array(&out, 1 + 2 * (MPS_FROM_POSITIONS_MAX + 1));
    mps_put_text(&out, mps_text("seq"));
    for (uint64_t i = 0; i <= MPS_FROM_POSITIONS_MAX; i++) mps_put_uint(&out, 64 + i), mps_put_uint(&out, 1);
    assert_false(out.full);
    assert_int_equal(mps_decode_from(mps_out_view(&out), &got), MPS_BAD_OPTION);
}

static void subscribe(void **state)
{
    (void)state;
    struct mps_sub got, in = {.sid = 1,
                              .pattern = mps_text("site/+/temp"),
                              .options = {.given = (MPS_SUB_SCOPE << 1) - 1,
                                          .policy = MPS_POLICY_BLOCK,
                                          .then = MPS_POLICY_CLOSE,
                                          .ack = MPS_ACK_EACH,
                                          .max_msgs = 100,
                                          .max_bytes = 70000,
                                          .block_ms = 500,
                                          .ack_ms = 30000,
                                          .max_tries = 5,
                                          .inflight = 6,
                                          .credit = 0,
                                          .group = mps_text("g"),
                                          .filter = mps_text("t > 3"),
                                          .from = {.kind = MPS_FROM_LAST, .number = 5},
                                          .retained = 2,
                                          .no_local = true,
                                          .durable = false,
                                          .scope = MPS_SCOPE_CLUSTER}};
    judge_begin(3, MPS_OP_SUB);
    judge_uint(1);
    judge_text("site/+/temp");
    msgpack_pack_map(&judge, 17);
    judge_key_text("policy", "block");
    judge_key_uint("max_msgs", 100);
    judge_key_uint("max_bytes", 70000);
    judge_key_uint("block_ms", 500);
    judge_key_text("then", "close");
    judge_key_text("ack", "each");
    judge_key_uint("ack_ms", 30000);
    judge_key_uint("max_tries", 5);
    judge_key_uint("inflight", 6);
    judge_key_uint("credit", 0);
    judge_key_text("group", "g");
    judge_key_text("filter", "t > 3");
    judge_text("from");
    msgpack_pack_array(&judge, 2);
    judge_text("last");
    judge_uint(5);
    judge_key_uint("retained", 2);
    judge_key_true("no_local");
    judge_text("durable");
    msgpack_pack_false(&judge);
    judge_key_text("scope", "cluster");
    SAME(mps_encode_sub, &in);
    DECODED(mps_decode_sub, &got);
    text_is(got.pattern, "site/+/temp");
    assert_true(got.sid == 1 && got.options.given == in.options.given && got.options.policy == MPS_POLICY_BLOCK);
    assert_true(got.options.then == MPS_POLICY_CLOSE && got.options.ack == MPS_ACK_EACH && got.options.max_msgs == 100);
    assert_true(got.options.max_bytes == 70000 && got.options.block_ms == 500 && got.options.ack_ms == 30000);
    assert_true(got.options.max_tries == 5 && got.options.inflight == 6 && got.options.credit == 0);
    assert_true(got.options.retained == 2 && got.options.no_local && !got.options.durable);
    assert_int_equal(got.options.scope, MPS_SCOPE_CLUSTER);
    assert_true(got.options.from.kind == MPS_FROM_LAST && got.options.from.number == 5);

    struct mps_suback back, back_in = {.sid = 1, .granted = {.given = MPS_SUB_MAX_MSGS, .max_msgs = 50}};
    judge_begin(3, MPS_OP_SUBACK);
    judge_uint(1);
    judge_uint(0);
    msgpack_pack_map(&judge, 1);
    judge_key_uint("max_msgs", 50);
    SAME(mps_encode_suback, &back_in);
    DECODED(mps_decode_suback, &back);
    assert_true(back.code == 0 && back.granted.given == MPS_SUB_MAX_MSGS && back.granted.max_msgs == 50);
    back_in = (struct mps_suback){.sid = 1, .code = 210, .text = mps_text("bad")};
    judge_begin(3, MPS_OP_SUBACK);
    judge_uint(1);
    judge_uint(210);
    judge_text("bad");
    SAME(mps_encode_suback, &back_in);
    DECODED(mps_decode_suback, &back);
    text_is(back.text, "bad");
}

static void welcome(void **state)
{
    (void)state;
    struct mps_welcome got, in = {.version = 1,
                                  .id = mps_text("dev-7"),
                                  .epoch = UINT64_MAX,
                                  .resumed = true,
                                  .last_pid = 41,
                                  .inbox = mps_text("$inbox/x"),
                                  .ka_s = 60,
                                  .sess_s = 3600,
                                  .max_payload = MPS_PAYLOAD_MAX,
                                  .max_topic = 255,
                                  .max_subs = 1000,
                                  .pub_window = 5000,
                                  .ack = 1,
                                  .sw = mps_text("b")};
    judge_begin(2, MPS_OP_WELCOME);
    judge_uint(1);
    msgpack_pack_map(&judge, 13);
    judge_key_text("id", "dev-7");
    judge_key_uint("epoch", UINT64_MAX);
    judge_key_true("resumed");
    judge_key_uint("last_pid", 41);
    judge_key_text("inbox", "$inbox/x");
    judge_key_uint("ka", 60);
    judge_key_uint("sess", 3600);
    judge_key_uint("max_payload", MPS_PAYLOAD_MAX);
    judge_key_uint("max_topic", 255);
    judge_key_uint("max_subs", 1000);
    judge_key_uint("pub_window", 5000);
    judge_key_uint("ack", 1);
    judge_key_text("sw", "b");
    DECODED(mps_decode_welcome, &got);
    text_is(got.id, "dev-7");
    text_is(got.inbox, "$inbox/x");
    text_is(got.sw, "b");
    assert_true(got.version == 1 && got.epoch == UINT64_MAX && got.resumed && got.last_pid == 41 && got.ka_s == 60);
    assert_true(got.sess_s == 3600 && got.max_payload == MPS_PAYLOAD_MAX && got.max_topic == 255 &&
                got.max_subs == 1000);
    assert_true(got.pub_window == 5000 && got.ack == 1);
    struct mps_out out = mps_out_open(buffer, sizeof buffer); /* encoded and decoded again */
    in = got;
    assert_true(mps_encode_welcome(&out, &in));
    assert_true(mps_view_equal(mps_out_view(&out), judge_frame()));
}

static void refusals(void **state)
{
    (void)state;
    static const uint8_t ref[] = {0xa3, 'a', '/', '+'}, info[] = {0x81, 0xa4, 'v', 'm', 'i', 'n', 0x01};
    struct mps_err err,
        err_in = {.code = 210, .text = mps_text("bad topic"), .has_op = true, .op = 2, .ref = {ref, sizeof ref}};
    judge_begin(4, MPS_OP_ERR);
    judge_uint(210);
    judge_text("bad topic");
    judge_uint(2);
    judge_text("a/+");
    SAME(mps_encode_err, &err_in);
    DECODED(mps_decode_err, &err);
    assert_true(err.code == 210 && err.has_op && err.op == 2 && mps_view_equal(err.ref, err_in.ref));
    text_is(err.text, "bad topic");

    struct mps_bye bye, bye_in = {.code = 102, .text = mps_text("no"), .info = {info, sizeof info}};
    judge_begin(3, MPS_OP_BYE);
    judge_uint(102);
    judge_text("no");
    msgpack_pack_map(&judge, 1);
    judge_key_uint("vmin", 1);
    SAME(mps_encode_bye, &bye_in);
    DECODED(mps_decode_bye, &bye);
    assert_true(bye.code == 102 && mps_view_equal(bye.info, bye_in.info));

    struct mps_info in = {.map = {info, sizeof info}}, got;
    judge_begin(1, MPS_OP_INFO);
    msgpack_pack_map(&judge, 1);
    judge_key_uint("vmin", 1);
    SAME(mps_encode_info, &in);
    DECODED(mps_decode_info, &got);
    assert_true(mps_view_equal(got.map, in.map));
}

static void plain_integers(void **state)
{
    (void)state;
    static const int64_t numbers[] = {
        0,         1,   -1,  -32,      -33, -128, -129, -32768, -32769, INT32_MIN, INT64_C(-2147483649),
        INT64_MIN, 127, 128, INT64_MAX};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        msgpack_sbuffer_clear(&judge_bytes);
        msgpack_packer_init(&judge, &judge_bytes, msgpack_sbuffer_write);
        msgpack_pack_int64(&judge, numbers[i]);
        struct mps_out out = mps_out_open(buffer, sizeof buffer);
        mps_put_int(&out, numbers[i]);
        assert_int_equal(out.len, judge_bytes.size);
        assert_memory_equal(buffer, judge_bytes.data, out.len);
    }
}

/* ---- names ---------------------------------------------------------------------------------------------------- */

/* What people are told: of the numbers below 1000 so many have a name, each another one. */
static void check_names(const char *(*name_of)(unsigned number), unsigned expected)
{
    const char *names[1000];
    unsigned count = 0;
    for (unsigned number = 0; number < 1000; number++) {
        const char *name = name_of(number);
        if (strcmp(name, "unknown") == 0) continue;
        assert_true(strlen(name) > 0);
        for (unsigned i = 0; i < count; i++) assert_string_not_equal(name, names[i]);
        names[count++] = name;
    }
    assert_int_equal(count, expected);
}

static void names(void **state)
{
    (void)state;
#define CODE(number, NAME, text) +1
    const unsigned codes = 0
#include "codes.def"
        ;
    check_names(mps_code_text, codes);
    assert_string_equal(mps_code_text(MPS_LIMIT), "limit exceeded");
#define GAP_REASON(number, NAME, text) +1
    const unsigned reasons = 0
#include "codes.def"
        ;
    check_names(mps_gap_reason_name, reasons);
#define MARK_KIND(number, NAME, text) +1
    const unsigned marks = 0
#include "codes.def"
        ;
    check_names(mps_mark_name, marks);
    assert_string_equal(mps_mark_name(MPS_MARK_CAUGHT_UP), "caught_up");
    check_names(mps_policy_name, 6);
    check_names(mps_ack_mode_name, 3);
    check_names(mps_from_name, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hello),           cmocka_unit_test(message),
        cmocka_unit_test(pub_and_pubacks), cmocka_unit_test(terms_of_a_receiver),
        cmocka_unit_test(small_frames),    cmocka_unit_test(tokens_and_counts),
        cmocka_unit_test(from_a_kind),     cmocka_unit_test(from_positions),
        cmocka_unit_test(from_bad_shapes), cmocka_unit_test(subscribe),
        cmocka_unit_test(welcome),         cmocka_unit_test(refusals),
        cmocka_unit_test(plain_integers),  cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, judge_set_up, judge_tear_down);
}
