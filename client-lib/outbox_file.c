#include "outbox_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "outbox_frame.h"
#include "outbox_log.h"

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/* All of it at `at`. Returns 0 or errno. */
static int write_all(int fd, size_t at, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    while (len > 0) {
        ssize_t n = pwrite(fd, p, len, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno;
        if (n == 0) return ENOSPC;
        p += n;
        at += (size_t)n;
        len -= (size_t)n;
    }
    return 0;
}

static int sync_fd(int fd)
{
    int rc;
    do rc = fdatasync(fd);
    while (rc != 0 && errno == EINTR);
    return rc == 0 ? 0 : errno;
}

/* The directory has to be on the disk as well, with the name in it. */
static int sync_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash == NULL ? strdup(".") : strndup(path, slash == path ? 1 : (size_t)(slash - path));
    if (dir == NULL) return ENOMEM;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = fd < 0 ? errno : fsync(fd) != 0 ? errno : 0;
    if (fd >= 0) close(fd);
    free(dir);
    return error;
}

/* A file that is being written from its beginning, in large pieces. */
struct fresh {
    const struct mps_outbox_file *file;
    uint64_t void_pid; /* besides those that the file's is_void() says */
    int fd, error;
    size_t size, gathered;
    uint8_t buf[16 * 1024];
};

static void flush(struct fresh *fresh)
{
    if (fresh->error == 0) fresh->error = write_all(fresh->fd, fresh->size, fresh->buf, fresh->gathered);
    fresh->size += fresh->gathered;
    fresh->gathered = 0;
}

static void put(struct fresh *fresh, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    while (len > 0) {
        size_t room = sizeof fresh->buf - fresh->gathered, n = len < room ? len : room;
        memcpy(fresh->buf + fresh->gathered, p, n);
        fresh->gathered += n;
        p += n;
        len -= n;
        if (fresh->gathered == sizeof fresh->buf) flush(fresh);
    }
}

static int put_message(uint64_t pid, uint32_t flags, mps_view frame, void *user)
{
    struct fresh *fresh = user;
    uint8_t head[MPS_LOG_RECORD], nothing[MPS_VOID_LEN];
    if (pid == fresh->void_pid || fresh->file->is_void(pid, fresh->file->user)) {
        mps_void_write(nothing);
        frame = (mps_view){nothing, sizeof nothing};
    }
    mps_log_write_record(head, &(struct mps_log_record){MPS_LOG_MESSAGE, flags, pid, frame});
    put(fresh, head, sizeof head);
    put(fresh, frame.ptr, frame.len);
    return fresh->error;
}

static int fill(struct fresh *fresh, const struct mps_outbox *box)
{
    const struct mps_outbox_file *file = fresh->file;
    uint8_t bytes[MPS_LOG_HEADER];
    struct mps_log_header header = {.boot = file->boot, .settled_pid = box->settled_pid};
    snprintf(header.id, sizeof header.id, "%s", file->id);
    mps_log_write_header(bytes, &header);
    put(fresh, bytes, sizeof bytes);
    (void)mps_outbox_each(box, put_message, fresh);
    flush(fresh);
    return fresh->error != 0 ? fresh->error : sync_fd(fresh->fd);
}

bool mps_outbox_file_is_at(int fd, const char *path)
{
    struct stat open_st, path_st;
    return fstat(fd, &open_st) == 0 && stat(path, &path_st) == 0 && open_st.st_dev == path_st.st_dev &&
           open_st.st_ino == path_st.st_ino;
}

/* Has the file beside, which whoever was killed while he wrote it may have left, for itself alone. Of those who find
 * that there is no file yet, one at a time comes this far, and the next one sees the file. Returns 0 or errno. */
