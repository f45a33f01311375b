/* traffic publish URL NAME KEEPALIVE_S COUNT BYTES PER_S: publishes the numbers 1..COUNT to net/NAME, each followed by
 * dots up to BYTES, at level stored and in a session. Ends when all are settled; prints how many are stored, and how
 * often it had to connect again. traffic receive URL NAME KEEPALIVE_S: a durable subscription of net/#; prints of each
 * message its topic, position, number, size and whether it came again, and acknowledges it. Ends on SIGTERM. */
#include <pubsub/pubsub.h>

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct traffic {
    uint64_t stored;
    unsigned again; /* connections */
    bool refused;
};

static volatile sig_atomic_t stopping;

static void on_signal(int number)
{
    (void)number;
    stopping = 1;
}

static void on_puback(pubsub *client, const struct pubsub_puback *ack, void *user)
{
    (void)client;
    if (ack->code < 100) ((struct traffic *)user)->stored += ack->last_pid - ack->first_pid + 1;
    else fprintf(stderr, "traffic: refused: %s\n", ack->text);
}

static void on_state(pubsub *client, enum pubsub_state state, const char *text, void *user)
{
    (void)client;
    struct traffic *traffic = user;
    if (state == PUBSUB_LOST) fprintf(stderr, "traffic: %s\n", text);
    if (state == PUBSUB_CONNECTED_AGAIN) traffic->again++;
}

static void on_refusal(pubsub *client, const struct pubsub_refusal *refusal, void *user)
{
    (void)client;
    fprintf(stderr, "traffic: refused: %s\n", refusal->text);
    ((struct traffic *)user)->refused = true;
}

static void on_message(pubsub *client, const struct pubsub_message *message, void *user)
{
    char number[24];
    (void)user;
    snprintf(number, sizeof number, "%.*s", (int)message->payload_len, (const char *)message->payload);
    printf("%.*s %" PRIu64 " %lu %zu %s\n", (int)message->topic_len, message->topic, message->seq,
           strtoul(number, NULL, 10), message->payload_len, message->redelivered ? "again" : "new");
    if (pubsub_ack_one(client, message->sid, message->stream, message->seq) != PUBSUB_OK)
        fprintf(stderr, "traffic: %s\n", pubsub_error(client));
}

static void on_gap(pubsub *client, const struct pubsub_gap *gap, void *user)
{
    (void)client, (void)user;
    fprintf(stderr, "traffic: lost %" PRIu64 " to %" PRIu64 " (%s)\n", gap->first, gap->last, gap->reason_name);
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int publish(pubsub *client, const char *name, unsigned long count, size_t bytes, unsigned long per_s)
{
    const struct pubsub_publish_options stored = {.ack = PUBSUB_ACK_STORED, .raw = true};
    char topic[PUBSUB_TOPIC_MAX + 1], *payload = malloc(bytes + 24);
    uint64_t start = now_ms();
    int rc = payload != NULL ? PUBSUB_OK : PUBSUB_ENOMEM;
    snprintf(topic, sizeof topic, "net/%s", name);
    for (unsigned long i = 1; i <= count && rc >= 0; i++) {
        memset(payload, '.', bytes);
        payload[snprintf(payload, 24, "%lu", i)] = '.';
        rc = pubsub_publish(client, topic, payload, bytes, &stored, NULL);
        for (uint64_t due = start + i * 1000 / per_s, now = now_ms(); now < due && rc >= 0; now = now_ms())
            rc = pubsub_wait(client, (int)(due - now));
    }
    free(payload);
    return rc >= 0 ? pubsub_flush(client, -1) : rc;
}

static int receive(pubsub *client, const struct traffic *traffic)
{
    const struct pubsub_subscribe_options all = {
        .from = PUBSUB_FROM_ALL, .ack = PUBSUB_ACKS_EACH, .durable = true, .on_message = on_message, .on_gap = on_gap};
    int rc = pubsub_subscribe(client, "net/#", &all, NULL);
    while (!stopping && !traffic->refused && rc >= 0) rc = pubsub_wait(client, 1000);
    return rc == PUBSUB_EINTR ? PUBSUB_OK : rc;
}

int main(int argc, char **argv)
{
    bool publishes = argc == 8 && strcmp(argv[1], "publish") == 0,
         receives = argc == 5 && strcmp(argv[1], "receive") == 0;
    if (!publishes && !receives) {
        fprintf(stderr,
                "usage: traffic publish URL NAME KEEPALIVE_S COUNT BYTES PER_S | receive URL NAME KEEPALIVE_S\n");
        return 2;
    }
    struct traffic traffic = {0};
    const struct pubsub_options options = {.url = argv[2],
                                           .client_id = argv[3],
                                           .session_s = 3600,
                                           .keepalive_s = (uint32_t)strtoul(argv[4], NULL, 10),
                                           .retry_first = true,
                                           .reconnect_max_ms = 200,
                                           .connect_ms = 2000,
                                           .on_puback = on_puback,
                                           .on_state = on_state,
                                           .on_refusal = on_refusal,
                                           .user = &traffic};
    const struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    char error[512];
    pubsub *client;
    if (pubsub_open(&client, &options, error, sizeof error) != PUBSUB_OK) {
        fprintf(stderr, "traffic: %s\n", error);
        return 3;
    }
    int rc = receives ? receive(client, &traffic)
                      : publish(client, argv[3], strtoul(argv[5], NULL, 10), strtoul(argv[6], NULL, 10),
                                strtoul(argv[7], NULL, 10));
    if (rc < 0) fprintf(stderr, "traffic: %s\n", pubsub_error(client));
    if (publishes) printf("%" PRIu64 " stored, connected again %u times\n", traffic.stored, traffic.again);
    pubsub_close(client, 5000);
    return rc < 0 || traffic.refused ? 1 : 0;
}
