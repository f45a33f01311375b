/* The client's core: what a broker says, whole and in pieces; a broker that breaks the protocol; what is written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pubsub/core.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire.h"

#define RX_BYTES 1024

struct peer {
    struct pubsub_core core;
    uint8_t rx[RX_BYTES], tx[RX_BYTES];
    uint8_t sent[4096]; /* all that the core wrote */
    size_t sent_len;
    char log[8192]; /* one line per event */
};

__attribute__((format(printf, 2, 3))) static void note(struct peer *peer, const char *format, ...)
{
    size_t at = strlen(peer->log);
    va_list args;
    va_start(args, format);
    vsnprintf(peer->log + at, sizeof peer->log - at, format, args);
    va_end(args);
}

static void drain_output(struct peer *peer)
{
    const void *at;
    size_t len = pubsub_core_output(&peer->core, &at);
    assert_true(peer->sent_len + len <= sizeof peer->sent);
    memcpy(peer->sent + peer->sent_len, at, len);
    peer->sent_len += len;
    pubsub_core_written(&peer->core, len);
}

static void note_event(struct peer *peer, const struct pubsub_event *event)
{
    switch (event->type) {
    case PUBSUB_EVENT_NONE: break;
    case PUBSUB_EVENT_BLOCKED: note(peer, "blocked\n"); break;
    case PUBSUB_EVENT_WELCOME:
        note(peer, "welcome %s %llu\n", event->as.welcome.client_id, (unsigned long long)event->as.welcome.pub_window);
        break;
    case PUBSUB_EVENT_MESSAGE: {
        const struct pubsub_message *m = &event->as.message;
        note(peer, "message %u %.*s %zu byte %d flags %d%d%d at %llu:%llu props %zu\n", m->sid, (int)m->topic_len,
             m->topic, m->payload_len, m->payload_len > 0 ? *(const uint8_t *)m->payload : -1, m->retained, m->replayed,
             m->redelivered, (unsigned long long)m->stream, (unsigned long long)m->seq, m->props_len);
        break;
    }
    case PUBSUB_EVENT_GAP:
        note(peer, "gap %u %d %llu %s\n", event->as.gap.sid, event->as.gap.exact,
             (unsigned long long)event->as.gap.count, event->as.gap.reason_name);
        break;
    case PUBSUB_EVENT_PUBACK:
        note(peer, "puback %llu..%llu code %u matched %llu dropped %llu '%s'\n",
             (unsigned long long)event->as.puback.first_pid, (unsigned long long)event->as.puback.last_pid,
             event->as.puback.code, (unsigned long long)event->as.puback.matched,
             (unsigned long long)event->as.puback.dropped, event->as.puback.text);
        break;
    case PUBSUB_EVENT_SUBACK:
        note(peer, "suback %u %u '%s'\n", event->as.suback.sid, event->as.suback.code, event->as.suback.text);
        break;
    case PUBSUB_EVENT_MARK: note(peer, "mark %u %u\n", event->as.mark.sid, event->as.mark.mark); break;
    case PUBSUB_EVENT_STAT:
        note(peer, "stat %u %llu\n", event->as.stat.sid, (unsigned long long)event->as.stat.matched);
        break;
    case PUBSUB_EVENT_PONG: note(peer, "pong %zu\n", event->as.pong.len); break;
    case PUBSUB_EVENT_INFO: note(peer, "info %zu\n", event->as.info.len); break;
    case PUBSUB_EVENT_REFUSAL:
        note(peer, "refusal %u op %u sid %u '%s'\n", event->as.refusal.code, event->as.refusal.op,
             event->as.refusal.sid, event->as.refusal.text);
        break;
    case PUBSUB_EVENT_TOO_LARGE:
        note(peer, "too large %u %u\n", event->as.too_large.sid, event->as.too_large.payload_len);
        break;
    case PUBSUB_EVENT_BYE: note(peer, "bye %u '%s'\n", event->as.ending.code, event->as.ending.text); break;
    case PUBSUB_EVENT_FAILED: note(peer, "failed %u\n", event->as.ending.code); break;
    }
}

