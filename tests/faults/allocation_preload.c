/* Loaded before a program's libraries (LD_PRELOAD): lets allocations fail as the control page says, see control.h. What
 * was to be changed in size stays as it was. */
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "control.h"

/* glibc's own, by the names that it has for those who stand before it. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *old, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);
void *memalign(size_t alignment, size_t bytes);

static int fails(size_t bytes, const void *caller)
{
    Dl_info info;
    if (!control_fails(CONTROL_NO_MEMORY) && (bytes <= CONTROL_LARGE_BYTES || !control_fails(CONTROL_NO_LARGE_MEMORY)))
        return 0;
    const char *path = dladdr(caller, &info) != 0 && info.dli_fname != NULL ? info.dli_fname : "?";
    const char *name = strrchr(path, '/') != NULL ? strrchr(path, '/') + 1 : path;
    char *whose = control_page()->whose;
    strncpy(whose, name, sizeof control_page()->whose - 1);
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t bytes)
{
    return fails(bytes, __builtin_return_address(0)) ? NULL : __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    size_t all = bytes > 0 && count > SIZE_MAX / bytes ? SIZE_MAX : count * bytes;
    return fails(all, __builtin_return_address(0)) ? NULL : __libc_calloc(count, bytes);
}

void *realloc(void *old, size_t bytes)
{
    return fails(bytes, __builtin_return_address(0)) ? NULL : __libc_realloc(old, bytes);
}

void *reallocarray(void *old, size_t count, size_t bytes)
{
    size_t all;
    if (__builtin_mul_overflow(count, bytes, &all) || fails(all, __builtin_return_address(0))) {
        errno = ENOMEM;
        return NULL;
    }
    return __libc_realloc(old, all);
}

void *memalign(size_t alignment, size_t bytes)
{
    return fails(bytes, __builtin_return_address(0)) ? NULL : __libc_memalign(alignment, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    return fails(bytes, __builtin_return_address(0)) ? NULL : __libc_memalign(alignment, bytes);
}

int posix_memalign(void **out, size_t alignment, size_t bytes)
{
    int error = errno;
    void *all = fails(bytes, __builtin_return_address(0)) ? NULL : __libc_memalign(alignment, bytes);
    errno = error;
    if (all == NULL) return ENOMEM;
    *out = all;
    return 0;
}
