/* What comes into a stream, as it comes, from a consumer of our own: JetStream pushes it, asks for leave every now and
 * then (flow control), and says when it has nothing (heartbeats). Whatever doesn't fit, or when it is silent for too
 * long, the consumer is made anew from the first position that wasn't shown. So is the watch over the bucket of
 * records.
 *
 * Copies of a stream can differ: nats-server 2.9 lets one that was cut off keep what it had taken alone. So tails, and
 * what reads, are where the stream's leader is, and go with it; and each tail that is made anew begins with what was
 * shown before, back to where the leader is known to have been the same, and compares. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nats_json.h"
#include "nats_storing.h"

#define AGAIN_MS 250 /* between attempts to make a consumer */

/* ---- frames from outside ------------------------------------------------------------------------------------ */

static uint64_t expiry(const struct mps_msg *msg, uint64_t time_ms)
{
    struct mps_reader reader = mps_reader_open(mps_props_find(msg->props, MPS_PROP_TTL_MS));
    uint64_t ttl_ms = mps_reader_more(&reader) ? mps_read_uint(&reader, UINT64_MAX, "ttl") : 0;
    if (reader.bad != NULL || ttl_ms == 0) return 0;
    return ttl_ms < UINT64_MAX - time_ms ? time_ms + ttl_ms : UINT64_MAX;
}

bool frame_is_sound(mps_view frame, uint64_t time_ms, uint64_t *expires_ms)
{
    static const struct mps_limits limits = {MPS_HEAD_MAX, MPS_VALUES_MAX, MPS_PAYLOAD_MAX};
    struct mps_scan scan = {0};
    struct mps_msg msg;
    const char *what;
    if (frame.len == 0 || mps_scan(&scan, frame.ptr, frame.len, &limits) != MPS_SCAN_FRAME) return false;
    if (scan.pos != frame.len || scan.op != MPS_OP_MSG) return false;
    if (mps_decode_msg(frame, &msg, &what) != MPS_OK || mps_topic_error(msg.topic) != NULL) return false;
    if (msg.props.ptr != NULL && mps_props_check(msg.props, &what) != MPS_OK) return false;
    *expires_ms = msg.props.ptr != NULL ? expiry(&msg, time_ms) : 0;
    return true;
}

/* ---- the consumer ------------------------------------------------------------------------------------------- */

/* It goes, and nobody waits for that. */
static struct js_request *forget_consumer(struct nats_stream *stream)
{
    char name[64], subject[NAME_MAX_BYTES + 128];
    consumer_name(stream->storing, 't', stream->index, stream->tail.number, name, sizeof name);
    snprintf(subject, sizeof subject, "$JS.API.CONSUMER.DELETE.%s.%s", stream->name, name);
    return js_ask(stream, subject, "");
}

/* Somebody may wait to know where its consumer is. */
static void is_no_more(struct nats_stream *stream)
{
    stream->tail.state = TAIL_NONE;
    pthread_cond_broadcast(&stream->storing->room);
}

void tail_restart(struct nats_stream *stream)
{
    struct tail *tail = &stream->tail;
    if (tail->state != TAIL_NONE) forget_consumer(stream);
    is_no_more(stream);
    tail->open = NULL;
    storing_hurry(stream->storing);
}

void tail_disconnected(struct nats_stream *stream)
{
    is_no_more(stream);
    stream->tail.again_ms = 0;
}

void tail_begins_at(struct nats_stream *stream, uint64_t next)
{
    struct tail *tail = &stream->tail;
    tail->next = tail->sure = tail->nearly_sure = tail->shown_from = tail->from = next;
    if (tail->end_at > next) tail->end_at = next;
}

/* ---- whether anybody wants it ------------------------------------------------------------------------------- */

void tail_wanted(struct nats_stream *stream, uint64_t identity, uint64_t from)
{
    struct tail *tail = &stream->tail;
    bool goes_on = tail->wish != TAIL_UNWANTED && from >= tail->from;
    tail->wish = TAIL_WANTED;
    if (goes_on || identity != stream->identity) return; /* what the core hears next is where it begins */
    tail_begins_at(stream, from);
    tail_restart(stream);
}

void tail_unwanted(struct nats_stream *stream)
{
    struct tail *tail = &stream->tail;
    if (tail->wish != TAIL_WANTED) return;
    tail->wish = TAIL_ENDING;
    tail->end_ms = nats_now_ms() + stream->storing->linger_ms;
    tail->end_at = tail->next;
}

