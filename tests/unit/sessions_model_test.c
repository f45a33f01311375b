/* Clients that come and go at any moment, against the simplest model there is: whatever happens to connections, each
 * subscription of a session gets each message once, in order, or a gap that counts it, and a group's message goes to
 * one member at most. When the broker dies, what was queued is gone, and a reader of a stream misses nothing. Each run
 * is made of a seed's choices; on failure the seed is said. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker_stage.h"

#define RUNS 1500
#define STEPS 150
#define CLIENTS 4
#define TOPICS 4     /* the last one is the group's */
#define KEPT_TOPIC 2 /* this one is kept in a stream */
#define SIDS 3       /* those below the group's */
#define READER SIDS  /* reads the stream */
#define PIDS_MAX 4096
#define SESS_S 3600u

struct sub {
    bool is_there;
    uint32_t topic;
    uint64_t begin, next; /* numbers of messages of the topic: the first one that it gets, and the next one */
    bool is_unsure;       /* a frame was cut off, nobody knows of what: what comes next tells */
    bool may_repeat;      /* a reader whose place was perhaps not stored when the broker died */
};

struct client {
    char link; /* 0: none */
    bool has_session, was_away;
    uint32_t sid;              /* of the last FOR on this link; 0: none */
    struct sub subs[SIDS + 1]; /* by sid */
};

struct run {
    struct stage *stage;
    uint64_t seed, random;
    struct client clients[CLIENTS];
    uint64_t pids, acked;
    uint8_t topic_of[PIDS_MAX];
    uint64_t published[TOPICS], processed[TOPICS];
    bool delivered[PIDS_MAX]; /* of the group's topic, by number */
    bool is_over;             /* nothing waits any more */
    bool may_crash;
};

static const char *const names[TOPICS] = {"t/0", "t/1", "d/2", "t/3"};

static uint32_t below(struct run *run, uint32_t n)
{
    run->random = run->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(run->random >> 33) % n;
}

static bool chance(struct run *run, uint32_t percent)
{
    return below(run, 100) < percent;
}

