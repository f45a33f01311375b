/* An outbox file and what may become of it: disks that fail or are full, files that are cut, damaged or somebody
 * else's. */
#include "keep_stage.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../client-lib/outbox_log.h"

#define BYTES_MAX 16384

/* Stands before the C library's. */
static int syncs, sync_error;
int fdatasync(int fd)
{
    syncs++;
    errno = sync_error;
    return sync_error != 0 ? -1 : (int)syscall(SYS_fdatasync, fd);
}

static int set_up(void **state)
{
    syncs = sync_error = 0;
    return keep_set_up(state);
}

static size_t read_file(uint8_t bytes[BYTES_MAX])
{
    int fd = open(path, O_RDONLY);
    ssize_t n = read(fd, bytes, BYTES_MAX);
    close(fd);
    assert_in_range(n, 0, BYTES_MAX - 1);
    return (size_t)n;
}

static void write_file(const uint8_t *bytes, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(write(fd, bytes, len), len);
    close(fd);
}

static void expect_refused(const struct pubsub_options *options, const char *why)
{
    char text[512] = "", expected[512];
    pubsub *client;
    assert_int_equal(pubsub_open(&client, options, text, sizeof text), PUBSUB_EFILE);
    snprintf(expected, sizeof expected, "cannot use the outbox file '%s': %s", options->outbox_file, why);
    assert_string_equal(text, expected);
}

/* ---- the file: when the disk fails ------------------------------------------------------------------------------ */

static void test_each_is_synced(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_options options = file_options(stage);
    open_client(stage, &options);
    int before = syncs;
    for (int i = 1; i <= 5; i++) {
        stage_publish(stage, "a", PUBSUB_ACK_ROUTED);
        assert_int_equal(syncs, before + i);
    }
    stage_publish(stage, "b", PUBSUB_ACK_NONE);
    assert_int_equal(syncs, before + 5);
    sync_error = EIO;
    const struct pubsub_publish_options acked = {.ack = PUBSUB_ACK_ROUTED};
    assert_int_equal(pubsub_publish(stage->client, "c", "x", 1, &acked, NULL), PUBSUB_EFILE);
    assert_non_null(strstr(pubsub_error(stage->client), "Input/output error"));
    assert_int_equal(pubsub_publish(stage->client, "c", "x", 1, &acked, NULL), PUBSUB_EFILE);
    assert_int_equal(pubsub_unacked(stage->client), 5);
    welcome(stage, "connected\n"); /* what is on the disk can be sent, whatever becomes of that */
    stage_expect_frames(stage, "acked a, acked a, acked a, acked a, acked a, b, ");
    sync_error = 0;
    stage_publish(stage, "d", PUBSUB_ACK_ROUTED);
    close_client(stage);
    stage->log[0] = '\0';
    open_client(stage, &options);
    assert_int_equal(pubsub_unacked(stage->client), 6);
    welcome(stage, "connected\n");
    stage_expect_frames(stage, "acked a, acked a, acked a, acked a, acked a, acked d, ");
}

static void test_a_batch_is_synced_before_it_is_sent(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = file_options(stage);
    options.outbox_sync = PUBSUB_SYNC_BATCH;
    stage_open(stage, options, 100);
    int before = syncs;
    for (int i = 0; i < 5; i++) stage_publish(stage, "a", PUBSUB_ACK_ROUTED);
    assert_int_equal(syncs, before);
    sync_error = EIO;
    stage_hang_up(stage); /* it would be lost anyway: what can't be synced is not sent */
    stage_wait_for_log(stage, "lost\n");
    stage_accept(stage);
    stage_say_welcome(stage, 100, 1000);
    stage_wait_for_log(stage, "again\nlost\n");
    assert_int_equal(recv(stage->peer, stage->in, sizeof stage->in, MSG_DONTWAIT), 0);
    stage_hang_up(stage);
    sync_error = 0;
    welcome(stage, "again\n");
    stage_expect_frames(stage, "acked a, acked a, acked a, acked a, acked a, ");
    assert_true(syncs > before);
}

/* The one before may have been killed when it had written a batch, and not synced it. */
static void test_what_is_found_is_synced_before_it_is_sent(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = file_options(stage);
    options.outbox_sync = PUBSUB_SYNC_BATCH;
    open_client(stage, &options);
    stage_publish(stage, "a", PUBSUB_ACK_ROUTED);
    close_client(stage);
    int before = syncs;
    open_client(stage, &options);
    welcome(stage, "connected\n");
    stage_expect_frames(stage, "acked a, ");
    assert_true(syncs > before);
}

