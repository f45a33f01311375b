#include "options.h"

#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

static const char help[] = "Usage: pubsubd [--listen URL]... [--ready-fd N]\n"
                           "\n"
                           "The broker. Without --listen it serves a Unix socket ($XDG_RUNTIME_DIR/pubsub.sock;\n"
                           "without that variable /run/pubsub/pubsub.sock for root, else pubsub-UID/pubsub.sock in\n"
                           "the temporary directory) and tcp://127.0.0.1:7717. When it accepts connections it\n"
                           "prints 'ready' and the URLs, as one line, to stderr.\n"
                           "\n"
                           "  -l, --listen URL   serve here; may be given several times:\n"
                           "                       unix:/path        a Unix socket\n"
                           "                       tcp://host:port   port 0 picks a free one\n"
                           "                       fd:N              a descriptor that was inherited, connected or\n"
                           "                                         listening; when connected descriptors are all\n"
                           "                                         there is and they have closed, it exits\n"
                           "      --ready-fd N   also write the ready line to descriptor N, then close it\n"
                           "  -h, --help         show this\n"
                           "  -V, --version      show the version\n"
                           "\n"
                           "Sockets handed over by systemd (LISTEN_FDS) are served, too, instead of the default.\n"
                           "SIGTERM and SIGINT stop it: clients are told, what they have in their queues is written.\n"
                           "\n"
                           "Exit codes: 0 stopped; 1 a listener can't be opened; 2 wrong option.\n";

static int wrong(const char *text)
{
    fprintf(stderr, "pubsubd: %s\n", text);
    return 2;
}

static int add_listen(struct options *options, const char *url)
{
    char text[400];
    if (options->listen_count == LISTEN_MAX) return wrong("--listen is given more than 64 times");
    if (address_parse(&options->listen[options->listen_count], url, text, sizeof text) != 0) return wrong(text);
    options->listen_count++;
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

int options_parse(struct options *options, int argc, char **argv)
{
    static const struct option known[] = {
        {"listen", required_argument, NULL, 'l'},
        {"ready-fd", required_argument, NULL, 'r'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    *options = (struct options){.ready_fd = -1};
    char text[400];
    int result = -1, letter;
    opterr = 0;
    while (result < 0 && (letter = getopt_long(argc, argv, ":l:hV", known, NULL)) != -1) {
        switch (letter) {
        case 'l': result = add_listen(options, optarg); break;
        case 'r': result = set_ready_fd(options, optarg); break;
        case 'h': fputs(help, stdout); return 0;
        case 'V': puts("pubsubd " PUBSUB_VERSION); return 0;
        default:
            snprintf(text, sizeof text, letter == ':' ? "option '%s' needs a value" : "unknown option '%s'; try --help",
                     argv[optind - 1]);
            return wrong(text);
        }
    }
    if (result < 0 && optind < argc) {
        snprintf(text, sizeof text, "unexpected argument '%s'; try --help", argv[optind]);
        return wrong(text);
    }
    return result;
}
