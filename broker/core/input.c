#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "identity.h"
#include "input.h"

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

static struct mps_limits limits_of(const struct session *session)
{
    uint32_t max_payload = session->broker->limits.max_payload;
    if (session->state == SESSION_NEW) return (struct mps_limits){MPS_HELLO_FRAME_MAX, MPS_VALUES_MAX, 0};
    return (struct mps_limits){MPS_HEAD_MAX, MPS_VALUES_MAX, max_payload};
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
        messages_take(in, scan);
        return;
    }
    if (!messages_finish(in)) return;
    bool seen = in->slab == session->stalled && in->p < in->slab->bytes + session->ahead_at;
    mps_view frame = {in->p, scan->pos};
    in->p += scan->pos;
    if (!seen || !may_overtake(scan->op)) dispatch(session, scan->op, frame);
}

const char *broker_guess(const uint8_t *p, size_t len)
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
    const char *looks = broker_guess(p, len);
    if (looks != NULL)
        session_byef(session, MPS_MALFORMED, "this listener serves mps/1, the first bytes look like %s", looks);
    else session_byef(session, MPS_MALFORMED, "the first byte is %02x, a HELLO begins with 94 to 9f", p[0]);
    return false;
}

/* Finds the topic of the message at .p, whose head is there up to the payload. False: it is none, and told so, or there
 * was something before it that ended the session or has to wait. */
static bool read_topic(struct input *in, mps_view *topic)
{
    struct session *session = in->session;
    struct mps_reader r = mps_reader_open((mps_view){in->p, session->scan.payload_at});
    mps_read_array(&r, "frame");
    mps_read_uint(&r, MPS_OP_MAX, "operation");
    struct mps_head head;
    if (!messages_finish(in)) return false;
    if (mps_head_read(r.p, (size_t)(r.end - r.p), &head) != 1 || head.type != MPS_STR) {
        session_bye(session, MPS_MALFORMED, "malformed MSG: topic");
        return false;
    }
    *topic = (mps_view){r.p + head.head_len, head.count};
    return true;
}

/* A message over the limit: it is answered and its bytes are thrown away as they come. */
static void refuse_large(struct input *in)
{
    struct session *session = in->session;
    char text[200];
    mps_view topic;
    if (!read_topic(in, &topic)) return;
    snprintf(text, sizeof text, "the payload of %u bytes for '%s' is over the limit of %u bytes",
             session->scan.payload_len, printable(topic), session->broker->limits.max_payload);
    broker_note_refusal(session->broker, REFUSED_PAYLOAD);
    publish_refuse(session, topic, MPS_TOO_LARGE, text);
}

static void fail_scan(struct input *in, enum mps_scan_result result)
{
    if (!messages_finish(in)) return;
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

static void set_reading(struct session *session, bool on)
{
    on = on && session->intake_state != INTAKE_WAITS;
    if (session->paused == !on || session->read_ended || !takes_input(session)) return;
    session->paused = !on;
    session->broker->env->reading(session->broker->env, session->link, on);
}

/* Of a frame that is not whole yet: it has what is known of its length, or more if all of that has come. */
static uint32_t frame_room(const struct session *session, uint32_t come)
{
    uint32_t known = session->scan.pos;
    return known > come ? known : come + LARGE_FRAME;
}

uint32_t input_needs(const struct session *session)
{
    return frame_room(session, session->large->used);
}

/* Keeps the beginning of a frame for the next read. Of a large one no more is read until there is memory for all of it:
 * so none is in another's way that has only its beginning. */
static void keep_rest(struct input *in)
{
    struct session *session = in->session;
    uint32_t left = (uint32_t)(in->end - in->p);
    if (left == 0) return;
    if (session->scan.oversized || (session->scan.pos <= LARGE_FRAME && left <= LARGE_FRAME)) {
        buffer_append(&session->kept, in->p, left);
        return;
    }
    if (in->p != in->slab->bytes) intake_leave(session); /* what was granted was for the frame before */
    uint32_t cap = frame_room(session, left);
    bool admitted = intake_admits(session, cap);
    struct slab *large = slab_new(&session->broker->slabs, admitted ? cap : left);
    if (large == NULL) {
        session_byef(session, MPS_INTERNAL, "there is no memory for a frame of %u bytes", cap);
        return;
    }
    memcpy(large->bytes, in->p, left);
    large->used = left;
    session->large = large;
    intake_note(session);
    if (!admitted) set_reading(session, false);
}

/* ---- input that waits --------------------------------------------------------------------------------------- */

/* A slab of its own for what waits, with room to read on behind it if there is memory for that. */
static bool move_stalled(struct session *session, const uint8_t *bytes, uint32_t len)
{
    struct slab_pool *slabs = &session->broker->slabs;
    uint32_t cap = (uint32_t)least(len + len / 2 + READ_AHEAD_LEAST, intake_most(session));
    struct slab *slab = slab_new(slabs, cap > len ? cap : len);
    if (slab == NULL) {
        session_byef(session, MPS_INTERNAL, "there is no memory for %u bytes of input", len);
        return false;
    }
    memcpy(slab->bytes, bytes, len);
    slab->used = len;
    if (session->stalled != NULL) slab_unref(slabs, session->stalled);
    session->stalled = slab;
    intake_note(session);
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
    bool is_full = slab->cap - slab->used < READ_AHEAD_LEAST;
    on = on && (!is_full || left + READ_AHEAD_LEAST <= intake_most(session));
    if (on && is_full) {
        if (!move_stalled(session, slab->bytes + session->stalled_at, left)) return;
        session->ahead_at -= session->stalled_at;
        session->stalled_at = 0;
    }
    set_reading(session, on);
    if (buffer_len(&session->control) > CONTROL_MAX && !session->blocked)
        session_hold(session); /* until it is written */
}

/* It said who it is, and that is being checked: nothing more is taken from it until then. */
static bool waits_for_proof(const struct session *session)
{
    return session->state == SESSION_NEW && session->proving != NULL;
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
    } else if (in->slab != session->broker->slabs.shared) { /* a large frame's own, and alone in there */
        in->slab->refs++;
        session->stalled = in->slab;
        session->stalled_at = session->ahead_at = (uint32_t)(in->p - in->slab->bytes);
        session->ahead_over = false;
        intake_note(session);
    } else {
        if (!move_stalled(session, in->p, (uint32_t)(in->end - in->p))) return;
        session->stalled_at = session->ahead_at = 0;
        session->ahead_over = false;
    }
    if (session->waits_for != NULL) {
        read_ahead(session);
    } else {
        if (!waits_for_proof(session)) session_hold(session);
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
        if (waits_for_proof(session)) break;
        if (in.frames >= FRAMES_A_TURN || broker->work >= in.work_end || buffer_len(&session->control) > CONTROL_MAX)
            break;
        if (session->is_metered || (!messages_grow(&in) && !messages_take_plain(&in))) more = step(&in);
    }
    messages_finish(&in);
    router_trim(broker);
    if (!takes_input(session)) return false;
    if (in.waits || (more && in.p < in.end)) { /* or it doesn't read our answers */
        stall(&in);
        return true;
    }
    if (waits_for_proof(session)) set_reading(session, false);
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
        if (slab == NULL) {
            log_say(session->broker, EVENT_INPUT_MEMORY, LOG_FIELDS(log_value("client", session->id)),
                    "there is no memory to read what client '%s' sends: it is cut off",
                    session->id.ptr ? printable(session->id) : "");
            *cap = 0;
            return;
        }
        if (kept > 0) memcpy(slab->bytes + slab->used, session->kept.bytes + session->kept.off, kept);
    }
    *buf = slab->bytes + slab->used + kept;
    *cap = slab->cap - slab->used - kept;
    if (slab == session->stalled || slab == session->large) return; /* it has its memory */
    if (session->state != SESSION_NEW && intake_has_plenty(session->broker)) return;
    uint32_t most = intake_most(session) - kept;
    if (*cap > most) *cap = most; /* all of it may have to wait */
}

