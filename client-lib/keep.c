/* What becomes of messages that the broker has not settled: the outbox file, and what a full outbox drops. */
#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool mps_client_is_request(uint64_t pid, const void *user)
{
    const struct pubsub *client = user;
    return mps_pendings_of_pid(&client->requests, pid) != NULL;
}

/* ---- the file -------------------------------------------------------------------------------------------------- */

static int judge_file_options(struct pubsub *client)
{
    const struct pubsub_options *options = &client->options;
    if (options->session_s == 0 || options->client_id == NULL)
        return mps_client_error(client, PUBSUB_EINVAL, "the option outbox_file needs session_s and client_id");
    if (options->clean)
        return mps_client_error(client, PUBSUB_EINVAL, "the options outbox_file and clean exclude each other");
    if (options->outbox_file_bytes > 0 && options->outbox_file_bytes < MPS_FILE_LIMIT_MIN)
        return mps_client_error(client, PUBSUB_EINVAL, "outbox_file_bytes is %zu, the least is %d",
                                options->outbox_file_bytes, MPS_FILE_LIMIT_MIN);
    return PUBSUB_OK;
}

static size_t standard_limit(size_t outbox_bytes)
{
    if (outbox_bytes > SIZE_MAX / 4) return SIZE_MAX;
    return 4 * outbox_bytes > MPS_FILE_LIMIT_MIN ? 4 * outbox_bytes : MPS_FILE_LIMIT_MIN;
}

int mps_client_open_file(struct pubsub *client, const char *path)
{
    const struct pubsub_options *options = &client->options;
    char why[128] = "out of memory";
    int rc = judge_file_options(client);
    if (rc != PUBSUB_OK) return rc;
    client->file = (struct mps_outbox_file){
        .fd = -1,
        .path = strdup(path),
        .id = options->client_id,
        .is_void = mps_client_is_request,
        .user = client,
        .sync = options->outbox_sync,
        .boot = client->boot,
        .limit = options->outbox_file_bytes > 0 ? options->outbox_file_bytes : standard_limit(options->outbox_bytes)};
    rc = client->file.path != NULL ? mps_outbox_file_open(&client->file, &client->outbox, why, sizeof why)
                                   : PUBSUB_ENOMEM;
    client->boot = client->file.boot;
    if (rc == PUBSUB_OK) return rc;
    return mps_client_error(client, rc, "cannot use the outbox file '%.255s': %s", path, why);
}

/* ---- dropping -------------------------------------------------------------------------------------------------- */

int mps_client_drop(struct pubsub *client, size_t need)
{
    struct mps_outbox *box = &client->outbox;
    struct pubsub_dropped *dropped = &client->dropped;
    uint64_t settled = box->settled_pid;
    int rc = mps_outbox_drop(box, need, mps_client_is_request, client, dropped);
    if (rc != PUBSUB_OK) return rc;
    bool in_file = mps_outbox_file_is_open(&client->file) && dropped->first_pid != 0;
    if (box->settled_pid > settled) {
        (void)mps_pendings_settle(&client->requests, settled + 1, box->settled_pid);
        if (in_file) mps_outbox_file_settle(&client->file, box);
    } else if (in_file) {
        mps_outbox_file_void(&client->file, box, dropped->first_pid, dropped->last_pid);
    }
    return PUBSUB_OK;
}

void mps_client_tell_dropped(struct pubsub *client)
{
    const struct pubsub_dropped dropped = client->dropped;
    bool inside = client->in_callback;
    if (dropped.count == 0 || client->telling) return;
    client->dropped = (struct pubsub_dropped){0};
    if (client->options.on_dropped == NULL) return;
    client->telling = true;
    mps_client_enter(client);
    client->options.on_dropped(client, &dropped, client->options.user);
    client->in_callback = inside;
    client->telling = false;
}
