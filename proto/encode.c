#include <string.h>

#include "wire.h"

struct mps_out mps_out_open(void *buf, size_t cap)
{
    return (struct mps_out){buf, cap > UINT32_MAX ? UINT32_MAX : (uint32_t)cap, 0, false};
}

mps_view mps_out_view(const struct mps_out *out)
{
    return (mps_view){out->buf, out->len};
}

/* Takes the next len bytes to be written; NULL if they do not fit. */
static inline uint8_t *take(struct mps_out *out, uint64_t len)
{
    if (out->full || out->cap - out->len < len) {
        out->full = true;
        return NULL;
    }
    uint8_t *p = out->buf + out->len;
    out->len += (uint32_t)len;
    return p;
}

static void put_bytes(struct mps_out *out, const void *bytes, uint32_t len)
{
    uint8_t *p = take(out, len);
    if (p != NULL && len > 0) memcpy(p, bytes, len);
}

/* Most heads are one byte. */
static inline void put_byte(struct mps_out *out, unsigned byte)
{
    uint8_t *p = take(out, 1);
    if (p != NULL) *p = (uint8_t)byte;
}

/* A first byte and a big-endian number of `width` bytes behind it. */
static void put_head(struct mps_out *out, unsigned first, uint64_t number, unsigned width)
{
    uint8_t *p = take(out, 1 + width);
    if (p == NULL) return;
    *p = (uint8_t)first;
    for (p += width; width > 0; width--, number >>= 8) *p-- = (uint8_t)number;
}

void mps_put_array(struct mps_out *out, uint32_t count)
{
    if (count < 16) put_byte(out, 0x90 | count);
    else if (count <= UINT16_MAX) put_head(out, 0xdc, count, 2);
    else put_head(out, 0xdd, count, 4);
}

void mps_put_map(struct mps_out *out, uint32_t count)
{
    if (count < 16) put_byte(out, 0x80 | count);
    else if (count <= UINT16_MAX) put_head(out, 0xde, count, 2);
    else put_head(out, 0xdf, count, 4);
}

void mps_put_uint(struct mps_out *out, uint64_t number)
{
    if (number < 128) put_byte(out, (unsigned)number);
    else if (number <= UINT8_MAX) put_head(out, 0xcc, number, 1);
    else if (number <= UINT16_MAX) put_head(out, 0xcd, number, 2);
    else if (number <= UINT32_MAX) put_head(out, 0xce, number, 4);
    else put_head(out, 0xcf, number, 8);
}

void mps_put_int(struct mps_out *out, int64_t number)
{
    if (number >= 0) mps_put_uint(out, (uint64_t)number);
    else if (number >= -32) put_byte(out, (uint8_t)number);
    else if (number >= INT8_MIN) put_head(out, 0xd0, (uint64_t)number, 1);
    else if (number >= INT16_MIN) put_head(out, 0xd1, (uint64_t)number, 2);
    else if (number >= INT32_MIN) put_head(out, 0xd2, (uint64_t)number, 4);
    else put_head(out, 0xd3, (uint64_t)number, 8);
}

void mps_put_bool(struct mps_out *out, bool value)
{
    put_byte(out, value ? 0xc3 : 0xc2);
}

void mps_put_nil(struct mps_out *out)
{
    put_byte(out, 0xc0);
}

/* The head of a str or bin at p: its first byte is `first`, or one or two above it when len takes 2 or 4 bytes.
 * Returns the end. */
static inline uint8_t *store_len(uint8_t *p, unsigned first, uint32_t len)
{
    unsigned wide = len <= UINT8_MAX ? 0 : len <= UINT16_MAX ? 1 : 2;
    *p++ = (uint8_t)(first + wide);
    if (wide > 1) *p++ = (uint8_t)(len >> 24), *p++ = (uint8_t)(len >> 16);
    if (wide > 0) *p++ = (uint8_t)(len >> 8);
    *p++ = (uint8_t)len;
    return p;
}

static inline unsigned len_bytes(uint32_t len)
{
    return len <= UINT8_MAX ? 2 : len <= UINT16_MAX ? 3 : 5;
}

