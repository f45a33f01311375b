#include "group_far.h"

#include <stdlib.h>

#include "far.h"
#include "mailbox.h"
#include "sure.h"

/* What one group hands over in a turn: a few datagrams. */
#define HAND_OVER_BYTES (1024u * 1024)

/* That messages at hand go to a group's members at this neighbour. */
struct choice {
    const struct far *far;
    uint32_t neighbour;
};

struct groups_far {
    struct list due; /* groups that may have something to be handed over */
    struct choice *choices;
    uint32_t choices_count, choices_cap;
};

static bool has_present(const struct group *group)
{
    return group->members_count > group->away_count;
}

/* The neighbours that have members of the group. */
static uint64_t places(const struct cluster *cluster, const struct far *far)
{
    return far != NULL ? far->at & cluster->listening : 0;
}

static struct far *far_of(const struct cluster *cluster, const struct group *group)
{
    return far_find(cluster, group_name(group), group_pattern(group));
}

/* ---- groups of our own -------------------------------------------------------------------------------------- */

static void set_due(struct cluster *cluster, struct group *group, bool is_due)
{
    if (group->is_far == is_due) return;
    group->is_far = is_due;
    if (is_due) list_append(&cluster->groups->due, &group->in_far);
    else list_remove(&cluster->groups->due, &group->in_far);
}

/* Whether what is published here goes to the group here, or to the neighbours that have its members. Of a pattern that
 * takes what stays here, too, nobody looks at what waits already. */
static void place(struct cluster *cluster, struct group *group)
{
    bool is_elsewhere = !has_present(group) && places(cluster, far_of(cluster, group)) != 0;
    set_due(cluster, group, is_elsewhere && cluster_covers(cluster, group_pattern(group)));
    if (group->box.is_elsewhere == is_elsewhere) return;
    group->box.is_elsewhere = is_elsewhere;
    router_pattern_changed(cluster->broker, group_pattern(group));
}

void group_far_update(struct group *group)
{
    struct cluster *cluster = group->box.broker->cluster;
    mps_view pattern = group_pattern(group);
    bool wants = has_present(group) && cluster_overlaps(cluster, pattern) && !interest_only_reads(&group->box, pattern);
    if (wants != group->box.is_told) {
        group->box.is_told = wants;
        if (wants && group->untold_ms == 0) group->box.holes = cluster->holes; /* it was not there yet */
        if (wants) interest_comes(cluster, group_name(group), pattern);
        else interest_goes(cluster, group_name(group), pattern);
        if (!wants) group->untold_ms = cluster->broker->now_ms;
    }
    place(cluster, group);
}

void group_far_changed(struct cluster *cluster, struct far *far)
{
    if (far != NULL) {
        struct group *group = group_find(cluster->broker, far_group(far), far_pattern(far));
        if (group != NULL) place(cluster, group);
        return;
    }
    for (struct list_node *node = cluster->broker->groups_by_age.first; node != NULL; node = node->next)
        place(cluster, container_of(node, struct group, in_age));
}

/* ---- choosing ----------------------------------------------------------------------------------------------- */

/* They take turns. */
static struct neighbour *next_of(struct cluster *cluster, struct far *far, uint64_t at)
{
    uint64_t behind = far->turn + 1 < 64 ? at & ~UINT64_C(0) << (far->turn + 1) : 0;
    far->turn = (uint64_t)__builtin_ctzll(behind != 0 ? behind : at);
    return cluster->neighbours[far->turn];
}

/* Of several messages each neighbour gets as many, in their order. */
static void share(struct cluster *cluster, struct far *far, uint64_t at, struct run *run, struct part part)
{
    const struct far *const groups[] = {far};
    const struct far_terms terms = {.plain = false, .count = 1, .groups = groups};
    for (uint32_t takers = (uint32_t)__builtin_popcountll(at); part.count > 0; takers--) {
        uint32_t count = (part.count + takers - 1) / takers;
        uint32_t end = count < part.count ? run_skip(run, part.off, count) : part.off + part.len;
        lane_put_msgs(next_of(cluster, far, at), &terms, run, (struct part){part.off, end - part.off, count});
        part = (struct part){end, part.off + part.len - end, part.count - count};
    }
}

static void add_choice(struct groups_far *groups, const struct far *far, uint32_t neighbour)
{
    if (groups->choices_count == groups->choices_cap) {
        groups->choices_cap = 2 * groups->choices_cap + 8;
        groups->choices = sure_grown(groups->choices, groups->choices_cap * sizeof groups->choices[0]);
    }
    groups->choices[groups->choices_count++] = (struct choice){far, neighbour};
}

