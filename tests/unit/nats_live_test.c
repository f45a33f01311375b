/* Datagrams over a real NATS server (broker/cluster/nats_live.c, nats_link.c, nats_engine.c). */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine.h"
#include "nats_rig.h"

#define WAIT_S 60

engine_open_fn pubsubd_engine_open;

/* One broker's end: what came, since it was looked at last. */
struct end {
    struct engine *engine;
    struct stage *stage;
    char name[32];
    char log[4000]; /* "name=payload;" */
    uint64_t received, bytes, numbers_wrong, next_number;
    long each_ms; /* so long it takes for each */
    bool is_live;
    char text[STORE_TEXT_MAX];
    unsigned changes;
};

struct stage {
    struct nats_rig rig;
    sem_t woken;
    struct end ends[3];
};

static void on_wake(void *arg)
{
    struct stage *stage = arg;
    sem_post(&stage->woken);
}

/* A datagram of 8 bytes or more begins with a number that counts up. */
static void on_received(void *arg, const uint8_t *bytes, size_t len)
{
    struct end *end = arg;
    uint64_t number;
    if (end->each_ms > 0) nanosleep(&(struct timespec){.tv_nsec = end->each_ms * 1000000}, NULL);
    end->received++;
    end->bytes += len;
    if (len >= sizeof number) {
        memcpy(&number, bytes, sizeof number);
        if (number < end->next_number) end->numbers_wrong++;
        end->next_number = number + 1;
    } else {
        size_t used = strlen(end->log);
        snprintf(end->log + used, sizeof end->log - used, "%.*s;", (int)len, (const char *)bytes);
    }
}

static void on_connected(void *arg, bool is_live, bool is_storing, const char *why_not_live,
                         const char *why_not_storing)
{
    (void)is_storing, (void)why_not_storing;
    struct end *end = arg;
    if (is_live != end->is_live) end->changes++;
    end->is_live = is_live;
    snprintf(end->text, sizeof end->text, "%s", why_not_live);
}

static struct engine_options options_of(struct stage *stage, const char *name)
{
    return (struct engine_options){.name = name,
                                   .prefix = "test",
                                   .urls = stage->rig.url,
                                   .replicas = 1,
                                   .defer_ms = 1000,
                                   .defer_bytes = 1 << 20,
                                   .wake = on_wake,
                                   .arg = stage};
}

static struct end *open_with(struct stage *stage, int index, const struct engine_options *options)
{
    char text[STORE_TEXT_MAX] = "";
    struct end *end = &stage->ends[index];
    *end = (struct end){.stage = stage};
    end->engine = pubsubd_engine_open(options, text);
    if (end->engine == NULL) fail_msg("%s", text);
    end->engine->events.received = on_received;
    end->engine->events.connected = on_connected;
    end->engine->events.arg = end;
    return end;
}

static struct end *open_end(struct stage *stage, int index, const char *name)
{
    struct engine_options options = options_of(stage, name);
    return open_with(stage, index, &options);
}

static void close_end(struct end *end)
{
    end->engine->close(end->engine);
    end->engine = NULL;
}

static void poll_all(struct stage *stage)
{
    for (int i = 0; i < 3; i++)
        if (stage->ends[i].engine != NULL) stage->ends[i].engine->poll(stage->ends[i].engine);
}

static void fail_stage(struct stage *stage)
{
    for (int i = 0; i < 3; i++) {
        struct engine_figures figures;
        if (stage->ends[i].engine == NULL) continue;
        stage->ends[i].engine->figures(stage->ends[i].engine, &figures);
        print_error("%d: live %d storing %d received %u reconnects %u changes %u text '%s'\n", i, figures.is_live,
                    figures.is_storing, (unsigned)stage->ends[i].received, (unsigned)figures.reconnects,
                    stage->ends[i].changes, figures.text);
    }
    fail_msg("it did not happen in %d s", WAIT_S);
}

/* Until somebody is woken, or a while: figures change without that. */
static void wait_once(struct stage *stage, time_t since)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    if (until.tv_sec > since + WAIT_S) fail_stage(stage);
    until.tv_nsec += 20 * 1000000;
    if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
    sem_timedwait(&stage->woken, &until);
    poll_all(stage);
}

#define wait_for(stage, condition)                     \
    do {                                               \
        time_t since_ = time(NULL);                    \
        poll_all(stage);                               \
        while (!(condition)) wait_once(stage, since_); \
    } while (0)

