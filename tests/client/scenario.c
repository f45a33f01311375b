/* scenario URL [whole]: does a bit of everything that a client can do, and prints what it saw, which is the same each
 * time, however its bytes travel. Over a descriptor (fd:N) it can't connect again; `whole` wants that as well. */
#include <pubsub/pubsub.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define MESSAGES 200
#define REQUESTS 30
#define LARGE (300 * 1000)
#define PATIENCE_MS 300000

struct scene {
    pubsub *client;
    unsigned received, answered, settled;
    bool granted, ended, again, refused;
};

static void fail(const struct scene *scene, const char *what)
{
    fprintf(stderr, "scenario: %s: %s\n", what, scene->client != NULL ? pubsub_error(scene->client) : "");
    exit(1);
}

static uint32_t checksum(const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    uint32_t sum = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < len; i++) sum = (sum ^ p[i]) * 16777619u;
    return sum;
}

static void on_message(pubsub *client, const struct pubsub_message *message, void *user)
{
    struct scene *scene = user;
    size_t len;
    const char *kind = pubsub_message_header(message, "kind", &len);
    (void)client;
    printf("message %.*s %zu %08x%s%s%.*s\n", (int)message->topic_len, message->topic, message->payload_len,
           checksum(message->payload, message->payload_len), message->retained ? " retained" : "",
           kind != NULL ? " kind=" : "", kind != NULL ? (int)len : 0, kind != NULL ? kind : "");
    scene->received++;
}

static void on_echo(pubsub *client, const struct pubsub_message *message, void *user)
{
    if (pubsub_reply(client, message, message->payload, message->payload_len, NULL) != PUBSUB_OK) fail(user, "reply");
}

static void on_reply(pubsub *client, uint64_t request, const struct pubsub_message *reply, int status, void *user)
{
    struct scene *scene = user;
    (void)client, (void)request;
    if (reply != NULL) printf("answer %.*s\n", (int)reply->payload_len, (const char *)reply->payload);
    else if (status != PUBSUB_OK) printf("no answer: %s\n", pubsub_strerror(status));
    scene->answered += reply == NULL;
}

static void on_puback(pubsub *client, const struct pubsub_puback *ack, void *user)
{
    struct scene *scene = user;
    (void)client;
    scene->settled += (unsigned)(ack->last_pid - ack->first_pid + 1);
    if (ack->code >= 100) printf("publish %" PRIu64 " refused with %u\n", ack->first_pid, ack->code);
}

static void on_refusal(pubsub *client, const struct pubsub_refusal *refusal, void *user)
{
    struct scene *scene = user;
    (void)client;
    printf("refused with %u\n", refusal->code);
    scene->refused = true;
}

static void on_state(pubsub *client, enum pubsub_state state, const char *text, void *user)
{
    struct scene *scene = user;
    (void)client, (void)text;
    if (state == PUBSUB_CONNECTED_AGAIN) scene->again = true;
}

static void on_granted(pubsub *client, uint32_t sid, void *user)
{
    struct scene *scene = user;
    (void)client, (void)sid;
    scene->granted = true;
}

static void on_mark(pubsub *client, uint32_t sid, enum pubsub_mark mark, void *user)
{
    struct scene *scene = user;
    (void)client, (void)sid;
    if (mark == PUBSUB_MARK_ENDED) scene->ended = true;
}

static bool got_all(const struct scene *scene, unsigned received, unsigned answered)
{
    return scene->received >= received && scene->answered >= answered;
}

/* Waits until so many messages and ends of requests have come, and all flags that are given are set. */
static void wait_for(struct scene *scene, unsigned received, unsigned answered, const bool *flag)
{
    while (!got_all(scene, received, answered) || (flag != NULL && !*flag)) {
        int rc = pubsub_wait(scene->client, PATIENCE_MS);
        if (rc <= 0 && rc != PUBSUB_EINTR) fail(scene, "wait");
    }
}

static uint32_t subscribe(struct scene *scene, const char *pattern, const struct pubsub_subscribe_options *options)
{
    uint32_t sid;
    scene->granted = false;
    if (pubsub_subscribe(scene->client, pattern, options, &sid) != PUBSUB_OK) fail(scene, "subscribe");
    wait_for(scene, 0, 0, options->from == PUBSUB_FROM_ALL ? &scene->refused : &scene->granted);
    return sid;
}

static void publish(struct scene *scene, const char *topic, const void *payload, size_t len,
                    const struct pubsub_publish_options *options)
{
    int rc;
    do rc = pubsub_publish(scene->client, topic, payload, len, options, NULL);
    while (rc == PUBSUB_EINTR);
    if (rc != PUBSUB_OK) fail(scene, "publish");
}

