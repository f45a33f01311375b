/* What readers acknowledge, refuse and reject, and what becomes of messages that are given up. */
#include <stdlib.h>
#include <string.h>

#include "model.h"

struct model_pending *pending_of(struct model_place *place, uint32_t entry)
{
    for (uint32_t i = 0; i < place->pending_count; i++)
        if (place->pending[i].entry == entry) return &place->pending[i];
    return NULL;
}

void pending_forget(struct model_place *place, struct model_pending *pending)
{
    /* What was due again may have been given up just now. */
    bool late = pending->due_ms <= place->log->model->world->now_ms || pending->is_dead;
    if (late) *place_mark(place, pending->entry) |= PLACE_LATE;
    *pending = place->pending[--place->pending_count];
}

/* The broker may have given it up before it heard of an ACK. */
static bool may_be_dead(const struct model_reader *reader, const struct model_pending *pending)
{
    bool enough = pending->tries >= reader->max_tries || pending->tries >= pending->tries_most;
    return pending->is_dead || (enough && pending->due_ms <= reader->model->world->now_ms);
}

/* ---- ACK ---------------------------------------------------------------------------------------------------- */

/* Of a group, what is due again is nobody's any more, as soon as the broker has seen that it is. */
static void ack_upto(const struct model_reader *reader, struct model_place *place, uint64_t position,
                     const struct model_sub *sub)
{
    uint64_t now_ms = reader->model->world->now_ms;
    for (uint32_t i = place->pending_count; i > 0; i--) {
        struct model_pending *pending = &place->pending[i - 1];
        bool theirs = sub->group != NULL && pending->sub != sub;
        if (theirs || place->log->entries[pending->entry].position > position) continue;
        if (sub->group == NULL || pending->due_ms > now_ms) {
            if (may_be_dead(reader, pending)) bury(reader->model, place->log, pending, false);
            pending_forget(place, pending);
        } else {
            pending->sub = NULL;
            pending->must_ms = NEED_NOT;
        }
    }
}

/* What is due already is perhaps on its way. */
static void refuse(struct model_pending *pending, uint64_t now_ms, uint64_t delay_ms)
{
    if (pending->due_ms <= now_ms) {
        if (pending->must_ms < now_ms + delay_ms) pending->must_ms = now_ms + delay_ms;
        return;
    }
    pending->due_ms = pending->must_ms = now_ms + delay_ms;
}

/* Whether the position was sent to it, or to somebody of its group. */
static bool was_sent(struct model_place *place, uint64_t position)
{
    uint32_t entry = log_at(place->log, position);
    return entry != NO_ENTRY && (*place_mark(place, entry) & PLACE_HANDLED);
}

void readers_ack(struct conn *conn, const struct action *action)
{
    struct model *model = conn->model;
    struct model_sub *sub = model_find_sub(conn, action->sid);
    struct model_reader *reader = sub != NULL ? sub_reader(sub) : NULL;
    struct model_place *place = reader != NULL ? reader_place(reader, action->stream) : NULL;
    if (place == NULL || reader->ack == MPS_ACK_NONE || !was_sent(place, action->seq)) {
        want_err(conn, MPS_BAD_OPTION, MPS_OP_ACK);
        return;
    }
    model->acks_in++;
    struct model_pending *pending = pending_of(place, log_at(place->log, action->seq));
    if (action->ack_kind == MPS_ACKED_UPTO) {
        ack_upto(reader, place, action->seq, sub);
    } else if (pending == NULL) {
        return; /* done already */
    } else if (action->ack_kind == MPS_ACKED_AGAIN) {
        pending->is_dead |= pending->tries >= reader->max_tries;
        if (reader->is_shared) pending->sub = NULL; /* it is nobody's now */
        refuse(pending, model->world->now_ms, action->delay_ms);
    } else {
        bool rejected = action->ack_kind == MPS_ACKED_NEVER, dead = may_be_dead(reader, pending);
        if (rejected || dead) bury(model, place->log, pending, rejected);
        if (rejected && dead) model->burials[model->burials_count - 1].reason_is_open = true;
        pending_forget(place, pending);
    }
}

/* ---- $dead -------------------------------------------------------------------------------------------------- */

