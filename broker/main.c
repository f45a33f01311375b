/* pubsubd: reads its options, opens what it serves, says that it is ready, runs. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/commands.h"
#include "access/verifier.h"
#include "cluster/load.h"
#include "log.h"
#include "metrics/metrics.h"
#include "net/net.h"
#include "notify.h"
#include "privileges.h"
#include "reach.h"
#include "reload.h"
#include "sqlite_store.h"

#define DEFAULT_TCP "tcp://127.0.0.1:7717"

static int open_default(struct server *server, char *text, size_t text_cap)
{
    struct listener_config local = {.address.kind = ADDRESS_UNIX}, tcp = {.name = ""};
    if (address_default_unix(local.address.path, sizeof local.address.path, text, text_cap) != 0 ||
        listener_open(server, &local, text, text_cap) != 0 ||
        address_parse(&tcp.address, DEFAULT_TCP, text, text_cap) != 0)
        return -1;
    return listener_open(server, &tcp, text, text_cap);
}

/* Configured addresses take those of the inherited sockets that are bound there; the others are served as they are. */
static int open_all(struct server *server, const struct config *config, char *text, size_t text_cap)
{
    if (inherited_find(&server->inherited, text, text_cap) != 0) return -1;
    bool is_told_where = server->inherited.count > 0 || config->listeners_count > 0;
    for (int i = 0; i < config->listeners_count; i++) {
        if (listener_open(server, &config->listeners[i], text, text_cap) != 0) return -1;
    }
    for (int fd; (fd = inherited_take_any(&server->inherited)) >= 0;) {
        struct listener_config given = {.address = {.kind = ADDRESS_FD, .fd = fd}};
        if (listener_open(server, &given, text, text_cap) != 0) return -1;
    }
    return is_told_where ? 0 : open_default(server, text, text_cap);
}

static void note(void *arg, const char *text)
{
    (void)arg;
    log_line(EVENT_SALVAGE, NULL, "%s", text);
}

static struct store *open_sqlite(struct server *server, const struct options *options, const char *directory,
                                 char *text, size_t text_cap)
{
    struct sqlite_store_options how = {
        .directory = directory, .salvage = options->salvage, .wake = server_wake, .note = note, .arg = server};
    struct store *store = sqlite_store_open(&how, text, text_cap);
    if (store != NULL) area_set_directory(server, directory);
    return store;
}

/* What is kept, in this directory. Without a stream nothing is; and what all brokers share is kept elsewhere. */
static int open_store(struct server *server, const struct options *options, const char *directory, char *text,
                      size_t text_cap)
{
    struct stream_config streams[STREAMS_MAX];
    const struct config *config = &options->config;
    struct store *store = NULL;
    if (config->streams_count == 0) return 0;
    if (config_own_streams(config) > 0) {
        store = open_sqlite(server, options, directory, text, text_cap);
        if (store == NULL) return -1;
    }
    for (int i = 0; i < config->streams_count; i++) streams[i] = config->streams[i]->terms;
    return server_keep(server, store, streams, (size_t)config->streams_count, text, text_cap);
}

/* It becomes one of several brokers. Without [cluster] nothing of that is loaded. */
static int join_others(struct server *server, const struct cluster_section *cluster, char *text, size_t text_cap)
{
    static const char *const all[] = {"#"};
    char name[ENGINE_NAME_MAX + 1];
    if (cluster->urls_count == 0) return 0;
    struct engine *engine = cluster_load(cluster, server_wake_of_cluster, server, text, text_cap);
    if (engine == NULL) return -1;
    config_cluster_name(cluster, name);
    struct cluster_config how = {.name = name, .topics = all, .topics_count = 1};
    if (cluster->topics_count > 0)
        how.topics = (const char *const *)cluster->topics, how.topics_count = cluster->topics_count;
    return server_join(server, engine, &how, text, text_cap);
}

/* What is read and written as the user that it goes on as: the log, who may come in, and what is kept. */
static int open_kept(struct server *server, const struct options *options, const struct privileges *user, char *text,
                     size_t text_cap)
{
    char directory[PATH_MAX];
    const struct config *config = &options->config;
    if (config_own_streams(config) > 0) { /* else no directory is touched */
        if (config_data_directory(config, directory, sizeof directory, text, text_cap) != 0) return -1;
        privileges_make_directory(user, directory);
    }
    if (privileges_act_as(user, text, text_cap) != 0 || log_open(&config->log, text, text_cap) != 0 ||
        verifier_prepare(server, config, text, text_cap) != 0)
        return -1;
    verifier_apply(server);
    if (open_store(server, options, directory, text, text_cap) != 0) return -1;
    return join_others(server, &config->cluster, text, text_cap);
}

