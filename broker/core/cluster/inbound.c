#include "members.h"

#include <string.h>

#include "far.h"
#include "group_far.h"
#include "lanes.h"
#include "plain.h"
#include "records.h"
#include "scope.h"
#include "trace.h"

/* Of who was missed a datagram that is none of those that came before comes within this. */
#define LOWER_MS (2u * HERE_MS)

/* A datagram that is being worked on. */
struct incoming {
    struct inbound in;
    struct broker *broker;
    const uint8_t *p, *end; /* what is left of it */
    struct slab *slab;      /* that holds it; NULL: it is still the engine's */
    struct run *run;        /* messages that are not delivered yet, and where they go; NULL: there are none */
    const struct route *route;
    const uint8_t *head;   /* of its last message: all before the payload's own head */
    uint32_t head_len;     /* 0: no other is like it */
    mps_view topic, props; /* of its first message */
};

/* ---- delivering --------------------------------------------------------------------------------------------- */

/* Whether what comes is for this mailbox at all: it says so of subscriptions and of groups. */
static bool is_for(const struct incoming *in, const struct mailbox *box)
{
    if (box->session != NULL) return in->in.plain;
    for (uint32_t i = 0; i < in->in.groups_count; i++)
        if (box == &in->in.groups[i]->box) return true;
    return false;
}

/* Message by message, to one that judges each. */
static void deliver_judged(struct incoming *in, struct mailbox *box, struct run *run)
{
    struct broker *broker = in->broker;
    struct delivery delivery = {.route = in->route, .run = run, .topic = in->topic, .props = in->props};
    for (uint32_t at = 0, end, one; at < run->len; at = end) {
        struct mps_msg msg;
        const char *what;
        end = run_frame_end(run, at, at, &one);
        mps_decode_msg((mps_view){run->bytes + at, end - at}, &msg, &what); /* accepted when it came */
        broker->judged++;
        broker->work++;
        if (fanout_judge(broker, box, &delivery, msg.payload) != FANOUT_TAKES) continue;
        if (run->count == 1) {
            mailbox_push(box, run, (struct part){0, run->len, 1});
            continue;
        }
        struct run *alone = run_slice(&broker->runs, run, at, end - at, 1, at);
        mailbox_push(box, alone, (struct part){0, end - at, 1});
        run_unref(&broker->runs, alone);
    }
}

static void deliver_to(struct incoming *in, const struct route *route, struct run *run)
{
    struct cluster *cluster = in->broker->cluster;
    in->broker->work += 1 + route->count;
    if (cluster->holes > 0) neighbours_tell_holes(cluster, route->boxes, route->count);
    if (route->is_plain && !route->has_groups && in->in.plain) {
        fanout_run(route, run);
        return;
    }
    for (uint32_t i = 0; i < route->count; i++) {
        struct mailbox *box = route->boxes[i];
        if (!is_for(in, box)) continue;
        if (box->is_picky) deliver_judged(in, box, run);
        else mailbox_push(box, run, (struct part){0, run->len, run->count});
    }
}

/* While somebody traces: each message by itself. */
TRACE_COLD static void deliver_traced(struct incoming *in, const struct route *route, struct run *run)
{
    struct broker *broker = in->broker;
    for (uint32_t at = 0, end, one; at < run->len; at = end) {
        end = run_frame_end(run, at, at, &one);
        struct run *alone = run_slice(&broker->runs, run, at, end - at, 1, at);
        trace_came_from_broker(broker, alone, NULL, in->in.from->name, false);
        deliver_to(in, route, alone);
        if (alone->is_traced) trace_taken(broker, NULL, alone, alone->len);
        run_unref(&broker->runs, alone);
    }
}

/* What was gathered goes to those mailboxes here that it is for. It is not kept, not retained, and goes no further:
 * that is all done where it was published. */
