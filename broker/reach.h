/* What the broker could do as root at its start, and can't do any more as the user that it goes on as: it is said while somebody is
 * still looking. */
#ifndef BROKER_REACH_H
#define BROKER_REACH_H

#include <stddef.h>

#include "net/net.h"

/* After root was given up: a line in the log for each file that a reload will not be able to read, and for each socket that can't be
 * removed at the end. file: the configuration's, or NULL. */
void reach_warn(const struct server *server, const struct config *config, const char *file);

/* Why a reload failed: adds to the sentence that this user can't read one of the files, if that is so. */
void reach_explain(const struct config *config, const char *file, char *text, size_t text_cap);

#endif
