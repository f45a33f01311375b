#include "settings.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sizes.h"

#define SECOND_MS UINT64_C(1000)
#define HOUR_MS (3600 * SECOND_MS)
#define DAY_MS (24 * HOUR_MS)
#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define TIB (1024 * GIB)

#define WIDTH(type, name) sizeof(((type *)0)->name)
#define LIMIT(name) offsetof(struct config, limits.name), WIDTH(struct config, limits.name)
#define LOG(name) offsetof(struct config, log.name), WIDTH(struct config, log.name)
#define TERM(name) offsetof(struct stream_config, name), WIDTH(struct stream_config, name)
#define CLUSTERED(name) offsetof(struct config, cluster.name), WIDTH(struct config, cluster.name)
#define TLS(name) offsetof(struct listener_config, tls.name), WIDTH(struct listener_config, tls.name)
#define NO_CHOICES \
    {              \
        NULL       \
    }

/* The ranges keep every sum and product of these numbers within the types that the core and the wire have for them. */
/* clang-format off */
const struct setting settings[SETTINGS_COUNT] = {
    {"broker", "sys_interval", KIND_MS, LIMIT(sys_ms), 100, DAY_MS, "no reports", NULL,
     "Time between two reports of the broker about itself under $SYS", NO_CHOICES},
    {"broker", "data", KIND_PATH, offsetof(struct config, data), WIDTH(struct config, data), 1, CONFIG_TEXT_MAX, NULL, NULL,
     "Directory of what is kept; by default $XDG_STATE_HOME/pubsub, else ~/.local/state/pubsub, for root /var/lib/pubsub",
     {"/var/lib/pubsub"}},
    {"broker", "user", KIND_NAME, offsetof(struct config, user), WIDTH(struct config, user), 1, USER_NAME_MAX, NULL, NULL,
     "Whom it goes on as once its addresses are open, if root starts it; by default it stays root", {"pubsub"}},
    {"limits", "max_payload", KIND_SIZE, LIMIT(max_payload), KIB, 256 * MIB, NULL, "input_total_bytes",
     "The largest payload of a message", NO_CHOICES},
    {"limits", "max_connections", KIND_COUNT, LIMIT(max_sessions_count), 1, 1000000, NULL, NULL,
     "Connections at the same time; the system's limit of open files has to allow them, too. A lower number closes none that are there", NO_CHOICES},
    {"limits", "unwelcomed_per_address", KIND_COUNT, offsetof(struct config, caps.unwelcomed_per_address),
     WIDTH(struct config, caps.unwelcomed_per_address), 1, 1000000, NULL, NULL,
     "Connections of one address that have not introduced themselves; one more makes the oldest of them go. A lower number "
     "closes none by itself", NO_CHOICES},
    {"limits", "connections_per_address", KIND_COUNT, offsetof(struct config, caps.per_address),
     WIDTH(struct config, caps.per_address), 1, 1000000, "no limit", NULL,
     "Connections of one address, and of one /64 network with IPv6, but for those of this machine. A lower number closes none "
     "that are there", NO_CHOICES},
    {"limits", "connections_from_loopback", KIND_COUNT, offsetof(struct config, caps.per_loopback),
     WIDTH(struct config, caps.per_loopback), 1, 1000000, "no limit", NULL,
     "TCP connections from one loopback address. A lower number closes none that are there", NO_CHOICES},
    {"limits", "connections_per_user", KIND_COUNT, LIMIT(connections_per_user), 1, 1000000, "no limit", NULL,
     "Connections of one user. A lower number closes none that are there", NO_CHOICES},
    {"limits", "publish_rate", KIND_COUNT, LIMIT(publish_rate), 1, 1000000000, "no limit", NULL,
     "Messages that a user, or a connection without one, may publish in a second", NO_CHOICES},
    {"limits", "publish_rate_bytes", KIND_SIZE, LIMIT(publish_rate_bytes), KIB, TIB, "no limit", NULL,
     "Bytes that a user, or a connection without one, may publish in a second", NO_CHOICES},
    {"limits", "publish_delay", KIND_MS, LIMIT(publish_delay_ms), 1, HOUR_MS, "it is refused at once", NULL,
     "How long who publishes more is slowed down; if that goes on, what is too much is refused", NO_CHOICES},
    {"limits", "max_subscriptions", KIND_COUNT, LIMIT(max_subs_count), 1, 10000000, NULL, NULL,
     "Subscriptions of one connection", NO_CHOICES},
    {"limits", "max_filters", KIND_COUNT, LIMIT(max_filters_count), 1, 1000000, NULL, NULL,
     "Subscriptions of one connection with a filter; each costs every message that matches it", NO_CHOICES},
    {"limits", "pattern_bytes", KIND_SIZE, LIMIT(pattern_bytes), KIB, TIB, NULL, NULL,
     "Memory that the patterns of one connection take where messages find their subscriptions", NO_CHOICES},
    {"limits", "inflight_cap", KIND_COUNT, LIMIT(inflight_cap_count), 1, 10000000, NULL, NULL,
     "The most unacknowledged messages that a reader of streams may ask for", NO_CHOICES},
    {"limits", "queue_messages", KIND_COUNT, LIMIT(queue_msgs_count), 1, 1000000000, NULL, "queue_messages_cap",
     "Messages in the queue of a subscription that does not ask for another limit", NO_CHOICES},
    {"limits", "queue_bytes", KIND_SIZE, LIMIT(queue_bytes), KIB, TIB, NULL, "queue_bytes_cap",
     "Bytes in the queue of a subscription that does not ask for another limit", NO_CHOICES},
    {"limits", "queue_messages_cap", KIND_COUNT, LIMIT(queue_msgs_cap_count), 1, 1000000000, NULL, NULL,
     "The most messages that a subscription may ask for", NO_CHOICES},
    {"limits", "queue_bytes_cap", KIND_SIZE, LIMIT(queue_bytes_cap), KIB, TIB, NULL, NULL,
     "The most bytes that a subscription may ask for", NO_CHOICES},
    {"limits", "connection_queue_bytes", KIND_SIZE, LIMIT(session_queue_bytes), KIB, TIB, NULL, NULL,
     "Bytes in all queues of one connection", NO_CHOICES},
    {"limits", "queue_total_bytes", KIND_SIZE, LIMIT(queue_total_bytes), MIB, TIB, NULL, NULL,
     "Memory of all queued messages; by default half of what the machine or the cgroup has", NO_CHOICES},
    {"limits", "input_total_bytes", KIND_SIZE, LIMIT(input_total_bytes), MIB, TIB, NULL, NULL,
     "Memory of all that publishers have sent and that waits, beyond 16k of each; by default an eighth of what there is",
     NO_CHOICES},
    {"limits", "input_timeout", KIND_MS, LIMIT(input_ms), 100, HOUR_MS, NULL, NULL,
     "Time that a message over 16k may take to come while others wait for its memory, which they do twice as long", NO_CHOICES},
    {"limits", "max_retained", KIND_COUNT, LIMIT(max_retained_count), 1, 1000000000, NULL, NULL,
     "Retained messages", NO_CHOICES},
    {"limits", "retained_bytes", KIND_SIZE, LIMIT(retained_bytes), KIB, TIB, NULL, NULL,
     "Memory of all retained messages", NO_CHOICES},
    {"limits", "spill_bytes", KIND_SIZE, LIMIT(spill_bytes), KIB, TIB, "nothing is spilled", NULL,
     "Disk for messages that no stream keeps and that wait for subscriptions with the policy spill", NO_CHOICES},
    {"limits", "publish_window", KIND_COUNT, LIMIT(pub_window_count), 1, 1000000, NULL, NULL,
     "Publishes of one connection that may wait for their answer", NO_CHOICES},
    {"limits", "handshake_timeout", KIND_MS, LIMIT(handshake_ms), 100, HOUR_MS, NULL, NULL,
     "Time that a new connection has to introduce itself", NO_CHOICES},
    {"limits", "closing_timeout", KIND_MS, LIMIT(closing_ms), 100, HOUR_MS, NULL, NULL,
     "Time that a closing connection has to read what is left for it", NO_CHOICES},
    {"limits", "keepalive_max", KIND_S, LIMIT(keepalive_max_s), 1, 7 * DAY_MS / SECOND_MS, NULL, NULL,
     "The longest keepalive time; a client that asks for more gets this", NO_CHOICES},
    {"limits", "max_sessions", KIND_COUNT, LIMIT(max_away_count), 1, 10000000, NULL, NULL,
     "Sessions whose clients are away; one more makes the one go that nobody asked for the longest", NO_CHOICES},
    {"limits", "session_max", KIND_S, LIMIT(session_max_s), 1, 3650 * DAY_MS / SECOND_MS, "none outlives it", NULL,
     "The longest time that a session outlives its connection; a client that asks for more gets this", NO_CHOICES},
    {"log", "level", KIND_CHOICE, LOG(level), 0, 3, NULL, NULL,
     "The least grave lines that are written, those of the audit log aside", {"error", "warning", "info", "debug"}},
    {"log", "format", KIND_CHOICE, LOG(form), 0, 2, NULL, NULL,
     "Sentences for people; or for programs all that is known as pairs of a key and a value, or as an object a line",
     {"text", "logfmt", "json"}},
    {"log", "file", KIND_PATH, LOG(file), 1, CONFIG_TEXT_MAX, NULL, NULL,
     "Where lines are added, each with its time; on SIGHUP the file is opened again. By default they go to stderr", {"/var/log/pubsub/pubsubd.log"}},
    {"log", "audit", KIND_CHOICE, LIMIT(audit), 0, 1, NULL, NULL,
     "A line for each connection that comes or is refused or closed, for what is forbidden or administered, and for each reload",
     {"no", "yes"}},
    {METRICS, "url", KIND_HTTP, offsetof(struct config, metrics.url), WIDTH(struct config, metrics.url), 1, CONFIG_TEXT_MAX, NULL, NULL,
     "Where figures for Prometheus (/metrics) and the answers of /healthz and /readyz are served over HTTP; by default nowhere",
     {"http://127.0.0.1:9717"}},
    {METRICS, "allow_remote", KIND_CHOICE, offsetof(struct config, metrics.allow_remote), WIDTH(struct config, metrics.allow_remote), 0, 1,
     NULL, NULL,
     "Whether that may be an address that other machines reach: whoever does sees the names of clients, and what they subscribe to",
     {"no", "yes"}},
    {CLUSTER, "name", KIND_WORD, CLUSTERED(name), 1, ENGINE_NAME_MAX, NULL, NULL,
     "This broker's name, which no other one of the cluster has; by default the first part of the host's name", {"host1"}},
    {CLUSTER, "prefix", KIND_WORD, CLUSTERED(prefix), 1, CLUSTER_PREFIX_MAX, NULL, NULL,
     "What all that these brokers have in NATS begins with: brokers with the same one are a cluster", NO_CHOICES},
    {CLUSTER, "user", KIND_NAME, CLUSTERED(user), 1, USER_NAME_MAX, NULL, NULL,
     "Who it is to the NATS servers, with a password", {"pubsub"}},
    {CLUSTER, "password_file", KIND_PATH, CLUSTERED(password_file), 1, CONFIG_TEXT_MAX, NULL, NULL,
     "File whose only line is that password. It is the broker's user's, and nobody else's to read", {"/etc/pubsub/nats-password"}},
    {CLUSTER, "token_file", KIND_PATH, CLUSTERED(token_file), 1, CONFIG_TEXT_MAX, NULL, NULL,
     "File whose only line is a token, instead of a user. It is the broker's user's, and nobody else's to read", {"/etc/pubsub/nats-token"}},
    {CLUSTER, "credentials", KIND_PATH, CLUSTERED(credentials), 1, CONFIG_TEXT_MAX, NULL, NULL,
     "File of a user's JWT and key (.creds), instead of a user. Nobody but its owner and group may read it", {"/etc/pubsub/nats.creds"}},
    {CLUSTER, "ca", KIND_PATH, CLUSTERED(ca), 1, CONFIG_TEXT_MAX, NULL, NULL,
     "PEM file of the authorities whose certificates the NATS servers must have; with it, and with tls:// URLs, all is encrypted",
     {"/etc/pubsub/nats-ca.crt"}},
    {CLUSTER, "certificate", KIND_PATH, CLUSTERED(certificate), 1, CONFIG_TEXT_MAX, NULL, NULL,
     "PEM file of the certificate that is shown to the NATS servers", {"/etc/pubsub/nats.crt"}},
    {CLUSTER, "key", KIND_PATH, CLUSTERED(key), 1, CONFIG_TEXT_MAX, NULL, NULL,
     "PEM file of its private key, which nobody but its owner and group may read", {"/etc/pubsub/nats.key"}},
    {CLUSTER, "defer_time", KIND_MS, CLUSTERED(defer_ms), SECOND_MS, HOUR_MS, NULL, NULL,
     "How long an acknowledged message for a shared stream waits for a cluster that is away before it is refused", NO_CHOICES},
    {CLUSTER, "defer_bytes", KIND_SIZE, CLUSTERED(defer_bytes), MIB, TIB, NULL, NULL,
     "Memory of messages that wait so; beyond it they are refused at once", NO_CHOICES},
    {CLUSTER, "replicas", KIND_CHOICE, CLUSTERED(replicas), 0, 3, NULL, NULL,
     "On how many NATS servers retained values and places of readers are kept; auto: 3 if there are three URLs or more, else 1",
     {"auto", "1", "3", "5"}},
    {STREAM, "max_bytes", KIND_SIZE, TERM(max_bytes), KIB, 16 * TIB, "no limit", NULL,
     "Bytes of messages that it keeps", NO_CHOICES},
    {STREAM, "max_age", KIND_MS, TERM(max_age_ms), SECOND_MS, 36500 * DAY_MS, "no limit", NULL,
     "Age at which messages go", NO_CHOICES},
    {STREAM, "max_messages", KIND_COUNT, TERM(max_msgs), 1, UINT64_C(1000000000000), "no limit", NULL,
     "Messages that it keeps", NO_CHOICES},
    {STREAM, "on_full", KIND_CHOICE, TERM(refuses), 0, 1, NULL, NULL,
     "At max_bytes or max_messages the oldest messages go, or new ones are refused",
     {"drop_oldest", "refuse"}},
    {STREAM, "store", KIND_CHOICE, TERM(is_shared), 0, 1, NULL, NULL,
     "What keeps it: a database of this broker's own, or NATS JetStream, for all brokers of [cluster]", {"sqlite", "jetstream"}},
    {STREAM, "replicas", KIND_COPIES, TERM(replicas), 1, 5, NULL, NULL,
     "Copies of a stream in jetstream, each on another of the cluster's servers", NO_CHOICES},
    {LISTENER, "certificate", KIND_PATH, TLS(certificate), 1, CONFIG_TEXT_MAX, NULL, NULL,
     "PEM file of a tls:// address: the certificate, and behind it those that lead to a root", NO_CHOICES},
    {LISTENER, "key", KIND_PATH, TLS(key), 1, CONFIG_TEXT_MAX, NULL, NULL,
     "PEM file of its private key, which nobody but its owner and group may read", NO_CHOICES},
    {LISTENER, "client_ca", KIND_PATH, TLS(client_ca), 1, CONFIG_TEXT_MAX, NULL, NULL,
     "PEM file of the authorities whose certificates are accepted from clients", NO_CHOICES},
    {LISTENER, "client_certificate", KIND_CHOICE, TLS(client_certificate), 0, 2, NULL, NULL,
     "Whether clients are asked for a certificate, and may or must show one", {"off", "optional", "required"}},
};
/* clang-format on */

