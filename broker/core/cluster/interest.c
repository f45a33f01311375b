#include "lanes.h"

#include <stdlib.h>
#include <string.h>

#include "sure.h"

/* Bytes of what one INTEREST holds, before the last item. */
#define FRAME_ITEMS_BYTES 3000u
/* So often is a neighbour told all. */
#define TELL_ALL_MS 500u
/* Patterns that are remembered of those that are not wanted any more, and for how long: what another broker sent before
 * it knew has come by then, or is missed. */
#define LESS_COUNT 128u
#define LESS_MS (2u * NEIGHBOUR_AWAY_MS)

/* A pattern, and how many want it. */
struct counted {
    struct hash_node in_table;
    struct list_node in_changed; /* while .is_changed */
    uint32_t refs;
    bool is_known, is_changed;      /* neighbours were told; it is to be looked at when they are told again */
    uint8_t group_len, pattern_len; /* group_len 0: of subscriptions */
    uint8_t text[];                 /* group, then pattern */
};

/* Patterns of subscriptions are told as they are, or, when they are too many, their first levels, or at last that all
 * is wanted. Those of groups always as they are. */
enum detail { AS_THEY_ARE, FIRST_LEVELS, EVERYTHING };

/* One that the neighbours were told not to send for any more. */
struct less {
    uint64_t told_ms; /* 0: there is none */
    uint8_t len;
    uint8_t pattern[MPS_TOPIC_MAX];
};

struct interest {
    uint64_t version; /* of what the lanes hold; goes up by one with each frame that changes it */
    enum detail detail;
    bool is_anew;                 /* the neighbours have to ask for all */
    struct less less[LESS_COUNT]; /* the last ones, in a ring */
    uint32_t less_next;
    uint64_t less_all_ms; /* when it was last that they may have been any; 0: never */
    struct hash own;      /* struct counted, as our clients have them */
    uint32_t own_count;   /* of them, those of subscriptions */
    struct hash told;     /* as the neighbours are told */
    uint32_t told_count;  /* likewise */
    struct list changed;  /* of .told */
};

static uint64_t item_hash(const struct cluster *cluster, const struct between_item *item)
{
    uint64_t seed = hash_bytes(cluster->broker->seed, item->group.ptr, item->group.len);
    return hash_bytes(seed, item->pattern.ptr, item->pattern.len);
}

static struct between_item item_of(const struct counted *counted)
{
    return (struct between_item){{counted->text, counted->group_len},
                                 {counted->text + counted->group_len, counted->pattern_len}};
}

static bool is_item(const struct hash_node *node, const void *key)
{
    struct between_item item = item_of(container_of(node, struct counted, in_table));
    const struct between_item *wanted = key;
    return mps_view_equal(item.group, wanted->group) && mps_view_equal(item.pattern, wanted->pattern);
}

static struct counted *find(struct hash *table, uint64_t hash, const struct between_item *item)
{
    struct hash_node *node = hash_find(table, hash, is_item, item);
    return node ? container_of(node, struct counted, in_table) : NULL;
}

static struct counted *find_or_add(struct hash *table, uint64_t hash, const struct between_item *item)
{
    struct counted *counted = find(table, hash, item);
    if (counted != NULL) return counted;
    counted = sure_zeroed(sizeof *counted + item->group.len + item->pattern.len); /* small, as subscriptions are */
    counted->group_len = (uint8_t)item->group.len;
    counted->pattern_len = (uint8_t)item->pattern.len;
    if (item->group.len > 0) memcpy(counted->text, item->group.ptr, item->group.len);
    memcpy(counted->text + item->group.len, item->pattern.ptr, item->pattern.len);
    hash_add(table, &counted->in_table, hash);
    return counted;
}

/* ---- what is told ------------------------------------------------------------------------------------------- */