static inline unsigned text_head_bytes(uint32_t len)
{
    return len < 32 ? 1 : len_bytes(len);
}

static inline uint8_t *store_text(uint8_t *p, mps_view text)
{
    if (text.len < 32) *p++ = (uint8_t)(0xa0 | text.len);
    else p = store_len(p, 0xd9, text.len);
    if (text.len > 0) memcpy(p, text.ptr, text.len);
    return p + text.len;
}

void mps_put_text(struct mps_out *out, mps_view text)
{
    uint8_t *p = take(out, (uint64_t)text_head_bytes(text.len) + text.len);
    if (p != NULL) store_text(p, text);
}

void mps_put_bin_head(struct mps_out *out, uint32_t len)
{
    uint8_t *p = take(out, len_bytes(len));
    if (p != NULL) store_len(p, 0xc4, len);
}

void mps_put_bin(struct mps_out *out, mps_view bytes)
{
    uint8_t *p = take(out, (uint64_t)len_bytes(bytes.len) + bytes.len);
    if (p == NULL) return;
    p = store_len(p, 0xc4, bytes.len);
    if (bytes.len > 0) memcpy(p, bytes.ptr, bytes.len);
}

void mps_put_raw(struct mps_out *out, mps_view bytes)
{
    put_bytes(out, bytes.ptr, bytes.len);
}

/* A frame's array with its operation. Returns where it begins, for end(). */
static uint32_t begin(struct mps_out *out, uint32_t fields, enum mps_op op)
{
    uint32_t start = out->len;
    uint8_t *p = take(out, 2); /* no frame has more than 15 elements, no operation is over 127 */
    if (p == NULL) return start;
    p[0] = (uint8_t)(0x90 | (1 + fields));
    p[1] = (uint8_t)op;
    return start;
}

static bool end(struct mps_out *out, uint32_t start)
{
    if (out->full) out->len = start;
    return !out->full;
}

static void key(struct mps_out *out, const char *name)
{
    mps_put_text(out, mps_text(name));
}

static void put_text_option(struct mps_out *out, const char *name, mps_view text)
{
    if (text.ptr == NULL) return;
    key(out, name);
    mps_put_text(out, text);
}

static void put_raw_option(struct mps_out *out, const char *name, mps_view raw)
{
    if (raw.ptr == NULL) return;
    key(out, name);
    mps_put_raw(out, raw);
}

/* Numbers and flags whose absence means 0 or false. */
static void put_uint_option(struct mps_out *out, const char *name, uint64_t number)
{
    if (number == 0) return;
    key(out, name);
    mps_put_uint(out, number);
}

static void put_true_option(struct mps_out *out, const char *name, bool value)
{
    if (!value) return;
    key(out, name);
    mps_put_bool(out, true);
}

bool mps_encode_hello(struct mps_out *out, const struct mps_hello *in)
{
    uint32_t start = begin(out, 3, MPS_OP_HELLO);
    mps_put_text(out, in->magic);
    mps_put_uint(out, in->version);
    int options = (in->id.ptr != NULL) + (in->auth.ptr != NULL) + (in->data.ptr != NULL) + (in->ka_s > 0) +
                  (in->sess_s > 0) + in->clean + (in->rx_max > 0) + (in->boot > 0) + (in->will.ptr != NULL) + in->half +
                  (in->vmin > 0) + (in->sw.ptr != NULL);
    mps_put_map(out, (uint32_t)options);
    put_text_option(out, "id", in->id);
    put_text_option(out, "auth", in->auth);
    put_raw_option(out, "data", in->data);
    put_uint_option(out, "ka", in->ka_s);
    put_uint_option(out, "sess", in->sess_s);
    put_true_option(out, "clean", in->clean);
    put_uint_option(out, "rx_max", in->rx_max);
    put_uint_option(out, "boot", in->boot);
    put_raw_option(out, "will", in->will);
    put_true_option(out, "half", in->half);
    put_uint_option(out, "vmin", in->vmin);
    put_text_option(out, "sw", in->sw);
    return end(out, start);
}

/* Messages are what there is most of: one check of the room for all of it, then stores. `more`: bytes of its payload.
 * Returns where these go, NULL if it does not fit. */
