#include "exec.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"
#include "options.h"

#define SHELL "/bin/sh"
#define READ_BYTES ((size_t)64 * 1024)
#define END_MS 2000 /* for commands that were told to end */

/* A variable of the whole program, since a handler can't be given anything. */
static int wake_fd = -1;

static void on_child(int number)
{
    (void)number;
    int saved = errno;
    if (eventfd_write(wake_fd, 1) != 0) {
        /* Nothing can be done in a handler, and it can only be that it is readable already. */
    }
    errno = saved;
}

bool option_jobs(const char *value, unsigned *jobs)
{
    unsigned long long number;
    if (!option_number("--jobs", value, 1, &number)) return false;
    if (number > EXEC_JOBS_MAX) {
        complain("--jobs %s: must be at most %d", value, EXEC_JOBS_MAX);
        return false;
    }
    *jobs = (unsigned)number;
    return true;
}

bool exec_open(struct exec_pool *pool)
{
    wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake_fd < 0) {
        complain("no descriptor left to note the end of commands with");
        return false;
    }
    struct sigaction action = {.sa_handler = on_child, .sa_flags = SA_RESTART | SA_NOCLDSTOP};
    sigaction(SIGCHLD, &action, NULL);
    pool->child_fd = wake_fd;
    return true;
}

static void close_fd(int *fd)
{
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

static void free_job(struct exec_job *job)
{
    close_fd(&job->in_fd);
    close_fd(&job->out_fd);
    buffer_free(&job->input);
    buffer_free(&job->output);
    *job = (struct exec_job){0};
}

/* ---- starting ---- */

/* Pipes: [0] is read from, [1] written to. Ours of the two ends never blocks. */
static bool open_pipe(int fds[2], int ours)
{
    if (pipe2(fds, O_CLOEXEC) != 0) {
        fds[0] = fds[1] = -1;
        return false;
    }
    return fcntl(fds[ours], F_SETFL, O_NONBLOCK) == 0;
}

/* Returns 0 or an errno. */
static int spawn(const struct exec_pool *pool, pid_t *pid, int in_fd, int out_fd, char *const *environment)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t reset;
    sigemptyset(&reset);
    sigaddset(&reset, SIGPIPE); /* we ignore it, and that would be inherited */
    if (posix_spawn_file_actions_init(&files) != 0) return ENOMEM;
    if (posix_spawnattr_init(&attributes) != 0) {
        posix_spawn_file_actions_destroy(&files);
        return ENOMEM;
    }
    char shell[] = "sh", option[] = "-c";
    char *arguments[] = {shell, option, (char *)(uintptr_t)pool->command, NULL};
    int error = posix_spawn_file_actions_adddup2(&files, in_fd, STDIN_FILENO);
    if (error == 0 && pool->collect) error = posix_spawn_file_actions_adddup2(&files, out_fd, STDOUT_FILENO);
    if (error == 0) error = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF);
    if (error == 0) error = posix_spawnattr_setpgroup(&attributes, 0);
    if (error == 0) error = posix_spawnattr_setsigdefault(&attributes, &reset);
    if (error == 0) error = posix_spawn(pid, SHELL, &files, &attributes, arguments, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    return error;
}

static struct exec_job *free_place(struct exec_pool *pool)
{
    struct exec_job *job = pool->jobs;
    while (job->pid != 0) job++;
    return job;
}

bool exec_start(struct exec_pool *pool, struct buffer *input, char *const *environment, void *owner)
{
    struct exec_job *job = free_place(pool);
    int in[2] = {-1, -1}, out[2] = {-1, -1};
    pid_t pid = 0;
    int error = 0;
    if (!open_pipe(in, 1) || (pool->collect && !open_pipe(out, 0))) error = errno;
    if (error == 0) error = spawn(pool, &pid, in[0], out[1], environment);
    close_fd(&in[0]);
    close_fd(&out[1]);
    *job = (struct exec_job){.pid = pid, .in_fd = in[1], .out_fd = out[0], .input = *input, .owner = owner};
    *input = (struct buffer){0};
    if (error == 0) {
        pool->running++;
        return true;
    }
    complain("cannot start the command: %s", strerror(error));
    free_job(job);
    return false;
}

/* ---- meanwhile ---- */

nfds_t exec_poll(const struct exec_pool *pool, struct pollfd *fds)
{
    nfds_t count = 0;
    fds[count++] = (struct pollfd){.fd = pool->child_fd, .events = POLLIN};
    for (const struct exec_job *job = pool->jobs; job < pool->jobs + pool->jobs_max; job++) {
        if (job->pid == 0) continue;
        if (job->in_fd >= 0) fds[count++] = (struct pollfd){.fd = job->in_fd, .events = POLLOUT};
        if (job->out_fd >= 0) fds[count++] = (struct pollfd){.fd = job->out_fd, .events = POLLIN};
    }
    return count;
}

