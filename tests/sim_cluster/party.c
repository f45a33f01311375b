#include "party.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAD_MAX 65536
#define SESSION_S 600

/* More than a broker may ever send. */
static const struct mps_limits wide = {.head_max = 16384, .values_max = 4096, .payload_max = 4 * 1024 * 1024};

static void *room_for(void *array, size_t count, uint32_t *room, size_t size)
{
    if (count < *room) return array;
    *room = *room == 0 ? 64 : 2 * *room;
    array = realloc(array, *room * size);
    if (array == NULL) abort();
    return array;
}

/* ---- what it writes ----------------------------------------------------------------------------------------- */

static void write_out(struct party *party, const struct mps_out *out)
{
    if (out->full) abort();
    if (party->link == NULL) return;
    party->written += out->len;
    town_push(party->link, out->buf, out->len);
}

/* Of the next message. */
static void put_terms(const struct party *party, struct mps_out *out, uint32_t flags)
{
    flags |= party->level << MPS_PUB_LEVEL_SHIFT;
    mps_encode_pub(out, &(struct mps_pub){.pid = party->level > 0 ? party->last_pid + 1 : 0, .flags = flags});
}

static bool is_back(const struct party *party)
{
    return party->identity != party->number;
}

static void hello(struct party *party)
{
    uint8_t buf[256];
    char id[PARTY_NAME_MAX];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    snprintf(id, sizeof id, "c%" PRIu32, party->identity);
    mps_encode_hello(&out, &(struct mps_hello){.magic = mps_text("mps"),
                                               .version = 1,
                                               .id = mps_text(id),
                                               .sess_s = party->level == LEVEL_REPLICATED ? SESSION_S : 0,
                                               .boot = party->level == LEVEL_REPLICATED ? party->identity + 1 : 0});
    if (party->level > 0 && !is_back(party)) put_terms(party, &out, 0);
    write_out(party, &out);
}

bool party_subscribe(struct party *party, const char *pattern, const char *group, bool for_cluster, bool reader)
{
    uint8_t buf[256];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    uint32_t at = 0;
    while (at < PARTY_SUBS_MAX && party->subs[at] != NULL) at++;
    if (at == PARTY_SUBS_MAX) return false;
    struct sub *sub =
        ledger_subscribe(party->ledger, party->number, party->node, ++party->sids, pattern, group, reader);
    if (sub == NULL) return false;
    party->subs[at] = sub;
    sub->wants_cluster = for_cluster;
    struct mps_sub frame = {.sid = sub->sid, .pattern = mps_text(pattern)};
    if (group != NULL) frame.options.given |= MPS_SUB_GROUP;
    frame.options.group = mps_text(group);
    if (reader) frame.options.given |= MPS_SUB_FROM;
    frame.options.from.kind = reader ? MPS_FROM_ALL : MPS_FROM_NEW;
    if (for_cluster) frame.options.given |= MPS_SUB_SCOPE;
    frame.options.scope = for_cluster ? MPS_SCOPE_CLUSTER : MPS_SCOPE_LOCAL;
    mps_encode_sub(&out, &frame);
    write_out(party, &out);
    town_tell(party->town, "c%u at b%u subscribes to %s, sid %u%s%s%s%s", party->number, party->node, pattern, sub->sid,
              group != NULL ? " in group " : "", group != NULL ? group : "", for_cluster ? ", for the cluster" : "",
              reader ? ", as a reader" : "");
    return true;
}

void party_unsubscribe(struct party *party, uint32_t which)
{
    uint8_t buf[16];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    struct sub *sub = party->subs[which];
    if (sub == NULL) return;
    sub->alive = false;
    mps_encode_unsub(&out, &(struct mps_unsub){.sid = sub->sid});
    write_out(party, &out);
    town_tell(party->town, "c%u ends sid %u", party->number, sub->sid);
}

static void put_message(struct mps_out *out, uint32_t index, const char *topic, uint32_t pad)
{
    static char payload[PAD_MAX + 16];
    int len = snprintf(payload, sizeof payload, "%" PRIu32 " ", index);
    memset(payload + len, '.', pad);
    mps_encode_msg(
        out, &(struct mps_msg){.topic = mps_text(topic), .payload = {(const uint8_t *)payload, (uint32_t)len + pad}});
}

static void note_message(struct party *party, const struct mps_out *out, uint32_t index, uint64_t pid)
{
    party->landmarks =
        room_for(party->landmarks, party->landmarks_count, &party->landmarks_room, sizeof *party->landmarks);
    party->landmarks[party->landmarks_count++] = (struct landmark){party->written + out->len, index};
    party->pids = room_for(party->pids, party->pids_count, &party->pids_room, sizeof *party->pids);
    party->pids[party->pids_count++] = (struct pid_of){pid, index};
}

