#include "nats_rig.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "scratch.h"

#define ARGUMENTS_MAX 40
#define LOG_BYTES (1024 * 1024) /* as much as it may say in a test */

static const char *program(void)
{
    const char *given = getenv("PUBSUB_NATS_SERVER");
    return given != NULL ? given : PUBSUB_NATS_SERVER;
}

bool nats_rig_is_there(void)
{
    return access(program(), X_OK) == 0;
}

void nats_rig_open(struct nats_rig *rig)
{
    *rig = (struct nats_rig){0};
    snprintf(rig->directory, sizeof rig->directory, "%s/nats-rig-XXXXXX", scratch_top());
    assert_non_null(mkdtemp(rig->directory));
}

static void run(const struct nats_rig *rig, const char *const *more, int log_fd)
{
    char port[16];
    snprintf(port, sizeof port, "%d", rig->port == 0 ? -1 : rig->port);
    const char *arguments[ARGUMENTS_MAX] = {program(), "-a", "127.0.0.1", "-p", port, "-sd", rig->directory};
    size_t count = 7;
    for (; more != NULL && *more != NULL && count < ARGUMENTS_MAX - 1; more++) arguments[count++] = *more;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    dup2(log_fd, STDERR_FILENO);
    execv(arguments[0], (char *const *)arguments);
    _exit(127);
}

/* It says where it listens, and then that it is ready. */
static void wait_until_ready(struct nats_rig *rig)
{
    static const char listening[] = "Listening for client connections on 127.0.0.1:";
    char line[2000];
    bool is_ready = false;
    FILE *log = fdopen(dup(rig->log_fd), "r");
    assert_non_null(log);
    while (!is_ready && fgets(line, sizeof line, log) != NULL) {
        const char *where = strstr(line, listening);
        if (where != NULL) rig->port = atoi(where + sizeof listening - 1);
        is_ready = strstr(line, "Server is ready") != NULL;
    }
    assert_true(is_ready);
    fclose(log);
}

void nats_rig_start(struct nats_rig *rig, const char *const *more)
{
    int pipes[2];
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    rig->pid = fork();
    assert_true(rig->pid >= 0);
    if (rig->pid == 0) {
        close(pipes[0]);
        run(rig, more, pipes[1]);
    }
    close(pipes[1]);
    fcntl(pipes[0], F_SETPIPE_SZ, LOG_BYTES);
    rig->log_fd = pipes[0];
    wait_until_ready(rig);
    snprintf(rig->url, sizeof rig->url, "nats://127.0.0.1:%d", rig->port);
}

static void end_by(struct nats_rig *rig, int signal)
{
    if (rig->pid == 0) return;
    kill(rig->pid, signal);
    waitpid(rig->pid, NULL, 0);
    close(rig->log_fd);
    rig->pid = 0;
}

void nats_rig_kill(struct nats_rig *rig)
{
    end_by(rig, SIGKILL);
}

void nats_rig_end(struct nats_rig *rig)
{
    end_by(rig, SIGTERM);
}

void nats_rig_close(struct nats_rig *rig)
{
    char command[400];
    nats_rig_kill(rig);
    snprintf(command, sizeof command, "rm -rf '%s'", rig->directory);
    assert_int_equal(system(command), 0);
}
