#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <string.h>

#include "access_keys.h"
#include "cluster_keys.h"
#include "hints.h"
#include "settings.h"

/* A file being read. inih takes keys and values apart; lines and sections are seen to here, because it has no line
 * numbers, says nothing of a section without keys, cuts long names and lines, ignores what stands behind a section's
 * bracket, and takes an indented line for more of the value above. */
struct parser {
    struct config config;
    const char *path;
    FILE *file;
    int line;
    char start[64];                  /* of the line, for a complaint */
    const char *section;             /* NULL: none yet */
    char name[SECTION_NAME_MAX + 1]; /* in [listener NAME], [stream NAME], [user NAME], [group NAME] */
    struct stream_section *stream;   /* in [stream NAME] */
    struct access_reader access;
    struct listener_config listener; /* in [listener NAME], what is set beside its url */
    int section_line;
    bool has_url;
    bool says_anonymous, allow_anonymous; /* in [listener NAME] */
    int section_lines[SECTIONS_COUNT];    /* where each began; 0: nowhere */
    int listener_lines[LISTEN_MAX], stream_lines[STREAMS_MAX];
    int lines[SETTINGS_COUNT]; /* where each key was set, in a section with a name in this one; 0: nowhere */
    size_t line_bytes_max;     /* as inih takes it */
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
    for (char *p = parser->text; (p = strpbrk(p, "\t\r")) != NULL;)
        *p = ' '; /* of a quoted line; it stays one sentence */
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

static bool is_of_tls(const struct setting *setting)
{
    size_t begin = offsetof(struct listener_config, tls);
    return setting_is_of_listener(setting) && setting->offset >= begin &&
           setting->offset < begin + sizeof(struct tls_config);
}

static bool fail_missing(struct parser *parser, const char *key, const char *why)
{
    return fail_at(parser, parser->section_line, "[%s %s] has no %s%s", parser->section, parser->name, key, why);
}

/* What is set goes with the address. */
static bool end_listener(struct parser *parser)
{
    const struct tls_config *tls = &parser->listener.tls;
    if (!parser->has_url) return fail_missing(parser, "url", "");
    struct listener_config *listener = &parser->config.listeners[parser->config.listeners_count - 1];
    for (size_t i = 0; !listener->address.is_tls && i < SETTINGS_COUNT; i++) {
        if (!is_of_tls(&settings[i]) || parser->lines[i] == 0) continue;
        return fail_at(parser, parser->lines[i], "%s is only for a url that begins with tls://", settings[i].name);
    }
    if (listener->address.is_tls && tls->certificate[0] == '\0')
        return fail_missing(parser, "certificate", ", which tls:// needs");
    if (listener->address.is_tls && tls->key[0] == '\0') return fail_missing(parser, "key", ", which tls:// needs");
    if (tls->client_certificate != CLIENT_CERTIFICATE_OFF && tls->client_ca[0] == '\0')
        return fail_missing(parser, "client_ca", ", which client_certificate needs");
    listener->tls = *tls;
    listener->says_anonymous = parser->says_anonymous;
    listener->allow_anonymous = parser->allow_anonymous;
    return true;
}

static int line_of(const struct parser *parser, const char *section, const char *key)
{
    return parser->lines[setting_find(section, key) - settings];
}

/* Nobody is to believe that there are copies where there is one. */
static bool check_replicas(struct parser *parser)
{
    int line = line_of(parser, STREAM, "replicas");
    if (line == 0 || line_of(parser, STREAM, "store") > 0) return true;
    return fail_at(parser, line,
                   "replicas of [stream %s] needs store = jetstream: without, there is one copy, this broker's own",
                   parser->stream->name);
}

/* The section that was open is complete. */
static bool section_end(struct parser *parser)
{
    if (parser->section == NULL || !section_has_name(parser->section)) return true;
    if (strcmp(parser->section, LISTENER) == 0) return end_listener(parser);
    if (strcmp(parser->section, STREAM) != 0) return true;
    return (parser->stream->terms.patterns_count > 0 || fail_missing(parser, "topics", "")) && check_replicas(parser);
}

static void forget_lines(struct parser *parser, const char *section)
{
    for (size_t i = 0; i < SETTINGS_COUNT; i++)
        if (strcmp(settings[i].section, section) == 0) parser->lines[i] = 0;
}

static bool check_name(struct parser *parser, const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
    size_t len = strlen(name);
    if (len == 0) {
        return fail_at(parser, parser->line, "[%s] needs a name: [%s NAME]", parser->section, parser->section);
    }
    if (len > SECTION_NAME_MAX || strspn(name, allowed) != len) {
        return fail_at(parser, parser->line, "'%.40s' is not a %s's name: 1 to %d letters, digits, '_', '-', '.'", name,
                       parser->section, SECTION_NAME_MAX);
    }
    strcpy(parser->name, name);
    return true;
}

static bool fail_twice(struct parser *parser, int line)
{
    return fail_at(parser, parser->line, "[%s %s] is there already, in line %d", parser->section, parser->name, line);
}

static bool begin_listener(struct parser *parser, const char *name)
{
    if (!check_name(parser, name)) return false;
    for (int i = 0; i < parser->config.listeners_count; i++) {
        if (strcmp(parser->config.listeners[i].name, name) == 0) return fail_twice(parser, parser->listener_lines[i]);
    }
    parser->has_url = parser->says_anonymous = false;
    parser->listener = (struct listener_config){0};
    forget_lines(parser, LISTENER);
    return true;
}

static bool begin_stream(struct parser *parser, const char *name)
{
    char text[100];
    struct config *config = &parser->config;
    if (!check_name(parser, name)) return false;
    for (int i = 0; i < config->streams_count; i++) {
        if (strcmp(config->streams[i]->name, name) == 0) return fail_twice(parser, parser->stream_lines[i]);
    }
    parser->stream = config_add_stream(config, name, text, sizeof text);
    if (parser->stream == NULL) return fail_at(parser, parser->line, "%s", text);
    parser->stream_lines[config->streams_count - 1] = parser->line;
    forget_lines(parser, STREAM);
    return true;
}

static bool begin_of_access(struct parser *parser, const char *name)
{
    char text[100];
    struct access *access = parser->config.access;
    if (!check_name(parser, name)) return false;
    bool is_there = strcmp(parser->section, USER) == 0 ? access_find_user(access, name) != NULL
                                                       : access_find_group(access, name) != NULL;
    if (is_there) return fail_at(parser, parser->line, "[%s %s] is there already", parser->section, name);
    if (access_begin(&parser->access, &parser->config, parser->section, name, text, sizeof text)) return true;
    return fail_at(parser, parser->line, "%s", text);
}

static bool unknown_section(struct parser *parser, const char *name)
{
    char text[300];
    hint_section(name, text, sizeof text);
    return fail_at(parser, parser->line, "%s", text);
}

static bool begin_section(struct parser *parser, const char *name)
{
    size_t word_len = strcspn(name, " \t"), i = 0;
    const char *word;
    while ((word = section_names[i]) != NULL && (strlen(word) != word_len || memcmp(word, name, word_len) != 0)) i++;
    if (word == NULL || (!section_has_name(word) && name[word_len] != '\0')) return unknown_section(parser, name);
    if (!section_has_name(word) && parser->section_lines[i] > 0) {
        return fail_at(parser, parser->line, "[%s] is there already, in line %d", name, parser->section_lines[i]);
    }
    parser->section = word;
    parser->section_lines[i] = parser->section_line = parser->line;
    name += word_len + strspn(name + word_len, " \t");
    if (strcmp(word, LISTENER) == 0) return begin_listener(parser, name);
    if (strcmp(word, STREAM) == 0) return begin_stream(parser, name);
    return section_has_name(word) ? begin_of_access(parser, name) : true;
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
    parser->line_bytes_max = (size_t)size - 3;
    if (parser->failed || !read_bytes(parser, line, (size_t)size - 2)) return NULL;
    snprintf(parser->start, sizeof parser->start, "%s", line);
    if (line[0] == '[' && !take_section(parser, line)) return NULL;
    parser->expects_pair = line[0] != '\0' && line[0] != '[' && !is_comment(line);
    return line;
}

static bool is_access_key(const char *section, const char *key)
{
    const char *const *keys = access_keys(section);
    while (keys != NULL && *keys != NULL && strcmp(*keys, key) != 0) keys++;
    return keys != NULL && *keys != NULL;
}

static bool unknown_key(struct parser *parser, const char *name)
{
    char text[300];
    hint_key(parser->section, name, text, sizeof text);
    return fail_at(parser, parser->line, "%s", text);
}

static bool set_url(struct parser *parser, const char *url)
{
    char text[400];
    if (parser->has_url) {
        return fail_at(parser, parser->line, "url is set already; each address needs a [" LISTENER " NAME] of its own");
    }
    int index = parser->config.listeners_count;
    if (config_add_listener(&parser->config, parser->name, url, text, sizeof text) != 0) {
        return fail_at(parser, parser->line, "url: %s", text);
    }
    parser->listener_lines[index] = parser->section_line;
    return parser->has_url = true;
}

static bool set_anonymous(struct parser *parser, const char *value)
{
    bool is_yes = strcmp(value, "yes") == 0;
    if (parser->says_anonymous) return fail_at(parser, parser->line, ANONYMOUS " is set already");
    if (!is_yes && strcmp(value, "no") != 0)
        return fail_at(parser, parser->line, ANONYMOUS " = '%.60s' is not one of no and yes", value);
    parser->says_anonymous = true;
    parser->allow_anonymous = is_yes;
    return true;
}

static bool add_topics(struct parser *parser, const char *patterns)
{
    char text[400];
    if (config_add_topics(&parser->config, parser->stream, patterns, text, sizeof text) == 0) return true;
    return fail_at(parser, parser->line, "topics: %s", text);
}

static bool set_of_cluster(struct parser *parser, const char *name, const char *value)
{
    char text[400];
    if (!PUBSUB_CLUSTER)
        return fail_at(parser, parser->line, "%s: this pubsubd was built without [" CLUSTER "] (PUBSUB_CLUSTER=OFF)",
                       name);
    if (cluster_add(&parser->config.cluster, name, value, text, sizeof text)) return true;
    return fail_at(parser, parser->line, "%s: %s", name, text);
}

static bool set_of_access(struct parser *parser, const char *name, const char *value)
{
    char text[500];
    if (access_set(&parser->access, &parser->config, parser->section, name, value, parser->line, text, sizeof text))
        return true;
    return fail_at(parser, parser->line, "%s", text);
}

/* What the key's field is in. */
static void *fields_of(struct parser *parser, const struct setting *setting)
{
    if (setting_is_of_stream(setting)) return &parser->stream->terms;
    return setting_is_of_listener(setting) ? (void *)&parser->listener : &parser->config;
}

static bool set_key(struct parser *parser, const char *name, const char *value)
{
    if (parser->section == NULL) {
        return fail_at(parser, parser->line, "'%.60s' stands before the first [section]", name);
    }
    if (strcmp(parser->section, LISTENER) == 0 && strcmp(name, "url") == 0) return set_url(parser, value);
    if (strcmp(parser->section, LISTENER) == 0 && strcmp(name, ANONYMOUS) == 0) return set_anonymous(parser, value);
    if (strcmp(parser->section, STREAM) == 0 && strcmp(name, "topics") == 0) return add_topics(parser, value);
    if (strcmp(parser->section, CLUSTER) == 0 && cluster_has_list(name)) return set_of_cluster(parser, name, value);
    if (is_access_key(parser->section, name)) return set_of_access(parser, name, value);
    const struct setting *setting = setting_find(parser->section, name);
    if (setting == NULL) return unknown_key(parser, name);
    if (!PUBSUB_METRICS && setting->kind == KIND_HTTP)
        return fail_at(parser, parser->line, "%s: this pubsubd was built without [" METRICS "] (PUBSUB_METRICS=OFF)",
                       name);
    size_t index = (size_t)(setting - settings);
    if (parser->lines[index] > 0) {
        return fail_at(parser, parser->line, "%s is set already, in line %d", name, parser->lines[index]);
    }
    if (!setting_read(fields_of(parser, setting), setting, value)) {
        char range[SETTING_TEXT_MAX];
        setting_range(range, setting);
        return fail_at(parser, parser->line, "%s = '%.60s' is not %s", name, value, range);
    }
    parser->lines[index] = parser->line;
    return true;
}

/* inih's callback, 0 for an error. What is taken can be printed, with spaces around '=', and read again. */
static int take_pair(void *user, const char *section, const char *name, const char *value)
{
    (void)section;
    struct parser *parser = user;
    parser->expects_pair = false;
    if (strlen(name) + strlen(" = ") + strlen(value) > parser->line_bytes_max) {
        return fail_at(parser, parser->line, "'key = value' is longer than %zu bytes", parser->line_bytes_max);
    }
    return set_key(parser, name, value);
}

/* What must be true of two keys together. */
static bool check_together(struct parser *parser)
{
    const struct config *config = &parser->config;
    for (size_t i = 0; i < SETTINGS_COUNT; i++) {
        if (settings[i].not_over == NULL) continue;
        const struct setting *other = setting_find(settings[i].section, settings[i].not_over);
        if (setting_get(config, &settings[i]) <= setting_get(config, other)) continue;
        int line = parser->lines[i], other_line = parser->lines[other - settings];
        char texts[2][SETTING_TEXT_MAX];
        setting_write(texts[0], config, &settings[i]);
        setting_write(texts[1], config, other);
        return fail_at(parser, line > other_line ? line : other_line, "%s = %s%s is more than %s = %s%s",
                       settings[i].name, texts[0], line > 0 ? "" : " (not set here)", other->name, texts[1],
                       other_line > 0 ? "" : " (not set here)");
    }
    return true;
}

/* The streams that all brokers share. */
static bool check_shared(struct parser *parser)
{
    const struct config *config = &parser->config;
    for (int i = 0; i < config->streams_count; i++) {
        const struct stream_section *stream = config->streams[i];
        if (!stream->terms.is_shared) continue;
        if (config->cluster.urls_count == 0)
            return fail_at(parser, parser->stream_lines[i],
                           "store = jetstream of [stream %s] needs a [cluster], whose brokers share it", stream->name);
        for (int k = 0; k < i; k++) {
            const struct stream_section *other = config->streams[k];
            if (!other->terms.is_shared || stream_shared_number(other->name) != stream_shared_number(stream->name))
                continue;
            return fail_at(parser, parser->stream_lines[i],
                           "[stream %s] and [stream %s] would both have the number %u at all brokers: rename one",
                           stream->name, other->name, stream_shared_number(stream->name));
        }
    }
    return true;
}

static bool check_cluster(struct parser *parser)
{
    char text[200];
    const char *key = cluster_problem(&parser->config.cluster, text, sizeof text);
    if (key == NULL) return true;
    return fail_at(parser, line_of(parser, CLUSTER, key), "%s", text);
}

static bool check_groups(struct parser *parser)
{
    char text[200];
    int line;
    if (access_check(&parser->access, &parser->config, &line, text, sizeof text)) return true;
    return fail_at(parser, line, "%s", text);
}

static int read_file(struct parser *parser)
{
    int result = ini_parse_stream(read_line, parser, take_pair, parser);
    fclose(parser->file);
    if (parser->failed) return -1;
    if (parser->read_error != 0) {
        snprintf(parser->text, parser->text_cap, "%s: cannot be read: %s", parser->path, strerror(parser->read_error));
    } else if (parser->is_empty) {
        snprintf(parser->text, parser->text_cap, "%s: the file is empty", parser->path);
    } else if (result != 0) {
        snprintf(parser->text, parser->text_cap, "%s: cannot be parsed (inih says %d)", parser->path, result);
    } else if (section_end(parser) && check_together(parser) && check_cluster(parser) && check_groups(parser) &&
               check_shared(parser)) {
        return 0;
    }
    return -1;
}

int config_load(struct config *config, const char *path, char *text, size_t text_cap)
{
    struct parser parser = {.config = *config, .path = path, .is_empty = true, .text = text, .text_cap = text_cap};
    parser.config.listeners_count = parser.config.streams_count = 0;
    config_cluster_defaults(&parser.config.cluster);
    parser.config.passwords[0] = parser.config.tokens[0] = '\0';
    parser.file = fopen(path, "re");
    if (parser.file == NULL) {
        snprintf(text, text_cap, "%s: cannot be opened: %s", path, strerror(errno));
        return -1;
    }
    parser.config.access = access_new();
    int result = read_file(&parser);
    access_reader_free(&parser.access);
    if (result != 0) {
        config_free(&parser.config);
        return -1;
    }
    config_free(config);
    *config = parser.config;
    return 0;
}
