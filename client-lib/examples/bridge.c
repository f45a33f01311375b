/* bridge NAME FROM FROM_URL TO TO_URL PATTERN: carries what is published under PATTERN from one broker to another,
 * until it is interrupted. FROM and TO are names for the two brokers.
 *
 *     pubsubd --durable 'site/#' ... (both) &  bridge north a tcp://a:7717 b tcp://b:7717 'site/#'
 *
 * A message is acknowledged to FROM when TO has acknowledged it as stored. So nothing that FROM has stored is lost,
 * whichever of the three ends; it may be stored twice in TO only if this program dies between the two acknowledgements.
 * Messages of topics without a stream go across as they come, like everything about them. Each message bears the
 * brokers that it was at, as headers "via/FROM", and is not carried to one of those. So there may be bridges in both
 * directions, and rings. Shows: durable subscription, filter, properties, two clients in one poll(). */
#include <pubsub/pubsub.h>

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define SESSION_S (30 * 24 * 3600) /* for so long it may be away */
#define WINDOW 1024                /* messages that are under way at once */
#define PROPS_MAX 8192
#define AGAIN_MS 1000

struct crossing {
    uint64_t pid, stream, seq; /* pid: at TO; 0: none */
};

struct bridge {
    pubsub *from, *to;
    const char *from_name;
    struct crossing window[WINDOW]; /* each at its pid, modulo: no more than that are unacknowledged */
    uint32_t sid;
    bool refused;
};

static volatile sig_atomic_t stopping;
static struct bridge *volatile awake; /* whom a signal wakes */

static void on_signal(int number)
{
    (void)number;
    stopping = 1;
    if (awake == NULL) return;
    pubsub_wake(awake->from);
    pubsub_wake(awake->to); /* it may be waiting for room there */
}

/* The message's properties with one header more, which is written at the end: as msgpack, a map's count stands in
 * front. Returns its length, or 0 if that is too much. */
static size_t props_via(const struct pubsub_message *message, const char *name, uint8_t out[PROPS_MAX])
{
    const uint8_t *props = message->props;
    size_t count = 0, head = 0, name_len = strlen(name) + 4;
    if (props != NULL && (props[0] & 0xf0) == 0x80) head = 1, count = props[0] & 0x0f;
    else if (props != NULL && props[0] == 0xde) head = 3, count = (size_t)(props[1] << 8 | props[2]);
    else if (props != NULL) return 0;
    size_t len = message->props_len - head;
    if (len + name_len + 6 > PROPS_MAX) return 0;
    out[0] = 0xde;
    out[1] = (uint8_t)((count + 1) >> 8);
    out[2] = (uint8_t)(count + 1);
    if (len > 0) memcpy(out + 3, props + head, len);
    out[3 + len] = 0xd9; /* the header's name, then an empty text */
    out[4 + len] = (uint8_t)name_len;
    snprintf((char *)out + 5 + len, name_len + 1, "via/%s", name);
    out[5 + len + name_len] = 0xa0;
    return len + name_len + 6;
}

static bool is_crossing(const struct bridge *bridge, const struct pubsub_message *message)
{
    for (size_t i = 0; i < WINDOW; i++) {
        const struct crossing *one = &bridge->window[i];
        if (one->pid != 0 && one->stream == message->stream && one->seq == message->seq) return true;
    }
    return false;
}

static void on_message(pubsub *from, const struct pubsub_message *message, void *user)
{
    struct bridge *bridge = user;
    char topic[PUBSUB_TOPIC_MAX + 1];
    uint8_t props[PROPS_MAX];
    uint64_t pid;
    if (is_crossing(bridge, message))
        return; /* FROM was away, and perhaps forgot that it had sent it; TO has yet to answer */
    const struct pubsub_publish_options options = {.ack = message->stream != 0 ? PUBSUB_ACK_STORED : PUBSUB_ACK_NONE,
                                                   .retain = message->retained,
                                                   .props = props,
                                                   .props_len = props_via(message, bridge->from_name, props)};
    snprintf(topic, sizeof topic, "%.*s", (int)message->topic_len, message->topic);
    int rc = options.props_len == 0 ? PUBSUB_ETOOBIG : PUBSUB_OK;
    if (rc == PUBSUB_OK) rc = pubsub_publish(bridge->to, topic, message->payload, message->payload_len, &options, &pid);
    if (rc == PUBSUB_OK && message->stream != 0)
        bridge->window[pid % WINDOW] = (struct crossing){pid, message->stream, message->seq};
    if (rc == PUBSUB_OK || rc == PUBSUB_EINTR) return; /* interrupted: it comes again the next time */
    fprintf(stderr, "bridge: %s: %s\n", topic, rc == PUBSUB_ETOOBIG ? pubsub_strerror(rc) : pubsub_error(bridge->to));
    if ((rc == PUBSUB_ETOOBIG || rc == PUBSUB_EINVAL) && message->stream != 0)
        pubsub_reject(from, message->sid, message->stream, message->seq);
}

