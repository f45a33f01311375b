/* The receiving half of the core: finds frames, judges them, turns them into events. Messages: core_message.c. */
#include <pubsub/core.h>

#include <string.h>

#include "core_state.h"

#define FRAME_MAX (UINT32_MAX / 8) /* positions in a frame are 32 bits, and four times a payload must fit too */

/* ---- text ------------------------------------------------------------------------------------------------ */

static bool is_control(const uint8_t *p, size_t left)
{
    return p[0] < 0x20 || p[0] == 0x7f || (left >= 2 && p[0] == 0xc2 && p[1] < 0xa0);
}

/* Appends to the core's sentence; what does not fit is cut at the end of a character. */
static void add_text(struct pubsub_core *core, const void *bytes, size_t len)
{
    size_t at = strlen(core->text);
    const uint8_t *p = bytes;
    for (size_t i = 0; i < len;) {
        size_t width = p[i] < 0x80 ? 1 : p[i] < 0xe0 ? 2 : p[i] < 0xf0 ? 3 : 4;
        bool control = is_control(p + i, len - i);
        if (width > len - i || at + width >= sizeof core->text) break;
        if (control) core->text[at] = '?';
        else memcpy(core->text + at, p + i, width);
        at += control ? 1 : width;
        i += width;
    }
    core->text[at] = '\0';
}

static void add_string(struct pubsub_core *core, const char *text)
{
    add_text(core, text, strlen(text));
}

static const char *set_text(struct pubsub_core *core, mps_view text)
{
    core->text[0] = '\0';
    if (text.ptr != NULL) add_text(core, text.ptr, text.len);
    return core->text;
}

enum outcome mps_core_fail(struct pubsub_core *core, struct pubsub_event *event, enum mps_code code, const char *where,
                           const char *what)
{
    if (core->state == CORE_HELLO || core->state == CORE_READY) (void)pubsub_core_bye(core, (uint32_t)code);
    core->state = CORE_ENDED;
    core->text[0] = '\0';
    add_string(core, "the broker broke the protocol: ");
    add_string(core, where);
    if (what != NULL) {
        add_string(core, ": ");
        add_string(core, what);
    }
    event->type = PUBSUB_EVENT_FAILED;
    event->as.ending = (struct pubsub_ending){(uint32_t)code, core->text};
    return FAILED;
}

/* ---- buffers --------------------------------------------------------------------------------------------- */

void pubsub_core_init(struct pubsub_core *core, void *rx, size_t rx_cap, void *tx, size_t tx_cap)
{
    memset(core, 0, sizeof *core);
    core->tx = tx;
    core->tx_cap = tx_cap;
    pubsub_core_set_input(core, rx, rx_cap, rx_cap);
    pubsub_core_restart(core, 1);
}

void pubsub_core_restart(struct pubsub_core *core, uint64_t first_pid)
{
    if (core->secret) mps_core_wipe_output(core);
    core->rx_begin = core->rx_end = core->tx_begin = core->tx_end = 0;
    core->scanning = core->skipping = core->have_for = false;
    core->state = CORE_NEW;
    core->broker_payload_max = MPS_PAYLOAD_MAX;
    core->terms = (struct pubsub_terms){.next_pid = first_pid, .skips = first_pid > 1};
    core->settled_pid = first_pid - 1;
}

void pubsub_core_set_input(struct pubsub_core *core, void *rx, size_t rx_cap, size_t frame_max)
{
    size_t len = core->rx_end - core->rx_begin;
    if (len > 0) memmove(rx, (rx == core->rx || core->rx == NULL ? (uint8_t *)rx : core->rx) + core->rx_begin, len);
    core->rx = rx;
    core->rx_cap = rx_cap;
    core->rx_begin = 0;
    core->rx_end = len;
    core->frame_max = frame_max < FRAME_MAX ? (uint32_t)frame_max : FRAME_MAX;
}

size_t pubsub_core_input(struct pubsub_core *core, void **at)
{
    if (core->rx_begin == core->rx_end) {
        core->rx_begin = core->rx_end = 0;
    } else if (core->rx_begin > 0) { /* what is left is less than one frame */
        memmove(core->rx, core->rx + core->rx_begin, core->rx_end - core->rx_begin);
        core->rx_end -= core->rx_begin;
        core->rx_begin = 0;
    }
    *at = core->rx + core->rx_end;
    return core->rx_cap - core->rx_end;
}

