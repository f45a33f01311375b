/* pubsubd's command line. */
#ifndef BROKER_OPTIONS_H
#define BROKER_OPTIONS_H

#include "config.h"

struct options {
    struct config config; /* --config's file, with --listen instead of its addresses if there is any, --durable's streams
                             behind its own, and --data. To be freed by config_free(), whatever options_parse() returns */
    bool salvage;
    int ready_fd;         /* -1: none */
};

/* Returns -1 to go on, else the exit code: 0 after what --help, --version, --check-config and --print-config ask for,
 * 1 if that can't be printed, 2 after one line about what is wrong with an option or the configuration. */
int options_parse(struct options *options, int argc, char **argv);

#endif
