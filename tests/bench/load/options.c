#include "options.h"
#include "modes.h"
#include "tls.h"
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

enum { UNACKED_MAX = 32768 }; /* publishes of one connection: less than any broker's limit and than 16-bit ids */

enum {
    PROTOCOL = 1,
    URL,
    TO,
    PID,
    MODE,
    PUBLISHERS,
    SUBSCRIBERS,
    TOPICS,
    WILDCARDS,
    SUBSCRIPTIONS,
    PAYLOAD,
    SECONDS,
    WARMUP,
    WINDOW,
    SEED,
    RATE,
    INTERLEAVE,
    IN_FLIGHT,
    BATCH,
    MESSAGES,
    RELAY,
    SINK,
    CA,
    RESUME,
    HELP,
};

static const struct option long_options[] = {
    {"protocol", required_argument, NULL, PROTOCOL},
    {"url", required_argument, NULL, URL},
    {"to", required_argument, NULL, TO},
    {"pid", required_argument, NULL, PID},
    {"mode", required_argument, NULL, MODE},
    {"publishers", required_argument, NULL, PUBLISHERS},
    {"subscribers", required_argument, NULL, SUBSCRIBERS},
    {"topics", required_argument, NULL, TOPICS},
    {"wildcards", required_argument, NULL, WILDCARDS},
    {"subscriptions", required_argument, NULL, SUBSCRIPTIONS},
    {"payload", required_argument, NULL, PAYLOAD},
    {"seconds", required_argument, NULL, SECONDS},
    {"warmup", required_argument, NULL, WARMUP},
    {"window", required_argument, NULL, WINDOW},
    {"seed", required_argument, NULL, SEED},
    {"rate", required_argument, NULL, RATE},
    {"interleave", no_argument, NULL, INTERLEAVE},
    {"in-flight", required_argument, NULL, IN_FLIGHT},
    {"batch", required_argument, NULL, BATCH},
    {"messages", required_argument, NULL, MESSAGES},
    {"relay", no_argument, NULL, RELAY},
    {"sink", required_argument, NULL, SINK},
    {"ca", required_argument, NULL, CA},
    {"resume", no_argument, NULL, RESUME},
    {"help", no_argument, NULL, HELP},
    {NULL, 0, NULL, 0},
};

static const char help[] =
    "usage: bench_load --protocol P --url URL --mode MODE [option...]\n"
    "       bench_load --relay --url URL\n"
    "       bench_load --sink FILE --url URL\n"
    "Measures one scenario against one running broker, and prints one JSON object.\n"
    "\n"
    "  --protocol P       mps, nats, redis, mqtt, or raw: through the relay, or to the sink; mps-cluster: mps at one "
    "of\n"
    "                     several brokers, where subscriptions hold at all of them, and stored means replicated\n"
    "  --url URL          tcp://ADDRESS:PORT, tls://127.0.0.1:PORT or unix:/PATH; disk: file:/PATH, which is "
    "overwritten\n"
    "                     and removed\n"
    "  --to URL           where subscribers connect, if not there, too: to another broker of a cluster\n"
    "  --mode MODE        flow, acked, wildcards, mixed, pingpong, idle, stall, scale-subs, scale-topics, "
    "scale-conns,\n"
    "                     connects: clients that come, are greeted and go, --subscribers of them at a time;\n"
    "                     stored: each message acknowledged when it is stored, and all read back; replay: stored\n"
    "                     messages read beside the speed of live ones; readers: many of them at once; disk: none of\n"
    "                     a broker, 4 KiB written into a file and synchronised again and again\n"
    "  --pid PID          the broker's process: whose CPU and memory are measured\n"
    "  --publishers N     connections that publish, 1 to 1000 (1)\n"
    "  --subscribers N    connections that subscribe, 1 to 100000 (1)\n"
    "  --topics N         1 to 10000000 (1)\n"
    "  --interleave       each publisher goes through all topics, message by message\n"
    "  --wildcards N      wildcards: patterns, 1 to 1000000 (10000)\n"
    "  --subscriptions N  scale-subs: exact topics, 1 to 10000000 (100000)\n"
    "  --payload BYTES    of each message, 16 to 1048576 (64)\n"
    "  --seconds S        how long is measured, 0.01 to 3600 (3)\n"
    "  --warmup S         how long is not, before it, 0 to 3600 (0.5)\n"
    "  --window BYTES     at most so much is underway, 1 to 1g; at least two messages are (1 MiB)\n"
    "  --rate N           messages a second of all publishers; 0: as many as the window lets through (0)\n"
    "  --seed N           of everything random (1)\n"
    "  --in-flight N      messages of a publisher that may be unacknowledged, 1 to 32768 (32768)\n"
    "  --batch N          stored: as many at least are written at once, 1 to 32768 (1)\n"
    "  --messages N       replay, readers: how many are stored, 1 to 100000000 (1000000)\n"
    "  --ca FILE          tls: the certificate of who issued the broker's\n"
    "  --resume           connects: by tls, each with the session that the one before it got\n"
    "  --relay            be the relay for raw: copy what the connections that begin with P send to those with S\n"
    "  --sink FILE        be the sink for raw: write what comes into FILE, synchronise it, acknowledge it\n"
    "\n"
    "exit codes: 0 done, 1 the measurement failed or a message was wrong, 2 usage\n";