void stream_defaults(struct stream_config *terms)
{
    *terms = (struct stream_config){.max_bytes = GIB, .replicas = 3};
}

const struct setting *setting_find(const char *section, const char *name)
{
    for (size_t i = 0; i < SETTINGS_COUNT; i++) {
        if ((section == NULL || strcmp(settings[i].section, section) == 0) && strcmp(settings[i].name, name) == 0) {
            return &settings[i];
        }
    }
    return NULL;
}

/* What is used at the start, and what clients are told when they come and go by as long as they stay. All others the
 * core asks for each time: a lower limit ends nothing, and refuses only what comes. */
bool setting_needs_restart(const struct setting *setting)
{
    static const char *const names[] = {"data", "user", "max_payload", "max_subscriptions", "publish_window"};
    if (strcmp(setting->section, CLUSTER) == 0) return true; /* the others know it by these */
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(setting->name, names[i]) == 0) return true;
    return false;
}

bool setting_is_of_stream(const struct setting *setting)
{
    return strcmp(setting->section, STREAM) == 0;
}

bool setting_is_of_listener(const struct setting *setting)
{
    return strcmp(setting->section, LISTENER) == 0;
}

bool setting_is_of_one(const struct setting *setting)
{
    return setting_is_of_stream(setting) || setting_is_of_listener(setting);
}

