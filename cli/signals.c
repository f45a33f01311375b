#include "signals.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "cli.h"

/* Variables of the whole program, since a handler can't be given anything. */
static volatile sig_atomic_t caught;
static int wake_fd = -1;

static void note(int number)
{
    int saved = errno;
    caught = number;
    if (eventfd_write(wake_fd, 1) != 0) {
        /* Nothing can be done in a handler, and the flag is set. */
    }
    errno = saved;
}

void signals_install(void)
{
    if (wake_fd >= 0) return;
    wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake_fd < 0) {
        complain("no descriptor left to note signals with");
        exit(CLI_EXIT_ERROR);
    }
    /* No SA_RESTART: a write to a pipe that nobody reads must be interrupted, too. */
    struct sigaction on_end = {.sa_handler = note, .sa_flags = (int)SA_RESETHAND};
    static const int ending[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof ending / sizeof *ending; i++) {
        struct sigaction before;
        sigaction(ending[i], NULL, &before);
        /* nohup, and a shell that starts us in the background, ignore some on purpose. */
        if (before.sa_handler != SIG_IGN) sigaction(ending[i], &on_end, NULL);
    }
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &ignore, NULL);
}

int signal_caught(void)
{
    return caught;
}

int signal_wake_fd(void)
{
    return wake_fd;
}
