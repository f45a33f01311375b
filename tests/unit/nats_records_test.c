/* Shared records in a real JetStream (broker/cluster/nats_records.c). */
#include "nats_stage.h"
#include "nats_storing.h"

#include <nats/nats.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct end *open_loaded(struct nats_stage *stage, int index)
{
    struct end *end = stage_end(stage, index, 10000);
    stage_wait(stage, end->loads == 1);
    assert_true(end->begins >= 1);
    return end;
}

static bool has(const struct end *end, uint32_t kind, const char *key, const char *value)
{
    const struct known_record *record = stage_record(end, kind, key);
    return record != NULL && record->value != NULL && strcmp(record->value, value) == 0;
}

static void test_put_and_watch(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_loaded(stage, 0), *b = open_loaded(stage, 1);
    assert_true(stage_put(a, 1, "home/k\xc3\xbc.che", "warm", ENGINE_PUT_ANYHOW, 11));
    assert_true(stage_put(a, 2, "home/k\xc3\xbc.che", "", ENGINE_PUT_ANYHOW, 0));
    stage_wait(stage, has(b, 1, "home/k\xc3\xbc.che", "warm") && has(b, 2, "home/k\xc3\xbc.che", ""));
    stage_wait(stage, has(a, 1, "home/k\xc3\xbc.che", "warm") && a->puts[11].is_there);
    assert_true(a->puts[11].is_done);
    assert_int_equal(stage_record(a, 1, "home/k\xc3\xbc.che")->mark, 11);
    assert_int_equal(stage_record(b, 1, "home/k\xc3\xbc.che")->mark, 0); /* it isn't its own */
    assert_int_equal(stage_record(b, 1, "home/k\xc3\xbc.che")->revision, a->puts[11].revision);

    assert_true(stage_put(b, 1, "home/k\xc3\xbc.che", NULL, ENGINE_PUT_ANYHOW, 12));
    stage_wait(stage, stage_record(a, 1, "home/k\xc3\xbc.che")->value == NULL && b->puts[12].is_done);
    struct end *c = open_loaded(stage, 2); /* who comes later knows the same */
    assert_true(has(c, 2, "home/k\xc3\xbc.che", ""));
    const struct known_record *removed = stage_record(c, 1, "home/k\xc3\xbc.che");
    assert_true(removed == NULL || removed->value == NULL);
}

static void test_expected(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_loaded(stage, 0), *b = open_loaded(stage, 1);
    assert_true(stage_put(a, 3, "lease", "a", 0, 1));
    stage_wait(stage, a->puts[1].is_there);
    assert_true(a->puts[1].is_done);
    assert_true(stage_put(b, 3, "lease", "b", 0, 1));
    stage_wait(stage, b->puts[1].is_there);
    assert_false(b->puts[1].is_done);
    assert_true(stage_put(b, 3, "lease", "b", a->puts[1].revision, 2));
    assert_true(stage_put(a, 3, "other", "a", 12345, 2));
    stage_wait(stage, b->puts[2].is_there && a->puts[2].is_there);
    assert_true(b->puts[2].is_done);
    assert_false(a->puts[2].is_done);
    stage_wait(stage, has(a, 3, "lease", "b"));
}

/* Keys of any bytes and of any length, as nats' tools see them. */
static void test_keys(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_loaded(stage, 0);
    char longest[STORE_KEY_MAX + 1];
    memset(longest, '*', STORE_KEY_MAX);
    longest[STORE_KEY_MAX] = '\0';
    static const char *const keys[] = {".", "/", "=", "a b", "a.b", "*", ">", "\x01\x02\xff", "-", "a//b"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        assert_true(stage_put(a, 255, keys[i], keys[i], ENGINE_PUT_ANYHOW, 0));
    assert_true(stage_put(a, 1, longest, "long", ENGINE_PUT_ANYHOW, 0));
    stage_wait(stage, stage_record(a, 1, longest) != NULL);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) stage_wait(stage, has(a, 255, keys[i], keys[i]));

    natsConnection *connection = NULL;
    jsCtx *js = NULL;
    kvStore *kv = NULL;
    kvEntry *entry = NULL;
    uint64_t revision = 0;
    assert_int_equal(natsConnection_ConnectTo(&connection, stage->rigs[0].url), NATS_OK);
    assert_int_equal(natsConnection_JetStream(&js, connection, NULL), NATS_OK);
    assert_int_equal(js_KeyValue(&kv, js, "test-records"), NATS_OK);
    assert_int_equal(kvStore_Get(&entry, kv, "255.a=2Eb"), NATS_OK);
    assert_int_equal(kvEntry_ValueLen(entry), 3);
    assert_memory_equal(kvEntry_Value(entry), "a.b", 3);
    kvEntry_Destroy(entry);
    /* What an operator does is told, if it is a record's key. */
    assert_int_equal(kvStore_PutString(&revision, kv, "mine", "x"), NATS_OK);
    assert_int_equal(kvStore_PutString(&revision, kv, "256.a", "x"), NATS_OK);
    assert_int_equal(kvStore_PutString(&revision, kv, "7.a=4", "x"), NATS_OK);
    assert_int_equal(kvStore_Delete(kv, "255.a=2Eb"), NATS_OK);
    assert_int_equal(kvStore_Purge(kv, "255.=3D", NULL), NATS_OK);
    assert_int_equal(kvStore_PutString(&revision, kv, "7.it", "works"), NATS_OK);
    stage_wait(stage, has(a, 7, "it", "works"));
    assert_int_equal(stage_record(a, 7, "it")->revision, revision);
    assert_null(stage_record(a, 255, "a.b")->value);
    assert_null(stage_record(a, 255, "=")->value);
    assert_int_equal(a->records_count, 11 + 3);
    kvStore_Destroy(kv);
    jsCtx_Destroy(js);
    natsConnection_Destroy(connection);
}

