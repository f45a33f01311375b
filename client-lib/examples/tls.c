/* tls URL TOPIC TEXT [CA-FILE]: publishes a text over TLS by OpenSSL, to a broker whose certificate is checked against
 * the system's store or the file's certificates. With $PUBSUB_TOKEN it says who it is. */
#include <pubsub/tls_openssl.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int publish(const struct pubsub_options *options, const char *topic, const char *text)
{
    char error[384];
    pubsub *client;
    if (pubsub_open(&client, options, error, sizeof error) != PUBSUB_OK) {
        fprintf(stderr, "tls: %s\n", error);
        return 3;
    }
    const struct pubsub_publish_options publish = {.ack = PUBSUB_ACK_ROUTED, .raw = true};
    int rc = pubsub_publish(client, topic, text, strlen(text), &publish, NULL);
    if (rc == PUBSUB_OK) rc = pubsub_flush(client, 10000);
    if (rc != PUBSUB_OK) fprintf(stderr, "tls: %s\n", pubsub_error(client));
    pubsub_close(client, 1000);
    return rc == PUBSUB_OK ? 0 : 1;
}

int main(int argc, char **argv)
{
    char error[384];
    struct pubsub_tls *tls;
    if (argc != 4 && argc != 5) {
        fprintf(stderr, "usage: tls URL TOPIC TEXT [CA-FILE]\n");
        return 2;
    }
    const struct pubsub_tls_files files = {.ca = argv[4]};
    if (pubsub_tls_openssl(&tls, &files, error, sizeof error) != PUBSUB_OK) {
        fprintf(stderr, "tls: %s\n", error);
        return 2;
    }
    struct pubsub_options options = {.url = argv[1], .tls = tls};
    const char *token = getenv("PUBSUB_TOKEN");
    if (token != NULL) options.proof = (struct pubsub_proof){.token = token, .token_len = strlen(token)};
    int code = publish(&options, argv[2], argv[3]);
    pubsub_tls_openssl_free(tls);
    return code;
}
