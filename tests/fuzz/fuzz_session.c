/* Any bytes as what a client sends to the broker's core, in the virtual world of tests/sim. Beside it stands a
 * well-behaved client that subscribes to '#': whatever the other one does, its stream stays well-formed and its counts
 * true. The first byte is how the input is cut, the second is options. */
#include <string.h>

#include "require.h"
#include "wire.h"
#include "world.h"

enum {
    OPTION_HELLO = 1,  /* the input comes after a HELLO of ours */
    OPTION_SMALL = 2,  /* small limits */
    OPTION_NARROW = 4, /* the attacker's pipe is narrow and is read a little at a time */
    OPTION_CUT = 8,    /* the connection breaks at the end, instead of ending */
    OPTION_TIME = 16,  /* time passes between the pieces */
    OPTION_TWO = 32,   /* a second attacker gets the same bytes, uncut, at the same time */
};

struct peer {
    const char *name;
    struct link *link;
    uint8_t *bytes; /* the beginning of a frame */
    size_t len, cap;
    struct mps_scan scan;
    uint64_t messages, gaps, welcomes;
    uint32_t sid;
    bool is_witness, bye;
};

static const struct mps_limits wide = {16384, 4096, 64 * 1024 * 1024};

static void check_message(struct peer *peer, mps_view frame)
{
    struct mps_msg msg;
    const char *what;
    REQUIRE(mps_decode_msg(frame, &msg, &what) == MPS_OK, "%s gets a bad MSG: %s", peer->name, what);
    REQUIRE(mps_topic_error(msg.topic) == NULL, "%s gets a bad topic: %s", peer->name, mps_topic_error(msg.topic));
    REQUIRE(msg.props.ptr == NULL || mps_props_check(msg.props, &what) == MPS_OK, "%s gets bad props: %s", peer->name,
            what);
    REQUIRE(msg.topic.ptr[0] != '$', "%s gets a message of a reserved topic", peer->name);
    REQUIRE(peer->sid != 0, "%s gets a message before FOR", peer->name);
    if (peer->is_witness) REQUIRE(peer->sid == 1, "%s gets a message for sid %u", peer->name, peer->sid);
    peer->messages++;
}

static void check_frame(struct peer *peer, mps_view frame)
{
    union {
        struct mps_for terms;
        struct mps_gap gap;
        struct mps_puback puback;
        struct mps_suback suback;
        struct mps_mark mark;
        struct mps_token pong;
        struct mps_stat stat;
        struct mps_welcome welcome;
        struct mps_err err;
        struct mps_bye bye;
    } f;
    const char *what = "";
    unsigned op = mps_frame_op(frame);
    enum mps_code code = MPS_OK;
    REQUIRE(!peer->bye, "%s gets %s after BYE", peer->name, mps_op_name(op));
    switch (op) {
    case MPS_OP_MSG: check_message(peer, frame); return;
    case MPS_OP_FOR:
        code = mps_decode_for(frame, &f.terms, &what);
        peer->sid = f.terms.sid;
        break;
    case MPS_OP_GAP:
        code = mps_decode_gap(frame, &f.gap, &what);
        peer->gaps += f.gap.count;
        break;
    case MPS_OP_PUBACK: code = mps_decode_puback(frame, &f.puback, &what); break;
    case MPS_OP_SUBACK: code = mps_decode_suback(frame, &f.suback, &what); break;
    case MPS_OP_MARK: code = mps_decode_mark(frame, &f.mark, &what); break;
    case MPS_OP_PONG: code = mps_decode_token(frame, &f.pong, &what); break;
    case MPS_OP_STAT: code = mps_decode_stat(frame, &f.stat, &what); break;
    case MPS_OP_WELCOME:
        code = mps_decode_welcome(frame, &f.welcome, &what);
        peer->welcomes++;
        break;
    case MPS_OP_ERR: code = mps_decode_err(frame, &f.err, &what); break;
    case MPS_OP_BYE:
        code = mps_decode_bye(frame, &f.bye, &what);
        peer->bye = true;
        break;
    default: REQUIRE(false, "%s gets operation %u", peer->name, op);
    }
    REQUIRE(code == MPS_OK, "%s gets a bad %s: %s", peer->name, mps_op_name(op), what);
    REQUIRE(op == MPS_OP_BYE || peer->welcomes == 1, "%s gets %s before WELCOME", peer->name, mps_op_name(op));
    if (peer->is_witness) REQUIRE(op != MPS_OP_BYE && op != MPS_OP_ERR, "%s gets %s", peer->name, mps_op_name(op));
}

static void on_bytes(struct link *link, const uint8_t *bytes, size_t len)
{
    struct peer *peer = link->owner;
    if (peer->len + len > peer->cap) {
        peer->cap = 2 * (peer->len + len);
        peer->bytes = realloc(peer->bytes, peer->cap);
        if (peer->bytes == NULL) abort();
    }
    memcpy(peer->bytes + peer->len, bytes, len);
    peer->len += len;
    size_t at = 0;
    while (at < peer->len) {
        enum mps_scan_result result = mps_scan(&peer->scan, peer->bytes + at, peer->len - at, &wide);
        REQUIRE(result >= 0, "%s gets what is no frame: %s", peer->name, peer->scan.error);
        if (result == MPS_SCAN_MORE) break;
        mps_view frame = {peer->bytes + at, peer->scan.pos};
        at += peer->scan.pos;
        peer->scan = (struct mps_scan){0};
        check_frame(peer, frame);
    }
    peer->len -= at;
    memmove(peer->bytes, peer->bytes + at, peer->len);
}

