/* What waits to be sent, as the bytes that the connection will carry, and what was sent but is not yet acknowledged.
 *
 *   0 ... begin ............. sent .... whole ............ gate ........... end ... cap
 *         | kept until          | written | rest of the     | may be written | has to wait: the broker's
 *         | acknowledged        | so far  | frame at `sent` |                | publish window is full
 *
 * Frames: PUB, MSG, SUB, UNSUB, STAT, in the order of the calls. Acknowledged messages stay until a PUBACK settles
 * them, and after them everything behind; all else is forgotten once it was written. Not thread-safe. */
#ifndef PUBSUB_OUTBOX_H
#define PUBSUB_OUTBOX_H

#include <pubsub/core.h>

#include "plain.h"
#include "request.h"

/* A place in the buffer between two frames, and what holds there. */
struct mps_place {
    size_t at;
    uint64_t pid;    /* of the first acknowledged message from here on */
    uint32_t flags;  /* of the last PUB before */
};

struct mps_outbox {
    uint8_t *buf;
    size_t cap, limit;            /* bytes; limit is what publishing may fill */
    struct mps_place begin, gate;
    size_t sent, whole, end;
    struct pubsub_terms terms;    /* at the end */
    uint64_t settled_pid;
    uint64_t window;              /* most acknowledged messages that may be unanswered */
    bool offline;                 /* nothing of it is on a connection */
    struct mps_plain last;        /* what the last bare message looked like; .topic_len 0: there was none */
    uint8_t last_head[MPS_TOPIC_MAX + 8]; /* its frame's bytes ahead of the payload's own head */
};

void mps_outbox_init(struct mps_outbox *box, size_t limit);
void mps_outbox_free(struct mps_outbox *box);

/* Makes room for `need` bytes at the end. PUBSUB_EAGAIN if that would exceed the limit (a message of any size fits into
 * an empty outbox; `forced`: no limit), PUBSUB_ENOMEM. */
int mps_outbox_reserve(struct mps_outbox *box, size_t need, bool forced);

/* Gives up the oldest messages that are not written, so that `need` bytes can be reserved, and adds what was lost to
 * *dropped. Of those with a pid is_kept(pid) says which have to stay. On a connection, where each pid has to be used up,
 * others take their place (mps_void_write()), and more than necessary is given up at once. PUBSUB_EAGAIN, and nothing has
 * changed: there is not enough of them. */
int mps_outbox_drop(struct mps_outbox *box, size_t need, bool (*is_kept)(uint64_t pid, const void *user),
                    const void *user, struct pubsub_dropped *dropped);

/* Whether what pid stands for was dropped. pid is not settled. */
bool mps_outbox_was_dropped(const struct mps_outbox *box, uint64_t pid);

/* The end of an outbox, to take back what was appended since and not written. */
struct mps_outbox_end { size_t end; struct mps_place gate; struct pubsub_terms terms; };
struct mps_outbox_end mps_outbox_mark(const struct mps_outbox *box);
void mps_outbox_take_back(struct mps_outbox *box, const struct mps_outbox_end *mark);

/* For an outbox that goes on with an earlier one's: up to settled_pid all was settled; and appends the next message, a
 * MSG frame. Returns 0 or PUBSUB_ENOMEM. */
void mps_outbox_resume(struct mps_outbox *box, uint64_t settled_pid);
int mps_outbox_append(struct mps_outbox *box, uint32_t flags, mps_view frame);

/* Calls each() for the acknowledged messages that are not settled, in their order, until one says something else than 0.
 * Returns that. */
int mps_outbox_each(const struct mps_outbox *box, int (*each)(uint64_t pid, uint32_t flags, mps_view frame, void *user),
                    void *user);

/* Appends a message to an outbox with mps_request_bound() bytes of room. Returns its pid, 0 without ack. */
uint64_t mps_outbox_publish(struct mps_outbox *box, const struct mps_publish *publish);

/* Judges a bare message (mps_request_is_bare()), reserves room and appends it, all at once; *pid as above. What was
 * judged and written for the last one is used again if the topic is the same. False, and nothing has changed: it is not
 * valid, or room must be made for it. */
bool mps_outbox_publish_bare(struct mps_outbox *box, const char *topic, const void *payload, size_t len,
                             uint64_t payload_max, uint64_t *pid);

/* The free room as a buffer, and taking over one frame (not MSG or PUB) that was written to it. */
struct mps_out mps_outbox_open(struct mps_outbox *box);
void mps_outbox_add(struct mps_outbox *box, const struct mps_out *frame);

/* How many bytes may be written now, from box->buf + box->sent. Up to box->whole they must not be interrupted. */
size_t mps_outbox_writable(const struct mps_outbox *box);
void mps_outbox_written(struct mps_outbox *box, size_t len);

/* Up to pid all is settled. False if some of it was never written: the broker cannot know of it. */
bool mps_outbox_settle(struct mps_outbox *box, uint64_t pid);

/* The connection is gone: keeps acknowledged messages that are not settled, and others that were not written whole. An
 * acknowledged one of which is_void(pid) is true must not be sent again. Its pid has to be: a message that the broker
 * refuses takes its place, mps_void_write().
 * Nothing may be written until mps_outbox_connected(), which puts `len` bytes of whole frames before the rest. Returns
 * 0 or PUBSUB_ENOMEM (nothing has changed). */
void mps_outbox_lost(struct mps_outbox *box, bool (*is_void)(uint64_t pid, const void *user), const void *user);
int mps_outbox_connected(struct mps_outbox *box, uint64_t window, const uint8_t *frames, size_t len);

/* Between mps_outbox_lost() and mps_outbox_connected(): the broker of the session says that up to pid all is settled.
 * False if some of it was never written. */
bool mps_outbox_forget(struct mps_outbox *box, uint64_t pid);

bool mps_outbox_all_written(const struct mps_outbox *box);
uint64_t mps_outbox_unacked(const struct mps_outbox *box);
size_t mps_outbox_bytes(const struct mps_outbox *box);

#endif
