#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAYLOAD_MAX 60000 /* bytes: of several reads, and more than most pipes hold */
/* Answers not read yet; so the broker never stops reading because of them, but where main.c wants it to. */
#define UNANSWERED_MAX 100

/* ---- writing frames ---- */

static void push(struct client *client, const struct mps_out *out, struct action *action)
{
    if (out->full) abort(); /* the buffers here are large enough for everything that is built in them */
    world_push(client->conn->link, out->buf, out->len);
    action->due = client->conn->link->pushed;
    model_act(client->conn, action);
}

static void push_bytes(struct client *client, const char *bytes, size_t len, enum action_kind kind, uint32_t code,
                       uint32_t op)
{
    world_push(client->conn->link, bytes, len);
    model_act(client->conn, &(struct action){.kind = kind, .code = code, .op = op, .due = client->conn->link->pushed});
}

/* A head of str, bin, array or a number in a random one of its widths. */
static void put_wide(struct rng *rng, struct mps_out *out, unsigned byte8, unsigned byte16, unsigned byte32,
                     uint32_t number)
{
    uint8_t head[5];
    uint32_t choice = rng_below(rng, 3);
    uint32_t len = 0;
    if (byte8 != 0 && choice == 0 && number < 256) {
        head[len++] = (uint8_t)byte8;
    } else if (choice <= 1 && number < 65536) {
        head[len++] = (uint8_t)byte16;
        head[len++] = (uint8_t)(number >> 8);
    } else {
        head[len++] = (uint8_t)byte32;
        head[len++] = (uint8_t)(number >> 24);
        head[len++] = (uint8_t)(number >> 16);
        head[len++] = (uint8_t)(number >> 8);
    }
    head[len++] = (uint8_t)number;
    mps_put_raw(out, (mps_view){head, len});
}

static void put_props(struct client *client, struct mps_out *out, bool bad)
{
    struct rng *rng = client->scene->rng;
    if (bad) {
        mps_put_map(out, 1);
        mps_put_uint(out, MPS_PROP_TTL_MS);
        mps_put_text(out, mps_text("soon"));
    } else if (rng_percent(rng, 70)) {
        mps_put_nil(out);
    } else {
        mps_put_map(out, 2);
        mps_put_uint(out, MPS_PROP_MESSAGE_ID);
        mps_put_uint(out, rng_below(rng, 100));
        mps_put_text(out, mps_text("unit"));
        mps_put_text(out, mps_text("m/s"));
    }
}

/* A MSG frame up to its payload's body: the shortest form as a rule, else anything that means the same. */
static void put_msg_head(struct client *client, struct mps_out *out, const struct name *topic, bool bad_props,
                         uint32_t payload_len, uint32_t extra)
{
    struct rng *rng = client->scene->rng;
    mps_view text = {(const uint8_t *)topic->text, topic->len};
    if (rng_percent(rng, 80)) {
        mps_put_array(out, 4 + extra);
        mps_put_uint(out, MPS_OP_MSG);
        mps_put_text(out, text);
        put_props(client, out, bad_props);
        mps_put_bin_head(out, payload_len);
        return;
    }
    put_wide(rng, out, 0, 0xdc, 0xdd, 4 + extra);
    put_wide(rng, out, 0xcc, 0xcd, 0xce, MPS_OP_MSG);
    put_wide(rng, out, 0xd9, 0xda, 0xdb, topic->len);
    mps_put_raw(out, text);
    put_props(client, out, bad_props);
    put_wide(rng, out, 0xc4, 0xc5, 0xc6, payload_len);
}

static uint32_t random_payload_len(struct client *client)
{
    struct scene *scene = client->scene;
    uint32_t most = scene->model->limits.max_payload < PAYLOAD_MAX ? scene->model->limits.max_payload : PAYLOAD_MAX;
    uint32_t len = rng_percent(scene->rng, 2) ? most - rng_below(scene->rng, most < 3 ? most : 3)
                                              : rng_skewed(scene->rng, scene->payload_usual);
    return len < most ? len : most;
}

