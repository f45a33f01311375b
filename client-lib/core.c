/* The core's receiving side: finds frames in what came, whole or too large for the buffer. Their handlers:
 * core_frames.c, core_message.c. */
#include "core_state.h"

#define FRAME_MAX (UINT32_MAX / 8) /* positions in a frame are 32 bits, and four times a payload must fit too */

/* ---- failures -------------------------------------------------------------------------------------------------- */

#if PUBSUB_CORE_TEXTS
static const uint8_t op_numbers[] = {
#define OP(number, NAME, way, fields) number,
#include "ops.def"
#undef OP
};
static const char op_names[] =
#define OP(number, NAME, way, fields) #NAME "\0"
#include "ops.def"
#undef OP
    ;

/* The sentence stands where the broker's bytes stood: nobody reads these any more. */
static const char *sentence(struct pubsub_core *core, unsigned op, const char *why)
{
    static const char begin[] = "the broker broke the protocol: ";
    char *text = (char *)core->rx;
    if (core->rx_cap < PUBSUB_CORE_RX_MIN) return begin;
    strcpy(text, begin);
    for (unsigned i = 0; i < sizeof op_numbers; i++)
        if (op_numbers[i] == op) strcat(strcat(text, mps_core_nth(op_names, i)), ": ");
    return strcat(text, why);
}
#define SENTENCE(core, op, why) sentence(core, op, why)
#else
#define SENTENCE(core, op, why) ""
#endif

#if PUBSUB_CORE_TEXTS
CORE_LOCAL enum outcome mps_core_fail(struct pubsub_core *core, struct pubsub_event *event, enum mps_code code,
                                      unsigned op, const char *why)
#else
CORE_LOCAL enum outcome mps_core_fail(struct pubsub_core *core, struct pubsub_event *event, enum mps_code code)
#endif
{
    (void)pubsub_core_bye(core, code);
    mps_core_end(core);
    event->type = PUBSUB_EVENT_FAILED;
    event->as.ending.code = code;
    event->as.ending.text = SENTENCE(core, op, why);
    return EVENT;
}

/* ---- the input buffer ------------------------------------------------------------------------------------------- */

void pubsub_core_init(struct pubsub_core *core, void *rx, size_t rx_cap, void *tx, size_t tx_cap)
{
    memset(core, 0, sizeof *core);
    core->tx = tx;
    core->tx_cap = tx_cap;
    pubsub_core_set_input(core, rx, rx_cap, rx_cap);
    pubsub_core_restart(core, 1);
}

static void begin_frame(struct pubsub_core *core)
{
    core->scan_pos = core->payload_len = 0;
    core->payload_at = core->values = core->head_bytes = 0;
    core->op = core->depth = core->elements = 0;
}

void pubsub_core_restart(struct pubsub_core *core, uint64_t first_pid)
{
    if (PUBSUB_CORE_PROOF && core->flags & CORE_SECRET) mps_core_wipe_output(core);
    memset((uint8_t *)core + offsetof(struct pubsub_core, rx_begin), 0,
           sizeof *core - offsetof(struct pubsub_core, rx_begin));
    core->broker_payload_max = MPS_PAYLOAD_MAX;
    core->terms.next_pid = first_pid;
    core->terms.skips = first_pid > 1;
    core->settled_pid = first_pid - 1;
}

/* What was told of a message in pieces goes: its head moves to where the rest is. */
static void drop_piece(struct pubsub_core *core)
{
#if PUBSUB_CORE_PIECES
    if (!(core->flags & CORE_PIECES) || core->scan_pos == 0) return;
    memmove(core->rx + core->rx_begin + core->scan_pos, core->rx + core->rx_begin, core->payload_at);
    core->rx_begin += core->scan_pos;
    core->piece_at += core->scan_pos;
    core->scan_pos = 0;
#else
    (void)core;
#endif
}

/* Moves what is not consumed to the beginning of `to`. The last topic is not found again there. */
static void move_input(struct pubsub_core *core, uint8_t *to)
{
    drop_piece(core);
    size_t len = core->rx_end - core->rx_begin;
    if (len > 0) memmove(to, core->rx + core->rx_begin, len);
    core->rx_begin = 0;
    core->rx_end = len;
    if (core->values == 0) core->elements = 0;
}

void pubsub_core_set_input(struct pubsub_core *core, void *rx, size_t rx_cap, size_t frame_max)
{
    if (core->rx == NULL) core->rx = rx;
    move_input(core, rx);
    core->rx = rx;
    core->rx_cap = rx_cap;
    core->frame_max = frame_max < FRAME_MAX ? (uint32_t)frame_max : FRAME_MAX;
}

#if PUBSUB_CORE_PIECES
void pubsub_core_take_pieces(struct pubsub_core *core, uint32_t payload_max)
{
    core->piece_max = payload_max < FRAME_MAX ? payload_max : FRAME_MAX;
}
#endif

