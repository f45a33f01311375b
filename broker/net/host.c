/* What the machine says of the broker: its memory, and the disk under its data. */
#include <sys/statvfs.h>

#include "net.h"

static struct server *server_of(struct env *env)
{
    return (struct server *)(void *)env;
}

static void env_measure(struct env *env, struct host_figures *figures)
{
    const struct server *server = server_of(env);
    struct statvfs disk;
    size_t rss;
    if (uv_resident_set_memory(&rss) == 0) figures->rss_bytes = rss;
    if (server->area_directory[0] == '\0' || statvfs(server->area_directory, &disk) != 0) return;
    figures->data_bytes = (uint64_t)disk.f_blocks * disk.f_frsize;
    figures->data_free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize; /* what is root's alone is not ours */
}

static void env_each_listener(struct env *env, void (*fn)(const struct listener_figures *figures, void *arg), void *arg)
{
    for (const struct listener *listener = server_of(env)->listeners; listener != NULL; listener = listener->next) {
        const struct listener_counts *counts = listener->counts;
        fn(&(struct listener_figures){.name = listener->name,
                                      .url = listener->url,
                                      .connections = counts->connections,
                                      .accepted = counts->accepted,
                                      .refused = counts->refused},
           arg);
    }
}

void host_fill_env(struct env *env)
{
    env->measure = env_measure;
    env->each_listener = env_each_listener;
}