/* A command that does not want its input, or not all of it, has a right to that. */
static void feed(struct exec_job *job)
{
    while (job->in_fd >= 0) {
        size_t left = job->input.len - job->written;
        ssize_t n = left > 0 ? write(job->in_fd, job->input.data + job->written, left) : 0;
        if (n > 0) job->written += (size_t)n;
        else if (n < 0 && errno == EAGAIN) return;
        else if (n == 0 || errno != EINTR) close_fd(&job->in_fd);
    }
}

static void collect(struct exec_job *job, size_t max)
{
    while (job->out_fd >= 0) {
        buffer_reserve(&job->output, READ_BYTES);
        ssize_t n = read(job->out_fd, job->output.data + job->output.len, READ_BYTES);
        if (n > 0) job->output.len += (size_t)n;
        else if (n < 0 && errno == EAGAIN) return;
        else if (n == 0 || errno != EINTR) close_fd(&job->out_fd);
        if (job->output.len > max) {
            job->too_much = true;
            close_fd(&job->out_fd);
        }
    }
}

static void reap(struct exec_job *job)
{
    pid_t pid = job->ended ? 0 : waitpid(job->pid, &job->status, WNOHANG);
    if (pid != job->pid) return;
    job->ended = true;
    close_fd(&job->in_fd);
}

static void work_on(struct exec_pool *pool, struct exec_job *job)
{
    feed(job);
    reap(job); /* first this, so that what it wrote before its end is there to be read */
    collect(job, pool->output_max);
}

void exec_work(struct exec_pool *pool)
{
    eventfd_t count;
    if (eventfd_read(pool->child_fd, &count) != 0) count = 0;
    for (struct exec_job *job = pool->jobs; job < pool->jobs + pool->jobs_max; job++) {
        if (job->pid == 0) continue;
        work_on(pool, job);
        if (!job->ended || job->out_fd >= 0) continue;
        struct exec_job over = *job; /* its place is free for the next already */
        *job = (struct exec_job){0};
        pool->running--;
        pool->on_end(pool, &over, pool->user);
        free_job(&over);
    }
}

/* ---- the end ---- */

static void send_signal(const struct exec_pool *pool, int number)
{
    for (const struct exec_job *job = pool->jobs; job < pool->jobs + pool->jobs_max; job++) {
        if (job->pid != 0) kill(-job->pid, number);
    }
}

/* Whether all have ended that were started here. */
static bool all_reaped(struct exec_pool *pool)
{
    bool all = true;
    for (struct exec_job *job = pool->jobs; job < pool->jobs + pool->jobs_max; job++) {
        if (job->pid == 0) continue;
        work_on(pool, job);
        all &= job->ended;
    }
    return all;
}

void exec_end(struct exec_pool *pool, int number)
{
    uint64_t deadline_ns = now_ns() + UINT64_C(1000000) * END_MS;
    send_signal(pool, number);
    send_signal(pool, SIGCONT); /* a stopped one would not notice */
    while (!all_reaped(pool) && now_ns() < deadline_ns) {
        struct pollfd fds[EXEC_POLL_MAX];
        nfds_t count = exec_poll(pool, fds);
        eventfd_t ignored;
        poll(fds, count, END_MS / 10);
        if (eventfd_read(pool->child_fd, &ignored) != 0) continue;
    }
}

void exec_close(struct exec_pool *pool)
{
    send_signal(pool, SIGKILL);
    for (struct exec_job *job = pool->jobs; job < pool->jobs + pool->jobs_max; job++) {
        if (job->pid == 0) continue;
        while (!job->ended && waitpid(job->pid, &job->status, 0) < 0 && errno == EINTR) {
        }
        free_job(job);
    }
    pool->running = 0;
    signal(SIGCHLD, SIG_DFL);
    close_fd(&pool->child_fd);
}

bool exec_succeeded(const struct exec_job *job, char *why, size_t cap)
{
    if (job->too_much) {
        snprintf(why, cap, "it said more than a message may hold");
        return false;
    }
    if (WIFEXITED(job->status) && WEXITSTATUS(job->status) == 0) return true;
    if (WIFEXITED(job->status)) {
        snprintf(why, cap, "it ended with status %d", WEXITSTATUS(job->status));
    } else {
        int number = WTERMSIG(job->status);
        snprintf(why, cap, "it was ended by signal %d (%s)", number, strsignal(number));
    }
    return false;
}
