#include "notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

#define STATE_MAX 1500
#define PATIENCE_S 1 /* a manager that takes nothing must not hold the broker */

static void warn(const char *what, const char *why)
{
    log_line(EVENT_MANAGER_DEAF, NULL, "cannot tell the service manager %s: %s", what, why);
}

/* Returns whether there is somebody to tell. */
static bool find_manager(struct notifier *notifier)
{
    const char *path = getenv("NOTIFY_SOCKET");
    notifier->fd = -1;
    if (path == NULL || path[0] == '\0') return false;
    size_t len = strlen(path);
    if ((path[0] != '/' && path[0] != '@') || len < 2 || len >= sizeof notifier->name.sun_path) {
        warn("anything", "$NOTIFY_SOCKET is neither an absolute path nor an abstract name of a socket");
        return false;
    }
    notifier->name = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(notifier->name.sun_path, path, len);
    if (path[0] == '@') notifier->name.sun_path[0] = '\0'; /* abstract: its name ends where its length says */
    notifier->name_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    notifier->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (notifier->fd < 0) {
        warn("anything", strerror(errno));
        return false;
    }
    struct timeval patience = {.tv_sec = PATIENCE_S};
    setsockopt(notifier->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    return true;
}

static bool tell(const struct notifier *notifier, const char *state, int flags)
{
    return sendto(notifier->fd, state, strlen(state), MSG_NOSIGNAL | flags,
                  (const struct sockaddr *)(const void *)&notifier->name, notifier->name_len) >= 0;
}

/* A status is one line, whatever is in it. */
static void tell_ready(const struct notifier *notifier, const char *status)
{
    char state[STATE_MAX];
    snprintf(state, sizeof state, "READY=1\nSTATUS=%s", status);
    for (char *at = strchr(state, '\n') + 1; *at != '\0'; at++)
        if ((unsigned char)*at < ' ') *at = ' ';
    if (!tell(notifier, state, 0)) warn("that it is ready", strerror(errno));
}

/* Beside the loop's own handles, which do stop it. */
static void on_stop(uv_signal_t *signal, int signum)
{
    const struct notifier *notifier = signal->data;
    (void)signum;
    if (!tell(notifier, "STOPPING=1\nSTATUS=Stopping: clients are told, and what is left is written", 0))
        warn("that it stops", strerror(errno));
}

/* One that is not taken is no harm while the next one is. */
static void on_watchdog(uv_timer_t *watchdog)
{
    tell(watchdog->data, "WATCHDOG=1", MSG_DONTWAIT);
}

/* Half of the time within which the manager wants to hear from this process; 0: it doesn't. */
static uint64_t watchdog_ms(void)
{
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    if (usec == NULL || (pid != NULL && strtol(pid, NULL, 10) != (long)getpid())) return 0;
    char *end;
    errno = 0;
    uint64_t within_us = strtoull(usec, &end, 10);
    if (usec[0] < '0' || usec[0] > '9' || *end != '\0' || errno != 0 || within_us < 2000) {
        warn("that the loop turns", "$WATCHDOG_USEC is not a number of microseconds from 2000 on");
        return 0;
    }
    return within_us / 2000;
}

void notify_ready(struct notifier *notifier, uv_loop_t *loop, const char *urls)
{
    static const int numbers[] = {SIGTERM, SIGINT};
    if (!find_manager(notifier)) return;
    snprintf(notifier->serving, sizeof notifier->serving, "Serving%s", urls);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        uv_signal_init(loop, &notifier->signals[i]);
        notifier->signals[i].data = notifier;
        uv_signal_start_oneshot(&notifier->signals[i], on_stop, numbers[i]);
    }
    uint64_t every_ms = watchdog_ms();
    uv_timer_init(loop, &notifier->watchdog);
    notifier->watchdog.data = notifier;
    if (every_ms > 0) uv_timer_start(&notifier->watchdog, on_watchdog, 0, every_ms);
    tell_ready(notifier, notifier->serving);
}

void notify_reloading(struct notifier *notifier)
{
    char state[100];
    struct timespec now;
    if (notifier->fd < 0) return;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t now_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
    snprintf(state, sizeof state, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, now_us);
    if (!tell(notifier, state, 0)) warn("that it loads its configuration again", strerror(errno));
}

void notify_reloaded(struct notifier *notifier, const char *why_not)
{
    char status[STATE_MAX];
    if (notifier->fd < 0) return;
    snprintf(status, sizeof status, "%s%s%.900s", notifier->serving,
             why_not != NULL ? "; with its old configuration, as the new one was refused: " : "",
             why_not != NULL ? why_not : "");
    tell_ready(notifier, status);
}