/* What it has shown may turn out not to be what all have: that is to be known before it ends. */
static bool may_end(const struct nats_stream *stream, uint64_t now_ms)
{
    const struct tail *tail = &stream->tail;
    return tail->wish == TAIL_ENDING && tail->end_ms <= now_ms && (stream->leader == 0 || tail->sure >= tail->end_at);
}

/* Whoever follows another one may have other messages. Who loads a bucket is told all of its values anyhow. */
void tail_led_by(struct nats_stream *stream)
{
    struct tail *tail = &stream->tail;
    if (stream->is_bucket || tail->state != TAIL_RUNS || stream->leader == 0) return;
    if (stream->leader != tail->leader) tail->tries = 0;
    if (stream->leader != tail->leader || tail->is_elsewhere) { /* then there is one more try, each time */
        tail_restart(stream);
        return;
    }
    if (tail->at < tail->next) return; /* it is still comparing */
    tail->sure = tail->nearly_sure;
    tail->nearly_sure = tail->next;
}

static void restart_later(struct nats_stream *stream)
{
    tail_restart(stream);
    stream->tail.again_ms = nats_now_ms() + AGAIN_MS;
}

static void all_came(struct nats_stream *stream)
{
    if (!stream->is_bucket || !stream->tail.is_loading) return;
    stream->tail.is_loading = false;
    records_all_came(stream);
}

static void made(struct nats_stream *stream, const struct js_request *request, mps_view answer)
{
    struct tail *tail = &stream->tail;
    if (tail->state != TAIL_ASKED || tail->number != request->about) return;
    if (answer.ptr == NULL || json_find(answer, "error").ptr != NULL) {
        char why[160];
        json_text(answer, "error.description", why, sizeof why);
        nats_trouble(stream->storing->engine, stream, "%.80s can't be followed: %s", stream->name,
                     why[0] != '\0' ? why : "JetStream does not answer");
        restart_later(stream);
        stream->ask_ms = 0; /* is it still there? */
        return;
    }
    uint64_t host = leader_of(answer);
    tail->is_elsewhere = stream->leader != 0 && host != 0 && host != stream->leader;
    if (tail->is_elsewhere && tail->tries < stream->storing->leader_tries) {
        tail->tries++;
        tail_restart(stream);
        return;
    }
    if (!tail->is_elsewhere) tail->tries = 0;
    tail->state = TAIL_RUNS;
    pthread_cond_broadcast(&stream->storing->room);
    tail->heard_ms = tail->moved_ms = nats_now_ms();
    if (tail->consumer_next == 1 && json_uint(answer, "num_pending", 0) == 0 &&
        json_uint(answer, "delivered.consumer_seq", 0) == 0)
        all_came(stream);
}

/* Where the consumer begins: what was shown is compared as far as it isn't sure. */
static uint64_t beginning(const struct nats_stream *stream)
{
    const struct tail *tail = &stream->tail;
    uint64_t from = tail->sure > tail->shown_from ? tail->sure : tail->shown_from;
    if (tail->next > SHOWN && from < tail->next - SHOWN) from = tail->next - SHOWN;
    return from > stream->first_position ? from : stream->first_position;
}

static void start(struct nats_stream *stream)
{
    struct tail *tail = &stream->tail;
    char name[64], inbox[160], from[NAME_MAX_BYTES + 80], subject[NAME_MAX_BYTES + 128], body[2 * NAME_MAX_BYTES + 800];
    tail->number = ++stream->storing->serial;
    tail->consumer_next = 1;
    consumer_name(stream->storing, 't', stream->index, tail->number, name, sizeof name);
    storing_inbox(stream->storing, 'd', name, inbox, sizeof inbox);
    if (stream->is_bucket) {
        tail->is_loading = true;
        tail->load_next = stream->known_next;
        /* Marks of what was removed may have gone meanwhile. */
        if (nats_now_ms() - tail->current_ms > stream->storing->stale_ms) tail->next = 0;
    }
    if (tail->next == 0) {
        snprintf(from, sizeof from, "\"deliver_policy\":\"last_per_subject\",\"filter_subject\":\"%s.>\"",
                 stream->subjects);
        storing_tell(stream->storing, EVENT_BEGIN, 0);
        tail->at = 0;
    } else {
        tail->at = stream->is_bucket ? tail->next : beginning(stream);
        snprintf(from, sizeof from, "\"deliver_policy\":\"by_start_sequence\",\"opt_start_seq\":%" PRIu64, tail->at);
    }
    tail->leader = stream->leader;
    snprintf(subject, sizeof subject, "$JS.API.CONSUMER.CREATE.%s.%s", stream->name, name);
    snprintf(
        body, sizeof body,
        "{\"stream_name\":\"%s\",\"config\":{\"name\":\"%s\",\"deliver_subject\":\"%s\",%s,\"ack_policy\":\"none\","
        "\"max_deliver\":1,\"flow_control\":true,\"idle_heartbeat\":%" PRIu64
        ",\"mem_storage\":true,\"num_replicas\":1,\"inactive_threshold\":10000000000}}",
        stream->name, name, inbox, from, (uint64_t)HEARTBEAT_MS * 1000000);
    struct js_request *request = js_ask(stream, subject, body);
    request->done = made;
    request->about = tail->number;
    request->inbox = strdup(inbox);
    if (request->inbox == NULL) abort();
    tail->state = TAIL_ASKED;
    tail->heard_ms = nats_now_ms();
}

