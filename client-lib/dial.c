/* Which broker is next, and what connects to it if it is a descriptor that somebody else has connected. */
#include "client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void mps_client_aim(struct pubsub *client)
{
    const struct mps_target *target = &client->targets.list[client->targets.at];
    client->url = target->url;
    snprintf(client->url_text, sizeof client->url_text, "%s", target->text);
}

/* Who knows no TLS is told at once, not when the broker's turn comes. */
static int judge_tls(struct pubsub *client)
{
    const struct mps_targets *targets = &client->targets;
    for (size_t i = 0; i < targets->count && client->options.tls == NULL; i++)
        if (targets->list[i].url.tls)
            return mps_client_error(client, PUBSUB_EINVAL, "cannot connect to %s: this program has no TLS (option tls)",
                                    targets->list[i].text);
    return PUBSUB_OK;
}

int mps_client_take_url(struct pubsub *client, const char *urls)
{
    char standard[MPS_TARGETS_TEXT_MAX], text[MPS_ERROR_MAX];
    bool dials = client->options.on_dial != NULL;
    if (dials && urls != NULL)
        return mps_client_error(client, PUBSUB_EINVAL, "the options url and on_dial exclude each other");
    if (dials) urls = "fd:0"; /* which one is asked for each time */
    if (urls == NULL && pubsub_default_url(standard, sizeof standard) != PUBSUB_OK)
        return mps_client_error(client, PUBSUB_EINVAL, "PUBSUB_URL is longer than %zu bytes", sizeof standard - 1);
    int rc = mps_targets_parse(&client->targets, urls != NULL ? urls : standard, text, sizeof text);
    if (rc != PUBSUB_OK) return mps_client_error(client, rc, "%s", text);
    if (dials) snprintf(client->targets.list[0].text, sizeof client->targets.list[0].text, "on_dial's descriptor");
    mps_client_aim(client);
    return judge_tls(client);
}

void mps_client_note_address(struct pubsub *client, int error)
{
    size_t used = strlen(client->tried);
    if (client->address[0] == '\0') return;
    snprintf(client->tried + used, sizeof client->tried - used, "%s%s: %s", used > 0 ? ", " : "", client->address,
             strerror(error));
    client->address[0] = '\0';
}

int mps_client_dial(struct pubsub *client, int *fd)
{
    bool dials = client->options.on_dial != NULL, inside = client->in_callback;
    *fd = client->url.fd;
    if (dials) {
        client->in_callback = true;
        *fd = client->options.on_dial(client, client->options.user);
        client->in_callback = inside;
        if (*fd < 0) return -*fd;
    }
    int error = mps_link_adopt(*fd);
    if (error != 0 && dials) close(*fd);
    return error;
}