static void events(struct peer *peer)
{
    struct pubsub_event event;
    do {
        pubsub_core_next(&peer->core, &event);
        note_event(peer, &event);
        drain_output(peer);
    } while (event.type != PUBSUB_EVENT_NONE);
}

/* Gives the core `len` bytes, at most `piece` at a time (0: as many as fit). */
static void feed(struct peer *peer, const uint8_t *bytes, size_t len, size_t piece)
{
    while (len > 0) {
        void *at;
        size_t room = pubsub_core_input(&peer->core, &at);
        assert_true(room > 0);
        size_t n = len < room ? len : room;
        if (piece > 0 && piece < n) n = piece;
        memcpy(at, bytes, n);
        pubsub_core_received(&peer->core, n);
        bytes += n;
        len -= n;
        events(peer);
    }
}

static void greet(struct peer *peer)
{
    memset(peer, 0, sizeof *peer);
    pubsub_core_init(&peer->core, peer->rx, sizeof peer->rx, peer->tx, sizeof peer->tx);
    assert_int_equal(pubsub_core_hello(&peer->core, &(struct pubsub_core_hello){.client_id = "dev-7"}), 0);
    drain_output(peer);
}

static void feed_welcome(struct peer *peer)
{
    uint8_t buf[256];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    const struct mps_welcome welcome = {.version = 1, .id = mps_text("dev-7"), .pub_window = 9};
    assert_true(mps_encode_welcome(&out, &welcome));
    feed(peer, buf, out.len, 0);
    assert_string_equal(peer->log, "welcome dev-7 9\n");
    peer->log[0] = '\0';
    peer->sent_len = 0;
}

/* "94 02 a1" -> bytes. */
static size_t unhex(const char *hex, uint8_t *bytes, size_t cap)
{
    size_t len = 0;
    for (char *end; *hex != '\0'; hex = end) {
        assert_true(len < cap);
        bytes[len++] = (uint8_t)strtoul(hex, &end, 16);
        while (*end == ' ') end++;
    }
    return len;
}

static void put_message(struct mps_out *out, const char *topic, const char *payload, mps_view props)
{
    assert_true(mps_encode_msg(out, &(struct mps_msg){mps_text(topic), props, mps_text(payload)}));
}

static uint32_t build_session(uint8_t *buf, size_t cap)
{
    const mps_view none = {NULL, 0};
    const uint8_t props[] = {0x81, 0x03, 0x00}, map[] = {0x80};
    struct mps_out out = mps_out_open(buf, cap);
    mps_encode_welcome(&out, &(struct mps_welcome){.version = 1, .id = mps_text("dev-7"), .pub_window = 9});
    mps_encode_suback(&out, &(struct mps_suback){.sid = 1});
    mps_encode_suback(&out, &(struct mps_suback){.sid = 2, .code = 221, .text = mps_text("too many\x1b[2J")});
    mps_encode_for(&out, &(struct mps_for){.sid = 1, .flags = 1});
    put_message(&out, "a/b", "kept", none);
    mps_encode_mark(&out, &(struct mps_mark){.sid = 1, .kind = 1});
    mps_encode_for(&out, &(struct mps_for){.sid = 1});
    put_message(&out, "a/b", "x", none);
    put_message(&out, "a/c", "", none);
    put_message(&out, "a/c", "z", (mps_view){props, sizeof props});
    mps_encode_gap(&out, &(struct mps_gap){.sid = 1, .has_count = true, .count = 318, .reason = 1});
    mps_encode_for(&out, &(struct mps_for){.sid = 3, .flags = 6, .has_position = true, .stream = 64, .seq = 10});
    put_message(&out, "s", "1", none);
    put_message(&out, "s", "2", none);
    mps_encode_puback(&out, &(struct mps_puback){.pid = 2, .matched = 3});
    mps_encode_puback(&out, &(struct mps_puback){.pid = 2, .matched = 3}); /* again: nothing new */
    mps_encode_puback(&out, &(struct mps_puback){.pid = 3, .code = 210, .text = mps_text("bad topic")});
    mps_encode_stat(&out, &(struct mps_stat){.sid = 1, .has_counts = true, .matched = 5, .sent = 4, .lost = 1});
    mps_encode_ping(&out, &(struct mps_token){mps_text("abc")});
    mps_encode_pong(&out, &(struct mps_token){mps_text("")});
    mps_encode_info(&out, &(struct mps_info){{map, sizeof map}});
    mps_encode_err(&out, &(struct mps_err){.code = 211, .text = mps_text("not yours"), .has_op = true, .op = 2});
    mps_put_raw(&out, (mps_view){(const uint8_t *)"\x92\x40\x01", 3}); /* operation 64: an experiment */
    mps_encode_bye(&out, &(struct mps_bye){.code = 113});
    assert_false(out.full);
    return out.len;
}

