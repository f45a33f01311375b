/* What a full outbox gives up: the oldest messages that are not written, all of them told, and no pid out of its order.
 */
#include "outbox_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool none(uint64_t pid, const void *user)
{
    (void)pid, (void)user;
    return false;
}

static bool is_even(uint64_t pid, const void *user)
{
    (void)user;
    return pid % 2 == 0;
}

static void expect_drop(struct mps_outbox *box, size_t need, uint64_t count, uint64_t first_pid, uint64_t last_pid)
{
    struct pubsub_dropped dropped = {0};
    assert_int_equal(mps_outbox_drop(box, need, none, NULL, &dropped), PUBSUB_OK);
    assert_int_equal(dropped.count, count);
    assert_int_equal(dropped.first_pid, first_pid);
    assert_int_equal(dropped.last_pid, last_pid);
}

/* A message of one letter is 14 bytes; PUB, where it is written, 4. */
static void between_connections_the_oldest_are_gone(void **state)
{
    (void)state;
    struct mps_outbox box;
    struct broker broker = {0};
    mps_outbox_init(&box, 10000);
    connect_to(&box, &broker, 10);
    mps_outbox_lost(&box, none, NULL);
    for (char topic[2] = "a"; topic[0] <= 'f'; topic[0]++) publish(&box, topic, topic[0] == 'b' ? NONE : ACKED);
    box.limit = mps_outbox_bytes(&box); /* full */
    expect_drop(&box, 10, 1, 1, 1);
    expect_drop(&box, box.limit - mps_outbox_bytes(&box) + 10, 1, 0, 0); /* b: no more than is missing */
    expect_drop(&box, box.limit - mps_outbox_bytes(&box) + 20, 2, 2, 3);
    assert_int_equal(mps_outbox_unacked(&box), 2);
    connect_to(&box, &broker, 10);
    write_some(&box, &broker, SIZE_MAX);
    assert_string_equal(broker.text, "e4 f5 ");
    mps_outbox_free(&box);
}

static void on_a_connection_pids_are_used_up(void **state)
{
    (void)state;
    for (size_t written = 0; written <= 40; written++) { /* up to the middle of b, which then stays */
        struct mps_outbox box;
        struct broker broker = {0};
        mps_outbox_init(&box, 10000);
        connect_to(&box, &broker, 3);
        for (char topic[2] = "a"; topic[0] <= 'f'; topic[0]++)
            publish(&box, topic, topic[0] == 'c' || topic[0] == 'd' ? NONE : ACKED);
        write_some(&box, &broker, written);
        size_t before = mps_outbox_bytes(&box);
        struct pubsub_dropped dropped = {0};
        box.limit = before + 10;
        assert_int_equal(mps_outbox_drop(&box, 25, none, NULL, &dropped), PUBSUB_OK);
        assert_true(mps_outbox_bytes(&box) + 15 <= before);
        assert_in_range(dropped.count, 1, 4);
        write_some(&box, &broker, SIZE_MAX);
        assert_true(mps_outbox_settle(&box, broker.next_pid - 1));
        write_some(&box, &broker, SIZE_MAX);
        assert_int_equal(broker.next_pid, 5); /* each pid once, in order: the rig has looked */
        assert_true(mps_outbox_settle(&box, 4));
        assert_int_equal(mps_outbox_bytes(&box), 0);
        mps_outbox_free(&box);
    }
}

static void what_is_written_or_must_stay_is_not_given_up(void **state)
{
    (void)state;
    struct mps_outbox box;
    struct broker broker = {0};
    struct pubsub_dropped dropped = {0};
    mps_outbox_init(&box, 10000);
    connect_to(&box, &broker, 10);
    publish(&box, "a", ACKED);
    publish(&box, "b", ACKED);
    write_some(&box, &broker, SIZE_MAX);
    size_t before = box.limit = mps_outbox_bytes(&box);
    assert_int_equal(mps_outbox_drop(&box, 20, none, NULL, &dropped), PUBSUB_EAGAIN);
    box.limit = 10000;
    publish(&box, "c", ACKED); /* 3 */
    publish(&box, "d", ACKED);
    unsubscribe(&box);
    box.limit = before;
    assert_int_equal(mps_outbox_drop(&box, 20, is_even, NULL, &dropped), PUBSUB_EAGAIN);
    assert_int_equal(dropped.count, 0);
    assert_true(mps_outbox_bytes(&box) > before);
    box.limit = mps_outbox_bytes(&box);
    assert_int_equal(mps_outbox_drop(&box, 5, is_even, NULL, &dropped), PUBSUB_OK);
    assert_int_equal(dropped.first_pid, 3);
    assert_int_equal(dropped.last_pid, 3);
    assert_true(mps_outbox_was_dropped(&box, 3));
    assert_false(mps_outbox_was_dropped(&box, 4));
    write_some(&box, &broker, SIZE_MAX);
    assert_string_equal(broker.text, "a1 b2 +3 d4 UNSUB ");
    mps_outbox_free(&box);
}

