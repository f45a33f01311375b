/* Loaded before a program's libraries (LD_PRELOAD): whenever it gives up a signal, that one comes. */
#include <dlfcn.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

/* NOLINTNEXTLINE: as in signal.h */
int sigaction(int number, const struct sigaction *action, struct sigaction *old)
{
    int (*real)(int, const struct sigaction *, struct sigaction *) = NULL;
    struct sigaction before;
    *(void **)&real = dlsym(RTLD_NEXT, "sigaction");
    if (real(number, NULL, &before) != 0) return -1;
    bool gives_up = action != NULL && action->sa_handler == SIG_DFL && before.sa_handler != SIG_DFL;
    int result = real(number, action, old);
    if (gives_up) raise(number);
    return result;
}
