/* An outbox with a broker at the other end that checks what it is sent. Failures end the test (cmocka). */
#ifndef OUTBOX_RIG_H
#define OUTBOX_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../client-lib/outbox.h"
#include "../../client-lib/request.h"

enum { NONE = 0, RETAIN = 1, ACKED = 2 };

/* A broker that checks what it is sent, as PROTOCOL.md says for publishing. */
struct broker {
    uint8_t bytes[1 << 16];
    size_t len;
    char text[4096]; /* what came on this connection */
    uint64_t next_pid;
    uint32_t flags;
    unsigned last_plain; /* of messages "u1", "u2", ... that are not acknowledged, over all connections */
    void (*on_numbered)(char kind, unsigned number); /* NULL: is not told of these */
};

/* Every other time the short way, where that is possible. */
void publish(struct mps_outbox *box, const char *topic, uint32_t flags);
/* A message that must not be sent twice: its pid is even. */
void request(struct mps_outbox *box, const char *topic);
bool is_void(uint64_t pid, const void *user);
void unsubscribe(struct mps_outbox *box);

void broker_read(struct broker *broker); /* takes the frames that are complete */
/* It expects what the client has to begin with: the first publish that is not settled. */
void broker_new_connection(struct broker *broker, const struct mps_outbox *box);
/* Writes at most `max` bytes of what may be written. */
void write_some(struct mps_outbox *box, struct broker *broker, size_t max);
void connect_to(struct mps_outbox *box, struct broker *broker, uint64_t window);

#endif