static const char session_log[] = "welcome dev-7 9\n"
                                  "suback 1 0 ''\n"
                                  "suback 2 221 'too many?[2J'\n"
                                  "message 1 a/b 4 byte 107 flags 100 at 0:0 props 0\n"
                                  "mark 1 1\n"
                                  "message 1 a/b 1 byte 120 flags 000 at 0:0 props 0\n"
                                  "message 1 a/c 0 byte -1 flags 000 at 0:0 props 0\n"
                                  "message 1 a/c 1 byte 122 flags 000 at 0:0 props 3\n"
                                  "gap 1 1 318 drop_old\n"
                                  "message 3 s 1 byte 49 flags 011 at 64:10 props 0\n"
                                  "message 3 s 1 byte 50 flags 011 at 64:11 props 0\n"
                                  "puback 1..2 code 0 matched 3 dropped 0 ''\n"
                                  "puback 3..3 code 210 matched 0 dropped 0 'bad topic'\n"
                                  "stat 1 5\n"
                                  "pong 0\n"
                                  "info 1\n"
                                  "refusal 211 op 2 sid 0 'not yours'\n"
                                  "bye 113 'the broker is shutting down'\n";

static void publish_acked(struct peer *peer, int count)
{
    const struct pubsub_publish_options acked = {.ack = PUBSUB_ACK_ROUTED};
    for (int i = 0; i < count; i++) assert_int_equal(pubsub_core_publish(&peer->core, "t", "x", 1, &acked, NULL), 0);
    drain_output(peer);
}

static void session_is_the_same_in_pieces(void **state)
{
    (void)state;
    static const size_t pieces[] = {0, 1, 3, 7};
    uint8_t bytes[2048];
    uint32_t len = build_session(bytes, sizeof bytes);
    static const uint8_t pong[] = {0x92, 0x0e, 0xc4, 0x03, 'a', 'b', 'c'};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        struct peer peer;
        greet(&peer);
        publish_acked(&peer, 3);
        peer.sent_len = 0;
        feed(&peer, bytes, len, pieces[i]);
        assert_string_equal(peer.log, session_log);
        assert_int_equal(peer.sent_len, sizeof pong);
        assert_memory_equal(peer.sent, pong, sizeof pong);
    }
}

