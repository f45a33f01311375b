/* What the broker says, turned into callbacks. */
#include "client.h"

void mps_client_state(struct pubsub *client, enum pubsub_state state, const char *text)
{
    if (client->options.on_state == NULL || client->closing) return;
    mps_client_enter(client);
    client->options.on_state(client, state, text, client->options.user);
    mps_client_leave(client);
}

/* The subscription that an event is for; NULL if it is over, or nothing may be called back for it. */
static struct mps_sub_entry *live_sub(struct pubsub *client, uint32_t sid)
{
    struct mps_sub_entry *sub = client->closing ? NULL : mps_subs_find(&client->subs, sid);
    return sub == NULL || sub->ended ? NULL : sub;
}

/* Answers that did not fit into the inbox's queue. Whose they were is not known. */
static void inbox_gap(struct pubsub *client, const struct pubsub_gap *gap)
{
    if (client->options.on_gap == NULL || client->closing) return;
    mps_client_enter(client);
    client->options.on_gap(client, gap, client->options.user);
    mps_client_leave(client);
}

static bool out_of_memory(struct pubsub *client)
{
    mps_client_lost(client, PUBSUB_ENOMEM, "out of memory");
    return false;
}

static void send_credit(struct pubsub *client, const struct mps_sub_entry *sub, bool drain)
{
    if (sub->recount) return; /* it is said when that is done */
    if (mps_outbox_reserve(&client->outbox, MPS_SMALL_FRAME_MAX, true) != PUBSUB_OK) {
        (void)out_of_memory(client);
        return;
    }
    struct mps_out out = mps_outbox_open(&client->outbox);
    mps_encode_credit(&out, &(struct mps_credit){sub->sid, mps_subs_credit(sub), drain});
    mps_outbox_add(&client->outbox, &out);
}

/* Whether a subscription's place in a stream moves of itself, with what it is sent. That of a group is the group's. */
static bool has_place(const struct mps_sub_entry *sub)
{
    return sub->options.group == NULL;
}

/* Notes that positions are gone. False: the program is not to be told. */
static bool pass_gap(struct pubsub *client, struct mps_sub_entry *sub, const struct pubsub_gap *gap)
{
    if (gap->stream == 0) return true;
    if (gap->last == 0) { /* it has no position */
        mps_positions_restart(&sub->positions, gap->stream);
        return true;
    }
    if (sub->moving) return false; /* it will be said again */
    if (!has_place(sub) && sub->options.ack == PUBSUB_ACKS_NONE) return true;
    return mps_positions_gone(&sub->positions, gap->stream, gap->first, gap->last) == PUBSUB_OK ||
           out_of_memory(client);
}

/* Tells the broker once more how a message was settled, which it does not know, and leaves the program alone. */
static bool settle_again(struct pubsub *client, struct mps_sub_entry *sub, const struct pubsub_message *message,
                         enum pubsub_ack_kind kind)
{
    if (client->shut) return false;
    if (kind == PUBSUB_ACKED_ONE && sub->options.ack == PUBSUB_ACKS_UPTO) kind = PUBSUB_ACKED_UPTO;
    if (mps_client_send_ack(client, &(struct mps_ack){sub->sid, message->stream, message->seq, kind, 0}) != PUBSUB_OK)
        return out_of_memory(client);
    if (!sub->options.by_credit) return false;
    sub->uncounted--; /* it took credit */
    send_credit(client, sub, false);
    return false;
}

/* Notes a message of a stream. False: the program is not to be given it. */
static bool take_position(struct pubsub *client, struct mps_sub_entry *sub, const struct pubsub_message *message)
{
    enum pubsub_ack_kind kind;
    struct mps_positions *positions = &sub->positions;
    if (sub->moving) return false;
    int rc = PUBSUB_OK;
    if (sub->options.ack != PUBSUB_ACKS_NONE) {
        if (mps_positions_was_settled(positions, message->stream, message->seq, &kind)) {
            (void)mps_positions_pass(positions, message->stream, message->seq); /* nothing new, it can't fail */
            return settle_again(client, sub, message, kind);
        }
        rc = mps_positions_hand(positions, message->stream, message->seq);
    } else if (has_place(sub)) {
        rc = mps_positions_pass(positions, message->stream, message->seq);
    }
    return rc == PUBSUB_OK || out_of_memory(client);
}

