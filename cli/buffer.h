/* A growing piece of memory. Running out of memory ends the program with a message. */
#ifndef CLI_BUFFER_H
#define CLI_BUFFER_H

#include <stddef.h>
#include <stdint.h>

/* All zero is an empty one. */
struct buffer {
    uint8_t *data;
    size_t len, cap;
};

void buffer_reserve(struct buffer *buffer, size_t more); /* room for that many bytes behind .len */
void buffer_append(struct buffer *buffer, const void *bytes, size_t len);
int buffer_write(void *buffer, const char *bytes, size_t len); /* buffer_append() as msgpack-c's packer wants it */
void buffer_free(struct buffer *buffer);

#endif