void pubsub_core_received(struct pubsub_core *core, size_t len)
{
    core->rx_end += len;
}

/* ---- one handler per operation that the client may receive ------------------------------------------------- */

static enum outcome on_for(struct pubsub_core *core, mps_view frame, struct pubsub_event *event)
{
    struct mps_for terms;
    const char *what;
    enum mps_code code = mps_decode_for(frame, &terms, &what);
    if (code != MPS_OK) return mps_core_fail(core, event, code, "FOR", what);
    core->have_for = true;
    core->sid = terms.sid;
    core->for_flags = terms.flags;
    core->have_position = terms.has_position;
    core->stream = terms.stream;
    core->seq = terms.seq;
    core->time_ms = terms.time_ms;
    core->tries = terms.tries;
    return HANDLED;
}

static enum outcome on_gap(struct pubsub_core *core, mps_view frame, struct pubsub_event *event)
{
    struct mps_gap gap;
    const char *what;
    enum mps_code code = mps_decode_gap(frame, &gap, &what);
    if (code != MPS_OK) return mps_core_fail(core, event, code, "GAP", what);
    event->type = PUBSUB_EVENT_GAP;
    event->as.gap = (struct pubsub_gap){.sid = gap.sid,
                                        .exact = gap.has_count,
                                        .count = gap.count,
                                        .reason = gap.reason,
                                        .reason_name = mps_gap_reason_name(gap.reason),
                                        .stream = gap.stream,
                                        .first = gap.first,
                                        .last = gap.last};
    return EVENT;
}

static enum outcome on_puback(struct pubsub_core *core, mps_view frame, struct pubsub_event *event)
{
    struct mps_puback ack;
    const char *what;
    enum mps_code code = mps_decode_puback(frame, &ack, &what);
    if (code != MPS_OK) return mps_core_fail(core, event, code, "PUBACK", what);
    if (ack.pid >= core->terms.next_pid)
        return mps_core_fail(core, event, MPS_PID_ORDER, "PUBACK", "of a publish that was never sent");
    if (ack.pid <= core->settled_pid) return HANDLED; /* said twice: nothing is left to settle */
    if (ack.code >= MPS_INTERNAL && ack.pid != core->settled_pid + 1)
        return mps_core_fail(core, event, MPS_PID_ORDER, "PUBACK",
                             "a refusal before the publishes ahead of it were settled");
    event->type = PUBSUB_EVENT_PUBACK;
    event->as.puback = (struct pubsub_puback){.first_pid = core->settled_pid + 1,
                                              .last_pid = ack.pid,
                                              .code = ack.code,
                                              .matched = ack.matched,
                                              .dropped = ack.dropped,
                                              .text = set_text(core, ack.text),
                                              .stream = ack.stream,
                                              .seq = ack.seq};
    core->settled_pid = ack.pid;
    return EVENT;
}

static enum outcome on_suback(struct pubsub_core *core, mps_view frame, struct pubsub_event *event)
{
    struct mps_suback ack;
    const char *what;
    enum mps_code code = mps_decode_suback(frame, &ack, &what);
    if (code != MPS_OK) return mps_core_fail(core, event, MPS_MALFORMED, "SUBACK", what);
    event->type = PUBSUB_EVENT_SUBACK;
    event->as.suback = (struct pubsub_suback){ack.sid, ack.code, set_text(core, ack.text)};
    return EVENT;
}

static enum outcome on_mark(struct pubsub_core *core, mps_view frame, struct pubsub_event *event)
{
    struct mps_mark mark;
    const char *what;
    enum mps_code code = mps_decode_mark(frame, &mark, &what);
    if (code != MPS_OK) return mps_core_fail(core, event, code, "MARK", what);
    event->type = PUBSUB_EVENT_MARK;
    event->as.mark = (struct pubsub_mark_event){mark.sid, mark.kind};
    return EVENT;
}

static enum outcome on_ping(struct pubsub_core *core, mps_view frame, struct pubsub_event *event)
{
    struct mps_token ping;
    const char *what;
    enum mps_code code = mps_decode_token(frame, &ping, &what);
    if (code != MPS_OK) return mps_core_fail(core, event, code, "PING", what);
    if (core->state == CORE_LEAVING) return HANDLED;
    return mps_core_pong(core, ping.token) == PUBSUB_OK ? HANDLED : LATER;
}

