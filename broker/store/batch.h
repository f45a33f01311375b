/* What every batch must be. A batch that isn't is a mistake of our own, so it is asserted. */
#ifndef STORE_BATCH_H
#define STORE_BATCH_H

#include "store.h"

void batch_assert(const struct store_batch *batch);

#endif