static int open_beside(struct fresh *fresh, const char *name)
{
    fresh->fd = open(name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (fresh->fd < 0) return errno;
    int error = flock(fresh->fd, LOCK_EX | LOCK_NB) != 0 ? errno : 0;
    if (error == 0 && !mps_outbox_file_is_at(fresh->fd, name)) error = EWOULDBLOCK;
    if (error == 0 && fresh->file->fd < 0 && access(fresh->file->path, F_OK) == 0) {
        unlink(name);
        error = EWOULDBLOCK;
    }
    if (error == 0 && ftruncate(fresh->fd, 0) != 0) error = errno;
    if (error != 0) close(fresh->fd);
    return error;
}

/* Creates it under another name, locked, so that nobody has it between. Returns 0 or errno. */
static int create(struct fresh *fresh, const struct mps_outbox *box, const char *name)
{
    int error = open_beside(fresh, name);
    if (error != 0) return error;
    error = fill(fresh, box);
    if (error == 0 && rename(name, fresh->file->path) != 0) error = errno;
    if (error == 0) return 0;
    unlink(name);
    close(fresh->fd);
    return error;
}

/* Replaces the file, or makes the first one. Returns 0 or errno: then the old one is what it was. */
static int write_anew(struct mps_outbox_file *file, const struct mps_outbox *box, uint64_t void_pid)
{
    size_t cap = strlen(file->path) + sizeof ".new";
    char *name = malloc(cap);
    struct fresh *fresh = calloc(1, sizeof *fresh);
    int error = name == NULL || fresh == NULL ? ENOMEM : 0;
    if (error == 0) {
        snprintf(name, cap, "%s.new", file->path);
        fresh->file = file;
        fresh->void_pid = void_pid;
        error = create(fresh, box, name);
    }
    if (error == 0) {
        if (file->fd >= 0) close(file->fd);
        file->fd = fresh->fd;
        file->size = fresh->size;
        error = sync_directory(file->path);
        file->broken = file->unsynced = error != 0;
    }
    free(fresh);
    free(name);
    return error;
}

/* Appends a record, or nothing. Returns 0 or errno. */
static int append(struct mps_outbox_file *file, const struct mps_log_record *record)
{
    uint8_t head[MPS_LOG_RECORD];
    mps_log_write_record(head, record);
    int error = write_all(file->fd, file->size, head, sizeof head);
    if (error == 0) error = write_all(file->fd, file->size + sizeof head, record->body.ptr, record->body.len);
    if (error == 0) {
        file->size += sizeof head + record->body.len;
        file->unsynced = true;
        return 0;
    }
    if (ftruncate(file->fd, (off_t)file->size) != 0) file->broken = true;
    return error;
}

/* ---- what the client asks for ------------------------------------------------------------------------------------ */

/* What the file would have at most if it were written anew. */
static size_t needed(const struct mps_outbox *box)
{
    return MPS_LOG_HEADER + mps_outbox_bytes(box) + (size_t)mps_outbox_unacked(box) * MPS_LOG_RECORD;
}

bool mps_outbox_file_has_room(const struct mps_outbox_file *file, const struct mps_outbox *box, size_t need, bool ever)
{
    return (ever ? MPS_LOG_HEADER : needed(box)) + need + MPS_LOG_RECORD <= file->limit / 2;
}

int mps_outbox_file_sync(struct mps_outbox_file *file, const struct mps_outbox *box)
{
    if (!file->unsynced) return 0;
    if (!file->broken && sync_fd(file->fd) == 0) {
        file->unsynced = false;
        return 0;
    }
    file->broken = true; /* what a failed sync leaves can be found out in no other way than by writing it again */
    return write_anew(file, box, 0);
}

/* The record of what stands behind `mark`, which is a PUB, maybe, and a MSG. */
static struct mps_log_record last_message(const struct mps_outbox *box, const struct mps_outbox_end *mark, uint64_t pid)
{
    size_t at = mark->end;
    struct mps_frame frame = mps_frame_at(box, at, mark->terms.flags);
    if (frame.is_terms) {
        at += frame.len;
        frame = mps_frame_at(box, at, frame.flags);
    }
    return (struct mps_log_record){MPS_LOG_MESSAGE, frame.flags, pid, {box->buf + at, (uint32_t)frame.len}};
}

int mps_outbox_file_add(struct mps_outbox_file *file, const struct mps_outbox *box, const struct mps_outbox_end *mark,
                        uint64_t pid, bool is_void)
{
    uint8_t nothing[MPS_VOID_LEN];
    struct mps_log_record record = last_message(box, mark, pid);
    mps_void_write(nothing);
    if (is_void) record.body = (mps_view){nothing, sizeof nothing};
    /* It is in the outbox already, and so in what is made of that. */
    if (file->broken || file->size + MPS_LOG_RECORD + record.body.len > file->limit)
        return write_anew(file, box, is_void ? pid : 0);
    size_t before = file->size;
    bool was_unsynced = file->unsynced;
    int error = append(file, &record);
    if (error != 0 || file->sync != PUBSUB_SYNC_EACH) return error;
    error = sync_fd(file->fd);
    if (error == 0) {
        file->unsynced = false;
        return 0;
    }
    file->broken = true; /* but for what was synced before */
    file->unsynced = was_unsynced;
    file->size = before;
    (void)!ftruncate(file->fd, (off_t)before);
    return error;
}

/* For what is only of use: a file that misses it is put right when it is written anew. */
static void note(struct mps_outbox_file *file, const struct mps_outbox *box, const struct mps_log_record *record)
{
    if (file->broken) return;
    bool synced = !file->unsynced;
    if (file->size + MPS_LOG_RECORD + record->body.len > file->limit) (void)write_anew(file, box, 0);
    else if (append(file, record) == 0 && synced) file->unsynced = false; /* nothing is sent because of it */
}

void mps_outbox_file_void(struct mps_outbox_file *file, const struct mps_outbox *box, uint64_t first_pid,
                          uint64_t last_pid)
{
    uint8_t last[8];
    mps_log_write_pid(last, last_pid);
    note(file, box, &(struct mps_log_record){MPS_LOG_VOID, 0, first_pid, {last, sizeof last}});
}

void mps_outbox_file_settle(struct mps_outbox_file *file, const struct mps_outbox *box)
{
    note(file, box, &(struct mps_log_record){MPS_LOG_SETTLED, 0, box->settled_pid, {NULL, 0}});
}

int mps_outbox_file_begin(struct mps_outbox_file *file, const struct mps_outbox *box)
{
    return write_anew(file, box, 0);
}

void mps_outbox_file_close(struct mps_outbox_file *file)
{
    if (file->fd >= 0) close(file->fd);
    free(file->path);
    file->fd = -1;
    file->path = NULL;
}