/* Frames that no broker may send, after WELCOME and FOR 1, and the code of the BYE that they earn. */
static const struct {
    const char *name, *hex;
    unsigned code;
} broken[] = {
    {"c1", "c1", 101},
    {"not an array", "01", 101},
    {"empty array", "90", 101},
    {"operation as text", "91 a1 61", 101},
    {"operation negative", "91 ff", 101},
    {"operation 128", "91 cc 80", 101},
    {"operation float", "91 ca 00 00 00 00", 101},
    {"operation 0", "91 00", 103},
    {"operation 16", "92 10 00", 103},
    {"operation 63", "91 3f", 103},
    {"array of 2^32-1", "dd ff ff ff ff", 104},
    {"map of 2^32-1", "93 07 df ff ff ff ff", 104},
    {"array of 2^28", "dd 10 00 00 00", 104},
    {"str of 2^32-1", "93 0a db ff ff ff ff", 104},
    {"bin of 2^32-1", "92 0d c6 ff ff ff ff", 104},
    {"ext of 2^32-1", "92 0d c9 ff ff ff ff ff", 104},
    {"payload of 2^32-1", "94 02 a1 74 c0 c6 ff ff ff ff", 104},
    {"nested", "92 07 91 91 91 91 91 91 01", 104},
    {"HELLO", "94 01 a3 6d 70 73 01 80", 105},
    {"PUB", "93 03 01 02", 105},
    {"ACK", "94 05 01 40 01", 105},
    {"CREDIT", "93 06 01 05", 105},
    {"SUB", "94 09 01 a1 61 80", 105},
    {"UNSUB", "92 0b 01", 105},
    {"AUTH", "92 12 c4 01 61", 105},
    {"second WELCOME", "93 13 01 80", 105},
    {"FOR without sid", "91 04", 101},
    {"FOR with negative sid", "92 04 ff", 101},
    {"FOR with sid 2^31", "92 04 ce 80 00 00 00", 101},
    {"FOR with ext", "92 04 d4 01 01", 101},
    {"FOR with stream, no seq", "94 04 01 00 40", 101},
    {"MSG without payload", "93 02 a1 74 c0", 101},
    {"MSG with text payload", "94 02 a1 74 c0 a1 78", 101},
    {"MSG without topic", "94 02 a0 c0 c4 00", 101},
    {"MSG with wildcard", "94 02 a1 2b c0 c4 00", 101},
    {"MSG with bad UTF-8", "94 02 a1 ff c0 c4 00", 101},
    {"MSG with NUL in topic", "94 02 a1 00 c0 c4 00", 101},
    {"MSG with props that are no map", "94 02 a1 74 01 c4 00", 101},
    {"MSG with a key twice", "94 02 a1 74 82 03 00 cc 03 00 c4 00", 101},
    {"GAP with too few fields", "93 07 01 05", 101},
    {"GAP with count 2^64-1", "94 07 01 cf ff ff ff ff ff ff ff ff 01", 101},
    {"PUBACK of nothing sent", "95 08 04 00 00 00", 106},
    {"refusal ahead of order", "95 08 02 cc d2 00 00", 106},
    {"PUBACK with float pid", "95 08 ca 3f 80 00 00 00 00 00", 101},
    {"SUBACK without text", "93 0a 01 cc d2", 101},
    {"SUBACK with an option twice", "94 0a 01 00 82 a8 6d 61 78 5f 6d 73 67 73 05 a8 6d 61 78 5f 6d 73 67 73 05", 101},
    {"MARK without kind", "92 0c 01", 101},
    {"PING with text", "92 0d a1 61", 101},
    {"PING without token", "91 0d", 101},
    {"PONG with number", "92 0e 01", 101},
    {"STAT as a client asks it", "92 0f 01", 101},
    {"ERR without text", "92 14 cc d2", 101},
    {"ERR with text 2^31 as code", "93 14 ce 80 00 00 00 a0", 101},
    {"BYE with bin", "92 15 c4 00", 101},
    {"INFO with array", "92 16 90", 101},
};

static void broken_frames_end_the_connection(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        for (size_t piece = 0; piece <= 1; piece++) {
            uint8_t bytes[64];
            char expected[32];
            struct peer peer;
            greet(&peer);
            publish_acked(&peer, 3);
            feed_welcome(&peer);
            feed(&peer, (const uint8_t *)"\x92\x04\x01", 3, 0);
            size_t len = unhex(broken[i].hex, bytes, sizeof bytes - 3);
            feed(&peer, bytes, len, piece);
            snprintf(expected, sizeof expected, "failed %u\n", broken[i].code);
            if (strcmp(peer.log, expected) != 0) print_error("%s, piece %zu:\n", broken[i].name, piece);
            assert_string_equal(peer.log, expected);
            /* The broker is told, once, and then neither side of the core moves any more. */
            struct mps_bye bye;
            const char *what;
            assert_int_equal(mps_decode_bye((mps_view){peer.sent, (uint32_t)peer.sent_len}, &bye, &what), MPS_OK);
            assert_int_equal(bye.code, broken[i].code);
            feed(&peer, (const uint8_t *)"\x94\x02\xa1\x74\xc0\xc4\x00", 7, 0);
            assert_string_equal(peer.log, expected);
            assert_int_equal(pubsub_core_ping(&peer.core, NULL, 0), PUBSUB_ECLOSED);
        }
    }
}

