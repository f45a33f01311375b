/* What a user of the installed library with a libuv loop writes. Usage: consumer_uv URL */
#include <pubsub/uv.h>
#include <stdio.h>

static void on_message(pubsub *client, const struct pubsub_message *message, void *user)
{
    (void)client;
    printf("libuv received %.*s\n", (int)message->payload_len, (const char *)message->payload);
    pubsub_uv_close(user, 1000, NULL);
}

int main(int argc, char **argv)
{
    char text[256];
    uv_loop_t loop;
    struct pubsub_uv bus;
    const struct pubsub_options options = {.url = argc > 1 ? argv[1] : NULL};
    const struct pubsub_subscribe_options subscription = {.on_message = on_message, .user = &bus};
    const struct pubsub_publish_options raw = {.raw = true};
    uv_loop_init(&loop);
    if (pubsub_uv_init(&loop, &bus, &options, text, sizeof text) != PUBSUB_OK) {
        fprintf(stderr, "%s\n", text);
        return 1;
    }
    pubsub_subscribe(pubsub_uv_client(&bus), "consumer/uv", &subscription, NULL);
    pubsub_publish(pubsub_uv_client(&bus), "consumer/uv", "hello", 5, &raw, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop) != 0;
}
