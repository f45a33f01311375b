#include "plain.h"
#include "wire.h"

/* Opens a scanned frame for reading: past its array and operation. left: elements that follow. */
struct fields {
    struct mps_reader r;
    uint32_t left;
};

static struct fields open_frame(mps_view frame, uint32_t at_least)
{
    struct fields f = {mps_reader_open(frame), 0};
    uint32_t count = mps_read_array(&f.r, "frame");
    mps_read_uint(&f.r, MPS_OP_MAX, "operation");
    if (f.r.bad == NULL && count < 1 + at_least) f.r.bad = "number of fields";
    f.left = f.r.bad == NULL ? count - 1 : 0;
    return f;
}

/* Whether an optional field is there: not left out and not nil. */
static bool next_given(struct fields *f)
{
    if (f->left == 0 || f->r.bad != NULL) return false;
    f->left--;
    return !mps_read_nil(&f->r);
}

/* Marks a field that must be there as taken; its presence was checked by open_frame(). */
static struct mps_reader *next(struct fields *f)
{
    f->left--;
    return &f->r;
}

static uint32_t next_sid(struct fields *f)
{
    return (uint32_t)mps_read_uint(next(f), MPS_SID_MAX, "sid");
}

static uint64_t next_number(struct fields *f, const char *what)
{
    return mps_read_uint(next(f), MPS_NUMBER_MAX, what);
}

static uint64_t optional_number(struct fields *f, const char *what)
{
    return next_given(f) ? mps_read_uint(&f->r, MPS_NUMBER_MAX, what) : 0;
}

static mps_view optional_text(struct fields *f, const char *what)
{
    return next_given(f) ? mps_read_text(&f->r, what) : (mps_view){NULL, 0};
}

static mps_view optional_props(struct fields *f, const char *what)
{
    struct mps_head head;
    if (!next_given(f)) return (mps_view){NULL, 0};
    mps_view props = mps_read_any(&f->r, what);
    if (f->r.bad == NULL && (mps_head_read(props.ptr, props.len, &head) != 1 || head.type != MPS_MAP)) f->r.bad = what;
    return props;
}

static enum mps_code done(const struct fields *f, const char **what)
{
    *what = f->r.bad;
    return f->r.bad == NULL ? MPS_OK : MPS_MALFORMED;
}

/* The next raw value, which must be a map without a key twice. */
static mps_view read_map_raw(struct mps_reader *r, const char *what)
{
    mps_view map = mps_read_any(r, what);
    if (r->bad == NULL && mps_map_has_duplicates(map)) r->bad = what; /* also when it isn't a map */
    return r->bad == NULL ? map : (mps_view){NULL, 0};
}

/* Walks the text keys of a checked map: returns the next one, or the absent view at the end. Other keys are skipped. */
static mps_view next_key(struct mps_reader *map, uint32_t *pairs)
{
    while (*pairs > 0 && map->bad == NULL) {
        --*pairs;
        struct mps_head head;
        mps_view raw = mps_read_any(map, "key");
        if (map->bad == NULL && mps_head_read(raw.ptr, raw.len, &head) == 1 && head.type == MPS_STR)
            return (mps_view){raw.ptr + head.head_len, head.count};
        mps_read_any(map, "value");
    }
    return (mps_view){NULL, 0};
}

static bool is(mps_view key, const char *name)
{
    return mps_view_equal(key, mps_text(name));
}

unsigned mps_frame_op(mps_view frame)
{
    struct mps_reader r = mps_reader_open(frame);
    mps_read_array(&r, "frame");
    return (unsigned)mps_read_uint(&r, MPS_OP_MAX, "operation");
}