#define CHECK(run, condition)                                                                     \
    do {                                                                                          \
        if (!(condition)) fail_msg("seed %llu: %s", (unsigned long long)(run)->seed, #condition); \
    } while (0)

/* ---- what comes --------------------------------------------------------------------------------------------- */

static void note_group_msg(struct run *run, uint64_t number)
{
    CHECK(run, number < PIDS_MAX && !run->delivered[number]);
    run->delivered[number] = true;
}

static void note_msg(struct run *run, struct client *client, mps_view frame)
{
    struct mps_msg msg;
    const char *what;
    char text[24];
    CHECK(run, mps_decode_msg(frame, &msg, &what) == MPS_OK);
    snprintf(text, sizeof text, "%.*s", (int)msg.payload.len, (const char *)msg.payload.ptr);
    uint64_t number = strtoull(text, NULL, 10);
    uint32_t topic = (uint32_t)(msg.topic.ptr[2] - '0');
    if (topic == TOPICS - 1) {
        note_group_msg(run, number);
        return;
    }
    CHECK(run, client->sid >= 1 && client->sid <= SIDS);
    struct sub *sub = &client->subs[client->sid];
    CHECK(run, sub->is_there && sub->topic == topic);
    bool skips = sub->is_unsure && number > sub->next, repeats = sub->may_repeat && number < sub->next;
    CHECK(run, number == sub->next || skips || repeats);
    sub->next = number + 1;
    sub->is_unsure = sub->may_repeat = false;
}

static void note_gap(struct run *run, struct client *client, mps_view frame)
{
    struct mps_gap gap;
    const char *what;
    CHECK(run, mps_decode_gap(frame, &gap, &what) == MPS_OK);
    CHECK(run, gap.stream == 0 && gap.has_count == (gap.reason != MPS_GAP_RESTARTED));
    CHECK(run, gap.reason != MPS_GAP_OFFLINE || client->was_away);
    if (gap.sid > SIDS) return; /* the group's */
    struct sub *sub = &client->subs[gap.sid];
    CHECK(run, sub->is_there && gap.sid != READER);
    if (!sub->is_unsure) sub->next += gap.count;
}

static void note_stat(struct run *run, struct client *client, mps_view frame)
{
    struct mps_stat stat;
    const char *what;
    CHECK(run, mps_decode_stat(frame, &stat, &what) == MPS_OK);
    const struct sub *sub = &client->subs[stat.sid];
    CHECK(run, stat.matched == stat.sent + stat.lost + stat.queued);
    if (stat.sid == READER) return;
    uint64_t matched = run->processed[sub->topic] + 1 - sub->begin;
    CHECK(run, !sub->is_there || stat.matched == matched || (stat.matched < matched && !run->is_over));
}

static void note_puback(struct run *run, mps_view frame)
{
    struct mps_puback puback;
    const char *what;
    CHECK(run, mps_decode_puback(frame, &puback, &what) == MPS_OK && puback.code <= MPS_NOBODY_OR_WILL);
    while (run->acked < puback.pid) run->processed[run->topic_of[++run->acked]]++;
}

static void hear(struct run *run, struct client *client)
{
    mps_view frame;
    struct mps_for terms;
    struct mps_welcome welcome;
    const char *what;
    for (int op; client->link != 0 && (op = stage_take(run->stage, client->link, &frame)) >= 0;) {
        switch (op) {
        case MPS_OP_MSG: note_msg(run, client, frame); break;
        case MPS_OP_GAP: note_gap(run, client, frame); break;
        case MPS_OP_STAT: note_stat(run, client, frame); break;
        case MPS_OP_FOR:
            CHECK(run, mps_decode_for(frame, &terms, &what) == MPS_OK);
            client->sid = terms.sid;
            break;
        case MPS_OP_WELCOME:
            CHECK(run, mps_decode_welcome(frame, &welcome, &what) == MPS_OK);
            CHECK(run, welcome.resumed == client->has_session);
            break;
        default: break;
        }
    }
}

static void hear_all(struct run *run)
{
    mps_view frame;
    for (int op; (op = stage_take(run->stage, 'p', &frame)) >= 0;)
        if (op == MPS_OP_PUBACK) note_puback(run, frame);
    for (int i = 0; i < CLIENTS; i++) hear(run, &run->clients[i]);
}

/* ---- what clients do ---------------------------------------------------------------------------------------- */

/* The last frame may have come in part: the broker counts it as sent. */
static void lose_link(struct run *run, struct client *client)
{
    const struct link *link = &run->stage->links[client->link - 'a'];
    bool is_msg = link->in_len >= 2 && link->in[0] == 0x94 && link->in[1] == MPS_OP_MSG;
    if (is_msg && client->sid >= 1 && client->sid <= SIDS) client->subs[client->sid].next++;
    for (uint32_t sid = 1; !is_msg && link->in_len > 0 && sid <= SIDS; sid++) client->subs[sid].is_unsure = true;
    client->link = 0;
    client->sid = 0;
    client->was_away = true;
}

static void forget_session(struct client *client)
{
    client->has_session = false;
    memset(client->subs, 0, sizeof client->subs);
}

static bool is_used(const struct run *run, char name)
{
    for (int i = 0; i < CLIENTS; i++)
        if (run->clients[i].link == name) return true;
    return false;
}

/* One that nobody has any more may still be closing: then it breaks. */
static char free_link(struct run *run)
{
    char name = (char)('a' + below(run, 10));
    while (is_used(run, name)) name = name == 'j' ? 'a' : (char)(name + 1);
    if (run->stage->links[name - 'a'].session != NULL) stage_cut(run->stage, name);
    return name;
}

static void come(struct run *run, uint32_t i)
{
    struct client *client = &run->clients[i];
    struct mps_hello hello = {.id = mps_text((const char *const[]){"c0", "c1", "c2", "c3"}[i]), .sess_s = SESS_S};
    if (chance(run, 5)) hello.sess_s = 0;
    if (chance(run, 5)) hello.clean = true;
    if (client->link != 0) lose_link(run, client); /* takeover: what its link took has been heard */
    if (!client->has_session || hello.sess_s == 0 || hello.clean) forget_session(client);
    client->link = free_link(run);
    stage_hello(run->stage, client->link, hello);
    hear(run, client);
    client->has_session = hello.sess_s > 0;
}

static void go(struct run *run, struct client *client)
{
    if (client->link == 0) return;
    char link = client->link;
    client->was_away = true;
    switch (below(run, 3)) {
    case 0: stage_cut(run->stage, link); break;
    case 1: stage_bye(run->stage, link, 0); break;
    case 2: stage_end(run->stage, link); break;
    }
    hear(run, client);
    if (run->stage->links[link - 'a'].session != NULL) { /* it is still being written */
        stage_room(run->stage, link, chance(run, 50) ? STAGE_ROOM : below(run, 60));
        hear(run, client);
        stage_cut(run->stage, link);
        hear(run, client);
    }
    lose_link(run, client);
    if (!client->has_session) forget_session(client);
}

static struct mps_sub_options options_of(struct run *run)
{
    static const enum mps_policy policies[] = {MPS_POLICY_DROP_OLD, MPS_POLICY_DROP_NEW, MPS_POLICY_LATEST,
                                               MPS_POLICY_BLOCK, MPS_POLICY_SPILL};
    return (struct mps_sub_options){.given = MPS_SUB_RETAINED | MPS_SUB_POLICY | MPS_SUB_MAX_MSGS | MPS_SUB_BLOCK_MS,
                                    .retained = 2,
                                    .policy = policies[below(run, 5)],
                                    .max_msgs = 1 + below(run, 8),
                                    .block_ms = 100};
}

static void subscribe(struct run *run, struct client *client)
{
    if (client->link == 0) return;
    uint32_t sid = 1 + below(run, SIDS), topic = sid == READER ? KEPT_TOPIC : below(run, TOPICS - 1);
    struct sub *sub = &client->subs[sid];
    struct mps_sub_options options = options_of(run);
    if (sub->is_there) topic = sub->topic;
    else *sub = (struct sub){.is_there = true, .topic = topic, .begin = run->processed[topic] + 1};
    if (topic == KEPT_TOPIC) options.policy = MPS_POLICY_DROP_OLD; /* `spill` would make any a reader */
    if (sid == READER) {
        sub->begin = 1;
        options.given |= MPS_SUB_FROM;
        options.from.kind = MPS_FROM_ALL;
    }
    if (sub->next == 0) sub->next = sub->begin;
    stage_sub(run->stage, client->link, sid, names[topic], options);
}

static void join(struct run *run, struct client *client)
{
    struct mps_sub_options options = {.given = MPS_SUB_RETAINED | MPS_SUB_GROUP | MPS_SUB_MAX_MSGS, .retained = 2};
    options.group = mps_text("g");
    options.max_msgs = 5;
    if (client->link != 0) stage_sub(run->stage, client->link, SIDS + 1, names[TOPICS - 1], options);
}

/* Only while nothing is left of what speaks of it. */
static void unsubscribe(struct run *run, struct client *client)
{
    uint32_t sid = 1 + below(run, SIDS + 1);
    if (client->link == 0) return;
    stage_room(run->stage, client->link, STAGE_ROOM);
    hear(run, client);
    stage_unsub(run->stage, client->link, sid);
    hear(run, client);
    if (sid <= SIDS) client->subs[sid] = (struct sub){0};
}

static void publish(struct run *run)
{
    uint32_t topic = below(run, TOPICS);
    for (uint32_t count = 1 + below(run, 6); count > 0 && run->pids + 1 < PIDS_MAX; count--) {
        char text[24];
        run->topic_of[++run->pids] = (uint8_t)topic;
        snprintf(text, sizeof text, "%llu", (unsigned long long)++run->published[topic]);
        stage_msg(run->stage, 'p', names[topic], text);
    }
}

static void ask(struct run *run, struct client *client)
{
    for (uint32_t sid = 1; client->link != 0 && sid <= SIDS; sid++)
        if (client->subs[sid].is_there) stage_stat(run->stage, client->link, sid);
}

static void set_room(struct run *run, struct client *client)
{
    if (client->link == 0) return;
    stage_room(run->stage, client->link, chance(run, 50) ? STAGE_ROOM : below(run, 60));
}

/* So long that whoever is away has no session any more. */
static void pass_long(struct run *run)
{
    stage_pass(run->stage, (SESS_S + 10) * UINT64_C(1000));
    for (int i = 0; i < CLIENTS; i++)
        if (run->clients[i].link == 0) forget_session(&run->clients[i]);
}

static void begin(struct run *run)
{
    stage_start_stored(run->stage, "d/#");
    stage_hello(run->stage, 'p', (struct mps_hello){.id = mps_text("p")});
    stage_pub(run->stage, 'p', run->pids + 1, 1);
}

/* The broker dies when all that was published has been taken. Sessions are there again, and what was queued is not. */
static void crash(struct run *run)
{
    for (int i = 0; i < 100 && run->acked < run->pids; i++) {
        stage_pass(run->stage, 1000);
        hear_all(run);
    }
    CHECK(run, run->acked == run->pids);
    stage_pass(run->stage, 100); /* what is stored lazily is stored */
    hear_all(run);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        struct client *client = &run->clients[i];
        if (client->link != 0) lose_link(run, client);
        if (!client->has_session) forget_session(client);
        for (uint32_t sid = 1; sid <= SIDS; sid++) {
            struct sub *sub = &client->subs[sid];
            sub->may_repeat = sid == READER;
            sub->is_unsure = sub->is_unsure || sid != READER;
            if (sid != READER) sub->begin = run->processed[sub->topic] + 1;
        }
    }
    stage_crash(run->stage, false);
    begin(run);
}

