/* Requests to the broker itself: MSGs to topics under $SYS/request, which nobody else gets. A request is a row of the table
 * in operator.c and a handler. Internal to the core; comes after model.h.
 *
 * A handler is called with a request that may be asked, which is lent, and whose reply-to is a topic that the session may
 * have answers sent to. Its payload is any bytes. It answers with a map, in which `error` is a sentence if it can't do what
 * was asked; at once, or later to a struct reply_address. */
#ifndef BROKER_OPERATOR_H
#define BROKER_OPERATOR_H

#include "model.h"

#define TRACE_REQUEST "$SYS/request/trace"

/* Handlers that live elsewhere. */
void report_request(struct session *session, const struct mps_msg *request); /* report.c */

/* Where answers go that come later, and which request they belong to. */
struct reply_address {
    uint32_t topic_len, correlation_len;
    uint8_t bytes[]; /* the topic, then the correlation, a msgpack scalar; of length 0: there was none */
};

/* The request's. The caller's, to be freed by free(). NULL: there is no memory for its correlation. */
struct reply_address *reply_address_new(const struct mps_msg *request);
/* The longest payload of an answer that the session takes; UINT32_MAX: any. */
uint32_t operator_answer_max(const struct session *session, const struct reply_address *to);
/* Whether the session, whose rights may have changed since it asked, may still have answers sent there; and whether it may
 * ask for this still, too. topic: one of the table's. */
bool operator_may_answer(const struct session *session, const struct reply_address *to);
bool operator_still_may(const struct session *session, const char *topic, const struct reply_address *to);
/* Publishes an answer. False: it has no room, there is no memory for it. */
bool operator_answer_to(struct broker *broker, const struct reply_address *to, const struct mps_out *payload);

/* Answers at once. */
void operator_answer(struct broker *broker, const struct mps_msg *request, const struct mps_out *payload);
void operator_answer_error(struct broker *broker, const struct mps_msg *request, const char *text);

#endif
