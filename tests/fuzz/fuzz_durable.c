/* Any bytes as what clients, time and the disk do to a broker that keeps streams and sessions: each action takes some
 * of them. After each, what the core counts of places in streams is compared with what is there; in the end everything
 * has to be gone. */
/* Hostile 29. */
#include <string.h>

#include "../unit/broker_stage.h"
#include "require.h"

/* The core's own data. */
#include "../../broker/core/model.h"

#define CLIENTS 4
#define SIDS 4
#define LEFT_MAX 600 /* bytes of an input that are played */

struct input {
    const uint8_t *p, *end;
};

static uint64_t next_pid[CLIENTS];

static unsigned take(struct input *in, unsigned below)
{
    return in->p < in->end ? *in->p++ % below : 0;
}

static char name_of(unsigned client)
{
    return (char)('a' + client);
}

/* ---- what is counted ---------------------------------------------------------------------------------------- */

static bool is_listed(const struct list *list, const struct list_node *node)
{
    for (const struct list_node *n = list->first; n != NULL; n = n->next)
        if (n == node) return true;
    return false;
}

static uint64_t check_reading(const struct reading *reading)
{
    uint32_t due = 0;
    uint64_t open = 0, before = 0;
    for (uint32_t i = 0; i < reading->count; i++) {
        const struct pending *pending = &reading->pending[reading->first + i];
        REQUIRE(pending->seq > before && pending->seq < reading->next, "pending positions are out of order");
        REQUIRE(pending->seq < reading->stream->stored, "something is pending that is not stored");
        bool is_due = pending->state == PENDING_DUE || pending->state == PENDING_DEAD;
        REQUIRE(!is_due || pending->seq >= reading->due_from, "something that is due is never looked at");
        bool is_somebodys = pending->state == PENDING_QUEUED || pending->state == PENDING_SENT;
        REQUIRE(is_somebodys == (pending->sub != NULL), "what is pending is nobody's, or what is done with somebody's");
        due += is_due;
        open += pending->state != PENDING_ACKED;
        before = pending->seq;
    }
    REQUIRE(due == reading->due_count, "%u are due, counted are %u", due, reading->due_count);
    REQUIRE(reading->next <= reading->stream->next, "a place is behind the end of its stream");
    REQUIRE(reading->waits_in == NULL || is_listed(reading->waits_in, &reading->in_waiting), "a wait is forgotten");
    return open;
}

static uint64_t unacked_of(const struct subscription *sub)
{
    const struct cursor *cursor = subscription_cursor(sub);
    uint64_t count = 0;
    for (uint32_t r = 0; cursor != NULL && r < cursor->readings_count; r++)
        for (uint32_t i = 0; i < cursor->readings[r].count; i++)
            count += cursor->readings[r].pending[cursor->readings[r].first + i].sub == sub;
    return count;
}

static void check_outlet(const struct subscription *sub)
{
    const struct outlet *outlet = sub->outlet;
    const struct cursor *cursor = subscription_cursor(sub);
    uint64_t msgs = 0, bytes = 0;
    for (uint32_t i = 0; i < outlet->count; i++) {
        const struct outlet_entry *entry = outlet_at(outlet, i);
        bool has_place = false;
        for (uint32_t r = 0; cursor != NULL && r < cursor->readings_count; r++)
            has_place |= entry->reading == &cursor->readings[r];
        REQUIRE(has_place || entry->kind == OUTLET_CAUGHT_UP, "what is about to be sent comes from nowhere");
        if (entry->kind != OUTLET_MSGS) continue;
        msgs += entry->count;
        bytes += entry->len;
    }
    REQUIRE(msgs == outlet->msgs && bytes == outlet->bytes, "an outlet holds other than it counts");
    REQUIRE(unacked_of(sub) == outlet->unacked, "a subscription has other than it counts");
}

