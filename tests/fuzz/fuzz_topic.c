/* Topics and patterns: what is accepted, what matches, overlaps and covers, and what the broker's trie finds. Each
 * answer is compared with a judge that is slow and obvious: it tries all numbers of levels that a wildcard may stand
 * for. Input: lines; the last one is the topic, those before it are patterns. */
/* Hostile 24. */
#include <string.h>

#include "require.h"
#include "topics.h"
#include "wire.h"

#define PATTERNS_MAX 6
#define LEVELS_MAX MPS_TOPIC_LEVELS_MAX

/* ---- the judge ---------------------------------------------------------------------------------------------- */

struct name {
    mps_view text;
    uint32_t count;
    mps_view levels[LEVELS_MAX];
};

/* One character as UTF-8 has it, the shortest way to say it: its bytes, or 0. NUL is none. */
static uint32_t character_len(const uint8_t *p, size_t left)
{
    static const uint32_t least[] = {0, 1, 0x80, 0x800, 0x10000};
    uint32_t len = p[0] < 0x80 ? 1 : p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : p[0] >> 3 == 30 ? 4 : 0;
    if (len == 0 || len > left) return 0;
    uint32_t code = len == 1 ? p[0] : p[0] & (0x7fu >> len);
    for (uint32_t i = 1; i < len; i++) {
        if (p[i] >> 6 != 2) return 0;
        code = code << 6 | (p[i] & 0x3f);
    }
    bool is_half_pair = code >= 0xd800 && code <= 0xdfff;
    return code >= least[len] && code <= 0x10ffff && !is_half_pair ? len : 0;
}

static bool is_text(mps_view text)
{
    for (uint32_t at = 0, len; at < text.len; at += len)
        if ((len = character_len(text.ptr + at, text.len - at)) == 0) return false;
    return true;
}

/* False: it has too many levels. */
static bool split(struct name *name, mps_view text)
{
    name->text = text;
    name->count = 0;
    for (uint32_t at = 0;; at++) {
        if (name->count == LEVELS_MAX) return false;
        mps_view *level = &name->levels[name->count++];
        *level = (mps_view){text.ptr + at, 0};
        for (; at < text.len && text.ptr[at] != '/'; at++) level->len++;
        if (at == text.len) return true;
    }
}

static bool is(mps_view level, const char *text)
{
    return mps_view_equal(level, mps_text(text));
}

static bool judge_name(mps_view text, bool is_pattern)
{
    struct name name;
    if (text.len == 0 || text.len > 255 || !is_text(text) || !split(&name, text)) return false;
    for (uint32_t i = 0; i < name.count; i++) {
        mps_view level = name.levels[i];
        if (memchr(level.ptr, '+', level.len) == NULL && memchr(level.ptr, '#', level.len) == NULL) continue;
        if (!is_pattern || level.len > 1 || (level.ptr[0] == '#' && i + 1 < name.count)) return false;
    }
    return true;
}

static bool has_rest(const struct name *pattern)
{
    return is(pattern->levels[pattern->count - 1], "#");
}

/* The pattern as one of so many levels, without '#'. False: it can't be. */
static bool spread(struct name *to, const struct name *pattern, uint32_t count)
{
    uint32_t fixed = pattern->count - has_rest(pattern);
    if (count < fixed || (count > fixed && !has_rest(pattern))) return false;
    to->count = count;
    for (uint32_t i = 0; i < count; i++) to->levels[i] = i < fixed ? pattern->levels[i] : mps_text("+");
    return true;
}

static bool judge_match(const struct name *pattern, const struct name *topic)
{
    struct name same;
    if (topic->text.ptr[0] == '$' && (is(pattern->levels[0], "+") || is(pattern->levels[0], "#"))) return false;
    if (!spread(&same, pattern, topic->count)) return false;
    for (uint32_t i = 0; i < topic->count; i++)
        if (!is(same.levels[i], "+") && !mps_view_equal(same.levels[i], topic->levels[i])) return false;
    return true;
}

struct text {
    uint8_t bytes[2 * MPS_TOPIC_MAX];
    uint32_t len;
};

static void append(struct text *text, mps_view level, bool is_first)
{
    REQUIRE(text->len + 1 + level.len <= sizeof text->bytes, "the judge has no room");
    if (!is_first) text->bytes[text->len++] = '/';
    if (level.len > 0) memcpy(text->bytes + text->len, level.ptr, level.len);
    text->len += level.len;
}

static bool is_topic(struct name *name, const struct text *text)
{
    mps_view view = {text->bytes, text->len};
    return judge_name(view, false) && split(name, view);
}

/* With more levels than this nothing is new: '#' goes on in both. */
static uint32_t levels_most(const struct name *a, const struct name *b)
{
    uint32_t most = (a->count > b->count ? a->count : b->count) + 2;
    return most < LEVELS_MAX ? most : LEVELS_MAX;
}

/* The shortest topic of so many levels that both may match: does it exist, and do they? */
static bool meet_at(const struct name *a, const struct name *b, uint32_t count)
{
    struct name of_a, of_b, name;
    struct text topic = {.len = 0};
    if (!spread(&of_a, a, count) || !spread(&of_b, b, count)) return false;
    for (uint32_t i = 0; i < count; i++) {
        mps_view level = !is(of_a.levels[i], "+") ? of_a.levels[i] : of_b.levels[i];
        if (is(level, "+")) level = mps_text(count == 1 ? "x" : "");
        if (topic.len + 1 + level.len > MPS_TOPIC_MAX + 1) return false;
        append(&topic, level, i == 0);
    }
    return is_topic(&name, &topic) && judge_match(a, &name) && judge_match(b, &name);
}

