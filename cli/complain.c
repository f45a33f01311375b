#include <pubsub/pubsub.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "complete.h"
#include "output.h"
#include "progress.h"

static char said[4096];

const char *last_complaint(void)
{
    return said;
}

void complain(const char *format, ...)
{
    char text[4096], line[4096];
    if (completing()) return; /* in the middle of somebody's command line */
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (len < 0) return;
    if ((size_t)len >= sizeof text) len = (int)sizeof text - 1;
    memcpy(said, text, (size_t)len + 1);

    struct output out;
    output_open_on(&out, STDERR_FILENO, line, sizeof line);
    progress_clear(&out);
    output_text(&out, "pubsub: ");
    output_name(&out, text, (size_t)len);
    output_char(&out, '\n');
    output_flush(&out);
}

void point_at(const char *text, size_t column)
{
    char line[8192];
    struct output out;
    output_open_on(&out, STDERR_FILENO, line, sizeof line);
    if (!out.terminal) return;
    output_text(&out, "  ");
    /* One character for each that stands there, or the mark would be beside it. */
    for (const char *p = text; *p; p++) output_char(&out, (unsigned char)*p < 32 || *p == 127 ? ' ' : *p);
    output_text(&out, "\n  ");
    for (size_t i = 0; i + 1 < column && text[i]; i++) {
        bool inside = ((unsigned char)text[i] & 0xc0) == 0x80; /* of a UTF-8 sequence: takes no place of its own */
        if (!inside) output_char(&out, ' ');
    }
    output_text(&out, "^\n");
    output_flush(&out);
}

int exit_code_of_error(int error)
{
    switch (error) {
    case PUBSUB_ECONNECT: return CLI_EXIT_CONNECT;
    case PUBSUB_EAUTH: return CLI_EXIT_AUTH;
    case PUBSUB_EREFUSED:
    case PUBSUB_ETOOBIG: return CLI_EXIT_REFUSED;
    case PUBSUB_ELOST:
    case PUBSUB_ETAKEN:
    case PUBSUB_ECLOSED: return CLI_EXIT_LOST;
    case PUBSUB_ENOBODY: return CLI_EXIT_NOBODY;
    case PUBSUB_ETIMEDOUT: return CLI_EXIT_TIME;
    default: return CLI_EXIT_ERROR;
    }
}

int exit_code_of_refusal(uint32_t code)
{
    enum { INTERNAL = 100, NOT_AUTHORISED = 211, NOBODY = 217 }; /* PROTOCOL.md, codes */
    switch (code) {
    case INTERNAL: return CLI_EXIT_ERROR;
    case NOT_AUTHORISED: return CLI_EXIT_AUTH;
    case NOBODY: return CLI_EXIT_NOBODY;
    default: return CLI_EXIT_REFUSED;
    }
}

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t start_ns(void)
{
    static uint64_t start;
    if (start == 0) start = now_ns();
    return start;
}
