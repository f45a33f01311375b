#include "far.h"

#include <stdlib.h>
#include <string.h>

#include "group_far.h"
#include "lanes.h"
#include "scope.h"
#include "sure.h"

/* A broker tells 10,000 patterns and its groups. One that tells so many is taken to want everything. */
#define FAR_MAX 200000u
/* As many patterns of all brokers together, which is some 300 MB. Who tells more is taken to want everything, too. */
#define FAR_ALL_MAX 1000000u
#define ASK_MS 1000u

static uint64_t far_hash(const struct cluster *cluster, mps_view group, mps_view pattern)
{
    return hash_bytes(hash_bytes(cluster->broker->seed, group.ptr, group.len), pattern.ptr, pattern.len);
}

static bool is_same(const struct hash_node *node, const void *key)
{
    const struct far *far = container_of(node, struct far, in_patterns);
    const struct between_item *wanted = key;
    return mps_view_equal(far_group(far), wanted->group) && mps_view_equal(far_pattern(far), wanted->pattern);
}

struct far *far_find(const struct cluster *cluster, mps_view group, mps_view pattern)
{
    struct between_item key = {group, pattern};
    struct hash_node *node = hash_find(&cluster->far_patterns, far_hash(cluster, group, pattern), is_same, &key);
    return node ? container_of(node, struct far, in_patterns) : NULL;
}

static struct topics *topics_of(struct cluster *cluster, const struct far *far)
{
    return far->group_len > 0 ? &cluster->far_groups : &cluster->far;
}

static struct far *far_new(struct cluster *cluster, const struct between_item *item)
{
    struct far *far = sure_zeroed(sizeof *far + item->group.len + item->pattern.len); /* small; FAR_MAX bounds them */
    far->group_len = (uint8_t)item->group.len;
    far->pattern_len = (uint8_t)item->pattern.len;
    if (item->group.len > 0) memcpy(far->text, item->group.ptr, item->group.len);
    memcpy(far->text + item->group.len, item->pattern.ptr, item->pattern.len);
    hash_add(&cluster->far_patterns, &far->in_patterns, far_hash(cluster, far_group(far), far_pattern(far)));
    topics_add(topics_of(cluster, far), far_pattern(far), &far->entry);
    return far;
}

/* Other brokers want it, or don't any more. */
static void changed(struct cluster *cluster, struct far *far)
{
    router_pattern_changed(cluster->broker, far_pattern(far));
    if (far->group_len > 0) group_far_changed(cluster, far);
    if (far->at != 0) return;
    topics_remove(topics_of(cluster, far), &far->entry);
    hash_remove(&cluster->far_patterns, &far->in_patterns);
    free(far);
}

static uint64_t bit_of(const struct neighbour *neighbour)
{
    return UINT64_C(1) << neighbour->number;
}

static const struct between_item everything = {.pattern = {(const uint8_t *)"#", 1}};

static void add(struct neighbour *from, const struct between_item *item)
{
    struct cluster *cluster = from->cluster;
    struct far *far = far_find(cluster, item->group, item->pattern);
    bool is_too_much = from->far_count >= FAR_MAX || (far == NULL && cluster->far_patterns.count >= FAR_ALL_MAX);
    if (is_too_much && (far == NULL || !(far->at & bit_of(from)))) {
        item = &everything;
        far = far_find(cluster, item->group, item->pattern);
    }
    if (far == NULL) far = far_new(cluster, item);
    far->fresh |= bit_of(from);
    if (far->at & bit_of(from)) return;
    far->at |= bit_of(from);
    from->far_count++;
    changed(cluster, far);
}

static void take_away(struct neighbour *from, struct far *far)
{
    far->at &= ~bit_of(from);
    from->far_count--;
    changed(from->cluster, far);
}

static void take(struct neighbour *from, enum interest_kind kind, const struct between_item *item)
{
    if (kind != INTEREST_REMOVE) {
        add(from, item);
        return;
    }
    struct far *far = far_find(from->cluster, item->group, item->pattern);
    if (far != NULL && (far->at & bit_of(from))) take_away(from, far);
}

/* Of those that have its bit, or of these the ones that it has not said since it began to tell all. */
static void take_away_all(struct neighbour *from, bool stale_only)
{
    struct cluster *cluster = from->cluster;
    uint64_t bit = bit_of(from);
    uint32_t count = 0;
    if (from->far_count == 0) return;
    struct far **list = sure_alloc(from->far_count * sizeof list[0]); /* a pointer each */
    for (struct hash_node *n = hash_first(&cluster->far_patterns); n != NULL;
         n = hash_next(&cluster->far_patterns, n)) {
        struct far *far = container_of(n, struct far, in_patterns);
        if ((far->at & bit) && !(stale_only && (far->fresh & bit))) list[count++] = far;
    }
    for (uint32_t i = 0; i < count; i++) take_away(from, list[i]);
    free(list);
}

