/* A real JetStream that takes no messages, for reasons that the engine doesn't know, or without a word: what nobody
 * waits for holds nobody for ever (broker/cluster/nats_append.c). And how long it knows messages again
 * (nats_streams.c). */
#include "nats_stage.h"
#include "nats_storing.h"

#include <nats/nats.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JS_NAME "test-stream-orders=20and=20more"
#define SUBJECT "test.stream.orders=20and=20more"
#define MINUTE_NS INT64_C(60000000000)

struct outsider {
    natsConnection *connection;
    natsSubscription *subscription;
    jsCtx *js;
};

static struct outsider outsider(struct nats_stage *stage)
{
    struct outsider outsider = {0};
    assert_int_equal(natsConnection_ConnectTo(&outsider.connection, stage->rigs[0].url), NATS_OK);
    assert_int_equal(natsConnection_JetStream(&outsider.js, outsider.connection, NULL), NATS_OK);
    return outsider;
}

static void outsider_leaves(struct outsider *outsider)
{
    natsSubscription_Destroy(outsider->subscription);
    jsCtx_Destroy(outsider->js);
    natsConnection_Destroy(outsider->connection);
}

/* It takes messages, and says nothing. */
static void keep_silent(struct outsider *outsider, bool is_silent)
{
    jsStreamInfo *info = NULL;
    assert_int_equal(js_GetStreamInfo(&info, outsider->js, JS_NAME, NULL, NULL), NATS_OK);
    info->Config->NoAck = is_silent;
    assert_int_equal(js_UpdateStream(NULL, outsider->js, info->Config, NULL, NULL), NATS_OK);
    jsStreamInfo_Destroy(info);
}

static void refuse(natsConnection *connection, natsSubscription *subscription, natsMsg *message, void *arg)
{
    (void)subscription, (void)arg;
    natsConnection_PublishString(connection, natsMsg_GetReply(message),
                                 "{\"error\":{\"code\":400,\"err_code\":10999,\"description\":\"it is Sunday\"},"
                                 "\"stream\":\"" JS_NAME "\",\"seq\":0}");
    natsMsg_Destroy(message);
}

/* Somebody else answers in its place. */
static void answer_instead(struct outsider *outsider)
{
    keep_silent(outsider, true);
    assert_int_equal(
        natsConnection_Subscribe(&outsider->subscription, outsider->connection, SUBJECT ".>", refuse, NULL), NATS_OK);
    assert_int_equal(natsConnection_Flush(outsider->connection), NATS_OK);
}

static struct end *open_ready(struct nats_stage *stage, int index, uint64_t defer_ms)
{
    struct end *end = stage_end(stage, index, defer_ms);
    stage_open_stream(end, 1, UINT64_MAX, false);
    stage_wait(stage, end->state.is_there);
    return end;
}

/* One message that nobody waits for. */
static uint64_t append_unwaited(struct end *end, const char *payload)
{
    uint8_t frame[100];
    char text[STORE_TEXT_MAX] = "";
    struct engine_append append = {
        .stream = STREAM, .count = 1, .len = stage_frame(frame, sizeof frame, "t", payload), .bytes = frame};
    append.token = ++end->tokens;
    end->settled = realloc(end->settled, (end->tokens + 1) * sizeof *end->settled);
    assert_non_null(end->settled);
    end->settled[end->tokens] = (struct settlement){0};
    assert_true(end->engine->append(end->engine, &append, text));
    end->engine->flush(end->engine);
    return append.token;
}

static void check_failed(const struct end *end, uint64_t token, const char *why)
{
    assert_int_equal(end->settled[token].code, STORE_FAILED);
    if (strstr(end->settled[token].text, why) == NULL) fail_msg("%s", end->settled[token].text);
}

static void test_refused_for_an_unknown_reason(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_ready(stage, 0, 500);
    struct outsider who = outsider(stage);
    answer_instead(&who);
    uint64_t first = append_unwaited(a, "1"), second = append_unwaited(a, "2");
    uint64_t waited = stage_append(a, "t", "3", "me", 1);
    stage_wait(stage, a->settled_count == 3);
    check_failed(a, first, "it is Sunday");
    check_failed(a, second, "it is Sunday");
    check_failed(a, waited, "it is Sunday");
    struct engine_figures figures;
    a->engine->figures(a->engine, &figures);
    assert_non_null(strstr(figures.text, "takes no messages: it is Sunday"));
    natsSubscription_Destroy(who.subscription);
    who.subscription = NULL;
    keep_silent(&who, false);
    uint64_t token;
    do { /* the first ones are refused as before, until one is taken */
        token = stage_append(a, "t", "x", "me", 1 + a->tokens);
        stage_wait(stage, stage_settled(a, token) != NULL);
    } while (a->settled[token].code != STORE_OK);
    stage_wait(stage, (a->engine->figures(a->engine, &figures), strstr(figures.text, "it is Sunday") == NULL));
    outsider_leaves(&who);
}

/* A reason that passes before it is time: nothing is lost. */
static void test_refused_for_a_moment(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_ready(stage, 0, 60000);
    struct outsider who = outsider(stage);
    answer_instead(&who);
    uint64_t first = append_unwaited(a, "1"), waited = stage_append(a, "t", "2", "me", 1);
    struct engine_figures figures;
    stage_wait(stage, (a->engine->figures(a->engine, &figures), strstr(figures.text, "it is Sunday") != NULL));
    natsSubscription_Destroy(who.subscription);
    who.subscription = NULL;
    keep_silent(&who, false);
    stage_wait(stage, a->settled_count == 2);
    assert_int_equal(a->settled[first].code, STORE_OK);
    assert_int_equal(a->settled[waited].code, STORE_OK);
    outsider_leaves(&who);
}

