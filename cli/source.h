/* Input cut into messages at a delimiter, read in big blocks, without a copy of each message. */
#ifndef CLI_SOURCE_H
#define CLI_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"

#define SOURCE_WHOLE (-1) /* delimiter: none, the whole input is one message, also if it is empty */

struct source {
    int fd;
    int delimiter;   /* a byte, or SOURCE_WHOLE */
    size_t item_max; /* longer ones are read past and not kept */
    struct buffer buffer;
    size_t begin;     /* of what has not been given out */
    size_t scanned;   /* up to here there is no delimiter */
    uint64_t dropped; /* bytes of the item being read past */
    bool over_long, end_seen, whole_given;
};

enum source_result {
    SOURCE_ITEM,     /* a message of *len bytes at *item; BODY_HEADROOM bytes before it may be overwritten */
    SOURCE_TOO_LONG, /* a message of *len bytes that was not kept */
    SOURCE_MORE,     /* read first */
    SOURCE_END,
};

void source_open(struct source *source, int fd, int delimiter, size_t item_max);
void source_close(struct source *source); /* frees; does not close the descriptor */

/* The next message. It stays where it is until source_read(). A last one without delimiter counts. */
enum source_result source_next(struct source *source, uint8_t **item, uint64_t *len);

/* One read(). Returns 0, or errno. EAGAIN and EINTR are 0: nothing came. */
int source_read(struct source *source);

#endif