enum mps_code mps_decode_hello(mps_view frame, struct mps_hello *out, const char **what)
{
    struct fields f = open_frame(frame, 3);
    *out = (struct mps_hello){0};
    if (f.r.bad != NULL) return done(&f, what);
    out->magic = mps_read_text(next(&f), "protocol name");
    out->version = next_number(&f, "version");
    mps_view map = read_map_raw(next(&f), "options");
    if (f.r.bad != NULL) return done(&f, what);
    f.r = mps_reader_open(map);
    uint32_t pairs = mps_read_map(&f.r, "options");
    for (mps_view k; (k = next_key(&f.r, &pairs)).ptr != NULL;) {
        if (is(k, "id")) out->id = mps_read_text(&f.r, "id");
        else if (is(k, "auth")) out->auth = mps_read_text(&f.r, "auth");
        else if (is(k, "data")) out->data = mps_read_any(&f.r, "data");
        else if (is(k, "ka")) out->ka_s = (uint32_t)mps_read_uint(&f.r, UINT32_MAX, "ka");
        else if (is(k, "sess")) out->sess_s = (uint32_t)mps_read_uint(&f.r, UINT32_MAX, "sess");
        else if (is(k, "clean")) out->clean = mps_read_bool(&f.r, "clean");
        else if (is(k, "rx_max")) out->rx_max = (uint32_t)mps_read_uint(&f.r, UINT32_MAX, "rx_max");
        else if (is(k, "boot")) out->boot = mps_read_uint(&f.r, UINT64_MAX, "boot");
        else if (is(k, "will")) out->will = mps_read_any(&f.r, "will");
        else if (is(k, "half")) out->half = mps_read_bool(&f.r, "half");
        else if (is(k, "vmin")) out->vmin = (uint32_t)mps_read_uint(&f.r, UINT32_MAX, "vmin");
        else if (is(k, "sw")) out->sw = mps_read_text(&f.r, "sw");
        else mps_read_any(&f.r, "value");
    }
    return done(&f, what);
}

static bool decode_plain_msg(mps_view frame, struct mps_msg *out)
{
    struct mps_plain plain;
    if (!mps_plain_read(frame.ptr, frame.len, &plain)) return false;
    out->topic = (mps_view){frame.ptr + plain.topic_at, plain.topic_len};
    out->props = (mps_view){NULL, 0};
    out->payload = (mps_view){frame.ptr + plain.payload_at, plain.payload_len};
    return true;
}

enum mps_code mps_decode_msg(mps_view frame, struct mps_msg *out, const char **what)
{
    *what = NULL;
    if (decode_plain_msg(frame, out)) return MPS_OK;
    struct fields f = open_frame(frame, 3);
    *out = (struct mps_msg){0};
    if (f.r.bad != NULL) return done(&f, what);
    struct mps_head head;
    mps_view topic = mps_read_any(next(&f), "topic"); /* its bytes are judged as a topic, not as a field */
    if (f.r.bad == NULL && (mps_head_read(topic.ptr, topic.len, &head) != 1 || head.type != MPS_STR)) f.r.bad = "topic";
    if (f.r.bad == NULL) out->topic = (mps_view){topic.ptr + head.head_len, head.count};
    out->props = optional_props(&f, "props");
    out->payload = mps_read_bin(next(&f), "payload");
    return done(&f, what);
}

enum mps_code mps_decode_will(mps_view raw, struct mps_will *out, const char **what)
{
    struct fields f = {mps_reader_open(raw), 0};
    *out = (struct mps_will){0};
    f.left = mps_read_array(&f.r, "will");
    if (f.r.bad == NULL && f.left < 4) f.r.bad = "number of fields of the will";
    if (f.r.bad != NULL) return done(&f, what);
    out->topic = mps_read_text(next(&f), "topic of the will");
    out->payload = mps_read_bin(next(&f), "payload of the will");
    out->flags = (uint32_t)mps_read_uint(next(&f), UINT32_MAX, "flags of the will");
    out->delay_ms = next_number(&f, "delay of the will");
    out->props = optional_props(&f, "props of the will");
    return done(&f, what);
}

enum mps_code mps_decode_pub(mps_view frame, struct mps_pub *out, const char **what)
{
    struct fields f = open_frame(frame, 2);
    if (f.r.bad != NULL) return done(&f, what);
    out->pid = next_number(&f, "pid");
    out->flags = (uint32_t)mps_read_uint(next(&f), UINT32_MAX, "flags");
    return done(&f, what);
}

