/* The queue of a subscription, and the mailbox with policy `latest` around it, against the simplest model there is: an
 * array of messages and gaps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mailbox.h"

#define MODEL_MAX 4096
#define STEPS 100000

/* What the queue should hold, in order. */
struct item {
    uint32_t serial; /* of a message; 0: a gap */
    uint32_t len;
    uint32_t reason; /* of a gap, and how many were lost */
    uint64_t count;
    unsigned key; /* of a message: equal keys supersede each other */
    uint64_t expires_ms;
};

struct model {
    struct item items[MODEL_MAX];
    size_t count;
    size_t mark; /* this many of them are before the mark */
};

struct fixture {
    struct slab_pool slabs;
    struct run_pool runs;
    struct queue queue;
    struct model model;
};

static uint32_t next_serial = 1;

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

/* A run of count MSG frames in the shared slab; payloads of payload_len, or of varying lengths if that is 0. Each
 * begins with a serial number. */
static struct run *make_run_of(struct run_pool *runs, const char *topic, mps_view props, uint32_t count,
                               uint32_t payload_len)
{
    struct slab *slab = slab_for_reading(runs->slabs, 64 * 1024);
    struct mps_out out = mps_out_open(slab->bytes + slab->used, slab->cap - slab->used);
    struct run *run = run_new(runs, slab, out.buf);
    run->shortest = UINT32_MAX;
    for (uint32_t i = 0; i < count; i++, next_serial++) {
        uint8_t payload[400] = {0};
        memcpy(payload, &next_serial, sizeof next_serial);
        struct mps_msg msg = {.topic = mps_text(topic),
                              .props = props,
                              .payload = {payload, payload_len ? payload_len : 4 + (uint32_t)rand() % 300}};
        uint32_t before = out.len;
        assert_true(mps_encode_msg(&out, &msg));
        uint32_t len = out.len - before;
        if (len > run->longest) run->longest = len;
        if (len < run->shortest) run->shortest = len;
        run->last_off = before;
        run->count++;
    }
    run->len = out.len;
    slab->used += out.len;
    return run;
}

static struct run *make_run(struct fixture *f, uint32_t count, uint32_t payload_len)
{
    return make_run_of(&f->runs, "t", (mps_view){NULL, 0}, count, payload_len);
}

static uint32_t serial_at(const uint8_t *frame, uint32_t len)
{
    struct mps_msg msg;
    const char *what;
    uint32_t serial;
    assert_int_equal(mps_decode_msg((mps_view){frame, len}, &msg, &what), MPS_OK);
    memcpy(&serial, msg.payload.ptr, sizeof serial);
    return serial;
}

/* ---- the model ---------------------------------------------------------------------------------------------- */

static void model_insert(struct model *model, size_t at, struct item item)
{
    assert_true(model->count < MODEL_MAX);
    memmove(&model->items[at + 1], &model->items[at], (model->count++ - at) * sizeof item);
    model->items[at] = item;
    if (at < model->mark) model->mark++;
}

static void model_remove(struct model *model, size_t at)
{
    memmove(&model->items[at], &model->items[at + 1], (--model->count - at) * sizeof model->items[0]);
    if (at < model->mark) model->mark--;
}

static void model_gap(struct model *model, size_t at, uint32_t reason, uint64_t count)
{
    model_insert(model, at, (struct item){.reason = reason, .count = count});
}

static void model_lose(struct model *model, size_t at, uint32_t reason)
{
    model->items[at] = (struct item){.reason = reason, .count = 1};
}

/* The frames of part of a run, in front of position `at`. */
static void model_add(struct model *model, size_t at, struct run *run, struct part part, unsigned key)
{
    for (uint32_t off = part.off, end, one; off < part.off + part.len; off = end) {
        end = run_frame_end(run, off, off, &one);
        assert_int_equal(one, 1);
        model_insert(model, at++,
                     (struct item){.serial = serial_at(run->bytes + off, end - off),
                                   .len = end - off,
                                   .key = key,
                                   .expires_ms = run->expires_ms});
    }
}

