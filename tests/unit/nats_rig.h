/* A nats-server of one's own for a test, on a port of 127.0.0.1 that nobody else has. One at a time. */
#ifndef NATS_RIG_H
#define NATS_RIG_H

#include <stdbool.h>
#include <sys/types.h>

struct nats_rig {
    pid_t pid;          /* 0: it does not run */
    int port;           /* 0: not known yet; the same one when it is started again */
    char directory[256];/* what it stores; goes at the end */
    char url[64];
    int log_fd;         /* what it says is left there: were it closed, saying more would end it */
};

/* False: there is no such program here ($PUBSUB_NATS_SERVER, or what the build has found). */
bool nats_rig_is_there(void);
void nats_rig_open(struct nats_rig *rig);
/* Returns when it is ready. more: arguments, ended by NULL; NULL: none. */
void nats_rig_start(struct nats_rig *rig, const char *const *more);
void nats_rig_kill(struct nats_rig *rig); /* at once; returns when it is gone */
void nats_rig_end(struct nats_rig *rig);  /* it has written all that it was given, and is gone */
void nats_rig_close(struct nats_rig *rig);

#endif
