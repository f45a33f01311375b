/* Acknowledging what was received: telling the broker, and remembering it for when it can't be told. */
#include "client.h"

int mps_client_send_ack(struct pubsub *client, const struct mps_ack *ack)
{
    if (mps_outbox_reserve(&client->outbox, MPS_SMALL_FRAME_MAX, true) != PUBSUB_OK) return PUBSUB_ENOMEM;
    struct mps_out out = mps_outbox_open(&client->outbox);
    mps_encode_ack(&out, ack);
    mps_outbox_add(&client->outbox, &out);
    return PUBSUB_OK;
}

/* The subscription that an acknowledgement is for; NULL: pubsub_error() says why there is none. */
static struct mps_sub_entry *acknowledging(struct pubsub *client, uint32_t sid)
{
    struct mps_sub_entry *sub = mps_subs_find(&client->subs, sid);
    if (sub == NULL || sub->ended) {
        mps_client_error(client, PUBSUB_EINVAL, "there is no subscription %u", (unsigned)sid);
        return NULL;
    }
    if (sub->options.ack != PUBSUB_ACKS_NONE) return sub;
    mps_client_error(client, PUBSUB_EINVAL, "subscription %u does not acknowledge what it receives", (unsigned)sid);
    return NULL;
}

/* What can't be told now need not be: it is asked for behind it, or comes again and is then settled from memory. */
static int acknowledge(struct pubsub *client, const struct mps_ack *ack)
{
    struct mps_sub_entry *sub = acknowledging(client, ack->sid);
    if (sub == NULL) return PUBSUB_EINVAL;
    if (ack->delay_ms > MPS_NUMBER_MAX)
        return mps_client_error(client, PUBSUB_EINVAL, "a delay of %llu ms is over the limit of %llu",
                                (unsigned long long)ack->delay_ms, (unsigned long long)MPS_NUMBER_MAX);
    if (!mps_client_may_ask(client)) return mps_client_refuse_ended(client);
    bool up = client->state == LINK_UP;
    if (up && mps_outbox_reserve(&client->outbox, MPS_SMALL_FRAME_MAX, true) != PUBSUB_OK)
        return mps_client_error(client, PUBSUB_ENOMEM, "out of memory");
    enum pubsub_ack_kind kind = (enum pubsub_ack_kind)ack->kind;
    struct mps_ack told = *ack;
    if (kind != PUBSUB_ACKED_AGAIN) told.seq = mps_positions_settle(&sub->positions, ack->stream, ack->seq, kind);
    else if (!mps_positions_is_unsettled(&sub->positions, ack->stream, ack->seq)) told.seq = 0;
    return told.seq > 0 && up ? mps_client_send_ack(client, &told) : PUBSUB_OK;
}

int pubsub_ack_upto(pubsub *client, uint32_t sid, uint64_t stream, uint64_t seq)
{
    return acknowledge(client, &(struct mps_ack){sid, stream, seq, PUBSUB_ACKED_UPTO, 0});
}

int pubsub_ack_one(pubsub *client, uint32_t sid, uint64_t stream, uint64_t seq)
{
    return acknowledge(client, &(struct mps_ack){sid, stream, seq, PUBSUB_ACKED_ONE, 0});
}

int pubsub_nack(pubsub *client, uint32_t sid, uint64_t stream, uint64_t seq, uint64_t delay_ms)
{
    return acknowledge(client, &(struct mps_ack){sid, stream, seq, PUBSUB_ACKED_AGAIN, delay_ms});
}

int pubsub_reject(pubsub *client, uint32_t sid, uint64_t stream, uint64_t seq)
{
    return acknowledge(client, &(struct mps_ack){sid, stream, seq, PUBSUB_ACKED_NEVER, 0});
}
