/* The table of what can be set in a configuration file: for each key its section, its field, its range and its meaning.
 * For config*.c only. One thread; allocates nothing. */
#ifndef BROKER_CONFIG_SETTINGS_H
#define BROKER_CONFIG_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"

#define SETTINGS_COUNT 61
#define SETTING_TEXT_MAX 256 /* bytes of a value or a range as it is written, with its NUL */
#define SETTING_CHOICES_MAX 4
#define STREAM "stream"
#define LISTENER "listener"
#define ANONYMOUS "allow_anonymous" /* a key of it */
#define METRICS "metrics"
#define CLUSTER "cluster"

/* COPIES: 1, 3 or 5, of which a majority decides. */
enum setting_kind { KIND_COUNT, KIND_SIZE, KIND_MS, KIND_S, KIND_CHOICE, KIND_COPIES, KIND_PATH, KIND_NAME, KIND_WORD, KIND_HTTP };

struct setting {
    const char *section, *name;
    enum setting_kind kind;
    size_t offset, width;       /* of its field in struct config; of [stream NAME] in struct stream_config, of [listener NAME]
                                   in struct listener_config; in the unit that the kind says, a path as text */
    uint64_t least, most;       /* in the field's unit; of a choice 0 and the last one's number */
    const char *zero;           /* what 0, allowed beside the range, means; NULL: it is not allowed */
    const char *not_over;       /* a key of the same section that this one may not exceed, or NULL */
    const char *meaning;
    const char *choices[SETTING_CHOICES_MAX]; /* of a path or a name that has no value by default, the first is an example */
};

/* In the order in which they are printed, sections together. */
extern const struct setting settings[SETTINGS_COUNT];

/* NULL: there is none. section NULL: of any. */
const struct setting *setting_find(const char *section, const char *name);

bool setting_is_of_stream(const struct setting *setting);
bool setting_is_of_listener(const struct setting *setting);
bool setting_is_of_one(const struct setting *setting); /* of a section that there may be several of, each with a name */
bool setting_is_text(const struct setting *setting);
/* Of one that is not of_one: whether the running broker can't take over another value. */
bool setting_needs_restart(const struct setting *setting);

/* fields: the structure that it belongs to. Not of a path. */
uint64_t setting_get(const void *fields, const struct setting *setting);

/* Sets it as a person writes it. False: it isn't of that kind, or out of its range; the field is untouched then. */
bool setting_read(void *fields, const struct setting *setting, const char *value);
/* What it is, in the form that is read. */
void setting_write(char text[SETTING_TEXT_MAX], const void *fields, const struct setting *setting);

/* "a size from 1k to 256m" */
void setting_range(char text[SETTING_TEXT_MAX], const struct setting *setting);

/* Why a text can't be a value in the file. NULL: it can. */
const char *setting_text_problem(const char *value);

/* What holds for a stream when its section does not say. */
void stream_defaults(struct stream_config *terms);

#endif
