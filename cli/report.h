/* A report of the broker's state: asking for it ($SYS/request/report), and what it says. PROTOCOL.md, "The broker's state"
 * and "Requests to the broker", says what each field means.
 *
 * Texts are borrowed from the report, valid UTF-8, and other people's: to be escaped before they come to a terminal. A text
 * that is nil or not said has .ptr NULL; a number that is nil or not said is REPORT_UNKNOWN. What a newer broker says besides
 * stands in .document only. */
#ifndef CLI_REPORT_H
#define CLI_REPORT_H

#include "buffer.h"
#include "connect.h"
#include "wire.h"

#define REPORT_UNKNOWN UINT64_MAX
#define REPORT_TIMEOUT_MS 10000

enum report_section {
    REPORT_BROKER = 1,
    REPORT_LIMITS = 2,
    REPORT_LISTENERS = 4,
    REPORT_TOPICS = 8,
    REPORT_SUBSCRIPTIONS = 16,
    REPORT_GROUPS = 32,
    REPORT_CONNECTIONS = 64,
    REPORT_STREAMS = 128,
    REPORT_CLUSTER = 256,
};
#define REPORT_SECTIONS_COUNT 9

/* What is asked for. All zero: everything, as the broker chooses. */
struct report_terms {
    unsigned sections; /* of enum report_section; 0: all */
    uint32_t limit;    /* entries of each list, 1..10000; 0: the broker's default, 100 */
    /* The key whose greatest values are listed when there are more entries; NULL: the broker's default. */
    const char *topics_by, *subscriptions_by, *groups_by, *connections_by, *streams_by;
};

struct report_broker {
    mps_view version;
    uint64_t uptime_ms, connections, subscriptions, groups, streams;
    uint64_t retained, retained_bytes;
    uint64_t queued_bytes, queue_budget_bytes, links_bytes, input_bytes, input_budget_bytes;
    uint64_t messages_in, bytes_in, messages_out, lost, protocol_errors;
    uint64_t rss_bytes, data_bytes, data_free_bytes; /* of the process, of the data directory's file system */
};

struct report_limit {
    mps_view name;
    uint64_t refused;
};

struct report_listener {
    mps_view name, url;
    uint64_t connections, accepted, refused;
};

struct report_topic {
    mps_view topic;
    uint64_t messages, bytes; /* since counting began */
};

/* A subscription or a group. */
struct report_reader {
    mps_view client, user;    /* of a subscription */
    mps_view pattern, group, policy;
    uint64_t sid;             /* of a subscription */
    uint64_t members;         /* of a group */
    uint64_t matched, sent, lost, queued, queued_bytes, lag_ms;
    bool slow;
};

struct report_connection {
    mps_view client, user, peer, listener;
    uint64_t connected_ms; /* for how long */
    uint64_t subscriptions, messages_in, bytes_in, messages_out, bytes_out, lost, queued_bytes;
};

struct report_stream {
    mps_view name;
    uint64_t stream, first, next, messages, bytes, max_bytes, max_msgs, max_age_ms, readers, oldest_ms, damaged, unstored;
    uint64_t replicas;        /* REPORT_UNKNOWN: it is the broker's own */
    bool there;               /* of one that brokers share: the cluster answers */
};

/* The broker's way to others that it is joined with. */
struct report_cluster {
    mps_view name;            /* its own; absent: it is alone */
    mps_view server, trouble; /* absent: none */
    bool live, storing;       /* its connection for messages, and that for streams and records, are up */
    uint64_t rtt_us, reconnects, present, dropped_in, dropped_out, waiting_appends, waiting_bytes;
};

/* Another broker. */
struct report_neighbour {
    mps_view name, software;
    bool present;
    uint64_t since_ms, heard_ms, patterns, messages_in, messages_out, holes, lost;
};

/* All zero is an empty one. Of each list: how many there are in the broker (REPORT_UNKNOWN: not asked for), and how many of
 * them are listed. */
struct report {
    uint64_t now_ms; /* Unix time at the broker */
    struct report_broker broker;
    struct report_limit *limits;
    struct report_listener *listeners;
    struct report_topic *topics;
    struct report_reader *subscriptions, *groups;
    struct report_connection *connections;
    struct report_stream *streams;
    struct report_cluster broker_cluster;
    struct report_neighbour *cluster;
    size_t limits_count, listeners_count, topics_count, subscriptions_count, groups_count, connections_count, streams_count;
    size_t cluster_count;
    uint64_t listeners_total, topics_total, subscriptions_total, groups_total, connections_total, streams_total, cluster_total;
    /* For how long topics have been counted, and what found no room in the table of topics meanwhile. */
    uint64_t topics_since_ms, topics_uncounted_messages, topics_uncounted_bytes;
    struct buffer document; /* the whole map, checked */
};

/* Reads such a map, which is copied. *report is empty before. False: it is none, and *report is empty still. Running out of
 * memory ends the program, here as below. */
bool report_decode(struct report *report, mps_view document);
void report_free(struct report *report); /* empty again */

/* A report that was asked for. */
struct report_query {
    struct link *link;
    struct report *into;
    uint64_t request;
    bool is_over;
    int exit_code;  /* once it is over: CLI_EXIT_DONE, and *into holds the report; or what .why comes to */
    char why[256];  /* one sentence */
};

/* Asks over an open connection, without waiting: whoever calls link_step() looks at .is_over afterwards. query and into
 * (which is freed and filled) must stay until then, or until report_forget(). When it can't be asked at all it is over at
 * once. A connection that breaks ends it; one that is not there at the moment, too. */
void report_ask(struct report_query *query, struct link *link, const struct report_terms *terms, struct report *into);
void report_forget(struct report_query *query); /* also of one that is over */

/* Asks over an open connection and waits. Returns CLI_EXIT_DONE, or complains (but for a signal) and returns another exit
 * code. */
int report_wait(struct report *report, struct link *link, const struct report_terms *terms);

#endif
