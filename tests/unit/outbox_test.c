/* What waits to be sent: the publish window, what a PUBACK frees, what a lost connection keeps, and in which order. */
#include "outbox_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void nothing_is_kept_without_ack(void **state)
{
    (void)state;
    struct mps_outbox box;
    struct broker broker = {0};
    mps_outbox_init(&box, 1000);
    connect_to(&box, &broker, 10);
    publish(&box, "a", NONE);
    publish(&box, "b", RETAIN);
    write_some(&box, &broker, SIZE_MAX);
    assert_string_equal(broker.text, "a br ");
    assert_int_equal(mps_outbox_bytes(&box), 0);
    assert_true(mps_outbox_all_written(&box));
    mps_outbox_lost(&box, is_void, NULL);
    connect_to(&box, &broker, 10);
    publish(&box, "c", RETAIN); /* the terms of the old connection do not hold any more */
    write_some(&box, &broker, SIZE_MAX);
    assert_string_equal(broker.text, "cr ");
    mps_outbox_free(&box);
}

static void acknowledged_ones_are_kept_until_settled(void **state)
{
    (void)state;
    struct mps_outbox box;
    struct broker broker = {0};
    mps_outbox_init(&box, 1000);
    connect_to(&box, &broker, 10);
    publish(&box, "a", ACKED);
    publish(&box, "b", ACKED);
    publish(&box, "c", NONE);
    publish(&box, "d", ACKED | RETAIN);
    write_some(&box, &broker, SIZE_MAX);
    assert_string_equal(broker.text, "a1 b2 c d3r ");
    assert_int_equal(mps_outbox_unacked(&box), 3);
    assert_true(mps_outbox_settle(&box, 1));
    assert_true(mps_outbox_settle(&box, 1));
    assert_int_equal(mps_outbox_unacked(&box), 2);
    assert_false(mps_outbox_settle(&box, 4));
    mps_outbox_lost(&box, is_void, NULL);
    connect_to(&box, &broker, 10);
    publish(&box, "e", ACKED | RETAIN);
    write_some(&box, &broker, SIZE_MAX);
    assert_string_equal(broker.text, "b2 d3r e4r ");
    assert_true(mps_outbox_settle(&box, 4));
    assert_int_equal(mps_outbox_bytes(&box), 0);
    mps_outbox_free(&box);
}

static void half_written_frames_are_sent_whole(void **state)
{
    (void)state;
    for (size_t cut = 0; cut <= 4 * 14; cut++) {
        struct mps_outbox box;
        struct broker broker = {0}, again = {0};
        char expected[64] = "";
        mps_outbox_init(&box, 1000);
        connect_to(&box, &broker, 10);
        publish(&box, "a", NONE);
        publish(&box, "b", ACKED);
        publish(&box, "c", NONE);
        publish(&box, "d", RETAIN);
        write_some(&box, &broker, cut);
        mps_outbox_lost(&box, is_void, NULL);
        connect_to(&box, &again, 10);
        write_some(&box, &again, SIZE_MAX);
        if (strstr(broker.text, "a") == NULL) strcat(expected, "a ");
        strcat(expected, "b1 ");
        if (strstr(broker.text, "c") == NULL) strcat(expected, "c ");
        if (strstr(broker.text, "d") == NULL) strcat(expected, "dr ");
        assert_string_equal(again.text, expected);
        mps_outbox_free(&box);
    }
}

/* What must not be repeated is replaced by something that nobody hears, so that all others keep their pids. */
static void void_ones_leave_their_pids(void **state)
{
    (void)state;
    for (size_t cut = 0; cut <= 200; cut += 4) {
        struct mps_outbox box;
        struct broker broker = {0}, again = {0};
        mps_outbox_init(&box, 1000);
        connect_to(&box, &broker, 10);
        publish(&box, "a", ACKED);
        request(&box, "r");
        publish(&box, "b", ACKED | RETAIN);
        request(&box, "r");
        write_some(&box, &broker, cut);
        for (int i = 0; i < 2; i++) { /* the second time there is nothing to be made void any more */
            mps_outbox_lost(&box, is_void, "");
            connect_to(&box, &again, 10);
        }
        publish(&box, "c", ACKED);
        write_some(&box, &again, SIZE_MAX);
        assert_string_equal(again.text, "a1 +2 b3r +4 c5 ");
        assert_true(mps_outbox_settle(&box, 5));
        assert_int_equal(mps_outbox_bytes(&box), 0);
        mps_outbox_free(&box);
    }
}

