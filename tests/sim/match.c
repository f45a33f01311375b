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
