/* stored_sensor NAME COUNT [PAUSE_MS]: measures COUNT times and publishes each measurement, so that it is kept.
 *
 *     pubsubd --durable 'sensors/#' &  stored_sensor attic 10 100;  pubsub sub --all --until-live 'sensors/#'
 *
 * It ends when the broker has all of them on its disk. Meanwhile the broker may be away or restarted: the measurements
 * wait here, and each is stored once. Shows: acknowledgement at level stored, session, retry_first. */
#include <pubsub/pubsub.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SESSION_S 3600

struct sensor {
    unsigned long stored, refused;
};

static void on_puback(pubsub *client, const struct pubsub_puback *ack, void *user)
{
    struct sensor *sensor = user;
    unsigned long count = (unsigned long)(ack->last_pid - ack->first_pid + 1);
    (void)client;
    if (ack->code < 100) {
        sensor->stored += count;
        return;
    }
    sensor->refused += count;
    fprintf(stderr, "stored_sensor: %s\n", ack->text);
}

static void on_state(pubsub *client, enum pubsub_state state, const char *text, void *user)
{
    (void)client, (void)user;
    if (state == PUBSUB_LOST) fprintf(stderr, "stored_sensor: %s\n", text);
    if (state == PUBSUB_CONNECTED_AGAIN) fprintf(stderr, "stored_sensor: connected again\n");
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Lets the client work until the next measurement is due. */
static int pause_until(pubsub *client, uint64_t due_ms)
{
    int rc = PUBSUB_OK;
    for (uint64_t now = now_ms(); now < due_ms && rc >= 0; now = now_ms())
        rc = pubsub_wait(client, (int)(due_ms - now));
    return rc;
}

static int measure(pubsub *client, const char *name, unsigned long count, unsigned long pause_ms)
{
    const struct pubsub_publish_options options = {.ack = PUBSUB_ACK_STORED, .raw = true};
    char topic[PUBSUB_TOPIC_MAX + 1], value[32];
    uint64_t due_ms = now_ms();
    int rc = PUBSUB_OK;
    snprintf(topic, sizeof topic, "sensors/%s", name);
    for (unsigned long i = 1; i <= count && rc >= 0; i++) {
        int len = snprintf(value, sizeof value, "%lu", i); /* a real one would measure here */
        rc = pubsub_publish(client, topic, value, (size_t)len, &options, NULL);
        due_ms += pause_ms;
        if (rc == PUBSUB_OK) rc = pause_until(client, due_ms);
    }
    return rc >= 0 ? pubsub_flush(client, -1) : rc;
}

int main(int argc, char **argv)
{
    unsigned long count = argc >= 3 ? strtoul(argv[2], NULL, 10) : 0,
                  pause_ms = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
    if (argc < 3 || argc > 4 || count == 0 || strlen(argv[1]) > 200) {
        fprintf(stderr, "usage: stored_sensor NAME COUNT [PAUSE_MS]\n");
        return 2;
    }
    struct sensor sensor = {0, 0};
    const struct pubsub_options options = {.session_s = SESSION_S,
                                           .retry_first = true, /* measure even if the broker is not there yet */
                                           .on_puback = on_puback,
                                           .on_state = on_state,
                                           .user = &sensor};
    char error[256];
    pubsub *client;
    if (pubsub_open(&client, &options, error, sizeof error) != PUBSUB_OK) {
        fprintf(stderr, "stored_sensor: %s\n", error);
        return 3;
    }
    int rc = measure(client, argv[1], count, pause_ms);
    if (rc < 0) fprintf(stderr, "stored_sensor: %s\n", pubsub_error(client));
    printf("%lu measurements are stored\n", sensor.stored);
    pubsub_close(client, 1000);
    return rc < 0 || sensor.refused > 0 ? 1 : 0;
}
