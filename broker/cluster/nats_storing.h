/* Inside the half of the engine that keeps streams and records in JetStream:
 *
 *   nats_storing.c   opening, closing, the thread that sends, its connection
 *   nats_asking.c    what is asked of JetStream, and what comes back
 *   nats_events.c    what poll() will tell
 *   nats_streams.c   each stream: made if it is absent, asked how far it is every other second
 *   nats_append.c    messages on their way into a stream
 *   nats_tail.c      what comes into a stream that somebody reads, or the bucket
 *   nats_read.c      what was in it
 *   nats_records.c   values under keys, in a bucket
 *
 * Everything is asked by messages whose answers come to an inbox: no call of libnats that waits for an answer is used. There is one
 * lock over all. Threads: the loop's, which calls nats_storing_*(); one that sends, and looks at the time (nats_storing.c); the
 * link's; and libnats' own, one for each subscription (acknowledgements; answers and what is read; each tail). Nothing is sent with
 * the lock held. Only those of tails ever wait, for the loop to poll, and JetStream's flow control makes the server wait then.
 *
 * All functions but nats_storing_*() are called with the lock held, unless they say otherwise. */
#ifndef CLUSTER_NATS_STORING_H
#define CLUSTER_NATS_STORING_H

#include "nats_parts.h"

#define LONG_SUBJECT_MAX 3600        /* bytes: those of records, whose keys may be escaped three for one */
#define NAME_MAX_BYTES 400           /* of a stream or a bucket */
#define ASK_EVERY_MS 2000            /* how far a stream is, that is followed; */
#define ASK_UNFOLLOWED_MS 500        /* that isn't */
#define LINGER_MS 2000               /* so long is it followed on when nobody reads it any more: somebody else may come */
#define ANSWER_MS 3000               /* an answer takes no longer, or it does not come. Less than electing a leader takes, 4 s: */
#define ACK_MS 3000                  /* what was lost with the old one is known before the new one takes what was sent later */
#define FLIGHTS 8192u                /* messages of a stream that are sent, and not acknowledged; a power of two */
#define FLIGHT_BYTES (16u << 20)     /* likewise; one is always sent */
#define PUT_FLIGHTS 256u             /* records likewise */
#define PUTS_BYTES (64u << 20)       /* of records that wait */
#define ROUND 512u                   /* messages that are sent at a time */
#define EVENT_BYTES (8u << 20)       /* of tails and records that wait for poll(), and a little more */
#define BLOCK_BYTES (256u * 1024)    /* of a tail's block */
#define CURSORS 8u                   /* for reading a stream */
#define HEARTBEAT_MS 1000            /* of a tail */
#define SILENCE_MS 3500              /* and it is made anew */
#define BEHIND_MS 5000               /* likewise, if nothing came for so long of what is known to be there */
#define LEADER_TRIES 12u             /* that a consumer is made anew at once, to have it where the stream's leader is */
#define SHOWN (1u << 16)             /* messages that a tail has shown last, and can tell from others; a power of two */
#define MESSAGE_ROOM 1024            /* bytes of a message for headers, below the server's max_payload */
#define OWN_MARKS_MS 300000          /* the mark that a removed record leaves goes after so long, if we removed it; */
#define OTHER_MARKS_MS 600000        /* else after so long, as who did may be no more */
#define MARKS_MOST (1u << 20)        /* that are known to be there; others stay until somebody loads the bucket */
#define STALE_MS 120000              /* who has heard nothing for so long may have missed some, and loads everything */
#define DUPLICATES_MS 120000         /* so long at least the server knows what it has stored; else twice as long as something waits */
#define STUCK_MS 60000               /* what nobody waits for, and a stream that is there doesn't acknowledge, is given up */

struct nats_storing;
struct nats_stream;

/* ---- nats_asking.c ---- */

/* Something asked of JetStream's API. */
struct js_request {
    struct js_request *next;
    char *subject, *body;            /* our own; NULL when they are sent */
    char *inbox;                     /* likewise: the stream's tail is subscribed to there, before it is sent; NULL: it isn't, */
                                     /* "": what was subscribed to for the consumer .about is no more */
    uint64_t serial, due_ms;
    /* answer: JSON; .ptr NULL: none came in time. Not called if the connection ends before. */
    void (*done)(struct nats_stream *stream, const struct js_request *request, mps_view answer);
    struct nats_stream *stream;
    uint64_t about, mark;            /* whatever done() wants to know */
};