/* What is known stays until all is told: so no message is lost on the way. */
static void begin_all(struct neighbour *from, uint64_t version)
{
    struct cluster *cluster = from->cluster;
    for (struct hash_node *n = hash_first(&cluster->far_patterns); n != NULL; n = hash_next(&cluster->far_patterns, n))
        container_of(n, struct far, in_patterns)->fresh &= ~bit_of(from);
    from->is_telling = true;
    from->telling = version;
    from->is_asked = false;
}

/* What was published here since its interest was known last may be what it had come to want since then: it is to see a
 * hole where that stands, before anything else. */
static void end_all(struct neighbour *from)
{
    uint64_t published = cluster_published(from->cluster);
    if (from->sure_of != published && !from->is_anew) lane_lose(from, 1);
    from->sure_of = published;
    from->is_anew = false;
    take_away_all(from, true);
    from->is_telling = false;
    from->version = from->telling;
    if (from->knows_all) return;
    from->knows_all = true;
    from->cluster->listening |= bit_of(from);
    group_far_changed(from->cluster, NULL);
}

/* Whether this frame goes on where what is known ends. */
static bool follows(const struct neighbour *from, const struct between_interest *interest)
{
    switch (interest->kind) {
    case INTEREST_ALL: return from->is_asked; /* it costs a look at all that is known */
    case INTEREST_MORE: return from->is_telling && interest->version == from->telling;
    case INTEREST_ADD:
    case INTEREST_REMOVE:
    case INTEREST_ANEW: return from->knows_all && !from->is_telling && interest->version == from->version + 1;
    }
    return false;
}

static bool all_are_good(struct between_interest interest)
{
    struct between_item item;
    for (uint32_t i = 0; i < interest.count + interest.groups_count; i++)
        if (!between_next_item(&interest, i, &item)) return false;
    return true;
}

bool far_on_interest(struct neighbour *from, mps_view frame)
{
    struct between_interest interest;
    struct between_item item;
    if (!between_decode_interest(frame, &interest) || !all_are_good(interest)) return false;
    if (!follows(from, &interest)) return true; /* far_check() asks for all */
    bool is_all = interest.kind == INTEREST_ALL || interest.kind == INTEREST_MORE;
    if (interest.kind == INTEREST_ANEW) from->is_anew = true;
    if (interest.kind == INTEREST_ANEW) return true; /* .version stays: what it says with the new one isn't known yet */
    if (interest.kind == INTEREST_ALL) begin_all(from, interest.version);
    for (uint32_t i = 0; i < interest.count + interest.groups_count; i++) {
        between_next_item(&interest, i, &item);
        take(from, interest.kind, &item);
    }
    from->cluster->broker->work += interest.count + interest.groups_count;
    if (is_all && interest.is_last) end_all(from);
    if (!is_all) from->version = interest.version;
    if (!from->is_telling) scope_neighbour_known(from->cluster, from);
    return true;
}

void far_missed(struct neighbour *from)
{
    from->is_telling = from->is_anew = false;
}

void far_check(struct neighbour *from, uint64_t told)
{
    uint64_t now_ms = from->cluster->broker->now_ms;
    if (from->is_telling) return;
    if (from->knows_all && told == 0)
        from->sure_of = UINT64_MAX; /* it had given this broker up, nobody knows since when */
    if (from->knows_all && from->version == told) {
        from->sure_of = cluster_published(from->cluster);
        from->is_anew = false;
        return;
    }
    if (from->asked_ms > 0 && now_ms < from->asked_ms + ASK_MS) return;
    from->asked_ms = now_ms;
    from->is_asked = true;
    uint8_t room[16];
    struct mps_out out = mps_out_open(room, sizeof room);
    between_encode_bare(&out, BETWEEN_RESYNC);
    lane_put_frame(from, &out);
}

void far_forget(struct neighbour *gone)
{
    gone->cluster->listening &= ~bit_of(gone);
    take_away_all(gone, false);
    gone->knows_all = gone->is_telling = gone->is_asked = false;
    gone->version = 0;
    gone->asked_ms = 0;
    group_far_changed(gone->cluster, NULL);
}
