/* A scripted broker for a client, in one thread: the test plays the broker on the other end of the socket while it lets
 * the client work step by step. Failures end the test (cmocka). */
#ifndef CLIENT_STAGE_H
#define CLIENT_STAGE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pubsub/pubsub.h>

#include "wire.h"

#define PATIENCE_MS 20000 /* no test waits as long as this unless something is broken */

struct stage {
    char dir[64], url[128];
    int listener, peer;            /* the broker's ends; -1: none */
    pubsub *client;
    int (*work)(struct stage *stage, int timeout_ms); /* lets the client work; NULL: pubsub_wait() */
    const char *inbox;             /* what WELCOME gives; NULL: none */
    uint64_t epoch, last_pid;      /* likewise */
    bool resumed;                  /* likewise */
    char id[MPS_ID_MAX + 1];       /* what the last HELLO said */
    uint32_t session_s;            /* likewise */
    uint64_t boot;                 /* likewise */
    bool clean;                    /* likewise */
    char auth[16];                 /* likewise */
    uint8_t proof[128];            /* likewise: its raw value */
    size_t proof_len;
    uint8_t in[1 << 17];           /* what the client wrote and was not looked at yet */
    size_t in_len;
    char log[8192];                /* callbacks, one line each */
    uint64_t first_pid;            /* of the first acknowledged message on a connection, as its PUB says; 0: none yet */
    uint32_t flags;
    char reply_to[PUBSUB_TOPIC_MAX + 1]; /* of the last message that had one */
    uint8_t props[256];            /* of the last message */
    size_t props_len;
};

int stage_set_up(void **state);
int stage_listen_tcp(struct stage *stage); /* at a port of 127.0.0.1 instead, which it returns, or -1 */
int stage_tear_down(void **state);

/* Options of a client that finds this broker, with callbacks that write to the log; and of its subscriptions. */
struct pubsub_options stage_options(struct stage *stage);
struct pubsub_subscribe_options stage_callbacks(struct stage *stage);

__attribute__((format(printf, 2, 3))) void stage_note(struct stage *stage, const char *format, ...);
void stage_expect_log(struct stage *stage, const char *expected);   /* is exactly this now; empties it */
void stage_wait_for_log(struct stage *stage, const char *expected); /* lets the client work until then */

/* A client that is connected, with that publish window. */
void stage_open(struct stage *stage, struct pubsub_options options, uint64_t window);
void stage_accept(struct stage *stage); /* lets the client connect, and is the broker that it finds */
void stage_hang_up(struct stage *stage);
void stage_publish(struct stage *stage, const char *topic, enum pubsub_ack ack);

/* Sends to the client what was encoded, and empties it. */
void stage_say(struct stage *stage, struct mps_out *out);
void stage_say_welcome(struct stage *stage, uint64_t window, uint64_t max_payload);
void stage_say_bye(struct stage *stage, uint32_t code);
void stage_say_puback(struct stage *stage, uint64_t pid, uint32_t code);

/* Lets the client work until what it wrote, PUB frames left out, is `expected`. */
void stage_expect_frames(struct stage *stage, const char *expected);

int64_t stage_now_ms(void);

#endif
