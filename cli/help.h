/* The help of a command, printed from the tables that its options are parsed by. */
#ifndef CLI_HELP_H
#define CLI_HELP_H

#include "options.h"

/* To stdout. With colour if that is a terminal, $NO_COLOR is not set and $TERM is not dumb. */
void help_print(const struct usage *usage);

#endif
