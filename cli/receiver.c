#include "receiver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "credit.h"
#include "signals.h"
#include "value.h"

#define CONNECT_MS 5000
#define GRACE_MS 200
#define CLOSE_MS 0       /* nothing is owed to us any more, and what is still queued there is not wanted */
#define COLUMN "column " /* how the broker names the place of an error in a filter */
#define LEAVE_MS 2000    /* for what a group has given us already */
#define ACKED_MS 5000    /* for our acknowledgements to reach the broker */
#define WORK_MS 600000   /* how long a command may take before its message comes again */

/* Of one pattern, in their order. */
struct subscription {
    struct credit credit;
    bool caught_up;
};

struct receiver {
    struct link link;
    const struct receiver_terms *terms;
    struct printer printer;
    struct worker *worker; /* NULL: messages are printed */
    struct acks acks;      /* of what was printed */
    struct subscription *subscriptions;
    uint64_t received; /* printed or taken messages */
    uint64_t last_ns;  /* when the last one came; the start before that */
    uint64_t leave_ns; /* until when a group's messages may still come; 0: not leaving */
    int snapshots;     /* patterns whose retained values are all there */
    bool done;         /* nothing more is to be handled; exit_code says why */
    int exit_code;
};

static struct receiver *receiver_of(void *user)
{
    return ((struct link *)user)->owner;
}

