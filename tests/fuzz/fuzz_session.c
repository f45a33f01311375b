/* Any bytes as what a client sends to the broker's core, in the virtual world of tests/sim. Beside it stands a
 * well-behaved client, the witness, that subscribes to '#': whatever the other one does, it gets all that was
 * published, byte for byte. The attacker's own stream has to be well-formed and true as well, and when all have gone
 * and time has passed, nothing of them is left. The first byte is how the input is cut, the second is options. In the
 * input, the inbox OWN_INBOX stands for the attacker's. */
/* Hostile 32. */
#include <string.h>

#include "require.h"
#include "wire.h"
#include "world.h"

/* The core's own data, to see whether it is at rest and empty; tests/sim has another model.h. */
#include "../../broker/core/model.h"

enum {
    OPTION_HELLO = 1,   /* the input comes after a HELLO of ours */
    OPTION_SMALL = 2,   /* small limits */
    OPTION_NARROW = 4,  /* the attacker's pipe is narrow and is read a little at a time */
    OPTION_CUT = 8,     /* the connection breaks at the end, instead of ending */
    OPTION_TIME = 16,   /* a little time passes between the pieces */
    OPTION_TWO = 32,    /* a second attacker gets the same bytes, uncut, at the same time */
    OPTION_LEAPS = 64,  /* much time passes between the pieces */
    OPTION_STUCK = 128, /* the attacker reads nothing until its input is taken */
};

#define OWN_INBOX "$inbox/0123456789abcdef01234567"
/* Turns of the loop until the core comes to rest, and timers that fire, one at a time, when nobody does anything. */
#define TURNS_MAX 10000
#define TIMERS_MAX 10000
#define WIDE_BYTES 65536 /* of a pipe */
#define NARROW_BYTES 5
#define ROUNDS_MAX 500 /* of reading a little, and of time passing */

/* What a client says that its own stream is judged by. */
enum step_kind { STEP_SUB, STEP_UNSUB, STEP_CREDIT, STEP_PING };
struct step {
    enum step_kind kind;
    uint32_t sid;
    uint64_t credit; /* SUB, CREDIT */
    bool drain, has_group;
    mps_view token; /* PING */
    size_t end;     /* of the frame, in the script */
};

struct script {
    uint8_t *bytes;
    size_t len;
    struct step *steps;
    size_t steps_count;
};

/* A subscription as its peer sees it. */
struct seen_sub {
    uint32_t sid;
    bool is_alive, has_group;
    uint64_t credit, messages, lost; /* since SUB; .credit without the CREDITs behind .step */
    uint64_t drains, drained;        /* MARK 3: how often it was asked for (as .credit), and told */
    size_t step;                     /* the last SUB that was answered */
    size_t found_end;                /* of its last message, in the script that published it */
    uint32_t unfound;
};

struct guest {
    const char *name;
    struct link *link;
    const struct script *script;               /* what it says */
    size_t script_at;                          /* bytes that it said before */
    size_t subs_next, unsubs_next, pings_next; /* steps to be answered next */
    uint8_t *bytes;                            /* the beginning of a frame */
    size_t len, cap;
    struct mps_scan scan;
    struct seen_sub *subs;
    size_t subs_count;
    uint64_t welcomes, last_pid;
    uint32_t sid, for_flags;
    uint8_t inbox[MPS_TOPIC_MAX];
    uint32_t inbox_len;
    bool is_witness, bye;
};

/* One input being played. */
struct scene {
    struct world world;
    struct guest witness, attackers[2];
    struct script script, witness_script;
    int count;
    unsigned options;
    bool may_have_wills, has_inboxes;
    uint32_t cut, mood;
    uint64_t turns;
};

static struct scene scene;
static const struct mps_limits wide = {16384, 4096, 64 * 1024 * 1024};

/* ---- what a client says ------------------------------------------------------------------------------------- */

