/* Streams that all brokers share: the engine of the cluster keeps them, and each broker publishes to it and reads from it.
 *
 *   publish.c -> shared_append() -> engine -> shared_on_settled() -> acks.c: PUBACK
 *                                          \-> shared_on_tail() -> chunk -> readers (cursor.c), here and at all brokers
 *   chunk.c  -> shared_read()    -> engine -> shared_on_read_done() -> chunk
 *   cursor.c -> shared_ask()     -> engine -> shared_on_stream_state() -> cursor_heard(): MARK 2 is behind what others were told
 *
 * Positions are the engine's: one order for all brokers. What comes from there was perhaps written by others than brokers: it
 * is judged as what comes from a client, and what is no message is a hole. A stream that is away holds nobody: what is
 * published waits in the engine within its bounds, and is refused then; readers wait. Messages come as long as somebody here reads
 * the stream (shared_tail.c); else only how far it is. One thread. */
#ifndef CLUSTER_SHARED_H
#define CLUSTER_SHARED_H

#include "cluster.h"

/* For publish.c. Gives the engine frames of a run, as those of the session's next pids. session NULL: they are the broker's
 * own. False: it does not take them; text says why. */
bool shared_append(struct stream *stream, struct session *session, const struct run *run, struct part part,
                   char text[STORE_TEXT_MAX]);
uint64_t shared_append_token(const struct broker *broker); /* of the last one */

/* For acks.c: the answer of this append stands at a place of the session's queue; or it does no more. */
void shared_append_waits(struct session *session, uint64_t token, uint64_t place);
void shared_append_forget(struct broker *broker, uint64_t token);
bool shared_append_is_waiting(const struct broker *broker, uint64_t token); /* it is not settled */

/* For chunk.c. Asks the engine for what stands at this position, and perhaps behind it. False: it can't be asked any more. */
bool shared_read(struct stream *stream, uint64_t position, uint32_t bytes_most);
/* What is a message in it becomes chunks, the rest holes. bytes: those of the block. */
void shared_take_block(struct stream *stream, const struct store_block *block, const uint8_t *bytes);

/* For these files among themselves. */
struct stream *shared_stream(const struct cluster *cluster, uint32_t number); /* NULL: there is none of this number */
/* Follows it, or does no more, as somebody reads it or nobody does. */
void shared_follow(struct stream *stream);
void shared_knows(struct stream *stream, uint64_t next); /* this is its next position now */

/* For cursor.c. Asks the stream's leader how far it is, once for all that want to know in a turn: cursor_heard() comes then, or
 * when there is no answer in time. False: the stream is away, and nobody is asked. */
bool shared_ask(struct reading *reading);
void shared_stop_asking(struct reading *reading);

/* cluster.c calls these. */
int shared_join(struct cluster *cluster, char *text, size_t cap); /* 0, or -1 and a sentence */
void shared_leave(struct cluster *cluster);
uint64_t shared_turn(struct cluster *cluster); /* returns when to call again; UINT64_MAX: not until something happens */
void shared_polled(struct cluster *cluster);   /* all events of a poll have come */
void shared_on_settled(struct cluster *cluster, uint64_t token, enum store_code code, uint64_t last, bool was_there,
                       const char *text);
void shared_on_stream_state(struct cluster *cluster, const struct engine_stream_state *state);
void shared_on_tail(struct cluster *cluster, const struct store_block *block);
void shared_on_read_done(struct cluster *cluster, struct store_read *read);

#endif
