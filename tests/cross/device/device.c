/* A session of a device with a broker that follows a script: bytes in, bytes out, with the smallest buffers there may
 * be, all of it static. Says for each way to cut the input "PASS ...", or "FAIL ..." and what came instead; at the end
 * how much stack the core's functions took. */
#include <string.h>

#include "board.h"
#include "pubsub_core.h"

#ifndef STACK_MAX
#define STACK_MAX 512 /* bytes */
#endif
#define LARGE_BYTES 1000u
#define HUGE_BYTES (UINT32_C(70) * LARGE_BYTES) /* more than 16 bits can say */
#define TEXT(literal) literal, sizeof(literal) - 1

static struct pubsub_core core;
/* Both at odd addresses. */
static uint8_t rx_room[1 + PUBSUB_CORE_RX_MIN], tx_room[1 + PUBSUB_CORE_TX_MIN];
static char told[512];
static uint8_t sent[256];
static size_t sent_len, stack_used;
static uint32_t large_len, large_sum;
static uint8_t large[LARGE_BYTES];

/* Calls the core, and sees how much stack it took. */
#define CALL(what)                                \
    do {                                          \
        board_paint_stack();                      \
        what;                                     \
        size_t used = board_stack_used();         \
        if (used > stack_used) stack_used = used; \
    } while (0)

/* ---- what comes -------------------------------------------------------------------------------------------------- */

static void say(const char *text, size_t len)
{
    size_t at = strlen(told);
    if (at + len >= sizeof told) return;
    memcpy(told + at, text, len);
    told[at + len] = '\0';
}

static void say_number(uint64_t number)
{
    char digits[21], *at = digits + sizeof digits;
    do *--at = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    say(at, (size_t)(digits + sizeof digits - at));
    say(" ", 1);
}

static void take_message(const struct pubsub_message *m)
{
    const uint8_t *bytes = m->payload;
    if (m->offset == 0) large_len = large_sum = 0;
    for (size_t i = 0; i < m->payload_len; i++) large_sum = large_sum * 31 + bytes[i];
    large_len += (uint32_t)m->payload_len;
    if (large_len < m->total) return;
    say(TEXT("message "));
    say(m->topic, m->topic_len);
    say(" ", 1);
    say_number(m->total);
    say_number(large_sum);
    say_number(m->stream);
    say_number(m->seq);
}

static void take(const struct pubsub_event *event)
{
    switch (event->type) {
    case PUBSUB_EVENT_WELCOME:
        say(TEXT("welcome "));
        say(event->as.welcome.client_id, strlen(event->as.welcome.client_id));
        say(" ", 1);
        say_number(event->as.welcome.session_s);
        say_number(event->as.welcome.epoch);
        break;
    case PUBSUB_EVENT_MESSAGE: take_message(&event->as.message); break;
    case PUBSUB_EVENT_GAP:
        say(TEXT("gap "));
        say_number(event->as.gap.count);
        break;
    case PUBSUB_EVENT_PUBACK:
        say(TEXT("puback "));
        say_number(event->as.puback.last_pid);
        break;
    case PUBSUB_EVENT_SUBACK:
        say(TEXT("suback "));
        say_number(event->as.suback.code);
        break;
    case PUBSUB_EVENT_REFUSAL:
        say(TEXT("refusal "));
        say_number(event->as.refusal.code);
        say(event->as.refusal.text, strlen(event->as.refusal.text));
        say(" ", 1);
        break;
    case PUBSUB_EVENT_TOO_LARGE:
        say(TEXT("too large "));
        say_number(event->as.too_large.payload_len);
        break;
    case PUBSUB_EVENT_BYE:
        say(TEXT("bye "));
        say_number(event->as.ending.code);
        break;
    case PUBSUB_EVENT_FAILED:
        say(TEXT("failed "));
        say_number(event->as.ending.code);
        break;
    default:
        say(TEXT("event "));
        say_number((uint64_t)event->type);
        break;
    }
}

/* ---- bytes either way -------------------------------------------------------------------------------------------- */

