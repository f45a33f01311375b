#include "archive.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "cli.h"

#define LINE_MAX_BYTES ((size_t)64 * 1024)
#define BLOCK_MAX_BYTES ((uint64_t)1 << 30) /* a whole block is in memory */
#define PAYLOAD_MAX (UINT32_C(1) << 28)     /* the most that a broker may be set to take, bytes */
#define READ_BYTES ((size_t)256 * 1024)

void archive_open(struct archive_reader *reader, int fd, int (*wait)(void *user), void *user)
{
    *reader = (struct archive_reader){.fd = fd, .wait = wait, .user = user};
}

void archive_close(struct archive_reader *reader)
{
    buffer_free(&reader->input);
    free(reader->stream);
}

/* Says what is wrong, and at which byte of the file. */
static enum archive_result broken(struct archive_reader *reader, uint64_t at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static enum archive_result broken(struct archive_reader *reader, uint64_t at, const char *format, ...)
{
    char what[192];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    snprintf(reader->error, sizeof reader->error, "at byte %" PRIu64 ": %s", at, what);
    return ARCHIVE_BROKEN;
}

/* ---- bytes ---- */

static size_t there(const struct archive_reader *reader)
{
    return reader->input.len - reader->begin;
}

static void take(struct archive_reader *reader, size_t len)
{
    reader->begin += len;
    reader->taken_bytes += len;
}

/* Reads some more behind what is there, which moves. Returns how many bytes came, 0 at the end; -1: .error is set, or
 * .stopped. */
static ssize_t read_more(struct archive_reader *reader)
{
    struct buffer *input = &reader->input;
    if (reader->begin > 0) memmove(input->data, input->data + reader->begin, there(reader));
    input->len -= reader->begin;
    reader->begin = 0;
    buffer_reserve(input, READ_BYTES);
    ssize_t n;
    do {
        if (reader->wait) reader->stopped = reader->wait(reader->user);
        if (reader->stopped) return -1;
        n = read(reader->fd, input->data + input->len, input->cap - input->len);
    } while (n < 0 && (errno == EINTR || errno == EAGAIN));
    if (n < 0) broken(reader, reader->taken_bytes + input->len, "cannot be read: %s", strerror(errno));
    else input->len += (size_t)n;
    return n;
}

/* Until so many bytes are there. Returns 1, or 0 when the file ends before, or -1. */
static int fill(struct archive_reader *reader, size_t len)
{
    while (there(reader) < len) {
        ssize_t n = read_more(reader);
        if (n <= 0) return (int)n;
    }
    return 1;
}

/* Until there is a line; its length without the newline. Returns as fill(); an over-long one is -1, too. */
static int fill_line(struct archive_reader *reader, size_t *len)
{
    size_t looked = 0;
    for (;;) {
        const uint8_t *begin = reader->input.data + reader->begin;
        const uint8_t *at = there(reader) > looked ? memchr(begin + looked, '\n', there(reader) - looked) : NULL;
        if (at) {
            *len = (size_t)(at - begin);
            return 1;
        }
        looked = there(reader);
        if (looked > LINE_MAX_BYTES) {
            broken(reader, reader->taken_bytes, "this is no line of an export: it does not end");
            return -1;
        }
        ssize_t n = read_more(reader);
        if (n <= 0) return (int)n;
    }
}

static enum archive_result failed(const struct archive_reader *reader)
{
    return reader->stopped ? ARCHIVE_STOPPED : ARCHIVE_BROKEN;
}

/* ---- lines ---- */

/* A member that is a whole number from least to most. */
static bool read_number(const json_t *object, const char *name, uint64_t least, uint64_t most, uint64_t *number)
{
    const json_t *value = json_object_get(object, name);
    if (!json_is_integer(value) || json_integer_value(value) < 0) return false;
    *number = (uint64_t)json_integer_value(value);
    return *number >= least && *number <= most;
}

/* The first line. */
static enum archive_result read_header(struct archive_reader *reader, const json_t *line)
{
    uint64_t version;
    const char *stream = json_string_value(json_object_get(line, "stream"));
    if (!read_number(line, "pubsub-export", 0, UINT64_MAX, &version) || !stream)
        return broken(reader, 0, "this is no export of a stream");
    if (version != ARCHIVE_VERSION)
        return broken(reader, 0, "an export of version %" PRIu64 "; this program reads version %d", version,
                      ARCHIVE_VERSION);
    reader->stream = strdup(stream);
    reader->opened = true;
    if (reader->stream) return ARCHIVE_BLOCK;
    complain("out of memory");
    exit(CLI_EXIT_ERROR);
}

static enum archive_result read_lost(struct archive_reader *reader, const json_t *lost, uint64_t at)
{
    uint64_t first, last, count = 0;
    bool counted = !json_is_null(json_object_get(lost, "count"));
    if (!read_number(lost, "first", 1, MPS_NUMBER_MAX, &first) ||
        !read_number(lost, "last", first, MPS_NUMBER_MAX, &last) ||
        (counted && !read_number(lost, "count", 0, MPS_NUMBER_MAX, &count)))
        return broken(reader, at, "this is no line about lost messages");
    reader->lost += count;
    return ARCHIVE_BLOCK;
}

static enum archive_result read_end(struct archive_reader *reader, const json_t *end, uint64_t at)
{
    uint64_t messages, lost;
    if (!read_number(end, "messages", 0, MPS_NUMBER_MAX, &messages) ||
        !read_number(end, "lost", 0, MPS_NUMBER_MAX, &lost))
        return broken(reader, at, "this is no last line");
    if (messages != reader->messages || lost != reader->lost)
        return broken(reader, at,
                      "a part is missing: %" PRIu64 " messages and %" PRIu64
                      " lost ones came, but the end says %" PRIu64 " and %" PRIu64,
                      reader->messages, reader->lost, messages, lost);
    int more = fill(reader, 1);
    if (more > 0) return broken(reader, reader->taken_bytes, "there is more behind the end");
    return more < 0 ? failed(reader) : ARCHIVE_END;
}

/* ---- blocks ---- */

/* Takes one frame apart; *len bytes. NULL: well; else what is wrong, a clause. */
static const char *read_frame(const uint8_t *p, size_t rest, struct archive_frame *frame, size_t *len)
{
    static const struct mps_limits limits = {MPS_HEAD_MAX, MPS_VALUES_MAX, PAYLOAD_MAX};
    struct mps_scan scan = {0};
    struct mps_msg msg;
    const char *what = NULL;
    if (mps_scan(&scan, p, rest, &limits) != MPS_SCAN_FRAME) return scan.error ? scan.error : "it is cut off";
    mps_view bytes = {p, scan.pos};
    if (mps_frame_op(bytes) != MPS_OP_MSG) return "it is no MSG";
    if (mps_decode_msg(bytes, &msg, &what) != MPS_OK) return what;
    what = mps_topic_error(msg.topic);
    if (what) return what;
    if (msg.props.ptr && mps_props_check(msg.props, &what) != MPS_OK) return what;
    *frame = (struct archive_frame){.topic = msg.topic, .props = msg.props, .payload = msg.payload};
    *len = scan.pos;
    return NULL;
}

bool archive_next(struct archive_reader *reader, struct archive_frame *frame)
{
    size_t len;
    if (reader->frames == reader->frames_end) return false;
    if (read_frame(reader->frames, (size_t)(reader->frames_end - reader->frames), frame, &len)) return false;
    reader->frames += len;
    return true;
}

/* The frames of a block are so many, and end with it. */
static enum archive_result check_frames(struct archive_reader *reader, uint64_t messages)
{
    const uint8_t *p = reader->frames;
    uint64_t count = 0;
    while (p < reader->frames_end) {
        struct archive_frame frame;
        size_t len = 0;
        const char *why = read_frame(p, (size_t)(reader->frames_end - p), &frame, &len);
        uint64_t at = reader->taken_bytes - (uint64_t)(reader->frames_end - p);
        if (why) return broken(reader, at, "message %" PRIu64 " is broken: %s", reader->messages + count + 1, why);
        p += len;
        count++;
    }
    if (count != messages)
        return broken(reader, reader->taken_bytes, "%" PRIu64 " messages where %" PRIu64 " should be", count, messages);
    reader->messages += count;
    return ARCHIVE_BLOCK;
}

static enum archive_result read_frames(struct archive_reader *reader, const json_t *line, uint64_t at)
{
    uint64_t messages, bytes;
    const char *sum = json_string_value(json_object_get(line, "sum"));
    if (!read_number(line, "messages", 1, MPS_NUMBER_MAX, &messages) ||
        !read_number(line, "bytes", 1, BLOCK_MAX_BYTES, &bytes) ||
        !read_number(line, "first", 1, MPS_NUMBER_MAX, &reader->first) ||
        !read_number(line, "last", reader->first, MPS_NUMBER_MAX, &reader->last) || !sum)
        return broken(reader, at, "this is no line of an export");
    int got = fill(reader, (size_t)bytes);
    if (got < 0) return failed(reader);
    if (got == 0)
        return broken(reader, reader->taken_bytes + there(reader),
                      "it is cut off: of a block of %" PRIu64 " bytes %zu are there", bytes, there(reader));
    reader->frames = reader->input.data + reader->begin;
    reader->frames_end = reader->frames + bytes;
    char expected[17];
    snprintf(expected, sizeof expected, "%016" PRIx64,
             (uint64_t)XXH3_64bits_withSeed(reader->frames, (size_t)bytes, reader->first));
    if (strcmp(expected, sum) != 0)
        return broken(reader, reader->taken_bytes,
                      "the checksum of the block does not fit: something in positions %" PRIu64 " to %" PRIu64
                      " was changed",
                      reader->first, reader->last);
    take(reader, (size_t)bytes);
    return check_frames(reader, messages);
}

static enum archive_result read_line(struct archive_reader *reader, const json_t *line, uint64_t at)
{
    const json_t *lost = json_object_get(line, "lost"), *end = json_object_get(line, "end");
    if (!reader->opened) return read_header(reader, line);
    if (lost) return read_lost(reader, lost, at);
    if (end) return read_end(reader, end, at);
    return read_frames(reader, line, at);
}

enum archive_result archive_read_block(struct archive_reader *reader)
{
    reader->frames = reader->frames_end = NULL;
    for (;;) {
        size_t len = 0;
        uint64_t at = reader->taken_bytes;
        int got = fill_line(reader, &len);
        if (got < 0) return failed(reader);
        if (got == 0 && !reader->opened) return broken(reader, 0, "this is no export of a stream");
        if (got == 0) return broken(reader, at + there(reader), "it is cut off: its last line is missing");
        json_error_t why;
        json_t *line = json_loadb((const char *)reader->input.data + reader->begin, len, JSON_REJECT_DUPLICATES, &why);
        take(reader, len + 1);
        enum archive_result result =
            line
                ? read_line(reader, line, at)
                : broken(reader, at, reader->opened ? "this is no line of an export" : "this is no export of a stream");
        json_decref(line);
        if (result != ARCHIVE_BLOCK || reader->frames) return result;
    }
}
