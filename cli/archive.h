/* The file that `pubsub stream export` writes and `import` reads. It is written and read from its beginning to its end,
 * so that it goes through a pipe. Lines are one JSON object each and end with a newline; unknown members mean nothing.
 *
 *   {"pubsub-export":1,"stream":"orders","number":64,"first":1,"next":1001,"time":"2026-11-27T01:44:55.123Z"}
 *       once, in the beginning: the version of this form; of which stream, and which positions that had at that time.
 *   {"messages":3,"bytes":120,"first":1,"last":3,"since_ms":1795743895000,"until_ms":1795743896000,"sum":"0f1e..."}
 *       and behind its newline exactly so many bytes: so many MSG frames of mps/1 (PROTOCOL.md), one after the other, in
 *       their shortest encoding. Their positions go from first to last, and they arrived at the broker between these
 *       Unix times (0: not known). sum: XXH3_64bits_withSeed() over the bytes with the seed `first`, 16 hexadecimal
 *       digits. A block has at least one message, and ARCHIVE_BLOCK_BYTES or a little more; so has each message a
 *       place in the file that can be named.
 *   {"lost":{"first":4,"last":9,"count":6,"reason":"damaged"}}
 *       in its place: the stream had no message there. count is null if it is not known.
 *   {"end":{"messages":3,"lost":6}}
 *       once, as the last line: without it the file was cut off. */
#ifndef CLI_ARCHIVE_H
#define CLI_ARCHIVE_H

#include <pubsub/pubsub.h>

#include "buffer.h"
#include "output.h"
#include "streams.h"

#define ARCHIVE_VERSION 1
#define ARCHIVE_BLOCK_BYTES ((size_t)256 * 1024)

/* ---- writing (archive_write.c) ---- */

struct archive_writer {
    struct output *out;
    struct buffer frames; /* of the block that is not written yet */
    uint64_t block_messages, first, last, since_ms, until_ms;
    uint64_t messages, lost;
};

/* Errors of writing are found in out. */
void archive_begin(struct archive_writer *writer, struct output *out, const struct stream *stream, uint64_t now_ms);
void archive_message(struct archive_writer *writer, const struct pubsub_message *message);
void archive_gap(struct archive_writer *writer, const struct pubsub_gap *gap);
void archive_end(struct archive_writer *writer);
void archive_writer_free(struct archive_writer *writer);

/* ---- reading (archive_read.c) ---- */

struct archive_reader {
    int fd;
    int (*wait)(void *user); /* called before each read(), until there is something; other than 0: read no further */
    void *user;
    int stopped;          /* what it returned then */
    struct buffer input;  /* what was read and not taken yet is input.data[begin..] */
    size_t begin;
    uint64_t taken_bytes; /* of the file, before that */
    char *stream;         /* its name */
    uint64_t messages, lost;             /* in whole blocks so far, and according to the lines about them */
    uint64_t first, last;                /* positions of the block */
    const uint8_t *frames, *frames_end;  /* of the block: what archive_next() has not given yet */
    bool opened;
    char error[256];      /* what is wrong with the file, and where: a sentence */
};

/* One message of a block. The views borrow from the reader. */
struct archive_frame {
    mps_view topic, props, payload; /* props: absent if there are none */
};

enum archive_result {
    ARCHIVE_BLOCK,  /* a whole block is there, and is what it should be: archive_next() gives its messages */
    ARCHIVE_END,    /* the file is whole, and over */
    ARCHIVE_BROKEN, /* .error says what is wrong */
    ARCHIVE_STOPPED, /* .stopped says why */
};

/* fd is lent. wait: NULL: reading blocks as long as fd does. */
void archive_open(struct archive_reader *reader, int fd, int (*wait)(void *user), void *user);
enum archive_result archive_read_block(struct archive_reader *reader);
bool archive_next(struct archive_reader *reader, struct archive_frame *frame); /* false: the block is over */
void archive_close(struct archive_reader *reader);

#endif