/* What stands for a pattern of our own. room: for its text. */
static struct between_item stand_in(enum detail detail, const struct between_item *item, uint8_t room[MPS_TOPIC_MAX])
{
    if (item->group.len > 0 || detail == AS_THEY_ARE) return *item;
    const uint8_t *slash = memchr(item->pattern.ptr, '/', item->pattern.len);
    uint32_t len = slash != NULL ? (uint32_t)(slash - item->pattern.ptr) : item->pattern.len;
    bool is_wild = len == 1 && (item->pattern.ptr[0] == '+' || item->pattern.ptr[0] == '#');
    if (detail == EVERYTHING || is_wild || len + 2 > MPS_TOPIC_MAX) len = 0;
    memcpy(room, item->pattern.ptr, len);
    if (len > 0) room[len++] = '/';
    room[len++] = '#';
    return (struct between_item){.pattern = {room, len}};
}

static void note_changed(struct interest *interest, struct counted *counted)
{
    if (counted->is_changed) return;
    counted->is_changed = true;
    list_append(&interest->changed, &counted->in_changed);
}

static void tell_comes(struct cluster *cluster, const struct between_item *own)
{
    struct interest *interest = cluster->interest;
    uint8_t room[MPS_TOPIC_MAX];
    struct between_item item = stand_in(interest->detail, own, room);
    struct counted *counted = find_or_add(&interest->told, item_hash(cluster, &item), &item);
    if (counted->refs++ > 0) return;
    interest->told_count += item.group.len == 0;
    note_changed(interest, counted);
}

static void tell_goes(struct cluster *cluster, const struct between_item *own)
{
    struct interest *interest = cluster->interest;
    uint8_t room[MPS_TOPIC_MAX];
    struct between_item item = stand_in(interest->detail, own, room);
    struct counted *counted = find(&interest->told, item_hash(cluster, &item), &item);
    if (--counted->refs > 0) return;
    interest->told_count -= item.group.len == 0;
    note_changed(interest, counted);
}

static void free_counted(struct hash *table, struct counted *counted)
{
    hash_remove(table, &counted->in_table);
    free(counted);
}

static void free_all(struct hash *table)
{
    for (struct hash_node *node; (node = hash_any(table)) != NULL;)
        free_counted(table, container_of(node, struct counted, in_table));
    hash_free(table);
}

/* All that is told, anew. */
static void set_detail(struct cluster *cluster, enum detail detail)
{
    struct interest *interest = cluster->interest;
    interest->detail = detail;
    free_all(&interest->told);
    interest->changed = (struct list){0};
    interest->told_count = 0;
    for (struct hash_node *n = hash_first(&interest->own); n != NULL; n = hash_next(&interest->own, n)) {
        struct between_item item = item_of(container_of(n, struct counted, in_table));
        tell_comes(cluster, &item);
    }
    interest->is_anew = true;
}

static void judge_detail(struct cluster *cluster)
{
    struct interest *interest = cluster->interest;
    if (interest->detail != AS_THEY_ARE && interest->own_count < INTEREST_EXACT_MAX / 2)
        set_detail(cluster, AS_THEY_ARE);
    if (interest->detail == AS_THEY_ARE && interest->own_count > INTEREST_EXACT_MAX) set_detail(cluster, FIRST_LEVELS);
    if (interest->detail == FIRST_LEVELS && interest->told_count > INTEREST_EXACT_MAX) set_detail(cluster, EVERYTHING);
}

/* ---- our own ------------------------------------------------------------------------------------------------ */

void interest_comes(struct cluster *cluster, mps_view group, mps_view pattern)
{
    struct between_item item = {group, pattern};
    struct counted *counted = find_or_add(&cluster->interest->own, item_hash(cluster, &item), &item);
    if (counted->refs++ > 0) return;
    cluster->interest->own_count += group.len == 0;
    tell_comes(cluster, &item);
    judge_detail(cluster);
}

void interest_goes(struct cluster *cluster, mps_view group, mps_view pattern)
{
    struct between_item item = {group, pattern};
    struct counted *counted = find(&cluster->interest->own, item_hash(cluster, &item), &item);
    if (--counted->refs > 0) return;
    cluster->interest->own_count -= group.len == 0;
    tell_goes(cluster, &item);
    free_counted(&cluster->interest->own, counted);
    judge_detail(cluster);
}