static void window_is_never_exceeded(void **state)
{
    (void)state;
    struct mps_outbox box;
    struct broker broker = {0};
    mps_outbox_init(&box, 10000);
    connect_to(&box, &broker, 2);
    for (char topic[2] = "a"; topic[0] <= 'e'; topic[0]++) publish(&box, topic, ACKED);
    publish(&box, "f", NONE);
    write_some(&box, &broker, SIZE_MAX);
    assert_string_equal(broker.text, "a1 b2 ");
    assert_false(mps_outbox_settle(&box, 3)); /* not written: nobody can have seen it */
    assert_int_equal(mps_outbox_unacked(&box), 3);
    write_some(&box, &broker, SIZE_MAX);
    assert_string_equal(broker.text, "a1 b2 ");
    mps_outbox_free(&box);

    mps_outbox_init(&box, 10000);
    connect_to(&box, &broker, 2);
    for (char topic[2] = "a"; topic[0] <= 'e'; topic[0]++) publish(&box, topic, ACKED);
    publish(&box, "f", NONE);
    write_some(&box, &broker, SIZE_MAX);
    assert_true(mps_outbox_settle(&box, 1));
    write_some(&box, &broker, SIZE_MAX);
    assert_string_equal(broker.text, "a1 b2 c3 ");
    mps_outbox_lost(&box, is_void, NULL);
    connect_to(&box, &broker, 3); /* another broker, another window */
    write_some(&box, &broker, SIZE_MAX);
    assert_string_equal(broker.text, "b2 c3 d4 ");
    assert_true(mps_outbox_settle(&box, 4));
    write_some(&box, &broker, SIZE_MAX);
    assert_string_equal(broker.text, "b2 c3 d4 e5 f ");
    mps_outbox_free(&box);
}

static void requests_are_not_repeated_but_front_frames_are_sent(void **state)
{
    (void)state;
    struct mps_outbox box;
    struct broker broker = {0};
    uint8_t sub[64];
    struct mps_out out = mps_out_open(sub, sizeof sub);
    mps_encode_sub(&out, &(struct mps_sub){.sid = 1, .pattern = mps_text("#")});
    mps_outbox_init(&box, 1000);
    publish(&box, "a", NONE); /* before there is a connection */
    publish(&box, "b", ACKED);
    broker_new_connection(&broker, &box);
    assert_int_equal(mps_outbox_connected(&box, 10, sub, out.len), PUBSUB_OK);
    unsubscribe(&box);
    write_some(&box, &broker, SIZE_MAX);
    assert_string_equal(broker.text, "SUB a b1 UNSUB ");
    for (int i = 0; i < 3; i++) { /* also when nothing of it could be written the last time */
        mps_outbox_lost(&box, is_void, NULL);
        broker_new_connection(&broker, &box);
        assert_int_equal(mps_outbox_connected(&box, 10, sub, out.len), PUBSUB_OK);
    }
    size_t bytes = mps_outbox_bytes(&box);
    mps_outbox_lost(&box, is_void, NULL);
    assert_int_equal(mps_outbox_connected(&box, 10, sub, out.len), PUBSUB_OK);
    assert_int_equal(mps_outbox_bytes(&box), bytes); /* terms do not pile up */
    write_some(&box, &broker, SIZE_MAX);
    assert_string_equal(broker.text, "SUB b1 ");
    mps_outbox_free(&box);
}