uint64_t setting_get(const void *fields, const struct setting *setting)
{
    const char *field = (const char *)fields + setting->offset;
    uint64_t wide;
    uint32_t narrow;
    switch (setting->width) {
    case sizeof wide: return memcpy(&wide, field, sizeof wide), wide;
    case sizeof narrow: return memcpy(&narrow, field, sizeof narrow), narrow;
    case sizeof(bool): return *(const bool *)field;
    }
    abort();
}

static void set(void *fields, const struct setting *setting, uint64_t value)
{
    char *field = (char *)fields + setting->offset;
    uint32_t narrow = (uint32_t)value;
    switch (setting->width) {
    case sizeof value: memcpy(field, &value, sizeof value); return;
    case sizeof narrow: memcpy(field, &narrow, sizeof narrow); return;
    case sizeof(bool): *(bool *)field = value != 0; return;
    }
    abort();
}

static bool count_parse(const char *digits, uint64_t *count)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(digits, &end, 10);
    if (digits[0] < '0' || digits[0] > '9' || *end != '\0' || errno != 0) return false;
    *count = number;
    return true;
}

static bool number_parse(const struct setting *setting, const char *text, uint64_t *value)
{
    switch (setting->kind) {
    case KIND_COUNT: return count_parse(text, value);
    case KIND_COPIES: return count_parse(text, value) && *value % 2 == 1;
    case KIND_SIZE: return size_parse(text, value) || (count_parse(text, value) && *value == 0);
    case KIND_MS: return time_parse(text, value);
    case KIND_S:
        if (!time_parse(text, value) || *value % SECOND_MS != 0) return false;
        *value /= SECOND_MS;
        return true;
    case KIND_CHOICE:
        for (*value = setting->least; *value <= setting->most; ++*value)
            if (strcmp(text, setting->choices[*value]) == 0) return true;
        return false;
    case KIND_PATH:
    case KIND_NAME:
    case KIND_WORD:
    case KIND_HTTP: break;
    }
    abort();
}

