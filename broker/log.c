#include "log.h"

#include <poll.h>
#include <stdio.h>
#include <unistd.h>

static const char *level_name(enum log_level level)
{
    switch (level) {
    case LOG_ERROR: return "error";
    case LOG_WARN: return "warning";
    case LOG_INFO: return "info";
    case LOG_DEBUG: return "debug";
    case LOG_AUDIT: return "audit";
    }
    return "";
}

void log_line(enum log_level level, const char *line)
{
    /* Whoever reads our stderr, and stops reading, must not stop the broker: a full pipe loses the line. */
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&out, 1, 0) == 1 && (out.revents & POLLOUT)) fprintf(stderr, "pubsubd: %s: %s\n", level_name(level), line);
}