bool interest_only_reads(const struct mailbox *box, mps_view pattern)
{
    const struct broker *broker = box->broker;
    if (box->cursor == NULL) return false;
    for (uint32_t i = 0; i < broker->streams_count; i++)
        for (uint32_t p = 0; p < broker->streams[i]->patterns_count; p++)
            if (mps_pattern_covers(broker->streams[i]->patterns[p], pattern)) return true;
    return false;
}

void interest_attach(struct mailbox *box, mps_view pattern)
{
    struct cluster *cluster = box->broker->cluster;
    if (box->is_told || !cluster_overlaps(cluster, pattern) || interest_only_reads(box, pattern)) return;
    box->is_told = true;
    box->holes = cluster->holes; /* it was not there yet */
    interest_comes(cluster, (mps_view){NULL, 0}, pattern);
}

void interest_detach(struct mailbox *box, mps_view pattern)
{
    if (!box->is_told) return;
    box->is_told = false;
    interest_goes(box->broker->cluster, (mps_view){NULL, 0}, pattern);
}

/* Those that were there before. */
static void attach_all(struct broker *broker)
{
    for (struct list_node *node = broker->boxes.first; node != NULL; node = node->next) {
        struct mailbox *box = container_of(node, struct mailbox, in_boxes);
        if (box->session == NULL || box->entry.node == NULL) continue;
        interest_attach(box, subscription_pattern(container_of(box, struct subscription, box)));
    }
}

/* ---- telling ------------------------------------------------------------------------------------------------ */

/* One frame that is being gathered: patterns, and groups, which follow them. */
struct gathering {
    struct cluster *cluster;
    struct neighbour *only; /* for it alone; NULL: for all that were told before */
    enum interest_kind kind;
    struct between_item patterns[BETWEEN_ITEMS_MAX], groups[BETWEEN_ITEMS_MAX];
    uint32_t count, groups_count, bytes;
};

static void put_frame(struct gathering *gathering, bool is_last)
{
    struct cluster *cluster = gathering->cluster;
    struct interest *interest = cluster->interest;
    uint8_t room[BETWEEN_FRAME_MAX];
    struct mps_out out = mps_out_open(room, sizeof room);
    bool is_change = gathering->kind != INTEREST_ALL && gathering->kind != INTEREST_MORE;
    interest->version += is_change;
    struct between_interest frame = {.version = interest->version,
                                     .kind = gathering->kind,
                                     .is_last = is_last,
                                     .count = gathering->count,
                                     .groups_count = gathering->groups_count};
    memcpy(gathering->patterns + gathering->count, gathering->groups,
           gathering->groups_count * sizeof gathering->groups[0]);
    between_encode_interest(&out, &frame, gathering->patterns);
    for (uint32_t i = 0; i < cluster->neighbours_count; i++) {
        struct neighbour *to = cluster->neighbours[i];
        if (gathering->only != NULL ? to != gathering->only : to->lane.told == 0) continue;
        lane_put_frame(to, &out);
        to->lane.told = is_change || is_last ? interest->version : to->lane.told;
    }
    if (gathering->kind == INTEREST_ALL) gathering->kind = INTEREST_MORE;
    gathering->count = gathering->groups_count = gathering->bytes = 0;
}

static void gather(struct gathering *gathering, const struct counted *counted)
{
    struct between_item item = item_of(counted);
    if (gathering->count + gathering->groups_count == BETWEEN_ITEMS_MAX || gathering->bytes > FRAME_ITEMS_BYTES)
        put_frame(gathering, false);
    if (item.group.len > 0) gathering->groups[gathering->groups_count++] = item;
    else gathering->patterns[gathering->count++] = item;
    gathering->bytes += item.group.len + item.pattern.len + 8;
}