static uint64_t model_total(const struct model *model, bool bytes)
{
    uint64_t total = 0;
    for (size_t i = 0; i < model->count; i++) {
        if (model->items[i].serial > 0) total += bytes ? model->items[i].len : 1;
    }
    return total;
}

/* Of the gaps before the first message that stays, those that a dropped one stood behind are before the mark now. */
static uint64_t model_drop(struct model *model, uint64_t max_msgs, uint64_t max_bytes, uint32_t reason)
{
    uint64_t dropped = 0;
    size_t first = 0, mark = model->mark;
    for (; model_total(model, false) > max_msgs || model_total(model, true) > max_bytes; dropped++) {
        while (model->items[first].serial == 0) first++;
        model_remove(model, first);
    }
    if (dropped == 0) return 0;
    if (mark > 0 && model->mark < first) model->mark = first;
    model_gap(model, 0, reason, dropped);
    if (mark > 0 && model->mark == 0) model->mark = 1;
    return dropped;
}

/* A gap of the queue is taken off its front: it may be only a part of what the model has there. */
static void model_pop_gap(struct model *model, uint32_t reason, uint64_t count)
{
    for (size_t i = 0; count > 0;) {
        assert_true(i < model->count && model->items[i].serial == 0);
        struct item *item = &model->items[i];
        uint64_t part = item->reason != reason ? 0 : item->count < count ? item->count : count;
        item->count -= part;
        count -= part;
        if (item->count == 0) model_remove(model, i);
        else i++;
    }
}

/* The losses from item *i to the next message, or to `end`; moves *i there. */
static void gaps_at(const struct model *model, size_t *i, size_t end, uint64_t sums[16])
{
    memset(sums, 0, 16 * sizeof sums[0]);
    for (; *i < end && model->items[*i].serial == 0; ++*i) sums[model->items[*i].reason] += model->items[*i].count;
}

/* Items from i to items_end are the entries from e to entries_end. */
static void check_section(const struct queue *queue, const struct model *model, size_t i, size_t items_end, uint32_t e,
                          uint32_t entries_end)
{
    while (e < entries_end || i < items_end) {
        uint64_t expected[16], found[16] = {0};
        gaps_at(model, &i, items_end, expected);
        for (; e < entries_end && queue_at(queue, e)->run == NULL; e++) {
            const struct queue_entry *gap = queue_at(queue, e);
            assert_true(queue->untidy || found[gap->off] == 0); /* neighbours of one reason are merged */
            found[gap->off] += gap->count;
        }
        assert_memory_equal(found, expected, sizeof found);
        if (e == entries_end) break;
        const struct queue_entry *entry = queue_at(queue, e++);
        uint32_t at = entry->off, one;
        for (uint64_t k = 0; k < entry->count; k++) {
            uint32_t end = run_frame_end(entry->run, at, at, &one);
            assert_true(i < items_end);
            assert_int_equal(model->items[i++].serial, serial_at(entry->run->bytes + at, end - at));
            at = end;
        }
        assert_int_equal(at, entry->off + entry->len);
    }
    assert_int_equal(i, items_end);
}

static void check(const struct queue *queue, const struct model *model)
{
    assert_int_equal(queue->msgs, model_total(model, false));
    assert_int_equal(queue->bytes, model_total(model, true));
    check_section(queue, model, 0, model->mark, 0, queue->before);
    check_section(queue, model, model->mark, model->count, queue->before, queue->entries);
}

/* ---- operations --------------------------------------------------------------------------------------------- */

/* Takes the first thing off both, a part of an entry at a time. */
static void pop(struct fixture *f)
{
    struct queue_entry *entry = queue_at(&f->queue, 0);
    if (entry->run == NULL) {
        model_pop_gap(&f->model, entry->off, entry->count);
        queue_pop_gap(&f->queue);
        return;
    }
    uint32_t cut = (uint32_t)rand() % entry->len, frames;
    uint32_t end = run_frame_end(entry->run, entry->off, entry->off + cut, &frames);
    queue_pop(&f->queue, &f->runs, end - entry->off, frames);
    for (uint32_t i = 0; i < frames; i++) model_remove(&f->model, 0);
}