static struct engine_figures figures_of(struct end *end)
{
    struct engine_figures figures;
    end->engine->figures(end->engine, &figures);
    return figures;
}

static bool say(struct end *end, const char *to, const char *text)
{
    bool is_taken = end->engine->send(end->engine, to, (const uint8_t *)text, strlen(text));
    end->engine->flush(end->engine);
    return is_taken;
}

static int open_stage(void **state)
{
    struct stage *stage = calloc(1, sizeof *stage);
    assert_non_null(stage);
    *state = stage;
    if (!nats_rig_is_there()) return 0;
    sem_init(&stage->woken, 0, 0);
    nats_rig_open(&stage->rig);
    nats_rig_start(&stage->rig, NULL);
    return 0;
}

static int close_stage(void **state)
{
    struct stage *stage = *state;
    for (int i = 0; i < 3; i++)
        if (stage->ends[i].engine != NULL) close_end(&stage->ends[i]);
    if (nats_rig_is_there()) nats_rig_close(&stage->rig);
    free(stage);
    return 0;
}

static struct stage *stage_of(void **state)
{
    if (!nats_rig_is_there()) skip();
    return *state;
}

/* ---- tests -------------------------------------------------------------------------------------------------- */

static void test_one_and_all(void **state)
{
    struct stage *stage = stage_of(state);
    struct end *a = open_end(stage, 0, "a"), *b = open_end(stage, 1, "b-2"), *c = open_end(stage, 2, "c_3");
    assert_false(a->is_live);
    wait_for(stage, a->is_live && b->is_live && c->is_live);
    assert_true(a->engine->datagram_max >= 1024 * 1024);
    assert_true(say(a, "b-2", "1"));
    assert_true(say(a, NULL, "2"));
    assert_true(say(a, "c_3", "3"));
    assert_true(say(a, "nobody", "4"));
    assert_true(say(a, NULL, "5"));
    wait_for(stage, b->received == 3 && c->received == 3);
    assert_string_equal(b->log, "1;2;5;");
    assert_string_equal(c->log, "2;3;5;");
    assert_true(say(b, "a", "6"));
    assert_true(say(b, NULL, "7"));
    wait_for(stage, a->received == 2);
    assert_string_equal(a->log, "6;7;");                                                  /* nothing of its own */
    wait_for(stage, figures_of(a).datagrams_out == 5 && figures_of(a).datagrams_in == 2); /* counted a moment later */
    struct engine_figures figures = figures_of(a);
    assert_true(figures.is_live);
    assert_string_equal(figures.server, stage->rig.url);
    assert_int_equal(figures.bytes_out, 5);
    assert_int_equal(figures.bytes_in, 2);
    assert_int_equal(figures.dropped_out + figures.dropped_in + figures.reconnects, 0);
}

static void test_round_trip_is_measured(void **state)
{
    struct stage *stage = stage_of(state);
    struct end *a = open_end(stage, 0, "a");
    wait_for(stage, figures_of(a).rtt_us != UINT64_MAX);
    nats_rig_kill(&stage->rig);
    wait_for(stage, !a->is_live);
    wait_for(stage, figures_of(a).rtt_us == UINT64_MAX);
    assert_string_equal(figures_of(a).server, "");
}

static void test_large_ones(void **state)
{
    struct stage *stage = stage_of(state);
    struct end *a = open_end(stage, 0, "a"), *b = open_end(stage, 1, "b");
    wait_for(stage, a->is_live && b->is_live);
    size_t most = a->engine->datagram_max;
    uint8_t *bytes = calloc(1, most + 1);
    assert_non_null(bytes);
    assert_false(a->engine->send(a->engine, "b", bytes, most + 1));
    assert_int_equal(figures_of(a).dropped_out, 1);
    assert_true(a->engine->send(a->engine, "b", bytes, most));
    a->engine->flush(a->engine);
    wait_for(stage, b->received == 1);
    assert_int_equal(b->bytes, most);
    free(bytes);
}

static void test_in_their_order(void **state)
{
    enum { COUNT = 20000 };
    struct stage *stage = stage_of(state);
    struct end *a = open_end(stage, 0, "a"), *b = open_end(stage, 1, "b");
    wait_for(stage, a->is_live && b->is_live);
    uint8_t bytes[200] = {0};
    for (uint64_t i = 0; i < COUNT; i++) {
        memcpy(bytes, &i, sizeof i);
        while (!a->engine->send(a->engine, i % 3 == 0 ? NULL : "b", bytes, sizeof bytes)) { /* there is no room now */
            a->engine->flush(a->engine);
            wait_for(stage, figures_of(a).datagrams_out == i);
        }
        if (i % 100 == 0) a->engine->flush(a->engine);
    }
    a->engine->flush(a->engine);
    wait_for(stage, b->received == COUNT);
    assert_int_equal(b->numbers_wrong, 0);
    assert_int_equal(b->next_number, COUNT);
}

