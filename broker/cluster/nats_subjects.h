/* Names for NATS out of ours, and back. What NATS has no place for becomes =XX, two capital hexadecimal digits, so that no two of
 * ours become the same, and operators can read them in its tools:
 *
 *   topic   home/küche/temp  ->  home.k=C3=BCche.temp     levels to tokens; an empty level is "="
 *   token   alarm 1          ->  alarm=201                anything, as one token, or as a part of a name
 *   key     a.b/c            ->  a=2Eb/c                  anything, as a key of a bucket, where '/' may stand
 *
 * Nothing here allocates or keeps state. */
#ifndef CLUSTER_NATS_SUBJECTS_H
#define CLUSTER_NATS_SUBJECTS_H

#include "wire.h"

/* Each of the first three writes at most cap bytes with a NUL behind, and returns how many without it; 0: it does not fit, or there is
 * nothing to write. An empty topic or token is "=", so only an empty key gives 0. */
size_t subject_of_topic(char *to, size_t cap, mps_view topic);
size_t subject_of_token(char *to, size_t cap, mps_view token);
size_t subject_of_key(char *to, size_t cap, mps_view key);

/* Back: false if that isn't how ours would have been written, or it has more than cap bytes. *len: bytes; no NUL is written. */
bool topic_of_subject(mps_view subject, uint8_t *to, size_t cap, uint32_t *len);
bool token_of_subject(mps_view subject, uint8_t *to, size_t cap, uint32_t *len);
bool key_of_subject(mps_view subject, uint8_t *to, size_t cap, uint32_t *len);

#endif
