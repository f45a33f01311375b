/* A shared stream is followed in a real JetStream as long as it is wanted (broker/cluster/nats_tail.c): else it has no
 * consumer there, and the server sends its messages to nobody. And what is asked of it is answered. */
#include "nats_stage.h"
#include "nats_storing.h"

#include <nats/nats.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFER_MS 60000
#define JS_NAME "test-stream-orders=20and=20more"

/* One that reads nothing at first. */
static struct end *open_ready(struct nats_stage *stage, int index)
{
    struct end *end = stage_end(stage, index, DEFER_MS);
    end->reads_nothing = true;
    stage_open_stream(end, (uint32_t)stage->servers, UINT64_MAX, false);
    stage_wait(stage, end->state.is_there);
    return end;
}

/* Appends this many, each with its number as the payload, from `first` on, and waits until they are stored. */
static void append_numbers(struct end *end, uint64_t first, uint64_t count)
{
    uint64_t before = end->settled_count;
    stage_append_numbers(end, first, count);
    stage_wait(end->stage, end->settled_count == before + count);
}

/* What the tail has shown ends with those from `first` up to the one before `behind`, each where its number says. */
static bool has_shown(const struct end *end, uint64_t first, uint64_t behind)
{
    const struct shown_list *tail = &end->tail;
    return tail->count >= behind - first && tail->list[tail->count - 1].position == behind - 1;
}

static void check_shown(const struct end *end, uint64_t first, uint64_t behind)
{
    const struct shown *from = end->tail.list + end->tail.count - (behind - first);
    for (uint64_t i = first; i < behind; i++) {
        assert_int_equal(from[i - first].position, i);
        assert_int_equal(atoll(from[i - first].payload), i);
    }
}

struct outsider {
    natsConnection *connection;
    jsCtx *js;
};

static struct outsider outsider(struct nats_stage *stage, int server)
{
    struct outsider outsider;
    assert_int_equal(natsConnection_ConnectTo(&outsider.connection, stage->rigs[server].url), NATS_OK);
    assert_int_equal(natsConnection_JetStream(&outsider.js, outsider.connection, NULL), NATS_OK);
    return outsider;
}

static void outsider_leaves(struct outsider *outsider)
{
    jsCtx_Destroy(outsider->js);
    natsConnection_Destroy(outsider->connection);
}

/* -1: nobody said. leader: its number, or -1; NULL: never mind. */
static int64_t consumers_of(struct outsider *outsider, int *leader)
{
    jsStreamInfo *info = NULL;
    int64_t count = -1;
    if (leader != NULL) *leader = -1;
    if (js_GetStreamInfo(&info, outsider->js, JS_NAME, NULL, NULL) == NATS_OK) {
        count = info->State.Consumers;
        if (leader != NULL && info->Cluster != NULL && info->Cluster->Leader != NULL)
            *leader = info->Cluster->Leader[1] - '0';
    }
    jsStreamInfo_Destroy(info);
    return count;
}

static void test_nobody_follows(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_ready(stage, 0), *b = open_ready(stage, 1);
    struct outsider who = outsider(stage, 0);
    append_numbers(a, 1, 1000);
    stage_wait(stage, b->state.next == 1001); /* it is told all the same */
    assert_int_equal(consumers_of(&who, NULL), 0);
    assert_int_equal(a->tail.count + b->tail.count, 0);
    stage_follow(b, 501);
    append_numbers(a, 1001, 10);
    stage_wait(stage, has_shown(b, 501, 1011));
    check_shown(b, 501, 1011);
    assert_int_equal(b->tail.count, 510);
    assert_int_equal(a->tail.count, 0);
    assert_int_equal(consumers_of(&who, NULL), 1);
    outsider_leaves(&who);
}

static void test_no_more_and_again(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_ready(stage, 0);
    struct outsider who = outsider(stage, 0);
    stage_follow(a, 1);
    append_numbers(a, 1, 10);
    stage_wait(stage, has_shown(a, 1, 11));
    stage_follow(a, 0);
    stage_wait(stage, consumers_of(&who, NULL) == 0);
    append_numbers(a, 11, 100);
    stage_wait(stage, a->state.next == 111);
    assert_int_equal(a->tail.count, 10);
    stage_follow(a, 61);
    stage_wait(stage, has_shown(a, 61, 111));
    check_shown(a, 61, 111);
    append_numbers(a, 111, 10);
    stage_wait(stage, has_shown(a, 61, 121));
    check_shown(a, 61, 121);
    assert_false(a->tail_overlaps);
    outsider_leaves(&who);
}

