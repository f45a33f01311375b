#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "account.h"
#include "audit.h"
#include "cluster/records.h"
#include "cluster/shared.h"
#include "identity.h"
#include "pids.h"
#include "trace.h"

static unsigned ack_level(const struct session *session)
{
    return (session->terms.flags & MPS_PUB_LEVEL_MASK) >> MPS_PUB_LEVEL_SHIFT;
}

static bool use_up_pids(struct session *session, uint64_t first, uint32_t count)
{
    if (first > MPS_NUMBER_MAX - count) {
        session_bye(session, MPS_PID_ORDER, "the publish ids are used up, the limit is 2^53 - 1");
        return false;
    }
    session->terms.pid += count;
    session->next_pid = session->terms.pid;
    if (session->pids != NULL) pids_note_taken(session, first, count);
    return true;
}

/* Uses up the next publish ids, if these MSGs are acknowledged; else *first is 0. False: there are no more, BYE is
 * said. */
static bool take_pids(struct session *session, uint32_t count, uint64_t *first)
{
    *first = session->terms.pid;
    return *first == 0 || use_up_pids(session, *first, count);
}

/* What waits for the disk, or behind what does. */
static void check_window(struct session *session, bool waits)
{
    uint32_t window = session->broker->limits.pub_window_count;
    if ((waits || acks_are_waiting(session)) && acks_unanswered(session) > window) {
        broker_note_refusal(session->broker, REFUSED_WINDOW);
        session_byef(session, MPS_PUB_WINDOW, "more than %u publishes wait for their answer", window);
    }
}

static void refuse_one(struct session *session, uint64_t pid, mps_view topic, uint32_t code, const char *text)
{
    if (code == MPS_NOT_AUTHORISED) audit(session, EVENT_DENY, code, text);
    if (pid == 0) {
        reply_msg_err(session, code, topic, text);
        return;
    }
    acks_error(session, pid, code, text);
    check_window(session, false);
}

/* These are answered once their batch is stored. */
static void count_waiting(struct session *session, const struct ack_pending *acks)
{
    acks_count(session, acks);
    check_window(session, acks->batch > 0);
}

/* The next count messages came before, and were accepted: they are answered, when what they wait for is stored. Returns
 * how many of them it came to, at least one. */
static uint32_t answer_known(struct session *session, uint32_t count, uint64_t work_end)
{
    uint32_t taken = 0;
    while (taken < count && session->state == SESSION_READY) {
        if (taken > 0 && session->broker->work >= work_end) break;
        struct ack_pending acks = {.accepted_before = true};
        uint64_t pid = session->terms.pid;
        uint32_t part = count - taken;
        acks.batch = acks_batch_of(session, pid, &part);
        acks.count = part;
        acks.last_pid = pid + part - 1;
        session->terms.pid += part;
        session->next_pid = session->terms.pid;
        taken += part;
        count_waiting(session, &acks);
    }
    return taken;
}

static bool next_is_known(const struct session *session, uint32_t *count)
{
    return session->pids != NULL && pids_may_be_known(session) && pids_are_known(session, session->terms.pid, count);
}

void publish_refuse(struct session *session, mps_view topic, uint32_t code, const char *text)
{
    uint64_t pid;
    uint32_t one = 1;
    if (next_is_known(session, &one)) answer_known(session, 1, UINT64_MAX);
    else if (take_pids(session, 1, &pid)) refuse_one(session, pid, topic, code, text);
}

static void refuse_run(struct session *session, const struct publish *publish, uint32_t code, const char *text)
{
    uint64_t pid;
    uint32_t count = publish->run->count;
    if (publish->run->is_traced)
        trace_refused(session->broker, publish->run, (struct part){0, publish->run->len, count}, code, text);
    if (!take_pids(session, count, &pid)) return;
    for (uint32_t i = 0; i < count && session->state == SESSION_READY; i++)
        refuse_one(session, pid ? pid + i : 0, publish->topic, code, text);
}

static bool is_shared(const struct route *route)
{
    return route->stream != NULL && route->stream->is_shared;
}

/* The engine was given these just now: from here on they stand in the queue, so that it finds them there. */
static void count_shared(struct session *session, struct ack_pending *acks)
{
    if (ack_level(session) <= 1) {
        count_waiting(session, acks);
        return;
    }
    acks->batch = ACK_TOKEN | shared_append_token(session->broker);
    count_waiting(session, acks);
    acks_flush(session);
}

