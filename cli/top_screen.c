#include "top_screen.h"

#include <ncurses.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "top_terminal.h"

#define ESCAPE_MS 25 /* how long it takes until an escape is a key and not the begin of one */
enum { RED = 1 };

/* Of the program's one terminal, as ncurses has it. */
static SCREEN *screen;
static int resize_fd = -1;
static bool has_red;

/* ncurses would note a change of size in a handler, which can come just before a wait for something else. */
static int open_resize_fd(void)
{
    sigset_t resize;
    sigemptyset(&resize);
    sigaddset(&resize, SIGWINCH);
    sigprocmask(SIG_BLOCK, &resize, NULL);
    return signalfd(-1, &resize, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void choose_colours(void)
{
    const char *no_color = getenv("NO_COLOR");
    if ((no_color && *no_color) || !has_colors() || start_color() == ERR || use_default_colors() == ERR) return;
    has_red = init_pair(RED, COLOR_RED, -1) != ERR;
}

void top_screen_close(void)
{
    endwin();
    delscreen(screen);
    screen = NULL;
    close(resize_fd);
    resize_fd = -1;
}

bool top_screen_open(const char **why)
{
    if (!top_terminal_has_screen(STDOUT_FILENO)) {
        *why = "this type of terminal ($TERM) is not known, or has none";
        return false;
    }
    resize_fd = open_resize_fd();
    screen = resize_fd >= 0 ? newterm(NULL, stdout, stdin) : NULL;
    if (!screen) {
        *why = "the terminal can't be set up";
        if (resize_fd >= 0) close(resize_fd);
        return false;
    }
    cbreak();
    noecho();
    nonl();
    keypad(stdscr, TRUE);
    nodelay(stdscr, TRUE);
    set_escdelay(ESCAPE_MS);
    curs_set(0);
    choose_colours();
    return true;
}

void top_screen_size(size_t *height, size_t *width)
{
    *height = (size_t)(LINES > 0 ? LINES : 0);
    *width = (size_t)(COLS > 0 ? COLS : 0);
}

static attr_t attributes_of(enum top_style style)
{
    attr_t red = has_red ? (attr_t)COLOR_PAIR(RED) : 0;
    switch (style) {
    case TOP_PLAIN: break;
    case TOP_TITLE: return A_BOLD;
    case TOP_HEADS: return A_REVERSE;
    case TOP_SLOW: return A_BOLD | red;
    case TOP_ALERT: return A_BOLD | A_REVERSE | red;
    }
    return A_NORMAL;
}

void top_screen_show(const struct top_page *page)
{
    erase();
    for (size_t i = 0; i < page->count; i++) {
        attrset((int)attributes_of(page->lines[i].style));
        mvaddnstr((int)i, 0, (const char *)page->lines[i].text.data, (int)page->lines[i].text.len);
    }
    attrset(A_NORMAL);
    curs_set(page->has_cursor);
    if (page->has_cursor) move((int)page->cursor_y, (int)page->cursor_x);
    refresh();
}

static uint32_t named_key(wint_t code)
{
    switch (code) {
    case KEY_UP: return TOP_KEY_UP;
    case KEY_DOWN: return TOP_KEY_DOWN;
    case KEY_LEFT: return TOP_KEY_LEFT;
    case KEY_RIGHT: return TOP_KEY_RIGHT;
    case KEY_PPAGE: return TOP_KEY_PAGE_UP;
    case KEY_NPAGE: return TOP_KEY_PAGE_DOWN;
    case KEY_HOME: return TOP_KEY_HOME;
    case KEY_END: return TOP_KEY_END;
    case KEY_BTAB: return TOP_KEY_BACK_TAB;
    case KEY_BACKSPACE: return TOP_KEY_BACKSPACE;
    case KEY_ENTER: return '\r';
    default: return 0;
    }
}

bool top_screen_key(uint32_t *key)
{
    wint_t code = 0;
    int kind = get_wch(&code);
    if (kind == ERR) return false;
    *key = kind == KEY_CODE_YES ? named_key(code) : (uint32_t)code;
    return true;
}

void top_screen_fds(struct pollfd fds[TOP_SCREEN_FDS])
{
    fds[0] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = resize_fd, .events = POLLIN};
}

bool top_screen_note(const struct pollfd fds[TOP_SCREEN_FDS], bool *is_resized)
{
    struct signalfd_siginfo signal;
    struct winsize size;
    *is_resized = false;
    if (fds[0].revents & (POLLHUP | POLLERR | POLLNVAL)) return false;
    while (read(resize_fd, &signal, sizeof signal) == (ssize_t)sizeof signal) *is_resized = true;
    if (*is_resized && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0)
        resizeterm(size.ws_row, size.ws_col);
    return true;
}
