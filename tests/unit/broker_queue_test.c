/* The queue of a subscription against the simplest model there is: an array of messages and gaps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "queue.h"

#define MODEL_MAX 4096

/* What the queue should hold, in order: a message's length, or a gap. */
struct item {
    uint32_t len; /* 0: a gap */
    uint32_t reason;
    uint64_t count;
};

struct model {
    struct item items[MODEL_MAX];
    size_t count;
};

struct fixture {
    struct slab_pool slabs;
    struct run_pool runs;
    struct queue queue;
    struct model model;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->runs.slabs = &f->slabs;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    queue_clear(&f->queue, &f->runs);
    run_pool_free(&f->runs);
    slab_pool_free(&f->slabs);
    assert_int_equal(f->runs.alive, 0);
    assert_int_equal(f->runs.own_bytes, 0);
    assert_int_equal(f->slabs.alive, 0);
    free(f);
    return 0;
}

/* A run of count MSG frames in the shared slab; payloads of payload_len, or of varying lengths if that is 0. */
static struct run *make_run(struct fixture *f, uint32_t count, uint32_t payload_len)
{
    struct slab *slab = slab_for_reading(&f->slabs, 64 * 1024);
    struct mps_out out = mps_out_open(slab->bytes + slab->used, slab->cap - slab->used);
    struct run *run = run_new(&f->runs, slab, out.buf);
    for (uint32_t i = 0; i < count; i++) {
        static const uint8_t zeros[400];
        struct mps_msg msg = {.topic = mps_text("t"),
                              .payload = {zeros, payload_len ? payload_len : (uint32_t)rand() % 300}};
        uint32_t before = out.len;
        assert_true(mps_encode_msg(&out, &msg));
        uint32_t len = out.len - before;
        run->stride = run->count == 0 || run->stride == len ? len : 0;
        if (len > run->longest) run->longest = len;
        run->count++;
    }
    run->len = out.len;
    slab->used += out.len;
    return run;
}

static void model_push(struct model *model, const struct run *run)
{
    for (uint32_t at = 0, end, one; at < run->len; at = end) {
        end = run_frame_end(run, at, at, &one);
        assert_int_equal(one, 1);
        model->items[model->count++] = (struct item){end - at, 0, 1};
    }
}

static void model_remove(struct model *model, size_t at)
{
    memmove(&model->items[at], &model->items[at + 1], (model->count - at - 1) * sizeof model->items[0]);
    model->count--;
}

static uint64_t model_total(const struct model *model, bool bytes)
{
    uint64_t total = 0;
    for (size_t i = 0; i < model->count; i++) total += model->items[i].len == 0 ? 0 : bytes ? model->items[i].len : 1;
    return total;
}

static uint64_t model_drop(struct model *model, uint64_t max_msgs, uint64_t max_bytes, uint32_t reason)
{
    uint64_t dropped = 0;
    while (model_total(model, false) > max_msgs || model_total(model, true) > max_bytes) {
        size_t first = 0;
        while (model->items[first].len == 0) first++;
        model_remove(model, first);
        dropped++;
    }
    if (dropped > 0) {
        memmove(&model->items[1], &model->items[0], model->count++ * sizeof model->items[0]);
        model->items[0] = (struct item){0, reason, dropped};
    }
    return dropped;
}

/* The losses that stand before the message at *i, by reason; moves *i to that message or to the end. */
static void gaps_at(const struct model *model, size_t *i, uint64_t sums[16])
{
    memset(sums, 0, 16 * sizeof sums[0]);
    for (; *i < model->count && model->items[*i].len == 0; ++*i)
        sums[model->items[*i].reason] += model->items[*i].count;
}

static void check(const struct fixture *f)
{
    size_t i = 0;
    uint32_t e = 0;
    assert_int_equal(f->queue.msgs, model_total(&f->model, false));
    assert_int_equal(f->queue.bytes, model_total(&f->model, true));
    while (e < f->queue.entries || i < f->model.count) {
        uint64_t expected[16], found[16] = {0};
        gaps_at(&f->model, &i, expected);
        for (; e < f->queue.entries && queue_at(&f->queue, e)->run == NULL; e++) {
            const struct queue_entry *gap = queue_at(&f->queue, e);
            assert_int_equal(found[gap->off], 0); /* neighbours of one reason are merged */
            found[gap->off] = gap->count;
        }
        assert_memory_equal(found, expected, sizeof found);
        if (e == f->queue.entries) break;
        const struct queue_entry *entry = queue_at(&f->queue, e++);
        uint32_t at = entry->off, one;
        for (uint64_t k = 0; k < entry->count; k++) {
            uint32_t end = run_frame_end(entry->run, at, at, &one);
            assert_true(i < f->model.count);
            assert_int_equal(f->model.items[i++].len, end - at);
            at = end;
        }
        assert_int_equal(at, entry->off + entry->len);
    }
    assert_int_equal(i, f->model.count);
}

/* Takes the first thing off both, a part of an entry at a time. */
static void pop(struct fixture *f)
{
    struct queue_entry *entry = queue_at(&f->queue, 0);
    if (entry->run == NULL) {
        for (size_t i = 0; i < f->model.count && f->model.items[i].len == 0;) {
            if (f->model.items[i].reason == entry->off) model_remove(&f->model, i);
            else i++;
        }
        queue_pop_gap(&f->queue);
        return;
    }
    uint32_t cut = (uint32_t)rand() % entry->len, frames;
    uint32_t end = run_frame_end(entry->run, entry->off, entry->off + cut, &frames);
    queue_pop(&f->queue, &f->runs, end - entry->off, frames);
    for (uint32_t i = 0; i < frames; i++) model_remove(&f->model, 0);
}

