/* Any bytes as what another broker, or who pretends to be one, sends: datagrams, raw or behind a head that fits,
 * records and messages of the stream that all share, while clients, time and the connections do what they do. The
 * broker serves its own clients all the same: in the end a message still reaches who is subscribed, and nothing of
 * anybody is left. */
#include <string.h>

#include "../unit/broker_stage.h"
#include "memory_engine.h"
#include "require.h"

/* The core's own data, to see whom it knows. */
#include "../../broker/core/cluster/between.h"
#include "../../broker/core/cluster/cluster.h"

#define NAME "here"
#define OTHERS 3
#define CLIENTS 3
#define LEFT_MAX 4000 /* bytes of an input that are played */
#define HELD_MAX (64u * 1024 * 1024)

struct input {
    const uint8_t *p, *end;
};

/* A broker that isn't there. */
struct other {
    uint64_t boot, seq, messages;
};

struct fuzz {
    struct stage *stage;
    struct memory_bus *bus;
    struct engine *engine;
    struct other others[OTHERS];
    uint64_t pids[CLIENTS];
};

static unsigned take(struct input *in, unsigned below)
{
    return in->p < in->end ? *in->p++ % below : 0;
}

/* As many bytes as the next two say, or what is left. */
static mps_view take_bytes(struct input *in)
{
    size_t len = take(in, 8) * 256u;
    len += take(in, 256);
    if (len > (size_t)(in->end - in->p)) len = (size_t)(in->end - in->p);
    mps_view bytes = {in->p, (uint32_t)len};
    in->p += len;
    return bytes;
}

/* ---- time --------------------------------------------------------------------------------------------------- */

static void settle(struct fuzz *fuzz)
{
    struct stage *stage = fuzz->stage;
    for (int rounds = 0;; rounds++) {
        REQUIRE(rounds < 10000, "the broker never comes to rest");
        memory_bus_time(fuzz->bus, stage->now_ms, stage->wall_ms);
        uint32_t steps = memory_bus_run(fuzz->bus);
        bool ready = memory_engine_ready(fuzz->engine);
        if (ready) broker_poll_cluster(stage->broker);
        stage_settle(stage);
        if (!ready && steps == 0) break;
    }
    for (int i = 0; i < CLIENTS; i++) stage->links[i].in_len = 0; /* nobody looks at it */
    REQUIRE(broker_held_bytes(stage->broker) < HELD_MAX, "the broker holds more than anybody may make it hold");
}

static void pass(struct fuzz *fuzz, uint64_t ms)
{
    for (; ms > 0; ms -= ms < 500 ? ms : 500) {
        stage_pass(fuzz->stage, ms < 500 ? ms : 500);
        settle(fuzz);
    }
}

/* ---- what others do ----------------------------------------------------------------------------------------- */

static void inject(struct fuzz *fuzz, const uint8_t *head, uint32_t head_len, mps_view bytes)
{
    uint8_t datagram[4096];
    if (head_len > 0) memcpy(datagram, head, head_len);
    if (bytes.len > 0) memcpy(datagram + head_len, bytes.ptr, bytes.len);
    memory_bus_inject(fuzz->bus, NAME, datagram, head_len + bytes.len);
}

/* How many MSGs stand there, as far as it is well-formed: the broker counts what it takes. */
static uint64_t count_messages(mps_view bytes)
{
    const struct mps_limits limits = {MPS_HEAD_MAX, MPS_VALUES_MAX, MPS_PAYLOAD_MAX};
    uint64_t count = 0;
    while (bytes.len > 0) {
        struct mps_scan scan = {0};
        if (mps_scan(&scan, bytes.ptr, bytes.len, &limits) != MPS_SCAN_FRAME) break;
        count += scan.op == MPS_OP_MSG;
        bytes.ptr += scan.pos;
        bytes.len -= scan.pos;
    }
    return count;
}

static void send_lane(struct fuzz *fuzz, struct input *in)
{
    static const char *const names[OTHERS] = {"one", "two", "three"};
    uint8_t head[256];
    struct mps_out out = mps_out_open(head, sizeof head);
    unsigned which = take(in, OTHERS), bits = take(in, 256);
    struct other *other = &fuzz->others[which];
    if (bits == 255) *other = (struct other){.boot = other->boot + 1}; /* it is started anew */
    if (bits & 1) other->seq += bits >> 5;                             /* a hole, or again */
    if (bits & 2) other->messages++;
    const uint8_t tag[CLUSTER_TAG_BYTES] = {(uint8_t)which, 1, 2};
    mps_view frames = take_bytes(in);
    between_encode_lane(&out, &(struct between_lane){.name = mps_text(names[which]),
                                                     .tag = {tag, sizeof tag},
                                                     .boot = other->boot,
                                                     .to_boot = fuzz->stage->broker->cluster->boot,
                                                     .seq = ++other->seq,
                                                     .messages = other->messages,
                                                     .told = bits >> 2 & 7});
    other->messages += count_messages(frames);
    inject(fuzz, head, out.len, frames);
}

