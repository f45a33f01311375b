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
    assert_false(mps_positions_settle(&positions, 64, 1, PUBSUB_ACKED_ONE));
    assert_false(mps_positions_is_unsettled(&positions, 64, 1));
    assert_false(mps_positions_was_settled(&positions, 64, 1, &kind));
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
        assert_true(mps_positions_settle(&positions, 64, seq, how));
    }
    for (uint64_t seq = 1; seq <= count; seq++) {
        bool known = mps_positions_was_settled(&positions, 64, seq, &kind);
        assert_int_equal(known, seq > 100);
        if (known) assert_int_equal(kind, seq % 3 == 0 ? PUBSUB_ACKED_NEVER : PUBSUB_ACKED_ONE);
    }
    mps_positions_free(&positions);
}

/* ---- the model ---------------------------------------------------------------------------------------------- */

#define POSITIONS 200

struct model {
    enum { UNKNOWN, UNSETTLED, SETTLED } at[POSITIONS + 2];
    bool never[POSITIONS + 2];
    uint64_t next, end;
    bool acknowledges; /* something was given that has to be acknowledged */
};

static uint64_t first_unsettled(const struct model *model)
{
    for (uint64_t seq = 0; seq <= POSITIONS; seq++)
        if (model->at[seq] == UNSETTLED) return seq;
    return UINT64_MAX;
}

static uint64_t resume_at(const struct model *model)
{
    uint64_t first = first_unsettled(model);
    return first < model->next ? first : model->next;
}

static void model_advance(struct model *model, uint64_t seq)
{
    if (seq >= model->next) model->next = seq + 1;
    if (seq >= model->end) model->end = seq + 1;
}

static bool model_settle(struct model *model, uint64_t seq, enum pubsub_ack_kind kind)
{
    bool any = false;
    if (!model->acknowledges) return false;
    if (kind == PUBSUB_ACKED_UPTO) {
        for (uint64_t i = 0; i <= seq; i++) {
            if (model->at[i] != UNSETTLED) continue;
            model->at[i] = SETTLED;
            model->never[i] = false;
            any = true;
        }
        return any;
    }
    any = model->at[seq] == UNSETTLED;
    if (!any && seq >= model->end) return false;
    model->never[seq] = kind == PUBSUB_ACKED_NEVER;
    model->at[seq] = SETTLED;
    return any;
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
    if (mps_positions_resume(positions, pairs) > 0) assert_int_equal(pairs[1], resume_at(model));
    for (uint64_t seq = 0; seq <= POSITIONS; seq++) {
        assert_int_equal(mps_positions_is_unsettled(positions, 64, seq), model->at[seq] == UNSETTLED);
        bool settled = mps_positions_was_settled(positions, 64, seq, &kind);
        assert_int_equal(settled, model->at[seq] == SETTLED);
        if (settled) assert_int_equal(kind, model->never[seq] ? PUBSUB_ACKED_NEVER : PUBSUB_ACKED_ONE);
    }
}

static void drop_unsettled(struct model *model, uint64_t first, uint64_t last)
{
    for (uint64_t seq = first; seq <= last; seq++)
        if (model->at[seq] == UNSETTLED) model->at[seq] = UNKNOWN;
}

static void step(struct mps_positions *positions, struct model *model, uint32_t *seed)
{
    uint64_t seq = next_random(seed) % POSITIONS;
    uint32_t what = next_random(seed) % 100;
    if (what < 50) {
        if (model->at[seq] == SETTLED) return; /* nobody is given that */
        assert_int_equal(mps_positions_hand(positions, 64, seq), PUBSUB_OK);
        model->at[seq] = UNSETTLED;
        model->acknowledges = true;
        model_advance(model, seq);
    } else if (what < 85) {
        enum pubsub_ack_kind kind = what < 55 ? PUBSUB_ACKED_UPTO : what < 75 ? PUBSUB_ACKED_ONE : PUBSUB_ACKED_NEVER;
        if (model->at[seq] == SETTLED && kind != PUBSUB_ACKED_UPTO) return; /* would only be remembered twice */
        assert_int_equal(mps_positions_settle(positions, 64, seq, kind), model_settle(model, seq, kind));
    } else if (what < 95) {
        uint64_t last = seq + next_random(seed) % 5;
        assert_int_equal(mps_positions_gone(positions, 64, seq, last), PUBSUB_OK);
        drop_unsettled(model, seq, last < POSITIONS ? last : POSITIONS);
        model_advance(model, last);
    } else if (what < 98) {
        mps_positions_rewind(positions);
        model->next = resume_at(model);
        drop_unsettled(model, 0, POSITIONS);
    } else {
        mps_positions_hand_over(positions);
        drop_unsettled(model, 0, POSITIONS);
    }
}

static void like_the_model(void **state)
{
    (void)state;
    for (uint32_t run = 1; run <= 200; run++) {
        struct mps_positions positions = {0};
        struct model model = {.next = 0};
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
        cmocka_unit_test(like_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