static void every_prefix_waits_for_more(void **state)
{
    (void)state;
    uint8_t bytes[2048];
    uint32_t len = build_session(bytes, sizeof bytes);
    for (uint32_t cut = 0; cut < len; cut++) {
        struct peer peer;
        greet(&peer);
        publish_acked(&peer, 3);
        feed(&peer, bytes, cut, 0);
        assert_null(strstr(peer.log, "failed"));
        assert_memory_equal(peer.log, session_log, strlen(peer.log)); /* what is complete, and nothing else */
    }
}

static void frames_before_welcome(void **state)
{
    (void)state;
    struct peer peer;
    greet(&peer);
    feed(&peer, (const uint8_t *)"\x94\x02\xa1\x74\xc0\xc4\x00", 7, 0);
    assert_string_equal(peer.log, "failed 105\n");
    greet(&peer);
    feed(&peer, (const uint8_t *)"\x92\x15\xcc\x6c", 4, 0);
    assert_string_equal(peer.log, "bye 108 'not authenticated'\n");
    greet(&peer);
    feed(&peer, (const uint8_t *)"HTTP/1.1 400 Bad Request\r\n", 26, 0);
    assert_string_equal(peer.log, "failed 101\n");
    greet(&peer);
    feed(&peer, (const uint8_t *)"\x93\x13\x02\x80", 4, 0);
    assert_string_equal(peer.log, "failed 102\n");
}

static void message_without_for(void **state)
{
    (void)state;
    struct peer peer;
    greet(&peer);
    feed_welcome(&peer);
    feed(&peer, (const uint8_t *)"\x94\x02\xa1\x74\xc0\xc4\x00", 7, 0);
    assert_string_equal(peer.log, "failed 105\n");
}

static void overlong_encodings_mean_the_same(void **state)
{
    (void)state;
    uint8_t bytes[64];
    struct peer peer;
    greet(&peer);
    feed_welcome(&peer);
    size_t len = unhex("dc 00 02 cd 00 04 ce 00 00 00 01 "                                     /* FOR 1 */
                       "dd 00 00 00 05 cc 02 da 00 01 74 c0 c6 00 00 00 01 78 d9 03 65 78 74", /* and one field more */
                       bytes, sizeof bytes);
    feed(&peer, bytes, len, 1);
    assert_string_equal(peer.log, "message 1 t 1 byte 120 flags 000 at 0:0 props 0\n");
}

static void too_large_is_skipped(void **state)
{
    (void)state;
    static const size_t pieces[] = {0, 1, 3, 7};
    static char big[3 * RX_BYTES + 1];
    static uint8_t bytes[sizeof big + 256];
    memset(big, 'x', sizeof big - 1);
    struct mps_out out = mps_out_open(bytes, sizeof bytes);
    mps_encode_for(&out, &(struct mps_for){.sid = 1, .has_position = true, .stream = 64, .seq = 5});
    put_message(&out, "t", "a", (mps_view){NULL, 0});
    put_message(&out, "t", big, (mps_view){NULL, 0});
    put_message(&out, "t", "b", (mps_view){NULL, 0});
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        struct peer peer;
        greet(&peer);
        feed_welcome(&peer);
        feed(&peer, bytes, out.len, pieces[i]);
        assert_string_equal(peer.log, "message 1 t 1 byte 97 flags 000 at 64:5 props 0\n"
                                      "too large 1 3072\n"
                                      "message 1 t 1 byte 98 flags 000 at 64:7 props 0\n");
    }
}

/* A frame that is not a message and larger than what we take can't be skipped: it may matter. */
static void long_control_frame_ends(void **state)
{
    (void)state;
    char text[RX_BYTES + 1];
    uint8_t bytes[RX_BYTES + 64];
    memset(text, 'x', RX_BYTES);
    text[RX_BYTES] = '\0';
    struct mps_out out = mps_out_open(bytes, sizeof bytes);
    assert_true(mps_encode_err(&out, &(struct mps_err){.code = 211, .text = mps_text(text)}));
    struct peer peer;
    greet(&peer);
    feed_welcome(&peer);
    feed(&peer, bytes, RX_BYTES / 2, 0);
    assert_string_equal(peer.log, "failed 104\n");
}