/* Takes some of the first entry and puts it back. */
static void pop_and_push_front(struct fixture *f)
{
    struct queue_entry entry = *queue_at(&f->queue, 0);
    if (entry.run == NULL) {
        pop(f);
        queue_push_front_gap(&f->queue, (enum mps_gap_reason)entry.off, entry.count);
        model_gap(&f->model, 0, entry.off, entry.count);
        return;
    }
    struct run *run = run_ref(entry.run);
    uint64_t msgs = f->queue.msgs;
    uint64_t bytes = f->queue.bytes;
    pop(f);
    struct part part = {entry.off, (uint32_t)(bytes - f->queue.bytes), (uint32_t)(msgs - f->queue.msgs)};
    queue_push_front(&f->queue, run, part.off, part.len, part.count);
    size_t marked = f->model.mark;
    model_add(&f->model, 0, run, part, 0);
    if (marked > 0) assert_int_equal(f->model.mark, marked + part.count);
    run_unref(&f->runs, run);
}

static void push(struct fixture *f, bool to_front)
{
    struct run *run = make_run(f, 1 + (uint32_t)rand() % 20, rand() % 2 ? 20 : 0);
    uint32_t skipped;
    uint32_t off =
        run_frame_end(run, 0, (uint32_t)rand() % run->len, &skipped); /* in two parts, or without the first */
    struct part first = {0, off, skipped}, second = {off, run->len - off, run->count - skipped};
    if (to_front) {
        if (second.count > 0) queue_push_front(&f->queue, run, second.off, second.len, second.count);
        if (second.count > 0) model_add(&f->model, 0, run, second, 0);
        queue_push_front(&f->queue, run, first.off, first.len, first.count);
        model_add(&f->model, 0, run, first, 0);
        return;
    }
    bool both = rand() % 2;
    if (both || second.count == 0) queue_push(&f->queue, run, first.off, first.len, first.count);
    if (both || second.count == 0) model_add(&f->model, f->model.count, run, first, 0);
    if (second.count > 0) queue_push(&f->queue, run, second.off, second.len, second.count);
    model_add(&f->model, f->model.count, run, second, 0);
}

static void lose_at(struct fixture *f)
{
    uint32_t e = (uint32_t)rand() % f->queue.entries;
    const struct queue_entry *entry = queue_at(&f->queue, e);
    if (entry->run == NULL) return;
    uint64_t before = 0, count = entry->count;
    for (uint32_t i = 0; i < e; i++) before += queue_at(&f->queue, i)->run != NULL ? queue_at(&f->queue, i)->count : 0;
    enum mps_gap_reason reason = rand() % 2 ? MPS_GAP_EXPIRED : MPS_GAP_SUPERSEDED;
    queue_lose_at(&f->queue, &f->runs, e, reason);
    for (size_t i = 0; count > 0; i++) {
        if (f->model.items[i].serial == 0) continue;
        if (before > 0) {
            before--;
            continue;
        }
        model_lose(&f->model, i, reason);
        count--;
    }
}

/* Which entry stands where, while queue_tidy() moves them. */
struct numbers {
    uint64_t first;
    uint32_t entries;
    struct queue_entry old[MODEL_MAX];
    uint64_t now[MODEL_MAX];
};

static void note_moved(const struct queue_entry *entry, uint64_t from, uint64_t to, void *arg)
{
    struct numbers *numbers = arg;
    assert_true(from - numbers->first < numbers->entries);
    assert_memory_equal(entry, &numbers->old[from - numbers->first], sizeof *entry);
    assert_int_equal(numbers->now[from - numbers->first], from);
    numbers->now[from - numbers->first] = to;
}