static uint64_t whole(const char *name, const char *text, uint64_t least, uint64_t most)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number < least || number > most) {
        fail(EXIT_USAGE, "--%s is '%s', but has to be a whole number from %llu to %llu", name, text,
             (unsigned long long)least, (unsigned long long)most);
    }
    return number;
}

static double seconds(const char *name, const char *text, double least)
{
    char *end;
    double number = strtod(text, &end);
    if (end == text || *end != '\0' || !(number >= least && number <= 3600)) {
        fail(EXIT_USAGE, "--%s is '%s', but has to be a number of seconds from %g to 3600", name, text, least);
    }
    return number;
}

static void take(struct options *options, int option, const char *name, const char *text)
{
    switch (option) {
    case PROTOCOL:
        options->protocol = protocol_named(text);
        if (!options->protocol)
            fail(EXIT_USAGE, "--protocol is '%s', but has to be mps, mps-cluster, nats, redis, mqtt or raw", text);
        return;
    case MODE:
        options->mode = mode_named(text);
        if (!options->mode) fail(EXIT_USAGE, "--mode is '%s', which is none of those that --help lists", text);
        return;
    case URL: options->url = text; return;
    case TO: options->to = text; return;
    case PID: options->pid = (pid_t)whole(name, text, 1, INT_MAX); return;
    case PUBLISHERS: options->publishers = (uint32_t)whole(name, text, 1, 1000); return;
    case SUBSCRIBERS: options->subscribers = (uint32_t)whole(name, text, 1, 100000); return;
    case TOPICS: options->topics = (uint32_t)whole(name, text, 1, 10000000); return;
    case WILDCARDS: options->wildcards = (uint32_t)whole(name, text, 1, 1000000); return;
    case SUBSCRIPTIONS: options->subscriptions = (uint32_t)whole(name, text, 1, 10000000); return;
    case PAYLOAD: options->payload_bytes = (uint32_t)whole(name, text, 16, 1 << 20); return;
    case SECONDS: options->seconds = seconds(name, text, 0.01); return;
    case WARMUP: options->warmup_s = seconds(name, text, 0); return;
    case WINDOW: options->window_bytes = whole(name, text, 1, 1 << 30); return;
    case SEED: options->seed = whole(name, text, 0, UINT64_MAX); return;
    case RATE: options->rate = whole(name, text, 0, NS_PER_S); return;
    case INTERLEAVE: options->interleave = true; return;
    case IN_FLIGHT: options->in_flight = (uint32_t)whole(name, text, 1, UNACKED_MAX); return;
    case BATCH: options->batch = (uint32_t)whole(name, text, 1, UNACKED_MAX); return;
    case MESSAGES: options->messages = whole(name, text, 1, 100000000); return;
    case CA: options->ca = text; return;
    case RESUME: options->resume = true; return;
    case RELAY: options->relay = true; return;
    case SINK: options->sink = text; return;
    case HELP: fputs(help, stdout); exit(0);
    case ':': fail(EXIT_USAGE, "%s needs a value", text);
    default: fail(EXIT_USAGE, "there is no option '%s'; see --help", text);
    }
}

static void require_whole(const struct options *options)
{
    if (!options->url) fail(EXIT_USAGE, "--url is missing");
    if (options->relay || options->sink) {
        if (tls_is_wanted(options->url)) fail(EXIT_USAGE, "neither relay nor sink serves tls://");
        return;
    }
    if (!options->protocol) fail(EXIT_USAGE, "--protocol is missing");
    if (!options->mode) fail(EXIT_USAGE, "--mode is missing");
    if (!options->mode->serves(options)) {
        fail(EXIT_USAGE, "%s does not support %s", options->protocol->name, options->mode->name);
    }
    if (options->to && tls_is_wanted(options->to) != tls_is_wanted(options->url))
        fail(EXIT_USAGE, "only one of --url and --to is a tls:// url");
    if (tls_is_wanted(options->url) && !options->ca) fail(EXIT_USAGE, "--ca is missing, which a tls:// url needs");
    if (tls_is_wanted(options->url)) tls_prepare(options->ca);
}

void options_read(int argc, char **argv, struct options *options)
{
    *options = (struct options){.publishers = 1,
                                .subscribers = 1,
                                .topics = 1,
                                .wildcards = 10000,
                                .subscriptions = 100000,
                                .payload_bytes = 64,
                                .seconds = 3,
                                .warmup_s = 0.5,
                                .window_bytes = 1 << 20,
                                .in_flight = UNACKED_MAX,
                                .batch = 1,
                                .messages = 1000000,
                                .seed = 1};
    int option, index = 0;
    while ((option = getopt_long(argc, argv, ":", long_options, &index)) != -1) {
        bool known = option != '?' && option != ':';
        take(options, option, known ? long_options[index].name : "", known ? optarg : argv[optind - 1]);
    }
    if (optind < argc) fail(EXIT_USAGE, "'%s' is not an option; see --help", argv[optind]);
    require_whole(options);
}
