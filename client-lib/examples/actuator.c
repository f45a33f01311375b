/* actuator NAME OUTPUT STATE: does what is published to commands/NAME, until it is interrupted: each command is a
 * number from 0 to 100, which it writes to the file OUTPUT.
 *
 *     pubsubd --durable 'commands/#' &  actuator valve /sys/class/pwm/pwm0/duty_cycle valve.state &
 *     pubsub pub -j --ack stored commands/valve 40
 *
 * A command is acknowledged when it was done. Whatever ends before, this program, the broker or the link, it comes
 * again, also after days. So one can come that was done: what it did last stands in the file STATE. Only if it dies
 * between doing a command and writing that down it does it twice; therefore a command says where to go, not how far.
 * Shows: durable subscription, acknowledging, "again" and "never", pubsub_wake(). */
#include <pubsub/pubsub.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SESSION_S (30 * 24 * 3600) /* for so long it may be away */
#define AGAIN_MS 500

struct actuator {
    const char *name, *output, *state;
    uint64_t stream, seq; /* of the last command that it did, or that was done before */
    bool refused;
};

static volatile sig_atomic_t stopping;
static pubsub *volatile awake; /* whom a signal wakes */

static void on_signal(int number)
{
    (void)number;
    stopping = 1;
    if (awake != NULL) pubsub_wake(awake);
}

static bool complain(const char *path)
{
    fprintf(stderr, "actuator: cannot write '%s': %s\n", path, strerror(errno));
    return false;
}

static bool write_file(const char *path, const char *text, bool to_the_disk)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && (!to_the_disk || fsync(fd) == 0);
    if (fd >= 0 && close(fd) != 0) ok = false;
    return ok || complain(path);
}

/* Beside, and renamed: after a power failure the old state is there, or the new one, never half of it. */
static bool remember(struct actuator *actuator, const struct pubsub_message *command)
{
    char text[64], beside[512];
    snprintf(text, sizeof text, "%" PRIu64 " %" PRIu64 "\n", command->stream, command->seq);
    snprintf(beside, sizeof beside, "%s.new", actuator->state);
    if (!write_file(beside, text, true)) return false;
    if (rename(beside, actuator->state) != 0) return complain(actuator->state);
    actuator->stream = command->stream;
    actuator->seq = command->seq;
    return true;
}

static void recall(struct actuator *actuator)
{
    FILE *file = fopen(actuator->state, "r");
    if (file == NULL) return; /* the first time */
    if (fscanf(file, "%" SCNu64 " %" SCNu64, &actuator->stream, &actuator->seq) != 2) actuator->stream = 0;
    fclose(file);
}

/* Done, or overtaken: one that went wrong comes again behind younger ones, and must not undo them. */
static bool is_past(const struct actuator *actuator, const struct pubsub_message *command)
{
    return command->redelivered && command->stream == actuator->stream && command->seq <= actuator->seq;
}

static bool act(struct actuator *actuator, int target)
{
    char text[8];
    snprintf(text, sizeof text, "%d\n", target);
    return write_file(actuator->output, text, false);
}

static void on_command(pubsub *client, const struct pubsub_message *command, void *user)
{
    struct actuator *actuator = user;
    const uint8_t *payload = command->payload; /* a small number is one byte of msgpack */
    const char *what = "done";
    int rc = PUBSUB_OK;
    if (command->stream == 0) { /* not of a durable topic: it can neither be acknowledged nor come again */
        what = "not durable";
    } else if (is_past(actuator, command)) {
        what = "past";
        rc = pubsub_ack_one(client, command->sid, command->stream, command->seq);
    } else if (command->payload_len != 1 || payload[0] > 100) {
        what = "no command";
        rc =
            pubsub_reject(client, command->sid, command->stream, command->seq); /* to $dead/, for somebody to look at */
    } else if (!act(actuator, payload[0]) || !remember(actuator, command)) {
        what = "went wrong";
        rc = pubsub_nack(client, command->sid, command->stream, command->seq, AGAIN_MS);
    } else {
        rc = pubsub_ack_one(client, command->sid, command->stream, command->seq);
    }
    printf("%" PRIu64 " %s\n", command->seq, what);
    if (rc != PUBSUB_OK) fprintf(stderr, "actuator: %s\n", pubsub_error(client));
}

/* Commands that the broker does not have any more: they were too old or too many, or its disk lost them. */
static void on_gap(pubsub *client, const struct pubsub_gap *gap, void *user)
{
    (void)client, (void)user;
    fprintf(stderr, "actuator: commands %" PRIu64 " to %" PRIu64 " are gone (%s)\n", gap->first, gap->last,
            gap->reason_name);
}

static void on_granted(pubsub *client, uint32_t sid, void *user)
{
    (void)sid;
    printf("%s waits%s\n", ((struct actuator *)user)->name, pubsub_resumed(client) ? " again" : "");
}

static void on_refusal(pubsub *client, const struct pubsub_refusal *refusal, void *user)
{
    (void)client;
    fprintf(stderr, "actuator: %s\n", refusal->text);
    ((struct actuator *)user)->refused = true;
}

int main(int argc, char **argv)
{
    if (argc != 4 || strlen(argv[1]) > 64 || strlen(argv[3]) > 500) {
        fprintf(stderr, "usage: actuator NAME OUTPUT STATE\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0); /* each line when it is due, also into a file */
    struct actuator actuator = {.name = argv[1], .output = argv[2], .state = argv[3]};
    recall(&actuator);
    const struct pubsub_options options = {.client_id = argv[1],
                                           .session_s = SESSION_S,
                                           .retry_first = true,
                                           .wakes = true,
                                           .on_refusal = on_refusal,
                                           .user = &actuator};
    char error[512], topic[PUBSUB_TOPIC_MAX + 1];
    pubsub *client;
    if (pubsub_open(&client, &options, error, sizeof error) != PUBSUB_OK) {
        fprintf(stderr, "actuator: %s\n", error);
        return 3;
    }
    awake = client;
    const struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    const struct pubsub_subscribe_options commands = {.from = PUBSUB_FROM_ALL, /* the first time; then where it stood */
                                                      .ack = PUBSUB_ACKS_EACH,
                                                      .durable = true,
                                                      .on_message = on_command,
                                                      .on_gap = on_gap,
                                                      .on_granted = on_granted,
                                                      .user = &actuator};
    snprintf(topic, sizeof topic, "commands/%s", argv[1]);
    int rc = pubsub_subscribe(client, topic, &commands, NULL);
    while (!stopping && !actuator.refused && (rc >= 0 || rc == PUBSUB_EINTR)) rc = pubsub_wait(client, -1);
    if (rc == PUBSUB_EINTR) rc = PUBSUB_OK;
    if (rc < 0) fprintf(stderr, "actuator: %s\n", pubsub_error(client));
    awake = NULL;               /* from here on nobody may wake it */
    pubsub_close(client, 1000); /* what was acknowledged is told before */
    return rc < 0 || actuator.refused ? 1 : 0;
}