static inline uint8_t *store_msg_head(struct mps_out *out, mps_view topic, mps_view props, uint32_t payload_len,
                                      uint32_t more)
{
    uint32_t props_len = props.ptr == NULL ? 1 : props.len;
    uint8_t *p =
        take(out, UINT64_C(2) + text_head_bytes(topic.len) + topic.len + props_len + len_bytes(payload_len) + more);
    if (p == NULL) return NULL;
    *p++ = 0x94;
    *p++ = MPS_OP_MSG;
    p = store_text(p, topic);
    if (props.ptr == NULL) *p = 0xc0;
    else memcpy(p, props.ptr, props_len);
    return store_len(p + props_len, 0xc4, payload_len);
}

bool mps_encode_msg_head(struct mps_out *out, mps_view topic, mps_view props, uint32_t payload_len)
{
    return store_msg_head(out, topic, props, payload_len, 0) != NULL;
}

bool mps_encode_msg(struct mps_out *out, const struct mps_msg *in)
{
    uint8_t *p = store_msg_head(out, in->topic, in->props, in->payload.len, in->payload.len);
    if (p != NULL && in->payload.len > 0) memcpy(p, in->payload.ptr, in->payload.len);
    return p != NULL;
}

bool mps_encode_pub(struct mps_out *out, const struct mps_pub *in)
{
    uint32_t start = begin(out, 2, MPS_OP_PUB);
    mps_put_uint(out, in->pid);
    mps_put_uint(out, in->flags);
    return end(out, start);
}

bool mps_encode_for(struct mps_out *out, const struct mps_for *in)
{
    uint32_t fields = in->tries > 0 ? 6 : in->time_ms > 0 ? 5 : in->has_position ? 4 : in->flags > 0 ? 2 : 1;
    uint32_t start = begin(out, fields, MPS_OP_FOR);
    mps_put_uint(out, in->sid);
    if (fields > 1) mps_put_uint(out, in->flags);
    if (fields > 2 && in->has_position) {
        mps_put_uint(out, in->stream);
        mps_put_uint(out, in->seq);
    } else if (fields > 2) {
        mps_put_nil(out);
        mps_put_nil(out);
    }
    if (fields > 4) mps_put_uint(out, in->time_ms);
    if (fields > 5) mps_put_uint(out, in->tries);
    return end(out, start);
}

bool mps_encode_ack(struct mps_out *out, const struct mps_ack *in)
{
    uint32_t fields = in->delay_ms > 0 ? 5 : in->kind > 0 ? 4 : 3;
    uint32_t start = begin(out, fields, MPS_OP_ACK);
    mps_put_uint(out, in->sid);
    mps_put_uint(out, in->stream);
    mps_put_uint(out, in->seq);
    if (fields > 3) mps_put_uint(out, in->kind);
    if (fields > 4) mps_put_uint(out, in->delay_ms);
    return end(out, start);
}

bool mps_encode_credit(struct mps_out *out, const struct mps_credit *in)
{
    uint32_t start = begin(out, in->drain ? 3 : 2, MPS_OP_CREDIT);
    mps_put_uint(out, in->sid);
    mps_put_uint(out, in->max_msgs);
    if (in->drain) mps_put_bool(out, true);
    return end(out, start);
}

bool mps_encode_gap(struct mps_out *out, const struct mps_gap *in)
{
    uint32_t start = begin(out, in->stream > 0 ? 6 : 3, MPS_OP_GAP);
    mps_put_uint(out, in->sid);
    if (in->has_count) mps_put_uint(out, in->count);
    else mps_put_nil(out);
    mps_put_uint(out, in->reason);
    if (in->stream > 0) {
        mps_put_uint(out, in->stream);
        mps_put_uint(out, in->first);
        mps_put_uint(out, in->last);
    }
    return end(out, start);
}

