/* Listening sockets that whoever started us has opened, as systemd does for a socket unit (sd_listen_fds(3)). They outlive
 * this process: while one broker ends and the next one starts nobody is refused, connections wait. */
#ifndef NET_INHERITED_H
#define NET_INHERITED_H

#include <stddef.h>

#include "address.h"
#include "config.h"

struct inherited {
    int fds[LISTEN_MAX]; /* those that nobody has taken yet */
    size_t count;
};

/* Finds those that $LISTEN_FDS and $LISTEN_PID say are for this process. Returns 0, or -1 and one sentence in text if there are
 * too many, or that is no number. */
int inherited_find(struct inherited *inherited, char *text, size_t text_cap);

/* The listening one that is bound to just this address: the caller's from now on. -1: there is none. */
int inherited_take(struct inherited *inherited, const struct sockaddr *name);

/* Any one. -1: there is none left. */
int inherited_take_any(struct inherited *inherited);

/* Whether one is listening at the same TCP port, at whatever host: it is in the way of `name`. Its URL goes to url. */
bool inherited_is_in_the_way(const struct inherited *inherited, const struct sockaddr *name, char url[URL_MAX]);

#endif