enum mps_code mps_decode_for(mps_view frame, struct mps_for *out, const char **what)
{
    struct fields f = open_frame(frame, 1);
    *out = (struct mps_for){0};
    if (f.r.bad != NULL) return done(&f, what);
    out->sid = next_sid(&f);
    out->flags = next_given(&f) ? (uint32_t)mps_read_uint(&f.r, UINT32_MAX, "flags") : 0;
    bool stream = next_given(&f);
    if (stream) out->stream = mps_read_uint(&f.r, MPS_NUMBER_MAX, "stream");
    bool seq = next_given(&f);
    if (seq) out->seq = mps_read_uint(&f.r, MPS_NUMBER_MAX, "seq");
    if (f.r.bad == NULL && stream != seq) f.r.bad = "seq";
    out->has_position = stream;
    out->time_ms = optional_number(&f, "time_ms");
    out->tries = next_given(&f) ? (uint32_t)mps_read_uint(&f.r, UINT32_MAX, "tries") : 0;
    return done(&f, what);
}

enum mps_code mps_decode_ack(mps_view frame, struct mps_ack *out, const char **what)
{
    struct fields f = open_frame(frame, 3);
    if (f.r.bad != NULL) return done(&f, what);
    out->sid = next_sid(&f);
    out->stream = next_number(&f, "stream");
    out->seq = next_number(&f, "seq");
    out->kind = next_given(&f) ? (uint32_t)mps_read_uint(&f.r, 3, "kind") : 0;
    out->delay_ms = optional_number(&f, "delay_ms");
    return done(&f, what);
}

enum mps_code mps_decode_credit(mps_view frame, struct mps_credit *out, const char **what)
{
    struct fields f = open_frame(frame, 2);
    if (f.r.bad != NULL) return done(&f, what);
    out->sid = next_sid(&f);
    out->max_msgs = next_number(&f, "max_msgs");
    out->drain = next_given(&f) && mps_read_bool(&f.r, "drain");
    return done(&f, what);
}

enum mps_code mps_decode_gap(mps_view frame, struct mps_gap *out, const char **what)
{
    struct fields f = open_frame(frame, 3);
    *out = (struct mps_gap){0};
    if (f.r.bad != NULL) return done(&f, what);
    out->sid = next_sid(&f);
    out->has_count = next_given(&f);
    if (out->has_count) out->count = mps_read_uint(&f.r, MPS_NUMBER_MAX, "count");
    out->reason = (uint32_t)mps_read_uint(next(&f), UINT32_MAX, "reason");
    out->stream = optional_number(&f, "stream");
    out->first = optional_number(&f, "first");
    out->last = optional_number(&f, "last");
    return done(&f, what);
}

enum mps_code mps_decode_puback(mps_view frame, struct mps_puback *out, const char **what)
{
    struct fields f = open_frame(frame, 4);
    *out = (struct mps_puback){0};
    if (f.r.bad != NULL) return done(&f, what);
    out->pid = next_number(&f, "pid");
    out->code = (uint32_t)mps_read_uint(next(&f), UINT16_MAX, "code");
    out->matched = next_number(&f, "matched");
    out->dropped = next_number(&f, "dropped");
    out->stream = optional_number(&f, "stream");
    out->seq = optional_number(&f, "seq");
    out->text = optional_text(&f, "text");
    return done(&f, what);
}

static enum mps_policy read_policy(struct mps_reader *r, const char *what)
{
    mps_view name = mps_read_text(r, what);
#define POLICY(number, NAME, text) \
    if (is(name, text)) return MPS_POLICY_##NAME;
#include "codes.def"
    if (r->bad == NULL) r->bad = what;
    return MPS_POLICY_DROP_OLD;
}

static enum mps_ack_mode read_ack_mode(struct mps_reader *r, const char *what)
{
    mps_view name = mps_read_text(r, what);
#define ACK_MODE(number, NAME, text) \
    if (is(name, text)) return MPS_ACK_##NAME;
#include "codes.def"
    if (r->bad == NULL) r->bad = what;
    return MPS_ACK_NONE;
}

