#include "load.h"

#include <dlfcn.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/lines.h"

#define MODULE "pubsubd_cluster.so"

/* ---- the module --------------------------------------------------------------------------------------------- */

static bool is_there(char *path, size_t path_cap, const char *directory, const char *below)
{
    int len = snprintf(path, path_cap, "%s/%s" MODULE, directory, below);
    return len > 0 && (size_t)len < path_cap && access(path, F_OK) == 0;
}

/* Next to the program, as it was built, or where `cmake --install` and the package put it. */
static engine_open_fn *load_module(char *text, size_t text_cap)
{
    char program[PATH_MAX] = "", path[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", program, sizeof program - 1);
    const char *directory = len > 0 ? dirname(program) : "";
    if (!is_there(path, sizeof path, directory, "") && !is_there(path, sizeof path, directory, PUBSUB_MODULES "/")) {
        snprintf(text, text_cap,
                 "[cluster] needs the module " MODULE ", which is neither in '%.200s' nor in '%.200s/" PUBSUB_MODULES
                 "': install the package pubsubd-cluster",
                 directory, directory);
        return NULL;
    }
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void *symbol = module != NULL ? dlsym(module, ENGINE_OPEN_NAME) : NULL;
    engine_open_fn *open_engine;
    if (symbol == NULL) {
        snprintf(text, text_cap, "[cluster]: %s", dlerror());
        return NULL;
    }
    memcpy(&open_engine, &symbol, sizeof open_engine); /* C has no conversion from one to the other */
    return open_engine;
}

/* ---- files -------------------------------------------------------------------------------------------------- */

/* The only line of a file. path "": nothing is read, *secret is NULL. To be freed by wipe(). */
static int read_secret(const char *key, const char *path, char **secret, char *text, size_t text_cap)
{
    char why[400];
    struct lines lines;
    *secret = NULL;
    if (path[0] == '\0') return 0;
    if (lines_read(&lines, path, false, why, sizeof why) != 0) {
        snprintf(text, text_cap, "[cluster] %s: %s", key, why);
        return -1;
    }
    bool is_one = lines.count == 1 && lines.at[0][0] != '\0';
    if (is_one) *secret = strdup(lines.at[0]);
    lines_free(&lines);
    if (*secret != NULL) return 0;
    if (is_one) abort();
    snprintf(text, text_cap, "[cluster] %s: %s: it must hold one line, and nothing else", key, path);
    return -1;
}

static void wipe(char *secret)
{
    if (secret != NULL) sodium_memzero(secret, strlen(secret));
    free(secret);
}

/* forbidden: bits of its mode that it may not have. */
static int check_file(const char *key, const char *path, mode_t forbidden, char *text, size_t text_cap)
{
    struct stat st;
    if (path[0] == '\0') return 0;
    if (access(path, R_OK) != 0 || stat(path, &st) != 0) {
        snprintf(text, text_cap, "[cluster] %s: '%s' cannot be read: %s", key, path, strerror(errno));
        return -1;
    }
    if ((st.st_mode & forbidden) == 0) return 0;
    snprintf(text, text_cap, "[cluster] %s: '%s' is not private: its mode is %04o, and 0640 is the most that it may be",
             key, path, (unsigned)st.st_mode & 07777);
    return -1;
}

static int check_files(const struct cluster_section *cluster, char *text, size_t text_cap)
{
    if (check_file("ca", cluster->ca, 0, text, text_cap) != 0 ||
        check_file("certificate", cluster->certificate, 0, text, text_cap) != 0 ||
        check_file("key", cluster->key, 037, text, text_cap) != 0)
        return -1;
    return check_file("credentials", cluster->credentials, 037, text, text_cap);
}

static int read_secrets(const struct cluster_section *cluster, char **password, char **token, char *text,
                        size_t text_cap)
{
    *token = NULL;
    if (read_secret("password_file", cluster->password_file, password, text, text_cap) != 0 ||
        read_secret("token_file", cluster->token_file, token, text, text_cap) != 0)
        return -1;
    return check_files(cluster, text, text_cap);
}

/* ---- the engine --------------------------------------------------------------------------------------------- */

static const char *if_set(const char *value)
{
    return value[0] != '\0' ? value : NULL;
}

/* To be freed. */
static char *join_urls(const struct cluster_section *cluster)
{
    size_t len = 1;
    for (size_t i = 0; i < cluster->urls_count; i++) len += strlen(cluster->urls[i]) + 1;
    char *urls = calloc(1, len);
    if (urls == NULL) abort();
    for (size_t i = 0; i < cluster->urls_count; i++) {
        if (i > 0) strcat(urls, ",");
        strcat(urls, cluster->urls[i]);
    }
    return urls;
}

static struct engine *open_engine(engine_open_fn *open_it, const struct cluster_section *cluster, const char *password,
                                  const char *token, void (*wake)(void *arg), void *arg, char *text, size_t text_cap)
{
    char name[ENGINE_NAME_MAX + 1], why[STORE_TEXT_MAX] = "";
    char *urls = join_urls(cluster);
    config_cluster_name(cluster, name);
    struct engine_options options = {.name = name,
                                     .prefix = cluster->prefix,
                                     .urls = urls,
                                     .user = if_set(cluster->user),
                                     .password = password,
                                     .token = token,
                                     .credentials_file = if_set(cluster->credentials),
                                     .ca_file = if_set(cluster->ca),
                                     .cert_file = if_set(cluster->certificate),
                                     .key_file = if_set(cluster->key),
                                     .replicas = config_cluster_replicas(cluster),
                                     .defer_ms = cluster->defer_ms,
                                     .defer_bytes = cluster->defer_bytes,
                                     .wake = wake,
                                     .arg = arg};
    struct engine *engine = open_it(&options, why);
    if (engine == NULL) snprintf(text, text_cap, "[cluster]: %s", why);
    free(urls);
    return engine;
}

struct engine *cluster_load(const struct cluster_section *cluster, void (*wake)(void *arg), void *arg, char *text,
                            size_t text_cap)
{
    char *password, *token;
    struct engine *engine = NULL;
    engine_open_fn *open_it = load_module(text, text_cap);
    if (open_it == NULL) return NULL;
    if (read_secrets(cluster, &password, &token, text, text_cap) == 0)
        engine = open_engine(open_it, cluster, password, token, wake, arg, text, text_cap);
    wipe(password);
    wipe(token);
    return engine;
}

int cluster_check(const struct cluster_section *cluster, char *text, size_t text_cap)
{
    char *password, *token;
    if (cluster->urls_count == 0) return 0;
    if (load_module(text, text_cap) == NULL) return -1;
    int result = read_secrets(cluster, &password, &token, text, text_cap);
    wipe(password);
    wipe(token);
    return result;
}