/* False: the broker goes no further. */
static bool note_step(struct script *script, mps_view frame, size_t end)
{
    struct mps_sub sub;
    struct mps_unsub unsub;
    struct mps_credit credit;
    struct mps_token ping;
    const char *what;
    enum mps_code code;
    struct step step = {.end = end};
    switch (mps_frame_op(frame)) {
    case MPS_OP_SUB:
        code = mps_decode_sub(frame, &sub, &what);
        if (code != MPS_OK && code != MPS_BAD_OPTION) return false;
        step.kind = STEP_SUB;
        step.sid = sub.sid;
        step.credit = code == MPS_OK && (sub.options.given & MPS_SUB_CREDIT) ? sub.options.credit : UINT64_MAX;
        step.has_group = code == MPS_OK && sub.options.group.ptr != NULL;
        break;
    case MPS_OP_UNSUB:
        if (mps_decode_unsub(frame, &unsub, &what) != MPS_OK) return false;
        if (unsub.sid == 0) return true; /* refused */
        step.kind = STEP_UNSUB;
        step.sid = unsub.sid;
        break;
    case MPS_OP_CREDIT:
        if (mps_decode_credit(frame, &credit, &what) != MPS_OK) return false;
        step = (struct step){STEP_CREDIT, credit.sid, credit.max_msgs, credit.drain, false, {NULL, 0}, end};
        break;
    case MPS_OP_PING:
        if (mps_decode_token(frame, &ping, &what) != MPS_OK) return false;
        step.kind = STEP_PING;
        step.token = ping.token;
        break;
    default: return true;
    }
    script->steps = realloc(script->steps, (script->steps_count + 1) * sizeof step);
    if (script->steps == NULL) abort();
    script->steps[script->steps_count++] = step;
    return true;
}

static void read_script(struct script *script, uint32_t max_payload)
{
    const struct mps_limits limits = {MPS_HEAD_MAX, MPS_VALUES_MAX, max_payload};
    struct mps_scan scan = {0};
    for (size_t at = 0; at < script->len;) {
        enum mps_scan_result result;
        size_t used = 0;
        if (scan.oversized) {
            result = mps_scan_skip(&scan, script->bytes + at, script->len - at, &limits, &used);
        } else {
            result = mps_scan(&scan, script->bytes + at, script->len - at, &limits);
            if (result == MPS_SCAN_TOO_LARGE) continue;
            if (result == MPS_SCAN_FRAME) used = scan.pos;
            if (result == MPS_SCAN_FRAME && !note_step(script, (mps_view){script->bytes + at, scan.pos}, at + used))
                return;
        }
        if (result != MPS_SCAN_FRAME) return;
        at += used;
        scan = (struct mps_scan){0};
    }
}

static void free_script(struct script *script)
{
    free(script->bytes);
    free(script->steps);
}

static bool script_holds(mps_view what)
{
    return what.len == 0 || memmem(scene.script.bytes, scene.script.len, what.ptr, what.len) != NULL;
}

/* The next step of this kind that the peer is owed an answer to. */
static const struct step *take_step(const struct guest *peer, size_t *next, enum step_kind kind)
{
    const struct script *script = peer->script;
    while (*next < script->steps_count && script->steps[*next].kind != kind) ++*next;
    REQUIRE(*next < script->steps_count, "%s gets one answer more than it is owed", peer->name);
    return &script->steps[(*next)++];
}

/* ---- what a client is told ---------------------------------------------------------------------------------- */

static struct seen_sub *find_sub(struct guest *peer, uint32_t sid)
{
    for (size_t i = 0; i < peer->subs_count; i++) {
        if (peer->subs[i].sid == sid) return &peer->subs[i];
    }
    peer->subs = realloc(peer->subs, (peer->subs_count + 1) * sizeof *peer->subs);
    if (peer->subs == NULL) abort();
    peer->subs[peer->subs_count] = (struct seen_sub){.sid = sid, .is_alive = sid == 0, .credit = UINT64_MAX};
    return &peer->subs[peer->subs_count++];
}

static struct seen_sub *live_sub(struct guest *peer, uint32_t sid, const char *what)
{
    struct seen_sub *sub = find_sub(peer, sid);
    REQUIRE(sub->is_alive, "%s gets a %s for sid %u, which it has not", peer->name, what, sid);
    return sub;
}

