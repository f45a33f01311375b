#include "positions.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_COUNT 16

void mps_positions_free(struct mps_positions *positions)
{
    for (size_t i = 0; i < positions->count; i++) {
        free(positions->list[i].unsettled);
        free(positions->list[i].settled);
    }
    free(positions->list);
    *positions = (struct mps_positions){0};
}

static struct mps_stream_place *find(const struct mps_positions *positions, uint64_t stream)
{
    for (size_t i = 0; i < positions->count; i++)
        if (positions->list[i].stream == stream) return &positions->list[i];
    return NULL;
}

/* The place in a stream, a new one if need be; NULL: out of memory. */
static struct mps_stream_place *place_in(struct mps_positions *positions, uint64_t stream)
{
    struct mps_stream_place *place = find(positions, stream);
    if (place != NULL) return place;
    struct mps_stream_place *list = realloc(positions->list, (positions->count + 1) * sizeof *list);
    if (list == NULL) return NULL;
    positions->list = list;
    place = &list[positions->count++];
    *place = (struct mps_stream_place){.stream = stream, .sure = UINT64_MAX};
    return place;
}

int mps_positions_begin(struct mps_positions *positions, uint64_t stream, uint64_t seq)
{
    struct mps_stream_place *place = place_in(positions, stream);
    if (place == NULL) return PUBSUB_ENOMEM;
    place->end = place->reached = seq;
    return PUBSUB_OK;
}

static void advance(struct mps_stream_place *place, uint64_t seq)
{
    if (seq >= place->reached) place->reached = seq + 1;
    if (seq >= place->end) place->end = seq + 1;
}

int mps_positions_pass(struct mps_positions *positions, uint64_t stream, uint64_t seq)
{
    struct mps_stream_place *place = place_in(positions, stream);
    if (place == NULL) return PUBSUB_ENOMEM;
    advance(place, seq);
    return PUBSUB_OK;
}

/* ---- what is not acknowledged ------------------------------------------------------------------------------- */

/* Index of the first one that is not below seq. */
static size_t position(const struct mps_stream_place *place, uint64_t seq)
{
    size_t low = place->begin, high = place->end_at;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (place->unsettled[middle] < seq) low = middle + 1;
        else high = middle;
    }
    return low;
}

static bool is_there(const struct mps_stream_place *place, size_t at, uint64_t seq)
{
    return at < place->end_at && place->unsettled[at] == seq;
}

/* Makes room for one more at the end, by moving to the front where that frees as much as it moves. */
static int make_room(struct mps_stream_place *place)
{
    if (place->end_at < place->cap) return PUBSUB_OK;
    size_t count = place->end_at - place->begin;
    if (place->begin > count) {
        memmove(place->unsettled, place->unsettled + place->begin, count * sizeof *place->unsettled);
        place->begin = 0;
        place->end_at = count;
        return PUBSUB_OK;
    }
    size_t cap = place->cap == 0 ? FIRST_COUNT : 2 * place->cap;
    uint64_t *unsettled = realloc(place->unsettled, cap * sizeof *unsettled);
    if (unsettled == NULL) return PUBSUB_ENOMEM;
    place->unsettled = unsettled;
    place->cap = cap;
    return PUBSUB_OK;
}

int mps_positions_hand(struct mps_positions *positions, uint64_t stream, uint64_t seq)
{
    struct mps_stream_place *place = place_in(positions, stream);
    if (place == NULL) return PUBSUB_ENOMEM;
    if (place->settled == NULL) place->settled = malloc(MPS_SETTLED_MAX * sizeof *place->settled);
    if (place->settled == NULL || make_room(place) != PUBSUB_OK) return PUBSUB_ENOMEM;
    size_t at = position(place, seq);
    if (!is_there(place, at, seq)) {
        memmove(place->unsettled + at + 1, place->unsettled + at, (place->end_at - at) * sizeof *place->unsettled);
        place->unsettled[at] = seq;
        place->end_at++;
    }
    advance(place, seq);
    return PUBSUB_OK;
}

int mps_positions_gone(struct mps_positions *positions, uint64_t stream, uint64_t first, uint64_t last)
{
    struct mps_stream_place *place = place_in(positions, stream);
    if (place == NULL) return PUBSUB_ENOMEM;
    size_t from = position(place, first), to = position(place, last + 1);
    if (from < to) {
        memmove(place->unsettled + from, place->unsettled + to, (place->end_at - to) * sizeof *place->unsettled);
        place->end_at -= to - from;
    }
    advance(place, last);
    return PUBSUB_OK;
}