static void input_grows_up_to_frame_max(void **state)
{
    (void)state;
    uint8_t rx[PUBSUB_CORE_RX_MIN], tx[PUBSUB_CORE_TX_MIN], bytes[2048], larger[4096];
    char big[1025];
    struct pubsub_core core;
    struct pubsub_event event;
    void *at;
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    pubsub_core_init(&core, rx, sizeof rx, tx, sizeof tx);
    pubsub_core_set_input(&core, rx, sizeof rx, 2000);
    assert_int_equal(pubsub_core_hello(&core, &(struct pubsub_core_hello){0}), 0);
    struct mps_out out = mps_out_open(bytes, sizeof bytes);
    mps_encode_welcome(&out, &(struct mps_welcome){.version = 1});
    mps_encode_for(&out, &(struct mps_for){.sid = 1});
    put_message(&out, "t", big, (mps_view){NULL, 0});
    size_t fed = 0, room = pubsub_core_input(&core, &at);
    memcpy(at, bytes, room);
    fed = room;
    pubsub_core_received(&core, room);
    assert_int_equal(pubsub_core_next(&core, &event), PUBSUB_EVENT_WELCOME);
    assert_int_equal(pubsub_core_next(&core, &event), PUBSUB_EVENT_NONE);
    room = pubsub_core_input(&core, &at); /* what the consumed frames took */
    memcpy(at, bytes + fed, room);
    fed += room;
    pubsub_core_received(&core, room);
    assert_int_equal(pubsub_core_next(&core, &event), PUBSUB_EVENT_NONE);
    assert_int_equal(pubsub_core_input(&core, &at), 0);
    pubsub_core_set_input(&core, larger, sizeof larger, 2000);
    room = pubsub_core_input(&core, &at);
    assert_true(room >= out.len - fed);
    memcpy(at, bytes + fed, out.len - fed);
    pubsub_core_received(&core, out.len - fed);
    assert_int_equal(pubsub_core_next(&core, &event), PUBSUB_EVENT_MESSAGE);
    assert_int_equal(event.as.message.payload_len, 1024);
}

static void ping_waits_for_room(void **state)
{
    (void)state;
    struct peer peer;
    struct pubsub_event event;
    void *at;
    greet(&peer);
    feed_welcome(&peer);
    while (pubsub_core_ping(&peer.core, "0123456789", 10) == PUBSUB_OK) continue;
    pubsub_core_input(&peer.core, &at);
    memcpy(at,
           "\x92\x0d\xc4\x08"
           "12345678"
           "\x92\x0e\xc4\x00",
           16); /* PING, then PONG */
    pubsub_core_received(&peer.core, 16);
    assert_int_equal(pubsub_core_next(&peer.core, &event), PUBSUB_EVENT_BLOCKED);
    assert_int_equal(pubsub_core_next(&peer.core, &event), PUBSUB_EVENT_BLOCKED);
    drain_output(&peer);
    assert_int_equal(pubsub_core_next(&peer.core, &event), PUBSUB_EVENT_PONG);
    peer.sent_len = 0;
    drain_output(&peer);
    assert_memory_equal(peer.sent,
                        "\x92\x0e\xc4\x08"
                        "12345678",
                        12);
}

/* The frames that were written, as "PUB 1 2, MSG t, ..." */
static void describe(const uint8_t *bytes, size_t len, char *text, size_t cap)
{
    const struct mps_limits limits = {MPS_HEAD_MAX, MPS_VALUES_MAX, MPS_PAYLOAD_MAX};
    text[0] = '\0';
    while (len > 0) {
        struct mps_scan scan = {0};
        size_t at = strlen(text);
        const char *what;
        assert_int_equal(mps_scan(&scan, bytes, len, &limits), MPS_SCAN_FRAME);
        mps_view frame = {bytes, scan.pos};
        struct mps_pub pub;
        struct mps_msg msg;
        if (scan.op == MPS_OP_PUB) {
            assert_int_equal(mps_decode_pub(frame, &pub, &what), MPS_OK);
            snprintf(text + at, cap - at, "PUB %llu %u, ", (unsigned long long)pub.pid, pub.flags);
        } else if (scan.op == MPS_OP_MSG) {
            assert_int_equal(mps_decode_msg(frame, &msg, &what), MPS_OK);
            snprintf(text + at, cap - at, "MSG %.*s, ", (int)msg.topic.len, (const char *)msg.topic.ptr);
        } else {
            snprintf(text + at, cap - at, "%s, ", mps_op_name(scan.op));
        }
        bytes += scan.pos;
        len -= scan.pos;
    }
}