/* The body: who and the how-many-th, as far as it fits, then anything. */
static void put_payload(struct client *client, struct mps_out *out, uint32_t len)
{
    static uint8_t body[PAYLOAD_MAX];
    char text[64];
    int text_len = snprintf(text, sizeof text, "%u:%u:", ++client->scene->serial, client->conn->number);
    memset(body, (int)(client->scene->serial & 255), len);
    memcpy(body, text, (uint32_t)text_len < len ? (uint32_t)text_len : len);
    mps_put_raw(out, (mps_view){body, len});
}

static void write_msg(struct client *client, const struct name *topic, uint32_t payload_len, uint32_t code)
{
    static uint8_t room[PAYLOAD_MAX + 1024];
    struct rng *rng = client->scene->rng;
    struct mps_out out = mps_out_open(room, sizeof room);
    uint32_t extra = rng_percent(rng, 3);
    put_msg_head(client, &out, topic, code == MPS_BAD_PROPS, payload_len, extra);
    put_payload(client, &out, payload_len);
    if (extra > 0) mps_put_text(&out, mps_text("later"));
    struct action action = {.kind = ACT_MSG, .code = code};
    if (code == 0) action.message = model_message(client->scene->model, out.buf, out.len, payload_len, topic);
    push(client, &out, &action);
    if (client->flags & MPS_PUB_LEVEL_MASK) client->next_pid++;
}

/* Over max_payload: the broker answers as soon as it has the head, so it is due there. */
static void write_oversized(struct client *client)
{
    static uint8_t room[PAYLOAD_MAX * 4 + 1024];
    struct scene *scene = client->scene;
    uint32_t most = scene->model->limits.max_payload;
    if (most > PAYLOAD_MAX) return;
    uint32_t len = rng_percent(scene->rng, 50) ? most + 1 : rng_between(scene->rng, most + 1, 4 * most);
    struct mps_out out = mps_out_open(room, sizeof room);
    put_msg_head(client, &out, &scene->topics[rng_below(scene->rng, scene->topics_count)], false, len, 0);
    world_push(client->conn->link, out.buf, out.len);
    model_act(client->conn,
              &(struct action){.kind = ACT_MSG, .code = MPS_TOO_LARGE, .due = client->conn->link->pushed});
    memset(room, 0xc1, len);
    world_push(client->conn->link, room, len);
    if (client->flags & MPS_PUB_LEVEL_MASK) client->next_pid++;
}

static void write_hello(struct client *client)
{
    static const struct {
        const char *id, *auth;
        uint64_t version;
        uint32_t code;
    } wrong[] = {
        {"bad/id", NULL, 1, MPS_BAD_CLIENT_ID},
        {"", NULL, 1, MPS_BAD_CLIENT_ID},
        {NULL, "token", 1, MPS_AUTH},
        {NULL, NULL, 0, MPS_VERSION},
    };
    struct rng *rng = client->scene->rng;
    uint8_t room[512];
    struct mps_out out = mps_out_open(room, sizeof room);
    struct mps_hello hello = {.magic = mps_text("mps"), .version = rng_percent(rng, 10) ? 3 : 1};
    struct action action = {.kind = ACT_HELLO};
    if (rng_percent(rng, 3)) {
        uint32_t i = rng_below(rng, sizeof wrong / sizeof *wrong);
        hello.id = mps_text(wrong[i].id);
        hello.auth = mps_text(wrong[i].auth);
        hello.version = wrong[i].version;
        action.code = wrong[i].code;
    } else if (rng_percent(rng, 40)) {
        char id[16];
        snprintf(id, sizeof id, "c%u", rng_percent(rng, 30) ? rng_below(rng, 3) : 100 + client->conn->number);
        action.name = name_of(id);
        hello.id = (mps_view){(const uint8_t *)action.name.text, action.name.len};
    }
    if (rng_percent(rng, 30)) hello.auth = action.code ? hello.auth : mps_text("none");
    hello.rx_max = action.rx_max = client->rx_max =
        rng_percent(rng, 20) ? rng_between(rng, 20, 1 + 2 * client->scene->payload_usual + 60) : 0;
    hello.ka_s = action.ka_s = rng_percent(rng, 40) ? rng_between(rng, 1, 20) : 0;
    hello.half = action.half = rng_percent(rng, 30);
    hello.sess_s = rng_percent(rng, 10) ? 60 : 0;
    hello.boot = rng_percent(rng, 10) ? 77 : 0;
    action.will = rng_percent(rng, 5);
    if (action.will) hello.will = (mps_view){(const uint8_t *)"\x94\xa1w\xc4\x00\x00\x00", 7};
    mps_encode_hello(&out, &hello);
    push(client, &out, &action);
    client->hello_sent = true;
}