static void test_never_acknowledged(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_ready(stage, 0, 60000);
    struct nats_storing *storing = ((struct nats_engine *)(void *)a->engine)->storing;
    struct outsider who = outsider(stage);
    pthread_mutex_lock(&storing->lock);
    assert_int_equal(storing->stuck_ms, STUCK_MS);
    storing->stuck_ms = 300;
    pthread_mutex_unlock(&storing->lock);
    keep_silent(&who, true);
    uint64_t first = append_unwaited(a, "1"), second = append_unwaited(a, "2");
    stage_wait(stage, a->settled_count == 2);
    check_failed(a, first, "has not acknowledged the message, which may have been stored");
    check_failed(a, second, "has not acknowledged");
    uint64_t waited = stage_append(a, "t", "3", "me", 1); /* that has its own time */
    keep_silent(&who, false);
    stage_wait(stage, a->settled_count == 3);
    assert_int_equal(a->settled[waited].code, STORE_OK);
    outsider_leaves(&who);
}

/* The server is away, which is no reason to give anything up. */
static void test_away_is_not_stuck(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_ready(stage, 0, 500);
    struct nats_storing *storing = ((struct nats_engine *)(void *)a->engine)->storing;
    pthread_mutex_lock(&storing->lock);
    storing->stuck_ms = 300;
    pthread_mutex_unlock(&storing->lock);
    nats_rig_kill(&stage->rigs[0]);
    stage_wait(stage, !a->state.is_there);
    uint64_t kept = append_unwaited(a, "1"), waited = stage_append(a, "t", "2", "me", 1);
    stage_wait(stage, stage_settled(a, waited) != NULL);
    check_failed(a, waited, "could not be reached");
    assert_null(stage_settled(a, kept));
    stage_start_server(stage, 0);
    stage_wait(stage, a->settled_count == 2);
    assert_int_equal(a->settled[kept].code, STORE_OK);
}

/* It can't be made: who waits is told why. */
static void test_more_copies_than_servers(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = stage_end(stage, 0, 500);
    stage_open_stream(a, 3, UINT64_MAX, false);
    stage_wait(stage, strstr(a->state_text, "replicas > 1") != NULL);
    uint64_t waited = stage_append(a, "t", "1", "me", 1);
    stage_wait(stage, stage_settled(a, waited) != NULL);
    check_failed(a, waited, "could not be reached within 500 ms (replicas > 1 not supported");
}

/* ---- what is known again -------------------------------------------------------------------------------------- */

/* 0: nobody said. */
static int64_t window_of(struct outsider *outsider)
{
    jsStreamInfo *info = NULL;
    int64_t window = 0;
    if (js_GetStreamInfo(&info, outsider->js, JS_NAME, NULL, NULL) == NATS_OK) window = info->Config->Duplicates;
    jsStreamInfo_Destroy(info);
    return window;
}

static void test_the_window_is_as_long_as_something_waits(void **state)
{
    struct nats_stage *stage = *state;
    struct outsider who = outsider(stage);
    open_ready(stage, 0, 10000);
    assert_int_equal(window_of(&who), 2 * MINUTE_NS);
    open_ready(stage, 1, 600000); /* the stream is there */
    stage_wait(stage, window_of(&who) == 20 * MINUTE_NS);
    struct end *c = stage_end(stage, 2, 10000); /* changes it, but for that */
    stage_open_stream(c, 1, 1000, false);
    jsStreamInfo *info = NULL;
    for (int64_t most = 0; most != 1000;) {
        stage_poll(stage);
        assert_int_equal(js_GetStreamInfo(&info, who.js, JS_NAME, NULL, NULL), NATS_OK);
        most = info->Config->MaxMsgs;
        jsStreamInfo_Destroy(info);
    }
    assert_int_equal(window_of(&who), 20 * MINUTE_NS);
    outsider_leaves(&who);
}

static void test_the_window_is_no_longer_than_messages_stay(void **state)
{
    struct nats_stage *stage = *state;
    struct outsider who = outsider(stage);
    struct end *a = stage_end(stage, 0, 600000);
    const struct engine_stream stream = {.number = STREAM,
                                         .name = "orders and more",
                                         .replicas = 1,
                                         .max_bytes = UINT64_MAX,
                                         .max_msgs = UINT64_MAX,
                                         .max_age_ms = 300000};
    a->engine->open_stream(a->engine, &stream);
    stage_wait(stage, a->state.is_there);
    assert_int_equal(window_of(&who), 5 * MINUTE_NS);
    outsider_leaves(&who);
}

#define each(test) cmocka_unit_test_setup_teardown(test, stage_open, stage_close)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        each(test_refused_for_an_unknown_reason),
        each(test_refused_for_a_moment),
        each(test_never_acknowledged),
        each(test_away_is_not_stuck),
        each(test_more_copies_than_servers),
        each(test_the_window_is_as_long_as_something_waits),
        each(test_the_window_is_no_longer_than_messages_stay),
    };
    signal(SIGPIPE, SIG_IGN);
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