/* Addresses may need root, and sockets get what the umask leaves, which is the operator's way to let others in. All
 * else that it makes is nobody else's business. */
static int open_addresses(struct server *server, const struct config *config, const struct privileges *user,
                          mode_t operators_umask, char *text, size_t text_cap)
{
    mode_t own = umask(operators_umask);
    privileges_act_as_root(user);
    if (open_all(server, config, text, text_cap) != 0 ||
        metrics_open(server, config, operators_umask, text, text_cap) != 0)
        return -1;
    for (const struct listener *listener = server->listeners; listener != NULL; listener = listener->next)
        if (listener->path[0] != '\0') privileges_give(user, listener->path);
    if (metrics_path(server)[0] != '\0') privileges_give(user, metrics_path(server));
    umask(own);
    return privileges_drop(user, text, text_cap);
}

/* More connections than the shell's modest default. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* One arena for all threads: what the store's threads read is freed by the loop's, and arenas of their own would give
 * it back to the system and fetch it again (replay to one reader: a third of the time). And large pieces are used again
 * at once, instead of going to the system and coming back empty: new pages for each cost more than to fill them (1 MiB
 * through the broker: 1.5 ms of CPU, of which 0.9). server_trim_soon() gives back what is not needed any more. */
static void tune_allocator(void)
{
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, 32 * 1024 * 1024);
    mallopt(M_TRIM_THRESHOLD, 256 * 1024 * 1024);
    mallopt(M_TOP_PAD, 1024 * 1024);
}

static void say_ready(const struct server *server, int ready_fd)
{
    char line[sizeof server->ready + 8];
    snprintf(line, sizeof line, "ready%s", server->ready);
    log_ready(line);
    if (ready_fd < 0) return;
    dprintf(ready_fd, "%s\n", line);
    if (ready_fd != STDERR_FILENO) close(ready_fd);
}

/* Whoever starts us may have closed some of them. What is opened next would take their numbers, and a client get the
 * lines of the log, or a file. */
static void occupy_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0) abort();
}

/* One that comes before there is somebody to load the configuration again would end the process, as it does by default:
 * it waits. Threads that are made meanwhile never take it. */
static void hold_reloads(bool hold)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(hold ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

static int serve(struct options *options)
{
    char text[600];
    static struct reload reload;
    static struct notifier notifier;
    static struct server *server; /* static: whatever is open when a listener fails stays referenced until the exit */
    server = server_new(&options->config.limits, &options->config.caps);
    const struct config *config = &options->config;
    struct privileges user;
    mode_t operators_umask = umask(077);
    int failed = privileges_find(&user, config->user, text, sizeof text);
    if (failed == 0) failed = open_kept(server, options, &user, text, sizeof text);
    if (failed == 0) failed = open_addresses(server, config, &user, operators_umask, text, sizeof text);
    server_catch_signals(server);
    if (failed != 0) {
        log_start_failed(text);
        metrics_close(server);
        listener_close_all(server);
        server_leave(server);
        server_close_store(server);
        return 1;
    }
    reach_warn(server, config, options->given.file);
    reload_watch(&reload, server, options, &notifier);
    hold_reloads(false);
    say_ready(server, options->ready_fd);
    notify_ready(&notifier, &server->loop, server->ready);
    int code = server_run(server);
    metrics_close(server);
    if (code == 0) server_free(server);
    else server_leave(server);
    log_close();
    return code;
}

int main(int argc, char **argv)
{
    struct options options;
    occupy_standard_descriptors();
    int code = access_command(argc, argv);
    if (code >= 0) return code;
    hold_reloads(true);
    code = options_parse(&options, argc, argv);
    if (code < 0) {
        privileges_forbid_new();
        signal(SIGPIPE, SIG_IGN);
        signal(SIGXFSZ, SIG_IGN); /* a file that may not grow any more is an error of the store */
        tune_allocator();
        raise_descriptor_limit();
        code = serve(&options);
    }
    config_free(&options.config);
    return code;
}
