/* Answers the core's question whether what a client shows is right (env.h, verify): tokens at once, passwords on a thread of
 * libuv's, one at a time, as one takes 64 MiB and a tenth of a second. Nobody may try for ever. On the loop's thread. */
#ifndef BROKER_ACCESS_VERIFIER_H
#define BROKER_ACCESS_VERIFIER_H

#include "config.h"
#include "net/net.h"

#define CHECKS_MAX 64          /* passwords that wait to be checked */
#define CHECKS_OF_ADDRESS 8    /* of one address */

/* Reads the files that *config names, and makes of it what is to hold: nothing has changed yet. Returns 0, or -1 and one sentence in
 * text. */
int verifier_prepare(struct server *server, const struct config *config, char *text, size_t text_cap);
/* Whether the files can be read; nothing is kept of them. *somebody_has_a_name: there are tokens, passwords or users with
 * certificates. Returns as verifier_prepare(). */
int verifier_check(const struct config *config, bool *somebody_has_a_name, char *text, size_t text_cap);
void verifier_apply(struct server *server);   /* it holds from now on */
void verifier_discard(struct server *server); /* it doesn't */
/* Whether there is any way to say who one is. */
bool verifier_is_configured(const struct server *server);
void verifier_free(struct server *server);    /* the loop is over */

#endif
