#include "tables.h"

#include <string.h>

/* The core's own data. */
#include "../../broker/core/cluster/cluster.h"

/* Whether other brokers are told of this subscription. */
static bool is_told(const struct ledger *ledger, const struct sub *sub)
{
    const struct town *town = ledger->town;
    mps_view pattern = mps_text(sub->pattern);
    bool goes_far = false;
    for (size_t i = 0; i < town->topics_count; i++)
        goes_far |= mps_patterns_overlap(pattern, mps_text(town->topics[i]));
    return goes_far && sub->alive && !(sub->reader && mps_pattern_covers(mps_text(STREAM_PATTERN), pattern));
}

static bool is_item(const struct sub *sub, mps_view group, mps_view pattern)
{
    mps_view own = sub->group != NULL ? mps_text(sub->group->name) : (mps_view){0};
    return own.len == group.len && (own.len == 0 || mps_view_equal(own, group)) &&
           mps_view_equal(mps_text(sub->pattern), pattern);
}

static bool somebody_has(const struct ledger *ledger, uint32_t node, mps_view group, mps_view pattern)
{
    for (uint32_t i = 0; i < ledger->subs_count; i++) {
        const struct sub *sub = ledger->subs[i];
        if (sub->node == node && is_told(ledger, sub) && is_item(sub, group, pattern)) return true;
    }
    return false;
}

static bool is_known(const struct cluster *cluster, uint64_t bit, const struct sub *sub)
{
    for (struct hash_node *n = hash_first(&cluster->far_patterns); n != NULL;
         n = hash_next(&cluster->far_patterns, n)) {
        const struct far *far = container_of(n, struct far, in_patterns);
        if ((far->at & bit) && is_item(sub, far_group(far), far_pattern(far))) return true;
    }
    return false;
}

/* What one knows of another one. */
static void judge_pair(struct ledger *ledger, const struct node *node, const struct node *other)
{
    const struct cluster *cluster = node->broker->cluster;
    const struct neighbour *neighbour = cluster_find(cluster, mps_text(other->name));
    if (neighbour == NULL || !neighbour->is_present) {
        town_fail(ledger->town, "%s does not know at rest that %s is there", node->name, other->name);
        return;
    }
    uint64_t bit = UINT64_C(1) << neighbour->number;
    for (uint32_t i = 0; i < ledger->subs_count; i++) {
        const struct sub *sub = ledger->subs[i];
        if (sub->node != other->number || !is_told(ledger, sub) || is_known(cluster, bit, sub)) continue;
        town_fail(ledger->town, "%s does not know of client %u, sid %u (%s), at %s", node->name, sub->party, sub->sid,
                  sub->pattern, other->name);
    }
    for (struct hash_node *n = hash_first(&cluster->far_patterns); n != NULL;
         n = hash_next(&cluster->far_patterns, n)) {
        const struct far *far = container_of(n, struct far, in_patterns);
        mps_view pattern = far_pattern(far);
        if (!(far->at & bit) || somebody_has(ledger, other->number, far_group(far), pattern)) continue;
        town_fail(ledger->town, "%s believes that %s wants %.*s, which nobody there does", node->name, other->name,
                  (int)pattern.len, (const char *)pattern.ptr);
    }
}

void tables_judge(struct ledger *ledger)
{
    struct town *town = ledger->town;
    for (uint32_t i = 0; i < town->nodes_count; i++)
        for (uint32_t k = 0; k < town->nodes_count; k++)
            if (i != k) judge_pair(ledger, &town->nodes[i], &town->nodes[k]);
}
