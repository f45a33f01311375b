#include "cluster_keys.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "settings.h"
#include "wire.h"

#define DEFER_MS UINT64_C(30000)
#define DEFER_BYTES (UINT64_C(64) * 1024 * 1024)
#define URL_BYTES_MAX 160

static const char allowed_in_name[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";

void config_cluster_defaults(struct cluster_section *cluster)
{
    *cluster = (struct cluster_section){.prefix = "pubsub", .defer_ms = DEFER_MS, .defer_bytes = DEFER_BYTES};
}

void config_cluster_name(const struct cluster_section *cluster, char name[ENGINE_NAME_MAX + 1])
{
    char host[256] = "";
    snprintf(name, ENGINE_NAME_MAX + 1, "%s", cluster->name);
    if (name[0] != '\0') return;
    gethostname(host, sizeof host - 1);
    snprintf(name, ENGINE_NAME_MAX + 1, "%.*s", (int)strcspn(host, "."), host);
    for (char *p = name; *p != '\0'; p++)
        if (strchr(allowed_in_name, *p) == NULL) *p = '-';
    if (name[0] == '\0') strcpy(name, "broker");
}

uint32_t config_cluster_replicas(const struct cluster_section *cluster)
{
    switch ((enum cluster_replicas)cluster->replicas) {
    case REPLICAS_AUTO: return cluster->urls_count >= 3 ? 3 : 1;
    case REPLICAS_1: return 1;
    case REPLICAS_3: return 3;
    case REPLICAS_5: return 5;
    }
    abort();
}

/* ---- lists -------------------------------------------------------------------------------------------------- */

bool cluster_has_list(const char *key)
{
    return strcmp(key, "url") == 0 || strcmp(key, "topics") == 0;
}

static bool is_port(const char *text)
{
    size_t len = strspn(text, "0123456789");
    return len > 0 && len < 6 && text[len] == '\0' && atoi(text) > 0 && atoi(text) < 65536;
}

/* Why it is none. NULL: it is one, with a port or without. */
static const char *url_problem(const char *url)
{
    static const char form[] = "it is not nats://host:port or tls://host:port";
    static const char of_host[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    const char *host = strncmp(url, "nats://", 7) == 0 ? url + 7 : strncmp(url, "tls://", 6) == 0 ? url + 6 : NULL;
    if (host == NULL) return form;
    if (strchr(host, '@') != NULL) return "it holds who it is for; user and password_file, or token_file, say that";
    if (strlen(url) > URL_BYTES_MAX) return "it is longer than 160 bytes";
    const char *end = host[0] == '[' ? strchr(host, ']') : NULL;
    if (end != NULL && strspn(host + 1, "0123456789abcdefABCDEF:.") == (size_t)(end - host - 1)) end++;
    else end = host + strspn(host, of_host);
    if (end == host) return form;
    return *end == '\0' || (*end == ':' && is_port(end + 1)) ? NULL : form;
}

static const char *topics_problem(const char *pattern)
{
    const char *problem = mps_pattern_error(mps_text(pattern));
    if (problem == NULL) problem = setting_text_problem(pattern);
    if (problem == NULL && pattern[0] == '$') problem = "topics that begin with '$' are never other brokers'";
    return problem;
}

/* One value, without the blanks around it. */
static bool add(char **list, size_t *count, size_t most, const char *(*problem_of)(const char *), const char *begin,
                size_t len, char *text, size_t text_cap)
{
    static const char blanks[] = " \t\r";
    while (len > 0 && strchr(blanks, *begin) != NULL) begin++, len--;
    while (len > 0 && strchr(blanks, begin[len - 1]) != NULL) len--;
    char *value = strndup(begin, len);
    if (value == NULL) abort();
    const char *problem = problem_of(value);
    for (size_t i = 0; problem == NULL && i < *count; i++)
        if (strcmp(list[i], value) == 0) problem = "it is there already";
    if (problem != NULL) snprintf(text, text_cap, "'%.200s' can't be one: %s", value, problem);
    else if (*count == most) snprintf(text, text_cap, "there are more than %zu", most);
    else return list[(*count)++] = value, true;
    free(value);
    return false;
}

bool cluster_add(struct cluster_section *cluster, const char *key, const char *values, char *text, size_t text_cap)
{
    bool is_url = strcmp(key, "url") == 0;
    char **list = is_url ? cluster->urls : cluster->topics;
    size_t *count = is_url ? &cluster->urls_count : &cluster->topics_count;
    for (;;) {
        size_t len = strcspn(values, ",");
        if (!add(list, count, is_url ? CLUSTER_URLS_MAX : PATTERNS_MAX, is_url ? url_problem : topics_problem, values,
                 len, text, text_cap))
            return false;
        if (values[len] == '\0') return true;
        values += len + 1;
    }
}

static bool same_list(char *const *a, size_t a_count, char *const *b, size_t b_count)
{
    bool same = a_count == b_count;
    for (size_t i = 0; same && i < a_count; i++) same = strcmp(a[i], b[i]) == 0;
    return same;
}

bool cluster_same_lists(const struct cluster_section *a, const struct cluster_section *b)
{
    return same_list(a->urls, a->urls_count, b->urls, b->urls_count) &&
           same_list(a->topics, a->topics_count, b->topics, b->topics_count);
}

static void print_list(const char *key, char *const *list, size_t count, const char *example, FILE *out)
{
    for (size_t i = 0; i < count; i++) fprintf(out, "%s = %s\n", key, list[i]);
    if (count == 0) fprintf(out, "# %s = %s\n", key, example);
}

void cluster_print_lists(const struct cluster_section *cluster, FILE *out)
{
    fputs("\n# Servers of a NATS cluster, nats://host:port or tls://host:port, separated by commas, the nearest first; "
          "there may be several such lines.\n"
          "# Brokers that are connected to it are one to their clients; by default this one is alone.\n"
          "# Another value holds after a restart.\n",
          out);
    print_list("url", cluster->urls, cluster->urls_count, "nats://host1:4222, nats://host2:4222, nats://host3:4222",
               out);
    fputs("\n# Only messages of topics that match one of these patterns go to the other brokers. There may be several "
          "such lines.\n"
          "# Another value holds after a restart.\n",
          out);
    print_list("topics", cluster->topics, cluster->topics_count, "#", out);
}

void cluster_free_lists(struct cluster_section *cluster)
{
    while (cluster->urls_count > 0) free(cluster->urls[--cluster->urls_count]);
    while (cluster->topics_count > 0) free(cluster->topics[--cluster->topics_count]);
}

/* ---- all keys together -------------------------------------------------------------------------------------- */

static const char *fail(const char *key, const char *why, char *text, size_t text_cap)
{
    snprintf(text, text_cap, "%s %s", key, why);
    return key;
}

/* Who says how other brokers are met means to meet them. */
static const char *without_url(const struct cluster_section *cluster, char *text, size_t text_cap)
{
    const struct {
        const char *key, *value;
    } keys[] = {{"name", cluster->name},
                {"user", cluster->user},
                {"token_file", cluster->token_file},
                {"credentials", cluster->credentials},
                {"ca", cluster->ca},
                {"certificate", cluster->certificate}};
    for (size_t i = 0; cluster->urls_count == 0 && i < sizeof keys / sizeof *keys; i++)
        if (keys[i].value[0] != '\0')
            return fail(keys[i].key, "needs a url: without one this broker is alone", text, text_cap);
    return NULL;
}

const char *cluster_problem(const struct cluster_section *cluster, char *text, size_t text_cap)
{
    bool has_user = cluster->user[0] != '\0', has_token = cluster->token_file[0] != '\0';
    bool has_password = cluster->password_file[0] != '\0', has_credentials = cluster->credentials[0] != '\0';
    bool has_certificate = cluster->certificate[0] != '\0', has_key = cluster->key[0] != '\0';
    if (has_user && !has_password) return fail("user", "needs a password_file", text, text_cap);
    if (has_password && !has_user) return fail("password_file", "needs a user", text, text_cap);
    if (has_token && has_user) return fail("token_file", "can't be there beside a user", text, text_cap);
    if (has_credentials && has_user) return fail("credentials", "can't be there beside a user", text, text_cap);
    if (has_credentials && has_token) return fail("credentials", "can't be there beside a token_file", text, text_cap);
    if (has_certificate && !has_key) return fail("certificate", "needs a key", text, text_cap);
    if (has_key && !has_certificate) return fail("key", "needs a certificate", text, text_cap);
    return without_url(cluster, text, text_cap);
}