const char *setting_text_problem(const char *value)
{
    size_t len = strlen(value);
    if (len > CONFIG_TEXT_MAX) return "it is longer than 180 bytes";
    for (const char *p = value; *p != '\0'; p++) {
        if ((unsigned char)*p < ' ' || *p == 0x7f) return "it holds a control character";
        if (*p == ';') return "it holds ';', which begins a comment";
    }
    if (len == 0) return "it is empty";
    return value[0] == ' ' || value[len - 1] == ' ' ? "it begins or ends with a blank" : NULL;
}

bool setting_is_text(const struct setting *setting)
{
    return setting->kind == KIND_PATH || setting->kind == KIND_NAME || setting->kind == KIND_WORD ||
           setting->kind == KIND_HTTP;
}

static bool is_word(const char *value)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    return value[strspn(value, allowed)] == '\0';
}

bool setting_read(void *fields, const struct setting *setting, const char *value)
{
    if (setting_is_text(setting)) {
        size_t len = strlen(value);
        struct address address;
        if (setting_text_problem(value) != NULL || len >= setting->width) return false;
        if (setting->kind == KIND_WORD && !is_word(value)) return false;
        if (setting->kind == KIND_HTTP && !address_parse_http(&address, value)) return false;
        memcpy((char *)fields + setting->offset, value, len + 1);
        return true;
    }
    uint64_t number;
    if (!number_parse(setting, value, &number)) return false;
    bool is_zero = setting->zero != NULL && number == 0;
    if (!is_zero && (number < setting->least || number > setting->most)) return false;
    set(fields, setting, number);
    return true;
}