/* Of the CREDITs for this life of the subscription that have arrived: what they allow, how often they drain. */
static uint64_t credit_of(const struct guest *peer, const struct seen_sub *sub, uint64_t *drains)
{
    uint64_t credit = sub->credit;
    *drains = sub->drains;
    for (size_t i = sub->sid > 0 ? sub->step + 1 : SIZE_MAX; i < peer->script->steps_count; i++) {
        const struct step *step = &peer->script->steps[i];
        if (peer->script_at + step->end > peer->link->delivered) break;
        if (step->kind == STEP_PING || step->sid != sub->sid) continue;
        if (step->kind != STEP_CREDIT) break;
        if (step->credit > credit) credit = step->credit;
        *drains += step->drain;
    }
    return credit;
}

static void check_credit(const struct guest *peer, const struct seen_sub *sub)
{
    uint64_t drains, credit = credit_of(peer, sub, &drains);
    REQUIRE(sub->messages < credit, "%s gets something beyond its credit of %llu on sid %u", peer->name,
            (unsigned long long)credit, sub->sid);
}

/* It is what a client sent: the same bytes, in their order, none of them twice. Wills were put into frames here. */
static void check_origin(const struct guest *peer, struct seen_sub *sub, const struct mps_msg *msg, mps_view frame)
{
    const struct script *script = &scene.script;
    bool is_ordered = scene.count == 1 && !sub->has_group && peer->for_flags == 0;
    size_t from = is_ordered ? sub->found_end : 0;
    const uint8_t *found = memmem(script->bytes + from, script->len - from, frame.ptr, frame.len);
    if (found != NULL) {
        if (is_ordered) sub->found_end = (size_t)(found - script->bytes) + frame.len;
        return;
    }
    REQUIRE(scene.may_have_wills, "%s gets a message that nobody sent, or again, or out of order", peer->name);
    REQUIRE(script_holds(msg->topic) && script_holds(msg->payload), "%s gets a message that nobody sent", peer->name);
    REQUIRE(++sub->unfound <= 2 || peer->for_flags != 0, "%s gets more wills than there are clients", peer->name);
}

static void check_message(struct guest *peer, mps_view frame)
{
    struct mps_msg msg;
    const char *what;
    REQUIRE(mps_decode_msg(frame, &msg, &what) == MPS_OK, "%s gets a bad MSG: %s", peer->name, what);
    REQUIRE(mps_topic_error(msg.topic) == NULL, "%s gets a bad topic: %s", peer->name, mps_topic_error(msg.topic));
    REQUIRE(msg.props.ptr == NULL || mps_props_check(msg.props, &what) == MPS_OK, "%s gets bad props: %s", peer->name,
            what);
    REQUIRE(peer->sid != UINT32_MAX, "%s gets a message before FOR", peer->name);
    struct seen_sub *sub = live_sub(peer, peer->sid, "message");
    check_credit(peer, sub);
    sub->messages++;
    bool is_reply = inbox_is(msg.topic), is_own = peer->inbox_len > 0 && msg.topic.len >= peer->inbox_len &&
                                                  memcmp(msg.topic.ptr, peer->inbox, peer->inbox_len) == 0;
    REQUIRE(is_reply == (peer->sid == 0) && is_reply == is_own, "%s gets another one's reply", peer->name);
    bool is_state = msg.topic.ptr[0] == '$' && !is_reply;
    REQUIRE(!is_state || (!peer->is_witness && msg.topic.len > 5 && memcmp(msg.topic.ptr, "$SYS/", 5) == 0),
            "%s gets a message of a reserved topic", peer->name);
    if (!is_state) check_origin(peer, sub, &msg, frame);
}

static void check_text(const struct guest *peer, mps_view text, uint32_t code)
{
    REQUIRE(mps_utf8_valid(text) && text.len <= 500, "%s gets a text that is none, with code %u", peer->name, code);
    REQUIRE(text.len > 0 || code < 100, "%s is not told why, only code %u", peer->name, code);
    for (uint32_t i = 0; i < text.len; i++)
        REQUIRE(text.ptr[i] >= ' ' && text.ptr[i] != 0x7f, "%s gets control characters, with code %u", peer->name,
                code);
    REQUIRE(code != MPS_INTERNAL, "%s hears of an internal error", peer->name);
    REQUIRE(scene.has_inboxes || (code != MPS_NOBODY && code != MPS_NOBODY_OR_WILL) || peer->bye,
            "%s hears that nobody matched, but the witness did", peer->name);
}

