#include "config.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "access_keys.h"
#include "cluster_keys.h"
#include "memory.h"
#include "settings.h"

#define KIB UINT64_C(1024)
#define DATA_OF_ROOT "/var/lib/pubsub"

/* As much of the memory as a limit may be. */
static uint64_t share(const char *limit, uint64_t bytes)
{
    const struct setting *setting = setting_find("limits", limit);
    uint64_t whole = bytes / KIB * KIB;
    return whole < setting->least ? setting->least : whole > setting->most ? setting->most : whole;
}

void config_defaults(struct config *config)
{
    *config = (struct config){0};
    broker_defaults(&config->limits);
    config->log.level = LOG_INFO;
    config_cluster_defaults(&config->cluster);
    config->caps = (struct address_caps){.unwelcomed_per_address = 1024, .per_address = 8192};
    uint64_t memory_bytes = memory_available_bytes("");
    config->limits.queue_total_bytes = share("queue_total_bytes", memory_bytes / 2);
    config->limits.input_total_bytes = share("input_total_bytes", memory_bytes / 8);
}

int config_add_listener(struct config *config, const char *name, const char *url, char *text, size_t text_cap)
{
    if (config->listeners_count == LISTEN_MAX) {
        snprintf(text, text_cap, "there are more than %d addresses to serve", LISTEN_MAX);
        return -1;
    }
    struct listener_config *listener = &config->listeners[config->listeners_count];
    if (address_parse(&listener->address, url, text, text_cap) != 0) return -1;
    snprintf(listener->name, sizeof listener->name, "%s", name);
    config->listeners_count++;
    return 0;
}

int config_set_user(struct config *config, const char *name, char *text, size_t text_cap)
{
    if (setting_read(config, setting_find("broker", "user"), name)) return 0;
    snprintf(text, text_cap, "'%.200s' is not a user's name of 1 to %d bytes", name, USER_NAME_MAX);
    return -1;
}

int config_set_data(struct config *config, const char *path, char *text, size_t text_cap)
{
    const char *problem = setting_text_problem(path);
    if (problem != NULL) {
        snprintf(text, text_cap, "'%.200s' can't be the data directory: %s", path, problem);
        return -1;
    }
    strcpy(config->data, path);
    return 0;
}

/* A relative path in such a variable doesn't count. */
static const char *absolute_path(const char *variable)
{
    const char *path = getenv(variable);
    return path != NULL && path[0] == '/' ? path : NULL;
}

int config_data_directory(const struct config *config, char *path, size_t path_cap, char *text, size_t text_cap)
{
    const char *state = absolute_path("XDG_STATE_HOME"), *home = absolute_path("HOME");
    int len;
    if (config->data[0] != '\0') {
        len = snprintf(path, path_cap, "%s", config->data);
    } else if (state != NULL) {
        len = snprintf(path, path_cap, "%s/pubsub", state);
    } else if (geteuid() == 0) {
        len = snprintf(path, path_cap, DATA_OF_ROOT);
    } else if (home != NULL) {
        len = snprintf(path, path_cap, "%s/.local/state/pubsub", home);
    } else {
        snprintf(text, text_cap, "there is no data directory: neither XDG_STATE_HOME nor HOME is set; use --data DIR");
        return -1;
    }
    if (len >= 0 && (size_t)len < path_cap) return 0;
    snprintf(text, text_cap, "the path of the data directory has %d bytes, the limit is %zu", len, path_cap - 1);
    return -1;
}

/* What a key means, and what can be set. Each line begins with `begin`. */
static void print_meaning(const struct setting *setting, const char *begin, FILE *out)
{
    char range[SETTING_TEXT_MAX];
    setting_range(range, setting);
    range[0] = (char)toupper((unsigned char)range[0]);
    fprintf(out, "%s\n# %s.\n# %s.\n", begin, setting->meaning, range);
}

static void print_limits(const struct config *config, FILE *out)
{
    const char *section = "";
    for (const struct setting *setting = settings; setting < settings + SETTINGS_COUNT; setting++) {
        char value[SETTING_TEXT_MAX];
        if (setting_is_of_one(setting)) continue;
        bool is_first = strcmp(section, setting->section) != 0;
        if (is_first) fprintf(out, "\n[%s]", section = setting->section);
        if (is_first && strcmp(section, CLUSTER) == 0) cluster_print_lists(&config->cluster, out);
        print_meaning(setting, "", out);
        if (setting_needs_restart(setting)) fputs("# Another value holds after a restart.\n", out);
        setting_write(value, config, setting);
        if (value[0] != '\0') fprintf(out, "%s = %s\n", setting->name, value);
        else fprintf(out, "# %s = %s\n", setting->name, setting->choices[0]);
    }
}

/* With comments: as an example, in comments. */
static void print_stream(const struct stream_section *stream, bool comments, FILE *out)
{
    const char *begin = comments ? "# " : "";
    fprintf(out, "%s[" STREAM " %s]\n", begin, stream->name);
    for (size_t i = 0; i < stream->terms.patterns_count; i++) {
        fprintf(out, "%stopics = %s\n", begin, stream->patterns[i]);
    }
    for (const struct setting *setting = settings; setting < settings + SETTINGS_COUNT; setting++) {
        char value[SETTING_TEXT_MAX];
        if (!setting_is_of_stream(setting)) continue;
        if (comments) print_meaning(setting, "#", out);
        setting_write(value, &stream->terms, setting);
        fprintf(out, "%s%s = %s\n", begin, setting->name, value);
    }
}

