/* Making a call that waits return, from another thread or a signal handler. */
#ifndef PUBSUB_WAKE_H
#define PUBSUB_WAKE_H

#include <stdbool.h>

/* Returns 0 and a descriptor that becomes readable when it is woken; or errno. */
int mps_wake_open(int *fd);

/* Async-signal-safe, and from any thread. errno stays. Being woken several times is as good as once. */
void mps_wake(int fd);

/* Whether it was woken since the last call. What was written before mps_wake() is visible after true. */
bool mps_wake_take(int fd);

#endif
