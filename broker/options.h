/* pubsubd's command line. */
#ifndef BROKER_OPTIONS_H
#define BROKER_OPTIONS_H

#include "net/address.h"

#define LISTEN_MAX 64

struct options {
    struct address listen[LISTEN_MAX];
    int listen_count; /* 0: the default */
    int ready_fd;     /* -1: none */
};

/* Returns -1 to go on, else the exit code: 0 after --help or --version, 2 after one line about what is wrong. */
int options_parse(struct options *options, int argc, char **argv);

#endif