static void expect_sent(struct peer *peer, const char *expected)
{
    char text[1024];
    drain_output(peer);
    describe(peer->sent, peer->sent_len, text, sizeof text);
    assert_string_equal(text, expected);
    peer->sent_len = 0;
}

static void terms_are_sticky(void **state)
{
    (void)state;
    const struct pubsub_publish_options acked = {.ack = PUBSUB_ACK_ROUTED}, kept = {.retain = true};
    struct peer peer;
    uint64_t pid = 99;
    greet(&peer);
    peer.sent_len = 0;
    assert_int_equal(pubsub_core_publish(&peer.core, "a", "x", 1, NULL, &pid), 0);
    assert_int_equal(pid, 0);
    assert_int_equal(pubsub_core_publish(&peer.core, "b", "x", 1, &acked, &pid), 0);
    assert_int_equal(pid, 1);
    assert_int_equal(pubsub_core_publish(&peer.core, "c", "x", 1, &acked, &pid), 0);
    assert_int_equal(pid, 2);
    assert_int_equal(pubsub_core_publish(&peer.core, "d", "x", 1, &kept, &pid), 0);
    assert_int_equal(pubsub_core_publish(&peer.core, "e", NULL, 0, &kept, &pid), 0);
    assert_int_equal(pubsub_core_publish(&peer.core, "f", "x", 1, &acked, &pid), 0);
    assert_int_equal(pid, 3);
    expect_sent(&peer, "MSG a, PUB 1 2, MSG b, MSG c, PUB 0 1, MSG d, MSG e, PUB 3 2, MSG f, ");
}

static void resending_starts_at_the_first_unsettled_pid(void **state)
{
    (void)state;
    const struct pubsub_publish_options acked = {.ack = PUBSUB_ACK_ROUTED}, kept = {.retain = true};
    struct peer peer;
    uint64_t pid;
    greet(&peer);
    publish_acked(&peer, 5);
    pubsub_core_restart(&peer.core, 3);
    assert_int_equal(pubsub_core_hello(&peer.core, &(struct pubsub_core_hello){0}), 0);
    drain_output(&peer);
    peer.sent_len = 0;
    assert_int_equal(pubsub_core_publish(&peer.core, "d", "x", 1, NULL, NULL), 0);
    assert_int_equal(pubsub_core_publish(&peer.core, "e", "x", 1, &acked, &pid), 0);
    assert_int_equal(pid, 3);
    expect_sent(&peer, "MSG d, PUB 3 2, MSG e, ");

    /* An unacknowledged one with terms of its own must not use up the one PUB that may skip. */
    pubsub_core_restart(&peer.core, 3);
    assert_int_equal(pubsub_core_hello(&peer.core, &(struct pubsub_core_hello){0}), 0);
    drain_output(&peer);
    peer.sent_len = 0;
    assert_int_equal(pubsub_core_publish(&peer.core, "d", "x", 1, &kept, NULL), 0);
    assert_int_equal(pubsub_core_publish(&peer.core, "e", "x", 1, &acked, &pid), 0);
    assert_int_equal(pid, 3);
    expect_sent(&peer, "PUB 3 2, PUB 0 1, MSG d, PUB 3 2, MSG e, ");
}

static void what_does_not_fit_changes_nothing(void **state)
{
    (void)state;
    const struct pubsub_publish_options acked = {.ack = PUBSUB_ACK_ROUTED};
    char big[RX_BYTES - 30];
    struct peer peer;
    uint64_t pid = 0;
    memset(big, 'x', sizeof big);
    greet(&peer);
    peer.sent_len = 0;
    assert_int_equal(pubsub_core_publish(&peer.core, "a", big, 100, NULL, NULL), 0);
    assert_int_equal(pubsub_core_publish(&peer.core, "b", big, sizeof big, &acked, &pid), PUBSUB_EAGAIN);
    assert_int_equal(pid, 0);
    expect_sent(&peer, "MSG a, ");
    assert_int_equal(pubsub_core_publish(&peer.core, "b", big, sizeof big, &acked, &pid), 0);
    assert_int_equal(pid, 1);
    expect_sent(&peer, "PUB 1 2, MSG b, ");
    static const char huge[2 * RX_BYTES];
    assert_int_equal(pubsub_core_publish(&peer.core, "c", huge, sizeof huge, &acked, NULL), PUBSUB_ETOOBIG);
}

