/* What brokers know of each other when all is at rest. */
#ifndef SIM_CLUSTER_TABLES_H
#define SIM_CLUSTER_TABLES_H

#include "ledger.h"

/* Each broker has exactly the patterns, and groups, that subscriptions at the others have now. */
void tables_judge(struct ledger *ledger);

#endif
