/* worker_pool work NAME: one worker of a pool, until it is interrupted (Ctrl-C).
 * worker_pool dispatch COUNT: gives the numbers 1..COUNT to the pool and prints their squares as they come back.
 *
 *     worker_pool work ann &  worker_pool work bob &  worker_pool dispatch 10
 *
 * Each job goes to one worker, and to none before it has done its last one: the workers are a group, and they go by
 * credit, one at a time. Shows: group, credit, request and reply, headers, what happens when nobody works. */
#include <pubsub/pubsub.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JOBS "pool/square"

static volatile sig_atomic_t stopping;

static void on_signal(int number)
{
    (void)number;
    stopping = 1;
}

/* ---- a worker ------------------------------------------------------------------------------------------------------
 */

struct worker {
    const char *name;
    uint64_t done;
};

static void on_job(pubsub *client, const struct pubsub_message *message, void *user)
{
    struct worker *worker = user;
    char text[32], result[64];
    snprintf(text, sizeof text, "%.*s", (int)message->payload_len, (const char *)message->payload);
    unsigned long long number = strtoull(text, NULL, 10);
    int len = snprintf(result, sizeof result, "%llu", number * number);
    const struct pubsub_header by = {"worker", worker->name};
    const struct pubsub_publish_options options = {.raw = true, .headers = &by, .headers_count = 1};
    if (pubsub_reply(client, message, result, (size_t)len, &options) != PUBSUB_OK)
        fprintf(stderr, "worker_pool: %s\n", pubsub_error(client));
    worker->done++;
    pubsub_credit(client, message->sid, worker->done + 1, false); /* one more may come */
}

/* Jobs that waited for the pool until there was no more room for them. */
static void on_gap(pubsub *client, const struct pubsub_gap *gap, void *user)
{
    (void)client, (void)user;
    fprintf(stderr, "worker_pool: %llu jobs were lost (%s)\n", (unsigned long long)gap->count, gap->reason_name);
}

static void on_granted(pubsub *client, uint32_t sid, void *user)
{
    (void)client, (void)sid;
    printf("%s waits for work\n", ((const struct worker *)user)->name);
}

static int work(pubsub *client, const char *name)
{
    struct worker worker = {.name = name};
    const struct pubsub_subscribe_options options = {.policy = PUBSUB_DROP_NEW, /* jobs are done in their order */
                                                     .group = "workers",
                                                     .by_credit = true,
                                                     .credit = 1,
                                                     .on_message = on_job,
                                                     .on_gap = on_gap,
                                                     .on_granted = on_granted,
                                                     .user = &worker};
    int rc = pubsub_subscribe(client, JOBS, &options, NULL);
    while (!stopping && rc >= 0) rc = pubsub_wait(client, 1000); /* a signal just before it is seen a second later */
    printf("%s did %llu jobs\n", name, (unsigned long long)worker.done);
    return rc == PUBSUB_EINTR ? PUBSUB_OK : rc;
}

/* ---- the dispatcher ------------------------------------------------------------------------------------------------
 */

struct dispatcher {
    unsigned long open, failed; /* requests */
};

/* Requests are numbered 1, 2, 3, ... by the client: here the number is the job. */
static void on_reply(pubsub *client, uint64_t request, const struct pubsub_message *reply, int status, void *user)
{
    struct dispatcher *dispatcher = user;
    if (reply != NULL) {
        size_t len;
        const char *name = pubsub_message_header(reply, "worker", &len);
        printf("%llu squared is %.*s, says %.*s\n", (unsigned long long)request, (int)reply->payload_len,
               (const char *)reply->payload, (int)len, name != NULL ? name : "");
        return;
    }
    dispatcher->open--;
    if (status == PUBSUB_OK) return;
    dispatcher->failed++;
    fprintf(stderr, "worker_pool: job %llu: %s\n", (unsigned long long)request, pubsub_error(client));
}

static int dispatch(pubsub *client, unsigned long count)
{
    struct dispatcher dispatcher = {0};
    const struct pubsub_request_options options = {
        .publish.raw = true, .timeout_ms = 30000, .on_reply = on_reply, .user = &dispatcher};
    int rc = PUBSUB_OK;
    for (unsigned long i = 1; i <= count && rc >= 0; i++) {
        char text[32];
        int len = snprintf(text, sizeof text, "%lu", i);
        rc = pubsub_request(client, JOBS, text, (size_t)len, &options, NULL);
        if (rc == PUBSUB_OK) dispatcher.open++;
    }
    while (!stopping && dispatcher.open > 0 && rc >= 0) rc = pubsub_wait(client, 1000);
    return rc >= 0 && dispatcher.failed > 0 ? PUBSUB_EREFUSED : rc;
}

int main(int argc, char **argv)
{
    char error[256], *end = NULL;
    errno = 0;
    unsigned long count = argc == 3 ? strtoul(argv[2], &end, 10) : 0;
    bool works = argc == 3 && strcmp(argv[1], "work") == 0, dispatches = argc == 3 && strcmp(argv[1], "dispatch") == 0;
    if (!works && (!dispatches || count == 0 || *end != '\0' || errno != 0)) {
        fprintf(stderr, "usage: worker_pool work NAME | worker_pool dispatch COUNT\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);                          /* each line when it is due, also into a file */
    const struct sigaction action = {.sa_handler = on_signal}; /* without SA_RESTART: it interrupts what waits */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    pubsub *client;
    if (pubsub_open(&client, NULL, error, sizeof error) != PUBSUB_OK) {
        fprintf(stderr, "worker_pool: %s\n", error);
        return 3;
    }
    int rc = works ? work(client, argv[2]) : dispatch(client, count);
    if (rc < 0) fprintf(stderr, "worker_pool: %s\n", pubsub_error(client));
    pubsub_close(client, 1000);
    return rc < 0 ? 1 : 0;
}