static void finish_run(struct incoming *in)
{
    struct run *run = in->run;
    if (run == NULL) return;
    in->run = NULL;
    if (!in->route->is_shared && !inbox_is(in->topic)) return; /* [cluster] topics of this broker are others */
    publish_note_times(in->broker, run, in->props);
    if (in->broker->tracing != NULL) deliver_traced(in, in->route, run);
    else deliver_to(in, in->route, run);
    if (in->in.moved.ptr != NULL) group_far_pass_on(&in->in, run);
}

/* ---- messages ----------------------------------------------------------------------------------------------- */

/* What is left of the datagram gets memory that it can stay in. False: there is none. */
static bool keep_bytes(struct incoming *in)
{
    uint32_t len = (uint32_t)(in->end - in->p);
    struct slab_pool *slabs = &in->broker->slabs;
    if (in->slab != NULL) return true;
    bool is_short = len <= SLAB_BYTES / 2;
    struct slab *slab = is_short ? slab_for_reading(slabs, len) : slab_new(slabs, len);
    if (slab == NULL) return false;
    if (is_short) slab->refs++;
    uint8_t *bytes = slab->bytes + slab->used;
    memcpy(bytes, in->p, len);
    slab->used += len;
    in->slab = slab;
    in->p = bytes;
    in->end = bytes + len;
    return true;
}

static void add_frame(struct incoming *in, uint32_t len)
{
    struct run *run = in->run;
    if (len > run->longest) run->longest = len;
    if (run->count == 0 || len < run->shortest) run->shortest = len;
    run->last_off = run->len;
    run->count++;
    run->len += len;
    in->p += len;
    in->in.from->messages++;
    in->in.from->messages_in++;
}

/* Length of the bin at p with its head, of which `left` bytes are there; 0: it is not one, or not all of it is there.
 */
static size_t bin_len(const uint8_t *p, size_t left)
{
    struct mps_head head;
    if (mps_head_read(p, left, &head) != 1 || head.type != MPS_BIN) return 0;
    size_t len = (size_t)head.head_len + head.count;
    return len <= left ? len : 0;
}

/* One more message like the last one. */
static bool grow(struct incoming *in)
{
    uint32_t head_len = in->head_len;
    size_t left = (size_t)(in->end - in->p);
    if (in->run == NULL || head_len == 0 || left < head_len + 2 || memcmp(in->p, in->head, head_len) != 0) return false;
    size_t len = bin_len(in->p + head_len, left - head_len);
    if (len == 0) return false;
    add_frame(in, head_len + (uint32_t)len);
    return true;
}

/* Where messages of this topic go; NULL: none may come from another broker. */
static const struct route *route_of(struct broker *broker, mps_view topic)
{
    const struct route *route = router_route(broker, topic);
    if (route != NULL) return route;
    if (!inbox_is_inside(topic) || mps_topic_error(topic) != NULL) return NULL;
    return router_route_once(broker, topic);
}

/* Whether a message without props can be added to the run, although its topic is another one. */
static bool joins(const struct incoming *in, const struct route *route)
{
    const struct route *last = in->route;
    if (in->run == NULL || in->head_len == 0 || in->props.ptr != NULL || in->broker->tracing != NULL) return false;
    if (last->is_shared != route->is_shared) return false;
    return last->is_plain && route->is_plain && last->stream == route->stream && !last->has_latest &&
           !route->has_latest && last->count == route->count &&
           memcmp(last->boxes, route->boxes, route->count * sizeof route->boxes[0]) == 0;
}

/* A message at .p, whole and scanned. False: it is none that another broker may send. */
static bool take_msg(struct incoming *in, uint32_t len, const struct mps_msg *msg, uint32_t head_len)
{
    const char *what;
    if (msg->props.ptr != NULL && mps_props_check(msg->props, &what) != MPS_OK) return false;
    const struct route *route = route_of(in->broker, msg->topic);
    if (route == NULL) return false;
    if (msg->props.ptr != NULL || !joins(in, route)) {
        finish_run(in);
        in->run = run_new(&in->broker->runs, in->slab, in->p);
        in->topic = msg->topic;
        in->props = msg->props;
    }
    in->route = route;
    in->head = in->p;
    in->head_len = head_len;
    add_frame(in, len);
    return true;
}

