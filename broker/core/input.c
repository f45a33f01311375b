#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "plain.h"

/* At least this much room is offered to each read. */
#define READ_LEAST (64u * 1024)
/* Frames of which more than this is known to be missing get a buffer of their own: then each byte is copied once,
 * however small the pieces are that it comes in. */
#define LARGE_FRAME 4096u
/* What one session may cost the others in one turn besides WORK_A_TURN: frames, a run of messages being one. About 5
 * ms. */
#define FRAMES_A_TURN 8192
/* How much of a publisher that is held is read ahead of its held message, for what must not wait behind it. */
#define READ_AHEAD_MAX (256u * 1024)
#define READ_AHEAD_LEAST 4096u
/* Replies that the peer doesn't read: beyond this much, nothing more is taken from it. */
#define CONTROL_MAX (64u * 1024)

/* Bytes being worked on, and the run of messages that is growing. */
struct input {
    struct session *session;
    struct slab *slab;
    const uint8_t *p, *end;
    uint32_t frames;
    struct publish publish; /* .run NULL: none is growing */
    const uint8_t *head;    /* of its last frame */
    uint32_t head_len;      /* up to the payload's own head; 0: it can't grow */
    bool waits;             /* the message at .p can't be queued yet, or the share of the turn is used up */
    uint64_t work_end;      /* broker.work then */
};

static bool takes_input(const struct session *session)
{
    return session->state == SESSION_NEW || session->state == SESSION_READY;
}

static struct mps_limits limits_of(const struct session *session)
{
    uint32_t max_payload = session->broker->limits.max_payload;
    if (session->state == SESSION_NEW) return (struct mps_limits){MPS_HELLO_FRAME_MAX, MPS_VALUES_MAX, 0};
    return (struct mps_limits){MPS_HEAD_MAX, MPS_VALUES_MAX, max_payload};
}

/* Publishes the run that was growing. False: nothing more is to be done, because what is at .p has to wait, or the
 * session ends. */
static bool finish_run(struct input *in)
{
    struct publish publish = in->publish;
    struct run *run = publish.run;
    in->publish.run = NULL;
    if (run == NULL || !takes_input(in->session)) return takes_input(in->session);
    uint32_t taken = publish_run(in->session, &publish, in->work_end);
    if (taken == run->count) return takes_input(in->session);
    in->p = run->bytes + run_skip(run, 0, taken);
    in->session->scan = (struct mps_scan){0};
    in->waits = true;
    return false;
}

/* Whether two heads are the same; both have at least len bytes. A call of memcmp would be half of what a frame costs.
 */
static inline bool same_head(const uint8_t *a, const uint8_t *b, uint32_t len)
{
    uint64_t x, y;
    uint32_t u, v;
    if (len < sizeof x) { /* the shortest head has 5 */
        memcpy(&u, a, sizeof u);
        memcpy(&v, b, sizeof v);
        return u == v && memcmp(a + len - sizeof u, b + len - sizeof v, sizeof u) == 0;
    }
    for (uint32_t at = 0; at + sizeof x < len; at += sizeof x) {
        memcpy(&x, a + at, sizeof x);
        memcpy(&y, b + at, sizeof y);
        if (x != y) return false;
    }
    memcpy(&x, a + len - sizeof x, sizeof x);
    memcpy(&y, b + len - sizeof y, sizeof y);
    return x == y;
}

static void add_frame(struct input *in, uint32_t frame_len)
{
    struct run *run = in->publish.run;
    if (frame_len > run->longest) run->longest = frame_len;
    if (run->count == 0 || frame_len < run->shortest) run->shortest = frame_len;
    run->last_off = run->len;
    run->count++;
    run->len += frame_len;
    in->p += frame_len;
}

/* Length of the bin whose head is at p, with its head; 0 if it has the widest head. */
static inline uint32_t short_bin_len(const uint8_t *p)
{
    if (p[0] == 0xc4) return 2 + (uint32_t)p[1];
    if (p[0] == 0xc5) return 3 + (uint32_t)(p[1] << 8 | p[2]);
    return 0;
}

/* The hot path: messages with the same head as the one before (topic and props) cost one comparison and the length
 * of their payload each, 2 ns, and no look-up. Takes as many as there are; returns whether there was one. */
