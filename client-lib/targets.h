/* The brokers that a client may connect to, in the order in which it tries them. A round tries each of them once and
 * begins with the one that was connected last, because that one has the session; at first with the first one. */
#ifndef PUBSUB_TARGETS_H
#define PUBSUB_TARGETS_H

#include <stdbool.h>
#include <stddef.h>

#include "url.h"

#define MPS_TARGETS_MAX 8
#define MPS_TARGETS_TEXT_MAX (MPS_TARGETS_MAX * MPS_URL_MAX) /* bytes of their list, its NUL counted */
#define MPS_TARGETS_WHY_MAX 896                              /* bytes of a text about a round, its NUL counted */

struct mps_target {
    struct mps_url url;
    char text[MPS_URL_MAX];
};

struct mps_targets {
    struct mps_target *list;
    size_t count, at;             /* at: the one that is tried or connected */
    size_t failed, refused;       /* in this round; refused: would do the same again */
    char why[MPS_TARGETS_WHY_MAX]; /* what became of those, one after the other */
};

/* Takes one URL, or several with commas between. Returns 0; or PUBSUB_EINVAL or PUBSUB_ENOMEM with a sentence in text. */
int mps_targets_parse(struct mps_targets *targets, const char *urls, char *text, size_t text_cap);
void mps_targets_free(struct mps_targets *targets);

/* The one that is tried can't be had: why, a clause or sentence that may begin with "cannot connect to URL". Turns to
 * the next one. False: the round is over. */
bool mps_targets_failed(struct mps_targets *targets, const char *why, bool refused);

/* After the end of a round: whether there is no use in another one. Begins another, after text was told what became of
 * this one. */
bool mps_targets_end_round(struct mps_targets *targets, char *text, size_t text_cap);

void mps_targets_connected(struct mps_targets *targets); /* to the one that was tried */

#endif