void bury(struct model *model, const struct model_log *log, const struct model_pending *pending, bool is_rejected)
{
    GROW(model->burials, model->burials_count, model->burials_cap);
    model->burials[model->burials_count++] =
        (struct model_burial){.log = log, .entry = pending->entry, .tries = pending->tries, .is_rejected = is_rejected};
}

/* A header of the props, as it stands there; absent if there is none. */
static mps_view header(mps_view props, const char *name)
{
    struct mps_reader r = mps_reader_open(props);
    for (uint32_t left = mps_read_map(&r, "props"); left > 0; left--) {
        mps_view key = mps_read_any(&r, "key"), value = mps_read_any(&r, "value");
        if (key.len == strlen(name) + 1 && memcmp(key.ptr + 1, name, strlen(name)) == 0) return value;
    }
    return (mps_view){NULL, 0};
}

static uint64_t number_header(mps_view props, const char *name)
{
    mps_view raw = header(props, name);
    struct mps_reader r = mps_reader_open(raw);
    return raw.ptr != NULL ? mps_read_uint(&r, MPS_NUMBER_MAX, name) : UINT64_MAX;
}

static bool text_header_is(mps_view props, const char *name, mps_view text)
{
    mps_view raw = header(props, name);
    struct mps_reader r = mps_reader_open(raw);
    return raw.ptr != NULL && mps_view_equal(mps_read_text(&r, name), text);
}

static bool is_burial_of(const struct model *model, const struct model_burial *burial, const struct mps_msg *dead)
{
    const struct message *message = &model->messages[burial->log->entries[burial->entry].message];
    struct mps_msg msg;
    const char *what;
    if (mps_decode_msg((mps_view){message->bytes, message->len}, &msg, &what) != MPS_OK) return false;
    return number_header(dead->props, "stream") == burial->log->number &&
           number_header(dead->props, "seq") == burial->log->entries[burial->entry].position &&
           number_header(dead->props, "tries") == burial->tries && text_header_is(dead->props, "topic", msg.topic) &&
           mps_view_equal(dead->payload, msg.payload) &&
           (text_header_is(dead->props, "reason", mps_text(burial->is_rejected ? "rejected" : "max_tries")) ||
            (burial->reason_is_open && text_header_is(dead->props, "reason", mps_text("max_tries"))));
}

/* GAP 8 need not be written yet. */
static bool is_due(const struct model *model, const struct mps_msg *dead)
{
    uint64_t stream = number_header(dead->props, "stream"), seq = number_header(dead->props, "seq");
    for (const struct model_sub *sub = model->subs; sub != NULL; sub = sub->next) {
        struct model_reader *reader = sub_reader(sub);
        struct model_place *place = reader != NULL ? reader_place(reader, stream) : NULL;
        uint32_t entry = place != NULL ? log_at(place->log, seq) : NO_ENTRY;
        const struct model_pending *pending = entry != NO_ENTRY ? pending_of(place, entry) : NULL;
        if (pending == NULL || pending->tries < reader->max_tries) continue;
        struct model_burial burial = {.log = place->log, .entry = entry, .tries = pending->tries};
        if (is_burial_of(model, &burial, dead)) return true;
    }
    return false;
}

static struct name name_of_view(mps_view text)
{
    struct name name = {.len = text.len};
    memcpy(name.text, text.ptr, text.len < NAME_MAX_BYTES ? text.len : NAME_MAX_BYTES);
    return name;
}

/* It is what the broker makes of a message that was given up, once for each time. */
void dead_came(struct model_log *log, mps_view frame)
{
    struct model *model = log->model;
    struct mps_msg dead;
    const char *what;
    bool found = mps_decode_msg(frame, &dead, &what) == MPS_OK && dead.props.ptr != NULL && is_due(model, &dead);
    for (uint32_t i = 0; i < model->burials_count && !found && dead.props.ptr != NULL; i++) {
        found = is_burial_of(model, &model->burials[i], &dead);
        if (found) model->burials[i] = model->burials[--model->burials_count];
    }
    if (!found) world_fail(model->world, "stream %s: a message came that was not given up, or came before", log->name);
    struct message about = {.topic = name_of_view(dead.topic), .payload_len = dead.payload.len, .ttl_ms = QUEUE_NO_TTL};
    log_append(log, model_message(model, frame.ptr, frame.len, &about), false, 0);
    model->dead_out++;
}