/* Messages of one topic that were taken, from first_pid on. last_seq: the position of the last one in the route's
 * stream. */
static void count_acks(struct session *session, const struct route *route, uint64_t first_pid, uint32_t count,
                       uint64_t matched, uint64_t dropped, uint64_t last_seq)
{
    struct ack_pending acks = {
        .count = count, .last_pid = first_pid + count - 1, .matched_least = matched, .dropped = dropped};
    if (ack_level(session) > 1) {
        acks.batch = session->broker->commit.gathering.number;
        acks.stream = route->stream;
        acks.seq = last_seq;
    }
    bool is_far = matched == 0 && relay_is_wanted(session->broker, route);
    if (is_far) { /* answered by themselves: nobody matched here, but somebody elsewhere may */
        acks_flush(session);
        acks.matched_least = MATCHED_FAR;
    }
    if (is_shared(route)) {
        count_shared(session, &acks);
    } else {
        if (route->stream != NULL) pids_note_stored(session);
        count_waiting(session, &acks);
    }
    if (is_far) acks_flush(session);
}

/* Frames of a run are kept, if their topic is. Returns the position of the last one, if it is known already. */
static uint64_t store(struct session *session, const struct route *route, struct run *run, struct part part)
{
    if (route->stream == NULL || is_shared(route)) return 0;
    uint64_t last_seq = stream_append(route->stream, run, part, ack_level(session) > 1);
    if (run->is_traced) trace_kept(route->stream, run, part, last_seq);
    return last_seq;
}

/* ---- judging ------------------------------------------------------------------------------------------------ */

/* Why nobody may publish to this topic, or retain a value there; NULL: everybody may. */
static const char *reserved_error(mps_view topic, bool retain)
{
    if (topic.ptr[0] != '$') return NULL;
    if (!inbox_is_inside(topic)) return "topics whose first level begins with '$' are reserved";
    return retain ? "an inbox keeps no retained value" : NULL;
}

/* Why the session may not publish here as it asks; NULL: it may. */
static const char *denied_error(const struct session *session, const struct publish *publish)
{
    if (publish->is_denied) return "it is not granted";
    bool retains = (session->terms.flags & MPS_PUB_RETAIN) != 0;
    if (retains && session->grant != NULL && !grant_has(session->grant, ACCESS_RETAIN))
        return "to retain a value needs the right 'retain'";
    return NULL;
}

/* Says why the level that is asked for is over the best that there is. */
static void say_ack_level(unsigned asked, mps_view topic, unsigned best, char *text, size_t text_cap)
{
    static const char *const names[] = {"none", "routed", "stored", "replicated"};
    snprintf(text, text_cap, "%s '%s', so what is published there can be acknowledged as %s, not as %s",
             best == 1 ? "no durable stream keeps" : "there is one copy of the stream that keeps", printable(topic),
             names[best], names[asked]);
}

static unsigned best_level(const struct route *route)
{
    if (route->stream == NULL) return 1;
    return route->stream->is_shared && route->stream->replicas > 1 ? 3 : 2;
}

/* 0, or the code for why no MSG of this run can be published, with a sentence. */
static uint32_t judge(struct session *session, const struct publish *publish, const struct route **route, char *text,
                      size_t text_cap)
{
    struct broker *broker = session->broker;
    const char *wrong;
    if (publish->props.ptr != NULL && mps_props_check(publish->props, &wrong) != MPS_OK) {
        snprintf(text, text_cap, "bad properties: %s", wrong);
        return MPS_BAD_PROPS;
    }
    wrong = publish->route ? NULL : mps_topic_error(publish->topic);
    if (wrong != NULL) {
        snprintf(text, text_cap, "bad topic '%s': %s", printable(publish->topic), wrong);
        return MPS_BAD_TOPIC;
    }
    *route = publish->route ? publish->route : router_route_once(broker, publish->topic);
    wrong = reserved_error(publish->topic, session->terms.flags & MPS_PUB_RETAIN);
    if (wrong == NULL) wrong = denied_error(session, publish);
    if (wrong != NULL) {
        snprintf(text, text_cap, "may not publish to '%s': %s", printable(publish->topic), wrong);
        return MPS_NOT_AUTHORISED;
    }
    if (ack_level(session) > 1 && ack_level(session) > best_level(*route)) {
        unsigned best = best_level(*route);
        say_ack_level(ack_level(session), publish->topic, best, text, text_cap);
        return MPS_ACK_LEVEL;
    }
    return 0;
}

