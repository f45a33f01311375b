/* --check-config: what a start by whoever asks would find wrong, without opening anything. */
#ifndef BROKER_CHECK_H
#define BROKER_CHECK_H

#include "config.h"

/* The user, the log, the files of tokens, passwords and TLS, and the addresses, in the order of a start. Returns 0, or -1 and one sentence in
 * text. */
int check_start(const struct config *config, char *text, size_t text_cap);

#endif