static void tidy(struct queue *queue, uint32_t limit)
{
    static struct numbers numbers;
    numbers.first = queue->first;
    numbers.entries = queue->entries;
    assert_true(queue->entries <= MODEL_MAX);
    for (uint32_t i = 0; i < queue->entries; i++) {
        numbers.old[i] = *queue_at(queue, i);
        numbers.now[i] = queue->first + i;
    }
    queue_tidy(queue, limit, note_moved, &numbers);
    for (uint32_t i = 0; i < numbers.entries; i++) {
        if (numbers.old[i].run == NULL) continue;
        uint64_t place = numbers.now[i] - queue->first;
        assert_true(place < queue->entries);
        assert_memory_equal(queue_at(queue, (uint32_t)place), &numbers.old[i], sizeof numbers.old[i]);
    }
    if (limit == UINT32_MAX) assert_false(queue->untidy);
}

static void drop(struct fixture *f, uint64_t max_msgs, uint64_t max_bytes, enum mps_gap_reason reason)
{
    uint64_t lost = queue_drop_oldest(&f->queue, &f->runs, max_msgs, max_bytes, reason);
    assert_int_equal(lost, model_drop(&f->model, max_msgs, max_bytes, reason));
}

/* What queue_msgs_over() says is enough. */
static void drop_to_memory(struct fixture *f)
{
    uint64_t memory = f->queue.bytes + (uint64_t)f->queue.entries * QUEUE_ENTRY_BYTES, left = 0;
    uint64_t target = memory - (uint64_t)rand() % (memory / 4 + 1);
    uint64_t over = queue_msgs_over(&f->queue, target);
    assert_true(over <= f->queue.msgs);
    drop(f, f->queue.msgs - over, UINT64_MAX, MPS_GAP_MEMORY);
    for (uint32_t i = 0; i < f->queue.entries; i++) {
        const struct queue_entry *entry = queue_at(&f->queue, i);
        if (entry->run != NULL) left += entry->len + QUEUE_ENTRY_BYTES;
    }
    assert_true(left <= target || f->queue.msgs == 0);
}

static void operate(struct fixture *f, int what)
{
    enum mps_gap_reason reason = rand() % 2 ? MPS_GAP_TOO_LARGE : MPS_GAP_DROP_OLD;
    if (what < 6) {
        push(f, false);
    } else if (what < 8) {
        queue_push_gap(&f->queue, reason, 3);
        model_gap(&f->model, f->model.count, reason, 3);
    } else if (what == 8) {
        run_settle_all(&f->runs);
    } else if (what == 9 && f->model.count < MODEL_MAX / 2) {
        push(f, true);
    } else if (what == 10) {
        queue_push_front_gap(&f->queue, reason, 2);
        model_gap(&f->model, 0, reason, 2);
    } else if (what == 11) {
        queue_mark(&f->queue);
        f->model.mark = f->model.count;
    } else if (f->queue.entries == 0) {
        return;
    } else if (what < 16) {
        pop(f);
    } else if (what < 18) {
        pop_and_push_front(f);
    } else if (what < 22) {
        lose_at(f);
    } else if (what == 22) {
        tidy(&f->queue, rand() % 2 ? UINT32_MAX : (uint32_t)rand() % (f->queue.entries + 1));
    } else if (what == 23) {
        drop_to_memory(f);
    } else {
        drop(f, 20 + (uint64_t)rand() % 60, 500 + (uint64_t)rand() % 8000, reason);
    }
}

static void clear(struct fixture *f)
{
    queue_clear(&f->queue, &f->runs);
    f->model.count = f->model.mark = 0;
    run_settle_all(&f->runs);
    assert_int_equal(f->runs.alive, 0);
}

static void behaves_like_the_model(void **state)
{
    struct fixture *f = *state;
    srand(1);
    for (int step = 0; step < STEPS; step++) {
        operate(f, rand() % 27);
        check(&f->queue, &f->model);
        if (step % 500 == 0) clear(f);
    }
    clear(f);
}

