/* What the parts of the core share. Its own reader and writer of msgpack instead of proto's: those are made for speed
 * and for the frames of both directions, and are three times as large as a device's whole client may be. */
#ifndef PUBSUB_CORE_STATE_H
#define PUBSUB_CORE_STATE_H

#include <pubsub/core.h>
#include <string.h>

#include "numbers.h"

/* How the functions that the parts call of each other are linked: static where they are one file (device.c). */
#ifndef CORE_LOCAL
#define CORE_LOCAL
#endif

enum core_state {
    CORE_NEW,     /* HELLO is not written yet */
    CORE_HELLO,   /* waiting for WELCOME */
    CORE_READY,
    CORE_LEAVING, /* our BYE is written: what still comes is read, nothing is sent */
    CORE_ENDED,   /* BYE came, or the broker broke the protocol */
};

/* Of struct pubsub_core. */
enum {
    CORE_HAVE_FOR = 1, /* so WELCOME has come, and the connection has not ended */
    CORE_HAVE_POSITION = 2,
    CORE_SKIPPING = 4, /* the frame is larger than we take: it is passed over as it comes */
    CORE_PIECES = 8,   /* its payload is told in pieces, its head stays at rx_begin */
    CORE_QUIET = 16,   /* what is passed over is the rest of a message that was told */
    CORE_SECRET = 32,  /* tx holds a proof */
};

/* A borrowed piece of memory; ptr is NULL when a field was left out. */
struct view {
    const uint8_t *ptr;
    uint32_t len;
};

/* ---- reading (core_read.c) ---------------------------------------------------------------------------------- */

enum item_type { ITEM_NIL, ITEM_BOOL, ITEM_UINT, ITEM_INT, ITEM_STR, ITEM_BIN, ITEM_EXT, ITEM_FLOAT, ITEM_ARRAY, ITEM_MAP };

/* One msgpack value's head. */
struct item {
    uint64_t number; /* bool, integers (two's complement), the bits of a float, an ext's type; else len */
    uint32_t len;    /* str, bin, ext: bytes of the body; array: elements; map: pairs; else 0 */
    uint8_t type;    /* enum item_type; INT: a negative one */
    uint8_t head;    /* bytes of the head */
};

/* 1: read; 0: bytes are missing; -1: the byte c1. left is at least 1. */
CORE_LOCAL int mps_core_item(const uint8_t *p, size_t left, struct item *item);

/* Whether len are bytes that follow. */
static inline bool mps_core_has_body(const struct item *item)
{
    return item->type >= ITEM_STR && item->type <= ITEM_EXT;
}

/* A cursor. p becomes NULL when something was not as asked, and stays so. */
struct reader {
    const uint8_t *p, *end;
};

/* The next value's head, and past it; or past its body, too, if it has one. Returns the type, or -1. */
CORE_LOCAL int mps_core_take(struct reader *in, struct item *item);
CORE_LOCAL struct view mps_core_take_any(struct reader *in); /* one whole value */

CORE_LOCAL bool mps_core_utf8(struct view text); /* well-formed, without NUL */
CORE_LOCAL bool mps_core_is_name(struct view name, bool wild); /* a topic, or a pattern */
CORE_LOCAL bool mps_core_is_topic(const char *name, bool wild); /* the same of a NUL-terminated one */
CORE_LOCAL bool mps_core_is_id(struct view id);
CORE_LOCAL bool mps_core_is_map(struct view map); /* one map whose keys differ */
#if PUBSUB_CORE_SUBSCRIBE || PUBSUB_CORE_PROPERTIES || PUBSUB_CORE_WILL
/* Whether it is a message's properties: such a map, of scalars or, if they may be, arrays of these. */
CORE_LOCAL bool mps_core_are_properties(struct view map, bool arrays);
#endif

/* A field of a frame: the letter of its type, and where in a struct its value belongs. Of a type with a capital letter it
 * may be left out, then what stood there stays.
 *   uint32_t: s a sid, u 32 bits, h 16 bits, o an operation, k 2 bits     uint8_t: f the low bits of 32
 *   uint64_t: n a number, l 64 bits, z only 0                             bool: q
 *   const char *: t a text, as mps_core_text_in_place() makes it, v only judged
 *   struct pubsub_bytes: b a token, m a map without a key twice, a anything */
struct field {
    uint8_t letter; /* 0x80 and more: no field, the next frame begins */
    uint8_t at;
};
#define FIELD(letter, type, member) {letter, (uint8_t)offsetof(type, member)}
CORE_LOCAL bool mps_core_take_field(struct reader *in, char letter, void *to); /* not m or a */
/* Sets *given to a bit for each field that was there. False: one is missing, or not of its type. */
CORE_LOCAL bool mps_core_take_fields(struct view frame, const struct field *fields, void *to, unsigned *given);

/* A text in the input buffer, where it stands: one byte lower, where its head was, so that there is room for a NUL behind
 * it. Control characters become '?'; what is longer than it may be is cut at the end of a character. */
CORE_LOCAL const char *mps_core_text_in_place(struct view text);

/* ---- the connection (core.c) ---------------------------------------------------------------------------------- */

/* What a frame handler says. */
enum outcome {
    HANDLED, /* no event comes of it */
    EVENT,
    LATER, /* there is no room to answer it: offer it again */
};

static inline bool mps_core_is_greeted(const struct pubsub_core *core)
{
    return core->state == CORE_READY || core->state == CORE_LEAVING;
}

