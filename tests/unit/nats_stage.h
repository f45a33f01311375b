/* Engines over real NATS servers, and what they tell, for tests of streams and records. */
#ifndef NATS_STAGE_H
#define NATS_STAGE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <semaphore.h>

#include "engine.h"
#include "nats_rig.h"

#define SERVERS_MOST 3
#define ENDS_MOST 3
#ifndef STAGE_WAIT_MS
#define STAGE_WAIT_MS 60000
#endif
#define STREAM 0x40000001u /* a number as shared streams have them */

struct settlement {
    bool is_there;
    enum store_code code;
    uint64_t last;
    bool was_there;
    char text[STORE_TEXT_MAX];
};
struct shown { /* a message of a tail or a read */
    uint64_t position;
    char *payload;
};
struct shown_list {
    struct shown *list;
    size_t count, room;
};
struct known_record {
    uint32_t kind;
    char *key, *value; /* .value NULL: it was removed */
    uint64_t revision, mark;
};

/* One broker's end, and what it was told. */
struct end {
    struct nats_stage *stage;
    struct engine *engine;
    bool is_storing;
    struct settlement *settled; /* by token */
    uint64_t tokens, settled_count, ok_count, last_token;
    bool is_in_order;           /* so far */
    struct shown_list tail;
    bool tail_overlaps;         /* a position came twice, or after a higher one */
    uint64_t tail_bytes, tail_count;
    bool counts_only;           /* of the tail: payloads are not kept */
    bool reads_nothing;         /* else the stream is followed as soon as it is known */
    struct engine_stream_state state;
    uint64_t answered, answer;  /* the last mark of ask_state() that came back, and .next with it */
    char state_text[STORE_TEXT_MAX];
    unsigned states, identities, loads, begins;
    uint64_t loaded_to;         /* revision that the last load told of */
    struct known_record *records;
    size_t records_count;
    struct {
        bool is_there, is_done;
        uint64_t revision;
    } puts[200];                /* by mark */
    struct store_read *read;    /* that is done */
};

struct nats_stage {
    struct nats_rig rigs[SERVERS_MOST];
    int servers;
    char urls[300];
    sem_t woken;
    struct end ends[ENDS_MOST];
};

int stage_open(void **state);         /* one server */
int stage_open_cluster(void **state); /* three */
int stage_close(void **state);
void stage_start_server(struct nats_stage *stage, int index);

struct end *stage_end(struct nats_stage *stage, int index, uint64_t defer_ms);
void stage_end_close(struct end *end);
void stage_poll(struct nats_stage *stage); /* waits for something, a while at the most */
/* Polls until that is so; fails after a minute. */
#define stage_wait(stage, condition)                                                                                   \
    do {                                                                                                               \
        uint64_t begun_ = stage_ms();                                                                                  \
        while (!(condition)) {                                                                                         \
            if (stage_ms() - begun_ > STAGE_WAIT_MS)                                                                   \
                fail_msg("this did not come to be: %s (%s)", #condition, stage_trouble(stage));                        \
            stage_poll(stage);                                                                                         \
        }                                                                                                              \
    } while (0)
uint64_t stage_ms(void);
const char *stage_trouble(const struct nats_stage *stage); /* what the engines say, for who looks at a test that failed */

void stage_open_stream(struct end *end, uint32_t replicas, uint64_t max_msgs, bool refuses);
void stage_follow(struct end *end, uint64_t from); /* 0: no more */
/* A MSG frame; returns its length. */
uint32_t stage_frame(uint8_t *to, size_t cap, const char *topic, const char *payload);
/* Appends one message, and hands it over. Returns its token; 0: it was refused. */
uint64_t stage_append(struct end *end, const char *topic, const char *payload, const char *id, uint64_t pid);
/* Appends this many, each with its number as the payload, from `first` on. */
void stage_append_numbers(struct end *end, uint64_t first, uint64_t count);
const struct settlement *stage_settled(const struct end *end, uint64_t token); /* NULL: not yet */
struct store_read *stage_read(struct end *end, uint64_t from, uint64_t bound, uint32_t bytes_most);
struct shown_list stage_messages(const struct store_block *block);
void stage_shown_free(struct shown_list *list);
const struct known_record *stage_record(const struct end *end, uint32_t kind, const char *key); /* NULL: never told */
bool stage_put(struct end *end, uint32_t kind, const char *key, const char *value, uint64_t expected, uint64_t mark);

#endif