static void limit_holds_but_any_message_fits_an_empty_one(void **state)
{
    (void)state;
    struct mps_outbox box;
    struct broker broker = {0};
    mps_outbox_init(&box, 2000);
    connect_to(&box, &broker, 1000);
    assert_int_equal(mps_outbox_reserve(&box, 5000, false), PUBSUB_OK);
    publish(&box, "a", ACKED);
    assert_int_equal(mps_outbox_reserve(&box, 5000, false), PUBSUB_EAGAIN);
    assert_int_equal(mps_outbox_reserve(&box, 5000, true), PUBSUB_OK);
    int count = 1;
    while (mps_outbox_reserve(&box, 300, false) == PUBSUB_OK) {
        publish(&box, "a", ACKED);
        count++;
    }
    assert_true(count > 50 && mps_outbox_bytes(&box) <= 2000);
    write_some(&box, &broker, SIZE_MAX);
    assert_int_equal(mps_outbox_reserve(&box, 300, false), PUBSUB_EAGAIN); /* written, not acknowledged */
    assert_true(mps_outbox_settle(&box, (uint64_t)count));
    assert_int_equal(mps_outbox_reserve(&box, 300, false), PUBSUB_OK);
    mps_outbox_free(&box);
}

/* ---- the short way of bare messages ---- */

static void publish_both_ways(struct mps_outbox *bare, struct mps_outbox *other, const char *topic, size_t len)
{
    static const char payload[70000] = "payload";
    struct mps_publish message = {.flags = 0};
    const char *why;
    uint64_t pid = 1;
    assert_int_equal(mps_request_message(&message, topic, payload, len, NULL, sizeof payload, &why), PUBSUB_OK);
    assert_int_equal(mps_outbox_reserve(bare, mps_request_bound(&message), false), PUBSUB_OK);
    assert_int_equal(mps_outbox_reserve(other, mps_request_bound(&message), false), PUBSUB_OK);
    assert_true(mps_outbox_publish_bare(bare, topic, payload, len, sizeof payload, &pid));
    assert_int_equal(pid, mps_outbox_publish(other, &message));
}

static void bare_messages_are_written_as_all_others(void **state)
{
    (void)state;
    static const size_t lens[] = {0, 1, 255, 256, 65535, 65536};
    char longest[PUBSUB_TOPIC_MAX + 1] = "";
    memset(longest, 'x', PUBSUB_TOPIC_MAX);
    const char *topics[] = {"a",     "a",     "ab",        "a",       "a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p",
                            longest, longest, longest + 1, "\xc3\xa9"};
    struct mps_outbox bare, other;
    mps_outbox_init(&bare, 1 << 24);
    mps_outbox_init(&other, 1 << 24);
    for (size_t i = 0; i < sizeof topics / sizeof topics[0]; i++)
        for (size_t j = 0; j < sizeof lens / sizeof lens[0]; j++) publish_both_ways(&bare, &other, topics[i], lens[j]);
    assert_int_equal(bare.end, other.end);
    assert_memory_equal(bare.buf, other.buf, bare.end);
    mps_outbox_free(&bare);
    mps_outbox_free(&other);
}

static void bare_messages_are_judged(void **state)
{
    (void)state;
    struct mps_outbox box;
    struct broker broker = {0};
    uint64_t pid;
    char long_topic[PUBSUB_TOPIC_MAX + 2] = "";
    memset(long_topic, 'x', PUBSUB_TOPIC_MAX + 1);
    mps_outbox_init(&box, 2000);
    assert_false(mps_outbox_publish_bare(&box, "a", "", 0, 100, &pid)); /* nothing is allocated yet */
    connect_to(&box, &broker, 1000);
    publish(&box, "a", NONE);
    assert_true(mps_outbox_publish_bare(&box, "a", "payload", 7, 100, &pid));
    size_t end = box.end;
    assert_false(mps_outbox_publish_bare(&box, "", "", 0, 100, &pid));
    assert_false(mps_outbox_publish_bare(&box, "a/#", "", 0, 100, &pid));
    assert_false(mps_outbox_publish_bare(&box, "\xff", "", 0, 100, &pid));
    assert_false(mps_outbox_publish_bare(&box, long_topic, "", 0, 100, &pid));
    assert_false(mps_outbox_publish_bare(&box, "a", long_topic, 101, 100, &pid));
    assert_int_equal(box.end, end);
    while (mps_outbox_publish_bare(&box, "a", "payload", 7, 100, &pid)) end = box.end;
    assert_int_equal(mps_outbox_reserve(&box, 1 + 7 + 3 * MPS_SMALL_FRAME_MAX, false), PUBSUB_EAGAIN);
    assert_int_equal(box.end, end);
    mps_outbox_free(&box);
}

