#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void client_push(struct client *client, const struct mps_out *out, struct action *action)
{
    if (out->full) abort(); /* the buffers here are large enough for everything that is built in them */
    world_push(client->conn->link, out->buf, out->len);
    action->due = client->conn->link->pushed;
    model_act(client->conn, action);
}

void client_push_bytes(struct client *client, const char *bytes, size_t len, enum action_kind kind, uint32_t code,
                       uint32_t op)
{
    world_push(client->conn->link, bytes, len);
    model_act(client->conn, &(struct action){.kind = kind, .code = code, .op = op, .due = client->conn->link->pushed});
}

/* ---- HELLO ---- */

/* What is wrong with the will, if anything is; 0 if not. */
static uint32_t spoil_will(struct client *client, struct name *topic, uint32_t *len)
{
    struct scene *scene = client->scene;
    switch (rng_below(scene->rng, 12)) {
    case 0: *topic = name_of("a/+"); return MPS_BAD_TOPIC;
    case 1: *topic = name_of("$SYS/me"); return MPS_NOT_AUTHORISED;
    case 2:
        if (scene->model->limits.max_payload > 1000) return 0;
        *len = scene->model->limits.max_payload + 1;
        return MPS_TOO_LARGE;
    case 3: return MPS_BAD_PROPS;
    default: return 0;
    }
}

/* The will as HELLO has it and, unless something is wrong with it, as it will be published. */
static void put_will(struct client *client, struct mps_out *out, struct action *action)
{
    static uint8_t room[MPS_HELLO_FRAME_MAX];
    struct scene *scene = client->scene;
    struct rng *rng = scene->rng;
    struct name topic = *scene_topic(scene);
    uint32_t len = rng_below(rng, scene->model->limits.max_payload < 200 ? scene->model->limits.max_payload : 200);
    struct message about;
    mps_view props, payload;
    action->will_code = spoil_will(client, &topic, &len);
    publisher_content(client, len, action->will_code == MPS_BAD_PROPS, &about, &props, &payload);
    if (action->will_code == MPS_TOO_LARGE) payload = (mps_view){room, len};
    action->will = (struct will){.given = action->will_code == 0,
                                 .retain = rng_percent(rng, 40),
                                 .delay_ms = rng_percent(rng, 50) ? 0 : rng_skewed(rng, 3000)};
    if (action->will.given && action->will.retain) { /* two of one moment on one topic: which one lasts is open */
        char text[32];
        snprintf(text, sizeof text, "wills/%u", client->conn->number);
        topic = name_of(text);
    }
    bool with_props = props.len > 1 || rng_percent(rng, 30);
    mps_put_array(out, 4 + with_props);
    mps_put_text(out, (mps_view){(const uint8_t *)topic.text, topic.len});
    mps_put_bin(out, payload);
    mps_put_uint(out, action->will.retain ? MPS_PUB_RETAIN | MPS_PUB_MUST_ROUTE : 0);
    mps_put_uint(out, action->will.delay_ms);
    if (with_props) mps_put_raw(out, props);
    if (!action->will.given) return;
    struct mps_out frame = mps_out_open(room, sizeof room);
    struct mps_msg msg = {.topic = {(const uint8_t *)topic.text, topic.len}, .payload = payload};
    if (props.len > 1) msg.props = props;
    mps_encode_msg(&frame, &msg);
    about.topic = topic;
    action->will.message = model_message(scene->model, frame.buf, frame.len, &about);
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
    static uint8_t room[MPS_HELLO_FRAME_MAX];
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
        rng_percent(rng, client->scene->rx_max_percent)
            ? (rng_percent(rng, 80) ? client->scene->rx_max
                                    : rng_between(rng, 20, 1 + 2 * client->scene->payload_usual + 60))
            : 0;
    hello.half = action.half = rng_percent(rng, 30);
    hello.sess_s = rng_percent(rng, 10) ? 60 : 0;
    hello.boot = rng_percent(rng, 10) ? 77 : 0;
    static uint8_t will_room[MPS_HELLO_FRAME_MAX];
    struct mps_out will = mps_out_open(will_room, sizeof will_room);
    /* When a publisher that is held is silent for too long is open: so nothing may hang on it. */
    bool will_given = action.code == 0 && rng_percent(rng, client->scene->will_percent);
    bool ka_given = rng_percent(rng, 40) && !(will_given && client->scene->blocks);
    hello.ka_s = action.ka_s = ka_given ? rng_between(rng, 1, 20) : 0;
    if (will_given) {
        put_will(client, &will, &action);
        hello.will = mps_out_view(&will);
    } else if (action.code == 0 && rng_percent(rng, 1)) {
        hello.will = (mps_view){(const uint8_t *)"\x92\xa1w\xc4\x00", 5};
        action.code = MPS_MALFORMED;
    }
    mps_encode_hello(&out, &hello);
    client_push(client, &out, &action);
    client->hello_sent = true;
}

/* ---- everything it does ---- */

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
    if (client->hello_sent) client_push(client, &out, &(struct action){.kind = ACT_BYE, .code = code});
    else odd_early_bye(client, room, out.len);
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

/* The broker may have closed it for its silence by now, when it was not read from for a while: then it is silent. */
static bool may_be_dead(const struct conn *conn)
{
    uint64_t silent_ms = conn->model->world->now_ms - conn->last_read_ms;
    return conn->was_drawn_out && conn->ka_ms > 0 && silent_ms >= conn->ka_ms + conn->ka_ms / 2;
}

void client_act(struct client *client)
{
    struct scene *scene = client->scene;
    struct rng *rng = scene->rng;
    if (client->over || client->bye_read || client->conn->link->closed || may_be_dead(client->conn)) return;
    if (!client->hello_sent) {
        if (rng_percent(rng, 3)) odd_first(client);
        else write_hello(client);
        return;
    }
    if (rng_below(rng, 1000) < scene->trouble_permille) {
        odd_fatal(client);
        return;
    }
    uint32_t dice = rng_below(rng, 100);
    if (dice < 45) publisher_publish(client);
    else if (dice < 55) publisher_pub(client);
    else if (client->asked - client->answered >= UNANSWERED_MAX) return;
    else if (dice < 73) subscriber_sub(client);
    else if (dice < 80) subscriber_unsub(client);
    else if (dice < 86) subscriber_credit(client);
    else if (dice < 91 && rng_percent(rng, scene->acked_percent)) subscriber_ack(client);
    else if (dice < 91) odd_ping(client);
    else if (dice < 97) subscriber_stat(client);
    else if (dice < 99) odd_write(client);
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
