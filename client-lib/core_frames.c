/* Every frame that the broker may send but MSG, as an event. */
#include "core_state.h"

#if PUBSUB_CORE_TEXTS
static const uint8_t code_numbers[] = {
#define CODE(number, NAME, text) number,
#define REFUSAL(number, NAME, text)
#include "codes.def"
};
static const char code_texts[] =
#define CODE(number, NAME, text) text "\0"
#define REFUSAL(number, NAME, text)
#include "codes.def"
    ;

static const char *code_text(uint32_t code)
{
    for (unsigned i = 0; i < sizeof code_numbers; i++)
        if (code_numbers[i] == code) return mps_core_nth(code_texts, i);
    return "unknown";
}

#if PUBSUB_CORE_SUBSCRIBE
/* Numbered from 1 on. */
static const char reasons[] =
#define GAP_REASON(number, NAME, text) text "\0"
#include "codes.def"
    ;

static const char *reason_name(uint32_t reason)
{
    const char *name = reason > 0 && reason <= MPS_GAP_BETWEEN ? mps_core_nth(reasons, (unsigned)reason - 1) : "";
    return *name != '\0' ? name : "unknown";
}
#endif
#else
static const char *code_text(uint32_t code)
{
    (void)code;
    return "";
}
#define reason_name(reason) ((void)(reason), "")
#endif

/* What the session's earlier connections had settled need not be published again. */
static void take_settled(struct pubsub_core *core, uint64_t last_pid)
{
    if (core->terms.next_pid != core->settled_pid + 1 || last_pid <= core->settled_pid) return;
    core->settled_pid = last_pid;
    core->terms.next_pid = last_pid + 1;
    core->terms.skips = true;
}

#if PUBSUB_CORE_TEXT_MAX < PUBSUB_CORE_INBOX_MAX + 2
#error "an inbox that is too long would be cut, and taken for one that is not"
#endif

/* WELCOME's options that mean something to us. */
enum { W_COUNT = 10 };
static const char welcome_keys[] = "id\0inbox\0epoch\0resumed\0last_pid\0ka\0sess\0max_payload\0pub_window\0ack";
#define OF(letter, member) FIELD(letter, struct pubsub_event, as.member)
static const struct field welcome_fields[W_COUNT] = {
    OF('t', welcome.client_id),  OF('t', welcome.inbox),       OF('l', welcome.epoch),     OF('q', welcome.resumed),
    OF('n', welcome.last_pid),   OF('u', welcome.keepalive_s), OF('u', welcome.session_s), OF('n', welcome.max_payload),
    OF('n', welcome.pub_window), OF('k', welcome.best_ack),
};

static bool take_option(struct reader *in, struct pubsub_event *event)
{
    struct item item;
    struct view key = mps_core_take_any(in);
    mps_core_item(key.ptr, key.len, &item);
    for (unsigned i = 0; item.type == ITEM_STR && i < W_COUNT; i++) {
        const char *name = mps_core_nth(welcome_keys, i);
        if (strlen(name) != item.len || memcmp(name, key.ptr + item.head, item.len) != 0) continue;
        const struct field *field = &welcome_fields[i];
        return mps_core_take_field(in, (char)field->letter, (uint8_t *)event + field->at);
    }
    return mps_core_take_any(in).ptr != NULL;
}

static enum outcome on_welcome(struct pubsub_core *core, struct view map, struct pubsub_event *event)
{
    struct reader in = {map.ptr, map.ptr + map.len};
    struct pubsub_welcome *out = &event->as.welcome;
    struct item pairs;
    bool good = true;
    memset(out, 0, sizeof *out);
    out->client_id = "";
    out->session_s = core->session_s;
    for (mps_core_take(&in, &pairs); good && pairs.len > 0; pairs.len--) good = take_option(&in, event);
    if (good && out->inbox != NULL) { /* there is to be room for a level below it */
        good = strlen(out->inbox) <= PUBSUB_CORE_INBOX_MAX && mps_core_is_topic(out->inbox, false);
    }
    if (out->inbox == NULL) out->inbox = "";
    if (!good || strlen(out->client_id) > MPS_ID_MAX)
        return CORE_FAIL(core, event, MPS_MALFORMED, MPS_OP_WELCOME, "a malformed option");
    if (core->state == CORE_HELLO) core->state = CORE_READY;
    if (core->session_s == 0) out->last_pid = 0;
    take_settled(core, out->last_pid);
    if (out->max_payload > 0)
        core->broker_payload_max = out->max_payload < UINT32_MAX / 8 ? (uint32_t)out->max_payload : UINT32_MAX / 8;
    return EVENT;
}

static enum outcome on_puback(struct pubsub_core *core, struct pubsub_puback *ack, struct pubsub_event *event)
{
    uint64_t first = core->settled_pid + 1;
    if (ack->last_pid >= core->terms.next_pid)
        return CORE_FAIL(core, event, MPS_PID_ORDER, MPS_OP_PUBACK, "of a publish that was never sent");
    if (ack->last_pid < first) return HANDLED; /* said twice: nothing is left to settle */
    if (ack->code >= MPS_INTERNAL && ack->last_pid != first)
        return CORE_FAIL(core, event, MPS_PID_ORDER, MPS_OP_PUBACK,
                         "a refusal before the publishes ahead of it were settled");
    ack->first_pid = first;
    core->settled_pid = ack->last_pid;
    return EVENT;
}