/* What the broker of the session says to be settled when the client is back: anything that it has taken. */
static void forget_some(struct mps_outbox *box, uint64_t taken)
{
    uint64_t unanswered = taken > box->settled_pid ? taken - box->settled_pid : 0;
    uint64_t pid = box->settled_pid + (uint64_t)rand() % (unanswered + 1);
    assert_false(mps_outbox_forget(box, box->terms.next_pid));
    assert_true(mps_outbox_forget(box, pid));
    assert_int_equal(box->settled_pid, pid);
    assert_true(mps_outbox_forget(box, 0));
    assert_int_equal(box->settled_pid, pid);
}

/* Random publishes, writes, acknowledgements and losses, with a session or without: each acknowledged message arrives
 * under its pid, in order, others at most once and in order, and the window holds. */
static void random_life(unsigned seed)
{
    enum { COUNT = 300 };
    struct mps_outbox box;
    struct broker broker = {0};
    unsigned acked = 0, plain = 0;
    uint64_t taken = 0;
    char topic[16];
    srand(seed);
    mps_outbox_init(&box, 700);
    connect_to(&box, &broker, 1 + (uint64_t)rand() % 8);
    while (acked < COUNT || mps_outbox_unacked(&box) > 0) {
        int dice = rand() % 32;
        uint64_t answerable = broker.next_pid - 1 - box.settled_pid;
        uint32_t flags = (uint32_t)(rand() % 4);
        assert_true(answerable <= box.window);
        broker.text[0] = '\0';
        if (dice < 12 && acked < COUNT && mps_outbox_reserve(&box, 330, false) == PUBSUB_OK) {
            if (mps_flags_acked(flags)) snprintf(topic, sizeof topic, "m%u", ++acked);
            else snprintf(topic, sizeof topic, "u%u", ++plain);
            publish(&box, topic, flags);
        } else if (dice < 22) {
            write_some(&box, &broker, (size_t)rand() % 60);
        } else if (dice < 31 && answerable > 0) {
            assert_true(mps_outbox_settle(&box, box.settled_pid + 1 + (uint64_t)rand() % answerable));
        } else if (dice == 31) {
            mps_outbox_lost(&box, is_void, NULL);
            if (broker.next_pid - 1 > taken) taken = broker.next_pid - 1;
            if (seed % 2 == 0) forget_some(&box, taken);
            connect_to(&box, &broker, 1 + (uint64_t)rand() % 8);
        }
    }
    assert_int_equal(box.settled_pid, COUNT);
    mps_outbox_free(&box);
}

/* A message that was not written keeps all behind it from being settled. */
static void what_was_never_written_is_not_settled(void **state)
{
    (void)state;
    struct mps_outbox box;
    struct broker broker = {0};
    mps_outbox_init(&box, 10000);
    connect_to(&box, &broker, 10);
    publish(&box, "m1", ACKED);
    write_some(&box, &broker, SIZE_MAX);
    publish(&box, "u1", NONE);
    publish(&box, "m2", ACKED);
    mps_outbox_lost(&box, is_void, NULL);
    assert_false(mps_outbox_forget(&box, 2));
    assert_false(mps_outbox_forget(&box, 3));
    assert_true(mps_outbox_forget(&box, 1));
    connect_to(&box, &broker, 10);
    write_some(&box, &broker, SIZE_MAX);
    assert_string_equal(broker.text, "u1 m22 ");
    mps_outbox_free(&box);
}

static void random_lives(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 200; seed++) random_life(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_kept_without_ack),
        cmocka_unit_test(acknowledged_ones_are_kept_until_settled),
        cmocka_unit_test(half_written_frames_are_sent_whole),
        cmocka_unit_test(void_ones_leave_their_pids),
        cmocka_unit_test(window_is_never_exceeded),
        cmocka_unit_test(requests_are_not_repeated_but_front_frames_are_sent),
        cmocka_unit_test(limit_holds_but_any_message_fits_an_empty_one),
        cmocka_unit_test(bare_messages_are_written_as_all_others),
        cmocka_unit_test(bare_messages_are_judged),
        cmocka_unit_test(what_was_never_written_is_not_settled),
        cmocka_unit_test(random_lives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
