#include "output.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "signals.h"
#include "utf8.h"

#define INTERRUPTED_MS 100

void output_open(struct output *out, int fd)
{
    char *buf = malloc(OUTPUT_BYTES);
    if (!buf) {
        complain("out of memory");
        exit(CLI_EXIT_ERROR);
    }
    output_open_on(out, fd, buf, OUTPUT_BYTES);
}

void output_open_on(struct output *out, int fd, char *buf, size_t cap)
{
    *out = (struct output){.fd = fd, .buf = buf, .cap = cap, .terminal = isatty(fd) == 1};
}

void output_open_memory(struct output *out, struct buffer *memory)
{
    output_open(out, -1);
    out->memory = memory;
}

void output_close(struct output *out)
{
    free(out->buf);
    *out = (struct output){.fd = -1};
}

/* Whoever interrupts does not want to wait for a reader that doesn't read, but what can be written is. */
static bool takes_more(int fd)
{
    struct pollfd reader = {.fd = fd, .events = POLLOUT};
    return poll(&reader, 1, INTERRUPTED_MS) > 0;
}

static void write_all(struct output *out, const char *bytes, size_t len)
{
    if (out->memory) {
        buffer_append(out->memory, bytes, len);
        return;
    }
    while (len > 0 && !out->error) {
        size_t piece = len;
        if (signal_caught()) {
            if (!takes_more(out->fd)) {
                out->error = EINTR;
                return;
            }
            if (piece > PIPE_BUF) piece = PIPE_BUF; /* so much never blocks */
        }
        ssize_t n = write(out->fd, bytes, piece);
        if (n >= 0) {
            bytes += n;
            len -= (size_t)n;
        } else if (errno != EINTR) {
            out->error = errno;
        }
    }
}

bool output_flush(struct output *out)
{
    size_t len = out->len;
    out->len = 0;
    write_all(out, out->buf, len);
    return out->error == 0;
}

int output_end(struct output *out)
{
    bool written = output_flush(out);
    int error = out->error;
    output_close(out);
    if (written || error == EPIPE) return CLI_EXIT_DONE;
    complain("cannot write to standard output: %s", strerror(error));
    return CLI_EXIT_ERROR;
}

void output_put(struct output *out, const void *bytes, size_t len)
{
    if (len > out->cap - out->len) {
        output_flush(out);
        if (len >= out->cap) {
            write_all(out, bytes, len);
            return;
        }
    }
    memcpy(out->buf + out->len, bytes, len);
    out->len += len;
}

void output_text(struct output *out, const char *text)
{
    output_put(out, text, strlen(text));
}

void output_format(struct output *out, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (len > 0) output_put(out, text, (size_t)len < sizeof text ? (size_t)len : sizeof text - 1);
}

void output_base64(struct output *out, const void *bytes, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *p = bytes;
    for (; len > 0; p += 3) {
        size_t group = len < 3 ? len : 3;
        uint32_t bits = (uint32_t)p[0] << 16 | (group > 1 ? (uint32_t)p[1] << 8 : 0) | (group > 2 ? p[2] : 0);
        char four[4] = {'=', '=', '=', '='};
        for (size_t i = 0; i <= group; i++) four[i] = digits[bits >> (18 - 6 * i) & 63];
        output_put(out, four, 4);
        len -= group;
    }
}

static void escape_plain(struct output *out, const char *text, size_t len, bool escape_tab)
{
    while (len > 0) {
        size_t clean = len;
        const char *at;
        if ((at = memchr(text, '\n', clean))) clean = (size_t)(at - text);
        if ((at = memchr(text, '\0', clean))) clean = (size_t)(at - text);
        if (escape_tab && (at = memchr(text, '\t', clean))) clean = (size_t)(at - text);
        output_put(out, text, clean);
        if (clean == len) return;
        output_text(out, text[clean] == '\n' ? "\\n" : text[clean] == '\t' ? "\\t" : "\\0");
        text += clean + 1;
        len -= clean + 1;
    }
}

static void escape_control(struct output *out, uint32_t code)
{
    static const char *const names[32] = {[0] = "\\0",    ['\a'] = "\\a", ['\b'] = "\\b", ['\t'] = "\\t",
                                          ['\n'] = "\\n", ['\v'] = "\\v", ['\f'] = "\\f", ['\r'] = "\\r"};
    if (code < 32 && names[code]) {
        output_text(out, names[code]);
    } else {
        output_format(out, code < 0x80 ? "\\x%02x" : code < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)code);
    }
}

static bool is_control(uint32_t code)
{
    return code < 32 || (code >= 0x7f && code < 0xa0);
}

static void escape_for_terminal(struct output *out, const char *text, size_t len, bool escape_tab,
                                bool escape_invisible)
{
    while (len > 0) {
        uint32_t code;
        size_t size = utf8_read(text, len, &code);
        if (size == 0) {
            output_format(out, "\\x%02x", (unsigned char)*text);
            size = 1;
        } else if (code == '\t' ? escape_tab : is_control(code) || (escape_invisible && utf8_is_invisible(code))) {
            escape_control(out, code);
        } else {
            output_put(out, text, size);
        }
        text += size;
        len -= size;
    }
}

void output_escaped(struct output *out, const char *text, size_t len, bool escape_tab)
{
    if (out->terminal) {
        escape_for_terminal(out, text, len, escape_tab, false);
    } else {
        escape_plain(out, text, len, escape_tab);
    }
}

void output_name(struct output *out, const char *text, size_t len)
{
    escape_for_terminal(out, text, len, true, true);
}
