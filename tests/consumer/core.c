/* What a device writes that has the core alone: what it would send first. Usage: consumer_core */
#include <pubsub/core.h>
#include <stdio.h>

int main(void)
{
    static struct pubsub_core core;
    static unsigned char rx[PUBSUB_CORE_RX_MIN], tx[PUBSUB_CORE_TX_MIN];
    const struct pubsub_core_hello hello = {.client_id = "device-7"};
    const void *output;
    pubsub_core_init(&core, rx, sizeof rx, tx, sizeof tx);
    int error = pubsub_core_hello(&core, &hello);
    size_t len = pubsub_core_output(&core, &output);
    printf("%d %s\n", error, len > 0 ? "says hello" : "says nothing");
    return error;
}
