#include "source.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "body.h"

#define BLOCK_BYTES (256 * 1024)

void source_open(struct source *source, int fd, int delimiter, size_t item_max)
{
    *source = (struct source){.fd = fd, .delimiter = delimiter, .item_max = item_max};
    buffer_reserve(&source->buffer, BODY_HEADROOM + BLOCK_BYTES);
    source->buffer.len = source->begin = source->scanned = BODY_HEADROOM;
}

void source_close(struct source *source)
{
    buffer_free(&source->buffer);
}

static enum source_result give(struct source *source, size_t end, uint8_t **item, uint64_t *len)
{
    size_t begin = source->begin;
    bool over_long = source->over_long || end - begin > source->item_max;
    *item = source->buffer.data + begin;
    *len = source->dropped + (end - begin);
    source->dropped = 0;
    source->over_long = false;
    return over_long ? SOURCE_TOO_LONG : SOURCE_ITEM;
}

enum source_result source_next(struct source *source, uint8_t **item, uint64_t *len)
{
    const uint8_t *data = source->buffer.data;
    size_t filled = source->buffer.len;
    if (source->delimiter != SOURCE_WHOLE && source->scanned < filled) {
        const uint8_t *at = memchr(data + source->scanned, source->delimiter, filled - source->scanned);
        if (at) {
            size_t end = (size_t)(at - data);
            enum source_result result = give(source, end, item, len);
            source->begin = source->scanned = end + 1;
            return result;
        }
    }
    source->scanned = filled;
    if (!source->end_seen) return SOURCE_MORE;
    bool rest = source->delimiter == SOURCE_WHOLE ? !source->whole_given : source->begin < filled || source->over_long;
    if (!rest) return SOURCE_END;
    source->whole_given = true;
    enum source_result result = give(source, filled, item, len);
    source->begin = filled;
    return result;
}

/* Makes room behind what is there. An item that is too long already is thrown away as far as it was read. */
static void make_room(struct source *source)
{
    struct buffer *buffer = &source->buffer;
    size_t kept = buffer->len - source->begin;
    if (source->over_long || kept > source->item_max) {
        source->over_long = true;
        source->dropped += kept;
        source->begin = buffer->len;
        kept = 0;
    }
    if (kept == 0 || buffer->cap - buffer->len < BLOCK_BYTES / 2) {
        memmove(buffer->data + BODY_HEADROOM, buffer->data + source->begin, kept);
        source->begin = BODY_HEADROOM;
        buffer->len = source->scanned = BODY_HEADROOM + kept;
        buffer_reserve(buffer, BLOCK_BYTES / 2);
    }
}

int source_read(struct source *source)
{
    make_room(source);
    struct buffer *buffer = &source->buffer;
    ssize_t n = read(source->fd, buffer->data + buffer->len, buffer->cap - buffer->len);
    if (n < 0) return errno == EAGAIN || errno == EINTR ? 0 : errno;
    if (n == 0) source->end_seen = true;
    buffer->len += (size_t)n;
    return 0;
}