/* What is being relayed. */
struct relaying {
    struct cluster *cluster;
    struct run *run;
    struct part part;
};

/* A group of neighbours that matches. */
static void choose(struct topic_entry *entry, void *arg)
{
    struct relaying *relaying = arg;
    struct cluster *cluster = relaying->cluster;
    struct far *far = container_of(entry, struct far, entry);
    uint64_t at = places(cluster, far);
    const struct group *own = group_find(cluster->broker, far_group(far), far_pattern(far));
    cluster->broker->work++;
    if (at == 0 || (own != NULL && has_present(own))) return;
    if ((at & (at - 1)) == 0 || relaying->part.count == 1)
        add_choice(cluster->groups, far, next_of(cluster, far, at)->number);
    else share(cluster, far, at, relaying->run, relaying->part);
}

/* The messages once, for all of those at this neighbour; more than once only for more groups than TERMS may name. */
static void put(struct relaying *relaying, struct neighbour *to, bool plain)
{
    const struct groups_far *choices = relaying->cluster->groups;
    const struct far *groups[INBOUND_GROUPS_MAX];
    uint32_t i = 0;
    do {
        struct far_terms terms = {.plain = plain, .groups = groups};
        for (; i < choices->choices_count && terms.count < INBOUND_GROUPS_MAX; i++)
            if (choices->choices[i].neighbour == to->number) groups[terms.count++] = choices->choices[i].far;
        if (!plain && terms.count == 0) return;
        lane_put_msgs(to, terms.count > 0 ? &terms : NULL, relaying->run, relaying->part);
        plain = false;
    } while (i < choices->choices_count);
}

void group_far_relay(struct cluster *cluster, uint64_t wanted_by, mps_view topic, struct run *run, struct part part)
{
    struct relaying relaying = {cluster, run, part};
    struct groups_far *groups = cluster->groups;
    uint64_t plain = wanted_by & cluster->listening, to = plain;
    groups->choices_count = 0;
    uint64_t hash = topics_hash(&cluster->far_groups, topic);
    cluster->broker->work += topics_match(&cluster->far_groups, topic, hash, choose, &relaying);
    for (uint32_t i = 0; i < groups->choices_count; i++) to |= UINT64_C(1) << groups->choices[i].neighbour;
    for (; to != 0; to &= to - 1)
        put(&relaying, cluster->neighbours[__builtin_ctzll(to)], (plain & to & (~to + 1)) != 0);
}

/* ---- handing over ------------------------------------------------------------------------------------------- */

/* What the others know of us then is that there is nobody here: they don't send it back. */
static uint64_t hand_over_to(struct cluster *cluster, const struct far *far)
{
    uint64_t at = places(cluster, far);
    if (at != 0) interest_flush(cluster);
    return at;
}

static bool frame_is_shared(const struct cluster *cluster, const struct run *run, uint32_t at, uint32_t end)
{
    struct mps_msg msg;
    const char *what;
    mps_decode_msg((mps_view){run->bytes + at, end - at}, &msg, &what); /* accepted when it came */
    return cluster_relays(cluster, msg.topic);
}

/* Those whose topics other brokers may know: all, if all that the pattern takes are. */
static void share_shared(struct cluster *cluster, struct far *far, uint64_t at, struct run *run, struct part part)
{
    struct part some = {part.off, 0, 0};
    if (cluster_covers(cluster, far_pattern(far))) {
        share(cluster, far, at, run, part);
        return;
    }
    for (uint32_t from = part.off, end, one; from < part.off + part.len; from = end) {
        end = run_frame_end(run, from, from, &one);
        if (frame_is_shared(cluster, run, from, end)) {
            some = (struct part){some.off, end - some.off, some.count + 1};
            continue;
        }
        share(cluster, far, at, run, some);
        some = (struct part){end, 0, 0};
    }
    share(cluster, far, at, run, some);
}

/* What waits in the group here, up to so many bytes. GAPs stay, for who is given something here next. Returns whether
 * that was all. */
