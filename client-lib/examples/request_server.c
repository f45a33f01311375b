/* request_server TOPIC FILE: answers what is asked at TOPIC, until it is interrupted: a request is a key, the answer is
 * what follows it, and a blank, in a line of FILE.
 *
 *     request_server settings device.conf &  pubsub req settings interval
 *
 * Several of them share the work: they are a group, and each request goes to one. When it is told to end, it answers
 * what was asked before; who asks in that very moment hears nothing, and asks again. Shows: group, reply, header,
 * must_route, drain, pubsub_wake(). */
#include <pubsub/pubsub.h>

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define END_MS 5000 /* for so long it tries to end well */

struct server {
    const char *file;
    uint64_t answered, in_vain;
    bool refused, drained;
};

static volatile sig_atomic_t stopping;
static pubsub *volatile awake; /* whom a signal wakes */

static void on_signal(int number)
{
    (void)number;
    stopping = 1;
    if (awake != NULL) pubsub_wake(awake);
}

/* The text of a payload that is a msgpack str of up to 255 bytes, or NULL. */
static const char *text_of(const struct pubsub_message *message, size_t *len)
{
    const uint8_t *payload = message->payload;
    size_t head = message->payload_len > 1 && payload[0] == 0xd9 ? 2 : 1;
    if (message->payload_len < head) return NULL;
    *len = head == 2 ? payload[1] : (size_t)(payload[0] & 0x1f);
    if (head == 1 && (payload[0] & 0xe0) != 0xa0) return NULL;
    return message->payload_len == head + *len ? (const char *)payload + head : NULL;
}

/* The value of a key, in line; or NULL. The file is read anew for each request, so that it may be changed at any time.
 */
static const char *look_up(const char *path, const char *key, size_t len, char *line, size_t cap)
{
    const char *value = NULL;
    FILE *file = fopen(path, "r");
    if (file == NULL) return NULL;
    while (value == NULL && fgets(line, (int)cap, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, key, len) == 0 && line[len] == ' ') value = line + len + 1;
    }
    fclose(file);
    return value;
}

static void on_request(pubsub *client, const struct pubsub_message *request, void *user)
{
    struct server *server = user;
    char line[512];
    uint8_t answer[2 + UINT8_MAX] = {0xd9}; /* a msgpack str, too */
    size_t len = 0, ignored;
    if (pubsub_message_reply_to(request, &ignored) == NULL) return; /* published, not asked */
    const char *key = text_of(request, &len), *value = NULL;
    if (key != NULL && len > 0) value = look_up(server->file, key, len, line, sizeof line);
    const struct pubsub_header error = {"error", key == NULL ? "a key is a text" : "there is no such key"};
    const struct pubsub_publish_options options = {.ack = PUBSUB_ACK_ROUTED, /* is anybody there to hear it? */
                                                   .must_route = true,
                                                   .headers = &error,
                                                   .headers_count = value == NULL};
    answer[1] = value != NULL ? (uint8_t)strnlen(value, UINT8_MAX) : 0;
    if (value != NULL) memcpy(answer + 2, value, answer[1]);
    int rc = pubsub_reply(client, request, answer, 2 + (size_t)answer[1], &options);
    if (rc != PUBSUB_OK) fprintf(stderr, "request_server: %s\n", pubsub_error(client));
}

static void on_puback(pubsub *client, const struct pubsub_puback *ack, void *user)
{
    struct server *server = user;
    (void)client;
    if (ack->code < 100) server->answered += ack->last_pid - ack->first_pid + 1;
    else server->in_vain++; /* most likely who asked has gone */
}

static void on_mark(pubsub *client, uint32_t sid, enum pubsub_mark mark, void *user)
{
    (void)client, (void)sid;
    if (mark == PUBSUB_MARK_DRAINED) ((struct server *)user)->drained = true;
}

static void on_granted(pubsub *client, uint32_t sid, void *user)
{
    (void)client, (void)sid, (void)user;
    printf("serving\n");
}

static void on_refusal(pubsub *client, const struct pubsub_refusal *refusal, void *user)
{
    (void)client;
    fprintf(stderr, "request_server: %s\n", refusal->text);
    if (refusal->sid != 0) ((struct server *)user)->refused = true;
}

/* What is on its way here is answered before the subscription ends, and every answer is with who asked. */
static int end_well(pubsub *client, uint32_t sid, const struct server *server)
{
    int rc = pubsub_process(client); /* takes the wake, if that is still to come */
    if (rc >= 0) rc = pubsub_credit(client, sid, 0, true);
    while (!server->drained && rc >= 0) {
        rc = pubsub_wait(client, END_MS);
        if (rc == 0) return PUBSUB_ETIMEDOUT; /* no connection, most likely */
    }
    if (rc >= 0) rc = pubsub_unsubscribe(client, sid);
    return rc >= 0 ? pubsub_flush(client, END_MS) : rc;
}

int main(int argc, char **argv)
{
    struct server server = {.file = argc == 3 ? argv[2] : NULL};
    const struct pubsub_options options = {
        .retry_first = true, .wakes = true, .on_puback = on_puback, .on_refusal = on_refusal, .user = &server};
    char error[512];
    pubsub *client;
    if (argc != 3) {
        fprintf(stderr, "usage: request_server TOPIC FILE\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0); /* each line when it is due, also into a file */
    if (pubsub_open(&client, &options, error, sizeof error) != PUBSUB_OK) {
        fprintf(stderr, "request_server: %s\n", error);
        return 3;
    }
    awake = client;
    const struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    const struct pubsub_subscribe_options requests = {
        .group = "servers", .on_message = on_request, .on_mark = on_mark, .on_granted = on_granted, .user = &server};
    uint32_t sid;
    int rc = pubsub_subscribe(client, argv[1], &requests, &sid);
    while (!stopping && !server.refused && (rc >= 0 || rc == PUBSUB_EINTR)) rc = pubsub_wait(client, -1);
    awake = NULL; /* from here on nobody may wake it */
    if (stopping && (rc >= 0 || rc == PUBSUB_EINTR)) rc = end_well(client, sid, &server);
    if (rc < 0) fprintf(stderr, "request_server: %s\n", pubsub_error(client));
    printf("%" PRIu64 " answered, %" PRIu64 " in vain\n", server.answered, server.in_vain);
    pubsub_close(client, 1000);
    return rc < 0 || server.refused ? 1 : 0;
}