static enum mps_scope read_scope(struct mps_reader *r, const char *what)
{
    mps_view name = mps_read_text(r, what);
#define SCOPE(number, NAME, text) \
    if (is(name, text)) return MPS_SCOPE_##NAME;
#include "codes.def"
    if (r->bad == NULL) r->bad = what;
    return MPS_SCOPE_LOCAL;
}

/* A limit: 0 is never "unlimited", so it isn't a value either. */
static uint64_t read_limit(struct mps_reader *r, const char *what)
{
    uint64_t limit = mps_read_uint(r, MPS_NUMBER_MAX, what);
    if (limit == 0 && r->bad == NULL) r->bad = what;
    return limit;
}

static void read_from(struct mps_reader *r, struct mps_from *out)
{
    mps_view raw = mps_read_any(r, "from");
    if (r->bad == NULL && mps_decode_from(raw, out) != MPS_OK) r->bad = "from";
}

/* Reads the value of one option and returns its MPS_SUB_* bit, 0 if the key is unknown. */
static uint32_t read_sub_option(struct mps_reader *r, mps_view k, struct mps_sub_options *o)
{
    if (is(k, "policy")) return o->policy = read_policy(r, "policy"), MPS_SUB_POLICY;
    if (is(k, "max_msgs")) return o->max_msgs = read_limit(r, "max_msgs"), MPS_SUB_MAX_MSGS;
    if (is(k, "max_bytes")) return o->max_bytes = read_limit(r, "max_bytes"), MPS_SUB_MAX_BYTES;
    if (is(k, "block_ms")) return o->block_ms = read_limit(r, "block_ms"), MPS_SUB_BLOCK_MS;
    if (is(k, "then")) return o->then = read_policy(r, "then"), MPS_SUB_THEN;
    if (is(k, "ack")) return o->ack = read_ack_mode(r, "ack"), MPS_SUB_ACK;
    if (is(k, "ack_ms")) return o->ack_ms = read_limit(r, "ack_ms"), MPS_SUB_ACK_MS;
    if (is(k, "max_tries")) return o->max_tries = read_limit(r, "max_tries"), MPS_SUB_MAX_TRIES;
    if (is(k, "inflight")) return o->inflight = read_limit(r, "inflight"), MPS_SUB_INFLIGHT;
    if (is(k, "credit")) return o->credit = mps_read_uint(r, MPS_NUMBER_MAX, "credit"), MPS_SUB_CREDIT;
    if (is(k, "group")) return o->group = mps_read_text(r, "group"), MPS_SUB_GROUP;
    if (is(k, "filter")) return o->filter = mps_read_text(r, "filter"), MPS_SUB_FILTER;
    if (is(k, "from")) return read_from(r, &o->from), MPS_SUB_FROM;
    if (is(k, "retained")) return o->retained = (uint32_t)mps_read_uint(r, 2, "retained"), MPS_SUB_RETAINED;
    if (is(k, "no_local")) return o->no_local = mps_read_bool(r, "no_local"), MPS_SUB_NO_LOCAL;
    if (is(k, "durable")) return o->durable = mps_read_bool(r, "durable"), MPS_SUB_DURABLE;
    if (is(k, "scope")) return o->scope = read_scope(r, "scope"), MPS_SUB_SCOPE;
    mps_read_any(r, "value");
    return 0;
}

/* Returns NULL or the name of the option that was wrong. map is raw, without a key twice. */
static const char *read_sub_options(mps_view map, struct mps_sub_options *out)
{
    struct mps_reader r = mps_reader_open(map);
    uint32_t pairs = mps_read_map(&r, "options");
    *out = (struct mps_sub_options){0};
    for (mps_view k; (k = next_key(&r, &pairs)).ptr != NULL;) out->given |= read_sub_option(&r, k, out);
    return r.bad;
}