static void publish_many(struct scene *scene, const char *prefix, unsigned count)
{
    static uint8_t payload[LARGE];
    static const struct pubsub_header headers[] = {{"kind", "test"}};
    for (unsigned i = 0; i < sizeof payload; i++) payload[i] = (uint8_t)(i * i >> 3);
    for (unsigned i = 0; i < count; i++) {
        char topic[64];
        struct pubsub_publish_options options = {.ack = i % 3 == 0 ? PUBSUB_ACK_NONE : PUBSUB_ACK_ROUTED, .raw = true};
        if (i % 5 == 0) options.headers = headers, options.headers_count = 1;
        snprintf(topic, sizeof topic, "scene/%s/%u", prefix, i);
        publish(scene, topic, payload, i * 7 % 900, &options);
    }
    publish(scene, "scene/large", payload, sizeof payload, NULL);
}

static void ask(struct scene *scene)
{
    for (unsigned i = 0; i < REQUESTS; i++) {
        char text[16];
        const struct pubsub_request_options options = {.timeout_ms = PATIENCE_MS, .on_reply = on_reply, .user = scene};
        snprintf(text, sizeof text, "%u", i);
        const char *topic = i % 10 == 9 ? "nobody/there" : "echo";
        if (pubsub_request(scene->client, topic, text, strlen(text), &options, NULL) != PUBSUB_OK)
            fail(scene, "request");
        wait_for(scene, 0, i + 1, NULL); /* one after the other, so that the order is known */
    }
}

static void flush_all(struct scene *scene)
{
    int rc;
    do rc = pubsub_flush(scene->client, PATIENCE_MS);
    while (rc == PUBSUB_EINTR);
    if (rc != PUBSUB_OK) fail(scene, "flush");
}

static void make_mistakes(struct scene *scene)
{
    const struct pubsub_publish_options acked = {.ack = PUBSUB_ACK_STORED};
    printf("%d", pubsub_publish(scene->client, "a/+", "x", 1, NULL, NULL));
    printf(" %s\n", pubsub_error(scene->client));
    publish(scene, "scene/no/stream", "x", 1, &acked);
    flush_all(scene);
    scene->refused = false;
    const struct pubsub_subscribe_options history = {.from = PUBSUB_FROM_ALL, .user = scene};
    (void)subscribe(scene, "not/kept", &history);
}

static void run(struct scene *scene, bool whole)
{
    const struct pubsub_subscribe_options echo = {.on_message = on_echo, .on_granted = on_granted, .user = scene};
    const struct pubsub_subscribe_options all = {.on_message = on_message,
                                                 .on_granted = on_granted,
                                                 .on_mark = on_mark,
                                                 .max_msgs = UINT64_MAX,
                                                 .max_bytes = UINT64_MAX,
                                                 .user = scene};
    publish(scene, "scene/retained", "kept", 4,
            &(struct pubsub_publish_options){.ack = PUBSUB_ACK_ROUTED, .retain = true});
    flush_all(scene);
    (void)subscribe(scene, "echo", &echo);
    uint32_t sid = subscribe(scene, "scene/#", &all);
    wait_for(scene, 1, 0, NULL);
    publish_many(scene, "first", MESSAGES);
    wait_for(scene, MESSAGES + 2, 0, NULL);
    ask(scene);
    make_mistakes(scene);
    if (whole) { /* in silence, so that nothing is on its way */
        flush_all(scene);
        shutdown(pubsub_fd(scene->client), SHUT_RDWR);
        wait_for(scene, 0, 0, &scene->again);
        printf("connected again\n");
        publish_many(scene, "second", MESSAGES);
        wait_for(scene, 2 * MESSAGES + 4, 0, NULL); /* the retained one once more */
    }
    publish(scene, "scene/retained", "", 0, &(struct pubsub_publish_options){.retain = true});
    wait_for(scene, (whole ? 2 * MESSAGES + 4 : MESSAGES + 2) + 1, 0, NULL);
    flush_all(scene);
    if (pubsub_unsubscribe(scene->client, sid) != PUBSUB_OK) fail(scene, "unsubscribe");
    wait_for(scene, 0, 0, &scene->ended);
    printf("%u messages, %u answers, %u settled\n", scene->received, scene->answered, scene->settled);
}

int main(int argc, char **argv)
{
    struct scene scene = {.client = NULL};
    char error[1024];
    bool whole = argc == 3 && strcmp(argv[2], "whole") == 0;
    if (argc < 2 || (argc == 3 && !whole) || argc > 3) {
        fprintf(stderr, "usage: scenario URL [whole]\n");
        return 2;
    }
    const struct pubsub_options options = {.url = argv[1],
                                           .session_s = whole ? 60 : 0,
                                           .connect_ms = PATIENCE_MS,
                                           .on_state = on_state,
                                           .on_puback = on_puback,
                                           .on_refusal = on_refusal,
                                           .user = &scene};
    if (pubsub_open(&scene.client, &options, error, sizeof error) != PUBSUB_OK) {
        fprintf(stderr, "scenario: %s\n", error);
        return 1;
    }
    run(&scene, whole);
    pubsub_close(scene.client, PATIENCE_MS);
    return 0;
}
