#include "log.h"

#include <stdio.h>

static const char *level_name(enum log_level level)
{
    switch (level) {
    case LOG_ERROR: return "error";
    case LOG_WARN: return "warning";
    case LOG_INFO: return "info";
    case LOG_DEBUG: return "debug";
    }
    return "";
}

void log_line(enum log_level level, const char *line)
{
    fprintf(stderr, "pubsubd: %s: %s\n", level_name(level), line);
}
