#include "replier.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "credit.h"
#include "message.h"
#include "received.h"
#include "signals.h"
#include "worker.h"

#define ECHO_WINDOW 64 /* requests that may wait here for their echo */
#define CLOSE_MS 5000  /* for the last answers to leave */

/* A request that is to be answered with what it holds. */
struct echo {
    struct echo *next;
    struct pubsub_message *message;
};

struct replier {
    struct link link;
    const struct replier_terms *terms;
    struct worker *worker; /* NULL: echo */
    struct echo *first, **end;
    struct credit credit;
    uint64_t taken, answered;
    bool done; /* exit_code says why */
    int exit_code;
};

static struct replier *replier_of(void *user)
{
    return ((struct link *)user)->owner;
}

static void finish(struct replier *replier, int exit_code)
{
    if (replier->done) return;
    replier->done = true;
    replier->exit_code = exit_code;
}

/* ---- answers ---- */

/* Hands one answer to the library; waits as long as its outbox is full. Returns a PUBSUB_E* code. */
static int hand_over(struct replier *replier, const struct pubsub_message *request, const void *payload, size_t len,
                     const struct pubsub_publish_options *options)
{
    for (;;) {
        int error = pubsub_reply(replier->link.client, request, payload, len, options);
        if (error != PUBSUB_EAGAIN || replier->done) return error;
        int result = link_step(&replier->link, NULL, 0, -1);
        if (result != CLI_EXIT_DONE) finish(replier, result == LINK_OVER ? CLI_EXIT_LOST : result);
    }
}

static void end_answer(struct replier *replier, int error)
{
    if (error != PUBSUB_OK && error != PUBSUB_EAGAIN && !replier->done) {
        link_complain(&replier->link, pubsub_error(replier->link.client), error);
        finish(replier, exit_code_of_error(error));
    }
    if (error == PUBSUB_OK && ++replier->answered == replier->terms->count) finish(replier, CLI_EXIT_DONE);
    if (!replier->done) credit_another(&replier->credit, replier->link.client, replier->taken, replier->terms->count);
}

/* The one who asked gets to know that there is no answer, and why. */
static void answer_error(struct replier *replier, const struct pubsub_message *request, const char *why)
{
    const struct pubsub_header header = {.name = "error", .value = why};
    const struct pubsub_publish_options options = {.raw = true, .headers = &header, .headers_count = 1};
    end_answer(replier, hand_over(replier, request, "", 0, &options));
}

static void answer(struct replier *replier, const struct pubsub_message *request, const void *payload, size_t len,
                   bool raw)
{
    struct pubsub_publish_options options = {0};
    message_options_apply(&replier->terms->body, &options);
    options.raw = raw;
    int error = hand_over(replier, request, payload, len, &options);
    if (error != PUBSUB_ETOOBIG) {
        end_answer(replier, error);
        return;
    }
    char why[128];
    message_too_large(replier->link.client, len, why, sizeof why);
    complain("the answer is %s", why);
    answer_error(replier, request, why);
}

/* What a command says ends with a newline that belongs to lines, not to the text. */
static size_t text_len(const struct replier *replier, const struct buffer *output)
{
    bool text = replier->terms->body.form.kind == BODY_TEXT && !replier->terms->body.form.hex;
    return output->len - (text && output->len > 0 && output->data[output->len - 1] == '\n');
}

static void answer_output(struct replier *replier, const struct pubsub_message *request, const struct buffer *output)
{
    static const uint8_t headroom[BODY_HEADROOM];
    const struct body_form *form = &replier->terms->body.form;
    struct buffer bytes = {0}, scratch = {0};
    char why[512];
    const uint8_t *payload;
    size_t len = text_len(replier, output);
    buffer_append(&bytes, headroom, sizeof headroom);
    buffer_append(&bytes, output->data, len);
    if (body_encode(form, bytes.data + BODY_HEADROOM, len, &scratch, &payload, &len, why, sizeof why)) {
        answer(replier, request, payload, len, form->kind == BODY_RAW);
    } else {
        complain("what the command said is %s", why);
        replier->worker->failed++;
        answer_error(replier, request, why);
    }
    buffer_free(&bytes);
    buffer_free(&scratch);
}

static void on_done(const struct pubsub_message *request, const struct exec_job *job, const char *failure, void *user)
{
    struct replier *replier = user;
    char why[192];
    if (replier->done) return;
    if (failure) {
        snprintf(why, sizeof why, "the command failed: %s", failure);
        answer_error(replier, request, why);
    } else {
        answer_output(replier, request, &job->output);
    }
}

static void answer_echoes(struct replier *replier)
{
    while (replier->first && !replier->done) {
        struct echo *echo = replier->first;
        replier->first = echo->next;
        if (!replier->first) replier->end = &replier->first;
        const struct pubsub_message *message = echo->message;
        answer(replier, message, message->payload, message->payload_len, pubsub_message_is_raw(message));
        free(echo->message);
        free(echo);
    }
}

/* ---- requests ---- */

