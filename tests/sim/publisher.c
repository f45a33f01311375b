/* Publishing: messages in every encoding, with props and documents that policies, times to live and filters look at. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"

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

/* ---- props ---- */

/* One of a few keys, each in several encodings. */
static void put_key(struct rng *rng, struct mps_out *out, uint32_t key)
{
    static const struct {
        const char *bytes;
        uint32_t len;
    } forms[][3] = {
        {{BYTES("\xc3")}, {BYTES("\xc3")}, {BYTES("\xc3")}},
        {{BYTES("\x02")}, {BYTES("\xcd\x00\x02")}, {BYTES("\xd3\x00\x00\x00\x00\x00\x00\x00\x02")}},
        {{BYTES("\xa1"
                "3")},
         {BYTES("\xd9\x01"
                "3")},
         {BYTES("\xda\x00\x01"
                "3")}},
        {{BYTES("\xfc")}, {BYTES("\xd0\xfc")}, {BYTES("\xd1\xff\xfc")}},
        {{BYTES("\xca\x3f\x00\x00\x00")},
         {BYTES("\xcb\x3f\xe0\x00\x00\x00\x00\x00\x00")},
         {BYTES("\xca\x3f\x00\x00\x00")}},
        {{BYTES("\xc4\x01"
                "3")},
         {BYTES("\xc5\x00\x01"
                "3")},
         {BYTES("\xc4\x01"
                "3")}},
    };
    uint32_t form = rng_below(rng, 3);
    mps_put_raw(out, (mps_view){(const uint8_t *)forms[key - 1][form].bytes, forms[key - 1][form].len});
}

static uint32_t random_ttl_ms(struct rng *rng)
{
    if (rng_percent(rng, 15)) return 0;
    return rng_percent(rng, 60) ? rng_skewed(rng, 60) : rng_skewed(rng, 10000);
}

/* Says in about what the props mean. */
static void put_props(struct client *client, struct mps_out *out, bool bad, struct message *about)
{
    struct scene *scene = client->scene;
    struct rng *rng = scene->rng;
    bool ttl = rng_percent(rng, scene->ttl_percent), key = rng_percent(rng, scene->key_percent);
    bool id = rng_percent(rng, 15), unit = rng_percent(rng, 30), type = rng_percent(rng, 5);
    about->ttl_ms = QUEUE_NO_TTL;
    if (bad) {
        mps_put_map(out, 1);
        mps_put_uint(out, MPS_PROP_TTL_MS);
        mps_put_text(out, mps_text("soon"));
        return;
    }
    if (!ttl && !key && !id && !unit && !type) {
        mps_put_nil(out);
        return;
    }
    mps_put_map(out, 0u + ttl + key + id + unit + type);
    if (unit) {
        mps_put_text(out, mps_text("unit"));
        mps_put_text(out, mps_text("m/s"));
        about->document.has_unit = true;
    }
    if (ttl) {
        uint32_t ttl_ms = random_ttl_ms(rng);
        mps_put_uint(out, MPS_PROP_TTL_MS);
        put_wide(rng, out, 0xcc, 0xcd, 0xce, ttl_ms);
        about->ttl_ms = ttl_ms;
    }
    if (key) {
        about->key = rng_between(rng, 1, 6);
        mps_put_uint(out, MPS_PROP_KEY);
        put_key(rng, out, about->key);
    }
    if (id) {
        mps_put_uint(out, MPS_PROP_MESSAGE_ID);
        mps_put_uint(out, rng_below(rng, 100));
    }
    if (type) {
        mps_put_uint(out, MPS_PROP_CONTENT_TYPE);
        mps_put_uint(out, 0);
        about->document.readable = false;
    }
}

/* ---- payloads ---- */

static uint32_t largest_payload(const struct client *client)
{
    uint32_t most = client->scene->model->limits.max_payload;
    return most < PAYLOAD_MAX ? most : PAYLOAD_MAX;
}

static uint32_t random_payload_len(struct client *client)
{
    struct rng *rng = client->scene->rng;
    uint32_t most = largest_payload(client);
    uint32_t len = rng_percent(rng, 2) ? most - rng_below(rng, most < 3 ? most : 3)
                                       : rng_skewed(rng, client->scene->payload_usual);
    if (len < client->scene->payload_least) len = client->scene->payload_least;
    return len < most ? len : most;
}

