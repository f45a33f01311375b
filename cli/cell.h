/* Texts in columns of a terminal: every character takes as many places as it is wide there, and none that could drive
 * the terminal, or turn around or hide what stands beside it, gets through: it is escaped. Text is UTF-8 or any bytes.
 * Needs a locale (LC_CTYPE) whose characters are UTF-8: cell_use_utf8(). */
#ifndef CLI_CELL_H
#define CLI_CELL_H

#include <stddef.h>

#include "buffer.h"

/* Sets LC_CTYPE so that the width of all characters is known: what else is printed is UTF-8 everywhere. */
void cell_use_utf8(void);

/* How many places the text takes, escapes included. */
size_t cell_width(const char *text, size_t len);

enum cell_side { CELL_LEFT, CELL_RIGHT };

/* Appends exactly `width` places: the text, escaped, with blanks on the other side; or as much of it as there is room
 * for, with "…" behind. */
void cell_put(struct buffer *line, const char *text, size_t len, size_t width, enum cell_side side);

/* Appends the whole text, escaped. */
void cell_put_all(struct buffer *line, const char *text, size_t len);

#endif