void mps_positions_restart(struct mps_positions *positions, uint64_t stream)
{
    struct mps_stream_place *place = find(positions, stream);
    if (place == NULL) return;
    place->begin = place->end_at = place->settled_count = 0;
    place->end = place->reached = 1;
    place->sure = UINT64_MAX;
}

bool mps_positions_is_unsettled(const struct mps_positions *positions, uint64_t stream, uint64_t seq)
{
    const struct mps_stream_place *place = find(positions, stream);
    return place != NULL && seq < place->reached && is_there(place, position(place, seq), seq);
}

/* ---- what is ------------------------------------------------------------------------------------------------ */

static void remember(struct mps_stream_place *place, uint64_t seq, bool never)
{
    place->settled[place->settled_count++ % MPS_SETTLED_MAX] = 2 * seq + never;
}

static uint64_t settle_upto(struct mps_stream_place *place, uint64_t seq)
{
    size_t from = place->begin, to = position(place, seq + 1), told = position(place, place->reached);
    for (size_t i = from; i < to; i++) remember(place, place->unsettled[i], false);
    place->begin = to;
    if (told > to) told = to;
    return told > from ? place->unsettled[told - 1] : 0;
}

uint64_t mps_positions_settle(struct mps_positions *positions, uint64_t stream, uint64_t seq, enum pubsub_ack_kind kind)
{
    struct mps_stream_place *place = find(positions, stream);
    if (place == NULL) return 0;
    if (kind == PUBSUB_ACKED_UPTO) return settle_upto(place, seq);
    size_t at = position(place, seq);
    if (!is_there(place, at, seq)) return 0;
    remember(place, seq, kind == PUBSUB_ACKED_NEVER);
    if (at == place->begin) {
        place->begin++;
    } else {
        place->end_at--;
        memmove(place->unsettled + at, place->unsettled + at + 1, (place->end_at - at) * sizeof *place->unsettled);
    }
    return seq < place->reached ? seq : 0;
}

static uint64_t sure_end(const struct mps_stream_place *place)
{
    return place->sure < place->end ? place->sure : place->end;
}

bool mps_positions_was_settled(const struct mps_positions *positions, uint64_t stream, uint64_t seq,
                               enum pubsub_ack_kind *kind)
{
    const struct mps_stream_place *place = find(positions, stream);
    if (place == NULL || seq >= place->end || is_there(place, position(place, seq), seq)) return false;
    size_t count = place->settled_count < MPS_SETTLED_MAX ? place->settled_count : MPS_SETTLED_MAX;
    for (size_t i = 0; i < count; i++) {
        if (place->settled[i] / 2 != seq) continue;
        *kind = place->settled[i] % 2 != 0 ? PUBSUB_ACKED_NEVER : PUBSUB_ACKED_ONE;
        return true;
    }
    *kind = PUBSUB_ACKED_ONE;
    return seq >= place->reached && seq < sure_end(place); /* it was given before, and is not unsettled */
}

/* ---- connections -------------------------------------------------------------------------------------------- */

static uint64_t resume_at(const struct mps_stream_place *place)
{
    uint64_t first = place->begin < place->end_at ? place->unsettled[place->begin] : UINT64_MAX, end = sure_end(place);
    return first < end ? first : end;
}

void mps_positions_resumed(struct mps_positions *positions)
{
    for (size_t i = 0; i < positions->count; i++) positions->list[i].sure = sure_end(&positions->list[i]);
}

void mps_positions_rewind(struct mps_positions *positions)
{
    for (size_t i = 0; i < positions->count; i++) {
        struct mps_stream_place *place = &positions->list[i];
        place->reached = resume_at(place);
        place->end = sure_end(place);
        place->sure = UINT64_MAX;
    }
}

void mps_positions_hand_over(struct mps_positions *positions)
{
    for (size_t i = 0; i < positions->count; i++) {
        struct mps_stream_place *place = &positions->list[i];
        place->begin = place->end_at = 0;
        place->reached = place->end;
    }
}

uint32_t mps_positions_resume(const struct mps_positions *positions, uint64_t *pairs)
{
    uint32_t count = 0;
    for (; count < positions->count && count < MPS_FROM_POSITIONS_MAX; count++) {
        pairs[2 * count] = positions->list[count].stream;
        pairs[2 * count + 1] = resume_at(&positions->list[count]);
    }
    return count;
}
