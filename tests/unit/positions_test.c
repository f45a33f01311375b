/* Where a subscription stands, against a model that is nothing but a table of all positions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../client-lib/positions.h"

static void empty(void **state)
{
    (void)state;
    struct mps_positions positions = {0};
    enum pubsub_ack_kind kind;
    uint64_t pairs[2 * MPS_FROM_POSITIONS_MAX];
    assert_int_equal(mps_positions_resume(&positions, pairs), 0);
    assert_int_equal(mps_positions_settle(&positions, 64, 1, PUBSUB_ACKED_ONE), 0);
    assert_false(mps_positions_is_unsettled(&positions, 64, 1));
    assert_false(mps_positions_was_settled(&positions, 64, 1, &kind));
    mps_positions_resumed(&positions);
    mps_positions_rewind(&positions);
    mps_positions_hand_over(&positions);
    mps_positions_free(&positions);
}

static void streams_are_apart(void **state)
{
    (void)state;
    struct mps_positions positions = {0};
    uint64_t pairs[2 * MPS_FROM_POSITIONS_MAX];
    for (uint64_t stream = 64; stream < 64 + MPS_FROM_POSITIONS_MAX + 5; stream++)
        assert_int_equal(mps_positions_pass(&positions, stream, 10 * stream), PUBSUB_OK);
    assert_int_equal(mps_positions_resume(&positions, pairs), MPS_FROM_POSITIONS_MAX);
    for (uint64_t i = 0; i < MPS_FROM_POSITIONS_MAX; i++)
        assert_true(pairs[2 * i] == 64 + i && pairs[2 * i + 1] == 10 * (64 + i) + 1);
    mps_positions_free(&positions);
    assert_int_equal(mps_positions_begin(&positions, 70, 5), PUBSUB_OK);
    assert_int_equal(mps_positions_resume(&positions, pairs), 1);
    assert_true(pairs[0] == 70 && pairs[1] == 5);
    mps_positions_free(&positions);
}

/* As many acknowledgements are remembered as is said, the latest ones. */
static void memory_is_bounded(void **state)
{
    (void)state;
    struct mps_positions positions = {0};
    enum pubsub_ack_kind kind;
    const uint64_t count = MPS_SETTLED_MAX + 100;
    for (uint64_t seq = 1; seq <= count; seq++) {
        assert_int_equal(mps_positions_hand(&positions, 64, seq), PUBSUB_OK);
        enum pubsub_ack_kind how = seq % 3 == 0 ? PUBSUB_ACKED_NEVER : PUBSUB_ACKED_ONE;
        assert_int_equal(mps_positions_settle(&positions, 64, seq, how), seq);
    }
    for (uint64_t seq = 1; seq <= count; seq++) {
        bool known = mps_positions_was_settled(&positions, 64, seq, &kind);
        assert_int_equal(known, seq > 100);
        if (known) assert_int_equal(kind, seq % 3 == 0 ? PUBSUB_ACKED_NEVER : PUBSUB_ACKED_ONE);
    }
    mps_positions_free(&positions);
}

/* What was given and is not unsettled need not be remembered, if it comes again in order. */
static void what_comes_again_in_order_is_known(void **state)
{
    (void)state;
    struct mps_positions positions = {0};
    enum pubsub_ack_kind kind;
    uint64_t pairs[2 * MPS_FROM_POSITIONS_MAX];
    const uint64_t count = 3 * MPS_SETTLED_MAX;
    for (uint64_t seq = 1; seq <= count; seq++) {
        assert_int_equal(mps_positions_hand(&positions, 64, seq), PUBSUB_OK);
        if (seq % 100 != 7) mps_positions_settle(&positions, 64, seq, PUBSUB_ACKED_ONE);
    }
    mps_positions_rewind(&positions);
    assert_int_equal(mps_positions_resume(&positions, pairs), 1);
    assert_int_equal(pairs[1], 7);
    for (uint64_t seq = 7; seq <= count; seq++)
        assert_int_equal(mps_positions_was_settled(&positions, 64, seq, &kind), seq % 100 != 7);
    mps_positions_free(&positions);
}

/* In a session, what a connection swallowed may come behind what is new: it was not given to the program. */
static void what_was_swallowed_is_not_taken_for_settled(void **state)
{
    (void)state;
    struct mps_positions positions = {0};
    enum pubsub_ack_kind kind;
    uint64_t pairs[2 * MPS_FROM_POSITIONS_MAX];
    assert_int_equal(mps_positions_hand(&positions, 64, 1), PUBSUB_OK);
    assert_int_equal(mps_positions_settle(&positions, 64, 1, PUBSUB_ACKED_ONE), 1);
    mps_positions_resumed(&positions); /* 2 was swallowed */
    assert_int_equal(mps_positions_hand(&positions, 64, 3), PUBSUB_OK);
    assert_int_equal(mps_positions_settle(&positions, 64, 3, PUBSUB_ACKED_ONE), 3);
    assert_false(mps_positions_was_settled(&positions, 64, 2, &kind));
    mps_positions_rewind(&positions);
    assert_int_equal(mps_positions_resume(&positions, pairs), 1);
    assert_int_equal(pairs[1], 2);
    assert_false(mps_positions_was_settled(&positions, 64, 2, &kind));
    mps_positions_free(&positions);
}

