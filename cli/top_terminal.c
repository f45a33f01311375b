#include "top_terminal.h"

#include <curses.h>
#include <term.h>

bool top_terminal_has_screen(int fd)
{
    int error;
    if (setupterm(NULL, fd, &error) != OK) return false;
    const char *move = tigetstr("cup");
    bool can_move = move && move != (const char *)-1;
    del_curterm(cur_term);
    return can_move;
}