/* A name is one level of a subject, and nothing else. */
static void test_names(void **state)
{
    static const char *const names[] = {
        "",         "*",
        ">",        "a.b",
        "a b",      "a\r\nPUB x 0\r\n",
        "\xc3\xa4", "01234567890123456789012345678901234567890123456789012345678901234"};
    struct stage *stage = stage_of(state);
    struct end *a = open_end(stage, 0, "a"), *b = open_end(stage, 1, "b");
    wait_for(stage, a->is_live && b->is_live);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) assert_false(say(a, names[i], "no"));
    assert_int_equal(figures_of(a).dropped_out, sizeof names / sizeof *names);
    assert_true(say(a, "b", "yes"));
    wait_for(stage, b->received == 1);
    assert_string_equal(b->log, "yes;");
}

static void test_server_comes_later(void **state)
{
    struct stage *stage = stage_of(state);
    nats_rig_kill(&stage->rig);
    struct end *a = open_end(stage, 0, "a"), *b = open_end(stage, 1, "b");
    wait_for(stage, figures_of(a).text[0] != '\0');
    assert_non_null(strstr(figures_of(a).text, stage->rig.url));
    assert_false(say(a, "b", "lost"));
    assert_int_equal(figures_of(a).dropped_out, 1);
    nats_rig_start(&stage->rig, NULL);
    wait_for(stage, a->is_live && b->is_live);
    assert_true(say(a, "b", "taken"));
    wait_for(stage, b->received == 1);
    assert_string_equal(b->log, "taken;");
    assert_int_equal(figures_of(a).reconnects, 0);
}

static void test_server_goes_and_comes_back(void **state)
{
    struct stage *stage = stage_of(state);
    struct end *a = open_end(stage, 0, "a"), *b = open_end(stage, 1, "b");
    wait_for(stage, a->is_live && b->is_live);
    wait_for(stage, figures_of(a).is_storing); /* .reconnects are of both connections */
    for (uint64_t round = 1; round <= 3; round++) {
        nats_rig_kill(&stage->rig);
        wait_for(stage, !a->is_live && !b->is_live);
        assert_non_null(strstr(a->text, stage->rig.url));
        assert_false(say(a, "b", "lost"));
        nats_rig_start(&stage->rig, NULL);
        wait_for(stage, a->is_live && b->is_live);
        assert_true(say(a, "b", "x"));
        wait_for(stage, b->received == round);
        wait_for(stage, figures_of(a).reconnects == 2 * round);
        wait_for(stage, strstr(figures_of(a).text, "broke") == NULL);
        assert_int_equal(a->changes, 1 + 2 * round);
    }
    assert_string_equal(b->log, "x;x;x;");
}

/* One that is frozen keeps its connections: it is found out, and nobody waits for it meanwhile. */
static void test_frozen_server(void **state)
{
    struct stage *stage = stage_of(state);
    struct end *a = open_end(stage, 0, "a");
    wait_for(stage, a->is_live);
    kill(stage->rig.pid, SIGSTOP);
    uint8_t *bytes = calloc(1, 256 * 1024);
    assert_non_null(bytes);
    uint64_t taken = 0;
    for (int i = 0; i < 400; i++) { /* 100 MiB: more than there is room for */
        if (a->engine->send(a->engine, "b", bytes, 256 * 1024)) taken++;
        a->engine->flush(a->engine);
    }
    free(bytes);
    assert_in_range(taken, 1, 399);
    wait_for(stage, !a->is_live);
    wait_for(stage, figures_of(a).dropped_out + figures_of(a).datagrams_out == 400);
    kill(stage->rig.pid, SIGCONT);
    wait_for(stage, a->is_live);
    assert_in_range(figures_of(a).reconnects, 1, 2); /* also of the connection for streams */
}