static void write_pub(struct client *client)
{
    struct scene *scene = client->scene;
    struct rng *rng = scene->rng;
    uint8_t room[32];
    struct mps_out out = mps_out_open(room, sizeof room);
    struct mps_pub pub = {0};
    if (rng_percent(rng, scene->ack_percent)) {
        uint32_t level = rng_percent(rng, 95) ? 1 : rng_between(rng, 2, 3);
        pub.flags = level << MPS_PUB_LEVEL_SHIFT;
        if (rng_percent(rng, 20)) pub.flags |= MPS_PUB_EACH;
        if (client->next_pid == 0) client->next_pid = rng_percent(rng, 70) ? 1 : rng_between(rng, 2, 1000000);
        if (client->next_pid > 0 && client->acked_pid == 0) client->acked_pid = client->next_pid - 1;
        pub.pid = client->next_pid;
    }
    if (rng_percent(rng, scene->retain_percent)) pub.flags |= MPS_PUB_RETAIN;
    if (rng_percent(rng, 15)) pub.flags |= MPS_PUB_MUST_ROUTE;
    if (rng_percent(rng, 10)) pub.flags |= 0x100; /* a bit that means nothing yet */
    mps_encode_pub(&out, &pub);
    push(client, &out, &(struct action){.kind = ACT_PUB, .pid = pub.pid, .flags = pub.flags});
    client->flags = pub.flags;
}

static bool may_publish(const struct client *client)
{
    if (!(client->flags & MPS_PUB_LEVEL_MASK)) return true;
    uint64_t window = client->scene->model->limits.pub_window_count;
    uint64_t waiting = client->next_pid - 1 - client->acked_pid;
    return waiting < window && waiting < 4 * UNANSWERED_MAX;
}

static void write_bad_msg(struct client *client)
{
    static const char *const reserved[] = {"$SYS/load", "$dead/a", "$inbox/x/1", "$x"};
    struct rng *rng = client->scene->rng;
    struct name name = client->scene->topics[rng_below(rng, client->scene->topics_count)];
    switch (rng_below(rng, 4)) {
    case 0:
        name = name_of(reserved[rng_below(rng, 4)]);
        write_msg(client, &name, 3, MPS_NOT_AUTHORISED);
        break;
    case 1:
        name = name_of(rng_percent(rng, 50) ? "a/+/b" : "");
        write_msg(client, &name, 3, MPS_BAD_TOPIC);
        break;
    case 2: write_msg(client, &name, 3, MPS_BAD_PROPS); break;
    case 3: write_oversized(client); break;
    }
}

static void publish(struct client *client)
{
    struct scene *scene = client->scene;
    struct rng *rng = scene->rng;
    uint32_t count = rng_skewed(rng, scene->payload_usual > 1000 ? 12 : 60);
    const struct name *topic = &scene->topics[rng_below(rng, scene->topics_count)];
    bool same_length = rng_percent(rng, 40);
    uint32_t len = random_payload_len(client);
    for (uint32_t i = 0; i < count && may_publish(client); i++) {
        if (rng_percent(rng, 15)) topic = &scene->topics[rng_below(rng, scene->topics_count)];
        if (!same_length) len = random_payload_len(client);
        if ((client->flags & MPS_PUB_RETAIN) && rng_percent(rng, 15)) len = 0;
        if (rng_percent(rng, 3)) write_bad_msg(client);
        else write_msg(client, topic, len, 0);
    }
}

/* ---- subscribing ---- */

