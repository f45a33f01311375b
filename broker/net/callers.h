/* How many connections each address has: those that have not introduced themselves yet, and all. Sockets that are no TCP
 * have no address, and are not counted. One thread; an address costs about 200 bytes while it has a connection. */
#ifndef NET_CALLERS_H
#define NET_CALLERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hash.h"
#include "list.h"
#include "peer.h"

/* Connections of one address. */
struct address_caps {
    uint32_t unwelcomed_per_address; /* that have not introduced themselves yet */
    uint32_t per_address;            /* in all; 0: no limit */
    uint32_t per_loopback;           /* likewise, of one that is this machine's */
};

struct caller;

/* What a connection embeds. All zero: it is not counted. */
struct guest {
    struct caller *caller;
    struct list_node in_unwelcomed;
    bool is_unwelcomed;
};

struct callers {
    struct hash table;
    uint64_t seed; /* random, secret */
    struct address_caps caps;
};

enum callers_result {
    CALLERS_OK,
    CALLERS_FULL,  /* the address has all the connections that it may have: this one isn't counted */
    CALLERS_CROWD, /* it is counted, and *oldest has to go: it came first of too many that are not welcome yet */
};
/* text: why, unless it is OK; one sentence. */
enum callers_result callers_enter(struct callers *callers, struct guest *guest, const struct peer *peer,
                                  struct guest **oldest, char *text, size_t text_cap);
void callers_welcome(struct guest *guest); /* it has introduced itself, or is on its way out */
void callers_leave(struct callers *callers, struct guest *guest);
void callers_free(struct callers *callers);

#endif
