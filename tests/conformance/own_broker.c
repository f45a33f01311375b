#include "own_broker.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATH_CAP 128

struct own_broker {
    const char *program;
    pid_t pid; /* 0: it doesn't run */
    char dir[PATH_CAP / 2];
    char url[PATH_CAP], config[PATH_CAP], log[PATH_CAP];
};

static void write_limit(FILE *out, const char *key, uint64_t limit, const char *unit)
{
    if (limit > 0) fprintf(out, "%s = %llu%s\n", key, (unsigned long long)limit, unit);
}

static void write_stream(FILE *out, const struct stage_stream *stream)
{
    fprintf(out, "[stream %s]\n", stream->name);
    for (size_t i = 0; i < stream->patterns_count; i++) fprintf(out, "topics = %s\n", stream->patterns[i]);
    write_limit(out, "max_messages", stream->max_msgs, "");
    write_limit(out, "max_bytes", stream->max_bytes, "");
    write_limit(out, "max_age", stream->max_age_ms / 1000, "s");
    if (stream->refuses) fprintf(out, "on_full = refuse\n");
}

static bool write_config(const struct own_broker *own, char *const *streams, size_t count)
{
    FILE *out = fopen(own->config, "we");
    if (out == NULL) return false;
    fprintf(out, "[broker]\ndata = %s/data\n", own->dir);
    for (size_t i = 0; i < count; i++) {
        struct stage_stream stream;
        if (stage_stream_parse(streams[i], &stream)) write_stream(out, &stream);
    }
    return fclose(out) == 0;
}

/* In the child: the descriptor of readiness is all that it has of us. */
static void run(const struct own_broker *own, int ready)
{
    char number[16];
    snprintf(number, sizeof number, "%d", ready);
    int log = open(own->log, O_WRONLY | O_CREAT | O_APPEND, 0600), nothing = open("/dev/null", O_RDWR);
    if (log < 0 || nothing < 0 || dup2(nothing, 0) < 0 || dup2(nothing, 1) < 0 || dup2(log, 2) < 0) _exit(126);
    fcntl(ready, F_SETFD, 0);
    setenv("HOME", own->dir, 1);
    setenv("XDG_RUNTIME_DIR", own->dir, 1);
    setenv("XDG_STATE_HOME", own->dir, 1);
    execlp(own->program, own->program, "--config", own->config, "--listen", own->url, "--ready-fd", number,
           (char *)NULL);
    _exit(127);
}

/* A sentence that ends with what it said itself at last. */
static void complain(const struct own_broker *own, const char *what, char *error, size_t cap)
{
    char said[512] = "";
    FILE *log = fopen(own->log, "re");
    if (log != NULL) {
        if (fseek(log, -(long)(sizeof said - 1), SEEK_END) != 0) rewind(log); /* it is shorter */
        said[fread(said, 1, sizeof said - 1, log)] = '\0';
        fclose(log);
    }
    snprintf(error, cap, "%s %s; it said: %s", own->program, what, said);
}

static bool begin(struct own_broker *own, char *error, size_t cap)
{
    int ready[2];
    char byte;
    if (pipe2(ready, O_CLOEXEC) != 0) {
        complain(own, "can't be started", error, cap);
        return false;
    }
    own->pid = fork();
    if (own->pid == 0) run(own, ready[1]);
    close(ready[1]);
    ssize_t len;
    do len = own->pid > 0 ? read(ready[0], &byte, 1) : -1;
    while (len < 0 && own->pid > 0 && errno == EINTR);
    close(ready[0]);
    if (len == 1) return true;
    complain(own, "ended before it was ready", error, cap);
    return false;
}

/* How it ended, as waitpid() says; -1: it didn't run. */
static int end(struct own_broker *own, int signal)
{
    int status = -1;
    if (own->pid <= 0) return -1;
    kill(own->pid, signal);
    while (waitpid(own->pid, &status, 0) < 0 && errno == EINTR) {
    }
    own->pid = 0;
    return status;
}

static int remove_one(const char *path, const struct stat *what, int type, struct FTW *place)
{
    (void)what;
    (void)type;
    (void)place;
    return remove(path);
}

static void forget(struct own_broker *own)
{
    end(own, SIGKILL);
    nftw(own->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(own);
}

struct own_broker *own_broker_start(const char *program, char *const *streams, size_t streams_count, char *error,
                                    size_t cap)
{
    struct own_broker *own = calloc(1, sizeof *own);
    if (own == NULL) abort();
    own->program = program;
    snprintf(own->dir, sizeof own->dir, "/tmp/pubsub-vectors-XXXXXX");
    if (mkdtemp(own->dir) == NULL) {
        snprintf(error, cap, "no directory can be made in /tmp");
        free(own);
        return NULL;
    }
    snprintf(own->url, sizeof own->url, "unix:%s/s", own->dir);
    snprintf(own->config, sizeof own->config, "%s/pubsubd.conf", own->dir);
    snprintf(own->log, sizeof own->log, "%s/stderr", own->dir);
    bool good = write_config(own, streams, streams_count);
    if (!good) snprintf(error, cap, "%s can't be written", own->config);
    if (good && begin(own, error, cap)) return own;
    forget(own);
    return NULL;
}

const char *own_broker_url(const struct own_broker *own)
{
    return own->url;
}

bool own_broker_restart(struct own_broker *own, char *error, size_t cap)
{
    end(own, SIGKILL);
    return begin(own, error, cap);
}

bool own_broker_stop(struct own_broker *own, char *error, size_t cap)
{
    char said[1024];
    int status = end(own, SIGTERM);
    bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (!good) complain(own, "did not end well", said, sizeof said);
    /* That its disk is slow it says in the end as it promises. */
    if (WIFEXITED(status) && WEXITSTATUS(status) == 1)
        good = strstr(said, "the disk does not take the last messages in time") != NULL;
    if (!good) snprintf(error, cap, "%s", said);
    forget(own);
    return good;
}
