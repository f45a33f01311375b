/* Retained values, of which there is one for each topic, wherever one looks. */
#ifndef SIM_CLUSTER_VALUES_H
#define SIM_CLUSTER_VALUES_H

#include "party.h"

/* Each of them has been shown by its broker what is retained there; nodes_count parties. */
void values_judge(struct ledger *ledger, struct party *const *witnesses);

/* Who subscribed for the whole cluster, and was told of no GAP, has seen the same. */
void values_judge_views(struct ledger *ledger, const struct party *witness);

#endif
