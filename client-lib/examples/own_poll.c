/* own_poll TOPIC: publishes each line of its input while printing what arrives on TOPIC, from one poll() loop of its
 * own. Ends with the input. */
#include <pubsub/pubsub.h>

#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void on_message(pubsub *client, const struct pubsub_message *message, void *user)
{
    (void)client, (void)user;
    printf("%.*s\n", (int)message->payload_len, (const char *)message->payload);
    fflush(stdout);
}

/* Publishes what was typed, as raw bytes. Returns false at the end of the input. */
static bool publish_input(pubsub *client, const char *topic)
{
    char text[4096];
    ssize_t len = read(STDIN_FILENO, text, sizeof text);
    if (len <= 0) return false;
    if (text[len - 1] == '\n') len--;
    const struct pubsub_publish_options options = {.raw = true};
    if (pubsub_publish(client, topic, text, (size_t)len, &options, NULL) == PUBSUB_OK) return true;
    fprintf(stderr, "own_poll: %s\n", pubsub_error(client));
    return false;
}

int main(int argc, char **argv)
{
    char error[256];
    pubsub *client;
    if (argc != 2) {
        fprintf(stderr, "usage: own_poll TOPIC\n");
        return 2;
    }
    if (pubsub_open(&client, NULL, error, sizeof error) != PUBSUB_OK) {
        fprintf(stderr, "own_poll: %s\n", error);
        return 3;
    }
    const struct pubsub_subscribe_options options = {.on_message = on_message};
    int rc = pubsub_subscribe(client, argv[1], &options, NULL);
    while (rc >= 0) {
        struct pollfd fds[2] = {
            {.fd = STDIN_FILENO, .events = POLLIN},
            {.fd = pubsub_fd(client), .events = pubsub_poll_events(client)},
        };
        poll(fds, 2, pubsub_poll_timeout_ms(client));
        rc = pubsub_process(client);
        if (rc >= 0 && fds[0].revents != 0 && !publish_input(client, argv[1])) break;
    }
    if (rc < 0) fprintf(stderr, "own_poll: %s\n", pubsub_error(client));
    pubsub_close(client, 1000);
    return rc < 0 ? 1 : 0;
}
