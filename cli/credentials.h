/* Who the user of the command line is, and whom it trusts: secrets from files and the environment, certificates. All is
 * read once, for all connections of a command. */
#ifndef CLI_CREDENTIALS_H
#define CLI_CREDENTIALS_H

#include "connect.h"

#define SECRET_MAX 2048 /* bytes of a password or token */

/* Takes $PUBSUB_PASSWORD and $PUBSUB_TOKEN out of the environment, so that commands that are started do not inherit them
 * and nobody can look them up. First of all in the program. False: one is too long; complained. */
bool credentials_take_environment(void);

/* Whether one of the URLs, between commas, is for TLS. */
bool credentials_url_has_tls(const char *url);

/* Whether what is said of the connection goes together. False: complained. */
bool credentials_check(const struct connection_options *connection);

/* Fills in what proves who we are, and TLS if the URL asks for it. Returns CLI_EXIT_DONE, or complains and returns
 * another exit code. */
int credentials_fill(const struct connection_options *connection, struct pubsub_options *options);

/* Wipes and frees it all, when the last connection is closed. */
void credentials_free(void);

/* Reads a secret from a file that nobody else may read, without the newline at its end, with a NUL behind it.
 *   what  "password", "token"
 *   at    SECRET_MAX + 1 bytes
 * Returns 0 and sets *len, which is at least 1; or complains and returns an exit code. */
int credentials_read_file(const char *what, const char *path, char *at, size_t *len);

#endif