static bool hand_over(struct cluster *cluster, struct group *group, uint64_t most_bytes)
{
    struct far *far = far_of(cluster, group);
    uint64_t at = hand_over_to(cluster, far), bytes = 0;
    struct mailbox *box = &group->box;
    if (at == 0) return true;
    mailbox_expire(box);
    struct queue gaps = {0};
    for (; box->queue.entries > 0 && bytes < most_bytes; cluster->broker->work++) {
        const struct queue_entry *entry = queue_at(&box->queue, 0);
        if (entry->run == NULL) {
            queue_push_gap(&gaps, (enum mps_gap_reason)entry->off, entry->count);
            mailbox_pop_gap(box);
            continue;
        }
        uint32_t len = entry->len, count = (uint32_t)entry->count;
        share_shared(cluster, far, at, entry->run, (struct part){entry->off, len, count});
        bytes += len;
        box->sent += count; /* to members, if not to ours */
        mailbox_pop(box, len, count);
    }
    bool is_all = box->queue.entries == 0;
    struct totals was = mailbox_totals(box);
    for (uint32_t i = 0; i < gaps.entries; i++) {
        const struct queue_entry *gap = queue_at(&gaps, i);
        queue_push_front_gap(&box->queue, (enum mps_gap_reason)gap->off, gap->count);
    }
    mailbox_account(box, was);
    queue_clear(&gaps, &cluster->broker->runs);
    return is_all;
}

void group_far_last_left(struct group *group, bool is_inherited)
{
    struct cluster *cluster = group->box.broker->cluster;
    group_far_update(group);
    if (group->is_far || (group->box.is_elsewhere && !is_inherited)) hand_over(cluster, group, UINT64_MAX);
    set_due(cluster, group, false);
}

uint64_t group_far_turn(struct cluster *cluster)
{
    uint64_t next_ms = UINT64_MAX;
    for (struct list_node *node = cluster->groups->due.first, *next; node != NULL; node = next) {
        struct group *group = container_of(node, struct group, in_far);
        next = node->next;
        if (hand_over(cluster, group, HAND_OVER_BYTES)) set_due(cluster, group, false);
        else next_ms = 0;
    }
    return next_ms;
}

/* ---- what comes --------------------------------------------------------------------------------------------- */

/* Begins to read a TERMS. Returns how many groups follow. */
static uint32_t read_terms(struct mps_reader *r, mps_view frame, bool *plain)
{
    *r = mps_reader_open(frame);
    if (mps_read_array(r, "frame") < 3) r->bad = "frame";
    mps_read_uint(r, MPS_OP_MAX, "operation");
    *plain = mps_read_bool(r, "plain");
    return mps_read_array(r, "groups");
}

static struct between_item read_group(struct mps_reader *r)
{
    struct between_item item = {0};
    if (mps_read_array(r, "group") != 2) r->bad = "group";
    item.group = mps_read_text(r, "group");
    item.pattern = mps_read_text(r, "pattern");
    return item;
}

/* NULL: it has nobody here, for all that is known. */
static struct group *group_here(const struct cluster *cluster, const struct between_item *item)
{
    struct group *group = group_find(cluster->broker, item->group, item->pattern);
    return group != NULL && !group->box.is_elsewhere ? group : NULL;
}

bool group_far_on_terms(struct inbound *in, mps_view frame)
{
    struct mps_reader r;
    bool plain;
    uint32_t count = read_terms(&r, frame, &plain);
    if (r.bad != NULL || count > INBOUND_GROUPS_MAX) return false;
    in->plain = plain;
    in->groups_count = 0;
    in->moved = (mps_view){NULL, 0};
    for (uint32_t i = 0; i < count; i++) {
        struct between_item item = read_group(&r);
        if (r.bad != NULL) return false;
        struct group *group = group_here(in->from->cluster, &item);
        if (group != NULL) in->groups[in->groups_count++] = group;
        else in->moved = frame;
    }
    return true;
}

void group_far_pass_on(const struct inbound *in, struct run *run)
{
    struct cluster *cluster = in->from->cluster;
    struct mps_reader r;
    bool plain;
    uint32_t count = read_terms(&r, in->moved, &plain);
    for (uint32_t i = 0; i < count; i++) {
        struct between_item item = read_group(&r);
        if (group_here(cluster, &item) != NULL) continue;
        struct far *far = far_find(cluster, item.group, item.pattern);
        uint64_t at = hand_over_to(cluster, far);
        if (at != 0) share(cluster, far, at, run, (struct part){0, run->len, run->count});
    }
}

/* ---- life --------------------------------------------------------------------------------------------------- */

void group_far_join(struct cluster *cluster)
{
    cluster->groups = sure_zeroed(sizeof *cluster->groups);
    for (struct list_node *node = cluster->broker->groups_by_age.first; node != NULL; node = node->next)
        group_far_update(container_of(node, struct group, in_age)); /* the store had them */
}

void group_far_leave(struct cluster *cluster)
{
    for (struct list_node *node = cluster->broker->groups_by_age.first; node != NULL; node = node->next) {
        struct group *group = container_of(node, struct group, in_age);
        set_due(cluster, group, false);
        group->box.is_elsewhere = false;
    }
    free(cluster->groups->choices);
    free(cluster->groups);
    cluster->groups = NULL;
}
