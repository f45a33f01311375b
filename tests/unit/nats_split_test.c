/* A shared stream in a real JetStream of several servers: what is read comes from the one that leads it, wherever
 * JetStream puts consumers (broker/cluster/nats_tail.c, nats_read.c); and one that says that it has the stream alone,
 * beside those that have it together, is not believed (nats_streams.c). */
#include "nats_json.h"
#include "nats_stage.h"
#include "nats_storing.h"

#include <nats/nats.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFER_MS 60000
#define JS_NAME "test-stream-orders=20and=20more"
#define ALONE "zebra" /* the name of the server that has the stream alone, as it says */

static struct end *open_ready(struct nats_stage *stage, int index)
{
    struct end *end = stage_end(stage, index, DEFER_MS);
    stage_open_stream(end, (uint32_t)stage->servers, UINT64_MAX, false);
    stage_wait(stage, end->state.is_there);
    return end;
}

static void append_numbers(struct end *end, uint64_t first, uint64_t count)
{
    uint64_t before = end->settled_count;
    stage_append_numbers(end, first, count);
    stage_wait(end->stage, end->settled_count == before + count);
}

static struct nats_storing *storing_of(const struct end *end)
{
    return ((struct nats_engine *)(void *)end->engine)->storing;
}

static void set_tries(const struct end *end, uint32_t tries)
{
    struct nats_storing *storing = storing_of(end);
    pthread_mutex_lock(&storing->lock);
    assert_int_equal(storing->leader_tries, LEADER_TRIES);
    storing->leader_tries = tries;
    pthread_mutex_unlock(&storing->lock);
}

/* ---- consumers go to the leader ------------------------------------------------------------------------------- */

static bool follows_the_leader(const struct end *end)
{
    struct nats_storing *storing = storing_of(end);
    pthread_mutex_lock(&storing->lock);
    const struct nats_stream *stream = storing_stream(storing, 1);
    assert_false(stream->is_bucket);
    bool is_there = stream->tail.state == TAIL_RUNS && stream->leader != 0 && stream->tail.leader == stream->leader &&
                    !stream->tail.is_elsewhere;
    pthread_mutex_unlock(&storing->lock);
    return is_there;
}

/* Two of three are put elsewhere, and are not to stay there. */
static void test_followed_where_it_is_led(void **state)
{
    struct nats_stage *stage = *state;
    for (int i = 0; i < ENDS_MOST; i++) {
        struct end *end = stage_end(stage, i, DEFER_MS);
        set_tries(end, 0);
        stage_open_stream(end, 3, UINT64_MAX, false);
    }
    for (int i = 0; i < ENDS_MOST; i++) stage_wait(stage, stage->ends[i].state.is_there);
    for (int i = 0; i < ENDS_MOST; i++) stage_wait(stage, follows_the_leader(&stage->ends[i]));
    append_numbers(&stage->ends[0], 1, 100);
    for (int i = 0; i < ENDS_MOST; i++) {
        struct end *end = &stage->ends[i];
        stage_wait(stage, end->tail.count == 100);
        assert_int_equal(end->tail.list[99].position, 100);
        assert_false(end->tail_overlaps);
    }
}

/* A message of a tail's consumer, brought by the thread of its subscription. */
struct early {
    struct nats_storing *storing;
    natsMsg *message;
    atomic_bool is_over;
};

static void *bring(void *arg)
{
    struct early *early = arg;
    tail_message(NULL, NULL, early->message, early->storing);
    atomic_store(&early->is_over, true);
    return NULL;
}

/* What a consumer sends before its server is known waits for that, and isn't taken when it is another one. */
static void test_nothing_is_taken_before_its_place_is_known(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_ready(stage, 0);
    struct early early = {.storing = storing_of(a)};
    char name[64], reply[200];
    uint8_t frame[64];
    uint32_t len = stage_frame(frame, sizeof frame, "a/b", "never stored");
    append_numbers(a, 1, 1);
    stage_wait(stage, a->tail.count == 1);
    pthread_mutex_lock(&early.storing->lock);
    struct nats_stream *stream = storing_stream(early.storing, 1);
    assert_int_equal(stream->tail.state, TAIL_RUNS);
    stream->tail.state = TAIL_ASKED;
    consumer_name(early.storing, 't', stream->index, stream->tail.number, name, sizeof name);
    uint64_t next = stream->tail.next, number = stream->tail.consumer_next;
    pthread_mutex_unlock(&early.storing->lock);
    snprintf(reply, sizeof reply, "$JS.ACK." JS_NAME ".%s.1.%llu.%llu.1700000000000000000.0", name,
             (unsigned long long)next, (unsigned long long)number);
    assert_int_equal(natsMsg_Create(&early.message, "x", reply, (const char *)frame, (int)len), NATS_OK);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, bring, &early), 0);
    uint64_t begun_ms = stage_ms();
    while (!atomic_load(&early.is_over) && stage_ms() - begun_ms < 300) stage_poll(stage);
    assert_false(atomic_load(&early.is_over));
    pthread_mutex_lock(&early.storing->lock);
    assert_int_equal(stream->tail.next, next);
    tail_restart(stream); /* as when it is elsewhere */
    pthread_mutex_unlock(&early.storing->lock);
    assert_int_equal(pthread_join(thread, NULL), 0);
    append_numbers(a, 2, 1);
    stage_wait(stage, a->tail.count > 1);
    assert_int_equal(a->tail.list[1].position, next);
    assert_string_equal(a->tail.list[1].payload, "2");
}