static void step(struct run *run)
{
    uint32_t i = below(run, CLIENTS);
    struct client *client = &run->clients[i];
    switch (below(run, 14)) {
    case 0:
    case 1: come(run, i); break;
    case 2: go(run, client); break;
    case 3:
    case 4: subscribe(run, client); break;
    case 5: join(run, client); break;
    case 6:
        if (chance(run, 30)) unsubscribe(run, client);
        break;
    case 7: set_room(run, client); break;
    case 8: stage_pass(run->stage, below(run, 300)); break;
    case 9:
        if (chance(run, 5)) pass_long(run);
        break;
    case 10:
        if (run->may_crash && chance(run, 10)) crash(run);
        else ask(run, client);
        break;
    case 11:
    case 12:
    case 13: publish(run); break;
    }
    hear_all(run);
}

static void bring_to_an_end(struct run *run)
{
    for (uint32_t i = 0; i < CLIENTS; i++) {
        if (run->clients[i].link == 0) come(run, i);
        stage_room(run->stage, run->clients[i].link, STAGE_ROOM);
    }
    stage_pass(run->stage, 60000);
    hear_all(run);
    CHECK(run, run->acked == run->pids);
    run->is_over = true;
    for (uint32_t i = 0; i < CLIENTS; i++) ask(run, &run->clients[i]);
    hear_all(run);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        for (uint32_t sid = 1; sid <= SIDS; sid++) {
            const struct sub *sub = &run->clients[i].subs[sid];
            if (sub->is_there && !sub->is_unsure) CHECK(run, sub->next == run->processed[sub->topic] + 1);
        }
    }
}

static void play(struct stage *stage, uint64_t seed)
{
    struct run *run = calloc(1, sizeof *run);
    assert_non_null(run);
    run->stage = stage;
    run->seed = seed;
    run->random = seed * UINT64_C(0x9e3779b97f4a7c15);
    run->may_crash = seed % 2 == 0;
    begin(run);
    for (int i = 0; i < STEPS; i++) step(run);
    bring_to_an_end(run);
    free(run);
}

static void test_each_message_comes_once_or_is_counted(void **state)
{
    const char *one = getenv("SEED"); /* to look into a failure */
    (void)state;
    for (uint64_t seed = one ? strtoull(one, NULL, 10) : 1; seed <= (one ? strtoull(one, NULL, 10) : RUNS); seed++) {
        void *stage;
        assert_int_equal(stage_set_up(&stage), 0);
        play(stage, seed);
        stage_tear_down(&stage);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_message_comes_once_or_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
