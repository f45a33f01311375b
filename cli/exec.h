/* Runs shell commands, several at a time: each gets bytes on its standard input, and what it says on its standard
 * output is collected if that is wanted. Nothing blocks: all is done between two polls, however large these are.
 *
 * Each command is a process group of its own, so that a signal reaches all that it started.
 * Limits: EXEC_JOBS_MAX at a time. One pool a program, for it handles SIGCHLD. Out of memory ends the program. */
#ifndef CLI_EXEC_H
#define CLI_EXEC_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "buffer.h"

#define EXEC_JOBS_MAX 64
#define EXEC_POLL_MAX (1 + 2 * EXEC_JOBS_MAX) /* descriptors */

struct exec_job {
    pid_t pid;           /* 0: this place is free */
    bool ended;          /* the process; what it started may still write */
    int status;          /* as waitpid() says it */
    int in_fd, out_fd;   /* our ends of its pipes; -1: closed, or there is none */
    struct buffer input; /* for its standard input */
    size_t written;      /* bytes of that */
    struct buffer output;
    bool too_much;       /* it said more than output_max */
    void *owner;         /* what exec_start() was given */
};

struct exec_pool {
    const char *command; /* for sh -c; borrowed */
    unsigned jobs_max;   /* 1..EXEC_JOBS_MAX */
    bool collect;        /* standard output; else it is ours */
    size_t output_max;   /* bytes of it; with more the command finds its output closed */
    void (*on_end)(struct exec_pool *pool, struct exec_job *job, void *user); /* job and its buffers: borrowed */
    void *user;
    unsigned running;
    int child_fd; /* readable when a child may have ended */
    struct exec_job jobs[EXEC_JOBS_MAX];
};

/* The value of --jobs. False: complained. */
bool option_jobs(const char *value, unsigned *jobs);

/* The first six fields are set by the caller. False: complained. */
bool exec_open(struct exec_pool *pool);

/* Kills what still runs and frees. on_end does not run. */
void exec_close(struct exec_pool *pool);

/* Starts the command; fewer than jobs_max must be running. *input is taken over and empty after; environment is copied.
 * False: complained, on_end does not run. */
bool exec_start(struct exec_pool *pool, struct buffer *input, char *const *environment, void *owner);

/* What to poll for: fills at most EXEC_POLL_MAX, returns how many. After the poll exec_work() does what can be done and
 * calls on_end for each command that has ended. */
nfds_t exec_poll(const struct exec_pool *pool, struct pollfd *fds);
void exec_work(struct exec_pool *pool);

/* Sends a signal to all that run, and waits a little for their end; who is still there then is killed. */
void exec_end(struct exec_pool *pool, int number);

/* Whether the command did what it was asked; if not, why holds a clause: "it ended with status 3". */
bool exec_succeeded(const struct exec_job *job, char *why, size_t cap);

#endif