/* Away: what is put waits, of each key the last; after that only what has changed is told. */
static void test_away_and_back(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_loaded(stage, 0), *b = open_loaded(stage, 1);
    assert_true(stage_put(a, 1, "old", "old", ENGINE_PUT_ANYHOW, 0));
    stage_wait(stage, has(a, 1, "old", "old") && has(b, 1, "old", "old"));
    nats_rig_kill(&stage->rigs[0]);
    stage_wait(stage, !a->is_storing && !b->is_storing);
    size_t before = b->records_count;
    for (int i = 0; i < 1000; i++) {
        char value[16];
        snprintf(value, sizeof value, "%d", i);
        assert_true(stage_put(a, 1, "many", value, ENGINE_PUT_ANYHOW, (uint64_t)i % 100 + 1 == 100 ? 100 : 0));
    }
    assert_true(stage_put(a, 1, "old", NULL, ENGINE_PUT_ANYHOW, 101));
    stage_start_server(stage, 0);
    stage_wait(stage, a->loads == 2 && b->loads == 2);
    stage_wait(stage, has(b, 1, "many", "999") && stage_record(b, 1, "old")->value == NULL);
    stage_wait(stage, a->puts[100].is_there && a->puts[101].is_there);
    assert_int_equal(b->records_count, before + 2);
    assert_int_equal(b->begins, 1);
}

static void test_bound(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_loaded(stage, 0);
    nats_rig_kill(&stage->rigs[0]);
    stage_wait(stage, !a->is_storing);
    size_t len = 1 << 20;
    char *value = malloc(len + 1), key[16];
    memset(value, 'x', len);
    value[len] = '\0';
    assert_false(stage_put(a, 1, "too long", value, ENGINE_PUT_ANYHOW, 0));
    value[len / 2] = '\0';
    unsigned taken = 0;
    do snprintf(key, sizeof key, "%u", taken);
    while (stage_put(a, 1, key, value, ENGINE_PUT_ANYHOW, 0) && ++taken < 1000);
    assert_int_equal(taken, 127);
    assert_true(stage_put(a, 1, "0", value, ENGINE_PUT_ANYHOW, 0)); /* in the place of another */
    free(value);
}

static void test_bucket_made_anew(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_loaded(stage, 0);
    natsConnection *connection = NULL;
    jsCtx *js = NULL;
    assert_true(stage_put(a, 1, "gone", "x", ENGINE_PUT_ANYHOW, 0));
    stage_wait(stage, has(a, 1, "gone", "x"));
    assert_int_equal(natsConnection_ConnectTo(&connection, stage->rigs[0].url), NATS_OK);
    assert_int_equal(natsConnection_JetStream(&js, connection, NULL), NATS_OK);
    assert_int_equal(js_DeleteStream(js, "KV_test-records", NULL, NULL), NATS_OK);
    stage_wait(stage, a->begins >= 2 && a->loads >= 2);
    assert_true(stage_put(a, 1, "new", "y", ENGINE_PUT_ANYHOW, 0));
    stage_wait(stage, has(a, 1, "new", "y"));
    jsCtx_Destroy(js);
    natsConnection_Destroy(connection);
}

static uint64_t messages_of(jsCtx *js)
{
    jsStreamInfo *info = NULL;
    assert_int_equal(js_GetStreamInfo(&info, js, "KV_test-records", NULL, NULL), NATS_OK);
    uint64_t messages = info->State.Msgs;
    jsStreamInfo_Destroy(info);
    return messages;
}

static void set_marks(struct end *end, uint64_t own_ms, uint64_t other_ms, uint64_t stale_ms)
{
    struct nats_storing *storing = ((struct nats_engine *)(void *)end->engine)->storing;
    pthread_mutex_lock(&storing->lock);
    marks_forget(storing);
    storing->own_marks.wait_ms = own_ms;
    storing->other_marks.wait_ms = other_ms;
    storing->stale_ms = stale_ms;
    pthread_mutex_unlock(&storing->lock);
}

/* What is removed leaves nothing in the end, whoever removed it; what was put again stays. Who was away for too long to
 * know what was removed loads everything. */
