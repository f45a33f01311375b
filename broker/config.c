#include "config.h"

#include <string.h>

#include "config_settings.h"
#include "memory.h"

#define KIB UINT64_C(1024)

void config_defaults(struct config *config)
{
    *config = (struct config){0};
    broker_defaults(&config->limits);
    const struct setting *total = setting_find("limits", "queue_total_bytes");
    uint64_t half = memory_available_bytes("") / 2 / KIB * KIB;
    setting_set(config, total, half < total->least ? total->least : half > total->most ? total->most : half);
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

static void print_listener(const struct listener_config *listener, FILE *out)
{
    const struct address *address = &listener->address;
    fprintf(out, "\n[listener %s]\nurl = ", listener->name);
    switch (address->kind) {
    case ADDRESS_UNIX: fprintf(out, "unix:%s\n", address->path); break;
    case ADDRESS_TCP:
        fprintf(out, strchr(address->host, ':') ? "tcp://[%s]:%s\n" : "tcp://%s:%s\n", address->host, address->port);
        break;
    case ADDRESS_FD: fprintf(out, "fd:%d\n", address->fd); break;
    }
}

void config_print(const struct config *config, FILE *out)
{
    fputs("# The configuration of pubsubd: pubsubd --config FILE. What is not set has its default.\n"
          "# A size is a number of bytes, or with a unit: k, m, g (each 1024 times the one before).\n"
          "# A time has a unit: ms, s, m, h, d; without one it is in seconds.\n",
          out);
    const char *section = "";
    for (size_t i = 0; i < SETTINGS_COUNT; i++) {
        char value[QUANTITY_TEXT_MAX], range[RANGE_TEXT_MAX];
        if (strcmp(section, settings[i].section) != 0) fprintf(out, "\n[%s]", section = settings[i].section);
        setting_write(value, &settings[i], setting_get(config, &settings[i]));
        setting_range(range, &settings[i]);
        fprintf(out, "\n# %s.\n# A %s.\n%s = %s\n", settings[i].meaning, range, settings[i].name, value);
    }
    fputs("\n# Where it is served: for each address a section [listener NAME], with a name of its choice and one url,\n"
          "# unix:/path, tcp://host:port or fd:N. When --listen is given, that holds instead of these. Without any of\n"
          "# both: the user's Unix socket (see pubsubd --help) and the first of these examples.\n"
          "#\n# [listener local]\n# url = tcp://127.0.0.1:7717\n"
          "#\n# [listener socket]\n# url = unix:/run/pubsub/pubsub.sock\n",
          out);
    for (int i = 0; i < config->listeners_count; i++) print_listener(&config->listeners[i], out);
}