static void check_gap(struct guest *peer, const struct mps_gap *gap)
{
    struct seen_sub *sub = live_sub(peer, gap->sid, "GAP");
    REQUIRE(gap->has_count && gap->count > 0 && strcmp(mps_gap_reason_name(gap->reason), "unknown") != 0,
            "%s gets a GAP of %llu, reason %u", peer->name, (unsigned long long)gap->count, gap->reason);
    check_credit(peer, sub);
    sub->lost += gap->count;
    REQUIRE(!peer->is_witness || scene.options & OPTION_SMALL, "%s loses messages: reason %u", peer->name, gap->reason);
}

static void check_suback(struct guest *peer, const struct mps_suback *suback)
{
    size_t place = peer->subs_next;
    const struct step *step = take_step(peer, &peer->subs_next, STEP_SUB);
    for (; &peer->script->steps[place] != step; place++) continue;
    REQUIRE(suback->sid == step->sid, "%s gets SUBACK for %u instead of %u", peer->name, suback->sid, step->sid);
    struct seen_sub *sub = find_sub(peer, suback->sid);
    if (sub->is_alive && sub->sid > 0) sub->credit = credit_of(peer, sub, &sub->drains);
    if (suback->code == MPS_OK && !sub->is_alive)
        *sub = (struct seen_sub){.sid = sub->sid, .is_alive = true, .has_group = step->has_group};
    if (suback->code == MPS_OK && step->credit > sub->credit) sub->credit = step->credit;
    if (suback->code != MPS_OK) check_text(peer, suback->text, suback->code);
    sub->step = place; /* the CREDITs before it are counted */
}

static void check_mark(struct guest *peer, const struct mps_mark *mark)
{
    uint64_t drains;
    struct seen_sub *sub = find_sub(peer, mark->sid);
    switch (mark->kind) {
    case MPS_MARK_RETAINED_DONE: live_sub(peer, mark->sid, "MARK 1"); break;
    case MPS_MARK_DRAINED:
        sub = live_sub(peer, mark->sid, "MARK 3");
        credit_of(peer, sub, &drains);
        REQUIRE(++sub->drained <= drains, "%s gets MARK 3 for sid %u unasked", peer->name, sub->sid);
        break;
    case MPS_MARK_ENDED:
        REQUIRE(take_step(peer, &peer->unsubs_next, STEP_UNSUB)->sid == mark->sid, "%s gets another sid's MARK 4",
                peer->name);
        REQUIRE(mark->has_counts && mark->sent == (sub->is_alive ? sub->messages : 0) &&
                    mark->lost >= (sub->is_alive ? sub->lost : 0),
                "%s gets wrong counts in MARK 4 for sid %u", peer->name, sub->sid);
        sub->is_alive = false;
        if (peer->sid == mark->sid) peer->sid = UINT32_MAX; /* FOR is said again */
        break;
    default: REQUIRE(false, "%s gets MARK %u", peer->name, mark->kind);
    }
}

static void check_stat(struct guest *peer, const struct mps_stat *stat)
{
    const struct seen_sub *sub = live_sub(peer, stat->sid, "STAT");
    REQUIRE(stat->matched == stat->sent + stat->lost + stat->queued, "%s gets a STAT that does not add up", peer->name);
    REQUIRE(stat->sent == sub->messages && stat->lost >= sub->lost,
            "%s got %llu messages and gaps of %llu on sid %u; STAT: sent %llu, lost %llu", peer->name,
            (unsigned long long)sub->messages, (unsigned long long)sub->lost, sub->sid, (unsigned long long)stat->sent,
            (unsigned long long)stat->lost);
}