static void test_marks_go(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_loaded(stage, 0), *b = open_loaded(stage, 1);
    natsConnection *connection = NULL;
    jsCtx *js = NULL;
    assert_int_equal(natsConnection_ConnectTo(&connection, stage->rigs[0].url), NATS_OK);
    assert_int_equal(natsConnection_JetStream(&js, connection, NULL), NATS_OK);
    for (int who = 0; who < 2; who++) {
        set_marks(a, who == 0 ? 10 : 3600000, 3600000, 3600000);
        set_marks(b, 3600000, who == 1 ? 10 : 3600000, 3600000);
        for (int i = 0; i < 300; i++) {
            char key[16];
            snprintf(key, sizeof key, "%d", i);
            assert_true(stage_put(a, 1, key, "x", ENGINE_PUT_ANYHOW, 0));
            if (i < 10) stage_wait(stage, has(b, 1, key, "x"));
        }
        stage_wait(stage, has(b, 1, "299", "x"));
        for (int i = 0; i < 300; i++) {
            char key[16];
            snprintf(key, sizeof key, "%d", i);
            assert_true(stage_put(a, 1, key, NULL, ENGINE_PUT_ANYHOW, 0));
        }
        assert_true(stage_put(a, 1, "stays", "x", ENGINE_PUT_ANYHOW, 0));
        stage_wait(stage, stage_record(b, 1, "299")->value == NULL && stage_record(a, 1, "299")->value == NULL);
        stage_wait(stage, messages_of(js) == 1);
    }
    assert_int_equal(b->begins, 1);
    set_marks(b, 3600000, 3600000, 0); /* any time is too long */
    nats_rig_kill(&stage->rigs[0]);
    stage_wait(stage, !a->is_storing && !b->is_storing);
    stage_start_server(stage, 0);
    stage_wait(stage, a->loads == 2 && b->loads == 2 && b->begins == 2);
    assert_int_equal(a->begins, 1);
    jsCtx_Destroy(js);
    natsConnection_Destroy(connection);
}

/* Who begins is told up to where the others are, though what was last is not there any more. */
static void test_told_to_the_end(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_loaded(stage, 0);
    natsConnection *connection = NULL;
    jsCtx *js = NULL;
    assert_int_equal(natsConnection_ConnectTo(&connection, stage->rigs[0].url), NATS_OK);
    assert_int_equal(natsConnection_JetStream(&js, connection, NULL), NATS_OK);
    set_marks(a, 10, 3600000, 3600000);
    assert_true(stage_put(a, 1, "stays", "x", ENGINE_PUT_ANYHOW, 0));
    assert_true(stage_put(a, 1, "goes", "x", ENGINE_PUT_ANYHOW, 0));
    assert_true(stage_put(a, 1, "goes", NULL, ENGINE_PUT_ANYHOW, 1));
    stage_wait(stage, a->puts[1].is_there);
    stage_wait(stage, messages_of(js) == 1);
    struct end *b = open_loaded(stage, 1);
    assert_int_equal(b->loaded_to, a->puts[1].revision);
    jsCtx_Destroy(js);
    natsConnection_Destroy(connection);
}

/* Many at once, from two, of the same keys: all end with the same. */
static void test_many(void **state)
{
    struct nats_stage *stage = *state;
    struct end *a = open_loaded(stage, 0), *b = open_loaded(stage, 1);
    for (int i = 0; i < 5000; i++) {
        char key[16], value[16];
        snprintf(key, sizeof key, "k/%d", i % 500);
        snprintf(value, sizeof value, "%d", i);
        assert_true(stage_put(a, 1, key, value, ENGINE_PUT_ANYHOW, 0));
        assert_true(stage_put(b, 1, key, value, ENGINE_PUT_ANYHOW, 0));
    }
    assert_true(stage_put(a, 9, "end", "a", ENGINE_PUT_ANYHOW, 1));
    assert_true(stage_put(b, 9, "end", "b", ENGINE_PUT_ANYHOW, 1));
    stage_wait(stage, a->puts[1].is_there && b->puts[1].is_there);
    uint64_t last = a->puts[1].revision > b->puts[1].revision ? a->puts[1].revision : b->puts[1].revision;
    stage_wait(stage, a->records[a->records_count - 1].revision >= last);
    stage_wait(stage, b->records[b->records_count - 1].revision >= last);
    for (int i = 0; i < 500; i++) {
        char key[16];
        snprintf(key, sizeof key, "k/%d", i);
        stage_wait(stage, stage_record(a, 1, key) != NULL && stage_record(b, 1, key) != NULL &&
                              stage_record(a, 1, key)->revision == stage_record(b, 1, key)->revision);
        assert_string_equal(stage_record(a, 1, key)->value, stage_record(b, 1, key)->value);
    }
}

#define each(test) cmocka_unit_test_setup_teardown(test, stage_open, stage_close)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        each(test_put_and_watch), each(test_expected),        each(test_keys),
        each(test_away_and_back), each(test_bound),           each(test_bucket_made_anew),
        each(test_marks_go),      each(test_told_to_the_end), each(test_many),
    };
    signal(SIGPIPE, SIG_IGN);
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
