#include "match.h"

#include <string.h>

#define LEVELS_MAX 32

struct levels {
    int count;
    struct {
        const char *at;
        size_t len;
    } level[LEVELS_MAX];
};

static struct levels split(const struct name *name)
{
    struct levels levels = {0};
    const char *p = name->text;
    while (levels.count < LEVELS_MAX) {
        size_t len = strcspn(p, "/");
        levels.level[levels.count].at = p;
        levels.level[levels.count].len = len;
        levels.count++;
        if (p[len] == '\0') break;
        p += len + 1;
    }
    return levels;
}

static bool level_is(const struct levels *levels, int i, const char *text)
{
    return levels->level[i].len == strlen(text) && memcmp(levels->level[i].at, text, strlen(text)) == 0;
}

bool name_equal(const struct name *a, const struct name *b)
{
    return a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
}

bool name_matches(const struct name *pattern, const struct name *topic)
{
    struct levels want = split(pattern), have = split(topic);
    bool rest = level_is(&want, want.count - 1, "#");
    int fixed = want.count - rest; /* levels that must be there, one by one */
    if (rest ? have.count < fixed : have.count != fixed) return false;
    if (topic->text[0] == '$' && (level_is(&want, 0, "+") || level_is(&want, 0, "#"))) return false;
    for (int i = 0; i < fixed; i++) {
        if (level_is(&want, i, "+")) continue;
        if (want.level[i].len != have.level[i].len) return false;
        if (memcmp(want.level[i].at, have.level[i].at, have.level[i].len) != 0) return false;
    }
    return true;
}

static bool is_wild(const struct levels *levels, int i)
{
    return level_is(levels, i, "+") || level_is(levels, i, "#");
}

static bool same_level(const struct levels *a, const struct levels *b, int i)
{
    return a->level[i].len == b->level[i].len && memcmp(a->level[i].at, b->level[i].at, a->level[i].len) == 0;
}

/* Wildcards in front don't match what begins with $. */
static bool starts_apart(const struct levels *wild, const struct levels *other)
{
    return is_wild(wild, 0) && other->level[0].len > 0 && other->level[0].at[0] == '$';
}

/* Nothing is left but the topic of one empty level, which is none. */
static bool only_empty(const struct levels *one, const struct levels *two, int i)
{
    return i == 1 && (one->count == 1 || two->count == 1) && (level_is(one, 0, "") || level_is(two, 0, ""));
}

bool names_meet(const struct name *a, const struct name *b)
{
    struct levels one = split(a), two = split(b);
    if (starts_apart(&one, &two) || starts_apart(&two, &one)) return false;
    for (int i = 0;; i++) {
        bool one_rest = i < one.count && level_is(&one, i, "#"), two_rest = i < two.count && level_is(&two, i, "#");
        if (one_rest || two_rest) return !only_empty(&one, &two, i);
        if (i == one.count || i == two.count) return one.count == two.count;
        if (!is_wild(&one, i) && !is_wild(&two, i) && !same_level(&one, &two, i)) return false;
    }
}

bool name_covers(const struct name *wide, const struct name *narrow)
{
    struct levels one = split(wide), two = split(narrow);
    if (starts_apart(&one, &two)) return false;
    for (int i = 0;; i++) {
        if (i < one.count && level_is(&one, i, "#")) return true;
        if (i == one.count || i == two.count) return one.count == two.count;
        if (level_is(&two, i, "#")) return false;
        if (!is_wild(&one, i) && (is_wild(&two, i) || !same_level(&one, &two, i))) return false;
    }
}