void publish_note_times(struct broker *broker, struct run *run, mps_view props)
{
    run->arrived_ms = (uint32_t)broker->now_ms;
    if (props.ptr == NULL) return;
    mps_view raw = mps_props_find(props, MPS_PROP_TTL_MS);
    if (raw.ptr == NULL) return;
    struct mps_reader r = mps_reader_open(raw);
    uint64_t ttl_ms = mps_read_uint(&r, MPS_NUMBER_MAX, "ttl");
    run->expires_ms = broker->now_ms + (ttl_ms > 0 ? ttl_ms : 1); /* 0: within this turn or never */
}

/* ---- routing ------------------------------------------------------------------------------------------------ */

/* Says why there is no room for one more value. */
static void note_no_room(struct broker *broker, bool too_many, char text[RETAINED_TEXT_MAX])
{
    const struct broker_limits *limits = &broker->limits;
    broker_note_refusal(broker, too_many ? REFUSED_RETAINED : REFUSED_RETAINED_BYTES);
    if (too_many)
        snprintf(text, RETAINED_TEXT_MAX, "there are %u retained values, the limit is %u (max_retained)",
                 broker->retained.topics.count, limits->max_retained_count);
    else
        snprintf(text, RETAINED_TEXT_MAX,
                 "the memory for retained values is used up: %llu of %llu bytes are taken (retained_bytes)",
                 (unsigned long long)broker->retained.bytes, (unsigned long long)limits->retained_bytes);
}

struct retained_value *retained_take(struct broker *broker, const struct route *route, mps_view topic, mps_view frame,
                                     uint64_t expires_ms, struct origin *origin, uint64_t revision,
                                     char text[RETAINED_TEXT_MAX])
{
    struct retained *retained = &broker->retained;
    bool too_many = retained->topics.count >= broker->limits.max_retained_count && !retained_has(retained, topic);
    bool is_kept = route->stream != NULL && !is_shared(route);
    struct kept *kept = NULL;
    if (!too_many && is_kept && (kept = retained_record(broker, topic, frame, expires_ms, origin, revision)) == NULL) {
        snprintf(text, RETAINED_TEXT_MAX, "there is no memory to keep the value of %u bytes", frame.len);
        return NULL;
    }
    struct retained_value *value = NULL;
    if (!too_many) value = retained_set(retained, topic, frame, expires_ms, broker->limits.retained_bytes);
    if (value == NULL) {
        free(kept);
        note_no_room(broker, too_many, text);
        return NULL;
    }
    origin_unref(value->origin);
    value->origin = origin_ref(origin);
    value->revision = revision;
    value->is_told = revision > 0;
    if (kept != NULL) keep_prepared(broker, kept);
    else if (value->is_kept) keep_remove(broker, RECORD_RETAINED, topic); /* the topic was durable once */
    value->is_kept = is_kept;
    return value;
}

/* Keeps the message as its topic's value, or clears it. False: there is no room, and text says so. */
static bool retain(struct broker *broker, const struct route *route, mps_view frame, uint64_t expires_ms,
                   struct origin *origin, char text[RETAINED_TEXT_MAX])
{
    struct mps_msg msg;
    const char *what;
    mps_decode_msg(frame, &msg, &what); /* accepted when it came */
    if (msg.payload.len == 0) {
        if (broker->cluster != NULL) shared_retained_cleared(broker->cluster, msg.topic);
        retained_forget(broker, msg.topic);
        return true;
    }
    struct retained_value *value = retained_take(broker, route, msg.topic, frame, expires_ms, origin, 0, text);
    if (value != NULL && broker->cluster != NULL) shared_retained_set(broker->cluster, value);
    return value != NULL;
}

/* Whether the message would be kept so: what is given to the engine can't be taken back. */
static bool may_retain(struct broker *broker, mps_view frame, char text[RETAINED_TEXT_MAX])
{
    struct mps_msg msg;
    const char *what;
    mps_decode_msg(frame, &msg, &what); /* accepted when it came */
    const struct retained *retained = &broker->retained;
    if (msg.payload.len == 0) return true;
    bool too_many = retained->topics.count >= broker->limits.max_retained_count && !retained_has(retained, msg.topic);
    if (!too_many && retained_fits(retained, msg.topic, frame.len, broker->limits.retained_bytes)) return true;
    note_no_room(broker, too_many, text);
    return false;
}

