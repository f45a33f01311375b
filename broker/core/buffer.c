#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "sure.h"

void buffer_append(struct buffer *buffer, const void *bytes, size_t len)
{
    if (buffer->off > 0 && buffer->off == buffer->len) buffer->off = buffer->len = 0;
    if (buffer->cap - buffer->len < len) {
        uint32_t held = buffer_len(buffer);
        uint32_t cap = buffer->cap ? buffer->cap : 64;
        while (cap - held < len) cap *= 2;
        uint8_t *grown = sure_alloc(cap); /* bounded: reading stops when replies gather */
        if (held > 0) memcpy(grown, buffer->bytes + buffer->off, held);
        free(buffer->bytes);
        *buffer = (struct buffer){grown, 0, held, cap};
    }
    memcpy(buffer->bytes + buffer->len, bytes, len);
    buffer->len += (uint32_t)len;
}

void buffer_take(struct buffer *buffer, uint32_t len)
{
    buffer->off += len;
    if (buffer->off == buffer->len) buffer_free(buffer);
}

void buffer_free(struct buffer *buffer)
{
    free(buffer->bytes);
    *buffer = (struct buffer){0};
}
