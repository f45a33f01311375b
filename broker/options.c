#include "options.h"

#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "nearest.h"

#define KNOWN_MAX 32 /* options that are looked at for one that was meant */

static const char help[] =
    "Usage: pubsubd [--config FILE] [--listen URL]... [--durable PATTERN]... [--data DIR] [--user NAME]\n"
    "               [--ready-fd N]\n"
    "\n"
    "The broker. Without any address it serves a Unix socket ($XDG_RUNTIME_DIR/pubsub.sock;\n"
    "without that variable /run/pubsub/pubsub.sock for root, else pubsub-UID/pubsub.sock in\n"
    "the temporary directory) and tcp://127.0.0.1:7717. When it accepts connections it\n"
    "prints 'ready' and the URLs, as one line, to stderr.\n"
    "\n"
    "  -c, --config FILE   limits, addresses, streams; what it does not set has its default\n"
    "      --check-config  read the configuration and the files that it names, say what a start by\n"
    "                      the same user would find wrong, and end\n"
    "      --print-config  print the configuration that would hold, every key explained,\n"
    "                      in the form of such a file, and end\n"
    "  -l, --listen URL    serve here, and not at the addresses of the configuration;\n"
    "                      may be given several times:\n"
    "                        unix:/path        a Unix socket\n"
    "                        tcp://host:port   port 0 picks a free one; for tls://host:port,\n"
    "                                          which needs a certificate, see --print-config\n"
    "                        fd:N              a descriptor that was inherited, connected or\n"
    "                                          listening; when connected descriptors are all\n"
    "                                          there is and they have closed, it exits\n"
    "      --durable PATTERN\n"
    "                      keep the messages of these topics on disk, in a stream of its own that\n"
    "                      holds 1 GiB, beside those of the configuration; its name is 'durable', of\n"
    "                      the next ones 'durable-2', ...; may be given several times\n"
    "      --data DIR      directory of the streams; without it that of the configuration, or\n"
    "                      $XDG_STATE_HOME/pubsub; without that variable /var/lib/pubsub for root,\n"
    "                      else ~/.local/state/pubsub\n"
    "      --salvage       when streams.db in that directory is damaged so that it can't be opened, or\n"
    "                      is not the broker's: take over what can be read of it into a new file, keep\n"
    "                      the old one beside it, and go on\n"
    "      --user NAME     go on as this user once the addresses are open; for root only\n"
    "      --ready-fd N    also write the ready line to descriptor N, then close it\n"
    "  -h, --help          show this\n"
    "  -V, --version       show the version\n"
    "\n"
    "pubsubd token and pubsubd passwd make the files of tokens and passwords: pubsubd token --help\n"
    "\n"
    "Sockets handed over by systemd (LISTEN_FDS) are served, too, instead of the default; a configured\n"
    "address takes the one that is bound there. Nobody is refused while one broker ends and the next\n"
    "one starts with them. systemd is told when it is ready, loads again and stops (NOTIFY_SOCKET).\n"
    "SIGHUP loads the configuration again; a line of the log says what holds from then on, what\n"
    "needs a restart, or what is wrong, and then everything stays as it was.\n"
    "SIGTERM and SIGINT stop it: clients are told, what they have in their queues is written,\n"
    "and what was published to streams is stored. A second one closes connections at once; what\n"
    "was published to streams is stored all the same, for at most a second.\n"
    "\n"
    "Exit codes: 0 stopped; 1 a listener or the data can't be opened, or the disk did not take\n"
    "the last messages; 2 wrong option or configuration.\n";

static int wrong(const char *text)
{
    fprintf(stderr, "pubsubd: %s\n", text);
    return 2;
}

static int add_listen(struct later *later, const char *url)
{
    if (later->urls_count == LISTEN_MAX) return wrong("--listen is given more than 64 times");
    later->urls[later->urls_count++] = url;
    return -1;
}

static int add_durable(struct later *later, const char *patterns)
{
    if (later->durables_count == STREAMS_MAX) return wrong("--durable is given more than 64 times");
    later->durables[later->durables_count++] = patterns;
    return -1;
}

static int set_once(const char **value, const char *given, const char *twice)
{
    if (*value != NULL) return wrong(twice);
    *value = given;
    return -1;
}

static int set_ready_fd(struct options *options, const char *digits)
{
    char text[400], *end;
    long fd = strtol(digits, &end, 10);
    if (digits[0] < '0' || digits[0] > '9' || *end != '\0' || fd > 1 << 20 || fcntl((int)fd, F_GETFD) < 0) {
        snprintf(text, sizeof text, "--ready-fd '%s' is not the number of an open descriptor", digits);
        return wrong(text);
    }
    options->ready_fd = (int)fd;
    return -1;
}

/* What is kept, and where. */
static int configure_streams(const struct options *options, struct config *config, char *text, size_t text_cap)
{
    char why[1000];
    const struct later *given = &options->given;
    for (int i = 0; i < given->durables_count; i++) {
        if (config_add_durable(config, given->durables[i], why, sizeof why) == 0) continue;
        snprintf(text, text_cap, "--durable: %s", why);
        return -1;
    }
    if (given->data != NULL && config_set_data(config, given->data, why, sizeof why) != 0) {
        snprintf(text, text_cap, "--data: %s", why);
        return -1;
    }
    if (options->salvage && config_own_streams(config) == 0) {
        snprintf(text, text_cap, "--salvage is of no use without a stream, from --durable or the configuration");
        return -1;
    }
    return 0;
}

