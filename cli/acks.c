#include "acks.h"

#include "cli.h"
#include "wire.h"

static bool set_durable(void *into, const char *value)
{
    struct ack_options *options = into;
    const char *why = mps_id_error(mps_text(value));
    if (why) {
        complain("--durable %s: not a name: %s", value, why);
        return false;
    }
    options->durable = value;
    return options->ack = true;
}

static bool set_ack(void *into, const char *value)
{
    (void)value;
    return ((struct ack_options *)into)->ack = true;
}

static bool set_within(void *into, const char *value)
{
    struct ack_options *options = into;
    uint64_t ms;
    options->option = "--ack-within";
    if (!option_time("--ack-within", value, 100, UINT32_MAX, &ms)) return false;
    options->within_ms = (uint32_t)ms;
    return true;
}

static bool set_tries(void *into, const char *value)
{
    struct ack_options *options = into;
    unsigned long long tries;
    options->option = "--max-tries";
    if (!option_number("--max-tries", value, 1, &tries)) return false;
    if (tries > UINT32_MAX) {
        complain("--max-tries %s: must be at most %u", value, UINT32_MAX);
        return false;
    }
    options->tries_max = (uint32_t)tries;
    return true;
}

static bool set_retry(void *into, const char *value)
{
    struct ack_options *options = into;
    uint64_t ms;
    options->option = "--retry";
    if (!option_time("--retry", value, 1, ACK_RETRY_MAX_MS, &ms)) return false;
    options->retry_ms = (uint32_t)ms;
    return true;
}

static bool set_forget(void *into, const char *value)
{
    (void)value;
    return ((struct ack_options *)into)->forget = true;
}

const struct option_row ack_option_rows[] = {
    {0, "ack", NULL, set_ack,
     "the broker is told what is done: what was printed, or whose CMD ended\n"
     "with 0. What is not comes again, to another of the group if there is\n"
     "one; default: it counts as done when it is sent"},
    {0, "durable", "NAME", set_durable,
     "the broker keeps under NAME what is done, also over restarts of both\n"
     "sides, and the next run with the same NAME and patterns goes on there,\n"
     "wherever it is told to begin. NAME is this client's --id, too: one at\n"
     "a time has it. It means --ack. It is kept for 30 days after the last\n"
     "run, or as long as the broker's operator allows"},
    {0, "forget", NULL, set_forget,
     "with --durable and nothing else: end what is kept under NAME; what is\n"
     "done in a --group is the group's, and stays as long"},
    {0, "ack-within", "TIME", set_within,
     "what is not done after TIME comes again, from 100ms on; default 30s, with\n"
     "--exec 10m"},
    {0, "max-tries", "N", set_tries,
     "what was sent N times and not done is given up: it goes to the topic\n"
     "$dead/TOPIC, and is told as lost (max_tries); default: never"},
    {0, "retry", "TIME", set_retry,
     "with --exec: after its CMD failed a message comes again after TIME, and\n"
     "then after twice that each time, up to 5m; default 1s"},
    {0, NULL, NULL, NULL, NULL},
};

bool ack_try_again(const struct ack_options *options, uint32_t tries, uint64_t *delay_ms)
{
    if (tries == 0) tries = 1;
    *delay_ms = 0;
    if (options->tries_max > 0 && tries >= options->tries_max) return false;
    uint64_t ms = options->retry_ms ? options->retry_ms : ACK_RETRY_MS;
    for (uint32_t i = 1; i < tries && ms < ACK_RETRY_MAX_MS; i++) ms *= 2;
    *delay_ms = ms < ACK_RETRY_MAX_MS ? ms : ACK_RETRY_MAX_MS;
    return true;
}

/* ---- what was written ---- */

static struct ack_place *places_of(struct acks *acks, size_t *count)
{
    *count = acks->places.len / sizeof(struct ack_place);
    return (struct ack_place *)(void *)acks->places.data;
}

void acks_note(struct acks *acks, const struct pubsub_message *message)
{
    if (message->stream == 0) return;
    size_t count;
    struct ack_place *places = places_of(acks, &count);
    for (size_t i = 0; i < count; i++) {
        if (places[i].sid != message->sid || places[i].stream != message->stream) continue;
        /* One that comes again may be an earlier one. */
        if (places[i].seq < message->seq) places[i].seq = message->seq;
        return;
    }
    const struct ack_place place = {.sid = message->sid, .stream = message->stream, .seq = message->seq};
    buffer_append(&acks->places, &place, sizeof place);
}

void acks_send(struct acks *acks, pubsub *client)
{
    size_t count;
    const struct ack_place *places = places_of(acks, &count);
    for (size_t i = 0; i < count; i++) {
        if (pubsub_ack_upto(client, places[i].sid, places[i].stream, places[i].seq) != PUBSUB_OK) break;
    }
    acks->places.len = 0;
}

void acks_free(struct acks *acks)
{
    buffer_free(&acks->places);
}
