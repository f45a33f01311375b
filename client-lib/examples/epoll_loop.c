/* epoll_loop TOPIC PERIOD_MS: publishes 1, 2, 3, ... on TOPIC, one each period, and prints what arrives there, from an
 * epoll loop that also waits for a timer and for signals. Its broker may be away for a while. Ends with SIGTERM. */
#include <pubsub/loop.h>

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* What epoll knows of the client. */
struct watch {
    int epoll;
    int fd; /* -1: none */
    uint32_t events;
};

/* The kernel forgets a descriptor that is closed. The next one may have the same number, so we have to as well. */
static void forget_fd(void *context, pubsub *client, int fd)
{
    struct watch *watch = context;
    (void)client, (void)fd;
    watch->fd = -1;
}

static bool add(int epoll, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    return fd >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

/* Tells epoll what the client waits for, where that has changed. */
static void update(struct watch *watch, const pubsub *client)
{
    int fd = pubsub_fd(client);
    short wanted = pubsub_poll_events(client);
    uint32_t events = (wanted & POLLIN ? (uint32_t)EPOLLIN : 0) | (wanted & POLLOUT ? (uint32_t)EPOLLOUT : 0);
    if (fd < 0 || (fd == watch->fd && events == watch->events)) return;
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(watch->epoll, fd == watch->fd ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) != 0) perror("epoll_ctl");
    watch->fd = fd;
    watch->events = events;
}

static void on_message(pubsub *client, const struct pubsub_message *message, void *user)
{
    (void)client, (void)user;
    printf("%.*s\n", (int)message->payload_len, (const char *)message->payload);
}

static void on_state(pubsub *client, enum pubsub_state state, const char *text, void *user)
{
    static const char *const names[] = {"", "connected", "lost", "connected again", "ended"};
    (void)client, (void)user;
    printf("(%s: %s)\n", names[state], text);
}

static void publish_next(pubsub *client, const char *topic)
{
    static unsigned count;
    char text[16];
    int len = snprintf(text, sizeof text, "%u", ++count);
    const struct pubsub_publish_options options = {.raw = true};
    if (pubsub_publish(client, topic, text, (size_t)len, &options, NULL) != PUBSUB_OK)
        fprintf(stderr, "epoll_loop: %s\n", pubsub_error(client));
}

/* Returns 0 after a signal, or why the client has ended. */
static int run(struct watch *watch, pubsub *client, const char *topic, int timer, int signals)
{
    int rc = 0;
    for (bool done = false; !done && rc >= 0;) {
        struct epoll_event ready[3];
        uint64_t expirations;
        update(watch, client);
        int count = epoll_wait(watch->epoll, ready, 3, pubsub_poll_timeout_ms(client));
        for (int i = 0; i < count; i++) {
            if (ready[i].data.fd == signals) done = true;
            if (ready[i].data.fd == timer && read(timer, &expirations, sizeof expirations) > 0)
                publish_next(client, topic);
        }
        rc = pubsub_process(client); /* whatever it was: it also writes what was published just now */
        fflush(stdout);
    }
    return rc;
}

static int signals_fd(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

static int timer_fd(long period_ms)
{
    struct timespec period = {period_ms / 1000, period_ms % 1000 * 1000000};
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    timerfd_settime(timer, 0, &(struct itimerspec){period, period}, NULL);
    return timer;
}

int main(int argc, char **argv)
{
    char error[384];
    pubsub *client;
    long period_ms = argc == 3 ? atol(argv[2]) : 0;
    if (period_ms <= 0) {
        fprintf(stderr, "usage: epoll_loop TOPIC PERIOD_MS\n");
        return 2;
    }
    struct watch watch = {.epoll = epoll_create1(EPOLL_CLOEXEC), .fd = -1};
    const struct pubsub_loop loop = {.context = &watch, .forget_fd = forget_fd};
    const struct pubsub_options options = {
        .retry_first = true, .outbox_policy = PUBSUB_OUTBOX_REFUSE, .on_state = on_state, .loop = &loop};
    const struct pubsub_subscribe_options subscription = {.on_message = on_message};
    int timer = timer_fd(period_ms), signals = signals_fd();
    if (!add(watch.epoll, timer) || !add(watch.epoll, signals)) {
        perror("epoll_loop");
        return 1;
    }
    if (pubsub_open(&client, &options, error, sizeof error) != PUBSUB_OK) {
        fprintf(stderr, "epoll_loop: %s\n", error);
        return 3;
    }
    int rc = pubsub_subscribe(client, argv[1], &subscription, NULL);
    if (rc == PUBSUB_OK) rc = run(&watch, client, argv[1], timer, signals);
    if (rc < 0) fprintf(stderr, "epoll_loop: %s\n", pubsub_error(client));
    pubsub_close(client, 1000);
    return rc < 0 ? 1 : 0;
}