/* ---- a mailbox with policy `latest` -------------------------------------------------------------------------- */

/* Encodings of props key 6, and which key they mean. */
static const struct {
    const char *bytes;
    uint32_t len;
    unsigned key;
} keys[] = {
    {"\x07", 1, 10},
    {"\xcc\x07", 2, 10},
    {"\xd1\x00\x07", 3, 10},
    {"\xa1x", 2, 11},
    {"\xd9\x01x", 3, 11},
    {"\xc4\x01x", 3, 12},
    {"\xc0", 1, 13},
    {"\xc3", 1, 14},
    {"\xca\x3f\xc0\x00\x00", 5, 15},
    {"\xff", 1, 16},
    {"\xd0\xff", 2, 16},
    {"\xa1t", 2, 17},
    {"\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00", 9, 15},
};
#define KEYS (sizeof keys / sizeof keys[0])
#define TOPICS 4 /* a message without props has its topic as the key: 0..3 */
#define MEMBERS 2

/* Mailboxes with the broker around them; it takes no turn before the end. The members hold what was handed to them. */
struct post {
    struct env env;
    struct broker *broker;
    struct session *session;
    struct mailbox *box, *members[MEMBERS];
    struct model model, held[MEMBERS];
};

static uint64_t no_time(struct env *env)
{
    (void)env;
    return 1000;
}

static void no_chance(struct env *env, void *bytes, size_t len)
{
    (void)env;
    memset(bytes, 7, len);
}

static void no_log(struct env *env, const struct log_record *record)
{
    (void)env;
    (void)record;
}

static int open_post(void **state)
{
    struct post *post = calloc(1, sizeof *post);
    post->env = (struct env){.now_ms = no_time, .wall_ms = no_time, .random = no_chance, .log = no_log};
    post->broker = broker_new(&post->env, NULL);
    post->session = session_new(post->broker, NULL);
    session_set_state(post->session, SESSION_READY);
    struct mailbox **boxes[] = {&post->box, &post->members[0], &post->members[1]};
    for (uint32_t i = 0; i < 3; i++) *boxes[i] = &subscription_new(post->session, i + 1, mps_text("t"))->box;
    mailbox_set_terms(post->box, &(struct terms){.policy = MPS_POLICY_LATEST, .max_msgs = 9, .max_bytes = 1200});
    *state = post;
    return 0;
}

static int close_post(void **state)
{
    struct post *post = *state;
    session_closed(post->session);
    broker_turn(post->broker);
    assert_int_equal(post->broker->rings_bytes, 0);
    broker_free(post->broker); /* sees that no run and no slab is left */
    free(post);
    return 0;
}

static void model_expire(const struct post *post, struct model *model)
{
    for (size_t i = 0; i < model->count; i++) {
        if (model->items[i].serial > 0 && model->items[i].expires_ms <= post->broker->now_ms)
            model_lose(model, i, MPS_GAP_EXPIRED);
    }
}

/* Of the messages before position `end`. */
static void model_supersede(struct model *model, size_t end, unsigned key)
{
    for (size_t i = 0; i < end; i++) {
        if (model->items[i].serial > 0 && model->items[i].key == key) model_lose(model, i, MPS_GAP_SUPERSEDED);
    }
}

static void model_push(struct post *post, struct run *run, struct part part, unsigned key)
{
    struct model *model = &post->model;
    const struct mailbox *box = post->box;
    for (uint32_t at = part.off, end, one; at < part.off + part.len; at = end) {
        end = run_frame_end(run, at, at, &one);
        if (end - at > box->max_bytes) {
            model_gap(model, model->count, MPS_GAP_DROP_OLD, 1);
            continue;
        }
        model_expire(post, model);
        if (box->policy == MPS_POLICY_LATEST) model_supersede(model, model->count, key);
        model_add(model, model->count, run, (struct part){at, end - at, 1}, key);
        model_drop(model, box->max_msgs, box->max_bytes, MPS_GAP_DROP_OLD);
    }
}

