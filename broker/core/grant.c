/* What one session may: asked for each topic that is published, and each pattern that is subscribed to. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sure.h"

#include "access.h"

struct grant {
    uint32_t refs;
    struct access *access;
    unsigned rights;
    char user[ACCESS_NAME_MAX + 1]; /* "": who has no name */
    char id[MPS_ID_MAX + 1];
    bool last_publishes; /* .last_topic */
    uint8_t last_len;    /* 0: none */
    uint8_t last_topic[MPS_TOPIC_MAX];
    size_t groups_count;
    const struct access_group *groups[];
};

static size_t find_groups(const struct access *access, mps_view user, const struct access_group **groups)
{
    char name[ACCESS_NAME_MAX + 1];
    if (user.ptr == NULL) {
        groups[0] = access_find_group(access, access->default_group);
        return groups[0] != NULL;
    }
    snprintf(name, sizeof name, "%.*s", (int)user.len, (const char *)user.ptr);
    const struct access_user *known = access_find_user(access, name);
    size_t count = 0;
    if (known == NULL) {
        groups[0] = access_find_group(access, access->user_group);
        return groups[0] != NULL;
    }
    for (size_t i = 0; i < known->groups.count && count < ACCESS_GROUPS_MAX; i++) {
        groups[count] = access_find_group(access, known->groups.at[i]);
        count += groups[count] != NULL;
    }
    return count;
}

struct grant *grant_new(struct access *access, mps_view user, mps_view id, unsigned extra)
{
    if (access == NULL || !access->restricts) return NULL;
    const struct access_group *groups[ACCESS_GROUPS_MAX];
    size_t count = find_groups(access, user, groups);
    struct grant *grant = sure_zeroed(sizeof *grant + count * sizeof groups[0]);
    grant->refs = 1;
    grant->access = access_ref(access);
    grant->rights = extra;
    grant->groups_count = count;
    memcpy(grant->groups, groups, count * sizeof groups[0]);
    for (size_t i = 0; i < count; i++) grant->rights |= groups[i]->rights;
    if (user.ptr != NULL) snprintf(grant->user, sizeof grant->user, "%.*s", (int)user.len, (const char *)user.ptr);
    snprintf(grant->id, sizeof grant->id, "%.*s", (int)id.len, (const char *)id.ptr);
    return grant;
}

struct grant *grant_ref(struct grant *grant)
{
    if (grant != NULL) grant->refs++;
    return grant;
}

void grant_unref(struct grant *grant)
{
    if (grant == NULL || --grant->refs > 0) return;
    access_unref(grant->access);
    free(grant);
}

bool grant_has(const struct grant *grant, enum access_right right)
{
    return (grant->rights & right) != 0;
}

/* ---- patterns ------------------------------------------------------------------------------------------------ */

/* The pattern for this user and id: access_pattern_error() has seen to it that it is not too long. Absent: it has none
 * for who has no name. */
static mps_view spell_out(const struct grant *grant, const char *pattern, char room[MPS_TOPIC_MAX + 1])
{
    size_t len = 0;
    for (const char *p = pattern; *p != '\0'; p++) {
        const char *piece = p;
        size_t piece_len = 1;
        if (*p == '%') {
            p++;
            piece = *p == 'u' ? grant->user : *p == 'i' ? grant->id : "%";
            piece_len = strlen(piece);
            if (piece_len == 0) return (mps_view){NULL, 0};
        }
        assert(len + piece_len <= MPS_TOPIC_MAX);
        memcpy(room + len, piece, piece_len);
        len += piece_len;
    }
    return (mps_view){(const uint8_t *)room, (uint32_t)len};
}

/* Calls fn for each pattern of these lists while it returns false. Returns whether one call returned true. */
static bool any_pattern(const struct grant *grant, enum access_list list, bool (*fn)(mps_view pattern, mps_view other),
                        mps_view other)
{
    char room[MPS_TOPIC_MAX + 1];
    for (size_t i = 0; i < grant->groups_count; i++) {
        const struct access_texts *texts = &grant->groups[i]->lists[list];
        for (size_t k = 0; k < texts->count; k++) {
            const char *text = texts->at[k];
            mps_view pattern = strchr(text, '%') == NULL ? mps_text(text) : spell_out(grant, text, room);
            if (pattern.ptr != NULL && fn(pattern, other)) return true;
        }
    }
    return false;
}

static bool first_level_is(mps_view name, const char *level)
{
    size_t len = strlen(level);
    return name.len >= len && memcmp(name.ptr, level, len) == 0 && (name.len == len || name.ptr[len] == '/');
}

