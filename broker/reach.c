#include "reach.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "metrics/metrics.h"

/* Calls fn for each file that root may have read for the broker. */
static void each_file(const struct config *config, const char *file, void (*fn)(const char *path, void *arg), void *arg)
{
    if (file != NULL) fn(file, arg);
    for (int i = 0; i < config->listeners_count; i++) {
        const struct tls_config *tls = &config->listeners[i].tls;
        if (!config->listeners[i].address.is_tls) continue;
        fn(tls->certificate, arg);
        fn(tls->key, arg);
        if (tls->client_certificate != CLIENT_CERTIFICATE_OFF) fn(tls->client_ca, arg);
    }
}

static bool is_out_of_reach(const char *path)
{
    return access(path, R_OK) != 0 && errno == EACCES;
}

static void warn_of_file(const char *path, void *arg)
{
    const struct config *config = arg;
    if (!is_out_of_reach(path)) return;
    log_line(EVENT_FILE_UNREADABLE,
             LOG_FIELDS(log_value("user", mps_text(config->user)), log_value("file", mps_text(path))),
             "user '%s' can't read '%.300s', which root has read now: a reload (SIGHUP) will be refused", config->user,
             path);
}

static void warn_of_socket(const char *path, const char *user)
{
    char copy[sizeof((struct listener *)0)->path];
    snprintf(copy, sizeof copy, "%s", path);
    if (copy[0] == '\0' || access(dirname(copy), W_OK | X_OK) == 0) return;
    log_line(
        EVENT_SOCKET_UNREMOVABLE,
        LOG_FIELDS(log_value("user", mps_text(user)), log_value("file", mps_text(path))),
        "user '%s' can't remove the socket '%s' at the end, as its directory is not his: the next start replaces it",
        user, path);
}

void reach_warn(const struct server *server, const struct config *config, const char *file)
{
    if (config->user[0] == '\0') return;
    each_file(config, file, warn_of_file, (void *)config);
    for (const struct listener *listener = server->listeners; listener != NULL; listener = listener->next)
        warn_of_socket(listener->path, config->user);
    warn_of_socket(metrics_path(server), config->user);
}

static void note_first(const char *path, void *arg)
{
    const char **first = arg;
    if (*first == NULL && is_out_of_reach(path)) *first = path;
}

void reach_explain(const struct config *config, const char *file, char *text, size_t text_cap)
{
    const char *path = NULL;
    size_t len = strlen(text);
    if (config->user[0] == '\0') return;
    each_file(config, file, note_first, (void *)&path);
    if (path == NULL) return;
    snprintf(text + len, text_cap - len, "; the broker goes on as user '%s', who can't read '%.300s'", config->user,
             path);
}
