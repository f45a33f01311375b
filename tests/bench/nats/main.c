/* Plain clients of a NATS server, on NATS' own C library as its users have it: what brokers that meet over NATS are
 * compared with. Prints one JSON object. bench_nats flow URL BYTES SECONDS WINDOW       one publishes, one subscribes;
 * at most WINDOW messages are under way bench_nats acks URL BYTES SECONDS WINDOW       one publishes to a replicated
 * stream, asynchronously, so many unacknowledged */
#include <nats/nats.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { NAME_MAX_LEN = 40, REPLICAS = 3, PAUSE_NS = 20000, PATIENCE_MS = 30000, PAYLOAD_MAX = 1 << 20 };

struct order {
    bool named;
    const char *url;
    int bytes;
    double seconds;
    int64_t window;
};

static const char stream_name[] = "bench", subject[] = "bench.a";
static char payload[PAYLOAD_MAX];

static void check(natsStatus status, const char *what)
{
    if (status == NATS_OK) return;
    fprintf(stderr, "bench_nats: %s: %s\n", what, natsStatus_GetText(status));
    exit(1);
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void pause_shortly(void)
{
    nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
}

static natsConnection *connect_to(const char *url)
{
    natsConnection *connection;
    check(natsConnection_ConnectTo(&connection, url), "connecting");
    return connection;
}

static void count(natsConnection *connection, natsSubscription *subscription, natsMsg *message, void *counter)
{
    (void)connection, (void)subscription;
    natsMsg_Destroy(message);
    atomic_fetch_add_explicit((_Atomic int64_t *)counter, 1, memory_order_relaxed);
}

static void flow(const struct order *order)
{
    _Atomic int64_t received = 0;
    natsConnection *publisher = connect_to(order->url), *subscriber = connect_to(order->url);
    natsSubscription *subscription;
    check(natsConnection_Subscribe(&subscription, subscriber, subject, count, &received), "subscribing");
    check(natsSubscription_SetPendingLimits(subscription, -1, -1), "lifting the limits of what waits");
    check(natsConnection_Flush(subscriber), "subscribing");
    int64_t sent = 0;
    double began = now_s(), ends = began + order->seconds;
    while ((sent & 63) != 0 || now_s() < ends) {
        if (sent - atomic_load(&received) >= order->window) {
            pause_shortly();
            continue;
        }
        check(natsConnection_Publish(publisher, subject, payload, order->bytes), "publishing");
        sent++;
    }
    check(natsConnection_FlushTimeout(publisher, PATIENCE_MS), "publishing");
    double patience = now_s() + PATIENCE_MS / 1000.0;
    while (atomic_load(&received) < sent && now_s() < patience) pause_shortly();
    double took = now_s() - began;
    int64_t came = atomic_load(&received);
    printf("{\"delivered\": %lld, \"lost\": %lld, \"seconds\": %.6f, \"delivered_per_s\": %.0f}\n", (long long)came,
           (long long)(sent - came), took, (double)came / took);
    natsSubscription_Destroy(subscription);
    natsConnection_Destroy(publisher);
    natsConnection_Destroy(subscriber);
}

static void note_failure(jsCtx *js, jsPubAckErr *error, void *failures)
{
    (void)js;
    (void)error; /* the library's */
    atomic_fetch_add((_Atomic int64_t *)failures, 1);
}

static void make_stream(jsCtx *js)
{
    jsStreamConfig config;
    check(jsStreamConfig_Init(&config), "making the stream");
    const char *subjects[] = {subject};
    config.Name = stream_name;
    config.Subjects = subjects;
    config.SubjectsLen = 1;
    config.Replicas = REPLICAS;
    check(js_AddStream(NULL, js, &config, NULL, NULL), "making the stream");
}

static void publish_stored(jsCtx *js, const struct order *order, int64_t number)
{
    char name[NAME_MAX_LEN];
    jsPubOptions options;
    check(jsPubOptions_Init(&options), "publishing");
    if (order->named) {
        snprintf(name, sizeof name, "a-publisher-%lld", (long long)number);
        options.MsgId = name;
    }
    check(js_PublishAsync(js, subject, payload, order->bytes, &options), "publishing");
}

static void acks(const struct order *order)
{
    _Atomic int64_t failures = 0;
    natsConnection *connection = connect_to(order->url);
    jsCtx *js;
    jsOptions options;
    check(jsOptions_Init(&options), "JetStream");
    options.PublishAsync.MaxPending = order->window;
    options.PublishAsync.StallWait = PATIENCE_MS;
    options.PublishAsync.ErrHandler = note_failure;
    options.PublishAsync.ErrHandlerClosure = &failures;
    check(natsConnection_JetStream(&js, connection, &options), "JetStream");
    make_stream(js);
    int64_t sent = 0;
    double began = now_s(), ends = began + order->seconds;
    for (; now_s() < ends; sent++) publish_stored(js, order, sent);
    jsPubOptions patience;
    check(jsPubOptions_Init(&patience), "waiting for acknowledgements");
    patience.MaxWait = PATIENCE_MS;
    check(js_PublishAsyncComplete(js, &patience), "waiting for acknowledgements");
    double took = now_s() - began;
    int64_t failed = atomic_load(&failures);
    printf("{\"acked\": %lld, \"failed\": %lld, \"seconds\": %.6f, \"acked_per_s\": %.0f}\n",
           (long long)(sent - failed), (long long)failed, took, (double)(sent - failed) / took);
    check(js_DeleteStream(js, stream_name, NULL, NULL), "removing the stream");
    jsCtx_Destroy(js);
    natsConnection_Destroy(connection);
}

int main(int argc, char **argv)
{
    bool is_flow = argc == 6 && strcmp(argv[1], "flow") == 0, is_named = argc == 6 && strcmp(argv[1], "named") == 0;
    if (argc != 6 || (!is_flow && !is_named && strcmp(argv[1], "acks") != 0)) {
        fprintf(stderr, "usage: bench_nats flow|acks|named URL BYTES SECONDS WINDOW\n");
        return 2;
    }
    const struct order order = {
        .named = is_named, .url = argv[2], .bytes = atoi(argv[3]), .seconds = atof(argv[4]), .window = atoll(argv[5])};
    if (order.bytes < 0 || order.bytes > PAYLOAD_MAX || order.seconds <= 0 || order.window < 1) {
        fprintf(stderr, "bench_nats: BYTES has to be from 0 to %d, SECONDS and WINDOW more than 0\n", PAYLOAD_MAX);
        return 2;
    }
    memset(payload, 'x', sizeof payload);
    if (is_flow) {
        flow(&order);
    } else {
        acks(&order);
    }
    nats_Close();
    return 0;
}
