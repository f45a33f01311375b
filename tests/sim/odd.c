/* What clients should not say, or say seldom. */
#include <string.h>

#include "client.h"

void odd_ping(struct client *client)
{
    uint8_t room[MPS_SMALL_FRAME_MAX];
    struct mps_out out = mps_out_open(room, sizeof room);
    struct action action = {.kind = ACT_PING, .token_len = (uint8_t)rng_below(client->scene->rng, MPS_TOKEN_MAX + 1)};
    memset(action.token, (int)rng_below(client->scene->rng, 256), action.token_len);
    mps_encode_ping(&out, &(struct mps_token){{action.token, action.token_len}});
    client_push(client, &out, &action);
    client->asked++;
}

/* More than the broker takes from one session in a turn: frames that cost nothing, or answers that nobody reads. */
static void write_flood(struct client *client)
{
    struct rng *rng = client->scene->rng;
    bool answered = rng_percent(rng, 50);
    uint32_t count = answered ? rng_between(rng, 500, 2500) : rng_between(rng, 5000, 20000);
    for (uint32_t i = 0; i < count && answered; i++) odd_ping(client);
    for (uint32_t i = 0; i < count && !answered; i++)
        client_push_bytes(client, BYTES("\x92\x0e\xc4\x00"), ACT_IGNORED, 0, 0);
    publisher_publish(client);
}

void odd_write(struct client *client)
{
    struct rng *rng = client->scene->rng;
    if (rng_percent(rng, 5)) {
        write_flood(client);
        return;
    }
    switch (rng_below(rng, 5)) {
    case 0: client_push_bytes(client, BYTES("\x94\x05\x01\x0c\x05"), ACT_REFUSED, MPS_BAD_OPTION, MPS_OP_ACK); break;
    case 1: client_push_bytes(client, BYTES("\x93\x06\x00\x05"), ACT_REFUSED, MPS_BAD_OPTION, MPS_OP_CREDIT); return;
    case 2: client_push_bytes(client, BYTES("\x92\x12\xc4\x01t"), ACT_REFUSED, MPS_AUTH_REFRESH, MPS_OP_AUTH); break;
    case 3: client_push_bytes(client, BYTES("\x93\x41\x01\x82\x01\x02\x03\x04"), ACT_IGNORED, 0, 0); return;
    case 4:
        client_push_bytes(client, BYTES("\x92\x0e\xc4\x01t"), ACT_IGNORED, 0, 0);
        return; /* a PONG that nobody asked for */
    }
    client->asked++;
}

/* What must not be sent. The broker knows at the last byte of each of these. */
void odd_fatal(struct client *client)
{
    switch (rng_below(client->scene->rng, 9)) {
    case 0: client_push_bytes(client, BYTES("\xc1"), ACT_FATAL, MPS_MALFORMED, 0); break;
    case 1: client_push_bytes(client, BYTES("\x05"), ACT_FATAL, MPS_MALFORMED, 0); break;
    case 2: client_push_bytes(client, BYTES("\x92\x02\xa1t"), ACT_FATAL, MPS_MALFORMED, 0); break;
    case 3: client_push_bytes(client, BYTES("\x92\x20\x00"), ACT_FATAL, MPS_UNKNOWN_OP, 0); break;
    case 4: client_push_bytes(client, BYTES("\x92\x04\x07"), ACT_FATAL, MPS_STATE, 0); break;
    case 5: client_push_bytes(client, BYTES("\x94\x01\xa3mps\x01\x80"), ACT_FATAL, MPS_STATE, 0); break;
    case 6: client_push_bytes(client, BYTES("\x93\x03\x00\x02"), ACT_FATAL, MPS_PID_ORDER, 0); break;
    case 7: client_push_bytes(client, BYTES("\x94\x02\xa1t\xc0\xc6\xff\xff\xff\xff"), ACT_FATAL, MPS_LIMIT, 0); break;
    case 8: client_push_bytes(client, BYTES("\x94\x02\xa1t\xc0\xa0"), ACT_FATAL, MPS_MALFORMED, 0); break;
    }
    client->over = true;
}

/* As the first thing on a connection: it is known to be wrong after `known` bytes. */
static void push_fatal_start(struct client *client, const char *bytes, size_t len, size_t known, uint32_t code)
{
    client_push_bytes(client, bytes, known, ACT_FATAL, code, 0);
    world_push(client->conn->link, bytes + known, len - known);
}

void odd_first(struct client *client)
{
    switch (rng_below(client->scene->rng, 4)) {
    case 0: push_fatal_start(client, BYTES("\x92\x0d\xc4\x00"), 1, MPS_MALFORMED); break;
    case 1: push_fatal_start(client, BYTES("GET / HTTP/1.1\r\n"), 1, MPS_MALFORMED); break;
    case 2: push_fatal_start(client, BYTES("\x94\x02\xa1t\xc0\xc4\x00"), 2, MPS_STATE); break;
    case 3: return; /* says nothing, until the handshake's time is up */
    }
    client->over = true;
}

void odd_early_bye(struct client *client, const uint8_t *bytes, size_t len)
{
    push_fatal_start(client, (const char *)bytes, len, 1, MPS_MALFORMED);
}
