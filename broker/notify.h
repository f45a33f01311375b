/* Tells the service manager that started the broker how it is, in the protocol of sd_notify(3): datagrams to the socket
 * that $NOTIFY_SOCKET names. Without that variable nothing is told. libsystemd isn't used: it would be one more library
 * of every broker for a sendto(2), and is none that can be linked statically. The loop's thread only. */
#ifndef BROKER_NOTIFY_H
#define BROKER_NOTIFY_H

#include <stdbool.h>
#include <sys/un.h>
#include <uv.h>

struct notifier {
    struct sockaddr_un name;
    socklen_t name_len;
    int fd;               /* -1: nobody wants to know */
    char serving[500];    /* the status while all is well */
    uv_signal_t signals[2];
    uv_timer_t watchdog;
};

/* Finds out whether somebody wants to know, and says that connections are accepted at these URLs (each with a blank before
 * it). From now on it says by itself when the loop has been told to stop, and, if the manager watches over it
 * ($WATCHDOG_USEC), that the loop turns, twice in that time. *notifier must stay until the loop is closed, which closes its
 * handles. What can't be told is a warning in the log. */
void notify_ready(struct notifier *notifier, uv_loop_t *loop, const char *urls);

/* The configuration is being loaded again. notify_reloaded() must follow: why_not is what was wrong with it, or NULL. */
void notify_reloading(struct notifier *notifier);
void notify_reloaded(struct notifier *notifier, const char *why_not);

#endif
