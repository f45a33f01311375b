/* Exports of streams: what was written is read; what was changed or cut off, wherever, is refused. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "archive.h"

#define SMALL 3 /* messages of the small export */

static int file_of(const void *bytes, size_t len)
{
    int fd = memfd_create("export", 0);
    assert_true(fd >= 0);
    assert_true(write(fd, bytes, len) == (ssize_t)len);
    assert_true(lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

static struct pubsub_message message_of(const char *topic, const void *payload, size_t len, uint64_t seq)
{
    return (struct pubsub_message){.topic = topic,
                                   .topic_len = strlen(topic),
                                   .payload = payload,
                                   .payload_len = len,
                                   .stream = 64,
                                   .seq = seq,
                                   .time_ms = 1795743895000 + seq};
}

static const struct pubsub_gap lost = {
    .exact = true, .count = 2, .reason_name = "damaged", .stream = 64, .first = 3, .last = 4};

/* Three messages, of which one has properties and one no payload, and a loss between them. */
static struct buffer small_export(void)
{
    static const uint8_t props[] = {0x81, 0xa1, 'k', 0xa1, 'v'};
    static char name[] = "or\"ders";
    const struct stream stream = {.name = name, .number = 64, .first = 1, .next = 6};
    struct buffer file = {0};
    struct output out;
    struct archive_writer writer;
    output_open_memory(&out, &file);
    archive_begin(&writer, &out, &stream, 1795743895123);
    struct pubsub_message message = message_of("orders/1", "\xa3one", 4, 1);
    archive_message(&writer, &message);
    message = message_of("orders/2", "", 0, 2);
    message.props = props;
    message.props_len = sizeof props;
    archive_message(&writer, &message);
    archive_gap(&writer, &lost);
    message = message_of("orders/1", "\xa5\x00\nfiv", 6, 5);
    archive_message(&writer, &message);
    archive_end(&writer);
    archive_writer_free(&writer);
    output_flush(&out);
    output_close(&out);
    return file;
}

/* Reads all of an export. Returns how it ended; *messages were given. */
static enum archive_result read_all(const uint8_t *bytes, size_t len, uint64_t *messages, char error[256])
{
    struct archive_reader reader;
    struct archive_frame frame;
    enum archive_result result;
    int fd = file_of(bytes, len);
    archive_open(&reader, fd, NULL, NULL);
    *messages = 0;
    while ((result = archive_read_block(&reader)) == ARCHIVE_BLOCK) {
        while (archive_next(&reader, &frame)) ++*messages;
    }
    if (result == ARCHIVE_BROKEN) assert_true(strlen(reader.error) > 0);
    if (error) strcpy(error, reader.error);
    archive_close(&reader);
    close(fd);
    return result;
}

static void what_was_written_is_read(void **state)
{
    (void)state;
    struct buffer file = small_export();
    int fd = file_of(file.data, file.len);
    struct archive_reader reader;
    struct archive_frame frame;
    archive_open(&reader, fd, NULL, NULL);
    assert_int_equal(archive_read_block(&reader), ARCHIVE_BLOCK);
    assert_string_equal(reader.stream, "or\"ders");
    assert_int_equal(reader.first, 1);
    assert_int_equal(reader.last, 2);
    assert_true(archive_next(&reader, &frame));
    assert_true(mps_view_equal(frame.topic, mps_text("orders/1")));
    assert_null(frame.props.ptr);
    assert_int_equal(frame.payload.len, 4);
    assert_memory_equal(frame.payload.ptr, "\xa3one", 4);
    assert_true(archive_next(&reader, &frame));
    assert_int_equal(frame.payload.len, 0);
    assert_int_equal(frame.props.len, 5);
    assert_false(archive_next(&reader, &frame));
    assert_int_equal(archive_read_block(&reader), ARCHIVE_BLOCK);
    assert_int_equal(reader.lost, 2);
    assert_int_equal(reader.first, 5);
    assert_true(archive_next(&reader, &frame));
    assert_memory_equal(frame.payload.ptr, "\xa5\x00\nfiv", 6);
    assert_false(archive_next(&reader, &frame));
    assert_int_equal(archive_read_block(&reader), ARCHIVE_END);
    assert_int_equal(reader.messages, SMALL);
    archive_close(&reader);
    close(fd);
    buffer_free(&file);
}

static void a_file_that_was_cut_is_refused(void **state)
{
    (void)state;
    struct buffer file = small_export();
    uint64_t messages;
    assert_int_equal(read_all(file.data, file.len, &messages, NULL), ARCHIVE_END);
    assert_int_equal(messages, SMALL);
    for (size_t len = 0; len < file.len; len++)
        assert_int_equal(read_all(file.data, len, &messages, NULL), ARCHIVE_BROKEN);
    buffer_free(&file);
}

/* Every bit but those of what only informs: of the first line's members, times, and the reason of a loss. */
static void a_changed_bit_never_changes_a_message(void **state)
{
    (void)state;
    struct buffer file = small_export();
    uint64_t messages;
    size_t refused = 0;
    for (size_t bit = 0; bit < 8 * file.len; bit++) {
        file.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (read_all(file.data, file.len, &messages, NULL) == ARCHIVE_BROKEN) refused++;
        else assert_int_equal(messages, SMALL); /* their bytes have the right checksum */
        file.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_true(refused > 4 * file.len);
    buffer_free(&file);
}

static void places_are_named(void **state)
{
    (void)state;
    struct buffer file = small_export();
    char error[256], expected[256];
    uint64_t messages;
    uint8_t *payload = memmem(file.data, file.len, "one", 3);
    assert_non_null(payload);
    *payload = 'O';
    const uint8_t *line = memmem(file.data, file.len, "\n{\"messages\":2", 14);
    const uint8_t *block = memchr(line + 1, '\n', 200);
    assert_int_equal(read_all(file.data, file.len, &messages, error), ARCHIVE_BROKEN);
    snprintf(expected, sizeof expected,
             "at byte %zu: the checksum of the block does not fit: something in positions 1 to 2 was changed",
             (size_t)(block + 1 - file.data));
    assert_string_equal(error, expected);
    *payload = 'o';
    buffer_append(&file, "x", 1);
    assert_int_equal(read_all(file.data, file.len, &messages, error), ARCHIVE_BROKEN);
    snprintf(expected, sizeof expected, "at byte %zu: there is more behind the end", file.len - 1);
    assert_string_equal(error, expected);
    assert_int_equal(messages, SMALL);
    assert_int_equal(read_all((const uint8_t *)"\x7f"
                                               "ELF",
                              4, &messages, error),
                     ARCHIVE_BROKEN);
    assert_string_equal(error, "at byte 0: this is no export of a stream");
    static const char newer[] = "{\"pubsub-export\":2,\"stream\":\"a\"}\n";
    assert_int_equal(read_all((const uint8_t *)newer, strlen(newer), &messages, error), ARCHIVE_BROKEN);
    assert_string_equal(error, "at byte 0: an export of version 2; this program reads version 1");
    buffer_free(&file);
}

/* More than one read() and one block, and a message larger than both. */
static void large_ones_are_read(void **state)
{
    (void)state;
    enum { COUNT = 5000, LARGE = 3000000 };
    static char name[] = "s";
    const struct stream stream = {.name = name, .number = 64, .first = 1, .next = COUNT + 1};
    struct buffer file = {0};
    struct output out;
    struct archive_writer writer;
    uint8_t *large = malloc(LARGE);
    assert_non_null(large);
    memset(large, 'x', LARGE);
    output_open_memory(&out, &file);
    archive_begin(&writer, &out, &stream, 0);
    for (uint64_t seq = 1; seq <= COUNT; seq++) {
        struct pubsub_message message = message_of("t", large, seq == 77 ? LARGE : seq % 1000, seq);
        archive_message(&writer, &message);
    }
    archive_end(&writer);
    output_flush(&out);
    int fd = file_of(file.data, file.len);
    struct archive_reader reader;
    struct archive_frame frame;
    uint64_t seq = 0, blocks = 0;
    enum archive_result result;
    archive_open(&reader, fd, NULL, NULL);
    while ((result = archive_read_block(&reader)) == ARCHIVE_BLOCK) {
        assert_int_equal(reader.first, seq + 1);
        while (archive_next(&reader, &frame)) {
            seq++;
            assert_int_equal(frame.payload.len, seq == 77 ? LARGE : seq % 1000);
        }
        assert_int_equal(reader.last, seq);
        blocks++;
    }
    assert_int_equal(result, ARCHIVE_END);
    assert_int_equal(seq, COUNT);
    assert_true(blocks > 5);
    archive_close(&reader);
    archive_writer_free(&writer);
    output_close(&out);
    close(fd);
    free(large);
    buffer_free(&file);
}

static int stop_at_third(void *user)
{
    int *calls = user;
    return ++*calls == 3 ? 42 : 0;
}

static void reading_can_be_stopped(void **state)
{
    (void)state;
    static const char half[] = "{\"pubsub-export\":1,";
    int fds[2], calls = 0;
    struct archive_reader reader;
    assert_int_equal(pipe(fds), 0);
    assert_true(write(fds[1], half, sizeof half - 1) > 0);
    assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    archive_open(&reader, fds[0], stop_at_third, &calls);
    assert_int_equal(archive_read_block(&reader), ARCHIVE_STOPPED);
    assert_int_equal(reader.stopped, 42);
    archive_close(&reader);
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read),
        cmocka_unit_test(a_file_that_was_cut_is_refused),
        cmocka_unit_test(a_changed_bit_never_changes_a_message),
        cmocka_unit_test(places_are_named),
        cmocka_unit_test(large_ones_are_read),
        cmocka_unit_test(reading_can_be_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