static void check_frame(struct guest *peer, mps_view frame)
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
    case MPS_OP_MSG: break;
    case MPS_OP_FOR: code = mps_decode_for(frame, &f.terms, &what); break;
    case MPS_OP_GAP: code = mps_decode_gap(frame, &f.gap, &what); break;
    case MPS_OP_PUBACK: code = mps_decode_puback(frame, &f.puback, &what); break;
    case MPS_OP_SUBACK: code = mps_decode_suback(frame, &f.suback, &what); break;
    case MPS_OP_MARK: code = mps_decode_mark(frame, &f.mark, &what); break;
    case MPS_OP_PONG: code = mps_decode_token(frame, &f.pong, &what); break;
    case MPS_OP_STAT: code = mps_decode_stat(frame, &f.stat, &what); break;
    case MPS_OP_WELCOME: code = mps_decode_welcome(frame, &f.welcome, &what); break;
    case MPS_OP_ERR: code = mps_decode_err(frame, &f.err, &what); break;
    case MPS_OP_BYE: code = mps_decode_bye(frame, &f.bye, &what); break;
    default: REQUIRE(false, "%s gets operation %u", peer->name, op);
    }
    REQUIRE(code == MPS_OK, "%s gets a bad %s: %s", peer->name, mps_op_name(op), what);
    REQUIRE(op == MPS_OP_BYE || op == MPS_OP_WELCOME || peer->welcomes == 1, "%s gets %s before WELCOME", peer->name,
            mps_op_name(op));
    REQUIRE(!peer->is_witness || (op != MPS_OP_BYE && op != MPS_OP_ERR), "%s gets %s", peer->name, mps_op_name(op));
    switch (op) {
    case MPS_OP_MSG: check_message(peer, frame); break;
    case MPS_OP_FOR:
        peer->sid = f.terms.sid;
        peer->for_flags = f.terms.flags;
        break;
    case MPS_OP_GAP: check_gap(peer, &f.gap); break;
    case MPS_OP_PUBACK:
        REQUIRE(f.puback.pid > peer->last_pid, "%s gets PUBACK %llu after %llu", peer->name,
                (unsigned long long)f.puback.pid, (unsigned long long)peer->last_pid);
        peer->last_pid = f.puback.pid;
        if (f.puback.code > 0) check_text(peer, f.puback.text, f.puback.code);
        break;
    case MPS_OP_SUBACK: check_suback(peer, &f.suback); break;
    case MPS_OP_MARK: check_mark(peer, &f.mark); break;
    case MPS_OP_PONG:
        REQUIRE(mps_view_equal(take_step(peer, &peer->pings_next, STEP_PING)->token, f.pong.token),
                "%s gets the PONG of another PING", peer->name);
        break;
    case MPS_OP_STAT: check_stat(peer, &f.stat); break;
    case MPS_OP_WELCOME:
        REQUIRE(++peer->welcomes == 1, "%s is welcome twice", peer->name);
        peer->inbox_len = f.welcome.inbox.len;
        memcpy(peer->inbox, f.welcome.inbox.ptr, peer->inbox_len);
        break;
    case MPS_OP_ERR: check_text(peer, f.err.text, f.err.code); break;
    case MPS_OP_BYE:
        peer->bye = true;
        check_text(peer, f.bye.text, f.bye.code);
        break;
    }
}

