/* What the broker holds, in bounded numbers, for whoever watches it from the same process: its totals, its streams, its
 * groups, and the subscriptions that are slowest. The queues are looked through in steps, so that a million of them stop
 * nobody. One thread; allocates nothing. */
#ifndef BROKER_OVERVIEW_H
#define BROKER_OVERVIEW_H

#include "broker.h"

/* How many have a place of their own. */
#define OVERVIEW_SLOW_MOST 20
#define OVERVIEW_GROUPS_MOST 100
#define OVERVIEW_STREAMS_MOST 128
#define OVERVIEW_NEIGHBOURS_MOST 63
/* Readers of a stream that are looked at; whoever began before others comes first. */
#define OVERVIEW_READERS_MOST 1000
#define OVERVIEW_NAME_MAX 255 /* bytes of a client id, a group's name, a pattern */

/* What a subscription or a group has in its queue, and has had since it came. */
struct overview_queue {
    char client[OVERVIEW_NAME_MAX + 1]; /* "": it is a group's */
    char group[OVERVIEW_NAME_MAX + 1];  /* "": it is a subscription of its own */
    char pattern[OVERVIEW_NAME_MAX + 1];
    uint32_t sid;                       /* of a client's */
    uint64_t members;                   /* of a group's */
    uint64_t matched, sent, lost, queued, queued_bytes, lag_ms;
};

struct overview_stream {
    const char *name;                   /* the broker's */
    uint64_t messages, bytes;           /* on disk */
    uint64_t waiting_bytes;             /* not yet */
    uint64_t stored;                    /* messages, ever */
    uint64_t max_messages, max_bytes, max_age_ms; /* UINT64_MAX: no limit */
    uint64_t oldest_ms;                 /* Unix time; UINT64_MAX: it is empty */
    uint64_t damaged, unstored;
    uint64_t readers;                   /* up to OVERVIEW_READERS_MOST */
    uint64_t behind;                    /* messages that the one of them that is furthest behind still has to be done with */
};

/* The broker's way to the others that it is joined with. */
struct overview_cluster {
    uint64_t live, storing;             /* 0 or 1: the connection for messages, and that for streams and records, is up */
    uint64_t rtt_us;                    /* to the server and back; UINT64_MAX: not known */
    uint64_t reconnects, present;       /* present: other brokers that are there */
    uint64_t bytes_in, bytes_out, dropped_in, dropped_out; /* dropped: datagrams */
    uint64_t waiting_appends, waiting_bytes; /* for shared streams, not settled yet */
};

/* Another broker. */
struct overview_neighbour {
    const char *name;                   /* the broker's own */
    uint64_t present;                   /* 0 or 1 */
    uint64_t messages_in, messages_out;
    uint64_t holes, lost;               /* times that something was missing, and how many messages that was at least */
};

struct overview {
    struct broker_figures figures;
    uint64_t uptime_ms;
    uint64_t queued_bytes;              /* what all queues cost, as their budget counts it */
    uint64_t queued;                    /* messages in all queues; one in many of them counts in each */
    uint64_t lag_ms;                    /* of the slowest of all queues */
    uint64_t slow_subscriptions, slow_groups; /* all of them */
    uint64_t groups;                    /* all of them, */
    uint64_t store_failing;             /* 0 or 1: broker_store_is_failing() */
    struct overview_queue slow[OVERVIEW_SLOW_MOST];        /* subscriptions, the slowest first */
    size_t slow_count;
    struct overview_queue group[OVERVIEW_GROUPS_MOST];     /* those that have been there the longest */
    size_t groups_count;
    struct overview_stream stream[OVERVIEW_STREAMS_MOST];
    size_t streams_count;
    struct overview_cluster cluster[1]; /* none if the broker is alone */
    size_t cluster_count;
    struct overview_neighbour neighbour[OVERVIEW_NEIGHBOURS_MOST];
    size_t neighbours_count;
};

/* Begins to fill *overview, which is the broker's until it is complete, or broker_overview_stop(). One at a time. */
void broker_overview_begin(struct broker *broker, struct overview *overview);
/* Goes on for about 2 ms. Returns whether it is complete: then it holds what there is at this moment, and names in it are valid
 * until the broker goes on. */
bool broker_overview_step(struct broker *broker);
void broker_overview_stop(struct broker *broker); /* also if none was begun */

#endif
