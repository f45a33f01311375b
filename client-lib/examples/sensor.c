/* sensor NAME SOURCE OUTBOX [PERIOD_MS [COUNT]]: every second (PERIOD_MS) reads a number from the file SOURCE and
 * publishes it to sensors/NAME, until it is interrupted, or has read COUNT times and all of that is stored.
 *
 *     pubsubd --durable 'sensors/#' &  sensor attic /sys/class/thermal/thermal_zone0/temp attic.outbox
 *
 * A reading that is printed is on the disk: here, in the file OUTBOX, until it is on the broker's. So the network, the
 * broker and this program may end at any moment, and it is stored, once. What may be lost is told: the oldest when
 * OUTBOX is full, and what a broker without room refused and this program has in memory only when it ends. Shows:
 * outbox_file, level stored, DROP_OLD, pubsub_wake(). */
#include <pubsub/pubsub.h>

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SESSION_S (30 * 24 * 3600) /* for so long the broker knows what it has of us already */
#define OUTBOX_BYTES (1 << 20)     /* about 22,000 readings: six hours, at one a second */
#define RECENT 4096                /* readings that may be refused before the first of them is taken: an hour */
#define AGAIN_MAX 10               /* of them in each period: enough to catch up, too few to be a flood */

struct reading {
    uint64_t pid, at_ms;
    int64_t value;
    bool refused;
};

struct sensor {
    const char *source;
    char topic[PUBSUB_TOPIC_MAX + 1];
    struct reading recent[RECENT];  /* each at its pid, modulo */
    uint64_t stored, refused, lost; /* refused: to be published again */
};

static volatile sig_atomic_t stopping;
static pubsub *volatile awake; /* whom a signal wakes */

static void on_signal(int number)
{
    (void)number;
    stopping = 1;
    if (awake != NULL) pubsub_wake(awake);
}