static bool take_plain(struct incoming *in)
{
    size_t left = (size_t)(in->end - in->p);
    struct mps_plain plain;
    if (!mps_plain_read(in->p, left, &plain) || (uint64_t)plain.payload_at + plain.payload_len > left) return false;
    struct mps_msg msg = {.topic = {in->p + plain.topic_at, plain.topic_len},
                          .payload = {in->p + plain.payload_at, plain.payload_len}};
    return take_msg(in, plain.payload_at + plain.payload_len, &msg, plain.bin_at);
}

static bool take_scanned(struct incoming *in, const struct mps_scan *scan)
{
    struct mps_msg msg;
    const char *what;
    if (mps_decode_msg((mps_view){in->p, scan->pos}, &msg, &what) != MPS_OK) return false;
    uint32_t bin_at = (uint32_t)(msg.payload.ptr - in->p);
    bin_at -= msg.payload.len <= UINT8_MAX ? 2 : msg.payload.len <= UINT16_MAX ? 3 : 5; /* unless it is oddly written */
    bool is_shortest = scan->elements == 4 && bin_len(in->p + bin_at, scan->pos - bin_at) == scan->pos - bin_at;
    return take_msg(in, scan->pos, &msg, is_shortest ? bin_at : 0);
}

/* ---- frames ------------------------------------------------------------------------------------------------- */

/* What is for brokers only. False: malformed. */
static bool take_other(struct incoming *in, unsigned op, mps_view frame)
{
    struct neighbour *from = in->in.from;
    struct cluster *cluster = from->cluster;
    switch (op) {
    case BETWEEN_INTEREST: return far_on_interest(from, frame);
    case BETWEEN_TERMS: return group_far_on_terms(&in->in, frame);
    case BETWEEN_ECHO: return scope_on_echo(cluster, from, frame);
    case BETWEEN_ECHOED: return scope_on_echoed(cluster, from, frame);
    case BETWEEN_CLAIM: return records_on_claim(cluster, from, frame);
    case BETWEEN_CLAIMED: return records_on_claimed(cluster, from, frame);
    case BETWEEN_RESYNC: interest_tell_all(from); return true;
    case BETWEEN_LEAVE:
        if (from->is_present) neighbour_gone(from, true);
        in->end = in->p; /* nothing follows */
        return true;
    default: return op > BETWEEN_CLAIMED && op <= BETWEEN_LAST; /* of a later version */
    }
}

static struct mps_limits limits_for(size_t len)
{
    return (struct mps_limits){MPS_HEAD_MAX, MPS_VALUES_MAX, (uint32_t)least(len, UINT32_MAX / 8)};
}

/* One frame. False: it is no good, and neither is what follows. */
static bool take_frame(struct incoming *in)
{
    if (in->p[0] == 0x94 && !keep_bytes(in)) return false; /* an array of four: most likely a message */
    if (grow(in) || take_plain(in)) return true;
    struct mps_scan scan = {0};
    size_t left = (size_t)(in->end - in->p);
    struct mps_limits limits = limits_for(left);
    if (mps_scan(&scan, in->p, left, &limits) != MPS_SCAN_FRAME) return false;
    if (scan.op == MPS_OP_MSG) return keep_bytes(in) && take_scanned(in, &scan);
    finish_run(in);
    mps_view frame = {in->p, scan.pos};
    in->p += scan.pos;
    return take_other(in, scan.op, frame);
}

static void note_malformed(struct cluster *cluster, const char *name)
{
    log_say(cluster->broker, EVENT_CLUSTER_MALFORMED, LOG_FIELDS(log_word("from", name)),
            "a datagram of broker '%s' is malformed: the rest of it is not taken", name);
}