static bool judge_overlap(const struct name *a, const struct name *b)
{
    for (uint32_t count = 1; count <= levels_most(a, b); count++)
        if (meet_at(a, b, count)) return true;
    return false;
}

/* A byte that is nowhere in the text, so that only wildcards match it. */
static uint8_t strange_byte(mps_view text)
{
    for (uint8_t byte = 1; byte < 0x7f; byte++)
        if (byte != '/' && byte != '+' && byte != '#' && memchr(text.ptr, byte, text.len) == NULL) return byte;
    return 0x7f;
}

/* Whether wide matches what narrow does, with this for each level that narrow leaves open, and so many levels. */
static bool covers_at(const struct name *wide, const struct name *narrow, uint32_t count, mps_view open)
{
    struct name same, name;
    struct text topic = {.len = 0};
    if (!spread(&same, narrow, count)) return true;
    for (uint32_t i = 0; i < count; i++) append(&topic, is(same.levels[i], "+") ? open : same.levels[i], i == 0);
    return !is_topic(&name, &topic) || !judge_match(narrow, &name) || judge_match(wide, &name);
}

static bool judge_covers(const struct name *wide, const struct name *narrow)
{
    uint8_t byte = strange_byte(wide->text);
    for (uint32_t count = 1; count <= levels_most(wide, narrow); count++) {
        if (!covers_at(wide, narrow, count, (mps_view){&byte, 1})) return false;
        if (!covers_at(wide, narrow, count, mps_text(""))) return false;
    }
    return true;
}

/* ---- what is judged ----------------------------------------------------------------------------------------- */

#define SHOW(view) (int)(view).len, (const char *)(view).ptr

static void check_pair(const struct name *a, const struct name *b)
{
    bool overlap = judge_overlap(a, b), covers = judge_covers(a, b);
    REQUIRE(mps_patterns_overlap(a->text, b->text) == overlap, "'%.*s' and '%.*s': overlap is not %d", SHOW(a->text),
            SHOW(b->text), !overlap);
    REQUIRE(mps_pattern_covers(a->text, b->text) == covers, "'%.*s' over '%.*s': covers is not %d", SHOW(a->text),
            SHOW(b->text), !covers);
}

struct planted {
    struct topic_entry entry;
    const struct name *pattern;
    unsigned found;
};

static void on_found(struct topic_entry *entry, void *arg)
{
    (void)arg;
    ((struct planted *)entry)->found++;
}

static void check_trie(struct topics *topics, struct planted *planted, int count, const struct name *topic)
{
    for (int i = 0; i < count; i++) planted[i].found = 0;
    topics_match(topics, topic->text, topics_hash(topics, topic->text), on_found, NULL);
    for (int i = 0; i < count; i++) {
        bool expected = planted[i].entry.node != NULL && judge_match(planted[i].pattern, topic);
        REQUIRE(planted[i].found == expected, "the trie finds '%.*s' %u times for '%.*s'",
                SHOW(planted[i].pattern->text), planted[i].found, SHOW(topic->text));
    }
}

/* Patterns come, each twice, and go, first the earlier of the two; after each the trie finds what is there. */
static void plant(const struct name *patterns, int count, const struct name *topic)
{
    struct topics topics;
    struct planted planted[2 * PATTERNS_MAX] = {0};
    topics_init(&topics, 1);
    for (int i = 0; i < 2 * count; i++) {
        planted[i].pattern = &patterns[i % count];
        topics_add(&topics, planted[i].pattern->text, &planted[i].entry);
        check_trie(&topics, planted, 2 * count, topic);
    }
    for (int i = 0; i < 2 * count; i++) {
        topics_remove(&topics, &planted[i].entry);
        check_trie(&topics, planted, 2 * count, topic);
    }
    topics_free(&topics);
}

static void check_names(const struct name *patterns, int count, mps_view text)
{
    struct name topic;
    for (int i = 0; i < count; i++)
        for (int j = 0; j < count; j++) check_pair(&patterns[i], &patterns[j]);
    bool is_good = judge_name(text, false);
    REQUIRE((mps_topic_error(text) == NULL) == is_good, "'%.*s' is not judged %d", SHOW(text), is_good);
    if (!is_good) return;
    split(&topic, text);
    for (int i = 0; i < count; i++) {
        bool matches = judge_match(&patterns[i], &topic);
        REQUIRE(mps_topic_matches(patterns[i].text, text) == matches, "'%.*s' matches '%.*s' otherwise than %d",
                SHOW(patterns[i].text), SHOW(text), matches);
    }
    plant(patterns, count, &topic);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct name patterns[PATTERNS_MAX];
    int count = 0;
    for (;;) {
        const uint8_t *newline = size > 0 ? memchr(data, '\n', size) : NULL;
        size_t len = newline != NULL ? (size_t)(newline - data) : size;
        uint8_t *copy = malloc(len > 0 ? len : 1); /* as long as it says, so that reading beyond shows */
        if (copy == NULL) abort();
        if (len > 0) memcpy(copy, data, len);
        mps_view name = {copy, (uint32_t)len};
        bool is_pattern = judge_name(name, true);
        REQUIRE((mps_pattern_error(name) == NULL) == is_pattern, "'%.*s' is not judged %d", SHOW(name), is_pattern);
        if (newline == NULL || count == PATTERNS_MAX) {
            check_names(patterns, count, name);
            free(copy);
            break;
        }
        if (is_pattern) split(&patterns[count++], name);
        else free(copy);
        data += len + 1;
        size -= len + 1;
    }
    while (count > 0) free((void *)(uintptr_t)patterns[--count].text.ptr);
    return 0;
}
