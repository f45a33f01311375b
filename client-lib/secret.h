/* Memory for what nobody else is to see: locked where the system allows it, left out of core dumps, wiped at last. */
#ifndef PUBSUB_SECRET_H
#define PUBSUB_SECRET_H

#include <stddef.h>

/* len bytes, zero. NULL: out of memory. */
void *mps_secret_alloc(size_t len);
void mps_secret_free(void *at, size_t len); /* NULL is allowed */

#endif
