#include "place_record.h"

#include <stdlib.h>

#include "claim.h"
#include "identity.h"
#include "known.h"
#include "sure.h"

/* ---- reading it ----------------------------------------------------------------------------------------------- */

bool place_read(mps_view value, struct place *place)
{
    uint32_t fields;
    struct mps_reader r = record_open(value, &fields);
    place->broker = mps_read_text(&r, "broker");
    place->boot = mps_read_uint(&r, MPS_NUMBER_MAX, "boot");
    place->claim = mps_read_uint(&r, CLAIM_MAX, "claim");
    place->said_ms = mps_read_uint(&r, MPS_NUMBER_MAX, "time");
    place->lifetime_s = mps_read_uint(&r, UINT32_MAX, "lifetime");
    place->user = mps_read_text(&r, "user");
    place->pattern = mps_read_text(&r, "pattern");
    place->is_left = mps_read_bool(&r, "left");
    place->identities_count = mps_read_array(&r, "identities");
    place->identities.ptr = r.p;
    for (uint32_t i = 0; i < place->identities_count && r.bad == NULL; i++) mps_read_uint(&r, UINT64_MAX, "identity");
    place->identities.len = (uint32_t)(r.p - place->identities.ptr);
    place->cursor = mps_read_any(&r, "cursor");
    return r.bad == NULL;
}

uint64_t place_identity(const struct place *place, uint64_t stream)
{
    struct mps_reader r = mps_reader_open(place->identities);
    for (uint32_t i = 0; i + 1 < place->identities_count; i += 2) {
        uint64_t number = mps_read_uint(&r, UINT64_MAX, "stream"), identity = mps_read_uint(&r, UINT64_MAX, "identity");
        if (r.bad == NULL && number == stream) return identity;
    }
    return 0;
}

/* ---- writing it ----------------------------------------------------------------------------------------------- */

uint64_t place_lifetime_s(const struct shared_cursor *shared)
{
    if (!shared_cursor_is_group(shared)) return shared->cursor->box->session->sess_s;
    return shared->cursor->terms.durable ? shared->cursor->broker->limits.session_max_s : 0;
}

mps_view place_user(const struct shared_cursor *shared)
{
    const struct session *session = shared->cursor->box->session;
    mps_view user = session != NULL ? origin_user(session->origin) : (mps_view){NULL, 0};
    return user.ptr != NULL ? user : mps_text("");
}

static void put_identities(struct mps_out *out, const struct cursor *cursor)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < cursor->readings_count; i++) count += cursor->readings[i].stream->is_shared;
    mps_put_array(out, 2 * count);
    for (uint32_t i = 0; i < cursor->readings_count; i++) {
        const struct stream *stream = cursor->readings[i].stream;
        if (!stream->is_shared) continue;
        mps_put_uint(out, stream->number);
        mps_put_uint(out, stream->identity);
    }
}

mps_view place_write(const struct shared_cursor *shared)
{
    const struct cluster *cluster = shared->records->cluster;
    const struct cursor *cursor = shared->cursor;
    struct env *env = cluster->broker->env;
    mps_view stands = cursor_write(cursor, true, RECORD_VALUES_MAX / 2);
    uint32_t cap = stands.len + 1024 + cursor->readings_count * 18; /* names, user and pattern have at most 351 bytes */
    uint8_t *room = sure_alloc(cap);
    struct mps_out out = mps_out_open(room, cap);
    mps_put_array(&out, 11);
    mps_put_uint(&out, RECORD_OP);
    mps_put_text(&out, mps_text(cluster->name));
    mps_put_uint(&out, cluster->boot);
    mps_put_uint(&out, shared->claim);
    mps_put_uint(&out, env->wall_ms(env) & MPS_NUMBER_MAX);
    mps_put_uint(&out, place_lifetime_s(shared));
    mps_put_text(&out, place_user(shared));
    mps_put_text(&out, cursor_pattern(cursor));
    mps_put_bool(&out, shared->is_left);
    put_identities(&out, cursor);
    mps_put_raw(&out, stands);
    free((uint8_t *)stands.ptr);
    return mps_out_view(&out);
}

/* ---- its end -------------------------------------------------------------------------------------------------- */

void place_forget(struct records *records, mps_view key)
{
    struct known_record *known = known_find(records, SHARED_PLACE, key);
    if (known != NULL) known_free(records, known);
    own_put_make(records, SHARED_PLACE, key, (mps_view){NULL, 0}, ENGINE_PUT_ANYHOW);
}
