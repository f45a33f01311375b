/* replay PATTERN: prints everything that is kept of the topics that match, from the beginning, and ends when the
 * present is reached.
 *
 *     pubsubd --durable 'orders/#' &  pubsub pub --ack stored orders/1 hello;  replay 'orders/#'
 *
 * Each line is where it stands (stream:position), topic and payload. Shows: from, positions, gaps, on_mark. */
#include <pubsub/pubsub.h>

#include <inttypes.h>
#include <stdio.h>

struct replay {
    bool caught_up, refused;
};

static void on_message(pubsub *client, const struct pubsub_message *message, void *user)
{
    const struct replay *replay = user;
    (void)client;
    if (replay->caught_up || message->stream == 0) return; /* of the present */
    printf("%" PRIu64 ":%" PRIu64 " %.*s %.*s\n", message->stream, message->seq, (int)message->topic_len,
           message->topic, (int)message->payload_len, (const char *)message->payload);
}

static void on_gap(pubsub *client, const struct pubsub_gap *gap, void *user)
{
    (void)client, (void)user;
    if (gap->stream != 0)
        printf("%" PRIu64 ":%" PRIu64 "-%" PRIu64 " gone (%s)\n", gap->stream, gap->first, gap->last, gap->reason_name);
}

static void on_mark(pubsub *client, uint32_t sid, enum pubsub_mark mark, void *user)
{
    struct replay *replay = user;
    (void)client, (void)sid;
    if (mark == PUBSUB_MARK_CAUGHT_UP) replay->caught_up = true;
}

/* Above all: nothing is kept of these topics. */
static void on_refusal(pubsub *client, const struct pubsub_refusal *refusal, void *user)
{
    struct replay *replay = user;
    (void)client;
    fprintf(stderr, "replay: %s\n", refusal->text);
    replay->refused = true;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: replay PATTERN\n");
        return 2;
    }
    struct replay replay = {false, false};
    const struct pubsub_options options = {.on_refusal = on_refusal, .user = &replay};
    char error[256];
    pubsub *client;
    if (pubsub_open(&client, &options, error, sizeof error) != PUBSUB_OK) {
        fprintf(stderr, "replay: %s\n", error);
        return 3;
    }
    const struct pubsub_subscribe_options subscribe = {
        .from = PUBSUB_FROM_ALL, .on_message = on_message, .on_gap = on_gap, .on_mark = on_mark, .user = &replay};
    int rc = pubsub_subscribe(client, argv[1], &subscribe, NULL);
    while (!replay.caught_up && !replay.refused && rc >= 0) rc = pubsub_wait(client, -1);
    if (rc < 0) fprintf(stderr, "replay: %s\n", pubsub_error(client));
    pubsub_close(client, 1000);
    return rc < 0 || replay.refused ? 1 : 0;
}
