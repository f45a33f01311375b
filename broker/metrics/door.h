/* Where metrics are served: a listening socket, and what is accepted there. One thread. */
#ifndef METRICS_DOOR_H
#define METRICS_DOOR_H

#include <stdbool.h>
#include <sys/types.h>
#include <uv.h>

#include "config.h"

struct door;

/* Listens where it is configured, and accepts nothing yet. Returns NULL and one sentence in text if it can't, or may not. */
struct door *door_open(uv_loop_t *loop, const struct metrics_config *config, mode_t operators_umask, char *text,
                       size_t text_cap);
/* Whether it could be opened, as far as can be told without; returns 0, or -1 and one sentence in text. */
int door_check(const struct metrics_config *config, char *text, size_t text_cap);
/* From now on whoever comes is given to this. The descriptor is taken. */
void door_accept(struct door *door, void (*take)(void *arg, int fd), void *arg);
void door_go_on(struct door *door);            /* descriptors may have come free; at least once a second or so */
bool door_is_remote(const struct door *door);  /* other machines reach it */
const char *door_url(const struct door *door); /* of what it is bound to */
const char *door_path(const struct door *door); /* its Unix socket; "": it is none */
void door_close(struct door *door);            /* and removes its Unix socket. NULL is allowed */

#endif
