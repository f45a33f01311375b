#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "latest.h"
#include "sure.h"

/* What messages are told apart by: props key 6, else the topic. Keys are equal if they mean the same, however they are
 * encoded, so a number is kept as eight bytes. */
struct key {
    uint8_t kind; /* enum mps_type of key 6, or KIND_TOPIC */
    mps_view bytes;
    uint8_t number[8];
};
#define KIND_TOPIC 0xff

/* The key itself is in the message: keeping it here as well would cost memory for each queue that holds the message. */
struct place {
    struct hash_node in_places;
    uint64_t number;
};

struct latest {
    struct hash places;
    uint64_t seed;
};

struct latest *latest_new(uint64_t seed)
{
    struct latest *latest = sure_zeroed(sizeof *latest);
    latest->seed = seed;
    return latest;
}

void latest_free(struct latest *latest)
{
    for (struct hash_node *node; (node = hash_any(&latest->places)) != NULL;) {
        hash_remove(&latest->places, node);
        free(container_of(node, struct place, in_places));
    }
    hash_free(&latest->places);
    free(latest);
}

static void set_number(struct key *key, const void *bytes)
{
    memcpy(key->number, bytes, sizeof key->number);
    key->bytes = (mps_view){key->number, sizeof key->number};
}

/* The frame was accepted when it came. key must not be moved afterwards. */
static void read_key(mps_view frame, struct key *key)
{
    struct mps_msg msg;
    const char *what;
    mps_decode_msg(frame, &msg, &what);
    mps_view raw = mps_props_find(msg.props, MPS_PROP_KEY);
    *key = (struct key){.kind = KIND_TOPIC, .bytes = msg.topic};
    if (raw.ptr == NULL) return;
    struct mps_head head;
    mps_head_read(raw.ptr, raw.len, &head);
    key->kind = (uint8_t)head.type;
    switch (head.type) {
    case MPS_UINT:
    case MPS_INT: set_number(key, &head.number); break;
    case MPS_FLOAT: set_number(key, &head.real); break;
    case MPS_NIL: key->bytes.len = 0; break;
    case MPS_BOOL:
        key->number[0] = head.boolean;
        key->bytes = (mps_view){key->number, 1};
        break;
    case MPS_STR:
    case MPS_BIN: key->bytes = (mps_view){raw.ptr + head.head_len, head.count}; break;
    case MPS_EXT:
    case MPS_ARRAY:
    case MPS_MAP: break; /* refused as a key when the message came */
    }
}

struct wanted {
    const struct key *key;
    const struct queue *queue;
};

static bool has_key(const struct hash_node *node, const void *arg)
{
    const struct wanted *wanted = arg;
    const struct place *place = container_of(node, struct place, in_places);
    struct key key;
    read_key(queue_frame(queue_at(wanted->queue, (uint32_t)(place->number - wanted->queue->first))), &key);
    return key.kind == wanted->key->kind && mps_view_equal(key.bytes, wanted->key->bytes);
}

static bool has_number(const struct hash_node *node, const void *arg)
{
    return container_of(node, struct place, in_places)->number == *(const uint64_t *)arg;
}

static uint64_t key_hash(const struct latest *latest, const struct key *key)
{
    return hash_bytes(latest->seed ^ key->kind, key->bytes.ptr, key->bytes.len);
}

bool latest_find(const struct latest *latest, const struct queue *queue, mps_view frame, uint64_t *number)
{
    struct key key;
    read_key(frame, &key);
    struct hash_node *node = hash_find(&latest->places, key_hash(latest, &key), has_key, &(struct wanted){&key, queue});
    if (node != NULL) *number = container_of(node, struct place, in_places)->number;
    return node != NULL;
}

void latest_add(struct latest *latest, mps_view frame, uint64_t number)
{
    struct key key;
    read_key(frame, &key);
    struct place *place = sure_alloc(sizeof *place); /* small, and the queue's limits bound how many there are */
    place->number = number;
    hash_add(&latest->places, &place->in_places, key_hash(latest, &key));
}

/* The place of the frame that stands at this number. */
static struct place *place_at(const struct latest *latest, mps_view frame, uint64_t number)
{
    struct key key;
    read_key(frame, &key);
    struct hash_node *node = hash_find(&latest->places, key_hash(latest, &key), has_number, &number);
    assert(node != NULL);
    return container_of(node, struct place, in_places);
}

void latest_move(struct latest *latest, mps_view frame, uint64_t from, uint64_t to)
{
    place_at(latest, frame, from)->number = to;
}

void latest_forget(struct latest *latest, mps_view frame, uint64_t number)
{
    struct place *place = place_at(latest, frame, number);
    hash_remove(&latest->places, &place->in_places);
    free(place);
}

uint64_t latest_bytes(const struct latest *latest)
{
    return latest->places.count * (sizeof(struct place) + 16 + 2 * sizeof(struct hash_slot));
}
