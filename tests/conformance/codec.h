/* The codec's side of the vectors: frames go through scan, decoder, judgement of names and encoder. */
#ifndef CONFORMANCE_CODEC_H
#define CONFORMANCE_CODEC_H

#include "vector_file.h"

/* How many frames of each operation were accepted and rejected, over all cases. */
struct codec_coverage {
    unsigned accepted[128], rejected[128];
};

/* Plays the frames of one case, scanned as they arrive in pieces of `cut` bytes (0: whole). Returns true, or false with
 * a sentence in error. coverage may be NULL. */
bool codec_play(const struct vector_case *c, size_t cut, struct codec_coverage *coverage, char *error,
                size_t error_cap);

#endif
