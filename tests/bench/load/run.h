/* One run against one broker: its connections, what went through them, and the loop that moves it. One thread. */
#pragma once
#include "histogram.h"
#include "plan.h"
#include "process.h"
#include "tls.h"
#include <sys/socket.h>
#include <unistd.h>

enum {
    BATCH_BYTES = 64 << 10, /* of one write, unless one message alone is larger */
    READ_BYTES = 256 << 10, /* of one read */
    NUMBER_BITS = 48,       /* of a payload's first word; above them stands the publisher */
    STAMP_BYTES = 16,       /* of a payload: that word, and the time of sending */
    KEPT_HEAD_MAX = 128,
    ID_MAX = 48,          /* bytes of a message's place in a stream */
    CONTENT_EVERY = 1024, /* a power of two */
    LATENCY_EVERY = 64,   /* a power of two; with a rate it is every message */
};
#define NUMBER_MASK (((uint64_t)1 << NUMBER_BITS) - 1)

/* How far a connection is. */
enum opening { OPENING_LINE, OPENING_TLS, OPENING_HELLO, OPENING_ANSWER, OPEN };

/* A connection. The head of the last message is kept: a next one that begins with the same bytes needs no parsing. */
struct link {
    int fd; /* -1: closed */
    enum opening opening;
    struct terms terms;
    SSL *tls; /* NULL: plain */
    uint32_t number;
    struct subscriber *subscriber; /* whose it is, or */
    struct publisher *publisher;
    bool may_close; /* the broker may cut it off: then fd is -1. Else that ends the program */
    uint8_t *rest;  /* the beginning of a frame of which more is to come */
    uint32_t rest_len, rest_size;
    uint32_t head_len, frame_len, payload_len; /* head_len 0: none is kept */
    uint8_t head[KEPT_HEAD_MAX];
    uint64_t ready, confirmed; /* answers that came */
    uint64_t acked;            /* publishes */
    uint64_t told;             /* losses that the broker reported */
    uint64_t block_left;       /* messages that are still to come of the block that was asked for */
    bool at_end;               /* of the stream: the broker said that there are no more */
    uint8_t id[ID_MAX];        /* of the last message of a block */
    size_t id_len;
    uint64_t bytes;
};

struct subscriber {
    struct link link;
    uint64_t *next;    /* for each lane (subscriber_lane): the number that is due, or the least that is possible */
    uint64_t received; /* messages that were right */
    uint64_t skipped;  /* that are missing before those that came */
    uint64_t forgiven; /* that were given up after a silence */
    uint64_t expected; /* where each message has its own receivers; else run->published - joined_at */
    uint64_t joined_at;
    uint64_t expected_bytes; /* mixed: of payload */
    bool apart;              /* does not count for the window, nor as received: the slow ones */
};

struct publisher {
    struct link link;
    uint64_t sent;  /* messages that were made */
    uint8_t *batch; /* batch_at..batch_len of it is still to be written */
    size_t batch_at, batch_len;
    bool waits;        /* for room in its socket */
    uint64_t *sent_ns; /* stored: when the last in_flight messages were sent */
};

struct run {
    const struct options *options;
    const struct protocol *protocol;
    const struct plan *plan;
    struct process broker;
    int epoll;
    struct publisher *publishers;
    struct subscriber *subscribers;
    uint32_t publisher_count, subscriber_count; /* that are connected */

    uint64_t period;      /* rotation: how many topics, and so lanes, a publisher has */
    uint64_t stride;      /* from a number to the next in its lane; 0: random, any higher number is right */
    uint64_t *shared;     /* random: the lanes of all subscriptions together */
    uint8_t *pattern;     /* a payload behind its stamp */
    size_t tail_len;      /* of protocol->tail */
    size_t publish_bytes; /* of one publish, in the mean */
    struct frame *frames; /* of each topic, or NULL (publish.c) */
    uint8_t *frame_bytes;
    uint8_t *buffer; /* what is being read */
    size_t rest_max;

    uint64_t window;                                 /* messages */
    uint64_t batch_least;                            /* messages that there is to be room for before a batch is begun */
    uint64_t in_flight;                              /* of each publisher, unacknowledged */
    uint64_t silence_ns;                             /* after which nothing is waited for any more */
    uint64_t block_most;                             /* messages that are asked for at once */
    uint64_t content_mask;                           /* the first and then one of so many + 1 is judged to its last byte */
    uint64_t latency_mask;                           /* one of so many + 1 has its latency recorded */
    uint32_t turn;                                   /* which publisher is first */
    uint32_t slowest;                                /* the subscriber that was last found to be, */
    uint64_t slowest_at;                             /* and what it had then */
    uint64_t published, received, skipped, forgiven; /* of all but those apart */
    uint64_t wrong;
    uint64_t paced_from_ns, paced_count; /* with a rate: since when, and how many since */
    uint64_t heard_ns;                   /* when something was last received */
    uint64_t slow_read_ns;               /* mixed: when the slow one was last read in any case */
    bool sampling;                       /* latencies are recorded */
    struct histogram latency;
};