static bool grow_run(struct input *in)
{
    struct run *run = in->publish.run;
    uint32_t head_len = in->head_len, max_len = head_len + 2 + in->session->broker->limits.max_payload;
    if (run == NULL || head_len == 0) return false;
    const uint8_t *p = in->p, *last = NULL;
    uint32_t count = 0, longest = run->longest, shortest = run->shortest;
    for (size_t left; (left = (size_t)(in->end - p)) >= head_len + 5 && same_head(p, in->head, head_len); count++) {
        uint32_t bin_len = short_bin_len(p + head_len), frame_len = head_len + bin_len;
        if (bin_len == 0 || frame_len > left || frame_len > max_len) break;
        if (frame_len > longest) longest = frame_len;
        if (frame_len < shortest) shortest = frame_len;
        last = p;
        p += frame_len;
    }
    if (count == 0) return false;
    run->longest = longest;
    run->shortest = shortest;
    run->last_off = (uint32_t)(last - run->bytes);
    run->count += count;
    run->len = (uint32_t)(p - run->bytes);
    in->p = p;
    return true;
}

/* Bytes of the payload's own head, which ends at payload_at. */
static uint32_t bin_head_len(const uint8_t *frame, const struct mps_scan *scan)
{
    if (scan->payload_len <= UINT8_MAX && frame[scan->payload_at - 2] == 0xc4) return 2;
    if (scan->payload_len <= UINT16_MAX && frame[scan->payload_at - 3] == 0xc5) return 3;
    return 5;
}

/* Whether others have made this turn long: the message at .p waits for the next one. Asked before its route is looked
 * up, which is what may cost most: else each of a thousand connections could have one look-up in each turn. */
static bool turn_is_over(struct input *in)
{
    const struct broker *broker = in->session->broker;
    if (broker->work < broker->turn_work_end) return false;
    if (finish_run(in)) in->waits = true;
    return true;
}

/* The message at .p, which is in nobody's way, begins a run of its own: begin is all but the run. */
static void begin_run(struct input *in, uint32_t frame_len, uint32_t head_len, struct publish begin)
{
    if (!finish_run(in)) return;
    in->head = in->p;
    in->head_len = head_len;
    in->publish = begin;
    in->publish.run = run_new(&in->session->broker->runs, in->slab, in->p);
    add_frame(in, frame_len);
}

/* A whole message of the common shape, but of another topic than the one before, costs this and a look-up. Returns
 * false if this isn't one: step() takes all. */
static bool take_plain(struct input *in)
{
    struct session *session = in->session;
    size_t left = (size_t)(in->end - in->p);
    struct mps_plain plain;
    if (session->scan.values > 0 || session->state != SESSION_READY || (session->terms.flags & MPS_PUB_EACH))
        return false;
    if (!mps_plain_read(in->p, left, &plain) || plain.payload_len > session->broker->limits.max_payload ||
        plain.payload_at + plain.payload_len > left)
        return false;
    if (turn_is_over(in)) return true;
    struct publish begin = {.topic = {in->p + plain.topic_at, plain.topic_len}};
    begin.route = router_route(session->broker, begin.topic);
    in->frames++;
    if (in->publish.run != NULL && begin.route != NULL && publish_joins(session, &in->publish, begin.route)) {
        in->publish.route = begin.route;
        in->head = in->p;
        in->head_len = plain.bin_at;
        add_frame(in, plain.payload_at + plain.payload_len);
    } else {
        if (begin.route != NULL) router_prefetch(begin.route);
        begin_run(in, plain.payload_at + plain.payload_len, plain.bin_at, begin);
    }
    return true;
}

static void take_msg(struct input *in, const struct mps_scan *scan)
{
    struct session *session = in->session;
    struct mps_msg msg;
    const char *what;
    bool plain = scan->elements == 4 && !(session->terms.flags & MPS_PUB_EACH);
    if (turn_is_over(in)) return;
    if (mps_decode_msg((mps_view){in->p, scan->pos}, &msg, &what) != MPS_OK) {
        if (finish_run(in)) session_byef(session, MPS_MALFORMED, "malformed MSG: %s", what);
        return;
    }
    struct publish begin = {.topic = msg.topic, .props = msg.props, .route = router_route(session->broker, msg.topic)};
    begin_run(in, scan->pos, plain ? scan->payload_at - bin_head_len(in->p, scan) : 0, begin);
}

