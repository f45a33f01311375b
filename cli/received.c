#include "received.h"

#include <stdlib.h>
#include <string.h>

#include "cli.h"

static const void *append(uint8_t **end, const void *bytes, size_t len)
{
    uint8_t *begin = *end;
    if (len > 0) memcpy(begin, bytes, len);
    *end += len;
    return begin;
}

struct pubsub_message *received_copy(const struct pubsub_message *message, bool with_payload)
{
    size_t payload_len = with_payload ? message->payload_len : 0;
    struct pubsub_message *copy = malloc(sizeof *copy + message->topic_len + message->props_len + payload_len);
    if (!copy) {
        complain("out of memory");
        exit(CLI_EXIT_ERROR);
    }
    uint8_t *end = (uint8_t *)(copy + 1);
    *copy = *message;
    copy->topic = append(&end, message->topic, message->topic_len);
    if (message->props) copy->props = append(&end, message->props, message->props_len);
    copy->payload = append(&end, message->payload, payload_len);
    copy->payload_len = payload_len;
    return copy;
}