static void take_frames(struct neighbour *from, const uint8_t *bytes, size_t len)
{
    struct cluster *cluster = from->cluster;
    struct broker *broker = cluster->broker;
    struct incoming in = {.in = {.from = from, .plain = true}, .broker = broker, .p = bytes, .end = bytes + len};
    bool is_good = true;
    while (is_good && in.p < in.end) is_good = take_frame(&in);
    finish_run(&in);
    if (in.slab != NULL) slab_unref(&broker->slabs, in.slab);
    router_trim(broker);
    if (is_good) return;
    from->malformed++;
    far_missed(from);
    note_malformed(cluster, from->name);
}

/* ---- datagrams ---------------------------------------------------------------------------------------------- */

/* Of a neighbour that was missed something may come that came before. If it goes on so, nothing else will. */
static bool came_before(struct neighbour *from, uint64_t seq)
{
    uint64_t now_ms = from->cluster->broker->now_ms;
    if (seq > from->seq_before) {
        from->seq_before = 0;
        return false;
    }
    if (from->lower_ms == 0) from->lower_ms = now_ms;
    if (now_ms < from->lower_ms + LOWER_MS) return true;
    from->seq_before = 0;
    return false;
}

/* Whether this one is new; if something before it is missing, that is told. */
static bool is_next(struct neighbour *from, const struct between_lane *lane)
{
    if (lane->seq <= from->seq || came_before(from, lane->seq)) return false; /* it came before, or too late */
    if (from->seq > 0 && lane->seq != from->seq + 1) far_missed(from);
    from->seq = lane->seq;
    if (lane->messages == from->messages) return true;
    uint64_t missing = lane->messages > from->messages ? lane->messages - from->messages : 1;
    from->messages = lane->messages;
    neighbour_note_hole(from, missing);
    return true;
}

static bool take_lane(struct cluster *cluster, mps_view frame, const uint8_t *bytes, size_t len)
{
    struct between_lane lane;
    if (!between_decode_lane(frame, &lane)) return false;
    struct neighbour *from = neighbour_hear(cluster, lane.name, lane.boot, lane.tag);
    if (from == NULL || lane.to_boot != cluster->boot || !is_next(from, &lane)) return true;
    neighbour_heard_lane(from);
    take_frames(from, bytes, len);
    if (from->is_present) far_check(from, lane.told);
    return true;
}

static bool take_here(struct cluster *cluster, mps_view frame)
{
    struct between_here here;
    if (!between_decode_here(frame, &here)) return false;
    struct neighbour *from = neighbour_hear(cluster, here.name, here.boot, here.tag);
    if (from == NULL || here.software.len >= sizeof from->software) return true;
    if (here.software.len > 0) memcpy(from->software, here.software.ptr, here.software.len);
    from->software[here.software.len] = '\0';
    return true;
}

static bool take_datagram(struct cluster *cluster, const uint8_t *bytes, size_t len)
{
    struct mps_scan scan = {0};
    struct mps_limits limits = {BETWEEN_FRAME_MAX, MPS_VALUES_MAX, 0};
    if (len > UINT32_MAX / 2 || mps_scan(&scan, bytes, len, &limits) != MPS_SCAN_FRAME) return false;
    mps_view frame = {bytes, scan.pos};
    if (scan.op == BETWEEN_HERE) return take_here(cluster, frame);
    return scan.op == BETWEEN_LANE && take_lane(cluster, frame, bytes + scan.pos, len - scan.pos);
}

void inbound_take(struct cluster *cluster, const uint8_t *bytes, size_t len)
{
    if (take_datagram(cluster, bytes, len)) return;
    cluster->malformed++;
    log_say(cluster->broker, EVENT_CLUSTER_MALFORMED, LOG_FIELDS(log_number("bytes", len)),
            "a datagram of %zu bytes came that is none of a broker: it is not taken", len);
}