/* A disk that is full while it lasts: what was accepted is kept, what was not is not. */
static void test_disk_full(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_options options = file_options(stage);
    struct rlimit old, small;
    unsigned accepted = 0;
    open_client(stage, &options);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = (struct rlimit){1000, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    while (publish_letter(stage, 'a', PUBSUB_ACK_ROUTED) == PUBSUB_OK) accepted++;
    int rc = publish_letter(stage, 'a', PUBSUB_ACK_ROUTED);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(rc, PUBSUB_EFILE);
    assert_int_equal(accepted, 3);
    assert_int_equal(pubsub_unacked(stage->client), 3);
    assert_int_equal(publish_letter(stage, 'b', PUBSUB_ACK_ROUTED), PUBSUB_OK);
    close_client(stage);
    open_client(stage, &options);
    welcome(stage, "connected\n");
    stage_expect_frames(stage, "acked a, acked a, acked a, acked b, ");
}

/* ---- the file: what may have become of it ----------------------------------------------------------------------- */

/* With messages, some of them settled, and others dropped. Returns how many are not settled. */
static unsigned make_file(struct stage *stage, const struct pubsub_options *options)
{
    open_client(stage, options);
    stage_publish(stage, "a", PUBSUB_ACK_STORED);
    stage_publish(stage, "b", PUBSUB_ACK_ROUTED);
    stage->last_pid = 1;
    welcome(stage, "connected\npuback 1..1 2\n");
    stage_publish(stage, "c", PUBSUB_ACK_STORED);
    close_client(stage);
    stage->last_pid = 0;
    stage->log[0] = '\0';
    return 2;
}

/* Where each record ends, by their own lengths: only to know what is to be expected. */
static size_t record_ends(const uint8_t *bytes, size_t len, size_t ends[16])
{
    size_t count = 0, at = 128;
    while (at < len) {
        uint32_t body = (uint32_t)(bytes[at] | bytes[at + 1] << 8) >> 2;
        at += 24 + body;
        assert_true(count < 16 && at <= len);
        ends[count++] = at;
    }
    return count;
}

static void test_cut_at_every_byte(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_options options = file_options(stage);
    static const uint64_t unacked[] = {0, 1, 2, 1, 2}; /* after that many records */
    uint8_t bytes[BYTES_MAX];
    size_t ends[16];
    make_file(stage, &options);
    size_t len = read_file(bytes);
    assert_int_equal(record_ends(bytes, len, ends), 4);
    for (size_t cut = 0; cut <= len; cut++) {
        struct stat st;
        size_t whole = 0;
        write_file(bytes, cut);
        if (cut < 128) {
            expect_refused(&options, cut == 0  ? "it is no outbox file: it is empty"
                                     : cut < 8 ? "it is no outbox file"
                                               : "it is damaged: its beginning is cut short");
            continue;
        }
        while (whole < 4 && ends[whole] <= cut) whole++;
        open_client(stage, &options);
        assert_int_equal(pubsub_unacked(stage->client), unacked[whole]);
        stage_publish(stage, "new", PUBSUB_ACK_ROUTED); /* goes where the rest was */
        close_client(stage);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_size, (whole > 0 ? ends[whole - 1] : 128) + 24 + 4 + 3 + 2 + 1);
        open_client(stage, &options);
        assert_int_equal(pubsub_unacked(stage->client), unacked[whole] + 1);
        close_client(stage);
    }
}