/* Gives the engine what all brokers are to have. last: the frame that is retained, if that is asked for. Returns 0, or
 * the code for why it isn't taken, with a sentence; then nothing of it is. */
static uint32_t share(struct session *session, const struct route *route, struct run *run, struct part part,
                      mps_view last, char text[STORE_TEXT_MAX])
{
    char no_room[RETAINED_TEXT_MAX];
    if ((session->terms.flags & MPS_PUB_RETAIN) && !may_retain(session->broker, last, no_room)) {
        snprintf(text, STORE_TEXT_MAX, "%s", no_room);
        return MPS_QUOTA;
    }
    return shared_append(route->stream, session, run, part, text) ? 0 : MPS_ACK_LEVEL;
}

static const char no_memory[] = "there is no memory for stream '%s' to take a message of up to %u bytes";

static void publish_plain(struct session *session, const struct publish *publish, const struct route *route)
{
    struct broker *broker = session->broker;
    struct run *run = publish->run;
    uint64_t pid;
    char text[400];
    uint64_t matched = route->count + route->readers;
    if ((session->terms.flags & MPS_PUB_MUST_ROUTE) && matched == 0 && !relay_is_wanted(broker, route)) {
        snprintf(text, sizeof text, "nobody is subscribed to '%s'", printable(publish->topic));
        refuse_run(session, publish, MPS_NOBODY, text);
        return;
    }
    mps_view last = {run->bytes + run->last_off, run->len - run->last_off};
    if (route->stream != NULL && !stream_reserve(route->stream, run->len, run->longest)) {
        snprintf(text, sizeof text, no_memory, route->stream->name, run->longest);
        refuse_run(session, publish, MPS_QUOTA, text);
        return;
    }
    struct part whole = {0, run->len, run->count};
    uint32_t code = is_shared(route) ? share(session, route, run, whole, last, text) : 0;
    if (code != 0) {
        refuse_run(session, publish, code, text);
        return;
    }
    if ((session->terms.flags & MPS_PUB_RETAIN) &&
        !retain(broker, route, last, run->expires_ms, session->origin, text) && !is_shared(route)) {
        refuse_run(session, publish, MPS_QUOTA, text);
        return;
    }
    if (!take_pids(session, run->count, &pid)) return;
    broker->work += route->count;
    uint64_t last_seq = store(session, route, run, whole);
    if (route->wanted_by != 0) relay_run(broker, route, run, whole);
    uint64_t dropped = fanout_run(route, run);
    if (pid > 0) count_acks(session, route, pid, run->count, matched, dropped, last_seq);
}

/* Mailboxes of two routes that are compared in the time of one step of broker.work. */
#define COMPARED_A_STEP 128u

static bool same_boxes(const struct route *a, const struct route *b)
{
    return a->count == b->count && (a->count == 0 || memcmp(a->boxes, b->boxes, a->count * sizeof a->boxes[0]) == 0);
}

bool publish_joins(const struct session *session, const struct publish *publish, const struct route *route)
{
    const struct route *last = publish->route;
    uint32_t told = MPS_PUB_RETAIN | MPS_PUB_MUST_ROUTE | MPS_PUB_EACH; /* of each topic, of each message */
    if (last == NULL || publish->is_denied || (session->terms.flags & told) || publish->props.ptr != NULL ||
        last->stream != route->stream)
        return false;
    session->broker->work += route->count / COMPARED_A_STEP;
    if (last->wanted_by != route->wanted_by || (route->wanted_by & WANTED_BY_GROUPS)) return false;
    return last->is_plain && route->is_plain && last->readers == route->readers && !last->has_latest &&
           !route->has_latest && same_boxes(last, route);
}

static uint64_t accepted_count(const struct delivery *delivery)
{
    return delivery->route->count > 0 ? delivery->route->boxes[0]->broker->router.accepted_count : 0;
}

/* The messages that are chosen can't be taken after all. */
static void refuse_stretch(struct session *session, struct delivery *delivery, uint32_t code, const char *text)
{
    struct part part = delivery->stretch;
    uint64_t pid;
    delivery->stretch = (struct part){0};
    if (delivery->run->is_traced) trace_refused(session->broker, delivery->run, part, code, text);
    for (uint32_t i = 0; i < part.count && session->state == SESSION_READY && take_pids(session, 1, &pid); i++)
        refuse_one(session, pid, delivery->topic, code, text);
}

