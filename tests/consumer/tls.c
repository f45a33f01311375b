/* What a user of the installed library with TLS writes. Usage: consumer_tls URL, of a broker that has no TLS there. */
#include <pubsub/tls_openssl.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    char text[256];
    struct pubsub_tls *tls;
    pubsub *client;
    if (pubsub_tls_openssl(&tls, NULL, text, sizeof text) != PUBSUB_OK) {
        fprintf(stderr, "%s\n", text);
        return 1;
    }
    struct pubsub_options options = {.url = argc > 1 ? argv[1] : NULL, .tls = tls};
    int error = pubsub_open(&client, &options, text, sizeof text);
    printf("%d %s\n", error, error != PUBSUB_OK ? text : "connected");
    if (error == PUBSUB_OK) pubsub_close(client, 1000);
    pubsub_tls_openssl_free(tls);
    return 0;
}
