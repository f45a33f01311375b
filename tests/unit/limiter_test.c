/* Who fails too often: who is counted as one, and whom that keeps out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "limiter.h"

static void assert_who(enum peer_kind kind, const char *address, const char *expected)
{
    struct peer peer = {.kind = kind, .uid = 12};
    char who[PEER_ADDRESS_MAX];
    strcpy(peer.address, address);
    limiter_who(&peer, who);
    assert_string_equal(who, expected);
}

static void test_who_is_counted_as_one(void **state)
{
    (void)state;
    assert_who(PEER_UNIX, "", "uid:12");
    assert_who(PEER_TCP, "192.0.2.1", "192.0.2.1");
    assert_who(PEER_TCP, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::");
    assert_who(PEER_TCP, "2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::");
    assert_who(PEER_TCP, "2001:db8:1:3::1", "2001:db8:1:3::");
    assert_who(PEER_NONE, "", "");
}

static void test_failures_of_one_address_keep_no_other_one_out(void **state)
{
    (void)state;
    struct limiter *limiter = calloc(1, sizeof *limiter);
    for (int i = 0; i < 100; i++) limiter_note_failure(limiter, "a", "ann", 3, 1000);
    assert_false(limiter_allows(limiter, "a", "bob", 3, 1000));
    assert_true(limiter_allows(limiter, "b", "ann", 3, 1000));
    limiter_note_failure(limiter, "b", "bob", 3, 1000);
    assert_false(limiter_allows(limiter, "b", "ann", 3, 1000)); /* who has failed, too */
    assert_true(limiter_allows(limiter, "b", "bob", 3, 1000));
    assert_true(limiter_allows(limiter, "a", "bob", 3, 1000 + FORGET_MS));
    assert_true(limiter_allows(limiter, "b", "ann", 3, 1000 + FORGET_MS));
    free(limiter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_is_counted_as_one),
        cmocka_unit_test(test_failures_of_one_address_keep_no_other_one_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
