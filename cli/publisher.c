#include "publisher.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "progress.h"

#define FINISH_MS 5000               /* for good-byes, when nothing is owed any more */
#define INTERRUPTED_MS 1000          /* for what was published before a signal came */
#define BURST_NS UINT64_C(100000000) /* how far a rate may catch up after the input was slow */
#define SESSION_S 300 /* so long the broker remembers after a lost connection what it has stored of ours */

/* Publish ids from first_pid on stand for lines from line on, one each. */
struct place {
    uint64_t first_pid, line;
};

static struct place *places_of(struct publisher *publisher, size_t *count)
{
    *count = publisher->places.len / sizeof(struct place);
    return (struct place *)(void *)publisher->places.data;
}

static void note_place(struct publisher *publisher, uint64_t pid, uint64_t line)
{
    size_t count;
    const struct place *places = places_of(publisher, &count);
    if (count > 0 && line - places[count - 1].line == pid - places[count - 1].first_pid) return;
    struct place place = {.first_pid = pid, .line = line};
    buffer_append(&publisher->places, &place, sizeof place);
}

static uint64_t line_of(struct publisher *publisher, uint64_t pid)
{
    size_t count;
    const struct place *places = places_of(publisher, &count);
    size_t low = publisher->first_place, high = count; /* the last that doesn't begin behind pid is in [low, high) */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (places[middle].first_pid <= pid) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low < count && places[low].first_pid <= pid ? places[low].line + (pid - places[low].first_pid) : 0;
}

/* Publish ids up to pid are settled: forgets the places that only they need. */
static void forget_places(struct publisher *publisher, uint64_t pid)
{
    size_t count;
    struct place *places = places_of(publisher, &count);
    while (publisher->first_place + 1 < count && places[publisher->first_place + 1].first_pid <= pid + 1) {
        publisher->first_place++;
    }
    if (publisher->first_place > 1024 && publisher->first_place > count / 2) {
        size_t rest = count - publisher->first_place;
        memmove(places, places + publisher->first_place, rest * sizeof *places);
        publisher->places.len = rest * sizeof *places;
        publisher->first_place = 0;
    }
}

void publisher_refuse(struct publisher *publisher, uint64_t line, int failure, const char *why)
{
    /* One message that is repeated is refused for the same reason each time: once is enough. */
    if (!publisher->options->lines) {
        if (publisher->stop) return;
        publisher->stop = true;
    }
    if (line) {
        complain("%s %" PRIu64 ": %s", publisher->options->item ? publisher->options->item : "line", line, why);
    } else {
        complain("%s", why);
    }
    if (publisher->failure != CLI_EXIT_AUTH) publisher->failure = failure;
}

static void on_puback(pubsub *client, const struct pubsub_puback *ack, void *user)
{
    (void)client;
    struct publisher *publisher = ((struct link *)user)->owner;
    if (ack->code >= MPS_INTERNAL) { /* which says that the store failed, and so nothing is known of the message */
        publisher->refused += ack->last_pid - ack->first_pid + 1;
        for (uint64_t pid = ack->first_pid; pid <= ack->last_pid && !publisher->stop; pid++) {
            publisher_refuse(publisher, line_of(publisher, pid), exit_code_of_refusal(ack->code), ack->text);
        }
        /* Others of the topic would get the same answer. */
        bool same = ack->code == MPS_ACK_LEVEL || ack->code == MPS_STREAM_FULL;
        if (same && !publisher->options->keyed) publisher->stop = true;
    } else if (ack->code != MPS_ACCEPTED_BEFORE && ack->matched < publisher->least_matched) {
        publisher->least_matched = ack->matched;
    }
    forget_places(publisher, ack->last_pid);
}

static void on_refusal(pubsub *client, const struct pubsub_refusal *refusal, void *user)
{
    (void)client;
    publisher_refuse(((struct link *)user)->owner, 0, exit_code_of_refusal(refusal->code), refusal->text);
}

int publisher_open(struct publisher *publisher, const struct pub_options *options)
{
    *publisher = (struct publisher){.link = {.owner = publisher}, .options = options, .least_matched = UINT64_MAX};
    publisher->terms = (struct pubsub_publish_options){.ack = options->ack, .retain = options->retain};
    message_options_apply(&options->body, &publisher->terms);
    struct pubsub_options client = {
        .no_reconnect = options->no_reconnect,
        .session_s = options->ack == PUBSUB_ACK_STORED ? SESSION_S : 0,
        .outbox_policy = PUBSUB_OUTBOX_REFUSE, /* a wait in the library would not see signals */
        .on_puback = on_puback,
        .on_refusal = on_refusal,
    };
    return link_open(&publisher->link, &options->connection, &client);
}

void publisher_close(struct publisher *publisher)
{
    link_close(&publisher->link, FINISH_MS);
    buffer_free(&publisher->places);
}

void publisher_progress(const struct publisher *publisher)
{
    if (!publisher->options->lines && publisher->options->count <= 1) return;
    progress_show(publisher->sent - pubsub_unacked(publisher->link.client), publisher->options->count);
}