static void send_here(struct fuzz *fuzz, struct input *in)
{
    uint8_t head[256];
    struct mps_out out = mps_out_open(head, sizeof head);
    char name[] = {'o', 'n', 'e', (char)('a' + take(in, 26)), (char)('a' + take(in, 26)), '\0'};
    const uint8_t tag[CLUSTER_TAG_BYTES] = {9, 9, 9};
    between_encode_here(&out, &(struct between_here){.name = mps_text(name),
                                                     .tag = {tag, sizeof tag},
                                                     .software = mps_text("x"),
                                                     .boot = 1 + take(in, 3)});
    inject(fuzz, head, out.len, (mps_view){0});
}

/* Of any kind, with any bytes. */
static void put_record(struct fuzz *fuzz, struct input *in)
{
    unsigned kind = 1 + take(in, 6), is_there = take(in, 4);
    mps_view key = take_bytes(in), value = take_bytes(in);
    if (key.len == 0 || key.len > STORE_KEY_MAX) return;
    if (is_there == 0) value = (mps_view){0};
    memory_bus_put(fuzz->bus, kind, key, value);
}

/* What somebody wrote to the stream: each is a frame, and nothing more is known of it. */
static void append(struct fuzz *fuzz, struct input *in)
{
    const struct mps_limits limits = {MPS_HEAD_MAX, MPS_VALUES_MAX, MPS_PAYLOAD_MAX};
    mps_view bytes = take_bytes(in);
    while (bytes.len > 0) {
        struct mps_scan scan = {0};
        if (mps_scan(&scan, bytes.ptr, bytes.len, &limits) != MPS_SCAN_FRAME) break;
        if (scan.op == MPS_OP_MSG)
            memory_bus_append(fuzz->bus, stream_shared_number("kept"), (mps_view){bytes.ptr, scan.pos});
        bytes.ptr += scan.pos;
        bytes.len -= scan.pos;
    }
}

static void break_something(struct fuzz *fuzz, struct input *in)
{
    unsigned how = take(in, 8);
    switch (how) {
    case 0:
    case 1:
    case 2:
    case 3: memory_bus_away(fuzz->bus, NAME, how & 1, how & 2); break;
    case 4: memory_bus_lose_records(fuzz->bus); break;
    case 5: memory_bus_delete_stream(fuzz->bus, stream_shared_number("kept")); break;
    case 6: memory_bus_remake_stream(fuzz->bus, stream_shared_number("kept")); break;
    case 7: memory_bus_datagram_max(fuzz->bus, NAME, take(in, 2) ? ENGINE_DATAGRAM_LEAST : 65536); break;
    }
}

/* ---- what our own clients do -------------------------------------------------------------------------------- */

static char name_of(unsigned client)
{
    return (char)('a' + client);
}

static void come(struct fuzz *fuzz, unsigned client)
{
    static const char *const ids[CLIENTS] = {"x", "y", "z"};
    if (fuzz->stage->links[client].session != NULL) stage_cut(fuzz->stage, name_of(client));
    fuzz->pids[client] = 1;
    stage_hello(fuzz->stage, name_of(client), (struct mps_hello){.id = mps_text(ids[client]), .sess_s = 60, .boot = 1});
}

static void subscribe(struct fuzz *fuzz, unsigned client, struct input *in)
{
    static const char *const patterns[] = {"t/#", "t/a", "+/a", "#", "s/#"};
    unsigned which = take(in, 5), bits = take(in, 256);
    struct mps_sub_options o = {0};
    if (bits & 1) {
        o.given |= MPS_SUB_GROUP;
        o.group = mps_text("g");
    }
    if (bits & 2) {
        o.given |= MPS_SUB_SCOPE;
        o.scope = MPS_SCOPE_CLUSTER;
    }
    if ((bits & 4) && which > 1) {
        o.given |= MPS_SUB_FROM;
        o.from.kind = MPS_FROM_ALL;
    }
    if ((bits & 8) && which > 1) {
        o.given |= MPS_SUB_ACK;
        o.ack = MPS_ACK_EACH;
    }
    if ((bits & 16) && which > 1) {
        o.given |= MPS_SUB_DURABLE;
        o.durable = true;
    }
    if (bits & 32) {
        o.given |= MPS_SUB_CREDIT;
        o.credit = bits >> 6;
    }
    stage_sub(fuzz->stage, name_of(client), 1 + which + 5 * (bits & 1), patterns[which], o);
}

