/* Contexts: names for brokers, with all that is said of the connection, in a file of the user's:
 * $XDG_CONFIG_HOME/pubsub/contexts.json, without that variable ~/.config/pubsub/contexts.json. Secrets are not in it, only
 * the paths of their files. It is the user's own, and nobody else may write it. */
#ifndef CLI_CONTEXTS_H
#define CLI_CONTEXTS_H

#include "cli.h"
#include "connect.h"

#define CONTEXT_NAME_MAX 64 /* bytes: letters, digits, '.', '_' and '-' */

/* What counts for a connection is what the first of these says:
 *   options                   of the command line, one by one
 *   the context of --context  where no option says otherwise
 *   the context of $PUBSUB_CONTEXT, if there is no -s
 *   $PUBSUB_URL
 *   the context in use, if there is neither -s nor $PUBSUB_URL
 * Whoever says with -s where the broker is sends no password there that was meant for another one, but for who names both.
 * Fills in what the context says. Texts live as long as the program. Returns CLI_EXIT_DONE, or complains and returns another
 * exit code. */
int contexts_apply(struct connection_options *connection);

/* ---- the file ---- */

struct context {
    const char *name;
    bool in_use;
    struct connection_options connection;
};

struct contexts; /* what the file says; locked until it is closed */

/* Whether there is one that we may read. */
bool contexts_can_be_read(void);

/* Reads it, for changing it or not. NULL: complained. Without a file there are no contexts. */
struct contexts *contexts_open(bool change);
void contexts_close(struct contexts *contexts);

size_t contexts_count(const struct contexts *contexts);
struct context contexts_get(const struct contexts *contexts, size_t i); /* in the order of their names; borrowed;
                                                                          before anything is changed */

/* The one of that name in *context, borrowed. False: complained, with the one that may be meant. */
bool contexts_find(const struct contexts *contexts, const char *name, struct context *context);
bool contexts_in_use(const struct contexts *contexts, struct context *context); /* likewise; false: none is */
bool contexts_has(const struct contexts *contexts, const char *name);

/* Changes what is in memory. Paths are kept so that they hold wherever the program is run. False:
 * complained, something can't be kept. */
bool contexts_put(struct contexts *contexts, const char *name, const struct connection_options *connection);
void contexts_remove(struct contexts *contexts, const char *name);
void contexts_use(struct contexts *contexts, const char *name); /* NULL: none is in use */

/* Writes it: all of it, or nothing. Returns CLI_EXIT_DONE, or complains and returns another exit code. */
int contexts_write(struct contexts *contexts);

void contexts_complete(void); /* offers their names */

#endif