static void end(struct nats_stream *stream)
{
    struct tail *tail = &stream->tail;
    tail->wish = TAIL_UNWANTED;
    tail->open = NULL;
    if (tail->state == TAIL_NONE) return;
    is_no_more(stream);
    struct js_request *request = forget_consumer(stream);
    request->about = tail->number;
    request->inbox = sure(strdup(""));
}

/* Its server has less than what others have said is there, and gets no more. */
static bool is_behind(const struct nats_stream *stream, uint64_t now_ms)
{
    const struct tail *tail = &stream->tail;
    return !stream->is_bucket && tail->next < stream->known_next && tail->moved_ms + BEHIND_MS <= now_ms;
}

void tail_work(struct nats_stream *stream, struct round *round)
{
    struct tail *tail = &stream->tail;
    if (may_end(stream, round->now_ms)) end(stream);
    if (!stream->is_there || tail->wish == TAIL_UNWANTED) return;
    if (tail->state == TAIL_NONE && tail->again_ms > round->now_ms) {
        round_again(round, tail->again_ms);
        return;
    }
    if (tail->state == TAIL_RUNS) {
        bool waits = stream->storing->event_bytes >= EVENT_BYTES; /* it is we who don't take what is there */
        bool is_silent = tail->heard_ms + SILENCE_MS <= round->now_ms;
        if (!waits && (is_silent || is_behind(stream, round->now_ms))) tail_restart(stream);
        else round_again(round, round->now_ms + HEARTBEAT_MS);
    }
    if (tail->state == TAIL_NONE) start(stream);
}

/* ---- what it sends: libnats' thread ------------------------------------------------------------------------- */

static void take_frame(struct nats_stream *stream, const struct delivery *delivery, natsMsg *message)
{
    int len = natsMsg_GetDataLength(message);
    mps_view frame = {(const uint8_t *)natsMsg_GetData(message), len > 0 ? (uint32_t)len : 0};
    uint64_t expires_ms = 0;
    if (frame_is_sound(frame, delivery->time_ms, &expires_ms)) {
        storing_tell_tail(stream, delivery, frame, expires_ms);
        return;
    }
    nats_warn(stream->storing->engine, &stream->tail,
              "the shared stream %.80s: what is at %" PRIu64 " is no message, and passed over", stream->config.name,
              delivery->position);
}

static void note_shown(struct tail *tail, uint64_t position, uint64_t sum)
{
    if (tail->shown == NULL) tail->shown = sure(calloc(SHOWN, sizeof *tail->shown));
    if (position - tail->next >= SHOWN) memset(tail->shown, 0, SHOWN * sizeof *tail->shown);
    else
        for (uint64_t hole = tail->next; hole < position; hole++) tail->shown[hole % SHOWN] = 0;
    tail->shown[position % SHOWN] = sum;
}

/* False: it had been shown. */
static bool is_new(struct nats_stream *stream, const struct delivery *delivery, natsMsg *message)
{
    struct tail *tail = &stream->tail;
    int len = natsMsg_GetDataLength(message);
    uint64_t sum = sum_of((mps_view){(const uint8_t *)natsMsg_GetData(message), len > 0 ? (uint32_t)len : 0});
    if (delivery->position >= tail->next) {
        note_shown(tail, delivery->position, sum);
        return true;
    }
    if (!tail->is_elsewhere && sum != tail->shown[delivery->position % SHOWN])
        stream_was_rewritten(stream, delivery->position);
    return false;
}