static void check_session(const struct session *session)
{
    for (struct hash_node *n = hash_first(&session->subs); n != NULL; n = hash_next(&session->subs, n)) {
        const struct subscription *sub = container_of(n, struct subscription, in_subs);
        REQUIRE(sub->session == session && sub->box.session == session, "a subscription is another session's");
        if (sub->outlet != NULL) check_outlet(sub);
        bool can_send = sub->outlet != NULL && sub->outlet->count > 0 && subscription_credit_left(sub) > 0 &&
                        session->state == SESSION_READY && !session->blocked && sub->snapshot == NULL;
        REQUIRE(!can_send, "something can be sent from a stream, and is forgotten");
    }
}

static void check(const struct broker *broker)
{
    const struct cursor *last = NULL;
    for (uint32_t i = 0; i < broker->streams_count; i++) {
        const struct stream *stream = broker->streams[i];
        REQUIRE(stream->first <= stream->stored && stream->stored <= stream->next, "a stream's ends are crossed");
        for (struct list_node *n = stream->readings.first; n != NULL; n = n->next) {
            const struct cursor *cursor = container_of(n, struct reading, in_readings)->cursor;
            uint64_t open = 0;
            for (uint32_t r = 0; cursor != last && r < cursor->readings_count; r++)
                open += check_reading(&cursor->readings[r]);
            REQUIRE(cursor == last || open == cursor->open_count, "%llu are open, counted are %llu",
                    (unsigned long long)open, (unsigned long long)cursor->open_count);
            last = cursor;
        }
    }
    for (const struct session *session = broker->sessions; session != NULL; session = session->next)
        check_session(session);
}

/* ---- what happens ------------------------------------------------------------------------------------------- */

static void send(struct stage *stage, unsigned client, const struct mps_out *out)
{
    if (stage->links[client].session != NULL) stage_send(stage, name_of(client), out);
}

static void put_will(struct mps_out *out, bool retain, uint64_t delay_ms)
{
    mps_put_array(out, 4);
    mps_put_text(out, mps_text("d/will"));
    mps_put_bin(out, mps_text("w"));
    mps_put_uint(out, retain ? MPS_PUB_RETAIN : 0);
    mps_put_uint(out, delay_ms);
}

static void hello(struct stage *stage, unsigned client, struct input *in)
{
    static const char *const ids[] = {"x", "y", "z", NULL};
    static const uint32_t rx_max[] = {0, 0, 0, 30};
    uint8_t room[128];
    struct mps_out will = mps_out_open(room, sizeof room);
    unsigned who = take(in, 4), bits = take(in, 256);
    if (stage->links[client].session != NULL) stage_cut(stage, name_of(client));
    if (bits & 32) put_will(&will, bits & 64, bits & 128 ? 500 : 0);
    next_pid[client] = 1;
    stage_hello(stage, name_of(client),
                (struct mps_hello){.id = ids[who] ? mps_text(ids[who]) : (mps_view){NULL, 0},
                                   .sess_s = bits & 1 ? 60 : 0,
                                   .clean = bits & 2 && bits & 4,
                                   .boot = bits & 8 ? 1 + (bits >> 7) : 0,
                                   .rx_max = rx_max[bits >> 3 & 3],
                                   .will = bits & 32 ? mps_out_view(&will) : (mps_view){NULL, 0}});
}