void party_publish(struct party *party, const char *topic, uint32_t pad, bool retain)
{
    static uint8_t buf[PAD_MAX + 512];
    if (party->link == NULL || pad > PAD_MAX || (is_back(party) && !party->welcomed)) return;
    uint32_t index = ledger_publish(party->ledger, party->number, party->node, topic, retain);
    struct mps_out out = mps_out_open(buf, sizeof buf);
    if (retain) put_terms(party, &out, MPS_PUB_RETAIN);
    if (party->level > 0) party->last_pid++;
    put_message(&out, index, topic, pad);
    note_message(party, &out, index, party->last_pid);
    if (retain) put_terms(party, &out, 0); /* as for the others */
    write_out(party, &out);
}

/* What the one of before had no answer to: what is settled by now is known to the broker. */
static void publish_again(struct party *party, uint64_t settled)
{
    static uint8_t buf[PAD_MAX + 512];
    uint32_t count = party->pids_count;
    party->pids_count = 0; /* they are noted again */
    party->last_pid = settled;
    for (uint32_t i = 0; i < count; i++) {
        struct pid_of pid = party->pids[i];
        struct mps_out out = mps_out_open(buf, sizeof buf);
        struct message *message = &party->ledger->messages[pid.message];
        if (pid.pid <= settled) continue;
        party->last_pid = pid.pid - 1;
        if (party->pids_count == 0) put_terms(party, &out, 0);
        message->resent = true;
        put_message(&out, pid.message, message->topic, 0);
        note_message(party, &out, pid.message, ++party->last_pid);
        write_out(party, &out);
    }
    if (party->pids_count > 0) return;
    uint8_t none[16];
    struct mps_out out = mps_out_open(none, sizeof none);
    put_terms(party, &out, 0);
    write_out(party, &out);
}

void party_ping(struct party *party)
{
    uint8_t buf[32], token[4];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    for (int i = 0; i < 4; i++) token[i] = (uint8_t)(party->ledger->messages_count >> (8 * i));
    mps_encode_ping(&out, &(struct mps_token){.token = {token, sizeof token}});
    write_out(party, &out);
}

void party_bye(struct party *party)
{
    uint8_t buf[16];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    mps_encode_bye(&out, &(struct mps_bye){.code = 0});
    write_out(party, &out);
    party->leaving = true;
    for (uint32_t i = 0; i < PARTY_SUBS_MAX; i++)
        if (party->subs[i] != NULL) party->subs[i]->alive = false;
    town_tell(party->town, "c%u says bye", party->number);
}

void party_cut(struct party *party)
{
    town_tell(party->town, "c%u is cut", party->number);
    if (party->link != NULL) town_cut(party->link);
}

/* ---- what comes --------------------------------------------------------------------------------------------- */

static struct sub *sub_of(const struct party *party, uint32_t sid)
{
    for (uint32_t i = 0; i < PARTY_SUBS_MAX; i++)
        if (party->subs[i] != NULL && party->subs[i]->sid == sid) return party->subs[i];
    return NULL;
}

static void on_suback(struct party *party, const struct mps_suback *suback)
{
    struct sub *sub = sub_of(party, suback->sid);
    if (sub == NULL) return;
    if (suback->code != MPS_OK) {
        town_fail(party->town, "client %u, sid %u: refused with %u: %.*s", party->number, suback->sid, suback->code,
                  (int)suback->text.len, (const char *)suback->text.ptr);
        return;
    }
    bool only_local = (suback->granted.given & MPS_SUB_SCOPE) != 0 && suback->granted.scope == MPS_SCOPE_LOCAL;
    ledger_granted(party->ledger, sub, sub->wants_cluster && !only_local);
    town_tell(party->town, "c%u: sid %u is granted%s", party->number, sub->sid, only_local ? ", only here" : "");
}

/* Whether a message may be refused with this. */
static bool may_refuse(const struct party *party, const struct message *message, uint32_t code)
{
    return code == MPS_ACK_LEVEL && message->stored && !party->ledger->calm;
}

/* All messages up to this pid are settled. */
static void on_puback(struct party *party, const struct mps_puback *ack)
{
    while (party->pids_at < party->pids_count && party->pids[party->pids_at].pid <= ack->pid) {
        const struct pid_of *pid = &party->pids[party->pids_at++];
        struct message *message = &party->ledger->messages[pid->message];
        bool is_last = pid->pid == ack->pid;
        message->refused = ack->code >= MPS_INTERNAL && is_last;
        message->sure = !message->refused;
        if (message->refused && !may_refuse(party, message, ack->code))
            town_fail(party->town, "message %u was refused with %u: %.*s", pid->message, ack->code, (int)ack->text.len,
                      (const char *)ack->text.ptr);
        if (message->sure && party->level == LEVEL_REPLICATED)
            ledger_acked(party->ledger, pid->message, is_last ? ack->seq : 0);
    }
}

