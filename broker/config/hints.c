#include "hints.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "access_keys.h"
#include "nearest.h"
#include "settings.h"

#define KEYS_MAX (SETTINGS_COUNT + 10) /* of one section */

const char *const section_names[SECTIONS_COUNT + 1] = {"broker", "limits", "log", METRICS, CLUSTER,
                                                       ACCESS,   USER,     GROUP, STREAM,  LISTENER};

bool section_has_name(const char *section)
{
    static const char *const with_name[] = {LISTENER, STREAM, USER, GROUP};
    for (size_t i = 0; i < sizeof with_name / sizeof *with_name; i++)
        if (strcmp(section, with_name[i]) == 0) return true;
    return false;
}

/* Behind its name, where people are told of it. */
static const char *name_hint(const char *section)
{
    return section_has_name(section) ? " NAME" : "";
}

/* The keys of a section, then NULL. */
static void keys_of(const char *section, const char *names[KEYS_MAX + 1])
{
    size_t count = 0;
    if (strcmp(section, LISTENER) == 0) names[count++] = "url", names[count++] = ANONYMOUS;
    if (strcmp(section, CLUSTER) == 0) names[count++] = "url";
    if (strcmp(section, STREAM) == 0 || strcmp(section, CLUSTER) == 0) names[count++] = "topics";
    for (size_t i = 0; i < SETTINGS_COUNT; i++)
        if (strcmp(settings[i].section, section) == 0) names[count++] = settings[i].name;
    for (const char *const *keys = access_keys(section); keys != NULL && *keys != NULL; keys++) names[count++] = *keys;
    names[count] = NULL;
}

static bool has_key(const char *section, const char *key)
{
    const char *names[KEYS_MAX + 1];
    keys_of(section, names);
    size_t i = 0;
    while (names[i] != NULL && strcmp(names[i], key) != 0) i++;
    return names[i] != NULL;
}

__attribute__((format(printf, 3, 4))) static void add(char *text, size_t text_cap, const char *format, ...)
{
    va_list arguments;
    size_t len = strlen(text);
    va_start(arguments, format);
    vsnprintf(text + len, text_cap - len, format, arguments);
    va_end(arguments);
}

void hint_section(const char *name, char *text, size_t text_cap)
{
    char word[NEAREST_NAME_MAX + 2];
    snprintf(word, sizeof word, "%.*s", (int)strcspn(name, " \t"), name);
    const char *nearest = nearest_name(word, section_names);
    snprintf(text, text_cap, "unknown section [%.60s]; ", name);
    if (nearest != NULL) {
        add(text, text_cap, "did you mean [%s%s]?", nearest, name_hint(nearest));
        return;
    }
    for (size_t i = 0; i < SECTIONS_COUNT; i++)
        add(text, text_cap, "%s[%s%s]", i == 0 ? "there are " : ", ", section_names[i], name_hint(section_names[i]));
}

/* Sections may have keys of the same name. Whether any has this one. */
static bool say_where_it_belongs(const char *key, char *text, size_t text_cap)
{
    bool is_found = false;
    for (size_t i = 0; i < SECTIONS_COUNT; i++) {
        const char *section = section_names[i];
        if (!has_key(section, key)) continue;
        if (!is_found) snprintf(text, text_cap, "'%s' belongs into [%s%s]", key, section, name_hint(section));
        else add(text, text_cap, " or [%s%s]", section, name_hint(section));
        is_found = true;
    }
    return is_found;
}

/* Of "password", "password_file"; NULL: none is longer by a word. */
static const char *longer_name(const char *key, const char *const *names)
{
    size_t len = strlen(key);
    while (*names != NULL && (strncmp(*names, key, len) != 0 || (*names)[len] != '_')) names++;
    return *names;
}

void hint_key(const char *section, const char *key, char *text, size_t text_cap)
{
    const char *names[KEYS_MAX + 1];
    if (say_where_it_belongs(key, text, text_cap)) return;
    snprintf(text, text_cap, "unknown key '%.60s' in [%s]; ", key, section);
    keys_of(section, names);
    const char *nearest = nearest_name(key, names);
    if (nearest == NULL) nearest = longer_name(key, names);
    if (nearest != NULL) {
        add(text, text_cap, "did you mean '%s'?", nearest);
        return;
    }
    for (size_t i = 0; i < SECTIONS_COUNT; i++) {
        keys_of(section_names[i], names);
        nearest = nearest_name(key, names);
        if (nearest == NULL) continue;
        add(text, text_cap, "did you mean '%s' in [%s%s]?", nearest, section_names[i], name_hint(section_names[i]));
        return;
    }
    add(text, text_cap, "pubsubd --print-config shows all");
}
