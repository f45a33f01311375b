#include "between.h"

#include "cluster.h"

/* ---- writing ------------------------------------------------------------------------------------------------ */

bool between_encode_here(struct mps_out *out, const struct between_here *in)
{
    uint32_t len = out->len;
    mps_put_array(out, 6);
    mps_put_uint(out, BETWEEN_HERE);
    mps_put_uint(out, BETWEEN_VERSION);
    mps_put_text(out, in->name);
    mps_put_uint(out, in->boot);
    mps_put_bin(out, in->tag);
    mps_put_map(out, 1);
    mps_put_text(out, mps_text("sw"));
    mps_put_text(out, in->software);
    if (out->full) out->len = len;
    return !out->full;
}

bool between_encode_lane(struct mps_out *out, const struct between_lane *in)
{
    uint32_t len = out->len;
    mps_put_array(out, 9);
    mps_put_uint(out, BETWEEN_LANE);
    mps_put_uint(out, BETWEEN_VERSION);
    mps_put_text(out, in->name);
    mps_put_uint(out, in->boot);
    mps_put_uint(out, in->to_boot);
    mps_put_uint(out, in->seq);
    mps_put_uint(out, in->messages);
    mps_put_bin(out, in->tag);
    mps_put_uint(out, in->told);
    if (out->full) out->len = len;
    return !out->full;
}

static void put_group(struct mps_out *out, const struct between_item *item)
{
    mps_put_array(out, 2);
    mps_put_text(out, item->group);
    mps_put_text(out, item->pattern);
}

bool between_encode_interest(struct mps_out *out, const struct between_interest *in, const struct between_item *items)
{
    uint32_t len = out->len;
    mps_put_array(out, 6);
    mps_put_uint(out, BETWEEN_INTEREST);
    mps_put_uint(out, in->version);
    mps_put_uint(out, in->kind);
    mps_put_bool(out, in->is_last);
    mps_put_array(out, in->count);
    for (uint32_t i = 0; i < in->count; i++) mps_put_text(out, items[i].pattern);
    mps_put_array(out, in->groups_count);
    for (uint32_t i = 0; i < in->groups_count; i++) put_group(out, &items[in->count + i]);
    if (out->full) out->len = len;
    return !out->full;
}

bool between_encode_bare(struct mps_out *out, enum between_op op)
{
    uint32_t len = out->len;
    mps_put_array(out, 1);
    mps_put_uint(out, op);
    if (out->full) out->len = len;
    return !out->full;
}

bool between_encode_terms(struct mps_out *out, bool plain, const struct between_item *groups, uint32_t count)
{
    uint32_t len = out->len;
    mps_put_array(out, 3);
    mps_put_uint(out, BETWEEN_TERMS);
    mps_put_bool(out, plain);
    mps_put_array(out, count);
    for (uint32_t i = 0; i < count; i++) put_group(out, &groups[i]);
    if (out->full) out->len = len;
    return !out->full;
}

/* ---- reading ------------------------------------------------------------------------------------------------ */

/* Past the operation. */
static struct mps_reader open_frame(mps_view frame, uint32_t least)
{
    struct mps_reader r = mps_reader_open(frame);
    if (mps_read_array(&r, "frame") < least) r.bad = "frame";
    mps_read_uint(&r, MPS_OP_MAX, "operation");
    return r;
}

static mps_view read_name(struct mps_reader *r)
{
    mps_view name = mps_read_text(r, "name");
    if (r->bad == NULL && !cluster_is_name(name)) r->bad = "name";
    return name;
}

static mps_view read_tag(struct mps_reader *r)
{
    mps_view tag = mps_read_bin(r, "tag");
    if (r->bad == NULL && tag.len != CLUSTER_TAG_BYTES) r->bad = "tag";
    return tag;
}

static void read_version(struct mps_reader *r)
{
    if (mps_read_uint(r, MPS_NUMBER_MAX, "version") != BETWEEN_VERSION) r->bad = "version";
}

static uint64_t read_boot(struct mps_reader *r)
{
    uint64_t boot = mps_read_uint(r, MPS_NUMBER_MAX, "boot");
    if (r->bad == NULL && boot == 0) r->bad = "boot";
    return boot;
}

bool between_decode_here(mps_view frame, struct between_here *out)
{
    struct mps_reader r = open_frame(frame, 6);
    read_version(&r);
    *out = (struct between_here){.name = read_name(&r)};
    out->boot = read_boot(&r);
    out->tag = read_tag(&r);
    uint32_t pairs = mps_read_map(&r, "options");
    for (uint32_t i = 0; i < pairs && r.bad == NULL; i++) {
        mps_view key = mps_read_text(&r, "option");
        if (mps_view_equal(key, mps_text("sw"))) out->software = mps_read_text(&r, "sw");
        else mps_read_any(&r, "option");
    }
    return r.bad == NULL;
}

bool between_decode_lane(mps_view frame, struct between_lane *out)
{
    struct mps_reader r = open_frame(frame, 9);
    read_version(&r);
    *out = (struct between_lane){.name = read_name(&r)};
    out->boot = read_boot(&r);
    out->to_boot = read_boot(&r);
    out->seq = mps_read_uint(&r, MPS_NUMBER_MAX, "seq");
    out->messages = mps_read_uint(&r, MPS_NUMBER_MAX, "messages");
    out->tag = read_tag(&r);
    out->told = mps_read_uint(&r, MPS_NUMBER_MAX, "interest");
    return r.bad == NULL;
}

bool between_decode_interest(mps_view frame, struct between_interest *out)
{
    struct mps_reader r = open_frame(frame, 6);
    *out = (struct between_interest){.version = mps_read_uint(&r, MPS_NUMBER_MAX, "version")};
    out->kind = (enum interest_kind)mps_read_uint(&r, INTEREST_ANEW, "kind");
    out->is_last = mps_read_bool(&r, "last");
    out->count = mps_read_array(&r, "patterns");
    const uint8_t *items = r.p;
    for (uint32_t i = 0; i < out->count && r.bad == NULL; i++) mps_read_text(&r, "pattern");
    struct mps_reader groups = r;
    out->groups_count = mps_read_array(&r, "groups");
    if (r.bad != NULL) return false;
    uint32_t patterns_len = (uint32_t)(groups.p - items);
    out->items = (mps_view){items, patterns_len + (uint32_t)(r.end - groups.p)};
    return true;
}

bool between_next_item(struct between_interest *interest, uint32_t number, struct between_item *out)
{
    struct mps_reader r = mps_reader_open(interest->items);
    *out = (struct between_item){0};
    if (number == interest->count) mps_read_array(&r, "groups");
    if (number >= interest->count) {
        if (mps_read_array(&r, "group") != 2) return false;
        out->group = mps_read_text(&r, "group");
        if (out->group.len == 0 || out->group.len > MPS_ID_MAX) return false;
    }
    out->pattern = mps_read_text(&r, "pattern");
    if (r.bad != NULL || mps_pattern_error(out->pattern) != NULL || out->pattern.ptr[0] == '$') return false;
    interest->items = (mps_view){r.p, (uint32_t)(r.end - r.p)};
    return true;
}
