#include "config.h"

#include <errno.h>
#include <ini.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "nearest.h"
#include "sizes.h"

#define SECOND_MS UINT64_C(1000)
#define HOUR_MS (3600 * SECOND_MS)
#define DAY_MS (24 * HOUR_MS)
#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define TIB (1024 * GIB)

enum kind { KIND_COUNT, KIND_SIZE, KIND_MS, KIND_S };

struct setting {
    const char *section, *name;
    enum kind kind;
    size_t offset, width; /* of its field, which is in the unit that the kind says */
    uint64_t least, most; /* in the field's unit */
    const char *zero;     /* what 0, allowed beside the range, means; NULL: it is not allowed */
    const char *not_over; /* a key of the same section that this one may not exceed, or NULL */
    const char *meaning;
};

#define FIELD(name) offsetof(struct broker_limits, name), sizeof(((struct broker_limits *)0)->name)

/* In the order in which they are printed, sections together. The ranges keep every sum and product of these numbers
 * within the types that the core and the wire have for them. */
/* clang-format off */
static const struct setting settings[] = {
    {"broker", "sys_interval", KIND_MS, FIELD(sys_ms), 100, DAY_MS, "no reports", NULL,
     "Time between two reports of the broker about itself under $SYS"},
    {"limits", "max_payload", KIND_SIZE, FIELD(max_payload), KIB, 256 * MIB, NULL, NULL,
     "The largest payload of a message"},
    {"limits", "max_connections", KIND_COUNT, FIELD(max_sessions_count), 1, 1000000, NULL, NULL,
     "Connections at the same time; the system's limit of open files has to allow them, too"},
    {"limits", "max_subscriptions", KIND_COUNT, FIELD(max_subs_count), 1, 10000000, NULL, NULL,
     "Subscriptions of one connection"},
    {"limits", "queue_messages", KIND_COUNT, FIELD(queue_msgs_count), 1, 1000000000, NULL, "queue_messages_cap",
     "Messages in the queue of a subscription that does not ask for another limit"},
    {"limits", "queue_bytes", KIND_SIZE, FIELD(queue_bytes), KIB, TIB, NULL, "queue_bytes_cap",
     "Bytes in the queue of a subscription that does not ask for another limit"},
    {"limits", "queue_messages_cap", KIND_COUNT, FIELD(queue_msgs_cap_count), 1, 1000000000, NULL, NULL,
     "The most messages that a subscription may ask for"},
    {"limits", "queue_bytes_cap", KIND_SIZE, FIELD(queue_bytes_cap), KIB, TIB, NULL, NULL,
     "The most bytes that a subscription may ask for"},
    {"limits", "connection_queue_bytes", KIND_SIZE, FIELD(session_queue_bytes), KIB, TIB, NULL, NULL,
     "Bytes in all queues of one connection"},
    {"limits", "queue_total_bytes", KIND_SIZE, FIELD(queue_total_bytes), MIB, TIB, NULL, NULL,
     "Memory of all queued messages; by default half of what the machine or the cgroup has"},
    {"limits", "retained_bytes", KIND_SIZE, FIELD(retained_bytes), KIB, TIB, NULL, NULL,
     "Memory of all retained messages"},
    {"limits", "publish_window", KIND_COUNT, FIELD(pub_window_count), 1, 1000000, NULL, NULL,
     "Publishes of one connection that may wait for their answer"},
    {"limits", "handshake_timeout", KIND_MS, FIELD(handshake_ms), 100, HOUR_MS, NULL, NULL,
     "Time that a new connection has to introduce itself"},
    {"limits", "closing_timeout", KIND_MS, FIELD(closing_ms), 100, HOUR_MS, NULL, NULL,
     "Time that a closing connection has to read what is left for it"},
    {"limits", "keepalive_max", KIND_S, FIELD(keepalive_max_s), 1, 7 * DAY_MS / SECOND_MS, NULL, NULL,
     "The longest keepalive time; a client that asks for more gets this"},
};
/* clang-format on */

#define SETTINGS_COUNT (sizeof settings / sizeof *settings)
#define LISTENER "listener"

