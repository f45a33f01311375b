/* msgpack-c as the judge of our codec: it packs what our encoders should have written. One frame at a time, in
 * judge_bytes, until the next judge_begin(). For cmocka tests: a frame that our scan refuses fails the test. */
#ifndef UNIT_JUDGE_H
#define UNIT_JUDGE_H

#include <msgpack.h>

#include "wire.h"

#define JUDGE_EDGES 13

extern msgpack_sbuffer judge_bytes;
extern msgpack_packer judge;
extern const struct mps_limits judge_limits;    /* the protocol's defaults */
extern const uint64_t judge_edges[JUDGE_EDGES]; /* numbers at the edges of every width */

int judge_set_up(void **state); /* for cmocka's group */
int judge_tear_down(void **state);

void judge_begin(size_t fields, unsigned op); /* a frame: its array and operation */
void judge_uint(uint64_t number);
void judge_text(const char *text);
void judge_bin(const char *bytes, size_t len);
void judge_key_uint(const char *key, uint64_t number);
void judge_key_text(const char *key, const char *text);
void judge_key_true(const char *key);
/* What was packed, after our scan has accepted it whole. */
mps_view judge_frame(void);

#endif
