/* A big buffer in front of a descriptor, written with one write() when it is full or flushed.
 * An error is kept: from then on everything is thrown away, and .error says what it was. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"

#define OUTPUT_BYTES ((size_t)256 * 1024)

struct output {
    int fd;
    int error; /* errno of the first write that failed; 0: all well */
    size_t len, cap;
    char *buf;
    bool terminal;
    struct buffer *memory; /* written to instead of the descriptor; NULL: none */
};

void output_open(struct output *out, int fd); /* with a buffer of OUTPUT_BYTES of its own */
void output_close(struct output *out);        /* frees that; neither flushes nor closes the descriptor */
void output_open_memory(struct output *out, struct buffer *memory);     /* appends to memory, which is lent */
void output_open_on(struct output *out, int fd, char *buf, size_t cap); /* with a lent buffer; not to be closed */
bool output_flush(struct output *out);                                  /* false: there was an error, now or before */
/* Flushes and closes standard output. Returns an exit code; an error is complained of, but for a reader who went away. */
int output_end(struct output *out);

void output_put(struct output *out, const void *bytes, size_t len);
void output_text(struct output *out, const char *text);
static inline void output_char(struct output *out, char c)
{
    if (out->len == out->cap) output_flush(out);
    out->buf[out->len++] = c;
}
void output_format(struct output *out, const char *format, ...)
    __attribute__((format(printf, 2, 3))); /* up to 255 bytes */
void output_base64(struct output *out, const void *bytes, size_t len);

/* A text in a line: newline and NUL are escaped, a tab too if escape_tab; if the output is a terminal also every other
 * control character and every byte that isn't UTF-8, so that the text can't drive it. */
void output_escaped(struct output *out, const char *text, size_t len, bool escape_tab);

/* Somebody's text in a page or a line for people. All that would drive a terminal or deceive who reads it is escaped, wherever
 * it goes: by `watch`, ssh or a log it comes to a terminal in the end. */
void output_name(struct output *out, const char *text, size_t len);

#endif