static enum outcome on_pong(struct pubsub_core *core, mps_view frame, struct pubsub_event *event)
{
    struct mps_token pong;
    const char *what;
    enum mps_code code = mps_decode_token(frame, &pong, &what);
    if (code != MPS_OK) return mps_core_fail(core, event, code, "PONG", what);
    event->type = PUBSUB_EVENT_PONG;
    event->as.pong = (struct pubsub_bytes){pong.token.ptr, pong.token.len};
    return EVENT;
}

static enum outcome on_stat(struct pubsub_core *core, mps_view frame, struct pubsub_event *event)
{
    struct mps_stat stat;
    const char *what;
    enum mps_code code = mps_decode_stat(frame, &stat, &what);
    if (code != MPS_OK) return mps_core_fail(core, event, code, "STAT", what);
    if (!stat.has_counts) return mps_core_fail(core, event, MPS_MALFORMED, "STAT", "number of fields");
    event->type = PUBSUB_EVENT_STAT;
    event->as.stat = (struct pubsub_stat){.sid = stat.sid,
                                          .matched = stat.matched,
                                          .sent = stat.sent,
                                          .lost = stat.lost,
                                          .queued = stat.queued,
                                          .queued_bytes = stat.queued_bytes};
    return EVENT;
}

/* The inbox's name, kept where the last topic was: no message has come yet. Room is left for a level below it. False if
 * nothing could be published there. */
static bool take_inbox(struct pubsub_core *core, mps_view inbox)
{
    core->topic_len = 0;
    if (inbox.ptr != NULL && (inbox.len > PUBSUB_CORE_INBOX_MAX || mps_topic_error(inbox) != NULL)) return false;
    if (inbox.ptr != NULL) memcpy(core->topic, inbox.ptr, inbox.len);
    core->topic[inbox.len] = '\0';
    return true;
}

/* What the session's earlier connections had settled need not be published again. */
static void take_settled(struct pubsub_core *core, uint64_t last_pid)
{
    if (core->session_s == 0 || core->terms.next_pid != core->settled_pid + 1 || last_pid <= core->settled_pid) return;
    core->settled_pid = last_pid;
    core->terms.next_pid = last_pid + 1;
    core->terms.skips = true;
}

static enum outcome on_welcome(struct pubsub_core *core, mps_view frame, struct pubsub_event *event)
{
    struct mps_welcome welcome;
    const char *what;
    enum mps_code code = mps_decode_welcome(frame, &welcome, &what);
    if (code != MPS_OK) return mps_core_fail(core, event, code, "WELCOME", what);
    if (welcome.version != MPS_PROTOCOL_VERSION)
        return mps_core_fail(core, event, MPS_VERSION, "WELCOME", "version is not 1");
    if (welcome.id.len > MPS_ID_MAX) return mps_core_fail(core, event, MPS_MALFORMED, "WELCOME", "id");
    if (!take_inbox(core, welcome.inbox)) return mps_core_fail(core, event, MPS_MALFORMED, "WELCOME", "inbox");
    if (core->state == CORE_HELLO) core->state = CORE_READY;
    take_settled(core, welcome.last_pid);
    if (welcome.max_payload > 0)
        core->broker_payload_max = welcome.max_payload < FRAME_MAX ? welcome.max_payload : FRAME_MAX;
    event->type = PUBSUB_EVENT_WELCOME;
    event->as.welcome = (struct pubsub_welcome){
        .client_id = set_text(core, welcome.id),
        .inbox = (const char *)core->topic,
        .keepalive_s = welcome.ka_s,
        .max_payload = welcome.max_payload,
        .pub_window = welcome.pub_window,
        .last_pid = core->session_s > 0 ? welcome.last_pid : 0,
        .epoch = welcome.epoch,
        .session_s = welcome.has_sess ? welcome.sess_s : core->session_s,
        .best_ack = welcome.ack,
        .resumed = welcome.resumed,
    };
    return EVENT;
}

