/* What a user of the installed library with msgpack-c writes. Usage: consumer_msgpack URL */
#include <pubsub/msgpack.h>
#include <stdio.h>

static void on_message(pubsub *client, const struct pubsub_message *message, void *user)
{
    const char *why = "";
    msgpack_unpacked document;
    (void)client;
    msgpack_unpacked_init(&document);
    if (pubsub_message_unpack(message, 0, &document, &why) != PUBSUB_OK) printf("not shown: %s\n", why);
    else msgpack_object_print(stdout, document.data);
    printf("\n");
    msgpack_unpacked_destroy(&document);
    *(int *)user += 1;
}

int main(int argc, char **argv)
{
    char text[256];
    int received = 0;
    pubsub *client;
    const struct pubsub_options options = {.url = argc > 1 ? argv[1] : NULL};
    const struct pubsub_subscribe_options subscription = {.on_message = on_message, .user = &received};
    if (pubsub_open(&client, &options, text, sizeof text) != PUBSUB_OK) {
        fprintf(stderr, "%s\n", text);
        return 1;
    }
    msgpack_sbuffer buffer;
    msgpack_packer packer;
    msgpack_sbuffer_init(&buffer);
    msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
    msgpack_pack_array(&packer, 2);
    msgpack_pack_int(&packer, 42);
    msgpack_pack_nil(&packer);
    int error = pubsub_subscribe(client, "consumer/msgpack", &subscription, NULL);
    if (error == PUBSUB_OK) error = pubsub_publish_msgpack(client, "consumer/msgpack", &buffer, NULL, NULL);
    msgpack_sbuffer_destroy(&buffer);
    while (error >= 0 && received == 0) error = pubsub_wait(client, 10000) > 0 ? 0 : PUBSUB_ETIMEDOUT;
    if (error < 0) fprintf(stderr, "%s\n", pubsub_strerror(error));
    pubsub_close(client, 1000);
    return error < 0;
}