size_t pubsub_core_input(struct pubsub_core *core, void **at)
{
    if (core->rx_begin > 0 || core->flags & CORE_PIECES)
        move_input(core, core->rx); /* what is left is less than a frame */
    *at = core->rx + core->rx_end;
    return core->rx_cap - core->rx_end;
}

void pubsub_core_received(struct pubsub_core *core, size_t len)
{
    core->rx_end += len;
}

/* ---- frames ----------------------------------------------------------------------------------------------------- */

static inline size_t input_len(const struct pubsub_core *core)
{
    return core->rx_end - core->rx_begin;
}

enum scan_result { SCAN_MORE, SCAN_FRAME, SCAN_MALFORMED, SCAN_LIMIT };

/* Takes one value whose head is there; a body is jumped over. Claims are judged here, so that a claim alone costs
 * nothing.
 */
static enum scan_result take_value(struct pubsub_core *core, const struct item *item)
{
    uint32_t body = mps_core_has_body(item) ? item->len : 0, head = core->head_bytes + (uint32_t)item->head;
    if (++core->values > MPS_VALUES_MAX) return SCAN_LIMIT;
    if (core->depth == 1) core->elements++;
    if (core->depth > 0) core->owed[core->depth - 1]--;
    if (core->values == 1 && (item->type != ITEM_ARRAY || item->len == 0)) return SCAN_MALFORMED;
    if (core->values == 2) {
        if (item->type != ITEM_UINT || item->number > MPS_OP_MAX) return SCAN_MALFORMED;
        core->op = (uint8_t)item->number;
    }
    if (core->op == MPS_OP_MSG && core->depth == 1 && core->elements == 4) {
        uint32_t max = PUBSUB_CORE_SUBSCRIBE ? core->frame_max : FRAME_MAX / 4;
        if (PUBSUB_CORE_PIECES && max < core->piece_max) max = core->piece_max;
        if (item->type != ITEM_BIN) return SCAN_MALFORMED;
        if (body > 4 * max) return SCAN_LIMIT;
        core->payload_at = (uint16_t)(core->scan_pos + item->head);
        core->payload_len = body;
    } else {
        if (body > PUBSUB_CORE_HEAD_MAX) return SCAN_LIMIT;
        head += body;
    }
    if (head > PUBSUB_CORE_HEAD_MAX) return SCAN_LIMIT;
    core->head_bytes = (uint16_t)head;
    if (item->type >= ITEM_ARRAY) {
        if (item->len > MPS_VALUES_MAX) return SCAN_LIMIT;
        unsigned owed = (unsigned)item->len * (item->type == ITEM_MAP ? 2 : 1);
        if (owed + core->values > MPS_VALUES_MAX || core->depth == MPS_DEPTH_MAX) return SCAN_LIMIT;
        if (owed > 0) core->owed[core->depth++] = (uint8_t)owed;
    }
    core->scan_pos += item->head + body;
    while (core->depth > 0 && core->owed[core->depth - 1] == 0) core->depth--;
    return SCAN_MORE;
}

/* Goes on where it stopped, so that the cost is linear however the input is cut. */
static enum scan_result scan_frame(struct pubsub_core *core)
{
    size_t there = input_len(core);
    if (core->values == 0) begin_frame(core);
    while (core->values == 0 || core->depth > 0) {
        struct item item;
        if (core->scan_pos >= there) return SCAN_MORE;
        int rc = mps_core_item(core->rx + core->rx_begin + core->scan_pos, there - core->scan_pos, &item);
        if (rc < 0) return SCAN_MALFORMED;
        if (rc == 0) return SCAN_MORE;
        enum scan_result result = take_value(core, &item);
        if (result != SCAN_MORE) return result;
        if (core->scan_pos > core->frame_max && !(core->flags & CORE_SKIPPING))
            return SCAN_MORE; /* too large: no further */
    }
    return core->scan_pos <= there ? SCAN_FRAME : SCAN_MORE;
}

/* Of a message that is larger than we take, what came of it is gone now. True when it is over. */
static bool skip(struct pubsub_core *core, enum scan_result result)
{
    size_t used = input_len(core) < core->scan_pos ? input_len(core) : core->scan_pos;
    core->rx_begin += used;
    core->scan_pos -= (uint32_t)used;
    return result == SCAN_FRAME;
}

