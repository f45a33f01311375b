#include "bench_options.h"

#include <stdio.h>
#include <string.h>

#include "bench_payload.h"
#include "cli.h"
#include "sizes.h"
#include "wire.h"

#define SIZE_BYTES 64
#define SIZE_MAX_BYTES (UINT64_C(1) << 30)
#define WINDOW_BYTES (UINT64_C(1) << 20)
#define WINDOW_MAX_BYTES (UINT64_C(1) << 30)
#define FOR_MS 3000
#define SUBSCRIBERS 10
#define SUBSCRIBERS_MAX 1000
#define TOPICS_MAX 1000000
#define RATE_MAX 1000000000

const char *const bench_kind_names[] = {"pub", "sub", "fan", "latency", NULL};

/* ---- options ---- */

static bool number_upto(const char *option, const char *value, unsigned long long most, unsigned long long *number)
{
    if (!option_number(option, value, 1, number)) return false;
    if (*number <= most) return true;
    complain("%s %s: must be at most %llu", option, value, most);
    return false;
}

static bool size_between(const char *option, const char *value, uint64_t least, uint64_t most, uint64_t *bytes)
{
    char limit[QUANTITY_TEXT_MAX];
    if (!size_parse(value, bytes)) {
        complain("%s %s: not a size such as 64, 4k, 1m", option, value);
        return false;
    }
    if (*bytes >= least && *bytes <= most) return true;
    size_write(limit, *bytes < least ? least : most);
    complain("%s %s: must be at %s %s bytes", option, value, *bytes < least ? "least" : "most", limit);
    return false;
}

static bool set_topic(void *into, const char *value)
{
    ((struct bench_options *)into)->topic = value;
    return true;
}

static bool set_size(void *into, const char *value)
{
    return size_between("--size", value, BENCH_PAYLOAD_MIN, SIZE_MAX_BYTES, &((struct bench_options *)into)->size);
}

static bool set_window(void *into, const char *value)
{
    return size_between("--window", value, 1, WINDOW_MAX_BYTES, &((struct bench_options *)into)->window);
}

static bool set_count(void *into, const char *value)
{
    return option_number("-n", value, 1, &((struct bench_options *)into)->count);
}

static bool set_for(void *into, const char *value)
{
    return option_time("--for", value, 1, 0, &((struct bench_options *)into)->for_ms);
}

static bool set_idle(void *into, const char *value)
{
    return option_time("--idle", value, 1, 0, &((struct bench_options *)into)->idle_ms);
}

static bool set_topics(void *into, const char *value)
{
    return number_upto("--topics", value, TOPICS_MAX, &((struct bench_options *)into)->topics);
}

static bool set_subscribers(void *into, const char *value)
{
    return number_upto("--subscribers", value, SUBSCRIBERS_MAX, &((struct bench_options *)into)->subscribers);
}

static bool set_rate(void *into, const char *value)
{
    return number_upto("--rate", value, RATE_MAX, &((struct bench_options *)into)->rate);
}

static bool set_ack(void *into, const char *value)
{
    static const char *const levels[] = {"none", "routed", "stored", "replicated", NULL};
    int level = option_choice("--ack", value, levels);
    if (level >= 0) ((struct bench_options *)into)->ack = level;
    return level >= 0;
}

static bool set_json(void *into, const char *value)
{
    (void)value;
    return ((struct bench_options *)into)->json = true;
}

static const struct option_row what_rows[] = {
    {0, "topic", "TOPIC", set_topic, "where messages go; sub needs it; default bench/ and a random number"},
    {0, "topics", "N", set_topics, "publish to N topics below it in turn; default 1, TOPIC itself"},
    {0, "subscribers", "N", set_subscribers, "fan: so many, each with a connection of its own; default 10"},
    {0, "size", "BYTES", set_size, "of each payload, 32 or more, e.g. 4k; default 64"},
    {0, "rate", "N", set_rate, "at most N messages a second; default as fast as it goes"},
    {0, "ack", "LEVEL", set_ack,
     "none, routed, stored or replicated: which acknowledgement the publisher\n"
     "asks for; default routed with pub, else none"},
    {0, "window", "SIZE", set_window,
     "so many bytes may be on the way: published and, with pub, not\n"
     "acknowledged; with fan, not received by all subscribers. So what is lost\n"
     "is lost by the broker, and not because the publisher ran away; default 1m"},
    {0, NULL, NULL, NULL, NULL},
};

static const struct option_row end_rows[] = {
    {0, "for", "TIME", set_for,
     "measure for TIME; default 3s, with -n until all are there; sub counts\n"
     "from the first message on; default: until its publishers end"},
    {'n', NULL, "COUNT", set_count, "publish COUNT messages, or as sub receive them; default: no limit"},
    {0, "idle", "TIME", set_idle, "sub: end after TIME without a message; default: wait on"},
    {0, "json", NULL, set_json, "print one JSON object instead of the table"},
    {0, NULL, NULL, NULL, NULL},
};