/* Formats the body. done NULL: nobody wants the answer. */
struct js_request *js_ask(struct nats_stream *stream, const char *subject, const char *body);
/* An inbox of ours. kind: 'a' for acknowledgements, 'c' for answers, 'd' for tails. */
void storing_inbox(const struct nats_storing *storing, char kind, const char *rest, char *to, size_t cap);

/* What is in the reply subject of a message from a consumer. */
struct delivery {
    mps_view consumer;
    uint64_t position, number, time_ms, pending; /* .number: of the consumer's messages; .pending: those behind it */
};
bool delivery_of(const char *reply, struct delivery *delivery); /* false: it is from no consumer */
/* Names of our consumers: kind, 't' or 'r', the stream's index and a number. */
void consumer_name(const struct nats_storing *storing, char kind, uint32_t index, uint64_t number, char *to, size_t cap);
bool consumer_is_ours(const struct nats_storing *storing, mps_view name, char kind, uint32_t *index, uint64_t *number);
struct nats_stream *storing_stream(const struct nats_storing *storing, uint32_t index); /* NULL: there is none */
struct round;
/* Those that are new are sent, those that nobody answers are over. */
void requests_work(struct nats_storing *storing, struct round *round);
void requests_end(struct nats_storing *storing); /* without a word */
/* libnats calls these for what comes to the inboxes. Not locked. */
void storing_ack_came(natsConnection *connection, natsSubscription *subscription, natsMsg *message, void *arg);
void storing_answer_came(natsConnection *connection, natsSubscription *subscription, natsMsg *message, void *arg);

/* ---- nats_storing.c ---- */

/* The thread that sends has something to do before it thought. */
void storing_hurry(struct nats_storing *storing);

/* A message that the thread is about to send. */
struct outgoing {
    struct js_request *request;      /* and whose it is, or */
    struct nats_stream *stream;
    struct pending_put *put;         /* or */
    struct pending_append *append;
    uint32_t at, len, index;         /* the frame in it */
    uint64_t number;
    char *subject, *reply, *body, *inbox; /* of the request: our own */
};
struct round {
    uint64_t now_ms, next_ms;        /* when there is something to do again */
    uint32_t count;
    bool is_connected;
    struct outgoing messages[ROUND];
};
struct outgoing *round_add(struct round *round); /* NULL: it is full */
void round_again(struct round *round, uint64_t when_ms);

/* ---- nats_events.c ---- */

enum storing_event_kind {
    EVENT_STATE, EVENT_SETTLED, EVENT_TAIL, EVENT_READ, EVENT_BEGIN, EVENT_RECORD, EVENT_LOADED, EVENT_PUT
};

struct storing_event {
    struct storing_event *next;
    enum storing_event_kind kind;
    union {
        struct engine_stream_state state; /* .text is behind the event */
        struct {
            uint64_t token, last;
            enum store_code code;
            bool was_there;
        } settled;                        /* likewise */
        struct {
            struct nats_stream *stream;
            struct store_block block;
            uint8_t *bytes;               /* our own */
            uint32_t room;
        } tail;
        struct store_read *read;
        struct engine_record record;      /* the key and the value are behind the event */
        struct {
            uint64_t mark, revision;
            bool is_done;
        } put;
        struct {
            uint64_t connection, revision;
        } loaded;
    };
    char text[];
};

struct storing_event *storing_tell(struct nats_storing *storing, enum storing_event_kind kind, size_t more);
/* Wakes the loop, if there is something new. Each turn of it has its price: so not while more waits at this subscription, which
 * will say it; NULL: in any case. */
void storing_say(struct nats_storing *storing, natsSubscription *subscription);
void storing_tell_text(struct storing_event *event, const char *text); /* event has room for it */
/* A message behind those that the tail has shown: into the last block if that can be. */
void storing_tell_tail(struct nats_stream *stream, const struct delivery *delivery, mps_view frame, uint64_t expires_ms);
/* Waits until there is room, or storing closes. */
void storing_wait_for_room(struct nats_storing *storing);
void storing_events_free(struct storing_event *event);

