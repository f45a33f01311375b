/* Where a broker is: URLs, and the one that is used when none is given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pubsub/pubsub.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../client-lib/url.h"

static void good_urls(void **state)
{
    (void)state;
    struct mps_url url;
    assert_null(mps_url_parse(&url, "tcp://localhost:7717"));
    assert_int_equal(url.kind, MPS_URL_TCP);
    assert_string_equal(url.host, "localhost");
    assert_string_equal(url.port, "7717");
    assert_false(url.tls);
    assert_null(mps_url_parse(&url, "tls://broker.example:7718"));
    assert_int_equal(url.kind, MPS_URL_TCP);
    assert_true(url.tls);
    assert_string_equal(url.host, "broker.example");
    assert_string_equal(url.port, "7718");
    assert_null(mps_url_parse(&url, "tcp://[::1]:1"));
    assert_string_equal(url.host, "::1");
    assert_string_equal(url.port, "1");
    assert_null(mps_url_parse(&url, "tcp://10.0.0.1:065535"));
    assert_string_equal(url.port, "65535");
    assert_null(mps_url_parse(&url, "unix:/run/pubsub/pubsub.sock"));
    assert_int_equal(url.kind, MPS_URL_UNIX);
    assert_string_equal(url.path, "/run/pubsub/pubsub.sock");
    assert_null(mps_url_parse(&url, "unix:///a"));
    assert_string_equal(url.path, "/a");
    assert_null(mps_url_parse(&url, "unix:relative"));
    assert_string_equal(url.path, "relative");
    assert_null(mps_url_parse(&url, "fd:12"));
    assert_int_equal(url.kind, MPS_URL_FD);
    assert_int_equal(url.fd, 12);
}

static void bad_urls(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "localhost:7717",
        "tcp:/localhost:7717",
        "tcp://",
        "tcp://:7717",
        "tcp://localhost",
        "tcp://localhost:",
        "tcp://localhost:0",
        "tcp://localhost:65536",
        "tcp://localhost:99999999999999999999",
        "tcp://localhost:77x",
        "tcp://localhost:-1",
        "tcp://::1:7717",
        "tcp://[::1:7717",
        "tcp://[::1]7717",
        "tcp://[]:7717",
        "tls://localhost",
        "tls://:7718",
        "tls:localhost:7718",
        "unix:",
        "fd:",
        "fd:-1",
        "fd:1x",
        "http://localhost:80",
        "TCP://localhost:1",
    };
    struct mps_url url;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (mps_url_parse(&url, bad[i]) == NULL) fail_msg("'%s' was taken", bad[i]);
    }
    char lengthy[400] = "unix:/";
    memset(lengthy + 6, 'x', 107);
    assert_non_null(mps_url_parse(&url, lengthy));
    lengthy[6 + 106] = '\0';
    assert_null(mps_url_parse(&url, lengthy));
    snprintf(lengthy, sizeof lengthy, "tcp://%0256d:1", 1);
    assert_non_null(mps_url_parse(&url, lengthy));
}

/* A directory of this test's own, and the environment that points to it. */
struct place {
    char dir[64], own_dir[96];
};

static int make_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static int enter(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    strcpy(place->dir, "/tmp/url_test.XXXXXX");
    if (mkdtemp(place->dir) == NULL) return -1;
    snprintf(place->own_dir, sizeof place->own_dir, "%s/pubsub-%lu", place->dir, (unsigned long)geteuid());
    unsetenv("PUBSUB_URL");
    unsetenv("XDG_RUNTIME_DIR");
    setenv("TMPDIR", place->dir, 1);
    *state = place;
    return 0;
}

static int leave(void **state)
{
    struct place *place = *state;
    char path[160];
    snprintf(path, sizeof path, "%s/pubsub.sock", place->own_dir);
    unlink(path);
    rmdir(place->own_dir);
    snprintf(path, sizeof path, "%s/pubsub.sock", place->dir);
    unlink(path);
    rmdir(place->dir);
    free(place);
    return 0;
}

static void expect_default(const char *expected)
{
    char url[400];
    assert_int_equal(pubsub_default_url(url, sizeof url), PUBSUB_OK);
    assert_string_equal(url, expected);
}

/* What is used when no socket of this test is there. Root has one place more, where a broker of this machine may be. */
static void expect_nothing_found(void)
{
    static const char system_socket[] = "/run/pubsub/pubsub.sock";
    struct stat st;
    bool there = geteuid() == 0 && stat(system_socket, &st) == 0 && S_ISSOCK(st.st_mode);
    expect_default(there ? "unix:/run/pubsub/pubsub.sock" : PUBSUB_DEFAULT_TCP);
}

static void default_by_environment(void **state)
{
    (void)state;
    char url[8];
    setenv("PUBSUB_URL", "tcp://broker:1", 1);
    expect_default("tcp://broker:1");
    assert_int_equal(pubsub_default_url(url, sizeof url), PUBSUB_ETOOBIG);
    setenv("PUBSUB_URL", "", 1);
    expect_nothing_found();
}

static void default_in_runtime_dir(void **state)
{
    const struct place *place = *state;
    char path[160], expected[180];
    setenv("XDG_RUNTIME_DIR", place->dir, 1);
    expect_nothing_found(); /* nothing is there */
    snprintf(path, sizeof path, "%s/pubsub.sock", place->dir);
    snprintf(expected, sizeof expected, "unix:%s", path);
    int fd = make_socket(path);
    expect_default(expected);
    close(fd);
    unlink(path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    expect_nothing_found(); /* not a socket */
}

static void default_in_own_dir(void **state)
{
    const struct place *place = *state;
    char path[160], expected[180];
    if (geteuid() == 0) skip(); /* root's place is /run/pubsub */
    assert_int_equal(mkdir(place->own_dir, 0700), 0);
    snprintf(path, sizeof path, "%s/pubsub.sock", place->own_dir);
    snprintf(expected, sizeof expected, "unix:%s", path);
    int fd = make_socket(path);
    expect_default(expected);
    assert_int_equal(chmod(place->own_dir, 0770), 0); /* others could have put it there */
    expect_nothing_found();
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_urls),
        cmocka_unit_test(bad_urls),
        cmocka_unit_test_setup_teardown(default_by_environment, enter, leave),
        cmocka_unit_test_setup_teardown(default_in_runtime_dir, enter, leave),
        cmocka_unit_test_setup_teardown(default_in_own_dir, enter, leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
