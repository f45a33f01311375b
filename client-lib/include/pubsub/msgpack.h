/* msgpack-c's documents as payloads: library pubsub_msgpack (pkg-config pubsub-msgpack, CMake pubsub::msgpack).
 *
 * What arrives was written by somebody else. msgpack-c sees it only after a bounded check has accepted it: its own parser
 * reserves what the first bytes ask for, and turns an array of 1 MiB of nils into 24 MiB of objects.
 * Thread: any; a message or buffer by one thread at a time. */
#ifndef PUBSUB_MSGPACK_H
#define PUBSUB_MSGPACK_H

#include <msgpack.h>
#include <pubsub/pubsub.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PUBSUB_MSGPACK_DEPTH_MAX 32                  /* containers in each other */
#define PUBSUB_MSGPACK_MEMORY_DEFAULT (512 * 1024)   /* bytes: 10,000 values, where a msgpack_object has 24 bytes */
#define PUBSUB_MSGPACK_MEMORY_MIN (32 * 1024)

/* NULL if these bytes are exactly one well-formed document of at most PUBSUB_MSGPACK_DEPTH_MAX containers in each other,
 * else why not: static, a clause for a person. Allocates nothing, takes one pass. */
const char *pubsub_msgpack_check(const void *bytes, size_t len);

/* Publishes what was packed, which must be one document. All else is as of pubsub_publish(), but that options may not be
 * .raw. The buffer stays the caller's and can be cleared at once. Returns as pubsub_publish(); EINVAL also: not one
 * document (pubsub_msgpack_check() says why, pubsub_error() does not). */
int pubsub_publish_msgpack(pubsub *client, const char *topic, const msgpack_sbuffer *document,
                           const struct pubsub_publish_options *options, uint64_t *pid);

/* Shows a message's payload as an object.
 *   memory_max  bytes that the objects may take, at least PUBSUB_MSGPACK_MEMORY_MIN; 0: PUBSUB_MSGPACK_MEMORY_DEFAULT. The
 *               limit is on the number of values, so that it holds whatever their order and kind: (memory_max - 16384) /
 *               (2 * sizeof(msgpack_object) + 1), keys and containers counted.
 *   unpacked    the caller's, initialised by msgpack_unpacked_init(), and freed by msgpack_unpacked_destroy(). It can be
 *               used again for the next message: what it held is freed first. The objects (.data) are in its zone, but
 *               strings, bin and ext point into the payload: in on_message they end with the callback.
 *   why         if not NULL: set to why it failed; static, a clause for a person.
 * Returns 0; or PUBSUB_EINVAL: not one document, raw by its content type, nested too deeply, or memory_max is too small;
 * ETOOBIG: more values than memory_max allows; ENOMEM. On failure *unpacked holds nothing (nil, no zone). */
int pubsub_message_unpack(const struct pubsub_message *message, size_t memory_max, msgpack_unpacked *unpacked,
                          const char **why);

#ifdef __cplusplus
}
#endif
#endif