static void requests_are_judged(void **state)
{
    (void)state;
    struct peer peer;
    const struct pubsub_publish_options bad_props = {.props = "\x91\x01", .props_len = 2};
    const struct pubsub_publish_options cut_props = {.props = "\x81\x03", .props_len = 2};
    const struct pubsub_publish_options twice = {.props = "\x82\x03\x00\x03\x00", .props_len = 5};
    const struct pubsub_publish_options good = {.props = "\x81\x03\x00", .props_len = 3};
    const struct pubsub_subscribe_options bad = {.retained = 3};
    greet(&peer);
    peer.sent_len = 0;
    assert_int_equal(pubsub_core_publish(&peer.core, "", "x", 1, NULL, NULL), PUBSUB_EINVAL);
    assert_int_equal(pubsub_core_publish(&peer.core, "a/+", "x", 1, NULL, NULL), PUBSUB_EINVAL);
    assert_int_equal(pubsub_core_publish(&peer.core, "\xff", "x", 1, NULL, NULL), PUBSUB_EINVAL);
    assert_int_equal(pubsub_core_publish(&peer.core, "a", "x", 1, &bad_props, NULL), PUBSUB_EINVAL);
    assert_int_equal(pubsub_core_publish(&peer.core, "a", "x", 1, &cut_props, NULL), PUBSUB_EINVAL);
    assert_int_equal(pubsub_core_publish(&peer.core, "a", "x", 1, &twice, NULL), PUBSUB_EINVAL);
    assert_int_equal(pubsub_core_publish(&peer.core, "a", "x", MPS_PAYLOAD_MAX + 1, NULL, NULL), PUBSUB_ETOOBIG);
    assert_int_equal(pubsub_core_subscribe(&peer.core, 0, "a", NULL), PUBSUB_EINVAL);
    assert_int_equal(pubsub_core_subscribe(&peer.core, 1, "a/#/b", NULL), PUBSUB_EINVAL);
    assert_int_equal(pubsub_core_subscribe(&peer.core, 1, "a", &bad), PUBSUB_EINVAL);
    expect_sent(&peer, "");
    assert_int_equal(pubsub_core_publish(&peer.core, "a", "x", 1, &good, NULL), 0);
    assert_int_equal(pubsub_core_subscribe(&peer.core, 1, "a/#", NULL), 0);
    assert_int_equal(pubsub_core_ask_stat(&peer.core, 1), 0);
    assert_int_equal(pubsub_core_unsubscribe(&peer.core, 1), 0);
    assert_int_equal(pubsub_core_bye(&peer.core, 0), 0);
    assert_int_equal(pubsub_core_publish(&peer.core, "a", "x", 1, NULL, NULL), PUBSUB_ECLOSED);
    expect_sent(&peer, "MSG a, SUB, STAT, UNSUB, BYE, ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(session_is_the_same_in_pieces),
        cmocka_unit_test(broken_frames_end_the_connection),
        cmocka_unit_test(every_prefix_waits_for_more),
        cmocka_unit_test(frames_before_welcome),
        cmocka_unit_test(message_without_for),
        cmocka_unit_test(overlong_encodings_mean_the_same),
        cmocka_unit_test(too_large_is_skipped),
        cmocka_unit_test(long_control_frame_ends),
        cmocka_unit_test(input_grows_up_to_frame_max),
        cmocka_unit_test(ping_waits_for_room),
        cmocka_unit_test(terms_are_sticky),
        cmocka_unit_test(resending_starts_at_the_first_unsettled_pid),
        cmocka_unit_test(what_does_not_fit_changes_nothing),
        cmocka_unit_test(requests_are_judged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