/* What TO refuses comes again, later and so behind others: it may be full, or not know yet what we may publish. */
static void on_puback(pubsub *to, const struct pubsub_puback *ack, void *user)
{
    struct bridge *bridge = user;
    (void)to;
    if (ack->code >= 100) fprintf(stderr, "bridge: %s\n", ack->text);
    for (uint64_t pid = ack->first_pid; pid <= ack->last_pid; pid++) {
        struct crossing *one = &bridge->window[pid % WINDOW];
        if (one->pid != pid) continue;
        one->pid = 0;
        int rc = ack->code < 100 ? pubsub_ack_one(bridge->from, bridge->sid, one->stream, one->seq)
                                 : pubsub_nack(bridge->from, bridge->sid, one->stream, one->seq, AGAIN_MS);
        if (rc != PUBSUB_OK) fprintf(stderr, "bridge: %s\n", pubsub_error(bridge->from));
    }
}

/* Messages that FROM itself does not have any more: retention took them, or its disk. */
static void on_gap(pubsub *from, const struct pubsub_gap *gap, void *user)
{
    (void)from, (void)user;
    fprintf(stderr, "bridge: %llu messages were lost before they came here (%s)\n", (unsigned long long)gap->count,
            gap->reason_name);
}

static void on_granted(pubsub *from, uint32_t sid, void *user)
{
    (void)from, (void)sid, (void)user;
    printf("open\n");
}

static void on_refusal(pubsub *client, const struct pubsub_refusal *refusal, void *user)
{
    struct bridge *bridge = user;
    fprintf(stderr, "bridge: %s\n", refusal->text);
    if (client == bridge->from) bridge->refused = true; /* the subscription; else a message without a stream */
}

/* Both clients in one loop. Returns a negative code when one of them can't go on, and says why. */
static int run(struct bridge *bridge)
{
    pubsub *clients[2] = {bridge->from, bridge->to};
    int rc = PUBSUB_OK;
    while (!stopping && !bridge->refused && rc >= 0) {
        struct pollfd fds[3] = {{.fd = pubsub_wake_fd(bridge->from), .events = POLLIN}};
        int wait_ms = -1;
        for (int i = 0; i < 2; i++) {
            int its_ms = pubsub_poll_timeout_ms(clients[i]);
            fds[1 + i] = (struct pollfd){.fd = pubsub_fd(clients[i]), .events = pubsub_poll_events(clients[i])};
            if (its_ms >= 0 && (wait_ms < 0 || its_ms < wait_ms)) wait_ms = its_ms;
        }
        poll(fds, 3, wait_ms);
        for (int i = 0; i < 2 && rc >= 0; i++) {
            rc = pubsub_process(clients[i]);
            if (rc == PUBSUB_EINTR) rc = PUBSUB_OK;
            if (rc < 0) fprintf(stderr, "bridge: %s\n", pubsub_error(clients[i]));
        }
    }
    return rc;
}

static pubsub *connect_to(const char *id, const char *url, struct bridge *bridge)
{
    const struct pubsub_options options = {.url = url,
                                           .client_id = id,
                                           .session_s = SESSION_S,
                                           .retry_first = true,
                                           .wakes = true,
                                           .on_puback = on_puback,
                                           .on_refusal = on_refusal,
                                           .user = bridge};
    char error[512];
    pubsub *client = NULL;
    if (pubsub_open(&client, &options, error, sizeof error) != PUBSUB_OK) fprintf(stderr, "bridge: %s\n", error);
    return client;
}

int main(int argc, char **argv)
{
    static struct bridge bridge; /* large for a stack */
    char filter[128];
    if (argc != 7 || strlen(argv[2]) > 64 || strlen(argv[4]) > 64 || strpbrk(argv[4], "\"\\") != NULL) {
        fprintf(stderr, "usage: bridge NAME FROM FROM_URL TO TO_URL PATTERN\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0); /* each line when it is due, also into a file */
    bridge.from_name = argv[2];
    bridge.from = connect_to(argv[1], argv[3], &bridge);
    bridge.to = bridge.from != NULL ? connect_to(argv[1], argv[5], &bridge) : NULL;
    int rc = bridge.to != NULL ? PUBSUB_OK : PUBSUB_ECONNECT;
    snprintf(filter, sizeof filter, "not exists(@props.\"via/%s\")", argv[4]); /* judged by FROM: it does not travel */
    const struct pubsub_subscribe_options subscribe = {.from =
                                                           PUBSUB_FROM_ALL, /* the first time; then where it stood */
                                                       .retained = 1,       /* once, not each time it begins */
                                                       .filter = filter,
                                                       .ack = PUBSUB_ACKS_EACH,
                                                       .inflight = WINDOW,
                                                       .durable = true,
                                                       .on_message = on_message,
                                                       .on_gap = on_gap,
                                                       .on_granted = on_granted,
                                                       .user = &bridge};
    if (rc == PUBSUB_OK) {
        awake = &bridge;
        const struct sigaction action = {.sa_handler = on_signal};
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
        rc = pubsub_subscribe(bridge.from, argv[6], &subscribe, &bridge.sid);
        if (rc == PUBSUB_OK) rc = run(&bridge);
        else fprintf(stderr, "bridge: %s\n", pubsub_error(bridge.from));
        awake = NULL; /* from here on nobody may wake it */
    }
    if (rc == PUBSUB_OK && pubsub_process(bridge.to) >= 0)
        (void)pubsub_flush(bridge.to, 1000); /* what TO has not answered comes again the next time */
    pubsub_close(bridge.from, 1000);
    pubsub_close(bridge.to, 1000);
    return rc < 0 || bridge.refused ? 1 : 0;
}