/* The end of what was passed over. */
static enum outcome skipped(struct pubsub_core *core, struct pubsub_event *event)
{
    bool quiet = core->flags & CORE_QUIET || !PUBSUB_CORE_SUBSCRIBE;
    core->flags &= (uint8_t) ~(CORE_SKIPPING | CORE_QUIET);
    if (quiet) return HANDLED;
    if (core->state == CORE_HELLO || !(core->flags & CORE_HAVE_FOR))
        return CORE_FAIL(core, event, MPS_STATE, MPS_OP_MSG, "no FOR before it");
    event->type = PUBSUB_EVENT_TOO_LARGE;
    event->as.too_large = (struct pubsub_too_large){core->sid, core->payload_len, core->stream, core->seq};
    if (core->flags & CORE_HAVE_POSITION) core->seq++;
    return EVENT;
}

#if PUBSUB_CORE_PIECES
/* The next piece of a message whose head is at rx_begin, or the end of it. */
static enum outcome next_piece(struct pubsub_core *core, struct pubsub_event *event)
{
    drop_piece(core);
    if (core->piece_at == core->payload_len) { /* what follows the payload is passed over */
        core->rx_begin += core->payload_at;
        core->flags = (uint8_t)((core->flags & ~CORE_PIECES) | CORE_SKIPPING | CORE_QUIET);
        if (core->flags & CORE_HAVE_POSITION) core->seq++;
        return HANDLED;
    }
    uint32_t left = core->payload_len - core->piece_at;
    size_t there = input_len(core) - core->payload_at;
    if (there == 0) return LATER;
    if (there < left) left = (uint32_t)there;
    const uint8_t *head = core->rx + core->rx_begin;
    enum outcome outcome = mps_core_on_msg(core, (struct view){head, core->payload_at},
                                           (struct view){head + core->payload_at, left}, event);
    core->scan_pos = left;
    return outcome;
}

/* Whether it is the payload that makes the frame too large, begins within the buffer, and may be so long. */
static bool in_pieces(const struct pubsub_core *core)
{
    uint32_t at = core->payload_at;
    return at > 0 && at < core->frame_max && at < core->rx_cap && core->payload_len <= core->piece_max &&
           at + core->payload_len > core->frame_max;
}
#endif

/* The frame is larger than we take. True if it is a message: then it comes otherwise. */
static bool is_large_message(struct pubsub_core *core)
{
    if (core->op != MPS_OP_MSG) return false;
    core->flags |= CORE_SKIPPING;
#if PUBSUB_CORE_PIECES
    if (!in_pieces(core)) return true;
    core->flags ^= CORE_SKIPPING | CORE_PIECES;
    core->scan_pos = 0;
    core->piece_at = 0;
#endif
    return true;
}

/* A whole frame: consumed, but for one that is to be offered again. */
static enum outcome take_frame(struct pubsub_core *core, struct pubsub_event *event)
{
    const uint8_t *at = core->rx + core->rx_begin;
    uint32_t len = core->scan_pos, payload_len = core->payload_len;
    unsigned op = core->op, payload_at = core->payload_at;
    enum outcome outcome = HANDLED;
    begin_frame(core);
    if (op != MPS_OP_MSG) outcome = mps_core_handle(core, op, (struct view){at, len}, event);
#if PUBSUB_CORE_SUBSCRIBE
    else
        outcome =
            mps_core_on_msg(core, (struct view){at, payload_at}, (struct view){at + payload_at, payload_len}, event);
#else
    (void)payload_len, (void)payload_at;
#endif
    if (outcome != LATER) core->rx_begin += len;
    return outcome;
}

/* The bytes there are are looked at. LATER: more are needed. */
static enum outcome step(struct pubsub_core *core, struct pubsub_event *event)
{
#if PUBSUB_CORE_PIECES
    if (core->flags & CORE_PIECES) return next_piece(core, event);
#endif
    enum scan_result result = scan_frame(core);
    if (result > SCAN_FRAME)
        return CORE_FAIL(core, event, result == SCAN_LIMIT ? MPS_LIMIT : MPS_MALFORMED, MPS_OP_MAX,
                         result == SCAN_LIMIT ? "a frame over a limit" : "no frame of msgpack");
    if (core->flags & CORE_SKIPPING) {
        if (!skip(core, result)) return LATER;
        enum outcome outcome = skipped(core, event);
        begin_frame(core);
        return outcome;
    }
    uint32_t max = core->frame_max;
    if (core->scan_pos > max || (result == SCAN_MORE && input_len(core) >= max)) {
        if (is_large_message(core)) return HANDLED;
        return CORE_FAIL(core, event, MPS_LIMIT, MPS_OP_MAX, "a frame that is longer than we accept");
    }
    return result == SCAN_MORE ? LATER : take_frame(core, event);
}

CORE_LOCAL enum pubsub_event_type mps_core_next_frame(struct pubsub_core *core, struct pubsub_event *event)
{
    for (;;) {
        event->type = PUBSUB_EVENT_NONE;
        if (core->state == CORE_ENDED || core->rx_begin == core->rx_end) break;
        if (step(core, event) != HANDLED) break; /* an event, or more bytes or room are needed */
    }
    return event->type;
}