static void behaves_like_the_model(void **state)
{
    struct fixture *f = *state;
    for (unsigned seed = 1; seed <= 300; seed++) {
        srand(seed);
        for (int step = 0; step < 60; step++) {
            int what = rand() % 10;
            if (what < 5) {
                struct run *run = make_run(f, 1 + (uint32_t)rand() % 40, rand() % 2 ? 20 : 0);
                queue_push(&f->queue, run, 0, run->len, run->count);
                model_push(&f->model, run);
            } else if (what == 5) {
                uint32_t reason = rand() % 2 ? MPS_GAP_TOO_LARGE : MPS_GAP_MEMORY;
                queue_push_gap(&f->queue, (enum mps_gap_reason)reason, 3);
                f->model.items[f->model.count++] = (struct item){0, reason, 3};
            } else if (what == 6) {
                run_settle_all(&f->runs);
            } else if (what == 7 && f->queue.entries > 0) {
                pop(f);
            }
            uint64_t max_msgs = 20 + (uint64_t)rand() % 60, max_bytes = 500 + (uint64_t)rand() % 8000;
            uint64_t lost = queue_drop_oldest(&f->queue, &f->runs, max_msgs, max_bytes, MPS_GAP_DROP_OLD);
            assert_int_equal(lost, model_drop(&f->model, max_msgs, max_bytes, MPS_GAP_DROP_OLD));
            check(f);
        }
        queue_clear(&f->queue, &f->runs);
        f->model.count = 0;
        run_settle_all(&f->runs);
        assert_int_equal(f->runs.alive, 0);
    }
}

static void parts_of_one_run_are_one_entry(void **state)
{
    struct fixture *f = *state;
    struct run *run = make_run(f, 10, 20);
    for (uint32_t i = 0; i < 10; i++) queue_push(&f->queue, run, i * run->stride, run->stride, 1);
    assert_int_equal(f->queue.entries, 1);
    assert_int_equal(f->queue.msgs, 10);
}

static void a_stalled_run_lets_the_slab_go(void **state)
{
    struct fixture *f = *state;
    struct queue second = {0};
    struct run *run = make_run(f, 3, 20);
    queue_push(&f->queue, run, 0, run->len, run->count);
    queue_push(&second, run, 0, run->len, run->count);
    assert_int_equal(f->slabs.shared->refs, 2);
    run_settle_all(&f->runs);
    assert_int_equal(f->slabs.shared->refs, 1);    /* 100 bytes don't pin 256 KiB */
    assert_int_equal(f->runs.own_bytes, run->len); /* and two readers share one copy */
    assert_ptr_equal(queue_at(&second, 0)->run, run);
    queue_clear(&second, &f->runs);
    assert_int_equal(f->runs.own_bytes, run->len);
}

static void what_is_left_of_a_run_does_not_keep_all_of_it(void **state)
{
    struct fixture *f = *state;
    struct queue second = {0};
    struct run *run = make_run(f, 1000, 20);
    uint32_t stride = run->stride, all = run->len;
    queue_push(&f->queue, run, 0, run->len, run->count);
    queue_push(&second, run, 0, run->len, run->count);
    run_settle_all(&f->runs);
    queue_pop(&f->queue, &f->runs, 900 * stride, 900);
    assert_int_equal(f->runs.own_bytes, all); /* the other queue has all of it: one copy for both */
    queue_clear(&second, &f->runs);
    queue_pop(&f->queue, &f->runs, stride, 1);
    assert_int_equal(f->runs.own_bytes, 99 * stride);
    assert_int_equal(queue_drop_oldest(&f->queue, &f->runs, 1, UINT64_MAX, MPS_GAP_DROP_OLD), 98);
    assert_int_equal(f->queue.bytes, stride);
}

static void memory_beside_the_bytes_is_counted(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 100; i++) {
        struct run *run = make_run(f, 2, 20);
        queue_push(&f->queue, run, 0, run->len, run->count);
    }
    uint64_t memory = f->queue.bytes + 100 * QUEUE_ENTRY_BYTES, entry = f->queue.bytes / 100 + QUEUE_ENTRY_BYTES;
    assert_int_equal(queue_msgs_over(&f->queue, memory), 0);
    assert_int_equal(queue_msgs_over(&f->queue, memory - 1), 2);
    assert_int_equal(queue_msgs_over(&f->queue, memory - 10 * entry), 20);
    assert_int_equal(queue_msgs_over(&f->queue, 0), 200);
}

static void a_large_frames_slab_is_kept_not_copied(void **state)
{
    struct fixture *f = *state;
    struct slab *slab = slab_new(&f->slabs, 100000);
    struct run *run = run_new(&f->runs, slab, slab->bytes);
    run->count = 1;
    run->len = run->stride = run->longest = 100000;
    const uint8_t *bytes = run->bytes;
    queue_push(&f->queue, run, 0, run->len, 1);
    slab_unref(&f->slabs, slab);
    run_settle_all(&f->runs);
    assert_ptr_equal(run->bytes, bytes);
    assert_int_equal(f->runs.own_bytes, 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(behaves_like_the_model, set_up, tear_down),
        cmocka_unit_test_setup_teardown(parts_of_one_run_are_one_entry, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stalled_run_lets_the_slab_go, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_left_of_a_run_does_not_keep_all_of_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(memory_beside_the_bytes_is_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_large_frames_slab_is_kept_not_copied, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
