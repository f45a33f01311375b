#include "options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "complete.h"
#include "help.h"
#include "nearest.h"
#include "sizes.h"

#define OPTIONS_MAX 100 /* names that are looked at for one that was meant */

static const struct option_row *row_of_letter(const struct usage *usage, char letter, void **into)
{
    for (size_t t = 0; usage->tables[t]; t++) {
        for (const struct option_row *row = usage->tables[t]->rows; row->set; row++) {
            if (row->letter == letter) {
                *into = usage->tables[t]->into;
                return row;
            }
        }
    }
    return NULL;
}

const struct option_row *option_find(const struct usage *usage, const char *name, size_t len, void **into)
{
    for (size_t t = 0; usage->tables[t]; t++) {
        for (const struct option_row *row = usage->tables[t]->rows; row->set; row++) {
            if (row->name && strlen(row->name) == len && memcmp(row->name, name, len) == 0) {
                *into = usage->tables[t]->into;
                return row;
            }
        }
    }
    return NULL;
}

static enum options_result unknown_name(const struct usage *usage, const char *name, size_t len)
{
    const char *names[OPTIONS_MAX + 2] = {"help"};
    size_t count = 1;
    for (size_t t = 0; usage->tables[t]; t++) {
        for (const struct option_row *row = usage->tables[t]->rows; row->set; row++) {
            if (row->name && count <= OPTIONS_MAX) names[count++] = row->name;
        }
    }
    char typed[NEAREST_NAME_MAX + 1] = "";
    if (len < sizeof typed) memcpy(typed, name, len);
    const char *nearest = nearest_name(typed, names);
    if (nearest) {
        complain("unknown option '--%.*s'; did you mean '--%s'?", (int)len, name, nearest);
    } else {
        complain("unknown option '--%.*s'; see '%s --help'", (int)len, name, usage->command);
    }
    return OPTIONS_WRONG;
}

/* A value that may be left out, "[N]", is a number: any other word behind the option is an argument. */
static bool has_optional_value(const struct option_row *row)
{
    return row->value && row->value[0] == '[' && row->value[strlen(row->value) - 1] == ']';
}

static bool is_number(const char *word)
{
    return *word && word[strspn(word, "0123456789")] == '\0';
}

/* Whether a word is the one that is to be completed. */
static bool is_typed(int argc, int at)
{
    return completing() && at == argc - 1;
}

static enum options_result take_long(const struct usage *usage, const char *name, int argc, char **argv, int *at)
{
    size_t len = strcspn(name, "=");
    const char *value = name[len] == '=' ? name + len + 1 : NULL;
    if (len == 4 && memcmp(name, "help", 4) == 0 && !value) return OPTIONS_HELP;
    void *into = NULL;
    const struct option_row *row = option_find(usage, name, len, &into);
    if (!row) return unknown_name(usage, name, len);
    if (!row->value && value) {
        complain("option '--%s' takes no value", row->name);
        return OPTIONS_WRONG;
    }
    if (has_optional_value(row)) {
        if (!value && *at + 1 < argc && !is_typed(argc, *at + 1) && is_number(argv[*at + 1])) value = argv[++*at];
    } else if (row->value && !value) {
        if (*at + 1 >= argc) {
            complain("option '--%s' needs a value: %s", row->name, row->value);
            return OPTIONS_WRONG;
        }
        value = argv[++*at];
        if (is_typed(argc, *at)) return complete_value(usage, row, into, value), OPTIONS_HELP;
    }
    return row->set(into, value) ? OPTIONS_OK : OPTIONS_WRONG;
}

static enum options_result unknown_letter(const struct usage *usage, char letter)
{
    complain("unknown option '-%c'; see '%s --help' (before an argument that starts with '-' put '--')", letter,
             usage->command);
    return OPTIONS_WRONG;
}

/* A name of which a dash is missing. As letters it would be something else, that is not meant. */
static bool is_name(const struct usage *usage, const char *letters)
{
    void *into;
    size_t len = strcspn(letters, "=");
    return len > 1 && ((len == 4 && memcmp(letters, "help", 4) == 0) || option_find(usage, letters, len, &into));
}

