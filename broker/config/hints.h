/* What is said of a section or a key that does not exist, or not there: the nearest that does. For config/ only. One
 * thread; allocates nothing. */
#ifndef BROKER_CONFIG_HINTS_H
#define BROKER_CONFIG_HINTS_H

#include <stdbool.h>
#include <stddef.h>

/* All sections, in the order in which they are printed, then NULL. */
#define SECTIONS_COUNT 10
extern const char *const section_names[SECTIONS_COUNT + 1];

bool section_has_name(const char *section); /* [section NAME] */

/* One sentence about [name], which is no section. */
void hint_section(const char *name, char *text, size_t text_cap);
/* One sentence about a key that [section], which is one, does not have. */
void hint_key(const char *section, const char *key, char *text, size_t text_cap);

#endif
