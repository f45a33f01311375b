#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "audit.h"
#include "away.h"
#include "cluster/group_far.h"
#include "cluster/records.h"
#include "cluster/scope.h"
#include "sure.h"

#define BLOCK_MS_DEFAULT 1000u
#define BLOCK_MS_CAP (10u * 60 * 1000)

static void reply_suback(struct session *session, const struct mps_suback *suback)
{
    uint8_t room[512];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_suback(&out, suback);
    reply_frame(session, &out);
}

static void refuse(struct session *session, uint32_t sid, uint32_t code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void refuse(struct session *session, uint32_t sid, uint32_t code, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (code == MPS_NOT_AUTHORISED) audit(session, EVENT_DENY, code, text);
    reply_suback(session, &(struct mps_suback){.sid = sid, .code = code, .text = mps_text(text)});
}

/* ---- what can't be granted ---------------------------------------------------------------------------------- */

#define ACK_MS_DEFAULT 30000u
#define ACK_MS_LEAST 100u
#define INFLIGHT_DEFAULT 1000u

/* Whether it is to get messages of streams from these, and not as they come. */
static bool is_reader(const struct broker *broker, const struct mps_sub *in)
{
    const struct mps_sub_options *o = &in->options;
    if (o->from.kind != MPS_FROM_NEW || o->ack != MPS_ACK_NONE || o->durable) return true;
    return o->policy == MPS_POLICY_SPILL && stream_matches_any(broker, in->pattern);
}

static struct cursor_terms cursor_terms_of(const struct broker *broker, const struct mps_sub_options *o)
{
    uint64_t inflight_cap = broker->limits.inflight_cap_count;
    uint64_t inflight = o->given & MPS_SUB_INFLIGHT ? o->inflight : INFLIGHT_DEFAULT;
    return (struct cursor_terms){
        .ack = o->ack,
        .ack_ms = !(o->given & MPS_SUB_ACK_MS) ? ACK_MS_DEFAULT
                  : o->ack_ms > ACK_MS_LEAST   ? o->ack_ms
                                               : ACK_MS_LEAST,
        .max_tries = o->given & MPS_SUB_MAX_TRIES ? o->max_tries : UINT64_MAX,
        .inflight = inflight < inflight_cap ? inflight : inflight_cap,
        .durable = o->durable,
    };
}

/* Why it can't read as it asks; NULL: it can. */
static const char *reader_error(const struct session *session, const struct mps_sub *in, const struct subscription *sub,
                                uint32_t *code)
{
    const struct mps_sub_options *o = &in->options;
    *code = MPS_BAD_OPTION;
    if ((o->given & MPS_SUB_ACK_MS) && o->ack_ms == 0) return "option 'ack_ms' must be at least 1";
    if ((o->given & MPS_SUB_MAX_TRIES) && o->max_tries == 0) return "option 'max_tries' must be at least 1";
    if ((o->given & MPS_SUB_INFLIGHT) && o->inflight == 0) return "option 'inflight' must be at least 1";
    if (!is_reader(session->broker, in)) {
        if (sub != NULL && subscription_cursor(sub) != NULL) return "a subscription that reads streams can't cease to";
        return NULL;
    }
    *code = MPS_NO_HISTORY;
    if (!stream_matches_any(session->broker, in->pattern)) return "no stream keeps topics that match the pattern";
    *code = MPS_BAD_OPTION;
    if (o->no_local) return "option 'no_local' can't be had with messages from a stream: who published them isn't kept";
    if (o->durable && o->group.ptr == NULL && session->sess_s == 0)
        return "option 'durable' needs a session that outlives its connection (HELLO's 'sess')";
    if (o->durable && o->group.ptr == NULL && !session->has_own_id)
        return "option 'durable' needs a client id that the client brings itself";
    struct cursor *cursor = sub != NULL ? subscription_cursor(sub) : NULL;
    if (sub != NULL && cursor == NULL) return "a subscription that reads no stream can't begin to";
    if (cursor != NULL && cursor->terms.ack != o->ack) return "option 'ack' of a subscription can't be changed";
    if (cursor != NULL && cursor->terms.durable != o->durable)
        return "option 'durable' of a subscription can't be changed";
    *code = MPS_NO_HISTORY;
    for (mps_view pairs = o->from.pairs; o->from.kind == MPS_FROM_SEQ;) {
        uint64_t number, seq;
        if (!mps_from_next(&pairs, &number, &seq)) break;
        const struct stream *stream = stream_by_number(session->broker, number);
        if (stream == NULL) return "option 'from' names a stream that does not exist";
        if (stream->is_configured &&
            !stream_overlaps(stream, in->pattern)) /* else it is what a client remembers of it */
            return "option 'from' names a stream that the pattern can't match";
    }
    return NULL;
}

static bool is_then(enum mps_policy policy)
{
    return policy == MPS_POLICY_DROP_OLD || policy == MPS_POLICY_DROP_NEW || policy == MPS_POLICY_CLOSE;
}

/* Options that don't go together, as a sentence; NULL: they do. */
static const char *option_error(const struct mps_sub_options *o, const struct subscription *sub)
{
    static const char no_close[] = "a member of a group can't have the policy 'close': no single member is too slow";
    bool has_group = o->group.ptr != NULL;
    if ((o->given & MPS_SUB_THEN) && !is_then(o->then))
        return "option 'then' is none of 'drop_old', 'drop_new' and 'close'";
    if (has_group && mps_id_error(o->group) != NULL) return mps_id_error(o->group);
    if (has_group && o->policy == MPS_POLICY_CLOSE) return no_close;
    if (has_group && (o->given & MPS_SUB_THEN) && o->then == MPS_POLICY_CLOSE) return no_close;
    if (has_group && o->no_local) return "a member of a group can't have 'no_local': the group stands for all of them";
    if (sub == NULL) return NULL;
    mps_view group = sub->group ? group_name(sub->group) : (mps_view){NULL, 0};
    if (!mps_view_equal(group, o->group))
        return "the group of a subscription can't be changed; end it and subscribe again";
    return NULL;
}

/* Where its messages queue. */
static const struct mailbox *box_of(const struct subscription *sub)
{
    return sub->group ? &sub->group->box : &sub->box;
}

/* Why the session may not subscribe as it asks, or NULL. One that is away lost nothing of what it had: what it may
 * receive is asked when there is something. */
static const char *denied_error(const struct session *session, const struct mps_sub *in, char *text, size_t text_cap)
{
    const struct grant *grant = session->grant;
    const struct mps_sub_options *o = &in->options;
    if (grant == NULL || session->state == SESSION_AWAY || mps_pattern_error(in->pattern) != NULL) return NULL;
    if (!grant_subscribes(grant, in->pattern)) return grant_hint(grant, in->pattern, text, text_cap);
    if (o->group.ptr != NULL && !grant_has(grant, ACCESS_GROUPS)) return "a group needs the right 'groups'";
    if (o->durable && !grant_has(grant, ACCESS_DURABLE)) return "option 'durable' needs the right 'durable'";
    if (o->policy == MPS_POLICY_SPILL && !grant_has(grant, ACCESS_DURABLE))
        return "policy 'spill' needs the right 'durable'";
    if (o->policy == MPS_POLICY_BLOCK && !grant_has(grant, ACCESS_BLOCK))
        return "policy 'block' needs the right 'block'";
    return NULL;
}

/* Whether the connection may have one more subscription; if not, answers why. */
static bool has_room(struct session *session, uint32_t sid)
{
    struct broker *broker = session->broker;
    const struct broker_limits *limits = &broker->limits;
    if (session->subs.count - (session->inbox != NULL) >= limits->max_subs_count) {
        broker_note_refusal(broker, REFUSED_SUBSCRIPTIONS);
        refuse(session, sid, MPS_TOO_MANY_SUBS, "the limit of %u subscriptions of a connection is reached",
               limits->max_subs_count);
    } else if (session->pattern_bytes >= limits->pattern_bytes) {
        broker_note_refusal(broker, REFUSED_PATTERNS);
        refuse(session, sid, MPS_TOO_MANY_SUBS,
               "the patterns of the connection take %llu bytes, the limit is %llu (pattern_bytes)",
               (unsigned long long)session->pattern_bytes, (unsigned long long)limits->pattern_bytes);
    } else {
        return true;
    }
    return false;
}

/* Whether the SUB can be granted, but for its filter and its group; if not, answers why. */
static bool grants(struct session *session, const struct mps_sub *in, enum mps_code code, const char *what,
                   const struct subscription *sub)
{
    uint32_t unreadable_code;
    char room[MPS_TOPIC_MAX + 40];
    const char *denied = denied_error(session, in, room, sizeof room);
    const char *unreadable = reader_error(session, in, sub, &unreadable_code);
    const char *wrong = mps_pattern_error(in->pattern), *odd = option_error(&in->options, sub);
    if (in->sid == 0 || in->sid > MPS_SID_MAX)
        refuse(session, in->sid, MPS_BAD_OPTION, "subscription id %u is not from 1 to %u", in->sid, MPS_SID_MAX);
    else if (wrong != NULL)
        refuse(session, in->sid, MPS_BAD_TOPIC, "bad pattern '%s': %s", printable(in->pattern), wrong);
    else if (code != MPS_OK) refuse(session, in->sid, code, "option '%s' has a value that is not allowed", what);
    else if (inbox_is(in->pattern))
        refuse(session, in->sid, MPS_NOT_AUTHORISED, "may not subscribe to '%s': inboxes belong to their clients",
               printable(in->pattern));
    else if (denied != NULL)
        refuse(session, in->sid, MPS_NOT_AUTHORISED, "may not subscribe to '%s': %s", printable(in->pattern), denied);
    else if (sub != NULL && !mps_view_equal(subscription_pattern(sub), in->pattern))
        refuse(session, in->sid, MPS_SID_IN_USE, "subscription id %u is in use with the pattern '%s'", in->sid,
               printable(subscription_pattern(sub)));
    else if (odd != NULL) refuse(session, in->sid, MPS_BAD_OPTION, "%s", odd);
    else if (unreadable != NULL) refuse(session, in->sid, unreadable_code, "%s", unreadable);
    else if (sub != NULL && mailbox_change_error(box_of(sub), in->options.policy) != NULL)
        refuse(session, in->sid, MPS_BAD_OPTION, "%s", mailbox_change_error(box_of(sub), in->options.policy));
    else if (session_is_kept(session) && commit_has_many(session->broker))
        refuse(session, in->sid, MPS_QUOTA, "too many changes of sessions wait for the disk, try again later");
    else return sub != NULL || has_room(session, in->sid);
    return false;
}

/* ---- terms -------------------------------------------------------------------------------------------------- */

static void grant_reading(const struct broker *broker, const struct mps_sub_options *asked,
                          struct mps_sub_options *granted)
{
    struct cursor_terms terms = cursor_terms_of(broker, asked);
    granted->ack_ms = terms.ack_ms;
    granted->inflight = terms.inflight;
    if ((asked->given & MPS_SUB_ACK_MS) && asked->ack_ms != terms.ack_ms) granted->given |= MPS_SUB_ACK_MS;
    if ((asked->given & MPS_SUB_INFLIGHT) && asked->inflight != terms.inflight) granted->given |= MPS_SUB_INFLIGHT;
}

/* What is granted of the options; notes in *granted what isn't as asked. The filter is still missing. */
static struct terms terms_of(const struct broker *broker, const struct mps_sub_options *asked, bool reads,
                             struct mps_sub_options *granted)
{
    const struct broker_limits *limits = &broker->limits;
    struct terms terms = {
        .max_msgs = asked->given & MPS_SUB_MAX_MSGS ? asked->max_msgs : limits->queue_msgs_count,
        .max_bytes = asked->given & MPS_SUB_MAX_BYTES ? asked->max_bytes : limits->queue_bytes,
        .block_ms = BLOCK_MS_DEFAULT,
        .policy = asked->policy,
        .then = asked->given & MPS_SUB_THEN ? asked->then : MPS_POLICY_DROP_NEW,
        .no_local = asked->no_local,
    };
    if (asked->given & MPS_SUB_BLOCK_MS)
        terms.block_ms = asked->block_ms < BLOCK_MS_CAP ? (uint32_t)asked->block_ms : BLOCK_MS_CAP;
    *granted = (struct mps_sub_options){
        .max_msgs = limits->queue_msgs_cap_count, .max_bytes = limits->queue_bytes_cap, .block_ms = terms.block_ms};
    if ((asked->given & MPS_SUB_BLOCK_MS) && asked->block_ms > BLOCK_MS_CAP) granted->given |= MPS_SUB_BLOCK_MS;
    if (reads) grant_reading(broker, asked, granted);
    if (terms.max_msgs > granted->max_msgs) {
        granted->given |= MPS_SUB_MAX_MSGS;
        terms.max_msgs = granted->max_msgs;
    }
    if (terms.max_bytes > granted->max_bytes) {
        granted->given |= MPS_SUB_MAX_BYTES;
        terms.max_bytes = granted->max_bytes;
    }
    return terms;
}

/* Sets terms->filter, with a reference. False: it is none, and that is answered. */
static bool take_filter(struct session *session, const struct mps_sub *in, const struct subscription *sub,
                        struct terms *terms)
{
    struct mps_filter_error error;
    if (in->options.filter.ptr == NULL) return true;
    uint32_t max = session->broker->limits.max_filters_count;
    if (session->filters_count >= max && (sub == NULL || !sub->is_filtered)) {
        broker_note_refusal(session->broker, REFUSED_FILTERS);
        refuse(session, in->sid, MPS_QUOTA, "the limit of %u subscriptions of a connection with a filter is reached",
               max);
        return false;
    }
    terms->filter = filter_get(session->broker, in->options.filter, &error);
    if (terms->filter != NULL) return true;
    refuse(session, in->sid, MPS_BAD_FILTER, "bad filter, column %u: %s", error.column, error.text);
    return false;
}

/* The first of the group's terms that differs; NULL: they agree. */
static const char *difference(const struct terms *a, const struct terms *b)
{
    if (a->policy != b->policy) return "policy";
    if (a->max_msgs != b->max_msgs) return "max_msgs";
    if (a->max_bytes != b->max_bytes) return "max_bytes";
    if (a->block_ms != b->block_ms) return "block_ms";
    if (a->then != b->then) return "then";
    if (a->filter != b->filter) return "filter"; /* equal texts are one filter */
    return NULL;
}

/* Likewise of what they ask of streams. */
static const char *reading_difference(const struct broker *broker, const struct cursor *theirs, bool reads,
                                      const struct mps_sub_options *o)
{
    struct cursor_terms ours = cursor_terms_of(broker, o);
    if ((theirs != NULL) != reads) return theirs != NULL ? "from" : "ack";
    if (theirs == NULL) return NULL;
    if (theirs->from_kind != o->from.kind || theirs->from_number != o->from.number) return "from";
    if (theirs->terms.ack != ours.ack) return "ack";
    if (theirs->terms.ack_ms != ours.ack_ms) return "ack_ms";
    if (theirs->terms.max_tries != ours.max_tries) return "max_tries";
    if (theirs->terms.inflight != ours.inflight) return "inflight";
    return theirs->terms.durable != ours.durable ? "durable" : NULL;
}

/* Whether the group lets somebody with these terms be its member; if not, answers why. sub: its member, or NULL. */
static bool agrees(struct session *session, const struct mps_sub *in, const struct terms *terms,
                   const struct subscription *sub)
{
    struct group *group = group_find(session->broker, in->options.group, in->pattern);
    if (group == NULL || (sub != NULL && group->members_count == 1)) return true; /* its own group */
    struct terms theirs = mailbox_terms(&group->box);
    const char *what = group->box.rx_max != session->rx_max ? "rx_max" : difference(&theirs, terms);
    bool reads = is_reader(session->broker, in);
    if (what == NULL) what = reading_difference(session->broker, group->box.cursor, reads, &in->options);
    if (what == NULL) return true;
    refuse(session, in->sid, MPS_GROUP_DIFFERS, "option '%s' differs from that of the other members of group '%s'",
           what, printable(in->options.group));
    return false;
}

/* ---- granting ----------------------------------------------------------------------------------------------- */

/* The first of a group makes its cursor. */
static void begin_reading(struct mailbox *box, struct subscription *sub, const struct mps_sub *in)
{
    struct cursor_terms terms = cursor_terms_of(box->broker, &in->options);
    sub->outlet = outlet_new();
    if (box->cursor != NULL) return;
    cursor_new(box, in->pattern, &terms, &in->options.from);
    cursor_resume(box->cursor);
    if (box->broker->cluster != NULL) shared_cursor_begin(box->cursor);
    router_pattern_changed(box->broker, in->pattern);
}

/* Takes over the terms' filter. */
static struct subscription *begin(struct session *session, const struct mps_sub *in, const struct terms *terms)
{
    struct subscription *sub = subscription_new(session, in->sid, in->pattern);
    uint64_t pattern_bytes = session->broker->topics.bytes;
    if (in->options.group.ptr != NULL) {
        mailbox_set_terms(&sub->box, &(struct terms){.max_msgs = terms->max_msgs, .max_bytes = terms->max_bytes});
        group_join(sub, in->options.group, terms);
        if (is_reader(session->broker, in)) {
            begin_reading(&sub->group->box, sub, in);
            if (session->broker->cluster != NULL) group_far_update(sub->group); /* what it reads isn't relayed to it */
        }
    } else {
        mailbox_set_terms(&sub->box, terms);
        if (is_reader(session->broker, in)) begin_reading(&sub->box, sub, in);
        subscription_attach(sub);
    }
    sub->credit = in->options.given & MPS_SUB_CREDIT ? in->options.credit : CREDIT_UNLIMITED;
    sub->pattern_bytes = (uint32_t)(session->broker->topics.bytes - pattern_bytes);
    session->pattern_bytes += sub->pattern_bytes;
    sys_wanted(session->broker, in->pattern);
    return sub;
}

static void may_have_more(struct subscription *sub, void *arg)
{
    (void)arg;
    group_member_acked(sub);
}

static void cursor_change(struct cursor *cursor, const struct mps_sub_options *o)
{
    struct cursor_terms terms = cursor_terms_of(cursor->box->broker, o);
    cursor->terms = terms;
    if (cursor->box->session == NULL) group_each(container_of(cursor->box, struct group, box), may_have_more, NULL);
    cursor_filter_changed(cursor);
    cursor_move(cursor, &o->from);
    cursor_dirty(cursor);
}

static void change(struct subscription *sub, const struct mps_sub *in, const struct terms *terms)
{
    struct mailbox *box = sub->group ? &sub->group->box : &sub->box;
    mailbox_set_terms(box, terms);
    if (box->cursor != NULL) cursor_change(box->cursor, &in->options);
    router_pattern_changed(sub->session->broker, in->pattern); /* a route may be plain no more */
    subscription_add_credit(sub, in->options.given & MPS_SUB_CREDIT ? in->options.credit : CREDIT_UNLIMITED, false);
}

static void send_retained(struct subscription *sub, uint32_t retained, bool is_new)
{
    if (retained == 2) return;
    bool wants_values = sub->group == NULL && (retained == 0 || is_new);
    if (!wants_values && sub->snapshot != NULL) return; /* one that is under way answers this SUB, too */
    subscription_begin_snapshot(sub);
    if (wants_values && sub->awaits != NULL) scope_wants_values(sub);
    if (!wants_values) snapshot_skip(sub->snapshot); /* only the MARK */
}

/* Grants what is asked for, or refuses it; a session with a link is told. Returns NULL if it is refused. */
static struct subscription *subscribe(struct session *session, const struct mps_sub *in, enum mps_code code,
                                      const char *what)
{
    struct subscription *sub = subscription_find(session, in->sid);
    if (sub == NULL && session->link != NULL && sure_is_short()) {
        refuse(session, in->sid, MPS_QUOTA, "there is no memory for another subscription");
        return NULL;
    }
    if (!grants(session, in, code, what, sub)) return NULL;
    struct mps_suback suback = {.sid = in->sid};
    struct terms terms = terms_of(session->broker, &in->options, is_reader(session->broker, in), &suback.granted);
    if (!take_filter(session, in, sub, &terms)) return NULL;
    if (in->options.group.ptr != NULL && !agrees(session, in, &terms, sub)) {
        filter_unref(session->broker, terms.filter);
        return NULL;
    }
    bool is_filtered = terms.filter != NULL;
    if (sub == NULL) sub = begin(session, in, &terms);
    else change(sub, in, &terms);
    session->filters_count += is_filtered - sub->is_filtered;
    sub->is_filtered = is_filtered;
    if (in->options.scope == MPS_SCOPE_CLUSTER) {
        if (session->link != NULL && scope_defer(sub, &suback)) return sub;
        suback.granted.given |= MPS_SUB_SCOPE;
        suback.granted.scope = MPS_SCOPE_LOCAL;
    }
    reply_suback(session, &suback);
    return sub;
}

void handle_SUB(struct session *session, mps_view frame)
{
    struct mps_sub in;
    const char *what;
    enum mps_code code = mps_decode_sub(frame, &in, &what);
    if (code != MPS_BAD_OPTION && !frame_decoded(session, MPS_OP_SUB, code, &what)) return;
    struct subscription *sub = subscription_find(session, in.sid);
    bool is_new = sub == NULL;
    if (sub != NULL && sub->awaits != NULL) scope_answer(sub);
    sub = subscribe(session, &in, code, what);
    if (sub == NULL) return;
    struct cursor *cursor = subscription_cursor(sub);
    if (cursor != NULL && in.options.from.kind != MPS_FROM_NEW) cursor_want_mark(cursor, sub);
    subscription_keep(sub, frame);
    log_subscription(session, EVENT_SUBSCRIBE, in.pattern);
    send_retained(sub, in.options.retained, is_new);
}

struct subscription *subscription_restore(struct session *session, mps_view frame)
{
    struct mps_sub in;
    const char *what;
    if (mps_decode_sub(frame, &in, &what) != MPS_OK || subscription_find(session, in.sid) != NULL) return NULL;
    return subscribe(session, &in, MPS_OK, NULL);
}