static void read_large(struct session *session, uint32_t len)
{
    struct slab *slab = session->large;
    slab->used += len;
    if (slab->used < session->scan.pos) return; /* still in the middle of the payload */
    session->large = NULL;
    work(session, slab, slab->bytes, slab->used);
    slab_unref(&session->broker->slabs, slab);
    intake_note(session);
}

void session_read(struct session *session, size_t len)
{
    struct broker *broker = session->broker;
    broker->now_ms = broker->env->now_ms(broker->env);
    session->last_read_ms = broker->now_ms;
    session->bytes_in += len;
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
    if (slab == NULL || !takes_input(session) || waits_for_proof(session)) return;
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
    intake_note(session);
    if (waits || !takes_input(session)) return;
    set_reading(session, true);
    if (session->read_ended) session_read_end(session);
}

void input_go_on(struct session *session)
{
    if (!takes_input(session)) return;
    if (session->stalled != NULL) session_hold(session);
    else set_reading(session, true);
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
    intake_note(session);
    session->scan = (struct mps_scan){0};
}

/* ---- a frame that waited for memory -------------------------------------------------------------------------- */

void input_granted(struct session *session)
{
    struct slab_pool *slabs = &session->broker->slabs;
    uint32_t cap = input_needs(session);
    struct slab *begun = session->large, *large = slab_new(slabs, cap);
    if (large == NULL) {
        session_byef(session, MPS_INTERNAL, "there is no memory for a frame of %u bytes", cap);
        return;
    }
    memcpy(large->bytes, begun->bytes, begun->used);
    large->used = begun->used;
    session->large = large;
    slab_unref(slabs, begun);
    intake_note(session);
    set_reading(session, true);
}

void input_refused(struct session *session)
{
    struct slab *begun = session->large;
    struct input in = {.session = session, .slab = begun, .p = begun->bytes, .end = begun->bytes + begun->used};
    const struct broker_limits *limits = &session->broker->limits;
    char text[300];
    mps_view topic;
    bool waits = false;
    session->large = NULL;
    intake_note(session);
    if (read_topic(&in, &topic)) {
        snprintf(text, sizeof text,
                 "there was no memory for the payload of %u bytes for '%s' within %u ms: what others have sent and is "
                 "not done with takes all of %llu bytes (input_total_bytes)",
                 session->scan.payload_len, printable(topic), 2 * limits->input_ms,
                 (unsigned long long)limits->input_total_bytes);
        broker_note_refusal(session->broker, REFUSED_INPUT);
        session->scan.oversized = true; /* it is passed over as one */
        publish_refuse(session, topic, MPS_QUOTA, text);
        waits = takes_input(session) && work(session, begun, begun->bytes, begun->used);
    }
    slab_unref(&session->broker->slabs, begun);
    if (!waits) set_reading(session, true);
}