/* The configuration, and where to serve. *config has the defaults. */
static int configure(const struct options *options, struct config *config, char *text, size_t text_cap)
{
    const struct later *given = &options->given;
    if (given->file != NULL && config_load(config, given->file, text, text_cap) != 0) return -1;
    if (given->urls_count > 0) config->listeners_count = 0;
    for (int i = 0; i < given->urls_count; i++) {
        if (config_add_listener(config, "", given->urls[i], text, text_cap) != 0) return -1;
        if (!config->listeners[i].address.is_tls) continue;
        snprintf(text, text_cap,
                 "--listen can't serve '%.300s': TLS needs a certificate, which a [listener NAME] of the "
                 "configuration has",
                 given->urls[i]);
        return -1;
    }
    if (given->user != NULL && config_set_user(config, given->user, text, text_cap) != 0) return -1;
    return configure_streams(options, config, text, text_cap);
}

int options_load_again(const struct options *options, struct config *config, char *text, size_t text_cap)
{
    *config = (struct config){.limits = options->defaults, .caps = options->default_caps, .log = options->default_log};
    if (configure(options, config, text, text_cap) == 0) return 0;
    config_free(config);
    return -1;
}

static int check_or_print(const struct config *config, const struct later *later)
{
    if (!later->check && !later->print) return -1;
    if (later->check && later->file == NULL) return wrong("--check-config needs --config FILE");
    char text[1000];
    if (later->check && check_start(config, text, sizeof text) != 0) return wrong(text);
    if (later->print) config_print(config, stdout);
    else printf("pubsubd: %s is valid\n", later->file);
    if (fflush(stdout) == 0 && !ferror(stdout)) return 0;
    perror("pubsubd: writing to standard output");
    return 1;
}

static int unknown_option(const char *given, const struct option *known)
{
    const char *names[KNOWN_MAX + 1] = {NULL}, *nearest = NULL;
    char text[400], typed[NEAREST_NAME_MAX + 1];
    for (size_t i = 0; known[i].name != NULL && i < KNOWN_MAX; i++) names[i] = known[i].name;
    int len = snprintf(typed, sizeof typed, "%.*s", (int)strcspn(given + 2, "="), given + 2);
    if (given[1] == '-' && len > 0 && (size_t)len < sizeof typed) nearest = nearest_name(typed, names);
    if (nearest) snprintf(text, sizeof text, "unknown option '%.100s'; did you mean '--%s'?", given, nearest);
    else snprintf(text, sizeof text, "unknown option '%.100s'; try --help", given);
    return wrong(text);
}

int options_parse(struct options *options, int argc, char **argv)
{
    static const struct option known[] = {
        {"config", required_argument, NULL, 'c'},   {"check-config", no_argument, NULL, 'k'},
        {"print-config", no_argument, NULL, 'p'},   {"listen", required_argument, NULL, 'l'},
        {"durable", required_argument, NULL, 'd'},  {"data", required_argument, NULL, 'D'},
        {"user", required_argument, NULL, 'u'},     {"salvage", no_argument, NULL, 's'},
        {"ready-fd", required_argument, NULL, 'r'}, {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},        {NULL, 0, NULL, 0},
    };
    *options = (struct options){.ready_fd = -1};
    struct later *later = &options->given;
    config_defaults(&options->config);
    options->defaults = options->config.limits;
    options->default_caps = options->config.caps;
    options->default_log = options->config.log;
    char text[1200];
    int result = -1, letter;
    opterr = 0;
    while (result < 0 && (letter = getopt_long(argc, argv, ":c:l:hV", known, NULL)) != -1) {
        switch (letter) {
        case 'c': result = set_once(&later->file, optarg, "--config is given twice"); break;
        case 'k': later->check = true; break;
        case 'p': later->print = true; break;
        case 'l': result = add_listen(later, optarg); break;
        case 'd': result = add_durable(later, optarg); break;
        case 'D': result = set_once(&later->data, optarg, "--data is given twice"); break;
        case 'u': result = set_once(&later->user, optarg, "--user is given twice"); break;
        case 's': options->salvage = true; break;
        case 'r': result = set_ready_fd(options, optarg); break;
        case 'h': fputs(help, stdout); return 0;
        case 'V': puts("pubsubd " PUBSUB_VERSION); return 0;
        case ':': snprintf(text, sizeof text, "option '%s' needs a value", argv[optind - 1]); return wrong(text);
        default: return unknown_option(argv[optind - 1], known);
        }
    }
    if (result < 0 && optind < argc) {
        snprintf(text, sizeof text, "unexpected argument '%s'; try --help", argv[optind]);
        return wrong(text);
    }
    if (result < 0 && configure(options, &options->config, text, sizeof text) != 0) return wrong(text);
    if (result < 0) result = check_or_print(&options->config, later);
    return result;
}
