/* sensor_alarm FILTER [COUNT]: prints the topics of measurements that match, COUNT of them, or for ever.
 *
 *     sensor_alarm 'temp > 30 and site == "a"' &  pubsub pub -j sensors/7 '{"site": "a", "temp": 31.5}'
 *
 * The broker looks into the messages: what does not match is never sent. An alarm that was lost is as important as one
 * that came, so losses are printed too. Shows: filter, on_gap, on_refusal. */
#include <pubsub/pubsub.h>

#include <stdio.h>
#include <stdlib.h>

struct alarms {
    unsigned long left;
    bool refused;
};

static void on_message(pubsub *client, const struct pubsub_message *message, void *user)
{
    struct alarms *alarms = user;
    (void)client;
    if (alarms->left == 0) return; /* more of them may have come together with the last one */
    printf("alarm: %.*s\n", (int)message->topic_len, message->topic);
    fflush(stdout);
    alarms->left--;
}

static void on_gap(pubsub *client, const struct pubsub_gap *gap, void *user)
{
    (void)client, (void)user;
    printf("lost: %llu alarms (%s)\n", (unsigned long long)gap->count, gap->reason_name);
    fflush(stdout);
}

static void on_granted(pubsub *client, uint32_t sid, void *user)
{
    (void)client, (void)sid, (void)user;
    printf("watching\n");
    fflush(stdout);
}

/* A filter that makes no sense, above all: the text says where. */
static void on_refusal(pubsub *client, const struct pubsub_refusal *refusal, void *user)
{
    struct alarms *alarms = user;
    (void)client;
    fprintf(stderr, "sensor_alarm: %s\n", refusal->text);
    alarms->refused = true;
}

int main(int argc, char **argv)
{
    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: sensor_alarm FILTER [COUNT]\n");
        return 2;
    }
    struct alarms alarms = {.left = argc == 3 ? strtoul(argv[2], NULL, 10) : (unsigned long)-1};
    const struct pubsub_options options = {.on_refusal = on_refusal, .user = &alarms};
    char error[256];
    pubsub *client;
    if (pubsub_open(&client, &options, error, sizeof error) != PUBSUB_OK) {
        fprintf(stderr, "sensor_alarm: %s\n", error);
        return 3;
    }
    const struct pubsub_subscribe_options subscribe = {.max_msgs = 1000, /* older alarms are of no use */
                                                       .filter = argv[1],
                                                       .on_message = on_message,
                                                       .on_gap = on_gap,
                                                       .on_granted = on_granted,
                                                       .user = &alarms};
    int rc = pubsub_subscribe(client, "sensors/#", &subscribe, NULL);
    while (alarms.left > 0 && !alarms.refused && rc >= 0) rc = pubsub_wait(client, -1);
    if (rc < 0) fprintf(stderr, "sensor_alarm: %s\n", pubsub_error(client));
    pubsub_close(client, 1000);
    return rc < 0 || alarms.refused ? 1 : 0;
}