static inline void mps_core_end(struct pubsub_core *core)
{
    core->state = CORE_ENDED;
    core->flags &= CORE_SECRET;
}

/* Handles frames until there is an event, or no whole frame. */
CORE_LOCAL enum pubsub_event_type mps_core_next_frame(struct pubsub_core *core, struct pubsub_event *event);

/* Ends the connection because the broker broke the protocol with this operation's frame (MPS_OP_MAX: none). The BYE is
 * written if there is room for it: it is a courtesy, nothing depends on it. */
#if PUBSUB_CORE_TEXTS
CORE_LOCAL enum outcome mps_core_fail(struct pubsub_core *core, struct pubsub_event *event, enum mps_code code, unsigned op,
                           const char *why);
#define CORE_FAIL(core, event, code, op, why) mps_core_fail(core, event, code, op, why)
#else
CORE_LOCAL enum outcome mps_core_fail(struct pubsub_core *core, struct pubsub_event *event, enum mps_code code);
#define CORE_FAIL(core, event, code, op, why) mps_core_fail(core, event, code)
#endif

/* The n-th of texts that stand behind each other, each with its NUL; behind the last one: an empty one. */
CORE_LOCAL const char *mps_core_nth(const char *texts, unsigned n);

/* Handles a whole frame, or the head of a message (core_frames.c). */
CORE_LOCAL enum outcome mps_core_handle(struct pubsub_core *core, unsigned op, struct view frame, struct pubsub_event *event);

#if PUBSUB_CORE_SUBSCRIBE
/* The handler of MSG; payload is where the scan found it (core_message.c). */
CORE_LOCAL enum outcome mps_core_on_msg(struct pubsub_core *core, struct view head, struct view payload,
                             struct pubsub_event *event);
#endif

/* ---- writing (core_write.c) ----------------------------------------------------------------------------------- */

/* A buffer being written. What does not fit sets full, and nothing more is written. */
struct writer {
    uint8_t *at, *end;
    bool full;
};

CORE_LOCAL void mps_core_put_uint(struct writer *out, uint64_t number);
/* A head that says a length. Its kind: the first byte of the shortest one, and of one whose length takes a byte. */
#define HEAD_MAP 0x80ddu
#define HEAD_ARRAY 0x90dbu
#define HEAD_STR 0xa0d9u
#define HEAD_BIN 0x00c4u
CORE_LOCAL void mps_core_put_head(struct writer *out, unsigned kind, uint32_t len);
CORE_LOCAL void mps_core_put_bytes(struct writer *out, const void *bytes, size_t len);
CORE_LOCAL void mps_core_put_text(struct writer *out, const char *text);
CORE_LOCAL void mps_core_put_bin(struct writer *out, const void *bytes, size_t len);

/* Options in a map, as a table of X(name, member, kind) of a struct OPTION_TYPE: what is 0, false or NULL is left out. */
struct option {
    uint8_t kind, size; /* enum option_kind; bytes of the member */
    uint16_t at;        /* its offset in the struct */
};
enum option_kind {
    OPTION_NUMBER,
    OPTION_LIMIT,  /* 2^53 - 1 at most: the broker caps it at what the operator allows */
    OPTION_TRUE,
    OPTION_TEXT,
    OPTION_RAW,    /* a value in a struct pubsub_bytes, by its .len */
    OPTION_BIN,    /* a pointer to bytes, with their length behind it: as a bin */
    OPTION_ZERO,   /* a bool says so */
    OPTION_TTL,    /* of struct pubsub_publish_options */
    OPTION_POLICY, /* this and what follows: of struct pubsub_subscribe_options */
    OPTION_ACKS,
    OPTION_FROM,
    OPTION_CREDIT,
    OPTION_SCOPE,
};
#define OPTION_NAME(name, member, kind) name "\0"
#define OPTION_ROW(name, member, kind) \
    {OPTION_##kind, (uint8_t)sizeof(((OPTION_TYPE *)0)->member), (uint16_t)offsetof(OPTION_TYPE, member)},
/* The map's head says that `more` pairs follow. A name of one byte up to 8 is that number as a key. */
CORE_LOCAL void mps_core_put_options(struct writer *out, const struct option *rows, const char *names, size_t count, const void *from,
                          size_t more);

/* Begins a frame in the free part of the output: its array and operation. */
CORE_LOCAL struct writer mps_core_begin(struct pubsub_core *core, unsigned fields, unsigned op);
/* Takes it over. PUBSUB_OK, EAGAIN, ETOOBIG. */
CORE_LOCAL int mps_core_commit(struct pubsub_core *core, const struct writer *out);

/* A whole frame of numbers: at least `least` of them, without zeros behind these. CORE_TRUE stands for true. */
#define CORE_TRUE UINT64_MAX
CORE_LOCAL int mps_core_send(struct pubsub_core *core, unsigned op, const uint64_t *numbers, unsigned least, unsigned count);
CORE_LOCAL int mps_core_send_token(struct pubsub_core *core, unsigned op, const void *token, size_t len);

/* PUBSUB_OK, or ECLOSED when nothing may be sent. */
CORE_LOCAL int mps_core_may_send(const struct pubsub_core *core);
CORE_LOCAL void mps_core_wipe_output(struct pubsub_core *core);

/* The bytes of a NUL-terminated text, of which no more than max + 1 are of interest. */
CORE_LOCAL struct view mps_core_text(const char *text, uint32_t max);

#endif
