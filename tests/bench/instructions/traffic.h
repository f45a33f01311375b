/* What a publisher sends in a scenario: bytes, cut into what one read takes. */
#ifndef INSTRUCTIONS_TRAFFIC_H
#define INSTRUCTIONS_TRAFFIC_H

#include <stddef.h>
#include <stdint.h>

#include "world.h"

#define BATCH_BYTES ((size_t)64 * 1024)

struct traffic {
    uint8_t *bytes;
    size_t len, cap;
    size_t *ends; /* of each piece, in bytes from the beginning */
    size_t ends_count, ends_cap;
};

void traffic_free(struct traffic *traffic);

/* Room at the end for one frame of at most `need` bytes, and taking it over. */
struct mps_out traffic_open(struct traffic *traffic, size_t need);
void traffic_add(struct traffic *traffic, const struct mps_out *frame);
void traffic_message(struct traffic *traffic, const char *topic, mps_view props, const void *payload, size_t len);

/* A piece ends here, if anything is in it. */
void traffic_cut(struct traffic *traffic);
/* Cuts all since the last cut into pieces of BATCH_BYTES, as a stream is, wherever its frames end. */
void traffic_cut_batches(struct traffic *traffic);

/* It comes from a peer, piece by piece, a turn after each. */
void traffic_send(const struct traffic *traffic, struct world *world, struct link *link);

#endif
