/* Handing received messages to a command, for --exec: each to one run of it, in the order in which they came. */
#ifndef CLI_WORKER_H
#define CLI_WORKER_H

#include <pubsub/pubsub.h>

#include "acks.h"
#include "exec.h"
#include "print.h"

/* One message that waits for its turn. */
struct work;

struct worker {
    struct exec_pool pool;
    struct printer printer; /* into input */
    const struct ack_options *acks; /* messages come again under these terms when their command fails; NULL: they don't */
    struct buffer input;    /* of the message that is being taken */
    struct work *first, **end; /* those that wait */
    uint64_t done, failed;  /* runs that ended, and those of them that did not end with status 0 */
    bool broken;            /* the command could not be started: complained */
    /* A command has ended. failure: why it did not do what it should, a clause that was told already; or NULL. All is
     * borrowed; of the message everything is there but the payload. */
    void (*on_done)(const struct pubsub_message *message, const struct exec_job *job, const char *failure, void *user);
    void *user;
};

/* Of the pool command, jobs_max, collect and output_max are set by the caller, and acks, on_done and user. Returns
 * CLI_EXIT_DONE, or complains and returns another exit code; worker_close() only after CLI_EXIT_DONE. */
int worker_open(struct worker *worker, const struct print_options *print);
void worker_close(struct worker *worker); /* kills what still runs */

void worker_take(struct worker *worker, const struct pubsub_message *message);

/* As exec_poll() and exec_work(). on_done runs inside the second. */
nfds_t worker_poll(const struct worker *worker, struct pollfd *fds);
void worker_work(struct worker *worker);

bool worker_busy(const struct worker *worker); /* something runs or waits */

/* Works on until nothing runs or waits, or a signal comes: then that goes to the commands. Returns CLI_EXIT_DONE, or
 * 128 + its number. */
int worker_drain(struct worker *worker);

/* Says how many failed, if any. Returns CLI_EXIT_DONE or CLI_EXIT_ERROR. */
int worker_verdict(const struct worker *worker);

#endif
