#include "receiver.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli.h"
#include "signals.h"
#include "value.h"

#define CONNECT_MS 5000
#define GRACE_MS 200
#define CLOSE_MS 0 /* nothing is owed to us any more, and what is still queued there is not wanted */

static struct receiver *receiver_of(void *user)
{
    return ((struct link *)user)->owner;
}

static const char *pattern_of(const struct receiver *receiver, uint32_t sid)
{
    for (int i = 0; i < receiver->terms->pattern_count; i++) {
        if (receiver->sids[i] == sid) return receiver->terms->patterns[i];
    }
    return "";
}

static void finish(struct receiver *receiver, int exit_code)
{
    if (receiver->done) return;
    receiver->done = true;
    receiver->exit_code = exit_code;
}

/* It ended by itself: with fewer messages than were asked for, that is a failure. */
static void finish_unasked(struct receiver *receiver)
{
    finish(receiver, receiver->received < receiver->terms->count ? CLI_EXIT_TIME : CLI_EXIT_DONE);
}

static void on_message(pubsub *client, const struct pubsub_message *message, void *user)
{
    (void)client;
    struct receiver *receiver = receiver_of(user);
    if (receiver->done) return;
    if (message->retained ? !receiver->terms->retained : !receiver->terms->live) return;
    printer_message(&receiver->printer, message);
    receiver->received++;
    receiver->last_ns = 0; /* for the loop to note the time: once a turn is enough */
    if (receiver->received == receiver->terms->count) {
        finish(receiver, CLI_EXIT_DONE);
        output_flush(&receiver->printer.out); /* the library goes on for as long as messages come in */
    }
}

static void on_gap(pubsub *client, const struct pubsub_gap *gap, void *user)
{
    (void)client;
    struct receiver *receiver = receiver_of(user);
    if (receiver->done || gap->reason == MPS_GAP_SUPERSEDED)
        return; /* superseded: a newer value of the same key came */
    printer_gap(&receiver->printer, pattern_of(receiver, gap->sid), gap);
    receiver->last_ns = 0;
    if (receiver->terms->fail_on_gap) finish(receiver, CLI_EXIT_GAP);
}

static void on_mark(pubsub *client, uint32_t sid, enum pubsub_mark mark, void *user)
{
    (void)client;
    (void)sid;
    struct receiver *receiver = receiver_of(user);
    if (mark != PUBSUB_MARK_RETAINED_DONE || receiver->terms->live) return;
    if (++receiver->snapshots == receiver->terms->pattern_count) finish_unasked(receiver);
}

static void on_refusal(pubsub *client, const struct pubsub_refusal *refusal, void *user)
{
    (void)client;
    struct receiver *receiver = receiver_of(user);
    if (receiver->done) return;
    complain("%s", refusal->text);
    finish(receiver, exit_code_of_refusal(refusal->code));
}

static int subscribe(struct receiver *receiver)
{
    const struct receiver_terms *terms = receiver->terms;
    struct pubsub_subscribe_options options = {
        .max_msgs = terms->max_msgs,
        .max_bytes = terms->max_bytes,
        .retained = terms->retained ? 0 : 2,
        .on_message = on_message,
        .on_gap = on_gap,
        .on_mark = on_mark,
        .user = &receiver->link,
    };
    for (int i = 0; i < terms->pattern_count; i++) {
        int error = pubsub_subscribe(receiver->link.client, terms->patterns[i], &options, &receiver->sids[i]);
        if (error == PUBSUB_OK) continue;
        const char *bad = mps_pattern_error(mps_text(terms->patterns[i]));
        if (error == PUBSUB_EINVAL && bad) {
            complain("bad pattern '%s': %s", terms->patterns[i], bad);
            return CLI_EXIT_REFUSED;
        }
        const char *text = pubsub_error(receiver->link.client);
        complain("%s", *text ? text : pubsub_strerror(error));
        return exit_code_of_error(error);
    }
    return CLI_EXIT_DONE;
}

/* Until the next moment at which it may have to end. -1: there is none. */
static int64_t time_left(struct receiver *receiver)
{
    const struct receiver_terms *terms = receiver->terms;
    int64_t left = -1;
    if (receiver->last_ns == 0) receiver->last_ns = now_ns();
    if (terms->end_ns) left = ms_until(terms->end_ns);
    if (terms->idle_ms) {
        int64_t idle = ms_until(receiver->last_ns + terms->idle_ms * 1000000);
        if (left < 0 || idle < left) left = idle;
    }
    return left;
}

/* One turn: waits, handles what has come, writes it. */
static void turn(struct receiver *receiver)
{
    int64_t left = time_left(receiver);
    if (left == 0) {
        finish_unasked(receiver);
        return;
    }
    /* Nothing is asked for: poll() then tells only that the reader has gone, also while nothing comes. */
    struct pollfd reader = {.fd = receiver->printer.form == PRINT_NONE ? -1 : receiver->printer.out.fd};
    int result = link_step(&receiver->link, &reader, 1, left);
    int written = printer_flush(&receiver->printer);
    if (receiver->done) return;
    if (result != CLI_EXIT_DONE) {
        finish(receiver, result == LINK_OVER ? CLI_EXIT_LOST : result);
    } else if (signal_caught()) {
        finish(receiver, CLI_EXIT_SIGNAL + signal_caught());
    } else if (written == CLI_EXIT_ERROR) {
        finish(receiver, CLI_EXIT_ERROR);
    } else if (written == PRINTER_CLOSED || reader.revents & (POLLERR | POLLHUP)) {
        finish(receiver, CLI_EXIT_DONE);
    } else if (reader.revents & POLLNVAL) {
        complain("cannot write to standard output: it is closed");
        finish(receiver, CLI_EXIT_ERROR);
    }
}

static int run(struct receiver *receiver)
{
    int result = subscribe(receiver);
    if (result != CLI_EXIT_DONE) return result;
    while (!receiver->done) turn(receiver);
    /* What was printed before a signal or an end of the connection is not lost. */
    int written = printer_flush(&receiver->printer);
    if (receiver->exit_code == CLI_EXIT_DONE && written == CLI_EXIT_ERROR) return CLI_EXIT_ERROR;
    return receiver->exit_code;
}

int receive(const struct connection_options *connection, const struct receiver_terms *terms, uint64_t *received)
{
    struct receiver receiver = {.link = {.owner = &receiver}, .terms = terms};
    struct pubsub_options client = {.no_reconnect = terms->no_reconnect, .on_refusal = on_refusal};
    /* What is left of --for is also all that connecting may take, but for the moment that it takes anyway. */
    if (terms->end_ns && ms_until(terms->end_ns) < CONNECT_MS)
        client.connect_ms = (uint32_t)ms_until(terms->end_ns) + GRACE_MS;
    if (!printer_open(&receiver.printer, &terms->print, terms->patterns, terms->pattern_count)) return CLI_EXIT_USAGE;
    receiver.sids = calloc((size_t)terms->pattern_count, sizeof *receiver.sids);
    int result = CLI_EXIT_ERROR;
    if (!receiver.sids) {
        complain("out of memory");
    } else {
        result = link_open(&receiver.link, connection, &client);
        if (result == CLI_EXIT_DONE) result = run(&receiver);
    }
    link_close(&receiver.link, CLOSE_MS);
    printer_close(&receiver.printer);
    free(receiver.sids);
    *received = receiver.received;
    return result;
}