/* ---- the model ---------------------------------------------------------------------------------------------- */

#define POSITIONS 200

struct model {
    enum { NEW, UNSETTLED, SETTLED } at[POSITIONS + 1];
    bool never[POSITIONS + 1];
    uint64_t end, sure, reached;
};

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t resume_at(const struct model *model)
{
    uint64_t end = least(model->end, model->sure);
    for (uint64_t seq = 0; seq < end && seq <= POSITIONS; seq++)
        if (model->at[seq] == UNSETTLED) return seq;
    return end;
}

static void model_advance(struct model *model, uint64_t seq)
{
    if (seq >= model->reached) model->reached = seq + 1;
    if (seq >= model->end) model->end = seq + 1;
}

static uint64_t model_settle(struct model *model, uint64_t seq, enum pubsub_ack_kind kind)
{
    uint64_t told = 0;
    for (uint64_t i = kind == PUBSUB_ACKED_UPTO ? 0 : seq; i <= seq; i++) {
        if (model->at[i] != UNSETTLED) continue;
        model->at[i] = SETTLED;
        model->never[i] = kind == PUBSUB_ACKED_NEVER;
        if (i < model->reached) told = i;
    }
    return told;
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 16;
}

static void compare(const struct mps_positions *positions, const struct model *model)
{
    uint64_t pairs[2 * MPS_FROM_POSITIONS_MAX];
    enum pubsub_ack_kind kind;
    assert_int_equal(mps_positions_resume(positions, pairs), 1);
    assert_int_equal(pairs[1], resume_at(model));
    for (uint64_t seq = 1; seq <= POSITIONS; seq++) {
        bool unsettled = model->at[seq] == UNSETTLED;
        bool inferred = !unsettled && seq >= model->reached && seq < least(model->end, model->sure);
        assert_int_equal(mps_positions_is_unsettled(positions, 64, seq), unsettled && seq < model->reached);
        bool settled = mps_positions_was_settled(positions, 64, seq, &kind);
        assert_int_equal(settled, (model->at[seq] == SETTLED && seq < model->end) || inferred);
        if (!settled) continue;
        bool never = model->at[seq] == SETTLED && model->never[seq];
        assert_int_equal(kind, never ? PUBSUB_ACKED_NEVER : PUBSUB_ACKED_ONE);
    }
}

static void drop_unsettled(struct model *model, uint64_t first, uint64_t last)
{
    for (uint64_t seq = first; seq <= last; seq++)
        if (model->at[seq] == UNSETTLED) model->at[seq] = NEW;
}

static void change_connection(struct mps_positions *positions, struct model *model, uint32_t how)
{
    if (how == 0) {
        mps_positions_resumed(positions);
        model->sure = least(model->sure, model->end);
    } else if (how == 1) {
        mps_positions_rewind(positions);
        model->reached = resume_at(model);
        model->end = least(model->end, model->sure);
        model->sure = UINT64_MAX;
    } else {
        mps_positions_hand_over(positions);
        drop_unsettled(model, 0, POSITIONS);
        model->reached = model->end;
    }
}

static void step(struct mps_positions *positions, struct model *model, uint32_t *seed)
{
    uint64_t seq = 1 + next_random(seed) % (POSITIONS - 1);
    uint32_t what = next_random(seed) % 100;
    if (what < 50) {
        if (model->at[seq] == SETTLED) return; /* nobody is given that */
        assert_int_equal(mps_positions_hand(positions, 64, seq), PUBSUB_OK);
        model->at[seq] = UNSETTLED;
        model_advance(model, seq);
    } else if (what < 85) {
        enum pubsub_ack_kind kind = what < 55 ? PUBSUB_ACKED_UPTO : what < 75 ? PUBSUB_ACKED_ONE : PUBSUB_ACKED_NEVER;
        assert_int_equal(mps_positions_settle(positions, 64, seq, kind), model_settle(model, seq, kind));
    } else if (what < 92) {
        uint64_t last = seq + next_random(seed) % 5;
        assert_int_equal(mps_positions_gone(positions, 64, seq, last), PUBSUB_OK);
        drop_unsettled(model, seq, least(last, POSITIONS));
        model_advance(model, last);
    } else if (what < 95) {
        assert_int_equal(mps_positions_pass(positions, 64, seq), PUBSUB_OK);
        model_advance(model, seq);
    } else {
        change_connection(positions, model, next_random(seed) % 3);
    }
}

static void like_the_model(void **state)
{
    (void)state;
    for (uint32_t run = 1; run <= 200; run++) {
        struct mps_positions positions = {0};
        struct model model = {.sure = UINT64_MAX};
        uint32_t seed = run;
        assert_int_equal(mps_positions_begin(&positions, 64, 0), PUBSUB_OK);
        for (int i = 0; i < 300; i++) {
            step(&positions, &model, &seed);
            compare(&positions, &model);
        }
        mps_positions_free(&positions);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty),
        cmocka_unit_test(streams_are_apart),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(what_comes_again_in_order_is_known),
        cmocka_unit_test(what_was_swallowed_is_not_taken_for_settled),
        cmocka_unit_test(like_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