/* One message of a consumer. It has to be the next one. */
static void take(struct nats_stream *stream, const struct delivery *delivery, natsMsg *message)
{
    struct tail *tail = &stream->tail;
    tail->heard_ms = nats_now_ms();
    if (delivery->number != tail->consumer_next || delivery->position < tail->at) {
        tail_restart(stream);
        return;
    }
    tail->consumer_next++;
    tail->current_ms = tail->moved_ms = tail->heard_ms;
    tail->at = delivery->position + 1;
    if (!stream->is_bucket && !is_new(stream, delivery, message)) return;
    tail->next = tail->at;
    stream_knows(stream, tail->next);
    if (stream->is_bucket) record_came(stream, delivery, message);
    else take_frame(stream, delivery, message);
    if (delivery->pending == 0) all_came(stream);
}

static struct nats_stream *stream_of(const struct nats_storing *storing, mps_view consumer)
{
    uint32_t index;
    uint64_t number;
    if (!consumer_is_ours(storing, consumer, 't', &index, &number)) return NULL;
    struct nats_stream *stream = storing_stream(storing, index);
    return stream != NULL && stream->tail.state != TAIL_NONE && stream->tail.number == number ? stream : NULL;
}

/* Its first messages may come before the answer that tells where it is: they wait for that. Each consumer's come by a
 * thread of libnats of their own, so nothing else does. */
static struct nats_stream *placed_stream_of(struct nats_storing *storing, mps_view consumer)
{
    struct nats_stream *stream;
    while ((stream = stream_of(storing, consumer)) != NULL && stream->tail.state == TAIL_ASKED) {
        if (storing->is_closing) return NULL;
        pthread_cond_wait(&storing->room, &storing->lock);
    }
    return stream;
}

/* A heartbeat, or what asks for leave to send more: its reply subject is what it wants to hear. The inbox says of which
 * consumer. */
static void take_status(struct nats_storing *storing, natsMsg *message, char *leave, size_t cap)
{
    const char *name = strrchr(natsMsg_GetSubject(message), '.'), *last = NULL, *reply = natsMsg_GetReply(message);
    struct nats_stream *stream = name != NULL ? stream_of(storing, mps_text(name + 1)) : NULL;
    if (stream == NULL) return;
    stream->tail.heard_ms = nats_now_ms();
    if (reply != NULL) {
        snprintf(leave, cap, "%s", reply);
        return;
    }
    if (natsMsgHeader_Get(message, "Nats-Last-Consumer", &last) == NATS_OK &&
        strtoull(last, NULL, 10) + 1 != stream->tail.consumer_next) {
        tail_restart(stream); /* the last ones did not come */
        return;
    }
    stream->tail.current_ms = stream->tail.heard_ms;
    if (natsMsgHeader_Get(message, "Nats-Consumer-Stalled", &last) == NATS_OK) snprintf(leave, cap, "%s", last);
}

/* The loop stood still for so long that marks of what was removed may have gone. */
static void load_anew(struct nats_stream *bucket)
{
    bucket->tail.next = 0;
    tail_restart(bucket);
}

void tail_message(natsConnection *connection, natsSubscription *subscription, natsMsg *message, void *arg)
{
    struct nats_storing *storing = arg;
    const char *reply = natsMsg_GetReply(message);
    struct delivery delivery;
    char leave[512] = "";
    pthread_mutex_lock(&storing->lock);
    uint64_t begun_ms = nats_now_ms();
    if (storing->event_bytes >= EVENT_BYTES) storing_say(storing, NULL);
    storing_wait_for_room(storing);
    bool is_stale = nats_now_ms() - begun_ms > storing->stale_ms;
    if (reply != NULL && delivery_of(reply, &delivery)) {
        struct nats_stream *stream = placed_stream_of(storing, delivery.consumer);
        if (stream != NULL && is_stale && stream->is_bucket) load_anew(stream);
        else if (stream != NULL) take(stream, &delivery, message);
    } else {
        take_status(storing, message, leave, sizeof leave);
    }
    storing_say(storing, subscription);
    pthread_mutex_unlock(&storing->lock);
    if (leave[0] != '\0') natsConnection_Publish(connection, leave, NULL, 0);
    natsMsg_Destroy(message);
}
