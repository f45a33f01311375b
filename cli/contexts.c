#include "contexts.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "complete.h"
#include "nearest.h"

#define FILE_NAME "contexts.json"
#define NEW_NAME ".contexts.json.new"
#define NAMES_MAX 64 /* that are looked at for one that was meant */

struct contexts {
    json_t *root;     /* {"use": name, "contexts": {name: {key: value}}} */
    json_t *contexts; /* borrowed from it */
    char path[PATH_MAX], dir[PATH_MAX];
    const char **names; /* as they were read, in order; borrowed from it, too */
    int lock_fd;        /* of the directory; -1: it is not going to be changed */
};

static const struct {
    const char *key;
    size_t offset;
    bool is_path;
} texts[] = {
    {"url", offsetof(struct connection_options, url), false},
    {"user", offsetof(struct connection_options, user), false},
    {"password_file", offsetof(struct connection_options, password_file), true},
    {"token_file", offsetof(struct connection_options, token_file), true},
    {"ca", offsetof(struct connection_options, ca), true},
    {"cert", offsetof(struct connection_options, certificate), true},
    {"cert_key", offsetof(struct connection_options, certificate_key), true},
};
enum { TEXTS = sizeof texts / sizeof *texts };
static const char in_clear_key[] = "auth_in_clear", use_key[] = "use", contexts_key[] = "contexts";

static void out_of_memory(void)
{
    complain("out of memory");
    exit(CLI_EXIT_ERROR);
}

/* ---- where it is ---- */

/* Returns NULL, or why there is no place for it: static. */
static const char *find_path(struct contexts *contexts)
{
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME"), *below = "/pubsub";
    const char *base =
        config && *config == '/' ? config : NULL; /* a relative one is to be ignored, says its standard */
    if (!base) base = home && *home == '/' ? home : NULL, below = "/.config/pubsub";
    if (!base) return "neither $XDG_CONFIG_HOME nor $HOME is an absolute path";
    int len = snprintf(contexts->dir, sizeof contexts->dir, "%s%s", base, below);
    if (len < 0 || (size_t)len + sizeof NEW_NAME + 1 >= sizeof contexts->path)
        return "the path of their directory is too long";
    memcpy(contexts->path, contexts->dir, (size_t)len);
    strcpy(contexts->path + len, "/" FILE_NAME);
    return NULL;
}

bool contexts_can_be_read(void)
{
    struct contexts place = {.lock_fd = -1};
    return !find_path(&place) && access(place.path, R_OK) == 0;
}

/* With all that it is in. */
static bool make_directory(const char *dir)
{
    char part[PATH_MAX];
    for (size_t len = 1;; len++) {
        len += strcspn(dir + len, "/");
        memcpy(part, dir, len);
        part[len] = '\0';
        if (mkdir(part, 0700) != 0 && errno != EEXIST) {
            complain("cannot make the directory '%s': %s", part, strerror(errno));
            return false;
        }
        if (dir[len] == '\0') return true;
    }
}

static bool lock(struct contexts *contexts)
{
    if (!make_directory(contexts->dir)) return false;
    contexts->lock_fd = open(contexts->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (contexts->lock_fd >= 0 && flock(contexts->lock_fd, LOCK_EX) == 0) return true;
    complain("cannot lock the directory '%s': %s", contexts->dir, strerror(errno));
    return false;
}

/* ---- reading ---- */

/* Whoever may write it decides where passwords are sent. */
static bool is_ours(const char *path, int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || (st.st_uid != geteuid() && st.st_uid != 0)) {
        complain("the contexts in '%s' are somebody else's", path);
        return false;
    }
    if (!S_ISREG(st.st_mode)) {
        complain("'%s' is no file of contexts", path);
        return false;
    }
    if ((st.st_mode & 022) == 0) return true;
    complain("the contexts in '%s' may be written by others (mode %04o); chmod 600 it", path,
             (unsigned)st.st_mode & 07777);
    return false;
}

