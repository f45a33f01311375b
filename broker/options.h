/* pubsubd's command line. */
#ifndef BROKER_OPTIONS_H
#define BROKER_OPTIONS_H

#include "config.h"

/* Options that are only acted upon when all have been read. */
struct later {
    const char *urls[LISTEN_MAX];      /* of --listen */
    int urls_count;
    const char *durables[STREAMS_MAX]; /* of --durable */
    int durables_count;
    const char *file, *data, *user; /* of --config, --data and --user, or NULL */
    bool check, print;
};

struct options {
    struct later given;
    struct broker_limits defaults; /* what holds without a file */
    struct address_caps default_caps;
    struct log_config default_log;
    struct config config; /* --config's file, with --listen instead of its addresses if there is any, --durable's streams
                             behind its own, and --data. To be freed by config_free(), whatever options_parse() returns */
    bool salvage;
    int ready_fd;         /* -1: none */
};

/* Returns -1 to go on, else the exit code: 0 after what --help, --version, --check-config and --print-config ask for,
 * 1 if that can't be printed, 2 after one line about what is wrong with an option or the configuration. */
int options_parse(struct options *options, int argc, char **argv);

/* What would hold if the broker were started now. Returns 0, and *config is to be freed by config_free(); or -1 and one
 * sentence in text. */
int options_load_again(const struct options *options, struct config *config, char *text, size_t text_cap);

#endif