static void expire(struct post *post)
{
    mailbox_expire(post->box);
    model_expire(post, &post->model);
}

static void publish(struct post *post)
{
    static const char *const topics[TOPICS] = {"t", "u", "a/b", ""};
    uint8_t props[16] = {0x81, 0x06};
    unsigned choice = (unsigned)rand() % (unsigned)(KEYS + TOPICS - 1), key = choice;
    mps_view view = {NULL, 0};
    if (choice >= TOPICS - 1) {
        choice -= TOPICS - 1;
        memcpy(props + 2, keys[choice].bytes, keys[choice].len);
        view = (mps_view){props, 2 + keys[choice].len};
        key = keys[choice].key;
        choice = (unsigned)rand() % (TOPICS - 1);
    }
    uint32_t count = rand() % 3 ? 1 : 1 + (uint32_t)rand() % 30, len = rand() % 2 ? 20 : 0;
    if (rand() % 20 == 0) len = 390;
    struct run *run = make_run_of(&post->broker->runs, topics[choice], view, count, len);
    if (rand() % 4 == 0) run->expires_ms = post->broker->now_ms + 1 + (uint64_t)rand() % 200;
    struct part part = {0, run->len, run->count};
    if (post->box->latest == NULL) expire(post); /* else that may or may not happen by itself */
    mailbox_push(post->box, run, part);
    model_push(post, run, part, key);
}

/* As a group does: the front goes to a member. */
static void hand_out(struct post *post)
{
    struct mailbox *box = post->box;
    int who = rand() % MEMBERS;
    struct model *held = &post->held[who];
    const struct queue_entry *entry = queue_at(&box->queue, 0);
    if (entry->run == NULL) {
        enum mps_gap_reason reason = (enum mps_gap_reason)entry->off;
        model_pop_gap(&post->model, reason, entry->count);
        model_gap(held, held->count, reason, entry->count);
        mailbox_append_gap(post->members[who], reason, entry->count);
        mailbox_pop_gap(box);
        return;
    }
    uint32_t one, len = run_frame_end(entry->run, entry->off, entry->off, &one) - entry->off;
    model_insert(held, held->count, post->model.items[0]);
    model_remove(&post->model, 0);
    mailbox_append(post->members[who], entry->run, (struct part){entry->off, len, 1});
    box->sent++;
    mailbox_pop(box, len, 1);
}

/* Messages come back in the order of their serial numbers; a gap stands before the message behind it. */
static void take_back(struct post *post)
{
    uint32_t last;
    mailbox_take_back(post->box, post->members, MEMBERS);
    do {
        last = 0; /* the latest that is left; its gaps, and those behind all messages, are taken first */
        struct model *from = NULL;
        for (int i = 0; i < MEMBERS; i++) {
            struct model *held = &post->held[i];
            for (; held->count > 0 && held->items[held->count - 1].serial == 0; held->count--)
                model_insert(&post->model, 0, held->items[held->count - 1]);
            if (held->count == 0 || held->items[held->count - 1].serial < last) continue;
            last = held->items[held->count - 1].serial;
            from = held;
        }
        if (from == NULL) return;
        struct item item = from->items[--from->count];
        bool is_old = false;
        for (size_t i = 0; i < post->model.count && post->box->policy == MPS_POLICY_LATEST; i++)
            is_old = is_old || (post->model.items[i].serial > 0 && post->model.items[i].key == item.key);
        model_insert(&post->model, 0, item);
        if (is_old) model_lose(&post->model, 0, MPS_GAP_SUPERSEDED);
        for (; from->count > 0 && from->items[from->count - 1].serial == 0; from->count--)
            model_insert(&post->model, 0, from->items[from->count - 1]);
    } while (last > 0);
}