static enum outcome on_err(struct pubsub_core *core, mps_view frame, struct pubsub_event *event)
{
    struct mps_err err;
    const char *what;
    enum mps_code code = mps_decode_err(frame, &err, &what);
    if (code != MPS_OK) return mps_core_fail(core, event, code, "ERR", what);
    uint32_t sid = 0;
    if (err.ref.ptr != NULL && err.has_op && err.op != MPS_OP_MSG) {
        struct mps_reader ref = mps_reader_open(err.ref);
        sid = (uint32_t)mps_read_uint(&ref, MPS_SID_MAX, "ref"); /* 0 when it refers to something else */
    }
    event->type = PUBSUB_EVENT_REFUSAL;
    event->as.refusal = (struct pubsub_refusal){err.code, err.has_op ? err.op : 0, sid, set_text(core, err.text)};
    return EVENT;
}

static enum outcome on_bye(struct pubsub_core *core, mps_view frame, struct pubsub_event *event)
{
    struct mps_bye bye;
    const char *what;
    enum mps_code code = mps_decode_bye(frame, &bye, &what);
    if (code != MPS_OK) return mps_core_fail(core, event, code, "BYE", what);
    core->state = CORE_ENDED;
    set_text(core, bye.text);
    if (core->text[0] == '\0') add_string(core, mps_code_text(bye.code));
    event->type = PUBSUB_EVENT_BYE;
    event->as.ending = (struct pubsub_ending){bye.code, core->text};
    return EVENT;
}

static enum outcome on_info(struct pubsub_core *core, mps_view frame, struct pubsub_event *event)
{
    struct mps_info info;
    const char *what;
    enum mps_code code = mps_decode_info(frame, &info, &what);
    if (code != MPS_OK) return mps_core_fail(core, event, code, "INFO", what);
    event->type = PUBSUB_EVENT_INFO;
    event->as.info = (struct pubsub_bytes){info.map.ptr, info.map.len};
    return EVENT;
}

static enum outcome handle(struct pubsub_core *core, unsigned op, mps_view frame, struct pubsub_event *event)
{
    bool greeted = mps_core_is_greeted(core);
    if (op == MPS_OP_MSG && greeted) return mps_core_on_msg(core, frame, event);
    if (op > 63) return HANDLED; /* experiments and vendors' own */
    bool early = op == MPS_OP_WELCOME || op == MPS_OP_ERR || op == MPS_OP_BYE;
    if (!greeted && !early) return mps_core_fail(core, event, MPS_STATE, "a frame", "it came before WELCOME");
    if (core->state == CORE_READY && op == MPS_OP_WELCOME)
        return mps_core_fail(core, event, MPS_STATE, "WELCOME", "it came twice");
    switch (op) {
    case MPS_OP_MSG: return mps_core_on_msg(core, frame, event);
    case MPS_OP_FOR: return on_for(core, frame, event);
    case MPS_OP_GAP: return on_gap(core, frame, event);
    case MPS_OP_PUBACK: return on_puback(core, frame, event);
    case MPS_OP_SUBACK: return on_suback(core, frame, event);
    case MPS_OP_MARK: return on_mark(core, frame, event);
    case MPS_OP_PING: return on_ping(core, frame, event);
    case MPS_OP_PONG: return on_pong(core, frame, event);
    case MPS_OP_STAT: return on_stat(core, frame, event);
    case MPS_OP_WELCOME: return on_welcome(core, frame, event);
    case MPS_OP_ERR: return on_err(core, frame, event);
    case MPS_OP_BYE: return on_bye(core, frame, event);
    case MPS_OP_INFO: return on_info(core, frame, event);
    case MPS_OP_AUTH: /* goes both ways, but only to a client that began it */
    case MPS_OP_HELLO:
    case MPS_OP_PUB:
    case MPS_OP_ACK:
    case MPS_OP_CREDIT:
    case MPS_OP_SUB:
    case MPS_OP_UNSUB: return mps_core_fail(core, event, MPS_STATE, mps_op_name(op), "only a broker may receive it");
    }
    return mps_core_fail(core, event, MPS_UNKNOWN_OP, "an operation that mps/1 does not have", NULL);
}

/* ---- frames ------------------------------------------------------------------------------------------------- */

enum { SCAN_FITS = 1 / (sizeof(struct mps_scan) <= sizeof((struct pubsub_core *)0)->scan) };

