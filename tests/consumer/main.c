/* What a user of the installed library writes: publishes to a broker and receives it. Usage: consumer URL */
#include <pubsub/pubsub.h>
#include <stdio.h>
#include <string.h>

static void on_message(pubsub *client, const struct pubsub_message *message, void *user)
{
    (void)client;
    *(int *)user += message->payload_len == 5 && memcmp(message->payload, "hello", 5) == 0;
}

int main(int argc, char **argv)
{
    char text[256];
    int received = 0;
    pubsub *client;
    struct pubsub_options options = {.url = argc > 1 ? argv[1] : NULL};
    int error = pubsub_open(&client, &options, text, sizeof text);
    if (error != PUBSUB_OK) {
        fprintf(stderr, "%s\n", text);
        return 1;
    }
    uint32_t sid;
    struct pubsub_subscribe_options subscribe = {.on_message = on_message, .user = &received};
    struct pubsub_publish_options publish = {.ack = PUBSUB_ACK_ROUTED};
    error = pubsub_subscribe(client, "consumer", &subscribe, &sid);
    if (error == PUBSUB_OK) error = pubsub_publish(client, "consumer", "hello", 5, &publish, NULL);
    while (error >= 0 && received == 0) error = pubsub_wait(client, 10000) > 0 ? 0 : PUBSUB_ETIMEDOUT;
    if (error < 0) fprintf(stderr, "%s\n", pubsub_strerror(error));
    else printf("libpubsub %s received %d\n", pubsub_version(), received);
    pubsub_close(client, 1000);
    return error < 0;
}