/* ---- nats_streams.c ---- */

struct tail {
    enum { TAIL_NONE, TAIL_ASKED, TAIL_RUNS } state; /* ASKED: where its consumer is isn't known, so nothing is taken */
    enum { TAIL_UNWANTED, TAIL_ENDING, TAIL_WANTED } wish;
    uint64_t end_ms, end_at;         /* ENDING: it ends then at the earliest, and when what is below this position is sure */
    uint64_t from;                   /* the core has heard of all that is from here on by none but the tail */
    uint64_t number;                 /* of the consumer, in its name */
    uint64_t again_ms, heard_ms;
    uint64_t next;                   /* position that was not shown yet; of a bucket: 0: nothing was */
    uint64_t at;                     /* position that the consumer is at: those below .next are only compared */
    uint64_t sure, nearly_sure;      /* what is below was shown by who led the stream before and after; will be, if he still does */
    uint64_t shown_from;             /* of those from here on sums are known */
    uint64_t *shown;                 /* SHOWN: sum of the message at a position; 0: there was none */
    uint64_t leader;                 /* who led the stream when the consumer was made */
    uint64_t moved_ms;               /* when a message came */
    uint32_t tries;                  /* that ended elsewhere than at the leader */
    bool is_elsewhere;               /* so did the last one: nothing is compared, and there will be another one */
    uint64_t current_ms;             /* when nothing was missing for the last time */
    uint64_t consumer_next;          /* number of its next message */
    bool is_loading;                 /* a bucket, which didn't tell all that is in it yet, */
    uint64_t load_next;              /* and which had positions below this when it was asked to */
    struct storing_event *open;      /* the last block, which may grow; NULL: it was polled */
};

/* A message on its way. */
struct flight {
    struct pending_append *append;
    uint32_t at, len, index;
    uint64_t sent_ms;
    bool is_done;
};
/* Appends of a stream. Their messages have numbers that count up, the same whenever one is sent again. */
struct appends {
    struct pending_append *first, *last, *next_append; /* .next_append: of which not all messages have a number */
    uint32_t next_at, next_index;    /* in it */
    struct flight *flights;          /* FLIGHTS: those from .oldest on, below .numbered */
    uint64_t oldest, send, numbered; /* the oldest that isn't acknowledged, what is sent next, and the next number */
    uint64_t flight_bytes;
    bool is_full;                    /* no more could be sent */
    bool is_probing;                 /* something was lost: only the oldest is sent, until it is acknowledged */
    uint64_t again_ms, wait_ms;      /* then it is sent again */
    uint64_t calm_ms;                /* until then nothing is sent at all; 0: no */
    uint32_t given_up;               /* appends that are over before older ones */
    uint64_t refused_ms;             /* since when all is refused, for a reason that may pass: .refusal; 0: it isn't */
    char refusal[160];
    uint64_t stuck_ms;               /* since when nothing is acknowledged, though the stream is there; 0: something was */
    uint64_t look_ms;                /* for what is to be given up */
};

/* A message that was read. */
struct held {
    struct held *next;
    uint64_t position, time_ms, expires_ms;
    bool is_damaged;
    uint32_t len;
    uint8_t bytes[];
};
/* A consumer that reads on from a position. */
struct cursor {
    enum { CURSOR_NONE, CURSOR_MAKING, CURSOR_PULLING, CURSOR_WAITING, CURSOR_IDLE } state;
    uint64_t number;                 /* of the consumer, in its name */
    uint64_t host;                   /* the server that it is on */
    uint32_t tries;                  /* that ended elsewhere than at the stream's leader */
    uint64_t at;                     /* position that comes next */
    uint64_t consumer_next, pending; /* number of its next message; how many it has behind that */
    uint64_t pulled, left;           /* serial of what was asked, messages that are to come */
    uint64_t due_ms, used_ms;
    uint32_t empty;                  /* times in a row that there was nothing, where something was to be */
    bool is_fresh;                   /* the consumer was made for this read */
    bool was_too_long;               /* a single message is longer than what was asked for */
    struct held *first, *last;
    uint64_t held_bytes;
    struct store_read *read;
};

