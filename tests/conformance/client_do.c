#include "client_do.h"

#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 24
#define LINE_MAX_BYTES 2048

/* A line cut into words. */
struct words {
    char *at[WORDS_MAX];
    int count;
    char text[LINE_MAX_BYTES];
};

static bool cut(struct words *words, const char *line)
{
    if (strlen(line) >= sizeof words->text) return false;
    strcpy(words->text, line);
    words->count = 0;
    char *rest = words->text;
    for (char *word; (word = strtok_r(rest, " ", &rest)) != NULL; words->at[words->count++] = word) {
        if (words->count == WORDS_MAX) return false;
    }
    return words->count > 0;
}

/* The words from `first` on are options: `name` or `name=value`. What was asked for is crossed out. */
static const char *option(struct words *words, int first, const char *name)
{
    size_t len = strlen(name);
    for (int i = first; i < words->count; i++) {
        char *word = words->at[i];
        if (strncmp(word, name, len) != 0 || (word[len] != '=' && word[len] != '\0')) continue;
        words->at[i] = words->text + strlen(words->text); /* nothing */
        return word[len] == '=' ? word + len + 1 : "";
    }
    return NULL;
}

static bool flag(struct words *words, int first, const char *name)
{
    return option(words, first, name) != NULL;
}

static uint64_t number(struct words *words, int first, const char *name)
{
    const char *value = option(words, first, name);
    return value != NULL ? strtoull(value, NULL, 10) : 0;
}

static bool all_crossed_out(const struct words *words, int first)
{
    for (int i = first; i < words->count; i++)
        if (words->at[i][0] != '\0') return false;
    return true;
}

static enum pubsub_policy policy(struct words *words, int first, const char *name)
{
    static const char *const names[] = {
        [PUBSUB_DROP_OLD] = "drop_old", [PUBSUB_DROP_NEW] = "drop_new", [PUBSUB_LATEST] = "latest",
        [PUBSUB_CLOSE] = "close",       [PUBSUB_BLOCK] = "block",       [PUBSUB_SPILL] = "spill"};
    const char *value = option(words, first, name);
    for (unsigned i = PUBSUB_DROP_OLD; value != NULL && i <= PUBSUB_SPILL; i++)
        if (strcmp(names[i], value) == 0) return (enum pubsub_policy)i;
    return PUBSUB_POLICY_DEFAULT;
}

/* Fills in `from`: "all", "last:5", "seq:64,1000,65,1". pairs has room for as many numbers as a line can hold. */
static bool take_from(struct words *words, struct pubsub_subscribe_options *options, uint64_t *pairs)
{
    static const char *const names[] = {"new", "all", "last", "seq", "time", "ago", "acked", "last_per_topic"};
    const char *value = option(words, 3, "from");
    if (value == NULL) return true;
    size_t len = strcspn(value, ":"), kind = 0, count = 0;
    while (kind < sizeof names / sizeof *names && (strlen(names[kind]) != len || strncmp(names[kind], value, len) != 0))
        kind++;
    if (kind == sizeof names / sizeof *names) return false;
    options->from = (enum pubsub_from)kind;
    for (const char *at = value + len; *at != '\0'; at += strcspn(at, ",")) pairs[count++] = strtoull(++at, NULL, 10);
    if (options->from != PUBSUB_FROM_SEQ) {
        options->from_number = count > 0 ? pairs[0] : 0;
        return count < 2;
    }
    options->from_positions = pairs;
    options->from_positions_count = count / 2;
    return count % 2 == 0;
}

static enum pubsub_ack_mode ack_mode(struct words *words)
{
    const char *value = option(words, 3, "ack");
    if (value == NULL) return PUBSUB_ACKS_NONE;
    return strcmp(value, "upto") == 0 ? PUBSUB_ACKS_UPTO : PUBSUB_ACKS_EACH;
}

/* "token=TEXT", "user=NAME" with "password=TEXT", "certificate". Returns whether they go together. */
static bool take_proof(struct words *words, struct pubsub_core_hello *hello, uint8_t *room, size_t cap)
{
    struct pubsub_proof proof = {.token = option(words, 2, "token"),
                                 .user = option(words, 2, "user"),
                                 .password = option(words, 2, "password"),
                                 .certificate = flag(words, 2, "certificate")};
    proof.token_len = proof.token != NULL ? strlen(proof.token) : 0;
    hello->proof.ptr = room;
    return pubsub_core_proof(&proof, &hello->auth, room, cap, &hello->proof.len) == 0;
}

/* ---- one verb each: the number of words that it needs before its options is checked ------------------------------ */

static bool do_hello(struct pubsub_core *core, struct words *words)
{
    uint8_t will_bytes[PUBSUB_CORE_WILL_MAX], proof_bytes[LINE_MAX_BYTES];
    struct pubsub_core_hello hello = {.client_id = words->at[1]};
    struct pubsub_will will = {.topic = option(words, 2, "will"), .payload = option(words, 2, "will_text")};
    will.payload_len = will.payload != NULL ? strlen(will.payload) : 0;
    will.delay_ms = number(words, 2, "will_delay");
    will.retain = flag(words, 2, "will_retain");
    hello.keepalive_s = (uint32_t)number(words, 2, "keepalive");
    hello.rx_max = (uint32_t)number(words, 2, "rx_max");
    hello.half = flag(words, 2, "half");
    hello.session_s = (uint32_t)number(words, 2, "session");
    hello.clean = flag(words, 2, "clean");
    hello.boot = number(words, 2, "boot");
    if (!take_proof(words, &hello, proof_bytes, sizeof proof_bytes) || !all_crossed_out(words, 2)) return false;
    if (will.topic != NULL) {
        hello.will.ptr = will_bytes;
        if (pubsub_core_will(&will, will_bytes, sizeof will_bytes, &hello.will.len) != 0) return false;
    }
    return pubsub_core_hello(core, &hello) == 0;
}

