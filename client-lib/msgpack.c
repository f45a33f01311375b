/* Between msgpack-c and the client: nothing that was not checked gets there. */
#include <pubsub/msgpack.h>

#include "value.h"

/* The zone takes memory in chunks of at least 8 KiB and of twice what was asked for at most, and leaves the rest of a
 * chunk that something does not fit into: so it has less than twice what the objects need, and two chunks. */
#define ZONE_BYTES (2 * MSGPACK_ZONE_CHUNK_SIZE)
#define BYTES_PER_VALUE (2 * sizeof(msgpack_object) + 1)

_Static_assert(PUBSUB_MSGPACK_DEPTH_MAX == MPS_DOCUMENT_DEPTH_MAX, "the header says what the check does");
_Static_assert(sizeof(msgpack_object_kv) == 2 * sizeof(msgpack_object), "a map takes what its values take");
_Static_assert(ZONE_BYTES == 16384 && PUBSUB_MSGPACK_MEMORY_MIN > ZONE_BYTES, "the header says so");

static const char *check(const void *bytes, size_t len, uint32_t values_max)
{
    if (len > UINT32_MAX) return "it is larger than 4 GiB";
    return mps_document_check((mps_view){bytes, (uint32_t)len}, MPS_DOCUMENT_DEPTH_MAX, values_max);
}

const char *pubsub_msgpack_check(const void *bytes, size_t len)
{
    return check(bytes, len, UINT32_MAX);
}

int pubsub_publish_msgpack(pubsub *client, const char *topic, const msgpack_sbuffer *document,
                           const struct pubsub_publish_options *options, uint64_t *pid)
{
    if ((options != NULL && options->raw) || pubsub_msgpack_check(document->data, document->size) != NULL)
        return PUBSUB_EINVAL;
    return pubsub_publish(client, topic, document->data, document->size, options, pid);
}

static uint32_t values_max(size_t memory_max)
{
    size_t count = (memory_max - ZONE_BYTES) / BYTES_PER_VALUE;
    return count < UINT32_MAX ? (uint32_t)count : UINT32_MAX;
}

/* Why a payload is not to be shown to msgpack-c; NULL: it may be. */
static const char *judge(const struct pubsub_message *message, size_t memory_max, int *rc)
{
    const char *why = NULL;
    *rc = PUBSUB_EINVAL;
    if (memory_max < PUBSUB_MSGPACK_MEMORY_MIN) return "memory_max is below 32 KiB";
    if (pubsub_message_is_raw(message)) return "its content type says that it is raw bytes";
    if ((why = pubsub_msgpack_check(message->payload, message->payload_len)) != NULL) return why;
    *rc = PUBSUB_ETOOBIG;
    return check(message->payload, message->payload_len, values_max(memory_max));
}

int pubsub_message_unpack(const struct pubsub_message *message, size_t memory_max, msgpack_unpacked *unpacked,
                          const char **why)
{
    int rc;
    size_t offset = 0;
    const char *text = judge(message, memory_max != 0 ? memory_max : PUBSUB_MSGPACK_MEMORY_DEFAULT, &rc);
    msgpack_unpacked_destroy(unpacked);
    msgpack_unpacked_init(unpacked);
    if (text == NULL && msgpack_unpack_next(unpacked, message->payload, message->payload_len, &offset) !=
                            MSGPACK_UNPACK_SUCCESS) { /* of what is well-formed it makes objects, if there is memory */
        msgpack_unpacked_destroy(unpacked);
        msgpack_unpacked_init(unpacked);
        rc = PUBSUB_ENOMEM;
        text = "out of memory";
    }
    if (text != NULL && why != NULL) *why = text;
    return text != NULL ? rc : PUBSUB_OK;
}