/* Of one whose value is retained there is but this message. False: it is refused. */
static bool share_stretch(struct session *session, struct delivery *delivery)
{
    char text[STORE_TEXT_MAX];
    struct part part = delivery->stretch;
    mps_view frame = {delivery->run->bytes + part.off, part.len};
    uint32_t code = share(session, delivery->route, delivery->run, part, frame, text);
    if (code != 0) refuse_stretch(session, delivery, code, text);
    else if (session->terms.flags & MPS_PUB_RETAIN)
        retain(session->broker, delivery->route, frame, delivery->run->expires_ms, session->origin, text);
    return code == 0;
}

/* Queues the messages that are chosen, and answers them. False: the session ends, and with its subscriptions the route
 * may have gone. */
static bool publish_stretch(struct session *session, struct delivery *delivery)
{
    uint32_t count = delivery->stretch.count;
    uint64_t pid;
    if (count == 0) return true;
    if (is_shared(delivery->route) && !share_stretch(session, delivery)) return session->state == SESSION_READY;
    if (!take_pids(session, count, &pid)) return false;
    const struct route *route = delivery->route;
    uint64_t matched = accepted_count(delivery) + route->readers;
    uint64_t last_seq = store(session, route, delivery->run, delivery->stretch);
    if (route->wanted_by != 0) relay_run(session->broker, route, delivery->run, delivery->stretch);
    uint64_t dropped = fanout_push(delivery);
    if (pid > 0) count_acks(session, route, pid, count, matched, dropped, last_seq);
    return session->state == SESSION_READY;
}

/* 0, or the code for why this message can't be taken although its run can, with a sentence. */
static uint32_t judge_frame(struct session *session, const struct delivery *delivery, mps_view frame, char *text,
                            size_t text_cap)
{
    struct broker *broker = session->broker;
    uint32_t flags = session->terms.flags;
    bool nobody = delivery->route->count == 0 || broker->router.chosen_count == 0;
    if ((flags & MPS_PUB_MUST_ROUTE) && nobody && delivery->route->readers == 0 &&
        !relay_is_wanted(broker, delivery->route)) {
        snprintf(text, text_cap, "nobody is subscribed to '%s' for this message", printable(delivery->topic));
        return MPS_NOBODY;
    }
    struct stream *stream = delivery->route->stream;
    if (!stream_takes(stream, delivery->stretch.count + 1, delivery->stretch.len + frame.len)) {
        bool msgs = !stream_takes(stream, delivery->stretch.count + 1, 0);
        snprintf(text, text_cap, "stream '%s' is full: it has reached its limit of %llu %s", stream->name,
                 (unsigned long long)(msgs ? stream->max_msgs : stream->max_bytes), msgs ? "messages" : "bytes");
        return MPS_STREAM_FULL;
    }
    if (stream != NULL && !stream_reserve(stream, delivery->stretch.len + frame.len, frame.len)) {
        snprintf(text, text_cap, no_memory, stream->name, frame.len);
        return MPS_QUOTA;
    }
    if (!(flags & MPS_PUB_RETAIN) || is_shared(delivery->route)) return 0;
    char no_room[RETAINED_TEXT_MAX];
    if (retain(broker, delivery->route, frame, delivery->run->expires_ms, session->origin, no_room)) return 0;
    snprintf(text, text_cap, "%s", no_room);
    return MPS_QUOTA;
}

