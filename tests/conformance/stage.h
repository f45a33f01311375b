/* Where a conversation is played: in a bench of its own (bench.c: the broker's core, a virtual clock, links that are
 * buffers), against a live broker over a socket (live.c), or against the client's core (client.c). Connections are
 * numbered 0..25 for A..Z. What a stage can't do is NULL. */
#ifndef CONFORMANCE_STAGE_H
#define CONFORMANCE_STAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STAGE_CONNS_COUNT 26

/* What came on one connection and was not looked at yet. */
struct inbox {
    uint8_t *at;
    size_t len, cap;
    bool ended; /* nothing will follow */
};
void inbox_add(struct inbox *inbox, const void *bytes, size_t len);
void inbox_take(struct inbox *inbox, size_t len);

struct stage {
    struct inbox inbox[STAGE_CONNS_COUNT];
    struct inbox events[STAGE_CONNS_COUNT]; /* of a client: what it told its program, each as a msgpack array */
    bool open[STAGE_CONNS_COUNT];           /* was opened in this case */
    bool (*connect)(struct stage *stage, int conn);
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
    /* Only with a client. what: words, see client_do.h. Returns false if they are not understood. */
    bool (*act)(struct stage *stage, int conn, const char *what);
    /* Ends the case: every connection goes. The stage is freed. Returns false with a sentence if something was left. */
    bool (*close)(struct stage *stage, char *error, size_t cap);
};

/* limits: "name=number ..." or NULL. NULL with a sentence in error if they are not understood. */
struct stage *bench_open(const char *limits, char *error, size_t cap);
/* url: unix:/path or tcp://host:port. */
struct stage *live_open(const char *url);
struct stage *client_open(void);

#endif
