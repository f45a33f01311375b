#include "props.h"

#include <string.h>

void props_open(struct props *props, const struct pubsub_message *message)
{
    props->left = 0;
    if (!message->props) return;
    props->reader = mps_reader_open((mps_view){message->props, (uint32_t)message->props_len});
    props->left = mps_read_map(&props->reader, "props");
}

bool props_next(struct props *props, mps_view *key, mps_view *value)
{
    if (props->left == 0) return false;
    props->left--;
    *key = mps_read_any(&props->reader, "key");
    *value = mps_read_any(&props->reader, "value");
    return props->reader.bad == NULL;
}

const char *props_name(mps_view key)
{
    static const char *const names[] = {
        [MPS_PROP_REPLY_TO] = "reply_to",
        [MPS_PROP_CORRELATION] = "correlation",
        [MPS_PROP_CONTENT_TYPE] = "content_type",
        [MPS_PROP_TTL_MS] = "ttl_ms",
        [MPS_PROP_TRACE] = "trace",
        [MPS_PROP_KEY] = "key",
        [MPS_PROP_MESSAGE_ID] = "message_id",
        [MPS_PROP_SOURCE_TIME_MS] = "source_time_ms",
    };
    struct mps_head head;
    if (mps_head_read(key.ptr, key.len, &head) != 1 || head.type != MPS_UINT) return NULL;
    return head.number < sizeof names / sizeof *names ? names[head.number] : NULL;
}

mps_view props_header(const struct pubsub_message *message, mps_view name)
{
    struct props props;
    mps_view key, value;
    props_open(&props, message);
    while (props_next(&props, &key, &value)) {
        struct mps_head head;
        if (mps_head_read(key.ptr, key.len, &head) == 1 && head.type == MPS_STR && head.count == name.len &&
            memcmp(key.ptr + head.head_len, name.ptr, name.len) == 0) {
            return value;
        }
    }
    return (mps_view){NULL, 0};
}
