#include "buffer.h"

#include <stdlib.h>
#include <string.h>

#include "cli.h"

void buffer_reserve(struct buffer *buffer, size_t more)
{
    if (buffer->cap - buffer->len >= more) return;
    size_t cap = buffer->cap ? buffer->cap : 256;
    while (cap - buffer->len < more && cap <= SIZE_MAX / 2) cap *= 2;
    uint8_t *data = cap - buffer->len < more ? NULL : realloc(buffer->data, cap);
    if (!data) {
        complain("out of memory: %zu more bytes are not to be had", more);
        exit(CLI_EXIT_ERROR);
    }
    buffer->data = data;
    buffer->cap = cap;
}

void buffer_append(struct buffer *buffer, const void *bytes, size_t len)
{
    if (len == 0) return;
    buffer_reserve(buffer, len);
    memcpy(buffer->data + buffer->len, bytes, len);
    buffer->len += len;
}

int buffer_write(void *buffer, const char *bytes, size_t len)
{
    buffer_append(buffer, bytes, len);
    return 0;
}

void buffer_free(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct buffer){0};
}
