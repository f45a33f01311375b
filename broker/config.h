/* What the operator decides: limits, and where to serve. Read from a file in INI form, printed as one.
 * One table in config_settings.c says everything about a key; a new one is a row there. One thread; allocates nothing. */
#ifndef BROKER_CONFIG_H
#define BROKER_CONFIG_H

#include <stddef.h>
#include <stdio.h>

#include "broker.h"
#include "net/address.h"

#define LISTEN_MAX 64
#define LISTENER_NAME_MAX 32 /* bytes */

struct listener_config {
    char name[LISTENER_NAME_MAX + 1];
    struct address address;
};

struct config {
    struct broker_limits limits;
    struct listener_config listeners[LISTEN_MAX];
    int listeners_count; /* 0: the default addresses */
};

/* The core's defaults, and half of the memory that there is for the queues. */
void config_defaults(struct config *config);

/* Reads a file; what it does not set stays as it is in *config. Returns 0, or -1 and one sentence in text that begins
 * with "FILE:LINE: " or "FILE: "; *config is untouched then. */
int config_load(struct config *config, const char *path, char *text, size_t text_cap);

/* One more address to serve. name: 1..LISTENER_NAME_MAX bytes. Returns 0, or -1 and one sentence in text. */
int config_add_listener(struct config *config, const char *name, const char *url, char *text, size_t text_cap);

/* Writes a file that says all of *config, with comments. */
void config_print(const struct config *config, FILE *out);

#endif