static bool do_subscribe(struct pubsub_core *core, struct words *words)
{
    const char *credit = option(words, 3, "credit");
    uint64_t pairs[LINE_MAX_BYTES / 2];
    struct pubsub_subscribe_options options = {
        .max_msgs = number(words, 3, "max_msgs"),
        .max_bytes = number(words, 3, "max_bytes"),
        .retained = (int)number(words, 3, "retained"),
        .policy = policy(words, 3, "policy"),
        .then = policy(words, 3, "then"),
        .block_ms = (uint32_t)number(words, 3, "block_ms"),
        .group = option(words, 3, "group"),
        .filter = option(words, 3, "filter"),
        .no_local = flag(words, 3, "no_local"),
        .by_credit = credit != NULL,
        .credit = credit != NULL ? strtoull(credit, NULL, 10) : 0,
        .ack_ms = (uint32_t)number(words, 3, "ack_ms"),
        .ack = ack_mode(words),
        .max_tries = (uint32_t)number(words, 3, "max_tries"),
        .inflight = (uint32_t)number(words, 3, "inflight"),
        .durable = flag(words, 3, "durable"),
    };
    const char *scope = option(words, 3, "scope");
    if (scope != NULL && strcmp(scope, "cluster") == 0) options.scope = PUBSUB_SCOPE_CLUSTER;
    if (!take_from(words, &options, pairs)) return false;
    uint32_t sid = (uint32_t)strtoul(words->at[1], NULL, 10);
    return all_crossed_out(words, 3) && pubsub_core_subscribe(core, sid, words->at[2], &options) == 0;
}

static bool do_publish(struct pubsub_core *core, struct words *words)
{
    const char *ttl = option(words, 4, "ttl"), *correlation = option(words, 4, "correlation");
    struct pubsub_publish_options options = {
        .ack = (enum pubsub_ack)strtoul(words->at[3], NULL, 10),
        .retain = flag(words, 4, "retain"),
        .must_route = flag(words, 4, "must_route"),
        .raw = flag(words, 4, "raw"),
        .has_ttl = ttl != NULL,
        .ttl_ms = ttl != NULL ? strtoull(ttl, NULL, 10) : 0,
        .key = option(words, 4, "key"),
        .reply_to = option(words, 4, "reply_to"),
        .correlation = correlation,
        .correlation_len = correlation != NULL ? strlen(correlation) : 0,
    };
    return all_crossed_out(words, 4) &&
           pubsub_core_publish(core, words->at[1], words->at[2], strlen(words->at[2]), &options, NULL) == 0;
}

static bool do_unsubscribe(struct pubsub_core *core, struct words *words)
{
    return pubsub_core_unsubscribe(core, (uint32_t)strtoul(words->at[1], NULL, 10)) == 0;
}

static bool do_stat(struct pubsub_core *core, struct words *words)
{
    return pubsub_core_ask_stat(core, (uint32_t)strtoul(words->at[1], NULL, 10)) == 0;
}

static bool do_credit(struct pubsub_core *core, struct words *words)
{
    uint32_t sid = (uint32_t)strtoul(words->at[1], NULL, 10);
    bool drain = flag(words, 3, "drain");
    return all_crossed_out(words, 3) && pubsub_core_credit(core, sid, strtoull(words->at[2], NULL, 10), drain) == 0;
}

static bool do_ack(struct pubsub_core *core, struct words *words)
{
    uint32_t sid = (uint32_t)strtoul(words->at[1], NULL, 10);
    uint64_t stream = strtoull(words->at[2], NULL, 10), seq = strtoull(words->at[3], NULL, 10);
    enum pubsub_ack_kind kind = (enum pubsub_ack_kind)number(words, 4, "kind");
    uint64_t delay_ms = number(words, 4, "delay");
    return all_crossed_out(words, 4) && pubsub_core_ack(core, sid, stream, seq, kind, delay_ms) == 0;
}

static bool do_ping(struct pubsub_core *core, struct words *words)
{
    return pubsub_core_ping(core, words->at[1], strlen(words->at[1])) == 0;
}

static bool do_bye(struct pubsub_core *core, struct words *words)
{
    return pubsub_core_bye(core, (uint32_t)strtoul(words->at[1], NULL, 10)) == 0;
}

static bool do_restart(struct pubsub_core *core, struct words *words)
{
    pubsub_core_restart(core, strtoull(words->at[1], NULL, 10));
    return true;
}

bool client_do(struct pubsub_core *core, const char *what)
{
    static const struct {
        const char *verb;
        int words; /* before the options, the verb counted */
        bool (*act)(struct pubsub_core *core, struct words *words);
    } verbs[] = {{"hello", 2, do_hello},     {"subscribe", 3, do_subscribe},
                 {"publish", 4, do_publish}, {"unsubscribe", 2, do_unsubscribe},
                 {"stat", 2, do_stat},       {"credit", 3, do_credit},
                 {"ack", 4, do_ack},         {"ping", 2, do_ping},
                 {"bye", 2, do_bye},         {"restart", 2, do_restart}};
    struct words words;
    if (!cut(&words, what)) return false;
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        if (strcmp(verbs[i].verb, words.at[0]) == 0) return words.count >= verbs[i].words && verbs[i].act(core, &words);
    }
    return false;
}