enum mps_code mps_decode_sub(mps_view frame, struct mps_sub *out, const char **what)
{
    struct fields f = open_frame(frame, 3);
    *out = (struct mps_sub){0};
    if (f.r.bad != NULL) return done(&f, what);
    out->sid = (uint32_t)mps_read_uint(next(&f), UINT32_MAX, "sid"); /* 0 and too large ones are answered with 219 */
    struct mps_head head;
    mps_view pattern = mps_read_any(next(&f), "pattern");
    if (f.r.bad == NULL && (mps_head_read(pattern.ptr, pattern.len, &head) != 1 || head.type != MPS_STR))
        f.r.bad = "pattern";
    if (f.r.bad == NULL) out->pattern = (mps_view){pattern.ptr + head.head_len, head.count};
    mps_view map = read_map_raw(next(&f), "options");
    if (f.r.bad != NULL) return done(&f, what);
    *what = read_sub_options(map, &out->options);
    return *what == NULL ? MPS_OK : MPS_BAD_OPTION;
}

enum mps_code mps_decode_suback(mps_view frame, struct mps_suback *out, const char **what)
{
    struct fields f = open_frame(frame, 3);
    *out = (struct mps_suback){0};
    if (f.r.bad != NULL) return done(&f, what);
    out->sid = (uint32_t)mps_read_uint(next(&f), UINT32_MAX, "sid");
    out->code = (uint32_t)mps_read_uint(next(&f), UINT16_MAX, "code");
    if (out->code != MPS_OK) {
        out->text = mps_read_text(next(&f), "text");
        return done(&f, what);
    }
    mps_view map = read_map_raw(next(&f), "granted");
    if (f.r.bad == NULL) f.r.bad = read_sub_options(map, &out->granted);
    return done(&f, what);
}

enum mps_code mps_decode_unsub(mps_view frame, struct mps_unsub *out, const char **what)
{
    struct fields f = open_frame(frame, 1);
    if (f.r.bad == NULL) out->sid = next_sid(&f);
    return done(&f, what);
}

enum mps_code mps_decode_mark(mps_view frame, struct mps_mark *out, const char **what)
{
    struct fields f = open_frame(frame, 2);
    *out = (struct mps_mark){0};
    if (f.r.bad != NULL) return done(&f, what);
    out->sid = next_sid(&f);
    out->kind = (uint32_t)mps_read_uint(next(&f), UINT32_MAX, "kind");
    if (!next_given(&f)) return done(&f, what);
    mps_view map = read_map_raw(&f.r, "counts");
    if (f.r.bad != NULL) return done(&f, what);
    f.r = mps_reader_open(map);
    uint32_t pairs = mps_read_map(&f.r, "counts");
    out->has_counts = pairs > 0;
    for (mps_view k; (k = next_key(&f.r, &pairs)).ptr != NULL;) {
        if (is(k, "sent")) out->sent = mps_read_uint(&f.r, MPS_NUMBER_MAX, "sent");
        else if (is(k, "lost")) out->lost = mps_read_uint(&f.r, MPS_NUMBER_MAX, "lost");
        else mps_read_any(&f.r, "value");
    }
    return done(&f, what);
}

enum mps_code mps_decode_token(mps_view frame, struct mps_token *out, const char **what)
{
    struct fields f = open_frame(frame, 1);
    if (f.r.bad != NULL) return done(&f, what);
    out->token = mps_read_bin(next(&f), "token");
    if (f.r.bad == NULL && out->token.len > MPS_TOKEN_MAX) f.r.bad = "token";
    return done(&f, what);
}

enum mps_code mps_decode_stat(mps_view frame, struct mps_stat *out, const char **what)
{
    struct fields f = open_frame(frame, 1);
    *out = (struct mps_stat){0};
    if (f.r.bad != NULL) return done(&f, what);
    out->sid = next_sid(&f);
    out->has_counts = f.left >= 5;
    if (out->has_counts) {
        out->matched = next_number(&f, "matched");
        out->sent = next_number(&f, "sent");
        out->lost = next_number(&f, "lost");
        out->queued = next_number(&f, "queued");
        out->queued_bytes = next_number(&f, "queued_bytes");
    }
    return done(&f, what);
}

