/* A broker's core that a test plays with, in one thread: the test is its clock, its links and its disk. What the broker
 * sends is read as words, a few for each frame:
 *
 *   welcome last 0 | welcome resumed last 7 sess 60 | suback 1 | suback 1 local | suback 1 refused 223 | mark 1 1 | for 1 | for 1 flags 4 |
 *   for 1 at 64-7 | a/b=text | gap 1 x3 reason 6 | gap 1 x? reason 12 at 64-7..9 | ok 5 | ok 5 nobody | ok 5 again |
 *   refused 5 216 | pong | stat 1 3 2 1 0 | err 219 | bye 109 | info | end (of its stream)
 *
 * Failures end the test (cmocka). */
#ifndef BROKER_STAGE_H
#define BROKER_STAGE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker.h"
#include "env.h"
#include "memory_store.h"
#include "wire.h"

#define STAGE_LINKS 26 /* named 'a' to 'z' */
#define STAGE_ROOM UINT64_MAX

struct stage;

struct link {
    struct stage *stage;
    struct session *session; /* NULL: the core knows the link no more */
    uint64_t room;           /* bytes that it still takes */
    bool blocked, reading, ended;
    uint8_t *out;            /* on its way to the broker */
    size_t out_len, pass;    /* .pass: so many bytes of it come through */
    uint8_t *in;             /* from the broker, not looked at yet */
    size_t in_len, in_cap;
};

/* The broker's store, which can be pulled out of it. */
struct gate {
    struct store store;
    struct store *inner;     /* NULL: it is gone, and nothing is ever done */
};

struct stage {
    struct env env;
    struct broker *broker;
    struct broker_limits limits;
    struct access *access;   /* of the next broker that starts, or NULL; its reference goes there */
    struct peer peer;        /* who comes next says HELLO from there */
    uint64_t now_ms, wall_ms;
    uint64_t random;
    struct link links[STAGE_LINKS];
    uint8_t *area;           /* for what queues spill */
    size_t area_len;
    struct memory_disk *disk;
    struct gate gate;
    const char *pattern;     /* of the one stream */
    char logged[512];        /* the last line */
    struct stream_config stream;
    char words[64 * 1024];   /* what stage_words() returned last */
    uint8_t frame[64 * 1024]; /* what stage_take() did */
};

int stage_set_up(void **state);    /* a stage without a broker */
int stage_tear_down(void **state); /* nothing may be left in the broker but sessions whose clients are away */

void stage_start(struct stage *stage);                      /* a broker without a store */
void stage_start_stored(struct stage *stage, const char *pattern); /* with one, and a stream of this pattern */
/* The store for a broker that is about to be given one: &stage->gate.store. */
void stage_open_gate(struct stage *stage);
void stage_stop(struct stage *stage);                       /* gracefully; the disk stays */
/* The power goes. kept: a commit that is held is on the disk. */
void stage_crash(struct stage *stage, bool kept);

void stage_settle(struct stage *stage);                     /* until there is nothing to do at this moment */
void stage_turn(struct stage *stage);                       /* one turn of the loop */
void stage_pass(struct stage *stage, uint64_t ms);          /* what is due within this time happens at its moment */

void stage_write(struct stage *stage, char link, const struct mps_out *out); /* comes to the broker with the next turn */
void stage_send(struct stage *stage, char link, const struct mps_out *out);
void stage_pass_bytes(struct stage *stage, char link, size_t bytes); /* so many more come through; SIZE_MAX: all */
void stage_open(struct stage *stage, char link);            /* a new link, on which nothing was said yet */
void stage_hello(struct stage *stage, char link, struct mps_hello hello);  /* on a new link; .magic and .version are set */
void stage_sub(struct stage *stage, char link, uint32_t sid, const char *pattern, struct mps_sub_options options);
void stage_unsub(struct stage *stage, char link, uint32_t sid);
void stage_pub(struct stage *stage, char link, uint64_t pid, unsigned level);
void stage_msg(struct stage *stage, char link, const char *topic, const char *text);
void stage_write_msg(struct stage *stage, char link, const char *topic, const char *text); /* comes to the broker with the next turn */
void stage_bye(struct stage *stage, char link, uint32_t code);
void stage_ping(struct stage *stage, char link);
void stage_stat(struct stage *stage, char link, uint32_t sid);
void stage_cut(struct stage *stage, char link);             /* the connection breaks */
void stage_end(struct stage *stage, char link);             /* the client's stream ends */
void stage_room(struct stage *stage, char link, uint64_t bytes);

/* The next frame that came, which is valid until then. Returns its operation, -1: none has come, or not all of it. */
int stage_take(struct stage *stage, char link, mps_view *frame);
/* What came since it was asked last. Valid until then. */
const char *stage_words(struct stage *stage, char link);
#define stage_expect(stage, link, expected) assert_string_equal(stage_words(stage, link), expected)

#endif
