#include "wire.h"

static bool is_scalar(enum mps_type type)
{
    return type != MPS_ARRAY && type != MPS_MAP && type != MPS_EXT;
}

/* A value of any key: a scalar or an array of scalars. */
static bool plain_value(mps_view raw)
{
    struct mps_head head;
    mps_head_read(raw.ptr, raw.len, &head);
    if (head.type != MPS_ARRAY) return is_scalar(head.type);
    struct mps_reader r = mps_reader_open(raw);
    uint32_t count = mps_read_array(&r, "array");
    for (uint32_t i = 0; i < count; i++) {
        mps_view element = mps_read_any(&r, "element");
        if (r.bad != NULL) return false;
        mps_head_read(element.ptr, element.len, &head);
        if (!is_scalar(head.type)) return false;
    }
    return true;
}

/* The shapes of the protocol's own keys. NULL: fine. */
static const char *reserved_error(uint64_t key, mps_view raw)
{
    struct mps_reader r = mps_reader_open(raw);
    struct mps_head head;
    mps_head_read(raw.ptr, raw.len, &head);
    switch (key) {
    case MPS_PROP_REPLY_TO: mps_read_text(&r, "reply-to (1) must be a text"); break;
    case MPS_PROP_CONTENT_TYPE:
        if (head.type == MPS_UINT) mps_read_uint(&r, 0, "content type (3) must be 0 or a text");
        else mps_read_text(&r, "content type (3) must be 0 or a text");
        break;
    case MPS_PROP_TTL_MS: mps_read_uint(&r, MPS_NUMBER_MAX, "ttl (4) must be a number of milliseconds"); break;
    case MPS_PROP_TRACE:
        if (mps_read_bin(&r, "trace (5) must be 25 bytes").len != 25) return "trace (5) must be 25 bytes";
        break;
    case MPS_PROP_CORRELATION:
    case MPS_PROP_KEY:
    case MPS_PROP_MESSAGE_ID:
        if (head.type == MPS_ARRAY) return "correlation (2), key (6) and message id (7) must be scalars";
        break;
    case MPS_PROP_SOURCE_TIME_MS: mps_read_uint(&r, MPS_NUMBER_MAX, "source time (8) must be milliseconds"); break;
    }
    return r.bad;
}

enum mps_code mps_props_check(mps_view props, const char **what)
{
    struct mps_reader r = mps_reader_open(props);
    uint32_t pairs = mps_read_map(&r, "props must be a map");
    for (uint32_t i = 0; i < pairs && r.bad == NULL; i++) {
        mps_view key = mps_read_any(&r, "a key is missing");
        mps_view value = mps_read_any(&r, "a value is missing");
        if (r.bad != NULL) break;
        struct mps_head head;
        mps_head_read(key.ptr, key.len, &head);
        if (head.type == MPS_STR) {
            struct mps_reader text = mps_reader_open(key);
            mps_read_text(&text, "a header's name must be UTF-8 without NUL");
            if (text.bad != NULL) r.bad = text.bad;
        } else if (head.type == MPS_UINT) {
            r.bad = reserved_error(head.number, value);
        } else {
            r.bad = "a key must be a text or an unsigned integer";
        }
        if (r.bad == NULL && !plain_value(value)) r.bad = "a value must be a scalar or an array of scalars";
    }
    if (r.bad == NULL && mps_map_has_duplicates(props)) r.bad = "a key stands twice";
    *what = r.bad;
    return r.bad == NULL ? MPS_OK : MPS_BAD_PROPS;
}

mps_view mps_props_find(mps_view props, unsigned key)
{
    struct mps_reader r = mps_reader_open(props);
    uint32_t pairs = props.ptr == NULL ? 0 : mps_read_map(&r, "props");
    for (uint32_t i = 0; i < pairs && r.bad == NULL; i++) {
        mps_view raw_key = mps_read_any(&r, "key");
        mps_view value = mps_read_any(&r, "value");
        struct mps_head head;
        if (r.bad == NULL && mps_head_read(raw_key.ptr, raw_key.len, &head) == 1 && head.type == MPS_UINT &&
            head.number == key)
            return value;
    }
    return (mps_view){NULL, 0};
}