static void gap(struct pubsub *client, const struct pubsub_gap *gap)
{
    if (gap->sid == 0) {
        inbox_gap(client, gap);
        return;
    }
    struct mps_sub_entry *sub = live_sub(client, gap->sid);
    if (sub == NULL || !pass_gap(client, sub, gap) || sub->options.on_gap == NULL) return;
    mps_client_enter(client);
    sub->options.on_gap(client, gap, sub->options.user);
    mps_client_leave(client);
}

/* Its bytes are passed over here, which is as good as lost. */
static void too_large(struct pubsub *client, const struct pubsub_too_large *message)
{
    gap(client, &(struct pubsub_gap){.sid = message->sid,
                                     .exact = true,
                                     .count = 1,
                                     .reason = MPS_GAP_TOO_LARGE,
                                     .reason_name = mps_gap_reason_name(MPS_GAP_TOO_LARGE),
                                     .stream = message->stream,
                                     .first = message->seq,
                                     .last = message->seq});
}

static void refusal(struct pubsub *client, const struct pubsub_refusal *refusal)
{
    if (client->options.on_refusal == NULL) return;
    mps_client_enter(client);
    client->options.on_refusal(client, refusal, client->options.user);
    mps_client_leave(client);
}

static void puback(struct pubsub *client, const struct pubsub_puback *ack)
{
    bool dropped = ack->code >= MPS_INTERNAL && mps_outbox_was_dropped(&client->outbox, ack->first_pid);
    if (!mps_outbox_settle(&client->outbox, ack->last_pid)) {
        mps_client_end(client, PUBSUB_EPROTO,
                       "the broker broke the protocol: PUBACK: of a publish that was never sent");
        return;
    }
    if (mps_outbox_file_is_open(&client->file)) mps_outbox_file_settle(&client->file, &client->outbox);
    bool told = mps_client_requests_puback(client, ack) || dropped; /* that was on_dropped's */
    if (told || client->options.on_puback == NULL) return;
    mps_client_enter(client);
    client->options.on_puback(client, ack, client->options.user);
    mps_client_leave(client);
}

void mps_client_settled_before(struct pubsub *client, uint64_t first_pid, uint64_t last_pid)
{
    puback(client, &(struct pubsub_puback){
                       .first_pid = first_pid, .last_pid = last_pid, .code = MPS_ACCEPTED_BEFORE, .text = ""});
}

static void suback(struct pubsub *client, const struct pubsub_suback *ack)
{
    struct mps_sub_entry *sub = live_sub(client, ack->sid);
    if (sub == NULL) return;
    if (ack->code == MPS_OK) {
        sub->moving = false;
        sub->is_cluster_wide = sub->options.scope == PUBSUB_SCOPE_CLUSTER && !ack->local;
        if (sub->options.on_granted == NULL) return;
        mps_client_enter(client);
        sub->options.on_granted(client, ack->sid, sub->options.user);
        mps_client_leave(client);
        return;
    }
    mps_subs_remove(&client->subs, ack->sid); /* the broker has none: nothing will come, nothing is to be asked again */
    refusal(client, &(struct pubsub_refusal){ack->code, MPS_OP_SUB, ack->sid, ack->text});
}

static void mark(struct pubsub *client, const struct pubsub_mark_event *event)
{
    struct mps_sub_entry *sub = client->closing ? NULL : mps_subs_find(&client->subs, event->sid);
    bool over = event->mark == PUBSUB_MARK_ENDED;
    if (sub == NULL || (sub->ended && !over) || event->mark < PUBSUB_MARK_RETAINED_DONE ||
        event->mark > PUBSUB_MARK_ENDED)
        return;
    if (event->mark == PUBSUB_MARK_DRAINED) sub->drain_asked = false;
    if (event->mark == PUBSUB_MARK_CAUGHT_UP) sub->caught_up = true;
    const struct pubsub_subscribe_options options = sub->options;
    if (over) mps_subs_remove(&client->subs, event->sid);
    if (options.on_mark == NULL) return;
    mps_client_enter(client);
    options.on_mark(client, event->sid, (enum pubsub_mark)event->mark, options.user);
    mps_client_leave(client);
}

/* The broker's count of a session goes on from earlier connections, of which not all has arrived here; or it began
 * anew, because the broker did. */