/* Who and the how-many-th, as far as it fits, then anything. One digit alone is a document, a number. */
static void put_raw_payload(struct mps_out *out, uint32_t len, const char *mark, struct document *document)
{
    static uint8_t body[PAYLOAD_MAX];
    uint32_t mark_len = (uint32_t)strlen(mark);
    memset(body, mark[mark_len - 2], len);
    memcpy(body, mark, mark_len < len ? mark_len : len);
    mps_put_raw(out, (mps_view){body, len});
    document->readable = len == 1 && isdigit(body[0]);
}

static void put_payload(struct client *client, struct mps_out *out, uint32_t len, struct message *about)
{
    struct scene *scene = client->scene;
    char mark[64];
    snprintf(mark, sizeof mark, "%u:%u:", ++scene->serial, client->conn->number);
    *about = (struct message){.document = {.l_count = -1}};
    if (len > 0 && rng_percent(scene->rng, scene->document_percent)) {
        document_make(&about->document, scene->rng);
        document_put(&about->document, out, len, mark);
        if (out->len <= largest_payload(client)) return;
        out->len = 0;
        about->document = (struct document){.l_count = -1};
    }
    put_raw_payload(out, len, mark, &about->document);
}

void publisher_content(struct client *client, uint32_t len, bool bad_props, struct message *about, mps_view *props,
                       mps_view *payload)
{
    static uint8_t props_room[128], payload_room[PAYLOAD_MAX + DOCUMENT_HEAD_MAX];
    struct mps_out props_out = mps_out_open(props_room, sizeof props_room);
    struct mps_out payload_out = mps_out_open(payload_room, sizeof payload_room);
    put_payload(client, &payload_out, len, about);
    put_props(client, &props_out, bad_props, about);
    if (props_out.full || payload_out.full) abort(); /* there is room for everything that is built here */
    about->payload_len = payload_out.len;
    *props = mps_out_view(&props_out);
    *payload = mps_out_view(&payload_out);
}

/* ---- MSG ---- */

/* A MSG frame up to its payload's body: the shortest form as a rule, else anything that means the same. */
static void put_msg_head(struct client *client, struct mps_out *out, const struct name *topic, mps_view props,
                         uint32_t payload_len, uint32_t extra)
{
    struct rng *rng = client->scene->rng;
    mps_view text = {(const uint8_t *)topic->text, topic->len};
    if (rng_percent(rng, 80)) {
        mps_put_array(out, 4 + extra);
        mps_put_uint(out, MPS_OP_MSG);
        mps_put_text(out, text);
        mps_put_raw(out, props);
        mps_put_bin_head(out, payload_len);
        return;
    }
    put_wide(rng, out, 0, 0xdc, 0xdd, 4 + extra);
    put_wide(rng, out, 0xcc, 0xcd, 0xce, MPS_OP_MSG);
    put_wide(rng, out, 0xd9, 0xda, 0xdb, topic->len);
    mps_put_raw(out, text);
    mps_put_raw(out, props);
    put_wide(rng, out, 0xc4, 0xc5, 0xc6, payload_len);
}

static void write_msg(struct client *client, const struct name *topic, uint32_t len, uint32_t code)
{
    static uint8_t room[PAYLOAD_MAX + 1024];
    struct rng *rng = client->scene->rng;
    struct mps_out out = mps_out_open(room, sizeof room);
    uint32_t extra = rng_percent(rng, 3);
    struct message about;
    mps_view props, payload;
    publisher_content(client, len, code == MPS_BAD_PROPS, &about, &props, &payload);
    put_msg_head(client, &out, topic, props, payload.len, extra);
    mps_put_raw(&out, payload);
    if (extra > 0) mps_put_text(&out, mps_text("later"));
    about.topic = *topic;
    struct action action = {.kind = ACT_MSG, .code = code};
    if (code == 0) action.message = model_message(client->scene->model, out.buf, out.len, &about);
    client_push(client, &out, &action);
    if (client->flags & MPS_PUB_LEVEL_MASK) client->next_pid++;
}

/* Over max_payload: the broker answers as soon as it has the head, so it is due there. */
static void write_oversized(struct client *client)
{
    static uint8_t room[PAYLOAD_MAX * 4 + 1024];
    static const uint8_t nil[] = {0xc0};
    struct scene *scene = client->scene;
    uint32_t most = scene->model->limits.max_payload;
    if (most > PAYLOAD_MAX) return;
    uint32_t len = rng_percent(scene->rng, 50) ? most + 1 : rng_between(scene->rng, most + 1, 4 * most);
    struct mps_out out = mps_out_open(room, sizeof room);
    put_msg_head(client, &out, scene_topic(scene), (mps_view){nil, 1}, len, 0);
    client_push(client, &out, &(struct action){.kind = ACT_MSG, .code = MPS_TOO_LARGE});
    memset(room, 0xc1, len);
    world_push(client->conn->link, room, len);
    if (client->flags & MPS_PUB_LEVEL_MASK) client->next_pid++;
}

