/* publish TOPIC TEXT: publishes one text and waits until the broker has put it into the queue of every subscriber. */
#include <pubsub/pubsub.h>

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* A text as a msgpack document: its head, then its bytes. Returns how many bytes, 0 if it is too long. */
static size_t pack_text(const char *text, unsigned char *out, size_t cap)
{
    size_t len = strlen(text);
    if (len > UINT16_MAX || cap < len + 3) return 0;
    out[0] = 0xda;
    out[1] = (unsigned char)(len >> 8);
    out[2] = (unsigned char)len;
    memcpy(out + 3, text, len);
    return len + 3;
}

static void on_puback(pubsub *client, const struct pubsub_puback *ack, void *user)
{
    (void)client, (void)user;
    if (ack->code < 200) printf("went to %llu subscriptions\n", (unsigned long long)ack->matched);
    else printf("refused: %s\n", ack->text);
}

int main(int argc, char **argv)
{
    unsigned char payload[UINT16_MAX + 3];
    size_t len = argc == 3 ? pack_text(argv[2], payload, sizeof payload) : 0;
    if (len == 0) {
        fprintf(stderr, "usage: publish TOPIC TEXT, at most 65535 bytes\n");
        return 2;
    }
    char error[256];
    pubsub *client;
    const struct pubsub_options options = {.on_puback = on_puback};
    if (pubsub_open(&client, &options, error, sizeof error) != PUBSUB_OK) {
        fprintf(stderr, "publish: %s\n", error);
        return 3;
    }
    const struct pubsub_publish_options acknowledged = {.ack = PUBSUB_ACK_ROUTED};
    int rc = pubsub_publish(client, argv[1], payload, len, &acknowledged, NULL);
    if (rc == PUBSUB_OK) rc = pubsub_flush(client, 5000);
    if (rc != PUBSUB_OK) fprintf(stderr, "publish: %s\n", pubsub_error(client));
    pubsub_close(client, 1000);
    return rc == PUBSUB_OK ? 0 : 1;
}
