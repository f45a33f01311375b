/* Making room in a full outbox by giving up its oldest messages. */
#include <string.h>

#include "outbox_frame.h"

#define SHARE \
    16 /* that part of the outbox is made free at once while it is on a connection: that moves what is written */

/* The first frame of which nothing is written. */
static struct mps_place first_unwritten(const struct mps_outbox *box)
{
    struct mps_place place = box->begin;
    while (place.at < box->sent) {
        struct mps_frame frame = mps_frame_at(box, place.at, place.flags);
        mps_step_over(&place, &frame);
    }
    return place;
}

/* What a walk over the oldest messages finds. */
struct walk {
    const struct mps_outbox *box;
    bool (*is_kept)(uint64_t pid, const void *user);
    const void *user;
};

/* What is left of a frame when it is dropped: its own length if it can't be. */
static size_t rest_of(const struct walk *walk, const struct mps_place *place, const struct mps_frame *frame)
{
    bool is_void = mps_void_is(walk->box->buf + place->at, frame->len);
    if (walk->box->offline && !frame->acked) return 0; /* terms too: they are said anew */
    if (!frame->is_message || (frame->acked && !is_void && walk->is_kept(place->pid, walk->user))) return frame->len;
    return frame->acked && !walk->box->offline ? MPS_VOID_LEN : 0;
}

static void count(struct pubsub_dropped *dropped, const struct walk *walk, const struct mps_place *place,
                  const struct mps_frame *frame)
{
    if (!frame->is_message || mps_void_is(walk->box->buf + place->at, frame->len)) return;
    dropped->count++;
    if (!frame->acked) return;
    if (dropped->first_pid == 0) dropped->first_pid = place->pid;
    dropped->last_pid = place->pid;
}

/* Where to stop so that `goal` bytes become free, and up to `more` if there are so many. False: there are not `goal`.
 */
static bool find_end(const struct walk *walk, struct mps_place *place, size_t goal, size_t more)
{
    size_t freed = 0;
    while (place->at < walk->box->end && freed < goal + more) {
        struct mps_frame frame = mps_frame_at(walk->box, place->at, place->flags);
        size_t rest = rest_of(walk, place, &frame);
        if (walk->box->offline && rest > 0) break; /* there, no pid may be missing between others */
        freed += frame.len - rest;
        mps_step_over(place, &frame);
    }
    return freed >= goal;
}

/* Takes out what is from `place` to `end`. Returns where what is left of it ends. */
static size_t take_out(struct mps_outbox *box, const struct walk *walk, struct mps_place place, size_t end,
                       struct pubsub_dropped *dropped)
{
    size_t to = place.at;
    while (place.at < end) {
        struct mps_frame frame = mps_frame_at(box, place.at, place.flags);
        size_t rest = rest_of(walk, &place, &frame);
        if (rest < frame.len) count(dropped, walk, &place, &frame);
        if (rest == frame.len) memmove(box->buf + to, box->buf + place.at, rest);
        else if (rest > 0) mps_void_write(box->buf + to);
        to += rest;
        mps_step_over(&place, &frame);
    }
    return to;
}

int mps_outbox_drop(struct mps_outbox *box, size_t need, bool (*is_kept)(uint64_t pid, const void *user),
                    const void *user, struct pubsub_dropped *dropped)
{
    const struct walk walk = {box, is_kept, user};
    size_t used = box->end - box->begin.at, room = used < box->limit ? box->limit - used : 0;
    struct mps_place from = first_unwritten(box), end = from;
    size_t goal = need > room ? need - room : 1;
    if (goal > used) goal = used; /* into an empty outbox everything fits */
    if (!find_end(&walk, &end, goal, box->offline ? 0 : box->limit / SHARE)) return PUBSUB_EAGAIN;
    size_t to = take_out(box, &walk, from, end.at, dropped);
    if (box->offline) {
        box->begin = box->gate = end;
        box->sent = box->whole = end.at;
        if (end.pid - 1 > box->settled_pid) box->settled_pid = end.pid - 1;
        return PUBSUB_OK;
    }
    size_t by = end.at - to;
    memmove(box->buf + box->begin.at + by, box->buf + box->begin.at, to - box->begin.at);
    box->begin.at += by;
    box->sent += by;
    from.at += by;
    box->whole = from.at;
    box->gate = from;
    mps_outbox_open_gate(box);
    return PUBSUB_OK;
}
