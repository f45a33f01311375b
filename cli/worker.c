#include "worker.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli.h"
#include "environment.h"
#include "received.h"
#include "signals.h"
#include "sizes.h"

struct work {
    struct work *next;
    struct buffer input;
    struct environment environment;
    struct pubsub_message *message; /* without its payload: that is in input */
};

static void free_work(struct work *work)
{
    buffer_free(&work->input);
    environment_free(&work->environment);
    free(work->message);
    free(work);
}

/* What becomes of a message whose command has failed, behind that; "" if nothing does. */
static void say_prospect(const struct worker *worker, const struct pubsub_message *message, char *text, size_t cap)
{
    char time[QUANTITY_TEXT_MAX];
    uint64_t delay_ms;
    *text = '\0';
    if (!worker->acks || message->stream == 0) return;
    if (signal_caught()) {
        snprintf(text, cap, "; it comes again");
    } else if (ack_try_again(worker->acks, message->tries, &delay_ms)) {
        time_write(time, delay_ms);
        snprintf(text, cap, "; it comes again in %s", time);
    } else {
        snprintf(text, cap, "; it is given up");
    }
}

static void on_end(struct exec_pool *pool, struct exec_job *job, void *user)
{
    (void)pool;
    struct worker *worker = user;
    struct work *work = job->owner;
    char why[128], prospect[64];
    bool succeeded = exec_succeeded(job, why, sizeof why);
    worker->done++;
    if (!succeeded) {
        worker->failed++;
        say_prospect(worker, work->message, prospect, sizeof prospect);
        complain("the command failed on a message of '%.*s': %s%s", (int)work->message->topic_len, work->message->topic,
                 why, prospect);
    }
    worker->on_done(work->message, job, succeeded ? NULL : why, worker->user);
    free_work(work);
}

int worker_open(struct worker *worker, const struct print_options *print)
{
    worker->end = &worker->first;
    worker->pool.on_end = on_end;
    worker->pool.user = worker;
    if (!printer_open_memory(&worker->printer, print, &worker->input)) return CLI_EXIT_USAGE;
    if (exec_open(&worker->pool)) return CLI_EXIT_DONE;
    printer_close(&worker->printer);
    return CLI_EXIT_ERROR;
}

static struct work *take_first(struct worker *worker)
{
    struct work *work = worker->first;
    worker->first = work->next;
    if (!worker->first) worker->end = &worker->first;
    return work;
}

void worker_close(struct worker *worker)
{
    for (struct exec_job *job = worker->pool.jobs; job < worker->pool.jobs + worker->pool.jobs_max; job++) {
        if (job->pid != 0) free_work(job->owner);
    }
    exec_close(&worker->pool);
    while (worker->first) free_work(take_first(worker));
    printer_close(&worker->printer);
    buffer_free(&worker->input);
}

/* Starts as many as may run. */
static void start_some(struct worker *worker)
{
    while (worker->first && worker->pool.running < worker->pool.jobs_max && !worker->broken) {
        struct work *work = take_first(worker);
        if (exec_start(&worker->pool, &work->input, environment_strings(&work->environment), work)) continue;
        free_work(work);
        worker->broken = true;
    }
}

void worker_take(struct worker *worker, const struct pubsub_message *message)
{
    struct work *work = calloc(1, sizeof *work);
    if (!work) {
        complain("out of memory");
        exit(CLI_EXIT_ERROR);
    }
    printer_message(&worker->printer, message);
    output_flush(&worker->printer.out);
    work->input = worker->input;
    worker->input = (struct buffer){0};
    environment_fill(&work->environment, message);
    work->message = received_copy(message, false);
    *worker->end = work;
    worker->end = &work->next;
    start_some(worker);
}

nfds_t worker_poll(const struct worker *worker, struct pollfd *fds)
{
    return exec_poll(&worker->pool, fds);
}

void worker_work(struct worker *worker)
{
    exec_work(&worker->pool);
    start_some(worker);
}

bool worker_busy(const struct worker *worker)
{
    return worker->pool.running > 0 || (worker->first && !worker->broken);
}

int worker_drain(struct worker *worker)
{
    while (worker_busy(worker) && !signal_caught()) {
        struct pollfd fds[1 + EXEC_POLL_MAX] = {{.fd = signal_wake_fd(), .events = POLLIN}};
        nfds_t count = worker_poll(worker, fds + 1);
        if (poll(fds, count + 1, -1) < 0 && errno != EINTR) break;
        worker_work(worker);
    }
    if (!signal_caught()) return CLI_EXIT_DONE;
    exec_end(&worker->pool, signal_caught());
    return CLI_EXIT_SIGNAL + signal_caught();
}

int worker_verdict(const struct worker *worker)
{
    if (worker->broken) return CLI_EXIT_ERROR;
    if (worker->failed == 0) return CLI_EXIT_DONE;
    complain("%" PRIu64 " of %" PRIu64 " commands failed", worker->failed, worker->done);
    return CLI_EXIT_ERROR;
}
