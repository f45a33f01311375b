/* What of [cluster] is no row of settings.c: lists of URLs and of topics, and what must be true of its keys together. For config/
 * only. One thread. */
#ifndef BROKER_CONFIG_CLUSTER_KEYS_H
#define BROKER_CONFIG_CLUSTER_KEYS_H

#include <stdbool.h>

#include "config.h"

/* Whether this key is one of the lists. */
bool cluster_has_list(const char *key);
/* More for a list: values with commas between them. False: text has one sentence. */
bool cluster_add(struct cluster_section *cluster, const char *key, const char *values, char *text, size_t text_cap);
/* A key that does not go together with others, and a sentence in text. NULL: all do. */
const char *cluster_problem(const struct cluster_section *cluster, char *text, size_t text_cap);
bool cluster_same_lists(const struct cluster_section *a, const struct cluster_section *b);
/* Writes them, with comments. */
void cluster_print_lists(const struct cluster_section *cluster, FILE *out);
void cluster_free_lists(struct cluster_section *cluster);

#endif
