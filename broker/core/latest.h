/* Where in a queue of policy `latest` the message of a key stands, by the number of its entry. Internal to the core. */
#ifndef BROKER_LATEST_H
#define BROKER_LATEST_H

#include "model.h"

struct latest *latest_new(uint64_t seed);
void latest_free(struct latest *latest);
bool latest_find(const struct latest *latest, const struct queue *queue, mps_view frame, uint64_t *number);
void latest_add(struct latest *latest, mps_view frame, uint64_t number);
void latest_move(struct latest *latest, mps_view frame, uint64_t from, uint64_t to);
void latest_forget(struct latest *latest, mps_view frame, uint64_t number);
uint64_t latest_bytes(const struct latest *latest);

#endif