struct nats_stream {
    struct nats_stream *next;
    struct nats_storing *storing;
    struct engine_stream config;     /* .name is our own */
    uint32_t index;
    bool is_bucket;                  /* of the records, of which the core knows no stream */
    char name[NAME_MAX_BYTES];       /* JetStream's */
    char subjects[NAME_MAX_BYTES];   /* all begin so, with a dot behind */
    bool is_there, is_asking, is_checked; /* .is_checked: its configuration is as it should be, or can't be */
    char why_not[160];               /* it is not there: a sentence; "": it is, or nothing is known yet */
    uint32_t silent;                 /* answers in a row that did not come */
    uint64_t backwards_ms;           /* since when they tell less than is known; 0: they don't */
    uint64_t ask_ms, make_ms;        /* when it is asked for; when it is made, if it is absent then: 0: not known */
    uint64_t seen_identity, seen_ms; /* the last one that was heard of, and since when */
    uint64_t wanted_mark;            /* of the core's, for the next question; 0: it wants to know nothing */
    uint64_t identity, first_position, known_next, msgs, bytes;
    uint64_t window_ns;              /* in which the server knows messages again, as it is configured there */
    uint64_t leader;                 /* a sum of its server's name; 0: not known yet, or there is only one server */
    uint64_t alone_ms, together_ms;  /* when a server last said that it has the stream alone, or that others have it too; 0: never */
    uint32_t turns;                  /* how often they took turns with it, of late */
    uint64_t joined_ms;              /* when the servers were last asked to agree; 0: never */
    char alone[64];                  /* the name of the one that said it has it alone */
    uint32_t replicas, current;
    struct tail tail;
    natsSubscription *followed;      /* the sending thread's, with the connection in use; */
    uint64_t followed_number;        /* likewise: of the tail's consumer that it is for */
    struct appends appends;
    struct cursor cursors[CURSORS];
};

struct nats_stream *stream_new(struct nats_storing *storing, const struct engine_stream *config, bool is_bucket);
void stream_free(struct nats_stream *stream);
void stream_work(struct nats_stream *stream, struct round *round);
void stream_disconnected(struct nats_stream *stream);
void stream_knows(struct nats_stream *stream, uint64_t next); /* this is a position that was not used yet, or it is known */
/* From this position on, something else is there than what was shown. */
void stream_was_rewritten(struct nats_stream *stream, uint64_t from);
uint64_t leader_of(mps_view answer);                          /* of a stream or a consumer: as nats_stream.leader */
/* The same bytes have the same sum, others hardly ever. Never 0. */
uint64_t sum_of(mps_view bytes);

/* ---- nats_append.c ---- */

struct pending_append {
    struct pending_append *next;
    struct nats_stream *stream;
    uint64_t token, taken_ms, boot, first_pid, last, cost;
    bool is_waited_for, were_there, is_over, is_given_up;
    uint32_t count, len, left, id_len; /* .left: messages that are neither acknowledged nor refused */
    enum store_code code;
    char *text;                      /* of an error; our own */
    uint8_t *bytes;                  /* behind it, the id behind those */
};

void appends_add(struct nats_stream *stream, struct pending_append *append);
void appends_work(struct nats_stream *stream, struct round *round);
void appends_disconnected(struct nats_stream *stream);
void appends_free(struct nats_stream *stream);
void appends_acked(struct nats_stream *stream, uint64_t number, natsMsg *message);
/* Not locked; on the thread that sends. */
void append_send(natsConnection *connection, const struct outgoing *outgoing);
uint64_t append_cost(const struct engine_append *append);

/* ---- nats_tail.c ---- */

void tail_work(struct nats_stream *stream, struct round *round);
void tail_wanted(struct nats_stream *stream, uint64_t identity, uint64_t from);
void tail_unwanted(struct nats_stream *stream);
void tail_led_by(struct nats_stream *stream); /* the stream has just said who leads it */
void tail_begins_at(struct nats_stream *stream, uint64_t next); /* whatever it has shown */
void tail_restart(struct nats_stream *stream);
void tail_disconnected(struct nats_stream *stream);
/* What came to the inbox of tails. Not locked. */
void tail_message(natsConnection *connection, natsSubscription *subscription, natsMsg *message, void *arg);
/* Whether these bytes are one MSG frame, and when that expires; 0: never. Any thread. */
bool frame_is_sound(mps_view frame, uint64_t time_ms, uint64_t *expires_ms);