#if PUBSUB_CORE_SUBSCRIBE
/* What a refusal of anything but a message refers to is a subscription, if it is a number. */
static void take_reference(struct pubsub_refusal *refusal, unsigned given, struct pubsub_bytes raw)
{
    const uint8_t *ref = raw.ptr;
    if ((given & 12) != 12 || refusal->op == MPS_OP_MSG) return;
    if (!mps_core_take_field(&(struct reader){ref, ref + raw.len}, 's', &refusal->sid)) refusal->sid = 0;
}

/* False: one of stream and seq comes without the other. */
static bool take_terms(struct pubsub_core *core, unsigned given)
{
    core->flags = (uint8_t)((core->flags & ~CORE_HAVE_POSITION) | CORE_HAVE_FOR | (given & 4 ? CORE_HAVE_POSITION : 0));
    return (given & 12) == 0 || (given & 12) == 12;
}

/* What was granted is no news: it is as asked, or what the operator allows of it. But for the scope, which is said
 * where it is less. */
static bool take_verdict(struct pubsub_suback *suback, struct pubsub_bytes raw)
{
    struct reader in = {raw.ptr, (const uint8_t *)raw.ptr + raw.len};
    struct item item;
    suback->text = "";
    if (suback->code != MPS_OK) return mps_core_take_field(&in, 't', &suback->text);
    if (!mps_core_is_map((struct view){raw.ptr, (uint32_t)raw.len})) return false;
    mps_core_take(&in, &item);
    for (uint32_t pairs = item.len; pairs > 0; pairs--) {
        struct view key = mps_core_take_any(&in);
        mps_core_item(key.ptr, key.len, &item);
        if (item.type == ITEM_STR && item.len == 5 && memcmp(key.ptr + item.head, "scope", 5) == 0)
            suback->local = true;
        mps_core_take_any(&in);
    }
    return true;
}
#endif

/* ---- each operation's fields --------------------------------------------------------------------------------------
 */

/* clang-format off: rows */

/* What is no part of an event stands meanwhile where only a message, the largest of them, has something. */
#define REST as.message.time_ms
#define VERSION as.message.seq
#define FRAME(op, event)                  \
    {                                     \
        0x80 | (op), PUBSUB_EVENT_##event \
    }
#define CORE(letter, member) FIELD(letter, struct pubsub_core, member)

/* What a client may receive: the operation, the event that becomes of it, and its fields. */
static const struct field frames[] = {
#if PUBSUB_CORE_SUBSCRIBE
    FRAME(MPS_OP_FOR, NONE),
    CORE('s', sid),
    CORE('F', for_flags),
    CORE('N', stream),
    CORE('N', seq),
    CORE('N', time_ms),
    CORE('U', tries),
    FRAME(MPS_OP_GAP, GAP),
    OF('s', gap.sid),
    OF('N', gap.count),
    OF('u', gap.reason),
    OF('N', gap.stream),
    OF('N', gap.first),
    OF('N', gap.last),
    FRAME(MPS_OP_SUBACK, SUBACK),
    OF('u', suback.sid),
    OF('h', suback.code),
    FIELD('a', struct pubsub_event, REST),
    FRAME(MPS_OP_MARK, MARK),
    OF('s', mark.sid),
    OF('u', mark.mark),
    FIELD('M', struct pubsub_event, REST),
#endif
#if PUBSUB_CORE_STAT
    FRAME(MPS_OP_STAT, STAT),
    OF('s', stat.sid),
    OF('n', stat.matched),
    OF('n', stat.sent),
    OF('n', stat.lost),
    OF('n', stat.queued),
    OF('n', stat.queued_bytes),
#endif
    FRAME(MPS_OP_PUBACK, PUBACK),
    OF('n', puback.last_pid),
    OF('h', puback.code),
    OF('n', puback.matched),
    OF('n', puback.dropped),
    OF('N', puback.stream),
    OF('N', puback.seq),
    OF('T', puback.text),
    FRAME(MPS_OP_PING, NONE),
    OF('b', pong),
    FRAME(MPS_OP_PONG, PONG),
    OF('b', pong),
    FRAME(MPS_OP_WELCOME, WELCOME),
    FIELD('n', struct pubsub_event, VERSION),
    FIELD('m', struct pubsub_event, REST),
    FRAME(MPS_OP_ERR, REFUSAL),
    OF('h', refusal.code),
    OF('t', refusal.text),
    OF('O', refusal.op),
#if PUBSUB_CORE_SUBSCRIBE
    FIELD('A', struct pubsub_event, REST),
#endif
    FRAME(MPS_OP_BYE, BYE),
    OF('h', ending.code),
    OF('T', ending.text),
    FIELD('M', struct pubsub_event, REST),
    FRAME(MPS_OP_INFO, INFO),
    OF('m', info),
    {0x80, 0},
};
/* clang-format on */