static void number_write(char text[QUANTITY_TEXT_MAX], const struct setting *setting, uint64_t value)
{
    switch (setting->kind) {
    case KIND_PATH: /* a number of bytes, only in its range */
    case KIND_NAME:
    case KIND_WORD:
    case KIND_HTTP:
    case KIND_COPIES:
    case KIND_COUNT: snprintf(text, QUANTITY_TEXT_MAX, "%" PRIu64, value); break;
    case KIND_SIZE: size_write(text, value); break;
    case KIND_MS: time_write(text, value); break;
    case KIND_S: time_write(text, value * SECOND_MS); break;
    case KIND_CHOICE: snprintf(text, QUANTITY_TEXT_MAX, "%s", setting->choices[value]); break;
    }
}

void setting_write(char text[SETTING_TEXT_MAX], const void *fields, const struct setting *setting)
{
    if (setting_is_text(setting)) snprintf(text, SETTING_TEXT_MAX, "%s", (const char *)fields + setting->offset);
    else number_write(text, setting, setting_get(fields, setting));
}

/* "one of off, optional and required" */
static void choices_range(char text[SETTING_TEXT_MAX], const struct setting *setting)
{
    int len = snprintf(text, SETTING_TEXT_MAX, "one of %s", setting->choices[0]);
    for (uint64_t i = 1; i <= setting->most; i++)
        len += snprintf(text + len, SETTING_TEXT_MAX - (size_t)len, "%s%s", i < setting->most ? ", " : " and ",
                        setting->choices[i]);
}