/* To those who look at each message. Returns how many were taken: the next one has to wait. */
static uint32_t publish_each(struct session *session, const struct publish *publish, const struct route *route,
                             uint64_t work_end)
{
    struct broker *broker = session->broker;
    struct run *run = publish->run;
    struct delivery delivery = {
        .route = route, .run = run, .topic = publish->topic, .props = publish->props, .from = session};
    bool by_itself = is_shared(route) && (session->terms.flags & MPS_PUB_RETAIN);
    uint32_t taken = 0;
    char text[400];
    for (uint32_t at = 0, end, one; at < run->len && session->state == SESSION_READY; at = end, taken++) {
        if (taken > 0 && broker->work >= work_end) break;
        end = run_frame_end(run, at, at, &one);
        mps_view frame = {run->bytes + at, end - at};
        broker->work += route->count;
        enum fanout_result result = fanout_choose(&delivery, frame);
        if (result == FANOUT_FULL) {
            if (!publish_stretch(session, &delivery)) return run->count;
            result = fanout_choose(&delivery, frame);
        }
        if (result == FANOUT_HELD) break;
        uint32_t code = judge_frame(session, &delivery, frame, text, sizeof text);
        if ((code != 0 || !fanout_continues(&delivery)) && !publish_stretch(session, &delivery)) return run->count;
        if (code != 0 && run->is_traced) trace_refused(broker, run, (struct part){at, frame.len, 1}, code, text);
        if (code != 0) publish_refuse(session, publish->topic, code, text);
        else fanout_add(&delivery, frame);
        if (by_itself && !publish_stretch(session, &delivery)) return run->count;
    }
    publish_stretch(session, &delivery);
    return session->state == SESSION_READY ? taken : run->count;
}

/* Too much waits for the disk: the run has to wait, too. */
static bool waits_for_store(struct session *session, const struct route *route, const struct run *run)
{
    struct broker *broker = session->broker;
    if (route->stream == NULL || is_shared(route) || !commit_is_full(broker)) return false;
    if (session->held_since_ms == UINT64_MAX) session->held_since_ms = broker->now_ms;
    hold_begin(session, &broker->store_box, run->longest, 0, UINT64_MAX - 1);
    return true;
}

/* Requests to the broker itself: nobody else gets them. */
static void publish_requests(struct session *session, const struct publish *publish)
{
    static const struct route nowhere;
    struct run *run = publish->run;
    char text[400];
    const char *bad;
    uint64_t pid;
    if (publish->props.ptr != NULL && mps_props_check(publish->props, &bad) != MPS_OK) {
        snprintf(text, sizeof text, "bad properties: %s", bad);
        refuse_run(session, publish, MPS_BAD_PROPS, text);
        return;
    }
    for (uint32_t at = 0, end, one; at < run->len && session->state == SESSION_READY; at = end) {
        end = run_frame_end(run, at, at, &one);
        const char *wrong = ack_level(session) > 1 ? "a request is not stored"
                                                   : operator_request(session, (mps_view){run->bytes + at, end - at});
        snprintf(text, sizeof text, "may not ask '%s': %s", printable(publish->topic), wrong ? wrong : "");
        if (wrong != NULL) publish_refuse(session, publish->topic, MPS_NOT_AUTHORISED, text);
        else if (take_pids(session, 1, &pid) && pid > 0) count_acks(session, &nowhere, pid, 1, 1, 0, 0);
    }
}

static inline void count_in(struct session *session, struct run *run, uint32_t taken)
{
    struct broker *broker = session->broker;
    session->messages_in += taken;
    broker->figures.messages_in += taken;
    broker->figures.bytes_in += taken == run->count ? run->len : run_skip(run, 0, taken);
    if (broker->tally != NULL) tally_count(broker->tally, run, taken);
}

static uint32_t publish_any(struct session *session, const struct publish *publish, uint64_t work_end)
{
    struct broker *broker = session->broker;
    struct run *run = publish->run;
    if (publish->route == NULL && operator_is_request(publish->topic)) {
        publish_requests(session, publish);
        return run->count;
    }
    const struct route *route;
    char text[400];
    uint32_t taken = run->count;
    broker->work += (uint64_t)publish->props.len * publish->props.len / 64; /* its keys are compared with each other */
    uint32_t code = judge(session, publish, &route, text, sizeof text);
    publish_note_times(broker, run, code == 0 ? publish->props : (mps_view){NULL, 0});
    if (code == 0 && waits_for_store(session, route, run)) return 0;
    if (code != 0 || route->is_plain) session->held_since_ms = UINT64_MAX; /* whatever it waited for is no more */
    if (code != 0) refuse_run(session, publish, code, text);
    else if (route->is_plain && stream_takes(route->stream, run->count, run->len))
        publish_plain(session, publish, route);
    else taken = publish_each(session, publish, route, work_end);
    count_in(session, run, taken);
    return taken;
}

/* What nearly all runs are: nobody looks at single messages, they stay at this broker, and nothing is kept of them or
 * asked for but an answer. */