static struct mps_limits limits_of(const struct pubsub_core *core)
{
    uint32_t max = core->frame_max;
    return (struct mps_limits){
        .head_max = max < MPS_HEAD_MAX ? max : MPS_HEAD_MAX, .values_max = MPS_VALUES_MAX, .payload_max = max};
}

/* Takes further bytes of a message that is too large. True when it is over. */
static bool skip(struct pubsub_core *core, struct mps_scan *scan, const struct mps_limits *limits,
                 enum mps_scan_result *result)
{
    size_t used;
    *result = mps_scan_skip(scan, core->rx + core->rx_begin, core->rx_end - core->rx_begin, limits, &used);
    core->rx_begin += used;
    return *result == MPS_SCAN_FRAME;
}

static enum pubsub_event_type too_large(struct pubsub_core *core, struct pubsub_event *event, uint32_t payload_len)
{
    if (core->state == CORE_HELLO || !core->have_for) {
        mps_core_fail(core, event, MPS_STATE, "MSG", "no FOR before it");
        return event->type;
    }
    event->type = PUBSUB_EVENT_TOO_LARGE;
    event->as.too_large = (struct pubsub_too_large){core->sid, payload_len, core->stream, core->seq};
    if (core->have_position) core->seq++;
    return event->type;
}

/* The bytes there are do not make a frame: remembers how far they were looked at, or fails. */
static enum pubsub_event_type incomplete(struct pubsub_core *core, const struct mps_scan *scan,
                                         enum mps_scan_result result, struct pubsub_event *event)
{
    size_t there = core->rx_end - core->rx_begin, max = core->frame_max;
    event->type = PUBSUB_EVENT_NONE;
    if (result == MPS_SCAN_MALFORMED || result == MPS_SCAN_LIMIT) {
        mps_core_fail(core, event, result == MPS_SCAN_LIMIT ? MPS_LIMIT : MPS_MALFORMED, scan->error, NULL);
    } else if (result == MPS_SCAN_MORE && !core->skipping && (scan->pos > max || there >= max)) {
        mps_core_fail(core, event, MPS_LIMIT, "a frame that is longer than we accept", NULL);
    } else {
        memcpy(core->scan, scan, sizeof *scan);
        core->scanning = true;
    }
    return event->type;
}

enum pubsub_event_type mps_core_next_frame(struct pubsub_core *core, struct pubsub_event *event)
{
    const struct mps_limits limits = limits_of(core);
    while (core->state != CORE_ENDED && core->rx_begin < core->rx_end) {
        struct mps_scan scan = {0};
        enum mps_scan_result result;
        if (core->scanning) memcpy(&scan, core->scan, sizeof scan);
        if (core->skipping) {
            if (!skip(core, &scan, &limits, &result)) return incomplete(core, &scan, result, event);
            core->skipping = core->scanning = false;
            return too_large(core, event, scan.payload_len);
        }
        mps_view frame = {core->rx + core->rx_begin, (uint32_t)(core->rx_end - core->rx_begin)};
        result = mps_scan(&scan, frame.ptr, frame.len, &limits);
        if (result >= MPS_SCAN_MORE && scan.payload_at > 0 &&
            (uint64_t)scan.payload_at + scan.payload_len > core->frame_max) {
            scan.oversized = true; /* its payload alone would be allowed, with its head it is not */
            result = MPS_SCAN_TOO_LARGE;
        } else if (result == MPS_SCAN_FRAME && scan.pos > core->frame_max) {
            result = MPS_SCAN_MORE; /* not a message: incomplete() refuses it, as it does when it comes in pieces */
        }
        if (result != MPS_SCAN_FRAME) {
            core->skipping = result == MPS_SCAN_TOO_LARGE;
            enum pubsub_event_type type = incomplete(core, &scan, result, event);
            if (!core->skipping) return type;
            continue;
        }
        core->scanning = false;
        frame.len = scan.pos;
        enum outcome outcome = handle(core, scan.op, frame, event);
        if (outcome == LATER) return event->type = PUBSUB_EVENT_BLOCKED;
        core->rx_begin += frame.len;
        if (outcome != HANDLED) return event->type;
    }
    return event->type = PUBSUB_EVENT_NONE;
}
