/* chat ROOM NAME: a room for any number of people. Each line of the input goes to all others in the room; theirs are
 * printed. Who comes later sees what each of them said last. Ends with the input. Try it in two terminals:
 *
 *     chat lobby ann          chat lobby bob
 *
 * Shows: no_local, retained values, a will, a loop of one's own on two descriptors. */
#include <pubsub/pubsub.h>

#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A line that somebody else wrote must not steer our terminal. */
static void print_text(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        bool c1 = c == 0xc2 && i + 1 < len && (unsigned char)text[i + 1] < 0xa0;
        putchar(c < ' ' || c == 0x7f || c1 ? '?' : c);
    }
}

/* The topic is chat/ROOM/NAME. */
static void on_message(pubsub *client, const struct pubsub_message *message, void *user)
{
    size_t name = message->topic_len;
    (void)client, (void)user;
    while (name > 0 && message->topic[name - 1] != '/') name--;
    print_text(message->topic + name, message->topic_len - name);
    printf(": ");
    print_text(message->payload, message->payload_len);
    printf(message->retained ? " (earlier)\n" : "\n");
    fflush(stdout);
}

static void on_gap(pubsub *client, const struct pubsub_gap *gap, void *user)
{
    (void)client, (void)user;
    printf("(%llu lines were lost here: %s)\n", (unsigned long long)gap->count, gap->reason_name);
    fflush(stdout);
}

static void on_granted(pubsub *client, uint32_t sid, void *user)
{
    (void)client, (void)sid;
    printf("(you are in %s)\n", (const char *)user);
    fflush(stdout);
}

static int say(pubsub *client, const char *topic, const char *text, size_t len)
{
    const struct pubsub_publish_options options = {.ack = PUBSUB_ACK_ROUTED, .retain = true, .raw = true};
    return pubsub_publish(client, topic, text, len, &options, NULL);
}

/* Says what was typed, each line by itself. Returns false at the end of the input. */
static bool say_input(pubsub *client, const char *topic)
{
    static char text[4096];
    static size_t len; /* the beginning of a line whose end has not come yet */
    ssize_t n = read(STDIN_FILENO, text + len, sizeof text - len);
    if (n <= 0) return false;
    len += (size_t)n;
    char *end;
    while ((end = memchr(text, '\n', len)) != NULL || len == sizeof text) {
        size_t line = end != NULL ? (size_t)(end - text) : len, used = end != NULL ? line + 1 : line;
        if (line > 0 && say(client, topic, text, line) != PUBSUB_OK) return false;
        len -= used;
        memmove(text, text + used, len);
    }
    return true;
}

static int talk(pubsub *client, const char *topic)
{
    for (;;) {
        struct pollfd fds[2] = {
            {.fd = STDIN_FILENO, .events = POLLIN},
            {.fd = pubsub_fd(client), .events = pubsub_poll_events(client)},
        };
        poll(fds, 2, pubsub_poll_timeout_ms(client));
        int rc = pubsub_process(client);
        if (rc < 0) return rc;
        if (fds[0].revents != 0 && !say_input(client, topic)) break;
    }
    int rc = say(client, topic, "(left)", 6);
    return rc == PUBSUB_OK ? pubsub_flush(client, 5000) : rc;
}

int main(int argc, char **argv)
{
    char topic[PUBSUB_TOPIC_MAX + 1], pattern[PUBSUB_TOPIC_MAX + 1], error[256];
    bool fine = argc == 3 && strpbrk(argv[1], "/+#") == NULL && strpbrk(argv[2], "/+#") == NULL;
    if (fine) fine = snprintf(topic, sizeof topic, "chat/%s/%s", argv[1], argv[2]) < (int)sizeof topic;
    if (fine) fine = snprintf(pattern, sizeof pattern, "chat/%s/+", argv[1]) < (int)sizeof pattern;
    if (!fine) {
        fprintf(stderr, "usage: chat ROOM NAME, 249 bytes at most together, without '/', '+' and '#'\n");
        return 2;
    }
    static const unsigned char raw_bytes[] = {0x81, 0x03, 0x00}; /* {3: 0}: as .raw says of a publish */
    const struct pubsub_options options = {
        .will =
            {.topic = topic, .payload = "(gone)", .payload_len = 6, .props = raw_bytes, .props_len = 3, .retain = true},
    };
    pubsub *client;
    if (pubsub_open(&client, &options, error, sizeof error) != PUBSUB_OK) {
        fprintf(stderr, "chat: %s\n", error);
        return 3;
    }
    const struct pubsub_subscribe_options subscribe = {
        .no_local = true, .on_message = on_message, .on_gap = on_gap, .on_granted = on_granted, .user = argv[1]};
    int rc = pubsub_subscribe(client, pattern, &subscribe, NULL);
    if (rc == PUBSUB_OK) rc = talk(client, topic);
    if (rc < 0) fprintf(stderr, "chat: %s\n", pubsub_error(client));
    pubsub_close(client, 1000);
    return rc < 0 ? 1 : 0;
}