static void drain(void)
{
    const void *at;
    size_t len = pubsub_core_output(&core, &at);
    if (sent_len + len > sizeof sent) len = sizeof sent - sent_len;
    memcpy(sent + sent_len, at, len);
    sent_len += len;
    CALL(pubsub_core_written(&core, len));
}

static void take_events(void)
{
    static struct pubsub_event event;
    enum pubsub_event_type type;
    do {
        CALL(type = pubsub_core_next(&core, &event));
        if (type != PUBSUB_EVENT_NONE) take(&event);
        drain();
    } while (type != PUBSUB_EVENT_NONE);
}

/* At most `piece` bytes at once. */
static void feed(const void *bytes, size_t len, size_t piece)
{
    const uint8_t *from = bytes;
    while (len > 0) {
        void *at;
        size_t part = len < piece ? len : piece, room;
        CALL(room = pubsub_core_input(&core, &at));
        if (room == 0) return say(TEXT("no room "));
        if (part > room) part = room;
        memcpy(at, from, part);
        pubsub_core_received(&core, part);
        from += part;
        len -= part;
        take_events();
    }
}

/* ---- the session ------------------------------------------------------------------------------------------------- */

static const char hello_sent[] = "\x94\x01\xa3mps\x01\x84\xa2id\xa5"
                                 "dev-7\xa2ka\x3c\xa4sess\xcd\x01\x2c\xa4"
                                 "boot\x2a";
static const char welcome[] =
    "\x93\x13\x01\x86\xa2id\xa5"
    "dev-7\xa5"
    "epoch\xcf\x80\x00\x00\x00\x00\x00\x00\x01\xa7resumed\xc2\xa8last_pid\x00\xa4sess\xcd\x01\x2c"
    "\xaapub_window\x09";
static const char answers[] = "\x95\x08\x01\x00\x01\x00" /* PUBACK 1 */
                              "\x94\x0a\x01\x00\x80"     /* SUBACK 1 */
                              "\x95\x04\x01\x00\x40\x07" /* FOR 1, from 64:7 on */
                              "\x94\x02\xaasite/a/set\xc0\xc4\x02on";
static const char end[] = "\x94\x07\x01\x03\x01" /* GAP of 3 */
                          "\x92\x0d\xc4\x03"
                          "abc"                           /* PING */
                          "\x93\x14\xcc\xd3\xa9not yours" /* ERR 211 */
                          "\x92\x15\x71";                 /* BYE 113 */
#if PUBSUB_CORE_SUBSCRIBE
static const char requests_sent[] = "\x94\x09\x01\xaasite/a/set\x81\xa3"
                                    "ack\xa4"
                                    "each"
                                    "\x93\x03\x01\x04\x94\x02\xabsite/a/temp\xc0\xc4\x01\x15"
                                    "\x95\x05\x01\x40\x08\x01"
                                    "\x92\x0e\xc4\x03"
                                    "abc";
static const char expected[] = "welcome dev-7 300 9223372036854775809 puback 1 suback 0 message site/a/set 2 3551 64 7 "
                               "message site/a/set 1000 3895298476 64 8 gap 3 refusal 211 not yours bye 113 ";
#else
static const char requests_sent[] = "\x93\x03\x01\x04\x94\x02\xabsite/a/temp\xc0\xc4\x01\x15"
                                    "\x92\x0e\xc4\x03"
                                    "abc";
static const char expected[] = "welcome dev-7 300 9223372036854775809 puback 1 refusal 211 not yours bye 113 ";
#endif

static void check(bool good, const char *what)
{
    board_print(good ? "PASS " : "FAIL ");
    board_print(what);
    if (!good) {
        board_print(": ");
        board_print(told);
    }
    board_print("\n");
    if (!good) board_exit(false);
}

static bool was_sent(const char *bytes, size_t len)
{
    bool same = sent_len == len && memcmp(sent, bytes, len) == 0;
    sent_len = 0;
    return same;
}