/* Where in the arrays the subscription stands. */
static int place_of(const struct receiver *receiver, uint32_t sid)
{
    int i = 0;
    while (i < receiver->terms->pattern_count - 1 && receiver->subscriptions[i].credit.sid != sid) i++;
    return i;
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

/* ---- credit ---- */

/* Whoever works on messages takes only as many as it can work on; and a member of a group that wants only some must not
 * be given more: the others would miss them. What is acknowledged would come once more to who is next. */
static bool is_by_credit(const struct receiver_terms *terms)
{
    return terms->command || ((terms->group || terms->acks) && terms->count > 0);
}

static uint64_t first_credit(const struct receiver_terms *terms)
{
    return terms->command ? credit_first(terms->jobs, terms->count) : terms->count;
}

/* A message of this subscription is done with. */
static void allow_another(struct receiver *receiver, uint32_t sid)
{
    if (receiver->done || receiver->leave_ns > 0) return;
    credit_another(&receiver->subscriptions[place_of(receiver, sid)].credit, receiver->link.client, receiver->received,
                   receiver->terms->count);
}

/* A command has ended. One that was ended together with us didn't fail: its message comes again when we are gone. */
static void settle(struct receiver *receiver, const struct pubsub_message *message, bool failed)
{
    const struct ack_options *acks = receiver->terms->acks;
    pubsub *client = receiver->link.client; /* NULL: it went before the command ended */
    uint64_t delay_ms = 0;
    if (!acks || !client || message->stream == 0 || (failed && signal_caught())) return;
    /* An error is one of the connection: whoever waits on that finds it. */
    if (!failed) {
        (void)pubsub_ack_one(client, message->sid, message->stream, message->seq);
    } else {
        (void)ack_try_again(acks, message->tries, &delay_ms); /* if not, the broker gives it up when it is due */
        (void)pubsub_nack(client, message->sid, message->stream, message->seq, delay_ms);
    }
}

static void on_done(const struct pubsub_message *message, const struct exec_job *job, const char *failure, void *user)
{
    (void)job;
    struct receiver *receiver = user;
    receiver->last_ns = 0; /* it was not idle meanwhile */
    settle(receiver, message, failure != NULL);
    allow_another(receiver, message->sid);
}

/* ---- what comes ---- */

static void take(struct receiver *receiver, const struct pubsub_message *message)
{
    if (receiver->worker) {
        worker_take(receiver->worker, message);
        if (receiver->worker->broken) finish(receiver, CLI_EXIT_ERROR);
    } else {
        printer_message(&receiver->printer, message);
        if (receiver->terms->acks) acks_note(&receiver->acks, message);
    }
    receiver->received++;
    receiver->last_ns = 0; /* for the loop to note the time: once a turn is enough */
    if (receiver->received == receiver->terms->count) {
        finish(receiver, CLI_EXIT_DONE);
        output_flush(&receiver->printer.out); /* the library goes on for as long as messages come in */
    }
}

static void on_message(pubsub *client, const struct pubsub_message *message, void *user)
{
    (void)client;
    struct receiver *receiver = receiver_of(user);
    const struct receiver_terms *terms = receiver->terms;
    if (receiver->done) return;
    bool by_credit = is_by_credit(terms);
    if (by_credit) receiver->subscriptions[place_of(receiver, message->sid)].credit.arrived++;
    if (message->retained ? terms->retained : terms->live) {
        take(receiver, message);
    } else if (by_credit) {
        allow_another(receiver, message->sid);
    }
}

static void on_gap(pubsub *client, const struct pubsub_gap *gap, void *user)
{
    (void)client;
    struct receiver *receiver = receiver_of(user);
    /* With `latest` it is the rule that a newer value of the same key comes instead. */
    if (receiver->done || (gap->reason == MPS_GAP_SUPERSEDED && !receiver->terms->all_gaps)) return;
    printer_gap(&receiver->printer, receiver->terms->patterns[place_of(receiver, gap->sid)], gap);
    receiver->last_ns = 0;
    if (receiver->terms->fail_on_gap) finish(receiver, CLI_EXIT_GAP);
}

static void on_retained_done(struct receiver *receiver)
{
    if (receiver->terms->live) return;
    if (++receiver->snapshots == receiver->terms->pattern_count) finish_unasked(receiver);
}

/* It may be said again after a reconnect. */
static void on_caught_up(struct receiver *receiver, uint32_t sid)
{
    receiver->subscriptions[place_of(receiver, sid)].caught_up = true;
    for (int i = 0; i < receiver->terms->pattern_count; i++) {
        if (!receiver->subscriptions[i].caught_up) return;
    }
    finish(receiver, CLI_EXIT_DONE);
}

static void on_mark(pubsub *client, uint32_t sid, enum pubsub_mark mark, void *user)
{
    (void)client;
    struct receiver *receiver = receiver_of(user);
    switch (mark) {
    case PUBSUB_MARK_RETAINED_DONE: on_retained_done(receiver); break;
    case PUBSUB_MARK_CAUGHT_UP:
        if (receiver->terms->until_live) on_caught_up(receiver, sid);
        break;
    case PUBSUB_MARK_DRAINED:
    case PUBSUB_MARK_ENDED: break;
    }
}

/* Only where more was asked for. */
static void on_granted(pubsub *client, uint32_t sid, void *user)
{
    struct receiver *receiver = receiver_of(user);
    if (receiver->done || pubsub_granted_scope(client, sid) == PUBSUB_SCOPE_CLUSTER) return;
    complain("'%s': only this broker is known to have the subscription: it is alone, or others of its cluster did not "
             "answer",
             receiver->terms->patterns[place_of(receiver, sid)]);
}

static void on_refusal(pubsub *client, const struct pubsub_refusal *refusal, void *user)
{
    (void)client;
    struct receiver *receiver = receiver_of(user);
    if (receiver->done) return;
    const struct ack_options *acks = receiver->terms->acks;
    if (refusal->code == MPS_SID_IN_USE && acks && acks->durable) {
        complain("%s: under the name '%s' other patterns are kept, which --forget ends", refusal->text, acks->durable);
    } else {
        complain("%s", refusal->text);
    }
    if (refusal->code == MPS_BAD_FILTER && receiver->terms->filter) {
        const char *column = strstr(refusal->text, COLUMN);
        if (column) point_at(receiver->terms->filter, strtoul(column + strlen(COLUMN), NULL, 10));
    }
    finish(receiver, exit_code_of_refusal(refusal->code));
}

/* ---- the loop ---- */

static void add_history(const struct receiver_terms *terms, struct pubsub_subscribe_options *options)
{
    options->from = terms->from;
    options->from_number = terms->from_number;
    options->from_positions = terms->from_positions;
    options->from_positions_count = terms->from_positions_count;
    if (!terms->acks) return;
    options->ack =
        PUBSUB_ACKS_EACH; /* also for what is printed: what is kept under a name is one or the other for good */
    options->ack_ms = terms->acks->within_ms ? terms->acks->within_ms : terms->command ? WORK_MS : 0;
    options->max_tries = terms->acks->tries_max;
    options->durable = terms->acks->durable != NULL;
}

static int subscribe(struct receiver *receiver)
{
    const struct receiver_terms *terms = receiver->terms;
    struct pubsub_subscribe_options options = {
        .max_msgs = terms->max_msgs,
        .max_bytes = terms->max_bytes,
        .retained = terms->retained ? 0 : 2,
        .policy = terms->policy,
        .then = terms->then,
        .block_ms = terms->block_ms,
        .group = terms->group,
        .filter = terms->filter,
        .scope = terms->scope,
        .by_credit = is_by_credit(terms),
        .credit = is_by_credit(terms) ? first_credit(terms) : 0,
        .on_message = on_message,
        .on_gap = on_gap,
        .on_mark = on_mark,
        .on_granted = terms->scope == PUBSUB_SCOPE_CLUSTER ? on_granted : NULL,
        .user = &receiver->link,
    };
    add_history(terms, &options);
    for (int i = 0; i < terms->pattern_count; i++) {
        struct credit *subscription = &receiver->subscriptions[i].credit;
        subscription->allowed = options.credit;
        int error = pubsub_subscribe(receiver->link.client, terms->patterns[i], &options, &subscription->sid);
        int result = link_subscribed(&receiver->link, terms->patterns[i], error);
        if (result != CLI_EXIT_DONE) return result;
    }
    return CLI_EXIT_DONE;
}

/* Until the next moment at which it may have to end. -1: there is none. */
static int64_t time_left(struct receiver *receiver)
{
    const struct receiver_terms *terms = receiver->terms;
    int64_t left = -1;
    if (receiver->last_ns == 0) receiver->last_ns = now_ns();
    if (receiver->leave_ns) return ms_until(receiver->leave_ns);
    if (terms->end_ns) left = ms_until(terms->end_ns);
    if (terms->idle_ms && !(receiver->worker && worker_busy(receiver->worker))) {
        int64_t idle = ms_until(receiver->last_ns + terms->idle_ms * 1000000);
        if (left < 0 || idle < left) left = idle;
    }
    return left;
}

/* The time is over. What a group has sent to us it sends to nobody else: that is still taken; but not if others get
 * what we don't acknowledge. */
static void leave(struct receiver *receiver)
{
    if (receiver->terms->group && !receiver->terms->acks && receiver->leave_ns == 0) {
        receiver->leave_ns = now_ns() + UINT64_C(1000000) * LEAVE_MS;
        if (pubsub_shutdown(receiver->link.client, LEAVE_MS) >= 0) return;
    }
    finish_unasked(receiver);
}

/* Waits for anything, lets all work on it. Returns as link_step(). reader is the output: for whether it is still read.
 */
static int step(struct receiver *receiver, struct pollfd *reader, int64_t timeout_ms)
{
    struct pollfd fds[1 + EXEC_POLL_MAX] = {*reader};
    _Static_assert(1 + EXEC_POLL_MAX <= LINK_EXTRA_MAX, "all that a worker polls must fit");
    nfds_t count = 1;
    if (receiver->worker) count += worker_poll(receiver->worker, fds + 1);
    int result = link_step(&receiver->link, fds, count, timeout_ms);
    *reader = fds[0];
    if (receiver->worker) worker_work(receiver->worker);
    return result;
}

/* Writes what was printed; then it is done with. Returns as printer_flush(). */
static int write_printed(struct receiver *receiver)
{
    int written = printer_flush(&receiver->printer);
    if (written == CLI_EXIT_DONE) acks_send(&receiver->acks, receiver->link.client);
    return written;
}

/* One turn: waits, handles what has come, writes it. */
static void turn(struct receiver *receiver)
{
    int64_t left = time_left(receiver);
    if (left == 0) {
        leave(receiver);
        return;
    }
    /* Nothing is asked for: poll() then tells only that the reader has gone, also while nothing comes. */
    struct pollfd reader = {.fd = receiver->printer.form == PRINT_NONE ? -1 : receiver->printer.out.fd};
    int result = step(receiver, &reader, left);
    int written = write_printed(receiver);
    if (receiver->done) return;
    if (result == LINK_OVER && receiver->leave_ns) {
        finish_unasked(receiver);
    } else if (result != CLI_EXIT_DONE) {
        finish(receiver, result == LINK_OVER ? CLI_EXIT_LOST : result);
    } else if (signal_caught()) {
        finish(receiver, CLI_EXIT_SIGNAL + signal_caught());
    } else if (receiver->worker && receiver->worker->broken) {
        finish(receiver, CLI_EXIT_ERROR);
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
    int written = write_printed(receiver);
    if (receiver->exit_code == CLI_EXIT_DONE && written == CLI_EXIT_ERROR) return CLI_EXIT_ERROR;
    return receiver->exit_code;
}

/* Until the commands have ended, with the connection: they are acknowledged. */
static void finish_work(struct receiver *receiver)
{
    struct pollfd no_reader = {.fd = -1};
    while (worker_busy(receiver->worker) && !signal_caught()) {
        if (step(receiver, &no_reader, -1) != CLI_EXIT_DONE) return;
    }
}

/* Good-bye. What is kept for a group, and not under a name, is kept for members that come back: we don't. */
static void close_link(struct receiver *receiver)
{
    const struct receiver_terms *terms = receiver->terms;
    bool owed = terms->acks && receiver->link.client;
    for (int i = 0; owed && terms->session_s > 0 && !terms->acks->durable && i < terms->pattern_count; i++) {
        (void)pubsub_unsubscribe(receiver->link.client, receiver->subscriptions[i].credit.sid);
    }
    link_close(&receiver->link, owed ? ACKED_MS : CLOSE_MS);
}

/* What was taken is worked on to its end, whatever has ended the taking; but a signal ends everything. */
static int run_worker(struct receiver *receiver)
{
    int result = run(receiver);
    bool connected = result == CLI_EXIT_DONE || result == CLI_EXIT_TIME || result == CLI_EXIT_GAP;
    if (receiver->terms->acks && connected) finish_work(receiver);
    close_link(receiver);
    int drained = worker_drain(receiver->worker);
    if (drained != CLI_EXIT_DONE) return drained;
    int verdict = worker_verdict(receiver->worker);
    return result == CLI_EXIT_DONE ? verdict : result;
}

static int connect_and_run(struct receiver *receiver, const struct connection_options *connection)
{
    const struct receiver_terms *terms = receiver->terms;
    struct pubsub_options client = {
        .no_reconnect = terms->no_reconnect,
        .session_s = terms->session_s,
        .on_refusal = on_refusal,
    };
    /* What is left of --for is also all that connecting may take, but for the moment that it takes anyway. */
    if (terms->end_ns && ms_until(terms->end_ns) < CONNECT_MS)
        client.connect_ms = (uint32_t)ms_until(terms->end_ns) + GRACE_MS;
    int result = link_open(&receiver->link, connection, &client);
    if (result == CLI_EXIT_DONE) result = receiver->worker ? run_worker(receiver) : run(receiver);
    close_link(receiver);
    return result;
}

static int connect_with_worker(struct receiver *receiver, const struct connection_options *connection)
{
    const struct receiver_terms *terms = receiver->terms;
    struct worker worker = {.acks = terms->acks, .on_done = on_done, .user = receiver};
    if (!terms->command) return connect_and_run(receiver, connection);
    worker.pool = (struct exec_pool){.command = terms->command, .jobs_max = terms->jobs};
    int result = worker_open(&worker, &terms->print);
    if (result != CLI_EXIT_DONE) return result;
    receiver->worker = &worker;
    result = connect_and_run(receiver, connection);
    worker_close(&worker);
    return result;
}

int receive(const struct connection_options *connection, const struct receiver_terms *terms, uint64_t *received)
{
    static const struct print_options nothing = {.form = PRINT_NONE}; /* the command has our standard output */
    struct receiver receiver = {.link = {.owner = &receiver}, .terms = terms};
    if (!printer_open(&receiver.printer, terms->command ? &nothing : &terms->print, terms->patterns,
                      terms->pattern_count)) {
        return CLI_EXIT_USAGE;
    }
    receiver.subscriptions = calloc((size_t)terms->pattern_count, sizeof *receiver.subscriptions);
    int result = CLI_EXIT_ERROR;
    if (receiver.subscriptions) result = connect_with_worker(&receiver, connection);
    else complain("out of memory");
    printer_close(&receiver.printer);
    acks_free(&receiver.acks);
    free(receiver.subscriptions);
    *received = receiver.received;
    return result;
}