static const char *const section_names[] = {"broker", "limits", LISTENER, NULL};

static const char *kind_name(enum kind kind)
{
    switch (kind) {
    case KIND_COUNT: return "whole number";
    case KIND_SIZE: return "size";
    case KIND_MS: return "time";
    case KIND_S: return "time in whole seconds";
    }
    abort();
}

static void value_write(char text[QUANTITY_TEXT_MAX], enum kind kind, uint64_t value)
{
    switch (kind) {
    case KIND_COUNT: snprintf(text, QUANTITY_TEXT_MAX, "%" PRIu64, value); break;
    case KIND_SIZE: size_write(text, value); break;
    case KIND_MS: time_write(text, value); break;
    case KIND_S: time_write(text, value * SECOND_MS); break;
    }
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

static bool value_parse(const char *text, enum kind kind, uint64_t *value)
{
    switch (kind) {
    case KIND_COUNT: return count_parse(text, value);
    case KIND_SIZE: return size_parse(text, value);
    case KIND_MS: return time_parse(text, value);
    case KIND_S:
        if (!time_parse(text, value) || *value % SECOND_MS != 0) return false;
        *value /= SECOND_MS;
        return true;
    }
    abort();
}

static uint64_t value_get(const struct config *config, const struct setting *setting)
{
    const char *field = (const char *)&config->limits + setting->offset;
    uint64_t wide;
    uint32_t narrow;
    if (setting->width == sizeof wide) return memcpy(&wide, field, sizeof wide), wide;
    return memcpy(&narrow, field, sizeof narrow), narrow;
}

static void value_set(struct config *config, const struct setting *setting, uint64_t value)
{
    char *field = (char *)&config->limits + setting->offset;
    uint32_t narrow = (uint32_t)value;
    if (setting->width == sizeof value) memcpy(field, &value, sizeof value);
    else memcpy(field, &narrow, sizeof narrow);
}

/* "size from 1k to 256m" */
static void range_write(char *text, size_t cap, const struct setting *setting)
{
    char least[QUANTITY_TEXT_MAX], most[QUANTITY_TEXT_MAX];
    value_write(least, setting->kind, setting->least);
    value_write(most, setting->kind, setting->most);
    int len = snprintf(text, cap, "%s from %s to %s", kind_name(setting->kind), least, most);
    if (setting->zero != NULL) snprintf(text + len, cap - (size_t)len, ", or 0: %s", setting->zero);
}

static const struct setting *setting_find(const char *section, const char *name)
{
    for (size_t i = 0; i < SETTINGS_COUNT; i++) {
        if ((section == NULL || strcmp(settings[i].section, section) == 0) && strcmp(settings[i].name, name) == 0) {
            return &settings[i];
        }
    }
    return NULL;
}

void config_defaults(struct config *config)
{
    *config = (struct config){0};
    broker_defaults(&config->limits);
    const struct setting *total = setting_find("limits", "queue_total_bytes");
    uint64_t half = memory_available_bytes("") / 2 / KIB * KIB;
    value_set(config, total, half < total->least ? total->least : half > total->most ? total->most : half);
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

/* A file being read. inih takes keys and values apart; lines and sections are seen to here, because it has no line
 * numbers, says nothing of a section without keys, cuts long names and lines, ignores what stands behind a section's
 * bracket, and takes an indented line for more of the value above. */
struct parser {
    struct config config;
    const char *path;
    FILE *file;
    int line;
    char start[64];                       /* of the line, for a complaint */
    const char *section;                  /* NULL: none yet */
    char listener[LISTENER_NAME_MAX + 1]; /* in [listener NAME] */
    int section_line;
    bool has_url;
    int section_lines[sizeof section_names / sizeof *section_names]; /* where each began; 0: nowhere */
    int listener_lines[LISTEN_MAX];
    int lines[SETTINGS_COUNT]; /* where each key was set; 0: nowhere */
    bool expects_pair;         /* inih has a line that it should make a key and a value of */
    bool is_empty, failed;
    int read_error; /* errno */
    char *text;
    size_t text_cap;
};

__attribute__((format(printf, 3, 4))) static bool fail_at(struct parser *parser, int line, const char *format, ...)
{
    if (parser->failed) return false;
    parser->failed = true;
    int len = snprintf(parser->text, parser->text_cap, "%s:%d: ", parser->path, line);
    if (len < 0 || (size_t)len >= parser->text_cap) return false;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(parser->text + len, parser->text_cap - (size_t)len, format, arguments);
    va_end(arguments);
    return false;
}

static bool is_blank(int byte)
{
    return byte == ' ' || byte == '\t' || byte == '\r';
}

static bool is_comment(const char *line)
{
    return line[0] == '#' || line[0] == ';';
}

/* The section that was open is complete. */
static bool section_end(struct parser *parser)
{
    if (parser->section == NULL || strcmp(parser->section, LISTENER) != 0 || parser->has_url) return true;
    return fail_at(parser, parser->section_line, "[" LISTENER " %s] has no url", parser->listener);
}

static bool begin_listener(struct parser *parser, const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
    size_t len = strlen(name);
    if (len == 0) return fail_at(parser, parser->line, "[" LISTENER "] needs a name: [" LISTENER " NAME]");
    if (len > LISTENER_NAME_MAX || strspn(name, allowed) != len) {
        return fail_at(parser, parser->line, "'%.40s' is not a listener's name: 1 to %d letters, digits, '_', '-', '.'",
                       name, LISTENER_NAME_MAX);
    }
    for (int i = 0; i < parser->config.listeners_count; i++) {
        if (strcmp(parser->config.listeners[i].name, name) != 0) continue;
        return fail_at(parser, parser->line, "[" LISTENER " %s] is there already, in line %d", name,
                       parser->listener_lines[i]);
    }
    strcpy(parser->listener, name);
    parser->has_url = false;
    return true;
}

static bool begin_section(struct parser *parser, const char *name)
{
    size_t word_len = strcspn(name, " \t");
    for (size_t i = 0; section_names[i] != NULL; i++) {
        bool is_listener = strcmp(section_names[i], LISTENER) == 0;
        if (strlen(section_names[i]) != word_len || memcmp(section_names[i], name, word_len) != 0) continue;
        if (!is_listener && name[word_len] != '\0') break;
        if (!is_listener && parser->section_lines[i] > 0) {
            return fail_at(parser, parser->line, "[%s] is there already, in line %d", name, parser->section_lines[i]);
        }
        parser->section = section_names[i];
        parser->section_lines[i] = parser->section_line = parser->line;
        return !is_listener || begin_listener(parser, name + word_len + strspn(name + word_len, " \t"));
    }
    char word[NEAREST_NAME_MAX + 2];
    snprintf(word, sizeof word, "%.*s", (int)(word_len < sizeof word ? word_len : sizeof word), name);
    const char *nearest = nearest_name(word, section_names);
    if (nearest == NULL) {
        return fail_at(parser, parser->line,
                       "unknown section [%.60s]; there are [broker], [limits], [" LISTENER " NAME]", name);
    }
    return fail_at(parser, parser->line, "unknown section [%.60s]; did you mean [%s%s]?", name, nearest,
                   strcmp(nearest, LISTENER) == 0 ? " NAME" : "");
}

/* A line that begins with a bracket. */
static bool take_section(struct parser *parser, const char *line)
{
    const char *end = strchr(line, ']'), *behind = end ? end + 1 : line;
    while (is_blank(*behind)) behind++;
    if (end == NULL || (*behind != '\0' && !is_comment(behind))) {
        return fail_at(parser, parser->line, "'%s' is not a [section], with nothing behind it", parser->start);
    }
    char name[80];
    const char *begin = line + 1;
    while (begin < end && is_blank(*begin)) begin++;
    while (end > begin && is_blank(end[-1])) end--;
    snprintf(name, sizeof name, "%.*s", (int)(end - begin), begin);
    return section_end(parser) && begin_section(parser, name);
}

/* Reads a line without its end and without blanks before it. False: there is none, or it can't be taken.
 * Of a comment that is too long the rest is skipped. */
static bool read_bytes(struct parser *parser, char *line, size_t cap)
{
    size_t len = 0;
    int byte;
    parser->line++;
    line[0] = '\0';
    while ((byte = getc(parser->file)) != EOF && byte != '\n') {
        if (byte == 0x7f || (byte < ' ' && !is_blank(byte))) {
            return fail_at(parser, parser->line, "the line holds a control character, 0x%02x", (unsigned)byte);
        }
        if ((len == 0 && is_blank(byte)) || (len == cap - 1 && is_comment(line))) continue;
        if (len == cap - 1) return fail_at(parser, parser->line, "the line is longer than %zu bytes", cap - 1);
        line[len++] = (char)byte;
        line[len] = '\0';
        if (parser->line == 1 && strcmp(line, "\xef\xbb\xbf") == 0) len = 0; /* UTF-8's byte order mark */
    }
    line[len] = '\0';
    if (len > 0) parser->is_empty = false;
    if (byte == EOF && ferror(parser->file)) parser->read_error = errno;
    return parser->read_error == 0 && (byte != EOF || len > 0);
}

/* inih's fgets(). */
static char *read_line(char *line, int size, void *user)
{
    struct parser *parser = user;
    if (parser->expects_pair) {
        fail_at(parser, parser->line, "'%s' is neither a [section] nor 'key = value'", parser->start);
    }
    /* What fills inih's room to the end it may take for a part of a line. */
    if (parser->failed || !read_bytes(parser, line, (size_t)size - 2)) return NULL;
    snprintf(parser->start, sizeof parser->start, "%s", line);
    if (line[0] == '[' && !take_section(parser, line)) return NULL;
    parser->expects_pair = line[0] != '\0' && line[0] != '[' && !is_comment(line);
    return line;
}

static bool unknown_key(struct parser *parser, const char *name)
{
    const char *names[SETTINGS_COUNT + 1] = {NULL};
    size_t count = 0;
    bool is_listener = strcmp(parser->section, LISTENER) == 0;
    const struct setting *elsewhere = setting_find(NULL, name);
    if (elsewhere != NULL) {
        return fail_at(parser, parser->line, "'%s' belongs into [%s]", name, elsewhere->section);
    }
    if (is_listener) names[count++] = "url";
    for (size_t i = 0; i < SETTINGS_COUNT; i++) {
        if (strcmp(settings[i].section, parser->section) == 0) names[count++] = settings[i].name;
    }
    const char *nearest = nearest_name(name, names);
    if (nearest != NULL) {
        return fail_at(parser, parser->line, "unknown key '%.60s' in [%s]; did you mean '%s'?", name, parser->section,
                       nearest);
    }
    return fail_at(parser, parser->line, "unknown key '%.60s' in [%s]; pubsubd --print-config shows all", name,
                   parser->section);
}

static bool set_listener(struct parser *parser, const char *name, const char *url)
{
    char text[400];
    if (strcmp(name, "url") != 0) return unknown_key(parser, name);
    if (parser->has_url) {
        return fail_at(parser, parser->line, "url is set already; each address needs a [" LISTENER " NAME] of its own");
    }
    int index = parser->config.listeners_count;
    if (config_add_listener(&parser->config, parser->listener, url, text, sizeof text) != 0) {
        return fail_at(parser, parser->line, "url: %s", text);
    }
    parser->listener_lines[index] = parser->section_line;
    return parser->has_url = true;
}

static bool set_key(struct parser *parser, const char *name, const char *value)
{
    if (parser->section == NULL) {
        return fail_at(parser, parser->line, "'%.60s' stands before the first [section]", name);
    }
    if (strcmp(parser->section, LISTENER) == 0) return set_listener(parser, name, value);
    const struct setting *setting = setting_find(parser->section, name);
    if (setting == NULL) return unknown_key(parser, name);
    size_t index = (size_t)(setting - settings);
    if (parser->lines[index] > 0) {
        return fail_at(parser, parser->line, "%s is set already, in line %d", name, parser->lines[index]);
    }
    uint64_t number;
    bool is_zero = setting->zero != NULL && value_parse(value, setting->kind, &number) && number == 0;
    if (!is_zero &&
        (!value_parse(value, setting->kind, &number) || number < setting->least || number > setting->most)) {
        char range[160];
        range_write(range, sizeof range, setting);
        return fail_at(parser, parser->line, "%s = '%.60s' is not a %s", name, value, range);
    }
    parser->lines[index] = parser->line;
    value_set(&parser->config, setting, number);
    return true;
}

/* inih's callback, 0 for an error. */
static int take_pair(void *user, const char *section, const char *name, const char *value)
{
    (void)section;
    struct parser *parser = user;
    parser->expects_pair = false;
    return set_key(parser, name, value);
}

/* What must be true of two keys together. */
static bool check_together(struct parser *parser)
{
    for (size_t i = 0; i < SETTINGS_COUNT; i++) {
        if (settings[i].not_over == NULL) continue;
        const struct setting *other = setting_find(settings[i].section, settings[i].not_over);
        uint64_t value = value_get(&parser->config, &settings[i]), limit = value_get(&parser->config, other);
        if (value <= limit) continue;
        int line = parser->lines[i], other_line = parser->lines[other - settings];
        char texts[2][QUANTITY_TEXT_MAX];
        value_write(texts[0], settings[i].kind, value);
        value_write(texts[1], other->kind, limit);
        return fail_at(parser, line > other_line ? line : other_line, "%s = %s%s is more than %s = %s%s",
                       settings[i].name, texts[0], line > 0 ? "" : " (not set here)", other->name, texts[1],
                       other_line > 0 ? "" : " (not set here)");
    }
    return true;
}

int config_load(struct config *config, const char *path, char *text, size_t text_cap)
{
    struct parser parser = {.config = *config, .path = path, .is_empty = true, .text = text, .text_cap = text_cap};
    parser.config.listeners_count = 0;
    parser.file = fopen(path, "re");
    if (parser.file == NULL) {
        snprintf(text, text_cap, "%s: cannot be opened: %s", path, strerror(errno));
        return -1;
    }
    int result = ini_parse_stream(read_line, &parser, take_pair, &parser);
    fclose(parser.file);
    if (parser.failed) return -1;
    if (parser.read_error != 0) {
        snprintf(text, text_cap, "%s: cannot be read: %s", path, strerror(parser.read_error));
    } else if (parser.is_empty) {
        snprintf(text, text_cap, "%s: the file is empty", path);
    } else if (result != 0) {
        snprintf(text, text_cap, "%s: cannot be parsed (inih says %d)", path, result);
    } else if (section_end(&parser) && check_together(&parser)) {
        *config = parser.config;
        return 0;
    }
    return -1;
}

static void print_listener(const struct listener_config *listener, FILE *out)
{
    const struct address *address = &listener->address;
    fprintf(out, "\n[" LISTENER " %s]\nurl = ", listener->name);
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
        char value[QUANTITY_TEXT_MAX], range[160];
        if (strcmp(section, settings[i].section) != 0) fprintf(out, "\n[%s]", section = settings[i].section);
        value_write(value, settings[i].kind, value_get(config, &settings[i]));
        range_write(range, sizeof range, &settings[i]);
        fprintf(out, "\n# %s.\n# A %s.\n%s = %s\n", settings[i].meaning, range, settings[i].name, value);
    }
    fputs("\n# Where it is served: for each address a section [" LISTENER
          " NAME], with a name of its choice and one url,\n"
          "# unix:/path, tcp://host:port or fd:N. When --listen is given, that holds instead of these. Without any of\n"
          "# both: the user's Unix socket (see pubsubd --help) and the first of these examples.\n"
          "#\n# [" LISTENER " local]\n# url = tcp://127.0.0.1:7717\n"
          "#\n# [" LISTENER " socket]\n# url = unix:/run/pubsub/pubsub.sock\n",
          out);
    for (int i = 0; i < config->listeners_count; i++) print_listener(&config->listeners[i], out);
}
