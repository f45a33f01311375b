/* As much of cmocka as the tests of the client's core and of the wire use, for machines that have no cmocka: Debian has none
 * for cross compilers. A failed assertion ends its test, as there. */
#ifndef CMOCKA_SHIM_H
#define CMOCKA_SHIM_H

#include <inttypes.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct CMUnitTest {
    const char *name;
    void (*run)(void **state);
};
#define cmocka_unit_test(test) {#test, test}
#define cmocka_run_group_tests(tests, setup, teardown) shim_run((tests), sizeof(tests) / sizeof *(tests))

static jmp_buf shim_end; /* of the test that runs */

#define shim_fail(...) \
    (printf("%s:%d: ", __FILE__, __LINE__), printf(__VA_ARGS__), printf("\n"), fflush(stdout), longjmp(shim_end, 1))
#define print_error(...) printf(__VA_ARGS__)
#define fail_msg(...) shim_fail(__VA_ARGS__)
#define assert_true(value) ((value) ? (void)0 : shim_fail("not so: %s", #value))
#define assert_false(value) ((value) ? shim_fail("it is so: %s", #value) : (void)0)
#define assert_null(pointer) assert_true((pointer) == NULL)
#define assert_non_null(pointer) assert_true((pointer) != NULL)
/* As in cmocka both are evaluated once, and a number may be of any type. */
#define assert_int_equal(a, b)                                                                             \
    do {                                                                                                   \
        const uint64_t shim_a = (uint64_t)(a), shim_b = (uint64_t)(b);                                     \
        if (shim_a != shim_b) shim_fail("%s is %" PRIu64 ", not %s (%" PRIu64 ")", #a, shim_a, #b, shim_b); \
    } while (0)
#define assert_string_equal(a, b)                                                             \
    do {                                                                                      \
        const char *shim_a = (a), *shim_b = (b);                                              \
        if (strcmp(shim_a, shim_b) != 0) shim_fail("%s is\n%s\nnot\n%s", #a, shim_a, shim_b); \
    } while (0)
#define assert_memory_equal(a, b, len) assert_int_equal(memcmp((a), (b), (len)), 0)

static int shim_passes(const struct CMUnitTest *test)
{
    if (setjmp(shim_end) != 0) return 0;
    test->run(&(void *){NULL});
    return 1;
}

static int shim_run(const struct CMUnitTest *tests, size_t count)
{
    size_t failed = 0;
    for (size_t i = 0; i < count; i++) {
        int passes = shim_passes(&tests[i]);
        printf("%s - %s\n", passes ? "ok" : "not ok", tests[i].name);
        if (!passes) failed++;
    }
    printf("%zu passed, %zu failed\n", count - failed, failed);
    return failed > 0;
}

#endif