static void sub(struct stage *stage, unsigned client, struct input *in)
{
    static const char *const patterns[] = {"d/#", "d/a", "+/a", "#", "t/#", "$dead/#"};
    static const enum mps_from_kind froms[] = {MPS_FROM_NEW,  MPS_FROM_ALL, MPS_FROM_LAST,  MPS_FROM_LAST_PER_TOPIC,
                                               MPS_FROM_TIME, MPS_FROM_AGO, MPS_FROM_ACKED, MPS_FROM_SEQ};
    unsigned sid = 1 + take(in, SIDS), pattern = take(in, 6), bits = take(in, 256), more = take(in, 256);
    uint64_t positions[] = {64, take(in, 32)};
    struct mps_sub_options o = {.policy = bits & 1 ? MPS_POLICY_SPILL : MPS_POLICY_DROP_OLD,
                                .ack = (enum mps_ack_mode)(bits >> 1 & 3) % 3,
                                .durable = bits & 8,
                                .given = MPS_SUB_POLICY | MPS_SUB_FROM | MPS_SUB_ACK | MPS_SUB_DURABLE};
    o.from =
        (struct mps_from){.kind = froms[more & 7], .number = positions[1] * 100, .positions = positions, .count = 1};
    if (o.from.kind == MPS_FROM_LAST) o.from.number = positions[1];
    if (bits & 16) {
        o.given |= MPS_SUB_INFLIGHT | MPS_SUB_ACK_MS;
        o.inflight = 1 + (more >> 3 & 3);
        o.ack_ms = 200;
    }
    if (bits & 32) {
        o.given |= MPS_SUB_MAX_TRIES;
        o.max_tries = 1 + (more >> 3 & 1);
    }
    if (bits & 64) {
        o.given |= MPS_SUB_GROUP;
        o.group = mps_text(more & 64 ? "g" : "h");
    }
    if (bits & 128) {
        o.given |= MPS_SUB_CREDIT;
        o.credit = more >> 5;
    }
    if (more & 32) {
        o.given |= MPS_SUB_FILTER;
        o.filter = mps_text("@level[1] == \"a\"");
    }
    if (stage->links[client].session != NULL) stage_sub(stage, name_of(client), sid, patterns[pattern], o);
}

static void ack(struct stage *stage, unsigned client, struct input *in)
{
    uint8_t room[64];
    struct mps_out out = mps_out_open(room, sizeof room);
    unsigned sid = 1 + take(in, SIDS), seq = take(in, 64), how = take(in, 16);
    struct mps_ack ack = {.sid = sid, .stream = 64, .seq = seq, .kind = how & 3, .delay_ms = how & 4 ? 300 : 0};
    mps_encode_ack(&out, &ack);
    send(stage, client, &out);
}

static void credit(struct stage *stage, unsigned client, struct input *in)
{
    uint8_t room[64];
    struct mps_out out = mps_out_open(room, sizeof room);
    unsigned sid = 1 + take(in, SIDS), total = take(in, 64);
    mps_encode_credit(&out, &(struct mps_credit){sid, total / 2, total & 1});
    send(stage, client, &out);
}

static void publish(struct stage *stage, unsigned client, struct input *in)
{
    static const char *const topics[] = {"d/a", "d/b", "d/c/d", "t/a"};
    static const char text[] = "a text that is longer than the other ones";
    uint8_t frame[256], props_room[32];
    struct mps_out out = mps_out_open(frame, sizeof frame), props = mps_out_open(props_room, sizeof props_room);
    unsigned topic = take(in, 4), bits = take(in, 256), count = 1 + (bits >> 6);
    unsigned level = bits & 3;
    if (bits & 4) {
        mps_put_map(&props, 1);
        mps_put_uint(&props, MPS_PROP_TTL_MS);
        mps_put_uint(&props, 250);
    }
    struct mps_msg msg = {.topic = mps_text(topics[topic]),
                          .props = mps_out_view(&props),
                          .payload = {(const uint8_t *)text, bits & 8    ? sizeof text - 1
                                                             : bits & 16 ? 0
                                                                         : 3}};
    if (!(bits & 4)) msg.props.ptr = NULL;
    mps_encode_pub(&out, &(struct mps_pub){level > 0 ? next_pid[client] : 0,
                                           level << MPS_PUB_LEVEL_SHIFT | (bits & 32 ? MPS_PUB_RETAIN : 0)});
    send(stage, client, &out);
    for (unsigned i = 0; i < count; i++) {
        out = mps_out_open(frame, sizeof frame);
        mps_encode_msg(&out, &msg);
        send(stage, client, &out);
        next_pid[client] += level > 0;
    }
}

