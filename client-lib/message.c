/* Reading a message's properties, which the core judged when it came. */
#include <string.h>

#include "wire.h"

#include <pubsub/pubsub.h>

static mps_view property(const struct pubsub_message *message, unsigned key)
{
    return mps_props_find((mps_view){message->props, (uint32_t)message->props_len}, key);
}

/* The text that a raw value is; NULL if it is none. */
static const char *text_of(mps_view raw, size_t *len)
{
    struct mps_reader r = mps_reader_open(raw);
    mps_view text = mps_read_text(&r, "text");
    *len = r.bad == NULL ? text.len : 0;
    return r.bad == NULL ? (const char *)text.ptr : NULL;
}

const char *pubsub_message_reply_to(const struct pubsub_message *message, size_t *len)
{
    return text_of(property(message, MPS_PROP_REPLY_TO), len);
}

const void *pubsub_message_correlation(const struct pubsub_message *message, size_t *len)
{
    mps_view raw = property(message, MPS_PROP_CORRELATION);
    *len = raw.len;
    return raw.ptr;
}

const char *pubsub_message_header(const struct pubsub_message *message, const char *name, size_t *len)
{
    struct mps_reader r = mps_reader_open((mps_view){message->props, (uint32_t)message->props_len});
    uint32_t pairs = message->props == NULL ? 0 : mps_read_map(&r, "props");
    *len = 0;
    for (uint32_t i = 0; i < pairs && r.bad == NULL; i++) {
        mps_view key = mps_read_any(&r, "key"), value = mps_read_any(&r, "value");
        size_t key_len;
        const char *text = r.bad == NULL ? text_of(key, &key_len) : NULL;
        if (text != NULL && key_len == strlen(name) && memcmp(text, name, key_len) == 0) return text_of(value, len);
    }
    return NULL;
}

bool pubsub_message_is_raw(const struct pubsub_message *message)
{
    return property(message, MPS_PROP_CONTENT_TYPE).ptr != NULL;
}