static void on_pong(struct party *party, mps_view token)
{
    uint32_t end = 0;
    party->pongs++;
    if (token.len != 4) return;
    for (int i = 0; i < 4; i++) end |= (uint32_t)token.ptr[i] << (8 * i);
    if (party->level == LEVEL_REPLICATED) return; /* those are still on their way */
    for (uint32_t i = party->pids_at; i < party->pids_count && party->pids[i].message < end; i++) {
        struct message *message = &party->ledger->messages[party->pids[i].message];
        message->sure = !may_refuse(party, message, MPS_ACK_LEVEL); /* an ERR does not say which one it was */
    }
    while (party->level == 0 && party->pids_at < party->pids_count && party->pids[party->pids_at].message < end)
        party->pids_at++;
}

static void show(struct party *party, mps_view topic, uint32_t index)
{
    for (uint32_t i = 0; i < party->shown_count; i++) {
        if (!mps_view_equal(topic, mps_text(party->shown[i].topic))) continue;
        party->shown[i].message = index;
        return;
    }
    party->shown = room_for(party->shown, party->shown_count, &party->shown_room, sizeof *party->shown);
    struct shown *shown = &party->shown[party->shown_count++];
    snprintf(shown->topic, sizeof shown->topic, "%.*s", (int)topic.len, (const char *)topic.ptr);
    shown->message = index;
}

static void on_msg(struct party *party, const struct mps_msg *msg)
{
    struct sub *sub = sub_of(party, party->for_sid);
    uint32_t index = ledger_index(msg->payload);
    uint64_t position = party->for_position;
    if (position > 0) party->for_position++;
    if (sub == NULL) {
        town_fail(party->town, "client %u got a message for sid %u, which it does not have", party->number,
                  party->for_sid);
        return;
    }
    if (party->town->trace)
        town_tell(party->town, "c%u << message %u, sid %u%s", party->number, index, sub->sid,
                  party->for_flags & MPS_FOR_RETAINED ? ", retained" : "");
    if (index < party->ledger->messages_count && party->ledger->messages[index].retain)
        sub->values[ledger_topic(msg->topic)] = index + 1;
    if (position > 0) ledger_got_stored(party->ledger, sub, index, position);
    else if (party->for_flags & MPS_FOR_RETAINED) show(party, msg->topic, index);
    else ledger_got(party->ledger, sub, index, msg->topic);
}

static void on_gap(struct party *party, const struct mps_gap *gap)
{
    struct sub *sub = sub_of(party, gap->sid);
    town_tell(party->town, "c%u << gap %u, sid %u", party->number, gap->reason, gap->sid);
    if (sub != NULL) ledger_gap(party->ledger, sub, gap);
}

/* Whether a connection may end with this. Of a session that was at several brokers, word may come late to where it is.
 */
static bool may_end(const struct party *party, uint32_t code)
{
    return code == MPS_SHUTTING_DOWN || (code == MPS_TAKEN_OVER && is_back(party));
}

static void on_frame(struct party *party, mps_view frame)
{
    const char *what = NULL;
    enum mps_code code = MPS_OK;
    union {
        struct mps_welcome welcome;
        struct mps_suback suback;
        struct mps_puback puback;
        struct mps_for terms;
        struct mps_msg msg;
        struct mps_gap gap;
        struct mps_token token;
        struct mps_err err;
        struct mps_bye bye;
    } in;
    switch (mps_frame_op(frame)) {
    case MPS_OP_WELCOME:
        code = mps_decode_welcome(frame, &in.welcome, &what);
        party->welcomed = true;
        if (code == MPS_OK && is_back(party)) publish_again(party, in.welcome.last_pid);
        break;
    case MPS_OP_SUBACK:
        if ((code = mps_decode_suback(frame, &in.suback, &what)) == MPS_OK) on_suback(party, &in.suback);
        break;
    case MPS_OP_PUBACK:
        if ((code = mps_decode_puback(frame, &in.puback, &what)) == MPS_OK) on_puback(party, &in.puback);
        break;
    case MPS_OP_FOR:
        code = mps_decode_for(frame, &in.terms, &what);
        party->for_sid = in.terms.sid;
        party->for_flags = in.terms.flags;
        party->for_position = in.terms.has_position ? in.terms.seq : 0;
        break;
    case MPS_OP_MSG:
        if ((code = mps_decode_msg(frame, &in.msg, &what)) == MPS_OK) on_msg(party, &in.msg);
        break;
    case MPS_OP_GAP:
        if ((code = mps_decode_gap(frame, &in.gap, &what)) == MPS_OK) on_gap(party, &in.gap);
        break;
    case MPS_OP_PONG:
        if ((code = mps_decode_token(frame, &in.token, &what)) == MPS_OK) on_pong(party, in.token.token);
        break;
    case MPS_OP_ERR:
        code = mps_decode_err(frame, &in.err, &what);
        if (code == MPS_OK && (in.err.code != MPS_ACK_LEVEL || party->ledger->calm))
            town_fail(party->town, "client %u got ERR %u: %.*s", party->number, in.err.code, (int)in.err.text.len,
                      (const char *)in.err.text.ptr);
        break;
    case MPS_OP_BYE:
        code = mps_decode_bye(frame, &in.bye, &what);
        if (code == MPS_OK && in.bye.code != MPS_OK && !may_end(party, in.bye.code))
            town_fail(party->town, "client %u got BYE %u: %.*s", party->number, in.bye.code, (int)in.bye.text.len,
                      (const char *)in.bye.text.ptr);
        break;
    default: break;
    }
    if (code != MPS_OK) town_fail(party->town, "a broker sent a frame that does not decode: %s", what);
}