/* What has been counted at one moment. */
struct sample {
    uint64_t at_ns, broker_cpu_ns, own_cpu_ns, published, received, acked;
};

struct span {
    struct sample begin, end;
    uint64_t payload_bytes; /* received, if all payloads are equal */
};

/* Makes a run of this plan with its publishers connected, and no subscribers yet but room for the plan's. */
void run_open(struct run *run, const struct options *options, const struct plan *plan);
void run_close(struct run *run);

/* Connects the next count subscribers. */
void run_connect_subscribers(struct run *run, uint32_t count);

/* Subscribes those from first on to what the plan has for them, and returns when all is confirmed. */
void run_subscribe(struct run *run, uint32_t first);

/* Publishes and receives for this long. */
void run_for(struct run *run, uint64_t ns);

/* The same until this many messages have been published in all. */
void run_until_published(struct run *run, uint64_t count);

/* The same, measured, and with latencies recorded. */
void run_measured(struct run *run, double seconds, struct span *span);

/* Receives until everything has come and been acknowledged, or nothing has for two seconds (stored: for half a minute). */
void run_drain(struct run *run);

/* Publishes one message and waits for it. Returns how long that took; two seconds or more: it did not come. */
uint64_t run_exchange(struct run *run);

/* From now on this subscriber is read only by run_catch_up, and in a mixed load slowly; and the broker may close it. */
void run_set_apart(struct run *run, struct subscriber *subscriber);

/* Reads one subscriber that is apart until all that it expects has come or was told to be lost, or nothing has come for
 * two seconds, or the broker has closed its connection. */
void run_catch_up(struct run *run, struct subscriber *subscriber);

uint64_t run_lost(const struct run *run);  /* of all but those apart */
uint64_t run_acked(const struct run *run); /* publishes */
uint64_t run_expected(const struct run *run, const struct subscriber *subscriber);
void run_sample(const struct run *run, struct sample *sample);

/* link.c: connects and greets. link_start begins, and link_go_on goes on with it when the socket is ready: it returns the
 * poll events that it waits for then, 0 when the broker has answered. link_open does all of it, and adds it to the loop's. */
void link_start(struct run *run, struct link *link, const struct terms *terms, SSL_SESSION *resumes);
short link_go_on(struct run *run, struct link *link);
void link_open(struct run *run, struct link *link, const struct terms *terms);
void link_close(struct link *link);
void link_send(struct run *run, struct link *link, const uint8_t *bytes, size_t len);
void link_await(struct run *run, struct link *link, const uint64_t *counter, uint64_t value);

/* As read() and send(), through TLS where that is spoken. */
static inline ssize_t link_read(const struct link *link, uint8_t *to, size_t limit)
{
    return link->tls ? tls_read(link->tls, to, limit) : read(link->fd, to, limit);
}

static inline ssize_t link_write(const struct link *link, const uint8_t *from, size_t len)
{
    return link->tls ? tls_write(link->tls, from, len) : send(link->fd, from, len, MSG_NOSIGNAL);
}

/* receive.c: reads once, at most limit bytes, and takes in what came. False: nothing was there, or it is closed. */
bool link_receive(struct run *run, struct link *link, size_t limit);

/* read.c: with a plan of what is stored, a subscriber reads the stream from its beginning on: it asks, then run_drain
 * receives. */
void read_ask(struct run *run, struct link *link);
void read_block(struct run *run, struct link *link, uint64_t count);                      /* so many come now */
void read_took(struct run *run, struct link *link, const uint8_t *id, size_t id_len); /* one of a block */

/* judge.c: a subscriber's lanes, in which numbers rise: one for each publisher and each of its topics. */
void judge_prepare(struct run *run, struct subscriber *subscriber, uint32_t index);
void judge_out_of_line(struct run *run, struct subscriber *subscriber, uint32_t publisher, uint64_t number,
                       uint64_t *next);
uint64_t *judge_random_lane(struct run *run, struct subscriber *subscriber, uint32_t publisher, uint64_t number);
bool judge_content(const struct run *run, const uint8_t *payload, size_t len);
bool judge_head(const struct run *run, const uint8_t *frame, const struct item *item); /* topic and length */

/* publish.c: makes a publisher's next batch of at most count messages, and writes what the socket takes. */
void publish_batch(struct run *run, struct publisher *publisher, uint64_t count);
void publish_rest(struct run *run, struct publisher *publisher);
void publish_prepare(struct run *run);
