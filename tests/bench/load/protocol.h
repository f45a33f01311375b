/* The wire protocols, each in one file behind the same functions. They know bytes only: no sockets, no state.
 *
 * A publish is built as head, payload, tail, so that a head is made once for a topic; the same holds for what arrives,
 * where all protocols share the one short cut for a head that equals the one before (receive.c). */
#pragma once
#include "base.h"

enum {
    TOPIC_MAX = 64,    /* bytes of a topic or pattern of ours, with the NUL at its end */
    HEAD_MAX = 256,    /* bytes of any frame but its payload, both ways */
    CONTROL_MAX = 512, /* bytes of what hello, subscribe, barrier and answer write */
};

enum item_kind {
    ITEM_MORE,      /* not a whole frame yet */
    ITEM_MESSAGE,   /* a delivery */
    ITEM_READY,     /* the answer to hello or barrier */
    ITEM_CONFIRMED, /* the answer to a subscribe */
    ITEM_ACKED,     /* `number` further publishes are acknowledged */
    ITEM_ACKED_ALL, /* all publishes up to the `number`-th are */
    ITEM_LOSS,      /* the broker says that it lost `number` messages */
    ITEM_PING,      /* is to be answered */
    ITEM_OTHER,     /* means nothing here */
    ITEM_BAD,       /* breaks the protocol, or the broker refuses something: why */
};

struct item {
    enum item_kind kind;
    size_t len;                     /* of the whole frame; the other offsets are within it */
    size_t topic_at, topic_len;     /* MESSAGE */
    size_t payload_at, payload_len; /* MESSAGE */
    uint64_t number;
    const char *why; /* BAD: the reason, and `len` bytes are what was read */
};

struct terms {
    bool publishes;   /* else it subscribes */
    bool acked;       /* a publisher's messages are to be acknowledged */
    uint32_t number;  /* which connection it is, of all of this run */
    uint32_t channel; /* raw: whose bytes it gets */
};

struct protocol {
    const char *name;
    char separator;        /* between a topic's levels */
    const char *one, *any; /* the wildcards for one level and for all further ones */
    const char *tail;      /* what stands behind a payload, both ways */
    bool can_ack, can_subscribe, tells_loss;
    size_t id_len; /* of the publish id in front of an acknowledged payload, big-endian, 1..65535; 0: has none */

    /* Each writes to out, CONTROL_MAX (publish_head: HEAD_MAX) bytes at most, and returns how many. */
    size_t (*hello)(uint8_t *out, const struct terms *terms);
    size_t (*subscribe)(uint8_t *out, uint32_t number, const char *pattern, bool wildcard); /* number from 1 */
    size_t (*barrier)(uint8_t *out); /* NULL: each subscribe is confirmed by itself */
    size_t (*publish_head)(uint8_t *out, const char *topic, size_t topic_len, size_t payload_len, bool acked);
    size_t (*answer)(uint8_t *out, const uint8_t *frame, const struct item *ping); /* NULL: nobody asks */

    /* Reads the frame that begins at data, len > 0 bytes of which are there. */
    void (*parse)(const uint8_t *data, size_t len, struct item *item);
};

extern const struct protocol protocol_mps, protocol_nats, protocol_redis, protocol_mqtt, protocol_raw;

/* NULL if there is none of that name. */
const struct protocol *protocol_named(const char *name);

static inline void item_bad(struct item *item, const char *why)
{
    *item = (struct item){.kind = ITEM_BAD, .len = item->len, .why = why};
}
