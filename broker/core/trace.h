/* Traces: somebody is told what becomes of single messages, from whose publisher sent them to who was written them, or why
 * not. Asked for by a request (operator.c), told by messages to its reply-to, as PROTOCOL.md, "Traces", says.
 *
 * While nobody traces broker.tracing is NULL, and a message costs one comparison with that. A message that is followed is
 * known by its place in the order of arrival, which copies and parts of its run keep; such runs are marked (.is_traced). The
 * calls here are made where something becomes of messages, and only note it: trace_turn() tells. Nothing of a message's way
 * is changed by them.
 *
 * One thread. Small allocations, which end the program when they fail. Comes after model.h. */
#ifndef BROKER_TRACE_H
#define BROKER_TRACE_H

#include "model.h"

#define TRACES_MAX 4            /* at a time */
#define TRACE_MESSAGES_MAX 16   /* of one trace */
#define TRACE_COPIES_MAX 1000   /* of one message that are told one by one; others are counted */
#define TRACE_NOTS_MAX 100      /* subscriptions that match and don't get it, likewise */
#define TRACE_NEAR_MAX 20       /* patterns that nearly match */
#define TRACE_MS_MAX 60000u     /* then a trace ends by itself */

/* Hardly ever called, and never to become part of the hot functions around, which would grow too large to be inlined. */
#define TRACE_COLD __attribute__((cold, noinline))

/* trace.c */
TRACE_COLD void trace_request(struct session *session, const struct mps_msg *request); /* the handler */
TRACE_COLD uint64_t trace_turn(struct broker *broker);  /* tells what is new; returns when to call again, UINT64_MAX: no need to */
TRACE_COLD bool trace_is_waiting(const struct broker *broker); /* something is to be told with the next turn */
TRACE_COLD void trace_session_gone(struct session *session);   /* what it asked for ends */
TRACE_COLD void trace_access_changed(struct broker *broker);   /* traces of who may not trace any more end */
TRACE_COLD void traces_free(struct broker *broker);

/* trace_follow.c: messages coming in. A message that is taken up before it is judged is followed once it is known that it
 * does not have to wait. */
TRACE_COLD void trace_came(struct session *session, const struct publish *publish);
/* neighbour: the name of another broker that it came from; NULL: it is of this broker itself, or of that origin. */
TRACE_COLD void trace_came_from_broker(struct broker *broker, struct run *run, struct origin *origin, const char *neighbour,
                                       bool retain);
TRACE_COLD void trace_refused(struct broker *broker, const struct run *run, struct part part, uint32_t code, const char *text);
TRACE_COLD void trace_kept(struct stream *stream, struct run *run, struct part part, uint64_t last_seq);
/* The engine was given these for a shared stream, by this token. Their positions are known when they come from there. */
TRACE_COLD void trace_shared(struct stream *stream, const struct run *run, struct part part, uint64_t token);
TRACE_COLD void trace_shared_came(struct stream *stream, const uint8_t *bytes, const struct store_block *block);
TRACE_COLD void trace_unshared(struct broker *broker, uint64_t token); /* it could not store them */
/* The first `taken` bytes of the run are published or refused, the rest will come again. from: as delivery.from. */
TRACE_COLD void trace_taken(struct broker *broker, struct session *from, struct run *run, uint32_t taken);

/* trace_fates.c: what becomes of the copies */
/* The first of these frames up to the next one that is followed, or that one alone. */
TRACE_COLD struct part trace_piece(struct broker *broker, struct run *run, struct part part);
TRACE_COLD void trace_push_begins(struct mailbox *box, const struct run *run, struct part piece);
TRACE_COLD void trace_push_ends(struct broker *broker);
TRACE_COLD void trace_lost_here(struct mailbox *box, enum mps_gap_reason reason); /* perhaps what is being pushed */
/* Of messages in this queue, which is a mailbox's. */
TRACE_COLD void trace_lost(struct queue *queue, const struct run *run, uint32_t off, uint32_t len, enum mps_gap_reason reason);
TRACE_COLD void trace_sent(struct subscription *sub, const struct run *run, uint32_t off, uint32_t len);
TRACE_COLD void trace_moved(struct mailbox *from, struct mailbox *to, const struct run *run, uint32_t off, uint32_t len);
TRACE_COLD void trace_moved_all(struct mailbox *from, struct mailbox *to); /* also what is outside of memory */
TRACE_COLD void trace_spilled(struct mailbox *box, const struct run *run, struct part part);
TRACE_COLD void trace_fetched(struct mailbox *box, const struct run *run);
TRACE_COLD void trace_unsubscribed(struct mailbox *box); /* it is about to go */
TRACE_COLD void trace_mailbox_gone(struct mailbox *box);
TRACE_COLD void trace_read(struct subscription *sub, const struct stream *stream, uint64_t first, uint64_t count);
TRACE_COLD void trace_read_lost(struct subscription *sub, const struct stream *stream, uint64_t first, uint64_t last,
                     enum mps_gap_reason reason);
/* As cursors_renumber(): of count positions from this one on, only so many are left. */
TRACE_COLD void trace_renumber(const struct stream *stream, uint64_t from, uint64_t count, uint64_t left);

/* trace_relay.c: what goes to other brokers */
struct neighbour;
TRACE_COLD void trace_relaying(const struct neighbour *to, const struct run *run, struct part part); /* gathered for it, */
TRACE_COLD void trace_relayed(const struct neighbour *to, bool is_sent); /* all that was is sent, or can't be */
TRACE_COLD void trace_unrelayed(const struct neighbour *to, const struct run *run, struct part part); /* it is too long */

/* trace_near.c */
/* Whether somebody may have meant the topic with a pattern that does not match it: letters of the other case, a slip of one
 * letter, a level too many or too few at an end. Both are valid. */
bool trace_is_near(mps_view pattern, mps_view topic);

#endif
