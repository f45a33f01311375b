/* SUB's `from`: where a subscription begins. A name, [name, number], or ["seq", stream, position, .., rest?]. */
#include "wire.h"

static bool has_number(enum mps_from_kind kind)
{
    switch (kind) {
    case MPS_FROM_LAST:
    case MPS_FROM_TIME:
    case MPS_FROM_AGO: return true;
    case MPS_FROM_NEW:
    case MPS_FROM_ALL:
    case MPS_FROM_SEQ:
    case MPS_FROM_ACKED:
    case MPS_FROM_LAST_PER_TOPIC: break;
    }
    return false;
}

/* ---- reading ------------------------------------------------------------------------------------------------ */

static enum mps_from_kind read_kind(struct mps_reader *r)
{
    mps_view name = mps_read_text(r, "from");
#define FROM(number, NAME, text) \
    if (mps_view_equal(name, mps_text(text))) return MPS_FROM_##NAME;
#include "codes.def"
    if (r->bad == NULL) r->bad = "from";
    return MPS_FROM_NEW;
}

/* Whether the next value is an array: then also how many elements it has, and past its head. */
static bool enters_array(struct mps_reader *r, uint32_t *count)
{
    struct mps_head head;
    if (!mps_reader_more(r) || mps_head_read(r->p, (size_t)(r->end - r->p), &head) != 1 || head.type != MPS_ARRAY)
        return false;
    *count = mps_read_array(r, "from");
    return true;
}

/* What stands without positions: a name, or a name and its number. */
static enum mps_from_kind read_rest(struct mps_reader *r, uint64_t *number)
{
    uint32_t count = 0;
    bool in_array = enters_array(r, &count);
    enum mps_from_kind kind = read_kind(r);
    bool fits = in_array ? count == 2 && has_number(kind) : kind != MPS_FROM_SEQ && !has_number(kind);
    if (!fits && r->bad == NULL) r->bad = "from";
    *number = in_array ? mps_read_uint(r, MPS_NUMBER_MAX, "from") : 0;
    return kind;
}

static bool is_named(mps_view pairs, uint64_t wanted)
{
    uint64_t stream, seq;
    while (mps_from_next(&pairs, &stream, &seq))
        if (stream == wanted) return true;
    return false;
}

static void read_positions(struct mps_reader *r, struct mps_from *out)
{
    out->pairs = (mps_view){r->p, 0};
    for (uint32_t i = 0; i < out->count && r->bad == NULL; i++) {
        uint64_t stream = mps_read_uint(r, MPS_NUMBER_MAX, "from");
        mps_read_uint(r, MPS_NUMBER_MAX, "from");
        if (r->bad == NULL && is_named(out->pairs, stream)) r->bad = "from";
        out->pairs.len = (uint32_t)(r->p - out->pairs.ptr);
    }
}

enum mps_code mps_decode_from(mps_view raw, struct mps_from *out)
{
    struct mps_reader r = mps_reader_open(raw), in = r;
    uint32_t count = 0;
    *out = (struct mps_from){.kind = MPS_FROM_NEW};
    if (!enters_array(&in, &count) || read_kind(&in) != MPS_FROM_SEQ) {
        out->kind = read_rest(&r, &out->number);
        return r.bad == NULL ? MPS_OK : MPS_BAD_OPTION;
    }
    out->kind = MPS_FROM_SEQ;
    out->count = (count - 1) / 2;
    if (out->count == 0 || out->count > MPS_FROM_POSITIONS_MAX) return MPS_BAD_OPTION;
    read_positions(&in, out);
    if ((count - 1) % 2 != 0) out->rest = read_rest(&in, &out->number);
    return in.bad == NULL ? MPS_OK : MPS_BAD_OPTION;
}

bool mps_from_next(mps_view *pairs, uint64_t *stream, uint64_t *seq)
{
    struct mps_reader r = mps_reader_open(*pairs);
    if (!mps_reader_more(&r)) return false;
    *stream = mps_read_uint(&r, MPS_NUMBER_MAX, "stream");
    *seq = mps_read_uint(&r, MPS_NUMBER_MAX, "seq");
    *pairs = (mps_view){r.p, (uint32_t)(r.end - r.p)};
    return r.bad == NULL;
}

/* ---- writing ------------------------------------------------------------------------------------------------ */

static void put_rest(struct mps_out *out, enum mps_from_kind kind, uint64_t number)
{
    if (has_number(kind)) mps_put_array(out, 2);
    mps_put_text(out, mps_text(mps_from_name(kind)));
    if (has_number(kind)) mps_put_uint(out, number);
}

void mps_put_from(struct mps_out *out, const struct mps_from *from)
{
    if (from->kind != MPS_FROM_SEQ) {
        put_rest(out, from->kind, from->number);
        return;
    }
    mps_put_array(out, 1 + 2 * from->count + (from->rest != MPS_FROM_NEW));
    mps_put_text(out, mps_text("seq"));
    if (from->positions == NULL) mps_put_raw(out, from->pairs);
    else
        for (uint32_t i = 0; i < 2 * from->count; i++) mps_put_uint(out, from->positions[i]);
    if (from->rest != MPS_FROM_NEW) put_rest(out, from->rest, from->number);
}