bool grant_publishes(struct grant *grant, mps_view topic)
{
    if (topic.len == grant->last_len && memcmp(topic.ptr, grant->last_topic, topic.len) == 0)
        return grant->last_publishes;
    grant->last_publishes = any_pattern(grant, ACCESS_PUBLISH, mps_topic_matches, topic) &&
                            !any_pattern(grant, ACCESS_DENY_PUBLISH, mps_topic_matches, topic);
    grant->last_len = (uint8_t)topic.len;
    memcpy(grant->last_topic, topic.ptr, topic.len);
    return grant->last_publishes;
}

bool grant_receives(const struct grant *grant, mps_view topic)
{
    if (first_level_is(topic, "$SYS")) return grant_has(grant, ACCESS_SYS);
    return any_pattern(grant, ACCESS_SUBSCRIBE, mps_topic_matches, topic) &&
           !any_pattern(grant, ACCESS_DENY_SUBSCRIBE, mps_topic_matches, topic);
}

bool grant_subscribes(const struct grant *grant, mps_view pattern)
{
    if (first_level_is(pattern, "$SYS")) return grant_has(grant, ACCESS_SYS);
    return any_pattern(grant, ACCESS_SUBSCRIBE, mps_pattern_covers, pattern) &&
           !any_pattern(grant, ACCESS_DENY_SUBSCRIBE, mps_patterns_overlap, pattern);
}

/* ---- what would be allowed ----------------------------------------------------------------------------------- */

static mps_view take_level(mps_view *rest)
{
    const uint8_t *slash = memchr(rest->ptr, '/', rest->len);
    mps_view level = {rest->ptr, slash != NULL ? (uint32_t)(slash - rest->ptr) : rest->len};
    *rest = slash != NULL ? (mps_view){slash + 1, rest->len - level.len - 1} : (mps_view){NULL, 0};
    return level;
}

/* The pattern of exactly the topics that both of these match; they overlap. Returns its length, 0: it is too long. */
static uint32_t meet(mps_view a, mps_view b, uint8_t room[MPS_TOPIC_MAX])
{
    mps_view hash = mps_text("#"), plus = mps_text("+"), rest = {NULL, 0};
    uint32_t len = 0;
    bool first = true;
    while (a.ptr != NULL || b.ptr != NULL) {
        if (a.ptr == NULL || b.ptr == NULL) break; /* the other one is '#', which is nothing here */
        mps_view whole_a = a, whole_b = b;
        mps_view in_a = take_level(&a), in_b = take_level(&b), level = in_a;
        if (mps_view_equal(in_a, plus)) level = in_b;
        if (mps_view_equal(in_a, hash)) rest = whole_b;
        else if (mps_view_equal(in_b, hash)) rest = whole_a;
        if (rest.ptr != NULL) level = rest;
        if (len + level.len + 1 > MPS_TOPIC_MAX) return 0;
        if (!first) room[len++] = '/';
        memcpy(room + len, level.ptr, level.len);
        len += level.len;
        if (rest.ptr != NULL) break;
        first = false;
    }
    return len;
}

/* The first part of the pattern that is allowed and meets nothing that is denied goes to room. Returns its length. */
static uint32_t allowed_part(const struct grant *grant, mps_view pattern, uint8_t room[MPS_TOPIC_MAX])
{
    char spelled[MPS_TOPIC_MAX + 1];
    for (size_t i = 0; i < grant->groups_count; i++) {
        const struct access_texts *texts = &grant->groups[i]->lists[ACCESS_SUBSCRIBE];
        for (size_t k = 0; k < texts->count; k++) {
            mps_view allowed = spell_out(grant, texts->at[k], spelled);
            if (allowed.ptr == NULL || !mps_patterns_overlap(allowed, pattern)) continue;
            uint32_t len = meet(allowed, pattern, room);
            if (len > 0 && grant_subscribes(grant, (mps_view){room, len})) return len;
        }
    }
    return 0;
}

const char *grant_hint(const struct grant *grant, mps_view pattern, char *text, size_t text_cap)
{
    uint8_t room[MPS_TOPIC_MAX];
    char denied_room[MPS_TOPIC_MAX + 1];
    if (first_level_is(pattern, "$SYS")) {
        snprintf(text, text_cap, "that needs the right 'sys'");
        return text;
    }
    uint32_t len = allowed_part(grant, pattern, room);
    if (len > 0) {
        snprintf(text, text_cap, "'%.*s' would be allowed", (int)len, (const char *)room);
        return text;
    }
    for (size_t i = 0; i < grant->groups_count; i++) {
        const struct access_texts *texts = &grant->groups[i]->lists[ACCESS_DENY_SUBSCRIBE];
        for (size_t k = 0; k < texts->count; k++) {
            mps_view denied = spell_out(grant, texts->at[k], denied_room);
            if (denied.ptr == NULL || !mps_patterns_overlap(denied, pattern)) continue;
            snprintf(text, text_cap, "'%.*s' is denied", (int)denied.len, (const char *)denied.ptr);
            return text;
        }
    }
    snprintf(text, text_cap, "nothing of it is allowed");
    return text;
}