static void note_less(struct cluster *cluster, const struct counted *counted)
{
    struct interest *interest = cluster->interest;
    uint64_t now_ms = cluster->broker->now_ms;
    if (counted->group_len > 0) return; /* messages for groups are for them only */
    struct less *less = &interest->less[interest->less_next++ % LESS_COUNT];
    if (less->told_ms > 0 && now_ms < less->told_ms + LESS_MS) interest->less_all_ms = less->told_ms;
    less->told_ms = now_ms;
    less->len = counted->pattern_len;
    memcpy(less->pattern, counted->text, counted->pattern_len);
}

bool interest_was_less(const struct cluster *cluster, mps_view pattern)
{
    const struct interest *interest = cluster->interest;
    uint64_t now_ms = cluster->broker->now_ms;
    if (interest->less_all_ms > 0 && now_ms < interest->less_all_ms + LESS_MS) return true;
    for (uint32_t i = 0; i < LESS_COUNT; i++) {
        const struct less *less = &interest->less[i];
        if (less->told_ms == 0 || now_ms >= less->told_ms + LESS_MS) continue;
        if (mps_patterns_overlap(pattern, (mps_view){less->pattern, less->len})) return true;
    }
    return false;
}

/* What has changed one way: comes, or goes. */
static void tell_changes(struct cluster *cluster, enum interest_kind kind)
{
    struct gathering gathering = {.cluster = cluster, .kind = kind};
    for (struct list_node *node = cluster->interest->changed.first; node != NULL; node = node->next) {
        struct counted *counted = container_of(node, struct counted, in_changed);
        bool comes = counted->refs > 0 && !counted->is_known, goes = counted->refs == 0 && counted->is_known;
        if (kind == INTEREST_ADD ? comes : goes) gather(&gathering, counted);
        if (kind == INTEREST_REMOVE && goes) note_less(cluster, counted);
    }
    if (gathering.count + gathering.groups_count == 0) return;
    put_frame(&gathering, true);
}

void interest_flush(struct cluster *cluster)
{
    struct interest *interest = cluster->interest;
    if (interest->changed.first == NULL && !interest->is_anew) return;
    if (interest->is_anew) {
        struct gathering gathering = {.cluster = cluster, .kind = INTEREST_ANEW};
        put_frame(&gathering, true);
        interest->is_anew = false;
        interest->less_all_ms = cluster->broker->now_ms;
    } else {
        tell_changes(cluster, INTEREST_ADD);
        tell_changes(cluster, INTEREST_REMOVE);
    }
    for (struct list_node *node; (node = interest->changed.first) != NULL;) {
        struct counted *counted = container_of(node, struct counted, in_changed);
        list_remove(&interest->changed, node);
        counted->is_changed = false;
        counted->is_known = true;
        if (counted->refs == 0) free_counted(&interest->told, counted);
    }
}

void interest_tell_all(struct neighbour *to)
{
    struct cluster *cluster = to->cluster;
    uint64_t now_ms = cluster->broker->now_ms;
    if (to->told_all_ms > 0 && now_ms < to->told_all_ms + TELL_ALL_MS) return; /* it will ask again */
    to->told_all_ms = now_ms;
    interest_flush(cluster);
    struct gathering gathering = {.cluster = cluster, .only = to, .kind = INTEREST_ALL};
    struct hash *told = &cluster->interest->told;
    for (struct hash_node *n = hash_first(told); n != NULL; n = hash_next(told, n))
        gather(&gathering, container_of(n, struct counted, in_table));
    put_frame(&gathering, true);
}

uint64_t interest_version(const struct cluster *cluster)
{
    return cluster->interest->version;
}

/* ---- life --------------------------------------------------------------------------------------------------- */

void interest_begin(struct cluster *cluster)
{
    cluster->interest = sure_zeroed(sizeof *cluster->interest);
    cluster->interest->version = 1;
    attach_all(cluster->broker);
}

void interest_free(struct cluster *cluster)
{
    free_all(&cluster->interest->own);
    free_all(&cluster->interest->told);
    free(cluster->interest);
    for (struct list_node *node = cluster->broker->boxes.first; node != NULL; node = node->next)
        container_of(node, struct mailbox, in_boxes)->is_told = false;
}
