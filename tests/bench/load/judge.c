/* What is right: order, content, topic. */
#include "run.h"
#include <stdlib.h>

#define NEVER UINT64_MAX /* no message of this lane is due here */

/* The first number of a publisher, from what it has sent on, that belongs to a lane: number % modulus == remainder. */
static uint64_t first_in_lane(uint64_t sent, uint64_t remainder, uint64_t modulus)
{
    return sent + (remainder + modulus - sent % modulus) % modulus;
}

static void prepare_rotation(struct run *run, struct subscriber *subscriber, uint32_t index)
{
    const struct plan *plan = run->plan;
    subscriber->next = allocate(plan->publishers * run->period, sizeof *subscriber->next);
    for (uint32_t p = 0; p < plan->publishers; p++) {
        for (uint64_t lane = 0; lane < run->period; lane++) {
            uint64_t begin = plan->level == LEVEL_STORED ? 0 : run->publishers[p].sent;
            subscriber->next[p * run->period + lane] = first_in_lane(begin, lane, run->period);
        }
    }
    for (uint32_t p = 0; plan->paired && p < plan->publishers;
         p++) { /* with a period of 1: topic (p + n * step) % topics */
        bool own = plan->step % plan->topics == 0;
        uint64_t remainder = (index + plan->topics - p % plan->topics) % plan->topics;
        if (own) subscriber->next[p] = p == index ? 0 : NEVER;
        else subscriber->next[p] = first_in_lane(0, remainder, plan->topics);
    }
}

void judge_prepare(struct run *run, struct subscriber *subscriber, uint32_t index)
{
    switch (run->plan->kind) {
    case PLAN_ROTATION: prepare_rotation(run, subscriber, index); return;
    case PLAN_RANDOM: return;
    case PLAN_MIXED: subscriber->next = allocate(run->plan->publishers, sizeof *subscriber->next); return;
    }
}

uint64_t *judge_random_lane(struct run *run, struct subscriber *subscriber, uint32_t publisher, uint64_t number)
{
    uint32_t key = plan_key(run->plan, publisher, number);
    bool own = key % run->plan->subscribers == (uint32_t)(subscriber - run->subscribers);
    return own ? &run->shared[(uint64_t)publisher * run->plan->topics + key] : NULL;
}

/* A number that is not the next one: messages are missing before it, or it is wrong. */
void judge_out_of_line(struct run *run, struct subscriber *subscriber, uint32_t publisher, uint64_t number,
                       uint64_t *next)
{
    uint64_t stride = run->stride > 0 ? run->stride : 1;
    bool right = next && number >= *next && number < run->publishers[publisher].sent && (number - *next) % stride == 0;
    if (!right) {
        run->wrong++;
        return;
    }
    if (run->stride > 0) {
        uint64_t skipped = (number - *next) / stride;
        uint64_t pardoned = skipped < subscriber->forgiven ? skipped : subscriber->forgiven;
        subscriber->skipped += skipped;
        subscriber->forgiven -= pardoned;
        if (!subscriber->apart) {
            run->skipped += skipped;
            run->forgiven -= pardoned < run->forgiven ? pardoned : run->forgiven;
        }
    }
    *next = number + stride;
    subscriber->received++;
}

bool judge_content(const struct run *run, const uint8_t *payload, size_t len)
{
    uint64_t word = load_u64(payload);
    if (len != plan_payload_bytes(run->plan, (uint32_t)(word >> NUMBER_BITS), word & NUMBER_MASK)) return false;
    return memcmp(payload + STAMP_BYTES, run->pattern, len - STAMP_BYTES) == 0;
}

bool judge_head(const struct run *run, const uint8_t *frame, const struct item *item)
{
    char topic[TOPIC_MAX];
    if (item->payload_len < STAMP_BYTES) return false;
    uint64_t word = load_u64(frame + item->payload_at), number = word & NUMBER_MASK;
    uint32_t publisher = (uint32_t)(word >> NUMBER_BITS);
    if (item->payload_len != plan_payload_bytes(run->plan, publisher, number)) return false;
    size_t topic_len = plan_topic(run->plan, publisher, number, topic);
    return item->topic_len == topic_len && memcmp(frame + item->topic_at, topic, topic_len) == 0;
}