bool mps_encode_puback(struct mps_out *out, const struct mps_puback *in)
{
    uint32_t fields = in->text.ptr != NULL ? 7 : in->stream > 0 ? 6 : 4;
    uint32_t start = begin(out, fields, MPS_OP_PUBACK);
    mps_put_uint(out, in->pid);
    mps_put_uint(out, in->code);
    mps_put_uint(out, in->matched);
    mps_put_uint(out, in->dropped);
    if (fields > 4 && in->stream > 0) {
        mps_put_uint(out, in->stream);
        mps_put_uint(out, in->seq);
    } else if (fields > 4) {
        mps_put_nil(out);
        mps_put_nil(out);
    }
    if (fields > 6) mps_put_text(out, in->text);
    return end(out, start);
}

static uint32_t count_bits(uint32_t bits)
{
    uint32_t count = 0;
    for (; bits != 0; bits &= bits - 1) count++;
    return count;
}

static void put_given_text(struct mps_out *out, uint32_t given, const char *name, mps_view text)
{
    if (given) put_text_option(out, name, text);
}

static void put_given_uint(struct mps_out *out, uint32_t given, const char *name, uint64_t number)
{
    if (!given) return;
    key(out, name);
    mps_put_uint(out, number);
}

static void put_given_bool(struct mps_out *out, uint32_t given, const char *name, bool value)
{
    if (!given) return;
    key(out, name);
    mps_put_bool(out, value);
}

static void put_sub_options(struct mps_out *out, const struct mps_sub_options *o)
{
    mps_put_map(out, count_bits(o->given));
    put_given_text(out, o->given & MPS_SUB_POLICY, "policy", mps_text(mps_policy_name(o->policy)));
    put_given_uint(out, o->given & MPS_SUB_MAX_MSGS, "max_msgs", o->max_msgs);
    put_given_uint(out, o->given & MPS_SUB_MAX_BYTES, "max_bytes", o->max_bytes);
    put_given_uint(out, o->given & MPS_SUB_BLOCK_MS, "block_ms", o->block_ms);
    put_given_text(out, o->given & MPS_SUB_THEN, "then", mps_text(mps_policy_name(o->then)));
    put_given_text(out, o->given & MPS_SUB_ACK, "ack", mps_text(mps_ack_mode_name(o->ack)));
    put_given_uint(out, o->given & MPS_SUB_ACK_MS, "ack_ms", o->ack_ms);
    put_given_uint(out, o->given & MPS_SUB_MAX_TRIES, "max_tries", o->max_tries);
    put_given_uint(out, o->given & MPS_SUB_INFLIGHT, "inflight", o->inflight);
    put_given_uint(out, o->given & MPS_SUB_CREDIT, "credit", o->credit);
    put_given_text(out, o->given & MPS_SUB_GROUP, "group", o->group);
    put_given_text(out, o->given & MPS_SUB_FILTER, "filter", o->filter);
    if (o->given & MPS_SUB_FROM) {
        key(out, "from");
        mps_put_from(out, &o->from);
    }
    put_given_uint(out, o->given & MPS_SUB_RETAINED, "retained", o->retained);
    put_given_bool(out, o->given & MPS_SUB_NO_LOCAL, "no_local", o->no_local);
    put_given_bool(out, o->given & MPS_SUB_DURABLE, "durable", o->durable);
    put_given_text(out, o->given & MPS_SUB_SCOPE, "scope", mps_text(mps_scope_name(o->scope)));
}

bool mps_encode_sub(struct mps_out *out, const struct mps_sub *in)
{
    uint32_t start = begin(out, 3, MPS_OP_SUB);
    mps_put_uint(out, in->sid);
    mps_put_text(out, in->pattern);
    put_sub_options(out, &in->options);
    return end(out, start);
}

bool mps_encode_suback(struct mps_out *out, const struct mps_suback *in)
{
    uint32_t start = begin(out, 3, MPS_OP_SUBACK);
    mps_put_uint(out, in->sid);
    mps_put_uint(out, in->code);
    if (in->text.ptr != NULL) mps_put_text(out, in->text);
    else put_sub_options(out, &in->granted);
    return end(out, start);
}

bool mps_encode_unsub(struct mps_out *out, const struct mps_unsub *in)
{
    uint32_t start = begin(out, 1, MPS_OP_UNSUB);
    mps_put_uint(out, in->sid);
    return end(out, start);
}