static void take_echo(struct replier *replier, const struct pubsub_message *request)
{
    struct echo *echo = calloc(1, sizeof *echo);
    if (!echo) {
        complain("out of memory");
        exit(CLI_EXIT_ERROR);
    }
    echo->message = received_copy(request, true);
    *replier->end = echo;
    replier->end = &echo->next;
}

static void on_message(pubsub *client, const struct pubsub_message *message, void *user)
{
    struct replier *replier = replier_of(user);
    size_t len;
    if (replier->done) return;
    replier->credit.arrived++;
    if (!pubsub_message_reply_to(message, &len)) {
        complain("a message of '%.*s' is no request: it names no topic for an answer", (int)message->topic_len,
                 message->topic);
        credit_another(&replier->credit, client, replier->taken, replier->terms->count);
        return;
    }
    replier->taken++;
    if (replier->worker) worker_take(replier->worker, message);
    else take_echo(replier, message);
}

static void on_gap(pubsub *client, const struct pubsub_gap *gap, void *user)
{
    (void)client;
    printer_gap_line(replier_of(user)->terms->topic, gap);
}

static void on_refusal(pubsub *client, const struct pubsub_refusal *refusal, void *user)
{
    (void)client;
    struct replier *replier = replier_of(user);
    enum { SUB = 9 }; /* PROTOCOL.md, operations */
    complain("%s", refusal->text);
    /* An answer that is refused concerns nobody but the one who asked. */
    if (refusal->op == SUB) finish(replier, exit_code_of_refusal(refusal->code));
}

static int subscribe(struct replier *replier)
{
    const struct replier_terms *terms = replier->terms;
    replier->credit.allowed = credit_first(terms->command ? terms->jobs : ECHO_WINDOW, terms->count);
    const struct pubsub_subscribe_options options = {
        .retained = 2,
        .group = terms->group,
        .by_credit = true,
        .credit = replier->credit.allowed,
        .on_message = on_message,
        .on_gap = on_gap,
        .user = &replier->link,
    };
    int error = pubsub_subscribe(replier->link.client, terms->topic, &options, &replier->credit.sid);
    return link_subscribed(&replier->link, terms->topic, error);
}

/* ---- the loop ---- */

static void turn(struct replier *replier)
{
    struct pollfd fds[EXEC_POLL_MAX];
    nfds_t count = replier->worker ? worker_poll(replier->worker, fds) : 0;
    int result = link_step(&replier->link, fds, count, -1);
    if (result != CLI_EXIT_DONE) {
        finish(replier, result == LINK_OVER ? CLI_EXIT_LOST : result);
        return;
    }
    if (replier->worker) {
        worker_work(replier->worker);
        if (replier->worker->broken) finish(replier, CLI_EXIT_ERROR);
    } else {
        answer_echoes(replier);
    }
}

static int connect_and_answer(struct replier *replier, const struct connection_options *connection)
{
    const struct pubsub_options client = {
        .no_reconnect = replier->terms->no_reconnect,
        .outbox_policy = PUBSUB_OUTBOX_REFUSE, /* a wait in the library would not see signals */
        .on_refusal = on_refusal,
    };
    struct pubsub_options own = client;
    int result = link_open(&replier->link, connection, &own);
    if (result != CLI_EXIT_DONE) return result;
    if (replier->worker) {
        replier->worker->pool.output_max =
            body_input_max(&replier->terms->body.form, pubsub_max_payload(replier->link.client));
    }
    result = subscribe(replier);
    if (result != CLI_EXIT_DONE) return result;
    while (!replier->done) turn(replier);
    return replier->exit_code;
}

static int answer_by_command(struct replier *replier, const struct connection_options *connection)
{
    static const struct print_options form = {.form = PRINT_AUTO};
    struct worker worker = {.on_done = on_done, .user = replier};
    worker.pool =
        (struct exec_pool){.command = replier->terms->command, .jobs_max = replier->terms->jobs, .collect = true};
    int result = worker_open(&worker, &form);
    if (result != CLI_EXIT_DONE) return result;
    replier->worker = &worker;
    result = connect_and_answer(replier, connection);
    /* What still runs answers nobody any more. */
    if (worker.pool.running > 0) exec_end(&worker.pool, signal_caught() ? signal_caught() : SIGTERM);
    link_close(&replier->link, CLOSE_MS);
    int verdict = worker_verdict(&worker);
    worker_close(&worker);
    return result == CLI_EXIT_DONE ? verdict : result;
}

int replier_run(const struct connection_options *connection, const struct replier_terms *terms)
{
    struct replier replier = {.link = {.owner = &replier}, .terms = terms, .end = &replier.first};
    int result = terms->command ? answer_by_command(&replier, connection) : connect_and_answer(&replier, connection);
    replier.done = true;
    link_close(&replier.link, CLOSE_MS);
    while (replier.first) {
        struct echo *echo = replier.first;
        replier.first = echo->next;
        free(echo->message);
        free(echo);
    }
    return result;
}
