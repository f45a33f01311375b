#include "modes.h"

static bool everybody(const struct options *options)
{
    (void)options;
    return true;
}

static const struct mode modes[] = {
    {"flow", everybody, mode_flow},
};

const struct mode *mode_named(const char *name)
{
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        if (strcmp(modes[i].name, name) == 0) return &modes[i];
    }
    return NULL;
}
