/* What an outbox that is kept in a file needs: taking back, walking over, beginning with what was kept. */
#include <string.h>

#include "outbox_frame.h"

struct mps_outbox_end mps_outbox_mark(const struct mps_outbox *box)
{
    return (struct mps_outbox_end){box->end, box->gate, box->terms};
}

void mps_outbox_take_back(struct mps_outbox *box, const struct mps_outbox_end *mark)
{
    box->end = mark->end;
    box->gate = mark->gate;
    box->terms = mark->terms;
}

void mps_outbox_resume(struct mps_outbox *box, uint64_t settled_pid)
{
    box->settled_pid = settled_pid;
    box->terms.next_pid = box->begin.pid = box->gate.pid = settled_pid + 1;
}

int mps_outbox_append(struct mps_outbox *box, uint32_t flags, mps_view frame)
{
    int rc = mps_outbox_reserve(box, frame.len + (size_t)MPS_SMALL_FRAME_MAX, true);
    if (rc != PUBSUB_OK) return rc;
    struct mps_out out = mps_outbox_open(box);
    if (box->terms.flags != flags) mps_encode_pub(&out, &(struct mps_pub){box->terms.next_pid, flags});
    mps_put_raw(&out, frame);
    box->terms.flags = (uint8_t)flags;
    box->terms.next_pid++;
    box->end += out.len;
    return PUBSUB_OK;
}

int mps_outbox_each(const struct mps_outbox *box, int (*each)(uint64_t pid, uint32_t flags, mps_view frame, void *user),
                    void *user)
{
    struct mps_place place = box->begin;
    int rc = 0;
    while (place.at < box->end && rc == 0) {
        struct mps_frame frame = mps_frame_at(box, place.at, place.flags);
        mps_view bytes = {box->buf + place.at, (uint32_t)frame.len};
        if (frame.acked && place.pid > box->settled_pid) rc = each(place.pid, frame.flags, bytes, user);
        mps_step_over(&place, &frame);
    }
    return rc;
}

struct search {
    uint64_t pid;
    bool is_void;
};

static int look_at(uint64_t pid, uint32_t flags, mps_view frame, void *user)
{
    struct search *search = user;
    (void)flags;
    if (pid != search->pid) return 0;
    search->is_void = mps_void_is(frame.ptr, frame.len);
    return 1;
}

bool mps_outbox_was_dropped(const struct mps_outbox *box, uint64_t pid)
{
    struct search search = {pid, false};
    return mps_outbox_each(box, look_at, &search) == 1 && search.is_void;
}