static uint32_t random_sid(struct client *client)
{
    uint32_t sid = rng_between(client->scene->rng, 1, client->scene->sids_count);
    return rng_percent(client->scene->rng, 2) ? MPS_SID_MAX : sid;
}

/* Something that SUB can't have. */
static uint32_t spoil_sub(struct rng *rng, struct mps_sub *sub)
{
    struct mps_sub_options *o = &sub->options;
    switch (rng_below(rng, 9)) {
    case 0: sub->sid = 0; return MPS_BAD_OPTION;
    case 1: sub->sid = MPS_SID_MAX + 1; return MPS_BAD_OPTION;
    case 2: sub->pattern = mps_text("a/#/b"); return MPS_BAD_TOPIC;
    case 3: sub->pattern = mps_text(""); return MPS_BAD_TOPIC;
    case 4: sub->pattern = mps_text("$inbox/someone/else"); return MPS_NOT_AUTHORISED;
    case 5:
        o->given |= MPS_SUB_POLICY;
        o->policy = MPS_POLICY_LATEST;
        return MPS_BAD_OPTION;
    case 6:
        o->given |= MPS_SUB_GROUP;
        o->group = mps_text("g");
        return MPS_BAD_OPTION;
    case 7:
        o->given |= MPS_SUB_FILTER;
        o->filter = mps_text("a > 1");
        return MPS_BAD_FILTER;
    default:
        o->given |= MPS_SUB_FROM;
        o->from = mps_text("\xa3"
                           "all");
        return MPS_NO_HISTORY;
    }
}

static void write_sub(struct client *client)
{
    struct scene *scene = client->scene;
    struct rng *rng = scene->rng;
    uint8_t room[1024];
    struct mps_out out = mps_out_open(room, sizeof room);
    struct action action = {.kind = ACT_SUB, .sid = random_sid(client)};
    action.name = scene->patterns[rng_below(rng, scene->patterns_count)];
    struct model_sub *there = model_find_sub(client->conn, action.sid);
    if (there != NULL && rng_percent(rng, 80)) action.name = there->pattern;
    struct mps_sub sub = {.sid = action.sid, .pattern = {(const uint8_t *)action.name.text, action.name.len}};
    struct mps_sub_options *o = &sub.options;
    if (scene->small_queues && rng_percent(rng, 60)) {
        o->given |= MPS_SUB_MAX_MSGS;
        o->max_msgs = action.max_msgs = rng_skewed(rng, 50);
    }
    if (scene->small_queues && rng_percent(rng, 30)) {
        o->given |= MPS_SUB_MAX_BYTES;
        o->max_bytes = action.max_bytes = rng_between(rng, 20, 30 + 6 * scene->payload_usual);
    }
    if (rng_percent(rng, 3)) {
        o->given |= MPS_SUB_MAX_MSGS;
        o->max_msgs = action.max_msgs = scene->model->limits.queue_msgs_cap_count + rng_below(rng, 2);
    }
    if (rng_percent(rng, 50)) {
        o->given |= MPS_SUB_RETAINED;
        o->retained = action.retained = rng_below(rng, 3);
    }
    /* With a backlog, of which too large one a GAP speaks, live or retained, can't be told apart: no upserts then. */
    if (client->rx_max > 0 && action.retained != 2) action.sid = sub.sid = 100000 + (uint32_t)client->asked;
    if (rng_percent(rng, 10)) {
        o->given |= MPS_SUB_FROM;
        o->from = mps_text("\xa3"
                           "new");
    }
    if (rng_percent(rng, 4)) action.code = spoil_sub(rng, &sub);
    action.sid = sub.sid;
    mps_encode_sub(&out, &sub);
    push(client, &out, &action);
    client->asked++;
}

static void write_unsub(struct client *client)
{
    uint8_t room[32];
    struct mps_out out = mps_out_open(room, sizeof room);
    struct action action = {.kind = ACT_UNSUB, .sid = random_sid(client)};
    mps_encode_unsub(&out, &(struct mps_unsub){action.sid});
    push(client, &out, &action);
    client->asked++;
}

