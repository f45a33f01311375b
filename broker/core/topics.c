#include "topics.h"

#include <stdlib.h>
#include <string.h>

#include "sure.h"

struct child_key {
    const struct topic_node *parent;
    mps_view level;
};

static uint64_t child_hash(const struct topics *topics, const struct topic_node *parent, mps_view level)
{
    if (parent == topics->whole) return topics_hash(topics, level);
    return hash_bytes(topics->seed ^ (uint64_t)(uintptr_t)parent, level.ptr, level.len);
}

static bool names_level(const struct topic_node *node, mps_view level)
{
    return node->len == level.len && memcmp(node->text, level.ptr, level.len) == 0;
}

static bool is_child(const struct hash_node *node, const void *key)
{
    const struct topic_node *child = container_of(node, struct topic_node, in_children);
    const struct child_key *wanted = key;
    return child->parent == wanted->parent && names_level(child, wanted->level);
}

static struct topic_node *find_hashed(const struct topics *topics, const struct topic_node *parent, mps_view level,
                                      uint64_t hash)
{
    struct child_key key = {parent, level};
    struct hash_node *node = hash_find(&topics->children, hash, is_child, &key);
    return node ? container_of(node, struct topic_node, in_children) : NULL;
}

static struct topic_node *find_child(const struct topics *topics, const struct topic_node *parent, mps_view level)
{
    return find_hashed(topics, parent, level, child_hash(topics, parent, level));
}

static bool is_level(mps_view level, char wildcard)
{
    return level.len == 1 && level.ptr[0] == (uint8_t)wildcard;
}

static mps_view level_of(const struct topic_node *node)
{
    return (mps_view){node->text, node->len};
}

/* Makes the node a child: it has its level, and nobody below it yet or all that it had. */
static void attach(struct topics *topics, struct topic_node *parent, struct topic_node *node)
{
    mps_view level = level_of(node);
    node->parent = parent;
    hash_add(&topics->children, &node->in_children, child_hash(topics, parent, level));
    parent->users++;
    if (is_level(level, '+')) {
        parent->plus = node;
    } else if (is_level(level, '#')) {
        parent->rest = node;
    } else {
        parent->only = parent->names == 0 ? node : NULL;
        parent->names++;
    }
}

static void detach(struct topics *topics, struct topic_node *node)
{
    struct topic_node *parent = node->parent;
    if (parent->plus == node) parent->plus = NULL;
    else if (parent->rest == node) parent->rest = NULL;
    else parent->names--;
    if (parent->only == node) parent->only = NULL;
    hash_remove(&topics->children, &node->in_children);
    parent->users--;
}

static size_t size_for(size_t text_len)
{
    size_t size = offsetof(struct topic_node, text) + text_len;
    return size > sizeof(struct topic_node) ? size : sizeof(struct topic_node);
}

/* For topics.bytes. What a node's text is when another one pushes it down is shorter, but its memory isn't. */
static uint64_t cost(size_t size)
{
    return size + 3 * sizeof(struct hash_slot);
}

static struct topic_node *add_child(struct topics *topics, struct topic_node *parent, mps_view level, mps_view tail)
{
    size_t size = size_for(level.len + tail.len);
    struct topic_node *node = sure_alloc(size);
    *node = (struct topic_node){.len = (uint8_t)level.len, .tail_len = (uint8_t)tail.len};
    memcpy(node->text, level.ptr, level.len);
    if (tail.len > 0) memcpy(node->text + level.len, tail.ptr, tail.len);
    node->size = (uint16_t)size;
    topics->bytes += cost(size);
    attach(topics, parent, node);
    return node;
}

/* The level that begins at *at; moves *at behind the slash that follows it, or beyond the end. */
static mps_view next_level(mps_view name, uint32_t *at)
{
    const uint8_t *start = name.ptr + *at;
    const uint8_t *slash = memchr(start, '/', name.len - *at);
    uint32_t len = slash ? (uint32_t)(slash - start) : name.len - *at;
    *at += len + 1;
    return (mps_view){start, len};
}

void topics_init(struct topics *topics, uint64_t seed)
{
    *topics = (struct topics){
        .seed = seed, .root = sure_zeroed(sizeof(struct topic_node)), .whole = sure_zeroed(sizeof(struct topic_node))};
}

void topics_free(struct topics *topics)
{
    free(topics->root);
    free(topics->whole);
    hash_free(&topics->children);
}

/* Patterns under $ are few, and stand in the trie, where topics_has_first_level() finds them. */
static bool is_whole(mps_view pattern)
{
    return pattern.ptr[0] != '$' && !mps_topic_is_wild(pattern);
}

static const mps_view no_tail;

static mps_view tail_of(const struct topic_node *node)
{
    return (mps_view){node->text + node->len, node->tail_len};
}

/* What is left of a name from the slash at `at` - 1 on; nothing if it is over. */
static mps_view rest_of(mps_view name, uint32_t at)
{
    return at <= name.len ? (mps_view){name.ptr + at - 1, name.len - at + 1} : no_tail;
}

static struct topic_node *child_or_new(struct topics *topics, struct topic_node *parent, mps_view level, mps_view tail)
{
    struct topic_node *child = find_child(topics, parent, level);
    return child ? child : add_child(topics, parent, level, tail);
}

/* The pattern isn't alone any more: another node takes this one's place, which goes a level down, below that. So its
 * entries, which may be a million, stay where they are. Returns the other node. */
