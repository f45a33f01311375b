/* subscribe PATTERN [COUNT]: prints topic and size of each message, and how many were lost; COUNT of them, or for
 * ever. */
#include <pubsub/pubsub.h>

#include <stdio.h>
#include <stdlib.h>

static void on_message(pubsub *client, const struct pubsub_message *message, void *user)
{
    unsigned long *left = user;
    (void)client;
    if (*left == 0) return; /* more of them may have come together with the last one */
    printf("%.*s: %zu bytes\n", (int)message->topic_len, message->topic, message->payload_len);
    fflush(stdout);
    --*left;
}

static void on_gap(pubsub *client, const struct pubsub_gap *gap, void *user)
{
    (void)client, (void)user;
    printf("lost %llu messages (%s)\n", (unsigned long long)gap->count, gap->reason_name);
}

int main(int argc, char **argv)
{
    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: subscribe PATTERN [COUNT]\n");
        return 2;
    }
    unsigned long left = argc == 3 ? strtoul(argv[2], NULL, 10) : (unsigned long)-1;
    char error[256];
    pubsub *client;
    if (pubsub_open(&client, NULL, error, sizeof error) != PUBSUB_OK) {
        fprintf(stderr, "subscribe: %s\n", error);
        return 3;
    }
    const struct pubsub_subscribe_options options = {.on_message = on_message, .on_gap = on_gap, .user = &left};
    int rc = pubsub_subscribe(client, argv[1], &options, NULL);
    while (left > 0 && rc >= 0) rc = pubsub_wait(client, -1);
    if (rc < 0) fprintf(stderr, "subscribe: %s\n", pubsub_error(client));
    pubsub_close(client, 1000);
    return rc < 0 ? 1 : 0;
}
