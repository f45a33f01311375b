/* The ring between two threads (broker/cluster/ring.c). */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "ring.h"

#define SLOTS 64
#define PIECES 2000000u

static void *piece(uintptr_t number)
{
    return (void *)number;
}

static void test_in_their_order(void **state)
{
    (void)state;
    struct ring ring;
    ring_init(&ring, 4, 1000);
    assert_true(ring_is_empty(&ring));
    assert_null(ring_pop(&ring));
    for (uintptr_t round = 1; round < 20; round += 3) {
        for (uintptr_t i = 0; i < 3; i++) assert_true(ring_push(&ring, piece(round + i), 1));
        assert_false(ring_is_empty(&ring));
        for (uintptr_t i = 0; i < 3; i++) assert_ptr_equal(ring_pop(&ring), piece(round + i));
        assert_null(ring_pop(&ring));
    }
    ring_free(&ring);
}

static void test_no_room_for_more_pieces(void **state)
{
    (void)state;
    struct ring ring;
    ring_init(&ring, 4, 1000);
    for (uintptr_t i = 1; i <= 4; i++) assert_true(ring_push(&ring, piece(i), 0));
    assert_false(ring_push(&ring, piece(5), 0));
    assert_ptr_equal(ring_pop(&ring), piece(1));
    assert_true(ring_push(&ring, piece(6), 0));
    assert_false(ring_push(&ring, piece(7), 0));
    for (uintptr_t i = 2; i <= 4; i++) assert_ptr_equal(ring_pop(&ring), piece(i));
    assert_ptr_equal(ring_pop(&ring), piece(6));
    assert_null(ring_pop(&ring));
    ring_free(&ring);
}

static void test_no_room_for_more_bytes(void **state)
{
    (void)state;
    struct ring ring;
    ring_init(&ring, 64, 1000);
    assert_true(ring_push(&ring, piece(1), 600));
    assert_true(ring_push(&ring, piece(2), 400));
    assert_false(ring_push(&ring, piece(3), 1));
    assert_ptr_equal(ring_pop(&ring), piece(1));
    assert_true(ring_push(&ring, piece(4), 600));
    assert_false(ring_push(&ring, piece(5), 1));
    assert_ptr_equal(ring_pop(&ring), piece(2));
    assert_ptr_equal(ring_pop(&ring), piece(4));
    assert_true(ring_push(&ring, piece(6), 5000)); /* alone, it may be longer than all of it */
    assert_false(ring_push(&ring, piece(7), 1));
    assert_ptr_equal(ring_pop(&ring), piece(6));
    ring_free(&ring);
}

/* Each piece is an allocation, so that a sanitizer sees what one thread wrote and the other reads. */
static void *push_all(void *arg)
{
    struct ring *ring = arg;
    for (uint32_t i = 1; i <= PIECES; i++) {
        uint32_t *number = malloc(sizeof *number);
        assert_non_null(number);
        *number = i;
        while (!ring_push(ring, number, i % 1000)) sched_yield();
    }
    return NULL;
}

static void test_two_threads(void **state)
{
    (void)state;
    struct ring ring;
    pthread_t pusher;
    ring_init(&ring, SLOTS, 5000);
    assert_int_equal(pthread_create(&pusher, NULL, push_all, &ring), 0);
    for (uint32_t i = 1; i <= PIECES; i++) {
        uint32_t *number;
        while ((number = ring_pop(&ring)) == NULL) sched_yield();
        assert_int_equal(*number, i);
        free(number);
    }
    assert_int_equal(pthread_join(pusher, NULL), 0);
    assert_null(ring_pop(&ring));
    ring_free(&ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_their_order),
        cmocka_unit_test(test_no_room_for_more_pieces),
        cmocka_unit_test(test_no_room_for_more_bytes),
        cmocka_unit_test(test_two_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
