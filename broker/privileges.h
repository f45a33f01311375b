/* What the process may do, and what it gives up. Threads that are there follow. */
#ifndef BROKER_PRIVILEGES_H
#define BROKER_PRIVILEGES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Another user to go on as. */
struct privileges {
    uid_t uid;
    gid_t gid;
    const char *name; /* NULL: as whoever started it */
    bool by_root;     /* root becomes him; else he is it already */
};

/* From now on no program that this one might start gets more rights than it has. */
void privileges_forbid_new(void);

/* Looks a user up. name "": none is wanted. Returns 0, or -1 and one sentence in text: there is none, or only root could
 * become him. */
int privileges_find(struct privileges *user, const char *name, char *text, size_t text_cap);

/* A path that was made for the broker becomes his, so that he can use and remove it. */
void privileges_give(const struct privileges *user, const char *path);

/* A directory for him, if there is nothing at this path yet. */
void privileges_make_directory(const struct privileges *user, const char *path);

/* Acts as him until told otherwise: what is opened and made is as if he did. Returns 0, or -1 and one sentence in text. */
int privileges_act_as(const struct privileges *user, char *text, size_t text_cap);
void privileges_act_as_root(const struct privileges *user);

/* Goes on as him, for good. Returns 0, or -1 and one sentence in text. */
int privileges_drop(const struct privileges *user, char *text, size_t text_cap);

#endif