/* Who does not poll gets what there is room for; the others are counted. */
static void test_slow_reader(void **state)
{
    enum { COUNT = 1000, BYTES = 128 * 1024, UNDERWAY = 100 }; /* 125 MiB: twice what there is room for */
    struct stage *stage = stage_of(state);
    struct end *a = open_end(stage, 0, "a"), *b = open_end(stage, 1, "b");
    wait_for(stage, a->is_live && b->is_live);
    uint8_t *bytes = calloc(1, BYTES);
    assert_non_null(bytes);
    for (uint64_t i = 0; i < COUNT; i++) {
        memcpy(bytes, &i, sizeof i);
        while (!a->engine->send(a->engine, "b", bytes, BYTES)) sched_yield();
        a->engine->flush(a->engine);
        /* No more under way than the server has room for, which ends a connection that takes nothing for long. */
        struct engine_figures now = figures_of(b);
        while (i >= now.datagrams_in + now.dropped_in + UNDERWAY) {
            sched_yield();
            now = figures_of(b);
        }
    }
    free(bytes);
    for (struct engine_figures now = figures_of(b); now.datagrams_in + now.dropped_in < COUNT; now = figures_of(b))
        sched_yield();
    assert_true(figures_of(b).dropped_in > 0);
    wait_for(stage, b->received == figures_of(b).datagrams_in);
    assert_int_equal(b->received + figures_of(b).dropped_in, COUNT);
    assert_int_equal(b->numbers_wrong, 0);
    assert_true(say(a, "b", "now"));
    wait_for(stage, strcmp(b->log, "now;") == 0);
}

/* libnats gives up for ever where a login is refused twice. */
static void test_refused_for_a_while(void **state)
{
    static const char *const other[] = {"--user", "ann", "--pass", "other", NULL};
    static const char *const right[] = {"--user", "ann", "--pass", "right", NULL};
    struct stage *stage = stage_of(state);
    nats_rig_kill(&stage->rig);
    nats_rig_start(&stage->rig, other);
    struct engine_options options = options_of(stage, "a");
    options.user = "ann";
    options.password = "right";
    struct end *a = open_with(stage, 0, &options);
    wait_for(stage, strstr(figures_of(a).text, "Authorization") != NULL);
    nats_rig_kill(&stage->rig);
    nats_rig_start(&stage->rig, right);
    wait_for(stage, a->is_live);
    nats_rig_kill(&stage->rig);
    nats_rig_start(&stage->rig, other);
    wait_for(stage, !a->is_live && strstr(figures_of(a).text, "Authorization") != NULL);
    nats_rig_kill(&stage->rig);
    nats_rig_start(&stage->rig, right);
    wait_for(stage, a->is_live);
}

/* Who may not listen is not connected, and is told why. */
static void test_forbidden_to_listen(void **state)
{
    static const char *const users = "authorization { users: [{ user: ann, password: right, permissions: { publish: "
                                     "\">\", subscribe: \"_INBOX.>\" } }] }";
    struct stage *stage = stage_of(state);
    char path[300];
    snprintf(path, sizeof path, "%s/users.conf", stage->rig.directory);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(users, file);
    assert_int_equal(fclose(file), 0);
    const char *const more[] = {"-c", path, NULL};
    nats_rig_kill(&stage->rig);
    nats_rig_start(&stage->rig, more);
    struct engine_options options = options_of(stage, "a");
    options.user = "ann";
    options.password = "right";
    struct end *a = open_with(stage, 0, &options);
    wait_for(stage, strstr(figures_of(a).text, "Permissions Violation") != NULL);
    wait_for(stage, figures_of(a).is_storing);
    assert_int_equal(a->changes, 0);
}

static void test_token(void **state)
{
    static const char *const more[] = {"--auth", "secret", NULL};
    struct stage *stage = stage_of(state);
    nats_rig_kill(&stage->rig);
    nats_rig_start(&stage->rig, more);
    struct engine_options options = options_of(stage, "a");
    options.token = "secret";
    struct end *a = open_with(stage, 0, &options);
    wait_for(stage, a->is_live);
}

/* The last words of a broker that leaves arrive. */
static void test_last_words(void **state)
{
    struct stage *stage = stage_of(state);
    struct end *a = open_end(stage, 0, "a"), *b = open_end(stage, 1, "b");
    wait_for(stage, a->is_live && b->is_live);
    for (int i = 0; i < 3; i++) assert_true(say(a, NULL, i == 2 ? "bye" : "x"));
    close_end(a);
    wait_for(stage, b->received == 3);
    assert_string_equal(b->log, "x;x;bye;");
}

static int listen_to(char url[64], const char *scheme)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    snprintf(url, 64, "%s://127.0.0.1:%d", scheme, ntohs(address.sin_port));
    return fd;
}