static uint64_t now_ms(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void put_number(unsigned char at[8], uint64_t number)
{
    for (int i = 7; i >= 0; i--, number >>= 8) at[i] = (unsigned char)number;
}

/* As {"at": ms, "value": number}. The time is the reading's own: it may come much later, and behind younger ones. */
static int publish(pubsub *client, struct sensor *sensor, struct reading reading)
{
    const struct pubsub_publish_options stored = {.ack = PUBSUB_ACK_STORED};
    unsigned char document[] = "\202\242at\317--------\245value\323--------"; /* msgpack, with the numbers left out */
    put_number(document + 5, reading.at_ms);
    put_number(document + 20, (uint64_t)reading.value);
    int rc = pubsub_publish(client, sensor->topic, document, sizeof document - 1, &stored, &reading.pid);
    if (rc != PUBSUB_OK) return rc;
    struct reading *place = &sensor->recent[reading.pid % RECENT];
    sensor->refused -= place->refused;
    sensor->lost += place->refused; /* for too long */
    *place = reading;
    return rc;
}

static int measure(pubsub *client, struct sensor *sensor)
{
    struct reading reading = {.at_ms = now_ms(CLOCK_REALTIME)};
    FILE *file = fopen(sensor->source, "r");
    int found = file != NULL ? fscanf(file, "%" SCNd64, &reading.value) : 0, rc = PUBSUB_OK;
    if (found != 1) fprintf(stderr, "sensor: cannot read a number from '%s'\n", sensor->source); /* perhaps next time */
    else rc = publish(client, sensor, reading);
    if (found == 1 && rc == PUBSUB_OK) printf("%" PRIu64 " %" PRId64 "\n", reading.at_ms, reading.value);
    if (file != NULL) fclose(file);
    return rc;
}

/* What was refused is settled: neither the outbox nor the broker has it. Most likely the broker's disk is full, which
 * ends some day. */
static int publish_refused(pubsub *client, struct sensor *sensor)
{
    int rc = PUBSUB_OK;
    for (int i = 0, again = 0; i < RECENT && again < AGAIN_MAX && rc == PUBSUB_OK; i++) {
        struct reading reading = sensor->recent[i];
        if (!reading.refused) continue;
        sensor->recent[i].refused = reading.refused = false;
        sensor->refused--;
        rc = publish(client, sensor, reading);
        again++;
    }
    return rc;
}

static void on_puback(pubsub *client, const struct pubsub_puback *ack, void *user)
{
    struct sensor *sensor = user;
    struct reading *reading = &sensor->recent[ack->first_pid % RECENT];
    bool refused = ack->code >= 100, known = reading->pid == ack->first_pid; /* else it is of an earlier run */
    (void)client;
    if (!refused) sensor->stored += ack->last_pid - ack->first_pid + 1;
    else if (known) reading->refused = true, sensor->refused++;
    else sensor->lost++;
    if (refused) fprintf(stderr, "sensor: refused%s: %s\n", known ? " for now" : " and lost", ack->text);
}

static void on_dropped(pubsub *client, const struct pubsub_dropped *dropped, void *user)
{
    (void)client;
    ((struct sensor *)user)->lost += dropped->count;
    fprintf(stderr, "sensor: lost %" PRIu64 " readings: the outbox is full\n", dropped->count);
}

static void on_state(pubsub *client, enum pubsub_state state, const char *text, void *user)
{
    (void)client, (void)user;
    if (state == PUBSUB_LOST) fprintf(stderr, "sensor: %s\n", text);
    if (state == PUBSUB_CONNECTED_AGAIN) fprintf(stderr, "sensor: connected again\n");
}

/* Between readings the client works and the process sleeps. A period that was missed is not made up for. */
static int run(pubsub *client, struct sensor *sensor, uint64_t period_ms, unsigned long count)
{
    int rc = PUBSUB_OK;
    for (unsigned long i = 0; count == 0 || i < count || pubsub_unacked(client) + sensor->refused > 0; i++) {
        uint64_t now = now_ms(CLOCK_MONOTONIC), due_ms = now + period_ms;
        rc = publish_refused(client, sensor);
        if (rc == PUBSUB_OK && (count == 0 || i < count)) rc = measure(client, sensor);
        for (; now < due_ms && !stopping && (rc >= 0 || rc == PUBSUB_EINTR); now = now_ms(CLOCK_MONOTONIC))
            rc = pubsub_wait(client, (int)(due_ms - now));
        if (rc == PUBSUB_EINTR) rc = PUBSUB_OK;
        if (stopping || rc < 0) break;
    }
    if (stopping && rc >= 0) rc = pubsub_process(client); /* takes the wake, if that is still to come */
    if (stopping && rc >= 0) rc = pubsub_flush(client, 1000);
    sensor->lost += sensor->refused;
    return rc == PUBSUB_ETIMEDOUT ? PUBSUB_OK : rc; /* what is left is in the file */
}

int main(int argc, char **argv)
{
    static struct sensor sensor; /* large for a stack */
    unsigned long period_ms = argc > 4 ? strtoul(argv[4], NULL, 10) : 1000,
                  count = argc > 5 ? strtoul(argv[5], NULL, 10) : 0;
    if (argc < 4 || argc > 6 || strlen(argv[1]) > 64 || period_ms > 3600000 || period_ms == 0 ||
        (argc > 5 && count == 0)) {
        fprintf(stderr, "usage: sensor NAME SOURCE OUTBOX [PERIOD_MS [COUNT]]\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0); /* each line when it is due, also into a file */
    sensor.source = argv[2];
    snprintf(sensor.topic, sizeof sensor.topic, "sensors/%s", argv[1]);
    const struct pubsub_options options = {.client_id = argv[1],
                                           .session_s = SESSION_S,
                                           .retry_first = true, /* it measures before the broker is there */
                                           .wakes = true,
                                           .outbox_bytes = OUTBOX_BYTES,
                                           .outbox_policy = PUBSUB_OUTBOX_DROP_OLD, /* the newest is worth most */
                                           .outbox_file = argv[3],
                                           .on_puback = on_puback,
                                           .on_dropped = on_dropped,
                                           .on_state = on_state,
                                           .user = &sensor};
    char error[512];
    pubsub *client;
    if (pubsub_open(&client, &options, error, sizeof error) != PUBSUB_OK) {
        fprintf(stderr, "sensor: %s\n", error);
        return 3;
    }
    awake = client;
    const struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    int rc = run(client, &sensor, period_ms, count);
    if (rc < 0) fprintf(stderr, "sensor: %s\n", pubsub_error(client));
    printf("%" PRIu64 " stored, %" PRIu64 " lost, %" PRIu64 " wait in %s\n", sensor.stored, sensor.lost,
           pubsub_unacked(client), argv[3]);
    awake = NULL; /* from here on nobody may wake it */
    pubsub_close(client, 1000);
    return rc < 0 || sensor.lost > 0 ? 1 : 0;
}