/* What can't be read there is not read elsewhere, but said. */
static void test_read_where_it_is_led(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_ready(stage, 0);
    unsigned failed = 0, read_well = 0;
    append_numbers(a, 1, 10);
    const struct store_read *all = stage_read(a, 1, 11, 100000);
    for (unsigned i = 0; i < 10 && all->code != STORE_OK;
         i++) /* one of 200 fails by chance, and more on a busy machine */
        all = stage_read(a, 1, 11, 100000);
    assert_int_equal(all->block.count, 10);
    set_tries(a, 0);
    for (unsigned i = 0; i < 400 && (failed == 0 || read_well == 0); i++) {
        const struct store_read *read = stage_read(a, 2 + i % 3, 11, 100000);
        if (read->code == STORE_OK) read_well++;
        else failed += strstr(read->text, "where it is led") != NULL;
    }
    assert_true(failed > 0);
    assert_true(read_well > 0);
}

/* ---- a server that has it alone ------------------------------------------------------------------------------- */

/* Answers every other question about the stream, before the one that leads it does. */
struct alone {
    natsConnection *connection;
    natsSubscription *asked, *changed;
    char answer[1000];
    atomic_uint questions, updates;
    atomic_bool is_over;
};

static void on_question(natsConnection *connection, natsSubscription *subscription, natsMsg *message, void *arg)
{
    struct alone *alone = arg;
    (void)subscription;
    if (atomic_fetch_add(&alone->questions, 1) % 2 == 0 && !atomic_load(&alone->is_over))
        natsConnection_PublishString(connection, natsMsg_GetReply(message), alone->answer);
    natsMsg_Destroy(message);
}

static void on_update(natsConnection *connection, natsSubscription *subscription, natsMsg *message, void *arg)
{
    struct alone *alone = arg;
    (void)connection, (void)subscription;
    mps_view body = {(const uint8_t *)natsMsg_GetData(message), (uint32_t)natsMsg_GetDataLength(message)};
    if (json_uint(body, "num_replicas", 0) == 3 && json_text_is(body, "name", JS_NAME))
        atomic_fetch_add(&alone->updates, 1);
    natsMsg_Destroy(message);
}

/* The server that an end is connected to. */
static int server_of(const struct end *end)
{
    char url[128];
    nats_link_server(&storing_of(end)->link, url, sizeof url);
    for (int i = 0; i < end->stage->servers; i++)
        if (strcmp(url, end->stage->rigs[i].url) == 0) return i;
    fail_msg("it is connected to '%s'", url);
    return -1;
}

/* The stream is led by another server than this one, so that its answers take longer. */
static void lead_elsewhere(natsConnection *connection, int server, char created[64])
{
    char leader[16] = "", here[16];
    snprintf(here, sizeof here, "s%d", server);
    do {
        natsMsg *message = NULL;
        if (natsConnection_RequestString(&message, connection, "$JS.API.STREAM.INFO." JS_NAME, "", 5000) != NATS_OK)
            continue;
        mps_view info = {(const uint8_t *)natsMsg_GetData(message), (uint32_t)natsMsg_GetDataLength(message)};
        json_text(info, "cluster.leader", leader, sizeof leader);
        json_text(info, "created", created, 64);
        natsMsg_Destroy(message);
        message = NULL;
        if (strcmp(leader, here) == 0)
            natsConnection_RequestString(&message, connection, "$JS.API.STREAM.LEADER.STEPDOWN." JS_NAME, "", 5000);
        natsMsg_Destroy(message);
    } while (leader[0] == '\0' || strcmp(leader, here) == 0);
}