bool mps_encode_mark(struct mps_out *out, const struct mps_mark *in)
{
    uint32_t start = begin(out, in->has_counts ? 3 : 2, MPS_OP_MARK);
    mps_put_uint(out, in->sid);
    mps_put_uint(out, in->kind);
    if (in->has_counts) {
        mps_put_map(out, 2);
        key(out, "sent");
        mps_put_uint(out, in->sent);
        key(out, "lost");
        mps_put_uint(out, in->lost);
    }
    return end(out, start);
}

static bool encode_token(struct mps_out *out, enum mps_op op, mps_view token)
{
    uint32_t start = begin(out, 1, op);
    mps_put_bin(out, token);
    return end(out, start);
}

bool mps_encode_ping(struct mps_out *out, const struct mps_token *in)
{
    return encode_token(out, MPS_OP_PING, in->token);
}

bool mps_encode_pong(struct mps_out *out, const struct mps_token *in)
{
    return encode_token(out, MPS_OP_PONG, in->token);
}

bool mps_encode_auth(struct mps_out *out, const struct mps_auth *in)
{
    return encode_token(out, MPS_OP_AUTH, in->token);
}

bool mps_encode_stat(struct mps_out *out, const struct mps_stat *in)
{
    uint32_t start = begin(out, in->has_counts ? 6 : 1, MPS_OP_STAT);
    mps_put_uint(out, in->sid);
    if (in->has_counts) {
        mps_put_uint(out, in->matched);
        mps_put_uint(out, in->sent);
        mps_put_uint(out, in->lost);
        mps_put_uint(out, in->queued);
        mps_put_uint(out, in->queued_bytes);
    }
    return end(out, start);
}

bool mps_encode_welcome(struct mps_out *out, const struct mps_welcome *in)
{
    uint32_t start = begin(out, 2, MPS_OP_WELCOME);
    mps_put_uint(out, in->version);
    mps_put_map(out,
                (uint32_t)(9 + (in->id.ptr != NULL) + (in->inbox.ptr != NULL) + in->has_sess + (in->sw.ptr != NULL)));
    put_text_option(out, "id", in->id);
    put_given_uint(out, 1, "epoch", in->epoch);
    put_given_bool(out, 1, "resumed", in->resumed);
    put_given_uint(out, 1, "last_pid", in->last_pid);
    put_text_option(out, "inbox", in->inbox);
    put_given_uint(out, 1, "ka", in->ka_s);
    put_given_uint(out, in->has_sess, "sess", in->sess_s);
    put_given_uint(out, 1, "max_payload", in->max_payload);
    put_given_uint(out, 1, "max_topic", in->max_topic);
    put_given_uint(out, 1, "max_subs", in->max_subs);
    put_given_uint(out, 1, "pub_window", in->pub_window);
    put_given_uint(out, 1, "ack", in->ack);
    put_text_option(out, "sw", in->sw);
    return end(out, start);
}

bool mps_encode_err(struct mps_out *out, const struct mps_err *in)
{
    uint32_t fields = in->ref.ptr != NULL ? 4 : in->has_op ? 3 : 2;
    uint32_t start = begin(out, fields, MPS_OP_ERR);
    mps_put_uint(out, in->code);
    mps_put_text(out, in->text);
    if (fields > 2 && in->has_op) mps_put_uint(out, in->op);
    else if (fields > 2) mps_put_nil(out);
    if (fields > 3) mps_put_raw(out, in->ref);
    return end(out, start);
}

bool mps_encode_bye(struct mps_out *out, const struct mps_bye *in)
{
    uint32_t fields = in->info.ptr != NULL ? 3 : in->text.ptr != NULL ? 2 : 1;
    uint32_t start = begin(out, fields, MPS_OP_BYE);
    mps_put_uint(out, in->code);
    if (fields > 1 && in->text.ptr != NULL) mps_put_text(out, in->text);
    else if (fields > 1) mps_put_nil(out);
    if (fields > 2) mps_put_raw(out, in->info);
    return end(out, start);
}

bool mps_encode_info(struct mps_out *out, const struct mps_info *in)
{
    uint32_t start = begin(out, 1, MPS_OP_INFO);
    mps_put_raw(out, in->map);
    return end(out, start);
}
