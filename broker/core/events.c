#include "events.h"

static const struct {
    const char *name;
    enum log_level level;
    uint32_t lines_a_second;
} events[EVENTS_COUNT] = {
#define EVENT(id, name, level, lines_a_second) {name, level, lines_a_second},
#include "events.def"
#undef EVENT
};

const char *event_name(enum log_event event)
{
    return events[event].name;
}

enum log_level event_level(enum log_event event)
{
    return events[event].level;
}

uint32_t event_lines_a_second(enum log_event event)
{
    return events[event].lines_a_second;
}