static void act_on_disk(struct stage *stage, struct input *in)
{
    struct store *store = stage->gate.inner;
    switch (take(in, 8)) {
    case 0: memory_store_hold(store, true, false); break;
    case 1: memory_store_hold(store, false, true); break;
    case 2: memory_store_hold(store, true, true); break;
    case 3: memory_store_hold(store, false, false); break;
    case 4: memory_store_fail_commits(store, take(in, 2) ? STORE_FULL : STORE_FAILED, 1 + take(in, 3)); break;
    case 5: memory_store_fail_reads(store, 1); break;
    case 6: memory_disk_damage(stage->disk, 64, 1 + take(in, 32), false); break;
    case 7: memory_store_finish_read(store, take(in, 2)); break;
    }
    if (!memory_store_committing(store) || take(in, 2)) return;
    memory_store_finish_commit(store);
}

static void start(struct stage *stage, unsigned options)
{
    stage_start_stored(stage, "d/#");
    struct stream *stream = stage->broker->streams[0];
    if (options & 1) stream->max_msgs = 10;
    if (options & 2) stream->refuses = true;
    if (options & 4) stream->max_age_ms = 3000;
}

static void restart(struct stage *stage, struct input *in, unsigned options)
{
    unsigned how = take(in, 3);
    if (how == 0) stage_stop(stage);
    else stage_crash(stage, how == 1);
    start(stage, options);
}

static void forget_chunks(struct broker *broker)
{
    chunks_forget_below(broker->streams[0], UINT64_MAX);
}

static void act(struct stage *stage, struct input *in, unsigned options)
{
    static const uint64_t times_ms[] = {10, 60, 120, 250, 1100, 4000, 20000, 70000};
    unsigned action = take(in, 32), client = action % CLIENTS;
    bool is_there = stage->links[client].session != NULL;
    switch (action / CLIENTS) {
    case 0: hello(stage, client, in); break;
    case 1: sub(stage, client, in); break;
    case 2: ack(stage, client, in); break;
    case 3:
    case 4: publish(stage, client, in); break;
    case 5: credit(stage, client, in); break;
    case 6:
        if (client == 0 && is_there) stage_unsub(stage, 'a', 1 + take(in, SIDS));
        else if (client == 1 && is_there) stage_cut(stage, 'b');
        else if (client == 2 && is_there) stage_bye(stage, 'c', take(in, 2));
        else if (client == 3 && is_there) stage_end(stage, 'd');
        break;
    case 7:
        if (client == 0) stage_pass(stage, times_ms[take(in, 8)]);
        else if (client == 1) act_on_disk(stage, in);
        else if (client == 2 && take(in, 4) == 0) restart(stage, in, options);
        else if (client == 3) {
            unsigned who = take(in, CLIENTS), bytes = take(in, 64);
            if (bytes == 0) forget_chunks(stage->broker);
            else stage_room(stage, name_of(who), bytes > 40 ? STAGE_ROOM : bytes);
        }
        break;
    }
    stage_settle(stage);
    for (int i = 0; i < CLIENTS; i++) stage->links[i].in_len = 0; /* nobody looks at it */
    check(stage->broker);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    void *state;
    if (size < 2) return 0;
    struct input in = {data + 1, data + (size < LEFT_MAX ? size : LEFT_MAX)};
    memset(next_pid, 0, sizeof next_pid);
    if (stage_set_up(&state) != 0) abort();
    struct stage *stage = state;
    stage->limits.session_queue_bytes = 2000;
    stage->limits.queue_msgs_count = 8;
    stage->limits.closing_ms = 100;
    if (data[0] & 8) stage->limits.max_sessions_count = stage->limits.max_away_count = 5;
    start(stage, data[0]);
    while (in.p < in.end) act(stage, &in, data[0]);
    for (int i = 0; i < CLIENTS; i++)
        if (stage->links[i].session != NULL) stage_room(stage, name_of((unsigned)i), STAGE_ROOM);
    memory_store_hold(stage->gate.inner, false, false);
    while (memory_store_finish_read(stage->gate.inner, 0)) continue;
    memory_store_finish_commit(stage->gate.inner);
    stage_pass(stage, 200000);
    check(stage->broker);
    stage_tear_down(&state);
    return 0;
}