static void write_stat(struct client *client)
{
    uint8_t room[32];
    struct mps_out out = mps_out_open(room, sizeof room);
    struct action action = {.kind = ACT_STAT, .sid = random_sid(client)};
    mps_put_array(&out, 2);
    mps_put_uint(&out, MPS_OP_STAT);
    mps_put_uint(&out, action.sid);
    push(client, &out, &action);
    client->asked++;
}

/* ---- everything else ---- */

static void write_ping(struct client *client)
{
    uint8_t room[MPS_SMALL_FRAME_MAX];
    struct mps_out out = mps_out_open(room, sizeof room);
    struct action action = {.kind = ACT_PING, .token_len = (uint8_t)rng_below(client->scene->rng, MPS_TOKEN_MAX + 1)};
    memset(action.token, (int)rng_below(client->scene->rng, 256), action.token_len);
    mps_encode_ping(&out, &(struct mps_token){{action.token, action.token_len}});
    push(client, &out, &action);
    client->asked++;
}

#define BYTES(text) text, sizeof(text) - 1

/* More than the broker takes from one session in a turn: frames that cost nothing, or answers that nobody reads. */
static void write_flood(struct client *client)
{
    struct rng *rng = client->scene->rng;
    bool answered = rng_percent(rng, 50);
    uint32_t count = answered ? rng_between(rng, 500, 2500) : rng_between(rng, 5000, 20000);
    for (uint32_t i = 0; i < count && answered; i++) write_ping(client);
    for (uint32_t i = 0; i < count && !answered; i++) push_bytes(client, BYTES("\x92\x0e\xc4\x00"), ACT_IGNORED, 0, 0);
    publish(client);
}

static void write_odd(struct client *client)
{
    if (rng_percent(client->scene->rng, 5)) {
        write_flood(client);
        return;
    }
    switch (rng_below(client->scene->rng, 5)) {
    case 0: push_bytes(client, BYTES("\x94\x05\x01\x40\x05"), ACT_REFUSED, MPS_BAD_OPTION, MPS_OP_ACK); break;
    case 1: push_bytes(client, BYTES("\x93\x06\x01\x05"), ACT_REFUSED, MPS_BAD_OPTION, MPS_OP_CREDIT); break;
    case 2: push_bytes(client, BYTES("\x92\x12\xc4\x01t"), ACT_REFUSED, MPS_AUTH_REFRESH, MPS_OP_AUTH); break;
    case 3: push_bytes(client, BYTES("\x93\x41\x01\x82\x01\x02\x03\x04"), ACT_IGNORED, 0, 0); return;
    case 4:
        push_bytes(client, BYTES("\x92\x0e\xc4\x01t"), ACT_IGNORED, 0, 0);
        return; /* a PONG that nobody asked for */
    }
    client->asked++;
}

/* What must not be sent. The broker knows at the last byte of each of these. */
static void write_fatal(struct client *client)
{
    switch (rng_below(client->scene->rng, 9)) {
    case 0: push_bytes(client, BYTES("\xc1"), ACT_FATAL, MPS_MALFORMED, 0); break;
    case 1: push_bytes(client, BYTES("\x05"), ACT_FATAL, MPS_MALFORMED, 0); break;
    case 2: push_bytes(client, BYTES("\x92\x02\xa1t"), ACT_FATAL, MPS_MALFORMED, 0); break;
    case 3: push_bytes(client, BYTES("\x92\x20\x00"), ACT_FATAL, MPS_UNKNOWN_OP, 0); break;
    case 4: push_bytes(client, BYTES("\x92\x04\x07"), ACT_FATAL, MPS_STATE, 0); break;
    case 5: push_bytes(client, BYTES("\x94\x01\xa3mps\x01\x80"), ACT_FATAL, MPS_STATE, 0); break;
    case 6: push_bytes(client, BYTES("\x93\x03\x00\x02"), ACT_FATAL, MPS_PID_ORDER, 0); break;
    case 7: push_bytes(client, BYTES("\x94\x02\xa1t\xc0\xc6\xff\xff\xff\xff"), ACT_FATAL, MPS_LIMIT, 0); break;
    case 8: push_bytes(client, BYTES("\x94\x02\xa1t\xc0\xa0"), ACT_FATAL, MPS_MALFORMED, 0); break;
    }
    client->over = true;
}