/* Somebody goes, and another one comes: nothing is made anew, and nothing shown twice. */
static void test_again_at_once(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_ready(stage, 0);
    stage_follow(a, 1);
    append_numbers(a, 1, 10);
    stage_wait(stage, has_shown(a, 1, 11));
    for (int i = 0; i < 20; i++) {
        stage_follow(a, 0);
        append_numbers(a, 11 + (uint64_t)i, 1);
        stage_follow(a, 12 + (uint64_t)i); /* as it was settled, it is known, and read if need be */
    }
    append_numbers(a, 31, 5);
    stage_wait(stage, has_shown(a, 1, 36));
    check_shown(a, 1, 36);
    assert_int_equal(a->tail.count, 35);
}

/* What is asked for is of a stream that was deleted meanwhile: what comes is that of the one that is there. */
static void test_deleted_while_nobody_follows(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_ready(stage, 0);
    struct outsider who = outsider(stage, 0);
    append_numbers(a, 1, 50);
    uint64_t identity = a->state.identity;
    assert_int_equal(js_DeleteStream(who.js, JS_NAME, NULL, NULL), NATS_OK);
    stage_wait(stage, a->identities == 2);
    assert_int_equal(a->state.next, 1);
    a->engine->follow(a->engine, STREAM, identity, 51); /* as if it had not heard */
    append_numbers(a, 1001, 3);
    stage_wait(stage, a->tail.count == 3);
    assert_int_equal(a->tail.list[0].position, 1);
    stage_follow(a, 1);
    append_numbers(a, 1004, 1);
    stage_wait(stage, a->tail.count == 4);
    assert_false(a->tail_overlaps);
    outsider_leaves(&who);
}

/* The connection is lost in between, in which more comes. */
static void test_server_killed(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_ready(stage, 0), *b = open_ready(stage, 1);
    append_numbers(a, 1, 20);
    nats_rig_kill(&stage->rigs[0]);
    stage_wait(stage, !a->state.is_there && !b->state.is_there);
    stage_follow(b, 5);
    stage_start_server(stage, 0);
    append_numbers(a, 21, 20);
    stage_wait(stage, has_shown(b, 5, 41));
    check_shown(b, 5, 41);
    nats_rig_kill(&stage->rigs[0]);
    stage_wait(stage, !b->state.is_there);
    stage_follow(b, 0);
    stage_start_server(stage, 0);
    append_numbers(a, 41, 20);
    struct outsider who = outsider(stage, 0);
    stage_wait(stage, consumers_of(&who, NULL) == 0);
    outsider_leaves(&who);
}

/* Another server leads it: whoever comes then is shown what that one has, and what all have shown before is sure before
 * they cease. */
static void test_leader_killed_while_nobody_follows(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_ready(stage, 0), *b = open_ready(stage, 1);
    stage_wait(stage, a->state.current == 3);
    append_numbers(a, 1, 500);
    int leader = -1, other = 0;
    struct outsider who = outsider(stage, 0);
    stage_wait(stage, consumers_of(&who, &leader) == 0 && leader >= 0);
    outsider_leaves(&who);
    nats_rig_kill(&stage->rigs[leader]);
    append_numbers(a, 501, 500);
    stage_follow(b, 1);
    stage_wait(stage, has_shown(b, 1, 1001));
    check_shown(b, 1, 1001);
    stage_start_server(stage, leader);
    append_numbers(a, 1001, 10);
    stage_wait(stage, has_shown(b, 1, 1011));
    check_shown(b, 1, 1011);
    stage_follow(b, 0);
    if (other == leader) other = 1;
    who = outsider(stage, other);
    stage_wait(stage, consumers_of(&who, NULL) == 0);
    outsider_leaves(&who);
    assert_int_equal(b->identities, 1);
    assert_false(b->tail_overlaps);
}

/* The core asks while a question is under way, behind which the stream is changed: then it is asked once more. */
static void test_asked_while_it_is_changed(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_ready(stage, 0);
    struct nats_storing *storing = ((struct nats_engine *)(void *)a->engine)->storing;
    struct nats_stream *stream = NULL;
    for (bool is_asking = false; !is_asking;) {
        a->engine->ask_state(a->engine, STREAM, 1);
        pthread_mutex_lock(&storing->lock);
        stream = storing_stream(storing, 1);
        is_asking = stream->is_asking;
        if (is_asking) {
            stream->is_checked = false;
            stream->config.max_msgs = 1000;
            stream->wanted_mark = 2;
        }
        pthread_mutex_unlock(&storing->lock);
        stage_poll(stage);
    }
    stage_wait(stage, a->answered == 2);
}

#define each(test) cmocka_unit_test_setup_teardown(test, stage_open, stage_close)
#define three(test) cmocka_unit_test_setup_teardown(test, stage_open_cluster, stage_close)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        each(test_nobody_follows),
        each(test_no_more_and_again),
        each(test_again_at_once),
        each(test_deleted_while_nobody_follows),
        each(test_server_killed),
        each(test_asked_while_it_is_changed),
        three(test_leader_killed_while_nobody_follows),
    };
    signal(SIGPIPE, SIG_IGN);
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
