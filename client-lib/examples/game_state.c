/* game_state serve PLAYERS TICKS [TICK_MS]: moves that many players around, each once a tick, 16 ms apart.
 * game_state view PLAYERS: draws one frame for each line of its input: where everybody is *now*, and how many older
 * positions it never had to look at. Ends with the input.
 *
 *     game_state serve 3 1000 &  while sleep 0.5; do echo; done | game_state view 3
 *
 * The broker keeps only the newest position of each player (`latest`, by key), and sends it when a frame asks for it
 * (credit, drained). So a slow viewer is never behind, and costs the server nothing. */
#include <pubsub/pubsub.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FEED "game/positions"
#define PLAYERS_MAX 64
#define TEXT_BYTES 80 /* of a position, as text: "player7 12,84" */

/* ---- the server ----------------------------------------------------------------------------------------------------
 */

static int serve(pubsub *client, unsigned players, unsigned long ticks, int tick_ms)
{
    int rc = PUBSUB_OK;
    for (unsigned long tick = 1; tick <= ticks && rc >= 0; tick++) {
        for (unsigned i = 0; i < players && rc >= 0; i++) {
            char key[24], position[TEXT_BYTES];
            snprintf(key, sizeof key, "player%u", i + 1);
            int len = snprintf(position, sizeof position, "%s %lu,%lu", key, tick, tick * (i + 1));
            const struct pubsub_publish_options options = {.ack = PUBSUB_ACK_ROUTED, .raw = true, .key = key};
            rc = pubsub_publish(client, FEED, position, (size_t)len, &options, NULL);
        }
        if (rc >= 0) rc = pubsub_wait(client, tick_ms); /* nothing is called back: it returns when the time is over */
    }
    return rc < 0 ? rc : pubsub_flush(client, 10000);
}

/* ---- the viewer ----------------------------------------------------------------------------------------------------
 */

struct view {
    uint32_t sid;
    uint64_t received; /* messages */
    uint64_t skipped;  /* positions since the last frame that were replaced by newer ones */
    bool drained;
    char positions[PLAYERS_MAX][TEXT_BYTES];
};

static void on_message(pubsub *client, const struct pubsub_message *message, void *user)
{
    struct view *view = user;
    unsigned number = 0;
    char text[TEXT_BYTES];
    (void)client;
    view->received++;
    snprintf(text, sizeof text, "%.*s", (int)message->payload_len, (const char *)message->payload);
    if (sscanf(text, "player%u ", &number) == 1 && number >= 1 && number <= PLAYERS_MAX)
        memcpy(view->positions[number - 1], text, sizeof text);
}

static void on_gap(pubsub *client, const struct pubsub_gap *gap, void *user)
{
    struct view *view = user;
    (void)client;
    view->skipped += gap->count;
}

static void on_mark(pubsub *client, uint32_t sid, enum pubsub_mark mark, void *user)
{
    struct view *view = user;
    (void)client, (void)sid;
    if (mark == PUBSUB_MARK_DRAINED) view->drained = true;
}

static void on_granted(pubsub *client, uint32_t sid, void *user)
{
    (void)client, (void)sid, (void)user;
    printf("watching " FEED "\n");
    fflush(stdout);
}

static void draw(struct view *view, unsigned long frame)
{
    printf("frame %lu:", frame);
    for (unsigned i = 0; i < PLAYERS_MAX; i++)
        if (view->positions[i][0] != '\0') printf(" [%s]", view->positions[i]);
    printf(" (%llu older positions skipped)\n", (unsigned long long)view->skipped);
    fflush(stdout);
    view->skipped = 0;
}

/* Waits for the end of a line of the input, while the connection is looked after. False at the end of the input, or
 * when the connection has ended: *rc. */
static bool next_frame(pubsub *client, int *rc)
{
    char c = '\0';
    while (*rc >= 0 && c != '\n') {
        struct pollfd fds[2] = {
            {.fd = STDIN_FILENO, .events = POLLIN},
            {.fd = pubsub_fd(client), .events = pubsub_poll_events(client)},
        };
        poll(fds, 2, pubsub_poll_timeout_ms(client));
        *rc = pubsub_process(client);
        if (fds[0].revents != 0 && read(STDIN_FILENO, &c, 1) <= 0) return false;
    }
    return *rc >= 0;
}

/* Gets the newest position of everybody: at most one of each is queued. Positions that were on their way already take
 * from the credit too; if they may have used it up, a second time gets the rest. */
static int fetch(pubsub *client, struct view *view, unsigned players)
{
    uint64_t allowed = view->received;
    int rc = PUBSUB_OK;
    for (int i = 0; i < 2 && rc >= 0 && view->received == allowed; i++) {
        view->drained = false;
        allowed = view->received + players;
        rc = pubsub_credit(client, view->sid, allowed, true);
        while (!view->drained && rc >= 0) rc = pubsub_wait(client, -1);
    }
    return rc;
}

static int watch(pubsub *client, unsigned players)
{
    static struct view view;
    const struct pubsub_subscribe_options options = {.policy = PUBSUB_LATEST,
                                                     .by_credit = true,
                                                     .on_message = on_message,
                                                     .on_gap = on_gap,
                                                     .on_mark = on_mark,
                                                     .on_granted = on_granted,
                                                     .user = &view};
    int rc = pubsub_subscribe(client, FEED, &options, &view.sid);
    for (unsigned long frame = 1; rc >= 0 && next_frame(client, &rc); frame++) {
        rc = fetch(client, &view, players);
        if (rc >= 0) draw(&view, frame);
    }
    return rc;
}

/* A whole number from min to max. */
static bool number(const char *text, unsigned long min, unsigned long max, unsigned long *value)
{
    char *end;
    *value = strtoul(text, &end, 10);
    return *text != '\0' && *end == '\0' && *value >= min && *value <= max;
}

int main(int argc, char **argv)
{
    char error[256];
    bool serves = argc >= 4 && argc <= 5 && strcmp(argv[1], "serve") == 0;
    bool views = argc == 3 && strcmp(argv[1], "view") == 0;
    unsigned long players, ticks = 0, tick_ms = 16;
    if ((!serves && !views) || !number(argv[2], 1, PLAYERS_MAX, &players) ||
        (serves && !number(argv[3], 1, 1000000000, &ticks)) || (argc == 5 && !number(argv[4], 0, 60000, &tick_ms))) {
        fprintf(stderr,
                "usage: game_state serve PLAYERS TICKS [TICK_MS] | game_state view PLAYERS, at most %d players\n",
                PLAYERS_MAX);
        return 2;
    }
    pubsub *client;
    if (pubsub_open(&client, NULL, error, sizeof error) != PUBSUB_OK) {
        fprintf(stderr, "game_state: %s\n", error);
        return 3;
    }
    int rc = serves ? serve(client, (unsigned)players, ticks, (int)tick_ms) : watch(client, (unsigned)players);
    if (rc < 0) fprintf(stderr, "game_state: %s\n", pubsub_error(client));
    pubsub_close(client, 1000);
    return rc < 0 ? 1 : 0;
}
