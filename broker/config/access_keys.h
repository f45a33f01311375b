/* The sections that say who may do what: [access], [user NAME], [group NAME]. For config/ only. One thread. */
#ifndef BROKER_CONFIG_ACCESS_KEYS_H
#define BROKER_CONFIG_ACCESS_KEYS_H

#include "config.h"

#define ACCESS "access"
#define USER "user"
#define GROUP "group"

/* A group that is named before it is known to be there. */
struct group_mention {
    char name[SECTION_NAME_MAX + 1];
    int line;
};

/* What is read of these sections. All zero to begin; to be freed. */
struct access_reader {
    struct access_user *user;   /* in [user NAME] */
    struct access_group *group; /* in [group NAME] */
    int lines[8];               /* where each key of [access], or `rights` of this group, was set; 0: nowhere */
    struct group_mention *mentions;
    size_t mentions_count;
};

/* The keys of a section as names ended by NULL; NULL: it is none of these. */
const char *const *access_keys(const char *section);

/* [user NAME] or [group NAME] begins. False: text has one sentence. */
bool access_begin(struct access_reader *reader, struct config *config, const char *section, const char *name, char *text,
                  size_t text_cap);
/* A key of access_keys(). False: text has one sentence. */
bool access_set(struct access_reader *reader, struct config *config, const char *section, const char *key,
                const char *value, int line, char *text, size_t text_cap);
/* All was read. False: text has one sentence, about *line. */
bool access_check(const struct access_reader *reader, const struct config *config, int *line, char *text,
                  size_t text_cap);
void access_reader_free(struct access_reader *reader);

/* Writes the sections, with comments. */
void access_print(const struct config *config, FILE *out);

#endif
