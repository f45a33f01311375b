/* writer URL FILE SYNC FIRST: publishes the numbers from FIRST on to kept/numbers, at level stored and with the outbox
 * file FILE, until it is killed; each that was accepted it then prints. SYNC: each, batch. writer URL FILE SYNC: sends
 * what the file has, ends when all is settled, and prints how many were refused. */
#include <pubsub/pubsub.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static unsigned long refused;

static void on_puback(pubsub *client, const struct pubsub_puback *ack, void *user)
{
    (void)client, (void)user;
    if (ack->code >= 100) refused++;
}

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "writer: %s: %s\n", what, why);
    return 1;
}

/* Whole or not at all: a pipe takes so little at once. */
static int print(unsigned long number)
{
    char line[32];
    int len = snprintf(line, sizeof line, "%lu\n", number);
    return write(1, line, (size_t)len) == len ? PUBSUB_OK : PUBSUB_ELOST;
}

static int publish(pubsub *client, unsigned long number)
{
    char text[24];
    const struct pubsub_publish_options stored = {.ack = PUBSUB_ACK_STORED};
    int len = snprintf(text, sizeof text, "?%lu", number);
    text[0] = (char)(0xa0 + len - 1); /* a msgpack str */
    int rc = pubsub_publish(client, "kept/numbers", text, (size_t)len, &stored, NULL);
    return rc == PUBSUB_OK ? print(number) : rc;
}

int main(int argc, char **argv)
{
    char error[1024];
    pubsub *client;
    if (argc < 4 || argc > 5) return fail("usage", "writer URL FILE each|batch [FIRST]");
    const struct pubsub_options options = {.url = argv[1],
                                           .client_id = "writer",
                                           .session_s = 3600,
                                           .retry_first = true,
                                           .reconnect_max_ms = 50,
                                           .outbox_file = argv[2],
                                           .outbox_file_bytes = 16384, /* so that it is written anew, too */
                                           .outbox_sync =
                                               strcmp(argv[3], "each") == 0 ? PUBSUB_SYNC_EACH : PUBSUB_SYNC_BATCH,
                                           .on_puback = on_puback};
    if (pubsub_open(&client, &options, error, sizeof error) != PUBSUB_OK) return fail("open", error);
    if (argc == 4) {
        int rc = pubsub_flush(client, -1);
        if (rc != PUBSUB_OK) return fail("flush", pubsub_error(client));
        printf("%lu refused\n", refused);
        pubsub_close(client, 1000);
        return 0;
    }
    for (unsigned long number = strtoul(argv[4], NULL, 10);; number++) {
        int rc = publish(client, number);
        if (rc == PUBSUB_OK && number % 4 == 0) rc = pubsub_wait(client, number % 16 == 0);
        if (rc < 0) return fail("publish", pubsub_error(client));
    }
}
