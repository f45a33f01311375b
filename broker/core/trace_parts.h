/* What traces share among themselves: trace.c, trace_follow.c, trace_fates.c, trace_others.c,
 * trace_relay.c, trace_tell.c. */
#ifndef BROKER_TRACE_PARTS_H
#define BROKER_TRACE_PARTS_H

#include "operator.h"
#include "trace.h"

/* A message that is followed. */
struct traced {
    struct list_node in_messages;     /* of its trace */
    struct trace *trace;
    uint64_t place;                   /* in the order of arrival, as run.place */
    uint32_t number;                  /* from 1 */
    uint32_t len;                     /* bytes of its frame */
    uint64_t came_us;
    bool is_taken;                    /* false: it is being judged, or has to wait */
    bool is_done;                     /* all is known of it, and noted */
    struct origin *origin;            /* who published it; NULL: the broker, or somebody at another one */
    char *neighbour;                  /* that one's name, or NULL */
    uint64_t relaying;                /* bits of the other brokers to which it is about to be sent */
    bool retain;
    uint8_t level;                    /* of acknowledgement */
    uint64_t held_ms;                 /* its publisher had to wait */
    uint32_t code;                    /* it was refused; 0: it wasn't */
    char *text;                       /* why; or NULL */
    struct stream *stream;            /* where it is kept, and its position; NULL: nowhere */
    uint64_t seq;
    bool waits_for_store;
    uint64_t token, frame_hash;       /* of a shared stream: of the engine's; by which it is known when it comes from there */
    uint8_t topic_len;
    uint8_t topic[MPS_TOPIC_MAX];

    struct list copies;
    uint32_t copies_count;            /* told one by one */
    uint64_t open_count;              /* of them, whose fate is not known */
    uint64_t matched, sent, lost, ended; /* all copies: matched = sent + lost + ended + those that wait */
    uint64_t nots_count;              /* subscriptions that match and don't get it, */
    uint64_t near_count, others_count; /* those whose patterns nearly match, and all others */
    bool looks;                       /* for these; goes on over several turns, */
    struct list_node *at;             /* from here on in broker.boxes */

    struct buffer head;               /* what is not told yet: who published it, a map; */
    struct buffer steps;              /* then maps, one behind the other */
    struct buffer end;                /* then what it came to, a map; .end is there when it is done */
};

/* One mailbox's copy of it. */
struct trace_copy {
    struct hash_node in_copies;       /* of the broker's tracing, by message and mailbox, */
    struct list_node in_message;
    struct traced *message;
    struct mailbox *box;              /* where it is now; NULL: nowhere any more */
    uint64_t since_us;                /* since when it is there */
    uint32_t number;                  /* from 1 */
    bool is_open;                     /* its fate is not known */
    bool reads;                       /* it comes from the stream, not from a queue */
};

struct trace {
    struct list_node in_traces;
    struct broker *broker;
    struct session *session;          /* who asked */
    struct reply_address *to;
    uint64_t end_ms;
    uint32_t wanted, taken;           /* messages */
    uint32_t numbered;
    struct list messages;
    uint32_t pattern_len;
    uint8_t pattern[];
};

struct tracing {
    struct list traces;
    uint32_t traces_count;
    struct hash copies;
    uint64_t turn_copies;             /* that messages taken up in this turn have, about */
    bool is_telling;                  /* what is published now tells of a trace, and is not followed itself */
    /* The one message that is being pushed, or NULL. */
    struct traced *pushed;
    struct mailbox *pushed_to;
    enum mps_gap_reason pushed_lost;  /* why it was not queued; 0: it was */
};

#define EACH_TRACE(tracing, trace)                                                                                       \
    for (struct trace *trace = trace_of((tracing)->traces.first); trace != NULL; trace = trace_of(trace->in_traces.next))
#define EACH_TRACED(trace, message)                                                                                      \
    for (struct traced *message = traced_of((trace)->messages.first); message != NULL;                                   \
         message = traced_of(message->in_messages.next))
static inline struct trace *trace_of(struct list_node *node)
{
    return node != NULL ? container_of(node, struct trace, in_traces) : NULL;
}
static inline struct traced *traced_of(struct list_node *node)
{
    return node != NULL ? container_of(node, struct traced, in_messages) : NULL;
}
static inline mps_view traced_topic(const struct traced *message)
{
    return (mps_view){message->topic, message->topic_len};
}
/* Whether it is one of the frames in this part of a run. */
static inline bool traced_is_in(const struct traced *message, const struct run *run, uint32_t off, uint32_t len)
{
    return message->place - (run->place + off) < len; /* modulo 2^64: what is before is beyond it */
}

/* trace.c */
uint64_t trace_now_us(const struct broker *broker);
void traced_free(struct traced *message);

/* trace_fates.c */
struct trace_copy *trace_copy_find(const struct traced *message, const struct mailbox *box);
struct trace_copy *trace_copy_add(struct traced *message, struct mailbox *box); /* NULL: too many; only counted */
void trace_copies_free(struct traced *message);
enum trace_fate { TRACE_SENT, TRACE_LOST, TRACE_ENDED };
/* The fate of a copy. copy NULL: of one that is only counted. sub: whom it was sent to, if a group's; reason: of LOST, a gap's
 * name; of ENDED, in a word. */
void trace_close(struct traced *message, struct trace_copy *copy, enum trace_fate fate, const struct subscription *sub,
                 const char *reason);

/* trace_others.c */
/* Who of those whose patterns match gets nothing, and who reads it from its stream. */
void trace_look_at_route(struct traced *message, struct session *from, mps_view frame);
void trace_look_on(struct broker *broker, uint64_t work_end); /* at those whose patterns don't, some at a time */
void trace_others_box_gone(struct mailbox *box);

/* trace_tell.c: maps that wait to be told */
void trace_note_head(struct traced *message, const struct session *from, mps_view frame);
void trace_note_copy(struct traced *message, const struct trace_copy *copy, const struct mailbox *box, bool reads);
void trace_note_not(struct traced *message, const struct mailbox *box, const char *why);
/* What a copy went through; sub, reason and waited may be left out (NULL, NULL, false). */
void trace_note_step(struct traced *message, const struct trace_copy *copy, const char *step,
                     const struct subscription *sub, const char *reason, bool waited);
void trace_note_stored(struct traced *message, bool is_stored);
void trace_note_relayed(struct traced *message, const char *neighbour, bool is_sent);
void trace_note_end(struct traced *message);
void trace_tell(struct traced *message);            /* publishes what waits */
bool traced_has_news(const struct traced *message);
void trace_tell_armed(struct trace *trace, uint64_t for_ms);
void trace_tell_end(struct trace *trace, const char *why);

#endif