void setting_range(char text[SETTING_TEXT_MAX], const struct setting *setting)
{
    char least[QUANTITY_TEXT_MAX], most[QUANTITY_TEXT_MAX];
    const char *before = "", *behind = "";
    switch (setting->kind) {
    case KIND_COUNT: before = "a whole number from "; break;
    case KIND_SIZE: before = "a size from "; break;
    case KIND_MS: before = "a time from "; break;
    case KIND_S: before = "a time in whole seconds from "; break;
    case KIND_CHOICE: choices_range(text, setting); return;
    case KIND_COPIES: snprintf(text, SETTING_TEXT_MAX, "one of 1, 3 and 5"); return;
    case KIND_PATH: before = "a path of ", behind = " bytes"; break;
    case KIND_NAME: before = "a name of ", behind = " bytes"; break;
    case KIND_WORD: before = "a name of ", behind = " letters, digits, '-' and '_'"; break;
    case KIND_HTTP: before = "an address, http://host:port or unix:/path, of ", behind = " bytes"; break;
    }
    number_write(least, setting, setting->least);
    number_write(most, setting, setting->most);
    int len = snprintf(text, SETTING_TEXT_MAX, "%s%s to %s%s", before, least, most, behind);
    if (setting->zero != NULL) snprintf(text + len, SETTING_TEXT_MAX - (size_t)len, ", or 0: %s", setting->zero);
}
