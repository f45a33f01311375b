/* The wire protocols, each in one file behind the same functions. They know bytes only: no sockets, no state.
 *
 * A publish is built as head, payload, tail, so that a head is made once for a topic; the same holds for what arrives,
 * where all protocols share the one short cut for a head that equals the one before (receive.c). */
#pragma once
#include "base.h"

enum {
    TOPIC_MAX = 64,    /* bytes of a topic or pattern of ours, with the NUL at its end */
    HEAD_MAX = 256,    /* bytes of any frame but its payload, both ways */
    CONTROL_MAX = 640, /* bytes of what hello, subscribe, barrier, answer, keep and read write */
};

/* What is kept: a durable stream of this name (Redis: a key) that holds all topics whose first level it is. */
#define KEPT "kept"

/* When a publisher's message is to be acknowledged: never, when it is with the subscribers, when it is stored. */
enum level { LEVEL_NONE, LEVEL_ROUTED, LEVEL_STORED };

enum item_kind {
    ITEM_MORE,      /* not a whole frame yet */
    ITEM_MESSAGE,   /* a delivery */
    ITEM_READY,     /* the answer to hello or barrier */
    ITEM_CONFIRMED, /* the answer to a subscribe, a keep or a read */
    ITEM_ACKED,     /* `number` further publishes are acknowledged */
    ITEM_ACKED_ALL, /* all publishes up to the `number`-th are */
    ITEM_LOSS,      /* the broker says that it lost `number` messages */
    ITEM_BLOCK,     /* `number` messages of a stream follow, then more are to be asked for; 0: there are no more */
    ITEM_PING,      /* is to be answered */
    ITEM_OTHER,     /* means nothing here */
    ITEM_BAD,       /* breaks the protocol, or the broker refuses something: why */
};

struct item {
    enum item_kind kind;
    size_t len;                     /* of the whole frame; the other offsets are within it */
    size_t topic_at, topic_len;     /* MESSAGE */
    size_t payload_at, payload_len; /* MESSAGE */
    size_t id_at, id_len;           /* MESSAGE of a block: its place in the stream; else 0 */
    uint64_t number;
    const char *why; /* BAD: the reason, and `len` bytes are what was read */
};

struct terms {
    bool publishes;       /* else it subscribes */
    enum level level;     /* of what it publishes; stored: or it reads what is kept */
    uint32_t number;      /* which connection it is, of all of this run */
    uint32_t channel;     /* raw: whose bytes it gets */
    uint32_t frame_bytes; /* raw, stored: of each message */
};

struct protocol {
    const char *name;
    char separator;        /* between a topic's levels */
    const char *one, *any; /* the wildcards for one level and for all further ones */
    const char *tail;      /* what stands behind a payload, both ways */
    bool can_ack, can_subscribe, can_store, tells_loss;
    const char *alpn;     /* what TLS is to agree on; NULL: nothing */
    bool line_before_tls; /* the broker begins with a line in plain text, then TLS begins */
    size_t id_len; /* of the publish id in front of an acknowledged payload, big-endian, 1..65535; 0: has none */

    /* Each writes to out, CONTROL_MAX (publish_head: HEAD_MAX) bytes at most, and returns how many. */
    size_t (*hello)(uint8_t *out, const struct terms *terms);
    size_t (*subscribe)(uint8_t *out, uint32_t number, const char *pattern, bool wildcard); /* number from 1 */
    size_t (*barrier)(uint8_t *out); /* NULL: each subscribe is confirmed by itself */
    size_t (*publish_head)(uint8_t *out, const char *topic, size_t topic_len, size_t payload_len,
                           enum level level);
    size_t (*answer)(uint8_t *out, const uint8_t *frame, const struct item *ping); /* NULL: nobody asks */

    /* keep: makes the stream KEPT; NULL: there is one, or none is needed. read: asks for its messages, the whole stream or,
     * if the broker gives them in blocks, at most `most` behind the message with this id (id_len 0: from the beginning);
     * number is the connection's. NULL: it can't be read. */
    size_t (*keep)(uint8_t *out);
    size_t (*read)(uint8_t *out, uint32_t number, uint32_t most, const uint8_t *id, size_t id_len);

    /* Reads the frame that begins at data, len > 0 bytes of which are there. */
    void (*parse)(const uint8_t *data, size_t len, struct item *item);
};

extern const struct protocol protocol_mps, protocol_mps_cluster, protocol_nats, protocol_redis, protocol_mqtt, protocol_raw;

/* NULL if there is none of that name. */
const struct protocol *protocol_named(const char *name);

static inline void item_bad(struct item *item, const char *why)
{
    *item = (struct item){.kind = ITEM_BAD, .len = item->len, .why = why};
}