static enum options_result take_letters(const struct usage *usage, const char *letters, int argc, char **argv, int *at)
{
    if (is_name(usage, letters)) {
        complain("unknown option '-%s'; did you mean '--%s'?", letters, letters);
        return OPTIONS_WRONG;
    }
    for (; *letters; letters++) {
        void *into = NULL;
        const struct option_row *row = row_of_letter(usage, *letters, &into);
        if (!row && *letters == 'h') return OPTIONS_HELP;
        if (!row) return unknown_letter(usage, *letters);
        const char *value = NULL;
        if (row->value) {
            value = letters[1] ? letters + 1 : *at + 1 < argc ? argv[++*at] : NULL;
            if (!value) {
                complain("option '-%c' needs a value: %s", *letters, row->value);
                return OPTIONS_WRONG;
            }
            if (!letters[1] && is_typed(argc, *at)) return complete_value(usage, row, into, value), OPTIONS_HELP;
        }
        if (!row->set(into, value)) return OPTIONS_WRONG;
        if (value) break;
    }
    return OPTIONS_OK;
}

/* ---- all words ---- */

/* While a word is completed, what is wrong before it is not of interest. */
static enum options_result take_option(const struct usage *usage, int argc, char **argv, int *at)
{
    const char *word = argv[*at];
    enum options_result result =
        word[1] == '-' ? take_long(usage, word + 2, argc, argv, at) : take_letters(usage, word + 1, argc, argv, at);
    if (result == OPTIONS_HELP && !completing()) help_print(usage);
    return completing() && result == OPTIONS_WRONG ? OPTIONS_OK : result;
}

enum options_result options_parse(const struct usage *usage, int argc, char **argv, bool stop_at_argument,
                                  int *argument_count)
{
    int arguments = 0, at = 0;
    bool over = false;
    for (; at < argc && !over && !is_typed(argc, at); at++) {
        char *word = argv[at];
        if (strcmp(word, "--") == 0) {
            over = true;
        } else if (word[0] != '-' || word[1] == '\0') {
            if (stop_at_argument) break;
            argv[arguments++] = word;
        } else {
            enum options_result result = take_option(usage, argc, argv, &at);
            if (result != OPTIONS_OK) return result;
        }
    }
    if (completing() && (at >= argc - 1 || !stop_at_argument)) { /* else a command in the words goes on with it */
        complete_word(usage, argv[argc - 1], over, arguments + argc - 1 - at);
        return OPTIONS_HELP;
    }
    for (; at < argc; at++) argv[arguments++] = argv[at];
    *argument_count = arguments;
    return OPTIONS_OK;
}

bool options_wrong(const char *command, const char *why)
{
    complain("%s; see '%s --help'", why, command);
    return false;
}

bool option_number(const char *option, const char *value, unsigned long long least, unsigned long long *number)
{
    char *end = NULL;
    unsigned long long n = 0;
    errno = 0;
    if (value[0] >= '0' && value[0] <= '9') n = strtoull(value, &end, 10); /* strtoull would take "-1" and " 1" */
    if (!end || *end != '\0' || errno == ERANGE || n < least) {
        complain("%s %s: not a whole number of at least %llu", option, value, least);
        return false;
    }
    *number = n;
    return true;
}

bool option_time(const char *option, const char *value, uint64_t least_ms, uint64_t most_ms, uint64_t *ms)
{
    uint64_t parsed;
    if (!time_parse(value, &parsed)) {
        complain("%s %s: not a time such as 500ms, 10s, 5m, 24h, 7d", option, value);
        return false;
    }
    char limit[QUANTITY_TEXT_MAX];
    if (parsed < least_ms) {
        time_write(limit, least_ms);
        complain("%s %s: must be at least %s", option, value, limit);
        return false;
    }
    if (most_ms > 0 && parsed > most_ms) {
        time_write(limit, most_ms);
        complain("%s %s: must be at most %s", option, value, limit);
        return false;
    }
    *ms = parsed;
    return true;
}

int option_choice(const char *option, const char *value, const char *const *names)
{
    char all[256] = "";
    size_t len = 0;
    for (int i = 0; names[i]; i++) {
        if (strcmp(value, names[i]) == 0) return i;
        if (len < sizeof all) len += (size_t)snprintf(all + len, sizeof all - len, "%s%s", i ? ", " : "", names[i]);
    }
    complete_choices(names);
    complain("%s %s: not one of %s", option, value, all);
    return -1;
}
