/* Where a conversation is played: in a bench of its own (bench.c: the broker's core, a virtual clock, links that are
 * buffers), against a live broker over a socket (live.c), one of its own if it must be (own_broker.c), or against the client's core (client.c). Connections are
 * numbered 0..25 for A..Z. What a stage can't do is NULL. */
#ifndef CONFORMANCE_STAGE_H
#define CONFORMANCE_STAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STAGE_CONNS_COUNT 26
#define STAGE_STREAMS_MAX 8
#define STAGE_PATTERNS_MAX 8

/* What came on one connection and was not looked at yet. */
struct inbox {
    uint8_t *at;
    size_t len, cap;
    bool ended; /* nothing will follow */
};
void inbox_add(struct inbox *inbox, const void *bytes, size_t len);
void inbox_take(struct inbox *inbox, size_t len);

/* A stream that the tested broker has. */
struct stage_stream {
    char text[256]; /* what the others point into */
    const char *name;
    const char *patterns[STAGE_PATTERNS_MAX];
    size_t patterns_count;
    uint64_t max_msgs, max_bytes, max_age_ms; /* 0: no limit */
    bool refuses;
};
/* What happens to the broker's store. */
enum stage_store_event {
    STORE_HOLDS,   /* what begins to be stored does not end */
    STORE_GOES_ON, /* it does, and there is room again */
    STORE_IS_FULL, /* nothing is stored for want of room, until it goes on */
    STORE_FAILS,   /* the next group that begins to be stored is not */
    STORE_DAMAGES, /* what holds this position can't be read any more */
};
struct stage_store {
    enum stage_store_event event;
    uint32_t stream;
    uint64_t position;
};
/* What a vector says: "NAME PATTERN,.. option ..", "damages 64 3". Return false if it isn't understood. */
bool stage_stream_parse(const char *text, struct stage_stream *out);
bool stage_store_parse(const char *text, struct stage_store *out);

struct stage {
    struct inbox inbox[STAGE_CONNS_COUNT];
    struct inbox events[STAGE_CONNS_COUNT]; /* of a client: what it told its program, each as a msgpack array */
    bool open[STAGE_CONNS_COUNT];           /* was opened in this case */
    bool (*connect)(struct stage *stage, int conn);
    /* Whose the connection is: "operator", "uid 5", "nameless" (and it needs a name). False: that isn't understood. Only on a
     * bench. */
    bool (*set_peer)(struct stage *stage, int conn, const char *who);
    void (*send)(struct stage *stage, int conn, const uint8_t *bytes, size_t len);
    /* Waits until something came or the stream ended. False: nothing comes (any more, or in time). */
    bool (*wait)(struct stage *stage, int conn);
    /* Takes in what is there without waiting. */
    void (*poll)(struct stage *stage, int conn);
    void (*end)(struct stage *stage, int conn);
    /* Only on a bench. */
    void (*drop)(struct stage *stage, int conn);
    void (*room)(struct stage *stage, int conn, uint64_t bytes);
    void (*pass)(struct stage *stage, uint64_t ms);
    bool (*access)(struct stage *stage, const char *words); /* see bench_access.h */
    bool (*store)(struct stage *stage, const struct stage_store *happens); /* false: it can't */
    bool (*restart)(struct stage *stage); /* every connection is gone; false: it doesn't come back */
    /* Only with a client. what: words, see client_do.h. Returns false if they are not understood. */
    bool (*act)(struct stage *stage, int conn, const char *what);
    /* Ends the case: every connection goes. The stage is freed. Returns false with a sentence if something was left. */
    bool (*close)(struct stage *stage, char *error, size_t cap);
};

/* limits: "name=number ..." or NULL. streams: as stage_stream_parse() takes them. NULL with a sentence in error if they are
 * not understood. */
struct stage *bench_open(const char *limits, char *const *streams, size_t streams_count, char *error, size_t cap);
/* url: unix:/path or tcp://host:port. */
struct stage *live_open(const char *url);
/* A broker of its own, of this program. streams: as for bench_open(). NULL with a sentence in error. */
struct stage *live_start(const char *program, char *const *streams, size_t streams_count, char *error, size_t cap);
struct stage *client_open(void);

#endif
