/* How two configurations differ, and what of a new one can take effect while the broker runs. One thread; allocates
 * nothing. */
#ifndef BROKER_CONFIG_CHANGES_H
#define BROKER_CONFIG_CHANGES_H

#include <stddef.h>

#include "config.h"

#define CHANGES_TEXT_MAX 1000 /* bytes of a list with its NUL; one that is longer ends with "..." */

/* Names with commas between them; empty: there are none. */
struct config_changes {
    char taken[CHANGES_TEXT_MAX];   /* hold from now on */
    char waiting[CHANGES_TEXT_MAX]; /* hold when the broker is started again */
};

/* What differs between them. */
void config_compare(const struct config *running, const struct config *fresh, struct config_changes *changes);
/* Of the keys with one value: those in *fresh that would need a restart are set back to what runs. Returns 0, or -1 and
 * one sentence in text: what runs does not go together with the others. */
int config_set_back(struct config *fresh, const struct config *running, char *text, size_t text_cap);
/* What has taken effect is what runs now. *fresh, which was set back, is still to be freed. */
void config_adopt(struct config *running, struct config *fresh);

/* One more name in a list of CHANGES_TEXT_MAX bytes. */
void changes_add(char list[CHANGES_TEXT_MAX], const char *name);

#endif