enum mps_code mps_decode_auth(mps_view frame, struct mps_auth *out, const char **what)
{
    struct fields f = open_frame(frame, 1);
    if (f.r.bad == NULL) out->token = mps_read_bin(next(&f), "token");
    return done(&f, what);
}

enum mps_code mps_decode_welcome(mps_view frame, struct mps_welcome *out, const char **what)
{
    struct fields f = open_frame(frame, 2);
    *out = (struct mps_welcome){0};
    if (f.r.bad != NULL) return done(&f, what);
    out->version = next_number(&f, "version");
    mps_view map = read_map_raw(next(&f), "options");
    if (f.r.bad != NULL) return done(&f, what);
    f.r = mps_reader_open(map);
    uint32_t pairs = mps_read_map(&f.r, "options");
    for (mps_view k; (k = next_key(&f.r, &pairs)).ptr != NULL;) {
        if (is(k, "id")) out->id = mps_read_text(&f.r, "id");
        else if (is(k, "epoch")) out->epoch = mps_read_uint(&f.r, UINT64_MAX, "epoch");
        else if (is(k, "resumed")) out->resumed = mps_read_bool(&f.r, "resumed");
        else if (is(k, "last_pid")) out->last_pid = mps_read_uint(&f.r, MPS_NUMBER_MAX, "last_pid");
        else if (is(k, "inbox")) out->inbox = mps_read_text(&f.r, "inbox");
        else if (is(k, "ka")) out->ka_s = (uint32_t)mps_read_uint(&f.r, UINT32_MAX, "ka");
        else if (is(k, "sess")) out->has_sess = true, out->sess_s = (uint32_t)mps_read_uint(&f.r, UINT32_MAX, "sess");
        else if (is(k, "max_payload")) out->max_payload = mps_read_uint(&f.r, MPS_NUMBER_MAX, "max_payload");
        else if (is(k, "max_topic")) out->max_topic = mps_read_uint(&f.r, MPS_NUMBER_MAX, "max_topic");
        else if (is(k, "max_subs")) out->max_subs = mps_read_uint(&f.r, MPS_NUMBER_MAX, "max_subs");
        else if (is(k, "pub_window")) out->pub_window = mps_read_uint(&f.r, MPS_NUMBER_MAX, "pub_window");
        else if (is(k, "ack")) out->ack = (uint32_t)mps_read_uint(&f.r, 3, "ack");
        else if (is(k, "sw")) out->sw = mps_read_text(&f.r, "sw");
        else mps_read_any(&f.r, "value");
    }
    return done(&f, what);
}

enum mps_code mps_decode_err(mps_view frame, struct mps_err *out, const char **what)
{
    struct fields f = open_frame(frame, 2);
    *out = (struct mps_err){0};
    if (f.r.bad != NULL) return done(&f, what);
    out->code = (uint32_t)mps_read_uint(next(&f), UINT16_MAX, "code");
    out->text = mps_read_text(next(&f), "text");
    out->has_op = next_given(&f);
    if (out->has_op) out->op = (uint32_t)mps_read_uint(&f.r, MPS_OP_MAX, "op");
    if (next_given(&f)) out->ref = mps_read_any(&f.r, "ref");
    return done(&f, what);
}

enum mps_code mps_decode_bye(mps_view frame, struct mps_bye *out, const char **what)
{
    struct fields f = open_frame(frame, 1);
    *out = (struct mps_bye){0};
    if (f.r.bad != NULL) return done(&f, what);
    out->code = (uint32_t)mps_read_uint(next(&f), UINT16_MAX, "code");
    out->text = optional_text(&f, "text");
    if (next_given(&f)) out->info = read_map_raw(&f.r, "info");
    return done(&f, what);
}

enum mps_code mps_decode_info(mps_view frame, struct mps_info *out, const char **what)
{
    struct fields f = open_frame(frame, 1);
    if (f.r.bad == NULL) out->map = read_map_raw(next(&f), "info");
    return done(&f, what);
}
