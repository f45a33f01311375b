/* A file that holds what an outbox holds of acknowledged messages, so that they survive the program. It is a log:
 *
 *   header   "psoutbox", version, client id, boot, the pid up to which all was settled when it was written; checksum
 *   records  each 24 bytes with a checksum of their own, and a body with another:
 *            MESSAGE pid, flags of PUB; body: its MSG frame. Pids follow one another without a hole
 *            VOID    pid..last: these are not to be published after all
 *            SETTLED pid: up to here nothing is needed any more
 *
 * Numbers are little-endian. A record is appended before pubsub_publish() returns. When the file is full it is written anew
 * beside, without what is settled, and renamed.
 * What a crash leaves is a last record that is cut short, or of which a sector is zeros, or only zeros: it is cut off.
 * All else that does not add up is damage, and the file is refused. One process has it at a time (flock). Not thread-safe. Errors are errno values, positive. */
#ifndef PUBSUB_OUTBOX_FILE_H
#define PUBSUB_OUTBOX_FILE_H

#include "outbox.h"

#define MPS_FILE_LIMIT_MIN 4096

/* All zero but for fd is a file that there is not. */
struct mps_outbox_file {
    int fd;                      /* -1: none */
    char *path;
    const char *id;              /* borrowed */
    bool (*is_void)(uint64_t pid, const void *user); /* what the program would not know to be its own: requests */
    const void *user;
    enum pubsub_sync sync;
    uint64_t boot;
    size_t limit;                /* bytes that it may have; half of it for what is not settled */
    size_t size;
    bool broken;                 /* what stands on the disk is not known: it has to be written anew before more is added */
    bool unsynced;               /* there is something in it, that is not void, that may not be on the disk yet */
};

/* Opens or creates it, and appends what it holds to an empty outbox. Before, .path (of malloc(): it is freed with the
 * rest), .id, .is_void, .user, .sync, .limit are set, and .boot for a new one; after, .boot is what holds. Returns 0; or
 * PUBSUB_EFILE or PUBSUB_ENOMEM with a clause in text. */
int mps_outbox_file_open(struct mps_outbox_file *file, struct mps_outbox *box, char *text, size_t text_cap);
void mps_outbox_file_close(struct mps_outbox_file *file);

static inline bool mps_outbox_file_is_open(const struct mps_outbox_file *file)
{
    return file->fd >= 0;
}

/* Whether there is room for a message of `need` bytes. `ever`: in an empty one. */
bool mps_outbox_file_has_room(const struct mps_outbox_file *file, const struct mps_outbox *box, size_t need, bool ever);

/* Writes down the last message of the outbox, which has the pid; what came into the outbox behind `mark` is it. When this
 * returns an error, nothing of it is kept as soon as the file could be written anew. */
int mps_outbox_file_add(struct mps_outbox_file *file, const struct mps_outbox *box, const struct mps_outbox_end *mark,
                        uint64_t pid, bool is_void);

/* Writes down that these are void, or that up to this one all is settled. What can't be written is put right later. */
void mps_outbox_file_void(struct mps_outbox_file *file, const struct mps_outbox *box, uint64_t first_pid,
                          uint64_t last_pid);
void mps_outbox_file_settle(struct mps_outbox_file *file, const struct mps_outbox *box);

/* Returns when all that was written down is on the disk. Nothing of it may be sent before. */
int mps_outbox_file_sync(struct mps_outbox_file *file, const struct mps_outbox *box);

/* Makes a new file of what the outbox holds. Returns 0 or errno; EWOULDBLOCK: another client makes one, or has. */
int mps_outbox_file_begin(struct mps_outbox_file *file, const struct mps_outbox *box);

/* Whether the path leads to what is open: whoever had the file may have renamed another one there. */
bool mps_outbox_file_is_at(int fd, const char *path);

#endif
