#include "keep_stage.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "scratch.h"

char path[96];

int keep_set_up(void **state)
{
    if (stage_set_up(state) != 0) return -1;
    snprintf(path, sizeof path, "%s/client_keep.%ld", scratch_top(), (long)getpid()); /* it is synced very often */
    unlink(path);
    return 0;
}

int keep_tear_down(void **state)
{
    unlink(path);
    return stage_tear_down(state);
}

void on_dropped(pubsub *client, const struct pubsub_dropped *dropped, void *user)
{
    (void)client;
    stage_note(user, "dropped %llu %llu..%llu\n", (unsigned long long)dropped->count,
               (unsigned long long)dropped->first_pid, (unsigned long long)dropped->last_pid);
}

struct pubsub_options file_options(struct stage *stage)
{
    struct pubsub_options options = stage_options(stage);
    options.client_id = "device";
    options.session_s = 60;
    options.outbox_file = path;
    options.on_dropped = on_dropped;
    return options;
}

void open_client(struct stage *stage, const struct pubsub_options *options)
{
    char text[512] = "";
    int rc = pubsub_open(&stage->client, options, text, sizeof text);
    if (rc != PUBSUB_OK) fail_msg("%s", text);
}

void close_client(struct stage *stage)
{
    pubsub_close(stage->client, 0);
    stage->client = NULL;
    if (stage->peer >= 0) stage_hang_up(stage);
    for (int fd; (fd = accept(stage->listener, NULL, NULL)) >= 0;) close(fd); /* its attempts */
}

void welcome(struct stage *stage, const char *log)
{
    stage_accept(stage);
    stage_say_welcome(stage, 100, 1000);
    stage_wait_for_log(stage, log);
}

int publish_letter(struct stage *stage, char letter, enum pubsub_ack ack)
{
    static const uint8_t payload[200];
    const char topic[2] = {letter, '\0'};
    const struct pubsub_publish_options options = {.ack = ack};
    return pubsub_publish(stage->client, topic, payload, sizeof payload, &options, NULL);
}