static struct topic_node *push_down(struct topics *topics, struct topic_node *node)
{
    struct topic_node *parent = node->parent;
    detach(topics, node);
    struct topic_node *other = add_child(topics, parent, level_of(node), no_tail);
    uint32_t left = node->tail_len - 1u, at = 0;
    memmove(node->text, node->text + node->len + 1, left); /* without the slash */
    node->len = (uint8_t)next_level((mps_view){node->text, left}, &at).len;
    node->tail_len = (uint8_t)(left - node->len);
    attach(topics, other, node);
    return other;
}

static struct topic_node *trie_node(struct topics *topics, mps_view pattern)
{
    struct topic_node *node = topics->root;
    for (uint32_t at = 0; at <= pattern.len;) {
        mps_view level = next_level(pattern, &at), rest = rest_of(pattern, at);
        node = child_or_new(topics, node, level, rest);
        if (node->tail_len == 0) continue;
        if (node->tail_len == rest.len && memcmp(tail_of(node).ptr, rest.ptr, rest.len) == 0) break;
        node = push_down(topics, node);
    }
    return node;
}

void topics_add(struct topics *topics, mps_view pattern, struct topic_entry *entry)
{
    struct topic_node *node =
        is_whole(pattern) ? child_or_new(topics, topics->whole, pattern, no_tail) : trie_node(topics, pattern);
    *entry = (struct topic_entry){node, NULL, node->first};
    if (node->first != NULL) node->first->prev = entry;
    node->first = entry;
    node->users++;
    if (mps_topic_is_wild(pattern)) topics->wild_generation++;
}

bool topics_has_first_level(const struct topics *topics, mps_view level)
{
    return find_child(topics, topics->root, level) != NULL;
}

static bool stands_under_wildcard(const struct topic_node *node)
{
    if (mps_topic_is_wild(tail_of(node))) return true;
    for (; node->parent != NULL; node = node->parent) {
        if (node == node->parent->plus || node == node->parent->rest) return true;
    }
    return false;
}

void topics_remove(struct topics *topics, struct topic_entry *entry)
{
    struct topic_node *node = entry->node;
    if (stands_under_wildcard(node)) topics->wild_generation++;
    if (entry->prev != NULL) entry->prev->next = entry->next;
    else node->first = entry->next;
    if (entry->next != NULL) entry->next->prev = entry->prev;
    *entry = (struct topic_entry){0};
    node->users--;
    while (node->users == 0 && node->parent != NULL) {
        struct topic_node *parent = node->parent;
        detach(topics, node);
        topics->bytes -= cost(node->size);
        free(node);
        node = parent;
    }
}

static void each_entry(const struct topic_node *node, void (*fn)(struct topic_entry *, void *), void *arg)
{
    for (struct topic_entry *entry = node ? node->first : NULL; entry != NULL; entry = entry->next) fn(entry, arg);
}

/* The child of that name, for a level of a topic, which is no wildcard. Many nodes have one child or none: these are
 * not hashed for, which is most of what a level costs. */
static const struct topic_node *match_child(const struct topics *topics, const struct topic_node *node, mps_view level)
{
    if (node->names == 0) return NULL;
    if (node->only != NULL) return names_level(node->only, level) ? node->only : NULL;
    return find_child(topics, node, level);
}

/* Whether a topic, of which the level at `at` is the next, ends like the node's pattern. */
static bool tail_matches(const struct topic_node *node, mps_view topic, uint32_t at)
{
    mps_view tail = {node->text + node->len + 1, node->tail_len - 1u};
    if (at > topic.len) return is_level(tail, '#'); /* which matches its parent, too */
    return mps_levels_match(tail, (mps_view){topic.ptr + at, topic.len - at});
}

uint64_t topics_match(const struct topics *topics, mps_view topic, uint64_t hash,
                      void (*fn)(struct topic_entry *, void *), void *arg)
{
    /* Each step takes one node off and puts at most two on, one level deeper: never more than the levels plus one. */
    struct {
        const struct topic_node *node;
        uint32_t at; /* where the level that follows the node begins; beyond the end: the topic is over */
    } todo[MPS_TOPIC_LEVELS_MAX + 2];
    uint32_t count = 0;
    uint64_t visited = 1;
    if (topics->whole->names > 0) each_entry(find_hashed(topics, topics->whole, topic, hash), fn, arg);
    if (topics->root->users == 0) return visited;
    todo[count].node = topics->root;
    todo[count++].at = 0;
    bool reserved = topic.ptr[0] == '$';
    while (count > 0) {
        visited++;
        const struct topic_node *node = todo[--count].node;
        uint32_t at = todo[count].at;
        if (node->tail_len > 0) {
            if (tail_matches(node, topic, at)) each_entry(node, fn, arg);
            continue;
        }
        bool wild = !(reserved && node == topics->root); /* $... is never matched by a leading wildcard */
        if (wild) each_entry(node->rest, fn, arg);
        if (at > topic.len) {
            each_entry(node, fn, arg);
            continue;
        }
        mps_view level = next_level(topic, &at);
        const struct topic_node *child = match_child(topics, node, level);
        if (child != NULL) {
            todo[count].node = child;
            todo[count++].at = at;
        }
        if (wild && node->plus != NULL) {
            todo[count].node = node->plus;
            todo[count++].at = at;
        }
    }
    return visited;
}