static void on_bytes(struct link *link, const uint8_t *bytes, size_t len)
{
    struct party *party = link->owner;
    while (party->partial_len + len > party->partial_room) {
        party->partial_room = 2 * (party->partial_len + len);
        party->partial = realloc(party->partial, party->partial_room);
        if (party->partial == NULL) abort();
    }
    memcpy(party->partial + party->partial_len, bytes, len);
    party->partial_len += len;
    size_t at = 0;
    while (at < party->partial_len && !party->town->failed) {
        struct mps_scan scan = {0};
        enum mps_scan_result result = mps_scan(&scan, party->partial + at, party->partial_len - at, &wide);
        if (result == MPS_SCAN_MORE) break;
        if (result != MPS_SCAN_FRAME) {
            town_fail(party->town, "the broker's stream breaks: %s", scan.error);
            break;
        }
        on_frame(party, (mps_view){party->partial + at, scan.pos});
        at += scan.pos;
    }
    party->partial_len -= at;
    memmove(party->partial, party->partial + at, party->partial_len);
}

static void on_read(struct link *link, size_t len)
{
    struct party *party = link->owner;
    party->read += len;
    while (party->landmarks_at < party->landmarks_count && party->landmarks[party->landmarks_at].at <= party->read) {
        uint32_t index = party->landmarks[party->landmarks_at++].message;
        ledger_accepted(party->ledger, index);
        if (party->town->trace)
            town_tell(party->town, "b%u reads message %u of c%u to %s", party->node, index, party->number,
                      party->ledger->messages[index].topic);
    }
}

static void on_closed(struct link *link)
{
    struct party *party = link->owner;
    party->link = NULL;
    for (uint32_t i = 0; i < PARTY_SUBS_MAX; i++)
        if (party->subs[i] != NULL) party->subs[i]->alive = false;
}

/* ---- life --------------------------------------------------------------------------------------------------- */

static struct party *come(struct ledger *ledger, struct node *node, uint32_t number, uint32_t level, uint32_t identity)
{
    struct party *party = calloc(1, sizeof *party);
    if (party == NULL) abort();
    struct town *town = node->town;
    town->on_bytes = on_bytes;
    town->on_read = on_read;
    town->on_closed = on_closed;
    *party = (struct party){
        .town = town, .ledger = ledger, .number = number, .node = node->number, .level = level, .identity = identity};
    party->link = town_connect(node, party);
    if (party->link == NULL) {
        free(party);
        return NULL;
    }
    ledger->connected[number] = town->event;
    hello(party);
    return party;
}

struct party *party_come(struct ledger *ledger, struct node *node, uint32_t number, uint32_t level)
{
    town_tell(node->town, "c%u comes to b%u, level %u", number, node->number, level);
    return come(ledger, node, number, level, number);
}

bool party_is_unsettled(const struct party *party)
{
    return party->pids_at < party->pids_count;
}

struct party *party_return(const struct party *gone, struct node *node, uint32_t number)
{
    struct party *party = come(gone->ledger, node, number, gone->level, gone->identity);
    if (party == NULL) return NULL;
    town_tell(node->town, "c%u is back at b%u as c%u", gone->number, node->number, number);
    for (uint32_t i = gone->pids_at; i < gone->pids_count; i++) {
        party->pids = room_for(party->pids, party->pids_count, &party->pids_room, sizeof *party->pids);
        party->pids[party->pids_count++] = gone->pids[i];
    }
    return party;
}

void party_free(struct party *party)
{
    free(party->landmarks);
    free(party->pids);
    free(party->partial);
    free(party->shown);
    free(party);
}
