/* Threads and a signal handler wake a client, over and over, while it talks to a broker: each waits until it was served
 * before it asks again, so one wake that got lost ends this by its timeout. Built with the thread sanitizer, which sees
 * whether what was written before a wake is safe to read after it. */
#include <pubsub/pubsub.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "wire.h"

#define THREADS 4
#define ROUNDS 2000
#define ALARMS 200

static pubsub *client;
static atomic_uint served[THREADS];
static volatile sig_atomic_t alarms, alarms_seen;

/* What one thread asks of the client's: plain memory, which only the wake makes visible in time. */
static struct wish {
    pthread_mutex_t lock;
    unsigned asked;
} wishes[THREADS];

static void *ask(void *which)
{
    struct wish *wish = which;
    for (unsigned round = 1; round <= ROUNDS; round++) {
        pthread_mutex_lock(&wish->lock);
        wish->asked = round;
        pthread_mutex_unlock(&wish->lock);
        if (pubsub_wake(client) != PUBSUB_OK) abort();
        while (atomic_load(&served[wish - wishes]) != round) sched_yield();
    }
    return NULL;
}

static void on_alarm(int signal)
{
    (void)signal;
    alarms++;
    pubsub_wake(client);
}

static bool serve(void)
{
    bool more = false;
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_mutex_lock(&wishes[i].lock);
        unsigned asked = wishes[i].asked;
        pthread_mutex_unlock(&wishes[i].lock);
        if (asked != atomic_load(&served[i])) {
            char topic[32];
            snprintf(topic, sizeof topic, "wish/%u", i);
            if (pubsub_publish(client, topic, "x", 1, NULL, NULL) != PUBSUB_OK) abort();
        }
        atomic_store(&served[i], asked);
        more |= asked < ROUNDS;
    }
    alarms_seen = alarms;
    return more || alarms_seen < ALARMS;
}

/* Says WELCOME, and reads what comes until the other end is gone. */
static void *broker(void *end)
{
    int fd = *(int *)end;
    uint8_t buf[4096];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    mps_encode_welcome(&out,
                       &(struct mps_welcome){.version = 1, .id = mps_text("given"), .ka_s = 60, .pub_window = 10});
    if (write(fd, buf, out.len) != (ssize_t)out.len) abort();
    while (read(fd, buf, sizeof buf) > 0) continue;
    close(fd);
    return NULL;
}

int main(void)
{
    int ends[2];
    char url[32], error[256];
    pthread_t threads[THREADS + 1];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return 1;
    sigset_t alarm_only;
    sigemptyset(&alarm_only);
    sigaddset(&alarm_only, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &alarm_only, NULL); /* not for the others */
    if (pthread_create(&threads[THREADS], NULL, broker, &ends[1]) != 0) return 1;
    snprintf(url, sizeof url, "fd:%d", ends[0]);
    const struct pubsub_options options = {.url = url, .wakes = true};
    if (pubsub_open(&client, &options, error, sizeof error) != PUBSUB_OK) {
        fprintf(stderr, "wake: %s\n", error);
        return 1;
    }
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, NULL);
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_mutex_init(&wishes[i].lock, NULL);
        if (pthread_create(&threads[i], NULL, ask, &wishes[i]) != 0) return 1;
    }
    pthread_sigmask(SIG_UNBLOCK, &alarm_only, NULL);
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 1000}, {0, 1000}}, NULL);
    do {
        int rc = pubsub_wait(client, -1);
        if (rc < 0 && rc != PUBSUB_EINTR) {
            fprintf(stderr, "wake: %s\n", pubsub_error(client));
            return 1;
        }
    } while (serve());
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 0}}, NULL);
    signal(SIGALRM, SIG_IGN);
    for (unsigned i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    pubsub_close(client, 0);
    pthread_join(threads[THREADS], NULL);
    printf("%u wakes of %d threads and %d of a signal handler were served\n", THREADS * ROUNDS, THREADS,
           (int)alarms_seen);
    return 0;
}
