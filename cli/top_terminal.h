/* Whether a terminal has a full screen. Apart from top_screen.c because <term.h> takes names such as `lines`. */
#ifndef CLI_TOP_TERMINAL_H
#define CLI_TOP_TERMINAL_H

#include <stdbool.h>

/* Whether the type of the terminal at fd ($TERM) is known, and its cursor can be moved. Changes nothing. */
bool top_terminal_has_screen(int fd);

#endif
