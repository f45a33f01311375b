/* What is published and who is to get it, as a function of the publisher and its message's number alone: so that a
 * receiver can judge each message without a record of what was sent. */
#pragma once
#include "options.h"

struct mix;

enum plan_kind {
    PLAN_ROTATION, /* topics in turn, each to all subscribers or each to its own */
    PLAN_RANDOM,   /* a random subscription of many; each belongs to one subscriber */
    PLAN_MIXED,    /* popular and rare topics, overlapping patterns, payloads of many sizes (mix.h) */
};

struct plan {
    enum plan_kind kind;
    const struct protocol *protocol;
    uint32_t publishers, subscribers, payload_bytes;
    uint32_t topics; /* rotation: how many; random: subscriptions */
    uint32_t step;   /* rotation: topic of message n of publisher p is (p + n * step) % topics */
    bool paired;     /* rotation: subscriber i gets topic i only */
    bool everything; /* rotation: one wildcard subscription instead of one for each topic */
    bool wildcards;  /* random: the subscriptions are patterns, and each message has another topic */
    enum level level; /* stored: the topics are those of the stream KEPT */
    uint64_t seed;
    const struct mix *mix;
};

/* Each message goes to one subscriber only. */
static inline bool plan_has_owners(const struct plan *plan)
{
    return plan->kind == PLAN_RANDOM || plan->paired;
}

/* The number of a message's topic (random: of the subscription that it is for). */
uint32_t plan_key(const struct plan *plan, uint32_t publisher, uint64_t number);

/* Its topic, in the protocol's form, without a NUL. Returns the length, under TOPIC_MAX. */
size_t plan_topic(const struct plan *plan, uint32_t publisher, uint64_t number, char out[TOPIC_MAX]);

uint32_t plan_payload_bytes(const struct plan *plan, uint32_t publisher, uint64_t number);

/* How many subscriptions a subscriber has, and the pattern of each, with a NUL. */
uint32_t plan_subscriptions(const struct plan *plan, uint32_t subscriber);
bool plan_pattern(const struct plan *plan, uint32_t subscriber, uint32_t index,
                  char out[TOPIC_MAX]); /* true: wildcard */

/* The largest payload, and the mean. */
uint32_t plan_payload_max(const struct plan *plan);
uint32_t plan_payload_mean(const struct plan *plan);
