#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <string.h>

#include "config_settings.h"
#include "nearest.h"

#define LISTENER "listener"

static const char *const section_names[] = {"broker", "limits", LISTENER, NULL};

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
    if (!setting_parse(setting, value, &number)) {
        char range[RANGE_TEXT_MAX];
        setting_range(range, setting);
        return fail_at(parser, parser->line, "%s = '%.60s' is not a %s", name, value, range);
    }
    parser->lines[index] = parser->line;
    setting_set(&parser->config, setting, number);
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
        uint64_t value = setting_get(&parser->config, &settings[i]), limit = setting_get(&parser->config, other);
        if (value <= limit) continue;
        int line = parser->lines[i], other_line = parser->lines[other - settings];
        char texts[2][QUANTITY_TEXT_MAX];
        setting_write(texts[0], &settings[i], value);
        setting_write(texts[1], other, limit);
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
