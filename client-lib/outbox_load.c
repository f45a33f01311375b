/* Opening an outbox file, and judging what it holds. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "outbox_file.h"
#include "outbox_frame.h"
#include "outbox_log.h"

#define SECTOR 512   /* bytes that a disk writes whole or not at all */
#define BLANK_MIN 16 /* bytes */

/* What is read, and how far that has come. */
struct loading {
    struct mps_outbox *box;
    const uint8_t *bytes;
    size_t len, at;
    uint64_t last_pid, settled_pid;
    char *text;
    size_t text_cap;
};

__attribute__((format(printf, 2, 3))) static int refuse(const struct loading *loading, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(loading->text, loading->text_cap, format, args);
    va_end(args);
    return PUBSUB_EFILE;
}

static int damaged(const struct loading *loading)
{
    return refuse(loading, "it is damaged: the record at byte %zu does not add up", loading->at);
}

/* Whether there are only zeros, and enough of them, so that they are no part of what was written. */
static bool is_blank(const struct loading *loading, size_t begin, size_t end)
{
    if (end < begin + BLANK_MIN) return false;
    while (begin < end && loading->bytes[begin] == 0) begin++;
    return begin == end;
}

static bool has_sound_record(const struct loading *loading, size_t at)
{
    struct mps_log_record record;
    while (at < loading->len && mps_log_read_record(loading->bytes + at, loading->len - at, &record) != MPS_LOG_FOUND)
        at++;
    return at < loading->len;
}

/* Whether the record that does not add up is the last one, and not all of its sectors were written when the power
 * failed: one of them has only zeros where it belongs to the record. Then nobody was told that it is kept. */
static bool is_torn(const struct loading *loading)
{
    bool blank = false;
    for (size_t begin = loading->at, end; begin < loading->len && !blank; begin = end) {
        end = begin - begin % SECTOR + SECTOR;
        if (end > loading->len) end = loading->len;
        blank = is_blank(loading, begin, end);
    }
    return blank && !has_sound_record(loading, loading->at + 1);
}

/* Calls handle() for each record. */
static int walk(struct loading *loading, int (*handle)(struct loading *loading, const struct mps_log_record *record))
{
    struct mps_log_record record;
    int rc = PUBSUB_OK;
    loading->at = MPS_LOG_HEADER;
    while (rc == PUBSUB_OK) {
        enum mps_log_found found =
            mps_log_read_record(loading->bytes + loading->at, loading->len - loading->at, &record);
        if (found == MPS_LOG_END || (found == MPS_LOG_DAMAGED && is_torn(loading))) break;
        rc = found == MPS_LOG_FOUND ? handle(loading, &record) : damaged(loading);
        loading->at += MPS_LOG_RECORD + record.body.len;
    }
    return rc;
}

/* A whole record that is missing shows, too. */
static int judge(struct loading *loading, const struct mps_log_record *record)
{
    switch (record->kind) {
    case MPS_LOG_MESSAGE:
        if (record->pid != loading->last_pid + 1) return damaged(loading);
        loading->last_pid = record->pid;
        return PUBSUB_OK;
    case MPS_LOG_VOID:
        if (record->pid == 0 || mps_log_read_pid(record->body.ptr) > loading->last_pid) return damaged(loading);
        return PUBSUB_OK;
    case MPS_LOG_SETTLED:
        if (record->pid > loading->last_pid) return damaged(loading);
        if (record->pid > loading->settled_pid) loading->settled_pid = record->pid;
        return PUBSUB_OK;
    }
    return damaged(loading);
}

/* Frames only get shorter, so this needs no room. */
static void make_void(struct mps_outbox *box, uint64_t first, uint64_t last)
{
    struct mps_place place = {0, box->settled_pid + 1, 0};
    size_t to = 0;
    while (place.at < box->end) {
        struct mps_frame frame = mps_frame_at(box, place.at, place.flags);
        bool is_void = frame.acked && place.pid >= first && place.pid <= last;
        if (is_void) mps_void_write(box->buf + to);
        else memmove(box->buf + to, box->buf + place.at, frame.len);
        to += is_void ? MPS_VOID_LEN : frame.len;
        mps_step_over(&place, &frame);
    }
    box->end = to;
}

static int take(struct loading *loading, const struct mps_log_record *record)
{
    switch (record->kind) {
    case MPS_LOG_MESSAGE:
        if (record->pid <= loading->settled_pid) return PUBSUB_OK;
        return mps_outbox_append(loading->box, record->flags, record->body);
    case MPS_LOG_VOID: make_void(loading->box, record->pid, mps_log_read_pid(record->body.ptr)); return PUBSUB_OK;
    case MPS_LOG_SETTLED: return PUBSUB_OK;
    }
    return PUBSUB_OK;
}

static int load(struct mps_outbox_file *file, struct loading *loading)
{
    struct mps_log_header header = {.boot = 0};
    if (loading->len == 0) return refuse(loading, "it is no outbox file: it is empty");
    const char *why = mps_log_read_header(loading->bytes, loading->len, &header);
    if (why != NULL) return refuse(loading, "%s", why);
    if (strcmp(header.id, file->id) != 0) return refuse(loading, "it is that of the client id '%s'", header.id);
    loading->last_pid = loading->settled_pid = header.settled_pid;
    int rc = walk(loading, judge);
    if (rc != PUBSUB_OK) return rc;
    mps_outbox_resume(loading->box, loading->settled_pid);
    rc = walk(loading, take);
    if (rc != PUBSUB_OK) snprintf(loading->text, loading->text_cap, "out of memory");
    file->boot = header.boot;
    file->size = loading->at;
    file->unsynced = true; /* whoever wrote it may have been killed before that was due */
    return rc;
}

static int map_and_load(struct mps_outbox_file *file, struct loading *loading)
{
    struct stat st;
    if (fstat(file->fd, &st) != 0) return refuse(loading, "%s", strerror(errno));
    if (!S_ISREG(st.st_mode)) return refuse(loading, "it is no file");
    loading->len = (size_t)st.st_size;
    void *bytes = loading->len > 0 ? mmap(NULL, loading->len, PROT_READ, MAP_PRIVATE, file->fd, 0) : NULL;
    if (bytes == MAP_FAILED) return refuse(loading, "%s", strerror(errno));
    loading->bytes = bytes;
    int rc = load(file, loading);
    if (bytes != NULL) munmap(bytes, loading->len);
    if (rc != PUBSUB_OK || loading->at == loading->len) return rc;
    return ftruncate(file->fd, (off_t)loading->at) == 0 ? rc : refuse(loading, "%s", strerror(errno));
}

static const char *lock_error(int error)
{
    return error == EWOULDBLOCK ? "another client has it open" : strerror(error);
}

int mps_outbox_file_open(struct mps_outbox_file *file, struct mps_outbox *box, char *text, size_t text_cap)
{
    struct loading loading = {.box = box, .text = text, .text_cap = text_cap};
    file->fd = open(file->path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (file->fd < 0 && errno == ENOENT) {
        int error = mps_outbox_file_begin(file, box);
        return error == 0 ? PUBSUB_OK : refuse(&loading, "%s", lock_error(error));
    }
    if (file->fd < 0) return refuse(&loading, "%s", strerror(errno));
    if (flock(file->fd, LOCK_EX | LOCK_NB) != 0) return refuse(&loading, "%s", lock_error(errno));
    if (!mps_outbox_file_is_at(file->fd, file->path)) return refuse(&loading, "%s", lock_error(EWOULDBLOCK));
    return map_and_load(file, &loading);
}
