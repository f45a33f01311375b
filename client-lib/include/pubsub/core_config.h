/* What of the client's core (pubsub/core.h) is built, for devices that count bytes. Everything is on by default, and so
 * it is in libpubsub.
 *
 * Change a value with -D on the command line of all files that include pubsub/core.h, or name a header with all of
 * them: -DPUBSUB_CORE_CONFIG_FILE='"my_config.h"'. Switches are 0 or 1. What is switched off is not declared any more;
 * the layout of structs never depends on a switch. Code sizes: about, Cortex-M4, -Os; the table in client-lib/README.md
 * is measured. */
#ifndef PUBSUB_CORE_CONFIG_H
#define PUBSUB_CORE_CONFIG_H

#ifdef PUBSUB_CORE_CONFIG_FILE
#include PUBSUB_CORE_CONFIG_FILE
#endif

/* Receiving messages: subscriptions, gaps, marks. 0: a client that only publishes. The frames of messages, which reach
 * it only if somebody writes to its inbox, are passed over then, whatever their size. About 3.5 KB. */
#ifndef PUBSUB_CORE_SUBSCRIBE
#define PUBSUB_CORE_SUBSCRIBE 1
#endif

/* Needs SUBSCRIBE. Messages larger than the input buffer in pieces: pubsub_core_take_pieces(). 0: they are passed over,
 * and an event says so. */
#ifndef PUBSUB_CORE_PIECES
#define PUBSUB_CORE_PIECES PUBSUB_CORE_SUBSCRIBE
#endif

/* Needs SUBSCRIBE. Subscriptions that begin in a stream's past, acknowledge, or are kept by the broker: the options
 * from, ack, durable and what belongs to these, and pubsub_core_ack(). 0: these options are EINVAL. */
#ifndef PUBSUB_CORE_STREAMS
#define PUBSUB_CORE_STREAMS PUBSUB_CORE_SUBSCRIBE
#endif

/* Needs SUBSCRIBE. The options group and filter. 0: they are EINVAL. */
#ifndef PUBSUB_CORE_FILTERS
#define PUBSUB_CORE_FILTERS PUBSUB_CORE_SUBSCRIBE
#endif

/* Needs SUBSCRIBE. Flow control by credit: pubsub_core_credit(). 0: the option by_credit is EINVAL. */
#ifndef PUBSUB_CORE_CREDIT
#define PUBSUB_CORE_CREDIT PUBSUB_CORE_SUBSCRIBE
#endif

/* Needs SUBSCRIBE. Asking for the counts of a subscription: pubsub_core_ask_stat(). */
#ifndef PUBSUB_CORE_STAT
#define PUBSUB_CORE_STAT PUBSUB_CORE_SUBSCRIBE
#endif

/* Publishing with properties (ttl, key, headers, reply-to, raw): 0: options that ask for them are EINVAL. */
#ifndef PUBSUB_CORE_PROPERTIES
#define PUBSUB_CORE_PROPERTIES 1
#endif

/* A message that the broker publishes when the device is gone: pubsub_core_will(). 0: HELLO's will is EINVAL. */
#ifndef PUBSUB_CORE_WILL
#define PUBSUB_CORE_WILL 1
#endif

/* Token or password: pubsub_core_proof(). 0: HELLO's proof is EINVAL, and nothing is ever wiped. */
#ifndef PUBSUB_CORE_PROOF
#define PUBSUB_CORE_PROOF 1
#endif

/* Words for people: why a connection failed, what a code or a gap's reason is called. 0: these texts are empty; numbers
 * and what the broker itself wrote stay. A client that only publishes has none by default. About 1.2 KB. */
#ifndef PUBSUB_CORE_TEXTS
#define PUBSUB_CORE_TEXTS PUBSUB_CORE_SUBSCRIBE
#endif

/* Speed for size: a message of the common shape is read at once, and a topic that came just before is not judged again.
 * libpubsub is built with 1. About 0.4 KB. */
#ifndef PUBSUB_CORE_FAST
#define PUBSUB_CORE_FAST 0
#endif

/* Bytes of a sentence from the broker that are told, its NUL counted, 236..4096: the rest is cut off. Sentences stay in
 * the input buffer, so that this takes no memory. Less would cut off the names in WELCOME, too: PUBSUB_CORE_INBOX_MAX. */
#ifndef PUBSUB_CORE_TEXT_MAX
#define PUBSUB_CORE_TEXT_MAX 256
#endif

/* Bytes of a frame but for its payload, 256..8192: a message with more properties is passed over as too large, another
 * frame with more ends the connection (104). What the input buffer takes limits it as well. */
#ifndef PUBSUB_CORE_HEAD_MAX
#define PUBSUB_CORE_HEAD_MAX 8192
#endif

#if PUBSUB_CORE_TEXT_MAX < 236 || PUBSUB_CORE_TEXT_MAX > 4096
#error "PUBSUB_CORE_TEXT_MAX is not within 236..4096 bytes"
#endif
#if PUBSUB_CORE_HEAD_MAX < 256 || PUBSUB_CORE_HEAD_MAX > 8192
#error "PUBSUB_CORE_HEAD_MAX is not within 256..8192 bytes"
#endif
#if !PUBSUB_CORE_SUBSCRIBE && \
    (PUBSUB_CORE_PIECES || PUBSUB_CORE_STREAMS || PUBSUB_CORE_FILTERS || PUBSUB_CORE_CREDIT || PUBSUB_CORE_STAT)
#error "PUBSUB_CORE_PIECES, _STREAMS, _FILTERS, _CREDIT and _STAT need PUBSUB_CORE_SUBSCRIBE"
#endif

#endif
