#include "secret.h"

#include <string.h>
#include <sys/mman.h>

void *mps_secret_alloc(size_t len)
{
    void *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return NULL;
    (void)mlock(at, len); /* limited for most users: without it, it is as any other memory */
    (void)madvise(at, len, MADV_DONTDUMP);
    return at;
}

void mps_secret_free(void *at, size_t len)
{
    if (at == NULL) return;
    explicit_bzero(at, len);
    munmap(at, len);
}