static void on_bytes(struct link *link, const uint8_t *bytes, size_t len)
{
    struct guest *peer = link->owner;
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

/* ---- the broker at rest ------------------------------------------------------------------------------------- */

static bool check_counts(const struct subscription_figures *f, void *arg)
{
    REQUIRE(f->matched == f->sent + f->lost + f->queued, "sid %u: matched %llu = sent %llu + lost %llu + queued %llu",
            f->sid, (unsigned long long)f->matched, (unsigned long long)f->sent, (unsigned long long)f->lost,
            (unsigned long long)f->queued);
    REQUIRE(f->link != arg || f->queued == 0, "the witness reads everything, but %llu messages are queued",
            (unsigned long long)f->queued);
    return true;
}

/* Its link takes everything: what was counted is what it was told, or the queue has still to tell. */
static void check_told(struct guest *peer, const struct subscription *sub)
{
    const struct seen_sub *seen = find_sub(peer, sub->sid);
    uint64_t untold = 0;
    for (uint32_t i = 0; i < sub->box.queue.entries; i++) {
        const struct queue_entry *entry = queue_at(&sub->box.queue, i);
        if (entry->run == NULL) untold += entry->count;
    }
    REQUIRE(seen->messages == sub->box.sent && seen->lost + untold == sub->box.lost,
            "%s got %llu messages and gaps of %llu on sid %u, %llu are untold; sent %llu, lost %llu", peer->name,
            (unsigned long long)seen->messages, (unsigned long long)seen->lost, sub->sid, (unsigned long long)untold,
            (unsigned long long)sub->box.sent, (unsigned long long)sub->box.lost);
}

/* Nothing waits that could be written. */
static void check_written(const struct session *session)
{
    uint64_t queued_bytes = 0;
    for (struct hash_node *n = hash_first(&session->subs); n != NULL; n = hash_next(&session->subs, n)) {
        const struct subscription *sub = container_of(n, struct subscription, in_subs);
        queued_bytes += sub->box.queue.bytes;
        if (!session->blocked) check_told(session->link->owner, sub);
        if (session->blocked || session->state != SESSION_READY) continue;
        REQUIRE(subscription_credit_left(sub) == 0 || (sub->box.queue.entries == 0 && sub->snapshot == NULL),
                "sid %u has credit and something to send, and is forgotten", sub->sid);
        REQUIRE(!sub->draining, "sid %u waits for MARK 3, and is forgotten", sub->sid);
        REQUIRE(sub->group == NULL || sub->group->box.queue.entries == 0 || subscription_credit_left(sub) == 0,
                "sid %u is ready, but its group keeps something", sub->sid);
    }
    REQUIRE(queued_bytes == session->queued_bytes, "queues hold %llu bytes, counted are %llu",
            (unsigned long long)queued_bytes, (unsigned long long)session->queued_bytes);
    REQUIRE(session->blocked || session->state != SESSION_ENDING, "a session ends, and is forgotten");
    REQUIRE(session->handed.first == NULL, "what a member was given is neither written nor back");
}

/* A publisher that is held has reason to be. */
static void check_held(const struct session *session)
{
    const struct mailbox *box = session->waits_for;
    if (box == NULL) return;
    uint64_t bytes = session->held_len + box->queue.bytes, all = session->held_len;
    all += box->session != NULL ? box->session->queued_bytes : 0;
    REQUIRE(box->queue.msgs >= box->max_msgs || bytes > box->max_bytes ||
                all + session->held_reserved_bytes > box->broker->limits.session_queue_bytes,
            "a publisher is held although there is room");
    REQUIRE(session->hold_timer.when_ms > box->broker->now_ms, "a publisher is held although its time is up");
}

static void on_turned(struct world *world)
{
    (void)world;
    REQUIRE(++scene.turns <= TURNS_MAX, "the broker is busy with nothing");
}

static void turn(void)
{
    struct world *world = &scene.world;
    struct link *link = scene.witness.link;
    scene.turns = 0;
    world_turn(world);
    while (link->room < link->room_max) { /* it reads everything at once */
        world_drain(link, SIZE_MAX);
        world_turn(world);
    }
    REQUIRE(!world->failed, "%s", world->failure);
    broker_each_subscription(world->broker, check_counts, link);
    for (const struct session *session = world->broker->sessions; session != NULL; session = session->next) {
        check_written(session);
        check_held(session);
    }
}

/* Nobody is there but the witness, and nothing but timers has happened: all that others brought is gone. */
static void check_left(void)
{
    const struct broker *broker = scene.world.broker;
    REQUIRE(broker->sessions_count == 1 && broker->ids.count == 1 && broker->inboxes.count == 1, "a session is left");
    REQUIRE(broker->subscriptions_count == 1 && broker->boxes.first == broker->boxes.last, "a subscription is left");
    REQUIRE(broker->groups.count == 0 && broker->groups_count == 0, "a group is left");
    REQUIRE(broker->filters.count == 0, "a filter is left");
    REQUIRE(broker->named_wills.count == 0 && broker->wills.count == 0 && broker->wills_bytes == 0, "a will is left");
    REQUIRE(broker->holding.first == NULL && broker->holds.count == 0, "a held publisher is left");
    REQUIRE(broker->slow_boxes.first == NULL && broker->debtors.first == broker->debtors.last, "a queue is left");
    REQUIRE(broker->expiries.count == 0 && broker->timers.count == 0, "a timer is left");
}

/* ---- playing ------------------------------------------------------------------------------------------------ */

static void say_hello(struct guest *peer)
{
    uint8_t room[64];
    struct mps_out out = mps_out_open(room, sizeof room);
    struct mps_hello hello = {.magic = mps_text("mps"), .version = 1};
    if (!peer->is_witness && scene.mood & 1) hello.sess_s = 600; /* what it leaves ends in time, too */
    mps_encode_hello(&out, &hello);
    world_push(peer->link, room, out.len);
    peer->script_at = out.len;
}

static void open_peer(struct guest *peer, const char *name, const struct script *script, size_t room_max)
{
    *peer = (struct guest){.name = name, .script = script, .sid = UINT32_MAX};
    peer->link = world_connect(&scene.world, room_max, peer);
}

static void open_witness(void)
{
    uint8_t room[64];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_sub(&out, &(struct mps_sub){.sid = 1, .pattern = mps_text("#")});
    scene.witness_script = (struct script){.bytes = malloc(out.len), .len = out.len};
    memcpy(scene.witness_script.bytes, room, out.len);
    read_script(&scene.witness_script, 0);
    open_peer(&scene.witness, "the witness", &scene.witness_script, WIDE_BYTES);
    scene.witness.is_witness = true;
    say_hello(&scene.witness);
    world_push(scene.witness.link, room, out.len);
    while (world_deliver(scene.witness.link, SIZE_MAX) > 0) continue;
    turn();
}

/* So that the input can name the attacker's inbox. */
static void fill_in_inbox(void)
{
    const struct guest *peer = &scene.attackers[0];
    if (peer->inbox_len != sizeof OWN_INBOX - 1) return;
    for (uint8_t *p = scene.script.bytes, *end = p + scene.script.len;
         (p = memmem(p, (size_t)(end - p), OWN_INBOX, sizeof OWN_INBOX - 1)) != NULL; p += peer->inbox_len)
        memcpy(p, peer->inbox, peer->inbox_len);
}

static void pass_time(void)
{
    static const uint64_t leaps_ms[] = {0, 1, 50, 100, 999, 1000, 5000, 60000};
    struct world *world = &scene.world;
    if (scene.options & OPTION_TIME) world->now_ms += 10;
    if (!(scene.options & OPTION_LEAPS)) return;
    scene.mood = scene.mood * 1664525u + 1013904223u;
    uint32_t choice = scene.mood >> 28;
    if (choice < 8) world->now_ms += leaps_ms[choice];
    else if (choice < 12 && world->next_ms > world->now_ms && world->next_ms - world->now_ms < 600000)
        world->now_ms = world->next_ms;
}

/* Until nothing more goes in or out, or for a while only out: whoever subscribes to the broker's state is never done.
 */
static void play(size_t read_bytes, bool whole)
{
    turn();
    for (int idle = 0, rounds = 0; idle < 3 && rounds < ROUNDS_MAX; rounds++) {
        idle++;
        for (int i = 0; i < scene.count; i++) {
            struct link *link = scene.attackers[i].link;
            size_t left = world_deliverable(link);
            size_t len = whole || i > 0 || left == 0 ? left : piece_len(&scene.cut, left);
            if (world_deliver(link, len) > 0) idle = rounds = 0;
        }
        turn();
        for (int i = 0; i < scene.count; i++) {
            struct link *link = scene.attackers[i].link;
            if (link->room < link->room_max && read_bytes > 0) idle = 0;
            world_drain(link, read_bytes);
        }
        if (!whole) pass_time();
    }
}

/* The attackers read everything, and whatever they have said arrives. */
static void exchange(void)
{
    turn();
    for (bool more = true; more;) {
        more = false;
        for (int i = 0; i < scene.count; i++) {
            struct link *link = scene.attackers[i].link;
            more = more || link->room < link->room_max;
            world_drain(link, SIZE_MAX);
            more = world_deliver(link, SIZE_MAX) > 0 || world_deliver_end(link) || more;
        }
        turn();
    }
}

/* Timers fire one at a time, at their moments. */
static void wait_ms(uint64_t ms)
{
    struct world *world = &scene.world;
    uint64_t end_ms = ms < UINT64_MAX - world->now_ms ? world->now_ms + ms : UINT64_MAX - 1;
    exchange();
    for (int timers = 0; world->next_ms <= end_ms; timers++) {
        REQUIRE(timers < TIMERS_MAX, "timers never end");
        world->now_ms = world->next_ms;
        exchange();
    }
    if (ms < UINT64_MAX) world->now_ms = end_ms;
    exchange();
}

/* A stream that ends: all that was received is processed, at most ten minutes for what each of its queues holds up. */
static void end_gently(struct link *link)
{
    world_push_end(link);
    for (int i = 0; i < 100 && link->session != NULL && !link->session->half; i++) wait_ms(660000);
    REQUIRE(link->session == NULL || link->session->half, "a stream has ended, and its session has not");
}

static void finish(void)
{
    for (int i = 0; i < scene.count; i++) {
        struct link *link = scene.attackers[i].link;
        link->room_max = WIDE_BYTES; /* so that a long queue is read in time */
        if (!(scene.options & OPTION_CUT)) end_gently(link);
        world_break(link);
        world_cut(link);
    }
    wait_ms(660000);
    wait_ms(UINT64_MAX);
    check_left();
    REQUIRE(scene.witness.link->session != NULL, "the witness has lost its connection");
}

static void set_small(struct broker_limits *limits)
{
    limits->max_payload = 32;
    limits->queue_msgs_count = 4;
    limits->queue_bytes = 200;
    limits->max_subs_count = 3;
    limits->retained_bytes = 2000;
    limits->session_queue_bytes = 300;
    limits->queue_total_bytes = 4000;
    limits->input_total_bytes = 1000;
    limits->sys_ms = 1000;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"the attacker", "the second attacker"};
    if (size < 3) return 0;
    struct broker_limits limits;
    broker_defaults(&limits);
    memset(&scene, 0, sizeof scene);
    scene.options = data[1];
    scene.mood = data[0];
    if (scene.options & OPTION_SMALL) set_small(&limits);
    scene.script = (struct script){.bytes = malloc(size - 2), .len = size - 2};
    if (scene.script.bytes == NULL) abort();
    memcpy(scene.script.bytes, data + 2, size - 2);
    scene.may_have_wills = !(scene.options & OPTION_HELLO);
    scene.has_inboxes = script_holds(mps_text("$inbox"));
    world_open(&scene.world, 1, &limits);
    scene.world.on_bytes = on_bytes;
    scene.world.on_turned = on_turned;
    open_witness();

    scene.count = scene.options & OPTION_TWO ? 2 : 1;
    for (int i = 0; i < scene.count; i++) {
        open_peer(&scene.attackers[i], names[i], &scene.script,
                  scene.options & OPTION_NARROW ? NARROW_BYTES : WIDE_BYTES);
        if (scene.options & OPTION_HELLO) say_hello(&scene.attackers[i]);
    }
    if (scene.options & OPTION_HELLO) play(SIZE_MAX, true);
    fill_in_inbox();
    read_script(&scene.script, limits.max_payload);
    for (int i = 0; i < scene.count; i++) world_push(scene.attackers[i].link, scene.script.bytes, scene.script.len);
    scene.cut = data[0] * 2654435761u;
    size_t read_bytes = scene.options & OPTION_NARROW ? 7 : SIZE_MAX;
    if (scene.options & OPTION_STUCK) play(0, false);
    play(read_bytes, false);
    finish();

    world_close(&scene.world);
    REQUIRE(!scene.world.failed, "%s", scene.world.failure);
    struct guest *peers[] = {&scene.witness, &scene.attackers[0], &scene.attackers[1]};
    for (int i = 0; i < 3; i++) {
        free(peers[i]->bytes);
        free(peers[i]->subs);
    }
    free_script(&scene.script);
    free_script(&scene.witness_script);
    return 0;
}
