/* How many connections each address has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "callers.h"

struct stand {
    struct callers callers;
    struct guest guests[16];
    struct guest *oldest;
    char text[200];
};

static struct peer tcp(const char *address, bool is_loopback)
{
    struct peer peer = {.kind = PEER_TCP, .is_loopback = is_loopback};
    snprintf(peer.address, sizeof peer.address, "%s", address);
    return peer;
}

static enum callers_result enter(struct stand *stand, int guest, struct peer peer)
{
    return callers_enter(&stand->callers, &stand->guests[guest], &peer, &stand->oldest, stand->text,
                         sizeof stand->text);
}

static void finish(struct stand *stand)
{
    for (int i = 0; i < 16; i++) callers_leave(&stand->callers, &stand->guests[i]);
    assert_int_equal(stand->callers.table.count, 0);
    callers_free(&stand->callers);
}

static void the_oldest_that_is_not_welcome_goes(void **state)
{
    (void)state;
    struct stand s = {.callers.caps.unwelcomed_per_address = 2};
    assert_int_equal(enter(&s, 0, tcp("127.0.0.1", true)), CALLERS_OK);
    assert_int_equal(enter(&s, 1, tcp("127.0.0.1", true)), CALLERS_OK);
    callers_welcome(&s.guests[0]);
    assert_int_equal(enter(&s, 2, tcp("127.0.0.1", true)), CALLERS_OK);
    assert_int_equal(enter(&s, 3, tcp("127.0.0.2", true)), CALLERS_OK); /* another one */
    assert_int_equal(enter(&s, 4, tcp("127.0.0.1", true)), CALLERS_CROWD);
    assert_ptr_equal(s.oldest, &s.guests[1]);
    assert_non_null(strstr(s.text, "127.0.0.1 has more than 2 connections"));
    callers_leave(&s.callers, s.oldest);
    assert_int_equal(enter(&s, 5, tcp("127.0.0.1", true)), CALLERS_CROWD);
    assert_ptr_equal(s.oldest, &s.guests[2]);
    finish(&s);
}

static void an_address_may_have_so_many(void **state)
{
    (void)state;
    struct stand s = {.callers.caps = {.unwelcomed_per_address = 10, .per_address = 2, .per_loopback = 3}};
    assert_int_equal(enter(&s, 0, tcp("192.0.2.1", false)), CALLERS_OK);
    assert_int_equal(enter(&s, 1, tcp("192.0.2.1", false)), CALLERS_OK);
    callers_welcome(&s.guests[0]); /* that changes nothing */
    assert_int_equal(enter(&s, 2, tcp("192.0.2.1", false)), CALLERS_FULL);
    assert_string_equal(s.text, "192.0.2.1 has 2 connections, the limit is 2 (connections_per_address)");
    assert_int_equal(enter(&s, 2, tcp("192.0.2.2", false)), CALLERS_OK);
    callers_leave(&s.callers, &s.guests[1]);
    assert_int_equal(enter(&s, 1, tcp("192.0.2.1", false)), CALLERS_OK);
    for (int i = 3; i < 6; i++) assert_int_equal(enter(&s, i, tcp("::1", true)), CALLERS_OK);
    assert_int_equal(enter(&s, 6, tcp("::1", true)), CALLERS_FULL);
    assert_string_equal(s.text, "::1 has 3 connections, the limit is 3 (connections_from_loopback)");
    finish(&s);
}

static void a_network_of_ipv6_is_one_address(void **state)
{
    (void)state;
    struct stand s = {.callers.caps = {.unwelcomed_per_address = 10, .per_address = 2}};
    assert_int_equal(enter(&s, 0, tcp("2001:db8:1:2::7", false)), CALLERS_OK);
    assert_int_equal(enter(&s, 1, tcp("2001:db8:1:2:ffff:ffff:ffff:ffff", false)), CALLERS_OK);
    assert_int_equal(enter(&s, 2, tcp("2001:db8:1:2:3::", false)), CALLERS_FULL);
    assert_non_null(strstr(s.text, "2001:db8:1:2::/64 has 2 connections"));
    assert_int_equal(enter(&s, 2, tcp("2001:db8:1:3::7", false)), CALLERS_OK);
    finish(&s);
}

static void without_a_limit_or_an_address_nobody_is_refused(void **state)
{
    (void)state;
    struct stand s = {.callers.caps.unwelcomed_per_address = 1};
    for (int i = 0; i < 8; i++) {
        assert_int_equal(enter(&s, i, tcp("192.0.2.1", false)), CALLERS_OK);
        callers_welcome(&s.guests[i]);
    }
    for (int i = 8; i < 16; i++) assert_int_equal(enter(&s, i, (struct peer){.kind = PEER_UNIX}), CALLERS_OK);
    assert_int_equal(s.callers.table.count, 1);
    finish(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_oldest_that_is_not_welcome_goes),
        cmocka_unit_test(an_address_may_have_so_many),
        cmocka_unit_test(a_network_of_ipv6_is_one_address),
        cmocka_unit_test(without_a_limit_or_an_address_nobody_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