/* Waits until the rate allows the next message. */
static int keep_rate(struct publisher *publisher)
{
    if (publisher->options->rate == 0) return CLI_EXIT_DONE;
    uint64_t now = now_ns();
    if (publisher->next_ns + BURST_NS < now) publisher->next_ns = now;
    while (ms_until(publisher->next_ns) > 0) {
        publisher_progress(publisher);
        int result = link_step(&publisher->link, NULL, 0, ms_until(publisher->next_ns));
        if (result) return result;
    }
    publisher->next_ns += UINT64_C(1000000000) / publisher->options->rate;
    return CLI_EXIT_DONE;
}

void explain_publish(const pubsub *client, int error, mps_view topic, size_t len, char *why, size_t cap)
{
    const char *bad_topic = mps_topic_error(topic);
    const char *text = pubsub_error(client);
    if (error == PUBSUB_EINVAL && bad_topic) {
        snprintf(why, cap, "bad topic '%.*s': %s", (int)topic.len, (const char *)topic.ptr, bad_topic);
    } else if (error == PUBSUB_ETOOBIG) {
        snprintf(why, cap, "too large: a payload of %zu bytes, the broker's limit is %" PRIu64, len,
                 pubsub_max_payload(client));
    } else {
        snprintf(why, cap, "%s", *text ? text : pubsub_strerror(error));
    }
}

/* Hands one message to the library; waits as long as its outbox is full. Returns a PUBSUB_E* code, or an exit code > 0.
 */
static int publish(struct publisher *publisher, const char *topic, const uint8_t *payload, size_t len, uint64_t *pid)
{
    for (;;) {
        int error = pubsub_publish(publisher->link.client, topic, payload, len, &publisher->terms, pid);
        if (error != PUBSUB_EAGAIN) return error;
        if (pubsub_outbox_bytes(publisher->link.client) == 0) return PUBSUB_ETOOBIG; /* it will never fit */
        publisher_progress(publisher);
        int result = link_step(&publisher->link, NULL, 0, -1);
        if (result > 0) return result;
        if (publisher->stop) return PUBSUB_OK;
    }
}

int publisher_send(struct publisher *publisher, const char *topic, const uint8_t *payload, size_t len, uint64_t line)
{
    char why[1024];
    uint64_t pid = 0;
    int result = keep_rate(publisher);
    if (result == CLI_EXIT_DONE) result = publish(publisher, topic, payload, len, &pid);
    if (result > 0) return result;
    if (result == PUBSUB_OK) {
        publisher->sent++;
        if (pid) note_place(publisher, pid, line);
        return CLI_EXIT_DONE;
    }
    explain_publish(publisher->link.client, result, mps_text(topic), len, why, sizeof why);
    if (result == PUBSUB_EINVAL || result == PUBSUB_ETOOBIG) {
        publisher_refuse(publisher, line, CLI_EXIT_REFUSED, why);
        return CLI_EXIT_DONE;
    }
    link_complain(&publisher->link, why, result);
    return exit_code_of_error(result);
}

/* All that was published has left and was answered. */
static int settle(struct publisher *publisher)
{
    pubsub *client = publisher->link.client;
    while (pubsub_outbox_bytes(client) > 0 || pubsub_unacked(client) > 0) {
        publisher_progress(publisher);
        int result = link_step(&publisher->link, NULL, 0, -1);
        if (result) return result;
    }
    return CLI_EXIT_DONE;
}

/* Without acknowledgements the end of the broker's side is the sign that it has seen everything; refusals come before.
 */
static int wait_for_end(struct publisher *publisher)
{
    uint64_t deadline_ns = now_ns() + UINT64_C(1000000) * FINISH_MS;
    int error = pubsub_shutdown(publisher->link.client, FINISH_MS);
    while (error >= 0 && ms_until(deadline_ns) > 0) {
        int result = link_step(&publisher->link, NULL, 0, ms_until(deadline_ns));
        if (result == LINK_OVER) return CLI_EXIT_DONE;
        if (result) return result;
    }
    complain("the broker did not confirm the end within %d s; some messages may not have arrived", FINISH_MS / 1000);
    return CLI_EXIT_LOST;
}

int publisher_finish(struct publisher *publisher, int result)
{
    pubsub *client = publisher->link.client;
    if (result == CLI_EXIT_DONE) result = settle(publisher);
    if (result == CLI_EXIT_DONE && publisher->options->ack == PUBSUB_ACK_NONE) result = wait_for_end(publisher);
    if (result == LINK_OVER) result = CLI_EXIT_LOST; /* ended before its time */
    /* A user who interrupts wants it to end soon, but what was sent so far should arrive. */
    if (result > CLI_EXIT_SIGNAL) pubsub_flush(client, INTERRUPTED_MS);
    progress_end();
    uint64_t open = pubsub_unacked(client);
    if (result != CLI_EXIT_DONE && open > 0) {
        complain("%" PRIu64 " message%s not acknowledged", open, open == 1 ? " was" : "s were");
    }
    if (result != CLI_EXIT_DONE) return result;
    if (publisher->failure != CLI_EXIT_DONE) return publisher->failure;
    if (publisher->least_matched < publisher->options->require && publisher->least_matched != UINT64_MAX) {
        complain("%" PRIu64 " subscription%s matched, %llu required", publisher->least_matched,
                 publisher->least_matched == 1 ? "" : "s", publisher->options->require);
        return CLI_EXIT_NOBODY;
    }
    return CLI_EXIT_DONE;
}