static json_t *read_json(const char *path)
{
    json_error_t error = {.text = ""};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe without a writer is not waited for */
    if (fd < 0 && errno == ENOENT) return json_object();
    if (fd < 0) complain("cannot read the contexts from '%s': %s", path, strerror(errno));
    json_t *root = fd >= 0 && is_ours(path, fd) ? json_loadfd(fd, JSON_REJECT_DUPLICATES, &error) : NULL;
    bool is_read = fd >= 0 && (root || *error.text);
    if (is_read && !root) complain("'%s', line %d: %s", path, error.line, error.text);
    if (fd >= 0) close(fd);
    return root;
}

static bool is_known(const char *key, const json_t *value)
{
    for (size_t i = 0; i < TEXTS; i++) {
        if (strcmp(key, texts[i].key) == 0) return json_is_string(value);
    }
    return strcmp(key, in_clear_key) == 0 && json_is_boolean(value);
}

static bool check(const struct contexts *contexts)
{
    const char *name, *key;
    json_t *context, *value;
    json_t *use = json_object_get(contexts->root, use_key);
    if (!json_is_object(contexts->root) || !json_is_object(contexts->contexts) || (use && !json_is_string(use))) {
        complain("'%s' does not hold contexts: {\"contexts\": {..}}", contexts->path);
        return false;
    }
    json_object_foreach(contexts->contexts, name, context)
    {
        if (!json_is_object(context)) {
            complain("'%s': context '%s' is not an object", contexts->path, name);
            return false;
        }
        json_object_foreach(context, key, value)
        {
            if (is_known(key, value)) continue;
            complain("'%s': context '%s' has '%s', which is unknown or not of its type", contexts->path, name, key);
            return false;
        }
    }
    return true;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void sort_names(struct contexts *contexts)
{
    const char *name;
    json_t *said;
    size_t count = 0;
    contexts->names = calloc(json_object_size(contexts->contexts) + 1, sizeof *contexts->names);
    if (!contexts->names) out_of_memory();
    json_object_foreach(contexts->contexts, name, said) contexts->names[count++] = name;
    qsort(contexts->names, count, sizeof *contexts->names, compare_names);
}

static bool load(struct contexts *contexts)
{
    contexts->root = read_json(contexts->path);
    if (!contexts->root) return false;
    if (json_is_object(contexts->root) && json_object_size(contexts->root) == 0 &&
        json_object_set_new(contexts->root, contexts_key, json_object()) != 0)
        out_of_memory();
    contexts->contexts = json_object_get(contexts->root, contexts_key);
    if (!check(contexts)) return false;
    sort_names(contexts);
    return true;
}

struct contexts *contexts_open(bool change)
{
    struct contexts *contexts = calloc(1, sizeof *contexts);
    if (!contexts) out_of_memory();
    contexts->lock_fd = -1;
    const char *why = find_path(contexts);
    if (why) complain("there is no place for contexts: %s", why);
    if (!why && (!change || lock(contexts)) && load(contexts)) return contexts;
    contexts_close(contexts);
    return NULL;
}

void contexts_close(struct contexts *contexts)
{
    if (!contexts) return;
    json_decref(contexts->root);
    if (contexts->lock_fd >= 0) close(contexts->lock_fd); /* unlocks */
    free(contexts->names);
    free(contexts);
}

/* ---- what it says ---- */

size_t contexts_count(const struct contexts *contexts)
{
    return json_object_size(contexts->contexts);
}

static const char *name_in_use(const struct contexts *contexts)
{
    const char *name = json_string_value(json_object_get(contexts->root, use_key));
    return name ? name : "";
}

static struct context context_of(const struct contexts *contexts, const char *name, const json_t *said)
{
    struct context context = {.name = name, .in_use = strcmp(name, name_in_use(contexts)) == 0};
    for (size_t i = 0; i < TEXTS; i++) {
        const char *value = json_string_value(json_object_get(said, texts[i].key));
        memcpy((char *)&context.connection + texts[i].offset, &value, sizeof value);
    }
    context.connection.auth_in_clear = json_is_true(json_object_get(said, in_clear_key));
    return context;
}

struct context contexts_get(const struct contexts *contexts, size_t i)
{
    return context_of(contexts, contexts->names[i], json_object_get(contexts->contexts, contexts->names[i]));
}

bool contexts_has(const struct contexts *contexts, const char *name)
{
    return json_object_get(contexts->contexts, name) != NULL;
}

static bool look_up(const struct contexts *contexts, const char *name, struct context *context)
{
    const json_t *said = json_object_get(contexts->contexts, name);
    if (said)
        *context = context_of(contexts, json_object_iter_key(json_object_iter_at(contexts->contexts, name)), said);
    return said != NULL;
}

bool contexts_in_use(const struct contexts *contexts, struct context *context)
{
    return look_up(contexts, name_in_use(contexts), context);
}

bool contexts_find(const struct contexts *contexts, const char *name, struct context *context)
{
    const char *names[NAMES_MAX + 1] = {NULL}, *other;
    json_t *said;
    size_t count = 0;
    if (look_up(contexts, name, context)) return true;
    json_object_foreach(contexts->contexts, other, said)
    {
        if (count < NAMES_MAX) names[count++] = other;
    }
    const char *nearest = nearest_name(name, names);
    if (nearest) complain("there is no context '%s'; did you mean '%s'?", name, nearest);
    else complain("there is no context '%s'; see 'pubsub context ls'", name);
    return false;
}

/* ---- changing it ---- */

/* NULL: there is no directory that it would be in, or what comes of it is no text. */
static json_t *absolute_path(const char *path)
{
    char here[PATH_MAX];
    if (*path == '/') return json_string(path);
    return getcwd(here, sizeof here) ? json_sprintf("%s/%s", here, path) : NULL;
}

bool contexts_put(struct contexts *contexts, const char *name, const struct connection_options *connection)
{
    json_t *said = json_object();
    bool is_put = said != NULL;
    for (size_t i = 0; i < TEXTS && is_put; i++) {
        const char *value;
        memcpy(&value, (const char *)connection + texts[i].offset, sizeof value);
        json_t *kept = !value ? NULL : texts[i].is_path ? absolute_path(value) : json_string(value);
        is_put = !value || json_object_set_new(said, texts[i].key, kept) == 0;
        if (!is_put) complain("'%s' can't be kept: it is not UTF-8, or the directory that it is in is gone", value);
    }
    if (connection->auth_in_clear && json_object_set_new(said, in_clear_key, json_true()) != 0) is_put = false;
    if (!is_put) json_decref(said);
    return is_put && json_object_set_new(contexts->contexts, name, said) == 0;
}

void contexts_remove(struct contexts *contexts, const char *name)
{
    if (strcmp(name, name_in_use(contexts)) == 0) contexts_use(contexts, NULL);
    json_object_del(contexts->contexts, name);
}

void contexts_use(struct contexts *contexts, const char *name)
{
    if (!name) json_object_del(contexts->root, use_key);
    else if (json_object_set_new(contexts->root, use_key, json_string(name)) != 0) out_of_memory();
}

static bool write_new(const struct contexts *contexts)
{
    (void)unlinkat(contexts->lock_fd, NEW_NAME, 0); /* of one that did not come to its end: the lock is ours */
    int fd = openat(contexts->lock_fd, NEW_NAME, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return false;
    FILE *file = fdopen(fd, "w");
    if (!file) return close(fd), false;
    bool written = json_dumpf(contexts->root, file, JSON_INDENT(2) | JSON_SORT_KEYS) == 0 && fputc('\n', file) != EOF;
    written = fflush(file) == 0 && written && fsync(fd) == 0;
    int error = errno; /* fclose() may have one of its own */
    written = fclose(file) == 0 && written;
    if (!written && error) errno = error;
    return written;
}

int contexts_write(struct contexts *contexts)
{
    if (write_new(contexts) && renameat(contexts->lock_fd, NEW_NAME, contexts->lock_fd, FILE_NAME) == 0) {
        (void)fsync(contexts->lock_fd); /* some file systems can't: then it is as durable as they are */
        return CLI_EXIT_DONE;
    }
    complain("cannot write the contexts to '%s': %s", contexts->path, strerror(errno));
    (void)unlinkat(contexts->lock_fd, NEW_NAME, 0);
    return CLI_EXIT_ERROR;
}

void contexts_complete(void)
{
    struct contexts *contexts = contexts_open(false);
    for (size_t i = 0; contexts && i < contexts_count(contexts); i++) {
        struct context context = contexts_get(contexts, i);
        complete_offer(context.name, strlen(context.name), context.connection.url);
    }
    contexts_close(contexts);
}
