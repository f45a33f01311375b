/* The table of what can be set in a configuration file: for each key its section, its field, its range and its meaning.
 * For config*.c only. One thread; allocates nothing. */
#ifndef BROKER_CONFIG_SETTINGS_H
#define BROKER_CONFIG_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "sizes.h"

#define SETTINGS_COUNT 15
#define RANGE_TEXT_MAX 160 /* bytes of a written range, with its NUL */

enum setting_kind { KIND_COUNT, KIND_SIZE, KIND_MS, KIND_S };

struct setting {
    const char *section, *name;
    enum setting_kind kind;
    size_t offset, width; /* of its field, which is in the unit that the kind says */
    uint64_t least, most; /* in the field's unit */
    const char *zero;     /* what 0, allowed beside the range, means; NULL: it is not allowed */
    const char *not_over; /* a key of the same section that this one may not exceed, or NULL */
    const char *meaning;
};

/* In the order in which they are printed, sections together. */
extern const struct setting settings[SETTINGS_COUNT];

/* NULL: there is none. section NULL: of any. */
const struct setting *setting_find(const char *section, const char *name);

uint64_t setting_get(const struct config *config, const struct setting *setting);
void setting_set(struct config *config, const struct setting *setting, uint64_t value);

/* As a person writes it. False: it isn't of that kind, or out of the range; *value is untouched then. */
bool setting_parse(const struct setting *setting, const char *text, uint64_t *value);
void setting_write(char text[QUANTITY_TEXT_MAX], const struct setting *setting, uint64_t value);

/* "size from 1k to 256m" */
void setting_range(char text[RANGE_TEXT_MAX], const struct setting *setting);

#endif