static enum options_result parse(struct bench_options *options, int argc, char **argv, int *arguments)
{
    static const char *const examples[] = {
        "pubsub bench latency",
        "pubsub bench fan --subscribers 100 --size 256",
        "pubsub bench sub --topic t & pubsub bench pub --topic t --for 5s",
        NULL,
    };
    static const int exit_codes[] = {CLI_EXIT_DONE,    CLI_EXIT_ERROR, CLI_EXIT_USAGE,
                                     CLI_EXIT_CONNECT, CLI_EXIT_AUTH,  CLI_EXIT_REFUSED,
                                     CLI_EXIT_LOST,    CLI_EXIT_TIME,  -1};
    const struct option_table what = {"What is measured", what_rows, options};
    const struct option_table end = {"When it ends", end_rows, options};
    const struct option_table connection = {"Connection", connection_option_rows, &options->connection};
    const struct usage usage = {
        .command = "pubsub bench",
        .arguments = "pub|sub|fan|latency",
        .summary = "Measures a running broker from this machine. What is counted has arrived, not only been sent:\n"
                   "  pub      messages that the broker acknowledged; latency is the time until it did\n"
                   "  sub      messages that come from 'pubsub bench pub --topic TOPIC', run elsewhere or meanwhile\n"
                   "  fan      deliveries from one publisher to all of the subscribers\n"
                   "  latency  one message at a time, from one connection to another",
        .tables = {&what, &end, &connection},
        .notes =
            "The table has messages and payload bytes (in millions) a second, the latencies that 50, 99 and 99.9 %\n"
            "of the messages did not exceed, the longest, and what was lost. Messages are numbered and their\n"
            "content is compared: one that is wrong, or missing without a word of the broker, is exit code 1.\n"
            "Latencies of sub are known only if the publisher is on the same machine. With pub --ack none the\n"
            "last of each 64 messages is acknowledged all the same, for the others to be counted.",
        .examples = examples,
        .exit_codes = exit_codes,
    };
    return options_parse(&usage, argc, argv, false, arguments);
}

/* ---- together ---- */

static bool wrong(const char *why)
{
    return options_wrong("pubsub bench", why);
}

static bool take_kind(struct bench_options *options, int count, char **arguments)
{
    if (count == 0) return wrong("what is to be measured? pub, sub, fan or latency");
    int kind = option_choice("bench", arguments[0], bench_kind_names);
    if (kind < 0) return false;
    options->kind = (enum bench_kind)kind;
    if (count == 1) return true;
    complain("too many arguments: '%s'; see 'pubsub bench --help'", arguments[1]);
    return false;
}

static bool combine(const struct bench_options *options)
{
    enum bench_kind kind = options->kind;
    if (options->subscribers && kind != BENCH_FAN) return wrong("--subscribers goes with fan");
    if (options->idle_ms && kind != BENCH_SUB) return wrong("--idle goes with sub");
    if (options->window && (kind == BENCH_SUB || kind == BENCH_LATENCY)) return wrong("--window goes with pub and fan");
    if (kind != BENCH_SUB) return true;
    if (!options->topic) return wrong("sub needs --topic, the one of 'pubsub bench pub --topic TOPIC'");
    if (options->topics || options->size || options->rate || options->ack >= 0)
        return wrong("--topics, --size, --rate and --ack are the publisher's: they don't go with sub");
    return true;
}

static void set_defaults(struct bench_options *options)
{
    if (options->topic) {
        snprintf(options->topic_text, sizeof options->topic_text, "%s", options->topic);
    } else {
        snprintf(options->topic_text, sizeof options->topic_text, "bench/%08x", (unsigned)bench_new_run());
    }
    if (options->size == 0) options->size = SIZE_BYTES;
    if (options->window == 0) options->window = WINDOW_BYTES;
    if (options->topics == 0) options->topics = 1;
    if (options->subscribers == 0) options->subscribers = options->kind == BENCH_FAN ? SUBSCRIBERS : 1;
    if (options->ack < 0) options->ack = options->kind == BENCH_PUB ? PUBSUB_ACK_ROUTED : PUBSUB_ACK_NONE;
    if (options->for_ms == 0 && options->count == 0 && options->kind != BENCH_SUB) options->for_ms = FOR_MS;
}

/* The topics are all good if the longest is. */
static bool check_topic(const struct bench_options *options)
{
    char longest[PUBSUB_TOPIC_MAX + sizeof "/1000000"];
    const char *topic = options->topic ? options->topic : options->topic_text;
    size_t len = strlen(topic);
    const char *why = "longer than 255 bytes";
    if (len <= PUBSUB_TOPIC_MAX) {
        snprintf(longest, sizeof longest, options->topics > 1 ? "%s/%llu" : "%s", topic, options->topics - 1);
        why = mps_topic_error(mps_text(longest));
    }
    if (why) complain("--topic '%s': %s", topic, why);
    return why == NULL;
}

enum options_result bench_options_read(struct bench_options *options, int argc, char **argv)
{
    int arguments;
    options->ack = -1;
    enum options_result result = parse(options, argc, argv, &arguments);
    if (result != OPTIONS_OK) return result;
    if (!take_kind(options, arguments, argv) || !combine(options)) return OPTIONS_WRONG;
    set_defaults(options);
    return check_topic(options) ? OPTIONS_OK : OPTIONS_WRONG;
}

const char *bench_topic(const struct bench_options *options, unsigned long long number, char scratch[BENCH_TOPIC_CAP])
{
    if (options->topics == 1) return options->topic_text;
    size_t len = strlen(options->topic_text); /* check_topic() has seen that the longest topic fits */
    memcpy(scratch, options->topic_text, len);
    snprintf(scratch + len, BENCH_TOPIC_CAP - len, "/%llu", number % options->topics);
    return scratch;
}