static void print_streams(const struct config *config, FILE *out)
{
    fputs("\n# Topics whose messages are kept on disk: for each stream a section [stream NAME], with a name of its "
          "choice and\n"
          "# patterns, separated by commas; there may be several such lines. A topic belongs to the first stream that "
          "has a\n"
          "# pattern for it. Without any stream nothing is kept, and no data directory is made.\n#\n",
          out);
    char text[100];
    struct config examples = {0};
    struct stream_section *orders = config_add_stream(&examples, "orders", text, sizeof text);
    config_add_topics(&examples, orders, "orders/#,invoices/+/paid", text, sizeof text);
    print_stream(orders, true, out);
    config_free(&examples);
    for (int i = 0; i < config->streams_count; i++) {
        fputc('\n', out);
        print_stream(config->streams[i], false, out);
    }
}

static void print_url(const struct address *address, FILE *out)
{
    switch (address->kind) {
    case ADDRESS_UNIX: fprintf(out, "unix:%s\n", address->path); break;
    case ADDRESS_TCP:
        fprintf(out, strchr(address->host, ':') ? "%s://[%s]:%s\n" : "%s://%s:%s\n", address->is_tls ? "tls" : "tcp",
                address->host, address->port);
        break;
    case ADDRESS_FD: fprintf(out, "fd:%d\n", address->fd); break;
    }
}

static void print_listener_head(const struct listener_config *listener, const char *name, const char *begin, FILE *out)
{
    fprintf(out, "%s[" LISTENER " %s]\n%surl = ", begin, name, begin);
    print_url(&listener->address, out);
}

static void print_anonymous(const struct listener_config *listener, const char *begin, FILE *out)
{
    if (!listener->says_anonymous) return;
    fprintf(out, "%sallow_anonymous = %s\n", begin, listener->allow_anonymous ? "yes" : "no");
}

static void print_tls(const struct listener_config *listener, bool comments, FILE *out)
{
    const char *begin = comments ? "# " : "";
    if (!listener->address.is_tls) return;
    for (const struct setting *setting = settings; setting < settings + SETTINGS_COUNT; setting++) {
        char value[SETTING_TEXT_MAX];
        if (!setting_is_of_listener(setting)) continue;
        if (comments) print_meaning(setting, "#", out);
        setting_write(value, listener, setting);
        if (value[0] != '\0') fprintf(out, "%s%s = %s\n", begin, setting->name, value);
    }
}

/* number: its name, if it has none. */
static void print_listener(const struct listener_config *listener, int number, FILE *out)
{
    char name[SECTION_NAME_MAX + 1];
    if (listener->name[0] != '\0') snprintf(name, sizeof name, "%s", listener->name);
    else snprintf(name, sizeof name, "%d", number);
    print_listener_head(listener, name, "", out);
    print_anonymous(listener, "", out);
    print_tls(listener, false, out);
}

static void print_example(const struct listener_config *listener, FILE *out)
{
    print_listener_head(listener, listener->name, "# ", out);
    if (listener->says_anonymous)
        fputs(
            "# # Whether who comes from there may have no name. By default yes at a Unix socket, an inherited "
            "connection and an\n"
            "# # address that only this machine reaches; elsewhere no, and where nobody can have a name, then it must "
            "be said.\n",
            out);
    print_anonymous(listener, "# ", out);
    print_tls(listener, true, out);
}

static void print_listeners(const struct config *config, FILE *out)
{
    static const struct listener_config socket = {
        .name = "socket",
        .address = {.kind = ADDRESS_UNIX, .path = "/run/pubsub/pubsub.sock"},
        .says_anonymous = true,
        .allow_anonymous = true,
    };
    static const struct listener_config public = {
        .name = "public",
        .address = {.kind = ADDRESS_TCP, .is_tls = true, .host = "0.0.0.0", .port = "7718"},
        .tls = {"/etc/pubsub/server.crt", "/etc/pubsub/server.key", "/etc/pubsub/clients-ca.crt", 0},
    };
    fputs("\n# Where it is served: for each address a section [" LISTENER
          " NAME], with a name of its choice and one url,\n"
          "# unix:/path, tcp://host:port, tls://host:port or fd:N. When --listen is given, that holds instead of "
          "these. Without any\n"
          "# of both: the user's Unix socket (see pubsubd --help) and the first of these examples.\n"
          "#\n# [" LISTENER " local]\n# url = tcp://127.0.0.1:7717\n#\n",
          out);
    print_example(&socket, out);
    fputs(
        "#\n# With tls:// the certificate and its key are needed, and the others may be set. On SIGHUP these files are "
        "read again.\n#\n",
        out);
    print_example(&public, out);
    for (int i = 0; i < config->listeners_count; i++) {
        fputc('\n', out);
        print_listener(&config->listeners[i], i + 1, out);
    }
}

void config_print(const struct config *config, FILE *out)
{
    fputs("# The configuration of pubsubd: pubsubd --config FILE. What is not set has its default.\n"
          "# A size is a number of bytes, or with a unit: k, m, g (each 1024 times the one before).\n"
          "# A time has a unit: ms, s, m, h, d; without one it is in seconds.\n"
          "# On SIGHUP it is read again: all holds at once, but for what is marked, streams, and addresses with what "
          "is said of "
          "them.\n",
          out);
    print_limits(config, out);
    access_print(config, out);
    print_streams(config, out);
    print_listeners(config, out);
}
