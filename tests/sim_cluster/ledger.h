/* What was published and who should get it, and the judgement of what came.
 *
 * A message is for a subscription when its topic matches, and it was read by its broker after SUBACK had come: any SUBACK
 * at its own broker, and elsewhere one that was granted for the cluster. Then it comes exactly once, in the order of its
 * publisher, or a GAP (14, 9) stands on that subscription behind the one before it of this publisher, and before the
 * one behind. A broker that was frozen, and given up by the others meanwhile, goes by what it knew of them until it hears
 * from them again: what it does not send then is said a moment later.
 *
 * What belongs to the stream that all share comes to readers by its position: everything, once, in order. Acknowledged at
 * level 3 it is in the stream, and whatever happens it is there only once. */
#ifndef SIM_CLUSTER_LEDGER_H
#define SIM_CLUSTER_LEDGER_H

#include "town.h"
#include "wire.h"

#define PARTIES_MAX 512
#define SUBS_MAX 1024
#define GROUPS_MAX 16
#define TOPICS_COUNT 27 /* [stu]/[abc]/[012] */
#define NAME_MAX 48 /* bytes of a topic or a pattern here, its NUL counted */

struct message {
    uint32_t publisher;   /* its connection */
    uint32_t before;      /* the one before it of this publisher, its index + 1; 0: none */
    uint32_t node;        /* where it was published, */
    uint64_t life;        /* and in which life of that */
    uint64_t accepted;    /* the event when its broker read it; 0: not yet */
    uint32_t met;         /* bits of the nodes that had heard of this one by then: no other can miss anything */
    bool sure;            /* its broker has worked on it: it says so */
    bool refused;         /* for the stream: nobody knows whether it is in it */
    bool stored;          /* it belongs to the stream */
    bool resent;          /* by another connection, to whatever broker: it may come twice to who is no reader */
    uint64_t position;    /* in the stream; 0: it was not seen there */
    bool retain;
    char topic[NAME_MAX];
};

/* What came on a subscription. */
struct item {
    uint64_t event;
    uint32_t message;     /* its index + 1; 0: a GAP */
};

struct sub {
    uint32_t party, node, sid;
    char pattern[NAME_MAX];
    struct group_log *group; /* NULL: it is no member of one */
    bool wants_cluster, alive;
    uint32_t owed;        /* a message of a broker that was frozen, its index + 1: a GAP is to follow. 0: none */
    bool reader;          /* from the beginning of the stream */
    uint32_t gaps;
    bool is_wide;         /* what is established was granted */
    uint32_t values[TOPICS_COUNT]; /* of each topic the last message that came and is to be retained, live or not: its index + 1 */
    uint64_t place;       /* position in the stream up to which it has everything */
    uint64_t local, established; /* events from which on it gets what is published at its own broker, and elsewhere */
    struct item *items;
    uint32_t items_count, items_room;
    uint32_t last[PARTIES_MAX]; /* of each publisher: index of the item + 1 */
};

struct group_log {
    char name[NAME_MAX], pattern[NAME_MAX];
    uint8_t *seen;        /* of each message: members that got it */
    uint32_t room;
};

struct ledger {
    struct town *town;
    bool is_at_rest;      /* nothing more will come */
    bool calm;            /* nothing is lost in this world: no GAP may be */
    struct message *messages;
    uint32_t messages_count, messages_room;
    struct sub *subs[SUBS_MAX];
    uint32_t subs_count;
    struct group_log groups[GROUPS_MAX];
    uint32_t groups_count;
    uint64_t connected[PARTIES_MAX]; /* the event when a publisher came */
    uint64_t looked;      /* positions of the stream below this were looked at */
    uint64_t copies, far_copies, stored_copies, gaps, acked, views; /* how much was exercised */
};

void ledger_open(struct ledger *ledger, struct town *town, bool calm);
void ledger_close(struct ledger *ledger);
/* Returns its index. topic: NUL-terminated. */
uint32_t ledger_publish(struct ledger *ledger, uint32_t publisher, uint32_t node, const char *topic, bool retain);
struct sub *ledger_subscribe(struct ledger *ledger, uint32_t party, uint32_t node, uint32_t sid, const char *pattern,
                             const char *group, bool reader); /* group NULL: none. NULL: too many */
void ledger_accepted(struct ledger *ledger, uint32_t index); /* its broker has read it */
void ledger_granted(struct ledger *ledger, struct sub *sub, bool for_cluster);
void ledger_got(struct ledger *ledger, struct sub *sub, uint32_t index, mps_view topic); /* a live message */
void ledger_got_stored(struct ledger *ledger, struct sub *sub, uint32_t index, uint64_t position);
void ledger_acked(struct ledger *ledger, uint32_t index, uint64_t position); /* at level 3; position 0: it isn't told */
uint32_t ledger_index(mps_view payload); /* of the message that has it */
void ledger_gap(struct ledger *ledger, struct sub *sub, const struct mps_gap *gap);
/* From now on everybody is to have everything: nothing is broken, and all have had the time to hear of each other. */
void ledger_all_hear(struct ledger *ledger);
/* Nothing is on its way any more: what did not come is lost. */
void ledger_judge_rest(struct ledger *ledger);
uint32_t ledger_topic(mps_view topic); /* its number, below TOPICS_COUNT */
bool ledger_goes_far(const struct ledger *ledger, const char *topic); /* to other brokers */

#endif