static void publish(struct fuzz *fuzz, unsigned client, struct input *in)
{
    static const char *const topics[] = {"t/a", "t/b/c", "s/a", "$inbox/000102000000000000000000/1"};
    static const uint8_t payload[16] = "what is sent";
    uint8_t frame[256];
    struct mps_out out = mps_out_open(frame, sizeof frame);
    unsigned which = take(in, 4), bits = take(in, 256), level = bits & 3;
    uint64_t pid = level > 0 ? fuzz->pids[client]++ : 0;
    mps_encode_pub(&out, &(struct mps_pub){pid, level << MPS_PUB_LEVEL_SHIFT | (bits & 4 ? MPS_PUB_RETAIN : 0)});
    mps_encode_msg(&out,
                   &(struct mps_msg){.topic = mps_text(topics[which]), .payload = {payload, bits & 8 ? 0 : bits >> 4}});
    stage_send(fuzz->stage, name_of(client), &out);
}

static void act_as_client(struct fuzz *fuzz, struct input *in)
{
    unsigned action = take(in, 8 * CLIENTS), client = action % CLIENTS;
    if (fuzz->stage->links[client].session == NULL || action / CLIENTS == 0) {
        come(fuzz, client);
        return;
    }
    switch (action / CLIENTS) {
    case 1:
    case 2: subscribe(fuzz, client, in); break;
    case 3: stage_unsub(fuzz->stage, name_of(client), 1 + take(in, 10)); break;
    case 4: stage_cut(fuzz->stage, name_of(client)); break;
    case 5: stage_bye(fuzz->stage, name_of(client), 0); break;
    default: publish(fuzz, client, in); break;
    }
}

/* ---- a life ------------------------------------------------------------------------------------------------- */

static void act(struct fuzz *fuzz, struct input *in)
{
    static const uint64_t times_ms[] = {1, 60, 400, 1100, 2500, 6000, 12000, 70000};
    switch (take(in, 12)) {
    case 0: inject(fuzz, NULL, 0, take_bytes(in)); break;
    case 1: send_here(fuzz, in); break;
    case 2: put_record(fuzz, in); break;
    case 3: append(fuzz, in); break;
    case 4: pass(fuzz, times_ms[take(in, 8)]); break;
    case 5: break_something(fuzz, in); break;
    case 6:
    case 7:
    case 8: act_as_client(fuzz, in); break;
    default: send_lane(fuzz, in); break;
    }
    settle(fuzz);
}

/* Whatever came: who is subscribed here gets what is published here. */
static void check_service(struct fuzz *fuzz)
{
    struct stage *stage = fuzz->stage;
    memory_bus_away(fuzz->bus, NAME, false, false);
    pass(fuzz, 1000);
    stage_hello(stage, 'y', (struct mps_hello){.id = mps_text("witness")});
    stage_sub(stage, 'y', 1, "witness/#", (struct mps_sub_options){.given = MPS_SUB_CREDIT, .credit = 1000});
    settle(fuzz);
    stage_words(stage, 'y');
    stage_msg(stage, 'y', "witness/x", "here");
    settle(fuzz);
    REQUIRE(strstr(stage_words(stage, 'y'), "witness/x=here") != NULL, "a message does not come to its subscriber");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const topics[] = {"#"}, *const patterns[] = {"s/#"};
    void *state;
    char text[STORE_TEXT_MAX];
    struct fuzz fuzz = {.others = {{.boot = 1}, {.boot = 1}, {.boot = 1}}};
    struct input in = {data, data + (size < LEFT_MAX ? size : LEFT_MAX)};
    if (stage_set_up(&state) != 0) abort();
    struct stage *stage = fuzz.stage = state;
    stage->limits.queue_msgs_count = 100;
    stage->limits.session_queue_bytes = 20000;
    stage->limits.max_retained_count = 20;
    stage_start(stage);
    const struct stream_config stream = {
        .name = "kept", .patterns = patterns, .patterns_count = 1, .is_shared = true, .replicas = 3};
    fuzz.bus = memory_bus_new(1);
    fuzz.engine = memory_engine_open(
        fuzz.bus, &(struct engine_options){.name = NAME, .defer_ms = 5000, .defer_bytes = 64 * 1024});
    REQUIRE(broker_open_store(stage->broker, NULL, &stream, 1, text, sizeof text) == 0, "no stream: %s", text);
    const struct cluster_config config = {.name = NAME, .topics = topics, .topics_count = 1};
    REQUIRE(broker_join(stage->broker, fuzz.engine, &config, text, sizeof text) == 0, "it can't join: %s", text);
    settle(&fuzz);
    while (in.p < in.end) act(&fuzz, &in);
    check_service(&fuzz);
    broker_leave(stage->broker);
    fuzz.engine->close(fuzz.engine);
    stage_tear_down(&state);
    memory_bus_free(fuzz.bus);
    return 0;
}