static bool is_usual(const struct session *session, const struct publish *publish)
{
    const struct route *route = publish->route;
    uint32_t asks = MPS_PUB_RETAIN | MPS_PUB_MUST_ROUTE;
    return route != NULL && route->is_usual && publish->props.ptr == NULL && !publish->is_denied &&
           !(session->terms.flags & asks) && ack_level(session) <= 1;
}

/* publish_any() of one of those: nothing is left of it to be judged, and it costs 80 instead of 140 instructions. */
static uint32_t publish_usual(struct session *session, const struct publish *publish)
{
    struct broker *broker = session->broker;
    const struct route *route = publish->route;
    struct run *run = publish->run;
    uint64_t pid;
    run->arrived_ms = (uint32_t)broker->now_ms;
    session->held_since_ms = UINT64_MAX;
    count_in(session, run, run->count);
    if (!take_pids(session, run->count, &pid)) return run->count;
    broker->work += route->count;
    uint64_t dropped = fanout_run(route, run);
    if (pid == 0) return run->count;
    acks_count(session, &(struct ack_pending){.count = run->count,
                                              .last_pid = pid + run->count - 1,
                                              .matched_least = route->count,
                                              .dropped = dropped});
    return run->count;
}

/* One message of somebody who may publish only so much in a second. */
static uint32_t publish_metered(struct session *session, const struct publish *publish, uint64_t work_end)
{
    char text[200];
    switch (account_judge(session, publish->run, text, sizeof text)) {
    case ACCOUNT_TAKE: break;
    case ACCOUNT_WAIT: return 0;
    case ACCOUNT_REFUSE: refuse_run(session, publish, MPS_QUOTA, text); return publish->run->count;
    }
    return publish_any(session, publish, work_end);
}

static uint32_t publish_untraced(struct session *session, const struct publish *publish, uint64_t work_end)
{
    if (session->is_metered) return publish_metered(session, publish, work_end);
    return is_usual(session, publish) ? publish_usual(session, publish) : publish_any(session, publish, work_end);
}

/* While somebody traces: nothing else becomes of any message. */
TRACE_COLD static uint32_t publish_traced(struct session *session, const struct publish *publish, uint64_t work_end)
{
    struct run *run = publish->run;
    trace_came(session, publish);
    uint32_t taken = publish_untraced(session, publish, work_end);
    if (run->is_traced)
        trace_taken(session->broker, session, run, taken == run->count ? run->len : run_skip(run, 0, taken));
    return taken;
}

static uint32_t publish_new(struct session *session, const struct publish *publish, uint64_t work_end)
{
    if (session->broker->tracing != NULL) return publish_traced(session, publish, work_end);
    return publish_untraced(session, publish, work_end);
}

/* Some of a run's messages. */
static uint32_t publish_part(struct session *session, const struct publish *publish, uint32_t from, uint32_t count,
                             uint64_t work_end)
{
    struct run_pool *runs = &session->broker->runs;
    struct run *run = publish->run;
    uint32_t off = run_skip(run, 0, from), last = run_skip(run, off, count - 1);
    uint32_t one, end = run_frame_end(run, last, last, &one);
    struct publish part = {.is_denied = publish->is_denied,
                           .is_joined = publish->is_joined,
                           .run = run_slice(runs, run, off, end - off, count, last),
                           .route = publish->route};
    struct mps_msg msg;
    const char *what;
    mps_decode_msg((mps_view){run->bytes + off, run_skip(run, off, 1) - off}, &msg, &what); /* accepted when it came */
    part.topic = msg.topic;
    part.props = msg.props;
    uint32_t taken = publish_new(session, &part, work_end);
    run_unref(runs, part.run);
    return taken;
}

/* To publish it would perhaps be to publish it twice. Returns how many of them it came to. */
static uint32_t refuse_unsure(struct session *session, const struct publish *publish, uint32_t count)
{
    uint64_t pid;
    uint32_t taken = 0;
    for (; taken < count && session->state == SESSION_READY && take_pids(session, 1, &pid); taken++)
        refuse_one(session, pid, publish->topic, MPS_QUOTA,
                   "whether this was published before is not known any more: too many others were refused since");
    return taken;
}

