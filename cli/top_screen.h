/* The terminal of `pubsub top`: shows pages on its full screen and reads keys (ncurses). One at a time; standard input
 * and output are the terminal. */
#ifndef CLI_TOP_SCREEN_H
#define CLI_TOP_SCREEN_H

#include <poll.h>

#include "top_page.h"

/* False: it can't be used for that, and *why, a clause, says why; nothing has changed then. */
bool top_screen_open(const char **why);
void top_screen_close(void); /* as it was before */

/* How large it is now. */
void top_screen_size(size_t *height, size_t *width);
void top_screen_show(const struct top_page *page);

/* The next key that was typed; false: none now. */
bool top_screen_key(uint32_t *key);

/* What to poll for: keys, and a change of its size. top_screen_note() takes the result: false when the terminal has gone. */
#define TOP_SCREEN_FDS 2
void top_screen_fds(struct pollfd fds[TOP_SCREEN_FDS]);
bool top_screen_note(const struct pollfd fds[TOP_SCREEN_FDS], bool *is_resized);

#endif