static bool check_counts(const struct subscription_figures *f, void *arg)
{
    const struct peer *witness = arg;
    REQUIRE(f->matched == f->sent + f->lost + f->queued, "sid %u: matched %llu = sent %llu + lost %llu + queued %llu",
            f->sid, (unsigned long long)f->matched, (unsigned long long)f->sent, (unsigned long long)f->lost,
            (unsigned long long)f->queued);
    if (f->link == witness->link)
        REQUIRE(f->sent == witness->messages && f->queued == 0 && f->lost == witness->gaps,
                "the witness got %llu messages and gaps of %llu; sent %llu, queued %llu, lost %llu",
                (unsigned long long)witness->messages, (unsigned long long)witness->gaps, (unsigned long long)f->sent,
                (unsigned long long)f->queued, (unsigned long long)f->lost);
    return true;
}

static void push_hello(struct link *link)
{
    uint8_t room[64];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_hello(&out, &(struct mps_hello){.magic = mps_text("mps"), .version = 1});
    world_push(link, room, out.len);
}

static void turn(struct world *world, struct peer *witness)
{
    world_turn(world);
    while (witness->link->room < witness->link->room_max) { /* it reads everything at once */
        world_drain(witness->link, SIZE_MAX);
        world_turn(world);
    }
    broker_each_subscription(world->broker, check_counts, witness);
    REQUIRE(!world->failed, "%s", world->failure);
}

static void open_witness(struct world *world, struct peer *witness)
{
    uint8_t room[64];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_sub(&out, &(struct mps_sub){.sid = 1, .pattern = mps_text("#")});
    *witness = (struct peer){.name = "the witness", .is_witness = true};
    witness->link = world_connect(world, 65536, witness);
    push_hello(witness->link);
    world_push(witness->link, room, out.len);
    while (world_deliver(witness->link, SIZE_MAX) > 0) continue;
    turn(world, witness);
}

static void play(struct world *world, struct peer *witness, struct peer *attackers, int count, unsigned options,
                 uint32_t cut)
{
    for (int i = 0; i < count; i++) {
        if (options & OPTION_HELLO) world_deliver(attackers[i].link, SIZE_MAX);
    }
    turn(world, witness);
    for (int idle = 0; idle < 3;) {
        idle++;
        for (int i = 0; i < count; i++) {
            struct link *link = attackers[i].link;
            size_t left = world_deliverable(link);
            if (left > 0 && world_deliver(link, i == 0 ? piece_len(&cut, left) : left) > 0) idle = 0;
        }
        turn(world, witness);
        for (int i = 0; i < count; i++) {
            struct link *link = attackers[i].link;
            if (link->room < link->room_max) idle = 0;
            world_drain(link, options & OPTION_NARROW ? 7 : SIZE_MAX);
        }
        if (options & OPTION_TIME) world->now_ms += 10;
    }
}

static void finish(struct world *world, struct peer *witness, struct peer *attackers, int count, unsigned options)
{
    for (int i = 0; i < count; i++) {
        struct link *link = attackers[i].link;
        if (options & OPTION_CUT) world_cut(link, true);
        else world_push_end(link);
        world_deliver_end(link);
    }
    for (int rounds = 0; rounds < 20; rounds++) {
        for (int i = 0; i < count; i++) {
            world_drain(attackers[i].link, SIZE_MAX);
            world_deliver_end(attackers[i].link);
        }
        turn(world, witness);
        world->now_ms += 1000;
    }
    REQUIRE(witness->link->session != NULL, "the witness has lost its connection");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world world;
    if (size < 2) return 0;
    unsigned options = data[1];
    struct broker_limits limits;
    broker_defaults(&limits);
    if (options & OPTION_SMALL) {
        limits.max_payload = 32;
        limits.queue_msgs_count = 4;
        limits.queue_bytes = 200;
        limits.max_subs_count = 3;
        limits.retained_bytes = 2000;
        limits.session_queue_bytes = 300;
    }
    world_open(&world, 1, &limits);
    world.on_bytes = on_bytes;
    struct peer witness, attackers[2] = {{.name = "the attacker"}, {.name = "the second attacker"}};
    int count = options & OPTION_TWO ? 2 : 1;
    open_witness(&world, &witness);
    for (int i = 0; i < count; i++) {
        attackers[i].link = world_connect(&world, options & OPTION_NARROW ? 5 : 65536, &attackers[i]);
        if (options & OPTION_HELLO) push_hello(attackers[i].link);
    }
    if (options & OPTION_HELLO) play(&world, &witness, attackers, count, options & ~(unsigned)OPTION_NARROW, 0);
    for (int i = 0; i < count; i++) world_push(attackers[i].link, data + 2, size - 2);
    play(&world, &witness, attackers, count, options & ~(unsigned)OPTION_HELLO, data[0] * 2654435761u);
    finish(&world, &witness, attackers, count, options);
    world_close(&world);
    REQUIRE(!world.failed, "%s", world.failure);
    free(witness.bytes);
    for (int i = 0; i < count; i++) free(attackers[i].bytes);
    return 0;
}