static void recounted(struct pubsub *client, struct mps_sub_entry *sub, const struct pubsub_stat *stat)
{
    sub->recount = false;
    sub->uncounted = (int64_t)sub->received - (int64_t)stat->sent;
    if (!client->shut) send_credit(client, sub, sub->drain_asked);
}

static void stat(struct pubsub *client, const struct pubsub_stat *stat)
{
    struct mps_sub_entry *sub = live_sub(client, stat->sid);
    if (sub == NULL) return;
    bool asked = sub->stat_asked || !sub->recount;
    sub->stat_asked = false;
    if (sub->recount) recounted(client, sub, stat);
    if (!asked || client->fd < 0) return; /* it may be gone with the connection */
    if (sub->options.on_stat == NULL) return;
    mps_client_enter(client);
    sub->options.on_stat(client, stat, sub->options.user);
    mps_client_leave(client);
}

static void count_received(struct pubsub *client, uint32_t sid)
{
    struct mps_sub_entry *sub = live_sub(client, sid);
    if (sub != NULL) sub->received++;
}

/* Everything but messages. */
static void rare_event(struct pubsub *client, const struct pubsub_event *event)
{
    switch (event->type) {
    case PUBSUB_EVENT_WELCOME: mps_client_welcomed(client, &event->as.welcome); break;
    case PUBSUB_EVENT_GAP: gap(client, &event->as.gap); break;
    case PUBSUB_EVENT_PUBACK: puback(client, &event->as.puback); break;
    case PUBSUB_EVENT_SUBACK: suback(client, &event->as.suback); break;
    case PUBSUB_EVENT_MARK: mark(client, &event->as.mark); break;
    case PUBSUB_EVENT_STAT: stat(client, &event->as.stat); break;
    case PUBSUB_EVENT_REFUSAL: refusal(client, &event->as.refusal); break;
    case PUBSUB_EVENT_TOO_LARGE: /* to the broker it is sent, and takes credit */
        count_received(client, event->as.too_large.sid);
        too_large(client, &event->as.too_large);
        break;
    case PUBSUB_EVENT_BYE: mps_client_bye(client, event->as.ending.code, event->as.ending.text); break;
    case PUBSUB_EVENT_FAILED:
        mps_client_write(client); /* the BYE that tells the broker how */
        mps_client_refused(client, PUBSUB_EPROTO, event->as.ending.text);
        break;
    case PUBSUB_EVENT_BLOCKED: client->rx_blocked = true; break;
    case PUBSUB_EVENT_NONE:
    case PUBSUB_EVENT_MESSAGE:
    case PUBSUB_EVENT_PONG:
    case PUBSUB_EVENT_INFO: break;
    }
}

void mps_client_events(struct pubsub *client)
{
    struct pubsub_event event;
    struct mps_sub_entry *sub = NULL; /* of the last message: mostly that of the next one too */
    client->rx_blocked = false;
    client->core.terms.next_pid = client->outbox.terms.next_pid;
    while (client->fd >= 0 && !client->rx_blocked && !client->held) {
        enum pubsub_event_type type = pubsub_core_next(&client->core, &event);
        if (type == PUBSUB_EVENT_MESSAGE) {
            if (event.as.message.sid == 0) {
                mps_client_answer(client, &event.as.message);
                sub = NULL; /* its callback may connect us anew */
                continue;
            }
            if (sub == NULL || sub->sid != event.as.message.sid) sub = live_sub(client, event.as.message.sid);
            if (sub == NULL || sub->ended) continue;
            if (event.as.message.stream != 0 && !take_position(client, sub, &event.as.message)) {
                sub = NULL; /* it may be gone with the connection */
                continue;
            }
            sub->received++;
            if (sub->options.on_message == NULL) continue;
            mps_client_enter(client);
            sub->options.on_message(client, &event.as.message, sub->options.user);
            mps_client_leave(client);
            continue;
        }
        if (type == PUBSUB_EVENT_NONE) return;
        sub = NULL; /* what follows may remove it */
        rare_event(client, &event);
    }
}

void mps_client_subs_lost(struct pubsub *client)
{
    for (size_t i = client->subs.count; i-- > 0;) {
        if (i >= client->subs.count || !client->subs.list[i]->ended) continue;
        mark(client, &(struct pubsub_mark_event){client->subs.list[i]->sid, PUBSUB_MARK_ENDED});
    }
}
