/* A client: one connection that publishes and subscribes, and writes down in the ledger what it does and gets. It reads
 * at once what comes. */
#ifndef SIM_CLUSTER_PARTY_H
#define SIM_CLUSTER_PARTY_H

#include "ledger.h"

#define PARTY_SUBS_MAX 8
#define PARTY_NAME_MAX 16
#define LEVEL_ROUTED 1u
#define LEVEL_REPLICATED 3u

/* Bytes that mean something when the broker has read them. */
struct landmark {
    uint64_t at;             /* bytes that were written up to its end */
    uint32_t message;        /* its index */
};

/* A retained value that a subscription was shown. */
struct shown {
    char topic[NAME_MAX];
    uint32_t message;
};

struct party {
    struct town *town;
    struct ledger *ledger;
    struct link *link;       /* NULL: it is gone */
    uint32_t number, node;
    bool welcomed, leaving;
    uint32_t level;          /* of its messages; at 3 they are all for the stream */
    uint32_t identity;       /* party whose name, session and pids these are: itself, or one of before, at level 3 */
    uint64_t last_pid;
    uint32_t sids;           /* subscriptions so far */
    struct sub *subs[PARTY_SUBS_MAX];
    uint64_t written, read;  /* bytes, by it and by its broker */
    struct landmark *landmarks;
    uint32_t landmarks_at, landmarks_count, landmarks_room;
    struct pid_of {
        uint64_t pid;
        uint32_t message;
    } *pids;                 /* that are not settled */
    uint32_t pids_at, pids_count, pids_room;
    uint8_t *partial;        /* what came of a frame */
    size_t partial_len, partial_room;
    uint32_t for_sid, for_flags;
    uint64_t for_position;   /* of the next message; 0: none */
    struct shown *shown;     /* retained values, the last one of each topic; by whoever looks for them */
    uint32_t shown_count, shown_room;
    uint64_t pongs;
};

/* NULL: it can't. The ledger's callbacks of the town are set by the first one. */
struct party *party_come(struct ledger *ledger, struct node *node, uint32_t number, uint32_t level);
/* Somebody whose connection is over is back, and sends again what is not settled. */
struct party *party_return(const struct party *gone, struct node *node, uint32_t number);
bool party_is_unsettled(const struct party *party); /* some of its messages are */
/* reader: of the stream, from its beginning. False: it has enough. */
bool party_subscribe(struct party *party, const char *pattern, const char *group, bool for_cluster, bool reader);
void party_unsubscribe(struct party *party, uint32_t which); /* index of .subs; nothing there: nothing happens */
/* At level 3 only for the stream. pad: further bytes of payload. */
void party_publish(struct party *party, const char *topic, uint32_t pad, bool retain);
void party_ping(struct party *party); /* what came before is known to be taken when it is answered */
void party_bye(struct party *party);
void party_cut(struct party *party);
void party_free(struct party *party); /* it is gone */

#endif