static void open_alone(struct alone *alone, const struct end *end)
{
    char created[64];
    int server = server_of(end);
    natsOptions *options = NULL;
    *alone = (struct alone){0};
    assert_int_equal(natsOptions_Create(&options), NATS_OK);
    assert_int_equal(natsOptions_SetURL(options, end->stage->rigs[server].url), NATS_OK);
    assert_int_equal(natsOptions_SetSendAsap(options, true), NATS_OK); /* it is to be faster than a server */
    assert_int_equal(natsConnection_Connect(&alone->connection, options), NATS_OK);
    natsOptions_Destroy(options);
    lead_elsewhere(alone->connection, server, created);
    snprintf(alone->answer, sizeof alone->answer,
             "{\"type\":\"io.nats.jetstream.api.v1.stream_info_response\",\"config\":{\"name\":\"" JS_NAME
             "\",\"num_replicas\":1},\"created\":\"%s\",\"state\":{\"messages\":3,\"bytes\":300,\"first_seq\":1,"
             "\"last_seq\":3},\"cluster\":{\"name\":\"test\",\"leader\":\"" ALONE "\"}}",
             created);
    assert_int_equal(natsConnection_Subscribe(&alone->changed, alone->connection, "$JS.API.STREAM.UPDATE." JS_NAME,
                                              on_update, alone),
                     NATS_OK);
    assert_int_equal(
        natsConnection_Subscribe(&alone->asked, alone->connection, "$JS.API.STREAM.INFO." JS_NAME, on_question, alone),
        NATS_OK);
}

static void close_alone(struct alone *alone)
{
    natsConnection_Close(alone->connection);
    natsSubscription_Destroy(alone->asked);
    natsSubscription_Destroy(alone->changed);
    natsConnection_Destroy(alone->connection);
}

static uint64_t leader_seen(const struct end *end)
{
    struct nats_storing *storing = storing_of(end);
    pthread_mutex_lock(&storing->lock);
    uint64_t leader = storing_stream(storing, 1)->leader;
    pthread_mutex_unlock(&storing->lock);
    return leader;
}

static void test_alone_beside_others(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_ready(stage, 0);
    static struct alone alone;
    append_numbers(a, 1, 100);
    stage_wait(stage, a->tail.count == 100 && a->state.replicas == 3);
    open_alone(&alone, a);
    stage_wait(stage, strstr(a->state_text, ALONE) != NULL);
    assert_true(a->state.is_there);
    assert_int_equal(a->state.replicas, 1);
    stage_wait(stage, atomic_load(&alone.updates) > 0); /* they are asked to agree */
    append_numbers(a, 101, 100);
    unsigned questions = atomic_load(&alone.questions);
    stage_wait(stage, atomic_load(&alone.questions) > questions + 10 && a->tail.count == 200);
    assert_int_equal(atomic_load(&alone.updates), 1);
    assert_true(leader_seen(a) != sum_of(mps_text(ALONE)));
    assert_int_equal(a->state.next, 201);
    assert_int_equal(a->identities, 1);
    assert_false(a->tail_overlaps);
    atomic_store(&alone.is_over, true);
    stage_wait(stage, a->state.replicas == 3 && a->state_text[0] == '\0');
    close_alone(&alone);
}

/* Somebody gives it one copy, and several again. That is believed, and nothing is asked of the servers. */
static void test_copies_are_changed(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_ready(stage, 0);
    natsConnection *connection = NULL;
    jsCtx *js = NULL;
    jsStreamInfo *info = NULL;
    append_numbers(a, 1, 100);
    stage_wait(stage, a->tail.count == 100 && a->state.replicas == 3);
    assert_int_equal(natsConnection_ConnectTo(&connection, stage->rigs[0].url), NATS_OK);
    assert_int_equal(natsConnection_JetStream(&js, connection, NULL), NATS_OK);
    stage_wait(stage, js_GetStreamInfo(&info, js, JS_NAME, NULL, NULL) == NATS_OK);
    for (int copies = 1; copies <= 3; copies += 2) {
        info->Config->Replicas = copies;
        stage_wait(stage, js_UpdateStream(NULL, js, info->Config, NULL, NULL) == NATS_OK);
        stage_wait(stage, a->state.replicas == (uint32_t)copies && a->state.current == (uint32_t)copies);
        stage_wait(stage, follows_the_leader(a));
        assert_string_equal(a->state_text, "");
    }
    append_numbers(a, 101, 100);
    stage_wait(stage, a->tail.count == 200);
    assert_int_equal(a->identities, 1);
    assert_false(a->tail_overlaps);
    jsStreamInfo_Destroy(info);
    jsCtx_Destroy(js);
    natsConnection_Destroy(connection);
}

#define three(test) cmocka_unit_test_setup_teardown(test, stage_open_cluster, stage_close)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        three(test_followed_where_it_is_led),
        cmocka_unit_test_setup_teardown(test_nothing_is_taken_before_its_place_is_known, stage_open, stage_close),
        three(test_read_where_it_is_led),
        three(test_alone_beside_others),
        three(test_copies_are_changed),
    };
    signal(SIGPIPE, SIG_IGN);
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
