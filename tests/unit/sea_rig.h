/* Two or three brokers' cores with a stream that all share, "orders" of o/#, on a bus in memory, in one thread: the test is
 * their clock, their clients and their disks (broker_stage.h), and breaks the bus as it likes (memory_engine.h). A broker with
 * a store has a stream of its own, too, "own" of own/#. In what is read of their frames, S stands for the shared stream's
 * number. Failures end the test (cmocka). */
#ifndef SEA_RIG_H
#define SEA_RIG_H

#include "broker_stage.h"
#include "memory_engine.h"

/* The core's own data, to see what it knows. */
#include "../../broker/core/cluster/records_parts.h"

#define SEA_BROKERS 3
#define SEA_DEFER_MS 10000u
#define SEA_DEFER_BYTES 4096u
#define SEA_QUESTIONS_MS 10u /* between two times that a stream is asked how far it is */
#define SEA_SESSION_S 3600u /* of sea_client() */

struct sea {
    struct memory_bus *bus;
    struct stage *at[SEA_BROKERS];
    struct engine *engines[SEA_BROKERS]; /* NULL: the broker is not there */
    bool has_store[SEA_BROKERS];         /* when it starts */
    struct stream_config streams[2];     /* the second one is a broker's own */
    const char *patterns[2];
    const char *topics;                  /* of the cluster */
    char words[64 * 1024];               /* what sea_words() returned last */
};

int sea_set_up(void **state); /* no broker is there yet */
int sea_tear_down(void **state);

/* ---- the world */
const char *sea_name(int which);             /* "one", "two", "three" */
void sea_flow(struct sea *sea);              /* until nothing is on its way */
void sea_pass(struct sea *sea, uint64_t ms); /* time passes for all */
void sea_start(struct sea *sea, int which);
void sea_start_stored(struct sea *sea, int which); /* with a store; the same one again if it had one */
/* As the program ends: who has members, or clients' places, says so. */
void sea_stop(struct sea *sea, int which);
void sea_crash(struct sea *sea, int which);  /* the process dies */
struct sea *sea_brokers(void **state, int count); /* so many start, and have known each other for a while */
/* Two brokers: `p` is the publisher at the first, and `r` reads at the second. */
struct sea *sea_two(void **state);
void sea_away(struct sea *sea, int which, bool is_away); /* its connections to the others are lost */
struct records_figures sea_figures(const struct sea *sea, int which);
uint32_t sea_number(void);                   /* the shared stream's */
struct stream *sea_stream(const struct sea *sea, int which); /* likewise, as that broker knows it */

/* ---- clients. They have the sid 1 */
extern const struct mps_sub_options sea_from_all, sea_acked; /* from all: without, and with acknowledgements */
const char *sea_words(struct sea *sea, int which, char link); /* what came since it was asked last. Valid until then */
#define sea_expect(sea, which, link, expected) assert_string_equal(sea_words(sea, which, link), expected)
const char *sea_came(struct sea *sea, int which, char link);  /* likewise, but only what the messages say, with blanks between */
#define sea_expect_came(sea, which, link, expected) assert_string_equal(sea_came(sea, which, link), expected)
void sea_hello(struct sea *sea, int which, char link, struct mps_hello with); /* .id.ptr NULL: the link's name */
struct mps_hello sea_client(const char *id);                  /* with a session */
void sea_subscribe(struct sea *sea, int which, char link, const char *pattern, struct mps_sub_options options);
struct mps_sub_options sea_durable(enum mps_ack_mode ack);
struct mps_sub_options sea_member(bool is_durable, enum mps_ack_mode ack); /* of the group g */
void sea_publish(struct sea *sea, int which, char link, const char *topic, const char *text);
/* Publishes numbers to the stream, as `p` at this broker. */
void sea_write_stream(struct sea *sea, int which, int from, int to);
void sea_ack(struct sea *sea, int which, char link, uint64_t seq); /* a message of the shared stream */

#endif
