/* A queue as the specification describes it, written apart from the broker's: one message after the other in a plain
 * array, and in front of each (and behind the last) how many were lost there for which reason. Exact: what it holds is
 * what the broker must hold. Lengths are bytes of frames, times are of the world's clock. */
#ifndef SIM_QUEUE_MODEL_H
#define SIM_QUEUE_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

#define QUEUE_REASONS 13 /* GAP reasons are 1..12 */
#define QUEUE_NO_TTL UINT64_MAX
#define QUEUE_ANY_LENGTH UINT32_MAX

/* What was lost at one place and not told yet, by reason. */
struct losses {
    uint64_t count[QUEUE_REASONS];
};

struct queue_item {
    uint32_t message;   /* index in model.messages */
    uint32_t len;
    uint32_t key;       /* `latest` keeps one of each */
    uint64_t ttl_ms;    /* QUEUE_NO_TTL: for ever */
    uint64_t came_ms;
    uint64_t number;    /* how many matched before it */
    uint64_t batch;     /* equal and not 0: came at the same moment, and their order is open */
    struct losses before;
};

struct queue_expired {
    uint64_t died_ms;
    uint32_t len;
};

struct queue_model {
    enum mps_policy policy, then;
    uint64_t max_msgs, max_bytes, block_ms;
    struct queue_item *items; /* .first to .end */
    uint32_t first, end, cap;
    uint64_t bytes, matched, lost;
    struct losses behind;     /* the last message */
    struct queue_expired *expired; /* of late: the broker may take a moment to see it */
    uint32_t expired_count, expired_cap;
    bool gave_up;             /* has made a publisher wait too long, and sent nothing since */
};

enum queue_outcome {
    QUEUE_TAKEN,    /* it is queued, or lost without the queue's refusing it */
    QUEUE_DROPPED,  /* the queue refused it */
    QUEUE_OVERFLOW, /* policy close: BYE is due */
};

void queue_model_free(struct queue_model *queue);
static inline uint64_t queue_model_msgs(const struct queue_model *queue)
{
    return queue->end - queue->first;
}
bool queue_model_expired(const struct queue_item *item, uint64_t now_ms);
/* Messages whose time has passed become losses. */
void queue_model_sweep(struct queue_model *queue, uint64_t now_ms);
/* Whether a message of this length must wait (policy block). rx_max: QUEUE_ANY_LENGTH or the reader's. allowed: bytes
 * that the queue may hold now. */
bool queue_model_is_full_for(struct queue_model *queue, uint32_t len, uint32_t rx_max, uint64_t allowed,
                             uint64_t now_ms);
/* A message that matched. Of item are .message, .len, .key, .ttl_ms and .batch set. */
enum queue_outcome queue_model_push(struct queue_model *queue, struct queue_item item, uint32_t rx_max,
                                    uint64_t allowed, uint64_t now_ms);
/* How many messages, of how many bytes, have expired in the last `ms`. */
void queue_model_lag(const struct queue_model *queue, uint64_t now_ms, uint64_t ms, uint64_t *msgs,
                     uint64_t *bytes);
/* A message that matched and is not even judged, because its reader is about to be closed. */
enum queue_outcome queue_model_refuse(struct queue_model *queue);
/* The policy is `latest` from now on: what is queued is judged as if it came now, one by one. */
void queue_model_keep_latest(struct queue_model *queue);
/* New limits hold for what is queued, too: the oldest go. */
void queue_model_cut_down(struct queue_model *queue, uint64_t msgs, uint64_t bytes, enum mps_gap_reason reason);
/* Position i (.first to .end - 1) is sent: it leaves; what was lost before it must have been told. */
void queue_model_sent(struct queue_model *queue, uint32_t i);
/* Everything goes to another queue, whatever its limits. */
void queue_model_move(struct queue_model *to, struct queue_model *from);
void queue_model_lose(struct queue_model *queue, uint32_t i, enum mps_gap_reason reason);
/* Losses at the front, or behind everything if no message is queued. */
struct losses *queue_model_front(struct queue_model *queue);
uint64_t losses_sum(const struct losses *losses);

#endif