/* As the first thing on a connection: it is known to be wrong after `known` bytes. */
static void push_fatal_start(struct client *client, const char *bytes, size_t len, size_t known, uint32_t code)
{
    push_bytes(client, bytes, known, ACT_FATAL, code, 0);
    world_push(client->conn->link, bytes + known, len - known);
}

static void write_first(struct client *client)
{
    struct rng *rng = client->scene->rng;
    if (!rng_percent(rng, 3)) {
        write_hello(client);
        return;
    }
    switch (rng_below(rng, 4)) {
    case 0: push_fatal_start(client, BYTES("\x92\x0d\xc4\x00"), 1, MPS_MALFORMED); break;
    case 1: push_fatal_start(client, BYTES("GET / HTTP/1.1\r\n"), 1, MPS_MALFORMED); break;
    case 2: push_fatal_start(client, BYTES("\x94\x02\xa1t\xc0\xc4\x00"), 2, MPS_STATE); break;
    case 3: return; /* says nothing, until the handshake's time is up */
    }
    client->over = true;
}

void client_leave(struct client *client)
{
    struct rng *rng = client->scene->rng;
    client->over = true;
    if (rng_percent(rng, 50)) {
        world_push_end(client->conn->link);
        return;
    }
    uint8_t room[64];
    struct mps_out out = mps_out_open(room, sizeof room);
    uint32_t code = rng_percent(rng, 80) ? MPS_OK : rng_percent(rng, 50) ? MPS_NOBODY_OR_WILL : MPS_INTERNAL;
    mps_encode_bye(&out, &(struct mps_bye){.code = code});
    if (client->hello_sent) push(client, &out, &(struct action){.kind = ACT_BYE, .code = code});
    else push_fatal_start(client, (const char *)room, out.len, 1, MPS_MALFORMED);
    if (rng_percent(rng, 30)) world_push_end(client->conn->link);
}

void client_open(struct client *client, struct scene *scene, struct conn *conn)
{
    *client = (struct client){.scene = scene, .conn = conn};
    client->appetite = rng_percent(scene->rng, 25)   ? 0
                       : rng_percent(scene->rng, 30) ? rng_between(scene->rng, 1, 30)
                                                     : 100;
    client->lingers = rng_percent(scene->rng, 10);
}

void client_act(struct client *client)
{
    struct scene *scene = client->scene;
    struct rng *rng = scene->rng;
    if (client->over || client->bye_read || client->conn->link->closed) return;
    if (!client->hello_sent) {
        write_first(client);
        return;
    }
    if (rng_below(rng, 1000) < scene->trouble_permille) {
        write_fatal(client);
        return;
    }
    uint32_t dice = rng_below(rng, 100);
    if (dice < 45) publish(client);
    else if (dice < 57) write_pub(client);
    else if (client->asked - client->answered >= UNANSWERED_MAX) return;
    else if (dice < 77) write_sub(client);
    else if (dice < 84) write_unsub(client);
    else if (dice < 90) write_ping(client);
    else if (dice < 97) write_stat(client);
    else if (dice < 99) write_odd(client);
    else client_leave(client);
}

void client_read(struct client *client)
{
    struct conn *conn = client->conn;
    struct link *link = conn->link;
    struct rng *rng = client->scene->rng;
    if (client->appetite >= 100) world_drain(link, SIZE_MAX);
    else if (rng_percent(rng, client->appetite == 0 ? 5 : 50))
        world_drain(link, 1 + (size_t)rng_skewed(rng, 1000) * client->appetite / 10);
    uint64_t read = link->taken - (link->room_max - link->room);
    for (; conn->notes_next < conn->notes_count && conn->notes[conn->notes_next].at <= read; conn->notes_next++) {
        const struct note *note = &conn->notes[conn->notes_next];
        switch (note->kind) {
        case NOTE_PUBACK: client->acked_pid = note->number; break;
        case NOTE_ANSWER: client->answered++; break;
        case NOTE_BYE: client->bye_read = true; break;
        }
    }
}
