#include "plan.h"
#include "mix.h"
#include "text.h"

enum { THIRD_LEVEL = 1000 };

static uint64_t randomness(const struct plan *plan, uint32_t publisher, uint64_t number)
{
    return scatter(plan->seed ^ ((uint64_t)publisher << 48 | number));
}

uint32_t plan_key(const struct plan *plan, uint32_t publisher, uint64_t number)
{
    switch (plan->kind) {
    case PLAN_ROTATION: return plan->topics == 1 ? 0 : (uint32_t)((publisher + number * plan->step) % plan->topics);
    case PLAN_RANDOM: return scale_u32(randomness(plan, publisher, number), plan->topics);
    case PLAN_MIXED: return mix_topic(plan->mix, randomness(plan, publisher, number));
    }
    return 0;
}

static size_t put_level(const struct plan *plan, char *out, uint32_t number)
{
    out[0] = plan->protocol->separator;
    return 1 + put_decimal(out + 1, number);
}

size_t plan_topic(const struct plan *plan, uint32_t publisher, uint64_t number, char out[TOPIC_MAX])
{
    uint32_t key = plan_key(plan, publisher, number);
    size_t at = 0;
    switch (plan->kind) {
    case PLAN_ROTATION:
        at = put_string(out, plan->level == LEVEL_STORED ? KEPT : "bench");
        at += put_level(plan, out + at, key);
        return at;
    case PLAN_RANDOM:
        out[at++] = 'r';
        at += put_level(plan, out + at, key);
        if (!plan->wildcards) return at;
        at += put_level(plan, out + at, scale_u32(randomness(plan, publisher, number) << 32, THIRD_LEVEL));
        out[at++] = plan->protocol->separator;
        out[at++] = 't';
        return at;
    case PLAN_MIXED:
        out[at++] = 'm';
        at += put_level(plan, out + at, key % MIX_WIDTH);
        at += put_level(plan, out + at, key / MIX_WIDTH);
        return at;
    }
    return at;
}

uint32_t plan_payload_bytes(const struct plan *plan, uint32_t publisher, uint64_t number)
{
    if (plan->kind != PLAN_MIXED) return plan->payload_bytes;
    return plan->mix->sizes[(randomness(plan, publisher, number) >> 8) % MIX_SIZES];
}

uint32_t plan_subscriptions(const struct plan *plan, uint32_t subscriber)
{
    switch (plan->kind) {
    case PLAN_ROTATION: return plan->paired || plan->everything ? 1 : plan->topics;
    case PLAN_RANDOM: return (plan->topics - subscriber + plan->subscribers - 1) / plan->subscribers;
    case PLAN_MIXED: return 1;
    }
    return 0;
}

bool plan_pattern(const struct plan *plan, uint32_t subscriber, uint32_t index, char out[TOPIC_MAX])
{
    size_t at = 0;
    switch (plan->kind) {
    case PLAN_ROTATION:
        at = plan->everything ? put_string(out, plan->protocol->any) : put_string(out, "bench");
        if (!plan->everything) at += put_level(plan, out + at, plan->paired ? subscriber : index);
        out[at] = '\0';
        return plan->everything;
    case PLAN_RANDOM:
        out[at++] = 'r';
        at += put_level(plan, out + at, subscriber + index * plan->subscribers);
        if (plan->wildcards) {
            out[at++] = plan->protocol->separator;
            at += put_string(out + at, plan->protocol->one);
            out[at++] = plan->protocol->separator;
            out[at++] = 't';
        }
        out[at] = '\0';
        return plan->wildcards;
    case PLAN_MIXED: memcpy(out, plan->mix->patterns[subscriber], TOPIC_MAX); return true;
    }
    return false;
}

uint32_t plan_payload_max(const struct plan *plan)
{
    return plan->kind == PLAN_MIXED ? plan->mix->sizes[MIX_SIZES - 1] : plan->payload_bytes;
}

uint32_t plan_payload_mean(const struct plan *plan)
{
    if (plan->kind != PLAN_MIXED) return plan->payload_bytes;
    uint32_t sum = 0;
    for (uint32_t i = 0; i < MIX_SIZES; i++) sum += plan->mix->sizes[i];
    return sum / MIX_SIZES;
}
