/* A random client: writes mps/1 frames of every kind, with what each of them means noted in the model. It speaks
 * through proto/wire.h and builds its messages by hand, in every width that msgpack allows. */
#ifndef SIM_CLIENT_H
#define SIM_CLIENT_H

#include "model.h"

#define SCENE_NAMES_MAX 24

/* What all clients of one run have in common. */
struct scene {
    struct model *model;
    struct rng *rng;
    struct name topics[SCENE_NAMES_MAX], patterns[SCENE_NAMES_MAX];
    uint32_t topics_count, patterns_count, sids_count;
    uint32_t payload_usual;    /* bytes; most payloads are shorter */
    uint32_t retain_percent, ack_percent, trouble_permille;
    bool small_queues;
    uint32_t serial;           /* of the last message: every payload is another one */
};

struct client {
    struct scene *scene;
    struct conn *conn;         /* NULL: this place is free */
    bool hello_sent, bye_read, over; /* over: writes nothing any more */
    bool lingers;              /* does not close when the broker has said BYE */
    uint32_t flags;            /* of PUB, as last written */
    uint64_t next_pid;         /* of the next acknowledged MSG; 0: none was written */
    uint64_t acked_pid;        /* read */
    uint32_t rx_max;           /* what its HELLO said */
    uint64_t asked, answered;  /* requests written, answers read */
    uint32_t appetite;         /* how much it reads, 0..100; 0: hardly ever */
};

/* scene.c */
struct name name_of(const char *text); /* at most NAME_MAX_BYTES */
void scene_open(struct scene *scene, struct model *model, struct rng *rng);
/* client.c */
void client_open(struct client *client, struct scene *scene, struct conn *conn);
void client_act(struct client *client);  /* writes a few frames */
void client_read(struct client *client); /* takes some bytes off its link */
void client_leave(struct client *client); /* ends in one of the decent ways */

#endif