/* Somebody takes connections, and never says a word. */
static void test_closing_while_it_connects(void **state)
{
    struct stage *stage = stage_of(state);
    char url[64];
    int fd = listen_to(url, "nats");
    struct engine_options options = options_of(stage, "a");
    options.urls = url;
    struct end *a = open_with(stage, 0, &options);
    int connection = accept(fd, NULL, NULL); /* it waits for a word now */
    assert_true(connection >= 0);
    close_end(a);
    close(connection);
    close(fd);
}

/* Somebody takes connections, and is silent when it comes to TLS: others are to be tried, in the end. */
static void test_silent_handshake(void **state)
{
    static const char info[] = "INFO {\"server_id\":\"x\",\"version\":\"2.9.10\",\"proto\":1,\"headers\":true,"
                               "\"max_payload\":1048576,\"tls_required\":true}\r\n";
    struct stage *stage = stage_of(state);
    char url[64];
    int connections[3], fd = listen_to(url, "tls");
    struct engine_options options = options_of(stage, "a");
    options.urls = url;
    struct end *a = open_with(stage, 0, &options);
    for (int i = 0; i < 3; i++) { /* one for messages, one for what is stored, and one that tries again */
        connections[i] = accept(fd, NULL, NULL);
        assert_true(connections[i] >= 0);
        assert_int_equal(send(connections[i], info, strlen(info), MSG_NOSIGNAL), strlen(info));
    }
    wait_for(stage, strstr(figures_of(a).text, "SSL") != NULL);
    close_end(a);
    for (int i = 0; i < 3; i++) close(connections[i]);
    close(fd);
}

static void test_several_urls(void **state)
{
    struct stage *stage = stage_of(state);
    char urls[200];
    snprintf(urls, sizeof urls, "nats://127.0.0.1:1, %s ,nats://127.0.0.1:1", stage->rig.url);
    struct engine_options options = options_of(stage, "a");
    options.urls = urls;
    struct end *a = open_with(stage, 0, &options);
    wait_for(stage, a->is_live);
    assert_string_equal(figures_of(a).server, stage->rig.url);
}

static void test_bad_files(void **state)
{
    struct stage *stage = stage_of(state);
    char text[STORE_TEXT_MAX] = "";
    struct engine_options options = options_of(stage, "a");
    options.ca_file = "/nowhere/ca.pem";
    assert_null(pubsubd_engine_open(&options, text));
    assert_non_null(strstr(text, "/nowhere/ca.pem"));
    options.ca_file = NULL;
    options.cert_file = "/nowhere/cert.pem";
    options.key_file = "/nowhere/key.pem";
    assert_null(pubsubd_engine_open(&options, text));
    assert_non_null(strstr(text, "/nowhere/cert.pem"));
}

/* However much has come, the loop has others, too: what takes long is taken by and by. */
static void test_little_at_a_time(void **state)
{
    enum { COUNT = 40, EACH_MS = 5, MOST = 3 };
    struct stage *stage = stage_of(state);
    struct end *a = open_end(stage, 0, "a"), *b = open_end(stage, 1, "b");
    wait_for(stage, a->is_live && b->is_live);
    b->each_ms = EACH_MS;
    for (int i = 0; i < COUNT; i++) assert_true(say(a, "b", "x"));
    time_t since = time(NULL);
    while (figures_of(b).datagrams_in < COUNT) {
        if (time(NULL) > since + WAIT_S) fail_stage(stage);
        sched_yield();
    }
    for (uint64_t before = 0; before < COUNT; before = b->received) {
        if (before > 0) assert_int_equal(sem_trywait(&stage->woken), 0); /* it says that there is more */
        while (sem_trywait(&stage->woken) == 0)
            ;
        b->engine->poll(b->engine);
        assert_in_range(b->received - before, 1, MOST);
    }
    assert_int_equal(b->received, COUNT);
}

#define each(test) cmocka_unit_test_setup_teardown(test, open_stage, close_stage)

int main(void)
{
    const struct CMUnitTest tests[] = {
        each(test_one_and_all),
        each(test_round_trip_is_measured),
        each(test_large_ones),
        each(test_in_their_order),
        each(test_names),
        each(test_server_comes_later),
        each(test_server_goes_and_comes_back),
        each(test_frozen_server),
        each(test_slow_reader),
        each(test_little_at_a_time),
        each(test_refused_for_a_while),
        each(test_forbidden_to_listen),
        each(test_token),
        each(test_last_words),
        each(test_closing_while_it_connects),
        each(test_silent_handshake),
        each(test_several_urls),
        each(test_bad_files),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
