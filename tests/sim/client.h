/* A random client: writes mps/1 frames of every kind, with what each of them means noted in the model. It speaks
 * through proto/wire.h and builds its messages by hand, in every width that msgpack allows.
 *
 *   client.c      when it does what, its HELLO, reading, leaving
 *   publisher.c   MSG and PUB
 *   subscriber.c  SUB, UNSUB, CREDIT, STAT
 *   acker.c       reading of streams, and ACK
 *   odd.c         what is refused, ignored or fatal */
#ifndef SIM_CLIENT_H
#define SIM_CLIENT_H

#include "model.h"

#define SCENE_NAMES_MAX 24
#define SCENE_GROUPS_MAX 3
#define PAYLOAD_MAX 60000 /* bytes: of several reads, and more than most pipes hold */
/* Answers not read yet; so the broker never stops reading because of them, but where a flood wants it to. */
#define UNANSWERED_MAX 100

/* A group that clients of a run join, with the options that its members agree on. */
struct scene_group {
    char name[GROUP_NAME_MAX + 1];
    struct name pattern;
    struct sub_options options;
};

/* What all clients of one run have in common. */
struct scene {
    struct model *model;
    struct rng *rng;
    struct name topics[SCENE_NAMES_MAX], patterns[SCENE_NAMES_MAX];
    uint32_t topics_count, patterns_count, sids_count;
    struct scene_group groups[SCENE_GROUPS_MAX];
    uint32_t groups_count;
    uint32_t payload_usual; /* bytes; most payloads are shorter */
    uint32_t payload_least;
    uint32_t rx_max; /* of most clients that have one */
    uint32_t retain_percent, ack_percent, trouble_permille;
    uint32_t policy_percent, credit_percent, group_percent, filter_percent, no_local_percent, upsert_percent;
    uint32_t ttl_percent, key_percent, document_percent, inbox_percent, will_percent, rx_max_percent;
    uint32_t seldom_percent; /* topics that come seldom: many different ones, below those above. 0 unless asked for */
    struct stream_config streams[LOGS_MAX];
    const char *stream_patterns[LOGS_MAX][LOG_PATTERNS_MAX];
    uint32_t read_percent; /* of subscriptions, that read streams */
    uint32_t acked_percent; /* of those */
    uint32_t crash_permille, damage_permille, jump_permille; /* of steps */
    bool small_queues;
    bool blocks; /* some queues have the policy block, all with this: */
    uint64_t block_ms;
    bool one_blocks; /* only one of them: */
    const struct conn *blocker;
    uint32_t blocker_sid;
    bool apart;      /* no two subscriptions of a client match the same topic */
    uint32_t serial; /* of the last message: every payload is another one */
};

struct client {
    struct scene *scene;
    struct conn *conn;                     /* NULL: this place is free */
    bool hello_sent, bye_read, over;       /* over: writes nothing any more */
    bool lingers;                          /* does not close when the broker has said BYE */
    uint32_t flags;                        /* of PUB, as last written */
    uint64_t next_pid;                     /* of the next acknowledged MSG; 0: none was written */
    uint64_t acked_pid;                    /* read */
    uint32_t rx_max;                       /* what its HELLO said */
    uint64_t asked, answered;              /* requests written, answers read */
    uint32_t appetite;                     /* how much it reads, 0..100; 0: hardly ever */
    uint32_t group_sids[SCENE_GROUPS_MAX]; /* by which it is a member; 0: it never was */
    uint32_t topic_sids[SCENE_NAMES_MAX];  /* scene.apart: by which sid it subscribes to each topic; 0: none yet */
};

/* scene.c */
struct name name_of(const char *text); /* at most NAME_MAX_BYTES */
void scene_open(struct scene *scene, struct model *model, struct rng *rng);
const struct name *scene_topic(const struct scene *scene);
/* Options of a queue, as this run's subscriptions have them. */
void scene_queue_options(const struct scene *scene, struct sub_options *o);

void scene_reader_options(const struct scene *scene, struct sub_options *o); /* and those of a reader of streams */

/* keeping.c */
void scene_open_streams(struct scene *scene);
void scene_print(const struct scene *scene);  /* the streams, on stderr */
void scene_happen(struct scene *scene);       /* to the disk, the clock, and the power */

/* client.c */
void client_open(struct client *client, struct scene *scene, struct conn *conn);
void client_act(struct client *client);   /* writes a few frames */
void client_read(struct client *client);  /* takes some bytes off its link */
void client_leave(struct client *client); /* ends in one of the decent ways */
void client_push(struct client *client, const struct mps_out *out, struct action *action);
void client_push_bytes(struct client *client, const char *bytes, size_t len, enum action_kind kind, uint32_t code,
                       uint32_t op);
/* A string literal and its length. */
#define BYTES(text) text, sizeof(text) - 1

/* publisher.c */
void publisher_pub(struct client *client);
void publisher_publish(struct client *client);
/* Props and payload of a message of about len bytes; fills about. The views are borrowed until the next call. */
void publisher_content(struct client *client, uint32_t len, bool bad_props, struct message *about, mps_view *props,
                       mps_view *payload);

/* subscriber.c */
void subscriber_sub(struct client *client);
void subscriber_unsub(struct client *client);
void subscriber_credit(struct client *client);
void subscriber_stat(struct client *client);
void subscriber_ack(struct client *client);

/* odd.c */
void odd_ping(struct client *client);
void odd_write(struct client *client);                                       /* something unusual */
void odd_fatal(struct client *client);                                       /* something that must not be sent */
void odd_first(struct client *client);                                       /* instead of a HELLO */
void odd_early_bye(struct client *client, const uint8_t *bytes, size_t len); /* a BYE before HELLO */

#endif