/* ---- nats_read.c ---- */

void reads_work(struct nats_storing *storing, struct round *round);
void reads_disconnected(struct nats_stream *stream);
void cursors_forget(struct nats_stream *stream); /* they are of no use any more; what they read fails */
void cursor_message(struct nats_stream *stream, uint64_t number, const struct delivery *delivery, mps_view body);
void cursor_status(struct nats_storing *storing, uint64_t serial, natsMsg *message); /* nothing more will come, and why */
void read_failed(struct nats_storing *storing, struct store_read *read, const char *text);

/* ---- nats_records.c ---- */

struct pending_put {
    struct pending_put *next, *prev, *next_hashed;
    uint32_t kind, key_len, value_len;
    bool is_removal, is_sent;
    uint64_t expected, mark, serial, sent_ms;
    uint8_t bytes[];                 /* the key, and the value behind it */
};
struct puts {
    struct pending_put *first, *last, *next_put; /* those before .next_put were sent */
    struct pending_put *hashed[4096];
    struct pending_put *flights[PUT_FLIGHTS]; /* by their serials */
    uint32_t flying;
    bool is_troubled;
    uint64_t serial, bytes, again_ms;
    struct pending_put *garbage;     /* the sending thread frees them, as it may be sending them */
};

/* Of records that were removed, which are to go in their order. */
struct marks {
    struct mark {
        uint64_t position, due_ms;
    } *list;                         /* a ring */
    uint32_t first, count, room;
    uint64_t wait_ms;
};

void marks_work(struct nats_storing *storing, struct round *round);
void marks_forget(struct nats_storing *storing); /* the bucket is another one */
bool puts_add(struct nats_storing *storing, const struct engine_put *put);
void puts_work(struct nats_storing *storing, struct round *round);
void puts_disconnected(struct nats_storing *storing);
void puts_acked(struct nats_storing *storing, uint64_t serial, natsMsg *message);
void puts_free(struct nats_storing *storing);
void put_send(struct nats_storing *storing, natsConnection *connection, const struct pending_put *put); /* not locked */
void record_came(struct nats_stream *bucket, const struct delivery *delivery, natsMsg *message);
void records_all_came(struct nats_stream *bucket);

/* ---- all of it ---- */

/* A subscription that nothing comes for any more. */
struct ended {
    natsSubscription *subscription;
    uint64_t since_ms;
};

struct nats_storing {
    struct nats_engine *engine;
    struct nats_link link;
    char inbox[64], nonce[17];       /* of this life */
    struct pending_append *taken, *last_taken; /* until flush(): the loop's alone */
    atomic_uint_fast64_t waiting_appends, waiting_bytes;

    pthread_mutex_t lock;            /* of all that follows */
    pthread_cond_t work, room;       /* for the thread that sends; for tails: there is room, or one's state has changed */
    bool is_connected, is_closing, is_hurried, is_idle;
    uint64_t connection;             /* how many there were */
    natsSubscription *subscriptions[2];
    struct ended *ended;             /* .ended_count of them, the oldest first, until their connection is closed, or they are */
    uint32_t ended_count;            /* old: the sending thread's, then the link's */
    struct nats_stream *streams, *bucket; /* the bucket is one of them */
    uint32_t streams_count;
    struct js_request *requests;
    uint64_t serial;
    struct store_read *reads;        /* that have no cursor yet */
    struct puts puts;
    struct marks own_marks, other_marks;
    uint64_t marks_ms;               /* when some may go again */
    uint64_t stale_ms, linger_ms, stuck_ms;
    uint32_t leader_tries;           /* LEADER_TRIES */
    struct pending_append *garbage;  /* likewise */
    struct storing_event *events, *last_event;
    uint64_t event_bytes;
    uint32_t unsaid;                 /* events since the loop was woken */
    struct round round;              /* the sending thread's */
};

#endif
