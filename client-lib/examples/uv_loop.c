/* uv_loop TOPIC PERIOD_MS [CA-FILE]: publishes 1, 2, 3, ... on TOPIC, one each period, and prints what arrives there,
 * all on one libuv loop. Its broker may be away for a while. With CA-FILE it can speak TLS. Ends with SIGTERM. */
#include <pubsub/tls_openssl.h>
#include <pubsub/uv.h>

#include <stdio.h>
#include <stdlib.h>

struct program {
    struct pubsub_uv bus;
    uv_timer_t timer;
    uv_signal_t terminated, interrupted;
    const char *topic;
    unsigned count;
    int code; /* that the program ends with */
};

static void on_message(pubsub *client, const struct pubsub_message *message, void *user)
{
    (void)client, (void)user;
    printf("%.*s\n", (int)message->payload_len, (const char *)message->payload);
    fflush(stdout);
}

static void on_time(uv_timer_t *timer)
{
    struct program *program = timer->data;
    char text[16];
    int len = snprintf(text, sizeof text, "%u", ++program->count);
    const struct pubsub_publish_options options = {.raw = true};
    pubsub *client = pubsub_uv_client(&program->bus);
    if (pubsub_publish(client, program->topic, text, (size_t)len, &options, NULL) != PUBSUB_OK)
        fprintf(stderr, "uv_loop: %s\n", pubsub_error(client));
}

static void on_closed(struct pubsub_uv *bus)
{
    (void)bus; /* its memory would be freed here */
    printf("(closed)\n");
}

static void stop(struct program *program)
{
    pubsub_uv_close(&program->bus, 1000, on_closed);
    uv_timer_stop(&program->timer);
    uv_signal_stop(&program->terminated);
    uv_signal_stop(&program->interrupted);
}

static void on_signal(uv_signal_t *handle, int number)
{
    (void)number;
    stop(handle->data);
}

static void on_state(pubsub *client, enum pubsub_state state, const char *text, void *user)
{
    static const char *const names[] = {"", "connected", "lost", "connected again", "ended"};
    struct program *program = user;
    (void)client;
    printf("(%s: %s)\n", names[state], text);
    fflush(stdout);
    if (state != PUBSUB_ENDED) return;
    fprintf(stderr, "uv_loop: %s\n", text);
    program->code = 1;
    stop(program);
}

/* Starts all that runs on the loop. Returns false if it can't. */
static bool start(struct program *program, uv_loop_t *loop, const struct pubsub_options *options, uint64_t period_ms)
{
    char error[384];
    const struct pubsub_subscribe_options subscription = {.on_message = on_message};
    if (pubsub_uv_init(loop, &program->bus, options, error, sizeof error) != PUBSUB_OK) {
        fprintf(stderr, "uv_loop: %s\n", error);
        return false;
    }
    uv_timer_init(loop, &program->timer);
    uv_signal_init(loop, &program->terminated);
    uv_signal_init(loop, &program->interrupted);
    program->timer.data = program->terminated.data = program->interrupted.data = program;
    uv_timer_start(&program->timer, on_time, period_ms, period_ms);
    uv_signal_start(&program->terminated, on_signal, SIGTERM);
    uv_signal_start(&program->interrupted, on_signal, SIGINT);
    if (pubsub_subscribe(pubsub_uv_client(&program->bus), program->topic, &subscription, NULL) == PUBSUB_OK)
        return true;
    fprintf(stderr, "uv_loop: %s\n", pubsub_error(pubsub_uv_client(&program->bus)));
    stop(program);
    return false;
}

int main(int argc, char **argv)
{
    char error[384];
    struct pubsub_tls *tls = NULL;
    uv_loop_t *loop = uv_default_loop();
    long period_ms = argc == 3 || argc == 4 ? atol(argv[2]) : 0;
    if (period_ms <= 0) {
        fprintf(stderr, "usage: uv_loop TOPIC PERIOD_MS [CA-FILE]\n");
        return 2;
    }
    const struct pubsub_tls_files files = {.ca = argc == 4 ? argv[3] : NULL};
    if (argc == 4 && pubsub_tls_openssl(&tls, &files, error, sizeof error) != PUBSUB_OK) {
        fprintf(stderr, "uv_loop: %s\n", error);
        return 2;
    }
    struct program program = {.topic = argv[1]};
    const struct pubsub_options options = {.on_state = on_state, .user = &program, .tls = tls};
    if (!start(&program, loop, &options, (uint64_t)period_ms)) program.code = 3;
    else printf("(publishing on %s)\n", program.topic);
    fflush(stdout);
    uv_run(loop, UV_RUN_DEFAULT);
    pubsub_tls_openssl_free(tls);
    return program.code;
}