static void test_every_bit_flipped(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_options options = file_options(stage);
    uint8_t bytes[BYTES_MAX], after[BYTES_MAX];
    make_file(stage, &options);
    size_t len = read_file(bytes);
    for (size_t bit = 0; bit < 8 * len; bit++) {
        char text[512];
        pubsub *client;
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        write_file(bytes, len);
        assert_int_equal(pubsub_open(&client, &options, text, sizeof text), PUBSUB_EFILE);
        assert_true(strstr(text, "damaged") != NULL || strstr(text, "no outbox file") != NULL);
        assert_int_equal(read_file(after), len); /* left for whoever looks into it */
        assert_memory_equal(after, bytes, len);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    write_file(bytes, len);
    open_client(stage, &options);
    assert_int_equal(pubsub_unacked(stage->client), 2);
}

static void test_a_record_is_missing(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_options options = file_options(stage);
    uint8_t bytes[BYTES_MAX];
    size_t ends[16];
    make_file(stage, &options);
    size_t len = read_file(bytes);
    record_ends(bytes, len, ends);
    memmove(bytes + 128, bytes + ends[0], len - ends[0]);
    write_file(bytes, len - (ends[0] - 128));
    expect_refused(&options, "it is damaged: the record at byte 128 does not add up");
}

/* Records whose checksums are right, and that are wrong all the same. */
static void test_records_that_mean_nothing(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_options options = file_options(stage);
    static const uint8_t message[] = {0x94, 2, 0xa1, 'a', 0xc0, 0xc4, 0},
                         ping[] = {0x92, 15, 0xc4, 5, 'a', 'b', 'c', 'd', 'e'},
                         two[] = {0x94, 2, 0xa1, 'a', 0xc0, 0xc4, 0, 0x94, 2, 0xa1, 'a', 0xc0, 0xc4, 0},
                         list[] = {0x94, 2, 0x91, 'a', 0xc0, 0xc4, 0}, last[8] = {2}, short_last[4] = {1};
#define BODY(bytes)         \
    {                       \
        bytes, sizeof bytes \
    }
    const struct mps_log_record records[] = {
        {MPS_LOG_MESSAGE, 2, 2, BODY(message)},                                              /* 1 is missing */
        {MPS_LOG_MESSAGE, 2, 0, BODY(message)},      {MPS_LOG_MESSAGE, 0, 1, BODY(message)}, /* without a level */
        {MPS_LOG_MESSAGE, 2, 1, BODY(ping)},         {MPS_LOG_MESSAGE, 2, 1, BODY(two)},
        {MPS_LOG_MESSAGE, 2, 1, BODY(list)},         {MPS_LOG_MESSAGE, 2, 1, {message, sizeof message - 1}},
        {MPS_LOG_MESSAGE, 2, 1, {NULL, 0}},          {MPS_LOG_VOID, 0, 1, BODY(last)}, /* of what is not there */
        {MPS_LOG_VOID, 0, 1, BODY(short_last)},      {MPS_LOG_SETTLED, 0, 1, {NULL, 0}},
        {MPS_LOG_SETTLED, 0, UINT64_MAX, {NULL, 0}}, {MPS_LOG_SETTLED, 0, 0, BODY(last)},
        {(enum mps_log_kind)0, 0, 1, {NULL, 0}},
    };
    uint8_t bytes[256];
    for (size_t i = 0; i < sizeof records / sizeof *records; i++) {
        mps_log_write_header(bytes, &(struct mps_log_header){.boot = 1, .id = "device"});
        mps_log_write_record(bytes + MPS_LOG_HEADER, &records[i]);
        size_t len = MPS_LOG_HEADER + MPS_LOG_RECORD + records[i].body.len;
        if (records[i].body.len > 0)
            memcpy(bytes + len - records[i].body.len, records[i].body.ptr, records[i].body.len);
        write_file(bytes, len);
        expect_refused(&options, "it is damaged: the record at byte 128 does not add up");
    }
}

/* What some file systems leave when the power fails. */
static void test_zeros_at_the_end(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_options options = file_options(stage);
    unsigned unacked = make_file(stage, &options);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(truncate(path, st.st_size + 5000), 0);
    open_client(stage, &options);
    assert_int_equal(pubsub_unacked(stage->client), unacked);
}

/* A record that crosses from one sector to the next, of which a failing power let only one be written. */
static void test_half_a_record(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_options options = file_options(stage);
    const struct pubsub_publish_options acked = {.ack = PUBSUB_ACK_ROUTED};
    uint8_t bytes[BYTES_MAX], torn[BYTES_MAX], payload[300];
    size_t ends[16];
    memset(payload, 'x', sizeof payload);
    open_client(stage, &options);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pubsub_publish(stage->client, "a", payload, sizeof payload, &acked, NULL), PUBSUB_OK);
    close_client(stage);
    size_t len = read_file(bytes);
    assert_int_equal(record_ends(bytes, len, ends), 3);
    assert_true(ends[0] < 512 && ends[1] > 512 && ends[1] < 1024 && len > 1024);
    const struct {
        size_t begin, end, len; /* zeros, and of the file */
        unsigned unacked;       /* 0: it is damaged */
    } cases[] = {
        {512, ends[1], ends[1], 1}, {ends[0], 512, ends[1], 1}, {1024, len, len, 2},
        {ends[1], 1024, len, 2},    {512, ends[1], len, 0},     {ends[0], 512, len, 0}, /* others stand behind it */
        {600, ends[1], ends[1], 0}, {ends[0], 500, ends[1], 0},                         /* no disk leaves that */
        {512, 540, ends[1], 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memcpy(torn, bytes, len);
        memset(torn + cases[i].begin, 0, cases[i].end - cases[i].begin);
        write_file(torn, cases[i].len);
        if (cases[i].unacked == 0) {
            char why[80];
            snprintf(why, sizeof why, "it is damaged: the record at byte %zu does not add up", ends[0]);
            expect_refused(&options, why);
            continue;
        }
        open_client(stage, &options);
        assert_int_equal(pubsub_unacked(stage->client), cases[i].unacked);
        stage_publish(stage, "new", PUBSUB_ACK_ROUTED);
        close_client(stage);
        open_client(stage, &options);
        assert_int_equal(pubsub_unacked(stage->client), cases[i].unacked + 1);
        close_client(stage);
    }
}

static void test_what_is_no_file_of_this_client(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = file_options(stage);
    make_file(stage, &options);
    options.client_id = "other";
    expect_refused(&options, "it is that of the client id 'device'");
    options.client_id = "device";
    open_client(stage, &options);
    expect_refused(&options, "another client has it open");
    close_client(stage);
    write_file((const uint8_t *)"temperature=20\n", 15);
    expect_refused(&options, "it is no outbox file");
    options.outbox_file = stage->dir;
    expect_refused(&options, "Is a directory");
    options.outbox_file = "/dev/null";
    expect_refused(&options, "it is no file");
    options.outbox_file = "/proc/self/exe"; /* nobody may write there, not even root */
    expect_refused(&options, "Text file busy");
    options.outbox_file = "/no/such/directory/box";
    expect_refused(&options, "No such file or directory");
}

/* Opens the file as soon as `gate` is closed, and if it may, puts a message there. */
static void open_in_a_race(const struct pubsub_options *options, int gate)
{
    const struct pubsub_publish_options acked = {.ack = PUBSUB_ACK_ROUTED};
    pubsub *client;
    char byte, text[512];
    (void)!read(gate, &byte, 1);
    int rc = pubsub_open(&client, options, text, sizeof text);
    if (rc == PUBSUB_EFILE) _exit(strstr(text, "another client has it open") != NULL ? 1 : 2);
    if (rc != PUBSUB_OK || pubsub_publish(client, "a", "x", 1, &acked, NULL) != PUBSUB_OK) _exit(3);
    usleep(20000); /* so that the others find it open */
    _exit(0);
}

/* Many programs at once find that there is no file yet: whoever may put something there finds it again. */
static void test_made_by_many_at_once(void **state)
{
    enum { ROUNDS = 20, PROCESSES = 8 };
    struct stage *stage = *state;
    struct pubsub_options options = file_options(stage);
    for (int round = 0; round < ROUNDS; round++) {
        int gate[2], status, opened = 0;
        assert_int_equal(pipe(gate), 0);
        for (int i = 0; i < PROCESSES; i++) {
            pid_t pid = fork();
            assert_true(pid >= 0);
            if (pid > 0) continue;
            close(gate[1]);
            open_in_a_race(&options, gate[0]);
        }
        close(gate[0]);
        close(gate[1]);
        for (int i = 0; i < PROCESSES; i++) {
            assert_true(wait(&status) > 0 && WIFEXITED(status));
            assert_in_range(WEXITSTATUS(status), 0, 1);
            opened += WEXITSTATUS(status) == 0;
        }
        assert_true(opened > 0);
        open_client(stage, &options);
        assert_int_equal(pubsub_unacked(stage->client), opened);
        close_client(stage);
        assert_int_equal(unlink(path), 0);
    }
}

/* What a program left that was killed while it made the file is in nobody's way. */
static void test_one_that_was_half_made(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_options options = file_options(stage);
    char half[128];
    snprintf(half, sizeof half, "%s.new", path);
    uint8_t rest[1000];
    memset(rest, 'x', sizeof rest);
    int fd = open(half, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_int_equal(write(fd, rest, sizeof rest), sizeof rest);
    close(fd);
    open_client(stage, &options);
    stage_publish(stage, "a", PUBSUB_ACK_ROUTED);
    close_client(stage);
    assert_int_equal(access(half, F_OK), -1);
    open_client(stage, &options);
    assert_int_equal(pubsub_unacked(stage->client), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, keep_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_each_is_synced),
        TEST(test_a_batch_is_synced_before_it_is_sent),
        TEST(test_what_is_found_is_synced_before_it_is_sent),
        TEST(test_disk_full),
        TEST(test_cut_at_every_byte),
        TEST(test_every_bit_flipped),
        TEST(test_a_record_is_missing),
        TEST(test_records_that_mean_nothing),
        TEST(test_zeros_at_the_end),
        TEST(test_half_a_record),
        TEST(test_what_is_no_file_of_this_client),
        TEST(test_made_by_many_at_once),
        TEST(test_one_that_was_half_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