static const struct field *fields_of(unsigned op)
{
    const struct field *field = frames;
    while (field->letter != (0x80 | op) && field->letter != 0x80) field++;
    return field;
}

#define FIELD_ERROR(core, event, op) CORE_FAIL(core, event, MPS_MALFORMED, op, "a field is missing or malformed")

/* Of the operations under 32, a bit for each that only a broker may receive, or to a client that began it (AUTH); and
 * for each that a client does not hear that only publishes: they come if somebody writes to its inbox. */
#define BIT_TO_BROKER 1
#define BIT_TO_CLIENT 0
#define BIT_BOTH 0
static const uint32_t to_broker =
#define OP(number, NAME, way, fields) (uint32_t) BIT_##way << (number) |
#include "ops.def"
#undef OP
    UINT32_C(1) << MPS_OP_AUTH;
static const uint32_t unheard = UINT32_C(1) << MPS_OP_FOR | UINT32_C(1) << MPS_OP_GAP | UINT32_C(1) << MPS_OP_SUBACK |
                                UINT32_C(1) << MPS_OP_MARK | UINT32_C(1) << MPS_OP_STAT;

static enum outcome unexpected(struct pubsub_core *core, unsigned op, struct pubsub_event *event)
{
    uint32_t bit = op < 32 ? UINT32_C(1) << op : 0;
    if (unheard & bit) return HANDLED;
    if (to_broker & bit) return CORE_FAIL(core, event, MPS_STATE, op, "only a broker may receive it");
    return CORE_FAIL(core, event, MPS_UNKNOWN_OP, MPS_OP_MAX, "an unknown operation");
}

/* What remains to be done about a frame whose fields were taken. */
static enum outcome finish(struct pubsub_core *core, unsigned op, unsigned given, struct pubsub_event *event)
{
    struct pubsub_bytes rest;
    (void)given;
    memcpy(&rest, (uint8_t *)event + offsetof(struct pubsub_event, REST), sizeof rest);
    switch (op) {
    case MPS_OP_WELCOME:
        if (event->VERSION != MPS_PROTOCOL_VERSION) return CORE_FAIL(core, event, MPS_VERSION, op, "version is not 1");
        return on_welcome(core, (struct view){rest.ptr, (uint32_t)rest.len}, event);
    case MPS_OP_PUBACK:
        if (event->as.puback.text == NULL) event->as.puback.text = "";
        return on_puback(core, &event->as.puback, event);
    case MPS_OP_BYE:
        mps_core_end(core);
        if (event->as.ending.text == NULL || *event->as.ending.text == '\0')
            event->as.ending.text = code_text(event->as.ending.code);
        break;
    case MPS_OP_PING:
        if (core->state == CORE_LEAVING ||
            mps_core_send_token(core, MPS_OP_PONG, event->as.pong.ptr, event->as.pong.len) == PUBSUB_OK)
            return HANDLED;
        event->type = PUBSUB_EVENT_BLOCKED;
        return LATER;
#if PUBSUB_CORE_SUBSCRIBE
    case MPS_OP_ERR: take_reference(&event->as.refusal, given, rest); break;
    case MPS_OP_FOR: return take_terms(core, given) ? HANDLED : FIELD_ERROR(core, event, op);
    case MPS_OP_GAP:
        event->as.gap.exact = (given & 2) != 0;
        event->as.gap.reason_name = reason_name(event->as.gap.reason);
        break;
    case MPS_OP_SUBACK:
        if (!take_verdict(&event->as.suback, rest)) return FIELD_ERROR(core, event, op);
        break;
#endif
    }
    return EVENT;
}

CORE_LOCAL enum outcome mps_core_handle(struct pubsub_core *core, unsigned op, struct view frame,
                                        struct pubsub_event *event)
{
    const struct field *fields = fields_of(op);
    unsigned given;
    void *to = event;
    if (op > 63) return HANDLED; /* experiments and vendors' own */
    if (!mps_core_is_greeted(core) && op != MPS_OP_WELCOME && op != MPS_OP_ERR && op != MPS_OP_BYE)
        return CORE_FAIL(core, event, MPS_STATE, op, "it came before WELCOME");
    if (core->state == CORE_READY && op == MPS_OP_WELCOME)
        return CORE_FAIL(core, event, MPS_STATE, op, "it came twice");
    if (fields->letter == 0x80) return unexpected(core, op, event);
    memset(event, 0, sizeof *event);
    if (PUBSUB_CORE_SUBSCRIBE && op == MPS_OP_FOR) {
        core->for_flags = 0;
        core->stream = core->seq = core->time_ms = 0;
        core->tries = 0;
        to = core;
    }
    if (!mps_core_take_fields(frame, fields + 1, to, &given)) return FIELD_ERROR(core, event, op);
    event->type = (enum pubsub_event_type)fields->at;
    return finish(core, op, given, event);
}
