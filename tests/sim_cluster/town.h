/* The virtual world of several brokers' cores: one clock that only moves when told, a bus on which their engines meet
 * (memory_engine.h), and links to clients. One thread, no system calls; all chance comes from one seed.
 *
 * What a client writes (town_push) waits until its broker reads; what a broker sends comes to the client at once. */
#ifndef SIM_CLUSTER_TOWN_H
#define SIM_CLUSTER_TOWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../sim/rng.h"
#include "broker.h"
#include "env.h"
#include "memory_engine.h"

#define NODES_MAX 4
#define LINKS_MAX 128
#define PATTERNS_MAX 4 /* of topics that go to other brokers */
#define STREAM_NAME "kept"
#define STREAM_PATTERN "s/#"

struct town;

struct link {
    struct town *town;
    struct node *node;
    void *owner;             /* the client; NULL: nobody looks at it any more */
    struct session *session; /* NULL: the core knows this link no more */
    uint8_t *in;             /* to the broker, from in_off on */
    size_t in_off, in_len, in_cap;
    bool in_use, reading, ended, closed;
};

/* A broker and its process. */
struct node {
    struct env env;
    struct town *town;
    char name[16];
    uint32_t number;
    struct rng rng;          /* of its random bytes */
    struct broker *broker;   /* NULL: it doesn't run */
    struct engine *engine;
    bool frozen, was_frozen; /* it is; it was, in this life */
    uint64_t next_ms;        /* when it wants to be called */
    uint64_t lives;          /* times it was started */
    uint64_t heard[NODES_MAX]; /* bits of the lives of the others that it has heard of; of one over 63, that of the 63rd */
};

struct town {
    struct rng rng;
    struct broker_limits limits;
    const char *topics[PATTERNS_MAX]; /* that go to other brokers */
    size_t topics_count;
    uint64_t now_ms;
    uint64_t event;          /* counts what happens, so that one can be told to be before another */
    struct memory_bus *bus;
    uint32_t stream;         /* number of the one that all brokers share */
    struct node nodes[NODES_MAX];
    uint32_t nodes_count;
    struct link links[LINKS_MAX];
    void (*on_bytes)(struct link *link, const uint8_t *bytes, size_t len); /* the broker sent these */
    void (*on_read)(struct link *link, size_t len);  /* the broker has read so many more */
    void (*on_closed)(struct link *link);            /* the broker has closed it, or is gone */
    uint64_t digest;         /* of all bytes that brokers sent to clients, and when */
    bool trace, failed;
    char failure[512];
};

void town_open(struct town *town, uint64_t seed, uint32_t nodes_count);
void town_close(struct town *town); /* everybody must be gone but brokers that run; they are stopped */
void town_fail(struct town *town, const char *format, ...) __attribute__((format(printf, 2, 3)));
void town_tell(const struct town *town, const char *format, ...) __attribute__((format(printf, 2, 3))); /* with .trace */

void node_start(struct node *node);
void node_stop(struct node *node);               /* gracefully */
void node_crash(struct node *node, bool kept);   /* kept: what it had handed to its engine is stored all the same */
/* Whether a broker, in this life, has ever heard of another one. */
bool node_has_met(const struct node *node, const struct node *other);
/* In that life of it, of which nobody can say anything who never has. */
bool node_has_heard(const struct node *node, const struct node *other, uint64_t life);
void node_freeze(struct node *node, bool frozen);

/* NULL: no link is free, or the broker takes no more. */
struct link *town_connect(struct node *node, void *owner);
void town_push(struct link *link, const void *bytes, size_t len);
void town_cut(struct link *link); /* it breaks; what was not read is lost */

void town_settle(struct town *town);            /* until there is nothing to do at this moment */
void town_pass(struct town *town, uint64_t ms); /* what is due within this time happens at its moment */

#endif