static void change_policy(struct post *post)
{
    static struct model old;
    bool is_latest = post->box->policy == MPS_POLICY_LATEST;
    take_back(post); /* members hold something only while the core flushes */
    mailbox_set_terms(post->box, &(struct terms){.policy = is_latest ? MPS_POLICY_DROP_OLD : MPS_POLICY_LATEST,
                                                 .max_msgs = 5 + (uint64_t)rand() % 8,
                                                 .max_bytes = 300 + (uint64_t)rand() % 1000});
    model_expire(post, &post->model);
    old = post->model;
    if (!is_latest) post->model.count = 0; /* all come once more */
    for (size_t i = 0; !is_latest && i < old.count; i++) {
        if (old.items[i].serial > 0) model_supersede(&post->model, post->model.count, old.items[i].key);
        model_insert(&post->model, post->model.count, old.items[i]);
        model_drop(&post->model, post->box->max_msgs, UINT64_MAX, MPS_GAP_DROP_OLD);
    }
    model_drop(&post->model, post->box->max_msgs, post->box->max_bytes, MPS_GAP_DROP_OLD);
}

static void cut_down(struct post *post)
{
    uint64_t memory = mailbox_memory(post->box), msgs = post->box->queue.msgs;
    mailbox_cut_down(post->box, memory - (uint64_t)rand() % (memory / 2 + 1));
    model_drop(&post->model, post->box->queue.msgs, UINT64_MAX, MPS_GAP_MEMORY);
    assert_true(post->box->queue.msgs <= msgs);
}

static void check_post(const struct post *post)
{
    const struct mailbox *box = post->box;
    uint64_t bytes = box->queue.bytes;
    check(&box->queue, &post->model);
    assert_int_equal(box->matched, box->sent + box->lost + box->queue.msgs);
    for (int i = 0; i < MEMBERS; i++) {
        check(&post->members[i]->queue, &post->held[i]);
        bytes += post->members[i]->queue.bytes;
    }
    assert_int_equal(post->session->queued_bytes, bytes);
    for (uint32_t i = 0; box->latest != NULL && i < box->queue.entries; i++) {
        const struct queue_entry *entry = queue_at(&box->queue, i);
        uint64_t number = 0;
        if (entry->run == NULL) continue;
        assert_true(latest_find(box->latest, &box->queue, queue_frame(entry), &number));
        assert_int_equal(number, box->queue.first + i);
    }
}

static void the_index_by_key_follows_the_queue(void **state)
{
    struct post *post = *state;
    srand(2);
    for (int step = 0; step < STEPS; step++) {
        int what = rand() % 20;
        bool is_empty = post->box->queue.entries == 0;
        if (what < 8) publish(post);
        else if (what < 13 && !is_empty) hand_out(post);
        else if (what == 13) take_back(post);
        else if (what == 14 && step % 7 == 0) change_policy(post);
        else if (what == 15 && !is_empty) cut_down(post);
        else if (what == 16) post->broker->now_ms += (uint64_t)rand() % 60;
        else if (what == 17) run_settle_all(&post->broker->runs);
        else if (what == 18) mailbox_tidy(post->box, (uint32_t)rand() % 30);
        else if (what == 19) expire(post);
        check_post(post);
    }
}

static void parts_of_one_run_are_one_entry(void **state)
{
    struct fixture *f = *state;
    struct run *run = make_run(f, 10, 20);
    for (uint32_t i = 0; i < 10; i++) queue_push(&f->queue, run, i * run_stride(run), run_stride(run), 1);
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
    uint32_t stride = run_stride(run), all = run->len;
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
    run->len = run->shortest = run->longest = 100000;
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
        cmocka_unit_test_setup_teardown(the_index_by_key_follows_the_queue, open_post, close_post),
        cmocka_unit_test_setup_teardown(parts_of_one_run_are_one_entry, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stalled_run_lets_the_slab_go, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_left_of_a_run_does_not_keep_all_of_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(memory_beside_the_bytes_is_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_large_frames_slab_is_kept_not_copied, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
