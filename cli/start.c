#include "start.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "moment.h"
#include "sizes.h"
#include "streams.h"
#include "wire.h"

/* There is one place to begin at. */
static bool begin(struct start_options *options, enum pubsub_from from, const char *option)
{
    if (options->option && (options->from != from || from != PUBSUB_FROM_SEQ)) {
        bool same = strcmp(options->option, option) == 0;
        if (same) complain("%s is given twice", option);
        else complain("both %s and %s are given: messages begin at one place", options->option, option);
        return false;
    }
    options->from = from;
    options->option = option;
    return true;
}

static bool set_all(void *into, const char *value)
{
    (void)value;
    return begin(into, PUBSUB_FROM_ALL, "--all");
}

static bool set_last(void *into, const char *value)
{
    struct start_options *options = into;
    unsigned long long count = 1;
    if (value && !option_number("--last", value, 1, &count)) return false;
    if (count > MPS_NUMBER_MAX) {
        complain("--last %s: must be at most %llu", value, (unsigned long long)MPS_NUMBER_MAX);
        return false;
    }
    options->number = count;
    return begin(options, PUBSUB_FROM_LAST, "--last");
}

static bool set_since(void *into, const char *value)
{
    struct start_options *options = into;
    if (time_parse(value, &options->number)) return begin(options, PUBSUB_FROM_AGO, "--since");
    if (moment_read(value, &options->number)) return begin(options, PUBSUB_FROM_TIME, "--since");
    complain("--since %s: neither a time such as 10m, 24h, 7d nor a moment such as 2026-11-27T01:44:55Z (UTC)", value);
    return false;
}

bool start_position_read(const char *text, struct start_position *position)
{
    const char *colon = strrchr(text, ':');
    const char *digits = colon ? colon + 1 : text;
    if (colon == text || *digits == '\0' || digits[strspn(digits, "0123456789")] != '\0') return false;
    errno = 0;
    unsigned long long seq = strtoull(digits, NULL, 10);
    if (errno == ERANGE || seq < 1 || seq > MPS_NUMBER_MAX) return false;
    *position = (struct start_position){.stream = colon ? text : NULL, .seq = seq};
    if (colon) position->stream_len = (size_t)(colon - text);
    return true;
}

static bool set_position(void *into, const char *value)
{
    struct start_options *options = into;
    struct start_position position;
    if (!start_position_read(value, &position)) {
        complain("--from-seq %s: not a position from 1, or STREAM:POSITION with the name or number of a stream", value);
        return false;
    }
    buffer_append(&options->positions, &position, sizeof position);
    return begin(options, PUBSUB_FROM_SEQ, "--from-seq");
}

static bool set_last_per_topic(void *into, const char *value)
{
    (void)value;
    return begin(into, PUBSUB_FROM_LAST_PER_TOPIC, "--last-per-topic");
}

static bool set_until_live(void *into, const char *value)
{
    (void)value;
    return ((struct start_options *)into)->until_live = true;
}

const struct option_row start_option_rows[] = {
    {0, "all", NULL, set_all, "all that is kept, then what is published"},
    {0, "last", "[N]", set_last, "the last N messages that match, then what is published; default 1"},
    {0, "since", "TIME", set_since,
     "what came in the last TIME, e.g. 10m, or since a moment in UTC, e.g.\n"
     "2026-11-27T01:44, then what is published"},
    {0, "from-seq", "[STREAM:]N", set_position,
     "what begins with position N of a stream, which is named or numbered if\n"
     "PATTERN reaches several; may be given for each of them"},
    {0, "last-per-topic", NULL, set_last_per_topic, "the last message of each topic, then what is published"},
    {0, "until-live", NULL, set_until_live, "end when all that was published before has come; default: go on"},
    {0, NULL, NULL, NULL, NULL},
};

void start_options_free(struct start_options *options)
{
    buffer_free(&options->positions);
}

/* ---- positions ---- */

static const struct start_position *positions_of(const struct start_options *options, size_t *count)
{
    *count = options->positions.len / sizeof(struct start_position);
    return (const struct start_position *)(const void *)options->positions.data;
}

/* A stream that is said by its number. False: it is not. */
static bool read_number(const struct start_position *position, uint64_t *number)
{
    if (!position->stream || position->stream_len > 18) return false;
    *number = 0;
    for (size_t i = 0; i < position->stream_len; i++) {
        char c = position->stream[i];
        if (c < '0' || c > '9') return false;
        *number = 10 * *number + (uint64_t)(c - '0');
    }
    return true;
}

/* The one stream that the pattern reaches. */
static int find_only(const struct streams *streams, const char *pattern, uint64_t *number)
{
    char names[256] = "";
    size_t len = 0, found = 0;
    for (size_t i = 0; i < streams->count; i++) {
        const struct stream *stream = &streams->list[i];
        if (!stream_meets(stream, mps_text(pattern))) continue;
        *number = stream->number;
        if (len < sizeof names)
            len += (size_t)snprintf(names + len, sizeof names - len, "%s%s", found ? ", " : "", stream->name);
        found++;
    }
    if (found == 1) return CLI_EXIT_DONE;
    if (found == 0) {
        complain("no stream keeps messages of '%s'", pattern);
    } else {
        complain("'%s' reaches %zu streams (%s): say which, as in --from-seq STREAM:N", pattern, found, names);
    }
    return CLI_EXIT_REFUSED;
}

static int find_stream(const struct streams *streams, const struct start_position *position, const char *pattern,
                       uint64_t *number)
{
    if (!position->stream) return find_only(streams, pattern, number);
    const struct stream *stream = streams_find(streams, position->stream, position->stream_len);
    if (!stream) {
        complain("there is no stream '%.*s'", (int)position->stream_len, position->stream);
        return CLI_EXIT_REFUSED;
    }
    *number = stream->number;
    return CLI_EXIT_DONE;
}

/* Appends a stream and its position. */
static int add_pair(struct buffer *pairs, const uint64_t pair[2])
{
    const uint64_t *there = (const uint64_t *)(const void *)pairs->data;
    for (size_t i = 0; i < pairs->len / sizeof *there; i += 2) {
        if (there[i] != pair[0]) continue;
        complain("--from-seq names the stream %" PRIu64 " twice", pair[0]);
        return CLI_EXIT_USAGE;
    }
    buffer_append(pairs, pair, 2 * sizeof *pair);
    return CLI_EXIT_DONE;
}

int start_find_positions(const struct start_options *options, const struct connection_options *connection,
                         const char *pattern, struct buffer *pairs)
{
    struct streams streams = {0};
    bool asked = false;
    size_t count;
    const struct start_position *positions = positions_of(options, &count);
    int result = CLI_EXIT_DONE;
    for (size_t i = 0; i < count && result == CLI_EXIT_DONE; i++) {
        uint64_t pair[2] = {0, positions[i].seq};
        if (!read_number(&positions[i], &pair[0])) {
            if (!asked) result = streams_read(&streams, connection);
            asked = true;
            if (result == CLI_EXIT_DONE) result = find_stream(&streams, &positions[i], pattern, &pair[0]);
        }
        if (result == CLI_EXIT_DONE) result = add_pair(pairs, pair);
    }
    streams_free(&streams);
    return result;
}
