/* durable_worker NAME: does the jobs that are published under jobs/, until it is interrupted (Ctrl-C).
 *
 *     pubsubd --durable 'jobs/#' &  durable_worker ann &  pubsub pub --ack stored jobs/1 'sweep the floor'
 *
 * A job is done when it is acknowledged. Whatever ends meanwhile, the worker, the broker, the link between them: a job
 * that is not done comes again, and none that was published is forgotten while no worker runs. One that begins with
 * "fail" goes wrong the first time and is asked for again; one that begins with "never" can't be done and is put aside,
 * under $dead/jobs/. Shows: session, durable, ack, nack, reject. */
#include <pubsub/pubsub.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define SESSION_S (7 * 24 * 3600) /* for so long the worker may be away */
#define RETRY_MS 200

static volatile sig_atomic_t stopping;

static void on_signal(int number)
{
    (void)number;
    stopping = 1;
}

/* `pubsub pub` sends a text as a msgpack string: before a short one stands a byte that says so, and how long it is. */
static bool begins_with(const struct pubsub_message *message, const char *word)
{
    const unsigned char *payload = message->payload;
    size_t len = strlen(word);
    return message->payload_len > len && payload[0] >= 0xa0 && payload[0] <= 0xbf && memcmp(payload + 1, word, len) == 0;
}

static void on_job(pubsub *client, const struct pubsub_message *job, void *user)
{
    const char *what = "done";
    int rc;
    (void)user;
    if (job->stream == 0) { /* not of a durable topic: nobody asks what became of it */
        printf("not durable: %.*s\n", (int)job->topic_len, job->topic);
        return;
    }
    if (begins_with(job, "never")) {
        what = "put aside";
        rc = pubsub_reject(client, job->sid, job->stream, job->seq);
    } else if (begins_with(job, "fail") && job->tries <= 1) {
        what = "went wrong";
        rc = pubsub_nack(client, job->sid, job->stream, job->seq, RETRY_MS);
    } else {
        rc = pubsub_ack_one(client, job->sid, job->stream, job->seq);
    }
    printf("%s: %.*s%s\n", what, (int)job->topic_len, job->topic, job->redelivered ? " (again)" : "");
    if (rc != PUBSUB_OK) fprintf(stderr, "durable_worker: %s\n", pubsub_error(client));
}

/* Jobs that the broker does not have any more: they were too old or too many, or its disk lost them. */
static void on_gap(pubsub *client, const struct pubsub_gap *gap, void *user)
{
    (void)client, (void)user;
    if (gap->stream == 0) fprintf(stderr, "durable_worker: jobs were lost (%s)\n", gap->reason_name);
    else
        fprintf(stderr, "durable_worker: jobs %llu to %llu are gone (%s)\n", (unsigned long long)gap->first,
                (unsigned long long)gap->last, gap->reason_name);
}

static void on_granted(pubsub *client, uint32_t sid, void *user)
{
    (void)sid;
    printf("%s waits for work%s\n", (const char *)user, pubsub_resumed(client) ? " again" : "");
}

static void on_refusal(pubsub *client, const struct pubsub_refusal *refusal, void *user)
{
    (void)client;
    fprintf(stderr, "durable_worker: %s\n", refusal->text);
    *(bool *)user = true;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: durable_worker NAME\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);                          /* each line when it is due, also into a file */
    const struct sigaction action = {.sa_handler = on_signal}; /* without SA_RESTART: it interrupts what waits */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    bool refused = false;
    const struct pubsub_options options = {
        .client_id = argv[1], .session_s = SESSION_S, .on_refusal = on_refusal, .user = &refused};
    char error[256];
    pubsub *client;
    if (pubsub_open(&client, &options, error, sizeof error) != PUBSUB_OK) {
        fprintf(stderr, "durable_worker: %s\n", error);
        return 3;
    }
    const struct pubsub_subscribe_options jobs = {.from = PUBSUB_FROM_ALL, /* the first time; then where it stood */
                                                  .ack = PUBSUB_ACKS_EACH,
                                                  .durable = true,
                                                  .on_message = on_job,
                                                  .on_gap = on_gap,
                                                  .on_granted = on_granted,
                                                  .user = argv[1]};
    int rc = pubsub_subscribe(client, "jobs/#", &jobs, NULL);
    while (!stopping && !refused && rc >= 0) rc = pubsub_wait(client, 1000); /* sees a signal after a second at most */
    bool failed = rc < 0 && rc != PUBSUB_EINTR;
    if (failed) fprintf(stderr, "durable_worker: %s\n", pubsub_error(client));
    pubsub_close(client, 1000); /* what was acknowledged is told before */
    return failed || refused ? 1 : 0;
}