static bool was_told(const char *text)
{
    size_t len = strlen(text);
    return strlen(told) == len && memcmp(told, text, len) == 0;
}

static void begin(void)
{
    static const struct pubsub_core_hello hello = {
        .client_id = "dev-7", .keepalive_s = 60, .session_s = 300, .boot = 42};
    int rc;
    told[0] = '\0';
    sent_len = 0;
    CALL(pubsub_core_init(&core, rx_room + 1, sizeof rx_room - 1, tx_room + 1, sizeof tx_room - 1));
#if PUBSUB_CORE_SUBSCRIBE
    pubsub_core_take_pieces(&core, HUGE_BYTES);
#endif
    CALL(rc = pubsub_core_hello(&core, &hello));
    drain();
    check(rc == PUBSUB_OK && was_sent(TEXT(hello_sent)), "says HELLO");
}

static void session(size_t piece, const char *what)
{
    static const struct pubsub_publish_options stored = {.ack = PUBSUB_ACK_STORED};
    int rc = 0;
    begin();
    feed(TEXT(welcome), piece);
#if PUBSUB_CORE_SUBSCRIBE
    static const struct pubsub_subscribe_options each = {.ack = PUBSUB_ACKS_EACH};
    CALL(rc |= pubsub_core_subscribe(&core, 1, "site/a/set", &each));
#endif
    CALL(rc |= pubsub_core_publish(&core, "site/a/temp", "\x15", 1, &stored, NULL));
    drain();
    feed(TEXT(answers), piece);
    feed(TEXT("\x94\x02\xaasite/a/set\xc0\xc5\x03\xe8"), piece);
    feed(large, sizeof large, piece);
#if PUBSUB_CORE_SUBSCRIBE
    CALL(rc |= pubsub_core_ack(&core, 1, 64, 8, PUBSUB_ACKED_ONE, 0));
#endif
    feed(TEXT(end), piece);
    check(rc == PUBSUB_OK && was_sent(TEXT(requests_sent)) && was_told(expected), what);
}

/* A payload that is larger than an int of 16 bits can say comes, and one that is larger than was asked for is told of.
 */
static void huge(void)
{
    begin();
    feed(TEXT(welcome), 64);
    told[0] = '\0';
    feed(TEXT("\x95\x04\x01\x00\x40\x07\x94\x02\xaasite/a/set\xc0\xc6\x00\x01\x11\x70"), 64);
    for (uint32_t i = 0; i < HUGE_BYTES / LARGE_BYTES; i++) feed(large, sizeof large, sizeof large);
    feed(TEXT("\x94\x02\xaasite/a/set\xc0\xc6\x00\x01\x11\x71\x00"), 64);
    for (uint32_t i = 0; i < HUGE_BYTES / LARGE_BYTES; i++) feed(large, sizeof large, sizeof large);
    check(was_told(PUBSUB_CORE_SUBSCRIBE ? "message site/a/set 70000 367534344 64 7 too large 70001 " : ""),
          "messages of 70 KB");
}

static void broken_broker(void)
{
    begin();
    feed(TEXT(welcome), 64);
    told[0] = '\0';
    feed("\xc1", 1, 1);
    check(was_sent(TEXT("\x92\x15\x65")) && was_told("failed 101 "), "a broker that breaks the protocol");
}

int main(void)
{
#ifdef TRAP_UNALIGNED
    check(board_trap_unaligned(), "an unaligned access is a fault");
#endif
    for (size_t i = 0; i < sizeof large; i++) large[i] = (uint8_t)(i * 7);
    session(1, "a session, one byte at a time");
    session(7, "a session, 7 bytes at a time");
    session(64, "a session, 64 bytes at a time");
    session(1024, "a session, as much at a time as fits");
    huge();
    broken_broker();
    told[0] = '\0';
    say_number(sizeof core);
    say(TEXT("bytes of state, "));
    say_number(stack_used);
    say(TEXT("of stack"));
    check(stack_used <= STACK_MAX, told);
    board_exit(true);
    return 0;
}