/* ---- random lives ------------------------------------------------------------------------------------------------ */

enum { COUNT = 400 };

/* What became of m1, m2, ...; of u1, u2, ... how many came. */
static struct fates {
    unsigned char came[COUNT + 1], dropped[COUNT + 1];
} acked_ones;
static unsigned plain_came;

static void on_numbered(char kind, unsigned number)
{
    assert_in_range(number, 1, COUNT * 2);
    if (kind == 'm') acked_ones.came[number] = 1;
    else plain_came++;
}

static void random_life(unsigned seed)
{
    struct mps_outbox box;
    struct broker broker = {.on_numbered = on_numbered};
    unsigned acked = 0, plain = 0;
    uint64_t taken = 0, plain_dropped = 0;
    bool offline = false;
    char topic[16];
    memset(&acked_ones, 0, sizeof acked_ones);
    plain_came = 0;
    srand(seed);
    mps_outbox_init(&box, 700);
    connect_to(&box, &broker, 1 + (uint64_t)rand() % 8);
    while (acked < COUNT || mps_outbox_unacked(&box) > 0 || offline) {
        int dice = rand() % 40;
        uint64_t answerable = offline ? 0 : broker.next_pid - 1 - box.settled_pid;
        uint32_t flags = (uint32_t)(rand() % 4);
        broker.text[0] = '\0';
        if (dice < 22 && acked < COUNT) {
            struct pubsub_dropped dropped = {0};
            if (mps_outbox_reserve(&box, 330, false) == PUBSUB_EAGAIN &&
                mps_outbox_drop(&box, 330, is_void, NULL, &dropped) != PUBSUB_OK)
                goto write;
            assert_int_equal(mps_outbox_reserve(&box, 330, false), PUBSUB_OK);
            for (uint64_t pid = dropped.first_pid; pid != 0 && pid <= dropped.last_pid; pid++) {
                dropped.count -= !acked_ones.dropped[pid]; /* those between may have been told before */
                acked_ones.dropped[pid] = 1;
            }
            plain_dropped += dropped.count;
            if (mps_flags_acked(flags)) snprintf(topic, sizeof topic, "m%u", ++acked);
            else snprintf(topic, sizeof topic, "u%u", ++plain);
            publish(&box, topic, flags);
        } else if (dice < 31) {
        write:
            if (!offline) write_some(&box, &broker, (size_t)rand() % 60);
        } else if (dice < 38 && answerable > 0) {
            assert_true(mps_outbox_settle(&box, box.settled_pid + 1 + (uint64_t)rand() % answerable));
        } else if (dice == 38 && !offline) {
            mps_outbox_lost(&box, is_void, NULL);
            if (broker.next_pid - 1 > taken) taken = broker.next_pid - 1;
            offline = true;
        } else if (dice == 39 && offline) {
            uint64_t more = taken > box.settled_pid ? (uint64_t)rand() % (taken - box.settled_pid + 1) : 0;
            if (seed % 2 == 0) assert_true(mps_outbox_forget(&box, box.settled_pid + more));
            connect_to(&box, &broker, 1 + (uint64_t)rand() % 8);
            offline = false;
        }
    }
    write_some(&box, &broker, SIZE_MAX);
    for (unsigned pid = 1; pid <= COUNT; pid++) assert_true(acked_ones.came[pid] || acked_ones.dropped[pid]);
    assert_int_equal(plain_came + plain_dropped, plain);
    mps_outbox_free(&box);
}

static void random_lives(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 300; seed++) random_life(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(between_connections_the_oldest_are_gone),
        cmocka_unit_test(on_a_connection_pids_are_used_up),
        cmocka_unit_test(what_is_written_or_must_stay_is_not_given_up),
        cmocka_unit_test(random_lives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