void publisher_pub(struct client *client)
{
    struct scene *scene = client->scene;
    struct rng *rng = scene->rng;
    uint8_t room[32];
    struct mps_out out = mps_out_open(room, sizeof room);
    struct mps_pub pub = {0};
    if (rng_percent(rng, scene->ack_percent)) {
        uint32_t level = rng_percent(rng, 95) ? 1 : rng_between(rng, 2, 3);
        if (scene->model->logs_count > 0 && rng_percent(rng, 50)) level = 2;
        pub.flags = level << MPS_PUB_LEVEL_SHIFT;
        if (rng_percent(rng, 20)) pub.flags |= MPS_PUB_EACH;
        if (client->next_pid == 0) {
            client->next_pid = rng_percent(rng, 70) ? 1 : rng_between(rng, 2, 1000000);
            client->acked_pid = client->next_pid - 1;
        }
        pub.pid = client->next_pid;
    }
    if (rng_percent(rng, scene->retain_percent)) pub.flags |= MPS_PUB_RETAIN;
    if (rng_percent(rng, 15)) pub.flags |= MPS_PUB_MUST_ROUTE;
    if (rng_percent(rng, 10)) pub.flags |= 0x100; /* a bit that means nothing yet */
    mps_encode_pub(&out, &pub);
    client_push(client, &out, &(struct action){.kind = ACT_PUB, .pid = pub.pid, .flags = pub.flags});
    client->flags = pub.flags;
}

static bool may_publish(const struct client *client)
{
    if (!(client->flags & MPS_PUB_LEVEL_MASK)) return true;
    uint64_t window = client->scene->model->limits.pub_window_count;
    uint64_t waiting = client->next_pid - 1 - client->acked_pid;
    return waiting < window && waiting < 2 * UNANSWERED_MAX;
}

static void write_bad_msg(struct client *client)
{
    static const char *const reserved[] = {"$SYS/load", "$dead/a", "$inboxes/x", "$x"};
    struct rng *rng = client->scene->rng;
    struct name name = *scene_topic(client->scene);
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

/* A topic of somebody's inbox, or of one that nobody has. */
static struct name inbox_topic(struct client *client)
{
    struct scene *scene = client->scene;
    const struct conn *conn = &scene->model->conns[rng_below(scene->rng, WORLD_LINKS_MAX)];
    for (int i = 0; i < WORLD_LINKS_MAX && conn->inbox[0] == '\0'; i++) conn = &scene->model->conns[i];
    bool nobody = conn->inbox[0] == '\0' || rng_percent(scene->rng, 10);
    char text[80];
    snprintf(text, sizeof text, "%s/%u", nobody ? "$inbox/000000000000000000000000" : conn->inbox,
             rng_below(scene->rng, 3));
    return name_of(text);
}

/* A topic below one of the scene's. */
static struct name seldom_topic(struct scene *scene)
{
    char text[MPS_TOPIC_MAX + 16];
    struct name topic = *scene_topic(scene);
    if (topic.len > 200 || topic.len == MPS_TOPIC_LEVELS_MAX - 1) return topic; /* perhaps one of the longest */
    snprintf(text, sizeof text, "%s/%u", topic.text, rng_below(scene->rng, 500));
    return name_of(text);
}

void publisher_publish(struct client *client)
{
    struct scene *scene = client->scene;
    struct rng *rng = scene->rng;
    uint32_t count = rng_skewed(rng, scene->payload_usual > 1000 ? 12 : 60);
    struct name topic = *scene_topic(scene);
    bool same_length = rng_percent(rng, 40);
    uint32_t len = random_payload_len(client);
    for (uint32_t i = 0; i < count && may_publish(client); i++) {
        if (rng_percent(rng, 15)) topic = *scene_topic(scene);
        bool seldom = scene->seldom_percent > 0 && !scene->apart && !(client->flags & MPS_PUB_RETAIN);
        if (seldom && rng_percent(rng, scene->seldom_percent)) topic = seldom_topic(scene);
        if (rng_percent(rng, scene->inbox_percent)) topic = inbox_topic(client);
        if (!same_length) len = random_payload_len(client);
        if ((client->flags & MPS_PUB_RETAIN) && scene->payload_least == 0 && rng_percent(rng, 15)) len = 0;
        if (rng_percent(rng, 3)) write_bad_msg(client);
        else write_msg(client, &topic, len, 0);
    }
}