static void dispatch(struct session *session, unsigned op, mps_view frame)
{
    switch (op) {
#define TO_BROKER(number, NAME)        \
    case number:                       \
        handle_##NAME(session, frame); \
        break;
#define BOTH(number, NAME)             \
    case number:                       \
        handle_##NAME(session, frame); \
        break;
#define TO_CLIENT(number, NAME)                                           \
    case number:                                                          \
        session_bye(session, MPS_STATE, "only a broker may send " #NAME); \
        break;
#define OP(number, NAME, way, fields) way(number, NAME)
#include "ops.def"
#undef OP
#undef TO_BROKER
#undef BOTH
#undef TO_CLIENT
    default:
        if (op < 64) session_byef(session, MPS_UNKNOWN_OP, "operation %u is not known", op);
    }
}

/* What says something about the moment, and is executed although messages before it are held. */
static bool may_overtake(unsigned op)
{
    return op == MPS_OP_PING || op == MPS_OP_CREDIT || op == MPS_OP_ACK;
}

static void take_frame(struct input *in, const struct mps_scan *scan)
{
    struct session *session = in->session;
    in->frames++;
    if (scan->op == MPS_OP_MSG) {
        take_msg(in, scan);
        return;
    }
    if (!finish_run(in)) return;
    bool seen = in->slab == session->stalled && in->p < in->slab->bytes + session->ahead_at;
    mps_view frame = {in->p, scan->pos};
    in->p += scan->pos;
    if (!seen || !may_overtake(scan->op)) dispatch(session, scan->op, frame);
}

/* What the first bytes look like when they aren't ours. */
static const char *guess(const uint8_t *p, size_t len)
{
    static const struct {
        const char *start, *name;
    } known[] = {
        {"GET ", "HTTP"},     {"POST ", "HTTP"},  {"HEAD ", "HTTP"}, {"PUT ", "HTTP"},
        {"OPTIONS ", "HTTP"}, {"PRI ", "HTTP/2"}, {"SSH-", "SSH"},   {"CONNECT ", "NATS or an HTTP proxy"},
        {"*", "Redis"},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        size_t start_len = strlen(known[i].start);
        if (memcmp(p, known[i].start, len < start_len ? len : start_len) == 0) return known[i].name;
    }
    if (p[0] == 0x16) return "TLS";
    if (p[0] == 0x10) return "MQTT";
    return NULL;
}

/* A connection begins with a HELLO, an array of at least four elements, and with nothing else. */
static bool check_first(struct session *session, const uint8_t *p, size_t len)
{
    if (session->state != SESSION_NEW || (p[0] >= 0x94 && p[0] <= 0x9f)) return true;
    const char *looks = guess(p, len);
    if (looks != NULL)
        session_byef(session, MPS_MALFORMED, "this listener serves mps/1, the first bytes look like %s", looks);
    else session_byef(session, MPS_MALFORMED, "the first byte is %02x, a HELLO begins with 94 to 9f", p[0]);
    return false;
}

/* A message over the limit: it is answered and its bytes are thrown away as they come. */
static void refuse_large(struct input *in)
{
    struct session *session = in->session;
    char text[200];
    struct mps_reader r = mps_reader_open((mps_view){in->p, session->scan.payload_at});
    mps_read_array(&r, "frame");
    mps_read_uint(&r, MPS_OP_MAX, "operation");
    struct mps_head head;
    if (!finish_run(in)) return;
    if (mps_head_read(r.p, (size_t)(r.end - r.p), &head) != 1 || head.type != MPS_STR) {
        session_bye(session, MPS_MALFORMED, "malformed MSG: topic");
        return;
    }
    mps_view topic = {r.p + head.head_len, head.count};
    snprintf(text, sizeof text, "the payload of %u bytes for '%s' is over the limit of %u bytes",
             session->scan.payload_len, printable(topic), session->broker->limits.max_payload);
    publish_refuse(session, topic, MPS_TOO_LARGE, text);
}

static void fail_scan(struct input *in, enum mps_scan_result result)
{
    if (!finish_run(in)) return;
    session_byef(in->session, result == MPS_SCAN_LIMIT ? MPS_LIMIT : MPS_MALFORMED, "%s", in->session->scan.error);
}

/* Works on one frame, or on what there is of it. Returns false when more bytes are needed. */
static bool step(struct input *in)
{
    struct session *session = in->session;
    struct mps_limits limits = limits_of(session);
    struct mps_scan *scan = &session->scan;
    size_t left = (size_t)(in->end - in->p);
    enum mps_scan_result result;
    if (scan->oversized) {
        size_t used;
        result = mps_scan_skip(scan, in->p, left, &limits, &used);
        in->p += used;
        if (result == MPS_SCAN_FRAME) *scan = (struct mps_scan){0};
    } else {
        if (scan->pos == 0 && !check_first(session, in->p, left)) return true;
        result = mps_scan(scan, in->p, left, &limits);
        if (session->state == SESSION_NEW && result != MPS_SCAN_MALFORMED && scan->elements > 0 &&
            scan->op != MPS_OP_HELLO) {
            session_byef(session, MPS_STATE, "the first frame must be HELLO, this is %s (%u)", mps_op_name(scan->op),
                         scan->op);
            return true;
        }
        if (result == MPS_SCAN_FRAME) {
            struct mps_scan done = *scan;
            *scan = (struct mps_scan){0};
            take_frame(in, &done);
        }
    }
    if (result == MPS_SCAN_TOO_LARGE) refuse_large(in);
    else if (result < 0) fail_scan(in, result);
    return result != MPS_SCAN_MORE;
}

/* Keeps the beginning of a frame for the next read. */
static void keep_rest(struct input *in)
{
    struct session *session = in->session;
    uint32_t left = (uint32_t)(in->end - in->p), known = session->scan.pos - session->scan.skipped;
    if (left == 0) return;
    if (session->scan.oversized || (known <= LARGE_FRAME && left <= LARGE_FRAME)) {
        buffer_append(&session->kept, in->p, left);
        return;
    }
    uint32_t cap = known > left ? known : left + LARGE_FRAME;
    struct slab *large = slab_new(&session->broker->slabs, cap);
    if (large == NULL) {
        session_byef(session, MPS_INTERNAL, "there is no memory for a frame of %u bytes", cap);
        return;
    }
    memcpy(large->bytes, in->p, left);
    large->used = left;
    session->large = large;
}

static void set_reading(struct session *session, bool on)
{
    if (session->paused == !on || session->read_ended || !takes_input(session)) return;
    session->paused = !on;
    session->broker->env->reading(session->broker->env, session->link, on);
}

/* ---- input that waits --------------------------------------------------------------------------------------- */

/* A slab of its own for what waits, with room to read on behind it. */
static bool move_stalled(struct session *session, const uint8_t *bytes, uint32_t len)
{
    struct slab_pool *slabs = &session->broker->slabs;
    struct slab *slab = slab_new(slabs, len + len / 2 + READ_AHEAD_LEAST);
    if (slab == NULL) {
        session_byef(session, MPS_INTERNAL, "there is no memory for %u bytes of input", len);
        return false;
    }
    memcpy(slab->bytes, bytes, len);
    slab->used = len;
    if (session->stalled != NULL) slab_unref(slabs, session->stalled);
    session->stalled = slab;
    return true;
}

/* Executes what may overtake the held message. */
static void look_ahead(struct session *session)
{
    struct mps_limits limits = limits_of(session);
    while (!session->ahead_over && buffer_len(&session->control) <= CONTROL_MAX) {
        struct slab *slab = session->stalled;
        struct mps_scan scan = {0};
        const uint8_t *p = slab->bytes + session->ahead_at;
        enum mps_scan_result result = mps_scan(&scan, p, slab->used - session->ahead_at, &limits);
        if (result == MPS_SCAN_MORE) return;
        bool overtakes = result == MPS_SCAN_FRAME && may_overtake(scan.op);
        session->ahead_over =
            result != MPS_SCAN_FRAME || (!overtakes && scan.op != MPS_OP_MSG && scan.op != MPS_OP_PUB);
        if (session->ahead_over) return;
        session->ahead_at += scan.pos;
        if (overtakes) dispatch(session, scan.op, (mps_view){p, scan.pos});
        if (!takes_input(session)) return;
    }
}

/* Reads on behind a held message, so that the peer's signs of life are seen, as long as there is room. */
static void read_ahead(struct session *session)
{
    look_ahead(session);
    if (!takes_input(session)) return;
    struct slab *slab = session->stalled;
    uint32_t left = slab->used - session->stalled_at;
    bool on = !session->ahead_over && left < READ_AHEAD_MAX && buffer_len(&session->control) <= CONTROL_MAX;
    if (on && slab->cap - slab->used < READ_AHEAD_LEAST) {
        if (!move_stalled(session, slab->bytes + session->stalled_at, left)) return;
        session->ahead_at -= session->stalled_at;
        session->stalled_at = 0;
    }
    set_reading(session, on);
    if (buffer_len(&session->control) > CONTROL_MAX && !session->blocked)
        session_hold(session); /* until it is written */
}

/* What is left waits: for its share of the next turn, or until the message that it begins with can be queued. */
static void stall(struct input *in)
{
    struct session *session = in->session;
    if (session->stalled == in->slab) {
        session->stalled_at = (uint32_t)(in->p - in->slab->bytes);
        if (session->ahead_at < session->stalled_at) {
            session->ahead_at = session->stalled_at;
            session->ahead_over = false;
        }
    } else {
        if (!move_stalled(session, in->p, (uint32_t)(in->end - in->p))) return;
        session->stalled_at = session->ahead_at = 0;
        session->ahead_over = false;
    }
    if (session->waits_for != NULL) {
        read_ahead(session);
    } else {
        session_hold(session);
        set_reading(session, false);
    }
}

/* Returns whether some of it has to wait. */
static bool work(struct session *session, struct slab *slab, const uint8_t *bytes, uint32_t len)
{
    struct input in = {.session = session, .slab = slab, .p = bytes, .end = bytes + len};
    bool more = true;
    struct broker *broker = session->broker;
    in.work_end = broker->work + WORK_A_TURN;
    while (in.p < in.end && takes_input(session) && more && !in.waits) {
        if (in.frames >= FRAMES_A_TURN || broker->work >= in.work_end || buffer_len(&session->control) > CONTROL_MAX)
            break;
        if (!grow_run(&in) && !take_plain(&in)) more = step(&in);
    }
    finish_run(&in);
    router_trim(broker);
    if (!takes_input(session)) return false;
    if (in.waits || (more && in.p < in.end)) { /* or it doesn't read our answers */
        stall(&in);
        return true;
    }
    keep_rest(&in);
    return false;
}

void session_read_buffer(struct session *session, uint8_t **buf, size_t *cap)
{
    assert(!session->paused);
    struct slab *slab = session->stalled ? session->stalled : session->large;
    uint32_t kept = 0;
    if (slab == NULL) {
        kept = buffer_len(&session->kept);
        slab = slab_for_reading(&session->broker->slabs, kept + READ_LEAST);
        if (kept > 0) memcpy(slab->bytes + slab->used, session->kept.bytes + session->kept.off, kept);
    }
    *buf = slab->bytes + slab->used + kept;
    *cap = slab->cap - slab->used - kept;
}

static void read_large(struct session *session, uint32_t len)
{
    struct slab *slab = session->large;
    slab->used += len;
    if (slab->used < session->scan.pos) return; /* still in the middle of the payload */
    session->large = NULL;
    work(session, slab, slab->bytes, slab->used);
    slab_unref(&session->broker->slabs, slab);
}

void session_read(struct session *session, size_t len)
{
    struct broker *broker = session->broker;
    broker->now_ms = broker->env->now_ms(broker->env);
    session->last_read_ms = broker->now_ms;
    broker->turn_bytes += len;
    if (!takes_input(session)) return; /* whatever it says now, it comes too late */
    if (session->stalled != NULL) {
        session->stalled->used += (uint32_t)len;
        read_ahead(session);
        return;
    }
    if (session->large != NULL) {
        read_large(session, (uint32_t)len);
        return;
    }
    struct slab *slab = broker->slabs.shared;
    uint8_t *bytes = slab->bytes + slab->used;
    uint32_t all = buffer_len(&session->kept) + (uint32_t)len;
    buffer_free(&session->kept);
    slab->used += all;
    work(session, slab, bytes, all);
}

void input_resume(struct session *session)
{
    struct slab *slab = session->stalled;
    struct broker *broker = session->broker;
    if (slab == NULL || !takes_input(session)) return;
    if (session->waits_for != NULL) { /* the peer reads our answers again */
        read_ahead(session);
        return;
    }
    if (buffer_len(&session->control) > CONTROL_MAX) {
        if (!session->blocked) session_hold(session); /* else session_writable() leads back here */
        return;
    }
    slab->refs++; /* if the session ends, it lets go of it */
    bool waits = work(session, slab, slab->bytes + session->stalled_at, slab->used - session->stalled_at);
    if (!waits && session->stalled != NULL) {
        slab_unref(&broker->slabs, session->stalled);
        session->stalled = NULL;
    }
    slab_unref(&broker->slabs, slab);
    if (waits || !takes_input(session)) return;
    set_reading(session, true);
    if (session->read_ended) session_read_end(session);
}

void input_forget(struct session *session)
{
    struct slab_pool *slabs = &session->broker->slabs;
    hold_end(session);
    session->held_since_ms = UINT64_MAX;
    if (session->large != NULL) slab_unref(slabs, session->large);
    if (session->stalled != NULL) slab_unref(slabs, session->stalled);
    session->large = session->stalled = NULL;
    buffer_free(&session->kept);
    session->scan = (struct mps_scan){0};
}