/* A client that is back sends what it does not know to be settled: what was accepted is not published again. */
static uint32_t publish_again(struct session *session, const struct publish *publish, uint64_t work_end)
{
    uint32_t taken = 0, all = publish->run->count;
    while (taken < all && session->state == SESSION_READY) {
        uint32_t count = all - taken;
        if (taken > 0 && session->broker->work >= work_end) break;
        if (next_is_known(session, &count)) {
            taken += answer_known(session, count, work_end);
            continue;
        }
        if (pids_are_unsure(session, session->terms.pid, &count)) {
            taken += refuse_unsure(session, publish, count);
            continue;
        }
        uint32_t part = publish_part(session, publish, taken, count, work_end);
        taken += part;
        if (part < count) break;
    }
    return session->state == SESSION_READY ? taken : all;
}

/* What is given to the engine at once is answered at once, when the last message of it is settled. With long runs who
 * waits for answers would send the next one only then, and nothing would be under way meanwhile. */
#define SHARED_PIECE 256u

static uint32_t publish_pieces(struct session *session, const struct publish *publish, uint64_t work_end)
{
    uint32_t taken = 0, all = publish->run->count;
    while (taken < all && session->state == SESSION_READY) {
        uint32_t count = all - taken < SHARED_PIECE ? all - taken : SHARED_PIECE;
        if (taken > 0 && session->broker->work >= work_end) break;
        uint32_t part = publish_part(session, publish, taken, count, work_end);
        taken += part;
        if (part < count) break;
    }
    return session->state == SESSION_READY ? taken : all;
}

uint32_t publish_run(struct session *session, const struct publish *publish, uint64_t work_end)
{
    if (session->pids != NULL && pids_may_be_known(session)) return publish_again(session, publish, work_end);
    if (publish->run->count > SHARED_PIECE && publish->route != NULL && is_shared(publish->route))
        return publish_pieces(session, publish, work_end);
    return publish_new(session, publish, work_end);
}

/* Nobody waits for an answer to it, who could be told. why: a clause. */
static void note_unstored(struct stream *stream, mps_view topic, const char *why)
{
    char name[128];
    stream->unstored++;
    snprintf(name, sizeof name, "%s", printable(mps_text(stream->name)));
    log_say(stream->broker, EVENT_MESSAGE_UNSTORED,
            LOG_FIELDS(log_value("stream", mps_text(stream->name)), log_value("topic", topic)),
            "a dead letter or will to '%s' is not stored: stream '%s' %s", printable(topic), name, why);
}

static void share_own(struct stream *stream, struct run *run, struct part part, mps_view topic)
{
    char why[STORE_TEXT_MAX], clause[STORE_TEXT_MAX + 30];
    if (shared_append(stream, NULL, run, part, why)) return;
    snprintf(clause, sizeof clause, "does not take it: %s", why);
    note_unstored(stream, topic, clause);
}

void publish_own(struct broker *broker, struct run *take_run, bool retain_it, struct origin *origin)
{
    mps_view frame = {take_run->bytes, take_run->len};
    struct mps_msg msg;
    const char *what;
    mps_decode_msg(frame, &msg, &what);
    publish_note_times(broker, take_run, msg.props);
    struct delivery delivery = {
        .route = router_route_once(broker, msg.topic), .run = take_run, .topic = msg.topic, .props = msg.props};
    struct stream *stream = delivery.route->stream;
    if (broker->tracing != NULL) trace_came_from_broker(broker, take_run, origin, NULL, retain_it);
    char no_room[RETAINED_TEXT_MAX]; /* there is nobody to be told */
    if (retain_it) retain(broker, delivery.route, frame, take_run->expires_ms, origin, no_room);
    struct part whole = {0, frame.len, 1};
    if (stream != NULL && stream->is_shared) {
        share_own(stream, take_run, whole, msg.topic);
    } else if (stream != NULL && stream_takes(stream, 1, frame.len)) {
        uint64_t seq = stream_append(stream, take_run, whole, false);
        if (take_run->is_traced) trace_kept(stream, take_run, whole, seq);
    } else if (stream != NULL) {
        note_unstored(stream, msg.topic, "is full");
    }
    broker->work += 1 + delivery.route->count;
    if (broker->cluster != NULL) broker->cluster->own_published += msg.topic.ptr[0] != '$';
    if (delivery.route->wanted_by != 0) relay_run(broker, delivery.route, take_run, whole);
    fanout_choose(&delivery, frame);
    fanout_add(&delivery, frame);
    fanout_push(&delivery);
    if (take_run->is_traced) trace_taken(broker, NULL, take_run, take_run->len);
    run_unref(&broker->runs, take_run);
}
